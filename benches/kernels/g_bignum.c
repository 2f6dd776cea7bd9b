/* (g) 512-bit modular exponentiation with 32-bit limbs (carry chains, widening multiply) */
#include "bench.h"
#define L 16
static uint32_t M[L], inv;
static NOINLINE void mont(uint32_t *r, const uint32_t *a, const uint32_t *b) {
    uint32_t t[L + 2] = {0};
    for (int i = 0; i < L; i++) {
        uint64_t c = 0;
        for (int j = 0; j < L; j++) {
            c += (uint64_t)a[j] * b[i] + t[j];
            t[j] = (uint32_t)c;
            c >>= 32;
        }
        c += t[L];
        t[L] = (uint32_t)c;
        t[L + 1] = (uint32_t)(c >> 32);
        uint32_t m = t[0] * inv;
        c = (uint64_t)m * M[0] + t[0];
        c >>= 32;
        for (int j = 1; j < L; j++) {
            c += (uint64_t)m * M[j] + t[j];
            t[j - 1] = (uint32_t)c;
            c >>= 32;
        }
        c += t[L];
        t[L - 1] = (uint32_t)c;
        t[L] = t[L + 1] + (uint32_t)(c >> 32);
    }
    uint64_t bw = 0;
    uint32_t s[L];
    for (int i = 0; i < L; i++) {
        uint64_t d = (uint64_t)t[i] - M[i] - bw;
        s[i] = (uint32_t)d;
        bw = (d >> 32) & 1;
    }
    memcpy(r, (t[L] || !bw) ? s : t, sizeof s);
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 3800);
    for (int i = 0; i < L; i++)
        M[i] = rng();
    M[0] |= 1;
    M[L - 1] |= 0x80000000u;
    uint32_t v = 1;
    for (int i = 0; i < 5; i++)
        v *= 2 - M[0] * v;
    inv = -v;
    uint32_t a[L], r[L];
    for (int i = 0; i < L; i++)
        a[i] = rng();
    a[L - 1] &= 0x7fffffff;
    memcpy(r, a, sizeof r);
    uint32_t h = 0;
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < 512; i++) {
            mont(r, r, r);
            if ((M[i >> 5] >> (i & 31)) & 1)
                mont(r, r, a);
        }
        h = fold(h, r[k & 15]);
    }
    printf("bignum %08x\n", h);
    return 0;
}
