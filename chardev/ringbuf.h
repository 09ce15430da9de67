/* SPDX-License-Identifier: GPL-2.0-or-later
 * Reading and feeding a ringbuf chardev from outside: the monitor's ringbuf_read, ringbuf_write.
 */
#ifndef CHARDEV_RINGBUF_H
#define CHARDEV_RINGBUF_H

#include "chardev/chardev.h"

/* Takes up to len bytes of what the front end wrote out of the buffer; *got says how many. */
bool char_ringbuf_read(Chardev *chr, void *buf, size_t len, size_t *got, Error **errp) MUST_USE;
/* Puts bytes in, as if the front end had written them. */
bool char_ringbuf_write(Chardev *chr, const void *buf, size_t len, Error **errp) MUST_USE;

#endif
