//! `prctl` on AArch64: keys for pointer authentication (Linux, Documentation/arch/arm64/pointer-authentication.rst).

use crate::errno::EINVAL;
use crate::kernel::random_bytes;
use crate::sys::limits;
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_a64::state::Key;
use isamorph_ir::CpuState;

/// Operations (include/uapi/linux/prctl.h).
mod op {
    pub const PAC_RESET_KEYS: i32 = 54;
    pub const PAC_SET_ENABLED_KEYS: i32 = 60;
    pub const PAC_GET_ENABLED_KEYS: i32 = 61;
}

/// The bits of the five keys.
const ALL_KEYS: u64 = (1 << Key::ALL.len()) - 1;
/// The bits of those of addresses.
const ADDRESS_KEYS: u64 = 0xf;

/// Gives the keys of a set new values; all of them are new in a program that starts.
pub fn reset_keys(state: &mut CpuState, set: u64) {
    for (bit, key) in Key::ALL.into_iter().enumerate().filter(|(bit, _)| set >> bit & 1 != 0) {
        // Without randomness from the kernel, codes can be guessed, as they could without keys.
        let mut bytes = [bit as u8; 16];
        let _ = random_bytes(&mut bytes);
        key.set(state, u128::from_le_bytes(bytes));
    }
}

/// The keys of a new program.
pub fn new_keys(state: &mut CpuState) {
    reset_keys(state, ALL_KEYS);
}

/// `prctl(2)`.
///
/// # Errors
/// As the manual page says. Keys are always enabled; a request to disable some is refused as by a kernel that cannot.
pub fn prctl(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    let [option, second, third, fourth, fifth, _] = args;
    let rest_is_zero = third == 0 && fourth == 0 && fifth == 0;
    match option as i32 {
        op::PAC_RESET_KEYS if second & !ALL_KEYS == 0 && rest_is_zero => {
            reset_keys(cx.state_mut(), if second == 0 { ALL_KEYS } else { second });
            Ok(0)
        }
        op::PAC_SET_ENABLED_KEYS if second & !ADDRESS_KEYS == 0 && third == second && fourth == 0 && fifth == 0 => {
            Ok(0)
        }
        op::PAC_GET_ENABLED_KEYS if second == 0 && rest_is_zero => Ok(ADDRESS_KEYS),
        op::PAC_RESET_KEYS | op::PAC_SET_ENABLED_KEYS | op::PAC_GET_ENABLED_KEYS => Err(EINVAL),
        _ => limits::prctl(cx, args),
    }
}
