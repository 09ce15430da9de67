/* SPDX-License-Identifier: GPL-2.0-or-later
 * The usual case of an instruction's memory operand, inline: a flat segment and a page that the
 * translation cache knows. Everything else falls back to cpu/mem.h, faults included.
 */
#ifndef CPU_MEM_FAST_H
#define CPU_MEM_FAST_H

#include <string.h>

#include "cpu/exec.h"
#include "cpu/tlb.h"

/* exec_ea */
static inline uint64_t mem_ea(const CpuState *cpu, const Insn *in)
{
    uint64_t ea = (uint64_t)in->disp;
    if (in->base < INSN_REG_RIP) {
        /* cppcheck-suppress arrayIndexOutOfBoundsCond; below RIP there are registers only */
        ea += cpu->gpr[in->base];
    } else if (in->base == INSN_REG_RIP) {
        ea += cpu->rip;
    }
    if (in->index != INSN_REG_NONE) {
        ea += cpu->gpr[in->index] << in->scale;
    }
    return likely(in->adsize == 8) ? ea : in->adsize == 4 ? (uint32_t)ea : (uint16_t)ea;
}

/* seg_lin; where the checks are left out, the translation cache makes them. */
static inline uint64_t mem_lin(CpuState *cpu, const Insn *in, uint64_t ea, unsigned size, bool write)
{
    if (likely(cpu->mode & MODE_FLAT && in->seg < SEG_FS)) {
        return ea;
    }
    return seg_lin(cpu, in->seg, ea, size, write);
}

/* Host address if [lin, lin + size) is in one cached page of plain RAM, else NULL. */
static inline void *mem_cached(const CpuState *cpu, uint64_t lin, unsigned size, bool write)
{
    const TlbEntry *e = tlb_entry(cpu->tlb, lin);
    uint64_t tag = write ? e->wtag : e->rtag;
    return likely(tag == TLB_PAGE(lin + size - 1)) ? (void *)(e->addend + lin) : NULL;
}

/* size: 2, 4 or 8, a constant. */
static inline __attribute__((always_inline)) uint64_t mem_load(CpuState *cpu, const Insn *in,
                                                               uint64_t ea, unsigned size)
{
    uint64_t lin = mem_lin(cpu, in, ea, size, false), v = 0;
    const void *host = mem_cached(cpu, lin, size, false);
    if (unlikely(!host)) {
        return seg_load(cpu, in->seg, ea, size);
    }
    memcpy(&v, host, size);
    return v;
}

static inline __attribute__((always_inline)) void mem_store(CpuState *cpu, const Insn *in,
                                                            uint64_t ea, uint64_t val,
                                                            unsigned size)
{
    uint64_t lin = mem_lin(cpu, in, ea, size, true);
    void *host = mem_cached(cpu, lin, size, true);
    if (unlikely(!host)) {
        seg_store(cpu, in->seg, ea, val, size);
        return;
    }
    memcpy(host, &val, size);
}

#endif
