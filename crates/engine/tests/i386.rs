//! Small i386 programs, interpreted and compiled: what only a real instruction set shows.

use isamorph_accel::{Accel, Stop, Vcpu};
use isamorph_engine::{Engine, EngineConfig, Kind};
use isamorph_ir::{CpuState, FaultCause, FloatUnit, MemFault, Memory, RegId, Trap};
use isamorph_ram::{Config, MapRequest, UserSpace};
use isamorph_x86::{X86, state, syscall::INT80};
use std::sync::Arc;

const CODE: u32 = 0x4000_0000;
const DATA: u32 = 0x4100_0000;
/// One page for code and for the stack.
const STACK: u32 = 0x4200_0000;

struct Machine {
    space: Arc<UserSpace>,
    engine: Arc<Engine>,
}

impl Machine {
    fn new(kind: Kind) -> Self {
        let space = Arc::new(UserSpace::new(Config::default()).expect("a window"));
        for addr in [CODE, DATA, STACK] {
            let request = MapRequest { addr: addr.into(), len: 1 << 20, prot: 7, fixed: true, ..MapRequest::default() };
            space.map(&request).expect("memory");
        }
        let config = EngineConfig { kind, ..EngineConfig::new(Arc::new(X86::i386()), space.clone()) };
        Machine { space, engine: Engine::new(config).expect("an engine") }
    }
    fn write(&self, addr: u32, bytes: &[u8]) {
        self.space.write(addr.into(), bytes).expect("memory");
    }
    fn start(&self, code: &[u8]) -> Box<dyn Vcpu> {
        self.write(CODE, code);
        let mut cpu = CpuState::new();
        state::reset_user(&mut cpu);
        cpu.set_pc(CODE.into());
        cpu.set(&state::I386, state::ESP, u64::from(STACK) + 0x8000);
        self.engine.vcpu(cpu)
    }
}

fn reg(vcpu: &dyn Vcpu, reg: RegId) -> u32 {
    vcpu.state().get(&state::I386, reg) as u32
}

fn both(test: impl Fn(Kind)) {
    test(Kind::Interp);
    test(Kind::Jit);
}

fn refused(addr: u64, write: bool) -> Stop {
    Stop::Trap(Trap::Memory(MemFault { addr, write, cause: FaultCause::Unmapped }))
}

#[test]
fn fibonacci_with_calls_and_a_stack() {
    // mov eax,22; call fib; int 0x80
    // fib: cmp eax,2; jb done; push ebx; push eax; dec eax; call fib; mov ebx,eax; pop eax; sub eax,2; call fib
    //      add eax,ebx; pop ebx; done: ret
    const PROGRAM: [u8; 40] = [
        0xb8, 0x16, 0, 0, 0, 0xe8, 0x02, 0, 0, 0, 0xcd, 0x80, 0x83, 0xf8, 0x02, 0x72, 0x16, 0x53, 0x50, 0x48, 0xe8,
        0xf3, 0xff, 0xff, 0xff, 0x89, 0xc3, 0x58, 0x83, 0xe8, 0x02, 0xe8, 0xe8, 0xff, 0xff, 0xff, 0x01, 0xd8, 0x5b,
        0xc3,
    ];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!((vcpu.run(), reg(&*vcpu, state::EAX)), (Stop::Syscall(INT80), 17711), "{kind:?}");
        assert_eq!(reg(&*vcpu, state::ESP), STACK + 0x8000);
    });
}

#[test]
fn a_string_instruction_overwrites_what_follows_it() {
    // mov esi,DATA; mov edi,target; mov ecx,8; rep movsb; target: mov eax,1; add eax,1; int 0x80
    const PROGRAM: [u8; 27] = [
        0xbe, 0, 0, 0, 0x41, 0xbf, 0x11, 0, 0, 0x40, 0xb9, 0x08, 0, 0, 0, 0xf3, 0xa4, 0xb8, 0x01, 0, 0, 0, 0x83, 0xc0,
        0x01, 0xcd, 0x80,
    ];
    both(|kind| {
        let machine = Machine::new(kind);
        // mov eax,100; add eax,5
        machine.write(DATA, &[0xb8, 100, 0, 0, 0, 0x83, 0xc0, 5]);
        let mut vcpu = machine.start(&PROGRAM);
        assert_eq!((vcpu.run(), reg(&*vcpu, state::EAX)), (Stop::Syscall(INT80), 105), "{kind:?}");
    });
}

