/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPU models and features: what CPUID says (SDM 2A CPUID, APM 3 appendix E), and -cpu.
 */
#ifndef CPU_MODEL_H
#define CPU_MODEL_H

#include "util/error.h"

/* Every feature bit Vireo knows: id, name on the command line, leaf, subleaf, register, bit. */
typedef enum CpuFeature {
    FEATURE_NONE,
#define FEATURE(id, name, leaf, subleaf, reg, bit) FEATURE_##id,
#include "cpu/features.inc"
#undef FEATURE
    NR_FEATURES
} CpuFeature;
enum { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX }; /* order of cpu_cpuid's out[] */

typedef struct CpuFeatures {
    uint64_t bits[(NR_FEATURES + 63) / 64];
} CpuFeatures;

static inline bool feature_has(const CpuFeatures *f, CpuFeature id)
{
    return id == FEATURE_NONE || (f->bits[id / 64] >> (id % 64) & 1);
}
static inline void feature_set(CpuFeatures *f, CpuFeature id, bool on)
{
    uint64_t bit = 1ull << (id % 64);
    f->bits[id / 64] = on ? f->bits[id / 64] | bit : f->bits[id / 64] & ~bit;
}

/* Where CPUID shows a feature, by CpuFeature. */
typedef struct FeatureRow {
    const char *name;
    uint32_t leaf;
    uint8_t subleaf, reg, bit;
} FeatureRow;
extern const FeatureRow feature_rows[NR_FEATURES];
/* What a machine's CPUs can be shown, where its engine is not a software one: made by the engine
 * before the CPUs. */
typedef struct CpuFeatureSource {
    const char *who;      /* in messages: "this host's KVM" */
    CpuFeatures can;      /* of these a model's features are shown */
    CpuFeatures added;    /* every model has these, too, unless they are switched off by name */
    uint32_t phys_bits;   /* no model has more */
    char vendor[13];      /* all models are of this one's: see identify(); empty: of their own */
    bool warned;          /* what a model lacks here has been said */
} CpuFeatureSource;
/* What the software engines implement, as far as this host's SIMD units go along. */
bool cpu_feature_implemented(CpuFeature id);

/* ---- the host (host_x86.c) ---- */
bool host_has_feature(CpuFeature id); /* its CPUID has the bit, and its OS saves the state */
void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]); /* zeros beyond its range */
uint64_t host_tsc(void);
void host_vendor(char vendor[13]); /* "GenuineIntel" */

/* -smp as APIC IDs see it: a field each for thread, core, die and package, as wide as its count
 * asks (SDM 3A 9.9.1), so ids have gaps where counts are not powers of two. */
typedef struct CpuTopology {
    unsigned threads, cores, dies; /* a core's, a die's, a package's */
    unsigned thread_bits, core_bits, die_bits;
} CpuTopology;
struct Machine;
void cpu_topology(const struct Machine *m, CpuTopology *out); /* NULL: all 1 */
uint32_t cpu_topology_apic_id(const CpuTopology *t, unsigned index);

/* KVM's paravirtual interface as guests on KVM find it unless told otherwise. */
void features_add_paravirtual(CpuFeatures *f);
/* Names of features a has and b lacks, comma-separated, for messages; returns how many. */
unsigned features_missing(const CpuFeatures *a, const CpuFeatures *b, char *names, size_t size);

typedef struct CpuModel CpuModel;
const CpuModel *cpu_model_find(const char *name);
const char *cpu_model_name(const CpuModel *m);
void cpu_models_list(void (*print)(void *opaque, const char *line), void *opaque); /* -cpu help */
/* "Haswell,+avx,-sse3,x=on": sets cpu's model, features and phys_bits. A feature the software
 * engines do not implement is refused by name, with the nearest name for a typo; where the machine
 * has a CpuFeatureSource, what that cannot show is left out with a warning (enforce: refused). */
struct CpuState;
bool cpu_model_apply(struct CpuState *cpu, const char *spec, Error **errp) MUST_USE;
bool cpu_is_amd(const struct CpuState *cpu); /* whose MSRs and leaves it has */
/* CPUID as the guest sees it now (OSXSAVE, APIC, XSAVE sizes and topology are live). */
void cpu_cpuid(const struct CpuState *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* RDMSR/WRMSR without the CPL check; false: #GP(0), which is also what unknown MSRs get (and
 * log_unimp), as on hardware. */
bool cpu_rdmsr(struct CpuState *cpu, uint32_t msr, uint64_t *val);
bool cpu_wrmsr(struct CpuState *cpu, uint32_t msr, uint64_t val);

#endif
