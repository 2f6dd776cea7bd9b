//! Pixels as they are in the memory of display adapters.

use crate::Rgb;

/// How a pixel is kept, little endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PixelFormat {
    /// A byte that is an index of a palette.
    Indexed,
    /// Five bits each in a word.
    Rgb555,
    /// Five, six and five bits in a word.
    Rgb565,
    /// Three bytes, blue first.
    Rgb888,
    /// Four bytes, blue first, the last one unused.
    Xrgb8888,
}

impl PixelFormat {
    /// Bytes of a pixel.
    pub fn bytes(self) -> usize {
        match self {
            PixelFormat::Indexed => 1,
            PixelFormat::Rgb555 | PixelFormat::Rgb565 => 2,
            PixelFormat::Rgb888 => 3,
            PixelFormat::Xrgb8888 => 4,
        }
    }
    /// Draws a row of pixels, as far as there are both pixels and room.
    pub fn draw(self, from: &[u8], palette: &[Rgb; 256], out: &mut [Rgb]) {
        let pixel: fn(&[u8], &[Rgb; 256]) -> Rgb = match self {
            PixelFormat::Indexed => |p, palette| palette[usize::from(p[0])],
            PixelFormat::Rgb555 => |p, _| {
                let word = u16::from_le_bytes([p[0], p[1]]);
                [widen(word >> 10, 5), widen(word >> 5, 5), widen(word, 5)]
            },
            PixelFormat::Rgb565 => |p, _| {
                let word = u16::from_le_bytes([p[0], p[1]]);
                [widen(word >> 11, 5), widen(word >> 5, 6), widen(word, 5)]
            },
            PixelFormat::Rgb888 | PixelFormat::Xrgb8888 => |p, _| [p[2], p[1], p[0]],
        };
        for (to, from) in out.iter_mut().zip(from.chunks_exact(self.bytes())) {
            *to = pixel(from, palette);
        }
    }
}

/// A colour of few bits as one of eight, so that the largest becomes the largest.
fn widen(value: u16, bits: u32) -> u8 {
    let value = value & ((1 << bits) - 1);
    (value << (8 - bits) | value >> (2 * bits - 8)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_is_white_in_every_format() {
        let mut palette = [[0; 3]; 256];
        palette[255] = [255; 3];
        for format in
            [PixelFormat::Indexed, PixelFormat::Rgb555, PixelFormat::Rgb565, PixelFormat::Rgb888, PixelFormat::Xrgb8888]
        {
            let mut out = [[1; 3]; 3];
            let mut from = vec![0xff; format.bytes()];
            from.resize(2 * format.bytes(), 0);
            format.draw(&from, &palette, &mut out);
            assert_eq!(out, [[255; 3], [0; 3], [1; 3]], "{format:?}");
        }
    }

    #[test]
    fn colours_are_where_they_belong() {
        let draw = |format: PixelFormat, from: &[u8]| {
            let mut out = [[0; 3]; 1];
            format.draw(from, &[[0; 3]; 256], &mut out);
            out[0]
        };
        assert_eq!(draw(PixelFormat::Rgb565, &0xf800u16.to_le_bytes()), [255, 0, 0]);
        assert_eq!(draw(PixelFormat::Rgb565, &0x0400u16.to_le_bytes()), [0, 130, 0]);
        assert_eq!(draw(PixelFormat::Rgb555, &0x001fu16.to_le_bytes()), [0, 0, 255]);
        assert_eq!(draw(PixelFormat::Rgb555, &0x7c00u16.to_le_bytes()), [255, 0, 0]);
        assert_eq!(draw(PixelFormat::Xrgb8888, &[3, 2, 1, 9]), [1, 2, 3]);
    }
}
