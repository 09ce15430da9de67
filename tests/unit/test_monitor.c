/* SPDX-License-Identifier: GPL-2.0-or-later
 * The monitor: expressions, arguments, every row of the table, the manual, a session on a socket,
 * and the commands that work on a machine of plain RAM with one CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accel/accel.h"
#include "hw/core/machine.h"
#include "monitor/internal.h"
#include "monitor/monitor.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

static Machine machine;
static Region ram_region;
static CpuState *cpu;

static char *run(const char *line)
{
    return monitor_run_line(&machine, line);
}

static void expect(const char *line, const char *want)
{
    char *got = run(line);
    if (strcmp(got, want)) {
        print_message("(vireo) %s\nwant: %s\ngot:  %s\n", line, want, got);
    }
    assert_string_equal(got, want);
    free(got);
}

static void expect_part(const char *line, const char *want)
{
    char *got = run(line);
    if (!strstr(got, want)) {
        print_message("(vireo) %s\nwant: ...%s...\ngot:  %s\n", line, want, got);
    }
    assert_non_null(strstr(got, want));
    free(got);
}

/* ---- expressions ---- */

static void test_expressions(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        { "p 1", "0x1\n" },
        { "p 0", "0\n" },
        { "p/d 0x10+010", "24\n" },
        { "p/d 2+3*4", "14\n" },
        { "p/d (2+3)*4", "20\n" },
        { "p/d 10-3-2", "5\n" },
        { "p/d 100/7%4", "2\n" },
        { "p 0xf0|0x0f&0x3", "0xf3\n" },
        { "p 6^3", "0x5\n" },
        { "p 1<<4+1", "0x20\n" },
        { "p ~0", "0xffffffffffffffff\n" },
        { "p/d -5 + 2", "-3\n" },
        { "p/d 5 -3", "2\n" }, /* the last argument: a difference */
        { "p/u -1", "18446744073709551615\n" },
        { "p/o 8", "010\n" },
        { "p/c 'A' + 1", "'B'\n" },
        { "p '\\n'", "0xa\n" },
        { "p $rax", "0x1122334455667788\n" },
        { "p $eax", "0x55667788\n" },
        { "p $ax", "0x7788\n" },
        { "p $ah", "0x77\n" },
        { "p $RIP+4", "0x1004\n" },
        { "p $cs.base", "0\n" },
        { "p $cpl", "0\n" },
        { "p ((((1))))", "0x1\n" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        expect(table[i][0], table[i][1]);
    }
}

static void test_expression_errors(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        { "p", "'val' is missing" },
        { "p 1/0", "division by zero" },
        { "p 1+", "ends too early" },
        { "p (1", "a ')' is missing" },
        { "p 0x", "is not a number" },
        { "p 12ab", "is not a number" },
        { "p hello", "is not an expression" },
        { "p $rxa", "did you mean '$rax'?" },
        { "p $", "there is no register '$'" },
        { "p 1 2", "'2' is too much" },
        { "p 'ab'", "a character is written 'c'" },
        { "p 99999999999999999999", "does not fit in 64 bits" },
        { "p/z 1", "after a count come a format" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        expect_part(table[i][0], table[i][1]);
    }
    char deep[5000] = "p ";
    memset(deep + 2, '(', sizeof(deep) - 3);
    expect_part(deep, "nested too deeply");
    memset(deep + 2, '-', sizeof(deep) - 3);
    expect_part(deep, "nested too deeply");
}

/* ---- the parser of arguments ---- */

static Dict *parse(const char *spec, const char *text, Error **errp)
{
    Monitor mon = { .m = &machine };
    MonitorCommand c = { .name = "test", .args = spec };
    return args_parse(&mon, &c, text, errp);
}

