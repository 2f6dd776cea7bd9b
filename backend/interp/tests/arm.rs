//! The Arm rules of the floating-point ops against QEMU: the same numbers through the A64 instructions that the ops
//! stand for, results and cumulative exceptions compared. Needs `aarch64-linux-gnu-gcc` and `qemu-aarch64`.

use isamorph_interp::Operation;
use isamorph_interp::random::Rng;
use isamorph_ir::{FpMode, FpRule, Lane, Op, Rounding, Type};
use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Sets of operands for each instruction.
const ROUNDS: usize = 4000;

/// An instruction from q0 (and q1, q2) to q3, and the op that it should be.
struct Row {
    asm: String,
    op: Op,
    ty: Type,
    lane: Lane,
    selector: u8,
    /// Which register is which operand; 3 is a register of zeros.
    operands: [usize; 3],
}

fn row(asm: String, op: Op, lane: Lane, selector: u8, operands: [usize; 3]) -> Row {
    Row { asm, op, ty: Type::V128, lane, selector, operands }
}

const LANES: [(Lane, [&str; 4]); 4] = [
    (Lane::F32, ["v0.4s", "v1.4s", "v2.4s", "v3.4s"]),
    (Lane::F64, ["v0.2d", "v1.2d", "v2.2d", "v3.2d"]),
    (Lane::S32, ["s0", "s1", "s2", "s3"]),
    (Lane::S64, ["d0", "d1", "d2", "d3"]),
];

fn arithmetic(rows: &mut Vec<Row>) {
    let binary = [
        ("fadd", Op::FAdd),
        ("fsub", Op::FSub),
        ("fmul", Op::FMul),
        ("fdiv", Op::FDiv),
        ("fmin", Op::FMin),
        ("fmax", Op::FMax),
        ("fminnm", Op::FMinNum),
        ("fmaxnm", Op::FMaxNum),
    ];
    for (lane, [a, b, c, d]) in LANES {
        for (name, op) in binary {
            rows.push(row(format!("{name} {d}, {a}, {b}"), op, lane, 0, [0, 1, 3]));
        }
        rows.push(row(format!("fsqrt {d}, {a}"), Op::FSqrt, lane, 0, [3, 0, 3]));
        let fused = if lane.is_scalar() {
            format!("fmadd {d}, {a}, {b}, {c}")
        } else {
            format!("mov v3.16b, v2.16b; fmla {d}, {a}, {b}")
        };
        rows.push(row(fused, Op::FMulAdd, lane, 0, [0, 1, 2]));
        if !lane.is_scalar() {
            rows.push(row(format!("faddp {d}, {a}, {b}"), Op::FPairAdd, lane, 0, [0, 1, 3]));
        }
        for (name, predicate, operands) in [("eq", 0, [0, 1, 3]), ("gt", 1, [1, 0, 3]), ("ge", 2, [1, 0, 3])] {
            rows.push(row(format!("fcm{name} {d}, {a}, {b}"), Op::FCmpMask, lane, predicate, operands));
        }
    }
}

fn conversions(rows: &mut Vec<Row>) {
    let roundings = [
        ("n", Rounding::NearestEven),
        ("m", Rounding::Down),
        ("p", Rounding::Up),
        ("z", Rounding::Zero),
        ("a", Rounding::NearestAway),
    ];
    for (lane, [a, _, _, d]) in LANES {
        for (letter, rounding) in roundings {
            let selector = rounding as u8;
            rows.push(row(format!("frint{letter} {d}, {a}"), Op::FRoundInt, lane, selector | 8, [3, 0, 3]));
            rows.push(row(format!("fcvt{letter}s {d}, {a}"), Op::FToIntSatS, lane, selector, [0, 3, 3]));
            rows.push(row(format!("fcvt{letter}u {d}, {a}"), Op::FToIntSatU, lane, selector, [0, 3, 3]));
        }
        if lane.is_scalar() {
            to_general_registers(rows, lane, a, &roundings);
        }
        let current = Rounding::Current as u8;
        rows.push(row(format!("frinti {d}, {a}"), Op::FRoundInt, lane, current | 8, [3, 0, 3]));
        rows.push(row(format!("frintx {d}, {a}"), Op::FRoundInt, lane, current, [3, 0, 3]));
        rows.push(row(format!("scvtf {d}, {a}"), Op::FFromIntS, lane, 0, [0, 3, 3]));
        rows.push(row(format!("ucvtf {d}, {a}"), Op::FFromIntU, lane, 0, [0, 3, 3]));
    }
    for (asm, op, lane, operands) in [
        ("fcvt d3, s0", Op::FCvtLane, Lane::S32, [3, 0, 3]),
        ("fcvt s3, d0", Op::FCvtLane, Lane::S64, [3, 0, 3]),
        ("fcvtl v3.2d, v0.2s", Op::FCvtPacked, Lane::F32, [0, 3, 3]),
        ("fcvtn v3.2s, v0.2d", Op::FCvtPacked, Lane::F64, [0, 3, 3]),
        ("fcvtl v3.4s, v0.4h", Op::FHalfToSingle, Lane::F32, [0, 3, 3]),
        ("fcvtn v3.4h, v0.4s", Op::FSingleToHalf, Lane::F32, [0, 3, 3]),
        ("fcvt s3, h0", Op::FHalfToSingle, Lane::S32, [0, 3, 3]),
        ("fcvt h3, s0", Op::FSingleToHalf, Lane::S32, [0, 3, 3]),
    ] {
        rows.push(row(asm.to_owned(), op, lane, 0, operands));
    }
}

