//! Reading `.decode` files.

use crate::Error;
use crate::row::{Constraint, Field, Part, Relation, Row};

/// A row and where it stands.
pub(crate) struct Parsed {
    pub(crate) row: Row,
    pub(crate) place: String,
}

/// The build script ends soon after: what it reads may live until then.
fn keep<T>(list: Vec<T>) -> &'static [T] {
    Vec::leak(list)
}

fn keep_str(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

/// Reads the rows of a file.
pub(crate) fn parse(file: &str, module: &str, text: &str, width: u32) -> Result<Vec<Parsed>, Error> {
    let module = keep_str(module);
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let place = format!("{file}:{}", index + 1);
        let row = parse_row(line, module, width).map_err(|message| Error(format!("{place}: {message}")))?;
        rows.push(Parsed { row, place });
    }
    Ok(rows)
}

fn parse_row(line: &str, module: &'static str, width: u32) -> Result<Row, String> {
    let refusal = line.match_indices(" !").map(|(at, _)| at).find(|at| !line[at + 2..].starts_with('='));
    let (line, refused) = match refusal {
        None => (line, None),
        Some(at) if line[at + 2..].trim().is_empty() => return Err(format!("`{line}` has no reason")),
        Some(at) => (&line[..at], Some(keep_str(line[at + 2..].trim()))),
    };
    let (bits, conditions) = line.split_once(" where ").unwrap_or((line, ""));
    let mut tokens = bits.split_whitespace();
    let name = tokens.next().filter(|name| is_name(name)).ok_or("a row begins with a name in snake_case")?;
    let mut pattern = Pattern { left: width, ..Pattern::default() };
    for token in tokens {
        pattern.token(token)?;
    }
    if pattern.left != 0 {
        return Err(format!("`{name}` is {} bits short of {width}", pattern.left));
    }
    let Pattern { mask, value, ignored, fields, .. } = pattern;
    let fields: Vec<Field> =
        fields.into_iter().map(|(name, parts)| Field { name: keep_str(&name), parts: keep(parts) }).collect();
    let constraints = conditions.split(',').map(str::trim).filter(|c| !c.is_empty());
    let constraints = constraints.map(|c| parse_constraint(c, &fields)).collect::<Result<Vec<_>, _>>()?;
    Ok(Row {
        name: keep_str(name),
        module,
        mask,
        value,
        ignored,
        fields: keep(fields),
        constraints: keep(constraints),
        refused,
    })
}

/// What has been read of a row's bits.
#[derive(Default)]
struct Pattern {
    left: u32,
    mask: u32,
    value: u32,
    ignored: u32,
    fields: Vec<(String, Vec<Part>)>,
}

impl Pattern {
    fn token(&mut self, token: &str) -> Result<(), String> {
        if token.bytes().all(|c| matches!(c, b'0' | b'1' | b'x')) {
            return token.bytes().try_for_each(|c| self.bit(c));
        }
        let (name, width) = token.split_once(':').unwrap_or((token, "1"));
        let width: u8 = width.parse().map_err(|_| format!("`{token}`: the width is no number"))?;
        if !is_name(name) || KEYWORDS.contains(&name) {
            return Err(format!("`{name}` cannot be the name of a field"));
        }
        if width == 0 || u32::from(width) > self.left {
            return Err(format!("`{token}` does not fit"));
        }
        self.left -= u32::from(width);
        let part = Part { shift: self.left as u8, width };
        match self.fields.iter_mut().find(|(n, _)| n == name) {
            Some((_, parts)) => parts.push(part),
            None => self.fields.push((name.to_owned(), vec![part])),
        }
        Ok(())
    }
    fn bit(&mut self, c: u8) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or("too many bits")?;
        match c {
            b'x' => self.ignored |= 1 << self.left,
            _ => {
                self.mask |= 1 << self.left;
                self.value |= u32::from(c == b'1') << self.left;
            }
        }
        Ok(())
    }
}

/// Words that cannot be the name of a struct's field.
const KEYWORDS: &[&str] = &[
    "as", "break", "const", "crate", "dyn", "else", "enum", "extern", "fn", "for", "if", "impl", "in", "let", "loop",
    "match", "mod", "move", "mut", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "type",
    "unsafe", "use", "where", "while",
];

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}

fn parse_constraint(text: &str, fields: &[Field]) -> Result<Constraint, String> {
    let mut words = text.split_whitespace();
    let (Some(name), Some(relation), Some(value), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("`{text}` is not of the form `field < number`"));
    };
    let field = fields.iter().position(|f| f.name == name).ok_or_else(|| format!("there is no field `{name}`"))?;
    let relation = match relation {
        "==" => Relation::Equal,
        "!=" => Relation::NotEqual,
        "<" => Relation::Less,
        ">" => Relation::Greater,
        other => return Err(format!("`{other}` is not a relation")),
    };
    let value = match value.strip_prefix("0b") {
        Some(bits) => u32::from_str_radix(bits, 2),
        None => value.parse(),
    };
    let value = value.map_err(|_| format!("`{text}`: the value is no number"))?;
    Ok(Constraint { field: field as u8, relation, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> Result<Row, String> {
        parse_row(line, "m", 32)
    }

    #[test]
    fn reads_bits_fields_and_constraints() {
        let r = row("ldr_x 11 imm:2 0101 x 0000 imm:3 f:16 where f != 0b11, imm < 3 ! too rare");
        let r = r.expect("the row is well-formed");
        assert_eq!((r.mask, r.value), (0xcf78_0000, 0xc500_0000 & 0xcf78_0000));
        assert_eq!(r.ignored, 1 << 23);
        assert_eq!(r.field("imm").map(|f| f.get(0b10 << 28 | 0b101 << 16)), Some(0b10101));
        assert_eq!(r.refused, Some("too rare"));
        assert!(r.matches(0xc501_0001) && r.matches(0xc581_0001));
        assert!(!r.matches(0xc500_0003));
    }

    #[test]
    fn refuses_what_is_malformed() {
        for (line, message) in [
            ("a 01", "30 bits short"),
            ("a f:33", "does not fit"),
            ("Up f:32", "snake_case"),
            ("a type:32", "name of a field"),
            ("a f:32 where g == 1", "no field `g`"),
            ("a f:32 where f ~ 1", "not a relation"),
            ("a f:32 !", "no reason"),
        ] {
            let error = row(line).expect_err(line);
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
