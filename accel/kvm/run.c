/* SPDX-License-Identifier: GPL-2.0-or-later
 * KVM_RUN (api.rst 4.10), and what stands around it: kicks, interrupts of our own controllers,
 * and the gate. What it comes back for is in handle.c.
 *
 * No lost kicks: the vCPU says `inside`, then takes immediate_exit back, then looks at request and
 * the gate, then calls KVM_RUN. Whoever sets a request bit or closes the gate looks at `inside`
 * afterwards and, if it is set, sends the signal, whose handler sets immediate_exit: KVM_RUN then
 * returns whether it had begun or not.
 *
 * The registers are the kernel's from the first entry after load_state until kvm_sync_state(). What
 * needs CpuState in between (INIT, an instruction for the interpreter) syncs, and the next entry
 * loads again.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "accel/kvm/doorbell.h"
#include "accel/kvm/exits.h"
#include "accel/kvm/irqchip.h"
#include "accel/kvm/kick.h"
#include "accel/kvm/kvm.h"
#include "cpu/exception.h"
#include "cpu/kvm_pv.h"
#include "cpu/tlb.h"
#include "util/log.h"
#include "util/timer.h"
#include "util/vm_lock.h"

/* ---- kicks ---- */

void kvm_vcpu_kick(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    if (k && __atomic_load_n(&k->inside, __ATOMIC_SEQ_CST)) {
        kick_thread(v->thread);
    }
}

/* ---- the gate ---- */

static bool on_kvm(const Machine *m, unsigned i)
{
    return m->vcpu[i] && m->vcpu[i]->engine->kick == kvm_vcpu_kick && kvm_vcpu(m->vcpu[i]);
}

static void tell_gate(KvmVm *vm)
{
    pthread_mutex_lock(&vm->gate_lock);
    pthread_cond_broadcast(&vm->gate_cond);
    pthread_mutex_unlock(&vm->gate_lock);
}

void kvm_gate_close(KvmVm *vm)
{
    Machine *m = vm->machine;
    __atomic_store_n(&vm->gate_closed, true, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; m->vcpu && i < m->nr_cpus; i++) {
        if (on_kvm(m, i)) {
            kvm_vcpu_kick(m->vcpu[i]);
        }
    }
    pthread_mutex_lock(&vm->gate_lock);
    for (unsigned i = 0; m->vcpu && i < m->nr_cpus; i++) {
        while (on_kvm(m, i) && __atomic_load_n(&kvm_vcpu(m->vcpu[i])->inside, __ATOMIC_SEQ_CST)) {
            pthread_cond_wait(&vm->gate_cond, &vm->gate_lock);
        }
    }
    pthread_mutex_unlock(&vm->gate_lock);
}

void kvm_gate_open(KvmVm *vm)
{
    pthread_mutex_lock(&vm->gate_lock);
    __atomic_store_n(&vm->gate_closed, false, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&vm->gate_cond);
    pthread_mutex_unlock(&vm->gate_lock);
}

/* In front of KVM_RUN. Who closes the gate holds vm_lock, so that a vCPU that holds it (parking)
 * never waits here. */
static void go_inside(KvmVcpu *k, bool immediate_exit)
{
    KvmVm *vm = k->vm;
    kick_set_target(&k->run->immediate_exit);
    for (;;) {
        __atomic_store_n(&k->inside, true, __ATOMIC_SEQ_CST);
        __atomic_store_n(&k->run->immediate_exit, immediate_exit, __ATOMIC_SEQ_CST);
        if (likely(!__atomic_load_n(&vm->gate_closed, __ATOMIC_SEQ_CST))) {
            return;
        }
        __atomic_store_n(&k->inside, false, __ATOMIC_SEQ_CST);
        pthread_mutex_lock(&vm->gate_lock);
        pthread_cond_broadcast(&vm->gate_cond);
        while (__atomic_load_n(&vm->gate_closed, __ATOMIC_SEQ_CST)) {
            pthread_cond_wait(&vm->gate_cond, &vm->gate_lock);
        }
        pthread_mutex_unlock(&vm->gate_lock);
    }
}

