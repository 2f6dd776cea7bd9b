//! What the tests of devices share: accesses without any sense.

use isamorph_device::ManualClock;
use isamorph_space::Io;
use std::sync::Arc;

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.max(1))
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
    /// Mostly small numbers and single bits, now and then any number.
    pub fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(256),
            1 => 1 << self.below(64),
            2 => !0,
            _ => self.next(),
        }
    }
}

/// Registers with their length and the sizes in which they are accessed.
pub struct Registers {
    pub io: Arc<dyn Io>,
    pub length: u64,
    pub sizes: &'static [u32],
}

impl Registers {
    pub fn new(io: Arc<dyn Io>, length: u64, sizes: &'static [u32]) -> Self {
        Registers { io, length, sizes }
    }
}

/// Makes so many random accesses with time passing in between, and calls `between` now and then. The device must bear
/// it; what it answers does not matter. With `ISAMORPH_FUZZ_SECONDS` in the environment it goes on for that long.
pub fn hammer(
    seed: u64,
    accesses: u32,
    registers: &[Registers],
    clock: &ManualClock,
    mut between: impl FnMut(&mut Random),
) {
    let mut random = Random::new(seed);
    let seconds = std::env::var("ISAMORPH_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut made = 0;
    while made < accesses || made % 1024 != 0 || std::time::Instant::now() < end {
        made += 1;
        let target = &registers[random.below(registers.len() as u64) as usize];
        let size = target.sizes[random.below(target.sizes.len() as u64) as usize];
        let offset = random.below(target.length / u64::from(size)) * u64::from(size);
        let mask = u64::MAX >> (64 - 8 * size);
        if random.below(3) == 0 {
            if let Ok(value) = target.io.read(offset, size) {
                assert_eq!(value & !mask, 0, "read of {size} bytes at {offset:#x}");
            }
        } else {
            let _ = target.io.write(offset, size, random.value() & mask);
        }
        if random.below(16) == 0 {
            let shift = random.below(30);
            clock.advance(random.below(1 << shift) + 1);
        }
        if random.below(8) == 0 {
            between(&mut random);
        }
    }
}