fn to_general_registers(rows: &mut Vec<Row>, lane: Lane, operand: &str, roundings: &[(&str, Rounding)]) {
    for (letter, rounding) in roundings {
        for (ty, general, vector) in [(Type::I32, "w9", "s3"), (Type::I64, "x9", "d3")] {
            for (sign, op) in [("s", Op::FLaneToIntS), ("u", Op::FLaneToIntU)] {
                let asm = format!("fcvt{letter}{sign} {general}, {operand}; fmov {vector}, {general}");
                rows.push(Row { ty, ..row(asm, op, lane, *rounding as u8, [0, 3, 3]) });
            }
        }
    }
}

/// A program that reads records (row, FPCR, three vectors) and writes records (vector, FPSR).
fn program(rows: &[Row]) -> String {
    let mut text = String::from(
        "#include <unistd.h>\n#include <stdint.h>\n\
         struct in { uint64_t row, fpcr; unsigned __int128 q[3]; } i;\n\
         struct out { unsigned __int128 q; uint64_t fpsr, pad; } o;\n\
         #define RUN(insn) asm volatile(\"msr fpcr, %2; msr fpsr, xzr; ldp q0, q1, [%0]; ldr q2, [%0, #32];\" \\\n\
         \"movi v3.16b, #0;\" insn \"; str q3, [%1]; mrs x9, fpsr; str x9, [%1, #16]; msr fpcr, xzr\" \\\n\
         : : \"r\"(i.q), \"r\"(&o), \"r\"(i.fpcr) : \"v0\", \"v1\", \"v2\", \"v3\", \"x9\", \"memory\"); break\n\
         int main(void) { while (read(0, &i, sizeof i) == sizeof i) { switch (i.row) {\n",
    );
    for (number, row) in rows.iter().enumerate() {
        writeln!(text, "case {number}: RUN(\"{}\");", row.asm).expect("strings grow");
    }
    text + "} if (write(1, &o, sizeof o) != sizeof o) return 1; } return 0; }\n"
}

const SINGLES: [u32; 20] = [
    0,
    0x8000_0000,
    1,
    0x807f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0001,
    0x3f00_0000,
    0xbfc0_0000,
    0x4020_0000,
    0x4f00_0000,
    0xcf00_0000,
    0x4f80_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7f80_0001,
    0xffa0_0000,
    0x7fc0_0000,
    0xffc1_2345,
];

/// The special singles, in the format of a lane.
fn operand(lane: Lane, rng: &mut Rng) -> u128 {
    let single = |rng: &mut Rng| match rng.below(4) {
        0 => rng.bits() as u32,
        1 => rng.interesting() as u32,
        _ => rng.pick(&SINGLES),
    };
    let double = |rng: &mut Rng| {
        let bits = single(rng);
        // Fields moved, not converted, so that NaNs and denormals stay what they are.
        let (sign, exponent, fraction) = (bits >> 31, bits >> 23 & 0xff, bits & 0x7f_ffff);
        let exponent = match exponent {
            0 | 1 => exponent,
            0xfe | 0xff => exponent + 0x700,
            _ => exponent + 0x380 + if rng.chance(10) { rng.below(64) as u32 } else { 0 },
        };
        u128::from(sign) << 63 | u128::from(exponent) << 52 | u128::from(fraction) << 29 | u128::from(fraction & 1)
    };
    match (lane.bytes(), rng.below(8)) {
        (_, 0) => u128::from(rng.interesting()) << 64 | u128::from(rng.bits()),
        (8, _) => double(rng) << 64 | double(rng),
        _ => (0..4).fold(0, |bits, _| bits << 32 | u128::from(single(rng))),
    }
}

