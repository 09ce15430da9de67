/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host faults in generated code.
 */
#ifndef ACCEL_JIT_FAULT_H
#define ACCEL_JIT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Where the thread goes on instead: rip, with r10 and r11 set; all other registers are kept. */
typedef struct FaultFix {
    uint64_t rip, r10;
    uint32_t r11;
} FaultFix;

/* From now on find is asked about each SIGSEGV of the process (addr: NULL for a general-protection
 * fault), in its handler; where it says false, whoever handled SIGSEGV before gets it. Once a
 * process. */
void catch_faults(bool (*find)(const void *pc, const void *addr, FaultFix *fix));

#endif
