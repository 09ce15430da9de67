/* SPDX-License-Identifier: GPL-2.0-or-later
 * Segmented addresses, segment register loads and the instructions that look at
 * descriptors.
 */
#include "tests/unit/cpu_box.h"

#include "cpu/far.h"

static void test_limits(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    cpu->seg[SEG_DS] = (Segment) { .attr = 0x4093, .limit = 0xfff, .base = 0x10000 };
    cpu_update_mode(cpu);
    assert_int_equal(seg_lin(cpu, SEG_DS, 0xffc, 4, true), 0x10ffc);
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0xffd, 4, true)), FAULT(EXC_GP, 0));
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0xffffffff, 2, true)),
                     FAULT(EXC_GP, 0));
    cpu->seg[SEG_DS].attr = 0x4091;
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0, 4, true)), FAULT(EXC_GP, 0));
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0, 4, false)), NO_FAULT);
    cpu->seg[SEG_DS].attr = 0x4099; /* execute only */
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0, 1, false)), FAULT(EXC_GP, 0));
    cpu->seg[SEG_DS] = seg_null(0, 0);
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0, 1, false)), FAULT(EXC_GP, 0));
    cpu->seg[SEG_SS].limit = 0xff;
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_SS, 0x100, 1, false)), FAULT(EXC_SS, 0));
    /* 4 GiB wrap of the linear address */
    cpu->seg[SEG_ES] =
        (Segment) { .attr = 0xc093, .limit = 0xffffffff, .base = 0xfffff000 };
    assert_int_equal(seg_lin(cpu, SEG_ES, 0x2000, 4, true), 0x1000);
    /* the same of the offset, in a segment of that size only */
    cpu->seg[SEG_ES].base = 0;
    assert_int_equal(seg_lin(cpu, SEG_ES, 0xfffffffe, 4, true), 0xfffffffe);
    cpu->seg[SEG_ES].limit = 0xfffffffe;
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_ES, 0xfffffffe, 2, true)), FAULT(EXC_GP, 0));
    cpu->seg[SEG_ES].limit = 0xffffffff;
    cpu->seg[SEG_ES].attr = 0xc097; /* expand-down: nothing lies in it */
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_ES, 0xfffffffe, 4, true)), FAULT(EXC_GP, 0));
}

static void test_expand_down(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    cpu->seg[SEG_DS] = (Segment) { .attr = 0x4097, .limit = 0xfff, .base = 0 };
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0xfff, 1, true)), FAULT(EXC_GP, 0));
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0x1000, 4, true)), NO_FAULT);
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0xfffffffc, 4, true)), NO_FAULT);
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0xfffffffd, 4, true)),
                     FAULT(EXC_GP, 0));
    cpu->seg[SEG_DS].attr = 0x0097; /* B clear: up to FFFFh */
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0xfffe, 2, true)), NO_FAULT);
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_DS, 0xffff, 2, true)), FAULT(EXC_GP, 0));
}

static void test_canonical(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_long(b);
    cpu->seg[SEG_FS].base = 0x7fffffffff00;
    assert_int_equal(seg_lin(cpu, SEG_FS, 0x10, 8, true), 0x7fffffffff10);
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_FS, 0xf9, 8, true)), FAULT(EXC_GP, 0));
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_SS, 1ull << 47, 8, true)),
                     FAULT(EXC_SS, 0));
    cpu->seg[SEG_DS].base = 0x1000; /* no part in 64-bit mode */
    assert_int_equal(seg_lin(cpu, SEG_DS, 0x10, 8, true), 0x10);
}

typedef struct LoadCase {
    const char *what;
    unsigned cpl;
    int seg;
    uint16_t sel; /* descriptor at SEL_FREE if its index says so */
    unsigned access;
    int want;
} LoadCase;

