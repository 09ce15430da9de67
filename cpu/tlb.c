/* SPDX-License-Identifier: GPL-2.0-or-later
 * Translation caches: contexts, invalidation (SDM 3A 4.10.4) and filling. tlb.h says how they
 * are laid out and who may touch them; cpu/mem.c uses them.
 */
#include "cpu/tlb.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/exception.h"
#include "cpu/mem.h"
#include "cpu/paging.h"
#include "cpu/window_checked.h"
#include "hw/core/machine.h"
#include "util/log.h"

#define LARGE_PAGE (4 * MiB)

/* A context whose supervisor has more pages than this that are not global gets its own cache. */
enum { OWN_KERNEL_PAGES = 24 };

/* ---- filters ---- */

static unsigned filter_slot(uint64_t n)
{
    return (unsigned)(n * 0x9e3779b97f4a7c15ull >> (64 - FILTER_BITS));
}

static void filter_add(PageFilter *f, uint64_t n)
{
    unsigned slot = filter_slot(n);
    f->word[slot >> 6] |= 1ull << (slot & 63);
    f->first = f->any ? MIN(f->first, n) : n;
    f->last = MAX(f->last, n);
    f->any = true;
}

/* Without the bits, which are crowded in the end: a user's page is never among a kernel's. */
static bool filter_touches(const PageFilter *f, uint64_t first, uint64_t last)
{
    return f->any && first <= f->last && last >= f->first;
}

static bool filter_has(const PageFilter *f, uint64_t n)
{
    unsigned slot = filter_slot(n);
    return filter_touches(f, n, n) && (f->word[slot >> 6] >> (slot & 63) & 1);
}

static void filter_clear(PageFilter *f)
{
    if (f->any) {
        memset(f, 0, sizeof(*f));
    }
}

/* TlbSet.large knows pages of 2 and 4 MiB by their 4 MiB, and those of 1 GiB. */
static uint64_t large_key(uint64_t lin, bool huge)
{
    return huge ? lin >> 30 << 1 | 1 : lin >> 22 << 1;
}

/* ---- one cache ---- */

static void entry_drop(TlbEntry *e)
{
    e->rtag = e->wtag = TLB_NONE;
}

static void log_add(TlbLog *log, unsigned index)
{
    if (log->nr < TLB_LOG) {
        log->index[log->nr] = (uint16_t)index;
    }
    log->nr += log->nr <= TLB_LOG;
}

static void tlb_clear(Tlb *t)
{
    if (t->all.nr > TLB_LOG) {
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            entry_drop(&t->entry[i]);
        }
    } else {
        for (unsigned i = 0; i < t->all.nr; i++) {
            entry_drop(&t->entry[t->all.index[i]]);
        }
    }
    t->all.nr = t->local.nr = 0;
    t->has_global = false;
}

static void tlb_clear_local(Tlb *t)
{
    if (!t->has_global) {
        tlb_clear(t);
        return;
    }
    unsigned nr = t->local.nr > TLB_LOG ? TLB_SIZE : t->local.nr;
    for (unsigned n = 0; n < nr; n++) {
        unsigned i = t->local.nr > TLB_LOG ? n : t->local.index[n];
        if (!t->side[i].global) {
            entry_drop(&t->entry[i]);
        }
    }
    t->local.nr = 0;
}

static void tlb_clear_page(Tlb *t, uint64_t lin)
{
    TlbEntry *e = tlb_entry(t, lin);
    if (TLB_PAGE(e->rtag) == TLB_PAGE(lin) || TLB_PAGE(e->wtag) == TLB_PAGE(lin)) {
        entry_drop(e);
    }
}

/* Drops what lies in lin's 4 MiB: one page of 4 MiB or two of 2 MiB. */
static void tlb_clear_large(Tlb *t, uint64_t lin)
{
    uint64_t mask = ~(LARGE_PAGE - 1);
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        TlbEntry *e = &t->entry[i];
        if ((e->rtag & mask) == (lin & mask) || (e->wtag & mask) == (lin & mask)) {
            entry_drop(e);
        }
    }
}

/* Draws a new generation: nothing remembered under the old one is valid. */
static void code_clear(Mmu *m, CodeTlb *c)
{
    c->generation = ++m->last_generation;
    filter_clear(&c->pages);
    c->local = false;
}

