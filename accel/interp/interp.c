/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interpreter's loop: runs blocks, takes events between them, and unwinds faults. Handlers
 * are in ops_*.c, decoding to ops in build.c, the block cache in block.c.
 */
#include "accel/interp/interp.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "accel/accel.h"
#include "accel/interp/block.h"
#include "cpu/debug.h"
#include "cpu/exception.h"
#include "cpu/exec_step.h"
#include "cpu/log.h"
#include "cpu/simd_host.h"
#include "util/log.h"

/* ---- instructions that are a function ---- */

static inline void exec_one(CpuState *cpu, const Op *op)
{
    const ExecOp *x = op->exec;
    uint64_t mask = interp_rip_mask(cpu);
    cpu->insn_rip = (cpu->rip + op->off) & mask;
    cpu->rip = (cpu->insn_rip + op->len) & mask;
    x->fn(cpu, &x->insn);
}

const Op *op_exec(CpuState *cpu, const Op *op)
{
    uint64_t start = cpu->rip;
    uint32_t mode = cpu->mode;
    uint64_t next = (start + op->off + op->len) & interp_rip_mask(cpu);
    exec_one(cpu, op);
    if (unlikely(cpu->rip != next || cpu->mode != mode || cpu_requests(cpu) ||
                 cpu->mmu->store_hit_code)) {
        return NULL;
    }
    cpu->rip = start;
    NEXT;
}

const Op *op_exec_step(CpuState *cpu, const Op *op)
{
    const ExecOp *x = op->exec;
    uint64_t start = cpu->rip, mask = interp_rip_mask(cpu);
    uint64_t insn_rip = (start + op->off) & mask;
    if (!exec_step(cpu, x->fn, &x->insn, insn_rip, (insn_rip + op->len) & mask,
                   op->flags & OP_LAST)) {
        return NULL;
    }
    cpu->rip = start;
    NEXT;
}

/* Control flow, mode, paging or interrupt state may have changed. */
const Op *op_exec_end(CpuState *cpu, const Op *op)
{
    exec_one(cpu, op);
    return NULL;
}

const Op *op_raise_ud(CpuState *cpu, const Op *op)
{
    interp_sync(cpu, op);
    cpu_raise_plain(cpu, EXC_UD);
}

const Op *op_raise_gp(CpuState *cpu, const Op *op)
{
    interp_sync(cpu, op);
    cpu_raise(cpu, EXC_GP, 0);
}

/* ---- ends of blocks ---- */

/* Falls out of the block: op->off is just past its last instruction. */
const Op *op_end(CpuState *cpu, const Op *op)
{
    cpu->rip = (cpu->rip + op->off) & interp_rip_mask(cpu);
    uint64_t lin = cpu_code_lin(cpu);
    const Op *first = jump_cache_find(cpu, lin);
    if (likely(first != NULL)) {
        GO(first);
    }
    return NULL;
}

/* Stands where the next instruction of an overwritten block was, or of a single-step block. */
const Op *op_stale(CpuState *cpu, const Op *op)
{
    cpu->rip = (cpu->rip + op->off) & interp_rip_mask(cpu);
    return NULL;
}

/* First in blocks whose CS is not flat: imm is the block's last byte. */
const Op *op_check_limit(CpuState *cpu, const Op *op)
{
    if (unlikely(cpu->rip + op->imm > cpu->seg[SEG_CS].limit)) {
        cpu->insn_rip = cpu->rip;
        if (op->cond == 1) { /* the block is a single instruction */
            cpu_raise(cpu, EXC_GP, 0);
        }
        cpu->mmu->single_next = true; /* come back one instruction at a time */
        return NULL;
    }
    NEXT;
}

