/* SPDX-License-Identifier: GPL-2.0-or-later
 * The page walk as it mostly goes: everything present and allowed, A (and D, for a write) set long
 * ago, tables in plain RAM. Anything else is left to cpu/paging.c, so this one never faults and
 * never writes.
 *
 * Paging-structure caches (SDM 3A 4.10.3) keep where the page table and the page directory of an
 * address lie. Their keys hold the context's stamp, which every invalidation replaces.
 *
 * 32-bit paging's 4 MiB pages are left to paging.c.
 */
#include "cpu/paging.h"
#include "cpu/tlb.h"

typedef struct FastWalk {
    const CpuState *cpu;
    Mmu *mmu;
    uint64_t lin;
    int access; /* 0 read, 1 write, 2 fetch */
    bool user, smap_ok, nxe;
    uint64_t reserved;
} FastWalk;

/* A whole table in RAM, or NULL. */
static const uint8_t *table_host(Mmu *m, uint64_t gpa)
{
    const FlatRange *fr = m->walk_range;
    if (unlikely(!fr || gpa - fr->start >= fr->size)) {
        fr = flat_view_find(m->view, gpa);
        if (!fr || !fr->host) {
            return NULL;
        }
        m->walk_range = fr;
    }
    return fr->size - (gpa - fr->start) >= PAGE_SIZE ? fr->host + (gpa - fr->start) : NULL;
}

static uint64_t entry_at(const uint8_t *table, uint64_t index)
{
    return __atomic_load_n((const uint64_t *)table + (index & 0x1ff), __ATOMIC_RELAXED);
}

static uint64_t rights_below(uint64_t rights, uint64_t entry)
{
    return (rights & entry & (PTE_W | PTE_U)) | ((rights | entry) & PTE_NX);
}

/* Is it present, marked as accessed and without reserved bits? */
static bool entry_is_plain(const FastWalk *w, uint64_t entry)
{
    return (entry & (PTE_P | PTE_A)) == (PTE_P | PTE_A) && !(entry & w->reserved);
}

static inline bool map_page(const FastWalk *w, uint64_t entry, uint64_t rights, uint64_t size,
                            PageWalk *out)
{
    uint64_t offset = size - 1;
    if (!entry_is_plain(w, entry) || (entry & offset & ~0x1fffull) ||
        (w->access == 1 && !(entry & PTE_D))) {
        return false;
    }
    paging_decide(w->cpu, rights_below(rights, entry), w->nxe, w->user, w->smap_ok, out);
    out->can_write &= (entry & PTE_D) != 0;
    out->global = (entry & PTE_G) && (w->cpu->cr4 & CR4_PGE);
    out->page_size = size;
    out->gpa = (entry & PTE_ADDR & ~offset) | (w->lin & offset);
    return w->access == 0 ? out->can_read : w->access == 1 ? out->can_write : out->can_exec;
}

static void cache_table(TableCache *t, uint64_t key, const uint8_t *host, uint64_t rights)
{
    *t = (TableCache){ .key = key, .host = host, .rights = rights };
}

typedef enum Found { FOUND_NOTHING, FOUND_TABLE, FOUND_PAGE } Found;

/* The page directory of 4-level paging, into *pd; or the 1 GiB page at lin. */
static Found find_directory(const FastWalk *w, TableCache *pd, uint64_t key, PageWalk *out)
{
    const CpuState *cpu = w->cpu;
    const uint8_t *table = table_host(w->mmu, cpu->cr3 & PTE_ADDR);
    if (!table) {
        return FOUND_NOTHING;
    }
    uint64_t e = entry_at(table, w->lin >> 39), rights = PTE_W | PTE_U;
    if (!entry_is_plain(w, e) || (e & PTE_PS) || !(table = table_host(w->mmu, e & PTE_ADDR))) {
        return FOUND_NOTHING;
    }
    rights = rights_below(rights, e);
    e = entry_at(table, w->lin >> 30);
    if (!entry_is_plain(w, e)) {
        return FOUND_NOTHING;
    }
    if (e & PTE_PS) {
        bool is_page = feature_has(&cpu->features, FEATURE_PDPE1GB) &&
                       map_page(w, e, rights, GiB, out);
        return is_page ? FOUND_PAGE : FOUND_NOTHING;
    }
    if (!(table = table_host(w->mmu, e & PTE_ADDR))) {
        return FOUND_NOTHING;
    }
    cache_table(pd, key, table, rights_below(rights, e));
    return FOUND_TABLE;
}

