//! Memory regions and the tree that they form.

use isamorph_ram::RamBlock;
use std::sync::Arc;

/// A region of a [`Tree`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct RegionId(pub(crate) u32);

/// Why a device did not serve an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoError {
    /// It answers nothing there, or not in that way.
    Refused,
    /// The access comes from the device's own transfer.
    Reentered,
}

/// The registers of a device.
pub trait Io: Send + Sync {
    /// Reads `size` bytes (1, 2, 4 or 8) at `offset` in the region; the value is in the low bits.
    ///
    /// # Errors
    /// The device does not serve the access.
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError>;
    /// Writes `size` bytes; bits of `value` above them are zero.
    ///
    /// # Errors
    /// As for [`Io::read`].
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError>;
    /// Whether the device takes that access; asked after the sizes were found to be in order.
    fn accepts(&self, _offset: u64, _size: u32, _write: bool) -> bool {
        true
    }
}

/// Told of writes without being run by the writer, as virtio's queues are.
pub trait Notifier: Send + Sync {
    /// A matching write happened.
    fn notify(&self);
}

/// Byte order of device registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Endian {
    /// Least significant byte first.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

/// Sizes of accesses, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Least.
    pub min: u32,
    /// Most.
    pub max: u32,
    /// Whether the address may be no multiple of the size.
    pub unaligned: bool,
}

impl Sizes {
    /// Aligned accesses of `min` to `max` bytes.
    pub const fn new(min: u32, max: u32) -> Self {
        Sizes { min, max, unaligned: false }
    }
}

/// What accesses a device allows, and what its handlers implement. An access that is allowed and not implemented is
/// split into smaller ones or made as a larger one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoRules {
    /// What the guest may do; anything else is answered as if nothing were there.
    pub valid: Sizes,
    /// What the handlers get.
    pub implemented: Sizes,
    /// Byte order of the registers.
    pub endian: Endian,
}

impl IoRules {
    /// Little-endian registers that are accessed and implemented in those sizes.
    pub const fn exactly(min: u32, max: u32) -> Self {
        IoRules { valid: Sizes::new(min, max), implemented: Sizes::new(min, max), endian: Endian::Little }
    }
}

impl Default for IoRules {
    fn default() -> Self {
        IoRules { valid: Sizes::new(1, 8), implemented: Sizes::new(1, 4), endian: Endian::Little }
    }
}

/// What is behind a region.
#[derive(Clone)]
pub(crate) enum Content {
    /// Only what is put into it.
    Container,
    /// Memory.
    Ram(Arc<RamBlock>),
    /// Device registers.
    Io(Arc<dyn Io>, IoRules),
    /// Memory that is read directly while `direct`, and a device that gets the writes, and the reads while not.
    RomDevice { memory: Arc<RamBlock>, io: Arc<dyn Io>, rules: IoRules, direct: bool },
    /// Another region from an offset on.
    Alias(RegionId, u64),
}

/// A write that is signalled instead of being made.
#[derive(Clone)]
pub(crate) struct Doorbell {
    pub offset: u64,
    /// 0 for any size.
    pub size: u32,
    pub value: Option<u64>,
    pub notifier: Arc<dyn Notifier>,
}

#[derive(Clone)]
pub(crate) struct Region {
    pub name: String,
    pub size: u128,
    pub content: Content,
    pub parent: Option<RegionId>,
    pub offset: u64,
    pub priority: i32,
    pub enabled: bool,
    pub readonly: bool,
    pub logged: bool,
    /// Highest priority first; of equal ones the one that was added last.
    pub children: Vec<RegionId>,
    pub doorbells: Vec<Doorbell>,
}

/// All regions of a machine. It is changed inside [`crate::Map::update`].
#[derive(Default)]
pub struct Tree {
    regions: Vec<Region>,
}

impl Tree {
    fn new_region(&mut self, name: &str, size: u128, content: Content) -> RegionId {
        self.regions.push(Region {
            name: name.to_owned(),
            size: size.min(crate::WHOLE),
            content,
            parent: None,
            offset: 0,
            priority: 0,
            enabled: true,
            readonly: false,
            logged: false,
            children: Vec::new(),
            doorbells: Vec::new(),
        });
        RegionId(self.regions.len() as u32 - 1)
    }
    pub(crate) fn region(&self, id: RegionId) -> &Region {
        &self.regions[id.0 as usize]
    }
    fn region_mut(&mut self, id: RegionId) -> &mut Region {
        &mut self.regions[id.0 as usize]
    }

