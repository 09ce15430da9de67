/* SPDX-License-Identifier: GPL-2.0-or-later
 * libslirp in the main loop. The library wants to be asked for its descriptors before each wait
 * and told after it. Instead of doing so in each round, a bottom half asks whenever something
 * happened to it (an event on a socket, a timer) and adjusts the watches; as long as nothing
 * happens nothing runs. After a packet of the guest the thread that brought it asks at once, so that
 * data that only flows does not wake the main loop, on a busy host a rival for the vCPU's core.
 */
#include "net/user_internal.h"

#include "util/alloc.h"
#include "util/log.h"

enum { IDLE_MS = 1000, FEW_FDS = 32 };

/* ---- descriptors ---- */

static UserFd *fd_of(List *pos)
{
    return container_of(pos, UserFd, node);
}

static void fd_ready(void *opaque, unsigned events)
{
    UserFd *f = opaque;
    f->ready |= events;
    user_poll_kick(f->u);
}

static void fd_drop(UserFd *f)
{
    f->u->by_fd[f->fd] = NULL;
    fd_watch_free(f->watch);
    list_remove(&f->node);
    f->u->nr_fds--;
    free(f);
}

static UserFd *fd_find(UserNet *u, int fd)
{
    return fd >= 0 && (size_t)fd < u->nr_by_fd ? u->by_fd[fd] : NULL;
}

static UserFd *fd_new(UserNet *u, int fd)
{
    if ((size_t)fd >= u->nr_by_fd) {
        size_t nr = ROUND_UP((size_t)fd + 1, 64);
        u->by_fd = xrealloc(u->by_fd, nr * sizeof(*u->by_fd));
        memset(u->by_fd + u->nr_by_fd, 0, (nr - u->nr_by_fd) * sizeof(*u->by_fd));
        u->nr_by_fd = nr;
    }
    UserFd *f = xcalloc(1, sizeof(*f));
    f->u = u;
    f->fd = fd;
    f->watch = fd_watch_new(fd, 0, fd_ready, f, "user network");
    list_insert(&u->fds, &f->node);
    u->nr_fds++;
    u->by_fd[fd] = f;
    return f;
}

/* The answer is handed to get_revents() later: the descriptor itself will do. */
static int add_poll(int fd, int events, void *opaque)
{
    UserNet *u = opaque;
    unsigned wanted =
        (events & SLIRP_POLL_IN ? FD_READ : 0) | (events & SLIRP_POLL_OUT ? FD_WRITE : 0);
    UserFd *f = fd_find(u, fd);
    f = f ? f : fd_new(u, fd);
    f->events = wanted;
    f->wanted = true;
    return fd;
}

static int get_revents(int fd, void *opaque)
{
    UserFd *f = fd_find(opaque, fd);
    if (!f) {
        return 0;
    }
    unsigned ready = f->ready & f->events;
    return (ready & FD_READ ? SLIRP_POLL_IN : 0) | (ready & FD_WRITE ? SLIRP_POLL_OUT : 0);
}

static void ask_for_descriptors(UserNet *u)
{
    uint32_t wait_ms = UINT32_MAX;
    list_for_each(pos, &u->fds) {
        fd_of(pos)->wanted = false;
        fd_of(pos)->ready = 0;
    }
    slirp_pollfds_fill(u->slirp, &wait_ms, add_poll, u);
    list_for_each_safe(pos, &u->fds) {
        UserFd *f = fd_of(pos);
        if (!f->wanted) {
            fd_drop(f);
        } else {
            fd_watch_set(f->watch, f->events);
        }
    }
    /* It never says more than a second; without a socket there is nothing to wake up for. */
    if (wait_ms >= IDLE_MS && list_empty(&u->fds)) {
        timer_cancel(&u->timeout);
        return;
    }
    /* A guest that sends all the time must not push the library's timers ahead of it. */
    uint64_t until = guest_clock_ns() + (wait_ms ? wait_ms : 1) * 1000000ull;
    if (!timer_armed(&u->timeout) || until < u->timeout.deadline) {
        timer_arm(&u->timeout, until);
    }
}

void user_enter(UserNet *u)
{
    u->entered++;
}

void user_leave(UserNet *u)
{
    if (--u->entered == 0) {
        user_merge_flush(u);
    }
}

static void poll_round(void *opaque)
{
    UserNet *u = opaque;
    timer_cancel(&u->timeout);
    user_enter(u);
    u->in_slirp = true;
    slirp_pollfds_poll(u->slirp, 0, get_revents, u);
    u->in_slirp = false;
    user_leave(u);
    ask_for_descriptors(u);
    user_guestfwds_notify(u);
    net_flush(&u->nc);
}

void user_poll_kick(UserNet *u)
{
    bh_schedule(&u->bh);
}

void user_poll_sent(UserNet *u)
{
    if (u->bh.scheduled || u->nr_fds > FEW_FDS || !list_empty(&u->guestfwds)) {
        user_poll_kick(u);
    } else {
        ask_for_descriptors(u);
    }
}

static void timed_out(void *opaque)
{
    user_poll_kick(opaque);
}

void user_poll_init(UserNet *u)
{
    list_init(&u->fds);
    bh_init(&u->bh, poll_round, u);
    timer_init(&u->timeout, timed_out, u);
}

void user_poll_fini(UserNet *u)
{
    bh_cancel(&u->bh);
    timer_cancel(&u->timeout);
    list_for_each_safe(pos, &u->fds) {
        fd_drop(fd_of(pos));
    }
    free(u->by_fd);
}

/* ---- what libslirp calls ---- */

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
    UserNet *u = opaque;
    user_merge_send(u, buf, len);
    return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
    (void)opaque;
    log_guest("user network: %s", msg);
}

static int64_t clock_now(void *opaque)
{
    (void)opaque;
    return (int64_t)guest_clock_ns();
}

typedef struct SlirpTimer {
    Timer timer;
    SlirpTimerCb fn;
    void *fn_opaque;
    UserNet *u;
} SlirpTimer;

static void slirp_timer_fire(void *opaque)
{
    SlirpTimer *t = opaque;
    user_enter(t->u);
    t->u->in_slirp = true;
    t->fn(t->fn_opaque);
    t->u->in_slirp = false;
    user_leave(t->u);
    user_poll_kick(t->u);
}

static void *timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
    SlirpTimer *t = xcalloc(1, sizeof(*t));
    t->fn = fn;
    t->fn_opaque = fn_opaque;
    t->u = opaque;
    timer_init(&t->timer, slirp_timer_fire, t);
    return t;
}

static void timer_free(void *timer, void *opaque)
{
    SlirpTimer *t = timer;
    (void)opaque;
    timer_cancel(&t->timer);
    free(t);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    SlirpTimer *t = timer;
    (void)opaque;
    timer_arm(&t->timer, (uint64_t)expire_ms * 1000000);
}

static void register_fd(int fd, void *opaque)
{
    (void)fd;
    user_poll_kick(opaque);
}

/* It is about to be closed, and its number to be used again. */
static void unregister_fd(int fd, void *opaque)
{
    UserFd *f = fd_find(opaque, fd);
    if (f) {
        fd_drop(f);
    }
}

static void notify(void *opaque)
{
    user_poll_kick(opaque);
}

const SlirpCb user_slirp_callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_now,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = register_fd,
    .unregister_poll_fd = unregister_fd,
    .notify = notify,
};
