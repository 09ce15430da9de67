/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands that do something: run state, keys and mouse, log, devices, chardevs.
 */
#include <stdio.h>
#include <string.h>

#include "accel/accel.h"
#include "chardev/ringbuf.h"
#include "monitor/internal.h"
#include "ui/console.h"
#include "ui/input.h"
#include "util/log.h"
#include "util/main_loop.h"

/* Takes the address, since ok is often the call that fills it. */
static void report(Monitor *mon, bool ok, Error **errp)
{
    if (!ok) {
        monitor_error(mon, *errp);
    }
}

/* ---- run state ---- */

static void run_stop(Monitor *mon, const Dict *args)
{
    (void)args;
    if (mon->m && mon->m->run_ops) {
        mon->m->run_ops->stop(mon->m);
    }
}

static void run_cont(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    (void)args;
    if (mon->m && mon->m->run_ops) {
        report(mon, mon->m->run_ops->cont(mon->m, &err), &err);
    }
}

static void run_system_reset(Monitor *mon, const Dict *args)
{
    (void)args;
    if (mon->m) {
        machine_request_reset(mon->m, RESET_USER);
    }
}

static void run_system_powerdown(Monitor *mon, const Dict *args)
{
    (void)args;
    if (mon->m && mon->m->powerdown) {
        mon->m->powerdown(mon->m);
    } else {
        monitor_printf(mon, "Error: this machine has no power button\n");
    }
}

static void run_quit(Monitor *mon, const Dict *args)
{
    (void)args;
    mon->quitting = true;
    main_loop_quit(0);
}

static void run_nmi(Monitor *mon, const Dict *args)
{
    (void)args;
    if (mon->m && mon->m->nmi) {
        mon->m->nmi(mon->m);
    } else {
        monitor_printf(mon, "Error: this machine has no way to send an NMI\n");
    }
}

static void run_boot_set(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    if (!mon->m || !mon->m->set_boot_order) {
        monitor_printf(mon, "Error: this machine has no boot order\n");
        return;
    }
    report(mon, mon->m->set_boot_order(mon->m, dict_get(args, "bootdevice"), &err), &err);
}

/* ---- keyboard, mouse, screen ---- */

static void run_sendkey(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    unsigned hold_ms = (unsigned)MIN(arg_u64(args, "hold-time", 100), 60000u);
    report(mon, input_sendkey(dict_get(args, "keys"), hold_ms, &err), &err);
}

static void complete_sendkey(Monitor *mon, unsigned arg, const char *prefix)
{
    const char *dash = strrchr(prefix, '-');
    const char *last = dash ? dash + 1 : prefix;
    for (int k = KEY_NONE + 1; !arg && k < NR_KEYS; k++) {
        const char *name = key_name((KeyCode)k);
        if (name && !strncmp(name, last, strlen(last))) {
            char *word = xasprintf("%.*s%s", (int)(last - prefix), prefix, name);
            monitor_completion(mon, word);
            free(word);
        }
    }
}

static int arg_int(const Dict *args, const char *name)
{
    return (int)(int64_t)arg_u64(args, name, 0);
}

static void run_mouse_move(Monitor *mon, const Dict *args)
{
    (void)mon;
    input_rel(arg_int(args, "dx"), arg_int(args, "dy"), arg_int(args, "dz"));
}

static void run_mouse_button(Monitor *mon, const Dict *args)
{
    (void)mon;
    input_buttons((unsigned)arg_u64(args, "state", 0));
}

static void run_screendump(Monitor *mon, const Dict *args)
{
    unsigned head = (unsigned)arg_u64(args, "head", 0);
    const char *format = dict_get(args, "format");
    Error *err = NULL;
    Console *c = console_by_index(head);
    if (!c) {
        monitor_printf(mon, "Error: there is no screen %u\n", head);
    } else if (format && strcmp(format, "ppm") && strcmp(format, "png")) {
        monitor_printf(mon, "Error: '%s' is not a picture format; ppm and png are\n", format);
    } else {
        report(mon, console_screendump(c, dict_get(args, "filename"), format, &err), &err);
    }
}

/* ---- log ---- */

static void run_log(Monitor *mon, const Dict *args)
{
    const char *items = dict_get(args, "items");
    Error *err = NULL;
    if (!strcmp(items, "help")) {
        log_list(monitor_print_line, mon);
    } else if (!log_set(items, &err)) {
        monitor_error(mon, err);
    } else if (mon->m && mon->m->vcpu) {
        engines_log_changed(mon->m);
    }
}

static void run_logfile(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    report(mon, log_open(dict_get(args, "filename"), &err), &err);
}

