/* SPDX-License-Identifier: GPL-2.0-or-later
 * Limits of bytes and requests a second: see throttle.h.
 */
#include "block/throttle.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/job.h"
#include "util/alloc.h"
#include "util/timer.h"

/* Thirty years: a large request at a byte a second must not wrap around the clock. */
#define MAX_WAIT_NS 1e18

static const char *const kind_names[NR_THROTTLE_KINDS] = { "bps", "iops" };
static const char *const new_names[NR_THROTTLE] = { "-total", "-read", "-write" };
static const char *const old_names[NR_THROTTLE] = { "", "_rd", "_wr" };

/* ---- options ---- */

/* Both spellings of one number: "throttling.bps-read-max" and "bps_rd_max". */
static bool get_number(const Dict *opts, unsigned kind, unsigned which, const char *suffix,
                       uint64_t *out, bool *any, Error **errp)
{
    char new_key[64], old_key[64], old_suffix[32];
    snprintf(old_suffix, sizeof(old_suffix), "%s", suffix);
    for (char *c = old_suffix; *c; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    snprintf(new_key, sizeof(new_key), "throttling.%s%s%s", kind_names[kind], new_names[which],
             suffix);
    snprintf(old_key, sizeof(old_key), "%s%s%s", kind_names[kind], old_names[which], old_suffix);
    if (dict_has(opts, new_key) && dict_has(opts, old_key)) {
        return error_set(errp, "%s= and %s= say the same; give one of them", new_key, old_key);
    }
    const char *key = dict_has(opts, new_key) ? new_key : old_key;
    *any |= dict_has(opts, key);
    return dict_get_size(opts, key, 1, out, errp);
}

static bool known_number(const char *key, const char *kind)
{
    for (unsigned which = 0; which < NR_THROTTLE; which++) {
        static const char *const ends[] = { "", "-max", "-max-length" };
        static const char *const old_ends[] = { "", "_max", "_max_length" };
        for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
            char new_key[64], old_key[64];
            snprintf(new_key, sizeof(new_key), "throttling.%s%s%s", kind, new_names[which],
                     ends[i]);
            snprintf(old_key, sizeof(old_key), "%s%s%s", kind, old_names[which], old_ends[i]);
            if (!strcmp(key, new_key) || !strcmp(key, old_key)) {
                return true;
            }
        }
    }
    return false;
}

bool throttle_is_key(const char *key)
{
    return known_number(key, "bps") || known_number(key, "iops") ||
           !strcmp(key, "throttling.iops-size") || !strcmp(key, "iops_size") ||
           !strcmp(key, "throttling.group") || !strcmp(key, "group");
}

bool throttle_parse(ThrottleConfig *c, const Dict *opts, bool *any, Error **errp)
{
    *c = (ThrottleConfig){ 0 };
    *any = false;
    for (unsigned kind = 0; kind < NR_THROTTLE_KINDS; kind++) {
        for (unsigned which = 0; which < NR_THROTTLE; which++) {
            ThrottleLimit *l = &c->limit[kind][which];
            if (!get_number(opts, kind, which, "", &l->rate, any, errp) ||
                !get_number(opts, kind, which, "-max", &l->max, any, errp) ||
                !get_number(opts, kind, which, "-max-length", &l->length, any, errp)) {
                return false;
            }
        }
    }
    const char *key = dict_has(opts, "iops_size") ? "iops_size" : "throttling.iops-size";
    return dict_get_size(opts, key, 1, &c->iops_size, errp) && throttle_check(c, errp);
}

static bool check_limit(const char *name, const ThrottleLimit *l, Error **errp)
{
    if (l->rate > (uint64_t)1e15 || l->max > (uint64_t)1e15 || l->length > 1000000) {
        return error_set(errp, "%s: the number is too large", name);
    }
    if (l->max && !l->rate) {
        return error_set(errp, "%s: a burst's max needs the plain limit, too", name);
    }
    if (l->max && l->max < l->rate) {
        return error_set(errp, "%s: a burst's max is at least the plain limit", name);
    }
    if (l->length > 1 && !l->max) {
        return error_set(errp, "%s: a burst's max-length needs its max", name);
    }
    return true;
}

