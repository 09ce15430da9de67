/* SPDX-License-Identifier: GPL-2.0-or-later
 * Handlers for MMX, SSE and AVX instructions with a memory operand: they find the operand's host
 * address and call the instruction's thunk (cpu/simd_host.h). Register forms have handlers made of
 * host code, without a call.
 */
#include "accel/interp/op.h"
#include "cpu/exception.h"
#include "cpu/simd_host.h"

/* Memory operands that must be aligned: #GP(0). */
static const Op *misaligned(CpuState *cpu, const Op *op)
{
    interp_sync(cpu, op);
    cpu_raise(cpu, EXC_GP, 0);
}

#define LOAD_STORE(N)                                                                              \
    typedef struct Mem##N {                                                                        \
        uint8_t b[N];                                                                              \
    } Mem##N;                                                                                      \
    static const Op *simd_load##N(CpuState *cpu, const Op *op)                                     \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_READ(Mem##N, p, lin);                                                                  \
        op->thunk->run(cpu, (void *)p);                                                            \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *simd_store##N(CpuState *cpu, const Op *op)                                    \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(Mem##N, p, lin, SLOW_WRITE);                                                     \
        op->thunk->run(cpu, p);                                                                    \
        NEXT;                                                                                      \
    }
LOAD_STORE(1)
LOAD_STORE(2)
LOAD_STORE(4)
LOAD_STORE(8)
LOAD_STORE(16)
LOAD_STORE(32)

#define ALIGNED(N)                                                                                 \
    static const Op *simd_load##N##_aligned(CpuState *cpu, const Op *op)                           \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        if (unlikely(lin & (N - 1))) {                                                             \
            return misaligned(cpu, op);                                                            \
        }                                                                                          \
        MEM_READ(Mem##N, p, lin);                                                                  \
        op->thunk->run(cpu, (void *)p);                                                            \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *simd_store##N##_aligned(CpuState *cpu, const Op *op)                          \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        if (unlikely(lin & (N - 1))) {                                                             \
            return misaligned(cpu, op);                                                            \
        }                                                                                          \
        MEM_WRITE(Mem##N, p, lin, SLOW_WRITE);                                                     \
        op->thunk->run(cpu, p);                                                                    \
        NEXT;                                                                                      \
    }
ALIGNED(16)
ALIGNED(32)

OpFn *simd_mem_op(const SimdThunk *t)
{
    static OpFn *const any[6][2] = {
        { simd_load1, simd_store1 },   { simd_load2, simd_store2 },
        { simd_load4, simd_store4 },   { simd_load8, simd_store8 },
        { simd_load16, simd_store16 }, { simd_load32, simd_store32 },
    };
    static OpFn *const aligned[2][2] = {
        { simd_load16_aligned, simd_store16_aligned },
        { simd_load32_aligned, simd_store32_aligned },
    };
    bool store = t->mem_access == OPD_W;
    if (t->mem_align) {
        return aligned[t->mem_align == 32][store];
    }
    return any[__builtin_ctz(t->mem_size)][store];
}
