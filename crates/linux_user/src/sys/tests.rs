//! System calls of an i386 guest, made through its table.

use crate::convert::Record;
use crate::convert::dirent::FIRST_COOKIE;
use crate::convert::misc::{Flock, Flock64, Iovec, MsgHdr};
use crate::convert::record::{Long, Model, Ulong};
use crate::convert::time::{Itimerspec, Sigevent, Timespec, Timespec64, Timeval};
use crate::errno::{EAGAIN, EBADF, EFAULT, EINVAL, ENOENT, ENOTTY, Errno};
use crate::testing::TestGuest;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

const CWD: u64 = libc::AT_FDCWD as u32 as u64;
const BAD: u64 = 0xffff_f000;

/// A directory that is removed at the end of the test.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("isamorph-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary directory");
        TempDir(path)
    }
    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pipe(g: &mut TestGuest) -> (u64, u64) {
    let fds = g.room(8);
    g.ok("pipe", &[fds]);
    let [r, w] = g.get::<[u32; 2]>(fds);
    (r.into(), w.into())
}

#[test]
fn files_are_written_read_and_described() {
    let (mut g, dir) = (TestGuest::new(), TempDir::new("files"));
    let path = g.text(dir.file("f"));
    let fd = g.ok("open", &[path, (libc::O_RDWR | libc::O_CREAT) as u64 | 0o100_000, 0o640]);
    let data = g.put(b"hello, world");
    assert_eq!(g.ok("write", &[fd, data, 12]), 12);
    let back = g.room(32);
    assert_eq!(g.ok("pread64", &[fd, back, 5, 7, 0]), 5);
    assert_eq!(g.bytes(back, 5), b"world");
    assert_eq!(g.call("pread64", &[fd, back, 5, 0, 0xffff_ffff]), Err(EINVAL));
    let vector = g.put_record(&[Ulong(back), Ulong(2), Ulong(back + 16), Ulong(3)]);
    assert_eq!(g.ok("preadv", &[fd, vector, 2, 1, 0]), 5);
    assert_eq!((g.bytes(back, 2), g.bytes(back + 16, 3)), (b"el".to_vec(), b"lo,".to_vec()));

    let meta = std::fs::metadata(dir.file("f")).expect("the file");
    let stat = g.room(128);
    g.ok("fstat64", &[fd, stat]);
    assert_eq!((g.get::<u64>(stat + 44), g.get::<u64>(stat + 88)), (12, meta.ino()));
    assert_eq!(g.get::<u32>(stat + 16), 0o100640);
    g.ok("stat", &[path, stat]);
    assert_eq!(g.get::<u32>(stat + 20), 12, "st_size");
    g.ok("oldfstat", &[fd, stat]);
    assert_eq!(g.get::<u32>(stat + 16), 12, "st_size of the oldest structure");
    assert_eq!(g.ok("fcntl64", &[fd, libc::F_GETFL as u64, 0]), libc::O_RDWR as u64);
    assert_eq!(g.call("open", &[BAD, 0, 0]), Err(EFAULT));
    assert_eq!(g.call("pread64", &[fd, BAD, 1, 0, 0]), Err(EFAULT));
    assert_eq!(g.call("pread64", &[fd, BAD, 1, 100, 0]), Ok(0), "nothing is stored at the end of the file");
    assert_eq!(g.call("read", &[99, back, 1]), Err(EBADF));
    g.ok("close", &[fd]);
}

#[test]
fn a_length_beyond_the_mapping_is_no_error_by_itself() {
    let (mut g, dir) = (TestGuest::new(), TempDir::new("length"));
    std::fs::write(dir.file("f"), b"abc").expect("a file");
    let path = g.text(dir.file("f"));
    let fd = g.ok("open", &[path, 0, 0]);
    let buffer = g.room(64);
    assert_eq!(g.ok("read", &[fd, buffer, 0x4000_0000]), 3);
    assert_eq!(g.bytes(buffer, 3), b"abc");
}

