// Runs instructions from given states and tells the states after them. Records come on the standard input and go to
// the standard output, see `Record` in the test. Registers are loaded and read by the kernel: the signal handler that
// is entered after one case changes its context to that of the next.

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <ucontext.h>
#include <unistd.h>

enum { CODE = 0x50000000, CODE_BYTES = 0x10000, DATA = 0x40000000, PAGE = 4096, WINDOW = 1024, WORDS = 8 };
enum { BRK = 0xd4200000 };

struct record {
    uint64_t x[31], sp, pc, nzcv, fpcr, fpsr, signal, address;
    unsigned char v[32][16];
    uint32_t code[WORDS];
    unsigned char data[WINDOW];
};

static struct record record;
static int running;

static void transfer(int out) {
    unsigned char *at = (unsigned char *)&record;
    size_t left = sizeof record;
    while (left > 0) {
        ssize_t n = out ? write(1, at, left) : read(0, at, left);
        if (n <= 0)
            _exit(left == sizeof record ? 0 : 1);
        at += n;
        left -= n;
    }
}

static struct fpsimd_context *fp_context(ucontext_t *uc) {
    struct _aarch64_ctx *head = (struct _aarch64_ctx *)uc->uc_mcontext.__reserved;
    while (head->magic != FPSIMD_MAGIC) {
        if (head->size == 0)
            _exit(2);
        head = (struct _aarch64_ctx *)((char *)head + head->size);
    }
    return (struct fpsimd_context *)head;
}

static void put(ucontext_t *uc) {
    struct fpsimd_context *fp = fp_context(uc);
    memcpy(uc->uc_mcontext.regs, record.x, sizeof record.x);
    uc->uc_mcontext.sp = record.sp;
    uc->uc_mcontext.pc = record.pc;
    uc->uc_mcontext.pstate = record.nzcv;
    memcpy(fp->vregs, record.v, sizeof record.v);
    fp->fpcr = record.fpcr;
    fp->fpsr = record.fpsr;
    memset((void *)DATA, 0, PAGE);
    memcpy((char *)DATA + PAGE - WINDOW, record.data, WINDOW);
    memcpy((void *)record.pc, record.code, sizeof record.code);
    __builtin___clear_cache((char *)record.pc, (char *)record.pc + sizeof record.code);
}

static void get(ucontext_t *uc, int number, siginfo_t *info) {
    struct fpsimd_context *fp = fp_context(uc);
    for (int i = 0; i < WORDS; i++)
        ((uint32_t *)record.pc)[i] = BRK;
    memcpy(record.x, uc->uc_mcontext.regs, sizeof record.x);
    record.sp = uc->uc_mcontext.sp;
    record.pc = uc->uc_mcontext.pc;
    record.nzcv = uc->uc_mcontext.pstate & 0xf0000000;
    memcpy(record.v, fp->vregs, sizeof record.v);
    record.fpcr = fp->fpcr;
    record.fpsr = fp->fpsr;
    record.signal = number;
    record.address = (uint64_t)info->si_addr;
    memcpy(record.data, (char *)DATA + PAGE - WINDOW, WINDOW);
}

static void handler(int number, siginfo_t *info, void *context) {
    if (running) {
        get(context, number, info);
        transfer(1);
    }
    running = 1;
    transfer(0);
    put(context);
}

int main(void) {
    static unsigned char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&alternate, 0);
    int signals[] = {SIGTRAP, SIGILL, SIGSEGV, SIGBUS, SIGFPE};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, 0);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    mmap((void *)DATA, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    uint32_t *code = mmap((void *)CODE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
    for (int i = 0; i < CODE_BYTES / 4; i++)
        code[i] = BRK;
    raise(SIGTRAP);
    return 0;
}
