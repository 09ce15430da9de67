/* SPDX-License-Identifier: GPL-2.0-or-later
 * The translator as an engine: cold blocks run in the interpreter, hot ones are translated and run
 * on the host. This file holds the loop that goes between the two and the vCPU's jump cache.
 */
#include <asm/prctl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel/accel.h"
#include "accel/interp/interp.h"
#include "accel/jit/check.h"
#include "accel/jit/cpu.h"
#include "accel/jit/fault.h"
#include "accel/jit/fpu.h"
#include "accel/jit/jit.h"
#include "accel/jit/jumps.h"
#include "accel/jit/options.h"
#include "accel/jit/turns.h"
#include "cpu/exception.h"
#include "cpu/simd_host.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/vm_lock.h"

/* ---- entering and leaving generated code ---- */

static const uint8_t *wanted_gs(const CpuState *cpu)
{
    return !cpu->window              ? (const uint8_t *)cpu + WINDOW_ABOVE
           : (cpu->mode & MODE_PG) ? checked_window_base(cpu->checked_window)
                                     : window_base(cpu->window);
}

/* Another thread may have run the CPU before. */
static void set_gs(CpuState *cpu)
{
    cpu->jit->gs = wanted_gs(cpu);
    syscall(SYS_arch_prctl, ARCH_SET_GS, cpu->jit->gs);
}

/* In generated code and the signal handlers above it. */
static CpuState *cpu_by_gs(void)
{
    CpuState *cpu;
    __asm__ volatile("movq %%gs:%c1, %0" : "=r"(cpu) : "i"(OFF_WORD(JW_SELF)));
    return cpu;
}

/* How often a block runs in the interpreter before it is translated. */
static uint32_t heat_now(const Jit *j)
{
    unsigned pressure = __atomic_load_n(&j->pressure, __ATOMIC_RELAXED);
    return MIN(j->threshold << pressure, MAX_THRESHOLD);
}

void jit_enter_code(CpuState *cpu)
{
    JitCpu *jc = cpu->jit;
    for (;;) {
        __atomic_store_n(&jc->in_code, 1, __ATOMIC_SEQ_CST);
        if (likely(!__atomic_load_n(&jc->jit->stopping, __ATOMIC_SEQ_CST))) {
            break;
        }
        __atomic_store_n(&jc->in_code, 0, __ATOMIC_SEQ_CST);
        uint32_t was = __atomic_exchange_n(&cpu->guest_code, 0, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&jc->jit->stopping, __ATOMIC_SEQ_CST)) {
            sched_yield();
        }
        __atomic_store_n(&cpu->guest_code, was, __ATOMIC_SEQ_CST);
    }
    if (unlikely(jc->epoch != jc->jit->epoch)) {
        jumps_clear(jc);
        cpu->jit_word[JW_LINK] = 0;
        jc->epoch = jc->jit->epoch;
        /* What was hot once need not be now: a small cache would be full again at once. */
        interp_reheat(cpu, heat_now(jc->jit));
    }
}

void jit_leave_code(CpuState *cpu)
{
    __atomic_store_n(&cpu->jit->in_code, 0, __ATOMIC_SEQ_CST);
}

/* The cache is full again: was too much of the time since it was empty spent on filling it? Then
 * only what runs oftener is worth translating, and the interpreter has the rest. A translation
 * takes as long as the interpreter needs for some hundred runs of the block. */
static void jit_feel_pressure(Jit *j)
{
    uint64_t now = cpu_time_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t all = now - j->full_at, filling = j->stats.translate_ns - j->full_translate_ns;
    unsigned pressure = j->pressure;
    if (filling > all / 6 && pressure < MAX_PRESSURE) {
        pressure++;
    } else if (filling < all / 24 && pressure) {
        pressure--;
    }
    __atomic_store_n(&j->pressure, pressure, __ATOMIC_RELAXED);
    j->full_at = now;
    j->full_translate_ns = j->stats.translate_ns;
}

