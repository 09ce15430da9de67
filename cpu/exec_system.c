/* SPDX-License-Identifier: GPL-2.0-or-later
 * System instructions that touch one register or one cache: MSRs, time stamps, CPUID, TLB
 * and cache control, MONITOR and MWAIT, SMAP's flag, random numbers, prefetch hints and
 * fences.
 *
 * Left out: system management mode (RSM is an invalid opcode), performance counters (every
 * RDPMC index is invalid). There are no caches to flush; CLFLUSH and its like only check
 * the address.
 */
#include <sched.h>
#include <sys/random.h>

#include "cpu/exception.h"
#include "cpu/exec.h"
#include "cpu/kvm_pv.h"
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

static uint32_t ecx(const CpuState *cpu)
{
    return (uint32_t)cpu->gpr[REG_RCX];
}

static void set_edx_eax(CpuState *cpu, uint64_t val)
{
    cpu->gpr[REG_RAX] = (uint32_t)val;
    cpu->gpr[REG_RDX] = val >> 32;
}

void exec_RDMSR(CpuState *cpu, const Insn *in)
{
    (void)in;
    uint64_t val;
    need_cpl0(cpu);
    if (!cpu_rdmsr(cpu, ecx(cpu), &val)) {
        gp(cpu);
    }
    set_edx_eax(cpu, val);
}

void exec_WRMSR(CpuState *cpu, const Insn *in)
{
    (void)in;
    need_cpl0(cpu);
    uint64_t val = cpu->gpr[REG_RDX] << 32 | (uint32_t)cpu->gpr[REG_RAX];
    if (!cpu_wrmsr(cpu, ecx(cpu), val)) {
        gp(cpu);
    }
}

static void read_tsc(CpuState *cpu)
{
    if ((cpu->cr4 & CR4_TSD) && cpu_cpl(cpu) != 0) {
        gp(cpu);
    }
    set_edx_eax(cpu, cpu_tsc(cpu));
}

void exec_RDTSC(CpuState *cpu, const Insn *in)
{
    (void)in;
    read_tsc(cpu);
}

void exec_RDTSCP(CpuState *cpu, const Insn *in)
{
    (void)in;
    read_tsc(cpu);
    cpu->gpr[REG_RCX] = (uint32_t)cpu->tsc_aux;
}

void exec_RDPID(CpuState *cpu, const Insn *in)
{
    exec_put(cpu, in, 0, (uint32_t)cpu->tsc_aux);
}

void exec_RDPMC(CpuState *cpu, const Insn *in)
{
    (void)in;
    gp(cpu);
}

void exec_CPUID(CpuState *cpu, const Insn *in)
{
    (void)in;
    uint32_t out[4];
    cpu_cpuid(cpu, (uint32_t)cpu->gpr[REG_RAX], ecx(cpu), out);
    cpu->gpr[REG_RAX] = out[CPUID_EAX];
    cpu->gpr[REG_RBX] = out[CPUID_EBX];
    cpu->gpr[REG_RCX] = out[CPUID_ECX];
    cpu->gpr[REG_RDX] = out[CPUID_EDX];
}

/* ---- TLB and caches ---- */

/* seg:offset without any check: INVLPG never faults on its operand. */
static uint64_t unchecked_lin(const CpuState *cpu, const Insn *in)
{
    uint64_t ea = exec_ea(cpu, in);
    if (cpu->mode & MODE_CS64) {
        return in->seg == SEG_FS || in->seg == SEG_GS ? ea + cpu->seg[in->seg].base : ea;
    }
    return (uint32_t)(ea + cpu->seg[in->seg].base);
}

void exec_INVLPG(CpuState *cpu, const Insn *in)
{
    need_cpl0(cpu);
    tlb_flush_page(cpu, unchecked_lin(cpu, in));
}

/* SDM 2A INVPCID */
void exec_INVPCID(CpuState *cpu, const Insn *in)
{
    enum { ONE_ADDRESS, ONE_PCID, ALL_AND_GLOBAL, ALL };
    need_cpl0(cpu);
    uint64_t type = exec_get(cpu, in, 0), desc[2];
    uint64_t lin = seg_lin(cpu, in->seg, exec_ea(cpu, in), 16, false);
    lin_read(cpu, lin, desc, sizeof(desc), MEM_CPL);
    if (type > ALL || desc[0] >> 12) {
        gp(cpu);
    }
    if (type <= ONE_PCID && desc[0] && !(cpu->cr4 & CR4_PCIDE)) {
        gp(cpu);
    }
    if (type == ONE_ADDRESS && !lin_is_canonical(cpu, desc[1])) {
        gp(cpu);
    }
    switch (type) {
    case ONE_ADDRESS: tlb_flush_page_of(cpu, (unsigned)desc[0], desc[1]); break;
    case ONE_PCID: tlb_flush_pcid(cpu, (unsigned)desc[0]); break;
    case ALL_AND_GLOBAL: tlb_flush(cpu); break;
    default: tlb_flush_local(cpu);
    }
}