/* First in blocks whose one instruction reaches into a second page. */
const Op *op_check_page2(CpuState *cpu, const Op *op)
{
    Block *b = op->block;
    uint64_t lin = cpu_code_lin(cpu);
    uint64_t lin2 = TLB_PAGE(lin) + PAGE_SIZE;
    lin2 = cpu->mode & MODE_LMA ? lin2 : (uint32_t)lin2;
    if (b->generation2 != cpu->mmu->generation || b->lin2 != lin2) {
        cpu->insn_rip = cpu->rip;
        const ItlbEntry *e = mmu_fetch_page(cpu, lin2);
        if (e->gpa != b->gpa2 ||
            (e->ram && ram_code_stamp(e->ram, e->ram_offset) != b->stamp2)) {
            b->stamp_seen = *b->stamp - 1; /* another page is there: decode again */
            return NULL;
        }
        b->lin2 = lin2;
        b->generation2 = cpu->mmu->generation;
    }
    if (*b->stamp2 != b->stamp2_seen) {
        b->stamp_seen = *b->stamp - 1;
        return NULL;
    }
    NEXT;
}

/* ---- memory operands the hard way ---- */

static const Op *op_slow_return(CpuState *cpu, const Op *op)
{
    (void)cpu, (void)op;
    return NULL;
}

/* LOCKed accesses outside one RAM page. A fault on the way lets go of it (deliver). */
static pthread_mutex_t bus_lock = PTHREAD_MUTEX_INITIALIZER;

void interp_bus_lock(CpuState *cpu)
{
    pthread_mutex_lock(&bus_lock);
    interp_of(cpu)->has_bus_lock = true;
}

void interp_bus_unlock(CpuState *cpu)
{
    if (interp_of(cpu)->has_bus_lock) {
        interp_of(cpu)->has_bus_lock = false;
        pthread_mutex_unlock(&bus_lock);
    }
}

static void check_canonical(CpuState *cpu, const Op *op, uint64_t lin, unsigned size)
{
    if (!(cpu->mode & MODE_CS64)) {
        return;
    }
    uint64_t last = lin + size - 1;
    if ((uint64_t)((int64_t)(lin << 16) >> 16) != lin ||
        (uint64_t)((int64_t)(last << 16) >> 16) != last) {
        cpu_raise(cpu, op->flags & OP_STACK_SEG ? EXC_SS : EXC_GP, 0);
    }
}

uint64_t slow_load(CpuState *cpu, const Op *op, uint64_t lin, unsigned size)
{
    interp_sync(cpu, op);
    check_canonical(cpu, op, lin, size);
    return lin_load(cpu, lin, size, MEM_CPL);
}

void slow_store(CpuState *cpu, const Op *op, uint64_t lin, uint64_t val, unsigned size)
{
    interp_sync(cpu, op);
    check_canonical(cpu, op, lin, size);
    lin_store(cpu, lin, val, size, MEM_CPL);
}

void interp_after_store(CpuState *cpu, const Op *op)
{
    if (likely(!cpu->mmu->store_hit_code)) {
        return;
    }
    cpu->mmu->store_hit_code = false;
    Block *b = block_of(interp_of(cpu), op);
    if (b && block_is_stale(b)) {
        ((Op *)op)[1].fn = op_stale; /* nobody enters a stale block again */
    }
}

/* Runs op's handler alone, with the cache entry of lin made to point to host for its time. */
static void run_on(CpuState *cpu, const Op *op, uint64_t lin, unsigned size, uint8_t *host)
{
    TlbEntry *e = tlb_entry(cpu->tlb, lin), saved = *e;
    Op pair[2] = { *op, { .fn = op_slow_return } };
    e->rtag = e->wtag = TLB_PAGE(lin + size - 1);
    e->addend = (uintptr_t)host - lin;
    op->fn(cpu, pair);
    *e = saved;
}

