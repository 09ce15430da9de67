/* SPDX-License-Identifier: GPL-2.0-or-later
 * From options to a MachineConfig: machine type, CPUs, memory, boot, clock, names.
 */
#ifndef VM_MACHINE_CONFIG_H
#define VM_MACHINE_CONFIG_H

#include "hw/core/machine.h"
#include "vm/options.h"

/* -M: the type, and its properties in c->machine_opts (accel= is left there for accel_choose's
 * caller to take). Then all that needs no other object. NULL with *errp. */
const MachineType *machine_config_resolve(MachineConfig *c, const Options *o, Error **errp);
/* Says which -global met no device. */
void machine_config_warn_globals(const MachineConfig *c);
/* Says that the guest has more memory than the host. */
void machine_config_warn_memory(const MachineConfig *c);
/* After machine_init: an option of -M that nobody asked for is a mistake. */
bool machine_config_check_unused(const MachineConfig *c, const MachineType *t, Error **errp)
    MUST_USE;
void machine_print_types(void);
bool machine_print_options(const char *name, Error **errp) MUST_USE;

#endif
