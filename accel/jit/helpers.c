/* SPDX-License-Identifier: GPL-2.0-or-later
 * What translated code calls: memory operands that are not plain RAM at hand, and instructions
 * that run as functions. All may unwind by cpu_raise: the guest's registers are in CpuState, and
 * instructions are told by their offset in the page whose address is JW_PAGE.
 */
#include <string.h>

#include "accel/interp/interp.h"
#include "accel/jit/cpu.h"
#include "accel/jit/fpu.h"
#include "accel/jit/jumps.h"
#include "accel/jit/turns.h"
#include "cpu/exception.h"
#include "cpu/exec_step.h"
#include "cpu/paging.h"

static uint64_t rip_mask(const CpuState *cpu)
{
    return cpu->mode & MODE_CS64 ? ~0ull : 0xffffffffu;
}

static void set_insn_rip(CpuState *cpu, uint32_t desc)
{
    cpu->insn_rip = (cpu->jit_word[JW_PAGE] + (desc & (PAGE_SIZE - 1))) & rip_mask(cpu);
}

static unsigned mem_size(uint32_t desc)
{
    return (desc >> MEM_SIZE_SHIFT & 31) + 1;
}

/* ---- memory ---- */

static void check_address(CpuState *cpu, uint64_t lin, uint32_t desc)
{
    unsigned size = mem_size(desc);
    if ((desc & MEM_ALIGNED) && (lin & (size - 1))) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    if ((cpu->mode & MODE_CS64) &&
        (!lin_is_canonical(cpu, lin) || !lin_is_canonical(cpu, lin + size - 1))) {
        cpu_raise(cpu, desc & MEM_STACK ? EXC_SS : EXC_GP, 0);
    }
}

static bool fill_slot(CpuState *cpu, uint64_t lin, uint32_t desc)
{
    const TlbEntry *e = tlb_entry(cpu->tlb, lin);
    uint64_t tag = desc & MEM_WRITE ? e->wtag : e->rtag;
    if (tag != TLB_PAGE(lin)) {
        return false;
    }
    TlbSlots *s = desc & MEM_WRITE ? &cpu->write_slots : &cpu->read_slots;
    unsigned i = desc >> MEM_SLOT_SHIFT & (NR_SLOTS - 1);
    s->addend[i] = e->addend;
    __atomic_store_n(&s->tag[i], tag, __ATOMIC_RELEASE);
    return true;
}

static void load_bounce(CpuState *cpu, uint64_t lin, unsigned size)
{
    JitCpu *jc = cpu->jit;
    if (size <= 8 && !(size & (size - 1))) {
        uint64_t val = lin_load(cpu, lin, size, MEM_CPL);
        memcpy(jc->bounce, &val, 8);
    } else {
        lin_read(cpu, lin, jc->bounce, size, MEM_CPL);
    }
}

uint8_t *jit_mem_slow(CpuState *cpu, uint64_t lin, uint32_t desc)
{
    JitCpu *jc = cpu->jit;
    unsigned size = mem_size(desc);
    bool write = desc & MEM_WRITE;
    set_insn_rip(cpu, desc);
    check_address(cpu, lin, desc);
    if (write) {
        lin_check_store(cpu, lin, size);
    }
    /* The in-line check sends LOCKed operands here that are not aligned. Across two cache lines they
     * would lock the host's bus, which hosts punish or forbid. */
    bool odd = (desc & MEM_LOCK) && (lin & (size - 1));
    bool split = (desc & MEM_LOCK) && lin_splits_line(lin, size);
    void *host = jc->jit->use_table && !odd ? lin_host(cpu, lin, size, write) : NULL;
    if (host && fill_slot(cpu, lin, desc)) {
        jc->slow_fills++;
        return NULL;
    }
    jc->lin = lin;
    jc->desc = desc;
    jc->ram = NULL;
    host = split ? NULL : lin_host_tracked(cpu, lin, size, write, &jc->ram, &jc->ram_offset);
    if (host) {
        jc->slow_tracked++;
        return host;
    }
    jc->slow_io++;
    jc->ram = NULL;
    if (desc & MEM_LOCK) {
        interp_bus_lock(cpu);
    }
    if (desc & MEM_READ) {
        bool fpu = jit_fpu_park(cpu);
        load_bounce(cpu, lin, size);
        if (fpu) {
            jit_fpu_unpark(cpu);
        }
    }
    return jc->bounce;
}

/* The block is left before the instruction, which the interpreter executes. */
void jit_share_lost(CpuState *cpu, uint32_t desc, Tb *tb)
{
    JitCpu *jc = cpu->jit;
    set_insn_rip(cpu, desc);
    jc->share_lost++;
    jit_unshare(cpu, tb);
    cpu->rip = cpu->insn_rip;
    cpu->jit_word[JW_INTERP] = 1;
}

