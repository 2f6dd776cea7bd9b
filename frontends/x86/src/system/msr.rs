//! Model-specific registers (SDM vol. 4, chapter 2).

use super::cpu::{Cpu, canonical, cr0, cr4, efer, gp, mask};
use super::time;
use crate::model::Feature;
use crate::state::{EAX, ECX, EDX, FS_BASE, GS_BASE, word};
use isamorph_ir::{Flush, HelperCx, RegId, Trap};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Numbers of registers that are more than a word.
mod index {
    pub(super) const TSC: u32 = 0x10;
    pub(super) const APIC_BASE: u32 = 0x1b;
    pub(super) const TSC_ADJUST: u32 = 0x3b;
    pub(super) const PREDICTION_COMMAND: u32 = 0x49;
    pub(super) const MICROCODE_UPDATE: u32 = 0x79;
    pub(super) const MICROCODE: u32 = 0x8b;
    pub(super) const MTRR_CAPABILITIES: u32 = 0xfe;
    pub(super) const ARCH_CAPABILITIES: u32 = 0x10a;
    pub(super) const MCG_CAPABILITIES: u32 = 0x179;
    pub(super) const PERFORMANCE_STATUS: u32 = 0x198;
    pub(super) const PAT: u32 = 0x277;
    pub(super) const TSC_DEADLINE: u32 = 0x6e0;
    pub(super) const X2APIC_FIRST: u32 = 0x800;
    pub(super) const X2APIC_LAST: u32 = 0x8ff;
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
}

/// Ten machine-check banks, of software error recovery and a control register of all.
const MCG_CAPABILITIES: u64 = 0x0100_010a;
/// Eight variable ranges, fixed ranges, write combining.
const MTRR_CAPABILITIES: u64 = 0x508;
/// The microcode's version is in the upper half.
const MICROCODE: u64 = 1 << 32;
/// IA32_ARCH_CAPABILITIES: not open to what mitigations are for, because translated code does not speculate as its
/// text says. RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO; SBDR_SSDP_NO, FBSDP_NO,
/// PSDP_NO; BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO; ITS_NO.
const ARCH_CAPABILITIES: u64 = bits(&[0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62]);

const fn bits(list: &[u32]) -> u64 {
    let (mut bits, mut i) = (0, 0);
    while i < list.len() {
        bits |= 1 << list[i];
        i += 1;
    }
    bits
}

/// What may be written to a register that is a word.
#[derive(Clone, Copy)]
enum Rule {
    /// Anything.
    Any,
    /// These bits.
    Bits(u64),
    /// A canonical address.
    Canonical,
    /// Memory types, one in each byte.
    Types,
    /// Machine-check banks: control is all or nothing, a status can only be cleared.
    Bank,
}

/// Registers that are a word of the state.
const WORDS: &[(u32, word::Word, Rule)] = &[
    (0x3a, word::FEATURE_CONTROL, Rule::Any),
    (0x48, word::SPECULATION, Rule::Bits(7)),
    (0x174, word::SYSENTER_CS, Rule::Bits(0xffff)),
    (0x175, word::SYSENTER_ESP, Rule::Canonical),
    (0x176, word::SYSENTER_EIP, Rule::Canonical),
    (0x17a, word::MCG_STATUS, Rule::Any),
    (0x17b, word::MCG_CTL, Rule::Any),
    (0x1a0, word::MISC_ENABLE, Rule::Any),
    (0x1d9, word::DEBUGCTL, Rule::Any),
    (0x250, word::MTRR_FIXED, Rule::Types),
    (0x258, word::MTRR_FIXED.at(1), Rule::Types),
    (0x259, word::MTRR_FIXED.at(2), Rule::Types),
    (index::PAT, word::PAT, Rule::Types),
    (0x2ff, word::MTRR_DEFAULT, Rule::Bits(0xcff)),
    (0xc000_0081, word::STAR, Rule::Any),
    (0xc000_0082, word::LSTAR, Rule::Canonical),
    (0xc000_0083, word::CSTAR, Rule::Canonical),
    (0xc000_0084, word::FMASK, Rule::Bits(mask(4))),
    (0xc000_0102, word::KERNEL_GS_BASE, Rule::Canonical),
    (0xc000_0103, word::TSC_AUX, Rule::Bits(mask(4))),
];
/// Runs of such registers: first number, how many, first word.
const RUNS: &[(u32, u32, word::Word, Rule)] = &[
    (0x200, 16, word::MTRR_VARIABLE, Rule::Any),
    (0x268, 8, word::MTRR_FIXED.at(3), Rule::Types),
    (0x400, 40, word::MC_BANKS, Rule::Bank),
];

