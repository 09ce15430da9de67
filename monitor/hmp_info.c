/* SPDX-License-Identifier: GPL-2.0-or-later
 * help, apropos, and the info commands that show the machine, its devices and back ends.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cpu/state.h"
#include "monitor/internal.h"
#include "util/main_loop.h"
#include "util/version.h"

/* ---- help ---- */

typedef struct Helper {
    Monitor *mon;
    const char *word; /* apropos: NULL shows everything */
    unsigned shown;
} Helper;

static void show_row(Monitor *mon, const MonitorCommand *c)
{
    monitor_printf(mon, "%s%s%s%s -- %s\n", c->info ? "info " : "", c->name, c->params ? " " : "",
                   c->params ? c->params : "", c->help);
}

static void help_row(const MonitorCommand *c, void *opaque)
{
    Helper *h = opaque;
    if (!h->word || strcasestr(c->name, h->word) || strcasestr(c->help, h->word)) {
        show_row(h->mon, c);
        h->shown++;
    }
}

static void run_help(Monitor *mon, const Dict *args)
{
    Helper h = { .mon = mon };
    const char *name = dict_get(args, "name"), *topic = dict_get(args, "topic");
    bool info = name && !strcmp(name, "info");
    if (!name || (info && !topic)) {
        if (info) {
            show_row(mon, command_find("info", false));
        }
        commands_each(info, help_row, &h);
        return;
    }
    const MonitorCommand *c = command_find(info ? topic : name, info);
    if (!c && !info) {
        c = command_find(name, true);
    }
    if (c) {
        show_row(mon, c);
    } else {
        monitor_printf(mon, "There is no command '%s%s'; apropos WORD searches\n",
                       info ? "info " : "", info ? topic : name);
    }
}

static void run_apropos(Monitor *mon, const Dict *args)
{
    Helper h = { .mon = mon, .word = dict_get(args, "word") };
    commands_each(false, help_row, &h);
    commands_each(true, help_row, &h);
    if (!h.shown) {
        monitor_printf(mon, "Nothing is known of '%s'\n", h.word);
    }
}

static void run_info(Monitor *mon, const Dict *args)
{
    Helper h = { .mon = mon };
    (void)args;
    commands_each(true, help_row, &h);
}

/* ---- the machine ---- */

static void run_info_version(Monitor *mon, const Dict *args)
{
    (void)args;
    monitor_printf(mon, "Vireo %s\n", VIREO_VERSION);
}

static void run_info_status(Monitor *mon, const Dict *args)
{
    (void)args;
    const char *status = mon->m && mon->m->run_ops ? mon->m->run_ops->status(mon->m) : "prelaunch";
    if (!strcmp(status, "running") || !strcmp(status, "paused")) {
        monitor_printf(mon, "VM status: %s\n", status);
    } else {
        monitor_printf(mon, "VM status: paused (%s)\n", status);
    }
}

static void run_info_name(Monitor *mon, const Dict *args)
{
    (void)args;
    if (mon->m && mon->m->config.name) {
        monitor_printf(mon, "%s\n", mon->m->config.name);
    }
}

