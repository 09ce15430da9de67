/* SPDX-License-Identifier: GPL-2.0-or-later
 * KVM_SET_CPUID2 (api.rst 4.20): what the kernel supports.
 */
#include <errno.h>
#include <stdlib.h>

#include "accel/kvm/kvm.h"
#include "util/alloc.h"

bool kvm_set_cpuid(KvmVcpu *k, Error **errp)
{
    enum { ENTRIES = 256 };
    struct kvm_cpuid2 *c = xcalloc(1, sizeof(*c) + ENTRIES * sizeof(c->entries[0]));
    c->nent = ENTRIES;
    int r = kvm_ioctl(k->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c);
    r = r < 0 ? r : kvm_ioctl(k->fd, KVM_SET_CPUID2, c);
    free(c);
    return r >= 0 || error_set_errno(errp, -r, "the kernel did not take the CPU model");
}
