/* SPDX-License-Identifier: GPL-2.0-or-later
 * Control registers: MOV CR, LMSW, SMSW, CLTS (SDM 2B MOV, SDM 3A 2.5, 4.1.2, 4.10.4.1,
 * 10.8.5).
 */
#include "cpu/exception.h"
#include "cpu/exec.h"
#include "cpu/paging.h"

static void __attribute__((noreturn)) gp(CpuState *cpu)
{
    cpu_raise(cpu, EXC_GP, 0);
}

static void need_cpl0(CpuState *cpu)
{
    if (cpu_cpl(cpu) != 0) {
        gp(cpu);
    }
}

static bool has(const CpuState *cpu, CpuFeature id)
{
    return feature_has(&cpu->features, id);
}

/* PDPTEs are read when paging starts and when a bit changes that they depend on. */
static void load_pdptes(CpuState *cpu, uint64_t cr3)
{
    if (!paging_load_pdptes(cpu, cr3)) {
        gp(cpu);
    }
}

/* Turning CR0.PG on or off with EFER.LME set enters or leaves long mode. */
static void check_long_mode_switch(CpuState *cpu, uint64_t val)
{
    enum { TSS_16BIT_TYPES = 1 << 1 | 1 << 3 };
    bool cs_l = cpu->seg[SEG_CS].attr & SEG_L;
    if (val & CR0_PG) {
        bool tss16 = TSS_16BIT_TYPES >> (cpu->tr.attr & SEG_TYPE) & 1;
        if (!(cpu->cr4 & CR4_PAE) || cs_l || tss16) {
            gp(cpu);
        }
    } else if ((cpu->efer & EFER_LMA) && cs_l) {
        gp(cpu); /* only compatibility mode may leave */
    }
}

static void write_cr0(CpuState *cpu, uint64_t val)
{
    const uint64_t known = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP |
                           CR0_AM | CR0_NW | CR0_CD | CR0_PG;
    if (val >> 32 || (val & (CR0_PG | CR0_PE)) == CR0_PG ||
        (val & (CR0_NW | CR0_CD)) == CR0_NW) {
        gp(cpu);
    }
    val = (val & known) | CR0_ET;
    uint64_t changed = val ^ cpu->cr0, efer = cpu->efer;
    if ((changed & CR0_PG) && !(val & CR0_PG) && (cpu->cr4 & CR4_PCIDE)) {
        gp(cpu);
    }
    if ((changed & CR0_PG) && (efer & EFER_LME)) {
        check_long_mode_switch(cpu, val);
        efer = val & CR0_PG ? efer | EFER_LMA : efer & ~(uint64_t)EFER_LMA;
    }
    if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && (val & CR0_PG) && (cpu->cr4 & CR4_PAE) &&
        !(efer & EFER_LMA)) {
        load_pdptes(cpu, cpu->cr3);
    }
    cpu->cr0 = val;
    cpu->efer = efer;
    if (changed & (CR0_PG | CR0_PE | CR0_WP)) {
        tlb_flush(cpu);
    }
    cpu_update_mode(cpu);
}

static void write_cr3(CpuState *cpu, uint64_t val)
{
    const uint64_t keep_tlb = 1ull << 63;
    bool keep = (cpu->cr4 & CR4_PCIDE) && (val & keep_tlb);
    if (keep) {
        val &= ~keep_tlb;
    }
    if (cpu->mode & MODE_LMA) {
        if (val >> cpu->phys_bits) {
            gp(cpu);
        }
    } else {
        val = (uint32_t)val;
        if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE)) {
            load_pdptes(cpu, val);
        }
    }
    cpu->cr3 = val;
    tlb_switch(cpu, keep);
}

