use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use isamorph_engine::*;
struct Dump;
impl TraceSink for Dump {
    fn wanted(&self) -> Trace { Trace::IN_ASM | Trace::OP | Trace::OUT_ASM }
    fn text(&self, _: Trace, t: &str) { eprintln!("{t}"); }
    fn host_code(&self, c: &HostCode<'_>) {
        use iced_x86::Formatter;
        let mut d = iced_x86::Decoder::with_ip(64, c.bytes, 0, 0);
        let mut f = iced_x86::GasFormatter::new();
        eprintln!("OUT {:x}", c.pc);
        while d.can_decode() { let i = d.decode(); let mut s = String::new(); f.format(&i, &mut s); eprintln!("{:5x} {s}", i.ip()); }
    }
}
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
        if std::env::var("DUMP").is_ok() { cfg.log = std::sync::Arc::new(Dump); }
        Engine::new(cfg).unwrap()
    });
    if let Err(e) = e { eprintln!("quick: {e}"); std::process::exit(e.exit_code()); }
}
