/* SPDX-License-Identifier: GPL-2.0-or-later
 * Devices and properties that people know from QEMU and that Vireo does not have yet.
 */
#ifndef HW_CORE_UNBUILT_H
#define HW_CORE_UNBUILT_H

/* Why there is none, as the end of a sentence; NULL: nobody knows it. */
const char *unbuilt_device(const char *name);
const char *unbuilt_property(const char *device, const char *property);

#endif