#[test]
fn sizes_and_positions_beyond_4_gib() {
    let (mut g, dir) = (TestGuest::new(), TempDir::new("large"));
    let path = g.text(dir.file("f"));
    let fd = g.ok("creat", &[path, 0o600]);
    g.ok("ftruncate64", &[fd, 5, 2]);
    let out = g.room(8);
    g.ok("_llseek", &[fd, 0, 0, out, libc::SEEK_END as u64]);
    assert_eq!(g.get::<u64>(out), 0x2_0000_0005);
    assert_eq!(g.call("lseek", &[fd, 0, libc::SEEK_CUR as u64]), Err(Errno(libc::EOVERFLOW)));
    let stat = g.room(128);
    assert_eq!(g.call("fstat", &[fd, stat]), Err(Errno(libc::EOVERFLOW)));
    g.ok("fstat64", &[fd, stat]);
    assert_eq!(g.get::<u64>(stat + 44), 0x2_0000_0005);
}

#[test]
fn names_links_owners_and_times() {
    let (mut g, dir) = (TestGuest::new(), TempDir::new("names"));
    let (a, b, sub) = (g.text(dir.file("a")), g.text(dir.file("b")), g.text(dir.file("sub")));
    let fd = g.ok("openat", &[CWD, a, (libc::O_WRONLY | libc::O_CREAT) as u64, 0o600]);
    g.ok("close", &[fd]);
    g.ok("link", &[a, b]);
    g.ok("unlink", &[a]);
    g.ok("mkdir", &[sub, 0o700]);
    g.ok("rename", &[b, a]);
    g.ok("symlink", &[a, b]);
    let out = g.room(256);
    let len = g.ok("readlink", &[b, out, 256]);
    assert_eq!(g.bytes(out, len), dir.file("a").as_bytes());
    g.ok("chmod", &[a, 0o640]);
    g.ok("lchown", &[a, 0xffff, 0xffff]);
    let times = g.put_record(&[Timespec { sec: Long(1000), nsec: Long(5) }; 2]);
    g.ok("utimensat", &[CWD, a, times, 0]);
    let meta = std::fs::metadata(dir.file("a")).expect("the file");
    assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.mode() & 0o777), (1000, 5, 0o640));
    let times = g.put_record(&[Timespec64 { sec: 1 << 33, nsec: crate::convert::record::Nsec(7 | 99 << 32) }; 2]);
    if g.call("utimensat_time64", &[CWD, a, times, 0]).is_ok() {
        let meta = std::fs::metadata(dir.file("a")).expect("the file");
        assert!(meta.mtime() > i64::from(i32::MAX), "the file system may clamp, but not wrap");
    }
    let bad = g.put_record(&[Timeval { sec: Long(1), usec: Long(1_000_000) }; 2]);
    assert_eq!(g.call("utimes", &[a, bad]), Err(EINVAL));
    assert_eq!(g.call("access", &[sub, libc::X_OK as u64]), Ok(0));
    g.ok("rmdir", &[sub]);
    assert_eq!(g.call("access", &[sub, 0]), Err(ENOENT));
}

/// Names and positions in an open directory, by either call.
fn list(g: &mut TestGuest, fd: u64, wide: bool) -> Vec<(String, u64)> {
    let buffer = g.room(512);
    let mut out = Vec::new();
    loop {
        let len = g.ok(if wide { "getdents64" } else { "getdents" }, &[fd, buffer, 512]);
        if len == 0 {
            return out;
        }
        let bytes = g.bytes(buffer, len);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (next, size, name) = if wide {
                (u64::decode(Model::I386, &rest[8..]), u16::decode(Model::I386, &rest[16..]), 19)
            } else {
                (u32::decode(Model::I386, &rest[4..]).into(), u16::decode(Model::I386, &rest[8..]), 10)
            };
            let end = rest[name..].iter().position(|b| *b == 0).expect("a terminated name");
            out.push((String::from_utf8_lossy(&rest[name..name + end]).into_owned(), next));
            rest = &rest[size as usize..];
        }
    }
}

