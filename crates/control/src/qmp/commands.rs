//! The commands.

// tidy: table

use super::{events, version};
use crate::monitor::{self, Session};
use isamorph_display::input::{Axis, Button, PointerEvent};
use isamorph_display::keys::Key;
use isamorph_machines::{BOARDS, Cause, RunState};
use serde_json::{Value, json};

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class, which clients look at.
    pub class: &'static str,
    /// What people read.
    pub text: String,
}

impl Failure {
    /// The usual class.
    pub fn generic(text: impl Into<String>) -> Self {
        Failure { class: "GenericError", text: text.into() }
    }
    /// There is no such command.
    pub fn not_found(text: impl Into<String>) -> Self {
        Failure { class: "CommandNotFound", text: text.into() }
    }
}

type Answer = Result<Value, Failure>;

/// A command: its name, the names of its arguments, and what it does.
type Row = (&'static str, &'static [&'static str], fn(&Session, &Value) -> Answer);

static COMMANDS: &[Row] = &[
    ("cont", &[], |s, _| human(s, "cont")),
    ("human-monitor-command", &["command-line", "cpu-index"], |s, a| {
        if let Some(index) = a["cpu-index"].as_u64() {
            s.select(index as u32);
        }
        Ok(Value::String(s.execute(text(a, "command-line")?).replace('\n', "\r\n")))
    }),
    ("inject-nmi", &[], |s, _| {
        s.console().machine.send_nmi(0);
        done()
    }),
    ("input-send-event", &["device", "head", "events"], input_send_event),
    ("memsave", &["val", "size", "filename", "cpu-index"], |s, a| save(s, a, "memsave")),
    ("pmemsave", &["val", "size", "filename"], |s, a| save(s, a, "pmemsave")),
    ("query-block", &[], |s, _| Ok(block(s))),
    ("query-chardev", &[], |s, _| {
        let row = |(id, file): (String, String)| json!({"label": id, "filename": file, "frontend-open": true});
        Ok(s.console().chardevs.list().into_iter().map(row).collect())
    }),
    ("query-commands", &[], |_, _| Ok(names().map(|name| json!({"name": name})).collect())),
    ("query-cpus-fast", &[], |s, _| Ok(cpus(s))),
    ("query-events", &[], |_, _| Ok(events::NAMES.iter().map(|name| json!({"name": name})).collect())),
    ("query-kvm", &[], |s, _| {
        let enabled = s.console().machine.accelerator().name() == "kvm";
        Ok(json!({"enabled": enabled, "present": std::path::Path::new("/dev/kvm").exists()}))
    }),
    ("query-machines", &[], |_, _| {
        let row = |b: &isamorph_machines::BoardRow| json!({"name": b.name, "cpu-max": b.max_processors, "is-default": b.is_default, "hotpluggable-cpus": false});
        Ok(BOARDS.iter().map(row).collect())
    }),
    ("query-mice", &[], |s, _| {
        let row = |p: isamorph_display::input::PointerInfo| json!({"name": p.name, "index": p.index, "current": p.current, "absolute": p.absolute});
        Ok(s.console().machine.input().pointers().into_iter().map(row).collect())
    }),
    ("query-name", &[], |s, _| Ok(s.console().name.as_ref().map_or(json!({}), |name| json!({"name": name})))),
    ("query-status", &[], |s, _| {
        let state = s.console().machine.state();
        Ok(json!({"running": state == RunState::Running, "status": state.name()}))
    }),
    ("query-uuid", &[], |s, _| Ok(json!({"UUID": s.console().uuid}))),
    ("query-version", &[], |_, _| Ok(version())),
    ("quit", &[], |s, _| {
        s.console().machine.quit(Cause::HostQuit);
        done()
    }),
    ("ringbuf-read", &["device", "size", "format"], |s, a| {
        let name = text(a, "device")?;
        let ring = s.console().chardevs.ringbuf(name);
        let ring = ring.ok_or_else(|| Failure::generic(format!("Device '{name}' not found")))?;
        Ok(Value::String(String::from_utf8_lossy(&ring.read(number(a, "size")? as usize)).into_owned()))
    }),
    ("screendump", &["filename", "device", "head", "format"], |s, a| {
        let format = a["format"].as_str().unwrap_or("ppm");
        human(s, &format!("screendump {} -f {format}", text(a, "filename")?))
    }),
    ("send-key", &["keys", "hold-time"], send_key),
    ("stop", &[], |s, _| human(s, "stop")),
    ("system_powerdown", &[], |s, _| human(s, "system_powerdown")),
    ("system_reset", &[], |s, _| human(s, "system_reset")),
    ("system_wakeup", &[], |s, _| human(s, "system_wakeup")),
];

fn done() -> Answer {
    Ok(json!({}))
}

fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, ..)| *name).chain(["qmp_capabilities"])
}

