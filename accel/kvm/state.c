/* SPDX-License-Identifier: GPL-2.0-or-later
 * CpuState to the kernel and back (Linux Documentation/virt/kvm/api.rst): registers, segments,
 * events, debug registers, activity, nested state. FPU and vectors are in xsave.c, MSRs in msr.c,
 * the TSC in tsc.c.
 *
 * An event whose delivery the kernel had begun (it left in the middle, at a page fault of its own)
 * comes back in CpuState.event; whoever runs the CPU next delivers it before any instruction. The
 * kernel does not report software interrupts: RIP is still at their INT, which is executed again.
 */
#include "accel/kvm/state.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/kvm_pv.h"
#include "cpu/paging.h"
#include "util/log.h"

void kvm_state_warn(const KvmVcpu *k, const char *what, int r)
{
    warn_report("KVM: vCPU %u: %s failed: %s", k->v->cpu.index, what, strerror(-r));
}

static bool call(KvmVcpu *k, unsigned long request, void *arg, const char *what)
{
    int r = kvm_ioctl(k->fd, request, arg);
    if (r < 0) {
        kvm_state_warn(k, what, r);
    }
    return r >= 0;
}

/* ---- registers ---- */

static void load_regs(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    const uint64_t *g = cpu->gpr;
    struct kvm_regs r = {
        .rax = g[REG_RAX], .rbx = g[REG_RBX], .rcx = g[REG_RCX], .rdx = g[REG_RDX],
        .rsi = g[REG_RSI], .rdi = g[REG_RDI], .rsp = g[REG_RSP], .rbp = g[REG_RBP],
        .r8 = g[REG_R8],   .r9 = g[REG_R9],   .r10 = g[REG_R10], .r11 = g[REG_R11],
        .r12 = g[REG_R12], .r13 = g[REG_R13], .r14 = g[REG_R14], .r15 = g[REG_R15],
        .rip = cpu->rip,   .rflags = cpu_rflags(cpu),
    };
    call(k, KVM_SET_REGS, &r, "KVM_SET_REGS");
}

static void store_regs(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    uint64_t *g = cpu->gpr;
    struct kvm_regs r;
    if (!call(k, KVM_GET_REGS, &r, "KVM_GET_REGS")) {
        return;
    }
    g[REG_RAX] = r.rax, g[REG_RBX] = r.rbx, g[REG_RCX] = r.rcx, g[REG_RDX] = r.rdx;
    g[REG_RSI] = r.rsi, g[REG_RDI] = r.rdi, g[REG_RSP] = r.rsp, g[REG_RBP] = r.rbp;
    g[REG_R8] = r.r8, g[REG_R9] = r.r9, g[REG_R10] = r.r10, g[REG_R11] = r.r11;
    g[REG_R12] = r.r12, g[REG_R13] = r.r13, g[REG_R14] = r.r14, g[REG_R15] = r.r15;
    cpu->rip = r.rip;
    cpu->eflags = (uint32_t)r.rflags & ~(uint32_t)(FLAG_ARITH | 2);
    cpu->cc = flags_to_cc((uint32_t)r.rflags);
}

/* ---- segments and control registers ---- */

static struct kvm_segment segment_to_kvm(const Segment *s)
{
    return (struct kvm_segment) {
        .base = s->base,
        .limit = s->limit,
        .selector = s->sel,
        .type = s->attr & SEG_TYPE,
        .s = !!(s->attr & SEG_S),
        .dpl = (s->attr & SEG_DPL) >> SEG_DPL_SHIFT,
        .present = !!(s->attr & SEG_P),
        .avl = !!(s->attr & SEG_AVL),
        .l = !!(s->attr & SEG_L),
        .db = !!(s->attr & SEG_DB),
        .g = !!(s->attr & SEG_G),
        .unusable = !!(s->attr & SEG_UNUSABLE),
    };
}

