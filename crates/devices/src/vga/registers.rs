//! The registers of the VGA.

use super::vbe::Vbe;
use super::{BANK, WINDOW};
use isamorph_device::BadState;
use isamorph_display::Rgb;

/// Register numbers that the rest of the device uses, by controller.
pub mod seq {
    pub const CLOCKING: usize = 1;
    pub const MAP_MASK: usize = 2;
    pub const CHARACTER_MAPS: usize = 3;
    pub const MEMORY_MODE: usize = 4;
}
pub mod gc {
    pub const SET_RESET: usize = 0;
    pub const ENABLE_SET_RESET: usize = 1;
    pub const COLOR_COMPARE: usize = 2;
    pub const ROTATE: usize = 3;
    pub const READ_MAP: usize = 4;
    pub const MODE: usize = 5;
    pub const MISCELLANEOUS: usize = 6;
    pub const COLOR_CARE: usize = 7;
    pub const BIT_MASK: usize = 8;
}
pub mod crtc {
    pub const DISPLAY_END: usize = 0x01;
    pub const OVERFLOW: usize = 0x07;
    pub const MAXIMUM_SCAN_LINE: usize = 0x09;
    pub const CURSOR_START: usize = 0x0a;
    pub const CURSOR_END: usize = 0x0b;
    pub const START_HIGH: usize = 0x0c;
    pub const START_LOW: usize = 0x0d;
    pub const CURSOR_HIGH: usize = 0x0e;
    pub const CURSOR_LOW: usize = 0x0f;
    pub const VERTICAL_RETRACE_END: usize = 0x11;
    pub const VERTICAL_DISPLAY_END: usize = 0x12;
    pub const OFFSET: usize = 0x13;
    pub const UNDERLINE: usize = 0x14;
    pub const MODE: usize = 0x17;
    pub const LINE_COMPARE: usize = 0x18;
}
pub mod attr {
    pub const MODE: usize = 0x10;
    pub const PLANE_ENABLE: usize = 0x12;
    pub const PANNING: usize = 0x13;
    pub const COLOR_SELECT: usize = 0x14;
}

/// Bits that each register has.
const SEQ_BITS: [u8; 5] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GC_BITS: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const ATTR_BITS: [u8; 5] = [0xef, 0xff, 0x3f, 0x0f, 0x0f];
const CRTC: usize = 25;

/// Colours of the palette.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dac {
    colors: [Rgb; 256],
    mask: u8,
    write_index: u8,
    read_index: u8,
    /// Which of the three colours comes next, and those that came.
    part: u8,
    latch: Rgb,
    /// Whether the last index was for reading.
    reading: bool,
}

impl Dac {
    fn read(&mut self) -> u8 {
        let value = self.colors[usize::from(self.read_index)][usize::from(self.part)];
        self.part = (self.part + 1) % 3;
        if self.part == 0 {
            self.read_index = self.read_index.wrapping_add(1);
        }
        value
    }
    fn write(&mut self, value: u8) {
        self.latch[usize::from(self.part)] = value;
        self.part = (self.part + 1) % 3;
        if self.part == 0 {
            self.colors[usize::from(self.write_index)] = self.latch;
            self.write_index = self.write_index.wrapping_add(1);
        }
    }
}

/// All registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    pub seq: [u8; 5],
    pub gc: [u8; 9],
    pub crtc: [u8; CRTC],
    pub attr: [u8; 21],
    pub vbe: Vbe,
    seq_index: u8,
    gc_index: u8,
    crtc_index: u8,
    attr_index: u8,
    /// Whether the attribute controller's port takes data next.
    attr_data: bool,
    misc: u8,
    feature: u8,
    status: u8,
    dac: Dac,
    /// The four bytes that the last read of the window has left.
    pub latch: [u8; 4],
    /// Whether the memory is to be cleared, as a new VBE mode wants it.
    pub clear_wanted: bool,
}

