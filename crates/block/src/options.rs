//! The words of `-drive`.

use crate::open::Format;
use crate::{Access, BlockError};

/// What a drive is connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interface {
    /// What the board has: IDE on a PC.
    #[default]
    Default,
    /// Nothing yet: a `-device` will name the drive.
    None,
    /// An IDE channel.
    Ide,
    /// A floppy drive.
    Floppy,
    /// Parallel flash memory.
    Pflash,
    /// A virtio disk.
    Virtio,
    /// A SCSI bus.
    Scsi,
    /// An SD card slot.
    Sd,
    /// MTD flash memory.
    Mtd,
}

impl Interface {
    const NAMES: [(&str, Interface); 8] = [
        ("none", Interface::None),
        ("ide", Interface::Ide),
        ("floppy", Interface::Floppy),
        ("pflash", Interface::Pflash),
        ("virtio", Interface::Virtio),
        ("scsi", Interface::Scsi),
        ("sd", Interface::Sd),
        ("mtd", Interface::Mtd),
    ];
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, interface)| *interface == self).map_or("default", |(name, _)| name)
    }
    /// Drives on one bus, where there are several buses.
    pub fn units(self) -> Option<u32> {
        match self {
            Interface::Ide => Some(2),
            Interface::Scsi => Some(7),
            _ => None,
        }
    }
}

/// What kind of drive it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Media {
    /// A disk.
    #[default]
    Disk,
    /// A CD-ROM drive.
    Cdrom,
}

/// How writes are cached. The host's page cache is in between in all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheMode {
    /// Written data is safe after a flush.
    #[default]
    Writeback,
    /// The same; QEMU goes around the host's page cache.
    None,
    /// Written data is safe when the write was answered.
    Writethrough,
    /// The same; QEMU goes around the host's page cache.
    Directsync,
    /// Flushes are ignored.
    Unsafe,
}

impl CacheMode {
    const NAMES: [(&str, CacheMode); 6] = [
        ("writeback", CacheMode::Writeback),
        ("none", CacheMode::None),
        ("off", CacheMode::None),
        ("writethrough", CacheMode::Writethrough),
        ("directsync", CacheMode::Directsync),
        ("unsafe", CacheMode::Unsafe),
    ];
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("writeback", |(name, _)| name)
    }
    pub(crate) fn writes_through(self) -> bool {
        matches!(self, CacheMode::Writethrough | CacheMode::Directsync)
    }
    pub(crate) fn ignores_flushes(self) -> bool {
        self == CacheMode::Unsafe
    }
}

/// What becomes of space that the guest does not need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Discard {
    /// It stays as it is.
    #[default]
    Ignore,
    /// It is given back to the host.
    Unmap,
}

/// A drive as the command line describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DriveOptions {
    /// Name of the file; a drive without one has no medium.
    pub file: Option<String>,
    /// Format; probed if it is not given.
    pub format: Option<Format>,
    /// What the drive is connected to.
    pub interface: Interface,
    /// What kind of drive it is.
    pub media: Media,
    /// Its number among the drives of its interface.
    pub index: Option<u32>,
    /// Number of its bus.
    pub bus: Option<u32>,
    /// Its number on the bus.
    pub unit: Option<u32>,
    /// The name that the user has given it.
    pub id: Option<String>,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Whether writes go to a temporary file; whether `-snapshot` decides if nothing is said.
    pub snapshot: Option<bool>,
    /// How writes are cached.
    pub cache: CacheMode,
    /// What becomes of space that is not needed.
    pub discard: Discard,
    /// Whether the file is opened whatever others do to it.
    pub unlocked: bool,
    /// Size of a null image, bytes.
    pub size: Option<u64>,
}

/// Words that are taken and change nothing here: hints about how the host does its work.
const HINTS: [(&str, &[&str]); 6] = [
    ("aio", &["threads", "native", "io_uring"]),
    ("detect-zeroes", &["off"]),
    ("werror", &["report", "enospc"]),
    ("rerror", &["report"]),
    ("copy-on-read", &["off"]),
    ("auto-read-only", &["on", "off"]),
];

