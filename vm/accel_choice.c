/* SPDX-License-Identifier: GPL-2.0-or-later
 * The choice of engines. An -accel with vcpus= is an order for those vCPUs; those without are a list
 * for all others, of which the first that can be used is, and each that is passed over says why in
 * a line on stderr. If every -accel names its vCPUs, the first one gets the rest, too. -enable-kvm,
 * -no-kvm and -M accel= are no part of a list: where another -accel says otherwise, that is an error.
 */
#include "vm/accel_choice.h"

#include <ctype.h>

#include "util/alloc.h"
#include "vm/accel_default.h"

/* One -accel, or -M accel=. */
typedef struct AccelOption {
    char *names; /* "kvm:interp" */
    Dict *opts;  /* without vcpus= */
    bool has_vcpus;
    bool unasked; /* nobody said it */
    VcpuSet vcpus;
} AccelOption;

typedef struct AccelOptions {
    AccelOption *list;
    size_t nr;
} AccelOptions;

static AccelOption *add_names(AccelOptions *all, const char *names, Dict *opts)
{
    assert(names);
    all->list = xrealloc(all->list, (all->nr + 1) * sizeof(*all->list));
    AccelOption *o = &all->list[all->nr++];
    *o = (AccelOption){ .names = xstrdup(names), .opts = opts };
    return o;
}

/* vcpus=0-1,3 falls apart at the comma: "3" is a word of its own then. */
static const char *stray_number(const Dict *d)
{
    for (size_t i = 0; i < dict_count(d); i++) {
        if (isdigit((unsigned char)*dict_key(d, i))) {
            return dict_key(d, i);
        }
    }
    return NULL;
}

static bool take_vcpus(AccelOption *o, unsigned nr_cpus, Error **errp)
{
    const char *text = dict_get(o->opts, "vcpus");
    if (!text) {
        return true;
    }
    const char *stray = stray_number(o->opts);
    if (stray) {
        return error_set(errp, "vcpus=%s: a comma ends the list; write vcpus=%s:%s", text, text,
                         stray);
    }
    if (!vcpu_set_parse(&o->vcpus, text, nr_cpus, errp)) {
        return error_prefix(errp, "vcpus=%s: ", text);
    }
    o->has_vcpus = true;
    dict_remove(o->opts, "vcpus");
    return true;
}

static bool add_option(AccelOptions *all, const char *text, unsigned nr_cpus, Error **errp)
{
    Dict *d = dict_parse(text, "accel", errp);
    if (!d) {
        return error_prefix(errp, "-accel: ");
    }
    const char *name = dict_get(d, "accel");
    AccelOption *o = add_names(all, name ? name : "", d);
    dict_remove(d, "accel");
    if (!*o->names) {
        return error_set(errp, "-accel %s: name the accelerator first", text);
    }
    return take_vcpus(o, nr_cpus, errp) || error_prefix(errp, "-accel %s,", o->names);
}

static bool check_overlap(const AccelOptions *all, unsigned nr_cpus, Error **errp)
{
    for (unsigned i = 0; i < nr_cpus; i++) {
        const AccelOption *first = NULL;
        for (size_t n = 0; n < all->nr; n++) {
            const AccelOption *o = &all->list[n];
            if (!o->has_vcpus || !vcpu_set_has(&o->vcpus, i)) {
                continue;
            }
            if (first) {
                return error_set(errp, "-accel %s,vcpus= and -accel %s,vcpus= both name vCPU %u",
                                 first->names, o->names, i);
            }
            first = o;
        }
    }
    return true;
}

static void free_options(AccelOptions *all)
{
    for (size_t i = 0; i < all->nr; i++) {
        free(all->list[i].names);
        dict_free(all->list[i].opts);
    }
    free(all->list);
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
    const char *near = engine_nearest(name);
    if (near) {
        return error_set(errp, "-accel %s: invalid accelerator, did you mean %s?", name, near);
    }
    return error_set(errp, "-accel %s: invalid accelerator (-accel help lists them)", name);
}

static const Engine *try_engine(Machine *m, const char *name, Error **errp)
{
    const Engine *e = engine_find(name);
    if (!e) {
        unknown_engine(name, errp);
        return NULL;
    }
    if (engine_prepare(m, e, errp)) {
        return e;
    }
    Error *err = NULL;
    char *start = xasprintf("-accel %s: ", e->name);
    if (e->probe && !e->probe(&err)) { /* it is the host, not the options */
        error_free(*errp);
        *errp = NULL;
        error_set(errp, "-accel %s: %s%s", name, error_text(err),
                  e == engine_find("jit") ? "" : "; or use -accel jit, the translator");
        error_free(err);
    } else if (strncmp(error_text(*errp), start, strlen(start))) {
        error_prefix(errp, "-accel %s: ", name);
    }
    free(start);
    return NULL;
}

