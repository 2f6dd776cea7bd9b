//! Integer ops against the host's own instructions: results and flags, those without a defined value excepted.
#![allow(unsafe_code)] // inline assembly

use isamorph_interp::random::Rng;
use isamorph_interp::{Outcome, run};
use isamorph_ir::testing::{Bytes, HELPERS, TABLE};
use isamorph_ir::{Builder, CpuState, ExitKind, FlagSet, Op, Region, Type, Value, rules, verify};
use std::arch::asm;

/// `[first, second, count]` and flags in; first result and flags out.
type Native = fn([u64; 3], u64) -> (u64, u64);

/// The instruction on `a`, `b` and CL; the template names the operands.
macro_rules! native {
    ($template:expr) => {
        |[a, b, count], flags| {
            let (mut a, mut flags) = (a, flags);
            // SAFETY: computes in registers; the flags are moved through the stack.
            unsafe {
                asm!(
                    "push {flags}", "popfq", $template, "pushfq", "pop {flags}",
                    a = inout(reg_abcd) a, b = in(reg_abcd) b, flags = inout(reg) flags, in("cl") count as u8,
                );
            }
            (a, flags)
        }
    };
}

/// One instruction in all the widths that it has; `$args` as a template of operands in each.
macro_rules! widths {
    ($($op:ident $form:ident $name:literal;)*) => {
        [$((Op::$op, widths!(@ $form $name))),*]
    };
    (@ two $n:literal) => {[
        Some(native!(concat!($n, " {a:l}, {b:l}")) as Native), Some(native!(concat!($n, " {a:x}, {b:x}"))),
        Some(native!(concat!($n, " {a:e}, {b:e}"))), Some(native!(concat!($n, " {a:r}, {b:r}"))),
    ]};
    (@ one $n:literal) => {[
        Some(native!(concat!($n, " {a:l} # {b}")) as Native), Some(native!(concat!($n, " {a:x} # {b}"))),
        Some(native!(concat!($n, " {a:e} # {b}"))), Some(native!(concat!($n, " {a:r} # {b}"))),
    ]};
    (@ count $n:literal) => {[
        Some(native!(concat!($n, " {a:l}, cl # {b}")) as Native), Some(native!(concat!($n, " {a:x}, cl # {b}"))),
        Some(native!(concat!($n, " {a:e}, cl # {b}"))), Some(native!(concat!($n, " {a:r}, cl # {b}"))),
    ]};
    (@ wide $n:literal) => {[
        None, Some(native!(concat!($n, " {a:x}, {b:x}")) as Native),
        Some(native!(concat!($n, " {a:e}, {b:e}"))), Some(native!(concat!($n, " {a:r}, {b:r}"))),
    ]};
    (@ double $n:literal) => {[
        None, Some(native!(concat!($n, " {a:x}, {b:x}, cl")) as Native),
        Some(native!(concat!($n, " {a:e}, {b:e}, cl"))), Some(native!(concat!($n, " {a:r}, {b:r}, cl"))),
    ]};
}

/// `a` from `b`, for the scans, which keep `a` if there is no bit.
fn swapped(native: Native) -> impl Fn([u64; 3], u64) -> (u64, u64) {
    move |[a, b, count], flags| native([b, a, count], flags)
}

/// Runs the op on registers in the interpreter.
fn interpret(op: Op, ty: Type, [a, b, count]: [u64; 3], flags: u64) -> (u64, u64) {
    let mut region = Region::default();
    let mut builder = Builder::new(&mut region, &TABLE, 0);
    let reg = |name| TABLE.by_name(name).expect("a register");
    builder.insn(0, 1);
    let old = builder.get(TABLE.flags.expect("flags"));
    let (va, vb, vcount) = (builder.iconst(ty, a), builder.iconst(ty, b), builder.iconst(Type::I8, count));
    let args: Vec<Value> = match op.info().args.len() {
        1 => vec![va],
        2 => vec![va, vb],
        3 if op.info().args[1] == isamorph_ir::Arg::I8 => vec![va, vcount, old],
        3 => vec![va, vb, old],
        _ => vec![va, vb, vcount, old],
    };
    let result = builder.multi(op, &args);
    let wide = if ty == Type::I64 { result } else { builder.convert(Op::Zext, Type::I64, &[result]) };
    let new = builder.flags(result);
    builder.set(reg("q0"), wide);
    builder.set(reg("flags"), new);
    builder.exit(ExitKind::Direct { pc: 1 });
    builder.finish();
    verify::verify(&region, &TABLE, HELPERS).expect("valid");
    let mut state = CpuState::new();
    state.set(&TABLE, reg("flags"), flags);
    assert_eq!(run(&region, &TABLE, HELPERS, &mut state, &Bytes::default()), Outcome::Exit { exit: 0, target: None });
    (state.get(&TABLE, reg("q0")), state.get(&TABLE, reg("flags")))
}

#[test]
fn integer_ops_agree_with_the_host() {
    let natives = widths! {
        Add two "add"; Sub two "sub"; Adc two "adc"; Sbb two "sbb"; And two "and"; Or two "or"; Xor two "xor";
        Neg one "neg"; Mul wide "imul";
        Shl count "shl"; Shr count "shr"; Sar count "sar"; Rol count "rol"; Ror count "ror";
        Rcl count "rcl"; Rcr count "rcr"; Shld double "shld"; Shrd double "shrd";
        Bt wide "bt"; Bts wide "bts"; Btr wide "btr"; Btc wide "btc"; Bsf wide "bsf"; Bsr wide "bsr";
    };
    let mut rng = Rng::new(2);
    for (op, widths) in natives {
        for (ty, native) in [Type::I8, Type::I16, Type::I32, Type::I64].into_iter().zip(widths) {
            let Some(native) = native else { continue };
            for _ in 0..400 {
                let [a, b] = [rng.interesting() & ty.mask(), rng.interesting() & ty.mask()];
                let double_word = matches!(op, Op::Shld | Op::Shrd) && ty == Type::I16;
                let count = rng.below(if double_word { 17 } else { 70 }) as u64;
                let flags = u64::from(rng.bits() as u32 & FlagSet::all().bits());
                let expected = match op {
                    Op::Bsf | Op::Bsr => swapped(native)([a, b, count], flags),
                    _ => native([a, b, count], flags),
                };
                let got = interpret(op, ty, [a, b, count], flags);
                let mut undefined = undefined_flags(op, ty, count);
                if matches!(op, Op::Bt | Op::Bts | Op::Btr | Op::Btc) {
                    undefined = FlagSet::empty();
                }
                let compared = u64::from((FlagSet::all() - undefined).bits());
                assert_eq!(
                    (got.0, got.1 & compared),
                    (expected.0 & ty.mask(), expected.1 & compared),
                    "{op}.{ty} {a:#x} {b:#x} count {count} flags {flags:#x}"
                );
            }
        }
    }
}

/// The rule's flags, less those that are defined for this count.
fn undefined_flags(op: Op, ty: Type, count: u64) -> FlagSet {
    let inst = isamorph_ir::Inst { op, ty, attr: 0, args: [Value::NONE; 4], imm: 0 };
    let rule = rules::undefined_flags(&inst);
    let takes_count = (Op::Shl..=Op::Shrd).contains(&op);
    match count & if ty == Type::I64 { 63 } else { 31 } {
        0 if takes_count => FlagSet::empty(),
        1 if takes_count => rule & FlagSet::A,
        _ => rule,
    }
}
