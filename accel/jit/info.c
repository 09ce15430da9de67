/* SPDX-License-Identifier: GPL-2.0-or-later
 * info jit: what the translator has done so far. The figures of running vCPUs are read as they
 * are, so sums may be off by what happens meanwhile.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "accel/jit/check.h"
#include "accel/jit/cpu.h"

typedef struct Printer {
    void (*print)(void *opaque, const char *line);
    void *opaque;
} Printer;

static void __attribute__((format(printf, 2, 3))) line(const Printer *p, const char *fmt, ...)
{
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    p->print(p->opaque, text);
}

static double per(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

static void print_cache(const Printer *p, Jit *j)
{
    pthread_mutex_lock(&j->lock);
    JitStats s = j->stats;
    size_t used = (size_t)(j->e.p - j->rw);
    size_t held = j->nr_by_host;
    unsigned pressure = j->pressure;
    pthread_mutex_unlock(&j->lock);
    uint64_t dropped = 0;
    for (unsigned i = 0; i < NR_DROPS; i++) {
        dropped += s.dropped[i];
    }
    line(p, "code cache        %zu of %zu KiB, %zu blocks", used >> 10, j->size >> 10, held);
    line(p, "blocks made       %lu: %.1f instructions each, %.1f host bytes a guest byte",
         (unsigned long)s.blocks, per(s.guest_insns, s.blocks), per(s.host_bytes, s.guest_bytes));
    line(p, "translation       %.1f ms, %.2f %% of all processor time, %.0f ns an instruction; "
         "given up: %lu", (double)s.translate_ns / 1e6,
         100 * per(s.translate_ns, cpu_time_ns(CLOCK_PROCESS_CPUTIME_ID)),
         per(s.translate_ns, s.guest_insns), (unsigned long)s.given_up);
    line(p, "operands          %lu found to look into the Tlb themselves: no slot served them",
         (unsigned long)s.roaming);
    line(p, "jumps chained     %lu", (unsigned long)s.links);
    line(p, "dropped           %lu blocks: %lu stores of CPUs, %lu devices and host, %lu shared checks, "
         "%lu roaming, %lu spans, %lu windows", (unsigned long)dropped, (unsigned long)s.dropped[DROP_STORE],
         (unsigned long)s.dropped[DROP_DEVICE], (unsigned long)s.dropped[DROP_SHARE],
         (unsigned long)s.dropped[DROP_ROAM], (unsigned long)s.dropped[DROP_SPAN],
         (unsigned long)s.dropped[DROP_WINDOW]);
    line(p, "writes to code    %lu, which left %lu other blocks", (unsigned long)s.dropped_pages,
         (unsigned long)s.kept_blocks);
    line(p, "emptied           %lu flushes, %lu of them as the cache was full", (unsigned long)s.flushes,
         (unsigned long)s.full);
    if (j->check) {
        line(p, "threshold         none: check=interp translates all at once");
    } else {
        line(p, "threshold         %u runs in the interpreter",
             MIN(j->threshold << pressure, MAX_THRESHOLD));
    }
}

typedef struct Count {
    unsigned op;
    uint32_t n;
} Count;

static int by_count(const void *a, const void *b)
{
    const Count *x = a, *y = b;
    return (x->n < y->n) - (x->n > y->n);
}

/* The instructions that most often ran as functions. */
static READS_LIVE_COUNTERS void print_functions(const Printer *p, const JitCpu *jc)
{
    enum { SHOWN = 12 };
    static Count c[NR_OPS];
    for (unsigned i = 0; i < NR_OPS; i++) {
        c[i] = (Count){ i, jc->exec_of[i] };
    }
    qsort(c, NR_OPS, sizeof(*c), by_count);
    for (unsigned i = 0; i < SHOWN && c[i].n; i++) {
        line(p, "    %-12s %u", insn_op_name(c[i].op), c[i].n);
    }
}

static READS_LIVE_COUNTERS void print_cpu(const Printer *p, const CpuState *cpu)
{
    const JitCpu *jc = cpu->jit;
    const Mmu *m = cpu->mmu;
    uint64_t hits = jc->tlb_hits + jc->sample_from - cpu->jit_word[JW_SAMPLE];
    uint64_t spans = jc->span_misses + jc->span_from - cpu->jit_word[JW_SPAN];
    line(p, "CPU #%u: code entered %lu times, %lu blocks interpreted", cpu->index,
         (unsigned long)jc->entries, (unsigned long)jc->interp_blocks);
    line(p, "  jump cache      %lu misses, %.1f for 1000 entries of code",
         (unsigned long)jc->cache_misses, 1000 * per(jc->cache_misses, jc->entries));
    line(p, "  chaining        %lu misses, %.1f for 1000 entries of code",
         (unsigned long)jc->link_misses, 1000 * per(jc->link_misses, jc->entries));
    line(p, "  slots           %lu misses, of which the Tlb had %.1f %%; spans: %lu misses",
         (unsigned long)(hits + jc->slow_fills), 100 * per(hits, hits + jc->slow_fills),
         (unsigned long)spans);
    line(p, "  memory by C     %lu: %lu to look it up, %lu writes that somebody wants to hear of, "
         "%lu to devices or across pages",
         (unsigned long)(jc->slow_fills + jc->slow_tracked + jc->slow_io),
         (unsigned long)jc->slow_fills, (unsigned long)jc->slow_tracked,
         (unsigned long)jc->slow_io);
    line(p, "  stores          %lu beside code; %lu into code, which dropped %lu blocks",
         (unsigned long)cpu->jit_word[JW_BESIDE], (unsigned long)jc->code_stores,
         (unsigned long)jc->code_dropped);
    if (cpu->window) {
        uint64_t pages, maps;
        checked_window_count(cpu->checked_window, &pages, &maps);
        line(p, "  bare window     %lu MiB; %lu faults, of which %lu made a page writable again",
             (unsigned long)(window_mapped(cpu->window) >> 20), (unsigned long)jc->window_faults,
             (unsigned long)jc->window_healed);
        line(p, "  checked window  %lu pages, mapped %lu times; %lu misses", (unsigned long)pages,
             (unsigned long)maps,
             (unsigned long)(jc->window_misses + jc->window_from - cpu->jit_word[JW_WINDOW]));
    }
    line(p, "  shared checks   %lu lost: not in one page of RAM", (unsigned long)jc->share_lost);
    line(p, "  page walks      %lu, %.1f for 1000 misses of slots; flushes %lu",
         (unsigned long)m->fills, 1000 * per(m->fills, hits + jc->slow_fills),
         (unsigned long)m->flushes);
    if (jc->check) {
        line(p, "  compared        %lu blocks, %lu instructions; %lu in the interpreter only",
             (unsigned long)jc->check->blocks, (unsigned long)jc->check->insns,
             (unsigned long)jc->check->left_out);
    }
    line(p, "  functions       %lu", (unsigned long)jc->execs);
    print_functions(p, jc);
}

void jit_info(Machine *m, void (*print)(void *opaque, const char *line), void *opaque)
{
    Printer p = { print, opaque };
    print_cache(&p, m->jit);
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (m->cpu[i]->jit) {
            print_cpu(&p, m->cpu[i]);
        }
    }
}
