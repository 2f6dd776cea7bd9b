//! The thread that waits for the host's files, sockets and terminals.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// A file that is waited for.
pub(crate) struct Interest {
    pub fd: Arc<OwnedFd>,
    pub flags: PollFlags,
}

/// Something that waits for files.
pub(crate) trait Source: Send + Sync {
    /// For which, now.
    fn interests(&self) -> Vec<Interest>;
    /// One of them is ready.
    fn ready(&self, fd: &Arc<OwnedFd>, flags: PollFlags);
    /// When to call [`Source::retry`] at the latest.
    fn patience(&self) -> Option<Duration> {
        None
    }
    /// Time has passed; maybe less than was asked for.
    fn retry(&self) {}
}

/// What the thread and those who wake it share.
pub(crate) struct Io {
    sources: Mutex<Vec<Weak<dyn Source>>>,
    wake: OwnedFd,
    ended: AtomicBool,
}

impl Io {
    /// Starts a thread.
    pub(crate) fn start() -> std::io::Result<(Arc<Io>, JoinHandle<()>)> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let io = Arc::new(Io { sources: Mutex::default(), wake, ended: AtomicBool::new(false) });
        let shared = io.clone();
        let thread = std::thread::Builder::new().name("chardev".to_owned()).spawn(move || shared.run())?;
        Ok((io, thread))
    }
    /// Asks all sources anew what they wait for.
    pub(crate) fn wake(&self) {
        // A counter that is full wakes the thread as well.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
    pub(crate) fn add(&self, source: Weak<dyn Source>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
        self.wake();
    }
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake();
    }
    fn sources(&self) -> Vec<Arc<dyn Source>> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.strong_count() > 0);
        sources.iter().filter_map(Weak::upgrade).collect()
    }
    fn run(&self) {
        while !self.ended.load(Ordering::Acquire) {
            self.turn();
        }
    }
    /// Waits once and serves what is ready.
    fn turn(&self) {
        let sources = self.sources();
        let wanted: Vec<(Arc<dyn Source>, Interest)> = sources
            .iter()
            .flat_map(|source| source.interests().into_iter().map(|interest| (source.clone(), interest)))
            .collect();
        let mut files = vec![PollFd::new(&self.wake, PollFlags::IN)];
        files.extend(wanted.iter().map(|(_, interest)| PollFd::new(&*interest.fd, interest.flags)));
        let patience = sources.iter().filter_map(|source| source.patience()).min();
        let timeout = patience.and_then(|time| Timespec::try_from(time).ok());
        // An interrupted wait has nothing to serve.
        let _ = poll(&mut files, timeout.as_ref());
        let results: Vec<PollFlags> = files.iter().map(PollFd::revents).collect();
        if !results[0].is_empty() {
            let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        }
        for ((source, interest), flags) in wanted.iter().zip(&results[1..]) {
            if !flags.is_empty() {
                source.ready(&interest.fd, *flags);
            }
        }
        for source in sources.iter().filter(|source| source.patience().is_some()) {
            source.retry();
        }
    }
}
