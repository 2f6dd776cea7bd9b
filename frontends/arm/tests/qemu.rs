//! Random instructions of every row of the tables, in lockstep with `qemu-arm`.

mod lockstep;

use isamorph_arm::coverage::{self, Field, Row};
use isamorph_arm::state;
use lockstep::{After, Case, DATA, Registers, emulate, guest, harness, interpret};
use std::collections::BTreeMap;

/// Instructions per row.
const PER_ROW: usize = 60;

/// A small random number generator (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn word(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }
    fn below(&mut self, n: u32) -> u32 {
        self.word() % n
    }
    fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
    /// Numbers at which arithmetic changes its behaviour are more likely.
    fn operand(&mut self) -> u32 {
        const EDGES: [u32; 10] = [0, 1, 2, 31, 32, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fff_8000, 0x0080_ff7f];
        match self.below(4) {
            0 => EDGES[self.below(10) as usize],
            1 => self.below(300),
            _ => self.word(),
        }
    }
    /// Likewise for floating point.
    fn float(&mut self) -> u64 {
        const SINGLES: [u32; 14] = [
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbf80_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            0x7fa0_0001,
            0x0000_0001,
            0x0080_0000,
            0x7f7f_ffff,
            0x4f00_0000,
            0xcf00_0000,
            0x3f00_0000,
        ];
        let single = |random: &mut Random| match random.below(3) {
            0 => SINGLES[random.below(14) as usize],
            1 => (random.below(64) + 96) << 23 | random.word() & 0x807f_ffff,
            _ => random.word(),
        };
        match self.below(4) {
            0 => f64::from(f32::from_bits(single(self))).to_bits(),
            1 => u64::from(self.below(128) + 960) << 52 | self.next() & 0x800f_ffff_ffff_ffff,
            _ => u64::from(single(self)) << 32 | u64::from(single(self)),
        }
    }
    fn registers(&mut self) -> Registers {
        Registers {
            r: std::array::from_fn(|_| self.operand()),
            cpsr: self.word() & 0xf80f_0000 | 0x10,
            fpscr: 0,
            d: std::array::from_fn(|_| self.float()),
        }
    }
}

/// Fields that name integer registers.
const REGISTERS: [&str; 10] = ["rn", "rd", "rm", "rt", "rs", "ra", "hi", "lo", "rt2", "rdm"];

/// A random instruction of a row: registers that are R13 or R15 are rare, because most uses are unpredictable.
fn instruction(random: &mut Random, table: &str, row: &Row) -> Option<u32> {
    for _ in 0..50 {
        let mut word = row.random(|| random.word())?;
        for field in row.fields.iter().filter(|f| REGISTERS.contains(&f.name) && f.width() == 4) {
            if matches!(field.get(word), 13 | 15) && !random.chance(5) {
                word &= !field.mask();
            }
        }
        if matches!(table, "a32" | "coproc") {
            let cond = if random.chance(70) { 14 } else { random.below(14) };
            word = word & 0x0fff_ffff | cond << 28;
        }
        if row.matches(word) && is_predictable(row, word) {
            return Some(word);
        }
    }
    None
}

/// Whether the manual says what the instruction does.
fn is_predictable(row: &Row, word: u32) -> bool {
    let field = |name: &str| row.field(name).map(|f| f.get(word));
    if row.module.starts_with("neon") || row.module == "vfp8" {
        let rn = field("rn");
        return rn.is_none() || rn < Some(13) && rn != field("rm");
    }
    // Two results in one register, and an address that is also the data.
    let same = |a: &str, b: &str| field(a).is_some() && field(a) == field(b);
    let results = same("hi", "lo") || same("rt", "rt2") || same("rd", "rt");
    !results && !misuses_registers(row, word) && !is_unpredictable(row, word) && accesses_well(row, word)
}

/// Loads and stores whose registers get in each other's way.
fn accesses_well(row: &Row, word: u32) -> bool {
    let field = |name: &str| row.field(name).map(|f| f.get(word));
    let memory = row.module.ends_with("_mem") || row.name.starts_with("vldm") || row.name.starts_with("vldr");
    if !memory {
        return true;
    }
    let (rn, rt, rm, rt2, rd) = (field("rn"), field("rt"), field("rm"), field("rt2"), field("rd"));
    let same = |a: Option<u32>, b: Option<u32>| a.is_some() && a == b;
    let next = rt.map(|r| r + 1);
    if row.name.starts_with("extra") {
        let doubled = word & 1 << 20 == 0 && word >> 5 & 3 != 1;
        if doubled && (rt.is_some_and(|r| r & 1 != 0 || r == 14) || word >> 21 & 9 == 1) {
            return false;
        }
        if same(rn, next) || same(rm, rt) || same(rm, next) {
            return false;
        }
    }
    let clash = same(rn, rt) || same(rn, rt2) || same(rn, rm) || same(rn, rd) || same(rm, rt2) || same(rt2, rd);
    !clash && !matches!(rm, Some(13 | 15))
}

