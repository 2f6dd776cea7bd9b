//! Signal frames of every architecture: a handler is entered as its C code expects, and what it returns to is the state
//! from before, register by register.

use super::frame::Delivery;
use super::info::SigInfo;
use super::{AltStack, SigAction, SigSet, sa};
use crate::abi::{Abi, FaultRecord};
use crate::arch::ALL;
use crate::convert::record::Ulong;
use crate::testing::{Random, TestGuest};
use isamorph_ir::{FlagSet, Pin, RegId};

const CODE: u64 = 0x0804_9000;
const HANDLER: u64 = 0x0804_a000;
const RESTORER: u64 = 0x0804_b000;
const STACK: usize = 32768;

/// Registers that a frame holds: those of programs, not those of threads.
fn registers(abi: &dyn Abi) -> Vec<RegId> {
    let table = abi.guest().table();
    let held = |pin: &Pin| matches!(pin, Pin::Int { .. } | Pin::Vector { .. } | Pin::Flags);
    (0..table.regs.len() as u16).map(RegId).filter(|reg| held(&table.def(*reg).pin)).collect()
}

/// A guest in the middle of something.
fn busy_guest(abi: &'static dyn Abi) -> TestGuest {
    let mut g = TestGuest::of(abi);
    let stack = g.room(STACK) + STACK as u64;
    let mut random = Random::new(7);
    let table = abi.guest().table();
    for reg in registers(abi) {
        let def = table.def(reg);
        let mut bits = (0..4).fold(0, |bits, _| bits << 32 | u128::from(random.value()));
        if def.pin == Pin::Flags {
            bits = (FlagSet::C | FlagSet::S).bits().into();
        }
        let low = u128::MAX >> (128 - 8 * def.ty.bytes());
        // Of the doubleword registers of 32-bit Arm the upper halves mean nothing.
        let low = if def.name.starts_with('d') { low & u128::from(u64::MAX) } else { low };
        g.cx.state_mut().set_wide(table, reg, bits & low);
    }
    g.cx.state_mut().set_pc(CODE);
    abi.set_stack_pointer(g.cx.state_mut(), stack - 256);
    g
}

fn values(g: &TestGuest) -> Vec<(&'static str, u128)> {
    let table = g.cx.state_table();
    let value = |reg| (table.def(reg).name, g.cx.state().get_wide(table, reg));
    registers(g.cx.abi()).into_iter().map(value).collect()
}

fn delivery(g: &TestGuest, flags: u64) -> Delivery {
    let action = SigAction {
        handler: Ulong(HANDLER),
        flags: Ulong(flags | sa::RESTORER),
        restorer: Ulong(RESTORER),
        ..SigAction::default()
    };
    Delivery {
        info: SigInfo::fault(libc::SIGSEGV, 1, 0x1234),
        action,
        mask: SigSet::of(&[3, 40]),
        alt: AltStack::default(),
        sp: g.cx.stack_pointer(),
        fault: FaultRecord { number: 14, error: 6, addr: 0x1234 },
        trampoline: 0,
    }
}

/// Bytes that the handler's return instruction, and the restorer for the old kind of frames, take off the stack.
fn popped(abi: &dyn Abi, rt: bool) -> u64 {
    match (abi.name(), rt) {
        ("i386", false) => 8,
        ("i386", true) => 4,
        ("x86_64", _) => 8,
        _ => 0,
    }
}

fn enter_and_leave(abi: &'static dyn Abi, rt: bool) {
    let mut g = busy_guest(abi);
    let (before, top) = (values(&g), g.cx.stack_pointer());
    let d = delivery(&g, if rt { sa::SIGINFO } else { 0 });
    abi.push_frame(&mut g.cx, &d).expect("a stack");
    let sp = g.cx.stack_pointer();
    assert_eq!(g.cx.state().pc(), HANDLER, "{}", abi.name());
    assert!(sp < top && (sp + popped(abi, true)).is_multiple_of(8), "{}: {sp:#x}", abi.name());
    assert_ne!(values(&g), before);

    abi.set_stack_pointer(g.cx.state_mut(), sp + popped(abi, rt));
    let result = abi.pop_frame(&mut g.cx, rt);
    abi.set_result(g.cx.state_mut(), result);
    assert_eq!(g.cx.state().pc(), CODE, "{}", abi.name());
    assert_eq!(values(&g), before, "{}", abi.name());
    assert_eq!(g.cx.task.signals.mask, d.mask, "{}", abi.name());
}

#[test]
fn a_handler_with_siginfo_returns_to_the_same_state() {
    for abi in ALL {
        enter_and_leave(*abi, true);
    }
}

#[test]
fn a_handler_without_siginfo_returns_to_the_same_state() {
    for abi in ALL {
        // 64-bit architectures have one kind of frame.
        enter_and_leave(*abi, abi.model().long == 8);
    }
}

#[test]
fn a_frame_needs_a_stack() {
    for abi in ALL {
        let mut g = busy_guest(*abi);
        let d = Delivery { sp: 0x2000, ..delivery(&g, sa::SIGINFO) };
        assert!(abi.push_frame(&mut g.cx, &d).is_err(), "{}", abi.name());
        abi.set_stack_pointer(g.cx.state_mut(), 0x2000);
        assert!(abi.pop_frame(&mut g.cx, true).is_err(), "{}", abi.name());
    }
}
