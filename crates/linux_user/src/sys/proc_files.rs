//! Files of `/proc` about the process itself, as the guest has to see them; and what a path means for the host.

use super::fs::memfd;
use crate::convert::path::{ProcFile, proc_file};
use crate::errno::{EACCES, EINVAL, Errno};
use crate::kernel::call;
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_ram::Region;
use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

impl Cx {
    /// The host's form of a path of the guest: found in the sysroot if it exists there; the program's file instead of
    /// the link to it in `/proc`.
    ///
    /// # Errors
    /// A bad address, or a string that is too long.
    pub fn path(&self, addr: u64) -> Result<CString, Errno> {
        let text = self.cstr(addr)?;
        if proc_file(text.to_bytes(), std::process::id()) == Some(ProcFile::Exe) {
            return Ok(exe(self));
        }
        Ok(self.redirect(&text).into_owned())
    }
    /// As [`Cx::path`], for calls that do not follow a link at the end of the path.
    ///
    /// # Errors
    /// As for [`Cx::path`].
    pub fn path_nofollow(&self, addr: u64) -> Result<CString, Errno> {
        let text = self.cstr(addr)?;
        Ok(self.redirect(&text).into_owned())
    }
    /// Redirects a path to the sysroot.
    pub fn redirect<'a>(&self, path: &'a CStr) -> Cow<'a, CStr> {
        match &self.process.sysroot {
            Some(root) => root.redirect(path),
            None => Cow::Borrowed(path),
        }
    }
}

/// The path of the guest's program.
pub(crate) fn exe(cx: &Cx) -> CString {
    CString::new(cx.process.exe.as_os_str().as_bytes()).unwrap_or_default()
}

/// Which of the files a path means, if its content is not the host's.
pub(crate) fn find(cx: &Cx, path: &CStr) -> Option<ProcFile> {
    let file = proc_file(path.to_bytes(), std::process::id())?;
    let own = match file {
        ProcFile::Exe => false,
        ProcFile::CpuInfo => cx.abi().cpuinfo().is_some(),
        _ => true,
    };
    own.then_some(file)
}

/// Opens one of the files with the guest's view of it. They can only be read.
pub(crate) fn open(cx: &Cx, file: ProcFile, flags: u32) -> SysResult {
    if flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32 {
        return Err(EACCES);
    }
    let content = match file {
        ProcFile::Maps => maps(&cx.space().regions()).into_bytes(),
        ProcFile::Cmdline => guest_bytes(cx, cx.process.image.args),
        ProcFile::Auxv => guest_bytes(cx, cx.process.image.auxv),
        ProcFile::Stat => stat(cx)?.into_bytes(),
        ProcFile::CpuInfo => cx.abi().cpuinfo().ok_or(EINVAL)?.into_bytes(),
        ProcFile::Exe => return Err(EINVAL),
    };
    let cloexec = if flags & libc::O_CLOEXEC as u32 != 0 { u64::from(libc::MFD_CLOEXEC) } else { 0 };
    let fd = memfd(c"proc", cloexec)?;
    if let Err(e) = fill(fd, &content) {
        let _ = call(libc::SYS_close, [fd]);
        return Err(e);
    }
    Ok(fd)
}

fn fill(fd: u64, content: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < content.len() {
        let rest = &content[done..];
        done += call(libc::SYS_write, [fd, rest.as_ptr() as u64, rest.len() as u64])? as usize;
    }
    call(libc::SYS_lseek, [fd, 0, libc::SEEK_SET as u64]).map(drop)
}

/// Guest memory as it is now; what cannot be read is left out, as in the kernel's files.
fn guest_bytes(cx: &Cx, (addr, len): (u64, u64)) -> Vec<u8> {
    cx.read_vec(addr, len).unwrap_or_default()
}

/// Column of the name in a line of `maps` on a 64-bit kernel.
const NAME_COLUMN: usize = 73;

