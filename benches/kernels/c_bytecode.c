/* (c) switch-dispatched bytecode VM running two small programs (primes sieve, nested loops) */
#include "bench.h"
enum { LDI, MOV, ADD, SUB, MUL, AND, XOR, SHR, LD, ST, JMP, JLT, JNZ, INC, DEC, CMPEQ, HALT };
typedef struct {
    uint8_t op, a, b, c;
    int32_t imm;
} ins;
static int32_t mem[8192];
static NOINLINE int32_t run(const ins *prog, int32_t arg) {
    int32_t r[16] = {0};
    r[0] = arg;
    const ins *p = prog;
    for (;;) {
        const ins i = *p++;
        switch (i.op) {
        case LDI:
            r[i.a] = i.imm;
            break;
        case MOV:
            r[i.a] = r[i.b];
            break;
        case ADD:
            r[i.a] = (int32_t)((uint32_t)r[i.b] + (uint32_t)r[i.c]);
            break;
        case SUB:
            r[i.a] = (int32_t)((uint32_t)r[i.b] - (uint32_t)r[i.c]);
            break;
        case MUL:
            r[i.a] = (int32_t)((uint32_t)r[i.b] * (uint32_t)r[i.c]);
            break;
        case AND:
            r[i.a] = r[i.b] & r[i.c];
            break;
        case XOR:
            r[i.a] = r[i.b] ^ r[i.c];
            break;
        case SHR:
            r[i.a] = (int32_t)((uint32_t)r[i.b] >> (r[i.c] & 31));
            break;
        case LD:
            r[i.a] = mem[(r[i.b] + i.imm) & 8191];
            break;
        case ST:
            mem[(r[i.b] + i.imm) & 8191] = r[i.a];
            break;
        case JMP:
            p = prog + i.imm;
            break;
        case JLT:
            if (r[i.a] < r[i.b])
                p = prog + i.imm;
            break;
        case JNZ:
            if (r[i.a])
                p = prog + i.imm;
            break;
        case INC:
            r[i.a]++;
            break;
        case DEC:
            r[i.a]--;
            break;
        case CMPEQ:
            r[i.a] = r[i.b] == r[i.c];
            break;
        case HALT:
            return r[1];
        default:
            return -1;
        }
    }
}
static const ins sieve[] = {{LDI, 2, 0, 0, 0},  {LDI, 3, 0, 0, 8000}, {LDI, 4, 0, 0, 0}, {ST, 4, 2, 0, 0},
                            {INC, 2, 0, 0, 0},  {JLT, 2, 3, 0, 3},    {LDI, 2, 0, 0, 2}, {LDI, 1, 0, 0, 0},
                            {LD, 5, 2, 0, 0},   {JNZ, 5, 0, 0, 17},   {INC, 1, 0, 0, 0}, {ADD, 6, 2, 2, 0},
                            {LDI, 7, 0, 0, 1},  {JMP, 0, 0, 0, 16},   {ST, 7, 6, 0, 0},  {ADD, 6, 6, 2, 0},
                            {JLT, 6, 3, 0, 14}, {INC, 2, 0, 0, 0},    {JLT, 2, 3, 0, 8}, {HALT, 0, 0, 0, 0}};
static const ins mixp[] = {{LDI, 2, 0, 0, 20000}, {LDI, 3, 0, 0, 1103515245}, {LDI, 4, 0, 0, 12345}, {LDI, 5, 0, 0, 13},
                           {LDI, 8, 0, 0, 255},   {MUL, 0, 0, 3, 0},          {ADD, 0, 0, 4, 0},     {SHR, 6, 0, 5, 0},
                           {AND, 7, 6, 8, 0},     {LD, 9, 7, 0, 0},           {XOR, 9, 9, 0, 0},     {ST, 9, 7, 0, 16},
                           {CMPEQ, 10, 7, 8, 0},  {JNZ, 10, 0, 0, 15},        {SUB, 1, 1, 9, 0},     {ADD, 1, 1, 6, 0},
                           {DEC, 2, 0, 0, 0},     {JNZ, 2, 0, 0, 5},          {HALT, 0, 0, 0, 0}};
int main(int argc, char **argv) {
    long n = work(argc, argv, 1200);
    uint32_t h = 0;
    for (long i = 0; i < n; i++) {
        h = fold(h, (uint32_t)run(sieve, (int32_t)i));
        h = fold(h, (uint32_t)run(mixp, (int32_t)i));
    }
    printf("bytecode %08x\n", h);
    return 0;
}
