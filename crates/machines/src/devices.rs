//! Devices that can be added to a machine by name (`-device`).

mod loader;
mod ports;

use crate::config::DeviceRequest;
use crate::site::Site;

/// A property of a device.
#[derive(Clone, Copy, Debug)]
pub struct PropertyRow {
    /// Its name.
    pub name: &'static str,
    /// Its type, as `-device NAME,help` shows it.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// A device.
#[derive(Debug)]
pub struct DeviceRow {
    /// Its name.
    pub name: &'static str,
    /// The group that `-device help` shows it in.
    pub category: &'static str,
    /// The bus that it is on; empty for none.
    pub bus: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Its properties.
    pub properties: &'static [PropertyRow],
    /// Puts one into a machine.
    pub(crate) attach: fn(&mut Site<'_>, Properties) -> Result<(), String>,
}

macro_rules! properties {
    ($($name:literal $kind:literal $help:literal;)*) => {
        &[$(PropertyRow { name: $name, kind: $kind, help: $help }),*]
    };
}

/// The devices.
// tidy: flat
pub static DEVICES: &[DeviceRow] = &[
    DeviceRow {
        name: "ide-cd",
        category: "Storage",
        bus: "IDE",
        description: "virtual IDE CD-ROM",
        properties: IDE,
        attach: taken_by_the_board,
    },
    DeviceRow {
        name: "ide-hd",
        category: "Storage",
        bus: "IDE",
        description: "virtual IDE disk",
        properties: IDE,
        attach: taken_by_the_board,
    },
    DeviceRow {
        name: "isa-serial",
        category: "Input",
        bus: "ISA",
        description: "16550A UART",
        properties: properties! {
            "chardev" "str" "the character back end";
            "index" "uint32" "which of the usual places, 0 to 3";
            "iobase" "uint32" "its first port";
            "irq" "uint32" "its interrupt line";
        },
        attach: ports::serial,
    },
    DeviceRow {
        name: "isa-debug-exit",
        category: "Misc",
        bus: "ISA",
        description: "ends the process with a status",
        properties: properties! { "iobase" "uint32" "its port"; "iosize" "uint32" "how many bytes"; },
        attach: ports::exit,
    },
    DeviceRow {
        name: "isa-debugcon",
        category: "Misc",
        bus: "ISA",
        description: "passes bytes on as they are",
        properties: properties! {
            "chardev" "str" "the character back end";
            "iobase" "uint32" "its port";
            "readback" "uint32" "what it reads as";
        },
        attach: ports::debug_console,
    },
    DeviceRow {
        name: "loader",
        category: "Misc",
        bus: "",
        description: "Generic Loader",
        properties: properties! {
            "file" "str" "what is loaded: an ELF file, or any other";
            "addr" "uint64" "where it is loaded, or where the processor starts";
            "force-raw" "bool" "load an ELF file as it is";
            "cpu-num" "uint32" "the processor that starts there";
            "registers" "str" "what is in its registers, as rax:2/rbx:3";
            "data" "uint64" "load this number instead of a file";
            "data-len" "uint8" "its size in bytes, 1 to 8";
            "data-be" "bool" "it is big-endian";
        },
        attach: loader::attach,
    },
    DeviceRow {
        name: "pc-testdev",
        category: "Misc",
        bus: "ISA",
        description: "device for tests inside of the guest",
        properties: &[],
        attach: ports::test_device,
    },
    DeviceRow {
        name: "pvpanic",
        category: "Misc",
        bus: "ISA",
        description: "the guest says that it has crashed",
        properties: properties! { "ioport" "uint16" "its port"; },
        attach: ports::panic,
    },
];

/// Properties of IDE drives.
const IDE: &[PropertyRow] = properties! {
    "bus" "str" "ide.0 or ide.1";
    "unit" "uint32" "0 or 1";
    "drive" "str" "the drive of -drive";
};

/// Drives are connected when the board builds their controller.
fn taken_by_the_board(site: &mut Site<'_>, _: Properties) -> Result<(), String> {
    let has_ide = site.chips.bus.is_some();
    if has_ide { Ok(()) } else { Err("No 'IDE' bus found for device".to_owned()) }
}

/// Properties of a device that was asked for. Each is taken once.
#[derive(Debug)]
pub(crate) struct Properties(Vec<(String, String)>);

impl Properties {
    /// Takes a property.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let found = self.0.iter().rposition(|(key, _)| key == name).map(|at| self.0.remove(at).1);
        self.0.retain(|(key, _)| key != name);
        found
    }
    /// Takes a number.
    pub(crate) fn take_number(&mut self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.map(Some).map_err(|_| format!("Parameter '{name}' expects a number"))
    }
    /// Takes a switch.
    pub(crate) fn take_switch(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("on" | "yes" | "true" | "y") => Ok(Some(true)),
            Some("off" | "no" | "false" | "n") => Ok(Some(false)),
            Some(_) => Err(format!("Parameter '{name}' expects 'on' or 'off'")),
        }
    }
}

/// Adds a device to a machine.
pub(crate) fn attach(site: &mut Site<'_>, request: &DeviceRequest) -> Result<(), String> {
    let DeviceRequest { driver, properties } = request;
    let row = DEVICES.iter().find(|row| row.name == driver);
    let row = row.ok_or_else(|| format!("'{driver}' is not a valid device model name"))?;
    let known = |name: &str| name == "id" || row.properties.iter().any(|property| property.name == name);
    if let Some((name, _)) = properties.iter().find(|(name, _)| !known(name)) {
        return Err(format!("Property '{driver}.{name}' not found"));
    }
    (row.attach)(site, Properties(properties.clone()))
}

/// The list of devices, or the properties of one.
pub fn device_help(driver: Option<&str>) -> String {
    let Some(driver) = driver else {
        let mut text = String::new();
        let mut last = "";
        for row in DEVICES {
            if row.category != last {
                let gap = if last.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}{} devices:\n", row.category));
                last = row.category;
            }
            let bus = if row.bus.is_empty() { String::new() } else { format!(", bus {}", row.bus) };
            text.push_str(&format!("name \"{}\"{bus}, desc \"{}\"\n", row.name, row.description));
        }
        return text;
    };
    let Some(row) = DEVICES.iter().find(|row| row.name == driver) else {
        return format!("Device '{driver}' not found\n");
    };
    let mut text = format!("{driver} options:\n");
    for PropertyRow { name, kind, help } in row.properties {
        text.push_str(&format!("  {:<22} - {help}\n", format!("{name}=<{kind}>")));
    }
    text
}
