//! From settings to a machine that runs.

use super::accelerators::{self, Choice};
use super::grammar::Words;
use super::monitors::Monitors;
use super::settings::{ClockBase, FileContent, Settings, Vga};
use super::{host, options, processors};
use crate::end::End;
use crate::log::Log;
use crate::perf_map::PerfMap;
use crate::sink::Sink;
use isamorph_block::DriveOptions;
use isamorph_chardev::{BackEnd, Chardevs, restore_terminal};
use isamorph_machines as machines;
use isamorph_machines::{Cause, Config, DeviceRequest, DriveSetup, Firmware, Kernel, Machine, Search};
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes of a file for the firmware.
const MAX_FIRMWARE_FILE: u64 = 1 << 30;

/// Runs a machine as the arguments say; returns the exit status.
///
/// # Errors
/// Why it cannot be run, or what else was asked for.
pub fn run(program: &str, architecture: &'static str, arguments: &[OsString]) -> Result<i32, End> {
    let settings = Settings::parse(program, architecture, arguments)?;
    let fail = |text: String| End::failed(format!("{program}: {text}"));
    host::hold();
    let chardevs = Chardevs::new().map_err(|e| fail(format!("character devices: {e}")))?;
    let outcome = start(program, &settings, &chardevs).map(|(machine, _monitors)| {
        let status = machine.run();
        chardevs.flush();
        status
    });
    restore_terminal();
    if let Some(file) = settings.pidfile.as_ref().filter(|_| outcome.is_ok()) {
        let _ = std::fs::remove_file(file);
    }
    outcome.map_err(fail)
}

/// Builds the machine and lets it run, unless it is to stand.
fn start(program: &str, settings: &Settings, chardevs: &Arc<Chardevs>) -> Result<(Arc<Machine>, Monitors), String> {
    if let Some(escape) = settings.escape {
        chardevs.set_escape(escape);
    }
    let place = Arc::<OnceLock<Arc<Machine>>>::default();
    let quit = |place: &Arc<OnceLock<Arc<Machine>>>, cause| {
        if let Some(machine) = place.get() {
            machine.quit(cause);
        }
    };
    let on_quit = place.clone();
    chardevs.on_quit(move || quit(&on_quit, Cause::HostUi));
    settings.chardevs.iter().try_for_each(|text| chardevs.add(text).map_err(|e| format!("-chardev {text}: {e}")))?;
    let sink = Arc::new(sink(settings)?);
    let config = config(settings, chardevs)?;
    let choices = choices(settings);
    let accelerate = |world: &machines::World<'_>| accelerators::start(program, &choices, world, &sink);
    let machine = machines::build(&config, &accelerate)?;
    let _ = place.set(machine.clone());
    let monitors = Monitors::start(settings, &serial_texts(settings), chardevs, &machine)?;
    let name = program.to_owned();
    let waiting = host::wait(move |arrived| {
        eprintln!("{name}: {}", arrived.message());
        quit(&place, Cause::HostSignal);
    });
    waiting.map_err(|e| e.to_string())?;
    if let Some(file) = &settings.pidfile {
        let written = std::fs::write(file, format!("{}\n", std::process::id()));
        written.map_err(|e| format!("cannot create PID file {}: {e}", file.display()))?;
    }
    if !settings.stopped {
        machine.start();
    }
    Ok((machine, monitors))
}

fn sink(settings: &Settings) -> Result<Sink, String> {
    let log = match &settings.log_file {
        Some(name) => {
            Log::file(name, false).map_err(|e| format!("Error opening logfile {}: {e}", name.to_string_lossy()))?
        }
        None => Log::STDERR,
    };
    let perf_map = settings.perf_map.then(PerfMap::new).transpose().map_err(|e| format!("-perfmap: {e}"))?;
    Ok(Sink {
        log,
        items: settings.log_items,
        filter: settings.log_filter.clone(),
        symbols: OnceLock::new(),
        perf_map,
        statistics: None,
    })
}

/// The accelerators to be tried, in order.
fn choices(settings: &Settings) -> Vec<Choice> {
    if settings.accelerators.is_empty() { vec![Choice::DEFAULT] } else { settings.accelerators.clone() }
}

