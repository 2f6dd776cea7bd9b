//! Processors of a machine: translated addresses, devices, exceptions, signals, code that changes.
//!
//! The made-up guest has one page table: word `n` of physical page 8 says where virtual page `n` is, and bits 0 and 1
//! whether it is there and may be written.

mod common;

use common::{I, SIZE, Toy, code};
use isamorph_accel::{Controller, Left, Processor, Processors, Signals, Wires};
use isamorph_engine::{Kind, SystemConfig, SystemEngine};
use isamorph_guest::{
    Access, AccessKind, CodeSource, Delivered, Event, FetchFault, Guest, Limits, Mapping, Physical, SystemGuest, Wake,
};
use isamorph_ir::testing::TABLE;
use isamorph_ir::{
    CpuState, FaultCause, Flush, Helper, HelperCx, HelperFn, MemFault, RegId, RegTable, Region, System, Trap,
};
use isamorph_ram::{Backing, RamBlock};
use isamorph_space::{AddressSpace, Io, IoError, IoRules, Map, RegionId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const PAGE: u64 = 0x1000;
/// Physical and, at first, virtual addresses. The table is the last page of RAM's first 64 KiB that is not used.
const TABLE_AT: u64 = 0x8000;
const RAM: u64 = 0x10_0000;
const CODE: u64 = 0x2_0000;
const DATA: u64 = 0x3_0000;
const FAULT_HANDLER: u64 = 0x4_0000;
const INTERRUPT_HANDLER: u64 = 0x5_0000;
const DEVICE: u64 = 0x20_0000;
const PRESENT: u32 = 1;
const WRITABLE: u32 = 2;
const PAGE_FAULT: u32 = 14;

const fn row(name: &'static str, run: HelperFn) -> Helper {
    Helper { name, run, fpu: false, string: None }
}

/// Helpers of [`I::Helper`].
static HELPERS: &[Helper] = &[row("flush-page", flush_page), row("flush-all", flush_all), row("out-in", out_in)];
const FLUSH_PAGE: u32 = 0;
const FLUSH_ALL: u32 = 1;
const OUT_IN: u32 = 2;

fn system<'a>(cx: &HelperCx<'a>) -> &'a dyn System {
    cx.mem.system().expect("a machine")
}

fn flush_page(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    system(cx).flush(cx.state, Flush::Page(args[0]));
    Ok(args[0])
}

fn flush_all(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    system(cx).flush(cx.state, Flush::All);
    Ok(args[0])
}

/// Writes a value to a port and reads it back.
fn out_in(cx: &mut HelperCx<'_>, [value, port, _]: [u64; 3]) -> Result<u64, Trap> {
    system(cx).port_out(port as u16, 4, value as u32);
    Ok(system(cx).port_in(port as u16, 4).into())
}

/// The made-up guest with those helpers.
struct Lane;

impl Guest for Lane {
    fn table(&self) -> &'static RegTable {
        &TABLE
    }
    fn helpers(&self) -> &'static [Helper] {
        HELPERS
    }
    fn mode(&self, _: &CpuState) -> u64 {
        0
    }
    fn lift(
        &self,
        region: &mut Region,
        pc: u64,
        mode: u64,
        code: &dyn CodeSource,
        limits: Limits,
    ) -> Result<(), FetchFault> {
        Toy.lift(region, pc, mode, code, limits)
    }
    fn disassemble(&self, pc: u64, mode: u64, bytes: &[u8], out: &mut String) -> usize {
        Toy.disassemble(pc, mode, bytes, out)
    }
    fn pc_shift(&self) -> u32 {
        0
    }
}

struct Architecture {
    lanes: Vec<Arc<dyn Guest>>,
    events: Mutex<Vec<Event>>,
    takes_interrupts: AtomicBool,
}

