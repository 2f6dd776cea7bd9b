//! Threads that wait for the host's disks, so that nobody else has to.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};

/// What is to be done to a drive's image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reading bytes.
    Read {
        /// Offset of the first.
        offset: u64,
        /// Number.
        len: usize,
    },
    /// Writing bytes.
    Write {
        /// Offset of the first.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Bringing what was written to the disk.
    Flush,
    /// Giving space back.
    Discard {
        /// Offsets and numbers of bytes.
        ranges: Vec<(u64, u64)>,
    },
}

/// What came of an operation: the bytes, if it was a read.
pub type Answer = io::Result<Vec<u8>>;

/// Threads at most. More requests than that at the same time wait for each other.
const THREADS: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Pool {
    queue: Mutex<Queue>,
    work: Condvar,
}

static POOL: LazyLock<Pool> = LazyLock::new(|| Pool { queue: Mutex::default(), work: Condvar::new() });

/// Runs a job on a thread of the pool.
pub fn spawn(job: impl FnOnce() + Send + 'static) {
    let mut queue = POOL.queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.jobs.push_back(Box::new(job));
    if queue.idle < queue.jobs.len() && queue.threads < THREADS {
        let started = std::thread::Builder::new().name("disk".to_owned()).spawn(work);
        queue.threads += usize::from(started.is_ok());
    }
    if queue.threads == 0 {
        // A host that has no thread left: the caller waits after all.
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        jobs.into_iter().for_each(|job| job());
        return;
    }
    drop(queue);
    POOL.work.notify_one();
}

fn work() {
    let mut queue = POOL.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match queue.jobs.pop_front() {
            Some(job) => {
                drop(queue);
                job();
                queue = POOL.queue.lock().unwrap_or_else(PoisonError::into_inner);
            }
            None => {
                queue.idle += 1;
                queue = POOL.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}
