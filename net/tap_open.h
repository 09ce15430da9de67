/* SPDX-License-Identifier: GPL-2.0-or-later
 * Getting hold of a tap interface: by name, through a helper program, or as a descriptor somebody
 * else opened (Linux Documentation/networking/tuntap.rst).
 */
#ifndef NET_TAP_OPEN_H
#define NET_TAP_OPEN_H

#include "util/error.h"

/* Opens (creates, if need be and if allowed) a queue of the interface; name may be empty or have a
 * "%d", and is filled in. *vnet_hdr: wanted, and afterwards whether it is there. A non-blocking
 * descriptor, the caller's; -1 with *errp: cause and cure. */
int tap_open(char name[16], bool multi_queue, bool *vnet_hdr, Error **errp);
/* Takes a descriptor that is open: checks that it is a tap's. */
bool tap_adopt(int fd, char name[16], bool *vnet_hdr, Error **errp);
/* A new interface on that bridge, made by the setuid helper. */
int tap_from_helper(const char *helper, const char *bridge, char name[16], bool *vnet_hdr,
                    Error **errp);
/* Without a helper: puts the interface on the bridge; needs CAP_NET_ADMIN. */
bool tap_join_bridge(const char *name, const char *bridge, Error **errp);
/* Runs "script ifname" and waits for it. */
bool tap_run_script(const char *script, const char *name, Error **errp);

#endif
