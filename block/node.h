/* SPDX-License-Identifier: GPL-2.0-or-later
 * Block nodes: what a drive is made of. A protocol node (file) holds bytes, a filter (overlay)
 * changes what lies below; formats come between them. Drivers are plain blocking code, called by
 * worker threads, several at once; what needs order takes its node's lock.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include <pthread.h>
#include <sys/uio.h>

#include "util/error.h"

typedef struct BlockNode BlockNode;

/* All return 0 or an errno. Offsets and lengths are bytes inside [0, size). */
typedef struct BlockDriver {
    const char *name;
    int (*readv)(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
    int (*writev)(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
    int (*flush)(BlockNode *n); /* what was written before is on stable storage */
    int (*discard)(BlockNode *n, uint64_t offset, uint64_t len); /* contents become undefined */
    int (*write_zeroes)(BlockNode *n, uint64_t offset, uint64_t len);
    void (*close)(BlockNode *n); /* and frees n */
} BlockDriver;

struct BlockNode {
    const BlockDriver *driver;
    uint64_t size;
    bool readonly;
    char *filename;
    char *store; /* where written data goes if that is not filename; NULL else */
};

/* A file or host block device, locked against other writers (or readers) if lock. *direct: past the host's page cache, if it goes there; false
 * afterwards if it does not. NULL with *errp: one line that says what and what to do. */
BlockNode *block_file_open(const char *filename, bool readonly, bool lock, bool *direct,
                           Error **errp);
/* Writes go to an unnamed temporary file, base (taken) is never changed. */
BlockNode *block_overlay_open(BlockNode *base, Error **errp);
void block_close(BlockNode *n); /* NULL allowed */

/* The part [skip, skip+len) of src, for splitting requests; dst has room for niov entries. Returns
 * how many were filled. */
int iov_slice(struct iovec *dst, const struct iovec *src, int niov, uint64_t skip, uint64_t len);
uint64_t iov_total(const struct iovec *iov, int niov);

#endif