static void code_clear_page(Mmu *m, CodeTlb *c, uint64_t lin, bool large)
{
    uint64_t first = ROUND_DOWN(lin, LARGE_PAGE) >> PAGE_BITS;
    if (large ? filter_touches(&c->pages, first, first + (LARGE_PAGE >> PAGE_BITS) - 1)
              : filter_has(&c->pages, lin >> PAGE_BITS)) {
        code_clear(m, c);
    }
}

/* ---- sets of them ---- */

static void set_clear(Mmu *m, TlbSet *s)
{
    s->stamp = ++m->last_stamp;
    for (unsigned k = 0; k <= TLB_KERNEL_AC; k++) {
        tlb_clear(&s->tlb[k]);
    }
    code_clear(m, &s->kernel_code);
    code_clear(m, &s->user_code);
    filter_clear(&s->large[0]);
    filter_clear(&s->large[1]);
    s->invs_seen = m->nr_invs;
}

/* Global pages stay. */
static void set_clear_local(Mmu *m, TlbSet *s)
{
    s->stamp = ++m->last_stamp;
    for (unsigned k = 0; k <= TLB_KERNEL_AC; k++) {
        tlb_clear_local(&s->tlb[k]);
    }
    if (s->kernel_code.local) {
        code_clear(m, &s->kernel_code);
    }
    if (s->user_code.local) {
        code_clear(m, &s->user_code);
    }
    filter_clear(&s->large[0]);
}

static bool set_has_large(const TlbSet *s, uint64_t lin, bool huge)
{
    uint64_t key = large_key(lin, huge);
    return filter_has(&s->large[0], key) || filter_has(&s->large[1], key);
}

static void set_clear_page(Mmu *m, TlbSet *s, uint64_t lin)
{
    s->stamp = ++m->last_stamp; /* SDM 3A 4.10.4.1: whatever the address */
    if (set_has_large(s, lin, true)) {
        set_clear(m, s);
        return;
    }
    bool large = set_has_large(s, lin, false);
    for (unsigned k = 0; k <= TLB_KERNEL_AC; k++) {
        if (large) {
            tlb_clear_large(&s->tlb[k], lin);
        } else {
            tlb_clear_page(&s->tlb[k], lin);
        }
    }
    code_clear_page(m, &s->kernel_code, lin, large);
    code_clear_page(m, &s->user_code, lin, large);
}

static void tlb_init(Tlb *t, TlbKind kind, uint16_t writer)
{
    t->kind = kind;
    t->writer = writer;
    t->all.nr = TLB_LOG + 1;
    tlb_clear(t);
    __atomic_store_n(&t->ready, true, __ATOMIC_RELEASE);
}

/* ---- the slots in front ---- */

static void slots_clear(TlbSlots *s, bool user)
{
    uint64_t *tag = &s->tag[user ? NR_SLOTS / 2 : 0];
    for (unsigned i = 0; i < NR_SLOTS / 2; i++) {
        __atomic_store_n(&tag[i], SLOT_NONE, __ATOMIC_RELAXED); /* others look: slots_revoke_write */
    }
}

static void spans_clear(TlbSpans *s)
{
    for (unsigned i = 0; i < NR_SPANS; i++) {
        __atomic_store_n(&s->first[i], SLOT_NONE, __ATOMIC_RELAXED); /* as slots */
    }
}

void tlb_slots_clear_writes(CpuState *cpu)
{
    spans_clear(&cpu->write_spans);
    slots_clear(&cpu->write_slots, false);
    slots_clear(&cpu->write_slots, true);
    if (cpu->checked_window) {
        checked_window_clear_writes(cpu->checked_window);
    }
}

void tlb_slots_clear(CpuState *cpu)
{
    tlb_slots_clear_writes(cpu);
    spans_clear(&cpu->read_spans);
    slots_clear(&cpu->read_slots, false);
    slots_clear(&cpu->read_slots, true);
    if (cpu->checked_window) {
        checked_window_clear(cpu->checked_window);
    }
}

