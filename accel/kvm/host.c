/* SPDX-License-Identifier: GPL-2.0-or-later
 * Why KVM can or cannot be used here (Linux Documentation/virt/kvm/api.rst; SDM 2A CPUID; APM 3
 * E.4), in two steps: read the facts, then judge them, so that tests can judge hosts they do not have.
 *
 * Firmware that locks VT-x or SVM is not seen: that is in MSRs, which only the kernel reads. It
 * says so when its module is loaded, so the cure for a missing module names the setting too.
 */
#include "accel/kvm/host.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <linux/kvm.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu/model.h"
#include "util/alloc.h"

/* ---- reading ---- */

enum { CPUID_1_ECX_VMX = 1 << 5, CPUID_81_ECX_SVM = 1 << 2 };
#define CPUID_1_ECX_HYPERVISOR (1u << 31)

static void read_cpuid(KvmHostFacts *f)
{
    unsigned a, b, c, d;
    char vendor[13];
    host_vendor(vendor);
    f->intel = !strcmp(vendor, "GenuineIntel") || !strcmp(vendor, "CentaurHauls");
    f->amd = !strcmp(vendor, "AuthenticAMD") || !strcmp(vendor, "HygonGenuine");
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        f->virt = c & CPUID_1_ECX_VMX;
        f->vm = c & CPUID_1_ECX_HYPERVISOR;
    }
    if (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & CPUID_81_ECX_SVM)) {
        f->virt = true;
    }
    if (f->vm) {
        __cpuid(0x40000000, a, b, c, d);
        memcpy(f->hypervisor, &b, 4);
        memcpy(f->hypervisor + 4, &c, 4);
        memcpy(f->hypervisor + 8, &d, 4);
    }
}

static bool exists(const char *root, const char *path)
{
    char *full = xasprintf("%s%s", root, path);
    bool is = !access(full, F_OK);
    free(full);
    return is;
}

static bool matches(const char *root, const char *pattern)
{
    char *full = xasprintf("%s%s", root, pattern);
    glob_t found;
    bool is = !glob(full, GLOB_NOSORT, NULL, &found);
    globfree(&found);
    free(full);
    return is;
}

static bool listed_in(const struct group *g, const char *user)
{
    for (char **member = g->gr_mem; *member; member++) {
        if (!strcmp(*member, user)) {
            return true;
        }
    }
    return false;
}

static bool process_in_group(gid_t gid)
{
    gid_t groups[256];
    int n = getgroups(256, groups);
    for (int i = 0; i < n; i++) {
        if (groups[i] == gid) {
            return true;
        }
    }
    return getegid() == gid;
}

static void read_node(KvmHostFacts *f, const struct stat *st)
{
    f->node = true;
    f->mode = st->st_mode;
    f->is_owner = geteuid() == st->st_uid;
    f->in_group = process_in_group(st->st_gid);
    const struct passwd *pw = getpwuid(geteuid());
    snprintf(f->user, sizeof(f->user), "%s", pw ? pw->pw_name : "$USER");
    pw = getpwuid(st->st_uid);
    snprintf(f->owner, sizeof(f->owner), "%u", st->st_uid);
    if (pw) {
        snprintf(f->owner, sizeof(f->owner), "%s", pw->pw_name);
    }
    const struct group *gr = getgrgid(st->st_gid);
    snprintf(f->group, sizeof(f->group), "%u", st->st_gid);
    if (gr) {
        snprintf(f->group, sizeof(f->group), "%s", gr->gr_name);
        f->listed = listed_in(gr, f->user);
    }
}

