/* SPDX-License-Identifier: GPL-2.0-or-later
 * RDMSR and WRMSR: which registers there are, and what they refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/model.h"
#include "cpu/state.h"
#include "hw/core/machine.h"

#define MSR_EFER 0xc0000080u
#define MSR_LSTAR 0xc0000082u
#define MSR_GS_BASE 0xc0000101u
#define NON_CANONICAL 0x0000800000000000ull

static int set_up(void **state)
{
    CpuState *cpu = calloc(1, sizeof(*cpu));
    Error *err = NULL;
    cpu_init(cpu, NULL, 0);
    assert_true(cpu_model_apply(cpu, "max", &err));
    cpu_reset(cpu, false);
    *state = cpu;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static uint64_t rd(CpuState *cpu, uint32_t msr)
{
    uint64_t val = 0;
    if (!cpu_rdmsr(cpu, msr, &val)) {
        fail_msg("RDMSR %x: want a value, got #GP", msr);
    }
    return val;
}

static void wr(CpuState *cpu, uint32_t msr, uint64_t val)
{
    if (!cpu_wrmsr(cpu, msr, val)) {
        fail_msg("WRMSR %x, %llx: want success, got #GP", msr, (unsigned long long)val);
    }
}

static void wr_gp(CpuState *cpu, uint32_t msr, uint64_t val)
{
    if (cpu_wrmsr(cpu, msr, val)) {
        fail_msg("WRMSR %x, %llx: want #GP, got success", msr, (unsigned long long)val);
    }
}

static void rd_gp(CpuState *cpu, uint32_t msr)
{
    uint64_t val;
    if (cpu_rdmsr(cpu, msr, &val)) {
        fail_msg("RDMSR %x: want #GP, got %llx", msr, (unsigned long long)val);
    }
}

static void efer(void **state)
{
    CpuState *cpu = *state;
    wr(cpu, MSR_EFER, EFER_SCE | EFER_LME | EFER_NXE);
    assert_int_equal(rd(cpu, MSR_EFER), EFER_SCE | EFER_LME | EFER_NXE);
    wr(cpu, MSR_EFER, EFER_LMA); /* ignored */
    assert_int_equal(rd(cpu, MSR_EFER), 0);
    wr_gp(cpu, MSR_EFER, 1 << 1);
    wr_gp(cpu, MSR_EFER, 1 << 12); /* SVME */
    wr(cpu, MSR_EFER, EFER_LME);
    cpu->cr0 |= CR0_PG;
    cpu->efer |= EFER_LMA;
    wr_gp(cpu, MSR_EFER, 0);
    wr(cpu, MSR_EFER, EFER_LME | EFER_SCE);
    assert_int_equal(rd(cpu, MSR_EFER), EFER_LME | EFER_LMA | EFER_SCE);
}

static void canonical(void **state)
{
    CpuState *cpu = *state;
    static const uint32_t msrs[] = { MSR_LSTAR,   0xc0000083u, 0xc0000100u, MSR_GS_BASE,
                                     0xc0000102u, 0x175,       0x176 };
    strcpy(cpu->id.vendor, "GenuineIntel");
    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
        wr(cpu, msrs[i], 0xffff800000001234);
        assert_int_equal(rd(cpu, msrs[i]), 0xffff800000001234);
        wr_gp(cpu, msrs[i], NON_CANONICAL);
        assert_int_equal(rd(cpu, msrs[i]), 0xffff800000001234);
    }
    assert_int_equal(cpu->seg[SEG_GS].base, 0xffff800000001234);
    strcpy(cpu->id.vendor, "AuthenticAMD"); /* SYSENTER is not for long mode there */
    wr(cpu, 0x175, NON_CANONICAL | 0x5678);
    assert_int_equal(rd(cpu, 0x175), 0x5678);
}

static void memory_types(void **state)
{
    CpuState *cpu = *state;
    assert_int_equal(rd(cpu, 0x277), 0x0007040600070406);
    wr(cpu, 0x277, 0x0706050401000706);
    wr_gp(cpu, 0x277, 0x0000000000000002);
    wr_gp(cpu, 0x277, 0x0800000000000000);

    assert_int_equal(rd(cpu, 0xfe) & 0xff, 8);
    wr_gp(cpu, 0xfe, 0);
    wr(cpu, 0x200, 0xc0000006);
    wr(cpu, 0x201, 0xffc0000800);
    assert_int_equal(rd(cpu, 0x201), 0xffc0000800);
    wr_gp(cpu, 0x200, 2);          /* no such type */
    wr_gp(cpu, 0x200, 0x100);      /* reserved */
    wr_gp(cpu, 0x200, 1ull << 40); /* beyond 40 physical bits */
    wr_gp(cpu, 0x201, 1);
    wr(cpu, 0x20f, 0x800);
    rd_gp(cpu, 0x210);
    wr(cpu, 0x250, 0x0606060606060606);
    wr_gp(cpu, 0x250, 0x0206060606060606);
    wr(cpu, 0x26f, 0x0505050505050505);
    wr(cpu, 0x2ff, 0xc06);
    wr_gp(cpu, 0x2ff, 0x1c06);
    assert_int_equal(cpu->mtrr.def_type, 0xc06);
    assert_int_equal(cpu->mtrr.fixed[10], 0x0505050505050505);
}

