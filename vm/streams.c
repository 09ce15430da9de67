/* SPDX-License-Identifier: GPL-2.0-or-later
 * Streams of ports and monitors, with QEMU's defaults: in a window serial port, parallel port and
 * monitor are text consoles; with -nographic serial port and monitor share the terminal.
 */
#include "chardev/chardev.h"
#include "monitor/monitor.h"
#include "util/alloc.h"
#include "vm/host_devices.h"

static const char default_vc[] = "vc:80Cx24C";

/* Chardevs that get a monitor when the machine is there. */
static struct {
    Chardev *chr[16];
    size_t nr;
} waiting;

static bool want_monitor(Chardev *chr, Error **errp)
{
    if (waiting.nr == ARRAY_SIZE(waiting.chr)) {
        return error_set(errp, "more than %zu monitors", ARRAY_SIZE(waiting.chr));
    }
    waiting.chr[waiting.nr++] = chr;
    return true;
}

bool options_have_device(const Options *o, const char *const *types)
{
    for (size_t i = 0; i < o->device.nr; i++) {
        Error *err = NULL;
        Dict *d = dict_parse(o->device.str[i], "driver", &err);
        const char *driver = d ? dict_get(d, "driver") : NULL;
        bool hit = false;
        for (size_t t = 0; driver && types[t]; t++) {
            hit |= !strcmp(driver, types[t]);
        }
        dict_free(d);
        error_free(err); /* reported when the device is made */
        if (hit) {
            return true;
        }
    }
    return false;
}

/* One stream named ID for option -OPT; *id is NULL for "none". */
static bool open_stream(const char *opt, const char *id, const char *spec, char **id_out,
                        Error **errp)
{
    *id_out = NULL;
    if (!strcmp(spec, "none")) {
        return true;
    }
    Chardev *chr = chardev_create_legacy(id, spec, errp);
    if (!chr || (chardev_spec_wants_monitor(spec) && !want_monitor(chr, errp))) {
        return error_prefix(errp, "-%s %s: ", opt, spec);
    }
    *id_out = xstrdup(chardev_id(chr));
    return true;
}

static bool open_list(const char *opt, const StrList *specs, char **ids, size_t room, Error **errp)
{
    if (specs->nr > room) {
        return error_set(errp, "-%s: there can be %zu, not %zu", opt, room, specs->nr);
    }
    for (size_t i = 0; i < specs->nr; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s%zu", opt, i);
        if (!open_stream(opt, name, specs->str[i], &ids[i], errp)) {
            return false;
        }
    }
    return true;
}

static bool open_monitors(const StrList *specs, Error **errp)
{
    for (size_t i = 0; i < specs->nr; i++) {
        char name[32];
        if (!strcmp(specs->str[i], "none")) {
            continue;
        }
        snprintf(name, sizeof(name), i ? "compat_monitor%zu" : "monitor", i);
        /* "mon:X" says monitor twice */
        const char *spec = specs->str[i] + (chardev_spec_wants_monitor(specs->str[i]) ? 4 : 0);
        Chardev *chr = chardev_create_legacy(name, spec, errp);
        if (!chr || !want_monitor(chr, errp)) {
            return error_prefix(errp, "-monitor %s: ", spec);
        }
    }
    return true;
}

/* -mon chardev=ID,mode=readline */
static bool open_mon(const char *text, Error **errp)
{
    Dict *d = dict_parse(text, "chardev", errp);
    if (!d) {
        return error_prefix(errp, "-mon: ");
    }
    const char *id = dict_get(d, "chardev"), *mode = dict_get(d, "mode");
    dict_get(d, "pretty");
    bool ok = true;
    Chardev *chr = id ? chardev_find(id) : NULL;
    if (!id) {
        ok = error_set(errp, "-mon %s: name a chardev, -mon chardev=ID", text);
    } else if (mode && !strcmp(mode, "control")) {
        ok = error_set(errp, "-mon %s: QMP (mode=control) is not built yet; use mode=readline",
                       text);
    } else if (mode && strcmp(mode, "readline")) {
        ok = error_set(errp, "-mon %s: unknown mode; use mode=readline", text);
    } else if (dict_unused(d)) {
        ok = error_set(errp, "-mon %s: unknown option '%s'", text, dict_unused(d));
    } else if (!chr) {
        ok = error_set(errp, "-mon %s: there is no chardev '%s'; create it with -chardev ...,id=%s",
                       text, id, id);
    } else {
        ok = want_monitor(chr, errp);
    }
    dict_free(d);
    return ok;
}

