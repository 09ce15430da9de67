/* SPDX-License-Identifier: GPL-2.0-or-later
 * Address spaces and their flat views: the region tree rendered to sorted, disjoint ranges.
 *
 * A view is immutable and counted. as->view is swapped under a spin lock that covers only the
 * pointer and the count, so that a reader cannot be left with a view that was freed between
 * reading the pointer and counting itself in.
 */
#include "memory/flat_view.h"

#include "memory/region.h"
#include "util/alloc.h"
#include "util/vm_lock.h"

/* Addresses and sizes up to 2^64, and aliases that begin below their target's start. */
typedef __int128 Wide;

typedef struct Builder {
    FlatRange *range;
    size_t nr, room;
} Builder;

static List spaces = LIST_INIT(spaces); /* vm_lock */

/* ---- rendering ---- */

static void insert_range(Builder *b, size_t at, const FlatRange *fr)
{
    if (b->nr == b->room) {
        b->room = b->room ? 2 * b->room : 32;
        b->range = xrealloc(b->range, b->room * sizeof(FlatRange));
    }
    memmove(&b->range[at + 1], &b->range[at], (b->nr - at) * sizeof(FlatRange));
    b->range[at] = *fr;
    b->nr++;
}

static FlatRange leaf_range(Region *r, Wide base, Wide lo, Wide hi, bool readonly)
{
    FlatRange fr = { .start = (uint64_t)lo, .size = (uint64_t)(hi - lo), .region = r,
                     .offset = (uint64_t)(lo - base), .readonly = readonly };
    if (r->kind == REGION_RAM) {
        fr.ram = r->ram;
        fr.ram_offset = r->ram_offset + fr.offset;
        fr.host = r->ram->host + fr.ram_offset;
    }
    return fr;
}

/* Puts what is still free of [lo, hi) under leaf r, whose offset 0 is at base. */
static void render_leaf(Builder *b, Region *r, Wide base, Wide lo, Wide hi, bool readonly)
{
    for (size_t i = 0; lo < hi; i++) {
        while (i < b->nr && (Wide)b->range[i].start + b->range[i].size <= lo) {
            i++;
        }
        Wide next = i < b->nr ? (Wide)b->range[i].start : hi;
        if (lo < next) {
            Wide stop = MIN(next, hi);
            FlatRange fr = leaf_range(r, base, lo, stop, readonly);
            insert_range(b, i++, &fr);
        }
        if (next >= hi) {
            break;
        }
        lo = (Wide)b->range[i].start + b->range[i].size;
    }
}

/* r's offset 0 lies at base; only [lo, hi) may show. Whoever comes first wins. */
static void render(Builder *b, Region *r, Wide base, Wide lo, Wide hi, bool readonly)
{
    Wide size = r->size == UINT64_MAX ? (Wide)1 << 64 : (Wide)r->size;
    lo = MAX(lo, base);
    hi = MIN(hi, base + size);
    if (!r->enabled || lo >= hi) {
        return;
    }
    readonly |= r->readonly;
    list_for_each(pos, &r->children) {
        Region *child = container_of(pos, Region, sibling);
        render(b, child, base + child->offset, lo, hi, readonly);
    }
    switch (r->kind) {
    case REGION_CONTAINER: break;
    case REGION_ALIAS: render(b, r->target, base - r->target_offset, lo, hi, readonly); break;
    default: render_leaf(b, r, base, lo, hi, readonly); break;
    }
}

static bool continues(const FlatRange *a, const FlatRange *b)
{
    return a->start + a->size == b->start && b->start && a->region == b->region &&
           a->offset + a->size == b->offset && a->readonly == b->readonly;
}

static FlatView *view_new(Region *root)
{
    Builder b = { 0 };
    render(&b, root, 0, 0, (Wide)1 << 64, false);
    size_t nr = 0;
    for (size_t i = 0; i < b.nr; i++) {
        if (nr && continues(&b.range[nr - 1], &b.range[i])) {
            b.range[nr - 1].size += b.range[i].size;
        } else {
            b.range[nr++] = b.range[i];
        }
    }
    FlatView *v = xcalloc(1, sizeof(*v) + nr * sizeof(FlatRange));
    v->refs = 1;
    v->nr = nr;
    if (nr) {
        memcpy(v->range, b.range, nr * sizeof(FlatRange));
    }
    free(b.range);
    return v;
}

