//! Random numbers, interesting ones often.

/// A xorshift generator.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 32) % n
    }
    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
    /// Eight bytes that are two singles, one double, or integers, interesting ones often.
    pub fn lanes(&mut self) -> u64 {
        const SINGLES: [u32; 14] = [
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbfc0_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_1234,
            0xffa0_4321,
            0x0000_0001,
            0x807f_ffff,
            0x7f7f_ffff,
            0x4f00_0000,
            0xcf00_0001,
            0x3f00_0000,
        ];
        const DOUBLES: [u64; 14] = [
            0,
            1 << 63,
            0x3ff0 << 48,
            0xbff8 << 48,
            0x7ff0 << 48,
            0xfff0 << 48,
            0x7ff8_0000_0000_1234,
            0xfff4_0000_0000_4321,
            1,
            0x800f_ffff_ffff_ffff,
            0x7fef_ffff_ffff_ffff,
            0x41e0 << 48,
            0xc1e0_0000_0010_0000,
            0x3fe0 << 48,
        ];
        match self.below(6) {
            0 | 1 => u64::from(self.pick(&SINGLES)) | u64::from(self.pick(&SINGLES)) << 32,
            2 | 3 => self.pick(&DOUBLES),
            4 => self.below(70),
            _ => self.next(),
        }
    }
    /// An 80-bit float.
    pub fn extended(&mut self) -> [u8; 10] {
        let exponents = [0, 0x3fff, 0x4000, 0x3ffe, 0x401e, 0x403e, 0x7fff, 1, 0x7ffe, 0x3f00, 0x4005];
        let significands =
            [0, 1 << 63, 0xc000 << 48, 0xa000_0000_0000_0001, 0x8000_0000_0000_0001, u64::MAX, 1, 0x4000 << 48];
        let exponent = self.pick(&exponents) | (self.below(2) as u16) << 15;
        let significand = if self.below(3) == 0 { self.next() } else { self.pick(&significands) };
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&significand.to_le_bytes());
        bytes[8..].copy_from_slice(&exponent.to_le_bytes());
        bytes
    }
}
