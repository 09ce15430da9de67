/* SPDX-License-Identifier: GPL-2.0-or-later
 * MMX, SSE and AVX by the host's own instructions: for each guest instruction a small piece of
 * host code (a thunk) loads the guest registers it names from CpuState, runs that very
 * instruction, and stores the results, so that they are the processor's bit for bit.
 *
 * Thunks are made once per encoding (without its address part) and live until the process ends;
 * the cache is shared by all vCPUs and machines and safe from any thread.
 *
 * MXCSR: while a vCPU executes guest code, the host's MXCSR holds the guest's rounding mode, DAZ,
 * FTZ and sticky flags, with every exception masked. The guest's masks stay in CpuState.mxcsr. An
 * engine brackets execution with simd_mxcsr_enter and simd_mxcsr_leave.
 */
#ifndef CPU_SIMD_HOST_H
#define CPU_SIMD_HOST_H

#include "cpu/insn.h"

/* What must be checked before a thunk runs, by mode bits (fixed for a block) except SIMD_MF. */
enum {
    SIMD_SSE = 1 << 0, /* MODE_SSE_UD: #UD; MODE_SSE_NM: #NM */
    SIMD_AVX = 1 << 1, /* MODE_AVX_UD: #UD; MODE_SSE_NM: #NM */
    SIMD_MMX = 1 << 2, /* CR0.EM: #UD, CR0.TS: #NM; then a pending x87 exception: x87_pending() */
    SIMD_FP = 1 << 3,  /* can raise SIMD exceptions: with MODE_MX_UNMASKED use simd_run_unmasked */
};

typedef struct SimdThunk {
    /* mem: host address of the memory operand, at least mem_size bytes, aligned as mem_align
     * asks; NULL if there is none. Cannot fault, raises nothing. */
    void (*run)(CpuState *cpu, void *mem);
    uint16_t mem_size;  /* 0: register form */
    uint8_t mem_access; /* OPD_R, OPD_W */
    uint8_t mem_align;  /* linear address must be a multiple, else #GP(0); 0: any */
    uint8_t checks;     /* SIMD_ */
} SimdThunk;

/* NULL if the instruction is not done by a thunk (EMMS, masked moves, gathers: exec_simd knows
 * them), the host lacks it, or the cache is full; exec_simd is always right. */
const SimdThunk *simd_thunk(const Insn *in);
/* Room is kept for these: only for exec_simd, which asks for few. */
const SimdThunk *simd_thunk_reserved(const Insn *in);

/* Register forms in the interpreter's own calling convention: cpu in rdi, op in rsi; the code
 * ends with `add rsi, op_size; jmp [rsi]`. Clobbers rax, rcx, rdx and vector registers; leaves
 * the x87 stack empty. NULL as above, and for memory and MMX forms. */
void *simd_reg_handler(const Insn *in, unsigned op_size);

void simd_mxcsr_enter(CpuState *cpu);
void simd_mxcsr_leave(CpuState *cpu);
/* The guest's MXCSR at any time; write also updates cpu->mode. val was checked. Own thread. */
uint32_t simd_mxcsr_read(CpuState *cpu);
void simd_mxcsr_write(CpuState *cpu, uint32_t val);

/* Runs a SIMD_FP thunk when some SIMD exception is unmasked: #XM (or #UD, SDM 3A 2.5
 * CR4.OSXMMEXCPT) before anything but MXCSR changes. */
void simd_run_unmasked(CpuState *cpu, const Insn *in, const SimdThunk *t, void *mem);

/* Any instruction of these families: checks, memory, the thunk. An ExecFn. */
void exec_simd(CpuState *cpu, const Insn *in);

#endif
