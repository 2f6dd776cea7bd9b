//! Reference counts of clusters, and finding free ones.

use super::Writer;
use super::header::{Header, MAX_REFCOUNT_TABLE_BYTES, at, be64};
use super::table::{corrupt, read_table};
use crate::{BlockError, Storage};
use std::collections::{BTreeSet, HashMap};
use std::io;

/// Blocks that are kept in memory although they are on the disk.
const KEPT_BLOCKS: usize = 256;

/// A count in a block of counts of `1 << order` bits each.
pub(super) fn get_count(block: &[u8], index: u64, order: u32) -> u64 {
    if order < 3 {
        let bit = index << order;
        let byte = block[(bit / 8) as usize];
        return u64::from(byte >> (bit % 8)) & ((1 << (1 << order)) - 1);
    }
    let bytes = 1usize << (order - 3);
    let start = index as usize * bytes;
    block[start..start + bytes].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Sets a count.
pub(super) fn put_count(block: &mut [u8], index: u64, order: u32, value: u64) {
    if order < 3 {
        let bit = index << order;
        let mask = ((1u16 << (1 << order)) - 1) as u8;
        let (byte, shift) = (&mut block[(bit / 8) as usize], bit % 8);
        *byte = *byte & !(mask << shift) | (value as u8 & mask) << shift;
        return;
    }
    let bytes = 1usize << (order - 3);
    let start = index as usize * bytes;
    block[start..start + bytes].copy_from_slice(&value.to_be_bytes()[8 - bytes..]);
}

struct Block {
    bytes: Vec<u8>,
    dirty: bool,
}

/// The counts of an image.
pub(super) struct Refcounts {
    cluster_bits: u32,
    order: u32,
    per_block: u64,
    /// Offsets of the blocks; 0 for one whose counts are all 0.
    table: Vec<u64>,
    table_offset: u64,
    /// Clusters of the table in the file.
    table_clusters: u64,
    dirty_entries: BTreeSet<usize>,
    /// Whether the table has got another place that the header does not name yet.
    moved: bool,
    blocks: HashMap<usize, Block>,
    /// No cluster below is free.
    hint: u64,
    /// References that end when everything that is dirty now is on the disk.
    ending: Vec<u64>,
}

impl Refcounts {
    pub fn open(header: &Header, storage: &dyn Storage) -> Result<Self, BlockError> {
        let bytes = u64::from(header.refcount_table_clusters) << header.cluster_bits;
        Ok(Refcounts {
            cluster_bits: header.cluster_bits,
            order: header.refcount_order,
            per_block: header.counts_per_block(),
            table: read_table(storage, header.refcount_table, bytes / 8)?,
            table_offset: header.refcount_table,
            table_clusters: header.refcount_table_clusters.into(),
            dirty_entries: BTreeSet::new(),
            moved: false,
            blocks: HashMap::new(),
            hint: 0,
            ending: Vec::new(),
        })
    }
    /// Where the table is: offset and bytes.
    pub fn table_place(&self) -> (u64, u64) {
        (self.table_offset, self.table_clusters << self.cluster_bits)
    }
    fn max_count(&self) -> u64 {
        if self.order == 6 { u64::MAX } else { (1 << (1 << self.order)) - 1 }
    }
    fn block(&mut self, storage: &dyn Storage, index: usize) -> io::Result<Option<&mut Block>> {
        let offset = match self.table.get(index) {
            None | Some(0) => return Ok(None),
            Some(offset) => *offset,
        };
        if !self.blocks.contains_key(&index) {
            if offset % (1 << self.cluster_bits) != 0 || offset >= 1 << 56 {
                return Err(corrupt("a reference count block has a bad offset"));
            }
            if self.blocks.len() >= KEPT_BLOCKS {
                self.blocks.retain(|_, block| block.dirty);
            }
            let mut bytes = vec![0; 1 << self.cluster_bits];
            storage.read_at(offset, &mut bytes)?;
            self.blocks.insert(index, Block { bytes, dirty: false });
        }
        Ok(self.blocks.get_mut(&index))
    }
    /// The count of a cluster.
    pub fn get(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<u64> {
        let (index, within, order) = (cluster / self.per_block, cluster % self.per_block, self.order);
        let block = self.block(storage, usize::try_from(index).unwrap_or(usize::MAX))?;
        Ok(block.map_or(0, |block| get_count(&block.bytes, within, order)))
    }
    /// Sets the count of a cluster whose block exists.
    pub fn set(&mut self, storage: &dyn Storage, cluster: u64, value: u64) -> io::Result<()> {
        let (index, within, order) = (cluster / self.per_block, cluster % self.per_block, self.order);
        if value > self.max_count() {
            return Err(corrupt("a reference count does not fit"));
        }
        let block = self.block(storage, index as usize)?.ok_or_else(|| corrupt("a used cluster has no count"))?;
        put_count(&mut block.bytes, within, order, value);
        block.dirty = true;
        Ok(())
    }
    /// From now on clusters are allocated behind that one only.
    pub fn allocate_behind(&mut self, cluster: u64) {
        self.hint = cluster;
    }
    /// Sets the count of any cluster, as a repair does.
    pub fn force(&mut self, storage: &dyn Storage, cluster: u64, value: u64) -> io::Result<()> {
        if self.get(storage, cluster)? == value {
            return Ok(());
        }
        self.ensure_block(storage, cluster, None)?;
        self.set(storage, cluster, value)
    }
    /// Makes the block with the count of a cluster, if there is none. It is put to `place`, which must be one of the
    /// clusters that it counts, or to a free cluster.
    fn ensure_block(&mut self, storage: &dyn Storage, cluster: u64, place: Option<u64>) -> io::Result<bool> {
        let index = (cluster / self.per_block) as usize;
        if index >= self.table.len() {
            self.grow_table(storage, index)?;
        }
        if self.table[index] != 0 {
            return Ok(false);
        }
        let place = match place {
            Some(place) => place,
            None => self.allocate(storage, 1)?,
        };
        if self.table[index] != 0 {
            // Finding a place has made this very block.
            self.release(storage, place)?;
            return Ok(false);
        }
        self.table[index] = place << self.cluster_bits;
        self.dirty_entries.insert(index);
        self.blocks.insert(index, Block { bytes: vec![0; 1 << self.cluster_bits], dirty: true });
        if place / self.per_block == index as u64 {
            self.set(storage, place, 1)?;
        }
        Ok(true)
    }
    /// Makes the table longer, so that it has that entry; it gets another place.
    fn grow_table(&mut self, storage: &dyn Storage, index: usize) -> io::Result<()> {
        let per_cluster = 1usize << (self.cluster_bits - 3);
        let entries = (index + 1).max(self.table.len() * 3 / 2).next_multiple_of(per_cluster);
        let clusters = (entries / per_cluster) as u64;
        if clusters << self.cluster_bits > MAX_REFCOUNT_TABLE_BYTES {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let old =
            self.table_offset >> self.cluster_bits..(self.table_offset >> self.cluster_bits) + self.table_clusters;
        self.table.resize(entries, 0);
        // The place is found with the longer table in memory; finding it may add blocks, but not lengthen it again,
        // since that is at least half of a cluster of entries away.
        let place = self.allocate(storage, clusters)?;
        self.ending.extend(old);
        self.table_offset = place << self.cluster_bits;
        self.table_clusters = clusters;
        self.moved = true;
        Ok(())
    }
    /// Finds `count` free clusters in a row and counts them once. They are not free again until [`Refcounts::release`].
    pub fn allocate(&mut self, storage: &dyn Storage, count: u64) -> io::Result<u64> {
        let (mut start, mut next) = (self.hint, self.hint);
        while next < start + count {
            if next >= 1 << (56 - self.cluster_bits) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let index = (next / self.per_block) as usize;
            if index >= self.table.len() {
                // The longer table takes clusters too.
                self.grow_table(storage, index)?;
                (start, next) = (self.hint, self.hint);
                continue;
            }
            // A new block is the first of the clusters that it counts.
            let taken = self.ensure_block(storage, next, Some(next))? || self.get(storage, next)? != 0;
            if taken {
                if start == next && self.hint == start {
                    self.hint += 1;
                }
                start = next + 1;
            }
            next += 1;
        }
        for cluster in start..next {
            self.set(storage, cluster, 1)?;
        }
        if start == self.hint {
            self.hint = next;
        }
        Ok(start)
    }
    /// Gives clusters back that were allocated and never became part of the image.
    pub fn release(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<()> {
        self.hint = self.hint.min(cluster);
        self.set(storage, cluster, 0)
    }
    /// One reference to a cluster ends with the next time that everything is written.
    pub fn end_reference(&mut self, cluster: u64) {
        self.ending.push(cluster);
    }
    /// Number of references that wait for their end.
    pub fn waiting(&self) -> usize {
        self.ending.len()
    }
    pub fn is_dirty(&self) -> bool {
        self.moved || !self.dirty_entries.is_empty() || self.blocks.values().any(|block| block.dirty)
    }
    /// Writes blocks, then the table that names them, then the header that names the table.
    pub fn write(&mut self, out: &mut Writer<'_>) -> io::Result<()> {
        for (index, block) in self.blocks.iter_mut().filter(|(_, block)| block.dirty) {
            out.write(self.table[*index], &block.bytes)?;
            block.dirty = false;
        }
        if self.moved {
            let bytes: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            out.barrier()?;
            out.write(self.table_offset, &bytes)?;
            out.barrier()?;
            // Offset and length are next to each other: one write changes both.
            let mut fields = self.table_offset.to_be_bytes().to_vec();
            fields.extend((self.table_clusters as u32).to_be_bytes());
            const { assert!(at::REFCOUNT_TABLE_CLUSTERS == at::REFCOUNT_TABLE + 8) };
            out.write(at::REFCOUNT_TABLE as u64, &fields)?;
            (self.moved, self.dirty_entries) = (false, BTreeSet::new());
        }
        if !self.dirty_entries.is_empty() {
            out.barrier()?;
        }
        for index in &self.dirty_entries {
            out.write(self.table_offset + *index as u64 * 8, &self.table[*index].to_be_bytes())?;
        }
        self.dirty_entries.clear();
        Ok(())
    }
    /// Ends the references that waited for everything to be written; gives the clusters that are free now.
    pub fn end_references(&mut self, storage: &dyn Storage) -> io::Result<Vec<u64>> {
        let mut free = Vec::new();
        for cluster in std::mem::take(&mut self.ending) {
            let count = self.get(storage, cluster)?;
            let left = count.checked_sub(1).ok_or_else(|| corrupt("a used cluster has no count"))?;
            self.set(storage, cluster, left)?;
            if left == 0 {
                self.hint = self.hint.min(cluster);
                free.push(cluster);
            }
        }
        Ok(free)
    }
}

/// An entry of a table as a number.
pub(super) fn entry(bytes: &[u8], index: usize) -> u64 {
    be64(bytes, index * 8)
}
