/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the files of monitor/ share. Commands of other directories need only monitor.h.
 */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include "chardev/byte_queue.h"
#include "hw/core/machine.h"
#include "monitor/monitor.h"
#include "monitor/readline.h"

struct CpuState;

struct Monitor {
    Machine *m;
    unsigned cpu; /* index, chosen by "cpu N" */
    char dump_format, dump_size; /* x and xp: as last given */
    ByteQueue *capture;          /* monitor_run_line: output goes here */
    /* a session; all empty under monitor_run_line */
    CharFrontend fe;
    Readline *rl;
    ByteQueue input; /* not looked at yet: no prompt */
    bool greeted, quitting, mux;
    List node; /* on monitor.c's list of sessions */
};

/* ---- the table: monitor.c ---- */

/* Names are "quit|q": the first is the one help shows. */
bool command_has_name(const MonitorCommand *c, const char *name);
const MonitorCommand *command_find(const char *name, bool info);
/* Every row, sorted by name. */
void commands_each(bool info, void (*fn)(const MonitorCommand *c, void *opaque), void *opaque);
void monitor_execute(Monitor *mon, const char *line);
/* "name" alone, cut at '|', into buf. */
const char *command_first_name(const MonitorCommand *c, char buf[64]);

/* ---- arguments: args.c ---- */

typedef struct ArgSpec {
    char name[32];
    char type;     /* s F B S i l o b / or '-' for a flag */
    char flag;     /* '-': its letter */
    char flag_arg; /* '-': type of the flag's own argument ('s'), 0: none */
    bool optional;
} ArgSpec;
enum { MAX_ARGS = 12 };
/* Splits "name:type,..."; returns how many, -1 if the table's row is malformed. */
int args_parse_spec(const char *spec, ArgSpec out[MAX_ARGS]);
/* text: what follows the command's name. A new dictionary, NULL with *errp. */
Dict *args_parse(Monitor *mon, const MonitorCommand *c, const char *text, Error **errp);
/* Which argument the end of text belongs to, and its beginning (from *prefix to the end). NULL:
 * none any more. */
const ArgSpec *args_at_end(const ArgSpec *spec, int nr, const char *text, const char **prefix);
uint64_t arg_u64(const Dict *args, const char *name, uint64_t def);
bool arg_bool(const Dict *args, const char *name);

/* ---- expressions: expr.c ---- */

/* Evaluates what *p starts with and moves *p behind it (and behind blanks). C's operators and
 * precedence on 64 bits, 'c', $register of mon's CPU. alone: it is the last argument; otherwise
 * "a -b" ends after a. */
bool monitor_expr(Monitor *mon, const char **p, bool alone, uint64_t *out, Error **errp) MUST_USE;

/* ---- CPUs: hmp_cpu.c ---- */

/* The chosen vCPU with its state at hand; all vCPUs stand still until the matching release. NULL
 * (and nothing to release) if the machine has none. */
struct CpuState *monitor_cpu_hold(Monitor *mon);
void monitor_cpu_release(Monitor *mon);
/* $name; false if there is no such register. */
bool cpu_register(const struct CpuState *cpu, const char *name, uint64_t *val);
/* i-th register name, NULL past the end. */
const char *cpu_register_name(unsigned i);
/* The lines of info registers. */
void cpu_print_registers(const struct CpuState *cpu, void (*print)(void *opaque, const char *line),
                         void *opaque);

/* ---- completion: complete.c ---- */
void monitor_complete(Monitor *mon, const char *text);
void complete_files(Monitor *mon, const char *prefix);

#endif
