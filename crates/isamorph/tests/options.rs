//! Reading options: each one, its twin in the environment, and which of both wins.

use isamorph::end::End;
use isamorph::log_items::LogItems;
use isamorph::options::{EnvironmentEdit, OPTIONS, Settings, find, help};
use isamorph_engine::Kind;
use std::collections::HashSet;
use std::ffi::OsString;

fn arguments(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn parse(line: &str) -> Result<Settings, End> {
    let mut settings = Settings::default();
    let arguments = arguments(line);
    let taken = settings.take_arguments(&arguments)?;
    assert_eq!(taken, arguments.len(), "{line}");
    Ok(settings)
}

fn parsed(line: &str) -> Settings {
    parse(line).unwrap_or_else(|end| panic!("{line}: {end:?}"))
}

fn message(line: &str) -> String {
    match parse(line) {
        Err(End::Failed { message, status: 1 }) => message,
        other => panic!("{line}: {other:?}"),
    }
}

/// A valid value of each option that takes effect by a value.
const VALUES: &[(&str, &str)] = &[
    ("L", "/sys"),
    ("s", "1M"),
    ("cpu", "max"),
    ("E", "A=1"),
    ("U", "A"),
    ("0", "name"),
    ("r", "6.1.0"),
    ("B", "0x1000"),
    ("R", "0x40000000"),
    ("t", "33 60 2"),
    ("d", "strace"),
    ("dfilter", "0x1000+0x10"),
    ("D", "log"),
    ("p", "4096"),
    ("tb-size", "8"),
    ("seed", "42"),
    ("accel", "interp"),
];

#[test]
fn every_option_has_a_twin_in_the_environment_or_is_an_addition() {
    let without: Vec<&str> = OPTIONS.iter().filter(|row| row.variable.is_none()).map(|row| row.name).collect();
    assert_eq!(without, ["h", "accel", "stats", "emulator-fd", "log-append"]);
    let names: HashSet<&str> = OPTIONS.iter().flat_map(|row| [Some(row.name), row.alias]).flatten().collect();
    assert_eq!(names.len(), OPTIONS.len() + OPTIONS.iter().filter(|row| row.alias.is_some()).count());
    for name in names {
        assert!(find(name).is_some() && help().contains(find(name).expect("a row").help), "{name}");
    }
}

#[test]
fn options_and_variables_do_the_same() {
    for row in OPTIONS {
        let value = VALUES.iter().find(|(name, _)| *name == row.name).map(|(_, value)| OsString::from(value));
        let list = [Some(format!("-{}", row.name).into()), value.clone()];
        let list: Vec<OsString> =
            list.into_iter().flatten().chain(row.value.filter(|_| value.is_none()).map(Into::into)).collect();
        let mut by_option = Settings::default();
        let first = by_option.take_arguments(&list);
        let Some(variable) = row.variable else { continue };
        let mut by_variable = Settings::default();
        let set = value.or(row.value.map(Into::into)).unwrap_or_default();
        let second = by_variable.take_environment(|name| (name == variable).then(|| set.clone()));
        assert_eq!(first.map(|_| ()), second, "{row:?}");
        assert_eq!(format!("{by_option:?}"), format!("{by_variable:?}"));
    }
}

#[test]
fn options_win_over_variables() {
    let mut settings = Settings::default();
    let environment = [("QEMU_LD_PREFIX", "/one"), ("QEMU_STRACE", ""), ("QEMU_SET_ENV", "A=1,B=2")];
    let get = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
    settings.take_environment(get).expect("a valid environment");
    settings.take_arguments(&arguments("-L /two -E A=3")).expect("valid options");
    assert_eq!(settings.sysroot, Some("/two".into()));
    assert!(settings.strace);
    let edits = ["A=1", "B=2", "A=3"].map(|text| EnvironmentEdit::Set(text.into()));
    assert_eq!(settings.environment, edits);
}

#[test]
fn options_end_at_the_program() {
    let taken = |line| Settings::default().take_arguments(&arguments(line));
    assert_eq!(taken("-L /sys prog -strace"), Ok(2));
    assert_eq!(taken("prog -foo"), Ok(0));
    assert_eq!(taken("-strace -- -prog"), Ok(2));
    assert_eq!(taken(""), Ok(0));
    assert_eq!(parsed("--strace --L /sys -one-insn-per-tb").sysroot, Some("/sys".into()));
}

#[test]
fn values() {
    assert_eq!(parsed("-s 65536").stack_size, Some(65536));
    assert_eq!(parsed("-s 64k").stack_size, Some(65536));
    assert_eq!(parsed("-s 1M").stack_size, Some(1 << 20));
    assert_eq!(parsed("-R 0xf000K").reserved_va, Some(0xf000 << 10));
    assert_eq!(parsed("-R 0").reserved_va, None);
    assert_eq!(parsed("-B 0x10000").guest_base, Some(0x10000));
    assert_eq!(parsed("-B 010").guest_base, Some(8));
    assert_eq!(parsed("-seed 7").seed, Some(7));
    assert_eq!(parsed("-r 6.1.0").uname_release.as_deref(), Some("6.1.0"));
    assert_eq!(parsed("-0 name").argv0, Some("name".into()));
    assert_eq!(parsed("-D log.%d").log_file, Some("log.%d".into()));
    assert_eq!(parsed("-tb-size 3").tb_size, Some(3 << 20));
    assert_eq!(parsed("-U A,B").environment, ["A", "B"].map(|name| EnvironmentEdit::Unset(name.into())));
    assert!(parsed("-one-insn-per-tb").one_insn && parsed("-perfmap").perf_map && parsed("-stats").statistics);
    assert_eq!(parsed("-d in_asm,out_asm -strace").log_items, LogItems::IN_ASM | LogItems::OUT_ASM);
    assert_eq!(parsed("-d in_asm -d strace").log_items, LogItems::STRACE);
    assert!(parsed("-strace -d exec").strace);
}

#[test]
fn filters() {
    let filter = |text: &str| parsed(&format!("-dfilter {text}")).log_filter;
    assert_eq!(filter("0x1000+0x10"), [0x1000..=0x100f]);
    assert_eq!(filter("0x1000-0x10,5..7"), [0xff1..=0x1000, 5..=7]);
    for wrong in ["0x1000", "1+", "..", "1+0", "a..b", "0..1,", "5-7"] {
        message(&format!("-dfilter {wrong}"));
    }
}

#[test]
fn accelerators() {
    let kind = |text: &str| parsed(&format!("-accel {text}")).kind;
    assert_eq!(kind("jit"), Some(Kind::Jit));
    assert_eq!(kind("tcg"), Some(Kind::Jit));
    assert_eq!(kind("interp"), Some(Kind::Interp));
    assert_eq!(kind("tcg,thread=multi,backend=interp"), Some(Kind::Interp));
    assert_eq!(parsed("-accel tcg,tb-size=2,one-insn-per-tb=on").tb_size, Some(2 << 20));
    assert!(matches!(parse("-accel help"), Err(End::Text(text)) if text.contains("interp")));
    assert_eq!(message("-accel foo"), "qemu: invalid accelerator foo");
    assert_eq!(message("-accel kvm"), "-accel kvm: not supported yet by this build");
    for wrong in ["tcg,foo=1", "tcg,backend=x", "tcg,", "tcg,tb-size=x", "tcg,thread"] {
        assert!(message(&format!("-accel {wrong}")).contains("invalid value"), "{wrong}");
    }
}

#[test]
fn wrong_lines_are_refused() {
    assert_eq!(message("-foo"), "qemu: unknown option 'foo'");
    assert_eq!(message("--foo=bar"), "qemu: unknown option 'foo=bar'");
    assert_eq!(message("-"), "qemu: unknown option ''");
    assert_eq!(message("-strace -L"), "qemu: missing argument for option 'L'");
    assert_eq!(message("-cpu foo"), "qemu: unable to find CPU model 'foo'");
    assert_eq!(message("-cpu max,+avx"), "-cpu max: feature '+avx': not supported yet by this build");
    assert!(message("-d foo").starts_with("qemu: unknown log item 'foo'\nLog items"));
    assert_eq!(message("-d in_asm,mmu"), "-d mmu: not supported yet by this build");
    assert_eq!(message("-d trace:x"), "-d trace:x: not supported yet by this build");
    for refused in ["-trace x", "-plugin x", "-jitdump"] {
        let name = refused.split(' ').next().expect("a name");
        assert_eq!(message(refused), format!("{name}: not supported yet by this build"));
    }
    let max = u64::MAX;
    for wrong in ["-s x", "-s", "-s -1", "-s 99999999999G", "-B 0x", "-tb-size 1M", "-seed -1", "-p x", "-t 1"] {
        assert!(message(wrong).starts_with("qemu: "), "{wrong}");
    }
    assert!(message(&format!("-tb-size {max}")).starts_with("qemu: invalid value"));
}

#[test]
fn help_is_a_reason_to_end() {
    for line in ["-h", "-help", "--help"] {
        assert_eq!(parse(line).map(|_| ()), Err(End::Help));
    }
    for line in ["-version", "--version"] {
        assert_eq!(parse(line).map(|_| ()), Err(End::Version));
    }
    for (line, part) in [("-cpu help", "max"), ("-d help", "out_asm"), ("-cpu ?", "max")] {
        assert!(matches!(parse(line), Err(End::Text(text)) if text.contains(part)), "{line}");
    }
}

#[test]
fn executed_programs_get_the_same_options() {
    let settings = parsed("-L /one -L /sys -strace -0 name -E A=1 -U B -D log -stats -cpu max -accel tcg,tb-size=2");
    let inherited = settings.inherited();
    assert_eq!(inherited, arguments("-L /sys -strace -D log -stats -accel tcg,tb-size=2 -log-append"));
    let mut again = Settings::default();
    assert_eq!(again.take_arguments(&inherited), Ok(inherited.len()));
    assert_eq!(again.inherited(), inherited);
    let mut twin = Settings::default();
    twin.take_environment(|name| (name == "QEMU_LD_PREFIX").then(|| "/sys".into())).expect("a valid variable");
    assert_eq!(twin.inherited(), arguments("-L /sys"));
}
