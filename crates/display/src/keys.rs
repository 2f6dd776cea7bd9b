//! Keys: names, numbers and scan codes. Every conversion is made from the tables here.
//!
//! A key that has a name among QEMU's `QKeyCode`s has a row. The others are known by their number, which is the scan
//! code of set 1, with bit 7 for those that follow 0xe0; their codes in the other sets follow from two tables that map
//! the 128 codes of set 1.

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key(Which);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Which {
    /// Index of its row.
    Named(u8),
    Number(u8),
}

/// What is known of a key. 0 where there is no code; 0xe0 in the high byte of a code is sent before it.
struct Row {
    name: &'static str,
    number: u8,
    set1: u16,
    set2: u16,
    set3: u8,
    /// Usage on the keyboard page of USB's HID usage tables.
    usb: u8,
}

const fn row(name: &'static str, number: u8, set1: u16, set2: u16, set3: u8, usb: u8) -> Row {
    Row { name, number, set1, set2, set3, usb }
}

/// Names that mean the same key as another row.
const SYNONYMS: &[(&str, &str)] = &[("sysrq", "print"), ("asterisk", "kp_multiply")];

/// Numbers that keys have besides that of their row: what a keyboard sends for Print without Alt.
const MORE_NUMBERS: &[(u8, &str)] = &[(0xb7, "print")];

/// Set 2 by code of set 1. The inverse is what a keyboard controller translates by.
pub const SET2_OF_SET1: [u8; 128] = [
    0, 118, 22, 30, 38, 37, 46, 54, 61, 62, 70, 69, 78, 85, 102, 13, //
    21, 29, 36, 45, 44, 53, 60, 67, 68, 77, 84, 91, 90, 20, 28, 27, //
    35, 43, 52, 51, 59, 66, 75, 76, 82, 14, 18, 93, 26, 34, 33, 42, //
    50, 49, 58, 65, 73, 74, 89, 124, 17, 41, 88, 5, 6, 4, 12, 3, //
    11, 2, 10, 1, 9, 119, 126, 108, 117, 125, 123, 107, 115, 116, 121, 105, //
    114, 122, 112, 113, 127, 96, 97, 120, 7, 15, 23, 31, 39, 47, 55, 63, //
    71, 79, 86, 94, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 87, 111, //
    19, 25, 57, 81, 83, 92, 95, 98, 99, 100, 101, 103, 104, 106, 109, 110, //
];

/// Set 3 by code of set 1.
pub const SET3_OF_SET1: [u8; 128] = [
    0, 8, 22, 30, 38, 37, 46, 54, 61, 62, 70, 69, 78, 85, 102, 13, //
    21, 29, 36, 45, 44, 53, 60, 67, 68, 77, 84, 91, 90, 17, 28, 27, //
    35, 43, 52, 51, 59, 66, 75, 76, 82, 14, 18, 92, 26, 34, 33, 42, //
    50, 49, 58, 65, 73, 74, 89, 126, 25, 41, 20, 7, 15, 23, 31, 39, //
    47, 2, 63, 71, 79, 118, 95, 108, 117, 125, 132, 107, 115, 116, 124, 105, //
    114, 122, 112, 113, 127, 96, 97, 86, 94, 15, 23, 31, 39, 47, 55, 63, //
    71, 79, 86, 94, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 87, 111, //
    19, 25, 57, 81, 83, 92, 95, 98, 99, 100, 101, 103, 104, 106, 109, 110, //
];