void exec_INVD(CpuState *cpu, const Insn *in)
{
    (void)in;
    need_cpl0(cpu);
}

void exec_WBINVD(CpuState *cpu, const Insn *in)
{
    (void)in;
    need_cpl0(cpu);
}

/* Faults like a load of one byte. */
void exec_CLFLUSH(CpuState *cpu, const Insn *in)
{
    lin_probe(cpu, seg_lin(cpu, in->seg, exec_ea(cpu, in), 1, false), 1, false, MEM_CPL);
}

void exec_CLFLUSHOPT(CpuState *cpu, const Insn *in)
{
    exec_CLFLUSH(cpu, in);
}

void exec_CLWB(CpuState *cpu, const Insn *in)
{
    exec_CLFLUSH(cpu, in);
}

/* ---- MONITOR and MWAIT ---- */

static void need_monitor(CpuState *cpu)
{
    if (!(cpu->misc_enable >> 18 & 1)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    need_cpl0(cpu);
}

void exec_MONITOR(CpuState *cpu, const Insn *in)
{
    need_monitor(cpu);
    if (ecx(cpu) != 0) {
        gp(cpu); /* no extensions are defined */
    }
    uint64_t offset = cpu_reg(cpu, REG_RAX, in->adsize);
    uint64_t lin = seg_lin(cpu, in->seg, offset, 1, false);
    lin_probe(cpu, lin, 1, false, MEM_CPL);
    PageWalk walk;
    if (paging_walk(cpu, lin, 0, cpu_cpl(cpu) == 3, true, true, &walk)) {
        cpu->monitor_gpa = walk.gpa & ~63ull;
    }
}

/* MWAIT may end for any reason (SDM 2B MWAIT); here it gives up the host's processor once.
 * A guest only comes here if the user turned MONITOR on: idle loops should use HLT. */
void exec_MWAIT(CpuState *cpu, const Insn *in)
{
    (void)in;
    need_monitor(cpu);
    if (ecx(cpu) & ~1u) {
        gp(cpu);
    }
    cpu->monitor_gpa = UINT64_MAX;
    sched_yield();
}

/* ---- flags ---- */

static void set_ac(CpuState *cpu, bool on)
{
    if (cpu_cpl(cpu) != 0) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    cpu_set_rflags(cpu, on ? FLAG_AC : 0, FLAG_AC);
}

void exec_CLAC(CpuState *cpu, const Insn *in)
{
    (void)in;
    set_ac(cpu, false);
}

void exec_STAC(CpuState *cpu, const Insn *in)
{
    (void)in;
    set_ac(cpu, true);
}

void exec_RSM(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_raise_plain(cpu, EXC_UD);
}

void exec_VMCALL(CpuState *cpu, const Insn *in)
{
    (void)in;
    kvm_pv_hypercall(cpu);
}

void exec_VMMCALL(CpuState *cpu, const Insn *in)
{
    exec_VMCALL(cpu, in);
}

/* ---- random numbers: the host's kernel is the source of both ---- */

static void put_random(CpuState *cpu, const Insn *in)
{
    uint64_t val = 0;
    bool ok = getrandom(&val, sizeof(val), 0) == sizeof(val);
    exec_put(cpu, in, 0, ok ? val & (UINT64_MAX >> (64 - 8 * in->opd[0].size)) : 0);
    cpu->cc = ok ? CC_CF : 0; /* all other flags are cleared */
}

void exec_RDRAND(CpuState *cpu, const Insn *in)
{
    put_random(cpu, in);
}

void exec_RDSEED(CpuState *cpu, const Insn *in)
{
    put_random(cpu, in);
}

/* ---- hints and fences ---- */

/* Hints never fault. */
void exec_PREFETCH(CpuState *cpu, const Insn *in)
{
    (void)cpu;
    (void)in;
}

void exec_PREFETCHW(CpuState *cpu, const Insn *in)
{
    (void)cpu;
    (void)in;
}

void exec_PREFETCHNTA(CpuState *cpu, const Insn *in)
{
    (void)cpu;
    (void)in;
}

void exec_PREFETCHT0(CpuState *cpu, const Insn *in)
{
    (void)cpu;
    (void)in;
}

void exec_PREFETCHT1(CpuState *cpu, const Insn *in)
{
    (void)cpu;
    (void)in;
}

void exec_PREFETCHT2(CpuState *cpu, const Insn *in)
{
    (void)cpu;
    (void)in;
}

static void fence(CpuState *cpu, const Insn *in)
{
    (void)cpu;
    (void)in;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void exec_LFENCE(CpuState *cpu, const Insn *in)
{
    fence(cpu, in);
}

void exec_SFENCE(CpuState *cpu, const Insn *in)
{
    fence(cpu, in);
}

void exec_MFENCE(CpuState *cpu, const Insn *in)
{
    fence(cpu, in);
}