#[test]
fn directories_have_positions_that_fit() {
    let (mut g, dir) = (TestGuest::new(), TempDir::new("dirs"));
    for i in 0..60 {
        std::fs::write(dir.file(&format!("file-{i:02}")), b"").expect("a file");
    }
    let path = g.text(dir.0.to_string_lossy());
    for wide in [true, false] {
        let fd = g.ok("open", &[path, libc::O_DIRECTORY as u64, 0]);
        let all = list(&mut g, fd, wide);
        assert_eq!(all.len(), 62);
        assert!(all.iter().all(|(_, next)| *next < 2 * FIRST_COOKIE));
        // Going back to the position after the tenth entry gives the eleventh.
        assert_eq!(g.ok("lseek", &[fd, all[9].1, 0]), all[9].1);
        let rest = list(&mut g, fd, wide);
        assert_eq!(
            rest.iter().map(|(n, _)| n).collect::<Vec<_>>(),
            all[10..].iter().map(|(n, _)| n).collect::<Vec<_>>()
        );
        g.ok("close", &[fd]);
    }
}

#[test]
fn record_locks_in_both_layouts() {
    let (mut g, dir) = (TestGuest::new(), TempDir::new("locks"));
    let path = g.text(dir.file("f"));
    let fd = g.ok("creat", &[path, 0o600]);
    let lock = Flock { kind: libc::F_WRLCK as i16, start: Long(3), len: Long(4), ..Flock::default() };
    let at = g.put_record(&lock);
    g.ok("fcntl", &[fd, 6, at]);
    let lock64 = Flock64 { kind: libc::F_WRLCK as i16, start: 1 << 40, len: 4, ..Flock64::default() };
    let at = g.put_record(&lock64);
    g.ok("fcntl64", &[fd, 13, at]);
    g.ok("fcntl64", &[fd, 12, at]);
    assert_eq!(g.get::<Flock64>(at).kind, libc::F_UNLCK as i16, "own locks do not conflict");
    assert_eq!(g.call("fcntl64", &[fd, 12, BAD]), Err(EFAULT));
    assert_eq!(g.call("fcntl64", &[fd, 4711, 0]), Err(EINVAL));
    let copy = g.ok("fcntl64", &[fd, libc::F_DUPFD as u64, 50]);
    assert!(copy >= 50);
}

#[test]
fn waiting_for_pipes() {
    let mut g = TestGuest::new();
    let (r, w) = pipe(&mut g);
    let poll = g.put_record(&[r as u32, libc::POLLIN as u32]);
    assert_eq!(g.ok("poll", &[poll, 1, 0]), 0);
    let byte = g.put(b"x");
    g.ok("write", &[w, byte, 1]);
    assert_eq!(g.ok("poll", &[poll, 1, 0]), 1);
    assert_eq!(g.get::<u16>(poll + 6), libc::POLLIN as u16);
    let none = g.put_record(&Timespec::default());
    assert_eq!(g.ok("ppoll", &[poll, 1, none, 0, 0]), 1);

    // Sets of one 32-bit word, followed by something that must stay.
    let set = g.put_record(&[1u32 << r, 0xdead_beef]);
    let zero = g.put_record(&Timeval::default());
    assert_eq!(g.ok("_newselect", &[r + 1, set, 0, 0, zero]), 1);
    assert_eq!(g.get::<[u32; 2]>(set), [1 << r, 0xdead_beef]);
    let block = g.put_record(&[Ulong(r + 1), Ulong(set), Ulong(0), Ulong(0), Ulong(zero)]);
    assert_eq!(g.ok("select", &[block]), 1);
    let none64 = g.put_record(&Timespec64::default());
    assert_eq!(g.ok("pselect6_time64", &[r + 1, set, 0, 0, none64, 0]), 1);
    assert_eq!(g.call("_newselect", &[-1i64 as u64, 0, 0, 0, zero]), Err(EINVAL));
    let count = g.room(4);
    g.ok("ioctl", &[r, libc::FIONREAD, count]);
    assert_eq!(g.get::<u32>(count), 1);
}

