/* SPDX-License-Identifier: GPL-2.0-or-later
 * Interrupt controllers handed over to /dev/kvm and taken back: nothing may be lost on the way,
 * nothing may come twice. No guest code runs. Without /dev/kvm everything is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "accel/kvm/irqchip.h"
#include "hw/core/machine.h"
#include "hw/intc/apic.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/isa.h"
#include "hw/misc/pcspk.h"
#include "hw/pc/gsi.h"
#include "hw/timer/i8254.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { NR_CPUS = 2, NR_PINS = 24 };
enum { R_ID = 0x02, R_TPR = 0x08, R_PPR = 0x0a, R_LDR = 0x0d, R_DFR = 0x0e, R_SVR = 0x0f, R_ISR = 0x10, R_TMR = 0x18,
       R_IRR = 0x20, R_ICR = 0x30, R_ICR2 = 0x31, R_LVT = 0x32, R_LINT0 = 0x35, R_INITIAL = 0x38,
       R_CURRENT = 0x39, R_DIVIDE = 0x3e };

/* One for all tests: devices of one process. A VM a test. */
static Machine machine;
static IsaBus isa;
static Gsi gsi;
static Device *pit, *pic, *ioapic;
static KvmVm vm;
static KvmVcpu kvcpu[NR_CPUS];
static Vcpu *vcpu[NR_CPUS];
static CpuState *cpus[NR_CPUS];
static uint64_t seed = 1;

static uint32_t rnd(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed >> 32;
}

/* ---- the machine ---- */

static Device *make(const DeviceType *t, Bus *bus)
{
    Error *err = NULL;
    Device *dev = device_new(&machine, t);
    assert_true(device_realize(dev, bus, NULL, t->name, &err));
    return dev;
}

static void make_cpus(void)
{
    Error *err = NULL;
    machine.config.cpus = machine.config.cores = machine.nr_cpus = NR_CPUS;
    machine.cpu = cpus;
    machine.vcpu = vcpu;
    machine.kvm = &vm;
    for (unsigned i = 0; i < NR_CPUS; i++) {
        vcpu[i] = aligned_alloc(64, ROUND_UP(sizeof(Vcpu), 64));
        memset(vcpu[i], 0, sizeof(Vcpu));
        Vcpu *v = vcpu[i];
        v->engine = engine_find("kvm");
        v->machine = &machine;
        pthread_cond_init(&v->wake, NULL);
        cpus[i] = &v->cpu;
        cpu_init(cpus[i], &machine, i);
        assert_true(cpu_model_apply(cpus[i], "max", &err));
        cpu_reset(cpus[i], false);
        v->kvm = &kvcpu[i];
    }
}

static int make_machine(void **state)
{
    Error *err = NULL;
    (void)state;
    vm_lock();
    assert_true(main_loop_init(&err));
    vm.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    vm.machine = &machine;
    if (vm.kvm_fd >= 0) {
        vm.fd = kvm_ioctl(vm.kvm_fd, KVM_CREATE_VM, NULL);
        kvm_tsc_setup(&vm);
        close(vm.fd);
    }
    machine_setup(&machine);
    make_cpus();
    assert_true(apic_create_all(&machine, &err));
    isa_bus_init(&isa, NULL, &machine);
    gsi_init(&gsi);
    for (unsigned n = 0; n < 16; n++) {
        isa.irq[n] = gsi_input(&gsi, GSI_ISA, n);
    }
    gsi.ioapic = ioapic = make(&type_ioapic, NULL);
    gsi.pic = pic = make(&type_isa_i8259, &isa.bus);
    irq_connect(&pic->irq_out[0], apic_lint(cpus[0], 0));
    cpus[0]->pic_ack = i8259_ack;
    cpus[0]->pic_opaque = pic;
    pit = make(&type_isa_pit, &isa.bus);
    irq_connect(&pit->irq_out[0], gsi_input(&gsi, GSI_ISA, 0));
    Device *spk = device_new(&machine, device_type_find("isa-pcspk"));
    pcspk_set_pit(spk, pit);
    assert_true(device_realize(spk, &isa.bus, NULL, "pcspk", &err));
    guest_clock_start();
    return 0;
}

