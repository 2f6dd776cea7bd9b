/*
 * Corners of signals, threads and memory, one after the other. Prints what happened, which is the same on any machine.
 * With an argument it runs only the corner of that name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096

static const char *program;
static sigjmp_buf landing;
static volatile int caught_code, caught_sig, count;
static volatile uintptr_t caught_addr, caught_ip;
static volatile int *volatile near_null = (volatile int *)64;

static void land(int sig, siginfo_t *info, void *context) {
    caught_sig = sig;
    caught_code = info->si_code;
    caught_addr = (uintptr_t)info->si_addr;
    caught_ip = ((ucontext_t *)context)->uc_mcontext.gregs[REG_EIP];
    siglongjmp(landing, 1);
}

static void on(int sig, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };
    sigaction(sig, &action, NULL);
}

static void counting(int sig, siginfo_t *info, void *context) {
    count++;
    (void)sig, (void)info, (void)context;
}

static void *pages(int n, int prot) {
    return mmap(NULL, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

#define CATCH(statement) \
    do { \
        if (sigsetjmp(landing, 1) == 0) { \
            statement; \
            printf("  no signal\n"); \
        } \
    } while (0)

/* Runs something in a child and prints how that ended. */
static void in_child(const char *what, void (*run)(void)) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        run();
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        printf("  %s: signal %d\n", what, WTERMSIG(status));
    else
        printf("  %s: exit %d\n", what, WEXITSTATUS(status));
}

static void fetch_faults(void) {
    on(SIGSEGV, land, 0);
    uint8_t *p = pages(2, PROT_READ | PROT_WRITE);
    memset(p, 0x90, 2 * PAGE);
    p[0] = 0xc3;
    CATCH(((void (*)(void))p)());
    printf("  not executable: code %d, address %d, ip %d\n", caught_code, (int)(caught_addr - (uintptr_t)p),
           (int)(caught_ip - (uintptr_t)p));
    munmap(p + PAGE, PAGE);
    mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    CATCH(((void (*)(void))(p + PAGE - 20))());
    printf("  off the end: code %d, address %d, ip %d\n", caught_code, (int)(caught_addr - (uintptr_t)p),
           (int)(caught_ip - (uintptr_t)p));
    p[PAGE - 2] = 0xb8; /* mov eax, imm32 that is not there */
    CATCH(((void (*)(void))(p + PAGE - 20))());
    printf("  half an instruction: code %d, address %d, ip %d\n", caught_code, (int)(caught_addr - (uintptr_t)p),
           (int)(caught_ip - (uintptr_t)p));
    CATCH(((void (*)(void))0x10)());
    printf("  call to 16: code %d, address %d, ip %d\n", caught_code, (int)caught_addr, (int)caught_ip);
    munmap(p, PAGE);
}

static void beyond_file(void) {
    on(SIGBUS, land, 0);
    int fd = memfd_create("corner", 0);
    if (ftruncate(fd, PAGE) != 0)
        return;
    volatile char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    p[0] = 1;
    caught_sig = 0;
    CATCH(p[PAGE + 5] = 1);
    printf("  signal %d, code %d, address %d\n", caught_sig, caught_code, (int)(caught_addr - (uintptr_t)p));
    CATCH(memcpy((char *)p + PAGE - 8, "0123456789abcdef", 16));
    printf("  signal %d, stored before: %.8s\n", caught_sig, (char *)p + PAGE - 8);
    close(fd);
}

static __attribute__((noinline)) int sink(int n) {
    volatile char space[300];
    space[n % 300] = n;
    if (n < 0)
        return n;
    return sink(n + 1) + space[n % 300];
}

static void stack_overflow(void) {
    static char alt[1 << 16];
    stack_t stack = { .ss_sp = alt, .ss_size = sizeof alt };
    sigaltstack(&stack, NULL);
    on(SIGSEGV, land, SA_ONSTACK);
    struct rlimit limit = { 1 << 20, 1 << 20 };
    setrlimit(RLIMIT_STACK, &limit);
    for (volatile int i = 0; i < 3; i++) {
        caught_sig = 0;
        CATCH(sink(0));
        printf("  signal %d\n", caught_sig);
    }
}

