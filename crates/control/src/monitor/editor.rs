//! The line editor of a monitor at a terminal: bytes in, bytes to show and complete lines out.

/// Longest line.
const MAX: usize = 4095;
/// Lines that are remembered.
const HISTORY: usize = 64;

/// Keys that are more than one byte long, as far as they have arrived (ECMA-48 control sequences).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Escape {
    #[default]
    None,
    /// ESC.
    Begun,
    /// ESC [ or ESC O, and a number.
    Sequence(u32),
}

/// What a byte leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing more than what is shown.
    Nothing,
    /// A line is complete.
    Line(String),
    /// The user wants to know how the line can go on.
    Complete(String),
}

/// A line that is being edited.
#[derive(Default)]
pub struct Editor {
    line: Vec<char>,
    cursor: usize,
    escape: Escape,
    history: Vec<String>,
    /// Which line of the history is shown, counted from the end; 0 is the new one.
    back: usize,
    /// Bytes of a character that is not complete.
    partial: Vec<u8>,
}

impl Editor {
    /// Takes a byte; adds what is to be shown to `out`.
    pub fn byte(&mut self, byte: u8, prompt: &str, out: &mut String) -> Outcome {
        match self.escape {
            Escape::Begun => {
                self.escape = if matches!(byte, b'[' | b'O') { Escape::Sequence(0) } else { Escape::None };
                return Outcome::Nothing;
            }
            Escape::Sequence(number) => {
                self.sequence(number, byte, prompt, out);
                return Outcome::Nothing;
            }
            Escape::None => {}
        }
        match byte {
            b'\r' | b'\n' => return self.finish(out),
            b'\t' => return Outcome::Complete(self.line[..self.cursor].iter().collect()),
            0x1b => self.escape = Escape::Begun,
            0x01 => self.cursor = 0,
            0x05 => self.cursor = self.line.len(),
            0x08 | 0x7f => self.erase(),
            0x04 => self.delete(),
            0x0b => self.line.truncate(self.cursor),
            0x15 => {
                self.line.drain(..self.cursor);
                self.cursor = 0;
            }
            0x17 => self.erase_word(),
            0x10 => self.recall(self.back + 1),
            0x0e => self.recall(self.back.saturating_sub(1)),
            0x20.. => return self.insert(byte, prompt, out),
            _ => return Outcome::Nothing,
        }
        self.show(prompt, out);
        Outcome::Nothing
    }
    /// Puts text at the cursor, as completion does.
    pub fn add(&mut self, text: &str, prompt: &str, out: &mut String) {
        for c in text.chars() {
            self.put(c);
        }
        self.show(prompt, out);
    }
    /// Shows prompt and line anew.
    pub fn show(&self, prompt: &str, out: &mut String) {
        out.push('\r');
        out.push_str(prompt);
        out.extend(&self.line);
        out.push_str("\x1b[K");
        if self.cursor < self.line.len() {
            out.push_str(&format!("\x1b[{}D", self.line.len() - self.cursor));
        }
    }
    fn insert(&mut self, byte: u8, prompt: &str, out: &mut String) -> Outcome {
        self.partial.push(byte);
        let Ok(text) = std::str::from_utf8(&self.partial) else {
            // Four bytes that are no character never will be one.
            if self.partial.len() >= 4 {
                self.partial.clear();
            }
            return Outcome::Nothing;
        };
        let c = text.chars().next();
        self.partial.clear();
        if let Some(c) = c {
            self.put(c);
            if self.cursor == self.line.len() {
                out.push(c);
            } else {
                self.show(prompt, out);
            }
        }
        Outcome::Nothing
    }
    fn put(&mut self, c: char) {
        if self.line.len() < MAX {
            self.line.insert(self.cursor, c);
            self.cursor += 1;
        }
    }
    fn finish(&mut self, out: &mut String) -> Outcome {
        out.push_str("\r\n");
        let line: String = self.line.drain(..).collect();
        (self.cursor, self.back) = (0, 0);
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            self.history.push(line.clone());
            if self.history.len() > HISTORY {
                self.history.remove(0);
            }
        }
        Outcome::Line(line)
    }
    fn erase(&mut self) {
        if self.cursor > 0 {
            self.cursor -= 1;
            self.line.remove(self.cursor);
        }
    }
    fn delete(&mut self) {
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
        }
    }
    fn erase_word(&mut self) {
        while self.cursor > 0 && self.line[self.cursor - 1] == ' ' {
            self.erase();
        }
        while self.cursor > 0 && self.line[self.cursor - 1] != ' ' {
            self.erase();
        }
    }
    fn recall(&mut self, back: usize) {
        if back <= self.history.len() {
            self.back = back;
            self.line = match back {
                0 => Vec::new(),
                n => self.history[self.history.len() - n].chars().collect(),
            };
            self.cursor = self.line.len();
        }
    }
    fn sequence(&mut self, number: u32, byte: u8, prompt: &str, out: &mut String) {
        self.escape = Escape::None;
        match byte {
            b'0'..=b'9' => {
                self.escape = Escape::Sequence(number.saturating_mul(10).saturating_add(u32::from(byte - b'0')));
                return;
            }
            b'A' => self.recall(self.back + 1),
            b'B' => self.recall(self.back.saturating_sub(1)),
            b'C' => self.cursor = (self.cursor + 1).min(self.line.len()),
            b'D' => self.cursor = self.cursor.saturating_sub(1),
            b'H' => self.cursor = 0,
            b'F' => self.cursor = self.line.len(),
            b'~' if number == 3 => self.delete(),
            b'~' if number == 1 => self.cursor = 0,
            b'~' if number == 4 => self.cursor = self.line.len(),
            _ => return,
        }
        self.show(prompt, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(editor: &mut Editor, bytes: &[u8]) -> Vec<String> {
        let mut out = String::new();
        let outcomes = bytes.iter().map(|byte| editor.byte(*byte, "> ", &mut out));
        outcomes.filter_map(|o| if let Outcome::Line(line) = o { Some(line) } else { None }).collect()
    }

    #[test]
    fn keys_edit_the_line() {
        let mut editor = Editor::default();
        assert_eq!(lines(&mut editor, b"info\x7f\x7fxy\r"), ["inxy"]);
        assert_eq!(lines(&mut editor, b"bc\x01a\x05d\n"), ["abcd"]);
        assert_eq!(lines(&mut editor, b"ac\x1b[Db\x1b[C!\r"), ["abc!"]);
        assert_eq!(lines(&mut editor, b"one two\x17three\r"), ["one three"]);
        assert_eq!(lines(&mut editor, b"\x1b[A\x1b[A\r\x1b[A\x1b[B\r"), ["abc!", ""]);
        assert_eq!(lines(&mut editor, "ä\x08ö\r".as_bytes()), ["ö"]);
        assert_eq!(lines(&mut editor, b"abc\x1b[H\x1b[3~\r\xff\xff\xff\xffz\r"), ["bc", "z"]);
    }

    #[test]
    fn completion_is_asked_for() {
        let (mut editor, mut out) = (Editor::default(), String::new());
        "inf".bytes().for_each(|b| assert_eq!(editor.byte(b, "> ", &mut out), Outcome::Nothing));
        assert_eq!(editor.byte(b'\t', "> ", &mut out), Outcome::Complete("inf".to_owned()));
        editor.add("o ", "> ", &mut out);
        assert_eq!(editor.byte(b'\r', "> ", &mut out), Outcome::Line("info ".to_owned()));
    }
}
