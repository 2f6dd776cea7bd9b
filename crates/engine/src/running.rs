#![allow(unsafe_code)] // enters compiled code, and is entered by it and by the fault handler

//! The boundary between Rust and compiled code: going in, faults, helper calls.
//!
//! The fault handler and the helper entry find the vCPU of their thread in a thread-local variable. They run while
//! [`Running::enter`] waits for compiled code to return, so they use only what is shared: atomics, cells, and the state
//! through its raw address.

use crate::shadow::ShadowStack;
use crate::translate::Jit;
use crate::user::UserWorld;
use crate::world::Code;
use isamorph_cache::{FaultSite, Vcpu};
use isamorph_code::{ExitReason, Recipe, Thunk, unpack_flags};
use isamorph_host::fault::{FaultContext, Verdict};
use isamorph_host::fpu::{self, FxImage};
use isamorph_host::{Errno, signal};
use isamorph_ir::{CpuState, Family, FaultCause, FlagSet, FloatUnit, HelperCx, MemFault, Memory, RegId, Trap};
use isamorph_ram::HostFault;
use isamorph_x64::{Access, Frame};
use std::cell::Cell;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;

/// A CPU state whose address compiled code holds.
pub struct State(NonNull<CpuState>);

impl State {
    fn new(state: Box<CpuState>) -> Self {
        State(NonNull::from(Box::leak(state)))
    }
}

impl Deref for State {
    type Target = CpuState;
    fn deref(&self) -> &CpuState {
        // SAFETY: the state is ours; compiled code uses it only during `enter`, which borrows `self`'s owner.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut CpuState {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: it came from a box.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// What became of an access that found no translation of its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Miss {
    /// There is one now.
    Retry,
    /// The instruction is to be run alone: a device, an access that reaches into the next page, a store to code, an
    /// exception of the guest.
    Alone,
}

/// Memory with translated addresses, as compiled code and helpers that it calls need it.
pub trait Translated {
    /// The memory, for helpers.
    fn memory(&self) -> &dyn Memory;
    /// Compiled code has found no translation for an access to `addr .. addr + bytes`. `write` also if it reads in
    /// order to write.
    fn miss(&self, state: &mut CpuState, addr: u64, bytes: u32, write: bool) -> Miss;
    /// From now on stores to pages with translated code are refused, or no longer; tells whether one was refused.
    fn guard(&self, on: bool) -> bool;
}

/// The memory that compiled code works on.
enum Around {
    /// That of a user program.
    User(UserWorld),
    /// That of a machine.
    Machine(Rc<dyn Translated>),
}

/// Compiled code for one of the guests that share the state, as this vCPU runs it.
struct Lane {
    jit: Arc<Jit>,
    member: Vcpu,
    shadow: ShadowStack,
}

impl Lane {
    /// A member of the JIT's cache with that state.
    fn new(jit: Arc<Jit>, state: &CpuState) -> Result<Self, Errno> {
        let shadow = ShadowStack::new(jit.cache.thunk(Thunk::Underflow))?;
        // SAFETY: the state is boxed, so the request stays where it is; the membership is dropped before it.
        let member = unsafe { Vcpu::new(jit.cache.clone(), &raw const state.header.exit_request) }?;
        Ok(Lane { jit, member, shadow })
    }
}

/// What the fault handler or a helper left for the dispatcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pending {
    /// An exception of the instruction at the program counter.
    Trap(Trap),
    /// The instruction at the program counter stores into its own region: run it alone.
    Alone,
    /// The interpreter finds out what the instruction at the program counter does.
    Interpret,
}

/// The part of a vCPU that the fault handler and helpers see.
pub struct Running {
    /// Shared by all vCPUs. In a machine, that of the current lane.
    pub jit: Arc<Jit>,
    /// Membership in its cache. Before the state, whose exit request it uses until it is dropped.
    pub member: Vcpu,
    shadow: ShadowStack,
    /// The other lanes; nothing at the place of the current one.
    parked: Vec<Option<Lane>>,
    lane: usize,
    around: Around,
    /// The state.
    pub state: State,
    pending: Cell<Option<Pending>>,
}

thread_local! {
    /// The vCPU whose code this thread runs or ran last.
    static CURRENT: Cell<*const Running> = const { Cell::new(ptr::null()) };
}

