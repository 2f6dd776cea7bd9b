#![allow(unsafe_code)] // looks at an exit request through its address

//! The engine with a made-up guest: every test runs interpreted and compiled.

mod common;

use common::*;
use isamorph_accel::{Stop, Vcpu};
use isamorph_engine::{HostCode, Trace, TraceSink};
use isamorph_ir::testing::{FXSAVE, TABLE};
use isamorph_ir::{FaultCause, MemFault, Memory, RegId, Trap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The fault of an access.
fn fault(addr: u64, write: bool, cause: FaultCause) -> Stop {
    Stop::Trap(Trap::Memory(MemFault { addr, write, cause }))
}

#[test]
fn a_loop_runs_to_its_system_call() {
    all(|variant| {
        let program = [I::Mov(0, 0), I::Mov(1, 1000), I::Add(0, 1, 0), I::Plus(1, u32::MAX), I::Jnz(at(2)), I::Sys(5)];
        let machine = Machine::new(variant);
        machine.load(CODE, &program);
        let mut vcpu = machine.vcpu(CODE);
        assert_eq!(vcpu.run(), Stop::Syscall(5));
        assert_eq!(regs(&*vcpu)[0], 1000 * 1001 / 2);
        assert_eq!(vcpu.state().pc(), CODE + 6 * SIZE);
        assert_eq!(machine.compiled_all(), variant != Variant::Interp);
    });
}

/// A function that calls itself `r0` times and counts the returns in `r1`, with return addresses on a stack at `r2`.
fn recursion(depth: u32) -> Vec<I> {
    vec![
        I::Mov(0, depth),
        I::Mov(2, DATA as u32),
        I::Call(at(4)),
        I::Sys(1),
        I::Store(7, 2, 0),
        I::Plus(2, 4),
        I::Plus(0, u32::MAX),
        I::Jnz(at(9)),
        I::Jmp(at(10)),
        I::Call(at(4)),
        I::Plus(2, (-4i32) as u32),
        I::Load(7, 2, 0),
        I::Plus(1, 1),
        I::Ret,
    ]
}

#[test]
fn calls_return_at_any_depth() {
    all(|variant| {
        // The last depth is more than the shadow stack holds.
        for depth in [1, 2, 50, 200_000] {
            let (stop, regs) = Machine::new(variant).run(&recursion(depth));
            assert_eq!((stop, regs[1], regs[2]), (Stop::Syscall(1), depth, DATA as u32), "{variant:?} {depth}");
        }
    });
}

#[test]
fn computed_jumps_go_everywhere() {
    all(|variant| {
        let machine = Machine::new(variant);
        // A chain of stubs that each jump to the next one through a register, round and round.
        const STUBS: u64 = 300;
        let stub = |i: u64| CODE + 0x1000 + 0x40 * i;
        for i in 0..STUBS {
            let to = stub((i + 7) % STUBS) as u32;
            machine.load(stub(i), &[I::Plus(0, 1), I::Plus(1, u32::MAX), I::Mov(2, to), I::Jnz(at(3)), I::Sys(3)]);
        }
        machine.load(CODE, &[I::Mov(1, 20_000), I::Jmp(stub(0) as u32), I::Halt, I::JmpR(2)]);
        let mut vcpu = machine.vcpu(CODE);
        assert_eq!(vcpu.run(), Stop::Syscall(3));
        assert_eq!(regs(&*vcpu)[0], 20_000);
    });
}

#[test]
fn an_exit_request_interrupts_an_endless_loop() {
    all(|variant| {
        for body in [vec![I::Jmp(at(0))], vec![I::Mov(3, at(0)), I::JmpR(3)], vec![I::Plus(0, 0), I::Jmp(at(0))]] {
            let machine = Machine::new(variant);
            machine.load(CODE, &body);
            let mut vcpu = machine.vcpu(CODE);
            for _ in 0..3 {
                let request = vcpu.exit_request() as usize;
                std::thread::scope(|s| {
                    s.spawn(move || {
                        std::thread::sleep(Duration::from_millis(5));
                        // SAFETY: the vCPU outlives the thread.
                        unsafe { &*(request as *const AtomicU32) }.store(1, Ordering::SeqCst);
                    });
                    assert_eq!(vcpu.run(), Stop::Interrupted);
                });
                let pc = vcpu.state().pc();
                assert!((CODE..CODE + 3 * SIZE).contains(&pc), "{pc:#x}");
            }
        }
    });
}

#[test]
fn halting_and_undefined_instructions() {
    all(|variant| {
        let machine = Machine::new(variant);
        machine.load(CODE, &[I::Mov(0, 1), I::Halt]);
        let mut vcpu = machine.vcpu(CODE);
        assert_eq!((vcpu.run(), vcpu.state().pc()), (Stop::Halt, CODE + 2 * SIZE));
        machine.space.write(CODE + 2 * SIZE, &[0xee]).expect("code memory");
        assert_eq!(vcpu.run(), Stop::Trap(Trap::Exception { code: UNDEFINED, arg: 0 }));
        assert_eq!(vcpu.state().pc(), CODE + 2 * SIZE);
    });
}

#[test]
fn memory_faults_show_the_state_before_the_instruction() {
    all(|variant| {
        for (access, write) in [(I::Load(4, 3, 8), false), (I::Store(4, 3, 8), true)] {
            let machine = Machine::new(variant);
            let program = [I::Mov(3, 0x5000_0000), I::Mov(4, 44), I::Plus(4, 1), access, I::Plus(4, 1), I::Sys(0)];
            machine.load(CODE, &program);
            let mut vcpu = machine.vcpu(CODE);
            assert_eq!(vcpu.run(), fault(0x5000_0008, write, FaultCause::Unmapped));
            assert_eq!(vcpu.state().pc(), CODE + 3 * SIZE);
            assert_eq!(regs(&*vcpu)[3..5], [0x5000_0000, 45]);
            // After the page came into being the same instruction goes on.
            machine.map(0x5000_0000, 3);
            assert_eq!(vcpu.run(), Stop::Syscall(0));
            assert_eq!(regs(&*vcpu)[4], if write { 46 } else { 1 });
        }
    });
}

#[test]
fn a_store_to_read_only_memory_is_refused() {
    all(|variant| {
        let machine = Machine::new(variant);
        machine.map(0x5000_0000, 1);
        let (stop, _) = machine.run(&[I::Mov(3, 0x5000_0000), I::Load(1, 3, 0), I::Store(4, 3, 4)]);
        assert_eq!(stop, fault(0x5000_0004, true, FaultCause::Protected));
    });
}

#[test]
fn code_that_cannot_be_fetched_faults_where_it_is() {
    all(|variant| {
        let machine = Machine::new(variant);
        for (target, cause) in [(0x6000_0000, FaultCause::Unmapped), (DATA, FaultCause::Protected)] {
            machine.load(CODE, &[I::Jmp(target as u32)]);
            let mut vcpu = machine.vcpu(CODE);
            assert_eq!(vcpu.run(), fault(target, false, cause));
            assert_eq!(vcpu.state().pc(), target);
        }
    });
}

#[test]
fn division_by_zero_traps() {
    all(|variant| {
        let (stop, regs) =
            Machine::new(variant).run(&[I::Mov(1, 100), I::Mov(2, 7), I::Div(1, 2), I::Div(1, 3), I::Halt]);
        assert_eq!((stop, regs[1]), (Stop::Trap(Trap::Divide), 14));
    });
}

#[test]
fn helpers_return_and_trap() {
    all(|variant| {
        let (stop, regs) = Machine::new(variant).run(&[I::Mov(1, 5), I::Mov(2, 1), I::Helper(1, 2, 0), I::Sys(0)]);
        assert_eq!((stop, regs[1]), (Stop::Syscall(0), 15 ^ 128));
        let machine = Machine::new(variant);
        machine.load(CODE, &[I::Mov(1, 9), I::Mov(2, 1), I::Helper(1, 2, 1), I::Mov(1, 1), I::Sys(0)]);
        let mut vcpu = machine.vcpu(CODE);
        assert_eq!(vcpu.run(), Stop::Trap(Trap::Exception { code: 77, arg: 9 }));
        assert_eq!((vcpu.state().pc(), regs_of(&*vcpu, 1)), (CODE + 2 * SIZE, 9));
    });
}

fn regs_of(vcpu: &dyn Vcpu, index: usize) -> u32 {
    regs(vcpu)[index]
}

#[test]
fn a_store_into_its_own_region_changes_the_next_instruction() {
    all(|variant| {
        // The immediate of the instruction after the store is what was stored.
        let program = [I::Mov(3, at(3) + 4), I::Mov(4, 1234), I::Store(4, 3, 0), I::Mov(0, 1), I::Sys(0)];
        let machine = Machine::new(variant);
        assert_eq!((machine.run(&program).0, machine.run(&program).1[0]), (Stop::Syscall(0), 1234));
    });
}

#[test]
fn a_loop_that_changes_itself_sees_every_change() {
    all(|variant| {
        // r0 += r5, where r5 is loaded by an instruction whose immediate counts down with r1.
        let program = [
            I::Mov(0, 0),
            I::Mov(1, 300),
            I::Mov(3, at(4) + 4),
            I::Store(1, 3, 0),
            I::Mov(5, 0),
            I::Add(0, 5, 0),
            I::Plus(1, u32::MAX),
            I::Jnz(at(3)),
            I::Sys(0),
        ];
        let (stop, regs) = Machine::new(variant).run(&program);
        assert_eq!((stop, regs[0]), (Stop::Syscall(0), 300 * 301 / 2));
    });
}

#[test]
fn changed_code_elsewhere_takes_effect() {
    all(|variant| {
        let machine = Machine::new(variant);
        let function = CODE + 0x8000;
        // The caller counts in r1 and rewrites the function's immediate each time before it calls it.
        machine.load(function, &[I::Mov(5, 0), I::Add(0, 5, 0), I::Ret]);
        let program = [
            I::Mov(1, 300),
            I::Mov(3, function as u32 + 4),
            I::Store(1, 3, 0),
            I::Call(function as u32),
            I::Plus(1, u32::MAX),
            I::Jnz(at(2)),
            I::Sys(0),
        ];
        let (stop, regs) = machine.run(&program);
        assert_eq!((stop, regs[0]), (Stop::Syscall(0), 300 * 301 / 2));
    });
}

#[test]
fn a_page_that_holds_code_and_data_still_works() {
    all(|variant| {
        let data = CODE as u32 + 0x800;
        let program = [
            I::Mov(1, 500),
            I::Mov(3, data),
            I::Store(1, 3, 0),
            I::Plus(1, u32::MAX),
            I::Jnz(at(2)),
            I::Load(0, 3, 0),
            I::Sys(0),
        ];
        let (stop, regs) = Machine::new(variant).run(&program);
        assert_eq!((stop, regs[0]), (Stop::Syscall(0), 1));
    });
}

#[test]
fn code_changed_from_outside_takes_effect() {
    all(|variant| {
        let machine = Machine::new(variant);
        let mut vcpu = machine.vcpu(CODE);
        for i in 0..50 {
            machine.load(CODE, &[I::Mov(0, i), I::Sys(0), I::Jmp(at(0))]);
            assert_eq!((vcpu.run(), regs_of(&*vcpu, 0)), (Stop::Syscall(0), i), "{variant:?}");
            vcpu.state_mut().set_pc(CODE);
        }
        machine.map(CODE, RWX);
        machine.load(CODE, &[I::Mov(0, 77), I::Sys(1)]);
        assert_eq!((vcpu.run(), regs_of(&*vcpu, 0)), (Stop::Syscall(1), 77));
        machine.space.unmap(CODE, 0x1000).expect("it was mapped");
        vcpu.state_mut().set_pc(CODE);
        assert_eq!(vcpu.run(), fault(CODE, false, FaultCause::Unmapped));
    });
}

#[test]
fn a_region_over_two_pages_is_dropped_through_the_second() {
    all(|variant| {
        let machine = Machine::new(variant);
        let start = CODE + 0x1000 - 2 * SIZE;
        for i in 0..5 {
            machine.load(CODE + 0x1000, &[I::Plus(0, i), I::Sys(0)]);
            machine.load(start, &[I::Mov(0, 1), I::Plus(0, 1)]);
            let mut vcpu = machine.vcpu(start);
            assert_eq!(vcpu.run(), Stop::Syscall(0));
            machine.load(CODE + 0x1000, &[I::Plus(0, 100)]);
            vcpu.state_mut().set_pc(start);
            assert_eq!((vcpu.run(), regs_of(&*vcpu, 0)), (Stop::Syscall(0), 102));
        }
    });
}

/// Code of `count` functions that each add their number to `r0`, and a main program that calls all, `r1` times.
fn many_functions(machine: &Machine, count: u64, rounds: u32) {
    let function = |i: u64| CODE + 0x8_0000 + 0x20 * i;
    for i in 0..count {
        machine.load(function(i), &[I::Plus(0, i as u32), I::Ret]);
    }
    let mut main = vec![I::Mov(1, rounds), I::Mov(0, 0)];
    main.extend((0..count).map(|i| I::Call(function(i) as u32)));
    main.extend([I::Plus(1, u32::MAX), I::Jnz(at(2)), I::Sys(0)]);
    machine.load(CODE, &main);
}

#[test]
fn a_tiny_cache_is_recycled() {
    all(|variant| {
        let machine = Machine::with(variant, |c| c.tb_size_bytes = 1);
        const COUNT: u64 = 8000;
        many_functions(&machine, COUNT, 4);
        let mut vcpu = machine.vcpu(CODE);
        assert_eq!(vcpu.run(), Stop::Syscall(0));
        assert_eq!(u64::from(regs_of(&*vcpu, 0)), 4 * COUNT * (COUNT - 1) / 2);
        if let Some(stats) = machine.engine.cache_stats() {
            assert!(stats.recycled > 4, "{stats:?}");
        }
    });
}

#[test]
fn returns_find_their_way_when_their_code_is_gone() {
    all(|variant| {
        let machine = Machine::with(variant, |c| c.tb_size_bytes = 1);
        // Functions nested so deep that the code of the outer ones is dropped before the inner ones return.
        const DEPTH: u64 = 6000;
        let function = |i: u64| CODE + 0x1000 + 0x60 * i;
        for i in 0..DEPTH {
            let call = if i + 1 < DEPTH { I::Call(function(i + 1) as u32) } else { I::Sys(9) };
            let (save, restore) = (I::Store(7, 2, 0), I::Load(7, 2, 0));
            machine.load(
                function(i),
                &[save, I::Plus(2, 4), call, I::Plus(2, (-4i32) as u32), restore, I::Plus(1, 1), I::Ret],
            );
        }
        machine.load(CODE, &[I::Mov(2, DATA as u32), I::Call(function(0) as u32), I::Sys(0)]);
        std::thread::scope(|s| {
            for thread in 0..3 {
                let machine = &machine;
                s.spawn(move || {
                    let mut vcpu = machine.vcpu(CODE);
                    vcpu.state_mut().set_pc(CODE + SIZE);
                    vcpu.state_mut().set(&TABLE, RegId(2), DATA + 0x2_0000 * thread);
                    assert_eq!(vcpu.run(), Stop::Syscall(9));
                    assert_eq!((vcpu.run(), regs_of(&*vcpu, 1)), (Stop::Syscall(0), DEPTH as u32));
                });
            }
        });
        assert!(machine.engine.cache_stats().is_none_or(|s| s.recycled > 4));
    });
}

#[test]
fn threads_share_a_tiny_cache() {
    all(|variant| {
        let machine = Machine::with(variant, |c| c.tb_size_bytes = 1);
        const COUNT: u64 = 4000;
        many_functions(&machine, COUNT, 6);
        // One thread is outside compiled code all the time, with code on its shadow stack, and then goes on.
        let parked = CODE + 0x6_0000;
        machine.load(parked, &[I::Call(parked as u32 + 0x100), I::Sys(2)]);
        machine.load(parked + 0x100, &[I::Sys(1), I::Ret]);
        let finished = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut vcpu = machine.vcpu(parked);
                assert_eq!(vcpu.run(), Stop::Syscall(1));
                while !finished.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                assert_eq!(vcpu.run(), Stop::Syscall(2));
            });
            let workers: Vec<_> = (0..3)
                .map(|_| {
                    s.spawn(|| {
                        let mut vcpu = machine.vcpu(CODE);
                        assert_eq!(vcpu.run(), Stop::Syscall(0));
                        assert_eq!(u64::from(regs_of(&*vcpu, 0)), 6 * COUNT * (COUNT - 1) / 2);
                    })
                })
                .collect();
            workers.into_iter().for_each(|w| w.join().expect("a worker"));
            finished.store(true, Ordering::SeqCst);
        });
    });
}

