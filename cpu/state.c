/* SPDX-License-Identifier: GPL-2.0-or-later
 * The CPU's life: power-up, INIT, and the mode word that is derived from everything else
 * (SDM 3A chapter 10 "Processor management and initialization", table 10-1). The state
 * table at the end is what snapshots hold. What -cpu chose (model, features, identity) is
 * no state: it stays over resets and must be the same where a snapshot is loaded.
 */
#include "cpu/state.h"

#include <string.h>

#include "cpu/log.h"
#include "cpu/mem.h"
#include "cpu/x87.h"
#include "hw/core/machine.h"
#include "util/log.h"

enum { TSC_KHZ_DEFAULT = 1000000 }; /* one tick a nanosecond of guest time */

void cpu_init(CpuState *cpu, Machine *m, unsigned index)
{
    memset(cpu, 0, sizeof(*cpu));
    cpu->machine = m;
    cpu->index = index;
    CpuTopology topology;
    cpu_topology(m, &topology);
    cpu->apic_id = cpu_topology_apic_id(&topology, index);
    cpu->phys_bits = 40;
    cpu->tsc_khz = m && m->tsc.khz ? m->tsc.khz : TSC_KHZ_DEFAULT;
    cpu->delivering = -1;
    cpu->monitor_gpa = UINT64_MAX;
}

static void reset_segments(CpuState *cpu)
{
    for (int i = 0; i < NR_SEGS; i++) {
        cpu->seg[i] = (Segment) { .attr = 0x93, .limit = 0xffff };
    }
    cpu->seg[SEG_CS] =
        (Segment) { .sel = 0xf000, .base = 0xffff0000, .attr = 0x9b, .limit = 0xffff };
    cpu->ldtr = (Segment) { .attr = 0x82, .limit = 0xffff };
    cpu->tr = (Segment) { .attr = 0x8b, .limit = 0xffff };
    cpu->gdtr = cpu->idtr = (TableReg) { .base = 0, .limit = 0xffff };
}

/* What INIT leaves alone. */
static void reset_power_up(CpuState *cpu)
{
    memset(&cpu->fpu, 0, sizeof(cpu->fpu));
    cpu->sipi_vector = 0; /* INIT keeps it: the SIPI may have come right behind */
    cpu->fpu.fcw = 0x40;
    cpu->ignne = false;
    cpu->fpu.tag = 0xff; /* FTW 5555h: all registers hold +0.0 */
    memset(cpu->ymm, 0, sizeof(cpu->ymm));
    cpu->mxcsr = 0x1f80;
    cpu->xcr0 = 1;
    cpu->xss = 0;

    cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = cpu->kernel_gs_base = 0;
    cpu->tsc_aux = 0;
    cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
    cpu->pat = 0x0007040600070406;
    /* fast strings on; BTS and PEBS are not there */
    cpu->misc_enable = 1 << 0 | 1 << 11 | 1 << 12;
    if (feature_has(&cpu->features, FEATURE_MONITOR)) {
        cpu->misc_enable |= 1 << 18;
    }
    cpu->spec_ctrl = cpu->feature_control = 0;
    cpu->smbase = 0x30000;
    cpu->mcg_status = 0;
    cpu->mcg_ctl = UINT64_MAX;
    memset(cpu->mc_bank, 0, sizeof(cpu->mc_bank));
    for (size_t i = 0; i < ARRAY_SIZE(cpu->mc_bank); i += 4) {
        cpu->mc_bank[i] = UINT64_MAX; /* MCi_CTL */
    }
    memset(&cpu->mtrr, 0, sizeof(cpu->mtrr));
    /* Guest time itself starts at 0. Every CPU has the same offset, or guests find their
     * TSCs out of step. */
    cpu->tsc_offset = cpu->tsc_adjust = 0;
    cpu->ucode_rev = 1ull << 32; /* MSR_BIOS_SIGN_ID: revision 1 */
    cpu->kvm = (KvmPv) { .poll_control = 1, .clock_ns = cpu->kvm.clock_ns };
    cpu->in_smm = false;
    cpu->cr0 = CR0_CD | CR0_NW;
    cpu->resets++;
}

