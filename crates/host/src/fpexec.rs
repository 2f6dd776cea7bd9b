//! Executes single x87 and SSE instructions on the host's own FPU, on registers given by the caller.
//!
//! For every distinct instruction a stub (the instruction and a `ret`) is made once, on a page of its own that is
//! written before it becomes executable. An assembly routine loads the operands, calls the stub, stores the results and
//! puts the thread's FPU back into the default state. A SIGFPE, SIGILL or SIGSEGV raised in a stub makes the stub
//! return early, and is reported as an [`FpTrap`]; [`crate::fault::install`] must have been called.
//!
//! The caller's x87, MMX and SSE registers are lost. The table of stubs takes no locks, so that a forked child can go
//! on using it.
#![allow(unsafe_code)] // generated code, assembly, signal contexts

use crate::fault::FaultContext;
use crate::fpu::{FxImage, MXCSR_MASK};
use crate::map::{self, Errno, Reservation};
use crate::table::ZeroTable;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why an instruction did not complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FpTrap {
    /// An unmasked x87 exception was pending (#MF).
    X87,
    /// An unmasked SSE floating-point exception (#XM); MXCSR has its flag.
    Simd,
    /// The host does not have the instruction (#UD).
    Illegal,
    /// The instruction's operand was refused (#GP, #PF).
    Operand,
    /// There was no memory for a stub.
    NoMemory,
}

const TRAPS: [FpTrap; 4] = [FpTrap::X87, FpTrap::Simd, FpTrap::Illegal, FpTrap::Operand];

/// Operands and results of an SSE stub.
#[repr(C, align(16))]
struct SseFrame {
    xmm0: u128,
    xmm1: u128,
    rax: u64,
    eflags: u32,
    mxcsr: u32,
    xmm2: u128,
}

// r8 survives the stubs; r10 is set by `fixup` to one more than the index into TRAPS.
std::arch::global_asm!(
    ".pushsection .text.isamorph_fp, \"ax\", @progbits",
    ".globl isamorph_fp_x87, isamorph_fp_sse",
    ".p2align 4",
    // x87(&mut image, stub, memory operand, eflags): eflags in rax, trap in rdx
    "isamorph_fp_x87: xor r10d, r10d; mov r8, rdi",
    "fxrstor64 [rdi]",
    "push rcx; popfq",
    "call rsi",
    "pushfq; pop rax",
    "fxsave64 [r8]",
    "fninit; push 0x1f80; ldmxcsr [rsp]; pop rcx",
    "mov rdx, r10; ret",
    ".p2align 4",
    // sse(&mut frame, stub): trap in rax
    "isamorph_fp_sse: xor r10d, r10d; mov r8, rdi",
    "movaps xmm0, [r8]; movaps xmm1, [r8 + 16]; movaps xmm2, [r8 + 48]; mov rax, [r8 + 32]",
    "ldmxcsr [r8 + 44]",
    "call rsi",
    "stmxcsr [r8 + 44]; push 0x1f80; ldmxcsr [rsp]; pop rcx",
    "pushfq; pop rcx",
    "movaps [r8], xmm0; mov [r8 + 32], rax; mov [r8 + 40], ecx",
    "mov rax, r10; ret",
    ".popsection",
);

#[repr(C)]
struct X87Outcome {
    eflags: u64,
    trap: u64,
}

unsafe extern "C" {
    fn isamorph_fp_x87(image: *mut FxImage, stub: usize, mem: *mut u8, eflags: u64) -> X87Outcome;
    fn isamorph_fp_sse(frame: *mut SseFrame, stub: usize) -> u64;
}

/// Number of stubs there can be.
const STUBS: usize = 1 << 16;
const PAGE: usize = 4096;
/// Longest instruction of a stub.
const MAX_BYTES: usize = 7;
/// Key of a slot whose stub is being made.
const BUSY: u64 = u64::MAX;
/// The arithmetic flags of EFLAGS.
const ARITHMETIC: u32 = 0x8d5;

