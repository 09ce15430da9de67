/* SPDX-License-Identifier: GPL-2.0-or-later
 * Which engine runs which vCPU, at the start and from then on: a vCPU changes its engine while the
 * guest runs.
 *
 * All vCPUs are held: each is out of its engine at an instruction boundary, its whole state in
 * CpuState. Request bits, activity, shadow, pending #DB and the monitored address are part of that,
 * timers and interrupt controllers are devices, and guest time goes on; so there is nothing that
 * could get lost. What can be seen to be impossible is refused before anything moves (can_run,
 * can_have). The vCPUs that move give back what the old engine had for them and get the new
 * one's, each in its own thread; then every engine hears who is where (Engine.engines_changed), and
 * may say no, or make what it needs of the host and be refused (Engine.ready). Whatever fails is
 * undone in the same way, and the guest runs on as before.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "accel/accel.h"
#include "util/alloc.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { MAX_ENGINES = 8 };

typedef struct EngineUse {
    const Engine *engine;
    Dict *opts; /* the rest of -accel NAME,... */
    bool ready; /* its machine_init went well */
    bool had;   /* it has or had vCPUs */
} EngineUse;

/* One machine's; Machine.engines. */
typedef struct Engines {
    EngineUse use[MAX_ENGINES];
    unsigned nr;
    bool built; /* the board is there: engines_ready was called */
    SwitchStats stats;
} Engines;

static EngineUse *use_of(Machine *m, const Engine *e)
{
    if (!m->engines) {
        m->engines = xcalloc(1, sizeof(*m->engines));
    }
    Engines *s = m->engines;
    for (unsigned i = 0; i < s->nr; i++) {
        if (s->use[i].engine == e) {
            return &s->use[i];
        }
    }
    assert(s->nr < MAX_ENGINES);
    s->use[s->nr] = (EngineUse){ .engine = e, .opts = dict_new() };
    return &s->use[s->nr++];
}

/* ---- engines ---- */

Dict *engine_options(Machine *m, const Engine *e)
{
    return use_of(m, e)->opts;
}

typedef struct Owner {
    const char *key;
    const Engine *engine;
} Owner;

static void find_owner(const Engine *e, void *opaque)
{
    Owner *o = opaque;
    if (!o->engine && engine_knows_option(e, o->key)) {
        o->engine = e;
    }
}

static bool unknown_option(const Engine *e, const char *key, Error **errp)
{
    Owner owner = { .key = key };
    engines_each(find_owner, &owner);
    if (owner.engine) {
        return error_set(errp, "-accel %s: option '%s' belongs to -accel %s", e->name, key,
                         owner.engine->name);
    }
    char text[24][32];
    const char *words[ARRAY_SIZE(text) + 1] = { NULL };
    for (size_t i = 0; e->options && e->options[i] && i < ARRAY_SIZE(text); i++) {
        snprintf(text[i], sizeof(text[i]), "%.*s", (int)strcspn(e->options[i], "="), e->options[i]);
        words[i] = text[i];
    }
    const char *near = suggest(key, words);
    return near ? error_set(errp, "-accel %s: unknown option '%s', did you mean %s?", e->name, key, near)
                : error_set(errp, "-accel %s: unknown option '%s' (-accel %s,help lists them)", e->name,
                            key, e->name);
}

static bool init_machine(Machine *m, const Engine *e, const Dict *opts, Error **errp)
{
    for (size_t i = 0; i < dict_count(opts); i++) {
        if (!engine_knows_option(e, dict_key(opts, i))) {
            return unknown_option(e, dict_key(opts, i), errp);
        }
    }
    return !e->machine_init || e->machine_init(m, opts, errp);
}

bool engine_prepare(Machine *m, const Engine *e, Error **errp)
{
    EngineUse *u = use_of(m, e);
    u->ready = u->ready || ((!e->probe || e->init_probes || e->probe(errp)) &&
                            init_machine(m, e, u->opts, errp));
    return u->ready;
}

