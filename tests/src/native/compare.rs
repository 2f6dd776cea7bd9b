//! What of two ends must be the same, and how they differ.

use super::layout::{End, Start, WINDOW, WINDOW_LEN};
use super::sequence::Sequence;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, Mnemonic, OpKind};
use std::fmt::Write as _;

/// The signal of the `int3` at the end.
const SIGTRAP: u32 = 5;
/// CF PF AF ZF SF OF.
const ARITHMETIC: u32 = 0x8d5;
/// RF: set in the image that a fault pushes, and of no consequence.
const RESUME: u32 = 1 << 16;
/// #MF.
const X87_ERROR: u32 = 16;
/// #SS.
const STACK: u32 = 12;
/// #GP.
const PROTECTION: u32 = 13;
/// #PF.
const PAGE_FAULT: u32 = 14;
/// `SEGV_ACCERR`: there is a mapping that does not allow the access.
const ACCESS_ERROR: u32 = 2;
/// A bit of MXCSR that processors of one vendor have: operands may be misaligned.
const MISALIGNED_MODE: u32 = 1 << 17;
/// Bits of its error code: the page exists, the access was a write.
const PRESENT: u32 = 1;
const WRITE: u32 = 2;
const NAMES: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];

/// Whether the sequence ran to its end.
pub fn is_complete(sequence: &Sequence, end: &End) -> bool {
    end.signo == SIGTRAP && end.eip == sequence.entry + sequence.bytes.len() as u32
}

/// Index of the instruction that an end points to; the number of instructions for the `int3`.
pub fn step_at(sequence: &Sequence, end: &End) -> Option<usize> {
    let is_there = |at: u32| end.eip == at;
    if is_complete(sequence, end) {
        return Some(sequence.steps.len());
    }
    sequence.steps.iter().position(|step| is_there(step.insn.ip32()))
}

/// The flags that are not compared at that end.
fn ignored_flags(sequence: &Sequence, end: &End, is_precise: bool) -> u32 {
    let undefined = match step_at(sequence, end) {
        Some(n) => sequence.steps.get(n).map_or(sequence.undefined, |step| step.undefined),
        // Behind an instruction that trapped; or nowhere in a sequence that another one has overwritten.
        None => {
            let trapped = sequence.steps.iter().find(|step| step.insn.next_ip32() == end.eip);
            trapped.map_or(ARITHMETIC, |step| step.undefined)
        }
    };
    // Flags that a fault shows but that nothing reads any more need not be exact.
    let dead = if is_precise || is_complete(sequence, end) { 0 } else { ARITHMETIC };
    undefined | dead | RESUME
}

/// Whether an instruction accesses memory in more than one place, in an order that the manual leaves open.
fn has_several_accesses(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let by_nature = matches!(
        insn.mnemonic(),
        M::Enter
            | M::Pusha
            | M::Pushad
            | M::Popa
            | M::Popad
            | M::Cmpsb
            | M::Cmpsw
            | M::Cmpsd
            | M::Movsb
            | M::Movsw
            | M::Movsd
            | M::Bound
            | M::Maskmovq
            | M::Maskmovdqu
            | M::Fnsave
            | M::Frstor
            | M::Fnstenv
            | M::Fldenv
            | M::Fxsave
            | M::Fxrstor
    );
    let moves_memory = matches!(insn.mnemonic(), M::Push | M::Pop | M::Call) && insn.op0_kind() == OpKind::Memory;
    by_nature || moves_memory
}

fn uses_mmx(insn: &Instruction) -> bool {
    (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_mm())
}

/// Sets what is not compared to zero.
fn normalise(end: &mut End, sequence: &Sequence, ignored: u32) {
    end.eflags &= !ignored;
    // Only page faults set it.
    if end.trapno != PAGE_FAULT {
        end.cr2 = 0;
    } else if end.err & PRESENT == 0 {
        // The processor reports the first access of a read-modify-write as a write.
        end.err &= !WRITE;
    }
    let fault = step_at(sequence, end).and_then(|n| sequence.steps.get(n));
    if fault.is_some_and(|step| has_several_accesses(&step.insn)) {
        // Which of them faults is up to the processor's model.
        (end.cr2, end.addr, end.err) = (0, 0, 0);
        if end.trapno == PAGE_FAULT {
            end.code = 0;
        }
    }
    // So is whether an MMX instruction that faults has changed the state of the x87 unit, and what a repeated string
    // comparison that faults has left in the flags (SDM vol. 2, REP: the old ones).
    if fault.is_some_and(|step| uses_mmx(&step.insn)) && end.trapno != X87_ERROR {
        end.fxsave[..6].fill(0);
        end.fxsave[32..160].fill(0);
    }
    if fault.is_some_and(|step| step.insn.is_string_instruction()) {
        end.eflags &= !ARITHMETIC;
    }
    // The sums and the differences of these are two operations, of which one may raise an exception before the other
    // has left its flags.
    if fault.is_some_and(|step| matches!(step.insn.mnemonic(), Mnemonic::Addsubps | Mnemonic::Addsubpd)) {
        end.fxsave[24] &= !0x3f;
        end.code = 0;
    }
    // Opcode and pointers of the last x87 instruction, the mask of MXCSR, the unused parts.
    end.fxsave[6..24].fill(0);
    end.fxsave[28..32].fill(0);
    end.fxsave[32..160].chunks_exact_mut(16).for_each(|st| st[10..].fill(0));
    end.fxsave[288..].fill(0);
    for range in &sequence.masked {
        for addr in range.clone() {
            if let Some(byte) = end.window.get_mut(addr.wrapping_sub(WINDOW) as usize) {
                *byte = 0;
            }
        }
    }
}

