//! The qcow2 format, versions 2 and 3.
//!
//! Reference: `docs/interop/qcow2.rst` of QEMU, the specification of the format.
//!
//! # Order of writes
//!
//! A guest's data is written at once; the tables that say where it is stay in memory until a flush. A flush writes
//! reference counts, then L2 tables, then the L1 table, with a barrier in between, and only after that ends references
//! to clusters that are not used any more. So whatever a crash leaves behind, every cluster that a table names is
//! counted, none is used twice, and what was flushed is there. At worst some clusters are counted that nobody uses.

mod check;
mod create;
mod header;
mod refcounts;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

pub use check::{Report, check};
pub use create::{Parameters, create};
pub use header::Header;
pub use snapshot::{Snapshot, snapshots};

use crate::image::{check_range, read_only_error};
use crate::{BlockError, Image, ImageInfo, Storage};
use header::{at, feature};
use refcounts::Refcounts;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use table::{COPIED, Place, Tables, ZERO_ENTRY, corrupt, data_entry};

/// References that wait for a flush at most.
const MAX_WAITING: usize = 1 << 16;

/// Writes with barriers in between.
struct Writer<'a> {
    storage: &'a dyn Storage,
    /// Whether something was written since the last barrier.
    written: bool,
}

impl Writer<'_> {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.written = true;
        self.storage.write_at(offset, data)
    }
    fn barrier(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.written) { self.storage.sync() } else { Ok(()) }
    }
}

struct State {
    tables: Tables,
    counts: Refcounts,
}

/// A part of a request that is in one cluster.
#[derive(Clone, Debug)]
struct Chunk {
    /// The guest's cluster.
    cluster: u64,
    /// First byte in it.
    within: u64,
    /// The bytes of the request.
    bytes: Range<usize>,
}

/// A cluster that was found for a chunk and is not in the tables yet.
struct Fresh {
    cluster: u64,
    host: u64,
    old: Place,
}

/// An image in the qcow2 format.
pub struct Qcow2Image<S: Storage> {
    storage: S,
    header: Header,
    backing: Option<Arc<dyn Image>>,
    read_only: bool,
    broken: AtomicBool,
    state: RwLock<State>,
    /// The compressed cluster that was read last: its entry and its bytes.
    inflated: Mutex<Option<(Place, Arc<Vec<u8>>)>>,
}

