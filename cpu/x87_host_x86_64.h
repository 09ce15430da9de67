/* SPDX-License-Identifier: GPL-2.0-or-later
 * The host's x87 at work, in two ways.
 *
 * Kernels: one instruction on 80-bit values in memory, with all exceptions masked, flags read by
 * FNSTSW. They serve the common case: operands present, all guest exceptions masked.
 *
 * x87_native: the guest's whole x87 state is loaded (FXRSTOR), the very instruction runs, the
 * state is saved. It serves everything else: unmasked exceptions, stack faults, rare instructions.
 *
 * The host's exception flags are sticky, and clearing them (FNCLEX) costs more than an addition.
 * So they stay: a flag that the guest's status word already has needs no exactness, and when a
 * kernel shows one that the guest does not have, it is run again with the flags cleared.
 */
#ifndef CPU_X87_HOST_X86_64_H
#define CPU_X87_HOST_X86_64_H

#include "cpu/x87.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

typedef struct F80 {
    uint8_t b[10];
} F80;

/* a: ST(0) or the destination; b: the other operand. Returns the host's status word and, where
 * the instruction has a result, leaves it in the host's ST(0). */
typedef uint16_t X87Kernel(const F80 *a, const void *b);
/* Stores a to out in the instruction's memory format. */
typedef uint16_t X87StoreKernel(const F80 *a, void *out);
/* Two results: what becomes ST(1), then ST(0). With C2 set there is none. */
typedef uint16_t X87PairKernel(const F80 *a, F80 *low, F80 *high);

static ALWAYS_INLINE void host_fldcw(uint16_t fcw)
{
    __asm__ volatile("fldcw %0" : : "m"(fcw));
}

/* Precision, rounding and infinity control of the guest, or nothing if they are the default. */
static ALWAYS_INLINE void host_control(const FpuState *f)
{
    if (unlikely(f->fcw != FCW_DEFAULT)) {
        host_fldcw(f->fcw);
    }
}

static ALWAYS_INLINE void host_control_end(const FpuState *f)
{
    if (unlikely(f->fcw != FCW_DEFAULT)) {
        host_fldcw(FCW_DEFAULT);
    }
}

/* An operation with a result. cc: which condition codes it defines. */
static ALWAYS_INLINE void host_run(FpuState *f, X87Kernel k, F80 *out, const F80 *a, const void *b,
                                   unsigned cc)
{
    host_control(f);
    uint16_t sw = k(a, b);
    if (unlikely(sw & FSW_FLAGS & ~f->fsw)) {
        __asm__ volatile("fstp %st(0)\n\tfnclex");
        sw = k(a, b);
    }
    __asm__ volatile("fstpt %0" : "=m"(*out));
    host_control_end(f);
    f->fsw = (f->fsw & ~cc) | (sw & (FSW_FLAGS | cc));
}

/* A comparison: nothing is left on the host's stack. */
static ALWAYS_INLINE void host_compare(FpuState *f, X87Kernel k, const F80 *a, const void *b,
                                       unsigned cc)
{
    uint16_t sw = k(a, b);
    if (unlikely(sw & FSW_FLAGS & ~f->fsw)) {
        __asm__ volatile("fnclex");
        sw = k(a, b);
    }
    f->fsw = (f->fsw & ~cc) | (sw & (FSW_FLAGS | cc));
}

/* A store; returns the new status word, which the caller commits when the store is done. */
static ALWAYS_INLINE uint16_t host_store(const FpuState *f, X87StoreKernel k, const F80 *a,
                                         void *out)
{
    host_control(f);
    uint16_t sw = k(a, out);
    if (unlikely(sw & FSW_FLAGS & ~f->fsw)) {
        __asm__ volatile("fnclex");
        sw = k(a, out);
    }
    host_control_end(f);
    return (f->fsw & ~FSW_C1) | (sw & (FSW_FLAGS | FSW_C1));
}

static ALWAYS_INLINE uint16_t host_pair(const FpuState *f, X87PairKernel k, const F80 *a, F80 *low,
                                        F80 *high)
{
    host_control(f);
    uint16_t sw = k(a, low, high);
    if (unlikely(sw & FSW_FLAGS & ~f->fsw)) {
        __asm__ volatile("fnclex");
        sw = k(a, low, high);
    }
    host_control_end(f);
    return sw;
}

/* ---- kernels: static inline, one asm each ---- */

#define KERNEL static ALWAYS_INLINE uint16_t

