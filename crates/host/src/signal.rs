//! Asynchronous signals and system calls that a signal must be able to interrupt without a race.
//!
//! A signal handler only takes notes and asks the vCPU to stop. The race to close: the signal arrives after the last
//! look at the exit request and before the `syscall` instruction, which then blocks although there is something to do.
//! [`safe_syscall`] looks at the request immediately before the instruction; a handler that finds the thread between
//! the two ([`rewind_safe_syscall`]) makes it return [`Interrupted`].
#![allow(unsafe_code)] // signal handlers, raw system calls

use crate::fault::FaultContext;
use crate::map::Errno;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Highest signal number of the kernel.
pub const MAX_SIGNAL: i32 = 64;

/// The bit of a signal in a mask; 0 for a number that is no signal.
pub const fn bit(signal: i32) -> u64 {
    if signal >= 1 && signal <= MAX_SIGNAL { 1 << (signal - 1) } else { 0 }
}

const SA_RESTORER: u64 = 0x0400_0000;
const SIGSET_BYTES: usize = 8;

/// `struct kernel_sigaction` of x86-64.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

type RawHandler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

impl KernelAction {
    pub(crate) const DEFAULT: Self = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    const IGNORE: Self = KernelAction { handler: libc::SIG_IGN, flags: 0, restorer: 0, mask: 0 };

    /// A handler on the alternate stack that gets the full context.
    pub(crate) fn new(handler: RawHandler, flags: u64, mask: u64) -> Self {
        let flags = flags | (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64 | SA_RESTORER;
        let restorer = isamorph_sigreturn as *const () as usize;
        KernelAction { handler: handler as usize, flags, restorer, mask }
    }

    /// Whether it is a handler, not the default or ignoring.
    pub(crate) fn is_handler(&self) -> bool {
        self.handler != libc::SIG_DFL && self.handler != libc::SIG_IGN
    }
}

// The exact bytes `mov rax, 15; syscall` (rt_sigreturn) are what unwinders recognise as a signal frame.
std::arch::global_asm!(
    ".pushsection .text.isamorph_signal, \"ax\", @progbits",
    ".globl isamorph_sigreturn, isamorph_safe_syscall, isamorph_safe_syscall_look, isamorph_safe_syscall_done",
    ".globl isamorph_safe_syscall_landing",
    ".p2align 4",
    "nop",
    "isamorph_sigreturn: mov rax, 15; syscall",
    ".p2align 4",
    // safe_syscall(number, &arguments, &exit request): result in rax; rdx = whether it was interrupted
    "isamorph_safe_syscall: mov rax, rdi; mov r11, rsi; mov rcx, rdx",
    "mov rdi, [r11]; mov rsi, [r11 + 8]; mov rdx, [r11 + 16]",
    "mov r10, [r11 + 24]; mov r8, [r11 + 32]; mov r9, [r11 + 40]",
    "isamorph_safe_syscall_look: cmp dword ptr [rcx], 0; jne isamorph_safe_syscall_landing",
    // A call that the kernel is going to restart is interrupted with the program counter here again.
    "syscall",
    "isamorph_safe_syscall_done: xor edx, edx; ret",
    "isamorph_safe_syscall_landing: mov edx, 1; ret",
    ".popsection",
);

#[repr(C)]
struct SyscallOutcome {
    result: i64,
    interrupted: u64,
}

unsafe extern "C" {
    fn isamorph_sigreturn();
    fn isamorph_safe_syscall(number: u64, args: *const u64, exit_request: *const AtomicU32) -> SyscallOutcome;
    fn isamorph_safe_syscall_look();
    fn isamorph_safe_syscall_done();
    fn isamorph_safe_syscall_landing();
}

/// A system call was not made, or was to be restarted, because the exit request is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

/// Makes a system call unless the exit request is set or a signal handler calls [`rewind_safe_syscall`]. The result is
/// the kernel's: negative error numbers from -4095.
///
/// A blocking call that a signal interrupts and that the kernel would restart also returns [`Interrupted`], if the
/// handler was installed with [`install`]; whether to restart it is then up to the caller.
///
/// # Safety
/// `exit_request` points to a live word. The call itself must not break memory that Rust code uses.
pub unsafe fn safe_syscall(nr: i64, args: [u64; 6], exit_request: *const AtomicU32) -> Result<i64, Interrupted> {
    // SAFETY: the caller answers for the call and the pointer.
    let outcome = unsafe { isamorph_safe_syscall(nr as u64, args.as_ptr(), exit_request) };
    if outcome.interrupted == 0 { Ok(outcome.result) } else { Err(Interrupted) }
}

/// For signal handlers, after the exit request was set: if the thread was interrupted between its look at the request
/// and the `syscall` instruction, makes its [`safe_syscall`] return [`Interrupted`]. Says whether it did.
pub fn rewind_safe_syscall(cx: &mut FaultContext<'_>) -> bool {
    let window = isamorph_safe_syscall_look as *const () as u64..isamorph_safe_syscall_done as *const () as u64;
    let inside = window.contains(&cx.rip());
    if inside {
        cx.set_rip(isamorph_safe_syscall_landing as *const () as u64);
    }
    inside
}

/// Makes a system call. The result is the kernel's: negative error numbers from -4095.
///
/// # Safety
/// The call must not break memory that Rust code uses.
pub unsafe fn syscall(nr: i64, args: [u64; 6]) -> i64 {
    static NEVER: AtomicU32 = AtomicU32::new(0);
    // SAFETY: the caller answers for the call.
    let outcome = unsafe { isamorph_safe_syscall(nr as u64, args.as_ptr(), &NEVER) };
    // A handler may have moved the thread out before the call: make it after all.
    // SAFETY: as above.
    if outcome.interrupted == 0 { outcome.result } else { unsafe { syscall(nr, args) } }
}

/// `rt_sigaction`: the previous action.
pub(crate) fn action(signal: i32, new: Option<&KernelAction>) -> Result<KernelAction, Errno> {
    let mut old = KernelAction::DEFAULT;
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both pointers are null or point to the kernel's structure.
    let r = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, &mut old, SIGSET_BYTES) };
    if r == 0 { Ok(old) } else { Err(Errno::last()) }
}

