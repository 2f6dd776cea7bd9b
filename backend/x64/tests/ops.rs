//! Interpreter ≡ JIT for every op that only computes, on every type, lane and immediate that it admits, with operands
//! that are special to it: the same result, flags and exception flags.

#[allow(dead_code)] // Other tests use more of it.
mod rig;

use isamorph_interp::random::{self, Rng};
use isamorph_interp::{Operation, run};
use isamorph_ir::op::{AttrKind, ImmKind};
use isamorph_ir::testing::{HELPERS, RISC64, WIDE};
use isamorph_ir::{Arg, Builder, CpuState, ExitKind, FlagSet, Inst, Op, RegTable, Region, Type, Value, rules};
use rig::Rig;

fn rounds() -> u64 {
    std::env::var("ISAMORPH_OP_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS)
}

/// The flag for denormal operands. Guests with the Arm rules have no use for it, and checks of results may set it.
const DENORMAL: u64 = 2;
/// Sets of operands for each instruction, unless `ISAMORPH_OP_ROUNDS` says otherwise.
const ROUNDS: u64 = 24;
/// Most immediates of one op.
const IMMEDIATES: usize = 64;

const HALVES: [u64; 12] = [0, 0x8000, 1, 0x83ff, 0x400, 0x3c00, 0xbc01, 0x7bff, 0x7c00, 0xfc00, 0x7c01, 0xfe12];
const SINGLES: [u64; 24] = [
    0,
    0x8000_0000,
    1,
    0x807f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0001,
    0x3f00_0000,
    0xbfc0_0000,
    0x4020_0000,
    0x4b7f_ffff,
    0x4f00_0000,
    0xcf00_0000,
    0x4eff_ffff,
    0x4f80_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7f80_0001,
    0xffa0_0000,
    0x7fc0_0000,
    0xffc1_2345,
    0x477f_f000,
    0x3300_0000,
];
const DOUBLES: [u64; 24] = [
    0,
    1 << 63,
    1,
    0x800f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0001,
    0x3fe0_0000_0000_0000,
    0xbff8_0000_0000_0000,
    0x4004_0000_0000_0000,
    0x433f_ffff_ffff_ffff,
    0x41e0_0000_0000_0000,
    0xc1e0_0000_0000_0000,
    0x43e0_0000_0000_0000,
    0xc3e0_0000_0000_0000,
    0x43f0_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0xfff4_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0001_2345,
    0xbfdf_ffff_ffff_ffff,
];

/// Sixty-four bits that are special to lanes of some width and kind.
fn special(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0..=1 => rng.pick(&SINGLES) | rng.pick(&SINGLES) << 32,
        2..=3 => rng.pick(&DOUBLES),
        4 => (0..4).fold(0, |bits, _| bits << 16 | rng.pick(&HALVES)),
        5 => (0..8).fold(0, |bits, _| bits << 8 | rng.pick(&[0u64, 1, 2, 7, 15, 16, 0x7f, 0x80, 0x81, 0xff])),
        6 => rng.interesting(),
        _ => rng.bits(),
    }
}

/// A state with special values everywhere, and a random control word.
fn state(table: &RegTable, rng: &mut Rng) -> Box<CpuState> {
    let mut state = CpuState::new();
    for (index, def) in table.regs.iter().enumerate() {
        let bits = match def.pin {
            isamorph_ir::Pin::Flags => u128::from(rng.bits() as u32 & FlagSet::all().bits()),
            isamorph_ir::Pin::FpControl => {
                let flush = rng.pick(&[0, 0, 0x40, 0x8000, 0x8040]);
                0x1f80 | flush | (rng.below(4) as u128) << 13
            }
            _ => u128::from(special(rng)) << 64 | u128::from(special(rng)),
        };
        state.set_wide(table, isamorph_ir::RegId(index as u16), bits);
    }
    state
}

