/* What the parts of the stress program share. */
#ifndef STRESS_H
#define STRESS_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS 4

/* A thread and its part of the sums. */
struct worker {
    int id;
    uint32_t rng;
    const char *volatile doing;
    unsigned rounds;
    /* Locks. */
    uint32_t mutex_adds, atomic_adds, spin_adds;
    uint64_t pushed, popped, wide_adds;
    /* Signals: those that were queued for this thread, and those whose handler ran. */
    uint32_t queued, handled;
    pid_t tid;
};

extern struct worker workers[WORKERS];
extern __thread struct worker *self;
/* Set when time is up. */
extern volatile int stopping;

/* Something that a thread does; a list ends with one without a name. */
struct activity {
    const char *name;
    unsigned weight;
    void (*run)(void);
};
extern const struct activity lock_activities[], signal_activities[], code_activities[], process_activities[];

void locks_init(void);
void locks_report(void);
void signals_init(void);
void signals_enter(void);
void signals_leave(void);
void signals_start_noise(void);
void signals_stop_noise(void);
void signals_report(void);
void code_init(void);
void code_report(void);
/* Runs code that others are patching, in a forked child that patches its own copy. */
int code_in_child(void);
void process_init(const char *program);
int process_child(const char *word);
void process_report(void);

/* A pseudo-random number of the calling thread, less than `sides`. */
uint32_t dice(uint32_t sides);

_Noreturn void fail(const char *what, const char *file, int line);
#define CHECK(condition) ((condition) ? (void)0 : fail(#condition, __FILE_NAME__, __LINE__))

#endif