impl Running {
    /// A vCPU of a user program with that state.
    ///
    /// # Errors
    /// The host refuses the memory; the state comes back.
    pub fn new(jit: Arc<Jit>, world: UserWorld, state: Box<CpuState>) -> Result<Self, (Errno, Box<CpuState>)> {
        match Lane::new(jit, &state) {
            Ok(lane) => Ok(Self::with(lane, Vec::new(), Around::User(world), state)),
            Err(e) => Err((e, state)),
        }
    }
    /// A vCPU of a machine with that state, which is in the first of its lanes.
    ///
    /// # Errors
    /// The host refuses the memory.
    pub fn for_machine(jits: &[Arc<Jit>], memory: Rc<dyn Translated>, state: Box<CpuState>) -> Result<Self, Errno> {
        let lane = |jit: &Arc<Jit>| Lane::new(jit.clone(), &state);
        let mut parked = jits.iter().map(|jit| lane(jit).map(Some)).collect::<Result<Vec<_>, _>>()?;
        let first = parked.first_mut().and_then(Option::take).ok_or(Errno(NO_SUCH_PROCESSOR))?;
        Ok(Self::with(first, parked, Around::Machine(memory), state))
    }
    fn with(lane: Lane, parked: Vec<Option<Lane>>, around: Around, state: Box<CpuState>) -> Self {
        let Lane { jit, member, shadow } = lane;
        let (state, pending) = (State::new(state), Cell::new(None));
        let mut running = Running { jit, member, shadow, parked, lane: 0, around, state, pending };
        running.show_lane();
        running
    }
    /// Changes to another lane. Its shadow stack is empty.
    pub fn set_lane(&mut self, index: usize) {
        let Some(Lane { jit, member, shadow }) = self.parked.get_mut(index).and_then(Option::take) else { return };
        self.member.unpin();
        let jit = mem::replace(&mut self.jit, jit);
        let member = mem::replace(&mut self.member, member);
        let shadow = mem::replace(&mut self.shadow, shadow);
        let before = mem::replace(&mut self.lane, index);
        self.parked[before] = Some(Lane { jit, member, shadow });
        self.show_lane();
    }
    /// Tells compiled code of the current lane where its things are.
    fn show_lane(&mut self) {
        let header = &mut self.state.header;
        header.shadow_top = self.shadow.top() as u64;
        header.shadow_sp = header.shadow_top;
        header.jump_cache = self.member.jump_cache() as u64;
        header.code_base = self.jit.cache.base() as u64;
    }
    /// Makes this the calling thread's vCPU.
    pub fn make_current(&self) {
        if !ptr::eq(CURRENT.replace(self), self)
            && let Around::User(world) = &self.around
        {
            set_gs_base(world.space.host_base());
        }
    }
    /// Calls `f` with the membership of the calling thread's vCPU.
    pub fn with_current<R>(f: impl FnOnce(Option<&Vcpu>) -> R) -> R {
        // SAFETY: a vCPU that is dropped is current no more.
        f(unsafe { CURRENT.get().as_ref() }.map(|r| &r.member))
    }
    /// Empties the shadow stack.
    pub fn empty_shadow(&mut self) {
        self.state.header.shadow_sp = self.state.header.shadow_top;
    }
    /// Runs compiled code from `entry` until it leaves.
    pub fn enter(&self, entry: usize) -> Option<ExitReason> {
        let thunk = self.jit.cache.thunk(Thunk::Enter);
        // SAFETY: the thunk is a function of this type. `entry` is a main entry of code that stays where it is, because
        // the member is pinned. Pinned registers, save image and shadow stack are in the state. The compiled code came
        // from the emitter, which keeps to the guest's memory and the state.
        unsafe {
            let enter = std::mem::transmute::<usize, extern "C" fn(*mut CpuState, usize)>(thunk);
            enter(self.state.0.as_ptr(), entry);
        }
        ExitReason::from_u32(self.state.header.exit_reason)
    }
    /// What the fault handler or a helper left.
    pub fn take_pending(&self) -> Option<Pending> {
        self.pending.take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if ptr::eq(CURRENT.get(), self) {
            CURRENT.set(ptr::null());
        }
    }
}

/// A machine's processor without any lane (`ENODEV`).
const NO_SUCH_PROCESSOR: i32 = 19;