impl<S: Storage> Qcow2Image<S> {
    /// Opens an image on top of its backing image.
    ///
    /// # Errors
    /// It contradicts itself, needs what is not implemented, or the host fails.
    pub fn open(storage: S, backing: Option<Arc<dyn Image>>, read_only: bool) -> Result<Self, BlockError> {
        let mut header = Header::read(&storage)?;
        if !read_only {
            if header.incompatible & feature::CORRUPT != 0 {
                return Err(BlockError::malformed("qcow2: Image is corrupt; cannot be opened read/write"));
            }
            if header.incompatible & feature::DIRTY != 0 {
                check::repair(&storage, &header)?;
                header.incompatible &= !feature::DIRTY;
                storage.write_at(at::INCOMPATIBLE as u64, &header.incompatible.to_be_bytes())?;
            }
            if header.autoclear != 0 {
                // What we do not keep up to date, such as bitmaps, is not valid any more.
                header.autoclear = 0;
                storage.write_at(at::AUTOCLEAR as u64, &[0; 8])?;
            }
        }
        let (tables, counts) = (Tables::open(&header, &storage)?, Refcounts::open(&header, &storage)?);
        Ok(Qcow2Image {
            storage,
            header,
            backing,
            read_only,
            broken: AtomicBool::new(false),
            state: RwLock::new(State { tables, counts }),
            inflated: Mutex::new(None),
        })
    }
    /// The header as it was when the image was opened.
    pub fn header(&self) -> &Header {
        &self.header
    }
    fn look(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
    fn cluster_size(&self) -> u64 {
        self.header.cluster_size()
    }
    fn chunks(&self, offset: u64, bytes: Range<usize>) -> impl Iterator<Item = Chunk> + use<S> {
        let (bits, size) = (self.header.cluster_bits, self.cluster_size());
        let mut next = bytes.start;
        std::iter::from_fn(move || {
            let at = offset + next as u64;
            let within = at % size;
            let len = ((size - within) as usize).min(bytes.end - next);
            let chunk = Chunk { cluster: at >> bits, within, bytes: next..next + len };
            next += len;
            (len > 0).then_some(chunk)
        })
    }
    fn place(&self, entry: u64) -> io::Result<Place> {
        match Place::of(entry, self.header.cluster_bits)? {
            // Version 2 has no clusters of zeros; the bit is reserved there.
            Place::Zero(_) if self.header.version == 2 => Err(corrupt("a reserved bit is set")),
            place => Ok(place),
        }
    }

    /// Reads bytes of a guest's cluster from where they are.
    fn read_place(&self, place: Place, cluster: u64, within: u64, out: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Zero(_) => out.fill(0),
            Place::Data(offset) => self.storage.read_at(offset + within, out)?,
            Place::Compressed(offset, len) => {
                let bytes = self.inflate(place, offset, len)?;
                let start = within as usize;
                out.copy_from_slice(&bytes[start..start + out.len()]);
            }
            Place::Unallocated => self.read_backing((cluster << self.header.cluster_bits) + within, out)?,
        }
        Ok(())
    }
    fn read_backing(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(backing) = &self.backing else {
            out.fill(0);
            return Ok(());
        };
        // The backing image may be shorter.
        let there = backing.size().saturating_sub(offset).min(out.len() as u64) as usize;
        out[there..].fill(0);
        if there > 0 { backing.read_at(offset, &mut out[..there]) } else { Ok(()) }
    }
    fn inflate(&self, place: Place, offset: u64, len: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut last = self.inflated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = last.as_ref().filter(|(known, _)| *known == place) {
            return Ok(bytes.clone());
        }
        let mut packed = vec![0; len as usize];
        self.storage.read_at(offset, &mut packed)?;
        let mut bytes = vec![0; self.cluster_size() as usize];
        let mut inflater = flate2::Decompress::new(false);
        // The end of the packed bytes is only known to a sector, so that the stream need not end with them.
        let done = inflater.decompress(&packed, &mut bytes, flate2::FlushDecompress::Finish);
        if done.is_err() || inflater.total_out() != self.cluster_size() {
            return Err(corrupt("a compressed cluster"));
        }
        let bytes = Arc::new(bytes);
        *last = Some((place, bytes.clone()));
        Ok(bytes)
    }

    /// Writes into clusters that are ours alone. Gives how many of the request's bytes are done.
    fn write_in_place(&self, offset: u64, data: &[u8], from: usize) -> io::Result<usize> {
        let state = self.look();
        let mut run: Option<(u64, Range<usize>)> = None;
        let mut done = from;
        for chunk in self.chunks(offset, from..data.len()) {
            let Some(entry) = state.tables.cached(chunk.cluster) else { break };
            let Place::Data(cluster) = self.place(entry)? else { break };
            if entry & COPIED == 0 {
                break;
            }
            self.check_no_overlap(&state, cluster)?;
            done = chunk.bytes.end;
            self.extend_run(&mut run, data, cluster + chunk.within, chunk.bytes)?;
        }
        self.end_run(run, data)?;
        Ok(done)
    }
    /// Makes a run of bytes that go to one place longer, or writes it and begins another.
    fn extend_run(
        &self,
        run: &mut Option<(u64, Range<usize>)>,
        data: &[u8],
        host: u64,
        bytes: Range<usize>,
    ) -> io::Result<()> {
        match run {
            Some((start, range)) if *start + range.len() as u64 == host && range.end == bytes.start => {
                range.end = bytes.end;
                Ok(())
            }
            _ => self.end_run(run.replace((host, bytes)), data),
        }
    }
    fn end_run(&self, run: Option<(u64, Range<usize>)>, data: &[u8]) -> io::Result<()> {
        run.map_or(Ok(()), |(host, range)| self.storage.write_at(host, &data[range]))
    }
    /// Nothing of the guest's may be written over the image's own structures: an image that wants it is broken.
    fn check_no_overlap(&self, state: &State, host: u64) -> io::Result<()> {
        let size = self.cluster_size();
        let overlaps = |(start, len): (u64, u64)| len > 0 && host < start.saturating_add(len) && start < host + size;
        if !overlaps((0, size)) && !overlaps(state.tables.l1_place()) && !overlaps(state.counts.table_place()) {
            return Ok(());
        }
        if !self.broken.swap(true, Ordering::Relaxed) && self.header.version == 3 {
            let features = self.header.incompatible | feature::CORRUPT;
            self.storage.write_at(at::INCOMPATIBLE as u64, &features.to_be_bytes())?;
        }
        Err(corrupt("a guest's cluster lies over its tables"))
    }