/* ---- a VM for a test ---- */

static void vm_new(KvmIrqchip wanted)
{
    Error *err = NULL;
    if (vm.kvm_fd < 0) {
        print_message("skipped: no /dev/kvm\n");
        skip();
    }
    machine_reset_devices(&machine);
    vm.wanted = wanted;
    vm.fd = kvm_ioctl(vm.kvm_fd, KVM_CREATE_VM, NULL);
    assert_true(vm.fd >= 0);
    assert_true(kvm_irqchip_create(&vm, &err));
    for (unsigned i = 0; i < NR_CPUS; i++) {
        KvmVcpu *k = &kvcpu[i];
        k->v = vcpu[i];
        k->vm = &vm;
        k->fd = kvm_ioctl(vm.fd, KVM_CREATE_VCPU, (void *)(uintptr_t)i);
        assert_true(k->fd >= 0);
        assert_true(kvm_set_cpuid(k, &err));
        assert_true(kvm_state_init(k, &err));
    }
}

static void vm_free(void)
{
    for (unsigned i = 0; i < NR_CPUS; i++) {
        close(kvcpu[i].fd);
        kvm_state_fini(&kvcpu[i]);
        memset(&kvcpu[i], 0, sizeof(kvcpu[i]));
    }
    kvm_irqchip_forget(&vm);
    close(vm.fd);
}

/* All vCPUs go in; the last one brings the controllers. */
static void enter(void)
{
    for (unsigned i = 0; i < NR_CPUS; i++) {
        vcpu[i]->stop = false;
    }
    vm_unlock();
    for (unsigned i = 0; i < NR_CPUS; i++) {
        assert_int_equal(kvm_irqchip_enter(&kvcpu[i]), i == NR_CPUS - 1);
    }
    vm_lock();
    assert_true(machine.irqchip.ops != NULL);
}

static void leave(void)
{
    for (unsigned i = NR_CPUS; i-- > 0;) {
        vcpu[i]->stop = true;
        kvcpu[i].entered = !i; /* the others have left: one thread cannot wait for itself */
    }
    kvm_irqchip_leave(&kvcpu[0]);
    assert_null(machine.irqchip.ops);
}

/* ---- states ---- */

typedef struct All {
    LapicState lapic[NR_CPUS];
    IoapicState ioapic;
    PicState pic;
    PitState pit;
    Port61State port61;
} All;

static void *place(All *all, const IrqchipPart *part)
{
    switch (part->kind) {
    case IRQCHIP_LAPIC: return &all->lapic[part->cpu->index];
    case IRQCHIP_IOAPIC: return &all->ioapic;
    case IRQCHIP_PIC: return &all->pic;
    case IRQCHIP_PIT: return &all->pit;
    default: return &all->port61;
    }
}

static void save_all(All *all)
{
    memset(all, 0, sizeof(*all));
    list_for_each(pos, &machine.irqchip.parts) {
        IrqchipPart *part = container_of(pos, IrqchipPart, node);
        part->save(part->opaque, place(all, part));
    }
}

static void load_all(const All *all)
{
    list_for_each(pos, &machine.irqchip.parts) {
        IrqchipPart *part = container_of(pos, IrqchipPart, node);
        part->load(part->opaque, place((All *)all, part));
    }
}

/* Counts are as they are now: compared apart. */
static void check_count(uint32_t before, uint32_t after)
{
    assert_true(after <= before && after >= before - before / 10);
}

