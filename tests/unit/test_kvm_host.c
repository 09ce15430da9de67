/* SPDX-License-Identifier: GPL-2.0-or-later
 * Why KVM cannot be used: hosts as facts, and what the user is told about each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "accel/kvm/host.h"
#include "util/alloc.h"

#define NODE .node = true, .mode = S_IFCHR | 0660, .owner = "root", .group = "kvm", .user = "alice"
#define INTEL .intel = true, .virt = true
#define AMD .amd = true, .virt = true
#define LOADED .module = true, .vendor_module = true
#define WORKS .api_version = 12

static const struct {
    const char *name;
    KvmHostFacts facts;
    const char *words[4]; /* in the message; none: KVM can be used */
} hosts[] = {
    { "all is well", { NODE, INTEL, LOADED, WORKS }, { NULL } },
    { "all is well in a VM", { NODE, AMD, LOADED, WORKS, .vm = true }, { NULL } },
    { "works though CPUID shows nothing", { NODE, .module = true, WORKS }, { NULL } },

    { "no node, no module, Intel",
      { INTEL, .open_errno = ENOENT },
      { "no /dev/kvm: ", "module kvm-intel", "`sudo modprobe kvm-intel`",
        "Intel Virtualization" } },
    { "no node, no module, AMD",
      { AMD, .open_errno = ENOENT },
      { "no /dev/kvm: ", "`sudo modprobe kvm-amd`", "'SVM Mode'" } },
    { "node without a driver",
      { NODE, AMD, .module = true, .open_errno = ENODEV },
      { "no KVM behind /dev/kvm: ", "`sudo modprobe kvm-amd`" } },
    { "no node, module there", { INTEL, LOADED, .open_errno = ENOENT }, { "mknod", "10 232" } },
    { "container",
      { INTEL, LOADED, .container = true, .open_errno = ENOENT },
      { "in this container", "--device /dev/kvm" } },
    { "a directory",
      { NODE, INTEL, LOADED, .open_errno = EISDIR },
      { "is a directory", "`sudo rmdir /dev/kvm`", "mknod -m 660" } },
    { "a directory in a container",
      { NODE, INTEL, LOADED, .container = true, .open_errno = EISDIR },
      { "is a directory", "`sudo rmdir /dev/kvm`", "--device /dev/kvm" } },

    { "switched off by firmware, Intel",
      { .intel = true, .open_errno = ENOENT },
      { "shows no VT-x", "(BIOS) setup", "'Intel Virtualization Technology'" } },
    { "switched off by firmware, AMD",
      { .amd = true, .open_errno = ENOENT },
      { "shows no SVM", "(BIOS) setup", "'SVM Mode'" } },
    { "a VM of KVM",
      { .amd = true, .vm = true, .hypervisor = "KVMKVMKVM", .open_errno = ENOENT },
      { "itself a VM (KVM)", "no SVM", "nested virtualization", "-cpu host" } },
    { "a VM of VirtualBox",
      { .intel = true, .vm = true, .hypervisor = "VBoxVBoxVBox", .open_errno = ENOENT },
      { "itself a VM (VirtualBox)", "no VT-x", "--nested-hw-virt on" } },
    { "a VM of VMware",
      { .intel = true, .vm = true, .hypervisor = "VMwareVMware", .open_errno = ENOENT },
      { "itself a VM (VMware)", "AMD-V/RVI" } },
    { "a VM of Hyper-V",
      { .intel = true, .vm = true, .hypervisor = "Microsoft Hv", .open_errno = ENOENT },
      { "(Hyper-V)", "-ExposeVirtualizationExtensions $true", ".wslconfig" } },
    { "a VM of an unknown one",
      { .vm = true, .hypervisor = "NovelNovelNv", .open_errno = ENXIO, NODE },
      { "no KVM behind", "'NovelNovelNv'", "VT-x or SVM" } },

    { "not in the group",
      { NODE, INTEL, LOADED, .open_errno = EACCES },
      { "permission denied", "group 'kvm'", "`sudo usermod -aG kvm $USER`" } },
    { "another group",
      { .node = true, .mode = 0660, .group = "virt", .open_errno = EACCES },
      { "group 'virt'", "`sudo usermod -aG virt $USER`" } },
    { "in the group from the next login on",
      { NODE, .listed = true, .open_errno = EACCES },
      { "log in again", "`newgrp kvm`" } },
    { "for root alone",
      { .node = true, .mode = 0600, .owner = "root", .group = "root", .open_errno = EACCES },
      { "its owner 'root' alone", "`sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm`" } },
    { "forbidden though in the group",
      { NODE, .in_group = true, .open_errno = EPERM },
      { "sandbox forbids it", "10:232" } },
    { "forbidden to root",
      { NODE, .is_owner = true, .open_errno = EPERM },
      { "sandbox forbids it" } },
    { "some other errno",
      { NODE, .open_errno = EIO },
      { "could not open /dev/kvm", "Input/output" } },

    { "not KVM's device",
      { NODE, .api_errno = ENOTTY, .api_version = -1 },
      { "not the KVM device", "mknod" } },
    { "another version", { NODE, .api_version = 11 }, { "version 11", "needs 12" } },
    { "too old",
      { NODE, WORKS, .missing = "KVM_CAP_IMMEDIATE_EXIT" },
      { "no KVM_CAP_IMMEDIATE_EXIT", "Linux 4.14" } },
    { "busy", { NODE, WORKS, .create_errno = EBUSY }, { "another hypervisor", "VirtualBox" } },
    { "no memory", { NODE, WORKS, .create_errno = ENOMEM }, { "no memory" } },
    { "too many files", { NODE, WORKS, .create_errno = EMFILE }, { "ulimit -n" } },
    { "makes no VM",
      { NODE, WORKS, .create_errno = EIO },
      { "makes no VM", "Input/output", "dmesg" } },
};

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        Error *err = NULL;
        bool ok = kvm_host_judge(&hosts[i].facts, &err);
        print_message("# %s: %s\n", hosts[i].name, ok ? "ok" : error_text(err));
        assert_int_equal(ok, !hosts[i].words[0]);
        for (size_t w = 0; w < ARRAY_SIZE(hosts[i].words) && hosts[i].words[w]; w++) {
            if (!strstr(error_text(err), hosts[i].words[w])) {
                fail_msg("%s: want '%s' in '%s'", hosts[i].name, hosts[i].words[w],
                         error_text(err));
            }
        }
        assert_true(ok || !strchr(error_text(err), '\n'));
        error_free(err);
    }
}

