/* SPDX-License-Identifier: GPL-2.0-or-later
 * The monitor's command table and sessions. A command is a row; HMP parsing, completion and help
 * (and later QMP) come from it. Files anywhere above util may add rows with MONITOR_COMMANDS.
 * Main loop, vm_lock held.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "chardev/chardev.h"

typedef struct Monitor Monitor;

/* args: QEMU's HMP spelling of parameters, "name:type,...": s word, F file name, B block device
 * id, S rest of the line, i 32-bit and l 64-bit integer expressions ("$rip+4"), o size, b on/off,
 * -x flag x, / format (x/10i), ? after a type: optional. They arrive as a Dict. */
typedef struct MonitorCommand {
    const char *name;    /* "info pic" rows are named "pic" in the info table */
    const char *args;
    const char *params;  /* as help shows them */
    const char *help;
    void (*run)(Monitor *mon, const Dict *args);
    void (*complete)(Monitor *mon, unsigned arg, const char *prefix); /* monitor_completion() */
    bool info;           /* belongs under "info" */
    bool preconfig;      /* may run before the machine starts */
} MonitorCommand;

/* Registers a table, terminated by a row with no name. */
#define MONITOR_COMMANDS(sym)                                                                      \
    static const MonitorCommand sym[];                                                             \
    static void __attribute__((constructor)) register_##sym(void)                                  \
    {                                                                                              \
        monitor_register(sym);                                                                     \
    }                                                                                              \
    static const MonitorCommand sym[]
void monitor_register(const MonitorCommand *table);

void monitor_printf(Monitor *mon, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* For functions that take print(opaque, line): opaque is the Monitor. Adds the newline. */
void monitor_print_line(void *mon, const char *line);
void monitor_error(Monitor *mon, Error *err); /* prints "Error: ..."; takes err */
void monitor_completion(Monitor *mon, const char *word); /* offers a candidate */
struct Machine *monitor_machine(Monitor *mon);
/* The vCPU that cpu N chose; index. */
unsigned monitor_cpu(Monitor *mon);

/* A readline session on a chardev (-monitor, -mon). */
Monitor *monitor_new(Chardev *chr, struct Machine *m, Error **errp);
void monitors_close(void); /* at exit, before chardevs_close */
/* Runs one line and returns what it printed (new string): human-monitor-command and tests. */
char *monitor_run_line(struct Machine *m, const char *line);

#endif
