//! Random i386 instructions, natively and emulated: registers, flags, memory and faults must be the same.
//!
//! A small i386 program, the runner, loads all registers, runs a sequence of instructions and reports what the signal
//! that ended it found. It runs natively and under an emulator with the same cases, so that signal frames are compared
//! as well. The sequences come from the list of encodings that the front end claims to lift.

mod compare;
mod forms;
mod layout;
mod random;
mod runner;
mod sequence;
mod start;

pub use forms::EXCLUDED;
pub use runner::{Mode, compile};

use compare::{describe, difference, is_complete, step_at};
use forms::Form;
use iced_x86::{Code, Mnemonic};
use layout::{CODE, End, SLOT, SLOTS, Start};
use random::Random;
use runner::{Answers, Runner};
use sequence::{Generator, Sequence};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// States in which a sequence is run, one after the other.
const STATES: usize = 3;
/// Differences that a report shows in full.
const SHOWN: usize = 20;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many cases: runs of a sequence from a state.
    pub cases: u64,
    /// What the random choices start from.
    pub seed: u64,
    /// What is compared with the host's processor.
    pub modes: Vec<Mode>,
    /// Only forms whose name contains this.
    pub only: String,
}

/// A case that differs.
struct Difference {
    mode: String,
    /// The form of the last instruction that ran natively.
    form: String,
    text: String,
}

/// What a comparison found.
#[derive(Default)]
pub struct Summary {
    /// Cases that were compared, in each mode.
    pub cases: u64,
    /// Instructions that the cases executed.
    pub instructions: u64,
    /// Cases that ended with a fault or trap of an instruction of the sequence.
    pub faults: u64,
    claimed: usize,
    chosen: usize,
    executed: BTreeMap<Mnemonic, u64>,
    missed: BTreeSet<Code>,
    vectors: BTreeMap<u32, u64>,
    differences: Vec<Difference>,
}

impl Summary {
    /// How many cases differ.
    pub fn failed(&self) -> usize {
        self.differences.len()
    }

    /// Counts a native run.
    fn count(&mut self, sequence: &Sequence, end: &End) {
        self.cases += 1;
        let reached = step_at(sequence, end).unwrap_or(0);
        let is_fault = !is_complete(sequence, end);
        self.faults += u64::from(is_fault);
        *self.vectors.entry(end.trapno).or_default() += 1;
        for step in sequence.steps.iter().take(reached + usize::from(is_fault)) {
            self.instructions += 1;
            *self.executed.entry(step.insn.mnemonic()).or_default() += 1;
            self.missed.remove(&step.insn.code());
        }
    }

    fn add(&mut self, mode: &Mode, case: &Case<'_>, native: &End, text: &str) {
        let n = step_at(case.sequence, native).unwrap_or(0).min(case.sequence.steps.len() - 1);
        let form = format!("{:?}", case.sequence.steps[n].insn.code());
        let text = describe(case.sequence, case.start, Some(native)) + text;
        self.differences.push(Difference { mode: mode.name.clone(), form, text });
    }

    /// The first differences, and what was covered.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for found in self.differences.iter().take(SHOWN) {
            let _ = writeln!(text, "{}, {}:\n{}", found.mode, found.form, found.text);
        }
        let mut forms: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        self.differences.iter().for_each(|d| *forms.entry((&d.mode, &d.form)).or_default() += 1);
        for ((mode, form), n) in &forms {
            let _ = writeln!(text, "{n:>6} differences with {mode} at {form}");
        }
        let counts = self.executed.iter().map(|(name, n)| format!("{name:?} {n}"));
        let _ = writeln!(text, "executed: {}", counts.collect::<Vec<_>>().join(", "));
        let vectors = self.vectors.iter().map(|(vector, n)| format!("{vector}: {n}"));
        let _ = writeln!(text, "ends by exception vector: {}", vectors.collect::<Vec<_>>().join(", "));
        if !self.missed.is_empty() && self.missed.len() <= 40 {
            let _ = writeln!(text, "not executed: {:?}", self.missed);
        }
        let (forms, chosen, claimed) = (self.chosen - self.missed.len(), self.chosen, self.claimed);
        let _ = writeln!(text, "{forms} of {chosen} comparable encodings executed; {claimed} are claimed");
        let (cases, instructions, faults, failed) = (self.cases, self.instructions, self.faults, self.failed());
        let _ = writeln!(text, "{cases} cases, {instructions} instructions, {faults} faults: {failed} differ");
        text
    }
}

