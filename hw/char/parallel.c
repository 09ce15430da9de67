/* SPDX-License-Identifier: GPL-2.0-or-later
 * isa-parallel: a PC printer port in standard and PS/2 mode (IEEE 1284, annex on the IBM PC
 * port), LPT1 to LPT3. A printer that is always ready takes the bytes and hands them to the
 * chardev. Left out: EPP and ECP, and a host port passed through.
 */
#include "chardev/chardev.h"
#include "hw/core/machine.h"
#include "hw/isa/isa.h"

enum { REG_DATA = 0, REG_STATUS = 1, REG_CONTROL = 2, NR_REGS = 3 };
enum { STATUS_NO_ERROR = 0x08, STATUS_SELECTED = 0x10, STATUS_NO_ACK = 0x40,
       STATUS_NOT_BUSY = 0x80, STATUS_RESERVED = 0x07 };
enum { CONTROL_STROBE = 0x01, CONTROL_NO_INIT = 0x04, CONTROL_SELECT = 0x08,
       CONTROL_IRQ = 0x10, CONTROL_INPUT = 0x20, CONTROL_MASK = 0x3f, CONTROL_RESERVED = 0xc0 };
enum { NR_LPT = 3, INDEX_AUTO = 0xff };

typedef struct Parallel {
    Device dev;
    uint32_t index, iobase, irqnum; /* properties */
    char *chardev;
    uint8_t data, control; /* state */
    bool busy;             /* the chardev has not taken data yet */
    bool acked;            /* nAck came since CONTROL_IRQ was set: the line is up */
    CharFrontend fe;       /* wiring */
    Region io;
    Irq irq;
} Parallel;

static void offer(Parallel *s);

static void chardev_writable(void *opaque)
{
    offer(opaque);
}

/* nAck goes low for a moment when the printer took the byte. The line stays up after that edge
 * until it is due again: the 8259 loses a request whose line falls before INTA. */
static void offer(Parallel *s)
{
    if (s->busy && s->fe.chr && char_write(&s->fe, &s->data, 1) == 0) {
        char_on_writable(&s->fe, chardev_writable, s);
        return;
    }
    s->busy = false;
    if (s->control & CONTROL_IRQ) {
        s->acked = true;
        irq_set(&s->irq, false);
        irq_set(&s->irq, true);
    }
}

static uint8_t read_status(const Parallel *s)
{
    uint8_t status = STATUS_RESERVED | STATUS_NO_ERROR | STATUS_SELECTED | STATUS_NO_ACK;
    return status | (s->busy ? 0 : STATUS_NOT_BUSY);
}

static void write_control(Parallel *s, uint8_t val)
{
    uint8_t rising = val & ~s->control;
    s->control = val & CONTROL_MASK;
    if (!(s->control & CONTROL_IRQ)) {
        s->acked = false;
        irq_set(&s->irq, false);
    }
    /* nStrobe falls when its bit rises; a printer in reset does not see it. */
    if ((rising & CONTROL_STROBE) && (val & CONTROL_NO_INIT) && !s->busy) {
        s->busy = true;
        offer(s);
    }
}

static uint64_t parallel_read(void *opaque, uint64_t offset, unsigned size)
{
    Parallel *s = opaque;
    switch (offset) {
    case REG_DATA: return s->control & CONTROL_INPUT ? 0xff : s->data;
    case REG_STATUS: return read_status(s);
    case REG_CONTROL: return s->control | CONTROL_RESERVED;
    default: return region_bad_read(&s->io, offset, size);
    }
}

static void parallel_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Parallel *s = opaque;
    switch (offset) {
    case REG_DATA:
        if (!s->busy) { /* the printer still looks at it */
            s->data = val;
        }
        break;
    case REG_STATUS: break;
    case REG_CONTROL: write_control(s, val); break;
    default: region_bad_write(&s->io, offset, val, size);
    }
}

static const RegionOps parallel_ops = { parallel_read, parallel_write, .sizes = 1 };

static void parallel_refresh(Device *dev)
{
    Parallel *s = container_of(dev, Parallel, dev);
    irq_set(&s->irq, s->acked);
    if (s->busy) {
        offer(s);
    }
}

static unsigned free_index(const Device *dev)
{
    unsigned taken = 0;
    list_for_each(node, &dev->machine->devices) {
        const Device *other = container_of(node, Device, machine_node);
        if (other->type == dev->type && other != dev) {
            const Parallel *s = container_of(other, Parallel, dev);
            taken |= s->index < NR_LPT ? 1u << s->index : 0;
        }
    }
    return __builtin_ctz(~taken);
}

static bool parallel_realize(Device *dev, Error **errp)
{
    static const uint16_t bases[NR_LPT] = { 0x378, 0x278, 0x3bc };
    static const uint8_t irqs[NR_LPT] = { 7, 5, 7 };
    Parallel *s = container_of(dev, Parallel, dev);
    if (s->index == INDEX_AUTO) {
        s->index = free_index(dev);
    }
    if (s->index >= NR_LPT && (!s->iobase || !s->irqnum)) {
        return error_set(errp, "isa-parallel: LPT1 to LPT3 are taken: give iobase= and irq=");
    }
    s->iobase = s->iobase ? s->iobase : bases[s->index];
    s->irqnum = s->irqnum ? s->irqnum : irqs[s->index];
    region_init_io(&s->io, dev, &parallel_ops, s, NR_REGS);
    if (!isa_map_ports(dev, &s->io, s->iobase, errp) ||
        !isa_connect_irq(dev, &s->irq, s->irqnum, errp)) {
        return false;
    }
    device_init_irq_out(dev, &s->irq, 1);
    s->fe = (CharFrontend) { .opaque = s };
    list_init(&s->fe.node);
    if (!s->chardev) {
        return true;
    }
    Chardev *chr = chardev_find(s->chardev);
    return chr ? char_attach(&s->fe, chr, errp)
               : error_set(errp, "isa-parallel: no chardev '%s'", s->chardev);
}

static void parallel_unrealize(Device *dev)
{
    Parallel *s = container_of(dev, Parallel, dev);
    region_del(&s->io);
    if (s->fe.chr) {
        char_detach(&s->fe);
    }
}

static const Property parallel_props[] = {
    PROP_U32("index", Parallel, index, .def = INDEX_AUTO,
             .help = "0 is LPT1; the first free one if not given"),
    PROP_U32("iobase", Parallel, iobase, .max = 0xfff8, .help = "default: as index says"),
    PROP_U32("irq", Parallel, irqnum, .max = 15, .help = "default: as index says"),
    PROP_CHARDEV("chardev", Parallel, chardev),
    PROP_END,
};

static const StateField parallel_state[] = {
    STATE_U8(Parallel, data),
    STATE_U8(Parallel, control, .reset = CONTROL_NO_INIT | CONTROL_SELECT, .mask = CONTROL_MASK),
    STATE_BOOL(Parallel, busy),
    STATE_BOOL(Parallel, acked),
    STATE_END,
};

DEVICE_TYPE(isa_parallel) = {
    DEVICE_INFO("isa-parallel", BUS_ISA, Parallel, "Printer port (LPT1 to LPT3)"),
    .props = parallel_props,
    .state = parallel_state,
    .state_version = 1,
    .realize = parallel_realize,
    .unrealize = parallel_unrealize,
    .refresh = parallel_refresh,
};
