//! Packet commands of a CD-ROM drive (MMC-3, SPC-2).

use super::channel::{Channel, State};
use super::data::{be16, be32, put_text};
use super::transfer::{Activity, Direction, Transfer, Way};
use super::unit::{CdState, Unit};
use super::{error, status};
use isamorph_block::Medium;

/// Bytes of a sector of a CD-ROM.
const SECTOR: u64 = 2048;
/// Sectors of the largest CD: 80 minutes of 60 seconds of 75 sectors. What is larger is a DVD.
const CD_SECTORS: u64 = 80 * 60 * 75;

/// Interrupt reasons (ATA/ATAPI-7, 8.23.5): bit 0 command, bit 1 to the host.
const REASON_COMMAND: u8 = 1;
pub(super) const REASON_IN: u8 = 2;
const REASON_DONE: u8 = 3;

/// Sense data: key, additional code, qualifier.
type Sense = [u8; 3];
const NO_MEDIUM: Sense = [2, 0x3a, 0];
const TRAY_OPEN: Sense = [2, 0x3a, 2];
pub(super) const UNREADABLE: Sense = [3, 0x11, 0];
const BAD_COMMAND: Sense = [5, 0x20, 0];
const BAD_ADDRESS: Sense = [5, 0x21, 0];
const BAD_FIELD: Sense = [5, 0x24, 0];
const BAD_MODE: Sense = [5, 0x64, 0];
const NO_SAVED_PAGES: Sense = [5, 0x39, 0];
const REMOVAL_PREVENTED: Sense = [5, 0x53, 2];
const MEDIUM_CHANGED: Sense = [6, 0x28, 0];

/// Events of the media class (MMC-3, table 68).
mod event {
    pub const NONE: u8 = 0;
    pub const NEW_MEDIUM: u8 = 2;
    pub const REMOVED: u8 = 3;
}

/// What comes of a packet.
#[derive(Debug)]
enum Outcome {
    Done,
    /// Data, cut off where the host wants no more.
    Reply(Vec<u8>, usize),
    /// Bytes of the image.
    Image(u64, u64),
    Failed(Sense),
}

use Outcome::{Done, Failed, Image, Reply};

type Handler = fn(&mut Unit, &[u8]) -> Outcome;

/// Whether a command needs a medium, and whether it is executed although there is news of the medium.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// To have told of news.
    Attention,
    Medium,
}

/// Operation code, what it needs, what it does.
const COMMANDS: [(u8, Needs, Handler); 23] = [
    (0x00, Needs::Medium, |_, _| Done), // test unit ready
    (0x03, Needs::Nothing, request_sense),
    (0x12, Needs::Nothing, inquiry),
    (0x1b, Needs::Attention, start_stop),
    (0x1e, Needs::Attention, prevent_removal),
    (0x25, Needs::Medium, read_capacity),
    (0x28, Needs::Medium, |unit, packet| read(unit, be32(packet, 2), be16(packet, 7).into())),
    (0xa8, Needs::Medium, |unit, packet| read(unit, be32(packet, 2), be32(packet, 6))),
    (0xbe, Needs::Medium, read_cd),
    (0x2b, Needs::Medium, seek),
    (0x35, Needs::Attention, |_, _| Done), // synchronize cache
    (0x43, Needs::Medium, read_toc),
    (0x46, Needs::Nothing, get_configuration),
    (0x4a, Needs::Nothing, get_event),
    (0x51, Needs::Medium, disc_information),
    (0x52, Needs::Medium, track_information),
    (0x5a, Needs::Attention, mode_sense),
    (0xbb, Needs::Attention, |_, _| Done), // set speed
    (0xbd, Needs::Attention, mechanism_status),
    (0x2f, Needs::Medium, verify),
    (0xb6, Needs::Attention, |_, _| Done),                // set streaming
    (0x4e, Needs::Medium, |_, _| Done),                   // stop play/scan
    (0x1a, Needs::Attention, |_, _| Failed(BAD_COMMAND)), // the six-byte MODE SENSE is not for ATAPI
];

