/* SPDX-License-Identifier: GPL-2.0-or-later
 * What runs the guest if nobody says: KVM where it really helps, else the translator; and the line
 * that tells which and why.
 */
#ifndef VM_ACCEL_DEFAULT_H
#define VM_ACCEL_DEFAULT_H

#include "accel/accel.h"

/* Ready for the machine. Never NULL: the interpreter works everywhere. */
const Engine *accel_default(Machine *m);
/* The same without a machine. *why: what is against those before it, "; not NAME: REASON" for each,
 * in a new string. */
const Engine *accel_default_here(char **why);
/* The user ordered this one: if it does not suit the host, the line says so. */
void accel_ordered(const Engine *e);
/* Prints the line, once the machine is there: what fails before has a line of its own. */
void accel_report(void);

#endif
