/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPU models and -cpu: which features a guest is shown. models.inc describes known
 * processors; two more are made here: "max", everything the software engines implement, and
 * "host", the same under the name of the host's own processor.
 *
 * A model's feature that the engines lack is left out without a word; one the user asks for
 * by name is refused, with -cpu X,enforce also the former. Where the machine has a
 * CpuFeatureSource (KVM), that says what can be shown, "host" is all of it, and what is missing of
 * either kind is named in one warning.
 */
#include "cpu/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "util/dict.h"

enum { MAX_MODEL_FEATURES = 128 };

struct CpuModel {
    const char *name, *desc, *vendor;
    uint32_t family, model, stepping;
    uint32_t level, xlevel, phys_bits;
    const char *brand;
    uint16_t features[MAX_MODEL_FEATURES]; /* ends with FEATURE_NONE */
};

_Static_assert((int)FEATURE_KVM <= UINT8_MAX, "InsnRow.feature");

const FeatureRow feature_rows[NR_FEATURES] = {
    [FEATURE_NONE] = { "", 0, 0, 0, 0 },
#define FEATURE(id, name, leaf, subleaf, reg, bit) \
    [FEATURE_##id] = { name, leaf, subleaf, reg, bit },
#include "cpu/features.inc"
#undef FEATURE
};

static const CpuModel models[] = {
    /* Features are made in model_features. Family and model are a Skylake client's: guests that
     * choose code by them instead of by feature bits (GCC's target_clones) must not find a part
     * that never came without AVX-512. */
    { "max",
      "Everything the engine implements (default)",
      "GenuineIntel",
      6,
      94,
      3,
      0x1f,
      0x80000008,
      40,
      "Vireo virtual CPU",
      { FEATURE_NONE } },
    { "host",
      "The same, with the name of the host's processor",
      "GenuineIntel",
      6,
      143,
      8,
      0x1f,
      0x80000008,
      40,
      "",
      { FEATURE_NONE } },
#define MODEL(name, desc, vendor, family, model, stepping, level, xlevel, phys_bits, \
              brand, ...)                                                            \
    { name,                                                                          \
      desc,                                                                          \
      vendor,                                                                        \
      family,                                                                        \
      model,                                                                         \
      stepping,                                                                      \
      level,                                                                         \
      xlevel,                                                                        \
      phys_bits,                                                                     \
      brand,                                                                         \
      { __VA_ARGS__, FEATURE_NONE } },
#include "cpu/models.inc"
#undef MODEL
};

#define F(id) FEATURE_##id
/* In plain C, whatever the host. */
static const uint16_t software_features[] = {
    F(FPU),          F(VME),      F(DE),         F(PSE),        F(TSC),
    F(MSR),          F(PAE),      F(MCE),        F(CX8),        F(APIC),
    F(SEP),          F(MTRR),     F(PGE),        F(MCA),        F(CMOV),
    F(PAT),          F(PSE36),    F(CLFLUSH),    F(MMX),        F(FXSR),
    F(SSE),          F(SSE2),     F(SS),         F(HT),         F(MONITOR),
    F(CX16),         F(PCID),     F(X2APIC),     F(MOVBE),      F(POPCNT),
    F(TSC_DEADLINE), F(XSAVE),    F(RDRAND),     F(HYPERVISOR), F(FSGSBASE),
    F(TSC_ADJUST),   F(BMI1),     F(SMEP),       F(BMI2),       F(ERMS),
    F(INVPCID),      F(RDSEED),   F(ADX),        F(SMAP),       F(CLFLUSHOPT),
    F(CLWB),         F(UMIP),     F(RDPID),      F(FSRM),       F(MD_CLEAR),
    F(SPEC_CTRL),    F(STIBP),    F(BHI_CTRL),   F(FLUSH_L1D),  F(ARCH_CAPABILITIES),
    F(SSBD),         F(XSAVEOPT), F(XSAVEC),     F(XGETBV1),    F(XSAVES),
    F(SYSCALL),      F(NX),       F(FXSR_OPT),   F(PDPE1GB),    F(RDTSCP),
    F(LM),           F(LAHF_LM),  F(CMP_LEGACY), F(ABM),        F(3DNOWPREFETCH),
    F(TOPOEXT),      F(INVTSC),   F(WBNOINVD),   F(IBPB),       F(MMXEXT),
};
/* KVM's paravirtual interface, kvm_pv.c. Work that the hypervisor may take over but need not
 * (IPIs, polling) is missing: without it guests do it themselves. */