static void expect_same(All *a, All *b)
{
    for (unsigned i = 0; i < NR_CPUS; i++) {
        check_count(a->lapic[i].reg[R_CURRENT], b->lapic[i].reg[R_CURRENT]);
        a->lapic[i].reg[R_CURRENT] = b->lapic[i].reg[R_CURRENT] = 0;
        a->lapic[i].reg[3] = b->lapic[i].reg[3] = 0; /* the version is no state */
        a->lapic[i].reg[R_PPR] = b->lapic[i].reg[R_PPR] = 0; /* PPR follows from the rest */
        if (a->lapic[i].base & 0x400) { /* an x2APIC has no such register */
            a->lapic[i].reg[R_DFR] = b->lapic[i].reg[R_DFR] = 0;
        }
        for (unsigned n = 0; n < 64; n++) {
            if (a->lapic[i].reg[n] != b->lapic[i].reg[n]) {
                print_message("cpu %u register %02x\n", i, n);
            }
            assert_int_equal(a->lapic[i].reg[n], b->lapic[i].reg[n]);
        }
        assert_true(a->lapic[i].base == b->lapic[i].base);
        assert_true(a->lapic[i].deadline == b->lapic[i].deadline);
        assert_int_equal(a->lapic[i].level0, b->lapic[i].level0);
    }
    assert_memory_equal(&a->ioapic, &b->ioapic, sizeof(a->ioapic));
    assert_memory_equal(&a->pic, &b->pic, sizeof(a->pic));
    for (unsigned n = 0; n < 3; n++) {
        assert_true(b->pit.counter[n].elapsed >= a->pit.counter[n].elapsed);
        a->pit.counter[n].elapsed = b->pit.counter[n].elapsed = 0;
    }
    a->pit.next_irq_ns = b->pit.next_irq_ns = 0;
    assert_memory_equal(&a->pit, &b->pit, sizeof(a->pit));
    assert_memory_equal(&a->port61, &b->port61, sizeof(a->port61));
}

/* ---- registers of ours ---- */

static void outb(unsigned port, uint8_t val)
{
    address_space_store(&machine.io, port, val, 1);
}

static void apic_write(unsigned reg, uint32_t val) /* CPU 0's */
{
    address_space_store(&machine.memory, 0xfee00000 + reg * 16, val, 4);
}

static void ioapic_write(unsigned pin, uint64_t rte)
{
    for (unsigned i = 0; i < 2; i++) {
        address_space_store(&machine.memory, 0xfec00000, 0x10 + 2 * pin + i, 4);
        address_space_store(&machine.memory, 0xfec00010, (uint32_t)(rte >> 32 * i), 4);
    }
}

static void gsi_set(unsigned n, bool level)
{
    irq_line_set(gsi_input(&gsi, GSI_PIRQ, n), level);
}

static void program_pic(void)
{
    static const uint8_t vector[2] = { 0x20, 0x70 }, icw3[2] = { 4, 2 };
    for (unsigned i = 0; i < 2; i++) {
        unsigned base = i ? 0xa0 : 0x20;
        outb(base, 0x11);
        outb(base + 1, vector[i]);
        outb(base + 1, icw3[i]);
        outb(base + 1, 0x01);
        outb(base + 1, 0x00);
    }
    outb(0x4d1, 0x0e); /* 9, 10, 11 by level */
}

static void program_pit(unsigned counter, unsigned mode, unsigned count)
{
    outb(0x43, counter << 6 | 0x30 | mode << 1);
    outb(0x40 + counter, count);
    outb(0x40 + counter, count >> 8);
}

