/* SPDX-License-Identifier: GPL-2.0-or-later
 * General-purpose instructions: those that are the host's own with other registers (recode.c), and
 * those that need a sequence of their own.
 */
#include "accel/interp/interp.h"
#include "accel/jit/recode.h"

static uint32_t access_of(const Translator *t, const Operand *m)
{
    uint32_t access = (m->access & OPD_W ? MEM_WRITE : 0) | (m->access & OPD_R ? MEM_READ : 0);
    bool lock = (t->in->prefixes & PFX_LOCK && !t->up) || t->in->op == OP_XCHG;
    return access | (lock ? MEM_LOCK : 0);
}

/* The high byte register's own register turned by 8 bits, so that a REX prefix may be there. */
static void body_high_byte(Translator *t, const Rm *mem)
{
    Insn in = *t->in;
    unsigned reg = 0;
    for (unsigned n = 0; n < in.nr_opd; n++) {
        if (in.opd[n].kind == OPD_GPR8H) {
            reg = in.opd[n].reg;
            in.opd[n].kind = OPD_GPR;
        }
    }
    Plan p;
    recode_plan(&in, mem, &p);
    emit_op(t->e, EM_0F | 0xb6, S1, *mem); /* movzx: what faults does so before the register moves */
    emit_rorx(t->e, true, reg, reg, 8);
    recode_emit(t, &in, &p);
    emit_rorx(t->e, true, reg, reg, 56);
}

/* May the high byte registers be encoded as they are? */
static bool high_byte_ok(const Translator *t, const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        const Operand *o = &in->opd[n];
        if (o->kind == OPD_GPR && (o->reg >= 8 || (o->size == 1 && o->reg >= 4) || o->reg == REG_RSP)) {
            return false;
        }
    }
    (void)t;
    return true;
}

static bool is_plain(const Insn *in)
{
    switch (in->op) {
    case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR:
    case OP_CMP: case OP_INC: case OP_DEC: case OP_NEG: case OP_NOT: case OP_TEST: case OP_MUL:
    case OP_IMUL: case OP_MOVZX: case OP_MOVSX: case OP_MOVSXD: case OP_XCHG: case OP_XADD:
    case OP_CMPXCHG: case OP_MOVBE: case OP_CMOVCC: case OP_SETCC: case OP_ROL: case OP_ROR:
    case OP_RCL: case OP_RCR: case OP_SHL: case OP_SHR: case OP_SAR: case OP_SHLD: case OP_SHRD:
    case OP_BT: case OP_BTS: case OP_BTR: case OP_BTC: case OP_BSF: case OP_BSR: case OP_POPCNT:
    case OP_LZCNT: case OP_TZCNT: case OP_CRC32: case OP_ADCX: case OP_ADOX: case OP_ANDN:
    case OP_BEXTR: case OP_BLSI: case OP_BLSMSK: case OP_BLSR: case OP_BZHI: case OP_MULX:
    case OP_PDEP: case OP_PEXT: case OP_RORX: case OP_SARX: case OP_SHLX: case OP_SHRX:
        return true;
    case OP_MOV:
        return in->opd[0].kind != OPD_SEG && in->opd[1].kind != OPD_SEG;
    default: return false;
    }
}

/* Does the memory operand lie elsewhere than its address says? */
static bool is_bit_string(const Insn *in)
{
    bool bit = in->op == OP_BT || in->op == OP_BTS || in->op == OP_BTR || in->op == OP_BTC;
    return bit && in->opd[0].kind == OPD_MEM && in->opd[1].kind != OPD_IMM;
}

bool has_own_handler(const Insn *in)
{
    const Operand *m = insn_mem(in);
    return is_plain(in) && m && (m->access & OPD_W);
}

