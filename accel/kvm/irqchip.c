/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kernel's local APICs, I/O APIC, 8259s and 8254 (api.rst 4.24 to 4.27, 4.71): the stand-in that
 * hw/core/irqchip.h describes.
 *
 *   kernel-irqchip=on      all of them, with the kernel's own routing of GSIs
 *   kernel-irqchip=split   local APICs; our I/O APIC sends messages, our 8259s ask at LINT0 as ExtINT
 *   kernel-irqchip=off     none
 *
 * Every vCPU loads its registers, then waits in kvm_irqchip_enter() for all others to have done so;
 * the last one hands the controllers over, and all go. On the way out each waits in
 * kvm_irqchip_leave() for the others before it stores its registers, and the last one takes the
 * controllers back. So no interrupt finds a vCPU half in the kernel.
 *
 * Not done: port 61h, PIC, PIT and I/O APIC as an instruction sees them that KVM leaves to the
 * interpreter (they are the kernel's just then, and it has no way to ask them).
 */
#include "accel/kvm/irqchip.h"

#include <string.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/log.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, BASE_EN = 1 << 11, TIMER_GSI = 0 };

static void vm_call(const KvmVm *vm, unsigned long request, void *arg, const char *what)
{
    int r = kvm_ioctl(vm->fd, request, arg);
    if (r < 0) {
        warn_report("KVM: %s failed: %s", what, strerror(-r));
    }
}

static KvmVcpu *on_kvm(const struct Machine *m, unsigned i)
{
    const Vcpu *v = m->vcpu[i];
    return v && v->engine->own_memory ? kvm_vcpu(v) : NULL;
}

/* ---- local APIC ---- */

static void read_lapic(const KvmVcpu *k, LapicState *st)
{
    struct kvm_lapic_state regs;
    if (!k || k->fd < 0 || kvm_ioctl(k->fd, KVM_GET_LAPIC, &regs) < 0) {
        return;
    }
    kvm_lapic_to_state(&regs, st);
    kvm_get_msr(k, MSR_APIC_BASE, &st->base);
    if (!kvm_get_msr(k, MSR_TSC_DEADLINE, &st->deadline)) {
        st->deadline = 0;
    }
    kvm_lapic_expired(st, k->settled_count);
}

/* The kernel notes that a timer has expired and makes an interrupt of it at the end of KVM_RUN's next
 * round; nothing tells of what it has noted. So the count is looked at, then the kernel gets its
 * round, and what expires after that look shows in the count when the controllers are taken back. A
 * one-shot that still runs needs only the look. */
bool kvm_irqchip_must_settle(KvmVcpu *k)
{
    struct kvm_lapic_state regs;
    k->settled_count = KVM_LAPIC_NO_COUNT;
    if (!k->entered || !__atomic_load_n(&k->vm->handed_over, __ATOMIC_ACQUIRE) ||
        kvm_ioctl(k->fd, KVM_GET_LAPIC, &regs) < 0) {
        return false;
    }
    k->settled_count = kvm_lapic_count(&regs);
    bool runs_once = k->settled_count && !kvm_lapic_is_periodic(&regs);
    return k->settled_count != KVM_LAPIC_NO_COUNT && !runs_once;
}

/* The kernel reads registers as IA32_APIC_BASE says, and takes a deadline only in that timer mode. */
static void write_lapic(const KvmVcpu *k, const LapicState *st)
{
    if (!k || k->fd < 0) {
        return;
    }
    struct kvm_lapic_state regs;
    kvm_lapic_from_state(st, &regs);
    kvm_set_msr(k, MSR_APIC_BASE, st->base);
    int r = kvm_ioctl(k->fd, KVM_SET_LAPIC, &regs);
    if (r < 0) {
        warn_report("KVM: vCPU %u: KVM_SET_LAPIC failed: %s", k->v->cpu.index, strerror(-r));
    }
    if (st->deadline) {
        kvm_set_msr(k, MSR_TSC_DEADLINE, st->deadline);
    }
}

/* LINTn has risen: what LVT LINTn makes of it. In the vCPU's thread, out of the guest. */
static void lint_rises(CpuState *cpu, void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    struct kvm_lapic_state regs;
    uint64_t base = BASE_EN;
    const KvmVcpu *k = kvm_vcpu(cpu->vcpu);
    if (k->fd < 0 || kvm_ioctl(k->fd, KVM_GET_LAPIC, &regs) < 0) {
        return;
    }
    uint32_t lvt;
    memcpy(&lvt, regs.regs + 0x350 + 0x10 * n, sizeof(lvt));
    kvm_get_msr(k, MSR_APIC_BASE, &base);
    enum { MASKED = 1 << 16, MODE = 7 << 8, NMI = 4 << 8 };
    if (!(base & BASE_EN) || (!(lvt & MASKED) && (lvt & MODE) == NMI)) {
        cpu_request(cpu, CPU_REQ_NMI);
    } else if (!(lvt & (MASKED | MODE))) {
        kvm_routes_msi(cpu->machine, 0xfee00000 | (uint64_t)cpu->apic_id << 12, lvt & 0xff);
    }
}

static void lint(CpuState *cpu, unsigned n)
{
    vcpu_run_on(cpu, lint_rises, (void *)(uintptr_t)n);
}

/* ---- I/O APIC, 8259s, GSIs ---- */

static void set_chip(const KvmVm *vm, struct kvm_irqchip *chip)
{
    vm_call(vm, KVM_SET_IRQCHIP, chip, "KVM_SET_IRQCHIP");
}

static void set_gsi(struct Machine *m, unsigned gsi, bool level)
{
    KvmVm *vm = m->kvm;
    uint32_t bit = 1u << gsi;
    if (!(vm->routes->lines & bit) == !level) {
        return;
    }
    vm->routes->lines ^= bit;
    struct kvm_irq_level line = { .irq = gsi, .level = level };
    vm_call(vm, KVM_IRQ_LINE, &line, "KVM_IRQ_LINE");
}

/* First all pins masked, so that levels find their place without a message; then the entries. */
static void write_ioapic(KvmVm *vm, const IoapicState *st)
{
    enum { MASKED = 1 << 16 };
    IoapicState quiet = { .id = st->id };
    for (unsigned pin = 0; pin < KVM_NR_PINS; pin++) {
        quiet.redir[pin] = MASKED;
    }
    struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
    kvm_ioapic_from_state(&quiet, &chip.chip.ioapic);
    set_chip(vm, &chip);
    for (unsigned gsi = 0; gsi < KVM_NR_PINS; gsi++) {
        set_gsi(vm->machine, gsi, st->inputs >> gsi & 1);
    }
    kvm_ioapic_from_state(st, &chip.chip.ioapic);
    set_chip(vm, &chip);
}

static void read_ioapic(const KvmVm *vm, IoapicState *st)
{
    struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
    if (kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) == 0) {
        kvm_ioapic_to_state(&chip.chip.ioapic, st);
    }
}

