/* SPDX-License-Identifier: GPL-2.0-or-later
 * I/O APIC (Intel 82093AA; the EOI register is the ICH's, version 20h). Left out: the ordering of
 * messages on a real APIC bus. A pin whose entry is level-triggered asks again whenever remote
 * IRR clears and its line is still asserted; an edge that arrives while masked is lost.
 */
#include "hw/intc/ioapic.h"

#include <stdio.h>
#include <string.h>

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/intc/apic.h"

enum { IOREGSEL = 0x00, IOWIN = 0x10, EOIR = 0x40 };
enum { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };
enum { VERSION = 0x20, WINDOW_SIZE = 0x1000 };

/* A redirection entry: 63-56 destination, 16 mask, 15 level, 14 remote IRR, 13 active low,
 * 12 delivery status, 11 logical, 10-8 mode, 7-0 vector. */
enum {
    RTE_VECTOR = 0xff, RTE_MODE_SHIFT = 8, RTE_LOGICAL = 1 << 11, RTE_STATUS = 1 << 12,
    RTE_REMOTE_IRR = 1 << 14, RTE_LEVEL = 1 << 15, RTE_MASKED = 1 << 16,
    RTE_DEST_SHIFT = 56, RTE_LOW_WRITABLE = 0x1afff,
};
enum { TIMER_INPUT = 0, TIMER_PIN = 2 }; /* ISA IRQ 0 arrives at pin 2 */

typedef struct IoApic {
    Device dev;
    uint32_t address; /* property */
    uint8_t id, select;
    uint32_t inputs;  /* levels of the input lines, as numbered by GSI */
    uint64_t redir[IOAPIC_NR_PINS];
    IrqLine in[IOAPIC_NR_PINS];
    Region mmio;
    EoiListener listener;
    IrqchipPart part;
} IoApic;

static bool pin_asserted(const IoApic *s, unsigned pin)
{
    uint32_t lines = pin == TIMER_PIN ? 1 << TIMER_INPUT | 1 << TIMER_PIN : 1u << pin;
    return pin != TIMER_INPUT && (s->inputs & lines);
}

static bool is_silent(const IoApic *s)
{
    return irqchip_stands_in(s->dev.machine, IRQCHIP_IOAPIC);
}

/* Tells a stand-in for the local APICs which message the pin sends: for its EOIs. */
static void announce(const IoApic *s, unsigned pin)
{
    const struct Machine *m = s->dev.machine;
    if (!irqchip_stands_in(m, IRQCHIP_LAPIC) || is_silent(s)) {
        return;
    }
    uint64_t rte = s->redir[pin];
    uint64_t addr = APIC_DEFAULT_BASE | (rte >> RTE_DEST_SHIFT) << 12 | (rte & RTE_LOGICAL ? 4 : 0);
    uint32_t data = rte & (RTE_VECTOR | 7 << RTE_MODE_SHIFT | RTE_LEVEL);
    m->irqchip.ops->route(s->dev.machine, pin, rte & RTE_MASKED ? 0 : addr, data);
}

static void send(IoApic *s, unsigned pin)
{
    uint64_t rte = s->redir[pin];
    bool level = rte & RTE_LEVEL;
    unsigned mode = rte >> RTE_MODE_SHIFT & 7;
    if (level && mode <= APIC_LOWEST) {
        s->redir[pin] |= RTE_REMOTE_IRR;
    }
    apic_deliver(s->dev.machine, rte >> RTE_DEST_SHIFT, rte & RTE_LOGICAL, mode,
                 rte & RTE_VECTOR, level);
}

/* A level pin that is asserted, unmasked and not being served yet. */
static void check_level(IoApic *s, unsigned pin)
{
    uint64_t rte = s->redir[pin];
    if (!is_silent(s) && pin_asserted(s, pin) && (rte & RTE_LEVEL) && !(rte & (RTE_MASKED | RTE_REMOTE_IRR))) {
        send(s, pin);
    }
}

