/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPUID (SDM 2A CPUID, APM 3 appendix E): features, names, caches, topology, XSAVE sizes.
 * What depends on the CPU's state now (OSXSAVE, APIC, MONITOR, XSAVE sizes, NX) is looked
 * up each time.
 */
#include <string.h>

#include "cpu/model.h"
#include "cpu/state.h"
#include "hw/core/machine.h"

/* The caches a guest is told of; nothing but software that tunes its blocks looks. */
typedef struct Cache {
    uint8_t level, type; /* 1 data, 2 code, 3 unified */
    bool package;        /* shared by the package, not just a core */
    uint32_t ways, sets;
} Cache;
enum { LINE = 64 };
static const Cache caches[] = {
    { 1, 1, false, 8, 64 },    /* 32 KiB */
    { 1, 2, false, 8, 64 },    /* 32 KiB */
    { 2, 3, false, 16, 1024 }, /* 1 MiB */
    { 3, 3, true, 16, 16384 }, /* 16 MiB */
};
static const char hypervisor_signature[] = "VireoVireoVi";
static const char kvm_signature[] = "KVMKVMKVM\0\0";
enum { HYPERVISOR_LEVEL = 0x40000010, APIC_BUS_KHZ = 1000000 };

static uint32_t cache_kib(const Cache *c)
{
    return c->ways * c->sets * LINE / 1024;
}

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;
    while ((1u << bits) < count) {
        bits++;
    }
    return bits;
}

void cpu_topology(const Machine *m, CpuTopology *out)
{
    *out = (CpuTopology) { .threads = 1, .cores = 1, .dies = 1 };
    if (m) {
        out->threads = MAX(m->config.threads, 1u);
        out->cores = MAX(m->config.cores, 1u);
        out->dies = MAX(m->config.dies, 1u);
    }
    out->thread_bits = bits_for(out->threads);
    out->core_bits = bits_for(out->cores);
    out->die_bits = bits_for(out->dies);
}

uint32_t cpu_topology_apic_id(const CpuTopology *t, unsigned index)
{
    unsigned thread = index % t->threads;
    unsigned core = index / t->threads % t->cores;
    unsigned die = index / t->threads / t->cores % t->dies;
    unsigned package = index / t->threads / t->cores / t->dies;
    uint32_t id = package << t->die_bits | die;
    id = id << t->core_bits | core;
    return id << t->thread_bits | thread;
}

static uint32_t signature(const CpuIdentity *id)
{
    uint32_t family = MIN(id->family, 15u), extended = id->family - family;
    return id->stepping | (id->model & 15) << 4 | family << 8 | (id->model >> 4) << 16 |
           extended << 20;
}

bool cpu_is_amd(const CpuState *cpu)
{
    return !strcmp(cpu->id.vendor, "AuthenticAMD");
}

static uint32_t word_at(const char *text)
{
    uint32_t w;
    memcpy(&w, text, 4);
    return w;
}

static void put_features(const CpuState *cpu, uint32_t leaf, uint32_t subleaf,
                         uint32_t out[4])
{
    for (int id = 1; id < NR_FEATURES; id++) {
        const FeatureRow *r = &feature_rows[id];
        if (r->leaf == leaf && r->subleaf == subleaf && feature_has(&cpu->features, id)) {
            out[r->reg] |= 1u << r->bit;
        }
    }
}

/* SDM: MISC_ENABLE bit 22 is for systems that choke on leaves above 2. */
static uint32_t max_level(const CpuState *cpu)
{
    return cpu->misc_enable >> 22 & 1 ? MIN(cpu->id.level, 2u) : cpu->id.level;
}

static void leaf_1(const CpuState *cpu, const CpuTopology *t, uint32_t out[4])
{
    unsigned logical = 1u << (t->thread_bits + t->core_bits + t->die_bits);
    out[CPUID_EAX] = signature(&cpu->id);
    out[CPUID_EBX] = (cpu->apic_id & 0xff) << 24 | LINE / 8 << 8;
    put_features(cpu, 1, 0, out);
    if (logical > 1) {
        out[CPUID_EBX] |= (logical & 0xff) << 16;
        out[CPUID_EDX] |= 1 << 28; /* HTT */
    }
    if (cpu->cr4 & CR4_OSXSAVE) {
        out[CPUID_ECX] |= 1 << 27;
    }
    if (!cpu->apic_ops || !(cpu->apic_ops->get_base(cpu->apic) >> 11 & 1)) {
        out[CPUID_EDX] &= ~(1u << 9);
    }
    if (!(cpu->misc_enable >> 18 & 1)) {
        out[CPUID_ECX] &= ~(1u << 3); /* MONITOR */
    }
}

