/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest debug on /dev/kvm: single steps, breakpoints, INT3, on a few instructions in real mode.
 * Without /dev/kvm everything is skipped; and what concerns INT3 where
 * nobody tells of it.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "accel/kvm/debug.h"
#include "util/alloc.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { RAM = 0x10000, CODE = 0x1000, DATA = 0x2000, IVT_BP = 3 * 4, HANDLER = 0x1100 };

static const uint8_t code[] = {
    0x40,                         /* 1000 inc %ax */
    0x40,                         /* 1001 inc %ax */
    0xcc,                         /* 1002 int3 */
    0xc7, 0x06, 0x00, 0x20, 7, 0, /* 1003 movw $7, 0x2000 */
    0x43,                         /* 1009 inc %bx */
    0xeb, 0xf4,                   /* 100a jmp 1000 */
};
static const uint8_t handler[] = { 0x41, 0xcf }; /* inc %cx; iret */

static Machine m;
static Region ram;

static volatile unsigned hits;
static KvmDebugHit last;
static bool mine = true;

static bool on_hit(Vcpu *v, const KvmDebugHit *hit, void *opaque)
{
    (void)opaque;
    last = *hit;
    __atomic_add_fetch(&hits, 1, __ATOMIC_SEQ_CST);
    if (mine) {
        v->stop = true;
        cpu_request(&v->cpu, CPU_REQ_STOP);
    }
    return mine;
}

static bool is_there(void)
{
    return access("/dev/kvm", R_OK | W_OK) == 0;
}

static int set_up(void **state)
{
    (void)state;
    if (!is_there()) {
        return 0;
    }
    Error *err = NULL;
    vm_lock();
    machine_setup(&m);
    RamBlock *b = ram_block_new("ram", RAM, &err);
    assert_non_null(b);
    memcpy(b->host + CODE, code, sizeof(code));
    memcpy(b->host + HANDLER, handler, sizeof(handler));
    b->host[IVT_BP] = HANDLER & 0xff;
    b->host[IVT_BP + 1] = HANDLER >> 8;
    region_init_ram(&ram, "ram", b, 0, RAM);
    region_add(&m.memory_root, 0, &ram, 0);
    m.nr_cpus = 1;
    EngineChoice choice = { .engine = engine_find("kvm") };
    vcpu_set_add(&choice.vcpus, 0);
    AccelPlan plan = { &choice, 1 };
    assert_true(vcpus_create(&m, &plan, &err));
    CpuState *cpu = m.cpu[0];
    cpu->seg[SEG_CS].sel = 0;
    cpu->seg[SEG_CS].base = 0;
    cpu->rip = CODE;
    cpu->gpr[REG_RSP] = 0x8000;
    guest_clock_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (is_there()) {
        vcpus_destroy(&m);
        vm_unlock();
    }
    return 0;
}

/* Runs until that many hits more; the vCPU is parked then. */
static bool run_to_hits(const KvmDebug *d, unsigned more)
{
    unsigned want = hits + more;
    kvm_debug_set(m.vcpu[0], d);
    vcpus_resume(&m);
    vm_unlock();
    for (unsigned n = 0; n < 4000 && __atomic_load_n(&hits, __ATOMIC_SEQ_CST) < want; n++) {
        usleep(1000);
    }
    vm_lock();
    vcpus_pause(&m);
    return hits >= want;
}

static void run_to_hit(const KvmDebug *d)
{
    assert_true(run_to_hits(d, 1));
}

static void start(void)
{
    if (!is_there()) {
        skip();
    }
    m.cpu[0]->rip = CODE;
}

static void test_step(void **state)
{
    KvmDebug d = { .step = true, .hit = on_hit };
    (void)state;
    start();
    m.cpu[0]->gpr[REG_RAX] = 5;
    run_to_hit(&d);
    assert_int_equal(last.what, KVM_HIT_STEP);
    assert_int_equal(last.lin, CODE + 1);
    assert_int_equal(m.cpu[0]->rip, CODE + 1);
    assert_int_equal(m.cpu[0]->gpr[REG_RAX], 6);
    run_to_hit(&d);
    assert_int_equal(m.cpu[0]->rip, CODE + 2);
    assert_false(m.cpu[0]->eflags & FLAG_TF); /* the debugger's, not the guest's */
}

/* Where the kernel emulates all code it takes INT3 through the IVT without a word, and so does SVM as
 * QEMU's TCG emulates it. */
static bool hears_int3 = true;

static void test_int3(void **state)
{
    KvmDebug d = { .int3 = true, .hit = on_hit };
    (void)state;
    start();
    hears_int3 = run_to_hits(&d, 1);
    if (!hears_int3) {
        skip();
    }
    assert_int_equal(last.what, KVM_HIT_INT3);
    assert_int_equal(last.lin, CODE + 2);
    assert_int_equal(m.cpu[0]->rip, CODE + 2);
}

static void test_int3_of_the_guest(void **state)
{
    KvmDebug d = { .int3 = true, .hit = on_hit };
    KvmDebug brk = { .hw = { { CODE + 9, KVM_BREAK_EXEC, 1 } }, .nr_hw = 1, .hit = on_hit };
    (void)state;
    start();
    if (!hears_int3) {
        skip();
    }
    m.cpu[0]->gpr[REG_RCX] = 0;
    mine = false;
    bool heard = run_to_hits(&d, 3);
    mine = true;
    assert_true(heard);
    run_to_hit(&brk); /* out of the handler */
    assert_true(m.cpu[0]->gpr[REG_RCX] >= 2);
}

/* QEMU's TCG loads a guest's DR7 without looking for breakpoints. */
static bool is_tcg(void)
{
    uint32_t a, b, c, d;
    __cpuid(0x40000000, a, b, c, d);
    return b == 0x54474354; /* TCGT... */
}

static void test_exec_breakpoint(void **state)
{
    KvmDebug d = { .hw = { { CODE + 9, KVM_BREAK_EXEC, 1 } }, .nr_hw = 1, .hit = on_hit };
    (void)state;
    start();
    if (is_tcg()) {
        skip();
    }
    run_to_hit(&d);
    assert_int_equal(last.what, KVM_HIT_BREAK);
    assert_int_equal(last.which, 0);
    assert_int_equal(m.cpu[0]->rip, CODE + 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step),
        cmocka_unit_test(test_int3),
        cmocka_unit_test(test_int3_of_the_guest),
        cmocka_unit_test(test_exec_breakpoint),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