bool throttle_check(const ThrottleConfig *c, Error **errp)
{
    for (unsigned kind = 0; kind < NR_THROTTLE_KINDS; kind++) {
        const ThrottleLimit *l = c->limit[kind];
        for (unsigned which = 0; which < NR_THROTTLE; which++) {
            if (!check_limit(kind_names[kind], &l[which], errp)) {
                return false;
            }
        }
        if (l[THROTTLE_TOTAL].rate && (l[THROTTLE_READ].rate || l[THROTTLE_WRITE].rate)) {
            return error_set(errp, "%s: give a total, or limits for reading and writing, not both",
                             kind_names[kind]);
        }
    }
    if (c->iops_size && !c->limit[THROTTLE_IOPS][THROTTLE_TOTAL].rate &&
        !c->limit[THROTTLE_IOPS][THROTTLE_READ].rate &&
        !c->limit[THROTTLE_IOPS][THROTTLE_WRITE].rate) {
        return error_set(errp, "iops-size needs a limit of iops");
    }
    return true;
}

/* ---- buckets ---- */

static uint64_t burst_length(const ThrottleLimit *l)
{
    return l->length ? l->length : 1;
}

void throttle_leak(ThrottleBucket *b, const ThrottleLimit *l, uint64_t ns)
{
    b->level = fmax(0, b->level - (double)l->rate * (double)ns / 1e9);
    b->burst = fmax(0, b->burst - (double)l->max * (double)ns / 1e9);
}

/* A tenth of a second's worth may come at once, else every timer would let one request through. */
static double excess_ns(double level, double capacity, uint64_t rate)
{
    return level > capacity ? (level - capacity) / (double)rate * 1e9 : 0;
}

uint64_t throttle_wait(const ThrottleBucket *b, const ThrottleLimit *l)
{
    if (!l->rate) {
        return 0;
    }
    double capacity = l->max ? (double)l->max * (double)burst_length(l) : (double)l->rate / 10;
    double ns = excess_ns(b->level, capacity, l->rate);
    if (l->max && burst_length(l) > 1) {
        ns = fmax(ns, excess_ns(b->burst, (double)l->max / 10, l->max));
    }
    return (uint64_t)ceil(fmin(ns, MAX_WAIT_NS));
}

/* ---- groups ---- */

struct ThrottleGroup {
    char *name;
    unsigned refs;
    ThrottleConfig config;
    ThrottleBucket bucket[NR_THROTTLE_KINDS][NR_THROTTLE];
    uint64_t leaked_ns; /* host clock */
    List waiting[2];    /* reads, writes */
    Timer timer;
    List list;
};

static List groups = LIST_INIT(groups);

static bool is_write(const Job *j)
{
    return j->op != BLK_READ;
}

static void leak_all(ThrottleGroup *g)
{
    uint64_t now = host_clock_ns();
    for (unsigned kind = 0; kind < NR_THROTTLE_KINDS; kind++) {
        for (unsigned which = 0; which < NR_THROTTLE; which++) {
            throttle_leak(&g->bucket[kind][which], &g->config.limit[kind][which],
                          now - g->leaked_ns);
        }
    }
    g->leaked_ns = now;
}

static uint64_t wait_of(const ThrottleGroup *g, bool write)
{
    uint64_t ns = 0;
    for (unsigned kind = 0; kind < NR_THROTTLE_KINDS; kind++) {
        unsigned own = write ? THROTTLE_WRITE : THROTTLE_READ;
        uint64_t a =
            throttle_wait(&g->bucket[kind][THROTTLE_TOTAL], &g->config.limit[kind][THROTTLE_TOTAL]);
        uint64_t b = throttle_wait(&g->bucket[kind][own], &g->config.limit[kind][own]);
        ns = MAX(ns, MAX(a, b));
    }
    return ns;
}

