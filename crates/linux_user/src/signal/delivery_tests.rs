//! Delivery of real signals to an i386 guest whose code is not run. A test owns its process's signals: run them in
//! processes of their own (nextest does), or one at a time.

use super::deliver::Interrupted;
use super::{SigSet, host, sa};
use crate::errno::{EINVAL, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS, Errno};
use crate::testing::TestGuest;
use isamorph_ir::{FaultCause, MemFault, RegId, Trap};
use isamorph_x86::state::{self as x86, EAX, EBX, ECX, EDX, ESP, eflag};
use libc::{SIGBUS, SIGKILL, SIGSEGV, SIGUSR1, SIGUSR2};

const CODE: u64 = 0x0804_9000;
const HANDLER: u64 = 0x0804_a000;
const RESTORER: u64 = 0x0804_b000;

struct Signals {
    g: TestGuest,
    stack: u64,
}

impl Signals {
    fn new() -> Self {
        let mut g = TestGuest::new();
        let stack = g.room(16384) + 16384;
        x86::reset_user(g.cx.state_mut());
        g.cx.state_mut().set_pc(CODE);
        let mut s = Signals { g, stack };
        s.set(ESP, stack);
        s.set(EBX, 0x1234_5678);
        s.g.cx.attach();
        s
    }
    fn get(&self, reg: RegId) -> u64 {
        self.g.cx.state().get(&x86::I386, reg)
    }
    fn set(&mut self, reg: RegId, value: u64) {
        self.g.cx.state_mut().set(&x86::I386, reg, value);
    }
    fn handle(&mut self, sig: i32, flags: u64) {
        let action = [HANDLER as u32, (flags | sa::RESTORER) as u32, RESTORER as u32, 0, 0];
        let action = self.g.put_record(&action);
        self.g.ok("rt_sigaction", &[sig as u64, action, 0, 8]);
        self.deliver();
    }
    fn send(&mut self, sig: i32) {
        let (pid, tid) = (std::process::id(), self.g.cx.task.tid);
        self.g.ok("tgkill", &[pid.into(), tid as u64, sig as u64]);
    }
    fn deliver(&mut self) {
        self.g.cx.deliver_signals(None);
    }
    fn mask(&mut self, how: i32, sig: i32) {
        let set = self.g.put_record(&[SigSet::of(&[sig]).0 as u32, 0]);
        self.g.ok("rt_sigprocmask", &[how as u64, set, 0, 8]);
    }
    fn pc(&self) -> u64 {
        self.g.cx.state().pc()
    }
    fn word(&self, addr: u64) -> u64 {
        self.g.get::<u32>(addr).into()
    }
    /// Does what the handler's `ret` and the restorer do.
    fn return_from(&mut self, rt: bool) {
        let sp = self.get(ESP) + if rt { 4 } else { 8 };
        self.set(ESP, sp);
        let eax = self.g.ok(if rt { "rt_sigreturn" } else { "sigreturn" }, &[]);
        self.set(EAX, eax);
    }
}

#[test]
fn a_handler_is_entered_and_left() {
    let mut s = Signals::new();
    s.handle(SIGUSR1, 0);
    s.send(SIGUSR1);
    x86::set_eflags(s.g.cx.state_mut(), eflag::DF | eflag::FIXED | 1);
    s.deliver();
    let sp = s.get(ESP);
    assert_eq!((s.pc(), s.get(EAX), (sp + 4) % 16), (HANDLER, SIGUSR1 as u64, 0));
    assert_eq!((s.word(sp), s.word(sp + 4)), (RESTORER, SIGUSR1 as u64));
    assert_eq!(s.word(sp + 8 + 56), CODE, "eip in the context");
    assert_eq!(x86::eflags(s.g.cx.state()) & eflag::DF, 0);
    assert!(s.g.cx.task.signals.mask.has(SIGUSR1));
    s.set(EBX, 0);
    s.return_from(false);
    assert_eq!((s.pc(), s.get(ESP), s.get(EBX)), (CODE, s.stack, 0x1234_5678));
    assert_ne!(x86::eflags(s.g.cx.state()) & eflag::DF, 0);
    assert_eq!(s.g.cx.task.signals.mask, SigSet::EMPTY);
}

#[test]
fn a_handler_with_siginfo_gets_pointers_to_it() {
    let mut s = Signals::new();
    s.handle(SIGUSR2, sa::SIGINFO);
    s.send(SIGUSR2);
    s.deliver();
    let sp = s.get(ESP);
    assert_eq!([sp + 8, sp + 12].map(|a| s.word(a)), [sp + 16, sp + 144]);
    assert_eq!((s.get(EDX), s.get(ECX)), (sp + 16, sp + 144));
    assert_eq!([0, 8, 12].map(|o| s.word(sp + 16 + o) as i32), [SIGUSR2, -6, std::process::id() as i32]);
    // The handler may change where execution goes on.
    s.g.cx.write(sp + 144 + 20 + 56, &0x0805_0000u32).unwrap();
    s.return_from(true);
    assert_eq!(s.pc(), 0x0805_0000);
}