/// All `QKeyCode`s, in QEMU's order, which QMP's schema shows.
const ROWS: &[Row] = &[
    row("unmapped", 0x00, 0x00, 0x00, 0x00, 0),
    row("shift", 0x2a, 0x2a, 0x12, 0x12, 225),
    row("shift_r", 0x36, 0x36, 0x59, 0x59, 229),
    row("alt", 0x38, 0x38, 0x11, 0x19, 226),
    row("alt_r", 0xb8, 0xe038, 0xe011, 0x39, 230),
    row("ctrl", 0x1d, 0x1d, 0x14, 0x11, 224),
    row("ctrl_r", 0x9d, 0xe01d, 0xe014, 0x58, 228),
    row("menu", 0x9e, 0xe01e, 0xe01c, 0x91, 118),
    row("esc", 0x01, 0x01, 0x76, 0x08, 41),
    row("1", 0x02, 0x02, 0x16, 0x16, 30),
    row("2", 0x03, 0x03, 0x1e, 0x1e, 31),
    row("3", 0x04, 0x04, 0x26, 0x26, 32),
    row("4", 0x05, 0x05, 0x25, 0x25, 33),
    row("5", 0x06, 0x06, 0x2e, 0x2e, 34),
    row("6", 0x07, 0x07, 0x36, 0x36, 35),
    row("7", 0x08, 0x08, 0x3d, 0x3d, 36),
    row("8", 0x09, 0x09, 0x3e, 0x3e, 37),
    row("9", 0x0a, 0x0a, 0x46, 0x46, 38),
    row("0", 0x0b, 0x0b, 0x45, 0x45, 39),
    row("minus", 0x0c, 0x0c, 0x4e, 0x4e, 45),
    row("equal", 0x0d, 0x0d, 0x55, 0x55, 46),
    row("backspace", 0x0e, 0x0e, 0x66, 0x66, 42),
    row("tab", 0x0f, 0x0f, 0x0d, 0x0d, 43),
    row("q", 0x10, 0x10, 0x15, 0x15, 20),
    row("w", 0x11, 0x11, 0x1d, 0x1d, 26),
    row("e", 0x12, 0x12, 0x24, 0x24, 8),
    row("r", 0x13, 0x13, 0x2d, 0x2d, 21),
    row("t", 0x14, 0x14, 0x2c, 0x2c, 23),
    row("y", 0x15, 0x15, 0x35, 0x35, 28),
    row("u", 0x16, 0x16, 0x3c, 0x3c, 24),
    row("i", 0x17, 0x17, 0x43, 0x43, 12),
    row("o", 0x18, 0x18, 0x44, 0x44, 18),
    row("p", 0x19, 0x19, 0x4d, 0x4d, 19),
    row("bracket_left", 0x1a, 0x1a, 0x54, 0x54, 47),
    row("bracket_right", 0x1b, 0x1b, 0x5b, 0x5b, 48),
    row("ret", 0x1c, 0x1c, 0x5a, 0x5a, 40),
    row("a", 0x1e, 0x1e, 0x1c, 0x1c, 4),
    row("s", 0x1f, 0x1f, 0x1b, 0x1b, 22),
    row("d", 0x20, 0x20, 0x23, 0x23, 7),
    row("f", 0x21, 0x21, 0x2b, 0x2b, 9),
    row("g", 0x22, 0x22, 0x34, 0x34, 10),
    row("h", 0x23, 0x23, 0x33, 0x33, 11),
    row("j", 0x24, 0x24, 0x3b, 0x3b, 13),
    row("k", 0x25, 0x25, 0x42, 0x42, 14),
    row("l", 0x26, 0x26, 0x4b, 0x4b, 15),
    row("semicolon", 0x27, 0x27, 0x4c, 0x4c, 51),
    row("apostrophe", 0x28, 0x28, 0x52, 0x52, 52),
    row("grave_accent", 0x29, 0x29, 0x0e, 0x0e, 53),
    row("backslash", 0x2b, 0x2b, 0x5d, 0x5c, 49),
    row("z", 0x2c, 0x2c, 0x1a, 0x1a, 29),
    row("x", 0x2d, 0x2d, 0x22, 0x22, 27),
    row("c", 0x2e, 0x2e, 0x21, 0x21, 6),
    row("v", 0x2f, 0x2f, 0x2a, 0x2a, 25),
    row("b", 0x30, 0x30, 0x32, 0x32, 5),
    row("n", 0x31, 0x31, 0x31, 0x31, 17),
    row("m", 0x32, 0x32, 0x3a, 0x3a, 16),
    row("comma", 0x33, 0x33, 0x41, 0x41, 54),
    row("dot", 0x34, 0x34, 0x49, 0x49, 55),
    row("slash", 0x35, 0x35, 0x4a, 0x4a, 56),
    row("asterisk", 0x37, 0x37, 0x7c, 0x7e, 85),
    row("spc", 0x39, 0x39, 0x29, 0x29, 44),
    row("caps_lock", 0x3a, 0x3a, 0x58, 0x14, 57),
    row("f1", 0x3b, 0x3b, 0x05, 0x07, 58),
    row("f2", 0x3c, 0x3c, 0x06, 0x0f, 59),
    row("f3", 0x3d, 0x3d, 0x04, 0x17, 60),
    row("f4", 0x3e, 0x3e, 0x0c, 0x1f, 61),
    row("f5", 0x3f, 0x3f, 0x03, 0x27, 62),
    row("f6", 0x40, 0x40, 0x0b, 0x2f, 63),
    row("f7", 0x41, 0x41, 0x83, 0x37, 64),
    row("f8", 0x42, 0x42, 0x0a, 0x3f, 65),
    row("f9", 0x43, 0x43, 0x01, 0x47, 66),
    row("f10", 0x44, 0x44, 0x09, 0x4f, 67),
    row("num_lock", 0x45, 0x45, 0x77, 0x76, 83),
    row("scroll_lock", 0x46, 0x46, 0x7e, 0x5f, 71),
    row("kp_divide", 0xb5, 0xe035, 0xe04a, 0x4a, 84),
    row("kp_multiply", 0x37, 0x37, 0x7c, 0x7e, 85),
    row("kp_subtract", 0x4a, 0x4a, 0x7b, 0x4e, 86),
    row("kp_add", 0x4e, 0x4e, 0x79, 0x7c, 87),
    row("kp_enter", 0x9c, 0xe01c, 0xe05a, 0x79, 88),
    row("kp_decimal", 0x53, 0x53, 0x71, 0x71, 99),
    row("sysrq", 0x54, 0x54, 0x7f, 0x57, 70),
    row("kp_0", 0x52, 0x52, 0x70, 0x70, 98),
    row("kp_1", 0x4f, 0x4f, 0x69, 0x69, 89),
    row("kp_2", 0x50, 0x50, 0x72, 0x72, 90),
    row("kp_3", 0x51, 0x51, 0x7a, 0x7a, 91),
    row("kp_4", 0x4b, 0x4b, 0x6b, 0x6b, 92),
    row("kp_5", 0x4c, 0x4c, 0x73, 0x73, 93),
    row("kp_6", 0x4d, 0x4d, 0x74, 0x74, 94),
    row("kp_7", 0x47, 0x47, 0x6c, 0x6c, 95),
    row("kp_8", 0x48, 0x48, 0x75, 0x75, 96),
    row("kp_9", 0x49, 0x49, 0x7d, 0x7d, 97),
    row("less", 0x56, 0x56, 0x61, 0x13, 100),
    row("f11", 0x57, 0x57, 0x78, 0x56, 68),
    row("f12", 0x58, 0x58, 0x07, 0x5e, 69),
    row("print", 0x54, 0x54, 0x7f, 0x57, 70),
    row("home", 0xc7, 0xe047, 0xe06c, 0x6e, 74),
    row("pgup", 0xc9, 0xe049, 0xe07d, 0x6f, 75),
    row("pgdn", 0xd1, 0xe051, 0xe07a, 0x6d, 78),
    row("end", 0xcf, 0xe04f, 0xe069, 0x65, 77),
    row("left", 0xcb, 0xe04b, 0xe06b, 0x61, 80),
    row("up", 0xc8, 0xe048, 0xe075, 0x63, 82),
    row("down", 0xd0, 0xe050, 0xe072, 0x60, 81),
    row("right", 0xcd, 0xe04d, 0xe074, 0x6a, 79),
    row("insert", 0xd2, 0xe052, 0xe070, 0x67, 73),
    row("delete", 0xd3, 0xe053, 0xe071, 0x64, 76),
    row("stop", 0xe8, 0xe068, 0xe028, 0x0a, 120),
    row("again", 0x85, 0xe005, 0xe025, 0x0b, 121),
    row("props", 0x86, 0xe006, 0xe02e, 0x0c, 0),
    row("undo", 0x87, 0xe007, 0xe036, 0x10, 122),
    row("front", 0x8c, 0xe00c, 0xe04e, 0x00, 119),
    row("copy", 0xf8, 0xe078, 0xe063, 0x18, 124),
    row("open", 0x64, 0x64, 0x08, 0x20, 116),
    row("paste", 0x65, 0x65, 0x10, 0x28, 125),
    row("find", 0xc1, 0xe041, 0xe002, 0x30, 126),
    row("cut", 0xbc, 0xe03c, 0xe006, 0x38, 123),
    row("lf", 0x5b, 0x5b, 0x1f, 0x00, 0),
    row("help", 0xf5, 0xe075, 0xe05c, 0x09, 117),
    row("meta_l", 0xdb, 0xe05b, 0xe01f, 0x8b, 227),
    row("meta_r", 0xdc, 0xe05c, 0xe027, 0x8c, 231),
    row("compose", 0xdd, 0xe05d, 0xe02f, 0x8d, 101),
    row("pause", 0xc6, 0xe046, 0xe077, 0x62, 72),
    row("ro", 0x73, 0x73, 0x51, 0x51, 135),
    row("hiragana", 0x77, 0x77, 0x62, 0x87, 147),
    row("henkan", 0x79, 0x79, 0x64, 0x86, 138),
    row("yen", 0x7d, 0x7d, 0x6a, 0x5d, 137),
    row("muhenkan", 0x7b, 0x7b, 0x67, 0x85, 139),
    row("katakanahiragana", 0x70, 0x70, 0x13, 0x87, 136),
    row("kp_comma", 0x7e, 0x7e, 0x6d, 0x00, 133),
    row("kp_equals", 0x59, 0x59, 0x0f, 0x00, 103),
    row("power", 0xde, 0xe05e, 0xe037, 0x00, 102),
    row("sleep", 0xdf, 0xe05f, 0xe03f, 0x00, 248),
    row("wake", 0xe3, 0xe063, 0xe05e, 0x00, 0),
    row("audionext", 0x99, 0xe019, 0xe04d, 0x93, 235),
    row("audioprev", 0x90, 0xe010, 0xe015, 0x94, 234),
    row("audiostop", 0xa4, 0xe024, 0xe03b, 0x98, 233),
    row("audioplay", 0xa2, 0xe022, 0xe034, 0x00, 232),
    row("audiomute", 0xa0, 0xe020, 0xe023, 0x9c, 127),
    row("volumeup", 0xb0, 0xe030, 0xe032, 0x95, 128),
    row("volumedown", 0xae, 0xe02e, 0xe021, 0x9d, 129),
    row("mediaselect", 0xed, 0xe06d, 0xe050, 0x00, 0),
    row("mail", 0xec, 0xe06c, 0xe048, 0x00, 0),
    row("calculator", 0xa1, 0xe021, 0xe02b, 0xa3, 251),
    row("computer", 0xeb, 0xe06b, 0xe040, 0x00, 0),
    row("ac_home", 0xb2, 0xe032, 0xe03a, 0x97, 0),
    row("ac_back", 0xea, 0xe06a, 0xe038, 0x00, 241),
    row("ac_forward", 0xe9, 0xe069, 0xe030, 0x00, 242),
    row("ac_refresh", 0xe7, 0xe067, 0xe020, 0x00, 250),
    row("ac_bookmarks", 0xe6, 0xe066, 0xe018, 0x00, 0),
    row("lang1", 0x72, 0x72, 0xf2, 0xf2, 144),
    row("lang2", 0x71, 0x71, 0xf1, 0xf1, 145),
    row("f13", 0x5d, 0x5d, 0x2f, 0x7f, 104),
    row("f14", 0x5e, 0x5e, 0x37, 0x80, 105),
    row("f15", 0x5f, 0x5f, 0x3f, 0x81, 106),
    row("f16", 0x55, 0x55, 0x60, 0x82, 107),
    row("f17", 0x83, 0xe003, 0xe01e, 0x83, 108),
    row("f18", 0xf7, 0xe077, 0xe062, 0x00, 109),
    row("f19", 0x84, 0xe004, 0xe026, 0x00, 110),
    row("f20", 0x5a, 0x5a, 0x17, 0x00, 111),
    row("f21", 0x74, 0x74, 0x53, 0x53, 112),
    row("f22", 0xf9, 0xe079, 0xe064, 0x00, 113),
    row("f23", 0x6d, 0x6d, 0x50, 0x50, 114),
    row("f24", 0x6f, 0x6f, 0x6f, 0x00, 115),
];

