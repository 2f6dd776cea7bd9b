// Runs single instructions: reads records from standard input, and for each loads the state, executes the code in a
// fixed page, and writes the state that it left to standard output. Freestanding but for the C library.
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Both ends share these addresses and structures with the Rust side.
#define CODE ((uint8_t *)0x10000000)
#define DATA ((uint8_t *)0x20000000)
#define DATA_BYTES 0x4000
#define CHANGES 64

struct state {
    uint32_t r[15], cpsr, fpscr, unused;
    uint64_t d[32];
};
struct input {
    struct state state;
    uint32_t thumb, length, code[4];
};
struct output {
    struct state state;
    uint32_t signal, changes, at[CHANGES], word[CHANGES];
};

// Both are position-independent; the collector is copied behind the tested code, because only R15 can reach it.
extern uint8_t collector[], collector_end[], collector_state[], collector_back[];
void enter(struct state *state, uint32_t target);
asm(".arm\n.fpu neon\n"
    ".globl enter\n"
    "enter:\n"
    "  push {r4-r11, lr}\n"
    "  clrex\n"
    "  vpush {d8-d15}\n"
    "  ldr r2, =0x10000800\n" // the collector's copy
    "  ldr r3, =back_offset\n"
    "  str sp, [r2, r3]\n"
    "  add r2, #0x700\n"
    "  str r1, [r2]\n" // where the last jump leads
    "  add r3, r0, #72\n"
    "  vldmia r3!, {d0-d15}\n"
    "  vldmia r3!, {d16-d31}\n"
    "  ldr r3, [r0, #64]\n"
    "  vmsr fpscr, r3\n"
    "  ldr r3, [r0, #60]\n"
    "  msr cpsr_fs, r3\n"
    "  ldr sp, [r0, #52]\n"
    "  ldr lr, [r0, #56]\n"
    "  ldmia r0, {r0-r12}\n"
    "  b launch\n"
    ".ltorg\n"
    "launch:\n"
    "  str r0, saved\n" // this code is writable as well
    "  ldr r0, [pc, #4]\n"
    "  ldr r0, [r0]\n"
    "  b 1f\n"
    "  .word 0x10000f00\n"
    "1: str r0, target\n"
    "  ldr r0, saved\n"
    "  ldr pc, target\n"
    "saved: .word 0\n"
    "target: .word 0\n"
    ".globl collector, collector_end, collector_state, collector_back\n"
    ".set back_offset, collector_back - collector\n"
    "collector:\n"
    "  str r0, collector_state\n"
    "  adr r0, collector_state + 4\n"
    "  stmia r0, {r1-r12}\n"
    "  str sp, [r0, #48]\n"
    "  str lr, [r0, #52]\n"
    "  mrs r1, cpsr\n"
    "  str r1, [r0, #56]\n"
    "  vmrs r1, fpscr\n"
    "  str r1, [r0, #60]\n"
    "  add r1, r0, #68\n"
    "  vstmia r1!, {d0-d15}\n"
    "  vstmia r1!, {d16-d31}\n"
    "  ldr sp, collector_back\n"
    "  vpop {d8-d15}\n"
    "  pop {r4-r11, pc}\n"
    "collector_back: .word 0\n"
    ".align 3\n"
    "collector_state: .space 328\n"
    "collector_end:\n");

static sigjmp_buf escape;
static volatile int caught;

static void handler(int signal) {
    caught = signal;
    siglongjmp(escape, 1);
}

static void pattern(void) {
    for (uint32_t i = 0; i < DATA_BYTES / 4; i++) {
        ((uint32_t *)DATA)[i] = (i * 4 + 0x20000000u) * 2654435761u;
    }
}

static int whole(int fd, void *buffer, size_t bytes, int out) {
    for (size_t at = 0; at < bytes;) {
        ssize_t n = out ? write(fd, (char *)buffer + at, bytes - at) : read(fd, (char *)buffer + at, bytes - at);
        if (n <= 0) return 0;
        at += n;
    }
    return 1;
}

int main(void) {
    static uint8_t stack[65536] __attribute__((aligned(16)));
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_NODEFER};
    int signals[] = {SIGILL, SIGSEGV, SIGBUS, SIGTRAP, SIGFPE, SIGALRM};
    for (int i = 0; i < 6; i++) sigaction(signals[i], &action, 0);
    int rwx = PROT_READ | PROT_WRITE | PROT_EXEC, fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    mmap(CODE, 0x1000, rwx, fixed, -1, 0);
    mmap(DATA, DATA_BYTES, PROT_READ | PROT_WRITE, fixed, -1, 0);
    mprotect((void *)((uintptr_t)enter & ~4095u), 8192, rwx);
    static struct input in;
    static struct output out;
    while (whole(0, &in, sizeof in, 0)) {
        pattern();
        memset(CODE, 0, 0x100);
        memcpy(CODE + 0x800, collector, collector_end - collector);
        memcpy(CODE, in.code, in.length);
        // On to the collector: `ldr pc, [pc, #-4]`, or `ldr.w pc, [pc, #0]` at a multiple of 4.
        uint32_t at = in.length, jump = 0xe51ff004, goal = 0x10000800;
        if (in.thumb) {
            if (at & 2) { uint16_t nop = 0xbf00; memcpy(CODE + at, &nop, 2); at += 2; }
            jump = 0xf000f8df;
        }
        memcpy(CODE + at, &jump, 4);
        memcpy(CODE + at + 4, &goal, 4);
        __builtin___clear_cache((char *)CODE, (char *)CODE + 0x1000);
        memset(&out, 0, sizeof out);
        caught = 0;
        alarm(2);
        if (sigsetjmp(escape, 1) == 0) {
            enter(&in.state, (uint32_t)CODE | in.thumb);
            memcpy(&out.state, CODE + 0x800 + (collector_state - collector), sizeof out.state);
        }
        out.signal = caught;
        for (uint32_t i = 0; i < DATA_BYTES / 4; i++) {
            uint32_t word = ((uint32_t *)DATA)[i];
            if (word != (i * 4 + 0x20000000u) * 2654435761u && out.changes < CHANGES) {
                out.at[out.changes] = i * 4;
                out.word[out.changes++] = word;
            }
        }
        if (!whole(1, &out, sizeof out, 1)) return 1;
    }
    return 0;
}
