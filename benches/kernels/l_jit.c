/* (l) self-modifying / JIT code: rewrite 64 small functions on an RWX page and call each 4 times, repeatedly */
#define _GNU_SOURCE
#include "bench.h"
#include <sys/mman.h>
typedef uint32_t (*fn)(void);
static void emit(uint8_t *p, uint32_t v) {
#if defined(__x86_64__) || defined(__i386__)
    p[0] = 0xb8;
    memcpy(p + 1, &v, 4);
    p[5] = 0x05;
    memcpy(p + 6, &v, 4);
    p[10] = 0xc3;
#elif defined(__aarch64__)
    uint32_t c[4] = {0x52800000u | (v & 0xffff) << 5, 0x72a00000u | (v >> 16) << 5, 0x0b000000u, 0xd65f03c0u};
    memcpy(p, c, 16);
#elif defined(__arm__)
    uint32_t c[4] = {0xe3000000u | (v & 0xfff) | ((v >> 12) & 15) << 16,
                     0xe3400000u | ((v >> 16) & 0xfff) | (v >> 28) << 16, 0xe0800000u, 0xe12fff1eu};
    memcpy(p, c, 16);
#else
#error arch
#endif
    __builtin___clear_cache((char *)p, (char *)p + 16);
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 10000);
    uint8_t *m = mmap(0, 16384, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t h = 0;
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < 64; i++)
            emit(m + i * 256, h + (uint32_t)i);
        for (int r = 0; r < 4; r++)
            for (int i = 0; i < 64; i++)
                h = fold(h, ((fn)(void *)(m + i * 256))());
    }
    printf("jit %08x\n", h);
    return 0;
}
