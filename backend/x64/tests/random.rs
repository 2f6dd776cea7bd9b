//! Interpreter ≡ JIT on random regions: the same registers, flags, memory, exits and faults.

mod rig;

use isamorph_code::ExitReason;
use isamorph_interp::random::{self, Options};
use isamorph_interp::{Outcome, run};
use isamorph_ir::testing::{HELPERS, RISC32, RISC64, TABLE, WIDE};
use isamorph_ir::{CpuState, ExitKind, Memory, Pin, RegId, RegTable, Region, Trap, Type};
use isamorph_x64::Unsupported;
use rig::{Left, Rig};
use std::collections::BTreeMap;

const WINDOW: u64 = 0x2000_0000;
const SIZE: u32 = 4096;
/// The flag for denormal operands, which the Arm rules leave open.
const DENORMAL: u128 = 2;

fn seeds() -> u64 {
    std::env::var("ISAMORPH_RANDOM_REGIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

fn memory(rig: &Rig) -> Vec<u8> {
    if let Some(paged) = &rig.paged {
        return paged.contents();
    }
    let mut bytes = vec![0; SIZE as usize];
    rig.space.read(WINDOW, &mut bytes).expect("the window is mapped");
    bytes
}

/// Gives memory its contents before a run.
fn fill(rig: &Rig, seed: u64) {
    let rule = |i: usize| (i as u8).wrapping_mul(31) ^ seed as u8;
    match &rig.paged {
        Some(paged) => paged.fill(rule),
        None => {
            let bytes: Vec<u8> = (0..SIZE as usize).map(rule).collect();
            rig.space.write(WINDOW, &bytes).expect("the window is mapped");
        }
    }
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
            ExitKind::Resync { .. } | ExitKind::ResyncTo { .. } => Left::Stopped(ExitReason::Safepoint),
            _ => Left::To(target.unwrap_or(0)),
        },
    }
}

fn differences(table: &RegTable, a: &CpuState, b: &CpuState) -> String {
    let mut text = String::new();
    for (i, def) in table.regs.iter().enumerate() {
        let (mut x, mut y) = (a.get_wide(table, RegId(i as u16)), b.get_wide(table, RegId(i as u16)));
        if def.ty == Type::Flags {
            let flags = u128::from(random::flags(table).bits());
            (x, y) = (x & flags, y & flags);
        }
        if def.pin == Pin::FpControl {
            (x, y) = (x & !DENORMAL, y & !DENORMAL);
        }
        // The x87 unit stays in the host while no one asks for it.
        if x != y && !matches!(def.pin, Pin::X87(_)) {
            text += &format!("{}: interpreter {x:#x}, compiled {y:#x}\n", def.name);
        }
    }
    text
}

/// Which part of a fault both sides must agree on: the address may be anywhere in a multi-byte access for the host, and
/// the host says nothing about an access to an address that is not canonical.
fn same(a: Left, b: Left) -> bool {
    let canonical = |addr: u64| matches!(addr as i64 >> 47, 0 | -1);
    match (a, b) {
        (Left::Trap(Trap::Memory(x)), Left::Trap(Trap::Memory(y))) => {
            x.cause == y.cause || x.write == y.write || !canonical(x.addr)
        }
        _ => a == b,
    }
}

fn check(rig: &mut Rig, seed: u64, options: &Options) -> Result<bool, Unsupported> {
    let table = rig.table;
    let region = random::region(seed, table, options);
    let start = random::state(seed, table, options);
    rig.compile(&region)?;
    fill(rig, seed);
    let mut a = start.fork();
    let outcome = run(&region, table, HELPERS, &mut a, rig.memory());
    let (memory_a, left_a) = (memory(rig), expected(&region, outcome));
    fill(rig, seed);
    let mut b = start.fork();
    let left_b = rig.run(&mut b);
    let text = differences(table, &a, &b);
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
        let shown = isamorph_ir::text::print(&region, table, HELPERS);
        panic!(
            "seed {seed}: interpreter {left_a:x?}, compiled {left_b:x?}, memory equal: {}\n{text}\n{shown}\n{listing}",
            memory_a == memory(rig)
        );
    }
    Ok(matches!(left_a, Left::Trap(_)))
}

fn sweep(table: &'static RegTable, tune: impl Fn(&mut Options)) {
    let mut rig = Rig::new(table, true);
    rig.map_window(WINDOW, u64::from(SIZE));
    let mut options = Options::new(table.by_name("r3").expect("it exists"), WINDOW, SIZE);
    tune(&mut options);
    sweep_with(&mut rig, &options, |_, _| {});
}

/// The window is around the border of two pages, which may be used for this or that or nothing.
fn sweep_translated(table: &'static RegTable, border: u64, tune: impl Fn(&mut Options)) {
    let mut rig = Rig::translated(table, true);
    let base = table.by_name("r3").expect("it exists");
    let mut options = Options::new(base, border.wrapping_sub(512), 1024);
    tune(&mut options);
    let mask = table.addr_mask();
    sweep_with(&mut rig, &options, |rig, seed| {
        let mut rng = random::Rng::new(seed);
        let mut page = |addr: u64| match rng.below(8) {
            0 => (addr & mask, true, false),
            1 if seed % 4 == 0 => (addr & mask, false, false),
            _ => (addr & mask, true, true),
        };
        rig.paged.as_ref().expect("it has").map(&[page(border.wrapping_sub(4096)), page(border)]);
    });
    let fills = rig.paged.as_ref().map_or(0, |paged| paged.fills.get());
    assert!(fills > seeds() / 10, "translations are made: {fills}");
}

fn sweep_with(rig: &mut Rig, options: &Options, prepare: impl Fn(&Rig, u64)) {
    let (mut compiled, mut trapped) = (0, 0);
    let mut refused = BTreeMap::<&str, u64>::new();
    for seed in 0..seeds() {
        prepare(rig, seed);
        match check(rig, seed, options) {
            Ok(trap) => {
                compiled += 1;
                trapped += u64::from(trap);
            }
            Err(Unsupported { what }) => *refused.entry(what).or_default() += 1,
        }
    }
    println!("refused: {refused:?}");
    println!("{compiled} of {} regions compiled and agreed, {trapped} of them ended in a fault", seeds());
    assert!(compiled * 10 > seeds() * 5, "most regions must compile");
    assert!(!refused.keys().any(|what| what.contains("registers")), "no instruction may run out of registers");
}

macro_rules! agree {
    ($($name:ident $table:ident;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn random_regions_agree() {
                sweep(&$table, |_| {});
            }
            #[test]
            fn random_single_instructions_agree() {
                sweep(&$table, |o| (o.insns, o.blocks) = (1, 1));
            }
            #[test]
            fn random_regions_with_helpers_agree() {
                sweep(&$table, |o| o.helpers = 2);
            }
            #[test]
            fn random_regions_agree_with_translated_addresses() {
                sweep_translated(&$table, WINDOW, |o| o.helpers = 2);
            }
            #[test]
            fn random_single_instructions_agree_with_translated_addresses() {
                sweep_translated(&$table, WINDOW, |o| (o.insns, o.blocks) = (1, 1));
            }
            #[test]
            fn random_regions_agree_at_the_end_of_the_address_space() {
                sweep_translated(&$table, 1 << 32, |o| o.insns = 4);
            }
        }
    )* };
}
agree! {
    eight_registers TABLE;
    sixteen_wide_registers WIDE;
    risc64 RISC64;
    risc32 RISC32;
}