    /// Writes the chunks of the request that need new clusters, up to the first that does not. Gives how many bytes of
    /// the request are done.
    fn write_new(&self, offset: u64, data: &[u8], from: usize) -> io::Result<usize> {
        let mut state = self.change();
        let mut fresh = Vec::new();
        match self.fill_new(&mut state, offset, data, from, &mut fresh) {
            Ok(done) => {
                for new in fresh {
                    state.tables.set(&self.storage, new.cluster, data_entry(new.host))?;
                    let same = |cluster: &u64| *cluster == new.host >> self.header.cluster_bits;
                    let old = new.old.clusters(self.header.cluster_bits);
                    old.filter(|cluster| !same(cluster)).for_each(|cluster| state.counts.end_reference(cluster));
                }
                self.limit(&mut state)?;
                Ok(done)
            }
            Err(error) => {
                // The tables still say what they said.
                for new in fresh.iter().filter(|new| new.old != Place::Zero(Some(new.host))) {
                    state.counts.release(&self.storage, new.host >> self.header.cluster_bits)?;
                }
                Err(error)
            }
        }
    }
    fn fill_new(
        &self,
        state: &mut State,
        offset: u64,
        data: &[u8],
        from: usize,
        fresh: &mut Vec<Fresh>,
    ) -> io::Result<usize> {
        let size = self.cluster_size() as usize;
        let mut run = None;
        let mut done = from;
        for chunk in self.chunks(offset, from..data.len()) {
            state.tables.own(&self.storage, &mut state.counts, chunk.cluster)?;
            let entry = state.tables.get(&self.storage, chunk.cluster)?;
            let old = self.place(entry)?;
            let host = match old {
                Place::Data(_) if entry & COPIED != 0 => break,
                Place::Zero(Some(reserved)) if entry & COPIED != 0 => reserved,
                _ => state.counts.allocate(&self.storage, 1)? << self.header.cluster_bits,
            };
            fresh.push(Fresh { cluster: chunk.cluster, host, old });
            self.check_no_overlap(state, host)?;
            done = chunk.bytes.end;
            if chunk.bytes.len() == size {
                self.extend_run(&mut run, data, host, chunk.bytes)?;
                continue;
            }
            let mut whole = vec![0; size];
            self.read_place(old, chunk.cluster, 0, &mut whole)?;
            let start = chunk.within as usize;
            whole[start..start + chunk.bytes.len()].copy_from_slice(&data[chunk.bytes]);
            self.storage.write_at(host, &whole)?;
        }
        self.end_run(run, data)?;
        Ok(done)
    }
    /// Writes the tables if too much of them waits.
    fn limit(&self, state: &mut State) -> io::Result<()> {
        if state.counts.waiting() > MAX_WAITING || state.tables.is_full() { self.write_tables(state) } else { Ok(()) }
    }
    fn write_tables(&self, state: &mut State) -> io::Result<()> {
        // The guest's data is before the first barrier too.
        let mut out = Writer { storage: &self.storage, written: true };
        state.counts.write(&mut out)?;
        out.barrier()?;
        state.tables.write(&mut out)?;
        out.barrier()?;
        for cluster in state.counts.end_references(&self.storage)? {
            let bits = self.header.cluster_bits;
            // A host that cannot do it keeps the space.
            let _ = self.storage.punch_hole(cluster << bits, self.cluster_size());
        }
        state.counts.write(&mut out)
    }
    fn discard_cluster(&self, state: &mut State, cluster: u64) -> io::Result<()> {
        let entry = state.tables.get(&self.storage, cluster)?;
        let old = self.place(entry)?;
        let new = match (&self.backing, self.header.version, old) {
            (None, _, Place::Unallocated) | (_, _, Place::Zero(None)) | (Some(_), 2, _) => return Ok(()),
            (None, ..) => 0,
            (Some(_), ..) => ZERO_ENTRY,
        };
        state.tables.own(&self.storage, &mut state.counts, cluster)?;
        state.tables.set(&self.storage, cluster, new)?;
        old.clusters(self.header.cluster_bits).for_each(|cluster| state.counts.end_reference(cluster));
        self.limit(state)
    }
    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.header.size, offset, len)?;
        if self.read_only {
            return Err(read_only_error());
        }
        if self.broken.load(Ordering::Relaxed) { Err(corrupt("no more writes")) } else { Ok(()) }
    }
}

