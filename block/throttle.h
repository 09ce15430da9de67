/* SPDX-License-Identifier: GPL-2.0-or-later
 * Limits of bytes and requests a second, for a drive or a group of drives. vm_lock held.
 *
 * Six leaky buckets: total, read and write of each. A request goes when none it falls into is
 * full, then fills them; they leak at the rate the user named. With a max a bucket takes that
 * rate for max-length seconds before the plain one holds. What must wait stands in a queue, no
 * thread does.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "util/dict.h"
#include "util/error.h"

struct Job;
struct Drive;
typedef struct ThrottleGroup ThrottleGroup;

enum { THROTTLE_TOTAL, THROTTLE_READ, THROTTLE_WRITE, NR_THROTTLE };
enum { THROTTLE_BPS, THROTTLE_IOPS, NR_THROTTLE_KINDS };

typedef struct ThrottleLimit {
    uint64_t rate;   /* a second; 0: no limit */
    uint64_t max;    /* in a burst; 0: none */
    uint64_t length; /* of a burst, in seconds; at least 1 */
} ThrottleLimit;

typedef struct ThrottleConfig {
    ThrottleLimit limit[NR_THROTTLE_KINDS][NR_THROTTLE];
    uint64_t iops_size; /* a larger request counts as several; 0: as one */
} ThrottleConfig;

typedef struct ThrottleBucket {
    double level, burst;
} ThrottleBucket;

/* "throttling.bps-total" and the others of -drive, old spellings ("bps", "iops_rd_max"), too. */
bool throttle_is_key(const char *key);
/* Reads them; *any: there was one. */
bool throttle_parse(ThrottleConfig *c, const Dict *opts, bool *any, Error **errp) MUST_USE;
/* Do the numbers make sense together? */
bool throttle_check(const ThrottleConfig *c, Error **errp) MUST_USE;
/* Leaks what ns nanoseconds let out. */
void throttle_leak(ThrottleBucket *b, const ThrottleLimit *l, uint64_t ns);
/* How long until another request may go, in nanoseconds. */
uint64_t throttle_wait(const ThrottleBucket *b, const ThrottleLimit *l);

/* The group of that name, made if there is none; a reference. */
ThrottleGroup *throttle_join(const char *name);
void throttle_leave(ThrottleGroup *g); /* NULL allowed */
void throttle_set(ThrottleGroup *g, const ThrottleConfig *c);
const ThrottleConfig *throttle_config(const ThrottleGroup *g);
const char *throttle_name(const ThrottleGroup *g);
/* True: j waits, job_dispatch will be called for it. */
bool throttle_hold(ThrottleGroup *g, struct Job *j);
/* Those of d (NULL: of all) go at once, whatever the limits. */
void throttle_release(ThrottleGroup *g, const struct Drive *d);

#endif
