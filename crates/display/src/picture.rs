//! What a screen shows, as pixels, and as files of them.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::{self, Write};
use std::ops::Range;

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// Pixels, row by row from the top left.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

impl Picture {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> Self {
        Picture { width, height, pixels: vec![[0; 3]; width * height] }
    }
    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }
    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }
    /// A row; nothing below the last one.
    pub fn row(&self, y: usize) -> &[Rgb] {
        self.pixels.get(y * self.width..(y + 1) * self.width).unwrap_or_default()
    }
    /// A row to draw in.
    pub fn row_mut(&mut self, y: usize) -> &mut [Rgb] {
        self.pixels.get_mut(y * self.width..(y + 1) * self.width).unwrap_or_default()
    }
    /// Makes one row like another.
    pub fn copy_row(&mut self, from: usize, to: usize) {
        if from < self.height && to < self.height {
            self.pixels.copy_within(from * self.width..(from + 1) * self.width, to * self.width);
        }
    }
    /// As a PPM file (P6).
    pub fn to_ppm(&self) -> Vec<u8> {
        let mut file = format!("P6\n{} {}\n255\n", self.width, self.height).into_bytes();
        file.extend(self.pixels.as_flattened());
        file
    }
    /// As a PNG file (ISO/IEC 15948): eight bits per colour, no filters.
    ///
    /// # Errors
    /// The picture is too large for the format.
    pub fn to_png(&self) -> io::Result<Vec<u8>> {
        let side = |n: usize| {
            u32::try_from(n)
                .ok()
                .filter(|n| (1..1 << 31).contains(n))
                .ok_or(io::Error::from(io::ErrorKind::InvalidData))
        };
        let mut header = [side(self.width)?.to_be_bytes(), side(self.height)?.to_be_bytes()].concat();
        // Depth, colours, compression, filter, no interlacing.
        header.extend([8, 2, 0, 0, 0]);
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks_exact(self.width) {
            packed.write_all(&[0])?;
            packed.write_all(row.as_flattened())?;
        }
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, content) in [(b"IHDR", header), (b"IDAT", packed.finish()?), (b"IEND", Vec::new())] {
            put_chunk(&mut file, name, &content);
        }
        Ok(file)
    }
}

fn put_chunk(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(content);
    file.extend((content.len() as u32).to_be_bytes());
    file.extend(name);
    file.extend(content);
    file.extend(crc.sum().to_be_bytes());
}

/// Something that shows a picture.
pub trait Screen: Send + Sync {
    /// What it shows now.
    fn picture(&self) -> Picture;
    /// Brings the picture of the one display that follows it up to date. Gives the rows that may have changed.
    fn refresh(&self, picture: &mut Picture) -> Range<usize>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn two_by_three() -> Picture {
        let mut picture = Picture::new(2, 3);
        picture.row_mut(0).copy_from_slice(&[[1, 2, 3], [4, 5, 6]]);
        picture.copy_row(0, 2);
        picture
    }

    #[test]
    fn a_ppm_file_is_a_header_and_the_pixels() {
        let file = two_by_three().to_ppm();
        assert_eq!(file, b"P6\n2 3\n255\n\x01\x02\x03\x04\x05\x06\0\0\0\0\0\0\x01\x02\x03\x04\x05\x06");
    }

    #[test]
    fn a_png_file_has_the_pixels_in_its_chunks() {
        let file = two_by_three().to_png().unwrap();
        let (mut rest, mut names, mut pixels) = (&file[8..], Vec::new(), Vec::new());
        while !rest.is_empty() {
            let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let mut crc = flate2::Crc::new();
            crc.update(&rest[4..8 + len]);
            assert_eq!(rest[8 + len..12 + len], crc.sum().to_be_bytes());
            names.push(String::from_utf8(rest[4..8].to_vec()).unwrap());
            if names.last().unwrap() == "IDAT" {
                flate2::read::ZlibDecoder::new(&rest[8..8 + len]).read_to_end(&mut pixels).unwrap();
            }
            rest = &rest[12 + len..];
        }
        assert_eq!(names, ["IHDR", "IDAT", "IEND"]);
        assert_eq!(pixels, [0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
        assert!(Picture::default().to_png().is_err(), "there are no empty PNG files");
    }
}
