/* SPDX-License-Identifier: GPL-2.0-or-later
 * SIGTERM, SIGINT, SIGHUP: a clean end with status 0.
 */
#ifndef VM_SIGNALS_H
#define VM_SIGNALS_H

#include "util/error.h"

struct Machine;

/* Blocks them in this and all later threads. First thing in main. */
void signals_block(void);
/* They reach the machine from now on; after main_loop_init. */
bool signals_listen(struct Machine *m, Error **errp) MUST_USE;
void signals_close(void);

#endif
