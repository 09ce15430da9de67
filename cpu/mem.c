/* SPDX-License-Identifier: GPL-2.0-or-later
 * Memory as an instruction sees it, through the translation caches of cpu/tlb.h. The fast paths
 * of the engines are inline in their own files; everything they miss comes here.
 */
#include "cpu/mem.h"

#include <string.h>

#include "cpu/debug.h"
#include "cpu/exception.h"
#include "cpu/journal.h"
#include "cpu/paging.h"
#include "cpu/tlb.h"
#include "hw/core/machine.h"

typedef uint16_t __attribute__((aligned(1), may_alias)) u16_any;
typedef uint32_t __attribute__((aligned(1), may_alias)) u32_any;
typedef uint64_t __attribute__((aligned(1), may_alias)) u64_any;

static uint64_t host_load(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1: return *p;
    case 2: return *(const u16_any *)p;
    case 4: return *(const u32_any *)p;
    default: return *(const u64_any *)p;
    }
}

static void host_store(uint8_t *p, uint64_t val, unsigned size)
{
    switch (size) {
    case 1: *p = (uint8_t)val; break;
    case 2: *(u16_any *)p = (uint16_t)val; break;
    case 4: *(u32_any *)p = (uint32_t)val; break;
    default: *(u64_any *)p = val;
    }
}

/* ---- the cache ---- */

/* The entry for an access inside one page; faults are raised. */
static TlbEntry *tlb_get(CpuState *cpu, Tlb *t, uint64_t lin, bool write)
{
    TlbEntry *e = tlb_entry(t, lin);
    if (!tlb_tag_allows(write ? e->wtag : e->rtag, lin)) {
        e = tlb_fill(cpu, t, lin, write);
    }
    return e;
}

static Tlb *tlb_for(CpuState *cpu, MemAs as)
{
    return as == MEM_CPL ? cpu->tlb : cpu->mmu->tlb[as == MEM_USER ? TLB_USER : TLB_KERNEL];
}

static bool crosses(uint64_t lin, unsigned size)
{
    return (lin & (PAGE_SIZE - 1)) + size > PAGE_SIZE;
}

static uint64_t lin_add(const CpuState *cpu, uint64_t lin, unsigned n)
{
    return cpu->mode & MODE_LMA ? lin + n : (uint32_t)(lin + n);
}

/* ---- registers behind memory ---- */

/* Outside guest code, so that whoever waits for this CPU's safepoint need not wait for vm_lock. */
static void io_begin(CpuState *cpu)
{
    if (unlikely(cpu->mmu && cpu->mmu->journal)) {
        journal_escape(cpu->mmu->journal, "it reaches a device");
    }
    __atomic_store_n(&cpu->guest_code, 0, __ATOMIC_SEQ_CST);
}

static void io_end(CpuState *cpu)
{
    __atomic_store_n(&cpu->guest_code, 1, __ATOMIC_SEQ_CST);
}

static uint64_t io_load(CpuState *cpu, uint64_t gpa, unsigned size)
{
    io_begin(cpu);
    uint64_t val = address_space_load(&cpu->machine->memory, gpa, size);
    io_end(cpu);
    return val;
}

static void io_store(CpuState *cpu, uint64_t gpa, uint64_t val, unsigned size)
{
    io_begin(cpu);
    address_space_store(&cpu->machine->memory, gpa, val, size);
    io_end(cpu);
}

uint64_t port_in(CpuState *cpu, uint16_t port, unsigned size)
{
    io_begin(cpu);
    uint64_t val = address_space_load(&cpu->machine->io, port, size);
    io_end(cpu);
    return val;
}

void port_out(CpuState *cpu, uint16_t port, uint64_t val, unsigned size)
{
    io_begin(cpu);
    address_space_store(&cpu->machine->io, port, val, size);
    io_end(cpu);
}

unsigned port_in_string(CpuState *cpu, uint16_t port, void *buf, unsigned size, unsigned n)
{
    io_begin(cpu);
    unsigned done = address_space_load_string(&cpu->machine->io, port, buf, size, n);
    io_end(cpu);
    return done;
}

unsigned port_out_string(CpuState *cpu, uint16_t port, const void *buf, unsigned size, unsigned n)
{
    io_begin(cpu);
    unsigned done = address_space_store_string(&cpu->machine->io, port, buf, size, n);
    io_end(cpu);
    return done;
}

/* ---- loads and stores ---- */

/* SDM 3A 6.15, vector 17 */
static void check_alignment(CpuState *cpu, const Tlb *t, uint64_t lin, unsigned size)
{
    if (t->kind == TLB_CAREFUL_USER && (cpu->cr0 & CR0_AM) && (cpu->eflags & FLAG_AC) &&
        (lin & (size - 1))) {
        cpu_raise(cpu, EXC_AC, 0);
    }
}

void lin_check_store(CpuState *cpu, uint64_t lin, unsigned size)
{
    if (size <= 8 && !(size & (size - 1))) {
        check_alignment(cpu, cpu->tlb, lin, size);
    }
    lin_probe(cpu, lin, size, true, MEM_CPL);
}

