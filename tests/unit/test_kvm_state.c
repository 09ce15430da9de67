/* SPDX-License-Identifier: GPL-2.0-or-later
 * A CPU's state to /dev/kvm and back: random valid states, MSRs, events, the TSC. No guest code
 * runs. Without /dev/kvm everything is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>

#include <cmocka.h>

#include "accel/kvm/state.h"
#include "cpu/exception.h"
#include "cpu/model.h"
#include "cpu/tsc.h"
#include "hw/core/machine.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { NR_CPUS = 2 };

typedef struct Fixture {
    Machine m;
    KvmVm vm;
    Vcpu *v[NR_CPUS];
    KvmVcpu k[NR_CPUS];
    CpuState *cpus[NR_CPUS];
    uint64_t apic_base, cr8;
    uint64_t seed;
} Fixture;

/* ---- a machine without a board ---- */

static uint64_t get_base(void *opaque)
{
    return ((Fixture *)opaque)->apic_base;
}
static bool set_base(void *opaque, uint64_t val)
{
    ((Fixture *)opaque)->apic_base = val;
    return true;
}
static uint64_t get_cr8(void *opaque)
{
    return ((Fixture *)opaque)->cr8;
}
static void set_cr8(void *opaque, uint64_t val)
{
    ((Fixture *)opaque)->cr8 = val;
}
static const CpuApicOps apic_ops = {
    .get_base = get_base, .set_base = set_base, .get_cr8 = get_cr8, .set_cr8 = set_cr8
};

static void up(Fixture *f, KvmIrqchip irqchip)
{
    Error *err = NULL;
    f->vm.fd = kvm_ioctl(f->vm.kvm_fd, KVM_CREATE_VM, NULL);
    assert_true(f->vm.fd >= 0);
    f->vm.irqchip = irqchip;
    if (irqchip == KVM_IRQCHIP_ON) {
        assert_int_equal(kvm_ioctl(f->vm.fd, KVM_CREATE_IRQCHIP, NULL), 0);
    }
    for (unsigned i = 0; i < NR_CPUS; i++) {
        KvmVcpu *k = &f->k[i];
        k->v = f->v[i];
        k->vm = &f->vm;
        k->fd = kvm_ioctl(f->vm.fd, KVM_CREATE_VCPU, (void *)(uintptr_t)i);
        assert_true(k->fd >= 0);
        assert_true(kvm_set_cpuid(k, &err));
        assert_true(kvm_state_init(k, &err));
    }
}

static void down(Fixture *f)
{
    for (unsigned i = 0; i < NR_CPUS; i++) {
        close(f->k[i].fd);
    }
    close(f->vm.fd);
}

static int set_up(void **state, KvmIrqchip irqchip)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        *state = NULL;
        return 0;
    }
    Fixture *f = calloc(1, sizeof(*f));
    Error *err = NULL;
    vm_lock();
    f->apic_base = 0xfee00900;
    f->seed = 1;
    f->vm.machine = &f->m;
    f->vm.kvm_fd = fd;
    f->vm.fd = kvm_ioctl(fd, KVM_CREATE_VM, NULL);
    kvm_tsc_setup(&f->vm);
    f->vm.wanted = irqchip;
    f->m.features = kvm_features_new(&f->vm, false);
    close(f->vm.fd);
    f->m.cpu = f->cpus;
    f->m.nr_cpus = NR_CPUS;
    for (unsigned i = 0; i < NR_CPUS; i++) {
        f->v[i] = aligned_alloc(64, ROUND_UP(sizeof(Vcpu), 64));
        memset(f->v[i], 0, sizeof(Vcpu));
        CpuState *cpu = &f->v[i]->cpu;
        cpu_init(cpu, &f->m, i);
        f->cpus[i] = cpu;
        cpu->apic_ops = &apic_ops;
        cpu->apic = f;
        assert_true(cpu_model_apply(cpu, "max", &err));
        cpu_reset(cpu, false);
    }
    up(f, irqchip);
    *state = f;
    return 0;
}

