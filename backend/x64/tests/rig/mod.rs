//! Runs one compiled region on the host, for tests.
#![allow(unsafe_code)] // Entering compiled code and handling its faults is what this rig is for.

mod paged;

use isamorph_code::{Compiled, ExitReason, FaultPoint, Recipe, Thunk, Thunks, unpack_flags};
use isamorph_host::dual::DualMap;
use isamorph_host::fault::{self, AltStack, FaultContext, Verdict};
use isamorph_ir::testing::HELPERS;
use isamorph_ir::{CpuState, FaultCause, FlagSet, HelperCx, MemFault, Memory, RegId, RegTable, Region, Trap};
use isamorph_ram::{HostFault, MapRequest, UserSpace};
use isamorph_x64::{Access, Backend, Config, Entries, Frame, GuestMemory, Scratch};
use paged::Paged;
use std::cell::Cell;

const CODE_AT: usize = 1 << 16;

/// How compiled code left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// Through an exit to this address.
    To(u64),
    /// With an exception, system call or halt.
    Stopped(ExitReason),
    /// A fault or a helper's trap in this guest instruction.
    Trap(Trap),
}

/// A host for compiled regions.
pub struct Rig {
    pub table: &'static RegTable,
    backend: Backend,
    thunks: Thunks,
    map: DualMap,
    pub space: UserSpace,
    /// The guest's memory, if its addresses are translated.
    pub paged: Option<Paged>,
    scratch: Scratch,
    pub compiled: Compiled,
    shadow: Vec<u64>,
    jump_cache: Vec<u32>,
    _stack: AltStack,
}

thread_local! {
    static CURRENT: Cell<*const Rig> = const { Cell::new(std::ptr::null()) };
    static STATE: Cell<*mut CpuState> = const { Cell::new(std::ptr::null_mut()) };
    static TRAP: Cell<Option<Trap>> = const { Cell::new(None) };
}

extern "C" fn helper_entry(state: *mut CpuState, id: u32) -> u64 {
    // SAFETY: compiled code passes the state that `run` entered it with, and the rig outlives the run.
    let (state, rig) = unsafe { (&mut *state, &*CURRENT.get()) };
    let args = [state.header.scratch[0], state.header.scratch[1], state.header.scratch[2]];
    match (HELPERS[id as usize].run)(&mut HelperCx { state, mem: rig.memory() }, args) {
        Ok(value) => {
            state.header.scratch[3] = value;
            0
        }
        Err(trap) => {
            TRAP.set(Some(trap));
            1
        }
    }
}

extern "C" fn miss_entry(state: *mut CpuState, frame: *mut Frame, site: usize) -> u64 {
    // SAFETY: compiled code passes the state that `run` entered it with and the frame of its thunk, and the rig
    // outlives the run.
    let (state, frame, rig) = unsafe { (&mut *state, &mut *frame, &*CURRENT.get()) };
    let paged = rig.paged.as_ref().expect("only translated accesses miss");
    let (addr, Access { bytes, write }) = (state.header.exit_arg, Access::from_word(state.header.exit_code));
    match paged.check(addr, bytes.into(), write) {
        Ok(()) => {
            paged.insert(addr);
            0
        }
        Err(fault) => {
            let offset = site as u64 - (rig.map.rx_base() as u64 + CODE_AT as u64);
            let point = *rig.compiled.fault_at(offset as u32).expect("a miss is a fault point");
            TRAP.set(Some(Trap::Memory(fault)));
            rig.recover(frame, point);
            1
        }
    }
}

/// The registers of interrupted code.
trait Interrupted {
    fn reg(&self, number: usize) -> u64;
    fn set_reg(&mut self, number: usize, value: u64);
    fn set_vector(&mut self, number: usize, value: [u8; 16]);
    fn set_flags(&mut self, flags: u32);
}

impl Interrupted for FaultContext<'_> {
    fn reg(&self, number: usize) -> u64 {
        self.reg(number)
    }
    fn set_reg(&mut self, number: usize, value: u64) {
        self.set_reg(number, value);
    }
    fn set_vector(&mut self, number: usize, value: [u8; 16]) {
        self.fpu().expect("a frame has one").set_xmm(number, value);
    }
    fn set_flags(&mut self, flags: u32) {
        self.set_eflags(self.eflags() & !0x8d5 | flags & 0x8d5);
    }
}

