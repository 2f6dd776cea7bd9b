//! Processes, threads, memory and limits of an i386 guest, whose code is replaced by scripts.

use crate::errno::{ECHILD, EINVAL, ENOMEM, EPERM};
use crate::testing::{Random, TestGuest};
use isamorph_accel::Stop;
use isamorph_ir::CpuState;
use isamorph_x86::state::{self as x86, EAX, EBX, GS, GS_BASE};

const SCRATCH: u64 = 0x0800_0000;
const PAGE: u64 = 4096;

/// Makes a system call at every opportunity: number and argument are where the program counter points.
fn call_from_pc(state: &mut CpuState) -> Stop {
    let pc = state.pc();
    state.set(&x86::I386, EAX, pc >> 8);
    state.set(&x86::I386, EBX, pc & 0xff);
    Stop::Syscall(0x80)
}

const EXIT: u64 = 1;
const EXIT_GROUP: u64 = 252;

fn exit_status(g: &mut TestGuest, pid: u64) -> u64 {
    let status = g.room(4);
    g.cx.deliver_signals(None);
    assert_eq!(g.ok("waitpid", &[pid, status, 0]), pid);
    u64::from(g.get::<u32>(status)) >> 8
}

#[test]
fn a_fork_has_its_own_memory() {
    let mut g = TestGuest::scripted(call_from_pc);
    let at = g.put_record(&1u32);
    let pid = g.ok("fork", &[]);
    if pid == 0 {
        g.cx.write(at, &2u32).unwrap();
        g.cx.state_mut().set_pc(EXIT_GROUP << 8 | 7);
        std::process::exit(g.cx.run() + 100);
    }
    assert_eq!(exit_status(&mut g, pid), 7);
    assert_eq!(g.get::<u32>(at), 1);
    assert_eq!(g.call("waitpid", &[pid, 0, 0]), Err(ECHILD));
}

#[test]
fn a_vfork_child_shares_memory_and_gives_the_registers_back() {
    let mut g = TestGuest::scripted(call_from_pc);
    let (tid, own) = (g.room(4), g.cx.task.tid);
    g.cx.state_mut().set_pc(EXIT << 8 | 5);
    g.cx.state_mut().set(&x86::I386, EBX, 0xb0b);
    let flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_CHILD_SETTID | libc::SIGCHLD) as u64;
    let pid = g.ok("clone", &[flags, 0, 0, 0, tid]);
    assert_eq!(u64::from(g.get::<u32>(tid)), pid, "written by the child");
    assert_eq!(g.cx.state().get(&x86::I386, EBX), 0xb0b);
    assert_eq!(g.cx.task.tid, own);
    assert!(!g.cx.task.vforked && g.cx.task.exited.is_none());
    assert_eq!(exit_status(&mut g, pid), 5);
}

#[test]
fn a_vfork_child_may_fail_to_execute_and_has_its_own_signal_actions() {
    fn script(state: &mut CpuState) -> Stop {
        // execve of a bad address, sigaction, exit with what execve returned.
        let (next, nr, args) = match state.pc() {
            0 => (1, 11, [0; 3]),
            1 => (2, 48, [libc::SIGUSR1 as u64, 0x1234, 0]),
            _ => (3, EXIT, [3, 0, 0]),
        };
        state.set_pc(next);
        state.set(&x86::I386, EAX, nr);
        for (i, reg) in [EBX, x86::ECX, x86::EDX].into_iter().enumerate() {
            state.set(&x86::I386, reg, args[i]);
        }
        Stop::Syscall(0x80)
    }
    let mut g = TestGuest::scripted(script);
    let pid = g.ok("vfork", &[]);
    assert_eq!(exit_status(&mut g, pid), 3);
    assert_eq!(g.cx.task.sighand.get(libc::SIGUSR1).handler.0, 0);
}

