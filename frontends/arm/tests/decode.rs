//! The decoders against capstone: what they know, and how long it is.

use capstone::prelude::*;
use isamorph_arm::coverage;

fn capstone(thumb: bool) -> Capstone {
    let mode = if thumb { arch::arm::ArchMode::Thumb } else { arch::arm::ArchMode::Arm };
    Capstone::new().arm().mode(mode).extra_mode([arch::arm::ArchExtraMode::V8].into_iter()).build().expect("capstone")
}

/// Every 16-bit word is known to both or to neither.
#[test]
fn t16() {
    let cs = capstone(true);
    let mut wrong = Vec::new();
    // BX and BLX have three bits that should be zero; capstone knows instructions of the M profile there. SETPAN is
    // privileged, PUSH and POP of no register are unpredictable, and one UDF is a debugger's.
    let is_special = |word: u32| {
        word & 0xff00 == 0x4700 && word & 7 != 0 || word & 0xffe0 == 0xb600 || [0xb400, 0xbc00, 0xdef9].contains(&word)
    };
    for word in (0..0xe800u32).filter(|word| !is_special(*word)) {
        let bytes = [&(word as u16).to_le_bytes()[..], &[0, 0xbf]].concat();
        let theirs = cs.disasm_count(&bytes, 0, 1).ok();
        let theirs = theirs.as_ref().and_then(|list| list.first()).and_then(|insn| insn.mnemonic().map(str::to_owned));
        let ours = coverage::thumb_row(word).map(|row| row.name);
        if ours.is_some() != theirs.is_some() {
            wrong.push(format!("{word:04x}: {ours:?} {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} words\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
