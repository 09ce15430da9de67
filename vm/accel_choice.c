/* SPDX-License-Identifier: GPL-2.0-or-later
 * The choice of an engine. One that cannot be used is passed over with a line on stderr if
 * another one follows, and is the error if none does.
 */
#include "vm/accel_choice.h"

#include "util/alloc.h"
#include "vm/accel_default.h"

typedef struct Candidate {
    char *name;
    Dict *opts;
} Candidate;

typedef struct Candidates {
    Candidate *list;
    size_t nr;
} Candidates;

static void add_candidate(Candidates *c, const char *name, size_t len, const Dict *opts)
{
    c->list = xrealloc(c->list, (c->nr + 1) * sizeof(*c->list));
    c->list[c->nr++] = (Candidate){ xstrndup(name, len), opts ? dict_copy(opts) : dict_new() };
}

/* "kvm:interp" */
static void add_list(Candidates *c, const char *names, const Dict *opts)
{
    while (*names) {
        size_t len = strcspn(names, ":");
        if (len) {
            add_candidate(c, names, len, opts);
        }
        names += len + (names[len] == ':');
    }
}

static bool add_option(Candidates *c, const char *text, Error **errp)
{
    Dict *d = dict_parse(text, "accel", errp);
    if (!d) {
        return error_prefix(errp, "-accel: ");
    }
    const char *name = dict_get(d, "accel");
    char *names = xstrdup(name);
    dict_remove(d, "accel");
    if (names) {
        add_list(c, names, d);
    }
    bool ok = names || error_set(errp, "-accel %s: name the accelerator first", text);
    free(names);
    dict_free(d);
    return ok;
}

static void free_candidates(Candidates *c)
{
    for (size_t i = 0; i < c->nr; i++) {
        free(c->list[i].name);
        dict_free(c->list[i].opts);
    }
    free(c->list);
}

/* ---- trying them ---- */

static bool unknown_engine(const char *name, Error **errp)
{
    static const struct {
        const char *name, *why;
    } unbuilt[] = {
        { "kvm", "not in this build" },
        { "hax", "not available on Linux" },
        { "hvf", "not available on Linux" },
        { "whpx", "not available on Linux" },
        { "nvmm", "not available on Linux" },
        { "xen", "not built yet" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(unbuilt); i++) {
        if (!strcmp(name, unbuilt[i].name)) {
            return error_set(errp, "-accel %s: %s; use -accel jit, the translator", name,
                             unbuilt[i].why);
        }
    }
    static const char *const names[] = { "jit", "tcg", "interp", "test", "qtest", "kvm", NULL };
    const char *near = suggest(name, names);
    if (near) {
        return error_set(errp, "-accel %s: invalid accelerator, did you mean %s?", name, near);
    }
    return error_set(errp, "-accel %s: invalid accelerator (-accel help lists them)", name);
}

static const Engine *try_engine(const char *name, Error **errp)
{
    const Engine *e = engine_find(name);
    if (!e) {
        unknown_engine(name, errp);
    } else if (e->probe && !e->probe(errp)) {
        Error *why = *errp;
        *errp = NULL;
        error_set(errp, "-accel %s: %s; or use -accel jit, the translator", name, error_text(why));
        error_free(why);
        e = NULL;
    }
    return e;
}

static const Engine *first_that_works(const Candidates *c, Dict **opts, Error **errp)
{
    for (size_t i = 0; i < c->nr; i++) {
        Error *err = NULL;
        const Engine *e = try_engine(c->list[i].name, &err);
        if (e) {
            *opts = dict_copy(c->list[i].opts);
            accel_ordered(e);
            return e;
        }
        if (i + 1 == c->nr) {
            *errp = err;
        } else {
            error_prefix(&err, "trying the next accelerator: ");
            error_report(err);
        }
    }
    return NULL;
}

const Engine *accel_choose(const StrList *accels, const char *machine_list, Dict **opts,
                           Error **errp)
{
    Candidates c = { 0 };
    bool ok = true;
    for (size_t i = 0; i < accels->nr && ok; i++) {
        ok = add_option(&c, accels->str[i], errp);
    }
    if (!c.nr && machine_list) {
        add_list(&c, machine_list, NULL);
    }
    const Engine *e = NULL;
    if (ok && c.nr) {
        e = first_that_works(&c, opts, errp);
    } else if (ok) {
        e = accel_default();
        *opts = dict_new();
    }
    free_candidates(&c);
    return e;
}

static void print_engine(const Engine *e, void *opaque)
{
    (void)opaque;
    printf("%-8s %s\n", e->name, e->desc ? e->desc : "");
}

void accel_print_list(void)
{
    printf("Accelerators in this build:\n");
    engines_each(print_engine, NULL);
}
