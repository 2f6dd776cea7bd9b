//! Perl: an interpreter with its own memory management, regular expressions, processes.

// tidy: table
use super::Case;

const fn perl(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "perl", &["-e"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    perl("nothing", "0"),
    perl("hello", r#"print "hello\n""#),
    perl("exit", "exit 17"),
    perl("die", "die qq(oops\n)"),
    perl("arithmetic", r#"print 2**53, " ", 7 % -3, " ", int(-7 / 2), " ", 1e308 * 10, " ", 0.1 + 0.2, " ", 1 / 3, " ", 10 ** 20, "\n""#),
    perl("integers", r#"print 0x7fffffff + 1, " ", ~0, " ", 1 << 31, " ", -1 >> 28, " ", 4294967295 * 4294967295, "\n""#),
    perl("math", r#"for (my $x = -3; $x < 3; $x += 0.31) { printf "%.15g %.15g %.15g %.15g\n", sin $x, cos $x, exp $x, atan2($x, 2) }"#),
    perl("sqrt_and_log", r#"printf "%.17g %.17g %.17g\n", sqrt $_, log $_, $_ ** 0.3 for 1 .. 30"#),
    perl("sprintf", r#"printf "%5d|%-8s|%08.3f|%x|%o|%e|%g|%b|%s\n", 42, "ab", 3.14159, 255, 8, 12345.678, 1e-7, 37, 1e15 for 1 .. 2"#),
    perl("strings", r#"my $s = "The quick brown fox"; print lc $s, uc $s, length $s, reverse($s), ucfirst lc "ABC", index($s, "q"), substr($s, -3), "\n", "ab" x 5, join("-", split //, "xyz"), "\n""#),
    perl("regex", r#"my $t = join " ", map { "item$_" } 1 .. 500; my $n = 0; $n++ while $t =~ /m(\d)\d*5\b/g; print "$n\n"; ($t =~ s/(\d+)/$1 * 2/gre) =~ /(.{60})$/; print "$1\n""#),
    perl("regex_named", r#""2024-05-17T10:20:30" =~ /(?<y>\d+)-(?<m>\d+)-(?<d>\d+)T(?<t>[\d:]+)/ and print "$+{d}.$+{m}.$+{y} $+{t}\n"; print join("|", "a1b22c333" =~ /[a-z](\d+)/g), "\n""#),
    perl("regex_recursive", r#"my $r; $r = qr/\((?:[^()]++|(??{$r}))*\)/; print "x(a(b)c)(d" =~ $r ? "$&\n" : "no\n"; print "aaa" =~ /^(a)(?{ $c++ })*$/ ? 1 : 0, "\n""#),
    perl("regex_words", r#"open F, "words.txt"; while (<F>) { $h{$_}++ for /\b(k\w*a)\b/g } print "$_ $h{$_}\n" for sort { $h{$b} <=> $h{$a} || $a cmp $b } keys %h"#),
    perl("hashes", r#"my %h; $h{"k" . ($_ * 7 % 1013)} += $_ for 1 .. 4000; print scalar keys %h, " $h{k7} ", join(",", (sort keys %h)[0 .. 5]), "\n"; delete @h{qw(k1 k2)}; print exists $h{k1} ? 1 : 0, "\n""#),
    perl("sort", r#"print join(" ", (sort { $a <=> $b } map { ($_ * 7919) % 10007 } 1 .. 1500)[0, 10, 100, 1000, 1499]), "\n"; print join(" ", sort qw(pear apple fig)), "\n""#),
    perl("lists", r#"my @a = (1 .. 10); print "@a[2..4] $#a @{[reverse @a]}\n"; push @a, shift @a; splice @a, 3, 2, qw(x y z); print "@a\n", join(",", grep { /\d/ && $_ % 2 } @a), "\n""#),
    perl("references", r#"my $d = { list => [1, [2, 3]], code => sub { $_[0] * 2 } }; print $d->{list}[1][0], $d->{code}->(21), ref $d, ref $d->{list}, "\n"; my @m = map { [$_, $_ ** 2] } 1 .. 3; print join(";", map { "@$_" } @m), "\n""#),
    perl("closures", r#"sub counter { my $n = shift; sub { $n++ } } my ($a, $b) = (counter(5), counter(10)); $a->() for 1 .. 3; print $a->(), $b->(), "\n""#),
    perl("recursion", "sub f { my $n = shift; $n < 2 ? $n : f($n - 1) + f($n - 2) } print f(18), qq(\n)"),
    perl("objects", r#"package A; sub new { bless { v => $_[1] }, $_[0] } sub v { $_[0]{v} } package B; our @ISA = "A"; sub v { 2 * $_[0]->SUPER::v } package main; print B->new(21)->v, B->can("v") ? "y" : "n", "\n""#),
    perl("pack", r#"print unpack("H*", pack("NnCvVa4xZ5", 1, 2, 3, 4, 5, "ab", "cd")), "\n", unpack("H*", pack("d<f>q", 3.14, 2.5, -9)), "\n", join(",", unpack("(A2)*", "aabbcc")), unpack("%32C*", "checksum"), "\n""#),
    perl("pack_floats", r#"print unpack("H*", pack("d", $_)), " ", unpack("H*", pack("f", $_)), "\n" for 0.1, -1.5, 1e300, 9**9**9, -0.0, 1e-310"#),
    perl("local_time", r#"my @t = gmtime 1234567890; print "@t\n"; use POSIX; print strftime("%F %T %j", gmtime 86400 * 365), mktime(0, 0, 0, 1, 0, 100), "\n""#),
    perl("posix", r#"use POSIX; print floor(-2.5), ceil(2.1), fmod(7, 3), pow(2, 0.5), DBL_MAX, " ", INT_MAX, " ", strtol("ff", 16), "\n""#),
    perl("files", r#"open O, ">o"; print O "line $_\n" for 1 .. 100; close O; open I, "o"; my @l = <I>; print scalar @l, " $l[49]", -s "o", "\n"; seek I, 10, 0; read I, $b, 5; print "$b\n"; unlink "o"; print -e "o" ? 1 : 0, "\n""#),
    perl("directories", r#"mkdir "d"; open F, ">d/$_" for qw(b a c); opendir D, "d"; print join(",", sort grep !/^\./, readdir D), "\n"; rename "d/a", "d/z"; print join(",", glob "d/*"), "\n""#),
    perl("fork", r#"$| = 1; for my $i (1 .. 5) { my $p = fork; if (!$p) { exit $i * 3 } waitpid $p, 0; print $? >> 8, "\n" }"#),
    perl("pipes", r#"pipe R, W; if (!fork) { close R; print W "from child $_\n" for 1 .. 3; exit } close W; print while <R>; wait; print $?, "\n""#),
    perl("open_pipe", r#"open P, "seq 5 |"; my @l = <P>; close P; print "@l"; open P, "| sort -r"; print P "$_\n" for qw(b a c); close P; print `echo ticks`, system("exit 3") >> 8, "\n""#),
    perl("signals", r#"$| = 1; $SIG{USR1} = sub { print "usr1\n" }; kill "USR1", $$ for 1 .. 3; $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select undef, undef, undef, 5 }; print $@"#),
    perl("killed_by_signal", "kill 'TERM', $$; sleep 5"),
    perl("signal_from_child", r#"$| = 1; $SIG{CHLD} = sub { $n++ }; if (!fork) { exit 0 } select undef, undef, undef, 0.3; wait; print $n >= 1 ? "yes\n" : "no\n""#),
    perl("sockets", r#"use Socket; socketpair A, B, AF_UNIX, SOCK_STREAM, 0; if (!fork) { syswrite B, "hi there"; exit } sysread A, $x, 8; print "$x\n"; wait"#),
    perl("tcp", r#"use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1"); if (!fork) { my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport); print $c "hello\n"; exit } my $c = $s->accept; print scalar <$c>; wait"#),
    perl("select", r#"pipe R, W; my $r = ""; vec($r, fileno R, 1) = 1; print scalar(select(my $x = $r, undef, undef, 0.01)), "\n"; syswrite W, "x"; print scalar(select($x = $r, undef, undef, 1)), "\n""#),
    perl("stdin", r#"while (<STDIN>) { chomp; $s += $_; $n++ } print "$n $s\n""#).reading("1\n2\n3.5\n-4\n"),
    perl("command_line", r#"print "@ARGV[0,1] ", scalar @ARGV, "\n""#),
    perl("big_integers", r#"use Math::BigInt; print Math::BigInt->new("123456789012345678901234567890")->bpow(5), "\n"; print Math::BigInt->new(30)->bfac, "\n""#).heavy(),
    perl("digest", r#"use Digest::MD5 "md5_hex"; use Digest::SHA "sha256_hex", "sha512_hex"; print md5_hex("abc" x 999), "\n", sha256_hex("abc" x 999), "\n", sha512_hex("x" x 5000), "\n""#),
    perl("storable", r#"use Storable qw(freeze thaw dclone); my $d = { a => [1, 2, { b => 3 }] }; print thaw(freeze($d))->{a}[2]{b}, dclone($d)->{a}[1], "\n""#),
    perl("data_dumper", r#"use Data::Dumper; $Data::Dumper::Sortkeys = 1; print Dumper({ a => [1, "x"], b => { c => undef } })"#),
    perl("list_util", r#"use List::Util qw(sum max first reduce shuffle uniq); print sum(1 .. 100), max(3, 9, 2), first { $_ > 5 } (1 .. 9); print reduce { $a * $b } 1 .. 10; print scalar(uniq 1, 1, 2), "\n""#),
    perl("encode", r#"use Encode; my $s = decode("UTF-8", "\xc3\xa4\xe2\x82\xac"); print length $s, " ", length encode("UTF-16LE", $s), " ", unpack("H*", encode("iso-8859-15", $s)), "\n"; printf "%vd\n", "1.22.333""#),
    perl("compress", r#"use Compress::Zlib; my $d = "abc" x 3000; my $c = compress($d); print length $c, uncompress($c) eq $d ? " same" : " differs", " ", crc32($d), " ", adler32($d), "\n""#),
    perl("threads_of_time", r#"use Time::HiRes qw(time usleep); my $t = time; usleep 20000; print time - $t >= 0.02 ? "ok\n" : "early\n"; print length(int time), "\n""#),
    perl("eval", r#"my $r = eval "1 +"; print defined $r ? 1 : 0, $@ ? "error" : "", eval { 6 * 7 }, "\n"; eval { die { code => 5 } }; print $@->{code}, "\n"; local $@; eval "die 7"; print $@ =~ /^7 at/ ? "ok\n" : "no\n""#),
    perl("formats", "format STDOUT =\n@<<<<< @>>>>> @||||| @##.##\n$a, $b, $c, $d\n.\n($a, $b, $c, $d) = ('left', 'right', 'mid', 3.14159); write;"),
    perl("tr", r#"($s = "hello world") =~ tr/a-y/b-z/; print "$s ", ($s =~ tr/o//), "\n"; print join(",", map { sprintf "%03o", ord } split //, "AZ"), lc "ÄB", "\n""#),
    perl("sieve", r#"my @c; for my $i (2 .. 3000) { next if $c[$i]; push @p, $i; for (my $j = $i * $i; $j <= 3000; $j += $i) { $c[$j] = 1 } } print scalar @p, " $p[-1]\n""#),
    perl("mandelbrot", r##"for my $y (-8 .. 8) { for my $x (-20 .. 8) { my ($a, $b, $n) = (0, 0, 0); while ($a * $a + $b * $b < 4 && $n < 40) { ($a, $b) = ($a * $a - $b * $b + $x / 12, 2 * $a * $b + $y / 8); $n++ } print $n == 40 ? "#" : $n % 10 } print "\n" }"##).heavy(),
];
