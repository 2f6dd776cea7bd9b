//! Sockets: a server waits for one connection at a time, a client makes one, and again if it is told to.

use crate::BackEnd;
use crate::io::{Interest, Io, Source};
use crate::spec::Address;
use crate::stream::{AtEnd, Stream};
use rustix::event::PollFlags;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Makes the connections of a stream.
struct Keeper {
    stream: Weak<Stream>,
    address: Address,
    /// Of a server.
    listener: Option<Arc<OwnedFd>>,
    /// Of a client: how long it waits between attempts, and when the next one is due.
    interval: Option<Duration>,
    due: Mutex<Instant>,
}

fn bind(address: &Address) -> std::io::Result<(OwnedFd, Address)> {
    Ok(match address {
        Address::Unix(path) => {
            // What an earlier process left behind.
            let _ = std::fs::remove_file(path);
            (UnixListener::bind(path)?.into(), address.clone())
        }
        Address::Tcp(host, port) => {
            let listener = TcpListener::bind((if host.is_empty() { "0.0.0.0" } else { host.as_str() }, *port))?;
            let bound = Address::Tcp(host.clone(), listener.local_addr()?.port());
            (listener.into(), bound)
        }
    })
}

fn connect(address: &Address) -> std::io::Result<OwnedFd> {
    Ok(match address {
        Address::Unix(path) => UnixStream::connect(path)?.into(),
        Address::Tcp(host, port) => {
            let host = if host.is_empty() { "127.0.0.1" } else { host.as_str() };
            let stream = TcpStream::connect((host, *port))?;
            stream.set_nodelay(true)?;
            stream.into()
        }
    })
}

/// Gives a stream its connection.
fn serve(stream: &Stream, socket: OwnedFd) -> std::io::Result<()> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    let socket = Arc::new(socket);
    stream.connect(Some(socket.clone()), Some(socket));
    Ok(())
}

impl Keeper {
    /// Takes the next connection, waiting for it if the listener waits.
    fn accept(&self, stream: &Stream) -> std::io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let socket = rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC)?;
        if matches!(self.address, Address::Tcp(..)) {
            rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        }
        serve(stream, socket)
    }
    fn idle_stream(&self) -> Option<Arc<Stream>> {
        self.stream.upgrade().filter(|stream| !stream.is_connected())
    }
}

impl Source for Keeper {
    fn interests(&self) -> Vec<Interest> {
        let idle = self.idle_stream().is_some();
        self.listener.iter().filter(|_| idle).map(|fd| Interest { fd: fd.clone(), flags: PollFlags::IN }).collect()
    }
    fn ready(&self, _fd: &Arc<OwnedFd>, _flags: PollFlags) {
        if let Some(stream) = self.idle_stream() {
            // A connection that has gone again by now is nobody's business.
            let _ = self.accept(&stream);
        }
    }
    fn patience(&self) -> Option<Duration> {
        self.interval.filter(|_| self.idle_stream().is_some())
    }
    fn retry(&self) {
        let Some(interval) = self.interval else { return };
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < *due {
            return;
        }
        *due = Instant::now() + interval;
        if let Some(stream) = self.idle_stream() {
            // The next attempt may succeed.
            let _ = connect(&self.address).and_then(|socket| serve(&stream, socket));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let (Some(_), Address::Unix(path)) = (&self.listener, &self.address) {
            // It may have been removed already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A server. If `wait`, it returns when somebody has connected.
pub(crate) fn server(io: &Arc<Io>, address: &Address, wait: bool) -> std::io::Result<Arc<Stream>> {
    let (listener, address) = bind(address)?;
    let stream = Stream::new(io, format!("{address},server=on"), AtEnd::Disconnected);
    let keeper = Keeper {
        stream: Arc::downgrade(&stream),
        address,
        listener: Some(Arc::new(listener)),
        interval: None,
        due: Mutex::new(Instant::now()),
    };
    if wait {
        eprintln!("isamorph: waiting for connection on: {}", stream.describe());
        keeper.accept(&stream)?;
    }
    stream.keep(Arc::new(keeper));
    Ok(stream)
}

/// A client, which must succeed at once unless it is to try again.
pub(crate) fn client(io: &Arc<Io>, address: &Address, interval: Option<Duration>) -> std::io::Result<Arc<Stream>> {
    let stream = Stream::new(io, address.to_string(), AtEnd::Disconnected);
    match connect(address).and_then(|socket| serve(&stream, socket)) {
        Err(error) if interval.is_none() => return Err(error),
        _ => {}
    }
    stream.keep(Arc::new(Keeper {
        stream: Arc::downgrade(&stream),
        address: address.clone(),
        listener: None,
        interval,
        due: Mutex::new(Instant::now()),
    }));
    Ok(stream)
}
