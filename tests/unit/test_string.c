/* SPDX-License-Identifier: GPL-2.0-or-later
 * String instructions: the fast ways against a byte-by-byte model, faults and interruptions
 * in the middle, segment ends and address-size wrap.
 */
#include "tests/unit/cpu_box.h"

#include <stdio.h>

enum { AREA = 0x20000, AREA_SIZE = 0x4000 };

static uint32_t rng_state = 12345;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(rng_state >> 8) * below >> 24);
}

static Insn str_insn(unsigned size, unsigned prefixes)
{
    Insn in = { .opsize = (uint8_t)size,
                .adsize = 4,
                .prefixes = (uint16_t)prefixes,
                .seg = SEG_DS,
                .base = INSN_REG_NONE,
                .index = INSN_REG_NONE,
                .nr_opd = 2 };
    in.opd[0] = (Operand) { .kind = OPD_STR_DST, .size = (uint16_t)size };
    in.opd[1] = (Operand) { .kind = OPD_STR_SRC, .size = (uint16_t)size };
    return in;
}

static void fill_random(Box *b)
{
    for (unsigned i = 0; i < AREA_SIZE; i++) {
        b->ram->host[AREA + i] = (uint8_t)rng(3); /* few values, so that compares go on */
    }
}

static void test_movs(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    static uint8_t want[AREA_SIZE];
    box_protect(b);
    for (unsigned round = 0; round < 3000; round++) {
        unsigned size = 1u << rng(3), n = rng(rng(2) ? 40 : 3000 / size);
        bool down = rng(4) == 0;
        unsigned margin = 0x1000;
        unsigned from = margin + rng(0x1000),
                 to = rng(2) ? margin + rng(0x1000) : from + rng(20);
        fill_random(b);
        memcpy(want, b->ram->host + AREA, AREA_SIZE);
        int64_t step = down ? -(int)size : (int)size;
        for (unsigned i = 0; i < n; i++) {
            uint8_t element[8];
            memcpy(element, want + from + step * i, size);
            memcpy(want + to + step * i, element, size);
        }
        Insn in = str_insn(size, PFX_REP);
        cpu->eflags = down ? FLAG_DF : 0;
        cpu->gpr[REG_RSI] = AREA + from;
        cpu->gpr[REG_RDI] = AREA + to;
        cpu->gpr[REG_RCX] = n;
        exec_MOVS(cpu, &in);
        if (memcmp(want, b->ram->host + AREA, AREA_SIZE) != 0) {
            fail_msg("round %u: size %u n %u from %x to %x down %d", round, size, n, from,
                     to, down);
        }
        assert_int_equal(cpu->gpr[REG_RCX], 0);
        assert_int_equal(cpu->gpr[REG_RSI], (uint32_t)(AREA + from + step * n));
        assert_int_equal(cpu->gpr[REG_RDI], (uint32_t)(AREA + to + step * n));
    }
}

static void test_stos(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_long(b);
    for (unsigned size = 1; size <= 8; size *= 2) {
        fill_random(b);
        Insn in = str_insn(size, PFX_REP);
        in.adsize = 8;
        cpu->gpr[REG_RAX] = 0x1122334455667788;
        cpu->gpr[REG_RDI] = AREA + 0xffd;
        cpu->gpr[REG_RCX] = 1000;
        uint8_t after = b->ram->host[AREA + 0xffd + 1000 * size];
        exec_STOS(cpu, &in);
        for (unsigned i = 0; i < 1000; i++) {
            assert_memory_equal(b->ram->host + AREA + 0xffd + i * size, &cpu->gpr[REG_RAX],
                                size);
        }
        assert_int_equal(b->ram->host[AREA + 0xffd + 1000 * size], after);
        assert_int_equal(cpu->gpr[REG_RDI], AREA + 0xffd + 1000 * size);
    }
}

/* SCAS and CMPS, REPE and REPNE, against the definition. */
static void test_compare(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    for (unsigned round = 0; round < 3000; round++) {
        unsigned size = 1u << rng(3), n = 1 + rng(200);
        bool scas = rng(2), repne = rng(2);
        unsigned from = 0xf80 + rng(0x80), to = 0x1f80 + rng(0x80);
        fill_random(b);
        if (!scas && !repne) { /* mostly equal */
            memcpy(b->ram->host + AREA + to, b->ram->host + AREA + from, 0x200);
            b->ram->host[AREA + to + rng(0x200)] ^= 1;
        }
        uint64_t al = 0, x = 0, y = 0;
        cpu->gpr[REG_RAX] = rng(3);
        al = cpu_reg(cpu, REG_RAX, size);
        unsigned done = 0;
        do {
            memcpy(&y, b->ram->host + AREA + to + done * size, size);
            if (scas) {
                x = al;
            } else {
                memcpy(&x, b->ram->host + AREA + from + done * size, size);
            }
            done++;
        } while (done < n && (x == y) != repne);
        Insn in = str_insn(size, repne ? PFX_REPNE : PFX_REP);
        cpu->eflags = 0;
        cpu->cc = 0;
        cpu->gpr[REG_RSI] = AREA + from;
        cpu->gpr[REG_RDI] = AREA + to;
        cpu->gpr[REG_RCX] = n;
        (scas ? exec_SCAS : exec_CMPS)(cpu, &in);
        assert_int_equal(cpu->gpr[REG_RCX], n - done);
        assert_int_equal(cpu->gpr[REG_RDI], AREA + to + done * size);
        assert_int_equal(cpu->gpr[REG_RSI], AREA + from + (scas ? 0 : done * size));
        assert_int_equal(!!(cpu->cc & CC_ZF), x == y);
        assert_int_equal(!!(cpu->cc & CC_CF), x < y);
    }
}

