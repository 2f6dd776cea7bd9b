//! Delivery: from what the host's handlers noted, or the processor raised, to the guest's handler.

use super::frame::{Delivery, choose_stack, disarms};
use super::info::SigInfo;
use super::{AltStack, SIG_DFL, SIG_IGN, SS_DISABLE, SigAction, SigSet, host, sa};
use crate::convert::Model;
use crate::convert::record::Ulong;
use crate::debug::Ending;
use crate::errno::{EINTR, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS, Errno};
use crate::task::Cx;
use isamorph_ir::Trap;
use std::sync::atomic::Ordering;

/// A system call that ended with one of the `ERESTART…` errors.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    /// The call's number, to make it again.
    pub nr: u64,
    /// Under which circumstances it is made again.
    pub error: Errno,
}

impl Cx {
    /// Blocks all signals on the host until the next delivery, so that a system call can change what they do.
    ///
    /// # Errors
    /// `ERESTARTNOINTR` when one has already been noted: it is delivered first, and the call made again.
    pub fn hold_signals(&mut self) -> Result<(), Errno> {
        self.task.signals.pending().hold();
        let deliverable = self.task.signals.pending().set().without(self.task.signals.mask);
        if deliverable == SigSet::EMPTY { Ok(()) } else { Err(ERESTARTNOINTR) }
    }

    /// Delivers what is pending. `interrupted` is the system call that was just made, if it is to be made again.
    pub fn deliver_signals(&mut self, mut interrupted: Option<Interrupted>) {
        let idle = {
            let pending = self.task.signals.pending();
            !pending.is_held() && pending.flag().load(Ordering::SeqCst) == 0
        };
        if idle && interrupted.is_none() {
            return;
        }
        self.task.signals.pending().hold();
        self.task.signals.pending().begin();
        while let Some(raw) = self.task.signals.pending().take(self.task.signals.mask) {
            let noted = SigInfo::decode(Model::HOST, &raw);
            let info = SigInfo { signo: self.screen_signal(noted.signo), ..noted };
            if info.signo == 0 {
                continue;
            }
            self.trace_signal(&info);
            let action = self.task.sighand.take_for_delivery(info.signo);
            match action.handler.0 {
                SIG_IGN => {}
                SIG_DFL => self.default_action(info.signo),
                _ => {
                    if let Some(call) = interrupted.take() {
                        self.finish_interrupted(call, Some(&action));
                    }
                    self.enter_handler(info, action);
                }
            }
        }
        if let Some(call) = interrupted {
            self.finish_interrupted(call, None);
        }
        if let Some(mask) = self.task.signals.take_saved() {
            self.task.signals.set_mask(mask);
        }
        let mask = self.task.signals.host_mask(self.task.signals.mask);
        self.task.signals.pending().release(mask);
    }

    /// Decides whether an interrupted call is made again. `action` is that of the handler that is about to run.
    fn finish_interrupted(&mut self, call: Interrupted, action: Option<&SigAction>) {
        let again = match (call.error, action) {
            (_, None) | (ERESTARTNOINTR, _) => true,
            (ERESTARTSYS, Some(action)) => action.has(sa::RESTART),
            (ERESTARTNOHAND, Some(_)) | (_, Some(_)) => false,
        };
        let abi = self.abi();
        if again {
            abi.restart(self.state_mut(), call.nr);
        } else {
            abi.set_result(self.state_mut(), Err(EINTR));
        }
    }

    fn trace_signal(&self, info: &SigInfo) {
        if self.options().strace {
            crate::strace::signal(self, info);
        }
    }

    fn default_action(&mut self, sig: i32) {
        if SigSet::IGNORED.has(sig) {
            return;
        }
        if SigSet::STOPPING.has(sig) {
            // The host's default applies when the guest's does, so this is a signal that changed its action on the way.
            let _ = isamorph_host::signal::tgkill(std::process::id() as i32, self.task.tid, libc::SIGSTOP);
            return;
        }
        self.kill(sig);
    }

    /// The guest dies from a signal.
    pub fn kill(&self, sig: i32) -> ! {
        if SigSet::CORE.has(sig) {
            let name = name(sig);
            crate::kernel::write_stderr(&format!("qemu: uncaught target signal {sig} ({name}) - core dumped\n"));
        }
        self.process_ends(Ending::Signal(sig));
        host::die(sig)
    }

