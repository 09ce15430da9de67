/* SPDX-License-Identifier: GPL-2.0-or-later
 * The file protocol: an image file or a host block device, with pread and pwrite, locked against
 * other programs (file_lock.h).
 */
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
#include "block/file_lock.h"
#include "block/node.h"
#include "util/alloc.h"

typedef struct FileNode {
    BlockNode node;
    int fd;
    bool block_device, locked;
    unsigned align;   /* direct I/O: of offsets, lengths and memory; 0: through the page cache */
    pthread_rwlock_t direct_lock; /* whole blocks are written shared, parts of one exclusively */
    int flush_failed; /* atomic: EIO after a failure; what it lost no later flush brings back */
    bool no_punch, no_zero_range; /* atomic: the file system cannot, zeroes are written */
} FileNode;

/* Short transfers and EINTR go on where they stopped; reading past the end gives zeroes, since a
 * file may be cut while it is open. Direct I/O that ends within a block is at the end, too. */
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
        bool at_end = r == 0 || (f->align && r % f->align);
        if (at_end && write) {
            return ENOSPC;
        }
        if (at_end) {
            iov_zero(iov, niov, done + (uint64_t)r, len - done - (uint64_t)r);
            return 0;
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
            iov_from_buf(iov, niov, skip, buf + (offset - lo), len);
        }
        return r;
    }
    int r = whole ? 0 : direct_pread(f, lo, buf, hi - lo);
    if (!r) {
        iov_to_buf(iov, niov, skip, buf + (offset - lo), len);
        r = direct_pwrite(f, lo, buf, hi - lo);
    }
    return r;
}

/* No other change may come between reading a block and writing it back. */
static void lock_blocks(FileNode *f, uint64_t offset, uint64_t len, bool write)
{
    if (write && (offset % f->align || len % f->align)) {
        pthread_rwlock_wrlock(&f->direct_lock);
    } else {
        pthread_rwlock_rdlock(&f->direct_lock);
    }
}

static bool is_aligned(const FileNode *f, uint64_t offset, const struct iovec *iov, int niov,
                       uint64_t len)
{
    bool ok = (offset | len) % f->align == 0;
    for (int i = 0; i < niov && ok; i++) {
        ok = !((uintptr_t)iov[i].iov_base % f->align) && !(iov[i].iov_len % f->align);
    }
    return ok;
}

static int direct_transfer(FileNode *f, uint64_t offset, const struct iovec *iov, int niov,
                           uint64_t len, bool write)
{
    uint8_t *buf = NULL;
    int r = 0;
    bool as_it_is = is_aligned(f, offset, iov, niov, len);
    if (!as_it_is) {
        r = posix_memalign((void **)&buf, DIRECT_MAX_ALIGN, DIRECT_CHUNK + 2 * DIRECT_MAX_ALIGN);
    }
    if (r) {
        return r;
    }
    lock_blocks(f, offset, len, write);
    if (as_it_is) {
        r = transfer(f, offset, iov, niov, len, write);
    }
    for (uint64_t done = 0; !as_it_is && done < len && !r;) {
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

static int allocate(FileNode *f, int mode, uint64_t offset, uint64_t len)
{
    if (f->align) {
        lock_blocks(f, offset, len, true);
    }
    int error = fallocate(f->fd, mode, (off_t)offset, (off_t)len) ? errno : 0;
    if (f->align) {
        pthread_rwlock_unlock(&f->direct_lock);
    }
    return error;
}

static int file_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    FileNode *f = container_of(n, FileNode, node);
    int error;
    if (f->block_device) {
        uint64_t range[2] = { offset, len };
        error = ioctl(f->fd, BLKDISCARD, range) ? errno : 0;
    } else {
        error = allocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
    }
    /* Only a hint: EINVAL is what a device says whose blocks are larger than a sector. */
    return error == EOPNOTSUPP || error == ENOTTY || error == EINVAL ? 0 : error;
}

static int file_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    FileNode *f = container_of(n, FileNode, node);
    int mode = (may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
    bool *no = may_unmap ? &f->no_punch : &f->no_zero_range;
    bool grows = offset + len > (uint64_t)lseek(f->fd, 0, SEEK_END);
    if (!f->block_device && !grows && !__atomic_load_n(no, __ATOMIC_RELAXED)) {
        int error = allocate(f, mode, offset, len);
        if (!error || error == ENOSPC || error == EIO) {
            return error;
        }
        __atomic_store_n(no, true, __ATOMIC_RELAXED);
    }
    return write_zero_bytes(f, offset, len);
}

static int file_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    FileNode *f = container_of(n, FileNode, node);
    *out = (BlockExtent){ .len = len, .allocated = true, .data = true, .has_offset = true,
                          .offset = offset };
    if (f->block_device) {
        return 0;
    }
    off_t data = lseek(f->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno != ENXIO) {
        return 0; /* the file system does not tell */
    }
    if (data < 0 || (uint64_t)data > offset) { /* a hole, or past the last data */
        out->data = false;
        out->zero = true;
        out->len = data < 0 ? len : MIN(len, (uint64_t)data - offset);
        return 0;
    }
    off_t hole = lseek(f->fd, (off_t)offset, SEEK_HOLE);
    if (hole > (off_t)offset) {
        out->len = MIN(len, (uint64_t)hole - offset);
    }
    return 0;
}