static int set_up_off(void **state)
{
    return set_up(state, KVM_IRQCHIP_OFF);
}
static int set_up_on(void **state)
{
    return set_up(state, KVM_IRQCHIP_ON);
}

static int tear_down(void **state)
{
    Fixture *f = *state;
    if (f) {
        guest_clock_stop();
        down(f);
        for (unsigned i = 0; i < NR_CPUS; i++) {
            kvm_state_fini(&f->k[i]);
            free(f->v[i]);
        }
        close(f->vm.kvm_fd);
        free(f->m.features);
        free(f);
        vm_unlock();
    }
    return 0;
}

static Fixture *fixture(void **state)
{
    if (!*state) {
        print_message("skipped: no /dev/kvm\n");
        skip();
    }
    return *state;
}

/* ---- random states that a processor can be in ---- */

static uint64_t rnd(Fixture *f)
{
    f->seed = f->seed * 6364136223846793005ull + 1442695040888963407ull;
    return f->seed >> 32 ^ f->seed << 31;
}

static uint64_t rnd_canonical(Fixture *f)
{
    return (uint64_t)((int64_t)(rnd(f) << 16) >> 16);
}

static void rnd_bytes(Fixture *f, void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)p)[i] = (uint8_t)(rnd(f) >> 13);
    }
}

typedef enum Mode { REAL, PROTECTED, PAE, LONG, NR_MODES } Mode;

/* Hidden parts as descriptors give them: G follows the limit, what is not there is unusable. */
static Segment rnd_segment(Fixture *f, Mode mode, bool code)
{
    Segment s = { .sel = (uint16_t)(rnd(f) & 0xfff8) };
    if (mode == REAL) {
        s.base = (uint64_t)s.sel << 4;
        s.limit = 0xffff;
        s.attr = code ? 0x9b : 0x93;
        return s;
    }
    bool big = rnd(f) & 1;
    s.limit = (uint32_t)rnd(f) & 0xfffff;
    s.attr = (code ? 0x9b : 0x93) | SEG_DB;
    if (big) {
        s.limit = s.limit << 12 | 0xfff;
        s.limit |= 0x100000; /* too far for a limit in bytes */
        s.attr |= SEG_G;
    }
    s.base = mode == LONG ? rnd_canonical(f) : (uint32_t)rnd(f);
    if (mode == LONG && code) {
        s.attr = (s.attr & ~(uint32_t)SEG_DB) | SEG_L;
        s.base = 0;
    }
    return s;
}

static void rnd_segments(Fixture *f, CpuState *cpu, Mode mode)
{
    for (unsigned i = 0; i < NR_SEGS; i++) {
        cpu->seg[i] = rnd_segment(f, mode, i == SEG_CS);
        bool fs_gs = i == SEG_FS || i == SEG_GS;
        if (mode == LONG && !fs_gs) {
            cpu->seg[i].base = 0;
        }
    }
    cpu->tr = (Segment){ .sel = 0x28, .attr = 0x8b, .limit = 0x67, .base = (uint32_t)rnd(f) };
    cpu->ldtr = (Segment){ .sel = 0x30, .attr = 0x82, .limit = 0xffff, .base = (uint32_t)rnd(f) };
    cpu->gdtr = (TableReg){ rnd_canonical(f), rnd(f) & 0xffff };
    cpu->idtr = (TableReg){ rnd_canonical(f), rnd(f) & 0xffff };
}

