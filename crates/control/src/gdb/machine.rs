//! A machine as the `gdbstub` crate sees it: its processors are threads, and stopping one stops the machine.

use super::registers::{self, Registers};
use super::server::{Link, POLL};
use super::target::{AnyArch, RawRegisters, part};
use super::{Address, Server};
use gdbstub::common::{Signal, Tid};
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use gdbstub::stub::{GdbStub, MultiThreadStopReason};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, SwBreakpoint, SwBreakpointOps,
};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};
use isamorph_accel::Processor;
use isamorph_machines::{Event as MachineEvent, Machine};
use isamorph_space::AddressSpace;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

const PAGE: u64 = 4096;

/// The machine.
struct Debugged {
    machine: Arc<Machine>,
    registers: &'static Registers,
    breakpoints: BTreeSet<u64>,
    /// What happens to the machine, and the ends of steps.
    happened: Receiver<Happened>,
    teller: Sender<Happened>,
    /// The processor that is to execute one instruction, at the next resumption.
    step: Option<u32>,
}

/// Something that gdb is told of.
enum Happened {
    Event(MachineEvent),
    Stepped(u32),
}

fn tid(processor: u32) -> Tid {
    NonZeroUsize::MIN.saturating_add(processor as usize)
}

fn processor(tid: Tid) -> u32 {
    (tid.get() - 1) as u32
}

/// Serves gdb for a machine whose processors have the registers of `architecture`: one connection after the other, on a
/// thread of its own. While gdb is connected, the machine stands until gdb lets it go.
///
/// # Errors
/// The address cannot be used, or the host refuses a thread.
pub fn serve(address: &Address, machine: &Arc<Machine>, architecture: &str) -> io::Result<()> {
    let registers = registers::of(architecture).ok_or(io::ErrorKind::Unsupported)?;
    let server = Server::listen(address)?;
    let (teller, happened) = channel();
    let told = std::sync::Mutex::new(teller.clone());
    machine.subscribe(move |event| {
        if let Ok(teller) = told.lock() {
            let _ = teller.send(Happened::Event(event));
        }
    });
    let machine = machine.clone();
    let mut target = Debugged { machine, registers, breakpoints: BTreeSet::new(), happened, teller, step: None };
    let talk = move || {
        while let Ok(link) = server.accept() {
            target.machine.pause();
            while target.happened.try_recv().is_ok() {}
            // Whatever ended it, gdb is gone; an error is worth a line.
            if let Err(error) = GdbStub::new(link).run_blocking::<Loop>(&mut target) {
                eprintln!("qemu: gdbstub: {error}");
            }
            target.forget_breakpoints();
            target.machine.resume();
        }
    };
    std::thread::Builder::new().name("gdb".to_owned()).spawn(talk).map(drop)
}

impl Debugged {
    fn forget_breakpoints(&mut self) {
        for addr in std::mem::take(&mut self.breakpoints) {
            self.machine.accelerator().set_breakpoint(addr, false);
        }
    }
    fn with<R: Send + 'static>(
        &self,
        tid: Tid,
        job: impl FnOnce(&mut dyn Processor) -> R + Send + 'static,
    ) -> TargetResult<R, Self> {
        self.machine.with_processor(processor(tid), job).ok_or(TargetError::NonFatal)
    }
    fn insert(&mut self, addr: u64) -> TargetResult<bool, Self> {
        if self.breakpoints.insert(addr) {
            self.machine.accelerator().set_breakpoint(addr, true);
        }
        Ok(true)
    }
    fn remove(&mut self, addr: u64) -> TargetResult<bool, Self> {
        let known = self.breakpoints.remove(&addr);
        if known {
            self.machine.accelerator().set_breakpoint(addr, false);
        }
        Ok(known)
    }
}

/// Calls `access` with the physical address and the offset of each part of a virtual range that lies in one page, until
/// it fails or a page is not mapped; gives the number of bytes before that.
fn by_pages(
    processor: &mut dyn Processor,
    start: u64,
    len: usize,
    mut access: impl FnMut(u64, std::ops::Range<usize>) -> bool,
) -> usize {
    let mut done = 0;
    while done < len {
        let at = start.wrapping_add(done as u64);
        let n = ((PAGE - at % PAGE) as usize).min(len - done);
        match processor.translate(at) {
            Some(physical) if access(physical, done..done + n) => done += n,
            _ => break,
        }
    }
    done
}