/* Keeps what t allows, too. Slots are only emptied: another thread may revoke one meanwhile. */
static void slots_keep(TlbSlots *s, Tlb *t, bool write)
{
    for (unsigned i = 0; i < NR_SLOTS / 2; i++) {
        uint64_t tag = s->tag[i];
        const TlbEntry *e = tlb_entry(t, tag);
        if (tag != SLOT_NONE &&
            ((write ? e->wtag : e->rtag) != tag || e->addend != s->addend[i])) {
            __atomic_store_n(&s->tag[i], SLOT_NONE, __ATOMIC_RELAXED);
        }
    }
}

/* Slots are for another cache now. STAC and CLAC come in pairs around each access to the user's
 * memory: what a supervisor may touch with AC clear it may touch with AC set. */
static void slots_select(CpuState *cpu, bool user)
{
    const Mmu *m = cpu->mmu;
    const Tlb *was = cpu->slots_tlb[user];
    cpu->slots_tlb[user] = cpu->tlb;
    if (was == m->tlb[TLB_KERNEL] && cpu->tlb == m->tlb[TLB_KERNEL_AC]) {
        return;
    }
    if (was == m->tlb[TLB_KERNEL_AC] && cpu->tlb == m->tlb[TLB_KERNEL]) {
        slots_keep(&cpu->read_slots, cpu->tlb, false);
        slots_keep(&cpu->write_slots, cpu->tlb, true);
        return;
    }
    slots_clear(&cpu->read_slots, user);
    slots_clear(&cpu->write_slots, user);
    if (cpu->checked_window) {
        checked_window_clear(cpu->checked_window);
    }
    if (!user) {
        spans_clear(&cpu->read_spans);
        spans_clear(&cpu->write_spans);
    }
}

/* One that is just being filled was found in the Tlb itself; its owner drops it at the safepoint
 * that the caller then waits for. */
static bool slots_revoke_write(TlbSlots *s, const uint8_t *page)
{
    bool found = false;
    for (unsigned i = 0; i < NR_SLOTS; i++) {
        uint64_t tag = __atomic_load_n(&s->tag[i], __ATOMIC_RELAXED);
        if (tag != SLOT_NONE && (!page || (uint8_t *)(s->addend[i] + tag) == page)) {
            __atomic_store_n(&s->tag[i], SLOT_NONE, __ATOMIC_SEQ_CST);
            found = true;
        }
    }
    return found;
}

static bool spans_revoke_write(TlbSpans *s, const uint8_t *page)
{
    bool found = false;
    for (unsigned i = 0; i < NR_SPANS; i++) {
        uint64_t first = __atomic_load_n(&s->first[i], __ATOMIC_RELAXED);
        if (first != SLOT_NONE &&
            (!page || (uint64_t)(uintptr_t)page - (s->addend[i] + first) <= s->limit[i])) {
            __atomic_store_n(&s->first[i], SLOT_NONE, __ATOMIC_SEQ_CST);
            found = true;
        }
    }
    return found;
}

/* ---- contexts ---- */

static int current_pcid(const CpuState *cpu)
{
    return cpu->cr4 & CR4_PCIDE ? (int)(cpu->cr3 & 0xfff) : 0;
}

static void careful_clear(Mmu *m)
{
    tlb_clear(&m->careful[0]);
    tlb_clear(&m->careful[1]);
}

static void choose_caches(Mmu *m)
{
    TlbSet *s = m->context, *kernel = s->own_kernel ? s : &m->shared;
    bool careful = m->be_careful;
    m->tlb[TLB_CAREFUL_KERNEL] = &m->careful[0];
    m->tlb[TLB_CAREFUL_USER] = &m->careful[1];
    m->tlb[TLB_KERNEL] = careful ? &m->careful[0] : &kernel->tlb[TLB_KERNEL];
    m->tlb[TLB_USER] = careful ? &m->careful[1] : &s->tlb[TLB_USER];
    m->tlb[TLB_KERNEL_AC] = careful ? &m->careful[0] : &s->tlb[TLB_KERNEL_AC];
}

void tlb_be_careful(CpuState *cpu, bool on)
{
    careful_clear(cpu->mmu);
    cpu->mmu->be_careful = on;
    choose_caches(cpu->mmu);
    tlb_select(cpu);
}

