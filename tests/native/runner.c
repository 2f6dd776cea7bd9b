/*
 * Runs instruction sequences and reports what they left behind.
 *
 * Standard input is a stream of batches: a count, a page of code, and that many cases (struct start, then the data
 * window). For each case the runner loads all registers, jumps to the code, and writes what the signal that ended it
 * found (struct end, then the data window) to standard output. A sequence ends with int3 unless an instruction faults.
 *
 * The program is free-standing, at fixed addresses, and unmaps the stack and the vDSO it was started with, so that
 * an address that a sequence computes means the same natively and emulated.
 */

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

/* Apart from the window in several bits, so that a bit operation on an address does not lead here. */
#define CODE 0x1d390000u
#define CODE_LEN 0x1000u
#define GS_BASE 0x0f000000u
#define WINDOW 0x20010000u
#define WINDOW_LEN 0x2000u
/* A page of read-only data follows the window; around both nothing is mapped. */
#define READ_ONLY (WINDOW + WINDOW_LEN)
#define PAGE 0x1000u
/* Above the program; everything here is unmapped. */
#define REST 0x40000000u
#define REST_END 0xffffe000u

/* Seconds that a batch may take. */
#define PATIENCE 240

enum { NR_EXIT = 1, NR_READ = 3, NR_WRITE = 4, NR_ALARM = 27, NR_MUNMAP = 91, NR_MPROTECT = 125, NR_RT_SIGACTION = 174,
       NR_SIGALTSTACK = 186, NR_MMAP2 = 192, NR_SET_THREAD_AREA = 243 };
enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11 };
enum { SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_NODEFER = 0x40000000 };
enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, MAP_PRIVATE_FIXED_ANONYMOUS = 0x32 };

/* Registers in the order of the encoding: eax ecx edx ebx esp ebp esi edi. */
struct start {
    u32 entry, eflags, gpr[8], pad[6];
    u8 fxsave[512];
};

struct end {
    u32 signo, code, addr, trapno, err, cr2, eip, eflags, gpr[8], segments[6], pad[10];
    u8 fxsave[512];
};

struct start start __attribute__((aligned(64)));
static struct end end __attribute__((aligned(64)));
u32 saved_esp;
u8 stack[0x8000] __attribute__((aligned(64)));
static u8 signal_stack[0x10000] __attribute__((aligned(64)));

/* sigcontext_32, ucontext_ia32, siginfo: as the kernel's. */
struct context {
    u32 gs, fs, es, ds, edi, esi, ebp, esp, ebx, edx, ecx, eax, trapno, err, eip, cs, eflags, esp_at_signal, ss, fpstate,
        oldmask, cr2;
};
struct ucontext {
    u32 flags, link, alt[3];
    struct context context;
};
struct siginfo {
    u32 signo, error, code, addr;
};

__asm__(
    ".globl _start\n_start: mov $stack + 0x8000, %esp; call begin\n"
    /* Loads everything and jumps; the signal handler continues at `back`. */
    ".globl enter\nenter: pusha; mov %esp, saved_esp\n"
    "fxrstor start + 64\n"
    "pushl start + 4; popf\n"
    "mov start + 8, %eax; mov start + 12, %ecx; mov start + 16, %edx; mov start + 20, %ebx\n"
    "mov start + 28, %ebp; mov start + 32, %esi; mov start + 36, %edi; mov start + 24, %esp\n"
    "jmp *start\n"
    ".globl back\nback: popa; ret\n"
    ".globl restorer\nrestorer: mov $173, %eax; int $0x80\n");

void enter(void);
void back(void);
void restorer(void);

static long call(u32 nr, u32 a, u32 b, u32 c, u32 d, u32 e) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
}

/* mmap2 has its sixth argument, the offset, in ebp. */
static long map(u32 at, u32 len, u32 prot) {
    long result;
    __asm__ volatile("push %%ebp; xor %%ebp, %%ebp; int $0x80; pop %%ebp"
                     : "=a"(result)
                     : "a"(NR_MMAP2), "b"(at), "c"(len), "d"(prot), "S"(MAP_PRIVATE_FIXED_ANONYMOUS), "D"(-1)
                     : "memory");
    return result;
}

