/* SPDX-License-Identifier: GPL-2.0-or-later
 * Text to values, and the nearest word to a misspelt one. Declared in dict.h.
 */
#include <ctype.h>
#include <errno.h>

#include "util/alloc.h"
#include "util/dict.h"

bool parse_bool(const char *text, bool *out)
{
    static const char *const on[] = { "on", "yes", "true", "y", "1" };
    static const char *const off[] = { "off", "no", "false", "n", "0" };
    for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
        if (!strcmp(text, on[i]) || !strcmp(text, off[i])) {
            *out = text == on[i] || !strcmp(text, on[i]);
            return true;
        }
    }
    return false;
}

bool parse_u64(const char *text, uint64_t *out)
{
    if (!isdigit((unsigned char)text[0])) {
        return false; /* no sign, no blanks */
    }
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno || *end) {
        return false;
    }
    *out = v;
    return true;
}

static int suffix_shift(char c)
{
    static const char letters[] = "bkmgtpe";
    const char *p = c ? strchr(letters, tolower((unsigned char)c)) : NULL;
    return p ? 10 * (int)(p - letters) : -1;
}

/* "512", "0x200", "1.5G", "64k", "1GiB" */
bool parse_size(const char *text, uint64_t unit, uint64_t *out)
{
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long whole = strtoull(text, &end, strncasecmp(text, "0x", 2) ? 10 : 16);
    if (errno) {
        return false;
    }
    double fraction = 0;
    if (*end == '.') {
        fraction = strtod(end, &end);
    }
    if (*end) {
        int shift = suffix_shift(*end++);
        if (shift < 0) {
            return false;
        }
        unit = 1ull << shift;
        if (shift && (!strcasecmp(end, "b") || !strcasecmp(end, "ib"))) {
            end += strlen(end);
        }
    }
    uint64_t bytes;
    if (*end || __builtin_mul_overflow((uint64_t)whole, unit, &bytes) ||
        __builtin_add_overflow(bytes, (uint64_t)(fraction * (double)unit), &bytes)) {
        return false;
    }
    *out = bytes;
    return true;
}

/* Insertions, deletions, substitutions and swaps of neighbours between a and b; a change of case
 * or of '-' and '_' is free. */
static unsigned edit_distance(const char *a, const char *b)
{
    enum { MAX_WORD = 64 };
    size_t la = strlen(a), lb = strlen(b);
    if (la > MAX_WORD || lb > MAX_WORD) {
        return UINT32_MAX;
    }
    unsigned row[3][MAX_WORD + 1]; /* the rows before last, last, and now */
    unsigned *prev2 = row[0], *prev = row[1], *cur = row[2];
    for (size_t j = 0; j <= lb; j++) {
        prev[j] = j;
    }
    char ca1 = 0;
    for (size_t i = 1; i <= la; i++) {
        char ca = a[i - 1] == '_' ? '-' : tolower((unsigned char)a[i - 1]), cb1 = 0;
        cur[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            char cb = b[j - 1] == '_' ? '-' : tolower((unsigned char)b[j - 1]);
            unsigned best = prev[j - 1] + (ca != cb);
            best = MIN(best, prev[j] + 1);
            best = MIN(best, cur[j - 1] + 1);
            if (i > 1 && j > 1 && ca == cb1 && ca1 == cb) {
                best = MIN(best, prev2[j - 2] + 1);
            }
            cur[j] = best;
            cb1 = cb;
        }
        ca1 = ca;
        unsigned *old = prev2;
        prev2 = prev;
        prev = cur;
        cur = old;
    }
    return prev[lb];
}

const char *suggest(const char *word, const char *const *words)
{
    size_t len = strlen(word);
    unsigned best = len < 5 ? 1 : (len + 1) / 3;
    const char *near = NULL;
    for (; *words; words++) {
        unsigned d = edit_distance(word, *words);
        /* Nothing of the word left is no resemblance. */
        if (d < len && d < strlen(*words) && (d < best || (d == best && !near))) {
            best = d;
            near = *words;
        }
    }
    return near;
}
