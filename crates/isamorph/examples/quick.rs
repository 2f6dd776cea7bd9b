use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use isamorph_engine::*;
fn main() {
    let a: Vec<OsString> = std::env::args_os().collect();
    let kind = if std::env::var("KIND").as_deref() == Ok("interp") { Kind::Interp } else { Kind::Jit };
    let c = |s: &OsStr| CString::new(s.as_bytes()).unwrap();
    // options: quick [-0 name] prog args
    let mut i = 1; let mut argv0 = None;
    while i < a.len() && a[i] == "-0" { argv0 = Some(c(&a[i+1])); i += 2; }
    let argv: Vec<CString> = a[i..].iter().map(|s| c(s)).collect();
    let envp: Vec<CString> = std::env::vars_os().map(|(k, v)| { let mut s = k.clone(); s.push("="); s.push(v); c(&s) }).collect();
    let mut o = isamorph_linux_user::Options::new(&a[i], argv, envp);
    o.argv0 = argv0;
    o.sysroot = std::env::var_os("QEMU_LD_PREFIX").map(Into::into);
    o.strace = std::env::var_os("QEMU_STRACE").is_some();
    let e = isamorph_linux_user::run(o, &|space, guest| {
        let mut cfg = EngineConfig::new(guest, space);
        cfg.kind = kind;
        if let Ok(m) = std::env::var("MAXI") { cfg.max_insns = m.parse().unwrap(); }
        Engine::new(cfg).unwrap()
    });
    if let Err(e) = e { eprintln!("quick: {e}"); std::process::exit(e.exit_code()); }
}
