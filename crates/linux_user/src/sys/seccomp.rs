//! `seccomp`: filters of system calls. They are run here, on the guest's calls, and not handed to the host's kernel,
//! which would apply them to the emulator's. They end with the program: `execve` does not keep them.

mod filter;

use crate::convert::misc::SockFprog;
use crate::convert::record::Ulong;
use crate::errno::{EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, Errno, NO_RESULT};
use crate::kernel::call;
use crate::signal::info::{Fields, Refused, SigInfo};
use crate::sync::Mutex;
use crate::table::SysResult;
use crate::task::Cx;
pub use filter::{Data, Filter, Insn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a thread may call.
#[derive(Clone, Debug, Default)]
pub enum Mode {
    /// Everything.
    #[default]
    Disabled,
    /// Reading, writing, returning from a signal handler, and its own end.
    Strict,
    /// What all of these filters allow.
    Filter(Vec<Arc<Filter>>),
}

/// What the threads of a process have in common: the mode that one of them has set for all.
#[derive(Debug, Default)]
pub struct Shared {
    generation: AtomicU32,
    mode: Mutex<Mode>,
}

/// The part of a thread.
#[derive(Clone, Debug, Default)]
pub struct Own {
    generation: u32,
    mode: Mode,
}

/// Actions that a filter returns, from the strongest to the weakest when compared as signed numbers
/// (include/uapi/linux/seccomp.h).
mod action {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The bits of the action; the others are its data.
    pub const MASK: u32 = 0xffff_0000;
}

/// Operations of the call.
mod op {
    pub const SET_MODE_STRICT: u64 = 0;
    pub const SET_MODE_FILTER: u64 = 1;
    pub const GET_ACTION_AVAIL: u64 = 2;
}

/// Flags of [`op::SET_MODE_FILTER`]: apply to all threads, log, and a mitigation that there is no need for here.
const TSYNC: u64 = 1;
const KNOWN_FLAGS: u64 = TSYNC | 2 | 4;

/// Calls that the strict mode allows.
const STRICT: [&str; 5] = ["read", "write", "exit", "sigreturn", "rt_sigreturn"];

/// Most filters of a thread; the kernel limits the sum of their lengths to about as much.
const MOST_FILTERS: usize = 256;

/// `seccomp(2)`.
///
/// # Errors
/// As the manual page says; `EINVAL` for listeners.
pub fn seccomp(cx: &mut Cx, [operation, flags, args, ..]: [u64; 6]) -> SysResult {
    match operation {
        op::SET_MODE_STRICT if flags == 0 && args == 0 => set_strict(cx),
        op::SET_MODE_FILTER if flags & !KNOWN_FLAGS == 0 => add_filter(cx, flags, args),
        op::GET_ACTION_AVAIL if flags == 0 => {
            let known = [
                action::KILL_PROCESS,
                action::KILL_THREAD,
                action::TRAP,
                action::ERRNO,
                action::TRACE,
                action::LOG,
                action::ALLOW,
            ];
            if known.contains(&cx.read::<u32>(args)?) { Ok(0) } else { Err(EOPNOTSUPP) }
        }
        _ => Err(EINVAL),
    }
}

/// `prctl(PR_SET_SECCOMP)`.
///
/// # Errors
/// As the manual page says.
pub fn set_mode(cx: &mut Cx, mode: u64, filter: u64) -> SysResult {
    match mode {
        1 => set_strict(cx),
        2 => add_filter(cx, 0, filter),
        _ => Err(EINVAL),
    }
}

/// `prctl(PR_GET_SECCOMP)`: the number of the mode.
pub fn mode(cx: &Cx) -> u64 {
    match cx.task.seccomp.mode {
        Mode::Disabled => 0,
        Mode::Strict => 1,
        Mode::Filter(_) => 2,
    }
}

fn set_strict(cx: &mut Cx) -> SysResult {
    if matches!(cx.task.seccomp.mode, Mode::Filter(_)) {
        return Err(EINVAL);
    }
    cx.task.seccomp.mode = Mode::Strict;
    Ok(0)
}

/// Whether the thread may restrict itself: its programs must not gain privileges, or it has them already.
fn may_filter() -> bool {
    let locked = call(libc::SYS_prctl, [libc::PR_GET_NO_NEW_PRIVS as u64, 0, 0, 0, 0]);
    locked == Ok(1) || call(libc::SYS_geteuid, []) == Ok(0)
}

fn add_filter(cx: &mut Cx, flags: u64, program: u64) -> SysResult {
    let program: SockFprog = cx.read(program)?;
    if program.len == 0 || usize::from(program.len) > filter::MOST_INSNS {
        return Err(EINVAL);
    }
    if !may_filter() {
        return Err(EACCES);
    }
    let code = cx.read_array::<Insn>(program.filter.0, program.len.into()).map_err(|_| EFAULT)?;
    let filter = Arc::new(Filter::new(code).ok_or(EINVAL)?);
    let mut filters = match &cx.task.seccomp.mode {
        Mode::Disabled => Vec::new(),
        Mode::Strict => return Err(EINVAL),
        Mode::Filter(list) => list.clone(),
    };
    if filters.len() >= MOST_FILTERS {
        return Err(Errno(libc::ENOMEM));
    }
    filters.push(filter);
    cx.task.seccomp.mode = Mode::Filter(filters);
    if flags & TSYNC != 0 {
        let shared = &cx.process.seccomp;
        let mut mode = shared.mode.lock();
        *mode = cx.task.seccomp.mode.clone();
        cx.task.seccomp.generation = shared.generation.fetch_add(1, Ordering::SeqCst) + 1;
    }
    Ok(0)
}

impl Cx {
    /// Asks the filters about a system call. An error is what the guest gets instead of it.
    ///
    /// # Errors
    /// The filters' answer; [`NO_RESULT`] when a signal was raised.
    pub fn screen(&mut self, nr: u64, args: [u64; 6]) -> Result<(), Errno> {
        let generation = self.process.seccomp.generation.load(Ordering::Relaxed);
        if generation != self.task.seccomp.generation {
            let mode = self.process.seccomp.mode.lock().clone();
            self.task.seccomp = Own { generation, mode };
        }
        let verdict = match &self.task.seccomp.mode {
            Mode::Disabled => return Ok(()),
            Mode::Strict => strict(self, nr),
            Mode::Filter(filters) => {
                let data = Data { nr: nr as u32, arch: audit_arch(self), pc: self.state().pc(), args };
                let verdicts = filters.iter().map(|f| f.run(&data));
                verdicts.min_by_key(|v| (v & action::MASK) as i32).unwrap_or(action::ALLOW)
            }
        };
        self.obey(verdict, nr)
    }

    fn obey(&mut self, verdict: u32, nr: u64) -> Result<(), Errno> {
        /// Largest error number (`MAX_ERRNO`).
        const MAX_ERRNO: u32 = 4095;
        let data = verdict & !action::MASK;
        match verdict & action::MASK {
            action::ALLOW | action::LOG => Ok(()),
            action::ERRNO if data == 0 => {
                // The call looks as if it had succeeded.
                self.abi().set_result(self.state_mut(), Ok(0));
                Err(NO_RESULT)
            }
            action::ERRNO => Err(Errno(data.min(MAX_ERRNO) as i32)),
            action::TRAP => {
                self.force(refused(self, nr, data));
                Err(NO_RESULT)
            }
            // Nobody traces, nobody listens.
            action::TRACE => Err(ENOSYS),
            action::KILL_THREAD if self.process.threads.load(Ordering::SeqCst) > 1 => {
                self.task.exited = Some(libc::SIGSYS);
                Err(NO_RESULT)
            }
            _ => self.kill(libc::SIGSYS),
        }
    }
}

fn strict(cx: &Cx, nr: u64) -> u32 {
    let name = cx.abi().calls().get(nr).map_or("", |row| row.name);
    if !STRICT.contains(&name) {
        cx.kill(libc::SIGKILL);
    }
    action::ALLOW
}

/// The signal of a call that a filter trapped.
fn refused(cx: &Cx, nr: u64, data: u32) -> SigInfo {
    const SYS_SECCOMP: i32 = 1;
    let details = Refused { addr: Ulong(cx.state().pc()), nr: nr as i32, arch: audit_arch(cx) };
    SigInfo { signo: libc::SIGSYS, errno: data as i32, code: SYS_SECCOMP, fields: Fields::Refused(details) }
}

/// The architecture as filters see it (include/uapi/linux/audit.h): the ELF machine, word size and byte order.
fn audit_arch(cx: &Cx) -> u32 {
    const BITS_64: u32 = 0x8000_0000;
    const LITTLE_ENDIAN: u32 = 0x4000_0000;
    let size = if cx.model().long == 8 { BITS_64 } else { 0 };
    u32::from(cx.abi().elf_machine()) | size | LITTLE_ENDIAN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::EPERM;
    use crate::testing::TestGuest;

    const LOAD_NR: Insn = Insn { code: 0x20, jt: 0, jf: 0, k: 0 };
    const fn ret(k: u32) -> Insn {
        Insn { code: 0x06, jt: 0, jf: 0, k }
    }

    /// Makes a guest filter itself so that call `nr` gets `verdict`.
    fn restrict(g: &mut TestGuest, nr: u32, verdict: u32) -> SysResult {
        let code = [LOAD_NR, Insn { code: 0x15, jt: 0, jf: 1, k: nr }, ret(verdict), ret(action::ALLOW)];
        let list = g.room(32);
        g.cx.write_array(list, &code).unwrap();
        let program = g.put_record(&SockFprog { len: 4, filter: Ulong(list) });
        g.ok("prctl", &[libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0]);
        g.call("seccomp", &[1, TSYNC, program])
    }

    #[test]
    fn the_strongest_answer_counts() {
        let mut g = TestGuest::new();
        let getpid = 20;
        restrict(&mut g, getpid, action::ERRNO | 1).unwrap();
        restrict(&mut g, getpid, action::LOG).unwrap();
        assert_eq!(g.cx.screen(20, [0; 6]), Err(EPERM));
        assert_eq!(g.cx.screen(3, [0; 6]), Ok(()));
        assert_eq!(mode(&g.cx), 2);
        g.cx.task.seccomp = Own::default();
        assert_eq!(g.cx.screen(20, [0; 6]), Err(EPERM), "all threads have the filters");
    }

    #[test]
    fn bad_programs_are_refused() {
        let mut g = TestGuest::new();
        let code = g.room(8);
        g.cx.write(code, &Insn { code: 0x20, jt: 0, jf: 0, k: 3 }).unwrap();
        let program = g.put_record(&SockFprog { len: 1, filter: Ulong(code) });
        assert_eq!(g.call("seccomp", &[1, 0, program]), Err(EINVAL));
        assert_eq!(g.call("seccomp", &[1, 0x100, program]), Err(EINVAL));
        assert_eq!(mode(&g.cx), 0);
    }

    #[test]
    fn actions_are_announced() {
        let mut g = TestGuest::new();
        let known = g.put(&action::ERRNO.to_le_bytes());
        let unknown = g.put(&0x7fc0_0000u32.to_le_bytes());
        assert_eq!(g.call("seccomp", &[2, 0, known]), Ok(0));
        assert_eq!(g.call("seccomp", &[2, 0, unknown]), Err(EOPNOTSUPP));
    }
}
