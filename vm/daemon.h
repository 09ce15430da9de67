/* SPDX-License-Identifier: GPL-2.0-or-later
 * -daemonize, -pidfile, and the name in process lists.
 */
#ifndef VM_DAEMON_H
#define VM_DAEMON_H

#include "util/error.h"

/* Forks: the child goes on here, the parent waits until daemon_ready or the child's end, and
 * exits with its status. Before any thread exists. */
bool daemon_fork(Error **errp) MUST_USE;
/* All is set up: lets go of the terminal and of the parent. No-op without daemon_fork. */
void daemon_ready(void);
/* Writes and locks the file; it goes away with pidfile_remove. */
bool pidfile_create(const char *path, Error **errp) MUST_USE;
void pidfile_remove(void);
/* argv's memory is overwritten with title, as ps shows it. */
void process_set_title(int argc, char **argv, const char *title);

#endif