/* The candidates of one list, "kvm:interp", are tried in turn. last: nothing comes behind it. */
static const Engine *try_names(Machine *m, const AccelOption *o, bool last, Error **errp)
{
    for (const char *p = o->names; *p;) {
        size_t len = strcspn(p, ":");
        char *name = xstrndup(p, len);
        p += len + (p[len] == ':');
        Error *err = NULL;
        const Engine *e = len ? try_engine(m, name, &err) : NULL;
        free(name);
        if (e) {
            if (!o->unasked) {
                accel_ordered(e);
            }
            return e;
        }
        if (err && last && !*p) {
            *errp = err;
        } else if (err) {
            error_prefix(&err, "trying the next accelerator: ");
            error_report(err);
        }
    }
    if (last && !*errp) {
        error_set(errp, "-accel %s: no accelerator is named at the end", o->names);
    }
    return NULL;
}

/* ---- the plan ---- */

static void give(AccelPlan *plan, const Engine *e, const VcpuSet *vcpus)
{
    EngineChoice *c = NULL;
    for (size_t i = 0; i < plan->nr; i++) {
        c = plan->list[i].engine == e ? &plan->list[i] : c;
    }
    if (!c) {
        plan->list = xrealloc(plan->list, (plan->nr + 1) * sizeof(*plan->list));
        c = &plan->list[plan->nr++];
        *c = (EngineChoice){ .engine = e };
    }
    for (size_t i = 0; i < ARRAY_SIZE(vcpus->word); i++) {
        c->vcpus.word[i] |= vcpus->word[i];
    }
}

/* Those that no vcpus= names. */
static VcpuSet unnamed(const AccelOptions *all, unsigned nr_cpus)
{
    VcpuSet rest = { 0 };
    for (unsigned i = 0; i < nr_cpus; i++) {
        bool named = false;
        for (size_t n = 0; n < all->nr; n++) {
            named |= all->list[n].has_vcpus && vcpu_set_has(&all->list[n].vcpus, i);
        }
        if (!named) {
            vcpu_set_add(&rest, i);
        }
    }
    return rest;
}

static bool plan_unnamed(Machine *m, const AccelOptions *all, AccelPlan *plan, Error **errp)
{
    VcpuSet rest = unnamed(all, m->nr_cpus);
    size_t last = all->nr;
    for (size_t i = 0; i < all->nr; i++) {
        last = all->list[i].has_vcpus ? last : i;
    }
    if (last == all->nr || (m->nr_cpus && vcpu_set_empty(&rest))) {
        return true; /* plan_named has the rest, if any */
    }
    const Engine *e = NULL;
    for (size_t i = 0; i <= last; i++) {
        const AccelOption *o = &all->list[i];
        if (!o->has_vcpus && (e = try_names(m, o, i == last, errp))) {
            give(plan, e, &rest);
            return true;
        }
    }
    return false;
}

static bool plan_named(Machine *m, const AccelOptions *all, AccelPlan *plan, Error **errp)
{
    VcpuSet rest = unnamed(all, m->nr_cpus);
    for (size_t i = 0; i < all->nr; i++) {
        const AccelOption *o = &all->list[i];
        if (!o->has_vcpus) {
            continue;
        }
        VcpuSet vcpus = o->vcpus;
        for (size_t n = 0; !plan->nr && n < ARRAY_SIZE(vcpus.word); n++) {
            vcpus.word[n] |= rest.word[n];
        }
        const Engine *e = try_names(m, o, true, errp);
        if (!e) {
            return false;
        }
        give(plan, e, &vcpus);
    }
    return true;
}

/* NULL: it has not been said yet. Does not mark it as used. */
static const char *said_before(const Dict *d, const char *key)
{
    for (size_t i = 0; i < dict_count(d); i++) {
        if (!strcmp(dict_key(d, i), key)) {
            return dict_value(d, i);
        }
    }
    return NULL;
}

/* In a list, kvm:jit, an option is for those who know it. */
static bool is_for(const AccelOption *o, const Engine *e, const char *key)
{
    bool known = false;
    for (const char *p = o->names; *p && !engine_knows_option(e, key);) {
        size_t len = strcspn(p, ":");
        char *name = xstrndup(p, len);
        const Engine *other = engine_find(name);
        known |= other && engine_knows_option(other, key);
        free(name);
        p += len + (p[len] == ':');
    }
    return !known;
}

/* An engine has one set of options a machine, wherever they were said; also one that no vCPU starts
 * on, for those who switch to it later. */
