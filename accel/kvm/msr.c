/* SPDX-License-Identifier: GPL-2.0-or-later
 * Model-specific registers to the kernel and back: all of KVM_GET_MSR_INDEX_LIST, the MTRRs and the
 * machine-check banks, which that list leaves out. CpuState has fields for what Vireo's own engines
 * know; the rest is read when the vCPU is stored, kept in KvmState, and written when it is loaded.
 *
 * Left to others: IA32_TSC (tsc.c), IA32_APIC_BASE and EFER (state.c), what belongs to a kernel local
 * APIC (irqchip.c).
 */
#include <asm/kvm_para.h>
#include <stdlib.h>
#include <string.h>

#include "accel/kvm/state.h"
#include "util/log.h"

enum {
    MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48, MSR_BIOS_SIGN_ID = 0x8b, MSR_SMBASE = 0x9e, MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176, MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b, MSR_MISC_ENABLE = 0x1a0, MSR_DEBUGCTL = 0x1d9, MSR_MTRR_BASE0 = 0x200,
    MSR_MTRR_FIX64K = 0x250, MSR_MTRR_FIX16K = 0x258, MSR_MTRR_FIX4K = 0x268, MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff, MSR_MC0_CTL = 0x400, MSR_TSC_DEADLINE = 0x6e0, MSR_XSS = 0xda0,
    MSR_ARCH_CAPABILITIES = 0x10a,
};
enum { NR_MC = ARRAY_SIZE(((CpuState *)0)->mc_bank) / 4 };

typedef struct FieldMsr {
    uint32_t msr;
    uint16_t feature; /* the guest sees it only with this one; FEATURE_NONE: always */
    uint16_t offset;
} FieldMsr;

#define FIELD(msr, feature, field) { msr, FEATURE_##feature, offsetof(CpuState, field) }
static const FieldMsr fields[] = {
    FIELD(MSR_SYSENTER_CS, NONE, sysenter_cs),
    FIELD(MSR_SYSENTER_ESP, NONE, sysenter_esp),
    FIELD(MSR_SYSENTER_EIP, NONE, sysenter_eip),
    FIELD(MSR_PAT, NONE, pat),
    FIELD(0xc0000081, NONE, star),
    FIELD(0xc0000082, LM, lstar),
    FIELD(0xc0000083, LM, cstar),
    FIELD(0xc0000084, LM, sfmask),
    FIELD(0xc0000102, LM, kernel_gs_base),
    FIELD(0xc0000103, NONE, tsc_aux),
    FIELD(MSR_MISC_ENABLE, NONE, misc_enable),
    FIELD(MSR_DEBUGCTL, NONE, debugctl),
    FIELD(MSR_SPEC_CTRL, NONE, spec_ctrl),
    FIELD(MSR_FEATURE_CONTROL, NONE, feature_control),
    FIELD(MSR_BIOS_SIGN_ID, NONE, ucode_rev),
    FIELD(MSR_XSS, XSAVES, xss),
    FIELD(MSR_SMBASE, NONE, smbase),
    FIELD(MSR_TSC_ADJUST, NONE, tsc_adjust),
    FIELD(MSR_MCG_STATUS, MCA, mcg_status),
    FIELD(MSR_MCG_CTL, MCA, mcg_ctl),
    FIELD(MSR_KVM_SYSTEM_TIME_NEW, KVM_CLOCK, kvm.system_time),
    FIELD(MSR_KVM_ASYNC_PF_INT, KVM_ASYNCPF_INT, kvm.async_pf_int), /* before the one that switches it on */
    FIELD(MSR_KVM_ASYNC_PF_EN, KVM_ASYNCPF, kvm.async_pf),
    FIELD(MSR_KVM_STEAL_TIME, KVM_STEAL_TIME, kvm.steal_time),
    FIELD(MSR_KVM_PV_EOI_EN, KVM_PV_EOI, kvm.pv_eoi),
    FIELD(MSR_KVM_POLL_CONTROL, KVM_POLL_CONTROL, kvm.poll_control),
};
#undef FIELD

/* Writing them has effects in the guest's memory, even of what they hold already. */
static const uint32_t acting[] = {
    MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_ASYNC_PF_INT, MSR_KVM_ASYNC_PF_EN, MSR_KVM_STEAL_TIME,
    MSR_KVM_PV_EOI_EN,
};

