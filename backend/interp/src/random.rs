//! Random regions and states, for tests that compare two ways of running the same region.
//!
//! Ops are drawn from the op table and the rules next to it, so an op that is added there is generated as well.
//! Whatever has no defined value (undefined flags, results that the table calls undefined) is not used further.

use isamorph_ir::op::{AttrKind, ImmKind, Res};
use isamorph_ir::{
    Addr, Arg, Builder, Cond, CpuState, Effects, ExitKind, Family, FlagSet, Inst, MemAttr, Op, Pin, RegDef, RegId,
    RegTable, Region, Type, Value, X87Op, rules,
};
use std::collections::HashMap;

/// A small generator of pseudo-random numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose sequence depends on the seed only.
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 33) as usize % n
    }
    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    /// One of the items, which are not none.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
    /// Bits that are often near a boundary: small, all ones, a power of two, a floating-point number.
    pub fn interesting(&mut self) -> u64 {
        let power = 1 << self.below(64);
        match self.below(8) {
            0 => self.below(4) as u64,
            1 => self.below(300) as u64,
            2 => (self.below(300) as u64).wrapping_neg(),
            3 => power,
            4 => power.wrapping_sub(1),
            5 => (f64::from(self.bits() as i32) / 64.0).to_bits(),
            6 => u64::from((f32::from(self.bits() as i16) / 64.0).to_bits()) * 0x1_0000_0001,
            _ => self.bits(),
        }
    }
}

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// About how many guest instructions in a block.
    pub insns: usize,
    /// Most blocks.
    pub blocks: usize,
    /// The guest register that points to the memory window; regions do not write it.
    pub base: RegId,
    /// Guest address of the window, which the register must hold.
    pub window: u64,
    /// Size of the window, bytes.
    pub size: u32,
    /// Percentage of accesses that may miss the window.
    pub misses: usize,
    /// Whether to use MMX registers and the x87 unit.
    pub x87: bool,
    /// How many of the guest's helpers to call; they must not touch registers.
    pub helpers: u16,
    /// Filters what is generated.
    pub accept: fn(&Inst) -> bool,
}

impl Options {
    /// A window of memory, no x87, no helpers.
    pub const fn new(base: RegId, window: u64, size: u32) -> Self {
        let accept = |_: &Inst| true;
        Options { insns: 8, blocks: 4, base, window, size, misses: 1, x87: false, helpers: 0, accept }
    }
}

/// A random state for random regions: the window register points to the window, floating-point exceptions are masked.
pub fn state(seed: u64, table: &RegTable, options: &Options) -> Box<CpuState> {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut state = CpuState::new();
    for (index, def) in table.regs.iter().enumerate() {
        let reg = RegId(index as u16);
        if is_control(table, reg) {
            continue;
        }
        let bits = match def.ty {
            Type::Flags => u128::from(rng.bits() as u32 & FlagSet::all().bits()),
            _ => u128::from(rng.interesting()) << 64 | u128::from(rng.interesting()),
        };
        match def.ty {
            Type::F80 | Type::V256 => {}
            _ if reg == options.base => state.set(table, reg, options.window),
            _ => state.set_wide(table, reg, bits),
        }
    }
    if let Some(image) = table.fxsave {
        state.bytes_mut(image, 2).copy_from_slice(&0x37f_u16.to_le_bytes());
    }
    let rounding = (rng.below(4) as u64) << 13 | rng.pick(&[0, 0, 0, 0x8040]);
    if let Some(control) = table.regs.iter().position(|def| def.pin == Pin::FpControl) {
        state.set(table, RegId(control as u16), 0x1f80 | rounding);
    }
    state
}

/// The flags that a guest has: there is no parity or half carry outside of x86.
pub fn flags(table: &RegTable) -> FlagSet {
    match table.family {
        Family::X86 => FlagSet::all(),
        Family::Other => FlagSet::all() - FlagSet::P - FlagSet::A,
    }
}

