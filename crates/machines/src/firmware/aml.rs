//! ACPI machine language: terms from terms (ACPI specification 6.5, chapter 20), and resource descriptors
//! (chapter 6.4).
//!
//! A term is its bytes; a list of terms is what stands in it one after the other.

/// A term: an object, an operation, a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term(Vec<u8>);

impl Term {
    /// Its bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Address spaces of operation regions.
#[derive(Clone, Copy)]
pub(crate) enum Space {
    Memory = 0,
    PciConfig = 2,
}

/// Unit of the accesses to a field.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    Byte = 1,
    DWord = 3,
}

fn joined(terms: impl IntoIterator<Item = Term>) -> Vec<u8> {
    terms.into_iter().flat_map(|term| term.0).collect()
}

/// A length that counts itself, in front of what it is the length of (20.2.4): two bits say how many bytes follow the
/// first one.
fn package_length(content: usize) -> Vec<u8> {
    let extra = match content {
        0..0x3f => return vec![content as u8 + 1],
        0x3f..0xffe => 1,
        0xffe..0xf_fffd => 2,
        _ => 3,
    };
    let length = content + extra + 1;
    let mut bytes = vec![(extra << 6) as u8 | (length & 15) as u8];
    bytes.extend((0..extra).map(|i| (length >> (4 + 8 * i)) as u8));
    bytes
}

fn with_length(opcode: &[u8], content: Vec<u8>) -> Term {
    Term([opcode.to_vec(), package_length(content.len()), content].concat())
}

/// A name of segments with dots in between, perhaps from the root (`\`) on; short segments are filled up.
fn encoded(name: &str) -> Vec<u8> {
    let (root, rest) = name.strip_prefix('\\').map_or((false, name), |rest| (true, rest));
    let segments: Vec<_> = rest.split('.').filter(|segment| !segment.is_empty()).collect();
    let mut bytes = if root { vec![b'\\'] } else { vec![] };
    match segments.len() {
        0 => bytes.push(0),
        1 => {}
        2 => bytes.push(0x2e),
        n => bytes.extend([0x2f, n as u8]),
    }
    for segment in segments {
        bytes.extend(segment.bytes().chain([b'_'; 4]).take(4));
    }
    bytes
}

/// A number, in as few bytes as it takes.
pub(crate) fn int(value: u64) -> Term {
    let raw = value.to_le_bytes();
    Term(match value {
        0 | 1 => vec![value as u8],
        2..=0xff => vec![0x0a, raw[0]],
        0x100..=0xffff => [&[0x0b], &raw[..2]].concat(),
        0x1_0000..=0xffff_ffff => [&[0x0c], &raw[..4]].concat(),
        _ => [&[0x0e], &raw[..]].concat(),
    })
}

/// A text.
pub(crate) fn text(value: &str) -> Term {
    Term([&[0x0d], value.as_bytes(), &[0]].concat())
}

/// A device's identifier of three letters and four hexadecimal digits as a number (19.3.4).
pub(crate) fn eisa_id(id: &str) -> Term {
    let letters = id.bytes().take(3).fold(0, |all, letter| all << 5 | u32::from(letter & 0x1f));
    let digits = id.get(3..).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let swapped = (letters << 16 | digits).swap_bytes();
    Term([&[0x0c], &swapped.to_le_bytes()[..]].concat())
}

/// A reference to an object.
pub(crate) fn path(name: &str) -> Term {
    Term(encoded(name))
}

/// A call of a method; also a reference, with no arguments.
pub(crate) fn call<const N: usize>(name: &str, arguments: [Term; N]) -> Term {
    Term([encoded(name), joined(arguments)].concat())
}

/// An object with a name.
pub(crate) fn name(name: &str, value: Term) -> Term {
    Term([vec![0x08], encoded(name), value.0].concat())
}

/// What stands in the scope of an object.
pub(crate) fn scope(name: &str, content: impl IntoIterator<Item = Term>) -> Term {
    with_length(&[0x10], [encoded(name), joined(content)].concat())
}

/// A device.
pub(crate) fn device(name: &str, content: impl IntoIterator<Item = Term>) -> Term {
    with_length(&[0x5b, 0x82], [encoded(name), joined(content)].concat())
}

