//! QMP, the machine protocol of the monitor: JSON objects both ways, one after the other.
//!
//! `commands` has the table of commands, `events` what is told without being asked, `stream` cuts what arrives into
//! objects. A connection begins with a greeting and takes commands after `qmp_capabilities` (QEMU Machine Protocol
//! Specification, section 2 and 4).

mod commands;
mod events;
mod stream;

use crate::monitor::{self, Console, QEMU_VERSION, Session};
use commands::Failure;
use isamorph_chardev::{BackEnd, Event, FrontEnd};
use serde_json::{Value, json};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use stream::Splitter;

enum Arrival {
    Bytes(Vec<u8>),
    Opened,
    Event(Value),
}

/// The monitor's end of a connection.
pub struct Qmp {
    arrivals: Mutex<Sender<Arrival>>,
}

impl Qmp {
    /// Starts a monitor. It lives as long as what is returned. With `pretty`, output is spread over lines.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn start(console: Arc<Console>, back: Arc<dyn BackEnd>, pretty: bool) -> io::Result<Arc<Self>> {
        let (sender, receiver) = channel();
        let qmp = Arc::new(Qmp { arrivals: Mutex::new(sender) });
        let teller = Arc::downgrade(&qmp);
        console.machine.subscribe(move |event| {
            if let Some(qmp) = teller.upgrade() {
                events::of(event).into_iter().for_each(|event| qmp.send(Arrival::Event(event)));
            }
        });
        let worker = Worker {
            session: Session::new(console),
            back: back.clone(),
            splitter: Splitter::default(),
            negotiated: false,
            pretty,
        };
        thread::Builder::new().name("qmp".to_owned()).spawn(move || worker.serve(&receiver))?;
        let front: Weak<Qmp> = Arc::downgrade(&qmp);
        back.attach(front);
        Ok(qmp)
    }
    fn send(&self, arrival: Arrival) {
        // Without a worker the process is about to end.
        let _ = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).send(arrival);
    }
}

impl FrontEnd for Qmp {
    fn room(&self) -> usize {
        65536
    }
    fn receive(&self, data: &[u8]) {
        self.send(Arrival::Bytes(data.to_vec()));
    }
    fn event(&self, event: Event) {
        if event == Event::Opened {
            self.send(Arrival::Opened);
        }
    }
}

struct Worker {
    session: Session,
    back: Arc<dyn BackEnd>,
    splitter: Splitter,
    /// Whether the client has chosen capabilities: commands before are refused, events are not sent.
    negotiated: bool,
    pretty: bool,
}

/// Numbers as `query-version` has them.
fn version() -> Value {
    let [major, minor, micro] = QEMU_VERSION;
    let package = format!("Isamorph {}", env!("CARGO_PKG_VERSION"));
    json!({"qemu": {"micro": micro, "minor": minor, "major": major}, "package": package})
}

impl Worker {
    fn serve(mut self, arrivals: &Receiver<Arrival>) {
        while let Ok(arrival) = arrivals.recv() {
            match arrival {
                Arrival::Opened => {
                    self.negotiated = false;
                    self.splitter = Splitter::default();
                    self.print(&json!({"QMP": {"version": version(), "capabilities": ["oob"]}}));
                }
                Arrival::Event(event) if self.negotiated => self.print(&event),
                Arrival::Event(_) => {}
                Arrival::Bytes(bytes) => self.bytes(&bytes),
            }
        }
    }
    fn bytes(&mut self, bytes: &[u8]) {
        for object in self.splitter.add(bytes) {
            let answer = match object {
                Ok(text) => match serde_json::from_slice::<Value>(&text) {
                    Ok(command) => self.command(&command),
                    Err(e) => failure(&Failure::generic(format!("JSON parse error, {e}")), None),
                },
                Err(what) => failure(&Failure::generic(what.to_owned()), None),
            };
            self.print(&answer);
        }
    }
    fn command(&mut self, command: &Value) -> Value {
        let id = command.get("id").cloned();
        match self.execute(command) {
            Ok(result) => {
                let mut answer = json!({"return": result});
                if let Some(id) = id {
                    answer["id"] = id;
                }
                answer
            }
            Err(error) => failure(&error, id),
        }
    }
    fn execute(&mut self, command: &Value) -> Result<Value, Failure> {
        let object = command.as_object().ok_or_else(|| Failure::generic("QMP input must be a JSON object"))?;
        if let Some(member) =
            object.keys().find(|key| !["execute", "exec-oob", "arguments", "id"].contains(&key.as_str()))
        {
            return Err(Failure::generic(format!("QMP input member '{member}' is unexpected")));
        }
        let name = object.get("execute").or_else(|| object.get("exec-oob"));
        let name = name.ok_or_else(|| Failure::generic("QMP input lacks member 'execute'"))?;
        let name = name.as_str().ok_or_else(|| Failure::generic("QMP input member 'execute' must be a string"))?;
        let nothing = json!({});
        let arguments = object.get("arguments").unwrap_or(&nothing);
        if !arguments.is_object() {
            return Err(Failure::generic("QMP input member 'arguments' must be an object"));
        }
        match (name, self.negotiated) {
            ("qmp_capabilities", false) => {
                self.negotiated = true;
                Ok(json!({}))
            }
            ("qmp_capabilities", true) => {
                Err(Failure::not_found("Capabilities negotiation is already complete, command ignored"))
            }
            (_, false) => Err(Failure::not_found("Expecting capabilities negotiation with 'qmp_capabilities'")),
            (name, true) => commands::execute(&self.session, name, arguments),
        }
    }
    fn print(&self, value: &Value) {
        let text = if self.pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        monitor::write(&*self.back, &(text.unwrap_or_default() + "\r\n"));
    }
}

fn failure(error: &Failure, id: Option<Value>) -> Value {
    let mut answer = json!({"error": {"class": error.class, "desc": error.text}});
    if let Some(id) = id {
        answer["id"] = id;
    }
    answer
}
