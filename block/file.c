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
    unsigned align;   /* direct I/O: of offsets, lengths and memory; 0: through the page cache */
    pthread_rwlock_t direct_lock; /* whole blocks are written shared, parts of one exclusively */
    int flush_failed; /* atomic: EIO after a failure; what it lost no later flush brings back */
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

/* ---- direct I/O: past the page cache, in whole aligned blocks ---- */

enum { DIRECT_CHUNK = 1 << 20, DIRECT_MAX_ALIGN = 4096 };

static int direct_pread(const FileNode *f, uint64_t offset, uint8_t *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t r = pread(f->fd, buf + done, len - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return errno;
        }
        if (r == 0 || r % f->align) { /* the end of the file */
            memset(buf + done + r, 0, len - done - (size_t)r);
            return 0;
        }
        done += (size_t)r;
    }
    return 0;
}

static int direct_pwrite(const FileNode *f, uint64_t offset, const uint8_t *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t r = pwrite(f->fd, buf + done, len - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r <= 0 || r % f->align) {
            return r < 0 ? errno : ENOSPC;
        }
        done += (size_t)r;
    }
    return 0;
}

static void copy_iov(const struct iovec *iov, int niov, uint64_t skip, uint8_t *buf, uint64_t len,
                     bool to_buf)
{
    for (int i = 0; i < niov && len; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        uint64_t n = MIN(iov[i].iov_len - skip, len);
        uint8_t *at = (uint8_t *)iov[i].iov_base + skip;
        memcpy(to_buf ? buf : at, to_buf ? at : buf, n);
        buf += n;
        len -= n;
        skip = 0;
    }
}

/* One chunk of at most DIRECT_CHUNK bytes by way of buf. Blocks written in part are read first. */
static int direct_chunk(FileNode *f, uint64_t offset, const struct iovec *iov, int niov,
                        uint64_t skip, uint64_t len, uint8_t *buf, bool write)
{
    uint64_t lo = ROUND_DOWN(offset, (uint64_t)f->align);
    uint64_t hi = ROUND_UP(offset + len, (uint64_t)f->align);
    bool whole = lo == offset && hi == offset + len;
    if (!write) {
        int r = direct_pread(f, lo, buf, hi - lo);
        if (!r) {
            copy_iov(iov, niov, skip, buf + (offset - lo), len, false);
        }
        return r;
    }
    int r = whole ? 0 : direct_pread(f, lo, buf, hi - lo);
    if (!r) {
        copy_iov(iov, niov, skip, buf + (offset - lo), len, true);
        r = direct_pwrite(f, lo, buf, hi - lo);
    }
    return r;
}

static int direct_transfer(FileNode *f, uint64_t offset, const struct iovec *iov, int niov,
                           uint64_t len, bool write)
{
    uint8_t *buf = NULL;
    int r = posix_memalign((void **)&buf, DIRECT_MAX_ALIGN, DIRECT_CHUNK + 2 * DIRECT_MAX_ALIGN);
    if (r) {
        return r;
    }
    /* No other write may come between reading a block and writing it back. */
    if (write && (offset % f->align || len % f->align)) {
        pthread_rwlock_wrlock(&f->direct_lock);
    } else {
        pthread_rwlock_rdlock(&f->direct_lock);
    }
    for (uint64_t done = 0; done < len && !r;) {
        uint64_t n = MIN(len - done, (uint64_t)DIRECT_CHUNK);
        r = direct_chunk(f, offset + done, iov, niov, done, n, buf, write);
        done += n;
    }
    pthread_rwlock_unlock(&f->direct_lock);
    free(buf);
    return r;
}

/* What alignment the file system wants, found out by reading; 0: none will do. */
static unsigned probe_align(int fd, uint64_t size)
{
    uint8_t *buf = NULL;
    if (posix_memalign((void **)&buf, DIRECT_MAX_ALIGN, 2 * DIRECT_MAX_ALIGN)) {
        return 0;
    }
    unsigned found = 0;
    for (unsigned align = 512; align <= DIRECT_MAX_ALIGN && !found; align *= 2) {
        if (size % align == 0 && pread(fd, buf + align, align, (off_t)align) >= 0) {
            found = align;
        }
    }
    free(buf);
    return found;
}

static int any_transfer(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                        uint64_t len, bool write)
{
    FileNode *f = container_of(n, FileNode, node);
    return f->align ? direct_transfer(f, offset, iov, niov, len, write)
                    : transfer(f, offset, iov, niov, len, write);
}

/* ---- driver ---- */

static int file_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                      uint64_t len)
{
    return any_transfer(n, offset, iov, niov, len, false);
}

static int file_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                       uint64_t len)
{
    return any_transfer(n, offset, iov, niov, len, true);
}

/* After a failed fdatasync the kernel may have dropped what it could not write, and the next one
 * would say that all is well. */
static int file_flush(BlockNode *n)
{
    FileNode *f = container_of(n, FileNode, node);
    int failed = __atomic_load_n(&f->flush_failed, __ATOMIC_RELAXED);
    if (failed) {
        return failed;
    }
    if (fdatasync(f->fd) == 0) {
        return 0;
    }
    failed = errno;
    if (!f->align && failed != EINTR) {
        __atomic_store_n(&f->flush_failed, EIO, __ATOMIC_RELAXED);
    }
    return failed;
}