impl Channel {
    /// PACKET: asks for the bytes of the packet.
    pub(super) fn begin_packet(&self, state: &mut State) {
        let Some(unit) = state.unit() else { return };
        let limit = u16::from_le_bytes([unit.file.lba[1].last, unit.file.lba[2].last]);
        let way = match (unit.file.feature.last & 1 != 0, limit) {
            (true, _) => Way::Dma,
            (false, limit) => Way::Packet(usize::from(limit.min(0xfffe) & !1)),
        };
        unit.file.count.set(REASON_COMMAND);
        unit.file.error = 0;
        unit.file.status = status::READY | status::SEEK | status::DATA_REQUEST;
        state.activity = Activity::Packet(Vec::new(), way);
    }
    pub(super) fn execute_packet(&self, state: &mut State, packet: &[u8], way: Way) {
        let Some(unit) = state.unit() else { return };
        let outcome = perform(unit, packet);
        // A limit of no bytes is in order where there is no data.
        if way == Way::Packet(0) && matches!(outcome, Reply(..) | Image(..)) {
            unit.file.count.set(REASON_DONE);
            return self.fail(state, error::ABORTED);
        }
        match outcome {
            Done => self.succeed_packet(state),
            Reply(data, most) if data.is_empty() || most == 0 => self.succeed_packet(state),
            Reply(mut data, most) => {
                data.truncate(most);
                let transfer = Transfer { is_packet: true, ..Transfer::reply(way, data) };
                self.advance(state, transfer);
            }
            Image(_, 0) => self.succeed_packet(state),
            Image(offset, len) => {
                let transfer = Transfer { is_packet: true, ..Transfer::new(Direction::In, way, offset, len) };
                self.advance(state, transfer);
            }
            Failed(sense) => self.fail_packet(state, sense),
        }
    }
    pub(super) fn succeed_packet(&self, state: &mut State) {
        state.activity = Activity::Idle;
        if let Some(unit) = state.unit() {
            unit.succeed();
            unit.file.count.set(REASON_DONE);
        }
        self.interrupt(state);
    }
    pub(super) fn fail_packet(&self, state: &mut State, sense: Sense) {
        state.activity = Activity::Idle;
        if let Some(unit) = state.unit() {
            unit.cd.sense = sense;
            unit.fail(sense[0] << 4 | error::ABORTED);
            unit.file.count.set(REASON_DONE);
        }
        self.interrupt(state);
    }
}

/// Notices that someone has changed the medium.
fn notice_medium(unit: &mut Unit) {
    let medium = unit.config.drive.medium().map(|medium| medium.number);
    if medium != unit.cd.medium {
        unit.cd.event = if medium.is_some() { event::NEW_MEDIUM } else { event::REMOVED };
        unit.cd.medium = medium;
        unit.cd.attention = medium.is_some();
    }
}

/// The medium, if the tray is closed with one in it.
fn medium(unit: &Unit) -> Result<Medium, Sense> {
    if unit.cd.tray_open {
        return Err(TRAY_OPEN);
    }
    unit.config.drive.medium().ok_or(NO_MEDIUM)
}

/// Number of sectors of a medium.
fn sectors(medium: &Medium) -> u64 {
    (medium.image.size() / SECTOR).min(u32::MAX.into())
}

fn perform(unit: &mut Unit, packet: &[u8]) -> Outcome {
    notice_medium(unit);
    let Some((_, needs, handler)) = COMMANDS.iter().find(|(code, ..)| *code == packet[0]) else {
        return Failed(BAD_COMMAND);
    };
    if *needs != Needs::Nothing && std::mem::take(&mut unit.cd.attention) {
        return Failed(MEDIUM_CHANGED);
    }
    match medium(unit) {
        Err(sense) if *needs == Needs::Medium => Failed(sense),
        _ => handler(unit, packet),
    }
}

