/* (c) polymorphic object dispatch through function pointer tables */
#include "bench.h"
struct obj;
struct vt {
    uint32_t (*area)(struct obj *);
    void (*step)(struct obj *, uint32_t);
};
struct obj {
    const struct vt *v;
    uint32_t a, b;
};
#define K(i, E1, E2)                                                                                                   \
    static uint32_t area##i(struct obj *o) {                                                                           \
        return E1;                                                                                                     \
    }                                                                                                                  \
    static void step##i(struct obj *o, uint32_t x) {                                                                   \
        E2;                                                                                                            \
    }                                                                                                                  \
    static const struct vt v##i = {area##i, step##i};
K(0, o->a * o->b, o->a += x)
K(1, o->a + o->b, o->b ^= x) K(2, (o->a ^ o->b) >> 1, o->a = o->b + x) K(3, o->a * 3 + 1, o->b += o->a)
    K(4, o->b - o->a, o->a ^= x << 3) K(5, o->a | o->b, o->b -= x) K(6, o->a & o->b, o->a = (o->a >> 1) + x)
        K(7, ~o->a, o->b = x) static const struct vt *const all[] = {&v0, &v1, &v2, &v3, &v4, &v5, &v6, &v7};
int main(int argc, char **argv) {
    long n = work(argc, argv, 110000);
    static struct obj o[1024];
    for (int i = 0; i < 1024; i++) {
        o[i].v = all[rng() & 7];
        o[i].a = rng();
        o[i].b = rng();
    }
    uint32_t h = 0;
    for (long k = 0; k < n; k++)
        for (int i = 0; i < 1024; i++) {
            h = fold(h, o[i].v->area(&o[i]));
            o[i].v->step(&o[i], h);
        }
    printf("vtable %08x\n", h);
    return 0;
}
