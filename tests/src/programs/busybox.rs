//! Busybox: one static program, many applets.

// tidy: table
use super::Case;

const fn applet(name: &'static str, args: &'static [&'static str]) -> Case {
    Case::new(name, "busybox", args)
}

const fn shell(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "busybox", &["sh", "-c"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    applet("true", &["true"]),
    applet("false", &["false"]),
    applet("echo", &["echo", "-e", "a\\tb\\x41\\n"]),
    applet("printf", &["printf", "%5d|%-5s|%x|%o|%e\\n", "42", "ab", "255", "8", "1.5"]),
    applet("seq", &["seq", "-w", "1", "7", "100"]),
    applet("expr", &["expr", "(", "17", "*", "3", ")", "%", "7"]),
    applet("cat", &["cat", "words.txt"]),
    applet("wc", &["wc", "words.txt", "numbers.txt"]),
    applet("head", &["head", "-n", "3", "words.txt"]),
    applet("tail", &["tail", "-n", "3", "words.txt"]),
    applet("sort", &["sort", "-n", "-u", "numbers.txt"]),
    applet("sort_keys", &["sort", "-t", ",", "-k", "2,2", "-k", "3,3nr", "table.csv"]),
    applet("uniq", &["uniq", "-c"]).reading("a\na\nb\nc\nc\nc\n"),
    applet("cut", &["cut", "-d", ",", "-f", "2-", "table.csv"]),
    applet("tr", &["tr", "a-z", "A-Z"]).reading("Hello, World\n"),
    applet("rev", &["rev"]).reading("abc\nxyz\n"),
    applet("tac", &["tac", "table.csv"]),
    applet("od", &["od", "-A", "x", "-t", "x1", "-N", "300", "data.bin"]),
    applet("hexdump", &["hexdump", "-C", "-n", "200", "data.bin"]),
    applet("xxd", &["xxd", "-l", "100", "data.bin"]),
    applet("md5sum", &["md5sum", "data.bin", "words.txt"]),
    applet("sha1sum", &["sha1sum", "data.bin"]),
    applet("sha256sum", &["sha256sum", "data.bin"]),
    applet("sha512sum", &["sha512sum", "data.bin"]),
    applet("sha3sum", &["sha3sum", "data.bin"]),
    applet("crc32", &["crc32", "data.bin"]),
    applet("base64", &["base64", "numbers.txt"]),
    applet("factor", &["factor", "4294967291", "1000000006", "720720"]),
    applet("dc", &["dc"]).reading("5k 2 v p 1 3 / p 100 7 % p\n"),
    applet("bc", &["bc", "-l"]).reading("scale=20\n4*a(1)\n2^100\nsqrt(2)\n"),
    applet("grep", &["grep", "-nE", "(ka|ro)ten.*su$", "words.txt"]),
    applet("grep_count", &["grep", "-c", "mi", "words.txt"]),
    applet("sed", &["sed", "-n", "s/\\(ka\\)\\([a-z]*\\)/<\\2\\1>/gp", "words.txt"]),
    applet(
        "awk",
        &[
            "awk",
            "-F,",
            "{n[$2]++; s[$2]+=$3} END {for (k in n) printf \"%s %d %.2f\\n\", k, n[k], s[k] | \"sort\"}",
            "table.csv",
        ],
    ),
    applet(
        "awk_numbers",
        &[
            "awk",
            "BEGIN {for (i = 1; i < 30; i++) print i, i / 7, int(i * 2.5), i % 4, substr(\"abcdefgh\", i % 6), i * 1e10}",
        ],
    ),
    applet("date", &["date", "-u", "-d", "@1234567890", "+%Y-%m-%d %H:%M:%S %a %j"]),
    applet("cal", &["cal", "2", "2024"]),
    applet("basename", &["basename", "/usr/lib/libc.so", ".so"]),
    applet("dirname", &["dirname", "/usr/lib/libc.so"]),
    applet("env", &["env", "-i", "A=1", "B=2"]),
    applet("test", &["test", "3", "-gt", "5"]),
    applet("fold", &["fold", "-w", "20", "-s", "words.txt"]),
    applet("expand", &["expand", "-t", "4"]).reading("a\tb\n\tc\n"),
    applet("nl", &["nl", "numbers.txt"]),
    applet("diff", &["diff", "words.txt", "numbers.txt"]),
    applet("cmp", &["cmp", "words.txt", "numbers.txt"]),
    applet("paste", &["paste", "-d", ":", "numbers.txt", "table.csv"]),
    applet("strings", &["strings", "-n", "6", "data.bin"]),
    applet("ipcalc", &["ipcalc", "-b", "-n", "-m", "10.20.30.40/21"]),
    applet("unexpand", &["unexpand", "-a"]).reading("        a       b\n"),
    applet("uuencode", &["uuencode", "numbers.txt", "x"]),
    shell("gzip", "gzip -9 < data.bin > d.gz && gunzip -c d.gz | cmp - data.bin && echo same"),
    shell("bzip2", "bzip2 < words.txt | bunzip2 | sha1sum"),
    shell("lzma", "xz -d < /dev/null; unlzma < /dev/null; echo $?"),
    shell(
        "tar",
        "tar cf t.tar words.txt numbers.txt && tar tf t.tar && mkdir x && tar xf t.tar -C x && cmp x/words.txt words.txt && echo same",
    ),
    shell("cpio", "echo words.txt | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null"),
    shell(
        "find",
        "mkdir -p a/b/c && touch a/b/x a/y && find a | sort && find a -type f -name '?' -exec echo found {} \\; | sort",
    ),
    shell("xargs", "seq 20 | xargs -n 6 echo row"),
    shell("pipes", "seq 1000 | grep 7 | sort -r | head -n 5 | tr '\\n' ' '; echo"),
    shell("loops", "i=0; while [ $i -lt 200 ]; do i=$((i + 3)); case $i in *9) echo $i;; esac; done"),
    shell("functions", "f() { local x=$1; [ $x -le 1 ] && echo 1 && return; echo $((x * $(f $((x - 1))))); }; f 10"),
    shell("trap", "trap 'echo got usr1' USR1; kill -USR1 $$; echo after"),
    shell("exit_status", "(exit 3); echo $?; sh -c 'kill -TERM $$'; echo $?; exit 7"),
    shell("here_document", "x=5; cat <<E\nvalue $x $((x * x))\nE\n"),
    shell("background", "(sleep 0.5; echo late) & echo early; wait; echo done"),
    shell("links", "ln -s words.txt l && readlink l && ln numbers.txt h && stat -c '%h %s %F' numbers.txt l"),
    shell("chmod", "umask 022; touch f; chmod 640 f; stat -c %a f; chmod u+x,o+r f; stat -c %a f"),
    shell("dd", "dd if=data.bin bs=1k skip=3 count=7 2>/dev/null | md5sum"),
    shell("split", "split -l 100 numbers.txt p && wc -l p* && rm p*"),
    shell("mkfifo", "mkfifo f; (cat words.txt > f) & md5sum < f; wait"),
    shell("touch", "touch -d '2020-02-03 04:05:06' f && stat -c %Y f && ls -l --full-time f | sed 's/.* 0 //'"),
    shell("pid_of_child", "sh -c 'echo $PPID' | grep -c . ; echo $$ | grep -c '^[0-9]'"),
    shell("timeout", "timeout 0.1 sleep 5; echo $?"),
    shell("ash_arithmetic", "echo $((0x7fffffff + 1)) $((1 << 40)) $((-7 / 2)) $((-7 % 3)) $((~5 & 0xff))"),
];
