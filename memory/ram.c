/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest RAM blocks, dirty bytes and code tracking; ram.h argues why the lock-free parts are safe.
 */
#include "memory/ram.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/alloc.h"

static void no_protect(RamBlock *b, uint64_t offset, bool wait)
{
    (void)b;
    (void)offset;
    (void)wait;
}

uint64_t (*ram_code_keep_hook)(const uint32_t *stamp, uint64_t written, uint64_t *ticket);
void (*ram_code_hook)(const uint32_t *stamp, uint64_t written, uint64_t ticket);
void (*ram_dirty_sync_hook)(RamBlock *b, uint64_t offset, uint64_t len);
void (*ram_tracked_hook)(RamBlock *b);
void (*ram_guard_hook)(RamBlock *b, uint64_t offset);
void (*ram_protect_hook)(RamBlock *b, uint64_t offset, bool wait) = no_protect;

static void *map_anonymous(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static bool map_block(RamBlock *b, Error **errp)
{
    uint64_t pages = b->size >> PAGE_BITS;
    b->fd = memfd_create(b->name, MFD_CLOEXEC);
    if (b->fd < 0 || ftruncate(b->fd, b->size)) {
        return error_set_errno(errp, errno, "cannot get %llu MiB of memory for '%s'",
                               (unsigned long long)(b->size / MiB), b->name);
    }
    void *p = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, b->fd, 0);
    b->host = p == MAP_FAILED ? NULL : p;
    b->dirty = b->host ? map_anonymous(pages) : NULL;
    b->code = b->dirty ? map_anonymous(pages * sizeof(CodePage)) : NULL;
    if (!b->code) {
        return error_set_errno(errp, errno, "cannot map %llu MiB of memory for '%s'",
                               (unsigned long long)(b->size / MiB), b->name);
    }
    madvise(b->host, b->size, MADV_DONTDUMP);
    memset(b->dirty, DIRTY_ALL, pages);
    return true;
}

RamBlock *ram_block_new(const char *name, uint64_t size, Error **errp)
{
    RamBlock *b = xcalloc(1, sizeof(*b));
    b->name = xstrdup(name);
    b->fd = -1;
    b->size = ROUND_UP(size, PAGE_SIZE);
    list_init(&b->node);
    if (!map_block(b, errp)) {
        ram_block_free(b);
        return NULL;
    }
    return b;
}

void ram_block_free(RamBlock *b)
{
    if (!b) {
        return;
    }
    uint64_t pages = b->size >> PAGE_BITS;
    if (b->host) {
        munmap(b->host, b->size);
    }
    if (b->dirty) {
        munmap(b->dirty, pages);
    }
    if (b->code) {
        munmap(b->code, pages * sizeof(CodePage));
    }
    if (b->fd >= 0) {
        close(b->fd);
    }
    list_remove(&b->node);
    free(b->name);
    free(b);
}

/* ---- writers that do not say so ---- */

static List writers = LIST_INIT(writers);
static bool code_is_kept = true;

void ram_writer_add(RamWriter *w)
{
    list_insert(&writers, &w->node);
}

void ram_writer_del(RamWriter *w)
{
    list_remove(&w->node);
}

bool ram_may_write_unheard(const RamBlock *b)
{
    return !code_is_kept && !__atomic_load_n(&b->tracked, __ATOMIC_RELAXED);
}

static void tell_writers(void)
{
    list_for_each_safe(pos, &writers) {
        RamWriter *w = container_of(pos, RamWriter, node);
        w->changed(w);
    }
}

void ram_set_code_kept(bool kept)
{
    if (code_is_kept != kept) {
        code_is_kept = kept;
        tell_writers();
    }
}

/* ---- dirty pages ---- */

void ram_track(RamBlock *b, unsigned client, bool on)
{
    if (on) {
        for (uint64_t page = 0; page < b->size >> PAGE_BITS; page++) {
            __atomic_fetch_or(&b->dirty[page], client, __ATOMIC_RELAXED);
        }
        __atomic_fetch_or(&b->tracked, client, __ATOMIC_SEQ_CST);
    } else {
        __atomic_fetch_and(&b->tracked, ~client, __ATOMIC_SEQ_CST);
    }
    if (ram_tracked_hook) {
        ram_tracked_hook(b);
    }
    tell_writers();
}

bool ram_collect_dirty(RamBlock *b, uint64_t offset, uint64_t len, unsigned client,
                       unsigned long *bitmap)
{
    enum { LONG_BITS = 8 * sizeof(long) };
    uint64_t first = offset >> PAGE_BITS, nr = 0, seen = 0;
    uint64_t end = MIN(ROUND_UP(offset + len, PAGE_SIZE), b->size) >> PAGE_BITS;
    if (ram_dirty_sync_hook) {
        ram_dirty_sync_hook(b, offset, len);
    }
    for (uint64_t page = first; page < end; page++) {
        if (!(__atomic_load_n(&b->dirty[page], __ATOMIC_RELAXED) & client)) {
            continue;
        }
        __atomic_fetch_and(&b->dirty[page], ~client, __ATOMIC_SEQ_CST);
        if (bitmap) {
            bitmap[(page - first) / LONG_BITS] |= 1ul << (page - first) % LONG_BITS;
        }
        nr++;
        seen = page;
    }
    /* A store after this finds the page clean and sets its bit again; the caller reads the page
     * only now, so no change is missed. */
    if (nr && (__atomic_load_n(&b->tracked, __ATOMIC_RELAXED) & client)) {
        ram_protect_hook(nr == 1 ? b : NULL, nr == 1 ? seen << PAGE_BITS : 0, true);
    }
    return nr;
}

