//! Synchronous host signals: SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGTRAP.
//!
//! A fault is first offered to the routines of [`crate::copy`] and [`crate::fpexec`], which turn it into an error
//! return, then to one registered [`Callback`]. If nobody claims it, the previous action (the standard library's, or
//! the default) is put back, so that the process dies from the real signal.
#![allow(unsafe_code)] // signal handlers, machine contexts

use crate::fpu::FxImage;
use crate::map::{self, Errno, Reservation};
use crate::signal::{self, KernelAction};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the callback says about a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Dealt with: go on with the registers as they are in the context now.
    Resume,
    /// Not the callback's business.
    NotMine,
}

/// Looks at a fault. It runs in the signal handler, on the alternate stack, with all asynchronous signals blocked.
/// Faults inside it that [`crate::copy`] recovers from are fine.
pub type Callback = fn(&mut FaultContext<'_>) -> Verdict;

/// Positions of the sixteen integer registers, in x86 numbering, in the kernel's context.
const GREGS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Trap number of a page fault (SDM volume 3, table 7-1).
const PAGE_FAULT: i64 = 14;
/// Page-fault error code: the access was a write (SDM volume 3, figure 5-12).
const ERROR_WRITE: i64 = 1 << 1;

/// An interrupted thread: the signal, and its registers, which can be changed before it goes on.
pub struct FaultContext<'a> {
    info: &'a libc::siginfo_t,
    uc: &'a mut libc::ucontext_t,
}

impl<'a> FaultContext<'a> {
    /// Wraps what the kernel hands to a signal handler.
    ///
    /// # Safety
    /// The pointers are the second and third argument of a running `SA_SIGINFO` handler.
    pub unsafe fn from_raw(info: *mut libc::siginfo_t, uc: *mut libc::c_void) -> Self {
        // SAFETY: the caller says so.
        unsafe { FaultContext { info: &*info, uc: &mut *uc.cast::<libc::ucontext_t>() } }
    }

    /// The signal's information as the kernel gave it.
    pub fn siginfo(&self) -> &libc::siginfo_t {
        self.info
    }

    /// Signal number.
    pub fn signal(&self) -> i32 {
        self.info.si_signo
    }

    /// What the signal means; positive when the kernel raised it because of what the thread did.
    pub fn code(&self) -> i32 {
        self.info.si_code
    }

    /// Whether the thread itself caused it, as opposed to somebody sending a signal.
    pub fn is_synchronous(&self) -> bool {
        self.info.si_code > 0
    }

    /// The faulting address of SIGSEGV and SIGBUS; the instruction's address of the others.
    pub fn addr(&self) -> usize {
        // SAFETY: for a synchronous fault the field is there; for other signals these are other bytes of the record.
        unsafe { self.info.si_addr() as usize }
    }

    /// The processor's exception number.
    pub fn trap_number(&self) -> u32 {
        self.greg(libc::REG_TRAPNO) as u32
    }

    /// Whether it is a page fault, so that [`addr`](Self::addr) and [`is_write`](Self::is_write) mean something.
    pub fn is_page_fault(&self) -> bool {
        self.is_synchronous() && self.greg(libc::REG_TRAPNO) == PAGE_FAULT
    }

    /// Whether the access was a write.
    pub fn is_write(&self) -> bool {
        self.is_page_fault() && self.greg(libc::REG_ERR) & ERROR_WRITE != 0
    }

    fn greg(&self, index: i32) -> i64 {
        self.uc.uc_mcontext.gregs[index as usize]
    }

    fn set_greg(&mut self, index: i32, value: u64) {
        self.uc.uc_mcontext.gregs[index as usize] = value as i64;
    }

    /// Program counter.
    pub fn rip(&self) -> u64 {
        self.greg(libc::REG_RIP) as u64
    }

    /// Sets the program counter.
    pub fn set_rip(&mut self, value: u64) {
        self.set_greg(libc::REG_RIP, value);
    }

    /// Stack pointer.
    pub fn rsp(&self) -> u64 {
        self.greg(libc::REG_RSP) as u64
    }

