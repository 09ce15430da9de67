/* SPDX-License-Identifier: GPL-2.0-or-later
 * The journal of a trial run; see the header.
 */
#include "cpu/journal.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/mem.h"
#include "cpu/tlb.h"

bool journal_init(Journal *j, size_t max)
{
    *j = (Journal){ .store = malloc(max * sizeof(*j->store)), .max_stores = max };
    return j->store != NULL;
}

void journal_fini(Journal *j)
{
    free(j->store);
    j->store = NULL;
}

void journal_begin(CpuState *cpu, Journal *j, bool recording)
{
    j->recording = recording;
    j->tables_marked = false;
    j->escape_cause = NULL;
    cpu->mmu->journal = j;
    if (recording) {
        j->nr_stores = 0;
        tlb_be_careful(cpu, true);
    }
}

void journal_end(CpuState *cpu)
{
    if (cpu->mmu->journal->recording) {
        tlb_be_careful(cpu, false);
    }
    cpu->mmu->journal = NULL;
}

void journal_store(Journal *j, uint64_t lin, uint8_t *host, RamBlock *ram, uint64_t ram_offset,
                   uint64_t val, unsigned size)
{
    if (!j->recording) {
        return;
    }
    if (j->nr_stores == j->max_stores) {
        journal_escape(j, "it stores too much");
    }
    JournalStore *s = &j->store[j->nr_stores++];
    *s = (JournalStore){ .lin = lin, .host = host, .ram = ram, .ram_offset = ram_offset,
                         .after = val, .size = (uint8_t)size };
    memcpy(&s->before, host, size);
    if (size < 8) {
        s->after &= (1ull << size * 8) - 1;
    }
}

void journal_undo(CpuState *cpu, Journal *j)
{
    for (size_t i = j->nr_stores; i-- > 0;) {
        const JournalStore *s = &j->store[i];
        memcpy(s->host, &s->before, s->size);
        mmu_written(cpu, s->ram, s->ram_offset, s->size);
    }
}

void journal_escape(Journal *j, const char *cause)
{
    j->escape_cause = cause;
    longjmp(*j->escape, 1);
}
