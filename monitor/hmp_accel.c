/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands about engines: which vCPU runs on which, and moving them while the guest runs.
 */
#include <ctype.h>
#include <string.h>

#include "accel/accel.h"
#include "monitor/internal.h"

static void show_vcpus(Monitor *mon)
{
    Machine *m = mon->m;
    if (!m || !m->nr_cpus || !m->vcpu) {
        monitor_printf(mon, "This machine has no CPU\n");
        return;
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        monitor_printf(mon, "CPU #%u: %s, thread_id=%d\n", i, m->vcpu[i]->engine->name,
                       m->vcpu[i]->tid);
    }
}

static void unknown_engine(const char *name, Error **errp)
{
    const char *near = engine_nearest(name);
    if (near) {
        error_set(errp, "there is no engine '%s', did you mean %s?", name, near);
    } else {
        error_set(errp, "there is no engine '%s'; info accel lists them", name);
    }
}

static void run_accel(Monitor *mon, const Dict *args)
{
    const char *who = dict_get(args, "vcpus"), *name = dict_get(args, "engine");
    if (!who) {
        show_vcpus(mon);
        return;
    }
    const Engine *e = name ? engine_find(name) : NULL;
    VcpuSet vcpus;
    Error *err = NULL;
    if (!name && (isalpha((unsigned char)*who) && strcmp(who, "all"))) {
        error_set(&err, "which CPUs? accel all %s moves them all; info accel lists engines", who);
    } else if (!name) {
        error_set(&err, "name an engine, too: accel %s jit; info accel lists them", who);
    } else if (!e) {
        unknown_engine(name, &err);
    } else if (!mon->m || !mon->m->vcpu || !mon->m->nr_cpus) {
        error_set(&err, "this machine has no CPU");
    } else if (vcpu_set_parse(&vcpus, who, mon->m->nr_cpus, &err)) {
        if (vcpus_switch(mon->m, &vcpus, e, &err)) {
            return;
        }
    } else {
        error_prefix(&err, "'%s': ", who);
    }
    monitor_error(mon, err);
}

typedef struct Offer {
    Monitor *mon;
    const char *prefix;
} Offer;

static void offer_word(const Offer *o, const char *word)
{
    if (!strncmp(word, o->prefix, strlen(o->prefix))) {
        monitor_completion(o->mon, word);
    }
}

static void offer_engine(const Engine *e, void *opaque)
{
    if (e->executes) {
        offer_word(opaque, e->name);
    }
}

static void complete_accel(Monitor *mon, unsigned arg, const char *prefix)
{
    Offer o = { mon, prefix };
    if (arg == 1) {
        engines_each(offer_engine, &o);
    }
    for (unsigned i = 0; arg == 0 && mon->m && i < mon->m->nr_cpus; i++) {
        char word[16];
        snprintf(word, sizeof(word), "%u", i);
        offer_word(&o, word);
    }
    if (arg == 0) {
        offer_word(&o, "all");
    }
}

/* ---- info ---- */

static void show_engine(const Engine *e, void *opaque)
{
    Monitor *mon = opaque;
    Error *err = NULL;
    unsigned here = mon->m ? vcpus_on_engine(mon->m, e) : 0;
    monitor_printf(mon, "%-7s %s: ", e->name, e->desc);
    if (here) {
        monitor_printf(mon, "runs %u of %u CPUs\n", here, mon->m->nr_cpus);
    } else if (!e->executes) {
        monitor_printf(mon, "only from the start, for the whole machine\n");
    } else if (!e->probe || e->probe(&err)) {
        monitor_printf(mon, "ready\n");
    } else {
        monitor_printf(mon, "not here: %s\n", error_text(err));
        error_free(err);
    }
}

static void run_info_accel(Monitor *mon, const Dict *args)
{
    (void)args;
    engines_each(show_engine, mon);
    show_vcpus(mon);
    SwitchStats s = mon->m ? vcpus_switch_stats(mon->m) : (SwitchStats){ 0 };
    monitor_printf(mon, "switches: %llu", (unsigned long long)s.switches);
    if (s.switches) {
        monitor_printf(mon, ", of %llu CPUs in all; the last took %.2f ms",
                       (unsigned long long)s.vcpus, (double)s.last_ns / 1e6);
    }
    monitor_printf(mon, "\n");
}

static void run_info_cpus(Monitor *mon, const Dict *args)
{
    (void)args;
    if (!monitor_cpu_hold(mon)) {
        monitor_printf(mon, "Error: this machine has no CPU\n");
        return;
    }
    Machine *m = mon->m;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        const Vcpu *v = m->vcpu ? m->vcpu[i] : NULL;
        monitor_printf(mon, "%c CPU #%u: thread_id=%d%s%s%s\n", i == mon->cpu ? '*' : ' ', i,
                       v ? v->tid : 0, v ? " engine=" : "", v ? v->engine->name : "",
                       m->cpu[i]->activity == CPU_HALTED ? " (halted)" : "");
    }
    monitor_cpu_release(mon);
}

static void run_info_jit(Monitor *mon, const Dict *args)
{
    (void)args;
    const Engine *e = engine_find("jit");
    if (!e || !mon->m || !vcpus_on_engine(mon->m, e)) {
        monitor_printf(mon, "no CPU runs on the translator; accel all jit moves them there\n");
    } else {
        e->info(mon->m, monitor_print_line, mon);
    }
}

MONITOR_COMMANDS(accel_commands) = {
    { .name = "accel",
      .args = "vcpus:s?,engine:s?",
      .params = "[vcpus|all engine]",
      .help = "show which engine runs each CPU, or move some to another, as in accel 0-1:3 interp",
      .run = run_accel,
      .complete = complete_accel },
    { .name = "accel|accelerators",
      .help = "show the engines this host has, what each CPU runs on, and the switches so far",
      .run = run_info_accel,
      .info = true },
    { .name = "cpus",
      .help = "show the CPUs, their threads and engines",
      .run = run_info_cpus,
      .info = true },
    { .name = "jit",
      .help = "show what the translator did: blocks, misses, slow ways",
      .run = run_info_jit,
      .info = true },
    { .name = NULL },
};
