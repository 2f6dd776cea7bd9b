//! A symbolic check of the allocation: follows which value each host register and spill slot holds, and verifies that
//! every operand is read from a place that holds it.
//!
//! It believes nothing that the allocator remembers: after each IR instruction it disassembles the host code that was
//! emitted for it, and forgets what any register held that the code writes, unless a copy or definition was announced
//! for that register. A move that the allocator forgot to account for therefore shows up as a read of an unknown
//! register. Runs in debug builds; release builds compile it away.

#[cfg(debug_assertions)]
pub(crate) use checking::Checker;

#[cfg(not(debug_assertions))]
pub(crate) use silent::Checker;

#[cfg(debug_assertions)]
mod checking {
    use iced_x86::{
        Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, InstructionInfoFactory, OpAccess, Register,
    };
    use isamorph_ir::Region;
    use std::collections::HashMap;

    /// What a place holds: the root value, or nothing known.
    type Content = Option<usize>;

    /// The state of the check.
    pub(crate) struct Checker {
        regs: [Content; 32],
        slots: HashMap<u16, Content>,
        announced: u32,
        factory: InstructionInfoFactory,
    }

    impl Default for Checker {
        fn default() -> Self {
            Checker { regs: [None; 32], slots: HashMap::new(), announced: 0, factory: InstructionInfoFactory::new() }
        }
    }

    impl Checker {
        /// At a block boundary no value is alive.
        pub fn begin_block(&mut self) {
            self.regs = [None; 32];
            self.slots.clear();
            self.announced = 0;
        }
        /// `reg` is the result of instruction `root` from here on.
        pub fn defined(&mut self, root: usize, reg: u8) {
            self.regs[usize::from(reg)] = Some(root);
            self.announced |= 1 << reg;
        }
        /// `to` was copied from `from`.
        pub fn copied(&mut self, to: u8, from: u8) {
            self.regs[usize::from(to)] = self.regs[usize::from(from)];
            self.announced |= 1 << to;
        }
        /// A register went to a spill slot, or came back.
        pub fn spilled(&mut self, reg: u8, slot: u16, store: bool) {
            if store {
                self.slots.insert(slot, self.regs[usize::from(reg)]);
            } else {
                self.regs[usize::from(reg)] = self.slots.get(&slot).copied().flatten();
                self.announced |= 1 << reg;
            }
        }
        /// An operand with value `root` is about to be read from `reg`, after `code` was emitted.
        pub fn used(&self, root: usize, reg: u8, region: &Region, code: &[u8]) {
            let held = self.regs.get(usize::from(reg)).copied().flatten();
            if held != Some(root) {
                let insts: Vec<String> =
                    region.insts.iter().enumerate().map(|(i, inst)| format!("v{i} {inst:?}")).collect();
                panic!(
                    "allocation: v{root} is read from host register {reg}, which holds {held:?}\n{}\n{}",
                    insts.join("\n"),
                    listing(code)
                );
            }
        }
        /// The host code emitted for one IR instruction: registers that it writes unannounced hold nothing known.
        pub fn emitted(&mut self, code: &[u8]) {
            let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
            let mut insn = Instruction::default();
            while decoder.can_decode() {
                decoder.decode_out(&mut insn);
                for used in self.factory.info(&insn).used_registers() {
                    let writes = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
                    if let Some(reg) = number(used.register()).filter(|_| writes)
                        && self.announced >> reg & 1 == 0
                    {
                        self.regs[usize::from(reg)] = None;
                    }
                }
            }
            self.announced = 0;
        }
    }

    fn listing(code: &[u8]) -> String {
        let mut text = String::new();
        let mut formatter = GasFormatter::new();
        for insn in &mut Decoder::new(64, code, DecoderOptions::NONE) {
            text += &format!("{:5x} ", insn.ip());
            formatter.format(&insn, &mut text);
            text.push('\n');
        }
        text
    }

    /// The common number of a host register.
    fn number(reg: Register) -> Option<u8> {
        if reg.is_gpr() {
            Some(reg.full_register().number() as u8)
        } else if reg.is_xmm() || reg.is_ymm() || reg.is_zmm() {
            u8::try_from(reg.number()).ok().filter(|n| *n < 16).map(|n| n + 16)
        } else {
            None
        }
    }
}

#[cfg(not(debug_assertions))]
mod silent {
    /// Does nothing.
    #[derive(Default)]
    pub(crate) struct Checker;

    impl Checker {
        pub fn begin_block(&mut self) {}
        pub fn defined(&mut self, _root: usize, _reg: u8) {}
        pub fn copied(&mut self, _to: u8, _from: u8) {}
        pub fn spilled(&mut self, _reg: u8, _slot: u16, _store: bool) {}
        pub fn used(&self, _root: usize, _reg: u8, _region: &isamorph_ir::Region, _code: &[u8]) {}
        pub fn emitted(&mut self, _code: &[u8]) {}
    }
}
