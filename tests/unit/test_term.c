/* SPDX-License-Identifier: GPL-2.0-or-later
 * The terminal of text consoles: what stands on the screen after control sequences, in which
 * colours, what it answers, and what its keys send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/font.h"
#include "ui/term.h"

static char replies[256];

static void on_reply(void *opaque, const char *buf, size_t len)
{
    (void)opaque;
    strncat(replies, buf, len);
}

static Term *make(unsigned cols, unsigned rows)
{
    replies[0] = 0;
    return term_new(cols, rows, on_reply, NULL);
}

static void feed(Term *t, const char *text)
{
    term_write(t, (const uint8_t *)text, strlen(text));
}

/* A row as text, '~' for what is not ASCII, blanks at the end left out. */
static const char *row_text(const Term *t, unsigned row, unsigned cols)
{
    static char text[TERM_MAX_COLS + 1];
    const TermCell *cells = term_row(t, row);
    size_t len = 0;
    for (unsigned x = 0; x < cols; x++) {
        uint32_t ch = cells[x].ch ? cells[x].ch : ' ';
        text[x] = ch < 0x7f ? (char)ch : '~';
        len = text[x] == ' ' ? len : x + 1;
    }
    text[len] = 0;
    return text;
}

/* rows: joined by '|' without blank rows at the end. */
static void screen_is(const Term *t, unsigned cols, unsigned rows, const char *want)
{
    char got[8192] = "";
    for (unsigned y = 0; y < rows; y++) {
        strcat(got, y ? "|" : "");
        strcat(got, row_text(t, y, cols));
    }
    for (size_t n = strlen(got); n && got[n - 1] == '|'; n--) {
        got[n - 1] = 0;
    }
    assert_string_equal(got, want);
}

static void cursor_is(const Term *t, unsigned want_col, unsigned want_row)
{
    unsigned col, row;
    term_cursor(t, &col, &row);
    assert_int_equal(col, want_col);
    assert_int_equal(row, want_row);
}

typedef struct Screen {
    const char *input, *want;
    unsigned col, row;
} Screen;

/* 10 x 4 */
static const Screen screens[] = {
    { "hello", "hello", 5, 0 },
    { "a\r\nb\nc", "a|b| c", 2, 2 },
    { "ab\bX", "aX", 2, 0 },
    { "a\tb", "a       b", 9, 0 },
    { "0123456789", "0123456789", 9, 0 },
    { "0123456789a", "0123456789|a", 1, 1 },
    { "0123456789\r\nx", "0123456789|x", 1, 1 },       /* no empty line between */
    { "\033[?7l0123456789ab", "012345678b", 9, 0 },    /* no wrap */
    { "1\r\n2\r\n3\r\n4\r\n5", "2|3|4|5", 1, 3 },
    { "\033[2;3Hx", "|  x", 3, 1 },
    { "\033[99;99Hx", "|||         x", 9, 3 },
    { "\033[3;1H\033[Aa\033[2Cb\033[B\033[4Dc", "|a  b|c", 1, 2 },
    { "x\033[5Gy\033[3dz", "x   y||     z", 6, 2 },
    { "\033[2Ba\033[Fb\033[2Ec", "|b|a|c", 1, 3 },
    { "abcdef\033[3G\033[K", "ab", 2, 0 },
    { "abcdef\033[3G\033[1K", "   def", 2, 0 },
    { "abcdef\033[3G\033[2K", "", 2, 0 },
    { "a\r\nb\r\nc\033[2;1H\033[J", "a", 0, 1 },
    { "a\r\nb\r\nc\033[2;1H\033[1J", "||c", 0, 1 },
    { "a\r\nb\033[2Jc", "| c", 2, 1 },
    { "abcdef\033[2G\033[2@", "a  bcdef", 1, 0 },
    { "abcdef\033[2G\033[2P", "adef", 1, 0 },
    { "abcdef\033[2G\033[2X", "a  def", 1, 0 },
    { "abcdef\033[2G\033[99P", "a", 1, 0 },
    { "abcdef\033[2G\033[4hXY\033[4lZ", "aXYZcdef", 4, 0 },
    { "a\r\nb\r\nc\033[2H\033[L", "a||b|c", 0, 1 },
    { "a\r\nb\r\nc\033[H\033[2M", "c", 0, 0 },
    { "a\r\nb\r\nc\r\nd\033[2;3r\033[3;1H\n", "a|c||d", 0, 2 },   /* scrolls inside the region */
    { "a\r\nb\r\nc\r\nd\033[2;3r\033[2;1H\033M", "a||b|d", 0, 1 },
    { "a\r\nb\r\nc\r\nd\033[S", "b|c|d", 1, 3 },
    { "a\r\nb\r\nc\033[T", "|a|b|c", 1, 2 },
    { "\033[2;3r\033[?6h\033[1;1Hx\033[9;1Hy", "|x|y", 1, 2 },    /* origin mode */
    { "\033[3;2H\0337\033[Ha\0338b", "a|| b", 2, 2 },
    { "\033[5;5H\033[sx\033[1;1H\033[uy", "|||    y", 5, 3 },
    { "ab\033[?1049hXY\033[?1049lc", "abc", 3, 0 },    /* the alternate screen leaves no trace */
    { "x\033[3b", "xxxx", 4, 0 },
    { "\033#8\033[2J", "", 0, 0 },
    { "a\033]0;title\007b\033P1;2q\033\\c", "abc", 3, 0 },
    { "a\033[31\030b", "ab", 2, 0 },                   /* CAN */
    { "a\033[1\nmb", "a| b", 2, 1 },                   /* C0 inside a sequence */
    { "a\033[?2004hb\033[>0qc", "abc", 3, 0 },
    { "\033[3g\033[1;4H\033H\033[1;1H\tx", "   x", 4, 0 },
    { "abc\033c", "", 0, 0 },
    { "\033[999999999999Cx", "         x", 9, 0 },
    { "\033[;;;;;;;;;;;;;;;;;;;;;;;;Hx", "x", 1, 0 },
    { "\342\224\200\303\251x", "~~x", 3, 0 },
    { "\303x\200\377y", "~x~~y", 5, 0 },               /* broken UTF-8 */
    { "\355\240\200z", "~z", 2, 0 },                   /* a surrogate */
    { "\033(0qx\033(Bq", "~~q", 3, 0 },
};

