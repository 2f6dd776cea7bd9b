//! The host's x87, MMX and SSE state as a whole.
#![allow(unsafe_code)] // FXSAVE and friends

use std::arch::asm;

/// MXCSR of a new Linux process: everything masked, round to nearest.
pub const DEFAULT_MXCSR: u32 = 0x1f80;
/// x87 control word of a new Linux process: everything masked, 64-bit precision, round to nearest.
pub const DEFAULT_FCW: u16 = 0x37f;
/// Bits of MXCSR that exist; setting others faults.
pub const MXCSR_MASK: u32 = 0xffff;

/// An FXSAVE image in its 64-bit form (SDM volume 1, section 10.5.1): control words, ST(0)–ST(7) in stack order from
/// byte 32, XMM0–XMM15 from byte 160, MXCSR at 24.
#[repr(C, align(16))]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FxImage(pub [u8; 512]);

impl Default for FxImage {
    /// The state of a new Linux process.
    fn default() -> Self {
        let mut image = FxImage([0; 512]);
        image.0[..2].copy_from_slice(&DEFAULT_FCW.to_le_bytes());
        image.set_mxcsr(DEFAULT_MXCSR);
        image.0[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
        image
    }
}

impl FxImage {
    /// MXCSR in the image.
    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes([self.0[24], self.0[25], self.0[26], self.0[27]])
    }

    /// Sets MXCSR in the image.
    pub fn set_mxcsr(&mut self, value: u32) {
        self.0[24..28].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets XMM0–XMM15 in the image.
    ///
    /// # Panics
    /// If there is no such register.
    pub fn set_xmm(&mut self, number: usize, bytes: [u8; 16]) {
        self.0[160..416][16 * number..][..16].copy_from_slice(&bytes);
    }
}

/// Saves x87, MMX, SSE registers and MXCSR.
pub fn save(image: &mut FxImage) {
    // SAFETY: the image is 512 bytes, 16-aligned.
    unsafe { asm!("fxsave64 [{}]", in(reg) image.0.as_mut_ptr(), options(nostack, preserves_flags)) };
}

/// Loads x87, MMX, SSE registers and MXCSR. Bits of MXCSR that do not exist are dropped.
///
/// # Safety
/// Rust code relies on the default MXCSR, an empty x87 stack and masked exceptions: the caller must not let any
/// floating-point code run before it gets back to them, for instance with [`reset`].
pub unsafe fn restore(image: &FxImage) {
    let mut copy;
    let mut image = image;
    if image.mxcsr() & !MXCSR_MASK != 0 {
        copy = image.clone();
        copy.set_mxcsr(copy.mxcsr() & MXCSR_MASK);
        image = &copy;
    }
    // SAFETY: the image is 512 bytes, 16-aligned, without reserved bits of MXCSR. All it loads is declared clobbered.
    unsafe {
        asm!("fxrstor64 [{}]", in(reg) image.0.as_ptr(), options(nostack, preserves_flags, readonly),
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            out("mm0") _, out("mm1") _, out("mm2") _, out("mm3") _,
            out("mm4") _, out("mm5") _, out("mm6") _, out("mm7") _)
    };
}

/// Current MXCSR.
pub fn mxcsr() -> u32 {
    let mut value = 0u32;
    // SAFETY: stores four bytes.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
    value
}

/// Sets MXCSR. Bits that do not exist are dropped.
///
/// # Safety
/// As for [`restore`].
pub unsafe fn set_mxcsr(value: u32) {
    let value = value & MXCSR_MASK;
    // SAFETY: no reserved bit is set; the caller answers for the effect on Rust code.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags, readonly)) };
}

/// Puts x87 and MXCSR into the state of a new Linux process; data registers keep their bits.
pub fn reset() {
    // SAFETY: this is the state that Rust code expects. FNINIT does not report pending exceptions.
    unsafe {
        asm!("fninit", "ldmxcsr [{}]", in(reg) &DEFAULT_MXCSR, options(nostack, preserves_flags, readonly),
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_image_is_what_a_reset_machine_saves() {
        reset();
        let mut image = FxImage([0xaa; 512]);
        save(&mut image);
        let default = FxImage::default();
        assert_eq!(image.0[..5], default.0[..5]);
        assert_eq!(image.mxcsr(), default.mxcsr());
        assert_eq!(mxcsr(), DEFAULT_MXCSR);
    }

    #[test]
    fn restore_then_save_round_trips() {
        let mut image = FxImage::default();
        image.0[4] = 0xff; // all registers in use
        for i in 0..8 {
            image.0[32 + 16 * i..][..10].copy_from_slice(&[i as u8 + 1, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
        }
        (160..416).for_each(|i| image.0[i] = i as u8);
        image.set_mxcsr(0xffff_1f80 | 0x6000);
        let mut back = FxImage([0; 512]);
        // SAFETY: nothing happens between this and the reset.
        unsafe {
            restore(&image);
            save(&mut back);
        }
        reset();
        assert_eq!(back.mxcsr(), 0x7f80);
        assert_eq!(back.0[32..416], image.0[32..416]);
        assert_eq!(back.0[..5], image.0[..5]);
    }
}
