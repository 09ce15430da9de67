/* SPDX-License-Identifier: GPL-2.0-or-later
 * Sets of vCPUs as text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "accel/vcpu_set.h"

/* What the set is in its own words, or the error. */
static void expect(const char *text, unsigned nr, const char *want)
{
    VcpuSet s;
    Error *err = NULL;
    if (vcpu_set_parse(&s, text, nr, &err)) {
        char *got = vcpu_set_text(&s);
        assert_string_equal(got, want);
        free(got);
    } else {
        assert_string_equal(error_text(err), want);
        error_free(err);
    }
}

static void test_sets(void **state)
{
    (void)state;
    expect("0", 1, "0");
    expect("3", 4, "3");
    expect("0-1:3", 4, "0-1:3");
    expect("0-1,3", 4, "0-1:3");
    expect("3:2:1", 4, "1-3");
    expect("1:1-2", 4, "1-2");
    expect("all", 4, "0-3");
    expect("63-64:254", 255, "63-64:254");
}

static void test_wrong(void **state)
{
    static const char what[] = "that names no vCPUs; write for example 0, 0-1, 0-1:3 or all";
    (void)state;
    expect("", 4, "no vCPU is named; write for example 0, 0-1 or 0-1:3");
    expect("x", 4, what);
    expect("0-", 4, what);
    expect("-1", 4, what);
    expect("0:", 4, what);
    expect("0;1", 4, what);
    expect("0x1", 4, what);
    expect("4", 4, "there is no vCPU 4; this machine has 0 to 3 (-smp 4)");
    expect("0-99999999999", 4, what); /* no such number */
    expect("1", 1, "there is no vCPU 1; this machine has one, 0");
    expect("0", 0, "this machine has no vCPUs");
    expect("2-1", 4, "the range is empty; write 1-2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
