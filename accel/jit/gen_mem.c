/* SPDX-License-Identifier: GPL-2.0-or-later
 * Memory operands. Each gets one of the vCPU's slots: if the page there is the operand's own, an
 * addend leads to host memory; else the slow stub looks into the Tlb, fills the slot, and the code
 * tries again. What is not plain RAM is done by the same instruction on a buffer (or on the RAM
 * itself, when somebody wants to hear of the write), and jit_mem_commit finishes the store.
 *
 *     lea  r11, [address]
 *     xor  r11, gs:[slot's tag]             leaves the offset in the page, if it is that page
 *     cmp  r11, 4096 - size
 *     ja   cold
 *     mov  r10, gs:[slot's addend]
 *     op   reg, [address + r10]
 *
 * where the address is base + displacement; else it is computed into r10 first. An empty slot's
 * tag is a page that no canonical address lies in. For an address that does, no addend leads to a
 * canonical one either: the host faults, and jit_segv makes it the guest's fault.
 * Operands that share a check: share.c; that have another page each time: roam.c.
 */
#include "accel/jit/recode.h"

/* A guest register as part of an address: its host register, or a scratch one it is loaded to. */
static unsigned address_reg(Translator *t, unsigned guest_reg, unsigned scratch)
{
    if (!is_spilled(guest_reg)) {
        return host_reg(guest_reg);
    }
    emit_load(t->e, scratch, rm_gs(OFF_GPR(guest_reg)));
    return scratch;
}

bool guest_address(Translator *t, Rm *out)
{
    const Insn *in = t->in;
    int64_t disp = in->disp;
    Rm rm = { .reg = NO_REG, .base = NO_REG, .index = NO_REG };
    if (in->base == INSN_REG_RIP) {
        rm.base = S0;
        emit_load(t->e, S0, rm_gs(OFF_WORD(JW_PAGE)));
        disp += page_off(t, t->off[t->i] + in->len);
    } else if (in->base != INSN_REG_NONE) {
        rm.base = (uint8_t)address_reg(t, in->base, S0);
    }
    if (in->index != INSN_REG_NONE) {
        rm.index = (uint8_t)address_reg(t, in->index, S1);
        rm.scale = in->scale;
    }
    rm.disp = (int32_t)disp;
    *out = rm;
    return rm.disp == disp;
}

static unsigned slot_of(const Translator *t, bool write)
{
    const Insn *in = t->in;
    unsigned n;
    if (in->base == REG_RSP) {
        n = 0;
    } else if (in->base == REG_RBP && in->index == INSN_REG_NONE) {
        n = 1;
    } else {
        /* Operands far from each other lie in different pages, whatever their registers. */
        uint32_t far = (uint32_t)in->disp >> 10;
        n = 2 + ((unsigned)(t->gpa >> 5) * 7 + in->base * 3 + in->index * 5 + far * 11) %
                    (NR_SLOTS / 2 - 2);
    }
    unsigned slot = n + (t->user ? NR_SLOTS / 2 : 0);
    while (share_slot_taken(t, slot, write)) {
        slot = (slot & (NR_SLOTS / 2)) | ((slot + 1) & (NR_SLOTS / 2 - 1));
    }
    return slot;
}

static int32_t slot_tag(unsigned slot, bool write)
{
    return (write ? OFF(write_slots.tag) : OFF(read_slots.tag)) + 8 * (int32_t)slot;
}

static int32_t slot_addend(unsigned slot, bool write)
{
    return (write ? OFF(write_slots.addend) : OFF(read_slots.addend)) + 8 * (int32_t)slot;
}

static uint32_t describe(const Translator *t, unsigned slot, unsigned size, uint32_t access)
{
    return (uint32_t)page_off(t, t->off[t->i]) << MEM_OFF_SHIFT | slot << MEM_SLOT_SHIFT |
           (size - 1) << MEM_SIZE_SHIFT | access;
}

