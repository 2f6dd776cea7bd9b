//! The CPU state as compiled code sees it: a header that every guest shares, then the guest's registers at the offsets
//! of its register table.
//!
//! Compiled code addresses the state through one host register; the interpreter, helpers and the user-mode layer go
//! through [`CpuState`]. The layout of [`Header`] is a contract with the back ends: they take its offsets with
//! `std::mem::offset_of!`.

use crate::types::Type;
use std::sync::atomic::AtomicU32;

/// Number of a guest register in its table, or of a local ([`RegId::local`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct RegId(pub u16);

impl RegId {
    const LOCAL: u16 = 0x8000;
    /// Local number `index` of a region.
    pub const fn local(index: u16) -> Self {
        RegId(index | Self::LOCAL)
    }
    /// The number of a local.
    pub const fn as_local(self) -> Option<usize> {
        if self.0 & Self::LOCAL != 0 { Some((self.0 & !Self::LOCAL) as usize) } else { None }
    }
}

/// Where a back end should keep a guest register between regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pin {
    /// In the CPU state.
    State,
    /// In a host integer register. Lower `rank` = hotter. `number` is the register's number in its own instruction
    /// set: a host of the same set maps it to itself so that implicit operands (division, shifts) need no moves.
    Int {
        /// Order of preference.
        rank: u8,
        /// Number in the guest's instruction set.
        number: u8,
    },
    /// In a host vector register.
    Vector {
        /// Order of preference.
        rank: u8,
        /// Number in the guest's instruction set.
        number: u8,
    },
    /// In the host's condition flags, whenever they are live.
    Flags,
    /// In the host's floating-point control and status register. The state holds an MXCSR image, so a new state must
    /// have one that masks exceptions.
    FpControl,
    /// In the host's x87 / MMX register file; the number of the register.
    X87(u8),
}

/// Families of instruction sets, as far as a back end can make use of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// x86: a host of the same family keeps register n in its own register n, so that implicit operands need no moves.
    X86,
    /// Any other: registers are placed by rank alone.
    Other,
}

/// One guest register.
#[derive(Clone, Copy, Debug)]
pub struct RegDef {
    /// Name in the text form.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// Offset in the CPU state, bytes.
    pub offset: u32,
    /// Where it lives between regions.
    pub pin: Pin,
}

/// The registers of a guest architecture.
#[derive(Debug)]
pub struct RegTable {
    /// Name of the architecture, as in `isamorph-NAME`.
    pub arch: &'static str,
    /// The family that it belongs to.
    pub family: Family,
    /// Registers; [`RegId`] is the index.
    pub regs: &'static [RegDef],
    /// Size of the CPU state, bytes.
    pub size: u32,
    /// Width of an address, bits: 32 or 64.
    pub addr_bits: u32,
    /// The register that holds the flags, if the guest has one.
    pub flags: Option<RegId>,
    /// Offset of an FXSAVE image that holds x87, MMX, SSE registers and MXCSR, if the guest has an x87 unit.
    pub fxsave: Option<u32>,
}

impl RegTable {
    /// The register with that name.
    pub fn by_name(&self, name: &str) -> Option<RegId> {
        self.regs.iter().position(|r| r.name == name).map(|i| RegId(i as u16))
    }
    /// The row of a register.
    pub fn def(&self, reg: RegId) -> &'static RegDef {
        &self.regs[usize::from(reg.0)]
    }
    /// Offset of the register that holds the host's floating-point control and status word, if the guest has one.
    pub fn fp_control(&self) -> Option<u32> {
        self.regs.iter().find(|def| def.pin == Pin::FpControl).map(|def| def.offset)
    }
    /// The integer type of an address.
    pub const fn addr_type(&self) -> Type {
        if self.addr_bits == 64 { Type::I64 } else { Type::I32 }
    }
    /// The mask of an address.
    pub const fn addr_mask(&self) -> u64 {
        self.addr_type().mask()
    }
}

/// Slots for spilled values and locals, bytes.
pub const SPILL_BYTES: usize = 1024;

/// Guest-independent head of the CPU state. Compiled code reads and writes these fields by offset.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Header {
    /// Non-zero asks compiled code to leave at its next safepoint. Other threads and signal handlers set it.
    pub exit_request: AtomicU32,
    /// Why compiled code was left: the back end's own numbering.
    pub exit_reason: u32,
    /// Guest program counter; valid outside compiled code.
    pub pc: u64,
    /// Argument of the exit: the exit site to link, or the exception's argument.
    pub exit_arg: u64,
    /// Exception code of the exit.
    pub exit_code: u64,
    /// Host stack pointer while compiled code runs.
    pub host_sp: u64,
    /// Shadow return stack pointer while compiled code does not run.
    pub shadow_sp: u64,
    /// Top of the shadow return stack (empty position).
    pub shadow_top: u64,
    /// Inline jump cache of this vCPU (host address).
    pub jump_cache: u64,
    /// Host address of the executable view of the code cache.
    pub code_base: u64,
    /// Translations of guest addresses that compiled code may use, where the guest has translated addresses (host
    /// address of a table).
    pub tlb: u64,
    /// Host MXCSR of the emulator while compiled code runs.
    pub host_mxcsr: u32,
    /// Reserved.
    pub reserved: u32,
    /// The op that compiled code asks to be computed out of line: the back end's own encoding.
    pub operation: u64,
    /// Scratch of the exit and helper thunks.
    pub scratch: [u64; 6],
    /// Spilled values and locals.
    pub spill: [u64; SPILL_BYTES / 8],
}

