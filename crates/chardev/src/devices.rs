//! All back ends of a process, by name.

use crate::io::Io;
use crate::mux::{Hooks, Mux};
use crate::spec::{self, Kind, Spec, Target};
use crate::stream::{AtEnd, Stream};
use crate::{BackEnd, FrontEnd, Ringbuf, listener, null, terminal};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

struct Entry {
    id: String,
    back: Arc<dyn BackEnd>,
    /// Of one that is shared.
    mux: Option<Arc<Mux>>,
    ring: Option<Arc<Ringbuf>>,
    /// A front end has it.
    taken: bool,
}

/// A back end with a copy of its output.
struct Logged {
    inner: Arc<dyn BackEnd>,
    file: Mutex<File>,
}

impl BackEnd for Logged {
    fn attach(&self, front: Weak<dyn FrontEnd>) {
        self.inner.attach(front);
    }
    fn write(&self, data: &[u8]) -> usize {
        let taken = self.inner.write(data);
        // A log that cannot be written must not stop the machine.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&data[..taken]);
        taken
    }
    fn accept(&self) {
        self.inner.accept();
    }
    fn is_open(&self) -> bool {
        self.inner.is_open()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn flush(&self) {
        self.inner.flush();
    }
}

/// The back ends of a process and the thread that serves them.
pub struct Chardevs {
    io: Arc<Io>,
    thread: Mutex<Option<JoinHandle<()>>>,
    entries: Mutex<Vec<Entry>>,
    hooks: Arc<Hooks>,
}

fn shown<T>(path: &Path, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("could not open '{}': {error}", path.display()))
}

fn open_file(path: &Path, append: bool) -> Result<File, String> {
    shown(path, OpenOptions::new().write(true).create(true).append(append).truncate(!append).open(path))
}

