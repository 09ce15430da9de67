/* SPDX-License-Identifier: GPL-2.0-or-later
 * MMX, SSE and AVX instructions, whole (SDM 1 chapters 9-14, SDM 2): the checks of their exception
 * classes (SDM 2A 2.4, SDM 2B 22.25), the memory operand, then the host's own instruction by its
 * thunk (simd_host.h). Here too: what a thunk cannot do, because it touches memory element by
 * element (masked moves, gathers), and unmasked SIMD exceptions.
 *
 * Left out: #AC on misaligned operands of instructions that allow them. When #XM is raised for
 * overflow or underflow, MXCSR.PE may be set though the result is exact but for its exponent;
 * and for DPPS and DPPD the flags of their later steps may be set too.
 */
#include "cpu/simd_host.h"

#include <string.h>

#include "cpu/exception.h"
#include "cpu/exec.h"
#include "cpu/simd_host_x86_64.h"
#include "cpu/x87.h"
#include "util/log.h"

enum { MXCSR_FLAGS = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_FZ = 0x8000 };
enum { MX_IE = 1, MX_DE = 2, MX_ZE = 4, MX_OE = 8, MX_UE = 16, MX_PE = 32 };

static uint64_t address_mask(const Insn *in)
{
    return in->adsize == 8 ? ~0ull : in->adsize == 4 ? 0xffffffff : 0xffff;
}

/* ---- checks ---- */