impl DriveOptions {
    /// The drive that the words `key=value` of `-drive` describe.
    ///
    /// # Errors
    /// A key is not known or not supported, or a value is none of the key's.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BlockError> {
        let mut options = DriveOptions::default();
        for (key, value) in pairs {
            options.set(key, value)?;
        }
        if options.index.is_some() && (options.bus.is_some() || options.unit.is_some()) {
            return Err(BlockError::Option("index cannot be used with bus and unit".to_owned()));
        }
        if options.media == Media::Cdrom {
            options.read_only = true;
        }
        Ok(options)
    }
    /// The drive that the words of `-blockdev` describe, of which nothing but its name connects it to a device. Its
    /// `file` may be the name of one of the `known` nodes.
    ///
    /// # Errors
    /// As for [`DriveOptions::from_pairs`]; or it has no driver or no name.
    pub fn from_blockdev<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        known: &[DriveOptions],
    ) -> Result<Self, BlockError> {
        let mut options = DriveOptions { interface: Interface::None, ..DriveOptions::default() };
        for (key, value) in pairs {
            match (key, known.iter().find(|node| node.id.as_deref() == Some(value))) {
                ("file", Some(node)) => {
                    options.file.clone_from(&node.file);
                    options.unlocked |= node.unlocked;
                    options.read_only |= node.read_only;
                    options.size = options.size.or(node.size);
                }
                ("file", None) => return Err(BlockError::Option(format!("Cannot find node-name '{value}'"))),
                ("if" | "media" | "index" | "bus" | "unit" | "snapshot" | "id" | "format", _) => {
                    return Err(BlockError::Option(format!("Invalid parameter '{key}'")));
                }
                _ => options.set(key, value)?,
            }
        }
        match (options.format, &options.id) {
            (None, _) => Err(BlockError::Option("Parameter 'driver' is missing".to_owned())),
            (_, None) => Err(BlockError::Option("'node-name' must be specified for the root node".to_owned())),
            _ => Ok(options),
        }
    }
    fn set(&mut self, key: &str, value: &str) -> Result<(), BlockError> {
        match key {
            "file" | "file.filename" | "filename" => self.file = (!value.is_empty()).then(|| value.to_owned()),
            "format" | "driver" => self.format = Some(Format::from_name(value)?),
            "file.driver" if value == "file" || value == "host_device" => {}
            "file.driver" if value == "null-co" => self.format = Some(Format::Null),
            "file.locking" | "locking" => self.unlocked = one_of(key, value, &LOCKING)?,
            "force-share" => self.unlocked = switch(key, value)?,
            "if" => self.interface = one_of(key, value, &Interface::NAMES)?,
            "media" => self.media = one_of(key, value, &[("disk", Media::Disk), ("cdrom", Media::Cdrom)])?,
            "index" => self.index = Some(number(key, value)?),
            "bus" => self.bus = Some(number(key, value)?),
            "unit" => self.unit = Some(number(key, value)?),
            "id" | "node-name" => self.id = Some(value.to_owned()),
            "readonly" | "read-only" => self.read_only = switch(key, value)?,
            "snapshot" => self.snapshot = Some(switch(key, value)?),
            "cache" => self.cache = one_of(key, value, &CacheMode::NAMES)?,
            "cache.direct" => self.set_direct(switch(key, value)?),
            "cache.no-flush" if switch(key, value)? => self.cache = CacheMode::Unsafe,
            "cache.no-flush" => {}
            "cache.writeback" if !switch(key, value)? => self.cache = CacheMode::Writethrough,
            "cache.writeback" => {}
            "discard" => self.discard = one_of(key, value, &DISCARD)?,
            "size" => self.size = Some(size(key, value)?),
            _ => return hint(key, value),
        }
        Ok(())
    }
    fn set_direct(&mut self, direct: bool) {
        self.cache = match (self.cache, direct) {
            (CacheMode::Writeback, true) => CacheMode::None,
            (CacheMode::Writethrough, true) => CacheMode::Directsync,
            (other, _) => other,
        };
    }
    /// How the file is opened.
    pub fn access(&self) -> Access {
        match (self.unlocked, self.read_only) {
            (true, _) => Access::Unlocked,
            (false, true) => Access::Read,
            (false, false) => Access::Write,
        }
    }
    /// Gives drives of a PC, or another machine whose drives are IDE drives, their interfaces, places and names. Later
    /// drives without a place take the first that is free.
    ///
    /// # Errors
    /// Two drives have one place or one name.
    pub fn place(drives: &mut [DriveOptions]) -> Result<(), BlockError> {
        for drive in drives.iter_mut() {
            if drive.interface == Interface::Default {
                drive.interface = Interface::Ide;
            }
            let units = drive.interface.units();
            if let Some(index) = drive.index.take() {
                let (bus, unit) = units.map_or((0, index), |units| (index / units, index % units));
                (drive.bus, drive.unit) = (Some(bus), Some(unit));
            } else if drive.unit.is_some() {
                drive.bus = Some(drive.bus.unwrap_or(0));
            }
        }
        for i in 0..drives.len() {
            if drives[i].unit.is_none() {
                let (interface, bus) = (drives[i].interface, drives[i].bus);
                let place = (0..).map(|n| interface.units().map_or((0, n), |units| (n / units, n % units)));
                let free =
                    |(b, u): &(u32, u32)| bus.is_none_or(|bus| bus == *b) && !is_taken(drives, interface, *b, *u);
                let Some((bus, unit)) = place.take(1 << 16).find(free) else {
                    return Err(BlockError::Option(format!("no place is left for drive {i}")));
                };
                (drives[i].bus, drives[i].unit) = (Some(bus), Some(unit));
            }
            let (bus, unit) = (drives[i].bus.unwrap_or(0), drives[i].unit.unwrap_or(0));
            if is_taken(&drives[..i], drives[i].interface, bus, unit) {
                let index = drives[i].interface.units().map_or(unit, |units| bus.saturating_mul(units) + unit);
                let text = format!("drive with bus={bus}, unit={unit} (index={index}) exists");
                return Err(BlockError::Option(text));
            }
            let name = drives[i].name();
            if drives[..i].iter().any(|other| other.name() == name) {
                return Err(BlockError::Option(format!("Duplicate ID '{name}' for drive")));
            }
        }
        Ok(())
    }
    /// Its name: the user's, or one made from its place, such as `ide0-hd0`.
    pub fn name(&self) -> String {
        if let Some(id) = &self.id {
            return id.clone();
        }
        let (interface, bus, unit) = (self.interface.name(), self.bus.unwrap_or(0), self.unit.unwrap_or(0));
        let kind = if self.media == Media::Cdrom { "cd" } else { "hd" };
        match self.interface.units() {
            Some(_) => format!("{interface}{bus}-{kind}{unit}"),
            None if self.media == Media::Cdrom => format!("{interface}{bus}-cd{unit}"),
            None => format!("{interface}{unit}"),
        }
    }
}

