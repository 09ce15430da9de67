/* SPDX-License-Identifier: GPL-2.0-or-later
 * What plugs into an IDE channel: ide-hd, ide-cd, and ide-drive, which is one or the other as its
 * drive's medium says. Commands are in ata.c and atapi.c.
 */
#include <stdlib.h>
#include <string.h>

#include "hw/ide/ide.h"
#include "util/alloc.h"
#include "util/version.h"

/* What a PC BIOS of the time would make of the size: 16 heads, 63 sectors. */
static void set_geometry(IdeDevice *d)
{
    uint64_t nr_sectors = drive_size(d->drive) / ide_sector_size(d);
    d->default_heads = 16;
    d->default_track = 63;
    d->cylinders = (uint16_t)MIN(nr_sectors / (16 * 63), 16383ull);
    d->cylinders = MAX(d->cylinders, 1);
}

static unsigned bus_number(const IdeDevice *d)
{
    const char *dot = strrchr(d->bus->bus.obj.name, '.');
    return dot ? (unsigned)atoi(dot + 1) : 0;
}

/* 0 to 3 by channel and unit; on others from 10 on, by slot and port. */
static unsigned plug_number(const IdeDevice *d)
{
    return d->bus->host ? (unsigned)d->bus->pci->devfn * 10 + bus_number(d)
                        : bus_number(d) * 2 + d->unit;
}

/* The first string that is not NULL, for a property the user left out. */
static void set_default(char **field, const char *text)
{
    if (!*field) {
        *field = xstrdup(text);
    }
}

static void set_identity(IdeDevice *d, const char *model, const char *serial_prefix)
{
    char serial[21];
    snprintf(serial, sizeof(serial), "%s%05u", serial_prefix, plug_number(d) + 1);
    set_default(&d->serial, drive_serial(d->drive));
    set_default(&d->serial, serial);
    set_default(&d->model, model);
    set_default(&d->version, VIREO_VERSION);
}

static bool check_text(const char *prop, const char *text, size_t max, Error **errp)
{
    if (text && strlen(text) > max) {
        return error_set(errp, "%s=%s: at most %zu characters fit", prop, text, max);
    }
    return true;
}

static bool is_block_size(uint32_t n)
{
    return n == BLOCK_SECTOR || n == 4096;
}

static bool check_block_sizes(IdeDevice *d, Error **errp)
{
    if (!is_block_size(d->logical_block) || !is_block_size(d->physical_block)) {
        return error_set(errp, "%s_block_size=%u: use 512 or 4096",
                         is_block_size(d->logical_block) ? "physical" : "logical",
                         is_block_size(d->logical_block) ? d->physical_block : d->logical_block);
    }
    if (d->physical_block < d->logical_block) {
        return error_set(errp, "physical_block_size=%u is less than logical_block_size=%u",
                         d->physical_block, d->logical_block);
    }
    return drive_size(d->drive) % d->logical_block == 0 ||
           error_set(errp, "the size of drive '%s' is no multiple of logical_block_size=%u",
                     drive_id(d->drive), d->logical_block);
}

static bool attach(IdeDevice *d, const DriveUser *user, Error **errp)
{
    if (!check_text("serial", d->serial ? d->serial : drive_serial(d->drive), 20, errp) ||
        !check_text("model", d->model, 40, errp) || !check_text("ver", d->version, 8, errp)) {
        return error_prefix(errp, "drive '%s': ", drive_id(d->drive));
    }
    char *path = object_path(&d->dev.obj);
    bool ok = drive_set_policies(d->drive, d->werror, d->rerror, errp) &&
              drive_attach(d->drive, user, d, path, errp);
    free(path);
    if (ok && drive_wants_boot(d->drive) && d->bootindex < 0) {
        d->bootindex = 0;
    }
    return ok;
}

static bool find_drive(IdeDevice *d, Error **errp)
{
    d->drive = drive_need(d->drive_id, errp);
    return d->drive != NULL;
}

/* ---- disk ---- */

static bool hd_realize(Device *dev, Error **errp)
{
    IdeDevice *d = container_of(dev, IdeDevice, dev);
    static const DriveUser user = { 0 };
    if (!d->drive_id) {
        return error_set(errp, "%s needs drive=ID of a -drive if=none,id=ID", dev->type->name);
    }
    if (!find_drive(d, errp)) {
        return false;
    }
    if (drive_is_cdrom(d->drive)) {
        return error_set(errp, "drive '%s' is a CD-ROM; give it to an ide-cd", d->drive_id);
    }
    if (!drive_has_media(d->drive)) {
        return error_set(errp, "drive '%s' has no image; a disk needs one: -drive if=none,id=%s,file=IMAGE; "
                               "an ide-cd may be empty",
                         d->drive_id, d->drive_id);
    }
    if (drive_size(d->drive) < BLOCK_SECTOR) {
        return error_set(errp, "drive '%s' is empty: a disk needs at least one sector; vireo-img create "
                               "makes an image",
                         d->drive_id);
    }
    if (d->physical_block < d->logical_block && d->physical_block == BLOCK_SECTOR) {
        d->physical_block = d->logical_block; /* only one was given */
    }
    if (!check_block_sizes(d, errp) || !attach(d, &user, errp)) {
        return false;
    }
    set_geometry(d);
    set_identity(d, "Vireo HARDDISK", "VD");
    return true;
}

