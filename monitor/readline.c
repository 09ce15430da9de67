/* SPDX-License-Identifier: GPL-2.0-or-later
 * Line editing; see readline.h. The line is UTF-8; the cursor moves by characters, each taken to
 * be one column wide. A typed character at the end of the line is echoed alone, with no escape
 * sequences around it, so that a program on the other end sees plain text and a bare prompt.
 *
 *   bytes --ESC--> escape --[ or O--> CSI parameters --final byte--> a key
 *         '------ control or text --------------------------------> a key
 */
#include "monitor/readline.h"

#include <ctype.h>
#include <stdio.h>

#include "util/alloc.h"

enum Phase { PHASE_TEXT, PHASE_ESC, PHASE_CSI, PHASE_SS3 };
#define CTRL(c) ((c) & 0x1f)
enum { KEY_ESC = 27, KEY_BACKSPACE = 127 };

struct Readline {
    const ReadlineOps *ops;
    void *opaque;
    char *prompt;
    char line[READLINE_MAX + 1], killed[READLINE_MAX + 1];
    size_t len, pos;
    bool active;  /* a prompt is on the screen */
    bool full;    /* the bell has rung */
    bool last_cr; /* to take CR LF as one Enter */
    enum Phase phase;
    unsigned param[2], nr_param;
    char *history[READLINE_HISTORY]; /* oldest first */
    size_t nr_history, at;           /* at: what up and down show; nr_history: the new line */
    char *draft;                     /* the new line while history is shown */
    bool searching;
    char search[128];
    size_t search_len, match;
    char **words; /* offered candidates */
    size_t nr_words;
    bool last_tab; /* the second Tab in a row lists */
};

static void put(Readline *rl, const char *buf, size_t len)
{
    rl->ops->write(rl->opaque, buf, len);
}

static void puts_to(Readline *rl, const char *s)
{
    put(rl, s, strlen(s));
}

/* ---- characters and columns ---- */

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t columns(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += !is_continuation(s[i]);
    }
    return n;
}

static size_t prev_char(const Readline *rl, size_t pos)
{
    while (pos && is_continuation(rl->line[--pos])) {
    }
    return pos;
}

static size_t next_char(const Readline *rl, size_t pos)
{
    if (pos < rl->len) {
        pos++;
    }
    while (pos < rl->len && is_continuation(rl->line[pos])) {
        pos++;
    }
    return pos;
}

static size_t prev_word(const Readline *rl, size_t pos)
{
    while (pos && rl->line[pos - 1] == ' ') {
        pos--;
    }
    while (pos && rl->line[pos - 1] != ' ') {
        pos--;
    }
    return pos;
}

static size_t next_word(const Readline *rl, size_t pos)
{
    while (pos < rl->len && rl->line[pos] == ' ') {
        pos++;
    }
    while (pos < rl->len && rl->line[pos] != ' ') {
        pos++;
    }
    return pos;
}

/* ---- the screen ---- */

static void move_columns(Readline *rl, size_t n, char direction)
{
    char esc[24];
    if (n) {
        put(rl, esc, snprintf(esc, sizeof(esc), "\033[%zu%c", n, direction));
    }
}

static void move_to(Readline *rl, size_t pos)
{
    if (pos < rl->pos) {
        move_columns(rl, columns(rl->line + pos, rl->pos - pos), 'D');
    } else {
        move_columns(rl, columns(rl->line + rl->pos, pos - rl->pos), 'C');
    }
    rl->pos = pos;
}

/* Everything from the cursor on was changed. */
static void redraw_tail(Readline *rl)
{
    put(rl, rl->line + rl->pos, rl->len - rl->pos);
    puts_to(rl, "\033[K");
    move_columns(rl, columns(rl->line + rl->pos, rl->len - rl->pos), 'D');
}

static void redraw(Readline *rl)
{
    puts_to(rl, "\r");
    puts_to(rl, rl->prompt);
    put(rl, rl->line, rl->len);
    puts_to(rl, "\033[K");
    move_columns(rl, columns(rl->line + rl->pos, rl->len - rl->pos), 'D');
}

void readline_hide(Readline *rl)
{
    if (rl->active) {
        puts_to(rl, "\r\033[K");
    }
}

void readline_show(Readline *rl)
{
    if (rl->active) {
        redraw(rl);
    }
}

/* ---- editing ---- */

