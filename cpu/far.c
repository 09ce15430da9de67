/* SPDX-License-Identifier: GPL-2.0-or-later
 * Far JMP, CALL, RET and IRET (SDM 2A and 2B, those entries; 3A 5.8). Stack and TSS are
 * read and written before anything is committed, in the order the SDM's pseudo-code faults.
 */
#include "cpu/far.h"

#include "cpu/long_mode.h"
#include "cpu/paging.h"
#include "cpu/task.h"
#include "util/log.h"

bool far_bad_long_code(const CpuState *cpu, const Descriptor *d)
{
    return (cpu->mode & MODE_LMA) && (d->attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB);
}

void far_check_rip(CpuState *cpu, const Segment *cs, uint64_t rip, unsigned ext)
{
    bool is_64 = (cpu->mode & MODE_LMA) && (cs->attr & SEG_L);
    if (is_64 ? !lin_is_canonical(cpu, rip) : rip > cs->limit) {
        cpu_raise(cpu, EXC_GP, ext);
    }
}

static uint64_t cut(uint64_t val, unsigned size)
{
    return size == 8 ? val : val & ((1ull << size * 8) - 1);
}

static void log_far(const CpuState *cpu, const char *what, uint16_t sel, uint64_t rip)
{
    if (log_on(LOG_PCALL)) {
        log_printf("cpu%u: far %s from %04x:%08llx to %04x:%08llx\n", cpu->index, what,
                   cpu->seg[SEG_CS].sel, (unsigned long long)cpu->insn_rip, sel,
                   (unsigned long long)rip);
    }
}

static void commit_cs(CpuState *cpu, Segment cs, unsigned cpl, uint64_t rip)
{
    cs.sel = (uint16_t)((cs.sel & ~SEL_RPL) | cpl);
    cpu->seg[SEG_CS] = cs;
    cpu->rip = rip;
    cpu_update_mode(cpu);
}

/* Real and V86 mode: no descriptors. */
static Segment flat_cs(const CpuState *cpu, uint16_t sel)
{
    return cpu->mode & MODE_VM ? seg_v86(sel) : seg_real(&cpu->seg[SEG_CS], sel);
}

static bool no_descriptors(const CpuState *cpu)
{
    return !(cpu->mode & MODE_PE);
}

