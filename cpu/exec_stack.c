/* SPDX-License-Identifier: GPL-2.0-or-later
 * The stack instructions, and the flags that interrupts and privilege depend on (SDM 2B
 * PUSHF, POPF, CLI, STI; SDM 3B 21.3 and table 21-2 for VME, 21.4 for PVI).
 */
#include "cpu/exec.h"
#include "cpu/segment.h"

static void commit_rsp(CpuState *cpu, const Stack *st)
{
    cpu->gpr[REG_RSP] = stack_merge(st, cpu->gpr[REG_RSP]);
}

void exec_PUSH(CpuState *cpu, const Insn *in)
{
    const Operand *o = &in->opd[0];
    if (o->kind == OPD_SEG && in->opsize == 4) {
        /* A 16-bit move into a 32-bit slot, as all recent processors do it. */
        Stack st = stack_current(cpu);
        st.sp -= 2;
        stack_push(&st, cpu->seg[o->reg].sel, 2);
        commit_rsp(cpu, &st);
        return;
    }
    uint64_t val = o->kind == OPD_IMM ? (uint64_t)in->imm : exec_get(cpu, in, 0);
    cpu_push(cpu, val, in->opsize);
}

static void pop_seg(CpuState *cpu, const Insn *in, int seg)
{
    Stack st = stack_current(cpu);
    uint16_t sel = (uint16_t)stack_pop(&st, in->opsize);
    Segment s = seg_check_reg(cpu, seg, sel);
    commit_rsp(cpu, &st); /* by the size of the old stack */
    seg_commit(cpu, seg, s);
    if (seg == SEG_SS) {
        cpu->shadow = 2;
    }
}

void exec_POP(CpuState *cpu, const Insn *in)
{
    const Operand *o = &in->opd[0];
    if (o->kind == OPD_SEG) {
        pop_seg(cpu, in, o->reg);
        return;
    }
    uint64_t rsp = cpu->gpr[REG_RSP];
    Stack st = stack_current(cpu);
    uint64_t val = stack_pop(&st, in->opsize);
    commit_rsp(cpu, &st);
    if (o->kind != OPD_MEM) {
        exec_put(cpu, in, 0, val);
        return;
    }
    /* An address with rSP in it means the incremented one; a fault takes the increment
     * back. */
    uint64_t ea = exec_ea(cpu, in);
    uint64_t popped = cpu->gpr[REG_RSP];
    cpu->gpr[REG_RSP] = rsp;
    seg_store(cpu, in->seg, ea, val, in->opsize);
    cpu->gpr[REG_RSP] = popped;
}

void exec_PUSHA(CpuState *cpu, const Insn *in)
{
    Stack st = stack_current(cpu);
    for (unsigned i = REG_RAX; i <= REG_RDI; i++) {
        stack_push(&st, cpu->gpr[i], in->opsize);
    }
    commit_rsp(cpu, &st);
}

void exec_POPA(CpuState *cpu, const Insn *in)
{
    Stack st = stack_current(cpu);
    uint64_t val[8];
    for (unsigned i = 8; i-- > 0;) {
        val[i] = stack_pop(&st, in->opsize);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i != REG_RSP) {
            cpu_set_reg(cpu, i, in->opsize, val[i]);
        }
    }
    commit_rsp(cpu, &st);
}

void exec_ENTER(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opsize, level = (unsigned)in->imm2 & 31;
    Stack st = stack_current(cpu);
    stack_push(&st, cpu->gpr[REG_RBP], size);
    uint64_t frame = st.sp;
    if (level > 0) {
        Stack display = st;
        display.sp = cpu->gpr[REG_RBP];
        for (unsigned i = 1; i < level; i++) {
            display.sp -= size;
            uint64_t link = stack_pop(&display, size);
            display.sp -= size;
            stack_push(&st, link, size);
        }
        stack_push(&st, frame, size);
    }
    st.sp -= (uint16_t)in->imm;
    /* The new top must be writable, though nothing is written there. */
    uint64_t top = seg_lin(cpu, SEG_SS, st.sp & st.mask, size, true);
    lin_probe(cpu, top, size, true, MEM_CPL);
    cpu_set_reg(cpu, REG_RBP, size, frame);
    commit_rsp(cpu, &st);
}

