//! The commands.

// tidy: table

use super::{Session, expression, info, memory};
use isamorph_display::input::{Axis, Button, PointerEvent};
use isamorph_display::keys::parse_chord;
use isamorph_machines::{Cause, RunState};

/// What a command gives: the text to print, or an error.
pub(super) type Answer = Result<String, String>;

/// A command.
struct Row {
    /// Its names, the usual one first.
    names: &'static [&'static str],
    /// Its arguments, for help.
    arguments: &'static str,
    /// What it does, for help.
    help: &'static str,
    /// Does it; gets what follows the name.
    run: fn(&Session, &str) -> Answer,
}

const fn row(
    names: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    run: fn(&Session, &str) -> Answer,
) -> Row {
    Row { names, arguments, help, run }
}

static COMMANDS: &[Row] = &[
    row(&["help", "?"], "[cmd]", "show the help", |_, rest| help(rest)),
    row(&["info"], "[subcommand]", "show various information about the system state", info::run),
    row(&["quit", "q"], "", "quit the emulator", |s, _| {
        s.machine().quit(Cause::HostQuit);
        done()
    }),
    row(&["stop", "s"], "", "stop emulation", |s, _| {
        s.machine().pause();
        done()
    }),
    row(&["cont", "c"], "", "resume emulation", |s, _| resume(s)),
    row(&["system_reset"], "", "reset the system", |s, _| {
        s.machine().reset();
        done()
    }),
    row(&["system_powerdown"], "", "send system power down event", |s, _| {
        s.machine().power_down();
        done()
    }),
    row(&["system_wakeup"], "", "wakeup guest from suspend", |s, _| {
        s.machine().wake_up();
        done()
    }),
    row(&["nmi"], "", "inject an NMI", |s, _| {
        s.machine().send_nmi(s.processor());
        done()
    }),
    row(&["cpu"], "index", "set the default CPU", cpu),
    row(&["x"], "/fmt addr", "virtual memory dump starting at 'addr'", |s, rest| memory::dump(s, rest, true)),
    row(&["xp"], "/fmt addr", "physical memory dump starting at 'addr'", |s, rest| memory::dump(s, rest, false)),
    row(&["gpa2hva"], "addr", "print the host virtual address of a guest physical address", memory::host_address),
    row(&["gva2gpa"], "addr", "print the guest physical address of a guest virtual address", memory::physical_address),
    row(&["print", "p"], "/fmt expr", "print expression value (use $reg for CPU register access)", memory::print),
    row(&["i"], "/fmt addr", "I/O port read", memory::port_in),
    row(&["o"], "/fmt addr value", "I/O port write", memory::port_out),
    row(&["sum"], "addr size", "compute the checksum of a memory region", memory::sum),
    row(&["memsave"], "addr size file", "save to disk virtual memory dump", |s, r| memory::save(s, r, true)),
    row(&["pmemsave"], "addr size file", "save to disk physical memory dump", |s, r| memory::save(s, r, false)),
    row(&["sendkey"], "keys [hold_ms]", "send keys to the VM (e.g. 'sendkey ctrl-alt-f1')", sendkey),
    row(&["mouse_move"], "dx dy [dz]", "send mouse move events", mouse_move),
    row(&["mouse_button"], "state", "change mouse button state (1=L, 2=M, 4=R)", mouse_button),
    row(&["mouse_set"], "index", "set which mouse device receives events", |s, rest| {
        let known = s.machine().input().select_pointer(count(rest)? as usize);
        if known { done() } else { Err(format!("Mouse at index '{rest}' not found")) }
    }),
    row(&["screendump"], "filename [-f format]", "save screen from the display into an image 'filename'", screendump),
    row(&["ringbuf_write"], "device data", "Write to a ring buffer character device", |s, rest| {
        let (id, data) = rest.split_once(' ').unwrap_or((rest, ""));
        {
            use isamorph_chardev::BackEnd as _;
            s.console.chardevs.ringbuf(id).ok_or(format!("Device '{id}' not found"))?.write(data.as_bytes());
        }
        done()
    }),
    row(&["ringbuf_read"], "device size", "Read from a ring buffer character device", |s, rest| {
        let (id, size) = rest.split_once(' ').ok_or("ringbuf_read: device and size are expected")?;
        let ring = s.console.chardevs.ringbuf(id).ok_or(format!("Device '{id}' not found"))?;
        Ok(String::from_utf8_lossy(&ring.read(count(size)? as usize)).into_owned() + "\n")
    }),
];

