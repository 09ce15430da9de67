/* SPDX-License-Identifier: GPL-2.0-or-later
 * The block cache of one vCPU: a jump cache by linear address in front of a hash by guest
 * physical address, so that blocks survive address-space switches. Blocks lie in an arena that is
 * emptied whole when it is full.
 */
#include "accel/interp/block.h"

#include <string.h>

#include "accel/interp/interp.h"
#include "util/log.h"

static const uint32_t no_stamp = 1; /* code outside RAM: never matches stamp_seen 0 */

void *block_alloc(Interp *it, size_t bytes)
{
    bytes = ROUND_UP(bytes, 8);
    if (bytes > it->arena_size - it->arena_used) {
        return NULL;
    }
    void *p = it->arena + it->arena_used;
    it->arena_used += bytes;
    return p;
}

void interp_flush(CpuState *cpu)
{
    Interp *it = interp_of(cpu);
    memset(it->jump, 0, sizeof(it->jump));
    memset(it->hash, 0, sizeof(it->hash));
    it->arena_used = 0;
    it->nr_blocks = 0;
    it->flushes++;
}

Block *block_of(const Interp *it, const Op *op)
{
    size_t lo = 0, hi = it->nr_blocks;
    if ((const uint8_t *)op < it->arena || (const uint8_t *)op >= it->arena + it->arena_used) {
        return NULL;
    }
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if ((const void *)it->index[mid] <= (const void *)op) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return lo < it->nr_blocks ? it->index[lo] : NULL;
}

static unsigned gpa_hash(uint64_t gpa, uint64_t key)
{
    return (unsigned)(gpa ^ gpa >> 16 ^ key * 0x9e3779b1u) & (HASH_SIZE - 1);
}

static Block *block_make(CpuState *cpu, uint64_t lin, const ItlbEntry *page, uint64_t key)
{
    Interp *it = interp_of(cpu);
    /* A block needs less than this, whatever it decodes. */
    if (it->arena_size - it->arena_used < 256u << 10 || it->nr_blocks == it->max_blocks) {
        interp_flush(cpu);
    }
    Block *b = block_build(cpu, lin, page, key);
    it->index[it->nr_blocks++] = b;
    if (!page->ram) {
        b->stamp = &no_stamp;
        b->stamp_seen = 0;
        return b;
    }
    Block **head = &it->hash[gpa_hash(b->gpa, key)];
    b->hash_next = *head;
    *head = b;
    return b;
}

Block *block_get(CpuState *cpu, bool single)
{
    Interp *it = interp_of(cpu);
    uint64_t key = cpu->mode | (single ? KEY_SINGLE : 0);
    uint64_t lin = cpu_code_lin(cpu);
    JumpEntry *j = &it->jump[jump_hash(lin)];
    uint64_t generation = cpu->mmu->generation;
    if (j->lin == lin && j->key == key && j->generation == generation &&
        !block_is_stale(j->block)) {
        return j->block;
    }
    it->lookups++;
    cpu->insn_rip = cpu->rip;
    const ItlbEntry *page = mmu_fetch_page(cpu, lin);
    uint64_t gpa = page->gpa | (lin & (PAGE_SIZE - 1));
    /* PAM, A20 and the like put other RAM at an address; the page's stamp says which it is. */
    const uint32_t *stamp = page->ram ? ram_code_stamp(page->ram, page->ram_offset) : NULL;
    Block **link = &it->hash[gpa_hash(gpa, key)], *b;
    while ((b = *link) != NULL) {
        if (block_is_stale(b)) {
            *link = b->hash_next; /* its memory comes back with the next flush */
        } else if (b->gpa == gpa && b->key == key && b->stamp == stamp) {
            break;
        } else {
            link = &b->hash_next;
        }
    }
    if (!b) {
        b = block_make(cpu, lin, page, key);
    }
    *j = (JumpEntry){ .lin = lin, .key = key, .generation = cpu->mmu->generation, .block = b };
    return b;
}

void block_log(CpuState *cpu, const Block *b, uint64_t lin)
{
    uint8_t buf[16];
    char text[128];
    uint64_t rip = cpu->rip;
    log_printf("IN: cpu %u, %u instructions, mode %x\n", cpu->index, b->nr_insns, cpu->mode);
    for (unsigned off = 0; off < b->bytes;) {
        Insn in;
        unsigned have = MIN(15u, PAGE_SIZE - (unsigned)((lin + off) & (PAGE_SIZE - 1)));
        for (unsigned i = 0; i < have; i++) {
            buf[i] = (uint8_t)phys_load(cpu, b->gpa + off + i, 1);
        }
        if (insn_decode(buf, have, cpu->mode, &cpu->features, &in) != DECODE_OK) {
            log_printf("0x%08lx:  (crosses its page)\n", (unsigned long)(rip + off));
            break;
        }
        log_printf("0x%08lx:  %s\n", (unsigned long)(rip + off),
                   insn_format(&in, rip + off, text, sizeof(text)));
        off += in.len;
    }
}
