/* SPDX-License-Identifier: GPL-2.0-or-later
 * Local APIC (SDM 3A chapter 11): registers, priorities, LINT pins, as an xAPIC at its page and
 * as an x2APIC by MSRs. Left out: CMCI, focus processor checking, suppression of EOI broadcasts
 * (the version register does not claim it), writable APIC ids.
 *
 * All APICs answer at the same address, each to its own CPU, so one region of CPU 0's device
 * takes every access to 0xFEExxxxx and looks who is asking; outside the register page it takes
 * MSIs. A CPU that moves its IA32_APIC_BASE gets a page of its own.
 */
#include "hw/intc/apic.h"

#include <assert.h>
#include <stdio.h>

#include "accel/accel.h"
#include "hw/intc/apic_internal.h"
#include "util/vm_lock.h"

enum { VERSION = 0x14 | (NR_LVT - 1) << 16 };
enum { PAGE_PRIORITY = 1000 }; /* above whatever a host bridge maps there */

/* The highest vector of a 256-bit register, -1 if it is empty. */
static int highest(const uint32_t bits[8])
{
    for (int i = 7; i >= 0; i--) {
        if (bits[i]) {
            return i * 32 + 31 - __builtin_clz(bits[i]);
        }
    }
    return -1;
}

static bool test_bit(const uint32_t bits[8], unsigned n)
{
    return bits[n / 32] >> (n % 32) & 1;
}

static void put_bit(uint32_t bits[8], unsigned n, bool on)
{
    uint32_t bit = 1u << n % 32;
    bits[n / 32] = on ? bits[n / 32] | bit : bits[n / 32] & ~bit;
}

uint8_t apic_ppr(const Apic *a)
{
    int isr = highest(a->isr);
    return isr < 0 || a->tpr >> 4 >= isr >> 4 ? a->tpr : isr & 0xf0;
}

/* The vector that may interrupt now, -1 for none. */
static int deliverable(const Apic *a)
{
    int irr = highest(a->irr);
    return irr >= 0 && irr >> 4 > apic_ppr(a) >> 4 ? irr : -1;
}

/* Does the PIC's INT reach the CPU through LINT0 (or in place of it)? A stand-in looks at LVT LINT0
 * itself; where it has a PIC too, ours is silent. */
static bool pic_asks(const Apic *a)
{
    if (apic_is_silent(a)) {
        return a->lint[0] && !irqchip_stands_in(a->cpu->machine, IRQCHIP_PIC);
    }
    if (!apic_on(a)) {
        return a->lint[0];
    }
    uint32_t lvt = a->lvt[LVT_LINT0];
    return a->extint || (a->lint[0] && !(lvt & LVT_MASKED) &&
                         (lvt & LVT_MODE) == APIC_EXTINT << LVT_MODE_SHIFT);
}

void apic_update(Apic *a)
{
    bool fixed = apic_on(a) && !apic_is_silent(a) && deliverable(a) >= 0;
    bool intr = fixed || pic_asks(a);
    bool was = __atomic_load_n(&a->cpu->request, __ATOMIC_RELAXED) & CPU_REQ_INTR;
    if (intr && !was) {
        cpu_request(a->cpu, CPU_REQ_INTR);
    } else if (!intr && was) {
        cpu_clear_request(a->cpu, CPU_REQ_INTR);
    }
}

void apic_error(Apic *a, uint32_t esr_bit)
{
    bool news = !(a->esr_pending & esr_bit);
    a->esr_pending |= esr_bit;
    if (news) {
        apic_fire_lvt(a, LVT_ERROR);
    }
}

/* ---- interrupts come in ---- */

static const StateField local_state[];

static void apic_init_signal(Apic *a)
{
    state_reset(local_state, a);
    apic_update(a);
    cpu_request(a->cpu, CPU_REQ_INIT);
}