/// `maps` from the guest's regions (proc_pid_maps(5)).
fn maps(regions: &[Region]) -> String {
    let mut out = String::new();
    for r in regions {
        let start = out.len();
        let bit = |prot, letter| if r.prot & prot != 0 { letter } else { '-' };
        let sharing = if r.shared { 's' } else { 'p' };
        let (dev, inode) = r.file.map_or((0, 0), |f| (f.dev, f.inode));
        let _ = write!(
            out,
            "{:08x}-{:08x} {}{}{}{sharing} {:08x} {:02x}:{:02x} {inode} ",
            r.start,
            r.end,
            bit(libc::PROT_READ, 'r'),
            bit(libc::PROT_WRITE, 'w'),
            bit(libc::PROT_EXEC, 'x'),
            r.offset,
            libc::major(dev),
            libc::minor(dev),
        );
        if let Some(name) = &r.name {
            while out.len() - start < NAME_COLUMN {
                out.push(' ');
            }
            out.push_str(name);
        }
        out.push('\n');
    }
    out
}

/// Fields of `stat`, counted from 1 (proc_pid_stat(5)), that are addresses of the host.
const START_CODE: usize = 26;
const END_CODE: usize = 27;
const START_STACK: usize = 28;
const STACK_POINTER: usize = 29;
const PROGRAM_COUNTER: usize = 30;

/// The host's one-line status with the guest's name and addresses.
fn stat(cx: &Cx) -> Result<String, Errno> {
    let host = std::fs::read_to_string("/proc/self/stat").map_err(|e| Errno(e.raw_os_error().unwrap_or(libc::EIO)))?;
    let name = cx.process.exe.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(guest_stat(&host, &name, cx.process.image.start_stack))
}

fn guest_stat(host: &str, name: &str, start_stack: u64) -> String {
    /// Longest name that the kernel keeps (`TASK_COMM_LEN`), without its zero.
    const COMM: usize = 15;
    // The name may contain parentheses and blanks: the last one closes it.
    let (pid, rest) = host.split_once(' ').unwrap_or((host, ""));
    let rest = rest.rsplit_once(')').map_or("", |(_, rest)| rest);
    let name: String = name.chars().take(COMM).collect();
    let mut out = format!("{pid} ({name})");
    for (i, field) in rest.split_whitespace().enumerate() {
        let _ = match i + 3 {
            START_CODE | END_CODE | STACK_POINTER | PROGRAM_COUNTER => write!(out, " 0"),
            START_STACK => write!(out, " {start_stack}"),
            _ => write!(out, " {field}"),
        };
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_look_like_the_kernels() {
        let region = Region {
            start: 0x8048000,
            end: 0x8049000,
            prot: libc::PROT_READ | libc::PROT_EXEC,
            shared: false,
            grows_down: false,
            offset: 0x1000,
            file: Some(isamorph_ram::FileId { dev: libc::makedev(8, 1), inode: 42 }),
            name: Some("/bin/true".into()),
        };
        let anonymous = Region { file: None, name: None, offset: 0, prot: libc::PROT_WRITE, ..region.clone() };
        let text = maps(&[region, anonymous]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], format!("{:<73}/bin/true", "08048000-08049000 r-xp 00001000 08:01 42"));
        assert_eq!(lines[1], "08048000-08049000 -w-p 00000000 00:00 0 ");
    }

    #[test]
    fn status_has_the_guests_name_and_stack() {
        let host = std::fs::read_to_string("/proc/self/stat").expect("procfs");
        let text = guest_stat(&host, "a-program-with-a-long-name", 0xbfff_0000);
        assert!(text.contains("(a-program-with-) "));
        let after = text.rsplit_once(')').map(|(_, r)| r.split_whitespace().collect::<Vec<_>>()).expect("a name");
        assert_eq!(after[START_STACK - 3], 0xbfff_0000_u64.to_string());
        assert_eq!(
            text.split_whitespace().count(),
            host.rsplit_once(')').map_or(0, |(_, r)| r.split_whitespace().count()) + 2
        );
    }

    #[test]
    fn odd_names_do_not_confuse() {
        assert_eq!(guest_stat("7 (a) b) S 1", "x", 5), "7 (x) S 1\n");
        assert_eq!(guest_stat("", "x", 5), " (x)\n");
    }
}
