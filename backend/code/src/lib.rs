//! What an emitter hands to the code cache, and what both agree on with the engine: the compiled region, its link
//! sites, its recovery table, and the thunks that lead into and out of compiled code.
//!
//! Conventions at every region boundary on an x86-64 host (`docs/ARCHITECTURE.md`, "Host registers"): pinned guest
//! registers are in their host registers, guest flags in EFLAGS when live (x86 guests) or in the state (others), r15
//! holds the `CpuState`, rsp is the shadow return stack, r9 carries the guest program counter of a computed jump or
//! return.

use isamorph_ir::FlagSet;

/// Code shared by all regions of a cache, at its start. Offsets are from the start of the cache.
///
/// The indirect-miss thunk is at offset 0, so that a zero jump-cache entry leads there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Thunk {
    /// Computed jump whose target (r9) is not in the jump cache: leaves with [`ExitReason::Indirect`].
    IndirectMiss,
    /// A return whose landing pad did not match: probes the jump cache with r9.
    Indirect,
    /// The shadow stack ran empty: resets it, then as `Indirect`.
    Underflow,
    /// Unlinked direct exit, called from the site's stub, which has stored pc: [`ExitReason::Link`].
    Link,
    /// Leaves with [`ExitReason::Safepoint`]; pc already stored.
    Safepoint,
    /// Leaves with [`ExitReason::Syscall`]; pc and exit code already stored.
    Syscall,
    /// Leaves with [`ExitReason::Exception`]; pc, exit code and argument already stored.
    Exception,
    /// Leaves with [`ExitReason::Halt`]; pc already stored.
    Halt,
    /// Leaves with [`ExitReason::Fault`]; entered from the host's fault handler, which stored pc.
    Fault,
    /// Calls a helper: r9d = helper id, arguments in the header's scratch slots 0 to 2; result in scratch slot 3.
    /// Leaves with [`ExitReason::Helper`] if it trapped.
    Helper,
    /// The same for a helper that uses the floating-point save image.
    HelperFpu,
    /// Computes the op that the header's operation word describes; keeps every register but that of the result.
    Operation,
    /// An access found no translation of its address: has it made and comes back with every register as it was, or
    /// leaves like [`Thunk::Fault`] with the state before the instruction.
    Miss,
    /// `extern "C" fn(state, code)`: loads pinned registers and jumps to `code`; returns when the code leaves.
    Enter,
}

/// Number of thunks.
pub const THUNK_COUNT: usize = Thunk::Enter as usize + 1;

/// Why compiled code was left; [`isamorph_ir::Header::exit_reason`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ExitReason {
    /// `exit_arg` is a host address in the stub of an unlinked site.
    Link = 1,
    /// A computed jump missed; pc is its target.
    Indirect = 2,
    /// The exit request was seen.
    Safepoint = 3,
    /// System call; `exit_code` is its number of instruction.
    Syscall = 4,
    /// Exception; `exit_code`, `exit_arg`.
    Exception = 5,
    /// Halt.
    Halt = 6,
    /// A host fault that the fault handler attributed to the guest; the handler left the details in the vCPU.
    Fault = 7,
    /// A helper trapped; the details are in the vCPU.
    Helper = 8,
}

impl ExitReason {
    /// The reason with that number.
    pub fn from_u32(n: u32) -> Option<Self> {
        use ExitReason::*;
        [Link, Indirect, Safepoint, Syscall, Exception, Halt, Fault, Helper].into_iter().find(|r| *r as u32 == n)
    }
}

/// The thunks of a cache as emitted.
#[derive(Clone, Debug, Default)]
pub struct Thunks {
    /// Their code, placed at the start of the cache.
    pub code: Vec<u8>,
    /// Offset of each, indexed by `Thunk as usize`.
    pub offsets: [u32; THUNK_COUNT],
}

/// A 4-byte displacement in a region's code that refers to a thunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reloc {
    /// Offset of the displacement field; it counts from its own end.
    pub at: u32,
    /// What it refers to.
    pub thunk: Thunk,
}

