/* SPDX-License-Identifier: GPL-2.0-or-later
 * From the text behind a command's name to a dictionary, as the command's row asks for it. The
 * types are listed in monitor.h. Flags ("-a") may stand anywhere before the last argument ends;
 * a format ("/10xb") follows the name directly and arrives as count, format and size.
 */
#include <ctype.h>
#include <string.h>

#include "monitor/internal.h"

int args_parse_spec(const char *spec, ArgSpec out[MAX_ARGS])
{
    int nr = 0;
    for (const char *p = spec ? spec : ""; *p; nr++) {
        const char *colon = strchr(p, ':');
        if (!colon || nr == MAX_ARGS || (size_t)(colon - p) >= sizeof(out->name)) {
            return -1;
        }
        ArgSpec *a = &out[nr];
        *a = (ArgSpec){ .type = colon[1] };
        memcpy(a->name, p, colon - p);
        p = colon + 1;
        if (!*p || !strchr("sFBSilob/-", *p++)) {
            return -1;
        }
        if (a->type == '-') {
            a->optional = true;
            a->flag = *p;
            p += *p != 0;
            if (*p == 's') {
                a->flag_arg = *p++;
            }
        } else if (a->type == '/') {
            a->optional = true;
        } else if (*p == '?') {
            a->optional = true;
            p++;
        }
        if (*p && *p++ != ',') {
            return -1;
        }
    }
    return nr;
}

static const char *skip_blanks(const char *p)
{
    while (isspace((unsigned char)*p)) {
        p++;
    }
    return p;
}

/* One word, or "text in quotes" with \n \t \r \" \\ inside; a new string. */
static char *take_word(const char **p, Error **errp)
{
    const char *s = *p;
    char *out = xmalloc(strlen(s) + 1);
    size_t n = 0;
    if (*s != '"') {
        while (*s && !isspace((unsigned char)*s)) {
            out[n++] = *s++;
        }
    } else {
        for (s++; *s && *s != '"'; s++) {
            if (*s == '\\' && s[1]) {
                s++;
                out[n++] = *s == 'n' ? '\n' : *s == 't' ? '\t' : *s == 'r' ? '\r' : *s;
            } else {
                out[n++] = *s;
            }
        }
        if (*s++ != '"') {
            error_set(errp, "a closing '\"' is missing");
            free(out);
            return NULL;
        }
    }
    out[n] = 0;
    *p = s;
    return out;
}

/* "/10xb": count, then format and size letters in any order. */
static bool parse_format(Dict *d, const char **p, Error **errp)
{
    uint64_t count = 0;
    const char *s = *p + 1, *start = s;
    for (; isdigit((unsigned char)*s); s++) {
        count = MIN(count * 10 + (unsigned)(*s - '0'), 1u << 20);
    }
    if (s > start) {
        dict_setf(d, "count", "%llu", (unsigned long long)count);
    }
    for (; *s && !isspace((unsigned char)*s); s++) {
        char one[2] = { *s, 0 };
        if (strchr("bhwg", *s)) {
            dict_set(d, "size", one);
        } else if (strchr("xduoci", *s)) {
            dict_set(d, "format", one);
        } else {
            return error_set(errp, "'/%s': after a count come a format (x d u o c i) and a size "
                                   "(b h w g)", start);
        }
    }
    *p = s;
    return true;
}

static const ArgSpec *flag_at(const ArgSpec *spec, int nr, const char *p)
{
    if (p[0] != '-' || !p[1] || (p[2] && !isspace((unsigned char)p[2]))) {
        return NULL;
    }
    for (int i = 0; i < nr; i++) {
        if (spec[i].type == '-' && spec[i].flag == p[1]) {
            return &spec[i];
        }
    }
    return NULL;
}

static bool take_flags(const ArgSpec *spec, int nr, Dict *d, const char **p, Error **errp)
{
    const ArgSpec *a;
    for (*p = skip_blanks(*p); (a = flag_at(spec, nr, *p)); *p = skip_blanks(*p)) {
        *p = skip_blanks(*p + 2);
        if (!a->flag_arg) {
            dict_set(d, a->name, "on");
            continue;
        }
        if (!**p) {
            return error_set(errp, "-%c needs a value", a->flag);
        }
        char *word = take_word(p, errp);
        if (!word) {
            return false;
        }
        dict_set(d, a->name, word);
        free(word);
    }
    return true;
}