static void insert(Readline *rl, const char *s, size_t len)
{
    if (rl->len + len > READLINE_MAX) {
        if (!rl->full) { /* once, however much more comes */
            puts_to(rl, "\a");
            rl->full = true;
        }
        return;
    }
    rl->full = false;
    memmove(rl->line + rl->pos + len, rl->line + rl->pos, rl->len - rl->pos);
    memcpy(rl->line + rl->pos, s, len);
    rl->len += len;
    put(rl, s, len);
    rl->pos += len;
    if (rl->pos < rl->len) {
        redraw_tail(rl);
    }
}

static void delete_range(Readline *rl, size_t from, size_t to, bool kill)
{
    if (from == to) {
        return;
    }
    if (kill) {
        memcpy(rl->killed, rl->line + from, to - from);
        rl->killed[to - from] = 0;
    }
    move_to(rl, from);
    memmove(rl->line + from, rl->line + to, rl->len - to);
    rl->len -= to - from;
    redraw_tail(rl);
}

static void replace_line(Readline *rl, const char *s)
{
    move_to(rl, 0);
    rl->len = MIN(strlen(s), (size_t)READLINE_MAX);
    memcpy(rl->line, s, rl->len);
    put(rl, rl->line, rl->len);
    puts_to(rl, "\033[K");
    rl->pos = rl->len;
}

static void transpose(Readline *rl)
{
    size_t b = rl->pos == rl->len ? prev_char(rl, rl->pos) : rl->pos, a = prev_char(rl, b);
    size_t end = next_char(rl, b), nb = end - b;
    char tmp[8];
    if (a == b || nb > sizeof(tmp)) {
        return;
    }
    move_to(rl, a);
    memcpy(tmp, rl->line + b, nb);
    memmove(rl->line + a + nb, rl->line + a, b - a);
    memcpy(rl->line + a, tmp, nb);
    redraw_tail(rl);
    move_to(rl, end);
}

/* ---- history ---- */

static void history_add(Readline *rl, const char *line)
{
    if (!*line || (rl->nr_history && !strcmp(rl->history[rl->nr_history - 1], line))) {
        return;
    }
    if (rl->nr_history == READLINE_HISTORY) {
        free(rl->history[0]);
        rl->nr_history--;
        memmove(rl->history, rl->history + 1, rl->nr_history * sizeof(char *));
    }
    rl->history[rl->nr_history++] = xstrdup(line);
}

const char *readline_history(const Readline *rl, size_t i)
{
    return i < rl->nr_history ? rl->history[i] : NULL;
}

static void history_go(Readline *rl, size_t to)
{
    if (to > rl->nr_history || to == rl->at) {
        return;
    }
    if (rl->at == rl->nr_history) {
        free(rl->draft);
        rl->draft = xstrndup(rl->line, rl->len);
    }
    rl->at = to;
    replace_line(rl, to == rl->nr_history ? rl->draft : rl->history[to]);
}

static void show_search(Readline *rl, bool found)
{
    char head[sizeof(rl->search) + 32];
    snprintf(head, sizeof(head), "\r(%ssearch)'%.*s': ", found ? "" : "failed ",
             (int)rl->search_len, rl->search);
    puts_to(rl, head);
    put(rl, rl->line, rl->len);
    puts_to(rl, "\033[K");
}

/* The newest line before `before` that holds what is searched. */
static void search_from(Readline *rl, size_t before)
{
    rl->search[rl->search_len] = 0;
    for (size_t i = before; i-- > 0;) {
        if (strstr(rl->history[i], rl->search)) {
            rl->match = i;
            rl->len = MIN(strlen(rl->history[i]), (size_t)READLINE_MAX);
            memcpy(rl->line, rl->history[i], rl->len);
            rl->pos = rl->len;
            show_search(rl, true);
            return;
        }
    }
    show_search(rl, false);
}

static void search_end(Readline *rl)
{
    rl->searching = false;
    rl->at = rl->nr_history;
    redraw(rl);
}

/* True if the key was the search's own; any other ends it and is then obeyed. */
static bool search_key(Readline *rl, char c)
{
    if (c == CTRL('r')) {
        search_from(rl, rl->match);
    } else if (c == CTRL('g') || c == CTRL('c')) {
        rl->len = rl->pos = 0;
        search_end(rl);
    } else if (c == KEY_BACKSPACE || c == CTRL('h')) {
        rl->search_len -= rl->search_len > 0;
        search_from(rl, rl->nr_history);
    } else if ((unsigned char)c >= ' ') {
        if (rl->search_len < sizeof(rl->search) - 1) {
            rl->search[rl->search_len++] = c;
        }
        search_from(rl, MIN(rl->match + 1, rl->nr_history));
    } else {
        search_end(rl);
        return c == KEY_ESC;
    }
    return true;
}

