//! The runner as a process: natively or under an emulator.

use super::layout::{END_LEN, End};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Compiles the runner.
///
/// # Errors
/// There is no compiler for i386, or it refuses the program: a reason to skip the comparison.
pub fn compile(folder: &Path) -> Result<PathBuf, String> {
    const COMPILER: &str = "i686-linux-gnu-gcc";
    const FLAGS: [&str; 12] = [
        "-std=gnu11",
        "-O1",
        "-ffreestanding",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-fno-pic",
        "-mgeneral-regs-only",
        "-fno-stack-protector",
        "-Wl,-Ttext-segment=0x1a6c0000",
        "-Wl,--build-id=none",
        "-Wl,-z,noexecstack",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/runner.c");
    let program = folder.join("runner");
    let mut command = Command::new(COMPILER);
    command.args(FLAGS).arg("-o").arg(&program).arg(source);
    match command.output() {
        Ok(output) if output.status.success() => Ok(program),
        Ok(output) => Err(format!("{COMPILER}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{COMPILER}: {error}")),
    }
}

/// A way to run the runner.
#[derive(Clone, Debug)]
pub struct Mode {
    /// Its name in reports.
    pub name: String,
    /// The emulator with its options; nothing for the host's processor.
    pub command: Vec<String>,
    /// Whether a fault shows exact flags even where no instruction can read them any more.
    pub is_precise: bool,
}

impl Mode {
    /// The host's processor.
    pub fn native() -> Self {
        Mode { name: "native".into(), command: vec![], is_precise: true }
    }
}

/// What became of a batch.
pub struct Answers {
    /// The ends, in the order of the starts; fewer if the process died.
    pub ends: Vec<End>,
    /// How the process died, if it did.
    pub death: Option<String>,
}

/// A running runner; started again after it died.
pub struct Runner {
    mode: Mode,
    program: PathBuf,
    process: Option<(Child, ChildStdin, ChildStdout)>,
}

impl Runner {
    /// A runner that is not started yet.
    pub fn new(mode: Mode, program: &Path) -> Self {
        Runner { mode, program: program.to_owned(), process: None }
    }

    /// The way it runs.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    fn start(&self) -> io::Result<(Child, ChildStdin, ChildStdout)> {
        let words: Vec<&str> = self.mode.command.iter().map(String::as_str).collect();
        let mut command = match words[..] {
            [] => Command::new(&self.program),
            [first, ref rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((child, stdin, stdout)),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Runs a batch of `count` cases.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn run(&mut self, batch: &[u8], count: usize) -> io::Result<Answers> {
        let (mut child, mut stdin, mut stdout) = match self.process.take() {
            Some(process) => process,
            None => self.start()?,
        };
        let mut bytes = vec![0; count * END_LEN];
        let got = std::thread::scope(|scope| {
            // A process that died does not read the rest.
            scope.spawn(|| drop(stdin.write_all(batch)));
            fill(&mut stdout, &mut bytes)
        })?;
        let ends = bytes[..got].chunks_exact(END_LEN).map(End::decode).collect();
        let mut death = None;
        if got == bytes.len() {
            self.process = Some((child, stdin, stdout));
        } else {
            drop(stdin);
            death = Some(child.wait()?.to_string());
        }
        Ok(Answers { ends, death })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some((mut child, stdin, stdout)) = self.process.take() {
            drop((stdin, stdout));
            // It ends when there is no more input.
            drop(child.wait());
        }
    }
}

/// Reads until the buffer is full or the stream ends; the number of bytes.
fn fill(stream: &mut ChildStdout, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match stream.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
