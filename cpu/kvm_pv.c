/* SPDX-License-Identifier: GPL-2.0-or-later
 * KVM's paravirtual interface on the software engines (Linux Documentation/virt/kvm/x86/msr.rst,
 * hypercalls.rst, cpuid.rst).
 *
 * kvmclock: the guest finds, for each CPU, a pair (TSC, ns) and a factor, and counts on from there by
 * its TSC. One pair serves all CPUs of a machine (Machine.kvmclock), so that their clocks agree, and
 * it is a new one only where guest time has stood. What KVM wrote before a CPU came here stays right,
 * as the TSC has not jumped.
 *
 *    0 version (odd: being written)   8 tsc_timestamp   16 system_time
 *   24 tsc_to_system_mul   28 tsc_shift   29 flags
 *
 * No time is stolen here, no page fault is asynchronous, and no EOI is taken back: the structures are
 * kept as they are when nothing happens. Left out: clock pairing, PV IPIs, page encryption.
 */
#include "cpu/kvm_pv.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <linux/kvm_para.h>
#include <string.h>

#include "cpu/state.h"
#include "cpu/tsc.h"
#include "hw/core/machine.h"
#include "util/log.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { PVCLOCK_TSC_STABLE = 1 << 0 };
enum { CLOCK_TSC = 8, CLOCK_NS = 16, CLOCK_MUL = 24, CLOCK_SHIFT = 28 };

static bool has(const CpuState *cpu, CpuFeature id)
{
    return feature_has(&cpu->features, id);
}

/* To RAM only, as a device would: the guest may have named any address. */
static void put(CpuState *cpu, uint64_t gpa, uint64_t val, unsigned size)
{
    dma_write(&cpu->machine->memory, gpa, &val, size);
}

static uint32_t get32(CpuState *cpu, uint64_t gpa)
{
    uint32_t val = 0;
    dma_read(&cpu->machine->memory, gpa, &val, sizeof(val));
    return val;
}

/* Readers see an odd version while the rest changes. x86 stores are in order. */
static uint32_t begin(CpuState *cpu, uint64_t gpa)
{
    uint32_t version = (get32(cpu, gpa) | 1) + 2;
    put(cpu, gpa, version, 4);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return version;
}

static void end(CpuState *cpu, uint64_t gpa, uint32_t version)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    put(cpu, gpa, version + 1, 4);
}

/* ---- the clock ---- */

static uint64_t ticks_to_ns(uint64_t ticks, uint32_t khz)
{
    return (uint64_t)((unsigned __int128)ticks * 1000000 / khz);
}

uint64_t kvm_pv_clock_ns(const Machine *m)
{
    if (!m->kvmclock.runs || !m->nr_cpus) {
        return m->kvmclock.ns;
    }
    const CpuState *cpu = m->cpu[0];
    return m->kvmclock.ns + ticks_to_ns(cpu_tsc_ticks(cpu) - m->kvmclock.ticks, cpu->tsc_khz);
}

/* ns = (ticks << shift) * mul >> 32, with mul as large as fits. */
static uint32_t tick_factor(uint32_t khz, int *shift)
{
    unsigned __int128 mul = ((unsigned __int128)1000000 << 32) / khz;
    for (*shift = 0; mul > UINT32_MAX; (*shift)++) {
        mul >>= 1;
    }
    for (; mul <= UINT32_MAX / 2; (*shift)--) {
        mul = ((unsigned __int128)1000000 << (32 - *shift + 1)) / khz;
    }
    return (uint32_t)mul;
}

static void fill_clock(CpuState *cpu)
{
    const Machine *m = cpu->machine;
    uint64_t gpa = cpu->kvm.system_time & ~1ull;
    if (!(cpu->kvm.system_time & 1)) {
        return;
    }
    int shift;
    uint32_t mul = tick_factor(cpu->tsc_khz, &shift);
    uint32_t flags = has(cpu, FEATURE_KVM_CLOCK_STABLE) ? PVCLOCK_TSC_STABLE : 0;
    uint32_t version = begin(cpu, gpa);
    put(cpu, gpa + CLOCK_TSC, m->kvmclock.ticks + cpu_tsc_own_offset(cpu), 8);
    put(cpu, gpa + CLOCK_NS, m->kvmclock.ns, 8);
    put(cpu, gpa + CLOCK_MUL, mul, 4);
    put(cpu, gpa + CLOCK_SHIFT, (uint8_t)shift | flags << 8, 4);
    end(cpu, gpa, version);
}

