//! A processor of the machine that KVM runs.

use crate::raw::Kicked;
use crate::{KvmMachine, cpuid, failed, raw, registers};
use isamorph_accel::{Left, Processor, Signals, Wires};
use isamorph_guest::{Delivered, Event};
use isamorph_ir::{CONTROLLER_PRIORITY, CpuState, FaultCause, HelperCx, MemFault, Memory};
use isamorph_space::{AddressSpace, initiator};
use kvm_bindings::{KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, kvm_guest_debug};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::sync::Arc;

/// Where the current registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In KVM only.
    Kvm,
    /// In KVM and in the state.
    Both,
    /// In the state, which has been changed.
    State,
}

/// A processor.
pub struct KvmProcessor {
    machine: Arc<KvmMachine>,
    vcpu: VcpuFd,
    index: u32,
    state: Box<CpuState>,
    place: Place,
    wires: Arc<Wires>,
    /// Whether the guest executed `hlt` and nothing has woken it since.
    halted: bool,
    /// Ends the kicks when the processor goes.
    _kicked: Kicked,
}

/// What an exit asks for.
enum Next {
    /// Going on.
    Run,
    /// The caller.
    Leave(Left),
}

impl KvmProcessor {
    /// Processor `index`, run by the calling thread.
    pub fn new(machine: Arc<KvmMachine>, index: u32, state: Box<CpuState>, wires: Arc<Wires>) -> Result<Self, String> {
        let mut vcpu = machine.vm.create_vcpu(index.into()).map_err(failed("KVM_CREATE_VCPU"))?;
        let entries = cpuid::answers(&machine.supported, &machine.model, index);
        let answers = kvm_bindings::CpuId::from_entries(&entries).map_err(|e| format!("CPUID: {e:?}"))?;
        vcpu.set_cpuid2(&answers).map_err(failed("KVM_SET_CPUID2"))?;
        initiator::set(index);
        let kicked = Kicked::register(&mut vcpu);
        wires.attach(Some(Box::new(kicked.kick())));
        Ok(KvmProcessor { machine, vcpu, index, state, place: Place::State, wires, halted: false, _kicked: kicked })
    }
    /// Registers into the state, if they are not there.
    fn load(&mut self) -> Result<(), String> {
        if self.place == Place::Kvm {
            registers::load(&self.vcpu, &mut self.state)?;
            self.place = Place::Both;
        }
        Ok(())
    }
    /// Registers into KVM, if they are not there.
    fn store(&mut self) -> Result<(), String> {
        if self.place == Place::State {
            let read = |register| self.wires.controller().and_then(|c| c.read(register));
            let apic_base = read(APIC_BASE).unwrap_or(0);
            let priority = read(CONTROLLER_PRIORITY).unwrap_or(0);
            registers::store(&self.vcpu, &self.state, apic_base, priority)?;
            self.place = Place::Both;
        }
        Ok(())
    }
    /// Whatever the host refuses ends the processor's life, with a message.
    fn fail(&mut self, text: &str) -> Left {
        eprintln!("isamorph: kvm: processor {}: {text}", self.index);
        Left::Failed
    }
    /// Has the state take an event that happens outside the guest.
    fn deliver(&mut self, event: Event) -> Result<(), String> {
        self.load()?;
        self.place = Place::State;
        self.halted = false;
        match self.machine.guest.deliver(&mut HelperCx { state: &mut self.state, mem: &Nothing }, event) {
            Delivered::Done => Ok(()),
            Delivered::Shutdown => Err(format!("{event:?} cannot be taken")),
        }
    }
    /// Serves the wires; says whether the caller is wanted instead.
    fn signals(&mut self) -> Result<Option<Left>, String> {
        let pending = self.wires.pending();
        if pending.contains(Signals::ATTENTION) {
            return Ok(Some(Left::Attention));
        }
        if !self.wires.take(Signals::INIT).is_empty() {
            self.deliver(Event::Init { boot: self.index == 0 })?;
        }
        if !self.wires.take(Signals::START).is_empty() {
            let vector = self.wires.start_vector();
            self.load()?;
            if self.machine.guest.wake(&self.state).waits_for_start {
                self.deliver(Event::Start(vector))?;
            }
        }
        if self.machine.has_nmi && !self.wires.take(Signals::NMI).is_empty() {
            self.vcpu.nmi().map_err(failed("KVM_NMI"))?;
            self.halted = false;
        }
        if self.machine.has_smi && !self.wires.take(Signals::SMI).is_empty() {
            self.vcpu.smi().map_err(failed("KVM_SMI"))?;
            self.halted = false;
        }
        Ok(None)
    }
    /// Hands over an external interrupt if there is one and the guest is ready, or asks to be told when it is.
    fn interrupts(&mut self) -> Result<(), String> {
        let wanted = self.wires.pending().contains(Signals::INTERRUPT);
        let run = self.vcpu.get_kvm_run();
        run.request_interrupt_window = u8::from(wanted);
        if wanted && run.ready_for_interrupt_injection != 0 && run.if_flag != 0 {
            if let Some(vector) = self.wires.controller().and_then(|c| c.acknowledge()) {
                raw::interrupt(&self.vcpu, vector).map_err(|e| format!("KVM_INTERRUPT failed: {e}"))?;
            }
            self.halted = false;
            let more = self.wires.pending().contains(Signals::INTERRUPT);
            self.vcpu.get_kvm_run().request_interrupt_window = u8::from(more);
        }
        Ok(())
    }
    /// Runs until something needs the caller; the text says what the host refused.
    fn go(&mut self, step: bool) -> Result<Left, String> {
        self.debug(step)?;
        loop {
            // Whoever has it step has its thread's attention.
            if let Some(left) = self.signals()?.filter(|left| !(step && *left == Left::Attention)) {
                return Ok(left);
            }
            if self.place != Place::Kvm && self.machine.guest.wake(&self.state).waits_for_start {
                return Ok(Left::Halted);
            }
            self.store()?;
            self.interrupts()?;
            if self.halted {
                return Ok(Left::Halted);
            }
            match self.enter()? {
                Next::Run => {}
                Next::Leave(left) => return Ok(left),
            }
        }
    }
    /// Enters the guest once and serves the exit. CR8 and the APIC base are kept by KVM and told with each exit.
    fn enter(&mut self) -> Result<Next, String> {
        self.place = Place::Kvm;
        let controller = self.wires.controller().cloned();
        let priority = controller.as_ref().and_then(|c| c.read(CONTROLLER_PRIORITY)).unwrap_or(0);
        let run = self.vcpu.get_kvm_run();
        run.cr8 = priority;
        let base = run.apic_base;
        let next = self.run_once();
        let run = self.vcpu.get_kvm_run();
        if let Some(controller) = controller {
            if run.cr8 != priority {
                controller.write(CONTROLLER_PRIORITY, run.cr8);
            }
            if run.apic_base != base {
                controller.write(APIC_BASE, run.apic_base);
            }
        }
        next
    }
    fn run_once(&mut self) -> Result<Next, String> {
        let KvmMachine { memory, ports, .. } = &*self.machine;
        Ok(match self.vcpu.run() {
            Ok(VcpuExit::IoIn(..) | VcpuExit::IoOut(..)) => {
                let access = raw::port_access(&mut self.vcpu, self.machine.vm.run_size());
                for chunk in access.data.chunks_exact_mut(access.size) {
                    if access.input {
                        read(ports, access.port, chunk);
                    } else {
                        write(ports, access.port, chunk);
                    }
                }
                Next::Run
            }
            Ok(VcpuExit::MmioRead(addr, data)) => {
                read(memory, addr, data);
                Next::Run
            }
            Ok(VcpuExit::MmioWrite(addr, data)) => {
                write(memory, addr, data);
                Next::Run
            }
            Ok(VcpuExit::Hlt) => {
                self.halted = true;
                Next::Run
            }
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::SetTpr | VcpuExit::Nmi) => Next::Run,
            Ok(VcpuExit::Shutdown) => Next::Leave(Left::Shutdown),
            Ok(VcpuExit::Debug(_)) => Next::Leave(Left::Breakpoint),
            Ok(VcpuExit::SystemEvent(..)) => Next::Leave(Left::Shutdown),
            Ok(VcpuExit::FailEntry(reason, _)) => {
                return Err(format!("the host's processor refused to enter the guest: hardware reason {reason:#x}"));
            }
            Ok(VcpuExit::InternalError) => return Err(self.internal_error()),
            Ok(other) => return Err(format!("exit {other:?} is not one that a PC makes")),
            Err(e) if e.errno() == libc::EINTR || e.errno() == libc::EAGAIN => {
                self.vcpu.set_kvm_immediate_exit(0);
                Next::Run
            }
            Err(e) => return Err(failed("KVM_RUN")(e)),
        })
    }
    /// What KVM says about why it gave up, and where.
    fn internal_error(&mut self) -> String {
        let (suberror, data) = raw::internal_error(self.vcpu.get_kvm_run());
        let why = match suberror {
            kvm_bindings::KVM_INTERNAL_ERROR_EMULATION => "it cannot emulate an instruction",
            kvm_bindings::KVM_INTERNAL_ERROR_SIMUL_EX => "exceptions came together",
            kvm_bindings::KVM_INTERNAL_ERROR_DELIVERY_EV => "an event could not be delivered",
            _ => "an unexpected exit",
        };
        let _ = self.load();
        let pc = self.state.pc();
        let mut code = [0; 16];
        let got = self.translate(pc).is_some_and(|at| self.machine.memory.read(at, &mut code).is_ok());
        let bytes = if got { format!("{code:02x?}") } else { "not readable".to_owned() };
        format!("KVM internal error. Suberror: {suberror} ({why}; {data:x?}); pc={pc:#x}, code there: {bytes}")
    }
    /// Breakpoints, and whether one instruction is wanted.
    fn debug(&mut self, step: bool) -> Result<(), String> {
        let points: Vec<u64> = self.machine.breakpoints().iter().copied().collect();
        let mut debug = kvm_guest_debug::default();
        if step {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        } else if !points.is_empty() {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
            // DR7: enable each, on execution, one byte (SDM vol. 3, 17.2.4).
            for (n, at) in points.iter().take(HARDWARE_BREAKPOINTS).enumerate() {
                debug.arch.debugreg[n] = *at;
                debug.arch.debugreg[7] |= 2 << (2 * n) | 1 << 10;
            }
        }
        if points.len() > HARDWARE_BREAKPOINTS {
            eprintln!("isamorph: kvm: only {HARDWARE_BREAKPOINTS} of {} breakpoints are set", points.len());
        }
        match self.vcpu.set_guest_debug(&debug) {
            Err(e) if debug.control != 0 => Err(failed("KVM_SET_GUEST_DEBUG")(e)),
            _ => Ok(()),
        }
    }
}

