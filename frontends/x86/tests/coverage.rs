//! Every form of 32-bit mode: what is lifted is well-formed; what is not is on a list.

mod common;

use common::lift;
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
];

/// Forms in these extensions that are not lifted: x87 environments in the format of 16-bit code.
const MISSING: &[&str] = &["Fldenv_m14byte", "Fnstenv_m14byte", "Frstor_m94byte", "Fnsave_m94byte"];

#[test]
fn lifted_forms_are_well_formed() {
    let guest = X86::i386();
    let rows = table();
    for Row { form, bytes, .. } in rows.iter().filter(|r| r.lifted) {
        let region = lift(bytes);
        let checked = verify(&region, guest.table(), guest.helpers());
        assert!(checked.is_ok(), "{form} {bytes:02x?}: {checked:?}\n{region:?}");
        let order = check_write_order(&region);
        assert!(order.is_ok(), "{form} {bytes:02x?}: {order:?}\n{region:?}");
    }
}

#[test]
fn extensions_are_complete() {
    let rows = table();
    let lifted = rows.iter().filter(|r| r.lifted).count();
    println!("{lifted} of {} forms are lifted", rows.len());
    let wanted = |bytes: &[u8]| {
        let insn = Decoder::new(32, bytes, DecoderOptions::NONE).decode();
        insn.cpuid_features().iter().all(|f| COMPLETE.contains(f))
    };
    let missing = rows.iter().filter(|r| !r.lifted && wanted(&r.bytes));
    let names: Vec<_> = missing.map(|r| &r.form[..]).filter(|n| !MISSING.contains(n)).collect();
    assert!(names.is_empty(), "not lifted: {names:?}");
}

#[test]
fn unlifted_instructions_are_counted() {
    // rdrand %eax
    let region = lift(&[0x0f, 0xc7, 0xf0]);
    assert!(matches!(region.exits[0].kind, ExitKind::Exception { code: 6, .. }));
    let count = unlifted().into_iter().find(|(name, _)| name == "rdrand");
    assert_eq!(count, Some(("rdrand".to_string(), 1)));
}
