//! The encodings to choose from: those that the front end claims to lift, without those that cannot be compared.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};
use isamorph_x86::coverage;
use std::collections::{BTreeMap, HashSet};

/// Prefixes, opcode and ModRM byte (which is an immediate byte for opcodes without one) of an encoding.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Prefixes, escape bytes, opcode.
    pub opcode: Vec<u8>,
    /// A ModRM byte that belongs to the encoding.
    pub modrm: u8,
    /// Whether it has a memory operand that a ModRM byte describes.
    pub has_memory: bool,
}

/// What control does after an instruction, for the generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It goes on.
    Plain,
    /// It always or nearly always faults or traps; rarely chosen.
    Faulting,
    /// It may jump; the displacement is chosen so that the target is in the sequence.
    Jump,
}

/// An encoding: one form of a mnemonic with its operands.
#[derive(Clone, Debug)]
pub struct Form {
    /// The decoder's name.
    pub code: Code,
    /// Its kind.
    pub kind: Kind,
    /// Ways to begin it.
    pub seeds: Vec<Seed>,
}

/// Mnemonics that are not compared, and why.
pub const EXCLUDED: &[(&str, &[Mnemonic])] = {
    use Mnemonic as M;
    &[
        (
            "the result depends on time, on the processor's model or on chance",
            &[M::Rdtsc, M::Rdtscp, M::Cpuid, M::Rdpmc, M::Rdpid, M::Rdrand, M::Rdseed, M::Xgetbv],
        ),
        (
            "the host saves more kinds of state",
            &[M::Xsave, M::Xsaveopt, M::Xsavec, M::Xsaves, M::Xrstor, M::Xrstors, M::Xsetbv],
        ),
        (
            "the default model does not claim it",
            &[M::Sha1msg1, M::Sha1msg2, M::Sha1nexte, M::Sha1rnds4, M::Sha256msg1, M::Sha256msg2, M::Sha256rnds2],
        ),
        ("the host kernel emulates or refuses it (UMIP)", &[M::Sgdt, M::Sidt, M::Sldt, M::Str, M::Smsw]),
        ("the descriptors are the host kernel's", &[M::Lar, M::Lsl, M::Verr, M::Verw]),
        ("enters the kernel", &[M::Syscall, M::Sysenter, M::Sysret, M::Sysexit]),
        ("a virtual machine's host may report it before instead of behind the instruction", &[M::Int1]),
        ("loads a segment register", &[M::Lds, M::Les, M::Lfs, M::Lgs, M::Lss]),
        (
            "may set the trap or alignment-check flag; see the sequences for popf",
            &[M::Popf, M::Popfd, M::Iret, M::Iretd],
        ),
    ]
};

/// Further encodings that are not compared.
fn is_excluded(insn: &Instruction) -> bool {
    use Code as C;
    let writes_segment = insn.op_count() > 0
        && insn.op_kind(0) == OpKind::Register
        && insn.op_register(0).is_segment_register()
        && insn.mnemonic() != Mnemonic::Push;
    // Undefined in the manual, and a hint of one vendor that is an undefined opcode of the other.
    let undefined = matches!(insn.code(), C::Bswap_r16 | C::Reservednop_rm32_r32_0F0D | C::Reservednop_rm16_r16_0F0D);
    // An undocumented alias that differs from the canonical encoding when the stack is empty.
    let alias = insn.code() == C::Fstpnce_sti;
    writes_segment || undefined || alias || EXCLUDED.iter().any(|(_, names)| names.contains(&insn.mnemonic()))
}

