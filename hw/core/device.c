/* SPDX-License-Identifier: GPL-2.0-or-later
 * Device types and the life of a device.
 */
#include "hw/core/device.h"

#include <ctype.h>

#include "hw/core/device_impl.h"
#include "hw/core/machine.h"
#include "hw/core/property_impl.h"
#include "hw/core/unbuilt.h"
#include "util/alloc.h"
#include "util/main_loop.h"

/* ---- types ---- */

static List types = LIST_INIT(types); /* sorted by name; written by constructors only */

void device_type_register(DeviceType *t)
{
    assert(t->name && t->size >= sizeof(Device));
    List *pos = types.next;
    while (pos != &types && strcmp(container_of(pos, DeviceType, node)->name, t->name) < 0) {
        pos = pos->next;
    }
    list_insert(pos, &t->node);
}

const DeviceType *device_type_find(const char *name)
{
    list_for_each(pos, &types) {
        const DeviceType *t = container_of(pos, DeviceType, node);
        bool hit = !strcmp(t->name, name);
        for (const char *const *a = t->aliases; a && *a && !hit; a++) {
            hit = !strcmp(*a, name);
        }
        if (hit) {
            return t;
        }
    }
    return NULL;
}

void device_types_each(void (*fn)(const DeviceType *t, void *opaque), void *opaque)
{
    list_for_each(pos, &types) {
        fn(container_of(pos, DeviceType, node), opaque);
    }
}

static const char *owner_name(const struct Device *owner)
{
    return owner->type->name;
}

static void __attribute__((constructor)) name_regions(void)
{
    region_owner_name_hook = owner_name;
}

/* ---- along the chain of parent types, the root first ---- */

static bool realize_chain(Device *dev, const DeviceType *t, Error **errp);

static void unrealize_chain(Device *dev, const DeviceType *t)
{
    for (; t; t = t->parent) {
        if (t->unrealize) {
            t->unrealize(dev);
        }
    }
}

static bool realize_chain(Device *dev, const DeviceType *t, Error **errp)
{
    if (t->parent && !realize_chain(dev, t->parent, errp)) {
        return false;
    }
    if (t->realize && !t->realize(dev, errp)) {
        assert(*errp);
        unrealize_chain(dev, t->parent);
        return false;
    }
    return true;
}

static void reset_chain(Device *dev, const DeviceType *t)
{
    if (t->parent) {
        reset_chain(dev, t->parent);
    }
    state_reset(t->state, dev);
    if (t->reset) {
        t->reset(dev);
    }
}

static void refresh_chain(Device *dev, const DeviceType *t)
{
    if (t->parent) {
        refresh_chain(dev, t->parent);
    }
    if (t->refresh) {
        t->refresh(dev);
    }
}

void device_before_save(Device *dev)
{
    for (const DeviceType *t = dev->type; t; t = t->parent) {
        if (t->before_save) {
            t->before_save(dev);
        }
    }
}

void device_reset(Device *dev)
{
    reset_chain(dev, dev->type);
}

void device_refresh(Device *dev)
{
    refresh_chain(dev, dev->type);
}

/* ---- life ---- */

static bool is_named(const DeviceType *t, const char *name, size_t len)
{
    for (; t; t = t->parent) {
        if (!strncmp(t->name, name, len) && !t->name[len]) {
            return true;
        }
        for (const char *const *a = t->aliases; a && *a; a++) {
            if (!strncmp(*a, name, len) && !(*a)[len]) {
                return true;
            }
        }
    }
    return false;
}

/* -global TYPE.PROPERTY=VALUE: between the table's defaults and what is set on this one. */
static void apply_globals(Device *dev, const Dict *globals)
{
    for (size_t i = 0; globals && i < dict_count(globals); i++) {
        const char *key = dict_key(globals, i);
        size_t len = strcspn(key, ".");
        Error *err = NULL;
        if (key[len] && is_named(dev->type, key, len) &&
            !property_set(dev, key + len + 1, dict_get(globals, key), &err)) {
            warn_report("-global %s: %s", key, error_text(err));
            error_free(err);
        }
    }
}

Device *device_new(struct Machine *m, const DeviceType *t)
{
    assert(!t->abstract);
    Device *dev = xcalloc(1, t->size);
    object_init(&dev->obj, t->name);
    dev->obj.dev = dev;
    dev->type = t;
    dev->machine = m;
    list_init(&dev->bus_node);
    list_init(&dev->machine_node);
    properties_init(dev);
    apply_globals(dev, m->config.globals);
    return dev;
}

