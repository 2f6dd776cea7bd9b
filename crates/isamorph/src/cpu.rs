//! CPU models (`-cpu`).
//!
//! The x86 front end has models with the features of each. The other architectures have one processor, with every
//! feature that is translated; the other names are those of processors that have no feature in user mode beyond these,
//! so that a program made for one of them runs (but for SVE, which programs ask for before they use it). Asking for
//! features that are not there is refused.

use crate::end::End;
use crate::names::Architecture;
use isamorph_guest::Guest;
use isamorph_x86::X86;
use isamorph_x86::model::ModelError;
use std::ffi::OsStr;
use std::sync::Arc;

/// The models of an architecture.
struct Models {
    architecture: &'static str,
    /// The name of QEMU's default.
    usual: &'static str,
    others: &'static [&'static str],
}

static MODELS: &[Models] = &[
    Models {
        architecture: "arm",
        usual: "any",
        others: &[
            "arm926",
            "arm1026",
            "arm1136",
            "arm1136-r2",
            "arm1176",
            "arm11mpcore",
            "cortex-a7",
            "cortex-a8",
            "cortex-a9",
            "cortex-a15",
        ],
    },
    Models {
        architecture: "aarch64",
        usual: "any",
        others: &["cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "neoverse-n1", "neoverse-v1"],
    },
];

impl Models {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        ["max", self.usual].into_iter().chain(self.others.iter().copied())
    }
}

/// The x86 processors, by the names of their architectures.
const X86S: [(&str, X86); 2] = [("i386", X86::i386()), ("x86_64", X86::amd64())];

/// The x86 processor of an architecture, or all of them.
fn x86s(architecture: Option<&Architecture>) -> impl Iterator<Item = (&'static str, X86)> {
    let name = architecture.map(|a| a.name);
    X86S.into_iter().filter(move |(x86, _)| name.is_none_or(|name| name == *x86))
}

/// The processor that a program runs on: the front end's usual one, or the model that was asked for.
pub fn processor(model: Option<&OsStr>, usual: Arc<dyn Guest>) -> Arc<dyn Guest> {
    let arch = usual.table().arch;
    let found = X86S.into_iter().find(|(name, _)| *name == arch).zip(model.map(OsStr::to_string_lossy));
    match found.map(|((_, x86), model)| x86.with_model(&model)) {
        Some(Ok(x86)) => Arc::new(x86),
        // What is no model was refused with the options.
        Some(Err(_)) | None => usual,
    }
}

/// The models of another architecture, or all of them.
fn models(architecture: Option<&Architecture>) -> impl Iterator<Item = &'static Models> {
    let name = architecture.map(|a| a.name);
    MODELS.iter().filter(move |m| name.is_none_or(|name| name == m.architecture))
}

fn help(architecture: Option<&Architecture>) -> String {
    let mut text = String::from("Available CPUs:\n");
    let of = |name: &str| if architecture.is_some() { String::new() } else { format!("{name}: ") };
    for (name, x86) in x86s(architecture) {
        for model in x86.models() {
            text.push_str(&format!("  {:<20} {}{}\n", model.name, of(name), model.brand));
        }
    }
    for models in models(architecture) {
        for name in models.names() {
            let what = match name {
                "max" => "every feature that is translated",
                _ if name == models.usual => "the same; the name of QEMU's default",
                _ => "the same",
            };
            text.push_str(&format!("  {name:<20} {}{what}\n", of(models.architecture)));
        }
    }
    text
}

/// Checks the value of `-cpu` as far as it is known by then what the program is.
///
/// # Errors
/// There is none of that name, or features are asked for, or the list.
pub fn check(value: &OsStr, architecture: Option<&Architecture>) -> Result<(), End> {
    let value = value.to_string_lossy();
    if value == "help" || value == "?" {
        return Err(End::Text(help(architecture)));
    }
    let attempts: Vec<_> = x86s(architecture).map(|(_, x86)| x86.with_model(&value)).collect();
    if attempts.iter().any(Result::is_ok) {
        return Ok(());
    }
    let (model, features) = value.split_once(',').unwrap_or((&value, ""));
    if !models(architecture).flat_map(Models::names).any(|name| name == model) {
        if let Some(Err(e @ (ModelError::Feature(_) | ModelError::Narrow(_)))) = attempts.into_iter().next() {
            return Err(End::failed(format!("qemu: {e}")));
        }
        return Err(End::failed(format!("qemu: unable to find CPU model '{model}'")));
    }
    if features.is_empty() { Ok(()) } else { Err(End::unsupported(&format!("-cpu {model}: feature '{features}'"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ARCHITECTURES;

    #[test]
    fn models_belong_to_architectures() {
        for models in MODELS {
            let found = ARCHITECTURES.iter().find(|a| a.name == models.architecture).expect("an architecture");
            for name in models.names() {
                assert_eq!(check(OsStr::new(name), Some(found)), Ok(()), "{name}");
                let elsewhere = ARCHITECTURES.iter().filter(|a| a.name != found.name);
                let elsewhere = elsewhere.filter(|a| check(OsStr::new(name), Some(a)).is_ok()).count();
                assert!(elsewhere == 0 || ["max", "any"].contains(&name), "{name}");
            }
        }
        for (name, x86) in X86S {
            let found = ARCHITECTURES.iter().find(|a| a.name == name).expect("an architecture");
            for model in x86.models() {
                assert_eq!(check(OsStr::new(model.name), Some(found)), Ok(()), "{name}");
                let chosen = processor(Some(OsStr::new(model.name)), Arc::new(x86));
                assert_eq!(chosen.table().arch, name);
            }
            for wrong in ["max,+avx", "z80", "cortex-a9"] {
                assert!(check(OsStr::new(wrong), Some(found)).is_err(), "{wrong}");
            }
            assert_eq!(check(OsStr::new("Nehalem,+aes,-popcnt"), Some(found)), Ok(()));
        }
        let arm = ARCHITECTURES.iter().find(|a| a.name == "arm");
        let Err(End::Text(text)) = check(OsStr::new("?"), arm) else { panic!("no list") };
        assert!(text.contains("  cortex-a9 ") && !text.contains("qemu64"), "{text}");
        assert!(check(OsStr::new("Haswell"), None).is_err() && check(OsStr::new("Nehalem"), None).is_ok());
    }
}
