//! Processes and threads: creating, ending, waiting.

use crate::convert::time::Rusage;
use crate::convert::{Buffer, Model, record::record};
use crate::debug::Ending;
use crate::errno::{E2BIG, EINVAL, ENOSYS, EPERM, Errno};
use crate::kernel::{call, fork_process, vfork_process};
use crate::signal::info::{self, SigInfo};
use crate::signal::{SIG_IGN, SigAction, SigSet, Sighand, TaskSignals, host};
use crate::sys::{futex, seccomp};
use crate::table::SysResult;
use crate::task::{Cx, Process, Task};
use isamorph_host::signal::gettid;
use isamorph_ir::CpuState;
use isamorph_ir::state::{GUEST_BYTES, GUEST_OFFSET};
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

/// `exit(2)`: ends the calling thread.
///
/// # Errors
/// None.
pub fn exit(cx: &mut Cx, [status, ..]: [u64; 6]) -> SysResult {
    cx.task.exited = Some(status as i32);
    Ok(0)
}

/// `exit_group(2)`: ends the process.
///
/// # Errors
/// None.
pub fn exit_group(cx: &mut Cx, [status, ..]: [u64; 6]) -> SysResult {
    if !cx.task.vforked {
        futex::release_robust(cx);
        cx.process_ends(Ending::Exit(status as i32));
    }
    end_process(status as i32)
}

fn end_process(status: i32) -> ! {
    loop {
        let _ = call(libc::SYS_exit_group, [status as u64]);
    }
}

/// What the kernel does for a thread that ends, and the process with it when it was the last one.
fn end_thread(cx: &Cx, status: i32) {
    // Signals for the process go to other threads from here on.
    cx.task.signals.pending().hold();
    futex::release_robust(cx);
    if cx.task.clear_child_tid != 0 {
        let _ = cx.write(cx.task.clear_child_tid, &0u32);
        futex::wake(cx, cx.task.clear_child_tid, 1);
    }
    if let Some(debugger) = cx.debugger() {
        debugger.thread_ends(cx.task.tid);
    }
    if cx.process.threads.fetch_sub(1, Ordering::SeqCst) == 1 {
        cx.process_ends(Ending::Exit(status));
        end_process(status);
    }
}

/// The main thread has ended; the process goes on as long as it has other threads.
pub fn leave_main_thread(cx: Cx, status: i32) -> Result<Infallible, crate::StartError> {
    end_thread(&cx, status);
    host::Pending::detach();
    drop(cx);
    loop {
        let _ = call(libc::SYS_exit, [status as u64]);
    }
}

/// `set_tid_address(2)`.
///
/// # Errors
/// None.
pub fn set_tid_address(cx: &mut Cx, [addr, ..]: [u64; 6]) -> SysResult {
    cx.task.clear_child_tid = addr;
    Ok(cx.task.tid as u64)
}

/// A request for a new thread or process, whichever call it came from.
#[derive(Clone, Copy, Default, Debug)]
pub struct CloneRequest {
    /// `CLONE_` flags, without the exit signal.
    pub flags: u64,
    /// The signal that the parent gets when the child ends; 0 for none.
    pub exit_signal: i32,
    /// The child's stack pointer; 0 to keep the parent's.
    pub stack: u64,
    /// Where the child's id is stored in the parent's memory.
    pub parent_tid: u64,
    /// Where it is stored, and cleared, in the child's memory.
    pub child_tid: u64,
    /// The child's thread pointer.
    pub tls: u64,
    /// Where a file descriptor for the child is stored.
    pub pidfd: u64,
}

/// `CLONE_CLEAR_SIGHAND` of `clone3`, which `libc` does not define for every target.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Flags that this layer serves itself.
const OWN_FLAGS: u64 = flags(&[
    libc::CLONE_SETTLS,
    libc::CLONE_PARENT_SETTID,
    libc::CLONE_CHILD_SETTID,
    libc::CLONE_CHILD_CLEARTID,
    libc::CLONE_DETACHED,
]) | CLEAR_SIGHAND;

