//! The ISA bus of the PC: what is at which port and on which interrupt line.

use super::interrupts::{Driver, Interrupts};
use super::{Memory, cmos};
use crate::config::Config;
use crate::site::{BYTES, Site};
use isamorph_accel::{Signals, Wires};
use isamorph_device::{Line, LineSink};
use isamorph_devices::dma::DmaPair;
use isamorph_devices::i8042::{self, I8042};
use isamorph_devices::pit::Pit;
use isamorph_devices::ports::FastGate;
use isamorph_devices::rtc::Rtc;
use isamorph_devices::uart::Uart;
use std::sync::Arc;

/// Ports and interrupt lines of serial lines.
pub(crate) const SERIAL: [(u64, u32); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];

/// Address line 20 of every processor.
struct Line20(Vec<Arc<Wires>>);

impl LineSink for Line20 {
    fn set(&self, _: u32, level: bool) {
        for wires in &self.0 {
            if level { wires.lower(Signals::LINE_20_LOW) } else { wires.raise(Signals::LINE_20_LOW) }
        }
    }
}

/// Builds it. The timer and the clock drive their lines through the HPET, which can take these over.
pub(super) fn build(
    site: &mut Site<'_>,
    config: &Config,
    memory: &Memory,
    interrupts: &Interrupts,
) -> Result<(), String> {
    let pit = Pit::new(&site.clock, interrupts.hpet.pit_input());
    site.port("pit", 0x40, 4, BYTES, pit.ports());
    site.port("pcspk", 0x61, 1, BYTES, pit.speaker_port());
    let rtc = Rtc::new(&site.clock, config.seconds, interrupts.hpet.rtc_input());
    cmos::fill(&rtc, config, memory)?;
    site.port("rtc", 0x70, 2, BYTES, rtc.ports());
    let dma = DmaPair::new();
    site.port("dma", 0x00, 16, BYTES, dma.ports(0));
    site.port("dma", 0xc0, 32, BYTES, dma.ports(1));
    // Port 0x92, among them, is another chip's.
    site.port("dma-page", 0x80, 16, BYTES, dma.page_ports());
    keyboard(site, interrupts);
    for (index, (back, (port, irq))) in config.serials.iter().zip(SERIAL).enumerate() {
        let Some(back) = back else { continue };
        let driver = if index < 2 { Driver::Isa } else { Driver::OtherIsa };
        let uart = Uart::new(&site.clock, interrupts.irq(irq, driver), back.clone());
        site.port("serial", port, 8, BYTES, uart.ports());
        site.devices.push(uart);
    }
    if config.serials.len() > SERIAL.len() {
        return Err(format!("Max number of serial ports is {}", SERIAL.len()));
    }
    if !config.boot.once.is_empty() {
        let (clock, usual, first) = (rtc.clone(), config.clone(), std::sync::atomic::AtomicBool::new(true));
        site.on_reset.push(Box::new(move || {
            if !first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                cmos::set_usual_order(&clock, &usual);
            }
        }));
    }
    site.rtc = Some(rtc.clone());
    site.devices.extend([pit as Arc<dyn isamorph_device::Device>, rtc, dma]);
    Ok(())
}

/// Keyboard and mouse, and the gate of address line 20.
fn keyboard(site: &mut Site<'_>, interrupts: &Interrupts) {
    let line_20 = Line::new(Arc::new(Line20(site.wires.clone())), 0);
    let requests = site.requests.clone();
    let wires = i8042::Wires {
        keyboard: interrupts.irq(1, Driver::Isa),
        mouse: interrupts.irq(12, Driver::Isa),
        line_20: line_20.clone(),
        requests: requests.clone(),
    };
    let keyboard = I8042::new(wires);
    site.port("i8042-data", 0x60, 1, BYTES, keyboard.data_port());
    site.port("i8042-cmd", 0x64, 1, BYTES, keyboard.command_port());
    let fast = FastGate::new(line_20, requests);
    site.port("port92", 0x92, 1, BYTES, fast.clone());
    site.devices.extend([keyboard.clone() as Arc<dyn isamorph_device::Device>, fast]);
    site.input.add_keyboard(keyboard.clone());
    site.input.add_pointer("QEMU PS/2 Mouse", keyboard);
}