/// Every immediate of an instruction, or as many as are tried.
fn immediates(inst: &Inst, types: [Type; 2], rng: &mut Rng) -> Vec<u32> {
    if !matches!(inst.op.info().imm, ImmKind::U8 | ImmKind::Fp) {
        return vec![0];
    }
    let mut all: Vec<u32> = (0..256).filter(|imm| rules::small_imm(&Inst { imm: *imm, ..*inst }, types)).collect();
    while all.len() > IMMEDIATES {
        all.swap_remove(rng.below(all.len()));
    }
    all
}

/// The types of an operand that an instruction admits.
fn operand_types(inst: &Inst, index: usize, arg: Arg) -> Vec<Type> {
    let all = [Type::I8, Type::I16, Type::I32, Type::I64, Type::V64, Type::V128];
    match arg.expected(inst.ty) {
        Some(ty) => vec![ty],
        None => all.into_iter().filter(|ty| rules::any_operand(inst, index, *ty)).collect(),
    }
}

/// A register's value as an operand.
fn operand(b: &mut Builder<'_>, table: &RegTable, ty: Type, number: usize) -> Value {
    let register = |letter: &str| table.by_name(&format!("{letter}{number}")).expect("there are as many");
    match ty {
        Type::Flags => b.get(table.flags.expect("it has flags")),
        Type::V128 => b.get(register("x")),
        Type::V64 => {
            let whole = b.get(register("x"));
            b.convert(Op::VResize, ty, &[whole])
        }
        Type::I64 => b.get(register("r")),
        _ => {
            let whole = b.get(register("r"));
            b.convert(Op::Trunc, ty, &[whole])
        }
    }
}

/// The instruction on registers; the result goes to `x4` or `r4`, or to an operand's register if `onto` says so.
fn region(table: &'static RegTable, inst: &Inst, types: &[Type], distinct: usize, onto: usize) -> Region {
    let mut region = Region::default();
    let mut b = Builder::new(&mut region, table, 0x1000);
    b.insn(0x1000, 4);
    let mut inst = *inst;
    for (index, ty) in types.iter().enumerate() {
        inst.args[index] = operand(&mut b, table, *ty, index % distinct);
    }
    let result = b.push(inst);
    if !rules::has_undefined_result(inst.op) {
        if inst.ty.is_vector() {
            let whole = if inst.ty == Type::V64 { b.convert(Op::VResize, Type::V128, &[result]) } else { result };
            b.set(table.by_name(&format!("x{onto}")).expect("there are as many"), whole);
        } else {
            let whole = if inst.ty == Type::I64 { result } else { b.convert(Op::Zext, Type::I64, &[result]) };
            b.set(table.by_name(&format!("r{onto}")).expect("there are as many"), whole);
        }
    }
    if inst.op.effects().contains(isamorph_ir::Effects::FLAGS) {
        let raw = b.flags(result);
        let undefined = rules::undefined_flags(&inst);
        let defined = b.flags_edit(Op::FlagsClear, raw, undefined);
        b.set(table.flags.expect("it has flags"), defined);
    }
    b.exit(ExitKind::Direct { pc: 0x2000 });
    b.finish();
    region
}

/// What differs between two states.
fn difference(table: &RegTable, a: &CpuState, b: &CpuState) -> String {
    let mut text = String::new();
    for (index, def) in table.regs.iter().enumerate() {
        let reg = isamorph_ir::RegId(index as u16);
        let ignored = u128::from(match def.pin {
            isamorph_ir::Pin::FpControl => DENORMAL,
            isamorph_ir::Pin::Flags => u64::from((FlagSet::all() - random::flags(table)).bits()),
            _ => 0,
        });
        let (x, y) = (a.get_wide(table, reg) & !ignored, b.get_wide(table, reg) & !ignored);
        if x != y {
            text += &format!("{}: interpreter {x:#x}, compiled {y:#x}\n", def.name);
        }
    }
    text
}

