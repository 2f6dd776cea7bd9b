//! Which guest register lives in which host register.

use isamorph_ir::{Pin, RegId, RegTable};

/// First of the vector registers in the common numbering of host registers: 0–15 integer, 16–31 vector.
pub const VEC: u8 = 16;

/// The register map of a guest.
#[derive(Debug)]
pub struct Pins {
    host: Vec<u8>,
    guest: [Option<RegId>; 32],
    /// The register that holds the guest's flags.
    pub flags: Option<RegId>,
}

/// Integer registers that a guest register may be pinned to; the others are scratch, the state, or the stack.
const INT: [u8; 8] = [0, 1, 2, 3, 8, 5, 6, 7];
/// Number of vector registers that may be pinned.
const VECTORS: usize = 8;

impl Pins {
    /// Maps the registers of a table: register number n of the guest goes to host register n (rsp, which is the shadow
    /// stack, is replaced by r8), so that the implicit operands of x86 guests need no moves.
    pub fn new(table: &RegTable) -> Self {
        let mut pins = Pins { host: vec![0xff; table.regs.len()], guest: [None; 32], flags: table.flags };
        for (i, def) in table.regs.iter().enumerate() {
            let host = match def.pin {
                Pin::Int { number, .. } => INT.get(usize::from(number)).copied(),
                Pin::Vector { number, .. } if usize::from(number) < VECTORS => Some(VEC + number),
                _ => None,
            };
            if let Some(host) = host.filter(|h| pins.guest[usize::from(*h)].is_none()) {
                pins.host[i] = host;
                pins.guest[usize::from(host)] = Some(RegId(i as u16));
            }
        }
        pins
    }
    /// The host register of a pinned guest register.
    pub fn host(&self, reg: RegId) -> Option<u8> {
        self.host.get(usize::from(reg.0)).copied().filter(|h| *h != 0xff)
    }
    /// The guest register that lives in a host register.
    pub fn guest(&self, host: u8) -> Option<RegId> {
        self.guest[usize::from(host)]
    }
    /// Pinned registers as (guest, host) pairs.
    pub fn iter(&self) -> impl Iterator<Item = (RegId, u8)> + '_ {
        self.guest.iter().enumerate().filter_map(|(h, g)| g.map(|g| (g, h as u8)))
    }
}
