//! `docs/user-mode.md` says what the tables say.

use isamorph::{log_items, options};
use std::path::PathBuf;

fn manual() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/user-mode.md")
}

/// Checks the table after the line `<!-- NAME: … -->`; `BLESS=1` writes it.
fn check(name: &str, expected: &str) {
    let text = std::fs::read_to_string(manual()).expect("the manual");
    let begin = text.find(&format!("<!-- {name}:")).expect("a mark");
    let begin = begin + text[begin..].find("-->\n").expect("its end") + 4;
    let end = begin + text[begin..].find(&format!("<!-- end of {name} -->")).expect("the mark after it");
    if std::env::var_os("BLESS").is_some() {
        let text = format!("{}\n{expected}\n{}", &text[..begin], &text[end..]);
        return std::fs::write(manual(), text).expect("the manual can be written");
    }
    assert_eq!(text[begin..end].trim(), expected.trim(), "run BLESS=1 cargo test -p isamorph");
}

#[test]
fn the_manual_lists_every_option_and_log_item() {
    check("options", &options::markdown());
    check("items", &log_items::markdown());
    let text = std::fs::read_to_string(manual()).expect("the manual");
    for row in options::OPTIONS {
        assert!(text.contains(&format!("| `-{}", row.name)), "-{}", row.name);
    }
}
