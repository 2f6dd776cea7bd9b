//! A processor of a machine for tests: interpreted, with a little RAM at address 0 and ports that only remember.
#![allow(dead_code)] // not every test file uses all of it

use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_interp::{Outcome, run};
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_ir::{CpuState, ExitKind, FaultCause, Flush, MemFault, Memory, RegId, Region, System, Trap};
use isamorph_x86::state::{
    AMD64, CR0, CR4, CS_ATTR, CS_BASE, DS_BASE, EFLAGS_REST, ES, ES_ATTR, ES_BASE, ES_LIMIT, FS_BASE, GS_BASE, SS_BASE,
    eflag, reset_user, rights, word,
};
use isamorph_x86::{X86, model};
use std::cell::RefCell;

/// Bytes of RAM.
pub const RAM: usize = 0x20_0000;
/// EFER.LMA.
pub const LMA: u64 = 1 << 10;
/// Attributes of a segment as real mode leaves them: data that may be written.
pub const DATA: u32 = 0x9300;
/// Attributes of flat data of 32 bits, privilege level 0.
pub const FLAT_DATA: u32 = 0xc0_9300;
/// Attributes of flat code.
pub const FLAT_CODE: u32 = 0xc0_9b00;
/// The bases of the six segments in encoding order.
const BASES: [RegId; 6] = [ES_BASE, CS_BASE, SS_BASE, DS_BASE, FS_BASE, GS_BASE];

/// RAM, and what was written to ports.
pub struct Board {
    ram: RefCell<Vec<u8>>,
    /// Ports, sizes and values in the order of the writes.
    pub written: RefCell<Vec<(u16, u32, u32)>>,
}

impl Board {
    fn range(addr: u64, len: usize, write: bool) -> Result<std::ops::Range<usize>, MemFault> {
        let at = addr as usize;
        match at.checked_add(len) {
            Some(end) if end <= RAM => Ok(at..end),
            _ => Err(MemFault { addr: addr.max(RAM as u64), write, cause: FaultCause::Unmapped }),
        }
    }
}

impl Memory for Board {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        out.copy_from_slice(&self.ram.borrow()[Self::range(addr, out.len(), false)?]);
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.ram.borrow_mut()[Self::range(addr, data.len(), true)?].copy_from_slice(data);
        Ok(())
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
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

impl System for Board {
    fn read_privileged(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.read(addr, out)
    }
    fn write_privileged(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.write(addr, data)
    }
    fn read_physical(&self, addr: u64, out: &mut [u8]) {
        out.fill(0xff);
        let _ = self.read(addr, out);
    }
    fn write_physical(&self, addr: u64, data: &[u8]) {
        let _ = self.write(addr, data);
    }
    /// A port reads as its number.
    fn port_in(&self, port: u16, _bytes: u32) -> u32 {
        port.into()
    }
    fn port_out(&self, port: u16, bytes: u32, value: u32) {
        self.written.borrow_mut().push((port, bytes, value));
    }
    fn flush(&self, _state: &mut CpuState, _what: Flush) {}
    fn controller_read(&self, _register: u32) -> Option<u64> {
        None
    }
    fn controller_write(&self, _register: u32, _value: u64) -> Option<()> {
        None
    }
}

impl CodeSource for Board {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let n = (RAM as u64).saturating_sub(pc).min(out.len() as u64) as usize;
        if self.read(pc, &mut out[..n]).is_err() { 0 } else { n }
    }
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `hlt`; the address behind it.
    Halt(u64),
    /// An exception of the instruction at that offset in its segment: code and argument.
    Raise(u64, u32, u64),
    /// A trap of the instruction at that offset.
    Trap(u64, Trap),
}

/// A processor with memory.
pub struct Machine {
    /// The processor.
    pub cpu: Box<CpuState>,
    /// Everything else.
    pub board: Board,
    /// Bounds of regions.
    pub limits: Limits,
}

