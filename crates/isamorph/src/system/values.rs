//! Values of the options of system mode.

use super::accelerators;
use super::grammar::{Words, number, switch};
use super::settings::{ClockBase, DeviceSetting, FileContent, FirmwareFile, Settings, Taken, Vga};
use crate::end::End;
use crate::log_items::LogItems;
use crate::value;
use isamorph_machines::{BOARDS, PanicAction, Topology, board, device_help};
use std::ffi::OsStr;

type Outcome = Result<Taken, String>;

/// Words that stand for a request for help.
fn asks_for_help(text: &str) -> bool {
    matches!(text, "help" | "?")
}

/// An end that another part of the command found, as this one reports it.
fn outcome(end: End) -> Outcome {
    match end {
        End::Text(text) => Ok(Taken::Text(text)),
        End::Help => Ok(Taken::Help),
        End::Version => Ok(Taken::Version),
        End::Failed { message, .. } => Err(message.strip_prefix("qemu: ").map_or(message.clone(), str::to_owned)),
    }
}

pub(super) fn machine(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("type"))?;
    match words.take("type") {
        Some(name) if asks_for_help(&name) => return Ok(Taken::Text(machine_list())),
        Some(name) => {
            let found = board(&name);
            settings.board = Some(found.ok_or_else(|| format!("unsupported machine type \"{name}\""))?);
        }
        None => {}
    }
    for text in words.take_all("accel") {
        settings.accelerators.clear();
        for name in text.split(':') {
            settings.accelerators.push(accelerators::Choice::parse(name)?);
        }
    }
    settings.board_properties.extend(words.rest());
    Ok(Taken::Setting)
}

fn machine_list() -> String {
    let mut text = String::from("Supported machines are:\n");
    for row in BOARDS {
        for (alias, what) in row.aliases.iter().map(|alias| (*alias, format!(" (alias of {})", row.name))) {
            text.push_str(&format!("{alias:<20} {}{what}\n", row.description));
        }
        let usual = if row.is_default { " (default)" } else { "" };
        text.push_str(&format!("{:<20} {}{usual}\n", row.name, row.description));
    }
    text
}

pub(super) fn cpu(settings: &mut Settings, text: &str) -> Outcome {
    if asks_for_help(text) {
        return Ok(Taken::Text(super::processors::help()));
    }
    settings.cpu = Some(text.to_owned());
    Ok(Taken::Setting)
}

pub(super) fn accel(settings: &mut Settings, text: &str) -> Outcome {
    if asks_for_help(text.split(',').next().unwrap_or_default()) {
        return Ok(Taken::Text(accelerators::HELP.to_owned()));
    }
    settings.accelerators.push(accelerators::Choice::parse(text)?);
    Ok(Taken::Setting)
}

pub(super) fn smp(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("cpus"))?;
    let mut take = |key| match words.take_number(key)? {
        Some(0) => Err("Invalid CPU topology: CPU topology parameters must be greater than zero".to_owned()),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| format!("Parameter '{key}' is too large")),
        None => Ok(None),
    };
    let given = ["cpus", "maxcpus", "sockets", "dies", "cores", "threads"].map(&mut take);
    let [cpus, most, sockets, dies, cores, threads] = given;
    for single in ["drawers", "books", "clusters", "modules"] {
        if take(single)?.is_some_and(|n| n != 1) {
            return Err(format!("{single} > 1 not supported by this machine's CPU topology"));
        }
    }
    settings.topology = Some(Topology::new(cpus?, most?, sockets?, dies?, cores?, threads?)?);
    words.finish()?;
    Ok(Taken::Setting)
}

pub(super) fn global(settings: &mut Settings, text: &str) -> Outcome {
    let parts = match text.split_once('=') {
        Some((left, value)) if !text.starts_with("driver=") => {
            let (driver, property) = left.split_once('.').ok_or("expects driver.property=value")?;
            (driver.to_owned(), property.to_owned(), value.to_owned())
        }
        _ => {
            let mut words = Words::parse(text, None)?;
            let mut take = |key: &str| words.take(key).ok_or_else(|| format!("Parameter '{key}' is missing"));
            (take("driver")?, take("property")?, take("value")?)
        }
    };
    settings.globals.push(parts);
    Ok(Taken::Setting)
}