impl Interrupted for Frame {
    fn reg(&self, number: usize) -> u64 {
        self.reg(number)
    }
    fn set_reg(&mut self, number: usize, value: u64) {
        self.set_reg(number, value);
    }
    fn set_vector(&mut self, number: usize, value: [u8; 16]) {
        self.set_vector(number, u128::from_le_bytes(value));
    }
    fn set_flags(&mut self, flags: u32) {
        self.set_flags(FlagSet::from_bits_truncate(flags));
    }
}

fn on_fault(cx: &mut FaultContext<'_>) -> Verdict {
    let rig = CURRENT.get();
    if rig.is_null() {
        return Verdict::NotMine;
    }
    // SAFETY: the rig outlives the run that set the pointer.
    let rig = unsafe { &*rig };
    let offset = cx.rip().wrapping_sub(rig.map.rx_base() as u64 + CODE_AT as u64);
    let Some(&point) = u32::try_from(offset).ok().and_then(|at| rig.compiled.fault_at(at)) else {
        return Verdict::NotMine;
    };
    let trap = match cx.signal() {
        8 => Trap::Divide,
        // The processor reports a misaligned vector access as a general protection fault without an address.
        // Smaller accesses end in an undefined instruction.
        signal if signal == 4 || cx.code() == 128 => {
            Trap::Memory(MemFault { addr: 0, write: false, cause: FaultCause::Misaligned })
        }
        _ => match rig.space.handle_host_fault(cx.addr(), cx.is_write(), cx.signal() == 7) {
            HostFault::Guest(fault) => Trap::Memory(fault),
            HostFault::NotGuest if rig.table.addr_bits == 64 => {
                Trap::Memory(MemFault { addr: cx.addr() as u64, write: cx.is_write(), cause: FaultCause::Unmapped })
            }
            other => panic!("a fault of the host's own: {other:?}"),
        },
    };
    TRAP.set(Some(trap));
    rig.recover(cx, point);
    cx.set_rip((rig.map.rx_base() + rig.thunks.offsets[Thunk::Fault as usize] as usize) as u64);
    Verdict::Resume
}

/// Bytes of the state that the interrupted code works on.
fn saved<const N: usize>(offset: u32) -> [u8; N] {
    // SAFETY: `run` set the pointer, and the emitter names offsets inside of the state.
    unsafe { STATE.get().cast::<u8>().add(offset as usize).cast::<[u8; N]>().read() }
}

impl Rig {
    pub fn new(table: &'static RegTable, precise: bool) -> Rig {
        Rig::with(table, precise, |backend| backend)
    }

    /// A rig whose back end is what `adapt` makes of it.
    pub fn with(table: &'static RegTable, precise: bool, adapt: impl FnOnce(Backend) -> Backend) -> Rig {
        Rig::build(table, precise, None, adapt)
    }

    /// A rig whose guest has translated addresses.
    pub fn translated(table: &'static RegTable, precise: bool) -> Rig {
        Rig::build(table, precise, Some(Paged::new()), |backend| backend)
    }

    fn build(
        table: &'static RegTable,
        precise: bool,
        paged: Option<Paged>,
        adapt: impl FnOnce(Backend) -> Backend,
    ) -> Rig {
        let space = UserSpace::new(isamorph_ram::Config::default()).expect("the host has room for a guest");
        let memory = match &paged {
            Some(_) => GuestMemory::Translated,
            None => GuestMemory::Direct { base: space.host_base() },
        };
        let config = Config { memory, pc_shift: 0, bmi2: true, precise };
        let backend = adapt(Backend::new(table, HELPERS, config));
        let (helper, miss) = (helper_entry as *const () as usize, miss_entry as *const () as usize);
        let thunks = backend.thunks(Entries { helper, miss });
        let map = DualMap::new(1 << 22).expect("the host has room for code");
        map.write(0, &thunks.code);
        fault::install().expect("handlers can be installed");
        fault::set_callback(on_fault);
        Rig {
            table,
            backend,
            thunks,
            map,
            space,
            paged,
            scratch: Scratch::default(),
            compiled: Compiled::default(),
            shadow: vec![0; 1 << 14],
            jump_cache: vec![0; 1 << 16],
            _stack: AltStack::install().expect("an alternate stack can be installed"),
        }
    }