static void context_enter(CpuState *cpu, unsigned n)
{
    Mmu *m = cpu->mmu;
    TlbSet *s = &m->set[n], *kernel = s->own_kernel ? s : &m->shared;
    m->current = n;
    m->context = s;
    m->last_use[n] = ++m->switches;
    choose_caches(m);
    m->kernel_code = &kernel->kernel_code;
    m->user_code = &s->user_code;
    tlb_select(cpu);
}

/* A context for a PCID that has none: a free one, or the one that was left longest ago. */
static unsigned context_take(Mmu *m, int pcid)
{
    unsigned n = 0;
    for (unsigned i = 0; i < NR_CONTEXTS && m->pcid[n] >= 0; i++) {
        if (m->pcid[i] < 0 || m->last_use[i] < m->last_use[n]) {
            n = i;
        }
    }
    TlbSet *s = &m->set[n];
    if (!s->tlb[TLB_USER].ready) { /* TLB_KERNEL waits until it is wanted */
        tlb_init(&s->tlb[TLB_USER], TLB_USER, (uint16_t)(2u << n));
        tlb_init(&s->tlb[TLB_KERNEL_AC], TLB_KERNEL_AC, (uint16_t)(2u << n));
    }
    set_clear(m, s);
    s->own_kernel = false;
    m->pcid[n] = pcid;
    return n;
}

static int context_find(const Mmu *m, int pcid)
{
    for (int i = 0; i < NR_CONTEXTS; i++) {
        if (m->pcid[i] == pcid) {
            return i;
        }
    }
    return -1;
}

/* What INVLPG dropped elsewhere since the context was left. */
static void catch_up(Mmu *m, TlbSet *s)
{
    if (m->nr_invs - s->invs_seen > ARRAY_SIZE(m->inv)) {
        set_clear(m, s);
        return;
    }
    for (; s->invs_seen != m->nr_invs; s->invs_seen++) {
        set_clear_page(m, s, m->inv[s->invs_seen % ARRAY_SIZE(m->inv)]);
    }
}

/* The shared caches hold local pages of the current context only. */
static void shared_clear_local(CpuState *cpu)
{
    Mmu *m = cpu->mmu;
    if ((cpu->cr4 & CR4_PCIDE) && !m->context->own_kernel &&
        m->shared.tlb[TLB_KERNEL].local.nr > OWN_KERNEL_PAGES) {
        m->context->own_kernel = true;
        tlb_init(&m->context->tlb[TLB_KERNEL], TLB_KERNEL, (uint16_t)(2u << m->current));
    }
    set_clear_local(m, &m->shared);
    careful_clear(m);
}

/* -d mmu; where: the instruction in hand, or the one at which others asked for it. */
static void __attribute__((noinline, format(printf, 2, 3))) log_flush(const CpuState *cpu,
                                                                      const char *fmt, ...)
{
    char text[80];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_printf("cpu%u: %s at %04x:%016llx\n", cpu->index, text, cpu->seg[SEG_CS].sel,
               (unsigned long long)cpu->insn_rip);
}

static void switch_context(CpuState *cpu, bool keep)
{
    Mmu *m = cpu->mmu;
    int pcid = current_pcid(cpu), n = context_find(m, pcid);
    if (n == (int)m->current && keep) {
        return;
    }
    tlb_slots_clear(cpu);
    shared_clear_local(cpu);
    m->context->invs_seen = m->nr_invs;
    if (n < 0) {
        n = (int)context_take(m, pcid);
    } else {
        catch_up(m, &m->set[n]);
        if (!keep) {
            set_clear_local(m, &m->set[n]);
        }
    }
    m->flushes += !keep;
    context_enter(cpu, (unsigned)n);
}

void tlb_switch(CpuState *cpu, bool keep)
{
    if (!cpu->mmu) {
        return;
    }
    if (log_on(LOG_MMU)) {
        log_flush(cpu, "CR3 %016llx, TLB %s", (unsigned long long)cpu->cr3,
                  keep ? "kept" : "flush but for global pages");
    }
    switch_context(cpu, keep);
}

void tlb_flush(CpuState *cpu)
{
    Mmu *m = cpu->mmu;
    if (!m) {
        return;
    }
    if (log_on(LOG_MMU)) {
        log_flush(cpu, "TLB flush");
    }
    tlb_slots_clear(cpu);
    set_clear(m, &m->shared);
    careful_clear(m);
    for (unsigned i = 0; i < NR_CONTEXTS; i++) {
        m->pcid[i] = -1; /* cleared when it is taken again */
    }
    m->globals[0] = m->globals[1] = false;
    m->flushes++;
    context_enter(cpu, context_take(m, current_pcid(cpu)));
}

