//! Making qcow2 files.

use super::header::{EXTENSION_BACKING_FORMAT, MAX_REFCOUNT_TABLE_BYTES, V3_LEN, at, feature};
use crate::{BlockError, Storage};

/// What a new file is to be like.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Bytes of the disk.
    pub size: u64,
    /// 2 (`compat=0.10`) or 3 (`compat=1.1`).
    pub version: u32,
    /// Size of a cluster: a power of two from 512 bytes to 2 MiB.
    pub cluster_bits: u32,
    /// A reference count has 2 to the power of that many bits.
    pub refcount_order: u32,
    /// Whether reference counts may be written late.
    pub lazy_refcounts: bool,
    /// Name and format of a backing file.
    pub backing: Option<(String, &'static str)>,
}

impl Default for Parameters {
    fn default() -> Self {
        let (version, cluster_bits, refcount_order) = (3, 16, 4);
        Parameters { size: 0, version, cluster_bits, refcount_order, lazy_refcounts: false, backing: None }
    }
}

impl Parameters {
    fn check(&self) -> Result<(), BlockError> {
        let option = |text: &str| Err(BlockError::Option(text.to_owned()));
        if !(9..=21).contains(&self.cluster_bits) {
            return option("Cluster size must be a power of two between 512 and 2048k");
        }
        if self.refcount_order > 6 {
            return option("Refcount width must be a power of two and may not exceed 64 bits");
        }
        match self.version {
            2 if self.refcount_order != 4 => {
                option("Different refcount widths than 16 bits require compatibility level 1.1 or above")
            }
            2 if self.lazy_refcounts => option("Lazy refcounts only supported with compatibility level 1.1 and above"),
            2 | 3 => Ok(()),
            _ => option("Invalid compatibility level"),
        }
    }
}

/// Where everything is in a new file: cluster numbers.
struct Layout {
    cluster: u64,
    l1_entries: u64,
    /// First cluster and number of the L1 table.
    l1: (u64, u64),
    table: (u64, u64),
    blocks: (u64, u64),
    /// Clusters in all.
    all: u64,
}

impl Layout {
    /// Header, L1 table, table of reference count blocks, blocks. The blocks count themselves too.
    fn new(parameters: &Parameters) -> Result<Self, BlockError> {
        let bits = parameters.cluster_bits;
        let cluster = 1u64 << bits;
        let l1_entries = parameters.size.div_ceil(1 << (2 * bits - 3));
        let l1_clusters = (l1_entries * 8).div_ceil(cluster);
        if l1_entries * 8 > 32 << 20 {
            return Err(BlockError::Option("Image size too large for the cluster size".to_owned()));
        }
        let per_block = (cluster * 8) >> parameters.refcount_order;
        let (mut blocks, mut table) = (1, 1);
        loop {
            let all = 1 + l1_clusters + table + blocks;
            let needed = all.div_ceil(per_block);
            if needed <= blocks {
                let l1 = (1, l1_clusters);
                let table = (1 + l1_clusters, table);
                if table.1 * cluster > MAX_REFCOUNT_TABLE_BYTES {
                    return Err(BlockError::Option("Image size too large for the cluster size".to_owned()));
                }
                return Ok(Layout { cluster, l1_entries, l1, table, blocks: (table.0 + table.1, blocks), all });
            }
            blocks = needed;
            table = (blocks * 8).div_ceil(cluster);
        }
    }
}

/// Writes an empty disk into a file, which should be empty.
///
/// # Errors
/// A parameter is out of range, or the host fails.
pub fn create(storage: &dyn Storage, parameters: &Parameters) -> Result<(), BlockError> {
    parameters.check()?;
    let layout = Layout::new(parameters)?;
    let header = header_cluster(parameters, &layout)?;
    let offset = |cluster: u64| cluster * layout.cluster;
    let zeros = vec![0; layout.cluster as usize];
    for cluster in layout.l1.0..layout.l1.0 + layout.l1.1 {
        storage.write_at(offset(cluster), &zeros)?;
    }
    let mut table = vec![0u8; offset(layout.table.1) as usize];
    for (i, entry) in table.chunks_exact_mut(8).take(layout.blocks.1 as usize).enumerate() {
        entry.copy_from_slice(&offset(layout.blocks.0 + i as u64).to_be_bytes());
    }
    storage.write_at(offset(layout.table.0), &table)?;
    let mut blocks = vec![0u8; offset(layout.blocks.1) as usize];
    for cluster in 0..layout.all {
        super::refcounts::put_count(&mut blocks, cluster, parameters.refcount_order, 1);
    }
    storage.write_at(offset(layout.blocks.0), &blocks)?;
    // The header makes it an image, so it comes last.
    storage.sync()?;
    storage.write_at(0, &header)?;
    Ok(())
}

fn header_cluster(parameters: &Parameters, layout: &Layout) -> Result<Vec<u8>, BlockError> {
    let mut raw = vec![0; layout.cluster as usize];
    let mut put32 = |at: usize, value: u32| raw[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put32(0, u32::from_be_bytes(*b"QFI\xfb"));
    put32(4, parameters.version);
    put32(at::CLUSTER_BITS, parameters.cluster_bits);
    put32(at::L1_ENTRIES, layout.l1_entries as u32);
    put32(at::REFCOUNT_TABLE_CLUSTERS, layout.table.1 as u32);
    let mut put64 = |at: usize, value: u64| raw[at..at + 8].copy_from_slice(&value.to_be_bytes());
    put64(at::SIZE, parameters.size);
    put64(at::L1_OFFSET, layout.l1.0 * layout.cluster);
    put64(at::REFCOUNT_TABLE, layout.table.0 * layout.cluster);
    let mut end = 72;
    if parameters.version == 3 {
        put64(at::COMPATIBLE, if parameters.lazy_refcounts { feature::LAZY_REFCOUNTS } else { 0 });
        raw[at::REFCOUNT_ORDER..at::REFCOUNT_ORDER + 4].copy_from_slice(&parameters.refcount_order.to_be_bytes());
        raw[at::HEADER_LEN..at::HEADER_LEN + 4].copy_from_slice(&(V3_LEN as u32).to_be_bytes());
        end = V3_LEN;
    }
    let Some((name, format)) = &parameters.backing else { return Ok(raw) };
    let mut tail = Vec::new();
    tail.extend(EXTENSION_BACKING_FORMAT.to_be_bytes());
    tail.extend((format.len() as u32).to_be_bytes());
    tail.extend(format.as_bytes());
    // Padding, and the extension that ends the list.
    tail.resize(tail.len().next_multiple_of(8) + 8, 0);
    let name_at = end + tail.len();
    tail.extend(name.as_bytes());
    let room = raw.get_mut(end..end + tail.len()).filter(|_| name.len() <= 1023);
    room.ok_or_else(|| BlockError::Option("Backing file name too long".to_owned()))?.copy_from_slice(&tail);
    raw[at::BACKING_OFFSET..at::BACKING_OFFSET + 8].copy_from_slice(&(name_at as u64).to_be_bytes());
    raw[at::BACKING_LEN..at::BACKING_LEN + 4].copy_from_slice(&(name.len() as u32).to_be_bytes());
    Ok(raw)
}
