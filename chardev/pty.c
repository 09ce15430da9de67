/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=pty: a new pseudo terminal; people attach to it with screen, minicom or virsh console.
 * Nobody there: output is dropped. The kernel tells through inotify when somebody opens the
 * terminal's node; where that fails a slow timer looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/fd_stream.h"
#include "util/timer.h"

enum { POLL_PERIOD_NS = 1000 * 1000 * 1000 };

typedef struct PtyChardev {
    Chardev chr;
    FdStream stream;
    int master, inotify;
    FdWatch *watch;
    Timer poll;
    BottomHalf arrived; /* of a peer, noticed by a write */
    char *link; /* path=: a symbolic link to the terminal */
} PtyChardev;

static bool somebody_there(const PtyChardev *s)
{
    struct pollfd p = { .fd = s->master, .events = POLLOUT };
    return poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);
}

static void wait_for_peer(PtyChardev *s)
{
    if (s->inotify < 0) {
        timer_arm(&s->poll, host_clock_ns() + POLL_PERIOD_NS);
    }
}

static void pty_gone(Chardev *chr)
{
    PtyChardev *s = container_of(chr, PtyChardev, chr);
    fd_stream_stop(&s->stream);
    if (chr->open) {
        chr_event(chr, CHAR_CLOSED);
    }
    wait_for_peer(s);
}

/* Opened or closed: look which. */
static void pty_check(PtyChardev *s)
{
    bool there = somebody_there(s);
    if (there && !s->chr.open) {
        timer_cancel(&s->poll);
        fd_stream_start(&s->stream, &s->chr, s->master, s->master, pty_gone);
        chr_event(&s->chr, CHAR_OPENED);
        fd_stream_accept_input(&s->stream);
    } else if (!there && s->chr.open) {
        /* What it typed before it left is read first: the stream ends with EIO. */
        int unread = 0;
        struct pollfd p = { .fd = s->master, .events = POLLIN };
        if (poll(&p, 1, 0) > 0 && (p.revents & POLLIN)) {
            unread = 1;
        }
        if (!unread) {
            pty_gone(&s->chr);
        }
    } else if (!there) {
        wait_for_peer(s);
    }
}

static void pty_notified(void *opaque, unsigned events)
{
    PtyChardev *s = opaque;
    char buf[1024];
    (void)events;
    while (read(s->inotify, buf, sizeof(buf)) > 0) {
        /* which event does not matter */
    }
    pty_check(s);
}

static void pty_poll(void *opaque)
{
    pty_check(opaque);
}

static void pty_arrived(void *opaque)
{
    PtyChardev *s = opaque;
    pty_check(s);
    chr_writable(&s->chr);
}

static bool pty_open(Chardev *chr, const Dict *opts, Error **errp)
{
    PtyChardev *s = container_of(chr, PtyChardev, chr);
    const char *link = dict_get(opts, "path");
    struct termios t;
    char name[64];
    int slave;

    s->inotify = -1;
    timer_init_on(&s->poll, TIMER_HOST, pty_poll, s);
    bh_init(&s->arrived, pty_arrived, s);
    if (openpty(&s->master, &slave, NULL, NULL, NULL) < 0) {
        s->master = -1;
        return error_set_errno(errp, errno, "cannot get a pseudo terminal");
    }
    /* Raw, or the terminal would echo the guest's output back as input. */
    tcgetattr(slave, &t);
    cfmakeraw(&t);
    tcsetattr(slave, TCSANOW, &t);
    int rc = ttyname_r(slave, name, sizeof(name));
    close(slave);
    if (rc || !fd_set_nonblock(s->master)) {
        return error_set_errno(errp, rc ? rc : errno, "cannot use a new pseudo terminal");
    }
    fcntl(s->master, F_SETFD, FD_CLOEXEC);
    if (link) {
        if (symlink(name, link) < 0) {
            return error_set_errno(errp, errno, "cannot make '%s' a link to %s", link, name);
        }
        s->link = xstrdup(link);
    }
    s->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (s->inotify >= 0 && inotify_add_watch(s->inotify, name, IN_OPEN | IN_CLOSE) < 0) {
        close(s->inotify);
        s->inotify = -1;
    }
    if (s->inotify >= 0) {
        s->watch = fd_watch_new(s->inotify, FD_READ, pty_notified, s, "pty");
    }
    wait_for_peer(s);
    chr_set_filename(chr, "pty:%s", name);
    printf("char device redirected to %s (label %s)\n", name, chr->id ? chr->id : "");
    fflush(stdout);
    return true;
}

static void pty_close(Chardev *chr)
{
    PtyChardev *s = container_of(chr, PtyChardev, chr);
    fd_stream_stop(&s->stream);
    fd_watch_free(s->watch);
    timer_cancel(&s->poll);
    bh_cancel(&s->arrived);
    if (s->inotify >= 0) {
        close(s->inotify);
    }
    if (s->master >= 0) {
        close(s->master);
    }
    if (s->link) {
        unlink(s->link);
        free(s->link);
    }
}

static size_t pty_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    PtyChardev *s = container_of(chr, PtyChardev, chr);
    if (!chr->open && somebody_there(s)) {
        /* The news that it was opened is still on its way here. What is written after the
         * opening must not be lost; told later, for the caller may be deep inside a device. */
        bh_schedule(&s->arrived);
        ssize_t n = write(s->master, buf, len);
        return MAX(n, 0);
    }
    return fd_stream_write(&s->stream, buf, len);
}

static void pty_accept_input(Chardev *chr)
{
    fd_stream_accept_input(&container_of(chr, PtyChardev, chr)->stream);
}

static const char *const pty_options[] = { "path", NULL };

CHAR_BACKEND(pty) = {
    .name = "pty",
    .desc = "a new pseudo terminal; path= makes a link to it",
    .options = pty_options,
    .size = sizeof(PtyChardev),
    .open = pty_open,
    .close = pty_close,
    .write = pty_write,
    .accept_input = pty_accept_input,
    .starts_closed = true,
};
