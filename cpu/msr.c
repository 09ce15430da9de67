/* SPDX-License-Identifier: GPL-2.0-or-later
 * Model-specific registers (SDM 4 chapter 2, APM 2 appendix A). A register exists if the
 * feature it belongs to is shown in CPUID; one that does not gives #GP(0), which is how
 * guests probe. A few AMD and Intel registers that systems touch without probing read as
 * constants.
 *
 * Left out: performance counters, last-branch records, thermal and power management.
 */
#include <string.h>

#include "cpu/kvm_pv.h"
#include "cpu/mem.h"
#include "cpu/model.h"
#include "cpu/paging.h"
#include "cpu/state.h"
#include "util/log.h"

enum {
    MSR_P5_MC_ADDR = 0x0,
    MSR_P5_MC_TYPE = 0x1,
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_EBL_CR_POWERON = 0x2a,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_BIOS_UPDT_TRIG = 0x79,
    MSR_BIOS_SIGN_ID = 0x8b,
    MSR_SMBASE = 0x9e,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRRCAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_FLUSH_CMD = 0x10b,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_LASTBRANCHFROM = 0x1db,
    MSR_LASTINTTO = 0x1de,
    MSR_MTRR_BASE0 = 0x200,
    MSR_MTRR_VAR_END = 0x200 + 2 * NR_MTRR_VAR - 1,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX16K_LAST = 0x259,
    MSR_MTRR_FIX4K = 0x268,
    MSR_MTRR_FIX4K_LAST = 0x26f,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MC0_CTL = 0x400,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x83f,
    MSR_XSS = 0xda0,
};
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_FMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_AMD_HWCR 0xc0010015u

enum {
    NR_MC_BANKS = ARRAY_SIZE(((CpuState *)0)->mc_bank) / 4,
    MCG_CTL_P = 1 << 8,
    MTRRCAP_FIX = 1 << 8,
    MTRRCAP_WC = 1 << 10,
    DEBUGCTL_LBR = 1 << 0,
    DEBUGCTL_BTF = 1 << 1,
};
/* We do not speculate on the guest's behalf in ways it could see: every *_NO bit there is,
 * and IBRS_ALL. RDCL, RSBA clear, SKIP_L1DFL, SSB, MDS, PSCHANGE_MC, TAA, SBDR_SSDP, FBSDP,
 * PSDP, BHI, PBRSB, GDS, RFDS, ITS. */
#define ARCH_CAPABILITIES                                                                  \
    (1ull << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 | \
     1 << 15 | 1 << 20 | 1 << 24 | 1 << 26 | 1 << 27 | 1ull << 62)

static bool has(const CpuState *cpu, CpuFeature id)
{
    return feature_has(&cpu->features, id);
}

/* MTRRs, in the order of MtrrState.fixed; -1: no such register. */
static int mtrr_fixed_index(uint32_t msr)
{
    if (msr == MSR_MTRR_FIX64K) {
        return 0;
    }
    if (msr >= MSR_MTRR_FIX16K && msr <= MSR_MTRR_FIX16K_LAST) {
        return 1 + (int)(msr - MSR_MTRR_FIX16K);
    }
    if (msr >= MSR_MTRR_FIX4K && msr <= MSR_MTRR_FIX4K_LAST) {
        return 3 + (int)(msr - MSR_MTRR_FIX4K);
    }
    return -1;
}

static uint64_t *mtrr_register(CpuState *cpu, uint32_t msr)
{
    MtrrState *m = &cpu->mtrr;
    if (!has(cpu, FEATURE_MTRR)) {
        return NULL;
    }
    if (msr == MSR_MTRR_DEF_TYPE) {
        return &m->def_type;
    }
    if (msr >= MSR_MTRR_BASE0 && msr <= MSR_MTRR_VAR_END) {
        unsigned n = (msr - MSR_MTRR_BASE0) / 2;
        return msr & 1 ? &m->mask[n] : &m->base[n];
    }
    int fixed = mtrr_fixed_index(msr);
    return fixed < 0 ? NULL : &m->fixed[fixed];
}

/* Memory types: UC 0, WC 1, WT 4, WP 5, WB 6; the PAT also has UC- 7. */
static bool types_are_valid(uint64_t bytes, uint32_t valid)
{
    for (int i = 0; i < 8; i++, bytes >>= 8) {
        if ((bytes & 0xff) > 7 || !(valid >> (bytes & 7) & 1)) {
            return false;
        }
    }
    return true;
}