/* A word of a type other than an expression. */
static bool take_typed_word(Dict *d, const ArgSpec *a, const char **p, Error **errp)
{
    char *word = take_word(p, errp);
    uint64_t size;
    bool on, ok = word != NULL;
    if (ok && a->type == 'o') {
        ok = parse_size(word, MiB, &size) ||
             error_set(errp, "'%s' is not a size; for example 512 (MiB), 64k, 1G", word);
        if (ok) {
            dict_setf(d, a->name, "%llu", (unsigned long long)size);
        }
    } else if (ok && a->type == 'b') {
        ok = parse_bool(word, &on) || error_set(errp, "'%s' is not on or off", word);
        if (ok) {
            dict_set(d, a->name, on ? "on" : "off");
        }
    } else if (ok) {
        dict_set(d, a->name, word);
    }
    free(word);
    return ok;
}

static bool take_value(Monitor *mon, Dict *d, const ArgSpec *a, bool last, const char **p,
                       Error **errp)
{
    if (a->type == 'i' || a->type == 'l') {
        uint64_t v;
        if (!monitor_expr(mon, p, last, &v, errp)) {
            return false;
        }
        if (a->type == 'i' && v > UINT32_MAX && (int64_t)v < INT32_MIN) {
            return error_set(errp, "the value 0x%llx of '%s' does not fit in 32 bits",
                             (unsigned long long)v, a->name);
        }
        dict_setf(d, a->name, "%llu", (unsigned long long)v);
        return true;
    }
    if (a->type == 'S') {
        const char *end = *p + strlen(*p);
        while (end > *p && isspace((unsigned char)end[-1])) {
            end--;
        }
        char *rest = xstrndup(*p, end - *p);
        dict_set(d, a->name, rest);
        free(rest);
        *p += strlen(*p);
        return true;
    }
    return take_typed_word(d, a, p, errp);
}

static bool usage_error(const MonitorCommand *c, Error **errp)
{
    char name[64];
    return c->params ? error_prefix(errp, "%s %s: ", command_first_name(c, name), c->params)
                     : error_prefix(errp, "%s: ", command_first_name(c, name));
}

Dict *args_parse(Monitor *mon, const MonitorCommand *c, const char *text, Error **errp)
{
    ArgSpec spec[MAX_ARGS];
    int nr = args_parse_spec(c->args, spec);
    Dict *d = dict_new();
    bool ok = true;
    assert(nr >= 0);
    for (int i = 0; ok && i < nr; i++) {
        const ArgSpec *a = &spec[i];
        if (a->type == '/') {
            text = skip_blanks(text);
            ok = *text != '/' || parse_format(d, &text, errp);
            continue;
        }
        ok = take_flags(spec, nr, d, &text, errp);
        if (!ok || a->type == '-') {
            continue;
        }
        if (*text) {
            ok = take_value(mon, d, a, i == nr - 1, &text, errp);
        } else if (!a->optional) {
            ok = error_set(errp, "'%s' is missing", a->name);
        }
    }
    ok = ok && take_flags(spec, nr, d, &text, errp);
    if (ok && *text) {
        ok = error_set(errp, "'%s' is too much", text);
    }
    if (!ok) {
        usage_error(c, errp);
        dict_free(d);
        return NULL;
    }
    return d;
}

const ArgSpec *args_at_end(const ArgSpec *spec, int nr, const char *text, const char **prefix)
{
    int i = 0;
    *prefix = text = skip_blanks(text);
    if (nr && spec[0].type == '/' && *text == '/') {
        text += strcspn(text, " ");
    }
    for (;;) {
        while (i < nr && (spec[i].type == '-' || spec[i].type == '/')) {
            i++;
        }
        text = skip_blanks(text);
        const ArgSpec *flag = flag_at(spec, nr, text);
        *prefix = text;
        if (i < nr && spec[i].type == 'S') {
            return &spec[i];
        }
        while (*text && !isspace((unsigned char)*text)) {
            text++;
        }
        if (!*text) {
            return i < nr ? &spec[i] : NULL;
        }
        i += !flag;
    }
}

uint64_t arg_u64(const Dict *args, const char *name, uint64_t def)
{
    const char *text = dict_get(args, name);
    uint64_t v;
    return text && parse_u64(text, &v) ? v : def;
}

bool arg_bool(const Dict *args, const char *name)
{
    const char *text = dict_get(args, name);
    bool on = false;
    return text && parse_bool(text, &on) && on;
}
