//! Signal frames, exactly as the kernel builds them for 64-bit programs: handlers, unwinders, debuggers and garbage
//! collectors read and write them.

use super::{get, set};
use crate::arch::x86_fpu;
use crate::convert::Record;
use crate::convert::record::record;
use crate::errno::{EFAULT, Errno};
use crate::signal::frame::Delivery;
use crate::signal::{AltStack, SigSet, sa};
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_ir::{CpuState, RegId};
use isamorph_x86::state::{
    self as x86, CS, EAX, EDI, EDX, ESI, ESP, FS, GS, SS, eflag, eflags, gpr, selector, set_eflags,
};

record! {
    /// `struct sigcontext_64`.
    Context {
        r8: u64, r9: u64, r10: u64, r11: u64, r12: u64, r13: u64, r14: u64, r15: u64, rdi: u64, rsi: u64, rbp: u64,
        rbx: u64, rdx: u64, rax: u64, rcx: u64, rsp: u64, rip: u64, eflags: u64, cs: u16, gs: u16, fs: u16, ss: u16,
        err: u64, trapno: u64, oldmask: u64, cr2: u64, fpstate: u64, reserved: [u64; 8],
    }
    /// `struct ucontext`.
    Ucontext { flags: u64, link: u64, stack: AltStack, context: Context, mask: u64, }
    /// `struct rt_sigframe`.
    RtFrame { ret: u64, uc: Ucontext, info: [[u8; 32]; 4], }
    /// `struct _fpx_sw_bytes`: what the kernel says about the floating-point state, in bytes of the FXSAVE image that
    /// the processor leaves alone.
    SoftwareBytes { magic: u32, extended_size: u32, features: u64, size: u32, padding: [u32; 7], }
}

/// `UC_FP_XSTATE`, `UC_SIGCONTEXT_SS` and `UC_STRICT_RESTORE_SS`.
const UC_FLAGS: u64 = 7;

/// Bytes below the stack pointer that a function may use (System V ABI, 3.2.2).
const RED_ZONE: u64 = 128;

/// Where the software bytes are in the FXSAVE image (SDM vol. 1, 10.5.1).
const SOFTWARE_BYTES: usize = 464;
/// Size of the XSAVE area of x87 and SSE: the FXSAVE image and a header (SDM vol. 1, 13.4).
const XSAVE_BYTES: usize = x86::FXSAVE_BYTES + 64;
/// State components in it: x87 and SSE.
const FEATURES: u64 = 3;
/// `FP_XSTATE_MAGIC1`, and `FP_XSTATE_MAGIC2` behind the area.
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// Size with the second magic number.
const FPU_BYTES: usize = XSAVE_BYTES + 4;

/// Room that the smallest stack of a handler must have, as `AT_MINSIGSTKSZ` tells it.
pub const MIN_STACK: u64 = 2048;

/// Flags that a handler's frame gives back to the program (`FIX_EFLAGS` of the kernel).
const RESTORED_FLAGS: u32 = eflag::AC | eflag::DF | eflag::TF | eflag::RF | 0x8d5;

/// Pairs of frame field and register number.
macro_rules! with_registers {
    ($do:ident) => {
        $do!(
            r8 8, r9 9, r10 10, r11 11, r12 12, r13 13, r14 14, r15 15, rdi 7, rsi 6, rbp 5, rbx 3, rdx 2, rax 0,
            rcx 1, rsp 4
        )
    };
}

fn context(state: &CpuState, d: &Delivery, fpstate: u64) -> Context {
    let selector = |r: RegId| get(state, r) as u16;
    macro_rules! fill {
        ($($field:ident $number:literal),*) => {
            Context {
                $($field: get(state, gpr($number)),)*
                rip: state.pc(),
                eflags: eflags(state).into(),
                cs: selector(CS),
                gs: selector(GS),
                fs: selector(FS),
                ss: selector(SS),
                err: d.fault.error.into(),
                trapno: d.fault.number.into(),
                oldmask: d.mask.0,
                cr2: d.fault.addr,
                fpstate,
                reserved: [0; 8],
            }
        };
    }
    with_registers!(fill)
}

/// Builds the frame and enters the handler. A handler needs a restorer: the kernel has none for 64-bit programs.
pub fn push(cx: &mut Cx, d: &Delivery) -> Result<(), Errno> {
    if !d.action.has(sa::RESTORER) {
        return Err(EFAULT);
    }
    cx.vcpu.sync_fpu();
    // On a fresh stack nothing is below the stack pointer.
    let top = if d.sp == cx.stack_pointer() { d.sp.wrapping_sub(RED_ZONE) } else { d.sp };
    let fpstate = top.wrapping_sub(FPU_BYTES as u64) & !63;
    cx.write_bytes(fpstate, &fpu_area(&x86::saved_image(cx.state())))?;
    // The handler finds the stack aligned as after a call.
    let at = (fpstate.wrapping_sub(RtFrame::size(cx.model()) as u64) & !15).wrapping_sub(8);
    let uc =
        Ucontext { flags: UC_FLAGS, link: 0, stack: d.alt, context: context(cx.state(), d, fpstate), mask: d.mask.0 };
    let info = d.info.encode(cx.model()).as_chunks::<32>().0.try_into().unwrap_or_default();
    cx.write(at, &RtFrame { ret: d.action.restorer.0, uc, info })?;

    let state = cx.state_mut();
    x86_fpu::initialise(x86::fxsave_image_mut(state));
    let uc_at = at + 8;
    let info_at = uc_at + Ucontext::size(crate::convert::Model::LP64) as u64;
    for (reg, value) in [(ESP, at), (EAX, 0), (EDI, d.info.signo as u64), (ESI, info_at), (EDX, uc_at)] {
        set(state, reg, value);
    }
    set(state, CS, selector::USER64_CS.into());
    set(state, SS, selector::USER_DS.into());
    let flags = eflags(state) & !(eflag::DF | eflag::RF | eflag::TF);
    set_eflags(state, flags);
    state.set_pc(d.action.handler.0);
    Ok(())
}