/* want: "key=value key=value" */
static void parses(const char *spec, const char *text, const char *want)
{
    Error *err = NULL;
    char got[512] = "";
    Dict *d = parse(spec, text, &err);
    if (!d) {
        print_message("%s: '%s': %s\n", spec, text, error_text(err));
    }
    assert_non_null(d);
    for (size_t i = 0; i < dict_count(d); i++) {
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s=%s", i ? " " : "",
                 dict_key(d, i), dict_value(d, i));
    }
    dict_free(d);
    assert_string_equal(got, want);
}

static void fails(const char *spec, const char *text, const char *want)
{
    Error *err = NULL;
    Dict *d = parse(spec, text, &err);
    assert_null(d);
    if (!strstr(error_text(err), want)) {
        print_message("want ...%s..., got %s\n", want, error_text(err));
    }
    assert_non_null(strstr(error_text(err), want));
    error_free(err);
}

static void test_arguments(void **state)
{
    (void)state;
    parses("", "  ", "");
    parses("a:s", " word ", "a=word");
    parses("a:s", "\"two words\"", "a=two words");
    parses("a:F", "\"q\\\"u\\\\o\\nte\"", "a=q\"u\\o\nte");
    parses("a:s,b:s?", "x", "a=x");
    parses("a:s,b:S", "x  y z ", "a=x b=y z");
    parses("a:i,b:i", "5 -3", "a=5 b=18446744073709551613");
    parses("a:l,b:l,c:F", "0x1000 16 /tmp/x", "a=4096 b=16 c=/tmp/x");
    parses("a:l,b:l,c:F", "0x1000 + 2 4*4 \"/tmp/a b\"", "a=4098 b=16 c=/tmp/a b");
    parses("a:o", "2", "a=2097152");
    parses("a:o", "64k", "a=65536");
    parses("a:b", "on", "a=on");
    parses("force:-f,a:s", "-f x", "force=on a=x");
    parses("force:-f,a:s", "x -f", "a=x force=on");
    parses("force:-f,a:s", "-x", "a=-x");
    parses("a:F,format:-fs", "x -f png", "a=x format=png");
    parses("fmt:/,a:l", "/10xb 1", "count=10 format=x size=b a=1");
    parses("fmt:/,a:l", "/bx 1", "size=b format=x a=1");
    parses("fmt:/,a:l", " 1", "a=1");
    fails("a:s", "", "'a' is missing");
    fails("a:s", "x y", "'y' is too much");
    fails("a:s", "\"open", "closing '\"'");
    fails("a:b", "maybe", "is not on or off");
    fails("a:o", "big", "is not a size");
    fails("a:F,format:-fs", "x -f", "-f needs a value");
}

/* ---- the table ---- */

static void check_row(const MonitorCommand *c, void *opaque)
{
    ArgSpec spec[MAX_ARGS];
    char name[64], line[128], lead[160];
    unsigned *nr = opaque;
    (*nr)++;
    command_first_name(c, name);
    if (args_parse_spec(c->args, spec) < 0 || !c->help || !c->help[0] || !c->run) {
        fail_msg("row '%s' is malformed", c->name);
    }
    assert_ptr_equal(command_find(name, c->info), c); /* nobody else has the name */
    snprintf(line, sizeof(line), "help %s%s", c->info ? "info " : "", name);
    snprintf(lead, sizeof(lead), "%s%s%s%s -- ", c->info ? "info " : "", c->name,
             c->params ? " " : "", c->params ? c->params : "");
    expect_part(line, lead);
    expect_part(c->info ? "help info" : "help", lead);
}

static void test_table(void **state)
{
    (void)state;
    unsigned nr = 0;
    commands_each(false, check_row, &nr);
    commands_each(true, check_row, &nr);
    assert_true(nr > 40);
}