static void charge(ThrottleGroup *g, const Job *j)
{
    double units[NR_THROTTLE_KINDS] = { (double)j->len, 1 };
    if (g->config.iops_size && j->len > g->config.iops_size) {
        units[THROTTLE_IOPS] = (double)j->len / (double)g->config.iops_size;
    }
    for (unsigned kind = 0; kind < NR_THROTTLE_KINDS; kind++) {
        unsigned own = is_write(j) ? THROTTLE_WRITE : THROTTLE_READ;
        g->bucket[kind][THROTTLE_TOTAL].level += units[kind];
        g->bucket[kind][THROTTLE_TOTAL].burst += units[kind];
        g->bucket[kind][own].level += units[kind];
        g->bucket[kind][own].burst += units[kind];
    }
}

static void arm(ThrottleGroup *g)
{
    uint64_t ns = UINT64_MAX;
    for (unsigned w = 0; w < 2; w++) {
        if (!list_empty(&g->waiting[w])) {
            uint64_t its = wait_of(g, w);
            ns = MIN(ns, its);
        }
    }
    if (ns == UINT64_MAX) {
        timer_cancel(&g->timer);
    } else {
        timer_arm(&g->timer, g->leaked_ns + ns);
    }
}

static void let_go(void *opaque)
{
    ThrottleGroup *g = opaque;
    leak_all(g);
    blk_plug();
    for (unsigned w = 0; w < 2; w++) {
        while (!list_empty(&g->waiting[w]) && !wait_of(g, w)) {
            Job *j = container_of(g->waiting[w].next, Job, queue);
            list_remove(&j->queue);
            charge(g, j);
            job_dispatch(j);
        }
    }
    blk_unplug();
    arm(g);
}

bool throttle_hold(ThrottleGroup *g, Job *j)
{
    bool write = is_write(j);
    if (j->op == BLK_FLUSH) { /* covers what is done, and costs nothing of these */
        return false;
    }
    leak_all(g);
    if (list_empty(&g->waiting[write]) && !wait_of(g, write)) {
        charge(g, j);
        return false;
    }
    list_insert(&g->waiting[write], &j->queue);
    arm(g);
    return true;
}

void throttle_release(ThrottleGroup *g, const Drive *d)
{
    for (unsigned w = 0; w < 2; w++) {
        list_for_each_safe(pos, &g->waiting[w]) {
            Job *j = container_of(pos, Job, queue);
            if (!d || j->drive == d) {
                list_remove(pos);
                charge(g, j);
                job_dispatch(j);
            }
        }
    }
    arm(g);
}

ThrottleGroup *throttle_join(const char *name)
{
    list_for_each(pos, &groups) {
        ThrottleGroup *g = container_of(pos, ThrottleGroup, list);
        if (!strcmp(g->name, name)) {
            g->refs++;
            return g;
        }
    }
    ThrottleGroup *g = xcalloc(1, sizeof(*g));
    g->name = xstrdup(name);
    g->refs = 1;
    g->leaked_ns = host_clock_ns();
    list_init(&g->waiting[0]);
    list_init(&g->waiting[1]);
    timer_init_on(&g->timer, TIMER_HOST, let_go, g);
    list_insert(&groups, &g->list);
    return g;
}

void throttle_leave(ThrottleGroup *g)
{
    if (g && !--g->refs) {
        timer_cancel(&g->timer);
        list_remove(&g->list);
        free(g->name);
        free(g);
    }
}

void throttle_set(ThrottleGroup *g, const ThrottleConfig *c)
{
    g->config = *c;
    memset(g->bucket, 0, sizeof(g->bucket));
    g->leaked_ns = host_clock_ns();
    let_go(g);
}

const ThrottleConfig *throttle_config(const ThrottleGroup *g)
{
    return &g->config;
}

const char *throttle_name(const ThrottleGroup *g)
{
    return g->name;
}