fn config(settings: &Settings, chardevs: &Arc<Chardevs>) -> Result<Config, String> {
    let board = settings.board.unwrap_or_else(machines::default_board);
    for (property, value) in &settings.board_properties {
        board.check(property, value)?;
    }
    let ends_on_halt = settings.board_properties.iter().any(|(name, value)| name == "on-halt" && value == "exit");
    let topology = settings.topology.unwrap_or_default();
    let processors = processors::make(settings.architecture, settings.cpu.as_deref(), topology)?;
    let kernel = settings.kernel.as_ref().map(|file| Kernel {
        file: file.clone(),
        initrd: settings.initrd.clone(),
        command_line: settings.append.clone().unwrap_or_default(),
    });
    if kernel.is_none() {
        let given = [("-append", settings.append.is_some()), ("-initrd", settings.initrd.is_some())];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
            return Err(format!("{option} only allowed with -kernel option"));
        }
    }
    let request = |device: &super::settings::DeviceSetting| {
        let globals = settings.globals.iter().filter(|(driver, ..)| *driver == device.driver);
        let mut properties: Vec<_> = globals.map(|(_, key, value)| (key.clone(), value.clone())).collect();
        properties.extend(device.properties.iter().cloned());
        DeviceRequest { driver: device.driver.clone(), properties }
    };
    let file = |file: &super::settings::FirmwareFile| {
        let content = match &file.content {
            FileContent::Text(text) => text.clone().into_bytes(),
            FileContent::File(path) => machines::read_limited(path, MAX_FIRMWARE_FILE)?,
        };
        Ok::<_, String>((file.name.clone(), content))
    };
    let drives = drives(settings)?;
    Ok(Config {
        board,
        name: settings.name.clone().unwrap_or_default(),
        uuid: settings.uuid.unwrap_or_default(),
        processors,
        topology,
        by_turns: choices(settings).first().is_some_and(|choice| choice.single),
        ends_on_halt,
        ram: settings.memory.unwrap_or(board.default_ram),
        ram_file: settings.mem_path.clone(),
        search: Search { first: settings.directories.clone() },
        firmware: match &settings.bios {
            None => Firmware::Usual,
            Some(name) if name.as_os_str() == "none" => Firmware::None,
            Some(name) => Firmware::File(name.clone()),
        },
        option_roms: settings.option_roms.clone(),
        firmware_files: settings.firmware_files.iter().map(file).collect::<Result<_, _>>()?,
        boot: settings.boot.clone(),
        floppy_check: !settings.no_floppy_check,
        kernel,
        seconds: seconds(settings.clock),
        graphics: !settings.nographic,
        drives,
        vga: settings.vga == Vga::Std || settings.vga == Vga::Default && !settings.nodefaults,
        serials: serials(settings, chardevs)?,
        chardevs: chardevs.clone(),
        devices: settings.devices.iter().map(request).collect(),
        actions: settings.actions,
    })
}

/// Where the serial lines lead to: as the options say, else the terminal with `-nographic`, else nowhere.
fn serial_texts(settings: &Settings) -> Vec<String> {
    let usual = match (settings.nographic, settings.nodefaults) {
        (_, true) => "none",
        (true, _) => "mon:stdio",
        (false, _) => "null",
    };
    if settings.serials.is_empty() { vec![usual.to_owned()] } else { settings.serials.clone() }
}

fn serials(settings: &Settings, chardevs: &Chardevs) -> Result<Vec<Option<Arc<dyn BackEnd>>>, String> {
    let open = |(index, text): (usize, &String)| {
        chardevs.serial(text, &format!("serial{index}")).map_err(|e| format!("-serial {text}: {e}"))
    };
    serial_texts(settings).iter().enumerate().map(open).collect()
}

/// The drives, with what there is to say about them.
fn drives(settings: &Settings) -> Result<Vec<DriveSetup>, String> {
    let options = |text: &String| {
        let words = Words::parse(text, None)?.rest();
        let pairs = words.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        DriveOptions::from_pairs(pairs).map_err(|e| format!("-drive {text}: {e}"))
    };
    let all = settings.drives.iter().map(options).collect::<Result<_, _>>()?;
    let usual = !settings.nodefaults && settings.board.is_none_or(|board| board.is_default);
    let (drives, warnings) = machines::open_drives(all, settings.snapshot, usual)?;
    warnings.iter().for_each(|warning| eprintln!("WARNING: {warning}"));
    Ok(drives)
}

fn seconds(base: ClockBase) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    match base {
        ClockBase::Fixed(seconds) => seconds,
        ClockBase::Utc => now,
        ClockBase::Local => now + host::zone_offset(now),
    }
}

/// The help text.
pub fn help(program: &str) -> String {
    format!(
        "usage: {program} [options] [disk_image]\n\n'disk_image' is a raw hard disk image for IDE hard disk 0\n\n{}",
        options::help()
    )
}
