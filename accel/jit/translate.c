/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest block to host code: decoding, flag liveness, and the loop over instructions. A block lies
 * in one page; it ends at a control transfer other than JCC, at what may change the mode, before
 * an instruction that is not translated, and before one that reaches into the next page.
 */
#include "accel/interp/interp.h"
#include "accel/jit/check.h"
#include "accel/jit/perfmap.h"
#include "accel/jit/show.h"
#include "accel/jit/translate.h"
#include "cpu/simd_host.h"
#include "util/log.h"

/* ---- pass one ---- */

/* Lockstep: would flags that engines may set as they like get out of the block? */
static bool shows_undefined(Translator *t, const Insn *in)
{
    uint32_t undef = t->nr_insns ? t->undef : 0;
    bool shows = insn_flags_read(in) & undef;
    if (in->op != OP_JCC && in->op != OP_JMP && in->op != OP_CALL && in->op != OP_RET) {
        shows |= undef && insn_ends_block(in);
    }
    t->undef = check_undefined(in, undef);
    return shows;
}

static bool ends_before(Translator *t, const Insn *in)
{
    const InsnRow *r = &insn_rows[in->row];
    return ((r->flags & INSN_PRIV) && (t->mode & MODE_CPL)) ||
           (t->j->check && (!check_may_try(in) || shows_undefined(t, in)));
}

/* Lockstep holds requests back within a block: where one may come in from now on, it ends. */
static bool lets_in(const Translator *t, const Insn *in)
{
    return t->j->check && (in->op == OP_STI || in->op == OP_POPF);
}

/* An instruction that reaches into the next page is a block of its own. Raises the fault of
 * fetching the rest. */
static bool scan_crossing(Translator *t, const ItlbEntry *page, uint64_t lin)
{
    uint8_t bytes[15];
    unsigned have = PAGE_SIZE - t->page_at;
    uint64_t next = lin + have;
    const ItlbEntry *page2 = mmu_fetch_page(t->cpu, t->mode & MODE_LMA ? next : (uint32_t)next);
    if (!page2->ram || have >= 15 || (!t->cs64 && !t->flat)) {
        return false;
    }
    t->seen2 = ram_track_code(page2->ram, page2->ram_offset, 15);
    t->stamp2 = ram_code_stamp(page2->ram, page2->ram_offset);
    memcpy(bytes, page->ram->host + page->ram_offset + t->page_at, have);
    memcpy(bytes + have, page2->ram->host + page2->ram_offset, 15 - have);
    Insn *in = &t->insn[0];
    if (insn_decode(bytes, 15, t->mode, &t->cpu->features, in) != DECODE_OK || ends_before(t, in)) {
        return false;
    }
    t->nr_insns = 1;
    t->off[0] = 0;
    t->off[1] = in->len;
    return true;
}

/* Decodes up to the block's end; marks the bytes as code. False: nothing to translate. */
static bool scan(Translator *t, const ItlbEntry *page, uint64_t lin, unsigned max)
{
    const uint8_t *bytes = page->ram->host + page->ram_offset;
    unsigned at = t->page_at, tracked = at & ~63u;
    while (t->nr_insns < max && at < PAGE_SIZE) {
        unsigned have = MIN(PAGE_SIZE - at, 15u);
        while (at + have > tracked) {
            ram_track_code(page->ram, page->ram_offset + tracked, 1);
            tracked += 64;
        }
        Insn *in = &t->insn[t->nr_insns];
        DecodeResult r = insn_decode(bytes + at, have, t->mode, &t->cpu->features, in);
        if (r == DECODE_SHORT && !t->nr_insns) {
            return scan_crossing(t, page, lin);
        }
        if (r != DECODE_OK || ends_before(t, in)) {
            break;
        }
        t->off[t->nr_insns++] = (uint16_t)(at - t->page_at);
        at += in->len;
        if ((in->op != OP_JCC && insn_ends_block(in) && !is_inline_system(t, in)) ||
            lets_in(t, in)) {
            break;
        }
    }
    t->off[t->nr_insns] = (uint16_t)(at - t->page_at);
    return t->nr_insns > 0;
}