const DISCARD: [(&str, Discard); 4] =
    [("ignore", Discard::Ignore), ("off", Discard::Ignore), ("unmap", Discard::Unmap), ("on", Discard::Unmap)];
/// Whether the file is opened without locks.
const LOCKING: [(&str, bool); 3] = [("on", false), ("auto", false), ("off", true)];

fn is_taken(drives: &[DriveOptions], interface: Interface, bus: u32, unit: u32) -> bool {
    drives.iter().any(|d| d.interface == interface && (d.bus, d.unit) == (Some(bus), Some(unit)))
}

fn one_of<T: Copy>(key: &str, value: &str, values: &[(&str, T)]) -> Result<T, BlockError> {
    let found = values.iter().find(|(name, _)| *name == value).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
        BlockError::Option(format!("{key}={value}: expected one of {}", names.join(", ")))
    })
}

fn switch(key: &str, value: &str) -> Result<bool, BlockError> {
    match value {
        "on" | "yes" | "true" | "y" | "" => Ok(true),
        "off" | "no" | "false" | "n" => Ok(false),
        _ => Err(BlockError::Option(format!("Parameter '{key}' expects 'on' or 'off'"))),
    }
}

fn number(key: &str, value: &str) -> Result<u32, BlockError> {
    // More buses than this would only make numbers overflow.
    let parsed = value.parse().ok().filter(|n| *n < 1 << 16);
    parsed.ok_or_else(|| BlockError::Option(format!("Parameter '{key}' expects a number")))
}

