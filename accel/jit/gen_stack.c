/* SPDX-License-Identifier: GPL-2.0-or-later
 * PUSH, POP, LEAVE, and runs of them: what a function's first and last instructions do.
 */
#include "accel/jit/translate.h"

unsigned stack_operand(const Translator *t)
{
    return t->cs64 && t->in->opsize != 8 ? 0 : t->in->opsize;
}

void move_stack(Translator *t, unsigned base, int32_t by)
{
    unsigned width = t->cs64 ? EM_W : t->mode & MODE_SS32 ? 0 : EM_66;
    emit_op(t->e, width | 0x8d, H_RSP, rm_mem(base, by)); /* lea: SP alone keeps what is above it */
}

static void body_push(Translator *t, const Rm *mem)
{
    Emit *e = t->e;
    const Operand *o = &t->in->opd[0];
    unsigned size = t->in->opsize, prefix = size_prefix(size);
    if (o->kind == OPD_IMM) {
        emit_op(e, prefix | 0xc7, 0, *mem);
        if (size == 2) {
            emit16(e, (unsigned)t->in->imm & 0xffff);
        } else {
            emit32(e, (uint32_t)t->in->imm);
        }
    } else if (o->kind == OPD_SEG) {
        emit_op(e, EM_0F | 0xb7, S1, rm_gs(OFF(seg[o->reg].sel))); /* movzx */
        emit_op(e, (size == 8 ? EM_W : EM_66) | 0x89, S1, *mem);
    } else if (o->kind == OPD_MEM) {
        emit_load(e, S1, rm_gs(OFF_WORD(JW_TMP)));
        emit_op(e, prefix | 0x89, S1, *mem);
    } else if (is_spilled(o->reg)) {
        emit_load(e, S1, rm_gs(OFF_GPR(o->reg)));
        emit_op(e, prefix | 0x89, S1, *mem);
    } else {
        emit_op(e, prefix | 0x89, host_reg(o->reg), *mem);
    }
    move_stack(t, H_RSP, -(int32_t)size);
}

static void body_load_tmp(Translator *t, const Rm *mem)
{
    emit_op(t->e, size_prefix(t->in->opsize) | 0x8b, S1, *mem);
    emit_store(t->e, rm_gs(OFF_WORD(JW_TMP)), S1);
}

static bool gen_push(Translator *t)
{
    unsigned size = stack_operand(t), bytes = size;
    const Operand *o = &t->in->opd[0];
    switch (size ? o->kind : OPD_NONE) {
    case OPD_GPR: case OPD_IMM: break;
    case OPD_MEM: gen_access(t, size, MEM_READ, 0, body_load_tmp); break;
    case OPD_SEG: bytes = size == 4 ? 2 : size; break; /* as exec_PUSH() */
    default: return false;
    }
    gen_access_stack(t, H_RSP, -(int32_t)size, bytes, MEM_WRITE, body_push);
    return true;
}

static void body_pop(Translator *t, const Rm *mem)
{
    Emit *e = t->e;
    const Operand *o = &t->in->opd[0];
    unsigned size = t->in->opsize, load = size_prefix(size) | 0x8b;
    if (o->reg == REG_RSP) {
        emit_op(e, load, S1, *mem);
        move_stack(t, H_RSP, (int32_t)size);
        emit_op(e, load, H_RSP, rm_reg(S1));
        return;
    }
    if (is_spilled(o->reg)) {
        emit_op(e, load, S1, *mem);
        emit_store(e, rm_gs(OFF_GPR(o->reg)), S1);
    } else {
        emit_op(e, load, host_reg(o->reg), *mem);
    }
    move_stack(t, H_RSP, (int32_t)size);
}

static bool gen_pop(Translator *t)
{
    unsigned size = stack_operand(t);
    if (!size || t->in->opd[0].kind != OPD_GPR) {
        return false;
    }
    gen_access_stack(t, H_RSP, 0, size, MEM_READ, body_pop);
    return true;
}

static void body_leave(Translator *t, const Rm *mem)
{
    unsigned load = size_prefix(t->in->opsize) | 0x8b;
    emit_op(t->e, load, S1, *mem);
    move_stack(t, RBP, t->in->opsize);
    emit_op(t->e, load, RBP, rm_reg(S1));
}

static bool gen_leave(Translator *t)
{
    unsigned size = stack_operand(t);
    if (!size) {
        return false;
    }
    gen_access_stack(t, RBP, 0, size, MEM_READ, body_leave);
    return true;
}

bool gen_stack(Translator *t)
{
    switch (t->in->op) {
    case OP_PUSH: return gen_push(t);
    case OP_POP: return gen_pop(t);
    default: return gen_leave(t);
    }
}

/* ---- runs ---- */

typedef enum RunPart { PART_NONE, PART_STACK, PART_BETWEEN, PART_RETURN } RunPart;