#[test]
fn epoll_and_event_descriptors() {
    let mut g = TestGuest::new();
    let ep = g.ok("epoll_create1", &[0]);
    let ev = g.ok("eventfd2", &[3, libc::EFD_NONBLOCK as u64]);
    let event = g.room(12);
    g.cx.write(event, &[libc::EPOLLIN as u32, 0x1234_5678, 0x9abc_def0]).expect("memory");
    g.ok("epoll_ctl", &[ep, libc::EPOLL_CTL_ADD as u64, ev, event]);
    let out = g.room(12 * 4);
    assert_eq!(g.ok("epoll_wait", &[ep, out, 4, 0]), 1);
    assert_eq!(g.get::<[u32; 3]>(out), [libc::EPOLLIN as u32, 0x1234_5678, 0x9abc_def0]);
    let value = g.room(8);
    assert_eq!(g.ok("read", &[ev, value, 8]), 8);
    assert_eq!(g.get::<u64>(value), 3);
    assert_eq!(g.call("read", &[ev, value, 8]), Err(EAGAIN));
    let zero = g.put_record(&Timespec64::default());
    assert_eq!(g.ok("epoll_pwait2", &[ep, out, 4, zero, 0, 8]), 0);
    assert_eq!(g.call("epoll_wait", &[ep, out, 0, 0]), Err(EINVAL));
    assert_eq!(g.call("epoll_create", &[0]), Err(EINVAL));
}

/// A message header whose only buffer is `data`.
fn message(g: &mut TestGuest, data: u64, len: u64, control: (u64, u64)) -> u64 {
    let iov = g.put_record(&Iovec { base: Ulong(data), len: Ulong(len) });
    let (control, controllen) = (Ulong(control.0), Ulong(control.1));
    g.put_record(&MsgHdr { iov: Ulong(iov), iovlen: Ulong(1), control, controllen, ..MsgHdr::default() })
}

#[test]
fn descriptors_travel_through_sockets() {
    let mut g = TestGuest::new();
    let pair = g.room(8);
    // By way of the multiplexed call.
    let args = g.put_record(&[Ulong(libc::AF_UNIX as u64), Ulong(libc::SOCK_DGRAM as u64), Ulong(0), Ulong(pair)]);
    g.ok("socketcall", &[8, args]);
    let [a, b] = g.get::<[u32; 2]>(pair).map(u64::from);
    let (_, w) = pipe(&mut g);

    let text = g.put(b"data");
    let control = g.put_record(&[16u32, libc::SOL_SOCKET as u32, libc::SCM_RIGHTS as u32, w as u32]);
    let msg = message(&mut g, text, 4, (control, 16));
    assert_eq!(g.ok("sendmsg", &[a, msg, 0]), 4);

    let (back, room) = (g.room(16), g.room(64));
    let msg = message(&mut g, back, 16, (room, 64));
    assert_eq!(g.ok("recvmsg", &[b, msg, 0]), 4);
    assert_eq!(g.bytes(back, 4), b"data");
    assert_eq!(g.get::<MsgHdr>(msg).controllen, Ulong(16));
    let [len, level, kind, fd] = g.get::<[u32; 4]>(room);
    assert_eq!((len, level, kind), (16, libc::SOL_SOCKET as u32, libc::SCM_RIGHTS as u32));
    assert_eq!(g.ok("write", &[fd.into(), text, 4]), 4, "the descriptor is the pipe");

    let bad = g.put_record(&[99u32, 0, 0, 0]);
    let msg = message(&mut g, text, 4, (bad, 16));
    assert_eq!(g.call("sendmsg", &[a, msg, 0]), Err(EINVAL));
    assert_eq!(g.call("socketcall", &[21, args]), Err(EINVAL));
}