/// Whether a register is a control, status or tag word of a floating-point unit.
fn is_control(table: &RegTable, reg: RegId) -> bool {
    let RegDef { offset, pin, .. } = *table.def(reg);
    pin == Pin::FpControl || table.fxsave.is_some_and(|image| (image..image + 32).contains(&offset))
}

/// A random region that passes the verifier. Its blocks only jump forward.
pub fn region(seed: u64, table: &'static RegTable, options: &Options) -> Region {
    let mut region = Region::default();
    let mut rng = Rng::new(seed);
    let blocks = 1 + rng.below(options.blocks) as u32;
    let builder = Builder::new(&mut region, table, 0x1000);
    let mut generator = Generator {
        b: builder,
        table,
        options,
        weights: weights(table, options),
        pool: HashMap::new(),
        locals: Vec::new(),
        insns: 0,
        blocks,
        block: 0,
        rng,
    };
    for block in 0..blocks {
        generator.block(block);
    }
    generator.b.finish();
    region
}

/// How often each op is tried.
fn weights(table: &RegTable, options: &Options) -> Vec<Op> {
    let weight = |op: Op| match op {
        // Structure and projections have their own places.
        Op::Insn | Op::Get | Op::Set | Op::Flags | Op::FlagsKeep | Op::Second => 0,
        Op::ExitIf | Op::Exit | Op::Jump | Op::Branch => 0,
        Op::X87 | Op::X87Mem | Op::X87Flags | Op::X87Status | Op::X87Cmov if !options.x87 => 0,
        Op::Call if options.helpers == 0 => 0,
        Op::FlagsBits if table.family != Family::X86 => 0,
        Op::Load | Op::Store => 24,
        Op::Ins | Op::Field | Op::Trunc | Op::Concat | Op::Select | Op::SetCc | Op::Lea => 8,
        Op::X87 | Op::X87Mem => 12,
        _ if op.effects().contains(Effects::FLAGS) => 6,
        _ => 2,
    };
    Op::ALL.iter().flat_map(|op| std::iter::repeat_n(*op, weight(*op))).collect()
}

struct Generator<'a> {
    b: Builder<'a>,
    table: &'static RegTable,
    options: &'a Options,
    weights: Vec<Op>,
    /// Values of the block by type.
    pool: HashMap<Type, Vec<Value>>,
    locals: Vec<(RegId, Type)>,
    insns: u64,
    blocks: u32,
    block: u32,
    rng: Rng,
}