impl Header {
    /// A header with everything zero.
    pub fn new() -> Self {
        Header {
            exit_request: AtomicU32::new(0),
            exit_reason: 0,
            pc: 0,
            exit_arg: 0,
            exit_code: 0,
            host_sp: 0,
            shadow_sp: 0,
            shadow_top: 0,
            jump_cache: 0,
            code_base: 0,
            tlb: 0,
            host_mxcsr: 0x1f80,
            reserved: 0,
            operation: 0,
            scratch: [0; 6],
            spill: [0; SPILL_BYTES / 8],
        }
    }
}

impl Default for Header {
    fn default() -> Self {
        Self::new()
    }
}

/// Space for the guest's registers after the header, bytes.
pub const GUEST_BYTES: usize = 2048;

/// Offset of the guest's registers in the CPU state, bytes.
pub const GUEST_OFFSET: u32 = std::mem::size_of::<Header>() as u32;

/// The state of one vCPU. Boxed: compiled code holds its address.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct CpuState {
    /// What every guest shares.
    pub header: Header,
    guest: GuestBytes,
}

#[repr(C, align(64))]
#[derive(Debug, Clone)]
struct GuestBytes([u8; GUEST_BYTES]);

impl CpuState {
    /// A state with everything zero.
    pub fn new() -> Box<Self> {
        Box::new(CpuState { header: Header::new(), guest: GuestBytes([0; GUEST_BYTES]) })
    }
    /// A new vCPU's state with the same guest registers and program counter.
    pub fn fork(&self) -> Box<Self> {
        let mut s = Self::new();
        s.guest = self.guest.clone();
        s.header.pc = self.header.pc;
        s
    }
    /// Guest program counter.
    pub fn pc(&self) -> u64 {
        self.header.pc
    }
    /// Sets the guest program counter.
    pub fn set_pc(&mut self, pc: u64) {
        self.header.pc = pc;
    }
    /// Bytes of the guest area; offsets are those of the register table (from the start of the CPU state).
    pub fn bytes(&self, offset: u32, len: usize) -> &[u8] {
        let at = (offset - GUEST_OFFSET) as usize;
        &self.guest.0[at..at + len]
    }
    /// The same, writable.
    pub fn bytes_mut(&mut self, offset: u32, len: usize) -> &mut [u8] {
        let at = (offset - GUEST_OFFSET) as usize;
        &mut self.guest.0[at..at + len]
    }
    /// The low 64 bits of a register.
    pub fn get(&self, table: &RegTable, reg: RegId) -> u64 {
        self.get_wide(table, reg) as u64
    }
    /// Sets a register of at most 64 bits; higher bits of `bits` are ignored.
    pub fn set(&mut self, table: &RegTable, reg: RegId, bits: u64) {
        self.set_wide(table, reg, u128::from(bits));
    }
    /// A register of at most 128 bits.
    pub fn get_wide(&self, table: &RegTable, reg: RegId) -> u128 {
        let def = table.def(reg);
        // Spelt out for the common widths, so that each is one load.
        match def.ty.bytes() {
            4 => u128::from(u32::from_le_bytes(self.array(def.offset))),
            16 => u128::from_le_bytes(self.array(def.offset)),
            n => {
                let mut raw = [0; 16];
                raw[..n as usize].copy_from_slice(self.bytes(def.offset, n as usize));
                u128::from_le_bytes(raw)
            }
        }
    }
    fn array<const N: usize>(&self, offset: u32) -> [u8; N] {
        let mut raw = [0; N];
        raw.copy_from_slice(self.bytes(offset, N));
        raw
    }
    /// Sets a register of at most 128 bits.
    pub fn set_wide(&mut self, table: &RegTable, reg: RegId, bits: u128) {
        let def = table.def(reg);
        match def.ty.bytes() {
            4 => self.bytes_mut(def.offset, 4).copy_from_slice(&(bits as u32).to_le_bytes()),
            16 => self.bytes_mut(def.offset, 16).copy_from_slice(&bits.to_le_bytes()),
            n => self.bytes_mut(def.offset, n as usize).copy_from_slice(&bits.to_le_bytes()[..n as usize]),
        }
    }
}
