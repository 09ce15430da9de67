/* SPDX-License-Identifier: GPL-2.0-or-later
 * The qtest server: lines in, one answer each, IRQ lines in between. Requests that make no sense
 * get FAIL and a reason; none can stop the process.
 */
#include "accel/test/qtest.h"

#include <errno.h>

#include "accel/test/base64.h"
#include "chardev/chardev.h"
#include "hw/core/machine.h"
#include "util/alloc.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { MAX_WORDS = 6, MAX_LINE = 256 << 20, MAX_BULK = 128 << 20 };

typedef struct Qtest {
    Machine *machine;
    CharFrontend fe;
    FILE *log;
    uint64_t opened_ns;
    char *line; /* what has come of the current line */
    size_t len, room;
    bool skipping;           /* the line is too long: until its end */
    Device *intercepted;     /* the one device whose lines are reported */
    bool intercepts_out;
    IrqLine *proxy;          /* intercept_out: stand between output and its line */
    bool reported[256];
} Qtest;

static Qtest *server; /* one a process: the protocol has no way to name another */

/* ---- answers ---- */

static double seconds(const Qtest *q)
{
    return (double)(host_clock_ns() - q->opened_ns) / 1e9;
}

static void PRINTF_LIKE(2, 3) answer(Qtest *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    if (q->log) {
        fprintf(q->log, "[S +%f] %s\n", seconds(q), text);
    }
    char_write_all(&q->fe, text, strlen(text));
    char_write_all(&q->fe, "\n", 1);
    free(text);
}

/* ---- words ---- */

/* A number as C's strtoul reads it, whole word; "-1" is all ones. */
static bool number(const char *word, uint64_t *val)
{
    char *end;
    errno = 0;
    *val = strtoull(word, &end, 0);
    return end != word && !*end && !errno;
}

typedef struct Request {
    char *word[MAX_WORDS];
    unsigned nr;
    uint64_t num[MAX_WORDS]; /* of words 1.. that are numbers */
} Request;

/* Words first..last are there and are numbers; answers FAIL otherwise. */
static bool need_numbers(Qtest *q, Request *r, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++) {
        if (i >= r->nr) {
            answer(q, "FAIL '%s' needs %u arguments", r->word[0], last);
            return false;
        }
        if (!number(r->word[i], &r->num[i])) {
            answer(q, "FAIL '%.40s' is not a number", r->word[i]);
            return false;
        }
    }
    return true;
}

static uint64_t size_mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

static unsigned suffix_size(const char *word)
{
    switch (word[strlen(word) - 1]) {
    case 'b': return 1;
    case 'w': return 2;
    case 'l': return 4;
    default: return 8;
    }
}

/* ---- ports and memory ---- */

static void do_port(Qtest *q, Request *r)
{
    bool out = r->word[0][0] == 'o';
    unsigned size = suffix_size(r->word[0]);
    if (!need_numbers(q, r, 1, out ? 2 : 1)) {
        return;
    }
    if (r->num[1] > 0xffff) {
        answer(q, "FAIL there is no port %s", r->word[1]);
    } else if (out) {
        address_space_store(&q->machine->io, r->num[1], r->num[2] & size_mask(size), size);
        answer(q, "OK");
    } else {
        answer(q, "OK 0x%04llx",
               (unsigned long long)address_space_load(&q->machine->io, r->num[1], size));
    }
}

static bool have_memory(Qtest *q)
{
    if (!q->machine->nr_cpus) {
        answer(q, "FAIL this machine has no CPU and so no view of memory");
        return false;
    }
    return true;
}

static void do_mem(Qtest *q, Request *r)
{
    bool store = r->word[0][0] == 'w';
    unsigned size = suffix_size(r->word[0]);
    if (!have_memory(q) || !need_numbers(q, r, 1, store ? 2 : 1)) {
        return;
    }
    if (store) {
        address_space_store(&q->machine->memory, r->num[1], r->num[2] & size_mask(size), size);
        answer(q, "OK");
    } else {
        answer(q, "OK 0x%016llx",
               (unsigned long long)address_space_load(&q->machine->memory, r->num[1], size));
    }
}

