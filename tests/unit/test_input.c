/* SPDX-License-Identifier: GPL-2.0-or-later
 * Keys by name, routing to sinks, sendkey's queue.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ui/input.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

static char seen[512];

static void note(const char *fmt, ...)
{
    size_t len = strlen(seen);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(seen + len, sizeof(seen) - len, fmt, ap);
    va_end(ap);
}

static void on_key(void *opaque, KeyCode key, bool down)
{
    note("%s%c%s ", (const char *)opaque, down ? '+' : '-', key_name(key));
}

static void on_rel(void *opaque, int dx, int dy, int dz)
{
    note("%srel %d %d %d ", (const char *)opaque, dx, dy, dz);
}

static void on_abs(void *opaque, int x, int y)
{
    note("%sabs %d %d ", (const char *)opaque, x, y);
}

static void on_buttons(void *opaque, unsigned mask)
{
    note("%sbuttons %u ", (const char *)opaque, mask);
}

static InputSink keyboard = { .name = "k", .key = on_key, .opaque = "" };
static InputSink mouse = { .name = "m", .mouse_rel = on_rel, .buttons = on_buttons,
                           .opaque = "mouse " };
static InputSink tablet = { .name = "t", .mouse_abs = on_abs, .buttons = on_buttons,
                            .opaque = "tablet " };

static void check(const char *want)
{
    assert_string_equal(seen, want);
    seen[0] = 0;
}

static void test_names(void **state)
{
    (void)state;
    for (int k = KEY_NONE + 1; k < NR_KEYS; k++) {
        assert_int_equal(key_from_name(key_name((KeyCode)k)), k);
    }
    assert_int_equal(key_from_name("0x1e"), KEY_A);
    assert_int_equal(key_from_name("0xe048"), KEY_UP);
    assert_int_equal(key_from_name("0xc8"), KEY_UP);
    assert_int_equal(key_from_name("<"), KEY_LESS);
    assert_int_equal(key_from_name("nokey"), KEY_NONE);
    assert_int_equal(key_from_name("0xzz"), KEY_NONE);
    assert_int_equal(key_from_name("0x0"), KEY_NONE);
    assert_null(key_name(NR_KEYS));
}

static void test_routing(void **state)
{
    (void)state;
    input_register(&keyboard);
    input_register(&mouse);
    assert_false(input_wants_abs());
    input_rel(1, 2, 0);
    check("mouse rel 1 2 0 ");
    input_register(&tablet);
    assert_true(input_wants_abs());
    input_abs(-5, 100000);
    input_buttons(MOUSE_LEFT);
    check("tablet abs 0 32767 tablet buttons 1 ");
    input_rel(3, 0, 0);
    check("mouse rel 3 0 0 "); /* the tablet takes none */
    input_activate(&mouse);
    assert_false(input_wants_abs());
    input_unregister(&tablet);
    input_key(KEY_A, true);
    input_key(KEY_A, true); /* the host repeats */
    input_key(KEY_SHIFT, true);
    input_release_all();
    check("+a +shift -a -shift mouse buttons 0 ");
    input_key(KEY_A, false); /* was not down */
    check("");
    input_unregister(&mouse);
    input_unregister(&keyboard);
}

static void run_ms(unsigned ms)
{
    uint64_t end = host_clock_ns() + ms * 1000000ull;
    while (host_clock_ns() < end) {
        main_loop_step(1000000);
    }
}

static void test_sendkey(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_false(input_sendkey("a", 10, &err));
    assert_string_equal(error_text(err), "the machine has no keyboard");
    error_free(err);
    err = NULL;
    input_register(&keyboard);
    assert_true(input_sendkey("ctrl-alt-delete", 10, &err));
    assert_true(input_sendkey("a", 10, &err));
    check("+ctrl +alt +delete ");
    run_ms(100);
    check("-delete -alt -ctrl +a -a ");
    const char *const bad[] = { "", "a-", "-a", "ctrl-nokey", "a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(input_sendkey(bad[i], 10, &err));
        assert_non_null(err);
        error_free(err);
        err = NULL;
    }
    input_unregister(&keyboard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_routing),
        cmocka_unit_test(test_sendkey),
    };
    Error *err = NULL;
    if (!main_loop_init(&err)) {
        error_report(err);
        return 1;
    }
    vm_lock();
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    vm_unlock();
    return status;
}