pub(super) fn boot(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("order"))?;
    let boot = &mut settings.boot;
    for (key, place) in [("order", &mut boot.order), ("once", &mut boot.once)] {
        let Some(letters) = words.take(key) else { continue };
        if let Some(bad) = letters.chars().find(|letter| !('a'..='p').contains(letter)) {
            return Err(format!("Invalid boot device '{bad}'"));
        }
        *place = letters;
    }
    boot.menu = words.take_switch("menu")?.or(boot.menu);
    boot.strict = words.take_switch("strict")?.unwrap_or(boot.strict);
    let milliseconds = |n: Option<u64>, most| match n {
        Some(n) if n > most => Err(format!("{n} is out of range")),
        n => Ok(n),
    };
    boot.splash_time = milliseconds(words.take_number("splash-time")?, 0xffff)?.or(boot.splash_time);
    boot.reboot_timeout = milliseconds(words.take_number("reboot-timeout")?, 0xffff)?.or(boot.reboot_timeout);
    words.finish()?;
    Ok(Taken::Setting)
}

pub(super) fn memory(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("size"))?;
    settings.memory = words.take_size("size", 20)?.filter(|bytes| *bytes != 0).or(settings.memory);
    // Memory that could be added later: there is no hot plug, so that only "no more than there is" is right.
    let (slots, most) = (words.take_number("slots")?, words.take_size("maxmem", 20)?);
    if slots.is_some_and(|n| n != 0) || most.is_some_and(|most| Some(most) != settings.memory) {
        return Err("memory hotplug is not supported".to_owned());
    }
    words.finish()?;
    Ok(Taken::Setting)
}

pub(super) fn device(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("driver"))?;
    let driver = words.take("driver").ok_or("Parameter 'driver' is missing")?;
    if asks_for_help(&driver) {
        return Ok(Taken::Text(device_help(None)));
    }
    let properties = words.rest();
    if properties.iter().any(|(key, _)| asks_for_help(key)) {
        return Ok(Taken::Text(device_help(Some(&driver))));
    }
    settings.devices.push(DeviceSetting { driver, properties });
    Ok(Taken::Setting)
}

pub(super) fn name(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("guest"))?;
    settings.name = words.take("guest").or(settings.name.take());
    // Threads always have their names.
    words.take_switch("debug-threads")?;
    words.take("process");
    words.finish()?;
    Ok(Taken::Setting)
}

pub(super) fn uuid(settings: &mut Settings, text: &str) -> Outcome {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let bytes = |digits: &str| u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes);
    let valid = groups == [8, 4, 4, 4, 12] && digits.len() == 32;
    settings.uuid = Some(bytes(&digits).filter(|_| valid).ok_or("failed to parse UUID string: wrong format")?);
    Ok(Taken::Setting)
}

/// An option of which only the choice of nothing is there.
pub(super) fn only_none(_: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("what"))?;
    match words.take("what").or_else(|| words.take("driver")).or_else(|| words.take("type")).as_deref() {
        Some("none") => Ok(Taken::Setting),
        Some(other) => Err(format!("{other} is not supported")),
        None => Err("not supported".to_owned()),
    }
}

pub(super) fn only_off(_: &mut Settings, text: &str) -> Outcome {
    if switch(text) == Some(false) { Ok(Taken::Setting) } else { Err("not supported".to_owned()) }
}

pub(super) fn vga(settings: &mut Settings, text: &str) -> Outcome {
    settings.vga = match text {
        "std" => Vga::Std,
        "none" => Vga::None,
        "help" | "?" => {
            return Ok(Taken::Text("none                 no graphic card\nstd                  standard VGA\n".into()));
        }
        "cirrus" | "vmware" | "qxl" | "virtio" | "xenfb" | "tcx" | "cg3" => return Err("not supported".to_owned()),
        _ => return Err(format!("unknown vga type: {text}")),
    };
    Ok(Taken::Setting)
}

pub(super) fn firmware_file(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, Some("name"))?;
    let name = words.take("name").filter(|name| !name.is_empty()).ok_or("Parameter 'name' is missing")?;
    let content = match (words.take("file"), words.take("string")) {
        (Some(file), None) => FileContent::File(file.into()),
        (None, Some(text)) => FileContent::Text(text),
        _ => return Err("exactly one of file= and string= is wanted".to_owned()),
    };
    if name.len() > 55 {
        return Err("name too long (max. 55 char)".to_owned());
    }
    words.finish()?;
    settings.firmware_files.push(FirmwareFile { name, content });
    Ok(Taken::Setting)
}

