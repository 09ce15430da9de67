/* SPDX-License-Identifier: GPL-2.0-or-later
 * Option dictionaries and what parses text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/dict.h"

static Dict *parse(const char *text, const char *implied)
{
    Error *err = NULL;
    Dict *d = dict_parse(text, implied, &err);
    if (!d) {
        fail_msg("'%s': %s", text, error_text(err));
    }
    return d;
}

static void test_key_value(void **state)
{
    (void)state;
    Dict *d = parse("virtio-blk,id=a,path=x,,y,boot,nowait,n=0x10,id=b,empty=", "driver");
    assert_string_equal(dict_get(d, "driver"), "virtio-blk");
    assert_string_equal(dict_get(d, "id"), "b");
    assert_string_equal(dict_get(d, "path"), "x,y");
    assert_string_equal(dict_get(d, "boot"), "on");
    assert_string_equal(dict_get(d, "wait"), "off");
    assert_string_equal(dict_get(d, "empty"), "");
    assert_null(dict_get(d, "none"));
    assert_string_equal(dict_unused(d), "n");
    uint64_t n = 0;
    Error *err = NULL;
    assert_true(dict_get_u64(d, "n", &n, &err));
    assert_int_equal(n, 16);
    assert_null(dict_unused(d));
    assert_int_equal(dict_count(d), 7);
    dict_free(d);

    d = parse("file=a=b,,c=d", NULL);
    assert_string_equal(dict_get(d, "file"), "a=b,c=d");
    dict_free(d);
    d = parse("/tmp/with,,comma,format=raw", "file");
    assert_string_equal(dict_get(d, "file"), "/tmp/with,comma");
    assert_string_equal(dict_get(d, "format"), "raw");
    dict_free(d);
}

static void test_json(void **state)
{
    (void)state;
    Dict *d = parse("{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"n\":5},"
                    "\"hosts\":[\"a\",{\"b\":true}],\"big\":18446744073709551615}", NULL);
    assert_string_equal(dict_get(d, "driver"), "raw");
    assert_string_equal(dict_get(d, "file.n"), "5");
    assert_string_equal(dict_get(d, "hosts.0"), "a");
    assert_string_equal(dict_get(d, "hosts.1.b"), "on");
    assert_string_equal(dict_get(d, "big"), "18446744073709551615");
    Dict *sub = dict_sub(d, "file");
    assert_int_equal(dict_count(sub), 2);
    assert_string_equal(dict_get(sub, "driver"), "file");
    dict_free(sub);
    dict_free(d);

    static const char *const bad[] = { "{", "{}x", "{\"a\":}", "{\"a\" 1}", "{1:2}" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        Error *err = NULL;
        assert_null(dict_parse_json(bad[i], &err));
        assert_non_null(err);
        error_free(err);
    }
    Error *err = NULL;
    assert_null(dict_parse_json("[1]", &err));
    error_free(err);
    char deep[4096];
    memset(deep, '[', sizeof(deep));
    memcpy(deep, "{\"a\":", 5);
    deep[sizeof(deep) - 1] = 0;
    err = NULL;
    assert_null(dict_parse_json(deep, &err));
    error_free(err);
}

static void test_values(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_true(parse_u64("010", &v) && v == 8);
    assert_true(parse_u64("18446744073709551615", &v) && v == UINT64_MAX);
    assert_false(parse_u64("18446744073709551616", &v));
    assert_false(parse_u64("-1", &v));
    assert_false(parse_u64("", &v));
    assert_false(parse_u64("1x", &v));
    assert_true(parse_size("512", MiB, &v) && v == 512 * MiB);
    assert_true(parse_size("1.5G", MiB, &v) && v == 1536 * MiB);
    assert_true(parse_size("64k", 1, &v) && v == 65536);
    assert_true(parse_size("1GiB", 1, &v) && v == GiB);
    assert_true(parse_size("0x200", 1, &v) && v == 512);
    assert_true(parse_size("0", 1, &v) && v == 0);
    assert_false(parse_size("99999999999999999999", 1, &v));
    assert_false(parse_size("17179869184G", 1, &v));
    assert_false(parse_size("1Q", 1, &v));
    assert_false(parse_size("-5", 1, &v));
    bool b = false;
    assert_true(parse_bool("yes", &b) && b);
    assert_true(parse_bool("off", &b) && !b);
    assert_false(parse_bool("maybe", &b));
}

static void test_suggest(void **state)
{
    (void)state;
    static const char *const words[] = { "nographic", "nodefaults", "cdrom", "drive", "m", NULL };
    assert_string_equal(suggest("nographics", words), "nographic");
    assert_string_equal(suggest("cdorm", words), "cdrom");
    assert_string_equal(suggest("no-defaults", words), "nodefaults");
    assert_null(suggest("zzz", words));
    assert_null(suggest("q", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_value),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_suggest),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("dict", tests, NULL, NULL);
}