impl Generator<'_> {
    fn block(&mut self, block: u32) {
        self.block = block;
        self.pool.clear();
        if block > 0 {
            self.b.next_block();
        }
        let insns = 1 + self.rng.below(2 * self.options.insns);
        for index in 0..insns {
            self.b.insn(0x1000 + 4 * self.insns, 4);
            self.insns += 1;
            if block == 0 && index == 0 {
                self.declare_locals();
            }
            for _ in 0..1 + self.rng.below(5) {
                self.inst();
            }
            for _ in 0..self.rng.below(3) {
                self.write_register();
            }
            if self.rng.chance(15) {
                let (cond, flags) = (self.condition(), self.operand(Type::Flags));
                let exit = self.exit_kind();
                self.b.exit_if(cond, flags, exit);
            }
        }
        self.terminator();
    }

    /// A condition on flags that the guest has.
    fn condition(&mut self) -> Cond {
        loop {
            let cond = self.rng.pick(Cond::ALL);
            if flags(self.table).contains(cond.reads()) {
                return cond;
            }
        }
    }

    fn declare_locals(&mut self) {
        for _ in 0..self.rng.below(3) {
            let ty = self.rng.pick(&[Type::I8, Type::I32, Type::I64, Type::V128, Type::Flags]);
            let value = self.operand(ty);
            let local = self.b.local(ty);
            self.b.set(local, value);
            self.locals.push((local, ty));
        }
    }

    fn terminator(&mut self) {
        let later = (self.blocks - self.block - 1) as usize;
        if later == 0 {
            let exit = self.exit_kind();
            return self.b.exit(exit);
        }
        let target = self.block + 1 + self.rng.below(later) as u32;
        if self.rng.chance(20) {
            return self.b.jump(target);
        }
        let (cond, flags) = (self.condition(), self.operand(Type::Flags));
        self.b.branch(cond, flags, target);
    }

    fn exit_kind(&mut self) -> ExitKind {
        let pc = 0x4000 + 16 * self.rng.below(256) as u64;
        let next = 0x1000 + 4 * self.insns;
        let target = self.operand(self.table.addr_type());
        match self.rng.below(13) {
            0 => ExitKind::Call { pc, ret: next },
            1 => ExitKind::IndirectCall { target, ret: next },
            2 => ExitKind::Return { target },
            3 => ExitKind::Indirect { target },
            4 => ExitKind::Syscall { next, code: 128 },
            5 => ExitKind::Exception { pc, code: 6, arg: 0 },
            6 => ExitKind::Halt { next },
            7 => ExitKind::Resync { next },
            8 => ExitKind::ResyncTo { target },
            _ => ExitKind::Direct { pc },
        }
    }

    /// Registers that regions may write, with those of x87 only where wanted.
    fn registers(&self, ty: Type) -> Vec<RegId> {
        let usable = |reg: &RegId| {
            let def = self.table.def(*reg);
            def.ty == ty && !is_control(self.table, *reg) && (self.options.x87 || !matches!(def.pin, Pin::X87(_)))
        };
        let locals = self.locals.iter().filter(|(_, local)| *local == ty).map(|(reg, _)| *reg);
        (0..self.table.regs.len() as u16).map(RegId).filter(usable).chain(locals).collect()
    }

    fn write_register(&mut self) {
        let int = self.table.addr_type();
        let ty = self.rng.pick(&[int, int, int, Type::Flags, Type::Flags, Type::V128, Type::V64]);
        let registers: Vec<_> = self.registers(ty).into_iter().filter(|reg| *reg != self.options.base).collect();
        if !registers.is_empty() {
            let reg = self.rng.pick(&registers);
            let value = self.operand(ty);
            self.b.set(reg, value);
        }
    }

    fn push(&mut self, op: Op, ty: Type, args: &[Value]) -> Value {
        let value = self.b.convert(op, ty, args);
        self.pool.entry(ty).or_default().push(value);
        value
    }

    /// A value of that type: one of the block, a register, a constant, or one made for the purpose.
    fn operand(&mut self, ty: Type) -> Value {
        let known = self.pool.get(&ty).map_or(&[][..], Vec::as_slice);
        if !known.is_empty() && self.rng.chance(60) {
            let recent = known.len().min(6);
            return known[known.len() - 1 - self.rng.below(recent)];
        }
        let registers = self.registers(ty);
        if !registers.is_empty() && self.rng.chance(70) {
            let reg = self.rng.pick(&registers);
            let value = self.b.get(reg);
            self.pool.entry(ty).or_default().push(value);
            return value;
        }
        self.made(ty)
    }

    fn made(&mut self, ty: Type) -> Value {
        let bits = self.rng.interesting();
        match ty {
            Type::Flags => self.b.iconst(ty, bits & u64::from(FlagSet::all().bits())),
            Type::V64 | Type::V128 => {
                let low = self.operand(Type::I64);
                self.push(Op::VFromInt, ty, &[low])
            }
            Type::I64 | Type::I128 if self.rng.chance(80) || ty == Type::I128 => {
                let half = ty.half().unwrap_or(Type::I32);
                let halves = [self.operand(half), self.operand(half)];
                self.push(Op::Concat, ty, &halves)
            }
            Type::I8 | Type::I16 if self.rng.chance(70) => {
                let wide = self.operand(Type::I32);
                self.push(Op::Trunc, ty, &[wide])
            }
            Type::I32 if self.table.addr_bits == 64 && self.rng.chance(70) => {
                let wide = self.operand(Type::I64);
                self.push(Op::Trunc, ty, &[wide])
            }
            _ => self.b.iconst(ty, bits),
        }
    }

    /// Appends an instruction of a random op, if what was drawn for it fits together.
    fn inst(&mut self) {
        let op = self.rng.pick(&self.weights);
        let info = op.info();
        let ty = self.rng.pick(rules::types(op));
        let mut inst = Inst { op, ty, attr: 0, args: [Value::NONE; 4], imm: 0 };
        if !self.draw_attribute(&mut inst) {
            return;
        }
        for (index, arg) in info.args.iter().enumerate() {
            inst.args[index] = match arg.expected(ty) {
                Some(Type::I8) if *arg == Arg::I8 => self.count(&inst),
                Some(wanted) => self.operand(wanted),
                None => match self.any_operand(&inst, index) {
                    Some(value) => value,
                    None => return,
                },
            };
        }
        if matches!(op, Op::DivU | Op::DivS) {
            self.tame_division(&mut inst);
        }
        match info.imm {
            ImmKind::U8 | ImmKind::Fp => {
                let operands = [self.b.ty(inst.args[0]), self.b.ty(inst.args[1])];
                let fitting: Vec<_> =
                    (0..256).filter(|imm| rules::small_imm(&Inst { imm: *imm, ..inst }, operands)).collect();
                if fitting.is_empty() {
                    return;
                }
                inst.imm = self.rng.pick(&fitting);
            }
            ImmKind::Addr => inst.imm = self.address(&inst),
            ImmKind::Helper => inst.imm = self.rng.below(usize::from(self.options.helpers)) as u32,
            _ => {}
        }
        if (self.options.accept)(&inst) {
            let value = self.b.push(inst);
            self.follow_up(inst, value);
        }
    }

    /// Draws an attribute that the rules allow.
    fn draw_attribute(&mut self, inst: &mut Inst) -> bool {
        if inst.op.info().attr == AttrKind::Me {
            let mut mem = MemAttr::new(1 << self.rng.below(5));
            mem = if self.rng.chance(30) { mem.signed() } else { mem };
            mem = if self.rng.chance(5) { mem.aligned() } else { mem };
            mem = if self.rng.chance(5) { mem.big_endian() } else { mem };
            inst.attr = mem.0;
            return rules::attribute(inst);
        }
        let guest = flags(self.table);
        let fits = |attr: &u8| {
            let inst = Inst { attr: *attr, ..*inst };
            let conditional = inst.op.info().attr == AttrKind::Cc;
            rules::attribute(&inst) && (!conditional || guest.contains(inst.cond().reads()))
        };
        let fitting: Vec<u8> = (0..=255).filter(fits).collect();
        if fitting.is_empty() {
            return false;
        }
        inst.attr = self.rng.pick(&fitting);
        inst.op.info().attr != AttrKind::X8 || !leaves_random_ground(inst.x87())
    }

    /// A shift count; a double shift of an i16 is only defined up to 16.
    fn count(&mut self, inst: &Inst) -> Value {
        let narrow = inst.ty == Type::I16 && matches!(inst.op, Op::Shld | Op::Shrd);
        if self.rng.chance(50) {
            let below = if narrow { 16 } else { 70 };
            let count = self.rng.below(below) as u64;
            return self.b.iconst(Type::I8, count);
        }
        let count = self.operand(Type::I8);
        if !narrow {
            return count;
        }
        let mask = self.b.iconst(Type::I8, 15);
        self.push(Op::And, Type::I8, &[count, mask])
    }

    fn any_operand(&mut self, inst: &Inst, index: usize) -> Option<Value> {
        let all = [Type::I8, Type::I16, Type::I32, Type::I64, Type::I128, Type::V64, Type::V128];
        let fitting: Vec<_> = all.into_iter().filter(|ty| rules::any_operand(inst, index, *ty)).collect();
        if fitting.is_empty() {
            return None;
        }
        let ty = self.rng.pick(&fitting);
        Some(self.operand(ty))
    }

    /// Makes most divisions succeed.
    fn tame_division(&mut self, inst: &mut Inst) {
        if self.rng.chance(90) {
            let one = self.b.iconst(inst.ty, 1);
            inst.args[0] = self.b.iconst(inst.ty, 0);
            inst.args[2] = self.push(Op::Or, inst.ty, &[inst.args[2], one]);
        }
    }

    /// An address that is mostly in the window, often aligned, sometimes that of an earlier access.
    fn address(&mut self, inst: &Inst) -> u32 {
        let width = self.table.addr_type();
        let mut addr = Addr { base: Value::NONE, index: Value::NONE, scale: 0, disp: 0, seg: Value::NONE };
        let room = self.options.size as usize / 2 - 128;
        let align = if self.rng.chance(80) { 16 } else { 1 };
        addr.disp = (self.rng.below(room) / align * align) as i32;
        if self.rng.chance(60) {
            let mask = self.b.iconst(width, self.rng.bits() % room as u64 / 8 / align as u64 * align as u64);
            let index = self.operand(width);
            addr.index = self.push(Op::And, width, &[index, mask]);
            addr.scale = self.rng.below(4) as u8;
        }
        let stays = inst.op == Op::Lea || !self.rng.chance(self.options.misses);
        if stays && self.rng.chance(85) {
            addr.base = self.b.get(self.options.base);
        } else if stays {
            addr.disp = addr.disp.wrapping_add(self.options.window as i32);
        } else {
            addr.base = self.operand(width);
        }
        if self.rng.chance(5) {
            addr.seg = self.b.iconst(width, 0);
        }
        self.b.addr(addr)
    }

    /// Registers what an instruction defined, and sometimes asks for its projections.
    fn follow_up(&mut self, inst: Inst, value: Value) {
        let effects = inst.op.effects();
        let ty = inst.result_type();
        if inst.op.info().res != Res::No && ty != Type::None && !rules::has_undefined_result(inst.op) {
            self.pool.entry(ty).or_default().push(value);
        }
        if effects.contains(Effects::FLAGS) && self.rng.chance(60) {
            self.project_flags(&inst, value);
        }
        if effects.contains(Effects::SECOND) && self.rng.chance(80) {
            self.push(Op::Second, inst.ty, &[value]);
        }
        let address = inst.addr().filter(|_| inst.op == Op::Load && self.rng.chance(25) && !inst.mem().is_signed());
        if let Some(address) = address {
            // Read, modify and write of the same place, which back ends fuse.
            if inst.ty.is_int() && inst.mem().bytes() == inst.ty.bytes() {
                let other = self.operand(inst.ty);
                let op = self.rng.pick(&[Op::Add, Op::Sub, Op::And, Op::Or, Op::Xor]);
                let result = self.push(op, inst.ty, &[value, other]);
                self.b.store(MemAttr(inst.attr), address as u32, result);
            }
        }
        if matches!(inst.op, Op::X87 | Op::X87Mem | Op::X87Flags | Op::X87Cmov) {
            for reg in self.registers(Type::V64).into_iter().filter(|reg| reg.as_local().is_none()) {
                self.b.forget(reg);
            }
        }
    }

    fn project_flags(&mut self, inst: &Inst, value: Value) {
        let undefined = rules::undefined_flags(inst);
        let old = self.operand(Type::Flags);
        let flags = if self.rng.chance(30) {
            let kept = FlagSet::from_attr(self.rng.bits() as u8 & 63);
            self.b.flags_keep(value, old, undefined | kept)
        } else if undefined.is_empty() {
            self.b.flags(value)
        } else {
            let raw = self.b.flags(value);
            self.b.flags_edit(Op::FlagsClear, raw, undefined)
        };
        self.pool.entry(Type::Flags).or_default().push(flags);
    }
}

/// x87 operations that would make later ones depend on random bytes: loads of the environment and of control words,
/// which may unmask exceptions.
fn leaves_random_ground(kind: X87Op) -> bool {
    matches!(kind, X87Op::LdEnv | X87Op::LdCw | X87Op::Rstor)
}
