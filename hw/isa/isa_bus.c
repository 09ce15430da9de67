/* SPDX-License-Identifier: GPL-2.0-or-later
 * The ISA bus: where its devices' ports, memory and interrupt lines meet the machine.
 */
#include <assert.h>

#include "hw/core/machine.h"
#include "hw/isa/isa.h"

enum { NR_PORTS = 0x10000, ISA_MEMORY_END = 16 << 20, NR_ISA_IRQS = 16 };

void isa_bus_init(IsaBus *bus, Device *parent, struct Machine *m)
{
    bus_init(&bus->bus, BUS_ISA, "isa.0", parent, m);
    bus->memory = &m->memory;
    bus->io = &m->io;
    bus->memory_root = &m->memory_root;
    bus->io_root = &m->io_root;
}

IsaBus *isa_bus(const Device *dev)
{
    return container_of(dev->bus, IsaBus, bus);
}

bool isa_map_ports(Device *dev, Region *r, uint32_t port, Error **errp)
{
    if (port >= NR_PORTS || r->size > NR_PORTS - port) {
        return error_set(errp, "%s: ports 0x%x-0x%llx do not fit below 0x10000", dev->type->name,
                         port, (unsigned long long)(port + r->size - 1));
    }
    region_add(isa_bus(dev)->io_root, port, r, 0);
    return true;
}

bool isa_connect_irq(Device *dev, Irq *irq, uint32_t isa_irq, Error **errp)
{
    if (isa_irq >= NR_ISA_IRQS) {
        return error_set(errp, "%s: irq=%u: the ISA bus has interrupts 0 to 15", dev->type->name,
                         isa_irq);
    }
    irq_connect(irq, isa_bus(dev)->irq[isa_irq]);
    return true;
}

void isa_map_memory(Device *dev, Region *r, uint32_t gpa)
{
    assert(gpa < ISA_MEMORY_END);
    region_add(isa_bus(dev)->memory_root, gpa, r, 1);
}
