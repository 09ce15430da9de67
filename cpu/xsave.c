/* SPDX-License-Identifier: GPL-2.0-or-later
 * Saving and restoring x87, SSE and AVX state: FXSAVE, the XSAVE family, XGETBV and XSETBV,
 * and MXCSR (SDM 1 10.5 and chapter 13).
 *
 *   area    0 x87 control and pointers   24 MXCSR   32 ST(0)-ST(7)   160 XMM0-15
 *         512 header: XSTATE_BV, XCOMP_BV, 48 bytes of 0            576 upper halves of
 * YMM0-15
 *
 * There is one extended component, so the compacted form has it at the same place as the
 * standard one. An area may cross a page: all of it is probed before the first byte is
 * written.
 */
#include <string.h>

#include "cpu/exception.h"
#include "cpu/exec.h"
#include "cpu/simd_host.h"
#include "cpu/x87.h"

enum { XSTATE_X87 = 1, XSTATE_SSE = 2, XSTATE_YMM = 4 };
enum {
    AREA_MXCSR = 24,
    AREA_ST = 32,
    AREA_XMM = 160,
    AREA_FX_SIZE = 512,
    AREA_HEADER = 512,
    AREA_YMM = 576,
    AREA_YMM_SIZE = 256,
};
enum { MXCSR_INIT = 0x1f80, MXCSR_MASK = 0xffff };
#define XCOMP_COMPACTED (1ull << 63)

static void __attribute__((noreturn)) gp(CpuState *cpu)
{
    cpu_raise(cpu, EXC_GP, 0);
}

static unsigned nr_vec(const CpuState *cpu)
{
    return cpu->mode & MODE_CS64 ? 16 : 8;
}

static void put(uint8_t *p, uint64_t val, unsigned size)
{
    memcpy(p, &val, size);
}

static uint64_t get(const uint8_t *p, unsigned size)
{
    uint64_t val = 0;
    memcpy(&val, p, size);
    return val;
}

/* ---- x87 part, bytes 0-23 and 32-159 ---- */

static bool wide_pointers(const CpuState *cpu, const Insn *in)
{
    return (cpu->mode & MODE_CS64) && (in->prefixes & PFX_REXW);
}

static void x87_to_image(const CpuState *cpu, uint8_t *area, bool wide)
{
    const FpuState *f = &cpu->fpu;
    unsigned top = f->fsw >> 11 & 7;
    memset(area, 0, AREA_MXCSR);
    put(area + 0, f->fcw, 2);
    put(area + 2, f->fsw, 2);
    put(area + 4, f->tag, 1);
    put(area + 6, f->fop, 2);
    if (wide) {
        put(area + 8, f->fip, 8);
        put(area + 16, f->fdp, 8);
    } else {
        put(area + 8, f->fip, 4);
        put(area + 12, f->fcs, 2);
        put(area + 16, f->fdp, 4);
        put(area + 20, f->fds, 2);
    }
    memset(area + AREA_ST, 0, 8 * 16);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(area + AREA_ST + i * 16, f->st[(top + i) & 7], 10);
    }
}

static void x87_from_image(CpuState *cpu, const uint8_t *area, bool wide)
{
    FpuState *f = &cpu->fpu;
    memset(f, 0, sizeof(*f));
    /* bit 6 reads as 1, bits 15:13 and 7 as 0; FSW.B and ES follow from the exception bits
     */
    f->fcw = (get(area + 0, 2) & 0x1f3f) | 0x40;
    f->fsw = get(area + 2, 2) & 0x7f7f;
    if (f->fsw & ~f->fcw & 0x3f) {
        f->fsw |= 0x8080;
    }
    f->tag = area[4];
    f->fop = get(area + 6, 2) & 0x7ff;
    if (wide) {
        f->fip = get(area + 8, 8);
        f->fdp = get(area + 16, 8);
    } else {
        f->fip = get(area + 8, 4);
        f->fcs = (uint16_t)get(area + 12, 2);
        f->fdp = get(area + 16, 4);
        f->fds = (uint16_t)get(area + 20, 2);
    }
    unsigned top = f->fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[(top + i) & 7], area + AREA_ST + i * 16, 10);
    }
    x87_update_mode(cpu);
}