/* Offset in S0 to linear address in S0, outside 64-bit mode and flat segments. */
static void add_segment(Translator *t, unsigned seg, uint32_t desc, unsigned size)
{
    Emit *e = t->e;
    unsigned limits = desc & MEM_WRITE ? JW_WRITE_LIMIT : JW_READ_LIMIT;
    emit_lea(e, S1, rm_mem(S0, (int32_t)size - 1));
    emit_alu(e, EM_W, A_CMP, S1, rm_gs(OFF_WORD(limits + seg)));
    Cold *c = new_cold(t, COLD_SEGMENT, emit_jcc(e, CC_G));
    emit_alu(e, 0, A_ADD, S0, rm_gs(OFF(seg) + (int32_t)(seg * sizeof(Segment)) +
                                    (int32_t)offsetof(Segment, base)));
    c->desc = desc;
    c->seg = seg;
    c->after = e->p;
}

/* Address form: base + displacement that stays valid, so that S0 need not hold it. */
static bool is_simple(const Translator *t)
{
    const Insn *in = t->in;
    for (unsigned n = 0; n < in->nr_opd; n++) {
        if (in->opd[n].kind == OPD_GPR8H) {
            return false; /* its body moves the register, which may be the base */
        }
    }
    return t->cs64 && in->adsize == 8 && in->seg < SEG_FS && in->index == INSN_REG_NONE &&
           in->base != INSN_REG_NONE && in->base != INSN_REG_RIP && !is_spilled(in->base);
}

/* Linear address into S0. */
static void compute_address(Translator *t, const Rm *ea, uint32_t desc, unsigned size)
{
    const Insn *in = t->in;
    Emit *e = t->e;
    if (in->adsize == 8) {
        emit_lea(e, S0, *ea);
    } else {
        emit_lea32(e, S0, *ea);
        if (in->adsize == 2) {
            emit_movzx16(e, S0, S0);
        }
    }
    if (t->cs64) {
        if (in->seg >= SEG_FS) {
            emit_alu(e, EM_W, A_ADD, S0,
                     rm_gs(OFF(seg) + (int32_t)(in->seg * sizeof(Segment)) +
                           (int32_t)offsetof(Segment, base)));
        }
        return;
    }
    bool writes_code = in->seg == SEG_CS && (desc & MEM_WRITE);
    if (!t->flat || in->seg >= SEG_FS || writes_code) {
        add_segment(t, in->seg, desc, size);
    }
}

/* The check of the address (in S0, or simple: *ea) against the slot, and the operand's host form. */
static void check_slot(Translator *t, bool simple, const Rm *ea, unsigned slot, uint32_t desc,
                       unsigned size, uint32_t need, BodyFn *body)
{
    Emit *e = t->e;
    const bool write = desc & MEM_WRITE;
    const int32_t tag = slot_tag(slot, write), addend = slot_addend(slot, write);
    bool aligned = desc & (MEM_ALIGNED | MEM_LOCK), trial = roam_on_trial(t, write);
    if (trial) {
        roam_count(t, ROAM_HIT);
    }
    uint8_t *again = e->p;
    uint8_t *cold;
    if (t->j->use_table) {
        emit_lea(e, S1, simple ? *ea : rm_mem(S0, 0));
        emit_alu(e, EM_W, A_XOR, S1, rm_gs(tag));
        if (aligned) {
            emit_op(e, EM_W | 0xf7, 0, rm_reg(S1)); /* test */
            emit32(e, ~(uint32_t)(PAGE_SIZE - (int)size));
            cold = emit_jcc(e, CC_NE);
        } else {
            emit_alu_imm(e, EM_W, A_CMP, rm_reg(S1), PAGE_SIZE - (int32_t)size);
            cold = emit_jcc(e, CC_A);
        }
    } else {
        cold = emit_jmp(e);
    }
    Rm mem;
    if (simple) {
        emit_load(e, S0, rm_gs(addend));
        mem = *ea;
        mem.index = S0;
        mem.scale = 0;
    } else {
        emit_alu(e, EM_W, A_ADD, S0, rm_gs(addend));
        mem = rm_mem(S0, 0);
    }
    Cold *c = new_cold(t, share_is_open(t, NULL) ? COLD_MEM_OPEN : COLD_MEM, cold);
    c->again = again;
    c->desc = desc;
    c->trial = trial;
    c->has_address = simple;
    c->address = *ea;
    c->body = body;
    c->restore = need;
    c->flags = t->flags;
    if (need) {
        emit_flags_restore(t, need);
    }
    body(t, &mem);
    c->after = e->p;
}

