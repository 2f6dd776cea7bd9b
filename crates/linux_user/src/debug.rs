//! What a debugger is told of the threads of a guest process, and how it decides how they go on.
//!
//! A thread calls the debugger from its own loop, always between two guest instructions. A debugger that wants to look
//! at a thread that runs sets its exit request ([`isamorph_accel::Vcpu::exit_request`]).

use crate::task::Cx;
use isamorph_accel::Stop;
use std::sync::Arc;

/// What happened to a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is at a breakpoint, whose instruction has not run.
    Breakpoint,
    /// The single instruction that it was to run has run.
    Stepped,
    /// It is about to receive a signal, by the guest's number.
    Signal(i32),
    /// It has seen that the debugger wants it.
    Attention,
}

/// How a thread goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resume {
    /// Only for one instruction.
    pub step: bool,
    /// The signal that it gets, 0 for none. Only looked at after [`Event::Signal`].
    pub signal: i32,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With a status.
    Exit(i32),
    /// By a signal.
    Signal(i32),
}

/// A debugger of one process. All calls but [`Debugger::process_ends`] come from the thread that they are about.
pub trait Debugger: Send + Sync {
    /// The process is ready; its first thread is about to run.
    fn process_starts(self: Arc<Self>, cx: &mut Cx);
    /// A thread exists from now on.
    fn thread_starts(&self, cx: &Cx);
    /// It no longer does.
    fn thread_ends(&self, tid: i32);
    /// Whether a thread that comes by should stop. Cheap: asked before the guest's code is entered.
    fn wants_attention(&self, tid: i32) -> bool;
    /// Something happened to the thread; returns when it may go on. The registers may have changed.
    fn stopped(&self, cx: &mut Cx, event: Event) -> Resume;
    /// The thread is about to make a system call, in which it may stay for long, or has come back from it.
    fn in_call(&self, cx: &Cx, inside: bool);
    /// The process is about to end. Returns when the debugger knows.
    fn process_ends(&self, ending: Ending);
    /// This process is a child of the one that is debugged, and is not debugged.
    fn detach_child(&self);
}

/// What a thread has been told by its debugger.
#[derive(Debug, Default)]
pub struct Going {
    /// How it goes on, until its next instruction has run.
    resume: Option<Resume>,
    /// It has run the instruction that it was to run alone.
    stepped: bool,
}

impl Cx {
    /// The debugger. A `vfork` child shares its parent's memory, and is not debugged.
    pub(crate) fn debugger(&self) -> Option<Arc<dyn Debugger>> {
        if self.task.vforked { None } else { self.options().debugger.clone() }
    }
    /// Runs the guest's code until something happens; nothing if that was only one instruction.
    pub(crate) fn run_code(&mut self) -> Option<Stop> {
        if let Some(debugger) = self.debugger() {
            if std::mem::take(&mut self.task.going.stepped) {
                self.report(Event::Stepped);
            } else if debugger.wants_attention(self.task.tid) {
                self.report(Event::Attention);
            }
        }
        // The first instruction may be at a breakpoint that has just been told.
        let Some(resume) = self.task.going.resume.take() else { return Some(self.vcpu.run()) };
        self.task.going.stepped = resume.step;
        self.vcpu.step()
    }
    /// Tells the debugger, if there is one, and waits until it lets the thread go on.
    pub(crate) fn report(&mut self, event: Event) -> Option<Resume> {
        let resume = self.debugger().map(|debugger| debugger.stopped(self, event));
        self.task.going = Going { resume: Some(resume.unwrap_or_default()), stepped: false };
        resume
    }
    /// The number of the signal that the thread gets instead of `signo`; 0 for none.
    pub(crate) fn screen_signal(&mut self, signo: i32) -> i32 {
        if self.options().debugger.is_none() {
            return signo;
        }
        self.report(Event::Signal(signo)).map_or(signo, |resume| resume.signal)
    }
    /// The process is about to end.
    pub(crate) fn process_ends(&self, ending: Ending) {
        if let Some(debugger) = self.debugger() {
            debugger.process_ends(ending);
        }
        self.options().run_exit_hook();
    }
}
