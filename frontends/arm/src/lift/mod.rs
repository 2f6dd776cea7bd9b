//! Lifting: instructions to IR.
//!
//! [`lift_region`] walks guest code and gives every instruction to the handler of its row. The handlers in the files
//! that are named as the tables take encodings apart; what instructions do is in the others, once for all encodings. A
//! handler reads registers, computes, accesses memory, and only then writes registers, so that a fault finds the state
//! before the instruction.

mod a32_control;
mod a32_data;
mod a32_mem;
mod a32_uncond;
mod alu;
mod bits;
mod branch;
mod conditional;
mod coproc;
mod exclusive;
mod fpreg;
mod live;
mod media;
mod memory;
mod multiple;
mod multiply;
mod neon;
mod neon_mem;
mod saturate;
mod shift;
mod status;
mod t16;
mod t32_control;
mod t32_data;
mod t32_mem;
mod vfp;
mod vfp8;

use crate::cpu::{Arch, Features};
use crate::decode::{Insn, Reader, decode_a32, decode_thumb};
use crate::state::{self, ARM, FLAGS, fpscr_bits};
use crate::{coverage, exception};
use conditional::Group;
use isamorph_guest::{CodeSource, FetchFault, Limits};
use isamorph_ir::{Builder, Cond, CpuState, ExitKind, FpMode, FpRule, Op, Region, Type, Value};

include!(concat!(env!("OUT_DIR"), "/a32_dispatch.rs"));
include!(concat!(env!("OUT_DIR"), "/a32u_dispatch.rs"));
include!(concat!(env!("OUT_DIR"), "/t16_dispatch.rs"));
include!(concat!(env!("OUT_DIR"), "/t32_dispatch.rs"));
include!(concat!(env!("OUT_DIR"), "/coproc_dispatch.rs"));
include!(concat!(env!("OUT_DIR"), "/neon_dispatch.rs"));

/// What decides the meaning of code besides the program counter, and is not in the state as compiled code sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mode {
    /// CPSR.IT.
    pub(crate) it: u32,
    /// CPSR.E.
    pub(crate) big_endian: bool,
    /// FPSCR.DN.
    pub(crate) default_nan: bool,
    /// FPSCR.AHP.
    pub(crate) alternative_half: bool,
    /// FPSCR.LEN or STRIDE is not 0.
    pub(crate) short_vectors: bool,
}

impl Mode {
    /// The mode of a vCPU.
    pub(crate) fn of(state: &CpuState) -> Self {
        let word = |reg| state.get(&ARM, reg) as u32;
        let fpscr = word(state::FPSCR_REST);
        Mode {
            it: word(state::ITSTATE) & 0xff,
            big_endian: word(state::E) != 0,
            default_nan: fpscr & fpscr_bits::DN != 0,
            alternative_half: fpscr & fpscr_bits::AHP != 0,
            short_vectors: fpscr & fpscr_bits::LEN_STRIDE != 0,
        }
    }
    /// The mode with that number.
    pub(crate) fn from_number(number: u32) -> Self {
        Mode {
            it: number & 0xff,
            big_endian: number & 1 << 8 != 0,
            default_nan: number & 1 << 9 != 0,
            alternative_half: number & 1 << 10 != 0,
            short_vectors: number & 1 << 11 != 0,
        }
    }
    /// The number that stands for the mode outside this crate.
    pub(crate) fn number(self) -> u32 {
        self.it
            | u32::from(self.big_endian) << 8
            | u32::from(self.default_nan) << 9
            | u32::from(self.alternative_half) << 10
            | u32::from(self.short_vectors) << 11
    }
    /// How floating-point ops behave.
    pub(crate) fn fp(self) -> FpMode {
        FpMode::new(if self.default_nan { FpRule::ArmDefault } else { FpRule::Arm })
    }
}

