# Associative arrays, string building, substitution. N is the number of rounds.
BEGIN {
    for (k = 0; k < N; k++) {
        for (i = 0; i < 2000; i++) {
            a[i % 97] += i * k
            s = s substr("abcdefgh", i % 8 + 1, 1)
        }
        n += gsub(/b+c/, "x", s)
        n += length(s)
        s = ""
        n += a[5] % 1000 + split("a b c d e f g", q, " ")
    }
    print n
}