enum { N = SEL_FREE };
static const LoadCase load_cases[] = {
    { "DS null", 0, SEG_DS, 0, 0, NO_FAULT },
    { "DS null with RPL", 3, SEG_DS, 3, 0, NO_FAULT },
    { "SS null", 0, SEG_SS, 0, 0, FAULT(EXC_GP, 0) },
    { "past the GDT", 0, SEG_DS, 0x100, 0, FAULT(EXC_GP, 0x100) },
    { "no LDT", 0, SEG_DS, 0x0c, 0, FAULT(EXC_GP, 0x0c) },
    { "DS data", 0, SEG_DS, N, 0x92, NO_FAULT },
    { "DS read-only", 0, SEG_ES, N, 0x90, NO_FAULT },
    { "DS readable code", 0, SEG_FS, N, 0x9a, NO_FAULT },
    { "DS execute-only code", 0, SEG_GS, N, 0x98, FAULT(EXC_GP, N) },
    { "DS system", 0, SEG_DS, N, ACC_LDT, FAULT(EXC_GP, N) },
    { "DS absent", 0, SEG_DS, N, 0x12, FAULT(EXC_NP, N) },
    { "DS absent and of the wrong type", 0, SEG_DS, N, 0x18, FAULT(EXC_GP, N) },
    { "DS RPL > DPL", 0, SEG_DS, N | 3, 0x92, FAULT(EXC_GP, N) },
    { "DS CPL > DPL", 3, SEG_DS, N, 0x92, FAULT(EXC_GP, N) },
    { "DS DPL 3 from CPL 3", 3, SEG_DS, N | 3, 0xf2, NO_FAULT },
    { "DS conforming code DPL 0 from CPL 3", 3, SEG_DS, N | 3, 0x9e, NO_FAULT },
    { "SS data", 0, SEG_SS, N, 0x92, NO_FAULT },
    { "SS read-only", 0, SEG_SS, N, 0x90, FAULT(EXC_GP, N) },
    { "SS code", 0, SEG_SS, N, 0x9a, FAULT(EXC_GP, N) },
    { "SS RPL != CPL", 0, SEG_SS, N | 1, 0x92, FAULT(EXC_GP, N) },
    { "SS DPL != CPL", 0, SEG_SS, N, 0xb2, FAULT(EXC_GP, N) },
    { "SS absent", 0, SEG_SS, N, 0x12, FAULT(EXC_SS, N) },
    { "SS DPL 3 from CPL 3", 3, SEG_SS, N | 3, 0xf2, NO_FAULT },
};

static void test_loads(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(load_cases); i++) {
        const LoadCase *c = &load_cases[i];
        box_protect(b);
        box_ring(b, c->cpl);
        box_gdt(b, SEL_FREE, desc_make(0x12345678, 0x54321, c->access, FLG_BYTE));
        Segment before = cpu->seg[c->seg];
        int got = RAISED(cpu, seg_load_reg(cpu, c->seg, c->sel));
        want_fault(c->what, got, c->want);
        unsigned accessed = (unsigned)box_get(b, BOX_GDT + SEL_FREE + 5, 1);
        const Segment *s = &cpu->seg[c->seg];
        if (got != NO_FAULT) {
            assert_memory_equal(&before, s, sizeof(before));
            assert_int_equal(accessed, c->access);
        } else if (c->access) {
            assert_int_equal(s->sel, c->sel);
            assert_int_equal(s->base, 0x12345678);
            assert_int_equal(s->limit, 0x54321);
            assert_int_equal(s->attr, 0x4000 | c->access | 1);
            assert_int_equal(accessed, c->access | 1);
        } else {
            assert_true(s->attr & SEG_UNUSABLE);
        }
    }
}

static void test_ldt(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    cpu->ldtr = (Segment) { .sel = 0x40, .attr = 0x82, .limit = 0xf, .base = BOX_LDT };
    box_put(b, BOX_LDT + 8, desc_make(0x1000, 0xff, 0x93, FLG_BYTE), 8);
    seg_load_reg(cpu, SEG_DS, 0x0c);
    assert_int_equal(cpu->seg[SEG_DS].base, 0x1000);
    assert_int_equal(RAISED(cpu, seg_load_reg(cpu, SEG_DS, 0x14)), FAULT(EXC_GP, 0x14));
    /* index 0 of an LDT is a descriptor like any other */
    box_put(b, BOX_LDT, desc_make(0x2000, 0xff, 0x93, FLG_BYTE), 8);
    seg_load_reg(cpu, SEG_DS, 0x04);
    assert_int_equal(cpu->seg[SEG_DS].base, 0x2000);
}

