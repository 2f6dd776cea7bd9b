/* Code that is written, patched, moved and unmapped while other threads run it. */
#define _GNU_SOURCE
#include "stress.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

typedef uint32_t (*function)(uint32_t);

#define PAGE 4096
#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)
#define RX (PROT_READ | PROT_EXEC)
#define RW (PROT_READ | PROT_WRITE)

/* What a processor must do before it runs code that another one has changed (SDM vol. 3A, 9.1.3). */
static void serialize(void) {
    uint32_t a = 0, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)::"memory");
}

static void put32(uint8_t *at, uint32_t value) {
    memcpy(at, &value, 4);
}

/* Writes a function that returns `value`, in one of several ways; at most 32 bytes. */
static void write_function(uint8_t *at, uint32_t value, int way) {
    static const uint8_t TEMPLATES[6][20] = {
        { 0xb8, 1, 0, 0, 0, 0xc3 },                                               /* mov eax, V; ret */
        { 0x31, 0xc0, 0x05, 1, 0, 0, 0, 0xc3 },                                   /* xor eax, eax; add eax, V; ret */
        { 0x68, 1, 0, 0, 0, 0x58, 0xc3 },                                         /* push V; pop eax; ret */
        { 0xe8, 0, 0, 0, 0, 0x58, 0xb8, 1, 0, 0, 0, 0xc3 },                       /* call next; pop eax; mov eax, V; ret */
        { 0xb9, 5, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x40, 0x49, 0x75, 0xfc, 0xc3 },     /* mov ecx, 5; mov eax, V - 5; inc five times */
        { 0xeb, 1, 0xf4, 0xb8, 1, 0, 0, 0, 0x85, 0xc0, 0x75, 1, 0xf4, 0xc3 },     /* jumps over hlt */
    };
    static const uint8_t VALUE_AT[6] = { 1, 3, 1, 7, 6, 4 };
    memcpy(at, TEMPLATES[way], 20);
    put32(at + VALUE_AT[way], way == 4 ? value - 5 : value);
}

/* The same, but the kernel writes it. */
static void read_function(uint8_t *at, uint32_t value, int way) {
    uint8_t text[20];
    int ends[2];
    write_function(text, value, way);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(write(ends[1], text, sizeof text) == sizeof text);
    CHECK(read(ends[0], at, sizeof text) == sizeof text);
    close(ends[0]);
    close(ends[1]);
}

enum kind { PRIVATE, SHARED, DUAL, TOGGLED, REMAPPED, KINDS };

/* A place for a function. Who calls it holds its lock for reading, who changes it for writing. */
struct slot {
    pthread_rwlock_t lock;
    enum kind kind;
    uint8_t *writable, *code;
    uint32_t value;
    /* Functions that call it directly, or jump to it, or sum a hundred calls of it. */
    function through[3];
};

#define SLOTS 80
/* Far from where the kernel puts mappings of its own choice. */
#define REMAPPED_BASE ((uint8_t *)0x20000000)
static struct slot slots[SLOTS];
static uint32_t next_value = 1;

