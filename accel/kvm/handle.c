/* SPDX-License-Identifier: GPL-2.0-or-later
 * What KVM_RUN comes back for (api.rst 5, "The kvm_run structure"): one function an exit reason.
 * What is nobody's business, or beyond repair, is reported with the registers and the bytes at RIP,
 * and the machine stops with the status "internal-error".
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "accel/interp/interp.h"
#include "accel/kvm/exits.h"
#include "cpu/paging.h"
#include "hw/core/irqchip.h"
#include "memory/region.h"
#include "util/log.h"
#include "util/vm_lock.h"

/* ---- ports and registers ---- */

static void port_once(Machine *m, uint16_t port, uint8_t *data, unsigned size, bool in)
{
    uint64_t val = 0;
    if (in) {
        val = address_space_load(&m->io, port, size);
        memcpy(data, &val, size);
    } else {
        memcpy(&val, data, size);
        address_space_store(&m->io, port, val, size);
    }
}

/* REP INS and OUTS come with many accesses to one port. */
static bool handle_io(KvmVcpu *k)
{
    Machine *m = k->v->machine;
    struct kvm_run *run = k->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size, left = run->io.count;
    uint16_t port = run->io.port;
    bool in = run->io.direction == KVM_EXIT_IO_IN;
    k->unfinished = true;
    kvm_exits_access(k, true, port, !in, left);
    if (left > 1) {
        unsigned n = in ? address_space_load_string(&m->io, port, data, size, left)
                        : address_space_store_string(&m->io, port, data, size, left);
        data += (size_t)n * size;
        left -= n;
    }
    for (; left; left--, data += size) {
        port_once(m, port, data, size, in);
    }
    return true;
}

/* A store into RAM comes as one to a register where the page is guarded and the kernel was emulating
 * the instruction. */
static bool is_ram(Machine *m, uint64_t gpa)
{
    FlatView *v = address_space_view(&m->memory);
    const FlatRange *fr = flat_view_find(v, gpa);
    bool ram = fr && fr->host && !fr->readonly;
    flat_view_unref(v);
    return ram;
}

static bool handle_mmio(KvmVcpu *k)
{
    Machine *m = k->v->machine;
    struct kvm_run *run = k->run;
    unsigned len = MIN(run->mmio.len, 8u);
    uint64_t val = 0;
    k->unfinished = true;
    kvm_exits_access(k, false, run->mmio.phys_addr, run->mmio.is_write, 1);
    if (run->mmio.is_write) {
        memcpy(&val, run->mmio.data, len);
        address_space_store(&m->memory, run->mmio.phys_addr, val, len);
        if (k->vm->mixed && is_ram(m, run->mmio.phys_addr)) {
            kvm_guard_release(k->vm);
        }
    } else {
        val = address_space_load(&m->memory, run->mmio.phys_addr, len);
        memcpy(run->mmio.data, &val, sizeof(val));
    }
    return true;
}

/* kernel-irqchip=split: an interrupt of our I/O APIC. */
static bool handle_ioapic_eoi(KvmVcpu *k)
{
    vm_lock();
    irqchip_eoi(k->v->machine, k->run->eoi.vector);
    vm_unlock();
    return true;
}

/* ---- halts ---- */

/* Our own LAPIC: the wait is accel/vcpu.c's, which looks at these. */
static bool handle_hlt(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    cpu->activity = CPU_HALTED;
    cpu->eflags = (cpu->eflags & ~(uint32_t)FLAG_IF) | (k->run->if_flag ? FLAG_IF : 0);
    cpu->shadow = 0;
    cpu->nmi_blocked = false;
    cpu->pending_db = 0;
    return false;
}

static bool handle_shutdown(KvmVcpu *k)
{
    k->v->cpu.activity = CPU_SHUTDOWN;
    return false;
}

/* ---- what KVM leaves to the interpreter ---- */

/* One instruction from CpuState, with the interpreter's own caches fresh before and empty after:
 * nothing tells them of what KVM writes. */
static bool rescue(KvmVcpu *k, ExitRescue why)
{
    CpuState *cpu = &k->v->cpu;
    kvm_sync_state(k);
    if (log_on(LOG_KVM)) {
        log_printf("kvm: cpu %u: the interpreter steps at %llx\n", cpu->index,
                   (unsigned long long)cpu_code_lin(cpu));
    }
    interp_step(cpu, 1);
    interp_flush(cpu);
    kvm_exits_rescued(k, why);
    return cpu->activity == CPU_ACTIVE;
}