static uint64_t cr4_known(const CpuState *cpu)
{
    static const struct {
        uint32_t bits;
        uint16_t feature;
    } rows[] = {
        { CR4_VME | CR4_PVI, FEATURE_VME },
        { CR4_TSD, FEATURE_TSC },
        { CR4_DE, FEATURE_DE },
        { CR4_PSE, FEATURE_PSE },
        { CR4_PAE, FEATURE_PAE },
        { CR4_MCE, FEATURE_MCE },
        { CR4_PGE, FEATURE_PGE },
        { CR4_PCE, FEATURE_MMX },
        { CR4_OSFXSR, FEATURE_FXSR },
        { CR4_OSXMMEXCPT, FEATURE_SSE },
        { CR4_UMIP, FEATURE_UMIP },
        { CR4_FSGSBASE, FEATURE_FSGSBASE },
        { CR4_PCIDE, FEATURE_PCID },
        { CR4_OSXSAVE, FEATURE_XSAVE },
        { CR4_SMEP, FEATURE_SMEP },
        { CR4_SMAP, FEATURE_SMAP },
    };
    uint64_t known = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        known |= has(cpu, rows[i].feature) ? rows[i].bits : 0;
    }
    return known;
}

static void write_cr4(CpuState *cpu, uint64_t val)
{
    uint64_t changed = val ^ cpu->cr4;
    bool long_mode = cpu->mode & MODE_LMA;
    if ((val & ~cr4_known(cpu)) || (long_mode && !(val & CR4_PAE))) {
        gp(cpu);
    }
    if ((changed & val & CR4_PCIDE) && (!long_mode || (cpu->cr3 & 0xfff))) {
        gp(cpu);
    }
    if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && (val & CR4_PAE) &&
        (cpu->cr0 & CR0_PG) && !long_mode) {
        load_pdptes(cpu, cpu->cr3);
    }
    cpu->cr4 = val;
    if (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)) {
        tlb_flush(cpu);
    }
    cpu_update_mode(cpu);
}

static uint64_t read_cr(CpuState *cpu, unsigned n)
{
    switch (n) {
    case 0: return cpu->cr0;
    case 2: return cpu->cr2;
    case 3: return cpu->cr3;
    case 4: return cpu->cr4;
    case 8: return cpu->apic_ops ? cpu->apic_ops->get_cr8(cpu->apic) : 0;
    default: cpu_raise_plain(cpu, EXC_UD);
    }
}

static void write_cr(CpuState *cpu, unsigned n, uint64_t val)
{
    switch (n) {
    case 0: write_cr0(cpu, val); break;
    case 2: cpu->cr2 = val; break;
    case 3: write_cr3(cpu, val); break;
    case 4: write_cr4(cpu, val); break;
    case 8:
        if (val & ~15ull) {
            gp(cpu);
        }
        if (cpu->apic_ops) {
            cpu->apic_ops->set_cr8(cpu->apic, val);
        }
        break;
    default: cpu_raise_plain(cpu, EXC_UD);
    }
}

static bool cr_exists(const CpuState *cpu, unsigned n)
{
    return n == 0 || (n >= 2 && n <= 4) || (n == 8 && (cpu->mode & MODE_CS64));
}

void exec_MOVCR(CpuState *cpu, const Insn *in)
{
    bool write = in->opd[0].kind == OPD_CR;
    unsigned n = in->opd[write ? 0 : 1].reg;
    if (!cr_exists(cpu, n)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    need_cpl0(cpu);
    if (write) {
        write_cr(cpu, n, exec_get(cpu, in, 1));
    } else {
        exec_put(cpu, in, 0, read_cr(cpu, n));
    }
}

/* Loads bits 3:0; PE can be set this way but not cleared (SDM 2A LMSW). */
void exec_LMSW(CpuState *cpu, const Insn *in)
{
    need_cpl0(cpu);
    uint64_t val = exec_get(cpu, in, 0) & 0xf;
    write_cr0(cpu, (cpu->cr0 & ~(uint64_t)(CR0_MP | CR0_EM | CR0_TS)) | val);
}

void exec_SMSW(CpuState *cpu, const Insn *in)
{
    if ((cpu->cr4 & CR4_UMIP) && cpu_cpl(cpu) != 0) {
        gp(cpu);
    }
    exec_put(cpu, in, 0, cpu->cr0);
}

void exec_CLTS(CpuState *cpu, const Insn *in)
{
    (void)in;
    need_cpl0(cpu);
    cpu->cr0 &= ~(uint64_t)CR0_TS;
    cpu_update_mode(cpu);
}