static void rnd_control(Fixture *f, CpuState *cpu, Mode mode)
{
    static const uint64_t cr0[NR_MODES] = { 0, CR0_PE, CR0_PE | CR0_PG, CR0_PE | CR0_PG };
    static const uint64_t cr4[NR_MODES] = { 0, 0, CR4_PAE, CR4_PAE };
    cpu->cr0 = cr0[mode] | CR0_ET | CR0_NE | (rnd(f) & (CR0_MP | CR0_TS | CR0_WP | CR0_AM));
    cpu->cr4 = cr4[mode] | (rnd(f) & (CR4_DE | CR4_PSE | CR4_PGE | CR4_MCE | CR4_OSFXSR));
    cpu->efer = (rnd(f) & (EFER_SCE | EFER_NXE)) | (mode == LONG ? EFER_LME | EFER_LMA : 0);
    cpu->cr2 = rnd(f);
    cpu->cr3 = rnd(f) & 0x7ffff000;
    if (mode == PAE) {
        for (unsigned i = 0; i < 4; i++) {
            cpu->pdpte[i] = rnd(f) & 1 ? (rnd(f) & 0x7ffff000) | 1 : 0;
        }
    }
    cpu->eflags = (uint32_t)rnd(f) & (FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID);
    cpu->cc = (uint16_t)rnd(f) & CC_MASK;
    for (unsigned i = 0; i < 4; i++) {
        cpu->dr[i] = rnd_canonical(f);
    }
    cpu->dr[6] = 0xffff0ff0 | (rnd(f) & 0xe00f);
    cpu->dr[7] = 0x400 | (rnd(f) & 0xffff03ff & ~0xcull);
}

static void rnd_fpu(Fixture *f, CpuState *cpu)
{
    FpuState *u = &cpu->fpu;
    memset(u, 0, sizeof(*u));
    for (unsigned i = 0; i < 8; i++) {
        rnd_bytes(f, u->st[i], 10);
    }
    u->fcw = 0x40 | (rnd(f) & 0x1f3f);
    u->fsw = rnd(f) & 0x7f7f & ~0x3f; /* none pending */
    u->tag = (uint8_t)rnd(f);
    u->fop = rnd(f) & 0x7ff;
    u->fip = rnd_canonical(f);
    u->fdp = rnd_canonical(f);
    cpu->mxcsr = rnd(f) & 0xffbf;
    bool ymm = f->k[0].state->xfeatures & 4;
    for (unsigned i = 0; i < 16; i++) {
        rnd_bytes(f, &cpu->ymm[i], ymm ? 32 : 16);
    }
}

static void rnd_msrs(Fixture *f, CpuState *cpu)
{
    cpu->star = rnd(f);
    cpu->lstar = rnd_canonical(f);
    cpu->cstar = rnd_canonical(f);
    cpu->sfmask = (uint32_t)rnd(f);
    cpu->kernel_gs_base = rnd_canonical(f);
    cpu->sysenter_cs = rnd(f) & 0xffff;
    uint64_t sysenter_bits = cpu_is_amd(cpu) ? UINT32_MAX : UINT64_MAX;
    cpu->sysenter_esp = rnd_canonical(f) & sysenter_bits;
    cpu->sysenter_eip = rnd_canonical(f) & sysenter_bits;
    cpu->pat = 0x0007040600070406 ^ (rnd(f) & 0x0100000000000000);
    cpu->tsc_adjust = rnd(f);
    cpu->ucode_rev = rnd(f);
    cpu->mtrr.def_type = 6 | (rnd(f) & 0xc00);
    for (unsigned i = 0; i < ARRAY_SIZE(cpu->mtrr.fixed); i++) {
        cpu->mtrr.fixed[i] = rnd(f) & 1 ? 0x0606060606060606 : 0x0000010405060006;
    }
    for (unsigned i = 0; i < NR_MTRR_VAR; i++) {
        cpu->mtrr.base[i] = (rnd(f) & 0x7ffff000) | 6;
        cpu->mtrr.mask[i] = (rnd(f) & 0x7ffff000) | 0x800;
    }
    /* Structures that are not switched on: there is no memory. */
    cpu->kvm = (KvmPv){ .system_time = rnd(f) & 0x7ffffffc, .steal_time = rnd(f) & 0x7fffffc0,
                        .pv_eoi = rnd(f) & 0x7ffffffc, .poll_control = rnd(f) & 1,
                        .foreign = true };
    cpu->mcg_status = rnd(f) & 7;
    for (unsigned i = 0; i < ARRAY_SIZE(cpu->mc_bank); i++) {
        cpu->mc_bank[i] = i % 4 ? rnd(f) : rnd(f) & 1 ? UINT64_MAX : 0;
    }
}

