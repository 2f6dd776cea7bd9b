//! The thread on which timers run.

use isamorph_device::{Clock, VirtualClock};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Default)]
struct News {
    /// Something has changed since the thread looked.
    any: bool,
    ended: bool,
}

/// Runs the timers of a clock while it runs.
pub(crate) struct Timers {
    news: Arc<(Mutex<News>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Timers {
    /// Starts the thread.
    pub(crate) fn start(clock: &Arc<VirtualClock>) -> std::io::Result<Self> {
        let news = Arc::<(Mutex<News>, Condvar)>::default();
        let (on_thread, on_wake, clock) = (news.clone(), news.clone(), clock.clone());
        clock.schedule().set_wake(move || note(&on_wake, |news| news.any = true));
        let thread = std::thread::Builder::new().name("timers".into()).spawn(move || run(&clock, &on_thread))?;
        Ok(Timers { news, thread: Some(thread) })
    }
    /// The clock was started or stopped.
    pub(crate) fn wake(&self) {
        note(&self.news, |news| news.any = true);
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        note(&self.news, |news| news.ended = true);
        // A timer whose callback drops the last owner of the machine would wait for itself.
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

fn note(news: &(Mutex<News>, Condvar), change: impl FnOnce(&mut News)) {
    change(&mut news.0.lock().unwrap_or_else(PoisonError::into_inner));
    news.1.notify_all();
}

fn run(clock: &VirtualClock, news: &(Mutex<News>, Condvar)) {
    loop {
        let wait = clock.wait();
        if wait.is_some_and(|wait| wait.is_zero()) {
            clock.schedule().run_due(clock.now());
        }
        let guard = news.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |news: &mut News| !news.any && !news.ended;
        // What changed after the look at the clock is in `any`.
        let wait = wait.unwrap_or(Duration::from_secs(3600));
        let mut guard = news.1.wait_timeout_while(guard, wait, quiet).unwrap_or_else(PoisonError::into_inner).0;
        if guard.ended {
            return;
        }
        guard.any = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isamorph_device::Timer;
    use std::sync::mpsc;

    #[test]
    fn timers_run_while_the_clock_does() {
        let clock = VirtualClock::new();
        let timers = Timers::start(&clock).unwrap();
        let (sender, receiver) = mpsc::channel();
        let timer = Timer::new(&(clock.clone() as Arc<dyn Clock>), move || sender.send(()).unwrap());
        timer.set(1_000_000);
        assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
        clock.start();
        timers.wake();
        receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        timer.set(0);
        receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