void tlb_flush_local(CpuState *cpu)
{
    Mmu *m = cpu->mmu;
    if (!m) {
        return;
    }
    if (log_on(LOG_MMU)) {
        log_flush(cpu, "TLB flush but for global pages, all PCIDs");
    }
    for (unsigned i = 0; i < NR_CONTEXTS; i++) {
        m->pcid[i] = i == m->current ? m->pcid[i] : -1;
    }
    switch_context(cpu, false);
}

void tlb_flush_pcid(CpuState *cpu, unsigned pcid)
{
    Mmu *m = cpu->mmu;
    int n = m ? context_find(m, (int)pcid) : -1;
    if (log_on(LOG_MMU)) {
        log_flush(cpu, "TLB flush but for global pages, PCID %u", pcid);
    }
    if (n >= 0 && n == (int)m->current) {
        switch_context(cpu, false);
    } else if (n >= 0) {
        m->pcid[n] = -1;
    }
}

static void flush_page(CpuState *cpu, uint64_t lin)
{
    Mmu *m = cpu->mmu;
    tlb_slots_clear(cpu);
    set_clear_page(m, m->context, lin);
    set_clear_page(m, &m->shared, lin);
    careful_clear(m);
    if (m->globals[lin >> 63]) {
        m->inv[m->nr_invs++ % ARRAY_SIZE(m->inv)] = lin;
        m->context->invs_seen = m->nr_invs;
    }
    tlb_select(cpu);
}

void tlb_flush_page(CpuState *cpu, uint64_t lin)
{
    if (!cpu->mmu) {
        return;
    }
    if (log_on(LOG_MMU)) {
        log_flush(cpu, "TLB flush of page %016llx", (unsigned long long)lin);
    }
    flush_page(cpu, lin);
}

void tlb_flush_page_of(CpuState *cpu, unsigned pcid, uint64_t lin)
{
    Mmu *m = cpu->mmu;
    int n = m ? context_find(m, (int)pcid) : -1;
    if (log_on(LOG_MMU)) {
        log_flush(cpu, "TLB flush of page %016llx, PCID %u", (unsigned long long)lin, pcid);
    }
    if (n >= 0 && n == (int)m->current) {
        flush_page(cpu, lin);
    } else if (n >= 0) {
        set_clear_page(m, &m->set[n], lin);
    }
}

void tlb_select(CpuState *cpu)
{
    Mmu *m = cpu->mmu;
    if (!m) {
        return;
    }
    bool user = cpu_cpl(cpu) == 3, ac = cpu->eflags & FLAG_AC;
    TlbKind kind = user ? TLB_USER : ac && (cpu->cr4 & CR4_SMAP) ? TLB_KERNEL_AC : TLB_KERNEL;
    if (unlikely((cpu->mode & MODE_DR) || (user && ac && (cpu->cr0 & CR0_AM)))) {
        kind = user ? TLB_CAREFUL_USER : TLB_CAREFUL_KERNEL;
    }
    cpu->tlb = m->tlb[kind];
    if (cpu->jit && cpu->slots_tlb[user] != cpu->tlb && !m->be_careful) {
        slots_select(cpu, user);
    }
    m->code = user ? m->user_code : m->kernel_code;
    m->generation = m->code->generation;
}

/* ---- life ---- */

void mmu_new(CpuState *cpu)
{
    /* Mapped, so that contexts nobody uses take no memory. */
    Mmu *m = mmap(NULL, sizeof(Mmu), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) {
        abort(); /* a few megabytes, at start */
    }
    tlb_init(&m->shared.tlb[TLB_KERNEL], TLB_KERNEL, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(m->careful); i++) {
        tlb_init(&m->careful[i], (TlbKind)(TLB_CAREFUL_KERNEL + i), 0);
    }
    cpu->mmu = m;
    m->view = address_space_view(&cpu->machine->memory);
    tlb_flush(cpu);
}

