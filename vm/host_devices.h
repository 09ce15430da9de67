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
/* Is a device of one of these types (NULL-terminated) asked for with -device? */
bool options_have_device(const Options *o, const char *const *types);

#endif
