/* SPDX-License-Identifier: GPL-2.0-or-later
 * Errors of the user or the host: one line of text that names cause and, where known, cure.
 *
 * A function that can fail is `bool f(..., Error **errp)` (or returns a pointer, NULL on
 * failure). errp is never NULL and *errp is NULL on entry. Whoever started the action reports.
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include "util/container.h"

typedef struct Error Error;

/* Sets *errp to a new error; returns false so that failing is one line. */
bool error_set(Error **errp, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Like error_set, and appends ": " and strerror(err). */
bool error_set_errno(Error **errp, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts text in front of the error already in *errp; returns false. */
bool error_prefix(Error **errp, const char *fmt, ...) PRINTF_LIKE(2, 3);
#if defined(__clang_analyzer__) && !defined(ERROR_C)
/* It does not look into other files to find out that these are false. */
#define error_set(...) ((void)(error_set)(__VA_ARGS__), false)
#define error_set_errno(...) ((void)(error_set_errno)(__VA_ARGS__), false)
#define error_prefix(...) ((void)(error_prefix)(__VA_ARGS__), false)
#endif
/* The text, without a newline; borrowed. */
const char *error_text(const Error *err);
void error_free(Error *err);
/* Who speaks: "vireo" if not told. name is kept. */
void error_set_program(const char *name);
/* Prints "vireo: TEXT" on stderr and frees err. Takes err. */
void error_report(Error *err);
/* Prints "vireo: warning: ..." / "vireo: ..." on stderr, one line, newline added. */
void warn_report(const char *fmt, ...) PRINTF_LIKE(1, 2);
void info_report(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