/* Hyper-V's are not offered, and writing one of them switches KVM's own EOI flag off. */
static bool is_hyperv(uint32_t msr)
{
    return msr >> 12 == 0x40000;
}

/* Others' business; other names of the same (11h, 12h); and what only ever acts: the wall clock's
 * writes a structure at a place that may be something else by now. */
static const uint32_t not_kept[] = {
    MSR_TSC, MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_ARCH_CAPABILITIES, MSR_KVM_SYSTEM_TIME,
    MSR_KVM_WALL_CLOCK, MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_ASYNC_PF_ACK,
};

/* Without a LAPIC the kernel has no asynchronous page faults; what the guest asked for waits in CpuState
 * until it has one. */
static bool waits_for_apic(const KvmVcpu *k, uint32_t msr)
{
    return k->vm->irqchip == KVM_IRQCHIP_OFF &&
           (msr == MSR_KVM_ASYNC_PF_EN || msr == MSR_KVM_ASYNC_PF_INT);
}

static const FieldMsr *find_field(uint32_t msr)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (fields[i].msr == msr) {
            return &fields[i];
        }
    }
    return NULL;
}

/* ---- the buffer: some registers for one call ---- */

static void put(KvmState *s, uint32_t msr, uint64_t val)
{
    struct kvm_msr_entry *e = &s->buffer->entries[s->buffer->nmsrs++];
    *e = (struct kvm_msr_entry) { .index = msr, .data = val };
}

/* The kernel stops at the first register it does not take: done one by one from there on those are
 * named in the log (a feature of the model that the host has not), and the rest still goes. */
static void write_all(KvmVcpu *k)
{
    KvmState *s = k->state;
    uint32_t nr = s->buffer->nmsrs, done = 0;
    while (done < nr) {
        memmove(s->buffer->entries, s->buffer->entries + done,
                (nr - done) * sizeof(struct kvm_msr_entry));
        nr -= done;
        s->buffer->nmsrs = nr;
        int r = kvm_ioctl(k->fd, KVM_SET_MSRS, s->buffer);
        if (r < 0) {
            kvm_state_warn(k, "KVM_SET_MSRS", r);
            return;
        }
        done = (uint32_t)r;
        if (done < nr) {
            if (log_on(LOG_KVM)) {
                log_printf("kvm: cpu%u: MSR %08x does not take %llx\n", k->v->cpu.index,
                           s->buffer->entries[done].index,
                           (unsigned long long)s->buffer->entries[done].data);
            }
            done++;
        }
    }
}

/* One that cannot be read is left out: nmsrs shrinks to those that could. */
static void read_all(KvmVcpu *k)
{
    KvmState *s = k->state;
    struct kvm_msrs *b = s->buffer;
    uint32_t nr = b->nmsrs, got = 0;
    while (got < nr) {
        /* The call begins at entries[0]: what was read is turned to the end meanwhile. */
        struct kvm_msr_entry done[got ? got : 1];
        memcpy(done, b->entries, got * sizeof(done[0]));
        memmove(b->entries, b->entries + got, (nr - got) * sizeof(done[0]));
        b->nmsrs = nr - got;
        int r = kvm_ioctl(k->fd, KVM_GET_MSRS, b);
        uint32_t n = r < 0 ? 0 : (uint32_t)r;
        memmove(b->entries + got, b->entries, (nr - got) * sizeof(done[0]));
        memcpy(b->entries, done, got * sizeof(done[0]));
        got += n;
        if (got < nr) {
            nr--;
            memmove(b->entries + got, b->entries + got + 1,
                    (nr - got) * sizeof(done[0]));
        }
    }
    b->nmsrs = got;
}

/* ---- which there are ---- */

static bool in_list(const uint32_t *list, size_t nr, uint32_t msr)
{
    for (size_t i = 0; i < nr; i++) {
        if (list[i] == msr) {
            return true;
        }
    }
    return false;
}