/// How the ends differ; nothing if they agree.
pub fn difference(sequence: &Sequence, native: &End, other: &End, is_precise: bool) -> Option<String> {
    if half(native, 26) << 16 & MISALIGNED_MODE != 0 {
        return None;
    }
    let ignored = ignored_flags(sequence, native, is_precise);
    let (mut native, mut other) = (native.clone(), other.clone());
    normalise(&mut native, sequence, ignored);
    normalise(&mut other, sequence, ignored);
    if native.trapno == PAGE_FAULT && native.code == ACCESS_ERROR && native.err & PRESENT == 0 {
        // A page that nobody has touched yet: only the host's kernel knows.
        (native.err, other.err) = (0, 0);
    }
    if native.trapno == PAGE_FAULT && other.trapno == PAGE_FAULT && crosses_pages(native.addr, other.addr) {
        // Of an operand of which one page cannot be written and the other not even read, either is right.
        for end in [&mut native, &mut other] {
            (end.cr2, end.addr, end.err, end.code) = (0, 0, 0, 0);
        }
    }
    if matches!(native.trapno, STACK | PROTECTION) && other.trapno == PAGE_FAULT {
        // The processor reports an operand that goes beyond the end of a segment as such. Nothing is mapped there.
        for end in [&mut native, &mut other] {
            (end.signo, end.trapno, end.cr2, end.addr, end.err, end.code) = (0, 0, 0, 0, 0, 0);
        }
    }
    if native == other {
        return None;
    }
    let mut text = String::new();
    let mut row = |name: &str, a: u32, b: u32| {
        if a != b {
            let _ = writeln!(text, "    {name}: native {a:08x}, here {b:08x}");
        }
    };
    row("signal", native.signo, other.signo);
    row("si_code", native.code, other.code);
    row("si_addr", native.addr, other.addr);
    row("vector", native.trapno, other.trapno);
    row("error code", native.err, other.err);
    row("cr2", native.cr2, other.cr2);
    row("eip", native.eip, other.eip);
    row("eflags", native.eflags, other.eflags);
    NAMES.iter().zip(native.gpr.iter().zip(other.gpr)).for_each(|(name, (a, b))| row(name, *a, b));
    ["es", "cs", "ss", "ds", "fs", "gs"]
        .iter()
        .zip(native.segments.iter().zip(other.segments))
        .for_each(|(name, (a, b))| row(name, *a, b));
    row("fcw", half(&native, 0), half(&other, 0));
    row("fsw", half(&native, 2), half(&other, 2));
    row("ftw", half(&native, 4), half(&other, 4));
    row("mxcsr", half(&native, 24) | half(&native, 26) << 16, half(&other, 24) | half(&other, 26) << 16);
    for n in 0..8 {
        text += &bytes(&format!("st{n}"), &native.fxsave[32 + 16 * n..][..10], &other.fxsave[32 + 16 * n..][..10]);
    }
    for n in 0..8 {
        text += &bytes(&format!("xmm{n}"), &native.fxsave[160 + 16 * n..][..16], &other.fxsave[160 + 16 * n..][..16]);
    }
    let mut lines = 0;
    for at in (0..WINDOW_LEN).step_by(16) {
        let (a, b) = (&native.window[at..at + 16], &other.window[at..at + 16]);
        if a != b && lines < 4 {
            lines += 1;
            text += &bytes(&format!("{:08x}", WINDOW + at as u32), a, b);
        }
    }
    Some(text)
}

/// Whether an operand at one address can reach the other, on the next page.
fn crosses_pages(one: u32, other: u32) -> bool {
    one.abs_diff(other) < 16 && one >> 12 != other >> 12
}

fn half(end: &End, at: usize) -> u32 {
    u32::from(u16::from_le_bytes([end.fxsave[at], end.fxsave[at + 1]]))
}

fn bytes(name: &str, native: &[u8], other: &[u8]) -> String {
    if native == other {
        String::new()
    } else {
        format!("    {name}: native {native:02x?}\n    {name}: here   {other:02x?}\n")
    }
}

/// The sequence as text, the state it started in, and where it ended natively.
pub fn describe(sequence: &Sequence, start: &Start, native: Option<&End>) -> String {
    let mut text = String::new();
    let mut formatter = GasFormatter::new();
    let mut decoder = Decoder::with_ip(32, &sequence.bytes, sequence.entry.into(), DecoderOptions::NONE);
    while decoder.can_decode() {
        let at = decoder.position();
        let insn = decoder.decode();
        let mut line = String::new();
        formatter.format(&insn, &mut line);
        let raw: String = sequence.bytes[at..at + insn.len()].iter().map(|b| format!("{b:02x}")).collect();
        let here = if native.is_some_and(|end| end.eip == insn.ip32()) { "->" } else { "  " };
        let _ = writeln!(text, "  {here}{:08x}: {raw:<24} {line}", insn.ip32());
    }
    let _ = write!(text, "    from eflags {:08x}", start.eflags);
    for (name, value) in NAMES.iter().zip(start.gpr) {
        let _ = write!(text, " {name} {value:08x}");
    }
    let word = |at: usize| u16::from_le_bytes([start.fxsave[at], start.fxsave[at + 1]]);
    let (control, status, tags, mxcsr) = (word(0), word(2), start.fxsave[4], word(24));
    let _ = writeln!(text, "\n    fcw {control:04x} fsw {status:04x} ftw {tags:02x} mxcsr {mxcsr:04x}");
    if let Some(end) = native {
        let _ = writeln!(text, "    native: signal {} vector {} at {:08x}", end.signo, end.trapno, end.eip);
    }
    text
}
