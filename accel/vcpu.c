/* SPDX-License-Identifier: GPL-2.0-or-later
 * vCPU threads: one a vCPU, parked while the machine is paused, asleep while the CPU is halted,
 * else inside its engine. Requests (cpu_request) reach a vCPU wherever it is.
 *
 * A parked vCPU stands outside its engine, all state stored, and does what vcpu_call_parked asks:
 * so it changes its engine in its own thread.
 *
 * A halted vCPU sleeps on a mutex and condition of its own: the sleeper sets `asleep` and then
 * looks at request; whoever sets a request bit looks at `asleep` afterwards.
 */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel/accel.h"
#include "cpu/exception.h"
#include "cpu/kvm_pv.h"
#include "cpu/mem.h"
#include "cpu/tlb.h"
#include "cpu/window.h"
#include "util/timer.h"
#include "util/vm_lock.h"

typedef struct Work {
    List node;
    void (*fn)(CpuState *cpu, void *arg);
    void *arg;
} Work;

static __thread CpuState *current_cpu;

CpuState *cpu_current(void)
{
    return current_cpu;
}

/* ---- requests ---- */

void cpu_request(CpuState *cpu, uint32_t bits)
{
    uint32_t old = __atomic_fetch_or(&cpu->request, bits, __ATOMIC_SEQ_CST);
    __atomic_store_n(&cpu->jump_tag, 0, __ATOMIC_SEQ_CST);
    Vcpu *v = cpu->vcpu;
    if (!v || (old & bits) == bits) {
        return;
    }
    if (__atomic_load_n(&v->asleep, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&v->sleep_lock);
        pthread_cond_signal(&v->sleep_cond);
        pthread_mutex_unlock(&v->sleep_lock);
    }
    const Engine *e = __atomic_load_n(&v->engine, __ATOMIC_ACQUIRE);
    if (e->kick && current_cpu != cpu) {
        e->kick(v);
    }
}

void cpu_clear_request(CpuState *cpu, uint32_t bits)
{
    __atomic_fetch_and(&cpu->request, ~bits, __ATOMIC_SEQ_CST);
}

void vcpu_run_on(CpuState *cpu, void (*fn)(CpuState *cpu, void *arg), void *arg)
{
    Vcpu *v = cpu->vcpu;
    Work *w = malloc(sizeof(*w));
    assert(w);
    w->fn = fn;
    w->arg = arg;
    pthread_mutex_lock(&v->work_lock);
    list_insert(&v->work, &w->node);
    pthread_mutex_unlock(&v->work_lock);
    cpu_request(cpu, CPU_REQ_RUN_ON);
}

void vcpu_run_queue(CpuState *cpu)
{
    Vcpu *v = cpu->vcpu;
    cpu_clear_request(cpu, CPU_REQ_RUN_ON);
    for (;;) {
        pthread_mutex_lock(&v->work_lock);
        Work *w = list_empty(&v->work) ? NULL : container_of(v->work.next, Work, node);
        if (w) {
            list_remove(&w->node);
        }
        pthread_mutex_unlock(&v->work_lock);
        if (!w) {
            return;
        }
        w->fn(cpu, w->arg);
        free(w);
    }
}

/* ---- the thread ---- */

/* A guest that waits for a lock by HLT with interrupts off hopes for another CPU's hypercall, and an
 * engine whose kernel answers those itself knows nothing of a CPU that halts here. The guest looks at
 * its lock again in any case. */
static bool may_miss_kicks(const Vcpu *v)
{
    const CpuState *cpu = &v->cpu;
    return cpu->activity == CPU_HALTED && !(cpu->eflags & FLAG_IF) &&
           feature_has(&cpu->features, FEATURE_KVM_PV_UNHALT) && !vcpus_all_software(v->machine);
}

static void wait_for_signal(Vcpu *v)
{
    enum { PATIENCE_NS = 1000000 };
    struct timespec until;
    if (likely(!may_miss_kicks(v))) {
        pthread_cond_wait(&v->sleep_cond, &v->sleep_lock);
        return;
    }
    uint64_t ns = wall_clock_ns() + PATIENCE_NS;
    until.tv_sec = (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    if (pthread_cond_timedwait(&v->sleep_cond, &v->sleep_lock, &until) == ETIMEDOUT) {
        v->cpu.kvm.unhalted = true;
    }
}

static void halt_until_work(Vcpu *v)
{
    CpuState *cpu = &v->cpu;
    pthread_mutex_lock(&v->sleep_lock);
    __atomic_store_n(&v->asleep, true, __ATOMIC_SEQ_CST);
    while (!cpu_has_work(cpu) &&
           !(__atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST) & (CPU_REQ_STOP | CPU_REQ_RUN_ON))) {
        wait_for_signal(v);
    }
    __atomic_store_n(&v->asleep, false, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&v->sleep_lock);
}

