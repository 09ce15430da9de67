/* SPDX-License-Identifier: GPL-2.0-or-later
 * Local APICs as their CPUs see them: acknowledge, EOI, priorities, ExtINT, IPIs, INIT and SIPI,
 * x2APIC registers and its transitions, TSC deadline. tests/hw/test_apic.py has the rest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/intc/apic.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { NR_CPUS = 3, MMIO = 0xfee00000, EOI = 0xb0, TPR = 0x80, ICR = 0x300, ICR2 = 0x310,
       X2 = 0x800, DEADLINE = 0x6e0, EN = 0x800, EXTD = 0x400 };

static Machine machine;
static CpuState cpus[NR_CPUS];
static CpuState *cpu_ptr[NR_CPUS];
static unsigned eoi_vector, nr_eois;
static int pic_vector;

static int fake_pic(void *opaque)
{
    (void)opaque;
    return pic_vector;
}

static void on_eoi(void *opaque, unsigned vector)
{
    (void)opaque;
    eoi_vector = vector;
    nr_eois++;
}
static EoiListener listener = { .eoi = on_eoi };

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    vm_lock();
    assert_true(main_loop_init(&err));
    guest_clock_set_manual();
    machine.config.cpus = machine.config.cores = NR_CPUS;
    machine_setup(&machine);
    for (unsigned i = 0; i < NR_CPUS; i++) {
        cpu_init(&cpus[i], &machine, i);
        assert_true(cpu_model_apply(&cpus[i], "max", &err));
        cpu_ptr[i] = &cpus[i];
    }
    machine.cpu = cpu_ptr;
    machine.nr_cpus = NR_CPUS;
    assert_true(apic_create_all(&machine, &err));
    irqchip_add_eoi_listener(&machine, &listener);
    cpus[0].pic_ack = fake_pic;
    return 0;
}

static void store(unsigned reg, uint32_t val)
{
    address_space_store(&machine.memory, MMIO + reg, val, 4);
}

static uint32_t load(unsigned reg)
{
    return address_space_load(&machine.memory, MMIO + reg, 4);
}

static void fresh(void)
{
    machine_reset_devices(&machine);
    for (unsigned i = 0; i < NR_CPUS; i++) {
        cpus[i].request = 0;
    }
    store(0xf0, 0x1ff);
    nr_eois = 0;
}

static bool intr(unsigned i)
{
    return cpus[i].request & CPU_REQ_INTR;
}

static int ack(unsigned i)
{
    return cpus[i].apic_ops->ack(cpus[i].apic);
}

static bool wrmsr(unsigned i, uint32_t msr, uint64_t val)
{
    return cpus[i].apic_ops->write_msr(cpus[i].apic, msr, val);
}

static uint64_t rdmsr(unsigned i, uint32_t msr)
{
    uint64_t val = 0xdead;
    assert_true(cpus[i].apic_ops->read_msr(cpus[i].apic, msr, &val));
    return val;
}

static bool set_mode(unsigned i, unsigned bits)
{
    return cpus[i].apic_ops->set_base(cpus[i].apic, MMIO | (i ? 0 : 0x100) | bits);
}

static void test_acknowledge(void **state)
{
    (void)state;
    fresh();
    assert_false(intr(0));
    apic_deliver(&machine, 0, false, APIC_FIXED, 0x51, false);
    apic_deliver(&machine, 0, false, APIC_FIXED, 0x62, true);
    assert_true(intr(0));
    assert_int_equal(ack(0), 0x62);
    assert_false(intr(0)); /* 51h is below */
    assert_int_equal(load(0xa0), 0x60);
    apic_deliver(&machine, 0, false, APIC_FIXED, 0x68, false);
    assert_false(intr(0)); /* same class */
    apic_deliver(&machine, 0, false, APIC_FIXED, 0x70, false);
    assert_true(intr(0));
    assert_int_equal(ack(0), 0x70);
    store(EOI, 0);
    assert_int_equal(nr_eois, 0);
    store(EOI, 0);
    assert_int_equal(nr_eois, 1);
    assert_int_equal(eoi_vector, 0x62);
    assert_int_equal(ack(0), 0x68);
    store(EOI, 0);
    assert_int_equal(ack(0), 0x51);
    store(EOI, 0);
    assert_int_equal(ack(0), -1);
    assert_int_equal(nr_eois, 1);
}

