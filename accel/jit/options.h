/* SPDX-License-Identifier: GPL-2.0-or-later
 * The options of -accel jit.
 */
#ifndef ACCEL_JIT_OPTIONS_H
#define ACCEL_JIT_OPTIONS_H

#include "accel/jit/jit.h"
#include "util/dict.h"

/* For Engine.options. */
extern const char *const jit_options[];

/* c holds the defaults; on false the error names the option, not yet the engine. */
bool jit_read_options(const Dict *opts, JitConfig *c, Error **errp) MUST_USE;

#endif
