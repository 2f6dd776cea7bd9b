//! Runs `tests/filetests/*.isa`: small regions in the text form with what is expected of them.
//!
//! A file is a list of cases. A case is a line `test KIND`, the region (`region` and `block 0` may be left out), and
//! for some kinds lines `given …` before and `expect …` after it; `;` starts a comment.
//!
//! * `test print` is a region in canonical form: printing what was parsed gives the same text.
//! * `test parse` and `test verify` expect the error of the parser or the verifier.
//! * `test opt` expects what the optimiser makes of the region. What has no users stays: back ends drop it.
//! * `test interpret` runs the region on the made-up guest of `isamorph_ir::testing` and expects how it was left and
//!   which registers and memory it changed. `given r0=5 flags=cz st0=0x3fff8000000000000000` sets registers,
//!   `given memory 0x1000: 01 02` maps memory; everything else is zero, or not mapped.
//!
//! With `BLESS=1` in the environment the expectations are rewritten to what happened.

use isamorph_interp::{Outcome, run};
use isamorph_ir::testing::{Bytes, FXSAVE, HELPERS, TABLE};
use isamorph_ir::text::{parse, print};
use isamorph_ir::{CpuState, FlagSet, MemFault, Op, Pin, RegId, Region, Trap, Type, verify};
use isamorph_opt::Optimizer;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, String>;

/// What a case tests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Print,
    Parse,
    Verify,
    Opt,
    Interpret,
}

impl Kind {
    const NAMES: [(&'static str, Kind); 5] = [
        ("print", Kind::Print),
        ("parse", Kind::Parse),
        ("verify", Kind::Verify),
        ("opt", Kind::Opt),
        ("interpret", Kind::Interpret),
    ];
}

/// One case: its lines by what they are.
struct Case {
    line: usize,
    kind: Kind,
    given: Vec<String>,
    body: Vec<String>,
    expect: Vec<String>,
    /// Comments and blank lines after the expectations.
    tail: Vec<String>,
}

/// The cases of a file, and the lines before the first.
fn read_cases(text: &str) -> Result<(Vec<String>, Vec<Case>)> {
    let (mut head, mut cases) = (Vec::new(), Vec::<Case>::new());
    for (number, line) in text.lines().enumerate() {
        let owned = line.to_owned();
        if let Some(name) = line.strip_prefix("test ") {
            let known = Kind::NAMES.iter().find(|(text, _)| *text == name.trim());
            let kind = known.ok_or_else(|| format!("line {}: no kind of test `{name}`", number + 1))?.1;
            let (given, body, expect, tail) = Default::default();
            cases.push(Case { line: number + 1, kind, given, body, expect, tail });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            head.push(owned);
            continue;
        };
        if line.starts_with("given ") {
            case.given.push(owned);
        } else if line.starts_with("expect ") {
            case.expect.push(owned);
        } else if case.expect.is_empty() && !line.trim().is_empty() {
            case.body.push(owned);
        } else {
            case.tail.push(owned);
        }
    }
    Ok((head, cases))
}

fn write_cases(head: &[String], cases: &[Case]) -> String {
    let mut lines = head.to_vec();
    for case in cases {
        let kind = Kind::NAMES.iter().find(|(_, kind)| *kind == case.kind).map_or("", |(name, _)| name);
        lines.push(format!("test {kind}"));
        for part in [&case.given, &case.body, &case.expect, &case.tail] {
            lines.extend(part.iter().cloned());
        }
    }
    lines.join("\n") + "\n"
}

impl Case {
    fn region(&self) -> Result<Region> {
        parse(&self.body.join("\n"), &TABLE, HELPERS).map_err(|error| error.to_string())
    }

    fn valid_region(&self) -> Result<Region> {
        let region = self.region()?;
        verify::verify(&region, &TABLE, HELPERS).map_err(|error| error.to_string())?;
        Ok(region)
    }

