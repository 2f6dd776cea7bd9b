//! CPUID: what KVM supports, narrowed to the processor model.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// What a processor model answers for a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuidLeaf {
    /// EAX before the instruction.
    pub leaf: u32,
    /// ECX before the instruction.
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX after it.
    pub values: [u32; 4],
}

/// Registers of a leaf whose bits are features: a model without the bit hides it. SDM vol. 2, CPUID.
const FEATURES: &[(u32, u32, [bool; 4])] = &[
    (1, 0, [false, false, true, true]),
    (6, 0, [true, false, true, false]),
    (7, 0, [false, true, true, true]),
    (7, 1, [true, false, false, false]),
    (0xd, 1, [true, false, false, false]),
    (0x8000_0001, 0, [false, false, true, true]),
    (0x8000_0007, 0, [false, false, false, true]),
    (0x8000_0008, 0, [false, true, false, false]),
];

/// Features that KVM offers only with its own interrupt controllers: leaf 1 ECX.
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
/// KVM's paravirtual features that need none of its devices: clock sources, and I/O without delays.
const PARAVIRTUAL: u32 = 1 | 1 << 1 | 1 << 3 | 1 << 24;
const PARAVIRTUAL_LEAF: u32 = 0x4000_0001;

/// The answers for processor `index` of a machine: those of `model` where it has any, as far as KVM supports them.
pub fn answers(supported: &CpuId, model: &[CpuidLeaf], index: u32) -> Vec<kvm_cpuid_entry2> {
    let mut entries: Vec<_> = supported.as_slice().to_vec();
    for entry in &mut entries {
        if let Some(leaf) = model.iter().find(|l| l.leaf == entry.function && l.subleaf == entry.index) {
            narrow(entry, leaf);
        }
        match entry.function {
            1 => {
                // The initial APIC id, and what the machine's own controllers cannot do through KVM.
                entry.ebx = entry.ebx & 0x00ff_ffff | index << 24;
                entry.ecx &= !(X2APIC | TSC_DEADLINE);
            }
            0xb | 0x1f => entry.edx = index,
            PARAVIRTUAL_LEAF => entry.eax &= PARAVIRTUAL,
            _ => {}
        }
    }
    entries
}

/// What can be chosen freely comes from the model; features are those of both.
fn narrow(entry: &mut kvm_cpuid_entry2, model: &CpuidLeaf) {
    let features = FEATURES.iter().find(|(leaf, subleaf, _)| (*leaf, *subleaf) == (entry.function, entry.index));
    let registers = [&mut entry.eax, &mut entry.ebx, &mut entry.ecx, &mut entry.edx];
    for (n, register) in registers.into_iter().enumerate() {
        *register = match features {
            Some((.., is_feature)) if is_feature[n] => *register & model.values[n],
            _ if is_free(model.leaf) => model.values[n],
            _ => *register,
        };
    }
}

/// Leaves without promises about the host: names, signatures, caches, topology.
fn is_free(leaf: u32) -> bool {
    matches!(leaf, 0..=4 | 0xb | 0x8000_0000..=0x8000_0006)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_of_both() {
        let entry = |function, ecx| kvm_cpuid_entry2 { function, eax: 7, ecx, edx: 0xff, ..Default::default() };
        let supported = CpuId::from_entries(&[entry(1, X2APIC | 0b110), entry(0xa, 0)]).unwrap();
        let model = [CpuidLeaf { leaf: 1, subleaf: 0, values: [0x663, 0x0080_0800, 0b011, 0xf] }];
        let all = answers(&supported, &model, 3);
        assert_eq!((all[0].eax, all[0].ebx), (0x663, 0x0380_0800));
        assert_eq!((all[0].ecx, all[0].edx), (0b010, 0xf));
        assert_eq!(all[1], entry(0xa, 0), "what the model does not mention stays");
    }
}