fn kind(insn: &Instruction) -> Option<Kind> {
    use Mnemonic as M;
    match insn.flow_control() {
        FlowControl::Next => {}
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call => {
            // With 16-bit operands the target is in the first 64 KiB, where no code can be.
            return (insn.op0_kind() == OpKind::NearBranch32).then_some(Kind::Jump);
        }
        FlowControl::Exception => return Some(Kind::Faulting),
        FlowControl::Interrupt => {
            // No vector that a program may raise, except the ones with instructions of their own.
            return matches!(insn.mnemonic(), M::Int3 | M::Int1 | M::Into).then_some(Kind::Faulting);
        }
        _ => return None,
    }
    let privileged = matches!(insn.mnemonic(), M::Hlt | M::Cli | M::Sti | M::In | M::Out | M::Clts | M::Invlpg)
        || matches!(insn.mnemonic(), M::Lgdt | M::Lidt | M::Lldt | M::Ltr | M::Lmsw | M::Invd | M::Wbinvd)
        || matches!(insn.mnemonic(), M::Rdmsr | M::Wrmsr | M::Bound | M::Insb | M::Insw | M::Insd)
        || matches!(insn.mnemonic(), M::Outsb | M::Outsw | M::Outsd | M::Wbnoinvd)
        || insn.op_kinds().any(|k| k == OpKind::Register) && {
            let special =
                |n| insn.op_kind(n) == OpKind::Register && (insn.op_register(n).is_cr() || insn.op_register(n).is_dr());
            (0..insn.op_count()).any(special)
        };
    Some(if privileged { Kind::Faulting } else { Kind::Plain })
}

const PREFIXES: [&[u8]; 12] = [
    &[],
    &[],
    &[0x66],
    &[0xf3],
    &[0xf2],
    &[0x67],
    &[0xf0],
    &[0x66, 0xf0],
    &[0x65],
    &[0x3e],
    &[0x66, 0xf3],
    &[0x66, 0xf2],
];

/// The forms that are compared, and how many the front end claims.
pub fn forms() -> (Vec<Form>, usize) {
    let claimed: HashSet<String> =
        coverage::table(32).into_iter().filter(|row| row.lifted).map(|row| row.form).collect();
    let mut forms: BTreeMap<Code, Form> = BTreeMap::new();
    let mut names: BTreeMap<Code, bool> = BTreeMap::new();
    for map in [&[][..], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]] {
        for prefix in PREFIXES {
            for opcode in (0..=255u8).filter(|o| !is_lead(map, *o)) {
                for modrm in (0..64u8).step_by(8).chain(0xc0..=0xff) {
                    let bytes = [prefix, map, &[opcode, modrm, 0x25, 1, 2, 3, 4, 5, 6, 7, 8, 9]].concat();
                    let insn = Decoder::with_ip(32, &bytes, 0x1000, DecoderOptions::NONE).decode();
                    if insn.is_invalid() || is_excluded(&insn) {
                        continue;
                    }
                    let Some(kind) = kind(&insn) else { continue };
                    let is_claimed =
                        names.entry(insn.code()).or_insert_with(|| claimed.contains(&format!("{:?}", insn.code())));
                    if *is_claimed {
                        let form =
                            forms.entry(insn.code()).or_insert_with(|| Form { code: insn.code(), kind, seeds: vec![] });
                        form.seeds.push(seed(&bytes, prefix.len() + map.len() + 1, &insn));
                    }
                }
            }
        }
    }
    (forms.into_values().collect(), claimed.len())
}

fn seed(bytes: &[u8], opcode_len: usize, insn: &Instruction) -> Seed {
    Seed { opcode: bytes[..opcode_len].to_vec(), modrm: bytes[opcode_len], has_memory: has_addressing(insn) }
}

/// Whether the instruction has a memory operand that a ModRM byte describes.
pub fn has_addressing(insn: &Instruction) -> bool {
    use Code as C;
    let is_absolute = matches!(
        insn.code(),
        C::Mov_AL_moffs8
            | C::Mov_AX_moffs16
            | C::Mov_EAX_moffs32
            | C::Mov_moffs8_AL
            | C::Mov_moffs16_AX
            | C::Mov_moffs32_EAX
    );
    insn.op_kinds().any(|k| k == OpKind::Memory) && insn.mnemonic() != Mnemonic::Xlatb && !is_absolute
}

/// Whether a byte is a prefix or leads to another map.
fn is_lead(map: &[u8], opcode: u8) -> bool {
    match map {
        [] => matches!(opcode, 0x0f | 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3),
        [0x0f] => matches!(opcode, 0x38 | 0x3a),
        _ => false,
    }
}
