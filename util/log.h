/* SPDX-License-Identifier: GPL-2.0-or-later
 * The log of -d and -D: named items, each switched on by itself, written to one file or stderr.
 * Safe from any thread.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stdint.h>

#include "util/error.h"

enum {
    LOG_GUEST = 1 << 0,  /* guest_errors: the guest did what the hardware's documents forbid */
    LOG_UNIMP = 1 << 1,  /* unimp: the guest asked for what Vireo does not do yet */
    LOG_INT = 1 << 2,    /* int: interrupts and exceptions delivered to a vCPU */
    LOG_IN_ASM = 1 << 3, /* in_asm: guest code as it is decoded */
    LOG_EXEC = 1 << 4,   /* exec: every block executed */
    LOG_CPU = 1 << 5,    /* cpu: registers before each block */
    LOG_MMU = 1 << 6,    /* mmu: page faults and flushes */
    LOG_PCALL = 1 << 7,  /* pcall: far calls, gates, task switches */
    LOG_RESET = 1 << 8,  /* cpu_reset: registers at each reset */
    LOG_IO = 1 << 9,     /* io: device register accesses */
    LOG_KVM = 1 << 10,   /* kvm: ioctls and exits */
    LOG_LOOP = 1 << 11,  /* mainloop: callbacks that took longer than 10 ms */
    LOG_OUT_ASM = 1 << 12, /* out_asm: host code of each translated block */
    LOG_OP = 1 << 14,      /* op: how each instruction was translated */
    LOG_NOCHAIN = 1 << 13, /* nochain: translated blocks do not jump to each other */
};

extern unsigned log_mask; /* read freely; written by log_set */

static inline bool log_on(unsigned item)
{
    return unlikely((log_mask & item) != 0);
}

/* items: comma-separated names as in the enum's comments. "help" is handled by the caller. */
bool log_set(const char *items, Error **errp) MUST_USE;
/* The name of the first of these. */
const char *log_item_name(unsigned items);
bool log_open(const char *path, Error **errp) MUST_USE;
/* -dfilter: code outside these ranges is not logged. "FIRST..LAST", "START+LENGTH" and "LAST-LENGTH",
 * comma-separated. Before there are threads. */
bool log_filter_set(const char *ranges, Error **errp) MUST_USE;
/* Is code at that linear address wanted? True without -dfilter. */
bool log_filter_has(uint64_t lin);
/* Prints the table of names and meanings through print(opaque, line). */
void log_list(void (*print)(void *opaque, const char *line), void *opaque);
void log_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_guest(const char *fmt, ...) PRINTF_LIKE(1, 2); /* only if LOG_GUEST is on; newline added */
void log_unimp(const char *fmt, ...) PRINTF_LIKE(1, 2); /* only if LOG_UNIMP is on; newline added */

#endif
