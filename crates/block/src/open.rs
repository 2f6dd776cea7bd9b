//! From names and options to images.

use crate::options::DriveOptions;
use crate::{Access, BlockError, HostFile, Image, Lock, NullImage, RawImage, Storage, qcow2};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes at the start of a file that say what it is.
pub(crate) const PROBE_SIZE: usize = 512;
/// Images below each other at most.
const MAX_DEPTH: u32 = 64;

/// A format of images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU's own, versions 2 and 3.
    Qcow2,
    /// Nothing: zeros.
    Null,
    /// One that is known by its first bytes, and not implemented.
    Other(&'static str),
}

/// First bytes of formats: offset, bytes, name.
const MAGICS: [(usize, &[u8], &str); 10] = [
    (0, b"QFI\xfb\0\0\0\x01", "qcow"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0, b"QED\0", "qed"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
];
/// Other formats that QEMU has names for.
const NAMED: [&str; 6] = ["bochs", "cloop", "dmg", "nbd", "vvfat", "quorum"];

impl Format {
    /// The format of that name.
    ///
    /// # Errors
    /// There is none, or it is not implemented.
    pub fn from_name(name: &str) -> Result<Self, BlockError> {
        match name {
            // A protocol without a format above it is the file's bytes.
            "raw" | "file" | "host_device" => Ok(Format::Raw),
            "qcow2" => Ok(Format::Qcow2),
            "null-co" | "null-aio" => Ok(Format::Null),
            _ if NAMED.contains(&name) || MAGICS.iter().any(|(.., known)| *known == name) => {
                Err(BlockError::unsupported(format!("image format '{name}'")))
            }
            _ => Err(BlockError::Option(format!("Unknown driver '{name}'"))),
        }
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Null => "null-co",
            Format::Other(name) => name,
        }
    }
}

/// The format of a file that begins with those bytes.
pub fn probe(first: &[u8; PROBE_SIZE]) -> Format {
    if first.starts_with(b"QFI\xfb") && first[4..8] != [0, 0, 0, 1] {
        return Format::Qcow2;
    }
    let found = MAGICS.iter().find(|(at, magic, _)| first[*at..].starts_with(magic));
    found.map_or(Format::Raw, |(.., name)| Format::Other(name))
}

/// An image, and what the user should hear about it.
pub struct Opened {
    /// The image.
    pub image: Arc<dyn Image>,
    /// Warnings, in QEMU's words.
    pub warnings: Vec<String>,
}

/// How a file is opened.
#[derive(Clone, Copy)]
struct How<'a> {
    format: Option<Format>,
    access: Access,
    write: bool,
    depth: u32,
    /// The files above this one, by device and inode: none of them may come again.
    above: &'a [(u64, u64)],
}

/// Opens an image with all that it is based on.
///
/// # Errors
/// A file of the chain cannot be opened, is in use by someone else, or is not understood.
pub fn open(name: &str, format: Option<Format>, access: Access, read_only: bool) -> Result<Opened, BlockError> {
    let mut warnings = Vec::new();
    let how = How { format, access, write: !read_only, depth: 0, above: &[] };
    Ok(Opened { image: open_one(name, how, &mut warnings)?, warnings })
}

/// Opens what a drive's options describe; a drive without a file has no image. `snapshot` is `-snapshot`, for drives
/// that do not say themselves.
///
/// # Errors
/// As for [`open`].
pub fn open_drive(options: &DriveOptions, snapshot: bool) -> Result<Option<Opened>, BlockError> {
    if options.format == Some(Format::Null) {
        let image = Arc::new(NullImage::new(options.size.unwrap_or(1 << 30)));
        return Ok(Some(Opened { image, warnings: Vec::new() }));
    }
    let Some(file) = &options.file else { return Ok(None) };
    let temporary = options.snapshot.unwrap_or(snapshot) && !options.read_only;
    let access = if temporary && !options.unlocked { Access::Read } else { options.access() };
    let mut opened = open(file, options.format, access, options.read_only || temporary)?;
    if temporary {
        opened.image = temporary_overlay(opened.image)?;
    }
    Ok(Some(opened))
}

