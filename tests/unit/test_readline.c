/* SPDX-License-Identifier: GPL-2.0-or-later
 * Line editing, watched through a small terminal: after each sequence of keys the test compares
 * the line on the screen, the column of the cursor, and what Enter delivers.
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

#include "monitor/readline.h"

/* A terminal of endless lines; knows what readline uses. */
typedef struct Term {
    Readline *rl;
    char rows[64][8192]; /* bytes; col counts columns of ASCII only */
    size_t row, col;
    char raw[65536];
    size_t raw_len;
    char esc[32];
    size_t esc_len;
    char lines[16][8192];
    unsigned nr_lines, bells;
    const char *const *words;
    char asked[256];
} Term;

static void term_csi(Term *t)
{
    unsigned n = (unsigned)atoi(t->esc + 2); /* behind ESC [ */
    char *row = t->rows[t->row];
    switch (t->esc[t->esc_len - 1]) {
    case 'C': t->col += n ? n : 1; break;
    case 'D':
        assert_true(t->col >= (n ? n : 1));
        t->col -= n ? n : 1;
        break;
    case 'K': row[t->col] = 0; break;
    case 'H': t->col = 0; break;
    case 'J': row[0] = 0; break;
    default: fail_msg("unknown sequence ESC%s", t->esc + 1);
    }
}

static void term_put(Term *t, char c)
{
    char *row = t->rows[t->row];
    if (t->esc_len) {
        t->esc[t->esc_len++] = c;
        t->esc[t->esc_len] = 0;
        if (isalpha((unsigned char)c)) {
            term_csi(t);
            t->esc_len = 0;
        }
        return;
    }
    switch (c) {
    case 27: t->esc[t->esc_len++] = c; break;
    case '\a': t->bells++; break;
    case '\r': t->col = 0; break;
    case '\n':
        t->row++;
        assert_true(t->row < 64);
        break;
    default:
        if (!row[t->col]) {
            row[t->col + 1] = 0;
        }
        row[t->col++] = c;
    }
}

static void on_write(void *opaque, const char *buf, size_t len)
{
    Term *t = opaque;
    memcpy(t->raw + t->raw_len, buf, len);
    t->raw_len += len;
    t->raw[t->raw_len] = 0;
    for (size_t i = 0; i < len; i++) {
        term_put(t, buf[i]);
    }
}

static void on_line(void *opaque, const char *line)
{
    Term *t = opaque;
    snprintf(t->lines[t->nr_lines++ % 16], sizeof(t->lines[0]), "%s", line);
    readline_prompt(t->rl);
}

static void on_complete(void *opaque, const char *text)
{
    Term *t = opaque;
    snprintf(t->asked, sizeof(t->asked), "%s", text);
    const char *last = strrchr(text, ' ');
    last = last ? last + 1 : text;
    for (const char *const *w = t->words; w && *w; w++) {
        if (!strncmp(*w, last, strlen(last))) {
            readline_offer(t->rl, *w);
        }
    }
}

static const ReadlineOps ops = { on_write, on_line, on_complete };

static Term *term_new(void)
{
    Term *t = calloc(1, sizeof(*t));
    t->rl = readline_new(&ops, t, "> ");
    readline_prompt(t->rl);
    return t;
}

static void term_free(Term *t)
{
    readline_free(t->rl);
    free(t);
}

static void type(Term *t, const char *keys)
{
    assert_int_equal(readline_input(t->rl, keys, strlen(keys)), strlen(keys));
}

static void expect(Term *t, const char *line, size_t col)
{
    assert_string_equal(t->rows[t->row], line);
    assert_int_equal(t->col, col);
}

/* From a fresh line: keys, then what the screen shows; Enter must deliver just that. */
static void check(const char *keys, const char *line, size_t col)
{
    Term *t = term_new();
    char want[256];
    snprintf(want, sizeof(want), "> %s", line);
    type(t, keys);
    expect(t, want, col + 2);
    type(t, "\r");
    assert_int_equal(t->nr_lines, 1);
    assert_string_equal(t->lines[0], line);
    expect(t, "> ", 2);
    term_free(t);
}

static void test_editing(void **state)
{
    (void)state;
    check("hello", "hello", 5);
    check("helo\033[Dl", "hello", 4);
    check("ello\001h", "hello", 1);
    check("hello\002\002\005!", "hello!", 6);
    check("hello\001\006\006X", "heXllo", 3);
    check("hellox\177", "hello", 5);
    check("hello\b\b", "hel", 3);
    check("xhello\033[H\033[3~", "hello", 0);
    check("hello\033[1~\004", "ello", 0);
    check("hello\004", "hello", 5);
    check("\177\033[D\033[C\033[3~", "", 0);
    check("one two three\027", "one two ", 8);
    check("one two three\033[1;5D\033bX", "one Xtwo three", 5);
    check("one two\001\033[1;5C!", "one! two", 4);
    check("one two\001\033d", " two", 0);
    check("one two\002\002\013", "one t", 5);
    check("one two\025x\031", "xone two", 8);
    check("one two\027\031\031", "one twotwo", 10);
    check("ab\024", "ba", 2);
    check("abc\002\024", "acb", 3);
    check("abc\033OD\033[4~d", "abcd", 4);
    check("abc\014d", "abcd", 4);
    check("abc\033[99;99zd\033[?25h", "abcd", 4); /* unknown keys do nothing */
    check("drop\003kept", "kept", 4);
}

