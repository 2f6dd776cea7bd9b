//! `-strace`: one line per system call, in the form of QEMU's.

use crate::errno::{Errno, is_internal};
use crate::signal::info::{Fields, SigInfo};
use crate::table::{Arg, Ret, Row, SysResult};
use crate::task::Cx;
use std::fmt::Write;

/// Longest part of a string that is printed.
const STRING: usize = 4096;

/// Prints number and arguments of a call that is about to be made.
pub fn entry(cx: &Cx, row: &Row, args: &[u64; 6]) {
    let mut line = format!("{} {}(", cx.task.tid, row.name);
    for (i, (kind, value)) in row.args.iter().zip(args).enumerate() {
        if i > 0 {
            line.push(',');
        }
        argument(cx, *kind, *value, &mut line);
    }
    line.push(')');
    if row.ret == Ret::Never {
        line.push('\n');
    }
    cx.options().log_raw(&line);
}

/// Prints the result.
pub fn exit(cx: &Cx, row: &Row, result: SysResult) {
    if row.ret != Ret::Never {
        cx.options().log_raw(&format!("{}\n", outcome(row.ret, cx.model().long, result)));
    }
}

/// Prints a call with a number that is in no table.
pub fn unknown(cx: &Cx, nr: u64) {
    if cx.options().strace {
        cx.options().log_raw(&format!("{} Unknown syscall {nr}\n", cx.task.tid));
    }
}

/// Prints a signal that is about to be delivered.
pub fn signal(cx: &Cx, info: &SigInfo) {
    cx.options().log_raw(&signal_line(info, cx.model().long));
}

fn signal_line(info: &SigInfo, word: usize) -> String {
    let name = signal_name(info.signo);
    let details = match info.fields {
        Fields::Sender(f) => format!(", si_pid={}, si_uid={}", f.pid, f.uid),
        Fields::Queued(f) => format!(", si_pid={}, si_uid={}, si_value={:#x}", f.pid, f.uid, f.value.0),
        Fields::Child(f) => format!(", si_pid={}, si_uid={}, si_status={}", f.pid, f.uid, f.status),
        Fields::Fault(f) => format!(", si_addr={}", pointer(f.addr.0, word)),
        Fields::Timer(f) => format!(", si_timerid={}, si_overrun={}, si_value={:#x}", f.id, f.overrun, f.value.0),
        Fields::Poll(f) => format!(", si_band={}, si_fd={}", f.band.0, f.fd),
        Fields::Refused(f) => format!(", si_syscall={}", f.nr),
    };
    format!("--- {name} {{si_signo={name}, si_code={}{details}}} ---\n", info.code)
}

fn outcome(kind: Ret, word: usize, result: SysResult) -> String {
    match result {
        Err(crate::errno::NO_RESULT) => String::new(),
        Err(e) if is_internal(e) => " = -1 (to be restarted)".to_owned(),
        Err(Errno(number)) => format!(" = -1 errno={number} ({})", message(number)),
        Ok(value) if kind == Ret::Ptr => format!(" = {}", pointer(value, word)),
        Ok(value) if word == 4 => format!(" = {}", value as i32),
        Ok(value) => format!(" = {}", value as i64),
    }
}

/// The system's text for an error number, without the number that the standard library appends.
pub fn message(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    text.rsplit_once(" (os error").map_or(text.clone(), |(head, _)| head.to_owned())
}

fn pointer(value: u64, word: usize) -> String {
    format!("0x{value:0width$x}", width = 2 * word)
}