impl SystemGuest for Architecture {
    fn lanes(&self) -> &[Arc<dyn Guest>] {
        &self.lanes
    }
    fn lane(&self, _: &CpuState) -> usize {
        0
    }
    fn contexts(&self) -> usize {
        1
    }
    fn context(&self, _: &CpuState) -> usize {
        0
    }
    fn privileged_context(&self, _: &CpuState) -> usize {
        0
    }
    fn translate(&self, _: &CpuState, memory: &dyn Physical, addr: u64, access: Access) -> Result<Mapping, MemFault> {
        let write = access.kind == AccessKind::Write;
        let entry = if addr < 1024 * PAGE { memory.load(TABLE_AT + addr / PAGE * 4, 4) as u32 } else { 0 };
        if entry & PRESENT == 0 || write && entry & WRITABLE == 0 {
            let cause = FaultCause::Guest { code: PAGE_FAULT, arg: entry.into() };
            return Err(MemFault { addr, write, cause });
        }
        let page = u64::from(entry & !0xfff);
        let (readable, executable, global) = (true, true, false);
        Ok(Mapping { page, size_shift: 12, readable, writable: entry & WRITABLE != 0, executable, global })
    }
    fn deliver(&self, cx: &mut HelperCx<'_>, event: Event) -> Delivered {
        self.events.lock().unwrap().push(event);
        let pc = cx.state.pc();
        cx.state.set(&TABLE, RegId(4), pc);
        match event {
            Event::Trap(Trap::Memory(fault)) => {
                cx.state.set(&TABLE, RegId(5), fault.addr);
                cx.state.set_pc(FAULT_HANDLER);
            }
            Event::Interrupt(vector) => {
                cx.state.set(&TABLE, RegId(5), vector.into());
                cx.state.set_pc(INTERRUPT_HANDLER);
            }
            _ => return Delivered::Shutdown,
        }
        Delivered::Done
    }
    fn wake(&self, _: &CpuState) -> Wake {
        let interrupt = self.takes_interrupts.load(Ordering::SeqCst);
        Wake { interrupt, nmi: true, smi: true, waits_for_start: false, trap: None }
    }
    fn reset(&self, _: &mut CpuState, _: u32) {}
}

/// A register that counts its accesses: the low half of what is read, with the last value in the high half.
#[derive(Default)]
struct Device {
    accesses: AtomicU64,
    value: AtomicU64,
}

impl Io for Device {
    fn read(&self, _: u64, _: u32) -> Result<u64, IoError> {
        let count = self.accesses.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(self.value.load(Ordering::SeqCst) << 16 | count)
    }
    fn write(&self, _: u64, _: u32, value: u64) -> Result<(), IoError> {
        self.accesses.fetch_add(1, Ordering::SeqCst);
        self.value.store(value, Ordering::SeqCst);
        Ok(())
    }
}

struct Board {
    guest: Arc<Architecture>,
    map: Arc<Map>,
    root: RegionId,
    memory: Arc<AddressSpace>,
    engine: Arc<SystemEngine>,
    device: Arc<Device>,
    wires: Arc<Wires>,
}

impl Board {
    fn new(kind: Kind) -> Self {
        let (map, device) = (Map::new(), Arc::new(Device::default()));
        let ram = RamBlock::new("ram", RAM, &Backing::Anonymous).unwrap();
        let (root, ports) = map.update(|tree| {
            let (root, ports) = (tree.container("memory", 1 << 32), tree.container("ports", 0x1_0000));
            let ram = tree.ram("ram", ram);
            tree.add(root, ram, 0, 0);
            let registers = tree.io("device", PAGE.into(), IoRules::exactly(4, 4), device.clone());
            tree.add(root, registers, DEVICE, 0);
            let port = tree.io("port", 4, IoRules::exactly(4, 4), device.clone());
            tree.add(ports, port, 0x100, 0);
            (root, ports)
        });
        let (memory, ports) = (map.space("memory", root), map.space("ports", ports));
        let (events, takes_interrupts) = (Mutex::default(), AtomicBool::new(true));
        let guest = Arc::new(Architecture { lanes: vec![Arc::new(Lane)], events, takes_interrupts });
        let config = SystemConfig::new(guest.clone(), map.clone(), memory.clone(), ports);
        let engine = SystemEngine::new(SystemConfig { kind, ..config }).unwrap();
        let board = Board { guest, map, root, memory, engine, device, wires: Wires::new() };
        (0..RAM / PAGE).for_each(|page| board.place(page * PAGE, page * PAGE, PRESENT | WRITABLE));
        board.place(DEVICE, DEVICE, PRESENT | WRITABLE);
        board.load(FAULT_HANDLER, &[I::Halt]);
        board.load(INTERRUPT_HANDLER, &[I::Halt]);
        board
    }
    /// Writes a word of the page table, as a device would.
    fn place(&self, addr: u64, at: u64, flags: u32) {
        let entry = at as u32 | flags;
        self.memory.write(TABLE_AT + addr / PAGE * 4, &entry.to_le_bytes()).unwrap();
    }
    fn load(&self, at: u64, program: &[I]) {
        self.memory.write(at, &code(program)).unwrap();
    }
    fn word(&self, at: u64) -> u32 {
        self.memory.load(at, 4).unwrap() as u32
    }
    fn processor(&self, pc: u64) -> Box<dyn Processor> {
        let mut state = CpuState::new();
        state.set_pc(pc);
        self.engine.processor(0, state, self.wires.clone()).unwrap()
    }
    /// Runs a program to its halt; gives the registers.
    fn run(&self, program: &[I]) -> [u32; 8] {
        self.load(CODE, program);
        let mut processor = self.processor(CODE);
        run(&mut *processor)
    }
    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.guest.events.lock().unwrap())
    }
}