/// Stubs by instruction: an open-addressing table whose slot `i` describes page `i` of the code.
struct Stubs {
    keys: ZeroTable<AtomicU64>,
    code: Reservation,
}

static TABLE: OnceLock<Option<Stubs>> = OnceLock::new();
/// Start of the stubs' code, for the fault handler.
static CODE: AtomicUsize = AtomicUsize::new(0);

/// An instruction: its bytes and, in the top byte, their number, which makes the key non-zero.
#[derive(Clone, Copy)]
struct Encoding {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Encoding {
    const EMPTY: Encoding = Encoding { bytes: [0; MAX_BYTES], len: 0 };

    fn of(bytes: &[u8]) -> Option<Self> {
        Self::EMPTY.with(bytes)
    }

    fn with(mut self, bytes: &[u8]) -> Option<Self> {
        self.bytes.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(self)
    }

    fn key(&self) -> u64 {
        let mut key = [0; 8];
        key[..MAX_BYTES].copy_from_slice(&self.bytes);
        key[7] = self.len as u8;
        u64::from_le_bytes(key)
    }
}

impl Stubs {
    fn get() -> Option<&'static Stubs> {
        let make = || {
            let stubs = Stubs { keys: ZeroTable::new(STUBS).ok()?, code: Reservation::anywhere(STUBS * PAGE).ok()? };
            CODE.store(stubs.code.start(), Ordering::Release);
            Some(stubs)
        };
        TABLE.get_or_init(make).as_ref()
    }

