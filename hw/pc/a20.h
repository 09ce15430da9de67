/* SPDX-License-Identifier: GPL-2.0-or-later
 * The A20 gate of a PC: address line 20 is forced low unless some source enables it. A matter of
 * the memory map, so the board implements it (hw/pc/). vm_lock held.
 */
#ifndef HW_PC_A20_H
#define HW_PC_A20_H

#include <stdbool.h>

struct Machine;

enum { A20_KEYBOARD, A20_PORT92, NR_A20_SOURCES };

/* A source drives its gate; A20 passes while any of them is on. Called from refresh too. */
void pc_set_a20(struct Machine *m, unsigned source, bool on);

#endif
