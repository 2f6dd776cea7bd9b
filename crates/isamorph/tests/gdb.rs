//! The gdb stub, spoken to in gdb's remote protocol.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// `mov $1,%eax; mov $5,%ebx; inc %ebx; inc %ebx; int $0x80`: exits with 7.
const COUNTING: &[u8] = &[0xb8, 1, 0, 0, 0, 0xbb, 5, 0, 0, 0, 0x43, 0x43, 0xcd, 0x80];

/// Blocks SIGUSR1, sends it to its process, and exits with 1 if it is pending then.
#[rustfmt::skip]
const BLOCKING: &[u8] = &[
    0x6a, 0, 0x68, 0, 2, 0, 0, // push $0; push $0x200
    0xb8, 175, 0, 0, 0, 0x31, 0xdb, 0x89, 0xe1, 0x31, 0xd2, 0xbe, 8, 0, 0, 0, 0xcd, 0x80, // rt_sigprocmask
    0xb8, 20, 0, 0, 0, 0xcd, 0x80, // getpid
    0x89, 0xc3, 0xb9, 10, 0, 0, 0, 0xb8, 37, 0, 0, 0, 0xcd, 0x80, // kill
    0xb8, 176, 0, 0, 0, 0x89, 0xe3, 0xb9, 8, 0, 0, 0, 0xcd, 0x80, // rt_sigpending
    0x8b, 0x1c, 0x24, 0xc1, 0xeb, 9, 0xb8, 1, 0, 0, 0, 0xcd, 0x80, // exit
];

/// An i386 ELF file with that code at 0x8048054.
fn program(code: &[u8]) -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |elf: &mut Vec<u8>, list: &[u16]| list.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    let word = |elf: &mut Vec<u8>, list: &[u32]| list.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    half(&mut elf, &[2, 3]);
    word(&mut elf, &[1, BASE + 0x54, 0x34, 0, 0]);
    half(&mut elf, &[0x34, 0x20, 1, 0, 0, 0]);
    let size = 0x54 + code.len() as u32;
    word(&mut elf, &[1, 0, BASE, BASE, size, size, 5, 0x1000]);
    elf.extend(code);
    elf
}

const BASE: u32 = 0x0804_8000;
/// The first `inc`.
const INC: u32 = BASE + 0x54 + 10;

/// A debugged program. It ends with the test.
struct Session {
    child: Child,
    link: UnixStream,
    files: [PathBuf; 2],
}

impl Session {
    fn start(name: &str) -> Self {
        Self::of(name, COUNTING)
    }
    fn of(name: &str, code: &[u8]) -> Self {
        let file = |kind| std::env::temp_dir().join(format!("isamorph-gdb-{name}-{}-{kind}", std::process::id()));
        let files = [file("program"), file("socket")];
        std::fs::write(&files[0], program(code)).unwrap();
        std::fs::set_permissions(&files[0], std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let child =
            Command::new(env!("CARGO_BIN_EXE_isamorph")).arg("-g").args([&files[1], &files[0]]).spawn().unwrap();
        let begun = Instant::now();
        let link = loop {
            match UnixStream::connect(&files[1]) {
                Ok(link) => break link,
                Err(_) if begun.elapsed() < Duration::from_secs(20) => std::thread::sleep(Duration::from_millis(10)),
                Err(e) => panic!("no stub: {e}"),
            }
        };
        link.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Session { child, link, files }
    }
    /// Sends a packet and gives the reply.
    fn ask(&mut self, packet: &str) -> String {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        self.link.write_all(format!("${packet}#{sum:02x}").as_bytes()).unwrap();
        let mut reply = Vec::new();
        let mut byte = [0];
        while !(reply.len() > 2 && reply[reply.len() - 3] == b'#') {
            self.link.read_exact(&mut byte).unwrap();
            if !reply.is_empty() || byte[0] == b'$' {
                reply.push(byte[0]);
            }
        }
        // After the last reply nobody may be there to take it.
        let _ = self.link.write_all(b"+");
        String::from_utf8(reply[1..reply.len() - 3].to_vec()).unwrap()
    }
    /// Register number `n` of the i386 description, from the `g` packet, which may be run-length encoded.
    fn register(&mut self, n: usize) -> u32 {
        let packet = self.ask("g");
        let mut text = String::new();
        let mut rest = packet.chars().peekable();
        while let Some(c) = rest.next() {
            text.push(c);
            if rest.peek() == Some(&'*') {
                rest.next();
                let repeats = rest.next().unwrap() as usize - 29;
                text.extend(std::iter::repeat_n(c, repeats));
            }
        }
        u32::from_str_radix(&text[8 * n..8 * n + 8], 16).unwrap().swap_bytes()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.files.iter().for_each(|file| drop(std::fs::remove_file(file)));
    }
}

const EBX: usize = 3;
const EIP: usize = 8;

#[test]
fn a_program_stops_at_a_breakpoint_steps_and_ends() {
    let mut s = Session::start("break");
    assert!(s.ask("?").starts_with("T05"));
    assert_eq!(s.register(EIP), BASE + 0x54, "nothing has run");
    assert_eq!(s.ask(&format!("Z0,{INC:x},1")), "OK");
    let stop = s.ask("vCont;c");
    assert!(stop.starts_with("T05") || stop.contains("swbreak"), "{stop}");
    assert_eq!((s.register(EIP), s.register(EBX)), (INC, 5));
    let thread = stop.split("thread:").nth(1).and_then(|t| t.split(';').next()).unwrap().to_owned();
    assert!(s.ask(&format!("vCont;s:{thread}")).starts_with("T05"));
    assert_eq!((s.register(EIP), s.register(EBX)), (INC + 1, 6), "the breakpoint's own instruction has run");
    assert_eq!(s.ask(&format!("m{INC:x},2")), "4343", "memory shows no trace of the breakpoint");
    assert_eq!(s.ask(&format!("z0,{INC:x},1")), "OK");
    assert!(s.ask("vCont;c").starts_with("W07"));
    assert_eq!(s.child.wait().unwrap().code(), Some(7));
}

#[test]
fn registers_and_memory_can_be_changed() {
    let mut s = Session::start("write");
    // The second instruction's constant 5 becomes 40.
    assert_eq!(s.ask(&format!("M{:x},1:28", BASE + 0x54 + 6)), "OK");
    assert_eq!(s.ask(&format!("Z0,{INC:x},1")), "OK");
    s.ask("vCont;c");
    assert_eq!(s.register(EBX), 40);
    assert!(s.ask("vCont;c").starts_with("W2a"), "42: the change was executed");
}

#[test]
fn a_debugger_that_leaves_lets_the_program_run() {
    let mut s = Session::start("leave");
    assert_eq!(s.ask(&format!("Z0,{INC:x},1")), "OK");
    assert_eq!(s.ask("D"), "OK");
    assert_eq!(s.child.wait().unwrap().code(), Some(7));
}

#[test]
fn blocked_signals_wait_for_the_guest() {
    let mut s = Session::of("signal", BLOCKING);
    assert!(s.ask("vCont;c").starts_with("W01"));
}