static void find_live_flags(Translator *t)
{
    t->live[t->nr_insns] = FLAG_ARITH;
    for (unsigned i = t->nr_insns; i-- > 0;) {
        const Insn *in = &t->insn[i];
        uint32_t reads = insn_flags_read(in);
        if (in->op == OP_JCC || in->op == OP_LOOP || in->op == OP_JCXZ ||
            (insn_ends_block(in) && !is_inline_system(t, in))) {
            reads = FLAG_ARITH; /* whoever is next may want them */
        }
        t->live[i] = (t->live[i + 1] & ~insn_flags_killed(in)) | reads;
    }
}

/* ---- flags ---- */

static void emit_flags_save(Translator *t, uint32_t live)
{
    Emit *e = t->e;
    if (!(live & ~(uint32_t)FLAG_CF)) {
        emit_op(e, EM_0F | 0x92, 0, rm_gs(OFF(cc) + 1)); /* setc: bit 8 of cc */
        return;
    }
    emit_mov(e, S1, RAX);
    emit8(e, 0x9f);                                 /* lahf */
    emit_op(e, EM_0F | 0x90, 0, rm_reg(RAX));       /* seto al */
    emit_op(e, EM_66 | 0x89, RAX, rm_gs(OFF(cc)));  /* mov cc, ax */
    emit_mov(e, RAX, S1);
}

void emit_flags_restore(Translator *t, uint32_t need)
{
    Emit *e = t->e;
    if (!(need & ~(uint32_t)FLAG_CF)) {
        emit_op(e, EM_0F | 0xba, 4, rm_gs(OFF(cc))); /* bt dword cc, 8 */
        emit8(e, 8);
        return;
    }
    emit_mov(e, S1, RAX);
    emit_op(e, EM_0F | 0xb7, RAX, rm_gs(OFF(cc))); /* movzx eax, cc */
    emit8(e, 0x04);                                /* add al, 7f: OF from bit 0 */
    emit8(e, 0x7f);
    emit8(e, 0x9e);                                /* sahf */
    emit_mov(e, RAX, S1);
}

void flags_save(Translator *t, uint32_t live)
{
    if (t->flags == FLAGS_HOST) {
        if (live) {
            emit_flags_save(t, live);
        }
        t->flags = FLAGS_BOTH;
    }
}

void flags_clobber(Translator *t, uint32_t live)
{
    flags_save(t, live);
    t->flags = FLAGS_MEMORY;
}

void flags_restore(Translator *t, uint32_t need)
{
    if (t->flags != FLAGS_MEMORY || !need) {
        return;
    }
    emit_flags_restore(t, need);
    if (need & ~(uint32_t)FLAG_CF) {
        t->flags = FLAGS_BOTH;
    }
}

uint32_t flags_needed(const Translator *t)
{
    const Insn *in = t->in;
    uint32_t need = insn_flags_read(in);
    if (insn_rows[in->row].flags_written) {
        need |= t->live[t->i + 1] & ~insn_flags_killed(in);
    }
    return need;
}

/* ---- instructions ---- */

Cold *new_cold(Translator *t, ColdKind kind, uint8_t *from)
{
    static Cold none;
    if (t->nr_cold == TB_MAX_COLD) {
        t->failed = true;
        return &none;
    }
    if (kind == COLD_SEGMENT || kind == COLD_EXEC || kind == COLD_RUN) {
        share_end(t);
    }
    Cold *c = &t->cold[t->nr_cold++];
    *c = (Cold){ .kind = kind, .from = from, .insn = t->i, .fpu = t->fpu };
    return c;
}

JitExec *new_exec(Translator *t)
{
    ExecFn *fn = insn_function(t->in);
    JitExec *x = fn ? jit_alloc(t->j, sizeof(*x)) : NULL;
    if (x) {
        *x = (JitExec){ .fn = fn, .off = page_off(t, t->off[t->i]), .insn = *t->in };
    }
    return x;
}

bool gen_exec(Translator *t)
{
    JitExec *x = new_exec(t);
    if (!x) {
        return false;
    }
    bool ends = insn_ends_block(t->in);
    t->way[t->i] |= WAY_FUNCTION;
    share_end(t);
    flags_clobber(t, t->live[t->i]);
    emit_mov_imm64(t->e, S1, (uintptr_t)x);
    if (ends) {
        emit_jmp_to(t->e, t->j->stubs.exec_end);
        t->done = true;
        return true;
    }
    emit_call_to(t->e, t->j->stubs.exec);
    t->vectors = t->fpu = false;
    return true;
}