void mmu_free(CpuState *cpu)
{
    if (cpu->mmu) {
        flat_view_unref(cpu->mmu->view);
        munmap(cpu->mmu, sizeof(Mmu));
        cpu->mmu = NULL;
        cpu->tlb = NULL;
    }
}

void mmu_refresh_view(CpuState *cpu)
{
    FlatView *old = cpu->mmu->view;
    cpu->mmu->view = address_space_view(&cpu->machine->memory);
    cpu->mmu->walk_range = cpu->mmu->fill_range = NULL;
    flat_view_unref(old);
    if (cpu->window) {
        window_outdate(cpu->window);
        checked_window_outdate(cpu->checked_window);
    }
    tlb_flush(cpu);
}

static bool entry_revoke_write(TlbEntry *e, const uint8_t *page)
{
    uint64_t tag = __atomic_load_n(&e->wtag, __ATOMIC_RELAXED);
    if ((tag & 0xfff) || (page && (uint8_t *)(e->addend + tag) != page)) {
        return false;
    }
    __atomic_store_n(&e->wtag, TLB_NONE, __ATOMIC_SEQ_CST);
    return true;
}

/* own: by the owner's thread, which may go by the log. */
static bool tlb_revoke_in(Tlb *t, const uint8_t *page, bool own)
{
    if (!__atomic_load_n(&t->ready, __ATOMIC_ACQUIRE)) {
        return false;
    }
    bool found = false, by_log = own && t->all.nr <= TLB_LOG;
    unsigned nr = by_log ? t->all.nr : TLB_SIZE;
    for (unsigned i = 0; i < nr; i++) {
        found |= entry_revoke_write(&t->entry[by_log ? t->all.index[i] : i], page);
    }
    return found;
}

bool tlb_revoke_write(CpuState *cpu, const uint8_t *page, uint16_t writers, bool own)
{
    Mmu *m = cpu->mmu;
    bool found = false;
    if (!m) {
        return false;
    }
    if (writers & m->shared.tlb[TLB_KERNEL].writer) {
        found |= tlb_revoke_in(&m->shared.tlb[TLB_KERNEL], page, own);
    }
    for (unsigned i = 0; i < NR_CONTEXTS; i++) {
        for (unsigned k = 0; k <= TLB_KERNEL_AC && (writers & 2u << i); k++) {
            found |= tlb_revoke_in(&m->set[i].tlb[k], page, own);
        }
    }
    if (cpu->jit) {
        found |= slots_revoke_write(&cpu->write_slots, page);
        found |= spans_revoke_write(&cpu->write_spans, page);
    }
    Window *w = __atomic_load_n(&cpu->window, __ATOMIC_ACQUIRE);
    if (w) {
        window_revoke_write(w, page);
        found |= checked_window_revoke_write(cpu->checked_window, page);
    }
    return found;
}

/* ---- filling ---- */

static inline void walk_or_fault(CpuState *cpu, uint64_t lin, int access, bool user, bool smap_ok,
                                 PageWalk *w)
{
    if (unlikely(!paging_walk_fast(cpu, lin, access, user, smap_ok, w)) &&
        !paging_walk(cpu, lin, access, user, smap_ok, false, w)) {
        cpu_raise_pf(cpu, lin, w->error);
    }
}

/* What holds all of the page at gpa, if that is RAM or ROM. */
static inline const FlatRange *ram_range(Mmu *m, uint64_t gpa)
{
    const FlatRange *fr = m->fill_range;
    if (unlikely(!fr || gpa - fr->start >= fr->size)) {
        fr = flat_view_find(m->view, gpa);
        if (!fr || !fr->host) {
            return NULL;
        }
        m->fill_range = fr;
    }
    return fr->size - (gpa - fr->start) >= PAGE_SIZE ? fr : NULL;
}

/* Notes what invalidation must know of a page that s is about to hold. */
static void note_page(Mmu *m, TlbSet *s, uint64_t lin, const PageWalk *w)
{
    if (w->page_size != PAGE_SIZE) {
        filter_add(&s->large[w->global], large_key(lin, w->page_size > LARGE_PAGE));
    }
    if (w->global && s != &m->shared) {
        m->globals[lin >> 63] = true;
    }
}

