//! Helpers: what lifted code calls because it is rare, or needs more than registers and memory.

mod estimate;
mod fixed;
pub(crate) mod half;
pub(crate) mod media;
mod simd;
mod status;

use isamorph_ir::{Helper, HelperFn, HelperId};

const fn helper(name: &'static str, run: HelperFn) -> Helper {
    Helper { name, run, fpu: false, string: None }
}

const fn with_fpu(name: &'static str, run: HelperFn) -> Helper {
    Helper { name, run, fpu: true, string: None }
}

macro_rules! helpers {
    ($($id:ident = $row:expr;)*) => {
        /// Every helper; [`HelperId`] is the index.
        pub static HELPERS: &[Helper] = &[$($row),*];
        helpers!(@ids 0; $($id)*);
    };
    (@ids $n:expr; $id:ident $($rest:ident)*) => {
        pub(crate) const $id: HelperId = HelperId($n);
        helpers!(@ids $n + 1; $($rest)*);
    };
    (@ids $n:expr;) => {};
}

helpers! {
    PARALLEL = helper("parallel", media::parallel);
    READ_APSR = helper("read_apsr", status::read_apsr);
    WRITE_APSR = helper("write_apsr", status::write_apsr);
    READ_FPSCR = with_fpu("read_fpscr", status::read_fpscr);
    FIXED = with_fpu("fixed", fixed::convert);
    SIMD_SAME = with_fpu("simd_same", simd::three_same);
    SIMD_DIFF = with_fpu("simd_diff", simd::three_diff);
    SIMD_SCALAR = with_fpu("simd_scalar", simd::two_scalar);
    SIMD_SHIFT = with_fpu("simd_shift", simd::shift_imm);
    SIMD_MISC = with_fpu("simd_misc", simd::two_misc);
    SIMD_ESTIMATE = with_fpu("simd_estimate", estimate::estimate);
    SIMD_TABLE = with_fpu("simd_table", simd::table);
    TO_HALF = with_fpu("to_half", half::to_half);
    ALTERNATIVE_TO_SINGLE = helper("alternative_to_single", half::alternative_to_single);
    WRITE_FPSCR = with_fpu("write_fpscr", status::write_fpscr);
}
