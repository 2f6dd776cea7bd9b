//! The guest architectures.

pub mod aarch64;
pub mod arm;
mod cpuinfo;
pub mod i386;
pub mod x86_64;
mod x86_fpu;
mod x86_traps;

use crate::abi::{Abi, Layout};

/// All of them.
pub static ALL: &[&dyn Abi] = &[&i386::I386, &x86_64::X86_64, &aarch64::AArch64, &arm::Arm];

/// Where things are in a 64-bit process, apart from the size of its signal frames. The guest shares the address space
/// of a host process of 47 bits, so its areas are next to where the kernel puts those of the host: the program below
/// 0x5555_5555_4000, the stack and the mappings under it below the lowest place that randomisation gives to the host's
/// libraries (a TiB below the end). There, sanitizers also expect programs and mappings to be.
const LAYOUT_64: Layout = Layout {
    end: 0x7fff_ffff_f000,
    stack_top: 0x7ef0_0000_0000,
    pie_base: 0x5500_0000_0000,
    page: 0x1000,
    signal_stack: 2048,
};
