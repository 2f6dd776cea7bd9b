//! Vector and x87 instructions: all of them are lifted, and what they become is well-formed.

mod common;
mod form;
mod forms;

use common::lift;
use form::Form;
use iced_x86::Code;
use isamorph_guest::Guest;
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_ir::{ExitKind, Op, Region, X87Form, X87Op};
use isamorph_x86::X86;
use std::collections::BTreeMap;

fn forms() -> BTreeMap<(Code, bool), Form> {
    forms::forms(&[forms::COMPLETE, forms::LATER].concat(), 0..=255)
}

fn is_undefined(region: &Region) -> bool {
    region
        .insts
        .iter()
        .filter(|i| i.op == Op::Exit)
        .any(|i| matches!(region.exits[i.imm as usize].kind, ExitKind::Exception { code: 6, .. }))
}

#[test]
fn every_form_is_lifted() {
    let forms = forms();
    assert!(forms.len() > 600, "only {} forms were found", forms.len());
    let missing: Vec<_> =
        forms.iter().filter(|(_, Form { bytes, .. })| is_undefined(&lift(bytes))).map(|(k, _)| k.0).collect();
    assert!(missing.is_empty(), "not lifted: {missing:?}");
}

#[test]
fn every_region_is_well_formed() {
    let guest = X86::i386();
    for ((code, _), Form { bytes, .. }) in forms() {
        let region = lift(&bytes);
        let checked = verify(&region, guest.table(), guest.helpers());
        assert!(checked.is_ok(), "{code:?}: {checked:?}\n{region:?}");
        let order = check_write_order(&region);
        assert!(order.is_ok(), "{code:?}: {order:?}");
    }
}

/// Only 16-byte operands of instructions that are not unaligned moves fault when misaligned.
#[test]
fn alignment_is_checked_where_the_manual_says() {
    let unaligned = ["Movups", "Movupd", "Movdqu", "Lddqu", "Fxsave", "Fxrstor", "Pcmpestr", "Pcmpistr"];
    for ((code, memory), Form { bytes, insn }) in forms().into_iter().filter(|((_, memory), _)| *memory) {
        let region = lift(&bytes);
        let checked = region.insts.iter().any(|i| matches!(i.op, Op::Load | Op::Store) && i.mem().is_aligned());
        let name = format!("{code:?}");
        let wide = memory && insn.memory_size().size() == 16;
        assert_eq!(checked, wide && !unaligned.iter().any(|u| name.starts_with(u)), "{name}");
    }
}

/// Memory operands are accessed with the width that the decoder knows.
#[test]
fn accesses_have_the_width_of_the_operand() {
    for ((code, _), Form { bytes, insn }) in forms().into_iter().filter(|((_, memory), _)| *memory) {
        let region = lift(&bytes);
        let size = insn.memory_size().size() as u32;
        // The pointers in an environment are overwritten.
        let is_plain = !region.insts.iter().any(|i| i.op == Op::X87Mem);
        for inst in region.insts.iter().filter(|i| is_plain && matches!(i.op, Op::Load | Op::Store)) {
            assert_eq!(inst.mem().bytes(), size, "{code:?}");
        }
        for inst in region.insts.iter().filter(|i| i.op == Op::X87Mem) {
            assert!(matches!(inst.x87().form(), X87Form::Mem(_, _, n) if n == size), "{code:?}");
        }
    }
}

/// Encodings with the meaning of other ones: (alias, canonical), the register number 0.
const X87_ALIASES: &[([u8; 2], [u8; 2])] = &[
    ([0xd9, 0xd8], [0xdd, 0xd8]),
    ([0xdc, 0xd0], [0xd8, 0xd0]),
    ([0xdc, 0xd8], [0xd8, 0xd8]),
    ([0xdd, 0xc8], [0xd9, 0xc8]),
    ([0xde, 0xd0], [0xd8, 0xd8]),
    ([0xdf, 0xc8], [0xd9, 0xc8]),
    ([0xdf, 0xd0], [0xdd, 0xd8]),
    ([0xdf, 0xd8], [0xdd, 0xd8]),
];

/// An x87 op carries the encoding that it was lifted from.
#[test]
fn x87_register_forms_keep_their_encoding() {
    let mut found = 0;
    for first in 0xd8..=0xdfu8 {
        for second in 0xc0..=0xffu8 {
            let region = lift(&[first, second]);
            let x87 = region.insts.iter().find(|i| matches!(i.op, Op::X87 | Op::X87Flags));
            let Some(inst) = x87 else { continue };
            let X87Form::Reg([op, base]) = inst.x87().form() else { panic!("{first:x} {second:x}: memory form") };
            let alias = X87_ALIASES.iter().find(|(alias, _)| *alias == [first, second & 0xf8]);
            let expected = alias.map_or([first, second], |(_, [op, base])| [*op, base | second & 7]);
            assert_eq!([op, base + inst.imm as u8], expected, "{first:x} {second:x}");
            found += 1;
        }
    }
    assert!(found > 300, "{found}");
}

#[test]
fn every_x87_operation_is_reached() {
    for kind in X87Op::ALL {
        let bytes = match kind.form() {
            X87Form::Reg([0x9b, _]) => vec![0x9b],
            X87Form::Reg(bytes) => bytes.to_vec(),
            X87Form::Mem(opcode, digit, _) => vec![opcode, digit << 3],
        };
        let region = lift(&bytes);
        let kinds = region.insts.iter().filter(|i| matches!(i.op, Op::X87 | Op::X87Mem | Op::X87Flags));
        assert_eq!(kinds.map(|i| i.x87()).collect::<Vec<_>>(), [*kind]);
    }
}
