/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x87 instructions (SDM 1 chapter 8, SDM 2; opcode map SDM 2D A.5). Each function checks, reads its
 * memory operand, records the instruction and data pointers, and then takes one of two roads: a
 * kernel on the values (x87_host_x86_64.h) if all operands are there and all exceptions masked,
 * else x87_native, the host's instruction on the whole state.
 *
 * The pointers are recorded by every non-control instruction, as before the processors that keep
 * FOP and FDP only for unmasked exceptions; those differences software cannot rely on.
 *
 * With CR0.NE = 0 errors go the AT's way (SDM 1 D.2): FERR# raises IRQ 13, and a waiting
 * instruction that finds the error pending stays where it is until an interrupt comes, unless the
 * board holds IGNNE#. On a board without FERR# it goes ahead.
 */
#include "cpu/x87.h"

#include <string.h>

#include "cpu/exception.h"
#include "cpu/mem_fast.h"
#include "cpu/x87_host_x86_64.h"

/* ---- state ---- */

static ALWAYS_INLINE unsigned reg_index(const FpuState *f, unsigned i)
{
    return ((f->fsw >> 11) + i) & 7;
}

static ALWAYS_INLINE F80 *st(FpuState *f, unsigned i)
{
    return (F80 *)f->st[reg_index(f, i)];
}

static ALWAYS_INLINE bool valid(const FpuState *f, unsigned i)
{
    return f->tag >> reg_index(f, i) & 1;
}

static ALWAYS_INLINE bool all_masked(const FpuState *f)
{
    return !x87_is_unmasked(f);
}

/* Kernels serve this: exceptions masked, ST(0) and ST(i) present. */
static ALWAYS_INLINE bool fast(const FpuState *f, unsigned i)
{
    return likely(all_masked(f) && valid(f, 0) && valid(f, i));
}

static ALWAYS_INLINE void pop(FpuState *f)
{
    f->tag &= ~(1u << reg_index(f, 0));
    f->fsw = (f->fsw & ~FSW_TOP) | ((f->fsw + (1 << 11)) & FSW_TOP);
}

static ALWAYS_INLINE F80 *push(FpuState *f)
{
    f->fsw = (f->fsw & ~FSW_TOP) | ((f->fsw - (1 << 11)) & FSW_TOP);
    f->tag |= 1u << reg_index(f, 0);
    return st(f, 0);
}

void x87_init(FpuState *f)
{
    f->fcw = FCW_DEFAULT;
    f->fsw = 0;
    f->tag = 0;
    f->fop = f->fcs = f->fds = 0;
    f->fip = f->fdp = 0;
}

/* ES and B say whether an unmasked exception is flagged (SDM 1 8.1.3.3). */
static void summarize(CpuState *cpu)
{
    FpuState *f = &cpu->fpu;
    bool pending = f->fsw & ~f->fcw & FSW_FLAGS, was = f->fsw & FSW_ES;
    f->fsw &= ~(FSW_ES | FSW_B);
    f->fsw |= pending ? FSW_ES | FSW_B : 0;
    if (pending == was) {
        return;
    }
    if (!pending) {
        cpu->ignne = false;
    }
    if (cpu->ferr && (!pending || !(cpu->cr0 & CR0_NE))) {
        cpu->ferr(cpu->ferr_opaque, pending);
    }
}

void x87_set_cw(CpuState *cpu, uint16_t fcw)
{
    cpu->fpu.fcw = (fcw & 0x1f3f) | 0x40; /* bit 6 reads as one */
    x87_update_mode(cpu);
    summarize(cpu);
}

void x87_set_sw(CpuState *cpu, uint16_t fsw)
{
    bool was = cpu->fpu.fsw & FSW_ES;
    cpu->fpu.fsw = (fsw & ~FSW_ES) | (was ? FSW_ES : 0);
    summarize(cpu);
}

void x87_reset(CpuState *cpu)
{
    x87_set_sw(cpu, 0);
    x87_init(&cpu->fpu);
    x87_update_mode(cpu);
}

void x87_raise_pending(CpuState *cpu)
{
    if (cpu->cr0 & CR0_NE) {
        cpu_raise_plain(cpu, EXC_MF);
    }
    if (cpu->ferr && !cpu->ignne) {
        cpu->ferr(cpu->ferr_opaque, true);
        cpu_restart(cpu);
    }
}

