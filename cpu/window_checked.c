/* SPDX-License-Identifier: GPL-2.0-or-later
 * Checked windows, as the header describes them.
 */
#include "cpu/window_checked.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "hw/core/machine.h"

enum {
    LOG = 4096,           /* pages with bits at a time */
    REACH = 16,           /* pages to either side that are mapped with one that is */
    REMAP_VOTES = 8,      /* uses until another page than before is mapped at an address */
    UNMAP_VOTES = 8,      /* uses of the page before until one that is not used is unmapped */
    MAX_CHANGES = 1 << 13, /* of all CPUs: mmap()s until all is unmapped, each two mappings at most */
};

struct CheckedWindow {
    uint8_t *base, *table;
    bool outdated;
    unsigned nr;       /* atomic: of log */
    uint32_t log[LOG]; /* page numbers with bits; others read */
    uint64_t mapped, maps;
    unsigned changes, max_changes; /* since nothing was mapped */
    /* What is mapped there; NULL: nothing. Others read. Whole pages, for madvise(). */
    const uint8_t *host[WINDOW_PAGES] __attribute__((aligned(PAGE_SIZE)));
    uint8_t votes[WINDOW_PAGES];
};

static uint32_t page_of(uint64_t lin)
{
    return (uint32_t)(lin >> PAGE_BITS) & (WINDOW_PAGES - 1);
}

uint8_t checked_window_bits(const CheckedWindow *w, uint64_t lin)
{
    return __atomic_load_n(&w->table[page_of(lin)], __ATOMIC_RELAXED);
}

/* ---- taking bits away ---- */

