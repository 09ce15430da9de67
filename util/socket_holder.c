/* SPDX-License-Identifier: GPL-2.0-or-later
 * Who has a port or a socket file of this host: the tables of sockets (proc(5), /proc/net/tcp,
 * /proc/net/unix) name its inode, and one of the processes has it open (/proc/PID/fd).
 */
#include "util/socket_holder.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/alloc.h"

enum { TCP_STATE_LISTEN = 0x0a };

/* The inode of a socket bound to port in that table; 0 if there is none. */
static unsigned long find_inode(const char *table, bool udp, unsigned port)
{
    FILE *f = fopen(table, "re");
    char line[512];
    unsigned long found = 0;
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(line,
                   " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu",
                   &local, &state, &inode) == 3 &&
            local == port && (udp || state == TCP_STATE_LISTEN)) {
            found = inode;
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

static bool has_socket(const char *pid, const char *want)
{
    char path[64], target[64];
    snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char link[128];
        snprintf(link, sizeof(link), "%s/%.16s", path, e->d_name);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = 0;
            found = !strcmp(target, want);
        }
    }
    if (d) {
        closedir(d);
    }
    return found;
}

static char *describe(const char *pid)
{
    char path[64], name[64] = "";
    snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f) {
        if (fgets(name, sizeof(name), f)) {
            name[strcspn(name, "\n")] = 0;
        }
        fclose(f);
    }
    return xasprintf("held by process %s (%s)", pid, *name ? name : "?");
}

/* The process that has the socket of that inode; 0: none was found in the tables. */
static char *holder_of(unsigned long inode)
{
    char want[64];
    snprintf(want, sizeof(want), "socket:[%lu]", inode);
    DIR *d = inode ? opendir("/proc") : NULL;
    char *holder = NULL;
    for (struct dirent *e; d && !holder && (e = readdir(d));) {
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && has_socket(e->d_name, want)) {
            holder = describe(e->d_name);
        }
    }
    if (d) {
        closedir(d);
    }
    return holder ? holder : xstrdup("held by a process of another user");
}

char *socket_port_holder(bool udp, unsigned port)
{
    static const char *const tables[2][2] = { { "/proc/net/tcp", "/proc/net/tcp6" },
                                              { "/proc/net/udp", "/proc/net/udp6" } };
    unsigned long inode = find_inode(tables[udp][0], udp, port);
    return holder_of(inode ? inode : find_inode(tables[udp][1], udp, port));
}

/* The table has the path as it was bound, which may be another spelling of ours. */
char *socket_path_holder(const char *path)
{
    FILE *f = fopen("/proc/net/unix", "re");
    struct stat ours, theirs;
    bool exists = stat(path, &ours) == 0;
    char line[512];
    unsigned long found = 0;
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned long inode;
        int at = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%*x: %*x %*x %*x %*x %*x %lu %n", &inode, &at) != 1 || line[at] != '/') {
            continue;
        }
        if (!strcmp(line + at, path) || (exists && stat(line + at, &theirs) == 0 &&
                                         theirs.st_dev == ours.st_dev &&
                                         theirs.st_ino == ours.st_ino)) {
            found = inode;
        }
    }
    if (f) {
        fclose(f);
    }
    return holder_of(found);
}