const fn flags(list: &[i32]) -> u64 {
    let mut bits = 0;
    let mut i = 0;
    while i < list.len() {
        bits |= list[i] as u32 as u64;
        i += 1;
    }
    bits
}

impl CloneRequest {
    fn has(&self, flag: i32) -> bool {
        self.flags & u64::from(flag as u32) != 0
    }
    /// The flags that the host's kernel gets.
    fn host_flags(&self) -> u64 {
        self.flags & !OWN_FLAGS
    }
}

/// Makes the thread or process that is asked for.
///
/// # Errors
/// As the manual page says; `EINVAL` for sharing memory without being a thread or waiting as `vfork` does.
pub fn start_clone(cx: &mut Cx, request: &CloneRequest) -> SysResult {
    if request.has(libc::CLONE_THREAD) {
        let needed = flags(&[libc::CLONE_VM, libc::CLONE_SIGHAND]);
        return if request.flags & needed == needed { new_thread(cx, request) } else { Err(EINVAL) };
    }
    if request.has(libc::CLONE_SIGHAND) && !request.has(libc::CLONE_VFORK) {
        return Err(EINVAL);
    }
    match (request.has(libc::CLONE_VM), request.has(libc::CLONE_VFORK)) {
        (true, true) => new_vfork_child(cx, request),
        (true, false) => Err(EINVAL),
        (false, _) => new_process(cx, request),
    }
}

/// `fork(2)`.
///
/// # Errors
/// As the manual page says.
pub fn fork(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    start_clone(cx, &CloneRequest { exit_signal: libc::SIGCHLD, ..CloneRequest::default() })
}

/// `vfork(2)`.
///
/// # Errors
/// As the manual page says.
pub fn vfork(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    let flags = flags(&[libc::CLONE_VM, libc::CLONE_VFORK]);
    start_clone(cx, &CloneRequest { flags, exit_signal: libc::SIGCHLD, ..CloneRequest::default() })
}

/// A `clone` whose arguments are in registers: the exit signal is in the low byte of the flags, and one address serves
/// the child's id and its file descriptor.
fn clone_with(cx: &mut Cx, flags: u64, stack: u64, parent_tid: u64, child_tid: u64, tls: u64) -> SysResult {
    let exit_signal = (flags & 0xff) as i32;
    let flags = flags & 0xffff_ff00;
    start_clone(cx, &CloneRequest { flags, exit_signal, stack, parent_tid, child_tid, tls, pidfd: parent_tid })
}

/// `clone(2)`: flags, stack, parent_tid, child_tid, tls.
///
/// # Errors
/// As the manual page says.
pub fn clone(cx: &mut Cx, [flags, stack, parent_tid, child_tid, tls, _]: [u64; 6]) -> SysResult {
    clone_with(cx, flags, stack, parent_tid, child_tid, tls)
}

/// `clone(2)` of i386 and Arm (`CONFIG_CLONE_BACKWARDS`): flags, stack, parent_tid, tls, child_tid.
///
/// # Errors
/// As the manual page says.
pub fn clone_backwards(cx: &mut Cx, [flags, stack, parent_tid, tls, child_tid, _]: [u64; 6]) -> SysResult {
    clone_with(cx, flags, stack, parent_tid, child_tid, tls)
}

record! {
    /// `struct clone_args`, the same on every architecture.
    CloneArgs {
        flags: u64, pidfd: u64, child_tid: u64, parent_tid: u64, exit_signal: u64, stack: u64, stack_size: u64,
        tls: u64, set_tid: u64, set_tid_size: u64, cgroup: u64,
    }
}