void vcpu_load_state(Vcpu *v)
{
    if (v->engine->software) {
        kvm_pv_take_over(&v->cpu);
    }
    tlb_flush(&v->cpu);
    cpu_update_mode(&v->cpu);
}

bool vcpu_can_run(Vcpu *v, Error **errp)
{
    char names[512];
    CpuFeatures can = { { 0 } };
    for (int id = 1; id < NR_FEATURES; id++) {
        feature_set(&can, id, cpu_feature_implemented(id));
    }
    return !features_missing(&v->cpu.features, &can, names, sizeof(names)) ||
           error_set(errp,
                     "the guest was shown what it does not implement: %s; with -cpu max it is shown "
                     "what all engines have", names);
}

static void load_state(Vcpu *v)
{
    if (v->engine->load_state) {
        v->engine->load_state(v);
    }
}

bool vcpu_must_park(const Vcpu *v)
{
    return (v->stop || v->hold || !v->engine->executes) && !v->quit;
}

/* Parks while asked to; vm_lock held. */
static void park(Vcpu *v)
{
    if (!vcpu_must_park(v)) {
        return;
    }
    if (v->engine->store_state) {
        v->engine->store_state(v);
    }
    while (vcpu_must_park(v)) {
        if (v->call) {
            v->call(v, v->call_arg);
            v->call = NULL;
        }
        v->stopped = true;
        pthread_cond_broadcast(&v->parked);
        vm_cond_wait(&v->wake);
    }
    v->stopped = false;
    cpu_clear_request(&v->cpu, CPU_REQ_STOP);
    if (!v->quit) {
        load_state(v);
    }
}

void vcpu_call_parked(Vcpu *v, void (*fn)(Vcpu *v, void *arg), void *arg)
{
    assert(!current_cpu && v->stopped && !v->call);
    v->call_arg = arg;
    v->call = fn;
    pthread_cond_signal(&v->wake);
    while (v->call) {
        vm_cond_wait(&v->parked);
    }
}

static void *vcpu_main(void *opaque)
{
    Vcpu *v = opaque;
    CpuState *cpu = &v->cpu;
    current_cpu = cpu;
    v->tid = (int)syscall(SYS_gettid);

    vm_lock();
    while (!v->quit) {
        park(v);
        if (v->quit) {
            break;
        }
        if (__atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST) & CPU_REQ_STOP) {
            cpu_clear_request(cpu, CPU_REQ_STOP); /* resumed before it was seen */
        }
        vm_unlock();
        vcpu_run_queue(cpu);
        bool waits = cpu->activity == CPU_SHUTDOWN ||
                     (cpu->activity != CPU_ACTIVE && !v->halts_inside);
        if (waits && !cpu_has_work(cpu)) {
            halt_until_work(v);
        } else {
            v->engine->run(v);
        }
        vm_lock();
        if (cpu->activity == CPU_SHUTDOWN && !v->reset_requested) {
            v->reset_requested = true; /* until cpu_reset; see vcpus_resume */
            machine_request_reset(v->machine, RESET_TRIPLE_FAULT);
        }
    }
    if (v->engine->vcpu_fini) {
        v->engine->vcpu_fini(v);
    }
    vm_unlock();
    return NULL;
}

/* ---- memory changes and write tracking ---- */

static void refresh_view(CpuState *cpu, void *arg)
{
    (void)arg;
    if (cpu->mmu) {
        mmu_refresh_view(cpu);
    }
}

static void memory_changed(MemoryListener *l, AddressSpace *as)
{
    Machine *m = container_of(l, VcpuListener, listener)->machine;
    (void)as;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (!m->vcpu[i]->engine->own_memory) {
            vcpu_run_on(&m->vcpu[i]->cpu, refresh_view, NULL);
        }
    }
}

/* Waits until cpu left guest code or passed a safepoint from now on: what it was in the middle of
 * is done then. The waiter counts as outside guest code itself, so that two waiters do not wait
 * for each other. */
static void wait_for_safepoint(CpuState *cpu)
{
    uint32_t epoch = __atomic_load_n(&cpu->epoch, __ATOMIC_SEQ_CST);
    CpuState *self = current_cpu;
    uint32_t was = 0;
    if (self) {
        was = __atomic_exchange_n(&self->guest_code, 0, __ATOMIC_SEQ_CST);
    }
    cpu_request(cpu, CPU_REQ_RECHECK);
    for (unsigned n = 0; __atomic_load_n(&cpu->guest_code, __ATOMIC_SEQ_CST) &&
                         __atomic_load_n(&cpu->epoch, __ATOMIC_SEQ_CST) == epoch;
         n++) {
        if (n > 100) {
            sched_yield();
        }
    }
    if (self) {
        __atomic_store_n(&self->guest_code, was, __ATOMIC_SEQ_CST);
    }
}

