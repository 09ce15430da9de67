/* SPDX-License-Identifier: GPL-2.0-or-later
 * Accesses: from an address to RAM or to a device's callbacks, in sizes the device takes.
 *
 * A device is called with vm_lock held, taken here if need be. Where the caller does not hold it,
 * the view is looked up again under the lock before a device is touched, so that a device that
 * has just gone is not.
 */
#include "memory/region.h"

#include <assert.h>

#include "memory/ioeventfd.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/vm_lock.h"

static uint64_t size_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

/* ---- device callbacks ---- */

static unsigned allowed_sizes(const RegionOps *ops)
{
    return ops->sizes ? ops->sizes : 1 | 2 | 4 | 8;
}

/* The largest allowed size that fits into len bytes at offset; 0 if none does. */
static unsigned piece_size(const RegionOps *ops, uint64_t offset, unsigned len)
{
    for (unsigned size = 8; size; size /= 2) {
        if ((allowed_sizes(ops) & size) && size <= len &&
            (ops->unaligned || offset % size == 0)) {
            return size;
        }
    }
    return 0;
}

static unsigned smallest_size(const RegionOps *ops)
{
    unsigned sizes = allowed_sizes(ops);
    return sizes & -sizes;
}

static uint64_t call_read(Region *r, uint64_t offset, unsigned size)
{
    uint64_t val = r->ops->read(r->opaque, offset, size) & size_mask(size);
    if (log_on(LOG_IO)) {
        log_printf("io: %s+0x%llx read %u = 0x%llx\n", r->name, (unsigned long long)offset,
                   size, (unsigned long long)val);
    }
    return val;
}

static void call_write(Region *r, uint64_t offset, uint64_t val, unsigned size)
{
    val &= size_mask(size);
    if (log_on(LOG_IO)) {
        log_printf("io: %s+0x%llx write %u = 0x%llx\n", r->name, (unsigned long long)offset,
                   size, (unsigned long long)val);
    }
    r->ops->write(r->opaque, offset, val, size);
}

/* len: 1 to 8 bytes. */
static uint64_t io_read(Region *r, uint64_t offset, unsigned len)
{
    uint64_t val = 0;
    for (unsigned done = 0; done < len;) {
        uint64_t at = offset + done;
        unsigned size = piece_size(r->ops, at, len - done);
        unsigned skip = 0, take = size;
        uint64_t piece;
        if (size) {
            piece = call_read(r, at, size);
        } else { /* widen: the register around it, cut */
            size = smallest_size(r->ops);
            skip = r->ops->unaligned ? 0 : at % size;
            take = MIN(size - skip, len - done);
            piece = call_read(r, at - skip, size) >> 8 * skip;
        }
        val |= (piece & size_mask(take)) << 8 * done;
        done += take;
    }
    return val;
}

static void io_write(Region *r, uint64_t offset, uint64_t val, unsigned len)
{
    if (unlikely(!list_empty(&r->ioeventfds)) && ioeventfd_signal(r, offset, val, len)) {
        return;
    }
    for (unsigned done = 0; done < len;) {
        uint64_t at = offset + done, piece = val >> 8 * done;
        unsigned size = piece_size(r->ops, at, len - done);
        unsigned take = size;
        if (size) {
            call_write(r, at, piece, size);
        } else {
            size = smallest_size(r->ops);
            unsigned skip = r->ops->unaligned ? 0 : at % size;
            take = MIN(size - skip, len - done);
            call_write(r, at - skip, (piece & size_mask(take)) << 8 * skip, size);
        }
        done += take;
    }
}

/* ---- RAM ---- */

static uint64_t ram_load(const uint8_t *p, unsigned size)
{
    uint64_t val = 0;
    switch (size) {
    case 1: return __atomic_load_n(p, __ATOMIC_RELAXED);
    case 2: {
        uint16_t v;
        memcpy(&v, p, 2);
        return v;
    }
    case 4: {
        uint32_t v;
        memcpy(&v, p, 4);
        return v;
    }
    default: memcpy(&val, p, MIN(size, 8u)); return val;
    }
}

