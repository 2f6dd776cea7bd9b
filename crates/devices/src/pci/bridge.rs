//! PCI-to-PCI bridges: a bus behind windows of another one.

use super::bus::{PciBus, Pins, Socket};
use super::config::{Bank, SIZE, get16, get32};
use super::function::{Function, Identity, Layout};
use super::reg;
use isamorph_device::Device;
use isamorph_space::{Map, RegionId, Tree, WHOLE};
use std::sync::{Arc, Mutex, PoisonError};

/// Offsets in the header of type 1 (bridge specification, 3.2).
pub(super) const BUS_NUMBERS: usize = 0x18;
const IO: usize = 0x1c;
const MEMORY: usize = 0x20;
const PREFETCHABLE: usize = 0x24;
const PREFETCHABLE_HIGH: usize = 0x28;
const CONTROL: usize = 0x3e;
/// Bridge control: the bus behind is held in reset.
const CONTROL_RESET: u16 = 1 << 6;

/// First address and number of bytes.
type Span = Option<(u64, u64)>;

/// A window to the bus behind.
struct Window {
    parent: RegionId,
    alias: RegionId,
}

impl Window {
    fn new(tree: &mut Tree, name: &str, parent: RegionId, behind: RegionId) -> Self {
        Window { parent, alias: tree.alias(name, behind, 0, 0) }
    }
    fn show(&self, tree: &mut Tree, span: Span) {
        match span {
            Some((base, size)) => {
                tree.set_alias_offset(self.alias, base);
                tree.set_size(self.alias, size.into());
                tree.add(self.parent, self.alias, base, 1);
            }
            None => tree.remove(self.alias),
        }
    }
}

/// The bus behind a bridge and the windows to it.
pub(super) struct Behind {
    bus: Arc<PciBus>,
    map: Arc<Map>,
    windows: [Window; 3],
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    spans: [Span; 3],
    in_reset: bool,
}

impl Behind {
    pub(super) fn bus(&self) -> &Arc<PciBus> {
        &self.bus
    }
    /// Does what the bridge's registers say.
    pub(super) fn obey(&self, bytes: &[u8; SIZE]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = spans(bytes);
        if spans != shown.spans {
            self.map.update(|tree| {
                for (window, span) in self.windows.iter().zip(spans) {
                    window.show(tree, span);
                }
            });
            shown.spans = spans;
        }
        let in_reset = get16(bytes, CONTROL) & CONTROL_RESET != 0;
        if in_reset && !std::mem::replace(&mut shown.in_reset, in_reset) {
            self.bus.reset();
        }
        shown.in_reset = in_reset;
    }
}

/// What the base and limit registers let through: ports, memory, prefetchable memory.
fn spans(bytes: &[u8; SIZE]) -> [Span; 3] {
    let command = get16(bytes, reg::COMMAND);
    let span =
        |switch: u16, base: u64, last: u64| (command & switch != 0 && base <= last).then(|| (base, last - base + 1));
    let [io_base, io_limit] = [bytes[IO], bytes[IO + 1]].map(|b| u64::from(b & 0xf0) << 8);
    let pair = |at: usize| [at, at + 2].map(|at| u64::from(get16(bytes, at) & 0xfff0) << 16);
    let [base, limit] = pair(MEMORY);
    let [low, low_limit] = pair(PREFETCHABLE);
    let [high, high_limit] = [0, 4].map(|at| u64::from(get32(bytes, PREFETCHABLE_HIGH + at)) << 32);
    // A window over all of the space would have 2^64 bytes; its last one is left out.
    let prefetchable_last = (high_limit | low_limit | 0xf_ffff).min(u64::MAX - 1);
    [
        span(reg::COMMAND_IO, io_base, io_limit | 0xfff),
        span(reg::COMMAND_MEMORY, base, limit | 0xf_ffff),
        span(reg::COMMAND_MEMORY, high | low, prefetchable_last),
    ]
}

/// Puts a bridge on a bus; the bus behind it is its [`Function::secondary`]. The class of the identity is 06 04 00.
pub fn bridge(bus: &PciBus, socket: &Socket, identity: Identity) -> Arc<Function> {
    let map = bus.map();
    let (memory, ports) = bus.regions();
    let (behind_memory, behind_ports, windows) = map.update(|tree| {
        let behind_memory = tree.container("pci-bridge-memory", WHOLE);
        let behind_ports = tree.container("pci-bridge-io", 0x1_0000);
        let windows = [
            Window::new(tree, "pci-bridge-io-window", ports, behind_ports),
            Window::new(tree, "pci-bridge-memory-window", memory, behind_memory),
            Window::new(tree, "pci-bridge-prefetchable-window", memory, behind_memory),
        ];
        (behind_memory, behind_ports, windows)
    });
    // The pins of the bus behind come out as the bridge's own, each slot's shifted by one (bridge specification, 9.1).
    let lines = [0, 1, 2, 3].map(|pin| bus.pin(socket.devfn(), pin));
    let pins = Pins { lines, first: 0 };
    let secondary = PciBus::new(map, behind_memory, behind_ports, bus.master_space(), pins);
    let mut layout = Layout::common(identity);
    layout.behind = Some(Behind { bus: secondary, map: map.clone(), windows, shown: Mutex::default() });
    layout.template.set(reg::HEADER, 1, 1, 0);
    layout.template.set(BUS_NUMBERS, 4, 0, u32::MAX);
    layout.template.set(IO, 2, 0, 0xf0f0);
    layout.template.clearable[IO + 3] = 0xf9;
    layout.template.set(MEMORY, 4, 0, 0xfff0_fff0);
    // Bit 0: 64-bit addresses.
    layout.template.set(PREFETCHABLE, 4, 0x0001_0001, 0xfff0_fff0);
    layout.template.set(PREFETCHABLE_HIGH, 4, 0, u32::MAX);
    layout.template.set(PREFETCHABLE_HIGH + 4, 4, 0, u32::MAX);
    layout.template.set(CONTROL, 2, 0, 0x0043);
    let (vendor, device) = identity.subsystem.unwrap_or_default();
    let subsystem = u32::from(vendor) | u32::from(device) << 16;
    let layout = match identity.subsystem {
        // Capability 0x0d: subsystem vendor and subsystem of a bridge.
        Some(_) => {
            let [a, b, c, d] = subsystem.to_le_bytes();
            layout.capability(0x0d, Bank::new(0, &[0, 0, 0, 0, a, b, c, d]))
        }
        None => layout,
    };
    bus.plug(socket, layout)
}
