/* SPDX-License-Identifier: GPL-2.0-or-later
 * Debug registers and breakpoints (SDM 3B 17.2, 17.3). Engines ask only while MODE_DR is set.
 */
#ifndef CPU_DEBUG_H
#define CPU_DEBUG_H

#include "cpu/state.h"

enum {
    DR6_B0 = 1 << 0, DR6_B = 0xf, DR6_BD = 1 << 13, DR6_BS = 1 << 14, DR6_BT = 1 << 15,
    DR7_GD = 1 << 13,
};

/* Before the instruction at lin: the DR6 bits of enabled instruction breakpoints there; 0: none,
 * or EFLAGS.RF holds them back. If not 0 the engine calls debug_raise. */
uint64_t debug_check_code(CpuState *cpu, uint64_t lin);
/* After an access (or before it, if it cannot fault any more): data breakpoints in
 * [lin, lin+size) are noted in pending_db, to be taken after the instruction. */
void debug_check_data(CpuState *cpu, uint64_t lin, unsigned size, bool write);
/* The same for IN and OUT (CR4.DE only). */
void debug_check_io(CpuState *cpu, uint16_t port, unsigned size);
/* May any data breakpoint lie in the page of lin? */
bool debug_page_is_watched(const CpuState *cpu, uint64_t lin);
/* #DB as a fault, with these bits in DR6. */
void debug_raise(CpuState *cpu, uint64_t dr6_bits) __attribute__((noreturn));

#endif
