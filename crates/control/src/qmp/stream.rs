//! Cutting a stream of bytes into JSON objects.

/// Longest object.
const MAX: usize = 64 << 20;
/// Deepest nesting (QEMU's limit).
const DEEPEST: usize = 1024;

/// What has arrived of the object that is not complete.
#[derive(Default)]
pub struct Splitter {
    object: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    /// Takes bytes; gives the objects that they complete, or what is wrong with them.
    pub fn add(&mut self, bytes: &[u8]) -> Vec<Result<Vec<u8>, &'static str>> {
        let mut out = Vec::new();
        for &byte in bytes {
            self.byte(byte, &mut out);
        }
        out
    }
    fn byte(&mut self, byte: u8, out: &mut Vec<Result<Vec<u8>, &'static str>>) {
        if self.depth == 0 && byte.is_ascii_whitespace() {
            if !self.object.is_empty() {
                self.finish(out);
            }
            return;
        }
        self.object.push(byte);
        if self.object.len() > MAX || self.depth > DEEPEST {
            *self = Splitter::default();
            return out.push(Err("JSON token size or nesting depth exceeds the limit"));
        }
        if self.in_string {
            match (byte, std::mem::take(&mut self.escaped)) {
                (b'\\', false) => self.escaped = true,
                (b'"', false) => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.finish(out);
                }
            }
            _ => {}
        }
    }
    fn finish(&mut self, out: &mut Vec<Result<Vec<u8>, &'static str>>) {
        out.push(Ok(std::mem::take(self).object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_cut_where_they_end() {
        let mut splitter = Splitter::default();
        let mut texts = Vec::new();
        for piece in [r#"{"a": "}\"{"#, r#""} {"b":[1,{}]}"#, "\n nonsense {}", "]"] {
            texts.extend(splitter.add(piece.as_bytes()));
        }
        let texts: Vec<_> = texts.into_iter().map(|t| String::from_utf8(t.unwrap()).unwrap()).collect();
        assert_eq!(texts, [r#"{"a": "}\"{"}"#, r#"{"b":[1,{}]}"#, "nonsense", "{}", "]"]);
    }

    #[test]
    fn nobody_fills_the_memory() {
        let mut splitter = Splitter::default();
        // The byte after the deepest bracket is one too many, and everything so far is forgotten.
        assert!(splitter.add(&[b'['; DEEPEST + 2]).iter().any(Result::is_err));
        assert_eq!(splitter.add(b"{}"), [Ok(b"{}".to_vec())]);
    }
}