fn argument(cx: &Cx, kind: Arg, value: u64, out: &mut String) {
    let text = match kind {
        Arg::Int | Arg::Fd | Arg::Long | Arg::Off64 | Arg::Split64 => (value as i64).to_string(),
        Arg::Uint | Arg::Size => value.to_string(),
        Arg::Hex => format!("{value:#x}"),
        Arg::Ptr if value == 0 => "NULL".to_owned(),
        Arg::Ptr => pointer(value, cx.model().long),
        Arg::Str => return string(cx, value, out),
        Arg::DirFd if value as i32 == libc::AT_FDCWD => "AT_FDCWD".to_owned(),
        Arg::DirFd => (value as i32).to_string(),
        Arg::Mode => format!("{value:#o}"),
        Arg::Signal => signal_name(value as i32),
        Arg::OpenFlags => open_flags(cx, value),
        Arg::AtFlags => bits(value, AT, ""),
        Arg::Access => bits(value, ACCESS, "F_OK"),
        Arg::Whence => one_of(value, WHENCE),
        Arg::Prot => bits(value, PROT, "PROT_NONE"),
        Arg::MapFlags => map_flags(value),
        Arg::CloneFlags => clone_flags(value),
        Arg::MaskHow => one_of(value, HOW),
        Arg::Clock => one_of(value, CLOCK),
        Arg::FutexOp => futex_op(value),
    };
    out.push_str(&text);
}

fn string(cx: &Cx, addr: u64, out: &mut String) {
    if addr == 0 {
        return out.push_str("NULL");
    }
    match cx.cstr_max(addr, STRING, crate::errno::EFAULT) {
        Ok(text) => {
            let _ = write!(out, "\"{}\"", text.as_bytes().escape_ascii());
        }
        Err(_) => out.push_str(&pointer(addr, cx.model().long)),
    }
}

type Names = &'static [(u64, &'static str)];

