//! The keyboard.

use super::{ACKNOWLEDGE, PASSED, Queue, RESEND};
use isamorph_display::keys::Key;

/// Commands.
mod command {
    pub const SET_LEDS: u8 = 0xed;
    pub const ECHO: u8 = 0xee;
    pub const SELECT_SET: u8 = 0xf0;
    pub const IDENTIFY: u8 = 0xf2;
    pub const SET_RATE: u8 = 0xf3;
    pub const ENABLE: u8 = 0xf4;
    pub const DISABLE: u8 = 0xf5;
    pub const DEFAULTS: u8 = 0xf6;
    pub const ALL_REPEAT: u8 = 0xf7;
    pub const ALL_BREAK: u8 = 0xf8;
    pub const ALL_MAKE: u8 = 0xf9;
    pub const ALL_BOTH: u8 = 0xfa;
    pub const KEY_REPEAT: u8 = 0xfb;
    pub const KEY_BREAK: u8 = 0xfc;
    pub const KEY_MAKE: u8 = 0xfd;
    pub const RESEND: u8 = 0xfe;
    pub const RESET: u8 = 0xff;
}

const IDENTITY: [u8; 2] = [0xab, 0x83];
/// Before the code of a key that is released (sets 2 and 3), and before those that later keyboards added.
const RELEASED: u8 = 0xf0;
const ESCAPE: u8 = 0xe0;
/// 10.9 characters a second after half a second.
const DEFAULT_RATE: u8 = 0x2b;

/// Keys that change what Print and Pause send.
const MODIFIERS: [&str; 6] = ["alt", "alt_r", "ctrl", "ctrl_r", "shift", "shift_r"];
const ALT: u8 = 0x03;
const CTRL: u8 = 0x0c;
const CTRL_OR_SHIFT: u8 = 0x3c;

/// A keyboard. It repeats keys as its user's own keyboard does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyboard {
    queue: Queue,
    /// Scan code set, 1 to 3.
    set: u8,
    scans: bool,
    /// The command whose parameter is next.
    expects: Option<u8>,
    leds: u8,
    rate: u8,
    /// Modifiers that are held, by their place in [`MODIFIERS`].
    held: u8,
    /// Keys that report in set 3 when they are released, by their codes.
    breaks: [u64; 4],
}

impl Default for Keyboard {
    fn default() -> Self {
        Keyboard {
            queue: Queue::default(),
            set: 2,
            scans: true,
            expects: None,
            leds: 0,
            rate: DEFAULT_RATE,
            held: 0,
            breaks: [u64::MAX; 4],
        }
    }
}

