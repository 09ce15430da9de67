/* SPDX-License-Identifier: GPL-2.0-or-later
 * The engine "kvm": options, and the life of the VM and its vCPUs in the kernel.
 *
 * KVM_CREATE_VM comes with the machine, so that a host that cannot do it says so at once. All else
 * waits until the board is built and all memory is where it belongs, so that the kernel sees one plain
 * sequence: slots, interrupt controllers, vCPUs, run. What the kernel refuses of that ends the start,
 * or the switch to KVM, before any vCPU runs (kvm_ready).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/interp/interp.h"
#include "accel/kvm/debug.h"
#include "accel/kvm/doorbell.h"
#include "accel/kvm/exits.h"
#include "accel/kvm/host.h"
#include "accel/kvm/irqchip.h"
#include "accel/kvm/kick.h"
#include "accel/kvm/kvm.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/vm_lock.h"

/* Three pages for the TSS and one for the identity-mapped page table that VMX processors without
 * "unrestricted guest" need in real mode (api.rst 4.30, 4.35): where no PC has RAM. */
enum { IDENTITY_MAP_GPA = 0xfeffc000, TSS_GPA = 0xfeffd000 };

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

/* notify-vmexit=run|internal-error|disable, notify-window=TICKS */
static bool read_notify(KvmOptions *o, const Dict *opts, Error **errp)
{
    const char *what = dict_get(opts, "notify-vmexit");
    uint64_t window = 0;
    if (!dict_get_u64(opts, "notify-window", &window, errp)) {
        return false;
    }
    if (window > UINT32_MAX) {
        return error_set(errp, "notify-window=%llu: want a number below 2^32",
                         (unsigned long long)window);
    }
    o->notify_window = (uint32_t)window;
    o->notify = what && strcmp(what, "disable");
    o->notify_is_error = what && !strcmp(what, "internal-error");
    if (o->notify && !o->notify_is_error && strcmp(what, "run")) {
        return error_set(errp, "notify-vmexit=%s: want run, internal-error or disable", what);
    }
    return true;
}

static bool read_ring(KvmOptions *o, const Dict *opts, Error **errp)
{
    uint64_t ring = 0;
    if (!dict_get_u64(opts, "dirty-ring-size", &ring, errp)) {
        return false;
    }
    if (ring > 65536 || (ring & (ring - 1))) {
        return error_set(errp,
                         "dirty-ring-size=%llu: want a power of two, the entries of each vCPU's ring, "
                         "up to 65536; or 0, for the dirty log",
                         (unsigned long long)ring);
    }
    o->dirty_ring = (uint32_t)ring;
    return true;
}

/* -global kvm-pit.lost_tick_policy=delay|discard, as if the kernel's 8254 were a device. Without it
 * that is a device which is not there. */
static bool read_pit(KvmVm *vm, Error **errp)
{
    static const char key[] = "kvm-pit.lost_tick_policy";
    const Dict *globals = vm->machine->config.globals;
    const char *policy = globals && vm->wanted == KVM_IRQCHIP_ON ? dict_get(globals, key) : NULL;
    vm->options.discard_ticks = policy && !strcmp(policy, "discard");
    return !policy || vm->options.discard_ticks || !strcmp(policy, "delay") ||
           error_set(errp, "-global %s=%s: want delay or discard", key, policy);
}

static bool read_device(const Dict *opts, Error **errp)
{
    const char *device = dict_get(opts, "device");
    return !device || !strcmp(device, "/dev/kvm") ||
           error_set(errp, "device=%s: only /dev/kvm is built", device);
}

static bool read_options(KvmVm *vm, const Dict *opts, Error **errp)
{
    const Dict *machine = vm->machine->config.machine_opts;
    /* Both spellings are about; the machine's comes first, so that -accel's counts. */
    const char *old = machine ? dict_get(machine, "kernel_irqchip") : NULL;
    const char *irqchip = machine ? dict_get(machine, "kernel-irqchip") : NULL;
    irqchip = irqchip ? irqchip : old;
    irqchip = dict_has(opts, "kernel-irqchip") ? dict_get(opts, "kernel-irqchip") : irqchip;
    return (!irqchip || parse_irqchip(irqchip, &vm->wanted, errp)) &&
           (!machine ||
            dict_get_size(machine, "kvm-shadow-mem", 1, &vm->options.shadow_mem, errp)) &&
           dict_get_size(opts, "kvm-shadow-mem", 1, &vm->options.shadow_mem, errp) &&
           read_notify(&vm->options, opts, errp) && read_ring(&vm->options, opts, errp) &&
           read_pit(vm, errp) && read_device(opts, errp);
}

