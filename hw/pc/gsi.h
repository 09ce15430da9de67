/* SPDX-License-Identifier: GPL-2.0-or-later
 * Global system interrupts of a PC: every source that may drive GSI n, and where n arrives.
 * GSIs 0-15 go to the 8259 pair and to the I/O APIC, 16-23 to the I/O APIC alone. What stands in for
 * these gets all of them (our controllers note the levels).
 */
#ifndef HW_PC_GSI_H
#define HW_PC_GSI_H

#include "hw/core/device.h"

enum { NR_GSI = 24, NR_ISA_GSI = 16 };
/* Sources that may share a GSI; its level is their OR. */
typedef enum GsiSource { GSI_ISA, GSI_PIRQ, GSI_SCI, GSI_HPET, NR_GSI_SOURCES } GsiSource;

typedef struct Gsi {
    IrqLine in[NR_GSI_SOURCES][NR_GSI];
    Device *pic, *ioapic; /* NULL: none */
} Gsi;

void gsi_init(Gsi *gsi);
IrqLine *gsi_input(Gsi *gsi, GsiSource source, unsigned n);

#endif