/* ST(0) op memory. */
#define MEM_KERNEL(name, insn, type)                                                               \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        __asm__ volatile("fldt %1\n\t" insn " %2\n\tfnstsw %0"                                     \
                         : "=a"(sw)                                                                \
                         : "m"(*a), "m"(*(const type *)b));                                        \
        return sw;                                                                                 \
    }
/* a op b, both 80 bits, by the popping form opcode (AT&T's names of these are traps). */
#define REG_KERNEL(name, modrm)                                                                    \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        __asm__ volatile("fldt %1\n\tfldt %2\n\t.byte 0xde, " modrm "\n\tfnstsw %0"                \
                         : "=a"(sw)                                                                \
                         : "m"(*a), "m"(*(const F80 *)b));                                         \
        return sw;                                                                                 \
    }
#define ARITH_KERNELS(name, insn, modrm)                                                           \
    MEM_KERNEL(name##_m32, "f" insn "s", uint32_t)                                                 \
    MEM_KERNEL(name##_m64, "f" insn "l", uint64_t)                                                 \
    MEM_KERNEL(name##_m16i, "fi" insn "s", uint16_t)                                               \
    MEM_KERNEL(name##_m32i, "fi" insn "l", uint32_t)                                               \
    REG_KERNEL(name##_st, modrm)

ARITH_KERNELS(add, "add", "0xc1")
ARITH_KERNELS(mul, "mul", "0xc9")
ARITH_KERNELS(sub, "sub", "0xe9")
ARITH_KERNELS(subr, "subr", "0xe1")
ARITH_KERNELS(div, "div", "0xf9")
ARITH_KERNELS(divr, "divr", "0xf1")

/* Comparisons with memory, popping the host's copy; and of two values. */
MEM_KERNEL(com_m32, "fcomps", uint32_t)
MEM_KERNEL(com_m64, "fcompl", uint64_t)
MEM_KERNEL(com_m16i, "ficomps", uint16_t)
MEM_KERNEL(com_m32i, "ficompl", uint32_t)
#define COMPARE_KERNEL(name, insn)                                                                 \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        __asm__ volatile("fldt %2\n\tfldt %1\n\t" insn "\n\tfnstsw %0"                             \
                         : "=a"(sw)                                                                \
                         : "m"(*a), "m"(*(const F80 *)b));                                         \
        return sw;                                                                                 \
    }
COMPARE_KERNEL(com_st, "fcompp")
COMPARE_KERNEL(ucom_st, "fucompp")

/* FCOMI, FUCOMI: arithmetic flags in cc form in the low half, status word in the high half. */
#define FLAGS_KERNEL(name, insn)                                                                   \
    static ALWAYS_INLINE uint32_t k_##name(const F80 *a, const F80 *b)                             \
    {                                                                                              \
        uint16_t sw, cc;                                                                           \
        __asm__ volatile("fldt %3\n\tfldt %2\n\t" insn " %%st(1), %%st\n\t"                        \
                         "lahf\n\tseto %%al\n\tmovw %%ax, %1\n\tfnstsw %0\n\tfstp %%st(0)"         \
                         : "=a"(sw), "=r"(cc)                                                      \
                         : "m"(*a), "m"(*b)                                                        \
                         : "cc");                                                                  \
        return (uint32_t)sw << 16 | cc;                                                            \
    }
FLAGS_KERNEL(comi, "fcomip")
FLAGS_KERNEL(ucomi, "fucomip")

/* ST(0) alone. */
#define UNARY_KERNEL(name, insn)                                                                   \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        (void)b;                                                                                   \
        __asm__ volatile("fldt %1\n\t" insn "\n\tfnstsw %0" : "=a"(sw) : "m"(*a));                 \
        return sw;                                                                                 \
    }
UNARY_KERNEL(sqrt, "fsqrt")
UNARY_KERNEL(rndint, "frndint")
UNARY_KERNEL(sin, "fsin")
UNARY_KERNEL(cos, "fcos")
UNARY_KERNEL(2xm1, "f2xm1")
/* No result: the value is popped after the status is read. */
#define TEST_KERNEL(name, insn)                                                                    \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        (void)b;                                                                                   \
        __asm__ volatile("fldt %1\n\t" insn "\n\tfnstsw %0\n\tfstp %%st(0)"                        \
                         : "=a"(sw)                                                                \
                         : "m"(*a));                                                               \
        return sw;                                                                                 \
    }
TEST_KERNEL(tst, "ftst")
TEST_KERNEL(xam, "fxam")

/* ST(0) and ST(1), result in ST(0): a is ST(0), b is ST(1). */
#define SCALE_KERNEL(name, insn)                                                                   \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        __asm__ volatile("fldt %2\n\tfldt %1\n\t" insn "\n\tfnstsw %0\n\tfstp %%st(1)"             \
                         : "=a"(sw)                                                                \
                         : "m"(*a), "m"(*(const F80 *)b));                                         \
        return sw;                                                                                 \
    }