static void test_null_ss_long(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_long(b);
    assert_int_equal(RAISED(cpu, seg_load_reg(cpu, SEG_SS, 0)), NO_FAULT);
    assert_int_equal(cpu_cpl(cpu), 0);
    assert_int_equal(RAISED(cpu, seg_load_reg(cpu, SEG_SS, 1)), FAULT(EXC_GP, 0));
    box_ring(b, 3);
    assert_int_equal(RAISED(cpu, seg_load_reg(cpu, SEG_SS, 3)), FAULT(EXC_GP, 0));
}

static void test_real_and_v86(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_real(b);
    cpu->seg[SEG_DS].limit = 0xffffffff; /* "unreal" */
    seg_load_reg(cpu, SEG_DS, 0x1234);
    assert_int_equal(cpu->seg[SEG_DS].base, 0x12340);
    assert_int_equal(cpu->seg[SEG_DS].limit, 0xffffffff);
    assert_int_equal(RAISED(cpu, seg_lin(cpu, SEG_ES, 0xffff, 2, false)), FAULT(EXC_GP, 0));
    assert_int_equal(seg_lin(cpu, SEG_CS, 0x10, 2, true),
                     0x10); /* CS writable in real mode */
    box_protect(b);
    cpu->eflags |= FLAG_VM;
    cpu_update_mode(cpu);
    seg_load_reg(cpu, SEG_DS, 0xffff);
    assert_int_equal(cpu->seg[SEG_DS].base, 0xffff0);
    assert_int_equal(cpu->seg[SEG_DS].limit, 0xffff);
    assert_int_equal(cpu->seg[SEG_DS].attr, 0xf3);
}

/* ---- instructions ---- */

static Insn insn_rr(unsigned dst, unsigned src, unsigned size)
{
    Insn in = { .opsize = (uint8_t)size,
                .adsize = 4,
                .nr_opd = 2,
                .base = INSN_REG_NONE,
                .index = INSN_REG_NONE };
    in.opd[0] = (Operand) { .kind = OPD_GPR, .reg = (uint8_t)dst, .size = (uint16_t)size };
    in.opd[1] = (Operand) { .kind = OPD_GPR, .reg = (uint8_t)src, .size = (uint16_t)size };
    return in;
}

static void test_lar_lsl(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    Insn in = insn_rr(REG_RAX, REG_RCX, 4);
    box_gdt(b, SEL_FREE, desc_make(0, 0x12345, 0x93, FLG_32));
    cpu->gpr[REG_RCX] = SEL_FREE;
    exec_LAR(cpu, &in);
    assert_true(cpu->cc & CC_ZF);
    assert_int_equal(cpu->gpr[REG_RAX], 0xc19300);
    exec_LSL(cpu, &in);
    assert_int_equal(cpu->gpr[REG_RAX], 0x12345fff);
    in.opsize = 2;
    cpu->gpr[REG_RAX] = 0xffffffff;
    exec_LAR(cpu, &in);
    assert_int_equal(cpu->gpr[REG_RAX], 0xffff9300);
    in.opsize = 4;
    /* not for CPL 3; an interrupt gate for nobody; a call gate has rights but no limit */
    box_ring(b, 3);
    exec_LAR(cpu, &in);
    assert_false(cpu->cc & CC_ZF);
    assert_int_equal(cpu->gpr[REG_RAX], 0xffff9300);
    box_ring(b, 0);
    box_gdt(b, SEL_FREE, gate_make(SEL_CODE0, 0, ACC_INT32, 0));
    exec_LAR(cpu, &in);
    assert_false(cpu->cc & CC_ZF);
    box_gdt(b, SEL_FREE, gate_make(SEL_CODE0, 0, ACC_CALL32, 0));
    exec_LAR(cpu, &in);
    assert_true(cpu->cc & CC_ZF);
    exec_LSL(cpu, &in);
    assert_false(cpu->cc & CC_ZF);
}