const Op *slow_op(CpuState *cpu, const Op *op, uint64_t lin, unsigned how)
{
    unsigned size = how & 0xff;
    bool write = how & SLOW_WRITE, read = how & SLOW_READ;
    interp_sync(cpu, op);
    check_canonical(cpu, op, lin, size);
    if (write) {
        lin_check_store(cpu, lin, size);
    }
    bool split = (how & SLOW_LOCK) && lin_splits_line(lin, size);
    void *host = split ? NULL : lin_host(cpu, lin, size, write);
    if (host) {
        const TlbEntry *e = tlb_entry(cpu->tlb, lin);
        if (write ? e->wtag == TLB_PAGE(lin) : e->rtag == TLB_PAGE(lin)) {
            return op; /* the cache knows it now */
        }
    }
    RamBlock *ram;
    uint64_t at;
    host = split ? NULL : lin_host_tracked(cpu, lin, size, write, &ram, &at);
    if (host) {
        run_on(cpu, op, lin, size, host);
        if (write) {
            mmu_written(cpu, ram, at, size);
            tlb_rearm_write(cpu, lin);
        }
    } else {
        /* Aligned as the operand is, but never across a cache line: LOCK is slow there. */
        uint8_t *bounce = interp_of(cpu)->bounce + (lin & 31);
        if (how & SLOW_LOCK) {
            interp_bus_lock(cpu);
        }
        if (read) {
            if (size <= 8) {
                uint64_t old = lin_load(cpu, lin, size, MEM_CPL);
                memcpy(bounce, &old, size);
            } else {
                lin_read(cpu, lin, bounce, size, MEM_CPL);
            }
        }
        run_on(cpu, op, lin, size, bounce);
        if (write) {
            if (size <= 8) {
                uint64_t val = 0;
                memcpy(&val, bounce, size);
                lin_store(cpu, lin, val, size, MEM_CPL);
            } else {
                lin_write(cpu, lin, bounce, size, MEM_CPL);
            }
        }
        interp_bus_unlock(cpu);
    }
    interp_after_store(cpu, op);
    if (unlikely(cpu_requests(cpu))) { /* a register access may have changed the world */
        cpu->rip = (cpu->insn_rip + op->len) & interp_rip_mask(cpu);
        return NULL;
    }
    return op + 1;
}

/* ---- the loop ---- */

void interp_log_entry(CpuState *cpu, const char *who)
{
    if (!log_filter_has(cpu_code_lin(cpu))) {
        return;
    }
    if (log_on(LOG_EXEC)) {
        log_printf("cpu %u %s 0x%08lx mode %05x\n", cpu->index, who, (unsigned long)cpu->rip,
                   cpu->mode);
    }
    if (log_on(LOG_CPU)) {
        cpu_log_registers(cpu, who);
    }
}

/* The same for a block of the interpreter's, unless it is about to become the translator's. With
 * nochain it comes back behind it. */
static void log_block_entry(CpuState *cpu, const Block *b)
{
    if (b->ops->fn == op_heat && !b->heat) {
        return;
    }
    interp_log_entry(cpu, "interp");
    if (log_on(LOG_NOCHAIN)) {
        __atomic_or_fetch(&cpu->request, CPU_REQ_RECHECK, __ATOMIC_RELAXED);
    }
}

/* Runs one block, or more where they lead to each other without coming back. */
static inline void run_ops(CpuState *cpu, const Op *op)
{
    while (op) {
        op = op->fn(cpu, op);
    }
}

/* One instruction, with all that single step, breakpoints and shadows want. */
void interp_run_single(CpuState *cpu)
{
    bool step = cpu->mode & MODE_TF, resume = cpu->eflags & FLAG_RF;
    if (log_on(LOG_EXEC | LOG_CPU)) {
        interp_log_entry(cpu, "interp");
    }
    uint8_t shadow = cpu->shadow;
    cpu->insn_rip = cpu->rip;
    if ((cpu->mode & MODE_DR) && !resume) {
        uint64_t lin = cpu_code_lin(cpu);
        uint64_t hit = debug_check_code(cpu, lin);
        if (hit) {
            debug_raise(cpu, hit);
        }
    }
    cpu->mmu->single_next = false;
    const Block *b = block_get(cpu, true);
    unsigned keeps = b->keeps;
    if (step) {
        cpu->pending_db |= DR6_BS; /* delivery of an INT n or a fault takes it back */
    }
    /* Keeps handlers from going on to another block. */
    __atomic_or_fetch(&cpu->request, CPU_REQ_RECHECK, __ATOMIC_RELAXED);
    run_ops(cpu, b->ops);
    if (resume && !(keeps & KEEPS_RF)) {
        cpu->eflags &= ~(uint32_t)FLAG_RF;
    }
    if (shadow && !(keeps & KEEPS_SHADOW)) {
        cpu->shadow = 0;
    }
}

void interp_run_bare(CpuState *cpu)
{
    uint8_t shadow = cpu->shadow;
    cpu->insn_rip = cpu->rip;
    cpu->mmu->store_hit_code = false;
    const Block *b = block_get(cpu, true);
    unsigned keeps = b->keeps;
    run_ops(cpu, b->ops);
    if (shadow && !(keeps & KEEPS_SHADOW)) {
        cpu->shadow = 0;
    }
}

