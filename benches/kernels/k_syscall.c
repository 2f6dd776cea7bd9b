/* (k) system: getppid + pipe write/read + clock_gettime + sigaction/raise + mmap/munmap + sigprocmask */
#define _GNU_SOURCE
#include "bench.h"
#include <unistd.h>
#include <signal.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/syscall.h>
static volatile int got;
static void hd(int s) {
    got += s == SIGUSR1;
}
int main(int argc, char **argv) {
    long n = work(argc, argv, 450000);
    int fd[2];
    if (pipe(fd))
        return 1;
    signal(SIGUSR1, hd);
    char b[16] = {0};
    long ok = 0;
    for (long i = 0; i < n; i++) {
        ok += syscall(SYS_getppid) >= 0;
        if (write(fd[1], b, 16) == 16 && read(fd[0], b, 16) == 16)
            ok++;
        struct timespec ts;
        ok += clock_gettime(CLOCK_MONOTONIC, &ts) == 0;
        if ((i & 7) == 0)
            raise(SIGUSR1);
        if ((i & 15) == 0) {
            char *m = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            m[4096] = 1;
            munmap(m, 65536);
        }
    }
    printf("syscall %ld %d\n", ok - 3 * n, got == (int)((n + 7) / 8));
    return 0;
}