/// A processor without registers of its own.
pub(crate) fn processor(name: &str, id: u8, content: impl IntoIterator<Item = Term>) -> Term {
    with_length(&[0x5b, 0x83], [encoded(name), vec![id, 0, 0, 0, 0, 0], joined(content)].concat())
}

/// A method; `serialized` if one thread at a time may be in it.
pub(crate) fn method(name: &str, arguments: u8, serialized: bool, content: impl IntoIterator<Item = Term>) -> Term {
    let flags = arguments | u8::from(serialized) << 3;
    with_length(&[0x14], [encoded(name), vec![flags], joined(content)].concat())
}

/// Values in a row, 255 at most.
pub(crate) fn package(values: Vec<Term>) -> Term {
    let count = values.len() as u8;
    with_length(&[0x12], [vec![count], joined(values)].concat())
}

/// Bytes.
pub(crate) fn buffer(bytes: &[u8]) -> Term {
    with_length(&[0x11], [int(bytes.len() as u64).0, bytes.to_vec()].concat())
}

/// A region of an address space.
pub(crate) fn region(name: &str, space: Space, offset: u64, length: u64) -> Term {
    Term([vec![0x5b, 0x80], encoded(name), vec![space as u8], int(offset).0, int(length).0].concat())
}

/// Fields of a region one after the other: names and numbers of bits.
pub(crate) fn field(of: &str, access: Access, locked: bool, fields: &[(&str, usize)]) -> Term {
    let flags = access as u8 | u8::from(locked) << 4;
    let mut content = [encoded(of), vec![flags]].concat();
    for (name, bits) in fields {
        content.extend(encoded(name));
        // Numbers of bits are written in the same way, but do not count themselves.
        content.extend(match bits {
            0..=0x3f => vec![*bits as u8],
            _ => vec![0x40 | (bits & 15) as u8, (bits >> 4) as u8],
        });
    }
    with_length(&[0x5b, 0x81], content)
}

/// A name for the 32 bits at a byte offset of a buffer.
pub(crate) fn create_dword_field(of: Term, offset: u64, name: &str) -> Term {
    Term([vec![0x8a], of.0, int(offset).0, encoded(name)].concat())
}

/// An argument of the method.
pub(crate) fn argument(number: u8) -> Term {
    Term(vec![0x68 + number])
}

/// A variable of the method.
pub(crate) fn local(number: u8) -> Term {
    Term(vec![0x60 + number])
}

fn operation(opcode: u8, operands: impl IntoIterator<Item = Term>) -> Term {
    Term([vec![opcode], joined(operands)].concat())
}

/// Stores a value.
pub(crate) fn store(value: Term, target: Term) -> Term {
    operation(0x70, [value, target])
}

/// The bits of both, not stored.
pub(crate) fn and(a: Term, b: Term) -> Term {
    operation(0x7b, [a, b, int(0)])
}

/// Sets bits of a target.
pub(crate) fn set_bits(target: Term, bits: Term) -> Term {
    operation(0x7d, [target.clone(), bits, target])
}

/// Shifts a target right.
pub(crate) fn shift_right(target: Term, count: u64) -> Term {
    operation(0x7a, [target.clone(), int(count), target])
}

/// Whether one of both is true.
pub(crate) fn either(a: Term, b: Term) -> Term {
    operation(0x91, [a, b])
}

/// Whether both are equal.
pub(crate) fn equal(a: Term, b: Term) -> Term {
    operation(0x93, [a, b])
}

/// Whether the first is greater.
pub(crate) fn greater(a: Term, b: Term) -> Term {
    operation(0x94, [a, b])
}

/// Whether the first is less.
pub(crate) fn less(a: Term, b: Term) -> Term {
    operation(0x95, [a, b])
}

/// What is done if something is true.
pub(crate) fn when(condition: Term, content: impl IntoIterator<Item = Term>) -> Term {
    with_length(&[0xa0], [condition.0, joined(content)].concat())
}

/// Ends the method with a value.
pub(crate) fn give(value: Term) -> Term {
    operation(0xa4, [value])
}

