/* SPDX-License-Identifier: GPL-2.0-or-later
 * The files of unix sockets that this process listens on: made in place of one that nobody listens
 * on any more, removed at the end. Without a lock: two processes that start at the same moment with
 * the same stale file can both think it theirs.
 */
#ifndef UTIL_SOCKET_FILE_H
#define UTIL_SOCKET_FILE_H

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/error.h"

typedef struct SocketFile {
    char *path; /* NULL: none */
    dev_t dev;
    ino_t ino;
} SocketFile;

/* Binds fd, a socket of any type, to un; an abstract name makes no file. */
bool socket_file_bind(SocketFile *f, int fd, const struct sockaddr_un *un, socklen_t len,
                      Error **errp) MUST_USE;
/* The three steps of it, for who leaves bind() to others: removes a stale file, says why bind()
 * failed, and keeps in mind what bind() made. */
bool socket_file_clear(const char *path, Error **errp) MUST_USE;
bool socket_file_failed(const char *path, int err, Error **errp);
void socket_file_made(SocketFile *f, const char *path);
/* Removes it if it is still ours: another process may have taken the name. */
void socket_file_remove(SocketFile *f);

#endif
