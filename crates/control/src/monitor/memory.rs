//! Commands that look at memory and ports.

use super::Session;
use super::commands::{Answer, count, value};
use isamorph_accel::Processor;
use isamorph_space::{AddressSpace, Target};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

const PAGE: u64 = 4096;
/// Most bytes of a dump to the terminal.
const MOST: u64 = 1 << 20;

/// `/COUNT FORMAT SIZE`, as gdb has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Format {
    count: u64,
    format: char,
    size: u64,
}

/// A format, if there is one, and what follows it.
fn format(text: &str) -> Result<(Format, &str), String> {
    let mut format = Format { count: 1, format: 'x', size: 4 };
    let Some(rest) = text.strip_prefix('/') else { return Ok((format, text)) };
    let (letters, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let digits = letters.find(|c: char| !c.is_ascii_digit()).unwrap_or(letters.len());
    if digits > 0 {
        format.count = count(&letters[..digits])?;
    }
    let mut has_size = false;
    for c in letters[digits..].chars() {
        match c {
            'x' | 'd' | 'u' | 'o' | 'c' | 'i' => format.format = c,
            'b' | 'h' | 'w' | 'g' | 'l' => {
                has_size = true;
                format.size = match c {
                    'b' => 1,
                    'h' => 2,
                    'w' | 'l' => 4,
                    _ => 8,
                };
            }
            other => return Err(format!("invalid char in format: '{other}'")),
        }
    }
    if format.format == 'c' && !has_size {
        format.size = 1;
    }
    Ok((format, rest.trim()))
}

/// Reads virtual memory page by page; fewer bytes than asked where something is not mapped.
fn read_virtual(processor: &mut dyn Processor, memory: &AddressSpace, addr: u64, len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < len {
        let at = addr.wrapping_add(bytes.len() as u64);
        let n = (PAGE - at % PAGE).min(len - bytes.len() as u64);
        let Some(physical) = processor.translate(at) else { break };
        let mut part = vec![0; n as usize];
        if memory.read(physical, &mut part).is_err() {
            break;
        }
        bytes.extend(part);
    }
    bytes
}

/// Bytes of virtual or physical memory; fewer than asked where there are none.
pub(super) fn read(session: &Session, addr: u64, len: u64, is_virtual: bool) -> Vec<u8> {
    let memory = session.machine().memory().clone();
    if is_virtual {
        let job = move |p: &mut dyn Processor| read_virtual(p, &memory, addr, len);
        return session.machine().with_processor(session.processor(), job).unwrap_or_default();
    }
    let mut bytes = vec![0; len as usize];
    match memory.read(addr, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A number in a format.
fn shown(value: u64, format: char, size: u64) -> String {
    let bits = 8 * size as u32;
    let signed = (value << (64 - bits)) as i64 >> (64 - bits);
    match format {
        'd' => format!("{signed}"),
        'u' => format!("{value}"),
        'o' => format!("0{value:o}"),
        'c' => match value as u8 {
            c @ 0x20..0x7f => format!("'{}'", c as char),
            c => format!("'\\x{c:02x}'"),
        },
        _ => format!("0x{value:0width$x}", width = 2 * size as usize),
    }
}

/// `x` and `xp`.
pub(super) fn dump(session: &Session, rest: &str, is_virtual: bool) -> Answer {
    let (format, rest) = format(rest)?;
    let addr = value(session, rest)?;
    if format.format == 'i' {
        return disassemble(session, addr, format.count, is_virtual);
    }
    let len = format.count.saturating_mul(format.size).min(MOST);
    let bytes = read(session, addr, len, is_virtual);
    let per_line = if format.format == 'c' || format.size == 1 { 8 } else { 16 / format.size };
    let mut text = String::new();
    for (n, line) in bytes.chunks((per_line * format.size) as usize).enumerate() {
        let _ = write!(text, "{:016x}:", addr.wrapping_add(n as u64 * per_line * format.size));
        for item in line.chunks_exact(format.size as usize) {
            let _ = write!(text, " {}", shown(little(item), format.format, format.size));
        }
        text.push('\n');
    }
    if (bytes.len() as u64) < len {
        text.push_str("Cannot access memory\n");
    }
    Ok(text)
}

fn disassemble(session: &Session, addr: u64, count: u64, is_virtual: bool) -> Answer {
    const LONGEST: u64 = 15;
    let count = count.min(MOST / LONGEST);
    let bytes = read(session, addr, count * LONGEST, is_virtual);
    let bytes = if bytes.is_empty() { read(session, addr, PAGE - addr % PAGE, is_virtual) } else { bytes };
    let guest = session.machine().guest().clone();
    let job = move |p: &mut dyn Processor| {
        let state = p.state();
        let lane = &guest.lanes()[guest.lane(state)];
        let (mut text, mut at) = (String::new(), 0);
        for _ in 0..count {
            let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
                text.push_str("Cannot access memory\n");
                break;
            };
            let pc = addr.wrapping_add(at as u64);
            let mut insn = String::new();
            let len = lane.disassemble(pc, lane.mode(state), rest, &mut insn).clamp(1, rest.len());
            let raw: String = rest[..len].iter().map(|byte| format!("{byte:02x} ")).collect();
            let _ = writeln!(text, "0x{pc:08x}:  {raw:<24} {insn}");
            at += len;
        }
        text
    };
    session.machine().with_processor(session.processor(), job).ok_or_else(|| "no such CPU".to_owned())
}

/// `print`.
pub(super) fn print(session: &Session, rest: &str) -> Answer {
    let (format, rest) = format(rest)?;
    let value = value(session, rest)?;
    Ok(match format.format {
        'x' => format!("{value:#x}\n"),
        other => shown(value, other, 8) + "\n",
    })
}

/// The size of a port access: a byte unless the format says more.
fn port_size(rest: &str, format: Format) -> u32 {
    if rest.starts_with('/') && rest.contains(['h', 'w', 'l']) { format.size as u32 } else { 1 }
}

/// `i`.
pub(super) fn port_in(session: &Session, rest: &str) -> Answer {
    let (format, tail) = format(rest)?;
    let (port, size) = (value(session, tail)? & 0xffff, port_size(rest, format));
    let read = session.machine().ports().load(port, size).unwrap_or(u64::MAX >> (64 - 8 * size));
    Ok(format!("port{}[0x{port:04x}] = 0x{read:0w$x}\n", ['b', 'w', 'l'][size as usize / 2], w = 2 * size as usize))
}

/// `o`.
pub(super) fn port_out(session: &Session, rest: &str) -> Answer {
    let (format, tail) = format(rest)?;
    let (port, data) = tail.split_once(char::is_whitespace).ok_or("o: a port and a value are expected")?;
    let (port, data) = (value(session, port)? & 0xffff, value(session, data)?);
    let _ = session.machine().ports().store(port, port_size(rest, format), data);
    Ok(String::new())
}

/// `sum`: the 16-bit sum of bytes, rotated right before each addition, as `sum -r` has it.
pub(super) fn sum(session: &Session, rest: &str) -> Answer {
    let (addr, size) = rest.split_once(char::is_whitespace).ok_or("sum: an address and a size are expected")?;
    let bytes = read(session, value(session, addr)?, value(session, size)?.min(MOST), false);
    let sum = bytes.iter().fold(0u16, |sum, byte| sum.rotate_right(1).wrapping_add((*byte).into()));
    Ok(format!("{sum:05}\n"))
}

/// `memsave` and `pmemsave`.
pub(super) fn save(session: &Session, rest: &str, is_virtual: bool) -> Answer {
    let words: Vec<_> = rest.split_whitespace().collect();
    let [addr, size, file] = words[..] else { return Err("an address, a size and a file are expected".to_owned()) };
    let (mut at, mut left) = (value(session, addr)?, value(session, size)?);
    let file = file.trim_matches('"');
    let mut out = std::fs::File::create(file).map_err(|e| format!("Could not open '{file}': {e}"))?;
    while left > 0 {
        let n = left.min(MOST);
        let bytes = read(session, at, n, is_virtual);
        if (bytes.len() as u64) < n {
            let failed = at.wrapping_add(bytes.len() as u64);
            return Err(format!("Invalid addr {failed:#018x}/size {left} specified"));
        }
        out.write_all(&bytes).map_err(|e| format!("writing memory to '{file}' failed: {e}"))?;
        (at, left) = (at.wrapping_add(n), left - n);
    }
    Ok(String::new())
}

/// `gva2gpa`.
pub(super) fn physical_address(session: &Session, rest: &str) -> Answer {
    let addr = value(session, rest)?;
    let found = session.machine().with_processor(session.processor(), move |p| p.translate(addr)).flatten();
    Ok(found.map_or("Unmapped\n".to_owned(), |physical| format!("gpa: {physical:#x}\n")))
}

/// `gpa2hva`.
pub(super) fn host_address(session: &Session, rest: &str) -> Answer {
    let addr = value(session, rest)?;
    let view = session.machine().memory().view();
    let range = view.find(addr).ok_or_else(|| format!("No memory is mapped at address {addr:#x}"))?;
    let (Target::Ram(block) | Target::RomDevice(block, ..)) = &range.target else {
        return Err(format!("Memory at address {addr:#x} is not RAM"));
    };
    let block: &Arc<_> = block;
    let host = block.host_addr() as u64 + range.offset_of(addr);
    Ok(format!("Host virtual address for {addr:#x} ({}) is {host:#x}\n", block.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_of_gdb() {
        assert_eq!(format("/4xg $rsp"), Ok((Format { count: 4, format: 'x', size: 8 }, "$rsp")));
        assert_eq!(format("0x10"), Ok((Format { count: 1, format: 'x', size: 4 }, "0x10")));
        assert_eq!(format("/c 1"), Ok((Format { count: 1, format: 'c', size: 1 }, "1")));
        assert!(format("/q 1").is_err());
        assert_eq!(shown(0xff, 'd', 1), "-1");
        assert_eq!(shown(0xff, 'x', 2), "0x00ff");
        assert_eq!(shown(65, 'c', 1), "'A'");
        assert_eq!(shown(8, 'o', 4), "010");
    }
}