    /// A region that has only what is put into it. What reaches beyond its size is cut off.
    pub fn container(&mut self, name: &str, size: u128) -> RegionId {
        self.new_region(name, size, Content::Container)
    }
    /// Memory.
    pub fn ram(&mut self, name: &str, block: Arc<RamBlock>) -> RegionId {
        let size = block.size().into();
        self.new_region(name, size, Content::Ram(block))
    }
    /// Memory that ignores the guest's writes.
    pub fn rom(&mut self, name: &str, block: Arc<RamBlock>) -> RegionId {
        let id = self.ram(name, block);
        self.region_mut(id).readonly = true;
        id
    }
    /// Device registers.
    pub fn io(&mut self, name: &str, size: u128, rules: IoRules, io: Arc<dyn Io>) -> RegionId {
        self.new_region(name, size, Content::Io(io, rules))
    }
    /// Memory that is read directly and written through a device (flash). [`Tree::set_direct`] sends reads to the
    /// device too.
    pub fn rom_device(&mut self, name: &str, memory: Arc<RamBlock>, rules: IoRules, io: Arc<dyn Io>) -> RegionId {
        let size = memory.size().into();
        self.new_region(name, size, Content::RomDevice { memory, io, rules, direct: true })
    }
    /// `size` bytes of another region from `offset` on.
    pub fn alias(&mut self, name: &str, of: RegionId, offset: u64, size: u128) -> RegionId {
        self.new_region(name, size, Content::Alias(of, offset))
    }

    /// Puts a region into another at an offset. Where regions overlap, the higher priority is seen; of equal ones the
    /// one that was put there last. A region that is somewhere else is taken from there first.
    pub fn add(&mut self, parent: RegionId, child: RegionId, offset: u64, priority: i32) {
        self.remove(child);
        let at = self.region(parent).children.iter().position(|c| self.region(*c).priority <= priority);
        let siblings = &mut self.region_mut(parent).children;
        siblings.insert(at.unwrap_or(siblings.len()), child);
        let region = self.region_mut(child);
        (region.parent, region.offset, region.priority) = (Some(parent), offset, priority);
    }
    /// Takes a region out of its parent.
    pub fn remove(&mut self, child: RegionId) {
        if let Some(parent) = self.region_mut(child).parent.take() {
            self.region_mut(parent).children.retain(|c| *c != child);
        }
    }
    /// Shows or hides a region with all that is in it.
    pub fn set_enabled(&mut self, id: RegionId, enabled: bool) {
        self.region_mut(id).enabled = enabled;
    }
    /// Moves a region inside its parent; its place among regions of the same priority becomes the first.
    pub fn set_offset(&mut self, id: RegionId, offset: u64) {
        let Region { parent, priority, .. } = *self.region(id);
        match parent {
            Some(parent) => self.add(parent, id, offset, priority),
            None => self.region_mut(id).offset = offset,
        }
    }
    /// Changes a region's size. Memory stays as large as it is; less or more of it can be seen.
    pub fn set_size(&mut self, id: RegionId, size: u128) {
        self.region_mut(id).size = size.min(crate::WHOLE);
    }
    /// Makes memory below a region ignore writes, or take them again.
    pub fn set_readonly(&mut self, id: RegionId, readonly: bool) {
        self.region_mut(id).readonly = readonly;
    }
    /// Whether stores to a region are to be logged, as a display wants it.
    pub fn set_logged(&mut self, id: RegionId, logged: bool) {
        self.region_mut(id).logged = logged;
    }
    /// Whether a ROM device's memory is read directly, or by its handler.
    pub fn set_direct(&mut self, id: RegionId, on: bool) {
        if let Content::RomDevice { direct, .. } = &mut self.region_mut(id).content {
            *direct = on;
        }
    }
    /// Where an alias starts in the region that it shows.
    pub fn set_alias_offset(&mut self, id: RegionId, from: u64) {
        if let Content::Alias(_, offset) = &mut self.region_mut(id).content {
            *offset = from;
        }
    }
    /// Has writes of `size` bytes (0: any) at `offset` signalled instead of made, if the value is that one (none: any).
    pub fn add_doorbell(
        &mut self,
        id: RegionId,
        offset: u64,
        size: u32,
        value: Option<u64>,
        notifier: Arc<dyn Notifier>,
    ) {
        self.region_mut(id).doorbells.push(Doorbell { offset, size, value, notifier });
    }
    /// Takes the doorbells at `offset` away.
    pub fn remove_doorbells(&mut self, id: RegionId, offset: u64) {
        self.region_mut(id).doorbells.retain(|bell| bell.offset != offset);
    }
    /// Where a region is in its parent, if it is in one.
    pub fn offset(&self, id: RegionId) -> Option<u64> {
        self.region(id).parent.map(|_| self.region(id).offset)
    }
    /// Whether a region is shown.
    pub fn is_enabled(&self, id: RegionId) -> bool {
        self.region(id).enabled
    }
}
