//! All code of some Debian programs goes through the translator. In a build with debug assertions this checks each
//! region's IR, and the back end checks each of its allocations.

use isamorph_benches::arch;
use isamorph_benches::translate::{PHASES, translate};

fn check(file: &str) {
    let path = arch::repository().join("sysroot/i386").join(file);
    if !path.exists() {
        println!("skipped: no {}; `cargo xtask sysroot` makes it", path.display());
        return;
    }
    let cost = translate(&path, PHASES.len()).expect("the file can be read");
    println!("{file}: {cost:?}");
    assert!(cost.instructions > 100_000, "{cost:?}");
    // Linear order runs into some data between functions; hardly any of it is code that cannot be compiled.
    assert!(cost.refused * 1000 < cost.regions, "{cost:?}");
}

#[test]
fn busybox() {
    check("usr/bin/busybox");
}

#[test]
fn c_library() {
    check("usr/lib/i386-linux-gnu/libc.so.6");
}

#[test]
fn mathematics_library() {
    check("usr/lib/i386-linux-gnu/libm.so.6");
}