/// Hangul and Hanja by the numbers that some hosts send for them; the codes of the usual ones are in their rows.
const HANJA_NUMBER: u8 = 0xf1;
const HANGUL_NUMBER: u8 = 0xf2;

fn code(raw: u16) -> Option<u16> {
    (raw != 0).then_some(raw)
}

impl Key {
    fn row(self) -> Option<&'static Row> {
        match self.0 {
            Which::Named(index) => ROWS.get(usize::from(index)),
            Which::Number(_) => None,
        }
    }
    fn find(is_it: impl Fn(&Row) -> bool) -> Option<Self> {
        let is_it = |row: &&Row| is_it(row) && SYNONYMS.iter().all(|(other, _)| *other != row.name);
        let at = ROWS.iter().position(|row| is_it(&row))?;
        Some(Key(Which::Named(at as u8)))
    }
    /// The key of that `QKeyCode`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = SYNONYMS.iter().find(|(other, _)| *other == name).map_or(name, |(_, canonical)| canonical);
        Key::find(|row| row.name == name)
    }
    /// The names of all `QKeyCode`s, in QEMU's order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROWS.iter().map(|row| row.name)
    }
    /// The key of that number: a code of set 1, with 0x80 added, or 0xe000, for those after 0xe0.
    pub fn from_number(number: u16) -> Option<Self> {
        let number = match number {
            0 => return None,
            1..=0xff => number as u8,
            0xe000..=0xe07f => number as u8 | 0x80,
            _ => return None,
        };
        let more = MORE_NUMBERS.iter().find(|(other, _)| *other == number);
        let named = more.map_or_else(|| Key::find(|row| row.number == number), |(_, name)| Key::from_name(name));
        Some(named.unwrap_or(Key(Which::Number(number))))
    }
    /// The key of that usage on USB's keyboard page.
    pub fn from_usb(usage: u8) -> Option<Self> {
        Key::find(|row| row.usb == usage && usage != 0)
    }
    /// Its `QKeyCode`.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }
    /// Its number; 0 if it has none.
    pub fn number(self) -> u8 {
        match self.0 {
            Which::Number(number) => number,
            Which::Named(_) => self.row().map_or(0, |row| row.number),
        }
    }
    /// Its code in set 1.
    pub fn set1(self) -> Option<u16> {
        match (self.0, self.row()) {
            (Which::Number(number), _) => Some(plain_or_escaped(number, number & 0x7f)),
            (_, row) => code(row?.set1),
        }
    }
    /// Its code in set 2.
    pub fn set2(self) -> Option<u16> {
        match (self.0, self.row()) {
            (Which::Number(number), _) => Some(plain_or_escaped(number, SET2_OF_SET1[usize::from(number & 0x7f)])),
            (_, row) => code(row?.set2),
        }
    }
    /// Its code in set 3, which has no escapes.
    pub fn set3(self) -> Option<u8> {
        match (self.0, self.row()) {
            (Which::Number(number @ (HANJA_NUMBER | HANGUL_NUMBER)), _) => Some(number),
            (Which::Number(number), _) => Some(SET3_OF_SET1[usize::from(number & 0x7f)]),
            (_, row) => Some(row?.set3).filter(|raw| *raw != 0),
        }
    }
    /// Its usage on USB's keyboard page.
    pub fn usb(self) -> Option<u8> {
        self.row().map(|row| row.usb).filter(|usage| *usage != 0)
    }
    /// Whether keyboards report that it is pressed and never that it is released (sets 2 and 3).
    pub fn is_make_only(self) -> bool {
        matches!(self.name(), Some("lang1" | "lang2"))
    }
}

