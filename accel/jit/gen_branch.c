/* SPDX-License-Identifier: GPL-2.0-or-later
 * Leaving a block. A branch into its own page is chained: the jump is patched when the target has
 * been translated (the page's mapping is the block's own, so nothing can change in between). All
 * others look into the vCPU's jump cache, whose tag stands for mode and address space.
 *
 * Outside 64-bit mode and flat segments each block checks at its entry that its bytes and the targets
 * of its direct branches are within CS's limit (translate.c), the others check theirs; what is not
 * goes on in the interpreter, before the branch. In 16-bit code the limit is 64 KiB at most, so that
 * the instruction pointer need not be cut to 16 bits.
 */
#include "accel/jit/jumps.h"
#include "accel/jit/translate.h"

static bool same_page(const Translator *t, int64_t delta)
{
    int64_t at = (int64_t)t->page_at + delta;
    return at >= 0 && at < PAGE_SIZE;
}

/* ---- chained exits ---- */

static uint8_t *emit_aligned_jmp(Emit *e)
{
    emit_align(e, 4, 1);
    return emit_jmp(e);
}

static void emit_poll(Translator *t, int64_t delta)
{
    emit_alu_imm(t->e, EM_W, A_CMP, rm_gs(OFF(jump_tag)), 0); /* 0 after a request */
    new_cold(t, COLD_LEAVE, emit_jcc(t->e, CC_E))->delta = (int32_t)delta;
}

static TbExit *new_exit(Translator *t, int64_t delta)
{
    if (t->nr_exits == t->max_exits) {
        t->failed = true;
        return &t->exits[0];
    }
    TbExit *x = &t->exits[t->nr_exits++];
    *x = (TbExit){ .from = t->tb, .at = (uint16_t)page_off(t, delta) };
    return x;
}

static void chained_exit(Translator *t, int64_t delta, bool poll)
{
    Emit *e = t->e;
    TbExit *x = new_exit(t, delta);
    bool save = t->flags == FLAGS_HOST;
    uint8_t *to_cold = NULL;
    if (save && poll) { /* which destroys them */
        /* 5 bytes within 8 aligned ones */
        while (((uintptr_t)e->p & 7) > 3) {
            emit_nops(e, 8 - ((uintptr_t)e->p & 7));
        }
        x->gate = e->p;
        to_cold = emit_jmp(e);
    }
    Cold *c = new_cold(t, save ? COLD_SAVE_EXIT : COLD_EXIT, to_cold);
    c->exit = x;
    c->delta = (int32_t)delta;
    c->poll = poll;
    if (poll) {
        emit_poll(t, delta);
    }
    x->direct = emit_aligned_jmp(e);
}

/* A conditional jump that is patched itself. */
static void chained_jcc(Translator *t, unsigned cond, int64_t delta)
{
    TbExit *x = new_exit(t, delta);
    emit_align(t->e, 4, 2);
    x->direct = emit_jcc(t->e, cond);
    Cold *c = new_cold(t, t->flags == FLAGS_HOST ? COLD_SAVE_EXIT : COLD_EXIT, NULL);
    c->exit = x;
    c->delta = (int32_t)delta;
    c->poll = false;
}

void gen_cold_exit(Translator *t, Cold *c)
{
    Emit *e = t->e;
    TbExit *x = c->exit;
    if (c->kind == COLD_SAVE_EXIT) {
        x->saved_code = e->p;
        emit_link_here(e, x->gate ? c->from : x->direct);
        t->flags = FLAGS_HOST;
        flags_clobber(t, FLAG_ARITH);
        if (c->poll) {
            emit_mov_imm32(e, S1, x->at);
            emit_alu_imm(e, EM_W, A_CMP, rm_gs(OFF(jump_tag)), 0);
            emit_jcc_to(e, CC_E, t->j->stubs.leave_at);
        }
        x->saved = emit_aligned_jmp(e);
    }
    x->unlinked = e->p;
    emit_link(x->saved ? x->saved : x->direct, e->p);
    if (x->gate) {
        emit_link(x->direct, e->p);
    }
    emit_mov_imm64(e, S1, (uintptr_t)&t->tb->exits[x - t->exits]);
    emit_jmp_to(e, t->j->stubs.leave_link);
}

/* ---- exits to other pages ---- */

