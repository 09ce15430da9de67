/* SPDX-License-Identifier: GPL-2.0-or-later
 * Bus-master access of devices to guest memory. It reaches RAM only: a descriptor that points at
 * registers cannot make a device call itself or another one.
 */
#include "memory/region.h"
#include "util/alloc.h"

/* The RAM at gpa and how much of len it covers; NULL: how many bytes (at least 1, possibly too
 * few) are not RAM. */
static const FlatRange *dma_range(const FlatView *v, uint64_t gpa, size_t len, size_t *n)
{
    const FlatRange *fr = flat_view_find(v, gpa);
    if (!fr) {
        uint64_t to_page = PAGE_SIZE - gpa % PAGE_SIZE;
        *n = 1;
        /* Holes between ranges are whole pages nearly always: skip fast, but never too far. */
        if (to_page <= len && !flat_view_find(v, gpa + to_page - 1)) {
            const FlatRange *next = v->range;
            while (next < v->range + v->nr && next->start < gpa) {
                next++;
            }
            *n = next < v->range + v->nr ? MIN(next->start - gpa, len) : len;
        }
        return NULL;
    }
    *n = MIN(fr->size - (gpa - fr->start), len);
    return fr->host ? fr : NULL;
}

bool dma_read(AddressSpace *as, uint64_t gpa, void *buf, size_t len)
{
    FlatView *v = address_space_view(as);
    bool all_ram = true;
    for (uint8_t *p = buf; len;) {
        size_t n;
        const FlatRange *fr = dma_range(v, gpa, len, &n);
        if (fr) {
            memcpy(p, fr->host + (gpa - fr->start), n);
        } else {
            memset(p, 0, n);
            all_ram = false;
        }
        p += n;
        gpa += n;
        len -= n;
    }
    flat_view_unref(v);
    return all_ram;
}

bool dma_write(AddressSpace *as, uint64_t gpa, const void *buf, size_t len)
{
    FlatView *v = address_space_view(as);
    bool all_ram = true;
    for (const uint8_t *p = buf; len;) {
        size_t n;
        const FlatRange *fr = dma_range(v, gpa, len, &n);
        if (fr && !fr->readonly) {
            memcpy(fr->host + (gpa - fr->start), p, n);
            ram_written(fr->ram, fr->ram_offset + (gpa - fr->start), n);
        } else {
            all_ram = false;
        }
        p += n;
        gpa += n;
        len -= n;
    }
    flat_view_unref(v);
    return all_ram;
}