/* Waits for every other vCPU to leave generated code, and empties the cache. */
static void jit_flush(CpuState *cpu)
{
    Jit *j = cpu->jit->jit;
    if (__atomic_exchange_n(&j->stopping, true, __ATOMIC_SEQ_CST)) {
        return; /* somebody else is at it */
    }
    uint32_t was = __atomic_exchange_n(&cpu->guest_code, 0, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; cpu->machine && i < cpu->machine->nr_cpus && cpu->machine->cpu; i++) {
        CpuState *other = cpu->machine->cpu[i];
        JitCpu *jc = other && other != cpu ? other->jit : NULL;
        if (!jc) {
            continue;
        }
        cpu_request(other, CPU_REQ_RECHECK);
        while (__atomic_load_n(&jc->in_code, __ATOMIC_SEQ_CST)) {
            sched_yield();
        }
    }
    pthread_mutex_lock(&j->lock);
    j->stats.full++;
    jit_feel_pressure(j);
    jit_empty(j);
    pthread_mutex_unlock(&j->lock);
    __atomic_store_n(&cpu->guest_code, was, __ATOMIC_SEQ_CST);
    __atomic_store_n(&j->stopping, false, __ATOMIC_SEQ_CST);
}

/* ---- finding code ---- */

static Tb *find_block(CpuState *cpu, uint64_t lin, const ItlbEntry **page)
{
    cpu->insn_rip = cpu->rip;
    const ItlbEntry *p = mmu_fetch_page(cpu, lin);
    *page = p;
    if (!p->ram) {
        return NULL;
    }
    uint64_t gpa = p->gpa | (lin & (PAGE_SIZE - 1));
    const uint32_t *stamp = ram_code_stamp(p->ram, p->ram_offset);
    Tb *tb = tb_find(cpu->jit->jit, gpa, cpu->mode, stamp, TB_ANY);
    if (likely(!tb || !tb->stamp2)) {
        return tb;
    }
    /* Which second page is it here and now? */
    uint64_t next = TLB_PAGE(lin) + PAGE_SIZE;
    const ItlbEntry *p2 = mmu_fetch_page(cpu, cpu->mode & MODE_LMA ? next : (uint32_t)next);
    *page = mmu_fetch_page(cpu, lin);
    return p2->ram ? tb_find(cpu->jit->jit, gpa, cpu->mode, stamp,
                             ram_code_stamp(p2->ram, p2->ram_offset))
                   : NULL;
}

/* How often a block runs in the interpreter before it is worth translating: more often in a page
 * whose code changes all the time. */
static uint32_t heat_for_page(CpuState *cpu, const uint32_t *stamp)
{
    Jit *j = cpu->jit->jit;
    pthread_mutex_lock(&j->lock);
    uint32_t drops = jit_page_drops(j, stamp);
    pthread_mutex_unlock(&j->lock);
    uint32_t heat = heat_now(j);
    return drops < 4 ? heat : MAX(heat, 1u) << MIN((drops - 2) / 2, 10u);
}

static Tb *translate_hot(CpuState *cpu, uint64_t lin, const ItlbEntry *page)
{
    Jit *j = cpu->jit->jit;
    pthread_mutex_lock(&j->lock);
    bool full = jit_is_full(j);
    pthread_mutex_unlock(&j->lock);
    if (full) {
        jit_leave_code(cpu);
        jit_flush(cpu);
        jit_enter_code(cpu);
    }
    return jit_translate(cpu, lin, page);
}

Tb *jit_block_now(CpuState *cpu)
{
    const ItlbEntry *page;
    uint64_t lin = cpu_code_lin(cpu);
    Tb *tb = find_block(cpu, lin, &page);
    return tb || !page->ram ? tb : translate_hot(cpu, lin, page);
}

/* Is tb, at rip, what the exit that code was left by leads to? An interrupt may have come in between. */
static bool leads_here(const CpuState *cpu, const TbExit *x, const Tb *tb)
{
    if (x->from->mode != tb->mode) {
        return false;
    }
    return x->tag ? cpu->rip == cpu->jit_word[JW_PAGE] + (uint64_t)(int64_t)x->far
                  : x->from->stamp == tb->stamp && x->at == (tb->gpa & (PAGE_SIZE - 1));
}

