/* SPDX-License-Identifier: GPL-2.0-or-later
 * The monitor: the table of commands, running a line, and sessions on character devices. A
 * session reads no further while its peer does not take what was printed, so that a slow or
 * silent peer costs a bounded amount of memory.
 */
#include "monitor/monitor.h"

#include <ctype.h>
#include <string.h>

#include "monitor/internal.h"
#include "util/main_loop.h"
#include "util/version.h"

enum { MAX_TABLES = 64, OUTPUT_HIGH = 256 * 1024, INPUT_MAX = 64 * 1024 };

/* ---- the table ---- */

static const MonitorCommand *tables[MAX_TABLES];
static size_t nr_tables;

void monitor_register(const MonitorCommand *table)
{
    assert(nr_tables < MAX_TABLES);
    tables[nr_tables++] = table;
}

const char *command_first_name(const MonitorCommand *c, char buf[64])
{
    size_t n = strcspn(c->name, "|");
    assert(n < 64);
    memcpy(buf, c->name, n);
    buf[n] = 0;
    return buf;
}

bool command_has_name(const MonitorCommand *c, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = c->name; *p;) {
        size_t n = strcspn(p, "|");
        if (n == len && !memcmp(p, name, n)) {
            return true;
        }
        p += n + (p[n] == '|');
    }
    return false;
}

const MonitorCommand *command_find(const char *name, bool info)
{
    for (size_t t = 0; t < nr_tables; t++) {
        for (const MonitorCommand *c = tables[t]; c->name; c++) {
            if (c->info == info && command_has_name(c, name)) {
                return c;
            }
        }
    }
    return NULL;
}

static int compare_commands(const void *a, const void *b)
{
    return strcmp((*(const MonitorCommand *const *)a)->name,
                  (*(const MonitorCommand *const *)b)->name);
}

void commands_each(bool info, void (*fn)(const MonitorCommand *c, void *opaque), void *opaque)
{
    const MonitorCommand **rows = NULL;
    size_t nr = 0;
    for (size_t t = 0; t < nr_tables; t++) {
        for (const MonitorCommand *c = tables[t]; c->name; c++) {
            if (c->info == info) {
                rows = xrealloc(rows, (nr + 1) * sizeof(rows[0]));
                rows[nr++] = c;
            }
        }
    }
    if (nr) {
        qsort(rows, nr, sizeof(rows[0]), compare_commands);
    }
    for (size_t i = 0; i < nr; i++) {
        fn(rows[i], opaque);
    }
    free(rows);
}

/* ---- output ---- */

static void write_out(Monitor *mon, const char *buf, size_t len)
{
    if (mon->capture) {
        byte_queue_push(mon->capture, buf, len);
    } else {
        char_write_all(&mon->fe, buf, len);
    }
}

/* Commands print lines that end in \n; a raw terminal also needs the \r. */
static void print_text(Monitor *mon, const char *text)
{
    if (mon->capture) {
        write_out(mon, text, strlen(text));
        return;
    }
    while (*text) {
        size_t n = strcspn(text, "\n");
        write_out(mon, text, n);
        text += n;
        if (*text) {
            write_out(mon, "\r\n", 2);
            text++;
        }
    }
}

void monitor_printf(Monitor *mon, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    print_text(mon, text);
    free(text);
}

void monitor_print_line(void *mon, const char *line)
{
    print_text(mon, line);
    print_text(mon, "\n");
}

void monitor_error(Monitor *mon, Error *err)
{
    monitor_printf(mon, "Error: %s\n", error_text(err));
    error_free(err);
}

struct Machine *monitor_machine(Monitor *mon)
{
    return mon->m;
}

unsigned monitor_cpu(Monitor *mon)
{
    return mon->cpu;
}

/* ---- running a line ---- */

typedef struct NameList {
    const char *names[512];
    char text[512][64];
    size_t nr;
} NameList;

static void add_name(const MonitorCommand *c, void *opaque)
{
    NameList *l = opaque;
    if (l->nr < ARRAY_SIZE(l->names) - 1) {
        l->names[l->nr] = command_first_name(c, l->text[l->nr]);
        l->nr++;
    }
}

