/* SPDX-License-Identifier: GPL-2.0-or-later
 * The software engines' translation caches: linear page -> host address, one cache a way of
 * asking (privilege, SMAP). Direct mapped; a fast entry needs one compare and one add.
 *
 * A tag is the linear page with low bits clear when the access may go straight to host memory.
 * TLB_SLOW in a tag means: allowed, but the slow path must make it (registers, ROM, watched or
 * code pages); TLB_NONE never matches. TLB_SLOW is above the bits by which an operand can be
 * misaligned: the translator compares tags with addresses that still have those. Write tags of RAM
 * pages are fast only while nobody needs to hear of the write (memory/ram.h).
 *
 * Caches come in sets, a set a PCID as far as NR_CONTEXTS goes (SDM 3A 4.10.1), so that a switch
 * of address spaces that the guest asks to keep things over keeps them. What a supervisor sees is
 * mostly global pages and the same everywhere, so contexts share one cache for it, out of which
 * the pages that are not global are dropped at each switch; a context whose supervisor has many of
 * those (an isolated kernel, one without SMAP that looks at its user's pages) gets its own.
 *
 * Whoever remembers a linear address of code (a jump cache) notes Mmu.generation with it. The
 * number is drawn anew for a context and privilege whenever a mapping that code was fetched
 * through may have gone, and comes back when the CPU comes back there: the same number means that
 * nothing was dropped.
 *
 * Threads: only the owning vCPU fills entries. Another thread may turn write tags into TLB_NONE
 * (tlb_revoke_write) and then waits until the owner left guest code or passed a block boundary;
 * the owner sets a fast write tag first and looks at ram_write_is_tracked() again afterwards, so
 * that one of the two sees the other. Which caches may have a fast tag for a page, CodePage.writers
 * says: the owner sets its bit before the tag, the other thread takes the bits away before it
 * looks for the tags.
 */
#ifndef CPU_TLB_H
#define CPU_TLB_H

#include "cpu/state.h"
#include "memory/region.h"

enum { TLB_BITS = 12, TLB_FOLD = 9, TLB_SIZE = 1 << TLB_BITS, ITLB_SIZE = 256, TLB_LOG = 1024 };
enum { NR_CONTEXTS = 12 };
#define TLB_NONE (~0ull)
#define TLB_SLOW (1ull << 11)
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
    CodePage *code;      /* of the page, if a store may be made there as long as that is told */
    bool rom, global;
} TlbSide;

typedef enum TlbKind {
    TLB_KERNEL,    /* CPL 0-2, SMAP in force */
    TLB_USER,      /* CPL 3 */
    TLB_KERNEL_AC, /* CPL 0-2, SMAP lifted by EFLAGS.AC */
    TLB_CAREFUL_KERNEL, TLB_CAREFUL_USER, /* every access slow: data breakpoints, alignment checks */
    NR_TLBS
} TlbKind;

/* Indices of entries; nr > TLB_LOG: any entry. */
typedef struct TlbLog {
    unsigned nr;
    uint16_t index[TLB_LOG];
} TlbLog;

typedef struct Tlb {
    TlbEntry entry[TLB_SIZE]; /* first, and cpu->tlb points here: engines know it */
    TlbSide side[TLB_SIZE];
    TlbKind kind;
    uint16_t writer; /* its bit in CodePage.writers */
    bool ready;      /* atomic: was in use ever; before, it is all zeroes */
    bool has_global;
    TlbLog all, local; /* filled since each was emptied; local: pages that are not global */
} __attribute__((aligned(64))) Tlb;

typedef struct ItlbEntry {
    uint64_t tag; /* linear page */
    uint64_t gpa;
    RamBlock *ram; /* NULL: code in a device or nowhere */
    uint64_t ram_offset;
    uint64_t generation; /* of its CodeTlb when it was filled; another: not valid */
} ItlbEntry;

/* Pages that something was cached of; may say yes for others between the first and last too. */
enum { FILTER_BITS = 12 };
typedef struct PageFilter {
    uint64_t word[1 << (FILTER_BITS - 6)];
    uint64_t first, last;
    bool any;
} PageFilter;

/* Where code was fetched from at one privilege. */
typedef struct CodeTlb {
    ItlbEntry entry[ITLB_SIZE];
    uint64_t generation;
    PageFilter pages; /* fetched from since generation was drawn */
    bool local;       /* some of them are not global */
} CodeTlb;

/* Where the page table or the page directory of an address lies; cpu/paging_fast.c. */
enum { PT_CACHE = 256, PD_CACHE = 64, STAMP_SHIFT = 27 };
typedef struct TableCache {
    uint64_t key; /* the context's stamp << STAMP_SHIFT | what part of the address space */
    const uint8_t *host;
    uint64_t rights; /* that the levels above leave: PTE_W, PTE_U, PTE_NX */
} TableCache;