#[test]
fn hostile_frames_are_restored_without_harm() {
    let mut s = Signals::new();
    let mut random = crate::testing::Random::new(3);
    let at = s.stack - 2048;
    for round in 0..200 {
        let bytes: Vec<u8> = (0..2048).map(|_| random.value() as u8).collect();
        s.g.cx.write_bytes(at, &bytes).unwrap();
        // A pointer to the floating-point state that can be read; everything else is random.
        let rt = round % 2 == 0;
        let context = at + if rt { 144 + 20 } else { 8 };
        s.g.cx.write(context + 76, &(at as u32 + 768)).unwrap();
        s.set(ESP, at + if rt { 4 } else { 8 });
        let eax = s.g.ok(if rt { "rt_sigreturn" } else { "sigreturn" }, &[]);
        assert_eq!(eax, s.word(context + 44));
        assert_eq!(s.get(x86::CS) & 3, 3);
        assert_eq!(s.get(x86::MXCSR) as u32 & !x86::MXCSR_MASK, 0);
        s.g.cx.task.signals.set_mask(SigSet::EMPTY);
        s.deliver();
    }
}

#[test]
fn blocked_signals_wait() {
    let mut s = Signals::new();
    s.handle(SIGUSR1, 0);
    s.mask(libc::SIG_BLOCK, SIGUSR1);
    s.deliver();
    s.send(SIGUSR1);
    s.deliver();
    assert_eq!(s.pc(), CODE);
    let set = s.g.room(8);
    s.g.ok("rt_sigpending", &[set, 8]);
    assert_eq!(s.word(set), SigSet::of(&[SIGUSR1]).0);
    s.mask(libc::SIG_UNBLOCK, SIGUSR1);
    s.deliver();
    // Unblocking makes the host deliver it, and the next look finds it.
    s.deliver();
    assert_eq!(s.pc(), HANDLER);
}

#[test]
fn signals_that_the_host_cannot_block_wait_as_well() {
    let mut s = Signals::new();
    isamorph_host::fault::install().unwrap();
    host::prepare();
    s.handle(SIGSEGV, 0);
    s.mask(libc::SIG_BLOCK, SIGSEGV);
    s.deliver();
    s.send(SIGSEGV);
    s.deliver();
    assert_eq!(s.pc(), CODE);
    let set = s.g.room(8);
    s.g.ok("rt_sigpending", &[set, 8]);
    assert_eq!(s.word(set), SigSet::of(&[SIGSEGV]).0);
    s.mask(libc::SIG_UNBLOCK, SIGSEGV);
    s.deliver();
    assert_eq!(s.pc(), HANDLER);
}

/// What an interrupted call leaves: program counter and result register in the frame of the handler.
fn interrupted(error: Errno, flags: u64) -> (u64, u64) {
    let mut s = Signals::new();
    s.handle(SIGUSR1, flags);
    s.send(SIGUSR1);
    s.g.cx.deliver_signals(Some(Interrupted { nr: 3, error }));
    let context = s.get(ESP) + 8;
    (s.word(context + 56), s.word(context + 44))
}

#[test]
fn interrupted_calls() {
    const EINTR: u64 = -libc::EINTR as u32 as u64;
    assert_eq!(interrupted(ERESTARTSYS, 0), (CODE, EINTR));
    assert_eq!(interrupted(ERESTARTSYS, sa::RESTART), (CODE - 2, 3));
    assert_eq!(interrupted(ERESTARTNOHAND, sa::RESTART), (CODE, EINTR));
    assert_eq!(interrupted(ERESTARTNOINTR, 0), (CODE - 2, 3));
    let mut s = Signals::new();
    s.g.cx.deliver_signals(Some(Interrupted { nr: 3, error: ERESTARTNOHAND }));
    assert_eq!((s.pc(), s.get(EAX)), (CODE - 2, 3), "no handler: made again");
}

#[test]
fn a_mask_cannot_change_before_noted_signals_are_delivered() {
    let mut s = Signals::new();
    s.handle(SIGUSR1, 0);
    s.send(SIGUSR1);
    let set = s.g.put_record(&[u32::MAX; 2]);
    assert_eq!(s.g.call("rt_sigprocmask", &[libc::SIG_BLOCK as u64, set, 0, 8]), Err(ERESTARTNOINTR));
    assert_eq!(s.g.cx.task.signals.mask, SigSet::EMPTY);
}

