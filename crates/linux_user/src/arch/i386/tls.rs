//! Thread-local storage: descriptors that a program sets and segment registers that select them.

use crate::convert::record::record;
use crate::errno::{EFAULT, EINVAL, ENOSYS, ESRCH, Errno};
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_ir::CpuState;
use isamorph_x86::state::{TlsDescriptor, selector, set_tls, tls};

record! {
    /// `struct user_desc`; `flags` is its bit field.
    UserDesc { entry: u32, base: u32, limit: u32, flags: u32, }
}

/// `entry_number` that asks for a free entry.
const ANY: u32 = u32::MAX;
/// The bits of the flags that mean something: `seg_32bit` … `useable`.
const FLAGS: u32 = 0x7f;

impl UserDesc {
    /// Whether it clears its entry. The kernel takes two forms: the documented one, `read_exec_only` and
    /// `seg_not_present` with everything else zero, and all fields zero.
    fn is_empty(&self) -> bool {
        const READ_EXEC_ONLY: u32 = 1 << 3;
        let empty = READ_EXEC_ONLY | TlsDescriptor::NOT_PRESENT;
        self.base == 0 && self.limit == 0 && [0, empty].contains(&(self.flags & FLAGS))
    }
    fn descriptor(&self) -> TlsDescriptor {
        if self.is_empty() {
            TlsDescriptor::default()
        } else {
            TlsDescriptor { base: self.base, limit: self.limit, flags: self.flags & FLAGS }
        }
    }
}

/// Index among the thread-local entries of an entry number.
fn slot(entry: u32) -> Result<u32, Errno> {
    entry.checked_sub(selector::TLS_FIRST).filter(|i| *i < selector::TLS_COUNT).ok_or(EINVAL)
}

/// `set_thread_area(2)`.
pub fn set_thread_area(cx: &mut Cx, [addr, ..]: [u64; 6]) -> SysResult {
    let mut desc: UserDesc = cx.read(addr)?;
    let index = if desc.entry == ANY {
        let free = (0..selector::TLS_COUNT).find(|i| tls(cx.state(), *i).is_empty()).ok_or(ESRCH)?;
        desc.entry = selector::TLS_FIRST + free;
        cx.write(addr, &desc)?;
        free
    } else {
        slot(desc.entry)?
    };
    set_tls(cx.state_mut(), index, desc.descriptor());
    Ok(0)
}

/// `get_thread_area(2)`.
pub fn get_thread_area(cx: &mut Cx, [addr, ..]: [u64; 6]) -> SysResult {
    let mut desc: UserDesc = cx.read(addr)?;
    let TlsDescriptor { base, limit, flags } = tls(cx.state(), slot(desc.entry)?);
    (desc.base, desc.limit, desc.flags) = (base, limit, flags);
    if flags == 0 {
        desc.flags = 1 << 3 | TlsDescriptor::NOT_PRESENT;
    }
    cx.write(addr, &desc)?;
    Ok(0)
}

/// `CLONE_SETTLS`: a `struct user_desc` whose entry number the program knows.
pub fn set_for_clone(cx: &Cx, state: &mut CpuState, addr: u64) -> Result<(), Errno> {
    let desc: UserDesc = cx.read(addr).map_err(|_| EFAULT)?;
    set_tls(state, slot(desc.entry)?, desc.descriptor());
    Ok(())
}

/// `modify_ldt(2)`. There is no local descriptor table: it reads as empty, and writing is refused as a kernel without
/// `CONFIG_MODIFY_LDT_SYSCALL` does.
pub fn modify_ldt(_: &mut Cx, [func, ..]: [u64; 6]) -> SysResult {
    match func {
        0 | 2 => Ok(0),
        _ => Err(ENOSYS),
    }
}

/// The base of the segment that a selector names: user segments are flat, except those of thread-local storage.
pub fn base(state: &CpuState, selector: u32) -> u32 {
    let in_gdt = selector & 4 == 0;
    match slot(selector >> 3) {
        Ok(index) if in_gdt => tls(state, index).base,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_descriptors() {
        let none = UserDesc { entry: 12, base: 0, limit: 0, flags: 0x28 };
        assert!(none.descriptor().is_empty());
        assert!(UserDesc { flags: 0, ..none }.descriptor().is_empty());
        let flat = UserDesc { limit: 0xfffff, flags: 0xffff_ff51, ..none };
        assert_eq!(flat.descriptor().flags, 0x51);
    }

    #[test]
    fn slots() {
        assert_eq!(slot(12), Ok(0));
        assert_eq!(slot(14), Ok(2));
        assert_eq!(slot(6), Err(EINVAL));
        assert_eq!(slot(15), Err(EINVAL));
    }

    #[test]
    fn bases_of_selectors() {
        let mut state = CpuState::new();
        set_tls(&mut state, 1, TlsDescriptor { base: 0x7000, limit: 0, flags: 0x51 });
        assert_eq!(base(&state, 13 << 3 | 3), 0x7000);
        assert_eq!(base(&state, 13 << 3 | 7), 0);
        assert_eq!(base(&state, 0x2b), 0);
        assert_eq!(base(&state, 0), 0);
    }
}