/* The caches of one PCID, or the shared ones. */
typedef struct TlbSet {
    Tlb tlb[TLB_KERNEL_AC + 1];
    CodeTlb kernel_code, user_code;
    PageFilter large[2]; /* pages over 4 KiB, by "global": see large_key */
    bool own_kernel;     /* tlb[TLB_KERNEL] and kernel_code are in use */
    uint64_t invs_seen;  /* Mmu.nr_invs when it was left */
    uint64_t stamp;      /* of what the paging-structure caches hold for it */
} TlbSet;

/* All of one vCPU's, at cpu->mmu. */
typedef struct Mmu {
    Tlb *tlb[NR_TLBS]; /* of the current context */
    CodeTlb *kernel_code, *user_code;
    CodeTlb *code;       /* of the current privilege: one of them */
    uint64_t generation; /* code's */
    uint64_t last_generation;
    TlbSet *context;     /* the current one, set[current] */
    unsigned current;
    int pcid[NR_CONTEXTS]; /* -1: free */
    uint64_t last_use[NR_CONTEXTS], switches;
    /* INVLPGs that may concern global pages in contexts that are not current; a ring. */
    uint64_t inv[64];
    uint64_t nr_invs;
    bool globals[2];     /* a context has global pages of its own in the lower, the upper half */
    FlatView *view;      /* reference held; replaced when the memory map changes */
    const FlatRange *walk_range; /* where the last page-table entry was found */
    const FlatRange *fill_range; /* where the last page that was cached was found */
    uint64_t last_stamp;
    TableCache pt_cache[PT_CACHE], pd_cache[PD_CACHE];
    bool be_careful;         /* tlb_be_careful */
    struct Journal *journal; /* of a trial run, else NULL: cpu/journal.h */
    bool store_hit_code; /* set when a store of this CPU changed decoded code; the engine clears */
    bool single_next;    /* engine: the next block is one instruction */
    uint64_t fills, flushes, slow;
    TlbSet shared; /* tlb[TLB_KERNEL] and kernel_code only */
    TlbSet set[NR_CONTEXTS];
    Tlb careful[2];
} Mmu;

void mmu_new(CpuState *cpu); /* allocates cpu->mmu */
void mmu_free(CpuState *cpu);
/* Where the code at lin comes from; raises #PF (fetch) or #GP for a non-canonical address. */
const ItlbEntry *mmu_fetch_page(CpuState *cpu, uint64_t lin);
/* The memory map changed: own thread; takes the new view and flushes. */
void mmu_refresh_view(CpuState *cpu);
/* Takes away fast write tags to host page `page` (NULL: all) from caches that are in writers. own:
 * this is the CPU's thread. True if one was there, so that the owner may be in the middle of a
 * store. */
bool tlb_revoke_write(CpuState *cpu, const uint8_t *page, uint16_t writers, bool own);

/* Forgets the slots of CPL 0-2 and of CPL 3, and the spans, or only those for writes. Own
 * thread. */
void tlb_slots_clear(CpuState *cpu);
void tlb_slots_clear_writes(CpuState *cpu);

/* on: from now on every access is slow, in caches that are empty now; off: as before. Own thread;
 * the context must stay the same in between, or everything be flushed. */
void tlb_be_careful(CpuState *cpu, bool on);

/* For cpu/mem.c: walks and fills an entry; raises #PF. */
TlbEntry *tlb_fill(CpuState *cpu, Tlb *t, uint64_t lin, bool write);
/* Makes the write tag of a filled entry fast if nobody needs to hear of writes. */
void tlb_set_write_tag(Tlb *t, TlbEntry *e, uint64_t page);
/* The page at lin may be written fast again if nobody watches it any more. */
void tlb_rearm_write(CpuState *cpu, uint64_t lin);
/* ram_written for a store of this CPU: notes in store_hit_code whether code was changed. */
void mmu_written(CpuState *cpu, RamBlock *ram, uint64_t offset, uint64_t len);

/* Folded, so that arrays a power of two apart do not push each other out. A page's and the next
 * one's always differ: that the tag is the page of an access's last byte means that it is the
 * first one's, too. */
static inline unsigned tlb_index(uint64_t lin)
{
    return (unsigned)((lin >> PAGE_BITS) + (lin >> (PAGE_BITS + TLB_FOLD))) & (TLB_SIZE - 1);
}

static inline TlbEntry *tlb_entry(Tlb *t, uint64_t lin)
{
    return &t->entry[tlb_index(lin)];
}

/* May an access to lin's page be made, whichever way? */
static inline bool tlb_tag_allows(uint64_t tag, uint64_t lin)
{
    return (tag & ~0xffdull) == TLB_PAGE(lin); /* TLB_NONE has bit 1 set */
}

#endif