static Segment segment_from_kvm(const struct kvm_segment *s)
{
    uint32_t attr = (s->type & SEG_TYPE) | (uint32_t)(s->dpl & 3) << SEG_DPL_SHIFT |
                    (s->s ? SEG_S : 0) | (s->present ? SEG_P : 0) | (s->avl ? SEG_AVL : 0) |
                    (s->l ? SEG_L : 0) | (s->db ? SEG_DB : 0) | (s->g ? SEG_G : 0) |
                    (s->unusable ? SEG_UNUSABLE : 0);
    return (Segment) { .sel = s->selector, .attr = attr, .limit = s->limit, .base = s->base };
}

static struct kvm_dtable table_to_kvm(const TableReg *t)
{
    return (struct kvm_dtable) { .base = t->base, .limit = (uint16_t)t->limit };
}

static TableReg table_from_kvm(const struct kvm_dtable *t)
{
    return (TableReg) { .base = t->base, .limit = t->limit };
}

/* kvm_sregs and kvm_sregs2 begin alike but are different types: sregs2 is the form used here. */
static bool uses_pdptes(const CpuState *cpu)
{
    return (cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA);
}

static void sregs_fill(const CpuState *cpu, struct kvm_sregs2 *s)
{
    const Segment *seg = cpu->seg;
    *s = (struct kvm_sregs2) {
        .cs = segment_to_kvm(&seg[SEG_CS]), .ds = segment_to_kvm(&seg[SEG_DS]),
        .es = segment_to_kvm(&seg[SEG_ES]), .fs = segment_to_kvm(&seg[SEG_FS]),
        .gs = segment_to_kvm(&seg[SEG_GS]), .ss = segment_to_kvm(&seg[SEG_SS]),
        .tr = segment_to_kvm(&cpu->tr),     .ldt = segment_to_kvm(&cpu->ldtr),
        .gdt = table_to_kvm(&cpu->gdtr),    .idt = table_to_kvm(&cpu->idtr),
        .cr0 = cpu->cr0, .cr2 = cpu->cr2, .cr3 = cpu->cr3, .cr4 = cpu->cr4, .efer = cpu->efer,
    };
    if (cpu->apic_ops) {
        s->cr8 = cpu->apic_ops->get_cr8(cpu->apic);
        s->apic_base = cpu->apic_ops->get_base(cpu->apic);
    }
    if (uses_pdptes(cpu)) {
        s->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
        memcpy(s->pdptrs, cpu->pdpte, sizeof(s->pdptrs));
    }
}

static void load_sregs(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    struct kvm_sregs2 s;
    sregs_fill(cpu, &s);
    if (k->state->has_sregs2) {
        call(k, KVM_SET_SREGS2, &s, "KVM_SET_SREGS2");
        return;
    }
    struct kvm_sregs old = {
        .cs = s.cs, .ds = s.ds, .es = s.es, .fs = s.fs, .gs = s.gs, .ss = s.ss,
        .tr = s.tr, .ldt = s.ldt, .gdt = s.gdt, .idt = s.idt,
        .cr0 = s.cr0, .cr2 = s.cr2, .cr3 = s.cr3, .cr4 = s.cr4, .cr8 = s.cr8,
        .efer = s.efer, .apic_base = s.apic_base,
    };
    call(k, KVM_SET_SREGS, &old, "KVM_SET_SREGS");
}

static bool read_sregs(KvmVcpu *k, struct kvm_sregs2 *s)
{
    if (k->state->has_sregs2) {
        return call(k, KVM_GET_SREGS2, s, "KVM_GET_SREGS2");
    }
    struct kvm_sregs old;
    if (!call(k, KVM_GET_SREGS, &old, "KVM_GET_SREGS")) {
        return false;
    }
    *s = (struct kvm_sregs2) {
        .cs = old.cs, .ds = old.ds, .es = old.es, .fs = old.fs, .gs = old.gs, .ss = old.ss,
        .tr = old.tr, .ldt = old.ldt, .gdt = old.gdt, .idt = old.idt,
        .cr0 = old.cr0, .cr2 = old.cr2, .cr3 = old.cr3, .cr4 = old.cr4, .cr8 = old.cr8,
        .efer = old.efer, .apic_base = old.apic_base,
    };
    return true;
}