/* The same for one that looks into a span of pages first. */
static void check_span(Translator *t, int span, bool simple, const Rm *ea, uint32_t desc,
                       unsigned size, uint32_t need, BodyFn *body)
{
    Emit *e = t->e;
    const bool write = desc & MEM_WRITE;
    uint8_t *again = e->p;
    Rm mem = rm_mem(S0, 0);
    Cold *c;
    if (simple) {
        emit_lea(e, S1, *ea);
        c = new_cold(t, COLD_SPAN, span_compare(t, write, span, size));
        emit_load(e, S0, span_addend(write, span));
        mem = *ea;
        mem.index = S0;
        mem.scale = 0;
    } else {
        roam_address(t, 0);
        emit_mov(e, S1, S0);
        c = new_cold(t, COLD_SPAN, span_compare(t, write, span, size));
        emit_alu(e, EM_W, A_ADD, S0, span_addend(write, span));
    }
    t->way[t->i] |= WAY_ROAMS;
    c->next = share_is_open(t, NULL) ? COLD_MEM_OPEN : COLD_MEM;
    c->again = again;
    c->join = e->p;
    c->desc = desc;
    c->span = span;
    c->has_address = simple;
    c->body = body;
    c->restore = need;
    if (need) {
        emit_flags_restore(t, need);
    }
    body(t, &mem);
    c->after = e->p;
}

/* The same for an operand that roams. */
static void check_tlb(Translator *t, bool simple, const Rm *ea, unsigned slot, uint32_t desc,
                      unsigned size, uint32_t need, BodyFn *body)
{
    Emit *e = t->e;
    const bool write = desc & MEM_WRITE, aligned = desc & (MEM_ALIGNED | MEM_LOCK);
    uint8_t *again = e->p;
    roam_address(t, 0);
    roam_index(t);
    roam_address(t, aligned ? 0 : (int32_t)size - 1);
    uint8_t *cold = roam_compare(t, write, aligned ? (int32_t)size - 1 - PAGE_SIZE : -PAGE_SIZE);
    const Rm addend = rm_mem(S1, offsetof(TlbEntry, addend));
    Rm mem = rm_mem(S0, 0);
    if (simple) {
        emit_load(e, S0, addend);
        mem = *ea;
        mem.index = S0;
        mem.scale = 0;
    } else {
        emit_load(e, S1, addend);
        if (!t->cs64) { /* no shared checks: this slot may serve operands behind with the same base */
            emit_store(e, rm_gs(slot_addend(slot, write)), S1);
            emit_store(e, rm_gs(slot_tag(slot, write)), S0);
        }
        roam_address(t, 0);
        emit_alu(e, EM_W, A_ADD, S0, rm_reg(S1));
    }
    t->way[t->i] |= WAY_ROAMS;
    Cold *c = new_cold(t, share_is_open(t, NULL) ? COLD_MEM_OPEN : COLD_MEM, cold);
    c->again = again;
    c->desc = desc;
    c->roams = true;
    c->body = body;
    c->restore = need;
    if (need) {
        emit_flags_restore(t, need);
    }
    body(t, &mem);
    c->after = e->p;
}

/* Which flags must be saved before the check, and be brought back for the body. */
static uint32_t prepare_flags(Translator *t, uint32_t need)
{
    uint32_t killed = insn_flags_killed(t->in);
    flags_clobber(t, need | (t->live[t->i + 1] & ~killed));
    return need;
}