/* A code segment reached directly: by its own selector (rpl counts) or through a gate. */
static void check_direct_code(CpuState *cpu, uint16_t sel, const Descriptor *d,
                              bool by_gate)
{
    unsigned cpl = cpu_cpl(cpu), dpl = desc_dpl(d);
    uint32_t error = sel & SEL_ERROR;
    bool bad = !desc_is_code(d) || far_bad_long_code(cpu, d);
    if (desc_is_conforming(d)) {
        bad |= dpl > cpl;
    } else {
        bad |= dpl != cpl || (!by_gate && (sel & SEL_RPL) > cpl);
    }
    if (bad) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(d->attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
}

/* A call gate, as long as it is not about stacks. */
typedef struct CallGate {
    unsigned size, params; /* of pushes: 2, 4, 8 */
    uint16_t sel;
    uint64_t offset;
    Descriptor code;
} CallGate;

static CallGate fetch_call_gate(CpuState *cpu, uint16_t gate, const Descriptor *d)
{
    bool lma = cpu->mode & MODE_LMA;
    CallGate g = { .sel = gate_sel(d->raw), .offset = gate_offset32(d->raw) };
    g.size = lma ? 8 : desc_type(d) == DESC_CALL_GATE32 ? 4 : 2;
    g.params = d->raw >> 32 & 0x1f;
    if (lma) {
        uint64_t high;
        if (!desc_fetch_high(cpu, gate, d, &high) || (high >> 40 & 0x1f)) {
            cpu_raise(cpu, EXC_GP, gate & SEL_ERROR);
        }
        g.offset |= high << 32;
        g.params = 0;
    } else if (g.size == 2) {
        g.offset &= 0xffff;
    }
    if (sel_is_null(g.sel)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    desc_fetch_or(cpu, g.sel, &g.code, EXC_GP, 0);
    uint32_t error = g.sel & SEL_ERROR;
    if (!desc_is_code(&g.code) || desc_dpl(&g.code) > cpu_cpl(cpu) ||
        (lma && (g.code.attr & (SEG_L | SEG_DB)) != SEG_L)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(g.code.attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    return g;
}

/* What a far pointer's selector names. */
typedef enum TargetKind {
    TARGET_CODE,
    TARGET_CALL_GATE,
    TARGET_TASK_GATE,
    TARGET_TSS
} TargetKind;

static TargetKind fetch_target(CpuState *cpu, uint16_t sel, Descriptor *d)
{
    uint32_t error = sel & SEL_ERROR;
    if (sel_is_null(sel)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    desc_fetch_or(cpu, sel, d, EXC_GP, 0);
    if (d->attr & SEG_S) {
        return TARGET_CODE; /* or data: check_direct_code says no */
    }
    bool lma = cpu->mode & MODE_LMA;
    TargetKind kind = TARGET_TSS;
    bool ok = !lma;
    switch (desc_type(d)) {
    case DESC_CALL_GATE16: kind = TARGET_CALL_GATE; break;
    case DESC_CALL_GATE32:
        kind = TARGET_CALL_GATE;
        ok = true;
        break;
    case DESC_TASK_GATE: kind = TARGET_TASK_GATE; break;
    case DESC_TSS16:
    case DESC_TSS32: break;
    default: ok = false;
    }
    if (!ok || desc_dpl(d) < cpu_cpl(cpu) || desc_dpl(d) < (sel & SEL_RPL) ||
        (kind == TARGET_TSS && (sel & SEL_TI))) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(d->attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    return kind;
}

static void far_task(CpuState *cpu, uint16_t sel, const Descriptor *d, TargetKind kind,
                     TaskCause cause)
{
    if (kind == TARGET_TASK_GATE) {
        task_gate(cpu, d->raw, cause, cpu->rip, 0);
    } else {
        task_switch(cpu, sel, *d, cause, cpu->rip, 0);
    }
    far_check_rip(cpu, &cpu->seg[SEG_CS], cpu->rip, 0);
}

void far_jump(CpuState *cpu, uint16_t sel, uint64_t offset, unsigned opsize)
{
    offset = cut(offset, opsize);
    log_far(cpu, "jump", sel, offset);
    if (no_descriptors(cpu)) {
        Segment cs = flat_cs(cpu, sel);
        far_check_rip(cpu, &cs, offset, 0);
        commit_cs(cpu, cs, sel & SEL_RPL, offset);
        return;
    }
    Descriptor d;
    TargetKind kind = fetch_target(cpu, sel, &d);
    if (kind == TARGET_CODE) {
        check_direct_code(cpu, sel, &d, false);
    } else if (kind == TARGET_CALL_GATE) {
        CallGate g = fetch_call_gate(cpu, sel, &d);
        check_direct_code(cpu, g.sel, &g.code, true);
        sel = g.sel;
        offset = g.offset;
        d = g.code;
    } else {
        far_task(cpu, sel, &d, kind, TASK_JMP);
        return;
    }
    Segment cs = desc_segment(sel, &d);
    far_check_rip(cpu, &cs, offset, 0);
    desc_mark_accessed(cpu, &d);
    commit_cs(cpu, desc_segment(sel, &d), cpu_cpl(cpu), offset);
}

/* Pushes the return address on the current stack and goes there. */
static void call_same(CpuState *cpu, uint16_t sel, Descriptor *d, uint64_t offset,
                      unsigned size)
{
    Stack st = stack_current(cpu);
    stack_push(&st, cpu->seg[SEG_CS].sel, size);
    stack_push(&st, cpu->rip, size);
    Segment cs = d ? desc_segment(sel, d) : flat_cs(cpu, sel);
    far_check_rip(cpu, &cs, offset, 0);
    unsigned cpl = sel & SEL_RPL; /* real and V86 mode: just bits of the selector */
    if (d) {
        desc_mark_accessed(cpu, d);
        cs = desc_segment(sel, d);
        cpl = cpu_cpl(cpu);
    }
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    commit_cs(cpu, cs, cpl, offset);
}

/* Through a gate to a more privileged level: its stack, with the parameters copied. */
static void call_inner(CpuState *cpu, CallGate *g)
{
    unsigned cpl = desc_dpl(&g->code);
    Segment ss, cs = desc_segment(g->sel, &g->code);
    Stack st;
    if (g->size == 8) {
        uint64_t rsp = task_rsp(cpu, cpl, 0);
        ss = seg_null((uint16_t)cpl, cpl);
        st = stack_new(cpu, ss, rsp, cpl, true, 0);
    } else {
        uint16_t ss_sel;
        uint32_t esp;
        task_inner_stack(cpu, cpl, 0, &ss_sel, &esp);
        ss = seg_check_stack(cpu, ss_sel, cpl, EXC_TS, 0);
        st = stack_new(cpu, ss, esp, cpl, false, ss_sel & SEL_ERROR);
    }
    Stack old = stack_current(cpu);
    uint64_t param[32];
    for (unsigned i = 0; i < g->params; i++) {
        param[i] = stack_pop(&old, g->size);
    }
    stack_push(&st, cpu->seg[SEG_SS].sel, g->size);
    stack_push(&st, cpu->gpr[REG_RSP], g->size);
    for (unsigned i = g->params; i-- > 0;) {
        stack_push(&st, param[i], g->size);
    }
    stack_push(&st, cpu->seg[SEG_CS].sel, g->size);
    stack_push(&st, cpu->rip, g->size);
    far_check_rip(cpu, &cs, g->offset, 0);
    desc_mark_accessed(cpu, &g->code);

    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    cpu->seg[SEG_SS] = ss;
    commit_cs(cpu, desc_segment(g->sel, &g->code), cpl, g->offset);
}

void far_call(CpuState *cpu, uint16_t sel, uint64_t offset, unsigned opsize)
{
    offset = cut(offset, opsize);
    log_far(cpu, "call", sel, offset);
    if (no_descriptors(cpu)) {
        call_same(cpu, sel, NULL, offset, opsize);
        return;
    }
    Descriptor d;
    TargetKind kind = fetch_target(cpu, sel, &d);
    if (kind == TARGET_CODE) {
        check_direct_code(cpu, sel, &d, false);
        call_same(cpu, sel, &d, offset, opsize);
    } else if (kind == TARGET_CALL_GATE) {
        CallGate g = fetch_call_gate(cpu, sel, &d);
        if (!desc_is_conforming(&g.code) && desc_dpl(&g.code) < cpu_cpl(cpu)) {
            call_inner(cpu, &g);
        } else {
            call_same(cpu, g.sel, &g.code, g.offset, g.size);
        }
    } else {
        far_task(cpu, sel, &d, kind, TASK_CALL);
    }
}

/* ---- returns ---- */

/* CS as RET and IRET find it on the stack. */
static void check_return_code(CpuState *cpu, uint16_t sel, Descriptor *d)
{
    uint32_t error = sel & SEL_ERROR;
    if (sel_is_null(sel)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    desc_fetch_or(cpu, sel, d, EXC_GP, 0);
    unsigned rpl = sel & SEL_RPL, dpl = desc_dpl(d);
    bool bad_dpl = desc_is_conforming(d) ? dpl > rpl : dpl != rpl;
    if (!desc_is_code(d) || rpl < cpu_cpl(cpu) || bad_dpl || far_bad_long_code(cpu, d)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(d->attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
}

/* SS of an outer level, likewise; null is allowed for 64-bit code of levels 0 to 2. */
static Segment check_return_stack(CpuState *cpu, uint16_t sel, unsigned cpl,
                                  const Descriptor *code)
{
    if (sel_is_null(sel) && (cpu->mode & MODE_LMA) && (code->attr & SEG_L) && cpl != 3 &&
        (sel & SEL_RPL) == cpl) {
        return seg_null(sel, cpl);
    }
    return seg_check_stack(cpu, sel, cpl, EXC_GP, 0);
}

/* The mask of the stack pointer that a return to (code, ss) leaves. */
static void commit_sp(CpuState *cpu, const Descriptor *code, const Segment *ss, uint64_t sp)
{
    Stack st = { .cpu = cpu, .sp = sp };
    st.flat64 = (cpu->mode & MODE_LMA) && (code->attr & SEG_L);
    st.mask = st.flat64 ? UINT64_MAX : ss->attr & SEG_DB ? 0xffffffffu : 0xffffu;
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
}

void far_return(CpuState *cpu, unsigned opsize, unsigned pop_bytes)
{
    Stack st = stack_current(cpu);
    uint64_t rip = stack_pop(&st, opsize);
    uint16_t sel = (uint16_t)stack_pop(&st, opsize);
    st.sp += pop_bytes;
    log_far(cpu, "return", sel, rip);
    if (no_descriptors(cpu)) {
        Segment cs = flat_cs(cpu, sel);
        far_check_rip(cpu, &cs, rip, 0);
        cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
        commit_cs(cpu, cs, sel & SEL_RPL, rip);
        return;
    }
    Descriptor d;
    check_return_code(cpu, sel, &d);
    Segment cs = desc_segment(sel, &d);
    unsigned rpl = sel & SEL_RPL;
    if (rpl == cpu_cpl(cpu)) {
        far_check_rip(cpu, &cs, rip, 0);
        desc_mark_accessed(cpu, &d);
        cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
        commit_cs(cpu, desc_segment(sel, &d), rpl, rip);
        return;
    }
    uint64_t sp = stack_pop(&st, opsize);
    uint16_t ss_sel = (uint16_t)stack_pop(&st, opsize);
    Segment ss = check_return_stack(cpu, ss_sel, rpl, &d);
    far_check_rip(cpu, &cs, rip, 0);
    desc_mark_accessed(cpu, &d);

    commit_sp(cpu, &d, &ss, sp + pop_bytes);
    cpu->seg[SEG_SS] = ss;
    seg_drop_inner(cpu, rpl);
    commit_cs(cpu, desc_segment(sel, &d), rpl, rip);
}

enum {
    IRET_FLAGS16 = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT,
    IRET_FLAGS32 = IRET_FLAGS16 | FLAG_RF | FLAG_AC | FLAG_ID,
};

static void iret_real(CpuState *cpu, unsigned opsize)
{
    Stack st = stack_current(cpu);
    uint64_t rip = stack_pop(&st, opsize);
    uint16_t sel = (uint16_t)stack_pop(&st, opsize);
    uint64_t flags = stack_pop(&st, opsize);
    Segment cs = seg_real(&cpu->seg[SEG_CS], sel);
    far_check_rip(cpu, &cs, rip, 0);
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    cpu_set_rflags(cpu, flags,
                   (opsize == 2 ? IRET_FLAGS16 : IRET_FLAGS32) | FLAG_IF | FLAG_IOPL);
    commit_cs(cpu, cs, sel & SEL_RPL, rip);
}

/* SDM 3B 21.2.7 and table 21-2: with IOPL below 3 only a 16-bit IRET under VME works, on
 * VIF. */
static void iret_v86(CpuState *cpu, unsigned opsize)
{
    bool iopl3 = (cpu->eflags & FLAG_IOPL) == FLAG_IOPL;
    if (!iopl3 && !(opsize == 2 && (cpu->cr4 & CR4_VME))) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    Stack st = stack_current(cpu);
    uint64_t rip = stack_pop(&st, opsize);
    uint16_t sel = (uint16_t)stack_pop(&st, opsize);
    uint64_t flags = stack_pop(&st, opsize);
    uint64_t mask = opsize == 2 ? IRET_FLAGS16 : IRET_FLAGS32;
    if (iopl3) {
        mask |= FLAG_IF;
    } else {
        if ((flags & FLAG_TF) || ((flags & FLAG_IF) && (cpu->eflags & FLAG_VIP))) {
            cpu_raise(cpu, EXC_GP, 0);
        }
        mask |= FLAG_VIF;
        flags = flags & FLAG_IF ? flags | FLAG_VIF : flags & ~(uint64_t)FLAG_VIF;
    }
    Segment cs = seg_v86(sel);
    far_check_rip(cpu, &cs, rip, 0);
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    cpu_set_rflags(cpu, flags, mask);
    commit_cs(cpu, cs, sel & SEL_RPL, rip);
}

/* IRETD at CPL 0 with VM in the image. */
static void iret_to_v86(CpuState *cpu, Stack *st, uint32_t eip, uint16_t cs, uint32_t flags)
{
    uint32_t esp = (uint32_t)stack_pop(st, 4);
    uint16_t sel[NR_SEGS];
    static const uint8_t order[] = { SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
        sel[order[i]] = (uint16_t)stack_pop(st, 4);
    }
    sel[SEG_CS] = cs;
    Segment new_cs = seg_v86(cs);
    far_check_rip(cpu, &new_cs, eip, 0);
    for (unsigned i = 0; i < NR_SEGS; i++) {
        cpu->seg[i] = seg_v86(sel[i]);
    }
    cpu->gpr[REG_RSP] = esp;
    cpu->rip = eip;
    cpu_set_rflags(cpu, flags,
                   IRET_FLAGS32 | FLAG_IF | FLAG_IOPL | FLAG_VM | FLAG_VIF | FLAG_VIP);
    cpu_update_mode(cpu);
}

static uint64_t iret_mask(const CpuState *cpu, unsigned opsize)
{
    unsigned cpl = cpu_cpl(cpu);
    uint64_t mask = opsize == 2 ? IRET_FLAGS16 : IRET_FLAGS32;
    if (cpl <= (cpu->eflags & FLAG_IOPL) >> 12) {
        mask |= FLAG_IF;
    }
    if (cpl == 0) {
        mask |= FLAG_IOPL | (opsize == 2 ? 0 : FLAG_VIF | FLAG_VIP);
    }
    return mask;
}

static void iret_protected(CpuState *cpu, unsigned opsize)
{
    if (cpu->eflags & FLAG_NT) {
        if (cpu->mode & MODE_LMA) {
            cpu_raise(cpu, EXC_GP, 0);
        }
        task_return(cpu);
        return;
    }
    Stack st = stack_current(cpu);
    uint64_t rip = stack_pop(&st, opsize);
    uint16_t sel = (uint16_t)stack_pop(&st, opsize);
    uint64_t flags = stack_pop(&st, opsize);
    log_far(cpu, "iret", sel, rip);
    if (opsize == 4 && (flags & FLAG_VM) && !(cpu->mode & MODE_LMA) && cpu_cpl(cpu) == 0) {
        iret_to_v86(cpu, &st, (uint32_t)rip, sel, (uint32_t)flags);
        return;
    }
    Descriptor d;
    check_return_code(cpu, sel, &d);
    Segment cs = desc_segment(sel, &d);
    unsigned rpl = sel & SEL_RPL;
    bool outer = rpl != cpu_cpl(cpu);
    uint64_t mask = iret_mask(cpu, opsize);
    if (outer || (cpu->mode & MODE_CS64)) {
        uint64_t sp = stack_pop(&st, opsize);
        uint16_t ss_sel = (uint16_t)stack_pop(&st, opsize);
        Segment ss = check_return_stack(cpu, ss_sel, rpl, &d);
        far_check_rip(cpu, &cs, rip, 0);
        desc_mark_accessed(cpu, &d);
        commit_sp(cpu, &d, &ss, sp);
        cpu->seg[SEG_SS] = ss;
        if (outer) {
            seg_drop_inner(cpu, rpl);
        }
    } else {
        far_check_rip(cpu, &cs, rip, 0);
        desc_mark_accessed(cpu, &d);
        cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    }
    cpu_set_rflags(cpu, flags, mask);
    commit_cs(cpu, desc_segment(sel, &d), rpl, rip);
}

void far_iret(CpuState *cpu, unsigned opsize)
{
    if (opsize == 8 && long_iret(cpu)) {
        return;
    }
    cpu->nmi_blocked = false; /* even if what follows faults: SDM 3A 6.7.1 */
    if (cpu->mode & MODE_VM) {
        iret_v86(cpu, opsize);
    } else if (!(cpu->mode & MODE_PE)) {
        iret_real(cpu, opsize);
    } else {
        iret_protected(cpu, opsize);
    }
}
