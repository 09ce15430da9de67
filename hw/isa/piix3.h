/* SPDX-License-Identifier: GPL-2.0-or-later
 * Intel 82371SB (PIIX3), function 0: the PCI-to-ISA bridge, PCI device "PIIX3". Provides the ISA
 * bus and routes the PCI interrupt lines.
 *
 * irq_out[0..15]: the ISA interrupts that PIRQ lines are routed to; the board merges them with
 * those of ISA devices.
 */
#ifndef HW_ISA_PIIX3_H
#define HW_ISA_PIIX3_H

#include "hw/isa/isa.h"
#include "hw/pci/pci.h"

DECLARE_DEVICE_TYPE(piix3);

enum { PIIX3_NR_PIRQ = 4, PIIX3_REG_PIRQRC = 0x60 };

IsaBus *piix3_isa_bus(Device *piix3); /* after realize */

#endif
