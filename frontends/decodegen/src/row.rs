//! Rows as data: what a decoder, a coverage list and a generator of random instructions work on.

/// A run of bits of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its lowest bit.
    pub shift: u8,
    /// Its width.
    pub width: u8,
}

/// A named field of an encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Where its bits are, the most significant ones first.
    pub parts: &'static [Part],
}

impl Field {
    /// The value of the field in a word.
    pub fn get(&self, word: u32) -> u32 {
        self.parts.iter().fold(0, |value, part| value << part.width | (word >> part.shift & ones(part.width)))
    }
    /// Its bits in the word.
    pub fn mask(&self) -> u32 {
        self.parts.iter().fold(0, |mask, part| mask | ones(part.width) << part.shift)
    }
    /// Its width.
    pub fn width(&self) -> u32 {
        self.mask().count_ones()
    }
}

/// That many ones.
fn ones(width: u8) -> u32 {
    u32::MAX.checked_shr(32 - u32::from(width)).unwrap_or(0)
}

/// How a field and a number are to compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// The field is less.
    Less,
    /// The field is greater.
    Greater,
}

/// What a field has to be for a word to belong to a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Constraint {
    /// The field's index in the row.
    pub field: u8,
    /// The comparison.
    pub relation: Relation,
    /// The number that it is compared with.
    pub value: u32,
}

/// One encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its name, which is that of its handler.
    pub name: &'static str,
    /// The module of the handler: the stem of the file that has the row.
    pub module: &'static str,
    /// The bits that are fixed.
    pub mask: u32,
    /// What they are.
    pub value: u32,
    /// Bits that do not matter.
    pub ignored: u32,
    /// The fields.
    pub fields: &'static [Field],
    /// What the fields have to be besides.
    pub constraints: &'static [Constraint],
    /// Why it is not implemented, if so.
    pub refused: Option<&'static str>,
}

impl Row {
    /// Whether a word belongs to the row. A more special row may claim it nevertheless.
    pub fn matches(&self, word: u32) -> bool {
        word & self.mask == self.value && self.constraints.iter().all(|c| self.satisfies(word, c))
    }
    fn satisfies(&self, word: u32, constraint: &Constraint) -> bool {
        let field = self.fields[usize::from(constraint.field)].get(word);
        match constraint.relation {
            Relation::Equal => field == constraint.value,
            Relation::NotEqual => field != constraint.value,
            Relation::Less => field < constraint.value,
            Relation::Greater => field > constraint.value,
        }
    }
    /// Whether it is lifted.
    pub const fn implemented(&self) -> bool {
        self.refused.is_none()
    }
    /// The field with that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
    /// A word that matches the row, made of random bits; nothing if none was found soon. Bits that do not matter are
    /// left 0.
    pub fn random(&self, mut bits: impl FnMut() -> u32) -> Option<u32> {
        let free = !self.mask & !self.ignored;
        (0..1000).map(|_| bits() & free | self.value).find(|word| self.matches(*word))
    }
}

/// A node of a decision tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// The lowest of the bits that it looks at.
    pub shift: u8,
    /// How many bits it looks at; 0 for a leaf.
    pub bits: u8,
    /// The first of its children, one for each value of the bits; for a leaf the first of the rows to try.
    pub first: u32,
}

/// What most words of a row can be told by: small, because every decoded instruction needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Test {
    /// The row's mask.
    pub mask: u32,
    /// The row's value.
    pub value: u32,
    /// Whether there are constraints besides.
    pub constrained: bool,
}

impl Test {
    /// The test of a row.
    pub const fn of(row: &Row) -> Self {
        Test { mask: row.mask, value: row.value, constrained: !row.constraints.is_empty() }
    }
}

/// A decision tree over the rows of a table.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// The nodes; the first one is the root.
    pub nodes: &'static [Node],
    /// The rows to try at leaves, the most special ones first; [`Tree::END`] ends a list.
    pub lists: &'static [u16],
    /// The rows' tests.
    pub tests: &'static [Test],
    /// The rows.
    pub rows: &'static [Row],
}

impl Tree {
    /// Ends the list of a leaf.
    pub const END: u16 = u16::MAX;
    /// The index of the row that a word belongs to.
    #[inline]
    pub fn find(&self, word: u32) -> Option<u16> {
        let mut node = self.nodes[0];
        while node.bits != 0 {
            let child = word >> node.shift & ((1 << node.bits) - 1);
            node = self.nodes[(node.first + child) as usize];
        }
        let list = &self.lists[node.first as usize..];
        list.iter().copied().take_while(|row| *row != Self::END).find(|row| {
            let test = self.tests[usize::from(*row)];
            word & test.mask == test.value && (!test.constrained || self.rows[usize::from(*row)].matches(word))
        })
    }
}