static uint32_t after_flags(const Translator *t, uint32_t desc)
{
    return desc | (insn_rows[t->in->row].flags_written ? MEM_FLAGS : 0);
}

/* Where the addend is that belongs to a shared check. */
static int32_t addend_of(const Translator *t, const Share *s)
{
    return s->roams ? OFF_WORD(JW_SHARE + (s - t->share))
                    : slot_addend(s->slot, s->write);
}

/* The operand itself, checked before: ea is base + displacement. */
static void emit_body(Translator *t, Rm ea, const Share *s, BodyFn *body)
{
    if (t->in_s0 != s) {
        emit_load(t->e, S0, rm_gs(addend_of(t, s)));
    }
    ea.index = S0;
    ea.scale = 0;
    body(t, &ea);
    t->in_s0 = body == recode_body ? s : NULL;
}

/* Its addend, out of the Tlb, to S0; returns the jump for "it is not there". */
static uint8_t *roam_range(Translator *t, bool write, unsigned base, int32_t lo, int32_t hi)
{
    emit_lea(t->e, S0, rm_mem(base, lo));
    roam_index(t);
    emit_lea(t->e, S0, rm_mem(base, hi - 1));
    uint8_t *cold = roam_compare(t, write, -PAGE_SIZE);
    emit_load(t->e, S0, rm_mem(S1, offsetof(TlbEntry, addend)));
    return cold;
}

/* The check that the range of s is in one page, or span; returns the jump for "it is not, or not
 * known". *join: for a span, where the addend is in S0. */
static uint8_t *check_range(Translator *t, const Share *s, const Rm *ea, uint8_t **join)
{
    Emit *e = t->e;
    if (s->roams) {
        t->way[t->i] |= WAY_ROAMS;
        uint8_t *cold;
        if (s->span >= 0) {
            emit_lea(e, S1, rm_mem(ea->base, (int32_t)s->lo));
            cold = span_compare(t, s->write, s->span, (unsigned)(s->hi - s->lo));
            emit_load(e, S0, span_addend(s->write, s->span));
        } else {
            cold = roam_range(t, s->write, ea->base, (int32_t)s->lo, (int32_t)s->hi);
        }
        *join = e->p;
        emit_store(e, rm_gs(addend_of(t, s)), S0);
        return cold;
    }
    emit_lea(e, S1, rm_mem(ea->base, (int32_t)s->lo));
    emit_alu(e, EM_W, A_XOR, S1, rm_gs(slot_tag(s->slot, s->write)));
    emit_alu_imm(e, EM_W, A_CMP, rm_reg(S1), PAGE_SIZE - (int32_t)(s->hi - s->lo));
    return emit_jcc(e, CC_A);
}

/* Checks the range of s; ea: the operand in hand. */
static void begin_share(Translator *t, const Share *s, const Rm *ea, uint32_t desc, uint32_t need,
                        BodyFn *body)
{
    bool trial = !s->roams && roam_on_trial(t, s->write);
    if (trial) {
        roam_count(t, ROAM_HIT);
    }
    uint8_t *again = t->e->p;
    uint8_t *join = NULL;
    uint8_t *from = check_range(t, s, ea, &join);
    Cold *c = new_cold(t, s->span >= 0 ? COLD_SPAN : COLD_SHARE, from);
    c->next = COLD_SHARE;
    c->join = join;
    c->span = s->span;
    c->trial = trial;
    c->again = again;
    c->desc = desc;
    c->address = *ea;
    c->lo = (int32_t)s->lo;
    c->hi = (int32_t)s->hi;
    c->open = share_is_open(t, s);
    if (need) {
        emit_flags_restore(t, need);
    }
    t->in_s0 = s->roams ? s : NULL; /* check_range */
    emit_body(t, *ea, s, body);
}