static bool read_list(KvmVcpu *k)
{
    KvmState *s = k->state;
    struct kvm_msr_list head = { .nmsrs = 0 };
    kvm_ioctl(k->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &head); /* -E2BIG: how many */
    size_t room = head.nmsrs;
    struct kvm_msr_list *l = calloc(1, sizeof(*l) + room * sizeof(l->indices[0]));
    s->list = calloc(room + 1, sizeof(*s->list));
    if (!l || !s->list) {
        free(l);
        return false;
    }
    l->nmsrs = (uint32_t)room;
    if (kvm_ioctl(k->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, l) >= 0) {
        s->nr_list = MIN((size_t)l->nmsrs, room);
        memcpy(s->list, l->indices, s->nr_list * sizeof(s->list[0]));
    }
    free(l);
    return true;
}

static bool allocate(KvmVcpu *k)
{
    enum { OTHERS = 64 + 4 * NR_MC + 2 * NR_MTRR_VAR + 12 };
    KvmState *s = k->state;
    if (!read_list(k)) {
        return false;
    }
    s->kept = calloc(s->nr_list + 1, sizeof(*s->kept));
    s->buffer =
        calloc(1, sizeof(*s->buffer) + (s->nr_list + OTHERS) * sizeof(struct kvm_msr_entry));
    if (!s->kept || !s->buffer) {
        return false;
    }
    for (size_t i = 0; i < s->nr_list; i++) {
        uint32_t msr = s->list[i];
        if (!find_field(msr) && !is_hyperv(msr) &&
            !in_list(not_kept, ARRAY_SIZE(not_kept), msr)) {
            s->kept[s->nr_kept++].msr = msr;
        }
    }
    return true;
}

/* Machine checks: the guest's banks (KVM_X86_SETUP_MCE), as many as CpuState has. */
static bool setup_mce(KvmVcpu *k)
{
    int most = kvm_cap(k->vm, KVM_CAP_MCE);
    uint64_t cap = 0;
    if (most < NR_MC || !feature_has(&k->v->cpu.features, FEATURE_MCA) ||
        !cpu_rdmsr(&k->v->cpu, 0x179, &cap)) {
        return false;
    }
    return kvm_ioctl(k->fd, KVM_X86_SETUP_MCE, &cap) >= 0;
}

static void read_kept(KvmVcpu *k)
{
    KvmState *s = k->state;
    s->buffer->nmsrs = 0;
    for (size_t i = 0; i < s->nr_kept; i++) {
        s->kept[i].valid = false;
        put(s, s->kept[i].msr, 0);
    }
    read_all(k);
    for (size_t i = 0, j = 0; i < s->nr_kept && j < s->buffer->nmsrs; i++) {
        if (s->kept[i].msr == s->buffer->entries[j].index) {
            s->kept[i].val = s->buffer->entries[j++].data;
            s->kept[i].valid = true;
        }
    }
}

bool kvm_msrs_init(KvmVcpu *k, Error **errp)
{
    KvmState *s = k->state;
    bool first = !s->buffer;
    if (first && !allocate(k)) {
        return error_set(errp, "no memory for a vCPU's model-specific registers");
    }
    s->has_mce = setup_mce(k);
    s->has_mtrr = feature_has(&k->v->cpu.features, FEATURE_MTRR);
    if (first) {
        read_kept(k);
        for (size_t i = 0; i < s->nr_kept; i++) {
            s->kept[i].init = s->kept[i].val;
        }
    }
    return true;
}

void kvm_msrs_fini(KvmVcpu *k)
{
    KvmState *s = k->state;
    free(s->list);
    free(s->kept);
    free(s->buffer);
}

void kvm_msrs_reset(KvmVcpu *k)
{
    KvmState *s = k->state;
    for (size_t i = 0; i < s->nr_kept; i++) {
        s->kept[i].val = s->kept[i].init;
    }
}

/* ---- those of a LAPIC that is ours ---- */

/* Without a LAPIC of its own the kernel refuses x2APIC's registers, which can come out as exits, but
 * takes IA32_TSC_DEADLINE without a word: that one is filtered to come out. */
