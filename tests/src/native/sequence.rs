//! Random sequences of instructions.

use super::forms::{Form, Kind, Seed, has_addressing};
use super::layout::{GS_BASE, READ_ONLY_LEN, WINDOW, WINDOW_LEN};
use super::random::Random;
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register, RflagsBits,
};
use std::ops::Range;

/// Most instructions of a sequence.
const LENGTH_MAX: u32 = 8;
/// `int3`, which ends a sequence.
const INT3: u8 = 0xcc;
/// ModRM and SIB register numbers with a special meaning.
const ESP: u8 = 4;
const EBP: u8 = 5;

/// Numbers of registers.
const ECX: usize = 1;
const EDI: usize = 7;

/// An instruction of a sequence.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it decodes to.
    pub insn: Instruction,
    /// The flags that are undefined in front of it, as bits of EFLAGS.
    pub undefined: u32,
}

/// A sequence of instructions.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Address of the first one.
    pub entry: u32,
    /// Its bytes, with `int3` at the end.
    pub bytes: Vec<u8>,
    /// Its instructions.
    pub steps: Vec<Step>,
    /// The flags that are undefined at the end.
    pub undefined: u32,
    /// The registers in which it starts.
    pub gpr: [u32; 8],
    /// Registers on which addresses rely: their values are those of `gpr` in every run.
    pub relied: [bool; 8],
    /// Bytes of memory that hold pointers of the x87 unit, which are not compared.
    pub masked: Vec<Range<u32>>,
}

/// Makes sequences.
pub struct Generator<'f> {
    forms: &'f [Form],
    random: Random,
    info: InstructionInfoFactory,
}

/// A sequence in the making.
struct Draft {
    out: Sequence,
    /// Registers that no instruction so far has written.
    known: [bool; 8],
    /// Jumps: index of the step, offset and size of the displacement.
    jumps: Vec<(usize, usize, usize)>,
}

impl<'f> Generator<'f> {
    /// A generator that chooses among these forms.
    pub fn new(forms: &'f [Form], random: Random) -> Self {
        Generator { forms, random, info: InstructionInfoFactory::new() }
    }

    /// A sequence for an address.
    pub fn sequence(&mut self, entry: u32) -> Sequence {
        let gpr = self.registers();
        let relied = [false, false, false, false, true, false, false, false];
        let out = Sequence { entry, bytes: vec![], steps: vec![], undefined: 0, gpr, relied, masked: vec![] };
        let mut draft = Draft { out, known: [true; 8], jumps: vec![] };
        let length = 1 + self.random.below(LENGTH_MAX);
        while (draft.out.steps.len() as u32) < length {
            if self.random.percent(1) {
                self.push_popf(&mut draft);
            } else {
                self.step(&mut draft);
            }
        }
        self.link(&mut draft);
        draft.out.bytes.push(INT3);
        draft.out
    }

    /// Registers that are addresses in the window, small numbers, or anything.
    fn registers(&mut self) -> [u32; 8] {
        const POINTERS: [u32; 8] = [40, 30, 40, 60, 97, 70, 80, 80];
        std::array::from_fn(|n| {
            if self.random.percent(POINTERS[n]) {
                let (margin, len) = if n == 4 { (0x100, 0x200) } else { (0, 0) };
                WINDOW + margin + self.random.below(WINDOW_LEN as u32 - len)
            } else if self.random.percent(50) {
                self.random.below(80)
            } else {
                self.random.integer()
            }
        })
    }

    /// `pushl $flags; popf`, with flags that a program can have without being traced.
    fn push_popf(&mut self, draft: &mut Draft) {
        let flags = 0x202 | self.random.bits() as u32 & 0x0020_0cd5;
        self.append(draft, &[&[0x68][..], &flags.to_le_bytes()].concat());
        let popf: &[u8] = if self.random.percent(80) { &[0x9d] } else { &[0x66, 0x9d] };
        self.append(draft, popf);
    }

