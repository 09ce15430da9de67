/* SPDX-License-Identifier: GPL-2.0-or-later
 * Floppy drives and what their media look like. An image has only sectors of 512 bytes in the
 * order cylinder, head, sector, so that its size must tell its format; the table has those of the
 * IBM PC (160K to 2.88M) and the denser ones that Linux's fdformat and others make.
 */
#include <stdlib.h>

#include "hw/block/fdc.h"
#include "util/alloc.h"

enum { RATE_500, RATE_300, RATE_250, RATE_1000 };
enum {
    FITS_120 = 1 << FLOPPY_120,
    FITS_288 = 1 << FLOPPY_288,
    FITS_144 = 1 << FLOPPY_144 | 1 << FLOPPY_288
};
enum { MAX_CYLINDER = 84 }; /* where the head meets the stop */

/* The first one of a size is what an image of that size is. */
static const FloppyFormat formats[] = {
    /* 3.5 inches: 1.44M and denser */
    { 18, 80, 2, RATE_500, FITS_144 },
    { 20, 80, 2, RATE_500, FITS_144 },
    { 21, 80, 2, RATE_500, FITS_144 },
    { 21, 82, 2, RATE_500, FITS_144 },
    { 21, 83, 2, RATE_500, FITS_144 },
    { 22, 80, 2, RATE_500, FITS_144 },
    { 23, 80, 2, RATE_500, FITS_144 },
    { 24, 80, 2, RATE_500, FITS_144 },
    /* 2.88M and denser */
    { 36, 80, 2, RATE_1000, FITS_288 },
    { 39, 80, 2, RATE_1000, FITS_288 },
    { 40, 80, 2, RATE_1000, FITS_288 },
    { 44, 80, 2, RATE_1000, FITS_288 },
    { 48, 80, 2, RATE_1000, FITS_288 },
    /* 720K and denser, 360K with one side */
    { 9, 80, 2, RATE_250, FITS_144 },
    { 10, 80, 2, RATE_250, FITS_144 },
    { 10, 82, 2, RATE_250, FITS_144 },
    { 10, 83, 2, RATE_250, FITS_144 },
    { 13, 80, 2, RATE_250, FITS_144 },
    { 14, 80, 2, RATE_250, FITS_144 },
    /* 5.25 inches: 1.2M and denser */
    { 15, 80, 2, RATE_500, FITS_120 },
    { 18, 80, 2, RATE_500, FITS_120 },
    { 18, 82, 2, RATE_500, FITS_120 },
    { 18, 83, 2, RATE_500, FITS_120 },
    { 20, 80, 2, RATE_500, FITS_120 },
    { 9, 80, 2, RATE_250, FITS_120 },
    { 11, 80, 2, RATE_250, FITS_120 },
    /* 360K, 180K, 320K, 160K */
    { 9, 40, 2, RATE_300, FITS_120 },
    { 9, 40, 1, RATE_300, FITS_120 },
    { 10, 41, 2, RATE_300, FITS_120 },
    { 10, 42, 2, RATE_300, FITS_120 },
    { 8, 40, 2, RATE_250, FITS_120 },
    { 8, 40, 1, RATE_250, FITS_120 },
    { 9, 80, 1, RATE_250, FITS_144 },
};

static uint64_t format_size(const FloppyFormat *f)
{
    return (uint64_t)f->sectors * f->cylinders * f->heads * BLOCK_SECTOR;
}

/* An image of no format's size is of the drive's own: what it lacks at the end reads as zeroes. */
static const FloppyFormat *find_format(uint64_t size, FloppyType type)
{
    const FloppyFormat *own = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        const FloppyFormat *f = &formats[i];
        if (type != FLOPPY_AUTO && !(f->types >> type & 1)) {
            continue;
        }
        if (format_size(f) == size) {
            return f;
        }
        unsigned made_for = type == FLOPPY_AUTO ? FLOPPY_144 : type;
        own = !own && (unsigned)__builtin_ctz(f->types) == made_for ? f : own;
    }
    return own;
}

