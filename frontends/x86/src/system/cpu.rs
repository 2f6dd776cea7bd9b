//! A processor with the machine around it, as the parts of this module see it.

use crate::exception;
use crate::state::{self, AMD64, CR0, CR4, CS_BASE, eflag, word};
use isamorph_ir::{CpuState, Flush, HelperCx, MemFault, Memory, RegId, System, Trap};

/// Bits of CR0 (SDM vol. 3, 2.5).
pub mod cr0 {
    /// Protected mode.
    pub const PE: u64 = 1;
    /// `wait` looks at TS.
    pub const MP: u64 = 1 << 1;
    /// No x87 unit.
    pub const EM: u64 = 1 << 2;
    /// Task switched.
    pub const TS: u64 = 1 << 3;
    /// Extension type: always one.
    pub const ET: u64 = 1 << 4;
    /// x87 errors raise #MF, not an interrupt.
    pub const NE: u64 = 1 << 5;
    /// Write protection holds for the supervisor.
    pub const WP: u64 = 1 << 16;
    /// Alignment checks.
    pub const AM: u64 = 1 << 18;
    /// Not write-through.
    pub const NW: u64 = 1 << 29;
    /// Cache disabled.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
}

/// Bits of CR4 (SDM vol. 3, 2.5).
pub mod cr4 {
    /// `rdtsc` is privileged.
    pub const TSD: u64 = 1 << 2;
    /// Debugging extensions.
    pub const DE: u64 = 1 << 3;
    /// Pages of 4 MiB.
    pub const PSE: u64 = 1 << 4;
    /// Physical addresses of more than 32 bits.
    pub const PAE: u64 = 1 << 5;
    /// Machine checks.
    pub const MCE: u64 = 1 << 6;
    /// Global pages.
    pub const PGE: u64 = 1 << 7;
    /// `rdpmc` is for everyone.
    pub const PCE: u64 = 1 << 8;
    /// `fxsave` and SSE.
    pub const OSFXSR: u64 = 1 << 9;
    /// #XM.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// `rdfsbase` and its like.
    pub const FSGSBASE: u64 = 1 << 16;
    /// Process-context identifiers.
    pub const PCIDE: u64 = 1 << 17;
    /// `xsave`.
    pub const OSXSAVE: u64 = 1 << 18;
    /// The supervisor does not execute pages of the user.
    pub const SMEP: u64 = 1 << 20;
    /// The supervisor does not access pages of the user.
    pub const SMAP: u64 = 1 << 21;
}

/// Bits of EFER (SDM vol. 3, 2.2.1).
pub mod efer {
    /// `syscall` is enabled.
    pub const SCE: u64 = 1;
    /// Long mode is enabled.
    pub const LME: u64 = 1 << 8;
    /// Long mode is active.
    pub const LMA: u64 = 1 << 10;
    /// Pages may forbid execution.
    pub const NXE: u64 = 1 << 11;
}

/// An exception with an error code.
pub(super) const fn fault(code: u32, arg: u64) -> Trap {
    Trap::Exception { code, arg }
}
/// #GP; `selector` may be a whole selector, of which the error code takes no RPL.
pub(super) const fn gp(selector: u64) -> Trap {
    fault(exception::GP, selector & 0xfffc)
}
/// #NP.
pub(super) const fn np(selector: u64) -> Trap {
    fault(exception::NP, selector & 0xfffc)
}
/// #SS.
pub(super) const fn ss(selector: u64) -> Trap {
    fault(exception::SS, selector & 0xfffc)
}
/// #TS.
pub(super) const fn ts(selector: u64) -> Trap {
    fault(exception::TS, selector & 0xfffc)
}
/// #UD.
pub(super) const UD: Trap = fault(exception::UD, 0);

/// Whether an address has 48 significant bits.
pub(super) const fn canonical(addr: u64) -> bool {
    (addr as i64) << 16 >> 16 == addr as i64
}

/// The mask of a value of that many bytes.
pub(super) const fn mask(bytes: u64) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// Whose rights an access has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rights {
    /// Those of the code that runs.
    Current,
    /// The operating system's.
    System,
}

/// A processor.
pub(crate) struct Cpu<'c> {
    pub(super) state: &'c mut CpuState,
    pub(super) mem: &'c dyn Memory,
    pub(super) sys: &'c dyn System,
    /// A task switch has gone so far that a fault belongs to the new task.
    pub(super) switched: bool,
}