/* ---- what cannot be helped ---- */

/* As far as the pages are there. */
static void log_code(CpuState *cpu)
{
    char text[16 * 3 + 1] = "";
    for (unsigned i = 0; i < 16; i++) {
        uint64_t gpa = paging_translate(cpu, cpu_code_lin(cpu) + i);
        uint8_t byte;
        if (gpa == UINT64_MAX) {
            break;
        }
        address_space_read(&cpu->machine->memory, gpa, &byte, 1);
        snprintf(text + 3 * i, sizeof(text) - 3 * i, " %02x", byte);
    }
    warn_report("bytes at RIP:%s", *text ? text : " not mapped");
}

static void log_registers(KvmVcpu *k)
{
    static const char *const names[] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                         "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };
    CpuState *cpu = &k->v->cpu;
    kvm_sync_state(k);
    char line[120];
    for (unsigned i = 0; i < 16; i += 4) {
        size_t n = 0;
        for (unsigned j = i; j < i + 4; j++) {
            n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s=%016llx", j > i ? " " : "",
                                  names[j], (unsigned long long)cpu->gpr[j]);
        }
        warn_report("%s", line);
    }
    warn_report("RIP=%016llx RFLAGS=%08llx CS=%04x base %llx EFER=%llx",
                (unsigned long long)cpu->rip, (unsigned long long)cpu_rflags(cpu),
                cpu->seg[SEG_CS].sel, (unsigned long long)cpu->seg[SEG_CS].base,
                (unsigned long long)cpu->efer);
    warn_report("CR0=%08llx CR2=%llx CR3=%llx CR4=%08llx", (unsigned long long)cpu->cr0,
                (unsigned long long)cpu->cr2, (unsigned long long)cpu->cr3,
                (unsigned long long)cpu->cr4);
    log_code(cpu);
}

static bool give_up(KvmVcpu *k, const char *what, uint64_t number)
{
    warn_report("vCPU %u: KVM stopped: %s (0x%llx); the machine is stopped: system_reset, then cont in "
                "the monitor start it again", k->v->cpu.index, what, (unsigned long long)number);
    log_registers(k);
    kvm_internal_error(k);
    return false;
}

static bool handle_internal_error(KvmVcpu *k)
{
    struct kvm_run *run = k->run;
    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
        return rescue(k, RESCUE_EMULATION);
    }
    return give_up(k, "internal error", run->internal.suberror);
}

/* ---- MSRs ---- */

/* Without a LAPIC of the kernel's: the x2APIC's registers and the TSC deadline. The kernel leaves
 * those it does not know; those we do not know either are #GP, as on a processor. */
static bool handle_msr(KvmVcpu *k, bool write)
{
    enum { TSC_DEADLINE = 0x6e0, X2APIC_FIRST = 0x800, X2APIC_LAST = 0x8ff };
    const CpuState *cpu = &k->v->cpu;
    struct kvm_run *run = k->run;
    uint32_t msr = run->msr.index;
    bool apic = cpu->apic_ops && k->vm->irqchip == KVM_IRQCHIP_OFF &&
                (msr == TSC_DEADLINE || (msr >= X2APIC_FIRST && msr <= X2APIC_LAST));
    uint64_t val = run->msr.data;
    bool ok = false;
    if (apic) {
        ok = write ? cpu->apic_ops->write_msr(cpu->apic, msr, val)
                   : cpu->apic_ops->read_msr(cpu->apic, msr, &val);
    } else {
        log_unimp("cpu%u: %s of MSR 0x%x, which KVM does not know", cpu->index,
                  write ? "write" : "read", msr);
    }
    run->msr.data = val;
    run->msr.error = !ok;
    k->unfinished = true;
    return true;
}

/* ---- the rest ---- */

static bool handle_ring_full(KvmVcpu *k)
{
    vm_lock();
    kvm_rings_empty(k->vm);
    vm_unlock();
    return true;
}

static bool handle_system_event(KvmVcpu *k)
{
    Machine *m = k->v->machine;
    uint32_t type = k->run->system_event.type;
    if (type == KVM_SYSTEM_EVENT_CRASH) {
        return give_up(k, "the guest said that it crashed", k->run->system_event.flags);
    }
    vm_lock();
    if (type == KVM_SYSTEM_EVENT_SHUTDOWN) {
        machine_request_shutdown(m, SHUTDOWN_GUEST, 0);
    } else if (type == KVM_SYSTEM_EVENT_RESET) {
        machine_request_reset(m, RESET_GUEST);
    }
    vm_unlock();
    return true;
}

