//! Data on its way between a unit and the processor or memory.

use super::bus_master::Stop;
use super::channel::{Channel, State};
use super::{SECTOR, error, packet, status};
use isamorph_block::{Answer, Operation};
use std::sync::Arc;

/// Bytes of one request to an image at most; a multiple of every block.
const CHUNK: u64 = 256 << 10;
/// Bytes of a packet.
pub(super) const PACKET: usize = 12;

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// To the host.
    In,
    /// To the unit.
    Out,
}

/// How data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Through the data register, in blocks of so many bytes, with an interrupt for each.
    Pio(usize),
    /// The same for a packet command, with at most so many bytes in a block.
    Packet(usize),
    /// By the bus master.
    Dma,
}

/// Data that is being transferred.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Transfer {
    pub direction: Direction,
    pub way: Way,
    /// Part of the image that is still to come or to be written.
    pub offset: u64,
    pub left: u64,
    pub buffer: Vec<u8>,
    /// What was transferred of the buffer, and the end of the present block.
    pub pos: usize,
    pub end: usize,
    /// Whether the image has been asked and has not answered.
    pub asked: bool,
    /// Whether it belongs to a packet command.
    pub is_packet: bool,
    /// Whether registers show the address in 48 bits.
    pub extended: bool,
    /// Whether the image is flushed at the end.
    pub flush: bool,
    /// Whether the data names what is not needed any more, instead of being written.
    pub trims: bool,
}

impl Transfer {
    pub fn new(direction: Direction, way: Way, offset: u64, left: u64) -> Self {
        Transfer {
            direction,
            way,
            offset,
            left,
            buffer: Vec::new(),
            pos: 0,
            end: 0,
            asked: false,
            is_packet: false,
            extended: false,
            flush: false,
            trims: false,
        }
    }
    /// Data that is there already.
    pub fn reply(way: Way, data: Vec<u8>) -> Self {
        Transfer { buffer: data, ..Transfer::new(Direction::In, way, 0, 0) }
    }
}

/// What a channel does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Activity {
    /// Nothing.
    #[default]
    Idle,
    /// Data is transferred.
    Transfer(Transfer),
    /// The bytes of a packet come; how its data will go.
    Packet(Vec<u8>, Way),
    /// The image has something to do that has no data.
    Waiting,
    /// A transfer cannot go on: until a reset.
    Stuck,
}

/// The ranges that the data of DATA SET MANAGEMENT names: six bytes of address and two of length, in sectors.
fn trimmed(data: &[u8]) -> Vec<(u64, u64)> {
    let range = |raw: &[u8]| {
        let word = raw.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        ((word & 0xffff_ffff_ffff) * SECTOR, (word >> 48) * SECTOR)
    };
    data.chunks_exact(8).map(range).filter(|(_, len)| *len > 0).collect()
}

