/* SPDX-License-Identifier: GPL-2.0-or-later
 * Errors of the user or the host, and the lines printed on stderr.
 */
#define ERROR_C
#include "util/error.h"

#include "util/alloc.h"

struct Error {
    char *text;
};

static const char *program = "vireo"; /* set before threads start */

void error_set_program(const char *name)
{
    program = name;
}

static bool PRINTF_LIKE(2, 0) set_text(Error **errp, const char *fmt, va_list ap)
{
    assert(errp && !*errp);
    *errp = xmalloc(sizeof(Error));
    (*errp)->text = xvasprintf(fmt, ap);
    return false;
}

static void PRINTF_LIKE(2, 0) prefix_text(Error *err, const char *fmt, va_list ap)
{
    char *prefix = xvasprintf(fmt, ap);
    char *joined = xasprintf("%s%s", prefix, err->text);
    free(prefix);
    free(err->text);
    err->text = joined;
}

bool error_set(Error **errp, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_text(errp, fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_errno(Error **errp, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_text(errp, fmt, ap);
    va_end(ap);
    char *joined = xasprintf("%s: %s", (*errp)->text, strerror(err));
    free((*errp)->text);
    (*errp)->text = joined;
    return false;
}

bool error_prefix(Error **errp, const char *fmt, ...)
{
    assert(errp && *errp);
    va_list ap;
    va_start(ap, fmt);
    prefix_text(*errp, fmt, ap);
    va_end(ap);
    return false;
}

const char *error_text(const Error *err)
{
    return err->text;
}

void error_free(Error *err)
{
    if (err) {
        free(err->text);
        free(err);
    }
}

void error_report(Error *err)
{
    fprintf(stderr, "%s: %s\n", program, err->text);
    error_free(err);
}

/* One write per line, so that lines of several threads do not mix. */
static void PRINTF_LIKE(2, 0) report(const char *kind, const char *fmt, va_list ap)
{
    char *text = xvasprintf(fmt, ap);
    fprintf(stderr, "%s: %s%s\n", program, kind, text);
    free(text);
}

void warn_report(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report("warning: ", fmt, ap);
    va_end(ap);
}

void info_report(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report("", fmt, ap);
    va_end(ap);
}