/// `clone3(2)`.
///
/// # Errors
/// As the manual page says; choosing thread ids and control groups is refused.
pub fn clone3(cx: &mut Cx, [args, size, ..]: [u64; 6]) -> SysResult {
    const FIRST_SIZE: u64 = 64;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    if size < FIRST_SIZE {
        return Err(EINVAL);
    }
    if size > cx.abi().layout().page {
        return Err(E2BIG);
    }
    let bytes = cx.read_vec(args, size)?;
    let known = <CloneArgs as crate::convert::Record>::size(Model::LP64);
    if bytes.iter().skip(known).any(|b| *b != 0) {
        return Err(E2BIG);
    }
    let a = <CloneArgs as crate::convert::Record>::decode(Model::LP64, &bytes);
    if a.set_tid_size != 0 || a.set_tid != 0 {
        return Err(EPERM);
    }
    if a.flags & CLONE_INTO_CGROUP != 0 {
        return Err(ENOSYS);
    }
    if a.flags & u64::from(libc::CLONE_DETACHED as u32) != 0 || (a.stack == 0) != (a.stack_size == 0) {
        return Err(EINVAL);
    }
    let request = CloneRequest {
        flags: a.flags,
        exit_signal: a.exit_signal as i32,
        stack: a.stack.wrapping_add(a.stack_size),
        parent_tid: a.parent_tid,
        child_tid: a.child_tid,
        tls: a.tls,
        pidfd: a.pidfd,
    };
    start_clone(cx, &request)
}

/// Sets the registers with which a child starts: the call returns 0 there.
fn child_registers(cx: &Cx, state: &mut CpuState, request: &CloneRequest) -> Result<(), Errno> {
    let abi = cx.abi();
    abi.set_result(state, Ok(0));
    if request.stack != 0 {
        abi.set_stack_pointer(state, request.stack);
    }
    if request.has(libc::CLONE_SETTLS) {
        abi.set_tls(cx, state, request.tls)?;
    }
    Ok(())
}

impl Cx {
    /// A copy of the registers for a child.
    fn child_state(&mut self, request: &CloneRequest) -> Result<Box<CpuState>, Errno> {
        self.vcpu.sync_fpu();
        let mut state = self.state().fork();
        child_registers(self, &mut state, request)?;
        Ok(state)
    }

    /// What a child does about its thread id before its first instruction.
    fn announce_child(&mut self, request: &CloneRequest) {
        let tid = self.task.tid as u32;
        // The kernel ignores bad addresses here.
        if request.has(libc::CLONE_CHILD_SETTID) {
            let _ = self.write(request.child_tid, &tid);
        }
        let clears = request.has(libc::CLONE_CHILD_CLEARTID);
        self.task.clear_child_tid = if clears { request.child_tid } else { 0 };
        self.task.robust_list = 0;
    }
}

/// Stack of a host thread. Guest code runs on its own; this one is for the emulator.
const HOST_STACK: usize = 1 << 20;

/// A thread: a host thread with a processor of its own.
fn new_thread(cx: &mut Cx, request: &CloneRequest) -> SysResult {
    if cx.task.vforked {
        // The parent's memory would outlive the threads.
        return Err(EINVAL);
    }
    cx.hold_signals()?;
    let state = cx.child_state(request)?;
    let (tell, told) = mpsc::sync_channel(1);
    let child = NewThread {
        process: cx.process.clone(),
        sighand: cx.task.sighand.clone(),
        seccomp: cx.task.seccomp.clone(),
        mask: cx.task.signals.mask,
        state,
        request: *request,
    };
    cx.process.threads.fetch_add(1, Ordering::SeqCst);
    let spawned = std::thread::Builder::new().stack_size(HOST_STACK).spawn(move || child.run(&tell));
    if let Err(e) = spawned {
        cx.process.threads.fetch_sub(1, Ordering::SeqCst);
        return Err(Errno(e.raw_os_error().unwrap_or(libc::EAGAIN)));
    }
    host::reclaim_library_signal(&cx.task.sighand);
    let tid: i32 = told.recv().map_err(|_| Errno(libc::EAGAIN))?;
    Ok(tid as u64)
}

