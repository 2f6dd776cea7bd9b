/* (a) unpredictable branches: collatz, gcd, binary search, n-queens by bitmask */
#include "bench.h"
static NOINLINE uint32_t collatz(uint32_t n) {
    uint32_t s = 0;
    while (n != 1) {
        n = (n & 1) ? 3 * n + 1 : n >> 1;
        s++;
    }
    return s;
}
static NOINLINE uint32_t gcd(uint32_t a, uint32_t b) {
    while (a != b) {
        if (a > b)
            a -= b;
        else
            b -= a;
        if (a == 0 || b == 0)
            break;
    }
    return a;
}
static uint32_t tab[4096];
static NOINLINE int bsearch_(uint32_t v) {
    int lo = 0, hi = 4096;
    while (lo < hi) {
        int m = (lo + hi) >> 1;
        if (tab[m] < v)
            lo = m + 1;
        else
            hi = m;
    }
    return lo;
}
static unsigned queens(unsigned n, unsigned c, unsigned l, unsigned r) {
    unsigned full = (1u << n) - 1, s = 0;
    if (c == full)
        return 1;
    for (unsigned p = full & ~(c | l | r); p;) {
        unsigned b = p & -p;
        p ^= b;
        s += queens(n, c | b, (l | b) << 1, (r | b) >> 1);
    }
    return s;
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 240);
    uint32_t h = 0;
    for (int i = 0; i < 4096; i++)
        tab[i] = (uint32_t)i * 1048573u / 1u;
    for (long k = 0; k < n; k++) {
        for (uint32_t i = 1; i < 5000; i++)
            h = fold(h, collatz(i));
        for (int i = 0; i < 5000; i++)
            h = fold(h, gcd((rng() & 0x3ff) + 1, (rng() & 0x3ff) + 1));
        for (int i = 0; i < 40000; i++)
            h = fold(h, (uint32_t)bsearch_(rng()));
        h = fold(h, queens(9, 0, 0, 0));
    }
    printf("branchy %08x\n", h);
    return 0;
}
