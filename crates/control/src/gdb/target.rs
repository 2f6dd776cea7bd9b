//! The debugged process as the `gdbstub` crate sees it.

use super::registers::Registers;
use super::threads::{Report, Threads};
use gdbstub::arch::Arch;
use gdbstub::common::{Pid, Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::auxv::{Auxv, AuxvOps};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{Breakpoints, BreakpointsOps, SwBreakpoint, SwBreakpointOps};
use gdbstub::target::ext::exec_file::{ExecFile, ExecFileOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};
use isamorph_accel::Accel;
use isamorph_ir::Memory;
use isamorph_linux_user::debug::{Ending, Event, Resume};
use isamorph_ram::{PAGE, UserSpace};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// All guests: registers are bytes, whose meaning gdb takes from the target's description.
pub(super) enum AnyArch {}

impl Arch for AnyArch {
    type Usize = u64;
    type Registers = RawRegisters;
    type BreakpointKind = usize;
    type RegId = ();
}

/// The bytes of a `g` packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawRegisters(pub(super) Vec<u8>);

impl gdbstub::arch::Registers for RawRegisters {
    type ProgramCounter = u64;
    /// Only asked for by a kind of breakpoint that is not offered.
    fn pc(&self) -> u64 {
        0
    }
    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().for_each(|byte| write_byte(Some(*byte)));
    }
    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

/// The process.
pub(super) struct Debuggee {
    pub threads: Arc<Threads>,
    pub registers: &'static Registers,
    pub space: Arc<UserSpace>,
    pub accel: Arc<dyn Accel>,
    pub breakpoints: BTreeSet<u64>,
    /// The guest's program file and auxiliary vector.
    pub program: Vec<u8>,
    pub auxv: Vec<u8>,
}

fn tid(number: i32) -> Option<Tid> {
    NonZeroUsize::new(number as usize)
}

fn number(tid: Tid) -> i32 {
    tid.get() as i32
}

/// gdb's number of a Linux signal.
fn signal(linux: i32) -> Signal {
    SIGNALS.iter().find(|(n, _)| *n == linux).map_or(Signal::SIGUSR1, |(_, signal)| *signal)
}

fn linux(signal: Signal) -> i32 {
    SIGNALS.iter().find(|(_, s)| *s == signal).map_or(0, |(n, _)| *n)
}

/// Linux signals (`signal(7)`, x86 and Arm) and gdb's, which are numbered for no system in particular.
static SIGNALS: &[(i32, Signal)] = &[
    (1, Signal::SIGHUP),
    (2, Signal::SIGINT),
    (3, Signal::SIGQUIT),
    (4, Signal::SIGILL),
    (5, Signal::SIGTRAP),
    (6, Signal::SIGABRT),
    (7, Signal::SIGBUS),
    (8, Signal::SIGFPE),
    (9, Signal::SIGKILL),
    (10, Signal::SIGUSR1),
    (11, Signal::SIGSEGV),
    (12, Signal::SIGUSR2),
    (13, Signal::SIGPIPE),
    (14, Signal::SIGALRM),
    (15, Signal::SIGTERM),
    (17, Signal::SIGCHLD),
    (18, Signal::SIGCONT),
    (19, Signal::SIGSTOP),
    (20, Signal::SIGTSTP),
    (21, Signal::SIGTTIN),
    (22, Signal::SIGTTOU),
    (23, Signal::SIGURG),
    (24, Signal::SIGXCPU),
    (25, Signal::SIGXFSZ),
    (26, Signal::SIGVTALRM),
    (27, Signal::SIGPROF),
    (28, Signal::SIGWINCH),
    (29, Signal::SIGIO),
    (30, Signal::SIGPWR),
    (31, Signal::SIGSYS),
];

/// What gdb is told of a report.
pub(super) fn stop_reason(report: Report) -> MultiThreadStopReason<u64> {
    match report {
        Report::Ended(Ending::Exit(status)) => MultiThreadStopReason::Exited(status as u8),
        Report::Ended(Ending::Signal(n)) => MultiThreadStopReason::Terminated(signal(n)),
        Report::Stopped(thread, event) => {
            let Some(tid) = tid(thread) else { return MultiThreadStopReason::Signal(Signal::SIGTRAP) };
            match event {
                Event::Breakpoint => MultiThreadStopReason::SwBreak(tid),
                Event::Signal(n) => MultiThreadStopReason::SignalWithThread { tid, signal: signal(n) },
                Event::Attention => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGINT },
                Event::Stepped => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGTRAP },
            }
        }
    }
}