static bool write_mtrr(CpuState *cpu, uint32_t msr, uint64_t *reg, uint64_t val)
{
    enum { MTRR_TYPES = 0x73 };
    uint64_t beyond = ~((1ull << cpu->phys_bits) - 1), reserved = 0;
    uint64_t types = val;
    if (msr == MSR_MTRR_DEF_TYPE) {
        reserved = ~0xcffull;
        types = val & 0xff;
    } else if (mtrr_fixed_index(msr) < 0) {
        reserved = beyond | (msr & 1 ? 0x7ff : 0xf00);
        types = msr & 1 ? 0 : val & 0xff;
    }
    if ((val & reserved) || !types_are_valid(types, MTRR_TYPES)) {
        return false;
    }
    *reg = val;
    return true;
}

/* Bits of SPEC_CTRL that exist: IBRS, STIBP, SSBD, BHI_DIS_S. Nothing follows from them. */
static uint64_t spec_ctrl_bits(const CpuState *cpu)
{
    bool ibrs = has(cpu, FEATURE_SPEC_CTRL) || has(cpu, FEATURE_IBRS);
    bool stibp = has(cpu, FEATURE_STIBP) || has(cpu, FEATURE_AMD_STIBP);
    bool ssbd = has(cpu, FEATURE_SSBD) || has(cpu, FEATURE_AMD_SSBD);
    bool bhi = has(cpu, FEATURE_BHI_CTRL);
    return (ibrs ? 1 : 0) | (stibp ? 2 : 0) | (ssbd ? 4 : 0) | (bhi ? 1 << 10 : 0);
}

static bool has_feature_control(const CpuState *cpu)
{
    return has(cpu, FEATURE_VMX) || has(cpu, FEATURE_SMX) || has(cpu, FEATURE_SGX);
}

/* ---- plain registers: stored as written, after a check ---- */

typedef enum Check {
    CHECK_NONE,
    CHECK_32,     /* bits 63:32 reserved */
    CHECK_LOW_32, /* bits 63:32 ignored */
    CHECK_CANONICAL,
    CHECK_SYSENTER, /* canonical; AMD's have 32 bits, they ignore the others */
    CHECK_PAT,
    CHECK_ZERO, /* no bit is implemented */
} Check;

typedef struct PlainMsr {
    uint32_t msr;
    uint16_t feature; /* or feature2 */
    uint16_t feature2;
    uint8_t check;
    uint16_t offset;
} PlainMsr;

#define PLAIN(msr, feature, check, field)                         \
    {                                                             \
        msr, FEATURE_##feature, FEATURE_##feature, CHECK_##check, \
            offsetof(CpuState, field)                             \
    }
static const PlainMsr plain_msrs[] = {
    PLAIN(MSR_SYSENTER_CS, SEP, LOW_32, sysenter_cs),
    PLAIN(MSR_SYSENTER_ESP, SEP, SYSENTER, sysenter_esp),
    PLAIN(MSR_SYSENTER_EIP, SEP, SYSENTER, sysenter_eip),
    PLAIN(MSR_PAT, PAT, PAT, pat),
    PLAIN(MSR_STAR, SYSCALL, NONE, star),
    PLAIN(MSR_LSTAR, LM, CANONICAL, lstar),
    PLAIN(MSR_CSTAR, LM, CANONICAL, cstar),
    PLAIN(MSR_FMASK, SYSCALL, LOW_32, sfmask),
    PLAIN(MSR_FS_BASE, LM, CANONICAL, seg[SEG_FS].base),
    PLAIN(MSR_GS_BASE, LM, CANONICAL, seg[SEG_GS].base),
    PLAIN(MSR_KERNEL_GS_BASE, LM, CANONICAL, kernel_gs_base),
    { MSR_TSC_AUX, FEATURE_RDTSCP, FEATURE_RDPID, CHECK_32, offsetof(CpuState, tsc_aux) },
    PLAIN(MSR_XSS, XSAVES, ZERO, xss),
    PLAIN(MSR_MCG_CTL, MCA, NONE, mcg_ctl),
    PLAIN(MSR_MCG_STATUS, MCA, 32, mcg_status),
};
#undef PLAIN

static uint64_t *find_plain(CpuState *cpu, uint32_t msr, Check *check)
{
    for (size_t i = 0; i < ARRAY_SIZE(plain_msrs); i++) {
        const PlainMsr *p = &plain_msrs[i];
        if (p->msr == msr) {
            *check = p->check;
            bool there = has(cpu, p->feature) || has(cpu, p->feature2);
            return there ? (uint64_t *)((char *)cpu + p->offset) : NULL;
        }
    }
    return NULL;
}

