/* Locks, atomics, thread-local data. */
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile uint32_t mutex_count;
static uint32_t atomic_count;
static uint64_t wide_count;
static volatile uint32_t spin_word, spin_count;

static void mutex_run(void) {
    for (int i = dice(200); i >= 0; i--) {
        pthread_mutex_lock(&mutex);
        mutex_count++;
        pthread_mutex_unlock(&mutex);
        self->mutex_adds++;
    }
}

static void atomic_run(void) {
    for (int i = dice(500); i >= 0; i--) {
        uint32_t n = i & 3;
        if (i & 4) {
            __atomic_fetch_add(&atomic_count, n, __ATOMIC_SEQ_CST);
        } else {
            uint32_t old = __atomic_load_n(&atomic_count, __ATOMIC_RELAXED);
            while (!__atomic_compare_exchange_n(&atomic_count, &old, old + n, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
            }
        }
        self->atomic_adds += n;
    }
}

static void wide_run(void) {
    for (int i = dice(300); i >= 0; i--) {
        uint64_t old = __atomic_load_n(&wide_count, __ATOMIC_RELAXED), add = 0x100000000ull * (i & 1) + 0xfffffffbu;
        while (!__atomic_compare_exchange_n(&wide_count, &old, old + add, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        }
        self->wide_adds += add;
    }
}

/* A lock made of xchg, whose holder is often interrupted. */
static void spin_run(void) {
    for (int i = dice(100); i >= 0; i--) {
        for (unsigned spins = 0; __atomic_exchange_n(&spin_word, 1, __ATOMIC_ACQUIRE); spins++)
            if (spins % 64 == 63)
                sched_yield();
        spin_count++;
        __atomic_store_n(&spin_word, 0, __ATOMIC_RELEASE);
        self->spin_adds++;
    }
}

/* All words are the same except while a writer is at work. */
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static volatile uint32_t words[16];

static void rwlock_run(void) {
    for (int i = dice(50); i >= 0; i--) {
        if (dice(4) == 0) {
            pthread_rwlock_wrlock(&rwlock);
            uint32_t value = words[0] + 1;
            for (int j = 0; j < 16; j++) {
                CHECK(words[j] + 1 == value);
                words[j] = value;
            }
        } else {
            pthread_rwlock_rdlock(&rwlock);
            for (int j = 1; j < 16; j++)
                CHECK(words[j] == words[0]);
        }
        pthread_rwlock_unlock(&rwlock);
    }
}

/* A queue with two conditions. Nobody waits for long, because nobody knows what the others will do next. */
#define ROOM 8
static pthread_mutex_t queue_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static uint32_t queue[ROOM], queue_first, queue_len;

static struct timespec soon(long ns) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += ns;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void queue_run(void) {
    struct timespec limit = soon(1000000);
    int push = dice(2), result = 0;
    for (int i = dice(30); i >= 0 && result == 0; i--) {
        pthread_mutex_lock(&queue_mutex);
        while (queue_len == (push ? ROOM : 0) && result == 0)
            result = pthread_cond_timedwait(push ? &emptied : &filled, &queue_mutex, &limit);
        CHECK(result == 0 || result == ETIMEDOUT);
        if (push && queue_len < ROOM) {
            uint32_t value = dice(1000);
            queue[(queue_first + queue_len++) % ROOM] = value;
            self->pushed += value;
            pthread_cond_signal(&filled);
        } else if (!push && queue_len > 0) {
            self->popped += queue[queue_first];
            queue_first = (queue_first + 1) % ROOM;
            queue_len--;
            pthread_cond_broadcast(&emptied);
        }
        pthread_mutex_unlock(&queue_mutex);
    }
}

static __thread uint32_t tls_sum = 77;
static __thread uint8_t tls_bytes[300];
static pthread_key_t key;

static void tls_run(void) {
    uint32_t before = tls_sum;
    for (int i = 0; i < 300; i++) {
        tls_bytes[i] = before + i;
        tls_sum += tls_bytes[i];
    }
    void *mine = pthread_getspecific(key);
    CHECK(mine == NULL || mine == self);
    pthread_setspecific(key, self);
    for (int i = 0; i < 300; i++) {
        CHECK(tls_bytes[i] == (uint8_t)(before + i));
        tls_sum -= tls_bytes[i];
    }
    CHECK(tls_sum == before && tls_sum == 77);
}

/* Computes with all kinds of registers; the result must not depend on what interrupts it. */
__attribute__((noinline)) static uint64_t compute(uint32_t seed) {
    double d = seed % 1000 + 0.5;
    long double x = seed % 77 + 0.25L;
    float f = seed % 13 + 1;
    uint64_t sum = seed;
    uint32_t a = seed, b = ~seed;
    for (int i = 1; i < 400; i++) {
        d = d * 1.0009765625 + 3 / d;
        x = x + 1 / x - (long double)i / 4096;
        f = f * 0.75f + i;
        a = a * 1664525 + 1013904223;
        b = (b << 7 | b >> 25) ^ a;
        sum += (uint64_t)a * b + (int64_t)(d * 16) + (int64_t)(x * 1024) + (int)f;
        if (x < 0.5L)
            x += 9;
    }
    return sum;
}

static uint64_t computed[8];

static void compute_run(void) {
    uint32_t which = dice(8);
    CHECK(compute(which * 12345 + 1) == computed[which]);
}

const struct activity lock_activities[] = {
    { "mutex", 4, mutex_run },   { "atomic", 4, atomic_run }, { "wide", 4, wide_run },       { "spin", 4, spin_run },
    { "rwlock", 4, rwlock_run }, { "queue", 4, queue_run },   { "tls", 2, tls_run },         { "compute", 6, compute_run },
    { NULL, 0, NULL },
};

void locks_init(void) {
    pthread_key_create(&key, NULL);
    for (int i = 0; i < 8; i++)
        computed[i] = compute(i * 12345 + 1);
}

void locks_report(void) {
    struct worker sum = { 0 };
    uint32_t left = 0;
    for (int i = 0; i < WORKERS; i++) {
        sum.mutex_adds += workers[i].mutex_adds;
        sum.atomic_adds += workers[i].atomic_adds;
        sum.spin_adds += workers[i].spin_adds;
        sum.wide_adds += workers[i].wide_adds;
        sum.pushed += workers[i].pushed;
        sum.popped += workers[i].popped;
    }
    for (; queue_len > 0; queue_len--, queue_first++)
        left += queue[queue_first % ROOM];
    printf("mutex: %d lost\n", (int)(sum.mutex_adds - mutex_count));
    printf("atomic: %d lost\n", (int)(sum.atomic_adds - atomic_count));
    printf("wide: %lld lost\n", (long long)(sum.wide_adds - wide_count));
    printf("spin: %d lost\n", (int)(sum.spin_adds - spin_count));
    printf("queue: %lld lost\n", (long long)(sum.pushed - sum.popped - left));
    for (int i = 0; i < 8; i++)
        printf("compute %d: %016llx\n", i, (unsigned long long)computed[i]);
    CHECK(sum.mutex_adds == mutex_count && sum.atomic_adds == atomic_count && sum.wide_adds == wide_count);
    CHECK(sum.spin_adds == spin_count && sum.pushed == sum.popped + left);
}
