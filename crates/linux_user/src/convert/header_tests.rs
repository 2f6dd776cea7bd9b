//! The layouts against the kernel's headers: a C compiler for each guest checks sizes and offsets that this crate
//! computes. A guest whose compiler is not installed is skipped, which the test says.

use super::ipc::{MsqidDs, Perm, SemidDs, SemidDsX86_64, ShmInfo64, ShmidDs};
use super::misc::{FileHandle, Flock, Layouts, MqAttr};
use super::record::{Model, Record, Ulong};
use super::stat::{Stat32, Stat64, StatGeneric, StatX86_64, Statfs};
use super::time::{Itimerspec64, Rusage, Timespec64, Timex, Tms, Utimbuf};
use crate::signal::{AltStack, SigAction};
use std::io::Write;
use std::process::{Command, Stdio};

/// Every header that the checks need, as programs include them.
const HEADERS: &str = "
    #include <stddef.h>
    #include <asm/stat.h>
    #include <asm/statfs.h>
    #include <asm/posix_types.h>
    #include <asm/signal.h>
    #include <asm/siginfo.h>
    #include <asm/sigcontext.h>
    #include <asm/fcntl.h>
    #include <linux/eventpoll.h>
    #include <linux/mqueue.h>
    #include <linux/time.h>
    #include <linux/timex.h>
    #include <linux/times.h>
    #include <linux/utime.h>
    #include <linux/resource.h>
    #include <linux/ipc.h>
    #include <linux/sem.h>
    #include <linux/msg.h>
    #include <linux/shm.h>
";

/// The frame of a signal handler, which not every compiler's headers have.
const FRAME_HEADER: &str = "#include <asm/ucontext.h>\n";

/// A guest: its compiler, its layouts, and the file status that belongs to it.
struct Guest {
    compiler: &'static str,
    layouts: &'static Layouts,
    stat: fn(Model) -> usize,
    semid: fn(Model) -> usize,
    /// What only it has.
    own: &'static [(&'static str, usize)],
}

const GUESTS: [Guest; 4] = [
    Guest {
        compiler: "i686-linux-gnu-gcc",
        layouts: &Layouts::I386,
        stat: Stat32::size,
        semid: SemidDs::size,
        own: &[("sizeof(struct sigcontext)", 88)],
    },
    Guest {
        compiler: "x86_64-linux-gnu-gcc",
        layouts: &Layouts::X86_64,
        stat: StatX86_64::size,
        semid: SemidDsX86_64::size,
        own: &[("sizeof(struct sigcontext)", 256), ("sizeof(struct _fpx_sw_bytes)", 48)],
    },
    Guest {
        compiler: "arm-linux-gnueabihf-gcc",
        layouts: &Layouts::ARM,
        stat: Stat32::size,
        semid: SemidDs::size,
        own: &[("sizeof(struct sigcontext)", 84)],
    },
    Guest {
        compiler: "aarch64-linux-gnu-gcc",
        layouts: &Layouts::AARCH64,
        stat: StatGeneric::size,
        semid: SemidDs::size,
        own: &[
            ("offsetof(struct sigcontext, __reserved)", 288),
            ("sizeof(struct fpsimd_context)", 528),
            ("sizeof(struct esr_context)", 16),
            ("offsetof(struct ucontext, uc_sigmask)", 40),
            ("offsetof(struct ucontext, uc_mcontext)", 176),
            ("sizeof(siginfo_t) + sizeof(struct ucontext)", 4688),
        ],
    },
];

/// What a C compiler must agree with.
fn checks(guest: &Guest) -> Vec<(&'static str, usize)> {
    let m = guest.layouts.model;
    let open = |host: i32| guest.layouts.open.to_guest(host as u32) as usize;
    let mut list = vec![
        ("sizeof(struct stat)", (guest.stat)(m)),
        ("sizeof(struct semid64_ds)", (guest.semid)(m)),
        ("sizeof(struct msqid64_ds)", MsqidDs::size(m)),
        ("sizeof(struct shmid64_ds)", ShmidDs::size(m)),
        ("sizeof(struct shminfo64)", ShmInfo64::size(m)),
        ("sizeof(struct ipc64_perm)", Perm::size(m)),
        ("sizeof(struct statfs)", Statfs::size(m)),
        ("sizeof(struct epoll_event)", guest.layouts.epoll_event),
        ("sizeof(struct flock)", Flock::size(m)),
        ("sizeof(struct f_owner_ex)", FileHandle::size(m)),
        ("sizeof(struct mq_attr)", MqAttr::size(m)),
        ("sizeof(struct __kernel_timespec)", Timespec64::size(m)),
        ("sizeof(struct __kernel_itimerspec)", Itimerspec64::size(m)),
        ("sizeof(struct timex)", Timex::size(m)),
        ("sizeof(struct rusage)", Rusage::size(m)),
        ("sizeof(struct tms)", Tms::size(m)),
        ("sizeof(struct utimbuf)", Utimbuf::size(m)),
        ("sizeof(stack_t)", AltStack::size(m)),
        ("sizeof(siginfo_t)", crate::signal::info::SIZE),
        ("offsetof(siginfo_t, si_addr)", if m.long == 8 { 16 } else { 12 }),
        ("sizeof(void *)", Ulong::size(m)),
        ("O_DIRECTORY", open(libc::O_DIRECTORY)),
        ("O_NOFOLLOW", open(libc::O_NOFOLLOW)),
        ("O_DIRECT", open(libc::O_DIRECT)),
        ("O_TMPFILE", open(libc::O_TMPFILE)),
    ];
    if m.long == 4 {
        list.push(("sizeof(struct stat64)", Stat64::size(m)));
        list.push(("sizeof(struct statfs64)", super::stat::STATFS64_SIZE));
    } else {
        // The mask of the kernel's own structure is a word, of the headers' for 32-bit guests not.
        list.push(("sizeof(struct sigaction)", SigAction::size(m)));
    }
    list.extend_from_slice(guest.own);
    list
}

/// Compiles the checks; `None` if there is no such compiler.
fn compile(guest: &Guest) -> Option<Result<(), String>> {
    let mut source = HEADERS.to_owned();
    if guest.own.iter().any(|(expression, _)| expression.contains("struct ucontext")) {
        source += FRAME_HEADER;
    }
    for (expression, value) in checks(guest) {
        source += &format!("_Static_assert(({expression}) == {value}, \"{expression} is not {value}\");\n");
    }
    let arguments = ["-std=gnu11", "-fsyntax-only", "-x", "c", "-"];
    let child = Command::new(guest.compiler).args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.ok()?;
    child.stdin.take().expect("a pipe").write_all(source.as_bytes()).expect("the compiler reads");
    let output = child.wait_with_output().expect("the compiler ends");
    Some(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) })
}

#[test]
fn layouts_are_those_of_the_headers() {
    for guest in &GUESTS {
        match compile(guest) {
            Some(result) => assert_eq!(result, Ok(()), "{}", guest.compiler),
            None => println!("skipped: {} is not installed", guest.compiler),
        }
    }
}
