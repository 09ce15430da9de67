/* SPDX-License-Identifier: GPL-2.0-or-later
 * A set of vCPUs and how it is written: "3", "0-1", "0-1:3", "all". -accel has commas between its
 * options, so a list has colons, as lists of engines have ("kvm:jit"); a comma is understood, too,
 * where it gets here (",," on the command line).
 */
#ifndef ACCEL_VCPU_SET_H
#define ACCEL_VCPU_SET_H

#include "util/error.h"

typedef struct VcpuSet {
    uint64_t word[4];
} VcpuSet;

static inline bool vcpu_set_has(const VcpuSet *s, unsigned i)
{
    return s->word[i / 64] >> (i % 64) & 1;
}
static inline void vcpu_set_add(VcpuSet *s, unsigned i)
{
    s->word[i / 64] |= 1ull << (i % 64);
}
static inline bool vcpu_set_empty(const VcpuSet *s)
{
    return !(s->word[0] | s->word[1] | s->word[2] | s->word[3]);
}

/* nr: how many vCPUs the machine has. */
bool vcpu_set_parse(VcpuSet *s, const char *text, unsigned nr, Error **errp) MUST_USE;
/* The same in words, a new string. */
char *vcpu_set_text(const VcpuSet *s);

#endif