/* ---- the VM ---- */

static bool enable(const KvmVm *vm, uint32_t cap, uint64_t arg)
{
    struct kvm_enable_cap c = { .cap = cap, .args = { arg } };
    return kvm_cap(vm, (int)cap) > 0 && kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &c) == 0;
}

/* -overcommit cpu-pm=on: HLT, MWAIT and PAUSE are the guest's, and so are the host's idle CPUs. */
static bool give_idle(const KvmVm *vm, Error **errp)
{
    int can = kvm_cap(vm, KVM_CAP_X86_DISABLE_EXITS);
    return enable(vm, KVM_CAP_X86_DISABLE_EXITS, (unsigned)can) ||
           error_set(errp,
                     "-overcommit cpu-pm=on: this host's KVM cannot leave HLT and MWAIT to the "
                     "guest");
}

static bool set_shadow_mem(const KvmVm *vm, Error **errp)
{
    uint64_t pages = vm->options.shadow_mem >> PAGE_BITS;
    int r = kvm_cap(vm, KVM_CAP_MMU_SHADOW_CACHE_CONTROL) > 0
                ? kvm_ioctl(vm->fd, KVM_SET_NR_MMU_PAGES, (void *)(uintptr_t)pages)
                : -ENOTTY;
    return r == 0 || error_set_errno(errp, -r,
                                     "kvm-shadow-mem=%llu: this kernel's KVM does not take "
                                     "it",
                                     (unsigned long long)vm->options.shadow_mem);
}

static bool set_notify(const KvmVm *vm, Error **errp)
{
    enum { ENABLED = 1, USER = 2, NOTIFY_VMEXIT = 219 }; /* api.rst 7.31 */
    uint64_t arg = (uint64_t)vm->options.notify_window << 32 | ENABLED |
                   (vm->options.notify_is_error ? USER : 0);
    return enable(vm, NOTIFY_VMEXIT, arg) ||
           error_set(errp, "notify-vmexit: this host's processor or KVM does not have it");
}

static bool configure_vm(KvmVm *vm, Error **errp)
{
    uint64_t identity = IDENTITY_MAP_GPA;
    if (kvm_cap(vm, KVM_CAP_SET_IDENTITY_MAP_ADDR)) {
        kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    }
    if (kvm_cap(vm, KVM_CAP_SET_TSS_ADDR)) {
        kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_GPA);
    }
    enable(vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
    return (!vm->machine->config.cpu_pm || give_idle(vm, errp)) &&
           (!vm->options.shadow_mem || set_shadow_mem(vm, errp)) &&
           (!vm->options.notify || set_notify(vm, errp)) &&
           (!vm->options.dirty_ring || kvm_rings_start(vm, errp));
}

static bool create_vm(KvmVm *vm, Error **errp)
{
    int fd;
    for (unsigned tries = 0; (fd = kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, NULL)) < 0; tries++) {
        if ((fd != -EBUSY && fd != -EAGAIN) || tries == 3) {
            return kvm_host_no_vm(-fd, errp);
        }
        usleep(10000); /* another hypervisor may be letting go of VT-x just now */
    }
    vm->fd = fd;
    if (!configure_vm(vm, errp)) {
        close(fd);
        vm->fd = -1;
        return false;
    }
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
    if (vm->irqchip == KVM_IRQCHIP_OFF) { /* x2APIC and TSC deadline are our LAPIC's */
        kvm_msr_exits(vm);
    }
    vm->ready = true;
    kvm_doorbells_fill(vm);
    return true;
}

static void vcpu_down(KvmVcpu *k)
{
    if (k->fd >= 0) {
        kvm_exits_keep(k);
        kvm_ring_close(k);
        munmap(k->run, k->vm->run_size);
        close(k->fd);
        k->fd = -1;
        k->run = NULL;
        k->debug_on = false;
    }
}