/* 10 bytes, whose immediate can be stored at once. Returns its address. */
static uint64_t *emit_patched_imm64(Emit *e, unsigned reg, uint64_t v)
{
    emit_align(e, 8, 2);
    emit8(e, 0x49); /* mov, r8 to r15 */
    emit8(e, 0xb8 | (reg & 7));
    emit64(e, v);
    return (uint64_t *)(e->p - 8);
}

/* The target's mapping is not the block's own: the jump holds while the vCPU is in the address space
 * and mode that jump_tag stands for, and the block in the same page. Flags are in memory. */
static void far_exit(Translator *t, int64_t delta)
{
    Emit *e = t->e;
    const Rm page = rm_gs(OFF_WORD(JW_PAGE));
    TbExit *x = new_exit(t, delta);
    x->far = page_off(t, delta);
    x->at = x->far & (PAGE_SIZE - 1);
    x->tag = emit_patched_imm64(e, S1, JUMP_NONE);
    emit_alu(e, EM_W, A_CMP, S1, rm_gs(OFF(jump_tag)));
    Cold *c = new_cold(t, COLD_FAR, emit_jcc(e, CC_NE));
    x->page = emit_patched_imm64(e, S0, 0);
    emit_alu(e, EM_W, A_CMP, S0, page);
    c->from2 = emit_jcc(e, CC_NE);
    emit_lea(e, S0, rm_mem(S0, x->far - x->at));
    emit_store(e, page, S0);
    x->direct = emit_aligned_jmp(e);
    c->exit = x;
    c->delta = (int32_t)delta;
}

void gen_cold_far(Translator *t, Cold *c)
{
    Emit *e = t->e;
    TbExit *x = c->exit;
    emit_link_here(e, c->from);
    emit_link_here(e, c->from2);
    emit_rip(t, S0, c->delta);
    emit_mov_imm64(e, S1, (uintptr_t)&t->tb->exits[x - t->exits]);
    emit_jmp_to(e, t->j->stubs.far);
    /* The target was dropped just now; JW_PAGE is its page's. */
    x->unlinked = e->p;
    emit_link(x->direct, e->p);
    emit_mov_imm32(e, S1, x->at);
    emit_jmp_to(e, t->j->stubs.leave_at);
}

/* ---- the jump cache ---- */

/* Looks for the linear address in S0. Not there: miss[0] has it in S0 still, miss[1] in the entry
 * that S1 points to. flat: it is RIP, too; else JW_TMP has that. */
static void emit_lookup(Emit *e, bool flat, uint8_t *miss[2])
{
    const Rm page = rm_gs(OFF_WORD(JW_PAGE)), lin = rm_mem(S1, offsetof(JumpEntry, lin));
    emit_rorx(e, true, S1, S0, JUMP_BITS);
    emit_alu(e, 0, A_XOR, S1, rm_reg(S0));
    emit_alu_imm(e, 0, A_AND, rm_reg(S1), NR_JUMPS - 1);
    emit_op(e, 0xc1, 4, rm_reg(S1)); /* shl */
    emit8(e, 5);
    _Static_assert(sizeof(JumpEntry) == 32, "");
    emit_alu(e, EM_W, A_ADD, S1, rm_gs(OFF_WORD(JW_JUMPS)));
    emit_alu(e, EM_W, A_CMP, S0, lin);
    miss[0] = emit_jcc(e, CC_NE);
    emit_load(e, S0, rm_gs(OFF(jump_tag)));
    emit_alu(e, EM_W, A_CMP, S0, rm_mem(S1, offsetof(JumpEntry, tag)));
    miss[1] = emit_jcc(e, CC_NE);
    if (flat) {
        emit_load(e, S0, rm_mem(S1, offsetof(JumpEntry, page)));
    } else {
        emit_load(e, S0, lin);
        emit_alu_imm(e, 0, A_AND, rm_reg(S0), PAGE_SIZE - 1);
        emit_op(e, EM_W | 0xf7, 3, rm_reg(S0)); /* neg */
        emit_alu(e, EM_W, A_ADD, S0, rm_gs(OFF_WORD(JW_TMP)));
    }
    emit_store(e, page, S0);
    emit_op(e, 0xff, 4, rm_mem(S1, offsetof(JumpEntry, host))); /* jmp */
}

/* Goes on at the RIP in S0; S1 is lost. Flags are in memory. drop: what to take back from RSP if
 * the address turns out not to be canonical. */
