//! Decoders are pure functions from bytes to instructions: they know neither IR nor memory.

use super::Problem;
use super::source::{Source, words};

const FORBIDDEN: &[&str] = &["isamorph_ir", "isamorph_ram", "isamorph_accel"];

/// Reports mentions of the IR and of memory in a front end's `decode*` modules.
pub fn check(source: &Source, problems: &mut Vec<Problem>) {
    if !is_decoder(&source.path) {
        return;
    }
    for (index, line) in source.code.iter().enumerate() {
        for name in FORBIDDEN.iter().filter(|name| words(line, name).next().is_some()) {
            problems.push(Problem::new(&source.path, index + 1, format!("a decoder may not use `{name}`")));
        }
    }
}

fn is_decoder(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("frontends") && parts.any(|part| part.starts_with("decode"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::rust;

    #[test]
    fn decoders_do_not_know_the_ir() {
        let bad = "use isamorph_ir::Op;\n";
        assert_eq!(
            rust(check, "frontends/a64/src/decode.rs", bad),
            ["frontends/a64/src/decode.rs:1: a decoder may not use `isamorph_ir`"]
        );
        assert_eq!(rust(check, "frontends/a64/src/decode/simd.rs", bad).len(), 1);
        assert!(rust(check, "frontends/a64/src/lift.rs", bad).is_empty());
        assert!(rust(check, "frontends/a64/src/decode.rs", "// not isamorph_ir\n").is_empty());
    }
}