/* An operand at ea, which is S0 (it holds the linear address), or still to be computed. */
static void check_window(Translator *t, Rm ea, uint32_t desc, uint32_t need, BodyFn *body)
{
    emit_lea32(t->e, S1, ea);
    Cold *c = new_cold(t, COLD_WINDOW, window_check(t, desc & MEM_WRITE));
    c->has_address = ea.base != S0;
    c->address = ea;
    c->desc = desc;
    c->restore = need;
    c->body = body;
    if (need) {
        emit_flags_restore(t, need);
    }
    ea = window_operand(ea);
    body(t, &ea);
    c->after = t->e->p;
}

/* The operand through a window; outside flat segments its address is computed first. */
static void access_window(Translator *t, WindowUse use, unsigned size, uint32_t access, uint32_t need,
                          BodyFn *body)
{
    const Insn *in = t->in;
    bool writes_code = in->seg == SEG_CS && (access & MEM_WRITE);
    bool direct = t->flat && in->seg < SEG_FS && in->adsize == 4 && !writes_code;
    uint32_t desc = describe(t, slot_of(t, access & MEM_WRITE), size,
                             access | (in->seg == SEG_SS ? MEM_STACK : 0));
    t->way[t->i] |= WAY_WINDOW;
    flags_save(t, need | (t->live[t->i + 1] & ~insn_flags_killed(in)));
    Rm ea;
    if (!guest_address(t, &ea)) {
        t->failed = true;
        return;
    }
    if (!direct) {
        flags_clobber(t, 0);
        compute_address(t, &ea, desc, size);
        ea = rm_mem(S0, 0);
    }
    if (use == WINDOW_CHECKED) {
        flags_clobber(t, 0);
        check_window(t, ea, after_flags(t, desc), need, body);
        return;
    }
    flags_restore(t, need);
    ea = window_operand(ea);
    body(t, &ea);
}

void gen_access(Translator *t, unsigned size, uint32_t access, uint32_t need, BodyFn *body)
{
    WindowUse use = window_serves(t, access);
    if (use) {
        access_window(t, use, size, access, need, body);
        return;
    }
    const bool write = access & MEM_WRITE;
    const bool aligned = access & (MEM_ALIGNED | MEM_LOCK);
    const Share *s = aligned ? NULL : share_covers(t, write);
    if (s) {
        Rm ea;
        t->way[t->i] |= WAY_SHARED;
        flags_restore(t, need);
        guest_address(t, &ea);
        emit_body(t, ea, s, body);
        return;
    }
    t->in_s0 = NULL;
    need = prepare_flags(t, need);
    Rm ea;
    if (!guest_address(t, &ea)) {
        t->failed = true;
        return;
    }
    unsigned slot = slot_of(t, write);
    access |= t->in->seg == SEG_SS ? MEM_STACK : 0;
    uint32_t desc = after_flags(t, describe(t, slot, size, access));
    bool simple = is_simple(t);
    if (simple && (int64_t)ea.disp + (int32_t)size - 1 != (int32_t)(ea.disp + (int32_t)size - 1)) {
        simple = false;
    }
    if (simple && !aligned && (s = share_begin(t, slot, write)) != NULL) {
        begin_share(t, s, &ea, desc, need, body);
        return;
    }
    int span = roams(t, write) && !aligned && size <= 8 ? span_of(t, write) : -1;
    if (span >= 0) {
        check_span(t, span, simple, &ea, desc, size, need, body);
        return;
    }
    if (roams(t, write)) {
        check_tlb(t, simple, &ea, slot, desc, size, need, body);
        return;
    }
    if (!simple) {
        compute_address(t, &ea, desc, size);
    }
    check_slot(t, simple, &ea, slot, desc, size, need, body);
}

