//! The loop of a guest thread: runs its code and serves what stopped it.

use crate::debug::Event;
use crate::errno::{ENOSYS, Errno, is_internal};
use crate::signal::deliver::Interrupted;
use crate::signal::info::SigInfo;
use crate::strace;
use crate::table::{Handler, Row, SysResult};
use crate::task::Cx;
use isamorph_accel::Stop;

impl Cx {
    /// Runs the thread until its program ends it. Only `exit` and `exit_group` and fatal signals end a thread, so that
    /// this returns only for an `exit` of one thread among several; the value is its status.
    pub fn run(&mut self) -> i32 {
        while self.task.exited.is_none() {
            self.deliver_signals(None);
            match self.run_code() {
                Some(Stop::Syscall(code)) => self.syscall(code),
                Some(Stop::Trap(trap)) => self.raise_trap(trap),
                // `hlt` is privileged: user programs get a general protection fault.
                Some(Stop::Halt) => self.force(SigInfo::kernel(libc::SIGSEGV)),
                Some(Stop::Breakpoint) => {
                    self.report(Event::Breakpoint);
                }
                Some(Stop::Interrupted) | None => {}
            }
        }
        self.task.exited.unwrap_or(0)
    }

    /// Serves a system call of the guest's code.
    fn syscall(&mut self, code: u32) {
        let abi = self.abi();
        let Some((nr, raw)) = abi.syscall(self.state(), code) else {
            return self.force(SigInfo::kernel(libc::SIGSEGV));
        };
        let debugger = self.debugger();
        if let Some(debugger) = &debugger {
            debugger.in_call(self, true);
        }
        let result = self.screen(nr, raw).and_then(|()| self.dispatch(nr, raw));
        // A `vfork` or `fork` child comes back here, too.
        if let Some(debugger) = debugger.filter(|_| self.task.exited.is_none()) {
            debugger.in_call(self, false);
        }
        match result {
            Err(error) if is_internal(error) && error != crate::errno::NO_RESULT => {
                self.deliver_signals(Some(Interrupted { nr, error }));
            }
            result => abi.set_result(self.state_mut(), result),
        }
    }

    /// Makes system call `nr` with the guest's raw argument registers.
    pub fn dispatch(&mut self, nr: u64, raw: [u64; 6]) -> SysResult {
        let Some(row) = self.abi().calls().get(nr) else {
            strace::unknown(self, nr);
            return Err(ENOSYS);
        };
        let args = row.canonical(raw, self.model());
        if !self.options().strace {
            return self.serve(row, args);
        }
        strace::entry(self, row, &args);
        let result = self.serve(row, args);
        strace::exit(self, row, result);
        result
    }

    fn serve(&mut self, row: &'static Row, args: [u64; 6]) -> SysResult {
        match row.handler {
            Handler::Run(run) => run(self, args),
            Handler::Host(nr) => crate::kernel::call(nr, args),
            Handler::Refused(error) => refuse(self, row, error),
        }
    }
}

/// Answers a call that nobody serves.
fn refuse(cx: &Cx, row: &Row, error: Errno) -> SysResult {
    if error == ENOSYS {
        cx.options().log(&format!("system call {} ({}) is not implemented", row.name, row.nr));
    }
    Err(error)
}
