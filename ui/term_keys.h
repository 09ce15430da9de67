/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the keys of a terminal send that type no character; xterm's sequences.
 */
#ifndef UI_TERM_KEYS_H
#define UI_TERM_KEYS_H

#include "ui/input.h"

/* out: TERM_KEY_MAX bytes. Returns the length, 0 for a key that sends nothing. */
size_t term_key_sequence(KeyCode key, unsigned mods, bool app_cursor, bool newline_mode, char *out);

#endif