    /// Adds one instruction; perhaps the choice turns out badly, then none.
    fn step(&mut self, draft: &mut Draft) {
        let forms = self.forms;
        let form = &forms[self.random.below(forms.len() as u32) as usize];
        if form.kind == Kind::Faulting && !self.random.percent(4) {
            return;
        }
        let seed = &form.seeds[self.random.below(form.seeds.len() as u32) as usize];
        // Of the prefixes that change nothing some are enough.
        if seed.opcode[0] == 0x67 && !self.random.percent(20) {
            return;
        }
        let bytes = if seed.has_memory { self.with_memory(draft, seed) } else { self.with_registers(form, seed) };
        let Some(mut bytes) = bytes else { return };
        let insn = decode(&bytes, draft);
        if insn.code() != form.code || !self.is_comparable(draft, &insn) {
            return;
        }
        bytes.truncate(insn.len());
        self.adjust_immediate(draft, &insn, &mut bytes);
        self.append(draft, &bytes);
    }

    /// Whether the instruction has a defined result that the comparison can deal with.
    fn is_comparable(&mut self, draft: &mut Draft, insn: &Instruction) -> bool {
        let reads_undefined = eflags(insn.rflags_read()) & draft.out.undefined != 0;
        // A segment of which nothing is known.
        let null_segment = insn.segment_prefix() == Register::FS;
        // The processor takes a repeat prefix of a loop instruction for a condition.
        let repeated_loop = matches!(insn.mnemonic(), Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne)
            && (insn.has_rep_prefix() || insn.has_repne_prefix());
        let is_defined = match insn.mnemonic() {
            Mnemonic::Shld | Mnemonic::Shrd => has_defined_count(draft, insn),
            Mnemonic::Maskmovq | Mnemonic::Maskmovdqu => is_well_placed(draft, insn),
            _ => true,
        };
        // There are many forms with meaningless prefixes.
        let is_spared = insn.has_rep_prefix() && self.random.percent(50);
        is_defined && !(reads_undefined || null_segment || repeated_loop || is_spared)
    }

    fn with_registers(&mut self, form: &Form, seed: &Seed) -> Option<Vec<u8>> {
        let tail = self.tail();
        // For an opcode without ModRM byte it is an immediate.
        let any = self.random.bits() as u8;
        for modrm in [any, seed.modrm] {
            let bytes = [&seed.opcode[..], &[modrm], &tail].concat();
            let insn = Decoder::with_ip(32, &bytes, 0, DecoderOptions::NONE).decode();
            if insn.code() == form.code && !has_addressing(&insn) {
                return Some(bytes);
            }
        }
        None
    }

    /// Bytes for displacements and immediates.
    fn tail(&mut self) -> [u8; 8] {
        let low = u64::from(self.random.integer());
        (low | u64::from(self.random.integer()) << 32).to_le_bytes()
    }

    /// A form with a memory operand: an addressing mode, and a displacement that leads into the window, mostly.
    fn with_memory(&mut self, draft: &mut Draft, seed: &Seed) -> Option<Vec<u8>> {
        let tail = self.tail();
        let modrm = self.addressing(draft, seed, &tail)?;
        Some([&seed.opcode[..], &modrm, &tail].concat())
    }

