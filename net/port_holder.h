/* SPDX-License-Identifier: GPL-2.0-or-later
 * Who has a port of this host.
 */
#ifndef NET_PORT_HOLDER_H
#define NET_PORT_HOLDER_H

#include "util/error.h"

/* "held by process 1234 (nginx)", or why that is not known; a new string. */
char *net_port_holder(bool udp, unsigned port);

#endif
