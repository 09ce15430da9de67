/* SPDX-License-Identifier: GPL-2.0-or-later
 * Buses: their place in the tree, and finding one for a device.
 */
#include "hw/core/machine.h"
#include "util/alloc.h"

static const char *const kind_names[NR_BUS_KINDS] = {
    [BUS_NONE] = "none", [BUS_SYSTEM] = "System", [BUS_ISA] = "ISA",       [BUS_PCI] = "PCI",
    [BUS_IDE] = "IDE",   [BUS_USB] = "USB",       [BUS_SCSI] = "SCSI",     [BUS_VIRTIO] = "virtio",
    [BUS_I2C] = "i2c",   [BUS_FLOPPY] = "floppy",
};

const char *bus_kind_name(BusKind kind)
{
    return kind < NR_BUS_KINDS ? kind_names[kind] : "?";
}

void bus_init(Bus *bus, BusKind kind, const char *name, Device *parent, struct Machine *m)
{
    *bus = (Bus){ .kind = kind, .parent = parent, .machine = m };
    object_init(&bus->obj, bus_kind_name(kind));
    list_init(&bus->devices);
    list_insert(&m->buses, &bus->node);
    object_add(parent ? &parent->obj : &m->obj, name, &bus->obj);
}

void buses_remove_within(struct Machine *m, const void *lo, const void *hi)
{
    list_for_each_safe(pos, &m->buses) {
        Bus *bus = container_of(pos, Bus, node);
        if ((const void *)bus >= lo && (const void *)bus < hi) {
            list_remove(&bus->node);
            object_remove(&bus->obj);
        }
    }
}

static Bus *by_name(struct Machine *m, const char *name)
{
    list_for_each(pos, &m->buses) {
        Bus *bus = container_of(pos, Bus, node);
        if (!strcmp(bus->obj.name, name)) {
            return bus;
        }
    }
    const Object *o = object_resolve(name, NULL);
    list_for_each(pos, &m->buses) {
        Bus *bus = container_of(pos, Bus, node);
        if (&bus->obj == o) {
            return bus;
        }
    }
    return NULL;
}

static bool no_such_bus(struct Machine *m, BusKind kind, const char *name, Error **errp)
{
    char *all = xstrdup("");
    list_for_each(pos, &m->buses) {
        Bus *bus = container_of(pos, Bus, node);
        if (bus->kind == kind) {
            char *more = xasprintf("%s%s%s", all, all[0] ? ", " : "", bus->obj.name);
            free(all);
            all = more;
        }
    }
    if (all[0]) {
        error_set(errp, "there is no bus '%s'; %s buses here: %s", name, bus_kind_name(kind), all);
    } else {
        error_set(errp, "there is no bus '%s', and this machine has no %s bus", name,
                  bus_kind_name(kind));
    }
    free(all);
    return false;
}

static bool room_on(Bus *bus, const Device *dev)
{
    return !bus->has_room || bus->has_room(bus, dev);
}

static Bus *named_bus(struct Machine *m, BusKind kind, const char *name, Error **errp)
{
    Bus *bus = by_name(m, name);
    if (!bus) {
        no_such_bus(m, kind, name, errp);
        return NULL;
    }
    if (bus->kind != kind) {
        error_set(errp, "bus '%s' is of kind %s; %s is needed", name, bus_kind_name(bus->kind),
                  bus_kind_name(kind));
        return NULL;
    }
    return bus;
}

Bus *bus_find(struct Machine *m, BusKind kind, const char *name, const Device *dev, Error **errp)
{
    const char *who = dev ? dev->type->name : "device";
    if (name) {
        Bus *bus = named_bus(m, kind, name, errp);
        if (!bus) {
            error_prefix(errp, "device '%s': ", who);
        }
        return bus; /* if it is full, its plug says so */
    }
    bool any = false;
    list_for_each(pos, &m->buses) {
        Bus *bus = container_of(pos, Bus, node);
        if (bus->kind == kind) {
            any = true;
            if (room_on(bus, dev)) {
                return bus;
            }
        }
    }
    if (any) {
        error_set(errp, "device '%s': every %s bus is full", who, bus_kind_name(kind));
    } else {
        error_set(errp, "device '%s' needs a bus of kind %s, and this machine has none%s", who,
                  bus_kind_name(kind),
                  kind == BUS_USB || kind == BUS_SCSI || kind == BUS_VIRTIO ? "; add a controller first" : "");
    }
    return NULL;
}
