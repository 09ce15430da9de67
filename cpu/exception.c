/* SPDX-License-Identifier: GPL-2.0-or-later
 * Raising faults, turning faults within delivery into double and triple faults, and
 * choosing what a CPU takes between two instructions (SDM 3A 6.9, 6.15 "Interrupt 8",
 * tables 6-2, 6-5). The way through the IDT is in cpu/interrupt.c.
 *
 * SMIs are not taken: there is no SMM.
 */
#include "cpu/exception.h"

#include <assert.h>

#include "cpu/debug.h"
#include "cpu/far.h"
#include "cpu/kvm_pv.h"
#include "cpu/log.h"
#include "cpu/long_mode.h"
#include "cpu/paging.h"
#include "util/log.h"

enum { DEBUGCTL_LBR = 1 };

static void __attribute__((noreturn))
raise(CpuState *cpu, int vector, bool has_error, uint32_t error)
{
    assert(cpu->unwind);
    cpu->exc_vector = vector;
    cpu->exc_error = error;
    cpu->exc_has_error = has_error;
    cpu->exc_soft = false;
    longjmp(*cpu->unwind, 1);
}

void cpu_raise(CpuState *cpu, int vector, uint32_t error)
{
    raise(cpu, vector, true, error & 0xffff);
}

void cpu_raise_plain(CpuState *cpu, int vector)
{
    raise(cpu, vector, false, 0);
}

void cpu_raise_pf(CpuState *cpu, uint64_t lin, uint32_t error)
{
    cpu->cr2 = lin;
    raise(cpu, EXC_PF, true, error);
}

void cpu_restart(CpuState *cpu)
{
    raise(cpu, EXC_NONE, false, 0);
}