/* PAE: PDPTEs are registers. */
static Found find_directory_pae(const FastWalk *w, TableCache *pd, uint64_t key)
{
    uint64_t pdpte = w->cpu->pdpte[w->lin >> 30 & 3];
    const uint8_t *table = pdpte & PTE_P ? table_host(w->mmu, pdpte & PTE_ADDR) : NULL;
    if (!table) {
        return FOUND_NOTHING;
    }
    cache_table(pd, key, table, PTE_W | PTE_U);
    return FOUND_TABLE;
}

/* The page table at lin, into *pt; or its page of more than 4 KiB. */
static Found find_table(const FastWalk *w, TableCache *pt, uint64_t pt_key, PageWalk *out)
{
    uint64_t gib = w->lin >> 30 & 0x3ffff;
    uint64_t key = w->mmu->context->stamp << STAMP_SHIFT | gib;
    TableCache *pd = &w->mmu->pd_cache[gib % PD_CACHE];
    if (pd->key != key) {
        Found found = w->cpu->efer & EFER_LMA ? find_directory(w, pd, key, out)
                                              : find_directory_pae(w, pd, key);
        if (found != FOUND_TABLE) {
            return found;
        }
    }
    uint64_t e = entry_at(pd->host, w->lin >> 21);
    if (e & PTE_PS) {
        return map_page(w, e, pd->rights, 2 * MiB, out) ? FOUND_PAGE : FOUND_NOTHING;
    }
    const uint8_t *table = entry_is_plain(w, e) ? table_host(w->mmu, e & PTE_ADDR) : NULL;
    if (!table) {
        return FOUND_NOTHING;
    }
    cache_table(pt, pt_key, table, rights_below(pd->rights, e));
    return FOUND_TABLE;
}

static bool walk_32bit(FastWalk *w, PageWalk *out)
{
    const uint8_t *table = table_host(w->mmu, w->cpu->cr3 & 0xfffff000);
    if (!table) {
        return false;
    }
    w->reserved = PTE_PS;
    w->nxe = false;
    uint32_t e = __atomic_load_n((const uint32_t *)table + (w->lin >> 22), __ATOMIC_RELAXED);
    if (!entry_is_plain(w, e) || !(table = table_host(w->mmu, e & 0xfffff000))) {
        return false;
    }
    uint64_t rights = rights_below(PTE_W | PTE_U, e);
    w->reserved = 0;
    e = __atomic_load_n((const uint32_t *)table + (w->lin >> 12 & 0x3ff), __ATOMIC_RELAXED);
    return map_page(w, e, rights, 4 * KiB, out);
}

bool paging_walk_fast(CpuState *cpu, uint64_t lin, int access, bool user, bool smap_ok,
                      PageWalk *out)
{
    Mmu *m = cpu->mmu;
    bool lma = cpu->efer & EFER_LMA;
    if (unlikely(!(cpu->cr0 & CR0_PG))) {
        return false;
    }
    bool nxe = cpu->efer & EFER_NXE;
    FastWalk w = { .cpu = cpu, .mmu = m, .lin = lma ? lin : (uint32_t)lin, .access = access,
                   .user = user, .smap_ok = smap_ok, .nxe = nxe };
    if (unlikely(!(cpu->cr4 & CR4_PAE))) {
        return walk_32bit(&w, out);
    }
    w.reserved = (PTE_ADDR & ~0ull << cpu->phys_bits) | (nxe ? 0 : PTE_NX);
    if (!lma) {
        w.reserved |= 0x7ffull << 52;
    }
    uint64_t region = w.lin >> 21 & 0x7ffffff;
    uint64_t key = m->context->stamp << STAMP_SHIFT | region;
    TableCache *t = &m->pt_cache[(region ^ region >> 9) % PT_CACHE];
    if (unlikely(t->key != key)) {
        Found found = find_table(&w, t, key, out);
        if (found != FOUND_TABLE) {
            return found == FOUND_PAGE;
        }
    }
    return map_page(&w, entry_at(t->host, w.lin >> 12), t->rights, 4 * KiB, out);
}
