/* SPDX-License-Identifier: GPL-2.0-or-later
 * How fast is KVM? Kernels of any speed, in a time that only they let pass: the answer, and that even
 * the slowest is not asked for long. Without /dev/kvm everything is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "accel/kvm/host.h"

static struct {
    bool on;
    uint64_t now_ns, insn_ps, exit_ns; /* an instruction takes so long, an exit so long */
    unsigned stalled_run;              /* this KVM_RUN takes 50 ms more; 0: none */
    unsigned runs;
    uint64_t rcx;
    struct kvm_run *run;
} fake;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (!fake.on) {
        return (int)syscall(SYS_clock_gettime, clock, t);
    }
    *t = (struct timespec){ (time_t)(fake.now_ns / 1000000000), (long)(fake.now_ns % 1000000000) };
    return 0;
}

/* The memory of kvm_run is found by its file: the vCPU is a memfd. */
static int new_vcpu(void)
{
    int fd = memfd_create("vcpu", MFD_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, 4096) == 0);
    fake.run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(fake.run != MAP_FAILED);
    return fd;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (!fake.on) {
        return (int)syscall(SYS_ioctl, fd, request, arg);
    }
    switch (request) {
    case KVM_CREATE_VM: return memfd_create("vm", MFD_CLOEXEC);
    case KVM_CREATE_VCPU: return new_vcpu();
    case KVM_GET_VCPU_MMAP_SIZE: return 4096;
    case KVM_SET_REGS: fake.rcx = ((struct kvm_regs *)arg)->rcx; return 0;
    case KVM_RUN:
        fake.runs++;
        fake.now_ns += fake.exit_ns + fake.rcx * 2 * fake.insn_ps / 1000;
        fake.now_ns += fake.runs == fake.stalled_run ? 50000000 : 0;
        fake.run->exit_reason = KVM_EXIT_HLT;
        return 0;
    default: return 0;
    }
}

/* Million instructions a second; *took_ns: in the kernel's own time. */
static double speed(uint64_t insn_ps, uint64_t exit_ns, unsigned stalled_run, uint64_t *took_ns)
{
    if (access("/dev/kvm", R_OK | W_OK)) {
        skip();
    }
    Error *err = NULL;
    fake.now_ns = 1000000000;
    fake.insn_ps = insn_ps;
    fake.exit_ns = exit_ns;
    fake.stalled_run = stalled_run;
    fake.runs = 0;
    fake.on = true;
    double mips = kvm_host_speed(&err);
    fake.on = false;
    munmap(fake.run, 4096);
    assert_null(err);
    *took_ns = fake.now_ns - 1000000000;
    return mips;
}

enum { MS = 1000000 };

static void test_fast(void **state)
{
    uint64_t took;
    (void)state;
    assert_true(speed(300, 1500, 0, &took) > 1000);
    assert_true(took < 1 * MS);
    assert_true(speed(300, 60000, 0, &took) > 1000); /* on a hypervisor: exits are slow */
    assert_true(took < 2 * MS);
}

/* About 2 million a second; and down to a thousand. */
static void test_emulated(void **state)
{
    (void)state;
    for (uint64_t ns = 500; ns <= 1000000; ns = ns * 3 / 2) {
        uint64_t took;
        double mips = speed(ns * 1000, 20000, 0, &took);
        assert_true(mips < KVM_FAST_MIPS);
        assert_true(mips > 0.3 * 1000 / (double)ns && mips < 1100 / (double)ns);
        /* Even NEAR's 32 instructions, twice, take longer than that at some point. */
        assert_true(took < MAX((uint64_t)20 * MS, 64 * ns + MS));
    }
}

/* One run waits for a processor, whichever it is: a fast host stays fast, and a slow one slow. */
static void test_stalls(void **state)
{
    uint64_t took;
    (void)state;
    for (unsigned run = 1; run < 12; run++) {
        assert_true(speed(300, 2000, run, &took) > KVM_FAST_MIPS);
        assert_true(speed(500000, 20000, run, &took) < KVM_FAST_MIPS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fast),
        cmocka_unit_test(test_emulated),
        cmocka_unit_test(test_stalls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
