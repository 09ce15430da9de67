/* SPDX-License-Identifier: GPL-2.0-or-later
 * ACPI tables of a pc, in the fw_cfg files firmware's table loader takes: etc/acpi/rsdp,
 * etc/acpi/tables, etc/table-loader.
 */
#ifndef HW_PC_ACPI_BUILD_H
#define HW_PC_ACPI_BUILD_H

struct PcMachine;

void acpi_build(struct PcMachine *pc);

#endif