/* The device only takes the steps hardware takes (SDM 3A 11.12.5): through xAPIC to x2APIC, and back
 * through disabled. */
static void store_apic_base(CpuState *cpu, uint64_t base)
{
    enum { BASE_EXTD = 1 << 10, BASE_EN = 1 << 11 };
    const CpuApicOps *ops = cpu->apic_ops;
    uint64_t was = ops->get_base(cpu->apic);
    if (was == base) {
        return;
    }
    if ((base & BASE_EXTD) && !(was & BASE_EN)) {
        ops->set_base(cpu->apic, base & ~(uint64_t)BASE_EXTD);
    } else if ((base & BASE_EN) && !(base & BASE_EXTD) && (was & BASE_EXTD)) {
        ops->set_base(cpu->apic, base & ~(uint64_t)BASE_EN);
    }
    ops->set_base(cpu->apic, base);
}

static void store_apic(KvmVcpu *k, const struct kvm_sregs2 *s)
{
    CpuState *cpu = &k->v->cpu;
    if (!cpu->apic_ops) {
        return;
    }
    store_apic_base(cpu, s->apic_base);
    /* Also beside a kernel LAPIC: the next load gives it back. */
    if (cpu->apic_ops->get_cr8(cpu->apic) != s->cr8) {
        cpu->apic_ops->set_cr8(cpu->apic, s->cr8);
    }
}

static void store_sregs(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    struct kvm_sregs2 s;
    if (!read_sregs(k, &s)) {
        return;
    }
    cpu->seg[SEG_CS] = segment_from_kvm(&s.cs);
    cpu->seg[SEG_DS] = segment_from_kvm(&s.ds);
    cpu->seg[SEG_ES] = segment_from_kvm(&s.es);
    cpu->seg[SEG_FS] = segment_from_kvm(&s.fs);
    cpu->seg[SEG_GS] = segment_from_kvm(&s.gs);
    cpu->seg[SEG_SS] = segment_from_kvm(&s.ss);
    cpu->tr = segment_from_kvm(&s.tr);
    cpu->ldtr = segment_from_kvm(&s.ldt);
    cpu->gdtr = table_from_kvm(&s.gdt);
    cpu->idtr = table_from_kvm(&s.idt);
    cpu->cr0 = s.cr0;
    cpu->cr2 = s.cr2;
    cpu->cr3 = s.cr3;
    cpu->cr4 = s.cr4;
    cpu->efer = s.efer;
    if (s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) {
        memcpy(cpu->pdpte, s.pdptrs, sizeof(cpu->pdpte));
    } else if (uses_pdptes(cpu) && cpu->mmu) {
        (void)paging_load_pdptes(cpu, cpu->cr3); /* the kernel is too old to tell */
    }
    store_apic(k, &s);
}

/* ---- debug registers ---- */

static void load_debugregs(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    struct kvm_debugregs d = { .dr6 = cpu->dr[6], .dr7 = cpu->dr[7] };
    memcpy(d.db, cpu->dr, sizeof(d.db));
    if (k->state->has_debugregs) {
        call(k, KVM_SET_DEBUGREGS, &d, "KVM_SET_DEBUGREGS");
    }
}

static void store_debugregs(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    struct kvm_debugregs d;
    if (k->state->has_debugregs && call(k, KVM_GET_DEBUGREGS, &d, "KVM_GET_DEBUGREGS")) {
        memcpy(cpu->dr, d.db, sizeof(d.db));
        cpu->dr[6] = d.dr6;
        cpu->dr[7] = d.dr7;
    }
}

