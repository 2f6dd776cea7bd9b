//! Signal frames, exactly as the kernel builds them (arch/arm/kernel/signal.c).

use super::set;
use crate::convert::Model;
use crate::convert::record::{Record, record};
use crate::errno::{EINVAL, Errno};
use crate::signal::frame::Delivery;
use crate::signal::{AltStack, SigSet, sa};
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_arm::state::{self as a32, LR, SP, cpsr_bits, r};
use isamorph_ir::CpuState;

record! {
    /// `struct ucontext` up to the signal set.
    Ucontext { flags: u32, link: u32, stack: AltStack, context: Context, mask: [u32; 2], }
    /// `struct sigcontext`; `r` has the sixteen registers.
    Context { trap: u32, error: u32, oldmask: u32, r: [u32; 16], cpsr: u32, fault_address: u32, }
    /// `struct user_vfp`.
    UserVfp { d: [u64; 32], fpscr: u32, }
    /// `struct vfp_sigframe`; the last three words are `struct user_vfp_exc`.
    Vfp { magic: u32, size: u32, user: UserVfp, fpexc: u32, fpinst: u32, fpinst2: u32, }
}

/// `VFP_MAGIC`.
const VFP_MAGIC: u32 = 0x5646_5001;
/// FPEXC.EN: the floating-point unit is on.
const FPEXC_ENABLED: u32 = 1 << 30;
/// What the flags of a frame without siginfo say: it has the same form as one with it, apart from that.
const OLD_FLAGS: u32 = 0x5ac3_c35a;

/// Offset of `uc_regspace` in `struct ucontext`: the list of coprocessor states.
const REGSPACE: u64 = 232;
/// Offset of `retcode` in `struct sigframe`, after the list's room of 128 words.
const RETCODE: u64 = REGSPACE + 512;
/// Size of `struct sigframe`.
const SIZE: u64 = RETCODE + 16;
/// Size of the siginfo before it in `struct rt_sigframe`.
const INFO: u64 = 128;

/// Smallest stack that a frame and its handler fit on, as `AT_MINSIGSTKSZ` tells it.
pub const MIN_STACK: u64 = 2048;

/// Return code for handlers without a restorer, as it is in the frame for debuggers to recognise: in either instruction
/// set, without and with siginfo.
const RETURN_CODE: [[u32; 2]; 4] = [
    [0xe3a0_7077, 0xef00_0000], // mov r7, #119; svc #0
    [0xdf00_2777, 0],           // the same in T32
    [0xe3a0_70ad, 0xef00_0000], // mov r7, #173; svc #0
    [0xdf00_27ad, 0],           // the same in T32
];

/// The same in a page of their own: the stack need not be executable.
pub const TRAMPOLINES: &[u8] = &{
    let mut page = [0; 32];
    let mut i = 0;
    while i < page.len() {
        page[i] = RETURN_CODE[i / 8][i / 4 % 2].to_le_bytes()[i % 4];
        i += 1;
    }
    page
};

/// The bits of CPSR that choose how instructions are read: IT, E, T.
const EXECUTION: u32 = 0x0600_fc00 | cpsr_bits::E | cpsr_bits::T;

fn context(state: &CpuState, d: &Delivery) -> Context {
    Context {
        trap: d.fault.number,
        error: d.fault.error,
        oldmask: d.mask.0 as u32,
        r: std::array::from_fn(|i| a32::read(state, i as u32)),
        cpsr: a32::cpsr(state),
        fault_address: d.fault.addr as u32,
    }
}

fn vfp(state: &CpuState) -> Vfp {
    Vfp {
        magic: VFP_MAGIC,
        size: Vfp::size(Model::ARM) as u32,
        user: UserVfp { d: std::array::from_fn(|i| a32::read_d(state, i as u32)), fpscr: a32::fpscr(state) },
        fpexc: FPEXC_ENABLED,
        fpinst: 0,
        fpinst2: 0,
    }
}

