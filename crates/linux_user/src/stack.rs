//! The initial stack: strings, auxiliary vector, environment, arguments (System V ABI, "Process Initialization").

use crate::abi::Abi;
use crate::convert::record::Ulong;
use crate::convert::{Model, Record};
use crate::elf::{Image, Loaded};
use crate::errno::{E2BIG, EFAULT, Errno};
use crate::task::ImageRanges;
use isamorph_ir::Memory;
use isamorph_ram::{MapRequest, UserSpace};
use std::ffi::CString;

/// Types of auxiliary-vector entries that the `libc` crate does not have.
const AT_HWCAP2: u64 = 26;
const AT_MINSIGSTKSZ: u64 = 51;

/// Clock ticks per second that programs see (`USER_HZ`).
const TICKS: u64 = 100;

/// What goes on the stack.
pub struct Start<'a> {
    /// The architecture.
    pub abi: &'static dyn Abi,
    /// The program.
    pub image: &'a Image,
    /// Where it is.
    pub program: Loaded,
    /// Base address of the interpreter, or 0.
    pub interpreter: u64,
    /// Arguments.
    pub argv: &'a [CString],
    /// Environment.
    pub envp: &'a [CString],
    /// Path of the program (`AT_EXECFN`).
    pub execfn: &'a CString,
    /// Random bytes for `AT_RANDOM`.
    pub random: [u8; 16],
}

/// Maps the stack: `size` bytes that end at the architecture's top of the stack, more when it grows.
///
/// # Errors
/// No room.
pub fn map(space: &UserSpace, abi: &dyn Abi, size: u64, executable: bool) -> Result<(u64, u64), Errno> {
    let layout = abi.layout();
    let top = layout.stack_top.min(space.limit());
    let size = size.next_multiple_of(layout.page).clamp(2 * layout.page, top / 2);
    let exec = if executable { libc::PROT_EXEC } else { 0 };
    // A hint: in an address space that is shared with the host, something else may be there.
    let low = space.map(&MapRequest {
        addr: top - size,
        len: size,
        prot: libc::PROT_READ | libc::PROT_WRITE | exec,
        host_flags: libc::MAP_NORESERVE,
        name: Some("[stack]".into()),
        ..MapRequest::default()
    })?;
    Ok((low, low + size))
}

/// Writes downwards from an address.
struct Writer<'a> {
    space: &'a UserSpace,
    low: u64,
    at: u64,
}

impl Writer<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<u64, Errno> {
        let at = self.at.checked_sub(bytes.len() as u64).filter(|at| *at >= self.low).ok_or(E2BIG)?;
        self.space.write(at, bytes).map_err(|_| EFAULT)?;
        self.at = at;
        Ok(at)
    }
    /// Pushes strings so that they are in order in memory; returns their addresses.
    fn strings(&mut self, list: &[CString]) -> Result<Vec<u64>, Errno> {
        let mut addrs = list.iter().rev().map(|s| self.push(s.as_bytes_with_nul())).collect::<Result<Vec<_>, _>>()?;
        addrs.reverse();
        Ok(addrs)
    }
}

/// Fills the stack between `low` and `top`.
///
/// # Errors
/// `E2BIG` when it does not fit into three quarters of the stack.
pub fn build(space: &UserSpace, start: &Start<'_>, (low, top): (u64, u64)) -> Result<ImageRanges, Errno> {
    let model = start.abi.model();
    let word = model.long as u64;
    let mut w = Writer { space, low: low + (top - low) / 4, at: top };
    w.push(&vec![0; word as usize])?;
    let execfn = w.push(start.execfn.as_bytes_with_nul())?;
    let envp = w.strings(start.envp)?;
    let args_end = w.at;
    let argv = w.strings(start.argv)?;
    let args = (w.at, args_end - w.at);
    w.at &= !15;
    let platform = w.push(&[start.abi.platform().as_bytes(), b"\0"].concat())?;
    let random = w.push(&start.random)?;

    let auxv = auxv(start, execfn, platform, random);
    let mut words = vec![argv.len() as u64];
    words.extend(argv.into_iter().chain([0]));
    words.extend(envp.into_iter().chain([0]));
    let auxv_at = words.len() as u64 * word;
    words.extend(auxv.iter().flatten());
    let len = words.len() as u64 * word;
    w.at = (w.at & !15).checked_sub(len.next_multiple_of(16)).ok_or(E2BIG)? + len;
    let sp = w.push(&encode(model, &words))?;
    Ok(ImageRanges {
        start_stack: sp,
        stack_low: low,
        stack_high: top,
        auxv: (sp + auxv_at, auxv.len() as u64 * 2 * word),
        args,
    })
}

fn encode(model: Model, words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; words.len() * model.long];
    for (slot, value) in bytes.chunks_exact_mut(model.long).zip(words) {
        Ulong(*value).encode(model, slot);
    }
    bytes
}