static bool gen_insn(Translator *t)
{
    const InsnRow *r = &insn_rows[t->in->row];
    if (r->flags & (INSN_MMX | INSN_SSE | INSN_AVX)) {
        return gen_vector(t) || gen_exec(t);
    }
    if (r->flags & INSN_X87) {
        return gen_x87(t) || gen_exec(t);
    }
    switch (t->in->op) {
    case OP_JCC: case OP_JMP: case OP_CALL: case OP_RET: case OP_LOOP: case OP_LOOPE:
    case OP_LOOPNE: case OP_JCXZ:
        return gen_branch(t);
    case OP_FWAIT: return gen_fwait(t) || gen_exec(t);
    default:
        return gen_special(t) || gen_plain(t) || (!has_own_handler(t->in) && gen_exec(t));
    }
}

/* ---- a block ---- */

/* Offsets in the page, first and last, that the block's bytes and its direct branches lead to. */
static void find_reach(const Translator *t, int32_t *first, int32_t *last)
{
    *first = (int32_t)t->page_at;
    *last = page_off(t, t->off[t->nr_insns]) - 1;
    for (unsigned i = 0; i < t->nr_insns; i++) {
        if (branch_is_direct(&t->insn[i]) && branch_in_reach(t, i)) {
            int32_t to = page_off(t, t->off[i + 1] + t->insn[i].imm);
            *first = MIN(*first, to);
            *last = MAX(*last, to);
        }
    }
}

/* Outside 64-bit mode and flat segments: is all that within CS's limit? Else the interpreter finds
 * out what happens. */
static void emit_limit_check(Translator *t)
{
    Emit *e = t->e;
    int32_t first, last;
    find_reach(t, &first, &last);
    emit_load(e, S0, rm_gs(OFF_WORD(JW_PAGE)));
    emit_lea(e, S1, rm_mem(S0, last));
    emit_alu(e, EM_W, A_CMP, S1, rm_gs(OFF_WORD(JW_CODE_LIMIT)));
    new_cold(t, COLD_LEAVE_INTERP, emit_jcc(e, CC_G));
    if (first < (int32_t)t->page_at) { /* the block's own start is not below 0 */
        emit_alu_imm(e, EM_W, A_ADD, rm_reg(S0), first);
        new_cold(t, COLD_LEAVE_INTERP, emit_jcc(e, CC_S));
    }
}

static void emit_entry(Translator *t)
{
    Emit *e = t->e;
    emit_align(e, 16, 0);
    t->tb->entry = e->p + e->to_rx;
    emit_nops(e, TB_ENTRY);
    if (!t->cs64 && !t->flat) {
        emit_limit_check(t);
    }
}

static void emit_cold(Translator *t)
{
    Emit *e = t->e;
    const JitStubs *s = &t->j->stubs;
    memset(t->access, 0, sizeof(t->access));
    share_end(t);
    for (unsigned i = 0; i < t->nr_cold && !t->failed; i++) {
        Cold *c = &t->cold[i];
        t->i = c->insn;
        t->in = &t->insn[c->insn];
        switch (c->kind) {
        case COLD_MEM: gen_cold_access(t, c); break;
        case COLD_MEM_OPEN: gen_cold_open(t, c); break;
        case COLD_SHARE: gen_cold_share(t, c); break;
        case COLD_SPAN: gen_cold_span(t, c); break;
        case COLD_WINDOW: gen_cold_window(t, c); break;
        case COLD_SEGMENT:
            emit_link_here(e, c->from);
            emit_store_imm32(e, rm_gs(OFF_WORD(JW_SEG)), c->seg);
            emit_mov_imm32(e, S1, c->desc);
            emit_call_to(e, s->segment);
            emit_jmp_to(e, c->after);
            break;
        case COLD_EXEC:
            emit_link_here(e, c->from);
            emit_mov_imm64(e, S1, (uintptr_t)c->exec);
            emit_call_to(e, s->exec);
            if (c->again) { /* vector registers were live */
                emit_call_to(e, s->load_vectors);
            }
            if (c->fpu) {
                emit_call_to(e, s->load_fpu);
            }
            emit_jmp_to(e, c->after);
            break;
        case COLD_EXEC_END:
            emit_link_here(e, c->from);
            emit_mov_imm64(e, S1, (uintptr_t)c->exec);
            emit_jmp_to(e, s->exec_end);
            break;
        case COLD_LEAVE_INTERP: case COLD_LEAVE:
            emit_link_here(e, c->from);
            emit_mov_imm32(e, S1, page_off(t, c->delta));
            emit_jmp_to(e, c->kind == COLD_LEAVE ? s->leave_at : s->leave_interp);
            break;
        case COLD_MISS: gen_cold_miss(t, c); break;
        case COLD_GP:
            emit_link_here(e, c->from);
            emit_mov_imm32(e, S1, page_off(t, t->off[c->insn]));
            emit_jmp_to(e, s->raise_gp);
            break;
        case COLD_VECTORS: case COLD_FPU:
            emit_link_here(e, c->from);
            emit_call_to(e, c->kind == COLD_FPU ? s->load_fpu : s->load_vectors);
            emit_jmp_to(e, c->after);
            break;
        case COLD_TAKEN:
            emit_link_here(e, c->from);
            t->flags = c->flags;
            gen_exit(t, c->delta, false);
            break;
        case COLD_RUN: gen_cold_run(t, c); break;
        case COLD_CANONICAL: gen_cold_canonical(t, c); break;
        case COLD_EXIT: case COLD_SAVE_EXIT: gen_cold_exit(t, c); break;
        case COLD_FAR: gen_cold_far(t, c); break;
        }
    }
}