static bool write_plain(CpuState *cpu, uint64_t *reg, Check check, uint64_t val)
{
    bool ok = true;
    switch (check) {
    case CHECK_NONE: break;
    case CHECK_32: ok = val <= UINT32_MAX; break;
    case CHECK_LOW_32: val = (uint32_t)val; break;
    case CHECK_CANONICAL: ok = lin_is_canonical(cpu, val); break;
    case CHECK_SYSENTER:
        val = cpu_is_amd(cpu) ? (uint32_t)val : val;
        ok = lin_is_canonical(cpu, val);
        break;
    case CHECK_PAT: ok = types_are_valid(val, 0xf3); break;
    case CHECK_ZERO: ok = val == 0; break;
    }
    if (ok) {
        *reg = val;
    }
    return ok;
}

/* ---- registers that read as constants, writes ignored ---- */

static const struct {
    uint32_t first, last;
    bool amd;
    uint64_t val;
} constants[] = {
    { MSR_P5_MC_ADDR, MSR_P5_MC_TYPE, false, 0 },
    { MSR_PLATFORM_ID, MSR_PLATFORM_ID, false, 0 },
    { MSR_EBL_CR_POWERON, MSR_EBL_CR_POWERON, false, 0 },
    { MSR_LASTBRANCHFROM, MSR_LASTINTTO, false, 0 },
    { 0xc0010010, 0xc0010010, true, 0 },           /* SYSCFG */
    { MSR_AMD_HWCR, MSR_AMD_HWCR, true, 1 << 24 }, /* the TSC counts at the P0 rate */
    { 0xc001001a, 0xc001001a, true, 0 },           /* TOP_MEM */
    { 0xc001001d, 0xc001001d, true, 0 },           /* TOP_MEM2 */
    { 0xc001001f, 0xc001001f, true, 0 },           /* NB_CFG */
    { 0xc0010055, 0xc0010055, true, 0 },           /* Interrupt Pending */
    { 0xc0010058, 0xc0010058, true, 0 },           /* MMIO configuration base */
    { 0xc0010112, 0xc0010113, true, 0 },           /* TSEG */
    { 0xc0010114, 0xc0010114, true, 1 << 4 },      /* VM_CR: SVM disabled */
    { 0xc0011020, 0xc0011023, true, 0 },           /* LS, IC, DC, BU configuration */
    { 0xc0011029, 0xc0011029, true, 1 << 1 },      /* DE_CFG: LFENCE serializes */
    { 0xc001102a, 0xc001102a, true, 0 },           /* BU_CFG2 */
};

static bool find_constant(const CpuState *cpu, uint32_t msr, uint64_t *val)
{
    for (size_t i = 0; i < ARRAY_SIZE(constants); i++) {
        if (msr >= constants[i].first && msr <= constants[i].last &&
            (!constants[i].amd || cpu_is_amd(cpu))) {
            *val = constants[i].val;
            return true;
        }
    }
    return false;
}

/* ---- reading ---- */

static bool no_such_msr(const CpuState *cpu, uint32_t msr, const char *what)
{
    log_unimp("cpu%u: %s %08x at %016llx: no such MSR, #GP", cpu->index, what, msr,
              (unsigned long long)cpu->insn_rip);
    return false;
}

static bool read_apic(CpuState *cpu, uint32_t msr, uint64_t *val)
{
    if (!cpu->apic_ops || !has(cpu, FEATURE_APIC)) {
        return false;
    }
    if (msr == MSR_APIC_BASE) {
        *val = cpu->apic_ops->get_base(cpu->apic);
        return true;
    }
    CpuFeature need = msr == MSR_TSC_DEADLINE ? FEATURE_TSC_DEADLINE : FEATURE_X2APIC;
    return has(cpu, need) && cpu->apic_ops->read_msr(cpu->apic, msr, val);
}

