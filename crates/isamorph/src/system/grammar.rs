//! The grammar of option values: `key=value,…`, where a doubled comma stands for a comma and the first key may be left
//! out, or a JSON object.

use serde_json::Value;

/// The words of an option's value. Each is taken once; what is left at the end is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(Vec<(String, String)>);

/// What is wrong with a value.
pub type Problem = String;

/// Splits at single commas; two of them are one of the text.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.peek() == Some(&',') => {
                chars.next();
                parts.last_mut().expect("there is one").push(',');
            }
            ',' => parts.push(String::new()),
            _ => parts.last_mut().expect("there is one").push(c),
        }
    }
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts
}

/// The members of a JSON object, those of nested ones with a dot.
fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let under = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| flatten(&under(key), value, out)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| flatten(&under(&i.to_string()), v, out)),
        Value::Bool(on) => out.push((prefix.to_owned(), if *on { "on" } else { "off" }.to_owned())),
        Value::String(text) => out.push((prefix.to_owned(), text.clone())),
        Value::Null => {}
        Value::Number(number) => out.push((prefix.to_owned(), number.to_string())),
    }
}

impl Words {
    /// Understands a value; `implied` is the key that a first word without one has.
    ///
    /// # Errors
    /// It starts like a JSON object and is none.
    pub fn parse(text: &str, implied: Option<&str>) -> Result<Self, Problem> {
        let mut list = Vec::new();
        if text.starts_with('{') {
            let value: Value = serde_json::from_str(text).map_err(|e| format!("JSON parse error, {e}"))?;
            flatten("", &value, &mut list);
            return Ok(Words(list));
        }
        for (index, part) in split(text).into_iter().enumerate() {
            list.push(match (part.split_once('='), implied) {
                (Some((key, value)), _) => (key.to_owned(), value.to_owned()),
                (None, Some(implied)) if index == 0 => (implied.to_owned(), part),
                (None, _) => (part, "on".to_owned()),
            });
        }
        Ok(Words(list))
    }
    /// Takes the last value of a key; earlier ones are forgotten.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let found = self.0.iter().rposition(|(other, _)| other == key).map(|at| self.0.remove(at).1);
        self.0.retain(|(other, _)| other != key);
        found
    }
    /// Takes every value of a key, in order.
    pub fn take_all(&mut self, key: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(other, _)| other == key);
        self.0 = left;
        Vec::into_iter(taken).map(|(_, value)| value).collect()
    }
    /// Takes a switch.
    ///
    /// # Errors
    /// It is neither on nor off.
    pub fn take_switch(&mut self, key: &str) -> Result<Option<bool>, Problem> {
        let Some(text) = self.take(key) else { return Ok(None) };
        switch(&text).map(Some).ok_or_else(|| format!("Parameter '{key}' expects 'on' or 'off'"))
    }
    /// Takes a number.
    ///
    /// # Errors
    /// It is none.
    pub fn take_number(&mut self, key: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(key) else { return Ok(None) };
        number(&text).map(Some).ok_or_else(|| format!("Parameter '{key}' expects a number"))
    }
    /// Takes a size; without a suffix it counts in units of `1 << shift` bytes.
    ///
    /// # Errors
    /// It is none.
    pub fn take_size(&mut self, key: &str, shift: u32) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(key) else { return Ok(None) };
        size(&text, shift).map(Some).ok_or_else(|| format!("Parameter '{key}' expects a size"))
    }
    /// What has not been taken.
    pub fn rest(self) -> Vec<(String, String)> {
        self.0
    }
    /// Nothing may be left.
    ///
    /// # Errors
    /// Something is, by name.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            Some((key, _)) => Err(format!("Invalid parameter '{key}'")),
            None => Ok(()),
        }
    }
}

/// A switch.
pub fn switch(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

/// A number, decimal or with `0x`.
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        None if !text.starts_with('+') => text.parse().ok(),
        _ => None,
    }
}

/// A size with a binary suffix; without one it counts in units of `1 << shift` bytes.
pub fn size(text: &str, shift: u32) -> Option<u64> {
    const SUFFIXES: &[(char, u32)] = &[('b', 0), ('k', 10), ('m', 20), ('g', 30), ('t', 40), ('p', 50), ('e', 60)];
    let last = text.chars().last()?.to_ascii_lowercase();
    let is_hex = text.starts_with("0x") || text.starts_with("0X");
    let suffix = SUFFIXES.iter().find(|(suffix, _)| *suffix == last && !(is_hex && last.is_ascii_hexdigit()));
    let (digits, shift) = suffix.map_or((text, shift), |(_, shift)| (&text[..text.len() - 1], *shift));
    if let Some((whole, fraction)) = digits.split_once('.') {
        let scale = (1u64 << shift) as f64;
        let value = format!("{}.{}", number(whole)?, number(fraction).map(|_| fraction)?).parse::<f64>().ok()? * scale;
        return (value < u64::MAX as f64).then_some(value as u64);
    }
    number(digits)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(String, String)> {
        Words::parse(text, Some("first")).unwrap().rest()
    }
    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn words_as_qemu_reads_them() {
        assert_eq!(words("a,b=c"), pairs(&[("first", "a"), ("b", "c")]));
        assert_eq!(words("a=b,c"), pairs(&[("a", "b"), ("c", "on")]));
        assert_eq!(words("x,,y=1,b=c,,d=e"), pairs(&[("x,y", "1"), ("b", "c,d=e")]));
        assert_eq!(words("file=/a,,b"), pairs(&[("file", "/a,b")]));
        assert_eq!(words("a,"), pairs(&[("first", "a")]));
        assert_eq!(words(""), []);
        assert_eq!(
            words(r#"{"driver":"d","a":{"b":[1,true]}}"#),
            pairs(&[("a.b.0", "1"), ("a.b.1", "on"), ("driver", "d")])
        );
        assert!(Words::parse("{", None).is_err());
    }

    #[test]
    fn words_are_taken_once() {
        let mut words = Words::parse("n=1,n=2,on=yes,size=3,x=4", None).unwrap();
        assert_eq!(words.take_number("n"), Ok(Some(2)));
        assert_eq!(words.take_number("n"), Ok(None));
        assert_eq!(words.take_switch("on"), Ok(Some(true)));
        assert_eq!(words.take_size("size", 20), Ok(Some(3 << 20)));
        assert_eq!(words.finish(), Err("Invalid parameter 'x'".to_owned()));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("128", Some(128 << 20)),
            ("1024M", Some(1 << 30)),
            ("2G", Some(2 << 30)),
            ("219136k", Some(219_136 << 10)),
            ("1.5G", Some(3 << 29)),
            ("0x10", Some(16 << 20)),
            ("512b", Some(512)),
            ("", None),
            ("G", None),
            ("-1", None),
            ("16777216T", None),
        ] {
            assert_eq!(size(text, 20), bytes, "{text}");
        }
    }
}