/// Goes on to the next halt; gives the registers.
fn run(processor: &mut dyn Processor) -> [u32; 8] {
    assert_eq!(processor.run(), Left::Halted);
    regs(processor)
}

fn go(processor: &mut dyn Processor, pc: u64) -> [u32; 8] {
    processor.state_mut().set_pc(pc);
    run(processor)
}

fn regs(processor: &mut dyn Processor) -> [u32; 8] {
    std::array::from_fn(|i| processor.state().get(&TABLE, RegId(i as u16)) as u32)
}

fn both(test: impl Fn(Board)) {
    [Kind::Interp, Kind::Jit].into_iter().for_each(|kind| test(Board::new(kind)));
}

fn at(index: u64) -> u32 {
    (CODE + SIZE * index) as u32
}

#[test]
fn addresses_are_translated() {
    both(|board| {
        board.place(DATA, 0x6_0000, PRESENT | WRITABLE);
        board.place(DATA + PAGE, 0x6_3000, PRESENT | WRITABLE);
        board.memory.write(0x6_0ffe, &[1, 2]).unwrap();
        board.memory.write(0x6_3000, &[3, 4]).unwrap();
        let (data, end) = (DATA as u32, (DATA + PAGE - 2) as u32);
        let program = [I::Load(0, 2, end), I::Mov(1, 0x5566_7788), I::Store(1, 2, end), I::Store(0, 2, data), I::Halt];
        assert_eq!(board.run(&program)[0], 0x0403_0201, "over two pages");
        assert_eq!((board.word(0x6_0ffc), board.word(0x6_3000)), (0x7788_0000, 0x5566));
        assert_eq!(board.word(0x6_0000), 0x0403_0201);
        assert!(board.events().is_empty());
    });
}

#[test]
fn faults_are_delivered_at_their_instruction() {
    both(|board| {
        board.place(DATA, DATA, PRESENT);
        board.place(DATA + PAGE, 0, 0);
        let fault = |addr, write, arg| {
            let cause = FaultCause::Guest { code: PAGE_FAULT, arg };
            vec![Event::Trap(Trap::Memory(MemFault { addr, write, cause }))]
        };
        let (data, next) = (DATA as u32, (DATA + PAGE) as u32);
        let r = board.run(&[I::Mov(0, 7), I::Plus(0, 1), I::Store(0, 1, data + 4), I::Mov(0, 9), I::Halt]);
        assert_eq!((r[0], r[4], r[5]), (8, at(2), data + 4), "not writable");
        assert_eq!(board.events(), fault(DATA + 4, true, DATA | 1));
        let r = board.run(&[I::Mov(0, 7), I::Load(0, 1, next - 2), I::Halt]);
        assert_eq!((r[0], r[4], r[5]), (7, at(1), next), "the second page of the access");
        assert_eq!(board.events(), fault(DATA + PAGE, false, 0));
        board.place(DATA, DATA, PRESENT | WRITABLE);
        board.memory.write(DATA + PAGE - 4, &[0; 4]).unwrap();
        let r = board.run(&[I::Mov(0, u32::MAX), I::Store(0, 1, next - 2), I::Halt]);
        assert_eq!((r[4], board.word(DATA + PAGE - 4)), (at(1), 0), "nothing was stored");
        assert_eq!(board.events(), fault(DATA + PAGE, true, 0));
        // Code: a jump to nowhere, and an instruction whose second half is nowhere.
        let r = board.run(&[I::Jmp(next + 8)]);
        assert_eq!((r[4], r[5]), (next + 8, next + 8));
        board.load(DATA + PAGE - 12, &[I::Mov(0, 5)]);
        let r = board.run(&[I::Jmp(next - 12)]);
        assert_eq!((r[0], r[4], r[5]), (5, next - 4, next));
    });
}

