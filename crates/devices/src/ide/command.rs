//! The commands (ATA/ATAPI-7, chapter 6).

use super::channel::{Channel, State};
use super::transfer::{Activity, Direction, Transfer, Way};
use super::unit::{Geometry, Unit};
use super::{SECTOR, device, error, identify, status};
use isamorph_block::Operation;

/// What a command does.
#[derive(Clone, Copy, Debug)]
enum Command {
    /// Nothing that can be seen.
    Nothing,
    DeviceReset,
    Diagnose,
    InitializeParameters,
    Identify,
    IdentifyPacket,
    Packet,
    /// Reads or writes sectors.
    Data(Direction, Means, Address),
    /// Writes, and answers when the sectors are safe.
    WriteThrough(Means),
    Verify(Address),
    /// DATA SET MANAGEMENT: the disk may forget sectors.
    Trim,
    SetMultiple,
    Flush,
    SetFeatures,
    /// Shows whether it sleeps: never.
    PowerMode,
    NativeMax(Address),
}

/// How sectors go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Means {
    /// One by one through the data register.
    Pio,
    /// Several by one interrupt.
    Multiple,
    Dma,
}

/// Which registers an address is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Address {
    /// 28 bits, or cylinder, head and sector.
    Short,
    /// 48 bits.
    Long,
}

use Address::{Long, Short};
use Command::{Data, Verify, WriteThrough};
use Direction::{In, Out};
use Means::{Dma, Multiple, Pio};

/// Who knows a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Disk,
    Cdrom,
    Both,
}

pub(super) const DEVICE_RESET: u8 = 0x08;

/// First and last opcode, who knows it, what it does. Everything else is aborted, as a unit does that does not know it.
const COMMANDS: [(u8, u8, Who, Command); 45] = [
    (0x06, 0x06, Who::Disk, Command::Trim),
    (DEVICE_RESET, DEVICE_RESET, Who::Cdrom, Command::DeviceReset),
    (0x10, 0x1f, Who::Disk, Command::Nothing), // recalibrate
    (0x20, 0x21, Who::Disk, Data(In, Pio, Short)),
    (0x24, 0x24, Who::Disk, Data(In, Pio, Long)),
    (0x25, 0x25, Who::Disk, Data(In, Dma, Long)),
    (0x27, 0x27, Who::Disk, Command::NativeMax(Long)),
    (0x29, 0x29, Who::Disk, Data(In, Multiple, Long)),
    (0x30, 0x31, Who::Disk, Data(Out, Pio, Short)),
    (0x34, 0x34, Who::Disk, Data(Out, Pio, Long)),
    (0x35, 0x35, Who::Disk, Data(Out, Dma, Long)),
    (0x39, 0x39, Who::Disk, Data(Out, Multiple, Long)),
    (0x3d, 0x3d, Who::Disk, WriteThrough(Dma)),
    (0x40, 0x41, Who::Disk, Verify(Short)),
    (0x42, 0x42, Who::Disk, Verify(Long)),
    (0x70, 0x7f, Who::Disk, Command::Nothing), // seek
    (0x90, 0x90, Who::Both, Command::Diagnose),
    (0x91, 0x91, Who::Disk, Command::InitializeParameters),
    (0x94, 0x94, Who::Both, Command::Nothing), // the older numbers of the power commands
    (0x95, 0x95, Who::Both, Command::Nothing),
    (0x96, 0x96, Who::Both, Command::Nothing),
    (0x97, 0x97, Who::Both, Command::Nothing),
    (0x98, 0x98, Who::Both, Command::PowerMode),
    (0x99, 0x99, Who::Both, Command::Nothing),
    (0xa0, 0xa0, Who::Cdrom, Command::Packet),
    (0xa1, 0xa1, Who::Cdrom, Command::IdentifyPacket),
    (0xc4, 0xc4, Who::Disk, Data(In, Multiple, Short)),
    (0xc5, 0xc5, Who::Disk, Data(Out, Multiple, Short)),
    (0xc6, 0xc6, Who::Disk, Command::SetMultiple),
    (0xc8, 0xc9, Who::Disk, Data(In, Dma, Short)),
    (0xca, 0xcb, Who::Disk, Data(Out, Dma, Short)),
    (0xce, 0xce, Who::Disk, WriteThrough(Multiple)),
    (0xe0, 0xe0, Who::Both, Command::Nothing), // standby immediate
    (0xe1, 0xe1, Who::Both, Command::Nothing), // idle immediate
    (0xe2, 0xe2, Who::Both, Command::Nothing), // standby
    (0xe3, 0xe3, Who::Both, Command::Nothing), // idle
    (0xe5, 0xe5, Who::Both, Command::PowerMode),
    (0xe6, 0xe6, Who::Both, Command::Nothing), // sleep
    (0xe7, 0xe7, Who::Disk, Command::Flush),
    (0xe7, 0xe7, Who::Cdrom, Command::Nothing),
    (0xea, 0xea, Who::Disk, Command::Flush),
    (0xec, 0xec, Who::Disk, Command::Identify),
    (0xef, 0xef, Who::Both, Command::SetFeatures),
    (0xf5, 0xf5, Who::Disk, Command::Nothing), // security freeze lock: there is no security
    (0xf8, 0xf8, Who::Disk, Command::NativeMax(Short)),
];

