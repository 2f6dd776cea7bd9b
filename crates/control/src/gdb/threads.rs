//! Where the threads of the guest and the stub meet.

#![allow(unsafe_code)] // Exit requests of other threads' processors are raw words that are valid while they are listed.

use super::server::{Process, Server};
use isamorph_ir::{CpuState, GUEST_OFFSET, RegTable};
use isamorph_linux_user::debug::{Debugger, Ending, Event, Resume};
use isamorph_linux_user::task::Cx;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a process that ends waits for gdb to be told.
const FAREWELL: Duration = Duration::from_secs(2);

/// What gdb is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// A thread stopped.
    Stopped(i32, Event),
    /// The process ended.
    Ended(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Running,
    /// In a system call.
    Call,
    /// Waiting for the stub.
    Parked,
}

/// A processor's exit request.
struct Request(*const AtomicU32);

// SAFETY: the word is atomic, and it is only used while its thread is listed, see `Threads::kick`.
unsafe impl Send for Request {}

struct Thread {
    place: Place,
    request: Request,
    /// A copy of the registers, while the thread does not run.
    state: Box<CpuState>,
    /// Whether the stub changed the copy.
    changed: bool,
    resume: Option<Resume>,
}

#[derive(Default)]
struct Inner {
    threads: BTreeMap<i32, Thread>,
    reports: VecDeque<Report>,
    /// How the threads go on at the next resumption, where that was said.
    actions: BTreeMap<i32, Resume>,
    /// The others do not go on.
    locked: bool,
    /// Whether the end of the process has been told.
    told: bool,
}

impl Inner {
    /// A thread; any for a number that no thread has, which is what the stub has until gdb chooses one.
    fn thread(&mut self, tid: i32) -> Option<&mut Thread> {
        let tid = if self.threads.contains_key(&tid) { tid } else { *self.threads.keys().next()? };
        self.threads.get_mut(&tid)
    }
}

/// The meeting point; a process has one.
pub struct Threads {
    server: Mutex<Option<Server>>,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Threads that come by have to stop.
    halt: AtomicBool,
    /// The thread that may go on nevertheless; 0 for none.
    alone: AtomicI32,
    /// There is no stub any more, or this is not the process that it debugs.
    detached: AtomicBool,
}

impl Threads {
    /// Debugs by what connects to the server; whether the process waits for that before its first instruction.
    pub fn new(server: Server, waits: bool) -> Arc<Self> {
        Arc::new(Threads {
            server: Mutex::new(Some(server)),
            inner: Mutex::default(),
            changed: Condvar::new(),
            halt: AtomicBool::new(waits),
            alone: AtomicI32::new(0),
            detached: AtomicBool::new(false),
        })
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }
    /// Asks the threads that run to come by.
    fn kick(inner: &Inner) {
        for thread in inner.threads.values().filter(|t| t.place == Place::Running) {
            // SAFETY: a thread takes itself off the list, under the lock, before its processor goes.
            unsafe { (*thread.request.0).store(1, Ordering::SeqCst) };
        }
    }

    // ---- the stub's side

