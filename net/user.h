/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the monitor does with user networks (-netdev user). In builds without libslirp each of
 * these says so. Main loop, vm_lock held.
 */
#ifndef NET_USER_H
#define NET_USER_H

#include "util/error.h"

/* hostfwd_add, hostfwd_remove: netdev NULL: the only user network there is. */
bool net_user_hostfwd_add(const char *netdev, const char *spec, Error **errp) MUST_USE;
bool net_user_hostfwd_remove(const char *netdev, const char *spec, Error **errp) MUST_USE;
/* info usernet: false if there is no user network. */
bool net_user_info(void (*print)(void *opaque, const char *line), void *opaque);

#endif