/* Takes what is embedded in dev out of every list it may be on. */
static void forget_embedded(Device *dev)
{
    const char *lo = (const char *)dev, *hi = lo + dev->type->size;
    memory_begin();
    region_del_within(&dev->machine->memory_root, lo, hi);
    region_del_within(&dev->machine->io_root, lo, hi);
    memory_commit();
    timers_cancel_within(lo, hi);
    bhs_cancel_within(lo, hi);
    buses_remove_within(dev->machine, lo, hi);
}

static void free_device(Device *dev)
{
    forget_embedded(dev);
    object_remove(&dev->obj);
    properties_fini(dev);
    free(dev->id);
    free(dev);
}

void device_discard(Device *dev)
{
    properties_fini(dev);
    free(dev->id);
    free(dev);
}

static void unplug(Device *dev)
{
    if (dev->bus) {
        if (dev->bus->unplug) {
            dev->bus->unplug(dev->bus, dev);
        }
        list_remove(&dev->bus_node);
        dev->bus = NULL;
    }
}

static bool plug(Device *dev, Bus *bus, Error **errp)
{
    if (!bus) {
        return true;
    }
    if (bus->plug && !bus->plug(bus, dev, errp)) {
        return false;
    }
    dev->bus = bus;
    list_insert(&bus->devices, &dev->bus_node);
    return true;
}

/* -1: no place of its own in the boot order. */
static int32_t boot_index(const Device *dev)
{
    const Property *p = property_find(dev, "bootindex");
    return p && p->kind == PROP_KIND_I32 ? *(const int32_t *)((const char *)dev + p->offset) : -1;
}

static const char *user_name(const Device *dev)
{
    return dev->id ? dev->id : dev->type->name;
}

static const char *bus_name(const Device *dev)
{
    return dev->bus ? dev->bus->obj.name : "no bus";
}

/* The firmware would take the first of two that claim one place, whichever that is. */
static bool check_boot_index(const Device *dev, Error **errp)
{
    int32_t index = boot_index(dev);
    list_for_each(pos, &dev->machine->devices) {
        const Device *other = container_of(pos, Device, machine_node);
        if (index >= 0 && boot_index(other) == index) {
            return error_set(errp,
                             "bootindex=%d of '%s' on %s is taken by '%s' on %s; give each its own "
                             "(boot=on of a drive means bootindex=0)",
                             index, user_name(dev), bus_name(dev), user_name(other),
                             bus_name(other));
        }
    }
    return true;
}

bool device_realize(Device *dev, Bus *bus, Object *parent, const char *name, Error **errp)
{
    struct Machine *m = dev->machine;
    if (!parent) {
        parent = object_container(&m->obj, "unattached");
    }
    object_add(parent, name ? name : "device[*]", &dev->obj);
    if (!plug(dev, bus, errp)) {
        free_device(dev);
        return false;
    }
    memory_begin(); /* what realize maps shows at once */
    bool ok = realize_chain(dev, dev->type, errp);
    if (ok && !check_boot_index(dev, errp)) {
        unrealize_chain(dev, dev->type);
        ok = false;
    }
    memory_commit();
    if (!ok) {
        unplug(dev);
        free_device(dev);
        return false;
    }
    dev->realized = true;
    list_insert(&m->devices, &dev->machine_node);
    if (m->was_reset) { /* hot-plugged: power-on by itself */
        device_reset(dev);
        device_refresh(dev);
    }
    return true;
}

void device_unrealize(Device *dev)
{
    unrealize_chain(dev, dev->type);
    dev->realized = false;
    list_remove(&dev->machine_node);
    unplug(dev);
    free_device(dev);
}

Device *device_find(struct Machine *m, const char *id)
{
    list_for_each(pos, &m->devices) {
        Device *dev = container_of(pos, Device, machine_node);
        if (dev->id && !strcmp(dev->id, id)) {
            return dev;
        }
    }
    return NULL;
}

/* ---- the board's side ---- */

void device_set(Device *dev, const char *prop, const char *text)
{
    Error *err = NULL;
    if (!property_set(dev, prop, text, &err)) {
        fprintf(stderr, "vireo: internal error: %s\n", error_text(err));
        abort();
    }
}

void device_setf(Device *dev, const char *prop, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    device_set(dev, prop, text);
    free(text);
}

void device_init_irq_in(Device *dev, IrqLine *lines, unsigned nr, IrqFn *fn, void *opaque)
{
    for (unsigned i = 0; i < nr; i++) {
        irq_line_init(&lines[i], fn, opaque, i);
    }
    dev->irq_in = lines;
    dev->nr_irq_in = nr;
}

