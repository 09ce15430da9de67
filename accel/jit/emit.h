/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host x86-64 instructions into a buffer (SDM volume 2A chapter 2). What an operand is, not how
 * it is written, is all the callers say; REX, ModRM and SIB are settled here.
 */
#ifndef ACCEL_JIT_EMIT_H
#define ACCEL_JIT_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum HostReg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
               NO_REG = 0xff };

/* The code buffer is mapped twice: it is written through p and runs at p + to_rx. */
typedef struct Emit {
    uint8_t *p, *end;
    ptrdiff_t to_rx;
} Emit;

/* An r/m operand: a register, or memory. gs: relative to the vCPU's state. narrow: by 32-bit
 * address arithmetic, so that the sum wraps at 4 GiB. */
typedef struct Rm {
    uint8_t reg;         /* NO_REG: memory */
    uint8_t base, index; /* NO_REG: absent */
    uint8_t scale;       /* 0 to 3 */
    bool gs, narrow;
    int32_t disp;
} Rm;

static inline Rm rm_reg(unsigned reg)
{
    return (Rm){ .reg = (uint8_t)reg, .base = NO_REG, .index = NO_REG };
}
static inline Rm rm_mem(unsigned base, int32_t disp)
{
    return (Rm){ .reg = NO_REG, .base = (uint8_t)base, .index = NO_REG, .disp = disp };
}
static inline Rm rm_sib(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    return (Rm){ .reg = NO_REG, .base = (uint8_t)base, .index = (uint8_t)index,
                 .scale = (uint8_t)scale, .disp = disp };
}
static inline Rm rm_gs(int32_t disp)
{
    return (Rm){ .reg = NO_REG, .base = NO_REG, .index = NO_REG, .gs = true, .disp = disp };
}

static inline void emit8(Emit *e, unsigned v)
{
    *e->p++ = (uint8_t)v;
}
static inline void emit16(Emit *e, unsigned v)
{
    memcpy(e->p, &v, 2);
    e->p += 2;
}
static inline void emit32(Emit *e, uint32_t v)
{
    memcpy(e->p, &v, 4);
    e->p += 4;
}
static inline void emit64(Emit *e, uint64_t v)
{
    memcpy(e->p, &v, 8);
    e->p += 8;
}

/* ModRM, SIB and displacement. */
void emit_rm(Emit *e, unsigned reg, Rm rm);

/* EM_: how an opcode is to be encoded. */
enum {
    EM_BYTE = 1 << 16,  /* byte registers: SPL to DIL need a REX */
    EM_W = 1 << 17,     /* REX.W */
    EM_66 = 1 << 18, EM_F3 = 1 << 19, EM_F2 = 1 << 20, EM_LOCK = 1 << 21,
    EM_0F = 1 << 8, EM_0F38 = 2 << 8, EM_0F3A = 3 << 8, /* opcode map */
    EM_HIGH = 1 << 22,  /* register 4 to 7 is AH to BH: no REX wanted */
};
/* op: opcode in bits 7:0, map in 9:8, and the flags above. */
void emit_op(Emit *e, unsigned op, unsigned reg, Rm rm);
/* VEX: pp and map as encoded there (map 1 to 3). */
void emit_vex(Emit *e, unsigned pp, unsigned map, bool w, bool l, unsigned vvvv, unsigned opcode,
              unsigned reg, Rm rm);

/* ---- the few instructions that the engine's own sequences use; all leave flags alone but those
 * named for arithmetic ---- */

