/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest debug on /dev/kvm: single steps, breakpoints, watchpoints, INT3, on a few instructions in real mode.
 * Without /dev/kvm everything is skipped; and what concerns INT3 where
 * nobody tells of it.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "accel/kvm/debug.h"
#include "accel/kvm/kvm.h"
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
    0x8b, 0x16, 0x02, 0x20,       /* 100a mov 0x2002, %dx */
    0xeb, 0xf0,                   /* 100e jmp 1000 */
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

/* ---- watchpoints ---- */

static struct kvm_guest_debug told; /* the last KVM_SET_GUEST_DEBUG */
static uint32_t fake_dr6;           /* the next KVM_RUN comes back with this; 0: as it does */

/* In front of libc's: what the kernel is told, and a hit from a kernel that has none. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (request == KVM_SET_GUEST_DEBUG) {
        memcpy(&told, arg, sizeof(told));
    }
    if (request == KVM_RUN && __atomic_load_n(&fake_dr6, __ATOMIC_SEQ_CST)) {
        struct kvm_run *run = kvm_vcpu(m.vcpu[0])->run;
        run->exit_reason = KVM_EXIT_DEBUG;
        run->debug.arch = (struct kvm_debug_exit_arch){ .exception = 1, .pc = CODE + 9,
                                                        .dr6 = fake_dr6 };
        __atomic_store_n(&fake_dr6, 0, __ATOMIC_SEQ_CST);
        return 0;
    }
    return (int)syscall(SYS_ioctl, fd, request, arg);
}

/* DR7: R/Wn at bits 16 + 4n, LENn above, Gn at 2n + 1 (SDM 3B 17.2.4). */
static void test_watchpoints_told(void **state)
{
    KvmDebug d = { .hw = { { DATA, KVM_BREAK_WRITE, 2 },
                           { DATA + 8, KVM_BREAK_ACCESS, 8 },
                           { DATA + 4, KVM_BREAK_ACCESS, 4 },
                           { DATA + 3, KVM_BREAK_WRITE, 1 } },
                   .nr_hw = 4, .hit = on_hit };
    (void)state;
    start();
    fake_dr6 = 0xffff0ff0 | 1 << 2;
    run_to_hit(&d);
    assert_true(told.control & KVM_GUESTDBG_USE_HW_BP);
    assert_false(told.control & KVM_GUESTDBG_SINGLESTEP);
    assert_int_equal(told.arch.debugreg[0], DATA);
    assert_int_equal(told.arch.debugreg[3], DATA + 3);
    assert_int_equal(told.arch.debugreg[7] & 0xffff00aa, 0x1fb500aa);
    assert_int_equal(last.what, KVM_HIT_BREAK);
    assert_int_equal(last.which, 2);
    assert_int_equal(last.lin, CODE + 9);
}

/* Where the kernel emulates all code nobody looks at data. */
static bool watches_data = true;

static void run_to_data_hit(const KvmDebug *d)
{
    start();
    watches_data = watches_data && !is_tcg() && run_to_hits(d, 1);
    if (!watches_data) {
        skip();
    }
}

/* #DB comes behind the instruction. */
static void test_write_watchpoint(void **state)
{
    KvmDebug d = { .hw = { { DATA, KVM_BREAK_WRITE, 2 } }, .nr_hw = 1, .hit = on_hit };
    (void)state;
    run_to_data_hit(&d);
    assert_int_equal(last.what, KVM_HIT_BREAK);
    assert_int_equal(last.which, 0);
    assert_int_equal(last.lin, CODE + 9);
    assert_int_equal(m.cpu[0]->rip, CODE + 9);
    m.cpu[0]->gpr[REG_RBX] = 0;
    run_to_hit(&d); /* once round */
    assert_int_equal(m.cpu[0]->rip, CODE + 9);
    assert_int_equal(m.cpu[0]->gpr[REG_RBX], 1);
}

/* A read is no write; nor is one beside it an access. */
static void test_access_watchpoint(void **state)
{
    KvmDebug d = { .hw = { { DATA + 4, KVM_BREAK_ACCESS, 4 },
                           { DATA + 2, KVM_BREAK_WRITE, 2 },
                           { DATA + 3, KVM_BREAK_ACCESS, 1 } },
                   .nr_hw = 3, .hit = on_hit };
    (void)state;
    run_to_data_hit(&d);
    assert_int_equal(last.what, KVM_HIT_BREAK);
    assert_int_equal(last.which, 2);
    assert_int_equal(m.cpu[0]->rip, CODE + 14);
    d.hw[0] = (KvmBreak){ DATA + 1, KVM_BREAK_ACCESS, 1 }; /* of two bytes that are written */
    run_to_hit(&d);
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
        cmocka_unit_test(test_watchpoints_told),
        cmocka_unit_test(test_write_watchpoint),
        cmocka_unit_test(test_access_watchpoint),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