#[test]
fn threads_announce_themselves_and_their_end() {
    let mut g = TestGuest::scripted(call_from_pc);
    g.cx.attach();
    g.cx.state_mut().set_pc(EXIT << 8);
    g.ok("signal", &[33, 0x1234]);
    g.cx.deliver_signals(None);
    let (tid, cleared) = (g.room(4), g.put_record(&77u32));
    let tls = g.put_record(&[12u32, 0x1000, 0xfffff, 0x51]);
    g.cx.state_mut().set(&x86::I386, GS, 12 << 3 | 3);
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let extra = libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_CLEARTID | libc::CLONE_SETTLS;
    let id = g.ok("clone", &[(flags | extra) as u64, SCRATCH + 0x8000, tid, tls, cleared]);
    assert_eq!(u64::from(g.get::<u32>(tid)), id);
    assert_ne!(id, u64::from(std::process::id()));
    let installed = g.room(20);
    g.ok("rt_sigaction", &[33, 0, installed, 8]);
    assert_eq!(g.get::<u32>(installed), 0x1234);
    let own = g.cx.task.tid;
    g.cx.deliver_signals(None);
    isamorph_host::signal::tgkill(std::process::id() as i32, own, 33).unwrap();
    assert!(g.cx.task.signals.pending().set().has(33), "the host's C library has not taken the signal over");
    // Wait as a program that joins does.
    for _ in 0..1000 {
        if g.get::<u32>(cleared) == 0 {
            break;
        }
        g.ok("sched_yield", &[]);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(g.get::<u32>(cleared), 0);
    assert_eq!(g.cx.state().get(&x86::I386, GS_BASE), 0, "the parent's thread pointer stays");
}

#[test]
fn a_dead_owner_leaves_its_robust_futex() {
    let mut g = TestGuest::new();
    let tid = g.cx.task.tid as u32;
    let entry = g.room(16);
    let head = g.put_record(&[entry as u32, 4, 0]);
    g.cx.write(entry, &[head as u32, tid | 1 << 31]).unwrap();
    g.ok("set_robust_list", &[head, 12]);
    assert_eq!(g.call("set_robust_list", &[head, 24]), Err(EINVAL));
    super::futex::release_robust(&g.cx);
    assert_eq!(g.get::<u32>(entry + 4), 3 << 30, "owner died, waiters stay");
    // A list that leads nowhere, or in a circle, ends.
    g.cx.write(entry, &0xffff_f000u32).unwrap();
    super::futex::release_robust(&g.cx);
    g.cx.write(entry, &(entry as u32)).unwrap();
    super::futex::release_robust(&g.cx);
}

#[test]
fn clone_refuses_what_it_cannot_do() {
    let mut g = TestGuest::new();
    for flags in [libc::CLONE_THREAD, libc::CLONE_VM, libc::CLONE_SIGHAND, libc::CLONE_VM | libc::CLONE_THREAD] {
        assert_eq!(g.call("clone", &[flags as u64, 0, 0, 0, 0]), Err(EINVAL), "{flags:#x}");
    }
    let args = g.room(88);
    assert_eq!(g.call("clone3", &[args, 8]), Err(EINVAL));
    g.cx.write(args + 64, &[0u64, 1]).unwrap();
    assert_eq!(g.call("clone3", &[args, 88]), Err(EPERM), "chosen thread ids");
}

#[test]
fn the_heap_grows_and_shrinks() {
    let mut g = TestGuest::new();
    *g.cx.process.brk.lock() = crate::task::Brk { start: 0x0900_0000, end: 0x0900_0000 };
    assert_eq!(g.ok("brk", &[0]), 0x0900_0000);
    assert_eq!(g.ok("brk", &[0x0900_1234]), 0x0900_1234);
    g.cx.write(0x0900_1fff, &1u8).unwrap();
    assert_eq!(g.ok("brk", &[0x0900_0010]), 0x0900_0010);
    assert!(g.cx.write(0x0900_1fff, &1u8).is_err());
    assert_eq!(g.ok("brk", &[0x08ff_ffff]), 0x0900_0010, "not below its start");
    let wall = [0x0900_3000, PAGE, 0, 0x32, u64::MAX, 0];
    g.ok("mmap2", &wall);
    assert_eq!(g.ok("brk", &[0x0900_4000]), 0x0900_0010, "not over another mapping");
    assert_eq!(g.ok("brk", &[0x0900_3000]), 0x0900_3000);
}

#[test]
fn mappings() {
    let mut g = TestGuest::new();
    let at = g.ok("mmap2", &[0, 3 * PAGE, 3, 0x22, u64::MAX, 0]);
    g.cx.write(at + PAGE, &42u32).unwrap();
    let moved = g.ok("mremap", &[at, 3 * PAGE, 8 * PAGE, 1, 0]);
    assert_eq!(g.get::<u32>(moved + PAGE), 42);
    g.ok("mprotect", &[moved, PAGE, 1]);
    assert!(g.cx.write(moved, &1u32).is_err());
    let resident = g.room(8);
    g.ok("mincore", &[moved, 8 * PAGE, resident]);
    assert_eq!(g.bytes(resident + 1, 1)[0] & 1, 1);
    g.ok("madvise", &[moved, 8 * PAGE, libc::MADV_DONTNEED as u64]);
    assert_eq!(g.get::<u32>(moved + PAGE), 0);
    g.ok("munmap", &[moved, 8 * PAGE]);
    assert_eq!(g.call("mincore", &[moved, PAGE, resident]), Err(ENOMEM));
    assert_eq!(g.call("munmap", &[moved + 1, PAGE]), Err(EINVAL));
    assert_eq!(g.call("mmap2", &[0, PAGE, 3, 0x20, u64::MAX, 0]), Err(EINVAL), "neither shared nor private");
    assert_eq!(g.call("mmap2", &[0, 0, 3, 0x22, u64::MAX, 0]), Err(EINVAL));
    assert_eq!(g.call("mmap2", &[0, PAGE, 3, 2, 999, 0]), Err(crate::errno::EBADF));
    assert_eq!(g.call("pkey_mprotect", &[moved, PAGE, 1, 1]), Err(EINVAL));
    let old = g.put_record(&[0u32, PAGE as u32, 3, 0x22, u32::MAX, 0]);
    let old = g.ok("mmap", &[old]);
    g.cx.write(old, &1u32).unwrap();
}

#[test]
fn limits_that_would_hit_the_emulator_are_kept() {
    let mut g = TestGuest::new();
    let limit = g.put_record(&[64u64 << 20, u64::MAX]);
    let space = u64::from(libc::RLIMIT_AS);
    g.ok("prlimit64", &[0, space, limit, 0]);
    let old = g.room(16);
    g.ok("ugetrlimit", &[space, old]);
    assert_eq!(g.get::<[u32; 2]>(old), [64 << 20, u32::MAX]);
    g.ok("getrlimit", &[space, old]);
    assert_eq!(g.get::<[u32; 2]>(old), [64 << 20, 0x7fff_ffff]);
    assert_eq!(super::limits::host_limit(libc::RLIMIT_AS), None);
    let inverted = g.put_record(&[2u32, 1]);
    assert_eq!(g.call("setrlimit", &[space, inverted]), Err(EINVAL));
}

#[test]
fn names_of_the_machine() {
    let mut g = TestGuest::new();
    let out = g.room(390);
    g.ok("uname", &[out]);
    assert_eq!(g.bytes(out + 4 * 65, 5), b"i686\0");
    g.ok("oldolduname", &[out]);
    assert_eq!(g.bytes(out, 6), b"Linux\0");
    assert_eq!(g.bytes(out + 36, 5), b"i686\0");
}

#[test]
fn descriptors_of_thread_local_storage() {
    let mut g = TestGuest::new();
    let desc = g.put_record(&[u32::MAX, 0x5000, 0xfffff, 0x51]);
    g.ok("set_thread_area", &[desc]);
    assert_eq!(g.get::<u32>(desc), 12, "the first free entry");
    g.cx.write(desc, &[u32::MAX, 0x6000]).unwrap();
    g.ok("set_thread_area", &[desc]);
    assert_eq!(g.get::<u32>(desc), 13);
    g.cx.write(desc, &12u32).unwrap();
    g.ok("get_thread_area", &[desc]);
    assert_eq!(g.get::<[u32; 4]>(desc), [12, 0x5000, 0xfffff, 0x51]);
    g.cx.write(desc, &6u32).unwrap();
    assert_eq!(g.call("get_thread_area", &[desc]), Err(EINVAL));
}

/// Calls that neither block nor reach out of the guest, whatever their arguments.
const HARMLESS: &[&str] = &[
    "brk",
    "mmap",
    "mmap2",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "msync",
    "mincore",
    "munlock",
    "rt_sigaction",
    "sigaction",
    "signal",
    "rt_sigprocmask",
    "sigprocmask",
    "rt_sigpending",
    "sigpending",
    "sigaltstack",
    "sgetmask",
    "set_thread_area",
    "get_thread_area",
    "modify_ldt",
    "set_robust_list",
    "get_robust_list",
    "getrlimit",
    "ugetrlimit",
    "uname",
    "olduname",
    "oldolduname",
    "sysinfo",
    "getrusage",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getattr",
    "getgroups",
    "getgroups32",
    "getresuid",
    "getresuid32",
    "wait4",
    "waitpid",
    "waitid",
    "getcpu",
    "capget",
    "personality",
    "signalfd4",
    "getuid",
    "pkey_mprotect",
    "set_tid_address",
];

#[test]
fn bad_arguments_never_panic() {
    const VALUES: &[u64] = &[
        0,
        1,
        2,
        3,
        8,
        12,
        64,
        4095,
        PAGE,
        PAGE + 1,
        0x22,
        0x32,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_e000,
        0xffff_f000,
        0xffff_fff0,
        0xffff_ffff,
        SCRATCH,
        SCRATCH + 1,
        SCRATCH + 0xf_fffe,
        0x0900_0000,
        0x0900_1000,
        0x5655_5000,
    ];
    // Locking and populating mappings would take the host's memory.
    const DEAR: u64 = (libc::MAP_POPULATE | libc::MAP_LOCKED) as u64;
    let mut g = TestGuest::new();
    let mut random = Random::new(1);
    let mut succeeded = 0;
    for round in 0..20_000 {
        let name = HARMLESS[round % HARMLESS.len()];
        let mut args: [u64; 6] = std::array::from_fn(|_| VALUES[random.below(VALUES.len())]);
        if name == "mmap2" {
            args[3] &= !DEAR;
        }
        if name == "mmap" {
            // Its arguments are in memory; what lies there is not dear.
            args[0] = 0xffff_f000;
        }
        succeeded += u32::from(g.call(name, &args).is_ok());
        g.cx.task.signals.set_mask(crate::signal::SigSet::EMPTY);
        g.cx.deliver_signals(None);
    }
    assert!(succeeded > 2000, "{succeeded} calls succeeded");
}
