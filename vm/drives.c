/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives of the command line: which plug each one has, and what it is called.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/node.h"
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

/* ---- lists ---- */

static bool is_help(const char *text)
{
    return text && (!strcmp(text, "help") || !strcmp(text, "?"));
}

static void print_driver(const BlockDriver *d, void *opaque)
{
    static const char *const kinds[] = { [BLOCK_PROTOCOL] = "protocol", [BLOCK_FORMAT] = "format",
                                         [BLOCK_FILTER] = "filter" };
    const bool *formats_only = opaque;
    if (*formats_only && d->kind == BLOCK_FORMAT) {
        printf("%-14s %s\n", d->name, d->desc);
    } else if (!*formats_only) {
        printf("%-14s %-9s %s\n", d->name, kinds[d->kind], d->desc);
    }
}

/* "qcow2,help" */
static bool print_options(const char *text, Error **errp)
{
    const char *comma = strchr(text, ',');
    if (!comma || !is_help(comma + 1)) {
        return false;
    }
    const char *begin = strncmp(text, "driver=", 7) ? text : text + 7;
    char *name = xstrndup(begin, (size_t)(comma - begin));
    const BlockDriver *d = block_driver_need(name, errp);
    free(name);
    for (const BlockOption *o = d ? d->options : NULL; o && o->name; o++) {
        printf("%-20s %s\n", o->name, o->help);
    }
    return true;
}

bool drives_help(const Options *o, Error **errp)
{
    bool formats_only = false;
    for (size_t i = 0; i < o->blockdev.nr; i++) {
        if (is_help(o->blockdev.str[i]) || !strcmp(o->blockdev.str[i], "driver=help")) {
            block_drivers_each(print_driver, &formats_only);
            return true;
        }
        if (print_options(o->blockdev.str[i], errp)) {
            return true;
        }
    }
    formats_only = true;
    for (size_t i = 0; i < o->nr_drives; i++) {
        const Dict *d = o->drive[i].opts;
        if (is_help(dict_get(d, "format")) || is_help(dict_get(d, "driver"))) {
            block_drivers_each(print_driver, &formats_only);
            return true;
        }
    }
    return false;
}

/* ---- opening ---- */

/* The first node that would change something on the host. */
static void find_writable(BlockNode *n, void *opaque)
{
    const BlockNode **found = opaque;
    bool stores = n->driver->kind == BLOCK_PROTOCOL && strcmp(n->driver->name, "null-co");
    if (!*found && stores && !n->readonly) {
        *found = n;
    }
}

/* -snapshot is a promise about all images: better no start than one that is written. */
static bool check_snapshot(const Options *o, Error **errp)
{
    const BlockNode *n = NULL;
    if (o->snapshot) {
        block_nodes_each(find_writable, &n);
    }
    return !n || error_set(errp,
                           "-snapshot keeps the images of -drive only, -blockdev would write to '%s'; "
                           "give that node read-only=on and put driver=overlay above it, or use "
                           "-drive",
                           n->filename);
}

bool drives_open(MachineConfig *c, const Options *o, Error **errp)
{
    static const char *const floppy_types[] = { "floppy", "isa-fdc", NULL };
    static const char *const fdc_types[] = { "isa-fdc", NULL };
    static const char *const cd_types[] = { "ide-cd", "ide-drive", "scsi-cd", NULL };
    if (!open_nodes(o, errp) || !check_snapshot(o, errp)) {
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
