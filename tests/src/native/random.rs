//! Random numbers, and values on which instructions tend to go wrong.

/// A xorshift generator: the same seed gives the same cases.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; any seed will do.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        ((self.bits() >> 32) % u64::from(n)) as u32
    }

    /// True in that many of a hundred calls.
    pub fn percent(&mut self, n: u32) -> bool {
        self.below(100) < n
    }

    /// An element of a slice that is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    /// An integer, often at the edge of a type.
    pub fn integer(&mut self) -> u32 {
        const EDGES: [u32; 12] =
            [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.below(300),
            _ => self.bits() as u32,
        }
    }

    /// Eight bytes: two singles, a double or integers; infinities, NaNs, denormals and zeros often.
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
        match self.below(8) {
            0 => u64::from(self.pick(&SINGLES)) | u64::from(self.pick(&SINGLES)) << 32,
            1 => self.pick(&DOUBLES),
            2 => u64::from(self.below(70)),
            3 => u64::from(self.integer()) | u64::from(self.integer()) << 32,
            // Doubles and singles of moderate size.
            4 => self.bits() & 0x800f_ffff_ffff_ffff | u64::from(0x3f8 + self.below(16)) << 52,
            5 => self.bits() & 0x80ff_ffff_80ff_ffff | 0x3f00_0000_4000_0000,
            _ => self.bits(),
        }
    }

    /// An 80-bit float.
    pub fn extended(&mut self) -> [u8; 10] {
        const EXPONENTS: [u16; 11] = [0, 0x3fff, 0x4000, 0x3ffe, 0x401e, 0x403e, 0x7fff, 1, 0x7ffe, 0x3f00, 0x4005];
        const SIGNIFICANDS: [u64; 8] =
            [0, 1 << 63, 0xc000 << 48, 0xa000_0000_0000_0001, 0x8000_0000_0000_0001, u64::MAX, 1, 0x4000 << 48];
        let exponent = self.pick(&EXPONENTS) | (self.below(2) as u16) << 15;
        let significand = if self.percent(50) { self.bits() | 1 << 63 } else { self.pick(&SIGNIFICANDS) };
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&significand.to_le_bytes());
        bytes[8..].copy_from_slice(&exponent.to_le_bytes());
        bytes
    }
}
