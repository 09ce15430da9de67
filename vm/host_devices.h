/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the command line opens on the host's side before the machine is built: streams for ports
 * and monitors, and drives.
 */
#ifndef VM_HOST_DEVICES_H
#define VM_HOST_DEVICES_H

#include "hw/core/machine.h"
#include "vm/options.h"

/* -chardev, -serial, -parallel, -debugcon, -monitor, -mon and QEMU's defaults for what is not
 * given; leaves the ids in c. */
bool streams_open(MachineConfig *c, const Options *o, Error **errp) MUST_USE;
/* The monitors of those, once there is a machine. */
bool monitors_start(Machine *m, Error **errp) MUST_USE;
/* -drive, -hda.., -cdrom and bare images; leaves IDE drives' ids in c. */
bool drives_open(MachineConfig *c, const Options *o, Error **errp) MUST_USE;
/* Did one of them, or -blockdev, ask for a list? Then it has been printed. */
bool drives_help(const Options *o, Error **errp);
/* -netdev, -nic, -net, or the default network: back ends now, their NICs once there is a machine. */
bool networks_open(const Options *o, bool has_default, Error **errp) MUST_USE;
bool networks_attach(Machine *m, Error **errp) MUST_USE;
/* -device NIC,vlan=N: makes it netdev=. */
bool network_device_vlan(Dict *d, Error **errp) MUST_USE;
/* Warns of what is not connected. */
void networks_check(void);
/* Did one of these options ask for a list? Then it has been printed. */
bool networks_help(const Options *o, Error **errp);
/* Is a device of one of these types (NULL-terminated) asked for with -device? */
bool options_have_device(const Options *o, const char *const *types);

#endif