static bool open_chardevs(const Options *o, Error **errp)
{
    for (size_t i = 0; i < o->chardev.nr; i++) {
        Dict *d = dict_parse(o->chardev.str[i], "backend", errp);
        Chardev *chr = d ? chardev_create(d, errp) : NULL;
        dict_free(d);
        if (!chr) {
            return error_prefix(errp, "-chardev %s: ", o->chardev.str[i]);
        }
    }
    return true;
}

/* ---- defaults ---- */

static bool uses_stdio(const StrList *specs)
{
    for (size_t i = 0; i < specs->nr; i++) {
        if (!strcmp(specs->str[i], "stdio") || !strcmp(specs->str[i], "mon:stdio")) {
            return true;
        }
    }
    return false;
}

static bool any_wants_monitor(const StrList *specs)
{
    for (size_t i = 0; i < specs->nr; i++) {
        if (chardev_spec_wants_monitor(specs->str[i])) {
            return true;
        }
    }
    return false;
}

static bool stdio_taken(const Options *o)
{
    bool chardev = false;
    for (size_t i = 0; i < o->chardev.nr; i++) {
        chardev |= !strncmp(o->chardev.str[i], "stdio", 5);
    }
    return chardev || uses_stdio(&o->serial) || uses_stdio(&o->parallel) ||
           uses_stdio(&o->monitor) || uses_stdio(&o->debugcon) ||
           (o->qtest && !strcmp(o->qtest, "stdio"));
}

typedef struct PortSpecs {
    StrList serial, parallel, monitor;
} PortSpecs;

static void add_defaults(PortSpecs *p, const Options *o)
{
    static const char *const serial_types[] = { "isa-serial", "pci-serial", "pci-serial-2x",
                                                "pci-serial-4x", NULL };
    static const char *const parallel_types[] = { "isa-parallel", NULL };
    bool serial = !p->serial.nr && !options_have_device(o, serial_types);
    bool parallel = !p->parallel.nr && !options_have_device(o, parallel_types);
    bool monitor = !p->monitor.nr && !o->mon.nr && !any_wants_monitor(&p->serial) &&
                   !any_wants_monitor(&p->parallel);
    if (o->nodefaults) {
        return;
    }
    bool stdio = !stdio_taken(o);
    const char *terminal = stdio ? "stdio" : "null";
    if (!o->nographic) {
        terminal = default_vc;
    } else if (serial && monitor && stdio) {
        str_list_add(&p->serial, "mon:stdio");
        serial = monitor = false;
    }
    if (serial) {
        str_list_add(&p->serial, terminal);
    }
    if (parallel) {
        str_list_add(&p->parallel, o->nographic ? "null" : default_vc);
    }
    if (monitor && strcmp(terminal, "null")) {
        str_list_add(&p->monitor, terminal);
    }
}

static void copy_list(StrList *to, const StrList *from)
{
    for (size_t i = 0; i < from->nr; i++) {
        str_list_add(to, from->str[i]);
    }
}

static void free_list(StrList *l)
{
    for (size_t i = 0; i < l->nr; i++) {
        free(l->str[i]);
    }
    free(l->str);
}

static bool open_echr(const Options *o, Error **errp)
{
    uint64_t c;
    if (!o->echr) {
        return true;
    }
    if (!parse_u64(o->echr, &c) || c > 255) {
        return error_set(errp, "-echr %s: not a character code from 0 to 255", o->echr);
    }
    chardev_set_escape((uint8_t)c);
    return true;
}

bool streams_open(MachineConfig *c, const Options *o, Error **errp)
{
    PortSpecs p = { 0 };
    copy_list(&p.serial, &o->serial);
    copy_list(&p.parallel, &o->parallel);
    copy_list(&p.monitor, &o->monitor);
    add_defaults(&p, o);
    /* Monitor first: in a window it is the console behind the screen, Ctrl+Alt+2. */
    bool ok = open_echr(o, errp) && open_chardevs(o, errp) && open_monitors(&p.monitor, errp) &&
              open_list("serial", &p.serial, c->serial, ARRAY_SIZE(c->serial), errp) &&
              open_list("parallel", &p.parallel, c->parallel, ARRAY_SIZE(c->parallel), errp) &&
              open_list("debugcon", &o->debugcon, &c->debugcon, 1, errp);
    for (size_t i = 0; i < o->mon.nr && ok; i++) {
        ok = open_mon(o->mon.str[i], errp);
    }
    free_list(&p.serial);
    free_list(&p.parallel);
    free_list(&p.monitor);
    return ok;
}

bool monitors_start(Machine *m, Error **errp)
{
    for (size_t i = 0; i < waiting.nr; i++) {
        if (!monitor_new(waiting.chr[i], m, errp)) {
            return error_prefix(errp, "monitor on '%s': ", chardev_id(waiting.chr[i]));
        }
    }
    waiting.nr = 0;
    return true;
}