/* Deterministic cache parameters: Intel's leaf 4 and AMD's 8000001D have the same form. */
static void leaf_cache(const CpuTopology *t, uint32_t subleaf, bool amd, uint32_t out[4])
{
    if (subleaf >= ARRAY_SIZE(caches)) {
        return;
    }
    const Cache *c = &caches[subleaf];
    unsigned core = t->thread_bits, package = core + t->core_bits + t->die_bits;
    unsigned sharing = 1u << (c->package ? package : core);
    out[CPUID_EAX] = c->type | (uint32_t)c->level << 5 | 1 << 8 | (sharing - 1) << 14;
    if (!amd) {
        out[CPUID_EAX] |= MIN((1u << (package - core)) - 1, 63u) << 26;
    }
    out[CPUID_EBX] = (LINE - 1) | (c->ways - 1) << 22;
    out[CPUID_ECX] = c->sets - 1;
}

/* Leaf 0Bh knows threads and cores; 1Fh also dies. */
static void leaf_topology(const CpuState *cpu, const CpuTopology *t, uint32_t subleaf,
                          bool with_dies, uint32_t out[4])
{
    unsigned core_shift = t->thread_bits + t->core_bits, package = core_shift + t->die_bits;
    unsigned per_die = t->threads * t->cores;
    struct {
        unsigned shift, count, type;
    } levels[] = {
        { t->thread_bits, t->threads, 1 },
        { with_dies ? core_shift : package, with_dies ? per_die : per_die * t->dies, 2 },
        { package, per_die * t->dies, 5 },
    };
    unsigned nr = with_dies ? 3 : 2;
    out[CPUID_ECX] = subleaf & 0xff;
    out[CPUID_EDX] = cpu->apic_id;
    if (subleaf < nr) {
        out[CPUID_EAX] = levels[subleaf].shift;
        out[CPUID_EBX] = levels[subleaf].count;
        out[CPUID_ECX] |= levels[subleaf].type << 8;
    }
}

/* State components beyond x87 and SSE, and the feature each belongs to. Where the area has them is
 * the host's choice: it is the host that saves them. The software engines have the first only, where
 * all processors have it. */
typedef struct Component {
    uint8_t nr;
    uint16_t feature;
} Component;
static const Component components[] = {
    { 2, FEATURE_AVX }, { 5, FEATURE_AVX512F }, { 6, FEATURE_AVX512F }, { 7, FEATURE_AVX512F },
    { 9, FEATURE_PKU },
};
enum { LEGACY_AND_HEADER = 512 + 64, YMM_SIZE = 256 };

/* Size and offset in the area; false: the CPU does not have it. */
static bool xsave_component(const CpuState *cpu, const Component *c, uint32_t *size,
                            uint32_t *offset)
{
    *size = YMM_SIZE;
    *offset = LEGACY_AND_HEADER;
    if (c->nr != 2) {
        uint32_t host[4];
        host_cpuid(0xd, c->nr, host);
        *size = host[CPUID_EAX];
        *offset = host[CPUID_EBX];
    }
    return feature_has(&cpu->features, c->feature) && *size;
}

static void leaf_xsave(const CpuState *cpu, uint32_t subleaf, uint32_t out[4])
{
    if (!feature_has(&cpu->features, FEATURE_XSAVE)) {
        return;
    }
    uint32_t all = 3, size, offset;
    uint32_t now = LEGACY_AND_HEADER, compact = LEGACY_AND_HEADER, most = LEGACY_AND_HEADER;
    for (size_t i = 0; i < ARRAY_SIZE(components); i++) {
        const Component *c = &components[i];
        if (!xsave_component(cpu, c, &size, &offset)) {
            continue;
        }
        all |= 1u << c->nr;
        most = MAX(most, offset + size);
        if (cpu->xcr0 >> c->nr & 1) {
            now = MAX(now, offset + size);
            compact += size;
        }
        if (subleaf == c->nr) {
            out[CPUID_EAX] = size;
            out[CPUID_EBX] = offset;
        }
    }
    if (subleaf == 0) {
        out[CPUID_EAX] = all;
        out[CPUID_EBX] = now;
        out[CPUID_ECX] = most;
    } else if (subleaf == 1) {
        put_features(cpu, 0xd, 1, out);
        if (out[CPUID_EAX] & 0xa) { /* XSAVEC or XSAVES: compacted */
            out[CPUID_EBX] = compact;
        }
    }
}

