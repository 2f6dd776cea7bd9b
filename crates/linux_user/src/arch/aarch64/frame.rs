//! Signal frames, exactly as the kernel builds them (arch/arm64/kernel/signal.c).

use super::{get, set};
use crate::convert::record::{Model, Record, record};
use crate::errno::{EINVAL, Errno};
use crate::signal::frame::Delivery;
use crate::signal::{AltStack, SigSet, sa};
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_a64::state::{self as a64, LR, PSTATE, SP, v, x};
use isamorph_ir::CpuState;

record! {
    /// `struct ucontext` up to the registers; `unused` is room for a larger signal set.
    Ucontext {
        flags: u64, link: u64, stack: AltStack, mask: u64, unused: [[u64; 5]; 3], pad: u64, registers: Registers,
    }
    /// `struct sigcontext` up to its list of records, which is aligned to 16 bytes.
    Registers { fault_address: u64, x: [u64; 31], sp: u64, pc: u64, pstate: u64, pad: u64, }
    /// `struct _aarch64_ctx`: the head of a record.
    Head { magic: u32, size: u32, }
    /// `struct fpsimd_context`.
    Vectors { head: Head, fpsr: u32, fpcr: u32, low_high: [[u64; 2]; 32], }
    /// `struct esr_context`.
    Syndrome { head: Head, esr: u64, }
}

/// Magic numbers of the records (arch/arm64/include/uapi/asm/sigcontext.h).
const FPSIMD_MAGIC: u32 = 0x4650_8001;
const ESR_MAGIC: u32 = 0x4553_5201;

/// Offset of `uc` in `struct rt_sigframe`, after the siginfo.
const UC: u64 = 128;
/// Offset of the list of records in the frame.
const RECORDS: u64 = UC + 176 + 288;
/// Size of the list of records.
const RECORDS_LEN: u64 = 4096;
/// Size of `struct rt_sigframe`.
const SIZE: u64 = RECORDS + RECORDS_LEN;
/// Size of the frame record above it: a frame pointer and a return address, for unwinding through the handler.
const FRAME_RECORD: u64 = 16;

/// Smallest stack that a frame and its handler fit on, as `AT_MINSIGSTKSZ` tells it.
pub const MIN_STACK: u64 = (SIZE + FRAME_RECORD + 16).next_multiple_of(16);

/// `nop; mov x8, #139; svc #0`: the return of a handler that has no restorer. Unwinders look at the instruction before
/// a return address, so that there has to be one.
pub const TRAMPOLINE: &[u8] = &[0x1f, 0x20, 0x03, 0xd5, 0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];
/// Where the trampoline is entered.
const TRAMPOLINE_ENTRY: u64 = 4;

/// The condition flags in PSTATE.
const NZCV: u64 = 0xf000_0000;

fn registers(state: &CpuState, d: &Delivery) -> Registers {
    Registers {
        fault_address: d.fault.addr,
        x: std::array::from_fn(|i| get(state, x(i as u32))),
        sp: get(state, SP),
        pc: state.pc(),
        pstate: u64::from(a64::nzcv(state)) | get(state, PSTATE),
        pad: 0,
    }
}

fn vectors(state: &CpuState) -> Vectors {
    let halves = |bits: u128| [bits as u64, (bits >> 64) as u64];
    Vectors {
        head: Head { magic: FPSIMD_MAGIC, size: Vectors::size(Model::LP64) as u32 },
        fpsr: a64::fpsr(state),
        fpcr: a64::fpcr(state),
        low_high: std::array::from_fn(|i| halves(state.get_wide(&a64::A64, v(i as u32)))),
    }
}

/// Builds the frame and enters the handler.
pub fn push(cx: &mut Cx, d: &Delivery) -> Result<(), Errno> {
    cx.vcpu.sync_fpu();
    let record = d.sp.wrapping_sub(FRAME_RECORD) & !15;
    let at = record.wrapping_sub(SIZE);
    let state = cx.state();
    cx.write(record, &[get(state, x(29)), get(state, LR)])?;
    let uc = Ucontext { stack: d.alt, mask: d.mask.0, registers: registers(state, d), ..Ucontext::default() };
    cx.write(at + UC, &uc)?;
    cx.write(at + RECORDS, &vectors(state))?;
    let mut end = at + RECORDS + Vectors::size(Model::LP64) as u64;
    if d.fault.error != 0 {
        let head = Head { magic: ESR_MAGIC, size: Syndrome::size(Model::LP64) as u32 };
        cx.write(end, &Syndrome { head, esr: d.fault.error.into() })?;
        end += Syndrome::size(Model::LP64) as u64;
    }
    cx.write(end, &Head::default())?;
    if d.wants_info() {
        cx.write_bytes(at, &d.info.encode(cx.model()))?;
    }

    let back = if d.action.has(sa::RESTORER) { d.action.restorer.0 } else { d.trampoline + TRAMPOLINE_ENTRY };
    let state = cx.state_mut();
    for (reg, value) in [(x(0), d.info.signo as u64), (SP, at), (x(29), record), (LR, back)] {
        set(state, reg, value);
    }
    if d.wants_info() {
        set(state, x(1), at);
        set(state, x(2), at + UC);
    }
    state.set_pc(d.action.handler.0);
    Ok(())
}

