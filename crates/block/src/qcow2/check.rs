//! Checking that an image's reference counts are what its tables say.

use super::Writer;
use super::header::Header;
use super::refcounts::{Refcounts, get_count};
use super::snapshot::read_list;
use super::table::{COPIED, OFFSET, Place, read_table};
use crate::{BlockError, Storage};
use std::collections::{BTreeMap, BTreeSet};

/// What a check has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Errors: what may lose data. The first ones; all are counted.
    pub errors: Vec<String>,
    /// Number of errors.
    pub error_count: u64,
    /// Clusters that are counted more often than they are used.
    pub leaks: u64,
    /// Clusters of the guest that are in the file.
    pub allocated: u64,
}

/// Errors that are described.
const DESCRIBED: usize = 20;

impl Report {
    fn error(&mut self, text: String) {
        self.error_count += 1;
        if self.errors.len() < DESCRIBED {
            self.errors.push(text);
        }
    }
}

/// How often each cluster of a file is used.
struct Walk<'a> {
    storage: &'a dyn Storage,
    header: &'a Header,
    uses: BTreeMap<u64, u64>,
    /// The blocks of reference counts: number and offset.
    blocks: Vec<(u64, u64)>,
    report: Report,
    /// Length of the file.
    end: u64,
}

impl Walk<'_> {
    fn bits(&self) -> u32 {
        self.header.cluster_bits
    }
    fn use_bytes(&mut self, what: &str, offset: u64, len: u64) {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.end.next_multiple_of(1 << self.bits()))
        else {
            self.report.error(format!("{what} at {offset:#x} is beyond the end of the file"));
            return;
        };
        for cluster in offset >> self.bits()..end.div_ceil(1 << self.bits()) {
            *self.uses.entry(cluster).or_default() += 1;
        }
    }
    /// A table of the first level with all that is below. Only the active one says what is used once.
    fn use_l1(&mut self, offset: u64, entries: u64) -> Result<Vec<(u64, bool)>, BlockError> {
        let (mut marks, mut seen) = (Vec::new(), BTreeSet::new());
        self.use_bytes("L1 table", offset, entries * 8);
        for l1 in read_table(self.storage, offset, entries)? {
            let l2 = l1 & OFFSET;
            if l2 == 0 {
                continue;
            }
            // A table that is named again and again would be walked again and again.
            if !l2.is_multiple_of(1 << self.bits()) || l2 >= self.end || !seen.insert(l2) {
                self.report.error(format!("L2 table offset {l2:#x} is bad"));
                continue;
            }
            marks.push((l2 >> self.bits(), l1 & COPIED != 0));
            self.use_bytes("L2 table", l2, 1 << self.bits());
            for entry in read_table(self.storage, l2, 1 << (self.bits() - 3))? {
                self.use_entry(entry, &mut marks);
            }
        }
        Ok(marks)
    }
    fn use_entry(&mut self, entry: u64, marks: &mut Vec<(u64, bool)>) {
        let Ok(place) = Place::of(entry, self.bits()) else {
            self.report.error(format!("L2 entry {entry:#x} is bad"));
            return;
        };
        let clusters = place.clusters(self.bits());
        self.report.allocated += u64::from(matches!(place, Place::Data(_) | Place::Compressed(..)));
        match place {
            Place::Compressed(offset, len) => {
                // The last sector may be cut off by the end of the file.
                let len = len.min(self.end.saturating_sub(offset)).max(1);
                self.use_bytes("compressed cluster", offset, len);
            }
            _ => {
                marks.extend(clusters.clone().map(|cluster| (cluster, entry & COPIED != 0)));
                clusters.for_each(|cluster| self.use_bytes("cluster", cluster << self.bits(), 1));
            }
        }
    }
}