static inline void emit_mov(Emit *e, unsigned dst, unsigned src) /* 64 bits */
{
    emit_op(e, EM_W | 0x8b, dst, rm_reg(src));
}
static inline void emit_mov32(Emit *e, unsigned dst, unsigned src)
{
    emit_op(e, 0x8b, dst, rm_reg(src));
}
static inline void emit_load(Emit *e, unsigned dst, Rm m)
{
    emit_op(e, EM_W | 0x8b, dst, m);
}
static inline void emit_load32(Emit *e, unsigned dst, Rm m)
{
    emit_op(e, 0x8b, dst, m);
}
static inline void emit_store(Emit *e, Rm m, unsigned src)
{
    emit_op(e, EM_W | 0x89, src, m);
}
static inline void emit_store32(Emit *e, Rm m, unsigned src)
{
    emit_op(e, 0x89, src, m);
}
/* An address that is just a register is moved: hosts do that without an execution unit. */
static inline void emit_lea_size(Emit *e, unsigned w, unsigned dst, Rm m)
{
    if (m.disp || m.index != NO_REG || m.base == NO_REG) {
        emit_op(e, w | 0x8d, dst, m);
    } else {
        emit_op(e, w | 0x8b, dst, rm_reg(m.base));
    }
}
static inline void emit_lea(Emit *e, unsigned dst, Rm m)
{
    emit_lea_size(e, EM_W, dst, m);
}
static inline void emit_lea32(Emit *e, unsigned dst, Rm m)
{
    emit_lea_size(e, 0, dst, m);
}
static inline void emit_movzx16(Emit *e, unsigned dst, unsigned src)
{
    emit_op(e, EM_0F | 0xb7, dst, rm_reg(src));
}
void emit_mov_imm64(Emit *e, unsigned dst, uint64_t v);
static inline void emit_mov_imm32(Emit *e, unsigned dst, uint32_t v) /* zero-extended */
{
    if (dst >= 8) {
        emit8(e, 0x41);
    }
    emit8(e, 0xb8 | (dst & 7));
    emit32(e, v);
}
static inline void emit_store_imm32(Emit *e, Rm m, uint32_t v)
{
    emit_op(e, 0xc7, 0, m);
    emit32(e, v);
}
void emit_rorx(Emit *e, bool w, unsigned dst, unsigned src, unsigned n);
/* add, or, adc, sbb, and, sub, xor, cmp: 0 to 7; imm sign-extended */
void emit_alu_imm(Emit *e, unsigned op_flags, unsigned alu, Rm rm, int32_t imm);
static inline void emit_alu(Emit *e, unsigned op_flags, unsigned alu, unsigned dst, Rm src)
{
    emit_op(e, op_flags | alu << 3 | 3, dst, src);
}
enum { A_ADD, A_OR, A_ADC, A_SBB, A_AND, A_SUB, A_XOR, A_CMP };

/* Jumps. The rel32 ones return the address (writable) of the displacement for emit_link. */
static inline uint8_t *emit_jmp(Emit *e)
{
    emit8(e, 0xe9);
    emit32(e, 0);
    return e->p - 4;
}
static inline uint8_t *emit_jcc(Emit *e, unsigned cond)
{
    emit8(e, 0x0f);
    emit8(e, 0x80 | cond);
    emit32(e, 0);
    return e->p - 4;
}
static inline void emit_link(uint8_t *rel32, const uint8_t *target)
{
    int32_t d = (int32_t)(target - (rel32 + 4));
    memcpy(rel32, &d, 4);
}
static inline void emit_link_here(Emit *e, uint8_t *rel32)
{
    emit_link(rel32, e->p);
}
/* target: writable address */
static inline void emit_jmp_to(Emit *e, const uint8_t *target)
{
    emit_link(emit_jmp(e), target);
}
static inline void emit_jcc_to(Emit *e, unsigned cond, const uint8_t *target)
{
    emit_link(emit_jcc(e, cond), target);
}
static inline void emit_call_to(Emit *e, const uint8_t *target)
{
    emit8(e, 0xe8);
    emit32(e, 0);
    emit_link(e->p - 4, target);
}
void emit_call_c(Emit *e, void *fn); /* clobbers rax */
enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE,
       CC_LE, CC_G };

void emit_nops(Emit *e, unsigned n);
/* NOPs until (p + ahead) is a multiple of align. */
void emit_align(Emit *e, unsigned align, unsigned ahead);

#endif