static void ram_store(const FlatRange *fr, uint64_t addr, uint64_t val, unsigned size)
{
    if (fr->readonly) {
        return; /* ROM */
    }
    uint8_t *p = fr->host + (addr - fr->start);
    switch (size) {
    case 1: *p = (uint8_t)val; break;
    case 2: memcpy(p, &val, 2); break;
    case 4: memcpy(p, &val, 4); break;
    default: memcpy(p, &val, MIN(size, 8u)); break;
    }
    ram_written(fr->ram, fr->ram_offset + (addr - fr->start), size);
}

/* ---- ranges ---- */

uint64_t flat_range_load(const FlatRange *fr, uint64_t addr, unsigned size)
{
    if (fr->host) {
        return ram_load(fr->host + (addr - fr->start), size);
    }
    bool taken = vm_lock_enter();
    uint64_t val = io_read(fr->region, fr->offset + (addr - fr->start), size);
    vm_lock_leave(taken);
    return val;
}

void flat_range_store(const FlatRange *fr, uint64_t addr, uint64_t val, unsigned size)
{
    if (fr->host) {
        ram_store(fr, addr, val, size);
        return;
    }
    bool taken = vm_lock_enter();
    if (!fr->readonly) { /* behind a read-only alias writes get lost on the bus */
        io_write(fr->region, fr->offset + (addr - fr->start), val, size);
    }
    vm_lock_leave(taken);
}

/* ---- address spaces ---- */

/* How many of len bytes at addr the same range (or hole) answers. */
static unsigned extent(const FlatView *v, const FlatRange *fr, uint64_t addr, unsigned len)
{
    if (fr) {
        uint64_t left = fr->size - (addr - fr->start);
        return left < len ? left : len;
    }
    for (unsigned n = 1; n < len; n++) {
        if (flat_view_find(v, addr + n)) {
            return n;
        }
    }
    return len;
}

static uint64_t hole_value(const AddressSpace *as, uint64_t addr, unsigned size)
{
    log_guest("%s: read of %u bytes at unassigned 0x%llx", as->name, size,
              (unsigned long long)addr);
    return as->ports ? size_mask(size) : 0;
}

/* vm_lock held: the view stays while no callback runs, and is read afresh after each. */
static uint64_t load_locked(AddressSpace *as, uint64_t addr, unsigned size)
{
    uint64_t val = 0;
    for (unsigned done = 0; done < size;) {
        const FlatRange *fr = flat_view_find(as->view, addr + done);
        unsigned n = extent(as->view, fr, addr + done, size - done);
        uint64_t piece = fr ? flat_range_load(fr, addr + done, n) :
                              hole_value(as, addr + done, n);
        val |= piece << 8 * done;
        done += n;
    }
    return val;
}

static void store_locked(AddressSpace *as, uint64_t addr, uint64_t val, unsigned size)
{
    for (unsigned done = 0; done < size;) {
        const FlatRange *fr = flat_view_find(as->view, addr + done);
        unsigned n = extent(as->view, fr, addr + done, size - done);
        if (fr) {
            flat_range_store(fr, addr + done, val >> 8 * done, n);
        } else {
            log_guest("%s: write of 0x%llx, %u bytes, at unassigned 0x%llx", as->name,
                      (unsigned long long)val, n, (unsigned long long)(addr + done));
        }
        done += n;
    }
}

/* RAM that holds the whole access, without the lock; NULL: take the lock and look again. */
static const FlatRange *find_ram(const FlatView *v, uint64_t addr, unsigned size)
{
    const FlatRange *fr = flat_view_find(v, addr);
    return fr && fr->host && fr->size - (addr - fr->start) >= size ? fr : NULL;
}

uint64_t address_space_load(AddressSpace *as, uint64_t addr, unsigned size)
{
    if (vm_locked()) {
        return load_locked(as, addr, size);
    }
    if (!as->ports) {
        FlatView *v = address_space_view(as);
        const FlatRange *fr = find_ram(v, addr, size);
        uint64_t val = fr ? flat_range_load(fr, addr, size) : 0;
        flat_view_unref(v);
        if (fr) {
            return val;
        }
    }
    vm_lock();
    uint64_t val = load_locked(as, addr, size);
    vm_unlock();
    return val;
}