static void run_info_uuid(Monitor *mon, const Dict *args)
{
    static const uint8_t none[16];
    const uint8_t *u = mon->m ? mon->m->config.uuid : none;
    (void)args;
    for (int i = 0; i < 16; i++) {
        monitor_printf(mon, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
    }
    monitor_printf(mon, "\n");
}

static void run_info_mtree(Monitor *mon, const Dict *args)
{
    bool flat = arg_bool(args, "flatview");
    if (mon->m) {
        memory_print_tree(&mon->m->memory, flat, monitor_print_line, mon);
        monitor_printf(mon, "\n");
        memory_print_tree(&mon->m->io, flat, monitor_print_line, mon);
    }
}

static void run_info_mainloop(Monitor *mon, const Dict *args)
{
    (void)args;
    main_loop_stats(monitor_print_line, mon);
}

static void run_info_history(Monitor *mon, const Dict *args)
{
    const char *line;
    (void)args;
    for (size_t i = 0; mon->rl && (line = readline_history(mon->rl, i)); i++) {
        monitor_printf(mon, "%zu: '%s'\n", i, line);
    }
}

/* ---- devices ---- */

static void run_info_qtree(Monitor *mon, const Dict *args)
{
    (void)args;
    if (mon->m) {
        device_print_qtree(mon->m, monitor_print_line, mon);
    }
}

static void run_info_qom_tree(Monitor *mon, const Dict *args)
{
    const char *path = dict_get(args, "path");
    bool ambiguous = false;
    path = path ? path : "/machine";
    Object *o = object_resolve(path, &ambiguous);
    if (o) {
        object_print_tree(o, monitor_print_line, mon);
    } else {
        monitor_printf(mon, "Error: %s object '%s'\n",
                       ambiguous ? "there is more than one" : "there is no", path);
    }
}

/* Calls a type's info for each device whose type is one of names (NULL: any); index -1: all of
 * them, else only the one at that place among them. */
static void show_devices(Monitor *mon, const char *const *names, int index)
{
    int nr = 0, shown = 0;
    if (!mon->m || !mon->m->devices.next) {
        return;
    }
    irqchip_sync(mon->m);
    list_for_each(pos, &mon->m->devices) {
        Device *dev = container_of(pos, Device, machine_node);
        bool wanted = false;
        for (const char *const *n = names; *n; n++) {
            wanted = wanted || !strcmp(dev->type->name, *n);
        }
        if (wanted && dev->type->info && (index < 0 || nr == index)) {
            dev->type->info(dev, monitor_print_line, mon);
            shown++;
        }
        nr += wanted;
    }
    if (!shown) {
        monitor_printf(mon, "This machine has no such device\n");
    }
}

static void run_info_pic(Monitor *mon, const Dict *args)
{
    static const char *const names[] = { "isa-i8259", "ioapic", NULL };
    (void)args;
    show_devices(mon, names, -1);
}

/* The timer of a local APIC counts in its vCPU's own time; hold them for a consistent picture. */
static void run_info_lapic(Monitor *mon, const Dict *args)
{
    static const char *const names[] = { "apic", NULL };
    int index = (int)arg_u64(args, "index", mon->cpu);
    struct CpuState *cpu = monitor_cpu_hold(mon);
    show_devices(mon, names, index);
    if (cpu) {
        monitor_cpu_release(mon);
    }
}

static void run_info_irq(Monitor *mon, const Dict *args)
{
    (void)args;
    if (!mon->m || !mon->m->devices.next) {
        return;
    }
    list_for_each(pos, &mon->m->devices) {
        Device *dev = container_of(pos, Device, machine_node);
        if (!dev->nr_irq_in) {
            continue;
        }
        monitor_printf(mon, "IRQ lines of %s, asserted:", dev->type->name);
        unsigned nr = 0;
        for (unsigned i = 0; i < dev->nr_irq_in; i++) {
            if (dev->irq_in[i].level) {
                monitor_printf(mon, " %u", i);
                nr++;
            }
        }
        monitor_printf(mon, "%s\n", nr ? "" : " none");
    }
}

static void print_state(Monitor *mon, const DeviceType *t, const Device *dev)
{
    if (!t) {
        return;
    }
    print_state(mon, t->parent, dev);
    if (t->state) {
        state_print(t->state, dev, monitor_print_line, mon);
    }
}

/* By id, by path, or the only one of a type. */
static Device *find_device(Monitor *mon, const char *name)
{
    Device *dev = device_find(mon->m, name), *found = NULL;
    if (dev) {
        return dev;
    }
    Object *o = object_resolve(name, NULL);
    if (o && o->dev) {
        return o->dev;
    }
    list_for_each(pos, &mon->m->devices) {
        Device *d = container_of(pos, Device, machine_node);
        if (!strcmp(d->type->name, name)) {
            if (found) {
                return NULL;
            }
            found = d;
        }
    }
    return found;
}

static void run_info_device(Monitor *mon, const Dict *args)
{
    const char *name = dict_get(args, "name");
    Device *dev = mon->m && mon->m->devices.next ? find_device(mon, name) : NULL;
    if (!dev) {
        monitor_printf(mon, "Error: '%s' is not the id, path or type of one device; info qtree "
                            "lists them\n", name);
        return;
    }
    struct CpuState *cpu = monitor_cpu_hold(mon);
    char *path = object_path(&dev->obj);
    monitor_printf(mon, "%s: %s\n", path, dev->type->name);
    free(path);
    device_before_save(dev);
    print_state(mon, dev->type, dev);
    if (dev->type->info) {
        dev->type->info(dev, monitor_print_line, mon);
    }
    if (cpu) {
        monitor_cpu_release(mon);
    }
}

static void complete_device(Monitor *mon, unsigned arg, const char *prefix)
{
    if (arg || !mon->m || !mon->m->devices.next) {
        return;
    }
    list_for_each(pos, &mon->m->devices) {
        Device *d = container_of(pos, Device, machine_node);
        const char *name = d->id ? d->id : d->type->name;
        if (!strncmp(name, prefix, strlen(prefix))) {
            monitor_completion(mon, name);
        }
    }
}

/* ---- back ends ---- */

static void show_chardev(Chardev *chr, const char *id, const char *filename, void *opaque)
{
    (void)chr;
    monitor_printf(opaque, "%s: filename=%s\n", id, filename);
}

static void run_info_chardev(Monitor *mon, const Dict *args)
{
    (void)args;
    chardevs_each(show_chardev, mon);
}

MONITOR_COMMANDS(info_commands) = {
    { .name = "help|?", .args = "name:s?,topic:s?", .params = "[cmd]",
      .help = "show the help of all commands, or of one", .run = run_help, .preconfig = true },
    { .name = "apropos", .args = "word:S", .params = "word",
      .help = "show the commands whose name or help has the word", .run = run_apropos,
      .preconfig = true },
    { .name = "info", .args = "item:s?", .params = "[subcommand]",
      .help = "show information about the system state; info alone lists what there is",
      .run = run_info, .preconfig = true },
    { .name = "version", .help = "show the version of Vireo", .run = run_info_version,
      .info = true, .preconfig = true },
    { .name = "status", .help = "show whether the VM runs or why not", .run = run_info_status,
      .info = true, .preconfig = true },
    { .name = "name", .help = "show the VM's name", .run = run_info_name, .info = true },
    { .name = "uuid", .help = "show the VM's UUID", .run = run_info_uuid, .info = true },
    { .name = "mtree", .args = "flatview:-f", .params = "[-f]",
      .help = "show the tree of memory regions (-f: what is seen where)", .run = run_info_mtree,
      .info = true },
    { .name = "mainloop", .help = "show what the main loop did and its longest callback",
      .run = run_info_mainloop, .info = true, .preconfig = true },
    { .name = "history", .help = "show the command line history", .run = run_info_history,
      .info = true, .preconfig = true },
    { .name = "qtree", .help = "show the tree of buses and devices", .run = run_info_qtree,
      .info = true },
    { .name = "qom-tree", .args = "path:s?", .params = "[path]",
      .help = "show the tree of objects", .run = run_info_qom_tree, .info = true },
    { .name = "pic", .help = "show the state of the 8259s and the I/O APIC", .run = run_info_pic,
      .info = true },
    { .name = "lapic", .args = "index:i?", .params = "[cpu]",
      .help = "show the state of a CPU's local APIC", .run = run_info_lapic, .info = true },
    { .name = "irq", .help = "show which interrupt lines are asserted", .run = run_info_irq,
      .info = true },
    { .name = "device", .args = "name:s", .params = "id",
      .help = "show everything a device remembers", .run = run_info_device,
      .complete = complete_device, .info = true },
    { .name = "chardev", .help = "show the character devices", .run = run_info_chardev,
      .info = true, .preconfig = true },
    { .name = NULL },
};