/* A vCPU that waits for vm_lock (in a device access, or to acknowledge an interrupt) counts as
 * outside guest code: the lock's holder may be the one who waits for its safepoint. It holds no
 * host address meanwhile. */
static void lock_wait(bool waiting)
{
    static __thread uint32_t was;
    CpuState *self = current_cpu;
    if (self && waiting) {
        was = __atomic_exchange_n(&self->guest_code, 0, __ATOMIC_SEQ_CST);
    } else if (self) {
        __atomic_store_n(&self->guest_code, was, __ATOMIC_SEQ_CST);
    }
}

/* Machines whose vCPUs may hold write permissions. */
static List protectable = LIST_INIT(protectable);
static pthread_rwlock_t protectable_lock = PTHREAD_RWLOCK_INITIALIZER;

/* Threads in protect_ram. Who is not alone there looks into every cache and waits for every CPU:
 * the other has taken the page's writers and may not be through with them, or has taken a
 * permission whose owner is still in the middle of a store. */
static unsigned protecting;

static uint16_t take_writers(RamBlock *b, uint64_t offset, bool alone)
{
    uint16_t writers = 0xffff;
    if (b) {
        writers = __atomic_exchange_n(&b->code[offset >> PAGE_BITS].writers, 0, __ATOMIC_SEQ_CST);
    }
    return alone ? writers : 0xffff;
}

static void protect_ram(RamBlock *b, uint64_t offset, bool wait)
{
    const uint8_t *page = b ? b->host + ROUND_DOWN(offset, (uint64_t)PAGE_SIZE) : NULL;
    bool alone = __atomic_fetch_add(&protecting, 1, __ATOMIC_SEQ_CST) == 0;
    uint16_t writers = take_writers(b, offset, alone);
    pthread_rwlock_rdlock(&protectable_lock);
    list_for_each(pos, &protectable) {
        Machine *m = container_of(pos, VcpuListener, node)->machine;
        for (unsigned i = 0; i < m->nr_cpus; i++) {
            CpuState *cpu = &m->vcpu[i]->cpu;
            bool own = cpu == current_cpu;
            bool maybe_writing = tlb_revoke_write(cpu, page, writers, own) || !alone;
            if (maybe_writing && wait && !own) {
                wait_for_safepoint(cpu);
            }
        }
    }
    pthread_rwlock_unlock(&protectable_lock);
    __atomic_fetch_sub(&protecting, 1, __ATOMIC_SEQ_CST);
}

/* ---- life ---- */

const Engine engine_none = { .name = "none", .desc = "no engine", .thread_name = "-" };

static bool vcpu_create(Machine *m, unsigned i, Error **errp)
{
    Vcpu *v = window_pages_new(sizeof(Vcpu)); /* which starts with the CpuState */
    if (!v) {
        return error_set(errp, "no memory for vCPU %u", i);
    }
    v->engine = &engine_none;
    v->machine = m;
    v->stop = true;
    list_init(&v->work);
    pthread_mutex_init(&v->work_lock, NULL);
    pthread_mutex_init(&v->sleep_lock, NULL);
    pthread_cond_init(&v->sleep_cond, NULL);
    pthread_cond_init(&v->wake, NULL);
    pthread_cond_init(&v->parked, NULL);
    cpu_init(&v->cpu, m, i);
    v->cpu.vcpu = v;
    m->vcpu[i] = v;
    m->cpu[i] = &v->cpu;
    const char *model = m->config.cpu_model ? m->config.cpu_model : "max";
    if (!cpu_model_apply(&v->cpu, model, errp)) {
        return false;
    }
    cpu_reset(&v->cpu, false);
    return true;
}

/* Also of a machine without vCPUs: its engine may stop the clock (accel test).
 * What runs the CPUs decides what they can be. One that may run on either kind has what both have. */
static bool prepare_engines(Machine *m, const AccelPlan *plan, Error **errp)
{
    bool software = false;
    for (size_t n = 0; n < plan->nr; n++) {
        software |= plan->list[n].engine->software;
    }
    for (size_t n = 0; n < plan->nr; n++) {
        const Engine *e = plan->list[n].engine;
        if (!engine_prepare(m, e, errp)) {
            return false;
        }
        if (e->describe_cpus) {
            e->describe_cpus(m, software);
        }
    }
    for (int id = 1; software && m->features && id < NR_FEATURES; id++) {
        if (!cpu_feature_implemented(id)) {
            feature_set(&m->features->can, id, false);
        }
    }
    return true;
}