static void write_pic(const KvmVm *vm, const PicState *st)
{
    for (unsigned i = 2; i-- > 0;) { /* the master last: it sees the slave's request */
        struct kvm_irqchip chip = { .chip_id = i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER };
        kvm_pic_from_state(&st->chip[i], i, &chip.chip.pic);
        set_chip(vm, &chip);
    }
}

static void read_pic(const KvmVm *vm, PicState *st)
{
    for (unsigned i = 0; i < 2; i++) {
        struct kvm_irqchip chip = { .chip_id = i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER };
        if (kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) == 0) {
            kvm_pic_to_state(&chip.chip.pic, &st->chip[i]);
        }
    }
}

/* ---- 8254 and port 61h ---- */

static bool get_pit(const KvmVm *vm, struct kvm_pit_state2 *pit)
{
    return kvm_ioctl(vm->fd, KVM_GET_PIT2, pit) == 0;
}

static void set_pit(KvmVm *vm, struct kvm_pit_state2 *pit)
{
    vm_call(vm, KVM_SET_PIT2, pit, "KVM_SET_PIT2");
    vm->routes->pit = *pit;
    get_pit(vm, &vm->routes->pit); /* the kernel notes when */
}

static bool is_periodic(const struct kvm_pit_channel_state *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Counter 0's first tick after the hand-over: the kernel began a whole period then, which now is one
 * from here. Nothing to do if the guest has loaded another count meanwhile. */
static void pit_in_phase(void *opaque)
{
    KvmVm *vm = opaque;
    struct kvm_pit_state2 pit, *was = &vm->routes->pit;
    const struct kvm_pit_channel_state *now = &pit.channels[0];
    if (!irqchip_stands_in(vm->machine, IRQCHIP_PIT) || !get_pit(vm, &pit) ||
        now->count != was->channels[0].count || now->mode != was->channels[0].mode ||
        now->rw_mode != was->channels[0].rw_mode || (pit.flags & KVM_PIT_FLAGS_HPET_LEGACY)) {
        return;
    }
    bool same[3];
    for (unsigned n = 0; n < 3; n++) {
        same[n] = pit.channels[n].count_load_time == was->channels[n].count_load_time;
    }
    if (!same[1] || !same[2]) {
        return; /* counter 2 is measuring something: do not start it anew under its user */
    }
    if (is_periodic(now)) {
        set_pit(vm, &pit);
    }
    set_gsi(vm->machine, TIMER_GSI, true);
    set_gsi(vm->machine, TIMER_GSI, false);
}

static void write_pit(KvmVm *vm, const PitState *st)
{
    struct kvm_pit_state2 pit;
    kvm_pit_from_state(st, &pit);
    set_pit(vm, &pit);
    bool late = !st->next_irq_ns; /* it has just been due, to nobody's ears */
    if (late || (is_periodic(&pit.channels[0]) && st->next_irq_ns != UINT64_MAX)) {
        timer_arm(&vm->routes->pit_phase, guest_clock_ns() + st->next_irq_ns);
    }
}

static void read_pit(const KvmVm *vm, PitState *st)
{
    struct kvm_pit_state2 pit;
    if (get_pit(vm, &pit)) {
        kvm_pit_to_state(&pit, &vm->routes->pit, host_clock_ns(), st);
    }
}

static void pit_replaced(struct Machine *m, bool on)
{
    KvmVm *vm = m->kvm;
    struct kvm_pit_state2 pit;
    if (get_pit(vm, &pit)) {
        pit.flags = on ? pit.flags | KVM_PIT_FLAGS_HPET_LEGACY
                       : pit.flags & ~(uint32_t)KVM_PIT_FLAGS_HPET_LEGACY;
        set_pit(vm, &pit);
    }
}

static void read_port61(const KvmVm *vm, Port61State *st)
{
    struct kvm_pit_state2 pit;
    if (get_pit(vm, &pit)) {
        st->gate = pit.channels[2].gate;
        st->data = pit.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
    }
}

/* The gate came with the counters. Only kernels since 5.19 know the data bit. */
static void write_port61(KvmVm *vm, const Port61State *st)
{
    struct kvm_pit_state2 pit = vm->routes->pit;
    bool data = pit.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
    if (st->data != data) {
        pit.flags ^= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
        set_pit(vm, &pit);
    }
}

/* ---- the stand-in ---- */

static void read_part(struct Machine *m, const IrqchipPart *part, void *state)
{
    KvmVm *vm = m->kvm;
    switch (part->kind) {
    case IRQCHIP_LAPIC: read_lapic(on_kvm(m, part->cpu->index), state); break;
    case IRQCHIP_IOAPIC: read_ioapic(vm, state); break;
    case IRQCHIP_PIC: read_pic(vm, state); break;
    case IRQCHIP_PIT: read_pit(vm, state); break;
    default: read_port61(vm, state); break;
    }
}

static void write_part(struct Machine *m, const IrqchipPart *part, const void *state)
{
    KvmVm *vm = m->kvm;
    switch (part->kind) {
    case IRQCHIP_LAPIC: write_lapic(on_kvm(m, part->cpu->index), state); break;
    case IRQCHIP_IOAPIC: write_ioapic(vm, state); break;
    case IRQCHIP_PIC: write_pic(vm, state); break;
    case IRQCHIP_PIT: write_pit(vm, state); break;
    default: write_port61(vm, state); break;
    }
}

static const IrqchipOps ops_on = {
    .name = "kvm",
    .kinds = IRQCHIP_LAPIC | IRQCHIP_IOAPIC | IRQCHIP_PIC | IRQCHIP_PIT | IRQCHIP_PORT61,
    .read = read_part, .write = write_part, .set_gsi = set_gsi, .msi = kvm_routes_msi, .lint = lint,
    .pit_replaced = pit_replaced, .irqfd_add = kvm_irqfd_add, .irqfd_del = kvm_irqfd_del,
};

static const IrqchipOps ops_split = {
    .name = "kvm",
    .kinds = IRQCHIP_LAPIC,
    .read = read_part, .write = write_part, .msi = kvm_routes_msi, .lint = lint,
    .route = kvm_routes_pin, .irqfd_add = kvm_irqfd_add, .irqfd_del = kvm_irqfd_del,
};

/* ---- the VM's life ---- */

KvmIrqchip kvm_irqchip_mode(const KvmVm *vm)
{
    const struct Machine *m = vm->machine;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (!m->cpu[i] || !feature_has(&m->cpu[i]->features, FEATURE_APIC)) {
            return KVM_IRQCHIP_OFF;
        }
    }
    return vm->mixed ? KVM_IRQCHIP_OFF : vm->wanted;
}

