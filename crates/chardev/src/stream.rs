//! Back ends that are files of the host: standard input and output, files, pipes, terminals, connected sockets.

use crate::io::{Interest, Io, Source};
use crate::{BackEnd, Event, FrontEnd, Slot};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes that wait for the host before the front end has to.
const QUEUE: usize = 64 << 10;
/// What a file that is ready takes at once without making the writer wait, if it takes anything.
const CHUNK: usize = 256;
/// How often a terminal is asked whether somebody has opened it.
const PATIENCE: Duration = Duration::from_millis(300);
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// What the end of the input means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AtEnd {
    /// No more input; output goes on.
    InputEnds,
    /// The connection is gone.
    Disconnected,
    /// Nobody has the other side of the terminal open for now.
    Absent,
}

#[derive(Default)]
struct Ends {
    input: Option<Arc<OwnedFd>>,
    output: Option<Arc<OwnedFd>>,
    /// Bytes that the host had no room for.
    queue: VecDeque<u8>,
    /// The front end waits for room.
    owes: bool,
    /// Nobody has the other side of the terminal open.
    absent: bool,
}

/// A back end with a file for each direction, which may be the same one, or none while nobody is connected.
pub(crate) struct Stream {
    io: Arc<Io>,
    name: String,
    end: AtEnd,
    ends: Mutex<Ends>,
    front: Slot,
    /// The front end has no room.
    paused: AtomicBool,
    /// Whoever makes new connections.
    keeper: OnceLock<Arc<dyn Source>>,
}

