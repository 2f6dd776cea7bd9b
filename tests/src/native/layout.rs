//! What the runner has where, and the records it reads and writes; `tests/native/runner.c` has the same.

/// The page of code.
pub const CODE: u32 = 0x1d39_0000;
/// Bytes of code for one sequence.
pub const SLOT: usize = 128;
/// Sequences in the page of code.
pub const SLOTS: usize = 32;
/// The memory that sequences read and write. A page that can only be read follows it.
pub const WINDOW: u32 = 0x2001_0000;
/// Its size: two pages.
pub const WINDOW_LEN: usize = 0x2000;
/// Size of the read-only page.
pub const READ_ONLY_LEN: u32 = 0x1000;
/// The base of the segment that gs selects.
pub const GS_BASE: u32 = 0x0f00_0000;
/// Size of an FXSAVE image.
pub const FXSAVE_LEN: usize = 512;
/// Size of the words in front of the FXSAVE image in [`Start`].
const START_WORDS: usize = 16;
/// The same for [`End`].
const END_WORDS: usize = 32;
/// Bytes of a [`End`] and the window behind it.
pub const END_LEN: usize = END_WORDS * 4 + FXSAVE_LEN + WINDOW_LEN;

/// The state in which a sequence starts.
#[derive(Clone)]
pub struct Start {
    /// Address of the code.
    pub entry: u32,
    /// EFLAGS.
    pub eflags: u32,
    /// eax ecx edx ebx esp ebp esi edi.
    pub gpr: [u32; 8],
    /// x87, MMX and SSE state.
    pub fxsave: [u8; FXSAVE_LEN],
    /// The window.
    pub window: Vec<u8>,
}

impl Start {
    /// Appends it as the runner reads it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let words = [self.entry, self.eflags].into_iter().chain(self.gpr).chain([0; START_WORDS - 10]);
        words.for_each(|word| out.extend(word.to_le_bytes()));
        out.extend(&self.fxsave);
        out.extend(&self.window);
    }
}

/// The state that the signal handler found.
#[derive(Clone, PartialEq)]
pub struct End {
    /// The signal.
    pub signo: u32,
    /// `si_code`.
    pub code: u32,
    /// `si_addr`.
    pub addr: u32,
    /// Exception vector.
    pub trapno: u32,
    /// Its error code.
    pub err: u32,
    /// The address of the last page fault.
    pub cr2: u32,
    /// Instruction pointer.
    pub eip: u32,
    /// EFLAGS.
    pub eflags: u32,
    /// eax ecx edx ebx esp ebp esi edi.
    pub gpr: [u32; 8],
    /// es cs ss ds fs gs.
    pub segments: [u32; 6],
    /// x87, MMX and SSE state.
    pub fxsave: [u8; FXSAVE_LEN],
    /// The window.
    pub window: Vec<u8>,
}

impl End {
    /// Reads what the runner wrote, [`END_LEN`] bytes.
    pub fn decode(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.split_at(END_WORDS * 4);
        let (fxsave, window) = rest.split_at(FXSAVE_LEN);
        let word = |n: usize| u32::from_le_bytes([words[4 * n], words[4 * n + 1], words[4 * n + 2], words[4 * n + 3]]);
        End {
            signo: word(0),
            code: word(1),
            addr: word(2),
            trapno: word(3),
            err: word(4),
            cr2: word(5),
            eip: word(6),
            eflags: word(7),
            gpr: std::array::from_fn(|n| word(8 + n)),
            segments: std::array::from_fn(|n| word(16 + n)),
            fxsave: std::array::from_fn(|n| fxsave[n]),
            window: window.to_vec(),
        }
    }
}
