//! ELF files: parsing what the kernel looks at, checking all of it, and mapping the segments.
//!
//! References are to the System V ABI, chapters 4 and 5.

use crate::abi::{self, Abi};
use crate::convert::record::{Ulong, record};
use crate::convert::{Model, Record};
use crate::errno::Errno;
use isamorph_ir::Memory;
use isamorph_ram::{FileId, MapKind, MapRequest, UserSpace};
use object::elf;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use thiserror::Error;

/// Why a file cannot be run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ElfError {
    /// It has no ELF header.
    #[error("Exec format error")]
    NotElf,
    /// It is a program for an architecture that is not supported.
    #[error("Invalid ELF image for this architecture")]
    OtherMachine,
    /// It contradicts itself or the limits of the architecture.
    #[error("Invalid ELF image: {0}")]
    Invalid(&'static str),
    /// The host said no.
    #[error("{}", crate::strace::message(.0.0))]
    Host(Errno),
}

impl From<Errno> for ElfError {
    fn from(e: Errno) -> Self {
        ElfError::Host(e)
    }
}

record! {
    /// `Elf32_Ehdr` and `Elf64_Ehdr`.
    Header {
        ident: [u8; 16], kind: u16, machine: u16, version: u32, entry: Ulong, phoff: Ulong, shoff: Ulong, flags: u32,
        ehsize: u16, phentsize: u16, phnum: u16, shentsize: u16, shnum: u16, shstrndx: u16,
    }
    /// `Elf32_Phdr`.
    Phdr32 {
        kind: u32, offset: u32, vaddr: u32, paddr: u32, filesz: u32, memsz: u32, flags: u32, align: u32,
    }
    /// `Elf64_Phdr`.
    Phdr64 {
        kind: u32, flags: u32, offset: u64, vaddr: u64, paddr: u64, filesz: u64, memsz: u64, align: u64,
    }
}

/// A program header of either class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phdr {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

impl From<Phdr32> for Phdr {
    fn from(p: Phdr32) -> Self {
        let [offset, vaddr, filesz, memsz, align] = [p.offset, p.vaddr, p.filesz, p.memsz, p.align].map(u64::from);
        Phdr { kind: p.kind, flags: p.flags, offset, vaddr, filesz, memsz, align }
    }
}

impl From<Phdr64> for Phdr {
    fn from(p: Phdr64) -> Self {
        let Phdr64 { kind, flags, offset, vaddr, filesz, memsz, align, .. } = p;
        Phdr { kind, flags, offset, vaddr, filesz, memsz, align }
    }
}

/// A part of the file that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address before relocation.
    pub vaddr: u64,
    /// Size in memory.
    pub memsz: u64,
    /// Where it is in the file.
    pub offset: u64,
    /// Size in the file.
    pub filesz: u64,
    /// `PROT_` bits.
    pub prot: i32,
}

/// What a program or interpreter wants.
pub struct Image {
    /// Its architecture.
    pub abi: &'static dyn Abi,
    /// Whether it can be loaded anywhere.
    pub relocatable: bool,
    /// First instruction, before relocation.
    pub entry: u64,
    /// The program headers in memory, before relocation; 0 if no segment has them.
    pub phdr: u64,
    /// Size of a program header.
    pub phentsize: u64,
    /// Number of program headers.
    pub phnum: u64,
    /// What is mapped.
    pub segments: Vec<Segment>,
    /// Path of the interpreter.
    pub interpreter: Option<Vec<u8>>,
    /// Whether the stack must be executable: `PT_GNU_STACK` says so, or a 32-bit program does not have it.
    pub executable_stack: bool,
    /// Largest alignment that a segment asks for.
    pub align: u64,
}

/// Most bytes of program headers, as in the kernel.
const MAX_PHDRS: u64 = 65536;
/// Longest path of an interpreter.
const MAX_INTERPRETER: u64 = 4096;
/// Largest alignment of a position-independent image that is honoured.
const MAX_ALIGN: u64 = 1 << 30;