void gen_access_stack(Translator *t, unsigned base, int32_t disp, unsigned size, uint32_t access,
                      BodyFn *body)
{
    WindowUse window = window_serves(t, access);
    share_end(t);
    unsigned slot = (base == H_RSP ? 0 : 1) + (t->user ? NR_SLOTS / 2 : 0);
    uint32_t desc = describe(t, slot, size, access | MEM_STACK);
    Rm ea = rm_mem(base, disp);
    t->way[t->i] |= window ? WAY_WINDOW : 0;
    bool direct = window && t->flat && (t->mode & MODE_SS32);
    if (direct && window == WINDOW_BARE) {
        flags_save(t, t->live[t->i + 1] & ~insn_flags_killed(t->in));
        ea = window_operand(ea);
        body(t, &ea);
        return;
    }
    prepare_flags(t, 0);
    if (direct) {
        check_window(t, ea, desc, 0, body);
        return;
    }
    if (!t->cs64) {
        emit_lea32(t->e, S0, ea);
        if (!(t->mode & MODE_SS32)) {
            emit_movzx16(t->e, S0, S0);
        }
        if (!t->flat) {
            add_segment(t, SEG_SS, desc, size);
        }
    }
    if (window == WINDOW_CHECKED) {
        check_window(t, rm_mem(S0, 0), desc, 0, body);
        return;
    }
    if (window) {
        ea = window_operand(rm_mem(S0, 0));
        body(t, &ea);
        return;
    }
    check_slot(t, t->cs64, &ea, slot, desc, size, 0, body);
}

/* Before the instruction in hand, to begin a block there; flags are in memory. */
static void leave_before(Translator *t)
{
    emit_mov_imm32(t->e, S1, (uint32_t)page_off(t, t->off[t->i]));
    emit_jmp_to(t->e, t->j->stubs.leave_at);
}

static void count_miss(Translator *t, const Cold *c)
{
    if (c->trial) {
        roam_count(t, ROAM_MISS);
    }
}

/* The same while a check is in force: no C. */
void gen_cold_open(Translator *t, Cold *c)
{
    Emit *e = t->e;
    emit_link_here(e, c->from);
    count_miss(t, c);
    if (c->roams) {
        roam_address(t, 0);
    } else if (c->has_address) {
        emit_lea(e, S0, c->address);
    }
    emit_mov_imm32(e, S1, c->desc);
    emit_call_to(e, t->j->stubs.look);
    emit_jcc_to(e, CC_E, c->again);
    leave_before(t);
}

/* The range was not in the slot. */
void gen_cold_share(Translator *t, Cold *c)
{
    Emit *e = t->e;
    emit_link_here(e, c->from);
    count_miss(t, c);
    emit_lea(e, S1, rm_mem(c->address.base, c->lo));
    emit_alu_imm(e, 0, A_AND, rm_reg(S1), PAGE_SIZE - 1);
    emit_alu_imm(e, 0, A_CMP, rm_reg(S1), PAGE_SIZE - (c->hi - c->lo));
    emit_mov_imm32(e, S1, c->desc);
    uint8_t *lost = emit_jcc(e, CC_A);
    emit_lea(e, S0, c->address);
    emit_call_to(e, c->open ? t->j->stubs.look : t->j->stubs.share);
    emit_jcc_to(e, CC_E, c->again);
    if (c->open) {
        leave_before(t);
    }
    emit_link_here(e, lost);
    emit_mov_imm32(e, S1, c->desc);
    emit_mov_imm64(e, S0, (uintptr_t)t->tb);
    emit_jmp_to(e, t->j->stubs.share_lost);
}

