//! What the screen shows.

use super::registers::{Registers, attr, crtc, gc, seq};
use super::vbe::Mode;
use isamorph_display::{Glyph, Picture, PixelFormat, Rgb};
use isamorph_ram::RamBlock;

/// Size of a screen that shows nothing.
const DARK: (usize, usize) = (640, 400);
/// Bytes that the font has for each character.
const FONT_ROWS: usize = 32;

/// Draws what the registers and the memory say.
pub fn draw(state: &Registers, memory: &RamBlock) -> Picture {
    let screen = Screen { state, memory };
    match state.vbe.mode() {
        Some(Mode { format: Some(format), width, height, pitch, start }) => {
            screen.draw_packed(format, width, height, pitch, start)
        }
        Some(Mode { format: None, width, height, pitch, start }) => {
            screen.draw_planar(&Raster { width, height, repeat: 1, stretch: 1, pitch: pitch / 4, start: start / 4 })
        }
        None if !state.is_on() => Picture::new(DARK.0, DARK.1),
        None if state.gc[gc::MISCELLANEOUS] & 1 == 0 => screen.draw_text(),
        None => screen.draw_graphics(),
    }
}

/// How a graphics mode goes over the memory.
struct Raster {
    width: usize,
    height: usize,
    /// Lines of the screen for each of the picture.
    repeat: usize,
    /// How often a pixel is drawn next to itself.
    stretch: usize,
    /// Cells from one line to the next, and the first one.
    pitch: u64,
    start: u64,
}

/// The registers and the memory.
struct Screen<'a> {
    state: &'a Registers,
    memory: &'a RamBlock,
}

