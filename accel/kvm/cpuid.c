/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPUID on KVM: the kernel answers the instruction from a table (KVM_SET_CPUID2), made here of what
 * cpu_cpuid says for every leaf and subleaf there is. What a model can have is settled before
 * (CpuFeatureSource), from KVM_GET_SUPPORTED_CPUID: bits that Vireo has no name for are not shown, nor
 * are leaves that describe a part it does not keep (performance counters, processor trace, SGX).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/kvm/kvm.h"
#include "util/alloc.h"

enum { MAX_ENTRIES = 256 };

/* ---- what the host can show ---- */

/* Out of the kernel's table; zeros for what it does not know. */
static void supported(const struct kvm_cpuid2 *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    memset(out, 0, 4 * sizeof(out[0]));
    for (uint32_t i = 0; i < c->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[i];
        bool indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        if (e->function == leaf && (!indexed || e->index == subleaf)) {
            out[CPUID_EAX] = e->eax;
            out[CPUID_EBX] = e->ebx;
            out[CPUID_ECX] = e->ecx;
            out[CPUID_EDX] = e->edx;
            return;
        }
    }
}

/* State that only nested VMs, AMX or CET have: their registers are not saved and restored. */
static const uint16_t never[] = {
    FEATURE_AMX_TILE, FEATURE_AMX_INT8, FEATURE_AMX_BF16, FEATURE_AMX_FP16, FEATURE_AMX_COMPLEX,
    FEATURE_XFD,      FEATURE_MPX,      FEATURE_SGX,      FEATURE_SGXLC,    FEATURE_INTEL_PT,
    FEATURE_PDCM,     FEATURE_ARCH_LBR, FEATURE_DS,       FEATURE_PERFCTR_CORE,
    FEATURE_MONITOR,  FEATURE_SMX,
};
/* These say how vCPUs are wired, which is ours to decide. */
static const uint16_t always[] = {
    FEATURE_HT, FEATURE_CMP_LEGACY, FEATURE_TOPOEXT, FEATURE_HYPERVISOR,
};
/* A local APIC in the kernel does them. */
static const uint16_t of_kernel_apic[] = {
    FEATURE_X2APIC,  FEATURE_TSC_DEADLINE,  FEATURE_KVM_ASYNCPF, FEATURE_KVM_ASYNCPF_INT,
    FEATURE_KVM_PV_EOI, FEATURE_KVM_PV_UNHALT, FEATURE_KVM_PV_IPI,
};

static void set_all(CpuFeatures *f, const uint16_t *list, size_t nr, bool on)
{
    for (size_t i = 0; i < nr; i++) {
        feature_set(f, list[i], on);
    }
}

static void find_features(const KvmVm *vm, const struct kvm_cpuid2 *c, bool kernel_apic,
                          CpuFeatures *can)
{
    uint32_t out[4];
    for (int id = 1; id < NR_FEATURES; id++) {
        const FeatureRow *r = &feature_rows[id];
        supported(c, r->leaf, r->subleaf, out);
        feature_set(can, id, out[r->reg] >> r->bit & 1);
    }
    set_all(can, always, ARRAY_SIZE(always), true);
    set_all(can, never, ARRAY_SIZE(never), false);
    feature_set(can, FEATURE_KVM, true);
    feature_set(can, FEATURE_KVM_HINT_DEDICATED, true); /* the user's promise, not the host's */
    if (kvm_cap(vm, KVM_CAP_TSC_DEADLINE_TIMER)) {
        feature_set(can, FEATURE_TSC_DEADLINE, true);
    }
    if (!kernel_apic) {
        set_all(can, of_kernel_apic, ARRAY_SIZE(of_kernel_apic), false);
    }
    if (!kvm_cap(vm, KVM_CAP_NESTED_STATE)) { /* or a snapshot would lose the inner guest */
        feature_set(can, FEATURE_VMX, false);
        feature_set(can, FEATURE_SVM, false);
    }
}

static struct kvm_cpuid2 *supported_table(const KvmVm *vm)
{
    struct kvm_cpuid2 *c = xcalloc(1, sizeof(*c) + MAX_ENTRIES * sizeof(c->entries[0]));
    c->nent = MAX_ENTRIES;
    if (kvm_ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0) {
        c->nent = 0;
    }
    return c;
}

CpuFeatureSource *kvm_features_new(const KvmVm *vm, bool mixed)
{
    CpuFeatureSource *s = xcalloc(1, sizeof(*s));
    struct kvm_cpuid2 *c = supported_table(vm);
    uint32_t out[4];
    s->who = "this host's KVM";
    find_features(vm, c, vm->wanted != KVM_IRQCHIP_OFF && !mixed, &s->can);
    features_add_paravirtual(&s->added);
    if (feature_has(&s->can, FEATURE_X2APIC)) {
        feature_set(&s->added, FEATURE_X2APIC, true); /* saves an exit an IPI */
    }
    host_cpuid(0x80000008, 0, out);
    s->phys_bits = out[CPUID_EAX] & 0xff;
    host_vendor(s->vendor);
    free(c);
    return s;
}

/* The -cpu to start with: what the user said, without what is missing. Names what is in the way, too. */
static bool refuse_to_show(const KvmVm *vm, const CpuState *cpu, const char *missing, Error **errp)
{
    const char *spec = vm->machine->config.cpu_model;
    char *words = xstrdup(spec ? spec : cpu_model_name(cpu->model));
    for (const char *p = missing; *p;) {
        size_t len = strcspn(p, ",");
        char *more = xasprintf("%s,-%.*s", words, (int)len, p);
        free(words);
        words = more;
        p += len + strspn(p + len, ", ");
    }
    uint32_t khz = kvm_tsc_misfit(vm, cpu);
    if (khz) {
        char *more = xasprintf("%s,tsc-frequency=%u000", words, khz);
        free(words);
        words = more;
    }
    error_set(errp,
              "the guest was shown what this host's KVM lacks; start with -accel kvm, from which it "
              "can move and come back, or with -cpu %s",
              words);
    free(words);
    return false;
}

bool kvm_can_show(const KvmVm *vm, const CpuState *cpu, Error **errp)
{
    char names[2048];
    CpuFeatureSource *s = kvm_features_new(vm, false);
    unsigned nr = features_missing(&cpu->features, &s->can, names, sizeof(names));
    free(s);
    return !nr || refuse_to_show(vm, cpu, names, errp);
}

/* ---- what the vCPU shows ---- */

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
    if (!indexed && !(out[CPUID_EAX] | out[CPUID_EBX] | out[CPUID_ECX] | out[CPUID_EDX])) {
        return; /* the kernel answers zeros for what is missing, too */
    }
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
    case 0xd: return 10;
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

/* Paravirtual MSRs and hypercalls only for those who were told of them: kvm=off hides all. */
static void enforce_paravirtual(KvmVcpu *k)
{
    struct kvm_enable_cap cap = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = { 1 } };
    if (kvm_cap(k->vm, KVM_CAP_ENFORCE_PV_FEATURE_CPUID) > 0) {
        kvm_ioctl(k->fd, KVM_ENABLE_CAP, &cap);
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
    enforce_paravirtual(k);
    int r = kvm_ioctl(k->fd, KVM_SET_CPUID2, t.c);
    free(t.c);
    return r >= 0 ||
           error_set_errno(errp, -r, "KVM does not take vCPU %u's CPUID", cpu->index);
}
