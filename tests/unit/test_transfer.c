/* SPDX-License-Identifier: GPL-2.0-or-later
 * Far transfers, interrupts and task switches: what each check raises, and what the good
 * cases leave in registers and on stacks.
 */
#include "tests/unit/cpu_box.h"

#include "cpu/far.h"
#include "cpu/task.h"

enum {
    N = SEL_FREE,
    G = SEL_FREE + 8,
    T2 = SEL_FREE + 16,
    GT = SEL_FREE + 24,
    HERE = 0x8000
};

/* ---- JMP and CALL ---- */

typedef struct CodeCase {
    const char *what;
    unsigned cpl;
    uint16_t sel;
    unsigned access, flags;
    int want;
} CodeCase;

static const CodeCase code_cases[] = {
    { "null", 0, 0, ACC_CODE, FLG_32, FAULT(EXC_GP, 0) },
    { "past the table", 0, 0x100, ACC_CODE, FLG_32, FAULT(EXC_GP, 0x100) },
    { "same level", 0, N, ACC_CODE, FLG_32, NO_FAULT },
    { "data", 0, N, ACC_DATA, FLG_32, FAULT(EXC_GP, N) },
    { "absent", 0, N, 0x1b, FLG_32, FAULT(EXC_NP, N) },
    { "RPL > CPL", 0, N | 3, ACC_CODE, FLG_32, FAULT(EXC_GP, N) },
    { "DPL < CPL", 3, N | 3, ACC_CODE, FLG_32, FAULT(EXC_GP, N) },
    { "DPL > CPL", 0, N, ACC_CODE | ACC_DPL3, FLG_32, FAULT(EXC_GP, N) },
    { "conforming, DPL < CPL", 3, N | 3, ACC_CONFORMING, FLG_32, NO_FAULT },
    { "conforming, DPL > CPL", 0, N, ACC_CONFORMING | ACC_DPL3, FLG_32, FAULT(EXC_GP, N) },
    { "offset past the limit", 0, N, ACC_CODE, FLG_BYTE, FAULT(EXC_GP, 0) },
    { "LDT descriptor", 0, N, ACC_LDT, 0, FAULT(EXC_GP, N) },
    { "interrupt gate", 0, N, ACC_INT32, 0, FAULT(EXC_GP, N) },
    { "busy TSS", 0, N, ACC_TSS32 | 2, 0, FAULT(EXC_GP, N) },
};

static void test_direct(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(code_cases); i++) {
        const CodeCase *c = &code_cases[i];
        for (int call = 0; call < 2; call++) {
            box_protect(b);
            box_ring(b, c->cpl);
            box_gdt(b, N, desc_make(0, 0xfff, c->access, c->flags));
            Segment before = cpu->seg[SEG_CS];
            int got = call ? RAISED(cpu, far_call(cpu, c->sel, 0x1234, 4))
                           : RAISED(cpu, far_jump(cpu, c->sel, 0x1234, 4));
            want_fault(c->what, got, c->want);
            if (got == NO_FAULT) {
                assert_int_equal(cpu->rip, 0x1234);
                assert_int_equal(cpu->seg[SEG_CS].sel, (c->sel & ~3) | c->cpl);
                assert_int_equal(cpu_cpl(cpu), c->cpl);
                assert_int_equal(cpu->gpr[REG_RSP], call ? 0x7000 - 8 : 0x7000);
            } else {
                assert_memory_equal(&before, &cpu->seg[SEG_CS], sizeof(before));
                assert_int_equal(cpu->rip, HERE);
                assert_int_equal(cpu->gpr[REG_RSP], 0x7000);
            }
        }
    }
    box_protect(b);
    cpu->rip = 0x8007;
    far_call(cpu, SEL_CODE0, 0xffff1234, 2);
    assert_int_equal(cpu->rip, 0x1234);
    assert_int_equal(box_get(b, 0x6ffc, 4), (uint32_t)SEL_CODE0 << 16 | 0x8007);
}

typedef struct GateCase {
    const char *what;
    uint16_t sel, target;
    unsigned gate_access, code_access;
    int want_jmp, want_call;
} GateCase;

/* From CPL 3 through a gate of DPL 3 unless the case says otherwise. */
static const GateCase gate_cases[] = {
    { "to DPL 0", G | 3, N, ACC_CALL32 | ACC_DPL3, ACC_CODE, FAULT(EXC_GP, N), NO_FAULT },
    { "to conforming DPL 0", G | 3, N, ACC_CALL32 | ACC_DPL3, ACC_CONFORMING, NO_FAULT,
      NO_FAULT },
    { "to DPL 3", G | 3, N, ACC_CALL32 | ACC_DPL3, ACC_CODE | ACC_DPL3, NO_FAULT,
      NO_FAULT },
    { "gate DPL 0", G | 3, N, ACC_CALL32, ACC_CODE, FAULT(EXC_GP, G), FAULT(EXC_GP, G) },
    { "gate absent", G | 3, N, 0x6c, ACC_CODE, FAULT(EXC_NP, G), FAULT(EXC_NP, G) },
    { "null target", G | 3, 0, ACC_CALL32 | ACC_DPL3, ACC_CODE, FAULT(EXC_GP, 0),
      FAULT(EXC_GP, 0) },
    { "data target", G | 3, N, ACC_CALL32 | ACC_DPL3, ACC_DATA, FAULT(EXC_GP, N),
      FAULT(EXC_GP, N) },
    { "target absent", G | 3, N, ACC_CALL32 | ACC_DPL3, 0x7b, FAULT(EXC_NP, N),
      FAULT(EXC_NP, N) },
};

static void test_gates(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(gate_cases); i++) {
        const GateCase *c = &gate_cases[i];
        for (int call = 0; call < 2; call++) {
            box_protect(b);
            box_ring(b, 3);
            box_gdt(b, N, desc_make(0, 0xfffff, c->code_access, FLG_32));
            box_gdt(b, G, gate_make(c->target, 0x12345678, c->gate_access, 0));
            int got = call ? RAISED(cpu, far_call(cpu, c->sel, 0, 4))
                           : RAISED(cpu, far_jump(cpu, c->sel, 0, 4));
            want_fault(c->what, got, call ? c->want_call : c->want_jmp);
            assert_int_equal(cpu->rip, got == NO_FAULT ? 0x12345678 : HERE);
        }
    }
}