fn request_sense(unit: &mut Unit, packet: &[u8]) -> Outcome {
    let mut data = vec![0; 18];
    // Whoever asks has been told.
    if std::mem::take(&mut unit.cd.attention) && unit.cd.sense == [0; 3] {
        unit.cd.sense = MEDIUM_CHANGED;
    }
    let [key, code, qualifier] = std::mem::take(&mut unit.cd.sense);
    // Current error, fixed format; ten more bytes.
    (data[0], data[2], data[7], data[12], data[13]) = (0x70, key, 10, code, qualifier);
    Reply(data, packet[4].into())
}

fn inquiry(unit: &mut Unit, packet: &[u8]) -> Outcome {
    if packet[1] & 1 != 0 || packet[2] != 0 {
        return Failed(BAD_FIELD);
    }
    // CD-ROM, removable; ATAPI's response format.
    let mut data = vec![0; 36];
    (data[0], data[1], data[3], data[4]) = (5, 0x80, 0x21, 31);
    data[8..].fill(b' ');
    put_text(&mut data[8..16], "QEMU");
    put_text(&mut data[16..32], &unit.config.model);
    put_text(&mut data[32..36], &unit.config.firmware);
    Reply(data, packet[4].into())
}

fn start_stop(unit: &mut Unit, packet: &[u8]) -> Outcome {
    let (load_eject, start) = (packet[4] & 2 != 0, packet[4] & 1 != 0);
    if packet[4] & 0xf0 != 0 || !load_eject {
        return Done;
    }
    if !start && unit.cd.locked {
        return Failed(REMOVAL_PREVENTED);
    }
    if unit.cd.tray_open == start {
        unit.cd.tray_open = !start;
        let there = unit.config.drive.medium().is_some();
        unit.cd.event = if start && there { event::NEW_MEDIUM } else { event::REMOVED };
        unit.cd.attention = start && there;
    }
    Done
}

fn prevent_removal(unit: &mut Unit, packet: &[u8]) -> Outcome {
    unit.cd.locked = packet[4] & 1 != 0;
    Done
}

fn with_medium(unit: &mut Unit, f: impl FnOnce(u64) -> Outcome) -> Outcome {
    match medium(unit) {
        Ok(medium) => f(sectors(&medium)),
        Err(sense) => Failed(sense),
    }
}

fn read_capacity(unit: &mut Unit, _packet: &[u8]) -> Outcome {
    with_medium(unit, |sectors| {
        let last = sectors.saturating_sub(1) as u32;
        Reply([last.to_be_bytes(), (SECTOR as u32).to_be_bytes()].concat(), 8)
    })
}

fn read(unit: &mut Unit, first: u32, count: u32) -> Outcome {
    let (first, count) = (u64::from(first), u64::from(count));
    with_medium(
        unit,
        |sectors| {
            if first + count > sectors { Failed(BAD_ADDRESS) } else { Image(first * SECTOR, count * SECTOR) }
        },
    )
}

/// Only the user data of sectors is there.
fn read_cd(unit: &mut Unit, packet: &[u8]) -> Outcome {
    let count = be32(packet, 5) & 0xff_ffff;
    match packet[9] & 0xf8 {
        0 => Done,
        0x10 => read(unit, be32(packet, 2), count),
        _ => Failed(BAD_MODE),
    }
}

fn seek(unit: &mut Unit, packet: &[u8]) -> Outcome {
    match read(unit, be32(packet, 2), 1) {
        Image(..) => Done,
        other => other,
    }
}

fn verify(unit: &mut Unit, packet: &[u8]) -> Outcome {
    match read(unit, be32(packet, 2), be16(packet, 7).into()) {
        Image(..) => Done,
        other => other,
    }
}

/// An address as four bytes: a sector number, or minutes, seconds and frames behind the two seconds before track 1.
fn address(sector: u64, as_time: bool) -> [u8; 4] {
    if !as_time {
        return (sector as u32).to_be_bytes();
    }
    let frames = sector + 150;
    [0, (frames / 75 / 60).min(255) as u8, (frames / 75 % 60) as u8, (frames % 75) as u8]
}

