//! Where firmware is found.

use std::fs;
use std::path::{Path, PathBuf};

/// Where distributions put firmware for machines like these.
const USUAL: &[&str] = &[
    "/usr/share/seabios",
    "/usr/share/qemu",
    "/usr/share/vgabios",
    "/usr/share/qemu-firmware",
    "/usr/local/share/qemu",
    "/usr/lib/ipxe/qemu",
];

/// The directories in which firmware is looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Those that come before the usual ones (`-L`).
    pub first: Vec<PathBuf>,
}

impl Search {
    /// The directories in their order.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.first.iter().map(PathBuf::as_path).chain(USUAL.iter().map(Path::new))
    }
    /// The file of that name: as it is if there is one, else from the first directory that has it.
    pub fn find(&self, name: &Path) -> Option<PathBuf> {
        let as_it_is = name.is_file().then(|| name.to_owned());
        as_it_is.or_else(|| self.directories().map(|dir| dir.join(name)).find(|path| path.is_file()))
    }
    /// The content of the file of that name.
    ///
    /// # Errors
    /// There is none, or it cannot be read, or it is larger than `most` bytes.
    pub fn read(&self, name: &Path, most: u64) -> Result<Vec<u8>, String> {
        let shown = name.display();
        let path = self.find(name).ok_or_else(|| format!("could not find '{shown}'"))?;
        read_limited(&path, most)
    }
}

/// The content of a file.
///
/// # Errors
/// It cannot be read, or it is larger than `most` bytes.
pub fn read_limited(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let refused = |e: std::io::Error| format!("could not read '{shown}': {e}");
    if fs::metadata(path).map_err(refused)?.len() > most {
        return Err(format!("'{shown}' is larger than {most} bytes"));
    }
    fs::read(path).map_err(refused)
}