/// The region being lifted, and what the handlers need.
pub(crate) struct Lifter<'r> {
    /// Where the IR goes.
    pub(crate) b: Builder<'r>,
    /// Address of the instruction.
    pub(crate) pc: u32,
    /// Its length in bytes.
    len: u32,
    /// The instruction.
    encoding: u32,
    /// The A32 form of an Advanced SIMD instruction.
    pub(crate) word: u32,
    /// Whether it is a Thumb instruction.
    pub(crate) thumb: bool,
    /// The mode; `it` is that of the instruction.
    pub(crate) mode: Mode,
    /// What the processor has.
    pub(crate) cpu: Features,
    /// The condition of the instruction, if its handler is to heed it: by selecting results, or by a conditional exit.
    selected: Option<Cond>,
    /// The block of instructions with the same condition that is open.
    group: Option<Group>,
    /// Number of the current block.
    block: u32,
    /// What the state's ITSTATE is; nothing if that depends.
    stored_it: Option<u32>,
    /// The last comparison of floating-point numbers in this block: the value in FPFLAGS, and the flags themselves.
    pub(crate) compared: (Value, Value),
    /// Whether a terminator ended the region.
    done: bool,
}

impl<'r> Lifter<'r> {
    fn new(region: &'r mut Region, pc: u64, mode: Mode, cpu: Features) -> Self {
        Lifter {
            b: Builder::new(region, &ARM, pc),
            pc: pc as u32 & !1,
            len: 0,
            encoding: 0,
            word: 0,
            thumb: pc & 1 != 0,
            mode,
            cpu,
            selected: None,
            group: None,
            block: 0,
            stored_it: Some(mode.it),
            compared: (Value::NONE, Value::NONE),
            done: false,
        }
    }
    /// Lifts one instruction.
    fn step(&mut self, word: u32, len: u32) {
        (self.encoding, self.len) = (word, len);
        let insn = if self.thumb { decode_thumb(word) } else { decode_a32(word) };
        let it = self.mode.it;
        let known = match conditional::of(self, word) {
            Ok(cond) => {
                conditional::begin(self, insn, cond);
                self.dispatch(insn)
            }
            Err(()) => {
                conditional::begin(self, Insn::Unallocated, None);
                false
            }
        };
        if !known {
            coverage::count(insn.row().map_or("unallocated", |row| row.name));
            self.undefined();
        }
        self.selected = None;
        if self.mode.it == it {
            self.mode.it = self.next_it();
        }
        self.pc = self.pc.wrapping_add(len);
    }
    fn dispatch(&mut self, insn: Insn) -> bool {
        match insn {
            Insn::A32(insn) => a32(self, insn),
            Insn::A32u(insn) => a32u(self, insn),
            Insn::T16(insn) => t16(self, insn),
            Insn::T32(insn) => t32(self, insn),
            Insn::Coproc(insn) => coproc(self, insn),
            Insn::Neon(insn) => {
                self.word = insn.word;
                neon(self, insn)
            }
            Insn::Unallocated => false,
        }
    }

    // ---- program counters

    /// Bit 0 of program counters.
    pub(crate) fn thumb_bit(&self) -> u32 {
        u32::from(self.thumb)
    }
    /// The program counter of the instruction, with the Thumb bit.
    fn here(&self) -> u64 {
        u64::from(self.pc | self.thumb_bit())
    }
    /// The program counter of the next instruction, with the Thumb bit.
    pub(crate) fn next(&self) -> u64 {
        u64::from(self.pc.wrapping_add(self.len) | self.thumb_bit())
    }
    /// What reading R15 gives (DDI 0406C A2.3).
    pub(crate) fn pc_value(&self) -> u32 {
        self.pc.wrapping_add(if self.thumb { 4 } else { 8 })
    }
    /// What reading R15 gives where the manual says `Align(PC, 4)`.
    pub(crate) fn pc_aligned(&self) -> u32 {
        self.pc_value() & !3
    }

    // ---- registers