/* Something pending and something in service everywhere. */
static void fill_ours(void)
{
    apic_write(R_SVR, 0x1ff);
    apic_write(R_TPR, 0x20);
    apic_write(R_LDR, 0x01000000);
    apic_write(R_LINT0, 0x700);
    apic_write(R_LVT, 0x20051); /* periodic */
    apic_write(R_DIVIDE, 0xa);
    apic_write(R_INITIAL, 0xffffffff);
    apic_write(R_ICR2, 0x05000000);
    apic_msi(&machine, 0xfee00000, 0x4041);
    assert_int_equal(cpus[0]->apic_ops->ack(cpus[0]->apic), 0x41);
    apic_msi(&machine, 0xfee00000, 0x4062);
    apic_msi(&machine, 0xfee00000, 0xc055);
    ioapic_write(10, 0xa070);   /* level, low, asserted: vector 70h, remote IRR */
    ioapic_write(11, 0x1a071);  /* the same, masked */
    ioapic_write(4, 0x44);      /* edge, sent */
    ioapic_write(2, 0x10030);
    program_pic();
    gsi_set(10, true);
    gsi_set(11, true);
    gsi_set(4, true);
    gsi_set(5, true);
    program_pit(0, 3, 0xffff);
    program_pit(1, 2, 18);
    program_pit(2, 3, 0x4a9);
    outb(0x61, 0x03);
}

static void clear_lines(void)
{
    for (unsigned n = 0; n < NR_PINS; n++) {
        gsi_set(n, false);
    }
}

/* ---- round trips ---- */

static void round_trip(KvmIrqchip mode)
{
    vm_new(mode);
    fill_ours();
    All before, after;
    for (unsigned n = 0; n < 3; n++) {
        save_all(&before);
        enter();
        leave();
        save_all(&after);
        /* Of the PIT's line the kernel makes a pulse, and so do we after it. */
        before.ioapic.inputs &= ~1u, after.ioapic.inputs &= ~1u;
        before.ioapic.irr &= ~4u, after.ioapic.irr &= ~4u;
        before.pic.chip[0].lines &= ~1u, after.pic.chip[0].lines &= ~1u;
        expect_same(&before, &after);
    }
    clear_lines();
    vm_free();
}

static void test_ours_on(void **state)
{
    (void)state;
    round_trip(KVM_IRQCHIP_ON);
}

static void test_ours_split(void **state)
{
    (void)state;
    round_trip(KVM_IRQCHIP_SPLIT);
}

static void rnd_lapic(LapicState *st, unsigned cpu)
{
    bool x2 = rnd() & 1;
    memset(st, 0, sizeof(*st));
    st->base = 0xfee00800 | (cpu ? 0 : 0x100) | (x2 ? 0x400 : 0);
    uint32_t *reg = st->reg;
    reg[R_ID] = x2 ? cpu : cpu << 24;
    reg[R_TPR] = rnd() & 0xf0;
    reg[R_LDR] = x2 ? 1u << cpu : rnd() & 0xff000000;
    reg[R_DFR] = x2 || (rnd() & 1) ? 0xffffffff : 0x0fffffff;
    reg[R_SVR] = 0x100 | (rnd() & 0xff);
    for (unsigned i = 0; i < 8; i++) {
        uint32_t legal = i ? UINT32_MAX : 0xffff0000;
        reg[R_ISR + i] = rnd() & rnd() & rnd() & legal;
        reg[R_TMR + i] = rnd() & legal;
        reg[R_IRR + i] = rnd() & rnd() & legal;
    }
    reg[R_ICR] = rnd() & 0xcc7ff;
    reg[R_ICR2] = x2 ? rnd() : rnd() & 0xff000000;
    reg[R_LVT] = (rnd() & 0xff) | 0x20000; /* periodic */
    for (unsigned i = 1; i < 6; i++) {
        reg[R_LVT + i] = 0x10000 | (rnd() & 0xff);
    }
    reg[R_LINT0] = 0x700 | (rnd() & 0x2000);
    reg[R_DIVIDE] = 0xa;
    reg[R_INITIAL] = 0xf0000000 | rnd();
    reg[R_CURRENT] = reg[R_INITIAL] - (rnd() >> 4);
    if (rnd() & 1) { /* a one-shot that has expired */
        reg[R_LVT] &= ~0x20000u;
        reg[R_CURRENT] = 0;
    }
}

