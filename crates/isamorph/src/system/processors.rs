//! Processor models of machines (`-cpu`).

use isamorph_guest::SystemGuest;
use isamorph_ir::CpuState;
use isamorph_machines::{self as machines, ProcessorFacts};
use isamorph_x86::X86;
use isamorph_x86::state::{AMD64, CS, CS_BASE, EDX, I386};
use isamorph_x86::system::{Machine, Topology, ticks};
use std::sync::Arc;

/// The list of models.
pub fn help() -> String {
    let mut text = String::from("Available CPUs:\n");
    for model in X86::i386().models() {
        text.push_str(&format!("  {:<20} {}\n", model.name, model.brand));
    }
    text
}

/// The processors of a machine: those of an architecture (`i386`, `x86_64`) and model.
///
/// # Errors
/// There is no such model.
pub fn make(architecture: &str, model: Option<&str>, topology: machines::Topology) -> Result<ProcessorFacts, String> {
    let (usual, bits) = if architecture == "i386" { ("qemu32", 32) } else { ("qemu64", 64) };
    // Cores of all dies of a socket count as its own: nothing tells the dies apart.
    let machines::Topology { sockets, dies, cores, threads, .. } = topology;
    let few = |n: u32| u16::try_from(n).map_err(|_| "Invalid CPU topology: too many processors".to_owned());
    let grouping = Topology { threads: few(threads)?, cores: few(cores.saturating_mul(dies))?, sockets: few(sockets)? };
    let model = model.unwrap_or(usual);
    // What the host's processor has is what its best model has here, as far as it is translated.
    let (name, features) = model.split_once(',').map_or((model, None), |(name, features)| (name, Some(features)));
    let name = if name == "host" { "max" } else { name };
    // Properties that say nothing about features.
    let ignored = ["migratable=off", "migratable=on", "check", "enforce=off", "check=on", "check=off"];
    let features = features.into_iter().flat_map(|list| list.split(',')).filter(|word| !ignored.contains(word));
    let text = [name].into_iter().chain(features).collect::<Vec<_>>().join(",");
    let guest = Arc::new(Machine::new(&text, bits, grouping).map_err(|e| e.to_string())?);
    let ids = (0..topology.count).map(|index| grouping.apic_id(index)).collect();
    // After a reset EDX identifies the processor, as CPUID does.
    let mut state = CpuState::new();
    guest.reset(&mut state, 0);
    Ok(ProcessorFacts { identity: state.get(&I386, EDX), guest, enter, ticks, ids })
}

/// Has a processor after its reset start at a physical address, in real mode, in the segment that begins at that
/// address's 64 KiB.
fn enter(state: &mut CpuState, addr: u64) {
    let base = addr & !0xffff;
    state.set(&AMD64, CS_BASE, base);
    state.set(&AMD64, CS, base >> 4 & 0xffff);
    state.set_pc(addr);
}
