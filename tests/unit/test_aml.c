/* SPDX-License-Identifier: GPL-2.0-or-later
 * The AML writer against encodings worked out by hand from ACPI 6.4 chapters 6.4 and 20.2.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hw/pc/aml.h"

static void expect(const Aml *a, const uint8_t *want, size_t len)
{
    assert_int_equal(a->len, len);
    assert_memory_equal(a->data, want, len);
}
#define EXPECT(a, ...)                                                                             \
    do {                                                                                           \
        const uint8_t want_[] = { __VA_ARGS__ };                                                   \
        expect(a, want_, sizeof(want_));                                                           \
        aml_fini(a);                                                                               \
    } while (0)

static void test_integers(void **state)
{
    (void)state;
    Aml a;
    aml_init(&a);
    aml_int(&a, 0);
    aml_int(&a, 1);
    aml_int(&a, 2);
    aml_int(&a, 0x100);
    aml_int(&a, 0x10000);
    aml_int(&a, 0x100000000);
    EXPECT(&a, 0x00, 0x01, 0x0a, 2, 0x0b, 0, 1, 0x0c, 0, 0, 1, 0, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0);
}

static void test_paths(void **state)
{
    (void)state;
    Aml a;
    aml_init(&a);
    aml_path(&a, "ISA");
    aml_path(&a, "\\_SB");
    aml_path(&a, "\\_SB.PCI0");
    aml_path(&a, "A.B.C");
    EXPECT(&a, 'I', 'S', 'A', '_', '\\', '_', 'S', 'B', '_', '\\', 0x2e, '_', 'S', 'B', '_', 'P',
           'C', 'I', '0', 0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_');
}

static void test_eisa_id(void **state)
{
    (void)state;
    Aml a;
    aml_init(&a);
    aml_eisa_id(&a, "PNP0A03");
    EXPECT(&a, 0x0c, 0x41, 0xd0, 0x0a, 0x03);
}

/* A length that fits 6 bits takes one byte; 62 bytes of content are the most. */
static void test_package_length(void **state)
{
    (void)state;
    static const struct {
        size_t content;
        uint8_t bytes[4];
        unsigned nr;
    } cases[] = {
        { 0, { 0x01 }, 1 },
        { 62, { 0x3f }, 1 },
        { 63, { 0x41, 0x04 }, 2 },
        { 0xffd, { 0x4f, 0xff }, 2 },
        { 0xffe, { 0x81, 0x00, 0x01 }, 3 },
        { 0xffffc, { 0x8f, 0xff, 0xff }, 3 },
        { 0xffffd, { 0xc1, 0x00, 0x00, 0x01 }, 4 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Aml a;
        aml_init(&a);
        aml_if(&a);
        aml_zeroes(&a, cases[i].content);
        aml_close(&a);
        assert_int_equal(a.len, 1 + cases[i].nr + cases[i].content);
        assert_memory_equal(a.data + 1, cases[i].bytes, cases[i].nr);
        aml_fini(&a);
    }
}

static void test_nesting(void **state)
{
    (void)state;
    Aml a;
    aml_init(&a);
    aml_scope(&a, "\\_SB");
    aml_device(&a, "X");
    aml_name_int(&a, "_UID", 1);
    aml_close(&a);
    aml_close(&a);
    EXPECT(&a, 0x10, 19, '\\', '_', 'S', 'B', '_', 0x5b, 0x82, 11, 'X', '_', '_', '_', 0x08, '_',
           'U', 'I', 'D', 0x01);
}

static void test_resources(void **state)
{
    (void)state;
    Aml a;
    aml_init(&a);
    aml_resources(&a);
    aml_res_io(&a, 0x3f8, 8);
    aml_res_irq(&a, 4);
    aml_resources_close(&a);
    EXPECT(&a, 0x11, 17, 0x0b, 13, 0, 0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8, 0x22, 0x10, 0, 0x79,
           0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),       cmocka_unit_test(test_paths),
        cmocka_unit_test(test_eisa_id),        cmocka_unit_test(test_package_length),
        cmocka_unit_test(test_nesting),        cmocka_unit_test(test_resources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