void apic_accept(Apic *a, unsigned mode, unsigned vector, bool level)
{
    switch (mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        if (!apic_soft_on(a)) {
            return;
        }
        if (vector < 16) {
            apic_error(a, ESR_RECEIVE_ILLEGAL);
            return;
        }
        put_bit(a->irr, vector, true);
        put_bit(a->tmr, vector, level);
        apic_update(a);
        break;
    case APIC_SMI: cpu_request(a->cpu, CPU_REQ_SMI); break;
    case APIC_NMI: cpu_request(a->cpu, CPU_REQ_NMI); break;
    case APIC_INIT: apic_init_signal(a); break;
    case APIC_STARTUP:
        a->cpu->sipi_vector = vector;
        cpu_request(a->cpu, CPU_REQ_SIPI);
        break;
    case APIC_EXTINT:
        a->extint = true;
        apic_update(a);
        break;
    default: log_guest("apic: message with reserved delivery mode %u", mode);
    }
}

void apic_fire_lvt(Apic *a, unsigned which)
{
    uint32_t lvt = a->lvt[which];
    if (lvt & LVT_MASKED) {
        return;
    }
    /* The timer and error entries have no mode field: their bits are 0, fixed. */
    apic_accept(a, (lvt & LVT_MODE) >> LVT_MODE_SHIFT, lvt & LVT_VECTOR, false);
}

/* A level-triggered fixed LINT asks again until its remote IRR is set. */
static void lint_level(Apic *a, unsigned n)
{
    uint32_t *lvt = &a->lvt[LVT_LINT0 + n];
    if (a->lint[n] && apic_soft_on(a) &&
        (*lvt & (LVT_MASKED | LVT_LEVEL | LVT_MODE | LVT_REMOTE_IRR)) == LVT_LEVEL) {
        *lvt |= LVT_REMOTE_IRR;
        apic_accept(a, APIC_FIXED, *lvt & LVT_VECTOR, true);
    }
}

static void lint_rises(Apic *a, unsigned n)
{
    if (!apic_on(a)) {
        if (n == 1) { /* without the APIC, LINT1 is the NMI pin */
            cpu_request(a->cpu, CPU_REQ_NMI);
        }
        return;
    }
    uint32_t lvt = a->lvt[LVT_LINT0 + n];
    unsigned mode = (lvt & LVT_MODE) >> LVT_MODE_SHIFT;
    if (mode == APIC_FIXED && (lvt & LVT_LEVEL)) {
        lint_level(a, n);
    } else if (mode != APIC_EXTINT) {
        apic_fire_lvt(a, LVT_LINT0 + n);
    }
}

static void apic_set_lint(void *opaque, unsigned n, bool level)
{
    Apic *a = opaque;
    bool rises = level && !a->lint[n];
    a->lint[n] = level;
    if (rises && !apic_is_silent(a)) {
        lint_rises(a, n);
    } else if (rises && n == 1) {
        a->cpu->machine->irqchip.ops->lint(a->cpu, n);
    }
    apic_update(a);
}

static void apic_eoi(Apic *a)
{
    int vector = highest(a->isr);
    if (vector < 0) {
        return;
    }
    put_bit(a->isr, vector, false);
    if (test_bit(a->tmr, vector)) {
        irqchip_eoi(a->cpu->machine, vector);
        for (unsigned n = 0; n < 2; n++) {
            uint32_t *lvt = &a->lvt[LVT_LINT0 + n];
            if ((*lvt & LVT_REMOTE_IRR) && (*lvt & LVT_VECTOR) == (unsigned)vector) {
                *lvt &= ~LVT_REMOTE_IRR;
                lint_level(a, n);
            }
        }
    }
    apic_update(a);
}

/* ---- registers ---- */

static const uint32_t lvt_writable[NR_LVT] = {
    [LVT_TIMER] = LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
    [LVT_THERMAL] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
    [LVT_PERF] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
    [LVT_LINT0] = LVT_VECTOR | LVT_MODE | LVT_MASKED | LVT_LEVEL | 1 << 13 /* polarity */,
    [LVT_LINT1] = LVT_VECTOR | LVT_MODE | LVT_MASKED | LVT_LEVEL | 1 << 13,
    [LVT_ERROR] = LVT_VECTOR | LVT_MASKED,
};

static bool has_deadline(const Apic *a)
{
    return feature_has(&a->cpu->features, FEATURE_TSC_DEADLINE);
}

static uint32_t lvt_mask(const Apic *a, unsigned n)
{
    return n == LVT_TIMER && !has_deadline(a) ? lvt_writable[n] & ~LVT_DEADLINE
                                               : lvt_writable[n];
}