impl Channel {
    /// Asks the selected unit's image.
    pub(super) fn ask(&self, state: &mut State, operation: Operation) {
        let (me, generation) = (self.me.clone(), state.generation);
        let Some(unit) = state.unit() else { return };
        unit.file.status = status::READY | status::SEEK | status::BUSY;
        unit.config.drive.clone().submit(operation, move |answer| {
            if let Some(channel) = me.upgrade() {
                channel.answered(generation, answer);
            }
        });
    }
    /// Does something with the image that has no data.
    pub(super) fn wait_for(&self, state: &mut State, operation: Operation) {
        state.activity = Activity::Waiting;
        self.ask(state, operation);
    }
    fn answered(self: Arc<Self>, generation: u64, answer: Answer) {
        let Ok(mut state) = self.enter() else { return };
        if state.generation != generation {
            return;
        }
        match (std::mem::take(&mut state.activity), answer) {
            (Activity::Waiting, Ok(_)) => self.succeed(&mut state),
            (Activity::Waiting, Err(_)) => self.fail(&mut state, error::ABORTED),
            (Activity::Transfer(transfer), Ok(data)) => self.continue_transfer(&mut state, transfer, data),
            (Activity::Transfer(transfer), Err(_)) => self.fail_transfer(&mut state, &transfer),
            (other, _) => state.activity = other,
        }
    }
    fn continue_transfer(&self, state: &mut State, mut transfer: Transfer, data: Vec<u8>) {
        transfer.asked = false;
        let count = match transfer.direction {
            Direction::In => data.len() as u64,
            Direction::Out => transfer.buffer.len() as u64,
        };
        transfer.offset += count;
        transfer.left -= count.min(transfer.left);
        (transfer.buffer, transfer.pos, transfer.end) = (data, 0, 0);
        self.advance(state, transfer);
    }
    /// The image cannot be read or written there.
    fn fail_transfer(&self, state: &mut State, transfer: &Transfer) {
        if transfer.way == Way::Dma {
            state.bus_master.stop(Stop::Exhausted);
        }
        if transfer.is_packet {
            return self.fail_packet(state, packet::UNREADABLE);
        }
        if let Some(unit) = state.unit().filter(|_| !transfer.trims) {
            unit.file.set_address(transfer.offset / SECTOR, transfer.extended, unit.geometry);
        }
        let why = if transfer.direction == Direction::In { error::UNCORRECTABLE } else { error::ABORTED };
        self.fail(state, why);
    }
    pub(super) fn fail(&self, state: &mut State, why: u8) {
        state.activity = Activity::Idle;
        if let Some(unit) = state.unit() {
            unit.fail(why);
        }
        self.interrupt(state);
    }
    pub(super) fn succeed(&self, state: &mut State) {
        state.activity = Activity::Idle;
        if let Some(unit) = state.unit() {
            unit.succeed();
        }
        self.interrupt(state);
    }

    /// Takes a transfer as far as it goes without anybody else.
    pub(super) fn advance(&self, state: &mut State, mut transfer: Transfer) {
        match (transfer.way, transfer.direction) {
            (Way::Dma, _) => self.advance_dma(state, transfer),
            (_, Direction::In) if transfer.pos < transfer.buffer.len() => {
                self.offer_block(state, &mut transfer);
                state.activity = Activity::Transfer(transfer);
            }
            (Way::Pio(block), Direction::Out) if transfer.left > 0 => {
                let len = (block as u64).min(transfer.left) as usize;
                (transfer.buffer, transfer.pos, transfer.end) = (vec![0; len], 0, len);
                state.set_status(status::READY | status::SEEK | status::DATA_REQUEST);
                state.activity = Activity::Transfer(transfer);
                self.interrupt(state);
            }
            (_, Direction::In) if transfer.left > 0 => self.fetch(state, transfer),
            _ => self.finish(state, &transfer),
        }
    }
    /// Shows the next block of data that goes to the host.
    fn offer_block(&self, state: &mut State, transfer: &mut Transfer) {
        let rest = transfer.buffer.len() - transfer.pos;
        let len = match transfer.way {
            Way::Packet(limit) => rest.min(limit),
            Way::Pio(block) => rest.min(block),
            Way::Dma => rest,
        };
        transfer.end = transfer.pos + len;
        state.set_status(status::READY | status::SEEK | status::DATA_REQUEST);
        if let Some(unit) = state.unit().filter(|_| transfer.is_packet) {
            unit.file.count.set(packet::REASON_IN);
            unit.file.lba[1].set(len as u8);
            unit.file.lba[2].set((len >> 8) as u8);
        }
        self.interrupt(state);
    }
    pub(super) fn fetch(&self, state: &mut State, mut transfer: Transfer) {
        let operation = Operation::Read { offset: transfer.offset, len: transfer.left.min(CHUNK) as usize };
        transfer.asked = true;
        state.activity = Activity::Transfer(transfer);
        self.ask(state, operation);
    }
    pub(super) fn store(&self, state: &mut State, mut transfer: Transfer) {
        let operation = if transfer.trims {
            Operation::Discard { ranges: trimmed(&transfer.buffer) }
        } else {
            Operation::Write { offset: transfer.offset, data: transfer.buffer.clone() }
        };
        transfer.asked = true;
        state.activity = Activity::Transfer(transfer);
        self.ask(state, operation);
    }
    fn advance_dma(&self, state: &mut State, mut transfer: Transfer) {
        let Some(dma) = &self.dma else { return self.fail(state, error::ABORTED) };
        if !state.bus_master.is_started() {
            state.set_status(status::READY | status::SEEK | status::DATA_REQUEST);
            state.activity = Activity::Transfer(transfer);
            return;
        }
        let moved = match transfer.direction {
            Direction::In => state.bus_master.scatter(dma, &transfer.buffer[transfer.pos..]),
            Direction::Out => {
                transfer.buffer = vec![0; transfer.left.min(CHUNK) as usize];
                state.bus_master.gather(dma, &mut transfer.buffer)
            }
        };
        transfer.pos = transfer.buffer.len();
        match (moved, transfer.direction) {
            (Err(why), _) => {
                // The unit waits for a bus master that will not come; software has to reset it.
                state.bus_master.stop(why);
                state.activity = Activity::Stuck;
            }
            (Ok(()), _) if transfer.left == 0 => {
                state.bus_master.finish();
                self.finish(state, &transfer);
            }
            (Ok(()), Direction::In) => self.fetch(state, transfer),
            (Ok(()), Direction::Out) => self.store(state, transfer),
        }
    }
    /// All data has been transferred.
    fn finish(&self, state: &mut State, transfer: &Transfer) {
        state.activity = Activity::Idle;
        if transfer.flush {
            return self.wait_for(state, Operation::Flush);
        }
        if transfer.is_packet {
            return self.succeed_packet(state);
        }
        let by_pio = matches!(transfer.way, Way::Pio(_));
        if let Some(unit) = state.unit() {
            unit.succeed();
            if by_pio && transfer.offset > 0 {
                unit.file.count.set(0);
                unit.file.set_address(transfer.offset / SECTOR - 1, transfer.extended, unit.geometry);
            }
        }
        // Data that was read through the register had its interrupt when it was there.
        if !by_pio || transfer.direction == Direction::Out {
            self.interrupt(state);
        }
    }
    /// Software has started or stopped the bus master.
    pub(super) fn bus_master_switched(&self, state: &mut State) {
        let started = state.bus_master.is_started();
        match std::mem::take(&mut state.activity) {
            Activity::Transfer(transfer) if transfer.way == Way::Dma && started && !transfer.asked => {
                self.advance(state, transfer);
            }
            Activity::Transfer(transfer) if transfer.way == Way::Dma && !started && transfer.asked => {
                state.forget();
                state.activity = Activity::Stuck;
            }
            other => state.activity = other,
        }
    }

