/* SPDX-License-Identifier: GPL-2.0-or-later
 * info mem and info tlb: the chosen CPU's page tables (SDM 3A chapter 4), walked from CR3 down
 * without setting accessed or dirty bits. info mem joins neighbours of equal rights.
 */
#include <inttypes.h>

#include "cpu/paging.h"
#include "memory/region.h"
#include "monitor/internal.h"

typedef struct Walk {
    Monitor *mon;
    CpuState *cpu;
    unsigned levels, entry_size, index_bits;
    /* leaf: rights are those of all levels (R/W and U/S anded, XD or-ed) */
    void (*leaf)(struct Walk *w, uint64_t lin, uint64_t size, uint64_t entry, uint64_t rights);
    uint64_t start, end, rights; /* info mem: the range being joined; start UINT64_MAX: none */
} Walk;

static uint64_t canonical(const Walk *w, uint64_t lin)
{
    return w->levels == 4 ? (uint64_t)((int64_t)(lin << 16) >> 16) : lin;
}

/* What a large page's entry says of its address: PSE-36 in 2-level tables (SDM 3A table 4-4). */
static uint64_t leaf_gpa(const Walk *w, uint64_t entry, uint64_t size)
{
    if (w->entry_size == 4 && size > PAGE_SIZE) {
        return (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
    }
    return entry & PTE_ADDR & ~(size - 1);
}

static void walk_table(Walk *w, unsigned level, uint64_t table, uint64_t lin, uint64_t rights)
{
    uint8_t page[PAGE_SIZE];
    unsigned nr = level == 2 && w->levels == 3 ? 4 : 1u << w->index_bits;
    unsigned shift = 12 + level * w->index_bits;
    address_space_read(&w->mon->m->memory, table, page, nr * w->entry_size);
    for (unsigned i = 0; i < nr; i++) {
        uint64_t e = 0;
        memcpy(&e, page + i * w->entry_size, w->entry_size);
        if (!(e & PTE_P)) {
            continue;
        }
        bool pdpte = level == 2 && w->levels == 3; /* has no rights of its own */
        uint64_t both = pdpte ? rights
                              : (rights & e & (PTE_W | PTE_U)) | ((rights | e) & PTE_NX);
        uint64_t at = canonical(w, lin + ((uint64_t)i << shift)), size = 1ull << shift;
        bool large = level && !pdpte && level < 3 && (e & PTE_PS) &&
                     (w->entry_size == 8 || (w->cpu->cr4 & CR4_PSE));
        if (!level || large) {
            w->leaf(w, at, size, e, both);
        } else {
            walk_table(w, level - 1, e & (w->entry_size == 8 ? PTE_ADDR : 0xfffff000), at, both);
        }
    }
}

static bool walk(Monitor *mon, Walk *w)
{
    w->mon = mon;
    w->cpu = monitor_cpu_hold(mon);
    if (!w->cpu) {
        monitor_printf(mon, "Error: this machine has no CPU\n");
        return false;
    }
    if (!(w->cpu->cr0 & CR0_PG)) {
        monitor_printf(mon, "PG disabled\n");
        monitor_cpu_release(mon);
        return false;
    }
    bool pae = w->cpu->cr4 & CR4_PAE;
    w->levels = w->cpu->efer & EFER_LMA ? 4 : pae ? 3 : 2;
    w->entry_size = pae ? 8 : 4;
    w->index_bits = pae ? 9 : 10;
    uint64_t top = w->cpu->cr3 & (w->levels == 3 ? 0xffffffe0 : PTE_ADDR);
    walk_table(w, w->levels - 1, top, 0, PTE_W | PTE_U);
    return true;
}

/* ---- info tlb ---- */

static void print_page(Walk *w, uint64_t lin, uint64_t size, uint64_t e, uint64_t rights)
{
    (void)rights;
    monitor_printf(w->mon, "%016" PRIx64 ": %016" PRIx64 " %c%c%c%c%c%c%c%c%c\n", lin,
                   leaf_gpa(w, e, size), e & PTE_NX ? 'X' : '-', e & PTE_G ? 'G' : '-',
                   size > PAGE_SIZE ? 'P' : '-', e & PTE_D ? 'D' : '-', e & PTE_A ? 'A' : '-',
                   e & PTE_PCD ? 'C' : '-', e & PTE_PWT ? 'T' : '-', e & PTE_U ? 'U' : '-',
                   e & PTE_W ? 'W' : '-');
}

static void run_info_tlb(Monitor *mon, const Dict *args)
{
    Walk w = { .leaf = print_page };
    (void)args;
    if (walk(mon, &w)) {
        monitor_cpu_release(mon);
    }
}

/* ---- info mem ---- */

static void flush_range(Walk *w)
{
    if (w->start != UINT64_MAX) {
        monitor_printf(w->mon, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %c%c%c\n", w->start,
                       w->end, w->end - w->start, w->rights & PTE_U ? 'u' : '-', 'r',
                       w->rights & PTE_W ? 'w' : '-');
    }
    w->start = UINT64_MAX;
}

static void join_page(Walk *w, uint64_t lin, uint64_t size, uint64_t e, uint64_t rights)
{
    (void)e;
    rights &= PTE_W | PTE_U;
    if (w->start == UINT64_MAX || w->end != lin || w->rights != rights) {
        flush_range(w);
        w->start = lin;
        w->rights = rights;
    }
    w->end = lin + size;
}

static void run_info_mem(Monitor *mon, const Dict *args)
{
    Walk w = { .leaf = join_page, .start = UINT64_MAX };
    (void)args;
    if (walk(mon, &w)) {
        flush_range(&w);
        monitor_cpu_release(mon);
    }
}

MONITOR_COMMANDS(paging_commands) = {
    { .name = "mem", .help = "show the mapped ranges of virtual memory and their rights",
      .run = run_info_mem, .info = true },
    { .name = "tlb", .help = "show the mapping of every page", .run = run_info_tlb, .info = true },
    { .name = NULL },
};
