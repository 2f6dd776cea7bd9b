//! The built command: names, messages, exit statuses, logs, and what programs see.

use isamorph::demo::{INSNS_PER_ROUND, PROGRAM};
use isamorph::names::ARCHITECTURES;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder for a test's files, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("isamorph-command-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    /// An executable file.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        path
    }
    fn demo(&self) -> PathBuf {
        self.file("demo", PROGRAM)
    }
    /// A static i386 program from C without a C library; none, with the reason, if it cannot be built.
    fn program(&self, name: &str, source: &str) -> Option<PathBuf> {
        let (input, output) = (self.file(&format!("{name}.c"), format!("{PRELUDE}{source}")), self.path(name));
        let flags = ["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-pic", "-no-pie", "-fno-stack-protector"];
        match Command::new("i686-linux-gnu-gcc").args(flags).arg(&input).arg("-o").arg(&output).status() {
            Ok(status) => {
                assert!(status.success(), "{name}.c does not compile");
                Some(output)
            }
            Err(error) => {
                println!("skipped: i686-linux-gnu-gcc: {error}");
                None
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Start and system calls of the test programs: `run` gets what the kernel left on the stack.
const PRELUDE: &str = r#"
static int call(int n, int a, const void *b, int c) {
    int r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory");
    return r;
}
static void print(const char *s) { int n = 0; while (s[n]) n++; call(4, 1, s, n); call(4, 1, "\n", 1); }
int run(int argc, char **argv, char **envp);
__attribute__((used)) void start(char **stack) {
    int argc = (int)stack[0];
    call(1, run(argc, stack + 1, stack + argc + 2), 0, 0);
}
__asm__(".globl _start\n_start: movl %esp, %eax\n pushl %eax\n call start\n");
"#;

/// The command under a name.
fn named(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isamorph"));
    command.arg0(name);
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"QEMU_")) {
        command.env_remove(variable);
    }
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the command runs")
}

fn run(name: &str, arguments: &[&OsStr]) -> Output {
    output(named(name).args(arguments))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts a failure with exactly this message.
fn assert_fails(output: &Output, status: i32, message: &str) {
    assert_eq!((stderr(output).trim_end(), output.status.code()), (message, Some(status)));
    assert_eq!(stdout(output), "");
}

fn os(text: &str) -> &OsStr {
    OsStr::new(text)
}

#[test]
fn names_and_versions() {
    let version = |name: &str| stdout(&run(name, &[os("-version")]));
    assert!(version("/usr/bin/qemu-i386-static").starts_with("qemu-i386-static version 10.0.0 ("));
    assert!(version("isamorph-i386").starts_with(&format!("isamorph-i386 {} (compat", env!("CARGO_PKG_VERSION"))));
    assert_eq!(stdout(&run("isamorph", &[os("i386"), os("--version")])), version("isamorph-i386"));
    for arguments in [["help"], ["--help"], ["-h"]] {
        let help = run("isamorph", &arguments.map(os));
        assert!(help.status.success() && stdout(&help).contains("QEMU_LD_PREFIX"), "{arguments:?}");
    }
    for missing in ARCHITECTURES.iter().filter(|a| !a.is_supported()).map(|a| a.name) {
        let refused = format!("{missing}: {missing} programs: not supported yet by this build");
        assert_fails(&run("isamorph", &[os(missing), os("x")]), 1, &format!("isamorph: {refused}"));
        let name = format!("qemu-{missing}-static");
        assert_fails(&run(&name, &[os("x")]), 1, &format!("{name}: {refused}"));
    }
    let refused = run("qemu-system-arm", &[]);
    assert_fails(&refused, 1, "qemu-system-arm: system-arm: not supported yet by this build");
    assert!(version("qemu-system-x86_64").starts_with("QEMU emulator version 10.0.0 ("));
    let boards = stdout(&run("qemu-system-i386", &["-M", "help"].map(os)));
    assert!(
        boards.contains("pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-10.0)"),
        "{boards}"
    );
    assert_fails(&run("qemu-system-x86_64", &[os("-usb")]), 1, "qemu-system-x86_64: -usb: not supported");
}

#[test]
fn wrong_command_lines() {
    assert_fails(&run("isamorph", &[]), 1, "qemu: no user program specified");
    assert_fails(&run("qemu-i386", &[os("-strace")]), 1, "qemu: no user program specified");
    assert_fails(&run("qemu-i386", &[os("-foo"), os("x")]), 1, "qemu: unknown option 'foo'");
    assert_fails(&run("qemu-i386", &[os("-L")]), 1, "qemu: missing argument for option 'L'");
    for model in ["foo", "cortex-a53"] {
        let message = format!("qemu: unable to find CPU model '{model}'");
        assert_fails(&run("qemu-i386", &["-cpu", model, "x"].map(os)), 1, &message);
    }
    let folder = Folder::new("model");
    let program = folder.demo();
    let message = "qemu: unable to find CPU model 'cortex-a53'";
    assert_fails(&run("isamorph", &[os("-cpu"), os("cortex-a53"), program.as_os_str()]), 1, message);
    let message = "qemu: -g: '70000' is no port and no path";
    assert_fails(&run("qemu-i386", &["-g", "70000", "x"].map(os)), 1, message);
    let log = run("qemu-i386", &["-D", "/nowhere/log", "/bin/sh"].map(os));
    assert_fails(&log, 1, "qemu: Error opening logfile /nowhere/log: No such file or directory");
    assert_fails(&output(named("qemu-i386").env("QEMU_GDB", "70000").arg("x")), 1, message);
}

/// An ELF header for i386, with nothing behind it.
fn header() -> Vec<u8> {
    let mut bytes = PROGRAM[..52].to_vec();
    bytes[44] = 0; // no program headers
    bytes
}

#[test]
fn files_that_cannot_be_run() {
    let folder = Folder::new("hostile");
    let check = |path: &Path, status: i32, message: &str| {
        let text = path.to_string_lossy();
        assert_fails(&run("qemu-i386", &[path.as_os_str()]), status, &message.replace("{}", &text));
    };
    check(Path::new("/nowhere/prog"), 1, "Error while loading {}: No such file or directory");
    check(&folder.0, 1, "Error while loading {}: Permission denied");
    let unexecutable = folder.file("plain", PROGRAM);
    fs::set_permissions(&unexecutable, fs::Permissions::from_mode(0o644)).expect("permissions");
    check(&unexecutable, 1, "Error while loading {}: Permission denied");
    check(&folder.file("empty", ""), 1, "Error while loading {}: Exec format error");
    check(&folder.file("text", "hello, world, this is no program"), 1, "Error while loading {}: Exec format error");
    check(
        &folder.file("loop", format!("#!{}\n", folder.path("loop").display())),
        1,
        &format!("Error while loading {}: Too many levels of symbolic links", folder.path("loop").display()),
    );
    let missing = "Error while loading /nowhere/sh: No such file or directory";
    check(&folder.file("script", "#!/nowhere/sh\n"), 1, missing);
    check(&folder.file("nothing", "#!\n"), 1, "Error while loading {}: Exec format error");
}

#[test]
fn damaged_elf_files() {
    let folder = Folder::new("damaged");
    let invalid = |name: &str, bytes: &[u8]| {
        let path = folder.file(name, bytes);
        let output = run("qemu-i386", &[path.as_os_str()]);
        let expected = format!("qemu-i386: {}: Invalid ELF image", path.display());
        assert!(stderr(&output).starts_with(&expected), "{name}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(255), "{name}");
    };
    invalid("header only", &header());
    invalid("short", &PROGRAM[..40]);
    invalid("no segments", &PROGRAM[..60]);
    let mut sizes = PROGRAM.to_vec();
    sizes[52 + 16..52 + 24].fill(0xff);
    invalid("sizes", &sizes);
    // Any prefix, and any byte of the headers changed: an error or a program, never a crash of ours.
    for cut in (0..PROGRAM.len()).step_by(613) {
        let path = folder.file("cut", &PROGRAM[..cut]);
        let output = run("qemu-i386", &[path.as_os_str()]);
        assert!(!stderr(&output).contains("panicked"), "{cut}: {}", stderr(&output));
    }
    for at in 16..52 {
        let mut bytes = PROGRAM.to_vec();
        bytes[at] ^= 0xff;
        let output = run("qemu-i386", &[folder.file("changed", &bytes).as_os_str()]);
        assert!(!stderr(&output).contains("panicked"), "{at}: {}", stderr(&output));
    }
}

#[test]
fn programs_of_other_architectures() {
    let folder = Folder::new("other");
    // RISC-V, which is none of the known ones.
    for (name, machine, class) in [("x86_64", 62, 2), ("arm", 40, 1), ("aarch64", 183, 2), ("riscv", 243, 2)] {
        let mut bytes = PROGRAM.to_vec();
        (bytes[4], bytes[18]) = (class, machine);
        let path = folder.file(name, &bytes);
        let text = path.display();
        let invalid = |command: &str| {
            let message = format!("{command}: {text}: Invalid ELF image for this architecture");
            assert_fails(&run(command, &[path.as_os_str()]), 255, &message);
        };
        invalid("qemu-i386");
        match ARCHITECTURES.iter().find(|a| a.name == name) {
            None => invalid("isamorph"),
            Some(known) if known.is_supported() => {}
            Some(_) => {
                let refused = format!("{text}: {name} programs: not supported yet by this build");
                assert_fails(&run("isamorph", &[path.as_os_str()]), 1, &refused);
            }
        }
    }
}

#[test]
fn the_loader_is_missing() {
    let folder = Folder::new("loader");
    let Some(path) = folder.program("static", "int run(int c, char **v, char **e) { return 0; }") else { return };
    // Its first program header becomes PT_INTERP with the string at the file's end.
    let mut bytes = fs::read(path).expect("the program");
    let name = b"/nowhere/ld-linux.so.2\0";
    let (at, len) = (bytes.len() as u32, name.len() as u32);
    bytes.extend_from_slice(name);
    let count = bytes[44] as usize;
    let note = (0..count).map(|i| 52 + 32 * i).find(|&p| bytes[p] != 1).expect("a header that is not PT_LOAD");
    for (field, value) in [(0, 3), (4, at), (16, len), (20, len)] {
        bytes[note + field..note + field + 4].copy_from_slice(&value.to_le_bytes());
    }
    let path = folder.file("dynamic", &bytes);
    let expected = "qemu-i386: Could not open '/nowhere/ld-linux.so.2': No such file or directory";
    assert_fails(&run("qemu-i386", &[path.as_os_str()]), 255, expected);
}

#[test]
fn exit_status_and_signals() {
    let folder = Folder::new("status");
    let source = "int run(int c, char **v, char **e) { if (c > 1) *(volatile int *)16 = 1; return 7; }";
    let Some(path) = folder.program("seven", source) else { return };
    for accel in ["jit", "interp", "tcg,backend=interp"] {
        let options = [os("-accel"), os(accel), path.as_os_str()];
        assert_eq!(run("isamorph", &options).status.code(), Some(7), "{accel}");
        let killed = run("isamorph", &[&options[..], &[os("crash")]].concat());
        assert_eq!(killed.status.signal(), Some(11), "{accel}");
        let expected = "qemu: uncaught target signal 11 (Segmentation fault) - core dumped";
        assert_eq!(stderr(&killed).trim_end(), expected, "{accel}");
    }
}

/// Prints its arguments and environment; with `again` as last argument runs itself with one argument less.
const SHOW: &str = r#"
int run(int c, char **v, char **e) {
    if (c > 2 && v[c - 1][0] == 'a') {
        const char *path = v[1];
        v[c - 1] = 0;
        int r;
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(11), "b"(path), "c"(v), "d"(e) : "memory");
        return 1;
    }
    while (*v) print(*v++);
    while (*e) print(*e++);
    return 0;
}"#;

#[test]
fn arguments_and_environment() {
    let folder = Folder::new("environment");
    let Some(path) = folder.program("show", SHOW) else { return };
    let lines = |command: &mut Command| {
        let output = output(command.env_clear().env("A", "1").env("B", "2"));
        assert_eq!(stderr(&output), "");
        stdout(&output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let name = path.to_str().expect("UTF-8");
    assert_eq!(lines(named("isamorph").arg(&path).args(["x", "-L"])), [name, "x", "-L", "A=1", "B=2"]);
    assert_eq!(
        lines(named("isamorph").args(["-0", "zero", "-U", "A,B", "-E", "C=3,D=4"]).arg(&path)),
        ["zero", "C=3", "D=4"]
    );
    assert_eq!(lines(named("i386-binfmt-P").arg(&path).args(["zero", "one"])), ["zero", "one", "A=1", "B=2"]);
    // An executed program gets the name that it was given, and not the changes of the environment again.
    let again = lines(named("isamorph").args(["-0", "zero", "-E", "A=5"]).arg(&path).args([name, "again"]));
    assert_eq!(again, ["zero", name, "B=2", "A=5"]);
    let stray = output(named("isamorph").args(["-E", "novalue"]).arg(&path));
    assert_fails(&stray, 1, "qemu: -E wants var=value");
}

#[test]
fn executed_programs_share_options_and_log() {
    let folder = Folder::new("exec");
    let Some(path) = folder.program("show", SHOW) else { return };
    let log = folder.path("log");
    let command = |arguments: &[&OsStr]| {
        let output = output(named("isamorph").args(["-strace", "-D"]).arg(&log).arg(&path).args(arguments));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
        fs::read_to_string(&log).expect("a log")
    };
    let text = command(&[path.as_os_str(), os("again")]);
    let (before, after) = text.split_once("execve(").expect("the call is logged");
    assert!(!before.contains("write(") && after.contains("write("), "{text}");
    assert!(!command(&[]).contains("execve("), "a new run starts a new log");
}

#[test]
fn the_log_has_the_forms_that_scripts_look_for() {
    let folder = Folder::new("log");
    let demo = folder.demo();
    let output = output(
        named("isamorph")
            .args(["-d", "in_asm,op,op_opt,out_asm,exec,cpu,page", "-D"])
            .arg(folder.path("log-%d"))
            .arg(&demo)
            .arg("0"),
    );
    assert!(output.status.success() && output.stderr.is_empty());
    let log = fs::read_dir(&folder.0).expect("a folder").filter_map(Result::ok).map(|entry| entry.path());
    let log = log.filter(|path| path.to_string_lossy().contains("/log-")).collect::<Vec<_>>();
    assert_eq!(log.len(), 1);
    let text = fs::read_to_string(&log[0]).expect("a log");
    let has = |line: &str| assert!(text.lines().any(|l| l.starts_with(line)), "{line}");
    has("guest_base  0x");
    has("start    end      size     prot");
    has("----------------");
    has("IN: _start");
    has("0x08049000:  31 ed                   xorl     %ebp, %ebp");
    has("OP:");
    has("OP after optimization and liveness analysis:");
    has("OUT: [size=");
    has("  -- guest addr 0x08049000");
    has("PC=08049000");
    has("EAX=00000000 ECX=");
    let trace = text.lines().find(|line| line.starts_with("Trace 0: 0x")).expect("an executed region");
    assert!(trace.contains(" [00000000/0000000008049000/") && trace.ends_with("] _start"), "{trace}");
}

#[test]
fn the_filter_selects_regions() {
    let folder = Folder::new("filter");
    let log = |filter: &str| {
        let options = ["-d", "in_asm,exec", "-dfilter", filter];
        stderr(&output(named("isamorph").args(options).arg(folder.demo()).arg("1")))
    };
    let text = log("0x8049000+1");
    assert_eq!(text.matches("IN: ").count(), 1);
    assert_eq!(text.matches("Trace 0: ").count(), 1);
    assert_eq!(log("0..1"), "");
}

#[test]
fn statistics_and_seed() {
    let folder = Folder::new("stats");
    let run = |options: &[&str]| stderr(&output(named("isamorph").args(options).arg(folder.demo()).arg("1")));
    let text = run(&["-stats"]);
    assert!(text.starts_with("translated ") && text.contains("code cache"), "{text}");
    assert!(run(&["-accel", "interp", "-stats"]).contains("interpreted"));
    assert_eq!(run(&["-p", "4096", "-seed", "1", "-B", "0x200000000", "-tb-size", "1"]), "");
    let source = r"
int run(int c, char **v, char **e) {
    while (*e) e++;
    for (unsigned *aux = (unsigned *)(e + 1); *aux; aux += 2)
        if (*aux == 25) call(4, 1, (void *)aux[1], 16);
    return 0;
}";
    let Some(path) = folder.program("random", source) else { return };
    let random = |options: &[&str]| output(named("isamorph").args(options).arg(&path)).stdout;
    assert_eq!(random(&["-seed", "1"]), random(&["-seed", "1"]));
    assert_eq!(random(&[]).len(), 16);
    assert_ne!(random(&["-seed", "1"]), random(&["-seed", "2"]));
    assert_ne!(random(&[]), random(&[]));
}

#[test]
fn perf_gets_a_map() {
    let folder = Folder::new("perf");
    let child =
        named("isamorph").arg("-perfmap").arg(folder.demo()).arg("1").stdout(std::process::Stdio::null()).spawn();
    let mut child = child.expect("the command runs");
    let path = PathBuf::from(format!("/tmp/perf-{}.map", child.id()));
    assert!(child.wait().expect("it ends").success());
    let text = fs::read_to_string(&path).expect("a map");
    let _ = fs::remove_file(&path);
    assert!(text.lines().count() > 10);
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        assert!(fields[..2].iter().all(|n| u64::from_str_radix(n, 16).is_ok()), "{line}");
        assert!(fields[2].starts_with("guest:0x08049"), "{line}");
    }
    assert!(text.contains(" hash"));
}

#[test]
fn the_demonstration() {
    let shown = output(named("isamorph").args(["demo", "--rounds", "3"]));
    let text = stdout(&shown);
    assert!(shown.status.success(), "{}", stderr(&shown));
    for part in
        ["3 rounds, checksum 198a3033", "translated ", "All of them print the same", "IN: hash", "OP:", "OUT: ["]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let folder = Folder::new("demo");
    let path = folder.path("saved");
    assert!(output(named("isamorph-demo").arg("--save").arg(&path)).status.success());
    assert_eq!(fs::read(path).expect("the program"), PROGRAM);
}

#[test]
fn the_demonstration_counts_instructions_rightly() {
    let folder = Folder::new("count");
    let demo = folder.demo();
    let count = |rounds: &str| {
        let options = ["-one-insn-per-tb", "-d", "exec"];
        let output = output(named("isamorph").args(options).arg(&demo).arg(rounds));
        output.stderr.iter().filter(|byte| **byte == b'\n').count() as u64
    };
    let round = count("2") - count("1");
    assert!(round.abs_diff(INSNS_PER_ROUND) < INSNS_PER_ROUND / 1000, "{round}");
}

/// What the compiler calls itself; it writes that into what it makes.
fn compiler() -> Option<String> {
    let output = Command::new("i686-linux-gnu-gcc").arg("--version").output().ok()?;
    let line = stdout(&output).lines().next()?.to_owned();
    Some(line.split_once(' ')?.1.to_owned())
}

#[test]
fn the_demonstration_runs_what_its_source_says() {
    let folder = Folder::new("build");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let Some(compiler) = compiler() else {
        return println!("skipped: there is no i686-linux-gnu-gcc");
    };
    let blessing = std::env::var_os("BLESS").is_some();
    let made_by = |bytes: &[u8]| bytes.windows(compiler.len()).any(|part| part == compiler.as_bytes());
    if !blessing && !made_by(PROGRAM) {
        return println!("skipped: the checked-in program was made by another compiler than {compiler}");
    }
    let path = folder.path("demo.elf");
    assert!(Command::new(sources.join("build.sh")).arg(&path).status().expect("a shell").success());
    let built = fs::read(path).expect("the program");
    if blessing {
        return fs::write(sources.join("demo.elf"), built).expect("the program can be written");
    }
    assert!(built == PROGRAM, "demo.c and demo.elf differ: BLESS=1 cargo test -p isamorph");
}
