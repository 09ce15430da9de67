/* SPDX-License-Identifier: GPL-2.0-or-later
 * Counts of the main loop's callbacks: a small hash table by name or function.
 */
#include "util/loop_stats.h"

#include <dlfcn.h>

#include "util/alloc.h"
#include "util/log.h"
#include "util/main_loop.h"

typedef struct Count {
    const char *name;
    MainLoopFn *fn;
    uint64_t calls, total_ns, max_ns;
} Count;

enum { NR_COUNTS = 256, SLOW_NS = 10 * 1000 * 1000 };
static Count counts[NR_COUNTS]; /* vm_lock; open addressing */
static uint64_t rounds, sleeps, slow_calls;

void loop_stats_round(bool slept)
{
    rounds++;
    sleeps += slept;
}

static Count *find_count(const char *name, MainLoopFn *fn)
{
    uintptr_t key = name ? (uintptr_t)name : (uintptr_t)fn;
    size_t i = (key >> 3) * 0x9e3779b97f4a7c15ull >> 56;
    for (size_t n = 0; n < NR_COUNTS; n++, i = (i + 1) % NR_COUNTS) {
        Count *c = &counts[i];
        if (c->name == name && c->fn == fn) {
            return c;
        }
        if (!c->calls) {
            c->name = name;
            c->fn = fn;
            return c;
        }
    }
    return &counts[0]; /* more kinds of callbacks than the table holds: the count is shared */
}

/* A function has no name at run time unless it is exported: else the address for addr2line. */
static void label(const Count *c, char *buf, size_t len)
{
    Dl_info info;
    if (c->name) {
        snprintf(buf, len, "%s", c->name);
    } else if (dladdr((void *)(uintptr_t)c->fn, &info) && info.dli_sname &&
               info.dli_saddr == (void *)(uintptr_t)c->fn) {
        snprintf(buf, len, "%s", info.dli_sname);
    } else if (dladdr((void *)(uintptr_t)c->fn, &info)) {
        snprintf(buf, len, "function +0x%zx",
                 (size_t)((uintptr_t)c->fn - (uintptr_t)info.dli_fbase));
    } else {
        snprintf(buf, len, "function %p", (void *)(uintptr_t)c->fn);
    }
}

void loop_stats_count(const char *name, MainLoopFn *fn, uint64_t ns)
{
    fn = name ? NULL : fn;
    Count *c = find_count(name, fn);
    c->calls++;
    c->total_ns += ns;
    c->max_ns = MAX(c->max_ns, ns);
    if (ns > SLOW_NS) {
        slow_calls++;
        if (log_on(LOG_LOOP)) {
            char who[64];
            label(c, who, sizeof(who));
            log_printf("main loop: %s took %.1f ms\n", who, ns / 1e6);
        }
    }
}

void main_loop_stats(void (*print)(void *opaque, const char *line), void *opaque)
{
    const Count *longest = NULL;
    char line[160], who[64];
    for (size_t i = 0; i < NR_COUNTS; i++) {
        if (counts[i].calls && (!longest || counts[i].max_ns > longest->max_ns)) {
            longest = &counts[i];
        }
    }
    snprintf(line, sizeof(line), "rounds: %llu, slept: %llu, callbacks over 10 ms: %llu",
             (unsigned long long)rounds, (unsigned long long)sleeps,
             (unsigned long long)slow_calls);
    print(opaque, line);
    if (longest) {
        label(longest, who, sizeof(who));
        snprintf(line, sizeof(line), "longest callback: %s, %.3f ms", who, longest->max_ns / 1e6);
        print(opaque, line);
    }
    for (size_t i = 0; i < NR_COUNTS; i++) {
        const Count *c = &counts[i];
        if (c->calls) {
            label(c, who, sizeof(who));
            snprintf(line, sizeof(line), "%-28s calls %10llu  total %10.3f ms  longest %8.3f ms",
                     who, (unsigned long long)c->calls, c->total_ns / 1e6, c->max_ns / 1e6);
            print(opaque, line);
        }
    }
}
