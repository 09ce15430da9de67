/* SPDX-License-Identifier: GPL-2.0-or-later
 * Does KVM run guest code on the processor? A /dev/kvm that emulates each instruction has the
 * whole interface and some two million instructions a second. A VM of one page counts a register
 * down in real mode, far and near; the difference of the times has no exit in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "accel/kvm/host.h"

enum {
    PAGE = 4096,
    NEAR = 16,
    FAR = 2000,
    INSNS_A_LOOP = 2,
    TRIES = 3,                /* the first may wait for a processor */
    BUDGET_NS = 9 * 1000000,  /* what the tries may take, by how long the steps took */
    LONG_NS = 2 * 1000000,    /* a loop that takes this is long enough to tell */
};

/* 66 49 dec ecx; 75 fc jnz to it; f4 hlt */
static const uint8_t loop[] = { 0x66, 0x49, 0x75, 0xfc, 0xf4 };

typedef struct Guest {
    int kvm, vm, vcpu;
    uint8_t *page;
    struct kvm_run *run;
    size_t run_size;
    uint32_t exit_reason; /* where it was not the expected one */
} Guest;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool guest_memory(Guest *g)
{
    g->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->page == MAP_FAILED) {
        return false;
    }
    memcpy(g->page, loop, sizeof(loop));
    struct kvm_userspace_memory_region slot = { .memory_size = PAGE,
                                                .userspace_addr = (uintptr_t)g->page };
    return !ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

static bool guest_vcpu(Guest *g)
{
    int size = ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    g->vcpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
    if (size < 0 || g->vcpu < 0) {
        return false;
    }
    g->run_size = (size_t)size;
    g->run = mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu, 0);
    struct kvm_sregs s;
    if (g->run == MAP_FAILED || ioctl(g->vcpu, KVM_GET_SREGS, &s)) {
        return false;
    }
    s.cs.base = s.cs.selector = 0;
    return !ioctl(g->vcpu, KVM_SET_SREGS, &s);
}

static bool guest_open(Guest *g)
{
    *g = (Guest){ .kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC),
                  .vm = -1,
                  .vcpu = -1,
                  .page = MAP_FAILED,
                  .run = MAP_FAILED };
    if (g->kvm < 0) {
        return false;
    }
    g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
    return g->vm >= 0 && guest_memory(g) && guest_vcpu(g);
}

static void guest_close(Guest *g)
{
    if (g->run != MAP_FAILED) {
        munmap(g->run, g->run_size);
    }
    const int fds[] = { g->vcpu, g->vm, g->kvm };
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    if (g->page != MAP_FAILED) {
        munmap(g->page, PAGE);
    }
}

/* Nanoseconds from the first instruction to HLT; 0: something else came. */
static uint64_t time_loop(Guest *g, unsigned times)
{
    struct kvm_regs r = { .rflags = 2, .rcx = times };
    if (ioctl(g->vcpu, KVM_SET_REGS, &r)) {
        return 0;
    }
    uint64_t start = now_ns();
    int ret;
    do {
        ret = ioctl(g->vcpu, KVM_RUN, 0);
    } while (ret && errno == EINTR);
    uint64_t took = now_ns() - start;
    if (ret || g->run->exit_reason != KVM_EXIT_HLT) {
        g->exit_reason = ret ? 0 : g->run->exit_reason;
        return 0;
    }
    return took ? took : 1;
}

/* Long ones twice: what disturbed them may not come again. */
static uint64_t time_step(Guest *g, unsigned times)
{
    uint64_t took = time_loop(g, times), again = took > LONG_NS ? time_loop(g, times) : took;
    return MIN(took, again);
}

/* How far to count: FAR, or less where that takes long. Twice as far as before each time, so that no
 * step takes much longer than LONG_NS. *about_ns: what a try may take. 0: no guest runs. */
static unsigned far_enough(Guest *g, uint64_t near_ns, uint64_t *about_ns)
{
    uint64_t took = near_ns;
    for (unsigned far = 2 * NEAR; far < FAR; far *= 2) {
        took = time_step(g, far);
        *about_ns = near_ns + took;
        if (!took || took > LONG_NS) {
            return took ? far : 0;
        }
    }
    *about_ns = near_ns + 2 * took;
    return FAR;
}

/* The best of some tries: what disturbs can only slow it down. */
static double measure(Guest *g)
{
    double best = 0;
    uint64_t near_ns = time_step(g, NEAR), far_ns = UINT64_MAX, about_ns = 0;
    if (near_ns > LONG_NS) {
        return NEAR * INSNS_A_LOOP * 1e3 / (double)near_ns;
    }
    unsigned far_to = near_ns ? far_enough(g, near_ns, &about_ns) : 0;
    for (uint64_t i = 0; far_to && i < TRIES && best < KVM_FAST_MIPS; i++) {
        if (i && (i + 1) * about_ns > BUDGET_NS) {
            break;
        }
        uint64_t near = time_loop(g, NEAR), far = time_loop(g, far_to);
        if (!near || !far) {
            return 0;
        }
        near_ns = MIN(near_ns, near);
        far_ns = MIN(far_ns, far);
        /* Where exits take longer than the loop, the difference is noise: at most 1 us then. */
        uint64_t ns = far_ns > near_ns + 1000 ? far_ns - near_ns : 1000;
        best = (far_to - NEAR) * INSNS_A_LOOP * 1e3 / (double)ns;
    }
    return best;
}

double kvm_host_speed(Error **errp)
{
    Guest g;
    double mips = guest_open(&g) ? measure(&g) : 0;
    int err = errno;
    guest_close(&g);
    if (!mips && g.exit_reason) {
        error_set(errp, "KVM runs no guest: exit reason %u", g.exit_reason);
    } else if (!mips) {
        error_set_errno(errp, err, "KVM runs no guest");
    }
    return mips;
}

bool kvm_host_helps(Error **errp)
{
    double mips = kvm_host_speed(errp);
    if (!mips) {
        return false;
    }
    return mips >= KVM_FAST_MIPS ||
           error_set(errp,
                     "/dev/kvm emulates guest code instead of running it (about %.2g million "
                     "instructions a second)",
                     mips);
}
