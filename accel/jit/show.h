/* SPDX-License-Identifier: GPL-2.0-or-later
 * The translator's work for people: -d in_asm, op and out_asm.
 */
#ifndef ACCEL_JIT_SHOW_H
#define ACCEL_JIT_SHOW_H

#include "accel/jit/translate.h"

/* What the log wants to have of a block just translated; rip: of its first instruction. */
void show_block(const Translator *t, uint64_t rip);
void show_host_code(const Tb *tb);
/* "O--A-C" */
const char *show_flags(char text[8], uint32_t flags);

#endif
