/* SPDX-License-Identifier: GPL-2.0-or-later
 * The terminal Vireo was started from.
 */
#ifndef CHARDEV_STDIO_H
#define CHARDEV_STDIO_H

/* Gives the terminal its settings back; safe to call at any time, also more than once. */
void char_stdio_restore(void);

#endif