/* Table 6-4. */
static bool is_contributory(int vector)
{
    return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

typedef enum Second { SECOND_SERIAL, SECOND_DOUBLE, SECOND_SHUTDOWN } Second;

/* Table 6-5: vector came up while ev was being delivered. */
static Second second_event(const Event *ev, int vector)
{
    if (ev->kind != EVENT_FAULT) {
        return SECOND_SERIAL;
    }
    bool severe = is_contributory(vector) || vector == EXC_PF;
    if (ev->vector == EXC_DF) {
        return severe ? SECOND_SHUTDOWN : SECOND_SERIAL;
    }
    if (is_contributory(ev->vector)) {
        return is_contributory(vector) ? SECOND_DOUBLE : SECOND_SERIAL;
    }
    return ev->vector == EXC_PF && severe ? SECOND_DOUBLE : SECOND_SERIAL;
}

/* False: exc_* holds what went wrong on the way. */
static bool try_enter(CpuState *cpu, const Event *ev)
{
    jmp_buf here;
    jmp_buf *outer = cpu->unwind;
    cpu->unwind = &here;
    bool ok = setjmp(here) == 0;
    if (ok) {
        interrupt_enter(cpu, ev);
    }
    cpu->unwind = outer;
    return ok;
}

/* -d mmu; SDM 3A 4.7 */
static void log_page_fault(const CpuState *cpu, const Event *ev)
{
    uint32_t e = ev->error;
    log_printf("cpu%u: page fault at %04x:%016llx cr2 %016llx error %04x: %s%s%s%s%s\n", cpu->index,
               cpu->seg[SEG_CS].sel, (unsigned long long)ev->ret_rip,
               (unsigned long long)cpu->cr2, e, e & PF_USER ? "user " : "supervisor ",
               e & PF_FETCH ? "fetch" : e & PF_WRITE ? "write" : "read",
               e & PF_PRESENT ? ", page present" : ", page not present",
               e & PF_RSVD ? ", reserved bit set" : "", e & PF_PK ? ", protection key" : "");
}

static void log_event(const CpuState *cpu, const Event *ev)
{
    static const char *const kinds[] = { "exception", "interrupt", "INT", "trap", "ICEBP" };
    log_printf("cpu%u: %s %02x", cpu->index, kinds[ev->kind], ev->vector);
    if (ev->has_error) {
        log_printf(" error %04x", ev->error);
    }
    if (ev->vector == EXC_PF && ev->kind == EVENT_FAULT) {
        log_printf(" cr2 %016llx", (unsigned long long)cpu->cr2);
    }
    log_printf(" at %04x:%016llx cpl %u ss:rsp %04x:%016llx rflags %08llx\n",
               cpu->seg[SEG_CS].sel, (unsigned long long)ev->ret_rip, cpu_cpl(cpu),
               cpu->seg[SEG_SS].sel, (unsigned long long)cpu->gpr[REG_RSP],
               (unsigned long long)cpu_rflags(cpu));
}

static void enter_shutdown(CpuState *cpu)
{
    if (log_on(LOG_INT) || log_on(LOG_RESET)) {
        log_printf("cpu%u: triple fault at %04x:%016llx\n", cpu->index,
                   cpu->seg[SEG_CS].sel, (unsigned long long)cpu->rip);
    }
    if (log_on(LOG_RESET)) {
        cpu_log_registers(cpu, "triple fault");
    }
    cpu->activity = CPU_SHUTDOWN;
    __atomic_fetch_or(&cpu->request, CPU_REQ_RECHECK, __ATOMIC_SEQ_CST);
}

void cpu_deliver(CpuState *cpu, EventKind kind, int vector, bool has_error, uint32_t error)
{
    Event ev = { kind, vector, has_error, error, cpu->rip };
    bool soft = kind == EVENT_SOFT_INT || kind == EVENT_SOFT_EXC || kind == EVENT_ICEBP;
    if (soft) {
        /* A fault on the way points at the INT itself. */
        cpu->rip = cpu->insn_rip;
    }
    /* Single step: an event that enters a handler clears TF, and the step that was due with
     * it. A breakpoint that MOV SS held back outlives the INT behind it. */
    cpu->pending_db &= soft && cpu->shadow == 2 ? DR6_B : 0;
    cpu->activity = CPU_ACTIVE;
    for (;;) {
        if (log_on(LOG_INT)) {
            log_event(cpu, &ev);
        }
        if (log_on(LOG_MMU) && ev.vector == EXC_PF && ev.kind == EVENT_FAULT) {
            log_page_fault(cpu, &ev);
        }
        if (likely(long_enter(cpu, &ev))) {
            break;
        }
        cpu->delivering = ev.vector;
        if (try_enter(cpu, &ev)) {
            break;
        }
        Second second = second_event(&ev, cpu->exc_vector);
        if (second == SECOND_SHUTDOWN) {
            enter_shutdown(cpu);
            break;
        }
        if (second == SECOND_DOUBLE) {
            ev = (Event) { EVENT_FAULT, EXC_DF, true, 0, cpu->rip };
        } else {
            ev = (Event) { EVENT_FAULT, cpu->exc_vector, cpu->exc_has_error, cpu->exc_error,
                           cpu->rip };
        }
    }
    cpu->delivering = -1;
    cpu->shadow = 0;
}

void cpu_deliver_raised(CpuState *cpu)
{
    if (cpu->exc_vector == EXC_NONE) {
        return;
    }
    cpu_deliver(cpu, EVENT_FAULT, cpu->exc_vector, cpu->exc_has_error, cpu->exc_error);
}

/* DR6 as #DB leaves it (SDM 3B 17.2.3): B0-B3 say this time, the others add up. */
static void deliver_debug(CpuState *cpu)
{
    uint64_t why = cpu->pending_db;
    cpu->pending_db = 0;
    cpu->dr[6] =
        (cpu->dr[6] & ~(uint64_t)DR6_B) | (why & (DR6_B | DR6_BD | DR6_BS | DR6_BT));
    cpu->dr[7] &= ~(uint64_t)DR7_GD;
    cpu->debugctl &= ~(uint64_t)DEBUGCTL_LBR;
    cpu_update_mode(cpu);
    cpu_deliver(cpu, EVENT_FAULT, EXC_DB, false, 0);
}

/* SDM 3A 9.4.4.1: an application processor starts at VV000H in real mode. */
static void start_up(CpuState *cpu)
{
    uint8_t vector = cpu->sipi_vector;
    cpu_clear_request(cpu, CPU_REQ_SIPI);
    cpu->seg[SEG_CS].sel = (uint16_t)(vector << 8);
    cpu->seg[SEG_CS].base = (uint64_t)vector << 12;
    cpu->seg[SEG_CS].limit = 0xffff;
    cpu->rip = 0;
    cpu->activity = CPU_ACTIVE;
    cpu_update_mode(cpu);
}

static void machine_check(CpuState *cpu)
{
    enum { MCG_STATUS_MCIP = 1 << 2 };
    cpu_clear_request(cpu, CPU_REQ_MCE);
    if (!(cpu->cr4 & CR4_MCE) || (cpu->mcg_status & MCG_STATUS_MCIP)) {
        enter_shutdown(cpu);
        return;
    }
    cpu->mcg_status |= MCG_STATUS_MCIP;
    cpu_deliver(cpu, EVENT_EXTERNAL, EXC_MC, false, 0);
}

static int acknowledge(CpuState *cpu)
{
    enum { APIC_BASE_ENABLE = 1 << 11 };
    if (cpu->apic_ops && (cpu->apic_ops->get_base(cpu->apic) & APIC_BASE_ENABLE)) {
        return cpu->apic_ops->ack(cpu->apic);
    }
    return cpu->pic_ack ? cpu->pic_ack(cpu->pic_opaque) : -1;
}

static bool nmi_ready(const CpuState *cpu, uint32_t request)
{
    return (request & CPU_REQ_NMI) && !cpu->nmi_blocked && cpu->shadow != 2;
}

static bool intr_ready(const CpuState *cpu, uint32_t request)
{
    return (request & CPU_REQ_INTR) && (cpu->eflags & FLAG_IF) && !cpu->shadow &&
           cpu->activity != CPU_SHUTDOWN;
}

/* Another engine had taken it, so it comes before everything that is asked for now. */
static void finish_event(CpuState *cpu)
{
    CpuEvent event = cpu->event;
    cpu->event = CPU_EVENT_NONE;
    if (event == CPU_EVENT_NMI) {
        cpu->nmi_blocked = true;
    }
    bool fault = event == CPU_EVENT_EXCEPTION;
    cpu_deliver(cpu, fault ? EVENT_FAULT : EVENT_EXTERNAL, cpu->event_vector,
                fault && cpu->event_has_error, cpu->event_error);
}

bool cpu_take_events(CpuState *cpu)
{
    uint32_t request = __atomic_load_n(&cpu->request, __ATOMIC_ACQUIRE);
    if (cpu->event != CPU_EVENT_NONE) {
        finish_event(cpu);
        return true;
    }
    if (request & CPU_REQ_INIT) {
        cpu_clear_request(cpu, CPU_REQ_INIT);
        cpu_reset(cpu, true);
        return true;
    }
    if (request & CPU_REQ_SIPI) {
        if (cpu->activity == CPU_WAIT_SIPI) {
            start_up(cpu);
            return true;
        }
        cpu_clear_request(cpu, CPU_REQ_SIPI); /* only the wait state hears it */
    }
    if (cpu->activity == CPU_WAIT_SIPI) {
        return false;
    }
    if (request & CPU_REQ_MCE) {
        machine_check(cpu);
        return true;
    }
    if ((request & CPU_REQ_KICK) || (cpu->kvm.unhalted && cpu->activity == CPU_HALTED)) {
        kvm_pv_take_kick(cpu);
    }
    if (request & CPU_REQ_SMI) {
        cpu_clear_request(cpu, CPU_REQ_SMI);
        log_unimp("cpu%u: SMI ignored: system management mode is not built", cpu->index);
    }
    if (cpu->pending_db && cpu->shadow != 2 && cpu->activity != CPU_SHUTDOWN) {
        deliver_debug(cpu);
        return true;
    }
    if (nmi_ready(cpu, request)) {
        cpu_clear_request(cpu, CPU_REQ_NMI);
        cpu->nmi_blocked = true;
        cpu_deliver(cpu, EVENT_EXTERNAL, EXC_NMI, false, 0);
        return true;
    }
    if (intr_ready(cpu, request)) {
        int vector = acknowledge(cpu);
        if (vector >= 0) {
            cpu_deliver(cpu, EVENT_EXTERNAL, vector, false, 0);
            return true;
        }
    }
    return false;
}

bool cpu_has_work(const CpuState *cpu)
{
    uint32_t request = __atomic_load_n(&cpu->request, __ATOMIC_ACQUIRE);
    if (cpu->event != CPU_EVENT_NONE) {
        return true;
    }
    if (cpu->activity == CPU_WAIT_SIPI) {
        return request & (CPU_REQ_INIT | CPU_REQ_SIPI);
    }
    if (request & (CPU_REQ_INIT | CPU_REQ_MCE)) {
        return true;
    }
    if (nmi_ready(cpu, request) || intr_ready(cpu, request)) {
        return true;
    }
    if (cpu->activity == CPU_HALTED && ((request & CPU_REQ_KICK) || cpu->kvm.unhalted)) {
        return true;
    }
    return cpu->pending_db && cpu->shadow != 2 && cpu->activity != CPU_SHUTDOWN;
}
