/* SPDX-License-Identifier: GPL-2.0-or-later
 * Locks of image files, as QEMU's programs take them: open-file-description locks on single
 * bytes, all of them shared ones, whose mere presence says something.
 *
 *     byte 100 + n    I do n with this file       n: 0 read it, 1 write it, 3 change its size
 *     byte 200 + n    nobody else may do n
 *
 * Whoever comes takes his own bytes first and looks at the others' then, so of two that come at
 * once at least one sees the other. Left out: bytes 2 and 4 (writes that change nothing, the
 * graph), which only QEMU's block jobs use.
 */
#include "block/file_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BYTES_USED = 100, BYTES_REFUSED = 200 };
enum { PERM_READ = 0, PERM_WRITE = 1, PERM_RESIZE = 3, NR_PERMS = 5 };

/* ---- who has it ---- */

/* Does /proc/PID/fdinfo/FD tell of a lock? */
static bool fd_has_lock(const char *pid, const char *fd)
{
    char path[600], line[256];
    snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, fd);
    FILE *f = fopen(path, "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof(line), f)) {
        found = !strncmp(line, "lock:", 5);
    }
    if (f) {
        fclose(f);
    }
    return found;
}

/* 0: the process has not opened the file, but for the descriptor own, 1: it has, 2: and has locked
 * it. */
static int process_uses(const char *pid, const struct stat *st, int own)
{
    char path[300];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *d = opendir(path);
    int found = 0;
    for (struct dirent *e; d && found < 2 && (e = readdir(d)) != NULL;) {
        struct stat other;
        if (fstatat(dirfd(d), e->d_name, &other, 0) == 0 && other.st_ino == st->st_ino &&
            other.st_dev == st->st_dev && atoi(e->d_name) != own) {
            found = fd_has_lock(pid, e->d_name) ? 2 : 1;
        }
    }
    if (d) {
        closedir(d);
    }
    return found;
}

static void name_process(const char *pid, char *text, size_t size)
{
    char path[300], name[64] = "?";
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f && fgets(name, sizeof(name), f)) {
        name[strcspn(name, "\n")] = 0;
    }
    if (f) {
        fclose(f);
    }
    snprintf(text, size, "process %.10s (%.60s)", pid, name);
}

/* As far as /proc tells; a process that holds a lock comes before one that only has it open. False:
 * nobody to be seen. */
static bool find_holder(int fd, char *text, size_t size)
{
    struct stat st;
    int best = 0;
    snprintf(text, size, "a program that cannot be seen from here");
    DIR *d = fstat(fd, &st) == 0 ? opendir("/proc") : NULL;
    for (struct dirent *e; d && best < 2 && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || atoi(e->d_name) == getpid()) {
            continue;
        }
        int uses = process_uses(e->d_name, &st, -1);
        if (uses > best) {
            best = uses;
            name_process(e->d_name, text, size);
        }
    }
    if (d) {
        closedir(d);
    }
    if (best < 2 && d && process_uses("self", &st, fd) == 2) {
        best = 2;
        snprintf(text, size, "another drive of this guest");
    }
    return best == 2;
}

/* ---- bytes ---- */

static int take_byte(int fd, unsigned at)
{
    struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };
    return fcntl(fd, F_OFD_SETLK, &l) ? errno : 0;
}

static int look_at_byte(int fd, unsigned at)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };
    int error = fcntl(fd, F_OFD_GETLK, &l) ? errno : 0;
    return error ? error : l.l_type == F_UNLCK ? 0 : EAGAIN;
}

static int lock_bytes(int fd, unsigned used, unsigned refused)
{
    int error = 0;
    for (unsigned n = 0; n < NR_PERMS && !error; n++) {
        error = used >> n & 1 ? take_byte(fd, BYTES_USED + n) : 0;
        if (!error && refused >> n & 1) {
            error = take_byte(fd, BYTES_REFUSED + n);
        }
    }
    for (unsigned n = 0; n < NR_PERMS && !error; n++) {
        error = used >> n & 1 ? look_at_byte(fd, BYTES_REFUSED + n) : 0;
        if (!error && refused >> n & 1) {
            error = look_at_byte(fd, BYTES_USED + n);
        }
    }
    return error;
}

void file_unlock(int fd)
{
    struct flock l = { .l_type = F_UNLCK,
                       .l_whence = SEEK_SET,
                       .l_start = BYTES_USED,
                       .l_len = BYTES_REFUSED + NR_PERMS - BYTES_USED };
    fcntl(fd, F_OFD_SETLK, &l);
}

static bool in_tool;

void file_lock_for_tools(void)
{
    in_tool = true;
}

static bool say_in_use(const char *filename, const char *holder, bool readonly, Error **errp)
{
    if (in_tool) {
        return error_set(errp, "image '%s' is in use by %s; end that first%s", filename, holder,
                         readonly ? ", or look at it all the same with -U" : "");
    }
    return error_set(errp,
                     "image '%s' is in use by %s; give each %s its own copy, or read-only=on to all",
                     filename, holder, strstr(holder, "this guest") ? "drive" : "guest");
}

/* What a process that was killed had in an io_uring keeps its files, and their locks, for some
 * milliseconds after its end: so long as no holder can be seen, it is tried again for a second. */
bool file_lock(int fd, const char *filename, bool readonly, Error **errp)
{
    unsigned changes = 1u << PERM_WRITE | 1u << PERM_RESIZE;
    char holder[128];
    for (unsigned tries = 0;; tries++) {
        int error = lock_bytes(fd, 1u << PERM_READ | (readonly ? 0 : changes), changes);
        if (error != EAGAIN && error != EACCES) {
            return true;
        }
        file_unlock(fd); /* bytes of a lock that failed must not stand in others' way */
        if (find_holder(fd, holder, sizeof(holder)) || tries == 100) {
            break;
        }
        usleep(10000);
    }
    return say_in_use(filename, holder, readonly, errp);
}
