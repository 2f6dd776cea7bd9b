//! The empty machine (`-M none`): processors, memory from address 0 on, and what `-device` adds.

use crate::config::Config;
use crate::site::Site;

/// Builds it.
pub(crate) fn build(site: &mut Site<'_>, config: &Config) -> Result<(), String> {
    if config.kernel.is_some() {
        return Err("this machine boots no kernel".to_owned());
    }
    if config.ram != 0 {
        let block = site.block("ram", config.ram, config.ram_file.as_deref())?;
        site.map.update(|tree| {
            let ram = tree.ram("ram", block);
            tree.add(site.system, ram, 0, 0);
        });
    }
    Ok(())
}
