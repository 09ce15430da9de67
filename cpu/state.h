/* SPDX-License-Identifier: GPL-2.0-or-later
 * The one description of an x86 CPU (SDM volumes 1 and 3A, APM volume 2), whatever engine runs
 * it. An engine may keep parts elsewhere while it runs; store_state brings them back here.
 *
 * A CpuState belongs to its vCPU's thread. Others only set bits in request (cpu_request) or queue
 * work with vcpu_run_on.
 */
#ifndef CPU_STATE_H
#define CPU_STATE_H

#include <setjmp.h>

#include "cpu/model.h"
#include "hw/core/state.h"

struct Machine;
struct Tlb;
typedef struct CpuState CpuState;

enum { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
       REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, NR_SEGS };

/* A segment register and its hidden part. attr is the descriptor's access byte and flags where
 * the VMCS has them: 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G, 16 unusable. */
typedef struct Segment {
    uint16_t sel;
    uint32_t attr;
    uint32_t limit; /* in bytes, G applied */
    uint64_t base;
} Segment;
enum {
    SEG_TYPE = 0x000f, SEG_ACCESSED = 0x0001, SEG_RW = 0x0002 /* data: writable; code: readable */,
    SEG_EXPAND_DOWN = 0x0004 /* data */, SEG_CONFORMING = 0x0004 /* code */, SEG_CODE = 0x0008,
    SEG_S = 0x0010, SEG_DPL_SHIFT = 5, SEG_DPL = 0x0060, SEG_P = 0x0080, SEG_AVL = 0x1000,
    SEG_L = 0x2000, SEG_DB = 0x4000, SEG_G = 0x8000, SEG_UNUSABLE = 0x10000,
};

typedef struct TableReg {
    uint64_t base;
    uint32_t limit;
} TableReg;

enum {
    FLAG_CF = 0x1, FLAG_PF = 0x4, FLAG_AF = 0x10, FLAG_ZF = 0x40, FLAG_SF = 0x80, FLAG_TF = 0x100,
    FLAG_IF = 0x200, FLAG_DF = 0x400, FLAG_OF = 0x800, FLAG_IOPL = 0x3000, FLAG_NT = 0x4000,
    FLAG_RF = 0x10000, FLAG_VM = 0x20000, FLAG_AC = 0x40000, FLAG_VIF = 0x80000,
    FLAG_VIP = 0x100000, FLAG_ID = 0x200000,
    FLAG_ARITH = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF,
};

/* The six arithmetic flags live apart, in the form LAHF and SETO leave in AX: 0 OF, 8 CF, 10 PF,
 * 12 AF, 14 ZF, 15 SF. Other bits of cc are noise. */
enum { CC_OF = 1 << 0, CC_CF = 1 << 8, CC_PF = 1 << 10, CC_AF = 1 << 12, CC_ZF = 1 << 14,
       CC_SF = 1 << 15, CC_MASK = CC_OF | CC_CF | CC_PF | CC_AF | CC_ZF | CC_SF };

enum {
    CR0_PE = 1u << 0, CR0_MP = 1u << 1, CR0_EM = 1u << 2, CR0_TS = 1u << 3, CR0_ET = 1u << 4,
    CR0_NE = 1u << 5, CR0_WP = 1u << 16, CR0_AM = 1u << 18, CR0_NW = 1u << 29, CR0_CD = 1u << 30,
    CR0_PG = 1u << 31,
    CR4_VME = 1u << 0, CR4_PVI = 1u << 1, CR4_TSD = 1u << 2, CR4_DE = 1u << 3, CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5, CR4_MCE = 1u << 6, CR4_PGE = 1u << 7, CR4_PCE = 1u << 8,
    CR4_OSFXSR = 1u << 9, CR4_OSXMMEXCPT = 1u << 10, CR4_UMIP = 1u << 11, CR4_LA57 = 1u << 12,
    CR4_VMXE = 1u << 13, CR4_SMXE = 1u << 14, CR4_FSGSBASE = 1u << 16, CR4_PCIDE = 1u << 17,
    CR4_OSXSAVE = 1u << 18, CR4_SMEP = 1u << 20, CR4_SMAP = 1u << 21, CR4_PKE = 1u << 22,
    EFER_SCE = 1u << 0, EFER_LME = 1u << 8, EFER_LMA = 1u << 10, EFER_NXE = 1u << 11,
    EFER_FFXSR = 1u << 14,
};