/* 32-bit ids in MSIs and LAPIC states, and 255 as an id like any other in x2APIC mode (api.rst
 * 7.7). Kernels before 4.7 have the old form, which is the same for ids below 255. */
static void use_wide_ids(const KvmVm *vm)
{
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_X2APIC_API,
        .args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
    };
    if (kvm_cap(vm, KVM_CAP_X2APIC_API)) {
        vm_call(vm, KVM_ENABLE_CAP, &cap, "KVM_CAP_X2APIC_API");
    }
}

/* The kernel's own policy is to bring ticks later that the guest did not take in time. */
static bool set_tick_policy(const KvmVm *vm, Error **errp)
{
    struct kvm_reinject_control c = { .pit_reinject = 0 };
    int r = vm->options.discard_ticks ? kvm_ioctl(vm->fd, KVM_REINJECT_CONTROL, &c) : 0;
    return r >= 0 || error_set_errno(errp, -r, "kvm-pit.lost_tick_policy=discard: this kernel does "
                                               "not do it; leave it out");
}

static bool create_all(KvmVm *vm, Error **errp)
{
    /* With port 61h, whose toggling bits guests poll while they calibrate their clocks. */
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
    int r = kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL);
    r = r < 0 ? r : kvm_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
    return r >= 0 ? set_tick_policy(vm, errp)
                  : error_set_errno(errp, -r, "this kernel has no interrupt controllers for PCs; "
                                              "use -M kernel-irqchip=off");
}