/* ---- devices ---- */

static void run_device_add(Monitor *mon, const Dict *args)
{
    const char *text = dict_get(args, "device");
    Error *err = NULL;
    Dict *opts = dict_parse(text, "driver", &err);
    const char *driver = opts ? dict_get(opts, "driver") : NULL;
    const DeviceType *t = driver ? device_type_find(driver) : NULL;
    bool ok = opts != NULL;
    if (ok && driver && !strcmp(driver, "help")) {
        device_list_types(monitor_print_line, mon);
    } else if (ok && t && !t->internal && !t->hotpluggable) {
        ok = error_set(&err, "%s: such a device cannot be plugged in while the machine runs; start Vireo with "
                             "-device %s", t->name, text);
    } else if (ok) {
        ok = mon->m && device_create(mon->m, opts, &err);
    }
    dict_free(opts);
    if (!ok && err) {
        monitor_error(mon, err);
    }
}

static void run_device_del(Monitor *mon, const Dict *args)
{
    const char *id = dict_get(args, "id");
    Device *dev = mon->m ? device_find(mon->m, id) : NULL;
    if (!dev) {
        monitor_printf(mon, "Error: there is no device with the id '%s'\n", id);
    } else if (!dev->type->hotpluggable) {
        monitor_printf(mon, "Error: '%s' (%s) cannot be unplugged while the machine runs\n", id,
                       dev->type->name);
    } else {
        device_unrealize(dev);
    }
}

static void offer_type(const DeviceType *t, void *opaque)
{
    void *const *pair = opaque;
    const char *prefix = pair[1];
    if (t->hotpluggable && !t->internal && !t->abstract &&
        !strncmp(t->name, prefix, strlen(prefix))) {
        monitor_completion(pair[0], t->name);
    }
}

static void complete_device_add(Monitor *mon, unsigned arg, const char *prefix)
{
    void *pair[2] = { mon, (void *)prefix };
    if (!arg) {
        device_types_each(offer_type, pair);
    }
}

/* ---- character devices ---- */

static void run_chardev_add(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    Dict *opts = dict_parse(dict_get(args, "args"), "backend", &err);
    bool server = false, ok = opts != NULL;
    if (ok && dict_get_bool(opts, "server", &server, &err) && server && !dict_has(opts, "wait")) {
        dict_set(opts, "wait", "off"); /* the machine runs: nobody can wait */
    }
    bool wait = false;
    ok = ok && !err && dict_get_bool(opts, "wait", &wait, &err);
    if (ok && wait) {
        ok = error_set(&err, "wait=on would stop the running machine; use wait=off");
    }
    ok = ok && chardev_create(opts, &err);
    dict_free(opts);
    report(mon, ok, &err);
}

static Chardev *find_chardev(Monitor *mon, const char *id)
{
    Chardev *chr = chardev_find(id);
    if (!chr) {
        monitor_printf(mon, "Error: there is no chardev '%s'; info chardev lists them\n", id);
    }
    return chr;
}

static void run_chardev_change(Monitor *mon, const Dict *args)
{
    const char *id = dict_get(args, "id");
    Error *err = NULL;
    Chardev *chr = find_chardev(mon, id);
    Dict *opts = chr ? dict_parse(dict_get(args, "args"), "backend", &err) : NULL;
    if (opts) {
        dict_set(opts, "id", id);
    }
    if (chr) {
        report(mon, opts && chardev_change(chr, opts, &err), &err);
    }
    dict_free(opts);
}

static void run_chardev_remove(Monitor *mon, const Dict *args)
{
    const char *id = dict_get(args, "id");
    Chardev *chr = find_chardev(mon, id);
    if (chr && chardev_in_use(chr)) {
        monitor_printf(mon, "Error: chardev '%s' is in use\n", id);
    } else if (chr) {
        chardev_delete(chr);
    }
}

static void run_chardev_send_break(Monitor *mon, const Dict *args)
{
    Chardev *chr = find_chardev(mon, dict_get(args, "id"));
    if (chr) {
        chardev_send_break(chr);
    }
}

static void run_ringbuf_read(Monitor *mon, const Dict *args)
{
    Chardev *chr = find_chardev(mon, dict_get(args, "device"));
    size_t len = MIN(arg_u64(args, "size", 0), 1u << 20), got = 0;
    Error *err = NULL;
    if (!chr) {
        return;
    }
    char *buf = xmalloc(len + 1);
    bool ok = char_ringbuf_read(chr, buf, len, &got, &err);
    for (size_t i = 0; ok && i < got; i++) {
        unsigned char c = (unsigned char)buf[i];
        if (c == '\\') {
            monitor_printf(mon, "\\\\");
        } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            monitor_printf(mon, "\\u%04X", c);
        } else {
            monitor_printf(mon, "%c", c);
        }
    }
    free(buf);
    if (ok) {
        monitor_printf(mon, "\n");
    }
    report(mon, ok, &err);
}

