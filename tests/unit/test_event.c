/* SPDX-License-Identifier: GPL-2.0-or-later
 * An event that another engine had begun to deliver: comes before any instruction and before all
 * that is asked for now. And what ends a HLT by hypercall.
 */
#include "cpu_box.h"

#include "cpu/kvm_pv.h"

enum { HANDLER = 0x9000, STACK = 0x7000 };

static CpuState *ready(void **state, unsigned vector)
{
    Box *b = *state;
    box_protect(b);
    box_idt(b, vector, gate_make(SEL_CODE0, HANDLER, ACC_INT32, 0));
    b->cpu->eflags = FLAG_IF;
    b->cpu->event_vector = (uint8_t)vector;
    return b->cpu;
}

static void want_frame(void **state, unsigned bytes)
{
    Box *b = *state;
    assert_int_equal(b->cpu->rip, HANDLER);
    assert_int_equal(b->cpu->gpr[REG_RSP], STACK - bytes);
    assert_int_equal(box_get(b, STACK - bytes + (bytes == 16 ? 4 : 0), 4), 0x8000);
    assert_int_equal(b->cpu->event, CPU_EVENT_NONE);
}

static void interrupt(void **state)
{
    CpuState *cpu = ready(state, 0x30);
    cpu->event = CPU_EVENT_INTERRUPT;
    cpu->eflags = 0; /* it was accepted: IF plays no part any more */
    cpu->request = CPU_REQ_NMI;
    assert_true(cpu_has_work(cpu));
    assert_true(cpu_take_events(cpu));
    want_frame(state, 12);
    assert_true(cpu->request & CPU_REQ_NMI); /* that comes next */
    cpu->request = 0;
}

static void fault_with_error_code(void **state)
{
    CpuState *cpu = ready(state, EXC_PF);
    cpu->event = CPU_EVENT_EXCEPTION;
    cpu->event_has_error = true;
    cpu->event_error = 0x6;
    cpu->cr2 = 0x1234;
    assert_true(cpu_take_events(cpu));
    want_frame(state, 16);
    assert_int_equal(box_get(*state, STACK - 16, 4), 0x6);
    assert_int_equal(cpu->cr2, 0x1234);
}

static void nmi(void **state)
{
    CpuState *cpu = ready(state, EXC_NMI);
    cpu->event = CPU_EVENT_NMI;
    cpu->nmi_blocked = false;
    assert_true(cpu_take_events(cpu));
    want_frame(state, 12);
    assert_true(cpu->nmi_blocked);
}

/* A fault within makes a double fault of it, as if delivery had not been interrupted. */
static void double_fault(void **state)
{
    CpuState *cpu = ready(state, EXC_DF);
    cpu->event = CPU_EVENT_EXCEPTION;
    cpu->event_vector = EXC_GP; /* no gate there: #GP again */
    cpu->event_has_error = true;
    assert_true(cpu_take_events(cpu));
    assert_int_equal(cpu->rip, HANDLER);
    assert_int_equal(cpu->activity, CPU_ACTIVE);
}

static void reset_drops_it(void **state)
{
    CpuState *cpu = ready(state, 0x30);
    cpu->event = CPU_EVENT_INTERRUPT;
    uint32_t resets = cpu->resets;
    cpu_reset(cpu, true);
    assert_int_equal(cpu->event, CPU_EVENT_NONE);
    assert_int_equal(cpu->resets, resets);
    cpu_reset(cpu, false);
    assert_int_equal(cpu->resets, resets + 1);
}

/* A kick ends the HLT that is, or else the next. */
static void kicks(void **state)
{
    CpuState *cpu = ready(state, 0x30);
    cpu->eflags = 0;
    cpu->activity = CPU_HALTED;
    assert_false(cpu_has_work(cpu));
    cpu->request = CPU_REQ_KICK;
    assert_true(cpu_has_work(cpu));
    cpu_take_events(cpu);
    assert_int_equal(cpu->activity, CPU_ACTIVE);
    assert_int_equal(cpu->request, 0);
    assert_false(cpu->kvm.unhalted);

    cpu->request = CPU_REQ_KICK;
    cpu_take_events(cpu);
    assert_int_equal(cpu->request, 0);
    cpu->activity = CPU_HALTED;
    assert_true(cpu_has_work(cpu));
    cpu_take_events(cpu);
    assert_int_equal(cpu->activity, CPU_ACTIVE);
    cpu->activity = CPU_HALTED;
    assert_false(cpu_has_work(cpu));
    cpu->activity = CPU_ACTIVE;
}

/* kvmclock stands with guest time and goes on from there. */
static void clock_stops(void **state)
{
    Box *b = *state;
    CpuState *one[] = { b->cpu };
    vm_lock();
    b->m.cpu = one;
    b->cpu->kvm.system_time = 0x5001;
    b->cpu->kvm.clock_ns = 123456789;
    box_put(b, 0x5000, 4, 4);
    kvm_pv_start(&b->m);
    assert_int_equal(box_get(b, 0x5000, 4) & 1, 0);
    assert_true(box_get(b, 0x5000, 4) > 4);
    assert_int_equal(box_get(b, 0x5010, 8), 123456789);
    assert_int_equal(box_get(b, 0x5018, 4), 0x80000000u); /* 1 GHz: a tick is a ns */
    assert_int_equal(box_get(b, 0x501c, 1), 1);
    uint64_t now = kvm_pv_clock_ns(&b->m);
    assert_true(now >= 123456789);
    kvm_pv_stop(&b->m);
    assert_true(b->cpu->kvm.clock_ns >= now);
    assert_int_equal(kvm_pv_clock_ns(&b->m), b->cpu->kvm.clock_ns);
    kvm_pv_start(&b->m);
    assert_int_equal(box_get(b, 0x5010, 8), b->cpu->kvm.clock_ns);
    kvm_pv_stop(&b->m);
    b->m.cpu = NULL;
    vm_unlock();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupt),     cmocka_unit_test(fault_with_error_code),
        cmocka_unit_test(nmi),           cmocka_unit_test(double_fault),
        cmocka_unit_test(reset_drops_it), cmocka_unit_test(kicks),
        cmocka_unit_test(clock_stops),
    };
    return cmocka_run_group_tests_name("event", tests, box_setup, box_teardown);
}