static bool same_range(const FlatRange *a, const FlatRange *b)
{
    return a->start == b->start && a->size == b->size && a->region == b->region &&
           a->offset == b->offset && a->host == b->host && a->ram == b->ram &&
           a->ram_offset == b->ram_offset && a->readonly == b->readonly;
}

static bool same_view(const FlatView *a, const FlatView *b)
{
    if (a->nr != b->nr) {
        return false;
    }
    for (size_t i = 0; i < a->nr; i++) {
        if (!same_range(&a->range[i], &b->range[i])) {
            return false;
        }
    }
    return true;
}

/* ---- views ---- */

static void view_lock(AddressSpace *as)
{
    while (__atomic_exchange_n(&as->view_lock, true, __ATOMIC_ACQUIRE)) {
        __builtin_ia32_pause();
    }
}

static void view_unlock(AddressSpace *as)
{
    __atomic_store_n(&as->view_lock, false, __ATOMIC_RELEASE);
}

FlatView *address_space_view(AddressSpace *as)
{
    view_lock(as);
    FlatView *v = as->view;
    __atomic_fetch_add(&v->refs, 1, __ATOMIC_RELAXED);
    view_unlock(as);
    return v;
}

void flat_view_unref(FlatView *v)
{
    if (v && __atomic_fetch_sub(&v->refs, 1, __ATOMIC_ACQ_REL) == 1) {
        free(v);
    }
}

static void tell_properties(AddressSpace *as)
{
    list_for_each_safe(pos, &as->listeners) {
        MemoryListener *l = container_of(pos, MemoryListener, node);
        if (l->properties) {
            l->properties(l, as);
        }
    }
}

/* True: it has a new view. */
static bool space_update(AddressSpace *as)
{
    FlatView *v = view_new(as->root), *old = as->view;
    if (same_view(v, old)) {
        flat_view_unref(v);
        return false;
    }
    view_lock(as);
    __atomic_store_n(&as->view, v, __ATOMIC_SEQ_CST);
    view_unlock(as);
    flat_view_unref(old);
    list_for_each_safe(pos, &as->listeners) {
        MemoryListener *l = container_of(pos, MemoryListener, node);
        if (l->changed) {
            l->changed(l, as);
        }
    }
    return true;
}

void flat_views_update(bool properties)
{
    list_for_each(pos, &spaces) {
        AddressSpace *as = container_of(pos, AddressSpace, node);
        if (space_update(as) || properties) {
            tell_properties(as);
        }
    }
}

/* The last range that starts at or below addr, without a branch the CPU could guess wrong. */
const FlatRange *flat_view_find(const FlatView *v, uint64_t addr)
{
    if (!v->nr) {
        return NULL;
    }
    const FlatRange *base = v->range;
    for (size_t n = v->nr; n > 1;) {
        size_t half = n / 2;
        base = base[half].start <= addr ? base + half : base;
        n -= half;
    }
    return addr - base->start < base->size ? base : NULL;
}

/* ---- address spaces ---- */

void address_space_init(AddressSpace *as, const char *name, Region *root)
{
    *as = (AddressSpace){ .name = name, .root = root };
    list_init(&as->listeners);
    root->space = as;
    as->view = view_new(root);
    list_insert(&spaces, &as->node);
}

void address_space_fini(AddressSpace *as)
{
    list_remove(&as->node);
    flat_view_unref(as->view);
    as->view = NULL;
    as->root->space = NULL;
}

void memory_listener_add(AddressSpace *as, MemoryListener *l)
{
    list_insert(&as->listeners, &l->node);
}

void memory_listener_del(MemoryListener *l)
{
    list_remove(&l->node);
}