/* Executable address of the block at rip; NULL: the interpreter's turn. */
static void *code_at_rip(CpuState *cpu, bool translate)
{
    JitCpu *jc = cpu->jit;
    uint64_t lin = cpu_code_lin(cpu), tag = jit_current_tag(cpu);
    void *host = jumps_find(jc, lin, tag);
    if (likely(host && !cpu->jit_word[JW_LINK] && !translate)) {
        return host;
    }
    const ItlbEntry *page;
    Tb *tb = find_block(cpu, lin, &page);
    if (!tb && translate) {
        tb = page->ram ? translate_hot(cpu, lin, page) : NULL;
        if (!tb) {
            interp_cooler(cpu, 1u << 16);
        }
    }
    /* Not before: translating may have emptied the cache, and with it taken the link back. */
    TbExit *link = (TbExit *)cpu->jit_word[JW_LINK];
    cpu->jit_word[JW_LINK] = 0;
    if (!tb) {
        return NULL;
    }
    jc->cache_misses += !host;
    jc->link_misses += link != NULL;
    if (link && leads_here(cpu, link, tb)) {
        pthread_mutex_lock(&jc->jit->lock);
        if (jc->epoch == jc->jit->epoch && link->tag) {
            tb_link_far(jc->jit, link, tb, cpu->jit_word[JW_PAGE], jit_current_tag(cpu));
        } else if (jc->epoch == jc->jit->epoch) {
            tb_link(jc->jit, link, tb);
        }
        pthread_mutex_unlock(&jc->jit->lock);
    }
    jumps_add(jc, lin, jit_current_tag(cpu), tb->entry);
    return tb->entry;
}

void jit_unshare(CpuState *cpu, Tb *tb)
{
    Jit *j = cpu->jit->jit;
    if (!share_note_lost(j, tb->gpa, tb->mode)) {
        return;
    }
    pthread_mutex_lock(&j->lock);
    if (!tb->stale) {
        tb_drop(j, tb, DROP_SHARE);
    }
    pthread_mutex_unlock(&j->lock);
}

/* ---- the loop ---- */

/* Outside 64-bit mode: how far a segment may be read and written without a closer look. */
static void set_limits(CpuState *cpu)
{
    for (unsigned i = 0; i < NR_SEGS; i++) {
        const Segment *s = &cpu->seg[i];
        uint64_t read = UINT64_MAX, write = UINT64_MAX; /* -1: never */
        bool code = s->attr & SEG_CODE;
        bool usable = (s->attr & (SEG_P | SEG_S)) == (SEG_P | SEG_S) && !(s->attr & SEG_UNUSABLE);
        bool plain = !(cpu->mode & MODE_PE);
        if (!code && (s->attr & SEG_EXPAND_DOWN) && !plain) {
            usable = false;
        }
        if (usable || plain) {
            bool rw = s->attr & SEG_RW;
            read = !code || rw || plain ? s->limit : read;
            write = (!code && rw) || plain ? s->limit : write;
        }
        cpu->jit_word[JW_READ_LIMIT + i] = read;
        cpu->jit_word[JW_WRITE_LIMIT + i] = write;
    }
    uint32_t limit = cpu->seg[SEG_CS].limit;
    cpu->jit_word[JW_CODE_LIMIT] = cpu->mode & MODE_CS32 ? limit : MIN(limit, 0xffffu);
}

/* A guest that turned paging on and stays with it needs the bare window no more; one that turns it on and
 * off all the time does. */
enum { UNPAGED_ENTRIES = 10000 };

bool jit_ready(CpuState *cpu)
{
    if (!(cpu->mode & MODE_CS64)) {
        set_limits(cpu);
    }
    if (unlikely(cpu->jit->gs != wanted_gs(cpu))) {
        set_gs(cpu);
    }
    JitCpu *jc = cpu->jit;
    if (!(cpu->mode & MODE_PG) && cpu->window) {
        window_refresh(cpu);
        jc->unpaged_left = UNPAGED_ENTRIES;
    } else if (unlikely(jc->unpaged_left) && !--jc->unpaged_left) {
        window_drop(cpu->window);
    }
    cpu->jit_word[JW_PAGE] = cpu->rip - (cpu_code_lin(cpu) & (PAGE_SIZE - 1));
    cpu->mmu->store_hit_code = false;
    __atomic_store_n(&cpu->jump_tag, jit_current_tag(cpu), __ATOMIC_SEQ_CST);
    return likely(!cpu_unmasked(cpu, __atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST)));
}

