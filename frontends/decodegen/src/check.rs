//! Overlaps of rows.

use crate::Error;
use crate::parse::Parsed;
use crate::row::Row;

/// Bits that two rows' constraints may involve together and still be looked at one by one.
const MAX_INVOLVED: u32 = 20;

/// For each row the number of rows that it is a specialisation of.
///
/// # Errors
/// Two rows overlap and neither is a specialisation of the other, or a name occurs twice.
pub(crate) fn depths(rows: &[Parsed]) -> Result<Vec<usize>, Error> {
    let mut depths = vec![0; rows.len()];
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate().skip(i + 1) {
            if a.row.name == b.row.name {
                return Err(Error(format!("{} and {}: two rows `{}`", a.place, b.place, a.row.name)));
            }
            match compare(&a.row, &b.row) {
                Overlap::None => {}
                Overlap::FirstInSecond => depths[i] += 1,
                Overlap::SecondInFirst => depths[j] += 1,
                Overlap::Word(word) => {
                    return Err(Error(format!(
                        "{} and {}: `{}` and `{}` overlap, for instance in {word:#010x}",
                        a.place, b.place, a.row.name, b.row.name
                    )));
                }
            }
        }
    }
    Ok(depths)
}

enum Overlap {
    None,
    FirstInSecond,
    SecondInFirst,
    /// Both have this word, and neither has all of the other's; or both are the same.
    Word(u32),
}

fn compare(a: &Row, b: &Row) -> Overlap {
    if (a.value ^ b.value) & a.mask & b.mask != 0 {
        return Overlap::None;
    }
    let fixed = a.value | b.value;
    let free = involved(a, b) & !(a.mask | b.mask);
    let Some(word) = words(fixed, free).find(|w| a.matches(*w) && b.matches(*w)) else { return Overlap::None };
    match (contains(b, a), contains(a, b)) {
        (true, false) => Overlap::FirstInSecond,
        (false, true) => Overlap::SecondInFirst,
        _ => Overlap::Word(word),
    }
}

/// Whether every word of `inner` is one of `outer`, which is compatible with it.
fn contains(outer: &Row, inner: &Row) -> bool {
    outer.mask & !inner.mask & !involved(inner, inner) == 0
        && words(inner.value, (involved(outer, inner) | outer.mask) & !inner.mask)
            .all(|w| !inner.matches(w) || outer.matches(w))
}

/// The bits of the fields that the constraints of both talk about.
fn involved(a: &Row, b: &Row) -> u32 {
    let bits = |row: &Row| row.constraints.iter().fold(0, |m, c| m | row.fields[usize::from(c.field)].mask());
    bits(a) | bits(b)
}

/// All words that are `fixed` but for the bits in `free`.
fn words(fixed: u32, free: u32) -> impl Iterator<Item = u32> {
    assert!(free.count_ones() <= MAX_INVOLVED, "constraints involve too many bits");
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let bits: u32 = next?;
        // The next subset of the bits in `free`.
        let following = (bits | !free).wrapping_add(1) & free;
        next = (following != 0).then_some(following);
        Some(fixed & !free | bits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn depths_of(text: &str) -> Result<Vec<usize>, String> {
        let rows = parse("f", "f", text, 8).map_err(|e| e.to_string())?;
        depths(&rows).map_err(|e| e.to_string())
    }

    #[test]
    fn the_more_special_row_is_deeper() {
        assert_eq!(depths_of("a 01 f:6\nb 01 f:6 where f < 8\nc 01000 f:3 where f != 7"), Ok(vec![0, 1, 2]));
        assert_eq!(depths_of("a 01 f:6 where f < 8\nb 01 f:6 where f > 7"), Ok(vec![0, 0]));
        assert_eq!(depths_of("a 01 f:6 where f == 9\nb 01 f:6"), Ok(vec![1, 0]));
    }

    #[test]
    fn other_overlaps_are_errors() {
        for text in ["a 01 f:6\nb f:7 1", "a 01 f:6\nb 01 g:6", "a 01 f:6 where f < 9\nb 01 f:6 where f > 7"] {
            assert!(depths_of(text).is_err_and(|e| e.contains("`a` and `b` overlap")), "{text}");
        }
        assert!(depths_of("a 01 f:6\na 10 f:6").is_err_and(|e| e.contains("two rows `a`")));
    }
}
