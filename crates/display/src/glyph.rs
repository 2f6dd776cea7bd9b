//! Characters of text modes.

use crate::{Picture, Rgb};

/// A character as it is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Glyph<'a> {
    /// A byte for each row, the leftmost pixel in bit 7.
    pub rows: &'a [u8],
    /// Pixels of a row: 8 or 9.
    pub width: usize,
    /// Whether a ninth pixel is like the eighth, as line graphics need it.
    pub joined: bool,
    /// How often each pixel is drawn next to itself.
    pub stretch: usize,
    /// Colour of the bits that are set.
    pub foreground: Rgb,
    /// Colour of the others.
    pub background: Rgb,
}

impl Glyph<'_> {
    /// Draws it with its top left corner there; what does not fit is cut off.
    pub fn draw(&self, picture: &mut Picture, x: usize, y: usize) {
        for (dy, bits) in self.rows.iter().enumerate() {
            let ninth = self.joined && bits & 1 != 0;
            let row = picture.row_mut(y + dy);
            let room = row.get_mut(x..).unwrap_or_default();
            for (i, pixel) in room.iter_mut().take(self.width * self.stretch).enumerate() {
                let column = i / self.stretch;
                let set = if column < 8 { bits << column & 0x80 != 0 } else { ninth };
                *pixel = if set { self.foreground } else { self.background };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: usize, joined: bool, stretch: usize) -> String {
        let glyph = Glyph { rows: &[0b1010_0001], width, joined, stretch, foreground: [255; 3], background: [0; 3] };
        let mut picture = Picture::new(20, 1);
        picture.row_mut(0).fill([7; 3]);
        glyph.draw(&mut picture, 1, 0);
        picture
            .row(0)
            .iter()
            .map(|pixel| ['.', '#', ' '][usize::from(pixel[0] == 255) + 2 * usize::from(pixel[0] == 7)])
            .collect()
    }

    #[test]
    fn the_ninth_column_continues_lines_only() {
        assert_eq!(drawn(8, false, 1), " #.#....#           ");
        assert_eq!(drawn(9, false, 1), " #.#....#.          ");
        assert_eq!(drawn(9, true, 1), " #.#....##          ");
        assert_eq!(drawn(8, false, 2), " ##..##........##   ");
    }
}
