/* (k) two threads: atomic add/cas/exchange, mutex lock/unlock (private lines first, then one shared counter) */
#define _GNU_SOURCE
#include "bench.h"
#include <pthread.h>
static long n;
static _Alignas(128) uint32_t shared;
static _Alignas(128) uint64_t priv[2][16];
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static uint32_t guarded;
static void *th(void *p) {
    uint64_t *c = priv[(long)p];
    pthread_mutex_t m2 = PTHREAD_MUTEX_INITIALIZER;
    for (long i = 0; i < n; i++) {
        __atomic_fetch_add(c, 1, __ATOMIC_SEQ_CST);
        uint64_t e = __atomic_load_n(c + 1, __ATOMIC_ACQUIRE);
        __atomic_compare_exchange_n(c + 1, &e, e + 3, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        __atomic_exchange_n((uint32_t *)(c + 2), (uint32_t)i, __ATOMIC_ACQ_REL);
        pthread_mutex_lock(&m2);
        c[3]++;
        pthread_mutex_unlock(&m2);
        if ((i & 63) == 0) {
            __atomic_fetch_add(&shared, 1, __ATOMIC_RELAXED);
            pthread_mutex_lock(&mu);
            guarded++;
            pthread_mutex_unlock(&mu);
        }
    }
    return 0;
}
int main(int argc, char **argv) {
    n = work(argc, argv, 12000000);
    pthread_t t;
    pthread_create(&t, 0, th, (void *)1);
    th(0);
    pthread_join(t, 0);
    printf("atomic %u %u %llu\n", (unsigned)(shared - 2 * ((n + 63) / 64)), (unsigned)(guarded - shared),
           (unsigned long long)(priv[0][0] + priv[1][0] - 2 * (uint64_t)n));
    return 0;
}
