/*
 * Four threads that do everything at once: locks, signals, code patching, threads and processes that come and go.
 *
 *     stress SECONDS SEED
 *
 * Every activity checks what it did. At the end a list of sums is checked and a line is printed for each, which is the
 * same for every run: the amount of work depends on time, what is printed does not. The exit status is 0, 1 after a
 * failed check (which is described on standard error), or 3 if a thread hangs.
 */
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <sys/time.h>

struct worker workers[WORKERS];
__thread struct worker *self;
volatile int stopping;

static pthread_barrier_t last;

void fail(const char *what, const char *file, int line) {
    int error = errno;
    char text[300];
    int len = snprintf(text, sizeof text, "stress: %s:%d: %s (errno %d, thread %d, %s)\n", file, line, what, error,
                       self ? self->id : -1, self && self->doing ? self->doing : "?");
    if (write(2, text, len) < 0)
        _exit(2);
    _exit(1);
}

uint32_t dice(uint32_t sides) {
    uint32_t x = self->rng;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    self->rng = x;
    return (x >> 8) % sides;
}

static const struct activity *const GROUPS[] = { lock_activities, signal_activities, code_activities,
                                                 process_activities };

static void *work(void *arg) {
    self = arg;
    signals_enter();
    while (!stopping) {
        const struct activity *list = GROUPS[dice(sizeof GROUPS / sizeof *GROUPS)];
        unsigned total = 0;
        for (const struct activity *a = list; a->name; a++)
            total += a->weight;
        unsigned at = dice(total);
        while (at >= list->weight)
            at -= list++->weight;
        self->doing = list->name;
        list->run();
        self->rounds++;
    }
    self->doing = "the last barrier";
    pthread_barrier_wait(&last);
    signals_leave();
    self->doing = "done";
    return NULL;
}

static void join_all(pthread_t *threads) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    for (int i = 0; i < WORKERS; i++) {
        if (pthread_timedjoin_np(threads[i], NULL, &limit) == 0)
            continue;
        for (int j = 0; j < WORKERS; j++)
            fprintf(stderr, "stress: thread %d hangs in: %s\n", j, workers[j].doing);
        _exit(3);
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "child") == 0)
        return process_child(argv[2]);
    if (argc != 3) {
        fprintf(stderr, "usage: stress SECONDS SEED\n");
        return 2;
    }
    int seconds = atoi(argv[1]);
    unsigned seed = atoi(argv[2]);
    pthread_t threads[WORKERS];
    pthread_barrier_init(&last, NULL, WORKERS);
    process_init(argv[0]);
    locks_init();
    signals_init();
    code_init();
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){ .id = i, .rng = (seed + 1) * 2654435761u + i * 40503u + 1, .doing = "starting" };
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    signals_start_noise();
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    do {
        usleep(20000);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
    stopping = 1;
    join_all(threads);
    signals_stop_noise();
    for (int i = 0; i < WORKERS; i++)
        CHECK(workers[i].rounds > 0);
    locks_report();
    signals_report();
    code_report();
    process_report();
    if (getenv("STRESS_VERBOSE"))
        for (int i = 0; i < WORKERS; i++)
            fprintf(stderr, "thread %d: %u rounds\n", i, workers[i].rounds);
    return 0;
}
