/* SPDX-License-Identifier: GPL-2.0-or-later
 * The telnet protocol (RFC 854) as far as a terminal server needs it: options are offered once,
 * answers are skipped, BREAK is seen, 255 is doubled.
 */
#ifndef CHARDEV_TELNET_H
#define CHARDEV_TELNET_H

#include "util/container.h"

typedef struct TelnetState {
    uint8_t phase; /* TELNET_ */
} TelnetState;

/* What the server says first: WILL ECHO, WILL SUPPRESS-GO-AHEAD, WILL and DO BINARY. */
extern const uint8_t telnet_greeting[12];

/* Takes protocol bytes out of buf in place and returns what is left; *breaks counts BREAKs. */
size_t telnet_filter(TelnetState *t, uint8_t *buf, size_t len, unsigned *breaks);

#endif
