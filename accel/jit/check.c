/* SPDX-License-Identifier: GPL-2.0-or-later
 * Lockstep with the interpreter. For each block:
 *
 *     state 0 --- interpreter, instruction by instruction, stores noted ---> state 1, 2 ... n
 *        |  <---- stores and state taken back -------------------------------------'
 *        '------- the translated block, once ----> must be one of them, memory too
 *
 * A block need not run to its end (it may have overwritten itself), so the translated one's rip
 * says which of the interpreter's states it is compared with. What cannot be taken back (devices,
 * the clock, changes of paging) runs in the interpreter alone. Both runs happen under vm_lock and
 * with requests held back, so that no device changes memory in between; and vCPUs take turns
 * (turns.h), as taking stores back would undo another's in between.
 *
 * Blocks are not chained, so what chaining saves (flags that a successor does not want, polls) is
 * not looked at. Memory is compared where the interpreter stored.
 */
#include "accel/jit/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accel/interp/interp.h"
#include "accel/jit/fpu.h"
#include "accel/jit/translate.h"
#include "cpu/simd_host.h"
#include "util/log.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

/* ---- blocks ---- */

bool check_may_try(const Insn *in)
{
    switch (in->op) {
    case OP_IN: case OP_OUT: case OP_INS: case OP_OUTS: case OP_RDTSC: case OP_RDTSCP:
    case OP_RDPMC: case OP_RDRAND: case OP_RDSEED: case OP_RDMSR: case OP_WRMSR: case OP_HLT:
    case OP_MONITOR: case OP_MWAIT: case OP_MOVCR: case OP_MOVDR: case OP_LMSW: case OP_INVLPG:
    case OP_INVPCID: case OP_INVD: case OP_WBINVD: case OP_XSETBV: case OP_RSM:
    case OP_VMCALL: case OP_VMMCALL:
        return false;
    default: return true;
    }
}

/* Flags that a processor may leave as it likes, as far as engines here really differ: the others
 * come from the same host instruction in both. What processors leave as it was before (BSR's CF)
 * is not loaded first by the translator. */
static uint32_t leaves_undefined(const Insn *in)
{
    const Operand *last = &in->opd[MAX(in->nr_opd, 1) - 1];
    switch (in->op) {
    case OP_DIV: case OP_IDIV: case OP_MUL: case OP_IMUL: case OP_BT: case OP_BTS: case OP_BTR:
    case OP_BTC: case OP_BSF: case OP_BSR: case OP_LZCNT: case OP_TZCNT:
        return insn_rows[in->row].flags_undef;
    case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: case OP_SHL: case OP_SHR: case OP_SAR:
    case OP_SHLD: case OP_SHRD: /* OF by counts other than 1 */
        return last->kind == OPD_IMM && in->imm == 1 ? 0 : FLAG_OF;
    default: return 0;
    }
}

uint32_t check_undefined(const Insn *in, uint32_t undef)
{
    return (undef & ~insn_flags_killed(in)) | leaves_undefined(in);
}

TbCheck *check_describe(Jit *j, const Insn *in, const uint16_t *off, const uint32_t *live,
                        unsigned n)
{
    TbCheck *c = jit_alloc(j, sizeof(*c));
    bool *simple = jit_alloc(j, n);
    uint16_t *o = jit_alloc(j, (n + 1) * sizeof(*o));
    uint32_t *l = jit_alloc(j, (n + 1) * sizeof(*l)), *u = jit_alloc(j, (n + 1) * sizeof(*u));
    uint8_t *bytes = jit_alloc(j, off[n]);
    if (!c || !simple || !o || !l || !u || !bytes) {
        return NULL;
    }
    *c = (TbCheck){ .nr_insns = n, .off = o, .live = l, .undef = u,
                    .simple = simple, .bytes = bytes };
    memcpy(o, off, (n + 1) * sizeof(*o));
    memcpy(l, live, (n + 1) * sizeof(*l));
    u[0] = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t row = insn_rows[in[i].row].flags;
        simple[i] = (row & INSN_USER) && !(row & (INSN_X87 | INSN_MMX | INSN_SSE | INSN_AVX));
        memcpy(bytes + off[i], in[i].bytes, in[i].len);
        u[i + 1] = check_undefined(&in[i], u[i]);
    }
    return c;
}

/* ---- runs that are cut short ---- */