#[test]
fn code_on_the_stack_is_made_called_and_overwritten() {
    // xor ebx,ebx; mov ecx,100; again: sub esp,16; mov byte [esp],0xb8; mov [esp+1],ecx; mov byte [esp+5],0xc3
    // mov edx,esp; call edx; add ebx,eax; add esp,16; dec ecx; jnz again; int 0x80
    const PROGRAM: [u8; 37] = [
        0x31, 0xdb, 0xb9, 0x64, 0, 0, 0, 0x83, 0xec, 0x10, 0xc6, 0x04, 0x24, 0xb8, 0x89, 0x4c, 0x24, 0x01, 0xc6, 0x44,
        0x24, 0x05, 0xc3, 0x89, 0xe2, 0xff, 0xd2, 0x01, 0xc3, 0x83, 0xc4, 0x10, 0x49, 0x75, 0xe4, 0xcd, 0x80,
    ];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!((vcpu.run(), reg(&*vcpu, state::EBX)), (Stop::Syscall(INT80), 5050), "{kind:?}");
    });
}

#[test]
fn a_faulting_push_leaves_the_stack_pointer() {
    // mov eax,5; mov esp,0x50000002; sub eax,6; push eax; int 0x80
    const PROGRAM: [u8; 16] = [0xb8, 0x05, 0, 0, 0, 0xbc, 0x02, 0, 0, 0x50, 0x83, 0xe8, 0x06, 0x50, 0xcd, 0x80];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!(vcpu.run(), refused(0x4fff_fffe, true), "{kind:?}");
        assert_eq!(vcpu.state().pc(), u64::from(CODE) + 13);
        assert_eq!((reg(&*vcpu, state::ESP), reg(&*vcpu, state::EAX)), (0x5000_0002, u32::MAX));
    });
}

#[test]
fn quotient_overflow_is_a_divide_error() {
    // mov edx,1; xor eax,eax; mov ecx,1; cmp eax,ecx; div ecx; int 0x80
    const PROGRAM: [u8; 18] = [0xba, 1, 0, 0, 0, 0x31, 0xc0, 0xb9, 1, 0, 0, 0, 0x39, 0xc8, 0xf7, 0xf1, 0xcd, 0x80];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!(vcpu.run(), Stop::Trap(Trap::Divide), "{kind:?}");
        assert_eq!(vcpu.state().pc(), u64::from(CODE) + 14);
        let regs = [state::EAX, state::ECX, state::EDX].map(|r| reg(&*vcpu, r));
        assert_eq!(regs, [0, 1, 1]);
    });
}

#[test]
fn flags_that_are_read_later_survive_a_fault() {
    // mov ebx,0x50000000; mov ecx,-1; add ecx,1; mov eax,[ebx+4]; adc edx,0; int 0x80
    const PROGRAM: [u8; 21] =
        [0xbb, 0, 0, 0, 0x50, 0xb9, 0xff, 0xff, 0xff, 0xff, 0x83, 0xc1, 1, 0x8b, 0x43, 0x04, 0x83, 0xd2, 0, 0xcd, 0x80];
    both(|kind| {
        let machine = Machine::new(kind);
        let mut vcpu = machine.start(&PROGRAM);
        assert_eq!(vcpu.run(), refused(0x5000_0004, false), "{kind:?}");
        assert_eq!(state::eflags(vcpu.state()) & 1, 1, "the carry of the addition");
        let request = MapRequest { addr: 0x5000_0000, len: 4096, prot: 3, fixed: true, ..MapRequest::default() };
        machine.space.map(&request).expect("memory");
        assert_eq!((vcpu.run(), reg(&*vcpu, state::EDX)), (Stop::Syscall(INT80), 1));
    });
}

/// The arithmetic flags at a stop.
fn flags(vcpu: &dyn Vcpu) -> u32 {
    state::eflags(vcpu.state()) & 0x8d5
}

#[test]
fn each_repeated_comparison_leaves_its_flags() {
    // mov esi,DATA; mov edi,DATA+16; mov ecx,4; repe cmpsb; mov ecx,4; repe cmpsb; int 0x80
    const PROGRAM: [u8; 26] = [
        0xbe, 0, 0, 0, 0x41, 0xbf, 0x10, 0, 0, 0x41, 0xb9, 4, 0, 0, 0, 0xf3, 0xa6, 0xb9, 4, 0, 0, 0, 0xf3, 0xa6, 0xcd,
        0x80,
    ];
    both(|kind| {
        let machine = Machine::new(kind);
        machine.write(DATA + 0x14, &[1]);
        let mut vcpu = machine.start(&PROGRAM);
        // 0 − 1, after four pairs of zeroes
        assert_eq!((vcpu.run(), flags(&*vcpu)), (Stop::Syscall(INT80), 0x95), "{kind:?}");
    });
}