/* Besides, SDM 3B 17.2.4 */
static void careful_checks(CpuState *cpu, const Tlb *t, uint64_t lin, unsigned size, bool write)
{
    if (t->kind < TLB_CAREFUL_KERNEL) {
        return;
    }
    check_alignment(cpu, t, lin, size);
    if (cpu->mode & MODE_DR) {
        debug_check_data(cpu, lin, size, write);
    }
}

static uint64_t load_in_page(CpuState *cpu, Tlb *t, uint64_t lin, unsigned size)
{
    TlbEntry *e = tlb_get(cpu, t, lin, false);
    if (likely(!(e->rtag & TLB_SLOW))) {
        return host_load((uint8_t *)(e->addend + lin), size);
    }
    cpu->mmu->slow++;
    const TlbSide *s = &t->side[e - t->entry];
    if (s->ram) {
        return host_load((uint8_t *)(e->addend + lin), size);
    }
    return io_load(cpu, e->gpa | (lin & 0xfff), size);
}

static void store_in_page(CpuState *cpu, Tlb *t, uint64_t lin, uint64_t val, unsigned size)
{
    TlbEntry *e = tlb_get(cpu, t, lin, true);
    uint8_t *host = (uint8_t *)(e->addend + lin);
    if (likely(!(e->wtag & TLB_SLOW))) {
        host_store(host, val, size);
        return;
    }
    cpu->mmu->slow++;
    const TlbSide *s = &t->side[e - t->entry];
    if (!s->ram) {
        io_store(cpu, e->gpa | (lin & 0xfff), val, size);
        return;
    }
    if (s->rom) {
        return;
    }
    if (unlikely(cpu->mmu->journal)) {
        journal_store(cpu->mmu->journal, lin, host, s->ram, s->ram_offset + (lin & 0xfff), val,
                      size);
    }
    host_store(host, val, size);
    mmu_written(cpu, s->ram, s->ram_offset + (lin & 0xfff), size);
    tlb_set_write_tag(t, e, TLB_PAGE(lin));
}

void mmu_written(CpuState *cpu, RamBlock *ram, uint64_t offset, uint64_t len)
{
    const uint32_t *stamp = ram_code_stamp(ram, offset);
    uint32_t before = *stamp;
    ram_written(ram, offset, len);
    if (*stamp != before) {
        cpu->mmu->store_hit_code = true;
    }
}

static uint64_t tlb_load(CpuState *cpu, Tlb *t, uint64_t lin, unsigned size)
{
    careful_checks(cpu, t, lin, size, false);
    if (likely(!crosses(lin, size))) {
        return load_in_page(cpu, t, lin, size);
    }
    uint64_t val = 0;
    tlb_get(cpu, t, lin, false);
    tlb_get(cpu, t, TLB_PAGE(lin_add(cpu, lin, size - 1)), false); /* CR2: its first byte */
    for (unsigned i = 0; i < size; i++) {
        val |= load_in_page(cpu, t, lin_add(cpu, lin, i), 1) << i * 8;
    }
    return val;
}

static void tlb_store(CpuState *cpu, Tlb *t, uint64_t lin, uint64_t val, unsigned size)
{
    careful_checks(cpu, t, lin, size, true);
    if (likely(!crosses(lin, size))) {
        store_in_page(cpu, t, lin, val, size);
        return;
    }
    tlb_get(cpu, t, lin, true);
    tlb_get(cpu, t, TLB_PAGE(lin_add(cpu, lin, size - 1)), true);
    for (unsigned i = 0; i < size; i++) {
        store_in_page(cpu, t, lin_add(cpu, lin, i), val >> i * 8, 1);
    }
}

uint64_t lin_load(CpuState *cpu, uint64_t lin, unsigned size, MemAs as)
{
    Tlb *t = tlb_for(cpu, as);
    const TlbEntry *e = tlb_entry(t, lin);
    if (likely(e->rtag == TLB_PAGE(lin + size - 1))) {
        return host_load((const uint8_t *)(e->addend + lin), size);
    }
    return tlb_load(cpu, t, lin, size);
}

void lin_store(CpuState *cpu, uint64_t lin, uint64_t val, unsigned size, MemAs as)
{
    Tlb *t = tlb_for(cpu, as);
    const TlbEntry *e = tlb_entry(t, lin);
    if (likely(e->wtag == TLB_PAGE(lin + size - 1))) {
        host_store((uint8_t *)(e->addend + lin), val, size);
        return;
    }
    tlb_store(cpu, t, lin, val, size);
}

void lin_probe(CpuState *cpu, uint64_t lin, unsigned len, bool write, MemAs as)
{
    Tlb *t = tlb_for(cpu, as);
    for (unsigned done = 0; done < len;) {
        uint64_t at = lin_add(cpu, lin, done);
        tlb_get(cpu, t, at, write);
        done += PAGE_SIZE - (at & (PAGE_SIZE - 1));
    }
}