/// Compares an instruction on a few states; false if it is not compiled.
fn agrees(rig: &mut Rig, inst: &Inst, types: &[Type], rng: &mut Rng) -> bool {
    let distinct = 1 + rng.below(3);
    let region = region(rig.table, inst, types, distinct, rng.pick(&[0, 1, 4]));
    if rig.compile(&region).is_err() {
        return false;
    }
    for _ in 0..rounds() {
        let start = state(rig.table, rng);
        let (mut a, mut b) = (start.fork(), start.fork());
        run(&region, rig.table, HELPERS, &mut a, &rig.space);
        rig.run(&mut b);
        let text = difference(rig.table, &a, &b);
        if !text.is_empty() {
            let shown = isamorph_ir::text::print(&region, rig.table, HELPERS);
            let registers: Vec<String> = rig
                .table
                .regs
                .iter()
                .enumerate()
                .map(|(index, def)| {
                    format!("{}={:#x}", def.name, start.get_wide(rig.table, isamorph_ir::RegId(index as u16)))
                })
                .collect();
            panic!("{text}\n{shown}\n{}", registers.join(" "));
        }
    }
    true
}

/// Every op from `first` to `last`; gives the names of those that were not compiled in some form.
fn sweep(table: &'static RegTable, first: Op, last: Op) -> Vec<&'static str> {
    sweep_on(Rig::new(table, false), first, last)
}

fn sweep_on(mut rig: Rig, first: Op, last: Op) -> Vec<&'static str> {
    let mut rng = Rng::new(first as u64);
    let mut refused = Vec::new();
    for op in Op::ALL.iter().copied().filter(|op| (first..=last).contains(op) && Operation::covers(*op)) {
        for &ty in rules::types(op).iter().filter(|ty| **ty != Type::I128) {
            let plain = Inst { op, ty, attr: 0, args: [Value::NONE; 4], imm: 0 };
            let attrs = if op.info().attr == AttrKind::Na { 0..=0 } else { 0..=63 };
            for inst in attrs.map(|attr| Inst { attr, ..plain }).filter(rules::attribute) {
                let choices: Vec<Vec<Type>> =
                    op.info().args.iter().enumerate().map(|(i, arg)| operand_types(&inst, i, *arg)).collect();
                if choices.iter().any(Vec::is_empty) {
                    continue;
                }
                let types: Vec<Type> = choices.iter().map(|some| rng.pick(some)).collect();
                let two = [0, 1].map(|i| types.get(i).copied().unwrap_or(Type::None));
                for imm in immediates(&inst, two, &mut rng) {
                    if !agrees(&mut rig, &Inst { imm, ..inst }, &types, &mut rng) && !refused.contains(&op.text()) {
                        refused.push(op.text());
                    }
                }
            }
        }
    }
    refused
}

#[test]
fn integer_ops_agree() {
    assert_eq!(sweep(&RISC64, Op::Add, Op::FlagsNot), [""; 0]);
}

#[test]
fn vector_ops_agree() {
    assert_eq!(sweep(&RISC64, Op::VAdd, Op::ClMul), [""; 0]);
    assert_eq!(sweep(&WIDE, Op::VAdd, Op::ClMul), [""; 0]);
}

#[test]
fn floating_point_ops_agree() {
    assert_eq!(sweep(&RISC64, Op::FAdd, Op::FSingleToHalf), [""; 0]);
}

/// On a host without extensions most of these ops are computed out of line.
#[test]
fn ops_agree_without_extensions() {
    for (first, last) in [(Op::Add, Op::FlagsNot), (Op::VAdd, Op::ClMul), (Op::FAdd, Op::FSingleToHalf)] {
        let rig = Rig::with(&RISC64, false, isamorph_x64::Backend::without_extensions);
        assert_eq!(sweep_on(rig, first, last), [""; 0]);
    }
}

/// What a guest with unmasked exceptions could not be told about is left to the interpreter.
#[test]
fn floating_point_ops_agree_where_exceptions_may_be_unmasked() {
    let refused = sweep(&WIDE, Op::FAdd, Op::FSingleToHalf);
    let allowed = ["frint", "ffroms", "ffromu", "ftois", "ftoiu", "fltois", "fltoiu", "fh2s"];
    assert!(refused.iter().all(|op| allowed.contains(op)), "{refused:?}");
}
