//! KVM as an accelerator: the host's processor runs the guest, and leaves it for whatever the machine emulates.
//!
//! * `memory` tells KVM of the RAM in the machine's address space, and of every change.
//! * `processor` is the loop of one vCPU: run, serve the exit, hand over interrupts.
//! * `registers` moves the processor's state between KVM and the machine.
//! * `raw` has what needs `unsafe`: an ioctl that the library lacks, and getting a vCPU out of the guest.
//!
//! Interrupt controllers are the machine's own devices, as with the other accelerators: KVM is asked for none. The
//! reference is the kernel's Documentation/virt/kvm/api.rst.

mod cpuid;
mod memory;
mod processor;
mod raw;
mod registers;

pub use crate::cpuid::CpuidLeaf;

use crate::memory::Slots;
use crate::processor::KvmProcessor;
use isamorph_accel::{Processor, Processors, Wires};
use isamorph_guest::SystemGuest;
use isamorph_ir::CpuState;
use isamorph_space::{AddressSpace, Map};
use kvm_bindings::CpuId;
use kvm_ioctls::{Cap, Error, Kvm, VmFd};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The version of the interface, which has not changed since Linux 2.6.22.
const API_VERSION: i32 = 12;
/// Where KVM puts three pages that Intel processors need for real mode: below the firmware, in no map.
const TSS_ADDRESS: usize = 0xfffb_d000;
/// Where it puts a page for an identity map, likewise.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// What KVM must offer for the machine to run.
const NEEDED: [(Cap, &str); 5] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ReadonlyMem, "KVM_CAP_READONLY_MEM"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
];

/// What a machine gives to KVM.
pub struct KvmConfig {
    /// The processor's architecture, for what happens outside the guest: reset, INIT, start-up.
    pub guest: Arc<dyn SystemGuest>,
    /// The map that `memory` belongs to.
    pub map: Arc<Map>,
    /// Guest-physical memory.
    pub memory: Arc<AddressSpace>,
    /// I/O ports.
    pub ports: Arc<AddressSpace>,
    /// What the processor model answers to CPUID, for processor 0; nothing for all that the host supports.
    pub model: Vec<CpuidLeaf>,
}

/// A virtual machine of KVM.
pub struct KvmMachine {
    vm: VmFd,
    guest: Arc<dyn SystemGuest>,
    memory: Arc<AddressSpace>,
    ports: Arc<AddressSpace>,
    supported: CpuId,
    model: Vec<CpuidLeaf>,
    has_nmi: bool,
    has_smi: bool,
    breakpoints: Mutex<BTreeSet<u64>>,
}

/// Names the call that failed, as KVM's users know it.
fn failed(call: &str) -> impl Fn(Error) -> String {
    move |e| format!("{call} failed: {}", std::io::Error::from_raw_os_error(e.errno()))
}

impl KvmMachine {
    /// Opens `/dev/kvm` and makes a machine with that memory.
    ///
    /// # Errors
    /// What is missing or refused, as text.
    pub fn new(config: KvmConfig) -> Result<Arc<Self>, String> {
        let open =
            |e: Error| format!("Could not access KVM kernel module: {}", std::io::Error::from_raw_os_error(e.errno()));
        let kvm = Kvm::new().map_err(open)?;
        if kvm.get_api_version() != API_VERSION {
            return Err(format!("kvm version {} is not {API_VERSION}", kvm.get_api_version()));
        }
        if let Some((_, name)) = NEEDED.iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
            return Err(format!("the host's kvm lacks {name}"));
        }
        let vm = kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
        vm.set_identity_map_address(IDENTITY_MAP_ADDRESS).map_err(failed("KVM_SET_IDENTITY_MAP_ADDR"))?;
        vm.set_tss_address(TSS_ADDRESS).map_err(failed("KVM_SET_TSS_ADDR"))?;
        let entries = kvm_bindings::KVM_MAX_CPUID_ENTRIES;
        let supported = kvm.get_supported_cpuid(entries).map_err(failed("KVM_GET_SUPPORTED_CPUID"))?;
        let (has_nmi, has_smi) = (kvm.check_extension(Cap::UserNmi), kvm.check_extension_raw(SMM_CAP) != 0);
        let KvmConfig { guest, map, memory, ports, model } = config;
        let space = memory.clone();
        let breakpoints = Mutex::default();
        let machine =
            Arc::new(KvmMachine { vm, guest, memory, ports, supported, model, has_nmi, has_smi, breakpoints });
        let slots = Slots::new(machine.clone(), kvm.get_nr_memslots());
        map.listen(&space, slots.clone());
        slots.outcome()?;
        raw::install_kick().map_err(|e| format!("the signal that interrupts vCPUs is refused: {e}"))?;
        Ok(machine)
    }
    fn breakpoints(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.breakpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `KVM_CAP_X86_SMM`.
const SMM_CAP: std::os::raw::c_ulong = kvm_bindings::KVM_CAP_X86_SMM as std::os::raw::c_ulong;

/// The machine behind an `Arc`, as the listener and the processors hold it.
#[derive(Clone)]
pub struct KvmAccel(pub Arc<KvmMachine>);

impl Processors for KvmAccel {
    fn processor(&self, index: u32, state: Box<CpuState>, wires: Arc<Wires>) -> Result<Box<dyn Processor>, String> {
        Ok(Box::new(KvmProcessor::new(self.0.clone(), index, state, wires)?))
    }
    fn set_breakpoint(&self, addr: u64, on: bool) {
        let mut all = self.0.breakpoints();
        if on {
            all.insert(addr);
        } else {
            all.remove(&addr);
        }
    }
    fn name(&self) -> &'static str {
        "kvm"
    }
}
