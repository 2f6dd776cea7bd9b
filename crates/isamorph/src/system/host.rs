//! What the host tells: signals that end the process, and its time zone.
#![allow(unsafe_code)] // signals and time zones have no safe interface in the standard library

use std::io;
use std::mem::MaybeUninit;

/// Those that ask for an orderly end.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

fn ending() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialised by the first call before the others use it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        ENDING.iter().for_each(|signal| {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        });
        set.assume_init()
    }
}

/// Keeps the signals pending, in this thread and those that it starts from now on.
pub fn hold() {
    // SAFETY: the set is valid, and nothing is read back.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &ending(), std::ptr::null_mut()) };
}

/// A signal that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: i32,
    /// The process that sent it.
    pub sender: i32,
}

impl Arrived {
    /// What is said about it.
    pub fn message(&self) -> String {
        let Arrived { signal, sender } = self;
        let line = std::fs::read(format!("/proc/{sender}/cmdline")).unwrap_or_default();
        let name = String::from_utf8_lossy(line.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
        let name = if name.is_empty() { "<unknown process>".to_owned() } else { name };
        match sender {
            0 => format!("terminating on signal {signal}"),
            _ => format!("terminating on signal {signal} from pid {sender} ({name})"),
        }
    }
}

/// Calls `arrived` with the first of the signals, on a thread of its own.
///
/// # Errors
/// The host refuses the thread.
pub fn wait(arrived: impl FnOnce(Arrived) + Send + 'static) -> io::Result<()> {
    let body = move || {
        loop {
            let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: the set is valid, and the kernel fills the information.
            let signal = unsafe { libc::sigwaitinfo(&ending(), info.as_mut_ptr()) };
            if signal > 0 {
                // SAFETY: zeroed memory and what the kernel writes are valid; a signal without a sender has 0 there.
                let sender = unsafe { info.assume_init().si_pid() };
                return arrived(Arrived { signal, sender });
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(body).map(drop)
}

/// Seconds by which the host's zone is ahead of UTC at a time.
pub fn zone_offset(seconds: i64) -> i64 {
    let mut broken = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid; zeroed memory is a valid structure if the call fails.
    unsafe {
        libc::localtime_r(&seconds, broken.as_mut_ptr());
        broken.assume_init().tm_gmtoff
    }
}
