//! Printing, parsing and verifying.

use isamorph_ir::testing::{HELPERS, TABLE};
use isamorph_ir::text::{parse, print};
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_ir::{Addr, Builder, Cond, ExitKind, FlagSet, MemAttr, Op, RegId, Region, Type, Value, X87Op};

const SAMPLE: &str = "\
region 0x8048000
locals i32 v128
block 0
  insn 0x8048000 2
  v1 = get.i32 r0
  v2 = load.i32 m2s a0=[seg 0x10000:i32: v1 + v1<<2 - 16]
  v3 = add.i32 v2, 5
  v4 = flags v3
  store.i32 m2 a0, v3
  set r0, v3
  set %0, -1
  v8 = shl.i32 v3, 4
  v9 = flagsk.c v8, v4
  exitif.ne v9, direct 0x8048010 live=cz
  insn 0x8048002 3
  v12 = get.v128 x0
  v13 = vshuf.v128.w v12, #27
  x87m fld.m80 [4096]
  v15 = call.i32 mix, v3, 7:i8
  fence
  branch.e 64, block 1
block 1
  insn 0x8048005 1
  v19 = get.i32 %0
  v20 = lea.i32 [v19<<0]
  exit icall v20 ret 0x8048006
";

#[test]
fn sample_survives_a_round_trip() {
    let region = parse(SAMPLE, &TABLE, HELPERS).expect("the sample parses");
    verify(&region, &TABLE, HELPERS).expect("the sample is valid");
    assert_eq!(print(&region, &TABLE, HELPERS), SAMPLE);
    assert_eq!(parse(&print(&region, &TABLE, HELPERS), &TABLE, HELPERS), Ok(region));
}

#[test]
fn what_the_builder_makes_survives_a_round_trip() {
    let mut region = Region::default();
    let mut b = Builder::new(&mut region, &TABLE, 0x1000);
    b.insn(0x1000, 4);
    let base = b.get(RegId(3));
    let addr = b.addr(Addr::offset(base, 8));
    let old = b.load(Type::I32, MemAttr::new(4), addr);
    let one = b.iconst(Type::I32, 1);
    let sum = b.bin(Op::Add, old, one);
    b.store(MemAttr::new(4), addr, sum);
    let flags = b.flags(sum);
    b.x87(X87Op::Xch, 3);
    let flipped = b.flags_edit(Op::FlagsNot, flags, FlagSet::C);
    b.set(TABLE.by_name("flags").expect("flags"), flipped);
    b.exit_if(Cond::B, flipped, ExitKind::Exception { pc: 0x1000, code: 6, arg: 0 });
    b.exit(ExitKind::Syscall { next: 0x1004, code: 128 });
    b.finish();
    verify(&region, &TABLE, HELPERS).expect("valid");
    check_write_order(&region).expect("writes come last");
    assert_eq!(parse(&print(&region, &TABLE, HELPERS), &TABLE, HELPERS), Ok(region));
}

#[test]
fn broken_regions_still_print() {
    let mut region = parse(SAMPLE, &TABLE, HELPERS).expect("the sample parses");
    for inst in &mut region.insts {
        inst.imm = inst.imm.wrapping_add(1000);
        inst.attr = 255;
        inst.args[0] = Value::constant(77);
    }
    assert!(verify(&region, &TABLE, HELPERS).is_err());
    assert!(print(&region, &TABLE, HELPERS).contains('?'));
}

#[test]
fn writes_come_last() {
    let text = "insn 0 1\n v1 = get.i32 r0\n set r1, v1\n v2 = load.i32 m4 [v1]\n exit direct 0";
    let region = parse(text, &TABLE, HELPERS).expect("parses");
    verify(&region, &TABLE, HELPERS).expect("valid");
    assert_eq!(check_write_order(&region).expect_err("a load after a write").inst, 3);
}
