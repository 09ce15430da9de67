/* SPDX-License-Identifier: GPL-2.0-or-later
 * The main loop: one epoll set, one eventfd for whatever other threads want, timers by the
 * timeout of the wait. With nothing to do it sleeps without a limit.
 *
 * A vCPU that arms a timer earlier than the loop's wake-up does not wake the loop for that: it
 * sets timer_fd, and the loop sleeps on until then.
 *
 * A round may nest (main_loop_step from a callback that waits for something), so a freed watch
 * stays allocated until the outermost round is over.
 */
#include "util/main_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/loop_stats.h"
#include "util/timer.h"
#include "util/vm_lock.h"

struct FdWatch {
    int fd, own_fd; /* own_fd: a duplicate, for a second watch on one fd; else -1 */
    unsigned events;
    FdFn *fn;
    void *opaque;
    const char *name;
    bool dead;
    bool always; /* a regular file: epoll refuses it, it never blocks */
    List node;   /* on always_ready or dead_watches */
};

typedef struct Post {
    MainLoopFn *fn;
    void *opaque;
    struct Post *next;
} Post;

static int epoll_fd = -1, wake_fd = -1, timer_fd = -1;
static unsigned depth; /* of nested rounds; vm_lock */
static List always_ready = LIST_INIT(always_ready);
static List dead_watches = LIST_INIT(dead_watches);
static List halves = LIST_INIT(halves); /* scheduled bottom halves; vm_lock */

static pthread_mutex_t post_mutex = PTHREAD_MUTEX_INITIALIZER;
static Post *posts, **posts_end = &posts; /* post_mutex */

/* The loop sleeps until this time of the host clock; 0: it is awake. Written by the loop before
 * it looks for work a last time, so whoever adds work later sees it and wakes it. */
static uint64_t sleep_until; /* atomic */
static bool quit;            /* atomic */
static int quit_status;      /* valid once quit is set */

bool main_loop_init(Error **errp)
{
    if (epoll_fd >= 0) {
        return true;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event wake = { .events = EPOLLIN, .data.ptr = &wake_fd };
    struct epoll_event timer = { .events = EPOLLIN, .data.ptr = &timer_fd };
    if (epoll_fd < 0 || wake_fd < 0 || timer_fd < 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &wake) ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &timer)) {
        return error_set_errno(errp, errno, "cannot set up the event loop");
    }
    return true;
}