bool gen_plain(Translator *t)
{
    const Insn *in = t->in;
    Plan p;
    if (!is_plain(in) || !in->has_modrm || is_bit_string(in) || !recode_plan(in, NULL, &p)) {
        return false;
    }
    const Operand *m = insn_mem(in);
    bool high = insn_has_high_byte(in);
    uint32_t need = flags_needed(t);
    if (m && p.nr_spills && p.spill[0].scratch == S0) {
        return false;
    }
    if (high && !m && !high_byte_ok(t, in)) {
        return false;
    }
    if (in->op == OP_XADD && !m && in->opd[0].reg == in->opd[1].reg) {
        return false; /* which result stays depends on the order of storing */
    }
    if (m) {
        if (in->op == OP_CMPXCHG && in->opd[1].kind == OPD_GPR8H && in->opd[1].reg == REG_RAX) {
            return false; /* AH cannot be turned: AL is compared */
        }
        gen_access(t, m->size, access_of(t, m), need, high ? body_high_byte : recode_body);
    } else {
        flags_restore(t, need);
        recode_emit(t, in, &p);
    }
    if (insn_rows[in->row].flags_written) {
        t->flags = FLAGS_HOST;
    }
    return true;
}

/* ---- the special ones ---- */

static void gen_raw(Translator *t, bool rex_w)
{
    Emit *e = t->e;
    const Insn *in = t->in;
    if (in->opsize == 2) {
        emit8(e, 0x66);
    }
    if (rex_w && in->opsize == 8) {
        emit8(e, 0x48);
    }
    emit8(e, in->opcode);
}

/* op AL, imm8 and op rAX, imm */
static bool gen_accumulator(Translator *t)
{
    const Insn *in = t->in;
    flags_restore(t, flags_needed(t));
    gen_raw(t, true);
    uint64_t imm = (uint64_t)in->imm;
    unsigned n = in->opcode & 1 ? (in->opsize == 2 ? 2 : 4) : 1;
    memcpy(t->e->p, &imm, n);
    t->e->p += n;
    t->flags = FLAGS_HOST;
    return true;
}

static bool gen_mov_imm(Translator *t)
{
    Emit *e = t->e;
    const Operand *o = &t->in->opd[0];
    uint64_t imm = (uint64_t)t->in->imm;
    if (o->kind == OPD_GPR8H) {
        emit8(e, 0xb4 + o->reg);
        emit8(e, (unsigned)imm);
        return true;
    }
    unsigned reg = is_spilled(o->reg) ? S0 : host_reg(o->reg);
    if (o->size < 4) {
        Rm rm = is_spilled(o->reg) ? rm_gs(OFF_GPR(o->reg)) : rm_reg(reg);
        emit_op(e, o->size == 2 ? EM_66 | 0xc7 : EM_BYTE | 0xc6, 0, rm);
        if (o->size == 2) {
            emit16(e, (unsigned)imm & 0xffff);
        } else {
            emit8(e, (unsigned)imm & 0xff);
        }
        return true;
    }
    emit_mov_imm64(e, reg, o->size == 4 ? (uint32_t)imm : imm);
    if (is_spilled(o->reg)) {
        emit_store(e, rm_gs(OFF_GPR(o->reg)), S0);
    }
    return true;
}

/* Short forms with the register in the opcode: INC, DEC, XCHG with rAX, BSWAP. */
static bool gen_opcode_register(Translator *t)
{
    Emit *e = t->e;
    const Insn *in = t->in;
    const Operand *o = &in->opd[0];
    bool spilled = is_spilled(o->reg);
    unsigned reg = spilled ? S0 : host_reg(o->reg);
    if (in->op == OP_BSWAP && o->size == 2) {
        return false;
    }
    flags_restore(t, flags_needed(t));
    if (spilled) {
        emit_load(e, S0, rm_gs(OFF_GPR(o->reg)));
    }
    switch (in->op) {
    case OP_INC: emit_op(e, size_prefix(o->size) | 0xff, 0, rm_reg(reg)); break;
    case OP_DEC: emit_op(e, size_prefix(o->size) | 0xff, 1, rm_reg(reg)); break;
    case OP_XCHG: emit_op(e, size_prefix(o->size) | 0x87, RAX, rm_reg(reg)); break;
    default:
        emit8(e, (o->size == 8 ? 0x48 : 0x40) | reg >> 3);
        emit8(e, 0x0f);
        emit8(e, 0xc8 | (reg & 7));
    }
    if (spilled) {
        emit_store(e, rm_gs(OFF_GPR(o->reg)), S0);
    }
    if (insn_rows[in->row].flags_written) {
        t->flags = FLAGS_HOST;
    }
    return true;
}