static bool create_split(KvmVm *vm, Error **errp)
{
    struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { KVM_NR_PINS } };
    int r = kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
    return r >= 0 || error_set_errno(errp, -r, "this kernel has no local APICs alone; use -M "
                                               "kernel-irqchip=on or off");
}

void kvm_irqchip_choose(KvmVm *vm)
{
    KvmIrqchip mode = kvm_irqchip_mode(vm);
    if (vm->irqchip != mode) {
        vm->irqchip = mode;
    }
}

bool kvm_irqchip_create(KvmVm *vm, Error **errp)
{
    KvmIrqchip mode = kvm_irqchip_mode(vm);
    kvm_irqchip_choose(vm);
    if (mode == KVM_IRQCHIP_OFF) {
        return true;
    }
    if (mode == KVM_IRQCHIP_ON ? !create_all(vm, errp) : !create_split(vm, errp)) {
        return false;
    }
    use_wide_ids(vm);
    vm->routes = xcalloc(1, sizeof(*vm->routes));
    vm->routes->vm = vm;
    vm->routes->changed = true;
    timer_init(&vm->routes->pit_phase, pit_in_phase, vm);
    kvm_routes_send(vm);
    return true;
}

void kvm_irqchip_forget(KvmVm *vm)
{
    if (vm->routes) {
        timer_cancel(&vm->routes->pit_phase);
        free(vm->routes);
        vm->routes = NULL;
    }
}