static const uint16_t paravirtual_features[] = {
    F(KVM),            F(KVM_CLOCK_OLD),  F(KVM_NOPIODELAY),   F(KVM_CLOCK),
    F(KVM_ASYNCPF),    F(KVM_STEAL_TIME), F(KVM_PV_EOI),       F(KVM_PV_UNHALT),
    F(KVM_ASYNCPF_INT), F(KVM_CLOCK_STABLE), F(KVM_HINT_DEDICATED), F(KVM_PV_TLB_FLUSH),
    F(KVM_PV_SCHED_YIELD), F(KVM_POLL_CONTROL),
};
/* Those of them that are on by default. */
static const uint16_t paravirtual_defaults[] = {
    F(KVM),            F(KVM_CLOCK_OLD),  F(KVM_NOPIODELAY), F(KVM_CLOCK),
    F(KVM_ASYNCPF),    F(KVM_STEAL_TIME), F(KVM_PV_EOI),     F(KVM_PV_UNHALT),
    F(KVM_ASYNCPF_INT), F(KVM_CLOCK_STABLE),
};
/* On the host's own instructions. */
static const uint16_t simd_features[] = {
    F(SSE3), F(PCLMULQDQ), F(SSSE3), F(FMA),  F(SSE41), F(SSE42),
    F(AES),  F(AVX),       F(F16C),  F(AVX2), F(SHA),
};
/* MONITOR/MWAIT would keep idle guests from HLT; the rest says nothing on an Intel part or
 * only names work-arounds that "max" has no need of. */
static const uint16_t not_in_max[] = {
    F(MONITOR), F(HT),     F(FXSR_OPT), F(CMP_LEGACY), F(TOPOEXT),   F(WBNOINVD),
    F(IBPB),    F(MMXEXT), F(STIBP),    F(SSBD),       F(FLUSH_L1D),
};
#undef F

static bool in_list(const uint16_t *list, size_t nr, CpuFeature id)
{
    for (size_t i = 0; i < nr; i++) {
        if (list[i] == id) {
            return true;
        }
    }
    return false;
}

bool cpu_feature_implemented(CpuFeature id)
{
    return in_list(software_features, ARRAY_SIZE(software_features), id) ||
           in_list(paravirtual_features, ARRAY_SIZE(paravirtual_features), id) ||
           (in_list(simd_features, ARRAY_SIZE(simd_features), id) && host_has_feature(id));
}

static bool is_paravirtual(CpuFeature id)
{
    return id == FEATURE_KVM || feature_rows[id].leaf == 0x40000001;
}

void features_add_paravirtual(CpuFeatures *f)
{
    for (size_t i = 0; i < ARRAY_SIZE(paravirtual_defaults); i++) {
        feature_set(f, paravirtual_defaults[i], true);
    }
}

unsigned features_missing(const CpuFeatures *a, const CpuFeatures *b, char *names, size_t size)
{
    unsigned nr = 0;
    size_t used = 0;
    names[0] = '\0';
    for (int id = 1; id < NR_FEATURES; id++) {
        if (feature_has(a, id) && !feature_has(b, id)) {
            used += (size_t)snprintf(names + used, size - used, "%s%s", nr ? ", " : "",
                                     feature_rows[id].name);
            used = MIN(used, size - 1);
            nr++;
        }
    }
    return nr;
}

/* ---- models ---- */

/* What -cpu is read into, word by word. */
typedef struct Request {
    CpuState *cpu;
    const CpuFeatureSource *source; /* NULL: the software engines */
    CpuFeatures wanted, off;        /* by name */
    bool enforce, check, hide_kvm;
} Request;

static bool can_show(const CpuFeatureSource *source, CpuFeature id)
{
    return source ? feature_has(&source->can, id) : cpu_feature_implemented(id);
}

static bool is_made_here(const CpuModel *m)
{
    return m == &models[0] || m == &models[1];
}

