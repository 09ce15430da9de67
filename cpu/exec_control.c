/* SPDX-License-Identifier: GPL-2.0-or-later
 * Control transfers other than near jumps, calls and returns: far ones, software
 * interrupts, counted loops, system calls.
 *
 * SYSCALL and SYSRET work outside 64-bit mode too, as AMD's processors have them (APM 3);
 * Intel's raise #UD there.
 */
#include "cpu/exec.h"
#include "cpu/far.h"
#include "cpu/long_mode.h"
#include "cpu/paging.h"

/* A far pointer operand: offset, and its selector in *sel. */
static uint64_t far_pointer(CpuState *cpu, const Insn *in, uint16_t *sel)
{
    if (in->opd[0].kind != OPD_MEM) {
        *sel = (uint16_t)in->imm2;
        return (uint64_t)in->imm;
    }
    uint64_t ea = exec_ea(cpu, in);
    uint64_t offset = seg_load(cpu, in->seg, ea, in->opsize);
    *sel = (uint16_t)seg_load(cpu, in->seg, (ea + in->opsize) & exec_mask(in->adsize), 2);
    return offset;
}

void exec_JMPF(CpuState *cpu, const Insn *in)
{
    uint16_t sel;
    uint64_t offset = far_pointer(cpu, in, &sel);
    far_jump(cpu, sel, offset, in->opsize);
}

void exec_CALLF(CpuState *cpu, const Insn *in)
{
    uint16_t sel;
    uint64_t offset = far_pointer(cpu, in, &sel);
    far_call(cpu, sel, offset, in->opsize);
}

void exec_RETF(CpuState *cpu, const Insn *in)
{
    far_return(cpu, in->opsize, in->nr_opd ? (uint16_t)in->imm : 0);
}

void exec_IRET(CpuState *cpu, const Insn *in)
{
    far_iret(cpu, in->opsize);
}

void exec_INT(CpuState *cpu, const Insn *in)
{
    cpu_deliver(cpu, EVENT_SOFT_INT, (uint8_t)in->imm, false, 0);
}

void exec_INT3(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_deliver(cpu, EVENT_SOFT_EXC, EXC_BP, false, 0);
}

void exec_INTO(CpuState *cpu, const Insn *in)
{
    (void)in;
    if (cpu->cc & CC_OF) {
        cpu_deliver(cpu, EVENT_SOFT_EXC, EXC_OF, false, 0);
    }
}

void exec_INT1(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_deliver(cpu, EVENT_ICEBP, EXC_DB, false, 0);
}

void exec_BOUND(CpuState *cpu, const Insn *in)
{
    unsigned shift = 64 - in->opsize * 8;
    uint64_t ea = exec_ea(cpu, in);
    uint64_t second = (ea + in->opsize) & exec_mask(in->adsize);
    int64_t index = (int64_t)(cpu->gpr[in->opd[0].reg] << shift) >> shift;
    int64_t low = (int64_t)(seg_load(cpu, in->seg, ea, in->opsize) << shift) >> shift;
    /* The upper bound is not even loaded when the lower one is violated. */
    if (index < low ||
        index > (int64_t)(seg_load(cpu, in->seg, second, in->opsize) << shift) >> shift) {
        cpu_raise_plain(cpu, EXC_BR);
    }
}

void exec_UD0(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_raise_plain(cpu, EXC_UD);
}

void exec_UD1(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_raise_plain(cpu, EXC_UD);
}

void exec_UD2(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_raise_plain(cpu, EXC_UD);
}

/* ---- counted loops ---- */

static uint64_t branch_target(CpuState *cpu, const Insn *in)
{
    uint64_t target = (cpu->rip + (uint64_t)in->imm) & exec_mask(in->opsize);
    far_check_rip(cpu, &cpu->seg[SEG_CS], target, 0);
    return target;
}

void exec_JCXZ(CpuState *cpu, const Insn *in)
{
    if (cpu_reg(cpu, REG_RCX, in->adsize) == 0) {
        cpu->rip = branch_target(cpu, in);
    }
}

static void loop_if(CpuState *cpu, const Insn *in, bool cond)
{
    uint64_t count = (cpu_reg(cpu, REG_RCX, in->adsize) - 1) & exec_mask(in->adsize);
    if (count != 0 && cond) {
        cpu->rip = branch_target(cpu, in);
    }
    cpu_set_reg(cpu, REG_RCX, in->adsize, count);
}

void exec_LOOP(CpuState *cpu, const Insn *in)
{
    loop_if(cpu, in, true);
}

void exec_LOOPE(CpuState *cpu, const Insn *in)
{
    loop_if(cpu, in, cpu->cc & CC_ZF);
}

void exec_LOOPNE(CpuState *cpu, const Insn *in)
{
    loop_if(cpu, in, !(cpu->cc & CC_ZF));
}

/* ---- system calls ---- */

enum {
    ATTR_CODE = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_ACCESSED | SEG_G,
    ATTR_CODE32 = ATTR_CODE | SEG_DB,
    ATTR_CODE64 = ATTR_CODE | SEG_L,
    ATTR_DATA = SEG_P | SEG_S | SEG_RW | SEG_ACCESSED | SEG_G | SEG_DB,
    FLAGS_ALL = 0x3f7fd5,
    SYSRET_FLAGS = 0x3c7fd7,
};