static void on_recursive(int sig, siginfo_t *info, void *context) {
    if (++count < 50)
        raise(sig);
    (void)info, (void)context;
}

static void handlers(void) {
    count = 0;
    on(SIGUSR1, on_recursive, SA_NODEFER);
    raise(SIGUSR1);
    printf("  nested %d\n", count);
    on(SIGUSR1, counting, SA_RESETHAND);
    raise(SIGUSR1);
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    printf("  default afterwards: %d\n", now.sa_handler == SIG_DFL);
}

static void die_default(void) { raise(SIGUSR2); }
static void die_fault(void) {
    signal(SIGSEGV, SIG_DFL);
    *near_null = 0;
}
static void die_blocked_fault(void) {
    sigset_t set;
    sigfillset(&set);
    on(SIGSEGV, land, 0);
    sigprocmask(SIG_BLOCK, &set, NULL);
    die_fault();
}
static void die_ignored_fault(void) {
    signal(SIGILL, SIG_IGN);
    asm volatile("ud2");
}
static void die_abort(void) { abort(); }
static void *exit_all(void *arg) { exit(arg ? 8 : 7); }
static void thread_exits_process(void) {
    pthread_t t;
    pthread_create(&t, NULL, exit_all, NULL);
    for (;;)
        pause();
}
static void *late(void *arg) {
    usleep(10000);
    if (pthread_join(*(pthread_t *)arg, NULL) == 0)
        exit(9);
    exit(10);
}
static void main_thread_ends(void) {
    static pthread_t me;
    pthread_t t;
    me = pthread_self();
    pthread_create(&t, NULL, late, &me);
    pthread_exit(NULL);
}
static void *execs(void *arg) {
    char pid[20];
    snprintf(pid, sizeof pid, "%d", getpid());
    execl(program, program, "--ids", pid, NULL);
    return arg;
}
static void *waits(void *arg) {
    for (;;)
        pause();
    return arg;
}
static void thread_executes(void) {
    pthread_t t, u;
    pthread_create(&u, NULL, waits, NULL);
    pthread_create(&t, NULL, execs, NULL);
    for (volatile unsigned i = 0;; i++) {
    }
}

static void endings(void) {
    in_child("default action", die_default);
    in_child("fault", die_fault);
    in_child("blocked fault", die_blocked_fault);
    in_child("ignored fault", die_ignored_fault);
    in_child("abort", die_abort);
    in_child("exit in a thread", thread_exits_process);
    in_child("main thread ends first", main_thread_ends);
    in_child("exec in a thread", thread_executes);
}

static void stops(void) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    int status;
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    printf("  stopped %d by %d\n", WIFSTOPPED(status), WSTOPSIG(status));
    kill(pid, SIGCONT);
    waitpid(pid, &status, WCONTINUED);
    printf("  continued %d\n", WIFCONTINUED(status));
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    printf("  ended by %d\n", WTERMSIG(status));
}

static void descriptors(void) {
    sigset_t set, empty;
    sigemptyset(&set);
    sigemptyset(&empty);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, 0);
    raise(SIGUSR1);
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof info);
    printf("  signalfd: %d bytes, signal %d, mine %d\n", (int)n, info.ssi_signo, info.ssi_pid == (uint32_t)getpid());
    on(SIGUSR1, counting, SA_RESTART);
    count = 0;
    raise(SIGUSR1);
    struct timespec none = { 0, 0 };
    n = ppoll(NULL, 0, NULL, &empty);
    printf("  ppoll: %d, interrupted %d, handled %d\n", (int)n, errno == EINTR, count);
    raise(SIGUSR1);
    n = pselect(0, NULL, NULL, NULL, NULL, &empty);
    printf("  pselect: %d, interrupted %d, handled %d\n", (int)n, errno == EINTR, count);
    n = ppoll(NULL, 0, &none, &empty);
    printf("  ppoll without signal: %d\n", (int)n);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec when = { { 0, 0 }, { 0, 1000000 } };
    timerfd_settime(timer, 0, &when, NULL);
    uint64_t value = 0;
    n = read(timer, &value, 8);
    printf("  timerfd: %d bytes, value %d\n", (int)n, (int)value);
    int event = eventfd(3, 0);
    n = read(event, &value, 8);
    printf("  eventfd: %d bytes, value %d\n", (int)n, (int)value);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void fpe(int sig, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    caught_code = info->si_code;
    caught_sig = sig;
    uc->uc_mcontext.fpregs->cw |= 0x3f;
    uc->uc_mcontext.fpregs->sw &= ~0xff;
}

