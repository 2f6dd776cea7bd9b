//! Vector ops against the host's own instructions, on random operands.

use isamorph_host::fpexec;
use isamorph_interp::random::Rng;
use isamorph_interp::{Outcome, run};
use isamorph_ir::testing::{Bytes, HELPERS, TABLE};
use isamorph_ir::{Builder, ExitKind, Lane, Op, RegId, Region, Type, verify};

/// Where the SSE2 instruction has the operands of the op.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// `a op= b`.
    Two,
    /// `a = op(b, imm)`.
    Imm,
    /// `a = op(a, b, imm)`.
    TwoImm,
}

/// Ops and the opcodes of their SSE2 instructions after 66 0f; ps is without the prefix.
const TABLE_OF_OPS: &[(Op, Lane, Form, u8)] = {
    use Form::{Imm, Two, TwoImm};
    use Lane::{F32, F64, I8, I16, I32, I64};
    &[
        (Op::VAdd, I8, Two, 0xfc),
        (Op::VAdd, I16, Two, 0xfd),
        (Op::VAdd, I32, Two, 0xfe),
        (Op::VAdd, I64, Two, 0xd4),
        (Op::VSub, I8, Two, 0xf8),
        (Op::VSub, I16, Two, 0xf9),
        (Op::VSub, I32, Two, 0xfa),
        (Op::VSub, I64, Two, 0xfb),
        (Op::VAddSatS, I8, Two, 0xec),
        (Op::VAddSatS, I16, Two, 0xed),
        (Op::VAddSatU, I8, Two, 0xdc),
        (Op::VAddSatU, I16, Two, 0xdd),
        (Op::VSubSatS, I8, Two, 0xe8),
        (Op::VSubSatS, I16, Two, 0xe9),
        (Op::VSubSatU, I8, Two, 0xd8),
        (Op::VSubSatU, I16, Two, 0xd9),
        (Op::VMulLo, I16, Two, 0xd5),
        (Op::VMulHiS, I16, Two, 0xe5),
        (Op::VMulHiU, I16, Two, 0xe4),
        (Op::VMulWideU, I32, Two, 0xf4),
        (Op::VMulAddS, I16, Two, 0xf5),
        (Op::VAvgU, I8, Two, 0xe0),
        (Op::VAvgU, I16, Two, 0xe3),
        (Op::VMinS, I16, Two, 0xea),
        (Op::VMinU, I8, Two, 0xda),
        (Op::VMaxS, I16, Two, 0xee),
        (Op::VMaxU, I8, Two, 0xde),
        (Op::VCmpEq, I8, Two, 0x74),
        (Op::VCmpEq, I16, Two, 0x75),
        (Op::VCmpEq, I32, Two, 0x76),
        (Op::VCmpGtS, I8, Two, 0x64),
        (Op::VCmpGtS, I16, Two, 0x65),
        (Op::VCmpGtS, I32, Two, 0x66),
        (Op::VSadU, I8, Two, 0xf6),
        (Op::VAnd, I8, Two, 0xdb),
        (Op::VAndNot, I8, Two, 0xdf),
        (Op::VOr, I8, Two, 0xeb),
        (Op::VXor, I8, Two, 0xef),
        (Op::VShl, I16, Two, 0xf1),
        (Op::VShl, I32, Two, 0xf2),
        (Op::VShl, I64, Two, 0xf3),
        (Op::VShr, I16, Two, 0xd1),
        (Op::VShr, I32, Two, 0xd2),
        (Op::VShr, I64, Two, 0xd3),
        (Op::VSar, I16, Two, 0xe1),
        (Op::VSar, I32, Two, 0xe2),
        (Op::VPackS, I16, Two, 0x63),
        (Op::VPackS, I32, Two, 0x6b),
        (Op::VPackU, I16, Two, 0x67),
        (Op::VZipLo, I8, Two, 0x60),
        (Op::VZipLo, I16, Two, 0x61),
        (Op::VZipLo, I32, Two, 0x62),
        (Op::VZipLo, I64, Two, 0x6c),
        (Op::VZipHi, I8, Two, 0x68),
        (Op::VZipHi, I16, Two, 0x69),
        (Op::VZipHi, I32, Two, 0x6a),
        (Op::VZipHi, I64, Two, 0x6d),
        (Op::VShuffle, I32, Imm, 0x70),
        (Op::VShuffle2, F32, TwoImm, 0xc6),
        (Op::VShuffle2, F64, TwoImm, 0xc6),
    ]
};

