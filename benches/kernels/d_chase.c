/* (d) pointer chasing in a 24 KiB (L1) ring plus random read-modify-write in a 1 MiB table, plus binary tree */
#include "bench.h"
struct n {
    struct n *next;
    uint32_t v;
};
struct t {
    struct t *l, *r;
    uint32_t k;
};
static struct n ring[1536];
static uint32_t tab[262144];
static struct t tn[8192];
static int nt;
int main(int argc, char **argv) {
    long n = work(argc, argv, 600);
    static uint32_t perm[1536];
    uint32_t h = 0;
    for (int i = 0; i < 1536; i++)
        perm[i] = (uint32_t)i;
    for (int i = 1535; i > 0; i--) {
        uint32_t j = rng() % (uint32_t)(i + 1), t = perm[i];
        perm[i] = perm[j];
        perm[j] = t;
    }
    for (int i = 0; i < 1536; i++) {
        ring[perm[i]].next = &ring[perm[(i + 1) % 1536]];
        ring[perm[i]].v = rng();
    }
    struct t *root = 0;
    for (int i = 0; i < 8192; i++) {
        uint32_t k = rng();
        struct t **p = &root;
        while (*p)
            p = k < (*p)->k ? &(*p)->l : &(*p)->r;
        *p = &tn[nt++];
        (*p)->k = k;
    }
    for (long k = 0; k < n; k++) {
        struct n *p = ring;
        for (int i = 0; i < 300000; i++) {
            h += p->v;
            p = p->next;
        }
        for (int i = 0; i < 150000; i++) {
            uint32_t x = rng();
            tab[x & 262143] += x;
            h ^= tab[(x >> 14) & 262143];
        }
        for (int i = 0; i < 8000; i++) {
            uint32_t q = rng();
            struct t *p2 = root;
            while (p2) {
                if (q < p2->k)
                    p2 = p2->l;
                else {
                    h += p2->k;
                    p2 = p2->r;
                }
            }
        }
    }
    printf("chase %08x\n", h);
    return 0;
}
