/* SPDX-License-Identifier: GPL-2.0-or-later
 * A stream over file descriptors, for the back ends that have one: reads as much as the front end
 * takes, stops watching while it takes nothing, writes without waiting. The descriptors are the
 * back end's, non-blocking where they can block.
 */
#ifndef CHARDEV_FD_STREAM_H
#define CHARDEV_FD_STREAM_H

#include "chardev/backend.h"

typedef struct FdStream {
    Chardev *chr;
    int in, out; /* may be the same; -1: none */
    FdWatch *in_watch, *out_watch; /* one watch serves both when in == out */
    bool active, want_write;
    int out_failed; /* errno of the write that ended output; 0: it goes on */
    /* End of input, hangup, or a write that failed: the peer is gone. Never from inside a write.
     * May stop the stream. */
    void (*gone)(Chardev *chr);
    /* Takes protocol bytes out of what was read, in place; returns what is left. May be NULL. */
    size_t (*filter)(Chardev *chr, uint8_t *buf, size_t len);
    /* Before the front end may write again: sends what the back end itself holds; false if some
     * is left. May be NULL. */
    bool (*flush)(Chardev *chr);
    BottomHalf gone_bh;
} FdStream;

/* s->filter and s->flush are set before. */
void fd_stream_start(FdStream *s, Chardev *chr, int in, int out, void (*gone)(Chardev *chr));
/* Forgets the descriptors, closes nothing. Harmless on one that is not started. */
void fd_stream_stop(FdStream *s);
size_t fd_stream_write(FdStream *s, const uint8_t *buf, size_t len);
void fd_stream_accept_input(FdStream *s);

bool fd_set_nonblock(int fd);

#endif
