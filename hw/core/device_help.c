/* SPDX-License-Identifier: GPL-2.0-or-later
 * What people read about devices: -device help, -device X,help, info qtree, info qom-tree.
 */
#include "hw/core/device_impl.h"
#include "hw/core/machine.h"
#include "util/alloc.h"

typedef struct Printer {
    void (*print)(void *opaque, const char *line);
    void *opaque;
    struct Machine *machine;
    BusKind kind;
    bool headed;
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

/* ---- -device help ---- */

static void print_type(const DeviceType *t, void *opaque)
{
    Printer *p = opaque;
    if (t->bus != p->kind || !device_type_is_for_users(t)) {
        return;
    }
    if (!p->headed) {
        line(p, "%s devices:", bus_kind_name(p->kind));
        p->headed = true;
    }
    char *alias = xstrdup("");
    for (const char *const *a = t->aliases; a && *a; a++) {
        char *more = xasprintf("%s, alias \"%s\"", alias, *a);
        free(alias);
        alias = more;
    }
    line(p, "name \"%s\", bus %s%s, desc \"%s\"", t->name, bus_kind_name(t->bus), alias,
         t->desc ? t->desc : "");
    free(alias);
}

void device_list_types(void (*print)(void *opaque, const char *line), void *opaque)
{
    Printer p = { .print = print, .opaque = opaque };
    for (p.kind = BUS_SYSTEM; p.kind < NR_BUS_KINDS; p.kind++) {
        p.headed = false;
        device_types_each(print_type, &p);
    }
}

/* ---- -device X,help ---- */

static const char *kind_text(const Property *p)
{
    switch (p->kind) {
    case PROP_KIND_BOOL: return "bool";
    case PROP_KIND_U8: return "uint8";
    case PROP_KIND_U16: return "uint16";
    case PROP_KIND_U32: return "uint32";
    case PROP_KIND_U64: return "uint64";
    case PROP_KIND_I32: return "int32";
    case PROP_KIND_SIZE: return "size";
    case PROP_KIND_CHARDEV: return "chardev id";
    case PROP_KIND_DRIVE: return "drive id";
    case PROP_KIND_ENUM: return "word";
    case PROP_KIND_MAC: return "MAC address";
    case PROP_KIND_PCI_ADDR: return "slot[.function]";
    default: return "str";
    }
}

static char *enum_words(const Property *p)
{
    char *all = xstrdup("");
    for (size_t i = 0; p->kind == PROP_KIND_ENUM && p->names[i]; i++) {
        char *more = xasprintf("%s%s%s", all, i ? ", " : " of ", p->names[i]);
        free(all);
        all = more;
    }
    return all;
}

bool device_type_help(const char *name, void (*print)(void *opaque, const char *line),
                      void *opaque, Error **errp)
{
    const DeviceType *t = device_type_find(name);
    if (!t) {
        return device_unknown_type(name, errp);
    }
    Printer p = { .print = print, .opaque = opaque };
    line(&p, "%s: %s", t->name, t->desc ? t->desc : "");
    line(&p, "%s options:", t->name);
    struct Machine no_machine = { 0 };
    Device *dev = t->abstract ? NULL : device_new(&no_machine, t); /* for its defaults */
    for (const DeviceType *at = t; at; at = at->parent) {
        for (const Property *row = at->props; row && row->name; row++) {
            char *words = enum_words(row);
            char *def = dev ? property_get(dev, row) : xstrdup("");
            line(&p, "  %s=<%s%s>%s%s (default: %s)", row->name, kind_text(row), words,
                 row->help ? "  - " : "", row->help ? row->help : "", def[0] ? def : "none");
            free(def);
            free(words);
        }
    }
    if (dev) {
        device_discard(dev);
    }
    return true;
}

/* ---- info qtree ---- */

static void print_bus(Printer *p, const Bus *bus, int indent);

static void print_device(Printer *p, const Device *dev, int indent)
{
    line(p, "%*sdev: %s, id \"%s\"", indent, "", dev->type->name, dev->id ? dev->id : "");
    indent += 2;
    if (dev->nr_irq_in) {
        line(p, "%*sgpio-in \"\" %u", indent, "", dev->nr_irq_in);
    }
    if (dev->nr_irq_out) {
        line(p, "%*sgpio-out \"\" %u", indent, "", dev->nr_irq_out);
    }
    for (const DeviceType *t = dev->type; t; t = t->parent) {
        for (const Property *row = t->props; row && row->name; row++) {
            char *val = property_get(dev, row);
            bool quoted = row->kind == PROP_KIND_STR || row->kind == PROP_KIND_CHARDEV ||
                          row->kind == PROP_KIND_DRIVE || row->kind == PROP_KIND_ENUM;
            uint64_t number;
            char hex[24] = "";
            if (!quoted && parse_u64(val, &number) && number > 9 && val[0] != '0') {
                snprintf(hex, sizeof(hex), " (0x%llx)", (unsigned long long)number);
            }
            line(p, "%*s%s = %s%s%s%s", indent, "", row->name, quoted ? "\"" : "", val,
                 quoted ? "\"" : "", hex);
            free(val);
        }
    }
    list_for_each(pos, &p->machine->buses) {
        const Bus *bus = container_of(pos, Bus, node);
        if (bus->parent == dev) {
            print_bus(p, bus, indent);
        }
    }
}

static void print_bus(Printer *p, const Bus *bus, int indent)
{
    line(p, "%*sbus: %s", indent, "", bus->obj.name);
    line(p, "%*stype %s", indent + 2, "", bus_kind_name(bus->kind));
    list_for_each(pos, &bus->devices) {
        print_device(p, container_of(pos, Device, bus_node), indent + 2);
    }
}

void device_print_qtree(struct Machine *m, void (*print)(void *opaque, const char *line),
                        void *opaque)
{
    Printer p = { .print = print, .opaque = opaque, .machine = m };
    line(&p, "bus: main-system-bus");
    line(&p, "  type System");
    list_for_each(pos, &m->devices) {
        const Device *dev = container_of(pos, Device, machine_node);
        if (!dev->bus) {
            print_device(&p, dev, 2);
        }
    }
    list_for_each(pos, &m->buses) {
        const Bus *bus = container_of(pos, Bus, node);
        if (!bus->parent) {
            print_bus(&p, bus, 2);
        }
    }
}

/* ---- info qom-tree ---- */

static void print_object(Printer *p, const Object *o, int indent)
{
    line(p, "%*s/%s (%s)", indent, "", o->name ? o->name : "", o->type);
    list_for_each(pos, &o->children) {
        print_object(p, container_of(pos, Object, sibling), indent + 2);
    }
}

void object_print_tree(const Object *o, void (*print)(void *opaque, const char *line),
                       void *opaque)
{
    Printer p = { .print = print, .opaque = opaque };
    print_object(&p, o, 0);
}
