//! The chunks that the code memory is divided into: each is filled from its start to its end, and emptied as a whole.

/// What a chunk is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Empty.
    Free,
    /// Holds blocks.
    Live,
    /// All its blocks are dropped; empty when every vCPU has reached that epoch.
    Retired(u64),
}

/// A block in a chunk. Lookup by host address searches these, so they are small.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Offset of its code.
    pub code: u32,
    /// Index of the block.
    pub tb: u32,
}

/// One chunk.
#[derive(Debug)]
pub struct Chunk {
    /// What it is good for.
    pub state: State,
    /// Blocks in order of their code.
    pub tbs: Vec<Placed>,
    start: u32,
    used: u32,
}

/// All chunks, in a ring.
#[derive(Debug)]
pub struct Chunks {
    list: Vec<Chunk>,
    size: u32,
    first: u32,
    current: usize,
}

/// Blocks start at multiples of this.
const ALIGN: u32 = 16;
/// As many chunks as make them at least this large.
const CHUNK_MIN: u32 = 64 << 10;
/// At most this many chunks: a recycled chunk takes a small part of the code with it.
const CHUNKS_MAX: u32 = 32;

impl Chunks {
    /// Divides the offsets `first .. len`.
    pub fn new(first: u32, len: u32) -> Self {
        let first = first.next_multiple_of(64);
        let room = len.saturating_sub(first);
        let count = (room / CHUNK_MIN).clamp(2, CHUNKS_MAX);
        let size = (room / count) & !63;
        let chunk = |i| Chunk { state: State::Free, tbs: Vec::new(), start: first + i * size, used: 0 };
        let mut chunks = Chunks { list: (0..count).map(chunk).collect(), size, first, current: 0 };
        chunks.list[0].state = State::Live;
        chunks
    }
    /// The largest block that can be placed.
    pub fn largest(&self) -> u32 {
        self.size
    }
    /// Number of chunks.
    pub fn count(&self) -> usize {
        self.list.len()
    }
    /// The chunk that is being filled.
    pub fn current(&self) -> usize {
        self.current
    }
    /// The chunk after `index` in the ring.
    pub fn after(&self, index: usize) -> usize {
        (index + 1) % self.list.len()
    }
    /// A chunk.
    pub fn get(&mut self, index: usize) -> &mut Chunk {
        &mut self.list[index]
    }
    /// Offset for `len` bytes in the current chunk.
    pub fn alloc(&mut self, len: u32) -> Option<u32> {
        let size = self.size;
        let chunk = &mut self.list[self.current];
        let at = chunk.used.next_multiple_of(ALIGN);
        (chunk.state == State::Live && len <= size.saturating_sub(at)).then(|| {
            chunk.used = at + len;
            chunk.start + at
        })
    }
    /// Records a block in the current chunk, whose code was allocated last.
    pub fn push(&mut self, placed: Placed) {
        self.list[self.current].tbs.push(placed);
    }
    /// Starts to fill an empty chunk.
    pub fn enter(&mut self, index: usize) {
        self.list[index].state = State::Live;
        self.current = index;
    }
    /// Empties a retired chunk; returns its blocks, whose slots are free now.
    pub fn empty(&mut self, index: usize) -> Vec<Placed> {
        let chunk = &mut self.list[index];
        chunk.state = State::Free;
        chunk.used = 0;
        std::mem::take(&mut chunk.tbs)
    }
    /// The blocks of the chunk that holds an offset, in order of their code.
    pub fn at(&self, offset: u32) -> &[Placed] {
        let index = offset.checked_sub(self.first).map(|o| (o / self.size.max(1)) as usize);
        index.and_then(|i| self.list.get(i)).map_or(&[], |c| &c.tbs)
    }
    /// Offset behind the last byte that holds code.
    pub fn end(&self) -> u32 {
        self.list.iter().filter(|c| c.used != 0).map(|c| c.start + c.used).max().unwrap_or(self.first)
    }
    /// Bytes that hold code, or did before a chunk was retired.
    pub fn used(&self) -> u64 {
        self.list.iter().map(|c| u64::from(c.used)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_small_and_large_caches() {
        for (len, count) in [(64 << 10, 2), (1 << 20, 15), (1 << 28, 32)] {
            let chunks = Chunks::new(700, len);
            assert_eq!(chunks.count(), count, "{len:#x}");
            let last = chunks.list.last().unwrap();
            assert!(last.start + chunks.size <= len);
            assert_eq!(last.start % 64, 0);
        }
    }

    #[test]
    fn fills_a_chunk_to_its_end_and_no_further() {
        let mut chunks = Chunks::new(0, 1 << 17);
        let size = chunks.largest();
        assert_eq!(chunks.alloc(5), Some(0));
        assert_eq!(chunks.alloc(size - 16), Some(16));
        assert_eq!(chunks.alloc(1), None);
        let next = chunks.after(chunks.current());
        chunks.enter(next);
        assert_eq!(chunks.alloc(size), Some(size));
    }
}