#[test]
fn a_rotation_in_memory_keeps_the_other_flags() {
    // mov ebx,DATA; push 0x8d7; popf; rol dword [ebx],1; int 0x80
    const PROGRAM: [u8; 15] = [0xbb, 0, 0, 0, 0x41, 0x68, 0xd7, 0x08, 0, 0, 0x9d, 0xd1, 0x03, 0xcd, 0x80];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!((vcpu.run(), flags(&*vcpu)), (Stop::Syscall(INT80), 0xd4), "{kind:?}");
    });
}

#[test]
fn bit_strings_wrap_with_16_bit_addresses() {
    // mov edi,0x8000; mov ebx,0x100000; bt [di],ebx; int 0x80
    const PROGRAM: [u8; 16] = [0xbf, 0, 0x80, 0, 0, 0xbb, 0, 0, 0x10, 0, 0x67, 0x0f, 0xa3, 0x1d, 0xcd, 0x80];
    // The same with `bt [0x8000],ebx`.
    const ABSOLUTE: [u8; 18] = [0xbf, 0, 0x80, 0, 0, 0xbb, 0, 0, 0x10, 0, 0x67, 0x0f, 0xa3, 0x1e, 0, 0x80, 0xcd, 0x80];
    both(|kind| {
        assert_eq!(Machine::new(kind).start(&PROGRAM).run(), refused(0x8000, false), "{kind:?}");
        assert_eq!(Machine::new(kind).start(&ABSOLUTE).run(), refused(0x8000, false), "{kind:?}");
    });
}

#[test]
fn an_unchanged_selector_is_not_written() {
    // mov ebx,DATA+0x300000; mov ecx,1; arpl [ebx],cx; int 0x80
    const PROGRAM: [u8; 14] = [0xbb, 0, 0, 0x30, 0x41, 0xb9, 1, 0, 0, 0, 0x63, 0x0b, 0xcd, 0x80];
    both(|kind| {
        let machine = Machine::new(kind);
        let (addr, len) = (u64::from(DATA) + 0x30_0000, 4096);
        let request = MapRequest { addr, len, prot: 3, fixed: true, ..MapRequest::default() };
        machine.space.map(&request).expect("memory");
        machine.write(DATA + 0x30_0000, &[3]);
        machine.space.protect(addr, len, 1).expect("memory");
        let mut vcpu = machine.start(&PROGRAM);
        assert_eq!((vcpu.run(), flags(&*vcpu) & 0x40), (Stop::Syscall(INT80), 0), "{kind:?}");
    });
}

#[test]
fn vector_exceptions_leave_the_destination() {
    // ldmxcsr [DATA]; movaps xmm7,[DATA+16]; hsubps xmm7,xmm7; int 0x80
    const PROGRAM: [u8; 20] =
        [0x0f, 0xae, 0x15, 0, 0, 0, 0x41, 0x0f, 0x28, 0x3d, 0x10, 0, 0, 0x41, 0xf2, 0x0f, 0x7d, 0xff, 0xcd, 0x80];
    const SIGNALLING: u128 = 0x4000_0000_7fa0_0000;
    both(|kind| {
        let machine = Machine::new(kind);
        machine.write(DATA, &0x1f00u32.to_le_bytes());
        machine.write(DATA + 16, &SIGNALLING.to_le_bytes());
        let mut vcpu = machine.start(&PROGRAM);
        assert_eq!(vcpu.run(), Stop::Trap(Trap::Float(FloatUnit::Vector)), "{kind:?}");
        let xmm7 = vcpu.state().get_wide(&state::I386, RegId(state::XMM0.0 + 7));
        assert_eq!((vcpu.state().pc(), xmm7), (u64::from(CODE) + 14, SIGNALLING));
    });
}

/// fldcw [DATA]; fld1; fldz; fdivp
const DIVISION_BY_ZERO: [u8; 12] = [0xd9, 0x2d, 0, 0, 0, 0x41, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9];

#[test]
fn a_pending_x87_exception_comes_before_everything_else() {
    // movq mm0,mm1, and fadd dword [0x50000000]
    const NEXT: [&[u8]; 2] = [&[0x0f, 0x6f, 0xc1, 0xcd, 0x80], &[0xd8, 0x05, 0, 0, 0, 0x50, 0xcd, 0x80]];
    both(|kind| {
        for next in NEXT {
            let machine = Machine::new(kind);
            machine.write(DATA, &0x037bu16.to_le_bytes());
            let mut vcpu = machine.start(&[&DIVISION_BY_ZERO, next].concat());
            assert_eq!(vcpu.run(), Stop::Trap(Trap::Float(FloatUnit::X87)), "{kind:?}");
            assert_eq!(vcpu.state().pc(), u64::from(CODE) + 12);
        }
    });
}