    /// Sets the stack pointer.
    pub fn set_rsp(&mut self, value: u64) {
        self.set_greg(libc::REG_RSP, value);
    }

    /// Integer register by its x86 number (0 = rax, 1 = rcx, 2 = rdx, 3 = rbx, 4 = rsp, ... 15 = r15).
    ///
    /// # Panics
    /// If there is no such register.
    pub fn reg(&self, number: usize) -> u64 {
        self.greg(GREGS[number]) as u64
    }

    /// Sets an integer register by its x86 number.
    ///
    /// # Panics
    /// If there is no such register.
    pub fn set_reg(&mut self, number: usize, value: u64) {
        self.set_greg(GREGS[number], value);
    }

    /// EFLAGS.
    pub fn eflags(&self) -> u32 {
        self.greg(libc::REG_EFL) as u32
    }

    /// Sets EFLAGS.
    pub fn set_eflags(&mut self, value: u32) {
        self.set_greg(libc::REG_EFL, value.into());
    }

    /// The signals that will be blocked when the thread goes on; bit `n - 1` is signal `n`.
    pub fn mask(&self) -> u64 {
        // SAFETY: the kernel's signal mask is the first 64 bits of the field.
        unsafe { (&raw const self.uc.uc_sigmask).cast::<u64>().read() }
    }

    /// Sets the signals that will be blocked when the thread goes on; the synchronous ones never are.
    pub fn set_mask(&mut self, mask: u64) {
        let mask = mask & !synchronous_mask();
        // SAFETY: as in `mask`.
        unsafe { (&raw mut self.uc.uc_sigmask).cast::<u64>().write(mask) }
    }

    /// The interrupted x87, MMX and SSE state, which is put back when the thread goes on.
    pub fn fpu(&mut self) -> Option<&mut FxImage> {
        // SAFETY: the kernel's frame has an FXSAVE image, 64-aligned because it is the start of an XSAVE area.
        unsafe { self.uc.uc_mcontext.fpregs.cast::<FxImage>().as_mut() }
    }
}

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];

static CALLBACK: AtomicUsize = AtomicUsize::new(0);
static SENT: AtomicUsize = AtomicUsize::new(0);
/// What was installed before, per entry of [`SIGNALS`]; empty as long as we are not installed.
static PREVIOUS: Mutex<Vec<KernelAction>> = Mutex::new(Vec::new());

/// The bits of the synchronous signals in a signal mask.
pub fn synchronous_mask() -> u64 {
    SIGNALS.iter().fold(0, |mask, s| mask | signal::bit(*s))
}

/// Installs the handlers, once; later calls do nothing. Threads that run code whose rsp is not a normal stack need an
/// [`AltStack`].
pub fn install() -> Result<(), Errno> {
    let mut previous = PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner);
    if !previous.is_empty() {
        return Ok(());
    }
    // Other signals wait until the fault is dealt with; a fault inside the handler must get through.
    let action = KernelAction::new(on_fault, libc::SA_NODEFER as u64, !synchronous_mask());
    // Written before the first handler can run, and not touched afterwards.
    previous.extend(SIGNALS.iter().map(|s| signal::action(*s, None)).collect::<Result<Vec<_>, _>>()?);
    SIGNALS.iter().try_for_each(|s| signal::action(*s, Some(&action)).map(drop))
}

/// Registers the callback, replacing any other.
pub fn set_callback(callback: Callback) {
    CALLBACK.store(callback as usize, Ordering::Release);
}

/// Registers who gets those of these signals that somebody sent, instead of the callback.
pub fn set_sent_handler(handler: signal::Handler) {
    SENT.store(handler as usize, Ordering::Release);
}

fn sent_handler() -> Option<signal::Handler> {
    let f = SENT.load(Ordering::Acquire);
    // SAFETY: only `set_sent_handler` stores there, and what it stores is a `Handler`.
    (f != 0).then(|| unsafe { std::mem::transmute::<usize, signal::Handler>(f) })
}