/// A direct exit that can be linked: a 4-byte displacement that leads to the site's stub until the cache points it at
/// the target's entry. It does not cross a 16-byte boundary, so that one store changes it atomically.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkSite {
    /// Offset of the displacement field in the code, which is placed 16-aligned.
    pub at: u32,
    /// Offset of the stub, which is where the field leads when unlinked.
    pub stub: u32,
    /// End of the stub; the exit's argument lies in `stub .. stub_end`.
    pub stub_end: u32,
    /// Guest address of the target.
    pub target: u64,
    /// A backward exit: link it to the target's `poll_entry`, so that every loop polls the exit request.
    pub poll: bool,
}

/// Where a piece of guest state is when a fault interrupts compiled code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recipe {
    /// Pinned register `reg` (index into the register table) is its host register plus this constant.
    Offset {
        /// Register.
        reg: u16,
        /// What to add, modulo the register's width.
        add: i32,
    },
    /// Pinned register `reg` is in another host register (x86 number).
    Moved {
        /// Register.
        reg: u16,
        /// Where it is.
        host: u8,
    },
    /// Pinned register `reg`, integer or vector, is in the CPU state at this offset.
    Saved {
        /// Register.
        reg: u16,
        /// Offset in the CPU state, bytes.
        offset: u32,
    },
    /// The guest flags are in the CPU state at this offset as an EFLAGS image, not in EFLAGS.
    FlagsAt {
        /// Offset in the CPU state, bytes.
        offset: u32,
    },
    /// The guest flags are in the CPU state at this offset, see [`unpack_flags`].
    PackedFlagsAt {
        /// Offset in the CPU state, bytes.
        offset: u32,
    },
}

/// Flags as compiled code keeps them for a while: the overflow flag in the low byte, the low byte of EFLAGS in the
/// next.
pub fn unpack_flags(word: u32) -> FlagSet {
    let overflow = if word & 0xff != 0 { FlagSet::O } else { FlagSet::empty() };
    FlagSet::from_bits_truncate(word >> 8 & 0xff) | overflow
}

/// One point at which compiled code may fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultPoint {
    /// Offset of the first byte of the faulting host instruction.
    pub at: u32,
    /// Index into [`Compiled::insns`].
    pub insn: u16,
    /// First of its recipes in [`Compiled::recipes`].
    pub recipe: u16,
    /// Number of its recipes.
    pub recipe_count: u8,
}

/// A compiled region, ready to be placed.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// Position-independent code apart from `relocs`; the main entry is at `entry`.
    pub code: Vec<u8>,
    /// Offset of the main entry (from linked direct exits and the dispatcher).
    pub entry: u32,
    /// Offset of the entry for computed jumps, which compares r9 with the region's address first.
    pub indirect_entry: u32,
    /// Offset of the entry that polls the exit request and falls into the main entry.
    pub poll_entry: u32,
    /// References to thunks.
    pub relocs: Vec<Reloc>,
    /// Link sites.
    pub links: Vec<LinkSite>,
    /// Fault points in order of `at`.
    pub faults: Vec<FaultPoint>,
    /// Recipes of the fault points.
    pub recipes: Vec<Recipe>,
    /// Guest instructions: (address, length, offset of their code); for faults, logs and maps.
    pub insns: Vec<(u64, u8, u32)>,
}

impl Compiled {
    /// Empties it for reuse, keeping its allocations.
    pub fn clear(&mut self) {
        let Compiled { code, entry, indirect_entry, poll_entry, relocs, links, faults, recipes, insns } = self;
        *entry = 0;
        *indirect_entry = 0;
        *poll_entry = 0;
        code.clear();
        relocs.clear();
        links.clear();
        faults.clear();
        recipes.clear();
        insns.clear();
    }
    /// The fault point whose host instruction starts at offset `at`.
    pub fn fault_at(&self, at: u32) -> Option<&FaultPoint> {
        self.faults.binary_search_by_key(&at, |f| f.at).ok().map(|i| &self.faults[i])
    }
}
