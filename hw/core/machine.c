/* SPDX-License-Identifier: GPL-2.0-or-later
 * Machine types, and a machine's birth, reset and end.
 */
#include "hw/core/machine.h"

#include "hw/core/device_impl.h"
#include "util/alloc.h"
#include "util/vm_lock.h"

static List types = LIST_INIT(types); /* sorted by name; written by constructors only */
static List hooks = LIST_INIT(hooks);

void machine_type_register(MachineType *t)
{
    List *pos = types.next;
    while (pos != &types && strcmp(container_of(pos, MachineType, node)->name, t->name) < 0) {
        pos = pos->next;
    }
    list_insert(pos, &t->node);
}

/* Versions only differ in what changed between releases of another program: all are one here. */
static bool is_version_of(const char *name, const MachineType *t)
{
    for (const char *const *p = t->versioned; p && *p; p++) {
        size_t len = strlen(*p);
        if (!strncmp(name, *p, len) && name[len] &&
            strspn(name + len, "0123456789.") == strlen(name + len)) {
            return true;
        }
    }
    return false;
}

const MachineType *machine_type_find(const char *name)
{
    list_for_each(pos, &types) {
        const MachineType *t = container_of(pos, MachineType, node);
        if (!strcmp(t->name, name) || (t->alias && !strcmp(t->alias, name)) ||
            is_version_of(name, t)) {
            return t;
        }
    }
    return NULL;
}

void machine_types_each(void (*fn)(const MachineType *t, void *opaque), void *opaque)
{
    list_for_each(pos, &types) {
        fn(container_of(pos, MachineType, node), opaque);
    }
}

void machine_setup(Machine *m)
{
    if (m->memory.view) {
        return;
    }
    list_init(&m->devices);
    list_init(&m->buses);
    irqchip_init(&m->irqchip);
    region_init_container(&m->memory_root, "system", UINT64_MAX);
    region_init_container(&m->io_root, "io", 64 * KiB);
    address_space_init(&m->memory, "memory", &m->memory_root);
    address_space_init(&m->io, "I/O", &m->io_root);
    m->io.ports = true;
    object_init(&m->obj, "machine");
    object_add(object_root(), "machine", &m->obj);
    object_container(&m->obj, "peripheral");
    object_container(&m->obj, "peripheral-anon");
    object_container(&m->obj, "unattached");
    object_container(object_root(), "objects");
}

bool machine_init(Machine *m, const MachineType *t, Error **errp)
{
    machine_setup(m);
    m->type = t;
    m->obj.type = t->name;
    if (t->max_cpus && m->config.maxcpus > t->max_cpus) {
        return error_set(errp, "machine '%s' has room for %u CPUs, not %u", t->name, t->max_cpus,
                         m->config.maxcpus);
    }
    memory_begin();
    bool ok = t->init(m, errp);
    memory_commit();
    return ok;
}

/* Pass one brings every device to its reset state without a sound; pass two lets them drive
 * their outputs. Lines settle whatever the order. */
void machine_reset_devices(Machine *m)
{
    memory_begin();
    if (m->type && m->type->reset) {
        m->type->reset(m);
    }
    list_for_each(pos, &m->devices) {
        device_reset(container_of(pos, Device, machine_node));
    }
    list_for_each(pos, &m->devices) {
        device_refresh(container_of(pos, Device, machine_node));
    }
    memory_commit();
    m->was_reset = true;
    list_for_each_safe(pos, &hooks) {
        ResetHook *h = container_of(pos, ResetHook, node);
        h->fn(h->opaque);
    }
}

void machine_add_reset_hook(ResetHook *h)
{
    list_insert(&hooks, &h->node);
}

/* The last made goes first: whoever was built on another goes before it. */
void machine_fini(Machine *m)
{
    if (!m->memory.view) {
        return;
    }
    memory_begin();
    while (!list_empty(&m->devices)) {
        device_unrealize(container_of(m->devices.prev, Device, machine_node));
    }
    memory_commit();
    object_free_containers(&m->obj);
    object_remove(&m->obj);
    address_space_fini(&m->memory);
    address_space_fini(&m->io);
}