static ALWAYS_INLINE void begin_no_wait(CpuState *cpu)
{
    if (unlikely(cpu->mode & MODE_FPU_NM)) {
        cpu_raise_plain(cpu, EXC_NM);
    }
}

static ALWAYS_INLINE void begin(CpuState *cpu)
{
    begin_no_wait(cpu);
    x87_check_pending(cpu);
}

static ALWAYS_INLINE void note(CpuState *cpu, const Insn *in)
{
    FpuState *f = &cpu->fpu;
    f->fip = cpu->insn_rip;
    f->fcs = cpu->seg[SEG_CS].sel;
    f->fop = (in->opcode & 7) << 8 | in->modrm;
}

static ALWAYS_INLINE void note_data(CpuState *cpu, const Insn *in, uint64_t ea)
{
    note(cpu, in);
    cpu->fpu.fdp = ea;
    cpu->fpu.fds = cpu->seg[in->seg].sel;
}

/* The memory operand of 2, 4 or 8 bytes; begin was called. */
static ALWAYS_INLINE uint64_t load(CpuState *cpu, const Insn *in, unsigned size)
{
    uint64_t ea = mem_ea(cpu, in), v = mem_load(cpu, in, ea, size);
    note_data(cpu, in, ea);
    return v;
}

/* ---- the general way ---- */

static void native_reg(CpuState *cpu, const Insn *in)
{
    begin(cpu);
    note(cpu, in);
    x87_native(cpu, in, NULL);
}

static void native_load(CpuState *cpu, const Insn *in, unsigned size)
{
    uint8_t buf[16] = { 0 };
    begin(cpu);
    uint64_t ea = exec_ea(cpu, in);
    lin_read(cpu, seg_lin(cpu, in->seg, ea, size, false), buf, size, MEM_CPL);
    note_data(cpu, in, ea);
    x87_native(cpu, in, buf);
}

/* An unmasked IE, OE or UE keeps the result from being stored (SDM 1 8.5); then memory that is not
 * there does not fault either. If it faults, the x87 is as before. */
static void native_store(CpuState *cpu, const Insn *in, unsigned size)
{
    uint8_t buf[16] = { 0 };
    begin(cpu);
    uint64_t ea = exec_ea(cpu, in);
    FpuState before = cpu->fpu;
    note_data(cpu, in, ea);
    x87_native(cpu, in, buf);
    if (!(cpu->fpu.fsw & ~cpu->fpu.fcw & (FSW_IE | FSW_OE | FSW_UE))) {
        FpuState after = cpu->fpu;
        cpu->fpu = before;
        lin_write(cpu, seg_lin(cpu, in->seg, ea, size, true), buf, size, MEM_CPL);
        cpu->fpu = after;
    }
}

static void x87_fbld(CpuState *cpu, const Insn *in)
{
    native_load(cpu, in, 10);
}
static void x87_fbstp(CpuState *cpu, const Insn *in)
{
    native_store(cpu, in, 10);
}

/* ---- arithmetic ---- */

static ALWAYS_INLINE void arith_mem(CpuState *cpu, const Insn *in, X87Kernel k, unsigned size)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    uint64_t v = load(cpu, in, size);
    if (fast(f, 0)) {
        host_run(f, k, st(f, 0), st(f, 0), &v, FSW_C1);
    } else {
        x87_native(cpu, in, &v);
    }
}

/* d: the destination register, s: the other. */
static ALWAYS_INLINE void arith_reg(CpuState *cpu, const Insn *in, X87Kernel k, unsigned d,
                                    unsigned s, bool pops)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    note(cpu, in);
    if (!fast(f, d | s)) { /* one of them is 0 */
        x87_native(cpu, in, NULL);
        return;
    }
    host_run(f, k, st(f, d), st(f, d), st(f, s), FSW_C1);
    if (pops) {
        pop(f);
    }
}

/* The five forms of an operation. DC and DE exchange the operands' places, and with them the
 * encodings of the reversed operations, which the dispatch table knows. */