static void test_inner_call(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    box_ring(b, 3);
    box_gdt(b, G, gate_make(SEL_CODE0, 0x4444, ACC_CALL32 | ACC_DPL3, 2));
    box_put(b, 0x7000, 0x22222222, 4);
    box_put(b, 0x7004, 0x11111111, 4);
    cpu->rip = 0x8007;
    far_call(cpu, G | 3, 0, 4);
    assert_int_equal(cpu_cpl(cpu), 0);
    assert_int_equal(cpu->seg[SEG_CS].sel, SEL_CODE0);
    assert_int_equal(cpu->seg[SEG_SS].sel, SEL_DATA0);
    assert_int_equal(cpu->rip, 0x4444);
    static const uint32_t frame[] = { 0x8007,     SEL_CODE3, 0x22222222,
                                      0x11111111, 0x7000,    SEL_DATA3 };
    assert_int_equal(cpu->gpr[REG_RSP], 0x6000 - sizeof(frame));
    assert_memory_equal(b->ram->host + cpu->gpr[REG_RSP], frame, sizeof(frame));
    /* and back: DS and ES of level 3 stay, a level 0 one goes */
    box_seg(b, SEG_FS, SEL_DATA0);
    far_return(cpu, 4, 8);
    assert_int_equal(cpu_cpl(cpu), 3);
    assert_int_equal(cpu->rip, 0x8007);
    assert_int_equal(cpu->gpr[REG_RSP], 0x7008);
    assert_int_equal(cpu->seg[SEG_DS].sel, SEL_DATA3);
    assert_true(cpu->seg[SEG_FS].attr & SEG_UNUSABLE);

    /* the stack switch's own faults */
    static const struct {
        const char *what;
        unsigned ss, ss_access, tss_limit;
        int want;
    } cases[] = {
        { "TSS too short", SEL_DATA0, ACC_DATA, 8, FAULT(EXC_TS, SEL_TSS) },
        { "SS null", 0, ACC_DATA, 0x67, FAULT(EXC_TS, 0) },
        { "SS RPL", T2 | 3, ACC_DATA, 0x67, FAULT(EXC_TS, T2) },
        { "SS DPL", T2, ACC_DATA | ACC_DPL3, 0x67, FAULT(EXC_TS, T2) },
        { "SS read-only", T2, ACC_RO, 0x67, FAULT(EXC_TS, T2) },
        { "SS absent", T2, 0x13, 0x67, FAULT(EXC_SS, T2) },
        { "SS too small", T2, ACC_DATA, 0x67, FAULT(EXC_SS, T2) },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        box_protect(b);
        box_ring(b, 3);
        box_gdt(b, G, gate_make(SEL_CODE0, 0x4444, ACC_CALL32 | ACC_DPL3, 2));
        box_gdt(b, T2, desc_make(0, 0x5ff0, cases[i].ss_access, FLG_BYTE));
        box_put(b, BOX_TSS + 8, cases[i].ss, 4);
        cpu->tr.limit = cases[i].tss_limit;
        want_fault(cases[i].what, RAISED(cpu, far_call(cpu, G | 3, 0, 4)), cases[i].want);
        assert_int_equal(cpu->gpr[REG_RSP], 0x7000);
        assert_int_equal(cpu_cpl(cpu), 3);
    }
}

static void test_long_gates(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_long(b);
    box_ring(b, 3);
    box_gdt(b, G, gate_make(SEL_CODE0, 0x4444, ACC_CALL32 | ACC_DPL3, 0));
    box_put(b, BOX_GDT + G + 8, 0xffff8000, 8);
    cpu->rip = 0x8007;
    far_call(cpu, G | 3, 0, 4);
    assert_true(cpu->rip == 0xffff800000004444);
    assert_int_equal(cpu_cpl(cpu), 0);
    assert_int_equal(cpu->seg[SEG_SS].sel, 0);
    assert_int_equal(cpu->gpr[REG_RSP], 0x6000 - 32);
    static const uint64_t frame[] = { 0x8007, SEL_CODE3, 0x7000, SEL_DATA3 };
    assert_memory_equal(b->ram->host + 0x6000 - 32, frame, sizeof(frame));
    far_return(cpu, 8, 0);
    assert_int_equal(cpu->rip, 0x8007);
    assert_int_equal(cpu->gpr[REG_RSP], 0x7000);
    /* a gate to 32-bit code, a 16-bit gate, a task gate, and a TSS are all #GP */
    box_gdt(b, N, desc_make(0, 0xfffff, ACC_CODE, FLG_32));
    box_put(b, BOX_GDT + G + 2, N, 2);
    assert_int_equal(RAISED(cpu, far_call(cpu, G | 3, 0, 4)), FAULT(EXC_GP, N));
    box_gdt(b, G, gate_make(SEL_CODE0, 0x4444, ACC_CALL16 | ACC_DPL3, 0));
    assert_int_equal(RAISED(cpu, far_call(cpu, G | 3, 0, 4)), FAULT(EXC_GP, G));
    box_gdt(b, G, gate_make(SEL_TSS, 0, ACC_TASK | ACC_DPL3, 0));
    assert_int_equal(RAISED(cpu, far_call(cpu, G | 3, 0, 4)), FAULT(EXC_GP, G));
    /* L and D both set; a non-canonical target */
    box_ring(b, 0);
    box_gdt(b, N, desc_make(0, 0xfffff, ACC_CODE, 0xe));
    assert_int_equal(RAISED(cpu, far_jump(cpu, N, 0, 4)), FAULT(EXC_GP, N));
    assert_int_equal(RAISED(cpu, far_jump(cpu, SEL_CODE0, 1ull << 47, 8)),
                     FAULT(EXC_GP, 0));
}

/* ---- RET and IRET ---- */

