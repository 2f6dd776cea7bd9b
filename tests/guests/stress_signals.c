/* Signals: queued, nested, masked, restarting and interrupting, jumped out of, and those that faults raise. */
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#define SIG_QUEUED (SIGRTMIN)
#define SIG_JUMP (SIGRTMIN + 1)
#define SIG_MASKED (SIGRTMIN + 2)
#define SIG_INTERRUPT (SIGRTMIN + 3)
#define SIG_RESTART (SIGRTMIN + 4)

#define ALT_SIZE (64 << 10)

static __thread sigjmp_buf *volatile landing;
static __thread volatile int depth, outer_runs, inner_runs, masked_runs, interrupt_runs, restart_pipe, restart_delay;
static __thread volatile int fault_code;
static __thread volatile uintptr_t fault_addr;
static __thread char *alt_stack;
static uint32_t noise;
static pid_t process;

static int tgkill_self(int sig) {
    return syscall(SYS_tgkill, process, self->tid, sig);
}

static int is_on_alt_stack(void) {
    char here;
    return alt_stack == NULL || (&here >= alt_stack && &here < alt_stack + ALT_SIZE);
}

/* Uses the registers that an interrupted computation uses, too. */
static void trash_registers(void) {
    volatile long double x = noise;
    x = x * 3 + 1 / (x + 1);
    asm volatile("fninit; pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pxor %%xmm7, %%xmm7; std; cld; stc" ::
                     : "cc");
}

static void on_noise(int sig) {
    int error = errno;
    __atomic_fetch_add(&noise, sig, __ATOMIC_RELAXED);
    trash_registers();
    sched_yield();
    errno = error;
}

static void on_queued(int sig, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    sigset_t now;
    int error = errno;
    CHECK(sig == SIG_QUEUED && info->si_signo == sig && info->si_code == SI_QUEUE);
    CHECK(info->si_value.sival_int >> 8 == self->id && info->si_pid == process);
    CHECK(is_on_alt_stack());
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIG_QUEUED) && sigismember(&now, SIGALRM) && sigismember(&now, SIG_JUMP));
    CHECK(!sigismember(&uc->uc_sigmask, SIG_QUEUED));
    self->handled++;
    trash_registers();
    errno = error;
}

static void queued_run(void) {
    struct worker *to = &workers[dice(WORKERS)];
    if (__atomic_load_n(&to->tid, __ATOMIC_ACQUIRE) == 0)
        return;
    siginfo_t info = { .si_signo = SIG_QUEUED, .si_code = SI_QUEUE };
    info.si_pid = process;
    info.si_uid = getuid();
    info.si_value.sival_int = to->id << 8 | self->id;
    for (int i = dice(4); i >= 0; i--) {
        __atomic_fetch_add(&to->queued, 1, __ATOMIC_SEQ_CST);
        if (syscall(SYS_rt_tgsigqueueinfo, process, to->tid, SIG_QUEUED, &info) != 0) {
            CHECK(errno == EAGAIN);
            __atomic_fetch_sub(&to->queued, 1, __ATOMIC_SEQ_CST);
        }
    }
}

static void on_inner(int sig) {
    CHECK(depth == 1);
    inner_runs++;
    trash_registers();
    (void)sig;
}

/* Sends its own signal once more, which must come only when it has returned. */
static void on_outer(int sig) {
    CHECK(depth == 0);
    depth = 1;
    int runs = inner_runs;
    CHECK(tgkill_self(SIGUSR2) == 0);
    CHECK(inner_runs == runs + 1);
    if (outer_runs++ % 2 == 0)
        CHECK(tgkill_self(sig) == 0);
    depth = 0;
}

static void nested_run(void) {
    int outer = outer_runs, inner = inner_runs;
    CHECK(outer % 2 == 0);
    CHECK(tgkill_self(SIGUSR1) == 0);
    CHECK(outer_runs == outer + 2 && inner_runs == inner + 2);
}

static void on_jump(int sig) {
    CHECK(is_on_alt_stack());
    siglongjmp(*landing, sig);
}

__attribute__((noinline)) static void jump_from(int levels) {
    volatile char space[100];
    space[levels % 100] = 1;
    if (levels == 0)
        tgkill_self(SIG_JUMP);
    else
        jump_from(levels - 1);
    CHECK(levels > 0 && space[levels % 100] == 1);
}