/// R13, R15 and lists of registers where they may not be.
fn misuses_registers(row: &Row, word: u32) -> bool {
    let field = |name: &str| row.field(name).map(|f| f.get(word));
    let wide_registers = row.field("rn").is_some_and(|f| f.width() == 4) || row.name.starts_with("block");
    let list = field("list").unwrap_or(1);
    let rn_in_list = field("rn").is_some_and(|r| list >> r & 1 != 0);
    let bad_list = list == 0 || wide_registers && (rn_in_list || list & 0xa000 != 0);
    let any = |number| {
        let is = |f: &Field| f.width() == 4 && f.get(word) == number;
        REGISTERS.iter().any(|name| row.field(name).is_some_and(is))
    };
    let may_have_15 = ["data_imm", "data_reg", "extend", "ldst_imm", "ldr_lit", "mla", "vmrs"];
    let bad_pc = any(15) && !may_have_15.iter().any(|name| row.name.starts_with(name));
    bad_list || bad_pc || row.module.starts_with("t32") && any(13)
}

/// Other combinations of fields without a meaning, and what the harness cannot stand.
fn is_unpredictable(row: &Row, word: u32) -> bool {
    let field = |name: &str| row.field(name).map(|f| f.get(word));
    let bit = |n: u32| word >> n & 1 != 0;
    match row.name {
        "bit_extract" => field("lsb") > field("widthm1").map(|w| 31 - w),
        "bit_insert" => field("lsb") > field("msb"),
        // Fields that should be zero.
        "data_reg" | "data_imm" | "data_shift_reg" if row.module == "a32_data" => {
            bit(24) && !bit(23) && field("rd") != Some(0) || word >> 21 & 13 == 13 && field("rn") != Some(0)
        }
        "data_reg" | "data_imm" if row.module == "t32_data" => {
            field("rd") == Some(15) && !(bit(20) && matches!(field("op"), Some(0 | 4 | 8 | 13)))
        }
        "vcvt_fixed" => field("imm").is_some_and(|i| i >> 4 | (i & 15) << 1 > if bit(7) { 32 } else { 16 }),
        "vmov_pair" => field("vm") == Some(15) && bit(5),
        // Other encodings.
        "ldst_imm12" | "ldst_imm8" | "ldst_reg" if row.module == "t32_mem" => bit(24) && !bit(20),
        // The harness itself would go on in the other byte order.
        "msr_imm" => field("mask").is_some_and(|m| m & 2 != 0 || m == 0),
        "msr" | "msr_reg" => field("mask") == Some(0),
        "setend" => true,
        "saturate" if row.module == "t32_data" => bit(21) && field("imm5") == Some(0),
        "mla" if row.module == "t32_data" => field("rd") == Some(15),
        "strex" | "stlex" if row.module == "a32_mem" => field("rd") == field("rt").map(|rt| rt + 1),
        // Linux takes some for breakpoints.
        "udf" => true,
        // Depends on the C library.
        "mrc_thread" => field("op2") == Some(3),
        _ => false,
    }
}

fn encode(thumb: bool, wide: bool, word: u32) -> Vec<u8> {
    match (thumb, wide) {
        (true, false) => (word as u16).to_le_bytes().to_vec(),
        (true, true) => [(word >> 16) as u16, word as u16].iter().flat_map(|h| h.to_le_bytes()).collect(),
        _ => word.to_le_bytes().to_vec(),
    }
}

fn case(random: &mut Random, table: &str, row: &Row, thumb: bool) -> Option<Case> {
    let word = instruction(random, table, row)?;
    let word = if thumb && table == "coproc" { word & 0x0fff_ffff | 0xe000_0000 } else { word };
    let word = match (thumb && table == "neon", row.module) {
        (true, "vfp8") => word,
        (true, "neon") => 0xef00_0000 | word << 4 & 1 << 28 | word & 0x00ff_ffff,
        (true, _) => 0xf900_0000 | word & 0x00ff_ffff,
        _ => word,
    };
    let mut code = encode(thumb, table != "t16", word);
    let mut insns = 1;
    let changes_state = matches!(row.name, "it" | "cbz" | "setend") || row.name.starts_with("b");
    if thumb && !changes_state && random.chance(30) {
        let it = 0xbf08 | random.below(14) << 4;
        code = [&(it as u16).to_le_bytes()[..], &code].concat();
        insns = 2;
    }
    if row.name == "it" {
        if word >> 4 & 15 > 13 {
            return None;
        }
        // MOV, ADD, EOR, ASR by a register.
        for base in [0x2000, 0x1c40, 0x4040, 0x4100] {
            code.extend((base | random.word() as u16 & 0x3f).to_le_bytes());
        }
        insns = 5;
    }
    let mut before = random.registers();
    if table != "t16" && (row.module == "vfp" || row.module.starts_with("neon")) && random.chance(30) {
        before.fpscr =
            random.word() & 0x04c0_0000 | if random.chance(50) { 1 << 24 } else { 0 } | random.word() & 0xf000_001f;
    }
    point_to_memory(random, row, word, &mut before);
    if let ("msr" | "msr_reg", Some(rn)) = (row.name, row.field("rn")) {
        // The harness itself would go on in the other byte order.
        before.r[rn.get(word) as usize % 15] &= !state::cpsr_bits::E;
    }
    let detail = ["opc", "group", "kind", "cmode"].iter().filter_map(|name| Some((name, row.field(name)?.get(word))));
    let detail: String =
        if table == "neon" { detail.map(|(name, value)| format!(" {name} {value}")).collect() } else { String::new() };
    Some(Case { name: format!("{table} {}{detail}", row.name), thumb, code, insns, before })
}

