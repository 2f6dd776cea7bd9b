//! The drives of a machine: images of the host with their places.

use isamorph_block::{Drive, DriveOptions, Media, open_drive};
use std::sync::Arc;

/// A drive, and what the command line says of it.
#[derive(Clone)]
pub struct DriveSetup {
    /// What was asked for; its place is filled in.
    pub options: DriveOptions,
    /// The drive.
    pub drive: Arc<Drive>,
}

impl std::fmt::Debug for DriveSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DriveSetup").field(&self.options).finish()
    }
}

/// Place of the CD drive that a PC has if nothing else is there.
const USUAL_CD: u32 = 2;

/// Places drives and opens their images. `snapshot` has writes go to temporary files; `usual` adds the drives that a PC
/// has if nothing is said. Also gives what the user should be told.
///
/// # Errors
/// What is wrong with them, or what the host refuses.
pub fn open_drives(
    mut all: Vec<DriveOptions>,
    snapshot: bool,
    usual: bool,
) -> Result<(Vec<DriveSetup>, Vec<String>), String> {
    if usual {
        let cd = DriveOptions { media: Media::Cdrom, index: Some(USUAL_CD), read_only: true, ..Default::default() };
        let mut with_cd = [all.clone(), vec![cd]].concat();
        // It is left out where its place is taken.
        if DriveOptions::place(&mut with_cd).is_ok() {
            all = with_cd;
        }
    }
    DriveOptions::place(&mut all).map_err(|e| e.to_string())?;
    let (mut drives, mut warnings) = (Vec::new(), Vec::new());
    for options in all {
        let opened = open_drive(&options, snapshot).map_err(|e| {
            let file = options.file.as_deref().unwrap_or_default();
            format!("-drive file={file}: {e}")
        })?;
        let image = opened.map(|opened| {
            warnings.extend(opened.warnings);
            opened.image
        });
        let drive = Drive::new(&options.name(), image, options.cache, options.discard);
        drives.push(DriveSetup { options, drive });
    }
    Ok((drives, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(drives: &[&[(&str, &str)]]) -> Vec<String> {
        let all = drives.iter().map(|words| DriveOptions::from_pairs(words.iter().copied()).unwrap()).collect();
        open_drives(all, false, true).unwrap().0.iter().map(|setup| setup.drive.name().to_owned()).collect()
    }

    #[test]
    fn a_pc_has_a_cd_drive_where_nothing_else_is() {
        assert_eq!(names(&[]), ["ide1-cd0"]);
        assert_eq!(names(&[&[("index", "0"), ("format", "null-co")]]), ["ide0-hd0", "ide1-cd0"]);
        assert_eq!(names(&[&[("index", "2"), ("format", "null-co")]]), ["ide1-hd0"]);
        assert_eq!(names(&[&[("media", "cdrom"), ("index", "2")]]), ["ide1-cd0"]);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let options = DriveOptions::from_pairs([("file", "/nonexistent/disk.img")]).unwrap();
        let error = open_drives(vec![options], false, false).unwrap_err();
        assert!(error.starts_with("-drive file=/nonexistent/disk.img: "), "{error}");
    }
}