/* False: it was not entered, something else comes first. */
static bool run_code(CpuState *cpu, void *host)
{
    if (!jit_ready(cpu)) {
        return false;
    }
    cpu->jit->entries++;
    cpu->jit->jit->stubs.enter(host);
    if (!(cpu->mode & MODE_CS64)) {
        cpu->rip = (uint32_t)cpu->rip; /* generated code does not care */
    }
    jit_fpu_store(cpu);
    if (unlikely(cpu->jit_word[JW_STALE])) {
        cpu->jit_word[JW_STALE] = 0;
        jumps_forget(cpu->jit, cpu_code_lin(cpu));
    }
    return true;
}

bool jit_run_block(CpuState *cpu, const Tb *tb)
{
    return run_code(cpu, tb->entry);
}

/* One round: a stretch of generated code, or a block of the interpreter's. */
static void run_once(CpuState *cpu)
{
    if (unlikely(cpu->jit->check)) {
        check_round(cpu);
        return;
    }
    bool hot = interp_was_hot(cpu);
    if (unlikely(interp_wants_single(cpu))) {
        interp_run_single(cpu);
        return;
    }
    jit_enter_code(cpu);
    void *host = code_at_rip(cpu, hot);
    if (host && log_on(LOG_EXEC | LOG_CPU)) {
        interp_log_entry(cpu, "code");
    }
    bool entered = host && run_code(cpu, host);
    jit_leave_code(cpu);
    if (host && !entered && !cpu->jit->refused) {
        cpu->jit->refused = true; /* once: what stays requested must not stop the guest */
        return;
    }
    cpu->jit->refused = false;
    if (entered && likely(!cpu->jit_word[JW_INTERP])) {
        return;
    }
    if (cpu->jit_word[JW_INTERP]) {
        cpu->jit_word[JW_INTERP] = 0;
        cpu->mmu->single_next = true;
        return;
    }
    cpu->jit->interp_blocks++;
    interp_run_block(cpu);
}

static bool safepoint(CpuState *cpu)
{
    Turns *turns = cpu->jit->jit->turns;
    if (turns) {
        turns_pass(turns, cpu);
    }
    return interp_safepoint(cpu);
}

static void unwound(CpuState *cpu)
{
    jit_fpu_store(cpu);
    jit_leave_code(cpu);
    cpu->jit_word[JW_LINK] = 0;
}

void jit_run(CpuState *cpu)
{
    static const RunLoop loop = { run_once, safepoint, unwound };
    Turns *turns = cpu->jit->jit->turns;
    if (turns) {
        turns_take(turns, cpu);
    }
    set_gs(cpu);
    interp_loop(cpu, &loop);
    if (turns) {
        turns_give(turns);
    }
}

int jit_step_block(CpuState *cpu)
{
    jmp_buf unwind, *outer = cpu->unwind;
    volatile int vector = -1;
    set_gs(cpu);
    simd_mxcsr_enter(cpu);
    cpu->unwind = &unwind;
    if (setjmp(unwind)) {
        jit_fpu_store(cpu);
        interp_bus_unlock(cpu);
        cpu->rip = cpu->insn_rip;
        vector = cpu->exc_vector;
    } else {
        jit_enter_code(cpu);
        Tb *tb = jit_block_now(cpu);
        cpu_clear_request(cpu, CPU_REQ_RECHECK);
        if (!tb || !run_code(cpu, tb->entry) || cpu->jit_word[JW_INTERP]) {
            interp_run_single(cpu);
        }
    }
    jit_leave_code(cpu);
    cpu->jit_word[JW_INTERP] = cpu->jit_word[JW_LINK] = 0;
    cpu->unwind = outer;
    simd_mxcsr_leave(cpu);
    return vector;
}

/* ---- life ---- */

/* Some translator's page was written; the stamp has grown. */
static pthread_mutex_t jits_lock = PTHREAD_MUTEX_INITIALIZER;
static Jit *jits[16];

static uint64_t code_kept(const uint32_t *stamp, uint64_t written, uint64_t *ticket)
{
    uint64_t keep = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(jits); i++) {
        Jit *j = __atomic_load_n(&jits[i], __ATOMIC_ACQUIRE);
        if (j) {
            keep |= jit_page_keep(j, stamp, written, ticket);
        }
    }
    return keep;
}