/// What to do with an asynchronous signal; it runs on the alternate stack and may only do what is allowed in handlers.
pub type Handler = fn(&mut FaultContext<'_>);

static HANDLERS: [AtomicUsize; MAX_SIGNAL as usize + 1] = [const { AtomicUsize::new(0) }; MAX_SIGNAL as usize + 1];

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, uc: *mut libc::c_void) {
    let errno = errno();
    let f = HANDLERS.get(signal as usize).map_or(0, |h| h.load(Ordering::Acquire));
    if f != 0 {
        // SAFETY: only `install` stores there, and what it stores is a `Handler`.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(f) };
        // SAFETY: a handler's arguments.
        handler(&mut unsafe { FaultContext::from_raw(info, uc) });
    }
    set_errno(errno);
}

/// Installs a handler for a signal; the signals of `mask` are blocked while it runs. The synchronous signals belong to
/// [`crate::fault`] (which sees it, too, when somebody sends one of them): `EINVAL`.
pub fn install(signal: i32, handler: Handler, mask: u64) -> Result<(), Errno> {
    if bit(signal) == 0 || bit(signal) & crate::fault::synchronous_mask() != 0 {
        return Err(Errno(libc::EINVAL));
    }
    HANDLERS[signal as usize].store(handler as usize, Ordering::Release);
    action(signal, Some(&KernelAction::new(on_signal, libc::SA_RESTART as u64, mask))).map(drop)
}

/// Gives a signal its default action.
pub fn set_default(signal: i32) -> Result<(), Errno> {
    action(signal, Some(&KernelAction::DEFAULT)).map(drop)
}

/// Ignores a signal.
pub fn set_ignored(signal: i32) -> Result<(), Errno> {
    action(signal, Some(&KernelAction::IGNORE)).map(drop)
}

/// What this process inherited or set for a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// The default action.
    Default,
    /// Ignored.
    Ignored,
    /// Some handler.
    Handled,
}

/// How a signal is handled at present.
pub fn disposition(signal: i32) -> Result<Disposition, Errno> {
    let action = action(signal, None)?;
    Ok(match action.handler {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Handled,
    })
}

/// How [`sigprocmask`] combines the set with the thread's mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum MaskHow {
    /// Blocks the signals of the set.
    Block = libc::SIG_BLOCK,
    /// Unblocks them.
    Unblock = libc::SIG_UNBLOCK,
    /// Blocks exactly them.
    Set = libc::SIG_SETMASK,
}

fn change_mask(how: i32, set: *const u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: `set` is null or points to a mask. The call cannot fail with these arguments.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, &mut old, SIGSET_BYTES) };
    old
}

/// Changes the calling thread's signal mask; returns the old one. Bit `n - 1` is signal `n`. The synchronous signals
/// are never blocked: a fault would end the process instead of reaching its handler.
pub fn sigprocmask(how: MaskHow, set: u64) -> u64 {
    let set = if how == MaskHow::Unblock { set } else { set & !crate::fault::synchronous_mask() };
    change_mask(how as i32, &set)
}

