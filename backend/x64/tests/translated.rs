//! What is different where guest addresses are translated: which code may be linked, and what an access leaves behind
//! that leaves compiled code.

#[allow(dead_code)] // Other tests use more of it.
mod rig;

use isamorph_ir::testing::{RISC64, TABLE, WIDE};
use isamorph_ir::{Addr, Builder, Cond, CpuState, ExitKind, FlagSet, MemAttr, Op, RegTable, Region, Trap};
use rig::{Left, Rig};

const PAGE: u64 = 0x1_2000;

fn linked(rig: &mut Rig, pc: u64, kind: ExitKind) -> Vec<u64> {
    let mut region = Region::default();
    let mut b = Builder::new(&mut region, rig.table, pc);
    b.insn(pc, 4);
    b.exit(kind);
    b.finish();
    rig.compile(&region).expect("an exit");
    rig.compiled.links.iter().map(|site| site.target).collect()
}

#[test]
fn links_stay_in_the_page() {
    let direct = |pc| ExitKind::Direct { pc };
    for table in [&TABLE, &WIDE, &RISC64] {
        let mut rig = Rig::translated(table, false);
        let mut links = |pc, kind| linked(&mut rig, pc, kind);
        assert_eq!(links(PAGE + 0x100, direct(PAGE)), [PAGE]);
        // An instruction that starts in the last 14 bytes may reach into the next page.
        assert_eq!(links(PAGE + 0x100, direct(PAGE + 0xff1)), [PAGE + 0xff1]);
        assert_eq!(links(PAGE + 0x100, direct(PAGE + 0xff2)), []);
        assert_eq!(links(PAGE + 0x100, direct(PAGE + 0x1000)), []);
        assert_eq!(links(PAGE + 0x100, direct(PAGE - 0x1000 + 0x100)), []);
        assert_eq!(links(PAGE + 0x100, ExitKind::Call { pc: PAGE + 0x5000, ret: PAGE + 0x104 }), [PAGE + 0x104]);
        assert_eq!(links(PAGE + 0x100, ExitKind::Call { pc: PAGE, ret: PAGE + 0x1000 }), [PAGE]);
    }
    let mut rig = Rig::new(&TABLE, false);
    assert_eq!(linked(&mut rig, PAGE, direct(PAGE + 0x5000)), [PAGE + 0x5000]);
}

/// `r0 - r1` sets the guest's flags, an access of `[r3]` follows, then a reader of the flags, which are set anew before
/// the end.
fn region(table: &'static RegTable, reads: bool) -> Region {
    let mut region = Region::default();
    let mut b = Builder::new(&mut region, table, PAGE);
    let reg = |name: &str| table.by_name(name).expect("it exists");
    let flags = reg("flags");
    b.insn(PAGE, 2);
    let (x, y) = (b.get(reg("r0")), b.get(reg("r1")));
    let difference = b.bin(Op::Sub, x, y);
    let compared = b.flags(difference);
    b.set(flags, compared);
    b.insn(PAGE + 2, 2);
    let base = b.get(reg("r3"));
    let addr = b.addr(Addr::base(base));
    let loaded = b.load(table.addr_type(), MemAttr::new(table.addr_bits / 8), addr);
    b.set(reg("r2"), loaded);
    b.insn(PAGE + 4, 2);
    if reads {
        b.exit_if(Cond::B, compared, ExitKind::Direct { pc: PAGE + 0x40 });
        b.insn(PAGE + 6, 2);
    }
    let sum = b.bin(Op::Add, x, loaded);
    let anew = b.flags(sum);
    b.set(flags, anew);
    b.exit(ExitKind::Direct { pc: PAGE + 8 });
    b.finish();
    for exit in &mut region.exits[..usize::from(reads)] {
        exit.live_flags = FlagSet::empty();
    }
    region
}

fn state(table: &'static RegTable) -> Box<CpuState> {
    let mut state = CpuState::new();
    let mut set = |name: &str, bits| state.set(table, table.by_name(name).expect("it exists"), bits);
    [("r0", 1), ("r1", 2), ("r2", 77), ("r3", 0x5008)].into_iter().for_each(|(name, bits)| set(name, bits));
    if let Some(control) = table.regs.iter().position(|def| def.pin == isamorph_ir::Pin::FpControl) {
        state.set(table, isamorph_ir::RegId(control as u16), 0x1f80);
    }
    state
}

/// The instruction is run again by somebody else, and what comes after it as new code: what that reads must be there.
#[test]
fn a_missing_page_leaves_the_flags_that_are_read_later() {
    for table in [&TABLE, &WIDE, &RISC64] {
        let mut rig = Rig::translated(table, false);
        rig.compile(&region(table, true)).expect("a region");
        let mut state = state(table);
        let left = rig.run(&mut state);
        assert!(matches!(left, Left::Trap(Trap::Memory(fault)) if fault.addr == 0x5008 && !fault.write), "{left:?}");
        let get = |name: &str| state.get(table, table.by_name(name).expect("it exists"));
        assert_eq!(get("r2"), 77);
        let wanted = (FlagSet::C | FlagSet::S).bits();
        assert_eq!(get("flags") as u32 & (wanted | FlagSet::Z.bits()), wanted, "{}", table.arch);
    }
}

/// The same access finds its page, and the reader its flags.
#[test]
fn flags_outlive_a_probe() {
    for table in [&TABLE, &WIDE, &RISC64] {
        let mut rig = Rig::translated(table, false);
        rig.paged.as_ref().expect("it has").map(&[(0x5000, true, false)]);
        for (reads, to) in [(true, PAGE + 0x40), (false, PAGE + 8)] {
            rig.compile(&region(table, reads)).expect("a region");
            assert_eq!(rig.run(&mut state(table)), Left::To(to), "{}", table.arch);
        }
    }
}
