//! The boards.

use crate::config::Config;
use crate::site::Site;
use crate::{bare, pc};

/// A board.
#[derive(Debug)]
pub struct BoardRow {
    /// Its name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What it is, one line.
    pub description: &'static str,
    /// Whether it is taken if none is named.
    pub is_default: bool,
    /// Most processors.
    pub max_processors: u32,
    /// Bytes of memory if nothing is said.
    pub default_ram: u64,
    /// Properties that can be given (`-machine NAME,prop=value`), with the values that they can have.
    pub properties: &'static [(&'static str, &'static [&'static str])],
    /// Builds it.
    pub(crate) build: fn(&mut Site<'_>, &Config) -> Result<(), String>,
}

const ON: &[&str] = &["on"];
const OFF: &[&str] = &["off"];
/// What nothing depends on here.
const ANY: &[&str] = &["on", "off"];

impl BoardRow {
    /// Whether a property can have a value.
    ///
    /// # Errors
    /// There is no such property, or it cannot.
    pub fn check(&self, property: &str, value: &str) -> Result<(), String> {
        let row = self.properties.iter().find(|(name, _)| *name == property);
        match row {
            None => Err(format!("Property '{}-machine.{property}' not found", self.name)),
            Some((_, values)) if values.contains(&value) => Ok(()),
            Some(_) => Err(format!("{property}={value} is not supported")),
        }
    }
}

/// The boards, those of x86 PCs.
pub static BOARDS: &[BoardRow] = &[
    BoardRow {
        name: "pc-i440fx-10.0",
        aliases: &["pc"],
        description: "Standard PC (i440FX + PIIX, 1996)",
        is_default: true,
        max_processors: 255,
        default_ram: 128 << 20,
        properties: &[
            ("acpi", ON),
            ("dump-guest-core", ANY),
            ("graphics", ANY),
            ("hpet", ON),
            ("kernel-irqchip", OFF),
            ("mem-merge", ANY),
            ("memory-backend", &["pc.ram"]),
            ("pcspk-audiodev", &["none"]),
            ("pic", ON),
            ("pit", ON),
            ("smbus", ON),
            ("smm", &["off", "auto"]),
            ("usb", OFF),
            ("vmport", &["off", "auto"]),
        ],
        build: pc::build,
    },
    BoardRow {
        name: "none",
        aliases: &[],
        description: "empty machine",
        is_default: false,
        max_processors: 255,
        default_ram: 0,
        properties: &[("on-halt", &["wait", "exit"])],
        build: bare::build,
    },
];

/// The board of that name.
pub fn board(name: &str) -> Option<&'static BoardRow> {
    BOARDS.iter().find(|row| row.name == name || row.aliases.contains(&name))
}

/// The board that is taken if none is named.
pub fn default_board() -> &'static BoardRow {
    BOARDS.iter().find(|row| row.is_default).unwrap_or(&BOARDS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_one_board_is_the_default() {
        let mut names: Vec<_> = BOARDS.iter().flat_map(|row| row.aliases.iter().chain([&row.name])).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(BOARDS.iter().filter(|row| row.is_default).count(), 1);
        assert_eq!(board("pc").map(|row| row.name), Some(default_board().name));
    }
}
