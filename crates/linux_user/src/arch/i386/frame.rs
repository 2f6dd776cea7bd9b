//! Signal frames, exactly as the kernel builds them for 32-bit programs: handlers, unwinders, debuggers and garbage
//! collectors read and write them.

use super::{get, set, tls};
use crate::arch::x86_fpu;
use crate::convert::record::record;
use crate::errno::{EFAULT, Errno};
use crate::signal::frame::Delivery;
use crate::signal::{AltStack, SigSet, sa};
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_ir::{CpuState, RegId};
use isamorph_x86::state::{
    self as x86, CS, DS, EAX, EBP, EBX, ECX, EDI, EDX, ES, ESI, ESP, FS, GS, SS, eflag, eflags, selector, set_eflags,
};

record! {
    /// `struct sigcontext_32`.
    Context {
        gs: u32, fs: u32, es: u32, ds: u32, edi: u32, esi: u32, ebp: u32, esp: u32, ebx: u32, edx: u32, ecx: u32,
        eax: u32, trapno: u32, err: u32, eip: u32, cs: u32, eflags: u32, esp_at_signal: u32, ss: u32, fpstate: u32,
        oldmask: u32, cr2: u32,
    }
    /// `struct sigframe_ia32` without the unused floating-point state inside it, see [`OLD_EXTRAMASK`].
    OldFrame { ret: u32, sig: i32, context: Context, }
    /// `struct ucontext_ia32`.
    Ucontext { flags: u32, link: u32, stack: AltStack, context: Context, mask: [u32; 2], }
    /// `struct rt_sigframe_ia32`.
    RtFrame { ret: u32, sig: i32, pinfo: u32, puc: u32, info: [[u8; 32]; 4], uc: Ucontext, code: [u8; 8], }
    /// The header of `struct _fpstate_32`: an `fsave` image, a status and the magic number of what follows.
    FpuHeader {
        cw: u32, sw: u32, tag: u32, ip: u32, cs: u32, dp: u32, ds: u32, st: [[u8; 10]; 8], status: u16, magic: u16,
    }
}

/// Offset of `extramask` in `struct sigframe_ia32`, after an unused `_fpstate_32`.
const OLD_EXTRAMASK: u64 = 720;
/// Offset of `retcode`.
const OLD_RETCODE: u64 = 724;
/// Size of `struct sigframe_ia32`.
const OLD_SIZE: u64 = 732;
/// Offset of `info` in `struct rt_sigframe_ia32`.
const RT_INFO: u64 = 16;
/// Offset of `uc`.
const RT_UC: u64 = 144;
/// Size of `struct rt_sigframe_ia32`.
const RT_SIZE: u64 = 268;

/// Smallest stack that a frame and its handler fit on, as `AT_MINSIGSTKSZ` tells it.
pub const MIN_STACK: u64 = 2048;

/// Size of the header of the floating-point state.
const FPU_HEADER: u64 = 112;
/// What 16-bit control fields have in their upper halves in an `fsave` image.
const HIGH: u32 = 0xffff_0000;

/// `popl %eax; movl $119, %eax; int $0x80`: what a frame without a restorer holds for debuggers to recognise.
const OLD_CODE: [u8; 8] = [0x58, 0xb8, 119, 0, 0, 0, 0xcd, 0x80];
/// `movl $173, %eax; int $0x80`.
const RT_CODE: [u8; 8] = [0xb8, 173, 0, 0, 0, 0xcd, 0x80, 0];

/// The same two, for a page of their own: the stack need not be executable.
pub const TRAMPOLINES: &[u8] = &{
    let mut page = [0; 16];
    let mut i = 0;
    while i < 8 {
        page[i] = OLD_CODE[i];
        page[i + 8] = RT_CODE[i];
        i += 1;
    }
    page
};

/// Flags that a handler's frame gives back to the program (`FIX_EFLAGS` of the kernel).
const RESTORED_FLAGS: u32 = eflag::AC | eflag::DF | eflag::TF | eflag::RF | 0x8d5;

/// Pairs of frame field and register.
macro_rules! with_registers {
    ($do:ident $($arg:tt)*) => {
        $do!($($arg)* edi EDI, esi ESI, ebp EBP, esp ESP, ebx EBX, edx EDX, ecx ECX, eax EAX)
    };
}

fn context(cx: &Cx, d: &Delivery, fpstate: u64) -> Context {
    let state = cx.state();
    let reg = |r: RegId| get(state, r) as u32;
    macro_rules! fill {
        ($($field:ident $reg:ident),*) => {
            Context {
                $($field: reg($reg),)*
                gs: reg(GS), fs: reg(FS), es: reg(ES), ds: reg(DS), cs: reg(CS), ss: reg(SS),
                trapno: d.fault.number,
                err: d.fault.error,
                cr2: d.fault.addr as u32,
                eip: state.pc() as u32,
                eflags: eflags(state),
                esp_at_signal: reg(ESP),
                fpstate: fpstate as u32,
                oldmask: d.mask.0 as u32,
            }
        };
    }
    with_registers!(fill)
}