    /// Address of the instruction's stub.
    fn find(&self, insn: &Encoding) -> Option<usize> {
        let key = insn.key();
        let start = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize;
        for slot in (0..STUBS).map(|i| (start + i) % STUBS) {
            let cell = &self.keys[slot];
            let seen = cell.load(Ordering::Acquire);
            if seen == key {
                return Some(self.page(slot));
            }
            // A slot in which another thread is busy is passed over: at worst an instruction gets two stubs.
            let claim = || cell.compare_exchange(0, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok();
            if seen == 0 && claim() {
                let made = self.make(slot, insn);
                cell.store(if made.is_ok() { key } else { 0 }, Ordering::Release);
                return made.ok().map(|()| self.page(slot));
            }
        }
        None
    }

    fn page(&self, slot: usize) -> usize {
        self.code.start() + slot * PAGE
    }

    fn make(&self, slot: usize, insn: &Encoding) -> Result<(), Errno> {
        const RET: u8 = 0xc3;
        let at = self.page(slot);
        self.code.map_anon(at, PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE)?;
        let mut bytes = [RET; MAX_BYTES + 1];
        bytes[..insn.len].copy_from_slice(&insn.bytes[..insn.len]);
        self.code.write(at, &bytes).map_err(|_| Errno(libc::EFAULT))?;
        self.code.protect(at, PAGE, libc::PROT_READ | libc::PROT_EXEC)
    }
}

fn stub(insn: Option<Encoding>) -> Result<usize, FpTrap> {
    let insn = insn.ok_or(FpTrap::Illegal)?;
    Stubs::get().and_then(|stubs| stubs.find(&insn)).ok_or(FpTrap::NoMemory)
}

/// For the fault handler: if the fault happened in a stub, makes it return to its caller with the trap in r10.
pub(crate) fn fixup(cx: &mut FaultContext<'_>) -> bool {
    const R10: usize = 10;
    const TRAP_NUMBERS: [u32; 2] = [16, 19]; // #MF, #XM: SDM volume 3, table 7-1
    let code = CODE.load(Ordering::Acquire);
    let rip = cx.rip() as usize;
    if code == 0 || !(code..code + STUBS * PAGE).contains(&rip) {
        return false;
    }
    let trap = match (cx.signal(), cx.trap_number()) {
        (libc::SIGFPE, n) if n == TRAP_NUMBERS[0] => 0,
        (libc::SIGFPE, _) => 1,
        (libc::SIGILL, _) => 2,
        _ => 3,
    };
    // SAFETY: the routine called the stub, so that rsp points to the return address.
    let back = unsafe { (cx.rsp() as *const u64).read() };
    cx.set_rsp(cx.rsp() + 8);
    cx.set_rip(back);
    cx.set_reg(R10, trap + 1);
    true
}

fn outcome<T>(trap: u64, value: T) -> Result<T, FpTrap> {
    match (trap as usize).checked_sub(1) {
        None => Ok(value),
        Some(i) => Err(TRAPS.get(i).copied().unwrap_or(FpTrap::Operand)),
    }
}

fn x87(image: &mut FxImage, insn: Option<Encoding>, mem: &mut [u8; 128], eflags: u32) -> Result<u32, FpTrap> {
    let stub = stub(insn)?;
    image.set_mxcsr(image.mxcsr() & MXCSR_MASK);
    let eflags = u64::from(eflags & ARITHMETIC | 2);
    // SAFETY: image and operand are large enough for any x87 instruction; the routine restores the FPU's defaults.
    let done = unsafe { isamorph_fp_x87(image, stub, mem.as_mut_ptr(), eflags) };
    outcome(done.trap, done.eflags as u32)
}

/// Executes an x87 instruction without memory operand on the state in the image: `bytes` are its two opcode bytes, or
/// 9b and anything (`FWAIT`). Returns EFLAGS (`FCOMI` and relatives). Instructions that write AX are not supported:
/// the status word is in the image.
pub fn x87_reg(image: &mut FxImage, bytes: [u8; 2]) -> Result<u32, FpTrap> {
    x87_reg_flags_in(image, bytes, 0)
}

/// [`x87_reg`] with arithmetic flags to start from (`FCMOVcc`).
pub fn x87_reg_flags_in(image: &mut FxImage, bytes: [u8; 2], eflags: u32) -> Result<u32, FpTrap> {
    let insn = match bytes {
        [0x9b, _] => Encoding::of(&[0x9b]),
        [0xd8..=0xdf, 0xc0..=0xff] => Encoding::of(&bytes),
        _ => None,
    };
    x87(image, insn, &mut [0; 128], eflags)
}

/// Executes an x87 instruction with a memory operand: opcode byte d8–df, digit of ModRM. The operand is at the start of
/// `buf`, and is read and written there. Environments have the 32-bit protected-mode format.
pub fn x87_mem(image: &mut FxImage, opcode: u8, digit: u8, buf: &mut [u8; 128]) -> Result<(), FpTrap> {
    const MODRM_RDX: u8 = 2;
    let insn = matches!(opcode, 0xd8..=0xdf).then(|| Encoding::of(&[opcode, (digit & 7) << 3 | MODRM_RDX])).flatten();
    x87(image, insn, buf, 0).map(drop)
}

/// Whether an opcode of the two-byte map is, with register operands, nothing but a computation (or does not exist):
/// vector opcodes except MASKMOVDQU, which stores.
fn computes(opcode: &[u8]) -> bool {
    match opcode {
        [0x10..=0x17 | 0x28..=0x2f | 0x50..=0x7f | 0xc2 | 0xc4..=0xc6 | 0xd0..=0xff] => opcode[0] != 0xf7,
        [0x38 | 0x3a, _] => true,
        _ => false,
    }
}

/// Bytes of an instruction with ModRM in the two-byte map.
fn vector_insn(prefix: Option<u8>, wide: bool, opcode: &[u8], modrm: u8, imm: Option<u8>) -> Option<Encoding> {
    let mut insn = computes(opcode).then_some(Encoding::EMPTY)?;
    if let Some(prefix) = prefix {
        insn = insn.with(&[prefix])?;
    }
    if wide {
        insn = insn.with(&[0x48])?;
    }
    insn = insn.with(&[0x0f])?.with(opcode)?.with(&[modrm])?;
    if let Some(imm) = imm { insn.with(&[imm]) } else { Some(insn) }
}

fn run_sse(insn: Option<Encoding>, frame: &mut SseFrame) -> Result<(), FpTrap> {
    let stub = stub(insn)?;
    frame.mxcsr &= MXCSR_MASK;
    // SAFETY: the frame has all operands; the routine restores the default MXCSR.
    outcome(unsafe { isamorph_fp_sse(frame, stub) }, ())
}

/// Executes `op xmm0, xmm1 [, imm]` with a in xmm0 and b in xmm1; `a` gets xmm0 afterwards. `prefix` is the mandatory
/// prefix, `opcode` what follows 0f. Returns EFLAGS (`COMISS`, `PTEST`, ...). MXCSR is updated, also by a trap.
pub fn sse(
    prefix: Option<u8>,
    opcode: &[u8],
    imm: Option<u8>,
    mxcsr: &mut u32,
    a: &mut u128,
    b: u128,
) -> Result<u32, FpTrap> {
    const XMM0_XMM1: u8 = 0xc1;
    let mut frame = SseFrame { xmm0: *a, xmm1: b, rax: 0, eflags: 0, mxcsr: *mxcsr, xmm2: 0 };
    let done = run_sse(vector_insn(prefix, false, opcode, XMM0_XMM1, imm), &mut frame);
    *mxcsr = frame.mxcsr;
    done?;
    *a = frame.xmm0;
    Ok(frame.eflags)
}

/// Executes `VFMADD231PS/PD/SS/SD xmm0, xmm1, xmm2`, which is `a · b + c` with the rest of a scalar from `c`. The host
/// must have FMA3. MXCSR is updated, also by a trap.
pub fn fma(double: bool, scalar: bool, mxcsr: &mut u32, [a, b, c]: [u128; 3]) -> Result<u128, FpTrap> {
    // VEX.128.66.0F38 B8 (packed) or B9 (scalar), W = double precision, vvvv = xmm1, ModRM = xmm0, xmm2.
    let insn = Encoding::of(&[0xc4, 0xe2, if double { 0xf1 } else { 0x71 }, 0xb8 + u8::from(scalar), 0xc2]);
    let mut frame = SseFrame { xmm0: c, xmm1: a, rax: 0, eflags: 0, mxcsr: *mxcsr, xmm2: b };
    let done = run_sse(insn, &mut frame);
    *mxcsr = frame.mxcsr;
    done?;
    Ok(frame.xmm0)
}

/// Executes an instruction between xmm0 and rax (eax unless `wide`): `CVTSI2SS/SD` (from `int`), `CVT(T)SS/SD2SI` (to
/// `int`), and others whose ModRM has both registers. MXCSR is updated, also by a trap.
pub fn sse_int(
    prefix: Option<u8>,
    wide: bool,
    opcode: &[u8],
    mxcsr: &mut u32,
    xmm: &mut u128,
    int: &mut u64,
) -> Result<(), FpTrap> {
    const BOTH_ZERO: u8 = 0xc0;
    let mut frame = SseFrame { xmm0: *xmm, xmm1: 0, rax: *int, eflags: 0, mxcsr: *mxcsr, xmm2: 0 };
    let done = run_sse(vector_insn(prefix, wide, opcode, BOTH_ZERO, None), &mut frame);
    *mxcsr = frame.mxcsr;
    done?;
    (*xmm, *int) = (frame.xmm0, frame.rax);
    Ok(())
}

const _: () = assert!(std::mem::offset_of!(SseFrame, rax) == 32 && std::mem::offset_of!(SseFrame, eflags) == 40);
const _: () = assert!(std::mem::offset_of!(SseFrame, mxcsr) == 44 && std::mem::offset_of!(SseFrame, xmm2) == 48);

/// Whether stubs can be made: pages have the size this module was written for.
pub fn available() -> bool {
    map::page_size() == PAGE && Stubs::get().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fpu;

    fn st(image: &FxImage, i: usize) -> [u8; 10] {
        image.0[32 + 16 * i..][..10].try_into().unwrap()
    }

    fn fsw(image: &FxImage) -> u16 {
        u16::from_le_bytes([image.0[2], image.0[3]])
    }

    fn fresh() -> FxImage {
        crate::fault::install().unwrap();
        FxImage::default()
    }

    fn buf(bytes: &[u8]) -> [u8; 128] {
        let mut buf = [0; 128];
        buf[..bytes.len()].copy_from_slice(bytes);
        buf
    }

    #[test]
    fn x87_arithmetic() {
        let mut image = fresh();
        x87_mem(&mut image, 0xdd, 0, &mut buf(&1.5f64.to_le_bytes())).unwrap(); // fld qword
        x87_reg(&mut image, [0xd9, 0xe8]).unwrap(); // fld1
        x87_reg(&mut image, [0xde, 0xc1]).unwrap(); // faddp
        let mut out = [0; 128];
        x87_mem(&mut image, 0xdd, 3, &mut out).unwrap(); // fstp qword
        assert_eq!(f64::from_le_bytes(out[..8].try_into().unwrap()), 2.5);
        assert_eq!(image.0[4], 0, "stack is empty again");
        assert_eq!(fpu::mxcsr(), fpu::DEFAULT_MXCSR);
    }

    #[test]
    fn x87_flags_out_and_in() {
        let mut image = fresh();
        x87_reg(&mut image, [0xd9, 0xee]).unwrap(); // fldz
        x87_reg(&mut image, [0xd9, 0xe8]).unwrap(); // fld1
        assert_eq!(x87_reg(&mut image, [0xdb, 0xf1]).unwrap() & ARITHMETIC, 0); // fcomi st, st1: 1 > 0
        assert_eq!(x87_reg(&mut image, [0xdb, 0xf0]).unwrap() & ARITHMETIC, 0x40); // fcomi st, st0: equal
        let one = st(&image, 0);
        x87_reg_flags_in(&mut image, [0xda, 0xc1], 0).unwrap(); // fcmovb st, st1: CF = 0
        assert_eq!(st(&image, 0), one);
        x87_reg_flags_in(&mut image, [0xda, 0xc1], 1).unwrap(); // fcmovb st, st1: CF = 1
        assert_eq!(st(&image, 0), [0; 10]);
    }

    #[test]
    fn unmasked_x87_exception_is_reported_by_the_next_instruction() {
        let mut image = fresh();
        image.0[0] &= !4; // unmask divide by zero
        x87_reg(&mut image, [0xd9, 0xee]).unwrap(); // fldz
        x87_reg(&mut image, [0xd9, 0xe8]).unwrap(); // fld1
        x87_reg(&mut image, [0xd8, 0xf1]).unwrap(); // fdiv st, st1
        assert_eq!(fsw(&image) & 0x8084, 0x8084, "busy, error summary, divide by zero");
        assert_eq!(x87_reg(&mut image, [0x9b, 0]), Err(FpTrap::X87));
        assert_eq!(x87_reg(&mut image, [0xd9, 0xe8]), Err(FpTrap::X87));
        x87_reg(&mut image, [0xdb, 0xe2]).unwrap(); // fnclex
        assert_eq!(x87_reg(&mut image, [0x9b, 0]).map(drop), Ok(()));
        assert_eq!(1.0f64 / std::hint::black_box(0.0), f64::INFINITY, "host's exceptions are masked");
    }

    #[test]
    fn sse_result_flags_and_mxcsr() {
        fresh();
        let (mut a, b) = (u128::from(3f32.to_bits()), u128::from(7f32.to_bits()));
        let mut mxcsr = 0x7f80; // towards zero
        sse(Some(0xf3), &[0x5e], None, &mut mxcsr, &mut a, b).unwrap(); // divss
        assert_eq!(a as u32, 0x3edb_6db6, "rounded towards zero");
        assert_eq!(mxcsr, 0x7fa0, "inexact");
        let flags = sse(None, &[0x2f], None, &mut mxcsr, &mut a, b).unwrap(); // comiss
        assert_eq!(flags & ARITHMETIC, 1);
        let mut x = 0x0123_4567_89ab_cdefu128;
        sse(Some(0x66), &[0x70], Some(0x4e), &mut mxcsr, &mut x, 0x0123_4567_89ab_cdef).unwrap(); // pshufd
        assert_eq!(x, 0x0123_4567_89ab_cdef << 64);
        assert_eq!(fpu::mxcsr(), fpu::DEFAULT_MXCSR);
    }

    #[test]
    fn unmasked_sse_exception_is_reported() {
        fresh();
        let mut mxcsr = fpu::DEFAULT_MXCSR & !0x200; // unmask divide by zero
        let mut a = u128::from(1f32.to_bits());
        let before = a;
        assert_eq!(sse(Some(0xf3), &[0x5e], None, &mut mxcsr, &mut a, 0), Err(FpTrap::Simd));
        assert_eq!((a, mxcsr), (before, fpu::DEFAULT_MXCSR & !0x200 | 4));
        assert_eq!(fpu::mxcsr(), fpu::DEFAULT_MXCSR);
    }

    #[test]
    fn integer_forms() {
        fresh();
        let (mut mxcsr, mut x, mut int) = (fpu::DEFAULT_MXCSR, 0, (-5i64) as u64);
        sse_int(Some(0xf2), true, &[0x2a], &mut mxcsr, &mut x, &mut int).unwrap(); // cvtsi2sd xmm0, rax
        assert_eq!(f64::from_bits(x as u64), -5.0);
        int = 0;
        sse_int(Some(0xf2), false, &[0x2d], &mut mxcsr, &mut x, &mut int).unwrap(); // cvtsd2si eax, xmm0
        assert_eq!(int, u64::from(-5i32 as u32));
    }

    #[test]
    fn bad_instructions_are_refused() {
        let mut image = fresh();
        let (mut mxcsr, mut a) = (fpu::DEFAULT_MXCSR, 0);
        assert_eq!(sse(None, &[0xff], None, &mut mxcsr, &mut a, 0), Err(FpTrap::Illegal)); // ud0
        assert_eq!(sse(None, &[0x05], None, &mut mxcsr, &mut a, 0), Err(FpTrap::Illegal)); // syscall
        assert_eq!(sse(Some(0x66), &[0xf7], None, &mut mxcsr, &mut a, 0), Err(FpTrap::Illegal)); // maskmovdqu
        assert_eq!(sse(None, &[1, 2, 3, 4, 5, 6], None, &mut mxcsr, &mut a, 0), Err(FpTrap::Illegal));
        assert_eq!(x87_reg(&mut image, [0x90, 0x90]), Err(FpTrap::Illegal));
        assert_eq!(x87_mem(&mut image, 0x10, 0, &mut [0; 128]), Err(FpTrap::Illegal));
    }

    #[test]
    fn threads_share_stubs() {
        fresh();
        assert!(available());
        std::thread::scope(|s| {
            for t in 0..4u32 {
                s.spawn(move || {
                    let (mut mxcsr, mut a) = (fpu::DEFAULT_MXCSR, 0u128);
                    for imm in 0..=255u8 {
                        let b = u128::from(t);
                        sse(Some(0x66), &[0x70], Some(imm), &mut mxcsr, &mut a, b).unwrap();
                        let lane = |i: u32| if imm >> (2 * i) & 3 == 0 { u128::from(t) << (32 * i) } else { 0 };
                        assert_eq!(a, lane(0) | lane(1) | lane(2) | lane(3));
                    }
                });
            }
        });
    }
}