static void code_changed(const uint32_t *stamp, uint64_t written, uint64_t ticket)
{
    /* Devices write with the lock held, whoever's thread it is; vCPUs do not hold it. */
    CpuState *cpu = vm_locked() ? NULL : cpu_current();
    for (unsigned i = 0; i < ARRAY_SIZE(jits); i++) {
        Jit *j = __atomic_load_n(&jits[i], __ATOMIC_ACQUIRE);
        if (j) {
            unsigned n = jit_page_written(j, stamp, written, ticket, cpu ? DROP_STORE : DROP_DEVICE);
            if (n && cpu && cpu->jit) {
                cpu->jit->code_stores++;
                cpu->jit->code_dropped += n;
            }
        }
    }
}

/* ---- faults in generated code ---- */

/* Non-canonical addresses that an empty slot let through (gen_mem.c), and what the window does not
 * allow. The stubs want the registers as they are, and r10 and r11. */
static bool fault_in_code(const void *pc, const void *addr, FaultFix *fix)
{
    for (unsigned i = 0; i < ARRAY_SIZE(jits); i++) {
        Jit *j = __atomic_load_n(&jits[i], __ATOMIC_ACQUIRE);
        Tb *tb = j ? jit_fault_at(j, pc, &fix->r11) : NULL;
        if (!tb) {
            continue;
        }
        const uint8_t *stub = addr ? j->stubs.window_lost : j->stubs.raise_gp;
        fix->rip = (uintptr_t)(stub + j->e.to_rx);
        fix->r10 = (uintptr_t)tb;
        if (!addr) {
            return true;
        }
        CpuState *cpu = cpu_by_gs();
        return cpu->window && window_find(cpu->jit->gs, addr, &cpu->jit_word[JW_LIN]);
    }
    return false;
}

static bool announce(Jit *j)
{
    bool found = false;
    pthread_mutex_lock(&jits_lock);
    for (unsigned i = 0; i < ARRAY_SIZE(jits) && !found; i++) {
        if (!jits[i]) {
            __atomic_store_n(&jits[i], j, __ATOMIC_RELEASE);
            found = true;
        }
    }
    ram_code_keep_hook = code_kept;
    ram_code_hook = code_changed;
    catch_faults(fault_in_code);
    pthread_mutex_unlock(&jits_lock);
    return found;
}

Jit *jit_create(const JitConfig *c, Error **errp)
{
    Jit *j = jit_new(c, errp);
    if (j && !announce(j)) {
        jit_free(j);
        error_set(errp, "too many machines with a translator in one process");
        return NULL;
    }
    return j;
}

void jit_destroy(Jit *j)
{
    pthread_mutex_lock(&jits_lock);
    for (unsigned i = 0; i < ARRAY_SIZE(jits); i++) {
        if (jits[i] == j) {
            __atomic_store_n(&jits[i], NULL, __ATOMIC_RELEASE);
        }
    }
    pthread_mutex_unlock(&jits_lock);
    jit_free(j);
}

bool jit_cpu_init(CpuState *cpu, Jit *j, Error **errp)
{
    Window *window = j->window ? window_new(cpu, errp) : NULL;
    CheckedWindow *checked = window ? checked_window_new(cpu, errp) : NULL;
    if (j->window && !checked) {
        window_free(window);
        error_prefix(errp, "-accel jit (which with window=off needs no window): ");
        return false;
    }
    JitCpu *jc = aligned_alloc(64, ROUND_UP(sizeof(*jc), 64));
    if (!jc) {
        abort(); /* a quarter of a megabyte, at start */
    }
    memset(jc, 0, sizeof(*jc));
    jc->jit = j;
    jc->epoch = j->epoch;
    jumps_clear(jc);
    jc->check = j->check ? check_new() : NULL;
    if (j->check && !jc->check) {
        abort(); /* half a megabyte, at start */
    }
    memset(cpu->jit_word, 0, sizeof(cpu->jit_word));
    cpu->jit_word[JW_SELF] = (uintptr_t)cpu;
    cpu->jit_word[JW_JUMPS] = (uintptr_t)jc->jump;
    cpu->checked_window = checked;
    __atomic_store_n(&cpu->window, window, __ATOMIC_RELEASE);
    __atomic_store_n(&cpu->jit, jc, __ATOMIC_RELEASE);
    interp_cpu_init(cpu);
    interp_set_heat(cpu, heat_for_page);
    return true;
}

