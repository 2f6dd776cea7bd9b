//! The VBE registers of Bochs: sixteen-bit registers behind an index.

use super::Vga;
use super::registers::{Registers, crtc, gc, seq};
use isamorph_display::PixelFormat;
use isamorph_space::{Io, IoError};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Versions of the interface: software writes the one that it wants, and reads it back if it is there.
const VERSIONS: RangeInclusive<u16> = 0xb0c0..=0xb0c5;
/// Largest mode.
const MAX: (u16, u16, u16) = (16000, 12000, 32);

/// Register numbers.
pub mod index {
    pub const ID: u16 = 0;
    pub const WIDTH: u16 = 1;
    pub const HEIGHT: u16 = 2;
    pub const DEPTH: u16 = 3;
    pub const ENABLE: u16 = 4;
    pub const BANK: u16 = 5;
    pub const VIRTUAL_WIDTH: u16 = 6;
    pub const VIRTUAL_HEIGHT: u16 = 7;
    pub const X: u16 = 8;
    pub const Y: u16 = 9;
    /// Memory in units of 64 KiB.
    pub const MEMORY: u16 = 10;
}

/// Bits of the enable register.
pub mod enable {
    pub const ENABLED: u16 = 0x01;
    /// Width, height and depth show their largest values.
    pub const CAPABILITIES: u16 = 0x02;
    pub const WIDE_PALETTE: u16 = 0x20;
    pub const LINEAR: u16 = 0x40;
    pub const KEEP_MEMORY: u16 = 0x80;
}

/// The registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vbe {
    index: u16,
    version: u16,
    width: u16,
    height: u16,
    depth: u16,
    enable: u16,
    bank: u16,
    virtual_width: u16,
    x: u16,
    y: u16,
    /// Bytes of display memory.
    memory: u64,
}

/// A mode as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    pub width: usize,
    pub height: usize,
    /// Nothing for planes of sixteen colours.
    pub format: Option<PixelFormat>,
    /// Bytes from one row to the next, and where the first one begins.
    pub pitch: u64,
    pub start: u64,
}

impl Vbe {
    pub fn new(memory: u64) -> Self {
        Vbe {
            index: 0,
            version: *VERSIONS.end(),
            width: 0,
            height: 0,
            depth: 8,
            enable: 0,
            bank: 0,
            virtual_width: 0,
            x: 0,
            y: 0,
            memory,
        }
    }
    /// Bytes of display memory.
    pub fn memory(&self) -> u64 {
        self.memory
    }
    /// Whether a saved state fits.
    pub fn is_good(&self, memory: u64) -> bool {
        let mut mended = self.clone();
        mended.mend();
        self.memory == memory && mended == *self && VERSIONS.contains(&self.version)
    }
    pub fn is_enabled(&self) -> bool {
        self.enable & enable::ENABLED != 0
    }
    pub fn has_wide_palette(&self) -> bool {
        self.enable & enable::WIDE_PALETTE != 0
    }
    /// Where in memory the window at 0xa0000 begins, in the unit of its addresses.
    pub fn bank_offset(&self) -> u64 {
        if self.is_enabled() { u64::from(self.bank) << 16 } else { 0 }
    }
    /// Bits that a pixel takes.
    fn pixel_bits(&self) -> u64 {
        if self.depth == 15 { 16 } else { self.depth.into() }
    }
    fn pitch(&self) -> u64 {
        u64::from(self.virtual_width) * self.pixel_bits() / 8
    }
    fn start(&self) -> u64 {
        u64::from(self.y) * self.pitch() + u64::from(self.x) * self.pixel_bits() / 8
    }
    fn virtual_height(&self) -> u16 {
        (self.memory / self.pitch().max(1)).min(u16::MAX.into()) as u16
    }
    /// Makes a mode of what software has asked for, one that fits into memory.
    fn mend(&mut self) {
        if !self.is_enabled() {
            return;
        }
        if !matches!(self.depth, 4 | 8 | 15 | 16 | 24 | 32) {
            self.depth = 8;
        }
        self.width = (self.width & !7).clamp(8, MAX.0);
        self.virtual_width = (self.virtual_width & !7).clamp(self.width, MAX.0);
        let most = (self.memory / self.pitch()).clamp(1, MAX.1.into()) as u16;
        self.height = self.height.clamp(1, most);
        let shown = u64::from(self.height) * self.pitch();
        if self.start() + shown > self.memory {
            self.y = 0;
        }
        if self.start() + shown > self.memory {
            self.x = 0;
        }
        self.bank &= ((self.memory >> 16).max(1) - 1) as u16;
    }
    /// The mode that is shown, if one is.
    pub fn mode(&self) -> Option<Mode> {
        let format = match self.depth {
            4 => None,
            8 => Some(PixelFormat::Indexed),
            15 => Some(PixelFormat::Rgb555),
            16 => Some(PixelFormat::Rgb565),
            24 => Some(PixelFormat::Rgb888),
            _ => Some(PixelFormat::Xrgb8888),
        };
        self.is_enabled().then(|| Mode {
            width: self.width.into(),
            height: self.height.into(),
            format,
            pitch: self.pitch(),
            start: self.start(),
        })
    }
    /// Reads a register.
    pub fn read(&self, number: u16) -> u16 {
        let capabilities = self.enable & enable::CAPABILITIES != 0;
        let largest = |value: u16, most: u16| if capabilities { most } else { value };
        match number {
            index::ID => self.version,
            index::WIDTH => largest(self.width, MAX.0),
            index::HEIGHT => largest(self.height, MAX.1),
            index::DEPTH => largest(self.depth, MAX.2),
            index::ENABLE => self.enable,
            index::BANK => self.bank,
            index::VIRTUAL_WIDTH => self.virtual_width,
            index::VIRTUAL_HEIGHT => self.virtual_height(),
            index::X => self.x,
            index::Y => self.y,
            index::MEMORY => (self.memory >> 16) as u16,
            _ => 0,
        }
    }
}