/* A buffer of word 2 bytes; NULL after FAIL. */
static uint8_t *bulk_buffer(Qtest *q, const Request *r, bool may_be_empty)
{
    uint64_t len = r->num[2];
    uint8_t *buf = NULL;
    if (!len && !may_be_empty) {
        answer(q, "FAIL size 0");
    } else if (len > MAX_BULK || !(buf = calloc(len + 1, 1))) {
        answer(q, "FAIL size %s is too large", r->word[2]);
    }
    return buf;
}

static const char hex_digits[] = "0123456789abcdef";

static void do_read(Qtest *q, Request *r)
{
    uint8_t *buf;
    if (!have_memory(q) || !need_numbers(q, r, 1, 2) || !(buf = bulk_buffer(q, r, false))) {
        return;
    }
    size_t len = r->num[2];
    address_space_read(&q->machine->memory, r->num[1], buf, len);
    char *text;
    if (r->word[0][0] == 'b') {
        text = base64_encode(buf, len);
    } else {
        text = xmalloc(2 * len + 3);
        strcpy(text, "0x");
        for (size_t i = 0; i < len; i++) {
            text[2 + 2 * i] = hex_digits[buf[i] >> 4];
            text[3 + 2 * i] = hex_digits[buf[i] & 15];
        }
        text[2 * len + 2] = 0;
    }
    answer(q, "OK %s", text);
    free(text);
    free(buf);
}

static int hex_value(char c)
{
    const char *p = c ? strchr(hex_digits, c | 0x20) : NULL;
    return p ? (int)(p - hex_digits) : -1;
}

static bool parse_hex(const char *text, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len && text[0]; i++) {
        int hi = hex_value(text[0]), lo = text[1] ? hex_value(text[1]) : -1;
        if (hi < 0 || (text[1] && lo < 0)) {
            return false;
        }
        buf[i] = text[1] ? hi << 4 | lo : hi << 4;
        text += text[1] ? 2 : 1;
    }
    return true;
}

static void do_write(Qtest *q, Request *r)
{
    uint8_t *buf;
    if (!have_memory(q) || !need_numbers(q, r, 1, 2)) {
        return;
    }
    const char *data = r->nr > 3 ? r->word[3] : "";
    if (strlen(data) < 3) {
        answer(q, "ERR invalid argument size");
        return;
    }
    if (!(buf = bulk_buffer(q, r, false))) {
        return;
    }
    if (strncmp(data, "0x", 2) || !parse_hex(data + 2, buf, r->num[2])) {
        answer(q, "FAIL the data is not 0x and hexadecimal digits");
    } else {
        address_space_write(&q->machine->memory, r->num[1], buf, r->num[2]);
        answer(q, "OK");
    }
    free(buf);
}

static void do_b64write(Qtest *q, Request *r)
{
    if (!have_memory(q) || !need_numbers(q, r, 1, 2)) {
        return;
    }
    size_t len = 0;
    uint8_t *buf = base64_decode(r->nr > 3 ? r->word[3] : "", &len);
    if (!buf) {
        answer(q, "FAIL the data is not base64");
    } else if (len != r->num[2]) {
        answer(q, "FAIL %zu bytes of data for size %s", len, r->word[2]);
    } else {
        address_space_write(&q->machine->memory, r->num[1], buf, len);
        answer(q, "OK");
    }
    free(buf);
}

static void do_memset(Qtest *q, Request *r)
{
    uint8_t *buf;
    if (!have_memory(q) || !need_numbers(q, r, 1, 3) || !(buf = bulk_buffer(q, r, true))) {
        return;
    }
    memset(buf, (int)(r->num[3] & 0xff), r->num[2]);
    address_space_write(&q->machine->memory, r->num[1], buf, r->num[2]);
    answer(q, "OK");
    free(buf);
}

/* ---- clock ---- */