/* What run.c cannot do without; all of it is older than Linux 4.14. */
static const struct {
    int cap;
    const char *name;
} needed[] = {
    { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
    { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
    { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
    { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

static void read_driver(KvmHostFacts *f, int kvm)
{
    f->api_version = ioctl(kvm, KVM_GET_API_VERSION, 0);
    if (f->api_version < 0) {
        f->api_errno = errno;
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(needed) && !f->missing; i++) {
        if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
            f->missing = needed[i].name;
        }
    }
}

/* A VM that is gone at once: nothing else tells whether another hypervisor holds the processor. */
static void try_vm(KvmHostFacts *f, int kvm)
{
    int vm;
    do {
        vm = ioctl(kvm, KVM_CREATE_VM, 0);
    } while (vm < 0 && errno == EINTR);
    f->create_errno = vm < 0 ? errno : 0;
    if (vm >= 0) {
        close(vm);
    }
}

/* *kvm: /dev/kvm, opened; -1: it could not be. */
static void read_facts(KvmHostFacts *f, const char *root, int *kvm)
{
    *f = (KvmHostFacts){ 0 };
    read_cpuid(f);
    f->module = exists(root, "/sys/module/kvm");
    f->vendor_module = matches(root, "/sys/module/kvm_*");
    f->container = exists(root, "/.dockerenv") || exists(root, "/run/.containerenv") ||
                   exists(root, "/run/systemd/container");
    char *path = xasprintf("%s/dev/kvm", root);
    struct stat st;
    if (!stat(path, &st)) {
        read_node(f, &st);
    }
    *kvm = open(path, O_RDWR | O_CLOEXEC);
    f->open_errno = *kvm < 0 ? errno : 0;
    free(path);
    if (*kvm >= 0) {
        read_driver(f, *kvm);
    }
}

void kvm_host_read(KvmHostFacts *f, const char *root)
{
    int kvm;
    read_facts(f, root, &kvm);
    if (kvm >= 0 && !f->api_errno) {
        try_vm(f, kvm);
    }
    if (kvm >= 0) {
        close(kvm);
    }
}

/* ---- judging ---- */

/* Hypervisors by their CPUID signature, and where each has the switch for
 * guests with VT-x or SVM; NULL: nowhere. */
static const struct {
    const char *signature, *name, *cure;
} hypervisors[] = {
    { "KVMKVMKVM", "KVM",
      "give the VM -cpu host, with kvm_intel.nested=1 or kvm_amd.nested=1 on its host" },
    { "TCGTCGTCGTCG", "QEMU's TCG", "give the VM -cpu max" },
    { "VMwareVMware", "VMware",
      "tick 'Virtualize Intel VT-x/EPT or AMD-V/RVI' in the VM's processor settings" },
    { "VBoxVBoxVBox", "VirtualBox", "`VBoxManage modifyvm NAME --nested-hw-virt on` on its host" },
    { "Microsoft Hv", "Hyper-V",
      "`Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions $true` on its host "
      "(WSL: nestedVirtualization=true in .wslconfig)" },
    { "XenVMMXenVMM", "Xen", "nestedhvm=1 in the VM's configuration" },
    { " lrpepyh  vr", "Parallels",
      "tick 'Enable nested virtualization' in the VM's hardware settings" },
    { "prl hyperv  ", "Parallels",
      "tick 'Enable nested virtualization' in the VM's hardware settings" },
    { "bhyve bhyve ", "bhyve", NULL },
    { "ACRNACRNACRN", "ACRN", NULL },
};

static bool no_virt(const KvmHostFacts *f, Error **errp)
{
    const char *what = f->amd ? "SVM" : f->intel ? "VT-x" : "VT-x or SVM";
    if (!f->vm) {
        return error_set(errp,
                         "the processor shows no %s: switch on %s in the firmware (BIOS) setup",
                         what, f->amd ? "'SVM Mode'" : "'Intel Virtualization Technology'");
    }
    for (size_t i = 0; i < ARRAY_SIZE(hypervisors); i++) {
        if (strncmp(f->hypervisor, hypervisors[i].signature, sizeof(f->hypervisor) - 1)) {
            continue;
        }
        if (!hypervisors[i].cure) {
            return error_set(errp,
                             "this machine is itself a VM (%s), which offers its guests no %s",
                             hypervisors[i].name, what);
        }
        return error_set(errp,
                         "this machine is itself a VM (%s) whose processor shows no %s: "
                         "switch on nested virtualization: %s",
                         hypervisors[i].name, what, hypervisors[i].cure);
    }
    return error_set(errp,
                     "this machine is itself a VM (hypervisor '%s') whose processor shows no %s: "
                     "switch on nested virtualization for it on its host",
                     f->hypervisor, what);
}

static bool no_module(const KvmHostFacts *f, Error **errp)
{
    const char *module = f->amd ? "kvm-amd" : "kvm-intel";
    return error_set(errp,
                     "the kernel module %s is not loaded: `sudo modprobe %s`; if that is refused, "
                     "switch on %s in the firmware (BIOS) setup",
                     module, module, f->amd ? "'SVM Mode'" : "'Intel Virtualization Technology'");
}

/* There is no node, or nobody behind it. */
static bool no_device(const KvmHostFacts *f, Error **errp)
{
    if (f->vendor_module && f->container) {
        return error_set(errp, "no /dev/kvm in this container: start it with --device /dev/kvm");
    }
    if (f->vendor_module) {
        return error_set(errp, "no /dev/kvm, though the kernel has the module: "
                               "`sudo mknod -m 660 /dev/kvm c 10 232`");
    }
    bool ok = f->virt ? no_module(f, errp) : no_virt(f, errp);
    return ok || error_prefix(errp, f->node ? "no KVM behind /dev/kvm: " : "no /dev/kvm: ");
}

static bool no_permission(const KvmHostFacts *f, Error **errp)
{
    enum { GROUP_RW = 060 };
    bool group_may = (f->mode & GROUP_RW) == GROUP_RW;
    if (f->is_owner || (group_may && f->in_group)) { /* a device cgroup, AppArmor, SELinux */
        return error_set(
            errp, "permission denied on /dev/kvm, though its mode would allow it: a container "
                  "or sandbox forbids it; allow the device 10:232 there");
    }
    if (!group_may) {
        return error_set(errp,
                         "permission denied on /dev/kvm, which is for its owner '%s' alone: "
                         "`sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm`, or run as '%s'",
                         f->owner, f->owner);
    }
    if (f->listed) {
        return error_set(
            errp,
            "permission denied on /dev/kvm: you are in its group '%s' only from your next "
            "login on; log in again, or `newgrp %s`",
            f->group, f->group);
    }
    return error_set(errp,
                     "permission denied on /dev/kvm, which is for the group '%s': "
                     "`sudo usermod -aG %s $USER`, then log in again",
                     f->group, f->group);
}

static bool is_directory(const KvmHostFacts *f, Error **errp)
{
    return error_set(errp,
                     "/dev/kvm is a directory, which docker's -v makes where the host has none: "
                     "`sudo rmdir /dev/kvm`%s",
                     f->container ? " there, and start the container with --device /dev/kvm"
                                  : ", then `sudo mknod -m 660 /dev/kvm c 10 232`");
}

static bool not_opened(const KvmHostFacts *f, Error **errp)
{
    switch (f->open_errno) {
    case EACCES:
    case EPERM: return no_permission(f, errp);
    case ENOENT:
    case ENODEV: /* a node of udev's for a module that is not there */
    case ENXIO: return no_device(f, errp);
    case EISDIR: return is_directory(f, errp);
    default: return error_set_errno(errp, f->open_errno, "could not open /dev/kvm");
    }
}

bool kvm_host_no_vm(int create_errno, Error **errp)
{
    switch (create_errno) {
    case EBUSY:
        return error_set(
            errp, "the processor's virtualization is busy: another hypervisor (VirtualBox, VMware) "
                  "holds it; shut its VMs down");
    case ENOMEM: return error_set(errp, "no memory for a VM: free some");
    case EMFILE: return error_set(errp, "too many open files for a VM: `ulimit -n 4096`");
    default:
        return error_set_errno(errp, create_errno,
                               "KVM makes no VM (see the end of `sudo dmesg`)");
    }
}

bool kvm_host_judge(const KvmHostFacts *f, Error **errp)
{
    if (f->open_errno) {
        return not_opened(f, errp);
    }
    if (f->api_errno) {
        return error_set_errno(errp, f->api_errno,
                               "/dev/kvm is not the KVM device: "
                               "`sudo rm /dev/kvm && sudo mknod -m 660 /dev/kvm c 10 232`");
    }
    if (f->api_version != KVM_API_VERSION) {
        return error_set(errp,
                         "the kernel's KVM has version %d of its interface, Vireo needs %d: "
                         "boot another kernel",
                         f->api_version, KVM_API_VERSION);
    }
    if (f->missing) {
        return error_set(errp, "the kernel's KVM has no %s: boot Linux 4.14 or newer", f->missing);
    }
    return !f->create_errno || kvm_host_no_vm(f->create_errno, errp);
}

bool kvm_host_probe(Error **errp)
{
    KvmHostFacts f;
    kvm_host_read(&f, "");
    return kvm_host_judge(&f, errp);
}

int kvm_host_open(Error **errp)
{
    KvmHostFacts f;
    int kvm;
    read_facts(&f, "", &kvm);
    if (kvm_host_judge(&f, errp)) {
        return kvm;
    }
    if (kvm >= 0) {
        close(kvm);
    }
    return -1;
}

bool kvm_host_suits(Error **errp)
{
    KvmHostFacts f = { 0 };
    read_cpuid(&f);
    return f.virt ||
           error_set(errp, "the processor shows no VT-x or SVM, so that /dev/kvm emulates guest "
                           "code (`vireo doctor` measures how fast)");
}