void tlb_set_write_tag(Tlb *t, TlbEntry *e, uint64_t page)
{
    const TlbSide *s = &t->side[e - t->entry];
    if (t->kind >= TLB_CAREFUL_KERNEL || !s->ram || s->rom ||
        ram_write_is_tracked(s->ram, s->ram_offset)) {
        e->wtag = page | TLB_SLOW;
        return;
    }
    uint16_t *writers = &s->ram->code[s->ram_offset >> PAGE_BITS].writers;
    if (!(__atomic_load_n(writers, __ATOMIC_RELAXED) & t->writer)) {
        __atomic_fetch_or(writers, t->writer, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&e->wtag, page, __ATOMIC_SEQ_CST);
    if (ram_write_is_tracked(s->ram, s->ram_offset) ||
        !(__atomic_load_n(writers, __ATOMIC_SEQ_CST) & t->writer)) {
        e->wtag = page | TLB_SLOW; /* lost the race with one who asked for tracking */
    }
}

TlbEntry *tlb_fill(CpuState *cpu, Tlb *t, uint64_t lin, bool write)
{
    Mmu *m = cpu->mmu;
    bool careful = t->kind >= TLB_CAREFUL_KERNEL;
    bool user = t->kind == TLB_USER || t->kind == TLB_CAREFUL_USER;
    bool smap_ok = t->kind == TLB_KERNEL_AC ||
                   (t->kind == TLB_CAREFUL_KERNEL && (cpu->eflags & FLAG_AC));
    PageWalk w;
    walk_or_fault(cpu, lin, write, user, smap_ok, &w);
    unsigned i = tlb_index(lin);
    TlbEntry *e = &t->entry[i];
    TlbSide *s = &t->side[i];
    uint64_t page = TLB_PAGE(lin);
    bool was_full = e->rtag != TLB_NONE;
    if (!was_full) {
        log_add(&t->all, i);
    }
    if (!w.global && (!was_full || s->global)) {
        log_add(&t->local, i);
    }
    t->has_global |= w.global;
    note_page(m, t == &m->shared.tlb[TLB_KERNEL] ? &m->shared : m->context, lin, &w);
    m->fills++;

    entry_drop(e);
    e->gpa = TLB_PAGE(w.gpa);
    const FlatRange *fr = ram_range(m, e->gpa);
    *s = (TlbSide){ .global = w.global };
    if (fr) {
        s->ram = fr->ram;
        s->ram_offset = fr->ram_offset + (e->gpa - fr->start);
        s->rom = fr->readonly;
        s->code = s->rom || careful ? NULL : &s->ram->code[s->ram_offset >> PAGE_BITS];
        e->addend = (uintptr_t)(fr->host + (e->gpa - fr->start)) - page;
    }
    if (w.can_read) {
        e->rtag = s->ram && !careful ? page : page | TLB_SLOW;
    }
    if (w.can_write) {
        tlb_set_write_tag(t, e, page);
    }
    return e;
}

void tlb_rearm_write(CpuState *cpu, uint64_t lin)
{
    TlbEntry *e = tlb_entry(cpu->tlb, lin);
    if (tlb_tag_allows(e->wtag, lin)) {
        tlb_set_write_tag(cpu->tlb, e, TLB_PAGE(lin));
    }
}

const ItlbEntry *mmu_fetch_page(CpuState *cpu, uint64_t lin)
{
    Mmu *m = cpu->mmu;
    CodeTlb *c = m->code;
    ItlbEntry *e = &c->entry[lin >> PAGE_BITS & (ITLB_SIZE - 1)];
    if (likely(e->tag == TLB_PAGE(lin) && e->generation == c->generation)) {
        return e;
    }
    PageWalk w;
    walk_or_fault(cpu, lin, 2, c == m->user_code, false, &w);
    note_page(m, c == &m->shared.kernel_code ? &m->shared : m->context, lin, &w);
    filter_add(&c->pages, lin >> PAGE_BITS);
    c->local |= !w.global;
    *e = (ItlbEntry){ .tag = TLB_PAGE(lin), .gpa = TLB_PAGE(w.gpa), .generation = c->generation };
    const FlatRange *fr = ram_range(m, e->gpa);
    if (fr) {
        e->ram = fr->ram;
        e->ram_offset = fr->ram_offset + (e->gpa - fr->start);
    }
    return e;
}