static bool note_option(Machine *m, const Engine *e, const AccelOption *o, Error **errp)
{
    Dict *known = engine_options(m, e);
    for (size_t i = 0; i < dict_count(o->opts); i++) {
        const char *key = dict_key(o->opts, i), *val = dict_value(o->opts, i);
        if (!is_for(o, e, key)) {
            continue;
        }
        const char *before = said_before(known, key);
        if (before && strcmp(before, val)) {
            return error_set(errp,
                             "-accel %s: %s=%s and %s=%s; an engine's options are the same for all "
                             "its vCPUs",
                             o->names, key, before, key, val);
        }
        dict_set(known, key, val);
    }
    return true;
}

static bool note_options(Machine *m, const AccelOptions *all, Error **errp)
{
    bool ok = true;
    for (size_t i = 0; i < all->nr && ok; i++) {
        const AccelOption *o = &all->list[i];
        for (const char *p = o->names; *p && ok;) {
            size_t len = strcspn(p, ":");
            char *name = xstrndup(p, len);
            const Engine *e = engine_find(name);
            ok = !e || note_option(m, e, o, errp);
            free(name);
            p += len + (p[len] == ':');
        }
    }
    return ok;
}

/* ---- orders that contradict each other ---- */

static bool same_engine(const char *a, const char *b)
{
    const Engine *e = engine_find(a);
    return !strcmp(a, b) || (e && e == engine_find(b));
}

/* -M accel= may only repeat what the first -accel says, as -enable-kvm beside -M accel=kvm does. */
static bool check_machine_list(const AccelOptions *all, const char *machine_list, Error **errp)
{
    const AccelOption *o = machine_list && all->nr ? &all->list[0] : NULL;
    return !o || (!o->has_vcpus && same_engine(o->names, machine_list)) ||
           error_set(errp, "-M accel=%s and -accel %s: leave one of the two out; as a list, write "
                           "-accel %s:%s",
                     machine_list, o->names, o->names, machine_list);
}

static bool check_orders(const Options *o, const AccelPlan *plan, Error **errp)
{
    bool kvm = false;
    for (size_t i = 0; i < plan->nr; i++) {
        kvm |= plan->list[i].engine == engine_find("kvm");
    }
    if (o->enable_kvm && !kvm) {
        return error_set(errp, "-enable-kvm: nothing would run on KVM, but on -accel %s; leave one of "
                               "the two out",
                         plan->list[0].engine->name);
    }
    return !o->no_kvm || !kvm ||
           error_set(errp, "-no-kvm: -accel kvm says otherwise; leave one of the two out");
}

bool accel_choose(Machine *m, const Options *o, const char *machine_list, AccelPlan *plan,
                  Error **errp)
{
    AccelOptions all = { 0 };
    bool ok = !o->enable_kvm || !o->no_kvm ||
              error_set(errp, "-enable-kvm and -no-kvm: leave one of the two out");
    for (size_t i = 0; i < o->accel.nr && ok; i++) {
        ok = add_option(&all, o->accel.str[i], m->nr_cpus, errp);
    }
    ok = ok && check_machine_list(&all, machine_list, errp);
    if (ok && !all.nr) {
        const char *names = machine_list ? machine_list : accel_default(m)->name;
        add_names(&all, names, dict_new())->unasked = !machine_list;
    }
    ok = ok && check_overlap(&all, m->nr_cpus, errp);
    ok = ok && note_options(m, &all, errp) && plan_unnamed(m, &all, plan, errp) &&
         plan_named(m, &all, plan, errp) && check_orders(o, plan, errp);
    free_options(&all);
    return ok;
}

void accel_plan_free(AccelPlan *plan)
{
    free(plan->list);
    *plan = (AccelPlan){ 0 };
}

static void print_engine(const Engine *e, void *opaque)
{
    (void)opaque;
    printf("%-8s %s\n", e->name, e->desc ? e->desc : "");
}

bool accel_print_help(const StrList *accels, Error **errp)
{
    for (size_t i = 0; i < accels->nr; i++) {
        const char *text = accels->str[i], *comma = strrchr(text, ',');
        if (comma && (!strcmp(comma, ",help") || !strcmp(comma, ",?"))) {
            char *name = xstrndup(text, strcspn(text, ",:"));
            const Engine *e = engine_find(name);
            if (e) {
                engine_print_options(e);
            } else {
                unknown_engine(name, errp);
            }
            free(name);
            return true;
        }
    }
    return false;
}

void accel_print_list(void)
{
    printf("Accelerators in this build:\n");
    engines_each(print_engine, NULL);
    printf("-accel NAME,help lists an engine's options.\n");
}
