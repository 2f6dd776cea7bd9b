/* (g) 64-bit mixers: splitmix/murmur finaliser, rotates, 64-bit multiply, 64-bit div/mod, popcount, clz, bswap */
#include "bench.h"
static inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 280000);
    uint64_t h = 1, x = 0;
    static uint64_t d[512];
    for (int i = 0; i < 512; i++)
        d[i] = mix((uint64_t)i);
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < 512; i++) {
            h ^= mix(d[i] + h);
            h = (h << 27 | h >> 37) * 5 + 0x52dce729;
            x += h >> (i & 31);
            h += __builtin_bswap64(x);
        }
        for (int i = 0; i < 16; i++) {
            x += d[i] / ((h & 0xffff) + 1 + (uint64_t)i) + d[i + 16] % ((h >> 40) + 3);
            x += (uint64_t)__builtin_clzll(h | 1) + (uint64_t)__builtin_popcountll(h);
        }
        d[k & 511] ^= x;
    }
    printf("mix64 %016llx %016llx\n", (unsigned long long)h, (unsigned long long)x);
    return 0;
}