static bool preallocate(int fd, const char *filename, uint64_t from, uint64_t to, const char *how,
                        Error **errp)
{
    if (!strcmp(how, "off") || to <= from) {
        return true;
    }
    if (!strcmp(how, "falloc")) {
        int error = posix_fallocate(fd, (off_t)from, (off_t)(to - from));
        return !error || error_set_errno(errp, error, "no room for '%s'", filename);
    }
    if (strcmp(how, "full")) {
        return error_set(errp, "preallocation=%s: for a plain file it is off, falloc or full", how);
    }
    static const char zeroes[64 * 1024];
    while (from < to) {
        ssize_t r = pwrite(fd, zeroes, MIN(to - from, sizeof(zeroes)), (off_t)from);
        if (r <= 0 && errno != EINTR) {
            return error_set_errno(errp, r ? errno : ENOSPC, "no room for '%s'", filename);
        }
        from += r > 0 ? (uint64_t)r : 0;
    }
    return fdatasync(fd) == 0 || error_set_errno(errp, errno, "'%s'", filename);
}

static bool file_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    FileNode *f = container_of(n, FileNode, node);
    if (f->block_device) {
        return size == n->size || error_set(errp, "'%s' is a block device, it has the size it has",
                                            n->filename);
    }
    if (ftruncate(f->fd, (off_t)size)) {
        return error_set_errno(errp, errno, "'%s' cannot be resized", n->filename);
    }
    if (!preallocate(f->fd, n->filename, n->size, size, prealloc, errp)) {
        if (ftruncate(f->fd, (off_t)n->size)) {
            warn_report("'%s' keeps the size it got", n->filename);
        }
        return false;
    }
    n->size = size;
    return true;
}

/* A block device keeps its size, which has to do. */
static bool file_create(const char *filename, const Dict *opts, Error **errp)
{
    uint64_t size = 0;
    const char *prealloc = dict_get(opts, "preallocation");
    if (!dict_get_size(opts, "size", 1, &size, errp)) {
        return false;
    }
    struct stat st;
    bool is_device = stat(filename, &st) == 0 && S_ISBLK(st.st_mode);
    int fd = open(filename, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_set_errno(errp, errno, "'%s' cannot be created", filename);
    }
    bool ok = true;
    if (!file_lock(fd, filename, false, errp)) {
        ok = false;
    } else if (is_device) {
        ok = (uint64_t)lseek(fd, 0, SEEK_END) >= size ||
             error_set(errp, "the block device '%s' is too small", filename);
    } else {
        ok = ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)size) == 0;
        if (!ok) {
            error_set_errno(errp, errno, "'%s' cannot get that size", filename);
        }
        ok = ok && preallocate(fd, filename, 0, size, prealloc ? prealloc : "off", errp);
    }
    close(fd);
    return ok;
}

static void file_close(BlockNode *n)
{
    FileNode *f = container_of(n, FileNode, node);
    close(f->fd);
    pthread_rwlock_destroy(&f->direct_lock);
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
    return !lock || file_lock(fd, filename, readonly, errp);
}