/// Number of `arch_prctl(2)` and of its operation that sets the base of gs.
const ARCH_PRCTL: i64 = 158;
const ARCH_SET_GS: u64 = 0x1001;

/// Sets the base of gs, through which compiled code addresses the guest's memory unless the guest's addresses are the
/// host's. Nothing else in a process uses gs.
fn set_gs_base(base: u64) {
    if base != 0 {
        // SAFETY: the call changes nothing but the segment base. It does not fail for an address of a mapping.
        unsafe { signal::syscall(ARCH_PRCTL, [ARCH_SET_GS, base, 0, 0, 0, 0]) };
    }
}

/// Called by compiled code to run a helper: 0 means that it went well, 1 that it trapped.
pub extern "C" fn helper_entry(state: *mut CpuState, id: u32) -> u64 {
    // SAFETY: compiled code runs for the thread's vCPU, which is current and alive.
    let Some(running) = (unsafe { CURRENT.get().as_ref() }) else { return 1 };
    let core = &running.jit.core;
    // SAFETY: it is the state of that vCPU, and compiled code waits.
    let state = unsafe { &mut *state };
    let [a, b, c, ..] = state.header.scratch;
    let helper = &core.guest.helpers()[id as usize];
    // The region that calls goes on after the call, so that it must not change.
    let (result, refused) = match &running.around {
        Around::User(world) => {
            let mem = world.guarded(Code::Pages);
            ((helper.run)(&mut HelperCx { state, mem: &mem }, [a, b, c]), mem.has_refused())
        }
        Around::Machine(memory) => {
            memory.guard(true);
            let result = (helper.run)(&mut HelperCx { state, mem: memory.memory() }, [a, b, c]);
            (result, memory.guard(false))
        }
    };
    match result {
        Ok(result) => {
            state.header.scratch[3] = result;
            0
        }
        Err(trap) => {
            running.pending.set(Some(if refused { Pending::Alone } else { Pending::Trap(trap) }));
            1
        }
    }
}

/// Called by compiled code whose access found no translation, see [`isamorph_x64::Entries::miss`].
pub extern "C" fn miss_entry(state: *mut CpuState, frame: *mut Frame, site: usize) -> u64 {
    // SAFETY: compiled code runs for the thread's vCPU, which is current and alive.
    let Some(running) = (unsafe { CURRENT.get().as_ref() }) else { return 1 };
    // SAFETY: it is the state of that vCPU, and compiled code waits.
    let state = unsafe { &mut *state };
    let Access { bytes, write } = Access::from_word(state.header.exit_code);
    let miss = match &running.around {
        Around::Machine(memory) => memory.miss(state, state.header.exit_arg, bytes, write),
        Around::User(_) => Miss::Alone,
    };
    if miss == Miss::Retry {
        return 0;
    }
    // SAFETY: the thunk passes the frame that it has just filled in on this thread's stack, and nobody else knows it.
    let frame = unsafe { &mut *frame };
    match running.jit.cache.fault_at(site) {
        Some(site) => running.recover(frame, &site, Pending::Alone),
        None => unreachable!("the emitter made a fault point for each probe"),
    }
    1
}

/// The `si_code` of an integer division (`sigaction(2)`); the processor reports quotient overflow in the same way.
const FPE_INTDIV: i32 = 1;
/// #MF (SDM vol. 3, table 6-1).
const X87_ERROR: u32 = 16;
/// Signal numbers (`signal(7)`).
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;

/// Looks at a fault of compiled code. The engine registers it with the host; whoever registers something else calls it
/// from there.
pub fn on_fault(cx: &mut FaultContext<'_>) -> Verdict {
    // SAFETY: the thread's vCPU is alive, and only shared parts of it are used.
    let Some(running) = (unsafe { CURRENT.get().as_ref() }) else { return Verdict::NotMine };
    if !cx.is_synchronous() || !running.jit.cache.contains(cx.rip() as usize) {
        return Verdict::NotMine;
    }
    if cx.is_page_fault() && running.shadow.is_overflow(cx.addr()) {
        // The call that found the stack full is repeated with an empty one.
        cx.set_rsp(running.shadow.top() as u64);
        return Verdict::Resume;
    }
    let Some(site) = running.jit.cache.fault_at(cx.rip() as usize) else {
        running.report(cx);
        return Verdict::NotMine;
    };
    match running.classify(cx, &site) {
        Some(pending) => running.leave(cx, &site, pending),
        None => Verdict::Resume,
    }
}