/// A number of bytes with a suffix as QEMU knows them.
fn size(key: &str, value: &str) -> Result<u64, BlockError> {
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let shift = match value[split..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        suffix => ["k", "m", "g", "t", "p"].iter().position(|s| *s == suffix).map(|at| 10 * (at as u32 + 1)),
    };
    let bytes = value[..split].parse::<u64>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| BlockError::Option(format!("Parameter '{key}' expects a size")))
}

fn hint(key: &str, value: &str) -> Result<(), BlockError> {
    match HINTS.iter().find(|(name, _)| *name == key) {
        Some((_, values)) if values.contains(&value) => Ok(()),
        _ => Err(BlockError::unsupported(format!("drive option {key}={value}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(text: &str) -> Result<DriveOptions, BlockError> {
        DriveOptions::from_pairs(text.split(',').map(|word| word.split_once('=').unwrap_or((word, ""))))
    }

    #[test]
    fn drives_get_qemus_names() {
        let texts =
            ["file=a", "file=b,index=3", "if=none,file=c,id=x", "media=cdrom", "if=none,file=d", "if=virtio,file=e"];
        let mut drives: Vec<_> = texts.iter().map(|text| drive(text).unwrap()).collect();
        DriveOptions::place(&mut drives).unwrap();
        let names: Vec<_> = drives.iter().map(DriveOptions::name).collect();
        assert_eq!(names, ["ide0-hd0", "ide1-hd1", "x", "ide0-cd1", "none1", "virtio0"]);
        assert!(drives[3].read_only);
    }

    #[test]
    fn nodes_are_drives_for_devices() {
        let node = |text: &str, known: &[DriveOptions]| {
            DriveOptions::from_blockdev(text.split(',').filter_map(|word| word.split_once('=')), known)
        };
        let file = node("driver=file,filename=a.img,node-name=f0,locking=off", &[]).unwrap();
        let disk = node("driver=qcow2,file=f0,node-name=hd0", std::slice::from_ref(&file)).unwrap();
        assert_eq!((disk.file.as_deref(), disk.format, disk.unlocked), (Some("a.img"), Some(Format::Qcow2), true));
        assert_eq!((disk.interface, disk.name()), (Interface::None, "hd0".to_owned()));
        let nested = node("driver=raw,file.driver=file,file.filename=b.img,node-name=hd1", &[]).unwrap();
        assert_eq!((nested.file.as_deref(), nested.format), (Some("b.img"), Some(Format::Raw)));
        for bad in
            ["driver=qcow2,file=f9,node-name=x", "driver=raw,file.filename=b", "node-name=x", "driver=raw,if=ide"]
        {
            assert!(node(bad, std::slice::from_ref(&file)).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_drives_do_not_share_a_place() {
        let mut drives = ["file=a,index=2", "file=b,bus=1,unit=0"].map(|text| drive(text).unwrap());
        let error = DriveOptions::place(&mut drives).unwrap_err().to_string();
        assert_eq!(error, "drive with bus=1, unit=0 (index=2) exists");
    }

    #[test]
    fn values_are_checked() {
        let options = drive("file=a,cache=writethrough,cache.direct=on,discard=unmap,readonly=on,aio=native").unwrap();
        assert_eq!((options.cache, options.discard), (CacheMode::Directsync, Discard::Unmap));
        assert_eq!(options.access(), Access::Read);
        for bad in ["cache=warp", "snapshot=maybe", "index=-1", "throttling.bps-total=3", "format=vmdk", "size=1Q"] {
            assert!(drive(bad).is_err(), "{bad}");
        }
        assert_eq!(drive("size=64M,driver=null-co").unwrap().size, Some(64 << 20));
    }
}