static void look_at_disk(FloppyDrive *d)
{
    d->format = drive_has_media(d->drive) ? find_format(drive_size(d->drive), d->type) : NULL;
}

static void media_changed(void *opaque, bool loaded)
{
    FloppyDrive *d = opaque;
    (void)loaded;
    d->changed = true;
    look_at_disk(d);
    fdc_refresh_lines(d->fdc);
}

/* A step with a disk in the drive ends "disk changed". */
void floppy_step(FloppyDrive *d, int steps)
{
    int to = d->cylinder + steps;
    d->cylinder = (uint8_t)MIN(MAX(to, 0), (int)MAX_CYLINDER);
    if (steps && d->format) {
        d->changed = false;
    }
}

/* ---- the bus ---- */

static bool floppy_plug(Bus *bus, Device *dev, Error **errp)
{
    Fdc *s = container_of(bus, Fdc, bus);
    FloppyDrive *d = container_of(dev, FloppyDrive, dev);
    if (d->unit == UINT32_MAX) {
        d->unit = s->unit[0] ? 1 : 0;
    }
    if (d->unit >= FDC_MAX_DRIVES) {
        return error_set(errp, "a floppy controller has unit 0 and 1, there is no unit %u",
                         d->unit);
    }
    if (s->unit[d->unit]) {
        return error_set(errp, "unit %u of bus '%s' is taken", d->unit, bus->obj.name);
    }
    s->unit[d->unit] = d;
    d->fdc = s;
    return true;
}

static void floppy_unplug(Bus *bus, Device *dev)
{
    Fdc *s = container_of(bus, Fdc, bus);
    for (unsigned i = 0; i < FDC_MAX_DRIVES; i++) {
        if (s->unit[i] && &s->unit[i]->dev == dev) {
            s->unit[i] = NULL;
        }
    }
}

static bool floppy_has_room(Bus *bus, const Device *dev)
{
    const Fdc *s = container_of(bus, Fdc, bus);
    (void)dev;
    return !s->unit[0] || !s->unit[1];
}

void floppy_bus_init(Fdc *s)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.0", s->dev.id ? s->dev.id : "floppy-bus");
    bus_init(&s->bus, BUS_FLOPPY, name, &s->dev, s->dev.machine);
    s->bus.plug = floppy_plug;
    s->bus.unplug = floppy_unplug;
    s->bus.has_room = floppy_has_room;
}

/* ---- the device ---- */

static bool make_drive(FloppyDrive *d, Error **errp)
{
    Dict *opts = dict_new();
    dict_setf(opts, "id", "floppy%u", d->unit);
    dict_set(opts, "if", "floppy");
    d->drive = drive_create(opts, errp);
    dict_free(opts);
    return d->drive != NULL;
}

/* The drive that the image in it needs; an empty one is as the controller's fallback= says. */
static FloppyType choose_type(const FloppyDrive *d)
{
    if (d->wanted_type != FLOPPY_AUTO) {
        return d->wanted_type;
    }
    if (!drive_has_media(d->drive)) {
        return d->fdc->fallback == FLOPPY_AUTO ? FLOPPY_288 : d->fdc->fallback;
    }
    return __builtin_ctz(find_format(drive_size(d->drive), FLOPPY_AUTO)->types);
}

static bool floppy_realize(Device *dev, Error **errp)
{
    FloppyDrive *d = container_of(dev, FloppyDrive, dev);
    static const DriveUser user = { .media_changed = media_changed };
    if (d->drive_id) {
        d->drive = drive_need(d->drive_id, errp);
        if (!d->drive) {
            return false;
        }
        if (drive_is_cdrom(d->drive)) {
            return error_set(errp, "drive '%s' is a CD-ROM; give it to an ide-cd", d->drive_id);
        }
    } else if (!make_drive(d, errp)) {
        return false;
    }
    char *path = object_path(&dev->obj);
    bool ok = drive_attach(d->drive, &user, d, path, errp);
    free(path);
    if (!ok) {
        return false;
    }
    drive_make_floppy(d->drive);
    if (drive_wants_boot(d->drive) && d->bootindex < 0) {
        d->bootindex = 0;
    }
    d->type = choose_type(d);
    look_at_disk(d);
    d->changed = true;
    if (d->format && format_size(d->format) < drive_size(d->drive)) {
        warn_report(
            "drive '%s': the image is larger than any floppy disk for this drive; the guest "
            "sees its first %llu KiB",
            drive_id(d->drive), (unsigned long long)format_size(d->format) / 1024);
    }
    return true;
}

