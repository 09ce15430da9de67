/* SPDX-License-Identifier: GPL-2.0-or-later
 * The page walk (SDM 3A chapter 4). One function a format: 32-bit, PAE and 4-level. Each
 * reads entries from the top, and stops with the error code at the first that is not
 * present or has a reserved bit set; rights are the sum of all levels and are checked at
 * the end.
 *
 * Accessed bits are set as the walk goes down, A and D of the last entry only when the
 * access is allowed, each with a compare-and-swap, since another CPU may change the entry.
 * A walk that loses such a race starts again.
 *
 * Left out: 5-level paging, protection keys.
 */
#include "cpu/paging.h"

#include "cpu/mem.h"

typedef struct Walker {
    CpuState *cpu;
    uint64_t lin;
    int access; /* 0 read, 1 write, 2 fetch */
    bool user, smap_ok, probe;
    bool nxe;
    uint64_t reserved; /* address bits beyond phys_bits, and NX where that is off */
    unsigned entry_size;
    uint64_t rights; /* PTE_W, PTE_U: and of all levels; PTE_NX: or */
    PageWalk *out;
} Walker;

typedef enum Step { STEP_OK, STEP_FAULT, STEP_AGAIN } Step;

static uint64_t bits_from_to(unsigned lo, unsigned hi)
{
    return lo > hi ? 0 : (hi >= 63 ? ~0ull : (1ull << (hi + 1)) - 1) & ~((1ull << lo) - 1);
}

/* #PF error code (SDM 3A 4.7): cause is PF_PRESENT, PF_RSVD or nothing. */
static Step fault(Walker *w, uint32_t cause)
{
    uint32_t error = cause;
    if (w->access == 1) {
        error |= PF_WRITE;
    }
    if (w->user) {
        error |= PF_USER;
    }
    if (w->access == 2 && (w->nxe || (w->cpu->cr4 & CR4_SMEP))) {
        error |= PF_FETCH;
    }
    w->out->error = error;
    return STEP_FAULT;
}

/* Sets bits in an entry that was read as *entry. */
static Step mark(Walker *w, uint64_t gpa, uint64_t *entry, uint64_t bits)
{
    if (w->probe || (*entry & bits) == bits) {
        return STEP_OK;
    }
    if (phys_cas(w->cpu, gpa, *entry, *entry | bits, w->entry_size)) {
        *entry |= bits;
        return STEP_OK;
    }
    /* Tables in ROM cannot be marked, and need not be. */
    return phys_load(w->cpu, gpa, w->entry_size) == *entry ? STEP_OK : STEP_AGAIN;
}

/* Reads an entry and folds its rights in. reserved: more bits that must be 0. */
static Step get_entry(Walker *w, uint64_t gpa, uint64_t reserved, uint64_t *entry)
{
    uint64_t e = phys_load(w->cpu, gpa, w->entry_size);
    if (!(e & PTE_P)) {
        return fault(w, 0);
    }
    if (e & (w->reserved | reserved)) {
        return fault(w, PF_PRESENT | PF_RSVD);
    }
    w->rights = (w->rights & e & (PTE_W | PTE_U)) | ((w->rights | e) & PTE_NX);
    *entry = e;
    return STEP_OK;
}

/* The last entry: maps a page of page_size at base. */
static Step finish(Walker *w, uint64_t gpa, uint64_t entry, uint64_t base,
                   uint64_t page_size)
{
    PageWalk *out = w->out;
    paging_decide(w->cpu, w->rights, w->nxe, w->user, w->smap_ok, out);
    if (!(w->access == 0   ? out->can_read
          : w->access == 1 ? out->can_write
                           : out->can_exec)) {
        return fault(w, PF_PRESENT);
    }
    Step step = mark(w, gpa, &entry, w->access == 1 ? PTE_A | PTE_D : PTE_A);
    if (step != STEP_OK) {
        return step;
    }
    /* Tables in ROM never get a D bit: then the write goes on without. */
    out->can_write &= (entry & PTE_D) || (w->access == 1 && !w->probe);
    uint64_t pat = page_size == 4096 ? PTE_PAT : PTE_PAT_LARGE;
    out->pat_index =
        (entry & PTE_PWT ? 1 : 0) | (entry & PTE_PCD ? 2 : 0) | (entry & pat ? 4 : 0);
    out->global = (entry & PTE_G) && (w->cpu->cr4 & CR4_PGE);
    out->page_size = page_size;
    out->gpa = (base & ~(page_size - 1)) | (w->lin & (page_size - 1));
    return STEP_OK;
}

static Step walk_32bit(Walker *w)
{
    const CpuState *cpu = w->cpu;
    uint64_t lin = w->lin, e = 0;
    uint64_t gpa = (cpu->cr3 & 0xfffff000) + (lin >> 22) * 4;
    Step step = get_entry(w, gpa, 0, &e);
    if (step != STEP_OK) {
        return step;
    }
    if ((e & PTE_PS) && (cpu->cr4 & CR4_PSE)) {
        /* PSE-36: bits 20:13 are address bits 39:32, as far as the CPU has them */
        unsigned high_bits = 0;
        if (feature_has(&cpu->features, FEATURE_PSE36)) {
            high_bits = MIN(cpu->phys_bits, 40u) - 32;
        }
        if (e & bits_from_to(13 + high_bits, 21)) {
            return fault(w, PF_PRESENT | PF_RSVD);
        }
        uint64_t base = (e & 0xffc00000) | (e & bits_from_to(13, 20)) << 19;
        return finish(w, gpa, e, base, 4 * MiB);
    }
    step = mark(w, gpa, &e, PTE_A);
    if (step != STEP_OK) {
        return step;
    }
    gpa = (e & 0xfffff000) + (lin >> 12 & 0x3ff) * 4;
    step = get_entry(w, gpa, 0, &e);
    return step == STEP_OK ? finish(w, gpa, e, e & 0xfffff000, 4096) : step;
}