impl<'c> Cpu<'c> {
    /// The processor that a helper works for; a user program has none of these instructions.
    pub(super) fn new(cx: &'c mut HelperCx<'_>) -> Result<Self, Trap> {
        let sys = cx.mem.system().ok_or(UD)?;
        Ok(Cpu { state: &mut *cx.state, mem: cx.mem, sys, switched: false })
    }
    pub(super) fn get(&self, reg: RegId) -> u64 {
        self.state.get(&AMD64, reg)
    }
    pub(super) fn set(&mut self, reg: RegId, value: u64) {
        self.state.set(&AMD64, reg, value);
    }
    pub(super) fn eflags(&self) -> u64 {
        u64::from(state::eflags(self.state))
    }
    pub(super) fn set_eflags(&mut self, bits: u64) {
        state::set_eflags(self.state, bits as u32);
    }
    pub(super) fn cr0(&self) -> u64 {
        self.get(CR0)
    }
    pub(super) fn cr4(&self) -> u64 {
        self.get(CR4)
    }
    pub(super) fn protected(&self) -> bool {
        self.cr0() & cr0::PE != 0
    }
    pub(super) fn v86(&self) -> bool {
        self.eflags() & u64::from(eflag::VM) != 0
    }
    /// Whether segment registers hold paragraphs: real mode and virtual-8086 mode.
    pub(super) fn paragraphs(&self) -> bool {
        !self.protected() || self.v86()
    }
    /// Whether long mode is active, compatibility mode included.
    pub(super) fn long_active(&self) -> bool {
        word::EFER.get(self.state) & efer::LMA != 0
    }
    pub(super) fn code64(&self) -> bool {
        state::long_mode(self.state)
    }
    pub(super) fn cpl(&self) -> u32 {
        state::cpl(self.state)
    }
    pub(super) fn iopl(&self) -> u32 {
        (self.eflags() as u32 & eflag::IOPL) >> eflag::IOPL_SHIFT
    }
    /// The part of the program counter that programs see.
    pub(super) fn eip(&self) -> u64 {
        self.eip_of(self.state.pc())
    }
    pub(super) fn eip_of(&self, pc: u64) -> u64 {
        if self.code64() { pc } else { pc.wrapping_sub(self.get(CS_BASE)) & mask(4) }
    }
    pub(super) fn set_eip(&mut self, eip: u64) {
        let pc = if self.code64() { eip } else { eip.wrapping_add(self.get(CS_BASE)) & mask(4) };
        self.state.set_pc(pc);
    }
    /// Only level 0 goes on.
    pub(super) fn privileged(&self) -> Result<(), Trap> {
        if self.cpl() == 0 { Ok(()) } else { Err(gp(0)) }
    }
    pub(super) fn flush(&mut self, what: Flush) {
        self.sys.flush(self.state, what);
    }
    pub(super) fn read(&self, rights: Rights, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        match rights {
            Rights::Current => self.mem.read(addr, out),
            Rights::System => self.sys.read_privileged(addr, out),
        }
    }
    pub(super) fn write(&self, rights: Rights, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        match rights {
            Rights::Current => self.mem.write(addr, data),
            Rights::System => self.sys.write_privileged(addr, data),
        }
    }
    /// Reads a little-endian number of a system structure. Addresses wrap where the processor has only 32-bit ones.
    pub(super) fn system_read(&self, addr: u64, bytes: usize) -> Result<u64, Trap> {
        let mut raw = [0; 8];
        self.sys.read_privileged(self.wrap(addr), &mut raw[..bytes])?;
        Ok(u64::from_le_bytes(raw))
    }
    pub(super) fn system_write(&self, addr: u64, bytes: usize, value: u64) -> Result<(), Trap> {
        Ok(self.sys.write_privileged(self.wrap(addr), &value.to_le_bytes()[..bytes])?)
    }
    /// A register that holds an address, as far as the code that runs has it.
    pub(super) fn pointer(&self, reg: RegId) -> u64 {
        self.get(reg) & if self.code64() { u64::MAX } else { mask(4) }
    }
    /// Linear addresses have 32 bits outside of long mode.
    pub(super) fn wrap(&self, addr: u64) -> u64 {
        if self.long_active() { addr } else { addr & mask(4) }
    }
}