void kvm_pv_tsc_written(CpuState *cpu)
{
    if (cpu->kvm.system_time & 1) {
        bool taken = vm_lock_enter();
        fill_clock(cpu);
        vm_lock_leave(taken);
    }
}

static void start_at(Machine *m, uint64_t ns)
{
    m->kvmclock.ns = ns;
    m->kvmclock.ticks = cpu_tsc_ticks(m->cpu[0]);
}

void kvm_pv_clock_set(Machine *m, uint64_t ns, uint64_t at)
{
    if (m->nr_cpus) {
        start_at(m, ns);
        /* How long ago that was, by the host's counter: a scaled TSC counts another rate. */
        if (m->tsc.follow_host || m->tsc.is_host) {
            m->kvmclock.ticks -= host_tsc() - at;
        }
    }
}

void kvm_pv_start(Machine *m)
{
    if (!m->nr_cpus || m->kvmclock.runs) {
        return;
    }
    start_at(m, m->cpu[0]->kvm.clock_ns);
    m->kvmclock.runs = true;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        fill_clock(m->cpu[i]);
    }
}

void kvm_pv_stop(Machine *m)
{
    m->kvmclock.ns = kvm_pv_clock_ns(m);
    m->kvmclock.runs = false;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        m->cpu[i]->kvm.clock_ns = m->kvmclock.ns;
    }
}

/* The wall clock time at which kvmclock read 0: version, seconds, nanoseconds. */
static void fill_wall_clock(CpuState *cpu)
{
    uint64_t gpa = cpu->kvm.wall_clock;
    uint64_t start = wall_clock_ns() - kvm_pv_clock_ns(cpu->machine);
    uint32_t version = begin(cpu, gpa);
    put(cpu, gpa + 4, start / 1000000000, 4);
    put(cpu, gpa + 8, start % 1000000000, 4);
    end(cpu, gpa, version);
}

/* ---- steal time, asynchronous page faults, EOI ---- */

enum { STEAL_VERSION = 8, STEAL_FLAGS = 12, STEAL_PREEMPTED = 16 };

/* Nobody takes time from this CPU, and it is never "preempted": others send it IPIs. */
static void calm_steal_time(CpuState *cpu)
{
    uint64_t gpa = cpu->kvm.steal_time & KVM_STEAL_VALID_BITS;
    if (cpu->kvm.steal_time & KVM_MSR_ENABLED) {
        if (get32(cpu, gpa + STEAL_VERSION) & 1) {
            put(cpu, gpa + STEAL_VERSION, get32(cpu, gpa + STEAL_VERSION) + 1, 4);
        }
        put(cpu, gpa + STEAL_FLAGS, 0, 4);
        put(cpu, gpa + STEAL_PREEMPTED, 0, 1);
    }
}

/* Faults that another engine had in hand are over: token ~0 wakes all who wait for a page. */
static void end_async_faults(CpuState *cpu)
{
    enum { NEED = KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT, TOKEN = 4 };
    uint64_t gpa = cpu->kvm.async_pf & ~0x3full;
    if ((cpu->kvm.async_pf & NEED) != NEED || !cpu->apic_ops || !cpu->apic_ops->inject ||
        get32(cpu, gpa + TOKEN)) {
        return;
    }
    put(cpu, gpa + TOKEN, UINT32_MAX, 4);
    cpu->apic_ops->inject(cpu->apic, (uint8_t)cpu->kvm.async_pf_int);
}

void kvm_pv_take_over(CpuState *cpu)
{
    if (!cpu->kvm.foreign) {
        return;
    }
    cpu->kvm.foreign = false;
    if (!has(cpu, FEATURE_KVM)) {
        return;
    }
    calm_steal_time(cpu); /* the caller flushes the TLB, which was maybe asked for there */
    end_async_faults(cpu);
    if (cpu->kvm.pv_eoi & KVM_MSR_ENABLED) {
        put(cpu, cpu->kvm.pv_eoi & ~3ull, 0, 1);
    }
}

/* ---- MSRs ---- */

typedef struct PvMsr {
    uint32_t msr;
    uint16_t feature, offset;
    uint64_t reserved;
} PvMsr;

#define ROW(msr, feature, field, reserved)                                        \
    {                                                                             \
        msr, FEATURE_KVM_##feature, offsetof(CpuState, kvm.field), (reserved)     \
    }
