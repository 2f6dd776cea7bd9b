/* (f) auto-vectorised integer: u8 SAD, u8 alpha blend, i16 mul-add, i32 mix, u8 saturating add, compare/select */
#include "bench.h"
#define N 8192
static uint8_t a[N], b[N], c[N];
static int16_t p[N], q[N];
static int32_t w[N];
static NOINLINE uint32_t sad(void) {
    uint32_t s = 0;
    for (int i = 0; i < N; i++)
        s += (uint32_t)abs(a[i] - b[i]);
    return s;
}
static NOINLINE void blend(int al) {
    for (int i = 0; i < N; i++)
        c[i] = (uint8_t)((a[i] * al + b[i] * (256 - al)) >> 8);
}
static NOINLINE int32_t dot16(void) {
    int32_t s = 0;
    for (int i = 0; i < N; i++)
        s += p[i] * q[i];
    return s;
}
static NOINLINE void sadd(int v) {
    for (int i = 0; i < N; i++) {
        int t = a[i] + v;
        a[i] = (uint8_t)(t > 255 ? 255 : t);
    }
}
static NOINLINE void mix(uint32_t k) {
    for (int i = 0; i < N; i++) {
        uint32_t t = (uint32_t)w[i];
        t ^= t << 7;
        t += k;
        t ^= t >> 9;
        w[i] = (int32_t)t;
    }
}
static NOINLINE void sel(int t) {
    for (int i = 0; i < N; i++)
        b[i] = c[i] > t ? (uint8_t)(c[i] - t) : (uint8_t)(c[i] + t);
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 105000);
    for (int i = 0; i < N; i++) {
        a[i] = (uint8_t)rng();
        b[i] = (uint8_t)rng();
        p[i] = (int16_t)(rng() & 255);
        q[i] = (int16_t)(rng() & 127);
        w[i] = (int32_t)rng();
    }
    uint32_t h = 0;
    for (long k = 0; k < n; k++) {
        h = fold(h, sad());
        blend((int)(k & 255));
        h = fold(h, (uint32_t)dot16());
        p[k & (N - 1)] = (int16_t)(k & 511);
        sadd(3);
        if ((k & 63) == 0)
            memcpy(a, c, N);
        mix(h);
        sel((int)(k & 63));
        h = fold(h, (uint32_t)w[k & (N - 1)]);
    }
    printf("simdint %08x\n", h);
    return 0;
}