void checked_window_clear(CheckedWindow *w)
{
    for (unsigned i = 0; i < w->nr; i++) {
        __atomic_store_n(&w->table[w->log[i]], 0, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&w->nr, 0, __ATOMIC_RELEASE);
}

enum { ALL_BITS = 15, WRITES = WINDOW_WRITE | WINDOW_WRITE << WINDOW_USER_SHIFT };

/* Of page n, and what reaches into it from the one before. True: there was any. */
static bool take_writes_of(CheckedWindow *w, uint32_t n)
{
    const uint8_t begin = WRITES, both = WRITES | WRITES << WINDOW_ALLOWED;
    uint8_t was = __atomic_fetch_and(&w->table[n], (uint8_t)~both, __ATOMIC_SEQ_CST);
    if (n) {
        __atomic_fetch_and(&w->table[n - 1], (uint8_t)~begin, __ATOMIC_SEQ_CST);
    }
    return was & both;
}

static bool take_writes(CheckedWindow *w, const uint8_t *page)
{
    unsigned nr = __atomic_load_n(&w->nr, __ATOMIC_ACQUIRE);
    bool found = false;
    for (unsigned i = 0; i < nr; i++) {
        uint32_t n = __atomic_load_n(&w->log[i], __ATOMIC_RELAXED);
        if (!page || __atomic_load_n(&w->host[n], __ATOMIC_RELAXED) == page) {
            found |= take_writes_of(w, n);
        }
    }
    return found;
}

void checked_window_clear_writes(CheckedWindow *w)
{
    take_writes(w, NULL);
}

bool checked_window_revoke_write(CheckedWindow *w, const uint8_t *page)
{
    return take_writes(w, page);
}

void checked_window_outdate(CheckedWindow *w)
{
    w->outdated = true;
}

/* ---- mapping ---- */

/* No page has bits. */
static void unmap_all(CheckedWindow *w)
{
    if (w->mapped) {
        window_unmap(w->base, WINDOW_SIZE);
        madvise(w->host, sizeof(w->host), MADV_DONTNEED); /* reads as zero */
    }
    w->mapped = 0;
    w->changes = 0;
}

/* What the cache says of the page: its host memory, and where that lies in a RAM block; NULL: not to be
 * mapped. */
static const uint8_t *cached_page(const CpuState *cpu, uint32_t n, const TlbSide **side)
{
    uint64_t lin = (uint64_t)n << PAGE_BITS;
    const TlbEntry *e = tlb_entry(cpu->tlb, lin);
    *side = &cpu->tlb->side[e - cpu->tlb->entry];
    return e->rtag == lin && (*side)->ram ? (const uint8_t *)(e->addend + lin) : NULL;
}

/* ---- allowing ---- */

/* What page n is allowed: in WINDOW_READ and the other bits. */
static unsigned allowed(const CheckedWindow *w, uint32_t n)
{
    return __atomic_load_n(&w->table[n], __ATOMIC_RELAXED) >> WINDOW_ALLOWED;
}

/* What may cross into page n. */
static unsigned enterable(const CheckedWindow *w, uint32_t n)
{
    return n < WINDOW_PAGES && w->host[n] ? allowed(w, n) : ALL_BITS;
}

/* What may begin in page n, as things are now. */
static void begin_again(CheckedWindow *w, uint32_t n)
{
    unsigned bits = allowed(w, n) & enterable(w, n + 1);
    __atomic_fetch_or(&w->table[n], (uint8_t)bits, __ATOMIC_SEQ_CST);
    __atomic_fetch_and(&w->table[n], (uint8_t)(ALL_BITS << WINDOW_ALLOWED | bits),
                       __ATOMIC_SEQ_CST);
}

/* A page that is mapped as the cache says is allowed what the cache allows; false: it is not. There is
 * room in the log. */
static bool allow(const CpuState *cpu, CheckedWindow *w, uint32_t n)
{
    const TlbSide *side;
    const uint8_t *host = cached_page(cpu, n, &side);
    if (!host || w->host[n] != host) {
        return false;
    }
    uint64_t lin = (uint64_t)n << PAGE_BITS;
    unsigned bits = WINDOW_READ | (tlb_entry(cpu->tlb, lin)->wtag == lin ? WINDOW_WRITE : 0);
    bits <<= cpu->tlb->kind == TLB_USER ? WINDOW_USER_SHIFT : 0;
    if (!w->table[n]) {
        __atomic_store_n(&w->log[w->nr], n, __ATOMIC_RELAXED);
        __atomic_store_n(&w->nr, w->nr + 1, __ATOMIC_RELEASE);
    }
    __atomic_fetch_or(&w->table[n], (uint8_t)(bits << WINDOW_ALLOWED), __ATOMIC_SEQ_CST);
    return true;
}

/* Another page of the same stretch of memory, of which nothing is allowed and that is not mapped yet. */
static bool goes_on(const CpuState *cpu, const CheckedWindow *w, uint32_t n, const uint8_t *host)
{
    const TlbSide *side;
    return !w->table[n] && !w->host[n] && cached_page(cpu, n, &side) == host;
}

/* n and its neighbours. */
static void map(CpuState *cpu, CheckedWindow *w, uint32_t n, const uint8_t *host,
                const TlbSide *side)
{
    uint32_t first = n, last = n;
    while (first > 0 && n - first < REACH &&
           goes_on(cpu, w, first - 1, host - ((uint64_t)(n - first + 1) << PAGE_BITS))) {
        first--;
    }
    while (last < WINDOW_PAGES - 1 && last - n < REACH &&
           goes_on(cpu, w, last + 1, host + ((uint64_t)(last - n + 1) << PAGE_BITS))) {
        last++;
    }
    uint64_t before = (uint64_t)(n - first) << PAGE_BITS;
    __atomic_store_n(&w->table[n], 0, __ATOMIC_RELAXED); /* of a guest that does not flush */
    window_map(w->base + ((uint64_t)first << PAGE_BITS), (uint64_t)(last - first + 1) << PAGE_BITS,
               side->ram, side->ram_offset - before, true);
    for (uint32_t i = first; i <= last; i++) {
        w->mapped += !w->host[i];
        __atomic_store_n(&w->host[i], host - before + ((uint64_t)(i - first) << PAGE_BITS),
                         __ATOMIC_RELAXED);
        allow(cpu, w, i);
    }
    for (uint32_t i = last + 1; i-- > first;) {
        begin_again(w, i);
    }
    if (first) {
        begin_again(w, first - 1);
    }
    w->maps++;
    w->changes++;
}

/* Page n follows one that is used. If it is mapped, but the cache does not say what is there now, it is
 * unmapped, once that has been so several times. */
static void settle_next(CpuState *cpu, CheckedWindow *w, uint32_t n, bool at_once)
{
    if (n < WINDOW_PAGES && w->host[n] && !allow(cpu, w, n) && !w->table[n] &&
        (at_once || !(++w->votes[n] % UNMAP_VOTES))) {
        window_unmap(w->base + ((uint64_t)n << PAGE_BITS), PAGE_SIZE);
        __atomic_store_n(&w->host[n], NULL, __ATOMIC_RELAXED);
        w->mapped--;
        w->changes++;
    }
}

bool checked_window_use(CpuState *cpu, uint64_t lin, bool at_once)
{
    CheckedWindow *w = cpu->checked_window;
    uint32_t n = page_of(lin);
    const TlbSide *side;
    if (w->outdated || w->changes + 2 > w->max_changes) {
        checked_window_clear(w);
        unmap_all(w);
        w->outdated = false;
    } else if (w->nr + 2 * REACH + 1 > LOG) {
        checked_window_clear(w);
    }
    /* Not with EFLAGS.AC, which allows more than is so without it. */
    if (lin > UINT32_MAX || (cpu->tlb->kind != TLB_KERNEL && cpu->tlb->kind != TLB_USER)) {
        return false;
    }
    const uint8_t *host = cached_page(cpu, n, &side);
    if (!host) {
        return false;
    }
    uint8_t before = w->table[n];
    if (w->host[n] != host) {
        /* Address spaces that come and go have different pages at an address. */
        if (!w->host[n] || at_once || !(++w->votes[n] % REMAP_VOTES)) {
            map(cpu, w, n, host, side);
        }
    }
    settle_next(cpu, w, n + 1, at_once);
    if (allow(cpu, w, n)) {
        begin_again(w, n);
        if (n) {
            begin_again(w, n - 1);
        }
    }
    return w->table[n] & ~before & ALL_BITS;
}

void checked_window_count(const CheckedWindow *w, uint64_t *mapped, uint64_t *maps)
{
    *mapped = w->mapped;
    *maps = w->maps;
}

/* ---- life ---- */

uint8_t *checked_window_base(const CheckedWindow *w)
{
    return w->base;
}

CheckedWindow *checked_window_new(CpuState *cpu, Error **errp)
{
    CheckedWindow *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w == MAP_FAILED) {
        error_set_errno(errp, errno, "no memory for a window");
        return NULL;
    }
    w->max_changes = MAX_CHANGES / MAX(cpu->machine->nr_cpus, 1u);
    w->base = window_reserve(cpu, WINDOW_PAGES, errp);
    if (!w->base) {
        munmap(w, sizeof(*w));
        return NULL;
    }
    w->table = w->base - WINDOW_ABOVE - WINDOW_PAGES;
    return w;
}

void checked_window_free(CheckedWindow *w)
{
    if (w) {
        window_release(w->base, WINDOW_PAGES);
        munmap(w, sizeof(*w));
    }
}