/// Commands with which software finds out that it talks to a CD-ROM drive.
const SIGNS: [u8; 2] = [0x20, 0xec];

fn find(opcode: u8, is_cdrom: bool) -> Option<Command> {
    let knows = |who: Who| who == Who::Both || (who == Who::Cdrom) == is_cdrom;
    let row = COMMANDS.iter().find(|(first, last, who, _)| (*first..=*last).contains(&opcode) && knows(*who));
    row.map(|(.., command)| *command)
}

impl Channel {
    /// Begins a command of the selected unit.
    pub(super) fn execute(&self, state: &mut State, opcode: u8) {
        let Some(unit) = state.unit() else { return };
        let Some(command) = find(opcode, unit.config.is_cdrom) else {
            if unit.config.is_cdrom && SIGNS.contains(&opcode) {
                unit.sign();
            }
            return self.fail(state, error::ABORTED);
        };
        state.forget();
        match command {
            Command::Nothing => self.succeed(state),
            Command::DeviceReset => self.reset_unit(state),
            Command::Diagnose => self.diagnose(state),
            Command::InitializeParameters => self.initialize_parameters(state),
            Command::Identify => self.reply(state, identify::disk),
            Command::IdentifyPacket => self.reply(state, identify::cdrom),
            Command::Packet => self.begin_packet(state),
            Data(direction, means, address) => self.begin_data(state, direction, means, address, false),
            WriteThrough(means) => self.begin_data(state, Out, means, Long, true),
            Verify(address) => match self.span(state, address) {
                Some(_) => self.succeed(state),
                None => self.fail(state, error::NOT_FOUND),
            },
            Command::Trim => self.trim(state),
            Command::SetMultiple => self.set_multiple(state),
            Command::Flush => self.wait_for(state, Operation::Flush),
            Command::SetFeatures => self.set_features(state),
            Command::PowerMode => {
                if let Some(unit) = state.unit() {
                    unit.file.count.set(0xff);
                }
                self.succeed(state);
            }
            Command::NativeMax(address) => self.native_max(state, address),
        }
    }
    fn reset_unit(&self, state: &mut State) {
        if let Some(unit) = state.unit() {
            unit.sign();
        }
    }
    fn reply(&self, state: &mut State, data: fn(&Unit) -> Vec<u8>) {
        let Some(unit) = state.unit() else { return };
        let data = data(unit);
        unit.succeed();
        let transfer = Transfer::reply(Way::Pio(data.len()), data);
        self.advance(state, transfer);
    }
    /// The first sector and the number of sectors of a command, if the disk has them.
    fn span(&self, state: &mut State, address: Address) -> Option<(u64, u64)> {
        let unit = state.unit()?;
        let count = unit.file.sectors(address == Long);
        let first = unit.file.address(address == Long, unit.geometry)?;
        first.checked_add(count).filter(|end| *end <= unit.total).map(|_| (first, count))
    }
    fn begin_data(&self, state: &mut State, direction: Direction, means: Means, address: Address, through: bool) {
        let Some((first, count)) = self.span(state, address) else { return self.fail(state, error::NOT_FOUND) };
        let Some(unit) = state.unit() else { return };
        let block = match means {
            Pio => 1,
            Multiple if unit.multiple == 0 => return self.fail(state, error::ABORTED),
            Multiple => unit.multiple,
            Dma => 0,
        };
        let way = if means == Dma { Way::Dma } else { Way::Pio(usize::from(block) * SECTOR as usize) };
        let mut transfer = Transfer::new(direction, way, first * SECTOR, count * SECTOR);
        transfer.extended = address == Long;
        transfer.flush = direction == Out && (through || !unit.write_cache);
        unit.file.error = 0;
        match (direction, way) {
            // The first block is asked for without an interrupt.
            (Out, Way::Pio(block)) => {
                let len = (block as u64).min(transfer.left) as usize;
                (transfer.buffer, transfer.end) = (vec![0; len], len);
                unit.file.status = status::READY | status::SEEK | status::DATA_REQUEST;
                state.activity = Activity::Transfer(transfer);
            }
            _ => self.advance(state, transfer),
        }
    }
    /// DATA SET MANAGEMENT (ACS-2, 7.10); its only function is TRIM.
    fn trim(&self, state: &mut State) {
        let Some(unit) = state.unit() else { return };
        let blocks = unit.file.sectors(true);
        if unit.file.feature.last & 1 == 0 || blocks > identify::MAX_TRIM_BLOCKS.into() {
            return self.fail(state, error::ABORTED);
        }
        let transfer = Transfer { trims: true, ..Transfer::new(Out, Way::Dma, 0, blocks * SECTOR) };
        unit.file.error = 0;
        self.advance(state, transfer);
    }
    fn initialize_parameters(&self, state: &mut State) {
        let Some(unit) = state.unit() else { return };
        let (heads, sectors) = ((unit.file.device & 15) + 1, unit.file.count.last);
        if sectors == 0 || sectors > 63 {
            return self.fail(state, error::ABORTED);
        }
        let cylinders = (unit.total / (u64::from(heads) * u64::from(sectors))).min(65535) as u16;
        unit.geometry = Geometry { cylinders, heads, sectors };
        self.succeed(state);
    }
    fn set_multiple(&self, state: &mut State) {
        let Some(unit) = state.unit() else { return };
        let count = unit.file.count.last;
        if count > identify::MAX_MULTIPLE || !(count == 0 || count.is_power_of_two()) {
            return self.fail(state, error::ABORTED);
        }
        unit.multiple = count;
        self.succeed(state);
    }
    /// SET FEATURES; the subcommands that change nothing here are those for power and reading ahead.
    fn set_features(&self, state: &mut State) {
        let Some(unit) = state.unit() else { return };
        match (unit.file.feature.last, unit.file.count.last) {
            (0x02, _) => unit.write_cache = true,
            (0x82, _) => {
                unit.write_cache = false;
                if !unit.config.is_cdrom {
                    return self.wait_for(state, Operation::Flush);
                }
            }
            // PIO modes, then single word, multiword and ultra DMA modes.
            (0x03, 0x00 | 0x01 | 0x08..=0x0c) => unit.dma_modes = [0, 0],
            (0x03, 0x10..=0x12) => unit.dma_modes = [0, 0],
            (0x03, mode @ 0x20..=0x22) => unit.dma_modes = [1 << (mode & 7), 0],
            (0x03, mode @ 0x40..=0x45) => unit.dma_modes = [0, 1 << (mode & 7)],
            (0x55 | 0xaa | 0x66 | 0xcc, _) => {}
            _ => return self.fail(state, error::ABORTED),
        }
        self.succeed(state);
    }
    fn native_max(&self, state: &mut State, address: Address) {
        let Some(unit) = state.unit() else { return };
        let last = unit.total.saturating_sub(1);
        let shown = if address == Long { last } else { last.min(0x0fff_ffff) };
        unit.file.device |= device::LBA;
        unit.file.set_address(shown, address == Long, unit.geometry);
        self.succeed(state);
    }
}
