//! A Rust file split into code and comments, so that rules do not trip over words in strings and prose.

/// A Rust source file. Lines are counted from 0 in the vectors and from 1 in messages.
pub struct Source {
    /// The path below the repository's root.
    pub path: String,
    /// Each line without its comments, and with the contents of strings and character literals blanked.
    pub code: Vec<String>,
    /// What each line has in comments, markers included.
    pub comments: Vec<String>,
}

impl Source {
    /// Splits the text of a file.
    pub fn new(path: &str, text: &str) -> Self {
        let mut splitter =
            Splitter { chars: text.chars().collect(), at: 0, code: String::new(), comments: String::new() };
        splitter.run();
        let lines = |text: String| text.split('\n').map(str::to_owned).collect();
        Self { path: path.to_owned(), code: lines(splitter.code), comments: lines(splitter.comments) }
    }

    /// Lines with code on them.
    pub fn lines_of_code(&self) -> usize {
        self.code.iter().filter(|line| !line.trim().is_empty()).count()
    }

    /// The comments attached to a line: on it, and directly above it with only attributes between.
    pub fn comments_above(&self, line: usize) -> impl Iterator<Item = &str> {
        let attached = |index: &usize| {
            let code = self.code[*index].trim();
            (code.is_empty() && !self.comments[*index].trim().is_empty()) || code.starts_with('#')
        };
        let above = (0..line).rev().take_while(attached);
        std::iter::once(line).chain(above).map(|index| self.comments[index].as_str())
    }
}

/// The places where a word stands alone in a line.
pub fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .filter(move |(at, _)| {
            let before = line[..*at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(is_name) && !after.is_some_and(is_name)
        })
        .map(|(at, _)| at)
}

struct Splitter {
    chars: Vec<char>,
    at: usize,
    code: String,
    comments: String,
}

impl Splitter {
    fn run(&mut self) {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                ('r', Some('"' | '#')) if !self.in_name() => self.raw_string(),
                _ => self.take_code(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Whether the current character continues a name. `br` and `cr` are prefixes of raw strings, not names.
    fn in_name(&self) -> bool {
        let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
        match self.chars[..self.at].split_last() {
            Some(('b' | 'c', rest)) => rest.last().is_some_and(is_name),
            Some((last, _)) => is_name(last),
            None => false,
        }
    }

    fn take(&mut self, to_code: bool, to_comments: bool) {
        let Some(c) = self.peek(0) else { return };
        let line_end = c == '\n';
        self.code.push(if to_code || line_end { c } else { ' ' });
        self.comments.push(if to_comments || line_end { c } else { ' ' });
        self.at += 1;
    }

    fn take_code(&mut self) {
        self.take(true, false);
    }

    fn take_comment(&mut self) {
        self.take(false, true);
    }

    fn take_blank(&mut self) {
        self.take(false, false);
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.take_comment();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.take_comment();
                    continue;
                }
            }
            self.take_comment();
            self.take_comment();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take_code();
        while let Some(c) = self.peek(0) {
            match c {
                '"' => return self.take_code(),
                '\\' => {
                    self.take_blank();
                    self.take_blank();
                }
                _ => self.take_blank(),
            }
        }
    }

    /// A character literal, or the start of a lifetime.
    fn quote(&mut self) {
        let literal = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.take_code();
        if !literal {
            return;
        }
        while let Some(c) = self.peek(0) {
            match c {
                '\'' => return self.take_code(),
                '\\' => {
                    self.take_blank();
                    self.take_blank();
                }
                _ => self.take_blank(),
            }
        }
    }

    /// `r"…"` with any number of hashes; anything else that starts with `r#` is a raw name.
    fn raw_string(&mut self) {
        let hashes = self.chars[self.at + 1..].iter().take_while(|c| **c == '#').count();
        if self.peek(1 + hashes) != Some('"') {
            return self.take_code();
        }
        for _ in 0..hashes + 2 {
            self.take_code();
        }
        while let Some(c) = self.peek(0) {
            let closes = c == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if closes {
                for _ in 0..=hashes {
                    self.take_code();
                }
                return;
            }
            self.take_blank();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("x.rs", text).code.join("\n")
    }

    #[test]
    fn strings_and_comments_are_not_code() {
        assert_eq!(code("a /* b /* c */ d */ e // f"), "a                   e     ");
        assert_eq!(code(r#"x("un\"safe {")y"#), r#"x("          ")y"#);
        assert_eq!(code("r#\"a\"b\"#c"), "r#\"   \"#c");
        assert_eq!(code("br\"todo\""), "br\"    \"");
    }

    #[test]
    fn quotes_are_literals_or_lifetimes() {
        assert_eq!(code("'\"' 'a' '\\'' b"), "' ' ' ' '  ' b");
        assert_eq!(code("&'a str, r#fn, 'b: loop"), "&'a str, r#fn, 'b: loop");
    }

    #[test]
    fn lines_stay_aligned() {
        let source = Source::new("x.rs", "a\n\"b\nc\" // d\n// e\n#[f]\ng\n\n");
        assert_eq!(source.code.len(), source.comments.len());
        assert_eq!(source.lines_of_code(), 5);
        assert_eq!(source.comments[2].trim(), "// d");
        assert!(source.comments_above(5).any(|comment| comment.contains("// e")));
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe_code unsafe { not_unsafe }", "unsafe").collect::<Vec<_>>(), [12]);
    }
}
