/* SPDX-License-Identifier: GPL-2.0-or-later
 * Properties at a device's birth and death, for device.c only.
 */
#ifndef HW_CORE_PROPERTY_IMPL_H
#define HW_CORE_PROPERTY_IMPL_H

struct Device;
void properties_init(struct Device *dev); /* all defaults, the parents' types' first */
void properties_fini(struct Device *dev); /* frees the strings */

#endif