impl Screen<'_> {
    fn crtc(&self, number: usize) -> usize {
        self.state.crtc[number].into()
    }
    /// Lines until the display's end.
    fn lines(&self) -> usize {
        let overflow = self.crtc(crtc::OVERFLOW);
        (self.crtc(crtc::VERTICAL_DISPLAY_END) | overflow << 7 & 0x100 | overflow << 3 & 0x200) + 1
    }
    /// The line after which the display starts again at the first cell.
    fn line_compare(&self) -> usize {
        let (overflow, scan) = (self.crtc(crtc::OVERFLOW), self.crtc(crtc::MAXIMUM_SCAN_LINE));
        self.crtc(crtc::LINE_COMPARE) | overflow << 4 & 0x100 | scan << 3 & 0x200
    }
    fn start(&self) -> u64 {
        (self.crtc(crtc::START_HIGH) << 8 | self.crtc(crtc::START_LOW)) as u64
    }
    fn pitch(&self) -> u64 {
        self.crtc(crtc::OFFSET) as u64 * 2
    }
    fn characters(&self) -> usize {
        self.crtc(crtc::DISPLAY_END) + 1
    }
    /// Bytes of memory, which wraps at its end.
    fn bytes(&self, offset: u64, out: &mut [u8]) {
        let size = self.memory.size();
        let mut done = 0;
        while done < out.len() {
            let at = (offset + done as u64) % size;
            let count = (out.len() - done).min((size - at) as usize);
            // The offset was brought into the block.
            let _ = self.memory.read(at, &mut out[done..done + count]);
            done += count;
        }
    }
    fn draw_packed(&self, format: PixelFormat, width: usize, height: usize, pitch: u64, start: u64) -> Picture {
        let palette = self.state.palette();
        let mut picture = Picture::new(width, height);
        let mut line = vec![0; width * format.bytes()];
        for y in 0..height {
            self.bytes(start + y as u64 * pitch, &mut line);
            format.draw(&line, &palette, picture.row_mut(y));
        }
        picture
    }
    /// The modes of the VGA itself.
    fn draw_graphics(&self) -> Picture {
        let scan = self.crtc(crtc::MAXIMUM_SCAN_LINE);
        let half_clock = self.state.seq[seq::CLOCKING] & 8 != 0;
        let repeat = ((scan & 0x1f) + 1) << (scan >> 7 & 1);
        let mut raster = Raster {
            width: self.characters() * 8,
            height: self.lines(),
            repeat,
            stretch: 1,
            pitch: self.pitch(),
            start: self.start(),
        };
        let shift = self.state.gc[gc::MODE] >> 5 & 3;
        if shift < 2 && half_clock {
            (raster.width, raster.stretch) = (raster.width * 2, 2);
        }
        match shift {
            0 => self.draw_planar(&raster),
            1 => self.draw_pairs(&raster),
            _ => self.draw_bytes(&Raster { stretch: 2, ..raster }),
        }
    }
    /// Draws lines of cells: `pixels` makes eight or four of each.
    fn draw_cells(&self, raster: &Raster, per_cell: usize, pixels: impl Fn([u8; 4], &mut [Rgb])) -> Picture {
        let mut picture = Picture::new(raster.width, raster.height);
        let cells = raster.width.div_ceil(per_cell * raster.stretch);
        let panning = self.panning(per_cell);
        let mut line = vec![0; (cells + 1) * 4];
        let mut drawn = vec![[0; 3]; (cells + 1) * per_cell];
        let compare = if self.state.vbe.is_enabled() { usize::MAX } else { self.line_compare() };
        let (mut start, mut first) = (raster.start, 0);
        for y in 0..raster.height {
            let in_repeat = (y - first) % raster.repeat;
            // A row of several lines has them from one address, unless row scan bits are part of it.
            if in_repeat == 0 || self.substitutes() {
                let row = ((y - first) / raster.repeat) as u64;
                // The row scan counter counts pairs of lines where they are doubled.
                let scan = in_repeat >> (self.crtc(crtc::MAXIMUM_SCAN_LINE) >> 7);
                let cell = self.substitute(start + row * raster.pitch, scan);
                self.bytes(cell * 4, &mut line);
                for (cell, out) in line.chunks_exact(4).zip(drawn.chunks_exact_mut(per_cell)) {
                    pixels([cell[0], cell[1], cell[2], cell[3]], out);
                }
                for (x, pixel) in picture.row_mut(y).iter_mut().enumerate() {
                    *pixel = drawn[x / raster.stretch + panning];
                }
            } else {
                picture.copy_row(y - 1, y);
            }
            if y == compare {
                (start, first) = (0, y + 1);
            }
        }
        picture
    }
    /// Pixels that are shifted out to the left.
    fn panning(&self, per_cell: usize) -> usize {
        let value = usize::from(self.state.attr[attr::PANNING] & 7);
        match (self.state.vbe.is_enabled(), per_cell) {
            (true, _) => 0,
            (false, 8) => value,
            (false, _) => value / 2,
        }
    }
    /// Whether address bits are replaced by those of the row of a character, as CGA and Hercules modes have it.
    fn substitutes(&self) -> bool {
        !self.state.vbe.is_enabled() && self.crtc(crtc::MODE) & 3 != 3
    }
    fn substitute(&self, mut cell: u64, scan: usize) -> u64 {
        if !self.substitutes() {
            return cell;
        }
        let mode = self.crtc(crtc::MODE);
        // In words the addresses count half as much.
        let bit = 12 + (mode >> 6 & 1);
        for (enable, from) in [(1, 0), (2, 1)] {
            if mode & enable == 0 {
                let at = bit + from;
                cell = cell & !(1 << at) | ((scan >> from & 1) as u64) << at;
            }
        }
        cell
    }
    /// Sixteen colours, a plane for each bit.
    fn draw_planar(&self, raster: &Raster) -> Picture {
        let palette = self.state.attribute_palette();
        let enabled = self.state.attr[attr::PLANE_ENABLE] & 0x0f;
        self.draw_cells(raster, 8, |cell, out| {
            for (x, pixel) in out.iter_mut().enumerate() {
                let bit = |plane: usize| (cell[plane] >> (7 - x) & 1) << plane;
                let color = (bit(0) | bit(1) | bit(2) | bit(3)) & enabled;
                *pixel = palette[usize::from(color)];
            }
        })
    }
    /// Four colours, two bits next to each other: four pixels in plane 0, four in plane 1; planes 2 and 3 have two
    /// more bits of each.
    fn draw_pairs(&self, raster: &Raster) -> Picture {
        let palette = self.state.attribute_palette();
        let enabled = self.state.attr[attr::PLANE_ENABLE] & 0x0f;
        self.draw_cells(raster, 8, |cell, out| {
            for (x, pixel) in out.iter_mut().enumerate() {
                let pair = |byte: u8| byte >> (6 - x % 4 * 2) & 3;
                let color = (pair(cell[x / 4]) | pair(cell[x / 4 + 2]) << 2) & enabled;
                *pixel = palette[usize::from(color)];
            }
        })
    }
    /// 256 colours, each for two clocks.
    fn draw_bytes(&self, raster: &Raster) -> Picture {
        let palette = self.state.palette();
        self.draw_cells(raster, 4, |cell, out| PixelFormat::Indexed.draw(&cell, &palette, out))
    }

    fn draw_text(&self) -> Picture {
        let scan = self.crtc(crtc::MAXIMUM_SCAN_LINE);
        let (rows, double) = ((scan & 0x1f) + 1, 1 + (scan >> 7 & 1));
        let clocking = self.state.seq[seq::CLOCKING];
        let (width, stretch) = (if clocking & 1 == 0 { 9 } else { 8 }, if clocking & 8 != 0 { 2 } else { 1 });
        let (columns, lines) = (self.characters(), self.lines() / double);
        let mut picture = Picture::new(columns * width * stretch, lines * double);
        let text = Text::new(self, rows);
        let mut cells = vec![0; columns * 4];
        for row in 0..lines.div_ceil(rows) {
            let first = self.start() + row as u64 * self.pitch();
            self.bytes(first * 4, &mut cells);
            for (column, cell) in cells.chunks_exact(4).enumerate() {
                let bitmap = text.bitmap(cell[0], cell[1], first + column as u64);
                let [foreground, background] = text.colors(cell[1]);
                // Only the characters of line graphics go on into the ninth column.
                let joined = text.joins && (0xc0..0xe0).contains(&cell[0]);
                let glyph = Glyph { rows: &bitmap[..rows], width, joined, stretch, foreground, background };
                glyph.draw(&mut picture, column * width * stretch, row * rows);
            }
        }
        if double > 1 {
            (0..lines * double).rev().for_each(|y| picture.copy_row(y / double, y));
        }
        picture
    }
}

