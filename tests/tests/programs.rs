//! The list of Debian programs under `isamorph`: one test for each group and each way to run guest code.

use isamorph_tests::emulator::isamorph;
use isamorph_tests::programs::{self, GROUPS, Group, Outcome, Runner, Setup};

macro_rules! tests {
    ($($group:ident)*) => {
        mod jit {
            $(#[test] fn $group() { super::check(stringify!($group), "jit"); })*
        }
        mod interp {
            $(#[test] fn $group() { super::check(stringify!($group), "interp"); })*
        }
        #[test]
        fn every_group_is_tested() {
            let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            assert_eq!(names, [$(stringify!($group)),*]);
        }
    };
}

tests! { busybox bash coreutils text compression openssl perl python sqlite lua }

fn check(group: &str, accel: &str) {
    let groups: Vec<Group> = GROUPS.iter().filter(|candidate| candidate.name == group).copied().collect();
    let mut setup =
        Setup { sysroot: Setup::default_sysroot(), runner: Runner::Native, is_slow: accel == "interp", jobs: 1 };
    if let Some(obstacle) = setup.obstacle() {
        println!("skipped: {obstacle}");
        return;
    }
    let words = [&*isamorph().to_string_lossy(), "-accel", accel, "-L", "{sysroot}"].map(str::to_owned);
    setup.runner = Runner::Emulator(words.into());
    let outcomes = programs::run_cases(&setup, &groups, "");
    let report = programs::report(&outcomes);
    println!("{report}");
    assert!(outcomes.iter().all(Outcome::is_same), "\n{report}");
}
