/* SPDX-License-Identifier: GPL-2.0-or-later
 * -perfmap: names for generated code in /tmp/perf-PID.map, where the profiler perf looks for them.
 */
#ifndef ACCEL_JIT_PERFMAP_H
#define ACCEL_JIT_PERFMAP_H

#include "accel/jit/tb.h"

/* NULL with *errp: the file cannot be written. */
PerfMap *perfmap_open(Error **errp);
void perfmap_close(PerfMap *m); /* NULL is allowed; the file stays for perf report */
/* From here on: Jit.lock held, or nobody else has the Jit. */

/* The file holds the stubs only: after they were made, and after each jit_empty. */
void perfmap_restart(PerfMap *m, const Jit *j);
/* lin: the linear address that the block was translated at. */
void perfmap_block(PerfMap *m, const Tb *tb, uint64_t lin);

#endif