    /// ModRM and SIB bytes and displacement.
    fn addressing(&mut self, draft: &mut Draft, seed: &Seed, tail: &[u8]) -> Option<Vec<u8>> {
        let reg = seed.modrm & 0x38;
        if seed.opcode.contains(&0x67) {
            // 16-bit addresses are outside the window.
            let modrm = (self.random.below(3) as u8) << 6 | self.random.below(8) as u8 | reg;
            return Some(vec![modrm]);
        }
        let (mode, base, index, scale) = (
            self.random.below(3) as u8,
            self.random.below(8) as u8,
            self.random.below(8) as u8,
            self.random.below(4) as u8,
        );
        let style = self.random.below(10);
        let mut bytes = match style {
            0..=4 if base != ESP => vec![mode << 6 | reg | base],
            0..=7 => vec![mode << 6 | reg | 4, scale << 6 | index << 3 | base],
            _ => vec![reg | EBP],
        };
        let disp_len = match (mode, style) {
            (_, 8..) | (2, _) => 4,
            (0, _) if base == EBP => 4,
            (0, _) => 0,
            _ => 1,
        };
        if disp_len < 4 {
            // Without room for any displacement the base has to be near its target already.
            let (at, known) = (draft.out.gpr[usize::from(base)], draft.known[usize::from(base)]);
            let is_pointer = known && at.wrapping_sub(WINDOW) < WINDOW_LEN as u32;
            if !is_pointer && !self.random.percent(4) {
                return None;
            }
        }
        bytes.extend(&tail[..disp_len]);
        if disp_len == 1 {
            let at = bytes.len() - 1;
            bytes[at] = self.random.bits() as u8;
        }
        self.aim(draft, seed, &mut bytes, disp_len)
    }

    /// Chooses the displacement.
    fn aim(&mut self, draft: &mut Draft, seed: &Seed, bytes: &mut [u8], disp_len: usize) -> Option<Vec<u8>> {
        let whole = [&seed.opcode[..], bytes, &[0; 8]].concat();
        let insn = decode(&whole, draft);
        let mut sum = 0u32;
        let mut registers = vec![];
        for (register, scale) in [(insn.memory_base(), 1), (insn.memory_index(), insn.memory_index_scale())] {
            if register != Register::None {
                let n = register.number();
                if !draft.known[n] && (saves_pointers(&insn).is_some() || !self.random.percent(2)) {
                    return None;
                }
                registers.push(n);
                sum = sum.wrapping_add(draft.out.gpr[n].wrapping_mul(scale));
            }
        }
        // Bit-string instructions address the bit that a register tells.
        if matches!(insn.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
            && insn.op1_kind() == OpKind::Register
        {
            let n = insn.op1_register().number();
            if !draft.known[n] {
                return None;
            }
            registers.push(n);
            let bit = draft.out.gpr[n];
            let word =
                if insn.op1_register().is_gpr16() { (bit as i16 as i32 >> 4) * 2 } else { (bit as i32 >> 5) * 4 };
            sum = sum.wrapping_add(word as u32);
        }
        if insn.segment_prefix() == Register::GS {
            sum = sum.wrapping_add(GS_BASE);
        }
        registers.into_iter().for_each(|n| draft.out.relied[n] = true);
        if disp_len == 4 {
            let target = self.target(&insn);
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&target.wrapping_sub(sum).to_le_bytes());
        }
        self.mask(draft, &insn, bytes, disp_len, sum);
        Some(bytes.to_vec())
    }

    /// An address in the window with room for the operand, sometimes across a page or at the end, sometimes elsewhere.
    fn target(&mut self, insn: &Instruction) -> u32 {
        let size = insn.memory_size().size().max(1) as u32;
        let end = WINDOW + WINDOW_LEN as u32;
        let alignment = if size == 16 && self.random.percent(90) {
            !15
        } else if self.random.percent(30) {
            !3
        } else {
            !0
        };
        let near = |random: &mut Random, at: u32| {
            at.wrapping_sub(random.below(2 * size.max(4))).wrapping_add(random.below(size.max(4)))
        };
        let target = match self.random.below(100) {
            0..75 => WINDOW + self.random.below(WINDOW_LEN as u32 - size),
            75..85 => near(&mut self.random, WINDOW + 0x1000),
            85..88 => near(&mut self.random, end),
            88..92 => end + self.random.below(READ_ONLY_LEN - size.min(0x800)),
            92..94 => near(&mut self.random, end + READ_ONLY_LEN),
            94..96 => near(&mut self.random, WINDOW),
            96 => near(&mut self.random, 0),
            97 => self.random.below(0x1000),
            98 => WINDOW - 0x4000 + self.random.below(0x3000),
            _ => 0xffff_ff00 + self.random.below(0x100),
        };
        target & alignment
    }

