/* (h) libc qsort + bsearch with callbacks, on ints, structs and strings */
#include "bench.h"
static int ci(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}
struct s {
    char name[12];
    uint32_t k;
};
static int cs(const void *a, const void *b) {
    const struct s *x = a, *y = b;
    int r = strcmp(x->name, y->name);
    return r ? r : (x->k > y->k) - (x->k < y->k);
}
static int v[20000];
static struct s t[4000];
int main(int argc, char **argv) {
    long n = work(argc, argv, 330);
    uint32_t h = 0;
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < 20000; i++)
            v[i] = (int)rng();
        qsort(v, 20000, sizeof *v, ci);
        for (int i = 0; i < 4000; i++) {
            int l = 3 + (int)(rng() % 8);
            for (int j = 0; j < l; j++)
                t[i].name[j] = (char)('a' + rng() % 4);
            t[i].name[l] = 0;
            t[i].k = rng();
        }
        qsort(t, 4000, sizeof *t, cs);
        for (int i = 0; i < 5000; i++) {
            int q = (int)rng();
            if (bsearch(&v[(unsigned)q % 20000], v, 20000, sizeof *v, ci))
                h++;
        }
        h = fold(h, (uint32_t)v[9999] ^ t[2000].k);
    }
    printf("qsort %08x\n", h);
    return 0;
}
