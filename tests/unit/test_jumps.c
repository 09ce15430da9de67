/* SPDX-License-Identifier: GPL-2.0-or-later
 * The translator's jump cache: two addresses that want one place, and none that was never put in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "accel/jit/jumps.h"

enum { TAG = 1 << 19, OTHER_TAG = TAG | 1 << 20 };

static char code[3];

static JitCpu *new_cache(void)
{
    JitCpu *jc = aligned_alloc(64, ROUND_UP(sizeof(*jc), 64));
    jumps_clear(jc);
    return jc;
}

/* jump_tag is 0 while something is requested, and address 0 is as good as any. */
static void test_empty(void **state)
{
    (void)state;
    JitCpu *jc = new_cache();
    for (uint64_t lin = 0; lin < 2 * NR_JUMPS; lin++) {
        assert_null(jumps_find(jc, lin, 0));
        assert_true(jc->jump[jump_index(lin)].tag != 0);
        assert_true(jc->jump2[jump2_index(lin)].tag != 0);
    }
    free(jc);
}

static void test_same_place(void **state)
{
    (void)state;
    JitCpu *jc = new_cache();
    uint64_t a = 0xffffffff81000123ull, b = a + ((uint64_t)NR_JUMPS << JUMP_BITS);
    assert_int_equal(jump_index(a), jump_index(b));
    for (unsigned i = 0; i < 4; i++) {
        jumps_add(jc, a, TAG, &code[0]);
        jumps_add(jc, b, TAG, &code[1]);
        assert_ptr_equal(jumps_find(jc, a, TAG), &code[0]);
        assert_ptr_equal(jumps_find(jc, b, TAG), &code[1]);
        assert_null(jumps_find(jc, a, OTHER_TAG));
    }
    jumps_forget(jc, a);
    assert_null(jumps_find(jc, a, TAG));
    assert_ptr_equal(jumps_find(jc, b, TAG), &code[1]);
    jumps_forget(jc, b);
    assert_null(jumps_find(jc, b, TAG));
    free(jc);
}

/* In another address space the address has other code. */
static void test_new_tag(void **state)
{
    (void)state;
    JitCpu *jc = new_cache();
    jumps_add(jc, 0x1000, TAG, &code[0]);
    jumps_add(jc, 0x1000, OTHER_TAG, &code[1]);
    assert_null(jumps_find(jc, 0x1000, TAG));
    assert_ptr_equal(jumps_find(jc, 0x1000, OTHER_TAG), &code[1]);
    free(jc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_same_place),
        cmocka_unit_test(test_new_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
