/* SPDX-License-Identifier: GPL-2.0-or-later
 * The time stamp counter on KVM. The kernel gives a guest the host's TSC (scaled, where the
 * processor can) plus an offset. So that neither a stop nor a move to another engine is seen,
 * every TSC of a machine that KVM takes part in counts with the host's (cpu/tsc.c), and offsets are
 * given to the kernel as numbers (KVM_VCPU_TSC_OFFSET), not as "it is this much now": they stay
 * equal where they were. Kernels before 5.16 cannot, nor does that fit a scaled TSC: there IA32_TSC
 * is written, which the kernel itself rounds to the offset of the machine's other vCPUs.
 */
#include <errno.h>
#include <unistd.h>

#include "accel/kvm/state.h"
#include "cpu/model.h"
#include "cpu/tsc.h"

enum { MSR_TSC = 0x10 };

static int tsc_attr(KvmVcpu *k, unsigned long request, uint64_t *offset)
{
    struct kvm_device_attr a = { .group = KVM_VCPU_TSC_CTRL,
                                 .attr = KVM_VCPU_TSC_OFFSET,
                                 .addr = (uintptr_t)offset };
    return kvm_ioctl(k->fd, request, &a);
}

static int tsc_msr(KvmVcpu *k, unsigned long request, uint64_t *val)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = { .head.nmsrs = 1, .entry = { .index = MSR_TSC, .data = *val } };
    int r = kvm_ioctl(k->fd, request, &m);
    *val = m.entry.data;
    return r == 1 ? 0 : r < 0 ? r : -EINVAL;
}

/* Kernels before 5.17 tell it of a vCPU only. */
static int rate_of_scratch_vcpu(const KvmVm *vm)
{
    int khz = -ENODEV, fd = kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, NULL);
    if (fd >= 0) {
        int vcpu = kvm_ioctl(fd, KVM_CREATE_VCPU, NULL);
        if (vcpu >= 0) {
            khz = kvm_ioctl(vcpu, KVM_GET_TSC_KHZ, NULL);
            close(vcpu);
        }
        close(fd);
    }
    return khz;
}

/* The kernel takes what is nearer than this for its own rate: 250 ppm. */
static bool is_near(uint32_t khz, uint32_t host_khz)
{
    uint32_t apart = khz > host_khz ? khz - host_khz : host_khz - khz;
    return apart <= host_khz / 4000;
}

static int host_rate(const KvmVm *vm)
{
    int khz = vm->fd >= 0 ? kvm_ioctl(vm->fd, KVM_GET_TSC_KHZ, NULL) : 0;
    return khz > 0 ? khz : rate_of_scratch_vcpu(vm);
}

void kvm_tsc_setup(const KvmVm *vm)
{
    int khz = host_rate(vm);
    if (khz > 0) {
        vm->machine->tsc.khz = (uint32_t)khz;
    }
}

uint32_t kvm_tsc_misfit(const KvmVm *vm, const CpuState *cpu)
{
    int host_khz = host_rate(vm);
    bool fits = host_khz <= 0 || cpu->tsc_khz == (uint32_t)host_khz ||
                is_near(cpu->tsc_khz, (uint32_t)host_khz) || kvm_cap(vm, KVM_CAP_TSC_CONTROL) > 0;
    return fits ? 0 : (uint32_t)host_khz;
}

bool kvm_tsc_fits(const KvmVm *vm, const CpuState *cpu, Error **errp)
{
    uint32_t host_khz = kvm_tsc_misfit(vm, cpu);
    const char *spec = vm->machine->config.cpu_model;
    return !host_khz ||
           error_set(errp,
                     "its TSC counts %u kHz, the host's %u kHz, and this host's KVM cannot scale "
                     "it; start with -cpu %s,tsc-frequency=%u000",
                     cpu->tsc_khz, host_khz, spec ? spec : cpu_model_name(cpu->model), host_khz);
}

/* Where the host's own TSC is unstable the kernel moves offsets by itself. */
static bool keeps_offset(KvmVcpu *k)
{
    uint64_t want = cpu_tsc_host_offset(&k->v->cpu), got = 0;
    return tsc_attr(k, KVM_SET_DEVICE_ATTR, &want) == 0 &&
           tsc_attr(k, KVM_GET_DEVICE_ATTR, &got) == 0 && want == got;
}

