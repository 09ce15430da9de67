/* SPDX-License-Identifier: GPL-2.0-or-later
 * Segment descriptors, segment register loads and segmented addresses (SDM 3A chapters 3,
 * 5).
 *
 * SS.DPL is the CPL, as in the VMCS: null selectors in SS (64-bit mode) keep a DPL, and
 * SYSCALL, SYSRET and the like write a whole SS.
 */
#include "cpu/segment.h"

#include "cpu/paging.h"

static bool legacy_real(const CpuState *cpu)
{
    return !(cpu->mode & (MODE_PE | MODE_VM));
}

/* What wraps at 4 GiB in a segment of that size may fault or not, as the processor likes (SDM 3A
 * 5.3). Here it never does: flat segments are not checked at all where speed matters (MODE_FLAT),
 * and all instructions and engines shall agree. */
static bool in_limit(const Segment *s, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    if ((s->attr & (SEG_CODE | SEG_EXPAND_DOWN)) == SEG_EXPAND_DOWN) {
        return offset > s->limit && last <= (s->attr & SEG_DB ? 0xffffffffu : 0xffffu);
    }
    return last <= s->limit || s->limit == UINT32_MAX;
}

bool seg_allows(const CpuState *cpu, const Segment *s, uint64_t offset, unsigned size,
                bool write)
{
    if (s->attr & SEG_UNUSABLE) {
        return false;
    }
    if (s->attr & SEG_CODE) {
        /* Real mode after protected mode: CS may still say code, and is no less writable.
         */
        if (!legacy_real(cpu) && (write || !(s->attr & SEG_RW))) {
            return false;
        }
    } else if (write && !(s->attr & SEG_RW)) {
        return false;
    }
    return in_limit(s, offset, size);
}

