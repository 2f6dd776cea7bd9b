/* (b) ackermann + tak + mutual recursion through several leaf functions */
#include "bench.h"
#define RC NOINLINE __attribute__((optimize("no-optimize-sibling-calls")))
static RC int ack(int m, int n) {
    if (!m)
        return n + 1;
    if (!n)
        return ack(m - 1, 1);
    return ack(m - 1, ack(m, n - 1));
}
static RC int tak(int x, int y, int z) {
    if (y >= x)
        return z;
    return tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y));
}
static RC int leaf1(int a, int b) {
    return a * 3 + b;
}
static RC int leaf2(int a) {
    return (a >> 3) ^ a;
}
static int odd(int n, int a);
static RC int even(int n, int a) {
    return n == 0 ? a : odd(n - 1, leaf1(a, n)) + 1;
}
static RC int odd(int n, int a) {
    return n == 0 ? a : even(n - 1, leaf2(a)) - 1;
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 240);
    uint32_t h = 0;
    for (long i = 0; i < n; i++) {
        volatile int v = 7;
        h = fold(h, (uint32_t)ack(3, v));
        h = fold(h, (uint32_t)tak(18, 12, v - 1));
        for (int k = 0; k < 2000; k++)
            h = fold(h, (uint32_t)even(500, k));
    }
    printf("acktak %08x\n", h);
    return 0;
}
