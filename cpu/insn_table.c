/* SPDX-License-Identifier: GPL-2.0-or-later
 * The instruction table as an array: gives the shorthand of cpu/insns.inc its meaning.
 *
 * Operand letters are those of SDM 2D appendix A.2.1: A far pointer, B VEX.vvvv (general), C
 * control register, D debug register, E ModRM r/m (general), G ModRM.reg (general), H VEX.vvvv
 * (vector), I immediate (sI: sign-extended to the operand size), J relative, L imm8[7:4] (vector),
 * M memory, N r/m (MMX register), O offset, P reg (MMX), Q r/m (MMX), R r/m (general register), S
 * segment register, U r/m (vector register), V reg (vector), W r/m (vector), X and Y strings, Z
 * opcode bits 2:0 (general). "Rv/Mw" is a register of one size or memory of another. vm32, vm64
 * are gathers' memory.
 *
 * Sizes: b 1, w 2, d 4, q 8, t 10, dq 16, qq 32; v operand size, z the same but at most 4, y 4 or
 * 8; x, ps, pd the vector length (VEX.L), h half of it, f a quarter, e an eighth; ss 4, sd 8; p far
 * pointer, a two of v, s descriptor-table register, n 8 in 64-bit mode else 4, env and sav x87
 * images, fx 512; none: memory whose size the instruction itself knows.
 */
#include "cpu/insn.h"

/* Places */
#define OF(opcode) ((opcode) | 1 << ENC_MAP_SHIFT)
#define OF38(opcode) ((opcode) | 2 << ENC_MAP_SHIFT)
#define OF3A(opcode) ((opcode) | 3 << ENC_MAP_SHIFT)
#define NP ENC_NP
#define P66 ENC_P66
#define PF3 ENC_PF3
#define PF2 ENC_PF2
#define NOREP ENC_NOREP
#define REG(n) ((8 | (n)) << ENC_REG_SHIFT)
#define RM(n) ((8 | (n)) << ENC_RM_SHIFT | ENC_REG_ONLY)
/* ModRM as one byte C0-FF */
#define MODRM(byte) (REG((byte) >> 3 & 7) | RM((byte) & 7))
#define MEM ENC_MEM_ONLY
#define RR ENC_REG_ONLY
#define VEX ENC_VEX
#define L0 ENC_L0
#define L1 ENC_L1
#define W0 ENC_W0
#define W1 ENC_W1
#define PLUS_R ENC_PLUS_R
#define PLUS_CC ENC_PLUS_CC

/* Flags */
#define U INSN_USER
#define LOCK INSN_LOCK
#define I64 INSN_I64
#define O64 INSN_O64
#define D64 INSN_D64
#define F64 INSN_F64
#define PRIV INSN_PRIV
#define ENDS INSN_ENDS
#define DW INSN_DW
#define DR INSN_DR
#define RW2 INSN_RW2
#define A16 INSN_ALIGN16
#define PE INSN_PE

/* Arithmetic flags: read, written, undefined after it */
#define FLAG_NOCF (FLAG_ARITH & ~FLAG_CF)
#define E(read, written, undef)                                                                \
    ((uint64_t)(read) | (uint64_t)(written) << 16 | (uint64_t)(undef) << 32)
#define ____ E(0, 0, 0)
#define ARITH E(0, FLAG_ARITH, 0)
#define CARRY E(FLAG_CF, FLAG_ARITH, 0)
#define INCDEC E(0, FLAG_NOCF, 0)
#define LOGIC E(0, FLAG_ARITH, FLAG_AF)
#define MULT E(0, FLAG_ARITH, FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF)
#define DIVI E(0, FLAG_ARITH, FLAG_ARITH)
#define SHIFT E(0, FLAG_ARITH, FLAG_OF | FLAG_AF)
#define ROTATE E(0, FLAG_CF | FLAG_OF, FLAG_OF)
#define ROTCY E(FLAG_CF, FLAG_CF | FLAG_OF, FLAG_OF)
#define BITTEST E(0, FLAG_ARITH & ~FLAG_ZF, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF)
#define BITSCAN E(0, FLAG_ARITH, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF | FLAG_CF)
#define ZCOUNT E(0, FLAG_ARITH, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF)
#define BMI E(0, FLAG_ARITH, FLAG_AF | FLAG_PF)
#define ASCII E(FLAG_AF, FLAG_ARITH, FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_PF)
#define DECIMAL E(FLAG_AF | FLAG_CF, FLAG_ARITH, FLAG_OF)
#define ASCIIMUL E(0, FLAG_ARITH, FLAG_OF | FLAG_AF | FLAG_CF)
#define READALL E(FLAG_ARITH, 0, 0)
#define READCC E(FLAG_ARITH & ~FLAG_AF, 0, 0)
#define SETCF E(0, FLAG_CF, 0)
#define CHGCF E(FLAG_CF, FLAG_CF, 0)
#define SETZF E(0, FLAG_ZF, 0)
#define SETOF E(0, FLAG_OF, 0)