static void close_vm(KvmVm *vm)
{
    kvm_slots_clear(vm);
    kvm_doorbells_clear(vm);
    kvm_irqchip_forget(vm);
    if (vm->fd >= 0) {
        close(vm->fd);
    }
    vm->fd = -1;
    vm->ready = vm->stale = vm->clock_runs = false;
}

/* All vCPUs are parked and stored; the next that runs makes all anew. */
static void vm_down(KvmVm *vm)
{
    const Machine *m = vm->machine;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (m->vcpu[i]->engine->run == kvm_vcpu_run) {
            vcpu_down(kvm_vcpu(m->vcpu[i]));
        }
    }
    close_vm(vm);
}

static void kvm_machine_fini(Machine *m)
{
    KvmVm *vm = m->kvm;
    if (vm->slots) {
        close_vm(vm);
        kvm_doorbells_free(vm);
        kvm_slots_free(vm);
    } else if (vm->fd >= 0) {
        close(vm->fd);
    }
    if (vm->kvm_fd >= 0) {
        close(vm->kvm_fd);
    }
    pthread_mutex_destroy(&vm->gate_lock);
    pthread_cond_destroy(&vm->gate_cond);
    kvm_exits_free(vm);
    free(vm);
    m->kvm = NULL;
}

/* The kernel has the vCPUs that it runs, and a LAPIC for each or for none. Where a vCPU has gone or
 * the controllers must be others, the VM is made anew. */
static bool kvm_engines_changed(Machine *m, Error **errp)
{
    KvmVm *vm = m->kvm;
    unsigned on = 0, software = 0;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        on += m->vcpu[i]->engine->run == kvm_vcpu_run;
        software += m->vcpu[i]->engine->software;
    }
    if (vm->alone && software) {
        kvm_guard_forget(vm);
    }
    vm->alone = on && !software;
    kvm_guard_set(vm, on && software);
    KvmIrqchip mode = kvm_irqchip_mode(vm);
    if (!on || vm->stale || (vm->ready && mode != vm->irqchip)) {
        kvm_clock_stop(vm);
        vm_down(vm);
    }
    vm->irqchip = vm->ready ? vm->irqchip : mode;
    return !on || vm->fd >= 0 || create_vm(vm, errp);
}

typedef struct Creation {
    Error *err;
    bool ok;
} Creation;

static void create_vcpu(Vcpu *v, void *arg)
{
    Creation *c = arg;
    c->ok = kvm_vcpu_up(kvm_vcpu(v), &c->err);
}

/* The vCPUs by their own threads (api.rst 2). */
static bool kvm_ready(Machine *m, Error **errp)
{
    KvmVm *vm = m->kvm;
    if (!kvm_vm_up(vm, errp)) {
        kvm_clock_stop(vm);
        vm_down(vm); /* there may be half of it */
        return false;
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Creation c = { .ok = true };
        if (m->vcpu[i]->engine->run == kvm_vcpu_run) {
            vcpu_call_parked(m->vcpu[i], create_vcpu, &c);
        }
        if (!c.ok) {
            *errp = c.err;
            return false;
        }
    }
    return true;
}

static bool open_machine(KvmVm *vm, const Dict *opts, Error **errp)
{
    Machine *m = vm->machine;
    if (!read_options(vm, opts, errp)) {
        return error_prefix(errp, "-accel kvm: ");
    }
    vm->kvm_fd = kvm_host_open(errp);
    if (vm->kvm_fd < 0 || !kick_init(errp) || !create_vm(vm, errp)) {
        return false;
    }
    int size = kvm_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    int most = kvm_cap(vm, KVM_CAP_MAX_VCPUS);
    if (size < (int)sizeof(struct kvm_run)) {
        return error_set(errp, "-accel kvm: this kernel's KVM is too old");
    }
    if (most && m->nr_cpus > (unsigned)most) {
        return error_set(errp, "-smp %u: this kernel's KVM runs at most %d vCPUs", m->nr_cpus,
                         most);
    }
    vm->run_size = (size_t)size;
    kvm_tsc_setup(vm);
    kvm_doorbells_new(vm);
    return kvm_slots_new(vm, errp);
}