/// The names of the bits that are set, then what is left in hexadecimal; `none` when there is nothing.
fn bits(value: u64, names: Names, none: &str) -> String {
    let mut left = value;
    let mut parts = Vec::new();
    for (bit, name) in names {
        if left & bit == *bit {
            parts.push((*name).to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        parts.push(format!("{left:#x}"));
    }
    match (parts.is_empty(), none) {
        (true, "") => "0".to_owned(),
        (true, none) => none.to_owned(),
        _ => parts.join("|"),
    }
}

fn one_of(value: u64, names: Names) -> String {
    let name = names.iter().find(|(v, _)| *v == value).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| (value as i64).to_string())
}

macro_rules! names {
    ($($table:ident: [$($name:ident)*];)*) => {
        $(const $table: Names = &[$((libc::$name as u32 as u64, stringify!($name))),*];)*
    };
}
names! {
    AT: [AT_SYMLINK_NOFOLLOW AT_REMOVEDIR AT_SYMLINK_FOLLOW AT_NO_AUTOMOUNT AT_EMPTY_PATH];
    ACCESS: [R_OK W_OK X_OK];
    WHENCE: [SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE];
    PROT: [PROT_READ PROT_WRITE PROT_EXEC PROT_GROWSDOWN PROT_GROWSUP];
    MAP: [
        MAP_FIXED MAP_ANONYMOUS MAP_DENYWRITE MAP_FIXED_NOREPLACE MAP_GROWSDOWN MAP_EXECUTABLE MAP_LOCKED MAP_NORESERVE
        MAP_POPULATE MAP_NONBLOCK MAP_STACK MAP_HUGETLB
    ];
    CLONE: [
        CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_PIDFD CLONE_PTRACE CLONE_VFORK CLONE_PARENT CLONE_THREAD
        CLONE_NEWNS CLONE_SYSVSEM CLONE_SETTLS CLONE_PARENT_SETTID CLONE_CHILD_CLEARTID CLONE_DETACHED CLONE_UNTRACED
        CLONE_CHILD_SETTID CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_IO
    ];
    HOW: [SIG_BLOCK SIG_UNBLOCK SIG_SETMASK];
    CLOCK: [
        CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID CLOCK_MONOTONIC_RAW
        CLOCK_REALTIME_COARSE CLOCK_MONOTONIC_COARSE CLOCK_BOOTTIME
    ];
    OPEN: [
        O_APPEND O_TMPFILE O_CREAT O_DIRECTORY O_EXCL O_NOCTTY O_NOFOLLOW O_NONBLOCK O_TRUNC O_SYNC O_DSYNC O_CLOEXEC
        O_DIRECT O_PATH O_NOATIME
    ];
    FUTEX: [
        FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP FUTEX_LOCK_PI FUTEX_UNLOCK_PI
        FUTEX_TRYLOCK_PI FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2
    ];
    SIGNAL: [
        SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM
        SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF
        SIGWINCH SIGIO SIGPWR SIGSYS
    ];
}

/// `O_LARGEFILE` of 32-bit guests; the host has no such flag.
const O_LARGEFILE: u64 = 0o100_000;

fn open_flags(cx: &Cx, value: u64) -> String {
    let mode = ["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"][value as usize & 3];
    let large = if cx.model().long == 4 && value & O_LARGEFILE != 0 { O_LARGEFILE } else { 0 };
    let host = cx.abi().layouts().open.to_host(value as u32 & !3 & !(large as u32));
    let mut text = mode.to_owned();
    if host != 0 {
        text = format!("{text}|{}", bits(host.into(), OPEN, ""));
    }
    if large != 0 {
        text.push_str("|O_LARGEFILE");
    }
    text
}

fn map_flags(value: u64) -> String {
    let sharing = match value & 15 {
        1 => "MAP_SHARED",
        2 => "MAP_PRIVATE",
        3 => "MAP_SHARED_VALIDATE",
        _ => return bits(value, MAP, ""),
    };
    match bits(value & !15, MAP, "").as_str() {
        "0" => sharing.to_owned(),
        rest => format!("{sharing}|{rest}"),
    }
}

fn clone_flags(value: u64) -> String {
    let flags = bits(value & !0xff, CLONE, "");
    match value & 0xff {
        0 => flags,
        sig if flags == "0" => signal_name(sig as i32),
        sig => format!("{flags}|{}", signal_name(sig as i32)),
    }
}

fn futex_op(value: u64) -> String {
    const MODIFIERS: Names = &[(128, "FUTEX_PRIVATE_FLAG"), (256, "FUTEX_CLOCK_REALTIME")];
    let op = one_of(value & 127, FUTEX);
    match bits(value & !127, MODIFIERS, "").as_str() {
        "0" => op,
        rest => format!("{op}|{rest}"),
    }
}

fn signal_name(sig: i32) -> String {
    one_of(sig as u32 as u64, SIGNAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{ENOENT, ERESTARTSYS, NO_RESULT};

    #[test]
    fn results() {
        assert_eq!(outcome(Ret::Ptr, 4, Ok(0x8c000)), " = 0x0008c000");
        assert_eq!(outcome(Ret::Int, 4, Ok(6)), " = 6");
        assert_eq!(outcome(Ret::Int, 4, Err(ENOENT)), " = -1 errno=2 (No such file or directory)");
        assert_eq!(outcome(Ret::Int, 4, Err(NO_RESULT)), "");
        assert!(outcome(Ret::Int, 4, Err(ERESTARTSYS)).contains("restart"));
    }

    #[test]
    fn signals() {
        let fault = SigInfo::fault(libc::SIGSEGV, 1, 0x10);
        let expected = "--- SIGSEGV {si_signo=SIGSEGV, si_code=1, si_addr=0x00000010} ---\n";
        assert_eq!(signal_line(&fault, 4), expected);
    }

    #[test]
    fn flags() {
        assert_eq!(bits(3, PROT, "PROT_NONE"), "PROT_READ|PROT_WRITE");
        assert_eq!(bits(0, PROT, "PROT_NONE"), "PROT_NONE");
        assert_eq!(bits(0x4000, AT, ""), "0x4000");
        assert_eq!(map_flags(0x22), "MAP_PRIVATE|MAP_ANONYMOUS");
        assert_eq!(clone_flags(0x11 | 0x100), "CLONE_VM|SIGCHLD");
        assert_eq!(clone_flags(17), "SIGCHLD");
        assert_eq!(futex_op(128 | 1), "FUTEX_WAKE|FUTEX_PRIVATE_FLAG");
        assert_eq!(one_of(99, CLOCK), "99");
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(40), "40");
    }
}