static bool start_threads(Machine *m, Error **errp)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Vcpu *v = m->vcpu[i];
        int r = pthread_create(&v->thread, NULL, vcpu_main, v);
        if (r) {
            return error_set_errno(errp, r, "could not start the thread of vCPU %u", i);
        }
        v->started = true;
        while (!v->stopped) {
            vm_cond_wait(&v->parked);
        }
    }
    return true;
}

static bool start_engines(Machine *m, const AccelPlan *plan, Error **errp)
{
    const Engine *want[MAX_CPUS] = { NULL };
    for (size_t n = 0; n < plan->nr; n++) {
        const EngineChoice *c = &plan->list[n];
        for (unsigned i = 0; i < m->nr_cpus; i++) {
            want[i] = vcpu_set_has(&c->vcpus, i) ? c->engine : want[i];
        }
    }
    return engines_start(m, want, errp);
}

bool vcpus_create(Machine *m, const AccelPlan *plan, Error **errp)
{
    unsigned n = m->nr_cpus ? m->nr_cpus : m->config.cpus;
    m->nr_cpus = n;
    m->vcpu = calloc(n, sizeof(*m->vcpu));
    m->cpu = calloc(n, sizeof(*m->cpu));
    if (!m->vcpu || !m->cpu) {
        return error_set(errp, "no memory for %u vCPUs", n);
    }
    if (!prepare_engines(m, plan, errp)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!vcpu_create(m, i, errp)) {
            return false;
        }
    }
    m->vcpu_listener = calloc(1, sizeof(VcpuListener));
    assert(m->vcpu_listener);
    m->vcpu_listener->machine = m;
    m->vcpu_listener->listener.changed = memory_changed;
    memory_listener_add(&m->memory, &m->vcpu_listener->listener);
    if (!start_threads(m, errp) || !start_engines(m, plan, errp)) {
        return false;
    }
    vcpus_show_caches(m);
    ram_protect_hook = protect_ram;
    vm_lock_wait_hook = lock_wait;
    return true;
}

void vcpus_show_caches(Machine *m)
{
    pthread_rwlock_wrlock(&protectable_lock);
    list_insert(&protectable, &m->vcpu_listener->node);
    pthread_rwlock_unlock(&protectable_lock);
}

void vcpus_hide_caches(Machine *m)
{
    pthread_rwlock_wrlock(&protectable_lock);
    if (m->vcpu_listener->node.next) {
        list_remove(&m->vcpu_listener->node);
    }
    pthread_rwlock_unlock(&protectable_lock);
}

void vcpus_resume(Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Vcpu *v = m->vcpu[i];
        v->stop = false;
        v->reset_requested = false;
        pthread_cond_signal(&v->wake);
    }
}

static void wait_until_parked(Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        cpu_request(&m->vcpu[i]->cpu, CPU_REQ_STOP);
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Vcpu *v = m->vcpu[i];
        while (v->started && vcpu_must_park(v) && !v->stopped) {
            vm_cond_wait(&v->parked);
        }
    }
}

void vcpus_pause(Machine *m)
{
    assert(!current_cpu);
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        m->vcpu[i]->stop = true;
    }
    wait_until_parked(m);
}

void vcpus_hold(Machine *m)
{
    assert(!current_cpu);
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        m->vcpu[i]->hold++;
    }
    wait_until_parked(m);
}

void vcpus_release(Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        assert(m->vcpu[i]->hold);
        m->vcpu[i]->hold--;
        pthread_cond_signal(&m->vcpu[i]->wake);
    }
}

void vcpus_destroy(Machine *m)
{
    if (!m->vcpu) {
        return;
    }
    if (m->vcpu_listener) {
        vcpus_hide_caches(m);
        memory_listener_del(&m->vcpu_listener->listener);
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Vcpu *v = m->vcpu[i];
        if (!v) {
            continue;
        }
        v->quit = v->stop = true;
        pthread_cond_signal(&v->wake);
        cpu_request(&v->cpu, CPU_REQ_STOP);
        if (v->started) {
            vm_unlock();
            pthread_join(v->thread, NULL);
            vm_lock();
        }
        vcpu_run_queue(&v->cpu);
        window_pages_free(v, sizeof(*v));
    }
    engines_fini(m);
    free(m->features);
    m->features = NULL;
    free(m->vcpu_listener);
    free(m->vcpu);
    free(m->cpu);
    m->vcpu_listener = NULL;
    m->vcpu = NULL;
    m->cpu = NULL;
    m->nr_cpus = 0;
}