fn plain_or_escaped(number: u8, code: u8) -> u16 {
    u16::from(code) | if number & 0x80 != 0 { 0xe000 } else { 0 }
}

/// The keys of a text such as `ctrl-alt-f1` or `0x1d-a`.
///
/// # Errors
/// The part that is no key, as text.
pub fn parse_chord(text: &str) -> Result<Vec<Key>, String> {
    let parse = |part: &str| {
        let hex = part.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let name = if part == "<" { "less" } else { part };
        hex.and_then(Key::from_number)
            .or_else(|| Key::from_name(name))
            .ok_or_else(|| format!("invalid parameter: {part}"))
    };
    text.split('-').map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of set 2 as the users of old versions know it.
    const KNOWN_SET2: [u8; 128] = [
        0, 118, 22, 30, 38, 37, 46, 54, 61, 62, 70, 69, 78, 85, 102, 13, 21, 29, 36, 45, 44, 53, 60, 67, 68, 77, 84,
        91, 90, 20, 28, 27, 35, 43, 52, 51, 59, 66, 75, 76, 82, 14, 18, 93, 26, 34, 33, 42, 50, 49, 58, 65, 73, 74, 89,
        124, 17, 41, 88, 5, 6, 4, 12, 3, 11, 2, 10, 1, 9, 119, 126, 108, 117, 125, 123, 107, 115, 116, 121, 105, 114,
        122, 112, 113, 127, 96, 97, 120, 7, 15, 23, 31, 39, 47, 55, 63, 71, 79, 86, 94, 8, 16, 24, 32, 40, 48, 56, 64,
        72, 80, 87, 111, 19, 25, 57, 81, 83, 92, 95, 98, 99, 100, 101, 103, 104, 106, 109, 110,
    ];
    const KNOWN_SET3: [u8; 128] = [
        0, 8, 22, 30, 38, 37, 46, 54, 61, 62, 70, 69, 78, 85, 102, 13, 21, 29, 36, 45, 44, 53, 60, 67, 68, 77, 84, 91,
        90, 17, 28, 27, 35, 43, 52, 51, 59, 66, 75, 76, 82, 14, 18, 92, 26, 34, 33, 42, 50, 49, 58, 65, 73, 74, 89,
        126, 25, 41, 20, 7, 15, 23, 31, 39, 47, 2, 63, 71, 79, 118, 95, 108, 117, 125, 132, 107, 115, 116, 124, 105,
        114, 122, 112, 113, 127, 96, 97, 86, 94, 15, 23, 31, 39, 47, 55, 63, 71, 79, 86, 94, 8, 16, 24, 32, 40, 48, 56,
        64, 72, 80, 87, 111, 19, 25, 57, 81, 83, 92, 95, 98, 99, 100, 101, 103, 104, 106, 109, 110,
    ];

    fn named(name: &str) -> Key {
        Key::from_name(name).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn the_tables_are_those_that_are_known() {
        assert_eq!((SET2_OF_SET1, SET3_OF_SET1), (KNOWN_SET2, KNOWN_SET3));
        assert_eq!((SET2_OF_SET1[113], SET2_OF_SET1[114]), (25, 57));
    }

    #[test]
    fn rows_agree_with_the_tables() {
        // F7 and SysRq have codes above 0x7f or other ones; the Korean keys have no place in the table; Pause's code is
        // that of Ctrl-Pause.
        let exceptions = ["f7", "lang1", "lang2", "pause", "unmapped"];
        for row in ROWS.iter().filter(|row| !exceptions.contains(&row.name)) {
            let expected = plain_or_escaped(row.number, SET2_OF_SET1[usize::from(row.number & 0x7f)]);
            assert_eq!(row.set2, expected, "{}", row.name);
            assert_eq!(row.set1, plain_or_escaped(row.number, row.number & 0x7f), "{}", row.name);
        }
    }

    #[test]
    fn every_name_parses_and_numbers_lead_back() {
        assert_eq!(Key::names().count(), 162);
        for name in Key::names() {
            let key = named(name);
            let canonical = SYNONYMS.iter().find(|(other, _)| *other == name).map_or(name, |(_, name)| name);
            assert_eq!(key.name(), Some(canonical));
            if name != "unmapped" {
                assert_eq!(Key::from_number(key.number().into()), Some(key), "{name}");
                assert!(key.set1().is_some() && key.set2().is_some(), "{name}");
            }
            if let Some(usage) = key.usb() {
                assert_eq!(Key::from_usb(usage), Some(key), "{name}");
            }
        }
    }

    #[test]
    fn numbers_are_codes_of_set_1() {
        for number in 1..=255u16 {
            let key = Key::from_number(number).unwrap();
            let is_alias = MORE_NUMBERS.iter().any(|(other, _)| u16::from(*other) == number);
            assert!(is_alias || key.number() == number as u8, "{number:#x}");
        }
        assert_eq!(Key::from_number(0xec).unwrap().name(), Some("mail"));
        assert_eq!(Key::from_number(0xe06c), Key::from_number(0xec));
        assert_eq!(Key::from_number(0x37).unwrap().name(), Some("kp_multiply"));
        assert_eq!((Key::from_number(0), Key::from_number(0x100), Key::from_number(0xe080)), (None, None, None));
    }

    #[test]
    fn korean_keys_have_codes_in_all_sets() {
        for (name, plain, usage) in [("lang1", 0xf2, 144), ("lang2", 0xf1, 145)] {
            let key = named(name);
            assert_eq!((key.set1(), key.number()), (Some(plain - 0x80), plain as u8 - 0x80));
            assert_eq!((key.set2(), key.set3(), key.usb()), (Some(plain), Some(plain as u8), Some(usage)));
            assert!(key.is_make_only());
        }
        for (number, set1, set2) in [(241, 0xe071, 0xe019), (242, 0xe072, 0xe039)] {
            let key = Key::from_number(number).unwrap();
            assert_eq!((key.set1(), key.set2(), key.set3()), (Some(set1), Some(set2), Some(number as u8)));
            assert!(!key.is_make_only());
        }
    }

    #[test]
    fn chords() {
        let names = |text| parse_chord(text).map(|keys| keys.iter().filter_map(|key| key.name()).collect::<Vec<_>>());
        assert_eq!(names("ctrl-alt-f1"), Ok(vec!["ctrl", "alt", "f1"]));
        assert_eq!(names("0x1d-<"), Ok(vec!["ctrl", "less"]));
        assert_eq!(names("ctrl-nonsense"), Err("invalid parameter: nonsense".to_owned()));
        assert_eq!(names("0x100"), Err("invalid parameter: 0x100".to_owned()));
        assert!(names("").is_err());
    }
}
