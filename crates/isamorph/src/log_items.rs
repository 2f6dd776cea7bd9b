//! The items of `-d`.

use crate::end::End;
use bitflags::bitflags;
use isamorph_engine::Trace;

bitflags! {
    /// What is logged.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct LogItems: u32 {
        /// Guest instructions that are translated.
        const IN_ASM = 1;
        /// Regions as lifted.
        const OP = 2;
        /// Regions as optimised.
        const OP_OPT = 4;
        /// Host code.
        const OUT_ASM = 8;
        /// Regions that are executed.
        const EXEC = 16;
        /// Registers before each of them.
        const CPU = 32;
        /// Regions are not chained.
        const NOCHAIN = 64;
        /// The guest's mappings.
        const PAGE = 128;
        /// System calls.
        const STRACE = 256;
        /// System calls that nobody serves.
        const UNIMP = 512;
        /// Exceptions and interrupts.
        const INT = 1024;
    }
}

/// The items: name, meaning, description. An item without a meaning is one of QEMU's that is missing here.
const ITEMS: &[(&str, Option<LogItems>, &str)] = &[
    ("out_asm", Some(LogItems::OUT_ASM), "host code of each translated region"),
    ("in_asm", Some(LogItems::IN_ASM), "guest code of each translated region"),
    ("op", Some(LogItems::OP), "each region as lifted to the intermediate representation"),
    ("op_opt", Some(LogItems::OP_OPT), "each region after optimisation"),
    ("op_ind", None, ""),
    ("op_plugin", None, ""),
    ("int", Some(LogItems::INT), "exceptions and interrupts that a machine's processors take"),
    ("exec", Some(LogItems::EXEC), "every region that is executed; implies nochain"),
    ("cpu", Some(LogItems::CPU), "registers before every region that is executed; implies nochain"),
    ("fpu", None, ""),
    ("vpu", None, ""),
    ("mmu", None, ""),
    ("pcall", None, ""),
    ("cpu_reset", None, ""),
    ("unimp", Some(LogItems::UNIMP), "system calls that are not implemented"),
    ("guest_errors", None, ""),
    ("page", Some(LogItems::PAGE), "the guest's mappings before it starts"),
    ("nochain", Some(LogItems::NOCHAIN), "do not chain regions"),
    ("plugin", None, ""),
    ("strace", Some(LogItems::STRACE), "system calls"),
    ("tid", None, ""),
    ("invalid_mem", None, ""),
];

impl LogItems {
    /// Reads a list of names.
    ///
    /// # Errors
    /// A name is unknown or not supported, or help is asked for.
    pub fn parse(text: &str) -> Result<Self, End> {
        if matches!(text, "help" | "?") {
            return Err(End::Text(help()));
        }
        text.split(',').map(item).try_fold(LogItems::empty(), |all, item| Ok(all | item?))
    }

    /// What the engine has to tell for them.
    pub fn trace(self) -> Trace {
        let pairs = [
            (LogItems::IN_ASM, Trace::IN_ASM),
            (LogItems::OP, Trace::OP),
            (LogItems::OP_OPT, Trace::OP_OPT),
            (LogItems::OUT_ASM, Trace::OUT_ASM),
            (LogItems::EXEC, Trace::EXEC),
            (LogItems::CPU, Trace::CPU),
            (LogItems::NOCHAIN, Trace::NOCHAIN),
            (LogItems::INT, Trace::INT),
        ];
        pairs.into_iter().filter(|(item, _)| self.contains(*item)).map(|(_, trace)| trace).collect()
    }
}

fn item(name: &str) -> Result<LogItems, End> {
    let is_trace = name.starts_with("trace:");
    match ITEMS.iter().find(|(item, ..)| *item == name) {
        Some((_, Some(item), _)) => Ok(*item),
        _ if name == "all" => Ok(LogItems::all()),
        None if !is_trace => Err(End::failed(format!("qemu: unknown log item '{name}'\n{}", help().trim_end()))),
        _ => Err(End::unsupported(&format!("-d {name}"))),
    }
}

fn help() -> String {
    let shown = ITEMS.iter().filter(|(_, item, _)| item.is_some());
    let lines = shown.map(|(name, _, what)| format!("{name:<15} {what}\n"));
    format!("Log items (comma separated):\n{}", lines.collect::<String>())
}

/// The items as documentation shows them.
pub fn markdown() -> String {
    let mut text = String::from("| item | what is logged |\n|---|---|\n");
    for (name, item, what) in ITEMS {
        let what = if item.is_some() { what } else { "not supported yet" };
        text.push_str(&format!("| `{name}` | {what} |\n"));
    }
    text
}
