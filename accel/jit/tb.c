/* SPDX-License-Identifier: GPL-2.0-or-later
 * The code cache and its blocks; the header argues why threads may share them.
 */
#include "accel/jit/tb.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/jit/jumps.h"
#include "accel/jit/perfmap.h"
#include "accel/jit/turns.h"
#include "util/alloc.h"

/* ---- life ---- */

/* Twice the same memory, as anonymous: perf report looks names up for no other. */
static void map_anonymous(Jit *j, void **rw, void **rx)
{
    *rw = mmap(NULL, j->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (*rw != MAP_FAILED) {
        *rx = mremap(*rw, 0, j->size, MREMAP_MAYMOVE); /* 0: the old mapping stays, too */
    }
    if (*rx != MAP_FAILED && mprotect(*rx, j->size, PROT_READ | PROT_EXEC)) {
        int err = errno;
        munmap(*rx, j->size);
        *rx = MAP_FAILED;
        errno = err;
    }
}

static void map_memfd(Jit *j, void **rw, void **rx)
{
    int fd = memfd_create("vireo-code", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)j->size) == 0) {
        *rw = mmap(NULL, j->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        *rx = mmap(NULL, j->size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    int err = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = err;
}

static bool map_code(Jit *j, bool anonymous, Error **errp)
{
    void *rw = MAP_FAILED, *rx = MAP_FAILED;
    (anonymous ? map_anonymous : map_memfd)(j, &rw, &rx);
    int err = errno;
    j->rw = rw == MAP_FAILED ? NULL : rw;
    j->rx = rx == MAP_FAILED ? NULL : rx;
    if (!j->rw || !j->rx) {
        return error_set_errno(errp, err, "the host gives no memory for translated code "
                               "(a security policy may forbid executable memory); "
                               "use -accel interp");
    }
    madvise(j->rw, j->size, MADV_DONTDUMP);
    return true;
}

static size_t by_host_size(const Jit *j)
{
    return j->size / TB_LEAST * sizeof(*j->by_host);
}

Jit *jit_new(const JitConfig *c, Error **errp)
{
    Jit *j = xcalloc(1, sizeof(*j));
    j->size = c->code_size;
    j->nr_cpus = c->nr_cpus;
    j->threshold = c->threshold;
    j->max_insns = c->max_insns;
    j->use_table = c->table;
    j->share = c->share;
    j->roaming = c->table ? c->roam : ROAM_OFF;
    j->spans = c->span;
    j->window = c->window;
    j->chain = c->chain && !c->check;
    j->check = c->check;
    j->check_every = c->check_every;
    j->turns = c->single ? turns_new() : NULL;
    j->epoch = 1;
    pthread_mutex_init(&j->lock, NULL);
    j->meta_size = c->code_size; /* address space: a block's description is smaller than its code */
    j->meta = mmap(NULL, j->meta_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    j->by_host = mmap(NULL, by_host_size(j), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (j->meta == MAP_FAILED || j->by_host == MAP_FAILED || !map_code(j, c->perfmap, errp)) {
        jit_free(j);
        return NULL;
    }
    j->e = (Emit){ .p = j->rw, .end = j->rw + j->size, .to_rx = j->rx - j->rw };
    jit_make_stubs(j);
    j->after_stubs = j->e.p;
    if (c->perfmap) {
        j->perfmap = perfmap_open(errp);
        if (!j->perfmap) {
            jit_free(j);
            return NULL;
        }
        perfmap_restart(j->perfmap, j);
    }
    return j;
}

void jit_free(Jit *j)
{
    if (!j) {
        return;
    }
    if (j->rw) {
        munmap(j->rw, j->size);
    }
    if (j->rx) {
        munmap(j->rx, j->size);
    }
    if (j->meta && j->meta != MAP_FAILED) {
        munmap(j->meta, j->meta_size);
    }
    if (j->by_host && j->by_host != MAP_FAILED) {
        munmap(j->by_host, by_host_size(j));
    }
    perfmap_close(j->perfmap);
    turns_free(j->turns);
    pthread_mutex_destroy(&j->lock);
    free(j);
}

void *jit_alloc(Jit *j, size_t bytes)
{
    bytes = ROUND_UP(bytes, 16);
    if (bytes > j->meta_size - j->meta_used) {
        return NULL;
    }
    void *p = j->meta + j->meta_used;
    j->meta_used += bytes;
    return p;
}

bool jit_is_full(const Jit *j)
{
    return j->e.end - j->e.p < CODE_MARGIN || j->meta_size - j->meta_used < CODE_MARGIN;
}

void jit_empty(Jit *j)
{
    memset(j->hash, 0, sizeof(j->hash));
    memset(j->pages, 0, sizeof(j->pages));
    madvise(j->meta, j->meta_used, MADV_DONTNEED);
    j->meta_used = 0;
    j->nr_by_host = 0;
    j->e.p = j->after_stubs;
    j->epoch++;
    j->stats.flushes++;
    if (j->perfmap) {
        perfmap_restart(j->perfmap, j);
    }
}

/* ---- finding ---- */

static unsigned tb_hash(uint64_t gpa, uint32_t mode)
{
    uint64_t h = (gpa ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull;
    return h >> 49 & (TB_HASH - 1);
}

static unsigned page_hash(const uint32_t *stamp)
{
    return ((uintptr_t)stamp >> 4) * 0x9e3779b1u >> 19 & (PAGE_HASH - 1);
}

Tb *tb_find(const Jit *j, uint64_t gpa, uint32_t mode, const uint32_t *stamp,
            const uint32_t *stamp2)
{
    Tb *tb = __atomic_load_n(&j->hash[tb_hash(gpa, mode)], __ATOMIC_ACQUIRE);
    for (; tb; tb = __atomic_load_n(&tb->hash_next, __ATOMIC_ACQUIRE)) {
        if (tb->gpa == gpa && tb->mode == mode && tb->stamp == stamp &&
            (stamp2 == TB_ANY || tb->stamp2 == stamp2) &&
            !__atomic_load_n(&tb->stale, __ATOMIC_ACQUIRE)) {
            return tb;
        }
    }
    return NULL;
}

const char *tb_mode_name(uint32_t mode)
{
    static const char *const name[4][3] = {
        { "kernel16", "kernel32", "kernel64" },
        { "ring1_16", "ring1_32", "ring1_64" },
        { "ring2_16", "ring2_32", "ring2_64" },
        { "user16", "user32", "user64" },
    };
    if (!(mode & MODE_PE)) {
        return mode & MODE_VM ? "v86" : "real";
    }
    return name[(mode & MODE_CPL) >> MODE_CPL_SHIFT]
               [mode & MODE_CS64 ? 2 : mode & MODE_CS32 ? 1 : 0];
}

static CodePageTbs *page_of(const Jit *j, const uint32_t *stamp)
{
    CodePageTbs *p = j->pages[page_hash(stamp)];
    while (p && p->stamp != stamp) {
        p = p->next;
    }
    return p;
}

uint32_t jit_page_drops(const Jit *j, const uint32_t *stamp)
{
    const CodePageTbs *p = page_of(j, stamp);
    return p ? p->drops : 0;
}

Tb *tb_of_host(const Jit *j, const void *host)
{
    const uint8_t *at = host;
    size_t lo = 0, hi = j->nr_by_host;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (j->by_host[mid]->entry <= at) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    Tb *tb = hi ? j->by_host[lo] : NULL;
    return tb && at >= tb->entry && at < tb->entry + tb->code_len ? tb : NULL;
}

static void page_add(Jit *j, const uint32_t *stamp, Tb *tb)
{
    CodePageTbs *p = page_of(j, stamp);
    if (!p) {
        p = jit_alloc(j, sizeof(*p));
        *p = (CodePageTbs){ .next = j->pages[page_hash(stamp)], .stamp = stamp };
        j->pages[page_hash(stamp)] = p;
    }
    TbNode *n = jit_alloc(j, sizeof(*n));
    *n = (TbNode){ p->first, tb };
    p->first = n;
}

Tb *jit_fault_at(Jit *j, const void *pc, uint32_t *desc)
{
    Tb *found = NULL;
    if ((const uint8_t *)pc < j->rx || (const uint8_t *)pc >= j->rx + j->size) {
        return NULL;
    }
    pthread_mutex_lock(&j->lock);
    Tb *tb = tb_of_host(j, pc);
    if (tb) {
        uint32_t at = (uint32_t)((const uint8_t *)pc - tb->entry);
        for (unsigned i = 0; i < tb->nr_places && tb->insns[i].host <= at; i++) {
            *desc = tb->insns[i].desc;
            found = tb;
        }
    }
    pthread_mutex_unlock(&j->lock);
    return found;
}

void tb_insert(Jit *j, Tb *tb)
{
    Tb **head = &j->hash[tb_hash(tb->gpa, tb->mode)];
    tb->serial = ++j->last_serial;
    j->by_host[j->nr_by_host++] = tb; /* code is emitted upwards */
    page_add(j, tb->stamp, tb);
    if (tb->stamp2) {
        page_add(j, tb->stamp2, tb);
    }
    tb->hash_next = *head;
    __atomic_store_n(head, tb, __ATOMIC_RELEASE);
    j->stats.blocks++;
    j->stats.guest_insns += tb->nr_insns;
    j->stats.guest_bytes += tb->bytes;
    j->stats.host_bytes += tb->code_len;
}

/* ---- patching ---- */

/* An exit to another page whose address space comes and goes is left to the jump cache so often
 * before it is linked anew, which costs a way through C. */
enum { RELINK_AFTER = 64 };

static void patch_rel32(uint8_t *rel32, const uint8_t *target)
{
    __atomic_store_n((int32_t *)rel32, (int32_t)(target - (rel32 + 4)), __ATOMIC_RELEASE);
}

/* 5 bytes inside the aligned 8 that hold them. */
static void patch5(uint8_t *at, const uint8_t insn[5])
{
    uint64_t *word = (uint64_t *)((uintptr_t)at & ~7ull), val = *word;
    memcpy((uint8_t *)&val + (at - (uint8_t *)word), insn, 5);
    __atomic_store_n(word, val, __ATOMIC_RELEASE);
}

static void patch_jmp(uint8_t *at, const uint8_t *target)
{
    uint8_t insn[5] = { 0xe9 };
    int32_t d = (int32_t)(target - (at + 5));
    memcpy(insn + 1, &d, 4);
    patch5(at, insn);
}

static void patch_nop(uint8_t *at)
{
    static const uint8_t nop5[5] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
    patch5(at, nop5);
}

void tb_link(Jit *j, TbExit *x, Tb *to)
{
    if (x->tag || x->to || x->by_cache || x->from->stale || to->stale || !j->chain) {
        return;
    }
    if (to->stamp2) {
        x->by_cache = true;
        return;
    }
    /* Dropping a block undoes these jumps, so that they need not pass the place for its jump out. */
    const uint8_t *entry = to->entry + TB_ENTRY - j->e.to_rx;
    x->to = to;
    x->next_in = to->in;
    to->in = x;
    j->stats.links++;
    if (x->saved && to->wants_flags) {
        patch_rel32(x->saved, entry);
        return;
    }
    patch_rel32(x->direct, entry);
    if (x->gate) {
        patch_nop(x->gate);
    }
}

/* Takes x out of the list of those that lead to x->to. */
static void forget_exit(TbExit *x)
{
    TbExit **link = &x->to->in;
    while (*link != x) {
        link = &(*link)->next_in;
    }
    *link = x->next_in;
    x->to = NULL;
}

void tb_link_far(Jit *j, TbExit *x, Tb *to, uint64_t page, uint64_t tag)
{
    if (x->from->stale || to->stale || !j->chain) {
        return;
    }
    x->tries = to->stamp2 ? INT32_MAX : RELINK_AFTER;
    if (to->stamp2) {
        return; /* entered by the jump cache only */
    }
    if (x->to) {
        forget_exit(x);
    }
    x->to = to;
    x->next_in = to->in;
    to->in = x;
    j->stats.links++;
    patch_rel32(x->direct, to->entry + TB_ENTRY - j->e.to_rx);
    __atomic_store_n(x->page, page, __ATOMIC_RELEASE);
    __atomic_store_n(x->tag, tag, __ATOMIC_RELEASE);
}

void jit_forget_spaces(Jit *j)
{
    for (size_t i = 0; i < j->nr_by_host; i++) {
        Tb *tb = j->by_host[i];
        for (unsigned n = 0; n < tb->nr_exits; n++) {
            if (tb->exits[n].tag) {
                __atomic_store_n(tb->exits[n].tag, JUMP_NONE, __ATOMIC_RELEASE);
                tb->exits[n].tries = 0;
            }
        }
    }
}

static void tb_unlink(TbExit *x)
{
    Tb *to = x->to;
    x->to = NULL;
    if (x->tag) {
        __atomic_store_n(x->tag, JUMP_NONE, __ATOMIC_RELEASE);
        patch_rel32(x->direct, x->unlinked);
        x->tries = 0;
        return;
    }
    if (x->saved && to->wants_flags) {
        patch_rel32(x->saved, x->unlinked);
    } else if (x->gate) {
        patch_jmp(x->gate, x->saved_code);
    } else {
        patch_rel32(x->direct, x->saved ? x->saved_code : x->unlinked);
    }
}

/* Its memory comes back with the next flush: whoever is looking at it just now may go on. */
static void unhash(Jit *j, Tb *tb)
{
    Tb **link = &j->hash[tb_hash(tb->gpa, tb->mode)];
    while (*link && *link != tb) {
        link = &(*link)->hash_next;
    }
    if (*link) {
        __atomic_store_n(link, tb->hash_next, __ATOMIC_RELEASE);
    }
}

void tb_drop(Jit *j, Tb *tb, DropCause cause)
{
    __atomic_store_n(&tb->stale, true, __ATOMIC_RELEASE);
    unhash(j, tb);
    patch_jmp(tb->entry - j->e.to_rx, tb->stale_code);
    for (TbExit *x = tb->in, *next; x; x = next) {
        next = x->next_in;
        tb_unlink(x);
    }
    tb->in = NULL;
    for (unsigned i = 0; i < tb->nr_exits; i++) {
        if (tb->exits[i].to) {
            forget_exit(&tb->exits[i]);
        }
    }
    j->stats.dropped[cause]++;
}

/* Where in the page with that stamp the block's bytes lie. */
static uint64_t tb_granules(const Tb *tb, const uint32_t *stamp)
{
    unsigned first = tb->gpa & (PAGE_SIZE - 1);
    uint64_t here = ram_granules(first, MIN(first + tb->span, (unsigned)PAGE_SIZE) - 1);
    return (tb->stamp == stamp ? here : 0) | (tb->stamp2 == stamp); /* 15 bytes of the second */
}

uint64_t jit_page_keep(Jit *j, const uint32_t *stamp, uint64_t written, uint64_t *ticket)
{
    uint64_t keep = 0;
    pthread_mutex_lock(&j->lock);
    const CodePageTbs *p = page_of(j, stamp);
    for (const TbNode *n = p ? p->first : NULL; n; n = n->next) {
        uint64_t granules = n->tb->stale ? 0 : tb_granules(n->tb, stamp);
        keep |= granules & written ? 0 : granules;
    }
    if (p) {
        *ticket = j->last_serial;
    }
    pthread_mutex_unlock(&j->lock);
    return keep;
}

unsigned jit_page_written(Jit *j, const uint32_t *stamp, uint64_t written, uint64_t ticket,
                          DropCause cause)
{
    pthread_mutex_lock(&j->lock);
    CodePageTbs *p = page_of(j, stamp);
    unsigned dropped = 0;
    for (TbNode **link = p ? &p->first : NULL, *n; link && (n = *link) != NULL;) {
        /* Its other page's list may have had it. */
        if (!n->tb->stale && (n->tb->serial > ticket || (tb_granules(n->tb, stamp) & written))) {
            tb_drop(j, n->tb, cause);
            dropped++;
        }
        if (n->tb->stale) {
            *link = n->next;
        } else {
            link = &n->next;
            j->stats.kept_blocks++;
        }
    }
    if (dropped) {
        j->stats.dropped_pages++;
        p->drops++;
    }
    pthread_mutex_unlock(&j->lock);
    return dropped;
}
