//! The part of a machine's processor that lifted code does not look at: words of 64 bits with names.

// tidy: table

use isamorph_ir::{CpuState, GUEST_OFFSET};

/// Where the words begin, after the register rows.
const FIRST: u32 = GUEST_OFFSET + 872;

/// A word of the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word(u32);

impl Word {
    /// Its value.
    pub fn get(self, state: &CpuState) -> u64 {
        let mut raw = [0; 8];
        raw.copy_from_slice(state.bytes(self.0, 8));
        u64::from_le_bytes(raw)
    }
    /// Sets it.
    pub fn set(self, state: &mut CpuState, value: u64) {
        state.bytes_mut(self.0, 8).copy_from_slice(&value.to_le_bytes());
    }
    /// Word number `index` of an array that begins here.
    pub const fn at(self, index: u32) -> Self {
        Word(self.0 + 8 * index)
    }
    /// Where it lies in the CPU state.
    pub const fn offset(self) -> u32 {
        self.0
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident $text:literal $(x $count:literal)?;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u32)]
        enum Order { $($name,)* Count }
        /// How many words each takes.
        const COUNTS: [u32; Order::Count as usize] = [$([$($count,)? 1][0]),*];
        $($(#[$doc])* pub const $name: Word = Word(FIRST + 8 * sum(Order::$name as usize));)*
        /// Every word or array of words: its name, the first word, and how many there are.
        pub const WORDS: &[(&str, Word, u32)] = &[$(($text, $name, COUNTS[Order::$name as usize])),*];
    };
}

const fn sum(n: usize) -> u32 {
    let (mut total, mut i) = (0, 0);
    while i < n {
        total += COUNTS[i];
        i += 1;
    }
    total
}

/// Length of the guest's part of the state, bytes.
pub(super) const END: u32 = FIRST - GUEST_OFFSET + 8 * sum(COUNTS.len());

words! {
    /// Page-fault address.
    CR2 "cr2";
    /// Page-table base.
    CR3 "cr3";
    /// Which state components `xsave` manages.
    XCR0 "xcr0";
    /// Extended features: SCE, LME, LMA, NXE.
    EFER "efer";
    /// Debug registers: addresses DR0 to DR3.
    DR0 "dr0" x 4;
    /// Debug status.
    DR6 "dr6";
    /// Debug control.
    DR7 "dr7";
    /// The four page-directory pointers of PAE paging, as `mov cr3` loaded them (SDM vol. 3, 4.4.1).
    PDPTE "pdpte" x 4;
    /// Local descriptor table: selector.
    LDTR "ldtr";
    /// Its base.
    LDTR_BASE "ldtr_base";
    /// Its limit.
    LDTR_LIMIT "ldtr_limit";
    /// Its attributes.
    LDTR_ATTR "ldtr_attr";
    /// Task register: selector.
    TR "tr";
    /// Base of the task state.
    TR_BASE "tr_base";
    /// Its limit.
    TR_LIMIT "tr_limit";
    /// Its attributes.
    TR_ATTR "tr_attr";
    /// Base of the global descriptor table.
    GDTR_BASE "gdtr_base";
    /// Its limit.
    GDTR_LIMIT "gdtr_limit";
    /// Base of the interrupt descriptor table.
    IDTR_BASE "idtr_base";
    /// Its limit.
    IDTR_LIMIT "idtr_limit";
    /// `syscall`: selectors.
    STAR "star";
    /// `syscall`: entry point of 64-bit code.
    LSTAR "lstar";
    /// `syscall`: entry point of compatibility code.
    CSTAR "cstar";
    /// `syscall`: flags that are cleared.
    FMASK "fmask";
    /// What `swapgs` exchanges with the base of GS.
    KERNEL_GS_BASE "kernel_gs_base";
    /// `sysenter`: code segment.
    SYSENTER_CS "sysenter_cs";
    /// `sysenter`: stack pointer.
    SYSENTER_ESP "sysenter_esp";
    /// `sysenter`: entry point.
    SYSENTER_EIP "sysenter_eip";
    /// Page attribute table.
    PAT "pat";
    /// What `rdtscp` and `rdpid` tell.
    TSC_AUX "tsc_aux";
    /// What is added to the host's counter.
    TSC_OFFSET "tsc_offset";
    /// IA32_TSC_ADJUST.
    TSC_ADJUST "tsc_adjust";
    /// IA32_MISC_ENABLE.
    MISC_ENABLE "misc_enable";
    /// IA32_FEATURE_CONTROL.
    FEATURE_CONTROL "feature_control";
    /// IA32_SPEC_CTRL.
    SPECULATION "speculation";
    /// IA32_DEBUGCTL.
    DEBUGCTL "debugctl";
    /// Default memory type.
    MTRR_DEFAULT "mtrr_default";
    /// Memory types of the first MiB.
    MTRR_FIXED "mtrr_fixed" x 11;
    /// Memory types of ranges: base and mask of each.
    MTRR_VARIABLE "mtrr_variable" x 16;
    /// Machine-check status.
    MCG_STATUS "mcg_status";
    /// Machine-check control.
    MCG_CTL "mcg_ctl";
    /// Machine-check banks: control, status, address and miscellaneous of each.
    MC_BANKS "mc_banks" x 40;
    /// Base of system-management memory.
    SMBASE "smbase";
    /// 1 in system-management mode.
    IN_SMM "in_smm";
    /// 1 while NMIs are blocked (SDM vol. 3, 6.7.1).
    NMI_BLOCKED "nmi_blocked";
    /// 1 while address line 20 is held low.
    LINE_20_LOW "line_20_low";
    /// 1 until the start-up signal comes.
    WAITS_FOR_START "waits_for_start";
    /// 1 after a triple fault.
    SHUT_DOWN "shut_down";
    /// Bits of DR6 of the debug trap that is due before the next instruction.
    PENDING_DEBUG "pending_debug";
    /// Number of the processor, which is its APIC id.
    INDEX "index";
    /// How many processors there are: threads of a core, cores of a package, packages, 16 bits each.
    TOPOLOGY "topology";
    /// Index of its model.
    MODEL "model";
    /// Its features, low and high half.
    FEATURES "features" x 2;
}
