/* SPDX-License-Identifier: GPL-2.0-or-later
 * The disassembler: a decoded instruction as text in the SDM's (Intel) syntax, memory
 * operands with their size, branch targets as addresses.
 */
#include "cpu/insn.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A buffer that never overflows. */
typedef struct Text {
    char *buf;
    size_t size, len;
} Text;

static void __attribute__((format(printf, 2, 3))) put(Text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (t->len < t->size) {
        int n = vsnprintf(t->buf + t->len, t->size - t->len, fmt, ap);
        t->len += n > 0 ? (size_t)n : 0;
    }
    va_end(ap);
}

/* Where the printed name is not the op's own: "a|b|c" by operand size 16, 32, 64. */
static const struct {
    uint16_t op;
    const char *name;
} printed[] = {
    { OP_CBW, "cbw|cwde|cdqe" },
    { OP_CWD, "cwd|cdq|cqo" },
    { OP_PUSHA, "pusha|pushad|" },
    { OP_POPA, "popa|popad|" },
    { OP_PUSHF, "pushf|pushfd|pushfq" },
    { OP_POPF, "popf|popfd|popfq" },
    { OP_IRET, "iret|iretd|iretq" },
    { OP_SYSRET, "sysret|sysret|sysretq" },
    { OP_SYSEXIT, "sysexit|sysexit|sysexitq" },
    { OP_FXSAVE, "fxsave|fxsave|fxsave64" },
    { OP_FXRSTOR, "fxrstor|fxrstor|fxrstor64" },
    { OP_XSAVE, "xsave|xsave|xsave64" },
    { OP_XSAVEC, "xsavec|xsavec|xsavec64" },
    { OP_XSAVEOPT, "xsaveopt|xsaveopt|xsaveopt64" },
    { OP_XSAVES, "xsaves|xsaves|xsaves64" },
    { OP_XRSTOR, "xrstor|xrstor|xrstor64" },
    { OP_XRSTORS, "xrstors|xrstors|xrstors64" },
    { OP_MOVCR, "mov|mov|mov" },
    { OP_MOVDR, "mov|mov|mov" },
    { OP_JMPF, "jmp far|jmp far|jmp far" },
    { OP_CALLF, "call far|call far|call far" },
};

static void put_lower(Text *t, const char *s)
{
    for (; *s; s++) {
        put(t, "%c", tolower((unsigned char)*s));
    }
}

static const char *const conditions[16] = { "o", "no", "b", "nb", "z", "nz", "be", "nbe",
                                            "s", "ns", "p", "np", "l", "nl", "le", "nle" };

static void put_sized_name(Text *t, const char *names, unsigned opsize)
{
    for (unsigned skip = opsize >> 2; skip > 0; skip--) {
        names = strchr(names, '|') + 1;
    }
    put(t, "%.*s", (int)strcspn(names, "|"), names);
}

static void put_mnemonic(Text *t, const Insn *in)
{
    const char *name = insn_op_name(in->op);
    switch (in->op) {
    case OP_JCC: put(t, "j%s", conditions[in->cond]); return;
    case OP_SETCC: put(t, "set%s", conditions[in->cond]); return;
    case OP_CMOVCC: put(t, "cmov%s", conditions[in->cond]); return;
    case OP_JCXZ:
        put(t, "j%scxz", in->adsize == 2 ? "" : in->adsize == 4 ? "e" : "r");
        return;
    case OP_MOVS:
    case OP_CMPS:
    case OP_SCAS:
    case OP_LODS:
    case OP_STOS:
    case OP_INS:
    case OP_OUTS: {
        bool src = in->opd[1].kind == OPD_STR_SRC || in->opd[1].kind == OPD_STR_DST;
        static const char suffix[] = "?bw?d???q";
        put_lower(t, name);
        put(t, "%c", suffix[in->opd[src].size & 15]);
        return;
    }
    }
    for (size_t i = 0; i < sizeof(printed) / sizeof(printed[0]); i++) {
        if (printed[i].op == in->op) {
            put_sized_name(t, printed[i].name, in->opsize);
            return;
        }
    }
    put_lower(t, name);
}