/* FERR#: the interrupt controller behind it cannot take it back. */
static void ferr_escape(void *opaque, bool level)
{
    (void)level;
    journal_escape(&((CpuState *)opaque)->jit->check->journal, "it drives FERR#");
}

/* Runs fn to its end, to the fault it raises, or to where it may not go on. */
static CheckEnd guarded(CpuState *cpu, JitCheck *c, bool recording,
                        void (*fn)(CpuState *cpu, JitCheck *c))
{
    jmp_buf unwind, escape, *outer = cpu->unwind;
    void (*ferr)(void *, bool) = cpu->ferr;
    void *ferr_opaque = cpu->ferr_opaque;
    volatile CheckEnd end = CHECK_RAN;
    cpu->ferr = ferr ? ferr_escape : NULL;
    cpu->ferr_opaque = cpu;
    cpu->unwind = &unwind;
    c->journal.escape = &escape;
    journal_begin(cpu, &c->journal, recording);
    simd_mxcsr_enter(cpu);
    if (setjmp(escape)) {
        end = CHECK_ESCAPED;
    } else if (setjmp(unwind)) {
        end = CHECK_RAISED;
        cpu->rip = cpu->insn_rip;
    } else {
        fn(cpu, c);
    }
    jit_fpu_store(cpu);
    simd_mxcsr_leave(cpu);
    journal_end(cpu);
    interp_bus_unlock(cpu);
    cpu->unwind = outer;
    cpu->ferr = ferr;
    cpu->ferr_opaque = ferr_opaque;
    return end;
}

/* ---- the interpreter's run ---- */

/* A request would cut runs short, string instructions in the middle. */
static void hold_requests(CpuState *cpu, JitCheck *c)
{
    if (unlikely(cpu_requests(cpu))) {
        c->requests |= __atomic_exchange_n(&cpu->request, 0, __ATOMIC_SEQ_CST);
        c->disturbed = true;
    }
}

/* After instruction c->nr - 1. */
static void keep_state(CpuState *cpu, JitCheck *c)
{
    unsigned k = c->nr;
    check_copy_core(&c->state[k], cpu);
    c->stores[k] = c->journal.nr_stores;
    c->rest[k] = c->rest[k - 1];
    if (!c->tb->check->simple[k - 1]) {
        check_copy_rest(&c->state[k], cpu);
        c->state[k].mxcsr = simd_mxcsr_read(cpu);
        c->rest[k] = k;
    }
}

static void interpret(CpuState *cpu, JitCheck *c)
{
    const TbCheck *b = c->tb->check;
    uint64_t start = cpu->rip;
    while (c->nr < b->nr_insns && cpu->rip == start + b->off[c->nr]) {
        uint64_t rip = cpu->rip;
        interp_run_bare(cpu);
        if (cpu->rip == rip && c->tb->stamp2) { /* the second page had to be looked at */
            interp_run_bare(cpu);
        }
        c->nr++;
        keep_state(cpu, c);
        hold_requests(cpu, c); /* the instruction's own */
    }
}

/* Paging must be as it was, or the caches would be another address space's. */
static bool paging_changed(const CpuState *a, const CpuState *b)
{
    return a->cr0 != b->cr0 || a->cr3 != b->cr3 || a->cr4 != b->cr4 || a->efer != b->efer;
}

/* Leaves CPU and memory as they were. */
static void try_interpreter(CpuState *cpu, JitCheck *c)
{
    c->nr = 0;
    c->stores[0] = c->rest[0] = 0;
    check_copy_state(&c->state[0], cpu);
    c->end = guarded(cpu, c, true, interpret);
    if (c->end == CHECK_RAISED) {
        c->vector = cpu->exc_vector;
        c->error = cpu->exc_has_error ? cpu->exc_error : 0;
    }
    check_copy_state(&c->last, cpu);
    bool paging = paging_changed(cpu, &c->state[0]);
    journal_undo(cpu, &c->journal);
    cpu->mmu->single_next = cpu->mmu->store_hit_code = false;
    check_copy_state(cpu, &c->state[0]);
    tlb_select(cpu);
    if (paging) {
        tlb_flush(cpu);
        c->end = CHECK_ESCAPED;
        c->journal.escape_cause = "it changes paging";
    }
}

/* ---- memory ---- */

static void put(const JournalStore *s, uint64_t val)
{
    memcpy(s->host, &val, s->size);
}