/* Names as people write them: case of models matters to nobody, and QEMU's suffixes for
 * microcode states of one processor ("-v2", "-noTSX", "-IBRS") name the same model here. */
static const CpuModel *find_model(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        if (strlen(models[i].name) == len && !strncasecmp(models[i].name, name, len)) {
            return &models[i];
        }
    }
    return NULL;
}

static size_t strip_suffix(const char *name, size_t len)
{
    static const char *const suffixes[] = { "-noTSX", "-IBRS", "-IBPB" };
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        size_t n = strlen(suffixes[i]);
        if (len > n && !strncmp(name + len - n, suffixes[i], n)) {
            return len - n;
        }
    }
    size_t digits = 0;
    while (digits < len && name[len - 1 - digits] >= '0' && name[len - 1 - digits] <= '9') {
        digits++;
    }
    if (digits && len > digits + 2 && !strncmp(name + len - digits - 2, "-v", 2)) {
        return len - digits - 2;
    }
    return 0;
}

const CpuModel *cpu_model_find(const char *name)
{
    for (size_t len = strlen(name); len; len = strip_suffix(name, len)) {
        const CpuModel *m = find_model(name, len);
        if (m) {
            return m;
        }
    }
    return NULL;
}

const char *cpu_model_name(const CpuModel *m)
{
    return m->name;
}

void cpu_models_list(void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[128];
    print(opaque, "Available CPUs:");
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        snprintf(line, sizeof(line), "  %-16s %s", models[i].name, models[i].desc);
        print(opaque, line);
    }
    print(opaque, "");
    print(opaque,
          "Features (-cpu MODEL,+FEATURE,-FEATURE); those in parentheses are not built:");
    size_t used = 0;
    for (int id = 1; id < NR_FEATURES; id++) {
        char word[40];
        int n = snprintf(word, sizeof(word), cpu_feature_implemented(id) ? " %s" : " (%s)",
                         feature_rows[id].name);
        if (used + (size_t)n > 76) {
            print(opaque, line);
            used = 0;
        }
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s", used ? "" : " ",
                                 word);
    }
    print(opaque, line);
}

/* "max" and "host": what there is. "host" has more only where the engine shows more than the
 * software engines implement. */
static CpuFeatures made_features(const CpuModel *m, const CpuFeatureSource *source)
{
    CpuFeatures f = { { 0 } };
    bool host = source && m == &models[1];
    for (int id = 1; id < NR_FEATURES; id++) {
        bool is = host ? can_show(source, id) : cpu_feature_implemented(id) && can_show(source, id);
        if (is && !is_paravirtual(id) && !in_list(not_in_max, ARRAY_SIZE(not_in_max), id)) {
            feature_set(&f, id, true);
        }
    }
    /* What a processor of this name has, however little it says on another's. */
    for (size_t i = 0; host && i < ARRAY_SIZE(not_in_max); i++) {
        CpuFeature id = not_in_max[i];
        if (id != FEATURE_MONITOR && id != FEATURE_HT && can_show(source, id) &&
            host_has_feature(id)) {
            feature_set(&f, id, true);
        }
    }
    return f;
}

/* All the features of a model, whether there or not. */
static CpuFeatures model_features(const CpuModel *m, const CpuFeatureSource *source)
{
    if (is_made_here(m)) {
        return made_features(m, source);
    }
    CpuFeatures f = { { 0 } };
    for (const uint16_t *id = m->features; *id != FEATURE_NONE; id++) {
        feature_set(&f, *id, true);
    }
    return f;
}

static void host_signature(CpuIdentity *id)
{
    uint32_t out[4];
    host_vendor(id->vendor);
    host_cpuid(1, 0, out);
    uint32_t sig = out[CPUID_EAX];
    id->family = (sig >> 8 & 15) + ((sig >> 8 & 15) == 15 ? sig >> 20 & 0xff : 0);
    id->model = (sig >> 4 & 15) | (sig >> 12 & 0xf0);
    id->stepping = sig & 15;
}

static void host_identity(CpuIdentity *id)
{
    uint32_t out[4];
    host_signature(id);
    for (uint32_t i = 0; i < 3; i++) {
        host_cpuid(0x80000002 + i, 0, out);
        memcpy(id->brand + i * 16, out, 16);
    }
}

