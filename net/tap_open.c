/* SPDX-License-Identifier: GPL-2.0-or-later
 * Opening tap interfaces (Linux Documentation/networking/tuntap.rst, if_tun.h).
 */
#include "net/tap_open.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/alloc.h"

#define TUN_NODE "/dev/net/tun"

/* ---- who has it ---- */

/* Does a descriptor of that process belong to the interface (proc(5), fdinfo's "iff:")? */
static bool has_interface(const char *pid, const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "/proc/%.16s/fdinfo", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char file[600], line[128], iff[32];
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        FILE *f = fopen(file, "re");
        while (f && !found && fgets(line, sizeof(line), f)) {
            found = sscanf(line, "iff: %31s", iff) == 1 && !strcmp(iff, name);
        }
        if (f) {
            fclose(f);
        }
    }
    if (d) {
        closedir(d);
    }
    return found;
}

/* Another network namespace may have an interface of the same name. */
static bool in_this_network(const char *pid)
{
    struct stat ours, theirs;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%.16s/ns/net", pid);
    return !stat("/proc/self/ns/net", &ours) && !stat(path, &theirs) &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

static void find_holder(const char *name, char *text, size_t size)
{
    DIR *d = opendir("/proc");
    bool found = false;
    snprintf(text, size, "another program");
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        if (*e->d_name >= '1' && *e->d_name <= '9' && in_this_network(e->d_name) &&
            has_interface(e->d_name, name)) {
            snprintf(text, size, "process %.16s", e->d_name);
            found = true;
        }
    }
    if (d) {
        closedir(d);
    }
}

static bool say_open_failed(int error, Error **errp)
{
    if (error == ENOENT || error == ENODEV || error == ENXIO) {
        return error_set(errp, "the host has no " TUN_NODE "; load the module: `sudo modprobe tun`");
    }
    if (error == EACCES || error == EPERM) {
        return error_set(errp, TUN_NODE " may not be opened by this user; `sudo chmod 666 " TUN_NODE
                                        "` is how distributions have it, or use -netdev user");
    }
    return error_set_errno(errp, error, TUN_NODE " cannot be opened");
}

static bool say_attach_failed(const char *name, int error, Error **errp)
{
    const char *shown = *name ? name : "tap0";
    if (error == EPERM || error == EACCES) {
        return error_set(errp,
                         "no permission for tap interface '%s'; make one for yourself with: sudo ip "
                         "tuntap add %s mode tap user $USER && sudo ip link set %s up, or use "
                         "-netdev user",
                         shown, shown, shown);
    }
    if (error == EBUSY) {
        char holder[64];
        find_holder(name, holder, sizeof(holder));
        return error_set(errp, "tap interface '%s' is in use by %s; give each guest its own", name,
                         holder);
    }
    if (error == EINVAL) {
        return error_set(errp,
                         "'%s' is an interface of another kind, or was made with or without "
                         "multi_queue unlike queues= here",
                         shown);
    }
    return error_set_errno(errp, error, "tap interface '%s'", shown);
}

/* ---- by name ---- */

int tap_open(char name[16], bool multi_queue, bool *vnet_hdr, Error **errp)
{
    int fd = open(TUN_NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        say_open_failed(errno, errp);
        return -1;
    }
    unsigned features = 0;
    if (ioctl(fd, TUNGETFEATURES, &features) < 0) {
        features = 0;
    }
    *vnet_hdr = *vnet_hdr && (features & IFF_VNET_HDR);
    struct ifreq r = { 0 };
    memcpy(r.ifr_name, name, IFNAMSIZ);
    r.ifr_name[IFNAMSIZ - 1] = 0;
    r.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (*vnet_hdr ? IFF_VNET_HDR : 0) |
                          (multi_queue ? IFF_MULTI_QUEUE : 0));
    if (ioctl(fd, TUNSETIFF, &r) < 0) {
        say_attach_failed(name, errno, errp);
        close(fd);
        return -1;
    }
    memcpy(name, r.ifr_name, IFNAMSIZ);
    return fd;
}

bool tap_adopt(int fd, char name[16], bool *vnet_hdr, Error **errp)
{
    struct ifreq r = { 0 };
    if (fcntl(fd, F_GETFD) < 0) {
        return error_set(errp,
                         "descriptor %d is not open; fd= is for the program that starts Vireo and "
                         "leaves it an open one, ifname= opens an interface by its name",
                         fd);
    }
    if (ioctl(fd, TUNGETIFF, &r) < 0 || !(r.ifr_flags & IFF_TAP)) {
        return error_set(errp, "descriptor %d is not a tap interface's", fd);
    }
    *vnet_hdr = r.ifr_flags & IFF_VNET_HDR;
    memcpy(name, r.ifr_name, IFNAMSIZ);
    name[IFNAMSIZ - 1] = 0;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}

/* ---- programs ---- */

extern char **environ;

