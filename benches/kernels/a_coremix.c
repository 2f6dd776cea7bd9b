/* (a) list manipulation + small integer matrix + text state machine + bitwise crc16 */
#include "bench.h"
struct node {
    struct node *next;
    int16_t key, val;
};
static struct node pool[600];
static struct node *build(int n) {
    for (int i = 0; i < n; i++) {
        pool[i].next = i + 1 < n ? &pool[i + 1] : 0;
        pool[i].key = (int16_t)(rng() & 0x3ff);
        pool[i].val = (int16_t)i;
    }
    return pool;
}
static NOINLINE struct node *reverse(struct node *l) {
    struct node *r = 0;
    while (l) {
        struct node *n = l->next;
        l->next = r;
        r = l;
        l = n;
    }
    return r;
}
static NOINLINE struct node *merge(struct node *a, struct node *b) {
    struct node h, *t = &h;
    while (a && b) {
        if (a->key <= b->key) {
            t->next = a;
            a = a->next;
        } else {
            t->next = b;
            b = b->next;
        }
        t = t->next;
    }
    t->next = a ? a : b;
    return h.next;
}
static NOINLINE struct node *msort(struct node *l) {
    if (!l || !l->next)
        return l;
    struct node *s = l, *f = l->next;
    while (f && f->next) {
        s = s->next;
        f = f->next->next;
    }
    struct node *m = s->next;
    s->next = 0;
    return merge(msort(l), msort(m));
}
static NOINLINE int find(struct node *l, int k) {
    int d = 0;
    while (l) {
        if (l->val == k)
            return d;
        l = l->next;
        d++;
    }
    return -1;
}
static NOINLINE uint16_t crc16(uint16_t c, uint32_t v) {
    for (int i = 0; i < 16; i++) {
        unsigned b = (v ^ c) & 1;
        c >>= 1;
        v >>= 1;
        if (b)
            c ^= 0xa001;
    }
    return c;
}
#define N 24
static int32_t A[N][N], B[N][N], C[N][N];
static NOINLINE int32_t matrix(int seed) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            A[i][j] = (i * j + seed) & 63;
            B[i][j] = (i - j + seed) & 31;
        }
    int32_t s = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            int32_t t = 0;
            for (int k = 0; k < N; k++)
                t += A[i][k] * B[k][j];
            C[i][j] = t;
            s += t > 1000 ? 10 : t & 7;
        }
    return s;
}
enum { S0, SINT, SFLOAT, SEXP, SSIGN, SBAD, NS };
static NOINLINE unsigned states(const char *p, uint32_t *cnt) {
    int st = S0;
    unsigned tr = 0;
    for (; *p; p++) {
        int c = *p, o = st;
        if (c == ',') {
            cnt[st]++;
            st = S0;
        } else
            switch (st) {
            case S0:
                if (c >= '0' && c <= '9')
                    st = SINT;
                else if (c == '+' || c == '-')
                    st = SSIGN;
                else if (c == '.')
                    st = SFLOAT;
                else
                    st = SBAD;
                break;
            case SSIGN:
                if (c >= '0' && c <= '9')
                    st = SINT;
                else if (c == '.')
                    st = SFLOAT;
                else
                    st = SBAD;
                break;
            case SINT:
                if (c == '.')
                    st = SFLOAT;
                else if (c < '0' || c > '9')
                    st = SBAD;
                break;
            case SFLOAT:
                if (c == 'e')
                    st = SEXP;
                else if (c < '0' || c > '9')
                    st = SBAD;
                break;
            case SEXP:
                if ((c < '0' || c > '9') && c != '-')
                    st = SBAD;
                break;
            default:
                break;
            }
        tr += st != o;
    }
    return tr;
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 14000);
    char txt[1025];
    static const char ab[] = "0123456789+-.e,,0123,45x";
    for (int i = 0; i < 1024; i++)
        txt[i] = ab[rng() % (sizeof ab - 1)];
    txt[1024] = 0;
    uint32_t cnt[NS] = {0};
    uint16_t crc = 0;
    uint32_t h = 0;
    for (long i = 0; i < n; i++) {
        struct node *l = build(400);
        l = msort(l);
        l = reverse(l);
        for (int k = 0; k < 20; k++)
            crc = crc16(crc, (uint32_t)find(l, (k * 37) % 400));
        h = fold(h, (uint32_t)matrix((int)i));
        h = fold(h, states(txt, cnt));
        crc = crc16(crc, h);
        txt[i & 1023] = ab[i % (long)(sizeof ab - 1)];
    }
    for (int i = 0; i < NS; i++)
        h = fold(h, cnt[i]);
    printf("coremix %04x %08x\n", crc, h);
    return 0;
}
