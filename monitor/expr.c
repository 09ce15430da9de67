/* SPDX-License-Identifier: GPL-2.0-or-later
 * Expressions in monitor commands: C's integer operators on unsigned 64-bit values, numbers in
 * C's notation, characters, and registers of the chosen vCPU.
 *
 *   or = xor { '|' xor }      xor = and { '^' and }       and = shift { '&' shift }
 *   shift = sum { <<|>> sum } sum = product { +|- product } product = unary { *|/|% unary }
 *   unary = [+ - ~] unary | number | 'c' | $register | ( or )
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/internal.h"

enum { MAX_DEPTH = 64 }; /* of parentheses and signs: the text comes from outside */

typedef struct Parser {
    Monitor *mon;
    const char *p;
    Error **errp;
    unsigned depth;
    bool alone; /* no other argument follows */
} Parser;

static bool parse_binary(Parser *s, unsigned level, uint64_t *out);

static void skip_blanks(Parser *s)
{
    while (isspace((unsigned char)*s->p)) {
        s->p++;
    }
}

static bool parse_register(Parser *s, uint64_t *out)
{
    char name[32];
    size_t n = 0;
    for (s->p++; isalnum((unsigned char)*s->p) || *s->p == '_' || *s->p == '.'; s->p++) {
        if (n < sizeof(name) - 1) {
            name[n++] = (char)tolower((unsigned char)*s->p);
        }
    }
    name[n] = 0;
    struct CpuState *cpu = monitor_cpu_hold(s->mon);
    if (!cpu) {
        return error_set(s->errp, "$%s: this machine has no CPU", name);
    }
    bool ok = cpu_register(cpu, name, out);
    monitor_cpu_release(s->mon);
    if (ok) {
        return true;
    }
    const char *names[160];
    unsigned nr = 0;
    while (nr < ARRAY_SIZE(names) - 1 && (names[nr] = cpu_register_name(nr))) {
        nr++;
    }
    names[nr] = NULL;
    const char *near = suggest(name, names);
    return near ? error_set(s->errp, "there is no register '$%s'; did you mean '$%s'?", name, near)
                : error_set(s->errp, "there is no register '$%s'", name);
}

static bool parse_char(Parser *s, uint64_t *out)
{
    static const char escapes[][2] = { { 'n', '\n' }, { 'r', '\r' }, { 't', '\t' }, { '0', 0 } };
    s->p++;
    if (*s->p == '\\' && s->p[1]) {
        s->p++;
        *out = (unsigned char)*s->p;
        for (size_t i = 0; i < ARRAY_SIZE(escapes); i++) {
            *out = *s->p == escapes[i][0] ? (unsigned char)escapes[i][1] : *out;
        }
    } else {
        *out = (unsigned char)*s->p;
    }
    if (!*s->p || s->p[1] != '\'') {
        return error_set(s->errp, "a character is written 'c'");
    }
    s->p += 2;
    return true;
}

static bool parse_number(Parser *s, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(s->p, &end, 0);
    if (errno == ERANGE) {
        return error_set(s->errp, "the number '%.*s' does not fit in 64 bits", (int)(end - s->p),
                         s->p);
    }
    if (isalnum((unsigned char)*end) || *end == '_') {
        return error_set(s->errp, "'%.20s' is not a number", s->p);
    }
    s->p = end;
    return true;
}

static bool parse_unary(Parser *s, uint64_t *out)
{
    bool ok;
    skip_blanks(s);
    char c = *s->p;
    if (isdigit((unsigned char)c)) {
        ok = parse_number(s, out);
    } else if (c == '$') {
        ok = parse_register(s, out);
    } else if (c == '\'') {
        ok = parse_char(s, out);
    } else if (!c) {
        ok = error_set(s->errp, "an expression ends too early");
    } else if (!strchr("+-~(", c)) {
        ok = error_set(s->errp, "'%.20s' is not an expression", s->p);
    } else if (++s->depth > MAX_DEPTH) {
        ok = error_set(s->errp, "an expression is nested too deeply");
    } else {
        s->p++;
        ok = c == '(' ? parse_binary(s, 0, out) : parse_unary(s, out);
        s->depth--;
        if (ok && c == '(') {
            ok = *s->p == ')' || error_set(s->errp, "a ')' is missing");
            s->p += ok;
        }
        *out = c == '-' ? -*out : c == '~' ? ~*out : *out;
    }
    skip_blanks(s);
    return ok;
}

/* The operator of that level at p, 0 if there is none; << and >> are '<' and '>'. */
static char operator_at(const Parser *s, unsigned level)
{
    static const char *const levels[] = { "|", "^", "&", "<>", "+-", "*/%" };
    const char *p = s->p;
    if (!*p || !strchr(levels[level], *p) || (level == 3 && p[1] != *p)) {
        return 0;
    }
    /* "0x1000 /tmp/x" and "5 -3" are two arguments, "5 - 3" and "5-3" one. */
    bool new_word = !s->alone && !s->depth && isspace((unsigned char)p[-1]) &&
                    !isspace((unsigned char)p[1]);
    return new_word ? 0 : *p;
}

static bool apply(Parser *s, char op, uint64_t *a, uint64_t b)
{
    switch (op) {
    case '|': *a |= b; break;
    case '^': *a ^= b; break;
    case '&': *a &= b; break;
    case '<': *a = b < 64 ? *a << b : 0; break;
    case '>': *a = b < 64 ? *a >> b : 0; break;
    case '+': *a += b; break;
    case '-': *a -= b; break;
    case '*': *a *= b; break;
    default:
        if (!b) {
            return error_set(s->errp, "division by zero");
        }
        *a = op == '/' ? *a / b : *a % b;
    }
    return true;
}

static bool parse_binary(Parser *s, unsigned level, uint64_t *out)
{
    if (level == 6) {
        return parse_unary(s, out);
    }
    if (!parse_binary(s, level + 1, out)) {
        return false;
    }
    char op;
    while ((op = operator_at(s, level))) {
        uint64_t rhs = 0;
        s->p += level == 3 ? 2 : 1;
        if (!parse_binary(s, level + 1, &rhs) || !apply(s, op, out, rhs)) {
            return false;
        }
    }
    return true;
}

bool monitor_expr(Monitor *mon, const char **p, bool alone, uint64_t *out, Error **errp)
{
    Parser s = { .mon = mon, .p = *p, .errp = errp, .alone = alone };
    *out = 0;
    bool ok = parse_binary(&s, 0, out);
    *p = s.p;
    return ok;
}
