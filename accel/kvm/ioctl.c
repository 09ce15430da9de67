/* SPDX-License-Identifier: GPL-2.0-or-later
 * Calls into /dev/kvm, logged by name with -d kvm. The log shows what the kernel was asked and what
 * it said; arguments only where they tell what a guest did (the others are long tables).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "accel/kvm/kvm.h"
#include "util/log.h"

#define ROW(x) { x, #x }
static const struct {
    unsigned long request;
    const char *name;
} names[] = {
    ROW(KVM_GET_API_VERSION), ROW(KVM_CREATE_VM), ROW(KVM_CHECK_EXTENSION),
    ROW(KVM_GET_VCPU_MMAP_SIZE), ROW(KVM_GET_SUPPORTED_CPUID), ROW(KVM_GET_MSR_INDEX_LIST),
    ROW(KVM_GET_MSR_FEATURE_INDEX_LIST), ROW(KVM_CREATE_VCPU), ROW(KVM_SET_TSS_ADDR),
    ROW(KVM_SET_IDENTITY_MAP_ADDR), ROW(KVM_SET_USER_MEMORY_REGION), ROW(KVM_GET_DIRTY_LOG),
    ROW(KVM_CLEAR_DIRTY_LOG), ROW(KVM_SET_NR_MMU_PAGES), ROW(KVM_ENABLE_CAP),
    ROW(KVM_CREATE_IRQCHIP), ROW(KVM_CREATE_PIT2), ROW(KVM_GET_IRQCHIP), ROW(KVM_SET_IRQCHIP),
    ROW(KVM_GET_PIT2), ROW(KVM_SET_PIT2), ROW(KVM_IRQ_LINE), ROW(KVM_SIGNAL_MSI),
    ROW(KVM_SET_GSI_ROUTING), ROW(KVM_IRQFD), ROW(KVM_IOEVENTFD),
    ROW(KVM_REGISTER_COALESCED_MMIO), ROW(KVM_UNREGISTER_COALESCED_MMIO), ROW(KVM_GET_CLOCK),
    ROW(KVM_SET_CLOCK), ROW(KVM_REINJECT_CONTROL), ROW(KVM_SET_BOOT_CPU_ID),
    ROW(KVM_GET_STATS_FD), ROW(KVM_RUN), ROW(KVM_GET_REGS), ROW(KVM_SET_REGS),
    ROW(KVM_GET_SREGS), ROW(KVM_SET_SREGS), ROW(KVM_GET_SREGS2), ROW(KVM_SET_SREGS2),
    ROW(KVM_GET_MSRS), ROW(KVM_SET_MSRS), ROW(KVM_SET_CPUID2), ROW(KVM_GET_CPUID2),
    ROW(KVM_GET_FPU), ROW(KVM_SET_FPU), ROW(KVM_GET_XSAVE), ROW(KVM_SET_XSAVE),
    ROW(KVM_GET_XSAVE2), ROW(KVM_GET_XCRS), ROW(KVM_SET_XCRS), ROW(KVM_GET_LAPIC),
    ROW(KVM_SET_LAPIC), ROW(KVM_GET_MP_STATE), ROW(KVM_SET_MP_STATE), ROW(KVM_GET_VCPU_EVENTS),
    ROW(KVM_SET_VCPU_EVENTS), ROW(KVM_GET_DEBUGREGS), ROW(KVM_SET_DEBUGREGS),
    ROW(KVM_SET_GUEST_DEBUG), ROW(KVM_INTERRUPT), ROW(KVM_NMI), ROW(KVM_SMI),
    ROW(KVM_SET_TSC_KHZ), ROW(KVM_GET_TSC_KHZ), ROW(KVM_KVMCLOCK_CTRL), ROW(KVM_TPR_ACCESS_REPORTING),
    ROW(KVM_TRANSLATE), ROW(KVM_GET_NESTED_STATE), ROW(KVM_SET_NESTED_STATE),
    ROW(KVM_X86_SETUP_MCE), ROW(KVM_X86_GET_MCE_CAP_SUPPORTED), ROW(KVM_X86_SET_MCE),
    ROW(KVM_SET_SIGNAL_MASK), ROW(KVM_SET_DEVICE_ATTR), ROW(KVM_GET_DEVICE_ATTR),
    ROW(KVM_HAS_DEVICE_ATTR), ROW(KVM_RESET_DIRTY_RINGS), ROW(KVM_X86_SET_MSR_FILTER),
};
#undef ROW

static const char *request_name(unsigned long request)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].request == request) {
            return names[i].name;
        }
    }
    return "ioctl";
}

/* The arguments that matter; empty: none do. */
static void describe(unsigned long request, const void *arg, char *buf, size_t size)
{
    buf[0] = 0;
    switch (request) {
    case KVM_SET_USER_MEMORY_REGION: {
        const struct kvm_userspace_memory_region *r = arg;
        snprintf(buf, size, " slot %u gpa 0x%llx size 0x%llx host 0x%llx%s%s", r->slot,
                 (unsigned long long)r->guest_phys_addr, (unsigned long long)r->memory_size,
                 (unsigned long long)r->userspace_addr,
                 r->flags & KVM_MEM_READONLY ? " read-only" : "",
                 r->flags & KVM_MEM_LOG_DIRTY_PAGES ? " dirty-log" : "");
        break;
    }
    case KVM_GET_DIRTY_LOG:
        snprintf(buf, size, " slot %u", ((const struct kvm_dirty_log *)arg)->slot);
        break;
    case KVM_INTERRUPT:
        snprintf(buf, size, " vector 0x%x", ((const struct kvm_interrupt *)arg)->irq);
        break;
    case KVM_IRQ_LINE: {
        const struct kvm_irq_level *l = arg;
        snprintf(buf, size, " gsi %u level %u", l->irq, l->level);
        break;
    }
    case KVM_SIGNAL_MSI: {
        const struct kvm_msi *m = arg;
        snprintf(buf, size, " 0x%08x%08x = 0x%x", m->address_hi, m->address_lo, m->data);
        break;
    }
    case KVM_ENABLE_CAP: {
        const struct kvm_enable_cap *c = arg;
        snprintf(buf, size, " %u args %llu %llu", c->cap, (unsigned long long)c->args[0],
                 (unsigned long long)c->args[1]);
        break;
    }
    case KVM_GET_CLOCK:
    case KVM_SET_CLOCK:
        snprintf(buf, size, " %llu ns",
                 (unsigned long long)((const struct kvm_clock_data *)arg)->clock);
        break;
    case KVM_CREATE_VM:
    case KVM_CHECK_EXTENSION:
    case KVM_CREATE_VCPU:
    case KVM_SET_TSS_ADDR:
    case KVM_SET_NR_MMU_PAGES:
    case KVM_SET_TSC_KHZ: snprintf(buf, size, " %lu", (unsigned long)arg); break;
    default: break;
    }
}

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
    int r;
    do {
        r = ioctl(fd, request, arg);
    } while (r < 0 && errno == EINTR && request != KVM_RUN);
    r = r < 0 ? -errno : r;
    if (log_on(LOG_KVM) && request != KVM_RUN) { /* run.c tells how that one ended */
        char args[160];
        describe(request, arg, args, sizeof(args));
        if (r < 0) {
            log_printf("kvm: %s%s: %s\n", request_name(request), args, strerror(-r));
        } else {
            log_printf("kvm: %s%s = %d\n", request_name(request), args, r);
        }
    }
    return r;
}

int kvm_cap(const KvmVm *vm, int cap)
{
    int fd = vm->fd >= 0 ? vm->fd : vm->kvm_fd;
    int r = kvm_ioctl(fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);
    return r < 0 ? 0 : r;
}
