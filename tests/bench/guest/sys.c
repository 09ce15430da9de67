/* SPDX-License-Identifier: GPL-2.0-or-later
 * Workloads that enter the kernel: mode switches, address spaces, interrupts, devices. */
#define _GNU_SOURCE
#include "vbench.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t syscalls(void)
{
    uint64_t ok = 0, n = reps(3e6);
    for (uint64_t i = 0; i < n; i++)
        ok += syscall(SYS_getppid) > 0;
    return ok;
}

static uint64_t pipe_pingpong(void)
{
    int to[2], from[2];
    uint32_t n = (uint32_t)reps(50000), v = 0;
    pid_t pid;

    if (pipe(to) || pipe(from))
        die("pipe");
    pid = fork();
    if (!pid) {
        close(to[1]);
        while (read(to[0], &v, 4) == 4) {
            v++;
            if (write(from[1], &v, 4) != 4)
                break;
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < n; i++)
        if (write(to[1], &v, 4) != 4 || read(from[0], &v, 4) != 4)
            die("ping");
    close(to[1]);
    waitpid(pid, NULL, 0);
    return v;
}

static uint64_t fork_exec(void)
{
    uint64_t ok = 0;

    for (unsigned long n = reps(1200); n--;) {
        int status;
        pid_t pid = fork();
        if (!pid) {
            execl("/proc/self/exe", "vbench", "true", NULL);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        ok += status == 0;
    }
    return ok;
}

static uint64_t page_fault(void)
{
    size_t size = 8 << 20;
    uint64_t sum = 0;

    for (unsigned long n = reps(120); n--;) {
        uint8_t *p = map(size, PROT_READ | PROT_WRITE);
        for (size_t i = 0; i < size; i += 4096)
            p[i] = (uint8_t)n;
        sum += p[size / 2];
        munmap(p, size);
    }
    return sum;
}

static uint64_t file_tmpfs(void)
{
    static uint8_t buf[16384];
    uint64_t sum = 0;

    for (unsigned long n = reps(10000), i = 0; i < n; i++) {
        char name[64];
        int fd;
        snprintf(name, sizeof name, "/tmp/vb.%lu", i & 63);
        fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (fd < 0)
            die(name);
        memset(buf, (int)i, sizeof buf);
        if (write(fd, buf, sizeof buf) != sizeof buf || lseek(fd, 0, SEEK_SET) ||
            read(fd, buf, sizeof buf) != sizeof buf)
            die("file");
        sum += buf[i & 16383];
        close(fd);
        if ((i & 63) == 63)
            for (int k = 0; k < 64; k++) {
                snprintf(name, sizeof name, "/tmp/vb.%d", k);
                unlink(name);
            }
    }
    return sum;
}

static volatile sig_atomic_t caught;
static uint8_t *guarded;

static void on_signal(int sig)
{
    caught++;
    if (sig == SIGSEGV)
        mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

/* Self-sent signals, and faults on a protected page as garbage collectors take them. */
static uint64_t signals(void)
{
    guarded = map(4096, PROT_READ);
    signal(SIGUSR1, on_signal);
    signal(SIGSEGV, on_signal);
    for (unsigned long n = reps(120000); n--;) {
        raise(SIGUSR1);
        if (n & 1)
            continue;
        *(volatile uint8_t *)guarded = 1;
        mprotect(guarded, 4096, PROT_READ);
    }
    return (uint64_t)caught;
}

static uint64_t gettime(void)
{
    uint64_t back = 0, n = reps(10e6);
    struct timespec a = {0}, b;

    for (uint64_t i = 0; i < n; i++, a = b) {
        clock_gettime(CLOCK_MONOTONIC, &b);
        back += b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec);
    }
    return back;
}

/* Port reads of an idle device register (guest only: the host may not be touched). */
static uint64_t port_io(void)
{
    uint64_t sum = 0;

    if (getenv("VB_NATIVE") || iopl(3))
        return 0;
    for (unsigned long n = reps(3e6); n--;)
        sum += inb(0x71) & 0;
    return sum;
}

/* Timer interrupts: short sleeps one after another. Its floor is n * 1 ms on any machine. */
static uint64_t timer_sleep(void)
{
    struct timespec ms = {0, 1000000};
    unsigned long n = reps(1000);

    for (unsigned long i = 0; i < n; i++)
        nanosleep(&ms, NULL);
    return n;
}

/* Not a speed: the host reads the emulator's CPU time over a sleep of ten guest seconds. */
static uint64_t idle10(void)
{
    sleep(10);
    return 10;
}

static int open_disk(int how)
{
    static const char *const names[] = {"/dev/vda", "/dev/sda", "/dev/hda", "/disk"};
    const char *set = getenv("VB_DISK");
    int fd = set ? open(set, how | O_DIRECT) : -1;

    for (int tries = 0; fd < 0 && tries < 50; tries++) {
        for (int i = 0; fd < 0 && i < 4; i++)
            fd = open(names[i], how | O_DIRECT);
        if (fd < 0)
            usleep(100000); /* the driver may still be probing */
    }
    if (fd < 0)
        die("no disk");
    return fd;
}

static uint64_t disk_read(unsigned long n, size_t size, int scattered)
{
    uint8_t *buf = map(1 << 20, PROT_READ | PROT_WRITE);
    int fd = open_disk(O_RDONLY);
    uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / size, sum = 0;
    uint32_t seed = 21;

    for (unsigned long i = 0; i < n; i++) {
        uint64_t at = (scattered ? rnd(&seed) : i) % blocks;
        if (pread(fd, buf, size, (off_t)(at * size)) != (ssize_t)size)
            die("pread");
        for (size_t k = 0; k < size; k += 512)
            sum = sum * 31 + *(uint64_t *)(buf + k);
    }
    return sum;
}

static uint64_t disk_seq_4k(void)
{
    return disk_read(reps(20000), 4096, 0);
}

static uint64_t disk_rand_4k(void)
{
    return disk_read(reps(20000), 4096, 1);
}

static uint64_t disk_seq_1m(void)
{
    return disk_read(reps(1000), 1 << 20, 0);
}

static uint64_t disk_write_1m(void)
{
    size_t size = 1 << 20;
    uint8_t *buf = map(size, PROT_READ | PROT_WRITE);
    int fd = open_disk(O_RDWR);
    uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / size, n = reps(1000);

    memset(buf, 0x5a, size);
    for (uint64_t i = 0; i < n; i++) {
        buf[i % size] = (uint8_t)i;
        if (pwrite(fd, buf, size, (off_t)(i % blocks * size)) != (ssize_t)size)
            die("pwrite");
    }
    return n;
}

const struct bench sys_benches[] = {
    {"syscalls", syscalls}, {"pipe_pingpong", pipe_pingpong}, {"fork_exec", fork_exec},
    {"page_fault", page_fault}, {"file_tmpfs", file_tmpfs}, {"signals", signals},
    {"gettime", gettime}, {"port_io", port_io}, {"timer_sleep", timer_sleep},
    {"idle10", idle10}, {"disk_seq_4k", disk_seq_4k}, {"disk_rand_4k", disk_rand_4k},
    {"disk_seq_1m", disk_seq_1m}, {"disk_write_1m", disk_write_1m}, {NULL, NULL},
};