#[test]
fn code_is_changed_while_others_run_it() {
    all(|variant| {
        let machine = Machine::new(variant);
        let function = CODE + 0x8000;
        machine.load(function, &[I::Mov(5, 1), I::Ret]);
        machine
            .load(CODE, &[I::Mov(1, 20_000), I::Call(function as u32), I::Plus(1, u32::MAX), I::Jnz(at(1)), I::Sys(0)]);
        let running = AtomicU32::new(2);
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    let mut vcpu = machine.vcpu(CODE);
                    assert_eq!(vcpu.run(), Stop::Syscall(0));
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
            let mut n = 0u32;
            while running.load(Ordering::SeqCst) != 0 {
                n += 1;
                machine.space.write(function + 4, &n.to_le_bytes()).expect("code memory");
            }
        });
        let mut vcpu = machine.vcpu(CODE);
        machine.space.write(function + 4, &99u32.to_le_bytes()).expect("code memory");
        assert_eq!((vcpu.run(), regs_of(&*vcpu, 5)), (Stop::Syscall(0), 99));
    });
}

#[test]
fn regions_of_one_instruction() {
    all(|variant| {
        let machine = Machine::with(variant, |c| c.max_insns = 1);
        let (stop, regs) = machine.run(&recursion(30));
        assert_eq!((stop, regs[1]), (Stop::Syscall(1), 30));
    });
}

