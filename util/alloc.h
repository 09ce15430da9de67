/* SPDX-License-Identifier: GPL-2.0-or-later
 * Allocation for host-side bookkeeping: small, and fatal when it fails, because nothing sensible
 * can be done then. What a guest or an image can make large (RAM, caches, tables of an image) is
 * allocated with plain malloc and checked.
 */
#ifndef UTIL_ALLOC_H
#define UTIL_ALLOC_H

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    assert(p);
    return p;
}

/* Zeroed. */
static inline void *xcalloc(size_t nr, size_t size)
{
    void *p = calloc(nr ? nr : 1, size ? size : 1);
    assert(p);
    return p;
}

static inline void *xrealloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    assert(p);
    return p;
}

/* NULL stays NULL. */
static inline char *xstrdup(const char *s)
{
    char *p = s ? strdup(s) : NULL;
    assert(p || !s);
    return p;
}

static inline char *xstrndup(const char *s, size_t len)
{
    char *p = strndup(s, len);
    assert(p);
    return p;
}

static inline char *__attribute__((format(printf, 1, 0))) xvasprintf(const char *fmt, va_list ap)
{
    char *p;
    int len = vasprintf(&p, fmt, ap);
    assert(len >= 0);
    return p;
}

/* printf into a new string. */
static inline char *__attribute__((format(printf, 1, 2))) xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *p = xvasprintf(fmt, ap);
    va_end(ap);
    return p;
}

#endif
