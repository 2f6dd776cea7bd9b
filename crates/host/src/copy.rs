//! Access to memory that may not be there: a fault becomes an error with the first bad address.
//!
//! The accesses are done by small assembly routines. When [`crate::fault`]'s handler sees a fault inside one of them,
//! it makes the routine return an error ([`fixup`]). No system call is made, and no lock is taken.
//! [`crate::fault::install`] must have been called.
#![allow(unsafe_code)] // raw addresses and assembly

use crate::fault::FaultContext;

// Each routine returns rdx = 0 and a value in rax, or, by way of `fixup`, rdx = 1 and the fault's address in rax.
// All of them keep the stack pointer where it was at entry and need only a `ret` to leave, apart from the last, which
// has to put rbx back.
std::arch::global_asm!(
    ".pushsection .text.isamorph_copy, \"ax\", @progbits",
    ".p2align 4",
    ".globl isamorph_copy_start, isamorph_load1, isamorph_load2, isamorph_load4, isamorph_load8, isamorph_load16",
    ".globl isamorph_store1, isamorph_store2, isamorph_store4, isamorph_store8, isamorph_move16, isamorph_move",
    ".globl isamorph_swap1, isamorph_swap2, isamorph_swap4, isamorph_swap8, isamorph_swap16",
    ".globl isamorph_copy_end, isamorph_copy_landing, isamorph_swap16_landing",
    "isamorph_copy_start:",
    // load(address)
    "isamorph_load1: movzx eax, byte ptr [rdi]; xor edx, edx; ret",
    "isamorph_load2: movzx eax, word ptr [rdi]; xor edx, edx; ret",
    "isamorph_load4: mov eax, dword ptr [rdi]; xor edx, edx; ret",
    "isamorph_load8: mov rax, qword ptr [rdi]; xor edx, edx; ret",
    // store(address, value)
    "isamorph_store1: mov byte ptr [rdi], sil; xor edx, edx; ret",
    "isamorph_store2: mov word ptr [rdi], si; xor edx, edx; ret",
    "isamorph_store4: mov dword ptr [rdi], esi; xor edx, edx; ret",
    "isamorph_store8: mov qword ptr [rdi], rsi; xor edx, edx; ret",
    // move16(to, from), move(to, from, length)
    "isamorph_move16: movdqu xmm0, xmmword ptr [rsi]; movdqu xmmword ptr [rdi], xmm0; xor edx, edx; ret",
    "isamorph_move: mov rcx, rdx; rep movsb; xor edx, edx; ret",
    // swap(address, expected, new): old value in rax
    "isamorph_swap1: mov eax, esi; lock cmpxchg byte ptr [rdi], dl; xor edx, edx; ret",
    "isamorph_swap2: mov eax, esi; lock cmpxchg word ptr [rdi], dx; xor edx, edx; ret",
    "isamorph_swap4: mov eax, esi; lock cmpxchg dword ptr [rdi], edx; xor edx, edx; ret",
    "isamorph_swap8: mov rax, rsi; lock cmpxchg qword ptr [rdi], rdx; xor edx, edx; ret",
    // swap16(address, &mut expected: becomes the old value, &new)
    "isamorph_swap16: mov r11, rbx; mov r8, rdx",
    "mov rax, [rsi]; mov rdx, [rsi + 8]; mov rbx, [r8]; mov rcx, [r8 + 8]",
    "lock cmpxchg16b xmmword ptr [rdi]",
    "mov rbx, r11; mov [rsi], rax; mov [rsi + 8], rdx; xor edx, edx; ret",
    "isamorph_copy_end:",
    "isamorph_swap16_landing: mov rbx, r11",
    "isamorph_copy_landing: ret",
    ".popsection",
);

/// What a routine returns in rax and rdx.
#[repr(C)]
struct Outcome {
    value: u64,
    failed: u64,
}

unsafe extern "C" {
    fn isamorph_copy_start();
    fn isamorph_copy_end();
    fn isamorph_copy_landing();
    fn isamorph_swap16_landing();
    fn isamorph_load1(addr: usize) -> Outcome;
    fn isamorph_load2(addr: usize) -> Outcome;
    fn isamorph_load4(addr: usize) -> Outcome;
    fn isamorph_load8(addr: usize) -> Outcome;
    fn isamorph_store1(addr: usize, value: u64) -> Outcome;
    fn isamorph_store2(addr: usize, value: u64) -> Outcome;
    fn isamorph_store4(addr: usize, value: u64) -> Outcome;
    fn isamorph_store8(addr: usize, value: u64) -> Outcome;
    fn isamorph_move16(to: usize, from: usize) -> Outcome;
    fn isamorph_move(to: usize, from: usize, len: usize) -> Outcome;
    fn isamorph_swap1(addr: usize, expected: u64, new: u64) -> Outcome;
    fn isamorph_swap2(addr: usize, expected: u64, new: u64) -> Outcome;
    fn isamorph_swap4(addr: usize, expected: u64, new: u64) -> Outcome;
    fn isamorph_swap8(addr: usize, expected: u64, new: u64) -> Outcome;
    fn isamorph_swap16(addr: usize, expected: *mut u128, new: *const u128) -> Outcome;
}