void device_init_irq_out(Device *dev, Irq *irqs, unsigned nr)
{
    dev->irq_out = irqs;
    dev->nr_irq_out = nr;
}

/* ---- the user's side ---- */

bool device_type_is_for_users(const DeviceType *t)
{
    return !t->internal && !t->abstract && t->bus != BUS_NONE;
}

static void collect_name(const DeviceType *t, void *opaque)
{
    const char ***next = opaque;
    if (device_type_is_for_users(t)) {
        *(*next)++ = t->name;
        for (const char *const *a = t->aliases; a && *a; a++) {
            *(*next)++ = *a;
        }
    }
}

static void count_names(const DeviceType *t, void *opaque)
{
    size_t *nr = opaque;
    ++*nr;
    for (const char *const *a = t->aliases; a && *a; a++) {
        ++*nr;
    }
}

bool device_unknown_type(const char *name, Error **errp)
{
    const char *unbuilt = unbuilt_device(name);
    if (unbuilt) {
        return error_set(errp, "device '%s' is %s", name, unbuilt);
    }
    size_t nr = 0;
    device_types_each(count_names, &nr);
    const char **names = xcalloc(nr + 1, sizeof(*names)), **next = names;
    device_types_each(collect_name, &next);
    const char *near = suggest(name, names);
    free(names);
    if (near) {
        return error_set(errp, "there is no device '%s', did you mean '%s'?", name, near);
    }
    return error_set(errp, "there is no device '%s' (-device help lists all)", name);
}

static const DeviceType *type_for_user(const Dict *opts, Error **errp)
{
    const char *name = dict_get(opts, "driver");
    if (!name || !name[0]) {
        error_set(errp, "no device named; write -device NAME,... (-device help lists all)");
        return NULL;
    }
    const DeviceType *t = device_type_find(name);
    if (!t) {
        device_unknown_type(name, errp);
        return NULL;
    }
    if (!device_type_is_for_users(t)) {
        error_set(errp, "device '%s' is a part of the machine and cannot be added", name);
        return NULL;
    }
    return t;
}

static bool check_id(struct Machine *m, const char *id, Error **errp)
{
    bool ok = isalpha((unsigned char)id[0]);
    for (const char *p = id; *p && ok; p++) {
        ok = isalnum((unsigned char)*p) || strchr("-._", *p);
    }
    if (!ok) {
        return error_set(errp, "'%s' cannot be an id: use letters, digits, '-', '.', '_', and "
                               "a letter first", id);
    }
    if (device_find(m, id)) {
        return error_set(errp, "there is already a device with the id '%s'", id);
    }
    return true;
}

static bool set_properties(Device *dev, const Dict *opts, Error **errp)
{
    for (size_t i = 0; i < dict_count(opts); i++) {
        const char *key = dict_key(opts, i);
        if (strcmp(key, "driver") && strcmp(key, "id") && strcmp(key, "bus")) {
            if (!property_set(dev, key, dict_get(opts, key), errp)) {
                return false;
            }
        }
    }
    return true;
}

static bool find_place(Device *dev, const char *bus_name, Bus **bus, Error **errp)
{
    const DeviceType *t = dev->type;
    if (t->bus == BUS_SYSTEM) {
        return !bus_name || error_set(errp, "device '%s' plugs into no bus: leave bus= away",
                                      t->name);
    }
    *bus = bus_find(dev->machine, t->bus, bus_name, dev, errp);
    return *bus != NULL;
}

Device *device_create(struct Machine *m, const Dict *opts, Error **errp)
{
    const DeviceType *t = type_for_user(opts, errp);
    const char *id = dict_get(opts, "id");
    if (!t || (id && !check_id(m, id, errp))) {
        return NULL;
    }
    if (m->was_reset && !t->hotpluggable) {
        error_set(errp, "device '%s' cannot be plugged into a running machine", t->name);
        return NULL;
    }
    Device *dev = device_new(m, t);
    dev->id = xstrdup(id);
    Bus *bus = NULL;
    if (!set_properties(dev, opts, errp) ||
        !find_place(dev, dict_get(opts, "bus"), &bus, errp)) {
        device_discard(dev);
        return NULL;
    }
    Object *parent = object_container(&m->obj, id ? "peripheral" : "peripheral-anon");
    if (!device_realize(dev, bus, parent, id ? id : "device[*]", errp)) {
        error_prefix(errp, id ? "device '%s' (%s): " : "device '%s': ", id ? id : t->name,
                     t->name);
        return NULL;
    }
    return dev;
}
