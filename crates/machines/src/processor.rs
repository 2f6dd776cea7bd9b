//! The threads of the processors.

use crate::control::{Cause, Control, RunState};
use crate::turns::Turns;
use isamorph_accel::{Left, Processor, Processors, Signals, Wires};
use isamorph_ir::CpuState;
use isamorph_space::initiator;
use std::collections::VecDeque;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Something to be done with a processor on its thread.
type Job = Box<dyn FnOnce(&mut dyn Processor) + Send>;

/// What the machine tells the thread of a processor.
#[derive(Default)]
struct Orders {
    run: bool,
    quit: bool,
    jobs: VecDeque<Job>,
    /// The thread runs no guest code, and will not before it looks here again.
    stands: bool,
}

struct Shared {
    index: u32,
    wires: Arc<Wires>,
    orders: Mutex<Orders>,
    changed: Condvar,
    control: Arc<Control>,
    turns: Option<Arc<Turns>>,
    ends_on_halt: bool,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders());
        self.changed.notify_all();
        self.wires.raise(Signals::ATTENTION);
    }
}

/// A processor with its thread.
pub(crate) struct Thread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What all threads of a machine get.
pub(crate) struct Context {
    pub processors: Arc<dyn Processors>,
    pub control: Arc<Control>,
    pub turns: Option<Arc<Turns>>,
    pub ends_on_halt: bool,
}

impl Thread {
    /// Starts the thread of a processor with that state, which does not run yet.
    pub(crate) fn start(
        context: &Context,
        index: u32,
        state: Box<CpuState>,
        wires: Arc<Wires>,
    ) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            index,
            wires: wires.clone(),
            orders: Mutex::default(),
            changed: Condvar::new(),
            control: context.control.clone(),
            turns: context.turns.clone(),
            ends_on_halt: context.ends_on_halt,
        });
        let (made, outcome) = mpsc::channel();
        let (own, processors) = (shared.clone(), context.processors.clone());
        let body = move || {
            initiator::set(index);
            match processors.processor(index, state, wires) {
                Ok(mut processor) => {
                    report(&made, Ok(()));
                    serve(&own, &mut *processor);
                }
                Err(error) => report(&made, Err(error)),
            }
        };
        let name = format!("CPU {index}/{}", context.processors.name());
        let thread = std::thread::Builder::new().name(name).spawn(body).map_err(|e| e.to_string())?;
        outcome.recv().unwrap_or_else(|_| Err("its thread ended".to_owned()))?;
        Ok(Thread { shared, thread: Some(thread) })
    }
    /// Lets it run.
    pub(crate) fn run(&self) {
        self.shared.order(|orders| orders.run = true);
    }
    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        self.shared.order(|orders| orders.run = false);
    }
    /// Waits until it has stopped.
    pub(crate) fn wait_until_it_stands(&self) {
        let moves = |orders: &mut Orders| !orders.stands;
        let orders = self.shared.orders();
        drop(self.shared.changed.wait_while(orders, moves).unwrap_or_else(PoisonError::into_inner));
    }
    /// Does something with the processor on its thread, whether it runs or not, and waits for the result.
    pub(crate) fn with<R: Send + 'static>(&self, job: impl FnOnce(&mut dyn Processor) -> R + Send + 'static) -> R {
        let (sender, result) = mpsc::channel();
        let job: Job = Box::new(move |processor| {
            let _ = sender.send(job(processor));
        });
        self.shared.order(|orders| orders.jobs.push_back(job));
        result.recv().expect("the thread serves all jobs before it ends")
    }
    /// Its wires.
    pub(crate) fn wires(&self) -> &Arc<Wires> {
        &self.shared.wires
    }
}

fn report(made: &Sender<Result<(), String>>, outcome: Result<(), String>) {
    // Whoever made the thread waits for this.
    let _ = made.send(outcome);
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.order(|orders| {
            orders.quit = true;
            orders.run = false;
        });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Next {
    Run,
    Job(Job),
    Quit,
}

fn next(shared: &Shared) -> Next {
    let mut orders = shared.orders();
    loop {
        if let Some(job) = orders.jobs.pop_front() {
            return Next::Job(job);
        }
        if orders.quit {
            return Next::Quit;
        }
        if orders.run {
            orders.stands = false;
            return Next::Run;
        }
        orders.stands = true;
        shared.changed.notify_all();
        orders = shared.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Runs a processor as it is told to, until it is told to end.
fn serve(shared: &Shared, processor: &mut dyn Processor) {
    loop {
        match next(shared) {
            Next::Job(job) => job(processor),
            Next::Quit => return,
            Next::Run => run(shared, processor),
        }
    }
}

fn run(shared: &Shared, processor: &mut dyn Processor) {
    let seen = shared.wires.changes();
    if let Some(turns) = &shared.turns {
        turns.begin(shared.index, &shared.wires);
    }
    let left = processor.run();
    if let Some(turns) = &shared.turns {
        turns.end();
    }
    let asks: fn(&mut crate::control::Due, u32) = match left {
        Left::Attention => {
            shared.wires.take(Signals::ATTENTION);
            return;
        }
        Left::Halted if shared.ends_on_halt => |due, _| due.end = Some((Cause::GuestShutdown, 0)),
        // Signals that came while it ran count as news: it looks again and halts again.
        Left::Halted => return shared.wires.wait_for_change(seen, Duration::from_secs(3600)),
        Left::Breakpoint => |due, index| due.breakpoint = Some(index),
        Left::Shutdown => |due, _| due.reset = Some(Cause::GuestReset),
        Left::Failed => |due, _| due.stop = Some(RunState::InternalError),
    };
    shared.orders().run = false;
    let _ = shared.control.ask(|due| asks(due, shared.index));
}
