//! Numbers as commands take them: sums and products of literals and registers (`$rip+0x10`).

use isamorph_ir::{CpuState, RegId};
use isamorph_x86::state::{self, AMD64, CS_BASE, gpr};

/// The value of an expression; registers are those of `state`.
///
/// # Errors
/// What cannot be understood, as text.
pub fn evaluate(text: &str, state: &CpuState) -> Result<u64, String> {
    let mut parser = Parser { rest: text.trim(), state };
    let value = parser.sum()?;
    if parser.rest.is_empty() { Ok(value) } else { Err(format!("unexpected characters '{}'", parser.rest)) }
}

struct Parser<'a> {
    rest: &'a str,
    state: &'a CpuState,
}

impl<'a> Parser<'a> {
    fn operator(&mut self, wanted: &[char]) -> Option<char> {
        let found = self.rest.chars().next().filter(|c| wanted.contains(c))?;
        self.rest = self.rest[found.len_utf8()..].trim_start();
        Some(found)
    }
    fn sum(&mut self) -> Result<u64, String> {
        let mut value = self.logic()?;
        while let Some(operator) = self.operator(&['+', '-']) {
            let next = self.logic()?;
            value = if operator == '+' { value.wrapping_add(next) } else { value.wrapping_sub(next) };
        }
        Ok(value)
    }
    fn logic(&mut self) -> Result<u64, String> {
        let mut value = self.product()?;
        while let Some(operator) = self.operator(&['&', '|', '^']) {
            let next = self.product()?;
            value = match operator {
                '&' => value & next,
                '|' => value | next,
                _ => value ^ next,
            };
        }
        Ok(value)
    }
    fn product(&mut self) -> Result<u64, String> {
        let mut value = self.term()?;
        while let Some(operator) = self.operator(&['*', '/', '%']) {
            let next = self.term()?;
            value = match operator {
                '*' => value.wrapping_mul(next),
                _ if next == 0 => return Err("division by zero".to_owned()),
                '/' => value / next,
                _ => value % next,
            };
        }
        Ok(value)
    }
    fn term(&mut self) -> Result<u64, String> {
        match self.operator(&['(', '-', '~', '+']) {
            Some('(') => {
                let value = self.sum()?;
                return self.operator(&[')']).map(|_| value).ok_or_else(|| "')' expected".to_owned());
            }
            Some('-') => return self.term().map(u64::wrapping_neg),
            Some('~') => return self.term().map(|value| !value),
            Some(_) => return self.term(),
            None => {}
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '$' && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        let value = match word.strip_prefix('$') {
            Some(name) => register(name, self.state),
            None => number(word),
        };
        value.ok_or_else(|| format!("invalid expression '{word}'"))
    }
}

/// A C literal.
fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if word.len() > 1 && word.starts_with('0') => u64::from_str_radix(word, 8).ok(),
        None => word.parse().ok(),
    }
}

/// The names of the eight registers that have names, without prefix.
const NAMES: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];

fn register(name: &str, state: &CpuState) -> Option<u64> {
    let low = |value: u64| value & u64::from(u32::MAX);
    let position = |rest: &str| NAMES.iter().position(|n| *n == rest).map(|n| state.get(&AMD64, gpr(n as u16)));
    match name {
        "pc" => return Some(state.pc()),
        "rip" | "eip" => return Some(state.pc().wrapping_sub(state.get(&AMD64, CS_BASE))),
        "eflags" | "rflags" => return Some(state::eflags(state).into()),
        _ => {}
    }
    if let Some(value) = name.strip_prefix('r').and_then(position) {
        return Some(value);
    }
    if let Some(value) = name.strip_prefix('e').and_then(position) {
        return Some(low(value));
    }
    if let Some(number) = name.strip_prefix('r').and_then(|n| n.parse::<u16>().ok()).filter(|n| (8..16).contains(n)) {
        return Some(state.get(&AMD64, gpr(number)));
    }
    let found = AMD64.by_name(name).filter(|reg: &RegId| AMD64.def(*reg).ty.is_int())?;
    Some(state.get(&AMD64, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_registers_and_numbers() {
        let mut state = CpuState::new();
        state::reset_user64(&mut state);
        state.set(&AMD64, gpr(0), 0x1_0000_0010);
        state.set(&AMD64, gpr(9), 7);
        let value = |text: &str| evaluate(text, &state);
        assert_eq!(value("0x10 + 2*(3-1)"), Ok(0x14));
        assert_eq!(value("$rax+1"), Ok(0x1_0000_0011));
        assert_eq!(value("$eax"), Ok(0x10));
        assert_eq!(value("$r9 | 0x18"), Ok(0x1f));
        assert_eq!(value("-1"), Ok(u64::MAX));
        assert_eq!(value("010"), Ok(8));
        for wrong in ["", "1+", "$foo", "1 2", "(1", "1/0"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }
}
