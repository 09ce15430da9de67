/* SPDX-License-Identifier: GPL-2.0-or-later
 * The log of -d and -D.
 */
#include "util/log.h"

#include <errno.h>
#include <pthread.h>

#include "util/alloc.h"
#include "util/dict.h"

unsigned log_mask;

static FILE *log_file; /* NULL: stderr; guarded by log_mutex */
static bool log_lossy; /* that has been said */
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;

typedef struct LogItem {
    const char *name;
    unsigned bit;
    const char *help;
} LogItem;

static const LogItem items_table[] = {
    { "guest_errors", LOG_GUEST, "what the guest did against the hardware's documents" },
    { "unimp", LOG_UNIMP, "what the guest asked for and Vireo does not do yet" },
    { "int", LOG_INT, "interrupts and exceptions as they are delivered" },
    { "in_asm", LOG_IN_ASM, "guest code as it is decoded" },
    { "exec", LOG_EXEC, "every block of guest code executed (slow)" },
    { "cpu", LOG_CPU, "registers, RIP and flags before each block (very slow)" },
    { "mmu", LOG_MMU, "page faults, CR3 loads and TLB flushes" },
    { "pcall", LOG_PCALL, "far calls, gates and task switches" },
    { "cpu_reset", LOG_RESET, "registers before each CPU reset, INIT, and at a triple fault" },
    { "io", LOG_IO, "accesses to device registers" },
    { "kvm", LOG_KVM, "KVM ioctls and exits" },
    { "out_asm", LOG_OUT_ASM, "host code of each block the translator makes" },
    { "op", LOG_OP, "how the translator does each instruction of a block" },
    { "nochain", LOG_NOCHAIN, "keep translated blocks from jumping to each other, for exec and cpu" },
    { "mainloop", LOG_LOOP, "main loop callbacks that took longer than 10 ms" },
};

const char *log_item_name(unsigned items)
{
    size_t i = 0;
    while (i < ARRAY_SIZE(items_table) - 1 && !(items & items_table[i].bit)) {
        i++;
    }
    return items_table[i].name;
}

static bool find_bit(const char *word, unsigned *bits)
{
    if (!strcmp(word, "all") || !strcmp(word, "none")) {
        *bits = word[0] == 'a' ? ~0u : 0;
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(items_table); i++) {
        if (!strcmp(word, items_table[i].name)) {
            *bits = items_table[i].bit;
            return true;
        }
    }
    return false;
}

static bool unknown_item(const char *word, Error **errp)
{
    const char *names[ARRAY_SIZE(items_table) + 1] = { NULL };
    for (size_t i = 0; i < ARRAY_SIZE(items_table); i++) {
        names[i] = items_table[i].name;
    }
    const char *near = suggest(word, names);
    if (near) {
        return error_set(errp, "unknown log item '%s', did you mean '%s'?", word, near);
    }
    return error_set(errp, "unknown log item '%s' (-d help lists them)", word);
}

bool log_set(const char *items, Error **errp)
{
    char *copy = xstrdup(items), *save = NULL;
    unsigned mask = 0;
    bool ok = true;
    for (char *w = strtok_r(copy, ",", &save); w && ok; w = strtok_r(NULL, ",", &save)) {
        unsigned bits = 0;
        ok = find_bit(w, &bits) || unknown_item(w, errp);
        mask |= bits;
    }
    free(copy);
    if (ok && !items[strspn(items, ",")]) {
        return error_set(errp, "give a log item, such as int ('help' lists them)");
    }
    if (ok) {
        __atomic_store_n(&log_mask, mask, __ATOMIC_RELAXED);
    }
    return ok;
}

/* ---- -dfilter ---- */

static struct {
    uint64_t first, last;
} ranges[64];
static size_t nr_ranges;

static bool add_range(const char *text, Error **errp)
{
    static const char *const ops[] = { "..", "+", "-" };
    char *start = xstrdup(text), *at = NULL;
    size_t op = 0;
    while (op < ARRAY_SIZE(ops) && !(at = strstr(start, ops[op]))) {
        op++;
    }
    uint64_t a = 0, b = 0;
    bool ok = at && nr_ranges < ARRAY_SIZE(ranges);
    if (ok) {
        *at = '\0';
        ok = parse_u64(start, &a) && parse_u64(at + strlen(ops[op]), &b);
    }
    free(start);
    uint64_t first = op == 2 ? a - (b - 1) : a, last = op == 0 ? b : op == 1 ? a + (b - 1) : a;
    if (nr_ranges == ARRAY_SIZE(ranges)) {
        return error_set(errp, "-dfilter: more than %zu ranges", ARRAY_SIZE(ranges));
    }
    if (!ok || first > last || (op && !b)) {
        return error_set(errp, "-dfilter: '%s' is no range; want 0x8000..0x8fff, 0x8000+0x1000 or "
                         "0x8fff-0x1000", text);
    }
    ranges[nr_ranges].first = first;
    ranges[nr_ranges++].last = last;
    return true;
}

bool log_filter_set(const char *text, Error **errp)
{
    char *copy = xstrdup(text), *save = NULL;
    nr_ranges = 0;
    bool ok = true;
    for (char *w = strtok_r(copy, ",", &save); w && ok; w = strtok_r(NULL, ",", &save)) {
        ok = add_range(w, errp);
    }
    free(copy);
    if (ok && !nr_ranges) {
        return error_set(errp, "-dfilter: give a range, such as 0x8000..0x8fff");
    }
    return ok;
}

bool log_filter_has(uint64_t lin)
{
    for (size_t i = 0; i < nr_ranges; i++) {
        if (lin >= ranges[i].first && lin <= ranges[i].last) {
            return true;
        }
    }
    return nr_ranges == 0;
}

/* ---- the file ---- */

bool log_open(const char *path, Error **errp)
{
    FILE *f = fopen(path, "we");
    if (!f) {
        return error_set_errno(errp, errno, "cannot write the log file '%s'", path);
    }
    setvbuf(f, NULL, _IOLBF, 0);
    pthread_mutex_lock(&log_mutex);
    FILE *old = log_file;
    log_file = f;
    log_lossy = false;
    pthread_mutex_unlock(&log_mutex);
    if (old) {
        fclose(old);
    }
    return true;
}

void log_list(void (*print)(void *opaque, const char *line), void *opaque)
{
    for (size_t i = 0; i < ARRAY_SIZE(items_table); i++) {
        char line[120];
        snprintf(line, sizeof(line), "%-14s %s", items_table[i].name, items_table[i].help);
        print(opaque, line);
    }
}

static void PRINTF_LIKE(1, 0) put(const char *fmt, va_list ap, const char *end)
{
    pthread_mutex_lock(&log_mutex);
    FILE *f = log_file ? log_file : stderr;
    bool ok = vfprintf(f, fmt, ap) >= 0 && fputs(end, f) >= 0;
    if (!ok && log_file && !log_lossy) {
        log_lossy = true;
        warn_report("the log file is incomplete: %s", strerror(errno));
    }
    pthread_mutex_unlock(&log_mutex);
}

void log_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(fmt, ap, "");
    va_end(ap);
}

void log_guest(const char *fmt, ...)
{
    if (log_on(LOG_GUEST)) {
        va_list ap;
        va_start(ap, fmt);
        put(fmt, ap, "\n");
        va_end(ap);
    }
}

void log_unimp(const char *fmt, ...)
{
    if (log_on(LOG_UNIMP)) {
        va_list ap;
        va_start(ap, fmt);
        put(fmt, ap, "\n");
        va_end(ap);
    }
}
