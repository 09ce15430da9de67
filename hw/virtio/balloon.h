/* SPDX-License-Identifier: GPL-2.0-or-later
 * The machine's balloon as the monitor sees it. vm_lock held.
 */
#ifndef HW_VIRTIO_BALLOON_H
#define HW_VIRTIO_BALLOON_H

#include "util/error.h"

struct Machine;

/* Asks the guest to keep no more than that much memory. False: there is no balloon. */
bool balloon_set(struct Machine *m, uint64_t bytes, Error **errp) MUST_USE;
/* One line about what it has now, and what its statistics say. False: there is no balloon. */
bool balloon_info(struct Machine *m, void (*print)(void *opaque, const char *line), void *opaque,
                  Error **errp) MUST_USE;

#endif
