/* SPDX-License-Identifier: GPL-2.0-or-later
 * The guest's x87 state from the host's registers to CpuState; see the header.
 */
#include "accel/jit/fpu.h"

#include <string.h>

#include "cpu/x87.h"

static void note_pointers(CpuState *cpu)
{
    FpuState *f = &cpu->fpu;
    uint32_t code = (uint32_t)cpu->jit_word[JW_FPU_CODE];
    uint32_t data = (uint32_t)cpu->jit_word[JW_FPU_DATA];
    if (code) {
        uint64_t fip = cpu->jit_word[JW_FPU_RIP] + (code & FPU_OFF_MASK);
        f->fip = cpu->mode & MODE_CS64 ? fip : (uint32_t)fip;
        f->fcs = cpu->seg[SEG_CS].sel;
        f->fop = code >> FPU_FOP_SHIFT & 0x7ff;
    }
    if (data) {
        f->fds = cpu->seg[data - 1].sel;
    }
    cpu->jit_word[JW_FPU_CODE] = cpu->jit_word[JW_FPU_DATA] = 0;
}

void jit_fpu_store_live(CpuState *cpu)
{
    FpuState *f = &cpu->fpu;
    FpuImage *img = &cpu->jit->fpu;
    /* EMMS empties the stack; sticky exception flags may stay (cpu/x87_host_x86_64.h). */
    __asm__ volatile("xsave64 %0\n\temms" : "+m"(*img) : "a"(1), "d"(0));
    if (img->fcw != FCW_DEFAULT) {
        uint16_t fcw = FCW_DEFAULT;
        __asm__ volatile("fldcw %0" : : "m"(fcw));
    }
    f->fcw = img->fcw;
    f->fsw = img->fsw;
    f->tag = img->ftw;
    for (unsigned i = 0, top = img->fsw >> 11 & 7; i < 8; i++) {
        memcpy(f->st[(top + i) & 7], img->st[i], 10);
    }
    note_pointers(cpu);
    cpu->jit_word[JW_FPU] = 0;
}

bool jit_fpu_park(CpuState *cpu)
{
    bool live = cpu->jit_word[JW_FPU];
    jit_fpu_store(cpu);
    return live;
}

void jit_fpu_unpark(CpuState *cpu)
{
    __asm__ volatile("xrstor64 %0" : : "m"(cpu->jit->fpu), "a"(1), "d"(0));
    cpu->jit_word[JW_FPU] = 1;
}
