/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between irqchip.c and irqfd.c. vm_lock held.
 */
#ifndef HW_CORE_IRQFD_H
#define HW_CORE_IRQFD_H

struct Machine;

void irqfds_leave(struct Machine *m);    /* nobody listens until irqfds_move */
void irqfds_move(struct Machine *m);     /* to who works now: the stand-in, or the main loop */
void irqfds_resample(struct Machine *m); /* a level-triggered interrupt was ended */

#endif
