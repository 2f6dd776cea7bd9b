use super::*;
use crate::Event;
use crate::testing::Listener;
use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

/// A path that no other test has.
fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("isamorph-chardev-{}-{number}-{name}", std::process::id()))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn files_get_the_output_and_logs_a_copy() {
    let (path, log, input) = (scratch("out"), scratch("log"), scratch("in"));
    std::fs::write(&input, "typed").unwrap();
    let chardevs = Chardevs::new().unwrap();
    let text = format!("file,id=f,path={},logfile={},input-path={}", path.display(), log.display(), input.display());
    chardevs.add(&text).unwrap();
    let back = chardevs.connect("f").unwrap();
    let front = Listener::new(3);
    back.attach(front.weak());
    assert_eq!(back.write(b"hello"), 5);
    assert_eq!(front.wait(3), b"typ");
    front.set_room(100);
    back.accept();
    assert_eq!(front.wait(2), b"ed");
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    assert_eq!(std::fs::read(&log).unwrap(), b"hello");
    assert!(chardevs.connect("f").err().unwrap().contains("in use"));
    assert!(chardevs.connect("g").err().unwrap().contains("not found"));
    assert!(chardevs.add("null,id=f").unwrap_err().contains("Duplicate"));
    [path, log, input].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

#[test]
fn a_server_takes_one_client_after_the_other() {
    let path = scratch("socket");
    let chardevs = Chardevs::new().unwrap();
    let text = format!("unix:{},server=on,wait=off", path.display());
    let back = chardevs.serial(&text, "serial0").unwrap().unwrap();
    let front = Listener::new(usize::MAX);
    back.attach(front.weak());
    assert_eq!(back.write(b"lost"), 4, "nobody is there");
    for _ in 0..2 {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"abc").unwrap();
        assert_eq!(front.wait(3), b"abc");
        assert_eq!(back.write(b"xy"), 2);
        let mut got = [0; 2];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"xy");
        client.shutdown(Shutdown::Both).unwrap();
        until("the end is noticed", || !back.is_open());
        assert_eq!(front.events(), [Event::Opened, Event::Closed]);
    }
    drop((back, chardevs));
    assert!(!path.exists());
}

#[test]
fn a_slow_reader_stops_the_writer_until_it_reads() {
    let path = scratch("slow");
    let chardevs = Chardevs::new().unwrap();
    let back = chardevs.serial(&format!("unix:{},server=on,wait=off", path.display()), "s").unwrap().unwrap();
    let front = Listener::new(usize::MAX);
    back.attach(front.weak());
    let mut client = UnixStream::connect(&path).unwrap();
    until("it is connected", || back.is_open());
    let mut sent = 0usize;
    loop {
        let data: Vec<u8> = (sent..sent + 4096).map(|n| (n % 251) as u8).collect();
        let taken = back.write(&data);
        sent += taken;
        if taken < data.len() {
            break;
        }
    }
    assert!(!front.events().contains(&Event::Writable));
    let mut got = vec![0; sent];
    client.read_exact(&mut got).unwrap();
    assert!(got.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8), "in order and complete");
    until("the writer is told", || front.events().contains(&Event::Writable));
}

#[test]
fn servers_and_clients_speak_tcp() {
    let chardevs = Chardevs::new().unwrap();
    let server = chardevs.serial("tcp:127.0.0.1:0,server=on,wait=off", "server").unwrap().unwrap();
    let name = server.describe();
    let address = name.strip_prefix("disconnected:tcp:").and_then(|rest| rest.strip_suffix(",server=on")).unwrap();
    let client = chardevs.serial(&format!("tcp:{address}"), "client").unwrap().unwrap();
    let fronts = [&server, &client].map(|back| {
        let front = Listener::new(usize::MAX);
        back.attach(front.weak());
        front
    });
    until("it is connected", || server.is_open());
    assert_eq!((server.write(b"to the client"), client.write(b"to the server")), (13, 13));
    assert_eq!((fronts[0].wait(13), fronts[1].wait(13)), (b"to the server".to_vec(), b"to the client".to_vec()));
}

#[test]
fn a_client_comes_back() {
    let path = scratch("reconnect");
    let chardevs = Chardevs::new().unwrap();
    let text = format!("socket,id=c,path={}", path.display());
    assert!(chardevs.add(&text).is_err(), "nobody listens");
    chardevs.add(&format!("{text},reconnect-ms=5")).unwrap();
    let back = chardevs.connect("c").unwrap();
    assert!(back.describe().starts_with("disconnected:"));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for _ in 0..2 {
        let (client, _) = listener.accept().unwrap();
        until("it is connected", || back.is_open());
        let front = Listener::new(usize::MAX);
        back.attach(front.weak());
        drop(client);
        until("the end is noticed", || front.events().contains(&Event::Closed));
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_terminal_can_be_opened_and_closed() {
    let (chardevs, link) = (Chardevs::new().unwrap(), scratch("pty"));
    chardevs.add(&format!("pty,id=p,path={}", link.display())).unwrap();
    let back = chardevs.connect("p").unwrap();
    let front = Listener::new(usize::MAX);
    back.attach(front.weak());
    assert_eq!(back.write(b"lost"), 4);
    let mut user = OpenOptions::new().read(true).write(true).open(&link).unwrap();
    until("it is noticed", || back.is_open());
    user.write_all(b"hi\r").unwrap();
    assert_eq!(front.wait(3), b"hi\r");
    back.write(b"yes\n");
    let mut got = [0; 4];
    user.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"yes\n", "nothing is translated, nothing echoed");
    drop(user);
    until("the end is noticed", || !back.is_open());
    std::fs::remove_file(link).unwrap();
}

#[test]
fn shared_back_ends_have_many_front_ends() {
    let chardevs = Chardevs::new().unwrap();
    let path = scratch("mux");
    let text = format!("mon:unix:{},server=on,wait=off", path.display());
    let [serial, monitor] = [Listener::new(usize::MAX), Listener::new(usize::MAX)];
    let first = chardevs.serial(&text, "serial0").unwrap().unwrap();
    let second = chardevs.connect("serial0").unwrap();
    first.attach(serial.weak());
    second.attach(monitor.weak());
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"a\x01cb").unwrap();
    assert_eq!((serial.wait(1), monitor.wait(1)), (b"a".to_vec(), b"b".to_vec()));
    assert!(serial.events().contains(&Event::Opened));
}

#[test]
fn memory_is_read_back() {
    let chardevs = Chardevs::new().unwrap();
    chardevs.add("ringbuf,id=r,size=8").unwrap();
    chardevs.connect("r").unwrap().write(b"0123456789");
    assert_eq!(chardevs.ringbuf("r").unwrap().read(100), b"23456789");
    assert_eq!(chardevs.list(), [("r".to_owned(), "ringbuf".to_owned())]);
    assert!(chardevs.serial("none", "x").unwrap().is_none());
}