/* Is #SS what it raises for an address that is not canonical? */
static bool is_stack_access(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        if (in->opd[n].kind == OPD_MEM) {
            return in->seg == SEG_SS;
        }
    }
    return in->op == OP_PUSH || in->op == OP_POP || in->op == OP_CALL || in->op == OP_RET ||
           in->op == OP_LEAVE;
}

void note_place(Translator *t, unsigned n)
{
    t->tb->insns[n].host = (uint32_t)(t->e->p + t->e->to_rx - t->tb->entry);
    t->tb->insns[n].desc = page_off(t, t->off[t->i]) | (is_stack_access(t->in) ? MEM_STACK : 0);
}

static bool emit_block(Translator *t)
{
    t->flags = FLAGS_MEMORY;
    for (t->i = 0; t->i < t->nr_insns && !t->done; t->i++) {
        t->in = &t->insn[t->i];
        note_place(t, t->i);
        t->flags_at[t->i] = (uint8_t)t->flags;
        share_keep_s0(t);
        unsigned run = gen_stack_run(t);
        if (run) {
            t->i += run - 1;
        } else if (!gen_insn(t)) {
            break;
        }
    }
    if (t->i == 0 && !t->done) {
        return false;
    }
    if (!t->done) { /* falls through, or what follows is the interpreter's */
        bool shadow = t->i < t->nr_insns && t->insn[t->i - 1].op == OP_STI;
        t->off[t->nr_insns] = t->off[t->i];
        if (shadow) { /* of an inline STI: nothing was pending yet, so that IF before it is no matter */
            flags_clobber(t, FLAG_ARITH);
            emit_op(t->e, 0xc6, 0, rm_gs(OFF(shadow))); /* mov */
            emit8(t->e, 1);
            gen_to_loop(t, t->off[t->i]);
        } else {
            gen_exit(t, t->off[t->i], false);
        }
    }
    t->tb->nr_insns = t->tb->nr_places = (uint16_t)t->i;
    t->tb->bytes = t->off[t->i];
    t->cold_at = (uint32_t)(t->e->p + t->e->to_rx - t->tb->entry);
    emit_cold(t);
    t->tb->stale_code = t->e->p;
    emit_mov_imm32(t->e, S1, t->page_at);
    emit_jmp_to(t->e, t->j->stubs.leave_stale);
    return !t->failed;
}

/* Gives the exits their place behind the block's description, where links may point to them. */
static void keep_exits(Translator *t)
{
    t->tb->nr_exits = t->nr_exits;
    memcpy(t->tb->exits, t->exits, t->nr_exits * sizeof(TbExit));
}

/* Generated code holds their addresses, so that their number must be known before. */
static unsigned most_exits(const Translator *t)
{
    unsigned n = 1;
    for (unsigned i = 0; i < t->nr_insns; i++) {
        unsigned flags = insn_rows[t->insn[i].row].flags;
        n += flags & INSN_F64 && flags & INSN_ENDS ? 2 : 0;
    }
    return MIN(n, (unsigned)TB_MAX_EXITS);
}

