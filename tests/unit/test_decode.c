/* SPDX-License-Identifier: GPL-2.0-or-later
 * The decoder against the SDM's rules (small cases by hand) and against Zydis, an independent
 * decoder, on random and structured byte strings in all modes: validity, length, mnemonic,
 * operands and their access. Without Zydis (configure says so) that part is skipped.
 *
 * DECODE_SEED and DECODE_COUNT (strings a mode) in the environment change what is generated.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/insn.h"

enum { M16 = MODE_PE, M32 = MODE_PE | MODE_CS32, M64 = MODE_PE | MODE_LMA | MODE_CS64 };

/* ---- by hand ---- */

typedef struct Case {
    uint32_t mode;
    const char *bytes; /* hexadecimal */
    int result, len;
    const char *text; /* at address 0x1000 */
} Case;

static const Case cases[] = {
    { M64, "48 8b 44 8b 10", DECODE_OK, 5, "mov rax, qword ptr [rbx+rcx*4+0x10]" },
    { M32, "8b 44 8b f0", DECODE_OK, 4, "mov eax, dword ptr [ebx+ecx*4-0x10]" },
    { M16, "8b 46 fe", DECODE_OK, 3, "mov ax, word ptr [bp-0x2]" },
    { M16, "66 67 8b 04 24", DECODE_OK, 5, "mov eax, dword ptr [esp]" },
    /* high byte registers, and those that REX makes of them */
    { M64, "88 e0", DECODE_OK, 2, "mov al, ah" },
    { M64, "40 88 e0", DECODE_OK, 3, "mov al, spl" },
    /* REX counts only right before the opcode */
    { M64, "48 66 89 c8", DECODE_OK, 4, "mov ax, cx" },
    { M64, "66 48 89 c8", DECODE_OK, 4, "mov rax, rcx" },
    /* RIP relative in 64-bit mode, absolute otherwise */
    { M64, "8b 05 00 01 00 00", DECODE_OK, 6, "mov eax, dword ptr [rip+0x100]" },
    { M32, "8b 05 00 01 00 00", DECODE_OK, 6, "mov eax, dword ptr [0x100]" },
    { M64, "8b 04 25 00 01 00 80", DECODE_OK, 7,
      "mov eax, dword ptr [0xffffffff80000100]" },
    { M64, "41 8b 45 00", DECODE_OK, 4, "mov eax, dword ptr [r13]" },
    /* segments: only FS and GS in 64-bit mode */
    { M64, "2e 8b 00", DECODE_OK, 3, "mov eax, dword ptr [rax]" },
    { M64, "64 2e 8b 00", DECODE_OK, 4, "mov eax, dword ptr fs:[rax]" },
    { M32, "2e 8b 00", DECODE_OK, 3, "mov eax, dword ptr cs:[eax]" },
    { M64, "64 48 a1 08 07 06 05 04 03 02 01", DECODE_OK, 11,
      "mov rax, qword ptr fs:[0x102030405060708]" },
    /* operand size defaults */
    { M64, "50", DECODE_OK, 1, "push rax" },
    { M64, "66 50", DECODE_OK, 2, "push ax" },
    { M64, "66 e8 00 00 00 00", DECODE_OK, 6, "call 0x1006" },
    { M32, "66 e8 00 00", DECODE_OK, 4, "call 0x1004" },
    { M64, "48 c7 c0 ff ff ff ff", DECODE_OK, 7, "mov rax, 0xffffffffffffffff" },
    { M64, "66 83 c0 ff", DECODE_OK, 4, "add ax, 0xffff" },
    { M64, "eb fe", DECODE_OK, 2, "jmp 0x1000" },
    /* 90 with and without REX.B, and F3 */
    { M64, "90", DECODE_OK, 1, "nop" },
    { M64, "f3 90", DECODE_OK, 2, "pause" },
    { M64, "41 90", DECODE_OK, 2, "xchg r8d, eax" },
    /* LOCK */
    { M64, "f0 01 08", DECODE_OK, 3, "lock add dword ptr [rax], ecx" },
    { M64, "f0 01 c8", DECODE_UD, 3, NULL },
    { M64, "f0 03 08", DECODE_UD, 3, NULL },
    { M64, "f0 39 08", DECODE_UD, 3, NULL },
    /* string instructions */
    { M64, "f3 48 a5", DECODE_OK, 3, "rep movsq qword ptr es:[rdi], qword ptr [rsi]" },
    { M32, "f2 64 a6", DECODE_OK, 3, "repne cmpsb byte ptr fs:[esi], byte ptr es:[edi]" },
    /* mandatory prefixes */
    { M64, "0f 58 c1", DECODE_OK, 3, "addps xmm0, xmm1" },
    { M64, "66 0f 58 c1", DECODE_OK, 4, "addpd xmm0, xmm1" },
    { M64, "66 f3 0f 58 c1", DECODE_OK, 5, "addss xmm0, xmm1" },
    { M64, "f3 f2 0f 58 c1", DECODE_OK, 5, "addsd xmm0, xmm1" },
    { M64, "f3 0f 14 c1", DECODE_UD, 4, NULL },
    { M64, "f2 66 0f 38 f1 c1", DECODE_OK, 6, "crc32 eax, cx" },
    { M64, "66 f3 0f b8 c1", DECODE_OK, 5, "popcnt ax, cx" },
    /* VEX, and what it is outside 64-bit mode */
    { M64, "c5 f5 58 05 01 00 00 00", DECODE_OK, 8,
      "vaddpd ymm0, ymm1, ymmword ptr [rip+0x1]" },
    { M32, "c5 f5 58 c2", DECODE_OK, 4, "vaddpd ymm0, ymm1, ymm2" },
    { M32, "c5 35 58 00 00 00", DECODE_OK, 6, "lds esi, fword ptr [0x58]" },
    { MODE_VM | MODE_LMA, "c5 f5 58 c2", DECODE_UD, 2, NULL },
    { M64, "66 c5 f5 58 c2", DECODE_UD, 3, NULL },
    { M64, "f0 c5 f5 58 c2", DECODE_UD, 3, NULL },
    { M64, "48 c5 f5 58 c2", DECODE_UD, 3, NULL },
    { M64, "c5 ed 28 c2", DECODE_UD, 4, NULL }, /* vvvv must be 1111 */
    { M64, "c4 e2 69 92 04 0d 01 00 00 00", DECODE_OK, 10,
      "vgatherdps xmm0, dword ptr [xmm1+0x1], xmm2" },
    { M64, "c4 e2 69 92 0c 0d 01 00 00 00", DECODE_UD, 10, NULL }, /* index is the target */
    /* no row in this mode, or no row at all */
    { M64, "06", DECODE_UD, 1, NULL },
    { M64, "62 00", DECODE_UD, 2, NULL },
    { M64, "0f 04", DECODE_UD, 2, NULL },
    { MODE_VM, "0f 00 c0", DECODE_UD, 3, NULL },
    { M64, "8e c8", DECODE_UD, 2, NULL },              /* MOV CS */
    { M64, "0f 20 08", DECODE_UD, 3, NULL },           /* CR1 */
    { M64, "0f 22 18", DECODE_OK, 3, "mov cr3, rax" }, /* mod is ignored */
    /* length */
    { M64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", DECODE_OK, 15, "nop" },
    { M64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66", DECODE_TOO_LONG, 0, NULL },
    { M64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 05", DECODE_TOO_LONG, 0, NULL },
    { M64, "48 8b 44 8b", DECODE_SHORT, 0, NULL },
    { M64, "c5", DECODE_SHORT, 0, NULL },
    { M64, "66", DECODE_SHORT, 0, NULL },
    { M64, "0f", DECODE_SHORT, 0, NULL },
    { M64, "e8 00 00 00", DECODE_SHORT, 0, NULL },
};

static unsigned parse_hex(const char *s, uint8_t *out)
{
    unsigned n = 0;
    char *end;
    for (unsigned long v = strtoul(s, &end, 16); end != s; v = strtoul(s, &end, 16)) {
        out[n++] = v;
        s = end;
    }
    return n;
}

static void by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const Case *c = &cases[i];
        uint8_t bytes[16];
        unsigned n = parse_hex(c->bytes, bytes);
        Insn in = { 0 };
        int r = insn_decode(bytes, n, c->mode, NULL, &in);
        if (r != c->result || (c->len && in.len != c->len)) {
            fail_msg("%s: want result %d length %d, got %d, %d", c->bytes, c->result,
                     c->len, r, in.len);
        }
        if (c->text) {
            char text[128];
            insn_format(&in, 0x1000, text, sizeof(text));
            assert_string_equal(text, c->text);
        }
    }
}

/* A CPU without the feature decodes what older ones did. */
static void features(void **state)
{
    (void)state;
    static const uint8_t lzcnt[] = { 0xf3, 0x0f, 0xbd, 0xc1 },
                         addps[] = { 0x0f, 0x58, 0xc1 };
    CpuFeatures none = { 0 }, all;
    memset(&all, 0xff, sizeof(all));
    Insn in;
    assert_int_equal(insn_decode(lzcnt, 4, M64, &all, &in), DECODE_OK);
    assert_int_equal(in.op, OP_LZCNT);
    assert_int_equal(insn_decode(lzcnt, 4, M64, &none, &in), DECODE_OK);
    assert_int_equal(in.op, OP_BSR);
    assert_int_equal(insn_decode(addps, 3, M64, &all, &in), DECODE_OK);
    assert_int_equal(insn_decode(addps, 3, M64, &none, &in), DECODE_UD);
}

/* Every instruction of ops.inc has a row, and decoding its prefixes of a string is
 * consistent: fewer bytes than it takes are DECODE_SHORT. */
static void table_is_whole(void **state)
{
    (void)state;
    static bool seen[NR_OPS];
    for (unsigned i = 1; i < nr_insn_rows; i++) {
        seen[insn_rows[i].op] = true;
    }
    for (unsigned op = 1; op < NR_OPS; op++) {
        if (!seen[op]) {
            fail_msg("%s is in ops.inc and has no row in insns.inc", insn_op_name(op));
        }
    }
}

/* ---- random strings ---- */

static uint64_t rng_state;

static uint32_t rnd(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state >> 16;
}

/* Fills 16 bytes: often prefixes, then an opcode of any map or a VEX prefix, then noise. */
static void make_string(uint8_t *b)
{
    static const uint8_t prefixes[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e,
                                        0x26, 0x64, 0x65, 0x66, 0xf2, 0xf3, 0x66, 0x67 };
    unsigned n = 0;
    for (unsigned i = 0; i < 16; i++) {
        b[i] = rnd();
    }
    while (n < 5 && rnd() % 3 == 0) {
        b[n++] = prefixes[rnd() % sizeof(prefixes)];
    }
    if (rnd() % 3 == 0) {
        b[n++] = 0x40 | (rnd() & 15);
    }
    switch (rnd() % 8) {
    case 0:
    case 1: break; /* one byte */
    case 2:
    case 3: b[n++] = 0x0f; break;
    case 4:
        b[n++] = 0x0f;
        b[n++] = 0x38;
        break;
    case 5:
        b[n++] = 0x0f;
        b[n++] = 0x3a;
        break;
    case 6:
        b[n++] = 0xc5;
        b[n++] |= rnd() & 1 ? 0x78 : 0;
        break;
    case 7:
        b[n++] = 0xc4;
        b[n] = (b[n] & 0xe0) | (1 + rnd() % 3);
        n++;
        b[n++] |= rnd() & 1 ? 0x78 : 0;
        break;
    }
}

static void prefixes_are_short(void **state)
{
    (void)state;
    rng_state = 1;
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t b[16];
        make_string(b);
        static const uint32_t modes[] = { M16, M32, M64 };
        uint32_t mode = modes[i % 3];
        Insn in, part;
        DecodeResult r = insn_decode(b, 16, mode, NULL, &in);
        if (r == DECODE_TOO_LONG) {
            continue;
        }
        assert_true(in.len >= 1 && in.len <= 15);
        for (unsigned n = 0; n < in.len; n++) {
            assert_int_equal(insn_decode(b, n, mode, NULL, &part), DECODE_SHORT);
        }
        assert_int_equal(insn_decode(b, in.len, mode, NULL, &part), r);
    }
}

static void speed(void **state)
{
    (void)state;
    enum { N = 4096, ROUNDS = 50 };
    static uint8_t strings[N][16];
    unsigned n = 0;
    rng_state = 7;
    Insn in;
    while (n < N) {
        make_string(strings[n]);
        n += insn_decode(strings[n], 16, M64, NULL, &in) == DECODE_OK;
    }
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned i = 0; i < N; i++) {
            insn_decode(strings[i], 16, M64, NULL, &in);
        }
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double ns = (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
    print_message("# %.1f ns an instruction\n", ns / (N * ROUNDS));
}

/* ---- against Zydis ---- */

#ifdef HAVE_ZYDIS
#include "tests/unit/zydis_compare.inc"
#else
static void against_zydis(void **state)
{
    (void)state;
    print_message("# skipped: built without Zydis (install libzydis-dev)\n");
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),        cmocka_unit_test(features),
        cmocka_unit_test(table_is_whole), cmocka_unit_test(prefixes_are_short),
        cmocka_unit_test(speed),          cmocka_unit_test(against_zydis),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
