/* (d) byte at a time loops: LZ77 style compressor/decompressor + utf8 scan + tokeniser, no libc */
#include "bench.h"
#define SZ 32768
static uint8_t in[SZ], out[SZ * 2], back[SZ + 16];
static uint16_t head[4096];
static NOINLINE int comp(void) {
    int o = 0;
    memset(head, 0xff, sizeof head);
    for (int i = 0; i < SZ;) {
        int best = 0, bp = 0;
        if (i + 4 < SZ) {
            unsigned hh = ((in[i] << 8 ^ in[i + 1] << 4 ^ in[i + 2]) * 2654435761u) >> 20;
            int p = head[hh];
            head[hh] = (uint16_t)i;
            if (p != 0xffff && i - p < 32000) {
                int l = 0;
                while (l < 120 && i + l < SZ && in[p + l] == in[i + l])
                    l++;
                if (l >= 4) {
                    best = l;
                    bp = i - p;
                }
            }
        }
        if (best) {
            out[o++] = (uint8_t)(0x80 | best);
            out[o++] = (uint8_t)(bp >> 8);
            out[o++] = (uint8_t)bp;
            i += best;
        } else {
            out[o++] = in[i++] & 0x7f;
        }
    }
    return o;
}
static NOINLINE uint32_t decomp(int n) {
    int j = 0;
    for (int i = 0; i < n;) {
        uint8_t c = out[i++];
        if (c & 0x80) {
            int l = c & 0x7f, d = out[i] << 8 | out[i + 1];
            i += 2;
            for (int k = 0; k < l; k++, j++)
                back[j] = back[j - d];
        } else
            back[j++] = c;
    }
    uint32_t s = 0;
    for (int i = 0; i < j; i++)
        s = s * 31 + back[i];
    return s + (uint32_t)j;
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 3000);
    uint32_t h = 0;
    for (int i = 0; i < SZ; i++)
        in[i] =
            (uint8_t)((rng() & 7) ? "the quick brown fox jumps over the lazy dog "[(i * 5 / 4 + (int)(rng() & 1)) % 44]
                                  : 'a' + rng() % 26);
    for (long k = 0; k < n; k++) {
        in[(k * 131) & (SZ - 1)] = (uint8_t)('a' + k % 26);
        int c = comp();
        h = fold(h, (uint32_t)c);
        h = fold(h, decomp(c));
        uint32_t words = 0, inw = 0;
        for (int i = 0; i < SZ; i++) {
            int al = in[i] != ' ';
            words += (uint32_t)(al && !inw);
            inw = (uint32_t)al;
        }
        h = fold(h, words);
    }
    printf("bytes %08x\n", h);
    return 0;
}
