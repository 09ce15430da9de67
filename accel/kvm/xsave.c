/* SPDX-License-Identifier: GPL-2.0-or-later
 * x87, SSE and AVX registers and XCR0, to the kernel and back. KVM_GET_XSAVE2 gives the area that
 * XSAVE writes (SDM 1 13.4), in the standard form with offsets of the host's CPUID leaf 0Dh:
 *
 *   0 x87 control   8 FIP, FDP (64 bits each)   24 MXCSR   32 ST(0)-ST(7)   160 XMM0-15
 *   512 XSTATE_BV   576 upper halves of YMM0-15 (leaf 0Dh.2 says where)   others
 *
 * What is not CpuState's (AVX-512, PKRU) stays in the area from store to load. The kernel saves
 * 64-bit pointers: FCS and FDS are known only while FIP and FDP stay what they were.
 */
#include <stdlib.h>
#include <string.h>

#include "accel/kvm/state.h"
#include "cpu/model.h"

enum { AREA_SIZE = 4096, AREA_MXCSR = 24, AREA_ST = 32, AREA_XMM = 160, AREA_BV = 512 };
enum { XSTATE_X87 = 1, XSTATE_SSE = 2, XSTATE_YMM = 4 };

static void put(uint8_t *p, uint64_t val, unsigned size)
{
    memcpy(p, &val, size);
}

static uint64_t get(const uint8_t *p, unsigned size)
{
    uint64_t val = 0;
    memcpy(&val, p, size);
    return val;
}

/* What KVM_SET_XSAVE takes: the user state components the kernel knows of. */
static uint64_t known_components(const KvmVcpu *k)
{
    uint64_t known = XSTATE_X87 | XSTATE_SSE;
    enum { MAX_ENTRIES = 256 };
    struct kvm_cpuid2 *c =
        calloc(1, sizeof(*c) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    if (c) {
        c->nent = MAX_ENTRIES;
        if (kvm_ioctl(k->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c) >= 0) {
            for (uint32_t i = 0; i < c->nent; i++) {
                const struct kvm_cpuid_entry2 *e = &c->entries[i];
                if (e->function == 0xd && e->index == 0) {
                    known |= e->eax | (uint64_t)e->edx << 32;
                }
            }
        }
        free(c);
    }
    return known;
}

bool kvm_xsave_init(KvmVcpu *k, Error **errp)
{
    KvmState *s = k->state;
    uint32_t out[4];
    int size = kvm_cap(k->vm, KVM_CAP_XSAVE2);
    s->has_xsave2 = size > 0;
    s->has_xsave = kvm_cap(k->vm, KVM_CAP_XSAVE) > 0;
    s->xfeatures = known_components(k);
    host_cpuid(0xd, 2, out);
    s->ymm_offset = out[CPUID_EBX];
    if (!s->xsave) {
        s->xsave_size = MAX(size, AREA_SIZE);
        s->xsave = calloc(1, s->xsave_size);
        if (!s->xsave) {
            return error_set(errp, "no memory for a vCPU's vector registers");
        }
    }
    if (!(s->xfeatures & XSTATE_YMM) || s->ymm_offset + 256 > s->xsave_size) {
        s->xfeatures &= ~(uint64_t)XSTATE_YMM;
    }
    return true;
}

void kvm_xsave_fini(KvmVcpu *k)
{
    free(k->state->xsave);
    k->state->xsave = NULL;
}

void kvm_xsave_reset(KvmVcpu *k)
{
    memset(k->state->xsave, 0, k->state->xsave_size);
}

/* ---- FXSAVE's part ---- */

static void x87_to_area(const FpuState *f, uint8_t *area)
{
    unsigned top = f->fsw >> 11 & 7;
    put(area + 0, f->fcw, 2);
    put(area + 2, f->fsw, 2);
    put(area + 4, f->tag, 1);
    put(area + 6, f->fop, 2);
    put(area + 8, f->fip, 8);
    put(area + 16, f->fdp, 8);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *st = area + AREA_ST + i * 16;
        memset(st, 0, 16);
        memcpy(st, f->st[(top + i) & 7], 10);
    }
}

static void x87_from_area(FpuState *f, const uint8_t *area)
{
    f->fcw = (uint16_t)get(area + 0, 2);
    f->fsw = (uint16_t)get(area + 2, 2);
    f->tag = area[4];
    f->fop = (uint16_t)get(area + 6, 2);
    uint64_t fip = get(area + 8, 8), fdp = get(area + 16, 8);
    if (fip != f->fip || fdp != f->fdp) {
        f->fcs = f->fds = 0;
    }
    f->fip = fip;
    f->fdp = fdp;
    unsigned top = f->fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[(top + i) & 7], area + AREA_ST + i * 16, 10);
    }
}