/* TSC = crystal * EBX / EAX. The crystal feeds the LAPIC timer too, so guests take its rate
 * from here; numbers are cancelled, since Linux multiplies in 32 bits. */
static void leaf_tsc(const CpuState *cpu, uint32_t out[4])
{
    uint32_t a = cpu->tsc_khz, b = APIC_BUS_KHZ;
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    uint32_t numerator = cpu->tsc_khz / a;
    if ((uint64_t)numerator * APIC_BUS_KHZ <= UINT32_MAX) {
        out[CPUID_EAX] = APIC_BUS_KHZ / a;
        out[CPUID_EBX] = numerator;
        out[CPUID_ECX] = APIC_BUS_KHZ * 1000u;
    }
}

static void basic_leaf(const CpuState *cpu, uint32_t leaf, uint32_t subleaf,
                       uint32_t out[4])
{
    CpuTopology t;
    cpu_topology(cpu->machine, &t);
    switch (leaf) {
    case 0:
        out[CPUID_EAX] = max_level(cpu);
        out[CPUID_EBX] = word_at(cpu->id.vendor);
        out[CPUID_EDX] = word_at(cpu->id.vendor + 4);
        out[CPUID_ECX] = word_at(cpu->id.vendor + 8);
        break;
    case 1: leaf_1(cpu, &t, out); break;
    case 2:
        if (!cpu_is_amd(cpu)) {
            /* FFh: see leaf 4; for those without one: 32K code, 32K data, 1M, 64-byte
             * prefetch */
            out[CPUID_EAX] = cpu->id.level >= 4 ? 0x00feff01 : 0x01;
            out[CPUID_EBX] = cpu->id.level >= 4 ? 0xf0 : 0;
            out[CPUID_EDX] = cpu->id.level >= 4 ? 0 : 0x7c2c30;
        }
        break;
    case 4:
        if (!cpu_is_amd(cpu)) {
            leaf_cache(&t, subleaf, false, out);
        }
        break;
    case 5:
        if (feature_has(&cpu->features, FEATURE_MONITOR)) {
            out[CPUID_EAX] = out[CPUID_EBX] = LINE;
            out[CPUID_ECX] = 3; /* enumerated; an interrupt ends MWAIT even with IF = 0 */
        }
        break;
    case 6: out[CPUID_EAX] = 1 << 2; break; /* ARAT: the LAPIC timer never stops */
    case 7:
        if (subleaf == 0) {
            out[CPUID_EAX] = 2;
        }
        put_features(cpu, 7, subleaf, out);
        break;
    case 0xb: leaf_topology(cpu, &t, subleaf, false, out); break;
    case 0xd: leaf_xsave(cpu, subleaf, out); break;
    case 0x15: leaf_tsc(cpu, out); break;
    case 0x16:
        out[CPUID_EAX] = out[CPUID_EBX] = cpu->tsc_khz / 1000;
        out[CPUID_ECX] = 100;
        break;
    case 0x1f: leaf_topology(cpu, &t, subleaf, true, out); break;
    default:
        break; /* 3 serial number, 9 DCA, 0Ah counters, 0Fh.. : there is nothing to say */
    }
}

static void hypervisor_leaf(const CpuState *cpu, uint32_t leaf, uint32_t out[4])
{
    if (leaf == 0x40000000) {
        bool kvm = feature_has(&cpu->features, FEATURE_KVM);
        const char *signature = kvm ? kvm_signature : hypervisor_signature;
        out[CPUID_EAX] = HYPERVISOR_LEVEL;
        out[CPUID_EBX] = word_at(signature);
        out[CPUID_ECX] = word_at(signature + 4);
        out[CPUID_EDX] = word_at(signature + 8);
    } else if (leaf == 0x40000001) { /* all zero unless it is KVM's */
        put_features(cpu, leaf, 0, out);
    } else if (leaf == HYPERVISOR_LEVEL) { /* clock rates, where VMware began to put them */
        out[CPUID_EAX] = cpu->tsc_khz;
        out[CPUID_EBX] = APIC_BUS_KHZ;
    }
}

