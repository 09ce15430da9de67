/* SPDX-License-Identifier: GPL-2.0-or-later
 * -accel and -M accel=: which engines run the guest.
 */
#ifndef VM_ACCEL_CHOICE_H
#define VM_ACCEL_CHOICE_H

#include "accel/accel.h"
#include "vm/options.h"

/* Which engine runs which of m->nr_cpus vCPUs ("-accel kvm -accel interp,vcpus=1",
 * "-M accel=kvm:interp"), each ready for this machine; without any, accel_default()'s.
 * machine_list: the value of -M accel=, or NULL. The machine is set up, but for its vCPUs and
 * board. */
bool accel_choose(Machine *m, const Options *o, const char *machine_list, AccelPlan *plan,
                  Error **errp) MUST_USE;
void accel_plan_free(AccelPlan *plan);
void accel_print_list(void);
/* -accel NAME,help: prints NAME's options. False: nobody asked. Do look at *errp. */
bool accel_print_help(const StrList *accels, Error **errp);

#endif