/// Builds the frame and enters the handler.
pub fn push(cx: &mut Cx, d: &Delivery) -> Result<(), Errno> {
    cx.vcpu.sync_fpu();
    let rt = d.wants_info();
    let size = if rt { INFO + SIZE } else { SIZE };
    let at = d.sp.wrapping_sub(size) & 0xffff_fff8;
    let uc_at = if rt { at + INFO } else { at };
    let uc = Ucontext {
        flags: if rt { 0 } else { OLD_FLAGS },
        link: 0,
        stack: if rt { d.alt } else { AltStack::default() },
        context: context(cx.state(), d),
        mask: [d.mask.0 as u32, (d.mask.0 >> 32) as u32],
    };
    cx.write(uc_at, &uc)?;
    cx.write(uc_at + REGSPACE, &vfp(cx.state()))?;
    cx.write(uc_at + REGSPACE + Vfp::size(Model::ARM) as u64, &0u32)?;

    let handler = d.action.handler.0;
    let thumb = handler & 1 != 0;
    let kind = usize::from(thumb) + if rt { 2 } else { 0 };
    cx.write(uc_at + RETCODE, &RETURN_CODE[kind])?;
    if rt {
        cx.write_bytes(at, &d.info.encode(cx.model()))?;
    }
    let own = d.trampoline + 8 * kind as u64 + u64::from(thumb);
    let back = if d.action.has(sa::RESTORER) { d.action.restorer.0 } else { own };

    let state = cx.state_mut();
    let cpsr = a32::cpsr(state) & !EXECUTION | if thumb { cpsr_bits::T } else { 0 };
    for (reg, value) in [(r(0), d.info.signo as u64), (SP, at), (LR, back)] {
        set(state, reg, value);
    }
    if rt {
        set(state, r(1), at);
        set(state, r(2), uc_at);
    }
    a32::set_cpsr(state, cpsr);
    state.set_pc(handler & if thumb { 0xffff_ffff } else { 0xffff_fffc });
    Ok(())
}

/// Takes a frame down again.
pub fn pop(cx: &mut Cx, rt: bool) -> SysResult {
    let at = cx.stack_pointer();
    if !at.is_multiple_of(8) {
        return Err(EINVAL);
    }
    let uc_at = if rt { at + INFO } else { at };
    let uc: Ucontext = cx.read(uc_at)?;
    let vfp: Vfp = cx.read(uc_at + REGSPACE)?;
    if vfp.magic != VFP_MAGIC || vfp.size as usize != Vfp::size(Model::ARM) {
        return Err(EINVAL);
    }
    cx.vcpu.sync_fpu();
    let state = cx.state_mut();
    restore(state, &uc.context, &vfp);
    let mask = SigSet(u64::from(uc.mask[0]) | u64::from(uc.mask[1]) << 32);
    cx.restore_signals(mask, rt.then_some(uc.stack));
    Ok(uc.context.r[0].into())
}

fn restore(state: &mut CpuState, c: &Context, vfp: &Vfp) {
    for (number, value) in (0..).zip(c.r) {
        a32::write(state, number, value);
    }
    // Bit 0 of the program counter follows from CPSR.T.
    a32::set_cpsr(state, c.cpsr);
    for (number, value) in (0..).zip(vfp.user.d) {
        a32::write_d(state, number, value);
    }
    a32::set_fpscr(state, vfp.user.fpscr);
    a32::clear_exclusive(state);
}

#[cfg(test)]
mod tests {
    use super::super::get;
    use super::*;

    const M: Model = Model::ARM;

    /// Writes a structure with one field set and returns where the field is.
    fn offset<T: Record + Default>(set: impl Fn(&mut T)) -> usize {
        let (mut value, mut bytes) = (T::default(), vec![0; 1024]);
        set(&mut value);
        value.encode(M, &mut bytes);
        bytes.iter().position(|b| *b != 0).unwrap()
    }

    #[test]
    fn the_layouts_are_the_kernels() {
        assert_eq!(Context::size(M), 84);
        assert_eq!(offset::<Context>(|c| c.r[15] = 1), 72);
        assert_eq!(offset::<Ucontext>(|u| u.context.trap = 1), 20);
        assert_eq!(offset::<Ucontext>(|u| u.mask[0] = 1), 104);
        assert_eq!(REGSPACE, 104 + 128);
        assert_eq!(Vfp::size(M), 288);
        assert_eq!(offset::<Vfp>(|v| v.user.fpscr = 1), 264);
        assert_eq!((SIZE, INFO + SIZE), (760, 888));
    }

    #[test]
    fn registers_round_trip() {
        let mut state = CpuState::new();
        a32::reset_user(&mut state);
        let mut c = Context { cpsr: 0x6000_0030, ..Context::default() };
        (c.r[0], c.r[13], c.r[15]) = (1, 2, 0x1234);
        let mut f = vfp(&state);
        (f.user.d[31], f.user.fpscr) = (5, 0x0100_0000);
        restore(&mut state, &c, &f);
        assert_eq!(state.pc(), 0x1235, "Thumb state");
        assert_eq!((get(&state, SP), a32::cpsr(&state)), (2, 0x6000_0030));
        assert_eq!(vfp(&state), f);
    }

    #[test]
    fn trampolines_are_in_order() {
        assert_eq!(TRAMPOLINES[..4], 0xe3a0_7077u32.to_le_bytes());
        assert_eq!(TRAMPOLINES[24..28], 0xdf00_27adu32.to_le_bytes());
    }
}