#define ARITH(name)                                                                                \
    static void x87_##name##_m32(CpuState *cpu, const Insn *in)                                    \
    {                                                                                              \
        arith_mem(cpu, in, k_##name##_m32, 4);                                                     \
    }                                                                                              \
    static void x87_##name##_m64(CpuState *cpu, const Insn *in)                                    \
    {                                                                                              \
        arith_mem(cpu, in, k_##name##_m64, 8);                                                     \
    }                                                                                              \
    static void x87_##name##_m16i(CpuState *cpu, const Insn *in)                                   \
    {                                                                                              \
        arith_mem(cpu, in, k_##name##_m16i, 2);                                                    \
    }                                                                                              \
    static void x87_##name##_m32i(CpuState *cpu, const Insn *in)                                   \
    {                                                                                              \
        arith_mem(cpu, in, k_##name##_m32i, 4);                                                    \
    }                                                                                              \
    static void x87_##name##_st0(CpuState *cpu, const Insn *in)                                    \
    {                                                                                              \
        arith_reg(cpu, in, k_##name##_st, 0, in->modrm & 7, false);                                \
    }                                                                                              \
    static void x87_##name##_sti(CpuState *cpu, const Insn *in)                                    \
    {                                                                                              \
        arith_reg(cpu, in, k_##name##_st, in->modrm & 7, 0, false);                                \
    }                                                                                              \
    static void x87_##name##_pop(CpuState *cpu, const Insn *in)                                    \
    {                                                                                              \
        arith_reg(cpu, in, k_##name##_st, in->modrm & 7, 0, true);                                 \
    }
ARITH(add)
ARITH(mul)
ARITH(sub)
ARITH(subr)
ARITH(div)
ARITH(divr)

static ALWAYS_INLINE void unary(CpuState *cpu, const Insn *in, X87Kernel k, unsigned cc)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    note(cpu, in);
    if (fast(f, 0)) {
        host_run(f, k, st(f, 0), st(f, 0), NULL, cc);
    } else {
        x87_native(cpu, in, NULL);
    }
}
#define UNARY(name, cc)                                                                            \
    static void x87_##name(CpuState *cpu, const Insn *in)                                          \
    {                                                                                              \
        unary(cpu, in, k_##name, cc);                                                              \
    }
UNARY(sqrt, FSW_C1)
UNARY(rndint, FSW_C1)
UNARY(2xm1, FSW_C1)
UNARY(sin, FSW_C1 | FSW_C2)
UNARY(cos, FSW_C1 | FSW_C2)

/* ST(0) and ST(1); those that pop leave their result in what was ST(1). */
static ALWAYS_INLINE void binary(CpuState *cpu, const Insn *in, X87Kernel k, unsigned cc, bool pops)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    note(cpu, in);
    if (!fast(f, 1)) {
        x87_native(cpu, in, NULL);
        return;
    }
    host_run(f, k, st(f, pops), st(f, 0), st(f, 1), cc);
    if (pops) {
        pop(f);
    }
}
#define BINARY(name, cc, pops)                                                                     \
    static void x87_##name(CpuState *cpu, const Insn *in)                                          \
    {                                                                                              \
        binary(cpu, in, k_##name, cc, pops);                                                       \
    }
BINARY(scale, FSW_C1, false)
BINARY(patan, FSW_C1, true)
BINARY(yl2x, FSW_C1, true)
BINARY(yl2xp1, FSW_C1, true)

/* The quotient's low bits go to C0, C3, C1; a NaN result leaves C0 and C3 as they were. */
static ALWAYS_INLINE void remainder_op(CpuState *cpu, const Insn *in, X87Kernel k)
{
    FpuState *f = &cpu->fpu;
    uint16_t before = f->fsw & (FSW_C0 | FSW_C3);
    begin(cpu);
    note(cpu, in);
    if (!fast(f, 1)) {
        x87_native(cpu, in, NULL);
        return;
    }
    host_run(f, k, st(f, 0), st(f, 0), st(f, 1), FSW_CC);
    if ((st(f, 0)->b[9] & 0x7f) == 0x7f && st(f, 0)->b[8] == 0xff) {
        f->fsw = (f->fsw & ~(FSW_C0 | FSW_C3)) | before;
    }
}
static void x87_prem(CpuState *cpu, const Insn *in)
{
    remainder_op(cpu, in, k_prem);
}
static void x87_prem1(CpuState *cpu, const Insn *in)
{
    remainder_op(cpu, in, k_prem1);
}

/* FPTAN, FSINCOS, FXTRACT: one result in place, another pushed, unless C2 says out of range. */
static ALWAYS_INLINE void two_results(CpuState *cpu, const Insn *in, X87PairKernel k, unsigned cc)
{
    FpuState *f = &cpu->fpu;
    F80 low, high;
    begin(cpu);
    note(cpu, in);
    if (!fast(f, 0) || valid(f, 7)) {
        x87_native(cpu, in, NULL);
        return;
    }
    uint16_t sw = host_pair(f, k, st(f, 0), &low, &high);
    f->fsw = (f->fsw & ~cc) | (sw & (FSW_FLAGS | cc));
    if (!(cc & sw & FSW_C2)) {
        *st(f, 0) = low;
        *push(f) = high;
    }
}
#define TWO_RESULTS(name, cc)                                                                      \
    static void x87_##name(CpuState *cpu, const Insn *in)                                          \
    {                                                                                              \
        two_results(cpu, in, k_##name, cc);                                                        \
    }
TWO_RESULTS(ptan, FSW_C1 | FSW_C2)
TWO_RESULTS(sincos, FSW_C1 | FSW_C2)
TWO_RESULTS(xtract, FSW_C1)

static ALWAYS_INLINE void sign_op(CpuState *cpu, const Insn *in, uint8_t and, uint8_t xor)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    note(cpu, in);
    if (!valid(f, 0)) {
        x87_native(cpu, in, NULL);
        return;
    }
    F80 *a = st(f, 0);
    a->b[9] = (a->b[9] & and) ^ xor;
    f->fsw &= ~FSW_C1;
}
static void x87_chs(CpuState *cpu, const Insn *in)
{
    sign_op(cpu, in, 0xff, 0x80);
}
static void x87_abs(CpuState *cpu, const Insn *in)
{
    sign_op(cpu, in, 0x7f, 0);
}

/* ---- comparison ---- */

static ALWAYS_INLINE void compare_mem(CpuState *cpu, const Insn *in, X87Kernel k, unsigned size,
                                      bool pops)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    uint64_t v = load(cpu, in, size);
    if (!fast(f, 0)) {
        x87_native(cpu, in, &v);
        return;
    }
    host_compare(f, k, st(f, 0), &v, FSW_CC);
    if (pops) {
        pop(f);
    }
}
#define COMPARE_MEM(form, size)                                                                    \
    static void x87_com_##form(CpuState *cpu, const Insn *in)                                      \
    {                                                                                              \
        compare_mem(cpu, in, k_com_##form, size, false);                                           \
    }                                                                                              \
    static void x87_comp_##form(CpuState *cpu, const Insn *in)                                     \
    {                                                                                              \
        compare_mem(cpu, in, k_com_##form, size, true);                                            \
    }
COMPARE_MEM(m32, 4)
COMPARE_MEM(m64, 8)
COMPARE_MEM(m16i, 2)
COMPARE_MEM(m32i, 4)

static ALWAYS_INLINE void compare_reg(CpuState *cpu, const Insn *in, X87Kernel k, unsigned pops)
{
    FpuState *f = &cpu->fpu;
    unsigned i = in->modrm & 7;
    begin(cpu);
    note(cpu, in);
    if (!fast(f, i)) {
        x87_native(cpu, in, NULL);
        return;
    }
    host_compare(f, k, st(f, 0), st(f, i), FSW_CC);
    for (unsigned n = 0; n < pops; n++) {
        pop(f);
    }
}
#define COMPARE_REG(name, kernel, pops)                                                            \
    static void x87_##name(CpuState *cpu, const Insn *in)                                          \
    {                                                                                              \
        compare_reg(cpu, in, kernel, pops);                                                        \
    }
COMPARE_REG(com, k_com_st, 0)
COMPARE_REG(comp, k_com_st, 1)
COMPARE_REG(compp, k_com_st, 2)
COMPARE_REG(ucom, k_ucom_st, 0)
COMPARE_REG(ucomp, k_ucom_st, 1)
COMPARE_REG(ucompp, k_ucom_st, 2)

static ALWAYS_INLINE void compare_flags(CpuState *cpu, const Insn *in,
                                        uint32_t (*k)(const F80 *, const F80 *), bool pops)
{
    FpuState *f = &cpu->fpu;
    unsigned i = in->modrm & 7;
    begin(cpu);
    note(cpu, in);
    if (!fast(f, i)) {
        x87_native(cpu, in, NULL);
        return;
    }
    uint32_t r = k(st(f, 0), st(f, i));
    if (unlikely(r >> 16 & FSW_FLAGS & ~f->fsw)) {
        __asm__ volatile("fnclex");
        r = k(st(f, 0), st(f, i));
    }
    cpu->cc = r;
    f->fsw |= r >> 16 & FSW_FLAGS; /* the condition codes stay, C1 too */
    if (pops) {
        pop(f);
    }
}
static void x87_comi(CpuState *cpu, const Insn *in)
{
    compare_flags(cpu, in, k_comi, false);
}
static void x87_comip(CpuState *cpu, const Insn *in)
{
    compare_flags(cpu, in, k_comi, true);
}
static void x87_ucomi(CpuState *cpu, const Insn *in)
{
    compare_flags(cpu, in, k_ucomi, false);
}
static void x87_ucomip(CpuState *cpu, const Insn *in)
{
    compare_flags(cpu, in, k_ucomi, true);
}

static ALWAYS_INLINE void test(CpuState *cpu, const Insn *in, X87Kernel k)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    note(cpu, in);
    if (fast(f, 0)) {
        host_compare(f, k, st(f, 0), NULL, FSW_CC);
    } else {
        x87_native(cpu, in, NULL);
    }
}
static void x87_tst(CpuState *cpu, const Insn *in)
{
    test(cpu, in, k_tst);
}
static void x87_xam(CpuState *cpu, const Insn *in)
{
    test(cpu, in, k_xam);
}

/* ---- loads ---- */

static ALWAYS_INLINE void load_value(CpuState *cpu, const Insn *in, X87Kernel k, const void *v)
{
    FpuState *f = &cpu->fpu;
    if (unlikely(!all_masked(f) || valid(f, 7))) {
        x87_native(cpu, in, (void *)v);
        return;
    }
    host_run(f, k, st(f, 7), NULL, v, FSW_C1);
    push(f);
}
#define LOAD_MEM(name, size)                                                                       \
    static void x87_##name(CpuState *cpu, const Insn *in)                                          \
    {                                                                                              \
        begin(cpu);                                                                                \
        uint64_t v = load(cpu, in, size);                                                          \
        load_value(cpu, in, k_##name, &v);                                                         \
    }
LOAD_MEM(ld_m32, 4)
LOAD_MEM(ld_m64, 8)
LOAD_MEM(ild_m16, 2)
LOAD_MEM(ild_m32, 4)
LOAD_MEM(ild_m64, 8)
#define LOAD_CONST(name)                                                                           \
    static void x87_##name(CpuState *cpu, const Insn *in)                                          \
    {                                                                                              \
        begin(cpu);                                                                                \
        note(cpu, in);                                                                             \
        load_value(cpu, in, k_##name, NULL);                                                       \
    }
LOAD_CONST(ld1)
LOAD_CONST(ldl2t)
LOAD_CONST(ldl2e)
LOAD_CONST(ldpi)
LOAD_CONST(ldlg2)
LOAD_CONST(ldln2)
LOAD_CONST(ldz)

/* FLD m80 and FLD ST(i) copy bits: no exception but stack faults. */
static void x87_ld_m80(CpuState *cpu, const Insn *in)
{
    FpuState *f = &cpu->fpu;
    uint8_t buf[16] = { 0 };
    begin(cpu);
    uint64_t ea = mem_ea(cpu, in), lin = mem_lin(cpu, in, ea, 10, false);
    const void *host = mem_cached(cpu, lin, 10, false);
    if (likely(host != NULL)) {
        memcpy(buf, host, 10);
    } else {
        lin_read(cpu, seg_lin(cpu, in->seg, ea, 10, false), buf, 10, MEM_CPL);
    }
    note_data(cpu, in, ea);
    if (valid(f, 7)) {
        x87_native(cpu, in, buf);
        return;
    }
    memcpy(push(f), buf, 10);
    f->fsw &= ~FSW_C1;
}

static void x87_ld_st(CpuState *cpu, const Insn *in)
{
    FpuState *f = &cpu->fpu;
    unsigned i = in->modrm & 7;
    begin(cpu);
    note(cpu, in);
    if (valid(f, 7) || !valid(f, i)) {
        x87_native(cpu, in, NULL);
        return;
    }
    F80 v = *st(f, i);
    *push(f) = v;
    f->fsw &= ~FSW_C1;
}

/* ---- stores ---- */

static ALWAYS_INLINE void store_mem(CpuState *cpu, const Insn *in, X87StoreKernel k, unsigned size,
                                    bool pops)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    if (!fast(f, 0)) {
        native_store(cpu, in, size);
        return;
    }
    uint64_t v = 0;
    uint16_t fsw = host_store(f, k, st(f, 0), &v);
    uint64_t ea = mem_ea(cpu, in);
    mem_store(cpu, in, ea, v, size);
    note_data(cpu, in, ea);
    f->fsw = fsw;
    if (pops) {
        pop(f);
    }
}
#define STORE_MEM(name, kernel, size, pops)                                                        \
    static void x87_##name(CpuState *cpu, const Insn *in)                                          \
    {                                                                                              \
        store_mem(cpu, in, kernel, size, pops);                                                    \
    }
STORE_MEM(st_m32, k_st_m32, 4, false)
STORE_MEM(stp_m32, k_st_m32, 4, true)
STORE_MEM(st_m64, k_st_m64, 8, false)
STORE_MEM(stp_m64, k_st_m64, 8, true)
STORE_MEM(ist_m16, k_ist_m16, 2, false)
STORE_MEM(istp_m16, k_ist_m16, 2, true)
STORE_MEM(ist_m32, k_ist_m32, 4, false)
STORE_MEM(istp_m32, k_ist_m32, 4, true)
STORE_MEM(istp_m64, k_ist_m64, 8, true)
STORE_MEM(istt_m16, k_istt_m16, 2, true)
STORE_MEM(istt_m32, k_istt_m32, 4, true)
STORE_MEM(istt_m64, k_istt_m64, 8, true)

static void x87_stp_m80(CpuState *cpu, const Insn *in)
{
    FpuState *f = &cpu->fpu;
    begin(cpu);
    if (!valid(f, 0)) {
        native_store(cpu, in, 10);
        return;
    }
    uint64_t ea = mem_ea(cpu, in), lin = mem_lin(cpu, in, ea, 10, true);
    void *host = mem_cached(cpu, lin, 10, true);
    if (likely(host != NULL)) {
        memcpy(host, st(f, 0), 10);
    } else {
        lin_write(cpu, seg_lin(cpu, in->seg, ea, 10, true), st(f, 0), 10, MEM_CPL);
    }
    note_data(cpu, in, ea);
    f->fsw &= ~FSW_C1;
    pop(f);
}

static ALWAYS_INLINE void store_reg(CpuState *cpu, const Insn *in, bool pops)
{
    FpuState *f = &cpu->fpu;
    unsigned i = in->modrm & 7;
    begin(cpu);
    note(cpu, in);
    if (!valid(f, 0)) {
        x87_native(cpu, in, NULL);
        return;
    }
    *st(f, i) = *st(f, 0);
    f->tag |= 1u << reg_index(f, i);
    f->fsw &= ~FSW_C1;
    if (pops) {
        pop(f);
    }
}
static void x87_st_st(CpuState *cpu, const Insn *in)
{
    store_reg(cpu, in, false);
}
static void x87_stp_st(CpuState *cpu, const Insn *in)
{
    store_reg(cpu, in, true);
}

/* ---- moves in the stack ---- */

static void x87_xch(CpuState *cpu, const Insn *in)
{
    FpuState *f = &cpu->fpu;
    unsigned i = in->modrm & 7;
    begin(cpu);
    note(cpu, in);
    if (!valid(f, 0) || !valid(f, i)) {
        x87_native(cpu, in, NULL);
        return;
    }
    F80 v = *st(f, 0);
    *st(f, 0) = *st(f, i);
    *st(f, i) = v;
    f->fsw &= ~FSW_C1;
}

/* FCMOVcc: DA has B, E, BE, U; DB their opposites. */
static void x87_cmov(CpuState *cpu, const Insn *in)
{
    static const uint16_t flags[4] = { CC_CF, CC_ZF, CC_CF | CC_ZF, CC_PF };
    FpuState *f = &cpu->fpu;
    unsigned i = in->modrm & 7;
    begin(cpu);
    note(cpu, in);
    if (!valid(f, 0) || !valid(f, i)) {
        x87_native(cpu, in, NULL);
        return;
    }
    bool is = cpu->cc & flags[in->modrm >> 3 & 3];
    if (is != (in->opcode & 1)) {
        *st(f, 0) = *st(f, i);
    }
}

static void x87_free(CpuState *cpu, const Insn *in)
{
    begin(cpu);
    note(cpu, in);
    cpu->fpu.tag &= ~(1u << reg_index(&cpu->fpu, in->modrm & 7));
    cpu->fpu.fsw &= ~FSW_C1;
}

static void x87_decstp(CpuState *cpu, const Insn *in)
{
    begin(cpu);
    note(cpu, in);
    cpu->fpu.fsw = (cpu->fpu.fsw & ~(FSW_TOP | FSW_C1)) | ((cpu->fpu.fsw - (1 << 11)) & FSW_TOP);
}

static void x87_incstp(CpuState *cpu, const Insn *in)
{
    begin(cpu);
    note(cpu, in);
    cpu->fpu.fsw = (cpu->fpu.fsw & ~(FSW_TOP | FSW_C1)) | ((cpu->fpu.fsw + (1 << 11)) & FSW_TOP);
}

static void x87_nop(CpuState *cpu, const Insn *in)
{
    begin(cpu);
    note(cpu, in);
}

/* ---- control ---- */

/* FNENI, FNDISI (8087), FNSETPM (80287): nothing since the 80387. */
static void x87_old_nop(CpuState *cpu, const Insn *in)
{
    (void)in;
    begin_no_wait(cpu);
}

static void x87_fninit(CpuState *cpu, const Insn *in)
{
    (void)in;
    begin_no_wait(cpu);
    x87_reset(cpu);
}

static void x87_fnclex(CpuState *cpu, const Insn *in)
{
    (void)in;
    begin_no_wait(cpu);
    x87_set_sw(cpu, cpu->fpu.fsw & ~(FSW_FLAGS | FSW_SF | FSW_B));
}

static void x87_fldcw(CpuState *cpu, const Insn *in)
{
    begin(cpu);
    x87_set_cw(cpu, mem_load(cpu, in, mem_ea(cpu, in), 2));
}

static void x87_fnstcw(CpuState *cpu, const Insn *in)
{
    begin_no_wait(cpu);
    mem_store(cpu, in, mem_ea(cpu, in), cpu->fpu.fcw, 2);
}

static void x87_fnstsw_m16(CpuState *cpu, const Insn *in)
{
    begin_no_wait(cpu);
    mem_store(cpu, in, mem_ea(cpu, in), cpu->fpu.fsw, 2);
}

static void x87_fnstsw_ax(CpuState *cpu, const Insn *in)
{
    (void)in;
    begin_no_wait(cpu);
    cpu_set_reg(cpu, REG_RAX, 2, cpu->fpu.fsw);
}

static void x87_fwait(CpuState *cpu, const Insn *in)
{
    (void)in;
    if (cpu->mode & MODE_WAIT_NM) {
        cpu_raise_plain(cpu, EXC_NM);
    }
    x87_check_pending(cpu);
}

static void x87_ud(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_raise_plain(cpu, EXC_UD);
}

/* ---- dispatch (SDM 2D tables) ---- */

/* [opcode - D8][ModRM.reg], memory operand */
static ExecFn *const mem_forms[8][8] = {
    { x87_add_m32, x87_mul_m32, x87_com_m32, x87_comp_m32, x87_sub_m32, x87_subr_m32, x87_div_m32,
      x87_divr_m32 },
    { x87_ld_m32, x87_ud, x87_st_m32, x87_stp_m32, x87_fldenv, x87_fldcw, x87_fnstenv, x87_fnstcw },
    { x87_add_m32i, x87_mul_m32i, x87_com_m32i, x87_comp_m32i, x87_sub_m32i, x87_subr_m32i,
      x87_div_m32i, x87_divr_m32i },
    { x87_ild_m32, x87_istt_m32, x87_ist_m32, x87_istp_m32, x87_ud, x87_ld_m80, x87_ud,
      x87_stp_m80 },
    { x87_add_m64, x87_mul_m64, x87_com_m64, x87_comp_m64, x87_sub_m64, x87_subr_m64, x87_div_m64,
      x87_divr_m64 },
    { x87_ld_m64, x87_istt_m64, x87_st_m64, x87_stp_m64, x87_frstor, x87_ud, x87_fnsave,
      x87_fnstsw_m16 },
    { x87_add_m16i, x87_mul_m16i, x87_com_m16i, x87_comp_m16i, x87_sub_m16i, x87_subr_m16i,
      x87_div_m16i, x87_divr_m16i },
    { x87_ild_m16, x87_istt_m16, x87_ist_m16, x87_istp_m16, x87_fbld, x87_ild_m64, x87_fbstp,
      x87_istp_m64 },
};

/* [opcode - D8][ModRM.reg], registers; NULL: by ModRM.rm, below. Aliases without a name in the
 * SDM's text: DC D0 FCOM, DC D8 FCOMP, DD C8 and DF C8 FXCH, DE D0 FCOMP, DF C0 FFREEP, DF D0 and DF
 * D8 FSTP, D9 D8 FSTP without stack underflow (native). */
static ExecFn *const reg_forms[8][8] = {
    { x87_add_st0, x87_mul_st0, x87_com, x87_comp, x87_sub_st0, x87_subr_st0, x87_div_st0,
      x87_divr_st0 },
    { x87_ld_st, x87_xch, NULL, native_reg, NULL, NULL, NULL, NULL },
    { x87_cmov, x87_cmov, x87_cmov, x87_cmov, x87_ud, NULL, x87_ud, x87_ud },
    { x87_cmov, x87_cmov, x87_cmov, x87_cmov, NULL, x87_ucomi, x87_comi, x87_ud },
    { x87_add_sti, x87_mul_sti, x87_com, x87_comp, x87_subr_sti, x87_sub_sti, x87_divr_sti,
      x87_div_sti },
    { x87_free, x87_xch, x87_st_st, x87_stp_st, x87_ucom, x87_ucomp, x87_ud, x87_ud },
    { x87_add_pop, x87_mul_pop, x87_comp, NULL, x87_subr_pop, x87_sub_pop, x87_divr_pop,
      x87_div_pop },
    { native_reg, x87_xch, x87_stp_st, x87_stp_st, NULL, x87_ucomip, x87_comip, x87_ud },
};

static const struct {
    uint8_t opcode, modrm;
    ExecFn *fn;
} single_forms[] = {
    { 0xd9, 0xd0, x87_nop },      { 0xd9, 0xe0, x87_chs },      { 0xd9, 0xe1, x87_abs },
    { 0xd9, 0xe4, x87_tst },      { 0xd9, 0xe5, x87_xam },      { 0xd9, 0xe8, x87_ld1 },
    { 0xd9, 0xe9, x87_ldl2t },    { 0xd9, 0xea, x87_ldl2e },    { 0xd9, 0xeb, x87_ldpi },
    { 0xd9, 0xec, x87_ldlg2 },    { 0xd9, 0xed, x87_ldln2 },    { 0xd9, 0xee, x87_ldz },
    { 0xd9, 0xf0, x87_2xm1 },     { 0xd9, 0xf1, x87_yl2x },     { 0xd9, 0xf2, x87_ptan },  
    { 0xd9, 0xf3, x87_patan },    { 0xd9, 0xf4, x87_xtract },   { 0xd9, 0xf5, x87_prem1 },
    { 0xd9, 0xf6, x87_decstp },   { 0xd9, 0xf7, x87_incstp },   { 0xd9, 0xf8, x87_prem },
    { 0xd9, 0xf9, x87_yl2xp1 },   { 0xd9, 0xfa, x87_sqrt },     { 0xd9, 0xfb, x87_sincos },
    { 0xd9, 0xfc, x87_rndint },   { 0xd9, 0xfd, x87_scale },    { 0xd9, 0xfe, x87_sin },
    { 0xd9, 0xff, x87_cos },      { 0xda, 0xe9, x87_ucompp },   { 0xdb, 0xe0, x87_old_nop },
    { 0xdb, 0xe1, x87_old_nop },  { 0xdb, 0xe2, x87_fnclex },   { 0xdb, 0xe3, x87_fninit },
    { 0xdb, 0xe4, x87_old_nop },  { 0xde, 0xd9, x87_compp },    { 0xdf, 0xe0, x87_fnstsw_ax },
};

ExecFn *x87_function(const Insn *in)
{
    if (in->opcode == 0x9b) {
        return x87_fwait;
    }
    unsigned op = in->opcode & 7, reg = in->modrm >> 3 & 7;
    if (in->modrm < 0xc0) {
        return mem_forms[op][reg];
    }
    if (reg_forms[op][reg]) {
        return reg_forms[op][reg];
    }
    for (size_t i = 0; i < ARRAY_SIZE(single_forms); i++) {
        if (single_forms[i].opcode == in->opcode && single_forms[i].modrm == in->modrm) {
            return single_forms[i].fn;
        }
    }
    return x87_ud;
}

void exec_x87(CpuState *cpu, const Insn *in)
{
    x87_function(in)(cpu, in);
}
