/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPU models, -cpu and CPUID.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/model.h"
#include "cpu/state.h"
#include "hw/core/machine.h"

typedef struct Fixture {
    Machine m;
    CpuState cpu;
    uint64_t apic_base;
} Fixture;

static uint64_t get_base(void *opaque)
{
    return ((Fixture *)opaque)->apic_base;
}
static const CpuApicOps apic_ops = { .get_base = get_base };

static int set_up(void **state)
{
    Fixture *f = calloc(1, sizeof(*f));
    f->apic_base = 0xfee00900;
    cpu_init(&f->cpu, &f->m, 0);
    f->cpu.apic_ops = &apic_ops;
    f->cpu.apic = f;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void apply(Fixture *f, const char *spec)
{
    Error *err = NULL;
    if (!cpu_model_apply(&f->cpu, spec, &err)) {
        fail_msg("-cpu %s: %s", spec, error_text(err));
    }
}

static void refuse(Fixture *f, const char *spec, const char *text)
{
    Error *err = NULL;
    if (cpu_model_apply(&f->cpu, spec, &err)) {
        fail_msg("-cpu %s: want an error with '%s', got none", spec, text);
    }
    if (!strstr(error_text(err), text)) {
        fail_msg("-cpu %s: want an error with '%s', got '%s'", spec, text, error_text(err));
    }
    error_free(err);
}

static uint32_t reg(Fixture *f, uint32_t leaf, uint32_t subleaf, int which)
{
    uint32_t out[4];
    cpu_cpuid(&f->cpu, leaf, subleaf, out);
    return out[which];
}

static void names_and_signature(void **state)
{
    Fixture *f = *state;
    uint32_t out[4];
    apply(f, "Haswell");
    cpu_cpuid(&f->cpu, 0, 0, out);
    assert_int_equal(out[CPUID_EAX], 0xd);
    assert_memory_equal(&out[CPUID_EBX], "Genu", 4);
    assert_memory_equal(&out[CPUID_EDX], "ineI", 4);
    assert_memory_equal(&out[CPUID_ECX], "ntel", 4);
    assert_int_equal(reg(f, 1, 0, CPUID_EAX), 0x306c4);
    apply(f, "EPYC");
    assert_int_equal(reg(f, 1, 0, CPUID_EAX), 0x800f12);
    assert_int_equal(reg(f, 0x80000001, 0, CPUID_EAX), 0x800f12);
    cpu_cpuid(&f->cpu, 0x80000002, 0, out);
    assert_memory_equal(out, "AMD EPYC Process", 16);
    apply(f, "qemu64,family=6,model=0x3c,stepping=3,vendor=GenuineIntel");
    assert_int_equal(reg(f, 1, 0, CPUID_EAX), 0x306c3);
    assert_memory_equal((uint32_t[]) { reg(f, 0, 0, CPUID_EBX) }, "Genu", 4);
}

static void hypervisor_leaf(void **state)
{
    Fixture *f = *state;
    uint32_t out[4];
    apply(f, "max");
    assert_true(reg(f, 1, 0, CPUID_ECX) >> 31);
    cpu_cpuid(&f->cpu, 0x40000000, 0, out);
    assert_true(out[CPUID_EAX] >= 0x40000000);
    assert_memory_equal(&out[CPUID_EBX], "VireoVireoVi", 12);
    apply(f, "max,-hypervisor");
    assert_false(reg(f, 1, 0, CPUID_ECX) >> 31);
    assert_int_not_equal(reg(f, 0x40000000, 0, CPUID_EBX), 0x65726956);
}

/* What x86-64-v3 asks (the psABI's table), as far as the host can do the vector part. */
static void max_is_v3(void **state)
{
    Fixture *f = *state;
    static const uint16_t v3[] = {
        FEATURE_CMOV,    FEATURE_CX8,  FEATURE_FPU,   FEATURE_FXSR,  FEATURE_MMX,
        FEATURE_SYSCALL, FEATURE_SSE,  FEATURE_SSE2,  FEATURE_CX16,  FEATURE_LAHF_LM,
        FEATURE_POPCNT,  FEATURE_SSE3, FEATURE_SSE41, FEATURE_SSE42, FEATURE_SSSE3,
        FEATURE_AVX,     FEATURE_AVX2, FEATURE_BMI1,  FEATURE_BMI2,  FEATURE_F16C,
        FEATURE_FMA,     FEATURE_ABM,  FEATURE_MOVBE, FEATURE_XSAVE,
    };
    apply(f, "max");
    for (size_t i = 0; i < ARRAY_SIZE(v3); i++) {
        if (!feature_has(&f->cpu.features, v3[i]) && host_has_feature(v3[i])) {
            fail_msg("max lacks %s", feature_rows[v3[i]].name);
        }
    }
    assert_false(feature_has(&f->cpu.features, FEATURE_MONITOR));
}

static void switches(void **state)
{
    Fixture *f = *state;
    apply(f, "qemu64,+sse4.1,+ssse3,-cx16");
    assert_true(feature_has(&f->cpu.features, FEATURE_SSE41));
    assert_false(feature_has(&f->cpu.features, FEATURE_CX16));
    apply(f, "qemu64,+ssse3,sse4_1=on,lahf_lm=off");
    assert_true(feature_has(&f->cpu.features, FEATURE_SSE41));
    assert_false(feature_has(&f->cpu.features, FEATURE_LAHF_LM));
    apply(f, "max,-avx");
    assert_false(feature_has(&f->cpu.features, FEATURE_AVX2));
    assert_false(feature_has(&f->cpu.features, FEATURE_FMA));
    apply(f, "haswell-noTSX-IBRS");
    assert_string_equal(cpu_model_name(f->cpu.model), "Haswell");
    apply(f, "EPYC-v2,phys-bits=36,tsc-frequency=2G");
    assert_int_equal(f->cpu.phys_bits, 36);
    assert_int_equal(reg(f, 0x80000008, 0, CPUID_EAX), 48 << 8 | 36);

    refuse(f, "max,+avx512f", "avx512f");
    refuse(f, "max,+smepp", "did you mean");
    refuse(f, "max,phys-bits=99", "phys-bits");
    refuse(f, "Hasswell", "Haswell");
    refuse(f, "max,vendor=short", "12");
}

static void live_bits(void **state)
{
    Fixture *f = *state;
    apply(f, "max");
    assert_true(reg(f, 1, 0, CPUID_EDX) >> 9 & 1);
    f->apic_base = 0xfee00100;
    assert_false(reg(f, 1, 0, CPUID_EDX) >> 9 & 1);
    assert_false(reg(f, 1, 0, CPUID_ECX) >> 27 & 1);
    f->cpu.cr4 = CR4_OSXSAVE;
    assert_true(reg(f, 1, 0, CPUID_ECX) >> 27 & 1);

    f->cpu.xcr0 = 1;
    assert_int_equal(reg(f, 0xd, 0, CPUID_EBX), 576);
    if (feature_has(&f->cpu.features, FEATURE_AVX)) {
        f->cpu.xcr0 = 7;
        assert_int_equal(reg(f, 0xd, 0, CPUID_EAX), 7);
        assert_int_equal(reg(f, 0xd, 0, CPUID_EBX), 832);
        assert_int_equal(reg(f, 0xd, 0, CPUID_ECX), 832);
        assert_int_equal(reg(f, 0xd, 1, CPUID_EBX), 832);
        assert_int_equal(reg(f, 0xd, 2, CPUID_EAX), 256);
        assert_int_equal(reg(f, 0xd, 2, CPUID_EBX), 576);
    }
    f->cpu.misc_enable |= 1 << 22;
    assert_int_equal(reg(f, 0, 0, CPUID_EAX), 2);
}

static void topology(void **state)
{
    Fixture *f = *state;
    f->m.config = (MachineConfig) { .cpus = 12, .sockets = 2, .cores = 3, .threads = 2 };
    static const uint32_t want[12] = { 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13 };
    for (unsigned i = 0; i < 12; i++) {
        cpu_init(&f->cpu, &f->m, i);
        assert_int_equal(f->cpu.apic_id, want[i]);
    }
    apply(f, "max");
    assert_int_equal(reg(f, 1, 0, CPUID_EBX) >> 24, 13);
    assert_int_equal(reg(f, 1, 0, CPUID_EBX) >> 16 & 0xff, 8);
    assert_true(reg(f, 1, 0, CPUID_EDX) >> 28 & 1);
    assert_int_equal(reg(f, 0xb, 0, CPUID_EAX), 1);
    assert_int_equal(reg(f, 0xb, 0, CPUID_EBX), 2);
    assert_int_equal(reg(f, 0xb, 0, CPUID_ECX), 0x100);
    assert_int_equal(reg(f, 0xb, 1, CPUID_EAX), 3);
    assert_int_equal(reg(f, 0xb, 1, CPUID_EBX), 6);
    assert_int_equal(reg(f, 0xb, 1, CPUID_ECX), 0x201);
    assert_int_equal(reg(f, 0xb, 1, CPUID_EDX), 13);
    assert_int_equal(reg(f, 0xb, 2, CPUID_ECX), 2);
    assert_int_equal(reg(f, 4, 0, CPUID_EAX) >> 26, 3); /* room for 4 cores */
    assert_int_equal(reg(f, 4, 3, CPUID_EAX) >> 14 & 0xfff, 7);
    assert_int_equal(reg(f, 4, 4, CPUID_EAX), 0);
}

static void beyond_the_last_leaf(void **state)
{
    Fixture *f = *state;
    apply(f, "pentium3");
    assert_int_equal(reg(f, 0, 0, CPUID_EAX), 3);
    assert_int_equal(reg(f, 7, 0, CPUID_EBX), 0);
    assert_int_equal(reg(f, 0x80000000, 0, CPUID_EAX), 0);
    assert_int_equal(reg(f, 1, 0, CPUID_EDX) >> 25 & 1, 1);
    assert_int_equal(reg(f, 1, 0, CPUID_EDX) >> 26 & 1, 0);
    apply(f, "486");
    assert_int_equal(reg(f, 1, 0, CPUID_EAX), 0x480);
}

static void tsc_leaf(void **state)
{
    Fixture *f = *state;
    apply(f, "max,tsc-frequency=2500M");
    uint32_t out[4];
    assert_int_equal(f->cpu.tsc_khz, 2500000);
    cpu_cpuid(&f->cpu, 0x15, 0, out);
    assert_int_equal((uint64_t)out[CPUID_ECX] * out[CPUID_EBX] / out[CPUID_EAX],
                     2500000000);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(names_and_signature),
        TEST(hypervisor_leaf),
        TEST(max_is_v3),
        TEST(switches),
        TEST(live_bits),
        TEST(topology),
        TEST(beyond_the_last_leaf),
        TEST(tsc_leaf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