bool interp_wants_single(const CpuState *cpu)
{
    return (cpu->mode & (MODE_TF | MODE_DR)) || cpu->shadow || cpu->mmu->single_next;
}

/* Between blocks: everything others asked for. Returns false to leave. */
bool interp_safepoint(CpuState *cpu)
{
    uint32_t req = __atomic_load_n(&cpu->request, __ATOMIC_ACQUIRE);
    if (req & CPU_REQ_RECHECK) {
        /* Taken back before the epoch tells of it: who reads the new epoch and asks again must
         * not have his request taken back with the old one. */
        cpu_clear_request(cpu, CPU_REQ_RECHECK);
        tlb_slots_clear_writes(cpu); /* one may have been filled while it was revoked */
        __atomic_add_fetch(&cpu->epoch, 1, __ATOMIC_SEQ_CST);
    }
    if (req & CPU_REQ_RUN_ON) {
        vcpu_run_queue(cpu);
    }
    if (req & CPU_REQ_STOP) {
        return false;
    }
    if ((req & ~(CPU_REQ_RECHECK | CPU_REQ_RUN_ON)) || cpu->pending_db ||
        cpu->event != CPU_EVENT_NONE || cpu->kvm.unhalted) {
        cpu_take_events(cpu);
    }
    return cpu->activity == CPU_ACTIVE;
}

void interp_deliver(CpuState *cpu)
{
    interp_bus_unlock(cpu);
    cpu->rip = cpu->insn_rip;
    cpu->mmu->store_hit_code = false;
    cpu_deliver_raised(cpu);
}

void interp_run_block(CpuState *cpu)
{
    cpu->mmu->store_hit_code = false;
    const Block *b = block_get(cpu, false);
    if (log_on(LOG_EXEC | LOG_CPU)) {
        log_block_entry(cpu, b);
    }
    run_ops(cpu, b->ops);
}

/* ---- what the translator wants to know ---- */

/* First in blocks that may be translated: counts down, then leaves before the block. */
const Op *op_heat(CpuState *cpu, const Op *op)
{
    Block *b = op->block;
    if (likely(b->heat)) {
        b->heat--;
        NEXT;
    }
    interp_of(cpu)->hot = true;
    return NULL;
}

bool interp_was_hot(CpuState *cpu)
{
    Interp *it = interp_of(cpu);
    bool hot = it->hot;
    it->hot = false;
    return hot;
}

void interp_cooler(CpuState *cpu, uint32_t runs)
{
    block_get(cpu, false)->heat = runs;
}

void interp_reheat(CpuState *cpu, uint32_t runs)
{
    const Interp *it = interp_of(cpu);
    for (size_t i = 0; i < it->nr_blocks; i++) {
        it->index[i]->heat = MAX(it->index[i]->heat, runs);
    }
}

void interp_set_heat(CpuState *cpu, uint32_t (*heat)(CpuState *cpu, const uint32_t *stamp))
{
    interp_of(cpu)->heat = heat;
}

/* ---- loops ---- */

void interp_loop(CpuState *cpu, const RunLoop *l)
{
    jmp_buf unwind, *outer = cpu->unwind;
    __atomic_store_n(&cpu->guest_code, 1, __ATOMIC_SEQ_CST);
    simd_mxcsr_enter(cpu);
    if (setjmp(unwind)) {
        if (l->unwound) {
            l->unwound(cpu);
        }
        interp_deliver(cpu);
    }
    /* cppcheck-suppress autoVariables; outer is back before the frame goes */
    cpu->unwind = &unwind;
    if (cpu->event != CPU_EVENT_NONE) { /* not made by any code below: looked at once */
        __atomic_or_fetch(&cpu->request, CPU_REQ_RECHECK, __ATOMIC_SEQ_CST);
    }
    for (;;) {
        if (unlikely(cpu_requests(cpu) || cpu->pending_db || cpu->activity != CPU_ACTIVE)) {
            if (!l->safepoint(cpu)) {
                break;
            }
            cpu->unwind = &unwind;
        }
        l->once(cpu);
    }
    cpu->unwind = outer;
    simd_mxcsr_leave(cpu);
    __atomic_store_n(&cpu->guest_code, 0, __ATOMIC_SEQ_CST);
}