static void test_names(void **state)
{
    (void)state;
    expect_part("quti", "did you mean 'quit'?");
    expect_part("info regsters", "did you mean 'info registers'?");
    expect_part("frobnicate", "unknown command: 'frobnicate'; try 'help'");
    expect_part("apropos interrupt", "nmi");
    expect_part("info", "info status -- ");
    expect_part("? stop", "stop|s -- stop the VM");
    expect("", "");
    expect("   ", "");
    expect_part("/x", "unknown command");
    expect_part("info registers -z", "'-z' is too much");
}

/* The manual lists exactly the rows there are, with their parameters and help. */
static void doc_row(const MonitorCommand *c, void *opaque)
{
    const char *doc = opaque;
    char want[512];
    snprintf(want, sizeof(want), "| `%s%s%s%s` | %s |\n", c->info ? "info " : "", c->name,
             c->params ? " " : "", c->params ? c->params : "", c->help);
    for (char *bar = want + 2; (bar = strchr(bar, '|'));) { /* "quit|q" inside a table */
        if (bar[-1] == ' ') {
            bar++;
            continue;
        }
        memmove(bar + 1, bar, strlen(bar) + 1);
        *bar = '\\';
        bar += 2;
    }
    if (!strstr(doc, want)) {
        print_message("docs/monitor.md lacks: %s", want);
        fail();
    }
}

static void count_row(const MonitorCommand *c, void *opaque)
{
    (void)c;
    (*(unsigned *)opaque)++;
}

static void test_manual(void **state)
{
    (void)state;
    const char *top = getenv("VIREO_SOURCE");
    char path[512];
    static char doc[65536];
    snprintf(path, sizeof(path), "%s/docs/monitor.md", top ? top : ".");
    FILE *f = fopen(path, "r");
    if (!f) {
        print_message("%s: not found; run in the source directory or set VIREO_SOURCE\n", path);
        skip();
    }
    doc[fread(doc, 1, sizeof(doc) - 1, f)] = 0;
    fclose(f);
    commands_each(false, doc_row, doc);
    commands_each(true, doc_row, doc);
    unsigned want = 0, got = 0;
    commands_each(false, count_row, &want);
    commands_each(true, count_row, &want);
    for (const char *p = doc; (p = strstr(p, "\n| `")); p++) {
        got++;
    }
    assert_int_equal(got, want);
}

/* ---- commands on a small machine ---- */

static void test_memory_commands(void **state)
{
    (void)state;
    static const uint8_t bytes[] = { 0x90, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xf4, 'A',
                                     '\n', 0xff, 0xff, 0xff, 0xff, 0x00, 0x80, 0x01 };
    address_space_write(&machine.memory, 0x1000, bytes, sizeof(bytes));
    expect("xp /4xb 0x1000", "0000000000001000: 0x90 0xb8 0x78 0x56\n");
    expect("xp /2xw 0x1000", "0000000000001000: 0x5678b890 0x41f41234\n");
    expect("xp /1xg 0x1000", "0000000000001000: 0x41f412345678b890\n");
    expect("xp /5xw 0x0ff0", "0000000000000ff0: 0x00000000 0x00000000 0x00000000 0x00000000\n"
                             "0000000000001000: 0x5678b890\n");
    expect("xp /2c 0x1007", "0000000000001007: 'A' '\\n'\n");
    expect("xp /1dh 0x1009", "0000000000001009:     -1\n");
    expect("x /1xh 0x1000", "0000000000001000: 0xb890\n"); /* paging is off */
    expect_part("xp /3i 0x1000", "0x00001001:  b878563412            mov eax, 0x12345678");
    expect_part("x/1i $pc", "nop");
    expect("gva2gpa 0x1234", "gpa: 0x1234\n");
    expect_part("gpa2hva 0x1000", "Host virtual address for 0x1000 (test.ram) is 0x");
    expect_part("gpa2hva 0x100000000", "no memory is mapped");
    expect("sum 0x1000 4", "00210\n");

    char path[] = "/tmp/vireo-monitor-XXXXXX", line[128], got[sizeof(bytes) + 1];
    int fd = mkstemp(path);
    snprintf(line, sizeof(line), "pmemsave 0x1000 %zu \"%s\"", sizeof(bytes), path);
    expect(line, "");
    assert_int_equal(read(fd, got, sizeof(got)), sizeof(bytes));
    assert_memory_equal(got, bytes, sizeof(bytes));
    snprintf(line, sizeof(line), "memsave 0x1000 4 %s", path);
    expect(line, "");
    assert_int_equal(lseek(fd, 0, SEEK_END), 4);
    close(fd);
    unlink(path);
    expect_part("pmemsave 0 16 /nowhere/x", "cannot write '/nowhere/x': No such file");
    expect("i/x 0x80", "portb[0x0080] = 0xff\n");
    expect("i/h 0x80", "portw[0x0080] = 0xffff\n");
    expect("o/b 0x80 1", "");
}