void cpu_reset(CpuState *cpu, bool init)
{
    if (log_on(LOG_RESET)) {
        cpu_log_registers(cpu, init ? "before INIT" : "before reset");
    }
    if (!init) {
        reset_power_up(cpu);
    }
    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    if (cpu->model) {
        uint32_t leaf1[4];
        cpu_cpuid(cpu, 1, 0, leaf1);
        cpu->gpr[REG_RDX] = leaf1[CPUID_EAX];
    }
    cpu->rip = 0xfff0;
    cpu->eflags = 0;
    cpu->cc = 0;
    reset_segments(cpu);
    /* INIT keeps the cache bits as they are */
    cpu->cr0 = (cpu->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
    memset(cpu->pdpte, 0, sizeof(cpu->pdpte));
    memset(cpu->dr, 0, sizeof(cpu->dr));
    cpu->dr[6] = 0xffff0ff0;
    cpu->dr[7] = 0x400;
    cpu->debugctl = 0;

    cpu->activity = cpu->index == 0 ? CPU_ACTIVE : CPU_WAIT_SIPI;
    cpu->shadow = 0;
    cpu->nmi_blocked = false;
    cpu->pending_db = 0;
    cpu->event = CPU_EVENT_NONE;
    cpu->monitor_gpa = UINT64_MAX;
    cpu->delivering = -1;
    uint32_t gone = CPU_REQ_NMI | CPU_REQ_SMI | CPU_REQ_INIT | CPU_REQ_SIPI | CPU_REQ_MCE |
                    CPU_REQ_KICK;
    __atomic_and_fetch(&cpu->request, ~(init ? (uint32_t)CPU_REQ_INIT : gone),
                       __ATOMIC_SEQ_CST);
    cpu_update_mode(cpu);
    tlb_flush(cpu);
}

/* ES, CS, SS and DS need neither base nor checks: the usual 32-bit system. */
static bool segments_are_flat(const CpuState *cpu)
{
    const Segment *s = cpu->seg;
    const uint32_t need = SEG_P | SEG_S | SEG_RW, data = need | SEG_CODE | SEG_EXPAND_DOWN;
    return (s[SEG_ES].base | s[SEG_CS].base | s[SEG_SS].base | s[SEG_DS].base) == 0 &&
           (s[SEG_ES].limit & s[SEG_CS].limit & s[SEG_SS].limit & s[SEG_DS].limit) ==
               UINT32_MAX &&
           (s[SEG_CS].attr & (need | SEG_CODE | SEG_UNUSABLE)) == (need | SEG_CODE) &&
           (s[SEG_SS].attr & (data | SEG_UNUSABLE)) == need &&
           (s[SEG_DS].attr & (data | SEG_UNUSABLE)) == need &&
           (s[SEG_ES].attr & (data | SEG_UNUSABLE)) == need;
}

/* The privilege level is SS.DPL, as the VMCS has it: right also between MOV CR0 and the far
 * jump of a switch to protected mode, when CS still holds a real-mode selector. */
static uint32_t mode_of_segments(const CpuState *cpu)
{
    uint32_t cs = cpu->seg[SEG_CS].attr, ss = cpu->seg[SEG_SS].attr;
    uint32_t mode = 0;
    if (cpu->cr0 & CR0_PE) {
        if (cpu->eflags & FLAG_VM) {
            return MODE_VM | MODE_CPL | (cpu->efer & EFER_LMA ? MODE_LMA : 0);
        }
        mode = MODE_PE | (ss & SEG_DPL) << (MODE_CPL_SHIFT - SEG_DPL_SHIFT);
        if (cpu->efer & EFER_LMA) {
            mode |= MODE_LMA;
            if (cs & SEG_L) {
                /* Segments play no part: the same word whatever they hold, so that code is
                 * decoded once. */
                return mode | MODE_CS64 | MODE_FLAT;
            }
        }
        if (segments_are_flat(cpu)) {
            mode |= MODE_FLAT;
        }
    }
    if (cs & SEG_DB) {
        mode |= MODE_CS32;
    }
    if (ss & SEG_DB) {
        mode |= MODE_SS32;
    }
    return mode;
}

static uint32_t mode_of_fpu(const CpuState *cpu)
{
    uint64_t cr0 = cpu->cr0, cr4 = cpu->cr4;
    uint32_t mode = 0;
    if (cr0 & (CR0_EM | CR0_TS)) {
        mode |= MODE_FPU_NM;
    }
    if ((cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)) {
        mode |= MODE_WAIT_NM;
    }
    if ((cr0 & CR0_EM) || !(cr4 & CR4_OSFXSR)) {
        mode |= MODE_SSE_UD;
    }
    if (cr0 & CR0_TS) {
        mode |= MODE_SSE_NM;
    }
    if (!(cr4 & CR4_OSXSAVE) || (cpu->xcr0 & 6) != 6 || !(cr0 & CR0_PE) ||
        (cpu->eflags & FLAG_VM)) {
        mode |= MODE_AVX_UD;
    }
    if ((cpu->mxcsr & 0x1f80) != 0x1f80) {
        mode |= MODE_MX_UNMASKED;
    }
    if (x87_is_unmasked(&cpu->fpu)) {
        mode |= MODE_FPU_UNMASKED;
    }
    return mode;
}

void cpu_update_mode(CpuState *cpu)
{
    uint32_t mode = mode_of_segments(cpu) | mode_of_fpu(cpu);
    if (cpu->eflags & FLAG_TF) {
        mode |= MODE_TF;
    }
    if (cpu->dr[7] & 0xff) {
        mode |= MODE_DR;
    }
    if (cpu->cr0 & CR0_PG) {
        mode |= MODE_PG;
    }
    cpu->mode = mode;
    tlb_select(cpu);
}

void cpu_set_rflags(CpuState *cpu, uint64_t val, uint64_t mask)
{
    enum { KEPT_HERE = 0x3f7fd5 & ~FLAG_ARITH }; /* every flag there is, less the six */
    uint32_t m = mask & KEPT_HERE;
    uint32_t old = cpu->eflags;
    cpu->eflags = (old & ~m) | (val & m);
    if (mask & FLAG_ARITH) {
        uint16_t which = flags_to_cc(mask & FLAG_ARITH);
        cpu->cc = (cpu->cc & ~which) | (flags_to_cc(val) & which);
    }
    if (unlikely((old ^ cpu->eflags) & (FLAG_TF | FLAG_VM))) {
        cpu_update_mode(cpu);
    } else if ((old ^ cpu->eflags) & FLAG_AC) {
        tlb_select(cpu);
    }
}

static const StateField segment_fields[] = {
    STATE_U16(Segment, sel),
    STATE_U32(Segment, attr),
    STATE_U32(Segment, limit),
    STATE_U64(Segment, base),
    STATE_END,
};

static const StateField table_reg_fields[] = {
    STATE_U64(TableReg, base),
    STATE_U32(TableReg, limit, .max = 0xffff),
    STATE_END,
};

static const StateField vec_fields[] = {
    STATE_U64S(VecReg, u64),
    STATE_END,
};

static const StateField fpu_fields[] = {
    { .name = "st",
      .kind = STATE_KIND_U8,
      .offset = offsetof(FpuState, st),
      .count = sizeof(((FpuState *)0)->st) },
    STATE_U16(FpuState, fcw),
    STATE_U16(FpuState, fsw),
    STATE_U8(FpuState, tag),
    STATE_U16(FpuState, fop),
    STATE_U16(FpuState, fcs),
    STATE_U16(FpuState, fds),
    STATE_U64(FpuState, fip),
    STATE_U64(FpuState, fdp),
    STATE_END,
};

static const StateField mtrr_fields[] = {
    STATE_U64(MtrrState, def_type, .mask = 0xcff),
    STATE_U64S(MtrrState, fixed),
    STATE_U64S(MtrrState, base),
    STATE_U64S(MtrrState, mask),
    STATE_END,
};

static const StateField kvm_fields[] = {
    STATE_U64(KvmPv, system_time),
    STATE_U64(KvmPv, wall_clock),
    STATE_U64(KvmPv, async_pf),
    STATE_U64(KvmPv, async_pf_int, .mask = 0xff),
    STATE_U64(KvmPv, steal_time),
    STATE_U64(KvmPv, pv_eoi),
    STATE_U64(KvmPv, poll_control, .mask = 1),
    STATE_U64(KvmPv, clock_ns),
    STATE_BOOL(KvmPv, unhalted),
    STATE_BOOL(KvmPv, foreign),
    STATE_END,
};

/* Left out: mode (derived), scratch and exc_* (live only inside one instruction), identity.
 */
const StateField cpu_state_table[] = {
    STATE_U64S(CpuState, gpr),
    STATE_U64(CpuState, rip),
    STATE_U16(CpuState, cc),
    STATE_U32(CpuState, eflags),
    STATE_U32(CpuState, request), /* pending events; the engine's own bits do no harm */
    STATE_STRUCT(CpuState, seg, Segment, segment_fields),
    STATE_STRUCT(CpuState, ldtr, Segment, segment_fields),
    STATE_STRUCT(CpuState, tr, Segment, segment_fields),
    STATE_STRUCT(CpuState, gdtr, TableReg, table_reg_fields),
    STATE_STRUCT(CpuState, idtr, TableReg, table_reg_fields),
    STATE_U64(CpuState, cr0, .mask = UINT32_MAX),
    STATE_U64(CpuState, cr2),
    STATE_U64(CpuState, cr3),
    STATE_U64(CpuState, cr4, .mask = UINT32_MAX),
    STATE_U64(CpuState, efer),
    STATE_U64S(CpuState, pdpte),
    STATE_U64S(CpuState, dr),
    STATE_U64(CpuState, xcr0),
    STATE_STRUCT(CpuState, ymm, VecReg, vec_fields),
    STATE_STRUCT(CpuState, fpu, FpuState, fpu_fields),
    STATE_U32(CpuState, mxcsr, .mask = 0xffff),
    STATE_U64(CpuState, star),
    STATE_U64(CpuState, lstar),
    STATE_U64(CpuState, cstar),
    STATE_U64(CpuState, sfmask),
    STATE_U64(CpuState, kernel_gs_base),
    STATE_U64(CpuState, tsc_aux),
    STATE_U64(CpuState, sysenter_cs),
    STATE_U64(CpuState, sysenter_esp),
    STATE_U64(CpuState, sysenter_eip),
    STATE_U64(CpuState, pat),
    STATE_U64(CpuState, misc_enable),
    STATE_U64(CpuState, spec_ctrl),
    STATE_U64(CpuState, debugctl),
    STATE_U64(CpuState, feature_control),
    STATE_U64(CpuState, xss),
    STATE_U64(CpuState, smbase),
    STATE_U64(CpuState, mcg_status),
    STATE_U64(CpuState, mcg_ctl),
    STATE_U64S(CpuState, mc_bank),
    STATE_U64(CpuState, tsc_offset),
    STATE_U64(CpuState, tsc_adjust),
    STATE_U64(CpuState, ucode_rev),
    STATE_STRUCT(CpuState, mtrr, MtrrState, mtrr_fields),
    STATE_STRUCT(CpuState, kvm, KvmPv, kvm_fields),
    STATE_FIELD(STATE_KIND_U32, CpuState, activity, CpuActivity, .max = CPU_WAIT_SIPI),
    STATE_U8(CpuState, shadow, .max = 2),
    STATE_BOOL(CpuState, nmi_blocked),
    STATE_BOOL(CpuState, ignne),
    STATE_BOOL(CpuState, in_smm),
    STATE_U64(CpuState, pending_db),
    STATE_FIELD(STATE_KIND_U32, CpuState, event, CpuEvent, .max = CPU_EVENT_NMI),
    STATE_U8(CpuState, event_vector),
    STATE_BOOL(CpuState, event_has_error),
    STATE_U32(CpuState, event_error),
    STATE_U8(CpuState, sipi_vector),
    STATE_U64(CpuState, monitor_gpa),
    STATE_I32(CpuState, delivering),
    STATE_END,
};
