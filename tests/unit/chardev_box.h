/* SPDX-License-Identifier: GPL-2.0-or-later
 * For tests of character devices: a front end that remembers, devices made from text, a directory
 * of the test's own.
 */
#ifndef TESTS_UNIT_CHARDEV_BOX_H
#define TESTS_UNIT_CHARDEV_BOX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "chardev/chardev.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

static char dir[] = "/tmp/vireo-chardev-XXXXXX";

/* A front end that remembers. */
typedef struct Port {
    CharFrontend fe;
    size_t room, len;
    char buf[256 * 1024];
    unsigned opened, closed, breaks, focus_in, focus_out, writables;
} Port;

static inline size_t port_can_receive(void *opaque)
{
    Port *p = opaque;
    return p->room - p->len;
}

static inline void port_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Port *p = opaque;
    assert_true(len <= p->room - p->len);
    memcpy(p->buf + p->len, buf, len);
    p->len += len;
}

static inline void port_event(void *opaque, CharEvent event)
{
    Port *p = opaque;
    unsigned *const counters[] = { &p->opened, &p->closed, &p->breaks, &p->focus_in,
                                   &p->focus_out };
    (*counters[event])++;
}

static inline void port_writable(void *opaque)
{
    ((Port *)opaque)->writables++;
}

static inline Port *port_new(Chardev *chr)
{
    Port *p = calloc(1, sizeof(*p));
    Error *err = NULL;
    p->room = sizeof(p->buf);
    p->fe = (CharFrontend){ .can_receive = port_can_receive, .receive = port_receive,
                            .event = port_event, .opaque = p };
    assert_true(char_attach(&p->fe, chr, &err));
    return p;
}

static inline void port_free(Port *p)
{
    char_detach(&p->fe);
    free(p);
}

static inline void assert_got(Port *p, const char *want)
{
    assert_string_equal((p->buf[p->len] = 0, p->buf), want);
    p->len = 0;
}

/* Runs the loop until cond, at most two seconds. */
#define PUMP(cond)                                                                                 \
    for (uint64_t end_ = host_clock_ns() + 2000000000ull;                                          \
         !(cond) && host_clock_ns() < end_;) {                                                     \
        main_loop_step(20000000);                                                                  \
    }

static inline void pump_ms(unsigned ms)
{
    for (uint64_t end = host_clock_ns() + ms * 1000000ull; host_clock_ns() < end;) {
        main_loop_step(5000000);
    }
}

static inline Chardev *make(const char *text)
{
    Error *err = NULL;
    Dict *d = dict_parse(text, "backend", &err);
    Chardev *chr = d ? chardev_create(d, &err) : NULL;
    if (!chr) {
        print_message("'%s': %s\n", text, error_text(err));
    }
    assert_non_null(chr);
    dict_free(d);
    return chr;
}

static inline Chardev *makef(const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return make(text);
}

static inline const char *path_in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned n;
    char *p = paths[n++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
    return p;
}

static inline void find_filename(Chardev *chr, const char *id, const char *filename, void *opaque)
{
    void **want = opaque;
    (void)id;
    if (chr == want[0]) {
        want[1] = (void *)filename;
    }
}

static inline const char *filename_of(Chardev *chr)
{
    void *want[2] = { chr, "" };
    chardevs_each(find_filename, want);
    return want[1];
}

static inline int connect_unix(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void expect_error(const char *text, const char *want)
{
    Error *err = NULL;
    Dict *d = dict_parse(text, "backend", &err);
    Chardev *chr = d ? chardev_create(d, &err) : NULL;
    dict_free(d);
    if (chr || !strstr(error_text(err), want)) {
        print_message("'%s': want '%s', got '%s'\n", text, want, chr ? "success" : error_text(err));
    }
    assert_null(chr);
    assert_non_null(strstr(error_text(err), want));
    error_free(err);
}

static inline int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    vm_lock();
    return !mkdtemp(dir) || !main_loop_init(&err);
}

static inline int teardown(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

#endif
