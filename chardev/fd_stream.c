/* SPDX-License-Identifier: GPL-2.0-or-later
 * Streams over file descriptors. Input is taken only while the front end has room: its
 * accept_input call opens the tap again, so a peer that sends too much is held by its own kernel
 * buffer. A descriptor that hangs up while nobody reads stays unwatched until then.
 */
#include "chardev/fd_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { READ_CHUNK = 4096 };

bool fd_set_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static void update_watches(FdStream *s)
{
    if (!s->active) {
        return;
    }
    bool read = s->in >= 0 && chr_can_receive(s->chr) > 0;
    unsigned in_events = read ? FD_READ | FD_HANGUP : 0;
    unsigned out_events = s->want_write ? FD_WRITE : 0;

    if (s->in_watch && s->in == s->out) {
        fd_watch_set(s->in_watch, in_events | out_events);
        return;
    }
    if (s->in_watch) {
        fd_watch_set(s->in_watch, in_events);
    }
    if (s->out_watch) {
        fd_watch_set(s->out_watch, out_events);
    }
}

static void read_some(FdStream *s)
{
    uint8_t buf[READ_CHUNK];
    size_t room = s->in >= 0 ? chr_can_receive(s->chr) : 0;
    if (!room) {
        return;
    }
    ssize_t n = read(s->in, buf, MIN(room, sizeof(buf)));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) { /* EIO on a pty means that its last user closed it */
        s->gone(s->chr);
        return;
    }
    size_t len = s->filter ? s->filter(s->chr, buf, n) : (size_t)n;
    chr_receive(s->chr, buf, len);
}

static void fd_ready(void *opaque, unsigned events)
{
    FdStream *s = opaque;
    if ((events & FD_WRITE) && s->want_write) {
        s->want_write = false;
        if (!s->flush || s->flush(s->chr)) {
            chr_writable(s->chr);
        }
    }
    if (s->active && (events & (FD_READ | FD_HANGUP))) {
        read_some(s);
    }
    update_watches(s);
}

static void report_gone(void *opaque)
{
    FdStream *s = opaque;
    if (s->active) {
        s->gone(s->chr);
    }
}

void fd_stream_start(FdStream *s, Chardev *chr, int in, int out, void (*gone)(Chardev *chr))
{
    size_t (*filter)(Chardev *, uint8_t *, size_t) = s->filter;
    bool (*flush)(Chardev *) = s->flush;
    *s = (FdStream){ .chr = chr, .in = in, .out = out, .gone = gone, .filter = filter,
                     .flush = flush, .active = true };
    bh_init(&s->gone_bh, report_gone, s);
    if (in >= 0) {
        s->in_watch = fd_watch_new(in, 0, fd_ready, s, chr->be->name);
    }
    if (out >= 0 && out != in) {
        s->out_watch = fd_watch_new(out, 0, fd_ready, s, chr->be->name);
    }
    update_watches(s);
}

void fd_stream_stop(FdStream *s)
{
    if (!s->active) {
        return;
    }
    s->active = false;
    bh_cancel(&s->gone_bh);
    fd_watch_free(s->in_watch);
    fd_watch_free(s->out_watch);
    s->in_watch = s->out_watch = NULL;
    s->in = s->out = -1;
    s->want_write = false;
}

size_t fd_stream_write(FdStream *s, const uint8_t *buf, size_t len)
{
    size_t done = 0;
    if (!s->active || s->out < 0 || s->out_failed) {
        return len;
    }
    while (done < len) {
        ssize_t n = write(s->out, buf + done, len - done);
        if (n > 0) {
            done += n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            s->want_write = true;
            update_watches(s);
            return done;
        } else {
            /* Told later: the caller may be deep inside a device. */
            s->out_failed = errno;
            bh_schedule(&s->gone_bh);
            return len;
        }
    }
    return len;
}

void fd_stream_accept_input(FdStream *s)
{
    update_watches(s);
}