    /// The guest's memory.
    pub fn memory(&self) -> &dyn Memory {
        match &self.paged {
            Some(paged) => paged,
            None => &self.space,
        }
    }

    pub fn map_window(&self, addr: u64, len: u64) {
        let request = MapRequest { addr, len, prot: 3, fixed: true, ..Default::default() };
        self.space.map(&request).expect("the window can be mapped");
    }

    pub fn compile(&mut self, region: &Region) -> Result<(), isamorph_x64::Unsupported> {
        self.backend.compile(&mut self.scratch, region, &mut self.compiled)?;
        let mut code = self.compiled.code.clone();
        for reloc in &self.compiled.relocs {
            let target = i64::from(self.thunks.offsets[reloc.thunk as usize]);
            let from = CODE_AT as i64 + i64::from(reloc.at) + 4;
            code[reloc.at as usize..][..4].copy_from_slice(&((target - from) as i32).to_le_bytes());
        }
        self.map.write(CODE_AT, &code);
        Ok(())
    }

    fn recover(&self, cx: &mut impl Interrupted, point: FaultPoint) {
        let first = usize::from(point.recipe);
        let old: Vec<u64> = (0..16).map(|r| cx.reg(r)).collect();
        for recipe in &self.compiled.recipes[first..first + usize::from(point.recipe_count)] {
            match *recipe {
                Recipe::Offset { reg, add } => {
                    let host = usize::from(self.backend.host_register(RegId(reg)).expect("it is pinned"));
                    let sum = old[host].wrapping_add_signed(add.into());
                    cx.set_reg(host, sum & self.table.def(RegId(reg)).ty.mask());
                }
                Recipe::Moved { reg, host } => {
                    let to = usize::from(self.backend.host_register(RegId(reg)).expect("it is pinned"));
                    cx.set_reg(to, old[usize::from(host)]);
                }
                Recipe::Saved { reg, offset } => match self.backend.host_vector(RegId(reg)) {
                    Some(vector) => cx.set_vector(vector.into(), saved(offset)),
                    None => {
                        let to = usize::from(self.backend.host_register(RegId(reg)).expect("it is pinned"));
                        cx.set_reg(to, u64::from_le_bytes(saved(offset)));
                    }
                },
                Recipe::FlagsAt { offset } => cx.set_flags(u32::from_le_bytes(saved(offset))),
                Recipe::PackedFlagsAt { offset } => {
                    cx.set_flags(unpack_flags(u32::from_le_bytes(saved(offset))).bits());
                }
            }
        }
    }

    /// Runs the compiled region.
    pub fn run(&mut self, state: &mut CpuState) -> Left {
        let top = self.shadow.len() - 8;
        let base = self.map.rx_base();
        self.shadow[top..].fill((base + self.thunks.offsets[Thunk::Underflow as usize] as usize) as u64);
        state.header.shadow_top = &raw const self.shadow[top] as u64;
        state.header.shadow_sp = state.header.shadow_top;
        state.header.jump_cache = self.jump_cache.as_ptr() as u64;
        state.header.tlb = self.paged.as_ref().map_or(0, Paged::table);
        CURRENT.set(self);
        STATE.set(state);
        TRAP.set(None);
        let enter = base + self.thunks.offsets[Thunk::Enter as usize] as usize;
        let code = base + CODE_AT + self.compiled.entry as usize;
        let mut image = Default::default();
        isamorph_host::fpu::save(&mut image);
        // SAFETY: the thunk has this signature, and the code was compiled for this state's layout.
        unsafe {
            let enter: extern "C" fn(*mut CpuState, usize) = std::mem::transmute(enter);
            enter(state, code);
            isamorph_host::fpu::restore(&image);
        }
        CURRENT.set(std::ptr::null());
        let reason = ExitReason::from_u32(state.header.exit_reason).expect("a known reason");
        match (reason, TRAP.get()) {
            (ExitReason::Fault | ExitReason::Helper, Some(trap)) => Left::Trap(trap),
            (ExitReason::Link | ExitReason::Indirect, _) => Left::To(state.header.pc),
            (reason, _) => Left::Stopped(reason),
        }
    }
}
