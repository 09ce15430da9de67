/* SPDX-License-Identifier: GPL-2.0-or-later
 * Memory operands that share a check. Several operands of a block with the same base register,
 * unchanged in between, differ by constants: the first of them is checked for the whole range that
 * they cover, the others take the slot's addend unchecked. 64-bit code with plain
 * [base + displacement] only.
 *
 * What makes it sound: from the first operand to the last nothing may happen that lets go of the
 * slot's page. Other vCPUs that take a permission away wait for a safepoint, of which there is none
 * within a block. So C must not be called in between: operands in that stretch whose page is not in
 * the Tlb leave the block before their instruction, which then begins a block of its own; and
 * instructions that call C end every stretch (share_end). A slot in use is no other operand's.
 *
 * If the range is not in one page, or not plain RAM, the interpreter executes the first operand's
 * instruction; a block where this is frequent is translated again with each operand checked.
 */
#include "accel/jit/translate.h"

static const Operand *shareable_operand(const Insn *in)
{
    if (in->adsize != 8 || in->seg >= SEG_FS || in->index != INSN_REG_NONE ||
        in->base == INSN_REG_NONE || in->base == INSN_REG_RIP || is_spilled(in->base) ||
        in->op == OP_LEA || in->op == OP_FLDCW) { /* whose body needs the flags saved */
        return NULL;
    }
    const Operand *m = NULL;
    for (unsigned n = 0; n < in->nr_opd; n++) {
        const Operand *o = &in->opd[n];
        if (o->kind == OPD_GPR8H) {
            return NULL;
        }
        if (o->kind == OPD_MEM && o->access && o->size && o->size <= 32) {
            m = o;
        }
    }
    return m;
}

void share_scan(Translator *t)
{
    unsigned id[REG_R15 + 1], next = 1;
    for (unsigned r = 0; r < ARRAY_SIZE(id); r++) {
        id[r] = next++;
    }
    t->nr_shares = 0;
    for (unsigned i = 0; i < t->nr_insns; i++) {
        const Insn *in = &t->insn[i];
        Access *a = &t->access[i];
        const Operand *m = t->may_share ? shareable_operand(in) : NULL;
        a->id = 0;
        if (m) {
            a->id = (uint16_t)id[in->base];
            a->write = m->access & OPD_W;
            a->lo = in->disp;
            a->hi = a->lo + m->size;
        }
        uint32_t writes = insn_gpr_writes(in);
        for (unsigned r = 0; writes; r++, writes >>= 1) {
            if (writes & 1) {
                id[r] = next++;
            }
        }
    }
}

/* ---- while code is emitted ---- */

void share_end(Translator *t)
{
    t->nr_shares = 0;
    t->in_s0 = NULL;
}

static bool is_everyday(const Insn *in)
{
    switch (in->op) {
    case OP_MOV: case OP_MOVZX: case OP_MOVSX: case OP_MOVSXD: case OP_CMOVCC: case OP_SETCC:
    case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR:
    case OP_CMP: case OP_TEST: case OP_INC: case OP_DEC: case OP_NEG: case OP_NOT: case OP_IMUL:
    case OP_SHL: case OP_SHR: case OP_SAR: case OP_ROL: case OP_ROR: case OP_JCC: return true;
    default: return false;
    }
}

/* Spilled registers need scratch registers; in memory operands those that may share a check have
 * S1 for them. */
void share_keep_s0(Translator *t)
{
    const Insn *in = t->in;
    bool keeps = is_everyday(in), memory = t->access[t->i].id;
    for (unsigned n = 0; keeps && n < in->nr_opd; n++) {
        const Operand *o = &in->opd[n];
        keeps = o->kind == OPD_IMM || o->kind == OPD_REL || (o->kind == OPD_MEM && memory) ||
                (o->kind == OPD_GPR && (memory || !is_spilled(o->reg)));
    }
    if (!keeps) {
        t->in_s0 = NULL;
    }
}

bool share_is_open(const Translator *t, const Share *other_than)
{
    for (unsigned n = 0; n < t->nr_shares; n++) {
        if (t->share[n].last > t->i && &t->share[n] != other_than) {
            return true;
        }
    }
    return false;
}

const Share *share_covers(const Translator *t, bool write)
{
    const Access *a = &t->access[t->i];
    for (unsigned n = 0; a->id && n < t->nr_shares; n++) {
        const Share *s = &t->share[n];
        if (s->id == a->id && s->last >= t->i && s->lo <= a->lo && a->hi <= s->hi &&
            (s->write || !write)) {
            return s;
        }
    }
    return NULL;
}

bool share_slot_taken(const Translator *t, unsigned slot, bool write)
{
    for (unsigned n = 0; n < t->nr_shares; n++) {
        const Share *s = &t->share[n];
        if (!s->roams && s->last >= t->i && s->slot == slot && s->write == write) {
            return true;
        }
    }
    return false;
}

/* Behind a write all share its permission; a read must not ask for one that it does not need. */
const Share *share_begin(Translator *t, unsigned slot, bool write)
{
    const Access *a = &t->access[t->i];
    if (!a->id || a->write != write) {
        return NULL;
    }
    Share s = { .id = a->id, .write = write, .roams = roams(t, write), .span = -1, .slot = slot,
                .last = t->i, .lo = a->lo, .hi = a->hi };
    for (unsigned i = t->i + 1; i < t->nr_insns; i++) {
        const Access *b = &t->access[i];
        if (b->id != s.id) {
            continue;
        }
        if (b->write && !write) {
            break;
        }
        int64_t lo = MIN(s.lo, b->lo), hi = MAX(s.hi, b->hi);
        if (hi - lo > SHARE_MAX_SPAN || lo != (int32_t)lo || hi != (int32_t)hi) {
            continue; /* has a check of its own */
        }
        s.lo = lo;
        s.hi = hi;
        s.last = i;
    }
    if (s.last == t->i) {
        return NULL;
    }
    s.span = s.roams ? span_of(t, write) : -1;
    Share *place = NULL;
    for (unsigned n = 0; !place && n < t->nr_shares; n++) {
        place = t->share[n].last <= t->i ? &t->share[n] : NULL;
    }
    if (!place) {
        if (t->nr_shares == MAX_SHARES) {
            return NULL;
        }
        place = &t->share[t->nr_shares++];
    }
    *place = s;
    return place;
}

/* ---- blocks that had better not ---- */

static uint8_t *lost_count(Jit *j, uint64_t gpa, uint32_t mode)
{
    return &j->share_lost[(gpa ^ gpa >> 13 ^ mode) % ARRAY_SIZE(j->share_lost)];
}

bool share_pays(Jit *j, uint64_t gpa, uint32_t mode)
{
    return __atomic_load_n(lost_count(j, gpa, mode), __ATOMIC_RELAXED) < UINT8_MAX;
}

bool share_note_lost(Jit *j, uint64_t gpa, uint32_t mode)
{
    uint8_t *n = lost_count(j, gpa, mode);
    uint8_t was = __atomic_load_n(n, __ATOMIC_RELAXED);
    if (was < UINT8_MAX) {
        __atomic_store_n(n, was + 1, __ATOMIC_RELAXED);
    }
    return was == UINT8_MAX - 1;
}
