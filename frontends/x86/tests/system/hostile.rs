//! No state and no argument makes anything panic.

use crate::rig::{RAM, Rig};
use isamorph_guest::{Access, AccessKind, Event, SystemGuest as _};
use isamorph_ir::{HelperCx, RegId, Trap};
use isamorph_x86::helpers::{FAR_JUMP, HELPERS};
use isamorph_x86::state::{AMD64, CR0, ES_ATTR, MXCSR, SHADOW, set_eflags, word};

/// A small generator (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// A number that is often small, or near the end of some width.
    fn edge(&mut self) -> u64 {
        let width = [4, 8, 16, 20, 32, 48, 64][self.next() as usize % 7];
        let low = self.next() & (u64::MAX >> (64 - width));
        match self.next() % 4 {
            0 => low,
            1 => (u64::MAX >> (64 - width)) - low % 0x80,
            2 => low % 0x200,
            _ => low % RAM as u64,
        }
    }
}

/// Fills registers, words and tables.
fn scramble(rig: &mut Rig, random: &mut Random) {
    for row in (0..=SHADOW.0).filter(|row| *row < 19 || *row > MXCSR.0) {
        let value = random.edge();
        rig.set(RegId(row), value);
    }
    if random.next().is_multiple_of(2) {
        let value = rig.get(CR0) | 1;
        rig.set(CR0, value);
    }
    for n in 0..6 {
        let attr = random.next() & 0xf0_ff00;
        rig.set(RegId(ES_ATTR.0 + n), attr);
    }
    set_eflags(&mut rig.cpu, random.next() as u32 & 0x3f_7fd5);
    let sizes = [word::TOPOLOGY, word::SHUT_DOWN, word::WAITS_FOR_START];
    for (_, first, count) in word::WORDS.iter().filter(|(_, w, _)| !sizes.contains(w)) {
        for n in 0..*count {
            let value = random.edge();
            first.at(n).set(&mut rig.cpu, value);
        }
    }
    for _ in 0..64 {
        let (at, value) = (random.next() % (RAM as u64 - 8), random.next());
        rig.bus.put(at, &value.to_le_bytes());
    }
    word::SHUT_DOWN.set(&mut rig.cpu, 0);
    rig.cpu.set_pc(random.edge());
    rig.look();
}

#[test]
fn any_state_takes_any_event_and_instruction() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut rig = Rig::protected();
    let first = usize::from(FAR_JUMP.0);
    for round in 0..20_000 {
        scramble(&mut rig, &mut random);
        let event = match round % 8 {
            0 => Event::Nmi,
            1 => Event::Smi,
            2 => Event::Init { boot: random.next().is_multiple_of(2) },
            3 => Event::Start(random.next() as u8),
            4 => Event::AddressLine20(random.next().is_multiple_of(2)),
            5 => Event::Interrupt(random.next() as u8),
            _ => Event::Trap(Trap::Exception { code: random.next() as u32 % 32, arg: random.edge() }),
        };
        rig.deliver(event);
        let _ = rig.machine().wake(&rig.cpu);
        for kind in [AccessKind::Read, AccessKind::Write, AccessKind::Fetch] {
            let access = Access { kind, context: random.next() as usize % 3 };
            let _ = rig.machine().translate(&rig.cpu, &rig.bus, random.edge(), access);
        }
        for _ in 0..4 {
            scramble(&mut rig, &mut random);
            let helper = &HELPERS[first + random.next() as usize % (HELPERS.len() - first)];
            let size = [2, 4, 8][random.next() as usize % 3];
            let args = match random.next() % 3 {
                0 => [random.edge(), random.edge(), random.edge()],
                1 => [size, random.edge(), random.edge()],
                _ => [random.next() & 0xffff | size << 16, random.edge(), random.edge()],
            };
            let args = checked(helper.name, args, size);
            let mut cx = HelperCx { state: &mut rig.cpu, mem: &rig.bus };
            let _ = (helper.run)(&mut cx, args);
            assert_eq!(AMD64.regs.len(), 71);
        }
    }
}

/// Sizes are the lifter's, not the guest's.
fn checked(name: &str, args: [u64; 3], size: u64) -> [u64; 3] {
    let [first, second, third] = args;
    let port = if size == 8 { 1 } else { size };
    match name {
        "far_jump" | "far_call" => [first & 0xffff | size << 16, second, third],
        "far_return" | "interrupt_return" | "system_return" | "system_exit" | "push_flags" => [size, second, third],
        "pop_flags" | "load_gdt" | "load_idt" | "store_gdt" | "store_idt" => [first, size, third],
        "port_in" | "port_out" => [first & 0xffff, port, third],
        "check_segment" => [first & 0x1_07ff | 0x100, second, third],
        _ => args,
    }
}
