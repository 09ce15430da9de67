/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPUID on /dev/kvm: what the host's KVM can show, and that the kernel has each leaf of the table as
 * cpu_cpuid says it. Without /dev/kvm those parts are skipped; what -cpu makes of a feature source
 * is tested with one made here.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "accel/kvm/kvm.h"
#include "hw/core/machine.h"

typedef struct Fixture {
    Machine m;
    CpuFeatureSource source;
    KvmVm vm;
    Vcpu *v;
    KvmVcpu k;
} Fixture;

static int set_up(void **state)
{
    Fixture *f = calloc(1, sizeof(*f));
    f->v = aligned_alloc(64, ROUND_UP(sizeof(Vcpu), 64));
    memset(f->v, 0, sizeof(Vcpu));
    f->vm = (KvmVm){ .machine = &f->m, .kvm_fd = -1, .fd = -1, .wanted = KVM_IRQCHIP_ON };
    f->k = (KvmVcpu){ .v = f->v, .vm = &f->vm, .fd = -1 };
    f->source.who = "the test's host";
    for (int id = 1; id < NR_FEATURES; id++) {
        feature_set(&f->source.can, id, true);
    }
    features_add_paravirtual(&f->source.added);
    f->m.features = &f->source;
    cpu_init(&f->v->cpu, &f->m, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *f = *state;
    if (f->m.features != &f->source) {
        free(f->m.features);
    }
    int fds[] = { f->k.fd, f->vm.fd, f->vm.kvm_fd };
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    free(f->v);
    free(f);
    return 0;
}

static CpuState *apply(Fixture *f, const char *spec)
{
    Error *err = NULL;
    CpuState *cpu = &f->v->cpu;
    if (!cpu_model_apply(cpu, spec, &err)) {
        fail_msg("-cpu %s: %s", spec, error_text(err));
    }
    cpu_reset(cpu, false);
    return cpu;
}

static bool has(const CpuState *cpu, CpuFeature id)
{
    return feature_has(&cpu->features, id);
}

static void want_error(Fixture *f, const char *spec, const char *text)
{
    Error *err = NULL;
    if (cpu_model_apply(&f->v->cpu, spec, &err)) {
        fail_msg("-cpu %s: want an error, got none", spec);
    }
    if (!strstr(error_text(err), text)) {
        fail_msg("-cpu %s: want \"%s\" in \"%s\"", spec, text, error_text(err));
    }
    error_free(err);
}

/* ---- -cpu with a feature source ---- */

static void test_paravirtual(void **state)
{
    Fixture *f = *state;
    uint32_t out[4];
    CpuState *cpu = apply(f, "max");
    cpu_cpuid(cpu, 0x40000000, 0, out);
    assert_memory_equal(&out[CPUID_EBX], "KVMK", 4);
    cpu_cpuid(cpu, 0x40000001, 0, out);
    assert_int_equal(out[CPUID_EAX], 0x010040fb);
    assert_int_equal(out[CPUID_EDX], 0);

    cpu = apply(f, "max,-kvmclock,kvm_pv_eoi=off,kvm-hint-dedicated=on");
    cpu_cpuid(cpu, 0x40000001, 0, out);
    assert_int_equal(out[CPUID_EAX], 0x010040fb & ~(1u << 0 | 1u << 3 | 1u << 6));
    assert_int_equal(out[CPUID_EDX], 1);

    cpu = apply(f, "max,kvm=off");
    cpu_cpuid(cpu, 0x40000000, 0, out);
    assert_memory_equal(&out[CPUID_EBX], "Vire", 4);
    cpu_cpuid(cpu, 0x40000001, 0, out);
    assert_int_equal(out[CPUID_EAX] | out[CPUID_EBX] | out[CPUID_ECX] | out[CPUID_EDX], 0);

    cpu = apply(f, "max,-hypervisor");
    cpu_cpuid(cpu, 0x40000000, 0, out);
    assert_false(has(cpu, FEATURE_KVM));
}

/* Software engines: only when asked for. */
static void test_paravirtual_software(void **state)
{
    Fixture *f = *state;
    uint32_t out[4];
    f->m.features = NULL;
    CpuState *cpu = apply(f, "max");
    assert_false(has(cpu, FEATURE_KVM));
    cpu = apply(f, "max,kvm=on,-kvm-steal-time");
    cpu_cpuid(cpu, 0x40000001, 0, out);
    assert_int_equal(out[CPUID_EAX], 0x010040fb & ~(1u << 5));
    cpu = apply(f, "max,+kvmclock");
    cpu_cpuid(cpu, 0x40000001, 0, out);
    assert_int_equal(out[CPUID_EAX], 1u << 0 | 1u << 3);
    f->m.features = &f->source;
}

static void test_lacking(void **state)
{
    Fixture *f = *state;
    feature_set(&f->source.can, FEATURE_MOVBE, false);
    feature_set(&f->source.can, FEATURE_AVX2, false);
    f->source.warned = true; /* the text is for people */
    CpuState *cpu = apply(f, "Haswell");
    assert_false(has(cpu, FEATURE_MOVBE));
    assert_false(has(cpu, FEATURE_AVX2));
    assert_true(has(cpu, FEATURE_AVX));
    want_error(f, "Haswell,enforce", "the test's host lacks movbe, avx2");
    apply(f, "Haswell,enforce,-movbe,-avx2");
    apply(f, "max,+movbe");
    want_error(f, "max,+movbe,enforce", "lacks movbe");
    want_error(f, "max,hv-relaxed", "Hyper-V");
    want_error(f, "max,hv_vapic=on", "Hyper-V");
}

/* max is what every engine has, host all there is, named models what they are. */
static void test_max_and_host(void **state)
{
    Fixture *f = *state;
    CpuState *cpu = apply(f, "max");
    for (int id = 1; id < NR_FEATURES; id++) {
        if (has(cpu, id)) {
            assert_true(cpu_feature_implemented(id));
        }
    }
    cpu = apply(f, "host,check=off");
    assert_true(has(cpu, FEATURE_AVX512F));
    feature_set(&f->source.can, FEATURE_AVX512F, false);
    cpu = apply(f, "host");
    assert_false(has(cpu, FEATURE_AVX512F));
    assert_false(has(cpu, FEATURE_AVX512BW));
}

/* Every model is of the host's vendor there, for hypercalls go by it, unless somebody says otherwise. */
static void test_vendor(void **state)
{
    Fixture *f = *state;
    CpuIdentity own;
    assert_string_equal(apply(f, "Haswell")->id.vendor, "GenuineIntel");
    memcpy(f->source.vendor, "GenuineIntel", 13);
    own = apply(f, "max")->id;
    assert_int_equal(own.model, 94);
    assert_string_equal(apply(f, "EPYC")->id.vendor, "GenuineIntel");
    memcpy(f->source.vendor, "AuthenticAMD", 13);
    CpuState *cpu = apply(f, "Haswell");
    assert_string_equal(cpu->id.vendor, "AuthenticAMD");
    assert_int_equal(cpu->id.model, 60);
    assert_string_equal(apply(f, "max")->id.vendor, "AuthenticAMD");
    uint32_t leaf[4];
    host_cpuid(1, 0, leaf);
    assert_int_equal(f->v->cpu.id.stepping, leaf[CPUID_EAX] & 15);
    assert_string_equal(apply(f, "Haswell,vendor=GenuineIntel")->id.vendor, "GenuineIntel");
}

static void test_missing_names(void **state)
{
    (void)state;
    CpuFeatures a = { { 0 } }, b = { { 0 } };
    char names[16];
    feature_set(&a, FEATURE_SSE3, true);
    feature_set(&a, FEATURE_MOVBE, true);
    feature_set(&b, FEATURE_SSE3, true);
    assert_int_equal(features_missing(&a, &b, names, sizeof(names)), 1);
    assert_string_equal(names, "movbe");
    assert_int_equal(features_missing(&b, &a, names, sizeof(names)), 0);
    for (int id = 1; id < NR_FEATURES; id++) {
        feature_set(&a, id, true);
    }
    features_missing(&a, &b, names, sizeof(names)); /* cut, not overrun */
    assert_int_equal(strlen(names), sizeof(names) - 1);
}

/* ---- the kernel's ---- */

static void open_kvm(Fixture *f)
{
    f->vm.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (f->vm.kvm_fd < 0) {
        print_message("skipped: no /dev/kvm\n");
        skip();
    }
    f->vm.fd = kvm_ioctl(f->vm.kvm_fd, KVM_CREATE_VM, NULL);
    assert_true(f->vm.fd >= 0);
    assert_int_equal(kvm_ioctl(f->vm.fd, KVM_CREATE_IRQCHIP, NULL), 0);
    f->k.fd = kvm_ioctl(f->vm.fd, KVM_CREATE_VCPU, NULL);
    assert_true(f->k.fd >= 0);
    f->m.features = kvm_features_new(&f->vm, false);
}

/* The kernel keeps these by itself: OSXSAVE, the APIC bit, MWAIT; sizes of the XSAVE area. */
static uint32_t live_bits(const struct kvm_cpuid_entry2 *e, unsigned reg)
{
    switch (e->function) {
    case 1: return reg == CPUID_ECX ? 1u << 27 | 1u << 3 : reg == CPUID_EDX ? 1u << 9 : 0;
    case 7: return reg == CPUID_ECX && e->index == 0 ? 1u << 4 : 0; /* OSPKE */
    case 0xd: return reg == CPUID_EBX && e->index <= 1 ? UINT32_MAX : 0;
    default: return 0;
    }
}

/* Kernels that run guests without virtualization extensions cannot hide what the host has: they put
 * its features into the table. */
static bool adds_bits(Fixture *f, struct kvm_cpuid2 *c)
{
    Error *err = NULL;
    CpuState *cpu = apply(f, "max,-tsc-deadline,-x2apic");
    uint32_t want[4];
    assert_true(kvm_set_cpuid(&f->k, &err));
    c->nent = 256;
    assert_int_equal(kvm_ioctl(f->k.fd, KVM_GET_CPUID2, c), 0);
    cpu_cpuid(cpu, 1, 0, want);
    for (uint32_t n = 0; n < c->nent; n++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[n];
        if (e->function == 1 && (e->ecx & ~want[CPUID_ECX] & ~live_bits(e, CPUID_ECX))) {
            print_message("this host's KVM shows the host's features, whatever is set: not compared\n");
            return true;
        }
    }
    return false;
}

static void test_round_trip(void **state)
{
    static const char *const models[] = { "max", "host", "qemu64", "Haswell,check=off",
                                          "max,kvm=off" };
    Fixture *f = *state;
    open_kvm(f);
    struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
    bool adds = adds_bits(f, c);
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        Error *err = NULL;
        CpuState *cpu = apply(f, models[i]);
        assert_true(kvm_set_cpuid(&f->k, &err));
        memset(c->entries, 0, 256 * sizeof(c->entries[0]));
        c->nent = 256;
        assert_int_equal(kvm_ioctl(f->k.fd, KVM_GET_CPUID2, c), 0);
        assert_true(c->nent > 10);
        for (uint32_t n = 0; n < c->nent; n++) {
            const struct kvm_cpuid_entry2 *e = &c->entries[n];
            const uint32_t got[4] = { e->eax, e->ebx, e->ecx, e->edx };
            uint32_t want[4];
            if (n && !e->function) {
                break; /* old kernels do not say how many they filled in */
            }
            cpu_cpuid(cpu, e->function, e->index, want);
            for (unsigned reg = 0; reg < 4; reg++) {
                bool features = e->function == 1 || e->function == 7 || e->function == 0xd ||
                                e->function >= 0x80000001;
                uint32_t care = ~live_bits(e, reg) & (adds && features ? 0 : UINT32_MAX);
                if ((got[reg] ^ want[reg]) & care) {
                    fail_msg("%s: leaf %x.%x register %u: want %x, got %x", models[i],
                             e->function, e->index, reg, want[reg], got[reg]);
                }
            }
        }
        assert_true(kvm_can_show(&f->vm, cpu, &err));
    }
    free(c);
}

