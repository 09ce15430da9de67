/* SPDX-License-Identifier: GPL-2.0-or-later
 * The files of unix sockets that this process listens on (unix(7)).
 */
#include "util/socket_file.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/socket_holder.h"

static bool say_in_use(const char *path, Error **errp)
{
    char *holder = socket_path_holder(path);
    error_set(errp, "the socket '%s' is in use, %s; choose another path or end that process", path,
              holder);
    free(holder);
    return false;
}

/* What a connect() to it says. A datagram socket asks: a stream that somebody listens on is of the
 * wrong type for it (EPROTOTYPE) and does not notice; without anybody it is refused. */
static int probe(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    memcpy(un.sun_path, path, strnlen(path, sizeof(un.sun_path) - 1));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return errno;
    }
    int err = connect(fd, (const struct sockaddr *)&un, sizeof(un)) < 0 ? errno : 0;
    close(fd);
    return err;
}

bool socket_file_clear(const char *path, Error **errp)
{
    struct stat st;
    if (lstat(path, &st) < 0) {
        return true; /* or bind() says what is wrong */
    }
    if (!S_ISSOCK(st.st_mode)) {
        return error_set(errp, "'%s' exists and is not a socket; remove it or choose another path",
                         path);
    }
    int err = probe(path);
    if (err == EACCES) {
        return error_set(errp, "the socket '%s' is another user's; choose another path", path);
    }
    if (err != ECONNREFUSED && err != ENOENT) {
        return say_in_use(path, errp);
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        return error_set(
            errp,
            "nobody listens on the socket '%s' any more, but it cannot be removed (%s); "
            "remove it or choose another path",
            path, strerror(errno));
    }
    return true;
}

bool socket_file_failed(const char *path, int err, Error **errp)
{
    if (err == EADDRINUSE) {
        return say_in_use(path, errp);
    }
    if (err == ENOENT || err == ENOTDIR) {
        return error_set(
            errp,
            "the socket '%s' cannot be made: its directory does not exist; make that or "
            "choose another path",
            path);
    }
    if (err == EACCES || err == EPERM || err == EROFS) {
        return error_set(errp,
                         "the socket '%s' cannot be made (%s); choose a directory you may write to",
                         path, strerror(err));
    }
    return error_set_errno(errp, err, "the socket '%s' cannot be made", path);
}

void socket_file_made(SocketFile *f, const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        *f = (SocketFile){ xstrdup(path), st.st_dev, st.st_ino };
    }
}

bool socket_file_bind(SocketFile *f, int fd, const struct sockaddr_un *un, socklen_t len,
                      Error **errp)
{
    const char *path = un->sun_path;
    if (*path && !socket_file_clear(path, errp)) {
        return false;
    }
    if (bind(fd, (const struct sockaddr *)un, len) == 0) {
        if (*path) {
            socket_file_made(f, path);
        }
        return true;
    }
    int err = errno;
    if (*path) {
        return socket_file_failed(path, err, errp);
    }
    return err == EADDRINUSE
               ? error_set(errp, "the abstract socket '%s' is in use; choose another name",
                           path + 1)
               : error_set_errno(errp, err, "the abstract socket '%s'", path + 1);
}

void socket_file_remove(SocketFile *f)
{
    struct stat st;
    if (f->path && lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino) {
        unlink(f->path);
    }
    free(f->path);
    f->path = NULL;
}