const RAX: usize = 0;
const RDX: usize = 2;

/// For the fault handler: if the fault happened in one of the routines, makes it return an error.
pub(crate) fn fixup(cx: &mut FaultContext<'_>) -> bool {
    let rip = cx.rip() as usize;
    if !(isamorph_copy_start as *const () as usize..isamorph_copy_end as *const () as usize).contains(&rip) {
        return false;
    }
    let in_swap16 = rip >= isamorph_swap16 as *const () as usize;
    let landing = if in_swap16 { isamorph_swap16_landing } else { isamorph_copy_landing };
    // Only a page fault has an address; a general protection fault (not canonical, misaligned) has not.
    let addr = if cx.is_page_fault() { cx.addr() as u64 } else { 0 };
    cx.set_reg(RAX, addr);
    cx.set_reg(RDX, 1);
    cx.set_rip(landing as *const () as u64);
    true
}

/// First bad address of an access: the processor reports an address in the first bad page, not always its first byte.
#[cold]
fn first_bad(addr: usize, len: usize, reported: u64) -> usize {
    let page = reported as usize & !0xfff;
    if page > addr && page - addr < len { page } else { addr }
}

fn check(outcome: Outcome, addr: usize, len: usize) -> Result<u64, usize> {
    if outcome.failed == 0 { Ok(outcome.value) } else { Err(first_bad(addr, len, outcome.value)) }
}

/// Loads 1, 2, 4 or 8 bytes with one access.
fn load(addr: usize, bytes: usize) -> Result<u64, usize> {
    // SAFETY: the routines turn faults into errors, and only read.
    let outcome = unsafe {
        match bytes {
            1 => isamorph_load1(addr),
            2 => isamorph_load2(addr),
            4 => isamorph_load4(addr),
            _ => isamorph_load8(addr),
        }
    };
    check(outcome, addr, bytes)
}

/// Reads from host memory. 1, 2, 4, 8 and 16 bytes are read by a single access (which for 16 is atomic only where
/// the processor makes aligned vector loads so, that is, all with AVX). An error is the first bad address.
#[inline]
pub fn read(addr: usize, out: &mut [u8]) -> Result<(), usize> {
    let (to, len) = (out.as_mut_ptr() as usize, out.len());
    match len {
        1 | 2 | 4 | 8 => out.copy_from_slice(&load(addr, len)?.to_le_bytes()[..len]),
        // SAFETY: the destination is `out`.
        16 => drop(check(unsafe { isamorph_move16(to, addr) }, addr, len)?),
        // SAFETY: the destination is `out`.
        _ => drop(check(unsafe { isamorph_move(to, addr, len) }, addr, len)?),
    }
    Ok(())
}

/// Writes to host memory. 1, 2, 4, 8 and 16 bytes are written by a single access (see [`read`]). An error is the first
/// bad address; of other sizes, what comes before it has been written.
///
/// # Safety
/// No Rust object may be in the range.
#[inline]
pub unsafe fn write(addr: usize, data: &[u8]) -> Result<(), usize> {
    let (from, len) = (data.as_ptr() as usize, data.len());
    let mut word = [0; 8];
    if len <= 8 {
        word[..len].copy_from_slice(data);
    }
    let value = u64::from_le_bytes(word);
    // SAFETY: the routines turn faults into errors; the caller answers for the range.
    let outcome = unsafe {
        match len {
            1 => isamorph_store1(addr, value),
            2 => isamorph_store2(addr, value),
            4 => isamorph_store4(addr, value),
            8 => isamorph_store8(addr, value),
            16 => isamorph_move16(addr, from),
            _ => isamorph_move(addr, from, len),
        }
    };
    check(outcome, addr, len).map(drop)
}

