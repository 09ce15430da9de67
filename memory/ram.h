/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest RAM: memfd blocks mapped shared, and what is known of each 4 KiB page: who has seen it
 * since it was last written (dirty clients) and whether decoded or translated code lies in it.
 *
 * Lock-free parts, and why they are safe:
 * - dirty bitmaps are atomic bytes a page, one bit a client; writers only set bits, a client only
 *   clears its own, then re-arms the vCPUs' write tracking before it reads the page;
 * - code tracking: a decoder reads the page's stamp, sets the granule bits with an atomic OR,
 *   makes every vCPU's write path to that page slow (ram_track_code), and only then reads the
 *   bytes. A writer stores the bytes, then calls ram_written, which bumps the stamp if a granule
 *   bit is set. So a block is stale exactly when its stamp differs from its page's. Such a
 *   write also clears the page's granules, because nothing decoded from it is valid any more:
 *   a page that held code once is not slow to write for ever. The translator drops single blocks
 *   and goes without stamps once they are made: it is asked before (ram_code_keep_hook), and the
 *   granules of what it then had elsewhere in the page stay; what it made later it drops, for
 *   nobody may know of that one's granules any more. While clearing is not 0 the bump
 *   is still to come: the page counts as one with code, and other writers bump it too. While
 *   arming is not 0 some decoder is not through with making writes slow: another one that finds
 *   granule bits does not rely on it.
 */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include "util/error.h"

enum { PAGE_BITS = 12, PAGE_SIZE = 4096 };
enum { DIRTY_DISPLAY = 1, DIRTY_MIGRATION = 2, DIRTY_ALL = 3 };

typedef struct CodePage {
    uint32_t stamp;    /* atomic: grows with every write that hits a granule with code */
    uint8_t clearing;  /* atomic: writers between clearing granules and bumping the stamp */
    uint8_t arming;    /* atomic: decoders between setting granules and all writes being slow */
    uint16_t writers;  /* atomic: which translation caches may write it fast: cpu/tlb.h */
    uint64_t granules; /* atomic: bit n: code was decoded from bytes [64n, 64n+63] */
} CodePage;

typedef struct RamBlock {
    char *name;
    uint8_t *host;   /* the whole block, mapped shared */
    uint64_t size;   /* multiple of PAGE_SIZE */
    int fd;
    uint8_t *dirty;  /* one byte a page: DIRTY_* bits that are set; starts all set */
    CodePage *code;  /* one a page; demand-zero */
    uint8_t tracked; /* atomic: DIRTY_* clients that want writes tracked (display of VRAM) */
    List node;
} RamBlock;

/* A new zeroed block; NULL with *errp if the host has no memory for it. */
RamBlock *ram_block_new(const char *name, uint64_t size, Error **errp);
void ram_block_free(RamBlock *b);

/* A client wants to know of writes from now on (all its bits start set). */
void ram_track(RamBlock *b, unsigned client, bool on);
/* Collects and clears client's bits over [offset, offset+len) into bitmap (bit 0 = first page;
 * may be NULL); returns whether any was set. Re-arms write tracking in all vCPUs. */
bool ram_collect_dirty(RamBlock *b, uint64_t offset, uint64_t len, unsigned client,
                       unsigned long *bitmap);
/* Must a vCPU's store to this page take the slow path (tracked and clean, or holds code)? */
static inline bool ram_write_is_tracked(const RamBlock *b, uint64_t offset)
{
    const CodePage *c = &b->code[offset >> PAGE_BITS];
    unsigned tracked = __atomic_load_n(&b->tracked, __ATOMIC_RELAXED);
    return __atomic_load_n(&c->granules, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&c->clearing, __ATOMIC_SEQ_CST) ||
           (tracked &&
            (tracked & ~__atomic_load_n(&b->dirty[offset >> PAGE_BITS], __ATOMIC_RELAXED)));
}
/* After any store that did not come through a vCPU's fast path: sets dirty bits, bumps stamps. */
void ram_written(RamBlock *b, uint64_t offset, uint64_t len);
/* Gives whole pages back to the host; they read as zero from now on. */
void ram_discard(RamBlock *b, uint64_t offset, uint64_t len);
/* Bytes [offset, offset+len) of one page are about to be decoded; see the file comment. Returns
 * the page's stamp: what is decoded from bytes read now is stale once the page's differs. Who asks
 * again for more bytes of the page keeps the first one. Read afterwards, it may tell of a write
 * that has just taken the granules away, so that nobody hears of the next. */
uint32_t ram_track_code(RamBlock *b, uint64_t offset, uint64_t len);
static inline const uint32_t *ram_code_stamp(const RamBlock *b, uint64_t offset)
{
    return &b->code[offset >> PAGE_BITS].stamp;
}

/* Set by the accelerator layer (does nothing before): make all vCPUs drop cached write permission for RAM pages.
 * b/offset of one page, or b = NULL for all. wait: return only when they all have, also those that
 * another thread is taking it from just now. */
extern void (*ram_protect_hook)(RamBlock *b, uint64_t offset, bool wait);

/* Hooks of an engine whose vCPUs write RAM without a word (NULL before).
 * dirty_sync: brings what they wrote into the dirty bytes of this range; asked by ram_collect_dirty,
 * vm_lock held. tracked: b->tracked has changed. guard: a page has got granules; returns when no such
 * vCPU can write to it unheard. Any thread, after the granules and before the bytes are read. */
extern void (*ram_dirty_sync_hook)(RamBlock *b, uint64_t offset, uint64_t len);
extern void (*ram_tracked_hook)(RamBlock *b);
extern void (*ram_guard_hook)(RamBlock *b, uint64_t offset);
/* Whatever was decoded from b is stale, as if every page with code had been written. For such an
 * engine, when others take over. */
void ram_forget_code(RamBlock *b);

/* Who writes RAM past ram_written() (a device in the host's kernel) may do so only while nobody
 * would have to hear of it: no vCPU keeps decoded code, and no client tracks that block. Told with
 * vm_lock held when that changes, before the first vCPU decodes; once changed has returned the writer
 * keeps to it. */
typedef struct RamWriter {
    void (*changed)(struct RamWriter *w);
    List node;
} RamWriter;
void ram_writer_add(RamWriter *w);
void ram_writer_del(RamWriter *w);
bool ram_may_write_unheard(const RamBlock *b);
/* From the accelerator layer. At first code is kept. */
void ram_set_code_kept(bool kept);

/* Granules of 64 bytes that [first, last] of a page touch. */
static inline uint64_t ram_granules(unsigned first, unsigned last)
{
    unsigned lo = first >> 6, hi = last >> 6;
    return (~0ull << lo) & (~0ull >> (63 - hi));
}

/* Set by the translator (NULL before). Any thread. The page with that stamp (ram_code_stamp) was
 * written in these granules: which others hold blocks that are in use? *ticket: the last such
 * block. And: the stamp has grown, blocks of these granules and those younger than ticket are no
 * good. */
extern uint64_t (*ram_code_keep_hook)(const uint32_t *stamp, uint64_t written, uint64_t *ticket);
extern void (*ram_code_hook)(const uint32_t *stamp, uint64_t written, uint64_t ticket);

#endif