static void rnd_pic(PicState *st)
{
    for (unsigned i = 0; i < 2; i++) {
        st->chip[i] = (PicChipState) {
            .irr = rnd(), .isr = rnd(), .imr = rnd(), .elcr = rnd() & (i ? 0xde : 0xf8),
            .vector_base = rnd() & 0xf8, .lowest = rnd() & 7, .expect = (uint8_t[]){ 0, 2, 3, 4 }[rnd() & 3],
            .icw4_follows = rnd() & 1, .auto_eoi = rnd() & 1, .nested = rnd() & 1,
            .rotate_on_aeoi = rnd() & 1, .special_mask = rnd() & 1, .read_isr = rnd() & 1,
        };
        st->chip[i].irr &= ~st->chip[i].elcr; /* no line is up */
    }
    st->chip[0].irr &= ~4; /* follows from the slave */
}

static void rnd_ioapic(IoapicState *st)
{
    st->id = rnd() & 15;
    st->select = rnd() & 0x3f;
    for (unsigned pin = 0; pin < NR_PINS; pin++) {
        st->redir[pin] = (uint64_t)(rnd() & 0xff000000) << 32 | (rnd() & 0x1afff);
        if (st->redir[pin] & 0x8000) {
            st->redir[pin] |= rnd() & 0x4000;
        }
    }
}

/* Random states: ours -> kernel -> ours, and what the kernel has is the same the second time. */
static void test_random(void **state)
{
    (void)state;
    vm_new(KVM_IRQCHIP_ON);
    for (unsigned n = 0; n < 60; n++) {
        All before, after;
        save_all(&before);
        rnd_pic(&before.pic);
        rnd_ioapic(&before.ioapic);
        before.ioapic.inputs = 0;
        before.ioapic.irr = 0;
        for (unsigned i = 0; i < NR_CPUS; i++) {
            rnd_lapic(&before.lapic[i], i);
        }
        load_all(&before);
        enter();
        struct kvm_irqchip chip[2][3];
        struct kvm_lapic_state lapic[2][NR_CPUS];
        for (unsigned pass = 0; pass < 2; pass++) {
            for (unsigned i = 0; i < 3; i++) {
                memset(&chip[pass][i], 0, sizeof(chip[pass][i]));
                chip[pass][i].chip_id = i;
                assert_int_equal(kvm_ioctl(vm.fd, KVM_GET_IRQCHIP, &chip[pass][i]), 0);
                chip[pass][0].chip.pic.irr &= ~4; /* follows from the slave */
            }
            for (unsigned i = 0; i < NR_CPUS; i++) {
                assert_int_equal(kvm_ioctl(kvcpu[i].fd, KVM_GET_LAPIC, &lapic[pass][i]), 0);
                memset(lapic[pass][i].regs + 16 * R_CURRENT, 0, 4);
                memset(lapic[pass][i].regs + 16 * R_PPR, 0, 4);
            }
            if (!pass) {
                leave();
                save_all(&after);
                enter();
            }
        }
        assert_memory_equal(chip[0], chip[1], sizeof(chip[0]));
        assert_memory_equal(lapic[0], lapic[1], sizeof(lapic[0]));
        leave();
        after.pic.chip[0].irr &= ~4, after.pic.chip[0].lines &= ~4;
        before.ioapic.irr = after.ioapic.irr; /* not state: follows from the lines */
        for (unsigned i = 0; i < 2; i++) { /* lines are as they are driven */
            before.pic.chip[i].lines = after.pic.chip[i].lines;
        }
        before.lapic[0].level0 = after.lapic[0].level0; /* INT, which follows from the 8259s */
        expect_same(&before, &after);
    }
    machine_reset_devices(&machine);
    vm_free();
}

/* ---- things that happen while the kernel has them ---- */

static struct kvm_ioapic_state kernel_ioapic(void)
{
    struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
    assert_int_equal(kvm_ioctl(vm.fd, KVM_GET_IRQCHIP, &chip), 0);
    return chip.chip.ioapic;
}