static void make_dir(const char *root, const char *path)
{
    char *full = xasprintf("%s%s", root, path);
    assert_int_equal(mkdir(full, 0755), 0);
    free(full);
}

static void remove_at(const char *root, const char *path)
{
    char *full = xasprintf("%s%s", root, path);
    assert_int_equal(remove(full), 0);
    free(full);
}

/* A root directory of the test's own, from nothing to a node that is none. */
static void test_read(void **state)
{
    (void)state;
    char root[] = "/tmp/vireo-test-XXXXXX";
    assert_non_null(mkdtemp(root));
    KvmHostFacts f;
    kvm_host_read(&f, root);
    assert_int_equal(f.open_errno, ENOENT);
    assert_false(f.node || f.module || f.vendor_module || f.container);

    static const char *const dirs[] = {
        "/dev", "/sys", "/sys/module", "/sys/module/kvm", "/sys/module/kvm_amd", "/.dockerenv"
    };
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        make_dir(root, dirs[i]);
    }
    char *path = xasprintf("%s/dev/kvm", root);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    kvm_host_read(&f, root);
    assert_true(f.node && f.module && f.vendor_module && f.container && f.is_owner);
    assert_int_equal(f.open_errno, 0);
    assert_int_equal(f.api_errno, ENOTTY);
    Error *err = NULL;
    assert_false(kvm_host_judge(&f, &err));
    error_free(err);

    assert_int_equal(remove(path), 0);
    free(path);
    for (size_t i = ARRAY_SIZE(dirs); i--;) {
        remove_at(root, dirs[i]);
    }
    assert_int_equal(rmdir(root), 0);
}

/* Here and now: whatever is there gives an answer, and a measurement if it can be used. */
static void test_this_host(void **state)
{
    (void)state;
    Error *err = NULL;
    if (!kvm_host_probe(&err)) {
        print_message("# skipped: %s\n", error_text(err));
        error_free(err);
        skip();
    }
    double mips = kvm_host_speed(&err);
    print_message("# %.3g million instructions a second %s\n", mips, err ? error_text(err) : "");
    assert_true(mips > 0);
    assert_null(err);
    bool helps = kvm_host_helps(&err);
    assert_true(helps == !err);
    assert_true(helps || strstr(error_text(err), "emulates"));
    error_free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_this_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