static void test_utf8(void **state)
{
    (void)state;
    Term *t = term_new();
    type(t, "a\303\251\342\202\254b\033[D\177\r"); /* the euro sign goes whole */
    assert_string_equal(t->lines[0], "a\303\251b");
    term_free(t);
}

static void test_plain_echo(void **state)
{
    (void)state;
    Term *t = term_new();
    type(t, "info status\n");
    assert_string_equal(t->raw, "> info status\r\n> "); /* nothing for a script to trip over */
    type(t, "a\r\nb\nc\r");
    assert_int_equal(t->nr_lines, 4); /* CR LF is one Enter */
    term_free(t);
}

static void test_history(void **state)
{
    (void)state;
    Term *t = term_new();
    type(t, "one\rtwo\rtwo\r\rthree\r");
    assert_string_equal(readline_history(t->rl, 0), "one");
    assert_string_equal(readline_history(t->rl, 1), "two");
    assert_string_equal(readline_history(t->rl, 2), "three");
    assert_null(readline_history(t->rl, 3));
    type(t, "draft\033[A");
    expect(t, "> three", 7);
    type(t, "\033[A\020\020\033[A");
    expect(t, "> one", 5);
    type(t, "\033[B");
    expect(t, "> two", 5);
    type(t, "\016\016\016\016");
    expect(t, "> draft", 7);
    type(t, "\020\020 again\r");
    assert_string_equal(t->lines[(t->nr_lines - 1) % 16], "two again");
    for (int i = 0; i < 300; i++) {
        char line[16];
        snprintf(line, sizeof(line), "n%d\r", i);
        t->row = t->col = 0;
        t->raw_len = 0;
        memset(t->rows, 0, sizeof(t->rows));
        type(t, line);
    }
    assert_string_equal(readline_history(t->rl, READLINE_HISTORY - 1), "n299");
    assert_null(readline_history(t->rl, READLINE_HISTORY));
    term_free(t);
}

static void test_search(void **state)
{
    (void)state;
    Term *t = term_new();
    type(t, "info status\rinfo pci\rstop\r\022info");
    expect(t, "(search)'info': info pci", 24);
    type(t, "\022");
    expect(t, "(search)'info': info status", 27);
    type(t, "\022");
    assert_non_null(strstr(t->rows[t->row], "failed"));
    type(t, "\r");
    assert_string_equal(t->lines[3], "info status");
    type(t, "\022pc\001x\r"); /* another key ends the search and acts */
    assert_string_equal(t->lines[4], "xinfo pci");
    type(t, "\022stop\003");
    expect(t, "> ", 2);
    term_free(t);
}

static void test_completion(void **state)
{
    (void)state;
    static const char *const words[] = { "screendump", "sendkey", "stop", "system_powerdown",
                                         "system_reset", "dir/", NULL };
    Term *t = term_new();
    t->words = words;
    type(t, "scr\t");
    expect(t, "> screendump ", 13);
    assert_string_equal(t->asked, "scr");
    type(t, "\025sy\t");
    expect(t, "> system_", 9);
    type(t, "\t"); /* the second Tab lists */
    expect(t, "> system_", 9);
    assert_non_null(strstr(t->rows[t->row - 1], "system_powerdown"));
    assert_non_null(strstr(t->rows[t->row - 1], "system_reset"));
    type(t, "r\t");
    expect(t, "> system_reset ", 15);
    type(t, "\025logfile d\t");
    expect(t, "> logfile dir/", 14);
    type(t, "\025nothing\t\t");
    expect(t, "> nothing", 9);
    type(t, "\025send \001\006\006\006\006\t"); /* in the middle of a line */
    expect(t, "> sendkey ", 9);
    term_free(t);
}

static void test_long_lines(void **state)
{
    (void)state;
    Term *t = term_new();
    char *big = malloc(10001);
    memset(big, 'x', 10000);
    big[10000] = 0;
    type(t, big);
    assert_int_equal(t->bells, 1);
    type(t, "\r");
    assert_int_equal(strlen(t->lines[0]), READLINE_MAX);
    type(t, "\031\025ok\r");
    assert_string_equal(t->lines[1], "ok");
    free(big);
    term_free(t);
}

/* Any bytes at all: no crash, and the screen is what the line is. */
static void test_garbage(void **state)
{
    (void)state;
    unsigned seed = 12345;
    for (int round = 0; round < 200; round++) {
        Term *t = term_new();
        for (int i = 0; i < 100; i++) {
            static const char keys[] = "ab c\001\002\004\005\006\010\013\020\016\022\024\025\027\031"
                                       "\033[ACDB~3;OHF\177\007";
            seed = seed * 1103515245 + 12345;
            type(t, (char[]){ keys[(seed >> 16) % (sizeof(keys) - 1)], 0 });
        }
        char shown[8192];
        type(t, "\033[[\007\007\005"); /* out of any half-done sequence or search */
        snprintf(shown, sizeof(shown), "%s", t->rows[t->row]);
        unsigned before = t->nr_lines;
        type(t, "\r");
        assert_int_equal(t->nr_lines, before + 1);
        if (strncmp(shown, "> ", 2) || strcmp(shown + 2, t->lines[before % 16])) {
            print_message("seed round %d: screen '%s', line '%s'\n", round, shown,
                          t->lines[before % 16]);
            fail();
        }
        term_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_editing),    cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_plain_echo), cmocka_unit_test(test_history),
        cmocka_unit_test(test_search),     cmocka_unit_test(test_completion),
        cmocka_unit_test(test_long_lines), cmocka_unit_test(test_garbage),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
