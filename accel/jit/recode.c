/* SPDX-License-Identifier: GPL-2.0-or-later
 * A decoded instruction encoded again, as the host's own with other registers: guest registers in
 * the host's that stand for them, spilled ones in scratch registers or in their place in CpuState,
 * the memory operand wherever the caller has it.
 */
#include "accel/jit/recode.h"

/* ---- encoding a decoded instruction again ---- */

static bool is_vector_insn(const Insn *in)
{
    return insn_rows[in->row].flags & (INSN_MMX | INSN_SSE | INSN_AVX);
}

bool insn_has_high_byte(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        if (in->opd[n].kind == OPD_GPR8H) {
            return true;
        }
    }
    return false;
}

static bool has_byte_register(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        if (in->opd[n].kind == OPD_GPR && in->opd[n].size == 1) {
            return true;
        }
    }
    return false;
}

/* Prefixes and map of a legacy encoding. */
static unsigned legacy_op(const Translator *t, const Insn *in)
{
    unsigned op = in->opcode | (unsigned)in->map << 8;
    if (op == 0x82) {
        op = 0x80; /* its alias outside 64-bit mode */
    }
    if (is_vector_insn(in)) {
        op |= in->pp == 1 ? EM_66 : in->pp == 2 ? EM_F3 : in->pp == 3 ? EM_F2 : 0;
        op |= in->prefixes & PFX_REXW ? EM_W : 0;
    } else {
        op |= in->opsize == 2 ? EM_66 : in->opsize == 8 ? EM_W : 0;
        switch (in->op) {
        case OP_POPCNT: case OP_LZCNT: case OP_TZCNT: case OP_ADOX: op |= EM_F3; break;
        case OP_CRC32: op |= EM_F2; break;
        case OP_ADCX: op |= EM_66; break;
        default: break;
        }
    }
    op |= has_byte_register(in) ? EM_BYTE : 0;
    op |= insn_has_high_byte(in) ? EM_HIGH : 0;
    op |= (in->prefixes & PFX_LOCK) && !t->up ? EM_LOCK : 0;
    return op;
}

static void encode(Translator *t, const Insn *in, const Form *f)
{
    Emit *e = t->e;
    if (in->prefixes & PFX_VEX) {
        bool w = is_vector_insn(in) ? in->prefixes & PFX_VEX_W : in->opsize == 8;
        w = w && (t->cs64 || !insn_w_is_size(in));
        emit_vex(e, in->pp, in->map, w, in->prefixes & PFX_VEX_L, f->vvvv, in->opcode, f->reg,
                 f->rm);
    } else {
        emit_op(e, legacy_op(t, in), f->reg, f->rm);
    }
    unsigned n = insn_imm_size(in);
    memcpy(e->p, in->bytes + in->len - n, n);
    if (!t->cs64 && n == 1 && insn_has_is4(in)) {
        *e->p &= 0x7f;
    }
    e->p += n;
}

/* ---- operands ---- */

static bool is_gpr(const Operand *o)
{
    return o->kind == OPD_GPR;
}

/* Must the scratch register hold the old value? */
static bool wants_old(const Insn *in, const Operand *o)
{
    switch (in->op) {
    case OP_BSF: case OP_BSR: case OP_CMOVCC: return true;
    default: return (o->access & OPD_R) || o->size < 4;
    }
}

/* A register operand in ModRM.reg or vvvv. */
static bool plan_reg(Plan *p, const Insn *in, const Operand *o, unsigned scratch, unsigned *out)
{
    if (o->kind == OPD_GPR8H) {
        *out = o->reg + 4;
        return true;
    }
    if (!is_gpr(o)) {
        *out = o->reg;
        return o->kind == OPD_XMM || o->kind == OPD_YMM || o->kind == OPD_MM;
    }
    if (!is_spilled(o->reg)) {
        *out = host_reg(o->reg);
        return true;
    }
    for (unsigned i = 0; i < p->nr_spills; i++) {
        if (p->spill[i].scratch == scratch) {
            return false;
        }
    }
    p->spill[p->nr_spills++] = (Spill){ (uint8_t)scratch, o->reg, wants_old(in, o),
                                        (o->access & OPD_W) != 0 };
    *out = scratch;
    return true;
}

/* A register operand in ModRM.rm: a spilled one can often stay where it is. */
static bool plan_rm(Plan *p, const Insn *in, const Operand *o)
{
    if (is_gpr(o) && is_spilled(o->reg) && in->op != OP_XCHG && in->op != OP_CMPXCHG &&
        in->op != OP_XADD && in->op != OP_BT && in->op != OP_BTS && in->op != OP_BTR &&
        in->op != OP_BTC && !((o->access & OPD_W) && o->size == 4) && !is_vector_insn(in)) {
        p->f.rm = rm_gs(OFF_GPR(o->reg));
        return true;
    }
    unsigned reg;
    if (!plan_reg(p, in, o, S0, &reg)) {
        return false;
    }
    p->f.rm = rm_reg(reg);
    return true;
}

bool recode_plan(const Insn *in, const Rm *mem, Plan *p)
{
    *p = (Plan){ .f = { .reg = in->modrm >> 3 & 7 } };
    p->f.rm = mem ? *mem : rm_mem(S0, 0);
    for (unsigned n = 0; n < in->nr_opd; n++) {
        const Operand *o = &in->opd[n];
        bool ok = true;
        switch (insn_role(in, n)) {
        case ROLE_REG: ok = plan_reg(p, in, o, S1, &p->f.reg); break;
        case ROLE_VVVV: ok = plan_reg(p, in, o, S1, &p->f.vvvv); break;
        case ROLE_RM: ok = o->kind == OPD_MEM || plan_rm(p, in, o); break;
        case ROLE_OPCODE: case ROLE_OFFSET: return false;
        case ROLE_NONE: break;
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

void recode_emit(Translator *t, const Insn *in, const Plan *p)
{
    for (unsigned i = 0; i < p->nr_spills; i++) {
        if (p->spill[i].load) {
            emit_load(t->e, p->spill[i].scratch, rm_gs(OFF_GPR(p->spill[i].guest)));
        }
    }
    encode(t, in, &p->f);
    for (unsigned i = 0; i < p->nr_spills; i++) {
        if (p->spill[i].store) {
            emit_store(t->e, rm_gs(OFF_GPR(p->spill[i].guest)), p->spill[i].scratch);
        }
    }
}

const Operand *insn_mem(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        if (in->opd[n].kind == OPD_MEM) {
            return &in->opd[n];
        }
    }
    return NULL;
}

void recode_body(Translator *t, const Rm *mem)
{
    Plan p;
    recode_plan(t->in, mem, &p);
    recode_emit(t, t->in, &p);
}