static bool pending(const LapicState *st, unsigned vector)
{
    return st->reg[R_IRR + vector / 32] >> vector % 32 & 1;
}

static void test_lines(void **state)
{
    (void)state;
    vm_new(KVM_IRQCHIP_ON);
    apic_write(R_SVR, 0x1ff);
    program_pic();
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    ioapic_write(10, 0x8070); /* level */
    ioapic_write(3, 0x43);    /* edge */
    ioapic_write(2, 0x42);    /* GSI 0's */
    enter();
    gsi_set(10, true);
    gsi_set(3, true);
    gsi_set(3, false);
    gsi_set(0, true);
    assert_true(kernel_ioapic().redirtbl[10].fields.remote_irr);
    leave();
    All all;
    save_all(&all);
    assert_true(pending(&all.lapic[0], 0x70));
    assert_true(pending(&all.lapic[0], 0x43));
    assert_true(pending(&all.lapic[0], 0x42));
    assert_true(all.ioapic.redir[10] & 0x4000);
    assert_int_equal(all.pic.chip[0].irr & 0x9, 0x9); /* the kernel's edges outlive their lines */
    assert_int_equal(all.pic.chip[1].irr, 1 << 2);
    assert_int_equal(all.ioapic.inputs, 1 << 10 | 1);

    /* Ours serves them; the line is still up: it asks again. */
    assert_int_equal(cpus[0]->apic_ops->ack(cpus[0]->apic), 0x70);
    apic_write(0xb, 0);
    save_all(&all);
    assert_true(pending(&all.lapic[0], 0x70));
    gsi_set(10, false);
    enter();
    assert_false(kernel_ioapic().irr >> 10 & 1);
    gsi_set(0, false);
    leave();
    machine_reset_devices(&machine);
    vm_free();
}

static void test_msi(void **state)
{
    (void)state;
    vm_new(KVM_IRQCHIP_SPLIT);
    apic_write(R_SVR, 0x1ff);
    ioapic_write(9, 0x8069);
    enter();
    apic_msi(&machine, 0xfee00000, 0x4055);
    gsi_set(9, true); /* our I/O APIC: a message */
    assert_true(vm.routes->msi[9].used);
    assert_int_equal(vm.routes->msi[9].data, 0x8069);
    leave();
    All all;
    save_all(&all);
    assert_true(pending(&all.lapic[0], 0x55));
    assert_true(pending(&all.lapic[0], 0x69));
    assert_true(all.lapic[0].reg[R_TMR + 3] >> (0x69 - 0x60) & 1);
    assert_true(all.ioapic.redir[9] & 0x4000);
    enter();
    irqchip_eoi(&machine, 0x69); /* as KVM_EXIT_IOAPIC_EOI */
    leave();
    clear_lines();
    machine_reset_devices(&machine);
    vm_free();
}

/* A deadline far away stays; one that passes in between comes once. */
static void test_deadline(void **state)
{
    (void)state;
    vm_new(KVM_IRQCHIP_ON);
    if (!feature_has(&cpus[0]->features, FEATURE_TSC_DEADLINE)) {
        vm_free();
        skip();
    }
    apic_write(R_SVR, 0x1ff);
    apic_write(R_LVT, 0x40051);
    uint64_t far = cpu_tsc(cpus[0]) + (1ull << 40);
    assert_true(cpus[0]->apic_ops->write_msr(cpus[0]->apic, 0x6e0, far));
    enter();
    uint64_t now = 0;
    bool kept = kvm_get_msr(&kvcpu[0], 0x6e0, &now) && now == far;
    leave();
    if (!kept) { /* seen where /dev/kvm emulates in software: any deadline reads as 1 */
        print_message("skipped: the kernel does not keep TSC deadlines\n");
        machine_reset_devices(&machine);
        vm_free();
        skip();
    }
    assert_true(cpus[0]->apic_ops->read_msr(cpus[0]->apic, 0x6e0, &now));
    assert_true(now == far);
    All all;
    save_all(&all);
    assert_false(pending(&all.lapic[0], 0x51));
    machine_reset_devices(&machine);
    vm_free();
}