void engines_log_changed(Machine *m)
{
    Engines *s = m->engines;
    vcpus_hold(m);
    for (unsigned i = 0; s && i < s->nr; i++) {
        if (s->use[i].ready && s->use[i].engine->log_changed) {
            s->use[i].engine->log_changed(m);
        }
    }
    vcpus_release(m);
}

void engines_fini(Machine *m)
{
    Engines *s = m->engines;
    for (unsigned i = 0; s && i < s->nr; i++) {
        EngineUse *u = &s->use[i];
        if (u->ready && u->engine->machine_fini) {
            u->engine->machine_fini(m);
        }
        dict_free(u->opts);
    }
    free(s);
    m->engines = NULL;
}

unsigned vcpus_on_engine(const Machine *m, const Engine *e)
{
    unsigned n = 0;
    for (unsigned i = 0; m->vcpu && i < m->nr_cpus; i++) {
        n += m->vcpu[i]->engine == e;
    }
    return n;
}

bool vcpus_all_software(const Machine *m)
{
    for (unsigned i = 0; m->vcpu && i < m->nr_cpus; i++) {
        if (!m->vcpu[i]->engine->software) {
            return false;
        }
    }
    return true;
}

bool vcpus_ring_eventfds(const Machine *m)
{
    for (unsigned i = 0; m->vcpu && i < m->nr_cpus; i++) {
        if (m->vcpu[i]->engine->rings_eventfds) {
            return true;
        }
    }
    return false;
}

SwitchStats vcpus_switch_stats(const Machine *m)
{
    return m->engines ? m->engines->stats : (SwitchStats){ 0 };
}

/* ---- one vCPU, in its thread, parked ---- */

static void leave_engine(Vcpu *v, void *arg)
{
    const Engine *e = v->engine;
    (void)arg;
    /* From here on nobody kicks the old one. */
    __atomic_store_n(&v->engine, &engine_none, __ATOMIC_RELEASE);
    if (e->vcpu_fini) {
        e->vcpu_fini(v);
    }
}

typedef struct Arrival {
    const Engine *engine;
    Error *err;
    bool ok;
} Arrival;

static void enter_engine(Vcpu *v, void *arg)
{
    Arrival *a = arg;
    a->ok = !a->engine->vcpu_init || a->engine->vcpu_init(v, &a->err);
    if (!a->ok) {
        return;
    }
    __atomic_store_n(&v->engine, a->engine, __ATOMIC_RELEASE);
    char name[16];
    snprintf(name, sizeof(name), "CPU %u/%s", v->cpu.index, a->engine->thread_name);
    pthread_setname_np(pthread_self(), name);
}

/* ---- all of them, parked ---- */

/* NOLINTBEGIN(clang-analyzer-core.*): clang believes that nr_cpus changes from loop to loop */

typedef const Engine *EngineOfEach[MAX_CPUS];

static bool check_move(Machine *m, const Engine *const *want, Error **errp)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Vcpu *v = m->vcpu[i];
        const Engine *e = want[i];
        if (e->executes != want[0]->executes) {
            return error_set(errp,
                             "accel %s runs no guest code, so it cannot have vCPUs beside other "
                             "engines",
                             e->executes ? want[0]->name : e->name);
        }
        if (e == v->engine) {
            continue;
        }
        if (!engine_prepare(m, e, errp)) {
            return false;
        }
        if (e->can_run && !e->can_run(v, errp)) {
            return error_prefix(errp, "vCPU %u cannot run on %s: ", i, e->name);
        }
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        const Engine *e = want[i];
        unsigned nr = 0;
        for (unsigned n = 0; n < m->nr_cpus; n++) {
            nr += want[n] == e;
        }
        if (e->can_have && !e->can_have(m, nr, errp)) {
            return error_prefix(errp, "-accel %s: ", e->name);
        }
    }
    return true;
}

/* False: some are on no engine now. */
static bool move(Machine *m, const Engine *const *want, Error **errp)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (m->vcpu[i]->engine != want[i]) {
            vcpu_call_parked(m->vcpu[i], leave_engine, NULL);
        }
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Vcpu *v = m->vcpu[i];
        if (v->engine == want[i] || want[i] == &engine_none) {
            continue;
        }
        Arrival a = { .engine = want[i] };
        vcpu_call_parked(v, enter_engine, &a);
        if (!a.ok) {
            *errp = a.err;
            return error_prefix(errp, "vCPU %u: ", i);
        }
        use_of(m, want[i])->had = true;
    }
    return true;
}

