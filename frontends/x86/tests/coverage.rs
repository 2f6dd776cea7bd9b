//! Every form of both modes: what is lifted is well-formed; what is not is on a list.

mod common;

use common::{everything, lift, lift_for};
use iced_x86::{CpuidFeature, Decoder, DecoderOptions};
use isamorph_guest::Guest;
use isamorph_ir::ExitKind;
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_x86::X86;
use isamorph_x86::coverage::{Row, table, unlifted};

/// The instruction-set extensions that are lifted completely.
const COMPLETE: &[CpuidFeature] = &[
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL8086_ONLY,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL286_ONLY,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::CPUID,
    CpuidFeature::TSC,
    CpuidFeature::MSR,
    CpuidFeature::CX8,
    CpuidFeature::CMOV,
    CpuidFeature::SYSCALL,
    CpuidFeature::SEP,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::PAUSE,
    CpuidFeature::CLFSH,
    CpuidFeature::POPCNT,
    CpuidFeature::MOVBE,
    CpuidFeature::FPU,
    CpuidFeature::FPU287,
    CpuidFeature::FPU387,
    CpuidFeature::MMX,
    CpuidFeature::FXSR,
    CpuidFeature::SSE,
    CpuidFeature::SSE2,
    CpuidFeature::SSE3,
    CpuidFeature::SSSE3,
    CpuidFeature::SSE4_1,
    CpuidFeature::SSE4_2,
    CpuidFeature::AES,
    CpuidFeature::PCLMULQDQ,
    CpuidFeature::SHA,
    CpuidFeature::ADX,
    CpuidFeature::LZCNT,
    CpuidFeature::BMI1,
    CpuidFeature::BMI2,
    CpuidFeature::X64,
    CpuidFeature::CMPXCHG16B,
    CpuidFeature::FSGSBASE,
    CpuidFeature::RDRAND,
    CpuidFeature::RDSEED,
    CpuidFeature::RDTSCP,
    CpuidFeature::RDPID,
    CpuidFeature::XSAVE,
    CpuidFeature::XSAVEC,
    CpuidFeature::XSAVEOPT,
    CpuidFeature::CLFLUSHOPT,
    CpuidFeature::CLWB,
];

#[test]
fn lifted_forms_are_well_formed() {
    for guest in [X86::i386(), X86::amd64()] {
        check_forms(guest);
    }
}

fn check_forms(guest: X86) {
    let rows = table(guest.table().addr_bits);
    for Row { form, bytes, .. } in rows.iter().filter(|r| r.lifted) {
        let region = lift_for(everything(guest), bytes);
        let checked = verify(&region, guest.table(), guest.helpers());
        assert!(checked.is_ok(), "{form} {bytes:02x?}: {checked:?}\n{region:?}");
        let order = check_write_order(&region);
        assert!(order.is_ok(), "{form} {bytes:02x?}: {order:?}\n{region:?}");
    }
}

#[test]
fn extensions_are_complete() {
    for bits in [32, 64] {
        check_completeness(bits);
    }
}

fn check_completeness(bits: u32) {
    let rows = table(bits);
    let lifted = rows.iter().filter(|r| r.lifted).count();
    println!("{lifted} of {} forms are lifted", rows.len());
    let wanted = |bytes: &[u8]| {
        let insn = Decoder::new(bits, bytes, DecoderOptions::NONE).decode();
        insn.cpuid_features().iter().all(|f| COMPLETE.contains(f))
    };
    let missing = rows.iter().filter(|r| !r.lifted && wanted(&r.bytes));
    let names: Vec<_> = missing.map(|r| &r.form[..]).collect();
    assert!(names.is_empty(), "not lifted: {names:?}");
}

#[test]
fn unlifted_instructions_are_counted() {
    // rdpkru
    let region = lift(&[0x0f, 0x01, 0xee]);
    assert!(matches!(region.exits[0].kind, ExitKind::Exception { code: 6, .. }));
    let count = unlifted().into_iter().find(|(name, _)| name == "rdpkru");
    assert_eq!(count, Some(("rdpkru".to_string(), 1)));
}
