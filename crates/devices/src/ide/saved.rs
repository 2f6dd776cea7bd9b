//! Saved state of a channel.

use super::bus_master::BusMaster;
use super::channel::{Channel, State};
use super::transfer::{Activity, Direction, PACKET, Transfer, Way};
use super::unit::{CdState, Geometry, TaskFile, Unit};
use isamorph_block::Operation;
use isamorph_device::{BadState, Snapshot};

/// Bytes that a transfer keeps at most.
const MAX_BUFFER: usize = 1 << 20;

/// State of a unit; what it is and what is in it belong to the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitState {
    file: TaskFile,
    geometry: Geometry,
    multiple: u8,
    dma_modes: [u8; 2],
    write_cache: bool,
    cd: CdState,
}

impl UnitState {
    fn of(unit: &Unit) -> Self {
        let Unit { config: _, total: _, file, geometry, multiple, dma_modes, write_cache, cd } = unit.clone();
        UnitState { file, geometry, multiple, dma_modes, write_cache, cd }
    }
    fn put(&self, unit: &mut Unit) {
        let UnitState { file, geometry, multiple, dma_modes, write_cache, cd } = self.clone();
        *unit = Unit {
            config: unit.config.clone(),
            total: unit.total,
            file,
            geometry,
            multiple,
            dma_modes,
            write_cache,
            cd,
        };
    }
    fn check(&self) -> Result<(), BadState> {
        let Geometry { heads, sectors, .. } = self.geometry;
        BadState::unless((1..=16).contains(&heads) && (1..=63).contains(&sectors), "ide geometry")?;
        BadState::unless(self.multiple <= super::identify::MAX_MULTIPLE, "ide multiple count")
    }
}

/// State of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelState {
    units: [Option<UnitState>; 2],
    selected: usize,
    control: u8,
    interrupt: bool,
    bus_master: BusMaster,
    activity: Activity,
}

impl ChannelState {
    fn of(state: &State) -> Self {
        let State { units, selected, control, interrupt, bus_master, activity, generation: _ } = state;
        ChannelState {
            units: [0, 1].map(|i| units[i].as_ref().map(UnitState::of)),
            selected: *selected,
            control: *control,
            interrupt: *interrupt,
            bus_master: bus_master.clone(),
            activity: activity.clone(),
        }
    }
    fn check(&self, present: &State) -> Result<(), BadState> {
        let same = (0..2).all(|i| self.units[i].is_some() == present.units[i].is_some());
        BadState::unless(same && self.selected < 2, "ide units")?;
        self.units.iter().flatten().try_for_each(UnitState::check)?;
        BadState::unless(self.bus_master.is_good(), "ide bus master")?;
        match &self.activity {
            Activity::Transfer(transfer) => check_transfer(transfer),
            Activity::Packet(bytes, way) => BadState::unless(bytes.len() < PACKET && is_good_way(*way), "ide packet"),
            Activity::Idle | Activity::Waiting | Activity::Stuck => Ok(()),
        }
    }
}

fn is_good_way(way: Way) -> bool {
    match way {
        Way::Pio(block) => (1..=MAX_BUFFER).contains(&block),
        Way::Packet(limit) => limit <= 0xfffe && limit.is_multiple_of(2),
        Way::Dma => true,
    }
}

fn check_transfer(transfer: &Transfer) -> Result<(), BadState> {
    let Transfer { buffer, pos, end, offset, left, .. } = transfer;
    let in_order = pos <= &buffer.len() && *end <= buffer.len() && buffer.len() <= MAX_BUFFER;
    let in_range = offset.checked_add(*left).is_some_and(|end| end < 1 << 62);
    BadState::unless(in_order && in_range && is_good_way(transfer.way), "ide transfer")
}

impl Snapshot for Channel {
    type State = Option<ChannelState>;
    /// The state, unless the channel itself is in the way.
    fn save(&self) -> Option<ChannelState> {
        self.enter().ok().map(|state| ChannelState::of(&state))
    }
    fn restore(&self, saved: &Option<ChannelState>) -> Result<(), BadState> {
        let (Some(saved), Ok(mut state)) = (saved, self.enter()) else { return Err(BadState("ide channel")) };
        saved.check(&state)?;
        state.forget();
        for (unit, saved) in state.units.iter_mut().zip(&saved.units) {
            if let (Some(unit), Some(saved)) = (unit, saved) {
                saved.put(unit);
            }
        }
        (state.selected, state.control, state.interrupt) = (saved.selected, saved.control, saved.interrupt);
        state.bus_master = saved.bus_master.clone();
        // What the image was asked for then it is asked for again.
        match saved.activity.clone() {
            Activity::Transfer(transfer) if transfer.asked && transfer.direction == Direction::In => {
                self.fetch(&mut state, transfer);
            }
            Activity::Transfer(transfer) if transfer.asked => self.store(&mut state, transfer),
            Activity::Waiting => self.wait_for(&mut state, Operation::Flush),
            other => state.activity = other,
        }
        Ok(())
    }
}
