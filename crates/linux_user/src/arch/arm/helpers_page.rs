//! The page of helpers that the kernel offers to programs for every Arm processor at fixed addresses
//! (Documentation/arch/arm/kernel_user_helpers). It is code like any other.

/// Where the page is.
pub const ADDRESS: u64 = 0xffff_0000;

const SIZE: usize = 0x1000;

/// Offset and code of each helper.
const HELPERS: &[(usize, &[u32])] = &[
    (0xf60, COMPARE_AND_EXCHANGE_64),
    (0xfa0, BARRIER),
    (0xfc0, COMPARE_AND_EXCHANGE),
    (0xfe0, THREAD_POINTER),
    (0xffc, &[VERSION]),
];

/// Number of helpers, in units of 32 bytes from the end of the page.
const VERSION: u32 = 5;

/// `int kuser_cmpxchg64(const int64_t *old, const int64_t *new, volatile int64_t *ptr)`: zero and C set on success.
const COMPARE_AND_EXCHANGE_64: &[u32] = &[
    0xe92d_00f0, // push {r4-r7}
    0xe1c0_40d0, // ldrd r4, r5, [r0]
    0xe1c1_60d0, // ldrd r6, r7, [r1]
    0xee07_0fba, // mcr p15, 0, r0, c7, c10, 5: data memory barrier
    0xe1b2_0f9f, // again: ldrexd r0, r1, [r2]
    0xe030_3004, // eors r3, r0, r4
    0x0031_3005, // eorseq r3, r1, r5
    0x01a2_3f96, // strexdeq r3, r6, r7, [r2]
    0x0333_0001, // teqeq r3, #1
    0x0aff_fff9, // beq again
    0xee07_0fba, // mcr p15, 0, r0, c7, c10, 5
    0xe273_0000, // rsbs r0, r3, #0
    0xe8bd_00f0, // pop {r4-r7}
    0xe12f_ff1e, // bx lr
];

/// `void kuser_memory_barrier(void)`.
const BARRIER: &[u32] = &[
    0xee07_0fba, // mcr p15, 0, r0, c7, c10, 5
    0xe12f_ff1e, // bx lr
];

/// `int kuser_cmpxchg(int old, int new, volatile int *ptr)`: zero and C set on success.
const COMPARE_AND_EXCHANGE: &[u32] = &[
    0xee07_0fba, // mcr p15, 0, r0, c7, c10, 5
    0xe192_3f9f, // again: ldrex r3, [r2]
    0xe053_3000, // subs r3, r3, r0
    0x0182_3f91, // strexeq r3, r1, [r2]
    0x0333_0001, // teqeq r3, #1
    0x0aff_fffa, // beq again
    0xe273_0000, // rsbs r0, r3, #0
    0xeaff_ffef, // b BARRIER, which returns
];

/// `void *kuser_get_tls(void)`.
const THREAD_POINTER: &[u32] = &[
    0xee1d_0f70, // mrc p15, 0, r0, c13, c0, 3
    0xe12f_ff1e, // bx lr
];

/// What is in the page.
pub fn contents() -> Vec<u8> {
    let mut page = vec![0; SIZE];
    for (offset, code) in HELPERS {
        for (slot, word) in page[*offset..].chunks_exact_mut(4).zip(*code) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_do_not_overlap() {
        let ends = HELPERS.iter().map(|(at, code)| at + 4 * code.len());
        let starts = HELPERS.iter().skip(1).map(|(at, _)| *at).chain([SIZE]);
        assert!(ends.zip(starts).all(|(end, next)| end <= next));
        assert_eq!(contents()[SIZE - 4..], [5, 0, 0, 0]);
    }

    #[test]
    fn the_branch_leads_to_the_barrier() {
        let at = 0xfc0 + 4 * (COMPARE_AND_EXCHANGE.len() as i64 - 1);
        let branch = COMPARE_AND_EXCHANGE[COMPARE_AND_EXCHANGE.len() - 1];
        let offset = i64::from((branch << 8) as i32 >> 6);
        assert_eq!(at + 8 + offset, 0xfa0);
    }
}
