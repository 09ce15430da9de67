/* SPDX-License-Identifier: GPL-2.0-or-later
 * The ISA bus: 16-bit ports, memory below 16 MiB, 16 interrupt lines, 8 DMA channels. One per
 * machine, made by its south bridge.
 */
#ifndef HW_ISA_ISA_H
#define HW_ISA_ISA_H

#include "hw/core/device.h"

/* The 8237 pair as its users see it (hw/isa/i8237.c). Channel 0-3: byte, 5-7: word transfers. */
typedef struct IsaDma IsaDma;
/* Called while the channel is unmasked and DREQ is asserted: the device moves data with
 * isa_dma_read/write at positions pos..len-1 bytes and returns the new position. */
typedef unsigned IsaDmaFn(void *opaque, unsigned channel, unsigned pos, unsigned len);

typedef struct IsaBus {
    Bus bus;
    AddressSpace *memory, *io;
    Region *memory_root, *io_root;
    IrqLine *irq[16]; /* set by the board: GSI n's ISA face (PIC and IOAPIC behind it) */
    IsaDma *dma;      /* NULL if the machine has none */
} IsaBus;

/* For the south bridge: bus "isa.0" over the machine's own address spaces. */
void isa_bus_init(IsaBus *bus, Device *parent, struct Machine *m);
IsaBus *isa_bus(const Device *dev); /* the bus dev is plugged into */
/* Maps r at a port; false with *errp if it does not fit below 64 Ki. */
bool isa_map_ports(Device *dev, Region *r, uint32_t port, Error **errp) MUST_USE;
bool isa_connect_irq(Device *dev, Irq *irq, uint32_t isa_irq, Error **errp) MUST_USE;
void isa_map_memory(Device *dev, Region *r, uint32_t gpa);

bool isa_dma_attach(Device *dev, unsigned channel, IsaDmaFn *fn, void *opaque, Error **errp)
    MUST_USE;
/* Each call with level true also makes the controller look again: a device whose function moved
 * nothing must call it when it has something to move. */
void isa_dma_set_dreq(IsaDma *dma, unsigned channel, bool level);
/* Bytes at position pos of the channel's current block, in its direction; returns len. */
unsigned isa_dma_read(IsaDma *dma, unsigned channel, void *buf, unsigned pos, unsigned len);
unsigned isa_dma_write(IsaDma *dma, unsigned channel, const void *buf, unsigned pos, unsigned len);

#endif