static void jump_by_cache(Translator *t, ColdKind kind, int32_t drop)
{
    Emit *e = t->e;
    uint8_t *miss[2];
    bool flat = t->cs64 || t->flat;
    t->way[t->i] |= WAY_JUMP_CACHE;
    if (!flat) {
        emit_store(e, rm_gs(OFF_WORD(JW_TMP)), S0);
        emit_load32(e, S1, rm_gs(OFF(seg[SEG_CS].base)));
        emit_alu(e, 0, A_ADD, S0, rm_reg(S1));
    }
    emit_lookup(e, flat, miss);
    new_cold(t, kind, miss[0])->delta = drop;
    new_cold(t, COLD_MISS, miss[1])->reload = true;
}

void gen_cold_miss(Translator *t, Cold *c)
{
    Emit *e = t->e;
    bool flat = t->cs64 || t->flat;
    emit_link_here(e, c->from);
    if (!flat) {
        emit_load(e, S0, rm_gs(OFF_WORD(JW_TMP)));
    } else if (c->reload) {
        emit_load(e, S0, rm_mem(S1, offsetof(JumpEntry, lin)));
    }
    emit_jmp_to(e, flat ? t->j->stubs.by_cache2 : t->j->stubs.leave_rip);
}

uint8_t *make_by_cache(Emit *e, const uint8_t *by_cache2)
{
    uint8_t *at = e->p, *miss[2];
    emit_lookup(e, true, miss);
    emit_link_here(e, miss[1]);
    emit_load(e, S0, rm_mem(S1, offsetof(JumpEntry, lin)));
    emit_jmp_to(e, by_cache2);
    emit_link(miss[0], by_cache2);
    return at;
}

uint8_t *make_by_cache2(Emit *e, const uint8_t *leave_rip)
{
    uint8_t *at = e->p;
    const int32_t entry = offsetof(JitCpu, jump2);
    emit_op(e, 0x69, S1, rm_reg(S0)); /* imul */
    emit32(e, JUMP2_FACTOR);
    emit_op(e, 0xc1, 5, rm_reg(S1)); /* shr */
    emit8(e, 32 - JUMP2_BITS);
    emit_op(e, 0xc1, 4, rm_reg(S1)); /* shl */
    emit8(e, 5);
    emit_alu(e, EM_W, A_ADD, S1, rm_gs(OFF_WORD(JW_JUMPS)));
    emit_alu(e, EM_W, A_CMP, S0, rm_mem(S1, entry + (int32_t)offsetof(JumpEntry, lin)));
    emit_jcc_to(e, CC_NE, leave_rip);
    emit_load(e, S0, rm_gs(OFF(jump_tag)));
    emit_alu(e, EM_W, A_CMP, S0, rm_mem(S1, entry + (int32_t)offsetof(JumpEntry, tag)));
    uint8_t *other = emit_jcc(e, CC_NE);
    emit_load(e, S0, rm_mem(S1, entry + (int32_t)offsetof(JumpEntry, page)));
    emit_store(e, rm_gs(OFF_WORD(JW_PAGE)), S0);
    emit_op(e, 0xff, 4, rm_mem(S1, entry + (int32_t)offsetof(JumpEntry, host))); /* jmp */
    emit_link_here(e, other);
    emit_load(e, S0, rm_mem(S1, entry + (int32_t)offsetof(JumpEntry, lin)));
    emit_jmp_to(e, leave_rip);
    return at;
}

void gen_exit(Translator *t, int64_t delta, bool poll)
{
    if (same_page(t, delta) && t->j->chain) {
        chained_exit(t, delta, poll);
        return;
    }
    flags_clobber(t, FLAG_ARITH);
    if (t->j->chain && t->up && t->cs64) {
        far_exit(t, delta);
    } else if (t->j->chain) {
        emit_rip(t, S0, delta);
        jump_by_cache(t, COLD_MISS, 0);
    } else {
        gen_to_loop(t, delta);
    }
}

void gen_to_loop(Translator *t, int64_t delta)
{
    emit_rip(t, S0, delta);
    emit_jmp_to(t->e, t->j->stubs.leave_rip);
}

/* ---- branches ---- */

static bool can_branch(const Translator *t)
{
    if (t->cs64) {
        return t->in->opsize == 8;
    }
    return t->in->opsize == 4 || (!t->flat && !(t->mode & MODE_CS32));
}

bool branch_is_direct(const Insn *in)
{
    return in->nr_opd && in->opd[0].kind == OPD_REL;
}

bool branch_in_reach(const Translator *t, unsigned i)
{
    return t->cs64 || t->flat || (t->insn[i].imm < BRANCH_REACH && t->insn[i].imm > -BRANCH_REACH);
}

