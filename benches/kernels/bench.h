/* Shared helpers. argv[1] is the amount of work in percent; at 100 most kernels run for about a second natively. */
#ifndef BENCH_H
#define BENCH_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static long work(int argc, char **argv, long base) {
    long pct = argc > 1 ? atol(argv[1]) : 100;
    long n = (long)((double)base * (double)pct / 100.0);
    return n < 1 ? 1 : n;
}
static uint32_t rng_s = 0x12345678u;
static inline uint32_t rng(void) {
    rng_s ^= rng_s << 13;
    rng_s ^= rng_s >> 17;
    rng_s ^= rng_s << 5;
    return rng_s;
}
/* Raises the sticky inexact flag: emulators may be faster once it is set, and real programs soon set it. */
static void fp_warm(void) {
    volatile double d = 3.0;
    volatile float f = 3.0f;
    d = 1.0 / d;
    f = 1.0f / f;
    (void)d;
    (void)f;
}
#define NOINLINE __attribute__((noinline))
#define UNUSED __attribute__((unused))
static inline uint32_t fold(uint32_t h, uint32_t v) {
    h ^= v;
    h *= 0x01000193u;
    return h ^ (h >> 15);
}
static void unused_refs(void) UNUSED;
static void unused_refs(void) {
    (void)work;
    (void)rng;
    (void)fold;
    (void)fp_warm;
}
#endif