static void rnd_events(Fixture *f, CpuState *cpu, Mode mode)
{
    static const uint8_t faults[] = { EXC_DE, EXC_UD, EXC_NM, EXC_GP, EXC_PF, EXC_SS };
    cpu->shadow = rnd(f) % 3;
    cpu->nmi_blocked = rnd(f) & 1;
    cpu->request = rnd(f) & 1 ? CPU_REQ_NMI : 0;
    cpu->event = CPU_EVENT_NONE;
    cpu->event_vector = 0;
    cpu->event_has_error = false;
    cpu->event_error = 0;
    switch (rnd(f) >> 7 & 3) {
    case 1:
        cpu->event = CPU_EVENT_EXCEPTION;
        cpu->event_vector = faults[rnd(f) % ARRAY_SIZE(faults)];
        if (cpu->event_vector >= EXC_SS && mode != REAL) {
            cpu->event_has_error = true;
            cpu->event_error = rnd(f) & 0x1f;
        }
        break;
    case 2:
        cpu->event = CPU_EVENT_INTERRUPT;
        cpu->event_vector = (uint8_t)(32 + rnd(f) % 224);
        break;
    case 3:
        cpu->event = CPU_EVENT_NMI;
        cpu->event_vector = EXC_NMI;
        break;
    default: break;
    }
}

static void fill(Fixture *f, CpuState *cpu, Mode mode)
{
    for (unsigned i = 0; i < 16; i++) {
        cpu->gpr[i] = rnd(f);
    }
    cpu->rip = rnd_canonical(f);
    rnd_segments(f, cpu, mode);
    rnd_control(f, cpu, mode);
    rnd_fpu(f, cpu);
    rnd_msrs(f, cpu);
    rnd_events(f, cpu, mode);
    f->cr8 = rnd(f) & 15;
    cpu_update_mode(cpu);
}

/* ---- comparing by the table of what a snapshot holds ---- */

static size_t field_size(const StateField *t)
{
    switch (t->kind) {
    case STATE_KIND_BOOL: return sizeof(bool);
    case STATE_KIND_U8: return 1;
    case STATE_KIND_U16: return 2;
    case STATE_KIND_U32:
    case STATE_KIND_I32: return 4;
    case STATE_KIND_STRUCT: return t->size;
    default: return 8;
    }
}

/* RECHECK is what store adds for a software engine's loop. */
static bool same_field(const StateField *t, const char *a, const char *b, size_t n)
{
    if (!strcmp(t->name, "request")) {
        uint32_t x, y;
        memcpy(&x, a, 4);
        memcpy(&y, b, 4);
        return ((x ^ y) & ~(uint32_t)CPU_REQ_RECHECK) == 0;
    }
    return !memcmp(a, b, n);
}

static void compare(const StateField *t, const void *want, const void *got, const char *where)
{
    for (; t->name; t++) {
        size_t n = field_size(t);
        for (size_t i = 0; i < t->count; i++) {
            const char *a = (const char *)want + t->offset + i * n;
            const char *b = (const char *)got + t->offset + i * n;
            char name[80];
            snprintf(name, sizeof(name), "%s%s[%zu]", where, t->name, i);
            if (t->kind == STATE_KIND_STRUCT) {
                strcat(name, ".");
                compare(t->fields, a, b, name);
            } else if (!same_field(t, a, b, n)) {
                uint64_t x = 0, y = 0;
                memcpy(&x, a, n);
                memcpy(&y, b, n);
                fail_msg("%s: want %llx, got %llx", name, (unsigned long long)x,
                         (unsigned long long)y);
            }
        }
    }
}

