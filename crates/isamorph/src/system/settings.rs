//! What a command line of system mode says.

use super::accelerators::Choice;
use super::options;
use crate::end::End;
use crate::log_items::LogItems;
use isamorph_machines::{Actions, BoardRow, BootOrder, Topology};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What an option was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A setting.
    Setting,
    /// A request for help.
    Help,
    /// A request for the version.
    Version,
    /// A request for this text.
    Text(String),
}

/// A device of `-device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSetting {
    /// The driver.
    pub driver: String,
    /// Its properties.
    pub properties: Vec<(String, String)>,
}

/// A file of `-fw_cfg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: FileContent,
}

/// See [`FirmwareFile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// The content of a file.
    File(PathBuf),
    /// This text.
    Text(String),
}

/// Where the guest's clock starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockBase {
    /// At the host's time, UTC.
    #[default]
    Utc,
    /// At the host's time in its zone.
    Local,
    /// At that many seconds since 1970.
    Fixed(i64),
}

/// The display adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vga {
    /// Whatever the machine has if nothing is said.
    #[default]
    Default,
    /// Standard VGA.
    Std,
    /// None.
    None,
}

/// What the options say, in the order of their table.
#[derive(Debug, Default)]
pub struct Settings {
    /// The architecture, as in `system-NAME`.
    pub architecture: &'static str,
    /// The board.
    pub board: Option<&'static BoardRow>,
    /// Its properties.
    pub board_properties: Vec<(String, String)>,
    /// The processor model with its features.
    pub cpu: Option<String>,
    /// Accelerators, to be tried in order.
    pub accelerators: Vec<Choice>,
    /// Processors.
    pub topology: Option<Topology>,
    /// Properties of kinds of devices: driver, property, value.
    pub globals: Vec<(String, String, String)>,
    /// What is booted from.
    pub boot: BootOrder,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// File behind the memory.
    pub mem_path: Option<PathBuf>,
    /// Devices in the order of the options.
    pub devices: Vec<DeviceSetting>,
    /// Name of the machine.
    pub name: Option<String>,
    /// Its UUID.
    pub uuid: Option<[u8; 16]>,
    /// Drives: the texts of `-drive`, those of other options included.
    pub drives: Vec<String>,
    /// Writes go to temporary files.
    pub snapshot: bool,
    /// No display; serial line and monitor share the terminal.
    pub nographic: bool,
    /// Display adapter.
    pub vga: Vga,
    /// Floppies boot without a signature.
    pub no_floppy_check: bool,
    /// Texts of `-chardev`.
    pub chardevs: Vec<String>,
    /// Firmware.
    pub bios: Option<PathBuf>,
    /// Kernel.
    pub kernel: Option<PathBuf>,
    /// Its command line.
    pub append: Option<String>,
    /// Its RAM disk.
    pub initrd: Option<PathBuf>,
    /// Files for the firmware.
    pub firmware_files: Vec<FirmwareFile>,
    /// Texts of `-serial`.
    pub serials: Vec<String>,
    /// Texts of `-monitor`.
    pub monitors: Vec<String>,
    /// Texts of `-qmp`, and whether it is `-qmp-pretty`.
    pub qmps: Vec<(String, bool)>,
    /// Texts of `-mon`.
    pub mons: Vec<String>,
    /// Text of `-debugcon`.
    pub debugcon: Option<String>,
    /// File for the process id.
    pub pidfile: Option<PathBuf>,
    /// The processors are not started.
    pub stopped: bool,
    /// Text of `-gdb`.
    pub gdb: Option<String>,
    /// What is logged.
    pub log_items: LogItems,
    /// Where the log goes.
    pub log_file: Option<OsString>,
    /// Addresses of the code that is logged.
    pub log_filter: Vec<RangeInclusive<u64>>,
    /// Directories that firmware is looked for in.
    pub directories: Vec<PathBuf>,
    /// What the guest's doings lead to.
    pub actions: Actions,
    /// Expansion ROMs.
    pub option_roms: Vec<PathBuf>,
    /// Start of the guest's clock.
    pub clock: ClockBase,
    /// The terminal's escape character.
    pub escape: Option<u8>,
    /// No default devices.
    pub nodefaults: bool,
    /// `/tmp/perf-PID.map` is written.
    pub perf_map: bool,
}

