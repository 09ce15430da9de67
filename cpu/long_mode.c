/* SPDX-License-Identifier: GPL-2.0-or-later
 * The straight ways into and out of a 64-bit kernel: interrupt and trap gates to CPL 0 (SDM 3A
 * 6.14), IRET from CPL 0 (SDM 2A IRET), for flat 64-bit code on both sides, with everything
 * they touch in the translation caches, and nothing to object to. What is not so is left to
 * cpu/interrupt.c and cpu/far.c: the functions here return false and have changed nothing.
 */
#include "cpu/long_mode.h"

#include "cpu/paging.h"
#include "cpu/segment.h"
#include "cpu/task.h"
#include "cpu/tlb.h"
#include "util/log.h"

typedef uint64_t __attribute__((aligned(1), may_alias)) u64_any;

/* Where [lin, lin + size) can be read or written without more ado; NULL: nowhere. */
static inline u64_any *peek(Tlb *t, uint64_t lin, unsigned size, bool write)
{
    TlbEntry *e = tlb_entry(t, lin);
    uint64_t tag = write ? e->wtag : e->rtag;
    return likely(tag == TLB_PAGE(lin + size - 1)) ? (u64_any *)(e->addend + lin) : NULL;
}

/* A descriptor of the GDT. */
static inline bool fetch(CpuState *cpu, uint16_t sel, Descriptor *d)
{
    if ((sel & SEL_TI) || sel_is_null(sel) || (sel | 7u) > cpu->gdtr.limit) {
        return false;
    }
    d->lin = cpu->gdtr.base + (sel & ~7u);
    const u64_any *raw = peek(cpu->mmu->tlb[TLB_KERNEL], d->lin, 8, false);
    if (unlikely(!raw)) {
        return false;
    }
    d->raw = *raw;
    d->attr = desc_attr(d->raw);
    return true;
}

/* A present 64-bit code segment of this level that was used before. */
static inline bool is_code64(const Descriptor *d, unsigned dpl)
{
    const uint32_t fixed = SEG_P | SEG_S | SEG_CODE | SEG_CONFORMING | SEG_ACCESSED | SEG_L |
                           SEG_DB | SEG_DPL;
    return (d->attr & fixed) ==
           (SEG_P | SEG_S | SEG_CODE | SEG_ACCESSED | SEG_L | dpl << SEG_DPL_SHIFT);
}

static inline bool is_stack(const Descriptor *d, unsigned dpl)
{
    const uint32_t fixed = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_ACCESSED | SEG_DPL;
    return (d->attr & fixed) == (SEG_P | SEG_S | SEG_RW | SEG_ACCESSED | dpl << SEG_DPL_SHIFT);
}

void long_update_mode(CpuState *cpu, unsigned cpl)
{
    uint32_t segments = MODE_CS32 | MODE_CS64 | MODE_SS32 | MODE_PE | MODE_VM | MODE_LMA |
                        MODE_CPL | MODE_FLAT | MODE_TF;
    cpu->mode = (cpu->mode & ~segments) | MODE_PE | MODE_LMA | MODE_CS64 | MODE_FLAT |
                cpl << MODE_CPL_SHIFT | (cpu->eflags & FLAG_TF ? MODE_TF : 0);
    tlb_select(cpu);
}

typedef struct LongGate {
    uint64_t offset, rsp;
    uint16_t sel;
    bool clears_if;
    Descriptor code;
} LongGate;

/* The gate, the segment it leads to and the stack to be used. */
static inline bool find_gate(CpuState *cpu, const Event *ev, unsigned cpl, LongGate *g)
{
    enum { INT_GATE = SEG_P | DESC_INT_GATE32, TYPE = SEG_P | SEG_S | SEG_TYPE };
    unsigned entry = (unsigned)ev->vector * 16;
    const u64_any *raw = peek(cpu->mmu->tlb[TLB_KERNEL], cpu->idtr.base + entry, 16, false);
    if (unlikely(!raw || entry + 15 > cpu->idtr.limit)) {
        return false;
    }
    uint64_t low = raw[0], high = raw[1];
    uint32_t attr = desc_attr(low);
    bool soft = ev->kind == EVENT_SOFT_INT || ev->kind == EVENT_SOFT_EXC;
    if ((attr & TYPE & ~1u) != INT_GATE ||
        (soft && (attr & SEG_DPL) >> SEG_DPL_SHIFT < cpl)) {
        return false;
    }
    g->offset = gate_offset32(low) | high << 32;
    g->sel = gate_sel(low);
    g->clears_if = !(attr & 1);
    if (!fetch(cpu, g->sel, &g->code) || !is_code64(&g->code, 0) ||
        !lin_is_canonical(cpu, g->offset)) {
        return false;
    }
    unsigned ist = low >> 32 & 7;
    g->rsp = cpu->gpr[REG_RSP];
    if (ist || cpl) { /* TSS: RSP0 at 4, IST1 at 36 */
        unsigned offset = ist ? 28 + ist * 8 : 4;
        const u64_any *rsp = peek(cpu->mmu->tlb[TLB_KERNEL], cpu->tr.base + offset, 8, false);
        if (unlikely(!rsp || offset + 7 > cpu->tr.limit)) {
            return false;
        }
        g->rsp = *rsp;
    }
    return true;
}