fn open_one(name: &str, how: How<'_>, warnings: &mut Vec<String>) -> Result<Arc<dyn Image>, BlockError> {
    if name == "null-co://" || name == "null-aio://" {
        return Ok(Arc::new(NullImage::new(1 << 30)));
    }
    let path = local_path(name)?;
    let file = HostFile::open(path, how.write)?;
    let metadata = file.file().metadata()?;
    let id = (metadata.dev(), metadata.ino());
    if how.above.contains(&id) {
        return Err(BlockError::malformed(format!("'{name}' is its own backing file")));
    }
    Lock::take(&file, how.access)?;
    let mut first = [0; PROBE_SIZE];
    file.read_at(0, &mut first)?;
    let format = how.format.unwrap_or_else(|| probe(&first));
    match format {
        Format::Raw => {
            let guessed = how.format.is_none();
            if guessed && how.write {
                warnings.push(guessed_raw(name));
            }
            Ok(Arc::new(RawImage::new(file, !how.write, guessed)?))
        }
        Format::Qcow2 => {
            let header = qcow2::Header::read(&file)?;
            let backing = match header.backing_file()? {
                None => None,
                Some(below) if how.depth < MAX_DEPTH => {
                    let below_path = beside(path, below);
                    let format = header.backing_format().map(Format::from_name).transpose()?;
                    let access = if how.access == Access::Unlocked { Access::Unlocked } else { Access::Read };
                    let above = [how.above, &[id]].concat();
                    let how = How { format, access, write: false, depth: how.depth + 1, above: &above };
                    Some(open_one(&below_path.to_string_lossy(), how, warnings)?)
                }
                Some(_) => return Err(BlockError::malformed("too many backing files below each other")),
            };
            Ok(Arc::new(qcow2::Qcow2Image::open(file, backing, !how.write)?))
        }
        Format::Null => Ok(Arc::new(NullImage::new(1 << 30))),
        Format::Other(name) => Err(BlockError::unsupported(format!("image format '{name}'"))),
    }
}

/// The path of a file on this host.
fn local_path(name: &str) -> Result<&str, BlockError> {
    if let Some(path) = name.strip_prefix("file:") {
        return Ok(path);
    }
    match name.split_once(':') {
        Some((protocol, _)) if !protocol.is_empty() && !protocol.contains('/') => {
            Err(BlockError::unsupported(format!("protocol '{protocol}' of image '{name}'")))
        }
        _ => Ok(name),
    }
}

/// A backing file's name is relative to the image that names it.
fn beside(image: &str, below: &str) -> PathBuf {
    if below.contains(':') {
        return PathBuf::from(below);
    }
    Path::new(image).parent().map_or_else(|| PathBuf::from(below), |dir| dir.join(below))
}

/// QEMU's words for it.
fn guessed_raw(name: &str) -> String {
    format!(
        "Image format was not specified for '{name}' and probing guessed raw.\n         Automatically detecting the \
         format is dangerous for raw images, write operations on block 0 will be restricted.\n         Specify the \
         'raw' format explicitly to remove the restrictions."
    )
}

/// An image that reads as `base` and keeps what is written in a file without a name.
///
/// # Errors
/// The host has no place for temporary files.
pub fn temporary_overlay(base: Arc<dyn Image>) -> Result<Arc<dyn Image>, BlockError> {
    let candidates = [std::env::var_os("TMPDIR").map(PathBuf::from), Some("/var/tmp".into()), Some("/tmp".into())];
    let mut failure = None;
    for directory in candidates.into_iter().flatten() {
        match unnamed_file(&directory) {
            Ok(file) => {
                let storage = HostFile::from_file(file, "temporary file")?;
                let parameters = qcow2::Parameters { size: base.size(), ..qcow2::Parameters::default() };
                qcow2::create(&storage, &parameters)?;
                return Ok(Arc::new(qcow2::Qcow2Image::open(storage, Some(base), false)?));
            }
            Err(error) => failure = Some((directory, error)),
        }
    }
    let (directory, error) = failure.unwrap_or_else(|| ("/tmp".into(), io::Error::from(io::ErrorKind::NotFound)));
    Err(BlockError::Open { name: directory.to_string_lossy().into_owned(), error })
}

fn unnamed_file(directory: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
    options.open(directory)
}