#[test]
fn devices_are_accessed_once() {
    both(|board| {
        let device = DEVICE as u32;
        let program = [I::Mov(0, 5), I::Store(0, 2, device), I::Load(1, 2, device + 4), I::Halt];
        assert_eq!(board.run(&program)[1], 5 << 16 | 2);
        // A loop over it, compiled or not.
        let program = [
            I::Mov(0, 100),
            I::Load(1, 2, device),
            I::Plus(0, u32::MAX),
            I::Jnz(at(1)),
            I::Mov(3, 0x100),
            I::Mov(6, 9),
            I::Helper(6, 3, OUT_IN),
            I::Halt,
        ];
        let r = board.run(&program);
        assert_eq!((r[1], r[6]), (5 << 16 | 102, 9 << 16 | 104));
        assert_eq!(board.device.accesses.load(Ordering::SeqCst), 104);
        // Not at all, because a part of the access is refused.
        board.place(DEVICE + PAGE, 0, 0);
        let r = board.run(&[I::Load(1, 2, device + PAGE as u32 - 2), I::Halt]);
        assert_eq!((r[4], board.device.accesses.load(Ordering::SeqCst)), (at(0), 104));
    });
}

#[test]
fn code_that_changes_itself_takes_effect_at_once() {
    both(|board| {
        // The word of the next instruction's immediate, in a loop so that it is translated before.
        let program = [
            I::Mov(0, 3),
            I::Plus(1, 10),
            I::Store(1, 2, at(3) + 4),
            I::Mov(3, 0),
            I::Add(6, 3, 0),
            I::Plus(0, u32::MAX),
            I::Jnz(at(1)),
            I::Halt,
        ];
        assert_eq!(board.run(&program)[6], 10 + 20 + 30);
    });
}

#[test]
fn devices_and_other_processors_change_code() {
    both(|board| {
        let program = [I::Mov(0, 1), I::Halt];
        board.load(CODE, &program);
        let (mut first, mut second) = (board.processor(CODE), board.processor(CODE));
        assert_eq!((run(&mut *first)[0], run(&mut *second)[0]), (1, 1));
        board.load(CODE, &[I::Mov(0, 2)]);
        assert_eq!((go(&mut *first, CODE)[0], go(&mut *second, CODE)[0]), (2, 2), "a transfer");
        board.load(DATA, &[I::Mov(1, 3), I::Store(1, 2, at(0) + 4), I::Halt]);
        go(&mut *second, DATA);
        assert_eq!((go(&mut *first, CODE)[0], go(&mut *second, CODE)[0]), (3, 3), "the other processor");
    });
}

#[test]
fn data_next_to_code_is_stored_to_and_code_stays() {
    both(|board| {
        // A loop that counts in its own page, far enough from the code and then in the granule behind it.
        for offset in [0x800, 0x80] {
            let counter = CODE as u32 + offset;
            let program = [
                I::Mov(0, 1000),
                I::Load(1, 2, counter),
                I::Plus(1, 1),
                I::Store(1, 2, counter),
                I::Plus(0, u32::MAX),
                I::Jnz(at(1)),
                I::Halt,
            ];
            board.memory.write(counter.into(), &[0; 4]).unwrap();
            assert_eq!(board.run(&program)[1], 1000);
            assert_eq!(board.word(counter.into()), 1000);
        }
        // After all that, changes of code are still noticed.
        assert_eq!(board.run(&[I::Mov(0, 1), I::Halt])[0], 1);
        assert_eq!(board.run(&[I::Mov(0, 2), I::Halt])[0], 2);
    });
}

#[test]
fn instructions_over_the_end_of_a_page_depend_on_both() {
    both(|board| {
        let start = CODE + PAGE - 4;
        board.load(start, &[I::Mov(0, 0x11), I::Halt]);
        let mut processor = board.processor(start);
        assert_eq!(run(&mut *processor)[0], 0x11);
        board.memory.write(CODE + PAGE, &[0x22]).unwrap();
        assert_eq!(go(&mut *processor, start)[0], 0x22, "its end was stored to");
        // Another second page.
        board.memory.write(0x7_0000, &code(&[I::Mov(0, 0x33), I::Halt])[4..]).unwrap();
        board.place(CODE + PAGE, 0x7_0000, PRESENT);
        assert_eq!(go(&mut *processor, start)[0], 0x33);
        board.place(CODE + PAGE, CODE + PAGE, PRESENT);
        assert_eq!(go(&mut *processor, start)[0], 0x22);
    });
}

#[test]
fn flushed_translations_are_not_used_again() {
    both(|board| {
        // Two pages with the same code and another result; the caller exchanges them and flushes one way or the other.
        board.load(0x6_0000, &[I::Mov(0, 1), I::JmpR(3)]);
        board.load(0x7_0000, &[I::Mov(0, 2), I::JmpR(3)]);
        for flush in [FLUSH_PAGE, FLUSH_ALL] {
            board.place(DATA, 0x6_0000, PRESENT);
            let entry = (TABLE_AT + DATA / PAGE * 4) as u32;
            let program = [
                I::Mov(3, at(3)),
                I::Mov(6, DATA as u32),
                I::JmpR(6),
                I::Add(1, 0, 0),
                I::Mov(3, at(9)),
                I::Mov(0, 0x7_0001),
                I::Store(0, 2, entry),
                I::Helper(6, 2, flush),
                I::JmpR(6),
                I::Halt,
            ];
            let r = board.run(&program);
            assert_eq!((r[1], r[0]), (1, 2), "{flush}");
        }
    });
}