static void write_lvt(Apic *a, unsigned n, uint32_t val)
{
    val &= lvt_mask(a, n);
    if (!(a->svr & SVR_ENABLED)) {
        val |= LVT_MASKED;
    }
    if (n == LVT_TIMER) {
        apic_timer_set_lvt(a, val);
        return;
    }
    if ((val & LVT_LEVEL) && !(val & LVT_MODE)) {
        val |= a->lvt[n] & LVT_REMOTE_IRR;
    }
    a->lvt[n] = val;
    if (n == LVT_LINT0 || n == LVT_LINT1) {
        lint_level(a, n - LVT_LINT0);
    }
}

static void write_svr(Apic *a, uint32_t val)
{
    a->svr = val & SVR_MASK;
    if (!(a->svr & SVR_ENABLED)) {
        for (unsigned n = 0; n < NR_LVT; n++) { /* SDM 3A 11.4.7.2 */
            write_lvt(a, n, a->lvt[n]);
        }
    }
}

/* Both faces; what only one of them has is handled by the caller. False: no such register. */
static bool read_reg(Apic *a, unsigned reg, uint32_t *val)
{
    switch (reg) {
    case R_VERSION: *val = VERSION; break;
    case R_TPR: *val = a->tpr; break;
    case R_PPR: *val = apic_ppr(a); break;
    case R_SVR: *val = a->svr; break;
    case R_ISR ... R_ISR + 7: *val = a->isr[reg - R_ISR]; break;
    case R_TMR ... R_TMR + 7: *val = a->tmr[reg - R_TMR]; break;
    case R_IRR ... R_IRR + 7: *val = a->irr[reg - R_IRR]; break;
    case R_ESR: *val = a->esr; break;
    case R_ICR: *val = a->icr; break;
    case R_LVT ... R_LVT + NR_LVT - 1: *val = a->lvt[reg - R_LVT]; break;
    case R_INITIAL: *val = a->initial; break;
    case R_CURRENT: *val = apic_timer_current(a); break;
    case R_DIVIDE: *val = a->divide; break;
    default: return false;
    }
    return true;
}

static bool write_reg(Apic *a, unsigned reg, uint32_t val)
{
    switch (reg) {
    case R_TPR: a->tpr = val; break;
    case R_EOI: apic_eoi(a); return true;
    case R_SVR: write_svr(a, val); break;
    case R_ESR: /* a write shows what has gathered since the last one */
        a->esr = a->esr_pending;
        a->esr_pending = 0;
        return true;
    case R_ICR:
        a->icr = val & ICR_MASK;
        apic_send_icr(a);
        return true;
    case R_LVT ... R_LVT + NR_LVT - 1: write_lvt(a, reg - R_LVT, val); break;
    case R_INITIAL: apic_timer_set_initial(a, val); return true;
    case R_DIVIDE: apic_timer_set_divide(a, val); return true;
    default: return false;
    }
    apic_update(a);
    return true;
}

static bool is_read_only(unsigned reg)
{
    return reg == R_ID || reg == R_VERSION || reg == R_APR || reg == R_PPR || reg == R_RRD ||
           (reg >= R_ISR && reg < R_ESR) || reg == R_CURRENT;
}

/* ---- xAPIC: memory ---- */

static uint32_t xapic_read(Apic *a, unsigned reg)
{
    uint32_t val = 0;
    switch (reg) {
    case R_ID: return a->cpu->apic_id << 24;
    case R_APR: return apic_ppr(a);
    case R_LDR: return (uint32_t)a->ldr << 24;
    case R_DFR: return (uint32_t)a->dfr << 28 | 0x0fffffff;
    case R_ICR2: return a->icr2;
    case R_EOI:
    case R_RRD: return 0;
    default:
        if (!read_reg(a, reg, &val)) {
            apic_error(a, ESR_REGISTER);
            log_guest("apic: read of reserved register %03x", reg << 4);
        }
        return val;
    }
}

static void xapic_write(Apic *a, unsigned reg, uint32_t val)
{
    switch (reg) {
    case R_LDR: a->ldr = val >> 24; break;
    case R_DFR: a->dfr = val >> 28; break;
    case R_ICR2: a->icr2 = val & 0xff000000; break;
    default:
        if (!write_reg(a, reg, val) && !is_read_only(reg)) {
            apic_error(a, ESR_REGISTER);
            log_guest("apic: write of %08x to reserved register %03x", val, reg << 4);
        }
    }
}

