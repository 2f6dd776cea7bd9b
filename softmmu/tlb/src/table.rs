//! The tables that compiled code probes, as other threads see them.

use crate::{ENTRIES, Entry, NONE};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// A table.
pub type Table = [Entry; ENTRIES];

/// The tables of one vCPU: one for each context, made when it is first used.
#[derive(Debug)]
pub struct Tables(Box<[OnceLock<Box<Table>>]>);

impl Tables {
    /// Tables of that many contexts.
    pub fn new(contexts: usize) -> Self {
        Tables((0..contexts).map(|_| OnceLock::new()).collect())
    }
    /// How many contexts there are.
    pub fn contexts(&self) -> usize {
        self.0.len()
    }
    /// The table of a context.
    pub fn table(&self, context: usize) -> &Table {
        self.0[context % self.0.len()].get_or_init(|| {
            let entries: Box<[Entry]> = (0..ENTRIES).map(|_| Entry::empty()).collect();
            match entries.try_into() {
                Ok(table) => table,
                Err(_) => unreachable!("it has as many entries"),
            }
        })
    }
    /// Makes stores to that host memory miss from now on; for any thread. Who fills an entry at the same moment looks
    /// afterwards whether the memory may still be stored to directly ([`crate::Tlb::insert`]).
    pub fn withdraw(&self, host: &Range<u64>) {
        for entry in self.0.iter().filter_map(OnceLock::get).flat_map(|table| table.iter()) {
            let tag = entry.write.load(Ordering::SeqCst);
            if tag != NONE && host.contains(&tag.wrapping_add(entry.addend.load(Ordering::SeqCst))) {
                // Another page that takes the place at this moment is withdrawn with it, which does no harm.
                entry.write.store(NONE, Ordering::SeqCst);
            }
        }
    }
}
