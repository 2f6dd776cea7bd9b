//! Disks of the PC: the IDE function of the PIIX3.

use super::chipset::{Chipset, SOUTH_BRIDGE};
use super::cmos;
use super::interrupts::{Driver, Interrupts};
use crate::config::{Config, DeviceRequest};
use crate::site::Site;
use isamorph_block::{Interface, Media};
use isamorph_devices::ide::{PiixIde, UnitConfig};
use isamorph_devices::pci::Devfn;
use std::sync::Arc;

/// The function of the south bridge.
const FUNCTION: u8 = 1;
/// The interrupt lines of the two channels.
const LINES: [u32; 2] = [14, 15];

/// Builds the controller with its drives.
pub(super) fn build(
    site: &mut Site<'_>,
    config: &Config,
    chipset: &Chipset,
    interrupts: &Interrupts,
) -> Result<(), String> {
    let mut units: [[Option<UnitConfig>; 2]; 2] = Default::default();
    let mut disks = [None; 4];
    let mut place = |bus: u32, unit: u32, media: Media, drive: Arc<isamorph_block::Drive>| {
        let slot = units.get_mut(bus as usize).and_then(|units| units.get_mut(unit as usize));
        let slot =
            slot.filter(|slot| slot.is_none()).ok_or_else(|| format!("IDE unit {unit} of bus {bus} is in use"))?;
        let number = 2 * bus + unit;
        if media == Media::Disk {
            disks[number as usize] = drive.medium().map(|medium| medium.image.size());
        }
        let unit = match media {
            Media::Disk => UnitConfig::disk(drive, number + 1),
            Media::Cdrom => UnitConfig::cdrom(drive, number + 1),
        };
        *slot = Some(unit);
        Ok::<_, String>(())
    };
    for setup in &config.drives {
        let (bus, unit) = (setup.options.bus.unwrap_or(0), setup.options.unit.unwrap_or(0));
        match setup.options.interface {
            Interface::None => {}
            Interface::Ide => place(bus, unit, setup.options.media, setup.drive.clone())?,
            other => {
                let name = other.name();
                return Err(format!("machine type does not support if={name},bus={bus},unit={unit}"));
            }
        }
    }
    for request in config.devices.iter().filter(|request| is_ide(request)) {
        let get = |name: &str| request.properties.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let bus = get("bus").unwrap_or("ide.0");
        let number = bus.strip_prefix("ide.").and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| format!("Bus '{bus}' not found"))?;
        let unit = get("unit").map_or(Ok(0), |unit| unit.parse().map_err(|_| "unit expects a number".to_owned()))?;
        let name = get("drive").ok_or_else(|| format!("-device {}: No drive specified", request.driver))?;
        let setup = config.drives.iter().find(|setup| setup.drive.name() == name);
        let setup = setup.ok_or_else(|| format!("can't find value '{name}'"))?;
        let media = if request.driver == "ide-cd" { Media::Cdrom } else { Media::Disk };
        place(number, unit, media, setup.drive.clone())?;
    }
    let socket = chipset.bus.socket(Devfn::new(SOUTH_BRIDGE, FUNCTION));
    let lines = LINES.map(|irq| interrupts.irq(irq, Driver::Isa));
    let ide = PiixIde::new(units, lines, socket.dma());
    let ports = ide.ports(&site.map);
    site.add_ports(&ports);
    chipset.bus.plug(&socket, ide.layout(&site.map));
    site.devices.push(ide);
    if let Some(rtc) = &site.rtc {
        cmos::set_disks(rtc, disks);
    }
    Ok(())
}

/// Whether a device is a drive of the controller.
pub(crate) fn is_ide(request: &DeviceRequest) -> bool {
    matches!(request.driver.as_str(), "ide-hd" | "ide-cd")
}