static int write_zero_bytes(FileNode *f, uint64_t offset, uint64_t len)
{
    static const char zeroes[64 * 1024] __attribute__((aligned(4096)));
    while (len) {
        struct iovec v = { (void *)zeroes, MIN(len, sizeof(zeroes)) };
        int r = any_transfer(&f->node, offset, &v, 1, v.iov_len, true);
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
    pthread_rwlock_destroy(&f->direct_lock);
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
    snprintf(text, size, "another drive of this guest, or a program that cannot be seen from here");
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

static bool check_open(const char *filename, int fd, bool readonly, bool lock, struct stat *st,
                       Error **errp)
{
    if (fstat(fd, st)) {
        return error_set_errno(errp, errno, "'%s'", filename);
    }
    if (S_ISDIR(st->st_mode)) { /* opened for reading, that does not fail */
        return error_set(errp, "'%s' is a directory, not an image", filename);
    }
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode)) {
        return error_set(errp, "'%s' is neither a file nor a block device", filename);
    }
    if (lock && lock_fd(fd, readonly) && (errno == EAGAIN || errno == EACCES)) {
        char holder[128];
        find_holder(st, holder, sizeof(holder));
        return error_set(errp,
                         "image '%s' is in use by %s; give each guest its own copy, or "
                         "readonly=on to all",
                         filename, holder);
    }
    return true;
}

/* "nbd://host", "fat:dir": what other programs open by such a word and this one does not. */
static bool is_protocol(const char *filename, Error **errp)
{
    static const char *const known[] = { "nbd", "http", "https", "ftp", "ftps", "ssh", "iscsi", "fat",
                                         "rbd", "gluster", "nfs", "blkdebug", "null-co", "null-aio",
                                         "nvme", "json", NULL };
    size_t len = strcspn(filename, ":/");
    if (filename[len] != ':' || access(filename, F_OK) == 0) {
        return false;
    }
    for (const char *const *k = known; *k; k++) {
        if (strlen(*k) == len && !strncmp(*k, filename, len)) {
            error_set(errp, "'%s': the protocol '%s:' is not built yet, only files and block devices "
                            "are",
                      filename, *k);
            return true;
        }
    }
    return false;
}

static void say_open_failed(const char *filename, bool readonly, int err, Error **errp)
{
    bool may_read = (err == EACCES || err == EROFS || err == EPERM) && !readonly &&
                    access(filename, R_OK) == 0;
    if (err == ENOENT) {
        error_set(errp, "image '%s' does not exist", filename);
    } else if (err == EISDIR) {
        error_set(errp, "'%s' is a directory, not an image", filename);
    } else if (err == ETXTBSY) {
        error_set(errp, "image '%s' is a program or a swap file in use", filename);
    } else if (may_read) {
        error_set(errp, "image '%s' may only be read; give readonly=on or snapshot=on", filename);
    } else if (err == EACCES) {
        error_set(errp, "image '%s': permission denied; see ls -ld for it and the directories above",
                  filename);
    } else if (err == ENOMEDIUM) {
        error_set(errp, "there is no medium in '%s'", filename);
    } else {
        error_set_errno(errp, err, "image '%s' cannot be opened", filename);
    }
}

/* fd of the image; a FIFO or the like is not even opened, since that may block. */
static int open_image(const char *filename, bool readonly, bool *direct, Error **errp)
{
    struct stat st;
    if (stat(filename, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode) &&
        !S_ISDIR(st.st_mode)) {
        error_set(errp, "'%s' is neither a file nor a block device", filename);
        return -1;
    }
    int flags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
    int fd = open(filename, flags | (*direct ? O_DIRECT : 0));
    if (fd < 0 && errno == EINVAL && *direct) {
        *direct = false;
        fd = open(filename, flags);
    }
    if (fd < 0) {
        say_open_failed(filename, readonly, errno, errp);
    }
    return fd;
}

BlockNode *block_file_open(const char *filename, bool readonly, bool lock, bool *direct,
                           Error **errp)
{
    if (is_protocol(filename, errp)) {
        return NULL;
    }
    if (!strncmp(filename, "file:", 5)) {
        filename += strncmp(filename, "file:///", 8) ? 5 : 7;
    }
    int fd = open_image(filename, readonly, direct, errp);
    if (fd < 0) {
        return NULL;
    }
    struct stat st;
    if (!check_open(filename, fd, readonly, lock, &st, errp)) {
        close(fd);
        return NULL;
    }
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0) {
        error_set_errno(errp, errno, "the size of '%s'", filename);
        close(fd);
        return NULL;
    }
    unsigned align = *direct ? probe_align(fd, (uint64_t)size) : 0;
    if (*direct && !align) {
        *direct = false;
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT);
    }
    FileNode *f = xcalloc(1, sizeof(*f));
    f->node = (BlockNode){ .driver = &file_driver, .size = (uint64_t)size, .readonly = readonly,
                           .filename = xstrdup(filename) };
    f->fd = fd;
    f->block_device = S_ISBLK(st.st_mode);
    f->align = align;
    pthread_rwlock_init(&f->direct_lock, NULL);
    return &f->node;
}

void block_close(BlockNode *n)
{
    if (n) {
        n->driver->close(n);
    }
}