void main_loop_wake(uint64_t host_deadline_ns)
{
    uint64_t until = __atomic_load_n(&sleep_until, __ATOMIC_SEQ_CST);
    do {
        if (until <= host_deadline_ns) {
            return;
        }
    } while (!__atomic_compare_exchange_n(&sleep_until, &until, host_deadline_ns, false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if (host_deadline_ns) {
        assert(vm_locked()); /* or two of these could set timer_fd in the wrong order */
        struct itimerspec at = { .it_value = { host_deadline_ns / 1000000000,
                                               host_deadline_ns % 1000000000 } };
        timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    } else {
        uint64_t one = 1;
        while (write(wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
        }
    }
}

/* ---- file descriptors ---- */

static uint32_t epoll_events(unsigned events)
{
    return (events & FD_READ ? EPOLLIN : 0) | (events & FD_WRITE ? EPOLLOUT : 0) |
           (events & FD_HANGUP ? EPOLLRDHUP : 0);
}

static int watched_fd(const FdWatch *w)
{
    return w->own_fd >= 0 ? w->own_fd : w->fd;
}

/* A watch that waits for nothing is not in the set: a hang-up cannot be masked and would be
 * reported for ever. */
static void poll_add(FdWatch *w)
{
    struct epoll_event ev = { .events = epoll_events(w->events), .data.ptr = w };
    int err = epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watched_fd(w), &ev) ? errno : 0;
    if (err == EEXIST) {
        w->own_fd = fcntl(w->fd, F_DUPFD_CLOEXEC, 3);
        err = epoll_ctl(epoll_fd, EPOLL_CTL_ADD, w->own_fd, &ev) ? errno : 0;
    }
    if (err == EPERM) {
        w->always = true;
        list_insert(&always_ready, &w->node);
        main_loop_wake(0);
    } else {
        assert(!err);
    }
}

FdWatch *fd_watch_new(int fd, unsigned events, FdFn *fn, void *opaque, const char *name)
{
    FdWatch *w = xcalloc(1, sizeof(*w));
    *w = (FdWatch){ .fd = fd, .own_fd = -1, .events = events, .fn = fn, .opaque = opaque,
                    .name = name };
    list_init(&w->node);
    if (events) {
        poll_add(w);
    }
    return w;
}

void fd_watch_set(FdWatch *w, unsigned events)
{
    unsigned old = w->events;
    w->events = events;
    if (old == events) {
        return;
    }
    if (w->always) {
        main_loop_wake(0);
    } else if (!old) {
        poll_add(w);
    } else {
        struct epoll_event ev = { .events = epoll_events(events), .data.ptr = w };
        epoll_ctl(epoll_fd, events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, watched_fd(w), &ev);
    }
}

void fd_watch_free(FdWatch *w)
{
    if (!w) {
        return;
    }
    if (!w->always && w->events) {
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watched_fd(w), NULL);
    }
    if (w->own_fd >= 0) {
        close(w->own_fd);
    }
    w->dead = true;
    list_remove(&w->node);
    if (depth) {
        list_insert(&dead_watches, &w->node);
    } else {
        free(w);
    }
}

static void call_watch(FdWatch *w, unsigned events)
{
    events &= w->events;
    if (!w->dead && events) {
        uint64_t begin = host_clock_ns();
        const char *name = w->name; /* w may go in its callback */
        w->fn(w->opaque, events);
        loop_stats_count(name, NULL, host_clock_ns() - begin);
    }
}

static void dispatch_epoll(const struct epoll_event *ev, int nr)
{
    for (int i = 0; i < nr; i++) {
        FdWatch *w = ev[i].data.ptr;
        uint32_t e = ev[i].events;
        if (ev[i].data.ptr == &wake_fd || ev[i].data.ptr == &timer_fd) {
            uint64_t count;
            while (read(*(int *)ev[i].data.ptr, &count, sizeof(count)) < 0 && errno == EINTR) {
            }
            continue;
        }
        /* An error or a hang-up shows to whoever reads or writes. */
        bool bad = e & (EPOLLERR | EPOLLHUP);
        call_watch(w, (e & EPOLLIN || bad ? FD_READ : 0) | (e & EPOLLOUT || bad ? FD_WRITE : 0) |
                          (e & EPOLLRDHUP || bad ? FD_HANGUP : 0));
    }
}

static bool always_ready_now(void)
{
    list_for_each(pos, &always_ready) {
        if (container_of(pos, FdWatch, node)->events & (FD_READ | FD_WRITE)) {
            return true;
        }
    }
    return false;
}

/* One watch a round at the front of the list, then to its end: callbacks may change the list. */
static void dispatch_always_ready(void)
{
    size_t nr = 0;
    list_for_each(pos, &always_ready) {
        nr++;
    }
    for (; nr && !list_empty(&always_ready); nr--) {
        FdWatch *w = container_of(always_ready.next, FdWatch, node);
        list_remove(&w->node);
        list_insert(&always_ready, &w->node);
        call_watch(w, FD_READ | FD_WRITE);
    }
}

/* ---- posted functions and bottom halves ---- */

void main_loop_post(MainLoopFn *fn, void *opaque)
{
    Post *p = xmalloc(sizeof(*p));
    *p = (Post){ fn, opaque, NULL };
    pthread_mutex_lock(&post_mutex);
    __atomic_store_n(posts_end, p, __ATOMIC_SEQ_CST);
    posts_end = &p->next;
    pthread_mutex_unlock(&post_mutex);
    main_loop_wake(0);
}

static void run_posts(void)
{
    pthread_mutex_lock(&post_mutex);
    Post *p = posts, *stop = NULL;
    posts = NULL;
    posts_end = &posts;
    pthread_mutex_unlock(&post_mutex);
    /* One by one off the front, so that a nested round goes on with the rest in order. */
    static Post *running, **running_end = &running; /* vm_lock */
    if (p) {
        *running_end = p;
        for (stop = p; stop->next; stop = stop->next) {
        }
        running_end = &stop->next;
    }
    while (running) {
        Post now = *running;
        free(running);
        running = now.next;
        if (!running) {
            running_end = &running;
        }
        main_loop_call(now.fn, now.opaque, NULL);
    }
}

void bh_init(BottomHalf *bh, MainLoopFn *fn, void *opaque)
{
    *bh = (BottomHalf){ .fn = fn, .opaque = opaque };
    list_init(&bh->node);
}

void bh_schedule(BottomHalf *bh)
{
    assert(vm_locked());
    if (!bh->scheduled) {
        bh->scheduled = true;
        list_insert(&halves, &bh->node);
        main_loop_wake(0);
    }
}

void bh_cancel(BottomHalf *bh)
{
    bh->scheduled = false;
    if (bh->node.next) {
        list_remove(&bh->node);
    }
}

void bhs_cancel_within(const void *lo, const void *hi)
{
    list_for_each_safe(pos, &halves) {
        if ((const void *)pos >= lo && (const void *)pos < hi) {
            bh_cancel(container_of(pos, BottomHalf, node));
        }
    }
}

/* Those scheduled now; what they schedule waits for the next round. */
static void run_halves(void)
{
    size_t nr = 0;
    list_for_each(pos, &halves) {
        nr++;
    }
    for (; nr && !list_empty(&halves); nr--) {
        BottomHalf *bh = container_of(halves.next, BottomHalf, node);
        bh_cancel(bh);
        main_loop_call(bh->fn, bh->opaque, NULL);
    }
}

void main_loop_call(MainLoopFn *fn, void *opaque, const char *name)
{
    uint64_t begin = host_clock_ns();
    fn(opaque);
    loop_stats_count(name, fn, host_clock_ns() - begin);
}

/* ---- rounds ---- */

static bool work_waits(void)
{
    return __atomic_load_n(&posts, __ATOMIC_SEQ_CST) || !list_empty(&halves) ||
           always_ready_now() || __atomic_load_n(&quit, __ATOMIC_SEQ_CST);
}

static int wait_events(struct epoll_event *ev, int room, uint64_t until)
{
    uint64_t now = until && until != UINT64_MAX ? host_clock_ns() : 0;
    uint64_t ns = until > now ? until - now : 0;
    struct timespec ts = { ns / 1000000000, ns % 1000000000 };
    static bool no_pwait2;
    if (!no_pwait2) {
        int nr = epoll_pwait2(epoll_fd, ev, room, until == UINT64_MAX ? NULL : &ts, NULL);
        if (nr >= 0 || errno != ENOSYS) {
            return nr;
        }
        no_pwait2 = true; /* Linux before 5.11: milliseconds, rounded up */
    }
    int ms = until == UINT64_MAX ? -1 : (int)MIN((ns + 999999) / 1000000, 86400000ull);
    return epoll_wait(epoll_fd, ev, room, ms);
}

void main_loop_step(uint64_t timeout_ns)
{
    assert(vm_locked());
    depth++;
    struct epoll_event ev[64];
    uint64_t until = 0, limit = UINT64_MAX;
    if (timeout_ns != UINT64_MAX && timeout_ns) {
        limit = host_clock_ns() + timeout_ns;
    }
    if (timeout_ns) {
        until = timers_host_deadline();
        until = MIN(until, limit);
        __atomic_store_n(&sleep_until, until, __ATOMIC_SEQ_CST);
        if (until && work_waits()) {
            until = 0;
        }
    }
    loop_stats_round(until != 0);
    vm_unlock();
    int nr = wait_events(ev, ARRAY_SIZE(ev), until);
    __atomic_store_n(&sleep_until, 0, __ATOMIC_SEQ_CST);
    vm_lock();
    dispatch_epoll(ev, nr);
    dispatch_always_ready();
    timers_run();
    run_posts();
    run_halves();
    if (--depth == 0) {
        list_for_each_safe(pos, &dead_watches) {
            list_remove(pos);
            free(container_of(pos, FdWatch, node));
        }
    }
}

int main_loop_run(void)
{
    vm_lock();
    while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST)) {
        main_loop_step(UINT64_MAX);
    }
    __atomic_store_n(&quit, false, __ATOMIC_SEQ_CST);
    vm_unlock();
    return quit_status;
}

void main_loop_quit(int status)
{
    quit_status = status;
    __atomic_store_n(&quit, true, __ATOMIC_SEQ_CST);
    main_loop_wake(0);
}