    /// Remembers where instructions that save the x87 unit put its pointers, which are the host's under an emulator.
    fn mask(&mut self, draft: &mut Draft, insn: &Instruction, bytes: &[u8], disp_len: usize, sum: u32) {
        let Some(pointers) = saves_pointers(insn) else { return };
        let disp = match *bytes {
            [.., a, b, c, d] if disp_len == 4 => u32::from_le_bytes([a, b, c, d]),
            [.., a] if disp_len == 1 => a as i8 as u32,
            _ => 0,
        };
        let at = sum.wrapping_add(disp);
        draft.out.masked.push(at.wrapping_add(pointers.start)..at.wrapping_add(pointers.end));
    }

    /// Immediates with which an instruction does something interesting.
    fn adjust_immediate(&mut self, draft: &mut Draft, insn: &Instruction, bytes: &mut [u8]) {
        let len = bytes.len();
        match insn.code() {
            Code::Enterw_imm16_imm8 | Code::Enterd_imm16_imm8 if self.random.percent(90) => {
                let level = if self.random.percent(60) { 0 } else { self.random.below(5) as u8 };
                bytes[len - 3..].copy_from_slice(&[self.random.bits() as u8, 0, level]);
            }
            Code::Mov_AL_moffs8
            | Code::Mov_AX_moffs16
            | Code::Mov_EAX_moffs32
            | Code::Mov_moffs8_AL
            | Code::Mov_moffs16_AX
            | Code::Mov_moffs32_EAX
                if insn.memory_displ_size() == 4 =>
            {
                let base = if insn.segment_prefix() == Register::GS { GS_BASE } else { 0 };
                let target = self.target(insn).wrapping_sub(base);
                bytes[len - 4..].copy_from_slice(&target.to_le_bytes());
            }
            _ => {}
        }
        let is_jump = matches!(
            insn.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call
        );
        if is_jump {
            let size = if insn.len() >= 5 { 4 } else { 1 };
            bytes[len - size..].fill(0);
            draft.jumps.push((draft.out.steps.len(), len - size, size));
        }
    }

    /// Adds the instruction and follows what it does to registers and flags.
    fn append(&mut self, draft: &mut Draft, bytes: &[u8]) {
        let mut window = bytes.to_vec();
        window.resize(bytes.len() + 15, 0);
        let insn = decode(&window, draft);
        draft.out.steps.push(Step { insn, undefined: draft.out.undefined });
        draft.out.bytes.extend(bytes);
        for used in self.info.info(&insn).used_registers() {
            let register = used.register().full_register32();
            if matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            ) && register.is_gpr32()
            {
                draft.known[register.number()] = false;
            }
        }
        // The string instructions and shifts by a register may turn out to do nothing, and a jump may skip the rest.
        let undefined = eflags(insn.rflags_undefined());
        let counted = matches!(
            insn.mnemonic(),
            Mnemonic::Shl
                | Mnemonic::Shr
                | Mnemonic::Sar
                | Mnemonic::Sal
                | Mnemonic::Rol
                | Mnemonic::Ror
                | Mnemonic::Rcl
                | Mnemonic::Rcr
                | Mnemonic::Shld
                | Mnemonic::Shrd
        );
        let is_certain = draft.jumps.is_empty() && !counted && !insn.is_string_instruction();
        let defined = if is_certain { eflags(insn.rflags_modified()) } else { 0 };
        draft.out.undefined = draft.out.undefined & !defined | undefined;
        if counted {
            draft.out.undefined |= oversized_shift(&insn);
        }
    }

    /// Gives jumps their targets: an instruction further on, or the end.
    fn link(&mut self, draft: &mut Draft) {
        let starts: Vec<u32> = draft.out.steps.iter().map(|step| step.insn.ip32()).collect();
        let end = draft.out.entry + draft.out.bytes.len() as u32;
        for (step, offset, size) in std::mem::take(&mut draft.jumps) {
            let next = starts.get(step + 1).copied().unwrap_or(end);
            let mut later = self.random.below((starts.len() - step) as u32) as usize + step + 1;
            // What a popf pops has to be pushed just before it.
            while draft
                .out
                .steps
                .get(later)
                .is_some_and(|s| matches!(s.insn.mnemonic(), Mnemonic::Popf | Mnemonic::Popfd))
            {
                later += 1;
            }
            let target = starts.get(later).copied().unwrap_or(end);
            let at = (starts[step] - draft.out.entry) as usize + offset;
            draft.out.bytes[at..at + size].copy_from_slice(&target.wrapping_sub(next).to_le_bytes()[..size]);
        }
    }
}