static void put_frame(Box *b, unsigned size, const uint64_t *frame, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        box_put(b, 0x7000 + i * size, frame[i], size);
    }
}

static void test_return_faults(void **state)
{
    static const struct {
        const char *what;
        unsigned cpl, cs, ss, cs_access;
        int want;
    } cases[] = {
        { "same level", 0, SEL_CODE0, 0, 0, NO_FAULT },
        { "to the outside", 0, SEL_CODE3, SEL_DATA3, 0, NO_FAULT },
        { "null CS", 0, 0, 0, 0, FAULT(EXC_GP, 0) },
        { "past the table", 0, 0x100, 0, 0, FAULT(EXC_GP, 0x100) },
        { "inward", 3, SEL_CODE0, 0, 0, FAULT(EXC_GP, SEL_CODE0) },
        { "data", 0, SEL_DATA0, 0, 0, FAULT(EXC_GP, SEL_DATA0) },
        { "DPL != RPL", 0, SEL_CODE0 | 3, SEL_DATA3, 0, FAULT(EXC_GP, SEL_CODE0) },
        { "conforming DPL > RPL", 0, N, 0, ACC_CONFORMING | ACC_DPL3, FAULT(EXC_GP, N) },
        { "conforming DPL < RPL", 0, N | 3, SEL_DATA3, ACC_CONFORMING, NO_FAULT },
        { "absent", 0, N, 0, 0x1b, FAULT(EXC_NP, N) },
        { "outside, SS null", 0, SEL_CODE3, 0, 0, FAULT(EXC_GP, 0) },
        { "outside, SS of level 0", 0, SEL_CODE3, SEL_DATA0, 0, FAULT(EXC_GP, SEL_DATA0) },
        { "outside, SS is code", 0, SEL_CODE3, SEL_CODE3, 0,
          FAULT(EXC_GP, SEL_CODE3 & ~3) },
    };
    Box *b = *state;
    CpuState *cpu = b->cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        for (int iret = 0; iret < 2; iret++) {
            box_protect(b);
            box_ring(b, cases[i].cpl);
            box_gdt(b, N, desc_make(0, 0xfffff, cases[i].cs_access, FLG_32));
            uint64_t f[] = { 0x9999, cases[i].cs, 0x202, 0x6800, cases[i].ss };
            uint64_t r[] = { 0x9999, cases[i].cs, 0x6800, cases[i].ss };
            put_frame(b, 4, iret ? f : r, iret ? 5 : 4);
            int got =
                iret ? RAISED(cpu, far_iret(cpu, 4)) : RAISED(cpu, far_return(cpu, 4, 0));
            want_fault(cases[i].what, got, cases[i].want);
            assert_int_equal(cpu->rip, got == NO_FAULT ? 0x9999 : HERE);
            if (got != NO_FAULT) {
                assert_int_equal(cpu->gpr[REG_RSP], 0x7000);
                assert_int_equal(cpu_cpl(cpu), cases[i].cpl);
            } else {
                assert_int_equal(cpu_cpl(cpu), cases[i].cs & 3);
            }
        }
    }
}

static void test_iret_flags(void **state)
{
    static const struct {
        unsigned cpl, size, iopl;
        uint32_t flags, want;
    } cases[] = {
        { 0, 4, 0, 0xffffffff & ~FLAG_VM, 0x3d7dd7 & ~FLAG_VM },
        { 3, 4, 0, 0xffffffff & ~FLAG_VM, 0x254dd7 },
        { 3, 4, 3, 0xffffffff & ~FLAG_VM, 0x257fd7 },
        { 0, 2, 0, 0xffffffff, 0x7fd7 },
    };
    Box *b = *state;
    CpuState *cpu = b->cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        box_protect(b);
        box_ring(b, cases[i].cpl);
        cpu->eflags = cases[i].iopl << 12;
        uint64_t f[] = { 0x9999, cpu->seg[SEG_CS].sel, cases[i].flags };
        put_frame(b, cases[i].size, f, 3);
        far_iret(cpu, cases[i].size);
        uint64_t want = cases[i].want | (cases[i].cpl <= cases[i].iopl ? FLAG_IF : 0);
        assert_int_equal(cpu_rflags(cpu), want);
    }
}

static void test_iret_long(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_long(b);
    uint64_t same[] = { 0x9999, SEL_CODE0, 0x202, 0x6800, 0 };
    put_frame(b, 8, same, 5);
    cpu->nmi_blocked = true;
    far_iret(cpu, 8);
    assert_false(cpu->nmi_blocked);
    assert_int_equal(cpu->gpr[REG_RSP], 0x6800); /* popped although the level stays */
    assert_int_equal(cpu->seg[SEG_SS].sel, 0);
    box_long(b);
    same[0] = 1ull << 63;
    put_frame(b, 8, same, 5);
    assert_int_equal(RAISED(cpu, far_iret(cpu, 8)), FAULT(EXC_GP, 0));
    uint64_t outer[] = { 0x9999, SEL_CODE3, 0x202, 0x6800, 3 };
    put_frame(b, 8, outer, 5);
    assert_int_equal(RAISED(cpu, far_iret(cpu, 8)),
                     FAULT(EXC_GP, 0)); /* null SS at CPL 3 */
    outer[4] = SEL_DATA3;
    put_frame(b, 8, outer, 5);
    cpu->eflags |= FLAG_NT;
    assert_int_equal(RAISED(cpu, far_iret(cpu, 8)), FAULT(EXC_GP, 0));
    cpu->eflags &= ~(uint32_t)FLAG_NT;
    cpu->seg[SEG_FS].base = 0x1234; /* a null selector's base survives */
    far_iret(cpu, 8);
    assert_int_equal(cpu_cpl(cpu), 3);
    assert_int_equal(cpu->seg[SEG_FS].base, 0x1234);
}

/* ---- interrupts ---- */