static void check_mmx(CpuState *cpu)
{
    if (cpu->cr0 & CR0_EM) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    if (cpu->mode & MODE_FPU_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    x87_check_pending(cpu);
}

static void simd_check(CpuState *cpu, unsigned checks)
{
    if ((checks & SIMD_AVX && cpu->mode & MODE_AVX_UD) ||
        (checks & SIMD_SSE && cpu->mode & MODE_SSE_UD)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    if (checks & (SIMD_AVX | SIMD_SSE) && cpu->mode & MODE_SSE_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    if (checks & SIMD_MMX) {
        check_mmx(cpu);
    }
}

/* ---- instructions without a thunk ---- */

static void exec_emms(CpuState *cpu)
{
    check_mmx(cpu);
    cpu->fpu.fsw &= ~FSW_TOP; /* as the processors do; the SDM names only the tags */
    cpu->fpu.tag = 0;
}

/* VZEROUPPER, VZEROALL: registers 8-15 only in 64-bit mode. */
static void exec_vzero(CpuState *cpu, const Insn *in)
{
    simd_check(cpu, SIMD_AVX);
    unsigned n = cpu->mode & MODE_CS64 ? 16 : 8;
    for (unsigned i = 0; i < n; i++) {
        if (in->prefixes & PFX_VEX_L) {
            memset(&cpu->ymm[i], 0, 32);
        } else {
            memset(&cpu->ymm[i].u8[16], 0, 16);
        }
    }
}

/* The operand's address was cut to the address size; what lies behind it in the operand is not
 * wrapped by that, as with any operand. */
static uint64_t element_offset(const CpuState *cpu, uint64_t ea, unsigned at)
{
    return cpu->mode & MODE_CS64 ? ea + at : (uint32_t)(ea + at);
}

/* MASKMOVQ, MASKMOVDQU, VMASKMOVDQU: the bytes of the first operand whose mask byte has its top
 * bit set go to DS:rDI. No byte is written unless all can be. */
static void exec_maskmov(CpuState *cpu, const Insn *in)
{
    const Operand *src = &in->opd[in->nr_opd - 2], *msk = &in->opd[in->nr_opd - 1];
    bool mmx = src->kind == OPD_MM;
    simd_check(cpu, mmx ? SIMD_MMX : in->prefixes & PFX_VEX ? SIMD_AVX : SIMD_SSE);

    const uint8_t *data = mmx ? cpu->fpu.st[src->reg & 7] : cpu->ymm[src->reg].u8;
    const uint8_t *mask = mmx ? cpu->fpu.st[msk->reg & 7] : cpu->ymm[msk->reg].u8;
    unsigned n = mmx ? 8 : 16;
    uint64_t lin[16];
    for (unsigned i = 0; i < n; i++) {
        if (mask[i] & 0x80) {
            uint64_t off = element_offset(cpu, cpu->gpr[REG_RDI] & address_mask(in), i);
            lin[i] = seg_lin(cpu, in->seg, off, 1, true);
            lin_probe(cpu, lin[i], 1, true, MEM_CPL);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (mask[i] & 0x80) {
            lin_store(cpu, lin[i], data[i], 1, MEM_CPL);
        }
    }
    if (mmx) {
        cpu->fpu.fsw &= ~FSW_TOP;
        cpu->fpu.tag = 0xff;
    }
}

/* VMASKMOVPS/PD, VPMASKMOVD/Q: elements whose mask is clear are neither read nor written, nor do
 * they fault. Loads: reg, mask (vvvv), mem; stores: mem, mask, reg. */
static void exec_vmaskmov(CpuState *cpu, const Insn *in)
{
    bool store = in->opd[0].kind == OPD_MEM;
    const VecReg *mask = &cpu->ymm[in->opd[1].reg];
    const Operand *reg = store ? &in->opd[2] : &in->opd[0];
    bool fp = in->opcode <= 0x2f;
    unsigned esize = fp ? (in->opcode & 1 ? 8 : 4) : (in->prefixes & PFX_VEX_W ? 8 : 4);
    unsigned n = (reg->kind == OPD_YMM ? 32 : 16) / esize;

    simd_check(cpu, SIMD_AVX);
    uint64_t ea = exec_ea(cpu, in), lin[8];
    VecReg val = { .u64 = { 0 } };
    for (unsigned i = 0; i < n; i++) {
        if (!(mask->u8[(i + 1) * esize - 1] & 0x80)) {
            continue;
        }
        lin[i] = seg_lin(cpu, in->seg, element_offset(cpu, ea, i * esize), esize, store);
        if (store) {
            lin_probe(cpu, lin[i], esize, true, MEM_CPL);
        } else {
            uint64_t v = lin_load(cpu, lin[i], esize, MEM_CPL);
            memcpy(&val.u8[i * esize], &v, esize);
        }
    }
    if (!store) {
        cpu->ymm[reg->reg] = val;
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (mask->u8[(i + 1) * esize - 1] & 0x80) {
            uint64_t v = 0;
            memcpy(&v, &cpu->ymm[reg->reg].u8[i * esize], esize);
            lin_store(cpu, lin[i], v, esize, MEM_CPL);
        }
    }
}

/* VGATHER, VPGATHER (VSIB; SDM 2A 2.3.12). Elements arrive one by one: after a fault those done
 * have their mask cleared, so that a restart goes on with the others. */
static void exec_vgather(CpuState *cpu, const Insn *in)
{
    unsigned dst = in->opd[0].reg, msk = in->vvvv, idx = in->index;
    simd_check(cpu, SIMD_AVX);
    if (dst == msk || dst == idx || msk == idx) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    unsigned esize = in->prefixes & PFX_VEX_W ? 8 : 4, isize = in->opcode & 1 ? 8 : 4;
    unsigned vlen = in->prefixes & PFX_VEX_L ? 32 : 16;
    unsigned n = vlen / MAX(esize, isize);
    VecReg *d = &cpu->ymm[dst], *m = &cpu->ymm[msk];
    uint64_t base = in->base == INSN_REG_NONE ? 0 : cpu->gpr[in->base];

    /* Whole elements of mask, as the top bit says. */
    for (unsigned i = 0; i < n; i++) {
        memset(&m->u8[i * esize], m->u8[(i + 1) * esize - 1] & 0x80 ? 0xff : 0, esize);
    }
    memset(&m->u8[n * esize], 0, 32 - n * esize);
    memset(&d->u8[n * esize], 0, 32 - n * esize);
    for (unsigned i = 0; i < n; i++) {
        if (!m->u8[i * esize]) {
            continue;
        }
        int64_t index = isize == 8 ? (int64_t)cpu->ymm[idx].u64[i] : (int32_t)cpu->ymm[idx].u32[i];
        uint64_t off = base + ((uint64_t)index << in->scale) + (uint64_t)in->disp;
        uint64_t v = seg_load(cpu, in->seg, off & address_mask(in), esize);
        memcpy(&d->u8[i * esize], &v, esize);
        memset(&m->u8[i * esize], 0, esize);
    }
}

/* MOVNTI: of the SSE2 set by CPUID only; needs no SSE state. */
static void exec_movnti(CpuState *cpu, const Insn *in)
{
    seg_store(cpu, in->seg, exec_ea(cpu, in), cpu_reg(cpu, in->opd[1].reg, in->opd[1].size),
              in->opd[1].size);
}

static bool exec_without_thunk(CpuState *cpu, const Insn *in)
{
    bool vex = in->prefixes & PFX_VEX;
    if (in->map == 1) {
        switch (in->opcode) {
        case 0x77:
            if (vex) {
                exec_vzero(cpu, in);
            } else {
                exec_emms(cpu);
            }
            return true;
        case 0xc3: exec_movnti(cpu, in); return true;
        case 0xf7: exec_maskmov(cpu, in); return true;
        }
    } else if (in->map == 2 && vex) {
        switch (in->opcode) {
        case 0x2c: case 0x2d: case 0x2e: case 0x2f: case 0x8c: case 0x8e:
            exec_vmaskmov(cpu, in);
            return true;
        case 0x90: case 0x91: case 0x92: case 0x93: exec_vgather(cpu, in); return true;
        }
    }
    return false;
}

/* ---- SIMD exceptions ---- */

static uint32_t flags_of_run(uint32_t mxcsr, CpuState *copy, const SimdThunk *t, void *mem)
{
    host_ldmxcsr(mxcsr & ~MXCSR_FLAGS);
    t->run(copy, mem);
    return host_stmxcsr() & MXCSR_FLAGS;
}

/* VCVTPS2PH pays no heed to FZ: look for denormal halves. */
static bool tiny_halves(const CpuState *copy, const Insn *in, const void *mem)
{
    const uint8_t *p = mem ? mem : copy->ymm[in->opd[0].reg].u8;
    unsigned n = in->opd[1].kind == OPD_YMM ? 8 : 4;
    for (unsigned i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        if (!(h & 0x7c00) && h & 0x3ff) {
            return true;
        }
    }
    return false;
}

/* The thunk runs masked on a copy, and the flags it leaves say what would have been raised. Two
 * things differ from a truly unmasked run. Exceptions found before the computation (IE, DE, ZE)
 * keep those after it from being looked for. And unmasked UE is raised by any tiny result, masked
 * UE only by a tiny and inexact one: with FZ on, the host reports every tiny result (and calls it
 * inexact, so PE comes from a run without). (SDM 1 11.5.2, 11.5.3) */
static void run_looking(CpuState *cpu, CpuState *copy, const Insn *in, const SimdThunk *t,
                        void *mem)
{
    uint32_t live = host_stmxcsr(), enabled = ~(cpu->mxcsr >> 7) & MXCSR_FLAGS, flags;

    if (enabled & MX_UE) {
        CpuState tiny = *copy;
        VecReg in_out;
        memcpy(&in_out, mem ? mem : &in_out, t->mem_size);
        uint32_t underflow = flags_of_run(live | MXCSR_FZ, &tiny, t, &in_out) & MX_UE;
        flags = (flags_of_run(live & ~MXCSR_FZ, copy, t, mem) & ~MX_UE) | underflow;
        if (in->map == 3 && in->opcode == 0x1d && tiny_halves(copy, in, mem)) {
            flags |= MX_UE;
        }
    } else {
        flags = flags_of_run(live, copy, t, mem);
    }
    if (flags & enabled & (MX_IE | MX_DE | MX_ZE)) {
        flags &= MX_IE | MX_DE | MX_ZE;
    }
    host_ldmxcsr(live | flags);
    if (flags & enabled) {
        cpu_raise_plain(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    }
}

static bool needs_looking(const CpuState *cpu, const SimdThunk *t)
{
    return unlikely(t->checks & SIMD_FP && cpu->mode & MODE_MX_UNMASKED);
}

void simd_run_unmasked(CpuState *cpu, const Insn *in, const SimdThunk *t, void *mem)
{
    CpuState copy = *cpu;
    VecReg buf;
    void *out = mem;
    if (mem && t->mem_access == OPD_W) {
        out = &buf;
    }
    run_looking(cpu, &copy, in, t, out);
    memcpy(cpu->gpr, copy.gpr, sizeof cpu->gpr);
    memcpy(cpu->ymm, copy.ymm, sizeof cpu->ymm);
    cpu->fpu = copy.fpu;
    cpu->cc = copy.cc;
    if (out != mem) {
        memcpy(mem, &buf, t->mem_size);
    }
}

static void run_thunk(CpuState *cpu, const Insn *in, const SimdThunk *t, void *mem)
{
    if (needs_looking(cpu, t)) {
        simd_run_unmasked(cpu, in, t, mem);
    } else {
        t->run(cpu, mem);
    }
}

void simd_mxcsr_enter(CpuState *cpu)
{
    cpu->mxcsr_live = true;
    host_ldmxcsr(cpu->mxcsr | MXCSR_MASKS);
}

void simd_mxcsr_leave(CpuState *cpu)
{
    cpu->mxcsr = simd_mxcsr_read(cpu);
    cpu->mxcsr_live = false;
    host_ldmxcsr(0x1f80);
}

uint32_t simd_mxcsr_read(CpuState *cpu)
{
    if (!cpu->mxcsr_live) {
        return cpu->mxcsr;
    }
    return (host_stmxcsr() & ~(uint32_t)MXCSR_MASKS) | (cpu->mxcsr & MXCSR_MASKS);
}

void simd_mxcsr_write(CpuState *cpu, uint32_t val)
{
    cpu->mxcsr = val;
    if (cpu->mxcsr_live) {
        host_ldmxcsr(val | MXCSR_MASKS);
    }
    cpu_update_mode(cpu);
}

/* ---- the rest ---- */

static uint64_t memory_operand(CpuState *cpu, const Insn *in, const SimdThunk *t)
{
    uint64_t lin = seg_lin(cpu, in->seg, exec_ea(cpu, in), t->mem_size, t->mem_access == OPD_W);
    if (t->mem_align && lin & (t->mem_align - 1)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    return lin;
}

static void run_with_memory(CpuState *cpu, const Insn *in, const SimdThunk *t)
{
    bool write = t->mem_access == OPD_W;
    uint64_t lin = memory_operand(cpu, in, t);
    void *host = lin_host(cpu, lin, t->mem_size, write);
    if (likely(host != NULL)) {
        run_thunk(cpu, in, t, host);
        return;
    }
    VecReg buf = { .u64 = { 0 } };
    if (write) {
        lin_probe(cpu, lin, t->mem_size, true, MEM_CPL);
        run_thunk(cpu, in, t, &buf);
        lin_write(cpu, lin, &buf, t->mem_size, MEM_CPL);
    } else {
        lin_read(cpu, lin, &buf, t->mem_size, MEM_CPL);
        run_thunk(cpu, in, t, &buf);
    }
}

/* The cache is full of this guest's encodings: run the one of fixed registers, which always has
 * room, on a copy. XMM0, RAX, RCX and RDX may be implicit operands and keep their places. */
static void exec_canonical(CpuState *cpu, const Insn *in)
{
    Insn canon = *in;
    CpuState copy = *cpu;
    for (unsigned i = 0; i < in->nr_opd; i++) {
        const Operand *o = &in->opd[i];
        if (o->kind == OPD_XMM || o->kind == OPD_YMM) {
            canon.opd[i].reg = i + 1;
            copy.ymm[i + 1] = cpu->ymm[o->reg];
        } else if (o->kind == OPD_GPR) {
            canon.opd[i].reg = REG_R8 + i;
            copy.gpr[REG_R8 + i] = cpu->gpr[o->reg];
        }
    }
    const SimdThunk *t = simd_thunk_reserved(&canon);
    if (!t) {
        log_unimp("%s: the host processor lacks this instruction", insn_op_name(in->op));
        cpu_raise_plain(cpu, EXC_UD);
    }
    simd_check(cpu, t->checks);

    bool write = t->mem_access == OPD_W;
    VecReg buf = { .u64 = { 0 } };
    uint64_t lin = t->mem_size ? memory_operand(cpu, in, t) : 0;
    if (t->mem_size && write) {
        lin_probe(cpu, lin, t->mem_size, true, MEM_CPL);
    } else if (t->mem_size) {
        lin_read(cpu, lin, &buf, t->mem_size, MEM_CPL);
    }
    if (needs_looking(cpu, t)) {
        run_looking(cpu, &copy, &canon, t, &buf);
    } else {
        t->run(&copy, &buf);
    }
    if (write) {
        lin_write(cpu, lin, &buf, t->mem_size, MEM_CPL);
    }

    cpu->gpr[REG_RCX] = copy.gpr[REG_RCX];
    cpu->ymm[0] = copy.ymm[0];
    cpu->fpu = copy.fpu;
    cpu->cc = copy.cc;
    const Operand *dst = &in->opd[0];
    if (dst->access & OPD_W && (dst->kind == OPD_XMM || dst->kind == OPD_YMM)) {
        cpu->ymm[dst->reg] = copy.ymm[1];
    } else if (dst->access & OPD_W && dst->kind == OPD_GPR) {
        cpu->gpr[dst->reg] = copy.gpr[REG_R8];
    }
}

void exec_simd(CpuState *cpu, const Insn *in)
{
    if (exec_without_thunk(cpu, in)) {
        return;
    }
    const SimdThunk *t = simd_thunk(in);
    if (!t) {
        exec_canonical(cpu, in);
        return;
    }
    simd_check(cpu, t->checks);
    if (t->mem_size) {
        run_with_memory(cpu, in, t);
    } else {
        run_thunk(cpu, in, t, NULL);
    }
}