static void x87_set_init(CpuState *cpu)
{
    memset(&cpu->fpu, 0, sizeof(cpu->fpu));
    cpu->fpu.fcw = 0x37f;
    x87_update_mode(cpu);
}

static bool x87_is_init(const CpuState *cpu)
{
    static const uint8_t zero[sizeof(cpu->fpu.st)];
    const FpuState *f = &cpu->fpu;
    return f->fcw == 0x37f && !f->fsw && !f->tag && !f->fop && !f->fcs && !f->fds && !f->fip &&
           !f->fdp && !memcmp(f->st, zero, sizeof(zero));
}

/* ---- FXSAVE and FXRSTOR ---- */

static uint64_t fx_area(CpuState *cpu, const Insn *in, bool write)
{
    if (cpu->cr0 & (CR0_TS | CR0_EM)) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    uint64_t lin = seg_lin(cpu, in->seg, exec_ea(cpu, in), AREA_FX_SIZE, write);
    if (lin & 15) {
        gp(cpu);
    }
    return lin;
}

/* With CR4.OSFXSR clear the system does not know of XMM registers. EFER.FFXSR: APM
 * 2 11.4.4. */
static bool fx_has_xmm(const CpuState *cpu)
{
    bool fast = (cpu->efer & EFER_FFXSR) && (cpu->mode & MODE_CS64) && cpu_cpl(cpu) == 0;
    return (cpu->cr4 & CR4_OSFXSR) && !fast;
}

void exec_FXSAVE(CpuState *cpu, const Insn *in)
{
    uint8_t area[AREA_FX_SIZE];
    uint64_t lin = fx_area(cpu, in, true);
    lin_probe(cpu, lin, AREA_FX_SIZE, true, MEM_CPL);
    x87_to_image(cpu, area, wide_pointers(cpu, in));
    put(area + AREA_MXCSR, simd_mxcsr_read(cpu), 4);
    put(area + AREA_MXCSR + 4, MXCSR_MASK, 4);
    unsigned size = AREA_XMM;
    if (fx_has_xmm(cpu)) {
        for (unsigned i = 0; i < nr_vec(cpu); i++) {
            memcpy(area + AREA_XMM + i * 16, cpu->ymm[i].u8, 16);
        }
        size += nr_vec(cpu) * 16;
    }
    lin_write(cpu, lin, area, size, MEM_CPL);
}

void exec_FXRSTOR(CpuState *cpu, const Insn *in)
{
    uint8_t area[AREA_FX_SIZE];
    lin_read(cpu, fx_area(cpu, in, false), area, AREA_FX_SIZE, MEM_CPL);
    uint32_t mxcsr = (uint32_t)get(area + AREA_MXCSR, 4);
    if ((cpu->cr4 & CR4_OSFXSR) && (mxcsr & ~(uint32_t)MXCSR_MASK)) {
        gp(cpu);
    }
    x87_from_image(cpu, area, wide_pointers(cpu, in));
    if (cpu->cr4 & CR4_OSFXSR) {
        simd_mxcsr_write(cpu, mxcsr);
    }
    if (fx_has_xmm(cpu)) {
        for (unsigned i = 0; i < nr_vec(cpu); i++) {
            memcpy(cpu->ymm[i].u8, area + AREA_XMM + i * 16, 16);
        }
    }
    cpu_update_mode(cpu);
}

/* ---- XSAVE family ---- */

/* XINUSE: the components that are not in their initial state. Registers that this mode
 * cannot name count as they are. */
