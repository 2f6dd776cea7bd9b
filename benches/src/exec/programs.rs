//! Debian programs as benchmarks.

use super::{Benchmark, Folders, Program, inputs};

/// An RFC 3526 prime (group 2), in hexadecimal.
const PRIME: &str = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
                     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
                     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF";

/// All program benchmarks.
pub fn list(folders: &Folders, scale: u32) -> Vec<Benchmark> {
    let make = Maker { folders, scale };
    [make.compression(), make.interpreters(), make.cryptography(), make.start_up()].concat()
}

struct Maker<'a> {
    folders: &'a Folders,
    scale: u32,
}

impl Maker<'_> {
    /// `full` units of work, scaled.
    fn scaled(&self, full: u32) -> usize {
        ((full * self.scale + 50) / 100).max(1) as usize
    }

    fn input(&self, name: &str) -> String {
        inputs::path(self.folders, name).to_string_lossy().into_owned()
    }

    /// The same file several times.
    fn times(&self, name: &str, full: u32) -> Vec<String> {
        vec![self.input(name); self.scaled(full)]
    }

    fn benchmark(&self, name: &str, program: &'static str, options: &[&str], more: Vec<String>) -> Benchmark {
        Benchmark {
            name: name.to_owned(),
            class: name.chars().next().unwrap_or('r'),
            program: Program::Debian(program),
            args: options.iter().map(|option| option.to_string()).chain(more).collect(),
            stdin: None,
            repeat: 1,
        }
    }

    fn compression(&self) -> Vec<Benchmark> {
        let mix = self.input("mix.bin");
        vec![
            self.benchmark("r_gzip", "gzip", &["-9c"], self.times("mix.bin", 2)),
            self.benchmark("r_gunzip", "gzip", &["-dc"], self.times("mix.bin.gz", 20)),
            self.benchmark("r_bzip2", "bzip2", &["-9c"], self.times("mix.bin", 3)),
            self.benchmark("r_bunzip2", "bzip2", &["-dc"], self.times("mix.bin.bz2", 6)),
            self.benchmark("r_xz", "xz", &["-T1", "-1c"], self.times("mix.bin", 3)),
            self.benchmark("r_unxz", "xz", &["-dc"], self.times("mix.bin.xz", 12)),
            self.benchmark("r_zstd", "zstd", &["-q", "--single-thread", "-9c"], self.times("mix.bin", 4)),
            self.benchmark("r_7z", "7zz", &["a", "-txz", "-mmt1", "-mx3", "-so", "o.xz", &mix], vec![]),
        ]
    }

    fn interpreters(&self) -> Vec<Benchmark> {
        let script = |name: &str, program, options: &[&str], file: &str, rounds: u32| {
            let args = vec![self.input(file), self.scaled(rounds).to_string()];
            self.benchmark(name, program, options, args)
        };
        let awk = |name: &str, program, options: &[&str], rounds: u32| {
            let args = vec![format!("N={}", self.scaled(rounds)), "-f".to_owned(), self.input("mix.awk")];
            self.benchmark(name, program, options, args)
        };
        let bash = format!("N={}; . {}", self.scaled(90000), self.input("mix.sh"));
        let mut sqlite = self.benchmark("p_sqlite", "sqlite3", &[":memory:"], vec![]);
        sqlite.stdin = Some(inputs::path(self.folders, "mix.sql"));
        vec![
            script("p_python", "python3.11", &["-S"], "mix.py", 60),
            script("p_perl", "perl", &[], "mix.pl", 130),
            script("p_lua", "lua5.4", &[], "mix.lua", 130),
            sqlite,
            self.benchmark("p_bash", "bash", &["-c", &bash], vec![]),
            awk("p_gawk", "gawk", &["-v"], 500),
            awk("p_bbawk", "busybox", &["awk", "-v"], 250),
        ]
    }

    fn cryptography(&self) -> Vec<Benchmark> {
        let checks = self.scaled(1500).to_string();
        let (key, vector) = ("0".repeat(31) + "1", "0".repeat(32));
        let encrypt = ["enc", "-aes-128-cbc", "-K", &key, "-iv", &vector, "-out", "/dev/null", "-in"];
        vec![
            self.benchmark("o_sha256", "openssl", &["dgst", "-sha256"], self.times("big.bin", 5)),
            self.benchmark("o_md5", "openssl", &["dgst", "-md5"], self.times("big.bin", 5)),
            self.benchmark("o_aescbc", "openssl", &encrypt, vec![self.input("big.bin")]),
            self.benchmark("o_prime", "openssl", &["prime", "-checks", &checks, "-hex", PRIME], vec![]),
            self.benchmark("o_bbsha1", "busybox", &["sha1sum"], self.times("mix.bin", 24)),
        ]
    }

    fn start_up(&self) -> Vec<Benchmark> {
        let repeated = |name: &str, program, args: &[&str], full: u32| Benchmark {
            repeat: self.scaled(full) as u32,
            ..self.benchmark(name, program, args, vec![])
        };
        let count = self.scaled(200).max(5);
        let fork = format!("for ((i = 0; i < {count}; i++)); do (:); done");
        let fork_exec = format!("for ((i = 0; i < {count}; i++)); do {{guest}}/true; done");
        vec![
            repeated("s_busybox", "busybox", &["true"], 20),
            repeated("s_true", "true", &[], 20),
            repeated("s_bash", "bash", &["-c", ":"], 20),
            repeated("s_perl", "perl", &["-e", "0"], 20),
            repeated("s_python", "python3.11", &["-c", "pass"], 10),
            repeated("s_openssl", "openssl", &["version"], 10),
            self.benchmark("s_fork", "bash", &["-c", &fork], vec![]),
            self.benchmark("s_forkexec", "bash", &["-c", &fork_exec], vec![]),
        ]
    }
}