static void do_clock(Qtest *q, Request *r)
{
    if (!guest_clock_is_manual()) { /* another engine: time runs by itself */
        answer(q, "FAIL Unknown command '%s'", r->word[0]);
        return;
    }
    bool set = !strcmp(r->word[0], "clock_set");
    uint64_t now = guest_clock_ns(), to = now;
    if (set || r->nr > 1) {
        if (!need_numbers(q, r, 1, 1)) {
            return;
        }
        /* Steps back do nothing; neither do steps beyond the end of time. */
        if ((int64_t)r->num[1] >= 0) {
            to = set ? r->num[1] : now + r->num[1];
        }
        to = to > INT64_MAX ? now : to;
    } else if (timer_next_deadline(TIMER_GUEST) != UINT64_MAX) {
        to = timer_next_deadline(TIMER_GUEST);
    }
    to = MAX(to, now);
    now = guest_clock_advance_to(to);
    answer(q, "OK %llu", (unsigned long long)now);
}

/* ---- interrupts ---- */

static void report_line(unsigned n, bool level)
{
    Qtest *q = server;
    if (n < ARRAY_SIZE(q->reported) && q->reported[n] != level) {
        q->reported[n] = level;
        answer(q, "IRQ %s %u", level ? "raise" : "lower", n);
    }
}

static void proxy_set(void *opaque, unsigned n, bool level)
{
    IrqLine *target = opaque;
    report_line(n, level);
    if (target) {
        irq_line_set(target, level);
    }
}

static Device *find_device(Qtest *q, const char *path)
{
    Object *o = object_resolve(path, NULL);
    if (!o || !o->dev) {
        answer(q, "FAIL Unknown device");
        return NULL;
    }
    return o->dev;
}

static void intercept_out(Qtest *q, Device *dev)
{
    q->proxy = xcalloc(dev->nr_irq_out, sizeof(*q->proxy));
    for (unsigned i = 0; i < dev->nr_irq_out; i++) {
        IrqLine *target = dev->irq_out[i].line;
        irq_line_init(&q->proxy[i], proxy_set, target, i);
        q->proxy[i].level = target && target->level;
        dev->irq_out[i].line = &q->proxy[i];
    }
}

static void do_intercept(Qtest *q, Request *r)
{
    bool out = !strcmp(r->word[0], "irq_intercept_out");
    if (r->nr < 2) {
        answer(q, "FAIL '%s' needs a path", r->word[0]);
        return;
    }
    Device *dev = find_device(q, r->word[1]);
    if (!dev) {
        return;
    }
    if (q->intercepted) {
        bool same = q->intercepted == dev && q->intercepts_out == out;
        answer(q, same ? "OK" : "FAIL IRQ intercept already enabled");
        return;
    }
    q->intercepted = dev;
    q->intercepts_out = out;
    if (out) {
        intercept_out(q, dev);
    } else {
        for (unsigned i = 0; i < dev->nr_irq_in; i++) {
            dev->irq_in[i].observe = report_line;
        }
    }
    answer(q, "OK");
}

static void do_set_irq(Qtest *q, Request *r)
{
    if (r->nr < 5) {
        answer(q, "FAIL set_irq_in needs PATH NAME N LEVEL");
        return;
    }
    Device *dev = find_device(q, r->word[1]);
    if (!dev || !need_numbers(q, r, 3, 4)) {
        return;
    }
    if (strcmp(r->word[2], "unnamed-gpio-in")) {
        answer(q, "FAIL there is no list of lines '%s'", r->word[2]);
    } else if (r->num[3] >= dev->nr_irq_in) {
        answer(q, "FAIL the device has %u lines", dev->nr_irq_in);
    } else {
        irq_line_set(&dev->irq_in[r->num[3]], r->num[4] != 0);
        answer(q, "OK");
    }
}

/* ---- lines ---- */

static void do_endianness(Qtest *q, Request *r)
{
    (void)r;
    answer(q, "OK little");
}

/* There are no modules: everything that exists is built in. */
static void do_module_load(Qtest *q, Request *r)
{
    (void)r;
    answer(q, "OK");
}

static const struct {
    const char *name;
    void (*run)(Qtest *q, Request *r);
} commands[] = {
    { "inb", do_port },          { "inw", do_port },
    { "inl", do_port },          { "outb", do_port },
    { "outw", do_port },         { "outl", do_port },
    { "readb", do_mem },         { "readw", do_mem },
    { "readl", do_mem },         { "readq", do_mem },
    { "writeb", do_mem },        { "writew", do_mem },
    { "writel", do_mem },        { "writeq", do_mem },
    { "read", do_read },         { "b64read", do_read },
    { "write", do_write },       { "b64write", do_b64write },
    { "memset", do_memset },     { "clock_step", do_clock },
    { "clock_set", do_clock },   { "irq_intercept_in", do_intercept },
    { "set_irq_in", do_set_irq }, { "irq_intercept_out", do_intercept },
    { "endianness", do_endianness }, { "module_load", do_module_load },
};

