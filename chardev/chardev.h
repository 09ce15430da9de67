/* SPDX-License-Identifier: GPL-2.0-or-later
 * Byte streams between the guest's ports (or a monitor) and the host: stdio, file, pty, unix and
 * TCP sockets, the window's text consoles, null, pipes. Main loop only, vm_lock held.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "util/dict.h"
#include "util/error.h"

typedef struct Chardev Chardev;
typedef enum CharEvent {
    CHAR_OPENED, CHAR_CLOSED, /* a peer came / went */
    CHAR_BREAK,
    CHAR_FOCUS_IN, CHAR_FOCUS_OUT /* a mux turned to this front end / away from it */
} CharEvent;

/* The user of a stream: a serial port, a monitor, qtest. Embedded in its owner. */
typedef struct CharFrontend {
    Chardev *chr; /* NULL: nothing attached; writes vanish */
    size_t (*can_receive)(void *opaque); /* how many bytes receive() would take now */
    void (*receive)(void *opaque, const uint8_t *buf, size_t len);
    void (*event)(void *opaque, CharEvent event); /* may be NULL */
    void *opaque;
    bool polite; /* on a mux: takes the focus only if nobody has it. Monitors are polite */
    List node; /* on the chardev: several with mux=on */
    void (*writable)(void *opaque); /* of char_on_writable */
    void *writable_opaque;
} CharFrontend;

/* backend=socket,id=x,path=...: the -chardev and chardev-add dictionary. Registers it by id. */
Chardev *chardev_create(const Dict *opts, Error **errp);
/* A legacy word as -serial, -monitor and -qtest take it: stdio, mon:stdio, null, none (not
 * here: the caller's), pty, vc, vc:80Cx24C, file:PATH, pipe:PATH, tcp:H:P,server,nowait,
 * telnet:..., udp:..., unix:PATH,server=on,wait=off, chardev:ID, /dev/tty... id: the name it
 * gets. After mon:X, which is a mux, the caller adds a monitor (monitor_new). */
Chardev *chardev_create_legacy(const char *id, const char *spec, Error **errp);
bool chardev_spec_wants_monitor(const char *spec); /* mon:X */
/* Puts a new back end under chr's front end. Not for a mux. */
bool chardev_change(Chardev *chr, const Dict *opts, Error **errp) MUST_USE;
bool chardev_in_use(const Chardev *chr);
bool chardev_is_mux(const Chardev *chr);
void chardev_send_break(Chardev *chr); /* as if the peer sent one */
/* -echr: what introduces a command on a mux; 1 (Ctrl-A) unless set. */
void chardev_set_escape(uint8_t c);
/* What Ctrl-A s does on a mux; vm/ sets it. */
void chardev_set_save_hook(void (*fn)(void *opaque), void *opaque);
Chardev *chardev_find(const char *id);
const char *chardev_id(const Chardev *chr);
void chardev_delete(Chardev *chr);
void chardevs_close(void); /* at exit: restores the terminal, flushes, unlinks sockets */
/* info chardev: "id: filename=..." */
void chardevs_each(void (*fn)(Chardev *chr, const char *id, const char *filename, void *opaque),
                   void *opaque);
void chardev_list_backends(void (*print)(void *opaque, const char *line), void *opaque);

/* One front end a chardev, several if it is a mux. false with *errp if taken. The callbacks are
 * set before; event(CHAR_OPENED) runs inside if there is a peer. */
bool char_attach(CharFrontend *fe, Chardev *chr, Error **errp) MUST_USE;
void char_detach(CharFrontend *fe);
/* Returns how many bytes were taken; the rest must be offered again after char_on_writable. */
size_t char_write(CharFrontend *fe, const void *buf, size_t len);
/* Takes everything: what cannot go out now is queued without bound. For monitors. */
void char_write_all(CharFrontend *fe, const void *buf, size_t len);
/* How much of that still waits: who can makes its peer slow down when this grows. */
size_t char_queued(const CharFrontend *fe);
/* fn is called once when bytes can be written again (or the peer is gone). */
void char_on_writable(CharFrontend *fe, void (*fn)(void *opaque), void *opaque);
/* can_receive may answer more than before: try again. */
void char_accept_input(CharFrontend *fe);
bool char_is_open(const CharFrontend *fe); /* has a peer */
/* Serial line parameters and modem lines, ignored by back ends that have none. */
void char_set_line(CharFrontend *fe, unsigned baud, unsigned data_bits, char parity,
                   unsigned stop_bits);
void char_set_break(CharFrontend *fe, bool on);

#endif
