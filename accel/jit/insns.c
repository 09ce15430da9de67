/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the translator must know of an instruction beyond its operation: where its operands are
 * encoded, how long its immediate is, which flags it needs and replaces. All read from the
 * decode table (cpu/insns.inc), whose operand letters insn_table.c explains.
 */
#include "accel/jit/translate.h"

/* The nth of the comma-separated operands, or NULL. */
static const char *operand_text(const Insn *in, unsigned n)
{
    const char *s = insn_rows[in->row].operands;
    while (s && n--) {
        s = strchr(s, ',');
        s = s ? s + 1 : NULL;
    }
    return s;
}

static bool is_word(const char *s, const char *word)
{
    size_t n = strlen(word);
    return !strncmp(s, word, n) && (s[n] == ',' || s[n] == 0);
}

/* A register by name, "rAX", "ES", "ST0"; elsewhere a capital is followed by a size. */
static bool is_fixed(const char *s)
{
    return s[0] == '1' || s[0] == 'r' || s[0] == 'e' ||
           (s[0] && s[1] >= 'A' && s[1] <= 'Z' && s[2] != 'i');
}

Role insn_role(const Insn *in, unsigned n)
{
    const char *s = operand_text(in, n);
    if (!s || is_fixed(s)) {
        return ROLE_NONE;
    }
    switch (s[0]) {
    case 'G': case 'V': case 'P': case 'S': return ROLE_REG;
    case 'E': case 'W': case 'Q': case 'M': case 'R': case 'U': case 'N': return ROLE_RM;
    case 'B': case 'H': return ROLE_VVVV;
    case 'Z': return ROLE_OPCODE;
    case 'O': return ROLE_OFFSET;
    default: return ROLE_NONE;
    }
}

unsigned insn_imm_size(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        const char *s = operand_text(in, n);
        if (!s) {
            break;
        }
        if (s[0] == 's') {
            return 1;
        }
        if (s[0] == 'L') {
            return 1;
        }
        if (s[0] != 'I') {
            continue;
        }
        switch (s[1]) {
        case 'b': return 1;
        case 'w': return 2;
        case 'z': return in->opsize == 2 ? 2 : 4;
        default: return in->opsize;
        }
    }
    return 0;
}

bool insn_w_is_size(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        const char *s = operand_text(in, n);
        if (s && s[0] == 'E' && !is_word(s, "ES")) {
            return true;
        }
    }
    return in->op == OP_VPCMPESTRI || in->op == OP_VPCMPESTRM;
}

bool insn_has_is4(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        const char *s = operand_text(in, n);
        if (s && s[0] == 'L') {
            return true;
        }
    }
    return false;
}

/* Are all general registers that it writes among its operands? */
static bool writes_operands_only(const Insn *in)
{
    if (insn_rows[in->row].flags & (INSN_MMX | INSN_SSE | INSN_AVX)) {
        switch (in->op) {
        case OP_PCMPESTRI: case OP_PCMPISTRI: case OP_VPCMPESTRI: case OP_VPCMPISTRI: return false;
        default: return true;
        }
    }
    switch (in->op) {
    case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR:
    case OP_CMP: case OP_TEST: case OP_MOV: case OP_MOVZX: case OP_MOVSX: case OP_MOVSXD:
    case OP_LEA: case OP_INC: case OP_DEC: case OP_NEG: case OP_NOT: case OP_XCHG: case OP_XADD:
    case OP_CMOVCC: case OP_SETCC: case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: case OP_SHL:
    case OP_SHR: case OP_SAR: case OP_SHLD: case OP_SHRD: case OP_BT: case OP_BTS: case OP_BTR:
    case OP_BTC: case OP_BSF: case OP_BSR: case OP_POPCNT: case OP_LZCNT: case OP_TZCNT:
    case OP_BSWAP: case OP_MOVBE: case OP_JCC: case OP_NOP: case OP_ENDBR64:
    case OP_ANDN: case OP_BEXTR: case OP_BLSI: case OP_BLSMSK: case OP_BLSR: case OP_BZHI:
    case OP_PDEP: case OP_PEXT: case OP_RORX: case OP_SARX: case OP_SHLX: case OP_SHRX:
        return true;
    case OP_IMUL: return in->nr_opd > 1;
    default: return false;
    }
}

uint32_t insn_gpr_writes(const Insn *in)
{
    if (!writes_operands_only(in)) {
        return 0xffff;
    }
    uint32_t regs = 0;
    for (unsigned n = 0; n < in->nr_opd; n++) {
        const Operand *o = &in->opd[n];
        if ((o->kind == OPD_GPR || o->kind == OPD_GPR8H) && (o->access & OPD_W)) {
            regs |= 1u << o->reg;
        }
    }
    return regs;
}

uint32_t insn_flags_read(const Insn *in)
{
    static const uint16_t cond[8] = { FLAG_OF, FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_SF,
                                      FLAG_PF, FLAG_SF | FLAG_OF, FLAG_SF | FLAG_OF | FLAG_ZF };
    if (in->op == OP_JCC || in->op == OP_SETCC || in->op == OP_CMOVCC) {
        return cond[in->cond >> 1 & 7];
    }
    return insn_rows[in->row].flags_read;
}

uint32_t insn_flags_killed(const Insn *in)
{
    const InsnRow *r = &insn_rows[in->row];
    if (r->flags & INSN_REP) {
        return in->prefixes & (PFX_REP | PFX_REPNE) ? 0 : r->flags_written;
    }
    switch (in->op) {
    case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: case OP_SHL: case OP_SHR: case OP_SAR:
    case OP_SHLD: case OP_SHRD: {
        const Operand *n = &in->opd[in->nr_opd - 1];
        unsigned count = (unsigned)in->imm & (in->opd[0].size == 8 ? 63 : 31);
        /* RCL and RCR of a byte or word by a multiple of 9 or 17 count as 0 */
        bool rotate_cy = in->op == OP_RCL || in->op == OP_RCR;
        return n->kind == OPD_IMM && count && !rotate_cy ? r->flags_written : 0;
    }
    case OP_BSF: case OP_BSR: return FLAG_ZF | FLAG_CF | FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF;
    default: return r->flags_written;
    }
}