static void test_real_interrupt(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_real(b);
    box_put(b, 0x21 * 4, 0x12340056, 4);
    cpu->eflags = FLAG_IF | FLAG_TF;
    cpu->cc = CC_CF;
    cpu->rip = 0x8002;
    cpu_deliver(cpu, EVENT_SOFT_INT, 0x21, false, 0);
    assert_int_equal(cpu->rip, 0x56);
    assert_int_equal(cpu->seg[SEG_CS].base, 0x12340);
    assert_int_equal(cpu->eflags, 0);
    assert_int_equal(cpu->gpr[REG_RSP], 0x6ffa);
    assert_int_equal(box_get(b, 0x6ffa, 2), 0x8002);
    assert_int_equal(box_get(b, 0x6ffe, 2), 0x303);
    far_iret(cpu, 2);
    assert_int_equal(cpu->rip, 0x8002);
    assert_int_equal(cpu_rflags(cpu), 0x303);
    /* beyond the IVT's limit: #GP, whose vector is beyond as well: #DF, shutdown */
    cpu->idtr.limit = 0x1f;
    cpu_deliver(cpu, EVENT_EXTERNAL, 0x21, false, 0);
    assert_int_equal(cpu->activity, CPU_SHUTDOWN);
    cpu->activity = CPU_ACTIVE;
}

static void test_protected_interrupt(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    box_ring(b, 3);
    cpu->eflags = FLAG_IF;
    cpu->rip = 0x8002;
    box_idt(b, 0x80, gate_make(SEL_CODE0, 0x4444, ACC_TRAP32 | ACC_DPL3, 0));
    cpu_deliver(cpu, EVENT_SOFT_INT, 0x80, false, 0);
    assert_int_equal(cpu->rip, 0x4444);
    assert_int_equal(cpu->eflags, FLAG_IF); /* a trap gate keeps it */
    static const uint32_t frame[] = { 0x8002, SEL_CODE3, 0x202, 0x7000, SEL_DATA3 };
    assert_int_equal(cpu->gpr[REG_RSP], 0x6000 - sizeof(frame));
    assert_memory_equal(b->ram->host + cpu->gpr[REG_RSP], frame, sizeof(frame));
    /* a fault on top: error code, RF in the image, an interrupt gate clears IF */
    box_idt(b, EXC_GP, gate_make(SEL_CODE0, 0x5555, ACC_INT32, 0));
    cpu_deliver(cpu, EVENT_FAULT, EXC_GP, true, 0x18);
    static const uint32_t inner[] = { 0x18, 0x4444, SEL_CODE0, 0x10202 };
    assert_memory_equal(b->ram->host + cpu->gpr[REG_RSP], inner, sizeof(inner));
    assert_int_equal(cpu->eflags, 0);
    /* an INT from CPL 3 to a gate of DPL 0: #GP(vector * 8 + 2), at the INT */
    box_protect(b);
    box_ring(b, 3);
    box_idt(b, EXC_GP, gate_make(SEL_CODE0, 0x5555, ACC_INT32, 0));
    box_idt(b, 0x20, gate_make(SEL_CODE0, 0x4444, ACC_INT32, 0));
    cpu->insn_rip = 0x8000;
    cpu->rip = 0x8002;
    cpu_deliver(cpu, EVENT_SOFT_INT, 0x20, false, 0);
    assert_int_equal(cpu->rip, 0x5555);
    assert_int_equal(box_get(b, 0x6000 - 24, 4), 0x102);
    assert_int_equal(box_get(b, 0x6000 - 20, 4), 0x8000);
    /* the same from outside is allowed */
    box_ring(b, 3);
    cpu_deliver(cpu, EVENT_EXTERNAL, 0x20, false, 0);
    assert_int_equal(cpu->rip, 0x4444);
    /* a 16-bit gate */
    box_ring(b, 0);
    cpu->gpr[REG_RSP] = 0x7000;
    cpu->rip = 0x8002;
    box_idt(b, 0x21, gate_make(SEL_CODE0, 0x44446666, ACC_INT16, 0));
    cpu_deliver(cpu, EVENT_EXTERNAL, 0x21, false, 0);
    assert_int_equal(cpu->rip, 0x6666);
    assert_int_equal(cpu->gpr[REG_RSP], 0x7000 - 6);
}

/* #GP handler's error code for event kind and vector, as set up by the caller. */
static uint32_t gp_error(Box *b, EventKind kind, int vector)
{
    CpuState *cpu = b->cpu;
    box_idt(b, EXC_GP, gate_make(SEL_CODE0, 0x5555, ACC_INT32, 0));
    box_idt(b, EXC_NP, gate_make(SEL_CODE0, 0x6666, ACC_INT32, 0));
    cpu_deliver(cpu, kind, vector, false, 0);
    assert_true(cpu->rip == 0x5555 || cpu->rip == 0x6666);
    return (uint32_t)(cpu->rip == 0x6666) << 16 |
           (uint32_t)box_get(b, cpu->gpr[REG_RSP], 4);
}

static void test_ext_bit(void **state)
{
    static const struct {
        const char *what;
        uint64_t gate_sel;
        unsigned gate_access, code_access;
        uint32_t want; /* without EXT; 10000h: #NP */
    } cases[] = {
        { "no gate", SEL_CODE0, 0x80, 0, 0x30 * 8 + 2 },
        { "gate absent", SEL_CODE0, 0x0e, 0, 0x10000 | (0x30 * 8 + 2) },
        { "null CS", 0, ACC_INT32, 0, 0 },
        { "CS past the table", 0x100, ACC_INT32, 0, 0x100 },
        { "CS data", N, ACC_INT32, ACC_DATA, N },
        { "CS absent", N, ACC_INT32, 0x1b, 0x10000 | N },
        { "CS DPL > CPL", N, ACC_INT32, ACC_CODE | ACC_DPL3, N },
        { "task gate to no TSS", N, ACC_TASK, ACC_CODE, N },
    };
    Box *b = *state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        for (int soft = 0; soft < 2; soft++) {
            box_protect(b);
            box_gdt(b, N, desc_make(0, 0xfffff, cases[i].code_access, FLG_32));
            box_idt(b, 0x30,
                    gate_make((uint16_t)cases[i].gate_sel, 1, cases[i].gate_access, 0));
            uint32_t got = gp_error(b, soft ? EVENT_SOFT_INT : EVENT_EXTERNAL, 0x30);
            want_fault(cases[i].what, (int)got, (int)(cases[i].want | !soft));
        }
    }
}