static void test_task_priority(void **state)
{
    (void)state;
    fresh();
    cpus[0].apic_ops->set_cr8(cpus[0].apic, 5);
    assert_int_equal(load(TPR), 0x50);
    apic_deliver(&machine, 0, false, APIC_FIXED, 0x5f, false);
    assert_false(intr(0));
    assert_int_equal(ack(0), -1);
    store(TPR, 0x4f);
    assert_int_equal(cpus[0].apic_ops->get_cr8(cpus[0].apic), 4);
    assert_true(intr(0));
    store(TPR, 0xf0);
    assert_false(intr(0)); /* and withdrawn */
}

static void test_extint(void **state)
{
    (void)state;
    fresh();
    pic_vector = 0x08;
    irq_line_set(apic_lint(&cpus[0], 0), true);
    assert_false(intr(0)); /* LINT0 is masked */
    store(0x350, 0x700);
    assert_true(intr(0));
    assert_int_equal(ack(0), 0x08);
    irq_line_set(apic_lint(&cpus[0], 0), false);
    assert_false(intr(0));
    assert_true(set_mode(0, 0));
    irq_line_set(apic_lint(&cpus[0], 0), true);
    assert_true(intr(0)); /* no APIC: LINT0 is INTR, LINT1 NMI */
    assert_int_equal(ack(0), 0x08);
    irq_line_set(apic_lint(&cpus[0], 0), false);
    irq_line_set(apic_lint(&cpus[0], 1), true);
    irq_line_set(apic_lint(&cpus[0], 1), false);
    assert_int_equal(cpus[0].request, CPU_REQ_NMI);
    assert_int_equal(load(0x30), UINT32_MAX); /* nobody answers */
}

static void test_ipis(void **state)
{
    (void)state;
    fresh();
    store(ICR2, 1 << 24);
    store(ICR, 0x4500); /* INIT */
    assert_int_equal(cpus[1].request, CPU_REQ_INIT);
    store(ICR, 0x8500); /* deassert: nothing */
    assert_int_equal(cpus[0].request, 0);
    store(ICR, 0x469a); /* SIPI */
    assert_int_equal(cpus[1].request, CPU_REQ_INIT | CPU_REQ_SIPI);
    assert_int_equal(cpus[1].sipi_vector, 0x9a);
    store(ICR, 0xc4400); /* NMI to all others */
    assert_int_equal(cpus[0].request, 0);
    assert_int_equal(cpus[2].request, CPU_REQ_NMI);
    store(ICR, 0xc0030); /* they are not enabled */
    assert_false(intr(2));
    assert_int_equal(load(0x280), 0);
    assert_true(set_mode(2, EN | EXTD));
    assert_true(wrmsr(2, X2 + 0x0f, 0x1ff));
    store(ICR, 0xc0030);
    assert_true(intr(2));
    assert_int_equal(ack(2), 0x30);
}

static void test_init_resets(void **state)
{
    (void)state;
    fresh();
    store(TPR, 0x20);
    store(0x3e0, 0xb);
    store(0x320, 0x20040);
    store(0x380, 1000);
    apic_deliver(&machine, 0, false, APIC_FIXED, 0x51, false);
    apic_deliver(&machine, 0, false, APIC_INIT, 0, false);
    assert_int_equal(cpus[0].request, CPU_REQ_INIT);
    assert_int_equal(load(TPR), 0);
    assert_int_equal(load(0x320), 0x10000);
    assert_int_equal(load(0xf0), 0xff);
    assert_int_equal(load(0x220), 0);
    assert_true(cpus[0].apic_ops->get_base(cpus[0].apic) == (MMIO | 0x900));
}

static void test_lowest_priority(void **state)
{
    (void)state;
    fresh();
    for (unsigned i = 1; i < NR_CPUS; i++) {
        assert_true(set_mode(i, EN | EXTD));
        assert_true(wrmsr(i, X2 + 0x0f, 0x1ff));
    }
    store(TPR, 0x40);
    assert_true(wrmsr(1, X2 + 0x08, 0x30));
    assert_true(wrmsr(2, X2 + 0x08, 0x20));
    apic_deliver(&machine, 0xff, false, APIC_LOWEST, 0x91, false);
    assert_false(intr(0));
    assert_false(intr(1));
    assert_int_equal(ack(2), 0x91);
}