static void tsc(void **state)
{
    CpuState *cpu = *state;
    wr(cpu, 0x10, 1000000000000);
    assert_in_range(rd(cpu, 0x10), 1000000000000, 1000000000000 + 60ull * 1000000000);
    uint64_t adjust = rd(cpu, 0x3b);
    wr(cpu, 0x3b, adjust + 5000000000000);
    assert_in_range(rd(cpu, 0x10), 6000000000000, 6000000000000 + 60ull * 1000000000);
    wr(cpu, 0xc0000103u, 7);
    assert_int_equal(rd(cpu, 0xc0000103u), 7);
    wr_gp(cpu, 0xc0000103u, 1ull << 32);
}

static void machine_check(void **state)
{
    CpuState *cpu = *state;
    unsigned banks = rd(cpu, 0x179) & 0xff;
    assert_in_range(banks, 1, 32);
    wr(cpu, 0x400, UINT64_MAX);
    wr(cpu, 0x401, 0);
    wr_gp(cpu, 0x401, 1);
    rd(cpu, 0x400 + 4 * banks - 1);
    rd_gp(cpu, 0x400 + 4 * banks);
}

static void absent(void **state)
{
    CpuState *cpu = *state;
    rd_gp(cpu, 0x12345678);
    wr_gp(cpu, 0x12345678, 0);
    rd_gp(cpu, 0x480);       /* VMX */
    rd_gp(cpu, 0x1b);        /* no LAPIC on this CPU */
    rd_gp(cpu, 0xc0010015u); /* AMD's */
    wr_gp(cpu, 0x10a, 0);    /* read-only */
    assert_true(rd(cpu, 0x10a) & 1);
    wr(cpu, 0x48, 1);
    wr_gp(cpu, 0x48, 0x100);
    wr(cpu, 0x49, 1);
    rd_gp(cpu, 0x49);
    rd(cpu, 0x8b);
    rd(cpu, 0x1a0);
    wr_gp(cpu, 0xda0, 1);

    Error *err = NULL;
    assert_true(cpu_model_apply(cpu, "pentium3", &err));
    rd_gp(cpu, MSR_LSTAR);
    rd_gp(cpu, MSR_EFER);
    rd_gp(cpu, 0x48);
    rd_gp(cpu, 0x10a);
    rd(cpu, 0x174);
    assert_true(cpu_model_apply(cpu, "EPYC", &err));
    assert_int_equal(rd(cpu, 0xc0010015u) >> 24 & 1, 1);
}

/* SDM 3A table 10-1. */
static void init_keeps(void **state)
{
    CpuState *cpu = *state;
    wr(cpu, 0x277, 0x0606060606060606);
    wr(cpu, MSR_EFER, EFER_SCE);
    cpu->ymm[3].u64[0] = 42;
    cpu->mxcsr = 0x1fa0;
    cpu->gpr[REG_RDI] = 1;
    cpu->cr0 = CR0_PE | CR0_CD;
    cpu->dr[7] = 0x401;
    cpu_reset(cpu, true);
    assert_int_equal(rd(cpu, 0x277), 0x0606060606060606);
    assert_int_equal(rd(cpu, MSR_EFER), 0);
    assert_int_equal(cpu->ymm[3].u64[0], 42);
    assert_int_equal(cpu->mxcsr, 0x1fa0);
    assert_int_equal(cpu->gpr[REG_RDI], 0);
    assert_int_equal(cpu->gpr[REG_RDX], 0x506e3);
    assert_int_equal(cpu->cr0, CR0_CD | CR0_ET);
    assert_int_equal(cpu->dr[7], 0x400);
    assert_int_equal(cpu->seg[SEG_CS].base + cpu->rip, 0xfffffff0);
    assert_int_equal(cpu->mode, MODE_SSE_UD | MODE_AVX_UD | MODE_FPU_UNMASKED);
    cpu_reset(cpu, false);
    assert_int_equal(cpu->ymm[3].u64[0], 0);
    assert_int_equal(cpu->mxcsr, 0x1f80);
    assert_int_equal(cpu->cr0, 0x60000010);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(efer),          TEST(canonical), TEST(memory_types), TEST(tsc),
        TEST(machine_check), TEST(absent),    TEST(init_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