static void test_spent_timer(void **state)
{
    (void)state;
    vm_new(KVM_IRQCHIP_ON);
    apic_write(R_SVR, 0x1ff);
    apic_write(R_LVT, 0x10051); /* one-shot, masked: expires in silence */
    apic_write(R_DIVIDE, 0xb);
    apic_write(R_INITIAL, 1000);
    usleep(2000);
    apic_write(R_LVT, 0x51);
    for (unsigned n = 0; n < 3; n++) {
        enter();
        usleep(2000);
        leave();
        All all;
        save_all(&all);
        assert_false(pending(&all.lapic[0], 0x51));
        assert_int_equal(all.lapic[0].reg[R_INITIAL], 1000);
    }
    machine_reset_devices(&machine);
    vm_free();
}

/* ---- eventfds ---- */

static void signal_fd(int fd)
{
    uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static bool drain(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof(count)) == sizeof(count);
}

static unsigned level_calls;
static void set_pin(void *opaque, bool level)
{
    (void)opaque;
    level_calls++;
    gsi_set(10, level);
}

static void test_irqfd_msi(void **state)
{
    (void)state;
    vm_new(KVM_IRQCHIP_ON);
    apic_write(R_SVR, 0x1ff);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    IrqFd f;
    irqfd_init_msi(&f, &machine, fd, 0xfee00000, 0x4061);
    signal_fd(fd); /* the main loop's */
    main_loop_step(0);
    All all;
    save_all(&all);
    assert_true(pending(&all.lapic[0], 0x61));
    signal_fd(fd); /* nobody's yet: the kernel finds it */
    irqfd_set_message(&f, 0xfee00000, 0x4062);
    enter();
    assert_true(f.standing_in);
    usleep(20000);
    irqfd_set_message(&f, 0xfee00000, 0x4063);
    signal_fd(fd);
    usleep(20000);
    leave();
    assert_false(f.standing_in);
    save_all(&all);
    assert_true(pending(&all.lapic[0], 0x62));
    assert_true(pending(&all.lapic[0], 0x63));
    irqfd_fini(&f);
    close(fd);
    machine_reset_devices(&machine);
    vm_free();
}

static void test_irqfd_resample(void **state)
{
    (void)state;
    vm_new(KVM_IRQCHIP_ON);
    apic_write(R_SVR, 0x1ff);
    ioapic_write(10, 0x8070);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), again = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    IrqFd f;
    irqfd_init_pin(&f, &machine, fd, again, 10, set_pin, NULL);
    signal_fd(fd);
    main_loop_step(0);
    assert_int_equal(level_calls, 1);
    assert_int_equal(cpus[0]->apic_ops->ack(cpus[0]->apic), 0x70);
    assert_false(drain(again));
    apic_write(0xb, 0);
    assert_true(drain(again)); /* EOI: the pin is down, whoever has work says so */
    assert_int_equal(level_calls, 2);
    assert_false(cpus[0]->request & CPU_REQ_INTR);
    enter();
    assert_true(f.standing_in);
    signal_fd(fd);
    usleep(20000);
    assert_true(kernel_ioapic().redirtbl[10].fields.remote_irr);
    leave();
    All all;
    save_all(&all);
    assert_true(pending(&all.lapic[0], 0x70));
    irqfd_fini(&f);
    close(fd);
    close(again);
    machine_reset_devices(&machine);
    vm_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours_on),      cmocka_unit_test(test_ours_split),
        cmocka_unit_test(test_random),       cmocka_unit_test(test_lines),
        cmocka_unit_test(test_msi),          cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_spent_timer),  cmocka_unit_test(test_irqfd_msi),
        cmocka_unit_test(test_irqfd_resample),
    };
    return cmocka_run_group_tests(tests, make_machine, NULL);
}
