//! A processor with page tables, descriptors and handlers, interpreted one instruction at a time: what an engine does,
//! without its caches.

use isamorph_guest::{Access, AccessKind, CodeSource, Delivered, Event, Limits, Physical, SystemGuest};
use isamorph_interp::{Outcome, run};
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_ir::{CpuState, ExitKind, Flush, HelperCx, MemFault, Memory, RegId, Region, System, Trap};
use isamorph_x86::state::{
    AMD64, CR0, CR4, CS, CS_BASE, ES, ES_ATTR, ES_BASE, ES_LIMIT, ESP, FS_BASE, SS, cpl, eflags, set_eflags, word,
};
use isamorph_x86::system::{Machine, Topology, cr0, cr4, efer};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Bytes of RAM.
pub const RAM: usize = 0x40_0000;
/// Where things are in RAM.
pub const GDT: u64 = 0x1000;
pub const IDT: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
pub const CODE: u64 = 0x4000;
/// Handler of vector n is a `hlt` at this address plus 16·n.
pub const HANDLERS: u64 = 0x8000;
pub const PAGES: u64 = 0x10_0000;
/// Stack pointers of levels 0 to 3.
pub const STACKS: [u64; 4] = [0x7000, 0x6800, 0x6400, 0x6000];

/// Selectors in the table that [`Rig::protected`] makes.
pub mod sel {
    pub const CODE0: u64 = 0x08;
    pub const DATA0: u64 = 0x10;
    pub const CODE3: u64 = 0x1b;
    pub const DATA3: u64 = 0x23;
    pub const TSS: u64 = 0x28;
    /// The upper half of the task state's descriptor in long mode is the next one.
    pub const CONFORMING: u64 = 0x38;
    pub const CODE1: u64 = 0x41;
    pub const DATA1: u64 = 0x49;
    pub const LONG0: u64 = 0x50;
    pub const LONG3: u64 = 0x5b;
    /// Not present.
    pub const ABSENT: u64 = 0x60;
    /// The first that tests may fill.
    pub const FREE: u64 = 0x80;
    pub const LAST: u64 = 0xf8;
}

/// What is around the processor.
pub struct Bus {
    ram: RefCell<Vec<u8>>,
    machine: Machine,
    /// The state as the last flush saw it, as an engine keeps it.
    view: RefCell<Box<CpuState>>,
    context: Cell<usize>,
    /// Ports and values written.
    pub ports: RefCell<Vec<(u16, u32)>>,
    /// Registers of the interrupt controller.
    pub controller: RefCell<BTreeMap<u32, u64>>,
    /// Flushes so far.
    pub flushes: RefCell<Vec<Flush>>,
}