static bool read_computed(CpuState *cpu, uint32_t msr, uint64_t *val)
{
    uint64_t ratio = cpu->tsc_khz / 100000;
    switch (msr) {
    case MSR_TSC: *val = cpu_tsc(cpu); return has(cpu, FEATURE_TSC);
    case MSR_TSC_ADJUST: *val = cpu->tsc_adjust; return has(cpu, FEATURE_TSC_ADJUST);
    case MSR_FEATURE_CONTROL: *val = cpu->feature_control; return has_feature_control(cpu);
    case MSR_SPEC_CTRL: *val = cpu->spec_ctrl; return spec_ctrl_bits(cpu) != 0;
    case MSR_BIOS_SIGN_ID: *val = cpu->ucode_rev; return true;
    case MSR_SMBASE: *val = cpu->smbase; return cpu->in_smm;
    case MSR_PLATFORM_INFO: *val = ratio << 8 | ratio << 40; return !cpu_is_amd(cpu);
    case MSR_PERF_STATUS: *val = ratio << 8; return !cpu_is_amd(cpu);
    case MSR_MTRRCAP:
        *val = NR_MTRR_VAR | MTRRCAP_FIX | MTRRCAP_WC;
        return has(cpu, FEATURE_MTRR);
    case MSR_ARCH_CAPABILITIES:
        *val = ARCH_CAPABILITIES;
        return has(cpu, FEATURE_ARCH_CAPABILITIES);
    case MSR_MCG_CAP: *val = NR_MC_BANKS | MCG_CTL_P; return has(cpu, FEATURE_MCA);
    case MSR_MISC_ENABLE: *val = cpu->misc_enable; return !cpu_is_amd(cpu);
    case MSR_DEBUGCTL: *val = cpu->debugctl; return true;
    case MSR_EFER: *val = cpu->efer; return has(cpu, FEATURE_LM) || has(cpu, FEATURE_NX);
    default: return false;
    }
}

bool cpu_rdmsr(CpuState *cpu, uint32_t msr, uint64_t *val)
{
    Check check;
    uint64_t *reg = find_plain(cpu, msr, &check);
    if (!reg) {
        reg = mtrr_register(cpu, msr);
    }
    if (!reg && msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + 4 * NR_MC_BANKS &&
        has(cpu, FEATURE_MCA)) {
        reg = &cpu->mc_bank[msr - MSR_MC0_CTL];
    }
    if (reg) {
        *val = *reg;
        return true;
    }
    if (msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
        (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)) {
        return read_apic(cpu, msr, val);
    }
    return read_computed(cpu, msr, val) || kvm_pv_rdmsr(cpu, msr, val) || find_constant(cpu, msr, val) ||
           no_such_msr(cpu, msr, "RDMSR");
}

/* ---- writing ---- */

/* LMA follows CR0.PG and LME (SDM 3A 10.8.5); writes to it are ignored. */
static bool write_efer(CpuState *cpu, uint64_t val)
{
    uint64_t writable = 0;
    if (has(cpu, FEATURE_SYSCALL)) {
        writable |= EFER_SCE;
    }
    if (has(cpu, FEATURE_LM)) {
        writable |= EFER_LME;
    }
    if (has(cpu, FEATURE_NX) && !(cpu->misc_enable >> 34 & 1)) {
        writable |= EFER_NXE;
    }
    if (has(cpu, FEATURE_FXSR_OPT)) {
        writable |= EFER_FFXSR;
    }
    if ((val & ~(writable | EFER_LMA)) || !(has(cpu, FEATURE_LM) || has(cpu, FEATURE_NX))) {
        return false;
    }
    if ((cpu->cr0 & CR0_PG) && ((val ^ cpu->efer) & EFER_LME)) {
        return false;
    }
    uint64_t old = cpu->efer;
    cpu->efer = (val & writable) | (old & EFER_LMA);
    if ((old ^ cpu->efer) & EFER_NXE) {
        tlb_flush(cpu);
    }
    cpu_update_mode(cpu);
    return true;
}

static bool write_apic(CpuState *cpu, uint32_t msr, uint64_t val)
{
    enum { BASE_RESERVED = 0x2ff, BASE_EXTD = 1 << 10 };
    if (!cpu->apic_ops || !has(cpu, FEATURE_APIC)) {
        return false;
    }
    if (msr == MSR_APIC_BASE) {
        if ((val & BASE_RESERVED) || val >> cpu->phys_bits ||
            ((val & BASE_EXTD) && !has(cpu, FEATURE_X2APIC))) {
            return false;
        }
        return cpu->apic_ops->set_base(cpu->apic, val);
    }
    CpuFeature need = msr == MSR_TSC_DEADLINE ? FEATURE_TSC_DEADLINE : FEATURE_X2APIC;
    return has(cpu, need) && cpu->apic_ops->write_msr(cpu->apic, msr, val);
}

/* Both registers move together (SDM 3B 18.17.3), and a TSC deadline comes sooner or later. */
static bool write_tsc(CpuState *cpu, uint64_t delta)
{
    cpu->tsc_offset += delta;
    cpu->tsc_adjust += delta;
    kvm_pv_tsc_written(cpu);
    uint64_t deadline;
    if (read_apic(cpu, MSR_TSC_DEADLINE, &deadline) && deadline) {
        write_apic(cpu, MSR_TSC_DEADLINE, deadline);
    }
    return true;
}