impl<S: Storage> Image for Qcow2Image<S> {
    fn size(&self) -> u64 {
        self.header.size
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_range(self.header.size, offset, out.len() as u64)?;
        let mut done = 0;
        while done < out.len() {
            let mut missing = None;
            {
                // The lock keeps the clusters where they are meanwhile.
                let state = self.look();
                for chunk in self.chunks(offset, done..out.len()) {
                    let Some(entry) = state.tables.cached(chunk.cluster) else {
                        missing = Some(chunk.cluster);
                        break;
                    };
                    done = chunk.bytes.end;
                    self.read_place(self.place(entry)?, chunk.cluster, chunk.within, &mut out[chunk.bytes])?;
                }
            }
            if let Some(cluster) = missing {
                self.change().tables.get(&self.storage, cluster)?;
            }
        }
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_write(offset, data.len() as u64)?;
        let mut done = 0;
        while done < data.len() {
            done = self.write_in_place(offset, data, done)?;
            if done < data.len() {
                done = self.write_new(offset, data, done)?;
            }
        }
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        let clean = {
            let state = self.look();
            !state.tables.is_dirty() && !state.counts.is_dirty() && state.counts.waiting() == 0
        };
        if clean { self.storage.sync() } else { self.write_tables(&mut self.change()) }
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        let bits = self.header.cluster_bits;
        let last =
            if offset + len == self.header.size { (offset + len).div_ceil(1 << bits) } else { (offset + len) >> bits };
        for cluster in offset.div_ceil(self.cluster_size())..last {
            self.discard_cluster(&mut self.change(), cluster)?;
        }
        Ok(())
    }
    fn is_read_only(&self) -> bool {
        self.read_only
    }
    fn info(&self) -> ImageInfo {
        let below = self.backing.as_ref().map(|backing| backing.info());
        ImageInfo {
            file: self.storage.name().to_owned(),
            format: "qcow2",
            backing_depth: below.as_ref().map_or(0, |below| below.backing_depth + 1),
            backing_file: below.map(|below| below.file),
            no_snapshots: None,
        }
    }
}

impl<S: Storage> Drop for Qcow2Image<S> {
    fn drop(&mut self) {
        // Whoever needs to know of a failure has flushed before.
        let _ = self.flush();
    }
}
