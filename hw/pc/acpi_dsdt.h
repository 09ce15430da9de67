/* SPDX-License-Identifier: GPL-2.0-or-later
 * The DSDT's definition block, without its header.
 */
#ifndef HW_PC_ACPI_DSDT_H
#define HW_PC_ACPI_DSDT_H

#include "hw/pc/aml.h"

struct PcMachine;

void acpi_dsdt(Aml *a, const struct PcMachine *pc);

#endif