fn callback() -> Option<Callback> {
    let f = CALLBACK.load(Ordering::Acquire);
    // SAFETY: only `set_callback` stores there, and what it stores is a `Callback`.
    (f != 0).then(|| unsafe { std::mem::transmute::<usize, Callback>(f) })
}

extern "C" fn on_fault(_signal: i32, info: *mut libc::siginfo_t, uc: *mut libc::c_void) {
    // SAFETY: a handler's arguments.
    let mut cx = unsafe { FaultContext::from_raw(info, uc) };
    let errno = signal::errno();
    if cx.is_synchronous() && (crate::copy::fixup(&mut cx) || crate::fpexec::fixup(&mut cx)) {
        return;
    }
    if let (false, Some(handler)) = (cx.is_synchronous(), sent_handler()) {
        handler(&mut cx);
        signal::set_errno(errno);
        return;
    }
    let verdict = callback().map_or(Verdict::NotMine, |f| f(&mut cx));
    if verdict == Verdict::NotMine {
        give_up(&cx);
    }
    signal::set_errno(errno);
}

/// Puts the previous action back. A faulting instruction is then repeated and meets it; a signal that was sent, or a
/// breakpoint, whose instruction is already over, has to be raised again.
fn give_up(cx: &FaultContext<'_>) {
    let signal = cx.signal();
    let previous = PREVIOUS.try_lock().ok().and_then(|all| {
        let index = SIGNALS.iter().position(|s| *s == signal)?;
        all.get(index).copied()
    });
    let action = previous.filter(KernelAction::is_handler).unwrap_or(KernelAction::DEFAULT);
    let _ = signal::action(signal, Some(&action));
    if !cx.is_synchronous() || signal == libc::SIGTRAP {
        let _ = signal::tgkill(std::process::id() as i32, signal::gettid(), signal);
    }
}

/// Size of an alternate signal stack: the kernel's frame (several KiB with AVX-512), a nested one, and the callback.
const ALT_STACK: usize = 256 << 10;

/// An alternate signal stack for the current thread, with a guard page below. Dropping it puts the old one back.
#[derive(Debug)]
pub struct AltStack {
    _memory: Reservation,
    previous: libc::stack_t,
    /// Belongs to the thread that made it.
    _not_send: PhantomData<*const ()>,
}