/* ---- CD ---- */

static void cd_media_changed(void *opaque, bool loaded)
{
    atapi_set_media_present(opaque, loaded);
}

static void cd_eject_requested(void *opaque, bool force)
{
    (void)force;
    atapi_request_eject(opaque);
}

static bool cd_tray_open(void *opaque)
{
    return ((IdeDevice *)opaque)->tray_open;
}

static bool cd_locked(void *opaque)
{
    return ((IdeDevice *)opaque)->locked;
}

/* An empty tray of its own: "ide1-cd0". */
static bool make_drive(IdeDevice *d, Error **errp)
{
    Dict *opts = dict_new();
    dict_setf(opts, "id", "ide%u-cd%u", plug_number(d) / 2, d->unit);
    dict_set(opts, "media", "cdrom");
    d->drive = drive_create(opts, errp);
    dict_free(opts);
    return d->drive != NULL;
}

static bool cd_realize(Device *dev, Error **errp)
{
    IdeDevice *d = container_of(dev, IdeDevice, dev);
    static const DriveUser user = { .media_changed = cd_media_changed,
                                    .eject_requested = cd_eject_requested,
                                    .is_tray_open = cd_tray_open, .is_locked = cd_locked };
    d->is_cd = true;
    if (!(d->drive_id ? find_drive(d, errp) : make_drive(d, errp)) || !attach(d, &user, errp)) {
        return false;
    }
    drive_make_cdrom(d->drive);
    set_geometry(d);
    set_identity(d, "Vireo DVD-ROM", "VC");
    return true;
}

static bool drive_realize(Device *dev, Error **errp)
{
    IdeDevice *d = container_of(dev, IdeDevice, dev);
    const Drive *drive = d->drive_id ? drive_find(d->drive_id) : NULL;
    return drive && drive_is_cdrom(drive) ? cd_realize(dev, errp) : hd_realize(dev, errp);
}

/* ---- both ---- */

static void ide_unrealize(Device *dev)
{
    drive_detach(container_of(dev, IdeDevice, dev)->drive);
}

static void ide_reset_device(Device *dev)
{
    IdeDevice *d = container_of(dev, IdeDevice, dev);
    if (d->busy) { /* only what failed on the host and waits for a retry: the rest was drained */
        blk_cancel(&d->req);
    }
    d->busy = d->reset_pending = false;
    d->heads = d->default_heads;
    d->track = d->default_track;
    ide_device_soft_reset(d);
}

static void ide_refresh_device(Device *dev)
{
    IdeDevice *d = container_of(dev, IdeDevice, dev);
    ide_device_check(d);
    ide_bus_refresh(d->bus);
    ide_resume(d);
}

#define COMMON_PROPS(drive_help)                                                                   \
    PROP_U32("unit", IdeDevice, unit, .def = UINT32_MAX, .help = "0 or 1; first free one"),        \
    PROP_DRIVE("drive", IdeDevice, drive_id, .help = drive_help),                                  \
    PROP_STR("werror", IdeDevice, werror, .help = "as -drive's"),                                  \
    PROP_STR("rerror", IdeDevice, rerror, .help = "as -drive's"),                                  \
    PROP_STR("serial", IdeDevice, serial, .help = "serial number, up to 20 characters"),           \
    PROP_STR("model", IdeDevice, model, .help = "model name, up to 40 characters"),                \
    PROP_STR("ver", IdeDevice, version, .help = "firmware revision, up to 8 characters"),          \
    PROP_I32("bootindex", IdeDevice, bootindex, .def = (uint64_t)-1, .help = "boot order"),        \
    PROP_END

static const Property hd_props[] = {
    PROP_U32("logical_block_size", IdeDevice, logical_block, .def = 512, .help = "512 or 4096"),
    PROP_U32("physical_block_size", IdeDevice, physical_block, .def = 512, .help = "512 or 4096"),
    PROP_U64("wwn", IdeDevice, wwn, .help = "world wide name; 0: none"),
    PROP_U32("rotation_rate", IdeDevice, rotation_rate, .def = 1, .max = 0xfffe,
             .help = "revolutions a minute; 1: does not rotate, 0: not reported"),
    COMMON_PROPS("the drive's id"),
};
static const Property cd_props[] = { COMMON_PROPS("the drive's id; none: an empty tray") };

#define COMMON(realize_)                                                                           \
    .state = ide_device_state, .state_version = 1, .realize = (realize_),                          \
    .unrealize = ide_unrealize, .reset = ide_reset_device, .refresh = ide_refresh_device

DEVICE_TYPE(ide_hd) = {
    DEVICE_INFO("ide-hd", BUS_IDE, IdeDevice, "IDE disk"),
    .props = hd_props,
    COMMON(hd_realize),
};

DEVICE_TYPE(ide_cd) = {
    DEVICE_INFO("ide-cd", BUS_IDE, IdeDevice, "IDE CD-ROM drive"),
    .props = cd_props,
    COMMON(cd_realize),
};

DEVICE_TYPE(ide_drive) = {
    DEVICE_INFO("ide-drive", BUS_IDE, IdeDevice, "IDE disk or CD-ROM drive, as the drive says"),
    .props = hd_props,
    COMMON(drive_realize),
};