impl Registers {
    /// Writes a VBE register.
    pub fn write_vbe(&mut self, number: u16, value: u16) {
        let vbe = &mut self.vbe;
        match number {
            index::ID if VERSIONS.contains(&value) => vbe.version = value,
            index::WIDTH => vbe.width = value,
            index::HEIGHT => vbe.height = value,
            index::DEPTH => vbe.depth = value,
            index::BANK => vbe.bank = value & ((vbe.memory >> 16).max(1) - 1) as u16,
            index::VIRTUAL_WIDTH => vbe.virtual_width = value,
            index::X => vbe.x = value,
            index::Y => vbe.y = value,
            index::ENABLE => {
                let was_enabled = vbe.is_enabled();
                vbe.enable = value
                    & (enable::ENABLED
                        | enable::CAPABILITIES
                        | enable::WIDE_PALETTE
                        | enable::LINEAR
                        | enable::KEEP_MEMORY);
                if vbe.is_enabled() && !was_enabled {
                    (vbe.virtual_width, vbe.x, vbe.y) = (0, 0, 0);
                    self.clear_wanted = value & enable::KEEP_MEMORY == 0;
                }
                if !vbe.is_enabled() {
                    vbe.bank = 0;
                }
            }
            _ => return,
        }
        self.vbe.mend();
        self.follow_vbe();
    }
    /// Sets the VGA's own registers to the VBE mode, as the VGA BIOS and drivers expect it.
    fn follow_vbe(&mut self) {
        let Some(Mode { width, height, format, pitch, start }) = self.vbe.mode() else { return };
        // Graphics in 64 KiB at 0xa0000.
        self.gc[gc::MISCELLANEOUS] = self.gc[gc::MISCELLANEOUS] & !0x0c | 0x05;
        let last = height - 1;
        let overflow = self.crtc[crtc::OVERFLOW] & !0x42 | (last >> 7 & 2) as u8 | (last >> 3 & 0x40) as u8;
        // Addresses count planes of bytes here: a cell is four bytes of the linear memory.
        let cells = start / 4;
        for (number, value) in [
            (crtc::MODE, self.crtc[crtc::MODE] | 3),
            (crtc::OFFSET, (pitch / 8) as u8),
            (crtc::DISPLAY_END, (width / 8 - 1) as u8),
            (crtc::VERTICAL_DISPLAY_END, last as u8),
            (crtc::OVERFLOW, overflow),
            (crtc::MAXIMUM_SCAN_LINE, self.crtc[crtc::MAXIMUM_SCAN_LINE] & !0x9f),
            (crtc::START_HIGH, (cells >> 8) as u8),
            (crtc::START_LOW, cells as u8),
        ] {
            self.set_crtc(number, value);
        }
        self.gc[gc::MODE] &= !0x60;
        if format.is_none() {
            self.seq[seq::CLOCKING] &= !8;
            self.seq[seq::MEMORY_MODE] &= !8;
        } else {
            self.gc[gc::MODE] |= 0x40;
            self.seq[seq::MEMORY_MODE] |= 8;
            self.seq[seq::MAP_MASK] |= 0x0f;
        }
    }
}

/// The ports: the index at 0x1ce, the data at 0x1cf, and where other architectures have it, at 0x1d0.
pub(super) struct Ports(pub Arc<Vga>);

impl Io for Ports {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        let state = self.0.state.enter()?;
        let value = if offset == 0 { state.vbe.index } else { state.vbe.read(state.vbe.index) };
        Ok(value.into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.change(|state| match offset {
            0 => state.vbe.index = value as u16,
            _ => state.write_vbe(state.vbe.index, value as u16),
        })
    }
}