    /// The case as it would be if it were right: body and expectations.
    fn actual(&self) -> Result<(Vec<String>, Vec<String>)> {
        let expect = match self.kind {
            Kind::Print => {
                let text = print(&self.valid_region()?, &TABLE, HELPERS);
                return Ok((text.lines().map(str::to_owned).collect(), Vec::new()));
            }
            Kind::Parse => vec![format!("expect {}", self.region().err().ok_or("it can be parsed")?)],
            Kind::Verify => {
                let error = verify::verify(&self.region()?, &TABLE, HELPERS).err();
                vec![format!("expect {}", error.ok_or("the region is valid")?)]
            }
            Kind::Opt => self.optimise()?,
            Kind::Interpret => self.interpret()?,
        };
        Ok((self.body.clone(), expect))
    }

    fn optimise(&self) -> Result<Vec<String>> {
        let mut region = self.valid_region()?;
        Optimizer::default().run(&mut region, &TABLE);
        verify::verify(&region, &TABLE, HELPERS).map_err(|error| format!("optimised: {error}"))?;
        Ok(print(&region, &TABLE, HELPERS).lines().map(|line| format!("expect {line}")).collect())
    }

    fn interpret(&self) -> Result<Vec<String>> {
        let region = self.valid_region()?;
        let (mut state, memory) = (initial_state(), Bytes::default());
        for line in &self.given {
            let line = line["given ".len()..].split(';').next().unwrap_or_default().trim();
            match line.strip_prefix("memory ") {
                Some(bytes) => map(&memory, bytes)?,
                None => line.split_whitespace().try_for_each(|item| give(&mut state, item))?,
            }
        }
        let (registers, before) = (snapshot(&state), memory.clone());
        let outcome = run(&region, &TABLE, HELPERS, &mut state, &memory);
        let mut expect = vec![format!("expect {}", describe(&outcome))];
        let changed: Vec<_> = snapshot(&state)
            .into_iter()
            .zip(registers)
            .filter(|(now, old)| now != old)
            .map(|(now, _)| format!("{}={}", now.0, now.1))
            .collect();
        if !changed.is_empty() {
            expect.push(format!("expect {}", changed.join(" ")));
        }
        expect.extend(changes(&memory, &before));
        Ok(expect)
    }
}

/// Masked exceptions, extended precision.
fn initial_state() -> Box<CpuState> {
    let mut state = CpuState::new();
    for (name, bits) in [("fcw", 0x37f), ("mxcsr", 0x1f80)] {
        state.set(&TABLE, TABLE.by_name(name).expect("a control register"), bits);
    }
    state
}

fn number(text: &str) -> Result<u128> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16),
        None => text.parse::<i128>().map(|n| n as u128),
    };
    parsed.map_err(|_| format!("`{text}` is not a number"))
}

/// Where ST(i) is in the state.
fn st(index: u32) -> u32 {
    FXSAVE + 32 + 16 * index
}

/// Sets a register: `name=value`.
fn give(state: &mut CpuState, item: &str) -> Result<()> {
    let (name, value) = item.split_once('=').ok_or_else(|| format!("`{item}` is not `register=value`"))?;
    if let Some(index) = name.strip_prefix("st").and_then(|n| n.parse::<u32>().ok()) {
        state.bytes_mut(st(index), 10).copy_from_slice(&number(value)?.to_le_bytes()[..10]);
        return Ok(());
    }
    let reg = TABLE.by_name(name).ok_or_else(|| format!("no register `{name}`"))?;
    let bits = match TABLE.def(reg).ty {
        Type::Flags => u128::from(FlagSet::from_letters(value).ok_or_else(|| format!("no flags `{value}`"))?.bits()),
        _ => number(value)?,
    };
    state.set_wide(&TABLE, reg, bits);
    Ok(())
}

/// The registers and their values as text. MMX registers are seen as the x87 registers that they are part of.
fn snapshot(state: &CpuState) -> Vec<(String, String)> {
    let shown = |(index, def): (usize, &isamorph_ir::RegDef)| {
        let bits = state.get_wide(&TABLE, RegId(index as u16));
        let text = match def.ty {
            Type::Flags => FlagSet::from_bits_truncate(bits as u32).letters(),
            _ => format!("{bits:#x}"),
        };
        (!matches!(def.pin, Pin::X87(_))).then(|| (def.name.to_owned(), text))
    };
    let stack = (0..8).map(|i| {
        let mut raw = [0; 16];
        raw[..10].copy_from_slice(state.bytes(st(i), 10));
        (format!("st{i}"), format!("{:#x}", u128::from_le_bytes(raw)))
    });
    TABLE.regs.iter().enumerate().filter_map(shown).chain(stack).collect()
}