static void ioapic_set_irq(void *opaque, unsigned n, bool level)
{
    IoApic *s = opaque;
    unsigned pin = n == TIMER_INPUT ? TIMER_PIN : n;
    bool was = pin_asserted(s, pin);
    s->inputs = level ? s->inputs | 1u << n : s->inputs & ~(1u << n);
    bool rises = !was && pin_asserted(s, pin);
    if (is_silent(s)) {
        return;
    }
    if (s->redir[pin] & RTE_LEVEL) {
        check_level(s, pin);
    } else if (rises && !(s->redir[pin] & RTE_MASKED)) {
        send(s, pin);
    }
}

/* Broadcast by a local APIC, or written to EOIR. */
static void ioapic_eoi(void *opaque, unsigned vector)
{
    IoApic *s = opaque;
    for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
        uint64_t *rte = &s->redir[pin];
        if ((*rte & RTE_LEVEL) && (*rte & RTE_REMOTE_IRR) && (*rte & RTE_VECTOR) == vector) {
            *rte &= ~(uint64_t)RTE_REMOTE_IRR;
            check_level(s, pin);
        }
    }
}

static uint32_t read_register(const IoApic *s, unsigned reg)
{
    unsigned pin = (reg - IOREDTBL) / 2;
    switch (reg) {
    case IOAPICID:
    case IOAPICARB: return (uint32_t)s->id << 24;
    case IOAPICVER: return VERSION | (IOAPIC_NR_PINS - 1) << 16;
    default:
        if (reg < IOREDTBL || pin >= IOAPIC_NR_PINS) {
            log_guest("ioapic: read of register %02x, which does not exist", reg);
            return 0;
        }
        return reg & 1 ? s->redir[pin] >> 32 : s->redir[pin];
    }
}

static void write_redir(IoApic *s, unsigned pin, bool high, uint32_t val)
{
    uint64_t *rte = &s->redir[pin];
    if (high) {
        *rte = (*rte & UINT32_MAX) | (uint64_t)(val & 0xff000000) << 32;
        announce(s, pin);
        return;
    }
    uint64_t keep = *rte & (0xffffffff00000000 | RTE_REMOTE_IRR);
    *rte = keep | (val & RTE_LOW_WRITABLE);
    if (!(*rte & RTE_LEVEL)) {
        *rte &= ~(uint64_t)RTE_REMOTE_IRR; /* <Linux> clears a stuck one by way of edge mode */
    }
    announce(s, pin);
    check_level(s, pin);
}

static void write_register(IoApic *s, unsigned reg, uint32_t val)
{
    unsigned pin = (reg - IOREDTBL) / 2;
    switch (reg) {
    case IOAPICID: s->id = val >> 24 & 0xf; break;
    case IOAPICVER:
    case IOAPICARB: break;
    default:
        if (reg < IOREDTBL || pin >= IOAPIC_NR_PINS) {
            log_guest("ioapic: write of %08x to register %02x, which does not exist", val, reg);
            return;
        }
        write_redir(s, pin, reg & 1, val);
    }
}

static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
    IoApic *s = opaque;
    switch (offset) {
    case IOREGSEL: return s->select;
    case IOWIN: return read_register(s, s->select);
    case EOIR: return 0;
    default: return region_bad_read(&s->mmio, offset, size);
    }
}

static void ioapic_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    IoApic *s = opaque;
    switch (offset) {
    case IOREGSEL: s->select = val; break;
    case IOWIN: write_register(s, s->select, val); break;
    case EOIR: ioapic_eoi(s, val & 0xff); break;
    default: region_bad_write(&s->mmio, offset, val, size);
    }
}

static const RegionOps ioapic_ops = { ioapic_read, ioapic_write, .sizes = 4 };

/* ---- to and from a stand-in ---- */

static void part_save(void *opaque, void *state)
{
    const IoApic *s = opaque;
    IoapicState *st = state;
    st->id = s->id;
    st->select = s->select;
    memcpy(st->redir, s->redir, sizeof(s->redir));
    st->inputs = s->inputs;
    st->irr = 0;
    for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
        bool sent = !(s->redir[pin] & (RTE_LEVEL | RTE_MASKED));
        st->irr |= (uint32_t)(pin_asserted(s, pin) && !sent) << pin;
    }
}

