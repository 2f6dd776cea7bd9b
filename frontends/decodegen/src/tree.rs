//! Building the decision tree.

use crate::row::{Node, Row, Tree};

/// Most bits that a node looks at.
const MAX_BITS: u8 = 8;
/// Candidates that are simply tried one after the other.
const SHORT_LIST: usize = 2;

/// A tree whose parts are still being collected.
#[derive(Default)]
pub(crate) struct Growing {
    pub(crate) nodes: Vec<Node>,
    pub(crate) lists: Vec<u16>,
}

/// Grows the tree over `rows`; `order` lists their indices, the most special ones first.
pub(crate) fn grow(rows: &[Row], order: &[u16], width: u32) -> Growing {
    let mut tree = Growing { nodes: vec![Node { shift: 0, bits: 0, first: 0 }], lists: Vec::new() };
    tree.fill(0, rows, order.to_vec(), width, 0);
    tree
}

impl Growing {
    /// Makes node `at` decide between `candidates`, after the bits in `seen` were looked at.
    fn fill(&mut self, at: usize, rows: &[Row], candidates: Vec<u16>, width: u32, seen: u32) {
        let range = if candidates.len() <= SHORT_LIST { None } else { choose(rows, &candidates, width, seen) };
        let Some((shift, bits)) = range else {
            self.nodes[at] = Node { shift: 0, bits: 0, first: self.list(&candidates) };
            return;
        };
        let first = self.nodes.len();
        let count = 1usize << bits;
        self.nodes[at] = Node { shift, bits, first: first as u32 };
        self.nodes.resize(first + count, Node { shift: 0, bits: 0, first: 0 });
        let looked_at = (count as u32 - 1) << shift;
        for child in 0..count {
            let fits = |row: &Row| (child as u32) << shift & row.mask == row.value & looked_at;
            let left = candidates.iter().copied().filter(|i| fits(&rows[usize::from(*i)])).collect();
            self.fill(first + child, rows, left, width, seen | looked_at);
        }
    }
    /// The position of a list, which may already be there.
    fn list(&mut self, candidates: &[u16]) -> u32 {
        let list: Vec<u16> = candidates.iter().copied().chain([Tree::END]).collect();
        let known = self.lists.windows(list.len()).position(|window| *window == list);
        known.unwrap_or_else(|| {
            self.lists.extend(&list);
            self.lists.len() - list.len()
        }) as u32
    }
}

/// The bits to look at next: around the bit that divides the candidates best, those that divide them well.
fn choose(rows: &[Row], candidates: &[u16], width: u32, seen: u32) -> Option<(u8, u8)> {
    let gain = |bit: u32| {
        if seen >> bit & 1 == 1 {
            return 0;
        }
        let mut ones = [0; 2];
        for row in candidates.iter().map(|i| &rows[usize::from(*i)]).filter(|row| row.mask >> bit & 1 == 1) {
            ones[(row.value >> bit & 1) as usize] += 1;
        }
        // What the smaller side has is what the other side gets rid of.
        2 * ones[0].min(ones[1]) + usize::from(ones[0] != ones[1])
    };
    let gains: Vec<usize> = (0..width).map(gain).collect();
    let best = (0..gains.len()).max_by_key(|bit| gains[*bit]).filter(|bit| gains[*bit] > 0)?;
    let good = |bit: usize| gains.get(bit).is_some_and(|g| 4 * g >= gains[best] && *g > 0);
    let (mut low, mut high) = (best, best);
    while high - low + 1 < usize::from(MAX_BITS) {
        if low > 0 && good(low - 1) {
            low -= 1;
        } else if good(high + 1) {
            high += 1;
        } else {
            break;
        }
    }
    Some((low as u8, (high - low + 1) as u8))
}
