//! Decoding: the tables in `src/decode`, and reading guest code word by word.

/// The decoder made of the rows in `src/decode`: kinds, arguments, rows.
pub(crate) mod a64 {
    include!(concat!(env!("OUT_DIR"), "/a64.rs"));
}

use isamorph_guest::{CodeSource, FetchFault};

/// Words fetched at a time.
const WINDOW: usize = 16;

/// What [`walk`]'s visitor wants next.
pub(crate) enum Next {
    /// The instruction after this one.
    Continue,
    /// The instruction at that address.
    Goto(u64),
    /// Nothing more.
    Stop,
}

/// Hands the instruction words from `pc` on to `visit`, with their addresses, until it says stop.
///
/// # Errors
/// An instruction could not be fetched completely; the fault tells the first missing byte.
pub(crate) fn walk(code: &dyn CodeSource, pc: u64, mut visit: impl FnMut(u64, u32) -> Next) -> Result<(), FetchFault> {
    let mut at = pc;
    loop {
        let mut window = [0; 4 * WINDOW];
        let n = code.fetch(at, &mut window);
        let start = at;
        for raw in window[..n].chunks_exact(4) {
            let word = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
            match visit(at, word) {
                Next::Continue => at = at.wrapping_add(4),
                Next::Goto(to) => {
                    at = to;
                    break;
                }
                Next::Stop => return Ok(()),
            }
        }
        if n < 4 || (n < window.len() && at == start.wrapping_add(n as u64 & !3)) {
            return Err(FetchFault { addr: start.wrapping_add(n as u64) });
        }
    }
}
