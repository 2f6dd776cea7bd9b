//! Tables as firmware loads them: bytes with pointers that only firmware can fill in, and the commands that say how.
//!
//! Firmware allocates memory for each file, adds the address of one file to pointers in another one, and computes
//! checksums, in the order of the commands (`etc/table-loader`).

/// Bytes of a command.
const COMMAND: usize = 128;
/// Bytes of a file's name in a command.
const NAME: usize = 56;

/// Where a file is to be.
#[derive(Clone, Copy)]
pub(crate) enum Zone {
    /// Anywhere below 4 GiB.
    High = 1,
    /// Where BIOS data is looked for: 0xf0000 to 0xfffff.
    Bios = 2,
}

/// The commands.
#[derive(Default)]
pub(crate) struct Loader {
    commands: Vec<u8>,
}

impl Loader {
    fn command(&mut self, number: u32, operands: &[&[u8]]) {
        let mut bytes = number.to_le_bytes().to_vec();
        operands.iter().for_each(|operand| bytes.extend_from_slice(operand));
        bytes.resize(COMMAND, 0);
        self.commands.append(&mut bytes);
    }
    /// Memory for a file.
    pub(crate) fn allocate(&mut self, file: &str, alignment: u32, zone: Zone) {
        self.command(1, &[&name(file), &alignment.to_le_bytes(), &[zone as u8]]);
    }
    /// The `size` bytes at an offset of `file`, which are an offset in `to`, become an address.
    pub(crate) fn pointer(&mut self, file: &str, offset: u32, size: u8, to: &str) {
        self.command(2, &[&name(file), &name(to), &offset.to_le_bytes(), &[size]]);
    }
    /// The byte at `at` makes the sum of `length` bytes from `start` on zero.
    pub(crate) fn checksum(&mut self, file: &str, at: u32, start: u32, length: u32) {
        self.command(3, &[&name(file), &at.to_le_bytes(), &start.to_le_bytes(), &length.to_le_bytes()]);
    }
    /// The commands as a file.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.commands
    }
}

/// A command as whoever executes it sees it.
pub(crate) enum Step {
    Allocate { file: String, alignment: u32, is_bios: bool },
    Pointer { file: String, to: String, offset: usize, size: usize },
    Checksum { file: String, at: usize, start: usize, length: usize },
}

/// The commands of a file; nothing in place of one that is unknown or cut off.
pub(crate) fn steps(commands: &[u8]) -> impl Iterator<Item = Option<Step>> {
    commands.chunks(COMMAND).map(step)
}

fn step(command: &[u8]) -> Option<Step> {
    let word = |at: usize| Some(u32::from_le_bytes(command.get(at..at + 4)?.try_into().ok()?));
    let text = |at: usize| {
        let bytes = command.get(at..at + NAME)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    let (file, first) = (text(4)?, 4 + NAME);
    let number = |at: usize| Some(word(first + at)? as usize);
    match word(0)? {
        1 => {
            let is_bios = *command.get(first + 4)? == Zone::Bios as u8;
            Some(Step::Allocate { file, alignment: word(first)?, is_bios })
        }
        2 => {
            let size = usize::from(*command.get(first + NAME + 4)?);
            Some(Step::Pointer { file, to: text(first)?, offset: number(NAME)?, size })
        }
        3 => Some(Step::Checksum { file, at: number(0)?, start: number(4)?, length: number(8)? }),
        _ => None,
    }
}

fn name(file: &str) -> [u8; NAME] {
    let mut padded = [0; NAME];
    let length = file.len().min(NAME - 1);
    padded[..length].copy_from_slice(&file.as_bytes()[..length]);
    padded
}