impl Registers {
    /// What power-on leaves, with so much memory.
    pub fn new(memory: u64) -> Self {
        let mut crtc = [0; CRTC];
        crtc[crtc::MODE] = 0x80;
        Registers {
            seq: [0; 5],
            gc: [0; 9],
            crtc,
            attr: [0; 21],
            vbe: Vbe::new(memory),
            seq_index: 0,
            gc_index: 0,
            crtc_index: 0,
            attr_index: 0,
            attr_data: false,
            misc: 0,
            feature: 0,
            status: 0,
            dac: Dac {
                colors: [[0; 3]; 256],
                mask: 0xff,
                write_index: 0,
                read_index: 0,
                part: 0,
                latch: [0; 3],
                reading: false,
            },
            latch: [0; 4],
            clear_wanted: false,
        }
    }
    /// Whether it is a state that the registers can have.
    pub fn check(&self, memory: u64) -> Result<(), BadState> {
        BadState::unless(self.dac.part < 3, "vga palette index")?;
        BadState::unless(self.vbe.is_good(memory), "vbe mode")
    }
    /// Whether the screen shows the same with these and those, if the memory is the same.
    pub fn looks_like(&self, other: &Registers) -> bool {
        // Written out, so that a new register has to be thought of.
        let Registers { seq, gc, crtc, attr, vbe, attr_index, dac, .. } = self;
        let Registers { seq_index: _, gc_index: _, crtc_index: _, attr_data: _, .. } = self;
        let Registers { misc: _, feature: _, status: _, latch: _, clear_wanted: _, .. } = self;
        *seq == other.seq
            && *gc == other.gc
            && *crtc == other.crtc
            && *attr == other.attr
            && *vbe == other.vbe
            && *attr_index & 0x20 == other.attr_index & 0x20
            && (dac.colors, dac.mask) == (other.dac.colors, other.dac.mask)
    }
    /// The ports of the CRT controller are those of a monochrome or of a colour adapter.
    fn is_here(&self, port: u16) -> bool {
        match port >> 4 {
            0x3b => self.misc & 1 == 0,
            0x3d => self.misc & 1 != 0,
            _ => true,
        }
    }
    /// Reads a port.
    pub fn read(&mut self, port: u16) -> u8 {
        if !self.is_here(port) {
            return 0xff;
        }
        match port {
            0x3c0 if self.attr_data => 0,
            0x3c0 => self.attr_index,
            0x3c1 => self.attr.get(usize::from(self.attr_index & 0x1f)).copied().unwrap_or(0),
            0x3c2 => 0,
            0x3c4 => self.seq_index,
            0x3c5 => self.seq.get(usize::from(self.seq_index)).copied().unwrap_or(0),
            0x3c6 => self.dac.mask,
            0x3c7 if self.dac.reading => 3,
            0x3c7 => 0,
            0x3c8 => self.dac.write_index,
            0x3c9 => self.dac.read(),
            0x3ca => self.feature,
            0x3cc => self.misc,
            0x3ce => self.gc_index,
            0x3cf => self.gc.get(usize::from(self.gc_index)).copied().unwrap_or(0),
            0x3b4 | 0x3d4 => self.crtc_index,
            0x3b5 | 0x3d5 => self.crtc.get(usize::from(self.crtc_index)).copied().unwrap_or(0),
            0x3ba | 0x3da => {
                // Whoever waits for the retrace, or for its end, waits for one more look.
                self.attr_data = false;
                self.status ^= 0x09;
                self.status
            }
            _ => 0,
        }
    }
    /// Writes a port.
    pub fn write(&mut self, port: u16, value: u8) {
        if !self.is_here(port) {
            return;
        }
        match port {
            0x3c0 => self.write_attribute(value),
            0x3c2 => self.misc = value & !0x10,
            0x3c4 => self.seq_index = value & 7,
            0x3c5 => put(&mut self.seq, self.seq_index, value & bits(&SEQ_BITS, self.seq_index)),
            0x3c6 => self.dac.mask = value,
            0x3c7 => (self.dac.read_index, self.dac.part, self.dac.reading) = (value, 0, true),
            0x3c8 => (self.dac.write_index, self.dac.part, self.dac.reading) = (value, 0, false),
            0x3c9 => {
                // Six bits unless VBE has set eight.
                let kept = if self.vbe.has_wide_palette() { value } else { value & 0x3f };
                self.dac.write(kept);
            }
            0x3ce => self.gc_index = value & 15,
            0x3cf => put(&mut self.gc, self.gc_index, value & bits(&GC_BITS, self.gc_index)),
            0x3b4 | 0x3d4 => self.crtc_index = value,
            0x3b5 | 0x3d5 => self.write_crtc(value),
            0x3ba | 0x3da => self.feature = value & 0x10,
            _ => {}
        }
    }
    fn write_attribute(&mut self, value: u8) {
        self.attr_data = !self.attr_data;
        if self.attr_data {
            self.attr_index = value & 0x3f;
            return;
        }
        let index = self.attr_index & 0x1f;
        let bits = match index {
            0..=15 => 0x3f,
            _ => ATTR_BITS.get(usize::from(index) - 16).copied().unwrap_or(0),
        };
        // While the palette is shown it cannot be written.
        if index > 15 || self.attr_index & 0x20 == 0 {
            put(&mut self.attr, index, value & bits);
        }
    }
    fn write_crtc(&mut self, value: u8) {
        let index = usize::from(self.crtc_index);
        let protected = self.crtc[crtc::VERTICAL_RETRACE_END] & 0x80 != 0;
        match index {
            // Only the bit of the line comparison is not protected.
            crtc::OVERFLOW if protected => self.crtc[index] = self.crtc[index] & !0x10 | value & 0x10,
            0..=crtc::OVERFLOW if protected => {}
            0..CRTC => self.crtc[index] = value,
            _ => {}
        }
    }
    /// A register of the CRT controller, as VBE modes set it whether it is protected or not.
    pub fn set_crtc(&mut self, index: usize, value: u8) {
        self.crtc[index] = value;
    }
    /// Whether the attribute controller shows anything.
    pub fn is_on(&self) -> bool {
        self.attr_index & 0x20 != 0 && self.seq[seq::CLOCKING] & 0x20 == 0
    }
    /// The colours of the palette, eight bits each.
    pub fn palette(&self) -> [Rgb; 256] {
        let wide = self.vbe.has_wide_palette();
        let shown = |color: Rgb| if wide { color } else { color.map(|c| c << 2 | c >> 4 & 3) };
        std::array::from_fn(|i| shown(self.dac.colors[i & usize::from(self.dac.mask)]))
    }
    /// The sixteen colours of the attribute controller.
    pub fn attribute_palette(&self) -> [Rgb; 16] {
        let palette = self.palette();
        let select = self.attr[attr::COLOR_SELECT];
        std::array::from_fn(|i| {
            let color = self.attr[i];
            let index = if self.attr[attr::MODE] & 0x80 != 0 {
                select << 4 | color & 0x0f
            } else {
                (select & 0x0c) << 4 | color
            };
            palette[usize::from(index)]
        })
    }
    /// The part of the window that answers: offset and bytes.
    pub fn window(&self) -> (u64, u64) {
        match self.gc[gc::MISCELLANEOUS] >> 2 & 3 {
            0 => (0, WINDOW),
            1 => (0, BANK),
            2 => (0x1_0000, 0x8000),
            _ => (0x1_8000, 0x8000),
        }
    }
    /// Whether four planes are one after the other in memory.
    pub fn is_chained(&self) -> bool {
        self.seq[seq::MEMORY_MODE] & 8 != 0
    }
    /// What of the memory the window shows, if accesses only move bytes: offset in the window, in memory, and bytes.
    pub fn direct(&self) -> Option<(u64, u64, u64)> {
        let plain = self.is_chained()
            && self.seq[seq::MAP_MASK] == 0x0f
            // Write mode 0, read mode 0; nothing combined with anything.
            && self.gc[gc::MODE] & 0x0b == 0
            && self.gc[gc::ENABLE_SET_RESET] == 0
            && self.gc[gc::ROTATE] == 0
            && self.gc[gc::BIT_MASK] == 0xff;
        let (at, len) = self.window();
        let from = self.vbe.bank_offset();
        let len = len.min(self.vbe.memory().saturating_sub(from));
        (plain && len > 0).then_some((at, from, len))
    }
}

fn put(registers: &mut [u8], index: u8, value: u8) {
    if let Some(register) = registers.get_mut(usize::from(index)) {
        *register = value;
    }
}

fn bits(table: &[u8], index: u8) -> u8 {
    table.get(usize::from(index)).copied().unwrap_or(0)
}