static void go_outside(KvmVcpu *k)
{
    kick_set_target(NULL); /* a signal that comes late finds nothing to set */
    __atomic_store_n(&k->inside, false, __ATOMIC_SEQ_CST);
    if (unlikely(__atomic_load_n(&k->vm->gate_closed, __ATOMIC_SEQ_CST))) {
        tell_gate(k->vm);
    }
}

/* ---- interrupts of our own controllers ---- */

static int acknowledge(CpuState *cpu)
{
    enum { APIC_BASE_ENABLE = 1 << 11 };
    if (cpu->apic_ops && (cpu->apic_ops->get_base(cpu->apic) & APIC_BASE_ENABLE)) {
        return cpu->apic_ops->ack(cpu->apic);
    }
    return cpu->pic_ack ? cpu->pic_ack(cpu->pic_opaque) : -1;
}

/* INTR goes in where the guest can take it at once; else the kernel tells when it can. */
static void inject_interrupt(KvmVcpu *k, uint32_t request)
{
    k->run->request_interrupt_window = 0;
    if (!(request & CPU_REQ_INTR) || k->vm->irqchip == KVM_IRQCHIP_ON) {
        return;
    }
    if (!k->ready_for_interrupt) {
        k->run->request_interrupt_window = 1;
        return;
    }
    int vector = acknowledge(&k->v->cpu);
    if (vector >= 0) {
        struct kvm_interrupt intr = { .irq = (uint32_t)vector };
        kvm_ioctl(k->fd, KVM_INTERRUPT, &intr);
        k->ready_for_interrupt = false;
    }
    /* The next one waits for the window; INTR is asserted anew by the controller if there is one. */
    k->run->request_interrupt_window =
        !!(__atomic_load_n(&k->v->cpu.request, __ATOMIC_SEQ_CST) & CPU_REQ_INTR);
}

static void give_cr8(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    if (k->vm->irqchip == KVM_IRQCHIP_OFF && cpu->apic_ops) {
        k->cr8 = cpu->apic_ops->get_cr8(cpu->apic);
        k->run->cr8 = k->cr8;
        k->apic_base = cpu->apic_ops->get_base(cpu->apic);
        k->run->apic_base = k->apic_base; /* the kernel writes it only where it runs the guest */
    }
}

/* Without a LAPIC of the kernel's, MOV CR8 and IA32_APIC_BASE change numbers that only come out at
 * exits. */
static void take_cr8(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    if (k->vm->irqchip != KVM_IRQCHIP_OFF || !cpu->apic_ops) {
        return;
    }
    if (k->run->cr8 != k->cr8) {
        k->cr8 = k->run->cr8;
        cpu->apic_ops->set_cr8(cpu->apic, k->cr8);
    }
    if (k->run->apic_base != k->apic_base) {
        k->apic_base = k->run->apic_base;
        cpu->apic_ops->set_base(cpu->apic, k->apic_base);
    }
}

/* ---- requests ---- */

enum { BY_CPU_STATE = CPU_REQ_INIT | CPU_REQ_SIPI | CPU_REQ_MCE };

static void inject_nmi(KvmVcpu *k)
{
    cpu_clear_request(&k->v->cpu, CPU_REQ_NMI);
    kvm_ioctl(k->fd, KVM_NMI, NULL);
}

static void inject_smi(KvmVcpu *k)
{
    cpu_clear_request(&k->v->cpu, CPU_REQ_SMI);
    log_unimp("cpu%u: SMI ignored: system management mode is not built", k->v->cpu.index);
}

/* As a software engine would: pushes frames by way of the CPU's own translation cache. */
static void take_events(CpuState *cpu)
{
    mmu_refresh_view(cpu); /* nobody told it of changes */
    __atomic_store_n(&cpu->guest_code, 1, __ATOMIC_SEQ_CST);
    cpu_take_events(cpu);
    __atomic_store_n(&cpu->guest_code, 0, __ATOMIC_SEQ_CST);
}