static void test_double_fault(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    box_idt(b, EXC_DF, gate_make(SEL_CODE0, 0xdddd, ACC_INT32, 0));
    cpu_deliver(cpu, EVENT_FAULT, EXC_GP, true, 0); /* no gate for #GP: #GP in #GP */
    assert_int_equal(cpu->rip, 0xdddd);
    assert_int_equal(box_get(b, cpu->gpr[REG_RSP], 4), 0);
    assert_int_equal(cpu->activity, CPU_ACTIVE);
    /* #UD with a bad gate is served one after the other */
    box_protect(b);
    box_idt(b, EXC_DF, gate_make(SEL_CODE0, 0xdddd, ACC_INT32, 0));
    box_idt(b, EXC_NP, gate_make(SEL_CODE0, 0x6666, ACC_INT32, 0));
    box_idt(b, EXC_UD, gate_make(SEL_CODE0, 0x4444, 0x0e, 0));
    cpu_deliver(cpu, EVENT_FAULT, EXC_UD, false, 0);
    assert_int_equal(cpu->rip, 0x6666);
    /* so is a contributory fault behind INT 13 */
    box_idt(b, EXC_GP, gate_make(SEL_CODE0, 0x4444, 0x0e, 0));
    cpu_deliver(cpu, EVENT_SOFT_INT, EXC_GP, false, 0);
    assert_int_equal(cpu->rip, 0x6666);
    /* no #DF gate either: shutdown, and someone is told to look */
    box_protect(b);
    cpu->request = 0;
    cpu_deliver(cpu, EVENT_FAULT, EXC_SS, true, 0);
    assert_int_equal(cpu->activity, CPU_SHUTDOWN);
    assert_true(cpu->request & CPU_REQ_RECHECK);
    assert_int_equal(cpu->delivering, -1);
    cpu->activity = CPU_ACTIVE;
    cpu->request = 0;
}

static void box_gate64(Box *b, unsigned vector, uint64_t rip, unsigned access, unsigned ist)
{
    box_put(b, BOX_IDT + vector * 16, gate_make(SEL_CODE0, (uint32_t)rip, access, ist), 8);
    box_put(b, BOX_IDT + vector * 16 + 8, rip >> 32, 8);
}

static void test_long_interrupt(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_long(b);
    box_ring(b, 3);
    cpu->rip = 0x8002;
    cpu->gpr[REG_RSP] = 0x6ff3;
    box_put(b, BOX_TSS + 4, 0x6008, 8); /* gets aligned down */
    box_gate64(b, 0x20, 0xffff800000004444, ACC_INT32, 0);
    cpu_deliver(cpu, EVENT_EXTERNAL, 0x20, false, 0);
    assert_true(cpu->rip == 0xffff800000004444);
    assert_int_equal(cpu->seg[SEG_SS].sel, 0);
    assert_int_equal(cpu_cpl(cpu), 0);
    static const uint64_t frame[] = { 0x8002, SEL_CODE3, 2, 0x6ff3, SEL_DATA3 };
    assert_int_equal(cpu->gpr[REG_RSP], 0x6000 - sizeof(frame));
    assert_memory_equal(b->ram->host + 0x6000 - sizeof(frame), frame, sizeof(frame));
    /* same level: SS:RSP is pushed all the same, on an aligned stack */
    cpu->gpr[REG_RSP] = 0x4ff9;
    cpu_deliver(cpu, EVENT_EXTERNAL, 0x20, false, 0);
    assert_int_equal(cpu->gpr[REG_RSP], 0x4ff0 - 40);
    assert_int_equal(box_get(b, 0x4ff0 - 16, 8), 0x4ff9);
    /* IST, with an error code */
    box_gate64(b, EXC_GP, 0x5555, ACC_INT32, 1);
    cpu_deliver(cpu, EVENT_FAULT, EXC_GP, true, 0x77);
    assert_int_equal(cpu->rip, 0x5555);
    assert_int_equal(cpu->gpr[REG_RSP], 0x5000 - 48);
    assert_int_equal(box_get(b, 0x5000 - 48, 8), 0x77);
    /* a stack that is not canonical: #SS */
    box_gate64(b, EXC_SS, 0x6666, ACC_INT32, 1);
    cpu->gpr[REG_RSP] = 1ull << 48;
    cpu_deliver(cpu, EVENT_EXTERNAL, 0x20, false, 0);
    assert_int_equal(cpu->rip, 0x6666);
    assert_int_equal(box_get(b, 0x5000 - 48, 8), 1); /* EXT */
}

static void test_events(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    box_idt(b, EXC_NMI, gate_make(SEL_CODE0, 0x2222, ACC_INT32, 0));
    box_idt(b, EXC_DB, gate_make(SEL_CODE0, 0x1111, ACC_INT32, 0));
    cpu->request = CPU_REQ_NMI;
    cpu->pending_db = 1 << 14;
    cpu->shadow = 2;
    assert_false(cpu_take_events(cpu));
    assert_false(cpu_has_work(cpu));
    cpu->shadow = 0;
    cpu->dr[6] = 0xffff0ff3;
    assert_true(cpu_take_events(cpu)); /* #DB first */
    assert_int_equal(cpu->rip, 0x1111);
    assert_int_equal(cpu->dr[6], 0xffff4ff0);
    assert_true(cpu_take_events(cpu));
    assert_int_equal(cpu->rip, 0x2222);
    assert_true(cpu->nmi_blocked);
    cpu->request = CPU_REQ_NMI;
    assert_false(cpu_take_events(cpu));
    far_iret(cpu, 4);
    cpu->activity = CPU_HALTED;
    assert_true(cpu_has_work(cpu));
    assert_true(cpu_take_events(cpu));
    assert_int_equal(cpu->activity, CPU_ACTIVE);
    cpu->request = 0;
}

/* ---- virtual-8086 mode ---- */

