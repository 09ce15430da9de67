/* SPDX-License-Identifier: GPL-2.0-or-later
 * Options that people know from QEMU and that Vireo does not have yet.
 */
#ifndef VM_UNBUILT_OPTIONS_H
#define VM_UNBUILT_OPTIONS_H

/* Why not and what to do instead; NULL if the word is no such option. */
const char *unbuilt_option(const char *name);

#endif
