//! How the processors of a machine are run (`-accel`).

use super::grammar::Words;
use crate::sink::Sink;
use isamorph_accel::Processors;
use isamorph_engine::{Kind, SystemConfig, SystemEngine};
use isamorph_kvm::{KvmAccel, KvmConfig, KvmMachine};
use isamorph_machines::World;
use std::sync::Arc;

/// The list of accelerators, as `-accel help` shows it.
pub const HELP: &str = "\
Accelerators supported in QEMU binary:
tcg
kvm
jit     compiles guest code; 'tcg' is the same
interp  interprets it; 'tcg,backend=interp' is the same
Properties:
backend=jit|interp        whether tcg compiles or interprets
one-insn-per-tb=on|off    whether every guest instruction is translated on its own
tb-size=MIB               size of the code caches
thread=single|multi       whether one processor runs at a time, or each on its own host thread
kernel-irqchip=off        kvm: interrupt controllers are the machine's own
";

/// An accelerator that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its name, as it was given.
    pub name: &'static str,
    /// What it is.
    pub backend: Backend,
    /// Size of the code caches in bytes.
    pub tb_size: Option<usize>,
    /// Every guest instruction is translated on its own.
    pub one_insn: bool,
    /// One processor runs at a time.
    pub single: bool,
}

/// What runs guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Compiled code.
    Jit,
    /// The interpreter.
    Interp,
    /// The host's processor.
    Kvm,
}

/// The names.
const NAMES: [(&str, Backend); 4] =
    [("tcg", Backend::Jit), ("jit", Backend::Jit), ("interp", Backend::Interp), ("kvm", Backend::Kvm)];

/// Accelerators of QEMU that are missing here.
const MISSING: [&str; 7] = ["hvf", "nvmm", "whpx", "xen", "qtest", "hax", "mshv"];

impl Choice {
    /// Understands the value of `-accel`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = Words::parse(text, Some("accel"))?;
        let wanted = words.take("accel").unwrap_or_default();
        let Some((name, backend)) = NAMES.iter().find(|(name, _)| *name == wanted).copied() else {
            let missing = MISSING.contains(&wanted.as_str());
            return Err(if missing { "not supported".into() } else { format!("invalid accelerator {wanted}") });
        };
        let mut choice = Choice { name, backend, tb_size: None, one_insn: false, single: false };
        match (words.take("backend").as_deref(), backend) {
            (None, _) => {}
            (Some("jit"), Backend::Jit) => {}
            (Some("interp"), Backend::Jit) => choice.backend = Backend::Interp,
            (Some(other), _) => return Err(format!("invalid backend '{other}'")),
        }
        choice.single = match words.take("thread").as_deref() {
            None | Some("multi") => false,
            Some("single") => true,
            Some(other) => return Err(format!("Invalid 'thread' setting {other}")),
        };
        let mebibytes = words.take_number("tb-size")?.filter(|n| *n != 0);
        choice.tb_size = mebibytes.map(|n| usize::try_from(n << 20).unwrap_or(usize::MAX));
        choice.one_insn = words.take_switch("one-insn-per-tb")?.unwrap_or(false);
        match words.take("kernel-irqchip").as_deref() {
            None | Some("off") => {}
            Some(other) => return Err(format!("kernel-irqchip={other} is not supported")),
        }
        words.finish()?;
        Ok(choice)
    }
    /// What is taken if nothing is said.
    pub const DEFAULT: Choice =
        Choice { name: "tcg", backend: Backend::Jit, tb_size: None, one_insn: false, single: false };

    fn start(self, world: &World<'_>, sink: &Arc<Sink>) -> Result<Arc<dyn Processors>, String> {
        let World { map, memory, ports, guest, .. } = *world;
        let (map, memory, ports, guest) = (map.clone(), memory.clone(), ports.clone(), guest.clone());
        let kind = match self.backend {
            Backend::Jit => Kind::Jit,
            Backend::Interp => Kind::Interp,
            Backend::Kvm => {
                let config = KvmConfig { guest, map, memory, ports, model: Vec::new() };
                return Ok(Arc::new(KvmAccel(KvmMachine::new(config)?)));
            }
        };
        let mut config = SystemConfig::new(guest, map, memory, ports);
        config.kind = kind;
        config.log = sink.clone();
        config.tb_size_bytes = self.tb_size.unwrap_or(config.tb_size_bytes);
        if self.one_insn {
            config.max_insns = 1;
        }
        Ok(SystemEngine::new(config)?)
    }
}

/// Starts the first of the accelerators that can be started.
///
/// # Errors
/// None can, and why.
pub fn start(
    program: &str,
    choices: &[Choice],
    world: &World<'_>,
    sink: &Arc<Sink>,
) -> Result<Arc<dyn Processors>, String> {
    let mut failures = Vec::new();
    for choice in choices {
        match choice.start(world, sink) {
            Ok(processors) => {
                if !failures.is_empty() {
                    eprintln!("{program}: falling back to {}", choice.name);
                }
                return Ok(processors);
            }
            Err(error) => {
                let text = format!("-accel {}: failed to initialize {}: {error}", choice.name, choice.name);
                if choices.len() > 1 {
                    eprintln!("{program}: {text}");
                }
                failures.push(text);
            }
        }
    }
    Err(if failures.len() == 1 { failures.remove(0) } else { "no accelerator found".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_and_their_properties() {
        let choice = Choice::parse("tcg,thread=single,tb-size=512").unwrap();
        assert_eq!((choice.backend, choice.single, choice.tb_size), (Backend::Jit, true, Some(512 << 20)));
        assert_eq!(Choice::parse("tcg,backend=interp").unwrap().backend, Backend::Interp);
        assert_eq!(Choice::parse("jit"), Ok(Choice { name: "jit", ..Choice::DEFAULT }));
        assert_eq!(Choice::parse("hvf"), Err("not supported".to_owned()));
        assert_eq!(Choice::parse("fast"), Err("invalid accelerator fast".to_owned()));
        assert!(Choice::parse("tcg,speed=on").is_err() && Choice::parse("kvm,kernel-irqchip=on").is_err());
    }
}
