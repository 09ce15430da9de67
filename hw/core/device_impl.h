/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the files of hw/core share and nobody else needs.
 */
#ifndef HW_CORE_DEVICE_IMPL_H
#define HW_CORE_DEVICE_IMPL_H

#include "hw/core/device.h"

/* The two passes of a reset, for one device, its parents' types first. */
void device_reset(Device *dev);
void device_refresh(Device *dev);

bool device_type_is_for_users(const DeviceType *t);
/* "there is no device ..., did you mean ...?"; returns false. */
bool device_unknown_type(const char *name, Error **errp);

#endif
