/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between region.c, ioeventfd.c and flat_view.c: the tree has changed. vm_lock held.
 */
#ifndef MEMORY_FLAT_VIEW_H
#define MEMORY_FLAT_VIEW_H

#include <stdbool.h>

/* Renders every address space again; those that came out different get a new view and their
 * listeners are told. properties: they are told of those in any case. */
void flat_views_update(bool properties);
void region_properties_changed(void);

#endif