/* Commands that people know from QEMU and that are not built: an honest word each. */
static const char *unbuilt_command(const char *name)
{
    static const struct {
        const char *names; /* separated by blanks */
        const char *why;
    } unbuilt[] = {
        { "savevm loadvm delvm snapshots", "snapshots are" },
        { "migrate migrate_cancel migrate_continue migrate_incoming migrate_pause migrate_recover "
          "migrate_set_capability migrate_set_parameter migrate_start_postcopy migrate_capabilities "
          "migrate_parameters",
          "migration is" },
        { "gdbserver", "the debugger stub is" },
        { "dump-guest-memory dump", "a dump of the guest is (pmemsave saves its memory)" },
        { "watchdog_action", "watchdogs are" },
        { "usb usbhost", "USB is" },
        { "wavcapture stopcapture capture", "sound is" },
        { "nbd_server_start nbd_server_add nbd_server_remove nbd_server_stop", "an NBD server is" },
        { "vnc spice set_password expire_password", "a remote screen is" },
        { "trace-event trace-events trace-file", "tracing is (log has what Vireo can tell)" },
        { "qom-get qom-list qom-set", "changing objects is (info qom-tree shows them)" },
        { "singlestep one-insn-per-tb", "this is (-accel jit,one-insn-per-tb=on)" },
    };
    size_t len = strlen(name);
    for (size_t i = 0; len && i < ARRAY_SIZE(unbuilt); i++) {
        for (const char *p = unbuilt[i].names; *p;) {
            size_t n = strcspn(p, " ");
            if (n == len && !strncmp(p, name, n)) {
                return unbuilt[i].why;
            }
            p += n + (p[n] == ' ');
        }
    }
    return NULL;
}

static void unknown_command(Monitor *mon, const char *name, bool info)
{
    const char *why = unbuilt_command(name);
    if (why) {
        monitor_printf(mon, "Error: %s%s: %s not built yet\n", info ? "info " : "", name, why);
        return;
    }
    NameList *l = xcalloc(1, sizeof(*l));
    const char *lead = info ? "info " : "";
    commands_each(info, add_name, l);
    const char *near = suggest(name, l->names);
    if (near) {
        monitor_printf(mon, "unknown command: '%s%s'; did you mean '%s%s'?\n", lead, name, lead,
                       near);
    } else {
        monitor_printf(mon, "unknown command: '%s%s'; try '%s'\n", lead, name,
                       info ? "help info" : "help");
    }
    free(l);
}

static bool has_machine_cpus(const Monitor *mon)
{
    return mon->m && mon->m->nr_cpus > 0;
}

static void run_row(Monitor *mon, const MonitorCommand *c, const char *text)
{
    Error *err = NULL;
    if (has_machine_cpus(mon) && mon->cpu >= mon->m->nr_cpus) {
        mon->cpu = 0;
    }
    Dict *args = args_parse(mon, c, text, &err);
    if (!args) {
        monitor_error(mon, err);
        return;
    }
    c->run(mon, args);
    dict_free(args);
}

/* The word at *p, up to a blank or the '/' of a format. Moves *p behind it. */
static void take_name(const char **p, char name[64])
{
    while (isspace((unsigned char)**p)) {
        (*p)++;
    }
    size_t n = strcspn(*p, " \t/");
    snprintf(name, 64, "%.*s", (int)n, *p);
    *p += n;
}

void monitor_execute(Monitor *mon, const char *line)
{
    char name[64];
    take_name(&line, name);
    if (!name[0]) {
        if (*line) {
            unknown_command(mon, line, false);
        }
        return;
    }
    const MonitorCommand *c = command_find(name, false);
    if (!c) {
        unknown_command(mon, name, false);
        return;
    }
    if (strcmp(name, "info")) {
        run_row(mon, c, line);
        return;
    }
    const char *rest = line;
    take_name(&rest, name);
    const MonitorCommand *sub = name[0] ? command_find(name, true) : NULL;
    if (sub) {
        run_row(mon, sub, rest);
    } else if (name[0]) {
        unknown_command(mon, name, true);
    } else {
        run_row(mon, c, ""); /* lists them */
    }
}

char *monitor_run_line(struct Machine *m, const char *line)
{
    ByteQueue out = { 0 };
    Monitor mon = { .m = m, .capture = &out, .dump_format = 'x', .dump_size = 'w' };
    monitor_execute(&mon, line);
    char *text = xstrndup(out.len ? (const char *)byte_queue_peek(&out) : "", out.len);
    byte_queue_clear(&out);
    return text;
}