/// The architecture of a file that starts with these bytes, if it is an ELF program of a supported one.
pub fn identify(start: &[u8]) -> Result<&'static dyn Abi, ElfError> {
    if start.len() < 20 || !start.starts_with(&elf::ELFMAG) {
        return Err(ElfError::NotElf);
    }
    let machine = u16::from_le_bytes([start[18], start[19]]);
    if start[5] != elf::ELFDATA2LSB.0 {
        return Err(ElfError::OtherMachine);
    }
    abi::by_elf(machine, start[4]).ok_or(ElfError::OtherMachine)
}

impl Image {
    /// Parses and checks a file.
    ///
    /// # Errors
    /// See [`ElfError`].
    pub fn parse(file: &File) -> Result<Image, ElfError> {
        let size = file.metadata().map_err(io_error)?.len();
        let mut start = vec![0; size.min(64) as usize];
        file.read_exact_at(&mut start, 0).map_err(io_error)?;
        let abi = identify(&start)?;
        let model = abi.model();
        if start.len() < Header::size(model) {
            return Err(ElfError::Invalid("truncated header"));
        }
        let header = Header::decode(model, &start);
        let relocatable = match elf::FileType(header.kind) {
            elf::ET_EXEC => false,
            elf::ET_DYN => true,
            _ => return Err(ElfError::NotElf),
        };
        let headers = read_headers(file, size, &header, model)?;
        let segments = segments(&headers, size, abi)?;
        let interpreter = headers.iter().find(|p| p.kind == elf::PT_INTERP.0);
        let stack = headers.iter().find(|p| p.kind == elf::PT_GNU_STACK.0);
        Ok(Image {
            abi,
            relocatable,
            entry: header.entry.0,
            phdr: phdr_address(&segments, header.phoff.0),
            phentsize: header.phentsize.into(),
            phnum: headers.len() as u64,
            interpreter: interpreter.map(|p| read_interpreter(file, size, p)).transpose()?,
            executable_stack: stack.map_or(model.long == 4, |p| p.flags & elf::PF_X.0 != 0),
            align: largest_align(&headers, abi.layout().page),
            segments,
        })
    }

    /// First address and one past the last, before relocation, in whole pages.
    pub fn span(&self) -> (u64, u64) {
        let page = self.abi.layout().page;
        let low = self.segments.iter().map(|s| s.vaddr).min().unwrap_or(0);
        let high = self.segments.iter().map(|s| s.vaddr + s.memsz).max().unwrap_or(0);
        (low & !(page - 1), high.next_multiple_of(page))
    }
}

fn io_error(e: std::io::Error) -> ElfError {
    match e.raw_os_error() {
        Some(number) => ElfError::Host(Errno(number)),
        None => ElfError::Invalid("truncated file"),
    }
}

fn read_headers(file: &File, size: u64, header: &Header, model: Model) -> Result<Vec<Phdr>, ElfError> {
    let entry = if model.long == 4 { Phdr32::size(model) } else { Phdr64::size(model) };
    let len = u64::from(header.phnum) * entry as u64;
    if usize::from(header.phentsize) != entry || header.phnum == 0 || len > MAX_PHDRS {
        return Err(ElfError::Invalid("bad program header table"));
    }
    if header.phoff.0.checked_add(len).is_none_or(|end| end > size) {
        return Err(ElfError::Invalid("truncated program header table"));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, header.phoff.0).map_err(io_error)?;
    let parse = |one: &[u8]| -> Phdr {
        if model.long == 4 { Phdr32::decode(model, one).into() } else { Phdr64::decode(model, one).into() }
    };
    Ok(bytes.chunks_exact(entry).map(parse).collect())
}

