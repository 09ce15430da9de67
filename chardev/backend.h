/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a kind of character device implements. Only files in chardev/ (and a UI's text console,
 * through vc.h) include this; users of a stream include chardev.h. Main loop, vm_lock held.
 */
#ifndef CHARDEV_BACKEND_H
#define CHARDEV_BACKEND_H

#include "chardev/byte_queue.h"
#include "chardev/chardev.h"
#include "util/main_loop.h"

typedef struct CharBackend {
    const char *name, *desc;
    const char *const *aliases; /* other names backend= takes, NULL-terminated; may be NULL */
    const char *const *options; /* keys open() reads, NULL-terminated; may be NULL */
    size_t size;                /* of its struct, which starts with a Chardev */
    /* Sets chr->filename; on failure close() cleans up. */
    bool (*open)(Chardev *chr, const Dict *opts, Error **errp);
    void (*close)(Chardev *chr); /* also after a failed open; may be NULL */
    /* Takes what it can without waiting. If that is less than len it calls chr_writable() once
     * there is room again. Bytes nobody will ever read are taken and dropped. */
    size_t (*write)(Chardev *chr, const uint8_t *buf, size_t len);
    void (*accept_input)(Chardev *chr); /* chr_can_receive() may have grown; may be NULL */
    void (*set_line)(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                     unsigned stop_bits);           /* may be NULL */
    void (*set_break)(Chardev *chr, bool on);       /* may be NULL */
    /* The multiplexer, which has several front ends; NULL for all others. */
    void (*attached)(Chardev *chr, CharFrontend *fe);
    void (*detached)(Chardev *chr, CharFrontend *fe);
    bool starts_closed; /* a peer comes later: open() does not imply CHAR_OPENED */
    List node;
} CharBackend;

#define CHAR_BACKEND(sym)                                                                          \
    extern CharBackend char_backend_##sym;                                                         \
    static void __attribute__((constructor)) register_char_backend_##sym(void)                     \
    {                                                                                              \
        char_backend_register(&char_backend_##sym);                                                \
    }                                                                                              \
    CharBackend char_backend_##sym

struct Chardev {
    const CharBackend *be;
    char *id;
    char *filename; /* as info chardev shows it */
    bool open;      /* has a peer */
    List frontends; /* CharFrontend.node */
    ByteQueue queue; /* of char_write_all: goes out before anything else */
    bool stalled;    /* the back end took less than it was given */
    bool internal;   /* below a mux: goes with it, takes no other front end */
    bool closing;    /* being deleted: its front ends leave one by one */
    int log_fd;      /* logfile=; -1: none */
    BottomHalf writable_bh;
    List node;
};

void char_backend_register(CharBackend *be);

/* What a back end tells its front end. */
size_t chr_can_receive(Chardev *chr);
void chr_receive(Chardev *chr, const uint8_t *buf, size_t len); /* len <= chr_can_receive() */
void chr_event(Chardev *chr, CharEvent event);
void chr_writable(Chardev *chr);
void chr_set_filename(Chardev *chr, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Wraps base, which loses its id to the new one; fails never. mux.c */
Chardev *chardev_mux_new(Chardev *base);
/* The new chardev is known by its id from now on. */
void chardev_register(Chardev *chr, const char *id);
/* A Chardev of be's size, not registered. */
Chardev *chardev_alloc(const CharBackend *be);
/* The words of -serial to the dictionary of -chardev. legacy.c */
Dict *chardev_parse_legacy(const char *id, const char *spec, Error **errp);

#endif
