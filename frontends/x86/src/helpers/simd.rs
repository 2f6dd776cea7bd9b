//! Stores that depend on a mask (SDM vol. 2, MASKMOVQ, MASKMOVDQU).

use crate::state::I386;
use isamorph_ir::{HelperCx, Trap};

/// Stores the bytes of `args[1]` at `args[0]` whose bits in `args[2]` are set.
pub(super) fn masked_store(cx: &mut HelperCx<'_>, [addr, data, mask]: [u64; 3]) -> Result<u64, Trap> {
    for (i, byte) in (0..).zip(data.to_le_bytes()) {
        if mask >> i & 1 != 0 {
            cx.mem.write(addr.wrapping_add(i) & I386.addr_mask(), &[byte])?;
        }
    }
    Ok(0)
}