enum { EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF, EXC_CSO, EXC_TS,
       EXC_NP, EXC_SS, EXC_GP, EXC_PF, EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM,
       EXC_NONE = -1 /* cpu_restart */ };

/* What devices, other CPUs and the run state ask of a vCPU; bits of CpuState.request. */
enum {
    CPU_REQ_INTR = 1 << 0,   /* level: the PIC's or LAPIC's INTR output is asserted */
    CPU_REQ_NMI = 1 << 1,
    CPU_REQ_SMI = 1 << 2,
    CPU_REQ_INIT = 1 << 3,
    CPU_REQ_SIPI = 1 << 4,   /* vector in sipi_vector */
    CPU_REQ_MCE = 1 << 5,
    CPU_REQ_RUN_ON = 1 << 6, /* queued work (vcpu_run_on) */
    CPU_REQ_STOP = 1 << 7,   /* leave the engine: stop, reset, engine switch, quit */
    CPU_REQ_KICK = 1 << 9,   /* another CPU's hypercall: ends HLT, this or the next (cpu/kvm_pv.h) */
    CPU_REQ_RECHECK = 1 << 8, /* the engine itself: state changed, look again before going on */
};

/* Activity state (SDM 3C 24.4.2) */
typedef enum CpuActivity { CPU_ACTIVE, CPU_HALTED, CPU_SHUTDOWN, CPU_WAIT_SIPI } CpuActivity;

/* An event in the middle of its delivery when the CPU changed engines: comes before any instruction.
 * Software interrupts are none: their INT is executed again. */
typedef enum CpuEvent { CPU_EVENT_NONE, CPU_EVENT_EXCEPTION, CPU_EVENT_INTERRUPT, CPU_EVENT_NMI } CpuEvent;

typedef union VecReg {
    uint8_t u8[32];
    uint16_t u16[16];
    uint32_t u32[8];
    uint64_t u64[4];
    float f32[8];
    double f64[4];
} __attribute__((aligned(32))) VecReg;

/* x87 and MMX. st[] are physical registers R0-R7 in the x87's 80-bit memory format; MMX MMn is
 * the first 8 bytes of st[n]. TOP lives in fsw bits 13:11. */
typedef struct FpuState {
    uint8_t st[8][16];
    uint16_t fcw, fsw;
    uint8_t tag; /* abridged as in FXSAVE: bit n: Rn is not empty */
    uint16_t fop, fcs, fds;
    uint64_t fip, fdp;
} FpuState;

enum { NR_MTRR_VAR = 8 };
typedef struct MtrrState {
    uint64_t def_type, fixed[11], base[NR_MTRR_VAR], mask[NR_MTRR_VAR];
} MtrrState;

/* How the current mode decodes and checks: part of every block's key. cpu_update_mode()
 * recomputes it after anything below changed. */