/// The record of the vector registers in a frame's list.
fn find_vectors(cx: &Cx, list: u64) -> Result<Vectors, Errno> {
    let mut offset = 0;
    while offset < RECORDS_LEN {
        let head: Head = cx.read(list + offset)?;
        match head.magic {
            FPSIMD_MAGIC if head.size as usize == Vectors::size(Model::LP64) => return cx.read(list + offset),
            // Of records of other kinds only the size matters.
            _ if head.magic == 0 || head.size < 16 || !head.size.is_multiple_of(16) => break,
            _ => offset += u64::from(head.size),
        }
    }
    Err(EINVAL)
}

/// Takes a frame down again.
pub fn pop(cx: &mut Cx) -> SysResult {
    let at = cx.stack_pointer();
    if !at.is_multiple_of(16) {
        return Err(EINVAL);
    }
    let uc: Ucontext = cx.read(at.wrapping_add(UC))?;
    let vectors = find_vectors(cx, at.wrapping_add(RECORDS))?;
    cx.vcpu.sync_fpu();
    let state = cx.state_mut();
    restore(state, &uc.registers, &vectors);
    cx.restore_signals(SigSet(uc.mask), Some(uc.stack));
    Ok(uc.registers.x[0])
}

fn restore(state: &mut CpuState, r: &Registers, vectors: &Vectors) {
    for (number, value) in (0..).zip(r.x) {
        set(state, x(number), value);
    }
    for (number, [low, high]) in (0..).zip(vectors.low_high) {
        state.set_wide(&a64::A64, v(number), u128::from(low) | u128::from(high) << 64);
    }
    a64::set_fpcr(state, vectors.fpcr);
    a64::set_fpsr(state, vectors.fpsr);
    a64::set_nzcv(state, (r.pstate & NZCV) as u32);
    let kept = u64::from(a64::pstate_bit::DIT | a64::pstate_bit::SSBS);
    set(state, PSTATE, r.pstate & kept);
    set(state, a64::EXCLUSIVE, a64::NOT_EXCLUSIVE);
    set(state, SP, r.sp);
    state.set_pc(r.pc);
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: Model = Model::LP64;

    /// Writes a structure with one field set and returns where the field is.
    fn offset<T: Record + Default>(set: impl Fn(&mut T)) -> usize {
        let (mut value, mut bytes) = (T::default(), vec![0; 1024]);
        set(&mut value);
        value.encode(M, &mut bytes);
        bytes.iter().position(|b| *b != 0).unwrap()
    }

    /// Sizes and offsets that a C compiler for AArch64 computes from the kernel's headers.
    #[test]
    fn the_layouts_are_the_kernels() {
        assert_eq!(offset::<Ucontext>(|u| u.mask = 1), 40);
        assert_eq!(offset::<Ucontext>(|u| u.registers.fault_address = 1), 176);
        assert_eq!(offset::<Registers>(|r| r.x[0] = 1), 8);
        assert_eq!(offset::<Registers>(|r| r.sp = 1), 256);
        assert_eq!(offset::<Registers>(|r| r.pstate = 1), 272);
        assert_eq!(Registers::size(M), 288);
        assert_eq!(Vectors::size(M), 0x210);
        assert_eq!(offset::<Vectors>(|v| v.low_high[0][0] = 1), 16);
        assert_eq!(SIZE, 4688);
    }

    #[test]
    fn registers_round_trip() {
        let mut state = CpuState::new();
        a64::reset_user(&mut state);
        let mut r = Registers { sp: 1, pc: 2, pstate: 0x6000_0000, ..Registers::default() };
        r.x[30] = 3;
        let mut f = vectors(&state);
        f.low_high[31] = [4, 5];
        f.fpcr = a64::fpcr_bit::FZ;
        restore(&mut state, &r, &f);
        assert_eq!((state.pc(), get(&state, SP), get(&state, LR)), (2, 1, 3));
        assert_eq!(a64::nzcv(&state), 0x6000_0000);
        let d = Delivery {
            info: crate::signal::info::SigInfo::kernel(1),
            action: Default::default(),
            mask: SigSet::EMPTY,
            alt: AltStack::default(),
            sp: 0,
            fault: Default::default(),
            trampoline: 0,
        };
        assert_eq!(registers(&state, &d), r);
        assert_eq!(vectors(&state), f);
    }

    #[test]
    fn the_trampoline_calls_rt_sigreturn() {
        let word = u32::from_le_bytes([TRAMPOLINE[4], TRAMPOLINE[5], TRAMPOLINE[6], TRAMPOLINE[7]]);
        assert_eq!((word >> 5 & 0xffff, word & 31), (139, 8));
    }
}
