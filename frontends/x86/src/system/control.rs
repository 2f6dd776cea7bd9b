//! Control registers (SDM vol. 3, 2.5) and what drops translations.

use super::cpu::{Cpu, UD, cr0, cr4, efer, gp, mask};
use super::walk;
use crate::model::Feature;
use crate::state::{CR0, CR4, EAX, ECX, EDX, word};
use isamorph_ir::{CONTROLLER_PRIORITY, Flush, HelperCx, Trap};

/// The bits of CR0 that exist.
const CR0_EXISTING: u64 =
    cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD | cr0::PG;
/// `mov cr3` with this bit keeps translations, if there are PCIDs.
const KEEP: u64 = 1 << 63;

/// `read_cr(number)`.
pub(crate) fn read(cx: &mut HelperCx<'_>, [number, ..]: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    match number {
        0 => Ok(cpu.cr0()),
        2 => Ok(word::CR2.get(cpu.state)),
        3 => Ok(word::CR3.get(cpu.state)),
        4 => Ok(cpu.cr4()),
        8 => Ok(cpu.sys.controller_read(CONTROLLER_PRIORITY).unwrap_or(0)),
        _ => Err(UD),
    }
}

/// `write_cr(number, value)`.
pub(crate) fn write(cx: &mut HelperCx<'_>, [number, value, _]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    let value = if cpu.code64() { value } else { value & mask(4) };
    match number {
        0 => cpu.write_cr0(value)?,
        2 => word::CR2.set(cpu.state, value),
        3 => cpu.write_cr3(value)?,
        4 => cpu.write_cr4(value)?,
        8 if value < 16 => cpu.sys.controller_write(CONTROLLER_PRIORITY, value).unwrap_or(()),
        8 => return Err(gp(0)),
        _ => return Err(UD),
    }
    Ok(0)
}

/// `clts()`.
pub(crate) fn clear_switched(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    cpu.set(CR0, cpu.cr0() & !cr0::TS);
    Ok(0)
}

/// `load_status(value)`: `lmsw`, which sets PE but does not clear it.
pub(crate) fn load_status(cx: &mut HelperCx<'_>, [value, ..]: [u64; 3]) -> Result<u64, Trap> {
    const LOADED: u64 = cr0::MP | cr0::EM | cr0::TS;
    let mut cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    cpu.write_cr0(cpu.cr0() & !LOADED | value & (LOADED | cr0::PE))?;
    Ok(0)
}

/// `xsetbv()`: edx:eax to the register that ecx names.
pub(crate) fn write_extended(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    const X87: u64 = 1;
    const SSE: u64 = 2;
    let mut cpu = Cpu::new(cx)?;
    if cpu.cr4() & cr4::OSXSAVE == 0 {
        return Err(UD);
    }
    cpu.privileged()?;
    let value = cpu.get(EDX) << 32 | cpu.get(EAX) & mask(4);
    if cpu.get(ECX) & mask(4) != 0 || value & X87 == 0 || value & !(X87 | SSE) != 0 {
        return Err(gp(0));
    }
    word::XCR0.set(cpu.state, value);
    cpu.flush(Flush::Context);
    Ok(0)
}

/// `invalidate_page(address)`: `invlpg`.
pub(crate) fn invalidate_page(cx: &mut HelperCx<'_>, [addr, ..]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    let addr = cpu.wrap(addr);
    cpu.flush(Flush::Page(addr));
    Ok(0)
}

/// `invalidate_context(type, address)`: `invpcid` with its descriptor. What belongs to other contexts is not kept, so
/// that it need not be found.
pub(crate) fn invalidate_context(cx: &mut HelperCx<'_>, [kind, addr, _]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    let mut raw = [0; 16];
    cpu.mem.read(addr, &mut raw)?;
    let raw = u128::from_le_bytes(raw);
    let (context, linear) = (raw as u64, (raw >> 64) as u64);
    if kind > 3 || kind < 2 && context >> 12 != 0 {
        return Err(gp(0));
    }
    let without = cpu.cr4() & cr4::PCIDE == 0;
    if kind < 2 && without && context != 0 || kind == 0 && !super::cpu::canonical(linear) {
        return Err(gp(0));
    }
    cpu.flush(match kind {
        0 => Flush::Page(linear),
        2 => Flush::All,
        _ => Flush::Local,
    });
    Ok(0)
}

/// Loads CR3 of a new task, as far as it is valid.
pub(super) fn load_page_tables(cpu: &mut Cpu<'_>, base: u64) {
    if cpu.cr4() & cr4::PAE != 0 && !cpu.long_active() {
        // A task with bad page-directory pointers cannot fault here: what it maps is not there.
        let loaded = walk::read_pointers(cpu, base).unwrap_or([0; 4]);
        cpu.set_pointers(loaded);
    }
    if word::CR3.get(cpu.state) != base {
        word::CR3.set(cpu.state, base);
        cpu.flush(Flush::Local);
    }
}