/// How often each cluster is used, what is wrong with the tables, and which entries say that they are the only ones.
fn walk<'a>(storage: &'a dyn Storage, header: &'a Header) -> Result<(Walk<'a>, Vec<(u64, bool)>), BlockError> {
    let end = storage.len()?;
    let mut walk = Walk { storage, header, uses: BTreeMap::new(), blocks: Vec::new(), report: Report::default(), end };
    let size = header.cluster_size();
    walk.use_bytes("header", 0, size);
    let marks = walk.use_l1(header.l1_offset, header.l1_entries.into())?;
    let (snapshots, list_bytes) = read_list(storage, header)?;
    if header.snapshots > 0 {
        walk.use_bytes("snapshot table", header.snapshot_table, list_bytes);
    }
    let allocated = walk.report.allocated;
    for snapshot in snapshots {
        let (offset, entries) = snapshot.l1;
        if !offset.is_multiple_of(size) || u64::from(entries) * 8 > 32 << 20 {
            walk.report.error(format!("L1 table of snapshot {} is bad", snapshot.id));
            continue;
        }
        walk.use_l1(offset, entries.into())?;
    }
    walk.report.allocated = allocated;
    let table_bytes = u64::from(header.refcount_table_clusters) << header.cluster_bits;
    walk.use_bytes("reference count table", header.refcount_table, table_bytes);
    let mut seen = BTreeSet::new();
    for (index, block) in read_table(storage, header.refcount_table, table_bytes / 8)?.into_iter().enumerate() {
        if block == 0 {
            continue;
        }
        if !block.is_multiple_of(size) || block >= end || !seen.insert(block) {
            walk.report.error(format!("reference count block offset {block:#x} is bad"));
            continue;
        }
        walk.use_bytes("reference count block", block, size);
        walk.blocks.push((index as u64, block));
    }
    Ok((walk, marks))
}

/// The counts that are not 0, by cluster.
fn counts(storage: &dyn Storage, header: &Header, blocks: &[(u64, u64)]) -> Result<BTreeMap<u64, u64>, BlockError> {
    let mut counts = BTreeMap::new();
    let per_block = header.counts_per_block();
    let mut bytes = vec![0; header.cluster_size() as usize];
    for (index, block) in blocks {
        storage.read_at(*block, &mut bytes)?;
        let counted = (0..per_block).map(|i| (i, get_count(&bytes, i, header.refcount_order)));
        counts.extend(counted.filter(|(_, count)| *count != 0).map(|(i, n)| (index * per_block + i, n)));
    }
    Ok(counts)
}

/// Compares an image's reference counts with its tables.
///
/// # Errors
/// The header is no good, or the host fails.
pub fn check(storage: &dyn Storage) -> Result<Report, BlockError> {
    let header = Header::read(storage)?;
    let (Walk { mut uses, mut report, blocks, .. }, marks) = walk(storage, &header)?;
    let counts = counts(storage, &header, &blocks)?;
    for (cluster, only) in marks {
        let count = counts.get(&cluster).copied().unwrap_or(0);
        if only != (count == 1) {
            report
                .error(format!("cluster {cluster}: count {count}, marked as {}", if only { "ours" } else { "shared" }));
        }
    }
    for (cluster, count) in counts {
        let used = uses.remove(&cluster).unwrap_or(0);
        match count.cmp(&used) {
            std::cmp::Ordering::Less => report.error(format!("cluster {cluster}: count {count}, used {used} times")),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => report.leaks += 1,
        }
    }
    for (cluster, used) in uses {
        report.error(format!("cluster {cluster}: count 0, used {used} times"));
    }
    Ok(report)
}

/// Sets the reference counts of an image whose writer has not come to it.
pub(super) fn repair(storage: &dyn Storage, header: &Header) -> Result<(), BlockError> {
    let (Walk { uses, report, blocks, end, .. }, _) = walk(storage, header)?;
    if let Some(error) = report.errors.first() {
        return Err(BlockError::malformed(format!("the image was not closed and cannot be repaired: {error}")));
    }
    let old = self::counts(storage, header, &blocks)?;
    let mut counts = Refcounts::open(header, storage)?;
    counts.allocate_behind(end.div_ceil(header.cluster_size()));
    for cluster in old.keys().filter(|cluster| !uses.contains_key(cluster)) {
        counts.force(storage, *cluster, 0)?;
    }
    for (cluster, used) in uses {
        counts.force(storage, cluster, used)?;
    }
    counts.write(&mut Writer { storage, written: false })?;
    storage.sync()?;
    Ok(())
}