/* ---- code ---- */

static void bump_stamp(CodePage *c, uint64_t written, uint64_t ticket)
{
    __atomic_fetch_add(&c->stamp, 1, __ATOMIC_SEQ_CST);
    if (ram_code_hook) {
        ram_code_hook(&c->stamp, written, ticket);
    }
}

/* False: none of them was set any more. */
static bool clear_granules(CodePage *c, uint64_t written)
{
    uint64_t ticket = 0, keep = 0;
    __atomic_fetch_add(&c->clearing, 1, __ATOMIC_SEQ_CST);
    if (ram_code_keep_hook) {
        keep = ram_code_keep_hook(&c->stamp, written, &ticket);
    }
    uint64_t g = __atomic_load_n(&c->granules, __ATOMIC_SEQ_CST);
    while ((g & written) && !__atomic_compare_exchange_n(&c->granules, &g, g & keep, false,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    if (g & written) {
        bump_stamp(c, written, ticket);
    }
    __atomic_fetch_sub(&c->clearing, 1, __ATOMIC_SEQ_CST);
    return g & written;
}

static void code_written(CodePage *c, uint64_t written)
{
    if ((__atomic_load_n(&c->granules, __ATOMIC_SEQ_CST) & written) && clear_granules(c, written)) {
        return;
    }
    if (__atomic_load_n(&c->clearing, __ATOMIC_SEQ_CST)) {
        bump_stamp(c, written, UINT64_MAX);
    }
}

void ram_written(RamBlock *b, uint64_t offset, uint64_t len)
{
    /* Between the bytes and the look at the granules: a decoder does it the other way round. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t end = offset + len; offset < end;) {
        uint64_t page = offset >> PAGE_BITS;
        uint64_t stop = MIN((page + 1) << PAGE_BITS, end);
        if (__atomic_load_n(&b->dirty[page], __ATOMIC_RELAXED) != DIRTY_ALL) {
            __atomic_fetch_or(&b->dirty[page], DIRTY_ALL, __ATOMIC_SEQ_CST);
        }
        code_written(&b->code[page],
                     ram_granules(offset & (PAGE_SIZE - 1), (stop - 1) & (PAGE_SIZE - 1)));
        offset = stop;
    }
}

void ram_discard(RamBlock *b, uint64_t offset, uint64_t len)
{
    uint64_t first = ROUND_UP(offset, PAGE_SIZE), end = ROUND_DOWN(offset + len, PAGE_SIZE);
    if (first >= end) {
        return;
    }
    /* Memory is shared, so its file has to lose the pages, not this mapping alone. */
    if (madvise(b->host + first, end - first, MADV_REMOVE)) {
        memset(b->host + first, 0, end - first);
    }
    ram_written(b, first, end - first);
}

uint32_t ram_track_code(RamBlock *b, uint64_t offset, uint64_t len)
{
    CodePage *c = &b->code[offset >> PAGE_BITS];
    /* Before the granules: who clears those that are seen here bumps it afterwards. */
    uint32_t stamp = __atomic_load_n(&c->stamp, __ATOMIC_SEQ_CST);
    unsigned first = offset & (PAGE_SIZE - 1);
    uint64_t mask = ram_granules(first, MIN(first + len, (uint64_t)PAGE_SIZE) - 1);
    bool known = (__atomic_load_n(&c->granules, __ATOMIC_SEQ_CST) & mask) == mask;
    if (known && !__atomic_load_n(&c->arming, __ATOMIC_SEQ_CST)) {
        return stamp;
    }
    bool others = __atomic_fetch_add(&c->arming, 1, __ATOMIC_SEQ_CST);
    uint64_t old = __atomic_fetch_or(&c->granules, mask, __ATOMIC_SEQ_CST);
    if (!old || others) {
        ram_protect_hook(b, ROUND_DOWN(offset, PAGE_SIZE), true);
        if (ram_guard_hook) {
            ram_guard_hook(b, ROUND_DOWN(offset, PAGE_SIZE));
        }
    }
    __atomic_fetch_sub(&c->arming, 1, __ATOMIC_SEQ_CST);
    return stamp;
}

void ram_forget_code(RamBlock *b)
{
    for (uint64_t page = 0; page < b->size >> PAGE_BITS; page++) {
        code_written(&b->code[page], UINT64_MAX);
    }
}