/// Which bytes of its operand an instruction fills with the pointers of the x87 unit.
fn saves_pointers(insn: &Instruction) -> Option<Range<u32>> {
    match insn.mnemonic() {
        _ if matches!(insn.code(), Code::Fnstenv_m14byte | Code::Fnsave_m94byte) => Some(6..14),
        Mnemonic::Fnstenv | Mnemonic::Fnsave => Some(12..28),
        Mnemonic::Fxsave => Some(6..32),
        _ => None,
    }
}

/// A double shift of 16 bits by more than that has no defined result.
fn has_defined_count(draft: &mut Draft, insn: &Instruction) -> bool {
    if operand_size(insn) != 2 {
        return true;
    }
    if insn.op_kind(2) != OpKind::Register {
        return insn.immediate8() & 31 <= 16;
    }
    draft.out.relied[ECX] |= draft.known[ECX];
    draft.known[ECX] && draft.out.gpr[ECX] & 31 <= 16
}

/// Which bytes a masked store touches where the mask has none is up to the processor's model.
fn is_well_placed(draft: &mut Draft, insn: &Instruction) -> bool {
    let offset = draft.out.gpr[EDI].wrapping_sub(WINDOW);
    let is_flat = insn.segment_prefix() == Register::None && !insn.op_kinds().any(|k| k == OpKind::MemorySegDI);
    draft.out.relied[EDI] |= draft.known[EDI];
    draft.known[EDI] && is_flat && offset < WINDOW_LEN as u32 - 16
}

/// The carry of a shift by the operand's size or more, if that is narrower than the count.
fn oversized_shift(insn: &Instruction) -> u32 {
    let logical = matches!(insn.mnemonic(), Mnemonic::Shl | Mnemonic::Sal | Mnemonic::Shr);
    if logical && matches!(operand_size(insn), 1 | 2) { 1 } else { 0 }
}

/// Size of the first operand in bytes.
fn operand_size(insn: &Instruction) -> usize {
    if insn.op_count() > 0 && insn.op0_kind() == OpKind::Register {
        insn.op0_register().size()
    } else {
        insn.memory_size().size()
    }
}

fn decode(bytes: &[u8], draft: &Draft) -> Instruction {
    let ip = u64::from(draft.out.entry) + draft.out.bytes.len() as u64;
    Decoder::with_ip(32, bytes, ip, DecoderOptions::NONE).decode()
}

/// The decoder's flags as bits of EFLAGS: the arithmetic ones and the direction.
fn eflags(bits: u32) -> u32 {
    const TABLE: [(u32, u32); 7] = [
        (RflagsBits::CF, 1),
        (RflagsBits::PF, 1 << 2),
        (RflagsBits::AF, 1 << 4),
        (RflagsBits::ZF, 1 << 6),
        (RflagsBits::SF, 1 << 7),
        (RflagsBits::DF, 1 << 10),
        (RflagsBits::OF, 1 << 11),
    ];
    TABLE.iter().filter(|(from, _)| bits & from != 0).fold(0, |all, (_, to)| all | to)
}
