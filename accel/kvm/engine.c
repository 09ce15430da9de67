/* SPDX-License-Identifier: GPL-2.0-or-later
 * The engine "kvm": options, and the life of the VM and its vCPUs in the kernel.
 *
 * KVM_CREATE_VM comes with the machine, so that a host that cannot do it says so at once. All else
 * waits until the first vCPU is about to run: by then the board is built and all memory is where it
 * belongs, so that the kernel sees one plain sequence: slots, interrupt controllers, vCPUs, run.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/interp/interp.h"
#include "accel/kvm/exits.h"
#include "accel/kvm/irqchip.h"
#include "accel/kvm/kick.h"
#include "accel/kvm/kvm.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/vm_lock.h"

/* Three pages for the TSS and one for the identity-mapped page table that VMX processors without
 * "unrestricted guest" need in real mode (api.rst 4.30, 4.35): where no PC has RAM. */
enum { IDENTITY_MAP_GPA = 0xfeffc000, TSS_GPA = 0xfeffd000 };

static int open_kvm(Error **errp)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        error_set_errno(errp, errno, "cannot open /dev/kvm");
    }
    return fd;
}

static bool kvm_probe(Error **errp)
{
    int fd = open_kvm(errp);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* ---- options ---- */

static bool parse_irqchip(const char *text, KvmIrqchip *out, Error **errp)
{
    bool on;
    if (!strcmp(text, "split")) {
        *out = KVM_IRQCHIP_SPLIT;
    } else if (parse_bool(text, &on)) {
        *out = on ? KVM_IRQCHIP_ON : KVM_IRQCHIP_OFF;
    } else {
        return error_set(errp, "kernel-irqchip=%s: want on, split or off", text);
    }
    return true;
}

static bool read_options(KvmVm *vm, const Dict *opts, Error **errp)
{
    const Dict *machine = vm->machine->config.machine_opts;
    const char *irqchip = machine ? dict_get(machine, "kernel-irqchip") : NULL;
    irqchip = dict_has(opts, "kernel-irqchip") ? dict_get(opts, "kernel-irqchip") : irqchip;
    if (irqchip && !parse_irqchip(irqchip, &vm->wanted, errp)) {
        return false;
    }
    const char *unknown = dict_unused(opts);
    if (unknown) {
        static const char *const words[] = { "kernel-irqchip", NULL };
        const char *near = suggest(unknown, words);
        return near ? error_set(errp, "unknown option '%s', did you mean %s?", unknown, near)
                    : error_set(errp, "unknown option '%s'; there is kernel-irqchip", unknown);
    }
    return true;
}

/* ---- the VM ---- */

static bool create_vm(KvmVm *vm, Error **errp)
{
    int fd;
    for (unsigned tries = 0; (fd = kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, NULL)) < 0; tries++) {
        if ((fd != -EBUSY && fd != -EAGAIN) || tries == 3) {
            return error_set_errno(errp, -fd, "the kernel did not create a VM");
        }
        usleep(10000); /* another hypervisor may be letting go of VT-x just now */
    }
    vm->fd = fd;
    uint64_t identity = IDENTITY_MAP_GPA;
    if (kvm_cap(vm, KVM_CAP_SET_IDENTITY_MAP_ADDR)) {
        kvm_ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    }
    if (kvm_cap(vm, KVM_CAP_SET_TSS_ADDR)) {
        kvm_ioctl(fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_GPA);
    }
    struct kvm_enable_cap cap = { .cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = { 1 } };
    vm->exits_on_emulation_failure =
        kvm_cap(vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE) && kvm_ioctl(fd, KVM_ENABLE_CAP, &cap) == 0;
    return true;
}

bool kvm_vm_up(KvmVm *vm, Error **errp)
{
    if (vm->ready) {
        return true;
    }
    if ((vm->fd < 0 && !create_vm(vm, errp)) || !kvm_slots_fill(vm, errp) ||
        !kvm_irqchip_create(vm, errp)) {
        return false;
    }
    vm->ready = true;
    return true;
}

