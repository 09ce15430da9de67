/* SPDX-License-Identifier: GPL-2.0-or-later
 * Preloaded into the emulator by signals.py: a thread that sends every other thread SIGUSR1 and
 * SIGALRM in turn, VIREO_SIGNALS times a second each. The handler uses its thread's variables (a
 * foreign FS base shows there), its stack, libc, SSE and x87. At the end of the process a line on
 * stderr says how many signals there were.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static __thread uintptr_t self; /* through FS: another thread's if its base is not ours */
static __thread volatile double sum;
static long interval_ns;
static uint64_t nr_signals;

static void handler(int sig)
{
    int kept = errno;
    uintptr_t tid = (uintptr_t)syscall(SYS_gettid);
    if (!self) {
        self = tid;
    }
    if (self != tid) {
        static const char text[] = "another thread's variables in a signal handler\n";
        if (write(2, text, sizeof(text) - 1) < 0) {
            _exit(1);
        }
        abort();
    }
    __atomic_add_fetch(&nr_signals, 1, __ATOMIC_RELAXED);
    char text[80];
    snprintf(text, sizeof(text), "%d %.3f", sig, sum);
    volatile long double x = (long double)sum * 1.25L + (long double)strlen(text);
    sum = (double)x - (double)(long long)x;
    memset(text, sig, sizeof(text));
    errno = kept;
}

static void *storm(void *unused)
{
    (void)unused;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    long me = syscall(SYS_gettid);
    int sig = SIGUSR1;
    for (unsigned round = 0;; round++) {
        DIR *d = opendir("/proc/self/task");
        long tids[64];
        int nr = 0;
        for (struct dirent *e; d && (e = readdir(d)) && nr < 64;) {
            long tid = atol(e->d_name);
            if (tid && tid != me) {
                tids[nr++] = tid;
            }
        }
        closedir(d);
        for (int burst = 0; burst < 100; burst++) {
            for (int i = 0; i < nr; i++) {
                syscall(SYS_tgkill, getpid(), tids[i], sig);
            }
            sig = sig == SIGUSR1 ? SIGALRM : SIGUSR1;
            struct timespec pause = { 0, interval_ns };
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

__attribute__((destructor)) static void say(void)
{
    if (nr_signals) {
        fprintf(stderr, "%llu signals\n", (unsigned long long)nr_signals);
    }
}

__attribute__((constructor)) static void start(void)
{
    const char *rate = getenv("VIREO_SIGNALS");
    interval_ns = 1000000000 / (rate && atol(rate) > 1 ? atol(rate) : 1000);
    struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK };
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGALRM, &sa, NULL);
    unsetenv("LD_PRELOAD");
    pthread_t thread;
    pthread_create(&thread, NULL, storm, NULL);
}