/* VMCALL that the kernel handed on: nobody here knows any. */
static bool handle_hypercall(KvmVcpu *k)
{
    enum { NO_SUCH_CALL = 1000 }; /* KVM_ENOSYS, asm/kvm_para.h */
    k->run->hypercall.ret = (uint64_t)-NO_SUCH_CALL;
    k->unfinished = true;
    return true;
}

static bool handle_notify(KvmVcpu *k)
{
    if (k->run->notify.flags & KVM_NOTIFY_CONTEXT_INVALID) {
        return give_up(k, "the guest kept its CPU from all events, its state is lost",
                       k->run->notify.flags);
    }
    return !k->vm->options.notify_is_error ||
           give_up(k, "the guest kept its CPU from all events", k->run->notify.flags);
}

/* ---- the door ---- */

static bool handle_errno(KvmVcpu *k, int r)
{
    if (r == -EFAULT) {
        return kvm_guard_release(k->vm) || rescue(k, RESCUE_GUARD);
    }
    return give_up(k, strerror(-r), (uint64_t)-r);
}

static void log_exit(const KvmVcpu *k, int r)
{
    const struct kvm_run *run = k->run;
    char more[64] = "";
    if (r < 0) {
        log_printf("kvm: cpu %u KVM_RUN: %s\n", k->v->cpu.index, strerror(-r));
        return;
    }
    if (run->exit_reason == KVM_EXIT_IO) {
        snprintf(more, sizeof(more), " %s 0x%x, %u times %u bytes",
                 run->io.direction == KVM_EXIT_IO_IN ? "in" : "out", run->io.port, run->io.count,
                 run->io.size);
    } else if (run->exit_reason == KVM_EXIT_MMIO) {
        snprintf(more, sizeof(more), " %s 0x%llx, %u bytes", run->mmio.is_write ? "write" : "read",
                 (unsigned long long)run->mmio.phys_addr, run->mmio.len);
    }
    log_printf("kvm: cpu %u KVM_RUN: exit %u (%s)%s\n", k->v->cpu.index, run->exit_reason,
               kvm_exit_name(run->exit_reason), more);
}

bool kvm_handle_exit(KvmVcpu *k, int r)
{
    const struct kvm_run *run = k->run;
    if (log_on(LOG_KVM)) {
        log_exit(k, r);
    }
    if (r < 0) {
        return handle_errno(k, r);
    }
    switch (run->exit_reason) {
    case KVM_EXIT_IO: return handle_io(k);
    case KVM_EXIT_MMIO: return handle_mmio(k);
    case KVM_EXIT_HLT: return handle_hlt(k);
    case KVM_EXIT_SHUTDOWN: return handle_shutdown(k);
    case KVM_EXIT_DEBUG: return kvm_debug_exit(k);
    case KVM_EXIT_X86_RDMSR: return handle_msr(k, false);
    case KVM_EXIT_X86_WRMSR: return handle_msr(k, true);
    case KVM_EXIT_SYSTEM_EVENT: return handle_system_event(k);
    case KVM_EXIT_IOAPIC_EOI: return handle_ioapic_eoi(k);
    case KVM_EXIT_HYPERCALL: return handle_hypercall(k);
    case KVM_EXIT_NOTIFY: return handle_notify(k);
    case KVM_EXIT_DIRTY_RING_FULL: return handle_ring_full(k);
    case KVM_EXIT_INTR:
    case KVM_EXIT_NMI:             /* the host's own */
    case KVM_EXIT_IRQ_WINDOW_OPEN: /* run.c looks at that before each entry, */
    case KVM_EXIT_SET_TPR:         /* and at this after each */
    case KVM_EXIT_TPR_ACCESS:
    case KVM_EXIT_X86_BUS_LOCK: return true;
    case KVM_EXIT_EXCEPTION:
        return give_up(k, "an exception that the kernel does not expect", run->ex.exception);
    case KVM_EXIT_UNKNOWN:
        return give_up(k, "an exit that the kernel does not know", run->hw.hardware_exit_reason);
    case KVM_EXIT_INTERNAL_ERROR: return handle_internal_error(k);
    case KVM_EXIT_FAIL_ENTRY:
        return give_up(k, "the processor refused the guest's state",
                       run->fail_entry.hardware_entry_failure_reason);
    default: return give_up(k, "unknown exit", run->exit_reason);
    }
}
