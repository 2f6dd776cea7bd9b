//! Monitors, for people and for programs.

use super::grammar::Words;
use super::settings::Settings;
use isamorph_chardev::{BackEnd, Chardevs};
use isamorph_control::gdb::{self, Address};
use isamorph_control::monitor::{Console, Human};
use isamorph_control::qmp::Qmp;
use isamorph_machines::Machine;
use std::sync::Arc;

/// The monitors of a machine; they live as long as this does.
#[derive(Default)]
pub struct Monitors {
    humans: Vec<Arc<Human>>,
    programs: Vec<Arc<Qmp>>,
}

/// How a monitor talks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Human,
    Program { pretty: bool },
}

impl Monitors {
    /// Starts the monitors that the options ask for. `serials` are the texts of the serial lines: some share their
    /// stream with a monitor.
    ///
    /// # Errors
    /// What is wrong with an option, or what the host refuses.
    pub fn start(
        settings: &Settings,
        serials: &[String],
        chardevs: &Arc<Chardevs>,
        machine: &Arc<Machine>,
    ) -> Result<Self, String> {
        let console = Arc::new(Console {
            machine: machine.clone(),
            chardevs: chardevs.clone(),
            name: settings.name.clone(),
            uuid: uuid(settings.uuid.unwrap_or_default()),
        });
        let mut monitors = Monitors::default();
        let shared = serials.iter().enumerate().filter(|(_, text)| text.starts_with("mon:"));
        for (index, _) in shared {
            let back = chardevs.connect(&format!("serial{index}"))?;
            monitors.add(&console, back, Mode::Human)?;
        }
        for (index, text) in settings.monitors.iter().enumerate() {
            let back = chardevs.serial(text, &format!("compat_monitor{index}"));
            if let Some(back) = back.map_err(|e| format!("-monitor {text}: {e}"))? {
                monitors.add(&console, back, Mode::Human)?;
            }
        }
        for (index, (text, pretty)) in settings.qmps.iter().enumerate() {
            let name = format!("compat_monitor{}", settings.monitors.len() + index);
            let back = chardevs.serial(text, &name).map_err(|e| format!("-qmp {text}: {e}"))?;
            if let Some(back) = back {
                monitors.add(&console, back, Mode::Program { pretty: *pretty })?;
            }
        }
        for text in &settings.mons {
            let (id, mode) = mon(text).map_err(|e| format!("-mon {text}: {e}"))?;
            monitors.add(&console, chardevs.connect(&id).map_err(|e| format!("-mon {text}: {e}"))?, mode)?;
        }
        if let Some(text) = &settings.gdb {
            let served = gdb_address(text).and_then(|address| {
                gdb::serve_machine(&address, machine, settings.architecture).map_err(|e| e.to_string())
            });
            served.map_err(|e| format!("-gdb {text}: {e}"))?;
        }
        Ok(monitors)
    }
    fn add(&mut self, console: &Arc<Console>, back: Arc<dyn BackEnd>, mode: Mode) -> Result<(), String> {
        let started = match mode {
            Mode::Human => Human::start(console.clone(), back).map(|human| self.humans.push(human)),
            Mode::Program { pretty } => Qmp::start(console.clone(), back, pretty).map(|qmp| self.programs.push(qmp)),
        };
        started.map_err(|e| format!("monitor: {e}"))
    }
}

/// `-mon [chardev=]ID[,mode=readline|control][,pretty=on|off]`.
fn mon(text: &str) -> Result<(String, Mode), String> {
    let mut words = Words::parse(text, Some("chardev"))?;
    let id = words.take("chardev").ok_or("chardev is missing")?;
    // What libvirt calls its monitor.
    let _ = words.take("id");
    let pretty = words.take_switch("pretty")?.unwrap_or(false);
    let mode = match words.take("mode").as_deref() {
        None | Some("readline") => Mode::Human,
        Some("control") => Mode::Program { pretty },
        Some(other) => return Err(format!("unknown monitor mode \"{other}\"")),
    };
    words.finish()?;
    Ok((id, mode))
}

/// Where gdb connects: `tcp:[HOST]:PORT` or `unix:PATH`, perhaps with properties, which say what is so anyway.
fn gdb_address(text: &str) -> Result<Address, String> {
    let place = text.split(',').next().unwrap_or_default();
    if let Some(path) = place.strip_prefix("unix:") {
        return Ok(Address::Path(path.into()));
    }
    let port = place.strip_prefix("tcp:").and_then(|rest| rest.rsplit(':').next()).and_then(|port| port.parse().ok());
    port.map(Address::Port).ok_or_else(|| "a place of the form tcp::PORT or unix:PATH is expected".to_owned())
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex[range].to_owned());
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_are_described_as_tools_do() {
        assert_eq!(mon("chardev=c0,id=monitor,mode=control"), Ok(("c0".to_owned(), Mode::Program { pretty: false })));
        assert_eq!(mon("c1"), Ok(("c1".to_owned(), Mode::Human)));
        assert!(mon("chardev=a,mode=x").is_err() && mon("mode=control").is_err());
        assert_eq!(gdb_address("tcp::1234,server=on"), Ok(Address::Port(1234)));
        assert_eq!(gdb_address("unix:/x"), Ok(Address::Path("/x".into())));
        assert!(gdb_address("stdio").is_err());
        assert_eq!(uuid([0x12; 16]), "12121212-1212-1212-1212-121212121212");
    }
}
