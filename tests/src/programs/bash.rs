//! Bash: the language, jobs, signals, pipes.

// tidy: table
use super::Case;

const fn bash(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "bash", &["-c"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    bash("nothing", ":"),
    bash("echo", "echo hello; echo -n a; printf '%s|%05d|%x\\n' b 42 255"),
    bash("exit", "exit 42"),
    bash(
        "arithmetic",
        "echo $((2**62)) $((7 % -3)) $((-7 / 2)) $((0xff ^ 0x0f)) $((1 << 63)) $((5 > 3 && 2 < 1)) $((36#zz))",
    ),
    bash("overflow", "echo $((9223372036854775807 + 1)) $((-9223372036854775808 / 1)) $((4294967296 * 4294967296))"),
    bash("for_loop", "for ((i = 0, s = 0; i < 5000; i++)); do ((s += i * i % 7)); done; echo $s"),
    bash("arrays", "a=(one two three); a+=(four); echo ${a[@]:1:2} ${#a[@]} ${!a[@]}; unset a[1]; echo ${a[*]}"),
    bash("maps", "declare -A m=([x]=1 [y]=2); m[z]=3; for k in x y z; do echo $k=${m[$k]}; done; echo ${#m[@]}"),
    bash("expansion", "v=path/to/file.tar.gz; echo ${v##*/} ${v%%.*} ${v/to/at} ${v^^} ${#v} ${v:5:2} ${u:-none}"),
    bash("braces", "echo {a,b}{1..4} {10..1..3} {a..e}"),
    bash("globs", "touch f1 f2 g1; echo f* ?1 [!f]1; shopt -s extglob\necho !(f*|w*|n*|t*|d*)"),
    bash("case", "for w in apple 12 x-y; do case $w in [0-9]*) echo num;; *-*) echo dash;; *) echo word;; esac; done"),
    bash("regex", "[[ 2024-05-17 =~ ^([0-9]+)-([0-9]+)-([0-9]+)$ ]] && echo ${BASH_REMATCH[@]:1}"),
    bash("functions", "fib() { (($1 < 2)) && echo $1 || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }; fib 7"),
    bash("recursion", "f() { (($1)) && { r=$((r + $1)); f $(($1 - 1)); }; }; r=0; f 200; echo $r"),
    bash("here_document", "x=7; cat <<E; cat <<'E'; cat <<<\"string $x\"\nval $x $((x * 2))\nE\nraw $x\nE\n"),
    bash("pipes", "seq 1 100 | grep 3 | sort -rn | head -5 | paste -sd,"),
    bash("pipe_status", "false | true | (exit 4); echo ${PIPESTATUS[@]}; set -o pipefail; false | true; echo $?"),
    bash("substitution", "echo $(echo $(echo nested)) `echo ticks`; a=$(cat words.txt); echo ${#a}"),
    bash("process_substitution", "diff <(seq 5) <(seq 2 6); paste <(echo a) <(echo b)"),
    bash(
        "redirections",
        "{ echo out; echo err >&2; } 2>&1 >f | cat; cat f; exec 3>g; echo three >&3; exec 3>&-; cat g",
    ),
    bash("read_loop", "while IFS=, read -r id name amount; do ((id % 50)) || echo $name:$amount; done < table.csv"),
    bash("mapfile", "mapfile -t lines < numbers.txt; echo ${#lines[@]} ${lines[7]}"),
    bash(
        "printf",
        "printf '%s %q %b\\n' a 'b c' 'x\\ty'; printf '%.3f %e %g\\n' 3.14159 12345.678 0.0001; printf '%(%Y)T\\n' 0",
    ),
    bash("jobs", "sleep 0.05 & wait $!; echo $?; (exit 9) & wait $!; echo $?"),
    bash(
        "wait_for_many",
        "for i in 1 2 3 4; do (exit $i) & p+=($!); done; for q in ${p[@]}; do wait $q; echo $?; done",
    ),
    bash("trap_signal", "trap 'echo usr1' USR1; trap 'echo bye' EXIT; kill -USR1 $$; echo middle"),
    bash("trap_in_child", "(trap 'echo child term; exit 5' TERM; kill -TERM $BASHPID; echo no); echo $?"),
    bash("killed_by_signal", "sh -c 'kill -SEGV $$' 2>/dev/null; echo $?; bash -c 'kill -KILL $$'; echo $?"),
    bash("die_by_signal", "kill -TERM $$"),
    bash("signal_while_waiting", "trap 'echo chld' USR2; (sleep 0.5; kill -USR2 $$) & wait; echo $?; wait"),
    bash("errexit", "set -e; echo before; false; echo after"),
    bash("nounset", "set -u; echo ${x:-default}; echo $x; echo no"),
    bash("select_and_let", "let 'a = 5' 'b = a * 3'; echo $a $b; echo $((a++ + --b))"),
    bash(
        "coprocess",
        "coproc cat; echo ping >&${COPROC[1]}; read -r x <&${COPROC[0]}; echo got $x; eval \"exec ${COPROC[1]}>&-\"",
    ),
    bash("exec_replaces", "exec /usr/bin/expr 6 '*' 7"),
    bash("not_found", "no_such_program_here 2>/dev/null; echo $?; ./words.txt 2>/dev/null; echo $?"),
    bash("subshell_variables", "x=1; (x=2; echo $x); echo $x; export y=3; bash -c 'echo $y'"),
    bash("ulimit", "ulimit -c 0; ulimit -c; ulimit -n 64; ulimit -n"),
    bash("umask", "umask 027; touch f; stat -c %a f; umask"),
    bash(
        "tests",
        "[[ -f words.txt && ! -d words.txt && -s words.txt ]] && echo file; [[ a < b ]]; echo $?; [ 3 -lt 20 ]; echo $?",
    ),
    bash("script_file", "printf '#!/bin/bash\\necho script $1 $#\\n' > s; chmod +x s; ./s one two; bash s three"),
    bash("env_script", "printf '#!/usr/bin/env python3\\nprint(6 * 7)\\n' > s; chmod +x s; ./s").heavy(),
    bash("forks", "for ((i = 0; i < 30; i++)); do (exit $((i % 5))); s=$((s + $?)); done; echo $s"),
    bash(
        "directory_stack",
        "mkdir -p a/b; cd a/b; echo ${PWD##*/}; cd ../..; pushd a >/dev/null; dirs | wc -w; popd >/dev/null; echo ${PWD##*/}",
    ),
    bash("time_of_file", "touch -d @1000000000 f; [[ f -ot words.txt ]] && echo older; date -u -r f +%F"),
    bash(
        "sieve",
        "n=400; for ((i = 2; i <= n; i++)); do [[ ${c[i]} ]] && continue; p+=($i); for ((j = i * i; j <= n; j += i)); do c[j]=1; done; done; echo ${p[@]}",
    ),
    bash("string_building", "s=; for i in {1..300}; do s+=$((i * 7919 % 97)),; done; echo ${#s} ${s: -20}"),
    bash(
        "sort_in_bash",
        "mapfile -t a < <(head -40 numbers.txt); for ((i = 0; i < 40; i++)); do for ((j = 0; j < 39 - i; j++)); do ((a[j] > a[j + 1])) && { t=${a[j]}; a[j]=${a[j + 1]}; a[j + 1]=$t; }; done; done; echo ${a[@]}",
    ),
    Case::script(
        "dash",
        "dash",
        &["-c"],
        "i=0; while [ $i -lt 100 ]; do i=$((i + 1)); done; echo $i; set -- a b c; shift; echo $# $*",
    ),
    Case::script("dash_trap", "dash", &["-c"], "trap 'echo hup' HUP; kill -HUP $$; (exit 3) || echo $?"),
];