/// Room for a frame of `size` bytes below `sp`, so that the handler finds the stack aligned as after a call.
fn frame_addr(sp: u64, size: u64) -> u64 {
    (sp.wrapping_sub(size).wrapping_add(4) & !15).wrapping_sub(4) & 0xffff_ffff
}

/// Builds the frame and enters the handler.
pub fn push(cx: &mut Cx, d: &Delivery) -> Result<(), Errno> {
    cx.vcpu.sync_fpu();
    let image = (d.sp.wrapping_sub(x86::FXSAVE_BYTES as u64) & !63) & 0xffff_ffff;
    let fpstate = image.wrapping_sub(FPU_HEADER) & 0xffff_ffff;
    cx.write_bytes(image, &x86::saved_image(cx.state()))?;
    cx.write(fpstate, &fpu_header(&x86::saved_image(cx.state())))?;
    let context = context(cx, d, fpstate);
    let (frame, info, uc) =
        if d.wants_info() { push_rt(cx, d, context, fpstate)? } else { push_old(cx, d, context, fpstate)? };
    let state = cx.state_mut();
    x86_fpu::initialise(x86::fxsave_image_mut(state));
    for (reg, value) in [(ESP, frame), (EAX, d.info.signo as u64), (EDX, info), (ECX, uc)] {
        set(state, reg, value);
    }
    for reg in [DS, ES, SS] {
        set(state, reg, selector::USER_DS.into());
    }
    set(state, CS, selector::USER32_CS.into());
    let flags = eflags(state) & !(eflag::DF | eflag::RF | eflag::TF);
    set_eflags(state, flags);
    state.set_pc(d.action.handler.0 & 0xffff_ffff);
    Ok(())
}

fn push_old(cx: &Cx, d: &Delivery, context: Context, sp: u64) -> Result<(u64, u64, u64), Errno> {
    let at = frame_addr(sp, OLD_SIZE);
    let ret = if d.action.has(sa::RESTORER) { d.action.restorer.0 } else { d.trampoline };
    // The unused floating-point state between is left as it is, as the kernel does.
    cx.write(at, &OldFrame { ret: ret as u32, sig: d.info.signo, context })?;
    cx.write(at + OLD_EXTRAMASK, &((d.mask.0 >> 32) as u32))?;
    cx.write_bytes(at + OLD_RETCODE, &OLD_CODE)?;
    Ok((at, 0, 0))
}

fn push_rt(cx: &Cx, d: &Delivery, context: Context, sp: u64) -> Result<(u64, u64, u64), Errno> {
    let at = frame_addr(sp, RT_SIZE);
    let ret = if d.action.has(sa::RESTORER) { d.action.restorer.0 } else { d.trampoline + 8 };
    let frame = RtFrame {
        ret: ret as u32,
        sig: d.info.signo,
        pinfo: (at + RT_INFO) as u32,
        puc: (at + RT_UC) as u32,
        info: d.info.encode(cx.model()).as_chunks::<32>().0.try_into().unwrap_or_default(),
        uc: Ucontext { flags: 0, link: 0, stack: d.alt, context, mask: [d.mask.0 as u32, (d.mask.0 >> 32) as u32] },
        code: RT_CODE,
    };
    cx.write(at, &frame)?;
    Ok((at, at + RT_INFO, at + RT_UC))
}

/// Takes a frame down again. The trampoline of an old frame has popped the signal number, that of a new one has not.
pub fn pop(cx: &mut Cx, rt: bool) -> SysResult {
    let sp = cx.stack_pointer();
    let (context, mask, alt) = if rt {
        let uc: Ucontext = cx.read((sp.wrapping_sub(4) & 0xffff_ffff) + RT_UC)?;
        (uc.context, SigSet(u64::from(uc.mask[0]) | u64::from(uc.mask[1]) << 32), Some(uc.stack))
    } else {
        let at = sp.wrapping_sub(8) & 0xffff_ffff;
        let frame: OldFrame = cx.read(at)?;
        let extra: u32 = cx.read(at + OLD_EXTRAMASK)?;
        (frame.context, SigSet(u64::from(frame.context.oldmask) | u64::from(extra) << 32), None)
    };
    let fpu = read_fpu(cx, context.fpstate.into())?;
    cx.vcpu.sync_fpu();
    let state = cx.state_mut();
    restore(state, &context);
    if let Some((header, image)) = fpu {
        restore_fpu(x86::fxsave_image_mut(state), &header, &image);
    }
    cx.restore_signals(mask, alt);
    Ok(context.eax.into())
}

