/* SPDX-License-Identifier: GPL-2.0-or-later
 * Power management function of the 82371AB (PIIX4), PCI device "PIIX4_PM", at 00:01.3 of a pc.
 * It claims ports 0xb2/0xb3 (APM) and the GPE block at 0xafe0; firmware places PM I/O and SMBus.
 *
 * irq_out[0] is SCI: the board connects it to GSI 9. Its realize sets machine->powerdown.
 */
#ifndef HW_ACPI_PIIX4_PM_H
#define HW_ACPI_PIIX4_PM_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(piix4_pm);

enum { PIIX4_GPE_BASE = 0xafe0, PIIX4_ACPI_ENABLE = 0xf1, PIIX4_ACPI_DISABLE = 0xf0 };

/* Sets a bit of GPE0_STS (hotplug and the like); SCI follows if GPE0_EN has it. */
void piix4_pm_gpe(Device *dev, unsigned bit);

#endif
