/* (c) computed-goto stack VM (forth like), many distinct indirect jump sites */
#include "bench.h"
static NOINLINE uint32_t run(uint32_t seed, const uint8_t *code) {
    static const void *const lab[] = {&&push, &&add, &&xor_, &&dup,  &&swap, &&rot, &&shl,
                                      &&mul,  &&jnz, &&dec,  &&halt, &&over, &&drop};
    uint32_t st[64], *sp = st;
    const uint8_t *ip = code;
    uint32_t t;
#define NEXT goto *lab[*ip++]
    *sp++ = seed;
    *sp++ = 2000;
    NEXT;
push:
    *sp++ = *ip++;
    NEXT;
add:
    sp[-2] += sp[-1];
    sp--;
    NEXT;
xor_:
    sp[-2] ^= sp[-1];
    sp--;
    NEXT;
dup:
    sp[0] = sp[-1];
    sp++;
    NEXT;
swap:
    t = sp[-1];
    sp[-1] = sp[-2];
    sp[-2] = t;
    NEXT;
rot:
    t = sp[-3];
    sp[-3] = sp[-2];
    sp[-2] = sp[-1];
    sp[-1] = t;
    NEXT;
shl:
    sp[-2] = (sp[-2] << (sp[-1] & 31)) | (sp[-2] >> (32 - (sp[-1] & 31)));
    sp--;
    NEXT;
mul:
    sp[-2] *= sp[-1];
    sp--;
    NEXT;
over:
    sp[0] = sp[-2];
    sp++;
    NEXT;
drop:
    sp--;
    NEXT;
dec:
    sp[-1]--;
    NEXT;
jnz:
    t = *ip++;
    if (sp[-1])
        ip = code + t;
    NEXT;
halt:
    return sp[-2] ^ *st;
}
int main(int argc, char **argv) {
    enum { PUSH, ADD, XOR, DUP, SWAP, ROT, SHL, MUL, JNZ, DEC, HALT, OVER, DROP };
    static const uint8_t code[] = {SWAP, DUP,  PUSH, 5,    SHL,  ADD, OVER, XOR, PUSH, 33,   MUL, DUP,
                                   PUSH, 7,    SHL,  XOR,  PUSH, 17,  ADD,  DUP, DUP,  PUSH, 9,   SHL,
                                   SWAP, DROP, XOR,  PUSH, 3,    ADD, SWAP, DEC, JNZ,  0,    HALT};
    long n = work(argc, argv, 11000);
    uint32_t h = 0;
    for (long i = 0; i < n; i++)
        h = fold(h, run((uint32_t)i + 1, code));
    printf("threaded %08x\n", h);
    return 0;
}
