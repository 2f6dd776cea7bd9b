#![allow(unsafe_code)] // forks the test process

//! A forked child goes on with the engine, whose code memory it must not share with its parent.

mod common;

use common::*;
use isamorph_accel::{Accel, Stop};
use isamorph_ir::Memory;

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
}

/// Runs the engine in a child; its result is the exit status.
fn in_child(machine: &Machine, child: impl FnOnce() -> bool) -> bool {
    let mut pid = -1;
    // SAFETY: the child runs the engine and leaves.
    machine.engine.with_quiescence(&mut || pid = unsafe { fork() });
    if pid == 0 {
        let code = if child() { 0 } else { 1 };
        // SAFETY: leaves the child.
        unsafe { _exit(code) };
    }
    let mut status = -1;
    // SAFETY: waits for the child.
    unsafe { waitpid(pid, &mut status, 0) };
    status == 0
}

#[test]
fn parent_and_child_change_code_apart() {
    all(|variant| {
        let machine = Machine::new(variant);
        machine.load(CODE, &[I::Call(at(4)), I::Sys(1), I::Jmp(at(0)), I::Halt, I::Mov(0, 11), I::Sys(0), I::Ret]);
        let mut vcpu = machine.vcpu(CODE);
        assert_eq!(vcpu.run(), Stop::Syscall(0));
        // The child returns into code that was called before the fork, and changes and makes code of its own.
        let good = in_child(&machine, || {
            let mut good = vcpu.run() == Stop::Syscall(1);
            machine.space.write(CODE + 4 * SIZE + 4, &22u32.to_le_bytes()).expect("code memory");
            for i in 0..100u64 {
                machine.load(CODE + 0x1000 + 16 * i, &[I::Mov(1, i as u32), I::Jmp(at(0))]);
                vcpu.state_mut().set_pc(CODE + 0x1000 + 16 * i);
                good &= vcpu.run() == Stop::Syscall(0) && regs(&*vcpu)[..2] == [22, i as u32];
            }
            good
        });
        assert!(good, "{variant:?}");
        assert_eq!(vcpu.run(), Stop::Syscall(1));
        assert_eq!((vcpu.run(), regs(&*vcpu)[0]), (Stop::Syscall(0), 11));
    });
}