#[test]
fn a_fault_shows_its_address() {
    let mut s = Signals::new();
    s.handle(SIGSEGV, sa::SIGINFO);
    s.g.cx.raise_trap(Trap::Memory(MemFault { addr: 0x40, write: true, cause: FaultCause::Unmapped }));
    let sp = s.get(ESP);
    assert_eq!((s.pc(), s.word(sp + 16 + 12)), (HANDLER, 0x40));
    let context = sp + 144 + 20;
    assert_eq!([48, 52, 84].map(|o| s.word(context + o)), [14, 6, 0x40], "trap number, error code, cr2");
}

#[test]
fn the_alternate_stack_is_used_once() {
    let mut s = Signals::new();
    let low = s.g.room(8192);
    let stack = s.g.put_record(&[low as u32, 0, 8192]);
    s.g.ok("sigaltstack", &[stack, 0]);
    s.handle(SIGUSR1, sa::ONSTACK | sa::NODEFER);
    for _ in 0..2 {
        s.send(SIGUSR1);
        s.deliver();
        assert!((low..low + 8192).contains(&s.get(ESP)));
    }
    let old = s.g.room(12);
    s.g.ok("sigaltstack", &[0, old]);
    assert_eq!(s.word(old + 4), 1, "SS_ONSTACK");
    assert_eq!(s.g.call("sigaltstack", &[stack, 0]), Ok(0), "the same again");
    let other = s.g.put_record(&[low as u32 + 16, 0, 4096]);
    assert_eq!(s.g.call("sigaltstack", &[other, 0]), Err(crate::errno::EPERM));
}

#[test]
fn a_handler_can_be_for_once() {
    let mut s = Signals::new();
    s.handle(SIGUSR1, sa::RESETHAND);
    s.send(SIGUSR1);
    s.deliver();
    let old = s.g.room(20);
    s.g.ok("rt_sigaction", &[SIGUSR1 as u64, 0, old, 8]);
    assert_eq!(s.word(old), 0);
}

#[test]
fn bad_arguments() {
    let mut s = Signals::new();
    let action = s.g.room(20);
    for sig in [0, 65, SIGKILL as u64] {
        assert_eq!(s.g.call("rt_sigaction", &[sig, action, 0, 8]), Err(EINVAL));
    }
    assert_eq!(s.g.call("rt_sigaction", &[10, action, 0, 4]), Err(EINVAL));
    assert_eq!(s.g.call("rt_sigaction", &[SIGKILL as u64, 0, action, 8]), Ok(0), "asking is allowed");
}

/// Status of a child that gets ready and then does `fatal`.
fn child_status(fatal: fn(&mut Signals)) -> i32 {
    let mut s = Signals::new();
    host::prepare();
    let pid = s.g.ok("fork", &[]);
    if pid == 0 {
        fatal(&mut s);
        // The call has blocked signals on the host: the first look lets them in, the second finds them.
        s.deliver();
        s.deliver();
        std::process::exit(99);
    }
    s.deliver();
    let status = s.g.room(4);
    assert_eq!(s.g.ok("waitpid", &[pid, status, 0]), pid);
    s.word(status) as i32
}

#[test]
fn fatal_signals_kill() {
    let bad_access = |s: &mut Signals| {
        s.g.cx.raise_trap(Trap::Memory(MemFault { addr: 0, write: false, cause: FaultCause::Unmapped }));
    };
    assert_eq!(child_status(bad_access), SIGSEGV);
    assert_eq!(child_status(|s| s.g.cx.raise_trap(Trap::Divide)), libc::SIGFPE);
    // A fault whose signal is blocked or ignored kills all the same.
    let blocked = |s: &mut Signals| {
        s.handle(SIGBUS, 0);
        s.mask(libc::SIG_BLOCK, SIGBUS);
        s.g.cx.raise_trap(Trap::Memory(MemFault { addr: 0, write: false, cause: FaultCause::NoBacking }));
    };
    assert_eq!(child_status(blocked), SIGBUS);
    // No stack for the frame.
    let no_stack = |s: &mut Signals| {
        s.handle(SIGUSR1, 0);
        s.set(ESP, 0x2000);
        s.send(SIGUSR1);
    };
    assert_eq!(child_status(no_stack), SIGSEGV);
    assert_eq!(child_status(|s| s.send(libc::SIGABRT)), libc::SIGABRT);
    assert_eq!(child_status(|s| s.send(libc::SIGTERM)), libc::SIGTERM);
    assert_eq!(child_status(|s| s.send(libc::SIGCHLD)), 99 << 8);
}