static void test_verify(void **state)
{
    static const struct {
        unsigned access, sel;
        bool readable, writable;
    } cases[] = {
        { 0x92, N, true, true },      { 0x90, N, true, false },
        { 0x9a, N, true, false },     { 0x98, N, false, false },
        { 0x82, N, false, false },    { 0x92, N | 3, false, false },
        { 0x9e, N | 3, true, false }, { 0x92, 0, false, false },
    };
    Box *b = *state;
    CpuState *cpu = b->cpu;
    Insn in = insn_rr(REG_RCX, REG_RCX, 2);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        box_protect(b);
        box_gdt(b, SEL_FREE, desc_make(0, 0xffff, cases[i].access, 0));
        cpu->gpr[REG_RCX] = cases[i].sel;
        exec_VERR(cpu, &in);
        assert_int_equal(!!(cpu->cc & CC_ZF), cases[i].readable);
        exec_VERW(cpu, &in);
        assert_int_equal(!!(cpu->cc & CC_ZF), cases[i].writable);
    }
}

static void test_ltr_lldt(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    Insn in = insn_rr(REG_RCX, REG_RCX, 2);
    cpu->gpr[REG_RCX] = SEL_FREE;
    box_gdt(b, SEL_FREE, desc_make(0x3000, 0x67, ACC_TSS32, 0));
    exec_LTR(cpu, &in);
    assert_int_equal(cpu->tr.sel, SEL_FREE);
    assert_int_equal(box_get(b, BOX_GDT + SEL_FREE + 5, 1), 0x8b);
    assert_int_equal(RAISED(cpu, exec_LTR(cpu, &in)),
                     FAULT(EXC_GP, SEL_FREE)); /* busy now */
    box_gdt(b, SEL_FREE, desc_make(0x3000, 0x67, 0x09, 0));
    assert_int_equal(RAISED(cpu, exec_LTR(cpu, &in)), FAULT(EXC_NP, SEL_FREE));
    assert_int_equal(RAISED(cpu, exec_LLDT(cpu, &in)), FAULT(EXC_GP, SEL_FREE));
    cpu->gpr[REG_RCX] = 0;
    assert_int_equal(RAISED(cpu, exec_LTR(cpu, &in)), FAULT(EXC_GP, 0));
    exec_LLDT(cpu, &in);
    assert_true(cpu->ldtr.attr & SEG_UNUSABLE);
    cpu->mode = 0;
    assert_int_equal(RAISED(cpu, exec_LLDT(cpu, &in)), FAULT(EXC_UD, 0));

    /* 16 bytes in long mode, the last 8 inside the limit and with type 0 */
    box_long(b);
    box_gdt(b, SEL_FREE, desc_make(0x3000, 0x67, ACC_TSS32, 0));
    box_put(b, BOX_GDT + SEL_FREE + 8, 0xffff8000, 8);
    cpu->gpr[REG_RCX] = SEL_FREE;
    exec_LTR(cpu, &in);
    assert_true(cpu->tr.base == 0xffff800000003000);
    box_gdt(b, SEL_FREE, desc_make(0x3000, 0x67, ACC_TSS32, 0));
    box_put(b, BOX_GDT + SEL_FREE + 13, 0x89, 1);
    assert_int_equal(RAISED(cpu, exec_LTR(cpu, &in)), FAULT(EXC_GP, SEL_FREE));
    box_put(b, BOX_GDT + SEL_FREE + 13, 0, 1);
    box_put(b, BOX_GDT + SEL_FREE + 8, 0x8000, 8); /* not canonical */
    assert_int_equal(RAISED(cpu, exec_LTR(cpu, &in)), FAULT(EXC_GP, SEL_FREE));
}

static void test_arpl(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    Insn in = insn_rr(REG_RAX, REG_RCX, 2);
    cpu->gpr[REG_RAX] = 0x12340008;
    cpu->gpr[REG_RCX] = 3;
    exec_ARPL(cpu, &in);
    assert_true(cpu->cc & CC_ZF);
    assert_int_equal(cpu->gpr[REG_RAX], 0x1234000b);
    exec_ARPL(cpu, &in);
    assert_false(cpu->cc & CC_ZF);
}

