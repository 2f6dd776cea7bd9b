//! The header of a qcow2 file.

use crate::{BlockError, Storage};

/// First bytes.
const MAGIC: u32 = u32::from_be_bytes(*b"QFI\xfb");
/// Length of the header of version 2, and the least one of version 3.
const V2_LEN: usize = 72;
pub(super) const V3_LEN: usize = 104;

/// Offsets in the header.
pub(super) mod at {
    pub const BACKING_OFFSET: usize = 8;
    pub const BACKING_LEN: usize = 16;
    pub const CLUSTER_BITS: usize = 20;
    pub const SIZE: usize = 24;
    pub const ENCRYPTION: usize = 32;
    pub const L1_ENTRIES: usize = 36;
    pub const L1_OFFSET: usize = 40;
    pub const REFCOUNT_TABLE: usize = 48;
    pub const REFCOUNT_TABLE_CLUSTERS: usize = 56;
    pub const SNAPSHOTS: usize = 60;
    pub const SNAPSHOT_TABLE: usize = 64;
    pub const INCOMPATIBLE: usize = 72;
    pub const COMPATIBLE: usize = 80;
    pub const AUTOCLEAR: usize = 88;
    pub const REFCOUNT_ORDER: usize = 96;
    pub const HEADER_LEN: usize = 100;
}

/// Incompatible features, by bit number.
pub(super) mod feature {
    /// Reference counts may be wrong.
    pub const DIRTY: u64 = 1 << 0;
    /// Something was found to be wrong; no more writes.
    pub const CORRUPT: u64 = 1 << 1;
    /// What is refused by name.
    pub const REFUSED: [(u64, &str); 3] = [
        (1 << 2, "qcow2 feature 'external data file'"),
        (1 << 3, "qcow2 feature 'compression type' (zstd)"),
        (1 << 4, "qcow2 feature 'extended L2 entries'"),
    ];
    pub const KNOWN: u64 = 0x1f;
    /// Compatible: reference counts may be written late, if DIRTY is set meanwhile.
    pub const LAZY_REFCOUNTS: u64 = 1 << 0;
}

/// Header extensions.
pub(super) const EXTENSION_END: u32 = 0;
pub(super) const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;

/// Limits that QEMU has too: bytes of the L1 table and of the reference count table, number of snapshots.
const MAX_L1_BYTES: u64 = 32 << 20;
pub(super) const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65536;
const MAX_BACKING_NAME: u32 = 1023;

/// What the header says.
#[derive(Clone, Debug)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Size of a cluster: a power of two.
    pub cluster_bits: u32,
    /// Number of bytes of the disk.
    pub size: u64,
    /// Offset of the L1 table.
    pub l1_offset: u64,
    /// Its entries.
    pub l1_entries: u32,
    /// Offset of the table of reference count blocks.
    pub refcount_table: u64,
    /// Its clusters.
    pub refcount_table_clusters: u32,
    /// Number of internal snapshots.
    pub snapshots: u32,
    /// Offset of the snapshot table.
    pub snapshot_table: u64,
    /// Features that must be known.
    pub incompatible: u64,
    /// Features that need not be known.
    pub compatible: u64,
    /// Features whose bits those who do not know them clear.
    pub autoclear: u64,
    /// A reference count has 2 to the power of that many bits.
    pub refcount_order: u32,
    backing_file: Option<Vec<u8>>,
    backing_format: Option<Vec<u8>>,
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

