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

typedef struct CpuModel CpuModel;
const CpuModel *cpu_model_find(const char *name);
const char *cpu_model_name(const CpuModel *m);
void cpu_models_list(void (*print)(void *opaque, const char *line), void *opaque); /* -cpu help */
/* "Haswell,+avx,-sse3,x=on": sets cpu's model, features and phys_bits. A feature the software
 * engines do not implement is refused by name, with the nearest name for a typo. */
struct CpuState;
bool cpu_model_apply(struct CpuState *cpu, const char *spec, Error **errp) MUST_USE;
/* CPUID as the guest sees it now (OSXSAVE, APIC, XSAVE sizes and topology are live). */
void cpu_cpuid(const struct CpuState *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* RDMSR/WRMSR; false: #GP(0). Unknown MSRs: log_unimp, read 0 / ignored unless msr_strict. */
bool cpu_rdmsr(struct CpuState *cpu, uint32_t msr, uint64_t *val);
bool cpu_wrmsr(struct CpuState *cpu, uint32_t msr, uint64_t val);

#endif
