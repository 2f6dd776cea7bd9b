//! Building the kernels.

use super::{Benchmark, Folders, Program, cold};
use crate::arch::{self, Arch};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: &[&str] = &[
    "a_branchy",
    "a_coremix",
    "b_acktak",
    "b_fib",
    "c_bytecode",
    "c_threaded",
    "c_vtable",
    "d_bytes",
    "d_chase",
    "d_strmem",
    "e_fmatf",
    "e_libm",
    "e_mandel",
    "e_nbody",
    "f_simdf32",
    "f_simdf64",
    "f_simdint",
    "g_bignum",
    "g_mix64",
    "g_sha256",
    "h_heap",
    "h_qsort",
    "i_x87",
    "j_cold",
    "k_atomic",
    "k_syscall",
    "l_jit",
];
/// Kernels that are also built without SSE.
const X87_VARIANTS: &[&str] = &["e_fmatf", "e_libm", "e_mandel", "e_nbody"];
const X87_PREFIX: &str = "x87_";

/// For x86 only: it tests the x87.
const X87_KERNEL: &str = "i_x87";

/// Multiplications and additions are not fused, which gives other results where the processor can do that.
const FLAGS: &[&str] = &["-O2", "-static", "-std=gnu11", "-w", "-fno-pie", "-no-pie", "-ffp-contract=off"];
const SSE: &[&str] = &["-msse2", "-mfpmath=sse"];
const X87: &[&str] = &["-mno-sse", "-mfpmath=387"];
/// Debian's programs for armhf do not expect it, but the SIMD kernels do.
const NEON: &[&str] = &["-mfpu=neon"];
/// For the SIMD kernels. Only when compiling: when linking, `-ffast-math` adds start-up code that flushes denormals.
const VECTORISE: &[&str] = &["-O3", "-ffast-math"];
/// For the cold code: its functions have to stay apart.
const KEEP_APART: &[&str] = &["-fno-ipa-icf", "-fno-ipa-cp", "-fno-ipa-sra"];

/// All kernels of an architecture, whether built or not.
pub fn list(arch: &Arch, scale: u32) -> Vec<Benchmark> {
    let (is_x86, is_i386) = (["i386", "amd64"].contains(&arch.debian), arch.debian == "i386");
    let common = KERNELS.iter().filter(|name| is_x86 || **name != X87_KERNEL).map(|name| name.to_string());
    let variants = X87_VARIANTS.iter().filter(|_| is_i386).map(|name| format!("{X87_PREFIX}{name}"));
    common.chain(variants).map(|name| kernel(name, scale)).collect()
}

/// The compiler, if it is not installed.
pub fn missing_compiler(arch: &Arch) -> Option<&'static str> {
    arch::installed(arch.compiler).is_none().then_some(arch.compiler)
}

fn kernel(name: String, scale: u32) -> Benchmark {
    let first = name.chars().next().unwrap_or('a');
    let class = if name.starts_with(X87_PREFIX) { 'i' } else { first };
    // The cold code takes the number of passes over it.
    let arg = if class == 'j' { 1 } else { scale };
    Benchmark {
        class,
        program: Program::Kernel(name.clone()),
        args: vec![arg.to_string()],
        stdin: None,
        repeat: 1,
        name,
    }
}

/// Compiles a kernel unless its executable is newer than its source.
pub fn build(folders: &Folders, arch: &Arch, benchmark: &Benchmark) -> io::Result<()> {
    let Program::Kernel(name) = &benchmark.program else { return Ok(()) };
    let output = &folders.kernel(arch, name);
    std::fs::create_dir_all(folders.built.join(arch.debian))?;
    let base = benchmark.name.strip_prefix(X87_PREFIX).unwrap_or(&benchmark.name);
    let source = source(folders, base)?;
    let includes = folders.repository.join("benches/kernels");
    let written = [modified(&source), modified(&includes.join("bench.h"))].into_iter().flatten().max();
    if modified(output) > written {
        return Ok(());
    }
    let unit = match arch.debian {
        "i386" if base.len() < benchmark.name.len() => X87,
        "i386" => SSE,
        "armhf" if benchmark.class == 'f' => NEON,
        _ => &[],
    };
    let object = output.with_extension("o");
    let mut compile = Command::new(arch.compiler);
    compile.args(FLAGS).args(unit).arg("-I").arg(&includes);
    match benchmark.class {
        'f' => compile.args(VECTORISE),
        'j' => compile.args(KEEP_APART),
        _ => &mut compile,
    };
    run(compile.arg("-c").arg("-o").arg(&object).arg(&source))?;
    run(Command::new(arch.compiler).args(FLAGS).arg("-o").arg(output).arg(&object).args(["-lm", "-lpthread"]))
}

/// The source of a kernel; the cold code is generated.
fn source(folders: &Folders, base: &str) -> io::Result<PathBuf> {
    if base != "j_cold" {
        return Ok(folders.repository.join("benches/kernels").join(base).with_extension("c"));
    }
    let path = folders.built.join("j_cold.c");
    let text = cold::program();
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
        std::fs::write(&path, text)?;
    }
    Ok(path)
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn run(command: &mut Command) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("{program}: {status}"))),
        Err(error) => Err(io::Error::other(format!("cannot run {program}: {error}"))),
    }
}