/// The auxiliary vector. There is no `AT_SYSINFO` and no `AT_SYSINFO_EHDR`: programs use the system-call instruction.
fn auxv(start: &Start<'_>, execfn: u64, platform: u64, random: u64) -> Vec<[u64; 2]> {
    let [hwcap, hwcap2] = start.abi.hwcap();
    let host = |kind| crate::kernel::auxv(kind);
    vec![
        [libc::AT_HWCAP, hwcap],
        [libc::AT_PAGESZ, start.abi.layout().page],
        [libc::AT_CLKTCK, TICKS],
        [libc::AT_PHDR, start.program.phdr],
        [libc::AT_PHENT, start.image.phentsize],
        [libc::AT_PHNUM, start.image.phnum],
        [libc::AT_BASE, start.interpreter],
        [libc::AT_FLAGS, 0],
        [libc::AT_ENTRY, start.program.entry],
        [libc::AT_UID, host(libc::AT_UID)],
        [libc::AT_EUID, host(libc::AT_EUID)],
        [libc::AT_GID, host(libc::AT_GID)],
        [libc::AT_EGID, host(libc::AT_EGID)],
        [libc::AT_SECURE, host(libc::AT_SECURE)],
        [libc::AT_RANDOM, random],
        [AT_HWCAP2, hwcap2],
        [libc::AT_EXECFN, execfn],
        [libc::AT_PLATFORM, platform],
        [AT_MINSIGSTKSZ, start.abi.layout().signal_stack],
        [libc::AT_NULL, 0],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::i386::I386;
    use isamorph_ram::Config;

    fn build_one(argv: &[&str], envp: &[&str]) -> (UserSpace, Result<ImageRanges, Errno>) {
        let space = UserSpace::new(Config::default()).unwrap();
        let list = |of: &[&str]| of.iter().map(|s| CString::new(*s).unwrap()).collect::<Vec<_>>();
        let image = Image {
            abi: &I386,
            relocatable: false,
            entry: 0,
            phdr: 0,
            phentsize: 32,
            phnum: 3,
            segments: Vec::new(),
            interpreter: None,
            executable_stack: false,
            align: 4096,
        };
        let program = Loaded { bias: 0, entry: 0x0804_8000, phdr: 0x0804_8034, end: 0x0804_9000 };
        let (argv, envp) = (list(argv), list(envp));
        let start = Start {
            abi: &I386,
            image: &image,
            program,
            interpreter: 0,
            argv: &argv,
            envp: &envp,
            execfn: &CString::new("/bin/x").unwrap(),
            random: [7; 16],
        };
        let range = map(&space, &I386, 64 << 10, false).unwrap();
        let built = build(&space, &start, range);
        (space, built)
    }

    fn word(space: &UserSpace, at: u64) -> u64 {
        let mut b = [0; 4];
        space.read(at, &mut b).unwrap();
        u32::from_le_bytes(b).into()
    }

    fn text(space: &UserSpace, at: u64, len: usize) -> String {
        let mut b = vec![0; len];
        space.read(at, &mut b).unwrap();
        String::from_utf8(b).unwrap()
    }

    #[test]
    fn arguments_are_where_the_abi_says() {
        for args in [&["a"][..], &["a", "bc"], &["a", "bc", "def"], &["prog", "1", "2", "3"]] {
            let (space, built) = build_one(args, &["X=1"]);
            let image = built.unwrap();
            let (sp, n) = (image.start_stack, args.len() as u64);
            assert_eq!(sp % 16, 0);
            assert_eq!(word(&space, sp), n);
            for (i, arg) in args.iter().enumerate() {
                assert_eq!(text(&space, word(&space, sp + 4 + 4 * i as u64), arg.len()), *arg);
            }
            assert_eq!(word(&space, sp + 4 + 4 * n), 0);
            assert_eq!(text(&space, word(&space, sp + 8 + 4 * n), 4), "X=1\0");
            assert_eq!(word(&space, sp + 12 + 4 * n), 0);
            assert_eq!(image.auxv.0, sp + 16 + 4 * n);
            assert_eq!(text(&space, image.args.0, 1), args[0][..1]);
        }
    }

    #[test]
    fn the_auxiliary_vector_ends_and_has_the_entry() {
        let (space, built) = build_one(&["a"], &[]);
        let (at, len) = built.unwrap().auxv;
        let pairs: Vec<_> = (0..len / 8).map(|i| (word(&space, at + 8 * i), word(&space, at + 8 * i + 4))).collect();
        assert_eq!(pairs.last(), Some(&(0, 0)));
        assert!(pairs.contains(&(libc::AT_ENTRY, 0x0804_8000)));
        assert!(!pairs.iter().any(|(kind, _)| *kind == 32 || *kind == libc::AT_SYSINFO_EHDR));
        let random = pairs.iter().find(|(kind, _)| *kind == libc::AT_RANDOM).unwrap().1;
        assert_eq!(word(&space, random), 0x0707_0707);
    }

    #[test]
    fn too_many_arguments_are_refused() {
        let long = "x".repeat(60 << 10);
        assert_eq!(build_one(&[&long], &[]).1.err(), Some(E2BIG));
    }
}
