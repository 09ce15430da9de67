/* SPDX-License-Identifier: GPL-2.0-or-later
 * The host's side. An INT3 in native_run enters the signal handler, which replaces the
 * interrupted context by the test's registers and vector state; returning from it starts
 * the instruction. Whatever comes next (the INT3 behind it, or a fault) enters the handler
 * again, which takes the results out of the signal frame and restores the first context.
 */
/* With _GNU_SOURCE the system's headers have their own REG_RAX. */
#undef _GNU_SOURCE
#define _DEFAULT_SOURCE

#include "oracle.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <unistd.h>

/* Places in the signal frame's gregs (the kernel's struct sigcontext). */
enum {
    F_R8 = 0,
    F_RDI = 8,
    F_RSI,
    F_RBP,
    F_RBX,
    F_RDX,
    F_RAX,
    F_RCX,
    F_RSP,
    F_RIP,
    F_FLAGS,
    F_SELECTORS,
    F_ERROR,
    F_TRAP,
    F_MASK,
    F_CR2
};
static const int greg_of[16] = { F_RAX, F_RCX, F_RDX, F_RBX, F_RSP, F_RBP, F_RSI, F_RDI,
                                 0,     1,     2,     3,     4,     5,     6,     7 };
/* and in its fpregs: XSAVE's standard format (SDM 1 13.4) */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_TAG = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    XS_BV = 512,
    XS_YMM = 576,
    FRAME_BYTES = 832
};
enum { XS_X87 = 1, XS_SSE = 2, XS_AVX = 4 };
enum { USER_FLAGS = FLAG_ARITH | FLAG_DF };

static enum { IDLE, ENTER, RUNNING } phase;
static const Mode *run_mode;
static const Case *run_case;
static Regs *run_out;
static greg_t host_gregs[F_CR2 + 1];
static uint8_t host_fp[FRAME_BYTES];

static void frame_load(ucontext_t *uc)
{
    const Regs *r = &run_case->before;
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    for (int i = 0; i < 16; i++) {
        g[greg_of[i]] = r->gpr[i];
    }
    g[F_RIP] = r->rip;
    g[F_FLAGS] = (g[F_FLAGS] & ~(greg_t)USER_FLAGS) | r->flags;
    uint16_t sel[4];
    memcpy(sel, &g[F_SELECTORS], 8);
    sel[0] = run_mode->cs;
    sel[3] = run_mode->ss;
    memcpy(&g[F_SELECTORS], sel, 8);

    memcpy(fp + FX_FCW, &r->fcw, 2);
    memcpy(fp + FX_FSW, &r->fsw, 2);
    fp[FX_TAG] = r->tag;
    memcpy(fp + FX_FOP, &r->fop, 2);
    memcpy(fp + FX_FIP, &r->fip, 8);
    memcpy(fp + FX_FDP, &r->fdp, 8);
    memcpy(fp + FX_MXCSR, &r->mxcsr, 4);
    for (int i = 0; i < 8; i++) {
        memset(fp + FX_ST + 16 * i, 0, 16);
        memcpy(fp + FX_ST + 16 * i, r->st[i], 10);
    }
    for (int i = 0; i < 16; i++) {
        memcpy(fp + FX_XMM + 16 * i, r->ymm[i].u8, 16);
        memcpy(fp + XS_YMM + 16 * i, r->ymm[i].u8 + 16, 16);
    }
    fp[XS_BV] |= XS_X87 | XS_SSE | XS_AVX;
}

static void frame_store(const ucontext_t *uc)
{
    Regs *r = run_out;
    const greg_t *g = uc->uc_mcontext.gregs;
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    for (int i = 0; i < 16; i++) {
        r->gpr[i] = g[greg_of[i]];
    }
    r->rip = g[F_RIP];
    r->flags = g[F_FLAGS] & USER_FLAGS;
    r->vector = g[F_TRAP];
    r->error = g[F_ERROR];
    r->cr2 = g[F_CR2];
    if (r->vector == EXC_BP) {
        r->vector = -1;
        r->rip--;
    }
    /* A part in its initial state is not written to the frame. */
    static const uint8_t zero[16];
    bool x87 = fp[XS_BV] & XS_X87, sse = fp[XS_BV] & XS_SSE, avx = fp[XS_BV] & XS_AVX;
    r->fcw = 0x37f;
    r->fsw = r->tag = r->fop = r->fip = r->fdp = 0;
    if (x87) {
        memcpy(&r->fcw, fp + FX_FCW, 2);
        memcpy(&r->fsw, fp + FX_FSW, 2);
        r->tag = fp[FX_TAG];
        memcpy(&r->fop, fp + FX_FOP, 2);
        memcpy(&r->fip, fp + FX_FIP, 8);
        memcpy(&r->fdp, fp + FX_FDP, 8);
    }
    memcpy(&r->mxcsr, fp + FX_MXCSR, 4);
    for (int i = 0; i < 8; i++) {
        memcpy(r->st[i], x87 ? fp + FX_ST + 16 * i : zero, 10);
    }
    for (int i = 0; i < 16; i++) {
        memcpy(r->ymm[i].u8, sse ? fp + FX_XMM + 16 * i : zero, 16);
        memcpy(r->ymm[i].u8 + 16, avx ? fp + XS_YMM + 16 * i : zero, 16);
    }
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)info;
    ucontext_t *uc = context;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    switch (phase) {
    case ENTER:
        memcpy(host_gregs, uc->uc_mcontext.gregs, sizeof(host_gregs));
        memcpy(host_fp, fp, sizeof(host_fp));
        frame_load(uc);
        phase = RUNNING;
        break;
    case RUNNING:
        frame_store(uc);
        memcpy(uc->uc_mcontext.gregs, host_gregs, sizeof(host_gregs));
        memcpy(fp, host_fp, sizeof(host_fp));
        phase = IDLE;
        break;
    case IDLE: /* the test program itself crashed */ signal(sig, SIG_DFL); break;
    }
}