static void test_x2apic(void **state)
{
    (void)state;
    fresh();
    uint64_t val;
    const CpuApicOps *ops = cpus[1].apic_ops;
    assert_false(ops->read_msr(cpus[1].apic, X2 + 2, &val)); /* not in xAPIC mode */
    assert_false(set_mode(1, EXTD));
    assert_true(set_mode(1, EN | EXTD));
    assert_false(set_mode(1, EN)); /* no way back but through disabled */
    assert_true(set_mode(1, 0));
    assert_false(set_mode(1, EN | EXTD));
    assert_true(set_mode(1, EN));
    assert_true(set_mode(1, EN | EXTD));
    assert_false(ops->set_base(cpus[1].apic, MMIO | EN | EXTD | 1));
    assert_false(ops->set_base(cpus[1].apic, 1ull << cpus[1].phys_bits | EN | EXTD));
    assert_int_equal(rdmsr(1, X2 + 2), 1);
    assert_int_equal(rdmsr(1, X2 + 0x0d), 2); /* cluster 0, bit 1 */
    static const uint32_t bad_writes[] = { 0x02, 0x03, 0x0a, 0x0d, 0x0e, 0x10, 0x31, 0x39, 0x2f };
    for (unsigned i = 0; i < ARRAY_SIZE(bad_writes); i++) {
        assert_false(wrmsr(1, X2 + bad_writes[i], 0));
    }
    static const uint32_t bad_reads[] = { 0x0b, 0x0e, 0x31, 0x3f, 0x00, 0x2f, 0x09 };
    for (unsigned i = 0; i < ARRAY_SIZE(bad_reads); i++) {
        assert_false(ops->read_msr(cpus[1].apic, X2 + bad_reads[i], &val));
    }
    assert_false(wrmsr(1, X2 + 0x0b, 1));
    assert_false(wrmsr(1, X2 + 0x28, 1));
    assert_false(wrmsr(1, X2 + 0x08, 0x100));
    assert_false(wrmsr(1, X2 + 0x32, 0x400));
    assert_true(wrmsr(1, X2 + 0x0f, 0x1ff));
    assert_true(wrmsr(1, X2 + 0x3f, 0x77)); /* self IPI */
    assert_int_equal(ack(1), 0x77);
    assert_true(wrmsr(1, X2 + 0x0b, 0));
    assert_true(wrmsr(1, X2 + 0x30, 0xffull << 32 | 0x78)); /* ff is an id here */
    assert_false(intr(0));
    assert_true(wrmsr(1, X2 + 0x30, 0xffffffffull << 32 | 0x78));
    assert_int_equal(rdmsr(1, X2 + 0x30), 0xffffffff00000078);
    assert_int_equal(ack(0), 0x78);
    assert_int_equal(ack(1), 0x78);
    assert_true(wrmsr(1, X2 + 0x30, 2ull << 32 | 0x800 | 0x88)); /* logical */
    assert_int_equal(ack(1), 0x88);
}

static void test_tsc_deadline(void **state)
{
    (void)state;
    fresh();
    uint64_t tsc = cpu_tsc(&cpus[0]);
    assert_true(wrmsr(0, DEADLINE, tsc + 5000));
    assert_int_equal(rdmsr(0, DEADLINE), 0); /* not in this mode */
    store(0x320, 0x40040);
    assert_true(wrmsr(0, DEADLINE, tsc + 5000));
    assert_int_equal(rdmsr(0, DEADLINE), tsc + 5000);
    uint64_t when = cpu_tsc_to_guest_ns(&cpus[0], tsc + 5000);
    guest_clock_advance_to(when - 1);
    assert_false(intr(0));
    guest_clock_advance_to(when);
    assert_int_equal(ack(0), 0x40);
    assert_int_equal(rdmsr(0, DEADLINE), 0);
    store(EOI, 0);
    assert_true(wrmsr(0, DEADLINE, 1)); /* long past */
    assert_int_equal(ack(0), 0x40);
    store(EOI, 0);
    assert_true(wrmsr(0, DEADLINE, cpu_tsc(&cpus[0]) + 1000));
    store(0x320, 0x40);
    assert_int_equal(timer_next_deadline(TIMER_GUEST), UINT64_MAX); /* the mode change disarmed */
}

static void test_relocation(void **state)
{
    (void)state;
    fresh();
    assert_true(cpus[0].apic_ops->set_base(cpus[0].apic, 0xfed40000 | 0x100 | EN));
    assert_int_equal(address_space_load(&machine.memory, 0xfed40030, 4), 0x50014);
    assert_int_equal(load(0x30), UINT32_MAX);
    assert_true(set_mode(0, EN));
    assert_int_equal(load(0x30), 0x50014);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acknowledge), cmocka_unit_test(test_task_priority),
        cmocka_unit_test(test_extint),      cmocka_unit_test(test_ipis),
        cmocka_unit_test(test_init_resets), cmocka_unit_test(test_lowest_priority),
        cmocka_unit_test(test_x2apic),      cmocka_unit_test(test_tsc_deadline),
        cmocka_unit_test(test_relocation),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, NULL);
}
