/* SPDX-License-Identifier: GPL-2.0-or-later
 * -accel and -M accel=: which engine runs the guest.
 */
#ifndef VM_ACCEL_CHOICE_H
#define VM_ACCEL_CHOICE_H

#include "accel/accel.h"
#include "vm/options.h"

/* The first of the listed engines ("-accel kvm -accel interp", "-M accel=kvm:interp") that works
 * here; without any, accel_default()'s. machine_list: the value of -M accel=, or NULL. opts
 * becomes the rest of that -accel (a new dictionary). NULL with *errp if none works. */
const Engine *accel_choose(const StrList *accels, const char *machine_list, Dict **opts,
                           Error **errp);
void accel_print_list(void);

#endif