static void *map(void *where, size_t len, int prot, int flags, int fd) {
    void *p = mmap(where, len, prot, flags, fd, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static void change(struct slot *slot) {
    uint32_t value = __atomic_fetch_add(&next_value, 1, __ATOMIC_RELAXED) | 1;
    uint8_t *page = (uint8_t *)((uintptr_t)slot->code & -PAGE);
    pthread_rwlock_wrlock(&slot->lock);
    if (slot->kind == TOGGLED)
        CHECK(mprotect(page, PAGE, RW) == 0);
    if (slot->kind == REMAPPED && dice(2)) {
        CHECK(munmap(page, PAGE) == 0);
        sched_yield();
        map(page, PAGE, dice(2) ? RWX : RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
    } else if (slot->kind == REMAPPED) {
        map(page, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
    }
    (dice(4) ? write_function : read_function)(slot->writable, value, dice(6));
    if (slot->kind == TOGGLED || slot->kind == REMAPPED)
        CHECK(mprotect(page, PAGE, RX) == 0);
    slot->value = value;
    pthread_rwlock_unlock(&slot->lock);
}

static void call(struct slot *slot) {
    pthread_rwlock_rdlock(&slot->lock);
    serialize();
    uint32_t value = slot->value;
    for (int i = dice(20); i >= 0; i--) {
        int how = dice(6);
        function f = how < 3 ? slot->through[how] : (function)slot->code;
        uint32_t result = f(0), expected = how == 2 ? value * 100 : value;
        if (result != expected)
            fprintf(stderr, "a function of kind %d, called in way %d, returned %x instead of %x\n", slot->kind, how, result,
                    expected);
        CHECK(result == expected);
    }
    pthread_rwlock_unlock(&slot->lock);
}

static void slots_run(void) {
    for (int i = dice(20); i >= 0; i--) {
        struct slot *slot = &slots[dice(SLOTS)];
        if (dice(4) == 0)
            change(slot);
        else
            call(slot);
    }
}

/* Each thread has a function in a page that all share, which overwrites an instruction of its own and runs it. */
static uint8_t *own_page;

static void own_run(void) {
    uint8_t *code = own_page + 64 * (1 + self->id) - 3;
    for (int i = dice(60); i >= 0; i--) {
        uint32_t value = dice(1 << 24);
        CHECK(((function)code)(value) == value);
    }
}

static void own_init(void) {
    /* mov eax, [esp + 4]; mov [next + 1], eax; xor eax, eax; next: mov eax, 0; ret */
    static const uint8_t CODE[] = { 0x8b, 0x44, 0x24, 4, 0xa3, 0, 0, 0, 0, 0x31, 0xc0, 0xb8, 0, 0, 0, 0, 0xc3 };
    own_page = map(NULL, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (int i = 0; i < WORKERS; i++) {
        uint8_t *at = own_page + 64 * (1 + i) - 3;
        memcpy(at, CODE, sizeof CODE);
        put32(at + 5, (uintptr_t)(at + 12));
    }
}

/* A constant in code that only grows, without locks: who has seen a value announced gets at least that. */
static uint8_t *growing;
static uint32_t begun, announced;
static pthread_mutex_t growing_mutex = PTHREAD_MUTEX_INITIALIZER;

static void growing_run(void) {
    if (dice(3) == 0 && pthread_mutex_trylock(&growing_mutex) == 0) {
        for (int i = dice(20); i >= 0; i--) {
            uint32_t value = begun + 1;
            __atomic_store_n(&begun, value, __ATOMIC_SEQ_CST);
            __atomic_store_n((uint32_t *)(growing + 4), value, __ATOMIC_SEQ_CST);
            __atomic_store_n(&announced, value, __ATOMIC_SEQ_CST);
        }
        pthread_mutex_unlock(&growing_mutex);
        return;
    }
    for (int i = dice(60); i >= 0; i--) {
        uint32_t least = __atomic_load_n(&announced, __ATOMIC_SEQ_CST);
        serialize();
        uint32_t value = ((function)(growing + 3))(0);
        CHECK(value - least <= __atomic_load_n(&begun, __ATOMIC_SEQ_CST) - least);
    }
}

/* Endless loops that another thread ends by patching them. */
static const uint8_t LOOPS[2][16] = {
    { 0xeb, 0xfe, 0x90, 0xc3 },                         /* jmp $; nop; ret */
    { 0x31, 0xc0, 0x90, 0x90, 0x74, 0xfc, 0x90, 0xc3 }, /* xor eax, eax; nop; nop; l: je l - 2; nop; ret */
};

static void *end_loop(void *arg) {
    uint8_t *at = arg;
    for (int i = 0; i < 20; i++)
        sched_yield();
    __atomic_store_n((uint16_t *)at, 0x9090, __ATOMIC_SEQ_CST);
    return NULL;
}

static void loop_run(void) {
    uint8_t *page = map(NULL, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    int which = dice(2);
    pthread_t thread;
    memcpy(page + 256, LOOPS[which], 16);
    CHECK(pthread_create(&thread, NULL, end_loop, page + 256 + 4 * which) == 0);
    ((function)(page + 256))(0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(munmap(page, PAGE) == 0);
}

/* A function whose code after a call is changed by what it calls. */
static __thread uint8_t *patched;

static void patch_caller(void) {
    put32(patched + 8, 4711);
}

static void return_run(void) {
    uint8_t *page = map(NULL, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (int round = 0; round < 3; round++) {
        /* sub esp, 12 (the stack's alignment); call ..; mov eax, 1; add esp, 12; ret; not at the page's start */
        uint8_t *at = page + 512 + 64 * dice(4);
        static const uint8_t CODE[] = { 0x83, 0xec, 12, 0xe8, 0, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x83, 0xc4, 12, 0xc3 };
        memcpy(at, CODE, sizeof CODE);
        put32(at + 4, (uintptr_t)patch_caller - (uintptr_t)(at + 8));
        patched = at + 1;
        CHECK(((function)at)(0) == 4711);
    }
    CHECK(munmap(page, PAGE) == 0);
}

/* Deep recursion, left by returning or by jumping. */
__attribute__((noinline)) static uint32_t recurse(uint32_t n, jmp_buf *out) {
    if (n == 0 && out)
        longjmp(*out, 1);
    return n == 0 ? 0 : recurse(n - 1, out) * 3 + 1;
}

static void recursion_run(void) {
    jmp_buf out;
    uint32_t expected = 0, n = dice(20000);
    for (uint32_t i = 0; i < n; i++)
        expected = expected * 3 + 1;
    CHECK(recurse(n, NULL) == expected);
    if (setjmp(out) == 0)
        CHECK(recurse(n, &out) == 0);
}

const struct activity code_activities[] = {
    { "slots", 20, slots_run }, { "own", 6, own_run },       { "growing", 6, growing_run },     { "loop", 1, loop_run },
    { "return", 2, return_run }, { "recursion", 1, recursion_run }, { NULL, 0, NULL },
};

/* Functions that lead to a slot by direct calls and jumps. */
static void write_through(struct slot *slot, uint8_t *at) {
    static const uint8_t CALL[] = { 0xe8, 0, 0, 0, 0, 0xc3 };
    /* push ebx; push esi; mov esi, 100; xor ebx, ebx; l: call ..; add ebx, eax; dec esi; jnz l; mov eax, ebx; pop; pop; ret */
    static const uint8_t SUM[] = { 0x53, 0x56, 0xbe, 100, 0, 0, 0, 0x31, 0xdb, 0xe8, 0,    0,    0,
                                   0,    1,    0xc3, 0x4e, 0x75, 0xf6, 0x89, 0xd8, 0x5e, 0x5b, 0xc3 };
    uintptr_t to = (uintptr_t)slot->code;
    memcpy(at, CALL, sizeof CALL);
    put32(at + 1, to - (uintptr_t)(at + 5));
    at[16] = 0xe9;
    put32(at + 17, to - (uintptr_t)(at + 21));
    memcpy(at + 32, SUM, sizeof SUM);
    put32(at + 42, to - (uintptr_t)(at + 46));
    for (int i = 0; i < 3; i++)
        slot->through[i] = (function)(at + 16 * i);
}

void code_init(void) {
    int fd = syscall(SYS_memfd_create, "code", 1);
    CHECK(fd >= 0 && ftruncate(fd, PAGE * 4) == 0);
    uint8_t *writable[KINDS], *code[KINDS];
    writable[PRIVATE] = code[PRIVATE] = map(NULL, PAGE * 4, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    writable[SHARED] = code[SHARED] = map(NULL, PAGE * 4, RWX, MAP_SHARED | MAP_ANONYMOUS, -1);
    writable[DUAL] = map(NULL, PAGE * 4, RW, MAP_SHARED, fd);
    code[DUAL] = map(NULL, PAGE * 4, RX, MAP_SHARED, fd);
    uint8_t *callers = map(NULL, SLOTS * 64, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    self = &workers[0];
    self->rng = 1;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &slots[i];
        pthread_rwlock_init(&slot->lock, NULL);
        if (i < 60) {
            /* Some cross from one page to the next. */
            slot->kind = i % 3;
            size_t offset = i / 3 % 4 == 3 ? PAGE * (1 + i / 12 % 3) - 4 - 40 * (i / 36) : 64 * i;
            slot->writable = writable[slot->kind] + offset;
            slot->code = code[slot->kind] + offset;
        } else {
            slot->kind = i % 2 ? TOGGLED : REMAPPED;
            uint8_t *page = map(REMAPPED_BASE + 2 * PAGE * i, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
            slot->writable = slot->code = page + 40 * (i % 7);
        }
        write_through(slot, callers + 64 * i);
        change(slot);
    }
    own_init();
    growing = map(NULL, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    write_function(growing + 3, 0, 0);
    self = NULL;
}

int code_in_child(void) {
    /* Nobody else is in this process, and its pages are copies. */
    uint8_t *page = own_page + 2048;
    for (uint32_t i = 1; i < 30; i++) {
        write_function(page + 32 * (i % 3), i, i % 6);
        if (((function)(page + 32 * (i % 3)))(0) != i)
            return 1;
    }
    return 0;
}

void code_report(void) {
    for (int i = 0; i < SLOTS; i++)
        CHECK(((function)slots[i].code)(0) == slots[i].value);
    printf("code: %d functions return their values\n", SLOTS);
}
