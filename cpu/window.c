/* SPDX-License-Identifier: GPL-2.0-or-later
 * Windows, as the header describes them.
 */
#include "cpu/window.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "hw/core/machine.h"
#include "util/alloc.h"

#define RESERVED(below) ((below) + WINDOW_ABOVE + WINDOW_SIZE + PAGE_SIZE)

/* A stretch of one RAM block; whole pages. */
typedef struct Piece {
    uint64_t start, size;
    const uint8_t *host;
    RamBlock *ram;
    uint64_t ram_offset;
    bool readonly; /* all of it */
    bool keep;     /* while a new map is compared with the old one */
} Piece;

struct Window {
    uint8_t *base;
    bool outdated;
    unsigned nr_locked, max_locked;
    pthread_mutex_t lock; /* of what follows, and of all mapping */
    Piece *piece;
    size_t nr, room;
    /* Bit n: page n, of a writable piece, is read-only. */
    uint64_t locked[WINDOW_SIZE / PAGE_SIZE / 64];
};

void *window_pages_new(size_t size)
{
    void *p = mmap(NULL, ROUND_UP(size, PAGE_SIZE), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void window_pages_free(void *pages, size_t size)
{
    if (pages) {
        munmap(pages, ROUND_UP(size, PAGE_SIZE));
    }
}

/* ---- mapping ---- */

static void map_or_abort(void *at, uint64_t size, int prot, int flags, int fd, uint64_t offset)
{
    if (mmap(at, size, prot, flags | MAP_FIXED | MAP_NORESERVE, fd, (off_t)offset) == MAP_FAILED) {
        abort(); /* the host has no memory left for its own tables */
    }
}

void window_map(uint8_t *at, uint64_t size, const RamBlock *ram, uint64_t ram_offset, bool writable)
{
    map_or_abort(at, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, ram->fd,
                 ram_offset);
}

void window_unmap(uint8_t *at, uint64_t size)
{
    map_or_abort(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

uint8_t *window_reserve(CpuState *cpu, uint64_t below, Error **errp)
{
    uint8_t *at =
        mmap(NULL, RESERVED(below), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        error_set_errno(errp, errno, "no 4 GiB of address space for a vCPU's window");
        return NULL;
    }
    if (mremap(cpu, 0, WINDOW_ABOVE, MREMAP_MAYMOVE | MREMAP_FIXED, at + below) == MAP_FAILED ||
        (below && mprotect(at, below, PROT_READ | PROT_WRITE))) {
        error_set_errno(errp, errno, "could not map a vCPU's state a second time");
        munmap(at, RESERVED(below));
        return NULL;
    }
    return at + below + WINDOW_ABOVE;
}

void window_release(uint8_t *base, uint64_t below)
{
    munmap(base - WINDOW_ABOVE - below, RESERVED(below));
}

static bool is_locked(const Window *w, uint64_t lin)
{
    uint64_t page = lin >> PAGE_BITS;
    return w->locked[page / 64] >> page % 64 & 1;
}

/* Pages that are read-only by themselves, of all CPUs: each two mappings, which the host bounds. */
enum { MAX_LOCKED = 1 << 13 };

/* Maps what is mapped there already with other rights. Too many stretches of different rights: none
 * of it is mapped any more, and slots serve, until the memory map changes. */
static void protect(Window *w, uint64_t start, uint64_t size, int prot)
{
    if (w->nr_locked > w->max_locked || mprotect(w->base + start, size, prot)) {
        window_unmap(w->base, WINDOW_SIZE);
        w->nr = 0;
    }
}

static void set_locked(Window *w, uint64_t lin, bool on)
{
    uint64_t page = lin >> PAGE_BITS, bit = 1ull << page % 64;
    if (is_locked(w, lin) != on) {
        w->locked[page / 64] ^= bit;
        w->nr_locked += on ? 1u : -1u;
        protect(w, TLB_PAGE(lin), PAGE_SIZE, on ? PROT_READ : PROT_READ | PROT_WRITE);
    }
}

/* Is each write to the block looked at, or may be soon? */
static bool is_watched(const RamBlock *b)
{
    return __atomic_load_n(&b->tracked, __ATOMIC_SEQ_CST);
}

static void piece_map(Window *w, Piece *p)
{
    p->readonly |= is_watched(p->ram);
    window_map(w->base + p->start, p->size, p->ram, p->ram_offset, !p->readonly);
    for (uint64_t at = 0; at < p->size; at += PAGE_SIZE) {
        uint64_t page = (p->start + at) >> PAGE_BITS;
        w->nr_locked -= is_locked(w, p->start + at);
        w->locked[page / 64] &= ~(1ull << page % 64);
    }
    for (uint64_t at = 0; at < p->size && !p->readonly && w->nr; at += PAGE_SIZE) {
        if (ram_write_is_tracked(p->ram, p->ram_offset + at)) {
            set_locked(w, p->start + at, true);
        }
    }
}

/* ---- the memory map ---- */

static void add_piece(Window *w, const FlatRange *fr)
{
    uint64_t start = ROUND_UP(fr->start, PAGE_SIZE);
    uint64_t end =
        fr->start + fr->size < WINDOW_SIZE ? TLB_PAGE(fr->start + fr->size) : WINDOW_SIZE;
    uint64_t skip = start - fr->start;
    if (!fr->host || start >= end || ((fr->ram_offset + skip) & (PAGE_SIZE - 1))) {
        return;
    }
    if (w->nr == w->room) {
        w->room = w->room ? 2 * w->room : 32;
        w->piece = xrealloc(w->piece, w->room * sizeof(*w->piece));
    }
    w->piece[w->nr++] = (Piece){ .start = start,
                                 .size = end - start,
                                 .host = fr->host + skip,
                                 .ram = fr->ram,
                                 .ram_offset = fr->ram_offset + skip,
                                 .readonly = fr->readonly };
}

/* What both maps have stays mapped as it is. */
static bool keep_same(Piece *p, Piece *old, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        Piece *o = &old[i];
        if (o->start == p->start && o->size == p->size && o->host == p->host && o->ram == p->ram &&
            o->readonly == (p->readonly || is_watched(p->ram))) {
            p->readonly = o->readonly;
            o->keep = p->keep = true;
            return true;
        }
    }
    return false;
}

void window_refresh(CpuState *cpu)
{
    Window *w = cpu->window;
    if (likely(!w->outdated)) {
        return;
    }
    w->outdated = false;
    pthread_mutex_lock(&w->lock);
    Piece *old = w->piece;
    size_t nr_old = w->nr;
    w->piece = NULL;
    w->nr = w->room = 0;
    for (size_t i = 0; i < cpu->mmu->view->nr; i++) {
        add_piece(w, &cpu->mmu->view->range[i]);
    }
    for (size_t i = 0; i < w->nr; i++) {
        keep_same(&w->piece[i], old, nr_old);
    }
    for (size_t i = 0; i < nr_old; i++) {
        if (!old[i].keep) {
            window_unmap(w->base + old[i].start, old[i].size);
        }
    }
    for (size_t i = 0; i < w->nr; i++) {
        if (!w->piece[i].keep) {
            piece_map(w, &w->piece[i]);
        }
        w->piece[i].keep = false;
    }
    pthread_mutex_unlock(&w->lock);
    free(old);
}

void window_outdate(Window *w)
{
    w->outdated = true;
}

void window_drop(Window *w)
{
    pthread_mutex_lock(&w->lock);
    window_unmap(w->base, WINDOW_SIZE);
    w->nr = 0;
    w->outdated = true;
    pthread_mutex_unlock(&w->lock);
}

/* ---- write permissions ---- */

void window_revoke_write(Window *w, const uint8_t *page)
{
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->nr; i++) {
        Piece *p = &w->piece[i];
        if (p->readonly) {
            continue;
        }
        if (page && (uint64_t)(page - p->host) < p->size) {
            set_locked(w, p->start + (uint64_t)(page - p->host), true);
        } else if (!page && is_watched(p->ram)) {
            p->readonly = true;
            protect(w, p->start, p->size, PROT_READ);
        }
    }
    pthread_mutex_unlock(&w->lock);
}

bool window_heal(Window *w, uint64_t lin)
{
    bool healed = false;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->nr && !healed; i++) {
        const Piece *p = &w->piece[i];
        uint64_t at = TLB_PAGE(lin) - p->start;
        if (at < p->size && !p->readonly && is_locked(w, lin)) {
            /* In this order: who asks for tracking meanwhile waits for the lock. */
            set_locked(w, lin, false);
            healed = w->nr && !ram_write_is_tracked(p->ram, p->ram_offset + at);
            if (w->nr && !healed) {
                set_locked(w, lin, true);
            }
        }
    }
    pthread_mutex_unlock(&w->lock);
    return healed;
}

uint64_t window_mapped(Window *w)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->nr; i++) {
        bytes += w->piece[i].size;
    }
    pthread_mutex_unlock(&w->lock);
    return bytes;
}

/* ---- life ---- */

uint8_t *window_base(const Window *w)
{
    return w->base;
}

bool window_find(const uint8_t *base, const void *host, uint64_t *lin)
{
    *lin = (uint64_t)((const uint8_t *)host - base);
    return *lin < WINDOW_SIZE + PAGE_SIZE;
}

Window *window_new(CpuState *cpu, Error **errp)
{
    Window *w = xcalloc(1, sizeof(*w));
    w->base = window_reserve(cpu, 0, errp);
    if (!w->base) {
        free(w);
        return NULL;
    }
    w->outdated = true;
    w->max_locked = MAX_LOCKED / MAX(cpu->machine->nr_cpus, 1u);
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

void window_free(Window *w)
{
    if (w) {
        window_release(w->base, 0);
        pthread_mutex_destroy(&w->lock);
        free(w->piece);
        free(w);
    }
}