static void box_v86(Box *b, unsigned iopl)
{
    CpuState *cpu = b->cpu;
    box_protect(b);
    cpu->eflags = FLAG_VM | iopl << 12 | FLAG_IF;
    for (int i = 0; i < NR_SEGS; i++) {
        cpu->seg[i] = seg_v86((uint16_t)(0x100 + i));
    }
    cpu->gpr[REG_RSP] = 0x5000; /* SS base 1020h */
    cpu->rip = cpu->insn_rip = 0x10;
    cpu_update_mode(cpu);
}

static void test_v86(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_v86(b, 3);
    assert_int_equal(cpu_cpl(cpu), 3);
    box_idt(b, 0x21, gate_make(SEL_CODE0, 0x4444, ACC_INT32 | ACC_DPL3, 0));
    cpu->rip = 0x12;
    cpu_deliver(cpu, EVENT_SOFT_INT, 0x21, false, 0);
    assert_int_equal(cpu->rip, 0x4444);
    assert_int_equal(cpu_cpl(cpu), 0);
    assert_int_equal(cpu->eflags, FLAG_IOPL);
    assert_true(cpu->seg[SEG_DS].attr & SEG_UNUSABLE);
    static const uint32_t frame[] = { 0x12,  0x101, 0x23202, 0x5000, 0x102,
                                      0x100, 0x103, 0x104,   0x105 };
    assert_memory_equal(b->ram->host + 0x6000 - sizeof(frame), frame, sizeof(frame));
    far_iret(cpu, 4);
    assert_true(cpu->mode & MODE_VM);
    assert_int_equal(cpu->rip, 0x12);
    assert_int_equal(cpu->seg[SEG_GS].sel, 0x105);
    assert_int_equal(cpu->seg[SEG_GS].base, 0x1050);
    assert_int_equal(cpu->gpr[REG_RSP], 0x5000);
    /* a handler that is not of level 0 */
    box_idt(b, 0x21, gate_make(SEL_CODE3, 0x4444, ACC_INT32 | ACC_DPL3, 0));
    box_idt(b, EXC_GP, gate_make(SEL_CODE0, 0x5555, ACC_INT32, 0));
    cpu_deliver(cpu, EVENT_SOFT_INT, 0x21, false, 0);
    assert_int_equal(cpu->rip, 0x5555);
    assert_int_equal(box_get(b, cpu->gpr[REG_RSP], 4), SEL_CODE3 & ~3);
    /* IOPL 0: INT n is #GP(0), INT3 is not */
    box_v86(b, 0);
    box_idt(b, EXC_GP, gate_make(SEL_CODE0, 0x5555, ACC_INT32, 0));
    box_idt(b, 3, gate_make(SEL_CODE0, 0x3333, ACC_INT32 | ACC_DPL3, 0));
    cpu_deliver(cpu, EVENT_SOFT_INT, 3, false, 0);
    assert_int_equal(cpu->rip, 0x5555);
    box_v86(b, 0);
    box_idt(b, 3, gate_make(SEL_CODE0, 0x3333, ACC_INT32 | ACC_DPL3, 0));
    cpu_deliver(cpu, EVENT_SOFT_EXC, 3, false, 0);
    assert_int_equal(cpu->rip, 0x3333);
    box_v86(b, 0);
    assert_int_equal(RAISED(cpu, far_iret(cpu, 2)), FAULT(EXC_GP, 0));
}

static void test_vme(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    Insn in = { .opsize = 2 };
    box_v86(b, 0);
    cpu->cr4 = CR4_VME;
    /* redirection bitmap all clear, below an I/O map at 88h */
    box_put(b, BOX_TSS + 0x66, 0x88, 2);
    cpu->tr.limit = 0x8f;
    box_put(b, 0x21 * 4, 0x20000030, 4);
    cpu->eflags |= FLAG_VIF;
    cpu->rip = 0x12;
    cpu_deliver(cpu, EVENT_SOFT_INT, 0x21, false, 0);
    assert_int_equal(cpu->rip, 0x30);
    assert_int_equal(cpu->seg[SEG_CS].base, 0x20000);
    assert_false(cpu->eflags & FLAG_VIF);
    assert_true(cpu->eflags & FLAG_IF);
    assert_int_equal(cpu->gpr[REG_RSP], 0x4ffa);
    assert_int_equal(box_get(b, 0x1020 + 0x4ffe, 2), 0x3202); /* IOPL 3, IF = VIF */
    far_iret(cpu, 2);
    assert_true(cpu->eflags & FLAG_VIF);
    assert_int_equal(cpu->rip, 0x12);
    assert_int_equal(cpu->eflags & FLAG_IOPL, 0);
    exec_CLI(cpu, &in);
    assert_false(cpu->eflags & FLAG_VIF);
    cpu->eflags |= FLAG_VIP;
    assert_int_equal(RAISED(cpu, exec_STI(cpu, &in)), FAULT(EXC_GP, 0));
    exec_PUSHF(cpu, &in);
    assert_int_equal(box_get(b, 0x1020 + 0x4ffe, 2), 0x3002);
    box_put(b, 0x1020 + 0x4ffe, 0x0202, 2);
    assert_int_equal(RAISED(cpu, exec_POPF(cpu, &in)), FAULT(EXC_GP, 0)); /* IF with VIP */
    cpu->eflags &= ~(uint32_t)FLAG_VIP;
    exec_POPF(cpu, &in);
    assert_true(cpu->eflags & FLAG_VIF);
    in.opsize = 4;
    assert_int_equal(RAISED(cpu, exec_PUSHF(cpu, &in)), FAULT(EXC_GP, 0));
    /* bit set: to the monitor, which IOPL 0 means as #GP */
    box_put(b, BOX_TSS + 0x68 + 0x21 / 8, 1 << (0x21 & 7), 1);
    box_idt(b, EXC_GP, gate_make(SEL_CODE0, 0x5555, ACC_INT32, 0));
    cpu_deliver(cpu, EVENT_SOFT_INT, 0x21, false, 0);
    assert_int_equal(cpu->rip, 0x5555);
    /* PVI */
    box_protect(b);
    box_ring(b, 3);
    assert_int_equal(RAISED(cpu, exec_STI(cpu, &in)), FAULT(EXC_GP, 0));
    cpu->cr4 = CR4_PVI;
    exec_STI(cpu, &in);
    assert_int_equal(cpu->eflags, FLAG_VIF);
    cpu->cr4 = 0;
}