/* Moves between registers that have their own, RSP left out: they need no scratch register. */
static bool is_between(const Insn *in)
{
    const Operand *d = &in->opd[0], *s = &in->opd[1];
    if (in->op != OP_MOV || d->kind != OPD_GPR || d->size < 4 || is_spilled(d->reg) ||
        d->reg == REG_RSP) {
        return false;
    }
    return s->kind == OPD_IMM || (s->kind == OPD_GPR && !is_spilled(s->reg) && s->reg != REG_RSP);
}

static RunPart part_of(const Insn *in, unsigned op)
{
    if (in->op == op && in->opsize == 8 && in->opd[0].kind == OPD_GPR &&
        in->opd[0].reg != REG_RSP) {
        return PART_STACK;
    }
    if (op == OP_POP && in->op == OP_RET && in->opsize == 8 && !in->nr_opd) {
        return PART_RETURN;
    }
    return is_between(in) ? PART_BETWEEN : PART_NONE;
}

/* Instructions of the run that starts at t->i; *words: of stack. */
static unsigned run_length(const Translator *t, unsigned op, unsigned *words, bool *returns)
{
    unsigned n = 0;
    *words = 0;
    *returns = false;
    for (unsigned i = t->i; i < t->nr_insns && !*returns; i++) {
        RunPart part = part_of(&t->insn[i], op);
        if (part == PART_NONE) {
            break;
        }
        if (part != PART_BETWEEN) {
            ++*words;
            n = i + 1 - t->i;
        }
        *returns = part == PART_RETURN;
    }
    return n;
}

static void run_push(Translator *t, int32_t at, unsigned reg)
{
    if (is_spilled(reg)) {
        emit_load(t->e, S1, rm_gs(OFF_GPR(reg)));
    }
    emit_store(t->e, rm_sib(H_RSP, S0, 0, at), is_spilled(reg) ? S1 : host_reg(reg));
}

static void run_pop(Translator *t, int32_t at, unsigned reg)
{
    emit_load(t->e, is_spilled(reg) ? S1 : host_reg(reg), rm_sib(H_RSP, S0, 0, at));
    if (is_spilled(reg)) {
        emit_store(t->e, rm_gs(OFF_GPR(reg)), S1);
    }
}

/* The usual way, one by one: some of it is not in the stack's page. */
void gen_cold_run(Translator *t, Cold *c)
{
    emit_link_here(t->e, c->from);
    for (unsigned n = 0; n < c->count; n++) {
        t->i = c->insn + n;
        t->in = &t->insn[t->i];
        t->flags = FLAGS_MEMORY;
        note_place(t, t->tb->nr_places++);
        switch (t->in->op) {
        case OP_PUSH: case OP_POP: gen_stack(t); break;
        case OP_RET:
            gen_access_stack(t, H_RSP, 0, 8, MEM_READ, body_load_s0);
            move_stack(t, H_RSP, 8);
            break;
        default:
            if (!gen_special(t) && !gen_plain(t)) {
                t->failed = true;
            }
        }
    }
    emit_jmp_to(t->e, c->after);
}

unsigned gen_stack_run(Translator *t)
{
    Emit *e = t->e;
    unsigned op = t->in->op, words, first = t->i;
    bool returns;
    if (!t->cs64 || !t->j->use_table || (op != OP_PUSH && op != OP_POP) ||
        part_of(t->in, op) != PART_STACK) {
        return 0;
    }
    unsigned n = run_length(t, op, &words, &returns);
    if (words < 2) {
        return 0;
    }
    int32_t bytes = 8 * (int32_t)words, at = 0;
    flags_clobber(t, t->live[first]);
    uint8_t *split = gen_stack_check(t, op == OP_PUSH ? -bytes : 0, (unsigned)bytes, op == OP_PUSH);
    Cold *c = new_cold(t, COLD_RUN, split);
    c->count = n;
    for (unsigned i = 0; i < n; i++) {
        t->i = first + i;
        t->in = &t->insn[t->i];
        t->tb->insns[t->i] = t->tb->insns[first]; /* a fault is the first one's */
        switch (part_of(t->in, op)) {
        case PART_STACK:
            at += op == OP_PUSH ? -8 : 8;
            if (op == OP_PUSH) {
                run_push(t, at, t->in->opd[0].reg);
            } else {
                run_pop(t, at - 8, t->in->opd[0].reg);
            }
            break;
        case PART_RETURN: emit_load(e, S0, rm_sib(H_RSP, S0, 0, at)); break;
        default:
            if (!gen_special(t) && !gen_plain(t)) {
                t->failed = true;
            }
        }
    }
    move_stack(t, H_RSP, op == OP_PUSH ? -bytes : bytes);
    c->after = e->p;
    if (returns) {
        gen_return_to_s0(t, 8);
    }
    t->i = first;
    t->in = &t->insn[first];
    return n;
}
