/* SPDX-License-Identifier: GPL-2.0-or-later
 * The page walk (SDM 3A chapter 4): 2-level with PSE and PSE-36, PAE, 4-level; NX, WP, SMEP,
 * SMAP, global pages, accessed and dirty bits. paging.c is the whole of it, paging_fast.c the short
 * way for what needs no fault and no change to the tables.
 */
#ifndef CPU_PAGING_H
#define CPU_PAGING_H

#include "cpu/state.h"

enum {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_PWT = 1 << 3,
    PTE_PCD = 1 << 4,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,  /* in a PDE or PDPTE: maps a page */
    PTE_PAT = 1 << 7, /* in a PTE */
    PTE_G = 1 << 8,
    PTE_PAT_LARGE = 1 << 12,
};
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

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
/* The same without probe, but it may give up (false, nothing changed) for any reason, and may go by
 * what the paging-structure caches hold (SDM 3A 4.10.3). pat_index is not filled in. */
bool paging_walk_fast(CpuState *cpu, uint64_t lin, int access, bool user, bool smap_ok,
                      PageWalk *out);
/* What the rights of all levels (PTE_W, PTE_U: and; PTE_NX: or) allow: SDM 3A 4.6. */
static inline void paging_decide(const CpuState *cpu, uint64_t rights, bool nxe, bool user,
                                 bool smap_ok, PageWalk *out)
{
    bool user_page = rights & PTE_U, writable = rights & PTE_W;
    out->can_exec = !(nxe && (rights & PTE_NX));
    if (user) {
        out->can_read = user_page;
        out->can_write = user_page && writable;
        out->can_exec &= user_page;
    } else {
        bool smap_stops = user_page && (cpu->cr4 & CR4_SMAP) && !smap_ok;
        out->can_read = !smap_stops;
        out->can_write = !smap_stops && (writable || !(cpu->cr0 & CR0_WP));
        out->can_exec &= !(user_page && (cpu->cr4 & CR4_SMEP));
    }
}
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
