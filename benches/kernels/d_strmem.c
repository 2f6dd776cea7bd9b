/* (d) libc string and memory functions (memcpy/memset/memchr/strlen/strcmp/strchr/snprintf) on 8 B .. 64 KiB */
#include "bench.h"
static char a[65536 + 64], b[65536 + 64];
int main(int argc, char **argv) {
    long n = work(argc, argv, 60000);
    uint32_t h = 0;
    for (int i = 0; i < 65536; i++)
        a[i] = (char)('a' + rng() % 26);
    a[65536] = 0;
    for (long k = 0; k < n; k++) {
        for (int s = 8; s <= 65536; s <<= 1) {
            memcpy(b + (k & 7), a + (k & 15), (size_t)s);
            b[(k & 7) + s] = 0;
            h = fold(h, (uint32_t)strlen(b));
            h = fold(h, (uint32_t)memcmp(a, b, (size_t)s) & 0x80000000u);
            memset(b + s / 2, (int)k, 16);
            char *q = memchr(b, 'z', (size_t)s);
            h = fold(h, q ? (uint32_t)(q - b) : 7);
        }
        for (int i = 0; i < 400; i++) {
            const char *w = a + (rng() & 0x7fff), *v = a + (rng() & 0x7fff);
            h = fold(h, (uint32_t)(strcmp(w, v) > 0));
            char *c = strchr(w, 'a' + i % 26);
            h = fold(h, c ? (uint32_t)(c - w) : 1);
            char w4[24];
            memcpy(w4, w, 19);
            w4[19] = 0;
            h = fold(h, (uint32_t)strlen(w4));
        }
        for (int i = 0; i < 40; i++) {
            char s[64];
            int r = snprintf(s, sizeof s, "%d:%x:%s", i * 7919, (unsigned)h, "word");
            h = fold(h, (uint32_t)r + (uint8_t)s[3]);
        }
        memmove(b + 100, b, 30000);
        h = fold(h, (uint8_t)b[20000]);
    }
    printf("strmem %08x\n", h);
    return 0;
}