/* Before the registers are the kernel's, and whenever something is asked. False: leave the engine. */
static bool serve_requests(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    uint32_t request = __atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST);
    if (request & CPU_REQ_RECHECK) {
        cpu_clear_request(cpu, CPU_REQ_RECHECK);
        __atomic_add_fetch(&cpu->epoch, 1, __ATOMIC_SEQ_CST);
    }
    if (request & CPU_REQ_RUN_ON) {
        kvm_sync_state(k);
        vcpu_run_queue(cpu);
    }
    if (request & CPU_REQ_STOP) {
        return false;
    }
    if (request & CPU_REQ_KICK) {
        kvm_pv_take_kick(cpu);
    }
    if (request & BY_CPU_STATE) {
        kvm_sync_state(k);
        take_events(cpu);
    }
    if (cpu->activity != CPU_ACTIVE && !k->in_kernel && !kvm_halts_in_kernel(k)) {
        take_events(cpu); /* what ends the halt */
    }
    return cpu->activity == CPU_ACTIVE || kvm_halts_in_kernel(k);
}

static bool load(KvmVcpu *k)
{
    Error *err = NULL;
    if (k->in_kernel) {
        return true;
    }
    if (k->fd < 0) { /* nobody called Engine.ready: a bare machine of a test */
        vm_lock();
        bool ok = kvm_vm_up(k->vm, &err) && kvm_vcpu_up(k, &err);
        kvm_clock_start(k->vm);
        vm_unlock();
        if (!ok) {
            error_report(err);
            return false;
        }
    }
    kvm_load_state(k);
    kvm_debug_load(k);
    kvm_clock_tell_guest(k);
    k->in_kernel = true;
    k->ready_for_interrupt = false;
    return true;
}

/* ---- entering ---- */

/* One KVM_RUN; what it returned. only_finish: come back as soon as user space's half of the last
 * instruction is in. */
static int enter(KvmVcpu *k, bool only_finish)
{
    struct kvm_run *run = k->run;
    int r = -EINTR;
    give_cr8(k); /* what the last exit wrote to the TPR, before KVM_RUN tells what it has */
    go_inside(k, only_finish);
    bool no_intr = run->request_interrupt_window || k->vm->irqchip == KVM_IRQCHIP_ON;
    uint32_t look = ~(no_intr ? (uint32_t)CPU_REQ_INTR : 0);
    if (only_finish || !(__atomic_load_n(&k->v->cpu.request, __ATOMIC_SEQ_CST) & look)) {
        r = kvm_ioctl(k->fd, KVM_RUN, NULL);
        k->unfinished = false;
        k->ready_for_interrupt = run->ready_for_interrupt_injection;
    }
    go_outside(k);
    kvm_coalesced_drain(k);
    return r;
}

/* Until the last instruction is complete in the kernel: it may exit again for its next part. False:
 * leave the engine. */
static bool finish_instruction(KvmVcpu *k)
{
    while (k->unfinished) {
        int r = enter(k, true);
        take_cr8(k);
        if (r != -EINTR && r != -EAGAIN && !kvm_handle_exit(k, r)) {
            return false;
        }
    }
    return true;
}

/* An instruction may still fault when user space has done its half (a refused MSR, INS to a page that
 * is not there), and the kernel then enters the guest with that exception in place of a vector it was
 * given before: the vector would be lost and its ISR bit stay. So the instruction ends before the
 * vector goes in, and if it has ended in an event, which Linux before 5.14 calls ready for an
 * interrupt, the vector waits. */
static bool finish_before_interrupt(KvmVcpu *k)
{
    struct kvm_vcpu_events e = { 0 };
    bool go_on = finish_instruction(k);
    if (k->in_kernel && (kvm_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &e) < 0 || e.exception.pending ||
                         e.exception.injected || e.nmi.injected || e.interrupt.injected)) {
        k->ready_for_interrupt = false;
    }
    return go_on;
}