impl Keyboard {
    /// A byte for the controller, if there is one.
    pub fn take(&mut self) -> Option<u8> {
        self.queue.take()
    }
    /// The lights: Scroll Lock, Num Lock, Caps Lock from bit 0 on.
    pub fn leds(&self) -> u8 {
        self.leds
    }
    /// The controller sends a byte.
    pub fn write(&mut self, byte: u8) {
        match self.expects.take() {
            // No parameter is that large: it is the next command.
            Some(command) if byte < command::SET_LEDS => self.parameter(command, byte),
            _ => self.command(byte),
        }
    }
    fn command(&mut self, byte: u8) {
        match byte {
            command::SET_LEDS | command::SELECT_SET | command::SET_RATE => self.expects = Some(byte),
            command::KEY_REPEAT | command::KEY_BREAK | command::KEY_MAKE => self.expects = Some(byte),
            command::ECHO => return self.queue.answer(&[command::ECHO]),
            command::IDENTIFY => return self.queue.answer(&[ACKNOWLEDGE, IDENTITY[0], IDENTITY[1]]),
            command::ENABLE => self.scans = true,
            command::DISABLE | command::DEFAULTS => {
                self.restore_defaults();
                self.scans = byte == command::DEFAULTS;
            }
            command::ALL_REPEAT | command::ALL_MAKE => self.breaks = [0; 4],
            command::ALL_BREAK | command::ALL_BOTH => self.breaks = [u64::MAX; 4],
            command::RESEND => return self.queue.repeat(),
            command::RESET => {
                *self = Keyboard { held: self.held, ..Keyboard::default() };
                return self.queue.answer(&[ACKNOWLEDGE, PASSED]);
            }
            _ => return self.queue.answer(&[RESEND]),
        }
        self.queue.answer(&[ACKNOWLEDGE]);
    }
    fn restore_defaults(&mut self) {
        self.queue = Queue::default();
        (self.set, self.rate, self.breaks) = (2, DEFAULT_RATE, [u64::MAX; 4]);
    }
    fn parameter(&mut self, command: u8, byte: u8) {
        match command {
            command::SET_LEDS => self.leds = byte & 7,
            command::SET_RATE => self.rate = byte & 0x7f,
            command::SELECT_SET if byte == 0 => return self.queue.answer(&[ACKNOWLEDGE, self.set]),
            command::SELECT_SET if byte <= 3 => self.set = byte,
            command::SELECT_SET => return self.queue.answer(&[RESEND]),
            // Codes of keys follow until the next command.
            _ => {
                let (word, bit) = (&mut self.breaks[usize::from(byte >> 6)], 1 << (byte & 63));
                *word = if command == command::KEY_BREAK { *word | bit } else { *word & !bit };
                self.expects = Some(command);
            }
        }
        self.queue.answer(&[ACKNOWLEDGE]);
    }
    /// A key is pressed, or released.
    pub fn key(&mut self, key: Key, down: bool) {
        if let Some(place) = MODIFIERS.iter().position(|name| Some(*name) == key.name()) {
            self.held = self.held & !(1 << place) | u8::from(down) << place;
        }
        if !self.scans {
            return;
        }
        let bytes = match (self.set, key.name()) {
            (1, Some("print")) => self.print(down, 0x37, 0x2a, 0x54),
            (2, Some("print")) => self.print(down, 0x7c, 0x12, 0x84),
            (1 | 2, Some("pause")) => self.pause(down),
            (1, _) => key.set1().map_or_else(Vec::new, |code| self.coded(code, down)),
            (2, _) if key.is_make_only() && !down => Vec::new(),
            (2, _) => key.set2().map_or_else(Vec::new, |code| self.coded(code, down)),
            _ => self.in_set3(key, down),
        };
        // A user who types faster than the guest reads loses keys.
        self.queue.add(&bytes);
    }
    /// The bytes of a code in sets 1 and 2.
    fn coded(&self, code: u16, down: bool) -> Vec<u8> {
        let (escaped, low) = (code > 0xff, code as u8);
        let mut bytes = Vec::new();
        bytes.extend(escaped.then_some(ESCAPE));
        match (self.set, down) {
            (_, true) => bytes.push(low),
            (1, false) => bytes.push(low | 0x80),
            (_, false) => bytes.extend([RELEASED, low]),
        }
        bytes
    }
    /// Print is the old multiplication key with a shift; with Alt it is SysRq.
    fn print(&self, down: bool, code: u16, shift: u16, sysrq: u16) -> Vec<u8> {
        let (escaped, shift) = (0xe000 | code, 0xe000 | shift);
        if self.held & ALT != 0 {
            self.coded(sysrq, down)
        } else if self.held & CTRL_OR_SHIFT != 0 {
            self.coded(escaped, down)
        } else if down {
            [self.coded(shift, true), self.coded(escaped, true)].concat()
        } else {
            [self.coded(escaped, false), self.coded(shift, false)].concat()
        }
    }
    /// Pause is the old Ctrl-NumLock, pressed and released at once; with Ctrl it is Break.
    fn pause(&self, down: bool) -> Vec<u8> {
        let bytes: &[u8] = match (self.set, self.held & CTRL != 0) {
            (1, false) => &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5],
            (1, true) => &[ESCAPE, 0x46, ESCAPE, 0xc6],
            (_, false) => &[0xe1, 0x14, 0x77, 0xe1, RELEASED, 0x14, RELEASED, 0x77],
            (_, true) => &[ESCAPE, 0x7e, ESCAPE, RELEASED, 0x7e],
        };
        if down { bytes.to_vec() } else { Vec::new() }
    }
    fn in_set3(&self, key: Key, down: bool) -> Vec<u8> {
        match key.set3() {
            Some(code) if down => vec![code],
            Some(code) if !key.is_make_only() && self.breaks[usize::from(code >> 6)] >> (code & 63) & 1 != 0 => {
                vec![RELEASED, code]
            }
            _ => Vec::new(),
        }
    }
    /// Whether a keyboard can be in this state.
    pub(crate) fn is_good(&self) -> bool {
        self.queue.is_good() && (1..=3).contains(&self.set) && self.leds < 8 && self.held < 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(keyboard: &mut Keyboard) -> Vec<u8> {
        std::iter::from_fn(|| keyboard.take()).collect()
    }

    fn answer(keyboard: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|byte| keyboard.write(*byte));
        drain(keyboard)
    }

    /// What a text such as `+a -a` (pressed, released) sends.
    fn typed(set: u8, text: &str) -> Vec<u8> {
        let mut keyboard = Keyboard::default();
        assert_eq!(answer(&mut keyboard, &[0xf0, set]), [0xfa, 0xfa]);
        for part in text.split(' ') {
            let (name, down) = (&part[1..], part.starts_with('+'));
            let key = match name.strip_prefix('#') {
                Some(number) => Key::from_number(number.parse().unwrap()),
                None => Key::from_name(name),
            };
            drain(&mut keyboard);
            keyboard.key(key.unwrap(), down);
        }
        drain(&mut keyboard)
    }

    #[test]
    fn keys_have_codes_in_three_sets() {
        for (text, set1, set2, set3) in [
            ("+a", vec![0x1e], vec![0x1c], vec![0x1c]),
            ("-a", vec![0x9e], vec![0xf0, 0x1c], vec![0xf0, 0x1c]),
            ("+f7", vec![0x41], vec![0x83], vec![0x37]),
            ("+left", vec![0xe0, 0x4b], vec![0xe0, 0x6b], vec![0x61]),
            ("-left", vec![0xe0, 0xcb], vec![0xe0, 0xf0, 0x6b], vec![0xf0, 0x61]),
            ("+print", vec![0xe0, 0x2a, 0xe0, 0x37], vec![0xe0, 0x12, 0xe0, 0x7c], vec![0x57]),
            ("-print", vec![0xe0, 0xb7, 0xe0, 0xaa], vec![0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12], vec![0xf0, 0x57]),
            ("+alt +print", vec![0x54], vec![0x84], vec![0x57]),
            ("+shift +print", vec![0xe0, 0x37], vec![0xe0, 0x7c], vec![0x57]),
            (
                "+ctrl -ctrl -print",
                vec![0xe0, 0xb7, 0xe0, 0xaa],
                vec![0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12],
                vec![0xf0, 0x57],
            ),
            (
                "+pause",
                vec![0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5],
                vec![0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77],
                vec![0x62],
            ),
            ("-pause", vec![], vec![], vec![0xf0, 0x62]),
            ("+ctrl_r +pause", vec![0xe0, 0x46, 0xe0, 0xc6], vec![0xe0, 0x7e, 0xe0, 0xf0, 0x7e], vec![0x62]),
            ("+lang1", vec![0x72], vec![0xf2], vec![0xf2]),
            ("-lang1", vec![0xf2], vec![], vec![]),
            ("+lang2", vec![0x71], vec![0xf1], vec![0xf1]),
            ("+#241", vec![0xe0, 0x71], vec![0xe0, 0x19], vec![0xf1]),
            ("-#242", vec![0xe0, 0xf2], vec![0xe0, 0xf0, 0x39], vec![0xf0, 0xf2]),
        ] {
            assert_eq!([typed(1, text), typed(2, text), typed(3, text)], [set1, set2, set3], "{text}");
        }
    }

    #[test]
    fn commands_are_answered() {
        let mut keyboard = Keyboard::default();
        for (bytes, expected) in [
            (vec![0xed, 0x07], vec![0xfa, 0xfa]),
            (vec![0xee], vec![0xee]),
            (vec![0xf2], vec![0xfa, 0xab, 0x83]),
            (vec![0xf0, 0], vec![0xfa, 0xfa, 2]),
            (vec![0xf0, 3], vec![0xfa, 0xfa]),
            (vec![0xf0, 0], vec![0xfa, 0xfa, 3]),
            (vec![0xf0, 4], vec![0xfa, 0xfe]),
            (vec![0xf3, 0], vec![0xfa, 0xfa]),
            (vec![0xf3, 0xf4], vec![0xfa, 0xfa]),
            (vec![0x12], vec![0xfe]),
            (vec![0xff], vec![0xfa, 0xaa]),
            (vec![0xfe], vec![0xaa]),
        ] {
            // The answer to the first byte is read before the second is sent.
            let answers: Vec<u8> = bytes.iter().flat_map(|byte| answer(&mut keyboard, &[*byte])).collect();
            assert_eq!(answers, expected, "{bytes:x?}");
        }
        assert_eq!((keyboard.leds(), keyboard.set), (0, 2), "reset");
    }

    #[test]
    fn a_keyboard_that_does_not_scan_is_silent() {
        let (mut keyboard, key) = (Keyboard::default(), Key::from_name("a").unwrap());
        answer(&mut keyboard, &[0xf5]);
        keyboard.key(key, true);
        assert!(drain(&mut keyboard).is_empty());
        answer(&mut keyboard, &[0xf4]);
        (0..20).for_each(|_| keyboard.key(key, true));
        assert_eq!(drain(&mut keyboard).len(), 16, "the rest is lost");
    }

    #[test]
    fn keys_of_set_3_can_be_silenced() {
        let (mut keyboard, key) = (Keyboard::default(), Key::from_name("a").unwrap());
        let answers: Vec<u8> =
            [0xf0, 3, 0xfd, 0x1c, 0xf4].iter().flat_map(|byte| answer(&mut keyboard, &[*byte])).collect();
        assert_eq!(answers, [0xfa; 5]);
        keyboard.key(key, false);
        assert!(drain(&mut keyboard).is_empty());
        answer(&mut keyboard, &[0xfa]);
        keyboard.key(key, false);
        assert_eq!(drain(&mut keyboard), [0xf0, 0x1c]);
    }
}