impl Target for Debuggee {
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
    fn support_exec_file(&mut self) -> Option<ExecFileOps<'_, Self>> {
        Some(self)
    }
    fn support_auxv(&mut self) -> Option<AuxvOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Debuggee {
    fn read_registers(&mut self, regs: &mut RawRegisters, tid: Tid) -> TargetResult<(), Self> {
        let read = |state: &isamorph_ir::CpuState| self.registers.read(state);
        regs.0 = self.threads.with_state(number(tid), read).ok_or(TargetError::NonFatal)?;
        Ok(())
    }
    fn write_registers(&mut self, regs: &RawRegisters, tid: Tid) -> TargetResult<(), Self> {
        let write = |state: &mut isamorph_ir::CpuState| self.registers.write(state, &regs.0);
        self.threads.change_state(number(tid), write).ok_or(TargetError::NonFatal)
    }
    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
    /// As many bytes as there are from the address on; none is an error.
    fn read_addrs(&mut self, start: u64, data: &mut [u8], _tid: Tid) -> TargetResult<usize, Self> {
        if self.space.read(start, data).is_ok() {
            return Ok(data.len());
        }
        let mut count = 0;
        for byte in data.iter_mut() {
            if self.space.read(start.wrapping_add(count as u64), std::slice::from_mut(byte)).is_err() {
                break;
            }
            count += 1;
        }
        if count == 0 { Err(TargetError::NonFatal) } else { Ok(count) }
    }
    fn write_addrs(&mut self, start: u64, data: &[u8], _tid: Tid) -> TargetResult<(), Self> {
        if self.space.write(start, data).is_ok() {
            return Ok(());
        }
        // The guest may not write there; a debugger may. All threads are stopped, so that nobody sees the page open.
        let region = self.space.region_at(start).ok_or(TargetError::NonFatal)?;
        let first = start & !(PAGE - 1);
        let len = (start - first + data.len() as u64).next_multiple_of(PAGE);
        let protect = |prot| self.space.protect(first, len, prot).map_err(|_| TargetError::NonFatal);
        protect(region.prot | libc::PROT_READ | libc::PROT_WRITE)?;
        let written = self.space.write(start, data).map_err(|_| TargetError::NonFatal);
        protect(region.prot)?;
        written
    }
    fn list_active_threads(&mut self, register: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        self.threads.ids().into_iter().filter_map(tid).for_each(register);
        Ok(())
    }
}

impl MultiThreadResume for Debuggee {
    fn resume(&mut self) -> Result<(), Infallible> {
        self.threads.resume();
        Ok(())
    }
    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.threads.clear_actions();
        Ok(())
    }
    fn set_resume_action_continue(&mut self, tid: Tid, signal: Option<Signal>) -> Result<(), Infallible> {
        self.threads.set_action(number(tid), Resume { step: false, signal: signal.map_or(0, linux) });
        Ok(())
    }
    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSchedulerLocking for Debuggee {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        self.threads.lock_scheduler();
        Ok(())
    }
}

impl MultiThreadSingleStep for Debuggee {
    fn set_resume_action_step(&mut self, tid: Tid, signal: Option<Signal>) -> Result<(), Infallible> {
        self.threads.set_action(number(tid), Resume { step: true, signal: signal.map_or(0, linux) });
        Ok(())
    }
}

impl Breakpoints for Debuggee {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Debuggee {
    fn add_sw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        let mapped = self.space.read(addr, &mut [0]).is_ok();
        if mapped && self.breakpoints.insert(addr) {
            self.accel.set_breakpoint(addr, true);
        }
        Ok(mapped)
    }
    fn remove_sw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        let known = self.breakpoints.remove(&addr);
        if known {
            self.accel.set_breakpoint(addr, false);
        }
        Ok(known)
    }
}

/// Copies what a transfer of gdb asks for.
pub(super) fn part(whole: &[u8], offset: u64, length: usize, out: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|at| whole.get(at..)).unwrap_or_default();
    let count = rest.len().min(length).min(out.len());
    out[..count].copy_from_slice(&rest[..count]);
    count
}

impl TargetDescriptionXmlOverride for Debuggee {
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

impl ExecFile for Debuggee {
    fn get_exec_file(&self, _: Option<Pid>, offset: u64, length: usize, buf: &mut [u8]) -> TargetResult<usize, Self> {
        Ok(part(&self.program, offset, length, buf))
    }
}

impl Auxv for Debuggee {
    fn get_auxv(&self, offset: u64, length: usize, buf: &mut [u8]) -> TargetResult<usize, Self> {
        Ok(part(&self.auxv, offset, length, buf))
    }
}
