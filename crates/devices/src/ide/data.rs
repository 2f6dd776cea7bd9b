//! Small things that several parts of a unit need to make data.

/// Writes a text, cut off where the room ends.
pub fn put_text(out: &mut [u8], text: &str) {
    out.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
}

/// Big-endian fields of packets.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// As [`be16`].
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