/// Makes base registers point into the data, and indexes small.
fn point_to_memory(random: &mut Random, row: &Row, word: u32, before: &mut Registers) {
    let loads =
        row.module.ends_with("_mem") || row.module == "t16" || matches!(row.name, "vldm" | "vldm_down" | "vldr");
    if !loads {
        return;
    }
    let middle = |random: &mut Random| DATA + 0x2000 + 16 * random.below(8);
    before.r[13] = middle(random);
    if let Some(rm) = row.field("rm").map(|f| f.get(word)).filter(|r| *r < 15) {
        before.r[rm as usize] = random.below(64) * 4;
    }
    if let Some(rn) = row.field("rn").map(|f| f.get(word)).filter(|r| *r < 15) {
        before.r[rn as usize] = middle(random);
        if (row.name.starts_with("ldst") || row.name.starts_with("extra")) && random.chance(20) {
            before.r[rn as usize] += random.below(4);
        }
    }
}

/// Runs cases on both sides and reports the first differences of each row.
fn compare(cases: Vec<Case>, at_least: usize) {
    let Some(harness) = harness() else { return };
    let guest = guest();
    let (mut kept, mut ours) = (Vec::new(), Vec::new());
    for case in cases {
        if let Some(after) = interpret(&guest, &case) {
            kept.push(case);
            ours.push(after);
        }
    }
    let theirs = emulate(harness, &kept);
    let mut failed: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for ((case, ours), theirs) in kept.iter().zip(&ours).zip(&theirs) {
        let Some(theirs) = theirs else { continue };
        // Whether an undefined instruction whose condition does not hold is undefined, is the processor's choice.
        let undefined = ours.registers.is_none() != theirs.registers.is_none();
        if undefined && (case.insns == 2 || !case.thumb && case.code[3] >> 4 < 14) {
            continue;
        }
        // Half precision and the hash instructions of Armv8, named where the lifter refuses them.
        if case.name.starts_with("neon") && ours.registers.is_none() {
            continue;
        }
        *counts.entry(case.name.clone()).or_default() += 1;
        let (ours, theirs) = (comparable(case, ours), comparable(case, theirs));
        if ours != theirs {
            let entry = failed.entry(case.name.clone()).or_insert_with(|| (0, describe(case, &ours, &theirs)));
            entry.0 += 1;
        }
    }
    let report: Vec<String> =
        failed.iter().map(|(n, (count, text))| format!("{n}: {count} of {}\n{text}", counts[n])).collect();
    assert!(failed.is_empty(), "{} rows differ\n{}", failed.len(), report.join("\n"));
    assert!(kept.len() >= at_least, "only {} cases were compared", kept.len());
}

/// The host does not tell that it flushed a denormal operand, and calls a flushed result inexact as well.
fn comparable(case: &Case, after: &After) -> After {
    const UNDERFLOW: u32 = 1 << 3;
    const INEXACT: u32 = 1 << 4;
    let mut after = after.clone();
    if let Some(registers) = &mut after.registers {
        registers.fpscr &= !state::fpscr_bits::IDC;
        // Advanced SIMD always flushes.
        let flushes = case.name.starts_with("neon") || registers.fpscr & state::fpscr_bits::FZ != 0;
        if flushes && registers.fpscr & UNDERFLOW != 0 {
            registers.fpscr &= !INEXACT;
        }
    }
    after
}

