/* A 64-bit address space: reservations, fixed places, faults, and system calls with bad pointers. Prints what happened,
 * which is the same on every architecture but for what is inside #if. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define TIB (1ul << 40)
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static const int anon = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

/* Keeps the compiler from knowing the address. */
static volatile char *hidden(uintptr_t address) {
    __asm__ volatile("" : "+r"(address));
    return (volatile char *)address;
}

static void *map(uintptr_t address, size_t length, int prot, int flags) {
    return mmap((void *)address, length, prot, anon | flags, -1, 0);
}

static void say(const char *what, int right) {
    printf("%s: %s\n", what, right ? "yes" : "NO");
}

static sigjmp_buf back;
static volatile int code;
static volatile uintptr_t where;

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    code = number << 16 | info->si_code;
    where = (uintptr_t)info->si_addr;
    siglongjmp(back, 1);
}

/* Whether an access faults with that code and address. */
static int faults(volatile char *address, int write, int wanted_code, uintptr_t wanted) {
    if (!sigsetjmp(back, 1)) {
        if (write)
            *address = 1;
        else
            (void)*address;
        return 0;
    }
    return code == (SIGSEGV << 16 | wanted_code) && where == wanted;
}

static void reservations(void) {
    char *big = map(0, 12 * TIB, PROT_NONE, 0);
    say("12 TiB can be reserved", big != MAP_FAILED);
    char *part = big + 7 * TIB + 3 * PAGE;
    say("a part can be used", mprotect(part, 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
    strcpy(part + PAGE - 2, "across");
    say("it keeps its contents", strcmp(part + PAGE - 2, "across") == 0);
    uintptr_t next = (uintptr_t)part + 2 * PAGE;
    say("the rest is protected", faults(hidden(next), 1, SEGV_ACCERR, next));
    say("a hole can be made", munmap(big + TIB, 10 * TIB) == 0);
    uintptr_t gone = (uintptr_t)part;
    say("nothing is there any more", faults(hidden(gone), 0, SEGV_MAPERR, gone));
    say("it cannot be protected", mprotect(part, PAGE, PROT_READ) == -1 && errno == ENOMEM);
    munmap(big, 12 * TIB);
    /* The shadow memory of AddressSanitizer for x86-64, and the arena of Go. */
    char *shadow = map(0x10007fff8000, TIB, PROT_READ | PROT_WRITE, MAP_FIXED);
    shadow[TIB / 2] = 1;
    say("shadow memory", shadow == (char *)0x10007fff8000 && shadow[TIB / 2] == 1 && shadow[TIB - 1] == 0);
    char *arena = map(0xc000000000, 64 << 20, PROT_READ | PROT_WRITE, 0);
    say("a hint counts", arena == (char *)0xc000000000);
    char *other = map(0xc000000000, 64 << 20, PROT_READ | PROT_WRITE, 0);
    say("a hint is only a hint", other != MAP_FAILED && other != arena);
    void *taken = map(0xc000000000, PAGE, PROT_NONE, MAP_FIXED_NOREPLACE);
    say("nothing is replaced", taken == MAP_FAILED && errno == EEXIST);
    say("nothing beyond the end", map(1ul << 48, PAGE, PROT_NONE, MAP_FIXED) == MAP_FAILED && errno == ENOMEM);
#if defined(__x86_64__)
    char *low = map(0, PAGE, PROT_READ, MAP_32BIT);
    say("low addresses", (uintptr_t)low < 1ul << 31);
#else
    say("low addresses", 1);
#endif
}

static void moves(void) {
    char *from = map(0, 4 * PAGE, PROT_READ | PROT_WRITE, 0);
    strcpy(from + PAGE, "moved");
    char *to = mremap(from, 4 * PAGE, 64 << 20, MREMAP_MAYMOVE);
    say("mremap", to != MAP_FAILED && strcmp(to + PAGE, "moved") == 0);
    int status = 0;
    if (fork() == 0)
        _exit(strcmp(to + PAGE, "moved") == 0 && (to[PAGE] = 'M') == 'M' ? 7 : 8);
    wait(&status);
    say("a child has a copy", WEXITSTATUS(status) == 7 && to[PAGE] == 'm');
}

static void bad_addresses(void) {
    say("low address", faults(hidden(16), 0, SEGV_MAPERR, 16));
    uintptr_t nothing = 0x600000000000;
    say("nothing there", faults(hidden(nothing), 1, SEGV_MAPERR, nothing));
    uintptr_t kernel = 0xffff800000000000;
    say("the kernel's", faults(hidden(kernel), 0, SEGV_MAPERR, kernel));
    char *read_only = map(0, PAGE, PROT_READ, 0);
    say("read-only", faults(hidden((uintptr_t)read_only), 1, SEGV_ACCERR, (uintptr_t)read_only));
    int pipes[2];
    if (pipe(pipes) || write(pipes[1], "xyz", 3) != 3)
        exit(1);
    uintptr_t bad[] = {1, nothing, kernel, 0x1234000000000000, (uintptr_t)-1};
    for (int i = 0; i < 5; i++) {
        int writes = write(pipes[1], (void *)bad[i], 10) == -1 && errno == EFAULT;
        int reads = read(pipes[0], (void *)bad[i], 2) == -1 && errno == EFAULT;
        printf("system call %d: %d %d\n", i, writes, reads);
    }
    say("into read-only memory", read(pipes[0], read_only, 2) == -1 && errno == EFAULT);
    unsigned char vector[1];
    say("no pages", mincore((void *)nothing, PAGE, vector) == -1 && errno == ENOMEM);
    say("no advice", madvise((void *)nothing, PAGE, MADV_DONTNEED) == -1 && errno == ENOMEM);
}

#if defined(__x86_64__)
static void peculiar(void) {
    /* A general-protection exception tells no address. */
    say("peculiar addresses", faults(hidden(0x1234000000000000), 0, 128, 0));
}
#elif defined(__aarch64__)
/* The top byte of an address is ignored. */
static void peculiar(void) {
    uint64_t *data = map(0, PAGE, PROT_READ | PROT_WRITE, 0);
    uintptr_t tag = 0x5aul << 56;
    volatile uint64_t *tagged = (volatile uint64_t *)hidden((uintptr_t)data | tag);
    int right = 1;
    for (int i = 0; i < 100; i++) {
        tagged[i] = i * 3;
        right &= data[i] == i * 3ul && tagged[i] == i * 3ul;
    }
    right &= __atomic_fetch_add(tagged, 5, __ATOMIC_SEQ_CST) == 0 && data[0] == 5;
    uint64_t a, b;
    __asm__ volatile("ldp %0, %1, [%2], #16" : "=r"(a), "=r"(b), "+r"(tagged));
    right &= a == 5 && b == 3 && (uintptr_t)tagged == ((uintptr_t)(data + 2) | tag);
    __asm__ volatile("ldr q0, [%0]\n str q0, [%0, #32]" : : "r"(tagged) : "v0", "memory");
    right &= data[6] == 6 && data[7] == 9;
    uintptr_t nothing = 0x600000000000;
    right &= faults(hidden(nothing | tag), 1, SEGV_MAPERR, nothing);
    right &= faults(hidden((uintptr_t)peculiar | tag), 1, SEGV_ACCERR, (uintptr_t)peculiar);
    say("peculiar addresses", right);
}
#endif

int main(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    say("the program is low", (uintptr_t)main < 1ul << 32);
    reservations();
    moves();
    bad_addresses();
    peculiar();
    return 0;
}