void kvm_sync_state(KvmVcpu *k)
{
    if (!k->in_kernel) {
        return;
    }
    finish_instruction(k);
    CpuState *cpu = &k->v->cpu;
    CpuActivity was = cpu->activity;
    kvm_store_state(k);
    if (!kvm_halts_in_kernel(k) || was == CPU_SHUTDOWN) {
        cpu->activity = was; /* which the kernel does not know */
    }
    k->in_kernel = false;
    mmu_refresh_view(cpu); /* the interpreter's caches are from another time */
    vcpu_load_state(k->v);
}

void kvm_internal_error(KvmVcpu *k)
{
    bool taken = vm_lock_enter();
    machine_request_internal_error(k->v->machine);
    vm_lock_leave(taken);
}

static unsigned exit_reason(const KvmVcpu *k, int r)
{
    if (r >= 0) {
        return k->run->exit_reason;
    }
    return r == -EINTR || r == -EAGAIN ? KVM_EXIT_INTR : r == -EFAULT ? EXIT_EFAULT : EXIT_ERROR;
}

static void run_nothing(KvmVcpu *k)
{
    go_inside(k, false);
    int r = kick_run_nothing(k->fd);
    go_outside(k);
    kvm_coalesced_drain(k);
    if (r == 0) { /* it had something to say before it saw the signal */
        kvm_handle_exit(k, r);
        finish_instruction(k);
    }
}

/* On the way out: timers of the kernel's that have expired interrupt now, or would come late or
 * twice. A KVM that emulates in software runs guest code in between: then it is tried again. */
static void settle(KvmVcpu *k)
{
    enum { SETTLE_US = 2000 }; /* the count stands at zero before the kernel's own timer runs */
    finish_instruction(k);
    for (unsigned tries = 0; tries < 50 && k->in_kernel && kvm_irqchip_must_settle(k); tries++) {
        struct kvm_regs before = { 0 }, after = { 0 };
        usleep(SETTLE_US);
        kvm_ioctl(k->fd, KVM_GET_REGS, &before);
        run_nothing(k);
        kvm_ioctl(k->fd, KVM_GET_REGS, &after);
        if (!memcmp(&before, &after, sizeof(before))) {
            break;
        }
    }
}

void kvm_vcpu_run(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    CpuState *cpu = &v->cpu;
    if (cpu->activity == CPU_HALTED && k->in_kernel && cpu_has_work(cpu)) {
        cpu->activity = CPU_ACTIVE; /* the kernel thinks so: it left us the wait */
        cpu->kvm.unhalted = false;
        cpu_clear_request(cpu, CPU_REQ_KICK);
        k->ready_for_interrupt = cpu->eflags & FLAG_IF; /* a kick ends a halt with IF clear, too */
    }
    for (;;) {
        if (!serve_requests(k)) {
            settle(k);
            break;
        }
        if (!load(k)) {
            kvm_internal_error(k);
            break;
        }
        if (!kvm_irqchip_enter(k)) {
            break;
        }
        uint32_t request = __atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST);
        if ((request & CPU_REQ_INTR) && k->unfinished && k->vm->irqchip != KVM_IRQCHIP_ON) {
            if (!finish_before_interrupt(k)) {
                break;
            }
            continue;
        }
        if (request & CPU_REQ_NMI) {
            inject_nmi(k);
        }
        if (request & CPU_REQ_SMI) {
            inject_smi(k);
        }
        inject_interrupt(k, request);
        uint64_t entered = host_clock_ns();
        int r = enter(k, false);
        uint64_t back = host_clock_ns();
        take_cr8(k);
        bool kicked = r == -EINTR || r == -EAGAIN;
        unsigned reason = exit_reason(k, r); /* before handling it overwrites what tells it */
        bool go_on = kicked || kvm_handle_exit(k, r);
        kvm_exits_count(k, reason, entered, back, host_clock_ns());
        if (!go_on) {
            break;
        }
    }
    finish_instruction(k);
}
