/* SPDX-License-Identifier: GPL-2.0-or-later
 * The page walk (SDM 3A chapter 4): 2-level with PSE and PSE-36, PAE, 4-level; NX, WP, SMEP,
 * SMAP, global pages, accessed and dirty bits.
 */
#ifndef CPU_PAGING_H
#define CPU_PAGING_H

#include "cpu/state.h"

enum { PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_RSVD = 8, PF_FETCH = 16, PF_PK = 32 };

typedef struct PageWalk {
    uint64_t gpa;      /* of lin itself */
    uint64_t page_size; /* 4 KiB, 2 MiB, 4 MiB or 1 GiB */
    bool can_read, can_write, can_exec; /* for this access's privilege, as things are now; a write
                                           bit only if D is set, so that the first write walks */
    bool global;
    uint8_t pat_index;
    uint32_t error;    /* #PF error code when the walk fails */
} PageWalk;

/* access: 0 read, 1 write, 2 fetch. user: at privilege level 3. smap_ok: EFLAGS.AC set and the
 * access is explicit (SMAP does not apply). Sets A (and D for writes) unless probe. Works with
 * paging off too (gpa = lin). Returns false with out->error. */
bool paging_walk(CpuState *cpu, uint64_t lin, int access, bool user, bool smap_ok, bool probe,
                 PageWalk *out);
/* For the monitor, gdb and disassembly: no faults, no A/D; UINT64_MAX if not mapped. */
uint64_t paging_translate(CpuState *cpu, uint64_t lin);
/* MOV to CR3/CR0/CR4 with PAE paging loads the PDPTEs; false: reserved bits set (#GP). */
bool paging_load_pdptes(CpuState *cpu, uint64_t cr3);
static inline bool lin_is_canonical(const CpuState *cpu, uint64_t lin)
{
    (void)cpu;
    return (uint64_t)((int64_t)(lin << 16) >> 16) == lin;
}

#endif
