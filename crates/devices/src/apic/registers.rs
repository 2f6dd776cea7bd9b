//! The registers of a local APIC as software reaches them: in memory, as MSRs, and the task priority as CR8.

use super::local::{State, base, esr, lvt};
use super::{Apic, Delivery, Destination, Effect, Message};
use isamorph_space::IoError;

/// Version of a modern local APIC, with six local vectors.
const VERSION: u32 = 0x0005_0014;

/// See `isamorph_ir::CONTROLLER_PRIORITY`: the number under which the task priority is known.
const PRIORITY: u32 = u32::MAX;
const MSR_BASE: u32 = 0x1b;
const MSR_DEADLINE: u32 = 0x6e0;
/// The first of the MSRs that are registers in x2APIC mode.
const MSR_FIRST: u32 = 0x800;

/// Register numbers: bits 11:4 of the address in memory, and the distance from the first MSR.
mod reg {
    pub const ID: u32 = 0x02;
    pub const VERSION: u32 = 0x03;
    pub const TPR: u32 = 0x08;
    pub const APR: u32 = 0x09;
    pub const PPR: u32 = 0x0a;
    pub const EOI: u32 = 0x0b;
    pub const RRD: u32 = 0x0c;
    pub const LDR: u32 = 0x0d;
    pub const DFR: u32 = 0x0e;
    pub const SVR: u32 = 0x0f;
    pub const ISR: u32 = 0x10;
    pub const TMR: u32 = 0x18;
    pub const IRR: u32 = 0x20;
    pub const ESR: u32 = 0x28;
    pub const ICR: u32 = 0x30;
    pub const ICR_HIGH: u32 = 0x31;
    pub const LVT: u32 = 0x32;
    pub const LVT_LAST: u32 = 0x37;
    pub const INITIAL: u32 = 0x38;
    pub const CURRENT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
    pub const SELF_IPI: u32 = 0x3f;
}

impl State {
    /// Reads a register; nothing if there is none of that number.
    fn read(&self, register: u32, now: u64) -> Option<u32> {
        let part = (register & 7) as usize;
        Some(match register {
            reg::ID if self.is_x2apic() => self.wired_id,
            reg::ID => u32::from(self.id) << 24,
            reg::VERSION => VERSION,
            reg::TPR => self.tpr.into(),
            reg::PPR => self.priority().into(),
            reg::LDR => self.logical_id(),
            reg::SVR => self.svr,
            reg::ISR..reg::TMR => self.isr.0[part],
            reg::TMR..reg::IRR => self.tmr.0[part],
            reg::IRR..reg::ESR => self.irr.0[part],
            reg::ESR => self.esr,
            reg::ICR => self.icr as u32,
            reg::LVT..=reg::LVT_LAST => self.lvt[(register - reg::LVT) as usize],
            reg::INITIAL => self.initial,
            reg::CURRENT => self.current(now),
            reg::DIVIDE => self.divide,
            // The rest is not in x2APIC mode (table 11-6).
            _ if self.is_x2apic() => return None,
            reg::ICR_HIGH => (self.icr >> 32) as u32,
            reg::DFR => u32::from(self.dfr) << 28 | 0x0fff_ffff,
            reg::APR | reg::RRD | reg::EOI => 0,
            _ => return None,
        })
    }
    /// Writes a register; nothing if there is none of that number that can be written.
    fn write(&mut self, register: u32, value: u32, now: u64) -> Option<Effect> {
        match register {
            reg::TPR => self.tpr = value as u8,
            reg::EOI => return Some(self.end_of_interrupt().map_or(Effect::Nothing, Effect::EndOfInterrupt)),
            reg::SVR => self.write_svr(value),
            reg::ESR => self.esr = std::mem::take(&mut self.errors),
            reg::ICR => {
                self.icr = self.icr & 0xffff_ffff_0000_0000 | u64::from(value & 0xc_cfff);
                return Some(self.send());
            }
            reg::LVT..=reg::LVT_LAST => self.write_lvt((register - reg::LVT) as usize, value, now),
            reg::INITIAL => self.write_initial(value, now),
            reg::DIVIDE => self.write_divide(value, now),
            _ if self.is_x2apic() => return None,
            reg::ID => self.id = (value >> 24) as u8,
            reg::LDR => self.ldr = (value >> 24) as u8,
            // Only two models exist.
            reg::DFR => self.dfr = if value >> 28 == 15 { 15 } else { 0 },
            reg::ICR_HIGH => self.icr = self.icr & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32,
            _ => return None,
        }
        Some(Effect::Nothing)
    }
    /// Sends what the interrupt command register says (section 11.6.1).
    fn send(&mut self) -> Effect {
        let (icr, vector) = (self.icr, self.icr as u8);
        let to = Destination {
            address: if self.is_x2apic() { (icr >> 32) as u32 } else { (icr >> 56) as u32 },
            logical: icr & 0x800 != 0,
            wide: self.is_x2apic(),
        };
        let (asserted, level) = (icr & 0x4000 != 0, icr & 0x8000 != 0);
        let delivery = match Delivery::from_bits(icr >> 8) {
            // An INIT that is taken back synchronises arbitration, which does not exist any more.
            Some(Delivery::Init) if level && !asserted => return Effect::Nothing,
            Some(Delivery::External) | None => return Effect::Nothing,
            Some(delivery) => delivery,
        };
        let has_vector = matches!(delivery, Delivery::Fixed | Delivery::LowestPriority);
        if has_vector && vector < 16 {
            self.fail(esr::SEND_VECTOR);
            return Effect::Nothing;
        }
        if delivery == Delivery::LowestPriority && self.is_x2apic() {
            self.fail(esr::REDIRECTABLE);
            return Effect::Nothing;
        }
        // Commands are edges, whatever their trigger mode says.
        let message = Message { to, delivery, vector, level: false };
        let broadcast = |with_self, with_others| Effect::Broadcast { message, with_self, with_others };
        match icr >> 18 & 3 {
            0 => Effect::Send(message),
            1 => broadcast(true, false),
            2 => broadcast(true, true),
            _ => broadcast(false, true),
        }
    }
}