static void jump_run(void) {
    sigjmp_buf here;
    sigset_t before, after;
    volatile double kept = 1.5;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);
    landing = &here;
    volatile int levels = dice(300);
    int sig = sigsetjmp(here, 1);
    if (sig == 0) {
        kept *= 2;
        jump_from(levels);
        fail("returned from a jump", __FILE_NAME__, __LINE__);
    }
    CHECK(sig == SIG_JUMP && kept == 3);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    CHECK(memcmp(&before, &after, 8) == 0);
}

static void on_masked(int sig, siginfo_t *info, void *context) {
    masked_runs++;
    (void)sig, (void)info, (void)context;
}

static void masked_run(void) {
    sigset_t set, old, got;
    siginfo_t info;
    union sigval value = { .sival_int = dice(1000) };
    int runs = masked_runs, sends = dice(5) + 1, kind = dice(3);
    sigemptyset(&set);
    sigaddset(&set, SIG_MASKED);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, &old) == 0);
    for (int i = 0; i < sends; i++)
        CHECK(pthread_sigqueue(pthread_self(), SIG_MASKED, value) == 0);
    CHECK(masked_runs == runs);
    CHECK(sigpending(&got) == 0 && sigismember(&got, SIG_MASKED));
    if (kind == 0) {
        for (int i = 0; i < sends;) {
            struct timespec second = { 1, 0 };
            int sig = sigtimedwait(&set, &info, &second);
            CHECK(sig == SIG_MASKED || (sig < 0 && errno == EINTR));
            i += sig > 0;
            CHECK(sig < 0 || info.si_value.sival_int == value.sival_int);
        }
        sends = 0;
    } else if (kind == 1) {
        sigset_t open = old;
        while (masked_runs == runs)
            CHECK(sigsuspend(&open) == -1 && errno == EINTR);
    }
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(masked_runs == runs + sends);
}

static void on_interrupt(int sig) {
    interrupt_runs++;
    (void)sig;
}

static void on_restart(int sig) {
    if (restart_delay-- == 0)
        CHECK(write(restart_pipe, "x", 1) == 1);
    (void)sig;
}

static timer_t start_timer(int sig, long ns) {
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = sig };
    event._sigev_un._tid = self->tid;
    timer_t timer;
    struct itimerspec when = { { 0, ns }, { 0, ns } };
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &when, NULL) == 0);
    return timer;
}

/* Calls without SA_RESTART end with EINTR, whenever the signal comes. */
static void interrupt_run(void) {
    int ends[2], runs = interrupt_runs;
    char byte;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    timer_t timer = start_timer(SIG_INTERRUPT, 200000 + dice(1000000));
    switch (dice(4)) {
    case 0:
        CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR);
        break;
    case 1: {
        struct pollfd fd = { .fd = ends[0], .events = POLLIN };
        CHECK(poll(&fd, 1, -1) == -1 && errno == EINTR);
        runs = interrupt_runs - 1;
        break;
    }
    case 2: {
        struct timespec hour = { 3600, 0 }, left = { 0, 0 };
        CHECK(nanosleep(&hour, &left) == -1 && errno == EINTR && left.tv_sec >= 3590);
        runs = interrupt_runs - 1;
        break;
    }
    case 3: {
        sem_t sem;
        sem_init(&sem, 0, 0);
        CHECK(sem_wait(&sem) == -1 && errno == EINTR);
        break;
    }
    }
    CHECK(interrupt_runs > runs);
    timer_delete(timer);
    close(ends[0]);
    close(ends[1]);
}

/* With SA_RESTART a call ends only with a result. */
static void restart_run(void) {
    int ends[2];
    char byte = 0;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    restart_pipe = ends[1];
    restart_delay = dice(3);
    timer_t timer = start_timer(SIG_RESTART, 200000 + dice(500000));
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
    timer_delete(timer);
    restart_delay = -1;
    close(ends[0]);
    close(ends[1]);
}

static void on_fault(int sig, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    fault_code = info->si_code;
    fault_addr = (uintptr_t)info->si_addr;
    if (sig == SIGILL || sig == SIGFPE)
        CHECK(fault_addr == (uintptr_t)uc->uc_mcontext.gregs[REG_EIP]);
    switch (sig) {
    case SIGILL:
        uc->uc_mcontext.gregs[REG_EIP] += 2;
        uc->uc_mcontext.gregs[REG_EAX] += 5;
        break;
    case SIGFPE:
        uc->uc_mcontext.gregs[REG_EIP] += 2;
        break;
    case SIGTRAP:
        uc->uc_mcontext.gregs[REG_ECX] = 0x1234;
        break;
    default:
        siglongjmp(*landing, sig);
    }
}

