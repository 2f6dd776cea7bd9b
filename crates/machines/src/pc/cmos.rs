//! What the board leaves in the clock's memory for its firmware.
//!
//! The places are those of the PC/AT and of what QEMU and Bochs added; SeaBIOS, `src/hw/rtc.h`, lists them.

use super::memory::Memory;
use crate::config::Config;
use isamorph_devices::rtc::Rtc;

/// Places in the clock's memory.
mod at {
    pub(super) const EQUIPMENT: u8 = 0x14;
    pub(super) const BASE_MEMORY: u8 = 0x15;
    pub(super) const EXTENDED_MEMORY: u8 = 0x17;
    pub(super) const EXTENDED_MEMORY_2: u8 = 0x30;
    pub(super) const MEMORY_ABOVE_16M: u8 = 0x34;
    pub(super) const BOOT_FLAGS_1: u8 = 0x38;
    pub(super) const DISK_TRANSLATION: u8 = 0x39;
    pub(super) const BOOT_FLAGS_2: u8 = 0x3d;
    pub(super) const MEMORY_ABOVE_4G: u8 = 0x5b;
    pub(super) const PROCESSORS: u8 = 0x5f;
}

/// Equipment: a coprocessor and a mouse.
const EQUIPMENT: u8 = 0x06;

fn boot_device(letter: char) -> Option<u8> {
    Some(match letter {
        'a' => 1,
        'c' => 2,
        'd' => 3,
        'n' => 4,
        _ => return None,
    })
}

/// The two bytes that say what is booted from.
fn boot_flags(order: &str, floppy_check: bool) -> Result<[u8; 2], String> {
    let devices: Option<Vec<u8>> = order.chars().map(boot_device).collect();
    let devices = devices.filter(|list| list.len() <= 3);
    let devices = devices.ok_or_else(|| format!("Could not set boot order '{order}'"))?;
    let nth = |n: usize| devices.get(n).copied().unwrap_or(0);
    Ok([nth(2) << 4 | u8::from(!floppy_check), nth(1) << 4 | nth(0)])
}

/// Fills the clock's memory.
pub(super) fn fill(rtc: &Rtc, config: &Config, memory: &Memory) -> Result<(), String> {
    let put = |place: u8, value: u64, bytes: u8| {
        (0..bytes).for_each(|i| rtc.set_memory(place + i, (value >> (8 * i)) as u8));
    };
    let above = |start: u64, unit: u64| (memory.below_4g.saturating_sub(start) / unit).min(0xffff);
    put(at::BASE_MEMORY, (memory.below_4g >> 10).min(640), 2);
    put(at::EXTENDED_MEMORY, above(1 << 20, 1 << 10), 2);
    put(at::EXTENDED_MEMORY_2, above(1 << 20, 1 << 10), 2);
    put(at::MEMORY_ABOVE_16M, above(16 << 20, 64 << 10), 2);
    put(at::MEMORY_ABOVE_4G, memory.above_4g >> 16, 3);
    put(at::PROCESSORS, u64::from(config.topology.count) - 1, 1);
    put(at::EQUIPMENT, EQUIPMENT.into(), 1);
    let order = if config.boot.once.is_empty() { &config.boot.order } else { &config.boot.once };
    let [flags_1, flags_2] = boot_flags(order, config.floppy_check)?;
    put(at::BOOT_FLAGS_1, flags_1.into(), 1);
    put(at::BOOT_FLAGS_2, flags_2.into(), 1);
    Ok(())
}

/// Says how the firmware's old interface counts the sectors of the IDE disks of those sizes: as the disk does where
/// there are few cylinders, else by number.
pub(super) fn set_disks(rtc: &Rtc, sizes: [Option<u64>; 4]) {
    let by_number = |size: u64| size / 512 / (16 * 63) > 1024;
    let bits = sizes.iter().enumerate().map(|(i, size)| u8::from(size.is_some_and(by_number)) << (2 * i)).sum();
    rtc.set_memory(at::DISK_TRANSLATION, bits);
}

/// After the first boot the usual order counts.
pub(super) fn set_usual_order(rtc: &Rtc, config: &Config) {
    if let Ok([flags_1, flags_2]) = boot_flags(&config.boot.order, config.floppy_check) {
        rtc.set_memory(at::BOOT_FLAGS_1, flags_1);
        rtc.set_memory(at::BOOT_FLAGS_2, flags_2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_order_as_the_firmware_reads_it() {
        assert_eq!(boot_flags("cad", true), Ok([0x30, 0x12]));
        assert_eq!(boot_flags("d", false), Ok([0x01, 0x03]));
        assert!(boot_flags("cadn", true).is_err() && boot_flags("x", true).is_err());
    }
}