/* Other values everywhere the kernel is to give back what it was given. */
static void poison(Fixture *f, CpuState *cpu, const CpuState *want)
{
    fill(f, cpu, LONG);
    cpu->event = CPU_EVENT_NONE;
    cpu->request = 0;
    cpu->kvm.foreign = false;
    cpu->kvm.poll_control = want->kvm.poll_control; /* not shown, so not the kernel's */
    if (!feature_has(&cpu->features, FEATURE_KVM_PV_EOI)) {
        cpu->kvm.pv_eoi = want->kvm.pv_eoi;
    }
    memcpy(cpu->pdpte, want->pdpte, sizeof(cpu->pdpte)); /* the kernel's only under PAE paging */
    cpu->event_vector = want->event_vector;
    cpu->event_has_error = want->event_has_error;
    cpu->event_error = want->event_error;
}

/* A kernel that emulates all guest code need not know every kind of paging. */
static bool has_pae(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    fill(container_of(k->vm, Fixture, vm), cpu, PAE);
    kvm_load_state(k);
    kvm_store_state(k);
    return cpu->cr0 & CR0_PG;
}

static void test_random(void **state)
{
    Fixture *f = fixture(state);
    KvmVcpu *k = &f->k[0];
    bool pae = has_pae(k);
    if (!pae) {
        print_message("this host's KVM has no paging outside long mode: not tried\n");
    }
    CpuState *cpu = &k->v->cpu;
    CpuState *want = aligned_alloc(64, ROUND_UP(sizeof(CpuState), 64));
    for (unsigned i = 0; i < 400; i++) {
        f->seed = i + 1;
        if (i % NR_MODES == PAE && !pae) {
            continue;
        }
        fill(f, cpu, i % NR_MODES);
        memcpy(want, cpu, sizeof(*want));
        uint64_t cr8 = f->cr8;
        kvm_load_state(k);
        poison(f, cpu, want);
        kvm_store_state(k);
        if (want->shadow == 1 && cpu->shadow == 2) {
            cpu->shadow = 1; /* SVM knows one kind only */
        }
        compare(cpu_state_table, want, cpu, "");
        if (f->vm.irqchip == KVM_IRQCHIP_OFF) {
            assert_int_equal(f->cr8, cr8);
        }
        assert_int_equal(cpu->mode, want->mode);
    }
    free(want);
}

/* ---- activity, with a LAPIC in the kernel ---- */

static void test_activity(void **state)
{
    Fixture *f = fixture(state);
    static const CpuActivity activities[] = { CPU_ACTIVE, CPU_HALTED, CPU_WAIT_SIPI };
    for (unsigned i = 0; i < 6; i++) {
        KvmVcpu *k = &f->k[1];
        k->v->cpu.activity = activities[i % 3];
        kvm_load_state(k);
        k->v->cpu.activity = CPU_ACTIVE;
        kvm_store_state(k);
        assert_int_equal(k->v->cpu.activity, activities[i % 3]);
    }
    KvmVcpu *k = &f->k[1];
    k->v->cpu.activity = CPU_WAIT_SIPI;
    k->v->cpu.request = CPU_REQ_SIPI;
    k->v->cpu.sipi_vector = 0x9a;
    kvm_load_state(k);
    kvm_store_state(k); /* KVM_GET_MP_STATE makes the kernel act on it */
    if (k->v->cpu.activity == CPU_WAIT_SIPI) {
        assert_true(k->v->cpu.request & CPU_REQ_SIPI);
        assert_int_equal(k->v->cpu.sipi_vector, 0x9a);
    } else {
        assert_int_equal(k->v->cpu.seg[SEG_CS].sel, 0x9a00);
    }
}

/* ---- events ---- */

static void test_pending_db(void **state)
{
    Fixture *f = fixture(state);
    KvmVcpu *k = &f->k[0];
    CpuState *cpu = &k->v->cpu;
    cpu->pending_db = 1 << 14;
    cpu->dr[6] = 0xffff0ff1;
    kvm_load_state(k);
    kvm_store_state(k);
    assert_int_equal(cpu->event, CPU_EVENT_EXCEPTION);
    assert_int_equal(cpu->event_vector, EXC_DB);
    assert_int_equal(cpu->dr[6], 0xffff4ff0);
    assert_int_equal(cpu->pending_db, 0);
    assert_true(cpu->request & CPU_REQ_RECHECK);
    assert_true(cpu_has_work(cpu));
}

