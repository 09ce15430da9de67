/* SPDX-License-Identifier: GPL-2.0-or-later
 * Finds and reads firmware files: BIOS images, option ROMs, kernels' helpers.
 */
#include "hw/core/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hw/core/machine.h"

/* Where Debian, Fedora and Arch put what their seabios, ovmf and ipxe packages hold. */
static const char *const default_dirs[] = {
    "/usr/share/seabios", "/usr/share/qemu", "/usr/lib/ipxe/qemu", "/usr/share/ipxe/qemu",
    "/usr/share/ipxe",    NULL,
};

static char *path_in(const char *dir, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", dir, name) < 0) {
        abort();
    }
    if (access(path, F_OK) == 0) {
        return path;
    }
    free(path);
    return NULL;
}

char *firmware_find(const struct Machine *m, const char *name)
{
    if (strchr(name, '/')) {
        return access(name, F_OK) == 0 ? strdup(name) : NULL;
    }
    char *path;
    for (char **dir = m->config.firmware_dirs; dir && *dir; dir++) {
        if ((path = path_in(*dir, name))) {
            return path;
        }
    }
    for (const char *const *dir = default_dirs; *dir; dir++) {
        if ((path = path_in(*dir, name))) {
            return path;
        }
    }
    return access(name, F_OK) == 0 ? strdup(name) : NULL;
}

const char *firmware_package(const char *name)
{
    static const struct {
        const char *prefix, *package;
    } known[] = {
        { "bios", "seabios" },      { "vgabios", "seabios" }, { "pxe-", "ipxe-qemu" },
        { "efi-", "ipxe-qemu" },    { "OVMF", "ovmf" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strncmp(name, known[i].prefix, strlen(known[i].prefix)) == 0) {
            return known[i].package;
        }
    }
    return NULL;
}

static uint8_t *read_all(int fd, const char *path, size_t max, size_t *size, Error **errp)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        error_set_errno(errp, errno, "cannot read '%s'", path);
        return NULL;
    }
    if (S_ISDIR(st.st_mode)) {
        error_set(errp, "cannot read '%s': it is a directory", path);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(errp, "cannot read '%s': it is no regular file; copy what it gives to one", path);
        return NULL;
    }
    if (st.st_size <= 0) {
        error_set(errp, "'%s' is empty", path);
        return NULL;
    }
    if ((uint64_t)st.st_size > max) {
        error_set(errp, "'%s' is too big: %lld bytes, at most %zu fit", path,
                  (long long)st.st_size, max);
        return NULL;
    }
    uint8_t *buf = malloc(st.st_size);
    if (!buf) {
        error_set(errp, "no memory to read '%s' (%lld bytes)", path, (long long)st.st_size);
        return NULL;
    }
    size_t got = 0;
    while (got < (size_t)st.st_size) {
        ssize_t n = read(fd, buf + got, st.st_size - got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            error_set(errp, "cannot read '%s': %s", path,
                      n < 0 ? strerror(errno) : "it became shorter while it was read");
            free(buf);
            return NULL;
        }
        got += n;
    }
    *size = got;
    return buf;
}

uint8_t *file_load(const char *path, size_t max, size_t *size, Error **errp)
{
    /* Without waiting for the other end of a FIFO. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set_errno(errp, errno, "cannot open '%s'", path);
        return NULL;
    }
    uint8_t *buf = read_all(fd, path, max, size, errp);
    close(fd);
    return buf;
}

uint8_t *firmware_load(const struct Machine *m, const char *name, size_t max, size_t *size,
                       Error **errp)
{
    char *path = firmware_find(m, name);
    if (!path) {
        const char *package = firmware_package(name);
        if (package) {
            error_set(errp,
                      "firmware file '%s' not found: install the Debian package '%s', or name "
                      "its directory with -L",
                      name, package);
        } else {
            error_set(errp, "firmware file '%s' not found (-L DIR adds a place to look)", name);
        }
        return NULL;
    }
    uint8_t *buf = file_load(path, max, size, errp);
    free(path);
    return buf;
}
