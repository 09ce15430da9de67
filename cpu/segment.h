/* SPDX-License-Identifier: GPL-2.0-or-later
 * Segment descriptors and segment registers (SDM 3A chapters 3 and 5). What far transfers,
 * interrupts and task switches share; seg_lin() itself is declared in cpu/mem.h.
 */
#ifndef CPU_SEGMENT_H
#define CPU_SEGMENT_H

#include "cpu/exception.h"
#include "cpu/mem.h"

/* System descriptor types (SDM 3A table 3-2). In long mode only LDT, TSS32, CALL_GATE32,
 * INT_GATE32 and TRAP_GATE32 exist, as their 64-bit forms. */
enum {
    DESC_TSS16 = 1,
    DESC_LDT = 2,
    DESC_TSS16_BUSY = 3,
    DESC_CALL_GATE16 = 4,
    DESC_TASK_GATE = 5,
    DESC_INT_GATE16 = 6,
    DESC_TRAP_GATE16 = 7,
    DESC_TSS32 = 9,
    DESC_TSS32_BUSY = 11,
    DESC_CALL_GATE32 = 12,
    DESC_INT_GATE32 = 14,
    DESC_TRAP_GATE32 = 15,
    DESC_BUSY = 2, /* the bit between TSS16/TSS32 and their busy forms */
};

/* A selector's parts. */
enum { SEL_RPL = 3, SEL_TI = 4, SEL_ERROR = 0xfffc };

static inline bool sel_is_null(uint16_t sel)
{
    return (sel & SEL_ERROR) == 0;
}

/* A descriptor as found in the GDT, the LDT or the IDT. */
typedef struct Descriptor {
    uint64_t lin;  /* where it lies */
    uint64_t raw;  /* its first 8 bytes */
    uint32_t attr; /* as in Segment */
} Descriptor;

static inline uint32_t desc_attr(uint64_t raw)
{
    return ((uint32_t)(raw >> 40) & 0xff) | ((uint32_t)(raw >> 40) & 0xf000);
}
static inline unsigned desc_dpl(const Descriptor *d)
{
    return (d->attr & SEG_DPL) >> SEG_DPL_SHIFT;
}
/* Type and S bit: 0-15 system, 16-31 code and data. */
static inline unsigned desc_type(const Descriptor *d)
{
    return d->attr & (SEG_TYPE | SEG_S);
}
static inline bool desc_is_code(const Descriptor *d)
{
    return (d->attr & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}
static inline bool desc_is_conforming(const Descriptor *d)
{
    return desc_is_code(d) && (d->attr & SEG_CONFORMING);
}
static inline bool desc_is_writable(const Descriptor *d)
{
    return (d->attr & (SEG_S | SEG_CODE | SEG_RW)) == (SEG_S | SEG_RW);
}
static inline bool desc_is_readable(const Descriptor *d)
{
    return (d->attr & SEG_S) && (!(d->attr & SEG_CODE) || (d->attr & SEG_RW));
}
/* Gates: target selector and the low 32 bits of the offset. */
static inline uint16_t gate_sel(uint64_t raw)
{
    return (uint16_t)(raw >> 16);
}
static inline uint32_t gate_offset32(uint64_t raw)
{
    return (uint32_t)(raw & 0xffff) | (uint32_t)(raw >> 32 & 0xffff0000);
}

/* False: sel lies outside its table (or there is no LDT). sel is not null. */
bool desc_fetch(CpuState *cpu, uint16_t sel, Descriptor *d);
/* Bytes 8-15 of a long-mode system descriptor; false if they lie outside the table. */
bool desc_fetch_high(CpuState *cpu, uint16_t sel, const Descriptor *d, uint64_t *high);
/* Fetches it or raises vector with sel's error code; ext is 0 or 1. */
void desc_fetch_or(CpuState *cpu, uint16_t sel, Descriptor *d, int vector, unsigned ext);
/* Sets the accessed bit in memory and in *d. */
void desc_mark_accessed(CpuState *cpu, Descriptor *d);
/* Sets or clears the busy bit of a TSS descriptor in memory. */
void desc_set_busy(CpuState *cpu, const Descriptor *d, bool busy);
Segment desc_segment(uint16_t sel, const Descriptor *d);
/* LDT or TSS: base is 64 bits wide in long mode (high: bytes 8-15). */
Segment desc_system_segment(uint16_t sel, const Descriptor *d, uint64_t high);

/* A segment register that holds a null selector; for SS, dpl is the CPL. */
Segment seg_null(uint16_t sel, unsigned dpl);
/* What loading sel gives in real mode (limit and rights of *old stay) and in V86 mode. */
Segment seg_real(const Segment *old, uint16_t sel);
Segment seg_v86(uint16_t sel);

/* Is [offset, offset+size) inside the segment and is the access allowed? Legacy rules. */
bool seg_allows(const CpuState *cpu, const Segment *s, uint64_t offset, unsigned size,
                bool write);

/* MOV, POP, LDS and the like into ES, SS, DS, FS, GS in any mode, with all checks. */
void seg_load_reg(CpuState *cpu, int seg, uint16_t sel);
/* The same in two steps, for instructions with more to fault on. */
Segment seg_check_reg(CpuState *cpu, int seg, uint16_t sel);
void seg_commit(CpuState *cpu, int seg, Segment s);

/* A stack segment for privilege level cpl (far transfers, interrupts): null, limit, type
 * and privilege failures raise vector, a segment that is not present #SS; ext is 0 or 1. */
Segment seg_check_stack(CpuState *cpu, uint16_t sel, unsigned cpl, int vector,
                        unsigned ext);
/* After a return to an outer level: nulls what cpl must not see (SDM 3A 5.8.6). */
void seg_drop_inner(CpuState *cpu, unsigned cpl);

/* A stack that is not, or not yet, the current one: pushes write memory at once, the
 * register is the caller's to commit. */
typedef struct Stack {
    CpuState *cpu;
    Segment ss;
    uint64_t sp, mask;
    bool flat64; /* 64-bit: no segment, canonical addresses */
    MemAs as;
    uint32_t error; /* of #SS */
} Stack;

Stack stack_current(CpuState *cpu);
/* A stack of privilege level cpl in the mode of its code; as: on behalf of that level. */
Stack stack_new(CpuState *cpu, Segment ss, uint64_t sp, unsigned cpl, bool flat64,
                uint32_t error);
void stack_push(Stack *st, uint64_t val, unsigned size);
uint64_t stack_pop(Stack *st, unsigned size);
/* RSP with sp in the bits that the stack's address size writes. */
uint64_t stack_merge(const Stack *st, uint64_t rsp);

#endif
