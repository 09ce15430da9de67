/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives of the command line: which plug each one has, and what it is called.
 */
#include "block/block.h"
#include "util/alloc.h"
#include "vm/host_devices.h"

/* -1 if none is free. */
static int free_ide_slot(const MachineConfig *c)
{
    for (unsigned n = 0; n < ARRAY_SIZE(c->ide_drive); n++) {
        if (!c->ide_drive[n]) {
            return (int)n;
        }
    }
    return -1;
}

/* index=N, or bus=B,unit=U; where there is none, the first free plug. */
static bool choose_slot(const MachineConfig *c, const Dict *d, unsigned *slot, Error **errp)
{
    uint64_t index = UINT64_MAX, bus = 0, unit = 0;
    if (!dict_get_u64(d, "index", &index, errp) || !dict_get_u64(d, "bus", &bus, errp) ||
        !dict_get_u64(d, "unit", &unit, errp)) {
        return false;
    }
    if (dict_has(d, "index") && (dict_has(d, "bus") || dict_has(d, "unit"))) {
        return error_set(errp, "index= and bus=,unit= say the same; give one of them");
    }
    if (dict_has(d, "bus") || dict_has(d, "unit")) {
        if (bus > 1 || unit > 1) {
            return error_set(errp, "IDE has bus 0 and 1, unit 0 and 1");
        }
        index = bus * 2 + unit;
    }
    if (index == UINT64_MAX) {
        int free_slot = free_ide_slot(c);
        if (free_slot < 0) {
            return error_set(errp, "all four IDE plugs are taken");
        }
        index = free_slot;
    }
    if (index >= ARRAY_SIZE(c->ide_drive)) {
        return error_set(errp, "IDE has plugs 0 to 3, there is no index %llu",
                         (unsigned long long)index);
    }
    if (c->ide_drive[index]) {
        return error_set(errp, "IDE plug %llu is taken by drive '%s'%s",
                         (unsigned long long)index, c->ide_drive[index],
                         index == 2 ? " (-cdrom and -hdc are the same plug)" : "");
    }
    *slot = index;
    return true;
}

static bool create(Dict *d, Error **errp)
{
    return drive_create(d, errp) != NULL;
}

static bool open_ide(MachineConfig *c, Dict *d, Error **errp)
{
    unsigned slot = 0;
    if (!choose_slot(c, d, &slot, errp)) {
        return false;
    }
    const char *media = dict_get(d, "media");
    bool cd = media && !strcmp(media, "cdrom");
    if (!dict_has(d, "id")) {
        dict_setf(d, "id", "ide%u-%s%u", slot / 2, cd ? "cd" : "hd", slot % 2);
    }
    dict_setf(d, "index", "%u", slot);
    if (!create(d, errp)) {
        return false;
    }
    c->ide_drive[slot] = xstrdup(dict_get(d, "id"));
    return true;
}

/* index=N or unit=N; else the first free one. */
static bool open_floppy(MachineConfig *c, Dict *d, Error **errp)
{
    uint64_t slot = c->floppy_drive[0] ? 1 : 0, bus = 0;
    if (!dict_get_u64(d, "bus", &bus, errp) || !dict_get_u64(d, "unit", &slot, errp) ||
        !dict_get_u64(d, "index", &slot, errp)) {
        return false;
    }
    if (bus || slot >= ARRAY_SIZE(c->floppy_drive)) {
        return error_set(errp, "there are floppy drives 0 and 1 on bus 0, no others");
    }
    if (c->floppy_drive[slot]) {
        return error_set(errp, "floppy drive %llu has drive '%s' already",
                         (unsigned long long)slot, c->floppy_drive[slot]);
    }
    if (!dict_has(d, "id")) {
        dict_setf(d, "id", "floppy%llu", (unsigned long long)slot);
    }
    if (!create(d, errp)) {
        return false;
    }
    c->floppy_drive[slot] = xstrdup(dict_get(d, "id"));
    return true;
}

/* A disk of its own on a bus, made when the machine is there: as -device would. */
static bool open_virtio(MachineConfig *c, Dict *d, Error **errp)
{
    if (dict_has(d, "bus") || dict_has(d, "unit")) {
        return error_set(errp, "if=virtio has neither bus= nor unit=");
    }
    if (!dict_has(d, "id")) {
        dict_setf(d, "id", "virtio%zu", c->nr_drive_devices);
    }
    if (!create(d, errp)) {
        return false;
    }
    Dict *dev = dict_new();
    dict_set(dev, "driver", "virtio-blk-pci");
    dict_set(dev, "drive", dict_get(d, "id"));
    c->drive_device =
        xrealloc(c->drive_device, (c->nr_drive_devices + 1) * sizeof(*c->drive_device));
    c->drive_device[c->nr_drive_devices++] = dev;
    return true;
}

static bool open_one(MachineConfig *c, Dict *d, unsigned number, Error **errp)
{
    const char *kind = dict_get(d, "if");
    if (!kind || !strcmp(kind, "ide")) {
        return open_ide(c, d, errp);
    }
    if (!strcmp(kind, "floppy")) {
        return open_floppy(c, d, errp);
    }
    if (!strcmp(kind, "virtio")) {
        return open_virtio(c, d, errp);
    }
    if (!strcmp(kind, "none")) {
        if (!dict_has(d, "id")) {
            dict_setf(d, "id", "none%u", number);
        }
        return create(d, errp);
    }
    static const char *const known[] = { "ide", "none", "virtio", "scsi", "sd", "mtd", "floppy",
                                         "pflash", "xen", NULL };
    for (size_t i = 0; known[i]; i++) {
        if (!strcmp(kind, known[i])) {
            return error_set(errp, "if=%s is not built yet; use if=ide or if=virtio", kind);
        }
    }
    const char *near = suggest(kind, known);
    if (near) {
        return error_set(errp, "if=%s is unknown, did you mean %s?", kind, near);
    }
    return error_set(errp, "if=%s is unknown; use if=ide, if=virtio, if=floppy or if=none", kind);
}

static bool open_nodes(const Options *o, Error **errp)
{
    for (size_t i = 0; i < o->blockdev.nr; i++) {
        Dict *d = dict_parse(o->blockdev.str[i], "driver", errp);
        bool ok = d && blockdev_add(d, errp);
        dict_free(d);
        if (!ok) {
            return error_prefix(errp, "-blockdev %s: ", o->blockdev.str[i]);
        }
    }
    return true;
}

bool drives_open(MachineConfig *c, const Options *o, Error **errp)
{
    static const char *const floppy_types[] = { "floppy", "isa-fdc", NULL };
    static const char *const fdc_types[] = { "isa-fdc", NULL };
    static const char *const cd_types[] = { "ide-cd", "ide-drive", "scsi-cd", NULL };
    if (!open_nodes(o, errp)) {
        return false;
    }
    for (size_t i = 0; i < o->nr_drives; i++) {
        Dict *d = dict_copy(o->drive[i].opts);
        if (o->snapshot && !dict_has(d, "snapshot")) {
            dict_set(d, "snapshot", "on");
        }
        bool ok = open_one(c, d, i, errp);
        const char *file = dict_get(d, "file");
        if (!ok) {
            error_prefix(errp, "-%s%s%s: ", o->drive[i].spelt, file ? " " : "",
                         file ? file : "");
        }
        dict_free(d);
        if (!ok) {
            return false;
        }
    }
    c->default_floppy = !o->nodefaults && !options_have_device(o, floppy_types);
    c->no_fdc = options_have_device(o, fdc_types);
    c->default_cdrom = !o->nodefaults && !options_have_device(o, cd_types);
    return true;
}
