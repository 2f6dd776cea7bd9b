//! Tools for text and files outside coreutils: grep, sed, gawk, bc, dc, diff, find, tar, file.

// tidy: table
use super::Case;

const fn gawk(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "gawk", &["-F,"], text)
}

const fn bash(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "bash", &["-c"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    Case::new("grep", "grep", &["-n", "kamiten", "words.txt"]),
    Case::new("grep_extended", "grep", &["-oE", "(ka|mi){2}[a-z]*", "words.txt"]),
    Case::new("grep_backreference", "grep", &["-nE", "\\<(\\w+) \\1\\>", "words.txt"]),
    Case::new("grep_perl", "grep", &["-oP", "ka(?=ro)\\w+|(?<!m)i\\b", "words.txt"]),
    Case::new("grep_context", "grep", &["-i", "-C1", "-m3", "TENSU", "words.txt"]),
    Case::new("grep_none", "grep", &["-q", "zzz", "words.txt"]),
    Case::new("grep_fixed", "grep", &["-cFf", "numbers.txt", "table.csv"]),
    Case::new("sed", "sed", &["-E", "s/([a-z]+) ([a-z]+)/\\2 \\1/g; 10q", "words.txt"]),
    Case::new("sed_script", "sed", &["-n", "$!{h;d};H;x;s/\\n/+/;p"]).reading("a\nb\nc\n"),
    Case::new("sed_hold", "sed", &["1!G;h;$!d"]).reading("1\n2\n3\n4\n"),
    Case::new("sed_translate", "sed", &["y/aeiou/AEIOU/;/ka/!d;=", "words.txt"]),
    Case::script("gawk", "gawk", &[], "BEGIN { for (i = 1; i <= 20; i++) printf \"%d %.10g %s\\n\", i, i ^ 0.5, substr(\"abcdefghij\", i % 7, 4) }"),
    Case::script("gawk_math", "gawk", &[], "BEGIN { for (x = -3; x < 3; x += 0.37) print sin(x), cos(x), exp(x), atan2(x, 2), int(x * 1000) % 17, log(x * x) }"),
    Case::script("gawk_strings", "gawk", &[], "BEGIN { s = \"abcabc\"; n = gsub(/b+c/, \"<&>\", s); print n, s, toupper(s), index(s, \"<\"), length(s); split(\"a:b:c\", q, \":\"); print q[3] q[1]; print match(\"foobar\", /o+/), RSTART, RLENGTH }"),
    Case::script("gawk_sort", "gawk", &[], "BEGIN { for (i = 0; i < 300; i++) a[i] = i * 7919 % 1009; n = asort(a, b); for (i = 1; i <= n; i += 29) print b[i] }"),
    Case::script("gawk_bits", "gawk", &[], "BEGIN { print and(12, 10), or(12, 10), xor(12, 10), lshift(1, 40), rshift(1099511627776, 8), strtonum(\"0x1f\") }"),
    Case::script("gawk_big_numbers", "gawk", &["-M"], "BEGIN { print 2 ^ 200, 100 ^ 20 % 97; PREC = 200; print 1 / 3 }"),
    gawk("gawk_fields", "NR % 40 == 1 { print NR, $2, NF, $3 * 2 }").reading("1,a,2.5\n2,b,3\n"),
    gawk("gawk_pipe", "BEGIN { while ((\"sort -t, -k2 table.csv\" | getline line) > 0) n++; print n, line; \"date -u -d @0 +%F\" | getline d; print d }"),
    gawk("gawk_functions", "function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) } BEGIN { print f(15); print strftime(\"%F %T\", 86400, 1) }"),
    Case::new("bc", "bc", &["-lq"]).reading("scale=50\n4*a(1)\ne(1)\nl(2)\ns(1)\n2^300\n10^40/7\n"),
    Case::new("bc_program", "bc", &["-q"]).reading("define f(n) { if (n < 2) return (1); return (n * f(n - 1)); }\nf(60)\nfor (i = 0; i < 5; i++) i * i\nibase=16\nFF\n"),
    Case::new("dc", "dc", &["-e", "100k 2v p 3 200^ 7 % p [la1+dsa20>x]sx 0sa lxx lap"]),
    Case::new("diff", "diff", &["-u", "--label", "a", "--label", "b", "words.txt", "numbers.txt"]),
    Case::new("cmp", "cmp", &["-l", "-n", "200", "words.txt", "data.bin"]),
    Case::new("find", "find", &[".", "-type", "f", "-size", "+3k", "-printf", "%f %s\\n"]),
    Case::new("file", "file", &["-b", "words.txt", "/usr/bin/bash", "/usr/share/misc/magic.mgc"]).heavy(),
    bash("diff_and_sort", "sort words.txt > a; sort -r words.txt > b; diff a b | grep -c '^[<>]'"),
    bash("find_exec", "mkdir -p a/b; touch a/1 a/b/2; find a -type f -exec basename {} \\; | sort; find a -depth -delete; ls -d a 2>/dev/null; echo $?"),
    bash("xargs", "seq 50 | xargs -n 9 -P 1 echo; printf 'a b\\0c\\0' | xargs -0 -n1 echo item"),
    bash("tar", "tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf t words.txt data.bin && md5sum < t; tar tvf t --full-time -U | cut -c1-10,20-"),
    bash("tar_gzip", "tar czf t.gz words.txt numbers.txt && mkdir x && tar xzf t.gz -C x && cmp words.txt x/words.txt && ls x"),
    bash("word_count", "tr -s ' ' '\\n' < words.txt | sort | uniq -c | sort -k1,1nr -k2 | head -20"),
    bash("column_sums", "cut -d, -f3 table.csv | paste -sd+ | bc"),
    bash("in_place", "sed -i 's/ka/KA/g' words.txt; grep -c KA words.txt; ls"),
    bash("join_tables", "sort -t, -k2,2 table.csv > s; printf 'anna,1\\nemil,2\\n' | join -t, -1 2 -2 1 -o 1.1,2.2 s - | sort -n | head -30"),
];