fn segments(headers: &[Phdr], size: u64, abi: &dyn Abi) -> Result<Vec<Segment>, ElfError> {
    let layout = abi.layout();
    let mut list = Vec::new();
    for p in headers.iter().filter(|p| p.kind == elf::PT_LOAD.0 && p.memsz != 0) {
        if p.filesz > p.memsz {
            return Err(ElfError::Invalid("segment larger in the file than in memory"));
        }
        if p.offset % layout.page != p.vaddr % layout.page {
            return Err(ElfError::Invalid("segment address and file offset do not match"));
        }
        if p.offset.checked_add(p.filesz).is_none_or(|end| end > size) {
            return Err(ElfError::Invalid("segment outside the file"));
        }
        if p.vaddr.checked_add(p.memsz).is_none_or(|end| end > layout.end) {
            return Err(ElfError::Invalid("segment outside the address space"));
        }
        let prot = [(elf::PF_R.0, libc::PROT_READ), (elf::PF_W.0, libc::PROT_WRITE), (elf::PF_X.0, libc::PROT_EXEC)]
            .into_iter()
            .fold(0, |prot, (flag, bit)| if p.flags & flag != 0 { prot | bit } else { prot });
        list.push(Segment { vaddr: p.vaddr, memsz: p.memsz, offset: p.offset, filesz: p.filesz, prot });
    }
    if list.is_empty() {
        return Err(ElfError::Invalid("no loadable segment"));
    }
    Ok(list)
}

fn phdr_address(segments: &[Segment], phoff: u64) -> u64 {
    let holder = segments.iter().find(|s| phoff >= s.offset && phoff - s.offset < s.filesz);
    holder.map_or(0, |s| s.vaddr + (phoff - s.offset))
}

fn read_interpreter(file: &File, size: u64, p: &Phdr) -> Result<Vec<u8>, ElfError> {
    let inside = p.offset.checked_add(p.filesz).is_some_and(|end| end <= size);
    if !inside || !(2..=MAX_INTERPRETER).contains(&p.filesz) {
        return Err(ElfError::Invalid("bad interpreter path"));
    }
    let mut path = vec![0; p.filesz as usize];
    file.read_exact_at(&mut path, p.offset).map_err(io_error)?;
    match path.iter().position(|b| *b == 0) {
        Some(end) if end > 0 => {
            path.truncate(end);
            Ok(path)
        }
        _ => Err(ElfError::Invalid("bad interpreter path")),
    }
}

fn largest_align(headers: &[Phdr], page: u64) -> u64 {
    let loads = headers.iter().filter(|p| p.kind == elf::PT_LOAD.0);
    let valid = loads.map(|p| p.align).filter(|a| a.is_power_of_two() && *a <= MAX_ALIGN);
    valid.max().unwrap_or(page).max(page)
}

/// An image in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What was added to every address of the file.
    pub bias: u64,
    /// First instruction.
    pub entry: u64,
    /// First address of the program headers, or 0.
    pub phdr: u64,
    /// One past the last byte, in whole pages.
    pub end: u64,
}

/// Where a position-independent image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There, or as near below the usual mappings as possible when something is there already.
    At(u64),
    /// With the mappings.
    Anywhere,
}

/// Maps an image.
///
/// # Errors
/// No room, or the host refuses.
pub fn load(space: &UserSpace, file: &File, image: &Image, place: Place, name: &str) -> Result<Loaded, ElfError> {
    let (low, high) = image.span();
    let bias = if image.relocatable { choose_base(space, image, place)?.wrapping_sub(low) } else { 0 };
    let (start, end) = (low.wrapping_add(bias), high.wrapping_add(bias));
    if start < space.lowest() || end > image.abi.layout().end.min(space.limit()) || !space.is_free(start, end - start) {
        return Err(ElfError::Invalid("its addresses are not available"));
    }
    let id = file.metadata().map(|m| FileId { dev: m.dev(), inode: m.ino() }).map_err(io_error)?;
    let mapper = Mapper { space, fd: file.as_raw_fd(), id, name: name.into(), page: image.abi.layout().page };
    for segment in &image.segments {
        mapper.segment(segment, bias)?;
    }
    let phdr = if image.phdr == 0 { 0 } else { image.phdr.wrapping_add(bias) };
    Ok(Loaded { bias, entry: image.entry.wrapping_add(bias), phdr, end })
}