/* Guests choose between VMCALL and VMMCALL by the vendor. KVM mends the wrong one by writing over it,
 * which is a page fault in a kernel whose code is read-only. "max" has no name to lose. */
static void take_vendor(CpuIdentity *id, const CpuModel *m, const CpuFeatureSource *source)
{
    if (is_made_here(m)) {
        host_signature(id);
    }
    memcpy(id->vendor, source->vendor, sizeof(id->vendor));
}

static void identify(CpuState *cpu, const CpuModel *m)
{
    CpuIdentity *id = &cpu->id;
    memset(id, 0, sizeof(*id));
    snprintf(id->vendor, sizeof(id->vendor), "%s", m->vendor);
    snprintf(id->brand, sizeof(id->brand), "%s", m->brand);
    id->family = m->family;
    id->model = m->model;
    id->stepping = m->stepping;
    id->level = m->level;
    id->xlevel = m->xlevel;
    cpu->phys_bits = m->phys_bits;
    const CpuFeatureSource *source = cpu->machine ? cpu->machine->features : NULL;
    if (source && source->phys_bits) {
        cpu->phys_bits =
            is_made_here(m) ? source->phys_bits : MIN(cpu->phys_bits, source->phys_bits);
    }
    if (!strcmp(m->name, "host")) {
        host_identity(id);
    } else if (source && *source->vendor && strcmp(id->vendor, source->vendor)) {
        take_vendor(id, m, source);
    }
}

/* ---- -cpu ---- */