/// Sets up a save image as a new process has it: everything masked, the register stack empty.
fn reset_fpu(vcpu: &mut dyn Vcpu) {
    let image = vcpu.state_mut().bytes_mut(FXSAVE, 512);
    image.fill(0);
    image[..2].copy_from_slice(&0x37fu16.to_le_bytes());
    image[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
}

#[test]
fn floating_point_registers_survive_stops_and_are_seen_and_changed() {
    all(|variant| {
        let machine = Machine::new(variant);
        let program = [
            I::Mov(3, DATA as u32),
            I::One,
            I::One,
            I::Sys(0),
            I::AddP,
            I::One,
            I::AddP,
            I::VAdd(1, 2),
            I::Sys(1),
            I::AddP,
            I::Pop(3, 0),
            I::Sys(2),
        ];
        machine.load(CODE, &program);
        let mut vcpu = machine.vcpu(CODE);
        reset_fpu(&mut *vcpu);
        vcpu.state_mut().set_wide(&TABLE, RegId(VECTOR0.0 + 1), 5);
        vcpu.state_mut().set_wide(&TABLE, RegId(VECTOR0.0 + 2), (7 << 64) + 6);
        // A push before the first stop and sums after it: the unit stays as it is across a stop.
        assert_eq!(vcpu.run(), Stop::Syscall(0));
        assert_eq!(vcpu.run(), Stop::Syscall(1));
        vcpu.sync_fpu();
        let three = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0x40];
        assert_eq!(vcpu.state().bytes(FXSAVE + 32, 10), three);
        assert_eq!(vcpu.state().get_wide(&TABLE, RegId(VECTOR0.0 + 1)), (7 << 64) + 11);
        // A second number on the stack, put there by the caller: top 6, two registers in use.
        let image = vcpu.state_mut().bytes_mut(FXSAVE, 512);
        image[3] = (image[3] & !0x38) | (6 << 3);
        image[4] |= 0xc0;
        image[48..58].copy_from_slice(&three);
        assert_eq!(vcpu.run(), Stop::Syscall(2));
        let mut sum = [0; 4];
        machine.space.read(DATA, &mut sum).expect("data");
        assert_eq!(f32::from_le_bytes(sum), 6.0);
    });
}

