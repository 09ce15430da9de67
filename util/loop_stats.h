/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the main loop did: rounds, callbacks by name, the longest. vm_lock held.
 */
#ifndef UTIL_LOOP_STATS_H
#define UTIL_LOOP_STATS_H

#include <stdbool.h>
#include <stdint.h>

void loop_stats_round(bool slept);
/* One callback took ns. It is known by name (a lasting string), or by fn if name is NULL. */
void loop_stats_count(const char *name, void (*fn)(void *opaque), uint64_t ns);

#endif