void kvm_msr_exits(const KvmVm *vm)
{
    enum { WHY = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL |
                 KVM_MSR_EXIT_REASON_FILTER };
    uint8_t none[8] = { 0 };
    struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { WHY } };
    struct kvm_msr_filter filter = {
        .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
        .ranges[0] = { .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                       .nmsrs = 1, .base = MSR_TSC_DEADLINE, .bitmap = none },
    };
    if (kvm_cap(vm, KVM_CAP_X86_USER_SPACE_MSR) > 0 && kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap) == 0 &&
        kvm_cap(vm, KVM_CAP_X86_MSR_FILTER) > 0) {
        kvm_ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &filter);
    }
}

/* ---- one ---- */

bool kvm_get_msr(const KvmVcpu *k, uint32_t msr, uint64_t *val)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = { .head.nmsrs = 1, .entry.index = msr };
    if (kvm_ioctl(k->fd, KVM_GET_MSRS, &m) != 1) {
        return false;
    }
    *val = m.entry.data;
    return true;
}

bool kvm_set_msr(const KvmVcpu *k, uint32_t msr, uint64_t val)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = { .head.nmsrs = 1, .entry = { .index = msr, .data = val } };
    return kvm_ioctl(k->fd, KVM_SET_MSRS, &m) == 1;
}

/* ---- both ways ---- */

/* Calls fn for each register that CpuState has and the kernel may know, with where it is. */
static void each_field(KvmVcpu *k, void (*fn)(KvmVcpu *k, uint32_t msr, uint64_t *val))
{
    KvmState *s = k->state;
    CpuState *cpu = &k->v->cpu;
    MtrrState *m = &cpu->mtrr;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const FieldMsr *f = &fields[i];
        bool mce = f->msr == MSR_MCG_STATUS || f->msr == MSR_MCG_CTL;
        if (in_list(s->list, s->nr_list, f->msr) && feature_has(&cpu->features, f->feature) &&
            (!mce || s->has_mce) && !waits_for_apic(k, f->msr)) {
            fn(k, f->msr, (uint64_t *)((char *)cpu + f->offset));
        }
    }
    for (unsigned i = 0; s->has_mtrr && i < NR_MTRR_VAR; i++) {
        fn(k, MSR_MTRR_BASE0 + 2 * i, &m->base[i]);
        fn(k, MSR_MTRR_BASE0 + 2 * i + 1, &m->mask[i]);
    }
    for (unsigned i = 0; s->has_mtrr && i < ARRAY_SIZE(m->fixed); i++) {
        fn(k, i == 0 ? MSR_MTRR_FIX64K : i < 3 ? MSR_MTRR_FIX16K + i - 1 : MSR_MTRR_FIX4K + i - 3,
           &m->fixed[i]);
    }
    if (s->has_mtrr) {
        fn(k, MSR_MTRR_DEF_TYPE, &m->def_type);
    }
    for (unsigned i = 0; s->has_mce && i < 4 * NR_MC; i++) {
        fn(k, MSR_MC0_CTL + i, &cpu->mc_bank[i]);
    }
}

static void put_field(KvmVcpu *k, uint32_t msr, uint64_t *val)
{
    (void)val;
    put(k->state, msr, 0);
}

static void put_changed(KvmVcpu *k, uint32_t msr, uint64_t *val)
{
    uint64_t now = 0;
    bool acts = in_list(acting, ARRAY_SIZE(acting), msr);
    if (!acts || !kvm_get_msr(k, msr, &now) || now != *val) {
        put(k->state, msr, *val);
    }
}

static void get_field(KvmVcpu *k, uint32_t msr, uint64_t *val)
{
    const KvmState *s = k->state;
    for (uint32_t i = 0; i < s->buffer->nmsrs; i++) {
        if (s->buffer->entries[i].index == msr) {
            *val = s->buffer->entries[i].data;
            return;
        }
    }
}

void kvm_msrs_load(KvmVcpu *k)
{
    KvmState *s = k->state;
    s->buffer->nmsrs = 0;
    each_field(k, put_changed);
    for (size_t i = 0; i < s->nr_kept; i++) {
        if (s->kept[i].valid) {
            put(s, s->kept[i].msr, s->kept[i].val);
        }
    }
    write_all(k);
}

void kvm_msrs_store(KvmVcpu *k)
{
    KvmState *s = k->state;
    s->buffer->nmsrs = 0;
    each_field(k, put_field);
    read_all(k);
    each_field(k, get_field);
    read_kept(k);
}
