/* SPDX-License-Identifier: GPL-2.0-or-later
 * Who may use an image file at the same time: locks that QEMU and its tools take as well.
 */
#ifndef BLOCK_FILE_LOCK_H
#define BLOCK_FILE_LOCK_H

#include "util/error.h"

/* Locks fd, which is open for reading at least, until it is closed. A reader keeps writers out, a
 * writer other writers and readers. False with *errp ("image 'x' is in use by process 12 (qemu)")
 * if another has it; a file system without locks is no failure. */
bool file_lock(int fd, const char *filename, bool readonly, Error **errp) MUST_USE;
void file_unlock(int fd);
/* The image tools have other options: from now on messages name theirs. Before the first file_lock. */
void file_lock_for_tools(void);

#endif