static int64_t target_delta(const Translator *t)
{
    return (int64_t)t->off[t->i] + t->in->len + t->in->imm;
}

/* The exit of a conditional branch: inline if it closes a loop, else behind the block. */
static void taken_exit(Translator *t, unsigned cond)
{
    int64_t delta = target_delta(t);
    FlagsPlace flags = t->flags;
    if (delta > t->off[t->i] && same_page(t, delta) && t->j->chain) {
        chained_jcc(t, cond, delta);
        return;
    }
    if (delta > t->off[t->i]) {
        Cold *c = new_cold(t, COLD_TAKEN, emit_jcc(t->e, cond));
        c->delta = (int32_t)delta;
        c->flags = flags;
        return;
    }
    uint8_t *over = emit_jcc(t->e, cond ^ 1);
    gen_exit(t, delta, true);
    emit_link_here(t->e, over);
    t->flags = flags;
}

static bool gen_jcc(Translator *t)
{
    flags_restore(t, insn_flags_read(t->in));
    taken_exit(t, t->in->cond);
    return true;
}

/* LOOP, LOOPE, LOOPNE, JCXZ: CX, ECX or RCX without touching flags. */
static bool gen_loop(Translator *t)
{
    Emit *e = t->e;
    const Insn *in = t->in;
    bool loop = in->op != OP_JCXZ, narrow = in->adsize == 2;
    int64_t target = target_delta(t), next = (int64_t)t->off[t->i] + in->len;
    bool back = target <= t->off[t->i];
    flags_restore(t, insn_flags_read(in));
    if (loop) {
        emit_op(e, size_prefix(in->adsize) | 0x8d, RCX, rm_mem(RCX, -1)); /* lea */
    }
    if (narrow) {
        emit_mov(e, S1, RCX);
        emit_movzx16(e, RCX, RCX);
    }
    /* Both arms are too far for a short jump. */
    if (in->adsize == 4) {
        emit8(e, 0x67);
    }
    emit8(e, 0xe3); /* jrcxz to the second jump */
    emit8(e, 5);
    uint8_t *not_zero = emit_jmp(e), *zero = emit_jmp(e), *unlike = NULL;
    FlagsPlace flags = t->flags;
    emit_link_here(e, not_zero);
    if (narrow) {
        emit_mov(e, RCX, S1);
    }
    if (in->op == OP_LOOPE || in->op == OP_LOOPNE) {
        unlike = emit_jcc(e, in->op == OP_LOOPE ? CC_NE : CC_E);
    }
    gen_exit(t, loop ? target : next, loop && back);
    emit_link_here(e, zero);
    if (narrow) {
        emit_mov(e, RCX, S1);
    }
    if (unlike) {
        emit_link_here(e, unlike);
    }
    t->flags = flags;
    gen_exit(t, loop ? next : target, !loop && back);
    t->done = true;
    return true;
}

/* ---- calls and returns ---- */

static void body_push_next(Translator *t, const Rm *mem)
{
    emit_rip(t, S1, t->off[t->i] + t->in->len);
    emit_op(t->e, size_prefix(t->in->opsize) | 0x89, S1, *mem);
    move_stack(t, H_RSP, -(int32_t)t->in->opsize);
}

static void push_next(Translator *t, unsigned size)
{
    gen_access_stack(t, H_RSP, -(int32_t)size, size, MEM_WRITE | MEM_STAY, body_push_next);
}

static bool gen_call(Translator *t, unsigned size)
{
    int64_t delta = target_delta(t);
    push_next(t, size);
    gen_exit(t, delta, delta <= t->off[t->i]); /* a 16-bit stack is never full */
    t->done = true;
    return true;
}

void body_load_s0(Translator *t, const Rm *mem)
{
    unsigned size = t->in->opsize;
    emit_op(t->e, size == 2 ? EM_0F | 0xb7 : size_prefix(size) | 0x8b, S0, *mem); /* movzx, mov */
}

/* The target in S0 is within CS's limit; else the interpreter executes the branch. Nothing has
 * changed so far; flags are in memory. */
static void check_target(Translator *t)
{
    if (!t->cs64 && !t->flat) {
        emit_alu(t->e, EM_W, A_CMP, S0, rm_gs(OFF_WORD(JW_CODE_LIMIT)));
        new_cold(t, COLD_LEAVE_INTERP, emit_jcc(t->e, CC_A))->delta = t->off[t->i];
    }
}

