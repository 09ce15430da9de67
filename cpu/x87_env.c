/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x87 environment in memory: FNSTENV, FLDENV, FNSAVE, FRSTOR (SDM 1 8.1.10, figures 8-9 to
 * 8-12): 14 or 28 bytes by operand size; in real and V86 mode pointers are linear addresses with
 * the opcode beside them, in protected mode offsets and selectors.
 */
#include <string.h>

#include "cpu/exception.h"
#include "cpu/x87.h"

/* Exponent and significand decide between valid (0), zero (1) and special (2). */
static unsigned tag_of(const uint8_t st[10])
{
    uint64_t sig;
    uint16_t se;
    memcpy(&sig, st, 8);
    memcpy(&se, st + 8, 2);
    if ((se & 0x7fff) == 0x7fff || ((se & 0x7fff) == 0 && sig != 0)) {
        return 2;
    }
    if ((se & 0x7fff) == 0) {
        return 1;
    }
    return sig >> 63 ? 0 : 2;
}

uint16_t x87_full_tag(const FpuState *f)
{
    uint16_t tag = 0;
    for (unsigned i = 0; i < 8; i++) {
        tag |= (f->tag >> i & 1 ? tag_of(f->st[i]) : 3) << 2 * i;
    }
    return tag;
}

static uint8_t abridge_tag(uint16_t tag)
{
    uint8_t a = 0;
    for (unsigned i = 0; i < 8; i++) {
        a |= ((tag >> 2 * i & 3) != 3) << i;
    }
    return a;
}

static unsigned env_size(const Insn *in)
{
    return in->opsize == 2 ? 14 : 28;
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static void env_store(const CpuState *cpu, const Insn *in, uint8_t *env)
{
    const FpuState *f = &cpu->fpu;
    bool protected = cpu->mode & MODE_PE;
    uint32_t fip = f->fip, fdp = f->fdp;
    if (!protected) {
        fip += (uint32_t)f->fcs << 4;
        fdp += (uint32_t)f->fds << 4;
    }

    if (in->opsize == 2) {
        put16(env, f->fcw);
        put16(env + 2, f->fsw);
        put16(env + 4, x87_full_tag(f));
        put16(env + 6, fip);
        put16(env + 8, protected ? f->fcs : (fip >> 4 & 0xf000) | f->fop);
        put16(env + 10, fdp);
        put16(env + 12, protected ? f->fds : fdp >> 4 & 0xf000);
        return;
    }
    put32(env, 0xffff0000 | f->fcw); /* reserved halves are stored as ones */
    put32(env + 4, 0xffff0000 | f->fsw);
    put32(env + 8, 0xffff0000 | x87_full_tag(f));
    if (protected) {
        put32(env + 12, fip);
        put32(env + 16, f->fcs | (uint32_t)f->fop << 16);
        put32(env + 20, fdp);
        put32(env + 24, 0xffff0000 | f->fds);
    } else {
        put32(env + 12, 0xffff0000 | (fip & 0xffff));
        put32(env + 16, (fip >> 16) << 12 | f->fop);
        put32(env + 20, 0xffff0000 | (fdp & 0xffff));
        put32(env + 24, (fdp >> 16) << 12);
    }
}

static void env_load(CpuState *cpu, const Insn *in, const uint8_t *env)
{
    FpuState *f = &cpu->fpu;
    bool protected = cpu->mode & MODE_PE, small = in->opsize == 2;
    unsigned w = small ? 2 : 4; /* bytes a field */

    f->tag = abridge_tag(get16(env + 2 * w));
    if (protected) {
        f->fip = small ? get16(env + 6) : get32(env + 12);
        f->fcs = get16(env + 4 * w);
        f->fop = small ? 0 : get16(env + 18) & 0x7ff;
        f->fdp = small ? get16(env + 10) : get32(env + 20);
        f->fds = get16(env + 6 * w);
    } else {
        uint32_t hi = small ? get16(env + 8) : get32(env + 16);
        uint32_t dhi = small ? get16(env + 12) : get32(env + 24);
        f->fip = get16(env + 3 * w) | (hi & 0xffff000) << 4;
        f->fdp = get16(env + 5 * w) | (dhi & 0xffff000) << 4;
        f->fop = hi & 0x7ff;
        f->fcs = f->fds = 0;
    }
    x87_set_cw(cpu, get16(env));
    x87_set_sw(cpu, get16(env + w));
}

static uint64_t env_lin(CpuState *cpu, const Insn *in, unsigned size, bool write)
{
    return seg_lin(cpu, in->seg, exec_ea(cpu, in), size, write);
}

void x87_fnstenv(CpuState *cpu, const Insn *in)
{
    uint8_t env[28];
    if (cpu->mode & MODE_FPU_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    env_store(cpu, in, env);
    lin_write(cpu, env_lin(cpu, in, env_size(in), true), env, env_size(in), MEM_CPL);
    x87_set_cw(cpu, cpu->fpu.fcw | FCW_MASKS);
}

void x87_fldenv(CpuState *cpu, const Insn *in)
{
    uint8_t env[28];
    if (cpu->mode & MODE_FPU_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    x87_check_pending(cpu);
    lin_read(cpu, env_lin(cpu, in, env_size(in), false), env, env_size(in), MEM_CPL);
    env_load(cpu, in, env);
}

void x87_fnsave(CpuState *cpu, const Insn *in)
{
    uint8_t area[108];
    unsigned n = env_size(in), top = cpu->fpu.fsw >> 11 & 7;
    if (cpu->mode & MODE_FPU_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    env_store(cpu, in, area);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(area + n + 10 * i, cpu->fpu.st[(top + i) & 7], 10);
    }
    lin_write(cpu, env_lin(cpu, in, n + 80, true), area, n + 80, MEM_CPL);
    x87_reset(cpu);
}

void x87_frstor(CpuState *cpu, const Insn *in)
{
    uint8_t area[108];
    unsigned n = env_size(in);
    if (cpu->mode & MODE_FPU_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    x87_check_pending(cpu);
    lin_read(cpu, env_lin(cpu, in, n + 80, false), area, n + 80, MEM_CPL);
    env_load(cpu, in, area);
    unsigned top = cpu->fpu.fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(cpu->fpu.st[(top + i) & 7], area + n + 10 * i, 10);
    }
}