/// Runs `x0 = op x0, x1` in the interpreter; undivided ops have no lane.
fn interpret(op: Op, lane: Lane, form: Form, imm: u8, a: u128, b: u128) -> u128 {
    let mut region = Region::default();
    let mut builder = Builder::new(&mut region, &TABLE, 0);
    let x = ["x0", "x1"].map(|name| TABLE.by_name(name).expect("a register"));
    builder.insn(0, 1);
    let [va, vb] = x.map(|reg| builder.get(reg));
    let lane = if op.info().attr == isamorph_ir::AttrKind::Na { Lane::I8 } else { lane };
    let args = if form == Form::Imm { vec![vb] } else { vec![va, vb] };
    let imm = if form == Form::Two { 0 } else { u32::from(imm) };
    let result = builder.vec(op, lane, &args, imm);
    builder.set(x[0], result);
    builder.exit(ExitKind::Direct { pc: 1 });
    builder.finish();
    verify::verify(&region, &TABLE, HELPERS).expect("valid");
    let mut state = isamorph_ir::CpuState::new();
    state.set_wide(&TABLE, x[0], a);
    state.set_wide(&TABLE, x[1], b);
    assert_eq!(run(&region, &TABLE, HELPERS, &mut state, &Bytes::default()), Outcome::Exit { exit: 0, target: None });
    state.get_wide(&TABLE, x[0])
}

#[test]
fn vector_ops_agree_with_the_host() {
    let mut rng = Rng::new(1);
    let mut wide = || u128::from(rng.interesting()) << 64 | u128::from(rng.interesting());
    for &(op, lane, form, opcode) in TABLE_OF_OPS {
        let is_shift = matches!(op, Op::VShl | Op::VShr | Op::VSar);
        for round in 0..200 {
            let (a, mut b) = (wide(), wide());
            if is_shift && round % 4 != 0 {
                b = b & !(u64::MAX as u128) | u128::from(b as u8 & 63);
            }
            let imm = wide() as u8;
            let prefix = (lane != Lane::F32).then_some(0x66);
            let mut expected = a;
            let mut mxcsr = 0x1f80;
            let with_imm = (form != Form::Two).then_some(imm);
            fpexec::sse(prefix, &[opcode], with_imm, &mut mxcsr, &mut expected, b).expect("SSE2");
            let got = interpret(op, lane, form, imm, a, b);
            assert_eq!(got, expected, "{op}.{lane} {a:#034x} {b:#034x} #{imm}: {got:#034x}, host {expected:#034x}");
        }
    }
}

#[test]
fn mmx_registers_alias_the_x87_stack() {
    let mut region = Region::default();
    let mut builder = Builder::new(&mut region, &TABLE, 0);
    builder.insn(0, 1);
    let m2 = TABLE.by_name("m2").expect("m2");
    let one = builder.iconst(Type::I64, 0x1122);
    let vector = builder.convert(Op::VFromInt, Type::V64, &[one]);
    builder.set(m2, vector);
    builder.exit(ExitKind::Direct { pc: 1 });
    builder.finish();
    let mut state = isamorph_ir::CpuState::new();
    let base = TABLE.fxsave.expect("an image");
    // TOP = 6: ST(1) is physical register 7, which becomes the last of the image.
    state.bytes_mut(base + 2, 2).copy_from_slice(&0x3001_u16.to_le_bytes());
    state.bytes_mut(base + 32 + 16, 1)[0] = 0xaa;
    run(&region, &TABLE, HELPERS, &mut state, &Bytes::default());
    assert_eq!(state.bytes(base, 5)[2..], [1, 0, 0xff], "top 0, other status bits kept, all valid");
    assert_eq!(state.bytes(base + 32 + 16 * 2, 10), [0x22, 0x11, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(state.bytes(base + 32 + 16 * 7, 1), [0xaa]);
    assert_eq!(state.get(&TABLE, RegId(m2.0)), 0x1122);
}