static void put_gpr(Text *t, unsigned reg, unsigned size)
{
    static const char *const low[8] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
    static const char *const byte[8] = {
        "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"
    };
    if (reg >= 8) {
        put(t, "r%u%s", reg, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
    } else if (size == 1) {
        put(t, "%s", byte[reg]);
    } else {
        put(t, "%s%s", size == 2 ? "" : size == 4 ? "e" : "r", low[reg]);
    }
}

static const char *const seg_names[NR_SEGS] = { "es", "cs", "ss", "ds", "fs", "gs" };

static void put_mem_size(Text *t, unsigned size)
{
    const char *name = size == 1    ? "byte"
                       : size == 2  ? "word"
                       : size == 4  ? "dword"
                       : size == 6  ? "fword"
                       : size == 8  ? "qword"
                       : size == 10 ? "tbyte"
                       : size == 16 ? "xmmword"
                       : size == 32 ? "ymmword"
                                    : NULL;
    if (name) {
        put(t, "%s ptr ", name);
    }
}

/* The segment shows when it is not the one the base register implies. */
static void put_mem_seg(Text *t, const Insn *in)
{
    unsigned implied = in->base == REG_RSP || in->base == REG_RBP ? SEG_SS : SEG_DS;
    if (in->seg != implied) {
        put(t, "%s:", seg_names[in->seg]);
    }
}

static void put_mem(Text *t, const Insn *in, const Operand *o)
{
    put_mem_size(t, o->size);
    put_mem_seg(t, in);
    put(t, "[");
    const char *sep = "";
    if (in->base == INSN_REG_RIP) {
        put(t, in->adsize == 8 ? "rip" : "eip");
        sep = "+";
    } else if (in->base != INSN_REG_NONE) {
        put_gpr(t, in->base, in->adsize);
        sep = "+";
    }
    if (in->index != INSN_REG_NONE) {
        put(t, "%s", sep);
        if (o->kind == OPD_VMEM) {
            put(t, "%cmm%u", o->reg == 32 ? 'y' : 'x', in->index);
        } else {
            put_gpr(t, in->index, in->adsize);
        }
        if (in->scale) {
            put(t, "*%u", 1u << in->scale);
        }
        sep = "+";
    }
    if (!*sep) {
        uint64_t mask = in->adsize == 8 ? ~0ull : (1ull << in->adsize * 8) - 1;
        put(t, "0x%llx", (unsigned long long)(in->disp & mask));
    } else if (in->disp < 0) {
        put(t, "-0x%llx", -(unsigned long long)in->disp);
    } else if (in->disp > 0) {
        put(t, "+0x%llx", (unsigned long long)in->disp);
    }
    put(t, "]");
}

static void put_operand(Text *t, const Insn *in, const Operand *o, uint64_t rip)
{
    static const char *const high[4] = { "ah", "ch", "dh", "bh" };
    uint64_t mask = o->size >= 8 ? ~0ull : (1ull << o->size * 8) - 1;
    switch ((OperandKind)o->kind) {
    case OPD_NONE: break;
    case OPD_GPR: put_gpr(t, o->reg, o->size); break;
    case OPD_GPR8H: put(t, "%s", high[o->reg & 3]); break;
    case OPD_SEG: put(t, "%s", seg_names[o->reg]); break;
    case OPD_CR: put(t, "cr%u", o->reg); break;
    case OPD_DR: put(t, "dr%u", o->reg); break;
    case OPD_ST: put(t, "st(%u)", o->reg); break;
    case OPD_MM: put(t, "mm%u", o->reg); break;
    case OPD_XMM: put(t, "xmm%u", o->reg); break;
    case OPD_YMM: put(t, "ymm%u", o->reg); break;
    case OPD_MEM:
    case OPD_VMEM: put_mem(t, in, o); break;
    case OPD_IMM: put(t, "0x%llx", (unsigned long long)(in->imm & mask)); break;
    case OPD_IMM2: put(t, "0x%llx", (unsigned long long)(in->imm2 & mask)); break;
    case OPD_REL: {
        uint64_t ip_mask = in->opsize == 8 ? ~0ull : (1ull << in->opsize * 8) - 1;
        put(t, "0x%llx", (unsigned long long)((rip + in->len + in->imm) & ip_mask));
        break;
    }
    case OPD_FAR:
        put(t, "0x%llx:0x%llx", (unsigned long long)in->imm2, (unsigned long long)in->imm);
        break;
    case OPD_STR_SRC:
        put_mem_size(t, o->size);
        if (in->seg != SEG_DS) {
            put(t, "%s:", seg_names[in->seg]);
        }
        put(t, "[");
        put_gpr(t, REG_RSI, in->adsize);
        put(t, "]");
        break;
    case OPD_STR_DST:
        put_mem_size(t, o->size);
        put(t, "es:[");
        put_gpr(t, REG_RDI, in->adsize);
        put(t, "]");
        break;
    }
}

char *insn_format(const Insn *in, uint64_t rip, char *buf, size_t size)
{
    Text t = { buf, size, 0 };
    if (size > 0) {
        buf[0] = 0;
    }
    if (in->prefixes & PFX_LOCK) {
        put(&t, "lock ");
    }
    if (insn_rows[in->row].flags & INSN_REP) {
        bool compares = in->op == OP_CMPS || in->op == OP_SCAS;
        if (in->prefixes & PFX_REPNE) {
            put(&t, compares ? "repne " : "rep ");
        } else if (in->prefixes & PFX_REP) {
            put(&t, compares ? "repe " : "rep ");
        }
    }
    put_mnemonic(&t, in);
    for (unsigned i = 0; i < in->nr_opd; i++) {
        put(&t, i ? ", " : " ");
        put_operand(&t, in, &in->opd[i], rip);
    }
    return buf;
}