/* Whose registers an access to this page means: the asking CPU's if its page it is. Firmware
 * debuggers and tests, which are no CPU, see CPU 0's. */
static Apic *apic_at(Apic *owner, uint64_t gpa)
{
    CpuState *cpu = cpu_current();
    Apic *a = cpu ? cpu->apic : apic_of(owner->cpu->machine, 0);
    bool there = a && apic_on(a) && !apic_x2(a) && (a->base ^ gpa) >> PAGE_BITS == 0;
    return there ? a : NULL;
}

static uint64_t mmio_read(Apic *owner, uint64_t gpa)
{
    Apic *a = apic_at(owner, gpa);
    if (!a) {
        return UINT32_MAX;
    }
    return gpa & 0xc ? 0 : xapic_read(a, gpa >> 4 & 0xff); /* registers are 16 bytes apart */
}

static void mmio_write(Apic *owner, uint64_t gpa, uint32_t val)
{
    /* Whoever is no CPU and writes where no register is, sends an MSI to destination 0. */
    bool is_msi = gpa - APIC_DEFAULT_BASE < APIC_MSI_SIZE &&
                  (gpa - APIC_DEFAULT_BASE >= PAGE_SIZE || (!cpu_current() && !(gpa & 0xff0)));
    Apic *a = apic_at(owner, gpa);
    if (is_msi) {
        apic_msi(owner->cpu->machine, gpa, val);
    } else if (a && !(gpa & 0xc)) {
        xapic_write(a, gpa >> 4 & 0xff, val);
    }
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)size;
    return mmio_read(opaque, APIC_DEFAULT_BASE + offset);
}

static void page_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)size;
    mmio_write(opaque, APIC_DEFAULT_BASE + offset, val);
}

static uint64_t moved_read(void *opaque, uint64_t offset, unsigned size)
{
    Apic *a = opaque;
    (void)size;
    return mmio_read(a, a->moved_at + offset);
}

static void moved_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Apic *a = opaque;
    (void)size;
    mmio_write(a, a->moved_at + offset, val);
}

static const RegionOps page_ops = { page_read, page_write, .sizes = 4 };
static const RegionOps moved_ops = { moved_read, moved_write, .sizes = 4 };

static void map_moved_page(Apic *a)
{
    uint64_t at = a->base & ~0xfffull;
    if (!apic_on(a) || apic_x2(a) || at == APIC_DEFAULT_BASE) {
        at = 0;
    }
    if (at == a->moved_at) {
        return;
    }
    region_del(&a->moved);
    a->moved_at = at;
    if (at) {
        region_add(&a->cpu->machine->memory_root, at, &a->moved, PAGE_PRIORITY);
    }
}

/* ---- the CPU's side: called in its thread, mostly without vm_lock ---- */

static int cpu_ack(void *opaque)
{
    Apic *a = opaque;
    bool taken = vm_lock_enter();
    int vector = apic_on(a) && !apic_is_silent(a) ? deliverable(a) : -1;
    if (vector >= 0) {
        put_bit(a->irr, vector, false);
        put_bit(a->isr, vector, true);
    } else if (pic_asks(a) && a->cpu->pic_ack) {
        a->extint = false;
        vector = a->cpu->pic_ack(a->cpu->pic_opaque);
    }
    apic_update(a);
    vm_lock_leave(taken);
    return vector;
}

static uint64_t cpu_get_cr8(void *opaque)
{
    const Apic *a = opaque;
    return a->tpr >> 4; /* only its own CPU writes it */
}

static void cpu_set_cr8(void *opaque, uint64_t tpr)
{
    Apic *a = opaque;
    bool taken = vm_lock_enter();
    a->tpr = (tpr & 0xf) << 4;
    apic_update(a);
    vm_lock_leave(taken);
}

static uint64_t cpu_get_base(void *opaque)
{
    const Apic *a = opaque;
    return a->base;
}