#[derive(Default)]
struct Log {
    kinds: Mutex<Vec<(Trace, String)>>,
    code: AtomicU32,
}

impl TraceSink for Log {
    fn wanted(&self) -> Trace {
        Trace::all()
    }
    fn text(&self, kind: Trace, text: &str) {
        self.kinds.lock().expect("no panic").push((kind, text.to_owned()));
    }
    fn host_code(&self, code: &HostCode<'_>) {
        assert!(!code.bytes.is_empty() && code.address != 0);
        self.code.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn messages_tell_what_is_translated_and_run() {
    all(|variant| {
        let log = Arc::new(Log::default());
        let sink: Arc<dyn TraceSink> = log.clone();
        let machine = Machine::with(variant, |c| c.log = sink);
        machine.run(&[I::Mov(1, 3), I::Plus(1, u32::MAX), I::Jnz(at(1)), I::Sys(0)]);
        let kinds = log.kinds.lock().expect("no panic");
        let of = |kind| kinds.iter().filter(move |(k, _)| *k == kind).map(|(_, t)| t.as_str()).collect::<Vec<_>>();
        assert!(of(Trace::IN_ASM)[0].contains("op2 at 40000008"), "{:?}", of(Trace::IN_ASM));
        assert!(of(Trace::OP)[0].contains("add"), "{:?}", of(Trace::OP));
        // The first region, the loop's two further rounds, and what follows the loop.
        assert_eq!(of(Trace::EXEC).len(), 4, "{:?}", of(Trace::EXEC));
        assert_eq!(log.code.load(Ordering::Relaxed) >= 3, variant != Variant::Interp);
    });
}