static bool kvm_machine_init(Machine *m, const Dict *opts, Error **errp)
{
    KvmVm *vm = xcalloc(1, sizeof(*vm));
    vm->machine = m;
    vm->fd = -1;
    vm->wanted = KVM_IRQCHIP_ON;
    pthread_mutex_init(&vm->gate_lock, NULL);
    pthread_cond_init(&vm->gate_cond, NULL);
    vm->kvm_fd = -1;
    vm->irqchip = KVM_IRQCHIP_ON;
    m->kvm = vm;
    if (!open_machine(vm, opts, errp)) {
        kvm_machine_fini(m);
        return false;
    }
    return true;
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
    if (kvm_ring_open(k, errp) && kvm_set_cpuid(k, errp) && kvm_state_init(k, errp)) {
        return true;
    }
    vcpu_down(k);
    vm->stale = true;
    return false;
}

static bool kvm_vcpu_init(Vcpu *v, Error **errp)
{
    (void)errp;
    KvmVcpu *k = xcalloc(1, sizeof(*k));
    k->v = v;
    k->vm = v->machine->kvm;
    k->fd = -1;
    kvm_exits_attach(k);
    /* For instructions that KVM leaves to us; other threads look at its caches from the start. */
    interp_cpu_init(&v->cpu);
    v->kvm = k;
    return true;
}

static void kvm_vcpu_fini(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    if (!k) {
        return;
    }
    k->vm->stale |= k->fd >= 0; /* the VM keeps what it had for the vCPU */
    vcpu_down(k);
    kvm_state_fini(k);
    v->halts_inside = false;
    v->kvm = NULL;
    interp_cpu_fini(&v->cpu);
    free(k->debug);
    free(k);
}

/* The next run() gives the kernel what CpuState has. */
static void kvm_vcpu_load(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    vcpu_load_state(v);
    k->in_kernel = false;
    k->loaded = true;
    if (!k->vm->ready) {
        kvm_irqchip_choose(k->vm);
    }
    v->halts_inside = kvm_halts_in_kernel(k);
    kvm_clock_start(k->vm);
}

static void kvm_vcpu_store(Vcpu *v)
{
    const Machine *m = v->machine;
    KvmVcpu *k = kvm_vcpu(v);
    kvm_irqchip_leave(k);
    kvm_sync_state(k);
    k->loaded = false;
    bool all = true;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        all &= m->vcpu[i]->engine != v->engine || !kvm_vcpu(m->vcpu[i])->loaded;
    }
    if (all) {
        kvm_clock_stop(k->vm);
    }
}

static void kvm_describe_cpus(Machine *m, bool mixed)
{
    free(m->features);
    m->features = kvm_features_new(m->kvm, mixed);
}

static bool kvm_can_run(Vcpu *v, Error **errp)
{
    const KvmVm *vm = v->machine->kvm;
    return kvm_can_show(vm, &v->cpu, errp) && kvm_tsc_fits(vm, &v->cpu, errp);
}

static const char *const kvm_options[] = {
    "kernel-irqchip=on|split|off - which interrupt controllers are the kernel's (default: on)",
    "kvm-shadow-mem=<size> - memory for shadow page tables, without nested paging",
    "notify-vmexit=run|internal-error|disable - if a guest lets no event in (default: disable)",
    "notify-window=<ticks> - for so long, beyond what the processor takes (default: 0)",
    "dirty-ring-size=<n> - entries of each vCPU's ring of written pages; 0: a log (default: 0)",
    "device=/dev/kvm - the only one",
    NULL,
};

ENGINE(kvm) = {
    .name = "kvm",
    .desc = "the host's virtualization extensions, by /dev/kvm",
    .options = kvm_options,
    .thread_name = "KVM",
    .probe = kvm_host_probe,
    .init_probes = true,
    .helps = kvm_host_helps,
    .suits = kvm_host_suits,
    .machine_init = kvm_machine_init,
    .machine_fini = kvm_machine_fini,
    .describe_cpus = kvm_describe_cpus,
    .can_run = kvm_can_run,
    .engines_changed = kvm_engines_changed,
    .ready = kvm_ready,
    .vcpu_init = kvm_vcpu_init,
    .load_state = kvm_vcpu_load,
    .run = kvm_vcpu_run,
    .store_state = kvm_vcpu_store,
    .vcpu_fini = kvm_vcpu_fini,
    .kick = kvm_vcpu_kick,
    .info = kvm_info_print,
    .exits = kvm_exits_print,
    .gives_idle = true,
    .own_memory = true,
    .rings_eventfds = true,
    .executes = true,
};