/* From the page directory at table: what PAE and 4-level paging share. */
static Step walk_directory(Walker *w, uint64_t table)
{
    uint64_t e = 0, gpa = table + (w->lin >> 21 & 0x1ff) * 8;
    Step step = get_entry(w, gpa, 0, &e);
    if (step != STEP_OK) {
        return step;
    }
    if (e & PTE_PS) {
        if (e & bits_from_to(13, 20)) {
            return fault(w, PF_PRESENT | PF_RSVD);
        }
        return finish(w, gpa, e, e & PTE_ADDR, 2 * MiB);
    }
    step = mark(w, gpa, &e, PTE_A);
    if (step != STEP_OK) {
        return step;
    }
    gpa = (e & PTE_ADDR) + (w->lin >> 12 & 0x1ff) * 8;
    step = get_entry(w, gpa, 0, &e);
    return step == STEP_OK ? finish(w, gpa, e, e & PTE_ADDR, 4096) : step;
}

static Step walk_pae(Walker *w)
{
    /* The PDPTEs were checked when they were loaded; they give no rights. */
    uint64_t pdpte = w->cpu->pdpte[w->lin >> 30 & 3];
    if (!(pdpte & PTE_P)) {
        return fault(w, 0);
    }
    return walk_directory(w, pdpte & PTE_ADDR);
}

static Step walk_4level(Walker *w)
{
    const CpuState *cpu = w->cpu;
    uint64_t e = 0, gpa = (cpu->cr3 & PTE_ADDR) + (w->lin >> 39 & 0x1ff) * 8;
    Step step = get_entry(w, gpa, PTE_PS, &e);
    if (step == STEP_OK) {
        step = mark(w, gpa, &e, PTE_A);
    }
    if (step != STEP_OK) {
        return step;
    }
    gpa = (e & PTE_ADDR) + (w->lin >> 30 & 0x1ff) * 8;
    step = get_entry(w, gpa, feature_has(&cpu->features, FEATURE_PDPE1GB) ? 0 : PTE_PS, &e);
    if (step != STEP_OK) {
        return step;
    }
    if (e & PTE_PS) {
        if (e & bits_from_to(13, 29)) {
            return fault(w, PF_PRESENT | PF_RSVD);
        }
        return finish(w, gpa, e, e & PTE_ADDR, GiB);
    }
    step = mark(w, gpa, &e, PTE_A);
    return step == STEP_OK ? walk_directory(w, e & PTE_ADDR) : step;
}

static Step walk_once(Walker *w)
{
    const CpuState *cpu = w->cpu;
    w->rights = PTE_W | PTE_U;
    if (!(cpu->cr4 & CR4_PAE)) {
        w->entry_size = 4;
        w->reserved = 0;
        w->nxe = false; /* and the error code has no PF_FETCH for it */
        return walk_32bit(w);
    }
    w->entry_size = 8;
    w->nxe = cpu->efer & EFER_NXE;
    w->reserved = w->nxe ? 0 : PTE_NX;
    if (cpu->efer & EFER_LMA) {
        w->reserved |= bits_from_to(cpu->phys_bits, 51);
        return walk_4level(w);
    }
    w->reserved |= bits_from_to(cpu->phys_bits, 62);
    return walk_pae(w);
}

bool paging_walk(CpuState *cpu, uint64_t lin, int access, bool user, bool smap_ok,
                 bool probe, PageWalk *out)
{
    *out = (PageWalk) { .gpa = lin, .page_size = 4096 };
    if (!(cpu->cr0 & CR0_PG)) {
        out->gpa = (uint32_t)lin;
        out->can_read = out->can_write = out->can_exec = true;
        return true;
    }
    if (!(cpu->efer & EFER_LMA)) {
        lin = (uint32_t)lin;
    }
    Walker w = { .cpu = cpu,
                 .lin = lin,
                 .access = access,
                 .user = user,
                 .smap_ok = smap_ok,
                 .probe = probe,
                 .out = out };
    Step step;
    do {
        step = walk_once(&w);
    } while (step == STEP_AGAIN);
    return step == STEP_OK;
}

uint64_t paging_translate(CpuState *cpu, uint64_t lin)
{
    if ((cpu->efer & EFER_LMA) && !lin_is_canonical(cpu, lin)) {
        return UINT64_MAX;
    }
    /* A supervisor's read that SMAP does not stop may see all that is mapped. */
    PageWalk walk;
    return paging_walk(cpu, lin, 0, false, true, true, &walk) ? walk.gpa : UINT64_MAX;
}

bool paging_load_pdptes(CpuState *cpu, uint64_t cr3)
{
    /* SDM 3A 4.4.1: bits 2:1, 8:5 and those beyond MAXPHYADDR */
    uint64_t reserved = 0x1e6 | bits_from_to(cpu->phys_bits, 63);
    uint64_t pdpte[4];
    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = phys_load(cpu, (cr3 & 0xffffffe0) + i * 8, 8);
        if ((pdpte[i] & PTE_P) && (pdpte[i] & reserved)) {
            return false;
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        cpu->pdpte[i] = pdpte[i];
    }
    return true;
}
