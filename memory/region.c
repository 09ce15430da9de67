/* SPDX-License-Identifier: GPL-2.0-or-later
 * The region tree: building it and changing it. Every change outside memory_begin/commit shows
 * at once in all address spaces (flat_view.c).
 */
#include "memory/region.h"

#include "memory/flat_view.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/vm_lock.h"

const char *(*region_owner_name_hook)(const struct Device *owner);

static unsigned batch_depth; /* vm_lock */
static bool batch_changed, batch_properties;

/* ---- making regions ---- */

static void init(Region *r, RegionKind kind, const char *name, uint64_t size)
{
    *r = (Region){ .kind = kind, .name = name, .size = size, .enabled = true };
    list_init(&r->children);
    list_init(&r->sibling);
    list_init(&r->ioeventfds);
}

void region_init_container(Region *r, const char *name, uint64_t size)
{
    init(r, REGION_CONTAINER, name, size);
}

void region_init_io(Region *r, struct Device *owner, const RegionOps *ops, void *opaque,
                    uint64_t size)
{
    const char *name = owner && region_owner_name_hook ? region_owner_name_hook(owner) : "io";
    init(r, REGION_IO, name, size);
    r->owner = owner;
    r->ops = ops;
    r->opaque = opaque;
}

void region_init_ram(Region *r, const char *name, RamBlock *ram, uint64_t ram_offset,
                     uint64_t size)
{
    assert(ram_offset <= ram->size && size <= ram->size - ram_offset);
    init(r, REGION_RAM, name, size);
    r->ram = ram;
    r->ram_offset = ram_offset;
}

void region_init_rom(Region *r, const char *name, RamBlock *ram, uint64_t ram_offset,
                     uint64_t size)
{
    region_init_ram(r, name, ram, ram_offset, size);
    r->readonly = true;
}

void region_init_alias(Region *r, const char *name, Region *target, uint64_t target_offset,
                       uint64_t size)
{
    init(r, REGION_ALIAS, name, size);
    r->target = target;
    r->target_offset = target_offset;
}

/* ---- changing the tree ---- */

void memory_begin(void)
{
    batch_depth++;
}

void memory_commit(void)
{
    assert(batch_depth);
    if (--batch_depth == 0 && (batch_changed || batch_properties)) {
        bool properties = batch_properties;
        batch_changed = batch_properties = false;
        flat_views_update(properties);
    }
}

void region_properties_changed(void)
{
    batch_properties = true;
    memory_begin();
    memory_commit();
}

static void changed(void)
{
    batch_changed = true;
    memory_begin();
    memory_commit();
}

/* Children in the order in which they win: priority, then the later added first. */
static void link_child(Region *child)
{
    list_for_each(pos, &child->parent->children) {
        if (container_of(pos, Region, sibling)->priority <= child->priority) {
            list_insert(pos, &child->sibling);
            return;
        }
    }
    list_insert(&child->parent->children, &child->sibling);
}

void region_add(Region *parent, uint64_t offset, Region *child, int priority)
{
    assert(!child->parent);
    child->parent = parent;
    child->offset = offset;
    child->priority = priority;
    link_child(child);
    changed();
}

void region_del(Region *child)
{
    if (child->parent) {
        child->parent = NULL;
        list_remove(&child->sibling);
        changed();
    }
}

void region_del_within(Region *root, const void *lo, const void *hi)
{
    list_for_each_safe(pos, &root->children) {
        Region *child = container_of(pos, Region, sibling);
        if ((const void *)child >= lo && (const void *)child < hi) {
            region_del(child);
        } else {
            region_del_within(child, lo, hi);
        }
    }
}

void region_set_enabled(Region *r, bool enabled)
{
    if (r->enabled != enabled) {
        r->enabled = enabled;
        changed();
    }
}

void region_set_readonly(Region *r, bool readonly)
{
    if (r->readonly != readonly) {
        r->readonly = readonly;
        changed();
    }
}

void region_set_offset(Region *r, uint64_t offset)
{
    if (r->offset != offset) {
        r->offset = offset;
        if (r->parent) { /* moved regions count as added last */
            list_remove(&r->sibling);
            link_child(r);
            changed();
        }
    }
}

void region_set_target_offset(Region *r, uint64_t target_offset)
{
    if (r->target_offset != target_offset) {
        r->target_offset = target_offset;
        changed();
    }
}

/* ---- registers that are not there ---- */

uint64_t region_bad_read(Region *r, uint64_t offset, unsigned size)
{
    log_guest("%s: read of %u bytes at offset 0x%llx, where nothing is", r->name, size,
              (unsigned long long)offset);
    return size >= 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

void region_bad_write(Region *r, uint64_t offset, uint64_t val, unsigned size)
{
    log_guest("%s: write of 0x%llx, %u bytes, at offset 0x%llx, where nothing is", r->name,
              (unsigned long long)val, size, (unsigned long long)offset);
}