static void test_paging_commands(void **state)
{
    (void)state;
    /* 4-level tables at 0x2000: 0xffff800000000000 -> 4 KiB page 0x7000, next page read-only,
     * and a 2 MiB page at 0x200000, user. */
    static const struct {
        uint64_t at, entry;
    } entries[] = {
        { 0x2000 + 256 * 8, 0x3003 }, { 0x3000, 0x4003 }, { 0x4000, 0x5003 },
        { 0x5000, 0x8000000000007063 }, { 0x5008, 0x8001 },
        { 0x2000, 0x9007 }, { 0x9000, 0xa007 }, { 0xa008, 0x2000e7 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        address_space_write(&machine.memory, entries[i].at, &entries[i].entry, 8);
    }
    expect("info mem", "PG disabled\n");
    uint64_t cr0 = cpu->cr0;
    cpu->cr0 |= CR0_PG | CR0_PE;
    cpu->cr3 = 0x2000;
    cpu->cr4 = CR4_PAE;
    cpu->efer = EFER_LMA | EFER_LME | EFER_NXE;
    cpu_update_mode(cpu);
    expect("info tlb", "0000000000200000: 0000000000200000 --PDA--UW\n"
                       "ffff800000000000: 0000000000007000 X--DA---W\n"
                       "ffff800000001000: 0000000000008000 ---------\n");
    expect("info mem", "0000000000200000-0000000000400000 0000000000200000 urw\n"
                       "ffff800000000000-ffff800000001000 0000000000001000 -rw\n"
                       "ffff800000001000-ffff800000002000 0000000000001000 -r-\n");
    expect("gva2gpa 0xffff800000001234", "gpa: 0x8234\n");
    expect("gva2gpa 0x1000", "Unmapped\n");
    expect_part("x 0x1000", "Cannot access memory");
    expect_part("memsave 0xffff800000001ff0 32 /tmp/vireo-not-made", "is not mapped");
    unlink("/tmp/vireo-not-made");
    cpu->cr0 = cr0;
    cpu->cr3 = cpu->cr4 = cpu->efer = 0;
    cpu_update_mode(cpu);
}

static void test_info(void **state)
{
    (void)state;
    expect("info kvm", "kvm support: disabled\n");
    expect("info status", "VM status: paused (prelaunch)\n");
    expect("info name", "test machine\n");
    expect("info uuid", "00112233-4455-6677-8899-aabbccddeeff\n");
    expect("info cpus", "* CPU #0: thread_id=0\n");
    expect_part("info registers", "CPU#0\nEAX=55667788 EBX=00000000 ECX=00000000 EDX=");
    expect_part("info registers", "\nEIP=00001000 EFL=00000002 [-------] CPL=0 II=0 SMM=0 HLT=0\n");
    expect_part("info registers", "\nCS =0008 00000000 ffffffff 00cf9b00\n");
    expect_part("info registers -a", "\nCPU#0\n");
    expect_part("info mtree", "test.ram");
    expect_part("info mtree -f", "test.ram");
    expect_part("info device nope", "info qtree lists them");
    expect_part("cpu 3", "there is no CPU 3; this machine has 1");
    expect_part("info history", "");
    expect_part("chardev-add null,id=mon-test", "");
    expect_part("info chardev", "mon-test: filename=null\n");
    expect("chardev-change mon-test ringbuf,size=64", "");
    expect("ringbuf_write mon-test hello world", "");
    expect("ringbuf_read mon-test 5", "hello\n");
    expect_part("chardev-add nul,id=x", "did you mean 'null'?");
    expect_part("chardev-add socket,id=x,path=/tmp/y,server=on,wait=on", "use wait=off");
    expect("chardev-remove mon-test", "");
    expect_part("chardev-remove mon-test", "there is no chardev 'mon-test'");
    expect_part("eject nope", "there is no drive 'nope'");
    expect_part("system_powerdown", "no power button");
    expect_part("boot_set cad", "no boot order");
    expect_part("device_del nope", "no device with the id 'nope'");
    expect_part("log help", "guest_errors");
    expect_part("log gest_errors", "guest_errors");
    expect_part("screendump /tmp/x 7", "there is no screen 7");
}

static unsigned stops, conts;
static void fake_stop(Machine *m)
{
    (void)m;
    stops++;
}
static bool fake_cont(Machine *m, Error **errp)
{
    (void)m;
    if (stops > 1) {
        return error_set(errp, "only a reset helps");
    }
    conts++;
    return true;
}
static const char *fake_status(const Machine *m)
{
    (void)m;
    return conts > stops ? "running" : stops ? "paused" : "io-error";
}

static void test_run_state(void **state)
{
    (void)state;
    static const RunOps run_ops = { fake_stop, fake_cont, fake_status };
    machine.run_ops = &run_ops;
    expect("info status", "VM status: paused (io-error)\n");
    expect("c", "");
    expect("info status", "VM status: running\n");
    expect("stop", "");
    expect("info status", "VM status: paused\n");
    expect("stop", "");
    expect("cont", "Error: only a reset helps\n");
    machine.run_ops = NULL;
}

/* ---- a session ---- */

static size_t read_for(int fd, char *buf, size_t size, const char *until)
{
    size_t len = 0;
    for (int i = 0; i < 400; i++) {
        main_loop_step(5000000);
        ssize_t n = recv(fd, buf + len, size - 1 - len, MSG_DONTWAIT);
        len += n > 0 ? (size_t)n : 0;
        buf[len] = 0;
        if (until && len >= strlen(until) &&
            !strcmp(buf + len - strlen(until), until)) {
            break;
        }
    }
    return len;
}

static void test_session(void **state)
{
    (void)state;
    static char buf[1 << 20];
    int fds[2];
    Error *err = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    Dict *d = dict_new();
    dict_set(d, "backend", "socket");
    dict_set(d, "id", "hmp");
    dict_setf(d, "fd", "%d", fds[1]);
    Chardev *chr = chardev_create(d, &err);
    dict_free(d);
    assert_non_null(chr);
    assert_non_null(monitor_new(chr, &machine, &err));
    read_for(fds[0], buf, sizeof(buf), "(vireo) ");
    assert_non_null(strstr(buf, "monitor - type 'help'"));

    assert_int_equal(write(fds[0], "info kvm\n", 9), 9);
    read_for(fds[0], buf, sizeof(buf), "(vireo) ");
    assert_string_equal(buf, "info kvm\r\nkvm support: disabled\r\n(vireo) ");

    assert_int_equal(write(fds[0], "info sta\t\n", 10), 10);
    read_for(fds[0], buf, sizeof(buf), "(vireo) ");
    assert_string_equal(buf, "info status \r\nVM status: paused (prelaunch)\r\n(vireo) ");
    assert_int_equal(write(fds[0], "help screend\t\n", 14), 14);
    read_for(fds[0], buf, sizeof(buf), "(vireo) ");
    assert_non_null(strstr(buf, "save the screen as a picture"));
    assert_int_equal(write(fds[0], "p $kernel\t\n", 11), 11);
    read_for(fds[0], buf, sizeof(buf), "(vireo) ");
    assert_non_null(strstr(buf, "p $kernel_gs_base \r\n0\r\n"));
    assert_int_equal(write(fds[0], "logfile /usr/inc\t\003", 18), 18);
    read_for(fds[0], buf, sizeof(buf), "(vireo) ");
    assert_non_null(strstr(buf, "/usr/include/"));
    assert_int_equal(write(fds[0], "info history\n", 13), 13);
    read_for(fds[0], buf, sizeof(buf), "(vireo) ");
    assert_non_null(strstr(buf, "0: 'info kvm'\r\n1: 'info status '"));

    /* A peer that asks without reading is held, and gets everything once it reads. */
    unsigned asked = 0;
    while (send(fds[0], "help\n", 5, MSG_DONTWAIT) == 5 && asked < 100000) {
        asked++;
        if (asked % 64 == 0) {
            main_loop_step(0);
        }
    }
    assert_true(asked < 100000); /* it was held */
    unsigned answered = 0;
    for (int idle = 0; answered < asked && idle < 200;) {
        main_loop_step(1000000);
        ssize_t n = recv(fds[0], buf, sizeof(buf) - 1, MSG_DONTWAIT);
        idle = n > 0 ? 0 : idle + 1;
        for (ssize_t i = 0; i < n; i++) {
            answered += buf[i] == '(' && i + 6 < n && !memcmp(buf + i, "(vireo)", 7);
        }
    }
    /* A prompt that two reads cut in half is not counted. */
    assert_true(answered <= asked && answered + answered / 100 + 2 >= asked);
    close(fds[0]);
    read_for(-1, buf, sizeof(buf), NULL);
    monitors_close();
    chardevs_close();
}

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    vm_lock();
    if (!main_loop_init(&err)) {
        return 1;
    }
    region_init_container(&machine.memory_root, "memory", UINT64_MAX);
    region_init_container(&machine.io_root, "io", 0x10000);
    address_space_init(&machine.memory, "memory", &machine.memory_root);
    address_space_init(&machine.io, "io", &machine.io_root);
    machine.io.ports = true;
    machine.ram = ram_block_new("test.ram", 1 << 20, &err);
    region_init_ram(&ram_region, "test.ram", machine.ram, 0, 1 << 20);
    region_add(&machine.memory_root, 0, &ram_region, 0);
    list_init(&machine.devices);
    list_init(&machine.buses);
    machine.config.name = "test machine";
    for (int i = 0; i < 16; i++) {
        machine.config.uuid[i] = (uint8_t)(i * 0x11);
    }
    static CpuState *cpus[1];
    cpus[0] = cpu = aligned_alloc(64, ROUND_UP(sizeof(CpuState), 64));
    memset(cpu, 0, sizeof(*cpu));
    cpu_init(cpu, &machine, 0);
    if (!cpu_model_apply(cpu, "max", &err)) {
        return 1;
    }
    cpu_reset(cpu, false);
    machine.cpu = cpus;
    machine.nr_cpus = 1;
    cpu->gpr[REG_RAX] = 0x1122334455667788;
    cpu->rip = 0x1000;
    cpu->seg[SEG_CS] = (Segment){ .sel = 8, .attr = 0xc09b, .limit = 0xffffffff };
    cpu_update_mode(cpu);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expressions),     cmocka_unit_test(test_expression_errors),
        cmocka_unit_test(test_arguments),       cmocka_unit_test(test_table),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_manual),
        cmocka_unit_test(test_memory_commands), cmocka_unit_test(test_paging_commands),
        cmocka_unit_test(test_info),            cmocka_unit_test(test_run_state),
        cmocka_unit_test(test_session),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, NULL);
}
