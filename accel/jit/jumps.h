/* SPDX-License-Identifier: GPL-2.0-or-later
 * A vCPU's jump cache: linear address, mode and address space to host code. Generated code looks
 * into `jump` (gen_branch.c); what was pushed out of there by another address may still be found
 * in `jump2`, by a stub and by C. Only the owner's thread touches it.
 */
#ifndef ACCEL_JIT_JUMPS_H
#define ACCEL_JIT_JUMPS_H

#include <stddef.h>

#include "accel/jit/cpu.h"

/* No mode and no address space have it, nor is it the 0 that jump_tag is after a request. */
#define JUMP_NONE 1ull

static inline unsigned jump_index(uint64_t lin)
{
    return (unsigned)(lin ^ lin >> JUMP_BITS) & (NR_JUMPS - 1);
}

/* Another order, so that what meets in one table does not in the other. */
#define JUMP2_FACTOR 0x9e3779b1u
static inline unsigned jump2_index(uint64_t lin)
{
    return (uint32_t)lin * JUMP2_FACTOR >> (32 - JUMP2_BITS);
}

static inline void jumps_clear(JitCpu *jc)
{
    for (unsigned i = 0; i < NR_JUMPS; i++) {
        jc->jump[i].tag = JUMP_NONE;
    }
    for (unsigned i = 0; i < NR_JUMPS2; i++) {
        jc->jump2[i].tag = JUMP_NONE;
    }
}

/* Where the code for lin is, or NULL. */
static inline void *jumps_find(const JitCpu *jc, uint64_t lin, uint64_t tag)
{
    const JumpEntry *e = &jc->jump[jump_index(lin)];
    if (e->lin != lin || e->tag != tag) {
        e = &jc->jump2[jump2_index(lin)];
    }
    return e->lin == lin && e->tag == tag ? e->host : NULL;
}

static inline void jumps_add(JitCpu *jc, uint64_t lin, uint64_t tag, void *host)
{
    JumpEntry *e = &jc->jump[jump_index(lin)];
    if (e->tag != JUMP_NONE && e->lin != lin) {
        jc->jump2[jump2_index(e->lin)] = *e;
    }
    *e = (JumpEntry){ .lin = lin, .tag = tag, .host = host,
                        .page = lin & ~(uint64_t)(PAGE_SIZE - 1) };
}

static inline void jumps_forget(JitCpu *jc, uint64_t lin)
{
    jc->jump[jump_index(lin)].tag = JUMP_NONE;
    JumpEntry *e = &jc->jump2[jump2_index(lin)];
    e->tag = e->lin == lin ? JUMP_NONE : e->tag;
}

#endif