impl Header {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// It is none, contradicts itself, or needs what is not implemented.
    pub fn read(storage: &dyn Storage) -> Result<Self, BlockError> {
        let mut raw = [0; V3_LEN];
        storage.read_at(0, &mut raw)?;
        if be32(&raw, 0) != MAGIC {
            return Err(BlockError::malformed("Image is not in qcow2 format"));
        }
        let version = be32(&raw, 4);
        if !matches!(version, 2 | 3) {
            return Err(BlockError::unsupported(format!("qcow2 version {version}")));
        }
        let v3 = |at: usize| if version == 3 { be64(&raw, at) } else { 0 };
        let mut header = Header {
            version,
            cluster_bits: be32(&raw, at::CLUSTER_BITS),
            size: be64(&raw, at::SIZE),
            l1_offset: be64(&raw, at::L1_OFFSET),
            l1_entries: be32(&raw, at::L1_ENTRIES),
            refcount_table: be64(&raw, at::REFCOUNT_TABLE),
            refcount_table_clusters: be32(&raw, at::REFCOUNT_TABLE_CLUSTERS),
            snapshots: be32(&raw, at::SNAPSHOTS),
            snapshot_table: be64(&raw, at::SNAPSHOT_TABLE),
            incompatible: v3(at::INCOMPATIBLE),
            compatible: v3(at::COMPATIBLE),
            autoclear: v3(at::AUTOCLEAR),
            refcount_order: if version == 3 { be32(&raw, at::REFCOUNT_ORDER) } else { 4 },
            backing_file: None,
            backing_format: None,
        };
        let header_len = if version == 3 { be32(&raw, at::HEADER_LEN) as usize } else { V2_LEN };
        header.check_features(be32(&raw, at::ENCRYPTION))?;
        header.check_layout(header_len)?;
        let mut cluster = vec![0; 1 << header.cluster_bits];
        storage.read_at(0, &mut cluster)?;
        let names_at = be64(&raw, at::BACKING_OFFSET);
        header.read_backing_name(&cluster, names_at, be32(&raw, at::BACKING_LEN))?;
        let extensions_end = if names_at == 0 { cluster.len() } else { names_at as usize };
        header.read_extensions(cluster.get(header_len..extensions_end).unwrap_or_default())?;
        Ok(header)
    }
    fn check_features(&self, encryption: u32) -> Result<(), BlockError> {
        if encryption != 0 {
            return Err(BlockError::unsupported("qcow2 encryption"));
        }
        if let Some((_, name)) = feature::REFUSED.iter().find(|(bit, _)| self.incompatible & bit != 0) {
            return Err(BlockError::unsupported(*name));
        }
        match self.incompatible & !feature::KNOWN {
            0 => Ok(()),
            unknown => Err(BlockError::unsupported(format!("qcow2 feature bits {unknown:#x}"))),
        }
    }
    fn check_layout(&self, header_len: usize) -> Result<(), BlockError> {
        let malformed = |text: &str| Err(BlockError::malformed(text));
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(BlockError::unsupported(format!("Cluster size: 2^{}", self.cluster_bits)));
        }
        if self.version == 3
            && (header_len < V3_LEN || header_len > self.cluster_size() as usize || !header_len.is_multiple_of(8))
        {
            return malformed("qcow2 header length is out of range");
        }
        if self.refcount_order > 6 {
            return malformed("Reference count entry width too large; may not exceed 64 bits");
        }
        let aligned = |offset: u64| offset.is_multiple_of(self.cluster_size()) && offset < 1 << 56;
        let l1_bytes = u64::from(self.l1_entries) * 8;
        if l1_bytes > MAX_L1_BYTES {
            return malformed("Active L1 table too large");
        }
        if self.size > 1 << 62 || u64::from(self.l1_entries) < self.l1_needed() {
            return malformed("L1 table is too small");
        }
        if !aligned(self.l1_offset) || (self.l1_entries > 0 && self.l1_offset == 0) {
            return malformed("Active L1 table offset invalid");
        }
        let table_bytes = u64::from(self.refcount_table_clusters) << self.cluster_bits;
        if self.refcount_table_clusters == 0 {
            return malformed("Image does not contain a reference count table");
        }
        if !aligned(self.refcount_table) || self.refcount_table == 0 || table_bytes > MAX_REFCOUNT_TABLE_BYTES {
            return malformed("Reference count table offset or size invalid");
        }
        if self.snapshots > MAX_SNAPSHOTS || (self.snapshots > 0 && !aligned(self.snapshot_table)) {
            return malformed("Snapshot table offset or size invalid");
        }
        Ok(())
    }
    /// Entries of the L1 table that the disk's size needs.
    fn l1_needed(&self) -> u64 {
        // One entry is for an L2 table of a cluster, which has an eighth of its size in entries.
        self.size.div_ceil(1 << (2 * self.cluster_bits - 3))
    }
    fn read_backing_name(&mut self, cluster: &[u8], offset: u64, len: u32) -> Result<(), BlockError> {
        if offset == 0 {
            return Ok(());
        }
        if len > MAX_BACKING_NAME {
            return Err(BlockError::malformed("Backing file name too long"));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let name = start.checked_add(len as usize).and_then(|end| cluster.get(start..end));
        let name = name.ok_or_else(|| BlockError::malformed("Invalid backing file offset"))?;
        self.backing_file = (!name.is_empty()).then(|| name.to_vec());
        Ok(())
    }
    fn read_extensions(&mut self, mut rest: &[u8]) -> Result<(), BlockError> {
        while rest.len() >= 8 && be32(rest, 0) != EXTENSION_END {
            let (kind, len) = (be32(rest, 0), be32(rest, 4) as usize);
            let content = rest[8..].get(..len).ok_or_else(|| BlockError::malformed("Header extension too large"))?;
            if kind == EXTENSION_BACKING_FORMAT {
                self.backing_format = Some(content.to_vec());
            }
            rest = rest[8..].get(len.next_multiple_of(8)..).unwrap_or_default();
        }
        Ok(())
    }
    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }
    /// Name of the backing file.
    ///
    /// # Errors
    /// It is none that this program can open.
    pub fn backing_file(&self) -> Result<Option<&str>, BlockError> {
        let Some(raw) = &self.backing_file else { return Ok(None) };
        let name = std::str::from_utf8(raw).map_err(|_| BlockError::unsupported("a backing file name not in UTF-8"))?;
        if name.starts_with("json:") || name.contains('\0') {
            return Err(BlockError::unsupported(format!("backing file '{name}'")));
        }
        Ok(Some(name))
    }
    /// Format of the backing file, if the header says it.
    pub fn backing_format(&self) -> Option<&str> {
        self.backing_format.as_deref().and_then(|raw| std::str::from_utf8(raw).ok())
    }
    /// Reference counts in a block.
    pub(super) fn counts_per_block(&self) -> u64 {
        (self.cluster_size() * 8) >> self.refcount_order
    }
}
