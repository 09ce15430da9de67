/* SPDX-License-Identifier: GPL-2.0-or-later
 * One x87 instruction on the guest's whole state (see the header).
 */
#include "cpu/x87_host_x86_64.h"

#include <string.h>

#include "cpu/simd_host_x86_64.h"

extern const uint8_t x87_native_code[];
uint16_t x87_native_run(void *image, void *mem, const void *code, uint32_t cc);

/* FXSAVE's format (SDM 1 10.5.1): registers in stack order. */
typedef struct FxImage {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t rest[352]; /* XMM: whatever; the caller's compiler expects them clobbered */
} __attribute__((aligned(16))) FxImage;

void x87_native(CpuState *cpu, const Insn *in, void *mem)
{
    FpuState *f = &cpu->fpu;
    FxImage img;
    unsigned top = f->fsw >> 11 & 7, op = in->opcode & 7;

    memset(&img, 0, offsetof(FxImage, st));
    img.fcw = f->fcw;
    img.fsw = f->fsw;
    img.ftw = f->tag;
    img.mxcsr = host_stmxcsr(); /* live: comes back as it was */
    for (unsigned i = 0; i < 8; i++) {
        memcpy(img.st[i], f->st[(top + i) & 7], 16);
    }

    unsigned slot = in->modrm >= 0xc0 ? op * 64 + in->modrm - 0xc0
                                      : 512 + op * 8 + (in->modrm >> 3 & 7);
    cpu->cc = x87_native_run(&img, mem, x87_native_code + 4 * slot, cpu->cc);

    top = img.fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[(top + i) & 7], img.st[i], 10);
    }
    f->tag = img.ftw;
    x87_set_sw(cpu, img.fsw);
}
