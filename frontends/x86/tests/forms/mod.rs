//! Encodings of vector and x87 instructions.

use crate::common::PC;
use crate::form::Form;
use iced_x86::{Code, CpuidFeature, Decoder, DecoderOptions, OpKind};
use std::collections::BTreeMap;

/// The extensions that are lifted completely.
pub const COMPLETE: &[CpuidFeature] = &[
    CpuidFeature::FPU,
    CpuidFeature::FPU287,
    CpuidFeature::FPU387,
    CpuidFeature::MMX,
    CpuidFeature::SSE,
    CpuidFeature::SSE2,
    CpuidFeature::SSE3,
    CpuidFeature::FXSR,
];

/// Extensions that a host may lack, likewise.
pub const LATER: &[CpuidFeature] = &[
    CpuidFeature::SSSE3,
    CpuidFeature::SSE4_1,
    CpuidFeature::SSE4_2,
    CpuidFeature::AES,
    CpuidFeature::PCLMULQDQ,
    CpuidFeature::SHA,
];

/// Every legacy form of the extensions, with a register and with a memory operand where it has both. `modrm` are the
/// ModRM bytes to try, in order of preference.
pub fn forms(extensions: &[CpuidFeature], modrm: impl Iterator<Item = u8> + Clone) -> BTreeMap<(Code, bool), Form> {
    let mut forms = BTreeMap::new();
    // No opcodes that are prefixes or lead to another map: what follows them would not be a ModRM byte.
    let x87 = |opcode: &u8| matches!(opcode, 0x9b | 0xd8..=0xdf);
    let two_byte = |opcode: &u8| !matches!(opcode, 0x38 | 0x3a);
    let all = |_: &u8| true;
    type Filter = fn(&u8) -> bool;
    let maps: [(&[u8], Filter); 4] = [(&[], x87), (&[0x0f], two_byte), (&[0x0f, 0x38], all), (&[0x0f, 0x3a], all)];
    for (map, has_modrm) in maps {
        for prefix in [&[][..], &[0x66], &[0xf3], &[0xf2]] {
            for opcode in (0..=255).filter(has_modrm) {
                for modrm in modrm.clone() {
                    let bytes = [prefix, map, &[opcode, modrm, 0x25, 0, 1, 2, 3, 4, 5, 6, 7]].concat();
                    let insn = Decoder::with_ip(32, &bytes, PC, DecoderOptions::NONE).decode();
                    let features = insn.cpuid_features();
                    if !insn.is_invalid() && features.iter().any(|f| extensions.contains(f)) {
                        let memory = insn.op_kinds().any(|k| k == OpKind::Memory);
                        let bytes = bytes[..insn.len()].to_vec();
                        forms.entry((insn.code(), memory)).or_insert(Form { bytes, insn });
                    }
                }
            }
        }
    }
    forms
}
