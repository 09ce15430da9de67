/* SPDX-License-Identifier: GPL-2.0-or-later
 * The time stamp counter (SDM 3B 18.17). A machine follows either its guest clock or the host's TSC.
 *
 * The latter drifts against guest time, which follows the host's disciplined clock, by some parts in
 * a million. At each stop the drift goes into the CPUs' offsets, the same to all, so that offsets
 * always count from guest time while it stands; at each start host_offset is measured anew.
 */
#include "cpu/tsc.h"

#include "cpu/kvm_pv.h"
#include "cpu/state.h"
#include "hw/core/machine.h"
#include "util/timer.h"

static uint64_t guest_ticks_at(const CpuState *cpu, uint64_t ns)
{
    /* Exactly ns * tsc_khz / 1000000, without a division of 128 bits: every RDTSC comes here. */
    return ns / 1000000 * cpu->tsc_khz + ns % 1000000 * cpu->tsc_khz / 1000000;
}

static bool follows_host(const Machine *m)
{
    return m && __atomic_load_n(&m->tsc.running, __ATOMIC_ACQUIRE);
}

static bool is_host(const Machine *m)
{
    return m && m->tsc.is_host;
}

static uint64_t ticks(const CpuState *cpu)
{
    const Machine *m = cpu->machine;
    return follows_host(m) ? host_tsc() + m->tsc.host_offset
                           : guest_ticks_at(cpu, guest_clock_ns());
}

uint64_t cpu_tsc_ticks(const CpuState *cpu)
{
    return unlikely(is_host(cpu->machine)) ? host_tsc() : ticks(cpu);
}

uint64_t cpu_tsc_own_offset(const CpuState *cpu)
{
    return unlikely(is_host(cpu->machine)) ? 0 : cpu->tsc_offset;
}

uint64_t cpu_tsc(const CpuState *cpu)
{
    return cpu_tsc_ticks(cpu) + cpu_tsc_own_offset(cpu);
}

uint64_t cpu_tsc_to_guest_ns(const CpuState *cpu, uint64_t tsc)
{
    uint64_t now_ns = guest_clock_ns();
    const Machine *m = cpu->machine;
    bool by_host = is_host(m) || follows_host(m);
    uint64_t now = by_host ? cpu_tsc(cpu) : guest_ticks_at(cpu, now_ns) + cpu->tsc_offset;
    if (tsc <= now) {
        return now_ns;
    }
    /* From ticks of guest time back to ns, rounded up; far deadlines saturate. */
    unsigned __int128 at = (unsigned __int128)guest_ticks_at(cpu, now_ns) + (tsc - now);
    unsigned __int128 ns = (at * 1000000 + cpu->tsc_khz - 1) / cpu->tsc_khz;
    return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

uint64_t cpu_tsc_host_offset(const CpuState *cpu)
{
    const Machine *m = cpu->machine;
    return follows_host(m) ? m->tsc.host_offset + cpu->tsc_offset : cpu_tsc(cpu) - host_tsc();
}

static void start_following(Machine *m)
{
    if (m->tsc.follow_host && !m->tsc.running) {
        m->tsc.host_offset = guest_ticks_at(m->cpu[0], guest_clock_ns()) - host_tsc();
        __atomic_store_n(&m->tsc.running, true, __ATOMIC_RELEASE);
    }
}

void cpu_tsc_follow_host(Machine *m)
{
    if (!m->tsc.follow_host && m->nr_cpus && !guest_clock_is_manual()) {
        m->tsc.follow_host = true;
        if (guest_clock_running()) {
            start_following(m);
        }
    }
}

void cpu_tsc_be_host(Machine *m)
{
    if (!m->tsc.is_host) { /* once: vCPUs that come later read it without a lock */
        m->tsc.is_host = true;
    }
}

void cpu_tsc_start(Machine *m)
{
    start_following(m);
    kvm_pv_start(m);
}

void cpu_tsc_stop(Machine *m)
{
    kvm_pv_stop(m);
    if (!m->tsc.running) {
        return;
    }
    uint64_t ahead = host_tsc() - guest_ticks_at(m->cpu[0], guest_clock_ns());
    __atomic_store_n(&m->tsc.running, false, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        uint64_t *offset = &m->cpu[i]->tsc_offset;
        *offset = m->tsc.is_host ? ahead : *offset + ahead + m->tsc.host_offset;
    }
}