/// Writes what a file takes without making anybody wait.
fn write_now(file: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
    let mut written = 0;
    while written < data.len() {
        let mut files = [PollFd::new(file, PollFlags::OUT)];
        match poll(&mut files, Some(&AT_ONCE)) {
            Ok(0) => break,
            Err(Errno::INTR) => continue,
            _ if !files[0].revents().contains(PollFlags::OUT) => return Err(Errno::PIPE),
            _ => {}
        }
        let end = data.len().min(written + CHUNK);
        match rustix::io::write(file, &data[written..end]) {
            Ok(count) => written += count,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

impl Stream {
    /// A stream with nobody at the other end.
    pub(crate) fn new(io: &Arc<Io>, name: String, end: AtEnd) -> Arc<Self> {
        let stream = Arc::new(Stream {
            io: io.clone(),
            name,
            end,
            ends: Mutex::default(),
            front: Slot::default(),
            paused: AtomicBool::new(false),
            keeper: OnceLock::new(),
        });
        let weak: Weak<Self> = Arc::downgrade(&stream);
        io.add(weak);
        stream
    }
    /// Keeps whoever makes connections for as long as the stream lives; once.
    pub(crate) fn keep(&self, keeper: Arc<dyn Source>) {
        self.io.add(Arc::downgrade(&keeper));
        // There is one per stream.
        let _ = self.keeper.set(keeper);
    }
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn is_connected(&self) -> bool {
        let ends = self.lock();
        ends.input.is_some() || ends.output.is_some()
    }
    /// Connects files.
    pub(crate) fn connect(&self, input: Option<Arc<OwnedFd>>, output: Option<Arc<OwnedFd>>) {
        *self.lock() = Ends { input, output, absent: self.end == AtEnd::Absent, ..Ends::default() };
        self.paused.store(false, Ordering::Release);
        if self.end != AtEnd::Absent {
            self.front.event(Event::Opened);
        }
        self.io.wake();
    }
    /// The other end has gone. What it did not take is lost.
    fn lose(&self) {
        let owed = {
            let mut ends = self.lock();
            let owed = ends.owes;
            *ends = match self.end {
                AtEnd::InputEnds => Ends { input: None, ..std::mem::take(&mut *ends) },
                AtEnd::Disconnected => Ends::default(),
                AtEnd::Absent => {
                    Ends { queue: VecDeque::new(), owes: false, absent: true, ..std::mem::take(&mut ends) }
                }
            };
            owed && !ends.owes
        };
        self.front.event(Event::Closed);
        if owed {
            self.front.event(Event::Writable);
        }
        self.io.wake();
    }
    /// Looks whether somebody has opened the terminal.
    fn look(&self) {
        let found = {
            let mut ends = self.lock();
            let Some(file) = ends.input.clone().filter(|_| ends.absent) else { return };
            let mut files = [PollFd::new(&*file, PollFlags::OUT)];
            let found = poll(&mut files, Some(&AT_ONCE)).is_ok() && !files[0].revents().contains(PollFlags::HUP);
            ends.absent = !found;
            found
        };
        if found {
            self.front.event(Event::Opened);
        }
    }
    /// Writes what waits.
    fn drain(&self) {
        let outcome = {
            let mut ends = self.lock();
            let Some(file) = ends.output.clone() else { return };
            match write_now(&file, ends.queue.make_contiguous()) {
                Ok(count) => {
                    ends.queue.drain(..count);
                    Ok(count > 0 && std::mem::take(&mut ends.owes))
                }
                Err(_) => {
                    ends.queue.clear();
                    ends.output = None;
                    Err(std::mem::take(&mut ends.owes))
                }
            }
        };
        if let Ok(true) | Err(true) = outcome {
            self.front.event(Event::Writable);
        }
        if outcome.is_err() && self.end == AtEnd::Disconnected {
            self.lose();
        }
    }
    /// Hands over what has arrived.
    fn fill(&self) {
        let Some(front) = self.front.get() else { return };
        // Set before it is asked, so that an `accept` in between is not forgotten.
        self.paused.store(true, Ordering::SeqCst);
        let mut buffer = [0; 4096];
        let room = front.room().min(buffer.len());
        if room == 0 {
            return;
        }
        self.paused.store(false, Ordering::SeqCst);
        let Some(file) = self.lock().input.clone() else { return };
        match rustix::io::read(&*file, &mut buffer[..room]) {
            Ok(count) if count > 0 => front.receive(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => self.lose(),
        }
    }
}

impl Source for Stream {
    fn interests(&self) -> Vec<Interest> {
        let ends = self.lock();
        let reads = !ends.absent && !self.paused.load(Ordering::SeqCst) && self.front.get().is_some();
        let input = ends.input.clone().filter(|_| reads).map(|fd| Interest { fd, flags: PollFlags::IN });
        let writes = !ends.absent && !ends.queue.is_empty();
        let output = ends.output.clone().filter(|_| writes).map(|fd| Interest { fd, flags: PollFlags::OUT });
        input.into_iter().chain(output).collect()
    }
    fn ready(&self, fd: &Arc<OwnedFd>, flags: PollFlags) {
        let (input, output) = {
            let ends = self.lock();
            let is = |end: &Option<Arc<OwnedFd>>| end.as_ref().is_some_and(|end| Arc::ptr_eq(end, fd));
            (is(&ends.input), is(&ends.output))
        };
        if output && !flags.intersection(PollFlags::OUT | PollFlags::ERR).is_empty() {
            self.drain();
        }
        if input && !flags.intersection(PollFlags::IN | PollFlags::HUP | PollFlags::ERR).is_empty() {
            self.fill();
        }
    }
    fn patience(&self) -> Option<Duration> {
        self.lock().absent.then_some(PATIENCE)
    }
    fn retry(&self) {
        self.look();
    }
}

impl BackEnd for Stream {
    fn attach(&self, front: Weak<dyn FrontEnd>) {
        self.front.set(front);
        if self.is_open() {
            self.front.event(Event::Opened);
        }
        self.io.wake();
    }
    fn write(&self, data: &[u8]) -> usize {
        let mut ends = self.lock();
        let Some(file) = ends.output.clone().filter(|_| !ends.absent) else { return data.len() };
        let at_once = if ends.queue.is_empty() { write_now(&file, data) } else { Ok(0) };
        let Ok(written) = at_once else {
            // The thread finds out what has happened; nobody gets these bytes.
            if self.end == AtEnd::InputEnds {
                ends.output = None;
            }
            return data.len();
        };
        let room = QUEUE - ends.queue.len().min(QUEUE);
        let kept = room.min(data.len() - written);
        ends.queue.extend(&data[written..written + kept]);
        ends.owes |= written + kept < data.len();
        if !ends.queue.is_empty() {
            self.io.wake();
        }
        written + kept
    }
    fn accept(&self) {
        if self.paused.swap(false, Ordering::SeqCst) {
            self.io.wake();
        }
    }
    fn is_open(&self) -> bool {
        let ends = self.lock();
        (ends.input.is_some() || ends.output.is_some()) && !ends.absent
    }
    fn describe(&self) -> String {
        if self.is_connected() { self.name.clone() } else { format!("disconnected:{}", self.name) }
    }
    fn flush(&self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline && !self.lock().queue.is_empty() {
            self.drain();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
