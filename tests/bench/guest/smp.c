/* SPDX-License-Identifier: GPL-2.0-or-later
 * The init of tests/bench/smp.py: a compute loop alone, then two at once, five times; then nothing,
 * until the machine is switched off from outside.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void work(unsigned long n)
{
    volatile unsigned long x = 1;
    for (unsigned long i = 0; i < n; i++) {
        x = x * 6364136223846793005ul + 1;
    }
}

static double timed(int loops, unsigned long n)
{
    double start = now();
    for (int i = 0; i < loops; i++) {
        if (!fork()) {
            work(n);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    return now() - start;
}

int main(void)
{
    mkdir("/dev", 0755);
    mknod("/dev/ttyS0", S_IFCHR | 0600, makedev(4, 64));
    int fd = open("/dev/ttyS0", O_RDWR);
    dup2(fd, 1);
    setvbuf(stdout, NULL, _IONBF, 0);
    unsigned long n = 1ul << 24;
    while (timed(1, n) < .5) {
        n *= 2;
    }
    for (int i = 0; i < 5; i++) {
        double one = timed(1, n), two = timed(2, n);
        printf("@@ONE %.3f TWO %.3f\n", one, two);
    }
    printf("@@IDLE\n");
    for (;;) {
        pause();
    }
}