static const PvMsr msrs[] = {
    ROW(MSR_KVM_WALL_CLOCK, CLOCK_OLD, wall_clock, 0),
    ROW(MSR_KVM_SYSTEM_TIME, CLOCK_OLD, system_time, 0),
    ROW(MSR_KVM_WALL_CLOCK_NEW, CLOCK, wall_clock, 0),
    ROW(MSR_KVM_SYSTEM_TIME_NEW, CLOCK, system_time, 0),
    ROW(MSR_KVM_ASYNC_PF_EN, ASYNCPF, async_pf, 0x30),
    ROW(MSR_KVM_ASYNC_PF_INT, ASYNCPF_INT, async_pf_int, ~0xffull),
    ROW(MSR_KVM_STEAL_TIME, STEAL_TIME, steal_time, KVM_STEAL_RESERVED_MASK),
    ROW(MSR_KVM_PV_EOI_EN, PV_EOI, pv_eoi, 2),
    ROW(MSR_KVM_POLL_CONTROL, POLL_CONTROL, poll_control, ~1ull),
};
#undef ROW

static const PvMsr *find_msr(const CpuState *cpu, uint32_t msr)
{
    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
        if (msrs[i].msr == msr && has(cpu, FEATURE_KVM) && has(cpu, msrs[i].feature)) {
            return &msrs[i];
        }
    }
    return NULL;
}

static bool is_ack(const CpuState *cpu, uint32_t msr)
{
    return msr == MSR_KVM_ASYNC_PF_ACK && has(cpu, FEATURE_KVM_ASYNCPF_INT);
}

bool kvm_pv_rdmsr(CpuState *cpu, uint32_t msr, uint64_t *val)
{
    const PvMsr *r = find_msr(cpu, msr);
    *val = 0;
    if (r) {
        memcpy(val, (const char *)cpu + r->offset, sizeof(*val));
    }
    return r || is_ack(cpu, msr);
}

static void written(CpuState *cpu, uint32_t msr)
{
    switch (msr) {
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_NEW: fill_wall_clock(cpu); break;
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_NEW: fill_clock(cpu); break;
    case MSR_KVM_STEAL_TIME: calm_steal_time(cpu); break;
    default: break;
    }
}

bool kvm_pv_wrmsr(CpuState *cpu, uint32_t msr, uint64_t val, bool *known)
{
    const PvMsr *r = find_msr(cpu, msr);
    *known = r || is_ack(cpu, msr);
    if (!r) {
        return *known; /* the next page may be announced: there is none */
    }
    if (val & r->reserved) {
        return false;
    }
    memcpy((char *)cpu + r->offset, &val, sizeof(val));
    if (cpu->machine) {
        bool taken = vm_lock_enter();
        written(cpu, msr);
        vm_lock_leave(taken);
    }
    return true;
}

/* ---- hypercalls ---- */

static int64_t kick_cpu(CpuState *cpu, uint64_t apic_id)
{
    const Machine *m = cpu->machine;
    if (!has(cpu, FEATURE_KVM_PV_UNHALT)) {
        return -KVM_ENOSYS;
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (m->cpu[i]->apic_id == (uint32_t)apic_id) {
            cpu_request(m->cpu[i], CPU_REQ_KICK);
        }
    }
    return 0;
}

void kvm_pv_take_kick(CpuState *cpu)
{
    cpu_clear_request(cpu, CPU_REQ_KICK);
    cpu->kvm.unhalted = cpu->activity != CPU_HALTED;
    if (cpu->activity == CPU_HALTED) {
        cpu->activity = CPU_ACTIVE;
    }
}

void kvm_pv_hypercall(CpuState *cpu)
{
    bool wide = cpu->mode & MODE_CS64;
    uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
    uint64_t nr = cpu->gpr[REG_RAX] & mask;
    int64_t result = -KVM_ENOSYS;
    if (cpu_cpl(cpu) != 0) {
        result = -KVM_EPERM;
    } else if (nr == KVM_HC_KICK_CPU) {
        result = kick_cpu(cpu, cpu->gpr[REG_RCX] & mask);
    } else if (nr == KVM_HC_VAPIC_POLL_IRQ ||
               (nr == KVM_HC_SCHED_YIELD && has(cpu, FEATURE_KVM_PV_SCHED_YIELD))) {
        result = 0;
    } else if (nr == KVM_HC_CLOCK_PAIRING) {
        result = -KVM_EOPNOTSUPP;
    } else {
        log_unimp("cpu%u: hypercall %llu", cpu->index, (unsigned long long)nr);
    }
    cpu->gpr[REG_RAX] = wide ? (uint64_t)result : (uint32_t)result;
}