static bool gen_lea(Translator *t)
{
    Emit *e = t->e;
    const Insn *in = t->in;
    const Operand *o = &in->opd[0];
    Rm ea;
    if (!guest_address(t, &ea)) {
        return false;
    }
    bool spilled = is_spilled(o->reg);
    unsigned dst = spilled || o->size == 2 ? S0 : host_reg(o->reg);
    if (in->adsize == 8 && o->size == 8) {
        emit_lea(e, dst, ea);
    } else {
        emit_lea32(e, dst, ea);
    }
    if (in->adsize == 2) {
        emit_movzx16(e, dst, dst);
    }
    if (o->size == 2) {
        emit_op(e, EM_66 | 0x89, S0, spilled ? rm_gs(OFF_GPR(o->reg)) : rm_reg(host_reg(o->reg)));
    } else if (spilled) {
        emit_store(e, rm_gs(OFF_GPR(o->reg)), S0);
    }
    return true;
}

/* MOV between rAX and an absolute address. */
static void body_offset(Translator *t, const Rm *mem)
{
    const Insn *in = t->in;
    bool store = in->opcode & 2;
    unsigned op = (in->opcode & 1 ? size_prefix(in->opsize) | 1 : 0) | (store ? 0x88 : 0x8a);
    emit_op(t->e, op, RAX, *mem);
}

static bool gen_offset(Translator *t)
{
    const Operand *m = insn_mem(t->in);
    if (!m || t->in->disp != (int32_t)t->in->disp) {
        return false;
    }
    gen_access(t, m->size, access_of(t, m), 0, body_offset);
    return true;
}

/* ---- division: what would fault goes to the function ---- */

static bool divide_to_function(Translator *t, uint8_t *jump[], unsigned n, uint8_t *after)
{
    JitExec *x = jit_alloc(t->j, sizeof(*x));
    if (!x) {
        return false;
    }
    *x = (JitExec){ .fn = insn_function(t->in), .off = page_off(t, t->off[t->i]), .insn = *t->in };
    for (unsigned i = 0; i < n; i++) {
        Cold *c = new_cold(t, COLD_EXEC, jump[i]);
        c->exec = x;
        c->after = after;
        c->again = t->vectors ? after : NULL;
    }
    return x->fn;
}

static void body_divisor(Translator *t, const Rm *mem)
{
    emit_op(t->e, size_prefix(t->in->opd[0].size) | 0x8b, S0, *mem);
}

static bool gen_divide(Translator *t)
{
    Emit *e = t->e;
    const Insn *in = t->in;
    const Operand *o = &in->opd[0];
    unsigned size = o->size, w = size_prefix(size), src = S0;
    if ((o->kind != OPD_GPR && o->kind != OPD_MEM) || size < 4) {
        return false;
    }
    if (o->kind == OPD_MEM) {
        gen_access(t, size, MEM_READ, 0, body_divisor);
    } else if (is_spilled(o->reg)) {
        emit_load(e, S0, rm_gs(OFF_GPR(o->reg)));
    } else {
        src = host_reg(o->reg);
    }
    flags_clobber(t, 0); /* undefined afterwards */
    uint8_t *bad[2];
    unsigned n = 0;
    if (in->op == OP_DIV) { /* the quotient fits if the high half is below the divisor */
        emit_alu(e, w, A_CMP, RDX, rm_reg(src));
        bad[n++] = emit_jcc(e, CC_AE);
    } else { /* certain to fit: a sign-extended dividend, and neither 0 nor -1 */
        emit_lea(e, S1, rm_mem(src, 1));
        emit_alu_imm(e, w, A_CMP, rm_reg(S1), 1);
        bad[n++] = emit_jcc(e, CC_BE);
        emit_op(e, w | 0x8b, S1, rm_reg(RAX));
        emit_op(e, w | 0xc1, 7, rm_reg(S1)); /* sar */
        emit8(e, size * 8 - 1);
        emit_alu(e, w, A_CMP, S1, rm_reg(RDX));
        bad[n++] = emit_jcc(e, CC_NE);
    }
    emit_op(e, w | 0xf7, in->op == OP_DIV ? 6 : 7, rm_reg(src));
    /* Both ways leave undefined flags; the function's are in memory. */
    flags_clobber(t, 0);
    return divide_to_function(t, bad, n, e->p);
}

