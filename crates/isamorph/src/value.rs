//! Values of options.

use crate::end::End;
use crate::options::Settings;
use isamorph_engine::Kind;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

fn invalid(option: &str, value: &OsStr) -> End {
    End::failed(format!("qemu: invalid value '{}' for option '{option}'", value.to_string_lossy()))
}

/// A text.
///
/// # Errors
/// It is not UTF-8.
pub fn text<'a>(option: &str, value: &'a OsStr) -> Result<&'a str, End> {
    value.to_str().ok_or_else(|| invalid(option, value))
}

/// The parts between commas.
pub fn list(value: &OsStr) -> impl Iterator<Item = OsString> {
    let parts = value.as_bytes().split(|byte| *byte == b',').filter(|part| !part.is_empty());
    parts.map(|part| OsStr::from_bytes(part).to_owned())
}

/// A number as C writes it: decimal, `0x` and hexadecimal, or `0` and octal.
fn c_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if digits.starts_with(['+', '-']) { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// A number.
///
/// # Errors
/// It is none.
pub fn number(option: &str, value: &OsStr) -> Result<u64, End> {
    value.to_str().and_then(c_number).ok_or_else(|| invalid(option, value))
}

/// A number of bytes, with a suffix for binary multiples.
///
/// # Errors
/// It is none, or too large.
pub fn size(option: &str, value: &OsStr) -> Result<u64, End> {
    let shifts = [('k', 10), ('K', 10), ('m', 20), ('M', 20), ('g', 30), ('G', 30)];
    let text = value.to_str().unwrap_or_default();
    let parts = shifts.iter().find_map(|(suffix, shift)| Some((text.strip_suffix(*suffix)?, *shift)));
    let (digits, shift) = parts.unwrap_or((text, 0));
    let bytes = c_number(digits).and_then(|n| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| invalid(option, value))
}

/// A number of mebibytes, as bytes.
///
/// # Errors
/// It is none, or too large.
pub fn mebibytes(option: &str, value: &OsStr) -> Result<usize, End> {
    let bytes = number(option, value)?.checked_mul(1 << 20).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| invalid(option, value))
}

/// A map of real-time signals: `GUEST HOST COUNT`, repeated, as numbers.
///
/// # Errors
/// It is none.
pub fn signal_map(value: &OsStr) -> Result<(), End> {
    let text = value.to_string_lossy();
    let mut numbers = text.split([' ', ',']).filter(|part| !part.is_empty());
    let valid = numbers.clone().count() % 3 == 0 && numbers.all(|part| c_number(part).is_some());
    if valid { Ok(()) } else { Err(invalid("-t", value)) }
}

/// Ranges of addresses.
///
/// # Errors
/// They are none.
pub fn ranges(value: &OsStr) -> Result<Vec<RangeInclusive<u64>>, End> {
    let text = text("-dfilter", value)?;
    text.split(',').map(|part| range(part).ok_or_else(|| invalid("-dfilter", value))).collect()
}

fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let numbers = |operator| {
        let (first, second) = text.split_once(operator)?;
        Some((c_number(first)?, c_number(second)?))
    };
    if let Some((start, end)) = numbers("..") {
        return Some(start..=end);
    }
    if let Some((start, size)) = numbers("+") {
        return Some(start..=start.checked_add(size.checked_sub(1)?)?);
    }
    let (end, size) = numbers("-")?;
    Some(end.checked_sub(size.checked_sub(1)?)?..=end)
}

/// A page size, which cannot be chosen: another one than the host's gets a warning, as in QEMU.
///
/// # Errors
/// It is no number.
pub fn page_size(value: &OsStr) -> Result<(), End> {
    let size = isamorph_host::map::page_size() as u64;
    if number("-p", value)? != size {
        eprintln!("qemu: warning: Deprecated page size option cannot change host page size ({size})");
    }
    Ok(())
}

const ACCELERATORS: &str = "\
Accelerators supported in this build:
jit     compiles guest code; 'tcg' is the same
interp  interprets it; 'tcg,backend=interp' is the same
Properties:
backend=jit|interp        whether tcg compiles or interprets
one-insn-per-tb=on|off    whether every guest instruction is translated on its own
precise=on|off            whether signal handlers see exact flags even where nothing reads them any more
tb-size=MIB               size of the code cache
thread=single|multi       accepted: every guest thread is a host thread
";

/// An accelerator with its properties.
///
/// # Errors
/// There is none of that name, or a property is wrong, or the list is asked for.
pub fn accelerator(settings: &mut Settings, value: &OsStr) -> Result<(), End> {
    let text = text("-accel", value)?;
    let mut parts = text.split(',');
    settings.kind = Some(match parts.next().unwrap_or_default() {
        "help" | "?" => return Err(End::Text(ACCELERATORS.to_owned())),
        "jit" | "tcg" => Kind::Jit,
        "interp" => Kind::Interp,
        known @ ("kvm" | "hvf" | "nvmm" | "whpx" | "xen" | "qtest") => {
            return Err(End::unsupported(&format!("-accel {known}")));
        }
        other => return Err(End::failed(format!("qemu: invalid accelerator {other}"))),
    });
    parts.try_for_each(|part| property(settings, part).ok_or_else(|| invalid("-accel", OsStr::new(part)))?)
}

fn property(settings: &mut Settings, text: &str) -> Option<Result<(), End>> {
    match text.split_once('=')? {
        ("backend", "jit") => settings.kind = Some(Kind::Jit),
        ("backend", "interp") => settings.kind = Some(Kind::Interp),
        ("thread", "single" | "multi") => {}
        ("precise", "on") => settings.precise = true,
        ("precise", "off") => settings.precise = false,
        ("one-insn-per-tb", "on") => settings.one_insn = true,
        ("one-insn-per-tb", "off") => settings.one_insn = false,
        ("tb-size", size) => return Some(mebibytes("-accel", OsStr::new(size)).map(|n| settings.tb_size = Some(n))),
        _ => return None,
    }
    Some(Ok(()))
}
