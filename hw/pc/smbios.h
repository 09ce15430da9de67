/* SPDX-License-Identifier: GPL-2.0-or-later
 * SMBIOS 2.8 tables of a pc, in the fw_cfg files etc/smbios/smbios-anchor and
 * etc/smbios/smbios-tables.
 */
#ifndef HW_PC_SMBIOS_H
#define HW_PC_SMBIOS_H

struct PcMachine;

void smbios_build(struct PcMachine *pc);

#endif