static void test_screens(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(screens); i++) {
        Term *t = make(10, 4), *slow = make(10, 4);
        const Screen *s = &screens[i];
        print_message("# %zu: %s\n", i, s->want);
        feed(t, s->input);
        screen_is(t, 10, 4, s->want);
        cursor_is(t, s->col, s->row);
        for (const char *p = s->input; *p; p++) { /* byte by byte is the same */
            term_write(slow, (const uint8_t *)p, 1);
        }
        screen_is(slow, 10, 4, s->want);
        term_free(t);
        term_free(slow);
    }
}

static void test_colours(void **state)
{
    (void)state;
    Term *t = make(20, 2);
    feed(t, "a\033[1;31;44mb\033[22;7mc\033[0md\033[38;5;200;48;5;17me\033[38;2;255;0;0mf\033[96m"
            "g\033[39;49mh\033[4mi\033[44m\033[K");
    static const TermCell want[] = {
        { 'a', TERM_DEFAULT_FG, TERM_DEFAULT_BG, 0 }, { 'b', 1, 4, TERM_BOLD },
        { 'c', 1, 4, TERM_INVERSE },                  { 'd', TERM_DEFAULT_FG, TERM_DEFAULT_BG, 0 },
        { 'e', 200, 17, 0 },                          { 'f', 196, 17, 0 },
        { 'g', 14, 17, 0 },                           { 'h', TERM_DEFAULT_FG, TERM_DEFAULT_BG, 0 },
        { 'i', TERM_DEFAULT_FG, TERM_DEFAULT_BG, TERM_UNDERLINE },
        { 0, TERM_DEFAULT_FG, 4, 0 }, /* erased with the background */
    };
    const TermCell *got = term_row(t, 0);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        assert_int_equal(got[i].ch, want[i].ch);
        assert_int_equal(got[i].fg, want[i].fg);
        assert_int_equal(got[i].bg, want[i].bg);
        assert_int_equal(got[i].attr, want[i].attr);
    }
    term_free(t);
}

static void test_scrollback(void **state)
{
    (void)state;
    Term *t = make(10, 3);
    char line[16];
    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof(line), "%s%d", i ? "\r\n" : "", i);
        feed(t, line);
    }
    screen_is(t, 10, 3, "2997|2998|2999");
    term_scroll_view(t, 2);
    screen_is(t, 10, 3, "2995|2996|2997");
    unsigned col, row;
    assert_false(term_cursor(t, &col, &row));
    term_scroll_view(t, 1000000);
    screen_is(t, 10, 3, "997|998|999"); /* 2000 lines are kept */
    term_scroll_view(t, -1);
    screen_is(t, 10, 3, "998|999|1000");
    feed(t, "!"); /* output brings the end back */
    screen_is(t, 10, 3, "2997|2998|2999!");
    feed(t, "\033[3J"); /* forgets it */
    term_scroll_view(t, 5);
    screen_is(t, 10, 3, "2997|2998|2999!");
    feed(t, "\033[?1049h1\r\n2\r\n3\r\n4\r\n5\033[?1049l");
    term_scroll_view(t, 5);
    screen_is(t, 10, 3, "2997|2998|2999!");
    term_free(t);
}