static uint64_t xinuse(const CpuState *cpu)
{
    uint64_t in_use = x87_is_init(cpu) ? 0 : XSTATE_X87;
    for (unsigned i = 0; i < 16; i++) {
        if (cpu->ymm[i].u64[0] | cpu->ymm[i].u64[1]) {
            in_use |= XSTATE_SSE;
        }
        if (cpu->ymm[i].u64[2] | cpu->ymm[i].u64[3]) {
            in_use |= XSTATE_YMM;
        }
    }
    return in_use;
}

static void need_osxsave(CpuState *cpu)
{
    if (!(cpu->cr4 & CR4_OSXSAVE)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
}

/* The requested-feature bitmap; supervisor: XSAVES and XRSTORS also see IA32_XSS. */
static uint64_t requested(const CpuState *cpu, bool supervisor)
{
    uint64_t mask = cpu->gpr[REG_RDX] << 32 | (uint32_t)cpu->gpr[REG_RAX];
    return mask & (supervisor ? cpu->xcr0 | cpu->xss : cpu->xcr0);
}

static uint64_t xsave_area(CpuState *cpu, const Insn *in, bool write)
{
    need_osxsave(cpu);
    if (cpu->cr0 & CR0_TS) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    uint64_t lin = seg_lin(cpu, in->seg, exec_ea(cpu, in), AREA_YMM, write);
    if (lin & 63) {
        gp(cpu);
    }
    return lin;
}

static void write_vec(CpuState *cpu, uint64_t lin, unsigned offset, bool upper)
{
    uint8_t image[16 * 16];
    for (unsigned i = 0; i < nr_vec(cpu); i++) {
        memcpy(image + i * 16, cpu->ymm[i].u8 + (upper ? 16 : 0), 16);
    }
    lin_write(cpu, lin + offset, image, nr_vec(cpu) * 16, MEM_CPL);
}

/* Writes components what, and MXCSR if asked. */
static void write_components(CpuState *cpu, uint64_t lin, uint64_t what, bool mxcsr,
                             bool wide)
{
    uint8_t area[AREA_XMM];
    if (what & XSTATE_X87) {
        x87_to_image(cpu, area, wide);
        lin_write(cpu, lin, area, AREA_MXCSR, MEM_CPL);
        lin_write(cpu, lin + AREA_ST, area + AREA_ST, AREA_XMM - AREA_ST, MEM_CPL);
    }
    if (mxcsr) {
        put(area, simd_mxcsr_read(cpu) | (uint64_t)MXCSR_MASK << 32, 8);
        lin_write(cpu, lin + AREA_MXCSR, area, 8, MEM_CPL);
    }
    if (what & XSTATE_SSE) {
        write_vec(cpu, lin, AREA_XMM, false);
    }
    if (what & XSTATE_YMM) {
        write_vec(cpu, lin, AREA_YMM, true);
    }
}

/* XSAVE, and XSAVEOPT, which leaves out what is in its initial state. */
static void save_standard(CpuState *cpu, const Insn *in, bool optimise)
{
    uint64_t lin = xsave_area(cpu, in, true);
    uint64_t rfbm = requested(cpu, false), in_use = xinuse(cpu);
    lin_probe(cpu, lin, rfbm & XSTATE_YMM ? AREA_YMM + AREA_YMM_SIZE : AREA_YMM, true,
              MEM_CPL);
    uint64_t bv = lin_load(cpu, lin + AREA_HEADER, 8, MEM_CPL);
    write_components(cpu, lin, optimise ? rfbm & in_use : rfbm,
                     rfbm & (XSTATE_SSE | XSTATE_YMM), wide_pointers(cpu, in));
    lin_store(cpu, lin + AREA_HEADER, (bv & ~rfbm) | (in_use & rfbm), 8, MEM_CPL);
}

/* XSAVEC and XSAVES: MXCSR belongs to the SSE component here. */
static void save_compacted(CpuState *cpu, const Insn *in, bool supervisor)
{
    uint64_t lin = xsave_area(cpu, in, true);
    uint64_t rfbm = requested(cpu, supervisor), in_use = xinuse(cpu);
    if (simd_mxcsr_read(cpu) != MXCSR_INIT) {
        in_use |= XSTATE_SSE;
    }
    lin_probe(cpu, lin, rfbm & XSTATE_YMM ? AREA_YMM + AREA_YMM_SIZE : AREA_YMM, true,
              MEM_CPL);
    uint64_t what = rfbm & in_use;
    write_components(cpu, lin, what, what & XSTATE_SSE, wide_pointers(cpu, in));
    lin_store(cpu, lin + AREA_HEADER, what, 8, MEM_CPL);
    lin_store(cpu, lin + AREA_HEADER + 8, rfbm | XCOMP_COMPACTED, 8, MEM_CPL);
}

void exec_XSAVE(CpuState *cpu, const Insn *in)
{
    save_standard(cpu, in, false);
}

void exec_XSAVEOPT(CpuState *cpu, const Insn *in)
{
    save_standard(cpu, in, true);
}

void exec_XSAVEC(CpuState *cpu, const Insn *in)
{
    save_compacted(cpu, in, false);
}

void exec_XSAVES(CpuState *cpu, const Insn *in)
{
    need_osxsave(cpu);
    if (cpu_cpl(cpu) != 0) {
        gp(cpu);
    }
    save_compacted(cpu, in, true);
}

/* SDM 1 13.8, 13.12: what must be zero in a header. */
static void check_header(CpuState *cpu, const uint8_t *header, bool supervisor)
{
    uint64_t bv = get(header, 8), comp = get(header + 8, 8), rest = 0;
    uint64_t known = supervisor ? cpu->xcr0 | cpu->xss : cpu->xcr0;
    for (unsigned i = 16; i < 64; i += 8) {
        rest |= get(header + i, 8);
    }
    bool compacted = comp & XCOMP_COMPACTED;
    if (!compacted) {
        if (supervisor || comp || get(header + 16, 8) || (bv & ~known)) {
            gp(cpu);
        }
        return;
    }
    if (!feature_has(&cpu->features, FEATURE_XSAVEC) || rest ||
        (comp & ~XCOMP_COMPACTED & ~known) || (bv & ~comp)) {
        gp(cpu);
    }
}

static void read_vec(CpuState *cpu, const uint8_t *image, bool upper)
{
    for (unsigned i = 0; i < nr_vec(cpu); i++) {
        uint8_t *half = cpu->ymm[i].u8 + (upper ? 16 : 0);
        if (image) {
            memcpy(half, image + i * 16, 16);
        } else {
            memset(half, 0, 16);
        }
    }
}

static void restore(CpuState *cpu, const Insn *in, bool supervisor)
{
    uint8_t area[AREA_YMM + AREA_YMM_SIZE];
    uint64_t lin = xsave_area(cpu, in, false);
    uint64_t rfbm = requested(cpu, supervisor);
    lin_read(cpu, lin, area, AREA_YMM, MEM_CPL);
    check_header(cpu, area + AREA_HEADER, supervisor);
    uint64_t bv = get(area + AREA_HEADER, 8);
    bool compacted = get(area + AREA_HEADER + 8, 8) & XCOMP_COMPACTED;
    if (rfbm & bv & XSTATE_YMM) {
        lin_read(cpu, lin + AREA_YMM, area + AREA_YMM, AREA_YMM_SIZE, MEM_CPL);
    }
    /* The standard form loads MXCSR for SSE or YMM whatever XSTATE_BV says. */
    bool mxcsr_named = rfbm & (compacted ? XSTATE_SSE : XSTATE_SSE | XSTATE_YMM);
    bool mxcsr_stored = !compacted || (bv & XSTATE_SSE);
    uint32_t mxcsr = mxcsr_stored ? (uint32_t)get(area + AREA_MXCSR, 4) : MXCSR_INIT;
    if (mxcsr_named && (mxcsr & ~(uint32_t)MXCSR_MASK)) {
        gp(cpu);
    }

    if (rfbm & XSTATE_X87) {
        if (bv & XSTATE_X87) {
            x87_from_image(cpu, area, wide_pointers(cpu, in));
        } else {
            x87_set_init(cpu);
        }
    }
    if (mxcsr_named) {
        simd_mxcsr_write(cpu, mxcsr);
    }
    if (rfbm & XSTATE_SSE) {
        read_vec(cpu, bv & XSTATE_SSE ? area + AREA_XMM : NULL, false);
    }
    if (rfbm & XSTATE_YMM) {
        read_vec(cpu, bv & XSTATE_YMM ? area + AREA_YMM : NULL, true);
    }
    cpu_update_mode(cpu);
}

void exec_XRSTOR(CpuState *cpu, const Insn *in)
{
    restore(cpu, in, false);
}

void exec_XRSTORS(CpuState *cpu, const Insn *in)
{
    need_osxsave(cpu);
    if (cpu_cpl(cpu) != 0) {
        gp(cpu);
    }
    restore(cpu, in, true);
}

void exec_XGETBV(CpuState *cpu, const Insn *in)
{
    (void)in;
    need_osxsave(cpu);
    uint32_t index = (uint32_t)cpu->gpr[REG_RCX];
    if (index > 1 || (index == 1 && !feature_has(&cpu->features, FEATURE_XGETBV1))) {
        gp(cpu);
    }
    uint64_t val = index ? cpu->xcr0 & xinuse(cpu) : cpu->xcr0;
    cpu->gpr[REG_RAX] = (uint32_t)val;
    cpu->gpr[REG_RDX] = val >> 32;
}

void exec_XSETBV(CpuState *cpu, const Insn *in)
{
    (void)in;
    need_osxsave(cpu);
    uint64_t val = cpu->gpr[REG_RDX] << 32 | (uint32_t)cpu->gpr[REG_RAX];
    uint64_t known = XSTATE_X87 | XSTATE_SSE;
    if (feature_has(&cpu->features, FEATURE_AVX)) {
        known |= XSTATE_YMM;
    }
    bool ymm_alone = (val & (XSTATE_YMM | XSTATE_SSE)) == XSTATE_YMM;
    if (cpu_cpl(cpu) != 0 || (uint32_t)cpu->gpr[REG_RCX] != 0 || (val & ~known) ||
        !(val & XSTATE_X87) || ymm_alone) {
        gp(cpu);
    }
    cpu->xcr0 = val;
    cpu_update_mode(cpu);
}

/* ---- MXCSR ---- */

static void need_sse(CpuState *cpu)
{
    if (cpu->mode & MODE_SSE_UD) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    if (cpu->mode & MODE_SSE_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
}

static void need_avx(CpuState *cpu)
{
    if (cpu->mode & MODE_AVX_UD) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    if (cpu->mode & MODE_SSE_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
}

static void load_mxcsr(CpuState *cpu, const Insn *in)
{
    uint64_t val = seg_load(cpu, in->seg, exec_ea(cpu, in), 4);
    if (val & ~(uint64_t)MXCSR_MASK) {
        gp(cpu);
    }
    simd_mxcsr_write(cpu, (uint32_t)val);
}

static void store_mxcsr(CpuState *cpu, const Insn *in)
{
    seg_store(cpu, in->seg, exec_ea(cpu, in), simd_mxcsr_read(cpu), 4);
}

void exec_LDMXCSR(CpuState *cpu, const Insn *in)
{
    need_sse(cpu);
    load_mxcsr(cpu, in);
}

void exec_STMXCSR(CpuState *cpu, const Insn *in)
{
    need_sse(cpu);
    store_mxcsr(cpu, in);
}

void exec_VLDMXCSR(CpuState *cpu, const Insn *in)
{
    need_avx(cpu);
    load_mxcsr(cpu, in);
}

void exec_VSTMXCSR(CpuState *cpu, const Insn *in)
{
    need_avx(cpu);
    store_mxcsr(cpu, in);
}
