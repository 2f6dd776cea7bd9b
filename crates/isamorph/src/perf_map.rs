//! `/tmp/perf-PID.map`: what `perf` needs to know about code that is in no file. A line is
//! `START SIZE NAME`, numbers in hexadecimal.

use isamorph_engine::HostCode;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The map of this process.
#[derive(Debug)]
pub struct PerfMap {
    owner: AtomicU32,
}

fn path(process: u32) -> PathBuf {
    format!("/tmp/perf-{process}.map").into()
}

impl PerfMap {
    /// An empty map.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new() -> std::io::Result<Self> {
        let owner = process::id();
        std::fs::write(path(owner), "")?;
        Ok(PerfMap { owner: AtomicU32::new(owner) })
    }

    /// Adds emitted code. A forked process goes on with a copy of its parent's map. What cannot be written is lost.
    pub fn add(&self, code: &HostCode<'_>, symbol: Option<&str>) {
        let process = process::id();
        let owner = self.owner.swap(process, Ordering::Relaxed);
        if owner != process {
            let _ = std::fs::copy(path(owner), path(process));
        }
        let symbol = symbol.map_or(String::new(), |name| format!(" {name}"));
        let line = format!("{:x} {:x} guest:{:#010x}{symbol}\n", code.address, code.bytes.len(), code.pc);
        // Opened each time: a descriptor that stays open is one that the guest can close.
        if let Ok(mut file) = OpenOptions::new().append(true).open(path(process)) {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