/// One session with one track of data.
fn read_toc(unit: &mut Unit, packet: &[u8]) -> Outcome {
    let as_time = packet[1] & 2 != 0;
    // Older drives have the format in the last byte.
    let format = if packet[2] & 15 != 0 { packet[2] & 15 } else { packet[9] >> 6 };
    let (start, most) = (packet[6], be16(packet, 7).into());
    with_medium(unit, |sectors| {
        let mut data = vec![0, 0, 1, 1];
        match format {
            0 => {
                if start > 1 && start != 0xaa {
                    return Failed(BAD_FIELD);
                }
                if start <= 1 {
                    data.extend([0, 0x14, 1, 0]);
                    data.extend(address(0, as_time));
                }
                data.extend([0, 0x14, 0xaa, 0]);
                data.extend(address(sectors, as_time));
            }
            1 => {
                data.extend([0, 0x14, 1, 0]);
                data.extend(address(0, as_time));
            }
            2 => {
                // First track, last track, lead-out, track 1.
                for (point, [_, minute, second, frame]) in
                    [(0xa0, [0, 1, 0, 0]), (0xa1, [0, 1, 0, 0]), (0xa2, address(sectors, true)), (1, address(0, true))]
                {
                    data.extend([1, 0x14, 0, point, 0, 0, 0, 0, minute, second, frame]);
                }
            }
            _ => return Failed(BAD_FIELD),
        }
        let len = data.len() as u16 - 2;
        data[..2].copy_from_slice(&len.to_be_bytes());
        Reply(data, most)
    })
}

/// Profiles (MMC-3, table 90): kinds of media.
const CD_ROM: u16 = 0x0008;
const DVD_ROM: u16 = 0x0010;

fn profile(unit: &Unit) -> u16 {
    match medium(unit) {
        Ok(medium) if sectors(&medium) > CD_SECTORS => DVD_ROM,
        Ok(_) => CD_ROM,
        Err(_) => 0,
    }
}

fn get_configuration(unit: &mut Unit, packet: &[u8]) -> Outcome {
    let (kind, start, most) = (packet[1] & 3, be16(packet, 2), be16(packet, 7).into());
    if kind == 3 {
        return Failed(BAD_FIELD);
    }
    let profile = profile(unit);
    let current = |wanted: u16| u8::from(profile == wanted);
    let readable = u8::from(profile != 0);
    let [dvd, cd] = [DVD_ROM, CD_ROM].map(u16::to_be_bytes);
    // Number of the feature, version with persistence and being current, data (MMC-3, 5.3).
    let features: [(u16, u8, Vec<u8>); 5] = [
        (0x0000, 3, vec![dvd[0], dvd[1], current(DVD_ROM), 0, cd[0], cd[1], current(CD_ROM), 0]),
        // Core: ATAPI.
        (0x0001, 3, vec![0, 0, 0, 2]),
        // Removable medium: a tray that can be locked and ejected.
        (0x0003, 3, vec![0x29, 0, 0, 0]),
        // Random readable: sectors, one in a block.
        (0x0010, readable, vec![0, 0, 8, 0, 0, 1, 0, 0]),
        // CD read.
        (0x001e, current(CD_ROM), vec![0, 0, 0, 0]),
    ];
    let mut data = vec![0; 8];
    data[6..8].copy_from_slice(&profile.to_be_bytes());
    for (number, flags, content) in features {
        let wanted = match kind {
            0 => number >= start,
            1 => number >= start && flags & 1 != 0,
            _ => number == start,
        };
        if wanted {
            data.extend(number.to_be_bytes());
            data.extend([flags, content.len() as u8]);
            data.extend(content);
        }
    }
    let len = data.len() as u32 - 4;
    data[..4].copy_from_slice(&len.to_be_bytes());
    Reply(data, most)
}