SCALE_KERNEL(scale, "fscale")
SCALE_KERNEL(prem, "fprem")
SCALE_KERNEL(prem1, "fprem1")
/* The same, but the instruction itself pops and leaves its result in ST(1). */
COMPARE_KERNEL(patan, "fpatan")
COMPARE_KERNEL(yl2x, "fyl2x")
COMPARE_KERNEL(yl2xp1, "fyl2xp1")

/* Loads of memory formats and constants (a is not used). */
#define LOAD_KERNEL(name, insn, type)                                                              \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        (void)a;                                                                                   \
        __asm__ volatile(insn " %1\n\tfnstsw %0" : "=a"(sw) : "m"(*(const type *)b));              \
        return sw;                                                                                 \
    }
LOAD_KERNEL(ld_m32, "flds", uint32_t)
LOAD_KERNEL(ld_m64, "fldl", uint64_t)
LOAD_KERNEL(ild_m16, "filds", uint16_t)
LOAD_KERNEL(ild_m32, "fildl", uint32_t)
LOAD_KERNEL(ild_m64, "fildq", uint64_t)
#define CONST_KERNEL(name)                                                                         \
    KERNEL k_##name(const F80 *a, const void *b)                                                   \
    {                                                                                              \
        uint16_t sw;                                                                               \
        (void)a;                                                                                   \
        (void)b;                                                                                   \
        __asm__ volatile("f" #name "\n\tfnstsw %0" : "=a"(sw));                                    \
        return sw;                                                                                 \
    }
CONST_KERNEL(ld1)
CONST_KERNEL(ldl2t)
CONST_KERNEL(ldl2e)
CONST_KERNEL(ldpi)
CONST_KERNEL(ldlg2)
CONST_KERNEL(ldln2)
CONST_KERNEL(ldz)

#define STORE_KERNEL(name, insn, type)                                                             \
    KERNEL k_##name(const F80 *a, void *out)                                                       \
    {                                                                                              \
        uint16_t sw;                                                                               \
        __asm__ volatile("fldt %2\n\t" insn " %1\n\tfnstsw %0"                                     \
                         : "=a"(sw), "=m"(*(type *)out)                                            \
                         : "m"(*a));                                                               \
        return sw;                                                                                 \
    }
STORE_KERNEL(st_m32, "fstps", uint32_t)
STORE_KERNEL(st_m64, "fstpl", uint64_t)
STORE_KERNEL(ist_m16, "fistps", uint16_t)
STORE_KERNEL(ist_m32, "fistpl", uint32_t)
STORE_KERNEL(ist_m64, "fistpq", uint64_t)
STORE_KERNEL(istt_m16, "fisttps", uint16_t)
STORE_KERNEL(istt_m32, "fisttpl", uint32_t)
STORE_KERNEL(istt_m64, "fisttpq", uint64_t)

/* extra: an instruction that makes room for what is popped below when C2 is set. */
#define PAIR_KERNEL(name, insn, extra)                                                             \
    KERNEL k_##name(const F80 *a, F80 *low, F80 *high)                                             \
    {                                                                                              \
        uint16_t sw;                                                                               \
        __asm__ volatile("fldt %3\n\t" insn "\n\tfnstsw %0\n\t" extra "fstpt %2\n\tfstpt %1"      \
                         : "=&a"(sw), "=m"(*low), "=m"(*high)                                      \
                         : "m"(*a)                                                                 \
                         : "cc");                                                                  \
        return sw;                                                                                 \
    }
#define IF_C2 "testb $4, %%ah\n\tjz 1f\n\tfld %%st(0)\n1:\t"
PAIR_KERNEL(ptan, "fptan", IF_C2)
PAIR_KERNEL(sincos, "fsincos", IF_C2)
PAIR_KERNEL(xtract, "fxtract", "")

/* x87_host_x86_64.c. Runs in's opcode and ModRM on the guest's x87 state and arithmetic flags;
 * mem: the memory operand, read or written. */
void x87_native(CpuState *cpu, const Insn *in, void *mem);

#endif