/* What the program wrote to its stderr, in one line; a new string. */
static char *said_in(int fd)
{
    char text[512];
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : 0;
    text[MAX(n, 0)] = 0;
    for (n = (ssize_t)strlen(text); n > 0 && text[n - 1] == '\n'; n--) {
        text[n - 1] = 0;
    }
    for (char *p = text; *p; p++) {
        *p = *p == '\n' ? ';' : *p;
    }
    return xstrdup(text);
}

/* Signals go back to their defaults: the main thread has blocked some. keep_fd, err_fd: -1, or what
 * it keeps open and what it has as stderr. */
static int run(char *const argv[], int keep_fd, int err_fd, Error **errp)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    sigset_t none;
    pid_t pid;
    int status = 0;
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawn_file_actions_init(&files);
    if (keep_fd >= 0) {
        posix_spawn_file_actions_adddup2(&files, keep_fd, keep_fd); /* clears close-on-exec */
    }
    if (err_fd >= 0) {
        posix_spawn_file_actions_adddup2(&files, err_fd, STDERR_FILENO);
    }
    int error = posix_spawn(&pid, argv[0], &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (error) {
        error_set_errno(errp, error, "'%s' cannot be run", argv[0]);
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    char *said = said_in(err_fd);
    if (*said) {
        error_set(errp, "'%s' says \"%s\"", argv[0], said);
    } else if (WIFEXITED(status)) {
        error_set(errp, "'%s' failed with exit status %d", argv[0], WEXITSTATUS(status));
    } else {
        error_set(errp, "'%s' was ended by signal %d", argv[0], WTERMSIG(status));
    }
    free(said);
    return -1;
}

bool tap_run_script(const char *script, const char *name, Error **errp)
{
    char *argv[] = { (char *)script, (char *)name, NULL };
    return run(argv, -1, -1, errp) == 0;
}

static int receive_fd(int socket)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                          .msg_controllen = sizeof(control) };
    ssize_t n;
    do {
        n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    int fd = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    }
    return fd;
}

int tap_from_helper(const char *helper, const char *bridge, char name[16], bool *vnet_hdr,
                    Error **errp)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        error_set_errno(errp, errno, "the helper's socket");
        return -1;
    }
    char *fd_arg = xasprintf("--fd=%d", pair[1]), *br_arg = xasprintf("--br=%s", bridge);
    char *argv[] = { (char *)helper, "--use-vnet", fd_arg, br_arg, NULL };
    int fd = -1;
    if (!*vnet_hdr) {
        argv[1] = fd_arg;
        argv[2] = br_arg;
        argv[3] = NULL;
    }
    int err_fd = memfd_create("helper's stderr", MFD_CLOEXEC);
    Error *why = NULL;
    if (run(argv, pair[1], err_fd, &why) == 0) {
        fd = receive_fd(pair[0]);
        if (fd < 0) {
            error_set(errp, "'%s' gave no interface on bridge '%s'", helper, bridge);
        } else if (!tap_adopt(fd, name, vnet_hdr, errp)) {
            close(fd);
            fd = -1;
        }
    } else {
        error_set(errp,
                  "bridge '%s': %s; it needs to be there (ip link), allowed by 'allow %s' in "
                  "/etc/qemu/bridge.conf, and the helper to be root's: sudo chmod u+s %s; -nic user "
                  "needs nothing",
                  bridge, error_text(why), bridge, helper);
        error_free(why);
    }
    if (err_fd >= 0) {
        close(err_fd);
    }
    close(pair[0]);
    close(pair[1]);
    free(fd_arg);
    free(br_arg);
    return fd;
}

static bool set_up(int sock, const char *name)
{
    struct ifreq r = { 0 };
    memcpy(r.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    if (ioctl(sock, SIOCGIFFLAGS, &r) < 0) {
        return false;
    }
    r.ifr_flags |= IFF_UP;
    return ioctl(sock, SIOCSIFFLAGS, &r) == 0;
}

bool tap_join_bridge(const char *name, const char *bridge, Error **errp)
{
    if (!if_nametoindex(bridge)) {
        return error_set(errp, "there is no bridge '%s'; make it: sudo ip link add %s type bridge && "
                               "sudo ip link set %s up",
                         bridge, bridge, bridge);
    }
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = { 0 };
    memcpy(r.ifr_name, bridge, strnlen(bridge, IFNAMSIZ - 1));
    r.ifr_ifindex = (int)if_nametoindex(name);
    bool ok = sock >= 0 && ioctl(sock, SIOCBRADDIF, &r) == 0 && set_up(sock, name);
    if (!ok && errno == EPERM) {
        error_set(errp,
                  "no permission to put '%s' on bridge '%s'; install qemu-system-common for its "
                  "helper and allow the bridge in /etc/qemu/bridge.conf, or run as root",
                  name, bridge);
    } else if (!ok) {
        error_set_errno(errp, errno, "'%s' cannot be put on bridge '%s'", name, bridge);
    }
    if (sock >= 0) {
        close(sock);
    }
    return ok;
}