/* ZF: S0 is canonical. */
static void canonical_in_s1(Emit *e)
{
    emit_mov(e, S1, S0);
    emit_op(e, EM_W | 0xc1, 4, rm_reg(S1)); /* shl 16, sar 16 */
    emit8(e, 16);
    emit_op(e, EM_W | 0xc1, 7, rm_reg(S1));
    emit8(e, 16);
    emit_alu(e, EM_W, A_CMP, S1, rm_reg(S0));
}

/* checked: the target is canonical for certain. */
static void go_to_s0(Translator *t, bool checked, int32_t drop)
{
    Emit *e = t->e;
    bool check = t->cs64 && !checked;
    if (t->j->chain) {
        jump_by_cache(t, check ? COLD_CANONICAL : COLD_MISS, drop);
    } else if (check) {
        new_cold(t, COLD_CANONICAL, emit_jmp(e))->delta = drop;
    } else {
        emit_jmp_to(e, t->j->stubs.leave_rip);
    }
    t->done = true;
}

/* The jump cache does not know the target in S0. Non-canonical: the branch itself faults, so
 * what it did is undone. */
void gen_cold_canonical(Translator *t, Cold *c)
{
    Emit *e = t->e;
    emit_link_here(e, c->from);
    canonical_in_s1(e);
    emit_jcc_to(e, CC_E, t->j->stubs.by_cache2);
    emit_lea(e, H_RSP, rm_mem(H_RSP, -c->delta));
    emit_mov_imm32(e, S1, (uint32_t)page_off(t, t->off[c->insn]));
    emit_jmp_to(e, t->j->stubs.raise_gp);
}

static bool gen_ret(Translator *t, unsigned size)
{
    gen_access_stack(t, H_RSP, 0, size, MEM_READ, body_load_s0);
    int32_t drop = (int32_t)size + (t->in->nr_opd ? (int32_t)(uint16_t)t->in->imm : 0);
    check_target(t);
    move_stack(t, H_RSP, drop);
    go_to_s0(t, false, drop);
    return true;
}

void gen_return_to_s0(Translator *t, int32_t drop)
{
    go_to_s0(t, false, drop);
}

/* JMP and CALL to an address from a register or memory. */
static bool gen_indirect(Translator *t, unsigned size)
{
    Emit *e = t->e;
    const Operand *o = &t->in->opd[0];
    if (o->kind == OPD_MEM) {
        gen_access(t, size, MEM_READ, 0, body_load_s0);
        flags_clobber(t, FLAG_ARITH);
    } else if (o->kind == OPD_GPR) {
        flags_clobber(t, FLAG_ARITH);
        if (is_spilled(o->reg)) {
            emit_load(e, S0, rm_gs(OFF_GPR(o->reg)));
        } else if (size == 2) {
            emit_movzx16(e, S0, host_reg(o->reg));
        } else {
            emit_op(e, size_prefix(size) | 0x8b, S0, rm_reg(host_reg(o->reg)));
        }
    } else {
        return false;
    }
    check_target(t);
    bool call = t->in->op == OP_CALL;
    if (call && t->cs64) { /* before anything is pushed */
        canonical_in_s1(e);
        new_cold(t, COLD_GP, emit_jcc(e, CC_NE));
    }
    if (call) {
        emit_store(e, rm_gs(OFF_WORD(JW_TMP)), S0);
        push_next(t, size);
        emit_load(e, S0, rm_gs(OFF_WORD(JW_TMP)));
    }
    go_to_s0(t, call, 0);
    return true;
}

bool gen_branch(Translator *t)
{
    const Insn *in = t->in;
    unsigned size = stack_operand(t);
    bool relative = branch_is_direct(in);
    if (!can_branch(t) || (relative && !branch_in_reach(t, t->i))) {
        return false;
    }
    switch (in->op) {
    case OP_JCC: return gen_jcc(t);
    case OP_LOOP: case OP_LOOPE: case OP_LOOPNE: case OP_JCXZ: return gen_loop(t);
    case OP_JMP:
        if (relative) {
            int64_t delta = target_delta(t);
            gen_exit(t, delta, delta <= t->off[t->i]);
            t->done = true;
            return true;
        }
        return gen_indirect(t, size);
    case OP_CALL:
        return relative ? gen_call(t, size) : gen_indirect(t, size);
    case OP_RET: return gen_ret(t, size);
    default: return false;
    }
}
