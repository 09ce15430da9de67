/* SPDX-License-Identifier: GPL-2.0-or-later
 * Addresses that several ACPI tables of a pc name. SeaBIOS puts the PIIX4's power management
 * registers at 0x600.
 */
#ifndef HW_PC_ACPI_TABLES_H
#define HW_PC_ACPI_TABLES_H

enum {
    ACPI_PM_BASE = 0x600, ACPI_PM_LEN = 0x40, ACPI_PM1_EVENT = ACPI_PM_BASE,
    ACPI_PM1_CONTROL = ACPI_PM_BASE + 4, ACPI_PM_TIMER = ACPI_PM_BASE + 8,
    SMI_COMMAND_PORT = 0xb2, RESET_PORT = 0xcf9, SCI_IRQ = 9,
};
enum { LAPIC_BASE = 0xfee00000u, IOAPIC_BASE = 0xfec00000u, HPET_BASE = 0xfed00000u };

#endif
