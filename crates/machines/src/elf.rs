//! ELF files that run on bare machines: kernels and firmware.

use isamorph_space::AddressSpace;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endian, Endianness};

/// Bytes that an ELF file may want to be in memory, at most.
const MAX_MEMORY: u64 = 1 << 31;

/// The name and number of the note with the entry point for virtual machines (Xen's `XEN_ELFNOTE_PHYS32_ENTRY`).
const PVH_NOTE: (&[u8], u32) = (b"Xen", 18);

/// What an ELF file wants to be in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// What goes where.
    pub pieces: Vec<Piece>,
    /// Where it is entered, a physical address if its segments say so.
    pub entry: u64,
    /// Where a hypervisor enters it in 32-bit mode (PVH).
    pub pvh_entry: Option<u32>,
    /// Whether it is a 64-bit file.
    pub is_64: bool,
}

/// Bytes of an ELF file that go to a physical address; there are zeros behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub addr: u64,
    pub content: Vec<u8>,
    /// With the zeros.
    pub size: u64,
}

impl Piece {
    /// Writes it. What is no memory does not take part, as with any write.
    pub(crate) fn load(&self, memory: &AddressSpace) {
        let _ = memory.write(self.addr, &self.content);
        let zeros = [0; 4096];
        let (mut at, end) = (self.content.len() as u64, self.size);
        while at < end {
            let count = (end - at).min(zeros.len() as u64);
            let _ = memory.write(self.addr.wrapping_add(at), &zeros[..count as usize]);
            at += count;
        }
    }
}

impl Image {
    /// Understands a file.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, String> {
        match data.get(4).map(|class| elf::FileClass(*class)) {
            Some(elf::ELFCLASS32) => Self::of::<elf::FileHeader32<Endianness>>(data),
            Some(elf::ELFCLASS64) => Self::of::<elf::FileHeader64<Endianness>>(data),
            _ => Err("no ELF file".to_owned()),
        }
    }
    fn of<Elf: FileHeader<Endian = Endianness>>(data: &[u8]) -> Result<Self, String> {
        let text = |e: object::read::Error| e.to_string();
        let header = Elf::parse(data).map_err(text)?;
        let endian = header.endian().map_err(text)?;
        if !matches!(header.e_machine(endian), elf::EM_386 | elf::EM_X86_64) || endian.is_big_endian() {
            return Err("it is for another architecture".to_owned());
        }
        let (mut pieces, mut total, mut pvh_entry) = (Vec::new(), 0u64, None);
        let mut entry: u64 = header.e_entry(endian).into();
        for segment in header.program_headers(endian, data).map_err(text)? {
            if let Ok(Some(notes)) = segment.notes(endian, data) {
                pvh_entry = pvh_entry.or(pvh(endian, notes));
            }
            let size: u64 = segment.p_memsz(endian).into();
            if segment.p_type(endian) != elf::PT_LOAD || size == 0 {
                continue;
            }
            total = total.saturating_add(size);
            if total > MAX_MEMORY {
                return Err("it is too large".to_owned());
            }
            let content = segment.data(endian, data).map_err(|()| "a segment is not in the file".to_owned())?;
            let content = content[..content.len().min(size as usize)].to_vec();
            let (virt, addr): (u64, u64) = (segment.p_vaddr(endian).into(), segment.p_paddr(endian).into());
            let e_entry: u64 = header.e_entry(endian).into();
            if e_entry >= virt && e_entry - virt < size {
                entry = addr.wrapping_add(e_entry - virt);
            }
            pieces.push(Piece { addr, content, size });
        }
        Ok(Image { pieces, entry, pvh_entry, is_64: header.is_type_64() })
    }
}

fn pvh<Elf: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    mut notes: object::read::elf::NoteIterator<'_, Elf>,
) -> Option<u32> {
    while let Ok(Some(note)) = notes.next() {
        if (note.name(), note.n_type(endian).0) == PVH_NOTE {
            return note.desc().get(..4)?.try_into().ok().map(u32::from_le_bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 32-bit file with one segment of two bytes at 1 MiB (linked 3 GiB higher), four in memory, and a PVH note.
    fn file() -> Vec<u8> {
        let mut data = vec![0; 0x100];
        data[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        let put = |data: &mut Vec<u8>, at: usize, words: &[u32]| {
            for (i, word) in words.iter().enumerate() {
                data[at + 4 * i..at + 4 * i + 4].copy_from_slice(&word.to_le_bytes());
            }
        };
        put(&mut data, 16, &[0x0003_0002, 1, 0xc010_0002, 52, 0, 0, 0x0020_0034, 2]);
        put(&mut data, 52, &[elf::PT_LOAD.0, 0xf0, 0xc010_0000, 0x10_0000, 2, 4, 5, 1]);
        put(&mut data, 84, &[elf::PT_NOTE.0, 0xa0, 0, 0, 20, 20, 4, 4]);
        put(&mut data, 0xa0, &[4, 4, 18, u32::from_le_bytes(*b"Xen\0"), 0x12345]);
        data[0xf0..0xf2].copy_from_slice(&[1, 2]);
        data
    }

    #[test]
    fn segments_are_at_their_physical_addresses() {
        let image = Image::parse(&file()).unwrap();
        assert_eq!(image.pieces, [Piece { addr: 0x10_0000, content: vec![1, 2], size: 4 }]);
        assert_eq!((image.entry, image.pvh_entry, image.is_64), (0x10_0002, Some(0x12345), false));
    }

    #[test]
    fn files_that_are_broken_are_refused() {
        let whole = file();
        for len in 0..whole.len() {
            // Some of what is missing does not matter; nothing may panic.
            let _ = Image::parse(&whole[..len]);
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut data = whole.clone();
                data[at] = value;
                let _ = Image::parse(&data);
            }
        }
        let mut huge = whole.clone();
        huge[52 + 20..52 + 24].fill(0xff);
        assert_eq!(Image::parse(&huge), Err("it is too large".to_owned()));
    }
}
