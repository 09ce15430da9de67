/* SPDX-License-Identifier: GPL-2.0-or-later
 * isa-debugcon: a port whose bytes go to a chardev, as Bochs has it at e9h and SeaBIOS writes its
 * log to at 402h. It reads as e9h, by which software recognises it.
 */
#include "chardev/chardev.h"
#include "hw/isa/isa.h"

enum { MAX_QUEUED = 256 * 1024 };

typedef struct Debugcon {
    Device dev;
    uint32_t iobase, readback; /* properties */
    char *chardev;
    CharFrontend fe; /* wiring */
    Region io;
} Debugcon;

static uint64_t debugcon_read(void *opaque, uint64_t offset, unsigned size)
{
    Debugcon *s = opaque;
    (void)offset;
    (void)size;
    return s->readback;
}

static void debugcon_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Debugcon *s = opaque;
    uint8_t byte = val;
    (void)offset;
    (void)size;
    if (char_queued(&s->fe) < MAX_QUEUED) { /* no flow control: a peer that sleeps loses bytes */
        char_write_all(&s->fe, &byte, 1);
    }
}

static const RegionOps debugcon_ops = { debugcon_read, debugcon_write, .sizes = 1 };

static size_t can_receive(void *opaque)
{
    (void)opaque;
    return 0; /* output only */
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
    (void)opaque;
    (void)buf;
    (void)len;
}

static bool debugcon_realize(Device *dev, Error **errp)
{
    Debugcon *s = container_of(dev, Debugcon, dev);
    if (!s->chardev) {
        return error_set(errp, "isa-debugcon: needs chardev=ID of a -chardev");
    }
    Chardev *chr = chardev_find(s->chardev);
    if (!chr) {
        return error_set(errp, "isa-debugcon: no chardev '%s': give -chardev ...,id=%s",
                         s->chardev, s->chardev);
    }
    region_init_io(&s->io, dev, &debugcon_ops, s, 1);
    if (!isa_map_ports(dev, &s->io, s->iobase, errp)) {
        return false;
    }
    s->fe = (CharFrontend){ .can_receive = can_receive, .receive = receive, .opaque = s };
    return char_attach(&s->fe, chr, errp);
}

static void debugcon_unrealize(Device *dev)
{
    char_detach(&container_of(dev, Debugcon, dev)->fe);
}

static const Property debugcon_props[] = {
    PROP_U32("iobase", Debugcon, iobase, .def = 0xe9, .max = 0xffff, .help = "its port"),
    PROP_U32("readback", Debugcon, readback, .def = 0xe9, .max = 0xff,
             .help = "what the port reads as"),
    PROP_CHARDEV("chardev", Debugcon, chardev, .help = "where the bytes go"),
    PROP_END,
};

static const StateField debugcon_state[] = {
    STATE_END,
};

DEVICE_TYPE(isa_debugcon) = {
    DEVICE_INFO("isa-debugcon", BUS_ISA, Debugcon, "Debug port that writes to a chardev"),
    .props = debugcon_props,
    .state = debugcon_state,
    .state_version = 1,
    .realize = debugcon_realize,
    .unrealize = debugcon_unrealize,
};