/* ---- MSRs ---- */

enum { MSR_TSC = 0x10, MSR_TSC_ADJUST = 0x3b, MSR_TSC_DEADLINE = 0x6e0,
       MSR_ARCH_CAPABILITIES = 0x10a };

/* Not a plain register: counts, acts, or is the model's. 4B564D07 is the end of an asynchronous page fault, 4B564D00 writes the time into memory, 11h and 12h
 * are other names of others, 40000000h and up are Hyper-V's. */
static bool is_plain(uint32_t msr)
{
    return msr >> 12 != 0x40000 && msr != MSR_TSC && msr != MSR_TSC_DEADLINE && msr != MSR_ARCH_CAPABILITIES &&
           msr != 0x4b564d07 && msr != 0x4b564d00 && msr != 0x11 && msr != 0x12;
}

/* Get after set equals, whatever the kernel lets be written; and after a store the vCPU of another VM
 * has it too. */
static void test_msrs(void **state)
{
    Fixture *f = fixture(state);
    KvmVcpu *k = &f->k[0];
    static const uint64_t tries[] = { 0x1000, 1, 0x6, 0x5000, 0x3ff, 0xffff800000001000, 0x8 };
    uint64_t *set = calloc(k->state->nr_list, sizeof(*set));
    bool *done = calloc(k->state->nr_list, sizeof(*done));
    unsigned nr = 0;
    for (size_t i = 0; i < k->state->nr_list; i++) {
        uint32_t msr = k->state->list[i];
        uint64_t got;
        for (size_t j = 0; j < ARRAY_SIZE(tries) && !done[i] && is_plain(msr); j++) {
            if (kvm_set_msr(k, msr, tries[j])) {
                assert_true(kvm_get_msr(k, msr, &got));
                if (got == tries[j]) { /* else some of the bits do not exist */
                    done[i] = true;
                    set[i] = got;
                    nr++;
                }
            }
        }
    }
    print_message("%u of %zu registers take another value\n", nr, k->state->nr_list);
    assert_true(nr >= 20);
    kvm_store_state(k);
    KvmIrqchip irqchip = f->vm.irqchip;
    down(f);
    up(f, irqchip);
    kvm_load_state(k);
    for (size_t i = 0; i < k->state->nr_list; i++) {
        uint64_t got = 0;
        if (done[i]) {
            assert_true(kvm_get_msr(k, k->state->list[i], &got));
            if (got != set[i]) {
                fail_msg("MSR %x: want %llx, got %llx", k->state->list[i],
                         (unsigned long long)set[i], (unsigned long long)got);
            }
        }
    }
    /* A power-up reset is the end of them. */
    cpu_reset(&k->v->cpu, false);
    kvm_load_state(k);
    for (size_t i = 0; i < k->state->nr_kept; i++) {
        uint64_t got = 0;
        if (k->state->kept[i].valid && kvm_get_msr(k, k->state->kept[i].msr, &got)) {
            assert_int_equal(got, k->state->kept[i].init);
        }
    }
    free(set);
    free(done);
}

/* ---- the TSC ---- */

/* The kernel's TSC lies between two looks at ours. */
static void check_tsc(Fixture *f, unsigned i)
{
    uint64_t kernel = 0, before = cpu_tsc(f->cpus[i]);
    assert_true(kvm_get_msr(&f->k[i], MSR_TSC, &kernel));
    uint64_t after = cpu_tsc(f->cpus[i]);
    if (kernel < before || kernel > after) {
        fail_msg("TSC: want %llu..%llu, got %llu", (unsigned long long)before,
                 (unsigned long long)after, (unsigned long long)kernel);
    }
}