static bool kvm_machine_init(Machine *m, const Dict *opts, Error **errp)
{
    KvmVm *vm = xcalloc(1, sizeof(*vm));
    vm->machine = m;
    vm->fd = -1;
    vm->wanted = KVM_IRQCHIP_ON;
    pthread_mutex_init(&vm->gate_lock, NULL);
    pthread_cond_init(&vm->gate_cond, NULL);
    m->kvm = vm; /* stays, also after an error: nothing runs then */
    if (!read_options(vm, opts, errp)) {
        return error_prefix(errp, "-accel kvm: ");
    }
    vm->kvm_fd = open_kvm(errp);
    if (vm->kvm_fd < 0 || !kick_init(errp) || !create_vm(vm, errp)) {
        return false;
    }
    int size = kvm_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    int most = kvm_cap(vm, KVM_CAP_MAX_VCPUS);
    if (size < (int)sizeof(struct kvm_run)) {
        return error_set(errp, "-accel kvm: this kernel's KVM is too old");
    }
    if (most && m->nr_cpus > (unsigned)most) {
        return error_set(errp, "-smp %u: this kernel's KVM runs at most %d vCPUs", m->nr_cpus, most);
    }
    vm->run_size = (size_t)size;
    kvm_tsc_setup(vm);
    return kvm_slots_new(vm, errp);
}

/* ---- vCPUs ---- */

bool kvm_vcpu_up(KvmVcpu *k, Error **errp)
{
    KvmVm *vm = k->vm;
    if (k->fd >= 0) {
        return true;
    }
    /* The APIC id: what x2APIC guests and kernel LAPICs know the CPU by. */
    int fd = kvm_ioctl(vm->fd, KVM_CREATE_VCPU, (void *)(uintptr_t)k->v->cpu.apic_id);
    if (fd < 0) {
        return error_set_errno(errp, -fd, "the kernel did not create vCPU %u", k->v->cpu.index);
    }
    void *run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (run == MAP_FAILED) {
        error_set_errno(errp, errno, "cannot map vCPU %u", k->v->cpu.index);
        close(fd);
        return false;
    }
    k->fd = fd;
    k->run = run;
    k->v->halts_inside = kvm_halts_in_kernel(k);
    k->ready_for_interrupt = false;
    return kvm_set_cpuid(k, errp) && kvm_state_init(k, errp);
}

static bool kvm_vcpu_init(Vcpu *v, Error **errp)
{
    (void)errp;
    KvmVcpu *k = xcalloc(1, sizeof(*k));
    k->v = v;
    k->vm = v->machine->kvm;
    k->fd = -1;
    kvm_exits_new(k);
    /* For instructions that KVM leaves to us; other threads look at its caches from the start. */
    interp_cpu_init(&v->cpu);
    k->interp = v->cpu.engine_data;
    v->cpu.engine_data = k;
    return true;
}

static void vcpu_down(KvmVcpu *k)
{
    if (k->fd >= 0) {
        munmap(k->run, k->vm->run_size);
        close(k->fd);
        k->fd = -1;
        k->run = NULL;
    }
}

static void kvm_vcpu_fini(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    if (!k) {
        return;
    }
    vcpu_down(k);
    kvm_state_fini(k);
    v->halts_inside = false;
    v->cpu.engine_data = k->interp;
    interp_cpu_fini(&v->cpu);
    kvm_exits_free(k);
    free(k);
}

/* The next run() gives the kernel what CpuState has. */
static void kvm_vcpu_load(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    vcpu_load_state(v);
    k->in_kernel = false;
    if (!k->vm->ready) {
        k->vm->irqchip = kvm_irqchip_mode(k->vm);
    }
    v->halts_inside = kvm_halts_in_kernel(k);
}

static void kvm_vcpu_store(Vcpu *v)
{
    kvm_irqchip_leave(kvm_vcpu(v));
    kvm_sync_state(kvm_vcpu(v));
}

ENGINE(kvm) = {
    .name = "kvm",
    .desc = "the host's virtualization extensions, by /dev/kvm",
    .thread_name = "KVM",
    .probe = kvm_probe,
    .machine_init = kvm_machine_init,
    .vcpu_init = kvm_vcpu_init,
    .load_state = kvm_vcpu_load,
    .run = kvm_vcpu_run,
    .store_state = kvm_vcpu_store,
    .vcpu_fini = kvm_vcpu_fini,
    .kick = kvm_vcpu_kick,
    .info = kvm_info_print,
    .exits = kvm_exits_print,
    .own_memory = true,
    .executes = true,
};
