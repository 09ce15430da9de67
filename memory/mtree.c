/* SPDX-License-Identifier: GPL-2.0-or-later
 * info mtree: the region tree, or with -f the flat view, as text.
 */
#include "memory/region.h"
#include "util/alloc.h"

typedef struct Printer {
    void (*print)(void *opaque, const char *line);
    void *opaque;
    Region *later[64]; /* alias targets outside the tree: printed after it */
    size_t nr_later;
} Printer;

static void PRINTF_LIKE(2, 3) line(Printer *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    p->print(p->opaque, text);
    free(text);
}

static const char *kind_name(const Region *r, bool readonly)
{
    switch (r->kind) {
    case REGION_CONTAINER: return "container";
    case REGION_RAM: return readonly ? "rom" : "ram";
    case REGION_ALIAS: return readonly ? "alias, read-only" : "alias";
    default: return "i/o";
    }
}

static uint64_t last_byte(uint64_t start, uint64_t size)
{
    return size == UINT64_MAX ? UINT64_MAX : start + size - (size != 0);
}

static Region *top_of(Region *r)
{
    while (r->parent) {
        r = r->parent;
    }
    return r;
}

static void remember(Printer *p, Region *target)
{
    Region *top = top_of(target);
    for (size_t i = 0; i < p->nr_later; i++) {
        if (p->later[i] == top) {
            return;
        }
    }
    if (p->nr_later < ARRAY_SIZE(p->later)) {
        p->later[p->nr_later++] = top;
    }
}

static void print_region(Printer *p, Region *r, uint64_t base, int indent)
{
    char alias[160] = "";
    if (r->kind == REGION_ALIAS) {
        snprintf(alias, sizeof(alias), " @%s %016llx-%016llx", r->target->name,
                 (unsigned long long)r->target_offset,
                 (unsigned long long)last_byte(r->target_offset, r->size));
        remember(p, r->target);
    }
    line(p, "%*s%016llx-%016llx (prio %d, %s): %s%s%s", indent, "", (unsigned long long)base,
         (unsigned long long)last_byte(base, r->size), r->priority, kind_name(r, r->readonly),
         r->name, alias, r->enabled ? "" : " [disabled]");
    /* By address for the reader; the list is in order of priority. */
    size_t nr = 0, i = 0;
    list_for_each(pos, &r->children) {
        nr++;
    }
    Region **sorted = xcalloc(nr, sizeof(*sorted));
    list_for_each(pos, &r->children) {
        Region *child = container_of(pos, Region, sibling);
        size_t at = i++;
        for (; at && sorted[at - 1]->offset > child->offset; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = child;
    }
    for (i = 0; i < nr; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the second loop filled it */
        print_region(p, sorted[i], base + sorted[i]->offset, indent + 2);
    }
    free(sorted);
}

static void print_flat(Printer *p, AddressSpace *as)
{
    FlatView *v = address_space_view(as);
    line(p, "flat view of address-space: %s, root: %s", as->name, as->root->name);
    for (size_t i = 0; i < v->nr; i++) {
        const FlatRange *fr = &v->range[i];
        char at[40] = "";
        if (fr->offset) {
            snprintf(at, sizeof(at), " @%016llx", (unsigned long long)fr->offset);
        }
        line(p, "  %016llx-%016llx (prio %d, %s): %s%s", (unsigned long long)fr->start,
             (unsigned long long)last_byte(fr->start, fr->size), fr->region->priority,
             kind_name(fr->region, fr->readonly), fr->region->name, at);
    }
    flat_view_unref(v);
}

void memory_print_tree(AddressSpace *as, bool flat, void (*print)(void *opaque, const char *line),
                       void *opaque)
{
    Printer p = { .print = print, .opaque = opaque };
    if (flat) {
        print_flat(&p, as);
        return;
    }
    line(&p, "address-space: %s", as->name);
    print_region(&p, as->root, 0, 2);
    /* Printing these may find more. */
    for (size_t i = 0; i < p.nr_later; i++) {
        if (p.later[i] != as->root) {
            line(&p, "memory-region: %s", p.later[i]->name);
            print_region(&p, p.later[i], 0, 2);
        }
    }
}