enum {
    MODE_CS32 = 1 << 0,   /* default operand/address size 32 */
    MODE_CS64 = 1 << 1,   /* 64-bit code */
    MODE_SS32 = 1 << 2,   /* stack pointer is ESP (RSP in 64-bit code) */
    MODE_PE = 1 << 3,     /* protected mode and not V86 */
    MODE_VM = 1 << 4,     /* virtual-8086 */
    MODE_LMA = 1 << 5,
    MODE_CPL = 3 << 6,    /* CPL_SHIFT */
    MODE_FLAT = 1 << 8,   /* CS, DS, ES, SS: base 0, limit 4 GiB, read/write: no checks needed */
    MODE_TF = 1 << 9,     /* single step: one instruction a block */
    MODE_FPU_NM = 1 << 10, /* CR0.EM or TS: x87/MMX instructions fault */
    MODE_WAIT_NM = 1 << 11, /* WAIT faults: MP and TS */
    MODE_SSE_UD = 1 << 12, /* EM or !OSFXSR */
    MODE_SSE_NM = 1 << 13, /* TS */
    MODE_AVX_UD = 1 << 14, /* !OSXSAVE, or XCR0 lacks SSE|AVX, or not protected mode */
    MODE_DR = 1 << 15,    /* breakpoints armed in DR7 */
    MODE_PG = 1 << 16,
    MODE_MX_UNMASKED = 1 << 17, /* some SSE exception is unmasked in MXCSR */
    MODE_FPU_UNMASKED = 1 << 18, /* some x87 exception is unmasked in FCW: one may be pending */
    MODE_CPL_SHIFT = 6,
};

/* What CPUID says besides features. */
typedef struct CpuIdentity {
    char vendor[13]; /* 12 characters */
    char brand[49];
    uint32_t family, model, stepping; /* as displayed: extended parts added in */
    uint32_t level, xlevel; /* highest standard and extended leaf */
} CpuIdentity;

/* The interrupt controller at the CPU's pins. Called from the vCPU's thread; the implementation
 * takes vm_lock. */
typedef struct CpuApicOps {
    /* INTR acknowledge: the vector, or -1 if nothing is pending any more (spurious). */
    int (*ack)(void *opaque);
    uint64_t (*get_cr8)(void *opaque);
    void (*set_cr8)(void *opaque, uint64_t tpr);
    uint64_t (*get_base)(void *opaque); /* IA32_APIC_BASE */
    bool (*set_base)(void *opaque, uint64_t val); /* false: #GP */
    /* x2APIC registers, MSR 0x800 + reg, and IA32_TSC_DEADLINE; false: #GP */
    bool (*read_msr)(void *opaque, uint32_t msr, uint64_t *val);
    bool (*write_msr)(void *opaque, uint32_t msr, uint64_t val);
    void (*inject)(void *opaque, uint8_t vector); /* as an edge-triggered message to this CPU */
} CpuApicOps;

/* One page each, in front of a Tlb: generated code looks here first, at a place fixed for each
 * memory operand. A tag is a linear page, or SLOT_NONE; host = addend + lin. The first half serves
 * CPL 0 to 2, the second CPL 3. */
enum { NR_SLOTS = 64 };
#define SLOT_NONE (1ull << 63) /* no canonical address is there, nor does an addend lead to one */
typedef struct TlbSlots {
    uint64_t tag[NR_SLOTS], addend[NR_SLOTS];
} TlbSlots;

/* Several pages each that the Tlb of CPL 0 to 2 has with the same addend: accel/jit/span.c. limit: its
 * bytes less 8; share_limit: less SHARE_MAX_SPAN. first may be SLOT_NONE. */
enum { NR_SPANS = 16, SHARE_MAX_SPAN = 512 };
typedef struct TlbSpans {
    uint64_t first[NR_SPANS], limit[NR_SPANS], share_limit[NR_SPANS], addend[NR_SPANS];
} TlbSpans;

/* The MSRs of KVM's paravirtual interface, where a guest has it: cpu/kvm_pv.h. */
typedef struct KvmPv {
    uint64_t system_time, wall_clock, async_pf, async_pf_int, steal_time, pv_eoi, poll_control;
    uint64_t clock_ns; /* kvmclock while guest time stands */
    bool unhalted;     /* was kicked: the next HLT does not wait */
    bool foreign;      /* another engine had its memory in hand: kvm_pv_take_over */
} KvmPv;