impl AltStack {
    /// Gives the calling thread an alternate signal stack.
    pub fn install() -> Result<Self, Errno> {
        let guard = map::page_size();
        let memory = Reservation::anywhere(guard + ALT_STACK)?;
        let base = memory.start() + guard;
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_STACK;
        memory.map_anon(base, ALT_STACK, libc::PROT_READ | libc::PROT_WRITE, flags)?;
        let stack = libc::stack_t { ss_sp: base as *mut libc::c_void, ss_flags: 0, ss_size: ALT_STACK };
        // SAFETY: an all-zero stack_t is a value; sigaltstack fills it in.
        let mut previous: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: the stack stays mapped until the guard is dropped.
        Errno::check(unsafe { libc::sigaltstack(&stack, &mut previous) })?;
        Ok(AltStack { _memory: memory, previous, _not_send: PhantomData })
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        self.previous.ss_flags &= libc::SS_DISABLE;
        // SAFETY: the previous stack was in use before us and outlives this guard.
        unsafe { libc::sigaltstack(&self.previous, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    static SEEN: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

    /// Skips the two-byte instruction `mov [rcx], eax` (or `ud2`) and puts a mark into rdx.
    fn skip(cx: &mut FaultContext<'_>) -> Verdict {
        let values =
            [cx.signal() as u64, cx.addr() as u64, cx.is_write().into(), cx.reg(1), u64::from(cx.is_page_fault())];
        SEEN.iter().zip(values).for_each(|(to, v)| to.store(v, Ordering::Relaxed));
        cx.set_reg(2, 0x77);
        cx.set_eflags(cx.eflags() | 1);
        cx.set_rip(cx.rip() + 2);
        Verdict::Resume
    }

    fn seen() -> [u64; 5] {
        std::array::from_fn(|i| SEEN[i].load(Ordering::Relaxed))
    }

    #[test]
    fn callback_sees_and_changes_registers() {
        install().unwrap();
        set_callback(skip);
        let _stack = AltStack::install().unwrap();
        let r = Reservation::anywhere(4096).unwrap();
        let (mark, carry): (u64, u8);
        // SAFETY: the store faults and is skipped by the callback.
        unsafe {
            std::arch::asm!("mov [rcx], eax", "setc {c}", in("rcx") r.start() + 8, in("eax") 1, out("rdx") mark,
                c = out(reg_byte) carry)
        };
        assert_eq!((mark, carry), (0x77, 1));
        let at = r.start() as u64 + 8;
        assert_eq!(seen(), [libc::SIGSEGV as u64, at, 1, at, 1]);
        // SAFETY: ud2 is skipped by the callback.
        unsafe { std::arch::asm!("ud2", out("rdx") _) };
        assert_eq!(seen()[0], libc::SIGILL as u64);
    }

    /// Skips `ud2` and changes vector register 0 and the signal mask.
    fn change_frame(cx: &mut FaultContext<'_>) -> Verdict {
        let Some(image) = cx.fpu() else { return Verdict::NotMine };
        image.0[160..164].copy_from_slice(&[1, 2, 3, 4]);
        cx.set_mask(cx.mask() | signal::bit(libc::SIGUSR1) | signal::bit(libc::SIGSEGV));
        cx.set_rip(cx.rip() + 2);
        Verdict::Resume
    }

    #[test]
    fn callback_changes_vector_registers_and_mask() {
        install().unwrap();
        set_callback(change_frame);
        let seen: u32;
        // SAFETY: ud2 is skipped by the callback.
        unsafe { std::arch::asm!("pxor xmm0, xmm0", "ud2", "movd {:e}, xmm0", out(reg) seen, out("xmm0") _) };
        assert_eq!(seen, 0x0403_0201);
        let mask = signal::sigprocmask(signal::MaskHow::Unblock, signal::bit(libc::SIGUSR1));
        assert_eq!(mask & (signal::bit(libc::SIGUSR1) | synchronous_mask()), signal::bit(libc::SIGUSR1));
    }

    #[test]
    fn fault_with_a_broken_stack_pointer_is_handled() {
        install().unwrap();
        set_callback(skip);
        let _stack = AltStack::install().unwrap();
        // SAFETY: rsp is put back before anything uses it; the handler runs on the alternate stack.
        unsafe { std::arch::asm!("mov r8, rsp", "xor esp, esp", "ud2", "mov rsp, r8", out("r8") _, out("rdx") _) };
        assert_eq!(seen()[0], libc::SIGILL as u64);
    }

    /// Runs `f` in a child process and returns the signal that killed it.
    fn killed_by(f: fn()) -> i32 {
        // SAFETY: the child only calls `f` and leaves.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: no core files from tests.
            unsafe { libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 }) };
            f();
            // SAFETY: leaves the child.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: waits for the child.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert!(libc::WIFSIGNALED(status), "status {status:#x}");
        libc::WTERMSIG(status)
    }

    #[test]
    fn what_nobody_claims_kills() {
        install().unwrap();
        set_callback(|_| Verdict::NotMine);
        // SAFETY: meant to fault.
        assert_eq!(killed_by(|| unsafe { std::arch::asm!("mov [rax], eax", in("rax") 16) }), libc::SIGSEGV);
        // SAFETY: meant to fault.
        assert_eq!(killed_by(|| unsafe { std::arch::asm!("ud2") }), libc::SIGILL);
        // SAFETY: meant to trap.
        assert_eq!(killed_by(|| unsafe { std::arch::asm!("int3") }), libc::SIGTRAP);
        // A signal that was sent, not raised by an instruction.
        let send = || signal::tgkill(std::process::id() as i32, signal::gettid(), libc::SIGFPE).unwrap();
        assert_eq!(killed_by(send), libc::SIGFPE);
    }
}