/// Executes a command.
pub fn execute(session: &Session, name: &str, arguments: &Value) -> Answer {
    let row = COMMANDS.iter().find(|(known, ..)| *known == name);
    let not_found = || Failure::not_found(format!("The command {name} has not been found"));
    let (_, known, run) = row.ok_or_else(not_found)?;
    let unknown = arguments.as_object().and_then(|a| a.keys().find(|key| !known.contains(&key.as_str())));
    match unknown {
        Some(key) => Err(Failure::generic(format!("Parameter '{key}' is unexpected"))),
        None => run(session, arguments),
    }
}

/// A command that the human monitor has too; whatever that prints is an error.
fn human(session: &Session, line: &str) -> Answer {
    match session.execute(line).trim() {
        "" => done(),
        text => Err(Failure::generic(text)),
    }
}

fn text<'a>(arguments: &'a Value, name: &str) -> Result<&'a str, Failure> {
    match &arguments[name] {
        Value::String(text) => Ok(text),
        Value::Null => Err(Failure::generic(format!("Parameter '{name}' is missing"))),
        _ => Err(Failure::generic(format!("Invalid parameter type for '{name}', expected: string"))),
    }
}

fn number(arguments: &Value, name: &str) -> Result<u64, Failure> {
    match &arguments[name] {
        Value::Null => Err(Failure::generic(format!("Parameter '{name}' is missing"))),
        value => value
            .as_u64()
            .ok_or_else(|| Failure::generic(format!("Invalid parameter type for '{name}', expected: integer"))),
    }
}

fn save(session: &Session, a: &Value, command: &str) -> Answer {
    if let Some(index) = a["cpu-index"].as_u64() {
        session.select(index as u32);
    }
    let line = format!("{command} {} {} {}", number(a, "val")?, number(a, "size")?, text(a, "filename")?);
    human(session, &line)
}

fn cpus(session: &Session) -> Value {
    let machine = &session.console().machine;
    // The widest lane is what the processor is.
    let target = machine.guest().lanes().last().map_or("", |lane| lane.table().arch);
    let row = |(n, thread): (usize, i32)| {
        json!({
            "cpu-index": n,
            "thread-id": thread,
            "qom-path": format!("/machine/unattached/device[{n}]"),
            "target": target,
        })
    };
    monitor::threads(machine).into_iter().enumerate().map(row).collect()
}

fn block(session: &Session) -> Value {
    let row = |setup: &isamorph_machines::DriveSetup| {
        let removable = setup.options.media == isamorph_block::Media::Cdrom;
        let mut row = json!({
            "device": setup.drive.name(),
            "locked": false,
            "removable": removable,
            "type": "unknown",
            "qdev": "",
        });
        if let Some(info) = setup.drive.info() {
            row["inserted"] = json!({
                "file": info.file,
                "drv": info.format,
                "ro": setup.options.read_only,
                "backing_file_depth": info.backing_depth,
                "image": {"filename": info.file, "format": info.format},
            });
        }
        row
    };
    session.console().machine.drives().iter().map(row).collect()
}

/// A `KeyValue`: a name or a number.
fn key(value: &Value) -> Result<Key, Failure> {
    let data = &value["data"];
    let found = match value["type"].as_str() {
        Some("qcode") => data.as_str().and_then(Key::from_name),
        Some("number") => data.as_u64().and_then(|n| u16::try_from(n).ok()).and_then(Key::from_number),
        _ => None,
    };
    found.ok_or_else(|| Failure::generic(format!("Invalid parameter '{data}'")))
}

fn send_key(session: &Session, a: &Value) -> Answer {
    let list = a["keys"].as_array().ok_or_else(|| Failure::generic("Parameter 'keys' is missing"))?;
    let keys = list.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let hold = a["hold-time"].as_u64().unwrap_or(monitor::HOLD);
    monitor::press(session.console().machine.input(), keys, hold).map_err(|e| Failure::generic(e.to_string()))?;
    done()
}

fn input_send_event(session: &Session, a: &Value) -> Answer {
    let list = a["events"].as_array().ok_or_else(|| Failure::generic("Parameter 'events' is missing"))?;
    let mut pointer = Vec::new();
    for event in list {
        let data = &event["data"];
        let wrong = || Failure::generic(format!("Invalid parameter '{event}'"));
        let axis = || match data["axis"].as_str() {
            Some("x") => Ok(Axis::X),
            Some("y") => Ok(Axis::Y),
            _ => Err(wrong()),
        };
        let value = || data["value"].as_i64().ok_or_else(wrong);
        match event["type"].as_str() {
            Some("key") => {
                session.console().machine.input().key(key(&data["key"])?, data["down"].as_bool().ok_or_else(wrong)?)
            }
            Some("btn") => {
                let button = data["button"].as_str().and_then(Button::from_name).ok_or_else(wrong)?;
                pointer.push(PointerEvent::Button(button, data["down"].as_bool().ok_or_else(wrong)?));
            }
            Some("rel") => pointer.push(PointerEvent::Move(axis()?, value()? as i32)),
            Some("abs") => pointer.push(PointerEvent::At(axis()?, value()?.clamp(0, 0x7fff) as u32)),
            _ => return Err(wrong()),
        }
    }
    if !pointer.is_empty() {
        session.console().machine.input().pointer(&pointer);
    }
    done()
}