fn get_event(unit: &mut Unit, packet: &[u8]) -> Outcome {
    const MEDIA: u8 = 4;
    if packet[1] & 1 == 0 {
        // Asynchronous notification needs what ATAPI does not have.
        return Failed(BAD_FIELD);
    }
    let most = be16(packet, 7).into();
    if packet[4] & 1 << MEDIA == 0 {
        return Reply(vec![0, 0, 0x80, 1 << MEDIA], most);
    }
    let event = std::mem::replace(&mut unit.cd.event, event::NONE);
    let CdState { tray_open, .. } = unit.cd;
    let there = unit.config.drive.medium().is_some() && !tray_open;
    let presence = u8::from(tray_open) | u8::from(there) << 1;
    // The length is that of what follows the header of four bytes.
    Reply(vec![0, 4, MEDIA, 1 << MEDIA, event, presence, 0, 0], most)
}

fn disc_information(_unit: &mut Unit, packet: &[u8]) -> Outcome {
    if packet[1] & 7 != 0 {
        return Failed(BAD_FIELD);
    }
    let mut data = vec![0; 34];
    // Finished disc, one session, one track; of unrestricted use.
    (data[1], data[2], data[3], data[4], data[5], data[6], data[7]) = (32, 0x0e, 1, 1, 1, 1, 0x20);
    // Neither a last possible lead-in nor a lead-out.
    data[17..24].fill(0xff);
    Reply(data, be16(packet, 7).into())
}

fn track_information(unit: &mut Unit, packet: &[u8]) -> Outcome {
    // By address, or by number.
    let by_track = packet[1] & 3 == 1;
    if packet[1] & 3 > 1 || (by_track && be32(packet, 2) != 1) {
        return Failed(BAD_FIELD);
    }
    with_medium(unit, |sectors| {
        let mut data = vec![0; 36];
        // Track 1 of session 1, data track, mode 1.
        (data[1], data[2], data[3], data[5], data[6]) = (34, 1, 1, 4, 1);
        data[24..28].copy_from_slice(&(sectors as u32).to_be_bytes());
        Reply(data, be16(packet, 7).into())
    })
}

/// Mode pages (MMC-3, 5.1).
fn mode_pages(unit: &Unit) -> [(u8, Vec<u8>); 3] {
    let locked = u8::from(unit.cd.locked) << 1;
    // Error recovery; CD audio control; capabilities: reads no other media, no audio, a tray that locks and ejects,
    // 4x speed (706 kB/s) as the largest and present one, 512 kB of buffer.
    [
        (0x01, vec![0, 5, 0, 0, 0, 0]),
        (0x0e, vec![4, 0, 0, 0, 0, 0x4b, 1, 0xff, 2, 0xff, 0, 0, 0, 0]),
        (0x2a, vec![0x3b, 0, 0, 0x70, 0x29 | locked, 0, 0x02, 0xc2, 0, 2, 0x02, 0, 0x02, 0xc2, 0, 0, 0, 0]),
    ]
}

fn mode_sense(unit: &mut Unit, packet: &[u8]) -> Outcome {
    let (control, page) = (packet[2] >> 6, packet[2] & 0x3f);
    if control == 3 {
        return Failed(NO_SAVED_PAGES);
    }
    // The medium: a CD or DVD with data, none, or an open tray.
    let kind = match medium(unit) {
        Ok(_) => 0x01,
        Err(TRAY_OPEN) => 0x71,
        Err(_) => 0x70,
    };
    let mut data = vec![0, 0, kind, 0, 0, 0, 0, 0];
    for (code, content) in mode_pages(unit).into_iter().filter(|(code, _)| page == 0x3f || *code == page) {
        data.extend([code, content.len() as u8]);
        // Nothing can be changed.
        data.extend(content.iter().map(|byte| if control == 1 { 0 } else { *byte }));
    }
    if data.len() == 8 {
        return Failed(BAD_FIELD);
    }
    let len = data.len() as u16 - 2;
    data[..2].copy_from_slice(&len.to_be_bytes());
    Reply(data, be16(packet, 7).into())
}

fn mechanism_status(unit: &mut Unit, packet: &[u8]) -> Outcome {
    // No changer: one slot, whose door may be open.
    let door = if unit.cd.tray_open { 0x10 } else { 0 };
    Reply(vec![0, door, 0, 0, 0, 1, 0, 0], be16(packet, 8).into())
}
