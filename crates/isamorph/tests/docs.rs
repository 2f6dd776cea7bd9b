//! The manuals say what the tables say.

use isamorph::{log_items, options, system};
use isamorph_machines::{BOARDS, DEVICES};
use std::path::PathBuf;

const USER: &str = "user-mode.md";
const SYSTEM: &str = "system-mode.md";

fn manual(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file)
}

/// Checks the table after the line `<!-- NAME: … -->`; `BLESS=1` writes it.
fn check(file: &str, name: &str, expected: &str) {
    let text = std::fs::read_to_string(manual(file)).expect("the manual");
    let begin = text.find(&format!("<!-- {name}:")).expect("a mark");
    let begin = begin + text[begin..].find("-->\n").expect("its end") + 4;
    let end = begin + text[begin..].find(&format!("<!-- end of {name} -->")).expect("the mark after it");
    if std::env::var_os("BLESS").is_some() {
        let text = format!("{}\n{expected}\n{}", &text[..begin], &text[end..]);
        return std::fs::write(manual(file), text).expect("the manual can be written");
    }
    assert_eq!(text[begin..end].trim(), expected.trim(), "run BLESS=1 cargo test -p isamorph");
}

#[test]
fn the_manual_lists_every_option_and_log_item() {
    check(USER, "options", &options::markdown());
    check(USER, "items", &log_items::markdown());
    let text = std::fs::read_to_string(manual(USER)).expect("the manual");
    for row in options::OPTIONS {
        assert!(text.contains(&format!("| `-{}", row.name)), "-{}", row.name);
    }
}

#[test]
fn the_manual_of_machines_lists_options_boards_and_devices() {
    check(SYSTEM, "options", &system::options::markdown());
    let boards = BOARDS.iter().map(|row| {
        let names: Vec<_> = [&row.name].into_iter().chain(row.aliases).map(|name| format!("`{name}`")).collect();
        format!("| {} | {} | {} |\n", names.join(", "), row.description, row.max_processors)
    });
    check(
        SYSTEM,
        "boards",
        &format!("| board | what it is | processors |\n|---|---|---|\n{}", boards.collect::<String>()),
    );
    let devices = DEVICES.iter().map(|row| {
        let properties: Vec<_> = row.properties.iter().map(|property| format!("`{}`", property.name)).collect();
        format!("| `{}` | {} | {} |\n", row.name, row.description, properties.join(", "))
    });
    let devices = format!("| device | what it is | properties |\n|---|---|---|\n{}", devices.collect::<String>());
    check(SYSTEM, "devices", &devices);
}