enum { JIT_NR_WORDS = 48 };

struct CpuState {
    /* ---- what every instruction touches: offsets below 256 ---- */
    uint64_t gpr[16];
    uint64_t zero;    /* always 0: absent base or index */
    uint64_t ea;      /* engines: a computed linear address */
    uint64_t scratch[2];
    uint64_t rip;
    uint16_t cc;      /* arithmetic flags, see CC_ */
    uint32_t eflags;  /* all other flags; bit 1 and the arithmetic bits are kept 0 here */
    uint32_t mode;    /* MODE_ */
    uint32_t request; /* atomic: CPU_REQ_ */
    uint32_t guest_code; /* atomic: 1 while guest code runs that may hold host addresses */
    uint32_t epoch;   /* atomic: grows when RECHECK was heard; see cpu/tlb.h */
    struct Tlb *tlb;  /* software engines: the translation cache for data now (by CPL, AC) */
    struct Machine *machine;
    /* ---- the translator's, addressed relative to CpuState by generated code ---- */
    uint64_t jump_tag; /* atomic: what an entry of the jump cache must bear to be followed; 0 after a
                          request, so that no lookup succeeds before the engine has looked */
    struct JitCpu *jit; /* NULL: no translator */
    uint64_t jit_word[JIT_NR_WORDS];
    TlbSlots read_slots, write_slots;
    TlbSpans read_spans, write_spans;
    struct Tlb *slots_tlb[2]; /* what they were filled from */
    struct Window *window; /* NULL: none; cpu/window.h */
    struct CheckedWindow *checked_window; /* the same; cpu/window_checked.h */

    Segment seg[NR_SEGS], ldtr, tr;
    TableReg gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, efer;
    uint64_t pdpte[4]; /* PAE paging outside long mode: loaded with CR3 (paging_load_pdptes) */
    uint64_t dr[8]; /* 4, 5 unused */
    uint64_t xcr0;

    VecReg ymm[16];
    FpuState fpu;
    uint32_t mxcsr;
    bool mxcsr_live; /* the host's MXCSR has its other bits: cpu/simd_host.h */

    /* MSRs; LAPIC's own are the LAPIC's */
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, spec_ctrl, debugctl, feature_control, xss, smbase;
    uint64_t mcg_status, mcg_ctl, mc_bank[4 * 10];
    uint64_t tsc_offset; /* added to guest time in TSC ticks */
    uint64_t tsc_adjust;
    uint64_t ucode_rev;
    MtrrState mtrr;
    KvmPv kvm;

    /* between instructions */
    CpuActivity activity;
    uint8_t shadow;      /* interrupt shadow: 1 after STI, 2 after MOV SS / POP SS */
    bool nmi_blocked;
    bool in_smm;
    bool a20_masked_unused; /* A20 is the board's: an address-space matter */
    uint64_t pending_db; /* DR6 bits of a #DB due at the next instruction boundary */
    CpuEvent event;
    uint8_t event_vector;
    bool event_has_error;
    uint32_t event_error;
    uint8_t sipi_vector;
    uint64_t monitor_gpa; /* armed MONITOR range; UINT64_MAX: none */

    /* exception in delivery, for double faults */
    int delivering; /* vector, -1: none */
    uint64_t insn_rip;   /* RIP of the instruction being executed, valid in exec_ functions */
    jmp_buf *unwind;     /* where cpu_raise goes: the engine's loop */
    int exc_vector;      /* what was raised: vector, error code, kind */
    uint32_t exc_error;
    bool exc_has_error, exc_soft; /* soft: INT n, INT3, INTO: rip is after the instruction */

