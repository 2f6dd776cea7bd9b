# Hashes, recursion, regular expressions, sorting. The argument is the number of rounds.
my $n = shift;
my $t = 0;

sub fib {
    my $x = shift;
    return $x < 2 ? $x : fib($x - 1) + fib($x - 2);
}

for my $k (1 .. $n) {
    my %h;
    for my $i (1 .. 4000) { $h{"k" . ($i * 7 % 1013)} += $i; }
    $t += $h{k7};
    $t += fib(14);
    my $s = join(" ", map { "item$_" } 1 .. 800);
    my $c = 0;
    $c++ while $s =~ /m(\d)\d*5\b/g;
    $t += $c;
    my @a = sort { $b <=> $a } map { ($_ * 7919) % 10007 } 1 .. 1500;
    $t += $a[3];
}
print "$t\n";