static void test_system_calls(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    Insn in = { .opsize = 8 };
    box_long(b);
    box_ring(b, 3);
    assert_int_equal(RAISED(cpu, exec_SYSCALL(cpu, &in)), FAULT(EXC_UD, 0));
    cpu->efer |= EFER_SCE;
    cpu->star = 0x0023001000000000;
    cpu->lstar = 0xffffffff80001000;
    cpu->sfmask = FLAG_IF | FLAG_TF;
    cpu->eflags = FLAG_IF | FLAG_RF | FLAG_DF;
    cpu->rip = 0x401002;
    exec_SYSCALL(cpu, &in);
    assert_true(cpu->rip == 0xffffffff80001000);
    assert_int_equal(cpu->gpr[REG_RCX], 0x401002);
    assert_int_equal(cpu->gpr[REG_R11], FLAG_IF | FLAG_DF | 2);
    assert_int_equal(cpu->eflags, FLAG_DF);
    assert_int_equal(cpu_cpl(cpu), 0);
    assert_int_equal(cpu->seg[SEG_CS].sel, 0x10);
    assert_int_equal(cpu->seg[SEG_SS].sel, 0x18);
    cpu->gpr[REG_RCX] = 1ull << 47;
    assert_int_equal(RAISED(cpu, exec_SYSRET(cpu, &in)), FAULT(EXC_GP, 0));
    cpu->gpr[REG_RCX] = 0x401002;
    exec_SYSRET(cpu, &in);
    assert_int_equal(cpu->rip, 0x401002);
    assert_int_equal(cpu->eflags, FLAG_IF | FLAG_DF);
    assert_int_equal(cpu_cpl(cpu), 3);
    assert_int_equal(cpu->seg[SEG_CS].sel, 0x33);
    assert_int_equal(cpu->seg[SEG_SS].sel, 0x2b);
    assert_int_equal(RAISED(cpu, exec_SYSRET(cpu, &in)), FAULT(EXC_GP, 0));
    /* SYSENTER and SYSEXIT */
    strcpy(cpu->id.vendor, "GenuineIntel");
    assert_int_equal(RAISED(cpu, exec_SYSENTER(cpu, &in)), FAULT(EXC_GP, 0));
    cpu->sysenter_cs = 0x60;
    cpu->sysenter_eip = 0xffffffff81000000;
    cpu->sysenter_esp = 0xffffffff82000000;
    exec_SYSENTER(cpu, &in);
    assert_int_equal(cpu_cpl(cpu), 0);
    assert_int_equal(cpu->seg[SEG_CS].sel, 0x60);
    assert_true(cpu->gpr[REG_RSP] == 0xffffffff82000000);
    cpu->gpr[REG_RDX] = 0x1234;
    cpu->gpr[REG_RCX] = 0x5678;
    in.opsize = 4;
    exec_SYSEXIT(cpu, &in);
    assert_int_equal(cpu->rip, 0x1234);
    assert_int_equal(cpu->gpr[REG_RSP], 0x5678);
    assert_int_equal(cpu->seg[SEG_CS].sel, 0x73);
    assert_int_equal(cpu->seg[SEG_SS].sel, 0x7b);
    assert_false(cpu->mode & MODE_CS64);
    assert_int_equal(cpu_cpl(cpu), 3);
    strcpy(cpu->id.vendor, "AuthenticAMD");
    assert_int_equal(RAISED(cpu, exec_SYSENTER(cpu, &in)), FAULT(EXC_UD, 0));
    assert_int_equal(RAISED(cpu, exec_SYSEXIT(cpu, &in)), FAULT(EXC_UD, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_expand_down),
        cmocka_unit_test(test_canonical),    cmocka_unit_test(test_loads),
        cmocka_unit_test(test_ldt),          cmocka_unit_test(test_null_ss_long),
        cmocka_unit_test(test_real_and_v86), cmocka_unit_test(test_lar_lsl),
        cmocka_unit_test(test_verify),       cmocka_unit_test(test_ltr_lldt),
        cmocka_unit_test(test_arpl),         cmocka_unit_test(test_system_calls),
    };
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}
