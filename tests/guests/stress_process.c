/* Threads and processes that come and go, and pipes between them. */
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

static const char *program;
static uint32_t started, ended;

static void *add(void *arg) {
    static __thread uint32_t mine = 5;
    uint32_t *sum = arg;
    for (int i = 0; i < 100; i++)
        __atomic_fetch_add(sum, mine, __ATOMIC_SEQ_CST);
    mine = 6;
    return sum;
}

static void threads_run(void) {
    uint32_t sum = 0;
    pthread_t threads[3];
    int n = dice(3) + 1;
    for (int i = 0; i < n; i++)
        CHECK(pthread_create(&threads[i], NULL, add, &sum) == 0);
    for (int i = 0; i < n; i++) {
        void *result;
        CHECK(pthread_join(threads[i], &result) == 0 && result == &sum);
    }
    CHECK(sum == 500u * n);
}

static void cleaned(void *arg) {
    ++*(int *)arg;
}

static void *wait_for_ever(void *arg) {
    pthread_cleanup_push(cleaned, arg);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
}

static void cancel_run(void) {
    int cleanups = 0;
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, wait_for_ever, &cleanups) == 0);
    if (dice(2))
        usleep(dice(1000));
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED && cleanups == 1);
}

static int reap(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) != pid)
        CHECK(errno == EINTR);
    __atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
    return status;
}

static pid_t count_start(pid_t pid) {
    CHECK(pid > 0);
    __atomic_fetch_add(&started, 1, __ATOMIC_RELAXED);
    return pid;
}

static void fork_run(void) {
    int code = dice(100);
    pid_t pid = fork();
    if (pid == 0) {
        if (code_in_child() != 0)
            _exit(200);
        if (code % 4 == 0)
            raise(SIGKILL);
        if (code % 4 == 1) {
            pid_t inner = fork();
            int status = 0;
            if (inner == 0)
                _exit(code_in_child() + 33);
            while (waitpid(inner, &status, 0) < 0) {
            }
            _exit(WIFEXITED(status) && WEXITSTATUS(status) == 33 ? code : 201);
        }
        _exit(code);
    }
    int status = reap(count_start(pid));
    if (code % 4 == 0)
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    else
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

/* A program started in one of three ways writes a number. */
static void exec_run(void) {
    int ends[2], value = dice(10000);
    char word[20], text[40];
    char *args[] = { (char *)program, "child", word, NULL };
    snprintf(word, sizeof word, "%d", value);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid;
    if (dice(2)) {
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        CHECK(posix_spawn(&pid, program, &actions, NULL, args, environ) == 0);
        posix_spawn_file_actions_destroy(&actions);
    } else {
        pid = fork();
        if (pid == 0) {
            dup2(ends[1], 1);
            execv(program, args);
            _exit(202);
        }
    }
    count_start(pid);
    close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(ends[0], text + len, sizeof text - 1 - len)) != 0) {
        CHECK(n > 0 || errno == EINTR);
        len += n > 0 ? n : 0;
    }
    text[len] = 0;
    close(ends[0]);
    int status = reap(pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == value % 100);
    CHECK(atoi(text) == value * 7);
}

int process_child(const char *word) {
    int value = atoi(word);
    printf("%d\n", value * 7);
    return value % 100;
}

/* More bytes than a pipe holds, from a thread to another. */
#define BYTES 150000

static void *drain(void *arg) {
    unsigned char buf[3000];
    uint32_t sum = 0;
    ssize_t n;
    while ((n = read(*(int *)arg, buf, sizeof buf)) != 0) {
        CHECK(n > 0 || errno == EINTR);
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + buf[i];
    }
    return (void *)(uintptr_t)sum;
}

static void pipe_run(void) {
    int ends[2];
    unsigned char buf[5000];
    uint32_t sum = 0, byte = dice(256);
    pthread_t thread;
    void *result;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(pthread_create(&thread, NULL, drain, &ends[0]) == 0);
    for (int done = 0; done < BYTES;) {
        for (size_t i = 0; i < sizeof buf; i++)
            buf[i] = byte + done + i * 3;
        ssize_t n = write(ends[1], buf, sizeof buf);
        CHECK(n > 0);
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + buf[i];
        done += n;
    }
    close(ends[1]);
    CHECK(pthread_join(thread, &result) == 0 && (uint32_t)(uintptr_t)result == sum);
    close(ends[0]);
}

const struct activity process_activities[] = {
    { "threads", 6, threads_run }, { "cancel", 2, cancel_run }, { "fork", 3, fork_run },
    { "exec", 1, exec_run },       { "pipe", 2, pipe_run },     { NULL, 0, NULL },
};

void process_init(const char *path) {
    program = path;
}

void process_report(void) {
    printf("children: %d lost\n", (int)(started - ended));
    CHECK(started == ended && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}