fn describe(outcome: &Outcome) -> String {
    match *outcome {
        Outcome::Exit { exit, target: None } => format!("exit {exit}"),
        Outcome::Exit { exit, target: Some(target) } => format!("exit {exit} to {target:#x}"),
        Outcome::Trap { trap, insn } => {
            let trap = match trap {
                Trap::Memory(MemFault { addr, write, cause }) => {
                    format!("{cause:?} {} {addr:#x}", if write { "write" } else { "read" })
                }
                Trap::Exception { code, arg } => format!("exception {code} {arg:#x}"),
                Trap::Divide => "divide error".into(),
                Trap::Float(_) => "floating-point exception".into(),
            };
            format!("trap in {insn}: {trap}")
        }
    }
}

/// `ADDR: BYTES`, in hexadecimal; `xx*n` repeats.
fn map(memory: &Bytes, text: &str) -> Result<()> {
    let (addr, bytes) = text.split_once(':').ok_or("expected `address: bytes`")?;
    let mut addr = number(addr)? as u64;
    for item in bytes.split_whitespace() {
        let (byte, count) = item.split_once('*').unwrap_or((item, "1"));
        let byte = u8::from_str_radix(byte, 16).map_err(|_| format!("`{byte}` is not a byte"))?;
        for _ in 0..number(count)? {
            memory.0.borrow_mut().insert(addr, byte);
            addr += 1;
        }
    }
    Ok(())
}

/// Runs of bytes that differ from what was there before.
fn changes(memory: &Bytes, before: &Bytes) -> Vec<String> {
    let before = before.0.borrow();
    let mut lines: Vec<(u64, String)> = Vec::new();
    for (addr, byte) in memory.0.borrow().iter().filter(|(addr, byte)| before.get(addr) != Some(byte)) {
        match lines.last_mut() {
            Some((end, line)) if *end == *addr => {
                *line += &format!(" {byte:02x}");
                *end += 1;
            }
            _ => lines.push((addr + 1, format!("expect memory {addr:#x}: {byte:02x}"))),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let entries = std::fs::read_dir(folder).expect("the folder of filetests");
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "isa"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn check_file(path: &Path, bless: bool) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (head, mut cases) = read_cases(&text)?;
    let mut wrong = String::new();
    for case in &mut cases {
        let (body, expect) = match case.actual() {
            Ok(actual) => actual,
            Err(message) => {
                wrong += &format!("line {}: {message}\n", case.line);
                continue;
            }
        };
        if bless {
            (case.body, case.expect) = (body, expect);
        } else if case.kind == Kind::Print && body != case.body {
            wrong += &format!("line {}: prints as\n{}\n", case.line, body.join("\n"));
        } else if expect != case.expect {
            wrong += &format!("line {}: expected\n{}\ngot\n{}\n", case.line, case.expect.join("\n"), expect.join("\n"));
        }
    }
    if bless {
        std::fs::write(path, write_cases(&head, &cases)).map_err(|error| error.to_string())?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

#[test]
fn filetests() {
    isamorph_host::fault::install().expect("fault handlers");
    let bless = std::env::var_os("BLESS").is_some();
    let report: String = files()
        .iter()
        .filter_map(|path| Some(format!("{}: {}", path.display(), check_file(path, bless).err()?)))
        .collect();
    assert!(report.is_empty(), "{report}");
}

#[test]
fn every_op_has_a_filetest() {
    let mut seen = BTreeSet::new();
    for path in files() {
        let text = std::fs::read_to_string(path).expect("a readable file");
        let (_, cases) = read_cases(&text).expect("cases");
        for case in cases.iter().filter(|case| matches!(case.kind, Kind::Print | Kind::Interpret)) {
            seen.extend(case.region().iter().flat_map(|region| &region.insts).map(|inst| inst.op));
        }
    }
    let missing: Vec<_> = Op::ALL.iter().filter(|op| !seen.contains(op)).map(|op| op.text()).collect();
    assert!(missing.is_empty(), "ops without a filetest: {missing:?}");
}