/* NOLINTEND(clang-analyzer-core.*) */

static bool tell_engines(Machine *m, Error **errp)
{
    for (unsigned i = 0; i < m->engines->nr; i++) {
        const EngineUse *u = &m->engines->use[i];
        if (u->had && u->engine->engines_changed && !u->engine->engines_changed(m, errp)) {
            return error_prefix(errp, "-accel %s: ", u->engine->name);
        }
    }
    return true;
}

static bool make_ready(Machine *m, Error **errp)
{
    for (unsigned i = 0; m->engines->built && i < m->engines->nr; i++) {
        const Engine *e = m->engines->use[i].engine;
        if (e->ready && vcpus_on_engine(m, e) && !e->ready(m, errp)) {
            return error_prefix(errp, "-accel %s: ", e->name);
        }
    }
    return true;
}

static bool settle(Machine *m, const Engine *const *want, Error **errp)
{
    return move(m, want, errp) && tell_engines(m, errp) && make_ready(m, errp);
}

/* Do only engines run code that keep nothing of it? */
static void tell_writers(const Machine *m)
{
    bool kept = false;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        const Engine *e = m->vcpu[i]->engine;
        kept |= e->software || !e->executes;
    }
    ram_set_code_kept(kept);
}

/* On no engine a vCPU stays parked until one takes it. */
static void take_from_all(Machine *m)
{
    EngineOfEach none;
    Error *err = NULL;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        none[i] = &engine_none;
    }
    if (!move(m, none, &err) || !tell_engines(m, &err)) {
        error_free(err); /* what they say is no news */
    }
}

static void undo(Machine *m, const Engine *const *before, Error **errp)
{
    Error *err = NULL;
    if (settle(m, before, &err)) {
        return;
    }
    take_from_all(m);
    error_prefix(errp,
                 "the guest stands still, for going back failed, too (%s); 'accel all interp' may "
                 "wake it. What came first: ",
                 error_text(err));
    error_free(err);
}

static bool change(Machine *m, const Engine *const *want, Error **errp)
{
    EngineOfEach before;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        before[i] = m->vcpu[i]->engine;
    }
    if (!check_move(m, want, errp)) {
        return false;
    }
    bool ok = settle(m, want, errp);
    if (!ok) {
        undo(m, before, errp);
    }
    tell_writers(m);
    return ok;
}

bool engines_start(Machine *m, const Engine *const *want, Error **errp)
{
    return !m->nr_cpus || change(m, want, errp);
}

bool engines_ready(Machine *m, Error **errp)
{
    if (!m->engines) {
        return true;
    }
    m->engines->built = true;
    if (!make_ready(m, errp)) {
        char *cause = xstrdup(error_text(*errp));
        error_free(*errp);
        *errp = NULL;
        error_set(errp, "%s; -accel jit, the translator, does without", cause);
        free(cause);
        return false;
    }
    return true;
}

bool vcpus_switch(Machine *m, const VcpuSet *vcpus, const Engine *e, Error **errp)
{
    EngineOfEach want;
    unsigned moving = 0;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        const Engine *now = m->vcpu[i]->engine;
        want[i] = vcpu_set_has(vcpus, i) ? e : now;
        moving += want[i] != now;
        if (want[i] != now && e->executes != now->executes && now != &engine_none) {
            return error_set(errp,
                             "accel %s is for a whole machine from its start: it runs no guest "
                             "code",
                             e->executes ? now->name : e->name);
        }
    }
    if (!moving) {
        return true;
    }
    uint64_t start = host_clock_ns();
    vcpus_hold(m);
    vcpus_hide_caches(m);
    bool ok = change(m, want, errp);
    vcpus_show_caches(m);
    vcpus_release(m);
    if (ok) {
        SwitchStats *s = &m->engines->stats;
        s->switches++;
        s->vcpus += moving;
        s->last_ns = host_clock_ns() - start;
    }
    return ok;
}