/* ---- activity ---- */

static void load_mp_state(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    struct kvm_mp_state mp = { KVM_MP_STATE_RUNNABLE };
    /* Without a kernel LAPIC halts and SIPIs are ours, and nothing else is taken. */
    if (k->vm->irqchip != KVM_IRQCHIP_OFF) {
        if (cpu->activity == CPU_HALTED) {
            mp.mp_state = KVM_MP_STATE_HALTED;
        } else if (cpu->activity == CPU_WAIT_SIPI) {
            uint32_t request = __atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST);
            mp.mp_state = request & CPU_REQ_SIPI ? KVM_MP_STATE_SIPI_RECEIVED
                                                 : KVM_MP_STATE_INIT_RECEIVED;
        }
    }
    if (k->state->has_mp_state) {
        call(k, KVM_SET_MP_STATE, &mp, "KVM_SET_MP_STATE");
    }
}

static void store_mp_state(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    struct kvm_mp_state mp;
    if (!k->state->has_mp_state || k->vm->irqchip == KVM_IRQCHIP_OFF ||
        cpu->activity == CPU_SHUTDOWN || !call(k, KVM_GET_MP_STATE, &mp, "KVM_GET_MP_STATE")) {
        return;
    }
    switch (mp.mp_state) {
    case KVM_MP_STATE_HALTED: cpu->activity = CPU_HALTED; break;
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED: cpu->activity = CPU_WAIT_SIPI; break;
    case KVM_MP_STATE_SIPI_RECEIVED:
        cpu->activity = CPU_WAIT_SIPI;
        __atomic_fetch_or(&cpu->request, CPU_REQ_SIPI, __ATOMIC_SEQ_CST);
        break;
    default: cpu->activity = CPU_ACTIVE; break;
    }
}

/* ---- events ---- */

enum { SHADOW_STI = 1, SHADOW_MOV_SS = 2 }; /* CpuState.shadow */
enum { KVM_SHADOW_MOV_SS = 1, KVM_SHADOW_STI = 2 };

/* pending_db is a #DB that is due before the next instruction: DR6 and DR7 as its delivery makes
 * them (SDM 3B 17.2.3), and the exception itself. */
static void take_pending_db(CpuState *cpu)
{
    enum { DR6_B = 0xf, DR6_WHY = 0xe00f, DR7_GD = 1 << 13 };
    if (cpu->pending_db && cpu->event == CPU_EVENT_NONE && cpu->shadow != SHADOW_MOV_SS) {
        cpu->dr[6] = (cpu->dr[6] & ~(uint64_t)DR6_B) | (cpu->pending_db & DR6_WHY);
        cpu->dr[7] &= ~(uint64_t)DR7_GD;
        cpu->debugctl &= ~1ull;
        cpu->pending_db = 0;
        cpu->event = CPU_EVENT_EXCEPTION;
        cpu->event_vector = EXC_DB;
        cpu->event_has_error = false;
        cpu->event_error = 0;
    }
}

