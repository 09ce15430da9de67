/* SPDX-License-Identifier: GPL-2.0-or-later
 * Sets of vCPUs as text.
 */
#include "accel/vcpu_set.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

/* Decimal digits only; UINT32_MAX if there are none or too many. */
static uint32_t take_number(const char **p)
{
    uint64_t n = 0;
    const char *start = *p;
    for (; isdigit((unsigned char)**p); (*p)++) {
        n = MIN(n * 10 + (unsigned)(**p - '0'), (uint64_t)UINT32_MAX);
    }
    return *p == start ? UINT32_MAX : (uint32_t)n;
}

static bool check_range(uint32_t first, uint32_t last, unsigned nr, Error **errp)
{
    if (last < first) {
        return error_set(errp, "the range is empty; write %u-%u", last, first);
    }
    if (last < nr) {
        return true;
    }
    return nr > 1 ? error_set(errp, "there is no vCPU %u; this machine has 0 to %u (-smp %u)", last,
                              nr - 1, nr)
           : nr   ? error_set(errp, "there is no vCPU %u; this machine has one, 0", last)
                  : error_set(errp, "this machine has no vCPUs");
}

bool vcpu_set_parse(VcpuSet *s, const char *text, unsigned nr, Error **errp)
{
    VcpuSet out = { 0 };
    const char *p = text;
    if (!strcmp(text, "all")) {
        for (unsigned i = 0; i < nr; i++) {
            vcpu_set_add(&out, i);
        }
        *s = out;
        return true;
    }
    if (!*text) {
        return error_set(errp, "no vCPU is named; write for example 0, 0-1 or 0-1:3");
    }
    for (;;) {
        uint32_t first = take_number(&p), last = first;
        if (*p == '-') {
            p++;
            last = take_number(&p);
        }
        if (first == UINT32_MAX || last == UINT32_MAX || (*p && *p != ':' && *p != ',')) {
            return error_set(errp, "that names no vCPUs; write for example 0, 0-1, 0-1:3 or all");
        }
        if (!check_range(first, last, nr, errp)) {
            return false;
        }
        for (uint32_t i = first; i <= last; i++) {
            vcpu_set_add(&out, i);
        }
        if (!*p) {
            *s = out;
            return true;
        }
        p++;
    }
}

char *vcpu_set_text(const VcpuSet *s)
{
    char *text = xstrdup("");
    for (unsigned i = 0, last; i < 256; i = last + 1) {
        last = i;
        if (!vcpu_set_has(s, i)) {
            continue;
        }
        while (last + 1 < 256 && vcpu_set_has(s, last + 1)) {
            last++;
        }
        char *longer = last > i ? xasprintf("%s%s%u-%u", text, *text ? ":" : "", i, last)
                                : xasprintf("%s%s%u", text, *text ? ":" : "", i);
        free(text);
        text = longer;
    }
    return text;
}