static void floppy_unrealize(Device *dev)
{
    drive_detach(container_of(dev, FloppyDrive, dev)->drive);
}

static const char *const type_names[] = { "none", "120", "144", "288", "auto", NULL };

static const Property floppy_props[] = {
    PROP_U32("unit", FloppyDrive, unit, .def = UINT32_MAX, .help = "0 or 1; first free one"),
    PROP_DRIVE("drive", FloppyDrive, drive_id, .help = "the drive's id; none: an empty drive"),
    PROP_ENUM("drive-type", FloppyDrive, wanted_type, .names = type_names, .def = FLOPPY_AUTO,
              .help = "120 (5.25\"), 144, 288 (3.5\"); auto: as the image needs"),
    PROP_I32("bootindex", FloppyDrive, bootindex, .def = (uint64_t)-1, .help = "boot order"),
    PROP_END,
};

static const StateField floppy_state[] = {
    STATE_U8(FloppyDrive, cylinder, .max = MAX_CYLINDER),
    STATE_U8(FloppyDrive, passing),
    STATE_BOOL(FloppyDrive, changed, .keep = true),
    STATE_END,
};

DEVICE_TYPE(floppy) = {
    DEVICE_INFO("floppy", BUS_FLOPPY, FloppyDrive, "Floppy disk drive"),
    .props = floppy_props,
    .state = floppy_state,
    .state_version = 1,
    .realize = floppy_realize,
    .unrealize = floppy_unrealize,
};

bool floppy_create(Fdc *s, unsigned unit, const char *drive, Error **errp)
{
    Device *dev = device_new(s->dev.machine, &type_floppy);
    char name[16];
    snprintf(name, sizeof(name), "floppy%u", unit);
    device_setf(dev, "unit", "%u", unit);
    if (drive) {
        device_set(dev, "drive", drive);
    }
    return device_realize(dev, &s->bus, NULL, name, errp);
}

/* ---- for firmware ---- */

static const FloppyDrive *drive_of(const Device *fdc, unsigned n)
{
    const Fdc *s = fdc ? container_of(fdc, Fdc, dev) : NULL;
    return s && n < FDC_MAX_DRIVES && s->unit[n] && s->unit[n]->type != FLOPPY_NONE ? s->unit[n]
                                                                                    : NULL;
}

unsigned floppy_cmos_type(const Device *fdc, unsigned n)
{
    static const uint8_t codes[] = { [FLOPPY_120] = 2, [FLOPPY_144] = 4, [FLOPPY_288] = 5 };
    const FloppyDrive *d = drive_of(fdc, n);
    return d ? codes[d->type] : 0;
}

/* The BIOS's drive number, then its diskette parameter table of the drive's best format. */
bool floppy_acpi_info(const Device *fdc, unsigned n, uint16_t info[16])
{
    const FloppyDrive *d = drive_of(fdc, n);
    if (!d) {
        return false;
    }
    const FloppyFormat *f = find_format(0, d->type);
    uint8_t gap = d->type == FLOPPY_120 ? 0x54 : 0x6c;
    uint16_t values[16] = { n,
                            floppy_cmos_type(fdc, n),
                            f->cylinders - 1,
                            f->sectors,
                            f->heads - 1,
                            0xaf,
                            0x02,
                            0x25,
                            FDC_SECTOR_CODE,
                            f->sectors,
                            0x1b,
                            0xff,
                            gap,
                            0xf6,
                            0x0f,
                            0x08 };
    for (unsigned i = 0; i < 16; i++) {
        info[i] = values[i];
    }
    return true;
}
