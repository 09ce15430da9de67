/* SPDX-License-Identifier: GPL-2.0-or-later
 * I/O APIC 82093AA, device "ioapic": 24 pins, register window at property "address"
 * (0xfec00000). The board creates it after apic_create_all, as a child named "ioapic".
 *
 * dev->irq_in[0..23] are numbered by GSI as the ISA sees them: input 0 (the timer) arrives at pin
 * 2, the override every PC's ACPI tables describe; all others at the pin of their number. A board
 * drives input n whenever GSI n changes and knows nothing of the swap.
 */
#ifndef HW_INTC_IOAPIC_H
#define HW_INTC_IOAPIC_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(ioapic);

enum { IOAPIC_NR_PINS = 24, IOAPIC_DEFAULT_BASE = 0xfec00000 };

#endif
