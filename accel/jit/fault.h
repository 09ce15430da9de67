/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host faults in generated code.
 */
#ifndef ACCEL_JIT_FAULT_H
#define ACCEL_JIT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Where the thread goes on instead: rip, with r11 set; all other registers are kept. */
typedef struct FaultFix {
    uint64_t rip;
    uint32_t r11;
} FaultFix;

/* From now on find is asked about each general-protection fault of the process (SIGSEGV without an
 * address); where it says false, whoever handled SIGSEGV before gets it. Once a process. */
void catch_faults(bool (*find)(const void *pc, FaultFix *fix));

#endif