    /// An exception of the guest's code: the signal for it cannot be blocked or ignored.
    pub fn raise_trap(&mut self, trap: Trap) {
        if matches!(trap, Trap::Memory(fault) if fault.addr == self.state().pc()) && self.abi().enter_kernel_page(self)
        {
            return;
        }
        // The status words tell what kind of floating-point exception it is.
        self.vcpu.sync_fpu();
        let (info, fault) = self.abi().trap(self.state(), trap, self.task.fault);
        self.task.fault = fault;
        self.force(info);
    }

    /// Delivers a signal that guest code caused.
    pub fn force(&mut self, info: SigInfo) {
        let signo = self.screen_signal(info.signo);
        if signo == 0 {
            return;
        }
        let info = SigInfo { signo, ..info };
        self.trace_signal(&info);
        let blocked = self.task.signals.mask.has(info.signo);
        let action = self.task.sighand.take_for_delivery(info.signo);
        if blocked || action.handler.0 <= SIG_IGN {
            self.kill(info.signo);
        }
        self.task.signals.pending().hold();
        self.enter_handler(info, action);
    }

    /// Builds the frame and sets the registers so that the handler runs next.
    fn enter_handler(&mut self, info: SigInfo, action: SigAction) {
        let sp = self.stack_pointer();
        let (frame_sp, switches) = choose_stack(&self.task.signals, &action, sp);
        let mask = self.task.signals.take_saved().unwrap_or(self.task.signals.mask);
        let delivery = Delivery {
            info,
            action,
            mask,
            alt: self.task.signals.alt,
            sp: frame_sp,
            fault: self.task.fault,
            trampoline: self.process.trampoline,
        };
        if self.abi().push_frame(self, &delivery).is_err() {
            return self.frame_failed(info.signo);
        }
        if switches && disarms(&self.task.signals.alt) {
            self.task.signals.alt = AltStack { flags: SS_DISABLE, ..AltStack::default() };
        }
        let own = if action.has(sa::NODEFER) { SigSet::EMPTY } else { SigSet::of(&[info.signo]) };
        let mask = self.task.signals.mask.with(action.blocks()).with(own);
        self.task.signals.set_mask(mask);
    }

    /// The frame of `sig` could not be written: that is a segmentation fault, or the end if it was one already.
    fn frame_failed(&mut self, sig: i32) {
        if sig == libc::SIGSEGV {
            self.kill(sig);
        }
        self.force(SigInfo::kernel(libc::SIGSEGV));
    }

    /// Restores what a frame says about signals. Used by [`crate::abi::Abi::pop_frame`].
    pub fn restore_signals(&mut self, mask: SigSet, alt: Option<AltStack>) {
        if let Some(alt) = alt {
            // The kernel ignores errors here, too.
            let _ = crate::sys::signal::set_alt_stack(self, alt);
        }
        self.task.signals.set_mask(mask);
    }
}

/// The alternate stack that a program sets, if its flags are valid. They are kept as they are, for frames to show.
pub fn canonical_alt_stack(new: AltStack) -> Option<AltStack> {
    let mode = new.flags & !super::SS_AUTODISARM;
    match mode {
        0 | super::SS_ONSTACK => Some(new),
        SS_DISABLE => Some(AltStack { sp: Ulong(0), size: Ulong(0), ..new }),
        _ => None,
    }
}

/// Names of the signals that are reported, in the host's words.
fn name(sig: i32) -> &'static str {
    match sig {
        libc::SIGQUIT => "Quit",
        libc::SIGILL => "Illegal instruction",
        libc::SIGTRAP => "Trace/breakpoint trap",
        libc::SIGABRT => "Aborted",
        libc::SIGBUS => "Bus error",
        libc::SIGFPE => "Floating point exception",
        libc::SIGSEGV => "Segmentation fault",
        _ => "Unknown signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_signals_have_names() {
        assert!(SigSet::CORE.iter().all(|sig| name(sig) != "Unknown signal"));
    }

    #[test]
    fn alternate_stacks() {
        let stack = |flags| AltStack { sp: Ulong(0x1000), flags, size: Ulong(0x2000) };
        assert_eq!(canonical_alt_stack(stack(0)), Some(stack(0)));
        assert_eq!(canonical_alt_stack(stack(1)), Some(stack(1)));
        assert_eq!(canonical_alt_stack(stack(SS_DISABLE)).map(|s| s.size.0), Some(0));
        assert_eq!(canonical_alt_stack(stack(4)), None);
    }
}