/// Resource descriptors with the end tag behind them; its checksum of 0 says that there is none.
pub(crate) fn resources(descriptors: impl IntoIterator<Item = Term>) -> Term {
    buffer(&[joined(descriptors), vec![0x79, 0]].concat())
}

/// Ports that are decoded with 16 bits.
pub(crate) fn io(base: u16, alignment: u8, length: u8) -> Term {
    let base = base.to_le_bytes();
    Term([&[0x47, 1], &base[..], &base[..], &[alignment, length]].concat())
}

/// An ISA interrupt.
pub(crate) fn irq(number: u8) -> Term {
    let mask = 1u16.checked_shl(number.into()).unwrap_or(0).to_le_bytes();
    Term(vec![0x22, mask[0], mask[1]])
}

/// Interrupts of which one is used, level-triggered, active high, and shared.
pub(crate) fn interrupts(numbers: &[u32]) -> Term {
    let length = (2 + 4 * numbers.len()) as u16;
    let mut bytes = [&[0x89], &length.to_le_bytes()[..], &[0x09, numbers.len() as u8]].concat();
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    Term(bytes)
}

/// Memory at a fixed place that is only read.
pub(crate) fn memory32_fixed(base: u32, length: u32) -> Term {
    Term([&[0x86, 9, 0, 0], &base.to_le_bytes()[..], &length.to_le_bytes()[..]].concat())
}

/// What a bus hands on to the devices on it (6.4.3.5).
#[derive(Clone, Copy)]
pub(crate) enum Window {
    Bus,
    Io,
    Memory { cacheable: bool },
}

impl Window {
    /// The type, and the flags that depend on it.
    fn flags(self) -> [u8; 2] {
        match self {
            Window::Memory { cacheable } => [0, u8::from(cacheable) << 1 | 1],
            Window::Io => [1, 3],
            Window::Bus => [2, 0],
        }
    }
}

/// A window of addresses of `size` bytes each: 2, 4 or 8.
fn window(tag: u8, size: usize, kind: Window, first: u64, last: u64) -> Term {
    let [class, flags] = kind.flags();
    let length = (3 + 5 * size) as u16;
    // Both ends are fixed.
    let mut bytes = [&[tag], &length.to_le_bytes()[..], &[class, 0x0c, flags]].concat();
    for value in [0, first, last, 0, (last - first).wrapping_add(1)] {
        bytes.extend(&value.to_le_bytes()[..size]);
    }
    Term(bytes)
}

/// A window with 16-bit addresses.
pub(crate) fn word_window(kind: Window, first: u16, last: u16) -> Term {
    window(0x88, 2, kind, first.into(), last.into())
}

/// A window with 32-bit addresses.
pub(crate) fn dword_window(kind: Window, first: u32, last: u32) -> Term {
    window(0x87, 4, kind, first.into(), last.into())
}

/// A window with 64-bit addresses.
pub(crate) fn qword_window(kind: Window, first: u64, last: u64) -> Term {
    window(0x8a, 8, kind, first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for content in [0, 1, 0x3e, 0x3f, 0xffd, 0xffe, 0xf_fffc, 0xf_fffd] {
            let bytes = package_length(content);
            let low = if bytes.len() == 1 { bytes[0] & 0x3f } else { bytes[0] & 15 };
            let high = bytes[1..].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
            assert_eq!(usize::from(bytes[0] >> 6), bytes.len() - 1);
            assert_eq!(usize::from(low) | high << 4, content + bytes.len(), "{content:#x}");
        }
    }

    #[test]
    fn names_and_identifiers() {
        assert_eq!(path("\\_SB.PCI0.ISA").0, b"\\\x2f\x03_SB_PCI0ISA_");
        assert_eq!(path("\\").0, b"\\\0");
        assert_eq!(path("A.B").0, b"\x2eA___B___");
        assert_eq!(eisa_id("PNP0A03").0, [0x0c, 0x41, 0xd0, 0x0a, 0x03]);
        assert_eq!(int(0x12345).0, [0x0c, 0x45, 0x23, 1, 0]);
    }
}
