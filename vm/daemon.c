/* SPDX-License-Identifier: GPL-2.0-or-later
 * -daemonize, -pidfile, and the name in process lists.
 */
#include "vm/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/alloc.h"

static int ready_pipe = -1;
static char *pidfile;

static _Noreturn void wait_for_child(pid_t child, int fd)
{
    char byte;
    ssize_t n;
    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1) {
        _exit(0);
    }
    int status = 1; /* it has said why on stderr */
    waitpid(child, &status, 0);
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

bool daemon_fork(Error **errp)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC)) {
        return error_set_errno(errp, errno, "-daemonize");
    }
    pid_t child = fork();
    if (child < 0) {
        return error_set_errno(errp, errno, "-daemonize");
    }
    if (child) {
        close(fds[1]);
        wait_for_child(child, fds[0]);
    }
    close(fds[0]);
    ready_pipe = fds[1];
    setsid();
    return true;
}

void daemon_ready(void)
{
    if (ready_pipe < 0) {
        return;
    }
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2 && null >= 0; fd++) {
        dup2(null, fd);
    }
    if (null > 2) {
        close(null);
    }
    ssize_t n = write(ready_pipe, "", 1);
    (void)n; /* a parent that has gone does not matter */
    close(ready_pipe);
    ready_pipe = -1;
}

bool pidfile_create(const char *path, Error **errp)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_set_errno(errp, errno, "-pidfile %s", path);
    }
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_SETLK, &lock)) {
        close(fd);
        return error_set(errp, "-pidfile %s: in use by another running guest", path);
    }
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || write(fd, text, len) != len) {
        error_set_errno(errp, errno, "-pidfile %s", path);
        unlink(path);
        close(fd);
        return false;
    }
    /* The fd stays open: it holds the lock. */
    char *full = realpath(path, NULL);
    pidfile = full ? full : xstrdup(path);
    return true;
}

void pidfile_remove(void)
{
    if (pidfile) {
        unlink(pidfile);
        free(pidfile);
        pidfile = NULL;
    }
}

void process_set_title(int argc, char **argv, const char *title)
{
    /* The strings of argv lie behind one another; the title takes their place. */
    char *start = argv[0], *end = start + strlen(start) + 1;
    for (int i = 1; i < argc && argv[i] == end; i++) {
        end += strlen(end) + 1;
    }
    memset(start, 0, end - start);
    strncpy(start, title, end - start - 1);
    prctl(PR_SET_NAME, title, 0, 0, 0);
}
