/* SPDX-License-Identifier: GPL-2.0-or-later
 * Copying images with several threads: what is a hole stays one, zeroes become holes, and where the
 * target wants its parts in order they are written in order while others are being read.
 */
#ifndef TOOLS_COPY_H
#define TOOLS_COPY_H

#include "tools/img.h"

typedef struct Copy {
    BlockNode **sources; /* one behind the other */
    size_t nr_sources;
    uint64_t skip, size;    /* from that byte of the sources on; bytes to copy */
    BlockNode *target;      /* at least size bytes */
    const BlockNode *above; /* only what images before this one hold; NULL: everything */
    BlockNode *behind; /* what the target reads as now: only differences are written; NULL: no */
    bool target_is_zero;
    bool compress;   /* whole clusters of the target, compressed */
    bool ordered;    /* the target gets its parts one after the other */
    bool salvage;    /* what cannot be read is zeroes */
    uint64_t sparse; /* so many zeroes in a row are not written; 0: all bytes are */
    bool offload;    /* let the host's file system copy, where both are raw files */
    uint64_t rate;   /* bytes of data a second; 0: as fast as it goes */
    unsigned workers;
    ImgProgress *progress;
    uint64_t unreadable; /* result of salvage: bytes */
} Copy;

bool copy_run(Copy *c, Error **errp) MUST_USE;
/* Are all bytes 0? */
bool copy_is_zero(const void *buf, size_t len);

#endif