struct NewThread {
    process: Arc<Process>,
    sighand: Arc<Sighand>,
    seccomp: seccomp::Own,
    mask: SigSet,
    state: Box<CpuState>,
    request: CloneRequest,
}

impl NewThread {
    /// The life of a thread. It starts with all signals blocked.
    fn run(self, tell: &mpsc::SyncSender<i32>) {
        let NewThread { process, sighand, seccomp, mask, state, request } = self;
        unshare(&request);
        let vcpu = process.accel.vcpu(state);
        let mut cx = Cx { process, task: Task { seccomp, ..Task::new(TaskSignals::new(mask), sighand) }, vcpu };
        cx.task.signals.pending().assume_held();
        cx.announce_child(&request);
        if request.has(libc::CLONE_PARENT_SETTID) {
            let _ = cx.write(request.parent_tid, &(cx.task.tid as u32));
        }
        cx.attach();
        if let Some(debugger) = cx.debugger() {
            debugger.thread_starts(&cx);
        }
        // The parent may have ended already.
        let _ = tell.send(cx.task.tid);
        let status = cx.run();
        end_thread(&cx, status);
        host::Pending::detach();
    }
}

/// Host threads share everything; one that is not to share its directory or its files stops doing so.
fn unshare(request: &CloneRequest) {
    let wanted = flags(&[libc::CLONE_FS, libc::CLONE_FILES]) & !request.flags;
    if wanted != 0 {
        let _ = call(libc::SYS_unshare, [wanted]);
    }
}

/// A process with a copy of the memory.
fn new_process(cx: &mut Cx, request: &CloneRequest) -> SysResult {
    cx.hold_signals()?;
    let process = cx.process.clone();
    // A bad thread pointer has to be found before the fork.
    let state = cx.child_state(request)?;
    let _brk = process.brk.lock();
    let _limits = process.limits.lock();
    let _cookies = super::io::lock_cookies();
    let mut outcome = Err(ENOSYS);
    process.task_locks(&cx.task, || {
        process.accel.with_quiescence(&mut || {
            outcome = process.space.with_lock(|| fork_process(request.host_flags(), request.exit_signal));
        });
    });
    let (pid, pidfd) = outcome?;
    if pid == 0 {
        start_child(cx, request, &state);
        return Ok(0);
    }
    report_child(cx, request, pid, pidfd);
    Ok(pid)
}

/// Stores what the parent wants to know about a new process. The kernel ignores bad addresses here.
fn report_child(cx: &Cx, request: &CloneRequest, pid: u64, pidfd: i32) {
    if request.has(libc::CLONE_PARENT_SETTID) {
        let _ = cx.write(request.parent_tid, &(pid as u32));
    }
    if request.has(libc::CLONE_PIDFD) {
        let _ = cx.write(request.pidfd, &pidfd);
    }
}

/// Turns the copy of the parent that a fork left into the child.
fn start_child(cx: &mut Cx, request: &CloneRequest, state: &CpuState) {
    cx.process.threads.store(1, Ordering::SeqCst);
    cx.task.tid = gettid();
    if let Some(debugger) = cx.debugger() {
        debugger.detach_child();
    }
    cx.task.signals.pending().clear_except(SigSet::EMPTY);
    copy_registers(state, cx.state_mut());
    if request.flags & CLEAR_SIGHAND != 0 {
        clear_handlers(&cx.task.sighand);
    }
    cx.announce_child(request);
}

/// Every signal that is not ignored gets its default action.
fn clear_handlers(sighand: &Sighand) {
    for sig in SigSet::ALL.without(SigSet::UNBLOCKABLE).iter() {
        if sighand.get(sig).handler.0 > SIG_IGN {
            let default = SigAction::default();
            sighand.set(sig, default, || {
                let _ = host::install(sig, &default);
            });
        }
    }
}

/// Copies what belongs to the guest; the rest of the state is the processor's own.
fn copy_registers(from: &CpuState, to: &mut CpuState) {
    to.bytes_mut(GUEST_OFFSET, GUEST_BYTES).copy_from_slice(from.bytes(GUEST_OFFSET, GUEST_BYTES));
    to.set_pc(from.pc());
}

