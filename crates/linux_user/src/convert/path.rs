//! Paths: the sysroot, and the files of `/proc` that would show the emulator instead of the guest.

use crate::sync::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A directory with the guest's libraries and files. An absolute path that exists below it means the file there.
#[derive(Debug)]
pub struct Sysroot {
    prefix: Vec<u8>,
    /// First components of paths that were asked for, and whether the sysroot has them. Most paths are answered by a
    /// miss here; what is below a component may change, so that is looked at each time.
    tops: Mutex<HashMap<Vec<u8>, bool>>,
}

impl Sysroot {
    /// The sysroot at `prefix`; `None` if it is empty or the root directory itself.
    pub fn new(prefix: &OsStr) -> Option<Self> {
        let mut prefix = prefix.as_bytes().to_vec();
        while prefix.last() == Some(&b'/') {
            prefix.pop();
        }
        (!prefix.is_empty()).then(|| Sysroot { prefix, tops: Mutex::default() })
    }

    /// Runs `f` while nobody else can use what is remembered.
    pub fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        let _guard = self.tops.lock();
        f()
    }

    /// The path to use for `path`.
    pub fn redirect<'a>(&self, path: &'a CStr) -> Cow<'a, CStr> {
        let bytes = path.to_bytes();
        if bytes.first() != Some(&b'/') || self.is_inside(bytes) || !self.has_top(bytes) {
            return Cow::Borrowed(path);
        }
        let full = [&self.prefix[..], bytes].concat();
        match CString::new(full) {
            Ok(full) if exists(full.to_bytes()) => Cow::Owned(full),
            _ => Cow::Borrowed(path),
        }
    }

    /// A path that already names something in the sysroot, as `getcwd` returns it, is not redirected again.
    fn is_inside(&self, path: &[u8]) -> bool {
        path.strip_prefix(&self.prefix[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    fn has_top(&self, path: &[u8]) -> bool {
        let Some(top) = path.split(|b| *b == b'/').find(|part| !part.is_empty()) else {
            return false;
        };
        if top == b"." || top == b".." {
            return true;
        }
        let mut tops = self.tops.lock();
        if let Some(known) = tops.get(top) {
            return *known;
        }
        let found = exists(&[&self.prefix[..], b"/", top].concat());
        tops.insert(top.to_vec(), found);
        found
    }
}

fn exists(path: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(path)).symlink_metadata().is_ok()
}

/// A file of `/proc` that the host fills with facts about the emulator, or about itself. All but the last are about the
/// calling process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcFile {
    /// The program, a symbolic link.
    Exe,
    /// Its memory.
    Maps,
    /// Its arguments.
    Cmdline,
    /// Its auxiliary vector.
    Auxv,
    /// Its one-line status.
    Stat,
    /// The processors.
    CpuInfo,
}

/// Which file of `/proc` the path means, if it is one of those in [`ProcFile`] and about process `pid`.
pub fn proc_file(path: &[u8], pid: u32) -> Option<ProcFile> {
    let mut parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    if path.first() != Some(&b'/') || parts.next() != Some(b"proc") {
        return None;
    }
    let who = parts.next()?;
    if who == b"cpuinfo" && parts.clone().next().is_none() {
        return Some(ProcFile::CpuInfo);
    }
    if who != b"self" && who != b"thread-self" && who != pid.to_string().as_bytes() {
        return None;
    }
    let file = match parts.next()? {
        b"exe" => ProcFile::Exe,
        b"maps" => ProcFile::Maps,
        b"cmdline" => ProcFile::Cmdline,
        b"auxv" => ProcFile::Auxv,
        b"stat" => ProcFile::Stat,
        _ => return None,
    };
    parts.next().is_none().then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn redirected(root: &Sysroot, path: &CStr) -> Vec<u8> {
        root.redirect(path).to_bytes().to_vec()
    }

    #[test]
    fn existing_files_are_redirected() {
        let dir = std::env::temp_dir().join(format!("isamorph-sysroot-{}", std::process::id()));
        fs::create_dir_all(dir.join("lib")).expect("temporary directory");
        fs::write(dir.join("lib/libc.so"), b"x").expect("temporary file");
        let mut with_slash = dir.clone().into_os_string();
        with_slash.push("/");
        let root = Sysroot::new(&with_slash).expect("not the root");
        let inside = dir.join("lib/libc.so");
        assert_eq!(redirected(&root, c"/lib/libc.so"), inside.as_os_str().as_bytes());
        assert_eq!(redirected(&root, c"/lib/none"), b"/lib/none");
        assert_eq!(redirected(&root, c"/isamorph-none/x"), b"/isamorph-none/x");
        assert_eq!(redirected(&root, c"lib/libc.so"), b"lib/libc.so");
        assert_eq!(redirected(&root, c""), b"");
        let again = CString::new(inside.as_os_str().as_bytes()).expect("no NUL");
        assert_eq!(redirected(&root, &again), inside.as_os_str().as_bytes());
        fs::write(dir.join("lib/new"), b"").expect("temporary file");
        assert_ne!(redirected(&root, c"/lib/new"), b"/lib/new", "only top components are remembered");
        fs::remove_dir_all(&dir).expect("clean up");
    }

    #[test]
    fn the_root_directory_is_no_sysroot() {
        assert!(Sysroot::new(OsStr::new("/")).is_none());
        assert!(Sysroot::new(OsStr::new("")).is_none());
    }

    #[test]
    fn proc_files_of_this_process() {
        assert_eq!(proc_file(b"/proc/self/exe", 7), Some(ProcFile::Exe));
        assert_eq!(proc_file(b"//proc/./7/maps", 7), Some(ProcFile::Maps));
        assert_eq!(proc_file(b"/proc/thread-self/stat", 7), Some(ProcFile::Stat));
        assert_eq!(proc_file(b"/proc/cpuinfo", 7), Some(ProcFile::CpuInfo));
        assert_eq!(proc_file(b"/proc/cpuinfo/x", 7), None);
        assert_eq!(proc_file(b"/proc/8/maps", 7), None);
        assert_eq!(proc_file(b"/proc/self/maps/x", 7), None);
        assert_eq!(proc_file(b"proc/self/maps", 7), None);
        assert_eq!(proc_file(b"/proc/self/status", 7), None);
    }
}
