//! Displays and input: what a screen shows, and keys and pointers on their way to devices.

mod glyph;
pub mod input;
pub mod keys;
mod picture;
mod pixels;

pub use glyph::Glyph;
pub use picture::{Picture, Rgb, Screen};
pub use pixels::PixelFormat;