/* sse4_1, sse4.1 and sse4-1 are one. */
static char plain(char c)
{
    return c == '_' || c == '.' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_name(const char *a, const char *b)
{
    while (*a && plain(*a) == plain(*b)) {
        a++;
        b++;
    }
    return plain(*a) == plain(*b);
}

static CpuFeature find_feature(const char *name)
{
    static const struct {
        const char *name;
        CpuFeature id;
    } others[] = {
        { "sse3", FEATURE_SSE3 },
        { "i64", FEATURE_LM },
        { "xd", FEATURE_NX },
        { "ffxsr", FEATURE_FXSR_OPT },
        { "pclmuldq", FEATURE_PCLMULQDQ },
        { "sse4", FEATURE_SSE42 },
        { "lzcnt", FEATURE_ABM },
        { "sha", FEATURE_SHA },
        { "sep", FEATURE_SEP },
        { "pat", FEATURE_PAT },
        { "kvmclock-stable", FEATURE_KVM_CLOCK_STABLE },
        { "kvm-hint-realtime", FEATURE_KVM_HINT_DEDICATED },
    };
    for (int id = 1; id < NR_FEATURES; id++) {
        if (same_name(feature_rows[id].name, name)) {
            return id;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (same_name(others[i].name, name)) {
            return others[i].id;
        }
    }
    return FEATURE_NONE;
}

static const char *const property_names[] = {
    "vendor",         "family",        "model",    "stepping",
    "level",          "xlevel",        "model-id", "phys-bits",
    "host-phys-bits", "tsc-frequency", "check",    "enforce",
    "migratable",     "pmu",
};

static bool unknown_word(const char *word, Error **errp)
{
    const char *words[NR_FEATURES + ARRAY_SIZE(property_names) + 1];
    size_t n = 0;
    for (int id = 1; id < NR_FEATURES; id++) {
        words[n++] = feature_rows[id].name;
    }
    for (size_t i = 0; i < ARRAY_SIZE(property_names); i++) {
        words[n++] = property_names[i];
    }
    words[n] = NULL;
    const char *near = suggest(word, words);
    return near ? error_set(errp, "-cpu: unknown feature '%s'; did you mean '%s'?", word,
                            near)
                : error_set(errp, "-cpu: unknown feature '%s' (see -cpu help)", word);
}

/* Hyper-V's interface: QEMU's names, hv-relaxed and so on. */
static bool is_hyperv(const char *name)
{
    return !strncasecmp(name, "hv-", 3) || !strncasecmp(name, "hv_", 3) ||
           same_name(name, "hyperv");
}

static bool refuse_feature(CpuFeature id, Error **errp)
{
    bool simd = in_list(simd_features, ARRAY_SIZE(simd_features), id);
    return error_set(errp,
                     simd ? "-cpu: this host's processor lacks '%s', on which the engine runs it"
                          : "-cpu: the engine does not implement feature '%s'; leave it out",
                     feature_rows[id].name);
}

static bool set_feature(Request *r, CpuFeature id, bool on, Error **errp)
{
    if (on && !r->source && !can_show(NULL, id)) {
        return refuse_feature(id, errp);
    }
    feature_set(&r->wanted, id, on);
    feature_set(&r->off, id, !on);
    if (id == FEATURE_KVM_CLOCK) {
        feature_set(&r->wanted, FEATURE_KVM_CLOCK_OLD, on);
        feature_set(&r->off, FEATURE_KVM_CLOCK_OLD, !on);
    }
    if (id == FEATURE_KVM) {
        r->hide_kvm = !on;
        if (on) {
            features_add_paravirtual(&r->wanted);
        }
    } else if (on && is_paravirtual(id)) {
        feature_set(&r->wanted, FEATURE_KVM, true);
    }
    return true;
}

static bool set_number(const char *name, const char *val, uint64_t min, uint64_t max,
                       uint32_t *out, Error **errp)
{
    uint64_t n;
    if (!parse_u64(val, &n) || n < min || n > max) {
        return error_set(errp, "-cpu: %s=%s: want a number from %llu to %llu", name, val,
                         (unsigned long long)min, (unsigned long long)max);
    }
    *out = (uint32_t)n;
    return true;
}

/* In Hz, or with k, M, G for thousands of it. */
static bool set_tsc_frequency(CpuState *cpu, const char *val, Error **errp)
{
    static const char suffixes[] = "kmg";
    char digits[24];
    size_t len = strlen(val);
    uint64_t hz = 0, unit = 1;
    const char *suffix = len ? strchr(suffixes, val[len - 1] | 0x20) : NULL;
    if (suffix) {
        len--;
        for (const char *s = suffixes; s <= suffix; s++) {
            unit *= 1000;
        }
    }
    snprintf(digits, sizeof(digits), "%.*s", (int)len, val);
    if (!parse_u64(digits, &hz) || hz > 100000000000 || hz * unit < 1000000 ||
        hz * unit > 100000000000) {
        return error_set(errp, "-cpu: tsc-frequency=%s: want Hz, from 1M to 100G", val);
    }
    cpu->tsc_khz = (uint32_t)(hz * unit / 1000);
    return true;
}

static bool set_host_phys_bits(CpuState *cpu, bool on)
{
    if (on) {
        uint32_t out[4];
        host_cpuid(0x80000008, 0, out);
        cpu->phys_bits = MIN(MAX(out[CPUID_EAX] & 0xff, 32u), 52u);
    }
    return true;
}

/* A word with a value that is no feature. *done: it was one of these. */
static bool set_property(Request *r, const char *name, const char *val, bool *done,
                         Error **errp)
{
    CpuState *cpu = r->cpu;
    CpuIdentity *id = &cpu->id;
    bool on = false;
    *done = true;
    if (same_name(name, "vendor")) {
        if (strlen(val) != 12) {
            return error_set(errp, "-cpu: vendor=%s: want 12 characters", val);
        }
        snprintf(id->vendor, sizeof(id->vendor), "%s", val);
        return true;
    }
    if (same_name(name, "model-id")) {
        snprintf(id->brand, sizeof(id->brand), "%s", val);
        return true;
    }
    if (same_name(name, "family")) {
        return set_number(name, val, 0, 255 + 15, &id->family, errp);
    }
    if (same_name(name, "model")) {
        return set_number(name, val, 0, 255, &id->model, errp);
    }
    if (same_name(name, "stepping")) {
        return set_number(name, val, 0, 15, &id->stepping, errp);
    }
    if (same_name(name, "level")) {
        return set_number(name, val, 1, 0x1f, &id->level, errp);
    }
    if (same_name(name, "xlevel")) {
        return set_number(name, val, 0x80000000, 0x8000001e, &id->xlevel, errp);
    }
    if (same_name(name, "phys-bits")) {
        return set_number(name, val, 32, 52, &cpu->phys_bits, errp);
    }
    if (same_name(name, "tsc-frequency")) {
        return set_tsc_frequency(cpu, val, errp);
    }
    *done = false;
    for (size_t i = 0; i < ARRAY_SIZE(property_names); i++) {
        if (same_name(name, property_names[i])) {
            *done = true;
        }
    }
    if (!*done) {
        return true;
    }
    if (!parse_bool(val, &on)) {
        return error_set(errp, "-cpu: %s=%s: want on or off", name, val);
    }
    if (same_name(name, "pmu") && on) {
        return error_set(errp, "-cpu: performance counters are not built; leave out 'pmu'");
    }
    if (same_name(name, "enforce")) {
        r->enforce = on;
    } else if (same_name(name, "check")) {
        r->check = on;
    }
    return same_name(name, "host-phys-bits") ? set_host_phys_bits(cpu, on) : true;
}

/* One word between commas: +f, -f, f, f=on, prop=value. */
static bool apply_word(Request *r, char *word, Error **errp)
{
    char *name = word, *val = strchr(word, '=');
    bool on = true, done;
    if (*word == '+' || *word == '-') {
        on = *word == '+';
        name++;
    } else if (val) {
        *val++ = '\0';
    }
    if (is_hyperv(name)) {
        return error_set(errp, "-cpu: '%s': Hyper-V's interface is not built; leave it out", name);
    }
    CpuFeature id = find_feature(name);
    if (id == FEATURE_NONE) {
        const char *text = name == word && val ? val : on ? "on" : "off";
        return set_property(r, name, text, &done, errp) &&
               (done || unknown_word(name, errp));
    }
    if (name == word && val && !parse_bool(val, &on)) {
        return error_set(errp, "-cpu: %s=%s: want on or off", name, val);
    }
    return set_feature(r, id, on, errp);
}

static bool unknown_model(const char *name, Error **errp)
{
    const char *words[ARRAY_SIZE(models) + 1];
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        words[i] = models[i].name;
    }
    words[ARRAY_SIZE(models)] = NULL;
    const char *near = suggest(name, words);
    return near ? error_set(errp, "-cpu: no model '%s'; did you mean '%s'?", name, near)
                : error_set(errp, "-cpu: no model '%s' (see -cpu help)", name);
}

/* What makes no sense without something else goes with it, as QEMU users expect of "-avx".
 */
static void drop_dependants(CpuFeatures *f)
{
    static const uint16_t needs[][2] = {
        { FEATURE_SSE, FEATURE_FXSR },      { FEATURE_SSE2, FEATURE_SSE },
        { FEATURE_SSE3, FEATURE_SSE2 },     { FEATURE_SSSE3, FEATURE_SSE3 },
        { FEATURE_SSE41, FEATURE_SSSE3 },   { FEATURE_SSE42, FEATURE_SSE41 },
        { FEATURE_AES, FEATURE_SSE2 },      { FEATURE_PCLMULQDQ, FEATURE_SSE2 },
        { FEATURE_SHA, FEATURE_SSSE3 },     { FEATURE_XSAVEOPT, FEATURE_XSAVE },
        { FEATURE_XSAVEC, FEATURE_XSAVE },  { FEATURE_XGETBV1, FEATURE_XSAVE },
        { FEATURE_XSAVES, FEATURE_XSAVEC }, { FEATURE_AVX, FEATURE_XSAVE },
        { FEATURE_AVX, FEATURE_SSE42 },     { FEATURE_AVX2, FEATURE_AVX },
        { FEATURE_FMA, FEATURE_AVX },       { FEATURE_F16C, FEATURE_AVX },
        { FEATURE_INVPCID, FEATURE_PCID },  { FEATURE_PCID, FEATURE_LM },
        { FEATURE_X2APIC, FEATURE_APIC },   { FEATURE_TSC_DEADLINE, FEATURE_APIC },
        { FEATURE_LM, FEATURE_PAE },        { FEATURE_PDPE1GB, FEATURE_LM },
        { FEATURE_LAHF_LM, FEATURE_LM },    { FEATURE_CX16, FEATURE_LM },
        { FEATURE_FSGSBASE, FEATURE_LM },   { FEATURE_AVX512F, FEATURE_AVX2 },
        { FEATURE_VAES, FEATURE_AVX },      { FEATURE_VPCLMULQDQ, FEATURE_AVX },
        { FEATURE_AVX_VNNI, FEATURE_AVX2 }, { FEATURE_KVM, FEATURE_HYPERVISOR },
    };
    for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
        if (!feature_has(f, needs[i][1])) {
            feature_set(f, needs[i][0], false);
        }
    }
    for (int id = 1; id < NR_FEATURES; id++) {
        if ((is_paravirtual(id) && !feature_has(f, FEATURE_KVM)) ||
            (!strncmp(feature_rows[id].name, "avx512", 6) && !feature_has(f, FEATURE_AVX512F))) {
            feature_set(f, id, false);
        }
    }
}

