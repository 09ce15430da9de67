/* SPDX-License-Identifier: GPL-2.0-or-later
 * The device tree: types, devices, buses. docs/devices.md shows how to write one.
 *
 * Life: device_new (properties take their defaults) -> property_set -> device_realize (may fail)
 * -> machine reset -> runs -> device_unrealize -> freed. All with vm_lock held.
 */
#ifndef HW_CORE_DEVICE_H
#define HW_CORE_DEVICE_H

#include "hw/core/irq.h"
#include "hw/core/object.h"
#include "hw/core/property.h"
#include "hw/core/state.h"
#include "memory/region.h"
#include "util/dict.h"
#include "util/error.h"
#include "util/log.h"

typedef struct Bus Bus;
typedef struct Device Device;
typedef struct DeviceType DeviceType;
struct Machine;

typedef enum BusKind {
    BUS_NONE,   /* wired by the board; not for -device */
    BUS_SYSTEM, /* on the machine itself: -device needs no bus */
    BUS_ISA, BUS_PCI, BUS_IDE, BUS_USB, BUS_SCSI, BUS_VIRTIO, BUS_I2C,
    BUS_FLOPPY, NR_BUS_KINDS
} BusKind;

struct DeviceType {
    const char *name, *desc;
    BusKind bus;          /* what it plugs into */
    size_t size;          /* of the device's struct; its Device is at offset 0 */
    const DeviceType *parent; /* inherited props, state and info; NULL for none */
    const Property *props;
    const StateField *state;
    unsigned state_version;
    bool (*realize)(Device *dev, Error **errp);
    void (*unrealize)(Device *dev); /* only what region/timer/irq embedding does not cover */
    void (*reset)(Device *dev);     /* after the table's values; touches its own device only */
    void (*refresh)(Device *dev);   /* after every reset and load: drives outputs from state */
    /* Before the table is saved or shown: fields that nobody keeps up to date while the device runs
     * take their values; may be NULL */
    void (*before_save)(Device *dev);
    const void *bus_info;           /* e.g. const PciInfo *; the bus's header says */
    const char *const *aliases;     /* other names -device takes, NULL-terminated; may be NULL */
    bool internal;                  /* boards create it; -device does not */
    bool abstract;                  /* only a parent of others */
    bool hotpluggable;
    /* for info of its own in the monitor ("info pic"): one line a call; may be NULL */
    void (*info)(Device *dev, void (*print)(void *opaque, const char *line), void *opaque);
    List node; /* registry */
};

struct Device {
    Object obj;
    const DeviceType *type;
    struct Machine *machine;
    Bus *bus;      /* parent bus; NULL for BUS_NONE/BUS_SYSTEM */
    List bus_node; /* on bus->devices */
    List machine_node; /* on machine->devices, in order of realize */
    char *id;      /* the user's id=, or NULL */
    bool realized;
    /* named input lines for qtest's set_irq_in and irq_intercept_in; unnamed list only */
    IrqLine *irq_in;
    unsigned nr_irq_in;
    Irq *irq_out;
    unsigned nr_irq_out;
};

struct Bus {
    Object obj;
    BusKind kind;
    Device *parent; /* the device that provides the bus; NULL for the machine's root */
    struct Machine *machine;
    List devices;
    List node; /* on machine->buses, in order of creation */
    /* Called before the device's own realize: takes address properties, allots a slot. */
    bool (*plug)(Bus *bus, Device *dev, Error **errp);
    void (*unplug)(Bus *bus, Device *dev);
    /* May the bus take one more device (used when -device names no bus)? NULL: always. */
    bool (*has_room)(Bus *bus, const Device *dev);
};

#define DEVICE_INFO(name_, bus_, Struct, desc_)                                                    \
    .name = (name_), .desc = (desc_), .bus = (bus_),                                               \
    .size = sizeof(Struct) + 0 * sizeof(char[offsetof(Struct, dev) == 0 ? 1 : -1])

/* Defines and registers type_X; a header may declare it with DECLARE_DEVICE_TYPE(X). */
#define DEVICE_TYPE(sym)                                                                           \
    extern DeviceType type_##sym;                                                                  \
    static void __attribute__((constructor)) register_##sym(void)                                  \
    {                                                                                              \
        device_type_register(&type_##sym);                                                         \
    }                                                                                              \
    DeviceType type_##sym
#define DECLARE_DEVICE_TYPE(sym) extern DeviceType type_##sym

void device_type_register(DeviceType *t);
const DeviceType *device_type_find(const char *name); /* by name or alias */
/* Calls fn for every registered type, sorted by name. */
void device_types_each(void (*fn)(const DeviceType *t, void *opaque), void *opaque);

/* A new device with default properties, not in the tree yet; for boards and bus code. */
Device *device_new(struct Machine *m, const DeviceType *t);
/* Sets a property of a device the board makes; the board's own mistakes assert. */
void device_set(Device *dev, const char *prop, const char *text);
void device_setf(Device *dev, const char *prop, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Plugs dev into bus (NULL for none), puts it into the tree (under /machine/peripheral/ID,
 * /machine/peripheral-anon/device[N], or /machine/unattached/NAME for boards: parent NULL) and
 * realizes it. On failure dev is freed. */
bool device_realize(Device *dev, Bus *bus, Object *parent, const char *name, Error **errp);
/* -device, device_add and boards' extras: driver=TYPE plus properties, id=, bus=, addr=. */
Device *device_create(struct Machine *m, const Dict *opts, Error **errp);
void device_unrealize(Device *dev); /* unplugs and frees */
void device_discard(Device *dev);   /* frees what was never realized */
void device_before_save(Device *dev); /* before its state tables are read */
Device *device_find(struct Machine *m, const char *id);

/* Declares dev's unnamed input/output lines for qtest; the arrays stay the device's. */
void device_init_irq_in(Device *dev, IrqLine *lines, unsigned nr, IrqFn *fn, void *opaque);
void device_init_irq_out(Device *dev, Irq *irqs, unsigned nr);

void bus_init(Bus *bus, BusKind kind, const char *name, Device *parent, struct Machine *m);
/* Forgets the buses that lie in [lo, hi), whose devices are gone. */
void buses_remove_within(struct Machine *m, const void *lo, const void *hi);
/* "pci.0", a path, or the first bus of that kind with room; NULL with *errp. */
Bus *bus_find(struct Machine *m, BusKind kind, const char *name, const Device *dev, Error **errp);
const char *bus_kind_name(BusKind kind); /* "PCI", "ISA", ... */

/* -device help, -device X,help, info qtree, info qom-tree: one line a call. */
void device_list_types(void (*print)(void *opaque, const char *line), void *opaque);
bool device_type_help(const char *name, void (*print)(void *opaque, const char *line),
                      void *opaque, Error **errp);
void device_print_qtree(struct Machine *m, void (*print)(void *opaque, const char *line),
                        void *opaque);
void object_print_tree(const Object *o, void (*print)(void *opaque, const char *line),
                       void *opaque);

/* Parent types' realize, state and properties come first; a type with a parent calls nothing. */

#endif