/// A process that borrows the memory until it executes a program or ends; the parent sleeps meanwhile.
///
/// The child really shares the emulator's memory, too. It goes on with the parent's thread-local storage and processor,
/// which is sound because the kernel does not let the parent's thread run; it has a host stack and a table of signal
/// actions of its own. When it is gone the parent takes registers and signal state back.
fn new_vfork_child(cx: &mut Cx, request: &CloneRequest) -> SysResult {
    cx.hold_signals()?;
    let state = cx.child_state(request)?;
    let own = cx.state().fork();
    let (mask, alt) = (cx.task.signals.mask, cx.task.signals.alt);
    let noted = cx.task.signals.pending().set();
    let copy = Arc::new(cx.task.sighand.fork());
    let sighand = std::mem::replace(&mut cx.task.sighand, copy);
    let (tid, clear, robust) = (cx.task.tid, cx.task.clear_child_tid, cx.task.robust_list);
    let was_vforked = std::mem::replace(&mut cx.task.vforked, true);

    let outcome = vfork_process(request.host_flags(), request.exit_signal, &mut || {
        cx.task.tid = gettid();
        copy_registers(&state, cx.state_mut());
        if request.flags & CLEAR_SIGHAND != 0 {
            clear_handlers(&cx.task.sighand);
        }
        cx.announce_child(request);
        let status = cx.run();
        end_process(status)
    });

    cx.task.vforked = was_vforked;
    cx.task.exited = None;
    (cx.task.tid, cx.task.clear_child_tid, cx.task.robust_list) = (tid, clear, robust);
    cx.task.sighand = sighand;
    cx.task.exec_memory = Vec::new();
    let _ = cx.task.signals.take_saved();
    cx.task.signals.alt = alt;
    cx.task.signals.pending().clear_except(noted);
    // This thread has blocked everything all the time; the child had a mask of its own.
    cx.task.signals.pending().assume_held();
    cx.task.signals.set_mask(mask);
    copy_registers(&own, cx.state_mut());

    let (pid, pidfd) = outcome?;
    report_child(cx, request, pid, pidfd);
    Ok(pid)
}

/// `wait4(2)`.
///
/// # Errors
/// As the manual page says.
pub fn wait4(cx: &mut Cx, [pid, status, options, usage, ..]: [u64; 6]) -> SysResult {
    let (mut host_status, mut host_usage) = (0u32, Buffer::default());
    let args = [pid, &raw mut host_status as u64, options, host_usage.addr()];
    let child = cx.blocking_call(libc::SYS_wait4, args)?;
    if child != 0 {
        cx.write_opt(status, &host_status)?;
        cx.write_opt(usage, &host_usage.read::<Rusage>())?;
    }
    Ok(child)
}

/// `waitpid(2)`.
///
/// # Errors
/// As the manual page says.
pub fn waitpid(cx: &mut Cx, [pid, status, options, ..]: [u64; 6]) -> SysResult {
    wait4(cx, [pid, status, options, 0, 0, 0])
}

/// `waitid(2)`.
///
/// # Errors
/// As the manual page says.
pub fn waitid(cx: &mut Cx, [kind, id, out, options, usage, _]: [u64; 6]) -> SysResult {
    let (mut raw, mut host_usage) = ([0u8; info::SIZE], Buffer::default());
    let args = [kind, id, raw.as_mut_ptr() as u64, options, host_usage.addr()];
    cx.blocking_call(libc::SYS_waitid, args)?;
    if out != 0 {
        // Nothing happened yet: the kernel clears what it would have written.
        let info = SigInfo::decode(Model::HOST, &raw);
        cx.write_bytes(out, &info.encode(cx.model()))?;
    }
    cx.write_opt(usage, &host_usage.read::<Rusage>())?;
    Ok(0)
}