static void or_features(CpuFeatures *to, const CpuFeatures *more)
{
    for (size_t i = 0; i < ARRAY_SIZE(to->bits); i++) {
        to->bits[i] |= more->bits[i];
    }
}

static CpuFeatures except(const CpuFeatures *a, const CpuFeatures *b)
{
    CpuFeatures f = { 0 };
    for (size_t i = 0; i < ARRAY_SIZE(f.bits); i++) {
        f.bits[i] = a->bits[i] & ~b->bits[i];
    }
    return f;
}

/* What is wanted and cannot be shown: refused, told of, or left out in silence. */
static bool settle_missing(Request *r, const CpuFeatures *all, Error **errp)
{
    char names[1024];
    const char *model = r->cpu->model->name;
    CpuFeatures can = { { 0 } };
    for (int id = 1; id < NR_FEATURES; id++) {
        feature_set(&can, id, can_show(r->source, id));
    }
    if (!features_missing(all, &can, names, sizeof(names))) {
        return true;
    }
    if (r->enforce) {
        return r->source ? error_set(errp, "-cpu %s,enforce: %s lacks %s", model,
                                     r->source->who, names)
                         : error_set(errp,
                                     "-cpu %s,enforce: the engine does not implement %s", model,
                                     names);
    }
    CpuFeatureSource *source = r->cpu->machine ? r->cpu->machine->features : NULL;
    if (source && r->check && !source->warned) {
        source->warned = true;
        warn_report("-cpu %s: %s lacks %s: the guest goes without (check=off says nothing, "
                    "enforce stops here)",
                    model, source->who, names);
    }
    return true;
}