#[test]
fn a_move_of_an_mmx_register_to_itself_is_a_write() {
    // fldpi; movq mm7,mm7; int 0x80
    const PROGRAM: [u8; 7] = [0xd9, 0xeb, 0x0f, 0x6f, 0xff, 0xcd, 0x80];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!(vcpu.run(), Stop::Syscall(INT80), "{kind:?}");
        vcpu.sync_fpu();
        let image = state::fxsave_image(vcpu.state());
        assert_eq!((image[3] >> 3 & 7, image[4], &image[152..154]), (0, 0xff, &[0xff, 0xff][..]), "{kind:?}");
    });
}

#[test]
fn restored_x87_words_are_consistent() {
    // fxrstor [DATA]; int 0x80
    const PROGRAM: [u8; 9] = [0x0f, 0xae, 0x0d, 0, 0, 0, 0x41, 0xcd, 0x80];
    both(|kind| {
        let machine = Machine::new(kind);
        // Nothing is masked, an invalid operation is told of; a byte of tags too many.
        machine.write(DATA, &[0, 0, 1, 0, 0x81, 0x81]);
        let mut vcpu = machine.start(&PROGRAM);
        assert_eq!(vcpu.run(), Stop::Syscall(INT80), "{kind:?}");
        vcpu.sync_fpu();
        assert_eq!(state::fxsave_image(vcpu.state())[..6], [0x40, 0, 0x81, 0x80, 0x81, 0], "{kind:?}");
    });
}

#[test]
fn a_step_of_a_constant_while_a_register_holds_one() {
    // mov ecx,1; mov eax,0x1234; inc eax; lahf; mov edx,1; int 0x80
    const PROGRAM: [u8; 19] = [0xb9, 1, 0, 0, 0, 0xb8, 0x34, 0x12, 0, 0, 0x40, 0x9f, 0xba, 1, 0, 0, 0, 0xcd, 0x80];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!(vcpu.run(), Stop::Syscall(INT80), "{kind:?}");
        assert_eq!(reg(&*vcpu, state::EAX) & 0xffff_00ff, 0x35, "{kind:?}");
    });
}

#[test]
fn a_store_into_its_own_page_takes_effect_each_time() {
    // again: mov [target + 1],ecx; nop; target: mov eax,0; add ebx,eax; dec ecx; jnz again; int 0x80
    const PROGRAM: [u8; 19] =
        [0x89, 0x0d, 0x08, 0, 0, 0x40, 0x90, 0xb8, 0, 0, 0, 0, 0x01, 0xc3, 0x49, 0x75, 0xef, 0xcd, 0x80];
    both(|kind| {
        let machine = Machine::new(kind);
        let mut vcpu = machine.start(&PROGRAM);
        vcpu.state_mut().set(&state::I386, state::ECX, 50);
        assert_eq!((vcpu.run(), reg(&*vcpu, state::EBX)), (Stop::Syscall(INT80), 50 * 51 / 2), "{kind:?}");
    });
}

#[test]
fn a_decrement_that_only_sets_flags_keeps_the_carry() {
    // stc; mov edi,5; dec di; int 0x80
    const PROGRAM: [u8; 11] = [0xf9, 0xbf, 5, 0, 0, 0, 0x66, 0xff, 0xcf, 0xcd, 0x80];
    both(|kind| {
        let mut vcpu = Machine::new(kind).start(&PROGRAM);
        assert_eq!((vcpu.run(), flags(&*vcpu)), (Stop::Syscall(INT80), 1), "{kind:?}");
    });
}

#[test]
fn an_instruction_that_changes_its_own_code_reads_its_flags_again() {
    // mov eax,again; again: stc; rcr dword [eax+2],1; int 0x80; the rotation is that of its own second byte and on.
    const PROGRAM: [u8; 11] = [0xb8, 5, 0, 0, 0x40, 0xf9, 0xd1, 0x58, 0x02, 0xcd, 0x80];
    both(|kind| {
        let machine = Machine::new(kind);
        let mut vcpu = machine.start(&PROGRAM);
        vcpu.run();
        let mut word = [0; 4];
        machine.space.read(u64::from(CODE) + 7, &mut word).expect("memory");
        assert_eq!(u32::from_le_bytes(word), 0x80cd_0258 >> 1 | 1 << 31, "{kind:?}");
    });
}