/// The calling thread's signal mask.
pub fn current_mask() -> u64 {
    change_mask(libc::SIG_BLOCK, std::ptr::null())
}

/// Signals that are pending for the calling thread.
pub fn pending() -> u64 {
    let mut set = 0u64;
    // SAFETY: the kernel fills in the mask.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &mut set, SIGSET_BYTES) };
    set
}

/// Sends a signal to a thread of a process.
pub fn tgkill(tgid: i32, tid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no pointers.
    Errno::check(unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, signal) } as i32)
}

/// The calling thread's id.
pub fn gettid() -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// The calling thread's `errno`, which a signal handler must leave as it was.
pub(crate) fn errno() -> i32 {
    // SAFETY: the location is the thread's own.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's `errno`.
pub(crate) fn set_errno(value: i32) {
    // SAFETY: the location is the thread's own.
    unsafe { *libc::__errno_location() = value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    static REQUEST: AtomicU32 = AtomicU32::new(0);
    static REWOUND: AtomicU32 = AtomicU32::new(0);

    fn ask_to_stop(cx: &mut FaultContext<'_>) {
        REQUEST.store(1, Ordering::SeqCst);
        REWOUND.fetch_add(rewind_safe_syscall(cx).into(), Ordering::SeqCst);
    }

    #[test]
    fn syscalls_give_raw_results() {
        let none = AtomicU32::new(0);
        // SAFETY: harmless calls.
        unsafe {
            assert_eq!(safe_syscall(libc::SYS_getpid, [0; 6], &none), Ok(std::process::id().into()));
            assert_eq!(safe_syscall(libc::SYS_close, [u64::MAX, 0, 0, 0, 0, 0], &none), Ok(-libc::EBADF as i64));
            assert_eq!(syscall(libc::SYS_close, [u64::MAX, 0, 0, 0, 0, 0]), -libc::EBADF as i64);
        }
    }

    #[test]
    fn a_pending_request_prevents_the_call() {
        let set = AtomicU32::new(1);
        // SAFETY: a harmless call.
        assert_eq!(unsafe { safe_syscall(libc::SYS_getpid, [0; 6], &set) }, Err(Interrupted));
    }

    /// One process-wide test, as it owns a signal and its request word.
    #[test]
    fn a_signal_interrupts_a_blocking_call() {
        install(libc::SIGUSR1, ask_to_stop, 0).unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let (pid, tid) = (std::process::id() as i32, gettid());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            tgkill(pid, tid, libc::SIGUSR1).unwrap();
        });
        let mut byte = [0u8];
        let args = [reader.as_raw_fd() as u64, byte.as_mut_ptr() as u64, 1, 0, 0, 0];
        // SAFETY: reads into `byte`.
        assert_eq!(unsafe { safe_syscall(libc::SYS_read, args, &REQUEST) }, Err(Interrupted));
        assert_eq!(REWOUND.load(Ordering::SeqCst), 1);
        killer.join().unwrap();
        // The window before the instruction: a signal that arrives at any point ends the call.
        for delay in 0..200 {
            REQUEST.store(0, Ordering::SeqCst);
            let killer = std::thread::spawn(move || {
                (0..delay * 50).for_each(|_| std::hint::spin_loop());
                tgkill(pid, tid, libc::SIGUSR1).unwrap();
            });
            // SAFETY: reads into `byte`.
            assert_eq!(unsafe { safe_syscall(libc::SYS_read, args, &REQUEST) }, Err(Interrupted));
            killer.join().unwrap();
        }
    }

    #[test]
    fn masks_and_dispositions() {
        let old = sigprocmask(MaskHow::Block, bit(libc::SIGUSR2));
        assert_eq!(current_mask(), old | bit(libc::SIGUSR2));
        sigprocmask(MaskHow::Block, bit(libc::SIGSEGV));
        assert_eq!(current_mask() & bit(libc::SIGSEGV), 0);
        tgkill(std::process::id() as i32, gettid(), libc::SIGUSR2).unwrap();
        assert_eq!(pending() & bit(libc::SIGUSR2), bit(libc::SIGUSR2));
        set_ignored(libc::SIGUSR2).unwrap();
        assert_eq!(disposition(libc::SIGUSR2), Ok(Disposition::Ignored));
        sigprocmask(MaskHow::Set, old);
        set_default(libc::SIGUSR2).unwrap();
        assert_eq!(disposition(libc::SIGUSR2), Ok(Disposition::Default));
        assert_eq!(install(libc::SIGSEGV, ask_to_stop, 0), Err(Errno(libc::EINVAL)));
        assert_eq!((bit(0), bit(1), bit(64), bit(65)), (0, 1, 1 << 63, 0));
    }
}
