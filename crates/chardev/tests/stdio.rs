//! Standard input and output on a terminal: this test starts itself on a pseudo-terminal.

use isamorph_chardev::{BackEnd, Chardevs, Event, FrontEnd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, Weak};

/// Set for the process on the terminal.
const CHILD: &str = "ISAMORPH_CHARDEV_CHILD";

/// A front end that answers every byte with the same byte in brackets.
struct Echo(Arc<dyn BackEnd>);

impl FrontEnd for Echo {
    fn room(&self) -> usize {
        16
    }
    fn receive(&self, data: &[u8]) {
        data.iter().for_each(|byte| _ = self.0.write(&[b'[', *byte, b']']));
    }
    fn event(&self, _event: Event) {}
}

/// The process on the terminal: echoes until the multiplexer's `x`.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let quit = Arc::new((Mutex::new(false), Condvar::new()));
    let chardevs = Chardevs::new().unwrap();
    let asked = quit.clone();
    chardevs.on_quit(move || {
        *asked.0.lock().unwrap() = true;
        asked.1.notify_all();
    });
    let back = chardevs.serial("mon:stdio", "serial0").unwrap().unwrap();
    let echo = Arc::new(Echo(back.clone()));
    let front: Weak<Echo> = Arc::downgrade(&echo);
    back.attach(front);
    back.write(b"<ready>");
    let asked = quit.1.wait_while(quit.0.lock().unwrap(), |asked| !*asked).unwrap();
    drop(asked);
    assert!(chardevs.serial("stdio", "serial1").is_err(), "there is only one");
}

/// A pseudo-terminal: our side, and two handles of the other.
fn terminal() -> (File, OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let open = || OwnedFd::from(OpenOptions::new().read(true).write(true).open(&path).unwrap());
    (File::from(master), open(), open())
}

/// Reads until the text has been seen.
fn expect(terminal: &mut File, seen: &mut String, text: &str) {
    let mut buffer = [0; 1024];
    while !seen.contains(text) {
        let count = terminal.read(&mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[test]
fn a_terminal_is_raw_while_it_is_used() {
    let (mut user, input, output) = terminal();
    let before = tcgetattr(&input).unwrap().local_modes;
    assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdin(input.try_clone().unwrap())
        .stdout(output)
        .spawn()
        .unwrap();
    let mut seen = String::new();
    expect(&mut user, &mut seen, "<ready>");
    let raw = tcgetattr(&input).unwrap().local_modes;
    assert!(!raw.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
    // No line end, no echo, no signal.
    user.write_all(b"a\x03").unwrap();
    expect(&mut user, &mut seen, "<ready>[a][\x03]");
    user.write_all(b"\x01x").unwrap();
    expect(&mut user, &mut seen, "Terminated");
    assert!(process.wait().unwrap().success());
    assert_eq!(tcgetattr(&input).unwrap().local_modes, before);
}