bool long_enter(CpuState *cpu, const Event *ev)
{
    unsigned cpl = cpu_cpl(cpu), size = ev->has_error ? 48 : 40;
    LongGate g;
    if (!(cpu->mode & MODE_LMA) || (cpl != 0 && cpl != 3) || !find_gate(cpu, ev, cpl, &g)) {
        return false;
    }
    uint64_t sp = (g.rsp & ~15ull) - size;
    Tlb *t = cpl ? cpu->mmu->tlb[TLB_KERNEL] : cpu->tlb;
    u64_any *frame = peek(t, sp, size, true);
    if (unlikely(!frame || !lin_is_canonical(cpu, sp))) {
        return false;
    }
    if (ev->has_error) {
        *frame++ = ev->error;
    }
    frame[0] = ev->ret_rip;
    frame[1] = cpu->seg[SEG_CS].sel;
    frame[2] = event_flags_image(cpu, ev);
    frame[3] = cpu->gpr[REG_RSP];
    frame[4] = cpu->seg[SEG_SS].sel;

    cpu->seg[SEG_CS] = desc_segment((uint16_t)(g.sel & ~SEL_RPL), &g.code);
    cpu->rip = g.offset;
    cpu->gpr[REG_RSP] = sp;
    if (cpl) {
        cpu->seg[SEG_SS] = seg_null(0, 0);
    }
    cpu->eflags &= ~(uint32_t)(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM |
                               (g.clears_if ? FLAG_IF : 0));
    long_update_mode(cpu, 0);
    return true;
}

bool long_iret(CpuState *cpu)
{
    const uint32_t at_cpl0 = MODE_CS64 | MODE_CPL;
    const u64_any *frame = peek(cpu->tlb, cpu->gpr[REG_RSP], 40, false);
    if (unlikely(!frame || (cpu->mode & at_cpl0) != MODE_CS64 || (cpu->eflags & FLAG_NT) ||
                 !lin_is_canonical(cpu, cpu->gpr[REG_RSP]) || log_on(LOG_PCALL))) {
        return false;
    }
    uint64_t rip = frame[0], flags = frame[2];
    uint16_t cs = (uint16_t)frame[1], ss = (uint16_t)frame[4];
    unsigned rpl = cs & SEL_RPL;
    Descriptor code, stack;
    if ((rpl != 0 && rpl != 3) || !fetch(cpu, cs, &code) || !is_code64(&code, rpl) ||
        !lin_is_canonical(cpu, rip) || (ss & SEL_RPL) != rpl) {
        return false;
    }
    bool null_ss = rpl == 0 && sel_is_null(ss);
    if (!null_ss && (!fetch(cpu, ss, &stack) || !is_stack(&stack, rpl))) {
        return false;
    }
    cpu->rip = rip;
    cpu->gpr[REG_RSP] = frame[3];
    cpu->seg[SEG_CS] = desc_segment(cs, &code);
    cpu->seg[SEG_SS] = null_ss ? seg_null(ss, 0) : desc_segment(ss, &stack);
    if (rpl) {
        seg_drop_inner(cpu, rpl);
    }
    const uint32_t mask = FLAG_TF | FLAG_DF | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID | FLAG_IF |
                          FLAG_IOPL | FLAG_VIF | FLAG_VIP;
    cpu->eflags = (cpu->eflags & ~mask) | ((uint32_t)flags & mask);
    cpu->cc = flags_to_cc((uint32_t)flags);
    cpu->nmi_blocked = false;
    long_update_mode(cpu, rpl);
    return true;
}