/// An MXCSR and the FPCR that asks for the same.
fn control(rng: &mut Rng) -> (u32, u64, FpRule) {
    let (rounding, flush, default) = (rng.below(4), rng.chance(25), rng.chance(25));
    let mode = [0, 2, 1, 3][rounding];
    let mxcsr = 0x1f80 | (rounding as u32) << 13 | if flush { 0x8040 } else { 0 };
    let fpcr = mode << 22 | u64::from(flush) << 24 | u64::from(default) << 25;
    (mxcsr, fpcr, if default { FpRule::ArmDefault } else { FpRule::Arm })
}

/// The cumulative exceptions of MXCSR in FPSR's order: invalid, division by zero, overflow, underflow, inexact.
fn cumulative(mxcsr: u32) -> u64 {
    [0, 2, 3, 4, 5].iter().enumerate().map(|(to, from)| u64::from(mxcsr >> from & 1) << to).sum()
}

/// What is compared of two results: A64 clears what is above a scalar.
fn significant(row: &Row) -> u128 {
    let bits = match (row.op, row.lane) {
        _ if row.ty.is_int() => row.ty.bits(),
        (Op::FCvtLane, Lane::S32) => 64,
        (Op::FCvtLane, _) => 32,
        (Op::FSingleToHalf, Lane::S32) => 16,
        (_, lane) if lane.is_scalar() => 8 * lane.bytes(),
        _ => 128,
    };
    u128::MAX >> (128 - bits)
}

/// Flushing, Arm looks for tiny results before rounding and reports only the underflow; and where it does not flush, it
/// still looks before rounding. The host looks after it, so only a result next to the lowest normal number may differ.
fn same_exceptions(ours: u64, theirs: u64, flush: bool) -> bool {
    let compared = if flush { 0b00111 } else { 0b10111 };
    (ours ^ theirs) & compared == 0
}

#[test]
fn arm_rules_agree_with_qemu() {
    let mut rows = Vec::new();
    arithmetic(&mut rows);
    conversions(&mut rows);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, binary) = (folder.join("arm-oracle.c"), folder.join("arm-oracle"));
    std::fs::write(&source, program(&rows)).expect("the folder is writable");
    let compiled =
        Command::new("aarch64-linux-gnu-gcc").args(["-O1", "-static", "-o"]).arg(&binary).arg(&source).status();
    let qemu = Command::new("qemu-aarch64").arg("--version").stdout(Stdio::null()).status();
    if !matches!((&compiled, &qemu), (Ok(a), Ok(b)) if a.success() && b.success()) {
        return println!("skipped: aarch64-linux-gnu-gcc or qemu-aarch64 is not here ({compiled:?}, {qemu:?})");
    }
    isamorph_host::fault::install().expect("handlers can be installed");
    let mut rng = Rng::new(7);
    let cases: Vec<_> = (0..rows.len() * ROUNDS)
        .map(|n| (n % rows.len(), control(&mut rng), [0; 3].map(|_| operand(rows[n % rows.len()].lane, &mut rng))))
        .collect();
    let input: Vec<u8> = cases
        .iter()
        .flat_map(|(number, (_, fpcr, _), q)| {
            let head = [*number as u64, *fpcr].into_iter().flat_map(u64::to_le_bytes);
            head.chain(q.iter().flat_map(|v| v.to_le_bytes())).collect::<Vec<_>>()
        })
        .collect();
    let output = answers(&binary, input);
    assert_eq!(output.len(), 32 * cases.len());
    for ((number, (mxcsr, fpcr, rule), q), answer) in cases.iter().zip(output.chunks(32)) {
        let row = &rows[*number];
        let operand = |at: usize| q.get(at).copied().unwrap_or(0);
        let operation = Operation {
            op: row.op,
            ty: row.ty,
            attr: row.lane as u8,
            imm: FpMode::new(*rule).select(row.selector).0,
            types: [Type::V128; 3],
            values: row.operands.map(operand),
        };
        let mut sticky = *mxcsr;
        let (ours, _) = operation.run(&mut sticky).expect("nothing is unmasked");
        let theirs = u128::from_le_bytes(answer[..16].try_into().expect("sixteen bytes"));
        let fpsr = u64::from_le_bytes(answer[16..24].try_into().expect("eight bytes"));
        let context = || format!("{} on {q:x?}, fpcr {fpcr:x}: {ours:x}, qemu {theirs:x}", row.asm);
        assert_eq!((ours ^ theirs) & significant(row), 0, "{}", context());
        let (flags, flush) = (cumulative(sticky), mxcsr & 0x8000 != 0);
        assert!(same_exceptions(flags, fpsr, flush), "{}: exceptions {flags:b}, qemu {fpsr:b}", context());
    }
}

fn answers(binary: &std::path::Path, input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new("qemu-aarch64")
        .arg(binary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-aarch64 was just there");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&input).expect("the program reads all"));
    let output = child.wait_with_output().expect("it ends").stdout;
    writer.join().expect("the writer does not panic");
    output
}