static void load_events(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    uint32_t request = __atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST);
    struct kvm_vcpu_events e = {
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
        .interrupt.shadow = (cpu->shadow == SHADOW_STI ? KVM_SHADOW_STI : 0) |
                            (cpu->shadow == SHADOW_MOV_SS ? KVM_SHADOW_MOV_SS : 0),
        .nmi.pending = !!(request & CPU_REQ_NMI),
        .nmi.masked = cpu->nmi_blocked,
    };
    if (cpu->activity == CPU_WAIT_SIPI && (request & CPU_REQ_SIPI)) {
        e.sipi_vector = cpu->sipi_vector;
        e.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    }
    switch (cpu->event) {
    case CPU_EVENT_EXCEPTION:
        e.exception.injected = 1;
        e.exception.nr = cpu->event_vector;
        e.exception.has_error_code = cpu->event_has_error;
        e.exception.error_code = cpu->event_error;
        break;
    case CPU_EVENT_INTERRUPT:
        e.interrupt.injected = 1;
        e.interrupt.nr = cpu->event_vector;
        break;
    case CPU_EVENT_NMI: e.nmi.injected = 1; break;
    default: break;
    }
    if (k->state->has_smm) {
        e.flags |= KVM_VCPUEVENT_VALID_SMM;
        e.smi.smm = cpu->in_smm;
        e.smi.pending = !!(request & CPU_REQ_SMI);
    }
    if (k->state->has_triple_fault) {
        e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
        e.triple_fault.pending = cpu->activity == CPU_SHUTDOWN;
    }
    if (call(k, KVM_SET_VCPU_EVENTS, &e, "KVM_SET_VCPU_EVENTS")) {
        /* They are the kernel's now; what came since is not. */
        cpu_clear_request(cpu, request & (CPU_REQ_NMI | (k->state->has_smm ? CPU_REQ_SMI : 0)));
        cpu->event = CPU_EVENT_NONE;
    }
}

static void set_event(CpuState *cpu, CpuEvent kind, uint8_t vector)
{
    cpu->event = kind;
    cpu->event_vector = vector;
    cpu->event_has_error = false;
    cpu->event_error = 0;
}

static void store_events(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    struct kvm_vcpu_events e;
    if (!call(k, KVM_GET_VCPU_EVENTS, &e, "KVM_GET_VCPU_EVENTS")) {
        return;
    }
    uint32_t request = 0;
    cpu->shadow = e.interrupt.shadow & KVM_SHADOW_MOV_SS ? SHADOW_MOV_SS
                  : e.interrupt.shadow & KVM_SHADOW_STI  ? SHADOW_STI
                                                         : 0;
    cpu->nmi_blocked = e.nmi.masked;
    request |= e.nmi.pending ? CPU_REQ_NMI : 0;
    cpu->event = CPU_EVENT_NONE;
    if (e.exception.injected || e.exception.pending) {
        set_event(cpu, CPU_EVENT_EXCEPTION, e.exception.nr);
        cpu->event_has_error = e.exception.has_error_code;
        cpu->event_error = e.exception.has_error_code ? e.exception.error_code : 0;
    } else if (e.nmi.injected) {
        set_event(cpu, CPU_EVENT_NMI, EXC_NMI);
    } else if (e.interrupt.injected && !e.interrupt.soft) {
        set_event(cpu, CPU_EVENT_INTERRUPT, e.interrupt.nr);
    }
    if (e.flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR) {
        cpu->sipi_vector = (uint8_t)e.sipi_vector;
    }
    if (k->state->has_smm) {
        cpu->in_smm = e.smi.smm;
        request |= e.smi.pending ? CPU_REQ_SMI : 0;
    }
    if (k->state->has_triple_fault && e.triple_fault.pending) {
        cpu->activity = CPU_SHUTDOWN;
    }
    if (cpu->event != CPU_EVENT_NONE) {
        request |= CPU_REQ_RECHECK; /* a software engine's loop looks before its first block */
    }
    __atomic_fetch_or(&cpu->request, request, __ATOMIC_SEQ_CST);
}

/* ---- nested guests ---- */

static void load_nested(KvmVcpu *k)
{
    KvmState *s = k->state;
    if (s->nested && s->nested->size > sizeof(*s->nested)) {
        call(k, KVM_SET_NESTED_STATE, s->nested, "KVM_SET_NESTED_STATE");
    }
}

static void store_nested(KvmVcpu *k)
{
    KvmState *s = k->state;
    if (s->nested) {
        s->nested->size = (uint32_t)s->nested_size;
        call(k, KVM_GET_NESTED_STATE, s->nested, "KVM_GET_NESTED_STATE");
    }
}