impl Machine {
    /// Real mode at `segment:offset`, where the code is. The other segments have selectors and bases of their own: ES
    /// 0x2000, SS 0x3000, DS 0x4000, FS 0x5000, GS 0x6000.
    pub fn real(segment: u16, offset: u16, code: &[u8]) -> Self {
        let mut cpu = CpuState::new();
        reset_user(&mut cpu);
        let board = Board { ram: RefCell::new(vec![0; RAM]), written: RefCell::default() };
        let mut machine = Machine { cpu, board, limits: Limits::default() };
        let selectors = [0x2000, segment, 0x3000, 0x4000, 0x5000, 0x6000];
        for (n, selector) in selectors.into_iter().enumerate() {
            let n16 = n as u16;
            machine.set(RegId(ES.0 + n16), selector.into());
            machine.set(BASES[n], u64::from(selector) << 4);
            machine.set(RegId(ES_LIMIT.0 + n16), 0xffff);
            machine.set(RegId(ES_ATTR.0 + n16), DATA.into());
        }
        machine.set(CR0, 0x10);
        machine.set(EFLAGS_REST, 0);
        let pc = (u64::from(segment) << 4) + u64::from(offset);
        machine.board.write(pc, code).expect("the code fits");
        machine.cpu.set_pc(pc);
        machine
    }
    /// A register of any table row.
    pub fn get(&self, reg: RegId) -> u64 {
        self.cpu.get(&AMD64, reg)
    }
    /// Sets a register.
    pub fn set(&mut self, reg: RegId, value: u64) -> &mut Self {
        self.cpu.set(&AMD64, reg, value);
        self
    }
    /// Sets bits of EFLAGS other than arithmetic ones.
    pub fn set_flags(&mut self, bits: u32) -> &mut Self {
        let rest = self.get(EFLAGS_REST) | u64::from(bits);
        self.set(EFLAGS_REST, rest)
    }
    /// Bytes of RAM.
    pub fn bytes<const N: usize>(&self, addr: u64) -> [u8; N] {
        let mut out = [0; N];
        self.board.read(addr, &mut out).expect("RAM");
        out
    }
    /// A word of RAM.
    pub fn word(&self, addr: u64) -> u16 {
        u16::from_le_bytes(self.bytes(addr))
    }
    /// Stores to RAM.
    pub fn store(&mut self, addr: u64, bytes: &[u8]) -> &mut Self {
        self.board.write(addr, bytes).expect("RAM");
        self
    }
    /// The offset of the program counter in the code segment.
    pub fn ip(&self) -> u64 {
        self.cpu.pc().wrapping_sub(self.get(CS_BASE)) & 0xffff_ffff
    }
    /// The processor, as far as it runs the code of the current mode.
    pub fn guest(&self) -> X86 {
        let model = *model::MODELS.last().expect("a model");
        let long = self.get(CS_ATTR) as u32 & rights::LONG != 0 && word::EFER.get(&self.cpu) & LMA != 0;
        if long { X86::long(model) } else { X86::narrow(model) }
    }
    /// Changes a segment: number, base, limit and attributes.
    pub fn segment(&mut self, number: u16, base: u64, limit: u32, attributes: u32) -> &mut Self {
        self.set(BASES[usize::from(number)], base);
        self.set(RegId(ES_LIMIT.0 + number), limit.into());
        self.set(RegId(ES_ATTR.0 + number), attributes.into())
    }
    /// Protected mode with privilege level 0 and flat segments of 32 bits, at the same place.
    pub fn flat(code: &[u8]) -> Self {
        let mut m = Machine::real(0x100, 0, code);
        m.set(CR0, 0x11);
        for number in 0..6 {
            m.segment(number, 0, u32::MAX, if number == 1 { FLAT_CODE } else { FLAT_DATA });
        }
        m
    }
    /// The same in 64-bit code.
    pub fn long(code: &[u8]) -> Self {
        let mut m = Machine::flat(code);
        m.segment(1, 0, u32::MAX, FLAT_CODE & !rights::BIG | rights::LONG);
        word::EFER.set(&mut m.cpu, LMA | 1 << 8);
        m.set(CR0, 0x8000_0011).set(CR4, 0x20);
        m
    }
    /// Lifts the region at the program counter.
    pub fn lift(&self) -> Region {
        let guest = self.guest();
        let mut region = Region::default();
        guest
            .lift(&mut region, self.cpu.pc(), guest.mode(&self.cpu), &self.board, self.limits)
            .expect("the code can be fetched");
        verify(&region, guest.table(), guest.helpers()).unwrap();
        check_write_order(&region).unwrap();
        region
    }
    /// Runs a region; `Some` if that was the end.
    pub fn region(&mut self) -> Option<Stop> {
        let guest = self.guest();
        let region = self.lift();
        let base = self.get(CS_BASE);
        let offset = |pc: u64| pc.wrapping_sub(base) & 0xffff_ffff;
        match run(&region, guest.table(), guest.helpers(), &mut self.cpu, &self.board) {
            Outcome::Trap { trap, insn } => return Some(Stop::Trap(offset(region.insns[insn].pc), trap)),
            Outcome::Exit { exit, target } => match (region.exits[exit].kind, target) {
                (_, Some(pc)) => self.cpu.set_pc(pc),
                (ExitKind::Direct { pc } | ExitKind::Call { pc, .. } | ExitKind::Resync { next: pc }, _) => {
                    self.cpu.set_pc(pc);
                }
                (ExitKind::Halt { next }, _) => return Some(Stop::Halt(offset(next))),
                (ExitKind::Exception { pc, code, arg }, _) => return Some(Stop::Raise(offset(pc), code, arg)),
                (kind, _) => panic!("{kind:?} in a machine"),
            },
        }
        None
    }
    /// Runs until it halts or something is raised.
    pub fn run(&mut self) -> Stop {
        (0..10_000).find_map(|_| self.region()).expect("the program ends")
    }
}

/// The trap flag.
pub const TF: u32 = eflag::TF;