static void run_once(CpuState *cpu)
{
    if (unlikely(interp_wants_single(cpu))) {
        cpu->mmu->store_hit_code = false;
        interp_run_single(cpu);
    } else {
        /* RF ends with the next instruction; without breakpoints nothing asks for it in
         * between, and whatever that instruction pushes does not come from here. */
        cpu->eflags &= ~(uint32_t)FLAG_RF;
        interp_run_block(cpu);
    }
}

void interp_run(CpuState *cpu)
{
    static const RunLoop loop = { run_once, interp_safepoint, NULL };
    interp_loop(cpu, &loop);
}

void interp_step(CpuState *cpu, unsigned n)
{
    jmp_buf unwind, *outer = cpu->unwind;
    volatile unsigned left = n;
    __atomic_store_n(&cpu->guest_code, 1, __ATOMIC_SEQ_CST);
    simd_mxcsr_enter(cpu);
    if (setjmp(unwind)) {
        interp_deliver(cpu);
        left--;
    }
    while (left && cpu->activity == CPU_ACTIVE) {
        /* cppcheck-suppress autoVariables; as in interp_loop */
        cpu->unwind = &unwind;
        if ((cpu_requests(cpu) || cpu->pending_db || cpu->event != CPU_EVENT_NONE) &&
            !interp_safepoint(cpu)) {
            break;
        }
        cpu->unwind = &unwind;
        cpu->mmu->store_hit_code = false;
        interp_run_single(cpu);
        left--;
    }
    cpu->unwind = outer;
    simd_mxcsr_leave(cpu);
    __atomic_store_n(&cpu->guest_code, 0, __ATOMIC_SEQ_CST);
}

int interp_step_raw(CpuState *cpu)
{
    jmp_buf unwind, *outer = cpu->unwind;
    volatile int vector = -1;
    simd_mxcsr_enter(cpu);
    cpu->unwind = &unwind;
    if (setjmp(unwind)) {
        interp_bus_unlock(cpu);
        cpu->rip = cpu->insn_rip;
        vector = cpu->exc_vector;
    } else {
        cpu->mmu->store_hit_code = false;
        interp_run_single(cpu);
    }
    cpu->unwind = outer;
    simd_mxcsr_leave(cpu);
    return vector;
}

void interp_cpu_init(CpuState *cpu)
{
    Interp *it = calloc(1, sizeof(*it));
    size_t arena = 48u << 20;
    assert(it);
    it->arena = malloc(arena);
    it->bounce = aligned_alloc(64, 64);
    it->max_blocks = 1u << 18;
    it->index = malloc(it->max_blocks * sizeof(Block *));
    /* Address space only: a host that is out of it is beyond help. */
    assert(it->arena && it->bounce && it->index);
    it->arena_size = arena;
    cpu->engine_data = it;
    if (!cpu->mmu) {
        mmu_new(cpu);
    }
}

void interp_cpu_fini(CpuState *cpu)
{
    Interp *it = cpu->engine_data;
    if (it) {
        free(it->arena);
        free(it->bounce);
        free(it->index);
        free(it);
        cpu->engine_data = NULL;
    }
    mmu_free(cpu);
}

/* ---- the engine ---- */

static bool interp_vcpu_init(Vcpu *v, Error **errp)
{
    (void)errp;
    interp_cpu_init(&v->cpu);
    return true;
}

static void interp_vcpu_run(Vcpu *v)
{
    interp_run(&v->cpu);
}

static void interp_vcpu_fini(Vcpu *v)
{
    interp_cpu_fini(&v->cpu);
}

ENGINE(interp) = {
    .name = "interp",
    .desc = "exact interpreter, no host requirements",
    .thread_name = "INTERP",
    .vcpu_init = interp_vcpu_init,
    .can_run = vcpu_can_run,
    .load_state = vcpu_load_state,
    .run = interp_vcpu_run,
    .vcpu_fini = interp_vcpu_fini,
    .executes = true,
    .software = true,
};
