//! The two levels of tables that say where a guest's clusters are.

use super::Writer;
use super::header::Header;
use super::refcounts::{Refcounts, entry};
use crate::{BlockError, Storage};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;

/// The cluster has exactly one reference: this one.
pub(super) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// Offset of a cluster in an entry.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Bytes of L2 tables that are kept in memory although they are on the disk.
const KEPT_BYTES: usize = 32 << 20;

pub(super) fn corrupt(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the qcow2 image is corrupt: {text}"))
}

/// Reads `entries` entries of eight bytes. The caller has checked that they are not too many.
pub(super) fn read_table(storage: &dyn Storage, offset: u64, entries: u64) -> Result<Vec<u64>, BlockError> {
    let mut bytes = vec![0; entries as usize * 8];
    storage.read_at(offset, &mut bytes)?;
    Ok((0..entries as usize).map(|i| entry(&bytes, i)).collect())
}

/// Where the bytes of a guest's cluster are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Nowhere: in the backing file, or zeros.
    Unallocated,
    /// Zeros; a cluster may be reserved for it.
    Zero(Option<u64>),
    /// In the file at that offset.
    Data(u64),
    /// Compressed: offset, bytes at most.
    Compressed(u64, u64),
}

impl Place {
    pub fn of(entry: u64, cluster_bits: u32) -> io::Result<Self> {
        if entry & COMPRESSED != 0 {
            // Sectors beyond the first are counted in the bits that the offset does not need.
            let width = 62 - (cluster_bits - 8);
            let offset = entry & ((1 << width) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> width;
            return Ok(Place::Compressed(offset, (sectors + 1) * 512 - offset % 512));
        }
        let offset = entry & OFFSET;
        if !offset.is_multiple_of(1 << cluster_bits) {
            return Err(corrupt("a cluster has a bad offset"));
        }
        Ok(match (entry & ZERO != 0, offset) {
            (true, 0) => Place::Zero(None),
            (true, _) => Place::Zero(Some(offset)),
            (false, 0) => Place::Unallocated,
            (false, _) => Place::Data(offset),
        })
    }
    /// The clusters of the file that it refers to.
    pub fn clusters(self, cluster_bits: u32) -> Range<u64> {
        match self {
            Place::Unallocated | Place::Zero(None) => 0..0,
            Place::Zero(Some(offset)) | Place::Data(offset) => offset >> cluster_bits..(offset >> cluster_bits) + 1,
            Place::Compressed(offset, bytes) => offset >> cluster_bits..((offset + bytes - 1) >> cluster_bits) + 1,
        }
    }
}

/// The entry of a cluster that is only ours.
pub(super) fn data_entry(offset: u64) -> u64 {
    offset | COPIED
}

/// The entry of a cluster of zeros.
pub(super) const ZERO_ENTRY: u64 = ZERO;

struct L2 {
    entries: Vec<u64>,
    /// Entries that are not on the disk as they are here.
    dirty: Range<usize>,
}

/// The tables of an image.
pub(super) struct Tables {
    cluster_bits: u32,
    l1: Vec<u64>,
    l1_offset: u64,
    dirty_l1: BTreeSet<usize>,
    l2: HashMap<usize, L2>,
}

impl Tables {
    pub fn open(header: &Header, storage: &dyn Storage) -> Result<Self, BlockError> {
        Ok(Tables {
            cluster_bits: header.cluster_bits,
            l1: read_table(storage, header.l1_offset, header.l1_entries.into())?,
            l1_offset: header.l1_offset,
            dirty_l1: BTreeSet::new(),
            l2: HashMap::new(),
        })
    }
    /// Where the L1 table is: offset and bytes.
    pub fn l1_place(&self) -> (u64, u64) {
        (self.l1_offset, self.l1.len() as u64 * 8)
    }
    /// The entry of a guest's cluster in the tables.
    fn index(&self, cluster: u64) -> (usize, usize) {
        let bits = self.cluster_bits - 3;
        ((cluster >> bits) as usize, (cluster & ((1 << bits) - 1)) as usize)
    }
    /// The entry of a guest's cluster, if what is in memory says it.
    pub fn cached(&self, cluster: u64) -> Option<u64> {
        let (i1, i2) = self.index(cluster);
        match self.l1.get(i1) {
            Some(l1) if l1 & OFFSET != 0 => self.l2.get(&i1).map(|l2| l2.entries[i2]),
            _ => Some(0),
        }
    }
    fn load(&mut self, storage: &dyn Storage, i1: usize) -> io::Result<&mut L2> {
        let offset = self.l1[i1] & OFFSET;
        if !self.l2.contains_key(&i1) {
            if !offset.is_multiple_of(1 << self.cluster_bits) {
                return Err(corrupt("an L2 table has a bad offset"));
            }
            if self.l2.len() >= (KEPT_BYTES >> self.cluster_bits).max(4) {
                self.l2.retain(|_, l2| !l2.dirty.is_empty());
            }
            let mut bytes = vec![0; 1 << self.cluster_bits];
            storage.read_at(offset, &mut bytes)?;
            let entries = (0..bytes.len() / 8).map(|i| entry(&bytes, i)).collect();
            self.l2.insert(i1, L2 { entries, dirty: 0..0 });
        }
        self.l2.get_mut(&i1).ok_or_else(|| corrupt("no L2 table"))
    }
    /// The entry of a guest's cluster.
    pub fn get(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<u64> {
        let (i1, i2) = self.index(cluster);
        match self.l1.get(i1) {
            Some(l1) if l1 & OFFSET != 0 => Ok(self.load(storage, i1)?.entries[i2]),
            _ => Ok(0),
        }
    }
    /// Makes the L2 table of a guest's cluster one that can be changed.
    pub fn own(&mut self, storage: &dyn Storage, counts: &mut Refcounts, cluster: u64) -> io::Result<()> {
        let (i1, _) = self.index(cluster);
        let old = *self.l1.get(i1).ok_or_else(|| corrupt("the L1 table is too short"))?;
        if old & COPIED != 0 && old & OFFSET != 0 {
            return Ok(());
        }
        let entries = match old & OFFSET {
            0 => vec![0; 1 << (self.cluster_bits - 3)],
            _ => self.load(storage, i1)?.entries.clone(),
        };
        let place = counts.allocate(storage, 1)?;
        if old & OFFSET != 0 {
            counts.end_reference((old & OFFSET) >> self.cluster_bits);
        }
        let dirty = 0..entries.len();
        self.l1[i1] = data_entry(place << self.cluster_bits);
        self.dirty_l1.insert(i1);
        self.l2.insert(i1, L2 { entries, dirty });
        Ok(())
    }
    /// Sets the entry of a guest's cluster whose table was [made ours](Tables::own).
    pub fn set(&mut self, storage: &dyn Storage, cluster: u64, value: u64) -> io::Result<()> {
        let (i1, i2) = self.index(cluster);
        let l2 = self.load(storage, i1)?;
        l2.entries[i2] = value;
        l2.dirty = match l2.dirty.is_empty() {
            true => i2..i2 + 1,
            false => l2.dirty.start.min(i2)..l2.dirty.end.max(i2 + 1),
        };
        Ok(())
    }
    pub fn is_dirty(&self) -> bool {
        !self.dirty_l1.is_empty() || self.l2.values().any(|l2| !l2.dirty.is_empty())
    }
    /// Whether so many tables wait to be written that they should be.
    pub fn is_full(&self) -> bool {
        self.l2.len() >= (KEPT_BYTES >> self.cluster_bits).max(4) && self.l2.values().all(|l2| !l2.dirty.is_empty())
    }
    /// Writes L2 tables, then the L1 table that names them.
    pub fn write(&mut self, out: &mut Writer<'_>) -> io::Result<()> {
        for (i1, l2) in self.l2.iter_mut().filter(|(_, l2)| !l2.dirty.is_empty()) {
            let dirty = l2.dirty.clone();
            let bytes: Vec<u8> = l2.entries[dirty.clone()].iter().flat_map(|entry| entry.to_be_bytes()).collect();
            out.write((self.l1[*i1] & OFFSET) + dirty.start as u64 * 8, &bytes)?;
            l2.dirty = 0..0;
        }
        if !self.dirty_l1.is_empty() {
            out.barrier()?;
        }
        for i1 in &self.dirty_l1 {
            out.write(self.l1_offset + *i1 as u64 * 8, &self.l1[*i1].to_be_bytes())?;
        }
        self.dirty_l1.clear();
        Ok(())
    }
}