fn find(number: u32) -> Option<(word::Word, Rule)> {
    let single = WORDS.iter().find(|(n, ..)| *n == number).map(|(_, word, rule)| (*word, *rule));
    let within = |(first, count, word, rule): &(u32, u32, word::Word, Rule)| {
        (*first..first + count).contains(&number).then(|| (word.at(number - first), *rule))
    };
    single.or_else(|| RUNS.iter().find_map(within))
}

static UNKNOWN: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());

/// Registers that guests asked for and that do not exist, by number, with how often. They read as zero, and writes to
/// them are ignored.
pub fn unknown() -> Vec<(u32, u64)> {
    UNKNOWN.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(number, n)| (*number, *n)).collect()
}

fn count_unknown(number: u32) {
    *UNKNOWN.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default() += 1;
}

/// Whether every byte is a memory type (SDM vol. 3, table 11-10).
fn are_types(value: u64) -> bool {
    value.to_le_bytes().iter().all(|byte| matches!(byte, 0 | 1 | 4..=7))
}

/// `read_msr()`: the register that ecx names to edx:eax.
pub(crate) fn read(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    let number = cpu.get(ECX) as u32;
    let value = cpu.read_msr(number)?;
    cpu.set(EAX, value & mask(4));
    cpu.set(EDX, value >> 32);
    Ok(0)
}

/// `write_msr()`: edx:eax to the register that ecx names.
pub(crate) fn write(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    let value = cpu.get(EDX) << 32 | cpu.get(EAX) & mask(4);
    let number = cpu.get(ECX) as u32;
    cpu.write_msr(number, value)?;
    Ok(0)
}

/// `read_counter()`: `rdpmc`. There are no counters.
pub(crate) fn read_counter(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    Cpu::new(cx)?;
    Err(gp(0))
}

/// `time_stamp(with processor)`: the counter; `rdtscp` also tells the processor in ecx.
pub(crate) fn time_stamp(cx: &mut HelperCx<'_>, [tells, ..]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    if cpu.cr4() & cr4::TSD != 0 && cpu.cpl() != 0 && cpu.cr0() & cr0::PE != 0 {
        return Err(gp(0));
    }
    if tells != 0 {
        let aux = word::TSC_AUX.get(cpu.state);
        cpu.set(ECX, aux);
    }
    Ok(cpu.counter())
}

/// `read_tsc_aux()`: `rdpid`.
pub(crate) fn read_processor(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    Ok(word::TSC_AUX.get(cx.state))
}