/* CS and SS as these instructions make them up, without a look at the tables. */
static void flat_segments(CpuState *cpu, uint16_t cs, uint16_t ss, bool is_64, unsigned cpl)
{
    uint32_t dpl = cpl << SEG_DPL_SHIFT;
    cpu->seg[SEG_CS] = (Segment) {
        .sel = (uint16_t)((cs & ~SEL_RPL) | cpl),
        .attr = (is_64 ? ATTR_CODE64 : ATTR_CODE32) | dpl,
        .limit = UINT32_MAX,
    };
    cpu->seg[SEG_SS] = (Segment) {
        .sel = (uint16_t)((ss & ~SEL_RPL) | cpl),
        .attr = ATTR_DATA | dpl,
        .limit = UINT32_MAX,
    };
    if (is_64) {
        long_update_mode(cpu, cpl);
    } else {
        cpu_update_mode(cpu);
    }
}

/* cpu_set_rflags for those who call flat_segments next. */
static void set_flags(CpuState *cpu, uint64_t val, uint32_t mask)
{
    cpu->eflags = (cpu->eflags & ~mask) | ((uint32_t)val & mask & ~(uint32_t)FLAG_ARITH);
    if (mask & FLAG_ARITH) {
        uint16_t which = flags_to_cc(mask & FLAG_ARITH);
        cpu->cc = (cpu->cc & ~which) | (flags_to_cc((uint32_t)val) & which);
    }
}

static void need_cpl0(CpuState *cpu)
{
    if (cpu_cpl(cpu) != 0) {
        cpu_raise(cpu, EXC_GP, 0);
    }
}

void exec_SYSCALL(CpuState *cpu, const Insn *in)
{
    (void)in;
    if (!(cpu->efer & EFER_SCE) || !(cpu->cr0 & CR0_PE)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    uint16_t cs = (uint16_t)(cpu->star >> 32);
    bool lma = cpu->mode & MODE_LMA;
    if (lma) {
        cpu->gpr[REG_RCX] = cpu->rip;
        cpu->gpr[REG_R11] = cpu_rflags(cpu) & ~(uint64_t)FLAG_RF;
        cpu->rip = cpu->mode & MODE_CS64 ? cpu->lstar : cpu->cstar;
        set_flags(cpu, 0, ((uint32_t)cpu->sfmask | FLAG_RF) & ~(uint32_t)FLAG_VM);
    } else {
        cpu->gpr[REG_RCX] = (uint32_t)cpu->rip;
        cpu->rip = (uint32_t)cpu->star;
        set_flags(cpu, 0, FLAG_VM | FLAG_IF | FLAG_RF);
    }
    flat_segments(cpu, cs, (uint16_t)(cs + 8), lma, 0);
}

void exec_SYSRET(CpuState *cpu, const Insn *in)
{
    if (!(cpu->efer & EFER_SCE) || !(cpu->cr0 & CR0_PE)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    need_cpl0(cpu);
    uint16_t base = (uint16_t)(cpu->star >> 48);
    bool to_64 = in->opsize == 8;
    if (to_64 && !lin_is_canonical(cpu, cpu->gpr[REG_RCX])) {
        cpu_raise(cpu, EXC_GP, 0); /* at CPL 0: Intel's order */
    }
    cpu->rip = to_64 ? cpu->gpr[REG_RCX] : (uint32_t)cpu->gpr[REG_RCX];
    if (cpu->mode & MODE_CS64) {
        set_flags(cpu, cpu->gpr[REG_R11] & SYSRET_FLAGS, FLAGS_ALL);
    } else {
        set_flags(cpu, FLAG_IF, FLAG_IF);
    }
    flat_segments(cpu, (uint16_t)(to_64 ? base + 16 : base), (uint16_t)(base + 8), to_64,
                  3);
}

/* AMD's processors have both in legacy mode only (APM 3, SYSENTER). */
static void sysenter_is_there(CpuState *cpu)
{
    if ((cpu->mode & MODE_LMA) && cpu_is_amd(cpu)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
}

void exec_SYSENTER(CpuState *cpu, const Insn *in)
{
    (void)in;
    sysenter_is_there(cpu);
    uint16_t cs = (uint16_t)cpu->sysenter_cs & SEL_ERROR;
    if (!(cpu->cr0 & CR0_PE) || cs == 0) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    bool lma = cpu->mode & MODE_LMA;
    cpu->gpr[REG_RSP] = lma ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    cpu->rip = lma ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
    set_flags(cpu, 0, FLAG_VM | FLAG_IF | FLAG_RF);
    flat_segments(cpu, cs, (uint16_t)(cs + 8), lma, 0);
}

void exec_SYSEXIT(CpuState *cpu, const Insn *in)
{
    sysenter_is_there(cpu);
    uint16_t cs = (uint16_t)cpu->sysenter_cs & SEL_ERROR;
    if (!(cpu->mode & MODE_PE) || cs == 0) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    need_cpl0(cpu);
    uint64_t rip = cpu->gpr[REG_RDX], rsp = cpu->gpr[REG_RCX];
    bool to_64 = in->opsize == 8;
    if (to_64 && (!lin_is_canonical(cpu, rip) || !lin_is_canonical(cpu, rsp))) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    cpu->rip = to_64 ? rip : (uint32_t)rip;
    cpu->gpr[REG_RSP] = to_64 ? rsp : (uint32_t)rsp;
    unsigned step = to_64 ? 32 : 16;
    flat_segments(cpu, (uint16_t)(cs + step), (uint16_t)(cs + step + 8), to_64, 3);
}
