//! RAM of the machine as memory slots of KVM.
//!
//! A slot is whole pages; what a range has besides (a region that starts or ends inside a page) is left to the exits
//! for device accesses, which serve RAM as well.

use crate::KvmMachine;
use isamorph_space::{FlatRange, Listener, Target};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE: u64 = 4096;

/// The slots in use.
pub struct Slots {
    machine: Arc<KvmMachine>,
    most: usize,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// By guest-physical address.
    slots: BTreeMap<u64, kvm_userspace_memory_region>,
    /// Why a range could not be given to KVM.
    refused: Option<String>,
}

impl Slots {
    /// No slots yet; the host has that many.
    pub fn new(machine: Arc<KvmMachine>, most: usize) -> Arc<Self> {
        Arc::new(Slots { machine, most, used: Mutex::default() })
    }
    /// Whether all ranges so far could be given to KVM.
    pub fn outcome(&self) -> Result<(), String> {
        self.used().refused.take().map_or(Ok(()), Err)
    }
    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set(&self, region: kvm_userspace_memory_region) -> Result<(), String> {
        // SAFETY-relevant facts are in `raw`, which makes the call.
        crate::raw::set_memory(&self.machine.vm, region).map_err(crate::failed("KVM_SET_USER_MEMORY_REGION"))
    }
}

/// The whole pages of a range of RAM as a slot with number 0.
fn slot_of(range: &FlatRange) -> Option<kvm_userspace_memory_region> {
    // Writes to a flash in ROM mode go to its device, so its memory is read-only to the guest.
    let (block, readonly) = match &range.target {
        Target::Ram(block) => (block, range.readonly),
        Target::RomDevice(block, ..) => (block, true),
        Target::Io(..) => return None,
    };
    let start = range.start.next_multiple_of(PAGE);
    let end = u64::try_from(range.end()).unwrap_or(u64::MAX) & !(PAGE - 1);
    let host = block.host_addr() as u64 + range.offset_of(start);
    (start < end && host.is_multiple_of(PAGE)).then_some(kvm_userspace_memory_region {
        slot: 0,
        flags: if readonly { KVM_MEM_READONLY } else { 0 },
        guest_phys_addr: start,
        memory_size: end - start,
        userspace_addr: host,
    })
}

impl Listener for Slots {
    fn removed(&self, range: &FlatRange) {
        let Some(gone) = slot_of(range) else { return };
        let mut used = self.used();
        if let Some(slot) = used.slots.remove(&gone.guest_phys_addr) {
            // A slot without bytes is none.
            used.refused = self.set(kvm_userspace_memory_region { memory_size: 0, ..slot }).err();
        }
    }
    fn added(&self, range: &FlatRange) {
        let Some(mut new) = slot_of(range) else { return };
        let mut used = self.used();
        let free = (0..self.most as u32).find(|n| used.slots.values().all(|slot| slot.slot != *n));
        let outcome = match free {
            Some(number) => {
                new.slot = number;
                self.set(new)
            }
            None => Err(format!("the host's kvm has no more than {} memory slots", self.most)),
        };
        match outcome {
            Ok(()) => {
                used.slots.insert(new.guest_phys_addr, new);
            }
            Err(text) => {
                eprintln!("isamorph: kvm: {text}");
                used.refused = Some(text);
            }
        }
    }
}
