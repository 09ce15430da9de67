/* SPDX-License-Identifier: GPL-2.0-or-later
 * Who has a port or a socket file of this host.
 */
#ifndef UTIL_SOCKET_HOLDER_H
#define UTIL_SOCKET_HOLDER_H

#include "util/error.h"

/* "held by process 1234 (nginx)", or why that is not known; a new string. */
char *socket_port_holder(bool udp, unsigned port);
char *socket_path_holder(const char *path);

#endif
