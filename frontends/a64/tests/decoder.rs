//! The decoder: against Capstone, as a table, and its speed.

use capstone::arch::{BuildsCapstone, arm64};
use isamorph_a64::coverage::{self, Row};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as u32
    }
}

/// How Capstone may call what a row has, if it is not the row's name up to the first underscore.
fn other_names(row: &Row) -> &'static [&'static str] {
    match row.name {
        "add_sub_imm" | "add_sub_shift" | "add_sub_ext" => {
            &["add", "adds", "sub", "subs", "cmp", "cmn", "mov", "neg", "negs"]
        }
        "add_sub_carry" => &["adc", "adcs", "sbc", "sbcs", "ngc", "ngcs"],
        "cond_cmp_reg" | "cond_cmp_imm" => &["ccmp", "ccmn"],
        "cond_select" => &["csel", "csinc", "csinv", "csneg", "cset", "csetm", "cinc", "cinv", "cneg"],
        "crc32" | "crc32_x" => &["crc32b", "crc32h", "crc32w", "crc32x", "crc32cb", "crc32ch", "crc32cw", "crc32cx"],
        "mul_add" => &["madd", "msub", "mul", "mneg"],
        "mul_add_long" => &["smaddl", "smsubl", "umaddl", "umsubl", "smull", "smnegl", "umull", "umnegl"],
        "mul_high" => &["smulh", "umulh"],
        "logical_imm" => &["and", "ands", "orr", "eor", "tst", "mov"],
        "logical_shift" => &["and", "ands", "orr", "eor", "bic", "bics", "orn", "eon", "tst", "mov", "mvn"],
        "movn" | "movz" => &["mov", "movn", "movz"],
        "sbfm" => &["sbfm", "asr", "sbfx", "sbfiz", "sxtb", "sxth", "sxtw"],
        "ubfm" => &["ubfm", "lsr", "lsl", "ubfx", "ubfiz", "uxtb", "uxth"],
        "bfm" => &["bfm", "bfi", "bfxil", "bfc"],
        "extr" => &["extr", "ror"],
        "lslv" => &["lsl", "lslv"],
        "lsrv" => &["lsr", "lsrv"],
        "asrv" => &["asr", "asrv"],
        "rorv" => &["ror", "rorv"],
        "rev_w" | "rev_x" => &["rev", "rev64"],
        "b_cond" => &[
            "b.eq", "b.ne", "b.hs", "b.lo", "b.mi", "b.pl", "b.vs", "b.vc", "b.hi", "b.ls", "b.ge", "b.lt", "b.gt",
            "b.le", "b.al", "b.nv",
        ],
        "hint" => &[],
        "dsb" => &["dsb", "ssbb", "pssbb", "dfb"],
        "clrex" | "dmb" | "isb" | "sb" => &[],
        _ => &[],
    }
}

/// Whether a name is one that the row may have.
fn is_name_of(row: &Row, found: &str) -> bool {
    let stem = row.name.split('_').next().unwrap_or_default();
    match row.name {
        "hint" => true,
        "ld_op" => found.starts_with("ld") || found.starts_with("st"),
        _ if !other_names(row).is_empty() => other_names(row).contains(&found),
        // Size and ordering are part of the name there: ldaddalb, casph, ldursw, prfm.
        _ if matches!(row.module, "memory" | "ordered") => found.starts_with(&stem[..stem.len().min(2)]),
        "msr_ssbs" | "msr_dit" => found == "msr",
        "sys" => matches!(found, "sys" | "dc" | "ic" | "at" | "tlbi" | "cfp" | "dvp" | "cpp" | "cosp"),
        _ => found == stem,
    }
}

/// Instructions in which Capstone does not insist on bits that should be ones.
const LAX: &[&str] = &[
    "smulh", "umulh", "stxr", "stxrb", "stxrh", "stlxr", "stlxrb", "stlxrh", "ldxp", "ldaxp", "ldxr", "ldxrb", "ldxrh",
    "ldaxr", "ldaxrb", "ldaxrh", "stlr", "stlrb", "stlrh", "ldar", "ldarb", "ldarh", "ldapr", "ldaprb", "ldaprh",
];

/// Random words that no row has are not instructions.
#[test]
fn nothing_is_left_out() {
    let engine = capstone::Capstone::new().arm64().mode(arm64::ArchMode::Arm).build().expect("Capstone starts");
    let mut r = Random(2);
    let mut names = std::collections::BTreeMap::new();
    for _ in 0..400_000 {
        // The groups of integers and control: bits 28 to 25 are 100x, 101x, x101, x1x0 without the vector bit.
        let word = r.next() & !(1 << 26);
        if word >> 25 & 15 < 4 || coverage::row_of(word).is_some() {
            continue;
        }
        let Ok(insns) = engine.disasm_count(&word.to_le_bytes(), 0x1000, 1) else { continue };
        if let Some(name) = insns.first().and_then(|insn| insn.mnemonic()) {
            names.entry(name.to_owned()).or_insert(word);
        }
    }
    names.retain(|name, _| !LAX.contains(&name.as_str()));
    assert!(names.is_empty(), "{names:x?}");
}

/// Random words of the rows of integers and control are called what the rows are called.
#[test]
fn rows_have_the_names_that_capstone_gives() {
    let engine = capstone::Capstone::new().arm64().mode(arm64::ArchMode::Arm).build().expect("Capstone starts");
    let name_of = |word: u32| {
        let insns = engine.disasm_count(&word.to_le_bytes(), 0x1000, 1).ok()?;
        Some(insns.first()?.mnemonic()?.to_owned())
    };
    let mut r = Random(1);
    let mut wrong = Vec::new();
    let modules = ["arith", "logic", "memory", "ordered", "branch", "system"];
    for row in coverage::rows().iter().filter(|row| row.implemented() && modules.contains(&row.module)) {
        let words: Vec<u32> = (0..200).filter_map(|_| row.random(|| r.next())).collect();
        let own = words.iter().filter(|word| coverage::row_of(**word).is_some_and(|found| found.name == row.name));
        let names: Vec<String> = own.filter_map(|word| name_of(*word)).collect();
        let strange = names.iter().find(|name| !is_name_of(row, name));
        if let Some(name) = strange {
            wrong.push(format!("{}: {name}", row.name));
        }
        if names.is_empty() && !matches!(row.name, "setf8" | "setf16" | "rmif" | "wait_timeout") {
            wrong.push(format!("{}: unknown", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is decoded but not lifted, by extension. A row that comes to be lifted leaves the list.
#[test]
fn what_is_not_lifted_is_known() {
    let refused: Vec<&Row> = coverage::rows().iter().filter(|row| !row.implemented()).collect();
    let lifted = coverage::rows().len() - refused.len();
    println!("{lifted} of {} encodings are lifted; the others:", coverage::rows().len());
    for row in &refused {
        println!("{}: {}", row.name, row.refused.unwrap_or_default());
    }
    let known = ["FEAT_", "half-precision complex", "EL1 and above", "halting debug"];
    let unexplained = refused.iter().find(|row| !known.iter().any(|k| row.refused.is_some_and(|r| r.starts_with(k))));
    assert!(unexplained.is_none(), "{unexplained:?}");
}