/* Not in the span: the Tlb is asked, and C at times, what to have in the span. */
void gen_cold_span(Translator *t, Cold *c)
{
    Emit *e = t->e;
    Cold was = *c; /* new_cold */
    const bool write = c->desc & MEM_WRITE, share = c->next == COLD_SHARE;
    const unsigned size = (c->desc >> MEM_SIZE_SHIFT & 31) + 1;
    emit_link_here(e, c->from);
    emit_alu_imm(e, EM_W, A_SUB, rm_gs(OFF_WORD(JW_SPAN)), 1);
    uint8_t *sample = emit_jcc(e, CC_S);
    uint8_t *again = e->p, *miss;
    if (share) {
        miss = roam_range(t, write, c->address.base, c->lo, c->hi);
    } else {
        roam_address(t, 0);
        roam_index(t);
        roam_address(t, (int32_t)size - 1);
        miss = roam_compare(t, write, -PAGE_SIZE);
        emit_load(e, S0, rm_mem(S1, offsetof(TlbEntry, addend)));
        if (!c->has_address) {
            emit_mov(e, S1, S0);
            roam_address(t, 0);
            emit_alu(e, EM_W, A_ADD, S0, rm_reg(S1));
        }
    }
    emit_jmp_to(e, c->join);
    emit_link_here(e, sample);
    if (share) {
        emit_lea(e, S0, rm_mem(c->address.base, c->lo));
    } else {
        roam_address(t, 0);
    }
    emit_mov_imm32(e, S1, (c->desc & (MEM_WRITE | (PAGE_SIZE - 1))) |
                              (uint32_t)c->span << MEM_SLOT_SHIFT);
    emit_call_to(e, t->j->stubs.span);
    emit_jmp_to(e, c->again);
    Cold *next = new_cold(t, was.next, miss);
    *next = was;
    next->kind = was.next;
    next->from = miss;
    next->again = again;
    next->roams = !share;
    next->has_address = false;
}

/* The operand's page is not in the checked window: by its slot. */
void gen_cold_window(Translator *t, Cold *c)
{
    Emit *e = t->e;
    Cold was = *c; /* new_cold */
    emit_link_here(e, was.from);
    if (was.has_address) {
        emit_lea32(e, S0, was.address);
    }
    emit_alu_imm(e, EM_W, A_SUB, rm_gs(OFF_WORD(JW_WINDOW)), 1);
    uint8_t *usual = emit_jcc(e, CC_NS);
    emit_call_to(e, t->j->stubs.window_use);
    emit_link_here(e, usual);
    t->flags = FLAGS_MEMORY;
    check_slot(t, false, &was.address, was.desc >> MEM_SLOT_SHIFT & (NR_SLOTS - 1), was.desc,
               (was.desc >> MEM_SIZE_SHIFT & 31) + 1, was.restore, was.body);
    emit_jmp_to(e, was.after);
}

/* Behind the block: the operand was not in its slot. */
void gen_cold_access(Translator *t, Cold *c)
{
    Emit *e = t->e;
    emit_link_here(e, c->from);
    count_miss(t, c);
    if (c->roams) {
        roam_address(t, 0);
    } else if (c->has_address) {
        emit_lea(e, S0, c->address);
    }
    emit_mov_imm32(e, S1, c->desc);
    emit_call_to(e, t->j->stubs.slow);
    emit_jcc_to(e, CC_E, c->again);
    if (c->restore) {
        emit_flags_restore(t, c->restore);
    }
    Rm mem = rm_mem(S0, 0);
    c->body(t, &mem);
    if (c->desc & MEM_WRITE) {
        emit_mov_imm32(e, S1, (uint32_t)page_off(t, t->off[t->i] + t->in->len));
        emit_call_to(e, t->j->stubs.commit);
    }
    emit_jmp_to(e, c->after);
}

uint8_t *gen_stack_check(Translator *t, int32_t disp, unsigned size, bool write)
{
    Emit *e = t->e;
    unsigned slot = t->user ? NR_SLOTS / 2 : 0;
    emit_lea(e, S1, rm_mem(H_RSP, disp));
    emit_alu(e, EM_W, A_XOR, S1, rm_gs(slot_tag(slot, write)));
    emit_alu_imm(e, EM_W, A_CMP, rm_reg(S1), PAGE_SIZE - (int32_t)size);
    uint8_t *split = emit_jcc(e, CC_A);
    emit_load(e, S0, rm_gs(slot_addend(slot, write)));
    return split;
}
