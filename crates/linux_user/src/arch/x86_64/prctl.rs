//! `arch_prctl`: the bases of FS and GS, and features that a program may ask for.

use super::{get, set};
use crate::errno::{EINVAL, ENODEV, EOPNOTSUPP, EPERM};
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_x86::state::{FS_BASE, GS_BASE};

/// Operations (arch/x86/include/uapi/asm/prctl.h).
mod op {
    pub const SET_GS: u64 = 0x1001;
    pub const SET_FS: u64 = 0x1002;
    pub const GET_FS: u64 = 0x1003;
    pub const GET_GS: u64 = 0x1004;
    pub const GET_CPUID: u64 = 0x1011;
    pub const SET_CPUID: u64 = 0x1012;
    pub const GET_XCOMP_SUPP: u64 = 0x1021;
    pub const GET_XCOMP_PERM: u64 = 0x1022;
    pub const REQ_XCOMP_PERM: u64 = 0x1023;
    pub const SHADOW_STACK: std::ops::RangeInclusive<u64> = 0x5001..=0x5005;
}

/// State components of XSAVE that programs may use: x87 and SSE (SDM vol. 1, 13.1).
const COMPONENTS: u64 = 3;

/// `arch_prctl(2)`.
///
/// # Errors
/// `EPERM` for a base outside the address space, `EINVAL` for an unknown operation.
pub fn arch_prctl(cx: &mut Cx, [operation, arg, ..]: [u64; 6]) -> SysResult {
    let end = cx.abi().layout().end;
    match operation {
        op::SET_FS | op::SET_GS if arg >= end => Err(EPERM),
        op::SET_FS | op::SET_GS => {
            let base = if operation == op::SET_FS { FS_BASE } else { GS_BASE };
            set(cx.state_mut(), base, arg);
            Ok(0)
        }
        op::GET_FS => cx.write(arg, &get(cx.state(), FS_BASE)).map(|()| 0),
        op::GET_GS => cx.write(arg, &get(cx.state(), GS_BASE)).map(|()| 0),
        // The instruction cannot be made to fault.
        op::GET_CPUID => Ok(1),
        op::SET_CPUID => Err(ENODEV),
        op::GET_XCOMP_SUPP | op::GET_XCOMP_PERM => cx.write(arg, &COMPONENTS).map(|()| 0),
        op::REQ_XCOMP_PERM => Err(EINVAL),
        operation if op::SHADOW_STACK.contains(&operation) => Err(EOPNOTSUPP),
        _ => Err(EINVAL),
    }
}
