/* SPDX-License-Identifier: GPL-2.0-or-later
 * KVM's paravirtual interface for the software engines (Linux Documentation/virt/kvm/x86/msr.rst,
 * hypercalls.rst), so that a guest which found it on KVM can move to them: clock, wall clock, steal
 * time, asynchronous page faults, EOI flag, hypercalls. A guest has it if CPUID shows FEATURE_KVM.
 */
#ifndef CPU_KVM_PV_H
#define CPU_KVM_PV_H

#include <stdbool.h>
#include <stdint.h>

struct CpuState;
struct Machine;

/* As cpu_rdmsr and cpu_wrmsr; *known: it is one of these, and this guest has it. */
bool kvm_pv_rdmsr(struct CpuState *cpu, uint32_t msr, uint64_t *val);
bool kvm_pv_wrmsr(struct CpuState *cpu, uint32_t msr, uint64_t val, bool *known);
/* VMCALL and VMMCALL: number in RAX, arguments in RBX, RCX, RDX, RSI; result in RAX. */
void kvm_pv_hypercall(struct CpuState *cpu);
/* CPU_REQ_KICK: ends a HLT, or else the next one. Own thread. */
void kvm_pv_take_kick(struct CpuState *cpu);
/* The CPU has come from an engine that kept the guest's structures itself. Own thread. */
void kvm_pv_take_over(struct CpuState *cpu);

/* ---- kvmclock, in ns; goes on from a stop where it was. vm_lock held ---- */

/* The run state: guest time was started, is about to stop. vCPUs are parked. */
void kvm_pv_start(struct Machine *m);
void kvm_pv_stop(struct Machine *m);
uint64_t kvm_pv_clock_ns(const struct Machine *m);
/* An engine whose kernel kept the clock says what it read when the host's TSC read host_tsc. */
void kvm_pv_clock_set(struct Machine *m, uint64_t ns, uint64_t host_tsc);
/* The CPU's TSC has been set: its guest structure is made anew. Own thread. */
void kvm_pv_tsc_written(struct CpuState *cpu);

#endif