impl Bus {
    fn at(addr: u64, len: usize) -> Option<std::ops::Range<usize>> {
        let at = usize::try_from(addr).ok()?;
        at.checked_add(len).filter(|end| *end <= RAM).map(|end| at..end)
    }
    fn look(&self, state: &CpuState) {
        *self.view.borrow_mut() = state.fork();
        self.context.set(self.machine.context(state));
    }
    /// The physical addresses of the pieces of an access.
    fn pieces(&self, addr: u64, len: usize, kind: AccessKind, context: usize) -> Result<Vec<(u64, usize)>, MemFault> {
        let (mut at, mut left, mut list) = (addr, len, Vec::new());
        while left > 0 {
            let n = left.min(0x1000 - (at & 0xfff) as usize);
            let mapping = self.machine.translate(&self.view.borrow(), self, at, Access { kind, context })?;
            list.push((mapping.page | at & 0xfff, n));
            (at, left) = (at.wrapping_add(n as u64), left - n);
        }
        Ok(list)
    }
    fn read_as(&self, addr: u64, out: &mut [u8], context: usize) -> Result<(), MemFault> {
        let mut done = 0;
        for (at, n) in self.pieces(addr, out.len(), AccessKind::Read, context)? {
            self.read_physical(at, &mut out[done..done + n]);
            done += n;
        }
        Ok(())
    }
    fn write_as(&self, addr: u64, data: &[u8], context: usize) -> Result<(), MemFault> {
        let mut done = 0;
        for (at, n) in self.pieces(addr, data.len(), AccessKind::Write, context)? {
            self.write_physical(at, &data[done..done + n]);
            done += n;
        }
        Ok(())
    }
    fn privileged(&self) -> usize {
        self.machine.privileged_context(&self.view.borrow())
    }
    /// Puts bytes into RAM.
    pub fn put(&self, addr: u64, bytes: &[u8]) {
        self.ram.borrow_mut()[addr as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    /// Puts words of 8 bytes into RAM.
    pub fn put64(&self, addr: u64, words: &[u64]) {
        for (n, word) in (0..).zip(words) {
            self.put(addr + 8 * n, &word.to_le_bytes());
        }
    }
    /// Reads a number of RAM.
    pub fn peek(&self, addr: u64, bytes: usize) -> u64 {
        let ram = self.ram.borrow();
        ram[addr as usize..][..bytes].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
    }
}

impl Physical for Bus {
    fn load(&self, addr: u64, bytes: u32) -> u64 {
        let mut raw = [0; 8];
        self.read_physical(addr, &mut raw[..bytes as usize]);
        u64::from_le_bytes(raw)
    }
    fn set_bits(&self, addr: u64, bytes: u32, old: u64, bits: u64) -> bool {
        let same = self.load(addr, bytes) == old;
        if same {
            self.write_physical(addr, &(old | bits).to_le_bytes()[..bytes as usize]);
        }
        same
    }
}

impl Memory for Bus {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.read_as(addr, out, self.context.get())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.write_as(addr, data, self.context.get())
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        self.pieces(addr, bytes as usize, AccessKind::Write, self.context.get())?;
        let mut raw = [0; 16];
        self.read(addr, &mut raw[..bytes as usize])?;
        let old = u128::from_le_bytes(raw);
        self.write(addr, &f(old).to_le_bytes()[..bytes as usize])?;
        Ok(old)
    }
    fn system(&self) -> Option<&dyn System> {
        Some(self)
    }
}

impl System for Bus {
    fn read_privileged(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.read_as(addr, out, self.privileged())
    }
    fn write_privileged(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.write_as(addr, data, self.privileged())
    }
    fn read_physical(&self, addr: u64, out: &mut [u8]) {
        out.fill(0xff);
        if let Some(range) = Self::at(addr, out.len()) {
            out.copy_from_slice(&self.ram.borrow()[range]);
        }
    }
    fn write_physical(&self, addr: u64, data: &[u8]) {
        if let Some(range) = Self::at(addr, data.len()) {
            self.ram.borrow_mut()[range].copy_from_slice(data);
        }
    }
    fn port_in(&self, port: u16, _bytes: u32) -> u32 {
        port.into()
    }
    fn port_out(&self, port: u16, _bytes: u32, value: u32) {
        self.ports.borrow_mut().push((port, value));
    }
    fn flush(&self, state: &mut CpuState, what: Flush) {
        self.look(state);
        self.flushes.borrow_mut().push(what);
    }
    fn controller_read(&self, register: u32) -> Option<u64> {
        self.controller.borrow().get(&register).copied()
    }
    fn controller_write(&self, register: u32, value: u64) -> Option<()> {
        let mut registers = self.controller.borrow_mut();
        registers.get_mut(&register).map(|slot| *slot = value)
    }
}

impl CodeSource for Bus {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let access = Access { kind: AccessKind::Fetch, context: self.context.get() };
        let byte = |at: u64| {
            let mapping = self.machine.translate(&self.view.borrow(), self, at, access).ok()?;
            let mut byte = [0];
            self.read_physical(mapping.page | at & 0xfff, &mut byte);
            Some(byte[0])
        };
        for (n, slot) in out.iter_mut().enumerate() {
            match byte(pc.wrapping_add(n as u64)) {
                Some(value) => *slot = value,
                None => return n,
            }
        }
        out.len()
    }
}