impl Apic {
    /// Reads from the page of registers.
    pub(super) fn read_mapped(&self, offset: u64) -> Result<u32, IoError> {
        self.change(|state, now| {
            if !state.is_enabled() || state.is_x2apic() {
                return Err(IoError::Refused);
            }
            Ok(state.read((offset >> 4) as u32, now).unwrap_or_else(|| {
                state.fail(esr::REGISTER);
                0
            }))
        })?
    }
    /// Writes to it.
    pub(super) fn write_mapped(&self, offset: u64, value: u32) -> Result<(), IoError> {
        self.act(|state, now| {
            if !state.is_enabled() || state.is_x2apic() {
                return Effect::Nothing;
            }
            state.write((offset >> 4) as u32, value, now).unwrap_or_else(|| {
                state.fail(esr::REGISTER);
                Effect::Nothing
            })
        })
    }
    pub(super) fn read_msr(&self, register: u32) -> Option<u64> {
        let state = self.state.enter().ok()?;
        match register {
            PRIORITY => Some(u64::from(state.tpr >> 4)),
            MSR_BASE => Some(state.base),
            MSR_DEADLINE => self.options.tsc_deadline.as_ref().map(|_| state.deadline),
            _ if !state.is_x2apic() => None,
            _ => match register.wrapping_sub(MSR_FIRST) {
                reg::ICR => Some(state.icr),
                reg::EOI => None,
                number => state.read(number, self.clock.now()).map(u64::from),
            },
        }
    }
    pub(super) fn write_msr(&self, register: u32, value: u64) -> Option<()> {
        match register {
            PRIORITY => self.change(|state, _| state.tpr = (value as u8) << 4).ok(),
            MSR_BASE => self.change(|state, _| state.write_base(value, self.options.x2apic)).ok()?,
            MSR_DEADLINE => {
                let at = self.options.tsc_deadline.as_ref()?(self.index, value);
                self.change(|state, _| state.write_deadline(value, at)).ok()
            }
            _ => self.write_x2apic(register.wrapping_sub(MSR_FIRST), value),
        }
    }
    fn write_x2apic(&self, number: u32, value: u64) -> Option<()> {
        let mut done = None;
        let write = |state: &mut State, now| {
            let effect = state.write_wide(number, value, now);
            done = effect.map(|_| ());
            effect.unwrap_or_default()
        };
        self.act(write).ok()?;
        done
    }
}

impl State {
    /// Writes a register as an MSR; nothing if that faults (section 11.12.1.3).
    fn write_wide(&mut self, number: u32, value: u64, now: u64) -> Option<Effect> {
        if !self.is_x2apic() {
            return None;
        }
        match number {
            reg::ICR if value & 0xfff3_3000 == 0 => {
                self.icr = value;
                Some(self.send())
            }
            _ if value >> 32 != 0 => None,
            reg::EOI | reg::ESR if value != 0 => None,
            reg::TPR if value > 0xff => None,
            reg::SVR if value & !0x13ff != 0 => None,
            reg::DIVIDE if value & !0xb != 0 => None,
            reg::LVT..=reg::LVT_LAST => {
                let which = (number - reg::LVT) as usize;
                let read_only = u64::from(lvt::REMOTE_IRR) | 1 << 12;
                let valid = u64::from(lvt::WRITABLE[which]) | read_only;
                (value & !valid == 0).then(|| self.write(number, value as u32, now))?
            }
            reg::SELF_IPI if value <= 0xff => {
                if (value as u8) < 16 {
                    self.fail(esr::SEND_VECTOR);
                }
                self.accept(value as u8, false);
                Some(Effect::Nothing)
            }
            reg::ICR => None,
            _ => self.write(number, value as u32, now),
        }
    }
}

const _: () = assert!(base::ADDRESS == 0xfee0_0000);