/* Rows. I is the general one; S and V are SSE and VEX instructions. The others below pack the
 * regular families, which hold several rows an opcode. */
#define I(enc, op, opds, flags, eflags, feature)                                               \
    { enc,                   OP_##op,      opds,              flags, (eflags) & 0xffff,              \
      (eflags) >> 16 & 0xffff, (eflags) >> 32, FEATURE_##feature },
#define X(enc, op, opds, flags, eflags)                                                        \
    I(enc, op, opds, (flags) | U | INSN_X87, eflags, NONE)
#define S(enc, op, opds, flags, eflags, feature)                                               \
    I(enc, op, opds, (flags) | U | INSN_SSE, eflags, feature)
#define V(enc, op, opds, flags, eflags, feature)                                               \
    I(VEX | (enc), op, opds, (flags) | U | INSN_AVX | INSN_PE, eflags, feature)

/* ADD and its seven siblings */
#define ALU(base, op, flags, eflags)                                                           \
    I((base) + 0, op, "Eb,Gb", U | LOCK_IF_RW(flags), eflags, NONE)                            \
    I((base) + 1, op, "Ev,Gv", U | LOCK_IF_RW(flags), eflags, NONE)                            \
    I((base) + 2, op, "Gb,Eb", U | (flags), eflags, NONE)                                      \
    I((base) + 3, op, "Gv,Ev", U | (flags), eflags, NONE)                                      \
    I((base) + 4, op, "AL,Ib", U | (flags), eflags, NONE)                                      \
    I((base) + 5, op, "rAX,Iz", U | (flags), eflags, NONE)
#define LOCK_IF_RW(flags) ((flags) == DR ? DR : (flags) | LOCK)
/* Group 1: 80 to 83 */
#define GROUP1(enc, opds, more)                                                                \
    I((enc) | REG(0), ADD, opds, U | LOCK | (more), ARITH, NONE)                               \
    I((enc) | REG(1), OR, opds, U | LOCK | (more), LOGIC, NONE)                                \
    I((enc) | REG(2), ADC, opds, U | LOCK | (more), CARRY, NONE)                               \
    I((enc) | REG(3), SBB, opds, U | LOCK | (more), CARRY, NONE)                               \
    I((enc) | REG(4), AND, opds, U | LOCK | (more), LOGIC, NONE)                               \
    I((enc) | REG(5), SUB, opds, U | LOCK | (more), ARITH, NONE)                               \
    I((enc) | REG(6), XOR, opds, U | LOCK | (more), LOGIC, NONE)                               \
    I((enc) | REG(7), CMP, opds, U | DR | (more), ARITH, NONE)
/* Group 2; /6 is SHL again */
#define GROUP2(enc, opds)                                                                      \
    I((enc) | REG(0), ROL, opds, U, ROTATE, NONE)                                              \
    I((enc) | REG(1), ROR, opds, U, ROTATE, NONE)                                              \
    I((enc) | REG(2), RCL, opds, U, ROTCY, NONE)                                               \
    I((enc) | REG(3), RCR, opds, U, ROTCY, NONE)                                               \
    I((enc) | REG(4), SHL, opds, U, SHIFT, NONE)                                               \
    I((enc) | REG(5), SHR, opds, U, SHIFT, NONE)                                               \
    I((enc) | REG(6), SHL, opds, U, SHIFT, NONE)                                               \
    I((enc) | REG(7), SAR, opds, U, SHIFT, NONE)
/* D8, DC and DA, DE: the eight x87 operations, /0 to /7 */
#define X87_8(enc, opds, p)                                                                    \
    X((enc) | REG(0), p##ADD, opds, DR, ____)                                                  \
    X((enc) | REG(1), p##MUL, opds, DR, ____)                                                  \
    X((enc) | REG(2), p##COM, opds, DR, ____)                                                  \
    X((enc) | REG(3), p##COMP, opds, DR, ____)                                                 \
    X((enc) | REG(4), p##SUB, opds, DR, ____)                                                  \
    X((enc) | REG(5), p##SUBR, opds, DR, ____)                                                 \
    X((enc) | REG(6), p##DIV, opds, DR, ____)                                                  \
    X((enc) | REG(7), p##DIVR, opds, DR, ____)

/* Packed single and double, two operands in SSE and three in AVX */
#define PS_PD(opcode, op)                                                                      \
    S(OF(opcode) | NP, op##PS, "Vx,Wx", A16, ____, SSE)                                        \
    S(OF(opcode) | P66, op##PD, "Vx,Wx", A16, ____, SSE2)                                      \
    V(OF(opcode) | NP, V##op##PS, "Vx,Hx,Wx", DW, ____, AVX)                                   \
    V(OF(opcode) | P66, V##op##PD, "Vx,Hx,Wx", DW, ____, AVX)
#define SS_SD(opcode, op)                                                                      \
    S(OF(opcode) | PF3, op##SS, "Vss,Wss", 0, ____, SSE)                                       \
    S(OF(opcode) | PF2, op##SD, "Vsd,Wsd", 0, ____, SSE2)                                      \
    V(OF(opcode) | PF3, V##op##SS, "Vss,Hss,Wss", DW, ____, AVX)                               \
    V(OF(opcode) | PF2, V##op##SD, "Vsd,Hsd,Wsd", DW, ____, AVX)
#define PS_PD_SS_SD(opcode, op) PS_PD(opcode, op) SS_SD(opcode, op)
/* Integer: XMM and YMM forms; 128 bits are AVX, 256 are AVX2 */
#define VINT(enc, op, opds)                                                                    \
    V((enc) | L0, V##op, opds, DW, ____, AVX)                                                  \
    V((enc) | L1, V##op, opds, DW, ____, AVX2)
#define INT(enc, op, feature)                                                                  \
    S((enc) | P66, op, "Vx,Wx", A16, ____, feature)                                            \
    VINT((enc) | P66, op, "Vx,Hx,Wx")
/* the same with an MMX form: mmx is the feature of that one */
#define MMX(enc, op, mmx, feature)                                                             \
    I((enc) | NP, op, "Pq,Qq", U | INSN_MMX, ____, mmx)                                        \
    INT(enc, op, feature)
/* Shifts by a register: the count is 128 bits of XMM whatever the length */
#define MMX_SHIFT(enc, op)                                                                     \
    I((enc) | NP, op, "Pq,Qq", U | INSN_MMX, ____, MMX)                                        \
    S((enc) | P66, op, "Vx,Wx", A16, ____, SSE2)                                               \
    VINT((enc) | P66, op, "Vx,Hx,Wdq")
/* Shifts by an immediate, groups 12 to 14 */
#define SHIFT_IMM(enc, op)                                                                     \
    I((enc) | NP | RR, op, "Nq,Ib", U | INSN_MMX, ____, MMX)                                   \
    S((enc) | P66 | RR, op, "Ux,Ib", 0, ____, SSE2)                                            \
    VINT((enc) | P66 | RR, op, "Hx,Ux,Ib")
/* One source, destination only written */
#define INT2(enc, op, opds, align, feature)                                                    \
    S((enc) | P66, op, opds, DW | (align), ____, feature)                                      \
    VINT((enc) | P66, op, opds)
/* FMA: W0 single, W1 double */
#define FMA_P(opcode, op)                                                                      \
    V(OF38(opcode) | P66 | W0, op##PS, "Vx,Hx,Wx", 0, ____, FMA)                               \
    V(OF38(opcode) | P66 | W1, op##PD, "Vx,Hx,Wx", 0, ____, FMA)
#define FMA_S(opcode, op)                                                                      \
    V(OF38(opcode) | P66 | W0, op##SS, "Vss,Hss,Wss", 0, ____, FMA)                            \
    V(OF38(opcode) | P66 | W1, op##SD, "Vsd,Hsd,Wsd", 0, ____, FMA)
/* General registers under VEX; W only counts in 64-bit mode, where it is the operand size */
#define G(enc, op, opds, flags, eflags, feature)                                               \
    I(VEX | L0 | (enc), op, opds, U | INSN_PE | (flags), eflags, feature)

const InsnRow insn_rows[] = {
    { 0 }, /* row 0: none */
#include "cpu/insns.inc"
};
const unsigned nr_insn_rows = sizeof(insn_rows) / sizeof(insn_rows[0]);

static const char *const op_names[] = {
    [OP_INVALID] = "(invalid)",
#define OP(name, family) [OP_##name] = #name,
#include "cpu/ops.inc"
#undef OP
};

const char *insn_op_name(unsigned op)
{
    return op < NR_OPS ? op_names[op] : op_names[OP_INVALID];
}