static void to_area(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    KvmState *s = k->state;
    x87_to_area(&cpu->fpu, s->xsave);
    put(s->xsave + AREA_MXCSR, cpu->mxcsr, 4);
    put(s->xsave + AREA_MXCSR + 4, 0xffff, 4);
    uint64_t bv = get(s->xsave + AREA_BV, 8) & s->xfeatures;
    bv |= XSTATE_X87 | XSTATE_SSE | (s->xfeatures & XSTATE_YMM);
    put(s->xsave + AREA_BV, bv, 8);
    memset(s->xsave + AREA_BV + 8, 0, 56);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(s->xsave + AREA_XMM + i * 16, cpu->ymm[i].u8, 16);
        if (s->xfeatures & XSTATE_YMM) {
            memcpy(s->xsave + s->ymm_offset + i * 16, cpu->ymm[i].u8 + 16, 16);
        }
    }
}

static void from_area(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    KvmState *s = k->state;
    uint64_t bv = get(s->xsave + AREA_BV, 8);
    x87_from_area(&cpu->fpu, s->xsave);
    cpu->mxcsr = (uint32_t)get(s->xsave + AREA_MXCSR, 4) & 0xffff;
    for (unsigned i = 0; i < 16; i++) {
        memcpy(cpu->ymm[i].u8, s->xsave + AREA_XMM + i * 16, 16);
        if (bv & s->xfeatures & XSTATE_YMM) {
            memcpy(cpu->ymm[i].u8 + 16, s->xsave + s->ymm_offset + i * 16, 16);
        } else {
            memset(cpu->ymm[i].u8 + 16, 0, 16);
        }
    }
}

/* ---- XCR0 ---- */

static void load_xcr0(KvmVcpu *k)
{
    struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = k->v->cpu.xcr0 } };
    if (k->state->has_xcrs) {
        int r = kvm_ioctl(k->fd, KVM_SET_XCRS, &x);
        if (r < 0) {
            kvm_state_warn(k, "KVM_SET_XCRS", r);
        }
    }
}

static void store_xcr0(KvmVcpu *k)
{
    struct kvm_xcrs x = { .nr_xcrs = 0 };
    if (!k->state->has_xcrs || kvm_ioctl(k->fd, KVM_GET_XCRS, &x) < 0) {
        return;
    }
    for (uint32_t i = 0; i < x.nr_xcrs && i < KVM_MAX_XCRS; i++) {
        if (x.xcrs[i].xcr == 0) {
            k->v->cpu.xcr0 = x.xcrs[i].value;
        }
    }
}

/* ---- kernels without KVM_CAP_XSAVE: FXSAVE's registers ---- */

static int load_fpu(KvmVcpu *k)
{
    const uint8_t *area = k->state->xsave;
    const FpuState *f = &k->v->cpu.fpu;
    struct kvm_fpu fpu = { .fcw = f->fcw, .fsw = f->fsw, .ftwx = f->tag, .last_opcode = f->fop,
                           .last_ip = f->fip, .last_dp = f->fdp, .mxcsr = k->v->cpu.mxcsr };
    memcpy(fpu.fpr, area + AREA_ST, sizeof(fpu.fpr));
    memcpy(fpu.xmm, area + AREA_XMM, sizeof(fpu.xmm));
    return kvm_ioctl(k->fd, KVM_SET_FPU, &fpu);
}

static int store_fpu(KvmVcpu *k)
{
    uint8_t *area = k->state->xsave;
    struct kvm_fpu fpu;
    int r = kvm_ioctl(k->fd, KVM_GET_FPU, &fpu);
    put(area + 0, fpu.fcw, 2);
    put(area + 2, fpu.fsw, 2);
    put(area + 4, fpu.ftwx, 1);
    put(area + 6, fpu.last_opcode, 2);
    put(area + 8, fpu.last_ip, 8);
    put(area + 16, fpu.last_dp, 8);
    put(area + AREA_MXCSR, fpu.mxcsr, 4);
    memcpy(area + AREA_ST, fpu.fpr, sizeof(fpu.fpr));
    memcpy(area + AREA_XMM, fpu.xmm, sizeof(fpu.xmm));
    return r;
}

/* ---- both ways ---- */

void kvm_xsave_load(KvmVcpu *k)
{
    KvmState *s = k->state;
    load_xcr0(k);
    to_area(k);
    int r = s->has_xsave ? kvm_ioctl(k->fd, KVM_SET_XSAVE, s->xsave) : load_fpu(k);
    if (r < 0) {
        kvm_state_warn(k, s->has_xsave ? "KVM_SET_XSAVE" : "KVM_SET_FPU", r);
    }
}

void kvm_xsave_store(KvmVcpu *k)
{
    KvmState *s = k->state;
    int r = s->has_xsave2  ? kvm_ioctl(k->fd, KVM_GET_XSAVE2, s->xsave)
            : s->has_xsave ? kvm_ioctl(k->fd, KVM_GET_XSAVE, s->xsave)
                           : store_fpu(k);
    if (r < 0) {
        kvm_state_warn(k, "KVM_GET_XSAVE", r);
        return;
    }
    from_area(k);
    store_xcr0(k);
}