static void run_ringbuf_write(Monitor *mon, const Dict *args)
{
    Chardev *chr = find_chardev(mon, dict_get(args, "device"));
    const char *data = dict_get(args, "data");
    Error *err = NULL;
    if (chr) {
        report(mon, char_ringbuf_write(chr, data, strlen(data), &err), &err);
    }
}

typedef struct CharWord {
    Monitor *mon;
    const char *prefix;
} CharWord;

static void offer_chardev(Chardev *chr, const char *id, const char *filename, void *opaque)
{
    CharWord *w = opaque;
    (void)chr;
    (void)filename;
    if (!strncmp(id, w->prefix, strlen(w->prefix))) {
        monitor_completion(w->mon, id);
    }
}

static void complete_chardev(Monitor *mon, unsigned arg, const char *prefix)
{
    CharWord w = { mon, prefix };
    if (!arg) {
        chardevs_each(offer_chardev, &w);
    }
}

MONITOR_COMMANDS(misc_commands) = {
    { .name = "stop|s", .help = "stop the VM", .run = run_stop },
    { .name = "cont|c", .help = "let the VM run", .run = run_cont },
    { .name = "system_reset", .help = "reset the VM", .run = run_system_reset },
    { .name = "system_powerdown", .help = "press the VM's power button",
      .run = run_system_powerdown },
    { .name = "quit|q", .help = "end Vireo", .run = run_quit, .preconfig = true },
    { .name = "nmi", .help = "send a non-maskable interrupt to the VM", .run = run_nmi },
    { .name = "boot_set", .args = "bootdevice:s", .params = "letters",
      .help = "choose what the VM boots from next, as -boot does", .run = run_boot_set },
    { .name = "sendkey", .args = "keys:s,hold-time:i?", .params = "keys [hold_ms]",
      .help = "press keys at once, for example sendkey ctrl-alt-f1 100", .run = run_sendkey,
      .complete = complete_sendkey },
    { .name = "mouse_move", .args = "dx:i,dy:i,dz:i?", .params = "dx dy [dz]",
      .help = "move the mouse; dz turns its wheel", .run = run_mouse_move },
    { .name = "mouse_button", .args = "state:i", .params = "state",
      .help = "press and release mouse buttons (1 left, 2 right, 4 middle)",
      .run = run_mouse_button },
    { .name = "screendump", .args = "filename:F,format:-fs,head:i?",
      .params = "filename [-f format] [head]",
      .help = "save the screen as a picture, ppm or png", .run = run_screendump },
    { .name = "log", .args = "items:s", .params = "item1[,...]",
      .help = "choose what is logged, as -d does; log help lists it", .run = run_log,
      .preconfig = true },
    { .name = "logfile", .args = "filename:F", .params = "filename",
      .help = "write the log to a file", .run = run_logfile, .preconfig = true },
    { .name = "device_add", .args = "device:S", .params = "driver[,prop=value][,...]",
      .help = "plug a device in, as -device does", .run = run_device_add,
      .complete = complete_device_add },
    { .name = "device_del", .args = "id:s", .params = "id", .help = "unplug a device",
      .run = run_device_del },
    { .name = "chardev-add", .args = "args:S", .params = "backend,id=id[,...]",
      .help = "make a character device, as -chardev does", .run = run_chardev_add },
    { .name = "chardev-change", .args = "id:s,args:S", .params = "id backend[,...]",
      .help = "give a character device another back end", .run = run_chardev_change,
      .complete = complete_chardev },
    { .name = "chardev-remove", .args = "id:s", .params = "id",
      .help = "remove a character device nobody uses", .run = run_chardev_remove,
      .complete = complete_chardev },
    { .name = "chardev-send-break", .args = "id:s", .params = "id",
      .help = "send a break to the device behind a character device",
      .run = run_chardev_send_break, .complete = complete_chardev },
    { .name = "ringbuf_read", .args = "device:s,size:i", .params = "id size",
      .help = "read from a ringbuf character device", .run = run_ringbuf_read,
      .complete = complete_chardev },
    { .name = "ringbuf_write", .args = "device:s,data:S", .params = "id data",
      .help = "write to a ringbuf character device", .run = run_ringbuf_write,
      .complete = complete_chardev },
    { .name = NULL },
};