/* SDM 3A 11.12.5: which of disabled, xAPIC and x2APIC may follow which. */
static bool is_valid_base(const Apic *a, uint64_t val)
{
    uint64_t allowed = BASE_BSP | BASE_EN | (((1ull << a->cpu->phys_bits) - 1) & ~0xfffull);
    if (feature_has(&a->cpu->features, FEATURE_X2APIC)) {
        allowed |= BASE_EXTD;
    }
    if (val & ~allowed) {
        return false;
    }
    bool en = val & BASE_EN, extd = val & BASE_EXTD;
    if (extd) {
        return en && apic_on(a); /* not from disabled straight to x2APIC */
    }
    return !(en && apic_x2(a)); /* and back only by way of disabled */
}

static bool cpu_set_base(void *opaque, uint64_t val)
{
    Apic *a = opaque;
    bool taken = vm_lock_enter();
    bool ok = is_valid_base(a, val);
    if (ok) {
        bool was_on = apic_on(a), was_x2 = apic_x2(a);
        a->base = val;
        if (was_on && !apic_on(a)) {
            state_reset(local_state, a); /* it comes back as after power-up */
        } else if (!was_x2 && apic_x2(a)) {
            a->icr2 = 0;
        }
        map_moved_page(a);
        apic_timer_rearm(a);
        apic_update(a);
    }
    vm_lock_leave(taken);
    return ok;
}

enum { MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800 };

static bool x2apic_read(Apic *a, unsigned reg, uint64_t *val)
{
    uint32_t low = 0;
    switch (reg) {
    case R_ID: *val = a->cpu->apic_id; return true;
    case R_LDR: *val = apic_x2_ldr(a); return true;
    case R_ICR: *val = (uint64_t)a->icr2 << 32 | a->icr; return true;
    default:
        if (!read_reg(a, reg, &low)) {
            return false;
        }
        *val = low;
        return true;
    }
}

/* Bits that may be set in a write (SDM 3A 11.12.1.2); the rest is #GP. */
static uint64_t x2apic_writable(const Apic *a, unsigned reg)
{
    switch (reg) {
    case R_TPR:
    case R_SELF_IPI: return 0xff;
    case R_SVR: return SVR_MASK;
    case R_ICR: return 0xffffffff00000000 | ICR_MASK | 1 << 12;
    case R_LVT ... R_LVT + NR_LVT - 1:
        return lvt_mask(a, reg - R_LVT) | 1 << 12 | LVT_REMOTE_IRR; /* status bits: ignored */
    case R_INITIAL: return UINT32_MAX;
    case R_DIVIDE: return 0xb;
    default: return 0;
    }
}

static bool x2apic_write(Apic *a, unsigned reg, uint64_t val)
{
    if (val & ~x2apic_writable(a, reg)) {
        return false;
    }
    switch (reg) {
    case R_ICR:
        a->icr2 = val >> 32;
        a->icr = val & ICR_MASK;
        apic_send_icr(a);
        return true;
    case R_SELF_IPI:
        if (val < 16) {
            apic_error(a, ESR_SEND_ILLEGAL);
        } else {
            apic_accept(a, APIC_FIXED, val, false);
        }
        return true;
    default: return write_reg(a, reg, val);
    }
}

static bool cpu_read_msr(void *opaque, uint32_t msr, uint64_t *val)
{
    Apic *a = opaque;
    bool taken = vm_lock_enter();
    bool ok = false;
    if (msr == MSR_TSC_DEADLINE) {
        ok = has_deadline(a);
        *val = ok ? apic_timer_deadline(a) : 0;
    } else if (apic_x2(a)) {
        ok = x2apic_read(a, msr - MSR_X2APIC, val);
    }
    vm_lock_leave(taken);
    return ok;
}

static bool cpu_write_msr(void *opaque, uint32_t msr, uint64_t val)
{
    Apic *a = opaque;
    bool taken = vm_lock_enter();
    bool ok = false;
    if (msr == MSR_TSC_DEADLINE) {
        ok = has_deadline(a);
        if (ok) {
            apic_timer_set_deadline(a, val);
        }
    } else if (apic_x2(a)) {
        ok = x2apic_write(a, msr - MSR_X2APIC, val);
    }
    vm_lock_leave(taken);
    return ok;
}

static void cpu_inject(void *opaque, uint8_t vector)
{
    bool taken = vm_lock_enter();
    if (vector >= 16) {
        apic_accept(opaque, APIC_FIXED, vector, false);
    }
    vm_lock_leave(taken);
}

