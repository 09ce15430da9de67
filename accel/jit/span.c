/* SPDX-License-Identifier: GPL-2.0-or-later
 * Spans: several pages, one after the other, that lie one after the other in host memory, too. An
 * operand that roams (roam.c) mostly does so within one of them: a decompressor's model, an array,
 * a stretch of what a kernel maps one to one. One check for all of it is half as long as a look into
 * the Tlb, and the access need not wait for it:
 *
 *     lea  r11, [address]
 *     sub  r11, gs:[span's first]
 *     cmp  r11, gs:[span's limit]           its bytes less 8: no operand is longer
 *     ja   cold                             which looks into the Tlb
 *     mov  r10, gs:[span's addend]
 *     op   reg, [address + r10]
 *
 * Code of CPL 0 to 2 only: a user's pages lie anywhere. What a span allows the Tlb allowed for each
 * of its pages when it was made, with the same addend; whatever empties slots empties the spans
 * (cpu/tlb.c). Of every SPAN_EVERY misses C looks at one: it makes the span anew around that page,
 * and gives operands of one region the same span, others another. Who misses often all the same
 * goes without.
 */
#include "accel/jit/translate.h"

_Static_assert(NR_SPANS == 16, "bits of a site");

enum {
    SPAN_EVERY = 16,
    SPAN_REACH = 64,     /* pages to either side */
    SPAN_NEAR = 1 << 20, /* bytes: the same region */
    SPAN_MOVES = 4,      /* so often is an operand given another one */
    SPAN_CYCLES = 800,   /* of the host's TSC: misses further apart do not matter */
    SPAN_SAMPLES = 8,
    SPAN_WINDOW = 1 << 22,
};

/* Bits 3:0: the operand's span; above them how often that changed. */
static uint8_t *site_of(Jit *j, uint64_t gpa, bool write)
{
    uint64_t site = gpa << 1 | write;
    return &j->span_site[(site * 0x9e3779b97f4a7c15ull >> 48) % ARRAY_SIZE(j->span_site)];
}

int span_of(const Translator *t, bool write)
{
    if (!t->cs64 || t->user || !t->j->spans ||
        (t->j->roaming == ROAM_AUTO && !roam_was_seen(t, write))) {
        return -1;
    }
    uint8_t s = __atomic_load_n(site_of(t->j, t->gpa + t->off[t->i], write), __ATOMIC_RELAXED);
    return s >> 4 < SPAN_MOVES ? s & (NR_SPANS - 1) : -1;
}

/* Does the Tlb say the same of the page as of e's? */
static bool goes_on(const CpuState *cpu, const TlbEntry *e, uint64_t page, bool write)
{
    const TlbEntry *n = tlb_entry(cpu->tlb, page);
    return (write ? n->wtag : n->rtag) == page && n->addend == e->addend;
}

/* Another thread that takes a write permission away has emptied the span, or will see the CPU at a
 * safepoint, which empties it: as with slots. */
static void make_span(const CpuState *cpu, TlbSpans *s, unsigned n, uint64_t page, bool write)
{
    const TlbEntry *e = tlb_entry(cpu->tlb, page);
    uint64_t first = page, last = page;
    if ((write ? e->wtag : e->rtag) != page) {
        return;
    }
    __atomic_store_n(&s->first[n], SLOT_NONE, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < SPAN_REACH && goes_on(cpu, e, first - PAGE_SIZE, write); i++) {
        first -= PAGE_SIZE;
    }
    for (unsigned i = 0; i < SPAN_REACH && goes_on(cpu, e, last + PAGE_SIZE, write); i++) {
        last += PAGE_SIZE;
    }
    s->limit[n] = last + PAGE_SIZE - first - 8;
    s->share_limit[n] = last + PAGE_SIZE - first - SHARE_MAX_SPAN;
    s->addend[n] = e->addend;
    __atomic_store_n(&s->first[n], first, __ATOMIC_RELEASE);
}

/* The span of this page's region: one that was made near it, or else the one made first. */
static unsigned choose(JitSpans *js, uint64_t page)
{
    for (unsigned n = 0; n < NR_SPANS; n++) {
        if (js->home[n] && page - js->home[n] + SPAN_NEAR <= 2 * SPAN_NEAR) {
            return n;
        }
    }
    return js->next++ % NR_SPANS;
}

static bool misses_often(JitSpans *js, const void *pc, uint64_t now)
{
    if (now - js->since > SPAN_WINDOW) {
        memset(js->count, 0, sizeof(js->count));
        js->since = now;
    }
    RoamCount *c = &js->count[((uintptr_t)pc ^ (uintptr_t)pc >> 6) % ARRAY_SIZE(js->count)];
    if (c->pc != pc) {
        *c = (RoamCount){ .pc = pc };
    }
    c->n++;
    return c->n >= SPAN_SAMPLES && (uint64_t)c->n * SPAN_EVERY * SPAN_CYCLES >= now - js->since;
}

/* The operand's site is changed and its block translated again. */
static void change_site(Jit *j, const void *pc, uint32_t desc, unsigned span, bool never)
{
    pthread_mutex_lock(&j->lock);
    Tb *tb = tb_of_host(j, pc);
    if (tb && !tb->stale) {
        uint8_t *site = site_of(j, TLB_PAGE(tb->gpa) | (desc & (PAGE_SIZE - 1)), desc & MEM_WRITE);
        unsigned moves = never ? SPAN_MOVES : MIN((*site >> 4) + 1u, (unsigned)SPAN_MOVES);
        __atomic_store_n(site, (uint8_t)(moves << 4 | span), __ATOMIC_RELAXED);
        tb_drop(j, tb, DROP_SPAN);
    }
    pthread_mutex_unlock(&j->lock);
}

void jit_span(CpuState *cpu, uint64_t lin, uint32_t desc, const void *pc)
{
    JitCpu *jc = cpu->jit;
    bool write = desc & MEM_WRITE;
    JitSpans *js = &jc->spans[write];
    uint64_t page = TLB_PAGE(lin);
    unsigned had = desc >> MEM_SLOT_SHIFT & (NR_SPANS - 1);
    jc->span_misses += jc->span_from + 1;
    jc->span_from = SPAN_EVERY;
    cpu->jit_word[JW_SPAN] = SPAN_EVERY;
    /* Not with EFLAGS.AC, which allows more than is so without it. */
    if (cpu->tlb->kind != TLB_KERNEL) {
        return;
    }
    if (misses_often(js, pc, __builtin_ia32_rdtsc())) {
        change_site(jc->jit, pc, desc, had, true);
        return;
    }
    unsigned n = choose(js, page);
    js->home[n] = page;
    make_span(cpu, write ? &cpu->write_spans : &cpu->read_spans, n, page, write);
    if (n != had) {
        change_site(jc->jit, pc, desc, n, false);
    }
}

/* ---- code ---- */

static Rm span_field(bool write, int n, size_t field)
{
    int32_t base = write ? OFF(write_spans) : OFF(read_spans);
    return rm_gs(base + (int32_t)field + 8 * n);
}

Rm span_addend(bool write, int n)
{
    return span_field(write, n, offsetof(TlbSpans, addend));
}

uint8_t *span_compare(Translator *t, bool write, int n, unsigned bytes)
{
    size_t limit = bytes > 8 ? offsetof(TlbSpans, share_limit) : offsetof(TlbSpans, limit);
    emit_alu(t->e, EM_W, A_SUB, S1, span_field(write, n, offsetof(TlbSpans, first)));
    emit_alu(t->e, EM_W, A_CMP, S1, span_field(write, n, limit));
    return emit_jcc(t->e, CC_A);
}