    /* identity */
    unsigned index;      /* 0.. */
    uint32_t apic_id;
    const CpuModel *model;
    CpuFeatures features; /* model +x -y, what CPUID shows */
    uint32_t phys_bits;
    CpuIdentity id; /* vendor, signature, brand: from the model and -cpu's properties */
    uint32_t tsc_khz;
    uint32_t resets;     /* power-up resets: engines drop what they keep of the old life */
    const CpuApicOps *apic_ops; /* NULL: no LAPIC on this CPU */
    void *apic;
    int (*pic_ack)(void *opaque); /* boards without LAPIC, or LAPIC disabled: the 8259 */
    void *pic_opaque;
    void (*ferr)(void *opaque, bool level); /* FERR#: x87 errors with CR0.NE = 0 (IRQ 13) */
    void *ferr_opaque;
    bool ignne; /* IGNNE#: the board holds it from its answer to FERR# until FERR# falls */
    struct Mmu *mmu;     /* software engines: cpu/tlb.h */
    void *engine_data;   /* the running engine's own */
    struct Vcpu *vcpu;
};

/* Everything a snapshot holds of a CPU. */
extern const StateField cpu_state_table[];

void cpu_init(CpuState *cpu, struct Machine *m, unsigned index);
/* Power-up or INIT values (SDM 3A table 10-1). BSP: active at FFFFFFF0; others wait for SIPI. */
void cpu_reset(CpuState *cpu, bool init);
void cpu_update_mode(CpuState *cpu);

static inline unsigned cpu_cpl(const CpuState *cpu)
{
    return (cpu->mode & MODE_CPL) >> MODE_CPL_SHIFT;
}

/* The linear address of the instruction at CS:RIP. */
static inline uint64_t cpu_code_lin(const CpuState *cpu)
{
    return cpu->mode & MODE_CS64 ? cpu->rip : (uint32_t)(cpu->seg[SEG_CS].base + cpu->rip);
}

/* Arithmetic flags between cc and RFLAGS form. */
static inline uint32_t cc_to_flags(uint16_t cc)
{
    return ((cc >> 8) & 0xd5) | (uint32_t)(cc & 1) << 11;
}
static inline uint16_t flags_to_cc(uint32_t flags)
{
    return (uint16_t)((flags & 0xd5) << 8 | ((flags >> 11) & 1));
}
static inline uint64_t cpu_rflags(const CpuState *cpu)
{
    return cpu->eflags | 2 | cc_to_flags(cpu->cc);
}
/* Replaces the flags in mask; updates mode if TF, VM or AC changed. */
void cpu_set_rflags(CpuState *cpu, uint64_t val, uint64_t mask);

/* From any thread: sets request bits and wakes or kicks the vCPU. cpu_clear_request: level pins. */
void cpu_request(CpuState *cpu, uint32_t bits);
void cpu_clear_request(CpuState *cpu, uint32_t bits);
/* Is something asked of the CPU? In its own thread, as often as it likes; the order to other memory
 * is that of whoever then looks closer. */
static inline uint32_t cpu_requests(const CpuState *cpu)
{
    return __atomic_load_n(&cpu->request, __ATOMIC_RELAXED);
}
/* Those of them that can be done now: a masked interrupt waits without holding code up. */
static inline uint32_t cpu_unmasked(const CpuState *cpu, uint32_t requests)
{
    requests &= cpu->eflags & FLAG_IF ? ~0u : ~(uint32_t)CPU_REQ_INTR;
    return requests & (cpu->nmi_blocked ? ~(uint32_t)CPU_REQ_NMI : ~0u);
}
static inline uint32_t cpu_requests_now(const CpuState *cpu)
{
    return cpu_unmasked(cpu, cpu_requests(cpu));
}

/* The TSC counts guest time at tsc_khz, or with the host's TSC (cpu/tsc.h); it stops with the VM. */
uint64_t cpu_tsc(const CpuState *cpu); /* what RDTSC reads */
/* Guest clock (TIMER_GUEST, ns) at which the TSC reads tsc or more: for TSC deadlines. */
uint64_t cpu_tsc_to_guest_ns(const CpuState *cpu, uint64_t tsc);

#endif