static void float_exceptions(void) {
    on(SIGFPE, fpe, 0);
    on(SIGUSR1, counting, 0);
    volatile double zero = 0, one = 1, result;
    feclearexcept(FE_ALL_EXCEPT);
    feenableexcept(FE_DIVBYZERO);
    result = one / zero;
    printf("  signal %d, code %d, result %f\n", caught_sig, caught_code, result);
    fedisableexcept(FE_ALL_EXCEPT);
    fesetround(FE_UPWARD);
    volatile double third = one / 3;
    raise(SIGUSR1);
    volatile double third_again = one / 3;
    printf("  rounding kept %d %a\n", third == third_again, third);
    fesetround(FE_TONEAREST);
}

static pthread_mutex_t robust;
static void *dies_with_lock(void *arg) {
    pthread_mutex_lock(&robust);
    return arg;
}
static void mutexes(void) {
    pthread_mutexattr_t attr;
    pthread_t t;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attr);
    pthread_create(&t, NULL, dies_with_lock, NULL);
    pthread_join(t, NULL);
    printf("  owner died: %d\n", pthread_mutex_lock(&robust) == EOWNERDEAD);
    printf("  consistent: %d\n", pthread_mutex_consistent(&robust));
    pthread_mutex_unlock(&robust);
    pthread_mutex_t *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    volatile int *sum = (int *)(shared + 1);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(shared, &attr);
    fflush(stdout);
    pid_t pids[3];
    for (int i = 0; i < 3; i++)
        if ((pids[i] = fork()) == 0) {
            for (int j = 0; j < 2000; j++) {
                pthread_mutex_lock(shared);
                ++*sum;
                pthread_mutex_unlock(shared);
            }
            _exit(0);
        }
    for (int i = 0; i < 3; i++)
        waitpid(pids[i], NULL, 0);
    printf("  shared sum %d\n", *sum);
}

static uint8_t *going;
static volatile int in_code;
static void *runs_code(void *arg) {
    sigjmp_buf here;
    (void)here;
    if (sigsetjmp(landing, 1) == 0) {
        in_code = 1;
        ((void (*)(void))going)();
    }
    return arg;
}
static void unmapped_under_foot(void) {
    on(SIGSEGV, land, 0);
    for (int i = 0; i < 20; i++) {
        static const uint8_t LOOP[] = { 0x40, 0xeb, 0xfd };
        pthread_t t;
        going = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
        memcpy(going + 100, LOOP, 3);
        memset(going, 0x90, 100);
        in_code = 0;
        pthread_create(&t, NULL, runs_code, NULL);
        while (!in_code)
            sched_yield();
        usleep(500);
        if (i % 2)
            munmap(going, PAGE);
        else
            mprotect(going, PAGE, PROT_READ);
        pthread_join(t, NULL);
        if (i < 2)
            printf("  code %d at the instruction %d\n", caught_code, caught_addr == caught_ip);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} CORNERS[] = {
    { "fetch", fetch_faults }, { "file", beyond_file },       { "stack", stack_overflow }, { "handlers", handlers },
    { "endings", endings },    { "stops", stops },            { "descriptors", descriptors },
    { "float", float_exceptions }, { "mutexes", mutexes },    { "unmap", unmapped_under_foot },
};

int main(int argc, char **argv) {
    program = argv[0];
    if (argc == 3 && strcmp(argv[1], "--ids") == 0) {
        int same = getpid() == atoi(argv[2]) && syscall(SYS_gettid) == getpid();
        return same ? 11 : 12;
    }
    for (size_t i = 0; i < sizeof CORNERS / sizeof *CORNERS; i++) {
        if (argc > 1 && strcmp(argv[1], CORNERS[i].name) != 0)
            continue;
        printf("%s\n", CORNERS[i].name);
        fflush(stdout);
        CORNERS[i].run();
    }
    return 0;
}
