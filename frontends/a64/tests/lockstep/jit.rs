//! Cases in compiled code.

use super::{BRK, CODE, CODE_BYTES, DATA, PAGE, Record, SIGBUS, SIGILL, SIGTRAP, WINDOW, load_state, signal_of};
use isamorph_a64::{A64, exception, state};
use isamorph_accel::{Accel, Stop};
use isamorph_engine::{Engine, EngineConfig};
use isamorph_ir::{Memory, RegId, Trap};
use isamorph_ram::{Config, MapRequest, UserSpace};
use std::sync::Arc;

/// Memory of cases, and a compiler.
pub struct Machine {
    space: Arc<UserSpace>,
    engine: Arc<Engine>,
}

impl Machine {
    /// Memory as the harness has it.
    pub fn new() -> Self {
        let config = Config { addr_bits: 48, ..Config::default() };
        let space = Arc::new(UserSpace::new(config).expect("a window"));
        let mut config = EngineConfig::new(Arc::new(A64::new()), space.clone());
        // Flags are compared where something faults, too.
        config.precise = true;
        let engine = Engine::new(config).expect("an engine");
        for (addr, len, prot) in [(CODE, CODE_BYTES, 7), (DATA, PAGE as u64, 3)] {
            let request = MapRequest { addr, len, prot, fixed: true, ..MapRequest::default() };
            assert_eq!(space.map(&request), Ok(addr));
        }
        let breakpoints: Vec<u8> = (0..CODE_BYTES / 4).flat_map(|_| BRK.to_le_bytes()).collect();
        space.write(CODE, &breakpoints).expect("code can be written");
        Machine { space, engine }
    }
    /// Checks that code was compiled, and what kinds of instructions were not.
    pub fn check(&self) {
        assert!(self.engine.cache_stats().is_some_and(|stats| stats.published > 0));
        assert!(self.engine.lacking().is_empty(), "not compiled: {:?}", self.engine.lacking());
    }
    /// Runs a case, up to a signal.
    pub fn run(&self, case: &Record) -> Record {
        let mut page = [0; PAGE];
        page[PAGE - WINDOW..].copy_from_slice(&case.data);
        self.space.write(DATA, &page).expect("data can be written");
        let code: Vec<u8> = case.code.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.space.write(case.pc, &code).expect("code can be written");
        let mut vcpu = self.engine.vcpu(load_state(case));
        let stop = vcpu.run();
        vcpu.sync_fpu();
        let cpu = vcpu.state();
        let (signal, address) = match stop {
            Stop::Trap(Trap::Exception { code, .. }) => match code {
                exception::BREAKPOINT => (SIGTRAP, cpu.pc()),
                exception::UNDEFINED => (SIGILL, cpu.pc()),
                exception::PC_ALIGNMENT => (SIGBUS, cpu.pc()),
                other => panic!("exception {other:#x}"),
            },
            Stop::Trap(trap) => signal_of(trap),
            other => panic!("{:x?} stops with {other:?}", case.code),
        };
        self.space.read(DATA, &mut page).expect("data can be read");
        self.space.write(case.pc, &[BRK; 8].map(u32::to_le_bytes).concat()).expect("code can be written");
        Record {
            x: std::array::from_fn(|n| cpu.get(&state::A64, RegId(n as u16))),
            pc: cpu.pc(),
            nzcv: state::nzcv(cpu),
            fpcr: state::fpcr(cpu),
            fpsr: state::fpsr(cpu),
            signal,
            address,
            v: std::array::from_fn(|n| cpu.get_wide(&state::A64, state::v(n as u32))),
            code: case.code,
            data: page[PAGE - WINDOW..].try_into().expect("the window"),
        }
    }
}