/* Copies between guest and buf, RAM at once, registers in the largest aligned pieces. */
static void lin_copy(CpuState *cpu, uint64_t lin, uint8_t *buf, unsigned len, bool write, MemAs as)
{
    Tlb *t = tlb_for(cpu, as);
    lin_probe(cpu, lin, len, write, as);
    while (len) {
        unsigned n = MIN(len, PAGE_SIZE - (unsigned)(lin & (PAGE_SIZE - 1)));
        TlbEntry *e = tlb_get(cpu, t, lin, write);
        if (!((write ? e->wtag : e->rtag) & TLB_SLOW)) {
            uint8_t *host = (uint8_t *)(e->addend + lin);
            memcpy(write ? host : buf, write ? buf : host, n);
        } else {
            n = MIN(n, 8u);
            while (n & (n - 1)) {
                n &= n - 1;
            }
            careful_checks(cpu, t, lin, n, write);
            if (write) {
                store_in_page(cpu, t, lin, host_load(buf, n), n);
            } else {
                host_store(buf, load_in_page(cpu, t, lin, n), n);
            }
        }
        lin = lin_add(cpu, lin, n);
        buf += n;
        len -= n;
    }
}

void lin_read(CpuState *cpu, uint64_t lin, void *buf, unsigned len, MemAs as)
{
    lin_copy(cpu, lin, buf, len, false, as);
}

void lin_write(CpuState *cpu, uint64_t lin, const void *buf, unsigned len, MemAs as)
{
    lin_copy(cpu, lin, (uint8_t *)buf, len, true, as);
}

void *lin_host(CpuState *cpu, uint64_t lin, unsigned len, bool write)
{
    if (crosses(lin, len)) {
        return NULL;
    }
    TlbEntry *e = tlb_get(cpu, cpu->tlb, lin, write);
    return (write ? e->wtag : e->rtag) & TLB_SLOW ? NULL : (void *)(e->addend + lin);
}

void *lin_host_tracked(CpuState *cpu, uint64_t lin, unsigned len, bool write, RamBlock **ram,
                       uint64_t *ram_offset)
{
    if (crosses(lin, len) || cpu->tlb->kind >= TLB_CAREFUL_KERNEL) {
        return NULL;
    }
    TlbEntry *e = tlb_get(cpu, cpu->tlb, lin, write);
    const TlbSide *s = &cpu->tlb->side[e - cpu->tlb->entry];
    if (!s->ram || (write && s->rom)) {
        return NULL;
    }
    *ram = s->ram;
    *ram_offset = s->ram_offset + (lin & 0xfff);
    return (void *)(e->addend + lin);
}

/* ---- guest physical ---- */

static uint8_t *phys_host(CpuState *cpu, uint64_t gpa, unsigned size, const FlatRange **range)
{
    Mmu *m = cpu->mmu;
    if (!m) {
        return NULL;
    }
    const FlatRange *fr = m->walk_range;
    if (!fr || gpa - fr->start >= fr->size) {
        fr = flat_view_find(m->view, gpa);
        if (!fr || !fr->host) {
            return NULL;
        }
        m->walk_range = fr;
    }
    if (gpa - fr->start + size > fr->size) {
        return NULL;
    }
    *range = fr;
    return fr->host + (gpa - fr->start);
}

uint64_t phys_load(CpuState *cpu, uint64_t gpa, unsigned size)
{
    const FlatRange *fr;
    uint8_t *host = phys_host(cpu, gpa, size, &fr);
    if (likely(host)) {
        return size == 8 ? __atomic_load_n((uint64_t *)host, __ATOMIC_RELAXED)
                         : host_load(host, size);
    }
    return address_space_load(&cpu->machine->memory, gpa, size);
}

void phys_store(CpuState *cpu, uint64_t gpa, uint64_t val, unsigned size)
{
    const FlatRange *fr;
    uint8_t *host = phys_host(cpu, gpa, size, &fr);
    if (!host) {
        address_space_store(&cpu->machine->memory, gpa, val, size);
    } else if (!fr->readonly) {
        host_store(host, val, size);
        mmu_written(cpu, fr->ram, fr->ram_offset + (gpa - fr->start), size);
    }
}

bool phys_cas(CpuState *cpu, uint64_t gpa, uint64_t old, uint64_t val, unsigned size)
{
    const FlatRange *fr;
    uint8_t *host = phys_host(cpu, gpa, size, &fr);
    bool done;
    if (!host) { /* page tables in a device or nowhere: A and D go there and vanish */
        if (phys_load(cpu, gpa, size) != old) {
            return false;
        }
        phys_store(cpu, gpa, val, size);
        return true;
    }
    if (fr->readonly) {
        return true;
    }
    if (size == 8) {
        done = __atomic_compare_exchange_n((uint64_t *)host, &old, val, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    } else {
        uint32_t old32 = (uint32_t)old;
        done = __atomic_compare_exchange_n((uint32_t *)host, &old32, (uint32_t)val, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    if (done) {
        mmu_written(cpu, fr->ram, fr->ram_offset + (gpa - fr->start), size);
        if (unlikely(cpu->mmu->journal)) {
            cpu->mmu->journal->tables_marked = true;
        }
    }
    return done;
}