static Tb *translate_locked(Translator *t, const ItlbEntry *page, uint32_t seen)
{
    Jit *j = t->j;
    if (jit_is_full(j)) {
        return NULL;
    }
    size_t meta = j->meta_used;
    uint8_t *start = j->e.p;
    t->max_exits = most_exits(t);
    t->tb = jit_alloc(j, sizeof(Tb) + t->max_exits * sizeof(TbExit));
    *t->tb = (Tb){ .gpa = t->gpa, .mode = t->mode,
                   .stamp = ram_code_stamp(page->ram, page->ram_offset), .stamp2 = t->stamp2,
                   .span = t->off[t->nr_insns] };
    t->tb->insns = jit_alloc(j, 2 * t->nr_insns * sizeof(*t->tb->insns));
    emit_entry(t);
    bool ok = emit_block(t) &&
              __atomic_load_n(t->tb->stamp, __ATOMIC_ACQUIRE) == seen &&
              (!t->stamp2 || __atomic_load_n(t->stamp2, __ATOMIC_ACQUIRE) == t->seen2);
    if (!ok) {
        j->e.p = start;
        j->meta_used = meta;
        memset(j->meta + meta, 0, sizeof(Tb));
        j->stats.given_up++;
        return NULL;
    }
    keep_exits(t);
    Tb *tb = t->tb;
    if (j->check) {
        tb->check = check_describe(j, t->insn, t->off, t->live, tb->nr_insns);
    }
    tb->wants_flags = t->live[0] != 0;
    tb->code_len = (uint32_t)(j->e.p + j->e.to_rx - tb->entry);
    tb_insert(j, tb);
    if (j->perfmap) {
        perfmap_block(j->perfmap, tb, t->lin);
    }
    return tb;
}

/* The clock is a system call, as long as the translation of a short block takes: one block in so many
 * is timed for all. */
enum { TIMED = 16 };

static uint64_t timed_from(void)
{
    static __thread unsigned turn;
    return turn++ % TIMED ? 0 : cpu_time_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void timed_to(Jit *j, uint64_t start)
{
    if (start) {
        j->stats.translate_ns += (cpu_time_ns(CLOCK_THREAD_CPUTIME_ID) - start) * TIMED;
    }
}

Tb *jit_translate(CpuState *cpu, uint64_t lin, const ItlbEntry *page_now)
{
    static __thread Translator t;
    Jit *j = cpu->jit->jit;
    ItlbEntry page = *page_now;
    uint64_t start = timed_from();
    t.cpu = cpu;
    t.j = j;
    t.e = &j->e;
    t.mode = cpu->mode;
    t.cs64 = cpu->mode & MODE_CS64;
    t.flat = (cpu->mode & MODE_FLAT) && (cpu->mode & (MODE_CS32 | MODE_CS64));
    t.user = cpu_cpl(cpu) == 3;
    t.up = j->nr_cpus == 1;
    t.lin = lin;
    t.page_at = (unsigned)(lin & (PAGE_SIZE - 1));
    t.gpa = page.gpa | t.page_at;
    t.nr_insns = t.nr_cold = t.nr_exits = 0;
    t.vectors = t.fpu = t.failed = t.done = false;
    t.fpu_notes_rip = t.fpu_notes_seg = 0;
    t.stamp2 = NULL;
    memset(t.way, 0, sizeof(t.way));
    memset(t.flags_at, FLAGS_MEMORY, sizeof(t.flags_at));
    /* First the stamp and the mark, then the bytes: see memory/ram.h. */
    uint32_t seen = ram_track_code(page.ram, page.ram_offset + t.page_at, 1);
    if (!scan(&t, &page, lin, MIN(j->max_insns, (unsigned)TB_MAX_INSNS))) {
        return NULL;
    }
    find_live_flags(&t);
    t.may_share = t.cs64 && j->share && j->use_table && share_pays(j, t.gpa, t.mode);
    share_scan(&t);
    pthread_mutex_lock(&j->lock);
    Tb *tb = tb_find(j, t.gpa, t.mode, ram_code_stamp(page.ram, page.ram_offset), t.stamp2);
    if (!tb) {
        tb = translate_locked(&t, &page, seen);
        timed_to(j, start);
        if (tb && log_on(LOG_IN_ASM | LOG_OP | LOG_OUT_ASM) && log_filter_has(lin)) {
            show_block(&t, cpu->rip);
        }
    }
    pthread_mutex_unlock(&j->lock);
    return tb;
}