#[test]
fn many_messages_at_once() {
    let mut g = TestGuest::new();
    let pair = g.room(8);
    g.ok("socketpair", &[libc::AF_UNIX as u64, libc::SOCK_DGRAM as u64, 0, pair]);
    let [a, b] = g.get::<[u32; 2]>(pair).map(u64::from);
    let list = g.room(64);
    let text = g.put(b"onetwo");
    for (i, (at, len)) in [(text, 3), (text + 3, 3)].into_iter().enumerate() {
        let msg = message(&mut g, at, len, (0, 0));
        let hdr: MsgHdr = g.get(msg);
        g.cx.write(list + 32 * i as u64, &hdr).expect("memory");
    }
    assert_eq!(g.ok("sendmmsg", &[a, list, 2, 0]), 2);
    assert_eq!(g.get::<u32>(list + 28), 3);
    let back = g.room(32);
    for i in 0..2 {
        let msg = message(&mut g, back + 8 * i, 8, (0, 0));
        let hdr: MsgHdr = g.get(msg);
        g.cx.write(list + 32 * i, &hdr).expect("memory");
    }
    assert_eq!(g.ok("recvmmsg", &[b, list, 2, libc::MSG_DONTWAIT as u64, 0]), 2);
    assert_eq!((g.bytes(back, 3), g.bytes(back + 8, 3)), (b"one".to_vec(), b"two".to_vec()));
    assert_eq!(g.call("recvmmsg", &[b, list, 2, libc::MSG_DONTWAIT as u64, 0]), Err(EAGAIN));
}

#[test]
fn socket_options_and_names() {
    let mut g = TestGuest::new();
    let s = g.ok("socket", &[libc::AF_INET as u64, libc::SOCK_DGRAM as u64, 0]);
    let (level, timeout) = (libc::SOL_SOCKET as u64, libc::SO_RCVTIMEO as u64);
    let value = g.put_record(&Timeval { sec: Long(2), usec: Long(500_000) });
    g.ok("setsockopt", &[s, level, timeout, value, 8]);
    let (out, len) = (g.room(16), g.put_record(&16u32));
    g.ok("getsockopt", &[s, level, timeout, out, len]);
    assert_eq!(g.get::<Timeval>(out), Timeval { sec: Long(2), usec: Long(500_000) });
    assert_eq!(g.get::<u32>(len), 8);
    assert_eq!(g.call("setsockopt", &[s, level, timeout, value, 4]), Err(EINVAL));

    let address = [&(libc::AF_INET as u16).to_le_bytes()[..], &[0, 0, 127, 0, 0, 1], &[0; 8]].concat();
    let address = g.put(&address);
    g.ok("bind", &[s, address, 16]);
    let (name, len) = (g.room(16), g.put_record(&16u32));
    g.ok("getsockname", &[s, name, len]);
    assert_eq!(g.bytes(name + 4, 4), [127, 0, 0, 1]);
    let text = g.put(b"ping");
    assert_eq!(g.ok("sendto", &[s, text, 4, 0, name, 16]), 4);
    let (back, from, len) = (g.room(8), g.room(16), g.put_record(&16u32));
    assert_eq!(g.ok("recvfrom", &[s, back, 8, 0, from, len]), 4);
    assert_eq!(g.bytes(from, 16), g.bytes(name, 16));
    g.ok("ioctl", &[s, 0x8907, out]);
    assert!(g.get::<Timespec>(out).sec.0 > 1_600_000_000, "SIOCGSTAMPNS");

    let list = g.room(256);
    let conf = g.put_record(&[256u32, list as u32]);
    g.ok("ioctl", &[s, 0x8912, conf]);
    assert_eq!(g.get::<u32>(conf) % 32, 0);
}