/// A sequence and a state.
struct Case<'a> {
    sequence: &'a Sequence,
    start: &'a Start,
}

/// Runs the cases in every mode and natively.
///
/// # Errors
/// A process cannot be started, or the native one died.
pub fn run(setup: &Setup, program: &Path) -> io::Result<Summary> {
    let (mut forms, claimed) = forms::forms();
    forms.retain(|form: &Form| format!("{:?}", form.code).contains(&setup.only));
    if forms.is_empty() {
        return Err(io::Error::other("no encoding has such a name"));
    }
    let mut summary = Summary {
        claimed,
        chosen: forms.len(),
        missed: forms.iter().map(|form| form.code).collect(),
        ..Summary::default()
    };
    let mut generator = Generator::new(&forms, Random::new(setup.seed));
    let mut random = Random::new(!setup.seed);
    let mut native = Runner::new(Mode::native(), program);
    let mut others: Vec<Runner> = setup.modes.iter().map(|mode| Runner::new(mode.clone(), program)).collect();
    while summary.cases < setup.cases {
        let sequences: Vec<Sequence> = (0..SLOTS).map(|slot| generator.sequence(CODE + (slot * SLOT) as u32)).collect();
        let starts: Vec<(usize, Start)> =
            (0..SLOTS * STATES).map(|n| (n % SLOTS, start::start(&sequences[n % SLOTS], &mut random))).collect();
        let cases: Vec<Case<'_>> = starts.iter().map(|(n, start)| Case { sequence: &sequences[*n], start }).collect();
        compare_batch(&sequences, &cases, &mut native, &mut others, &mut summary)?;
    }
    Ok(summary)
}

fn compare_batch(
    sequences: &[Sequence],
    cases: &[Case<'_>],
    native: &mut Runner,
    others: &mut [Runner],
    summary: &mut Summary,
) -> io::Result<()> {
    let expected = native.run(&encode(sequences, cases), cases.len())?;
    if let Some(death) = expected.death {
        let case = &cases[expected.ends.len()];
        let text = describe(case.sequence, case.start, None);
        return Err(io::Error::other(format!("the native runner died: {death}\n{text}")));
    }
    cases.iter().zip(&expected.ends).for_each(|(case, end)| summary.count(case.sequence, end));
    let answers = std::thread::scope(|scope| {
        let spawned: Vec<_> =
            others.iter_mut().map(|runner| scope.spawn(|| run_all(runner, sequences, cases))).collect();
        spawned.into_iter().map(|thread| thread.join().expect("no thread panics")).collect::<Vec<_>>()
    });
    for (runner, answers) in others.iter().zip(answers) {
        let mode = runner.mode();
        for ((case, native), answer) in cases.iter().zip(&expected.ends).zip(answers?) {
            let text = match answer {
                Ok(end) => difference(case.sequence, native, &end, mode.is_precise),
                Err(death) => Some(format!("    the emulator died: {death}\n")),
            };
            if let Some(text) = text {
                summary.add(mode, case, native, &text);
            }
        }
    }
    Ok(())
}

/// Runs all cases, going on behind each that kills the process.
fn run_all(runner: &mut Runner, sequences: &[Sequence], cases: &[Case<'_>]) -> io::Result<Vec<Result<End, String>>> {
    let mut all = vec![];
    while all.len() < cases.len() {
        let rest = &cases[all.len()..];
        let Answers { ends, death } = runner.run(&encode(sequences, rest), rest.len())?;
        all.extend(ends.into_iter().map(Ok));
        all.extend(death.map(Err));
    }
    Ok(all)
}

/// A batch as the runner reads it.
fn encode(sequences: &[Sequence], cases: &[Case<'_>]) -> Vec<u8> {
    let mut out = (cases.len() as u32).to_le_bytes().to_vec();
    for sequence in sequences {
        let mut slot = sequence.bytes.clone();
        slot.resize(SLOT, 0xcc);
        out.extend(slot);
    }
    cases.iter().for_each(|case| case.start.encode(&mut out));
    out
}