pub(super) fn mon(settings: &mut Settings, text: &str) -> Outcome {
    settings.mons.push(text.to_owned());
    Ok(Taken::Setting)
}

pub(super) fn overcommit(_: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, None)?;
    for key in ["mem-lock", "cpu-pm"] {
        if words.take_switch(key)? == Some(true) {
            return Err(format!("{key}=on is not supported"));
        }
    }
    words.finish()?;
    Ok(Taken::Setting)
}

pub(super) fn log(settings: &mut Settings, text: &str) -> Outcome {
    match LogItems::parse(text) {
        Ok(items) => settings.log_items |= items,
        Err(end) => return outcome(end),
    }
    Ok(Taken::Setting)
}

pub(super) fn log_filter(settings: &mut Settings, text: &str) -> Outcome {
    match value::ranges(OsStr::new(text)) {
        Ok(ranges) => settings.log_filter.extend(ranges),
        Err(end) => return outcome(end),
    }
    Ok(Taken::Setting)
}

pub(super) fn seed(_: &mut Settings, text: &str) -> Outcome {
    number(text).map(|_| Taken::Setting).ok_or_else(|| "Invalid seed number".to_owned())
}

pub(super) fn action(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, None)?;
    let actions = &mut settings.actions;
    let unknown = |value: &str| format!("Parameter does not accept value '{value}'");
    match words.take("reboot").as_deref() {
        Some("reset") => actions.reset_on_reboot = true,
        Some("shutdown") => actions.reset_on_reboot = false,
        Some(other) => return Err(unknown(other)),
        None => {}
    }
    match words.take("shutdown").as_deref() {
        Some("poweroff") => actions.end_on_shutdown = true,
        Some("pause") => actions.end_on_shutdown = false,
        Some(other) => return Err(unknown(other)),
        None => {}
    }
    match words.take("panic").as_deref() {
        Some("shutdown") => actions.panic = PanicAction::Shutdown,
        Some("exit-failure") => actions.panic = PanicAction::ExitFailure,
        Some("pause") => actions.panic = PanicAction::Pause,
        Some("none") => actions.panic = PanicAction::None,
        Some(other) => return Err(unknown(other)),
        None => {}
    }
    words.finish()?;
    Ok(Taken::Setting)
}

pub(super) fn rtc(settings: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, None)?;
    if let Some(base) = words.take("base") {
        settings.clock = match base.as_str() {
            "utc" => ClockBase::Utc,
            "localtime" => ClockBase::Local,
            date => ClockBase::Fixed(seconds(date).ok_or("invalid datetime format")?),
        };
    }
    match words.take("clock").as_deref() {
        // The guest's clock goes with the machine's, which goes with the host's while the machine runs.
        None | Some("host" | "rt" | "vm") => {}
        Some(other) => return Err(format!("invalid clock '{other}'")),
    }
    match words.take("driftfix").as_deref() {
        None | Some("none") => {}
        Some("slew") => return Err("driftfix=slew is not supported".to_owned()),
        Some(other) => return Err(format!("invalid driftfix '{other}'")),
    }
    words.finish()?;
    Ok(Taken::Setting)
}

/// Seconds since 1970 of `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS`.
fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let fields = |text: &str, separator| -> Option<[i64; 3]> {
        let list: Option<Vec<i64>> = text.split(separator).map(|part| part.parse().ok()).collect();
        list?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (fields(date, '-')?, fields(time, ':')?);
    let valid = (1900..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    // The year begins in March, so that the leap day is its last one.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    valid.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

pub(super) fn escape(settings: &mut Settings, text: &str) -> Outcome {
    let mut chars = text.chars();
    settings.escape = match (chars.next(), chars.next()) {
        (Some(c), None) if c.is_ascii() => Some(c as u8),
        _ => Some(number(text).and_then(|n| u8::try_from(n).ok()).ok_or("invalid escape character")?),
    };
    Ok(Taken::Setting)
}

pub(super) fn msg(_: &mut Settings, text: &str) -> Outcome {
    let mut words = Words::parse(text, None)?;
    words.take_switch("timestamp")?;
    words.take_switch("guest-name")?;
    words.finish()?;
    Ok(Taken::Setting)
}
