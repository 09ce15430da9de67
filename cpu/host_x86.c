/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the host's own processor has. The software engines run SIMD arithmetic on the host's
 * instructions, so a guest's vector features end where the host's do.
 */
#include <cpuid.h>
#include <string.h>
#include <x86intrin.h>

#include "cpu/model.h"

void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    uint32_t a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(leaf, subleaf, &a, &b, &c, &d)) {
        a = b = c = d = 0;
    }
    out[CPUID_EAX] = a;
    out[CPUID_EBX] = b;
    out[CPUID_ECX] = c;
    out[CPUID_EDX] = d;
}

void host_vendor(char vendor[13])
{
    uint32_t out[4];
    host_cpuid(0, 0, out);
    memcpy(vendor, &out[CPUID_EBX], 4);
    memcpy(vendor + 4, &out[CPUID_EDX], 4);
    memcpy(vendor + 8, &out[CPUID_ECX], 4);
    vendor[12] = '\0';
}

uint64_t host_tsc(void)
{
    return __rdtsc();
}

/* Does the host's kernel keep YMM registers (SDM 1 14.3)? */
static bool host_saves_ymm(void)
{
    uint32_t leaf1[4], lo, hi;
    host_cpuid(1, 0, leaf1);
    if (!(leaf1[CPUID_ECX] & bit_OSXSAVE)) {
        return false;
    }
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (lo & 6) == 6;
}

bool host_has_feature(CpuFeature id)
{
    uint32_t out[4];
    host_cpuid(feature_rows[id].leaf, feature_rows[id].subleaf, out);
    if (!(out[feature_rows[id].reg] >> feature_rows[id].bit & 1)) {
        return false;
    }
    switch (id) {
    case FEATURE_AVX:
    case FEATURE_AVX2:
    case FEATURE_FMA:
    case FEATURE_F16C: return host_saves_ymm();
    default: return true;
    }
}
