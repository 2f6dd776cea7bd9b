//! Integer instructions, loads, stores and branches against `qemu-aarch64`.

mod lockstep;

use isamorph_a64::coverage::{Row, row_of, rows};
use lockstep::{ALIGNING, DATA, MAX, Random, compare, compare_rows, random_case, rounds};

fn field(row: &Row, name: &str, word: u32) -> Option<u32> {
    row.field(name).map(|f| f.get(word))
}

#[test]
fn arithmetic_and_logic_agree() {
    compare_rows(|row| matches!(row.module, "arith" | "logic"), |_, _| true, MAX, false);
}

/// What the manual leaves open is left out: a base that moves and is loaded or stored; two results in one register.
fn is_predictable(row: &Row, word: u32) -> bool {
    let get = |name| field(row, name, word);
    let (rn, rt, rt2, rs) = (get("rn"), get("rt"), get("rt2"), get("rs"));
    let moves = matches!(get("mode"), Some(1 | 3)) && rn != Some(31);
    let clash = moves && (rn == rt || (rt2.is_some() && rn == rt2));
    let twice = rt2.is_some() && rt == rt2 && !row.name.starts_with("st");
    let status = row.name.starts_with("stx") && (rs == rn || rs == rt || rs == rt2);
    !clash && !twice && !status
}

#[test]
fn loads_and_stores_agree() {
    // A literal is where nothing is.
    let wanted = |row: &Row| row.module == "memory";
    compare_rows(wanted, is_predictable, MAX, false);
}

#[test]
fn ordered_accesses_agree() {
    compare_rows(|row| row.module == "ordered" && !row.name.starts_with("stx"), is_predictable, MAX, false);
    // Without FEAT_LSE2 misalignment is an exception there as it is here.
    let old = |row: &Row| matches!(row.name, "ldxr" | "ldxp" | "ldar" | "stlr");
    compare_rows(old, is_predictable, ALIGNING, false);
}

/// A load and a store exclusive, with instructions between them that may or may not spoil it.
#[test]
fn exclusive_pairs_agree() {
    let mut r = Random(3);
    let mut cases = Vec::new();
    for _ in 0..20 * rounds() {
        let (size, pair, rn) = (r.below(4) as u32, r.below(2) as u32, 5);
        let (size, rt2) = if pair == 1 { (size | 2, 3) } else { (size, 31) };
        let form = size << 30 | 0x0800_0000 | pair << 21 | (r.below(2) as u32) << 15 | rt2 << 10 | rn << 5;
        let load = form | 1 << 22 | 31 << 16 | 2;
        let store = form | 7 << 16 | r.below(4) as u32;
        let between = match r.below(6) {
            0 => 0xd503_3f5f, // clrex
            1 => 0x9100_80a5, // add x5, x5, #32
            2 => 0xf900_00a6, // str x6, [x5]
            3 => 0xc85f_7cc8, // ldxr x8, [x6]
            _ => 0xd503_201f, // nop
        };
        let mut case = random_case(&mut r, &[load, between, store, load, store], false);
        case.x[5] = DATA + 0xe00 + 16 * r.below(8);
        case.x[6] = DATA + 0xe00 + 16 * r.below(8);
        cases.push(("pair", case));
    }
    compare(ALIGNING, &cases);
}

/// Several instructions in a region see each other's results.
#[test]
fn sequences_agree() {
    let mut r = Random(2);
    let rows: Vec<&Row> = rows().iter().filter(|row| matches!(row.module, "arith" | "logic" | "memory")).collect();
    let mut cases = Vec::new();
    for _ in 0..100 * rounds() {
        let mut code = Vec::new();
        while code.len() < 6 {
            let row = rows[r.below(rows.len() as u64) as usize];
            // Few registers, so that there is something to see.
            let mut bits = || r.next() as u32 & 0xffe7_7ce7;
            let Some(word) = row.random(&mut bits).filter(|_| row.implemented()) else { continue };
            if is_predictable(row, word) && row_of(word).is_some_and(|found| found.name == row.name) {
                code.push(word);
            }
        }
        cases.push(("sequence", random_case(&mut r, &code, false)));
    }
    compare(MAX, &cases);
}

#[test]
fn branches_agree() {
    // Not those that loop for ever, call the kernel, or synchronise.
    let offset = |row: &Row, word| ["imm26", "imm19", "imm14"].iter().find_map(|name| field(row, name, word));
    let usable = |row: &Row, word: u32| row.name != "svc" && offset(row, word) != Some(0);
    compare_rows(|row| row.module == "branch", usable, MAX, false);
}

/// Instructions on flags, and system registers that have the same value everywhere.
#[test]
fn system_instructions_agree() {
    const WORDS: [u32; 12] = [
        0xd500_401f, // cfinv
        0xd500_403f, // xaflag
        0xd500_405f, // axflag
        0xd53b_4203, // mrs x3, nzcv
        0xd51b_4203, // msr nzcv, x3
        0xd53b_4403, // mrs x3, fpcr
        0xd51b_4403, // msr fpcr, x3
        0xd53b_4423, // mrs x3, fpsr
        0xd51b_4423, // msr fpsr, x3
        0xd51b_d043, // msr tpidr_el0, x3
        0xd503_415f, // msr dit, #1
        0xd53b_42a4, // mrs x4, dit
    ];
    let mut r = Random(4);
    let mut cases = Vec::new();
    for _ in 0..30 * rounds() {
        let code: [u32; 3] = std::array::from_fn(|_| WORDS[r.below(12) as usize]);
        let mut case = random_case(&mut r, &code, true);
        // Only bits that every processor has; so nothing that was read may be written to a status register.
        let has = |word: u32| code.contains(&word);
        case.x[3] = match (has(0xd51b_4403), has(0xd51b_4423)) {
            (true, true) => 0,
            (true, false) => r.next() & 0x07c8_0000,
            (false, true) => r.next() & 0x0800_009f,
            (false, false) => r.next() & 0xf000_0000,
        };
        let stale = |word: &u32| [0xd53b_4203, 0xd53b_4403, 0xd53b_4423].contains(word);
        if code.iter().any(stale) && (has(0xd51b_4403) || has(0xd51b_4423)) {
            continue;
        }
        cases.push(("system", case));
    }
    compare(MAX, &cases);
}

/// The emulator's largest processor clears larger blocks.
#[test]
fn clearing_a_block_agrees() {
    let mut r = Random(5);
    // mrs x4, dczid_el0; dc zva, x3
    let case = |r: &mut Random| random_case(r, &[0xd53b_00e4, 0xd50b_7423], false);
    let cases: Vec<_> = (0..rounds()).map(|_| ("dc zva", case(&mut r))).collect();
    compare(ALIGNING, &cases);
}