void jit_cpu_fini(CpuState *cpu)
{
    Jit *j = cpu->jit->jit;
    pthread_mutex_lock(&j->lock);
    jit_forget_spaces(j);
    pthread_mutex_unlock(&j->lock);
    interp_cpu_fini(cpu);
    Window *window = cpu->window;
    CheckedWindow *checked = cpu->checked_window;
    cpu->window = NULL;
    cpu->checked_window = NULL;
    window_free(window);
    checked_window_free(checked);
    check_free(cpu->jit->check, cpu);
    free(cpu->jit);
    cpu->jit = NULL;
}

/* ---- the engine ---- */

static bool has(const char *feature, bool yes, Error **errp)
{
    return yes || error_set(errp, "this host's processor lacks %s, which the translator needs; "
                            "use -accel interp", feature);
}

static bool jit_probe(Error **errp)
{
    __builtin_cpu_init();
    return has("AVX2", __builtin_cpu_supports("avx2"), errp) &&
           has("BMI2", __builtin_cpu_supports("bmi2"), errp);
}

static bool jit_machine_init(Machine *m, const Dict *opts, Error **errp)
{
    JitConfig c = JIT_CONFIG_DEFAULT;
    c.chain = !log_on(LOG_NOCHAIN);
    if (!jit_read_options(opts, &c, errp)) {
        return error_prefix(errp, "-accel jit: ");
    }
    c.nr_cpus = c.single ? 1 : m->nr_cpus;
    c.single |= c.check;
    m->jit = jit_create(&c, errp);
    return m->jit != NULL;
}

static bool jit_vcpu_init(Vcpu *v, Error **errp)
{
    return jit_cpu_init(&v->cpu, v->machine->jit, errp);
}

extern Engine engine_jit;

static void jit_machine_fini(Machine *m)
{
    jit_destroy(m->jit);
    m->jit = NULL;
}

static bool jit_can_have(const Machine *m, unsigned nr, Error **errp)
{
    const Jit *j = m->jit;
    return !j->turns || nr == m->nr_cpus ||
           error_set(errp, "%s wants all vCPUs: those on another engine would not take turns with "
                     "them", j->check ? "check=interp" : "thread=single");
}

static bool jit_engines_changed(Machine *m, Error **errp)
{
    (void)errp;
    Jit *j = m->jit;
    if (!vcpus_on_engine(m, &engine_jit) && !vcpus_all_software(m)) {
        /* Nobody hears of writes to this code any more, and somebody may come back to it. */
        pthread_mutex_lock(&j->lock);
        jit_empty(j);
        pthread_mutex_unlock(&j->lock);
    }
    return true;
}

/* nochain: the blocks that there are lead to each other, or know no way to. */
static void jit_log_changed(Machine *m)
{
    Jit *j = m->jit;
    bool chain = !log_on(LOG_NOCHAIN) && !j->check;
    pthread_mutex_lock(&j->lock);
    if (chain != j->chain) {
        j->chain = chain;
        jit_empty(j);
    }
    pthread_mutex_unlock(&j->lock);
}

static void jit_vcpu_run(Vcpu *v)
{
    jit_run(&v->cpu);
}

static void jit_vcpu_fini(Vcpu *v)
{
    jit_cpu_fini(&v->cpu);
}

static const char *const jit_aliases[] = { "tcg", NULL };

ENGINE(jit) = {
    .name = "jit",
    .desc = "translator to the host's own instructions",
    .aliases = jit_aliases,
    .options = jit_options,
    .thread_name = "JIT",
    .probe = jit_probe,
    .machine_init = jit_machine_init,
    .machine_fini = jit_machine_fini,
    .can_have = jit_can_have,
    .engines_changed = jit_engines_changed,
    .log_changed = jit_log_changed,
    .vcpu_init = jit_vcpu_init,
    .can_run = vcpu_can_run,
    .load_state = vcpu_load_state,
    .run = jit_vcpu_run,
    .vcpu_fini = jit_vcpu_fini,
    .info = jit_info,
    .executes = true,
    .software = true,
};