void exec_LEAVE(CpuState *cpu, const Insn *in)
{
    Stack st = stack_current(cpu);
    st.sp = cpu->gpr[REG_RBP];
    uint64_t rbp = stack_pop(&st, in->opsize);
    commit_rsp(cpu, &st);
    cpu_set_reg(cpu, REG_RBP, in->opsize, rbp);
}

/* ---- flags ---- */

static unsigned iopl(const CpuState *cpu)
{
    return (cpu->eflags & FLAG_IOPL) >> 12;
}

static bool v86_below_iopl(const CpuState *cpu)
{
    return (cpu->mode & MODE_VM) && iopl(cpu) < 3;
}

/* V86 with IOPL below 3: #GP unless VME lends a hand with 16-bit PUSHF and POPF. */
static void need_vme(CpuState *cpu, const Insn *in)
{
    if (in->opsize != 2 || !(cpu->cr4 & CR4_VME)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
}

void exec_PUSHF(CpuState *cpu, const Insn *in)
{
    uint64_t flags = cpu_rflags(cpu) & ~(uint64_t)(FLAG_VM | FLAG_RF);
    if (v86_below_iopl(cpu)) {
        need_vme(cpu, in);
        flags |= FLAG_IOPL;
        flags = flags & FLAG_VIF ? flags | FLAG_IF : flags & ~(uint64_t)FLAG_IF;
    }
    cpu_push(cpu, flags, in->opsize);
}

void exec_POPF(CpuState *cpu, const Insn *in)
{
    enum { LOW = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT, HIGH = FLAG_AC | FLAG_ID };
    uint64_t mask = LOW | (in->opsize == 2 ? 0 : HIGH | FLAG_RF);
    if (v86_below_iopl(cpu)) {
        need_vme(cpu, in);
        Stack st = stack_current(cpu);
        uint64_t flags = stack_pop(&st, 2);
        if ((flags & FLAG_TF) || ((flags & FLAG_IF) && (cpu->eflags & FLAG_VIP))) {
            cpu_raise(cpu, EXC_GP, 0);
        }
        flags |= flags & FLAG_IF ? FLAG_VIF : 0;
        commit_rsp(cpu, &st);
        cpu_set_rflags(cpu, flags, mask | FLAG_VIF);
        return;
    }
    uint64_t flags = cpu_pop(cpu, in->opsize) & ~(uint64_t)FLAG_RF;
    if (cpu_cpl(cpu) <= iopl(cpu)) {
        mask |= FLAG_IF;
    }
    if (cpu_cpl(cpu) == 0) {
        mask |= FLAG_IOPL;
    }
    cpu_set_rflags(cpu, flags, mask);
}

/* Which flag CLI and STI change here: IF, or VIF under VME and PVI; else #GP. */
static uint32_t interrupt_flag(CpuState *cpu)
{
    if (cpu_cpl(cpu) <= iopl(cpu)) {
        return FLAG_IF;
    }
    bool virtual_if = cpu->mode & MODE_VM ? (cpu->cr4 & CR4_VME) != 0
                                          : cpu_cpl(cpu) == 3 && (cpu->cr4 & CR4_PVI);
    if (!virtual_if) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    return FLAG_VIF;
}

void exec_CLI(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu->eflags &= ~interrupt_flag(cpu);
}

void exec_STI(CpuState *cpu, const Insn *in)
{
    (void)in;
    uint32_t flag = interrupt_flag(cpu);
    if (flag == FLAG_VIF && (cpu->eflags & FLAG_VIP)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    cpu->shadow = flag == FLAG_IF && !(cpu->eflags & FLAG_IF) ? 1 : 0;
    cpu->eflags |= flag;
}

void exec_HLT(CpuState *cpu, const Insn *in)
{
    (void)in;
    if (cpu_cpl(cpu) != 0) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    cpu->activity = CPU_HALTED;
    __atomic_fetch_or(&cpu->request, CPU_REQ_RECHECK, __ATOMIC_SEQ_CST);
}

void exec_CLC(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu->cc &= (uint16_t)~CC_CF;
}

void exec_STC(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu->cc |= CC_CF;
}

void exec_CMC(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu->cc ^= CC_CF;
}

void exec_CLD(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu->eflags &= ~(uint32_t)FLAG_DF;
}

void exec_STD(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu->eflags |= FLAG_DF;
}