static uint8_t *code_alias; /* the code page, writable; where it runs it is not */

void native_run(const Mode *m, const Case *c, Regs *out)
{
    memcpy(code_alias + CODE_AT, c->bytes, c->in.len);
    run_mode = m;
    run_case = c;
    run_out = out;
    phase = ENTER;
    syscall(SYS_arch_prctl, ARCH_SET_GS, native_gs_base()); /* the translator changes it */
    __asm__ volatile("int3" ::: "memory");
    memset(code_alias + CODE_AT, 0xcc, 16);
}

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static bool map_pages(void)
{
    int fd = syscall(SYS_memfd_create, "oracle", 0);
    if (fd < 0 || ftruncate(fd, CODE_SIZE + DATA_SIZE)) {
        return false;
    }
    void *code = (void *)(uintptr_t)CODE_LIN, *data = (void *)(uintptr_t)DATA_LIN;
    int fixed = MAP_SHARED | MAP_FIXED_NOREPLACE;
    code_alias = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    bool ok = code_alias != MAP_FAILED &&
              mmap(code, CODE_SIZE, PROT_READ | PROT_EXEC, fixed, fd, 0) == code &&
              mmap(data, DATA_SIZE, PROT_READ | PROT_WRITE, fixed, fd, CODE_SIZE) == data;
    close(fd);
    return ok;
}

bool native_init(void)
{
    if (!map_pages()) {
        printf("# cannot map the test pages at %#x\n", CODE_LIN);
        return false;
    }
    memset(code_alias, 0xcc, CODE_SIZE);
    memset(native_data(), 0, DATA_SIZE);

    static uint8_t stack[256 * 1024] __attribute__((aligned(64)));
    stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
    struct sigaction sa = { .sa_sigaction = on_signal,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
    static const int signals[] = { SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS };
    if (sigaltstack(&ss, NULL)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        sigaction(signals[i], &sa, NULL);
    }
    return syscall(SYS_arch_prctl, ARCH_SET_GS, native_gs_base()) == 0;
}

static bool set_ldt(uint16_t selector, uint64_t base, unsigned contents)
{
    struct user_desc d = { .entry_number = selector >> 3,
                           .base_addr = base,
                           .limit = 0xffff,
                           .contents = contents,
                           .useable = 1 };
    return syscall(SYS_modify_ldt, 1, &d, sizeof(d)) == 0;
}

bool native_set_mode(const Mode *m)
{
    if (m->bits == 16 && (!set_ldt(m->cs, m->cs_base, MODIFY_LDT_CONTENTS_CODE) ||
                          !set_ldt(m->ss, m->data_base, MODIFY_LDT_CONTENTS_DATA))) {
        return false;
    }
    if (m->bits == 32) { /* the kernel's own 32-bit code segment, if it has one */
        unsigned rights;
        bool ok;
        __asm__("lar %2, %0; setz %1"
                : "=r"(rights), "=q"(ok)
                : "r"((unsigned)m->cs)
                : "cc");
        if (!ok) {
            return false;
        }
    }
    /* 64-bit code does not look at them. */
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"((unsigned)m->ss));
    return true;
}

static bool host_cpuid_has(CpuFeature f)
{
    static const struct {
        uint32_t leaf, subleaf;
        uint8_t reg, bit;
    } where[NR_FEATURES] = {
#define FEATURE(id, name, leaf, subleaf, reg, bit) \
    [FEATURE_##id] = { leaf, subleaf, reg, bit },
#include "cpu/features.inc"
#undef FEATURE
    };
    if (f == FEATURE_NONE) {
        return true;
    }
    uint32_t r[4];
    if (!__get_cpuid_count(where[f].leaf, where[f].subleaf, &r[0], &r[1], &r[2], &r[3])) {
        return false;
    }
    return r[where[f].reg] >> where[f].bit & 1;
}

/* Remembered: under a hypervisor every CPUID costs microseconds. */
bool native_has_feature(CpuFeature f)
{
    static int8_t known[NR_FEATURES]; /* 1 yes, -1 no */
    if (!known[f]) {
        known[f] = host_cpuid_has(f) ? 1 : -1;
    }
    return known[f] > 0;
}

/* Asked of the processor itself: AMD's store zeros unless FSW.ES is set, and those without
 * CPUID's XSAVEERPTR nothing. */
bool native_keeps_x87_pointers(void)
{
    static int8_t known; /* 1 yes, -1 no */
    if (!known) {
        static uint8_t area[512] __attribute__((aligned(16)));
        static const float one = 1;
        uint64_t fip;
        __asm__ volatile("fninit; flds %1; fxsave64 %0; fninit" : "+m"(area) : "m"(one));
        memcpy(&fip, area + FX_FIP, 8);
        known = fip ? 1 : -1;
    }
    return known > 0;
}

uint8_t *native_data(void)
{
    return (uint8_t *)(uintptr_t)DATA_LIN;
}

uint64_t native_gs_base(void)
{
    return DATA_LIN;
}