/* ---- sessions ---- */

static List sessions = LIST_INIT(sessions);

static void session_writable(void *opaque);

static void feed_input(Monitor *mon)
{
    while (mon->input.len && !mon->quitting && char_queued(&mon->fe) < OUTPUT_HIGH) {
        /* Commands may lead back here: take a copy, a line's worth at a time. */
        char buf[256];
        size_t n = MIN(mon->input.len, sizeof(buf));
        memcpy(buf, byte_queue_peek(&mon->input), n);
        const char *end = memchr(buf, '\n', n);
        n = end ? (size_t)(end - buf) + 1 : n;
        byte_queue_drop(&mon->input, n);
        readline_input(mon->rl, buf, n);
    }
    if (mon->input.len && !mon->quitting) {
        char_on_writable(&mon->fe, session_writable, mon);
    }
}

static void session_writable(void *opaque)
{
    Monitor *mon = opaque;
    feed_input(mon);
    char_accept_input(&mon->fe);
}

static size_t session_can_receive(void *opaque)
{
    Monitor *mon = opaque;
    if (char_queued(&mon->fe) >= OUTPUT_HIGH) {
        char_on_writable(&mon->fe, session_writable, mon);
        return 0;
    }
    return INPUT_MAX - mon->input.len;
}

static void session_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Monitor *mon = opaque;
    bool busy = mon->input.len > 0;
    byte_queue_push(&mon->input, buf, len);
    if (!busy) {
        feed_input(mon);
    }
}

static void greet(Monitor *mon)
{
    if (!mon->greeted) {
        mon->greeted = true;
        monitor_printf(mon, "Vireo %s monitor - type 'help' for more information\n",
                       VIREO_VERSION);
        readline_prompt(mon->rl);
    } else {
        readline_show(mon->rl);
    }
}

/* On a mux the screen is the monitor's only while it has the focus. */
static void session_event(void *opaque, CharEvent event)
{
    Monitor *mon = opaque;
    switch (event) {
    case CHAR_OPENED:
        if (!mon->mux) {
            mon->greeted = false; /* another peer */
            byte_queue_clear(&mon->input);
            greet(mon);
        }
        break;
    case CHAR_FOCUS_IN:
        print_text(mon, "\n");
        greet(mon);
        break;
    case CHAR_FOCUS_OUT: print_text(mon, "\n"); break;
    case CHAR_CLOSED: byte_queue_clear(&mon->input); break;
    default: break;
    }
}

static void session_write(void *opaque, const char *buf, size_t len)
{
    write_out(opaque, buf, len);
}

static void session_line(void *opaque, const char *line)
{
    Monitor *mon = opaque;
    char *copy = xstrdup(line); /* the editor's buffer is free for the next one */
    monitor_execute(mon, copy);
    free(copy);
    if (!mon->quitting) {
        readline_prompt(mon->rl);
    }
}

static void session_complete(void *opaque, const char *text)
{
    monitor_complete(opaque, text);
}

static void session_free(Monitor *mon)
{
    char_detach(&mon->fe);
    list_remove(&mon->node);
    readline_free(mon->rl);
    byte_queue_clear(&mon->input);
    free(mon);
}

void monitors_close(void)
{
    list_for_each_safe(pos, &sessions) {
        session_free(container_of(pos, Monitor, node));
    }
}

static const ReadlineOps session_ops = { session_write, session_line, session_complete };

Monitor *monitor_new(Chardev *chr, struct Machine *m, Error **errp)
{
    Monitor *mon = xcalloc(1, sizeof(*mon));
    *mon = (Monitor){ .m = m, .dump_format = 'x', .dump_size = 'w', .mux = chardev_is_mux(chr) };
    list_insert(&sessions, &mon->node);
    mon->rl = readline_new(&session_ops, mon, "(vireo) ");
    mon->fe = (CharFrontend){ .can_receive = session_can_receive, .receive = session_receive,
                              .event = session_event, .opaque = mon, .polite = true };
    if (!char_attach(&mon->fe, chr, errp)) {
        session_free(mon);
        return NULL;
    }
    return mon;
}
