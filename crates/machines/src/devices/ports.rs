//! Devices with a port or two.

use super::Properties;
use crate::pc::SERIAL;
use crate::site::{BYTES, Site};
use isamorph_chardev::BackEnd;
use isamorph_device::Line;
use isamorph_devices::ports::{DebugConsole, ExitPort, PanicPort, TestDevice};
use isamorph_devices::uart::Uart;
use isamorph_space::{IoRules, Sizes};
use std::sync::Arc;

/// A port number.
fn port(properties: &mut Properties, name: &str, usual: u64) -> Result<u64, String> {
    let port = properties.take_number(name)?.unwrap_or(usual);
    if port < 1 << 16 { Ok(port) } else { Err(format!("Parameter '{name}' expects a port")) }
}

/// The back end that a device names.
fn back_end(site: &Site<'_>, properties: &mut Properties) -> Result<Arc<dyn BackEnd>, String> {
    let id = properties.take("chardev").ok_or("Can't create device, empty char device")?;
    site.config.chardevs.connect(&id)
}

pub(super) fn debug_console(site: &mut Site<'_>, mut properties: Properties) -> Result<(), String> {
    let at = port(&mut properties, "iobase", 0xe9)?;
    let answer = properties.take_number("readback")?.unwrap_or(DebugConsole::PRESENT.into());
    let console = DebugConsole::new(back_end(site, &mut properties)?, answer as u8);
    site.port("isa-debugcon", at, 1, BYTES, console.clone());
    site.devices.push(console);
    Ok(())
}

pub(super) fn exit(site: &mut Site<'_>, mut properties: Properties) -> Result<(), String> {
    let at = port(&mut properties, "iobase", 0x501)?;
    let size = properties.take_number("iosize")?.unwrap_or(2).clamp(1, 4);
    let device = ExitPort::new(site.requests.clone());
    site.port("isa-debug-exit", at, size, IoRules::exactly(1, 4), device.clone());
    site.devices.push(device);
    Ok(())
}

pub(super) fn panic(site: &mut Site<'_>, mut properties: Properties) -> Result<(), String> {
    let at = port(&mut properties, "ioport", 0x505)?;
    let device = PanicPort::new(site.requests.clone());
    site.port("pvpanic", at, 1, BYTES, device.clone());
    site.devices.push(device);
    Ok(())
}

pub(super) fn serial(site: &mut Site<'_>, mut properties: Properties) -> Result<(), String> {
    let index = properties.take_number("index")?.map(|index| index as usize);
    let free = site.config.serials.iter().filter(|back| back.is_some()).count();
    let (usual_port, usual_irq) = SERIAL.get(index.unwrap_or(free)).copied().unwrap_or(SERIAL[0]);
    let at = port(&mut properties, "iobase", usual_port)?;
    let irq = properties.take_number("irq")?.unwrap_or(usual_irq.into());
    let line = site.irqs.get(irq as usize).cloned().unwrap_or(Line::unconnected());
    let uart = Uart::new(&site.clock, line, back_end(site, &mut properties)?);
    site.port("serial", at, 8, BYTES, uart.ports());
    site.devices.push(uart);
    Ok(())
}

pub(super) fn test_device(site: &mut Site<'_>, _: Properties) -> Result<(), String> {
    let any = Sizes { min: 1, max: 4, unaligned: true };
    let rules = IoRules { valid: any, implemented: any, ..IoRules::default() };
    let device = TestDevice::new(site.irqs.clone());
    site.port("testdev-ioport", 0xe0, 4, rules, device.value_port());
    site.port("testdev-irq-line", 0x2000, 24, rules, device.line_ports());
    let any = Sizes { min: 1, max: 8, unaligned: true };
    let rules = IoRules { valid: any, implemented: any, ..IoRules::default() };
    site.registers("testdev-iomem", 0xff00_0000, 0x1_0000, rules, device.memory());
    site.devices.push(device);
    Ok(())
}
