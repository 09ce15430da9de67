/* SPDX-License-Identifier: GPL-2.0-or-later
 * The monitor's commands for what -object makes.
 */
#include <string.h>

#include "monitor/internal.h"
#include "util/user_object.h"

static void print_type(const UserObjectType *t, void *opaque)
{
    monitor_printf(opaque, "%-14s %s\n", t->name, t->desc);
}

static void print_object(const char *id, const UserObjectType *t, void *opaque)
{
    monitor_printf(opaque, "%s: %s\n", id, t->name);
}

static void run_object_add(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    const char *text = dict_get(args, "object");
    if (!strcmp(text, "help")) {
        user_object_types_each(print_type, mon);
        return;
    }
    Dict *opts = dict_parse(text, "qom-type", &err);
    if (!opts || !user_object_create(opts, &err)) {
        monitor_error(mon, err);
    }
    dict_free(opts);
}

static void run_object_del(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    if (!user_object_delete(dict_get(args, "id"), &err)) {
        monitor_error(mon, err);
    }
}

static void info_objects(Monitor *mon, const Dict *args)
{
    (void)args;
    user_objects_each(print_object, mon);
}

typedef struct Word {
    Monitor *mon;
    const char *prefix;
} Word;

static void offer(const char *id, const UserObjectType *t, void *opaque)
{
    const Word *w = opaque;
    (void)t;
    if (!strncmp(id, w->prefix, strlen(w->prefix))) {
        monitor_completion(w->mon, id);
    }
}

static void complete_object(Monitor *mon, unsigned arg, const char *prefix)
{
    Word w = { mon, prefix };
    if (!arg) {
        user_objects_each(offer, &w);
    }
}

MONITOR_COMMANDS(object_commands) = {
    { .name = "objects",
      .help = "show what -object and object_add made",
      .run = info_objects,
      .info = true },
    { .name = "object_add",
      .args = "object:S",
      .params = "filter-dump|...,id=id[,prop=value][,...]",
      .help = "make an object, as -object does",
      .run = run_object_add },
    { .name = "object_del",
      .args = "id:s",
      .params = "id",
      .help = "remove an object that object_add or -object made",
      .run = run_object_del,
      .complete = complete_object },
    { .name = NULL },
};
