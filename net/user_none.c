/* SPDX-License-Identifier: GPL-2.0-or-later
 * User networks in a build without libslirp: there are none.
 */
#include "net/user.h"

static const char reason[] = "user networks are not in this build; install libslirp-dev and "
                             "configure without --disable-slirp";

bool net_user_hostfwd_add(const char *netdev, const char *spec, Error **errp)
{
    (void)netdev;
    (void)spec;
    return error_set(errp, "%s", reason);
}

bool net_user_hostfwd_remove(const char *netdev, const char *spec, Error **errp)
{
    (void)netdev;
    (void)spec;
    return error_set(errp, "%s", reason);
}

bool net_user_info(void (*print)(void *opaque, const char *line), void *opaque)
{
    print(opaque, reason);
    return true;
}