/// Replaces 1, 2, 4, 8 or 16 little-endian bytes by `f` of them and returns the old value. It is atomic (a locked
/// compare-and-exchange, whatever the alignment), apart from 16 bytes that are not aligned, for which x86 has no
/// atomic instruction: they are read, then written. Other sizes are refused as a bad address.
///
/// # Safety
/// No Rust object may be in the range.
pub unsafe fn update(addr: usize, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, usize> {
    match bytes {
        // SAFETY: the caller answers for the range.
        1 | 2 | 4 | 8 => unsafe { update_word(addr, bytes as usize, f) },
        // SAFETY: the caller answers for the range.
        16 => unsafe { update_pair(addr, f) },
        _ => Err(addr),
    }
}

unsafe fn update_word(addr: usize, bytes: usize, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, usize> {
    let mut old = load(addr, bytes)?;
    let mask = u64::MAX >> (64 - 8 * bytes);
    loop {
        let new = f(old.into()) as u64;
        // SAFETY: the routines turn faults into errors; the caller answers for the range.
        let outcome = unsafe {
            match bytes {
                1 => isamorph_swap1(addr, old, new),
                2 => isamorph_swap2(addr, old, new),
                4 => isamorph_swap4(addr, old, new),
                _ => isamorph_swap8(addr, old, new),
            }
        };
        let seen = check(outcome, addr, bytes)? & mask;
        if seen == old {
            return Ok(old.into());
        }
        old = seen;
    }
}

unsafe fn update_pair(addr: usize, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, usize> {
    let mut bytes = [0; 16];
    read(addr, &mut bytes)?;
    let mut old = u128::from_le_bytes(bytes);
    if !addr.is_multiple_of(16) || !crate::cpu::features().cmpxchg16b {
        // SAFETY: the caller answers for the range.
        unsafe { write(addr, &f(old).to_le_bytes()) }?;
        return Ok(old);
    }
    loop {
        let (mut seen, new) = (old, f(old));
        // SAFETY: the routine turns faults into errors; the caller answers for the range.
        check(unsafe { isamorph_swap16(addr, &mut seen, &new) }, addr, 16)?;
        if seen == old {
            return Ok(old);
        }
        old = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Reservation, page_size};

    /// Two pages, the second inaccessible.
    fn cliff() -> (Reservation, usize) {
        crate::fault::install().unwrap();
        let page = page_size();
        let r = Reservation::anywhere(2 * page).unwrap();
        r.map_anon(r.start(), page, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE).unwrap();
        let edge = r.start() + page;
        (r, edge)
    }

    #[test]
    fn every_size_reads_back_and_reports_the_first_bad_byte() {
        let (r, edge) = cliff();
        for len in 1..=40usize {
            let data: Vec<u8> = (0..len as u8).map(|i| i * 3 + 1).collect();
            r.write(edge - len, &data).unwrap();
            let mut back = vec![0; len];
            r.read(edge - len, &mut back).unwrap();
            assert_eq!(back, data);
            if len > 1 {
                assert_eq!(r.read(edge - len + 1, &mut back), Err(edge), "read {len}");
                assert_eq!(r.write(edge - 1, &data), Err(edge), "write {len}");
            }
            assert_eq!(r.read(edge + 5, &mut back), Err(edge + 5), "read {len}");
        }
    }

    #[test]
    fn write_to_read_only_page_fails() {
        let (r, edge) = cliff();
        r.protect(r.start(), page_size(), libc::PROT_READ).unwrap();
        for len in [1, 2, 3, 4, 8, 16, 17] {
            assert_eq!(r.write(edge - 64, &vec![0; len]), Err(edge - 64));
        }
        for bytes in [1, 2, 4, 8, 16] {
            assert_eq!(r.update(edge - 64, bytes, &mut |v| v), Err(edge - 64));
        }
    }

    #[test]
    fn addresses_that_are_not_canonical_fail() {
        crate::fault::install().unwrap();
        let bad = 0x8000_0000_0000_0000;
        assert_eq!(read(bad, &mut [0; 4]), Err(bad));
        assert_eq!(read(bad, &mut [0; 100]), Err(bad));
    }

    #[test]
    fn update_of_every_size_and_alignment() {
        let (r, edge) = cliff();
        for bytes in [1u32, 2, 4, 8, 16] {
            for shift in [0, 1] {
                let at = edge - 128 + shift;
                let init = 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00u128;
                let mask = u128::MAX >> (128 - 8 * bytes);
                r.write(at, &init.to_le_bytes()).unwrap();
                assert_eq!(r.update(at, bytes, &mut |v| v.wrapping_mul(3)), Ok(init & mask));
                let mut back = [0; 16];
                r.read(at, &mut back).unwrap();
                let want = init & !mask | init.wrapping_mul(3) & mask;
                assert_eq!(u128::from_le_bytes(back), want, "{bytes} bytes");
            }
            assert_eq!(r.update(edge, bytes, &mut |v| v), Err(edge));
            if bytes > 1 && bytes < 16 {
                assert_eq!(r.update(edge - 1, bytes, &mut |v| v), Err(edge));
            }
        }
        assert_eq!(r.update(edge - 64, 3, &mut |v| v), Err(edge - 64));
    }

    #[test]
    fn updates_from_two_threads_do_not_get_lost() {
        let (r, edge) = cliff();
        for (bytes, at) in [(1u32, edge - 64), (4, edge - 61), (8, edge - 128), (16, edge - 256)] {
            std::thread::scope(|s| {
                for _ in 0..2 {
                    s.spawn(|| (0..10_000).for_each(|_| assert!(r.update(at, bytes, &mut |v| v + 1).is_ok())));
                }
            });
            let mut back = [0; 16];
            r.read(at, &mut back[..bytes as usize]).unwrap();
            let mask = u128::MAX >> (128 - 8 * bytes);
            assert_eq!(u128::from_le_bytes(back), 20_000 & mask, "{bytes} bytes");
            r.write(at, &[0; 16]).unwrap();
        }
    }
}
