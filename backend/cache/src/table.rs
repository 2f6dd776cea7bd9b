//! Lookup of placed code by guest program counter and mode.

use crate::sync::{read, write};
use crate::tb::TbId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{RwLock, RwLockWriteGuard};

/// log2 of the size of a guest's page.
const PAGE_SHIFT: u32 = 12;

/// What a translation is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Guest program counter.
    pub pc: u64,
    /// What else decides the meaning of the bytes there.
    pub mode: u64,
    /// Where the code really is, if the same program counter may mean another place at another time: the page that
    /// holds its first byte.
    pub page: u64,
    /// The page that holds the end of an instruction that starts on the other page, if there is one.
    pub next: u64,
}

impl Key {
    /// The key of code that is found by its program counter alone.
    pub const fn at(pc: u64, mode: u64) -> Self {
        Key { pc, mode, page: 0, next: 0 }
    }
    /// The key of the first instruction alone. Pages have even addresses, so that it is another one.
    pub const fn alone(self) -> Self {
        Key { next: self.next | 1, ..self }
    }
    /// Whether code of the key, which stays in its page but for an instruction over its end, may hold the one at that
    /// program counter.
    pub const fn is_near(&self, pc: u64) -> bool {
        (pc >> PAGE_SHIFT).wrapping_sub(self.pc >> PAGE_SHIFT) <= 1
    }
}

/// Where placed code is entered. Valid as long as the vCPU that looked it up stays pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its block.
    pub tb: TbId,
    /// Host address of the main entry.
    pub address: usize,
    /// Offset of the entry for computed jumps.
    pub indirect: u32,
}

const SHARDS: usize = 32;
/// 2^64 divided by the golden ratio: spreads consecutive program counters over the word.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A multiplicative hasher: the keys are program counters, which nobody chooses to collide with profit.
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        // The map takes its control bytes from the top and its position from the bottom.
        self.0 ^ self.0 >> 32
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(SPREAD);
    }
}

/// A hash map with that hasher.
pub type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// The sharded table.
#[derive(Default)]
pub struct Table {
    shards: [RwLock<FastMap<Key, Entry>>; SHARDS],
}

impl Table {
    fn shard(&self, key: Key) -> &RwLock<FastMap<Key, Entry>> {
        // Other bits than those that spread the keys inside a shard.
        &self.shards[(key.pc.wrapping_mul(SPREAD) >> 40) as usize % SHARDS]
    }
    /// The entry of a key.
    pub fn find(&self, key: Key) -> Option<Entry> {
        read(self.shard(key)).get(&key).copied()
    }
    /// The entry of a key, shown to `f` before anyone can remove it.
    pub fn find_with(&self, key: Key, f: impl Fn(&Entry)) -> Option<Entry> {
        let shard = read(self.shard(key));
        let entry = shard.get(&key).copied();
        entry.iter().for_each(f);
        entry
    }
    /// Adds an entry.
    pub fn insert(&self, key: Key, entry: Entry) {
        write(self.shard(key)).insert(key, entry);
    }
    /// Removes an entry.
    pub fn remove(&self, key: Key) {
        write(self.shard(key)).remove(&key);
    }
    /// Locks all of it.
    pub fn lock_all(&self) -> Vec<RwLockWriteGuard<'_, FastMap<Key, Entry>>> {
        self.shards.iter().map(write).collect()
    }
}