static const CpuApicOps cpu_ops = {
    .ack = cpu_ack,
    .get_cr8 = cpu_get_cr8,
    .set_cr8 = cpu_set_cr8,
    .get_base = cpu_get_base,
    .set_base = cpu_set_base,
    .read_msr = cpu_read_msr,
    .write_msr = cpu_write_msr,
    .inject = cpu_inject,
};

/* ---- the device ---- */

static bool apic_realize(Device *dev, Error **errp)
{
    Apic *a = container_of(dev, Apic, dev);
    (void)errp;
    apic_timer_init(a);
    apic_part_init(a);
    device_init_irq_in(dev, a->lint_in, 2, apic_set_lint, a);
    region_init_io(&a->page, dev, &page_ops, a, APIC_MSI_SIZE);
    region_init_io(&a->moved, dev, &moved_ops, a, PAGE_SIZE);
    a->page.name = "apic-msi";
    if (a->cpu->index == 0) {
        region_add(&a->cpu->machine->memory_root, APIC_DEFAULT_BASE, &a->page, PAGE_PRIORITY);
    }
    return true;
}

static void apic_unrealize(Device *dev)
{
    Apic *a = container_of(dev, Apic, dev);
    irqchip_part_del(&a->part);
    a->cpu->apic = NULL;
    a->cpu->apic_ops = NULL;
}

static void apic_reset(Device *dev)
{
    Apic *a = container_of(dev, Apic, dev);
    a->base = APIC_DEFAULT_BASE | BASE_EN | (a->cpu->index == 0 ? BASE_BSP : 0);
}

static void apic_refresh(Device *dev)
{
    Apic *a = container_of(dev, Apic, dev);
    map_moved_page(a);
    apic_update(a);
}

void apic_wake(Apic *a)
{
    if (!apic_is_silent(a)) { /* else it is armed until its state is saved */
        apic_timer_resume(a);
    }
    apic_refresh(&a->dev);
}

bool apic_create_all(struct Machine *m, Error **errp)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        CpuState *cpu = m->cpu[i];
        if (!feature_has(&cpu->features, FEATURE_APIC)) {
            if (m->nr_cpus > 1) {
                return error_set(errp, "CPU model '%s' has no APIC, which more than one CPU "
                                 "needs: add ,+apic to -cpu or use -smp 1",
                                 m->config.cpu_model ? m->config.cpu_model : "?");
            }
            continue;
        }
        Device *dev = device_new(m, &type_apic);
        Apic *a = container_of(dev, Apic, dev);
        a->cpu = cpu;
        cpu->apic = a;
        cpu->apic_ops = &cpu_ops;
        apic_reset(dev); /* CPUID and the first reset look at it */
        if (!device_realize(dev, NULL, NULL, "apic[*]", errp)) {
            return false;
        }
    }
    return true;
}

IrqLine *apic_lint(struct CpuState *cpu, unsigned n)
{
    Apic *a = cpu->apic;
    assert(n < 2);
    return a ? &a->lint_in[n] : NULL;
}

/* ---- info lapic ---- */

typedef void PrintFn(void *opaque, const char *line);

static void info_lvt(const Apic *a, const char *name, unsigned n, PrintFn *print, void *opaque)
{
    static const char *const mode[8] = { "Fixed", "Lowest", "SMI", "reserved",
                                         "NMI",   "INIT",   "SIPI", "ExtINT" };
    static const char *const timer[4] = { "one-shot", "periodic", "tsc-deadline", "?" };
    uint32_t lvt = a->lvt[n];
    char line[128];
    snprintf(line, sizeof(line), "%-8s 0x%08x %-5s %-6s %-12s %s (vec %u)", name, lvt,
             lvt & LVT_LEVEL ? "level" : "edge", lvt & LVT_MASKED ? "masked" : "",
             n == LVT_TIMER ? timer[lvt >> 17 & 3] : "", mode[lvt >> LVT_MODE_SHIFT & 7],
             lvt & LVT_VECTOR);
    print(opaque, line);
}

static void info_vectors(const char *name, const uint32_t bits[8], PrintFn *print, void *opaque)
{
    char line[1200];
    int len = snprintf(line, sizeof(line), "%-8s", name);
    if (highest(bits) < 0) {
        snprintf(line + len, sizeof(line) - len, " (none)");
    }
    for (unsigned i = 0; i < 256; i++) {
        if (test_bit(bits, i)) {
            len += snprintf(line + len, sizeof(line) - len, " %u", i);
        }
    }
    print(opaque, line);
}