/// What text is drawn with.
struct Text {
    palette: [Rgb; 16],
    /// The two fonts that bit 3 of an attribute chooses from.
    fonts: [Vec<u8>; 2],
    /// Planes that colours are made of.
    planes: u8,
    blinks: bool,
    joins: bool,
    /// The line under characters of monochrome attributes.
    underline: Option<usize>,
    /// Where the cursor is, and its rows.
    cursor: Option<(u64, std::ops::Range<usize>)>,
}

impl Text {
    fn new(screen: &Screen<'_>, rows: usize) -> Self {
        let maps = screen.state.seq[seq::CHARACTER_MAPS];
        // Bits 5, 3, 2 are for attributes with bit 3 set, bits 4, 1, 0 for those without; a map has 8 KiB, and the
        // highest bit of its number is the odd half of 16 KiB.
        let offset = |low: u8, high: u8| u64::from(low & 3) * 0x4000 + u64::from(high & 1) * 0x2000;
        let places = [offset(maps, maps >> 4), offset(maps >> 2, maps >> 5)];
        let fonts = places.map(|place| {
            let mut cells = vec![0; 256 * FONT_ROWS * 4];
            screen.bytes(place * 4, &mut cells);
            cells.chunks_exact(4).map(|cell| cell[2]).collect()
        });
        let mode = screen.state.attr[attr::MODE];
        let cursor_start = screen.crtc(crtc::CURSOR_START);
        let shape = (cursor_start & 0x1f)..((screen.crtc(crtc::CURSOR_END) & 0x1f) + 1).min(rows);
        let at = (screen.crtc(crtc::CURSOR_HIGH) << 8 | screen.crtc(crtc::CURSOR_LOW)) as u64;
        Text {
            palette: screen.state.attribute_palette(),
            planes: screen.state.attr[attr::PLANE_ENABLE] & 15,
            fonts,
            blinks: mode & 8 != 0,
            joins: mode & 4 != 0,
            underline: (mode & 2 != 0).then(|| screen.crtc(crtc::UNDERLINE) & 0x1f),
            cursor: (cursor_start & 0x20 == 0).then_some((at, shape)),
        }
    }
    fn colors(&self, attribute: u8) -> [Rgb; 2] {
        let background = if self.blinks { attribute >> 4 & 7 } else { attribute >> 4 };
        [attribute & 15, background].map(|color| self.palette[usize::from(color & self.planes)])
    }
    /// The rows of a character with what is drawn over it.
    fn bitmap(&self, character: u8, attribute: u8, at: u64) -> [u8; FONT_ROWS] {
        let font = &self.fonts[usize::from(attribute >> 3 & 1)];
        let start = usize::from(character) * FONT_ROWS;
        let mut bitmap = [0; FONT_ROWS];
        bitmap.copy_from_slice(&font[start..start + FONT_ROWS]);
        if let Some(line) = self.underline.filter(|_| attribute & 7 == 1) {
            bitmap[line] = 0xff;
        }
        if let Some((_, shape)) = self.cursor.as_ref().filter(|(cursor, _)| *cursor == at) {
            // An empty range if the cursor ends before it starts.
            bitmap.get_mut(shape.clone()).unwrap_or_default().fill(0xff);
        }
        bitmap
    }
}
