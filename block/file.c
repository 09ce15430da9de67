/* SPDX-License-Identifier: GPL-2.0-or-later
 * The file protocol: an image file or a host block device, with pread and pwrite. An open-file
 * description lock keeps two writers apart, also across programs that lock the same way.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "block/node.h"
#include "util/alloc.h"

typedef struct FileNode {
    BlockNode node;
    int fd;
    bool block_device;
    bool no_punch; /* the file system cannot deallocate: zeroes are written */
} FileNode;

uint64_t iov_total(const struct iovec *iov, int niov)
{
    uint64_t total = 0;
    for (int i = 0; i < niov; i++) {
        total += iov[i].iov_len;
    }
    return total;
}

int iov_slice(struct iovec *dst, const struct iovec *src, int niov, uint64_t skip, uint64_t len)
{
    int n = 0;
    for (int i = 0; i < niov && len; i++) {
        if (skip >= src[i].iov_len) {
            skip -= src[i].iov_len;
            continue;
        }
        uint64_t part = MIN(src[i].iov_len - skip, len);
        dst[n++] = (struct iovec){ (char *)src[i].iov_base + skip, part };
        len -= part;
        skip = 0;
    }
    return n;
}

/* Short transfers and EINTR go on where they stopped; reading past the end gives zeroes, since a
 * file may be cut while it is open. */
static int transfer(FileNode *f, uint64_t offset, const struct iovec *iov, int niov, uint64_t len,
                    bool write)
{
    struct iovec part[64];
    uint64_t done = 0;
    while (done < len) {
        int n = iov_slice(part, iov, MIN(niov, (int)ARRAY_SIZE(part)), done, len - done);
        if (n == 0 && niov > (int)ARRAY_SIZE(part)) {
            uint64_t first = iov_total(iov, ARRAY_SIZE(part));
            return transfer(f, offset + first, iov + ARRAY_SIZE(part),
                            niov - (int)ARRAY_SIZE(part), len - first, write);
        }
        ssize_t r = write ? pwritev(f->fd, part, n, (off_t)(offset + done))
                          : preadv(f->fd, part, n, (off_t)(offset + done));
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return errno;
        }
        if (r == 0 && write) {
            return ENOSPC;
        }
        if (r == 0) {
            for (int i = 0; i < n; i++) {
                memset(part[i].iov_base, 0, part[i].iov_len);
                r += (ssize_t)part[i].iov_len;
            }
        }
        done += (uint64_t)r;
    }
    return 0;
}

static int file_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                      uint64_t len)
{
    return transfer(container_of(n, FileNode, node), offset, iov, niov, len, false);
}

static int file_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                       uint64_t len)
{
    return transfer(container_of(n, FileNode, node), offset, iov, niov, len, true);
}

static int file_flush(BlockNode *n)
{
    return fdatasync(container_of(n, FileNode, node)->fd) == 0 ? 0 : errno;
}

static int write_zero_bytes(FileNode *f, uint64_t offset, uint64_t len)
{
    static const char zeroes[64 * 1024];
    while (len) {
        struct iovec v = { (void *)zeroes, MIN(len, sizeof(zeroes)) };
        int r = transfer(f, offset, &v, 1, v.iov_len, true);
        if (r) {
            return r;
        }
        offset += v.iov_len;
        len -= v.iov_len;
    }
    return 0;
}

static int file_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    FileNode *f = container_of(n, FileNode, node);
    int r;
    if (f->block_device) {
        uint64_t range[2] = { offset, len };
        r = ioctl(f->fd, BLKDISCARD, range);
    } else {
        r = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)len);
    }
    return r == 0 || errno == EOPNOTSUPP || errno == ENOTTY ? 0 : errno; /* only a hint */
}

static int file_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len)
{
    FileNode *f = container_of(n, FileNode, node);
    if (!f->block_device && !__atomic_load_n(&f->no_punch, __ATOMIC_RELAXED)) {
        if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)len) == 0) {
            return 0;
        }
        __atomic_store_n(&f->no_punch, true, __ATOMIC_RELAXED);
    }
    return write_zero_bytes(f, offset, len);
}

static void file_close(BlockNode *n)
{
    FileNode *f = container_of(n, FileNode, node);
    close(f->fd);
    free(n->filename);
    free(f);
}

static const BlockDriver file_driver = {
    "file", file_readv, file_writev, file_flush, file_discard, file_write_zeroes, file_close,
};

static int lock_fd(int fd, bool readonly)
{
    struct flock lock = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
    return fcntl(fd, F_OFD_SETLK, &lock);
}

static bool process_has_open(const char *pid, const struct stat *st)
{
    char path[300];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d)) != NULL;) {
        struct stat other;
        found = fstatat(dirfd(d), e->d_name, &other, 0) == 0 && other.st_ino == st->st_ino &&
                other.st_dev == st->st_dev;
    }
    if (d) {
        closedir(d);
    }
    return found;
}

/* Who else has the file open, as far as /proc tells: "process 123 (vireo)". */
static void find_holder(const struct stat *st, char *text, size_t size)
{
    DIR *d = opendir("/proc");
    snprintf(text, size, "another program");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || atoi(e->d_name) == getpid() ||
            !process_has_open(e->d_name, st)) {
            continue;
        }
        char path[300], name[64] = "?";
        snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof(name), f)) {
            name[strcspn(name, "\n")] = 0;
        }
        if (f) {
            fclose(f);
        }
        snprintf(text, size, "process %.10s (%.60s)", e->d_name, name);
        break;
    }
    if (d) {
        closedir(d);
    }
}

static bool check_open(const char *filename, int fd, bool readonly, struct stat *st, Error **errp)
{
    if (fstat(fd, st)) {
        return error_set_errno(errp, errno, "'%s'", filename);
    }
    if (S_ISDIR(st->st_mode)) {
        return error_set(errp, "'%s' is a directory, not an image", filename);
    }
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode)) {
        return error_set(errp, "'%s' is neither a file nor a block device", filename);
    }
    if (lock_fd(fd, readonly) && (errno == EAGAIN || errno == EACCES)) {
        char holder[128];
        find_holder(st, holder, sizeof(holder));
        return error_set(errp,
                         "image '%s' is in use by %s; give each guest its own copy, or "
                         "readonly=on to all",
                         filename, holder);
    }
    return true;
}

BlockNode *block_file_open(const char *filename, bool readonly, Error **errp)
{
    int fd = open(filename, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        int err = errno;
        if (err == ENOENT) {
            error_set(errp, "image '%s' does not exist", filename);
        } else if (err == EISDIR) {
            error_set(errp, "'%s' is a directory, not an image", filename);
        } else if ((err == EACCES || err == EROFS) && !readonly &&
                   access(filename, R_OK) == 0) {
            error_set(errp, "image '%s' may only be read; give readonly=on or snapshot=on",
                      filename);
        } else {
            error_set_errno(errp, err, "image '%s' cannot be opened", filename);
        }
        return NULL;
    }
    struct stat st;
    if (!check_open(filename, fd, readonly, &st, errp)) {
        close(fd);
        return NULL;
    }
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0) {
        error_set_errno(errp, errno, "the size of '%s'", filename);
        close(fd);
        return NULL;
    }
    FileNode *f = xcalloc(1, sizeof(*f));
    f->node = (BlockNode){ &file_driver, (uint64_t)size, readonly, xstrdup(filename) };
    f->fd = fd;
    f->block_device = S_ISBLK(st.st_mode);
    return &f->node;
}

void block_close(BlockNode *n)
{
    if (n) {
        n->driver->close(n);
    }
}
