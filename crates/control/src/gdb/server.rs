//! The connection to gdb.

use super::registers;
use super::target::{Debuggee, stop_reason};
use super::threads::Threads;
use gdbstub::conn::{Connection, ConnectionExt};
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use gdbstub::stub::{GdbStub, MultiThreadStopReason};
use isamorph_accel::Accel;
use isamorph_host::signal::{MaskHow, sigprocmask};
use isamorph_ram::UserSpace;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the connection is looked at while the process runs.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// Where gdb connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of this machine.
    Port(u16),
    /// A socket of the file system. `%d` in the path has been replaced by the process id.
    Path(PathBuf),
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening stub.
pub struct Server {
    listener: Listener,
}

/// What the stub has to know of the process.
pub struct Process {
    /// Name of the architecture, as in `isamorph-NAME`.
    pub arch: &'static str,
    /// Its memory.
    pub space: Arc<UserSpace>,
    /// Runs its code.
    pub accel: Arc<dyn Accel>,
    /// Path of its program.
    pub program: Vec<u8>,
    /// Its auxiliary vector.
    pub auxv: Vec<u8>,
}

/// A connection that sends whole packets: the stub writes byte by byte.
pub(super) struct Link {
    stream: Box<dyn ConnectionExt<Error = io::Error>>,
    unsent: Vec<u8>,
}

impl Link {
    fn new(stream: impl ConnectionExt<Error = io::Error> + 'static) -> Self {
        Link { stream: Box::new(stream), unsent: Vec::new() }
    }
}

impl Connection for Link {
    type Error = io::Error;
    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.unsent.push(byte);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&std::mem::take(&mut self.unsent))?;
        self.stream.flush()
    }
    fn on_session_start(&mut self) -> io::Result<()> {
        self.stream.on_session_start()
    }
}

impl ConnectionExt for Link {
    fn read(&mut self) -> io::Result<u8> {
        self.flush()?;
        self.stream.read()
    }
    fn peek(&mut self) -> io::Result<Option<u8>> {
        self.flush()?;
        self.stream.peek()
    }
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// The address is in use or cannot be used.
    pub fn listen(address: &Address) -> io::Result<Self> {
        let listener = match address {
            Address::Port(port) => Listener::Tcp(TcpListener::bind(("0.0.0.0", *port))?),
            Address::Path(path) => {
                let _ = std::fs::remove_file(path);
                Listener::Unix(UnixListener::bind(path)?)
            }
        };
        Ok(Server { listener })
    }
    pub(super) fn accept(&self) -> io::Result<Link> {
        Ok(match &self.listener {
            Listener::Tcp(tcp) => {
                let (stream, _) = tcp.accept()?;
                stream.set_nodelay(true)?;
                Link::new(stream)
            }
            Listener::Unix(unix) => Link::new(unix.accept()?.0),
        })
    }
    /// Speaks with the first gdb that connects, on a thread of its own. When it leaves, the process runs on.
    ///
    /// # Errors
    /// The architecture has no description, or the host refuses a thread.
    pub fn start(self, process: Process, threads: Arc<Threads>) -> io::Result<()> {
        let registers = registers::of(process.arch).ok_or(io::ErrorKind::Unsupported)?;
        let Process { space, accel, program, auxv, .. } = process;
        let breakpoints = Default::default();
        let mut target = Debuggee { threads, registers, space, accel, breakpoints, program, auxv };
        // The thread is not the guest's: what is sent to the process must not find it while the guest's threads block
        // it.
        let mask = sigprocmask(MaskHow::Block, u64::MAX);
        let spawned = std::thread::Builder::new().name("gdb".into()).spawn(move || {
            if let Ok(link) = self.accept() {
                // Whatever ended it, gdb is gone; an error is worth a line.
                if let Err(error) = GdbStub::new(link).run_blocking::<Loop>(&mut target) {
                    isamorph_linux_user::kernel::write_stderr(&format!("qemu: gdbstub: {error}\n"));
                }
            }
            for addr in std::mem::take(&mut target.breakpoints) {
                target.accel.set_breakpoint(addr, false);
            }
            target.threads.detach();
        });
        sigprocmask(MaskHow::Set, mask);
        spawned.map(drop)
    }
}

struct Loop;

type Wait = Result<Event<MultiThreadStopReason<u64>>, WaitForStopReasonError<Infallible, io::Error>>;

impl BlockingEventLoop for Loop {
    type Target = Debuggee;
    type Connection = Link;
    type StopReason = MultiThreadStopReason<u64>;

    fn wait_for_stop_reason(target: &mut Debuggee, link: &mut Link) -> Wait {
        loop {
            if let Some(report) = target.threads.next_report(POLL) {
                return Ok(Event::TargetStopped(stop_reason(report)));
            }
            if link.peek().map_err(WaitForStopReasonError::Connection)?.is_some() {
                return link.read().map(Event::IncomingData).map_err(WaitForStopReasonError::Connection);
            }
        }
    }
    /// Everything stops; the report comes when it has.
    fn on_interrupt(target: &mut Debuggee) -> Result<Option<MultiThreadStopReason<u64>>, Infallible> {
        target.threads.interrupt();
        Ok(None)
    }
}