/* Some hosts run guests without virtualization extensions and take an offset to no effect: a guest
 * reads their TSC, although another offset was just asked for. */
static bool shows_host_tsc(KvmVcpu *k)
{
    uint64_t val = 0, before = host_tsc();
    return tsc_msr(k, KVM_GET_MSRS, &val) == 0 && val >= before && val <= host_tsc();
}

bool kvm_tsc_init(KvmVcpu *k, Error **errp)
{
    CpuState *cpu = &k->v->cpu;
    KvmState *s = k->state;
    Machine *m = cpu->machine;
    s->has_tsc_offset = kvm_cap(k->vm, KVM_CAP_VCPU_ATTRIBUTES) > 0 &&
                        tsc_attr(k, KVM_HAS_DEVICE_ATTR, NULL) == 0;
    int host_khz = kvm_ioctl(k->fd, KVM_GET_TSC_KHZ, NULL);
    if (host_khz <= 0) {
        return true; /* the host's own rate is not stable: nothing to go by */
    }
    if (cpu->tsc_khz != (uint32_t)host_khz) {
        if (!kvm_tsc_fits(k->vm, cpu, errp)) {
            return false;
        }
        int r = kvm_ioctl(k->fd, KVM_SET_TSC_KHZ, (void *)(uintptr_t)cpu->tsc_khz);
        if (r < 0) {
            return error_set_errno(errp, -r, "KVM does not take a TSC of %u kHz", cpu->tsc_khz);
        }
        s->has_tsc_offset = false;
    } else {
        bool tried = s->has_tsc_offset;
        s->has_tsc_offset = tried && !m->tsc.is_host && keeps_offset(k);
        s->tsc_moves = tried && !s->has_tsc_offset;
        if (s->has_tsc_offset) {
            cpu_tsc_follow_host(m);
        } else if (tried && shows_host_tsc(k)) {
            cpu_tsc_be_host(m);
        }
    }
    return true;
}

/* Where the host's TSC is unstable the kernel takes a value near that of another vCPU for the
 * firmware's, which writes the same to all, and adds the time between the two writes: a vCPU that comes
 * seconds later, because it was halted, would be ahead by as much, its kvmclock jump, and the guest
 * count the seconds for ever. Behind a value that is near to none the next one stands as it is. */
static int write_far_off(KvmVcpu *k)
{
    uint64_t far_off = cpu_tsc(&k->v->cpu) ^ 1ull << 62;
    return tsc_msr(k, KVM_SET_MSRS, &far_off);
}

void kvm_tsc_load(KvmVcpu *k)
{
    KvmState *s = k->state;
    const CpuState *cpu = &k->v->cpu;
    int r;
    if (cpu->machine->tsc.is_host) {
        return;
    }
    s->adjust_loaded = cpu->tsc_adjust;
    if (s->has_tsc_offset) {
        s->tsc_loaded = cpu_tsc_host_offset(cpu);
        r = tsc_attr(k, KVM_SET_DEVICE_ATTR, &s->tsc_loaded);
    } else {
        r = s->tsc_moves ? write_far_off(k) : 0;
        uint64_t now = cpu_tsc(cpu);
        r = r < 0 ? r : tsc_msr(k, KVM_SET_MSRS, &now);
    }
    if (r < 0) {
        kvm_state_warn(k, "setting the TSC", r);
    }
}

/* The guest may have written IA32_TSC or IA32_TSC_ADJUST meanwhile. */
void kvm_tsc_store(KvmVcpu *k)
{
    KvmState *s = k->state;
    CpuState *cpu = &k->v->cpu;
    uint64_t val = 0;
    if (cpu->machine->tsc.is_host) {
        return;
    }
    if (s->has_tsc_offset) {
        if (tsc_attr(k, KVM_GET_DEVICE_ATTR, &val) == 0) {
            cpu->tsc_offset += val - s->tsc_loaded;
            s->tsc_loaded = val;
        }
    } else {
        /* The kernel counts what the guest adds by either register in this one; how much time a call
         * takes does not come into it. */
        cpu->tsc_offset += cpu->tsc_adjust - s->adjust_loaded;
        s->adjust_loaded = cpu->tsc_adjust;
    }
}
