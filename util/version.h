/* SPDX-License-Identifier: GPL-2.0-or-later
 * What this program calls itself: -version, the monitor's banner, info version.
 */
#ifndef UTIL_VERSION_H
#define UTIL_VERSION_H

#define VIREO_VERSION "0.1.0"

#endif
