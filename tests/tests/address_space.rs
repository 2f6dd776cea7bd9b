//! A 64-bit program's view of its address space (`tests/guests/address_space.c`) is the same here as natively.

use isamorph_tests::arch::Arch;
use isamorph_tests::{emulator, guests};
use std::process::Command;

fn check(arch: &str, accel: &str) {
    let find = |name| Arch::find(name).expect("an architecture");
    let build = |arch: &Arch| guests::build(arch, &format!("address_space-{accel}"), &["address_space.c"]);
    let (Some(native), Some(program)) = (build(find("amd64")), build(find(arch))) else { return };
    let native = Command::new(native).output().expect("it starts");
    let text = String::from_utf8_lossy(&native.stdout).into_owned();
    assert!(native.status.success() && !text.contains("NO"), "natively: {text}");
    let here = Command::new(emulator::isamorph()).args(["-accel", accel]).arg(program).output().expect("it starts");
    let errors = String::from_utf8_lossy(&here.stderr);
    assert_eq!(String::from_utf8_lossy(&here.stdout), text, "{errors}");
    assert!(here.status.success(), "{errors}");
}

#[test]
fn amd64_jit() {
    check("amd64", "jit");
}

#[test]
fn amd64_interp() {
    check("amd64", "interp");
}

#[test]
fn arm64_jit() {
    check("arm64", "jit");
}

#[test]
fn arm64_interp() {
    check("arm64", "interp");
}
