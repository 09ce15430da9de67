/* SPDX-License-Identifier: GPL-2.0-or-later
 * Decoded blocks: where they are kept, when they are stale.
 */
#ifndef ACCEL_INTERP_BLOCK_H
#define ACCEL_INTERP_BLOCK_H

#include "accel/interp/op.h"

/* Block keys: the mode word, and this bit for blocks of one instruction. */
#define KEY_SINGLE (1ull << 32)

/* The block at cpu->rip; decodes it if need be. Raises what the fetch raises (insn_rip is set). */
Block *block_get(CpuState *cpu, bool single);
/* Decodes a block; build.c. lin: linear address of cpu->rip; page: where it comes from. */
Block *block_build(CpuState *cpu, uint64_t lin, const ItlbEntry *page, uint64_t key);
/* bytes from the arena, aligned to 8; NULL when it is full: flush and try again. */
void *block_alloc(Interp *it, size_t bytes);
/* The block whose ops hold op; NULL if none. Slow. */
Block *block_of(const Interp *it, const Op *op);

/* -d in_asm: the guest instructions of a block just decoded. */
void block_log(CpuState *cpu, const Block *b, uint64_t lin);

static inline bool block_is_stale(const Block *b)
{
    return __atomic_load_n(b->stamp, __ATOMIC_ACQUIRE) != b->stamp_seen;
}

static inline unsigned jump_hash(uint64_t lin)
{
    return (unsigned)(lin ^ lin >> JUMP_CACHE_BITS) & (JUMP_CACHE_SIZE - 1);
}

/* The first op of the block at cpu->rip if the jump cache has it and nothing is requested. */
static inline const Op *jump_cache_find(CpuState *cpu, uint64_t lin)
{
    const JumpEntry *j = &interp_of(cpu)->jump[jump_hash(lin)];
    if (likely(j->lin == lin && j->key == cpu->mode &&
               j->generation == cpu->mmu->generation && !cpu_requests(cpu))) {
        const Block *b = j->block;
        if (likely(!block_is_stale(b))) {
            return b->ops;
        }
    }
    return NULL;
}

#endif