static bool write_misc_enable(CpuState *cpu, uint64_t val)
{
    /* fast strings, thermal control, SpeedStep, MONITOR, CPUID limit, xTPR, XD disable */
    uint64_t writable = 1ull << 0 | 1 << 3 | 1 << 16 | 1 << 22 | 1 << 23 | 1ull << 34;
    if (has(cpu, FEATURE_MONITOR)) {
        writable |= 1 << 18;
    }
    cpu->misc_enable = (cpu->misc_enable & ~writable) | (val & writable);
    return true;
}

static bool write_mc_bank(CpuState *cpu, uint32_t n, uint64_t val)
{
    /* MCi_CTL takes anything; MCi_STATUS, ADDR, MISC only zeros (SDM 3B 16.3.2) */
    if (n % 4 != 0 && val != 0) {
        return false;
    }
    cpu->mc_bank[n] = val;
    return true;
}

static bool write_debugctl(CpuState *cpu, uint64_t val)
{
    /* LBR, BTF, TR, BTS, BTINT, BTS_OFF_OS/USR, FREEZE_*, SMM freeze */
    if (val & ~0xdfc3ull) {
        return false;
    }
    if (val & ~(uint64_t)(DEBUGCTL_LBR | DEBUGCTL_BTF)) {
        log_unimp("cpu%u: DEBUGCTL %llx: branch traces are not built", cpu->index,
                  (unsigned long long)val);
    }
    cpu->debugctl = val & (DEBUGCTL_LBR | DEBUGCTL_BTF);
    return true;
}

static bool write_special(CpuState *cpu, uint32_t msr, uint64_t val, bool *known)
{
    *known = true;
    switch (msr) {
    case MSR_TSC: return has(cpu, FEATURE_TSC) && write_tsc(cpu, val - cpu_tsc(cpu));
    case MSR_TSC_ADJUST:
        return has(cpu, FEATURE_TSC_ADJUST) && write_tsc(cpu, val - cpu->tsc_adjust);
    case MSR_SPEC_CTRL:
        if (!spec_ctrl_bits(cpu) || (val & ~spec_ctrl_bits(cpu))) {
            return false;
        }
        cpu->spec_ctrl = val;
        return true;
    case MSR_PRED_CMD: /* IBPB: nothing is predicted across guests' contexts */
        return (has(cpu, FEATURE_SPEC_CTRL) || has(cpu, FEATURE_IBPB)) && !(val & ~1ull);
    case MSR_FLUSH_CMD: return has(cpu, FEATURE_FLUSH_L1D) && !(val & ~1ull);
    case MSR_BIOS_UPDT_TRIG:
    case MSR_BIOS_SIGN_ID: return true; /* microcode is not for guests to load */
    case MSR_MISC_ENABLE: return !cpu_is_amd(cpu) && write_misc_enable(cpu, val);
    case MSR_DEBUGCTL: return write_debugctl(cpu, val);
    case MSR_EFER: return write_efer(cpu, val);
    case MSR_PLATFORM_INFO:
    case MSR_MTRRCAP:
    case MSR_MCG_CAP:
    case MSR_ARCH_CAPABILITIES:
    case MSR_SMBASE: return false; /* read-only */
    case MSR_FEATURE_CONTROL:
        if (!has_feature_control(cpu) || (cpu->feature_control & 1)) {
            return false; /* locked */
        }
        cpu->feature_control = val;
        return true;
    default: *known = false; return false;
    }
}

bool cpu_wrmsr(CpuState *cpu, uint32_t msr, uint64_t val)
{
    Check check;
    uint64_t *reg = find_plain(cpu, msr, &check), ignored;
    if (reg) {
        return write_plain(cpu, reg, check, val);
    }
    reg = mtrr_register(cpu, msr);
    if (reg) {
        return write_mtrr(cpu, msr, reg, val);
    }
    if (msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + 4 * NR_MC_BANKS &&
        has(cpu, FEATURE_MCA)) {
        return write_mc_bank(cpu, msr - MSR_MC0_CTL, val);
    }
    if (msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
        (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)) {
        return write_apic(cpu, msr, val);
    }
    bool known, ok = write_special(cpu, msr, val, &known);
    if (!known) {
        ok = kvm_pv_wrmsr(cpu, msr, val, &known);
    }
    return known ? ok : find_constant(cpu, msr, &ignored) || no_such_msr(cpu, msr, "WRMSR");
}
