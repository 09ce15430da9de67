/* SPDX-License-Identifier: GPL-2.0-or-later
 * The qtest protocol: a line-based way to drive ports, memory, interrupt lines and the clock of a
 * machine from outside (docs/qtest.md). Main loop, vm_lock held.
 */
#ifndef ACCEL_TEST_QTEST_H
#define ACCEL_TEST_QTEST_H

#include "util/error.h"

struct Machine;

/* Opens the chardev (a legacy word as -qtest takes it) and the log ("none": no log; NULL:
 * stderr). Nothing is answered before qtest_start. One server a process. */
bool qtest_open(const char *chardev, const char *log, Error **errp) MUST_USE;
/* The machine is built: from now on requests are answered. No-op without qtest_open. */
void qtest_start(struct Machine *m);

#endif