/* ---- in and out ---- */

/* Has every vCPU that is to run loaded its state, and has the kernel a LAPIC for each of the others? */
static bool all_entered(const struct Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        const KvmVcpu *k = on_kvm(m, i);
        if (k && !k->entered && (!vcpu_must_park(m->vcpu[i]) || k->fd < 0)) {
            return false;
        }
    }
    return true;
}

bool kvm_irqchip_enter(KvmVcpu *k)
{
    KvmVm *vm = k->vm;
    struct Machine *m = vm->machine;
    if (vm->irqchip == KVM_IRQCHIP_OFF || (k->entered && __atomic_load_n(&vm->handed_over,
                                                                         __ATOMIC_ACQUIRE))) {
        return true;
    }
    vm_lock();
    if (vcpu_must_park(k->v)) { /* so must others that have nothing in the kernel yet, maybe */
        vm_unlock();
        return false;
    }
    k->entered = true;
    k->settled_count = KVM_LAPIC_NO_COUNT;
    if (!vm->handed_over && all_entered(m)) {
        irqchip_hand_over(m, vm->irqchip == KVM_IRQCHIP_ON ? &ops_on : &ops_split);
        kvm_routes_send(vm);
        __atomic_store_n(&vm->handed_over, true, __ATOMIC_RELEASE);
    }
    bool go = vm->handed_over;
    vm_unlock();
    if (!go) {
        usleep(100); /* the others load */
    }
    return go;
}

static bool any_entered(const struct Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        const KvmVcpu *k = on_kvm(m, i);
        if (k && k->entered) {
            return true;
        }
    }
    return false;
}

static void take_back(KvmVm *vm)
{
    struct Machine *m = vm->machine;
    Timer *phase = &vm->routes->pit_phase;
    bool tick = timer_armed(phase) && phase->deadline <= guest_clock_ns();
    timer_cancel(phase);
    if (tick) { /* due, but the main loop has been busy */
        pit_in_phase(vm);
    }
    irqchip_take_back(m);
    __atomic_store_n(&vm->handed_over, false, __ATOMIC_RELEASE);
    if (vm->irqchip == KVM_IRQCHIP_ON) { /* its ticks would go on */
        struct kvm_pit_state2 pit = { .channels[0].mode = 5 };
        kvm_ioctl(vm->fd, KVM_SET_PIT2, &pit);
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        pthread_cond_signal(&m->vcpu[i]->wake);
    }
}

void kvm_irqchip_leave(KvmVcpu *k)
{
    KvmVm *vm = k->vm;
    Vcpu *v = k->v;
    if (!k->entered) {
        return;
    }
    k->entered = false;
    if (!vm->handed_over) {
        return;
    }
    while (any_entered(vm->machine) && vm->handed_over && vcpu_must_park(v)) {
        vm_cond_wait(&v->wake);
    }
    if (vm->handed_over && !any_entered(vm->machine)) {
        take_back(vm);
    } else if (vm->handed_over && !vcpu_must_park(v) && !v->quit) {
        k->entered = true; /* resumed while it waited: the others never stopped */
    }
}
