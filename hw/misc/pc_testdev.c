/* SPDX-License-Identifier: GPL-2.0-or-later
 * pc-testdev: the helper that the kvm-unit-tests expect of a PC (their x86 library documents it).
 *
 *   ports e0-e3      remember what is written, whatever the width of the access
 *   port  e4         takes a guest physical address whose page is to be forgotten by the host;
 *                    nothing is cached here that a guest could tell
 *   ports e8-eb      as e0-e3, bytes only, wider accesses are split by the bus
 *   ports 2000-2017  each drives the interrupt line of its number to bit 0 of what is written
 *   ff000000         64 KiB of memory that is a device: every access is an exit
 */
#include <string.h>

#include "hw/core/machine.h"
#include "hw/isa/isa.h"

enum { PORT_ECHO = 0xe0, PORT_FLUSH = 0xe4, PORT_ECHO_BYTES = 0xe8, PORT_IRQ = 0x2000,
       NR_LINES = 24, NR_ISA_LINES = 16, MEMORY_SIZE = 0x10000 };
#define MEMORY_BASE 0xff000000ull

typedef struct PcTestdev {
    Device dev;
    uint8_t echo[4]; /* state */
    uint32_t lines;
    uint8_t memory[MEMORY_SIZE];
    Region echo_io, bytes_io, flush_io, irq_io, mmio; /* wiring */
} PcTestdev;

static uint64_t get_le(const uint8_t *p, unsigned size)
{
    uint64_t val = 0;
    memcpy(&val, p, size);
    return val;
}

static uint64_t echo_read(void *opaque, uint64_t offset, unsigned size)
{
    PcTestdev *s = opaque;
    return get_le(&s->echo[offset], size);
}

static void echo_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    PcTestdev *s = opaque;
    memcpy(&s->echo[offset], &val, size);
}

static uint64_t flush_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return 0;
}

static void flush_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)val;
    (void)size;
}

static void drive(PcTestdev *s, unsigned n)
{
    irq_line_set(isa_bus(&s->dev)->irq[n], s->lines >> n & 1);
}

static uint64_t irq_read(void *opaque, uint64_t offset, unsigned size)
{
    PcTestdev *s = opaque;
    (void)size;
    return s->lines >> offset & 1;
}

static void irq_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    PcTestdev *s = opaque;
    (void)size;
    if (offset >= NR_ISA_LINES) {
        log_unimp("pc-testdev: interrupt line %u is not on the ISA bus", (unsigned)offset);
        return;
    }
    s->lines = (s->lines & ~(1u << offset)) | (val & 1) << offset;
    drive(s, offset);
}

static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
    PcTestdev *s = opaque;
    return get_le(&s->memory[offset], size);
}

static void memory_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    PcTestdev *s = opaque;
    memcpy(&s->memory[offset], &val, size);
}

static const RegionOps echo_ops = { echo_read, echo_write, .sizes = 1 | 2 | 4 };
static const RegionOps bytes_ops = { echo_read, echo_write, .sizes = 1 };
static const RegionOps flush_ops = { flush_read, flush_write, .sizes = 4 };
static const RegionOps irq_ops = { irq_read, irq_write, .sizes = 1 };
static const RegionOps memory_ops = { memory_read, memory_write, .sizes = 1 | 2 | 4 | 8 };

static bool pc_testdev_realize(Device *dev, Error **errp)
{
    PcTestdev *s = container_of(dev, PcTestdev, dev);
    region_init_io(&s->echo_io, dev, &echo_ops, s, 4);
    region_init_io(&s->flush_io, dev, &flush_ops, s, 4);
    region_init_io(&s->bytes_io, dev, &bytes_ops, s, 4);
    region_init_io(&s->irq_io, dev, &irq_ops, s, NR_LINES);
    region_init_io(&s->mmio, dev, &memory_ops, s, MEMORY_SIZE);
    region_add(&dev->machine->memory_root, MEMORY_BASE, &s->mmio, 1);
    return isa_map_ports(dev, &s->echo_io, PORT_ECHO, errp) &&
           isa_map_ports(dev, &s->flush_io, PORT_FLUSH, errp) &&
           isa_map_ports(dev, &s->bytes_io, PORT_ECHO_BYTES, errp) &&
           isa_map_ports(dev, &s->irq_io, PORT_IRQ, errp);
}

static void pc_testdev_refresh(Device *dev)
{
    PcTestdev *s = container_of(dev, PcTestdev, dev);
    for (unsigned n = 0; n < NR_ISA_LINES; n++) {
        if (s->lines >> n & 1) { /* the others belong to real devices */
            drive(s, n);
        }
    }
}

static const StateField pc_testdev_state[] = {
    STATE_U8S(PcTestdev, echo),
    STATE_U32(PcTestdev, lines, .mask = 0xffff),
    STATE_U8S(PcTestdev, memory),
    STATE_END,
};

DEVICE_TYPE(pc_testdev) = {
    DEVICE_INFO("pc-testdev", BUS_ISA, PcTestdev, "Helper device of the kvm-unit-tests"),
    .state = pc_testdev_state,
    .state_version = 1,
    .realize = pc_testdev_realize,
    .refresh = pc_testdev_refresh,
};