/// The XSAVE area of a frame.
fn fpu_area(image: &[u8]) -> [u8; FPU_BYTES] {
    let mut area = [0; FPU_BYTES];
    area[..x86::FXSAVE_BYTES].copy_from_slice(image);
    let software = SoftwareBytes {
        magic: MAGIC1,
        extended_size: FPU_BYTES as u32,
        features: FEATURES,
        size: XSAVE_BYTES as u32,
        padding: [0; 7],
    };
    software.encode(crate::convert::Model::LP64, &mut area[SOFTWARE_BYTES..]);
    area[x86::FXSAVE_BYTES..][..8].copy_from_slice(&FEATURES.to_le_bytes());
    area[XSAVE_BYTES..].copy_from_slice(&MAGIC2.to_le_bytes());
    area
}

/// Takes a frame down again; the handler's return has popped its first word.
pub fn pop(cx: &mut Cx) -> SysResult {
    let uc: Ucontext = cx.read(cx.stack_pointer())?;
    let c = uc.context;
    let mut image = [0; x86::FXSAVE_BYTES];
    if c.fpstate != 0 {
        cx.read_bytes(c.fpstate, &mut image)?;
        // Reserved bits would fault when the register is loaded.
        x86_fpu::sanitise(&mut image);
    } else {
        x86_fpu::initialise(&mut image);
    }
    cx.vcpu.sync_fpu();
    let state = cx.state_mut();
    x86::fxsave_image_mut(state).copy_from_slice(&image);
    restore(state, &c);
    cx.restore_signals(SigSet(uc.mask), Some(uc.stack));
    Ok(c.rax)
}

fn restore(state: &mut CpuState, c: &Context) {
    macro_rules! fill {
        ($($field:ident $number:literal),*) => { $(set(state, gpr($number), c.$field);)* };
    }
    with_registers!(fill);
    set(state, CS, u64::from(c.cs | 3));
    set(state, SS, u64::from(c.ss | 3));
    let kept = eflags(state) & !RESTORED_FLAGS;
    set_eflags(state, kept | c.eflags as u32 & RESTORED_FLAGS);
    state.set_pc(c.rip);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::convert::Model;

    const M: Model = Model::LP64;

    #[test]
    fn the_layouts_are_the_kernels() {
        assert_eq!(Context::size(M), 256);
        assert_eq!(Ucontext::size(M) - 8, std::mem::offset_of!(libc::ucontext_t, uc_sigmask));
        assert_eq!(RtFrame::size(M), 8 + 304 + 128);
        assert_eq!(SoftwareBytes::size(M), 48);
        assert_eq!(SOFTWARE_BYTES + SoftwareBytes::size(M), x86::FXSAVE_BYTES);
    }

    #[test]
    fn registers_are_in_the_order_of_the_c_library() {
        let c = Context { rip: 0x11, rsp: 0x22, rax: 0x33, cr2: 0x44, ..Context::default() };
        let mut words = [0; 256];
        c.encode(M, &mut words);
        let word = |index: i32| u64::decode(M, &words[index as usize * 8..]);
        assert_eq!([libc::REG_RIP, libc::REG_RSP, libc::REG_RAX, libc::REG_CR2].map(word), [0x11, 0x22, 0x33, 0x44]);
    }

    #[test]
    fn the_floating_point_state_says_what_it_is() {
        let area = fpu_area(&[0xaa; x86::FXSAVE_BYTES]);
        let software = SoftwareBytes::decode(M, &area[SOFTWARE_BYTES..]);
        assert_eq!((software.magic, software.size, software.features), (MAGIC1, 576, 3));
        assert_eq!(u32::decode(M, &area[software.size as usize..]), MAGIC2);
        assert_eq!(area[0], 0xaa);
    }

    #[test]
    fn hostile_frames_are_made_safe() {
        let mut image = [0xff; x86::FXSAVE_BYTES];
        x86_fpu::sanitise(&mut image);
        assert_eq!(u32::decode(M, &image[x86_fpu::MXCSR]), x86::MXCSR_MASK);
        let mut state = super::super::X86_64.start(0, 0);
        restore(&mut state, &Context { eflags: u64::MAX, rip: 5, r15: 6, ..Context::default() });
        assert_eq!((state.pc(), get(&state, gpr(15))), (5, 6));
        assert_eq!(eflags(&state), RESTORED_FLAGS | eflag::IF | eflag::FIXED);
    }
}