static void dirty_is(Term *t, unsigned want_first, unsigned want_last)
{
    unsigned first, last;
    assert_true(term_take_dirty(t, &first, &last));
    assert_int_equal(first, want_first);
    assert_int_equal(last, want_last);
    assert_false(term_take_dirty(t, &first, &last));
}

static void test_dirty(void **state)
{
    (void)state;
    Term *t = make(10, 5);
    dirty_is(t, 0, 4);
    feed(t, "x");
    dirty_is(t, 0, 0);
    feed(t, "\033[3;1Hy");
    dirty_is(t, 0, 2); /* the cursor left row 0 */
    feed(t, "\033[5;1H\n");
    dirty_is(t, 0, 4);
    feed(t, "\033[m\033[?1h");
    unsigned first, last;
    assert_false(term_take_dirty(t, &first, &last));
    term_free(t);
}

static void test_replies(void **state)
{
    (void)state;
    Term *t = make(80, 24);
    feed(t, "\033[5n\033[7;9H\033[6n\033[c\033Z");
    assert_string_equal(replies, "\033[0n\033[7;9R\033[?6c\033[?6c");
    replies[0] = 0;
    feed(t, "\033[?6n\033[99n\033[0m");
    assert_string_equal(replies, "");
    term_free(t);
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        KeyCode key;
        unsigned mods;
        const char *mode, *want;
    } keys[] = {
        { KEY_RET, 0, "", "\r" },
        { KEY_RET, 0, "\033[20h", "\r\n" },
        { KEY_BACKSPACE, 0, "", "\177" },
        { KEY_TAB, MOD_SHIFT, "", "\033[Z" },
        { KEY_ESC, MOD_ALT, "", "\033\033" },
        { KEY_UP, 0, "", "\033[A" },
        { KEY_UP, 0, "\033[?1h", "\033OA" },
        { KEY_UP, 0, "\033[?1h\033[?1l", "\033[A" },
        { KEY_LEFT, MOD_CTRL, "\033[?1h", "\033[1;5D" },
        { KEY_HOME, 0, "", "\033[H" },
        { KEY_DELETE, 0, "", "\033[3~" },
        { KEY_PGUP, MOD_CTRL, "", "\033[5;5~" },
        { KEY_F1, 0, "", "\033OP" },
        { KEY_F5, MOD_SHIFT, "", "\033[15;2~" },
        { KEY_F12, 0, "", "\033[24~" },
        { KEY_SHIFT, MOD_SHIFT, "", "" },
        { KEY_A, 0, "", "" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        Term *t = make(10, 4);
        char out[TERM_KEY_MAX + 1] = "";
        feed(t, keys[i].mode);
        size_t len = term_key(t, keys[i].key, keys[i].mods, out);
        assert_int_equal(len, strlen(keys[i].want));
        assert_memory_equal(out, keys[i].want, len);
        term_free(t);
    }
}

static void test_font(void **state)
{
    (void)state;
    assert_false(font_load("/nonexistent"));
    const uint8_t *bar = font_glyph('|');
    assert_int_equal(bar[3], 0x10);
    assert_ptr_equal(font_glyph(0x2502), bar);
    assert_ptr_equal(font_glyph(0x2019), font_glyph('\''));
    assert_ptr_equal(font_glyph(0x10ffff), font_glyph('?'));
    assert_ptr_equal(font_glyph(0), font_glyph(' '));
}

/* Nothing a guest sends reaches outside the grid (the sanitizers watch). */
static void test_noise(void **state)
{
    (void)state;
    static const char bits[] = "\033\033\033[[[[0123456789;;?>ABCDEFGHJKLMPSTXZ@`abcdefghlmnqrsux"
                               "()0#8\r\n\t\b\016\017\302\303\342\200\377 !w\007\\]";
    srand(1);
    for (int round = 0; round < 200; round++) {
        Term *t = make(1 + (unsigned)rand() % 12, 1 + (unsigned)rand() % 6);
        for (int i = 0; i < 2000; i++) {
            uint8_t c = (uint8_t)bits[(size_t)rand() % (sizeof(bits) - 1)];
            term_write(t, &c, 1);
            if (rand() % 50 == 0) {
                term_scroll_view(t, rand() % 9 - 4);
            }
            replies[0] = 0;
        }
        unsigned col, row;
        term_cursor(t, &col, &row);
        assert_true(term_row(t, row) != NULL && col < 12 && row < 6);
        term_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_screens),    cmocka_unit_test(test_colours),
        cmocka_unit_test(test_scrollback), cmocka_unit_test(test_dirty),
        cmocka_unit_test(test_replies),    cmocka_unit_test(test_keys),
        cmocka_unit_test(test_font),       cmocka_unit_test(test_noise),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