fn choose_base(space: &UserSpace, image: &Image, place: Place) -> Result<u64, ElfError> {
    let (low, high) = image.span();
    let len = high - low;
    if let Place::At(addr) = place {
        let at = addr.next_multiple_of(image.align);
        if space.is_free(at, len) {
            return Ok(at);
        }
    }
    // Only a probe knows where new mappings go; it is replaced by the segments.
    let request = MapRequest { len: len + image.align, host_flags: libc::MAP_NORESERVE, ..MapRequest::default() };
    let probe = space.map(&request)?;
    space.unmap(probe, request.len)?;
    let last = probe + (request.len - len).min(image.align);
    Ok(last & !(image.align - 1))
}

struct Mapper<'a> {
    space: &'a UserSpace,
    fd: i32,
    id: FileId,
    name: Arc<str>,
    page: u64,
}

impl Mapper<'_> {
    fn segment(&self, s: &Segment, bias: u64) -> Result<(), ElfError> {
        let addr = s.vaddr.wrapping_add(bias);
        let start = addr & !(self.page - 1);
        let file_end = addr + s.filesz;
        let bss = file_end.next_multiple_of(self.page);
        let end = (addr + s.memsz).next_multiple_of(self.page);
        if s.filesz > 0 {
            self.map_file(s, start, file_end)?;
        }
        if s.memsz > s.filesz && s.filesz > 0 && file_end < bss {
            self.clear(s, start, file_end..bss)?;
        }
        let from = if s.filesz > 0 { bss } else { start };
        if end > from {
            let prot = s.prot;
            let anon = MapRequest { addr: from, len: end - from, prot, fixed: true, ..MapRequest::default() };
            self.space.map(&anon)?;
        }
        Ok(())
    }

    fn map_file(&self, s: &Segment, start: u64, end: u64) -> Result<(), ElfError> {
        let offset = s.offset & !(self.page - 1);
        let request = MapRequest {
            addr: start,
            len: end - start,
            prot: s.prot,
            kind: MapKind::File { fd: self.fd, offset, id: self.id },
            fixed: true,
            name: Some(self.name.clone()),
            ..MapRequest::default()
        };
        self.space.map(&request)?;
        Ok(())
    }

    /// Clears the rest of the last page of the file. In a segment that cannot be written the kernel leaves what the
    /// file has there, and so do we.
    fn clear(&self, s: &Segment, start: u64, rest: std::ops::Range<u64>) -> Result<(), ElfError> {
        if s.prot & libc::PROT_WRITE == 0 {
            return Ok(());
        }
        let zeros = vec![0; (rest.end - rest.start) as usize];
        debug_assert!(rest.start >= start);
        self.space.write(rest.start, &zeros).map_err(|_| ElfError::Invalid("segment outside the file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Builds a little i386 ELF file.
    struct Builder {
        header: Header,
        phdrs: Vec<Phdr32>,
        body: Vec<u8>,
    }

    const M: Model = Model::I386;
    const PAGE: u32 = 4096;

    impl Builder {
        fn new(kind: u16) -> Self {
            let mut ident = [0; 16];
            ident[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 1, 1]);
            let header = Header {
                ident,
                kind,
                machine: 3,
                version: 1,
                entry: Ulong(0x0804_8100),
                phoff: Ulong(52),
                ehsize: 52,
                phentsize: 32,
                ..Header::default()
            };
            Builder { header, phdrs: Vec::new(), body: Vec::new() }
        }
        fn load(mut self, vaddr: u32, filesz: u32, memsz: u32, flags: u32) -> Self {
            self.phdrs.push(Phdr32 { kind: 1, offset: 0, vaddr, filesz, memsz, flags, align: PAGE, paddr: 0 });
            self
        }
        fn bytes(&self) -> Vec<u8> {
            let mut out = vec![0; 52 + 32 * self.phdrs.len()];
            let mut header = self.header;
            if header.phnum == 0 {
                header.phnum = self.phdrs.len() as u16;
            }
            header.encode(M, &mut out);
            for (i, p) in self.phdrs.iter().enumerate() {
                p.encode(M, &mut out[52 + 32 * i..]);
            }
            out.extend(&self.body);
            out.resize(out.len().max(2 * PAGE as usize), 0xcc);
            out
        }
        fn parse(&self) -> Result<Image, ElfError> {
            Image::parse(&temporary(&self.bytes()))
        }
    }

    fn temporary(bytes: &[u8]) -> File {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("isamorph-elf-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn program() -> Builder {
        Builder::new(2).load(0x0804_8000, 0x1000, 0x1000, 5).load(0x0804_9000, 0x800, 0x3000, 6)
    }

    fn invalid(b: &Builder) -> bool {
        matches!(b.parse(), Err(ElfError::Invalid(_)))
    }

    #[test]
    fn a_program() {
        let image = program().parse().unwrap();
        assert!(!image.relocatable);
        assert_eq!(image.abi.name(), "i386");
        assert_eq!(image.span(), (0x0804_8000, 0x0804_c000));
        assert_eq!(image.phdr, 0x0804_8034);
        assert_eq!(image.segments[1].prot, libc::PROT_READ | libc::PROT_WRITE);
        assert!(image.executable_stack && image.interpreter.is_none());
    }

    #[test]
    fn other_files_are_told_apart() {
        assert_eq!(Image::parse(&temporary(b"")).err(), Some(ElfError::NotElf));
        assert_eq!(Image::parse(&temporary(b"#!/bin/sh\n# a long enough script")).err(), Some(ElfError::NotElf));
        let mut wide = program();
        wide.header.ident[4] = 2;
        assert_eq!(wide.parse().err(), Some(ElfError::OtherMachine));
        let mut big = program();
        big.header.ident[5] = 2;
        assert_eq!(big.parse().err(), Some(ElfError::OtherMachine));
        let mut object = program();
        object.header.kind = 1;
        assert_eq!(object.parse().err(), Some(ElfError::NotElf));
        assert_eq!(ElfError::OtherMachine.to_string(), "Invalid ELF image for this architecture");
        assert_eq!(ElfError::Host(Errno(libc::ENOENT)).to_string(), "No such file or directory");
    }

    #[test]
    fn hostile_headers_are_refused() {
        let change = |f: fn(&mut Builder)| {
            let mut b = program();
            f(&mut b);
            invalid(&b)
        };
        assert!(change(|b| b.header.phnum = 0xffff));
        assert!(change(|b| b.header.phentsize = 56));
        assert!(change(|b| b.header.phoff = Ulong(0xffff_fff0)));
        assert!(change(|b| b.phdrs.clear()));
        assert!(change(|b| b.phdrs.iter_mut().for_each(|p| p.kind = 0)));
        assert!(change(|b| b.phdrs[0].filesz = 0x10_0000));
        assert!(change(|b| b.phdrs[0].offset = 0xffff_f000));
        assert!(change(|b| b.phdrs[0].vaddr = 0x0804_8010));
        assert!(change(|b| b.phdrs[1].memsz = 0xffff_ffff));
        assert!(change(|b| b.phdrs[1].memsz = 0x100));
        assert!(change(|b| b.phdrs[1] = Phdr32 { kind: 3, offset: 0xffff_ffff, filesz: 16, ..Phdr32::default() }));
        assert!(change(|b| b.phdrs[1] = Phdr32 { kind: 3, filesz: 1, ..Phdr32::default() }));
        assert!(change(|b| b.phdrs[1] = Phdr32 { kind: 3, filesz: 0xffff_ffff, ..Phdr32::default() }));
    }

    #[test]
    fn truncated_files_are_refused() {
        let whole = program().bytes();
        for len in [0, 3, 4, 19, 20, 51, 52, 60, 115, 4095] {
            let outcome = Image::parse(&temporary(&whole[..len]));
            assert!(matches!(outcome, Err(ElfError::NotElf | ElfError::Invalid(_))), "{len} bytes");
        }
    }

    #[test]
    fn an_interpreter_is_read() {
        let mut b = program();
        b.phdrs.push(Phdr32 { kind: 3, offset: 52 + 32 * 3, filesz: 6, ..Phdr32::default() });
        b.body = b"/ld.x\0".to_vec();
        assert_eq!(b.parse().unwrap().interpreter.as_deref(), Some(&b"/ld.x"[..]));
        b.body = b"/ld.xx".to_vec();
        assert!(invalid(&b), "no terminating zero");
    }

    fn space() -> UserSpace {
        let space = UserSpace::new(isamorph_ram::Config::default()).unwrap();
        space.set_mmap_base(0xf7ff_0000);
        space
    }

    #[test]
    fn segments_are_mapped_and_the_rest_cleared() {
        let (file, space) = (temporary(&program().bytes()), space());
        let image = Image::parse(&file).unwrap();
        let loaded = load(&space, &file, &image, Place::Anywhere, "/x").unwrap();
        assert_eq!((loaded.bias, loaded.entry, loaded.end), (0, 0x0804_8100, 0x0804_c000));
        let byte = |addr| {
            let mut b = [0xee];
            space.read(addr, &mut b).map(|()| b[0])
        };
        assert_eq!(byte(0x0804_8000), Ok(0x7f));
        assert_eq!(byte(0x0804_97ff), Ok(0xcc));
        assert_eq!(byte(0x0804_9800), Ok(0));
        assert_eq!(byte(0x0804_bfff), Ok(0));
        assert!(byte(0x0804_c000).is_err());
        assert!(space.write(0x0804_8000, &[1]).is_err());
        assert!(load(&space, &file, &image, Place::Anywhere, "/x").is_err(), "addresses are taken");
    }

    #[test]
    fn position_independent_images_move() {
        let space = space();
        let file = temporary(&Builder::new(3).load(0, 0x1000, 0x2000, 7).bytes());
        let image = Image::parse(&file).unwrap();
        let first = load(&space, &file, &image, Place::At(0x5655_5000), "/x").unwrap();
        assert_eq!((first.bias, first.end), (0x5655_5000, 0x5655_7000));
        let second = load(&space, &file, &image, Place::At(0x5655_5000), "/x").unwrap();
        assert_ne!(second.bias, first.bias);
        let third = load(&space, &file, &image, Place::Anywhere, "/x").unwrap();
        assert!(third.bias > 0xf000_0000 && third.end <= 0xf7ff_0000);
    }

    #[test]
    fn damaged_files_never_panic() {
        let whole = [program().bytes(), Builder::new(3).load(0, 0x1000, 0x2000, 7).bytes()];
        let mut random = crate::testing::Random::new(7);
        let mut loaded = 0;
        for round in 0..600 {
            let mut bytes = whole[round % 2].clone();
            for _ in 0..=random.below(3) {
                // Mostly the header's addresses and counts and the program headers.
                let at = 16 + random.below(100);
                bytes[at] = random.value() as u8;
            }
            let file = temporary(&bytes);
            if let Ok(image) = Image::parse(&file) {
                loaded += u32::from(load(&space(), &file, &image, Place::At(0x5655_5000), "/x").is_ok());
            }
        }
        assert!(loaded > 50, "most damage must reach the loader");
    }

    #[test]
    fn addresses_below_the_lowest_are_refused() {
        let file = temporary(&Builder::new(2).load(0, 0x1000, 0x2000, 7).bytes());
        let image = Image::parse(&file).unwrap();
        assert!(matches!(load(&space(), &file, &image, Place::Anywhere, "/x"), Err(ElfError::Invalid(_))));
    }
}