uint64_t jit_share_slow(CpuState *cpu, uint64_t lin, uint32_t desc)
{
    unsigned size = mem_size(desc);
    bool write = desc & MEM_WRITE;
    set_insn_rip(cpu, desc);
    check_address(cpu, lin, desc);
    if (write) {
        lin_check_store(cpu, lin, size);
    }
    if (lin_host(cpu, lin, size, write) && fill_slot(cpu, lin, desc)) {
        cpu->jit->slow_fills++;
        return 1;
    }
    return 0;
}

static void store_bounce(CpuState *cpu, uint64_t lin, unsigned size)
{
    JitCpu *jc = cpu->jit;
    if (size <= 8 && !(size & (size - 1))) {
        uint64_t val = 0;
        memcpy(&val, jc->bounce, size);
        lin_store(cpu, lin, val, size, MEM_CPL);
    } else {
        lin_write(cpu, lin, jc->bounce, size, MEM_CPL);
    }
}

/* The stubs made the store and found that somebody wants to hear of it. */
static void take_over(CpuState *cpu)
{
    JitCpu *jc = cpu->jit;
    const TlbEntry *e = (const TlbEntry *)cpu->jit_word[JW_ENTRY];
    const TlbSide *s = &cpu->tlb->side[e - cpu->tlb->entry];
    cpu->jit_word[JW_ENTRY] = 0;
    jc->lin = cpu->jit_word[JW_LIN];
    jc->desc = (uint32_t)cpu->jit_word[JW_DESC];
    jc->ram = s->ram;
    jc->ram_offset = s->ram_offset + (jc->lin & (PAGE_SIZE - 1));
    jc->slow_tracked++;
}

uint64_t jit_mem_commit(CpuState *cpu, uint64_t rflags, uint32_t next)
{
    JitCpu *jc = cpu->jit;
    if (cpu->jit_word[JW_ENTRY]) {
        take_over(cpu);
    }
    uint32_t desc = jc->desc;
    unsigned size = mem_size(desc);
    set_insn_rip(cpu, desc);
    if (jc->ram) {
        mmu_written(cpu, jc->ram, jc->ram_offset, size);
        tlb_rearm_write(cpu, jc->lin);
    } else {
        bool fpu = jit_fpu_park(cpu);
        store_bounce(cpu, jc->lin, size);
        if (fpu) {
            jit_fpu_unpark(cpu);
        }
    }
    interp_bus_unlock(cpu);
    bool leave = cpu_requests_now(cpu) || cpu->mmu->store_hit_code;
    if (!leave || (desc & MEM_STAY)) {
        return 0;
    }
    if (desc & MEM_FLAGS) {
        cpu->cc = flags_to_cc((uint32_t)rflags);
    }
    cpu->rip = (cpu->jit_word[JW_PAGE] + next) & rip_mask(cpu);
    return 1;
}

uint64_t jit_segment(CpuState *cpu, uint64_t offset, uint32_t desc)
{
    set_insn_rip(cpu, desc);
    return seg_lin(cpu, (int)cpu->jit_word[JW_SEG], offset, mem_size(desc), desc & MEM_WRITE);
}

void jit_raise_gp(CpuState *cpu, uint32_t desc)
{
    set_insn_rip(cpu, desc);
    cpu_raise(cpu, desc & MEM_STACK ? EXC_SS : EXC_GP, 0);
}

/* ---- instructions that are functions ---- */

static void count(CpuState *cpu, const JitExec *x)
{
    jit_fpu_store(cpu);
    cpu->jit->execs++;
    cpu->jit->exec_of[x->insn.op]++;
}

static void run(CpuState *cpu, const JitExec *x, uint64_t mask)
{
    count(cpu, x);
    cpu->insn_rip = (cpu->jit_word[JW_PAGE] + x->off) & mask;
    cpu->rip = (cpu->insn_rip + x->insn.len) & mask;
    x->fn(cpu, &x->insn);
}

uint64_t jit_exec(CpuState *cpu, const JitExec *x)
{
    uint64_t mask = rip_mask(cpu), insn_rip = (cpu->jit_word[JW_PAGE] + x->off) & mask;
    count(cpu, x);
    if (x->insn.op == OP_PAUSE && cpu->jit->jit->turns && !cpu->jit->check) {
        turns_spin(cpu->jit->jit->turns, cpu);
    }
    if (!exec_step(cpu, x->fn, &x->insn, insn_rip, (insn_rip + x->insn.len) & mask, true)) {
        return 1;
    }
    return 0;
}

void *jit_exec_end(CpuState *cpu, const JitExec *x)
{
    run(cpu, x, rip_mask(cpu));
    if (cpu_requests_now(cpu) || cpu->pending_db || cpu->activity != CPU_ACTIVE ||
        interp_wants_single(cpu) || !cpu->jit->jit->chain) {
        return NULL;
    }
    uint64_t lin = cpu_code_lin(cpu);
    void *host = jumps_find(cpu->jit, lin, jit_current_tag(cpu));
    return host && jit_ready(cpu) ? host : NULL;
}