fn done() -> Answer {
    Ok(String::new())
}

/// Every name of a command.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|row| row.names.iter().copied())
}

/// Executes a line.
pub(super) fn execute(session: &Session, line: &str) -> Answer {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return done();
    }
    // A format may follow the name without a space: x/4xw.
    let end = line.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let row = COMMANDS.iter().find(|row| row.names.contains(&name));
    match row {
        Some(row) => (row.run)(session, rest.trim()),
        None => Err(format!("unknown command: '{name}'")),
    }
}

fn help(rest: &str) -> Answer {
    if rest == "info" {
        return Ok(info::help());
    }
    let wanted = |row: &&Row| rest.is_empty() || row.names.contains(&rest);
    let line = |row: &Row| format!("{} {} -- {}\n", row.names.join("|"), row.arguments, row.help);
    Ok(COMMANDS.iter().filter(wanted).map(line).collect())
}

/// A number, in a C literal.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("integer expected instead of '{text}'"))
}

/// A number that may be an expression of registers.
pub(super) fn value(session: &Session, text: &str) -> Result<u64, String> {
    let text = text.to_owned();
    let read = move |p: &mut dyn isamorph_accel::Processor| expression::evaluate(&text, p.state());
    session.machine().with_processor(session.processor(), read).unwrap_or_else(|| Err("no such CPU".to_owned()))
}

fn resume(session: &Session) -> Answer {
    if session.machine().state().needs_reset() {
        return Err("Resetting the Virtual Machine is required".to_owned());
    }
    if session.machine().state() != RunState::Running {
        session.machine().resume();
    }
    done()
}

fn cpu(session: &Session, rest: &str) -> Answer {
    let index = count(rest)?;
    if index >= u64::from(session.machine().processor_count()) {
        return Err("invalid CPU index".to_owned());
    }
    session.select(index as u32);
    done()
}

fn sendkey(session: &Session, rest: &str) -> Answer {
    let mut words = rest.split_whitespace();
    let keys = parse_chord(words.next().ok_or("sendkey: keys are expected")?)?;
    let hold = words.next().map_or(Ok(super::HOLD), count)?;
    super::press(session.machine().input(), keys, hold).map_err(|e| e.to_string())?;
    done()
}

fn mouse_move(session: &Session, rest: &str) -> Answer {
    let number = |text: &str| text.parse::<i32>().map_err(|_| format!("integer expected instead of '{text}'"));
    let parts = rest.split_whitespace().map(number).collect::<Result<Vec<_>, _>>()?;
    let [dx, dy, ref more @ ..] = parts[..] else { return Err("mouse_move: dx and dy are expected".to_owned()) };
    session.machine().input().pointer(&[PointerEvent::Move(Axis::X, dx), PointerEvent::Move(Axis::Y, dy)]);
    if let Some(dz) = more.first().filter(|dz| **dz != 0) {
        let wheel = if *dz > 0 { Button::WheelUp } else { Button::WheelDown };
        session.machine().input().pointer(&[PointerEvent::Button(wheel, true)]);
        session.machine().input().pointer(&[PointerEvent::Button(wheel, false)]);
    }
    done()
}

fn mouse_button(session: &Session, rest: &str) -> Answer {
    let state = count(rest)?;
    let buttons = [Button::Left, Button::Middle, Button::Right];
    let events = buttons.iter().enumerate().map(|(n, b)| PointerEvent::Button(*b, state >> n & 1 != 0));
    session.machine().input().pointer(&events.collect::<Vec<_>>());
    done()
}

/// `screendump`, also for QMP.
pub(super) fn screendump(session: &Session, rest: &str) -> Answer {
    let words: Vec<_> = rest.split_whitespace().collect();
    let format = words.windows(2).find(|pair| pair[0] == "-f").map(|pair| pair[1]);
    let file = words.iter().find(|word| !word.starts_with('-') && Some(**word) != format);
    let file = file.ok_or("screendump: filename is expected")?;
    let screen = session.machine().screens().first().ok_or("There is no console to take a screendump from.")?;
    let picture = screen.picture();
    let bytes = match format.unwrap_or("ppm") {
        "ppm" => picture.to_ppm(),
        "png" => picture.to_png().map_err(|e| e.to_string())?,
        other => return Err(format!("Invalid parameter '{other}'")),
    };
    std::fs::write(file, bytes).map_err(|e| format!("failed to open file '{file}': {e}"))?;
    done()
}
