//! `info registers`, laid out as QEMU's users and scripts know it.

use super::Session;
use super::commands::Answer;
use isamorph_ir::{CpuState, RegId};
use isamorph_x86::state::word::Word;
use isamorph_x86::state::{self, AMD64, CR0, CR4, CS_BASE, ES, ES_ATTR, ES_BASE, ES_LIMIT, FS_BASE, GS_BASE};
use isamorph_x86::state::{gpr, word};
use std::fmt::Write as _;

/// The command.
pub(super) fn show(session: &Session, rest: &str) -> Answer {
    let machine = session.machine();
    let all = rest.split_whitespace().any(|word| word == "-a");
    let list: Vec<u32> = if all { (0..machine.processor_count()).collect() } else { vec![session.processor()] };
    let mut text = String::new();
    for index in list {
        if all {
            let _ = writeln!(text, "\nCPU#{index}");
        }
        let halted = |p: &mut dyn isamorph_accel::Processor| describe(p.state());
        text += &machine.with_processor(index, halted).ok_or("no such CPU")?;
    }
    Ok(text)
}

/// The names of the registers of 64-bit processors in the order in which they are shown, and their numbers.
const LONG: [(&str, u16); 16] = [
    ("RAX", 0),
    ("RBX", 3),
    ("RCX", 1),
    ("RDX", 2),
    ("RSI", 6),
    ("RDI", 7),
    ("RBP", 5),
    ("RSP", 4),
    ("R8 ", 8),
    ("R9 ", 9),
    ("R10", 10),
    ("R11", 11),
    ("R12", 12),
    ("R13", 13),
    ("R14", 14),
    ("R15", 15),
];

/// Letters of the flags that are shown, from bit 11 down.
const FLAGS: [(u32, char); 7] = [(11, 'O'), (10, 'D'), (7, 'S'), (6, 'Z'), (4, 'A'), (2, 'P'), (0, 'C')];

fn describe(state: &CpuState) -> String {
    let (mut text, long) = (String::new(), state::long_mode(state));
    let get = |reg| state.get(&AMD64, reg);
    let width = if long { 16 } else { 8 };
    for (n, (name, number)) in LONG.iter().take(if long { 16 } else { 8 }).enumerate() {
        let name = if long { (*name).to_owned() } else { name.replacen('R', "E", 1) };
        let end = if n % 4 == 3 { '\n' } else { ' ' };
        let _ = write!(text, "{name}={:0width$x}{end}", get(gpr(*number)));
    }
    let eflags = state::eflags(state);
    let letters: String = FLAGS.iter().map(|(bit, c)| if eflags >> bit & 1 != 0 { *c } else { '-' }).collect();
    let flag = |w: Word| u8::from(w.get(state) != 0);
    let ip = state.pc().wrapping_sub(get(CS_BASE)) & (u64::MAX >> (64 - 4 * width));
    let _ = writeln!(
        text,
        "{}={ip:0width$x} {}={eflags:08x} [{letters}] CPL={} II={} A20={} SMM={}",
        if long { "RIP" } else { "EIP" },
        if long { "RFL" } else { "EFL" },
        state::cpl(state),
        get(state::SHADOW),
        1 - flag(word::LINE_20_LOW),
        flag(word::IN_SMM),
    );
    segments(&mut text, state, width);
    system(&mut text, state, width, long);
    fpu(&mut text, state, long);
    text
}

fn segments(text: &mut String, state: &CpuState, width: usize) {
    let get = |reg| state.get(&AMD64, reg);
    for (n, name) in (0..).zip(["ES", "CS", "SS", "DS", "FS", "GS"]) {
        let base = match n {
            4 => FS_BASE,
            5 => GS_BASE,
            n => RegId(ES_BASE.0 + n),
        };
        let (selector, limit, attr) = (get(RegId(ES.0 + n)), get(RegId(ES_LIMIT.0 + n)), get(RegId(ES_ATTR.0 + n)));
        let _ = writeln!(text, "{name} ={selector:04x} {:0width$x} {limit:08x} {attr:08x}", get(base));
    }
    for (name, first) in [("LDT", word::LDTR), ("TR ", word::TR)] {
        let part = |n| first.at(n).get(state);
        let _ = writeln!(text, "{name}={:04x} {:0width$x} {:08x} {:08x}", part(0), part(1), part(2), part(3));
    }
    for (name, first) in [("GDT", word::GDTR_BASE), ("IDT", word::IDTR_BASE)] {
        let _ = writeln!(text, "{name}=     {:0width$x} {:08x}", first.get(state), first.at(1).get(state));
    }
}

fn system(text: &mut String, state: &CpuState, width: usize, long: bool) {
    let get = |reg| state.get(&AMD64, reg);
    let (cr2, cr3) = (word::CR2.get(state), word::CR3.get(state));
    let _ = writeln!(text, "CR0={:08x} CR2={cr2:0width$x} CR3={cr3:0width$x} CR4={:08x}", get(CR0), get(CR4));
    for n in 0..4 {
        let _ = write!(text, "DR{n}={:0width$x} ", word::DR0.at(n).get(state));
    }
    let (dr6, dr7) = (word::DR6.get(state), word::DR7.get(state));
    let _ = writeln!(text, "\nDR6={dr6:0width$x} DR7={dr7:0width$x}");
    if long || word::EFER.get(state) != 0 {
        let _ = writeln!(text, "EFER={:016x}", word::EFER.get(state));
    }
}

fn fpu(text: &mut String, state: &CpuState, long: bool) {
    let image = state::fxsave_image(state);
    let half = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let status = half(2);
    // The image has a bit for each register that is in use; here a bit says that it is empty.
    let tags = !image[4];
    let mxcsr = u32::from(half(24)) | u32::from(half(26)) << 16;
    let top = status >> 11 & 7;
    let _ = writeln!(text, "FCW={:04x} FSW={status:04x} [ST={top}] FTW={tags:02x} MXCSR={mxcsr:08x}", half(0));
    for n in 0..8usize {
        // Physical registers; the image has them in stack order.
        let at = 32 + 16 * (n.wrapping_sub(top.into()) & 7);
        let mantissa = u64::from_le_bytes(std::array::from_fn(|i| image[at + i]));
        let end = if n % 2 == 1 { '\n' } else { ' ' };
        let _ = write!(text, "FPR{n}={mantissa:016x} {:04x}{end}", half(at + 8));
    }
    for n in 0..if long { 16 } else { 8 } {
        let at = 160 + 16 * n;
        let bits = u128::from_le_bytes(std::array::from_fn(|i| image[at + i]));
        let end = if n % 2 == 1 { '\n' } else { ' ' };
        let _ = write!(text, "XMM{n:02}={bits:032x}{end}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_laid_out_as_they_always_were() {
        let mut state = CpuState::new();
        state::reset_user(&mut state);
        state.set(&AMD64, gpr(0), 0x1234);
        state.set_pc(0x7c00);
        state::set_eflags(&mut state, 0x46);
        let text = describe(&state);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "EAX=00001234 EBX=00000000 ECX=00000000 EDX=00000000");
        assert_eq!(lines[2], "EIP=00007c00 EFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0");
        assert_eq!(lines[4], "CS =0023 00000000 00000000 00000000");
        assert!(text.contains("FCW=037f FSW=0000 [ST=0] FTW=ff MXCSR=00001f80\n"), "{text}");
        assert!(text.contains("XMM06=") && !text.contains("XMM08="));
    }
}