fn describe(case: &Case, ours: &After, theirs: &After) -> String {
    let mut text = String::new();
    let skip = if case.insns == 2 { 2 } else { 0 };
    isamorph_guest::Guest::disassemble(&guest(), u64::from(case.thumb), 0, &case.code[skip..], &mut text);
    let mut out = format!("  {text}   {:02x?}\n", case.code);
    let (Some(a), Some(b)) = (&ours.registers, &theirs.registers) else {
        return format!("{out}  defined: ours {} theirs {}\n", ours.registers.is_some(), theirs.registers.is_some());
    };
    for i in (0..15).filter(|i| a.r[*i] != b.r[*i]) {
        out += &format!("  r{i}: {:#x} should be {:#x}\n", a.r[i], b.r[i]);
    }
    for i in (0..32).filter(|i| a.d[*i] != b.d[*i]) {
        out += &format!("  d{i}: {:#x} should be {:#x}\n", a.d[i], b.d[i]);
    }
    if (a.cpsr, a.fpscr) != (b.cpsr, b.fpscr) {
        out +=
            &format!("  cpsr {:#x} should be {:#x}, fpscr {:#x} should be {:#x}\n", a.cpsr, b.cpsr, a.fpscr, b.fpscr);
    }
    if ours.changes != theirs.changes {
        out += &format!("  memory {:x?} should be {:x?}\n", ours.changes, theirs.changes);
    }
    format!("{out}  before: {:x?} cpsr {:#x} fpscr {:#x}\n", case.before.r, case.before.cpsr, case.before.fpscr)
}

fn table(name: &str, thumb: bool, seed: u64) {
    let rows = coverage::tables().iter().find(|(table, _)| *table == name).expect("there is such a table").1;
    let mut random = Random(seed);
    let scale = std::env::var("ISAMORPH_LOCKSTEP").ok().and_then(|n| n.parse().ok()).unwrap_or(PER_ROW);
    // A row of Advanced SIMD is many instructions.
    let scale = if name == "neon" { 20 * scale } else { scale };
    let mut cases = Vec::new();
    for row in rows.iter().filter(|row| row.implemented()) {
        cases.extend((0..scale).filter_map(|_| case(&mut random, name, row, thumb)));
    }
    compare(cases, 500);
}

#[test]
fn a32() {
    table("a32", false, 0x1234_5678_9abc_def1);
}

#[test]
fn t16() {
    table("t16", true, 0x1234_5678_9abc_def2);
}

#[test]
fn t32() {
    table("t32", true, 0x1234_5678_9abc_def3);
}

#[test]
fn coproc_a32() {
    table("coproc", false, 0x1234_5678_9abc_def4);
}

#[test]
fn coproc_t32() {
    table("coproc", true, 0x1234_5678_9abc_def5);
}

#[test]
fn neon_a32() {
    table("neon", false, 0x1234_5678_9abc_def6);
}

#[test]
fn neon_t32() {
    table("neon", true, 0x1234_5678_9abc_def7);
}

/// Instructions that show what they do only one after the other.
#[test]
fn sequences() {
    let a32: [&[u32]; 8] = [
        // ldrex r1, [r0]; strex r2, r3, [r0]; strex r4, r3, [r0]
        &[0xe190_1f9f, 0xe180_2f93, 0xe180_4f93],
        // ldrexd r2, r3, [r0]; strexd r1, r4, r5, [r0]
        &[0xe1b0_2f9f, 0xe1a0_1f94],
        // ldrexb r2, [r0]; clrex; strexb r1, r4, [r0]
        &[0xe1d0_2f9f, 0xf57f_f01f, 0xe1c0_1f94],
        // ldrexh r2, [r0]; strexh r1, r4, [r0]
        &[0xe1f0_2f9f, 0xe1e0_1f94],
        // setend be; ldr r1, [r0]; ldrd r2, r3, [r0, #8]; setend le
        &[0xf101_0200, 0xe590_1000, 0xe1c0_20d8, 0xf101_0000],
        // setend be; strh r1, [r0]; strd r2, r3, [r0, #8]; setend le
        &[0xf101_0200, 0xe1c0_10b0, 0xe1c0_20f8, 0xf101_0000],
        // vcmp.f64 d0, d1; vmrs apsr_nzcv, fpscr; movgt r1, #1; strls r1, [r0]
        &[0xeeb4_0b41, 0xeef1_fa10, 0xc3a0_1001, 0x9580_1000],
        // cmp r1, r2; ldrne r3, [r0]; cmpne r3, r4; addhi r5, r5, r6
        &[0xe151_0002, 0x1590_3000, 0x1153_0004, 0x8085_5006],
    ];
    let mut random = Random(0x1234_5678_9abc_def8);
    let mut cases = Vec::new();
    for (index, words) in a32.iter().enumerate() {
        for _ in 0..50 {
            let mut before = random.registers();
            before.r[0] = DATA + 0x2000;
            let code = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let name = format!("sequence {index}");
            cases.push(Case { name, thumb: false, code, insns: words.len() as u32, before });
        }
    }
    compare(cases, 400);
}
