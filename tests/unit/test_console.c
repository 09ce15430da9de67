/* SPDX-License-Identifier: GPL-2.0-or-later
 * Consoles, what displays are told, and screendump's files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ui/console.h"

static int nr_resized, nr_updates;
static int damage[4];

static void on_resized(Display *d, Console *c)
{
    (void)d;
    (void)c;
    nr_resized++;
}

static void on_damaged(Display *d, Console *c, int x, int y, int w, int h)
{
    (void)d;
    (void)c;
    damage[0] = x, damage[1] = y, damage[2] = w, damage[3] = h;
}

static void on_update(void *opaque)
{
    (void)opaque;
    nr_updates++;
}

static const ConsoleOps ops = { .update = on_update };
static Display display = { .name = "test", .resized = on_resized, .damaged = on_damaged };

static void test_surfaces(void **state)
{
    (void)state;
    Console *c = console_new("VGA", &ops, NULL);
    assert_ptr_equal(console_by_index(0), c);
    assert_null(console_by_index(1));
    assert_string_equal(console_name(c), "VGA");
    assert_int_equal(pixman_image_get_width(console_surface(c)), 640);
    display_register(&display);
    nr_resized = 0;
    pixman_image_t *s = console_resize(c, 320, 200);
    assert_int_equal(nr_resized, 1);
    assert_ptr_equal(console_resize(c, 320, 200), s);
    assert_int_equal(nr_resized, 1);

    console_damage(c, -10, 190, 1000, 1000);
    const int want[4] = { 0, 190, 320, 10 };
    assert_memory_equal(damage, want, sizeof(want));
    damage[0] = -1;
    console_damage(c, 320, 0, 5, 5);
    assert_int_equal(damage[0], -1);

    static uint32_t memory[64 * 64];
    s = console_set_shared(c, 32, 64, PIXMAN_x8r8g8b8, memory, 256);
    assert_ptr_equal(pixman_image_get_data(s), memory);
    assert_int_equal(nr_resized, 2);
    assert_ptr_equal(console_set_shared(c, 32, 64, PIXMAN_x8r8g8b8, memory, 256), s);
    assert_ptr_not_equal(console_resize(c, 32, 64), s);
    assert_int_equal(nr_resized, 3);
    display_unregister(&display);
    console_free(c);
    assert_null(console_by_index(0));
}

static size_t read_file(const char *path, uint8_t *buf, size_t size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t len = fread(buf, 1, size, f);
    fclose(f);
    return len;
}

static void test_screendump(void **state)
{
    (void)state;
    Console *c = console_new("VGA", &ops, NULL);
    uint32_t *pixel = pixman_image_get_data(console_resize(c, 2, 1));
    pixel[0] = 0xff112233;
    pixel[1] = 0x00445566;
    char directory[] = "/tmp/vireo-console-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    Error *err = NULL;
    uint8_t buf[256];

    snprintf(path, sizeof(path), "%s/a.ppm", directory);
    nr_updates = 0;
    assert_true(console_screendump(c, path, NULL, &err));
    assert_int_equal(nr_updates, 1);
    static const char want[] = "P6\n2 1\n255\n\x11\x22\x33\x44\x55\x66";
    assert_int_equal(read_file(path, buf, sizeof(buf)), sizeof(want) - 1);
    assert_memory_equal(buf, want, sizeof(want) - 1);
    unlink(path);

    snprintf(path, sizeof(path), "%s/a.PNG", directory);
#ifdef HAVE_PNG
    assert_true(console_screendump(c, path, NULL, &err));
    assert_true(read_file(path, buf, sizeof(buf)) > 8);
    assert_memory_equal(buf, "\x89PNG\r\n\x1a\n", 8);
#else
    assert_false(console_screendump(c, path, NULL, &err));
    error_free(err);
    err = NULL;
#endif
    unlink(path);

    snprintf(path, sizeof(path), "%s/no/such", directory);
    assert_false(console_screendump(c, path, "ppm", &err));
    assert_non_null(strstr(error_text(err), "No such file"));
    error_free(err);
    err = NULL;
    assert_false(console_screendump(c, "/dev/full", "ppm", &err));
    assert_non_null(strstr(error_text(err), "No space left"));
    error_free(err);
    rmdir(directory);
    console_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_surfaces),
        cmocka_unit_test(test_screendump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