impl Cpu<'_> {
    pub(super) fn set_pointers(&mut self, pointers: [u64; 4]) {
        for (n, pointer) in (0..).zip(pointers) {
            word::PDPTE.at(n).set(self.state, pointer);
        }
    }
    /// The page-directory pointers for a value of CR3, if PAE paging uses them.
    fn checked_pointers(&self, cr0: u64, cr4: u64, cr3: u64, efer: u64) -> Result<Option<[u64; 4]>, Trap> {
        if cr0 & cr0::PG == 0 || cr4 & cr4::PAE == 0 || efer & efer::LMA != 0 {
            return Ok(None);
        }
        walk::read_pointers(self, cr3).map(Some).ok_or(gp(0))
    }
    fn write_cr0(&mut self, value: u64) -> Result<(), Trap> {
        let old = self.cr0();
        let new = value & CR0_EXISTING | cr0::ET;
        let (paging, protected) = (new & cr0::PG != 0, new & cr0::PE != 0);
        if value >> 32 != 0 || paging && !protected || new & cr0::NW != 0 && new & cr0::CD == 0 {
            return Err(gp(0));
        }
        let mut efer = word::EFER.get(self.state);
        if paging && old & cr0::PG == 0 && efer & efer::LME != 0 {
            if self.cr4() & cr4::PAE == 0 || self.segment(super::descriptor::number::CS).is_long() {
                return Err(gp(0));
            }
            efer |= efer::LMA;
        }
        if !paging && old & cr0::PG != 0 {
            if self.code64() || self.cr4() & cr4::PCIDE != 0 {
                return Err(gp(0));
            }
            efer &= !efer::LMA;
        }
        if (old ^ new) & cr0::PG != 0
            && let Some(pointers) = self.checked_pointers(new, self.cr4(), word::CR3.get(self.state), efer)?
        {
            self.set_pointers(pointers);
        }
        self.set(CR0, new);
        word::EFER.set(self.state, efer);
        if (old ^ new) & (cr0::PG | cr0::WP | cr0::PE) != 0 {
            self.flush(Flush::All);
        }
        Ok(())
    }
    fn write_cr3(&mut self, value: u64) -> Result<(), Trap> {
        let paged = self.cr0() & cr0::PG != 0;
        let value = if self.cr4() & cr4::PCIDE != 0 { value & !KEEP } else { value };
        if self.long_active() && value >> walk::PHYSICAL_BITS != 0 {
            return Err(gp(0));
        }
        if paged
            && let Some(pointers) = self.checked_pointers(self.cr0(), self.cr4(), value, word::EFER.get(self.state))?
        {
            self.set_pointers(pointers);
        }
        word::CR3.set(self.state, value);
        self.flush(Flush::Local);
        Ok(())
    }
    /// The bits of CR4 that the model's features bring.
    fn cr4_existing(&self) -> u64 {
        let features = super::features(self.state);
        let of = |bits: u64, feature: Feature| if features.has(feature) { bits } else { 0 };
        of(cr4::TSD, Feature::Tsc)
            | of(cr4::DE, Feature::De)
            | of(cr4::PSE, Feature::Pse)
            | of(cr4::PAE, Feature::Pae)
            | of(cr4::MCE, Feature::Mce)
            | of(cr4::PGE, Feature::Pge)
            | cr4::PCE
            | of(cr4::OSFXSR, Feature::Fxsr)
            | of(cr4::OSXMMEXCPT, Feature::Sse)
            | of(cr4::FSGSBASE, Feature::FsGsBase)
            | of(cr4::PCIDE, Feature::Pcid)
            | of(cr4::OSXSAVE, Feature::Xsave)
            | of(cr4::SMEP, Feature::Smep)
            | of(cr4::SMAP, Feature::Smap)
    }
    fn write_cr4(&mut self, value: u64) -> Result<(), Trap> {
        const DECIDES: u64 = cr4::PAE | cr4::PSE | cr4::PGE | cr4::PCIDE | cr4::SMEP | cr4::SMAP;
        let old = self.cr4();
        if value & !self.cr4_existing() != 0 || self.long_active() && value & cr4::PAE == 0 {
            return Err(gp(0));
        }
        let cr3 = word::CR3.get(self.state);
        if value & !old & cr4::PCIDE != 0 && (!self.long_active() || cr3 & 0xfff != 0) {
            return Err(gp(0));
        }
        if (old ^ value) & (cr4::PAE | cr4::PSE | cr4::PGE | cr4::SMEP) != 0
            && let Some(pointers) = self.checked_pointers(self.cr0(), value, cr3, word::EFER.get(self.state))?
        {
            self.set_pointers(pointers);
        }
        self.set(CR4, value);
        self.flush(if (old ^ value) & DECIDES != 0 { Flush::All } else { Flush::Context });
        Ok(())
    }
}