static void extended_1(const CpuState *cpu, uint32_t out[4])
{
    put_features(cpu, 0x80000001, 0, out);
    if (cpu_is_amd(cpu)) {
        uint32_t leaf1[4] = { 0 };
        put_features(cpu, 1, 0, leaf1);
        out[CPUID_EAX] = signature(&cpu->id);
        out[CPUID_EDX] |= leaf1[CPUID_EDX] & 0x0183f3ff;
    }
    if (cpu->misc_enable >> 34 & 1) {
        out[CPUID_EDX] &= ~(1u << 20); /* XD disabled */
    }
}

static void extended_caches(const CpuState *cpu, uint32_t leaf, uint32_t out[4])
{
    uint32_t l2 = cache_kib(&caches[2]) << 16 | 8 << 12 /* 16 ways */ | 1 << 8 | LINE;
    if (leaf == 0x80000006) {
        out[CPUID_ECX] = l2;
        if (cpu_is_amd(cpu)) {
            out[CPUID_EDX] = cache_kib(&caches[3]) / 512 << 18 | 8 << 12 | 1 << 8 | LINE;
        }
    } else if (cpu_is_amd(cpu)) {
        out[CPUID_ECX] = cache_kib(&caches[0]) << 24 | caches[0].ways << 16 | 1 << 8 | LINE;
        out[CPUID_EDX] = cache_kib(&caches[1]) << 24 | caches[1].ways << 16 | 1 << 8 | LINE;
    }
}

static void extended_8(const CpuState *cpu, const CpuTopology *t, uint32_t out[4])
{
    bool lm = feature_has(&cpu->features, FEATURE_LM);
    out[CPUID_EAX] = cpu->phys_bits | (lm ? 48 : 32) << 8;
    put_features(cpu, 0x80000008, 0, out);
    if (cpu_is_amd(cpu)) {
        unsigned bits = t->thread_bits + t->core_bits + t->die_bits;
        out[CPUID_ECX] = bits << 12 | (t->threads * t->cores * t->dies - 1);
    }
}

static void extended_leaf(const CpuState *cpu, uint32_t leaf, uint32_t subleaf,
                          uint32_t out[4])
{
    CpuTopology t;
    cpu_topology(cpu->machine, &t);
    bool topoext = feature_has(&cpu->features, FEATURE_TOPOEXT);
    switch (leaf) {
    case 0x80000000:
        out[CPUID_EAX] = cpu->id.xlevel;
        if (cpu_is_amd(cpu)) {
            out[CPUID_EBX] = word_at(cpu->id.vendor);
            out[CPUID_EDX] = word_at(cpu->id.vendor + 4);
            out[CPUID_ECX] = word_at(cpu->id.vendor + 8);
        }
        break;
    case 0x80000001: extended_1(cpu, out); break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: memcpy(out, cpu->id.brand + (leaf - 0x80000002) * 16, 16); break;
    case 0x80000005:
    case 0x80000006: extended_caches(cpu, leaf, out); break;
    case 0x80000007: put_features(cpu, leaf, 0, out); break;
    case 0x80000008: extended_8(cpu, &t, out); break;
    case 0x8000001d:
        if (topoext) {
            leaf_cache(&t, subleaf, true, out);
        }
        break;
    case 0x8000001e:
        if (topoext) {
            out[CPUID_EAX] = cpu->apic_id;
            out[CPUID_EBX] = cpu->apic_id >> t.thread_bits | (t.threads - 1) << 8;
        }
        break;
    default: break;
    }
}

void cpu_cpuid(const CpuState *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    memset(out, 0, 4 * sizeof(out[0]));
    uint32_t range = leaf & 0xf0000000;
    if (range == 0x40000000 && feature_has(&cpu->features, FEATURE_HYPERVISOR)) {
        hypervisor_leaf(cpu, leaf, out);
        return;
    }
    if (range == 0x80000000 && leaf <= cpu->id.xlevel) {
        extended_leaf(cpu, leaf, subleaf, out);
        return;
    }
    uint32_t level = max_level(cpu);
    if (leaf > level) {
        if (cpu_is_amd(cpu)) {
            return;
        }
        leaf = level; /* Intel parts answer with their last basic leaf */
    }
    basic_leaf(cpu, leaf, subleaf, out);
}