static uint64_t get(const JournalStore *s)
{
    uint64_t val = 0;
    memcpy(&val, s->host, s->size);
    return val;
}

/* Fills in found and want of all stores: what the translated block left there, and what the first
 * n stores, and no others, would have. */
static bool same_memory(Journal *j, size_t n)
{
    bool same = true;
    for (size_t i = 0; i < j->nr_stores; i++) {
        same &= get(&j->store[i]) == j->store[i].after;
    }
    if (likely(same && n == j->nr_stores)) {
        return true; /* stores that overlap are looked at more closely */
    }
    same = true;
    for (size_t i = 0; i < j->nr_stores; i++) {
        j->store[i].found = get(&j->store[i]);
    }
    for (size_t i = j->nr_stores; i-- > 0;) {
        put(&j->store[i], j->store[i].before);
    }
    for (size_t i = 0; i < n; i++) {
        put(&j->store[i], j->store[i].after);
    }
    for (size_t i = 0; i < j->nr_stores; i++) {
        j->store[i].want = get(&j->store[i]);
        same &= j->store[i].want == j->store[i].found;
    }
    for (size_t i = 0; i < j->nr_stores; i++) {
        put(&j->store[i], j->store[i].found);
    }
    return same;
}

/* ---- the translated block's run, and the verdict ---- */

static void execute(CpuState *cpu, JitCheck *c)
{
    while (!jit_run_block(cpu, c->tb)) { /* somebody asked for something just now */
        hold_requests(cpu, c);
    }
}

static uint32_t flags_that_count(const JitCheck *c, unsigned k)
{
    const TbCheck *b = c->tb->check;
    bool left = c->state[k].rip != c->state[0].rip + b->off[k]; /* by a branch that was taken */
    return (left ? FLAG_ARITH : b->live[k]) & ~b->undef[k];
}

static bool same_at(CpuState *cpu, JitCheck *c, unsigned k)
{
    check_copy_core(&c->want, &c->state[k]);
    check_copy_rest(&c->want, &c->state[c->rest[k]]);
    return check_same_state(&c->want, cpu, flags_that_count(c, k)) &&
           same_memory(&c->journal, c->stores[k]);
}

static bool compare_end(CpuState *cpu, JitCheck *c)
{
    int place = -1; /* instructions until the interpreter was where the translated block stopped */
    for (int i = (int)c->nr; i >= 0; i--) {
        if (c->state[i].rip != cpu->rip || (i == 0 && !cpu->jit_word[JW_INTERP])) {
            continue;
        }
        if (same_at(cpu, c, (unsigned)i)) {
            c->insns += (unsigned)i;
            return true;
        }
        place = place < 0 ? i : place;
    }
    if (c->disturbed) {
        return true;
    }
    unsigned k = place < 0 ? c->nr : (unsigned)place;
    same_at(cpu, c, k);
    same_memory(&c->journal, c->stores[k]);
    check_report(cpu, c, &c->want, flags_that_count(c, k),
                 place < 0 ? "it ended elsewhere" : "its results differ");
    return false;
}

static bool compare_fault(CpuState *cpu, JitCheck *c)
{
    const TbCheck *b = c->tb->check;
    uint32_t error = cpu->exc_has_error ? cpu->exc_error : 0;
    uint32_t flags = b->live[c->nr] & ~b->undef[c->nr];
    bool memory = same_memory(&c->journal, c->journal.nr_stores);
    const char *what = c->end != CHECK_RAISED ? "it raised an exception"
                       : c->vector != cpu->exc_vector || c->error != error
                           ? "it raised another exception"
                       : !memory || !check_same_state(&c->last, cpu, flags)
                           ? "its state at an exception differs"
                           : NULL;
    if (what && c->disturbed) {
        return true;
    }
    if (what) {
        check_report(cpu, c, &c->last, flags, what);
    }
    c->insns += c->nr;
    return !what;
}

/* False: they differ. */
static bool try_translated(CpuState *cpu, JitCheck *c, CheckEnd *end)
{
    *end = guarded(cpu, c, false, execute);
    hold_requests(cpu, c);
    c->blocks++;
    switch (*end) {
    case CHECK_RAN: return compare_end(cpu, c);
    case CHECK_RAISED: return compare_fault(cpu, c);
    default:
        same_memory(&c->journal, c->journal.nr_stores);
        check_report(cpu, c, &c->last, 0, c->journal.escape_cause);
        return false;
    }
}