/* A guest that was shown more than is here is told so by name. */
static void test_can_show(void **state)
{
    Fixture *f = *state;
    open_kvm(f);
    CpuState *cpu = apply(f, "max");
    feature_set(&cpu->features, FEATURE_SMX, true);
    Error *err = NULL;
    assert_false(kvm_can_show(&f->vm, cpu, &err));
    assert_non_null(strstr(error_text(err), "-cpu max,-smx")); /* the cure */
    error_free(err);
}

/* Without a LAPIC of the kernel's nothing is shown that only it does. */
static void test_no_irqchip(void **state)
{
    Fixture *f = *state;
    open_kvm(f);
    f->vm.wanted = KVM_IRQCHIP_OFF;
    CpuFeatureSource *s = kvm_features_new(&f->vm, false);
    assert_false(feature_has(&s->can, FEATURE_X2APIC));
    assert_false(feature_has(&s->can, FEATURE_TSC_DEADLINE));
    assert_false(feature_has(&s->can, FEATURE_KVM_PV_EOI));
    assert_true(feature_has(&s->can, FEATURE_KVM_CLOCK));
    free(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_paravirtual),  T(test_paravirtual_software), T(test_lacking),
        T(test_max_and_host), T(test_vendor), T(test_vendor), T(test_missing_names),        T(test_round_trip),
        T(test_can_show),     T(test_no_irqchip),
    };
#undef T
    return cmocka_run_group_tests_name("kvm cpuid", tests, NULL, NULL);
}