static void test_io_bitmap(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    box_ring(b, 3);
    cpu->tr.limit = 0x68 + 0x10; /* ports 0-127, and the FFh byte */
    box_put(b, BOX_TSS + 0x68 + 0x10, 0xff, 1);
    box_put(b, BOX_TSS + 0x68 + 8, 0x10, 1); /* port 44h */
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x43, 1)), NO_FAULT);
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x43, 2)), FAULT(EXC_GP, 0));
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x44, 1)), FAULT(EXC_GP, 0));
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x40, 4)), NO_FAULT);
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x7f, 1)), NO_FAULT);
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x7f, 2)), FAULT(EXC_GP, 0));
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x80, 1)), FAULT(EXC_GP, 0));
    cpu->eflags |= FLAG_IOPL;
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x80, 1)), NO_FAULT);
    cpu->eflags |= FLAG_VM; /* V86 asks the map whatever IOPL says */
    cpu_update_mode(cpu);
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x80, 1)), FAULT(EXC_GP, 0));
    box_put(b, BOX_TSS + 0x66, 0xffff, 2);
    assert_int_equal(RAISED(cpu, task_check_io(cpu, 0x40, 1)), FAULT(EXC_GP, 0));
}

/* ---- tasks ---- */

enum { TSS2 = 0x9000 };

/* A second task at TSS2: EIP A000h, ESP B000h, EAX.. numbered. */
static void box_task(Box *b)
{
    box_protect(b);
    box_gdt(b, T2, desc_make(TSS2, 0x67, ACC_TSS32, 0));
    box_put(b, TSS2 + 0x20, 0xa000, 4);
    box_put(b, TSS2 + 0x24, 0x202, 4);
    for (unsigned i = 0; i < 8; i++) {
        box_put(b, TSS2 + 0x28 + i * 4, 0x100 + i, 4);
    }
    box_put(b, TSS2 + 0x38, 0xb000, 4);
    box_put(b, TSS2 + 0x48, SEL_DATA0, 4);
    box_put(b, TSS2 + 0x4c, SEL_CODE0, 4);
    box_put(b, TSS2 + 0x50, SEL_DATA0, 4);
    box_put(b, TSS2 + 0x54, SEL_DATA3, 4);
}

static unsigned tss_type(const Box *b, unsigned sel)
{
    return (unsigned)box_get(b, BOX_GDT + sel + 5, 1) & 0xf;
}

static void test_task_switch(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_task(b);
    cpu->gpr[REG_RBX] = 0x5a5a;
    cpu->rip = 0x8007;
    cpu->cr0 &= ~(uint64_t)CR0_TS;
    cpu->dr[7] = 0x555;
    far_call(cpu, T2, 0, 4);
    assert_int_equal(cpu->rip, 0xa000);
    assert_int_equal(cpu->gpr[REG_RBX], 0x103);
    assert_int_equal(cpu->gpr[REG_RSP], 0xb000);
    assert_int_equal(cpu->eflags, FLAG_IF | FLAG_NT);
    assert_int_equal(cpu->seg[SEG_DS].sel, SEL_DATA3);
    assert_int_equal(cpu->tr.sel, T2);
    assert_true(cpu->cr0 & CR0_TS);
    assert_int_equal(cpu->dr[7], 0x400);
    assert_int_equal(tss_type(b, T2), DESC_TSS32_BUSY);
    assert_int_equal(tss_type(b, SEL_TSS), DESC_TSS32_BUSY);
    assert_int_equal(box_get(b, TSS2, 2), SEL_TSS);
    assert_int_equal(box_get(b, BOX_TSS + 0x20, 4), 0x8007);
    assert_int_equal(box_get(b, BOX_TSS + 0x34, 4), 0x5a5a);
    assert_int_equal(box_get(b, BOX_TSS + 0x4c, 2), SEL_CODE0);
    /* IRET goes back and leaves NT clear in the TSS */
    cpu->rip = 0xa001;
    far_iret(cpu, 4);
    assert_int_equal(cpu->rip, 0x8007);
    assert_int_equal(cpu->gpr[REG_RBX], 0x5a5a);
    assert_int_equal(cpu->tr.sel, SEL_TSS);
    assert_int_equal(tss_type(b, T2), DESC_TSS32);
    assert_int_equal(box_get(b, TSS2 + 0x20, 4), 0xa001);
    assert_int_equal(box_get(b, TSS2 + 0x24, 4), 0x202);
    /* JMP does not nest */
    far_jump(cpu, T2, 0, 4);
    assert_int_equal(cpu->eflags, FLAG_IF);
    assert_int_equal(tss_type(b, SEL_TSS), DESC_TSS32);
    /* the T bit */
    box_task(b);
    box_put(b, TSS2 + 0x64, 1, 1);
    far_jump(cpu, T2, 0, 4);
    assert_int_equal(cpu->pending_db, 1 << 15);
    cpu->pending_db = 0;
}

static void test_task_16(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    box_gdt(b, T2, desc_make(TSS2, 0x2b, ACC_TSS16, 0));
    box_put(b, TSS2 + 0x0e, 0xa000, 2);
    box_put(b, TSS2 + 0x10, 0x0202, 2);
    box_put(b, TSS2 + 0x1a, 0xb000, 2);
    box_put(b, TSS2 + 0x22, SEL_DATA0, 2);
    box_put(b, TSS2 + 0x24, SEL_CODE0, 2);
    box_put(b, TSS2 + 0x26, SEL_DATA0, 2);
    far_jump(cpu, T2, 0, 4);
    assert_int_equal(cpu->rip, 0xa000);
    assert_int_equal(cpu->gpr[REG_RSP] & 0xffff, 0xb000);
    assert_int_equal(cpu->tr.attr & 0xf, DESC_TSS16_BUSY);
    assert_true(cpu->seg[SEG_FS].attr & SEG_UNUSABLE);
    box_gdt(b, SEL_TSS, desc_make(BOX_TSS, 0x67, ACC_TSS32, 0));
    box_put(b, BOX_TSS + 0x20, 0x8000, 4);
    far_jump(cpu, SEL_TSS, 0, 4);
    assert_int_equal(box_get(b, TSS2 + 0x1a, 2), 0xb000);
    assert_int_equal(box_get(b, TSS2 + 0x24, 2), SEL_CODE0);
}

