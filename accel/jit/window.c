/* SPDX-License-Identifier: GPL-2.0-or-later
 * Operands that reach memory through one of the vCPU's windows (cpu/window.h): the instruction is
 * the guest's own, with the window as its segment and 32-bit address arithmetic.
 *
 *     op   reg, gs:[address]               prefixes 65 and 67
 *
 * With paging off that is all: no check. Where the window does not allow the access, the host
 * faults; the block is left before the instruction, which the interpreter executes, and the block is
 * made anew with a slot for this operand (gen_mem.c).
 *
 * With paging on, outside 64-bit mode, the checked window's table is asked first
 * (cpu/window_checked.h):
 *
 *     lea  r11d, [address]
 *     shr  r11d, 12
 *     test gs:[r11 + table], bit
 *     jz   cold
 *     op   reg, gs:[address]
 *
 * The access need not wait for the check, and what reaches into the next page needs none of its own:
 * it is right or faults, after which that page is mapped. A page that is not there is served by a
 * slot, behind the block; C looks at one of several such uses, and has its page mapped.
 *
 * LOCKed operands and those that must be aligned keep slots, whose check finds those that are not.
 */
#include "accel/jit/translate.h"

/* Misses between those that C looks at: few while that helps, more and more while it does not. */
enum { WINDOW_LEAST = 8, WINDOW_MOST = 512 };
/* With paging, so many faults of an operand that reaches into pages that are not mapped, until it
 * gets a slot for good. */
enum { WINDOW_FAULTS = 64 };

static unsigned site_bit(uint64_t gpa)
{
    return (unsigned)(gpa * 0x9e3779b97f4a7c15ull >> 48) % WINDOW_BITS;
}

WindowUse window_serves(const Translator *t, uint32_t access)
{
    if (!t->j->window || t->cs64 || (access & (MEM_ALIGNED | MEM_LOCK))) {
        return WINDOW_NOT;
    }
    for (unsigned n = 0; n < t->in->nr_opd; n++) {
        if (t->in->opd[n].kind == OPD_GPR8H) {
            return WINDOW_NOT; /* whose body has moved the register when the access faults */
        }
    }
    unsigned bit = site_bit(t->gpa + t->off[t->i]);
    if (__atomic_load_n(&t->j->window_not[bit / 64], __ATOMIC_RELAXED) >> bit % 64 & 1) {
        return WINDOW_NOT; /* faulted before */
    }
    return t->mode & MODE_PG ? WINDOW_CHECKED : t->user ? WINDOW_NOT : WINDOW_BARE;
}

uint8_t *window_check(Translator *t, bool write)
{
    Emit *e = t->e;
    unsigned bit = (write ? WINDOW_WRITE : WINDOW_READ) << (t->user ? WINDOW_USER_SHIFT : 0);
    emit_op(e, 0xc1, 5, rm_reg(S1)); /* shr */
    emit8(e, PAGE_BITS);
    Rm byte = rm_gs(-(int32_t)WINDOW_ABOVE - WINDOW_PAGES);
    byte.index = S1;
    emit_op(e, 0xf6, 0, byte); /* test */
    emit8(e, bit);
    return emit_jcc(e, CC_E);
}

void jit_window_use(CpuState *cpu, uint64_t lin)
{
    JitCpu *jc = cpu->jit;
    bool all = jc->jit->window == WINDOW_ALL;
    jc->window_misses += jc->window_from + 1;
    bool helped = checked_window_use(cpu, lin, all);
    jc->window_from = all      ? 0
                      : helped ? WINDOW_LEAST
                               : MIN(2 * jc->window_from + 1, (uint64_t)WINDOW_MOST);
    cpu->jit_word[JW_WINDOW] = jc->window_from;
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
    if (cpu->mode & MODE_PG) {
        checked_window_use(cpu, cpu->jit_word[JW_LIN], true); /* the page that was reached into */
    } else if (window_heal(cpu->window, cpu->jit_word[JW_LIN])) {
        jc->window_healed++;
        return;
    }
    unsigned bit = site_bit(TLB_PAGE(tb->gpa) | off);
    pthread_mutex_lock(&j->lock);
    uint8_t *faults = &j->window_faults[bit % ARRAY_SIZE(j->window_faults)];
    if (!(cpu->mode & MODE_PG) || ++*faults == WINDOW_FAULTS) {
        __atomic_fetch_or(&j->window_not[bit / 64], 1ull << bit % 64, __ATOMIC_RELAXED);
        if (!tb->stale) {
            tb_drop(j, tb, DROP_WINDOW);
        }
    }
    pthread_mutex_unlock(&j->lock);
}
