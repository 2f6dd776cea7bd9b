//! Stores that depend on a mask (SDM vol. 2, MASKMOVQ, MASKMOVDQU).

use crate::mode::Mode;
use isamorph_ir::{HelperCx, Trap};

/// Stores the bytes of `args[1]` at `args[0]` whose bits in `args[2]` are set.
pub(super) fn masked_store<const BITS: u32>(cx: &mut HelperCx<'_>, [addr, data, mask]: [u64; 3]) -> Result<u64, Trap> {
    let bytes = data.to_le_bytes();
    let mut start = 0;
    for i in 0..=bytes.len() {
        // Neighbours are stored together, so that either all of them are or none.
        if i == bytes.len() || mask >> i & 1 == 0 {
            if start < i {
                cx.mem.write(
                    addr.wrapping_add(start as u64) & Mode::from_number(BITS as u64).pc_mask(),
                    &bytes[start..i],
                )?;
            }
            start = i + 1;
        }
    }
    Ok(0)
}
