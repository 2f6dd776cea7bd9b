//! Writing the decoder as Rust.

use crate::Error;
use crate::check::depths;
use crate::parse::{Parsed, parse};
use crate::row::Row;
use crate::tree::grow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A table of encodings of one width, for a build script.
pub struct Table {
    name: String,
    width: u32,
    files: Vec<PathBuf>,
}

impl Table {
    /// A table with that name, of words with 16 or 32 bits.
    pub fn new(name: &str, width: u32) -> Self {
        Table { name: name.to_owned(), width, files: Vec::new() }
    }
    /// Adds the rows of a file.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.files.push(path.as_ref().to_owned());
        self
    }
    /// Writes `NAME.rs` and `NAME_dispatch.rs` into the build script's output folder.
    ///
    /// # Errors
    /// A file cannot be read or written, or what it says is wrong.
    pub fn write(self) -> Result<(), Error> {
        let out = std::env::var_os("OUT_DIR").ok_or_else(|| Error("OUT_DIR is not set".to_owned()))?;
        let mut rows = Vec::new();
        for file in &self.files {
            println!("cargo::rerun-if-changed={}", file.display());
            let io = |e: std::io::Error| Error(format!("{}: {e}", file.display()));
            let text = std::fs::read_to_string(file).map_err(io)?;
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            rows.extend(parse(&file.display().to_string(), &stem, &text, self.width)?);
        }
        let (decoder, dispatch) = self.generate(&rows)?;
        for (suffix, text) in [("", decoder), ("_dispatch", dispatch)] {
            let path = Path::new(&out).join(format!("{}{suffix}.rs", self.name));
            std::fs::write(&path, text).map_err(|e| Error(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }
    /// The decoder and the dispatch.
    fn generate(&self, parsed: &[Parsed]) -> Result<(String, String), Error> {
        let depths = depths(parsed)?;
        let rows: Vec<Row> = parsed.iter().map(|p| p.row).collect();
        let mut order: Vec<u16> = (0..rows.len() as u16).collect();
        order.sort_by_key(|i| std::cmp::Reverse(depths[usize::from(*i)]));
        let mut out = String::new();
        write_kinds(&mut out, &rows);
        rows.iter().for_each(|row| write_arguments(&mut out, row));
        write_rows(&mut out, &rows);
        let tree = grow(&rows, &order, self.width);
        let nodes: Vec<String> =
            tree.nodes.iter().map(|n| format!("node({}, {}, {})", n.shift, n.bits, n.first)).collect();
        let _ = write!(
            out,
            "const fn node(shift: u8, bits: u8, first: u32) -> Node {{ Node {{ shift, bits, first }} }}\n\
             static NODES: &[Node] = &[{}];\nstatic LISTS: &[u16] = &{:?};\n{DECODE}",
            nodes.join(","),
            tree.lists
        );
        Ok((out, self.dispatch(&rows)))
    }
    fn dispatch(&self, rows: &[Row]) -> String {
        let name = &self.name;
        let mut out = format!(
            "/// Lifts an instruction by the handler of its row; false if the row has none.\n\
             pub(crate) fn {name}(cx: &mut Lifter<'_>, insn: crate::decode::{name}::Insn) -> bool {{\n\
             use crate::decode::{name}::*;\nmatch insn.kind {{\n"
        );
        for row in rows {
            let (ty, name, module) = (camel(row.name), row.name, row.module);
            let _ = match row.refused {
                Some(_) => writeln!(out, "Kind::{ty} => return false,"),
                None => writeln!(out, "Kind::{ty} => {module}::{name}(cx, &{ty}::new(insn.word)),"),
            };
        }
        out.push_str("}\ntrue\n}\n");
        out
    }
}

/// What is the same for every table.
const DECODE: &str = "
/// The decision tree over the rows.
pub static TREE: Tree = Tree { nodes: NODES, lists: LISTS, tests: TESTS, rows: ROWS };

static TESTS: &[Test] = &{
    let mut tests = [Test { mask: 0, value: 0, constrained: false }; ROWS.len()];
    let mut i = 0;
    while i < tests.len() {
        tests[i] = Test::of(&ROWS[i]);
        i += 1;
    }
    tests
};

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Insn {
    /// Which encoding it is.
    pub kind: Kind,
    /// The instruction word.
    pub word: u32,
}

/// Decodes a word; nothing if no row has it.
#[inline]
pub fn decode(word: u32) -> Option<Insn> {
    TREE.find(word).map(|index| Insn { kind: Kind::ALL[usize::from(index)], word })
}
";

/// `add_sub_imm` as `AddSubImm`.
fn camel(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

fn write_kinds(out: &mut String, rows: &[Row]) {
    let names: Vec<String> = rows.iter().map(|row| camel(row.name)).collect();
    let all: Vec<String> = names.iter().map(|name| format!("Kind::{name}")).collect();
    let documented: Vec<String> =
        rows.iter().zip(&names).map(|(row, name)| format!("/// `{}`\n{name}", row.name)).collect();
    let _ = write!(
        out,
        "#[allow(unused_imports)]\n\
         use isamorph_decodegen::row::{{Constraint, Field, Node, Part, Relation, Row, Test, Tree}};\n\
         /// The encodings, a row of the table each.\n\
         #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]\n\
         #[repr(u16)]\npub enum Kind {{\n{}\n}}\nimpl Kind {{\n\
         /// Every encoding, in the order of the table.\npub const ALL: &'static [Kind] = &[{}];\n\
         /// The encoding's row.\npub fn row(self) -> &'static Row {{ &ROWS[self as usize] }}\n}}\n",
        documented.join(",\n"),
        all.join(", ")
    );
}

fn write_arguments(out: &mut String, row: &Row) {
    let name = camel(row.name);
    let _ = write!(
        out,
        "/// Arguments of `{}`.\n#[derive(Clone, Copy, Debug)]\n#[allow(dead_code, missing_docs)]\n\
         pub struct {name} {{\n",
        row.name
    );
    for field in row.fields {
        let _ = writeln!(out, "pub {}: u32,", field.name);
    }
    let word = if row.fields.is_empty() { "_word" } else { "word" };
    let _ = write!(
        out,
        "}}\nimpl {name} {{\n/// The arguments in a word.\n#[allow(dead_code)]\n\
         pub const fn new({word}: u32) -> Self {{\n{name} {{\n"
    );
    for field in row.fields {
        let mut low = field.width();
        let parts = field.parts.iter().map(|part| {
            low -= u32::from(part.width);
            let mask = (1u64 << part.width) - 1;
            let bits = match part.shift {
                0 => format!("word & {mask:#x}"),
                shift => format!("word >> {shift} & {mask:#x}"),
            };
            if low == 0 { bits } else { format!("({bits}) << {low}") }
        });
        let _ = writeln!(out, "{}: {},", field.name, parts.collect::<Vec<_>>().join(" | "));
    }
    out.push_str("}\n}\n}\n");
}

fn write_rows(out: &mut String, rows: &[Row]) {
    let _ = writeln!(out, "/// The rows, in the order of [`Kind::ALL`].\npub static ROWS: &[Row] = &[");
    for row in rows {
        let fields = row.fields.iter().map(|f| format!("Field {{ name: {:?}, parts: &{:?} }}", f.name, f.parts));
        let constraints = row.constraints.iter().map(|c| {
            format!("Constraint {{ field: {}, relation: Relation::{:?}, value: {} }}", c.field, c.relation, c.value)
        });
        let _ = writeln!(
            out,
            "Row {{ name: {:?}, module: {:?}, mask: {:#010x}, value: {:#010x}, ignored: {:#010x}, fields: &[{}], \
             constraints: &[{}], refused: {:?} }},",
            row.name,
            row.module,
            row.mask,
            row.value,
            row.ignored,
            fields.collect::<Vec<_>>().join(", "),
            constraints.collect::<Vec<_>>().join(", "),
            row.refused
        );
    }
    out.push_str("];\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_finds_the_most_special_row() {
        let text = "a 1 f:7\nb 10 f:6\nc 1011 g:4 where g != 3\nd 00 x 0 f:4\ne 0111 1 f:3\nh 01 00 f:4 where f > 9\n\
                    i 10110111\nj 0010101 f";
        let parsed = parse("t", "t", text, 8).expect("well-formed");
        let rows: Vec<Row> = parsed.iter().map(|p| p.row).collect();
        let depths = depths(&parsed).expect("only specialisations overlap");
        let mut order: Vec<u16> = (0..rows.len() as u16).collect();
        order.sort_by_key(|i| std::cmp::Reverse(depths[usize::from(*i)]));
        let tree = grow(&rows, &order, 8);
        let tests = rows.iter().map(crate::row::Test::of).collect::<Vec<_>>().leak();
        let rows: &'static [Row] = rows.leak();
        let tree = crate::Tree { nodes: tree.nodes.leak(), lists: tree.lists.leak(), tests, rows };
        for word in 0..256 {
            let best = (0..rows.len()).filter(|i| rows[*i].matches(word)).max_by_key(|i| depths[*i]);
            assert_eq!(tree.find(word).map(usize::from), best, "{word:#x}");
        }
    }

    #[test]
    fn names_become_types() {
        assert_eq!(camel("ld1_single_x2"), "Ld1SingleX2");
    }
}
