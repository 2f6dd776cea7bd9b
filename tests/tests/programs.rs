//! The list of Debian programs under `isamorph`: one test for each group of each architecture, and for one architecture
//! also in the other way to run guest code.

use isamorph_tests::arch::Arch;
use isamorph_tests::emulator;
use isamorph_tests::programs::{self, GROUPS, Group, Outcome, Runner, Setup};

macro_rules! tests {
    ($($module:ident: $arch:literal $accel:literal;)*) => { $(tests! { @module $module $arch $accel })* };
    (@module $module:ident $arch:literal $accel:literal) => {
        mod $module {
            tests! { @groups $arch $accel busybox bash coreutils text compression openssl perl python sqlite lua }
        }
    };
    (@groups $arch:literal $accel:literal $($group:ident)*) => {
        $(#[test] fn $group() { super::check($arch, stringify!($group), $accel); })*
        #[test]
        fn every_group_is_tested() {
            let names: Vec<&str> = super::GROUPS.iter().map(|group| group.name).collect();
            assert_eq!(names, [$(stringify!($group)),*]);
        }
    };
}

tests! {
    jit: "i386" "jit";
    interp: "i386" "interp";
    amd64: "amd64" "jit";
    arm64: "arm64" "jit";
    armhf: "armhf" "jit";
}

fn check(arch: &str, group: &str, accel: &str) {
    let groups: Vec<Group> = GROUPS.iter().filter(|candidate| candidate.name == group).copied().collect();
    let (program, arch) = (emulator::isamorph(), Arch::find(arch).expect("an architecture"));
    if !emulator::runs(&program, arch) {
        println!("skipped: {} programs are not supported yet", arch.debian);
        return;
    }
    let words = [&*program.to_string_lossy(), "-accel", accel, "-L", "{sysroot}"].map(str::to_owned);
    let mut setup = Setup::new(arch, arch.sysroot(), Runner::Emulator(words.into()));
    setup.is_slow = accel == "interp";
    if let Some(obstacle) = setup.obstacle() {
        println!("skipped: {obstacle}");
        return;
    }
    let outcomes = programs::run_cases(&setup, &groups, "");
    let report = programs::report(&outcomes);
    println!("{report}");
    assert!(outcomes.iter().all(Outcome::is_same), "\n{report}");
}