static void say_open_failed(const char *filename, bool readonly, int err, Error **errp)
{
    bool may_read = (err == EACCES || err == EROFS || err == EPERM) && !readonly &&
                    access(filename, R_OK) == 0;
    if (err == ENOENT) {
        error_set(errp, "image '%s' does not exist; vireo-img create makes one", filename);
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

static bool get_locking(const Dict *opts, bool *lock, Error **errp)
{
    const char *text = dict_get(opts, "locking");
    if (text && strcmp(text, "auto") && !parse_bool(text, lock)) {
        return error_set(errp, "locking=%s: it is auto, on or off", text);
    }
    return true;
}

static bool get_aio(const Dict *opts, BlockNode *n, Error **errp)
{
    const char *text = dict_get(opts, "aio");
    if (!text) {
        return true;
    }
    n->flags.aio = !strcmp(text, "threads") ? AIO_THREADS
                   : !strcmp(text, "io_uring") || !strcmp(text, "native") ? AIO_URING
                                                                          : AIO_AUTO;
    return n->flags.aio != AIO_AUTO ||
           error_set(errp, "aio=%s: it is threads, native or io_uring", text);
}

static int file_ring_fd(BlockNode *n, uint64_t *offset, unsigned *align)
{
    const FileNode *f = container_of(n, FileNode, node);
    (void)offset;
    *align = f->align;
    return n->flags.aio == AIO_THREADS ? -1 : f->fd;
}

/* An image nobody may write is shown readonly, if that was allowed. */
static void adapt_to_permission(BlockNode *n, const char *filename)
{
    if (!n->readonly && n->flags.auto_readonly && access(filename, W_OK) &&
        access(filename, R_OK) == 0) {
        warn_report("'%s' may only be read, and so the guest may (auto-read-only)", filename);
        n->readonly = n->flags.readonly = true;
    }
}

static bool file_open(BlockNode *n, const Dict *opts, Error **errp)
{
    FileNode *f = container_of(n, FileNode, node);
    const char *filename = dict_get(opts, "filename");
    bool lock = !n->flags.no_lock;
    if (!filename) {
        return error_set(errp, "a file node needs filename=");
    }
    if (!get_locking(opts, &lock, errp) || !get_aio(opts, n, errp)) {
        return false;
    }
    adapt_to_permission(n, filename);
    bool *direct = &n->flags.direct;
    int fd = open_image(filename, n->readonly, direct, errp);
    if (fd < 0) {
        return false;
    }
    struct stat st;
    off_t size = 0;
    bool ok = check_open(filename, fd, n->readonly, lock, &st, errp);
    if (ok) {
        size = lseek(fd, 0, SEEK_END);
        ok = size >= 0 || error_set_errno(errp, errno, "the size of '%s'", filename);
    }
    if (!ok) {
        close(fd);
        return false;
    }
    f->align = *direct ? probe_align(fd, (uint64_t)size) : 0;
    if (*direct && !f->align) {
        *direct = false;
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT);
    }
    n->filename = xstrdup(filename);
    n->size = (uint64_t)size;
    n->request_align = f->align;
    f->fd = fd;
    f->locked = lock;
    f->block_device = S_ISBLK(st.st_mode);
    pthread_rwlock_init(&f->direct_lock, NULL);
    return true;
}

/* The lock is the open file's: the old one must let go before the new one can have it. */
static bool file_reopen(BlockNode *n, bool readonly, Error **errp)
{
    FileNode *f = container_of(n, FileNode, node);
    bool direct = n->flags.direct;
    int fd = open_image(n->filename, readonly, &direct, errp);
    if (fd < 0) {
        return false;
    }
    struct stat old, new;
    if (fstat(f->fd, &old) || fstat(fd, &new) || old.st_ino != new.st_ino ||
        old.st_dev != new.st_dev) {
        close(fd);
        return error_set(errp, "image '%s' is another file by now", n->filename);
    }
    if (f->locked) {
        file_unlock(f->fd);
        Error *err = NULL;
        if (!file_lock(fd, n->filename, readonly, errp)) {
            close(fd);
            if (!file_lock(f->fd, n->filename, !readonly, &err)) {
                error_report(err);
            }
            return false;
        }
    }
    bool ok = dup3(fd, f->fd, O_CLOEXEC) >= 0 ||
              error_set_errno(errp, errno, "image '%s' cannot be opened anew", n->filename);
    close(fd);
    return ok;
}

static const BlockOption file_options[] = {
    { "filename", BLOCK_OPT_TEXT, "the file or block device" },
    { "aio", BLOCK_OPT_TEXT, "threads or io_uring" },
    { "locking", BLOCK_OPT_TEXT, "auto, on or off: keep other writers out" },
    BLOCK_OPTION_END,
};

static const BlockOption file_create_options[] = {
    { "size", BLOCK_OPT_SIZE, "of the file" },
    { "preallocation", BLOCK_OPT_TEXT, "off, falloc, full" },
    BLOCK_OPTION_END,
};

static const char *const file_aliases[] = { "host_device", "host_cdrom", NULL };

BLOCK_DRIVER(file) = {
    .name = "file",
    .desc = "a file or a block device of the host",
    .kind = BLOCK_PROTOCOL,
    .size = sizeof(FileNode),
    .options = file_options,
    .create_options = file_create_options,
    .aliases = file_aliases,
    .open = file_open,
    .close = file_close,
    .reopen = file_reopen,
    .ring_fd = file_ring_fd,
    .readv = file_readv,
    .writev = file_writev,
    .flush = file_flush,
    .discard = file_discard,
    .write_zeroes = file_write_zeroes,
    .status = file_status,
    .resize = file_resize,
    .create = file_create,
};