impl Target for Debugged {
    type Arch = AnyArch;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::MultiThread(self)
    }
    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
    fn support_target_description_xml_override(&mut self) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Debugged {
    fn read_registers(&mut self, regs: &mut RawRegisters, tid: Tid) -> TargetResult<(), Self> {
        let registers = self.registers;
        regs.0 = self.with(tid, move |p| registers.read(p.state()))?;
        Ok(())
    }
    fn write_registers(&mut self, regs: &RawRegisters, tid: Tid) -> TargetResult<(), Self> {
        let (registers, bytes) = (self.registers, regs.0.clone());
        self.with(tid, move |p| registers.write(p.state_mut(), &bytes))
    }
    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let (memory, len) = (self.machine.memory().clone(), data.len());
        let bytes = self.with(tid, move |p| {
            let mut bytes = vec![0; len];
            let read = |physical, range| AddressSpace::read(&memory, physical, &mut bytes[range]).is_ok();
            let count = by_pages(p, start, len, read);
            bytes.truncate(count);
            bytes
        })?;
        data[..bytes.len()].copy_from_slice(&bytes);
        if bytes.is_empty() { Err(TargetError::NonFatal) } else { Ok(bytes.len()) }
    }
    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let (memory, bytes) = (self.machine.memory().clone(), data.to_vec());
        let count = self.with(tid, move |p| {
            by_pages(p, start, bytes.len(), |physical, range| memory.write(physical, &bytes[range]).is_ok())
        })?;
        if count == data.len() { Ok(()) } else { Err(TargetError::NonFatal) }
    }
    fn list_active_threads(&mut self, register: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        (0..self.machine.processor_count()).map(tid).for_each(register);
        Ok(())
    }
}

impl MultiThreadResume for Debugged {
    /// One instruction of one processor while the others stand, or all of them.
    fn resume(&mut self) -> Result<(), Infallible> {
        match self.step.take() {
            None => self.machine.resume(),
            Some(index) => {
                let stopped = self.machine.with_processor(index, |p| p.step());
                // A processor that waits for an interrupt has made no step, and would make none if it tried again.
                let _ = stopped;
                let _ = self.teller.send(Happened::Stepped(index));
            }
        }
        Ok(())
    }
    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.step = None;
        Ok(())
    }
    fn set_resume_action_continue(&mut self, _: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        Ok(())
    }
    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSchedulerLocking for Debugged {
    /// Steps always leave the other processors alone.
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl MultiThreadSingleStep for Debugged {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        self.step = Some(processor(tid));
        Ok(())
    }
}

impl Breakpoints for Debugged {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

/// Nothing is written to the guest's memory, so that both kinds are the same.
impl SwBreakpoint for Debugged {
    fn add_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        self.insert(addr)
    }
    fn remove_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        self.remove(addr)
    }
}

impl HwBreakpoint for Debugged {
    fn add_hw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        self.insert(addr)
    }
    fn remove_hw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        self.remove(addr)
    }
}

impl TargetDescriptionXmlOverride for Debugged {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        Ok(part(self.registers.description().as_bytes(), offset, length, buf))
    }
}

struct Loop;

type Reason = MultiThreadStopReason<u64>;

/// What gdb is told of something, if anything.
fn reason(happened: &Happened) -> Option<Reason> {
    let trap = |tid, signal| Some(MultiThreadStopReason::SignalWithThread { tid, signal });
    match happened {
        Happened::Stepped(index) => trap(tid(*index), Signal::SIGTRAP),
        Happened::Event(MachineEvent::Breakpoint(index)) => Some(MultiThreadStopReason::SwBreak(tid(*index))),
        Happened::Event(MachineEvent::Stopped(isamorph_machines::RunState::Debug)) => None,
        Happened::Event(MachineEvent::Stopped(_)) => trap(tid(0), Signal::SIGINT),
        Happened::Event(MachineEvent::Shutdown(_)) => Some(MultiThreadStopReason::Exited(0)),
        Happened::Event(_) => None,
    }
}

impl BlockingEventLoop for Loop {
    type Target = Debugged;
    type Connection = Link;
    type StopReason = Reason;

    fn wait_for_stop_reason(
        target: &mut Debugged,
        link: &mut Link,
    ) -> Result<Event<Reason>, WaitForStopReasonError<Infallible, io::Error>> {
        loop {
            if let Some(reason) = target.happened.recv_timeout(POLL).ok().as_ref().and_then(reason) {
                return Ok(Event::TargetStopped(reason));
            }
            if link.peek().map_err(WaitForStopReasonError::Connection)?.is_some() {
                return link.read().map(Event::IncomingData).map_err(WaitForStopReasonError::Connection);
            }
        }
    }
    /// The report comes when the machine stands.
    fn on_interrupt(target: &mut Debugged) -> Result<Option<Reason>, Infallible> {
        target.machine.pause();
        Ok(None)
    }
}