/* The model, and the words; then what is there of all that. */
static bool settle_features(Request *r, Error **errp)
{
    CpuFeatures all = model_features(r->cpu->model, r->source);
    or_features(&all, &r->wanted);
    all = except(&all, &r->off);
    if (r->enforce || r->source) {
        if (!settle_missing(r, &all, errp)) {
            return false;
        }
    }
    if (r->source) {
        or_features(&all, &r->source->added);
        all = except(&all, &r->off);
    }
    for (int id = 1; id < NR_FEATURES; id++) {
        if (!can_show(r->source, id) || (r->hide_kvm && is_paravirtual(id))) {
            feature_set(&all, id, false);
        }
    }
    drop_dependants(&all);
    r->cpu->features = all;
    return true;
}

static bool apply_words(CpuState *cpu, char *words, Error **errp)
{
    char *save, *word = strtok_r(words, ",", &save);
    const CpuModel *m = word ? cpu_model_find(word) : NULL;
    if (!m) {
        return unknown_model(word ? word : "", errp);
    }
    Request r = { .cpu = cpu,
                  .source = cpu->machine ? cpu->machine->features : NULL,
                  .check = true };
    cpu->model = m;
    identify(cpu, m);
    while ((word = strtok_r(NULL, ",", &save))) {
        if (!apply_word(&r, word, errp)) {
            return false;
        }
    }
    return settle_features(&r, errp);
}

bool cpu_model_apply(CpuState *cpu, const char *spec, Error **errp)
{
    char *words = strdup(spec && *spec ? spec : "max");
    bool ok = apply_words(cpu, words, errp);
    free(words);
    return ok;
}