#[test]
fn clocks_sleeps_and_timers() {
    let mut g = TestGuest::new();
    let (narrow, wide) = (g.room(8), g.room(16));
    g.ok("clock_gettime", &[libc::CLOCK_REALTIME as u64, narrow]);
    g.ok("clock_gettime64", &[libc::CLOCK_REALTIME as u64, wide]);
    let (n, w): (Timespec, Timespec64) = (g.get(narrow), g.get(wide));
    assert!((0..=1).contains(&(w.sec - n.sec.0)));
    let now = g.ok("time", &[0]);
    assert!(now as i64 - n.sec.0 <= 1);
    assert_eq!(g.call("clock_gettime", &[99, narrow]), Err(EINVAL));

    let short = g.put_record(&Timespec { sec: Long(0), nsec: Long(1000) });
    g.ok("nanosleep", &[short, 0]);
    let bad = g.put_record(&Timespec { sec: Long(0), nsec: Long(-1) });
    assert_eq!(g.call("nanosleep", &[bad, 0]), Err(EINVAL));

    let spec = Itimerspec { value: Timespec { sec: Long(100), nsec: Long(0) }, ..Itimerspec::default() };
    let spec = g.put_record(&spec);
    let fd = g.ok("timerfd_create", &[libc::CLOCK_MONOTONIC as u64, 0]);
    g.ok("timerfd_settime", &[fd, 0, spec, 0]);
    let left = g.room(16);
    g.ok("timerfd_gettime", &[fd, left]);
    assert!((98..=100).contains(&g.get::<Itimerspec>(left).value.sec.0));

    let event = Sigevent { value: Ulong(0x1234), signo: libc::SIGUSR1, notify: libc::SIGEV_NONE, thread: 0 };
    let (event, id) = (g.put_record(&event), g.room(4));
    g.ok("timer_create", &[libc::CLOCK_MONOTONIC as u64, event, id]);
    let id = g.get::<u32>(id).into();
    g.ok("timer_settime", &[id, 0, spec, 0]);
    g.ok("timer_gettime64", &[id, wide]);
    g.ok("timer_delete", &[id]);
    assert_eq!(g.call("timer_delete", &[id]), Err(EINVAL));
}

#[test]
fn system_v_ipc() {
    let mut g = TestGuest::new();
    let id = g.ok("shmget", &[libc::IPC_PRIVATE as u64, 5000, 0o600]);
    let at = g.ok("shmat", &[id, 0, 0]);
    g.cx.write(at + 4096, &0x1234_5678u32).expect("the segment is writable");
    let again = g.ok("shmat", &[id, 0, 0o10_000]);
    assert_eq!(g.get::<u32>(again + 4096), 0x1234_5678);
    assert_eq!(g.call("shmat", &[id, at, 0]), Err(EINVAL), "something is there");
    let status = g.room(128);
    g.ok("ipc", &[24, id, 0x102, 0, status, 0]);
    assert_eq!((g.get::<u32>(status + 36), g.get::<u32>(status + 72)), (5000, 2));
    g.ok("shmdt", &[again]);
    g.ok("ipc", &[22, 0, 0, 0, at, 0]);
    assert_eq!(g.call("shmdt", &[at]), Err(EINVAL));
    g.ok("shmctl", &[id, 0, 0]);

    let id = g.ok("semget", &[libc::IPC_PRIVATE as u64, 2, 0o600]);
    let values = g.put_record(&[3u16, 4]);
    g.ok("semctl", &[id, 0, 17, values]);
    let op = g.put_record(&[1u16, 0xffff, libc::IPC_NOWAIT as u16]);
    g.ok("ipc", &[1, id, 1, 0, op, 0]);
    assert_eq!(g.ok("semctl", &[id, 1, 12, 0]), 3);
    let union = g.put_record(&Ulong(status));
    g.ok("ipc", &[3, id, 0, 0x102, union, 0]);
    assert_eq!(g.get::<u32>(status + 52), 2, "sem_nsems");
    g.ok("semctl", &[id, 0, 0, 0]);

    let id = g.ok("msgget", &[libc::IPC_PRIVATE as u64, 0o600]);
    let msg = g.put_record(&[7u32, u32::from_le_bytes(*b"text")]);
    g.ok("msgsnd", &[id, msg, 4, 0]);
    let (back, kludge) = (g.room(64), g.room(8));
    g.cx.write(kludge, &[back as u32, 7]).expect("memory");
    assert_eq!(g.ok("ipc", &[12, id, 16, 0, kludge, 0]), 4);
    assert_eq!((g.get::<u32>(back), g.bytes(back + 4, 4)), (7, b"text".to_vec()));
    g.ok("msgctl", &[id, 0, 0]);
}