static void leave(u32 status) {
    call(NR_EXIT, status, 0, 0, 0, 0);
    __builtin_unreachable();
}

static void copy(void *to, const void *from, u32 len) {
    len /= 4;
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
}

static void handler(int signo, struct siginfo *info, struct ucontext *uc) {
    struct context *c = &uc->context;
    const u32 registers[8] = {c->eax, c->ecx, c->edx, c->ebx, c->esp, c->ebp, c->esi, c->edi};
    const u32 segments[6] = {c->es, c->cs, c->ss, c->ds, c->fs, c->gs};
    end.signo = signo;
    end.code = info->code;
    end.addr = info->addr;
    end.trapno = c->trapno;
    end.err = c->err;
    end.cr2 = c->cr2;
    end.eip = c->eip;
    end.eflags = c->eflags;
    copy(end.gpr, registers, sizeof registers);
    for (int i = 0; i < 6; i++)
        end.segments[i] = segments[i] & 0xffff;
    /* Behind the fsave image. */
    copy(end.fxsave, (u8 *)c->fpstate + 112, 512);
    c->eip = (u32)back;
    c->esp = saved_esp;
    c->eflags = 0x202;
    c->ds = c->es = c->ss;
}

static u32 receive(void *to, u32 len) {
    u32 got = 0;
    while (got < len) {
        long n = call(NR_READ, 0, (u32)to + got, len - got, 0, 0);
        if (n < 0)
            leave(3);
        if (n == 0)
            break;
        got += n;
    }
    return got;
}

static void expect(void *to, u32 len) {
    if (receive(to, len) != len)
        leave(4);
}

static void send(const void *from, u32 len) {
    for (u32 sent = 0; sent < len;) {
        long n = call(NR_WRITE, 1, (u32)from + sent, len - sent, 0, 0);
        if (n <= 0)
            leave(5);
        sent += n;
    }
}

static void set_up(void) {
    /* The stack, the vDSO and whatever else is not part of the program. */
    call(NR_MUNMAP, REST, REST_END - REST, 0, 0, 0);

    if (map(CODE, CODE_LEN, PROT_READ | PROT_WRITE | PROT_EXEC) != (long)CODE)
        leave(6);
    if (map(WINDOW, WINDOW_LEN + PAGE, PROT_READ | PROT_WRITE) != (long)WINDOW)
        leave(7);
    for (u32 i = 0, x = 1; i < PAGE; i += 4, x = x * 1664525 + 1013904223)
        *(u32 *)(READ_ONLY + i) = x;
    call(NR_MPROTECT, READ_ONLY, PAGE, PROT_READ, 0, 0);

    const u32 alt[3] = {(u32)signal_stack, 0, sizeof signal_stack};
    call(NR_SIGALTSTACK, (u32)alt, 0, 0, 0, 0);
    const u32 action[5] = {(u32)handler, SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_NODEFER, (u32)restorer, 0, 0};
    const u32 signals[5] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV};
    for (int i = 0; i < 5; i++)
        call(NR_RT_SIGACTION, signals[i], (u32)action, 0, 8, 0);
    /* An override reaches the window, and nothing else that is mapped. */
    u32 area[4] = {-1u, GS_BASE, 0xfffff, 0x51};
    call(NR_SET_THREAD_AREA, (u32)area, 0, 0, 0, 0);
    __asm__ volatile("mov %0, %%gs" : : "r"(area[0] * 8 + 3));
}

void begin(void) {
    set_up();
    u32 count;
    while (receive(&count, sizeof count) == sizeof count) {
        call(NR_ALARM, PATIENCE, 0, 0, 0, 0);
        expect((void *)CODE, CODE_LEN);
        for (; count; count--) {
            expect(&start, sizeof start);
            expect((void *)WINDOW, WINDOW_LEN);
            enter();
            send(&end, sizeof end);
            send((void *)WINDOW, WINDOW_LEN);
        }
    }
    leave(0);
}