impl Chardevs {
    /// No back ends, and a thread that waits for some.
    ///
    /// # Errors
    /// The host has no thread to give.
    pub fn new() -> std::io::Result<Arc<Self>> {
        let (io, thread) = Io::start()?;
        Ok(Arc::new(Chardevs {
            io,
            thread: Mutex::new(Some(thread)),
            entries: Mutex::default(),
            hooks: Arc::default(),
        }))
    }
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What the multiplexer's `x` does.
    pub fn on_quit(&self, quit: impl Fn() + Send + Sync + 'static) {
        *self.hooks.quit.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(quit));
    }
    /// What the multiplexer's `s` does.
    pub fn on_commit(&self, commit: impl Fn() + Send + Sync + 'static) {
        *self.hooks.commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(commit));
    }
    /// Another escape character (`-echr`).
    pub fn set_escape(&self, byte: u8) {
        self.hooks.escape.store(byte, Ordering::Relaxed);
    }
    /// Opens the back end of a `-chardev`.
    ///
    /// # Errors
    /// What is wrong with the text or the host, as text.
    pub fn add(&self, text: &str) -> Result<(), String> {
        let (id, spec) = spec::options(text)?;
        self.open(&id, &spec)
    }
    /// A back end for the front end of a `-serial` and the like; none for `none`. `id` is the name of a new one. With
    /// `mon:` a monitor can be connected to that name too.
    ///
    /// # Errors
    /// What is wrong with the text or the host, as text.
    pub fn serial(&self, text: &str, id: &str) -> Result<Option<Arc<dyn BackEnd>>, String> {
        match spec::legacy(text)? {
            Target::None => Ok(None),
            Target::Named(name) => self.connect(&name).map(Some),
            Target::New { spec, .. } => {
                self.open(id, &spec)?;
                self.connect(id).map(Some)
            }
        }
    }
    /// The back end of that name for one more front end.
    ///
    /// # Errors
    /// There is none, or it has a front end and is not shared.
    pub fn connect(&self, id: &str) -> Result<Arc<dyn BackEnd>, String> {
        let mut entries = self.lock();
        let entry = entries.iter_mut().find(|entry| entry.id == id).ok_or(format!("chardev \"{id}\" not found"))?;
        if let Some(mux) = &entry.mux {
            return Ok(mux.port());
        }
        if std::mem::replace(&mut entry.taken, true) {
            return Err(format!("chardev \"{id}\" is already in use"));
        }
        Ok(entry.back.clone())
    }
    /// The memory behind a back end that is a ring buffer.
    pub fn ringbuf(&self, id: &str) -> Option<Arc<Ringbuf>> {
        self.lock().iter().find(|entry| entry.id == id)?.ring.clone()
    }
    /// Names and descriptions, as monitors show them.
    pub fn list(&self) -> Vec<(String, String)> {
        self.lock().iter().map(|entry| (entry.id.clone(), entry.back.describe())).collect()
    }
    /// Waits a little until all output is written; before the process ends.
    pub fn flush(&self) {
        let backs: Vec<_> = self.lock().iter().map(|entry| entry.back.clone()).collect();
        backs.iter().for_each(|back| back.flush());
    }
    /// Opens a back end under a name.
    ///
    /// # Errors
    /// The name is taken, or the host refuses.
    pub fn open(&self, id: &str, spec: &Spec) -> Result<(), String> {
        if self.lock().iter().any(|entry| entry.id == id) {
            return Err(format!("Duplicate ID '{id}' for chardev"));
        }
        let mut ring = None;
        let mut back: Arc<dyn BackEnd> = match &spec.kind {
            Kind::Null => null(),
            Kind::Ringbuf { size } => ring.insert(Arc::new(Ringbuf::new(*size))).clone(),
            Kind::Stdio { signal } => self.stdio(*signal)?,
            Kind::File { path, append, input } => self.file(path, *append, input.as_deref())?,
            Kind::Pipe { path } => self.pipe(path)?,
            Kind::Pty { link } => self.pty(id, link.as_deref())?,
            Kind::Socket { address, server, wait, reconnect } => {
                let interval = (*reconnect != 0).then(|| Duration::from_millis(*reconnect));
                let opened = if *server {
                    listener::server(&self.io, address, *wait)
                } else {
                    listener::client(&self.io, address, interval)
                };
                opened.map_err(|error| format!("chardev: {address}: {error}"))?
            }
        };
        if let Some(path) = &spec.log {
            back = Arc::new(Logged { inner: back, file: Mutex::new(open_file(path, spec.log_append)?) });
        }
        let mux = spec.mux.then(|| Mux::new(&self.io, back.clone(), self.hooks.clone()));
        self.lock().push(Entry { id: id.to_owned(), back, mux, ring, taken: false });
        Ok(())
    }
    fn stdio(&self, signal: bool) -> Result<Arc<Stream>, String> {
        if self.lock().iter().any(|entry| entry.back.describe().ends_with("stdio")) {
            return Err("cannot use stdio by multiple character devices".to_owned());
        }
        let copy =
            |file: std::io::Result<OwnedFd>| file.map(Arc::new).map_err(|error| format!("chardev: stdio: {error}"));
        let input = copy(std::io::stdin().as_fd().try_clone_to_owned())?;
        let output = copy(std::io::stdout().as_fd().try_clone_to_owned())?;
        terminal::make_raw(signal);
        let stream = Stream::new(&self.io, "stdio".to_owned(), AtEnd::InputEnds);
        stream.connect(Some(input), Some(output));
        Ok(stream)
    }
    fn file(&self, path: &Path, append: bool, input: Option<&Path>) -> Result<Arc<Stream>, String> {
        let output = open_file(path, append)?;
        let input = input.map(|path| shown(path, File::open(path))).transpose()?;
        let stream = Stream::new(&self.io, "file".to_owned(), AtEnd::InputEnds);
        stream.connect(input.map(|file| Arc::new(file.into())), Some(Arc::new(output.into())));
        Ok(stream)
    }
    fn pipe(&self, path: &Path) -> Result<Arc<Stream>, String> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let with = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            open(Path::new(&name))
        };
        let stream = Stream::new(&self.io, "pipe".to_owned(), AtEnd::InputEnds);
        if let (Ok(input), Ok(output)) = (with(".in"), with(".out")) {
            stream.connect(Some(Arc::new(input.into())), Some(Arc::new(output.into())));
        } else {
            let both = Arc::new(shown(path, open(path))?.into());
            stream.connect(Some(Arc::clone(&both)), Some(both));
        }
        Ok(stream)
    }
    /// Makes a pseudo-terminal and says on standard error where it is.
    fn pty(&self, id: &str, link: Option<&Path>) -> Result<Arc<Stream>, String> {
        let make = || -> rustix::io::Result<(OwnedFd, String)> {
            use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
            let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            let path = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
            let mut raw = rustix::termios::tcgetattr(&master)?;
            raw.make_raw();
            rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &raw)?;
            rustix::io::ioctl_fionbio(&master, true)?;
            // Nobody is there after somebody has been; before that, the host says nothing.
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            drop(rustix::fs::open(&path, flags, rustix::fs::Mode::empty())?);
            Ok((master, path))
        };
        let (master, path) = make().map_err(|error| format!("chardev: pty: {error}"))?;
        if let Some(link) = link {
            shown(link, std::os::unix::fs::symlink(&path, link))?;
        }
        eprintln!("char device redirected to {path} (label {id})");
        let stream = Stream::new(&self.io, format!("pty:{path}"), AtEnd::Absent);
        let master = Arc::new(master);
        stream.connect(Some(master.clone()), Some(master));
        Ok(stream)
    }
}

impl Drop for Chardevs {
    fn drop(&mut self) {
        self.flush();
        self.io.end();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        terminal::restore();
    }
}

#[cfg(test)]
mod tests;