void address_space_store(AddressSpace *as, uint64_t addr, uint64_t val, unsigned size)
{
    if (vm_locked()) {
        store_locked(as, addr, val, size);
        return;
    }
    if (!as->ports) {
        FlatView *v = address_space_view(as);
        const FlatRange *fr = find_ram(v, addr, size);
        if (fr) {
            flat_range_store(fr, addr, val, size);
        }
        flat_view_unref(v);
        if (fr) {
            return;
        }
    }
    vm_lock();
    store_locked(as, addr, val, size);
    vm_unlock();
}

/* ---- strings ---- */

/* The device range that holds the whole access; the log shows accesses one by one. */
static const FlatRange *find_io(AddressSpace *as, uint64_t addr, unsigned size)
{
    const FlatRange *fr = log_on(LOG_IO) ? NULL : flat_view_find(as->view, addr);
    return fr && !fr->host && fr->size - (addr - fr->start) >= size ? fr : NULL;
}

unsigned address_space_load_string(AddressSpace *as, uint64_t addr, void *buf, unsigned size,
                                   unsigned n)
{
    bool taken = vm_lock_enter();
    const FlatRange *fr = find_io(as, addr, size);
    Region *r = fr ? fr->region : NULL;
    unsigned done = r && r->ops->read_string
                        ? r->ops->read_string(r->opaque, fr->offset + (addr - fr->start), buf,
                                              size, n)
                        : 0;
    vm_lock_leave(taken);
    return done;
}

unsigned address_space_store_string(AddressSpace *as, uint64_t addr, const void *buf,
                                    unsigned size, unsigned n)
{
    bool taken = vm_lock_enter();
    const FlatRange *fr = find_io(as, addr, size);
    Region *r = fr && !fr->readonly && list_empty(&fr->region->ioeventfds) ? fr->region : NULL;
    unsigned done = r && r->ops->write_string
                        ? r->ops->write_string(r->opaque, fr->offset + (addr - fr->start), buf,
                                               size, n)
                        : 0;
    vm_lock_leave(taken);
    return done;
}

/* ---- any length ---- */

/* The next access of a run over registers: aligned, at most 8 bytes. */
static unsigned run_size(uint64_t addr, size_t len)
{
    unsigned size = 8;
    while (size > len || addr % size) {
        size /= 2;
    }
    return size;
}

/* Copies what is RAM (ROM too if rom) at addr; returns how many bytes, 0 if it is no RAM. */
static size_t copy_ram(AddressSpace *as, uint64_t addr, uint8_t *in, const uint8_t *out,
                       size_t len, bool rom)
{
    FlatView *v = address_space_view(as);
    const FlatRange *fr = flat_view_find(v, addr);
    size_t n = 0;
    if (fr && fr->host) {
        uint64_t at = addr - fr->start;
        n = MIN(fr->size - at, len);
        if (in) {
            memcpy(in, fr->host + at, n);
        } else if (out && (!fr->readonly || rom)) {
            memcpy(fr->host + at, out, n);
            ram_written(fr->ram, fr->ram_offset + at, n);
        }
    }
    flat_view_unref(v);
    return n;
}

void address_space_read(AddressSpace *as, uint64_t addr, void *buf, size_t len)
{
    for (uint8_t *p = buf; len;) {
        size_t n = copy_ram(as, addr, p, NULL, len, false);
        if (!n) {
            n = run_size(addr, len);
            uint64_t val = address_space_load(as, addr, n);
            memcpy(p, &val, n);
        }
        p += n;
        addr += n;
        len -= n;
    }
}

static void write_run(AddressSpace *as, uint64_t addr, const void *buf, size_t len, bool rom)
{
    assert(buf || !len);
    for (const uint8_t *p = buf; len;) {
        size_t n = copy_ram(as, addr, NULL, p, len, rom);
        if (!n) {
            n = run_size(addr, len);
            uint64_t val = 0;
            memcpy(&val, p, n);
            if (!rom) {
                address_space_store(as, addr, val, n);
            }
        }
        p += n;
        addr += n;
        len -= n;
    }
}

void address_space_write(AddressSpace *as, uint64_t addr, const void *buf, size_t len)
{
    write_run(as, addr, buf, len, false);
}

void address_space_write_rom(AddressSpace *as, uint64_t addr, const void *buf, size_t len)
{
    write_run(as, addr, buf, len, true);
}
