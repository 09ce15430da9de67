/* SPDX-License-Identifier: GPL-2.0-or-later
 * One instruction inside decoded or translated code that runs as a function (cpu/exec.h), and may
 * be of the kind that changes interrupt state, paging or the mode: runs it, and says whether the
 * code behind it may go on as if nothing had happened.
 */
#ifndef CPU_EXEC_STEP_H
#define CPU_EXEC_STEP_H

#include "cpu/exec.h"
#include "cpu/tlb.h"

/* insn_rip: its address; next: that of the one behind it. last: nothing is known to run right
 * behind it. False: leave, rip is right. True: go on; rip is next.
 *
 * The shadow of STI (SDM 2B STI) is that no interrupt comes before the next instruction is
 * through. If none waits already, and nobody looks before that, no shadow need be left. */
static inline bool exec_step(CpuState *cpu, ExecFn *fn, const Insn *in, uint64_t insn_rip,
                             uint64_t next, bool last)
{
    uint32_t mode = cpu->mode;
    uint64_t generation = cpu->mmu->generation;
    cpu->insn_rip = insn_rip;
    cpu->rip = next;
    fn(cpu, in);
    if (unlikely(cpu->rip != next || cpu->mode != mode || cpu->mmu->generation != generation ||
                 cpu->mmu->store_hit_code || cpu->activity != CPU_ACTIVE || cpu->pending_db)) {
        return false;
    }
    if (unlikely(cpu_requests_now(cpu))) {
        return false;
    }
    if (cpu->shadow && in->op == OP_STI && !last) {
        cpu->shadow = 0;
    }
    return likely(!cpu->shadow);
}

#endif