bool kvm_state_in_nested_guest(const KvmVcpu *k)
{
    const KvmState *s = k->state;
    return s->nested && (s->nested->flags & KVM_STATE_NESTED_GUEST_MODE);
}

/* ---- all of it ---- */

/* After a power-up reset nothing of what only we keep is left either. */
static void forget_after_reset(KvmVcpu *k)
{
    KvmState *s = k->state;
    uint32_t resets = k->v->cpu.resets;
    if (s->resets != resets) {
        s->resets = resets;
        kvm_xsave_reset(k);
        kvm_msrs_reset(k);
        if (s->nested) {
            memset(s->nested, 0, s->nested_size);
        }
    }
}

void kvm_load_state(KvmVcpu *k)
{
    forget_after_reset(k);
    if (k->state->fresh && k->vm->irqchip == KVM_IRQCHIP_OFF) {
        kvm_pv_take_over(&k->v->cpu); /* page faults another VM had in hand are nobody's now */
    }
    k->state->fresh = false;
    take_pending_db(&k->v->cpu);
    load_regs(k);
    kvm_xsave_load(k);
    load_sregs(k);
    kvm_tsc_load(k);
    kvm_msrs_load(k); /* paravirtual clocks go by the TSC; TSC_ADJUST must not move it */
    load_nested(k);
    load_debugregs(k);
    load_mp_state(k);
    load_events(k); /* behind what clears them */
}

void kvm_store_state(KvmVcpu *k)
{
    store_mp_state(k); /* first: it makes the kernel act on INIT and SIPI */
    store_regs(k);
    store_sregs(k);
    kvm_xsave_store(k);
    kvm_msrs_store(k);
    k->v->cpu.kvm.foreign = true;
    kvm_tsc_store(k);
    store_nested(k);
    store_debugregs(k);
    store_events(k);
    cpu_update_mode(&k->v->cpu);
}

static void find_caps(KvmVcpu *k)
{
    KvmState *s = k->state;
    s->has_xcrs = kvm_cap(k->vm, KVM_CAP_XCRS) > 0;
    s->has_sregs2 = kvm_cap(k->vm, KVM_CAP_SREGS2) > 0;
    s->has_mp_state = kvm_cap(k->vm, KVM_CAP_MP_STATE) > 0;
    s->has_debugregs = kvm_cap(k->vm, KVM_CAP_DEBUGREGS) > 0;
    s->has_smm = kvm_cap(k->vm, KVM_CAP_X86_SMM) > 0;
    if (kvm_cap(k->vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT) > 0) {
        struct kvm_enable_cap on = { .cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .args = { 1 } };
        s->has_triple_fault = kvm_ioctl(k->vm->fd, KVM_ENABLE_CAP, &on) >= 0;
    }
}

static bool init_nested(KvmVcpu *k, Error **errp)
{
    KvmState *s = k->state;
    int size = kvm_cap(k->vm, KVM_CAP_NESTED_STATE);
    if (size > 0 && !s->nested) {
        s->nested_size = MAX((size_t)size, sizeof(*s->nested));
        s->nested = calloc(1, s->nested_size);
        if (!s->nested) {
            return error_set(errp, "no memory for a nested guest's state");
        }
    }
    return true;
}

bool kvm_state_init(KvmVcpu *k, Error **errp)
{
    if (!k->state) {
        k->state = calloc(1, sizeof(*k->state));
        if (!k->state) {
            return error_set(errp, "no memory for a vCPU's state");
        }
        k->state->resets = k->v->cpu.resets;
    }
    k->state->fresh = true;
    find_caps(k);
    return kvm_tsc_init(k, errp) && kvm_xsave_init(k, errp) && kvm_msrs_init(k, errp) &&
           init_nested(k, errp);
}

void kvm_state_fini(KvmVcpu *k)
{
    if (k->state) {
        kvm_xsave_fini(k);
        kvm_msrs_fini(k);
        free(k->state->nested);
        free(k->state);
        k->state = NULL;
    }
}
