//! Random regions do the same before and after the optimiser: the way out, the registers and the memory are equal, at
//! faults too.

use isamorph_interp::random::{self, Options, Rng};
use isamorph_interp::{Interpreter, Outcome};
use isamorph_ir::testing::{Bytes, HELPERS, TABLE};
use isamorph_ir::text::print;
use isamorph_ir::{Arg, Const, FlagSet, GUEST_OFFSET, Op, RegId, Region, Type, Value, verify};
use isamorph_opt::Optimizer;

const WINDOW: u64 = 0x1_0000;
const SIZE: u32 = 0x1000;

fn options() -> Options {
    Options { x87: true, helpers: 1, blocks: 2, insns: 5, ..Options::new(RegId(6), WINDOW, SIZE) }
}

/// Makes work for the optimiser: turns operands into constants, edits of flags into complements, and merges of flags
/// into those that keep nothing.
fn season(region: &mut Region, rng: &mut Rng) {
    for index in 0..region.insts.len() {
        let mut inst = region.insts[index];
        let keeps = matches!(inst.op, Op::Second | Op::DivU | Op::DivS | Op::Shld | Op::Shrd);
        for slot in 0..inst.op.info().args.len() {
            let value = inst.args[slot];
            let ty = region.value_type(value);
            let projected = slot == 0 && matches!(inst.op, Op::Flags | Op::FlagsKeep);
            let counts = inst.op.info().args.get(slot + 1) == Some(&Arg::OptFl);
            if !ty.is_int() || keeps || projected || counts || !rng.chance(25) {
                continue;
            }
            let bits = rng.pick(&[0, 1, ty.mask(), rng.clone().interesting()]) & ty.mask();
            region.consts.push(Const { ty, bits: bits.into() });
            inst.args[slot] = Value::constant(region.consts.len() - 1);
        }
        if matches!(inst.op, Op::FlagsSet | Op::FlagsClear) && rng.chance(70) {
            inst.op = Op::FlagsNot;
        }
        if inst.op == Op::FlagsKeep && rng.chance(20) && rules_out_undefined(region, inst.args[0]) {
            inst.attr = 0;
        }
        region.insts[index] = inst;
    }
}

/// Whether all flags of the instruction are defined.
fn rules_out_undefined(region: &Region, value: Value) -> bool {
    let producer = value.as_inst().map(|index| &region.insts[index]);
    producer.is_some_and(|inst| isamorph_ir::rules::undefined_flags(inst) == FlagSet::empty())
}

struct Observed {
    outcome: Outcome,
    state: Vec<u8>,
    memory: Bytes,
}

fn observe(interpreter: &mut Interpreter, region: &Region, seed: u64, memory: &Bytes) -> Observed {
    let mut state = random::state(seed, &TABLE, &options());
    let memory = memory.clone();
    let outcome = interpreter.run(region, &TABLE, HELPERS, &mut state, &memory);
    Observed { outcome, state: state.bytes(GUEST_OFFSET, 1024).to_vec(), memory }
}

#[test]
fn optimised_regions_do_the_same() {
    isamorph_host::fault::install().expect("fault handlers");
    let (mut interpreter, mut optimizer) = (Interpreter::default(), Optimizer::default());
    let memory = Bytes::new(WINDOW, &(0..SIZE).map(|i| (i * 7) as u8).collect::<Vec<_>>());
    let (mut changed, mut traps) = (0, 0);
    for seed in 0..20_000 {
        let mut region = random::region(seed, &TABLE, &options());
        season(&mut region, &mut Rng::new(seed ^ 0x5a17));
        let text = || print(&region, &TABLE, HELPERS);
        verify::verify(&region, &TABLE, HELPERS).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", text()));
        let mut optimised = region.clone();
        optimizer.run(&mut optimised, &TABLE);
        if optimised == region {
            continue;
        }
        changed += 1;
        let texts = || format!("seed {seed}\n{}\nbecame\n{}", text(), print(&optimised, &TABLE, HELPERS));
        verify::verify(&optimised, &TABLE, HELPERS).unwrap_or_else(|error| panic!("{error}: {}", texts()));
        verify::check_write_order(&optimised).unwrap_or_else(|error| panic!("{error}: {}", texts()));
        let [before, after] = [&region, &optimised].map(|region| observe(&mut interpreter, region, seed, &memory));
        traps += usize::from(matches!(before.outcome, Outcome::Trap { .. }));
        assert_eq!(before.outcome, after.outcome, "{}", texts());
        assert!(before.state == after.state, "registers differ, {}", texts());
        assert!(before.memory == after.memory, "memory differs, {}", texts());
    }
    assert!(changed > 14_000 && traps > 500, "{changed} regions changed, {traps} of them trapped");
}

/// Registers that are written twice in a row keep their last value, and the first one where a fault sees it.
#[test]
fn hidden_copies_go_but_not_across_faults() {
    let mut region = isamorph_ir::text::parse(
        "insn 0x1000 2\n v1 = get.i32 r1\n set r0, v1\n insn 0x1002 2\n v4 = get.i32 r2\n set r0, v4\n \
         v6 = load.i32 m4 [v4]\n set r0, v6\n exit direct 0x1004",
        &TABLE,
        HELPERS,
    )
    .expect("a region");
    Optimizer::default().run(&mut region, &TABLE);
    let writes: Vec<_> = region.insts.iter().filter(|inst| inst.op == Op::Set).map(|inst| inst.args[0]).collect();
    assert_eq!(writes, [Value::inst(4), Value::inst(6)]);
    assert_eq!(region.value_type(writes[0]), Type::I32);
}
