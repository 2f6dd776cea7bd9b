//! The monitor at a terminal, a socket, or one side of a multiplexer.

use super::editor::{Editor, Outcome};
use super::{Console, Session, version};
use isamorph_chardev::{BackEnd, Event, FrontEnd};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

const PROMPT: &str = "(qemu) ";

/// What arrives from the back end.
enum Arrival {
    Bytes(Vec<u8>),
    Event(Event),
}

/// The monitor's end of a stream.
pub struct Human {
    arrivals: Mutex<Sender<Arrival>>,
}

impl Human {
    /// Starts a monitor. It lives as long as what is returned.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn start(console: Arc<Console>, back: Arc<dyn BackEnd>) -> io::Result<Arc<Self>> {
        let (sender, receiver) = channel();
        let human = Arc::new(Human { arrivals: Mutex::new(sender) });
        let out = back.clone();
        let worker = Worker { session: Session::new(console), back: out, editor: Editor::default(), greeted: false };
        thread::Builder::new().name("monitor".to_owned()).spawn(move || worker.serve(&receiver))?;
        let front: Weak<Human> = Arc::downgrade(&human);
        back.attach(front);
        Ok(human)
    }
    fn send(&self, arrival: Arrival) {
        // Without a worker the process is about to end.
        let _ = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).send(arrival);
    }
}

impl FrontEnd for Human {
    fn room(&self) -> usize {
        4096
    }
    fn receive(&self, data: &[u8]) {
        self.send(Arrival::Bytes(data.to_vec()));
    }
    fn event(&self, event: Event) {
        self.send(Arrival::Event(event));
    }
}

struct Worker {
    session: Session,
    back: Arc<dyn BackEnd>,
    editor: Editor,
    greeted: bool,
}

impl Worker {
    fn serve(mut self, arrivals: &Receiver<Arrival>) {
        while let Ok(arrival) = arrivals.recv() {
            match arrival {
                Arrival::Bytes(bytes) => bytes.into_iter().for_each(|byte| self.byte(byte)),
                Arrival::Event(Event::Opened) => {
                    self.greeted = false;
                    self.greet();
                }
                Arrival::Event(Event::Focused) => self.greet(),
                Arrival::Event(_) => {}
            }
        }
    }
    fn greet(&mut self) {
        let mut text = String::from("\r\n");
        if !std::mem::replace(&mut self.greeted, true) {
            text = format!("QEMU {} monitor - type 'help' for more information\r\n", version());
        }
        self.editor.show(PROMPT, &mut text);
        self.print(&text);
    }
    fn byte(&mut self, byte: u8) {
        let mut out = String::new();
        match self.editor.byte(byte, PROMPT, &mut out) {
            Outcome::Nothing => {}
            Outcome::Line(line) => {
                self.print(&out);
                out = self.session.execute(&line).replace('\n', "\r\n");
                self.editor.show(PROMPT, &mut out);
            }
            Outcome::Complete(begun) => self.complete(&begun, &mut out),
        }
        self.print(&out);
    }
    fn complete(&mut self, begun: &str, out: &mut String) {
        let names = self.session.complete(begun);
        let last = begun.rsplit(' ').next().unwrap_or(begun);
        match names[..] {
            [] => {}
            [name] => self.editor.add(&format!("{} ", &name[last.len()..]), PROMPT, out),
            _ => {
                out.push_str(&format!("\r\n{}\r\n", names.join("  ")));
                self.editor.show(PROMPT, out);
            }
        }
    }
    fn print(&self, text: &str) {
        super::write(&*self.back, text);
    }
}