/* ---- the kernel's everyday instructions ---- */

bool is_inline_system(const Translator *t, const Insn *in)
{
    bool kernel = (t->mode & MODE_PE) && !(t->mode & MODE_CPL);
    switch (in->op) {
    case OP_CLI: case OP_STI: return kernel;
    case OP_SWAPGS: return kernel && t->cs64;
    default: return false;
    }
}

static bool gen_cli(Translator *t)
{
    flags_clobber(t, t->live[t->i + 1]);
    emit_alu_imm(t->e, 0, A_AND, rm_gs(OFF(eflags)), ~FLAG_IF);
    return true;
}

/* Interrupts stay out until the next instruction is through: nothing is polled in between, and one
 * that waits already is left to the function. */
static bool gen_sti(Translator *t)
{
    Emit *e = t->e;
    if (t->i + 1 == t->nr_insns) {
        return gen_exec(t);
    }
    flags_clobber(t, t->live[t->i + 1]);
    JitExec *x = new_exec(t);
    if (!x) {
        return false;
    }
    emit_alu_imm(e, 0, A_CMP, rm_gs(OFF(request)), 0);
    Cold *c = new_cold(t, COLD_EXEC_END, emit_jcc(e, CC_NE));
    c->exec = x;
    emit_alu_imm(e, 0, A_OR, rm_gs(OFF(eflags)), FLAG_IF);
    return true;
}

static bool gen_swapgs(Translator *t)
{
    Emit *e = t->e;
    Rm base = rm_gs(OFF(seg[SEG_GS].base)), other = rm_gs(OFF(kernel_gs_base));
    emit_load(e, S0, base);
    emit_load(e, S1, other);
    emit_store(e, base, S1);
    emit_store(e, other, S0);
    return true;
}

/* The host's own: reg is what its ModRM has to tell it. */
static void gen_fence(Translator *t, unsigned reg)
{
    emit_op(t->e, EM_0F | 0xae, reg, rm_reg(RAX));
}

bool gen_special(Translator *t)
{
    const Insn *in = t->in;
    if (is_inline_system(t, in)) {
        return in->op == OP_CLI ? gen_cli(t) : in->op == OP_STI ? gen_sti(t) : gen_swapgs(t);
    }
    switch (in->op) {
    case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR:
    case OP_CMP: case OP_TEST:
        return !in->has_modrm && gen_accumulator(t);
    case OP_INC: case OP_DEC: case OP_XCHG: case OP_BSWAP:
        return !in->has_modrm && gen_opcode_register(t);
    case OP_MOV:
        if (in->has_modrm) {
            return false;
        }
        return in->opd[1].kind == OPD_IMM ? gen_mov_imm(t) : gen_offset(t);
    case OP_LEA: return gen_lea(t);
    case OP_PUSH: case OP_POP: case OP_LEAVE: return gen_stack(t);
    case OP_DIV: case OP_IDIV: return gen_divide(t);
    case OP_CBW: case OP_CWD: gen_raw(t, true); return true;
    case OP_LAHF:
        flags_restore(t, FLAG_ARITH);
        emit8(t->e, 0x9f);
        return true;
    case OP_SAHF: case OP_CLC: case OP_STC: case OP_CMC:
        flags_restore(t, flags_needed(t));
        emit8(t->e, in->opcode);
        t->flags = FLAGS_HOST;
        return true;
    case OP_LFENCE: gen_fence(t, 5); return true;
    case OP_MFENCE: gen_fence(t, 6); return true;
    case OP_SFENCE: gen_fence(t, 7); return true;
    case OP_NOP: case OP_ENDBR32: case OP_ENDBR64: case OP_PREFETCH: case OP_PREFETCHW:
    case OP_PREFETCHNTA: case OP_PREFETCHT0: case OP_PREFETCHT1: case OP_PREFETCHT2:
        return true;
    default: return false;
    }
}