static void test_tsc_switches(void **state)
{
    Fixture *f = fixture(state);
    if (!f->k[0].state->has_tsc_offset && !f->m.tsc.is_host) {
        print_message("skipped: the kernel keeps no TSC offset\n");
        skip();
    }
    guest_clock_start();
    cpu_tsc_start(&f->m);
    uint64_t last = cpu_tsc(f->cpus[0]);
    for (unsigned n = 0; n < 100; n++) {
        for (unsigned i = 0; i < NR_CPUS; i++) {
            kvm_load_state(&f->k[i]);
            check_tsc(f, i);
            uint64_t now = cpu_tsc(f->cpus[i]);
            assert_true(now >= last);
            last = now;
            kvm_store_state(&f->k[i]);
            assert_int_equal(f->cpus[i]->tsc_offset, 0);
        }
    }
    if (f->m.tsc.is_host) {
        print_message("this host's KVM cannot shift a TSC: writes are not tried\n");
        return;
    }
    /* What the guest wrote is there afterwards, on this CPU only. */
    kvm_load_state(&f->k[1]);
    uint64_t val = cpu_tsc(f->cpus[1]) + (1ull << 40);
    assert_true(kvm_set_msr(&f->k[1], MSR_TSC, val));
    kvm_store_state(&f->k[1]);
    assert_true(cpu_tsc(f->cpus[1]) >= val);
    assert_true(cpu_tsc(f->cpus[1]) < val + (1ull << 36));
    assert_int_equal(f->cpus[0]->tsc_offset, 0);
}

/* stop and cont: it stands meanwhile, goes on where it stood, and all CPUs by the same. */
static void test_tsc_stops(void **state)
{
    Fixture *f = fixture(state);
    uint64_t last = 0;
    for (unsigned n = 0; n < 100; n++) {
        guest_clock_start();
        cpu_tsc_start(&f->m);
        for (unsigned i = 0; i < NR_CPUS; i++) {
            kvm_load_state(&f->k[i]);
            uint64_t now = cpu_tsc(f->cpus[i]);
            assert_true(now >= last);
            last = now;
        }
        for (unsigned i = 0; i < NR_CPUS; i++) {
            kvm_store_state(&f->k[i]);
        }
        last = cpu_tsc(f->cpus[0]);
        guest_clock_stop();
        cpu_tsc_stop(&f->m);
        uint64_t stopped = cpu_tsc(f->cpus[0]);
        assert_true(stopped >= last);
        if (!f->m.tsc.is_host) {
            assert_int_equal(cpu_tsc(f->cpus[0]), stopped);
        }
        assert_int_equal(f->cpus[0]->tsc_offset, f->cpus[1]->tsc_offset);
        last = stopped;
    }
}

/* A deadline in TSC ticks is as far away in guest time as the rate says. */
static void test_tsc_deadline(void **state)
{
    Fixture *f = fixture(state);
    guest_clock_start();
    cpu_tsc_start(&f->m);
    const CpuState *cpu = f->cpus[0];
    uint64_t before = guest_clock_ns();
    uint64_t at = cpu_tsc_to_guest_ns(cpu, cpu_tsc(cpu) + (uint64_t)cpu->tsc_khz * 1000);
    uint64_t after = guest_clock_ns();
    assert_true(at + 1000000 >= before + 1000000000);
    assert_true(at <= after + 1001000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random, set_up_off, tear_down),
        { "test_random_irqchip", test_random, set_up_on, tear_down, NULL },
        cmocka_unit_test_setup_teardown(test_activity, set_up_on, tear_down),
        cmocka_unit_test_setup_teardown(test_pending_db, set_up_off, tear_down),
        cmocka_unit_test_setup_teardown(test_msrs, set_up_on, tear_down),
        cmocka_unit_test_setup_teardown(test_tsc_switches, set_up_off, tear_down),
        cmocka_unit_test_setup_teardown(test_tsc_stops, set_up_on, tear_down),
        cmocka_unit_test_setup_teardown(test_tsc_deadline, set_up_off, tear_down),
    };
    return cmocka_run_group_tests_name("kvm state", tests, NULL, NULL);
}