/// The registers of compiled code that is interrupted in the middle of a guest instruction.
trait Interrupted {
    /// An integer register, by its x86 number.
    fn reg(&self, number: usize) -> u64;
    /// Sets it.
    fn set_reg(&mut self, number: usize, value: u64);
    /// Sets a vector register.
    fn set_vector(&mut self, number: usize, value: [u8; 16]);
    /// Sets the arithmetic flags.
    fn set_flags(&mut self, flags: FlagSet);
}

impl Interrupted for FaultContext<'_> {
    fn reg(&self, number: usize) -> u64 {
        self.reg(number)
    }
    fn set_reg(&mut self, number: usize, value: u64) {
        self.set_reg(number, value);
    }
    fn set_vector(&mut self, number: usize, value: [u8; 16]) {
        if let Some(image) = self.fpu() {
            image.set_xmm(number, value);
        }
    }
    fn set_flags(&mut self, flags: FlagSet) {
        self.set_eflags(self.eflags() & !FlagSet::all().bits() | flags.bits());
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
    fn set_flags(&mut self, flags: FlagSet) {
        self.set_flags(flags);
    }
}

fn trap(fault: MemFault) -> Pending {
    Pending::Trap(Trap::Memory(fault))
}

impl Running {
    /// Tells where compiled code went wrong: a bug of the emitter, after which the process dies.
    fn report(&self, cx: &FaultContext<'_>) {
        let (rip, addr, cache) = (cx.rip() as usize, cx.addr(), &self.jit.cache);
        let block = cache.block_pc(rip).map_or_else(|| "a thunk".to_owned(), |pc| format!("the block of {pc:#x}"));
        eprintln!(
            "unexpected signal {} (address {addr:#x}) at code offset {:#x}, in {block}",
            cx.signal(),
            rip - cache.base()
        );
    }
    /// What the guest makes of a fault; nothing if the instruction is simply repeated.
    fn classify(&self, cx: &FaultContext<'_>, site: &FaultSite) -> Option<Pending> {
        match (cx.signal(), &self.around) {
            (SIGFPE, _) if cx.code() == FPE_INTDIV => Some(Pending::Trap(Trap::Divide)),
            (SIGFPE, _) if cx.trap_number() == X87_ERROR => Some(Pending::Trap(Trap::Float(FloatUnit::X87))),
            (SIGFPE, _) => Some(Pending::Trap(Trap::Float(FloatUnit::Vector))),
            (SIGSEGV | SIGBUS, Around::User(world)) if cx.is_page_fault() => self.classify_access(cx, site, world),
            // A general-protection or alignment exception has no address, and neither has it for a guest of the host's
            // kind. For others it means something that the host sees otherwise: a tagged address, an access that must
            // be aligned.
            (SIGSEGV | SIGBUS, Around::User(_)) if self.jit.core.guest.table().family == Family::X86 => {
                Some(trap(MemFault { addr: 0, write: false, cause: FaultCause::Misaligned }))
            }
            // The same after a check that the emitter made, and in a machine, where it depends on the mode.
            _ => Some(Pending::Interpret),
        }
    }
    /// The same for a page fault.
    fn classify_access(&self, cx: &FaultContext<'_>, site: &FaultSite, world: &UserWorld) -> Option<Pending> {
        match world.space.handle_host_fault(cx.addr(), cx.is_write(), cx.signal() == SIGBUS) {
            HostFault::Retry => self.repeat(cx, site),
            HostFault::CodeStore(page) => {
                world.space.release_code(page);
                self.repeat(cx, site)
            }
            HostFault::Guest(fault) => Some(trap(fault)),
            // Beyond what the guest can map, but the access was the guest's.
            HostFault::NotGuest => {
                let mask = self.jit.core.guest.table().addr_mask() & world.address_mask;
                let addr = (cx.addr() as u64).wrapping_sub(world.space.host_base()) & mask;
                Some(trap(MemFault { addr, write: cx.is_write(), cause: FaultCause::Unmapped }))
            }
        }
    }
    /// How a store goes on whose page has been opened: alone, if its region is no longer what the guest's memory says,
    /// whoever dropped it.
    fn repeat(&self, cx: &FaultContext<'_>, site: &FaultSite) -> Option<Pending> {
        (cx.is_write() && !self.jit.cache.is_live(site.tb)).then_some(Pending::Alone)
    }
    /// Completes the guest's registers as they were before the instruction and leaves compiled code.
    fn leave(&self, cx: &mut FaultContext<'_>, site: &FaultSite, pending: Pending) -> Verdict {
        self.recover(cx, site, pending);
        cx.set_rip(self.jit.cache.thunk(Thunk::Fault) as u64);
        Verdict::Resume
    }
    /// Completes the guest's registers as they were before the instruction, ready for [`Thunk::Fault`].
    fn recover(&self, cx: &mut impl Interrupted, site: &FaultSite, pending: Pending) {
        let before: [u64; 16] = std::array::from_fn(|i| cx.reg(i));
        for recipe in &site.recipes {
            match *recipe {
                Recipe::Offset { reg, add } => {
                    self.set_pinned(cx, reg, |home| before[home].wrapping_add_signed(add.into()));
                }
                Recipe::Moved { reg, host } => self.set_pinned(cx, reg, |_| before[usize::from(host)]),
                Recipe::Saved { reg, offset } => self.restore_pinned(cx, reg, offset),
                Recipe::FlagsAt { offset } => cx.set_flags(FlagSet::from_bits_truncate(self.state_word(offset))),
                Recipe::PackedFlagsAt { offset } => cx.set_flags(unpack_flags(self.state_word(offset))),
            }
        }
        // SAFETY: the state is alive, and compiled code, its only user now, is interrupted.
        unsafe { (*self.state.0.as_ptr()).header.pc = site.pc };
        self.pending.set(Some(pending));
    }
    /// Sets the host register that a guest register is pinned to.
    fn set_pinned(&self, cx: &mut impl Interrupted, reg: u16, value: impl FnOnce(usize) -> u64) {
        if let Some(home) = self.jit.backend.host_register(RegId(reg)).map(usize::from) {
            let mask = self.jit.core.guest.table().def(RegId(reg)).ty.mask();
            cx.set_reg(home, value(home) & mask);
        }
    }
    /// Puts back a register that the emitter has saved in the state.
    fn restore_pinned(&self, cx: &mut impl Interrupted, reg: u16, offset: u32) {
        let saved: [u8; 16] = self.state_bytes(offset);
        match self.jit.backend.host_vector(RegId(reg)) {
            Some(number) => cx.set_vector(number.into(), saved),
            None => self.set_pinned(cx, reg, |_| u128::from_le_bytes(saved) as u64),
        }
    }
    /// A word of the state that the emitter names.
    fn state_word(&self, offset: u32) -> u32 {
        u32::from_le_bytes(self.state_bytes(offset))
    }
    /// Bytes of the state at a place that the emitter names.
    fn state_bytes<const N: usize>(&self, offset: u32) -> [u8; N] {
        let offset = (offset as usize).min(size_of::<CpuState>() - N);
        // SAFETY: inside the state, which is alive and used by nobody else while compiled code is interrupted.
        unsafe { self.state.0.as_ptr().byte_add(offset).cast::<[u8; N]>().read() }
    }
}

/// First and last byte of the x87 part of a save image besides the registers: control, status, tags, last instruction.
const X87_HEAD: std::ops::Range<usize> = 0..24;
/// ST(0) to ST(7).
const X87_REGS: std::ops::Range<usize> = 32..160;

/// Copies the host's x87 unit into a save image. The thunks have saved the rest.
pub fn save_x87(image: &mut [u8]) {
    let mut host = FxImage::default();
    fpu::save(&mut host);
    for part in [X87_HEAD, X87_REGS] {
        image[part.clone()].copy_from_slice(&host.0[part]);
    }
}

/// Loads the host's x87 unit from a save image. The thunks load the rest.
pub fn load_x87(image: &[u8]) {
    let mut host = FxImage::default();
    for part in [X87_HEAD, X87_REGS] {
        host.0[part.clone()].copy_from_slice(&image[part]);
    }
    // SAFETY: MXCSR is the default, and Rust code does not use the x87 unit.
    unsafe { fpu::restore(&host) };
}
