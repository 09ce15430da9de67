/* SPDX-License-Identifier: GPL-2.0-or-later
 * The engine for those who name none.
 */
#include "vm/accel_default.h"

#include "util/alloc.h"

static char *note; /* for accel_report() */

static void set_note(char *text)
{
    free(note);
    note = text;
}

static bool is_choice(Machine *m, const Engine *e, Error **errp)
{
    return (!e->probe || e->probe(errp)) && (!e->helps || e->helps(errp)) &&
           (!m || engine_prepare(m, e, errp));
}

static const Engine *choose(Machine *m, char **reasons)
{
    static const char *const order[] = { "kvm", "jit", "interp" };
    char *why = xstrdup("");
    const Engine *e = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        e = engine_find(order[i]);
        Error *err = NULL;
        if (!e) { /* not in this build */
            continue;
        }
        if (is_choice(m, e, &err)) {
            break;
        }
        char *more = xasprintf("%s; not %s: %s", why, e->name, error_text(err));
        error_free(err);
        free(why);
        why = more;
    }
    assert(e);
    *reasons = why;
    return e;
}

const Engine *accel_default_here(char **why)
{
    return choose(NULL, why);
}

const Engine *accel_default(Machine *m)
{
    char *why;
    const Engine *e = choose(m, &why);
    set_note(xasprintf("running on %s%s", e->name, why));
    free(why);
    return e;
}

void accel_ordered(const Engine *e)
{
    Error *err = NULL;
    if (e->suits && !e->suits(&err)) {
        set_note(xasprintf("running on %s as ordered, but -accel jit is probably faster here: %s",
                           e->name, error_text(err)));
        error_free(err);
    }
}

void accel_report(void)
{
    if (note) {
        info_report("%s", note);
        set_note(NULL);
    }
}