/* ---- the round ---- */

static void find(CpuState *cpu, JitCheck *c)
{
    c->tb = jit_block_now(cpu);
}

/* c->tb becomes the block at rip. False: there is none that can be compared. */
static bool find_block(CpuState *cpu, JitCheck *c)
{
    c->tb = NULL;
    return guarded(cpu, c, false, find) == CHECK_RAN && c->tb && c->tb->check;
}

/* The block in both engines. False: the interpreter must run what is at rip. *raised: the block
 * raised, in both. */
static bool run_both(CpuState *cpu, JitCheck *c, bool *raised)
{
    if (!find_block(cpu, c)) {
        return false;
    }
    unsigned tries = 0;
    do { /* again if page tables changed: the block may look at them */
        try_interpreter(cpu, c);
    } while (c->end != CHECK_ESCAPED && c->journal.tables_marked && ++tries < 8);
    if (c->end != CHECK_ESCAPED && c->journal.tables_marked) {
        /* Not to be had without: the block stores an entry, and the walk behind it marks that. The
         * translated one may have the page in its caches, and not walk at all. */
        c->end = CHECK_ESCAPED;
    }
    if (c->end == CHECK_ESCAPED) {
        c->alone = c->nr;
        c->alone_rip = c->last.insn_rip;
        return false;
    }
    if (c->tb->stale && !find_block(cpu, c)) {
        return false;
    }
    CheckEnd end;
    c->failed = !try_translated(cpu, c, &end);
    *raised = end == CHECK_RAISED;
    return true;
}

/* What generated code left for the engine. */
static void after_run(CpuState *cpu)
{
    cpu->mmu->single_next |= cpu->jit_word[JW_INTERP];
    cpu->jit_word[JW_INTERP] = cpu->jit_word[JW_LINK] = 0;
}

static void run_alone(CpuState *cpu, JitCheck *c)
{
    c->left_out++;
    interp_run_single(cpu);
}

/* A block that has been compared often runs translated only, but for every so many times. False: it is
 * to be compared. */
static bool run_unchecked(CpuState *cpu)
{
    unsigned every = cpu->jit->jit->check_every;
    if (every <= 1) {
        return false;
    }
    jit_enter_code(cpu);
    const Tb *tb = jit_block_now(cpu);
    TbCheck *b = tb ? tb->check : NULL;
    bool ran = b && ++b->runs > CHECK_ALWAYS && b->runs % every && jit_run_block(cpu, tb);
    jit_leave_code(cpu);
    after_run(cpu);
    return ran;
}

void check_round(CpuState *cpu)
{
    JitCheck *c = cpu->jit->check;
    if (c->failed) {
        usleep(1000); /* until the main loop has seen it */
        return;
    }
    if (c->alone || cpu->rip == c->alone_rip || interp_wants_single(cpu)) {
        c->alone -= c->alone != 0;
        run_alone(cpu, c);
        return;
    }
    c->alone_rip = NO_RIP;
    if (run_unchecked(cpu)) {
        return;
    }
    bool raised = false;
    vm_lock();
    simd_mxcsr_leave(cpu);
    hold_requests(cpu, c);
    c->disturbed = false;
    jit_enter_code(cpu);
    bool done = run_both(cpu, c, &raised);
    jit_leave_code(cpu);
    __atomic_or_fetch(&cpu->request, c->requests, __ATOMIC_SEQ_CST);
    c->requests = 0;
    after_run(cpu);
    simd_mxcsr_enter(cpu);
    vm_unlock();
    if (c->failed) {
        main_loop_quit(1);
    } else if (raised) {
        longjmp(*cpu->unwind, 1);
    } else if (!done) {
        run_alone(cpu, c);
    }
}

JitCheck *check_new(void)
{
    JitCheck *c = calloc(1, sizeof(*c));
    if (c && !journal_init(&c->journal, CHECK_MAX_STORES)) {
        free(c);
        c = NULL;
    }
    return c;
}

void check_free(JitCheck *c, const CpuState *cpu)
{
    if (c) {
        if (!c->failed) {
            log_printf("check=interp: cpu %u: %lu blocks did the same in both engines (%lu "
                       "instructions; %lu ran in the interpreter only)\n", cpu->index,
                       (unsigned long)c->blocks,
                       (unsigned long)c->insns, (unsigned long)c->left_out);
        }
        journal_fini(&c->journal);
        free(c);
    }
}
