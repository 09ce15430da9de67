/* SPDX-License-Identifier: GPL-2.0-or-later
 * The software engines' translation caches: linear page -> host address, one cache a way of
 * asking (privilege, SMAP). Direct mapped; a fast entry needs one compare and one add.
 *
 * A tag is the linear page with low bits clear when the access may go straight to host memory.
 * TLB_SLOW in a tag means: allowed, but the slow path must make it (registers, ROM, watched or
 * code pages); TLB_NONE never matches. Write tags of RAM pages are fast only while nobody needs to
 * hear of the write (memory/ram.h).
 *
 * Threads: only the owning vCPU fills entries. Another thread may turn write tags into TLB_NONE
 * (tlb_revoke_write) and then waits until the owner left guest code or passed a block boundary;
 * the owner sets a fast write tag first and looks at ram_write_is_tracked() again afterwards, so
 * that one of the two sees the other.
 */
#ifndef CPU_TLB_H
#define CPU_TLB_H

#include "cpu/state.h"
#include "memory/region.h"

enum { TLB_BITS = 10, TLB_SIZE = 1 << TLB_BITS, ITLB_SIZE = 256, TLB_LOG = 256 };
#define TLB_NONE (~0ull)
#define TLB_SLOW 1ull
#define TLB_PAGE(lin) ((lin) & ~(uint64_t)0xfff)

typedef struct TlbEntry {
    uint64_t rtag, wtag;
    uintptr_t addend; /* host = addend + lin, for RAM and ROM */
    uint64_t gpa;     /* of the page */
} TlbEntry;

/* What the slow path needs to know of the page without walking again. */
typedef struct TlbSide {
    RamBlock *ram;       /* NULL: registers, a hole, or a page that is RAM only in part */
    uint64_t ram_offset; /* of the page in ram */
    bool rom;
} TlbSide;

typedef enum TlbKind {
    TLB_KERNEL,    /* CPL 0-2, SMAP in force */
    TLB_USER,      /* CPL 3 */
    TLB_KERNEL_AC, /* CPL 0-2, SMAP lifted by EFLAGS.AC */
    TLB_CAREFUL_KERNEL, TLB_CAREFUL_USER, /* every access slow: data breakpoints, alignment checks */
    NR_TLBS
} TlbKind;

typedef struct Tlb {
    TlbEntry entry[TLB_SIZE];
    TlbSide side[TLB_SIZE];
    TlbKind kind;
    unsigned nr_log; /* entries filled since the last flush; over TLB_LOG: all */
    uint16_t log[TLB_LOG];
} Tlb;

typedef struct ItlbEntry {
    uint64_t tag; /* linear page, or TLB_NONE */
    uint64_t gpa;
    RamBlock *ram; /* NULL: code in a device or nowhere */
    uint64_t ram_offset;
    bool user;
} ItlbEntry;

/* All of one vCPU's, at cpu->mmu. */
typedef struct Mmu {
    Tlb tlb[NR_TLBS];
    ItlbEntry itlb[ITLB_SIZE];
    /* Where entries of 2 MiB and 4 MiB pages may lie, in the lower and the upper half, and whether
     * there are any of 1 GiB: INVLPG drops all of a page, whichever address it names. */
    struct {
        uint64_t first, last;
    } large[2];
    bool huge;
    uint64_t generation; /* grows with every flush: stamps cached virtual addresses */
    FlatView *view;      /* reference held; replaced when the memory map changes */
    const FlatRange *walk_range; /* where the last page-table entry was found */
    bool store_hit_code; /* set when a store of this CPU changed decoded code; the engine clears */
    bool single_next;    /* engine: the next block is one instruction */
    uint64_t fills, flushes, slow;
} Mmu;

void mmu_new(CpuState *cpu); /* allocates cpu->mmu */
void mmu_free(CpuState *cpu);
/* Where the code at lin comes from; raises #PF (fetch) or #GP for a non-canonical address. */
const ItlbEntry *mmu_fetch_page(CpuState *cpu, uint64_t lin);
/* The memory map changed: own thread; takes the new view and flushes. */
void mmu_refresh_view(CpuState *cpu);
/* Other threads: takes away fast write tags to host page `page` (NULL: all). True if one was
 * there, so that the owner may be in the middle of a store. */
bool tlb_revoke_write(CpuState *cpu, const uint8_t *page);

/* The page at lin may be written fast again if nobody watches it any more. */
void tlb_rearm_write(CpuState *cpu, uint64_t lin);
/* ram_written for a store of this CPU: notes in store_hit_code whether code was changed. */
void mmu_written(CpuState *cpu, RamBlock *ram, uint64_t offset, uint64_t len);

/* Folded, so that arrays a power of two apart do not push each other out. */
static inline unsigned tlb_index(uint64_t lin)
{
    return (unsigned)(lin >> PAGE_BITS ^ lin >> (PAGE_BITS + TLB_BITS - 1)) & (TLB_SIZE - 1);
}

static inline TlbEntry *tlb_entry(Tlb *t, uint64_t lin)
{
    return &t->entry[tlb_index(lin)];
}

#endif