#[test]
fn files_of_proc_show_the_guest() {
    let mut g = TestGuest::new();
    let (link, out) = (g.text("/proc/self/exe"), g.room(4096));
    let len = g.ok("readlink", &[link, out, 4096]);
    assert_eq!(g.bytes(out, len), b"/bin/guest-program");
    let maps = g.text(format!("/proc/{}/maps", std::process::id()));
    let fd = g.ok("open", &[maps, 0, 0]);
    let len = g.ok("read", &[fd, out, 4096]);
    let text = String::from_utf8(g.bytes(out, len)).expect("text");
    assert!(text.starts_with("08000000-08100000 rw-p 00000000 00:00 0"), "{text}");
    let stat = g.text("/proc/self/stat");
    let fd = g.ok("open", &[stat, 0, 0]);
    let len = g.ok("read", &[fd, out, 4096]);
    assert!(String::from_utf8_lossy(&g.bytes(out, len)).contains("(guest-program)"));
}

#[test]
fn the_sysroot_is_looked_at_first() {
    let dir = TempDir::new("root");
    std::fs::create_dir_all(dir.file("etc")).expect("a directory");
    std::fs::write(dir.file("etc/hostname"), b"sysroot").expect("a file");
    let mut g = TestGuest::with_sysroot(Some(&dir.0));
    let (path, out) = (g.text("/etc/hostname"), g.room(64));
    let fd = g.ok("open", &[path, 0, 0]);
    let len = g.ok("read", &[fd, out, 64]);
    assert_eq!(g.bytes(out, len), b"sysroot");
    let outside = g.text("/proc/self/status");
    g.ok("access", &[outside, 0]);
}

#[test]
fn terminals_and_unknown_commands() {
    let (mut g, dir) = (TestGuest::new(), TempDir::new("ioctl"));
    let path = g.text(dir.file("f"));
    let fd = g.ok("creat", &[path, 0o600]);
    let out = g.room(64);
    assert_eq!(g.call("ioctl", &[fd, 0x5401, out]), Err(ENOTTY));
    assert_eq!(g.call("ioctl", &[fd, 0x1234_5678, out]), Err(ENOTTY));
    assert_eq!(g.call("ioctl", &[99, 0x1234_5678, out]), Err(EBADF));
    g.ok("ioctl", &[fd, 0x2, out]);
    assert!(g.get::<u32>(out).is_power_of_two(), "FIGETBSZ");
    let master = g.text("/dev/ptmx");
    let Ok(pty) = g.call("open", &[master, (libc::O_RDWR | libc::O_NOCTTY) as u64, 0]) else { return };
    g.ok("ioctl", &[pty, 0x5401, out]);
    g.ok("ioctl", &[pty, 0x8004_5430, out]);
    let size = g.put_record(&[25u16, 80, 0, 0]);
    g.ok("ioctl", &[pty, 0x5414, size]);
    g.ok("ioctl", &[pty, 0x5413, out]);
    assert_eq!(g.get::<[u16; 2]>(out), [25, 80]);
}

#[test]
fn file_systems_are_described() {
    let mut g = TestGuest::new();
    let (root, out) = (g.text("/"), g.room(128));
    g.ok("statfs64", &[root, 84, out]);
    assert!(g.get::<u32>(out + 4) >= 512, "f_bsize");
    assert_eq!(g.call("statfs64", &[root, 80, out]), Err(EINVAL));
    let statx = g.room(256);
    let flags = libc::AT_STATX_SYNC_AS_STAT as u64;
    g.ok("statx", &[CWD, root, flags, libc::STATX_BASIC_STATS.into(), statx]);
    assert_eq!(g.get::<u16>(statx + 28) & 0o170_000, 0o040_000, "stx_mode");
}

#[test]
fn own_memory_by_way_of_process_calls() {
    let mut g = TestGuest::new();
    let (from, to) = (g.put(b"abcdef"), g.room(16));
    let local = g.put_record(&Iovec { base: Ulong(to), len: Ulong(6) });
    let remote = g.put_record(&Iovec { base: Ulong(from), len: Ulong(6) });
    let pid = u64::from(std::process::id());
    assert_eq!(g.ok("process_vm_readv", &[pid, local, 1, remote, 1, 0]), 6);
    assert_eq!(g.bytes(to, 6), b"abcdef");
}
