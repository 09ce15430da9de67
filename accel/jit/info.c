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
    unsigned pressure = j->pressure;
    pthread_mutex_unlock(&j->lock);
    line(p, "code cache        %zu of %zu KiB", used >> 10, j->size >> 10);
    line(p, "blocks made       %lu: %.1f instructions each, %.1f host bytes a guest byte",
         (unsigned long)s.blocks, per(s.guest_insns, s.blocks), per(s.host_bytes, s.guest_bytes));
    line(p, "translation       %.1f ms, %.0f ns an instruction; given up: %lu",
         (double)s.translate_ns / 1e6, per(s.translate_ns, s.guest_insns),
         (unsigned long)s.given_up);
    line(p, "operands          %lu look into the Tlb themselves: no slot served them",
         (unsigned long)s.roaming);
    line(p, "jumps chained     %lu", (unsigned long)s.links);
    line(p, "dropped           %lu blocks, for %lu writes to code that left %lu others; "
         "%lu flushes of all", (unsigned long)s.dropped_blocks, (unsigned long)s.dropped_pages,
         (unsigned long)s.kept_blocks, (unsigned long)s.flushes);
    line(p, "threshold         %u runs in the interpreter",
         MIN(j->threshold << pressure, MAX_THRESHOLD));
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
    line(p, "CPU #%u: code entered %lu times, %lu blocks interpreted, %lu jumps looked up",
         cpu->index, (unsigned long)jc->entries, (unsigned long)jc->interp_blocks,
         (unsigned long)jc->lookups);
    line(p, "  memory by C     %lu: %lu to look it up, %lu writes that somebody wants to hear of, "
         "%lu to devices or across pages",
         (unsigned long)(jc->slow_fills + jc->slow_tracked + jc->slow_io),
         (unsigned long)jc->slow_fills, (unsigned long)jc->slow_tracked,
         (unsigned long)jc->slow_io);
    line(p, "  stores          %lu beside code", (unsigned long)cpu->jit_word[JW_BESIDE]);
    line(p, "  shared checks   %lu lost: not in one page of RAM", (unsigned long)jc->share_lost);
    line(p, "  page walks      %lu; flushes %lu", (unsigned long)m->fills,
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
