/* SPDX-License-Identifier: GPL-2.0-or-later
 * Doorbells, for the dispatcher.
 */
#ifndef MEMORY_IOEVENTFD_H
#define MEMORY_IOEVENTFD_H

#include "memory/region.h"

/* A write of len bytes: true if it was a doorbell's. vm_lock held. */
bool ioeventfd_signal(const Region *r, uint64_t offset, uint64_t val, unsigned len);

#endif