static void *no_access;

static void fault_run(void) {
    sigjmp_buf here;
    volatile uint32_t *bad = (volatile uint32_t *)((char *)no_access + 4 * dice(1000));
    volatile int *volatile near_null = (volatile int *)16;
    uint32_t a = 7, c = 0, d = 0;
    landing = &here;
    switch (dice(5)) {
    case 0:
        if (sigsetjmp(here, 1) == 0)
            *bad = 1;
        CHECK(fault_addr == (uintptr_t)bad && fault_code == SEGV_ACCERR);
        break;
    case 1:
        if (sigsetjmp(here, 1) == 0)
            (void)*near_null;
        CHECK(fault_addr == 16 && fault_code == SEGV_MAPERR);
        break;
    case 2:
        asm volatile("ud2" : "+a"(a));
        CHECK(a == 12);
        break;
    case 3:
        asm volatile("div %%ecx" : "+a"(a), "+d"(d) : "c"(0));
        CHECK(a == 7 && d == 0 && fault_code == FPE_INTDIV);
        break;
    case 4:
        asm volatile("int3" : "+c"(c));
        CHECK(c == 0x1234);
        break;
    }
}

const struct activity signal_activities[] = {
    { "queued", 8, queued_run },       { "nested", 4, nested_run },   { "jump", 4, jump_run }, { "masked", 4, masked_run },
    { "interrupt", 2, interrupt_run }, { "restart", 2, restart_run }, { "fault", 6, fault_run }, { NULL, 0, NULL },
};

static void install_action(int sig, struct sigaction action, int mask_all) {
    if (mask_all)
        sigfillset(&action.sa_mask);
    CHECK(sigaction(sig, &action, NULL) == 0);
}

static void install(int sig, void (*handler)(int), int flags, int mask_all) {
    install_action(sig, (struct sigaction){ .sa_handler = handler, .sa_flags = flags }, mask_all);
}

static void install_info(int sig, void (*handler)(int, siginfo_t *, void *), int flags) {
    install_action(sig, (struct sigaction){ .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO }, 1);
}

void signals_init(void) {
    process = getpid();
    no_access = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    install(SIGALRM, on_noise, SA_RESTART | SA_ONSTACK, 1);
    install(SIGPROF, on_noise, SA_RESTART, 1);
    install(SIGCHLD, on_noise, SA_RESTART | SA_ONSTACK, 1);
    install_info(SIG_QUEUED, on_queued, SA_RESTART | SA_ONSTACK);
    install(SIGUSR1, on_outer, SA_RESTART | SA_ONSTACK, 0);
    install(SIGUSR2, on_inner, SA_RESTART, 0);
    install(SIG_JUMP, on_jump, SA_ONSTACK, 0);
    install_info(SIG_MASKED, on_masked, SA_RESTART);
    install(SIG_INTERRUPT, on_interrupt, 0, 1);
    install(SIG_RESTART, on_restart, SA_RESTART | SA_ONSTACK, 1);
    for (int i = 0; i < 4; i++)
        install_info((int[]){ SIGSEGV, SIGILL, SIGFPE, SIGTRAP }[i], on_fault, SA_ONSTACK);
}

void signals_enter(void) {
    alt_stack = mmap(NULL, ALT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = { .ss_sp = alt_stack, .ss_size = ALT_SIZE };
    CHECK(sigaltstack(&stack, NULL) == 0);
    __atomic_store_n(&self->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
}

/* Nobody sends any more; what was sent has been delivered, because nothing is blocked. */
void signals_leave(void) {
    stack_t none = { .ss_flags = SS_DISABLE };
    sched_yield();
    CHECK(sigaltstack(&none, NULL) == 0);
    alt_stack = NULL;
}

static void set_noise(long us) {
    struct itimerval wall = { { 0, us }, { 0, us } }, cpu = { { 0, 5 * us }, { 0, 5 * us } };
    CHECK(setitimer(ITIMER_REAL, &wall, NULL) == 0 && setitimer(ITIMER_PROF, &cpu, NULL) == 0);
}

void signals_start_noise(void) {
    set_noise(1000);
}

void signals_stop_noise(void) {
    set_noise(0);
}

void signals_report(void) {
    for (int i = 0; i < WORKERS; i++) {
        printf("signals of thread %d: %d lost\n", i, (int)(workers[i].queued - workers[i].handled));
        CHECK(workers[i].queued == workers[i].handled);
    }
    CHECK(noise > 0);
}
