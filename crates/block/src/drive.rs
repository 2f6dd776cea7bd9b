//! Drives: what device models hold.

use crate::options::{CacheMode, Discard};
use crate::worker::{Answer, Operation, spawn};
use crate::{Image, ImageInfo};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A place for an image, with a name.
pub struct Drive {
    name: String,
    cache: CacheMode,
    discard: Discard,
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    image: Option<Arc<dyn Image>>,
    /// Number of times that the image was changed.
    changes: u64,
    /// Requests that have not been answered.
    in_flight: usize,
}

/// What is in a drive.
#[derive(Clone)]
pub struct Medium {
    /// The image.
    pub image: Arc<dyn Image>,
    /// Which of the drive's media it is: another number is another medium.
    pub number: u64,
}

impl Drive {
    /// A drive with an image, or without one.
    pub fn new(name: &str, image: Option<Arc<dyn Image>>, cache: CacheMode, discard: Discard) -> Arc<Self> {
        let state = Mutex::new(State { image, ..State::default() });
        Arc::new(Drive { name: name.to_owned(), cache, discard, state, idle: Condvar::new() })
    }
    /// A drive with that image and the usual options.
    pub fn with_image(name: &str, image: Arc<dyn Image>) -> Arc<Self> {
        Self::new(name, Some(image), CacheMode::default(), Discard::default())
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Its name, such as `ide0-hd0`.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// How it is cached.
    pub fn cache(&self) -> CacheMode {
        self.cache
    }
    /// What is in it.
    pub fn medium(&self) -> Option<Medium> {
        let state = self.lock();
        state.image.clone().map(|image| Medium { image, number: state.changes })
    }
    /// Puts an image in, or takes the one out that is there; gives the one before. Requests that were made before are
    /// answered from it.
    pub fn change(&self, image: Option<Arc<dyn Image>>) -> Option<Arc<dyn Image>> {
        let mut state = self.lock();
        state.changes += 1;
        std::mem::replace(&mut state.image, image)
    }
    /// Facts for the monitor, if there is an image.
    pub fn info(&self) -> Option<ImageInfo> {
        self.medium().map(|medium| medium.image.info())
    }
    /// Has something done on another thread, which then calls `done`. Requests are answered in any order.
    pub fn submit(self: &Arc<Self>, operation: Operation, done: impl FnOnce(Answer) + Send + 'static) {
        let image = {
            let mut state = self.lock();
            state.in_flight += 1;
            state.image.clone()
        };
        let drive = self.clone();
        spawn(move || {
            let answer = match image {
                Some(image) => drive.perform(&*image, operation),
                None => Err(io::Error::new(io::ErrorKind::NotFound, "no medium")),
            };
            done(answer);
            drive.lock().in_flight -= 1;
            drive.idle.notify_all();
        });
    }
    fn perform(&self, image: &dyn Image, operation: Operation) -> Answer {
        match operation {
            Operation::Read { offset, len } => {
                let mut out = vec![0; len];
                image.read_at(offset, &mut out).map(|()| out)
            }
            Operation::Write { offset, data } => {
                image.write_at(offset, &data)?;
                if self.cache.writes_through() {
                    image.flush()?;
                }
                Ok(Vec::new())
            }
            Operation::Flush if self.cache.ignores_flushes() => Ok(Vec::new()),
            Operation::Flush => image.flush().map(|()| Vec::new()),
            Operation::Discard { ranges } => {
                if self.discard == Discard::Unmap {
                    ranges.into_iter().try_for_each(|(offset, len)| image.discard(offset, len))?;
                }
                Ok(Vec::new())
            }
        }
    }
    /// Waits until every request was answered.
    pub fn drain(&self) {
        let mut state = self.lock();
        while state.in_flight > 0 {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
    /// Waits for requests and brings everything to the host's disk, as it must be done before the process ends.
    ///
    /// # Errors
    /// The host fails.
    pub fn flush(&self) -> io::Result<()> {
        self.drain();
        match self.medium() {
            Some(medium) if !self.cache.ignores_flushes() => medium.image.flush(),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Drive").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStorage, RawImage};
    use std::sync::mpsc::channel;

    fn disk(fill: u8) -> Arc<dyn Image> {
        Arc::new(RawImage::new(MemoryStorage::new(vec![fill; 4096]), false, false).unwrap())
    }

    #[test]
    fn requests_are_answered_elsewhere() {
        let drive = Drive::with_image("ide0-hd0", disk(1));
        let (send, receive) = channel();
        let here = std::thread::current().id();
        drive.submit(Operation::Write { offset: 512, data: vec![2; 512] }, move |answer| {
            send.send((std::thread::current().id() == here, answer.is_ok())).unwrap();
        });
        assert_eq!(receive.recv().unwrap(), (false, true));
        drive.flush().unwrap();
        let (send, receive) = channel();
        drive.submit(Operation::Read { offset: 511, len: 2 }, move |answer| send.send(answer.unwrap()).unwrap());
        assert_eq!(receive.recv().unwrap(), [1, 2]);
    }

    #[test]
    fn a_changed_medium_has_another_number() {
        let drive = Drive::new("ide1-cd0", None, CacheMode::default(), Discard::default());
        assert!(drive.medium().is_none());
        let (send, receive) = channel();
        drive.submit(Operation::Flush, move |answer| send.send(answer.is_err()).unwrap());
        assert!(receive.recv().unwrap());
        drive.change(Some(disk(1)));
        let first = drive.medium().unwrap().number;
        drive.change(Some(disk(2)));
        assert_ne!(drive.medium().unwrap().number, first);
    }
}
