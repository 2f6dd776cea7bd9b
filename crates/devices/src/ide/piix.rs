//! The IDE function of the PIIX3 (82371SB datasheet, 2.4).

use super::channel::Channel;
use super::unit::UnitConfig;
use crate::pci::{Bank, Bar, Identity, Layout};
use isamorph_device::{Device, Dma, Line};
use isamorph_space::{Io, IoError, IoRules, Map, RegionId, Sizes};
use std::sync::Arc;

/// Legacy ports of the channels: command block, control block.
const PORTS: [(u16, u16); 2] = [(0x1f0, 0x3f6), (0x170, 0x376)];
/// Bytes of the bus-master registers of a channel.
const BUS_MASTER: u64 = 8;

/// Two channels behind one PCI function.
pub struct PiixIde {
    channels: [Arc<Channel>; 2],
}

impl PiixIde {
    /// A controller with the units of its channels, their interrupt lines, and the function's way to memory.
    pub fn new(units: [[Option<UnitConfig>; 2]; 2], lines: [Line; 2], dma: Dma) -> Arc<Self> {
        let [first, second] = units;
        let [first_line, second_line] = lines;
        let channels = [
            Channel::new("ide0", first, first_line, Some(dma.clone())),
            Channel::new("ide1", second, second_line, Some(dma)),
        ];
        Arc::new(PiixIde { channels })
    }
    /// Its channels.
    pub fn channels(&self) -> &[Arc<Channel>; 2] {
        &self.channels
    }
    /// The regions of its legacy ports and where they are.
    pub fn ports(&self, map: &Map) -> Vec<(u16, RegionId)> {
        // The data register takes words and doublewords; the others are bytes next to each other.
        let sizes = Sizes::new(1, 4);
        let rules = IoRules { valid: sizes, implemented: sizes, ..IoRules::default() };
        map.update(|tree| {
            let mut ports = Vec::new();
            for (channel, (command, control)) in self.channels.iter().zip(PORTS) {
                let name = format!("{}-command", channel.name());
                ports.push((command, tree.io(&name, 8, rules, channel.command_block())));
                let name = format!("{}-control", channel.name());
                ports.push((control, tree.io(&name, 1, IoRules::exactly(1, 1), channel.control_block())));
            }
            ports
        })
    }
    /// The function's configuration space.
    pub fn layout(&self, map: &Map) -> Layout {
        let rules = IoRules { valid: Sizes::new(1, 4), implemented: Sizes::new(1, 1), ..IoRules::default() };
        let registers = bus_master_ports(&self.channels);
        let region = map.update(|tree| tree.io("piix-bmdma", 2 * u128::from(BUS_MASTER), rules, registers));
        // Fast back-to-back transfers, medium device selection.
        Layout::new(Identity::new("piix3-ide", 0x8086, 0x7010, 0x01_01_80))
            .command(0, 0x0507, 0x0280)
            .bar(4, Bar::io(region, 2 * BUS_MASTER))
            // Timings, which are kept and change nothing: the decode enable bits are among them, and the firmware
            // sets them. The legacy ports are always decoded.
            .bank(Bank::new(0x40, &[0; 12]).writable(&[0xff; 12]))
    }
}

impl Device for PiixIde {
    fn name(&self) -> &str {
        "piix3-ide"
    }
    fn reset(&self) {
        self.channels.iter().for_each(|channel| channel.reset());
    }
    fn drive(&self) {
        self.channels.iter().for_each(|channel| channel.drive());
    }
}

pub(super) fn bus_master_ports(channels: &[Arc<Channel>; 2]) -> Arc<dyn Io> {
    Arc::new(BusMasterPorts(channels.clone()))
}

/// The registers behind base address 4: eight bytes for each channel.
struct BusMasterPorts([Arc<Channel>; 2]);

impl Io for BusMasterPorts {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        let channel = &self.0[(offset / BUS_MASTER % 2) as usize];
        Ok(channel.read_bus_master(offset % BUS_MASTER)?.into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        let channel = &self.0[(offset / BUS_MASTER % 2) as usize];
        channel.write_bus_master(offset % BUS_MASTER, value as u8)
    }
}