    /// Software reads the data register.
    pub(super) fn read_data(&self, state: &mut State, size: u32) -> u64 {
        let mut raw = [0; 8];
        let Activity::Transfer(transfer) = &mut state.activity else { return 0 };
        if transfer.direction == Direction::Out || transfer.pos >= transfer.end {
            return 0;
        }
        let block = &transfer.buffer[transfer.pos..transfer.end];
        let count = block.len().min(size as usize);
        raw[..count].copy_from_slice(&block[..count]);
        transfer.pos += count;
        if transfer.pos == transfer.end
            && let Activity::Transfer(transfer) = std::mem::take(&mut state.activity)
        {
            self.advance(state, transfer);
        }
        u64::from_le_bytes(raw)
    }
    /// Software writes the data register.
    pub(super) fn write_data(&self, state: &mut State, size: u32, value: u64) {
        let bytes = &value.to_le_bytes()[..size as usize];
        match &mut state.activity {
            Activity::Packet(packet, _) => {
                packet.extend(bytes);
                if packet.len() >= PACKET
                    && let Activity::Packet(packet, way) = std::mem::take(&mut state.activity)
                {
                    self.execute_packet(state, &packet[..PACKET], way);
                }
            }
            Activity::Transfer(transfer) if transfer.direction == Direction::Out && transfer.pos < transfer.end => {
                let block = &mut transfer.buffer[transfer.pos..transfer.end];
                let count = block.len().min(bytes.len());
                block[..count].copy_from_slice(&bytes[..count]);
                transfer.pos += count;
                if transfer.pos == transfer.end
                    && let Activity::Transfer(transfer) = std::mem::take(&mut state.activity)
                {
                    self.store(state, transfer);
                }
            }
            _ => {}
        }
    }
}