static void test_lods(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    Insn in = str_insn(2, 0);
    box_put(b, AREA, 0xbeef, 2);
    cpu->gpr[REG_RAX] = 0x12345678;
    cpu->gpr[REG_RSI] = AREA;
    cpu->gpr[REG_RCX] = 7;
    exec_LODS(cpu, &in);
    assert_int_equal(cpu->gpr[REG_RAX], 0x1234beef);
    assert_int_equal(cpu->gpr[REG_RSI], AREA + 2);
    assert_int_equal(cpu->gpr[REG_RCX], 7);
    in.prefixes = PFX_REP; /* count 0: nothing at all, not even a fault */
    cpu->gpr[REG_RCX] = 0;
    cpu->seg[SEG_DS] = seg_null(0, 0);
    exec_LODS(cpu, &in);
    assert_int_equal(cpu->gpr[REG_RSI], AREA + 2);
}

/* A segment's end: what lies before it is done when the fault comes. */
static void test_fault_in_the_middle(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    cpu->seg[SEG_ES].limit = AREA + 0x17ff;
    cpu_update_mode(cpu);
    Insn in = str_insn(4, PFX_REP);
    cpu->gpr[REG_RAX] = 0xa5a5a5a5;
    cpu->gpr[REG_RDI] = AREA + 0xff0;
    cpu->gpr[REG_RCX] = 0x1000;
    assert_int_equal(RAISED(cpu, exec_STOS(cpu, &in)), FAULT(EXC_GP, 0));
    assert_int_equal(cpu->gpr[REG_RDI], AREA + 0x1800);
    assert_int_equal(cpu->gpr[REG_RCX], 0x1000 - 0x810 / 4);
    assert_int_equal(box_get(b, AREA + 0x17fc, 4), 0xa5a5a5a5);
    /* a page that is not there */
    box_long(b);
    in.adsize = 8;
    cpu->gpr[REG_RDI] = 0x200000 - 0x10;
    cpu->gpr[REG_RCX] = 0x1000;
    assert_int_equal(RAISED(cpu, exec_STOS(cpu, &in)), FAULT(EXC_PF, 2));
    assert_int_equal(cpu->cr2, 0x200000);
    assert_int_equal(cpu->gpr[REG_RDI], 0x200000);
    assert_int_equal(cpu->gpr[REG_RCX], 0x1000 - 4);
}

static void test_address_wrap(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    Insn in = str_insn(1, PFX_REP);
    in.adsize = 2;
    cpu->gpr[REG_RAX] = 0x77;
    cpu->gpr[REG_RDI] = 0xabcdfffe;
    cpu->gpr[REG_RCX] = 0x10004; /* CX is 4 */
    exec_STOS(cpu, &in);
    assert_int_equal(cpu->gpr[REG_RDI], 0xabcd0002);
    assert_int_equal(cpu->gpr[REG_RCX], 0x10000);
    assert_int_equal(box_get(b, 0xfffe, 2), 0x7777);
    assert_int_equal(box_get(b, 0, 2), 0x7777);
    assert_int_equal(box_get(b, 0x10000, 2), 0);
}

/* How often a STOS of four pages goes back to its beginning, to be begun again, with RIP at it. */
static unsigned stos_times(CpuState *cpu)
{
    Insn in = str_insn(4, PFX_REP);
    cpu->gpr[REG_RDI] = AREA;
    cpu->gpr[REG_RCX] = 0x1000;
    unsigned times = 0;
    do {
        cpu->insn_rip = 0x8000;
        cpu->rip = 0x8002;
        uint64_t before = cpu->gpr[REG_RCX];
        exec_STOS(cpu, &in);
        assert_true(cpu->gpr[REG_RCX] < before);
        times++;
    } while (cpu->rip == 0x8000);
    assert_int_equal(cpu->gpr[REG_RCX], 0);
    return times;
}

/* Something is asked of the CPU: progress, then rip back at the instruction. What is masked waits. */
static void test_interruption(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    box_protect(b);
    Insn in = str_insn(4, PFX_REP);
    cpu->request = CPU_REQ_INTR;
    assert_int_equal(stos_times(cpu), 1);
    cpu_set_rflags(cpu, FLAG_IF, FLAG_IF);
    assert_int_equal(stos_times(cpu), 4);
    cpu->request = CPU_REQ_NMI;
    assert_int_equal(stos_times(cpu), 4);
    cpu->nmi_blocked = true;
    assert_int_equal(stos_times(cpu), 1);
    cpu->nmi_blocked = false;
    cpu_set_rflags(cpu, 0, FLAG_IF);
    cpu->request = 0;
    /* single step: one iteration at a time */
    cpu_set_rflags(cpu, FLAG_TF, FLAG_TF);
    cpu->gpr[REG_RCX] = 3;
    cpu->rip = 0x8002;
    exec_STOS(cpu, &in);
    assert_int_equal(cpu->gpr[REG_RCX], 2);
    assert_int_equal(cpu->rip, 0x8000);
    cpu_set_rflags(cpu, 0, FLAG_TF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_movs),
        cmocka_unit_test(test_stos),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_lods),
        cmocka_unit_test(test_fault_in_the_middle),
        cmocka_unit_test(test_address_wrap),
        cmocka_unit_test(test_interruption),
    };
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}
