/* (b) naive fib: call/return */
#include "bench.h"
static NOINLINE __attribute__((optimize("no-optimize-sibling-calls", "no-inline"))) unsigned fib(unsigned n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 280);
    uint32_t h = 0;
    for (long i = 0; i < n; i++) {
        volatile unsigned x = 29 + (i & 1);
        h = fold(h, fib(x));
    }
    printf("fib %08x\n", h);
    return 0;
}
