/* SPDX-License-Identifier: GPL-2.0-or-later
 * State tables: reset values and printing. Saving and loading come with migration.
 */
#include "hw/core/state.h"

#include <inttypes.h>
#include <stdlib.h>

#include "util/alloc.h"

static unsigned width(StateKind kind)
{
    switch (kind) {
    case STATE_KIND_BOOL: return sizeof(bool);
    case STATE_KIND_U8: return 1;
    case STATE_KIND_U16: return 2;
    case STATE_KIND_U32:
    case STATE_KIND_I32: return 4;
    case STATE_KIND_TIMER: return sizeof(Timer);
    case STATE_KIND_LIST: return sizeof(void *);
    default: return 8;
    }
}

static size_t member_size(const StateField *f)
{
    return f->kind == STATE_KIND_STRUCT ? f->size : width(f->kind);
}

static void free_list(const StateField *f, void *base)
{
    void **list = (void **)((char *)base + f->offset);
    uint32_t *nr = (uint32_t *)((char *)base + f->nr_offset);
    free(*list);
    *list = NULL;
    *nr = 0;
}

void state_reset(const StateField *fields, void *base)
{
    for (const StateField *f = fields; f && f->name; f++) {
        if (f->keep) {
            continue;
        }
        char *at = (char *)base + f->offset;
        for (size_t i = 0; i < f->count; i++, at += member_size(f)) {
            switch (f->kind) {
            case STATE_KIND_STRUCT: state_reset(f->fields, at); break;
            case STATE_KIND_LIST: free_list(f, base); break;
            case STATE_KIND_TIMER: timer_cancel((Timer *)at); break;
            case STATE_KIND_BOOL: *(bool *)at = f->reset != 0; break;
            default: memcpy(at, &f->reset, width(f->kind)); break; /* little-endian host */
            }
        }
    }
}

/* ---- printing ---- */

static void print_value(const StateField *f, const char *at, char *buf, size_t len)
{
    uint64_t val = 0;
    switch (f->kind) {
    case STATE_KIND_BOOL: snprintf(buf, len, "%s", *(const bool *)at ? "on" : "off"); break;
    case STATE_KIND_I32: snprintf(buf, len, "%" PRId32, *(const int32_t *)at); break;
    case STATE_KIND_I64: snprintf(buf, len, "%" PRId64, *(const int64_t *)at); break;
    case STATE_KIND_TIMER: {
        const Timer *t = (const Timer *)at;
        if (timer_armed(t)) {
            snprintf(buf, len, "at %" PRIu64 " ns, in %" PRId64 " ns", t->deadline,
                     (int64_t)(t->deadline - clock_ns(t->clock)));
        } else {
            snprintf(buf, len, "not armed");
        }
        break;
    }
    default:
        memcpy(&val, at, width(f->kind));
        snprintf(buf, len, "0x%0*" PRIx64, (int)width(f->kind) * 2, val);
        break;
    }
}

/* Arrays in rows of 16 at most, named by their first index. */
static void print_array(const StateField *f, const char *at,
                        void (*print)(void *opaque, const char *line), void *opaque)
{
    for (size_t i = 0; i < f->count;) {
        char line[512];
        int n = snprintf(line, sizeof(line), "%s[%zu] =", f->name, i);
        for (size_t stop = MIN(i + 16, f->count); i < stop; i++) {
            char value[64];
            print_value(f, at + i * width(f->kind), value, sizeof(value));
            if (n + strlen(value) + 2 < sizeof(line)) {
                n += snprintf(line + n, sizeof(line) - n, " %s", value);
            }
        }
        print(opaque, line);
    }
}

typedef struct Nested {
    char prefix[96];
    void (*print)(void *opaque, const char *line);
    void *opaque;
} Nested;

static void print_nested(void *opaque, const char *text)
{
    Nested *n = opaque;
    char line[640];
    snprintf(line, sizeof(line), "%s%s", n->prefix, text);
    n->print(n->opaque, line);
}

static void print_structs(const StateField *f, const char *at, size_t nr,
                          void (*print)(void *opaque, const char *line), void *opaque)
{
    bool numbered = nr > 1 || f->kind == STATE_KIND_LIST;
    for (size_t i = 0; i < nr; i++) {
        Nested n = { .print = print, .opaque = opaque };
        snprintf(n.prefix, sizeof(n.prefix), numbered ? "%s[%zu]." : "%s.", f->name, i);
        state_print(f->fields, at + i * f->size, print_nested, &n);
    }
}

void state_print(const StateField *fields, const void *base,
                 void (*print)(void *opaque, const char *line), void *opaque)
{
    for (const StateField *f = fields; f && f->name; f++) {
        const char *at = (const char *)base + f->offset;
        if (f->kind == STATE_KIND_STRUCT) {
            print_structs(f, at, f->count, print, opaque);
        } else if (f->kind == STATE_KIND_LIST) {
            uint32_t nr = *(const uint32_t *)((const char *)base + f->nr_offset);
            print_structs(f, *(char *const *)at, nr, print, opaque);
        } else if (f->count > 1) {
            print_array(f, at, print, opaque);
        } else {
            char line[192], value[96];
            print_value(f, at, value, sizeof(value));
            snprintf(line, sizeof(line), "%s = %s", f->name, value);
            print(opaque, line);
        }
    }
}
