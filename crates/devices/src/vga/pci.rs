//! The adapter as a PCI function.

use super::registers::Registers;
use super::{Vga, edid};
use crate::pci::{Bar, Identity, Layout};
use isamorph_ram::RamBlock;
use isamorph_space::{Io, IoError, IoRules, Map, Sizes};
use std::sync::Arc;

/// Bytes behind base address 2.
const REGISTERS: u64 = 0x1000;
/// What is where in it: the monitor's data, the VGA's ports from 0x3c0 on, the VBE registers, QEMU's own.
const PORTS: u64 = 0x400;
const PORTS_END: u64 = 0x420;
const VBE: u64 = 0x500;
const VBE_END: u64 = 0x516;
const EXTENSION: u64 = 0x600;
/// Bytes of QEMU's own registers, and the byte order of the frame buffer: little.
const EXTENSION_LEN: u32 = 8;
const LITTLE: u32 = 0x1e1e_1e1e;
/// What the monitor likes best.
const PREFERRED: (u16, u16) = (1280, 800);

impl Vga {
    /// The function's configuration space, with the BIOS as its ROM.
    pub fn layout(self: &Arc<Self>, map: &Map, rom: Option<Arc<RamBlock>>) -> Layout {
        let sizes = Sizes::new(1, 4);
        // Doublewords are two of the VBE's words.
        let rules = IoRules { valid: Sizes::new(1, 8), implemented: sizes, ..IoRules::default() };
        let edid = edid::block(PREFERRED.0, PREFERRED.1);
        let registers = Arc::new(Mmio { vga: self.clone(), edid });
        let (framebuffer, size) = (self.regions.framebuffer, self.memory.size());
        let (registers, rom) = map.update(|tree| {
            let registers = tree.io("vga.mmio", REGISTERS.into(), rules, registers);
            (registers, rom.map(|block| (tree.rom("vga.rom", block.clone()), block.size())))
        });
        let identity = Identity::new("VGA", 0x1234, 0x1111, 0x03_00_00).revision(2);
        let layout = Layout::new(identity)
            .bar(0, Bar::memory(framebuffer, size).prefetchable())
            .bar(2, Bar::memory(registers, REGISTERS));
        match rom {
            Some((region, size)) => layout.rom(region, size),
            None => layout,
        }
    }
}

/// The registers behind base address 2.
struct Mmio {
    vga: Arc<Vga>,
    edid: [u8; edid::LEN],
}

impl Mmio {
    /// A byte at an offset, from what is made of several.
    fn byte(&self, state: &mut Registers, offset: u64) -> u8 {
        let of = |value: &[u8], at: u64| value.get(at as usize).copied().unwrap_or(0);
        match offset {
            ..PORTS => of(&self.edid, offset),
            PORTS..PORTS_END => state.read(0x3c0 + (offset - PORTS) as u16),
            VBE..VBE_END => of(&state.vbe.read(((offset - VBE) / 2) as u16).to_le_bytes(), offset % 2),
            EXTENSION.. => of(&[EXTENSION_LEN.to_le_bytes(), LITTLE.to_le_bytes()].concat(), offset - EXTENSION),
            _ => 0,
        }
    }
}

impl Io for Mmio {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        let mut state = self.vga.state.enter()?;
        let byte = |i: u64| u64::from(self.byte(&mut state, offset + i)) << (8 * i);
        Ok((0..size.into()).map(byte).fold(0, |value, byte| value | byte))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        self.vga.change(|state| match offset {
            PORTS..PORTS_END => {
                for (i, byte) in value.to_le_bytes().into_iter().take(size as usize).enumerate() {
                    state.write(0x3c0 + (offset - PORTS) as u16 + i as u16, byte);
                }
            }
            VBE..VBE_END if size > 1 => {
                for i in 0..size / 2 {
                    state.write_vbe(((offset - VBE) / 2) as u16 + i as u16, (value >> (16 * i)) as u16);
                }
            }
            _ => {}
        })
    }
}
