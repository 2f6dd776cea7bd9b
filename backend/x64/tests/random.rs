//! Interpreter ≡ JIT on random regions: the same registers, flags, memory, exits and faults.

mod rig;

use isamorph_code::ExitReason;
use isamorph_interp::random::{self, Options};
use isamorph_interp::{Outcome, run};
use isamorph_ir::testing::{HELPERS, TABLE};
use isamorph_ir::{CpuState, ExitKind, FlagSet, Memory, RegId, Region, Trap, Type};
use rig::{Left, Rig};

const WINDOW: u64 = 0x2000_0000;
const SIZE: u32 = 4096;

fn seeds() -> u64 {
    std::env::var("ISAMORPH_RANDOM_REGIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

fn memory(rig: &Rig) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    rig.space.read(WINDOW, &mut bytes).expect("the window is mapped");
    bytes
}

/// Where the interpreter left the region, in the terms of compiled code.
fn expected(region: &Region, outcome: Outcome) -> Left {
    match outcome {
        Outcome::Trap { trap, .. } => Left::Trap(trap),
        Outcome::Exit { exit, target } => match region.exits[exit].kind {
            ExitKind::Direct { pc } | ExitKind::Call { pc, .. } => Left::To(pc),
            ExitKind::Syscall { .. } => Left::Stopped(ExitReason::Syscall),
            ExitKind::Exception { .. } => Left::Stopped(ExitReason::Exception),
            ExitKind::Halt { .. } => Left::Stopped(ExitReason::Halt),
            _ => Left::To(target.unwrap_or(0)),
        },
    }
}

fn differences(a: &CpuState, b: &CpuState) -> String {
    let mut text = String::new();
    for (i, def) in TABLE.regs.iter().enumerate() {
        let (mut x, mut y) = (a.get_wide(&TABLE, RegId(i as u16)), b.get_wide(&TABLE, RegId(i as u16)));
        if def.ty == Type::Flags {
            x &= u128::from(FlagSet::all().bits());
            y &= u128::from(FlagSet::all().bits());
        }
        // The x87 unit stays in the host while no one asks for it.
        if x != y && !matches!(def.pin, isamorph_ir::Pin::X87(_)) {
            text += &format!("{}: interpreter {x:#x}, compiled {y:#x}\n", def.name);
        }
    }
    text
}

/// Which part of a fault both sides must agree on: the address may be anywhere in a multi-byte access for the host.
fn same(a: Left, b: Left) -> bool {
    match (a, b) {
        (Left::Trap(Trap::Memory(x)), Left::Trap(Trap::Memory(y))) => x.cause == y.cause || x.write == y.write,
        _ => a == b,
    }
}

fn check(rig: &mut Rig, seed: u64, options: &Options) -> Option<bool> {
    let region = random::region(seed, &TABLE, options);
    let start = random::state(seed, &TABLE, options);
    rig.compile(&region).ok()?;
    let fill: Vec<u8> = (0..SIZE).map(|i| (i as u8).wrapping_mul(31) ^ seed as u8).collect();
    rig.space.write(WINDOW, &fill).expect("the window is mapped");
    let mut a = start.fork();
    let outcome = run(&region, &TABLE, HELPERS, &mut a, &rig.space);
    let (memory_a, left_a) = (memory(rig), expected(&region, outcome));
    rig.space.write(WINDOW, &fill).expect("the window is mapped");
    let mut b = start.fork();
    let left_b = rig.run(&mut b);
    let text = differences(&a, &b);
    if !text.is_empty() || !same(left_a, left_b) || memory_a != memory(rig) {
        let mut listing = String::new();
        let mut decoder = iced_x86::Decoder::with_ip(64, &rig.compiled.code, 0, 0);
        let mut formatter = iced_x86::GasFormatter::new();
        while decoder.can_decode() && decoder.position() < rig.compiled.code.len() {
            let insn = decoder.decode();
            listing += &format!("{:5x} ", insn.ip());
            iced_x86::Formatter::format(&mut formatter, &insn, &mut listing);
            listing.push('\n');
        }
        let shown = isamorph_ir::text::print(&region, &TABLE, HELPERS);
        panic!(
            "seed {seed}: interpreter {left_a:x?}, compiled {left_b:x?}, memory equal: {}\n{text}\n{shown}\n{listing}",
            memory_a == memory(rig)
        );
    }
    Some(matches!(left_a, Left::Trap(_)))
}

fn sweep(precise: bool, tune: impl Fn(&mut Options)) {
    let mut rig = Rig::new(precise);
    rig.map_window(WINDOW, u64::from(SIZE));
    let mut options = Options::new(TABLE.by_name("r3").expect("it exists"), WINDOW, SIZE);
    tune(&mut options);
    let (mut compiled, mut trapped) = (0, 0);
    for seed in 0..seeds() {
        if let Some(trap) = check(&mut rig, seed, &options) {
            compiled += 1;
            trapped += u64::from(trap);
        }
    }
    println!("{compiled} of {} regions compiled and agreed, {trapped} of them ended in a fault", seeds());
    assert!(compiled * 10 > seeds() * 5, "most regions must compile");
}

#[test]
fn random_regions_agree() {
    sweep(true, |_| {});
}

#[test]
fn random_single_instructions_agree() {
    sweep(true, |o| (o.insns, o.blocks) = (1, 1));
}

#[test]
fn random_regions_with_helpers_agree() {
    sweep(true, |o| o.helpers = 2);
}