impl Settings {
    /// Understands arguments. An argument without a dash is the image of the first disk.
    ///
    /// # Errors
    /// What is wrong, or what else was asked for.
    pub fn parse(program: &str, architecture: &'static str, arguments: &[OsString]) -> Result<Self, End> {
        let mut settings = Settings { architecture, ..Settings::default() };
        let fail = |text: String| End::failed(format!("{program}: {text}"));
        let mut texts = arguments.iter().map(|argument| argument.to_string_lossy());
        while let Some(argument) = texts.next() {
            let name = match argument.strip_prefix('-') {
                Some(name) if !name.is_empty() => name.strip_prefix('-').unwrap_or(name),
                _ => {
                    settings.add_disk(0, &argument).map_err(fail)?;
                    continue;
                }
            };
            let row = options::find(name).ok_or_else(|| fail(format!("-{name}: invalid option")))?;
            let value = match row.value {
                None => Default::default(),
                Some(_) => texts.next().ok_or_else(|| fail(format!("-{name}: requires an argument")))?,
            };
            let action = row.action.ok_or_else(|| fail(format!("-{name}: not supported")))?;
            match action(&mut settings, &value).map_err(|text| fail(format!("-{name} {value}: {text}")))? {
                Taken::Setting => {}
                Taken::Help => return Err(End::Help),
                Taken::Version => return Err(End::Version),
                Taken::Text(text) => return Err(End::Text(text)),
            }
        }
        Ok(settings)
    }
    /// Adds a disk of the board by its number.
    pub(super) fn add_disk(&mut self, index: u32, file: &str) -> Result<Taken, String> {
        self.drives.push(format!("index={index},media=disk,file={}", file.replace(',', ",,")));
        Ok(Taken::Setting)
    }
    /// Adds the board's CD drive.
    pub(super) fn add_cd(&mut self, file: &str) -> Result<Taken, String> {
        self.drives.push(format!("index=2,media=cdrom,file={}", file.replace(',', ",,")));
        Ok(Taken::Setting)
    }
    pub(super) fn add_drive(&mut self, text: &str) -> Result<Taken, String> {
        self.drives.push(text.to_owned());
        Ok(Taken::Setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings, End> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Settings::parse("qemu-system-x86_64", "x86_64", &arguments)
    }
    fn message(line: &str) -> String {
        match parse(line) {
            Err(End::Failed { message, status: 1 }) => message,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn real_command_lines() {
        for line in [
            "-nodefaults -m 1024 -kernel k -append x -no-reboot -nographic -serial stdio",
            "--nodefaults -machine pc,accel=kvm:tcg -m 1G -smp 2 -nographic -monitor none -kernel k -initrd i",
            "-name guest=x,debug-threads=on -S -machine pc -accel tcg -cpu qemu64 -m size=219136k \
             -overcommit mem-lock=off -smp 1,sockets=1,cores=1,threads=1 -display none -no-user-config \
             -uuid c7a5fdbd-edaf-9455-926a-d65c16db1809 \
             -nodefaults -chardev socket,id=c,path=/x,server=on,wait=off -mon chardev=c,id=monitor,mode=control \
             -rtc base=utc -no-shutdown -boot strict=on -sandbox off -msg timestamp=on",
            "-accel tcg -m 256 -nographic -no-reboot -nic none -M pc -kernel k -initrd i -append console=ttyS0",
            "disk.img",
        ] {
            if let Err(end) = parse(line) {
                panic!("{line}: {end:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_refused_by_name() {
        assert_eq!(message("-usb"), "qemu-system-x86_64: -usb: not supported");
        assert_eq!(message("-dtb x"), "qemu-system-x86_64: -dtb: not supported");
        assert_eq!(message("--frobnicate"), "qemu-system-x86_64: -frobnicate: invalid option");
        assert_eq!(message("-m"), "qemu-system-x86_64: -m: requires an argument");
        assert!(message("-vga qxl").ends_with("not supported"), "{}", message("-vga qxl"));
        assert!(message("-M q35").contains("unsupported machine type"), "{}", message("-M q35"));
    }

    #[test]
    fn every_option_is_there_once() {
        let mut names: Vec<_> = options::OPTIONS.iter().map(|row| row.name).collect();
        assert!(names.len() > 115, "{}", names.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), options::OPTIONS.len());
        for row in options::OPTIONS {
            assert_eq!(row.action.is_some(), !row.help.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn values_are_understood() {
        let settings =
            parse("-m 2G -smp 4,maxcpus=8,sockets=2 -boot order=dc,menu=on -rtc base=2001-02-03T04:05:06").unwrap();
        assert_eq!(settings.memory, Some(2 << 30));
        let topology = settings.topology.unwrap();
        assert_eq!((topology.count, topology.most(), topology.cores), (4, 8, 4));
        assert_eq!(settings.clock, ClockBase::Fixed(981_173_106));
        assert_eq!((settings.boot.order.as_str(), settings.boot.menu), ("dc", Some(true)));
        assert_eq!(parse("-hda a,b").unwrap().drives, ["index=0,media=disk,file=a,,b"]);
        assert!(message("-smp 3,cores=2,maxcpus=4,sockets=4").contains("product of the hierarchy"));
        assert!(message("-smp 0").contains("Invalid CPU"), "{}", message("-smp 0"));
    }
}