impl Cpu<'_> {
    fn counter(&self) -> u64 {
        time::ticks().wrapping_add(word::TSC_OFFSET.get(self.state))
    }
    fn has(&self, feature: Feature) -> bool {
        super::features(self.state).has(feature)
    }
    fn read_msr(&mut self, number: u32) -> Result<u64, Trap> {
        Ok(match number {
            index::TSC => self.counter(),
            index::TSC_ADJUST => word::TSC_ADJUST.get(self.state),
            index::TSC_DEADLINE => match self.sys.controller_read(number).ok_or(gp(0))? {
                0 => 0,
                due => due.wrapping_add(word::TSC_OFFSET.get(self.state)),
            },
            index::APIC_BASE | index::X2APIC_FIRST..=index::X2APIC_LAST => {
                self.sys.controller_read(number).ok_or(gp(0))?
            }
            index::MICROCODE => MICROCODE,
            index::MTRR_CAPABILITIES => MTRR_CAPABILITIES,
            index::MCG_CAPABILITIES => MCG_CAPABILITIES,
            index::ARCH_CAPABILITIES if self.has(Feature::ArchCapabilities) => ARCH_CAPABILITIES,
            // As the processor that QEMU shows: 1 and 4, in what its Linux guests divide by.
            index::PERFORMANCE_STATUS => 1000 | 4 << 40,
            index::EFER => word::EFER.get(self.state),
            index::FS_BASE => self.get(FS_BASE),
            index::GS_BASE => self.get(GS_BASE),
            _ => match find(number) {
                Some((word, _)) => word.get(self.state),
                None => {
                    count_unknown(number);
                    0
                }
            },
        })
    }
    fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Trap> {
        match number {
            index::TSC => self.set_counter(value),
            index::TSC_ADJUST => {
                let by = value.wrapping_sub(word::TSC_ADJUST.get(self.state));
                self.move_counter(by);
            }
            index::TSC_DEADLINE => {
                let offset = word::TSC_OFFSET.get(self.state);
                let due = if value == 0 { 0 } else { value.wrapping_sub(offset).max(1) };
                self.sys.controller_write(number, due).ok_or(gp(0))?;
            }
            index::APIC_BASE | index::X2APIC_FIRST..=index::X2APIC_LAST => {
                self.sys.controller_write(number, value).ok_or(gp(0))?;
            }
            index::MTRR_CAPABILITIES | index::MCG_CAPABILITIES | index::ARCH_CAPABILITIES => return Err(gp(0)),
            // Without an effect that could be seen.
            index::MICROCODE_UPDATE | index::MICROCODE => {}
            index::PREDICTION_COMMAND if self.has(Feature::SpecCtrl) => {}
            index::EFER => self.write_efer(value)?,
            index::FS_BASE => self.write_base(FS_BASE, value)?,
            index::GS_BASE => self.write_base(GS_BASE, value)?,
            _ => match find(number) {
                Some((word, rule)) => self.write_word(word, rule, value)?,
                None => count_unknown(number),
            },
        }
        Ok(())
    }
    fn set_counter(&mut self, value: u64) {
        self.move_counter(value.wrapping_sub(self.counter()));
    }
    fn move_counter(&mut self, by: u64) {
        for word in [word::TSC_OFFSET, word::TSC_ADJUST] {
            let sum = word.get(self.state).wrapping_add(by);
            word.set(self.state, sum);
        }
    }
    fn write_base(&mut self, row: RegId, value: u64) -> Result<(), Trap> {
        if !canonical(value) {
            return Err(gp(0));
        }
        self.set(row, value);
        Ok(())
    }
    fn write_word(&mut self, word: word::Word, rule: Rule, value: u64) -> Result<(), Trap> {
        let allowed = match rule {
            Rule::Any => true,
            Rule::Bits(bits) => value & !bits == 0,
            Rule::Canonical => canonical(value),
            Rule::Types => are_types(value),
            Rule::Bank => match (word.offset() - word::MC_BANKS.offset()) / 8 % 4 {
                0 => value == 0 || value == u64::MAX,
                1 => value == 0,
                _ => true,
            },
        };
        if !allowed {
            return Err(gp(0));
        }
        word.set(self.state, value);
        Ok(())
    }
    fn write_efer(&mut self, value: u64) -> Result<(), Trap> {
        let of = |bit: u64, feature: Feature| if self.has(feature) { bit } else { 0 };
        let writable = of(efer::SCE, Feature::Syscall) | of(efer::LME, Feature::Lm) | of(efer::NXE, Feature::Nx);
        let old = word::EFER.get(self.state);
        // LMA follows LME and paging; a write does not change it (SDM vol. 3, 2.2.1).
        if value & !(writable | efer::LMA) != 0 {
            return Err(gp(0));
        }
        if (old ^ value) & efer::LME != 0 && self.cr0() & cr0::PG != 0 {
            return Err(gp(0));
        }
        word::EFER.set(self.state, value & writable | old & efer::LMA);
        if (old ^ value) & efer::NXE != 0 {
            self.flush(Flush::All);
        }
        Ok(())
    }
}
