/* SPDX-License-Identifier: GPL-2.0-or-later
 * From command lines to a MachineConfig: memory, topology, boot order, clock, names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vm/machine_config.h"
#include "vm/options.h"

static bool nothing(Machine *m, Error **errp)
{
    (void)m;
    (void)errp;
    return true;
}

MACHINE_TYPE(toy) = {
    .name = "toy", .max_cpus = 32, .default_ram = 64 * MiB, .init = nothing,
};

enum { MAX_ARGS = 32, MAX_LINES = 200 };

/* Kept to the end, as in the program itself. */
static Options all_options[MAX_LINES];
static MachineConfig all_configs[MAX_LINES];
static size_t nr_lines;

/* Splits at blanks; the machine is the toy. NULL config: *errp says why. */
static MachineConfig *config(const char *line, Error **errp)
{
    char *copy = strdup(line), *save = NULL;
    char *argv[MAX_ARGS] = { (char *)"vireo", (char *)"-M", (char *)"toy" };
    int argc = 3;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        argv[argc++] = w;
    }
    assert_true(nr_lines < MAX_LINES);
    Options *o = &all_options[nr_lines];
    MachineConfig *c = &all_configs[nr_lines++];
    bool ok = options_parse(o, argc, argv, errp) && machine_config_resolve(c, o, errp);
    free(copy);
    return ok ? c : NULL;
}

static MachineConfig *good(const char *line)
{
    Error *err = NULL;
    MachineConfig *c = config(line, &err);
    if (!c) {
        fail_msg("'%s': %s", line, error_text(err));
    }
    return c;
}

static void bad(const char *line, const char *want)
{
    Error *err = NULL;
    MachineConfig *c = config(line, &err);
    if (c || !strstr(error_text(err), want)) {
        fail_msg("'%s': want an error with '%s', got '%s'", line, want,
                 c ? "none" : error_text(err));
    }
    error_free(err);
}

static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(good("")->ram_size, 64 * MiB);
    assert_int_equal(good("-m 256")->ram_size, 256 * MiB);
    assert_int_equal(good("-m 1.5G")->ram_size, 1536 * MiB);
    assert_int_equal(good("-m size=2g")->ram_size, 2 * GiB);
    assert_int_equal(good("-m 1 -m 2")->ram_size, 2 * MiB);
    bad("-m 0", "not a possible size");
    bad("-m lots", "expected a size");
    bad("-m 1G,slots=2,maxmem=4G", "hot-plug");
    bad("-m 1G,foo=2", "unknown option 'foo'");
}

static void test_topology(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned cpus, sockets, cores, threads, maxcpus;
    } cases[] = {
        { "1", 1, 1, 1, 1, 1 },
        { "4", 4, 1, 4, 1, 4 },
        { "8,sockets=2", 8, 2, 4, 1, 8 },
        { "2,sockets=2,cores=1,threads=1", 2, 2, 1, 1, 2 },
        { "8,cores=2", 8, 4, 2, 1, 8 },
        { "8,threads=2", 8, 1, 4, 2, 8 },
        { "sockets=2,cores=4", 8, 2, 4, 1, 8 },
        { "8,sockets=1,cores=4", 8, 1, 4, 2, 8 },
        { "2,maxcpus=8", 2, 1, 8, 1, 8 },
        { "cpus=3,maxcpus=4,sockets=2", 3, 2, 2, 1, 4 },
        { "threads=2,cores=2,sockets=2,maxcpus=8", 8, 2, 2, 2, 8 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char line[128];
        snprintf(line, sizeof(line), "-smp %s", cases[i].text);
        MachineConfig *c = good(line);
        if (c->cpus != cases[i].cpus || c->sockets != cases[i].sockets || c->dies != 1 ||
            c->cores != cases[i].cores || c->threads != cases[i].threads ||
            c->maxcpus != cases[i].maxcpus) {
            fail_msg("-smp %s: want %u cpus, %u x %u x %u of %u, got %u, %u x %u x %u of %u",
                     cases[i].text, cases[i].cpus, cases[i].sockets, cases[i].cores,
                     cases[i].threads, cases[i].maxcpus, c->cpus, c->sockets, c->cores,
                     c->threads, c->maxcpus);
        }
    }
    bad("-smp 0", "between 1 and");
    bad("-smp 3,sockets=2", "sockets x dies");
    bad("-smp 4,maxcpus=2", "more CPUs than maxcpus");
    bad("-smp 33", "room for 32");
    bad("-smp 2,core=2", "unknown option 'core'");
    bad("-smp x", "expected a number");
}

static void test_boot_and_clock(void **state)
{
    (void)state;
    MachineConfig *c = good("-boot dc -boot menu=on,splash-time=500 -boot once=n,strict=on");
    assert_string_equal(c->boot_order, "dc");
    assert_string_equal(c->boot_once, "n");
    assert_true(c->boot_menu && c->boot_strict);
    assert_int_equal(c->boot_splash_ms, 500);
    bad("-boot z", "no boot device");
    bad("-boot cc", "twice");
    bad("-boot order=c,menu=perhaps", "on or off");

    c = good("-rtc base=2026-01-31T12:00:00,clock=vm");
    assert_int_equal(c->rtc_base, RTC_DATE);
    assert_int_equal(c->rtc_date, 1769860800);
    assert_int_equal(c->rtc_clock, RTC_CLOCK_VM);
    assert_int_equal(good("-rtc localtime")->rtc_base, RTC_LOCALTIME);
    assert_int_equal(good("-localtime")->rtc_base, RTC_LOCALTIME);
    bad("-rtc base=2026-13-01", "write utc");
    bad("-rtc clock=sun", "write host");
}

static void test_names(void **state)
{
    (void)state;
    MachineConfig *c = good("-name box,process=p,debug-threads=on "
                            "-uuid 550e8400-e29b-41d4-a716-446655440000");
    assert_string_equal(c->name, "box");
    assert_true(c->has_uuid);
    assert_int_equal(c->uuid[0], 0x55);
    assert_int_equal(c->uuid[15], 0);
    assert_int_equal(c->uuid[9], 0x16);
    bad("-uuid 550e8400", "not a UUID");
    bad("-name x,color=red", "unknown option 'color'");
    assert_string_equal(dict_get(good("-no-acpi -M hpet=off")->machine_opts, "acpi"), "off");
    bad("-vnc :1", "not built");
    bad("-nodefault", "did you mean -nodefaults?");
    bad("-append x", "-kernel");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_topology),
        cmocka_unit_test(test_boot_and_clock),
        cmocka_unit_test(test_names),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("machine_config", tests, NULL, NULL);
}
