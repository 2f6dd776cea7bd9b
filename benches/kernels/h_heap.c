/* (h) inline heapsort + shellsort + radix sort (no callbacks) */
#include "bench.h"
#define N 16384
static uint32_t a[N], b[N];
static NOINLINE void heap(void) {
    for (int s = N / 2, e = N; e > 1;) {
        uint32_t t;
        if (s > 0)
            t = a[--s];
        else {
            e--;
            t = a[e];
            a[e] = a[0];
        }
        int p = s, c = 2 * p + 1;
        while (c < e) {
            if (c + 1 < e && a[c + 1] > a[c])
                c++;
            if (a[c] > t) {
                a[p] = a[c];
                p = c;
                c = 2 * p + 1;
            } else
                break;
        }
        a[p] = t;
    }
}
static NOINLINE void shell(void) {
    for (int g = N / 2; g; g = g == 2 ? 1 : (int)(g / 2.2))
        for (int i = g; i < N; i++) {
            uint32_t t = a[i];
            int j = i;
            for (; j >= g && a[j - g] > t; j -= g)
                a[j] = a[j - g];
            a[j] = t;
        }
}
static NOINLINE void radix(void) {
    for (int sh = 0; sh < 32; sh += 8) {
        int c[257] = {0};
        for (int i = 0; i < N; i++)
            c[((a[i] >> sh) & 255) + 1]++;
        for (int i = 0; i < 256; i++)
            c[i + 1] += c[i];
        for (int i = 0; i < N; i++)
            b[c[(a[i] >> sh) & 255]++] = a[i];
        memcpy(a, b, sizeof a);
    }
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 360);
    uint32_t h = 0;
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < N; i++)
            a[i] = rng();
        heap();
        h = fold(h, a[777]);
        for (int i = 0; i < N; i++)
            a[i] = rng();
        shell();
        h = fold(h, a[888]);
        for (int i = 0; i < N; i++)
            a[i] = rng();
        radix();
        h = fold(h, a[999]);
    }
    printf("heap %08x\n", h);
    return 0;
}
