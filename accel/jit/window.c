/* SPDX-License-Identifier: GPL-2.0-or-later
 * Operands that reach memory through the vCPU's window (cpu/window.h): the instruction is the guest's
 * own, with the window as its segment and 32-bit address arithmetic.
 *
 *     op   reg, gs:[address]               prefixes 65 and 67
 *
 * With paging off that is all: no check. Where the window does not allow the access, the host faults;
 * the block is left before the instruction, which the interpreter executes, and the block is made anew
 * with a slot for this operand (gen_mem.c).
 */
#include "accel/jit/translate.h"

static unsigned site_bit(uint64_t gpa)
{
    return (unsigned)(gpa * 0x9e3779b97f4a7c15ull >> 48) % WINDOW_BITS;
}

bool window_serves(const Translator *t, uint32_t access)
{
    if (!t->j->window || (t->mode & (MODE_CS64 | MODE_PG)) || t->user ||
        (access & (MEM_ALIGNED | MEM_LOCK))) {
        return false;
    }
    for (unsigned n = 0; n < t->in->nr_opd; n++) {
        if (t->in->opd[n].kind == OPD_GPR8H) {
            return false; /* whose body has moved the register when the access faults */
        }
    }
    unsigned bit = site_bit(t->gpa + t->off[t->i]);
    return !(__atomic_load_n(&t->j->window_not[bit / 64], __ATOMIC_RELAXED) >> bit % 64 & 1);
}

Rm window_operand(Rm ea)
{
    ea.gs = ea.narrow = true;
    return ea;
}

void jit_window_lost(CpuState *cpu, uint32_t off, Tb *tb)
{
    JitCpu *jc = cpu->jit;
    Jit *j = jc->jit;
    off &= PAGE_SIZE - 1;
    cpu->rip = cpu->insn_rip = (uint32_t)(cpu->jit_word[JW_PAGE] + off);
    cpu->jit_word[JW_INTERP] = 1;
    jc->window_faults++;
    if (window_heal(cpu->window, cpu->jit_word[JW_LIN])) {
        jc->window_healed++;
        return;
    }
    unsigned bit = site_bit(TLB_PAGE(tb->gpa) | off);
    pthread_mutex_lock(&j->lock);
    __atomic_fetch_or(&j->window_not[bit / 64], 1ull << bit % 64, __ATOMIC_RELAXED);
    if (!tb->stale) {
        tb_drop(j, tb, DROP_WINDOW);
    }
    pthread_mutex_unlock(&j->lock);
}
