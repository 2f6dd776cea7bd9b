//! Helpers: what lifted code calls instead of being lifted itself, because it is rare, long, or needs more than
//! registers and memory.

mod bcd;
mod cpuid;
mod fpu;
mod segment;
mod simd;
mod string;

pub(crate) use segment::Question;
pub(crate) use string::StringConfig;

use isamorph_ir::{Helper, HelperId};

/// Declares the helper table: the numbers and the rows from one list.
macro_rules! helpers {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $run:path, fpu: $fpu:literal $(, $string:expr)?;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($id),* }
        $($(#[$doc])* pub const $id: HelperId = HelperId(Number::$id as u16);)*
        /// Every helper; [`HelperId`] is the index.
        pub static HELPERS: &[Helper] = &[$(Helper {
            name: $name,
            run: $run,
            fpu: $fpu,
            string: [$($string,)? None][0],
        }),*];
    };
}

helpers! {
    /// `cpuid(leaf, subleaf)`: writes eax, ebx, ecx, edx.
    CPUID = "cpuid", cpuid::cpuid, fpu: false;
    /// `rdtsc()`: the time-stamp counter, 64 bits.
    RDTSC = "rdtsc", cpuid::rdtsc, fpu: false;
    /// `load_segment(number, selector)`: writes the segment register and its base, or traps.
    LOAD_SEGMENT = "load_segment", segment::load, fpu: false;
    /// `inspect_selector(selector, question)`: bit 32 = valid, low half = the answer.
    INSPECT_SELECTOR = "inspect_selector", segment::inspect, fpu: false;
    /// `rep movsb` with 32-bit addresses and flat segments.
    COPY_8 = "copy_8", string::copy::<1>, fpu: false, string::copy_op(1);
    /// `rep movsw`, likewise.
    COPY_16 = "copy_16", string::copy::<2>, fpu: false, string::copy_op(2);
    /// `rep movsd`, likewise.
    COPY_32 = "copy_32", string::copy::<4>, fpu: false, string::copy_op(4);
    /// `rep stosb`, likewise.
    FILL_8 = "fill_8", string::fill::<1>, fpu: false, string::fill_op(1);
    /// `rep stosw`, likewise.
    FILL_16 = "fill_16", string::fill::<2>, fpu: false, string::fill_op(2);
    /// `rep stosd`, likewise.
    FILL_32 = "fill_32", string::fill::<4>, fpu: false, string::fill_op(4);
    /// `rep_movs(config, segment base)`: 1 if there is more to do.
    REP_MOVS = "rep_movs", string::rep_movs, fpu: false;
    /// `rep_stos(config, 0)`.
    REP_STOS = "rep_stos", string::rep_stos, fpu: false;
    /// `rep_lods(config, segment base)`.
    REP_LODS = "rep_lods", string::rep_lods, fpu: false;
    /// `rep_scas(config, 0)`: writes the flags.
    REP_SCAS = "rep_scas", string::rep_scas, fpu: false;
    /// `rep_cmps(config, segment base)`: writes the flags.
    REP_CMPS = "rep_cmps", string::rep_cmps, fpu: false;
    /// `daa(eax, flags)`: AX in the low half, flags in the high half.
    DAA = "daa", bcd::daa, fpu: false;
    /// `das(eax, flags)`.
    DAS = "das", bcd::das, fpu: false;
    /// `aaa(eax, flags)`.
    AAA = "aaa", bcd::aaa, fpu: false;
    /// `aas(eax, flags)`.
    AAS = "aas", bcd::aas, fpu: false;
    /// `masked_store(address, 8 bytes, mask)`: stores the bytes whose bits in the mask are set.
    MASKED_STORE = "masked_store", simd::masked_store, fpu: false;
    /// `fxsave(address)`: stores the save image.
    FXSAVE = "fxsave", fpu::fxsave, fpu: true;
    /// `fxrstor(address)`: loads the save image.
    FXRSTOR = "fxrstor", fpu::fxrstor, fpu: true;
}