/// IA32_APIC_BASE.
const APIC_BASE: u32 = 0x1b;
/// DR0 to DR3.
const HARDWARE_BREAKPOINTS: usize = 4;

/// One access of a device; what nothing answers reads as ones.
fn read(space: &AddressSpace, addr: u64, out: &mut [u8]) {
    if space.read(addr, out).is_err() {
        out.fill(0xff);
    }
}

/// One access of a device; what nothing takes is lost, as on the bus.
fn write(space: &AddressSpace, addr: u64, data: &[u8]) {
    let _ = space.write(addr, data);
}

/// INIT and start-up access no memory.
struct Nothing;

impl Nothing {
    const fn fault(addr: u64, write: bool) -> MemFault {
        MemFault { addr, write, cause: FaultCause::Unmapped }
    }
}

impl Memory for Nothing {
    fn read(&self, addr: u64, _: &mut [u8]) -> Result<(), MemFault> {
        Err(Self::fault(addr, false))
    }
    fn write(&self, addr: u64, _: &[u8]) -> Result<(), MemFault> {
        Err(Self::fault(addr, true))
    }
    fn update(&self, addr: u64, _: u32, _: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        Err(Self::fault(addr, true))
    }
}

impl Processor for KvmProcessor {
    fn run(&mut self) -> Left {
        self.go(false).unwrap_or_else(|text| self.fail(&text))
    }
    fn step(&mut self) -> Option<Left> {
        match self.go(true).unwrap_or_else(|text| self.fail(&text)) {
            Left::Breakpoint => None,
            left => Some(left),
        }
    }
    fn state(&mut self) -> &CpuState {
        if let Err(text) = self.load() {
            self.fail(&text);
        }
        &self.state
    }
    fn state_mut(&mut self) -> &mut CpuState {
        if let Err(text) = self.load() {
            self.fail(&text);
        }
        self.place = Place::State;
        &mut self.state
    }
    fn translate(&mut self, addr: u64) -> Option<u64> {
        if self.store().is_err() {
            return None;
        }
        self.vcpu.translate_gva(addr).ok().filter(|t| t.valid != 0).map(|t| t.physical_address)
    }
}

impl Drop for KvmProcessor {
    fn drop(&mut self) {
        self.wires.attach(None);
    }
}
