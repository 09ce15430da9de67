/* SPDX-License-Identifier: GPL-2.0-or-later
 * -object on the command line.
 */
#ifndef VM_OBJECTS_H
#define VM_OBJECTS_H

#include "vm/options.h"

/* Makes those that come before (late false) or after networks and drives. */
bool objects_open(const Options *o, bool late, Error **errp) MUST_USE;
/* -object help and -object TYPE,help: true if that was asked for, and answered (or *errp). */
bool objects_help(const Options *o, Error **errp);

#endif