/* Not the inputs: they are as they were driven. */
static void part_load(void *opaque, const void *state)
{
    IoApic *s = opaque;
    const IoapicState *st = state;
    s->id = st->id & 0xf;
    s->select = st->select;
    for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
        s->redir[pin] = st->redir[pin] & (0xff00000000000000 | RTE_LOW_WRITABLE | RTE_REMOTE_IRR);
    }
}

static void part_wake(void *opaque)
{
    IoApic *s = opaque;
    for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
        announce(s, pin);
    }
    /* A stand-in's local APICs have their states yet to come. */
    for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
        if (!irqchip_stands_in(s->dev.machine, IRQCHIP_LAPIC)) {
            check_level(s, pin);
        }
    }
}

static bool ioapic_realize(Device *dev, Error **errp)
{
    IoApic *s = container_of(dev, IoApic, dev);
    if (!dev->machine->nr_cpus || !dev->machine->cpu[0]->apic) {
        return error_set(errp, "an I/O APIC needs a CPU model with a local APIC");
    }
    device_init_irq_in(dev, s->in, IOAPIC_NR_PINS, ioapic_set_irq, s);
    region_init_io(&s->mmio, dev, &ioapic_ops, s, WINDOW_SIZE);
    region_add(&dev->machine->memory_root, s->address, &s->mmio, 1);
    s->listener = (EoiListener){ .eoi = ioapic_eoi, .opaque = s };
    irqchip_add_eoi_listener(dev->machine, &s->listener);
    s->part = (IrqchipPart){ .kind = IRQCHIP_IOAPIC, .opaque = s, .save = part_save,
                             .load = part_load, .wake = part_wake };
    irqchip_part_add(dev->machine, &s->part);
    return true;
}

static void ioapic_unrealize(Device *dev)
{
    IoApic *s = container_of(dev, IoApic, dev);
    list_remove(&s->listener.node);
    irqchip_part_del(&s->part);
}

static void ioapic_refresh(Device *dev)
{
    part_wake(container_of(dev, IoApic, dev));
}

static void ioapic_info(Device *dev, void (*print)(void *opaque, const char *line), void *opaque)
{
    static const char *const mode[8] = { "fixed", "lowest", "SMI",      "reserved",
                                         "NMI",   "INIT",   "reserved", "ExtINT" };
    IoApic *s = container_of(dev, IoApic, dev);
    char line[128];
    snprintf(line, sizeof(line), "ioapic0: ver=0x%x id=0x%02x sel=0x%02x", VERSION, s->id,
             s->select);
    print(opaque, line);
    for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
        uint64_t rte = s->redir[pin];
        snprintf(line, sizeof(line), "  pin %-2u 0x%016llx dest=%u vec=%u active-%s %s %s%s %s%s",
                 pin, (unsigned long long)rte, (unsigned)(rte >> RTE_DEST_SHIFT),
                 (unsigned)(rte & RTE_VECTOR), rte & 1 << 13 ? "lo" : "hi",
                 rte & RTE_LEVEL ? "level" : "edge", rte & RTE_MASKED ? "masked " : "",
                 mode[rte >> RTE_MODE_SHIFT & 7], rte & RTE_LOGICAL ? "logical" : "physical",
                 pin_asserted(s, pin) ? " asserted" : "");
        print(opaque, line);
    }
}

static const Property ioapic_props[] = {
    PROP_U32("address", IoApic, address, .def = IOAPIC_DEFAULT_BASE,
             .help = "guest physical address of the register window"),
    PROP_END,
};

static const StateField ioapic_state[] = {
    STATE_U8(IoApic, id, .max = 0xf),
    STATE_U8(IoApic, select),
    STATE_U32(IoApic, inputs, .mask = 0xffffff, .keep = true), /* pins: others drive them */
    STATE_U64S(IoApic, redir, .reset = RTE_MASKED, .mask = 0xff0000000001ffff),
    STATE_END,
};

DEVICE_TYPE(ioapic) = {
    DEVICE_INFO("ioapic", BUS_NONE, IoApic, "I/O APIC with 24 pins"),
    .props = ioapic_props,
    .state = ioapic_state,
    .state_version = 1,
    .realize = ioapic_realize,
    .unrealize = ioapic_unrealize,
    .refresh = ioapic_refresh,
    .info = ioapic_info,
    .internal = true,
};