/// Where it stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// In the handler of that vector.
    Handler(u32),
    /// After a `hlt` elsewhere, at that address.
    Halt(u64),
    /// It shut down.
    Shutdown,
    /// It goes on and on.
    Endless,
}

/// A processor and its bus.
pub struct Rig {
    pub cpu: Box<CpuState>,
    pub bus: Bus,
}

impl Rig {
    /// After power-on.
    pub fn new(model: &str) -> Self {
        let machine = Machine::new(model, 64, Topology::flat(1)).unwrap();
        let mut cpu = CpuState::new();
        machine.reset(&mut cpu, 0);
        let bus = Bus {
            ram: RefCell::new(vec![0; RAM]),
            view: RefCell::new(cpu.fork()),
            context: Cell::new(machine.context(&cpu)),
            machine,
            ports: RefCell::default(),
            controller: RefCell::default(),
            flushes: RefCell::default(),
        };
        Rig { cpu, bus }
    }
    /// Real mode at 0:[`CODE`], with handlers for every vector and a stack at 0:7000.
    pub fn real() -> Self {
        let mut rig = Rig::new("max");
        for vector in 0..256 {
            rig.bus.put(4 * vector, &((HANDLERS + 16 * vector) as u32).to_le_bytes());
            rig.bus.put(HANDLERS + 16 * vector, &[0xf4]);
        }
        rig.set(CS, 0);
        rig.set(CS_BASE, 0);
        rig.set(ESP, STACKS[0]);
        rig.cpu.set_pc(CODE);
        rig
    }
    /// Protected mode without paging at level 0, 32-bit code, with the descriptors of [`sel`] and a gate for each of
    /// the first 32 vectors.
    pub fn protected() -> Self {
        let mut rig = Rig::new("max");
        for (selector, descriptor) in [
            (sel::CODE0, segment(0, 0xf_ffff, 0xc09b)),
            (sel::DATA0, segment(0, 0xf_ffff, 0xc093)),
            (sel::CODE3, segment(0, 0xf_ffff, 0xc0fb)),
            (sel::DATA3, segment(0, 0xf_ffff, 0xc0f3)),
            (sel::TSS, segment(TSS, 0x67, 0x008b)),
            (sel::CONFORMING, segment(0, 0xf_ffff, 0xc09f)),
            (sel::CODE1, segment(0, 0xf_ffff, 0xc0bb)),
            (sel::DATA1, segment(0, 0xf_ffff, 0xc0b3)),
            (sel::LONG0, segment(0, 0xf_ffff, 0xa09b)),
            (sel::LONG3, segment(0, 0xf_ffff, 0xa0fb)),
            (sel::ABSENT, segment(0, 0xf_ffff, 0xc01b)),
        ] {
            rig.descriptor(selector, descriptor);
        }
        for vector in 0..256 {
            rig.bus.put(HANDLERS + 16 * vector, &[0xf4]);
        }
        for vector in 0..32 {
            rig.gate(vector, gate(0xe, 0, sel::CODE0, HANDLERS + 16 * vector));
        }
        for (level, pointer) in (0..3).zip(STACKS) {
            let stack = [sel::DATA0, sel::DATA1, 0][level as usize];
            rig.bus.put64(TSS + 4 + 8 * level, &[stack << 32 | pointer]);
        }
        rig.bus.put(TSS + 0x66, &[0x68, 0]);
        for (w, value) in [
            (word::GDTR_BASE, GDT),
            (word::GDTR_LIMIT, sel::LAST + 7),
            (word::IDTR_BASE, IDT),
            (word::IDTR_LIMIT, 0x7ff),
            (word::TR, sel::TSS),
            (word::TR_BASE, TSS),
            (word::TR_LIMIT, 0x67),
            (word::TR_ATTR, 0x8b00),
        ] {
            w.set(&mut rig.cpu, value);
        }
        rig.set(CR0, cr0::PE | cr0::ET | cr0::NE);
        rig.level(0);
        rig.cpu.set_pc(CODE);
        rig.look();
        rig
    }
    /// 64-bit code at level 0, the first 1 GiB mapped one to one for everyone.
    pub fn long() -> Self {
        let mut rig = Rig::protected();
        rig.bus.put64(PAGES, &[PAGES + 0x1007]);
        rig.bus.put64(PAGES + 0x1000, &[0x87]);
        for vector in 0..32 {
            rig.long_gate(vector, gate(0xe, 0, sel::LONG0, HANDLERS + 16 * vector), 0);
        }
        for level in 0..3 {
            rig.bus.put64(TSS + 4 + 8 * level, &[STACKS[level as usize]]);
        }
        word::CR3.set(&mut rig.cpu, PAGES);
        word::EFER.set(&mut rig.cpu, efer::LME | efer::LMA | efer::NXE | efer::SCE);
        let cr0 = rig.get(CR0);
        rig.set(CR0, cr0 | cr0::PG | cr0::WP);
        rig.set(CR4, cr4::PAE | cr4::PGE);
        rig.level(0);
        rig.look();
        rig
    }
    /// Tells the bus about changed registers.
    pub fn look(&mut self) {
        self.bus.look(&self.cpu);
    }
    pub fn get(&self, reg: RegId) -> u64 {
        self.cpu.get(&AMD64, reg)
    }
    pub fn set(&mut self, reg: RegId, value: u64) {
        self.cpu.set(&AMD64, reg, value);
    }
    pub fn descriptor(&mut self, selector: u64, descriptor: u64) {
        self.bus.put64(GDT + (selector & !7), &[descriptor]);
    }
    pub fn gate(&mut self, vector: u64, gate: u64) {
        self.bus.put64(IDT + 8 * vector, &[gate]);
    }
    pub fn long_gate(&mut self, vector: u64, gate: u64, table: u64) {
        self.bus.put64(IDT + 16 * vector, &[gate | table << 32, 0]);
    }
    /// Loads a segment register, unchecked, from the table.
    pub fn load(&mut self, number: u16, selector: u64) {
        let raw = self.bus.peek(GDT + (selector & !7), 8);
        let high = (raw >> 32) as u32;
        let base = u64::from(high & 0xff00_0000 | (high & 0xff) << 16 | (raw as u32) >> 16);
        let limit = raw as u32 & 0xffff | high & 0xf_0000;
        let limit = if high >> 23 & 1 != 0 { limit << 12 | 0xfff } else { limit };
        let attr = u64::from(high & 0x00f0_ff00);
        let base_row = if number < 4 { RegId(ES_BASE.0 + number) } else { RegId(FS_BASE.0 + number - 4) };
        self.set(RegId(ES.0 + number), selector);
        self.set(base_row, base);
        self.set(RegId(ES_LIMIT.0 + number), limit.into());
        self.set(RegId(ES_ATTR.0 + number), attr);
    }
    /// Goes to a privilege level, in the code of the current width.
    pub fn level(&mut self, level: u64) {
        let long = word::EFER.get(&self.cpu) & efer::LMA != 0;
        let (code, data) = match level {
            0 => (if long { sel::LONG0 } else { sel::CODE0 }, sel::DATA0),
            1 => (sel::CODE1, sel::DATA1),
            _ => (if long { sel::LONG3 } else { sel::CODE3 }, sel::DATA3),
        };
        self.load(1, code);
        for n in [0, 2, 3] {
            self.load(n, data);
        }
        self.set(ESP, STACKS[level as usize]);
        self.look();
    }
    /// Puts code at [`CODE`] and runs it.
    pub fn code(&mut self, bytes: &[u8]) -> Stop {
        self.bus.put(CODE, bytes);
        self.cpu.set_pc(CODE);
        self.run()
    }
    pub fn run(&mut self) -> Stop {
        for _ in 0..10_000 {
            if let Some(stop) = self.step() {
                return stop;
            }
        }
        Stop::Endless
    }
    /// Has the processor take an event.
    pub fn deliver(&mut self, event: Event) -> Delivered {
        let mut cx = HelperCx { state: &mut self.cpu, mem: &self.bus };
        self.bus.machine.deliver(&mut cx, event)
    }
    pub fn machine(&self) -> &Machine {
        &self.bus.machine
    }
    fn trap(&mut self, trap: Trap) -> Option<Stop> {
        let delivered = self.deliver(Event::Trap(trap));
        (delivered == Delivered::Shutdown).then_some(Stop::Shutdown)
    }
    /// Runs one instruction.
    pub fn step(&mut self) -> Option<Stop> {
        if let Some(trap) = self.machine().wake(&self.cpu).trap {
            return self.trap(trap);
        }
        self.bus.context.set(self.machine().context(&self.cpu));
        let pc = self.cpu.pc();
        let mut region = Region::default();
        let guest = self.machine().lanes()[self.machine().lane(&self.cpu)].clone();
        let (mode, limits) = (guest.mode(&self.cpu), Limits { max_insns: 1, precise: true });
        if let Err(fault) = guest.lift(&mut region, pc, mode, &self.bus, limits) {
            let access = Access { kind: AccessKind::Fetch, context: self.bus.context.get() };
            let view = self.bus.view.borrow().fork();
            let fault = self.machine().translate(&view, &self.bus, fault.addr, access).expect_err("it faulted");
            return self.trap(Trap::Memory(fault));
        }
        verify(&region, guest.table(), guest.helpers()).unwrap();
        check_write_order(&region).unwrap();
        match run(&region, guest.table(), guest.helpers(), &mut self.cpu, &self.bus) {
            Outcome::Trap { trap, .. } => {
                self.cpu.set_pc(pc);
                self.trap(trap)
            }
            Outcome::Exit { exit, target } => match region.exits[exit].kind {
                ExitKind::Exception { pc, code, arg } => {
                    self.cpu.set_pc(pc);
                    self.trap(Trap::Exception { code, arg })
                }
                ExitKind::Halt { next } => {
                    self.cpu.set_pc(next);
                    Some(self.stopped(next))
                }
                ExitKind::Direct { pc } | ExitKind::Call { pc, .. } | ExitKind::Resync { next: pc } => {
                    self.cpu.set_pc(pc);
                    None
                }
                _ => {
                    self.cpu.set_pc(target.expect("a computed exit"));
                    None
                }
            },
        }
    }
    fn stopped(&self, next: u64) -> Stop {
        let at = next - 1;
        let handlers = HANDLERS..HANDLERS + 16 * 256;
        if handlers.contains(&at) && at.is_multiple_of(16) {
            Stop::Handler(((at - HANDLERS) / 16) as u32)
        } else {
            Stop::Halt(next)
        }
    }
    /// The words on the stack, from the top on.
    pub fn stack(&self, size: usize, count: u64) -> Vec<u64> {
        let base = if word::EFER.get(&self.cpu) & efer::LMA != 0 { 0 } else { self.get(RegId(ES_BASE.0 + 2)) };
        (0..count).map(|n| self.bus.peek(base + self.get(ESP) + n * size as u64, size)).collect()
    }
    pub fn flags(&self) -> u64 {
        eflags(&self.cpu).into()
    }
    pub fn set_flags(&mut self, bits: u64) {
        set_eflags(&mut self.cpu, bits as u32);
    }
    pub fn cpl(&self) -> u32 {
        cpl(&self.cpu)
    }
    /// Selectors of CS and SS.
    pub fn selectors(&self) -> (u64, u64) {
        (self.get(CS), self.get(SS))
    }
}

/// A descriptor of 8 bytes; the attributes are those of bits 40 to 55.
pub fn segment(base: u64, limit: u64, attr: u64) -> u64 {
    limit & 0xffff | (base & 0xff_ffff) << 16 | attr << 40 | (limit >> 16 & 15) << 48 | (base >> 24 & 0xff) << 56
}

/// A gate: type, privilege level, selector, offset.
pub fn gate(kind: u64, level: u64, selector: u64, offset: u64) -> u64 {
    offset & 0xffff | (selector & 0xffff) << 16 | (0x80 | level << 5 | kind) << 40 | (offset >> 16 & 0xffff) << 48
}
