//! Random regions: they are valid, survive the text form, and run.

use isamorph_interp::random::{self, Options};
use isamorph_interp::{Interpreter, Outcome};
use isamorph_ir::testing::{Bytes, HELPERS, TABLE};
use isamorph_ir::text::{parse, print};
use isamorph_ir::{OPS, Op, RegId, Trap, verify};

const WINDOW: u64 = 0x1_0000;
const SIZE: u32 = 0x1000;

fn options() -> Options {
    Options { x87: true, helpers: 1, ..Options::new(RegId(6), WINDOW, SIZE) }
}

#[test]
fn random_regions_are_valid_text_and_run() {
    isamorph_host::fault::install().expect("fault handlers");
    let options = options();
    let mut interpreter = Interpreter::default();
    let mut seen = vec![0; OPS.len()];
    let (mut exits, mut misses, mut other) = (0, 0, 0);
    for seed in 0..2000 {
        let region = random::region(seed, &TABLE, &options);
        let text = print(&region, &TABLE, HELPERS);
        verify::verify(&region, &TABLE, HELPERS).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        verify::check_write_order(&region).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        let again = parse(&text, &TABLE, HELPERS).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        assert_eq!(print(&again, &TABLE, HELPERS), text, "seed {seed}");
        region.insts.iter().for_each(|inst| seen[inst.op as usize] += 1);
        let memory = Bytes::new(WINDOW, &(0..SIZE).map(|i| (i * 7) as u8).collect::<Vec<_>>());
        let outcomes = [&region, &again].map(|region| {
            let mut state = random::state(seed, &TABLE, &options);
            let fresh = memory.clone();
            let outcome = interpreter.run(region, &TABLE, HELPERS, &mut state, &fresh);
            (outcome, state.bytes(isamorph_ir::GUEST_OFFSET, 1024).to_vec(), fresh)
        });
        match outcomes[0].0 {
            Outcome::Exit { .. } => exits += 1,
            Outcome::Trap { trap: Trap::Memory(_), .. } => misses += 1,
            Outcome::Trap { .. } => other += 1,
        }
        assert!(outcomes[0] == outcomes[1], "seed {seed}: the text form changes what the region does\n{text}");
    }
    assert!(exits > 1000 && misses > 20 && other > 5, "{exits} exits, {misses} misses, {other} other traps");
    let unseen: Vec<_> = Op::ALL.iter().filter(|op| seen[**op as usize] == 0).map(|op| op.text()).collect();
    assert!(unseen.is_empty(), "never generated: {unseen:?}");
}