    /// A 32-bit constant.
    pub(crate) fn int(&mut self, bits: u32) -> Value {
        self.b.iconst(Type::I32, u64::from(bits))
    }
    /// A shift count.
    pub(crate) fn count(&mut self, bits: u32) -> Value {
        self.b.iconst(Type::I8, u64::from(bits))
    }
    /// An integer register.
    pub(crate) fn reg(&mut self, number: u32) -> Value {
        if number == 15 {
            let pc = self.pc_value();
            return self.int(pc);
        }
        self.b.get(state::r(number))
    }
    /// Writes R0 to R14; where the condition selects results, keeps the old value if it does not hold.
    pub(crate) fn set_reg(&mut self, number: u32, value: Value) {
        let reg = state::r(number);
        let value = match self.selected {
            None => value,
            Some(cond) => {
                let (flags, old) = (self.flags(), self.b.get(reg));
                self.b.select(cond, flags, value, old)
            }
        };
        self.b.set(reg, value);
    }
    /// The condition flags, in the sense of [`FLAGS`].
    pub(crate) fn flags(&mut self) -> Value {
        self.b.get(FLAGS)
    }
    /// Writes the condition flags.
    pub(crate) fn set_flags(&mut self, flags: Value) {
        self.b.set(FLAGS, flags);
        conditional::flags_changed(self);
    }
    /// Whether 16-bit instructions leave the flags alone.
    pub(crate) fn in_it(&self) -> bool {
        self.mode.it & 15 != 0
    }

    // ---- the ways out

    /// Leaves the region; the next instruction begins after this one or at the exit's target.
    pub(crate) fn exit(&mut self, kind: ExitKind) {
        let it = self.next_it();
        conditional::store_it(self, it);
        self.b.exit(kind);
        conditional::block_ended(self);
    }
    /// Raises an exception of this instruction.
    pub(crate) fn raise(&mut self, code: u32, arg: u64) {
        conditional::store_it(self, self.mode.it);
        let pc = self.here();
        self.b.exit(ExitKind::Exception { pc, code, arg });
        conditional::block_ended(self);
    }
    /// Raises the exception of A32 code that is not aligned (DDI 0487 G1.12.5).
    fn misaligned(&mut self) {
        let pc = self.here();
        self.b.insn(pc, 2);
        self.raise(exception::PC_ALIGNMENT, 0);
    }
    /// Raises the exception of instructions that do not exist.
    pub(crate) fn undefined(&mut self) {
        self.raise(exception::UNDEFINED, u64::from(self.encoding));
    }
    /// Whether the architecture is at least this; if not, the instruction is undefined.
    pub(crate) fn needs(&mut self, arch: Arch) -> bool {
        let has = self.cpu.arch >= arch;
        if !has {
            self.undefined();
        }
        has
    }
    /// Undefined unless the condition holds.
    pub(crate) fn require(&mut self, holds: bool) -> bool {
        if !holds {
            self.undefined();
        }
        holds
    }

    // ---- short forms

    /// A 32-bit op with a constant.
    pub(crate) fn bin_const(&mut self, op: Op, a: Value, bits: u32) -> Value {
        let bits = self.int(bits);
        self.b.bin(op, a, bits)
    }
    /// A shift by a constant from 1 to 31 (63 for 64 bits).
    pub(crate) fn shift(&mut self, op: Op, a: Value, by: u32) -> Value {
        let by = self.count(by);
        self.b.multi(op, &[a, by])
    }
    /// The constant that a value is.
    pub(crate) fn constant(&self, v: Value) -> Option<u32> {
        self.b.region().const_bits(v).map(|bits| bits as u32)
    }
}

/// Lifts the code at `pc`: straight on past conditional jumps that are not taken, to the first instruction that always
/// goes elsewhere, the limit, or the end of what can be fetched.
pub(crate) fn lift_region(
    region: &mut Region,
    pc: u64,
    mode: Mode,
    cpu: Features,
    code: &dyn CodeSource,
    limits: Limits,
) -> Result<(), FetchFault> {
    let mut cx = Lifter::new(region, pc, mode, cpu);
    let mut reader = Reader::new(code);
    let mut count = 0;
    if !cx.thumb && cx.pc & 3 != 0 {
        cx.misaligned();
    }
    while !cx.done {
        match reader.fetch(cx.pc, cx.thumb) {
            Ok((word, len)) => cx.step(word, len),
            Err(fault) if count == 0 => return Err(fault),
            // The instruction that cannot be fetched faults when execution reaches it, not before.
            Err(_) => conditional::finish(&mut cx),
        }
        count += 1;
        if count >= limits.max_insns && !cx.done {
            conditional::finish(&mut cx);
        }
    }
    // The look at what follows takes it for unconditional, which the rest of an IT block is not.
    let ends_in_it_block = cx.mode.it != 0;
    cx.b.finish();
    if !limits.precise && !ends_in_it_block {
        live::narrow_exits(region, code);
    }
    Ok(())
}
