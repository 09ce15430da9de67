/* SPDX-License-Identifier: GPL-2.0-or-later
 * The way of one event through the IVT or IDT (SDM 3A 6.12 to 6.14, 2A INT n, volume 3B
 * chapter 21 for virtual-8086 mode). Memory below the stack pointer may have been written
 * when a fault stops it; registers change only at the end.
 */
#include "cpu/far.h"
#include "cpu/paging.h"
#include "cpu/task.h"
#include "util/log.h"

/* 0 where the program asked for the event itself: EXT of error codes on the way. */
static unsigned event_ext(const Event *ev)
{
    return ev->kind != EVENT_SOFT_INT && ev->kind != EVENT_SOFT_EXC;
}

static void commit_flags(CpuState *cpu, bool clear_if)
{
    cpu->eflags &=
        ~(uint32_t)(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (clear_if ? FLAG_IF : 0));
}

static void enter_real(CpuState *cpu, const Event *ev)
{
    unsigned entry = (unsigned)ev->vector * 4;
    if (entry + 3 > cpu->idtr.limit) {
        cpu_raise(cpu, EXC_GP, entry * 2 + 2);
    }
    uint32_t target = (uint32_t)lin_load(cpu, cpu->idtr.base + entry, 4, MEM_SYSTEM);
    Stack st = stack_current(cpu);
    stack_push(&st, event_flags_image(cpu, ev), 2);
    stack_push(&st, cpu->seg[SEG_CS].sel, 2);
    stack_push(&st, ev->ret_rip, 2);
    Segment cs = seg_real(&cpu->seg[SEG_CS], (uint16_t)(target >> 16));
    far_check_rip(cpu, &cs, target & 0xffff, 0);

    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    cpu->seg[SEG_CS] = cs;
    cpu->rip = target & 0xffff;
    cpu->eflags &= ~(uint32_t)(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
    cpu_update_mode(cpu);
}

/* INT n in V86 mode that VME hands to the 8086 program's own vector table. */
static void enter_v86_program(CpuState *cpu, const Event *ev)
{
    bool iopl3 = (cpu->eflags & FLAG_IOPL) == FLAG_IOPL;
    uint32_t target = (uint32_t)lin_load(cpu, (unsigned)ev->vector * 4, 4, MEM_USER);
    uint32_t flags = (uint32_t)event_flags_image(cpu, ev);
    if (!iopl3) {
        /* The program sees VIF as its IF, and itself as allowed to change it. */
        flags |= FLAG_IOPL;
        flags = cpu->eflags & FLAG_VIF ? flags | FLAG_IF : flags & ~(uint32_t)FLAG_IF;
    }
    Stack st = stack_current(cpu);
    stack_push(&st, flags, 2);
    stack_push(&st, cpu->seg[SEG_CS].sel, 2);
    stack_push(&st, ev->ret_rip, 2);

    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    cpu->seg[SEG_CS] = seg_v86((uint16_t)(target >> 16));
    cpu->rip = target & 0xffff;
    cpu->eflags &= ~(uint32_t)(FLAG_TF | FLAG_RF | (iopl3 ? FLAG_IF : FLAG_VIF));
    cpu_update_mode(cpu);
}

/* Where an interrupt or trap gate leads. */
typedef struct Gate {
    unsigned type, size; /* size of what is pushed: 2, 4, 8 */
    unsigned ist, ext;
    uint64_t offset;
    uint16_t sel;
    Descriptor code;
} Gate;

static void commit_code(CpuState *cpu, const Gate *g, unsigned cpl)
{
    Descriptor code = g->code;
    desc_mark_accessed(cpu, &code);
    cpu->seg[SEG_CS] = desc_segment((uint16_t)((g->sel & ~SEL_RPL) | cpl), &code);
    cpu->rip = g->offset;
    commit_flags(cpu, !(g->type & 1));
}

static void push_return(CpuState *cpu, Stack *st, const Event *ev, unsigned size)
{
    stack_push(st, event_flags_image(cpu, ev), size);
    stack_push(st, cpu->seg[SEG_CS].sel, size);
    stack_push(st, ev->ret_rip, size);
    if (ev->has_error) {
        stack_push(st, ev->error, size);
    }
}

static void enter_long(CpuState *cpu, const Event *ev, const Gate *g, bool inner)
{
    unsigned cpl = inner ? desc_dpl(&g->code) : cpu_cpl(cpu);
    uint64_t rsp = g->ist  ? task_rsp(cpu, g->ist + 3, g->ext)
                   : inner ? task_rsp(cpu, cpl, g->ext)
                           : cpu->gpr[REG_RSP];
    Segment ss = inner ? seg_null((uint16_t)cpl, cpl) : cpu->seg[SEG_SS];
    Segment cs = desc_segment(g->sel, &g->code);
    far_check_rip(cpu, &cs, g->offset, g->ext);
    Stack st = stack_new(cpu, ss, rsp & ~15ull, cpl, true, g->ext);
    stack_push(&st, cpu->seg[SEG_SS].sel, 8);
    stack_push(&st, cpu->gpr[REG_RSP], 8);
    push_return(cpu, &st, ev, 8);

    commit_code(cpu, g, cpl);
    cpu->gpr[REG_RSP] = st.sp;
    cpu->seg[SEG_SS] = ss;
    cpu_update_mode(cpu);
}

static void enter_inner(CpuState *cpu, const Event *ev, const Gate *g)
{
    unsigned cpl = desc_dpl(&g->code);
    bool vm = cpu->mode & MODE_VM;
    uint16_t ss_sel;
    uint32_t esp;
    task_inner_stack(cpu, cpl, g->ext, &ss_sel, &esp);
    Segment ss = seg_check_stack(cpu, ss_sel, cpl, EXC_TS, g->ext);
    Stack st = stack_new(cpu, ss, esp, cpl, false, (ss_sel & SEL_ERROR) | g->ext);
    if (vm) {
        stack_push(&st, cpu->seg[SEG_GS].sel, g->size);
        stack_push(&st, cpu->seg[SEG_FS].sel, g->size);
        stack_push(&st, cpu->seg[SEG_DS].sel, g->size);
        stack_push(&st, cpu->seg[SEG_ES].sel, g->size);
    }
    stack_push(&st, cpu->seg[SEG_SS].sel, g->size);
    stack_push(&st, cpu->gpr[REG_RSP], g->size);
    push_return(cpu, &st, ev, g->size);
    Segment cs = desc_segment(g->sel, &g->code);
    far_check_rip(cpu, &cs, g->offset, g->ext);

    commit_code(cpu, g, cpl);
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    cpu->seg[SEG_SS] = ss;
    if (vm) {
        cpu->seg[SEG_GS] = cpu->seg[SEG_FS] = seg_null(0, 0);
        cpu->seg[SEG_DS] = cpu->seg[SEG_ES] = seg_null(0, 0);
    }
    cpu_update_mode(cpu);
}

static void enter_same(CpuState *cpu, const Event *ev, const Gate *g)
{
    Stack st = stack_current(cpu);
    st.error = g->ext;
    push_return(cpu, &st, ev, g->size);
    Segment cs = desc_segment(g->sel, &g->code);
    far_check_rip(cpu, &cs, g->offset, g->ext);

    commit_code(cpu, g, cpu_cpl(cpu));
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    cpu_update_mode(cpu);
}

/* SDM 2A INT n, TASK-GATE: the error code goes to the new task's stack. */
static void enter_task(CpuState *cpu, const Event *ev, uint64_t raw)
{
    unsigned ext = event_ext(ev);
    if (event_flags_image(cpu, ev) & FLAG_RF) {
        cpu->eflags |= FLAG_RF; /* goes to the old task's TSS */
    }
    task_gate(cpu, raw, TASK_CALL, ev->ret_rip, ext);
    if (ev->has_error) {
        Stack st = stack_current(cpu);
        st.error = ext;
        unsigned type = cpu->tr.attr & SEG_TYPE;
        stack_push(&st, ev->error, type == DESC_TSS16_BUSY ? 2 : 4);
        cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    }
    far_check_rip(cpu, &cpu->seg[SEG_CS], cpu->rip, ext);
}

/* Reads and checks the IDT's entry; task gates come back with size 0. */
static Gate fetch_gate(CpuState *cpu, const Event *ev, Descriptor *d)
{
    bool lma = cpu->mode & MODE_LMA;
    unsigned entry_size = lma ? 16 : 8;
    unsigned ext = event_ext(ev);
    uint32_t error = (unsigned)ev->vector * 8 + 2 + ext; /* bit 1: it is the IDT's */
    unsigned entry = (unsigned)ev->vector * entry_size;
    if (entry + entry_size - 1 > cpu->idtr.limit) {
        cpu_raise(cpu, EXC_GP, error);
    }
    d->lin = cpu->idtr.base + entry;
    d->raw = lin_load(cpu, d->lin, 8, MEM_SYSTEM);
    d->attr = desc_attr(d->raw);
    Gate g = { .type = desc_type(d), .ext = ext, .sel = gate_sel(d->raw) };
    bool is_32 = g.type == DESC_INT_GATE32 || g.type == DESC_TRAP_GATE32;
    bool is_16 = g.type == DESC_INT_GATE16 || g.type == DESC_TRAP_GATE16;
    if (!is_32 && (lma || (!is_16 && g.type != DESC_TASK_GATE))) {
        cpu_raise(cpu, EXC_GP, error);
    }
    bool checked = ev->kind == EVENT_SOFT_INT || ev->kind == EVENT_SOFT_EXC;
    if (checked && desc_dpl(d) < cpu_cpl(cpu)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(d->attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    g.offset = gate_offset32(d->raw);
    if (lma) {
        g.offset |= lin_load(cpu, d->lin + 8, 8, MEM_SYSTEM) << 32;
        g.ist = d->raw >> 32 & 7;
        g.size = 8;
    } else if (is_16) {
        g.offset &= 0xffff;
        g.size = 2;
    } else {
        g.size = is_32 ? 4 : 0;
    }
    return g;
}

static void enter_protected(CpuState *cpu, const Event *ev)
{
    Descriptor d;
    Gate g = fetch_gate(cpu, ev, &d);
    if (!g.size) {
        enter_task(cpu, ev, d.raw);
        return;
    }
    uint32_t error = (g.sel & SEL_ERROR) | g.ext;
    if (sel_is_null(g.sel)) {
        cpu_raise(cpu, EXC_GP, g.ext);
    }
    desc_fetch_or(cpu, g.sel, &g.code, EXC_GP, g.ext);
    unsigned cpl = cpu_cpl(cpu), dpl = desc_dpl(&g.code);
    bool lma = cpu->mode & MODE_LMA;
    if (!desc_is_code(&g.code) || dpl > cpl) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (lma && (g.code.attr & (SEG_L | SEG_DB)) != SEG_L) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(g.code.attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    bool inner = !desc_is_conforming(&g.code) && dpl < cpl;
    if ((cpu->mode & MODE_VM) && (!inner || dpl != 0)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (lma) {
        enter_long(cpu, ev, &g, inner);
    } else if (inner) {
        enter_inner(cpu, ev, &g);
    } else {
        enter_same(cpu, ev, &g);
    }
}

/* INT n in V86 mode (SDM 3B table 21-2); INT3, INTO and INT1 know no IOPL. True: done. */
static bool enter_from_v86(CpuState *cpu, const Event *ev)
{
    if ((cpu->cr4 & CR4_VME) && task_redirects(cpu, (unsigned)ev->vector)) {
        enter_v86_program(cpu, ev);
        return true;
    }
    if ((cpu->eflags & FLAG_IOPL) != FLAG_IOPL) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    return false;
}

void interrupt_enter(CpuState *cpu, const Event *ev)
{
    if (!(cpu->mode & (MODE_PE | MODE_VM))) {
        enter_real(cpu, ev);
        return;
    }
    if ((cpu->mode & MODE_VM) && ev->kind == EVENT_SOFT_INT && enter_from_v86(cpu, ev)) {
        return;
    }
    enter_protected(cpu, ev);
}