uint64_t seg_lin(CpuState *cpu, int seg, uint64_t offset, unsigned size, bool write)
{
    const Segment *s = &cpu->seg[seg];
    if (cpu->mode & MODE_CS64) {
        uint64_t lin = seg >= SEG_FS ? s->base + offset : offset;
        if (unlikely(!lin_is_canonical(cpu, lin) ||
                     !lin_is_canonical(cpu, lin + size - 1))) {
            cpu_raise(cpu, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
        }
        return lin;
    }
    if (unlikely(!seg_allows(cpu, s, offset, size, write))) {
        cpu_raise(cpu, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    }
    return (uint32_t)(s->base + offset);
}

bool desc_fetch(CpuState *cpu, uint16_t sel, Descriptor *d)
{
    uint64_t base = cpu->gdtr.base;
    uint32_t limit = cpu->gdtr.limit;
    if (sel & SEL_TI) {
        if (cpu->ldtr.attr & SEG_UNUSABLE) {
            return false;
        }
        base = cpu->ldtr.base;
        limit = cpu->ldtr.limit;
    }
    if ((uint32_t)(sel | 7) > limit) {
        return false;
    }
    d->lin = base + (sel & ~7u);
    if (!(cpu->mode & MODE_LMA)) {
        d->lin = (uint32_t)d->lin;
    }
    d->raw = lin_load(cpu, d->lin, 8, MEM_SYSTEM);
    d->attr = desc_attr(d->raw);
    return true;
}

bool desc_fetch_high(CpuState *cpu, uint16_t sel, const Descriptor *d, uint64_t *high)
{
    uint32_t limit = sel & SEL_TI ? cpu->ldtr.limit : cpu->gdtr.limit;
    if ((uint32_t)(sel | 7) + 8 > limit) {
        return false;
    }
    *high = lin_load(cpu, d->lin + 8, 8, MEM_SYSTEM);
    return true;
}

void desc_fetch_or(CpuState *cpu, uint16_t sel, Descriptor *d, int vector, unsigned ext)
{
    if (!desc_fetch(cpu, sel, d)) {
        cpu_raise(cpu, vector, (sel & SEL_ERROR) | ext);
    }
}

void desc_mark_accessed(CpuState *cpu, Descriptor *d)
{
    if (!(d->attr & SEG_ACCESSED)) {
        d->attr |= SEG_ACCESSED;
        lin_store(cpu, d->lin + 5, d->attr & 0xff, 1, MEM_SYSTEM);
    }
}

void desc_set_busy(CpuState *cpu, const Descriptor *d, bool busy)
{
    uint8_t access = (uint8_t)lin_load(cpu, d->lin + 5, 1, MEM_SYSTEM);
    access = busy ? access | DESC_BUSY : access & ~DESC_BUSY;
    lin_store(cpu, d->lin + 5, access, 1, MEM_SYSTEM);
}

Segment desc_segment(uint16_t sel, const Descriptor *d)
{
    uint32_t limit = (uint32_t)(d->raw & 0xffff) | ((uint32_t)(d->raw >> 32) & 0xf0000);
    if (d->attr & SEG_G) {
        limit = limit << 12 | 0xfff;
    }
    return (Segment) {
        .sel = sel,
        .attr = d->attr,
        .limit = limit,
        .base = (d->raw >> 16 & 0xffffff) | (d->raw >> 56) << 24,
    };
}

Segment desc_system_segment(uint16_t sel, const Descriptor *d, uint64_t high)
{
    Segment s = desc_segment(sel, d);
    s.base |= high << 32;
    return s;
}

Segment seg_null(uint16_t sel, unsigned dpl)
{
    return (Segment) { .sel = sel, .attr = SEG_UNUSABLE | dpl << SEG_DPL_SHIFT };
}

Segment seg_real(const Segment *old, uint16_t sel)
{
    Segment s = *old;
    s.sel = sel;
    s.base = (uint64_t)sel << 4;
    /* "Unreal" limits and rights stay, but what was code or null under protected mode is
     * plain data again. */
    if (s.attr & SEG_UNUSABLE) {
        s.limit = 0xffff;
    }
    if (s.attr & (SEG_UNUSABLE | SEG_CODE)) {
        s.attr =
            (s.attr & (SEG_DB | SEG_G | SEG_AVL)) | SEG_P | SEG_S | SEG_RW | SEG_ACCESSED;
    }
    return s;
}

Segment seg_v86(uint16_t sel)
{
    return (Segment) {
        .sel = sel,
        .attr = SEG_P | SEG_DPL | SEG_S | SEG_RW | SEG_ACCESSED,
        .limit = 0xffff,
        .base = (uint64_t)sel << 4,
    };
}

Segment seg_check_stack(CpuState *cpu, uint16_t sel, unsigned cpl, int vector, unsigned ext)
{
    uint32_t error = (sel & SEL_ERROR) | ext;
    Descriptor d;
    if (sel_is_null(sel)) {
        cpu_raise(cpu, vector, ext);
    }
    desc_fetch_or(cpu, sel, &d, vector, ext);
    if ((sel & SEL_RPL) != cpl || !desc_is_writable(&d) || desc_dpl(&d) != cpl) {
        cpu_raise(cpu, vector, error);
    }
    if (!(d.attr & SEG_P)) {
        cpu_raise(cpu, EXC_SS, error);
    }
    desc_mark_accessed(cpu, &d);
    return desc_segment(sel, &d);
}

/* SDM 2B MOV, "Protected mode": ES, DS, FS and GS. */
static Segment check_data(CpuState *cpu, uint16_t sel)
{
    uint32_t error = sel & SEL_ERROR;
    Descriptor d;
    if (sel_is_null(sel)) {
        return seg_null(sel, 0);
    }
    desc_fetch_or(cpu, sel, &d, EXC_GP, 0);
    if (!desc_is_readable(&d)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    unsigned rpl = sel & SEL_RPL;
    if (!desc_is_conforming(&d) && (rpl > desc_dpl(&d) || cpu_cpl(cpu) > desc_dpl(&d))) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(d.attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    desc_mark_accessed(cpu, &d);
    return desc_segment(sel, &d);
}

Segment seg_check_reg(CpuState *cpu, int seg, uint16_t sel)
{
    if (cpu->mode & MODE_VM) {
        return seg_v86(sel);
    }
    if (!(cpu->mode & MODE_PE)) {
        return seg_real(&cpu->seg[seg], sel);
    }
    if (seg != SEG_SS) {
        return check_data(cpu, sel);
    }
    unsigned cpl = cpu_cpl(cpu);
    if (sel_is_null(sel) && (cpu->mode & MODE_CS64) && cpl < 3 && sel == cpl) {
        return seg_null(sel, cpl);
    }
    return seg_check_stack(cpu, sel, cpl, EXC_GP, 0);
}

void seg_commit(CpuState *cpu, int seg, Segment s)
{
    cpu->seg[seg] = s;
    cpu_update_mode(cpu);
}

void seg_load_reg(CpuState *cpu, int seg, uint16_t sel)
{
    seg_commit(cpu, seg, seg_check_reg(cpu, seg, sel));
}

void seg_drop_inner(CpuState *cpu, unsigned cpl)
{
    static const uint8_t data_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < ARRAY_SIZE(data_segs); i++) {
        Segment *s = &cpu->seg[data_segs[i]];
        bool conforming =
            (s->attr & (SEG_CODE | SEG_CONFORMING)) == (SEG_CODE | SEG_CONFORMING);
        if (!(s->attr & SEG_UNUSABLE) && !conforming &&
            (s->attr & SEG_DPL) >> SEG_DPL_SHIFT < cpl) {
            *s = seg_null(0, 0);
        }
    }
}

Stack stack_current(CpuState *cpu)
{
    bool flat64 = cpu->mode & MODE_CS64;
    bool big = cpu->seg[SEG_SS].attr & SEG_DB;
    return (Stack) {
        .cpu = cpu,
        .ss = cpu->seg[SEG_SS],
        .sp = cpu->gpr[REG_RSP],
        .mask = flat64 ? UINT64_MAX
                : big  ? 0xffffffffu
                       : 0xffffu,
        .flat64 = flat64,
        .as = MEM_CPL,
    };
}

Stack stack_new(CpuState *cpu, Segment ss, uint64_t sp, unsigned cpl, bool flat64,
                uint32_t error)
{
    return (Stack) {
        .cpu = cpu,
        .ss = ss,
        .sp = sp,
        .mask = flat64             ? UINT64_MAX
                : ss.attr & SEG_DB ? 0xffffffffu
                                   : 0xffffu,
        .flat64 = flat64,
        .as = cpl == 3             ? MEM_USER
              : cpl < cpu_cpl(cpu) ? MEM_SYSTEM
                                   : MEM_CPL,
        .error = error,
    };
}

static uint64_t stack_lin(const Stack *st, unsigned size, bool write)
{
    uint64_t offset = st->sp & st->mask;
    if (st->flat64) {
        if (!lin_is_canonical(st->cpu, offset) ||
            !lin_is_canonical(st->cpu, offset + size - 1)) {
            cpu_raise(st->cpu, EXC_SS, st->error);
        }
        return offset;
    }
    if (!seg_allows(st->cpu, &st->ss, offset, size, write)) {
        cpu_raise(st->cpu, EXC_SS, st->error);
    }
    return (uint32_t)(st->ss.base + offset);
}

void stack_push(Stack *st, uint64_t val, unsigned size)
{
    st->sp -= size;
    lin_store(st->cpu, stack_lin(st, size, true), val, size, st->as);
}

uint64_t stack_pop(Stack *st, unsigned size)
{
    uint64_t val = lin_load(st->cpu, stack_lin(st, size, false), size, st->as);
    st->sp += size;
    return val;
}

uint64_t stack_merge(const Stack *st, uint64_t rsp)
{
    uint64_t merged = (rsp & ~st->mask) | (st->sp & st->mask);
    return st->flat64 ? merged : st->mask == 0xffff ? merged : (uint32_t)merged;
}
