/* SPDX-License-Identifier: GPL-2.0-or-later
 * A decoded instruction. cpu/insns.inc is the one table of instructions, operands spelt as in the
 * SDM's opcode maps (volume 2D appendix A); decoder, disassembler, engines and tests read it.
 */
#ifndef CPU_INSN_H
#define CPU_INSN_H

#include "cpu/state.h"

/* One mnemonic (ADD, JCC, PADDB, ...): what an engine dispatches on. From cpu/ops.inc. */
typedef enum InsnOp {
    OP_INVALID,
#define OP(name, family) OP_##name,
#include "cpu/ops.inc"
#undef OP
    NR_OPS
} InsnOp;

typedef enum OperandKind {
    OPD_NONE,
    OPD_GPR,   /* reg 0-15 */
    OPD_GPR8H, /* reg 0-3: AH CH DH BH */
    OPD_SEG, OPD_CR, OPD_DR,
    OPD_ST,    /* reg: i of ST(i) */
    OPD_MM, OPD_XMM, OPD_YMM,
    OPD_MEM,   /* Insn's seg, base, index, scale, disp */
    OPD_IMM,   /* Insn.imm: as the instruction uses it: Iz and the ALU's imm8 sign-extended to size,
                * shift counts, ports, selectors of shuffles zero-extended */
    OPD_IMM2,  /* ENTER's level; far pointer's selector */
    OPD_REL,   /* Insn.imm: displacement from the next instruction */
    OPD_FAR,   /* imm2:imm */
    OPD_STR_SRC, OPD_STR_DST, /* seg:[rSI], ES:[rDI] at address size */
    OPD_VMEM,  /* gathers: as OPD_MEM, index is a vector register; reg: its size, size: element */
} OperandKind;

enum { OPD_R = 1, OPD_W = 2, OPD_RW = 3 };

typedef struct Operand {
    uint8_t kind, reg;
    uint8_t access; /* OPD_R, OPD_W */
    uint16_t size;  /* bytes: 1..32; 6 and 10 for far pointers and descriptor tables; FXSAVE 512 */
} Operand;

enum { INSN_REG_NONE = 0xff, INSN_REG_RIP = 0xfe };
enum {
    PFX_LOCK = 1 << 0, PFX_REP = 1 << 1 /* F3 */, PFX_REPNE = 1 << 2 /* F2 */,
    PFX_66 = 1 << 3, PFX_67 = 1 << 4, PFX_SEG = 1 << 5, PFX_REX = 1 << 6, PFX_REXW = 1 << 7,
    PFX_VEX = 1 << 8, PFX_VEX_L = 1 << 9, PFX_VEX_W = 1 << 10,
};

typedef struct Insn {
    uint16_t op;       /* InsnOp */
    uint16_t row;      /* index into insn_rows[] */
    uint16_t prefixes; /* PFX_ */
    uint8_t len;       /* 1..15 */
    uint8_t opsize;    /* effective operand size 2, 4 or 8 (64-bit defaults applied) */
    uint8_t adsize;    /* effective address size 2, 4 or 8 */
    uint8_t cond;      /* JCC, SETCC, CMOVCC: 0..15; FP compares: predicate */
    uint8_t map, opcode, modrm; /* as encoded; map 0: one-byte, 1: 0F, 2: 0F38, 3: 0F3A */
    uint8_t has_modrm;
    uint8_t pp;        /* mandatory prefix / VEX.pp: 0 none, 1 66, 2 F3, 3 F2 */
    uint8_t vvvv;      /* VEX.vvvv register */
    uint8_t seg;       /* effective segment of the memory operand */
    uint8_t base, index; /* 0-15, INSN_REG_NONE, INSN_REG_RIP (base only) */
    uint8_t scale;     /* 0..3: shift */
    uint8_t nr_opd;
    Operand opd[5];    /* in Intel order: destination first; implicit ones not listed */
    int64_t disp;      /* sign-extended */
    int64_t imm, imm2;
    uint8_t bytes[15];
} Insn;

typedef enum DecodeResult {
    DECODE_OK,
    DECODE_UD,       /* no such instruction here (mode, CPUID feature, LOCK, register form) */
    DECODE_TOO_LONG, /* more than 15 bytes: #GP(0) */
    DECODE_SHORT,    /* the bytes given do not hold all of it */
} DecodeResult;

/* Decodes one instruction at bytes[0..len-1]. mode: MODE_CS32, MODE_CS64, MODE_PE, MODE_VM
 * matter. features: instructions the CPU does not have decode as DECODE_UD (NULL: all are there).
 * On DECODE_UD out->len is what was consumed. Thread-safe, pure. */