/* Splits at single spaces; an empty word anywhere makes the request malformed. */
static bool split(char *line, Request *r)
{
    for (char *p = line;;) {
        char *space = strchr(p, ' ');
        if (!*p || p == space) {
            return false;
        }
        if (r->nr < MAX_WORDS) {
            r->word[r->nr++] = p;
        }
        if (!space) {
            return true;
        }
        *space = 0;
        p = space + 1;
    }
}

static void run_line(Qtest *q, char *line, size_t len)
{
    if (q->log) {
        fprintf(q->log, "[R +%f] %s\n", seconds(q), line);
    }
    Request r = { .nr = 0 };
    if (strlen(line) != len || !split(line, &r)) {
        answer(q, "FAIL malformed request");
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(r.word[0], commands[i].name)) {
            commands[i].run(q, &r);
            return;
        }
    }
    answer(q, "FAIL Unknown command '%.80s'", r.word[0]);
}

static void append(Qtest *q, const char *buf, size_t len)
{
    if (q->skipping || q->len + len > MAX_LINE) {
        q->skipping = true;
        q->len = 0;
        return;
    }
    if (q->len + len + 1 > q->room) {
        q->room = MAX(2 * q->room, q->len + len + 1);
        q->line = xrealloc(q->line, q->room);
    }
    memcpy(q->line + q->len, buf, len);
    q->len += len;
}

static void qtest_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Qtest *q = opaque;
    while (len) {
        const uint8_t *end = memchr(buf, '\n', len);
        size_t n = end ? (size_t)(end - buf) : len;
        append(q, (const char *)buf, n);
        if (!end) {
            return;
        }
        if (q->skipping) {
            answer(q, "FAIL the request is too long");
        } else {
            append(q, "", 1);
            size_t line_len = q->len - 1;
            q->len = 0;
            run_line(q, q->line, line_len);
        }
        q->skipping = false;
        buf += n + 1;
        len -= n + 1;
    }
}

static size_t qtest_can_receive(void *opaque)
{
    const Qtest *q = opaque;
    return q->machine ? 1 << 20 : 0;
}

static void qtest_event(void *opaque, CharEvent event)
{
    Qtest *q = opaque;
    if (event == CHAR_OPENED) {
        q->opened_ns = host_clock_ns();
        q->len = 0;
        q->skipping = false;
        if (q->log) {
            fprintf(q->log, "[I 0.000000] OPENED\n");
        }
    } else if (event == CHAR_CLOSED && q->log) {
        fprintf(q->log, "[I +%f] CLOSED\n", seconds(q));
    }
}

/* ---- start ---- */

static bool open_log(Qtest *q, const char *path, Error **errp)
{
    if (!path) {
        q->log = stderr;
    } else if (strcmp(path, "none")) {
        q->log = fopen(path, "we");
        if (!q->log) {
            return error_set_errno(errp, errno, "-qtest-log: cannot write '%s'", path);
        }
        setvbuf(q->log, NULL, _IOLBF, 0);
    }
    return true;
}

bool qtest_open(const char *chardev, const char *log, Error **errp)
{
    if (server) {
        return error_set(errp, "-qtest was given twice; there can be one server");
    }
    Qtest *q = xcalloc(1, sizeof(*q));
    q->opened_ns = host_clock_ns();
    q->fe = (CharFrontend){ .can_receive = qtest_can_receive, .receive = qtest_receive,
                            .event = qtest_event, .opaque = q };
    Chardev *chr;
    if (!open_log(q, log, errp) || !(chr = chardev_create_legacy("qtest", chardev, errp)) ||
        !char_attach(&q->fe, chr, errp)) {
        free(q);
        return error_prefix(errp, "-qtest %s: ", chardev);
    }
    server = q;
    return true;
}

void qtest_start(struct Machine *m)
{
    if (server) {
        server->machine = m;
        char_accept_input(&server->fe);
    }
}