/* ---- completion ---- */

void readline_offer(Readline *rl, const char *word)
{
    for (size_t i = 0; i < rl->nr_words; i++) {
        if (!strcmp(rl->words[i], word)) {
            return;
        }
    }
    rl->words = xrealloc(rl->words, (rl->nr_words + 1) * sizeof(char *));
    rl->words[rl->nr_words++] = xstrdup(word);
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_words(Readline *rl)
{
    size_t width = 0, used = 0;
    for (size_t i = 0; i < rl->nr_words; i++) {
        width = MAX(width, strlen(rl->words[i]) + 2);
    }
    qsort(rl->words, rl->nr_words, sizeof(char *), compare_words);
    for (size_t i = 0; i < rl->nr_words; i++) {
        if (!i || used + width > 80) {
            puts_to(rl, "\r\n");
            used = 0;
        }
        puts_to(rl, rl->words[i]);
        for (size_t n = strlen(rl->words[i]); n < width; n++) {
            puts_to(rl, " ");
        }
        used += width;
    }
    puts_to(rl, "\r\n");
    redraw(rl);
}

/* How much of the text left of the cursor the word's beginning is. */
static size_t overlap(const Readline *rl, const char *word)
{
    size_t best = 0;
    for (size_t n = 1; n <= rl->pos && n <= strlen(word); n++) {
        if (!memcmp(rl->line + rl->pos - n, word, n)) {
            best = n;
        }
    }
    return best;
}

static void complete(Readline *rl)
{
    char *text = xstrndup(rl->line, rl->pos);
    rl->ops->complete(rl->opaque, text);
    free(text);
    if (rl->nr_words) {
        size_t common = strlen(rl->words[0]);
        for (size_t i = 1; i < rl->nr_words; i++) {
            size_t n = 0;
            while (n < common && rl->words[i][n] == rl->words[0][n]) {
                n++;
            }
            common = n;
        }
        size_t have = overlap(rl, rl->words[0]);
        if (common > have) {
            insert(rl, rl->words[0] + have, common - have);
        } else if (rl->nr_words > 1 && rl->last_tab) {
            list_words(rl);
        }
        if (rl->nr_words == 1 && common && rl->words[0][common - 1] != '/' &&
            rl->pos == rl->len) {
            insert(rl, " ", 1);
        }
    }
    for (size_t i = 0; i < rl->nr_words; i++) {
        free(rl->words[i]);
    }
    free(rl->words);
    rl->words = NULL;
    rl->nr_words = 0;
}

/* ---- keys ---- */

static void enter(Readline *rl)
{
    move_to(rl, rl->len);
    puts_to(rl, "\r\n");
    rl->line[rl->len] = 0;
    rl->active = false;
    history_add(rl, rl->line);
    rl->at = rl->nr_history;
    rl->ops->line(rl->opaque, rl->line);
}

static void control_key(Readline *rl, char c)
{
    switch (c) {
    case CTRL('a'): move_to(rl, 0); break;
    case CTRL('b'): move_to(rl, prev_char(rl, rl->pos)); break;
    case CTRL('c'):
        puts_to(rl, "^C\r\n");
        readline_prompt(rl);
        break;
    case CTRL('d'): delete_range(rl, rl->pos, next_char(rl, rl->pos), false); break;
    case CTRL('e'): move_to(rl, rl->len); break;
    case CTRL('f'): move_to(rl, next_char(rl, rl->pos)); break;
    case CTRL('h'):
    case KEY_BACKSPACE: delete_range(rl, prev_char(rl, rl->pos), rl->pos, false); break;
    case '\t': complete(rl); break;
    case '\n':
    case '\r': enter(rl); break;
    case CTRL('k'): delete_range(rl, rl->pos, rl->len, true); break;
    case CTRL('l'):
        puts_to(rl, "\033[H\033[2J");
        redraw(rl);
        break;
    case CTRL('n'): history_go(rl, rl->at + 1); break;
    case CTRL('p'): history_go(rl, rl->at - 1); break; /* below 0 wraps and is refused */
    case CTRL('r'):
        rl->searching = true;
        rl->search_len = 0;
        rl->match = rl->nr_history;
        show_search(rl, true);
        break;
    case CTRL('t'): transpose(rl); break;
    case CTRL('u'): delete_range(rl, 0, rl->pos, true); break;
    case CTRL('w'): delete_range(rl, prev_word(rl, rl->pos), rl->pos, true); break;
    case CTRL('y'): insert(rl, rl->killed, strlen(rl->killed)); break;
    case KEY_ESC: rl->phase = PHASE_ESC; break;
    default: break;
    }
}

static void meta_key(Readline *rl, char c)
{
    rl->phase = PHASE_TEXT;
    switch (tolower((unsigned char)c)) {
    case '[':
        rl->phase = PHASE_CSI;
        rl->nr_param = rl->param[0] = rl->param[1] = 0;
        break;
    case 'o': rl->phase = c == 'O' ? PHASE_SS3 : PHASE_TEXT; break;
    case 'b': move_to(rl, prev_word(rl, rl->pos)); break;
    case 'f': move_to(rl, next_word(rl, rl->pos)); break;
    case 'd': delete_range(rl, rl->pos, next_word(rl, rl->pos), true); break;
    case KEY_BACKSPACE: delete_range(rl, prev_word(rl, rl->pos), rl->pos, true); break;
    default: break;
    }
}

/* ECMA-48 CSI sequences as xterm and the Linux console send them. */
static void csi_key(Readline *rl, char c)
{
    if (isdigit((unsigned char)c)) {
        unsigned *p = &rl->param[MIN(rl->nr_param, 1u)];
        *p = MIN(*p * 10 + (unsigned)(c - '0'), 999u);
        return;
    } else if (c == ';') {
        rl->nr_param++;
        return;
    } else if (c < 0x40) {
        return; /* a private or intermediate byte */
    }
    bool word = rl->param[1] == 5 || rl->param[1] == 3; /* with Ctrl or Alt */
    rl->phase = PHASE_TEXT;
    switch (c) {
    case 'A': history_go(rl, rl->at - 1); break;
    case 'B': history_go(rl, rl->at + 1); break;
    case 'C': move_to(rl, word ? next_word(rl, rl->pos) : next_char(rl, rl->pos)); break;
    case 'D': move_to(rl, word ? prev_word(rl, rl->pos) : prev_char(rl, rl->pos)); break;
    case 'F': move_to(rl, rl->len); break;
    case 'H': move_to(rl, 0); break;
    case '~':
        if (rl->param[0] == 3) {
            delete_range(rl, rl->pos, next_char(rl, rl->pos), false);
        } else if (rl->param[0] == 1 || rl->param[0] == 7) {
            move_to(rl, 0);
        } else if (rl->param[0] == 4 || rl->param[0] == 8) {
            move_to(rl, rl->len);
        }
        break;
    default: break;
    }
}

static void input_byte(Readline *rl, char c)
{
    bool tab = c == '\t' && rl->phase == PHASE_TEXT;
    if (rl->phase == PHASE_ESC) {
        meta_key(rl, c);
    } else if (rl->phase != PHASE_TEXT) {
        csi_key(rl, c);
    } else if (rl->searching && search_key(rl, c)) {
        /* done */
    } else if ((unsigned char)c >= ' ' && c != KEY_BACKSPACE) {
        insert(rl, &c, 1);
    } else {
        control_key(rl, c);
    }
    rl->last_tab = tab;
}

size_t readline_input(Readline *rl, const void *buf, size_t len)
{
    const char *p = buf;
    size_t i;
    for (i = 0; i < len && rl->active; i++) {
        bool lf_of_crlf = rl->last_cr && p[i] == '\n';
        rl->last_cr = p[i] == '\r';
        if (!lf_of_crlf) {
            input_byte(rl, p[i]);
        }
    }
    return i;
}

/* ---- life ---- */

Readline *readline_new(const ReadlineOps *ops, void *opaque, const char *prompt)
{
    Readline *rl = xcalloc(1, sizeof(*rl));
    rl->ops = ops;
    rl->opaque = opaque;
    rl->prompt = xstrdup(prompt);
    return rl;
}

void readline_free(Readline *rl)
{
    for (size_t i = 0; i < rl->nr_history; i++) {
        free(rl->history[i]);
    }
    free(rl->draft);
    free(rl->prompt);
    free(rl);
}

void readline_prompt(Readline *rl)
{
    rl->len = rl->pos = 0;
    rl->at = rl->nr_history;
    rl->phase = PHASE_TEXT;
    rl->searching = false;
    rl->active = true;
    puts_to(rl, rl->prompt);
}
