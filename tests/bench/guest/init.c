/* SPDX-License-Identifier: GPL-2.0-or-later
 * Runs a list of workloads one after another and marks each on the console.
 *
 * As PID 1 in a guest: mounts the pseudo file systems, loads the modules in
 * /modules/order, opens the serial console, runs the list named by vb.list= on
 * the kernel command line and powers the machine off.
 * With --native LIST SCALE [ONLY]: runs the same list on the host.
 *
 * Console protocol, one line each:
 *   @@READY                        init runs; the kernel has booted
 *   @@BEGIN name                   the workload starts now
 *   @@END name rc=R sum=H out=N us=U   it ended: exit code, FNV-1a of its stdout, bytes of
 *                                      stdout, CPU microseconds by this kernel's own clock
 *   @@DONE                         the list is finished
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int native;

static void say(const char *line)
{
    size_t len = strlen(line);

    while (len) {
        ssize_t n = write(1, line, len);
        if (n <= 0)
            return;
        line += n;
        len -= n;
    }
    if (!native)
        tcdrain(1);
}

static char *slurp(const char *path)
{
    static char empty[1];
    size_t cap = 65536, len = 0;
    char *buf = malloc(cap);
    int fd = open(path, O_RDONLY);

    if (fd < 0)
        return empty;
    for (ssize_t n; (n = read(fd, buf + len, cap - len - 1)) > 0;)
        len += n;
    close(fd);
    buf[len] = 0;
    return buf;
}

/* The value of key (with its '=') on the kernel command line, or fallback. */
static const char *option(const char *cmdline, const char *key, const char *fallback)
{
    const char *p = strstr(cmdline, key);
    return p ? strndup(p + strlen(key), strcspn(p + strlen(key), " \n")) : fallback;
}

static int listed(const char *only, const char *name)
{
    size_t len = strlen(name);

    if (!only || !*only)
        return 1;
    for (const char *p = only; p; p = strchr(p, ','), p = p ? p + 1 : p)
        if (!strncmp(p, name, len) && (p[len] == ',' || !p[len]))
            return 1;
    return 0;
}

static void workload(char *name, char *command)
{
    char *argv[32], line[256];
    int argc = 0, status = 0, fds[2];
    uint32_t sum = 2166136261u;
    unsigned long total = 0;
    unsigned char buf[16384];
    struct rusage use;
    long us;
    pid_t pid;

    for (char *w = strtok(command, " "); w && argc < 31; w = strtok(NULL, " "))
        argv[argc++] = w;
    argv[argc] = NULL;
    if (pipe(fds))
        return;
    snprintf(line, sizeof line, "@@BEGIN %s\n", name);
    say(line);
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n; (n = read(fds[0], buf, sizeof buf)) > 0; total += n)
        for (ssize_t i = 0; i < n; i++)
            sum = (sum ^ buf[i]) * 16777619u;
    close(fds[0]);
    wait4(pid, &status, 0, &use);
    us = 1000000l * (use.ru_utime.tv_sec + use.ru_stime.tv_sec) + use.ru_utime.tv_usec +
         use.ru_stime.tv_usec;
    snprintf(line, sizeof line, "@@END %s rc=%d sum=%08x out=%lu us=%ld\n", name,
             WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), sum, total, us);
    say(line);
}

/* A list has one workload a line: NAME COMMAND [ARG...]; # starts a comment. */
static void run_list(const char *path, const char *only)
{
    char *save, *text = slurp(path);

    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        char *sep = strchr(l, ' ');
        if (*l == '#' || !sep)
            continue;
        *sep = 0;
        if (listed(only, l))
            workload(l, sep + 1);
    }
}

static void load_modules(void)
{
    char *save, *text = slurp("/modules/order");

    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        int fd = open(l, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
            perror(l);
        close(fd);
    }
}

static void power_off(void)
{
    sync();
    reboot(RB_POWER_OFF);
    if (!iopl(3)) /* Bochs' shutdown port, for guests without ACPI */
        for (const char *s = "Shutdown"; *s; s++)
            outb(*s, 0x8900);
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    struct termios tio;
    const char *cmdline;
    int fd;

    setenv("PATH", "/bin:/usr/bin", 1);
    setenv("HOME", "/tmp", 1);
    if (argc >= 4 && !strcmp(argv[1], "--native")) {
        native = 1;
        setenv("VB_SCALE", argv[3], 1);
        setenv("VB_NATIVE", "1", 1);
        say("@@READY\n");
        run_list(argv[2], argc > 4 ? argv[4] : NULL);
        say("@@DONE\n");
        return 0;
    }
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
    fd = open("/dev/ttyS0", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    if (!tcgetattr(1, &tio)) {
        tio.c_lflag &= ~(ECHO | ICANON | ISIG);
        tcsetattr(1, TCSANOW, &tio);
    }
    say("\n@@READY\n");
    cmdline = slurp("/proc/cmdline");
    setenv("VB_SCALE", option(cmdline, "vb.scale=", "1"), 1);
    load_modules();
    run_list(option(cmdline, "vb.list=", "/bench/public.list"), option(cmdline, "vb.only=", ""));
    say("@@DONE\n");
    power_off();
}
