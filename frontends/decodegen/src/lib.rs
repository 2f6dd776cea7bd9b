//! Decoders for instruction sets of fixed-width words, made at build time from rows of bit patterns.
//!
//! A table is one or more `.decode` files with one encoding in each line:
//!
//! ```text
//! # Arm ARM C4.1.86
//! add_sub_imm   sf op s 100010 sh imm12:12 rn:5 rd:5
//! add_sub_ext   sf op s 01011 00 1 rm:5 option:3 imm3:3 rn:5 rd:5   where imm3 < 5
//! ldraa         11111000 m s 1 imm9:9 w 1 rn:5 rt:5                 ! pointer authentication
//! ```
//!
//! A row has a name, then what the bits are, from the most significant one on: runs of `0` and `1`, `x` for a bit that
//! does not matter, `field` for a field of one bit and `field:width` for a wider one. Parts of a field that occur at
//! several places are joined, the first one on top. Constraints follow after `where`, separated by commas: `f == 3`,
//! `f != 3`, `f < 3`, `f > 3`. After `!` stands why the encoding is not implemented; it is decoded all the same, so
//! that coverage is a question to the table.
//!
//! Two rows may overlap only if one is a specialisation of the other, which then wins. Everything else is an error of
//! the build.
//!
//! In a build script [`Table`] turns files into two pieces of Rust:
//!
//! * `NAME.rs` has the enum `Kind` of all encodings, a struct of arguments for each (row `add_sub_imm` has
//!   `AddSubImm`, whose fields are those of the row, all `u32`), and `decode(word) -> Option<Insn>`. It depends on
//!   nothing but the types in [`row`].
//! * `NAME_dispatch.rs` has `fn NAME(cx: &mut Lifter<'_>, insn: Insn) -> bool`, which calls
//!   `stem::add_sub_imm(cx, &AddSubImm)`, where `stem` is the name of the row's file; it is false for a row that is not
//!   implemented. So a handler that is missing, or asks for a field that the row does not have, does not compile.

mod check;
mod emit;
mod parse;
pub mod row;
mod tree;

pub use emit::Table;
pub use row::{Constraint, Field, Node, Part, Relation, Row, Test, Tree};

use std::fmt;

/// What is wrong with a table; shown as text in either format, because that is what a build script prints.
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
