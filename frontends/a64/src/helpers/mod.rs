//! Helpers: what lifted code calls instead of being lifted itself, because it is rare, long, or needs more than
//! registers and memory.

pub(crate) mod crypto;
mod estimate;
pub(crate) mod fp;
pub(crate) mod simd;
mod soft;
pub(crate) mod system;

use isamorph_ir::{Helper, HelperId};

/// Declares the helper table: the numbers and the rows from one list.
macro_rules! helpers {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $run:path, fpu: $fpu:literal;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($id),* }
        $($(#[$doc])* pub const $id: HelperId = HelperId(Number::$id as u16);)*
        /// Every helper; [`HelperId`] is the index.
        pub static HELPERS: &[Helper] =
            &[$(Helper { name: $name, run: $run, fpu: $fpu, string: None }),*];
    };
}

helpers! {
    /// `read_fpsr()`: FPSR.
    READ_FPSR = "read_fpsr", system::read_fpsr, fpu: true;
    /// `write_fpsr(value)`.
    WRITE_FPSR = "write_fpsr", system::write_fpsr, fpu: true;
    /// `write_fpcr(value)`.
    WRITE_FPCR = "write_fpcr", system::write_fpcr, fpu: true;
    /// `counter()`: the virtual count of the generic timer.
    COUNTER = "counter", system::counter, fpu: false;
    /// `float(descriptor, integer)`: a floating-point operation on vector registers; reports to FPSR.
    FLOAT = "float", fp::float, fpu: true;
    /// `fjcvtzs(double)`: the result in the low half, flags above.
    FJCVTZS = "fjcvtzs", fp::fjcvtzs, fpu: true;
    /// `int_lanes(descriptor)`: an operation on integer lanes of vector registers.
    INT_LANES = "int_lanes", simd::int_lanes, fpu: true;
    /// `hash(descriptor)`: a step of a hash on vector registers.
    HASH = "hash", crypto::hash, fpu: true;
}