    /// Has all threads stop, and reports it of the first one.
    pub(super) fn interrupt(&self) {
        let mut inner = self.lock();
        self.alone.store(0, Ordering::SeqCst);
        self.halt.store(true, Ordering::SeqCst);
        Self::kick(&inner);
        if let Some(first) = inner.threads.keys().next().copied() {
            inner.reports.push_back(Report::Stopped(first, Event::Attention));
        }
    }
    /// What gdb is to be told next, once no thread runs any more; waits for it for a while.
    pub(super) fn next_report(&self, wait: Duration) -> Option<Report> {
        let inner = self.lock();
        let (mut inner, _) = self
            .changed
            .wait_timeout_while(inner, wait, |inner| !Self::is_quiet(inner))
            .unwrap_or_else(PoisonError::into_inner);
        if Self::is_quiet(&inner) { inner.reports.pop_front() } else { None }
    }
    fn is_quiet(inner: &Inner) -> bool {
        match inner.reports.front() {
            Some(Report::Ended(_)) => true,
            Some(Report::Stopped(..)) => inner.threads.values().all(|t| t.place != Place::Running),
            None => false,
        }
    }
    /// Ends of the process that wait to be told have been told.
    fn acknowledge_end(&self) {
        self.lock().told = true;
        self.changed.notify_all();
    }
    pub(super) fn ids(&self) -> Vec<i32> {
        self.lock().threads.keys().copied().collect()
    }
    /// Looks at a thread's registers.
    pub(super) fn with_state<R>(&self, tid: i32, f: impl FnOnce(&CpuState) -> R) -> Option<R> {
        self.lock().thread(tid).map(|thread| f(&thread.state))
    }
    /// Changes a thread's registers. Not those of one that is in a system call, which writes its result over them.
    pub(super) fn change_state<R>(&self, tid: i32, f: impl FnOnce(&mut CpuState) -> R) -> Option<R> {
        let mut inner = self.lock();
        let thread = inner.thread(tid).filter(|thread| thread.place == Place::Parked)?;
        thread.changed = true;
        Some(f(&mut thread.state))
    }
    pub(super) fn clear_actions(&self) {
        let mut inner = self.lock();
        inner.actions.clear();
        inner.locked = false;
    }
    /// Only the thread with an action goes on at the next resumption.
    pub(super) fn lock_scheduler(&self) {
        self.lock().locked = true;
    }
    pub(super) fn set_action(&self, tid: i32, action: Resume) {
        self.lock().actions.insert(tid, action);
    }
    /// Lets all threads go on, each as it was said. Stops that gdb has not been told of yet are reported before.
    pub(super) fn resume(&self) {
        let mut inner = self.lock();
        if inner.reports.is_empty() {
            let actions = std::mem::take(&mut inner.actions);
            let alone = actions.keys().next().copied().filter(|_| std::mem::take(&mut inner.locked));
            self.alone.store(alone.unwrap_or(0), Ordering::SeqCst);
            self.halt.store(alone.is_some(), Ordering::SeqCst);
            let goes =
                |tid: i32, thread: &Thread| thread.place == Place::Parked && alone.is_none_or(|alone| alone == tid);
            for (tid, thread) in inner.threads.iter_mut().filter(|(tid, thread)| goes(**tid, thread)) {
                thread.resume = Some(actions.get(tid).copied().unwrap_or_default());
            }
        }
        drop(inner);
        self.changed.notify_all();
    }
    /// The stub is gone: everything runs on.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Release);
        self.lock().reports.clear();
        self.acknowledge_end();
        self.clear_actions();
        self.resume();
    }

    // ---- the threads' side

    /// Waits for the stub.
    fn park(&self, cx: &mut Cx, report: Option<Event>) -> Resume {
        cx.vcpu.sync_fpu();
        let (tid, table) = (cx.task.tid, cx.state_table());
        let mut inner = self.lock();
        if let Some(event) = report {
            self.alone.store(0, Ordering::SeqCst);
            self.halt.store(true, Ordering::SeqCst);
            inner.reports.push_back(Report::Stopped(tid, event));
            Self::kick(&inner);
        }
        if let Some(thread) = inner.threads.get_mut(&tid) {
            thread.place = Place::Parked;
            thread.state = cx.state().fork();
        }
        self.changed.notify_all();
        loop {
            let Some(thread) = inner.threads.get_mut(&tid).filter(|_| !self.is_detached()) else {
                return Resume::default();
            };
            if let Some(resume) = thread.resume.take() {
                thread.place = Place::Running;
                if std::mem::take(&mut thread.changed) {
                    copy_registers(table, &thread.state, cx.state_mut());
                }
                return resume;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Copies the program counter and all registers.
fn copy_registers(table: &RegTable, from: &CpuState, to: &mut CpuState) {
    let len = (table.size - GUEST_OFFSET) as usize;
    to.bytes_mut(GUEST_OFFSET, len).copy_from_slice(from.bytes(GUEST_OFFSET, len));
    to.set_pc(from.pc());
}

impl Debugger for Threads {
    fn process_starts(self: Arc<Self>, cx: &mut Cx) {
        self.thread_starts(cx);
        let (at, len) = cx.process.image.auxv;
        let mut auxv = vec![0; len as usize];
        let _ = cx.read_bytes(at, &mut auxv);
        let process = Process {
            arch: cx.abi().name(),
            space: cx.process.space.clone(),
            accel: cx.process.accel.clone(),
            program: cx.process.exe.as_os_str().as_encoded_bytes().to_vec(),
            auxv,
        };
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let started = server.map(|server| server.start(process, self.clone()));
        if !matches!(started, Some(Ok(()))) {
            self.detach();
        }
    }
    fn thread_starts(&self, cx: &Cx) {
        if self.is_detached() {
            return;
        }
        let thread = Thread {
            place: Place::Running,
            request: Request(cx.vcpu.exit_request()),
            state: cx.state().fork(),
            changed: false,
            resume: None,
        };
        self.lock().threads.insert(cx.task.tid, thread);
    }
    fn thread_ends(&self, tid: i32) {
        if !self.is_detached() {
            self.lock().threads.remove(&tid);
            self.changed.notify_all();
        }
    }
    fn wants_attention(&self, tid: i32) -> bool {
        self.halt.load(Ordering::Relaxed) && self.alone.load(Ordering::Relaxed) != tid && !self.is_detached()
    }
    fn stopped(&self, cx: &mut Cx, event: Event) -> Resume {
        if self.is_detached() {
            let signal = if let Event::Signal(number) = event { number } else { 0 };
            return Resume { step: false, signal };
        }
        self.park(cx, (event != Event::Attention).then_some(event))
    }
    fn in_call(&self, cx: &Cx, inside: bool) {
        if self.is_detached() {
            return;
        }
        let mut inner = self.lock();
        if let Some(thread) = inner.threads.get_mut(&cx.task.tid) {
            thread.place = if inside { Place::Call } else { Place::Running };
            if inside {
                thread.state = cx.state().fork();
            }
        }
        self.changed.notify_all();
    }
    fn process_ends(&self, ending: Ending) {
        if self.is_detached() {
            return;
        }
        let mut inner = self.lock();
        inner.reports.clear();
        inner.reports.push_back(Report::Ended(ending));
        self.changed.notify_all();
        let _told = self.changed.wait_timeout_while(inner, FAREWELL, |inner| !inner.told);
    }
    fn detach_child(&self) {
        self.detached.store(true, Ordering::Release);
    }
}