fn restore(state: &mut CpuState, c: &Context) {
    macro_rules! fill {
        ($($field:ident $reg:ident),*) => { $(set(state, $reg, c.$field.into());)* };
    }
    with_registers!(fill);
    for (reg, value) in [(ES, c.es), (DS, c.ds), (CS, c.cs | 3), (SS, c.ss | 3)] {
        set(state, reg, u64::from(value & 0xffff));
    }
    for (reg, base, value) in [(FS, x86::FS_BASE, c.fs), (GS, x86::GS_BASE, c.gs)] {
        let selector = value & 0xffff;
        set(state, reg, selector.into());
        set(state, base, tls::base(state, selector).into());
    }
    let kept = eflags(state) & !RESTORED_FLAGS;
    set_eflags(state, kept | c.eflags & RESTORED_FLAGS);
    state.set_pc(c.eip.into());
}

type FpuState = (FpuHeader, [u8; x86::FXSAVE_BYTES]);

/// The floating-point state of a frame. A null pointer leaves the registers as they are, which only a program that
/// writes its own frames does.
fn read_fpu(cx: &Cx, at: u64) -> Result<Option<FpuState>, Errno> {
    if at == 0 {
        return Ok(None);
    }
    let header: FpuHeader = cx.read(at)?;
    let mut image = [0; x86::FXSAVE_BYTES];
    cx.read_bytes(at.checked_add(FPU_HEADER).ok_or(EFAULT)?, &mut image)?;
    Ok(Some((header, image)))
}

fn half(image: &[u8], at: usize) -> u32 {
    u32::from(u16::from_le_bytes([image[at], image[at + 1]]))
}

fn word(image: &[u8], at: usize) -> u32 {
    half(image, at) | half(image, at + 2) << 16
}

/// The `fsave` form of an FXSAVE image (SDM vol. 1, 8.1.10 and 10.5.1).
fn fpu_header(image: &[u8]) -> FpuHeader {
    let (sw, top) = (half(image, 2), half(image, 2) >> 11 & 7);
    FpuHeader {
        cw: half(image, 0) | HIGH,
        sw: sw | HIGH,
        tag: full_tags(image, top) | HIGH,
        ip: word(image, 8),
        cs: half(image, 12) | half(image, 6) << 16,
        dp: word(image, 16),
        ds: half(image, 20) | HIGH,
        st: std::array::from_fn(|i| std::array::from_fn(|b| image[32 + 16 * i + b])),
        status: sw as u16,
        magic: 0,
    }
}

/// The two-bit tags of an `fsave` image from the one-bit tags of an FXSAVE image and the registers themselves
/// (SDM vol. 1, 8.1.7). Registers are stored in stack order, tags by number.
fn full_tags(image: &[u8], top: u32) -> u32 {
    (0..8u32).fold(0, |tags, reg| {
        let at = 32 + 16 * ((reg.wrapping_sub(top)) & 7) as usize;
        let (exponent, mantissa) = (half(image, at + 8) & 0x7fff, [word(image, at), word(image, at + 4)]);
        let tag = match (image[4] >> reg & 1, exponent, mantissa) {
            (0, ..) => 3,
            (_, 0, [0, 0]) => 1,
            (_, 0 | 0x7fff, _) => 2,
            (_, _, [_, high]) if high >> 31 == 0 => 2,
            _ => 0,
        };
        tags | tag << (2 * reg)
    })
}