static void apic_info(Device *dev, PrintFn *print, void *opaque)
{
    Apic *a = container_of(dev, Apic, dev);
    char line[128];
    snprintf(line, sizeof(line), "local APIC of CPU %u: id %u, base 0x%llx, %s%s", a->cpu->index,
             a->cpu->apic_id, (unsigned long long)(a->base & ~0xfffull),
             !apic_on(a) ? "disabled" : apic_x2(a) ? "x2APIC" : "xAPIC",
             a->base & BASE_BSP ? ", BSP" : "");
    print(opaque, line);
    info_lvt(a, "LVT0", LVT_LINT0, print, opaque);
    info_lvt(a, "LVT1", LVT_LINT1, print, opaque);
    info_lvt(a, "LVTPC", LVT_PERF, print, opaque);
    info_lvt(a, "LVTERR", LVT_ERROR, print, opaque);
    info_lvt(a, "LVTTHMR", LVT_THERMAL, print, opaque);
    info_lvt(a, "LVTT", LVT_TIMER, print, opaque);
    snprintf(line, sizeof(line), "Timer    DCR=0x%x initial_count = %u current_count = %u",
             a->divide, a->initial, apic_timer_current(a));
    print(opaque, line);
    snprintf(line, sizeof(line), "SPIV     0x%08x APIC %s, spurious vec %u", a->svr,
             a->svr & SVR_ENABLED ? "enabled" : "disabled", a->svr & 0xff);
    print(opaque, line);
    snprintf(line, sizeof(line), "ICR      0x%08x", a->icr);
    print(opaque, line);
    snprintf(line, sizeof(line), "ICR2     0x%08x", a->icr2);
    print(opaque, line);
    snprintf(line, sizeof(line), "ESR      0x%08x", a->esr);
    print(opaque, line);
    info_vectors("ISR", a->isr, print, opaque);
    info_vectors("IRR", a->irr, print, opaque);
    snprintf(line, sizeof(line), "TPR 0x%02x DFR 0x%02x LDR 0x%08x PPR 0x%02x", a->tpr, a->dfr,
             apic_x2(a) ? apic_x2_ldr(a) : a->ldr, apic_ppr(a));
    print(opaque, line);
}

/* What INIT, and switching the APIC off, put back to power-up values (SDM 3A 11.4.7). */
static const StateField local_state[] = {
    STATE_U32S(Apic, irr),
    STATE_U32S(Apic, isr),
    STATE_U32S(Apic, tmr),
    STATE_U8(Apic, tpr),
    STATE_U8(Apic, ldr),
    STATE_U8(Apic, dfr, .reset = 0xf, .max = 0xf),
    STATE_U32(Apic, svr, .reset = 0xff, .mask = SVR_MASK),
    STATE_U32(Apic, esr),
    STATE_U32(Apic, esr_pending),
    STATE_U32(Apic, icr, .mask = ICR_MASK),
    STATE_U32(Apic, icr2),
    STATE_U32S(Apic, lvt, .reset = LVT_MASKED),
    STATE_U32(Apic, initial),
    STATE_U32(Apic, divide, .mask = 0xb),
    STATE_U32(Apic, count),
    STATE_U64(Apic, count_ns),
    STATE_U64(Apic, deadline),
    STATE_TIMER(Apic, timer),
    STATE_BOOL(Apic, extint),
    STATE_END,
};

static const StateField apic_state[] = {
    STATE_U64(Apic, base),
    STATE_BOOLS(Apic, lint, .keep = true), /* pins: others drive them */
    { .name = "local", .kind = STATE_KIND_STRUCT, .count = 1, .size = sizeof(Apic),
      .fields = local_state },
    STATE_END,
};

DEVICE_TYPE(apic) = {
    DEVICE_INFO("apic", BUS_NONE, Apic, "Local APIC, one a CPU"),
    .state = apic_state,
    .state_version = 1,
    .realize = apic_realize,
    .unrealize = apic_unrealize,
    .reset = apic_reset,
    .refresh = apic_refresh,
    .info = apic_info,
    .internal = true,
};
