/* SPDX-License-Identifier: GPL-2.0-or-later
 * A trial run of guest code: what it stores is noted, so that it can be taken back, and devices
 * are out of its reach. While a journal records, every access of the CPU takes the slow path, in
 * caches that were empty when it began. For comparing engines (accel/jit/check.c).
 *
 * Accessed and dirty bits that the run sets in page tables stay.
 */
#ifndef CPU_JOURNAL_H
#define CPU_JOURNAL_H

#include <setjmp.h>

#include "cpu/state.h"
#include "memory/ram.h"

typedef struct JournalStore {
    uint64_t lin;
    uint8_t *host;
    RamBlock *ram;
    uint64_t ram_offset;
    uint64_t before, after;
    uint64_t found, want; /* the comparer's */
    uint8_t size;         /* 1 to 8 */
} JournalStore;

typedef struct Journal {
    bool recording;     /* else it only keeps devices away */
    bool tables_marked; /* an accessed or dirty bit was set */
    const char *escape_cause;
    jmp_buf *escape;    /* where a run that cannot be taken back goes */
    JournalStore *store;
    size_t nr_stores, max_stores;
} Journal;

/* Memory for max stores; false: there is none. */
bool journal_init(Journal *j, size_t max);
void journal_fini(Journal *j);
/* From begin to end the CPU's loads and stores go by the journal, which lasts that long. */
void journal_begin(CpuState *cpu, Journal *j, bool recording);
void journal_end(CpuState *cpu);
/* Takes all stores back, the last one first. */
void journal_undo(CpuState *cpu, Journal *j);

/* For cpu/mem.c, before what they are named for. */
void journal_store(Journal *j, uint64_t lin, uint8_t *host, RamBlock *ram, uint64_t ram_offset,
                   uint64_t val, unsigned size);
void journal_escape(Journal *j, const char *cause) __attribute__((noreturn));

#endif