/// Brings a frame's floating-point state into the image: x87 from the `fsave` part, which is what old programs know
/// and change, the rest from the FXSAVE part behind it. Reserved bits of MXCSR would fault when it is loaded.
fn restore_fpu(to: &mut [u8], header: &FpuHeader, from: &[u8; x86::FXSAVE_BYTES]) {
    to.copy_from_slice(from);
    x86_fpu::sanitise(to);
    let tags = (0..8).fold(0u8, |t, i| if header.tag >> (2 * i) & 3 == 3 { t } else { t | 1 << i });
    let mut put = |at: usize, value: u32, len: usize| to[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    put(0, header.cw, 2);
    put(2, header.sw, 2);
    put(4, tags.into(), 2);
    put(6, header.cs >> 16 & 0x7ff, 2);
    put(8, header.ip, 4);
    put(12, header.cs & 0xffff, 4);
    put(16, header.dp, 4);
    put(20, header.ds & 0xffff, 4);
    for (i, st) in header.st.iter().enumerate() {
        to[32 + 16 * i..42 + 16 * i].copy_from_slice(st);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::record::Ulong;
    use crate::convert::{Model, Record};

    const M: Model = Model::I386;

    /// Writes a structure with one field set and returns where the field is.
    fn offset<T: Record + Default>(set: impl Fn(&mut T)) -> usize {
        let (mut value, mut bytes) = (T::default(), vec![0; 1024]);
        set(&mut value);
        value.encode(M, &mut bytes);
        bytes.iter().position(|b| *b != 0).unwrap()
    }

    #[test]
    fn the_context_is_the_kernels() {
        assert_eq!(Context::size(M), 88);
        assert_eq!(offset::<Context>(|c| c.edi = 1), 16);
        assert_eq!(offset::<Context>(|c| c.eax = 1), 44);
        assert_eq!(offset::<Context>(|c| c.eip = 1), 56);
        assert_eq!(offset::<Context>(|c| c.eflags = 1), 64);
        assert_eq!(offset::<Context>(|c| c.fpstate = 1), 76);
        assert_eq!(offset::<Context>(|c| c.cr2 = 1), 84);
    }

    #[test]
    fn the_frames_are_the_kernels() {
        assert_eq!(OldFrame::size(M), 96);
        assert_eq!(OLD_EXTRAMASK, 96 + 112 + 512);
        assert_eq!(Ucontext::size(M), 116);
        assert_eq!(offset::<Ucontext>(|u| u.context.gs = 1), 20);
        assert_eq!(offset::<Ucontext>(|u| u.mask[0] = 1), 108);
        assert_eq!(RtFrame::size(M) as u64, RT_SIZE);
        assert_eq!(offset::<RtFrame>(|f| f.uc.flags = 1) as u64, RT_UC);
        assert_eq!(offset::<RtFrame>(|f| f.code[0] = 1), 260);
        assert_eq!(FpuHeader::size(M) as u64, FPU_HEADER);
        assert_eq!(offset::<FpuHeader>(|h| h.st[0][0] = 1), 28);
    }

    #[test]
    fn frames_are_aligned_as_after_a_call() {
        for sp in [0xffff_d000, 0xffff_d001, 0xffff_cff7] {
            let at = frame_addr(sp, RT_SIZE);
            assert_eq!((at + 4) % 16, 0);
            assert!(at + RT_SIZE <= sp);
        }
    }

    fn image() -> Vec<u8> {
        let mut i = vec![0u8; x86::FXSAVE_BYTES];
        i[0..2].copy_from_slice(&0x037fu16.to_le_bytes());
        i[2..4].copy_from_slice(&(6u16 << 11).to_le_bytes()); // top = 6: st0 is register 6, st1 register 7
        i[4] = 0xc0;
        i[32..42].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]); // 1.0
        i[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        i[160] = 0x5a;
        i
    }

    #[test]
    fn tags_follow_contents() {
        let header = fpu_header(&image());
        // register 6 valid, register 7 zero, the others empty
        assert_eq!(header.tag, HIGH | 0b01_00_11_11_11_11_11_11);
        assert_eq!(header.cw, HIGH | 0x37f);
    }

    #[test]
    fn the_floating_point_state_survives() {
        let before = image();
        let mut after = vec![0xffu8; x86::FXSAVE_BYTES];
        restore_fpu(&mut after, &fpu_header(&before), &before.clone().try_into().unwrap());
        assert_eq!(after[..24], before[..24]);
        assert_eq!(after[32..42], before[32..42]);
        assert_eq!(after[160], 0x5a);
    }

    #[test]
    fn reserved_bits_of_mxcsr_are_dropped() {
        let mut hostile = image();
        hostile[24..28].fill(0xff);
        let mut after = vec![0u8; x86::FXSAVE_BYTES];
        restore_fpu(&mut after, &fpu_header(&hostile), &hostile.clone().try_into().unwrap());
        assert_eq!(word(&after, 24), x86::MXCSR_MASK);
    }

    #[test]
    fn registers_round_trip() {
        let mut state = CpuState::new();
        x86::reset_user(&mut state);
        let c = Context {
            eax: 1,
            ebx: 2,
            esp: 3,
            eip: 4,
            eflags: 0x8d5 | 0x3000,
            cs: 0,
            ss: 0,
            gs: 0x63,
            ..Context::default()
        };
        restore(&mut state, &c);
        assert_eq!([EAX, EBX, ESP, CS].map(|r| get(&state, r)), [1, 2, 3, 3]);
        assert_eq!(state.pc(), 4);
        assert_eq!(eflags(&state), 0x8d5 | eflag::IF | eflag::FIXED);
    }

    #[test]
    fn trampolines_call_sigreturn() {
        assert_eq!(TRAMPOLINES[2], 119);
        assert_eq!(TRAMPOLINES[9], 173);
        assert_eq!(Ulong::size(M), 4);
    }
}
