/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPUID on KVM: the kernel answers the instruction from a table (KVM_SET_CPUID2), made here of what
 * cpu_cpuid says for every leaf and subleaf there is.
 */
#include <stdlib.h>
#include <string.h>

#include "accel/kvm/kvm.h"

enum { MAX_ENTRIES = 256 };

typedef struct Table {
    struct kvm_cpuid2 *c;
    const CpuState *cpu;
} Table;

static void add(Table *t, uint32_t leaf, uint32_t subleaf, bool indexed)
{
    uint32_t out[4];
    if (t->c->nent == MAX_ENTRIES) {
        return; /* no model comes near */
    }
    cpu_cpuid(t->cpu, leaf, subleaf, out);
    t->c->entries[t->c->nent++] = (struct kvm_cpuid_entry2) {
        .function = leaf,
        .index = subleaf,
        .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
        .eax = out[CPUID_EAX],
        .ebx = out[CPUID_EBX],
        .ecx = out[CPUID_ECX],
        .edx = out[CPUID_EDX],
    };
}

/* How many subleaves a leaf has; 0: ECX plays no part. */
static unsigned nr_subleaves(uint32_t leaf)
{
    switch (leaf) {
    case 4:
    case 0x8000001d: return 5;
    case 7: return 3;
    case 0xb: return 3;
    case 0xd: return 3;
    case 0x1f: return 4;
    default: return 0;
    }
}

static void add_range(Table *t, uint32_t first, uint32_t last)
{
    for (uint32_t leaf = first; leaf <= last; leaf++) {
        unsigned n = nr_subleaves(leaf);
        for (unsigned i = 0; i < MAX(n, 1u); i++) {
            add(t, leaf, i, n != 0);
        }
    }
}

bool kvm_set_cpuid(KvmVcpu *k, Error **errp)
{
    const CpuState *cpu = &k->v->cpu;
    uint32_t out[4];
    Table t = { .cpu = cpu };
    t.c = calloc(1, sizeof(*t.c) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    if (!t.c) {
        return error_set(errp, "no memory for CPUID's table");
    }
    add_range(&t, 0, cpu->id.level);
    cpu_cpuid(cpu, 0x40000000, 0, out);
    if (out[CPUID_EAX]) {
        add_range(&t, 0x40000000, out[CPUID_EAX]);
    }
    if (cpu->id.xlevel) {
        add_range(&t, 0x80000000, cpu->id.xlevel);
    }
    int r = kvm_ioctl(k->fd, KVM_SET_CPUID2, t.c);
    free(t.c);
    return r >= 0 ||
           error_set_errno(errp, -r, "KVM does not take vCPU %u's CPUID", cpu->index);
}
