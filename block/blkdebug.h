/* SPDX-License-Identifier: GPL-2.0-or-later
 * Breakpoints of blkdebug: a request that passes an event with one stops there, in its thread,
 * until somebody resumes it. The node is the first blkdebug below n; all say if there is none.
 *
 * Requests of the thread that set the breakpoint do not stop: nobody would be left to resume them.
 */
#ifndef BLOCK_BLKDEBUG_H
#define BLOCK_BLKDEBUG_H

#include "block/node.h"

/* The next request that passes the event stops and is called tag. */
bool blkdebug_break(BlockNode *n, const char *event, const char *tag, Error **errp) MUST_USE;
/* Breakpoints of that tag go, and what stopped at one goes on. */
bool blkdebug_remove_break(BlockNode *n, const char *tag, Error **errp) MUST_USE;
/* One request of that tag goes on. */
bool blkdebug_resume(BlockNode *n, const char *tag, Error **errp) MUST_USE;
/* Every one, and no breakpoint stays; nothing if there is no blkdebug. */
void blkdebug_resume_all(BlockNode *n);
/* How many requests of that tag stand still; NULL: of any. */
unsigned blkdebug_nr_suspended(BlockNode *n, const char *tag);

/* For block/blkdebug.c: a file of rules as options, "inject-error.0.event" and so on; NULL with
 * *errp. A new Dict. */
Dict *blkdebug_read_config(const char *file, Error **errp);

#endif
