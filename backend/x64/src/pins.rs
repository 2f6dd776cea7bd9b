//! Which guest register lives in which host register.
//!
//! The host's integer registers fall into four groups: r15 (the state) and rsp (the shadow stack); r9 to r11, which are
//! scratch for every guest; and eleven that guest registers may be pinned to. What is left of those is scratch too.

use isamorph_ir::{Family, FlagSet, Pin, RegDef, RegId, RegTable, Type};

/// First of the vector registers in the common numbering of host registers: 0–15 integer, 16–31 vector.
pub const VEC: u8 = 16;

/// The register map of a guest.
#[derive(Debug)]
pub struct Pins {
    host: Vec<u8>,
    guest: [Option<RegId>; 32],
    /// Registers that live in the CPU state and nowhere else.
    in_state: Vec<Option<StateReg>>,
    /// The register that holds the guest's flags.
    pub flags: Option<RegId>,
    /// The flags that the guest has.
    pub flag_set: FlagSet,
    /// The guest's flags are in the CPU state at block and region boundaries, not in EFLAGS.
    pub flags_in_state: bool,
    /// Registers that hold neither guest state nor anything fixed, one bit each.
    pub scratch: u32,
}

/// A guest register in the CPU state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateReg {
    /// Offset in the CPU state, bytes.
    pub offset: u32,
    /// Type.
    pub ty: Type,
}

/// Homes for the registers of an x86 guest that cannot be in the host register of their own number: that is rsp, r15,
/// or scratch.
const DISPLACED: [u8; 4] = [8, 12, 13, 14];
/// Homes for the registers of any other guest, hottest first. rax, rcx and rdx come last: divisions, long products,
/// compare-and-swap and shifts move what is there out of the way.
const BY_RANK: [u8; 11] = [3, 5, 6, 7, 8, 13, 14, 12, 1, 2, 0];
/// Vector registers that may be pinned.
const VECTORS: u8 = 12;
/// The state and the stack.
const FIXED: u32 = 1 << crate::asm::STATE | 1 << 4;

impl Pins {
    /// Maps the registers of a table: those of an x86 guest to themselves as far as possible, so that implicit operands
    /// need no moves; others by rank.
    pub fn new(table: &RegTable) -> Self {
        let mut pins = Pins {
            host: vec![0xff; table.regs.len()],
            guest: [None; 32],
            in_state: Vec::new(),
            flags: table.flags,
            // No Arm instruction reads or writes the other two.
            flag_set: match table.family {
                Family::X86 => FlagSet::all(),
                Family::Other => FlagSet::all() - FlagSet::P - FlagSet::A,
            },
            flags_in_state: table.family == Family::Other,
            scratch: !FIXED,
        };
        let vectors: Vec<u8> = (VEC..VEC + VECTORS).collect();
        let (ints, vecs) = (by_rank(table, false), by_rank(table, true));
        match table.family {
            Family::X86 => {
                let homes: Vec<u8> = (0..8).filter(|h| *h != 4).collect();
                let displaced = pins.place_own(&ints, 0, &homes);
                pins.place(&displaced, &DISPLACED);
                pins.place_own(&vecs, VEC, &vectors);
            }
            Family::Other => {
                pins.place(&ints, &BY_RANK);
                pins.place(&vecs, &vectors);
            }
        }
        pins.in_state = table.regs.iter().zip(&pins.host).map(|(def, host)| state_reg(def, *host)).collect();
        pins
    }
    /// Registers whose own host register is one of `homes` go there; gives the others.
    fn place_own(&mut self, regs: &[(RegId, u8)], first: u8, homes: &[u8]) -> Vec<(RegId, u8)> {
        let (own, displaced): (Vec<_>, Vec<_>) = regs
            .iter()
            .partition(|(_, number)| homes.contains(&(first + number)) && self.guest(first + number).is_none());
        own.into_iter().for_each(|(reg, number)| self.pin(reg, first + number));
        displaced
    }
    /// Places registers in order as far as the homes reach.
    fn place(&mut self, regs: &[(RegId, u8)], homes: &[u8]) {
        regs.iter().zip(homes).for_each(|((reg, _), home)| self.pin(*reg, *home));
    }
    fn pin(&mut self, reg: RegId, host: u8) {
        self.host[usize::from(reg.0)] = host;
        self.guest[usize::from(host)] = Some(reg);
        self.scratch &= !(1 << host);
    }
    /// The host register of a pinned guest register.
    pub fn host(&self, reg: RegId) -> Option<u8> {
        self.host.get(usize::from(reg.0)).copied().filter(|h| *h != 0xff)
    }
    /// Where in the CPU state a guest register lives that is nowhere else.
    pub fn in_state(&self, reg: RegId) -> Option<StateReg> {
        self.in_state.get(usize::from(reg.0)).copied().flatten()
    }
    /// The guest register that lives in a host register.
    pub fn guest(&self, host: u8) -> Option<RegId> {
        self.guest[usize::from(host)]
    }
    /// Whether a host register is scratch.
    pub fn is_scratch(&self, host: u8) -> bool {
        self.scratch >> host & 1 != 0
    }
    /// Pinned registers as (guest, host) pairs.
    pub fn iter(&self) -> impl Iterator<Item = (RegId, u8)> + '_ {
        self.guest.iter().enumerate().filter_map(|(h, g)| g.map(|g| (g, h as u8)))
    }
}

fn state_reg(def: &RegDef, host: u8) -> Option<StateReg> {
    let plain = matches!(def.pin, Pin::State | Pin::Int { .. } | Pin::Vector { .. });
    let typed = def.ty.is_int() || def.ty.is_vector();
    (plain && typed && host == 0xff).then_some(StateReg { offset: def.offset, ty: def.ty })
}

/// The integer or vector registers that want a home, hottest first, with their numbers.
fn by_rank(table: &RegTable, vectors: bool) -> Vec<(RegId, u8)> {
    let wanted = |pin: Pin| match pin {
        Pin::Int { rank, number } if !vectors => Some((rank, number)),
        Pin::Vector { rank, number } if vectors => Some((rank, number)),
        _ => None,
    };
    let rows = table.regs.iter().enumerate();
    let mut found: Vec<_> = rows.filter_map(|(i, def)| Some((wanted(def.pin)?, RegId(i as u16)))).collect();
    found.sort_by_key(|((rank, _), _)| *rank);
    found.into_iter().map(|((_, number), reg)| (reg, number)).collect()
}