struct Vector(u8);

impl Controller for Vector {
    fn acknowledge(&self) -> Option<u8> {
        Some(self.0)
    }
    fn read(&self, _: u32) -> Option<u64> {
        None
    }
    fn write(&self, _: u32, _: u64) -> Option<()> {
        None
    }
}

#[test]
fn signals_reach_a_loop_and_a_halt() {
    both(|board| {
        board.wires.connect(Arc::new(Vector(0x31)));
        board.load(CODE, &[I::Jmp(at(0))]);
        let mut processor = board.processor(CODE);
        let wires = board.wires.clone();
        let after = |signals: Signals| {
            let wires = wires.clone();
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                wires.raise(signals);
            })
        };
        let raised = after(Signals::ATTENTION);
        assert_eq!(processor.run(), Left::Attention);
        raised.join().unwrap();
        wires.take(Signals::ATTENTION);
        board.guest.takes_interrupts.store(false, Ordering::SeqCst);
        wires.raise(Signals::INTERRUPT);
        let raised = after(Signals::ATTENTION);
        assert_eq!(processor.run(), Left::Attention, "it does not take the interrupt");
        raised.join().unwrap();
        wires.take(Signals::ATTENTION);
        board.guest.takes_interrupts.store(true, Ordering::SeqCst);
        let handler = std::thread::spawn({
            let wires = wires.clone();
            move || {
                std::thread::sleep(std::time::Duration::from_millis(50));
                wires.lower(Signals::INTERRUPT);
            }
        });
        // The level is still there at the handler's halt, until it is lowered.
        board.load(INTERRUPT_HANDLER, &[I::Load(1, 2, DATA as u32), I::Plus(1, 0), I::Jnz(at(0)), I::Halt]);
        let r = loop {
            let left = processor.run();
            assert_eq!(left, Left::Halted);
            if wires.pending().is_empty() {
                break regs(&mut *processor);
            }
        };
        handler.join().unwrap();
        assert_eq!(r[5], 0x31);
        assert!(board.events().iter().all(|e| *e == Event::Interrupt(0x31)));
        assert_eq!(processor.run(), Left::Halted, "nothing is pending");
    });
}

#[test]
fn a_changed_map_is_followed() {
    both(|board| {
        let other = RamBlock::new("other", PAGE, &Backing::Anonymous).unwrap();
        other.write(0, &code(&[I::Mov(0, 2), I::Load(1, 2, DATA as u32), I::Halt])).unwrap();
        board.load(CODE, &[I::Mov(0, 1), I::Load(1, 2, DATA as u32), I::Plus(1, 0), I::Jnz(at(0)), I::Halt]);
        board.memory.write(DATA, &[1]).unwrap();
        let mut processor = board.processor(CODE);
        let (map, root) = (board.map.clone(), board.root);
        let change = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            map.update(|tree| {
                let rom = tree.rom("rom", other);
                tree.add(root, rom, CODE, 1);
            });
        });
        assert_eq!(run(&mut *processor)[0], 2, "it was in a loop");
        change.join().unwrap();
        assert_eq!(board.run(&[I::Mov(0, 3), I::Halt])[0], 2, "read-only");
    });
}

#[test]
fn breakpoints_stop_before_their_instruction() {
    both(|board| {
        board.load(CODE, &[I::Mov(0, 1), I::Mov(0, 2), I::Halt]);
        let mut processor = board.processor(CODE);
        run(&mut *processor);
        board.engine.set_breakpoint(at(1).into(), true);
        processor.state_mut().set_pc(CODE);
        assert_eq!((processor.run(), regs(&mut *processor)[0]), (Left::Breakpoint, 1));
        assert_eq!((processor.step(), regs(&mut *processor)[0]), (None, 2));
        assert_eq!((processor.run(), processor.state().pc()), (Left::Halted, at(3).into()));
        board.engine.set_breakpoint(at(1).into(), false);
        assert_eq!(go(&mut *processor, CODE)[0], 2);
        assert_eq!(processor.translate(DATA + 5), Some(DATA + 5));
        board.place(DATA, 0, 0);
        assert_eq!(processor.translate(DATA + 5), None);
    });
}