DecodeResult insn_decode(const uint8_t *bytes, unsigned len, uint32_t mode,
                         const CpuFeatures *features, Insn *out);

/* One row of the table. What flags_undef holds is in flags_written too; flags that depend on the
 * operands (shifts by 0, OF of counts other than 1) count as undefined. */
typedef struct InsnRow {
    uint32_t enc;         /* ENC_: where in the opcode maps it stands */
    uint16_t op;
    const char *operands; /* the SDM's: "Eb,Gb", "Vx,Hx,Wx,Ib"; letters in insn_table.c */
    uint32_t flags;       /* INSN_ */
    uint16_t flags_read, flags_written, flags_undef; /* arithmetic FLAG_ bits */
    uint8_t feature;      /* CpuFeature needed; FEATURE_NONE */
} InsnRow;
/* InsnRow.enc. Bits 7:0 opcode (the first one, with ENC_PLUS_R or ENC_PLUS_CC), 9:8 map. */
enum {
    ENC_MAP_SHIFT = 8, ENC_MAP = 3 << 8,
    ENC_VEX = 1 << 10,
    /* mandatory prefix: any (F2 and F3 may mean REP), none, one, or neither F2 nor F3 */
    ENC_PP_SHIFT = 11, ENC_PP = 7 << 11, ENC_NP = 1 << 11, ENC_P66 = 2 << 11, ENC_PF3 = 3 << 11,
    ENC_PF2 = 4 << 11, ENC_NOREP = 5 << 11,
    ENC_REG_SHIFT = 14, ENC_REG = 15 << 14, /* 8 | ModRM.reg, 0: any */
    ENC_RM_SHIFT = 18, ENC_RM = 15 << 18,   /* 8 | ModRM.rm, 0: any */
    ENC_MEM_ONLY = 1 << 22, ENC_REG_ONLY = 1 << 23,
    ENC_W0 = 1 << 24, ENC_W1 = 1 << 25,     /* REX.W, VEX.W */
    ENC_L0 = 1 << 26, ENC_L1 = 1 << 27,     /* VEX.L */
    ENC_PLUS_R = 1 << 28,  /* eight opcodes: register in bits 2:0 */
    ENC_PLUS_CC = 1 << 29, /* sixteen: condition in bits 3:0 */
    ENC_NO_REXB = 1 << 30, /* 90: NOP, not XCHG R8,RAX */
};
enum {
    INSN_LOCK = 1 << 0,   /* LOCK allowed with a memory destination */
    INSN_I64 = 1 << 1,    /* invalid in 64-bit mode */
    INSN_O64 = 1 << 2,    /* only in 64-bit mode */
    INSN_D64 = 1 << 3,    /* operand size defaults to 64 in 64-bit mode */
    INSN_F64 = 1 << 4,    /* operand size is forced to 64 in 64-bit mode */
    INSN_PRIV = 1 << 5,   /* CPL 0 only: #GP(0) */
    INSN_ENDS = 1 << 6,   /* changes control flow, mode or paging: ends a block */
    INSN_X87 = 1 << 7, INSN_MMX = 1 << 8, INSN_SSE = 1 << 9, INSN_AVX = 1 << 10, /* CR0/CR4 checks */
    INSN_ALIGN16 = 1 << 11, /* memory operand must be aligned to its size: #GP(0) */
    INSN_REP = 1 << 12,   /* string instruction: takes REP */
    INSN_USER = 1 << 13,  /* plain user-mode computation: the host-CPU oracle tests it */
    INSN_PE = 1 << 14,    /* #UD in real and V86 mode */
    /* how the operands are accessed; none of these: first read and written, others read */
    INSN_DW = 1 << 16,    /* first only written */
    INSN_DR = 1 << 17,    /* all only read */
    INSN_RW2 = 1 << 18,   /* first two read and written */
    INSN_W2 = 1 << 19,    /* first two written */
    INSN_GATHER = 1 << 20, /* first and third read and written */
    INSN_MOD_IGNORED = 1 << 21, /* MOV CR/DR: ModRM.mod counts as 3 */
};
extern const InsnRow insn_rows[];
extern const unsigned nr_insn_rows;
const char *insn_op_name(unsigned op); /* "ADD", as in ops.inc */

/* Intel syntax, e.g. "mov rax, qword ptr [rbx+rcx*4+0x10]"; rip is the instruction's address.
 * Returns buf. */
char *insn_format(const Insn *in, uint64_t rip, char *buf, size_t size);

#endif