static void test_task_faults(void **state)
{
    static const struct {
        const char *what;
        unsigned offset, val;
        int want;
        bool switched;
    } cases[] = {
        { "SS null", 0x50, 0, FAULT(EXC_TS, 0), true },
        { "SS code", 0x50, SEL_CODE0, FAULT(EXC_TS, SEL_CODE0), true },
        { "SS of level 3", 0x50, SEL_DATA3, FAULT(EXC_TS, SEL_DATA3 & ~3), true },
        { "CS null", 0x4c, 0, FAULT(EXC_TS, 0), true },
        { "CS data", 0x4c, SEL_DATA0, FAULT(EXC_TS, SEL_DATA0), true },
        { "CS of level 3", 0x4c, SEL_CODE3 & ~3, FAULT(EXC_TS, SEL_CODE3 & ~3), true },
        { "DS past the table", 0x54, 0x200, FAULT(EXC_TS, 0x200), true },
        { "DS a TSS", 0x54, SEL_TSS, FAULT(EXC_TS, SEL_TSS), true },
        { "LDT no LDT", 0x60, SEL_DATA0, FAULT(EXC_TS, SEL_DATA0), true },
        { "LDT in the LDT", 0x60, 0x0c, FAULT(EXC_TS, 0x0c), true },
        { "EIP past the limit", 0, 0, NO_FAULT, true },
    };
    Box *b = *state;
    CpuState *cpu = b->cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        box_task(b);
        if (cases[i].offset) {
            box_put(b, TSS2 + cases[i].offset, cases[i].val, 4);
        }
        want_fault(cases[i].what, RAISED(cpu, far_jump(cpu, T2, 0, 4)), cases[i].want);
        assert_int_equal(cpu->tr.sel, cases[i].switched ? T2 : SEL_TSS);
        assert_int_equal(cpu->insn_rip, 0xa000);
    }
    box_task(b);
    box_gdt(b, T2, desc_make(TSS2, 0x66, ACC_TSS32, 0));
    want_fault("limit", RAISED(cpu, far_jump(cpu, T2, 0, 4)), FAULT(EXC_TS, T2));
    box_gdt(b, T2, desc_make(TSS2, 0x67, 0x09, 0));
    want_fault("absent", RAISED(cpu, far_jump(cpu, T2, 0, 4)), FAULT(EXC_NP, T2));
    box_ring(b, 3);
    box_gdt(b, T2, desc_make(TSS2, 0x67, ACC_TSS32, 0));
    want_fault("DPL", RAISED(cpu, far_jump(cpu, T2 | 3, 0, 4)), FAULT(EXC_GP, T2));
    box_ring(b, 0);
    cpu->eflags |= FLAG_NT;
    box_put(b, BOX_TSS, T2, 2); /* IRET to a task that is not busy */
    want_fault("link", RAISED(cpu, far_iret(cpu, 4)), FAULT(EXC_TS, T2));
    assert_int_equal(cpu->tr.sel, SEL_TSS);
}

static void test_task_gate_interrupt(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_task(b);
    box_idt(b, EXC_DF, gate_make(T2, 0, ACC_TASK, 0));
    cpu->rip = 0x8000;
    cpu_deliver(cpu, EVENT_FAULT, EXC_GP, true, 0x18); /* no gate: #DF, through the task */
    assert_int_equal(cpu->tr.sel, T2);
    assert_int_equal(cpu->rip, 0xa000);
    assert_int_equal(cpu->gpr[REG_RSP], 0xb000 - 4);
    assert_int_equal(box_get(b, 0xb000 - 4, 4), 0);
    assert_int_equal(box_get(b, BOX_TSS + 0x20, 4), 0x8000);
    assert_true(cpu->eflags & FLAG_NT);
    cpu->gpr[REG_RSP] += 4;
    far_iret(cpu, 4);
    assert_int_equal(cpu->rip, 0x8000);
    /* JMP through a task gate in the GDT */
    box_gdt(b, GT, gate_make(T2, 0, ACC_TASK, 0));
    far_jump(cpu, GT, 0, 4);
    assert_int_equal(cpu->tr.sel, T2);
}

static void test_task_v86(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_task(b);
    box_put(b, TSS2 + 0x24, FLAG_VM | 0x3202, 4);
    box_put(b, TSS2 + 0x4c, 0x1000, 4);
    far_jump(cpu, T2, 0, 4);
    assert_true(cpu->mode & MODE_VM);
    assert_int_equal(cpu_cpl(cpu), 3);
    assert_int_equal(cpu->seg[SEG_CS].base, 0x10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_inner_call),
        cmocka_unit_test(test_long_gates),
        cmocka_unit_test(test_return_faults),
        cmocka_unit_test(test_iret_flags),
        cmocka_unit_test(test_iret_long),
        cmocka_unit_test(test_real_interrupt),
        cmocka_unit_test(test_protected_interrupt),
        cmocka_unit_test(test_ext_bit),
        cmocka_unit_test(test_double_fault),
        cmocka_unit_test(test_long_interrupt),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_v86),
        cmocka_unit_test(test_vme),
        cmocka_unit_test(test_io_bitmap),
        cmocka_unit_test(test_task_switch),
        cmocka_unit_test(test_task_16),
        cmocka_unit_test(test_task_faults),
        cmocka_unit_test(test_task_gate_interrupt),
        cmocka_unit_test(test_task_v86),
    };
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}
