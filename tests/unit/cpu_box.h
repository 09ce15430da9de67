/* SPDX-License-Identifier: GPL-2.0-or-later
 * A CPU in a box for unit tests: a CpuState and 2 MiB of RAM, with a GDT at 1000h, an IDT
 * at 2000h, a TSS at 3000h and flat segments of both ends of the privilege scale. Nothing
 * executes: tests call the functions behind instructions and look at what they leave or
 * raise.
 */
#ifndef TESTS_UNIT_CPU_BOX_H
#define TESTS_UNIT_CPU_BOX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/exception.h"
#include "cpu/exec.h"
#include "cpu/segment.h"
#include "cpu/window_checked.h"
#include "hw/core/machine.h"
#include "util/vm_lock.h"

enum {
    BOX_RAM = 2 << 20,
    BOX_GDT = 0x1000,
    BOX_IDT = 0x2000,
    BOX_TSS = 0x3000,
    BOX_LDT = 0x3800
};

/* GDT of box_protect and box_long */
enum {
    SEL_CODE0 = 0x08,
    SEL_DATA0 = 0x10,
    SEL_CODE3 = 0x1b,
    SEL_DATA3 = 0x23,
    SEL_TSS = 0x28,
    /* 28h takes two slots under long mode */
    SEL_FREE = 0x38, /* tests put their own descriptors from here to 0f8h */
};

/* Access bytes */
enum {
    ACC_CODE = 0x9b,
    ACC_DATA = 0x93,
    ACC_CONFORMING = 0x9f,
    ACC_RO = 0x91,
    ACC_XO = 0x99,
    ACC_DOWN = 0x97,
    ACC_DPL3 = 0x60,
    ACC_DPL1 = 0x20,
    ACC_TSS32 = 0x89,
    ACC_TSS16 = 0x81,
    ACC_LDT = 0x82,
    ACC_CALL32 = 0x8c,
    ACC_CALL16 = 0x84,
    ACC_TASK = 0x85,
    ACC_INT32 = 0x8e,
    ACC_TRAP32 = 0x8f,
    ACC_INT16 = 0x86,
};
enum { FLG_32 = 0xc, FLG_16 = 0x0, FLG_64 = 0xa, FLG_BYTE = 0x4 }; /* G D L AVL */

typedef struct Box {
    Machine m;
    CpuState *cpu;
    RamBlock *ram;
    Region ram_region;
} Box;

static inline uint64_t desc_make(uint32_t base, uint32_t limit, unsigned access,
                                 unsigned flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 |
           (uint64_t)(base >> 24) << 56;
}

static inline uint64_t gate_make(uint16_t sel, uint32_t offset, unsigned access,
                                 unsigned low)
{
    return (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)low << 32 |
           (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48;
}

static inline void box_put(Box *b, uint64_t gpa, uint64_t val, unsigned size)
{
    memcpy(b->ram->host + gpa, &val, size);
}

static inline uint64_t box_get(const Box *b, uint64_t gpa, unsigned size)
{
    uint64_t val = 0;
    memcpy(&val, b->ram->host + gpa, size);
    return val;
}

static inline void box_gdt(Box *b, unsigned sel, uint64_t raw)
{
    box_put(b, BOX_GDT + (sel & ~7u), raw, 8);
}

static inline void box_idt(Box *b, unsigned vector, uint64_t raw)
{
    box_put(b, BOX_IDT + vector * 8, raw, 8);
}

/* Loads a segment register from the GDT without any check; SS decides the CPL. */
static inline void box_seg(Box *b, int seg, uint16_t sel)
{
    Descriptor d = { .raw = box_get(b, BOX_GDT + (sel & ~7u), 8) };
    d.attr = desc_attr(d.raw);
    b->cpu->seg[seg] = desc_segment(sel, &d);
    cpu_update_mode(b->cpu);
}

static inline void box_ring(Box *b, unsigned cpl)
{
    uint16_t code = cpl ? SEL_CODE3 : SEL_CODE0, data = cpl ? SEL_DATA3 : SEL_DATA0;
    box_seg(b, SEG_CS, code);
    box_seg(b, SEG_SS, data);
    box_seg(b, SEG_DS, data);
    box_seg(b, SEG_ES, data);
    b->cpu->seg[SEG_FS] = b->cpu->seg[SEG_GS] = seg_null(0, 0);
    cpu_update_mode(b->cpu);
}

static inline void box_tables(Box *b, unsigned code_flags)
{
    CpuState *cpu = b->cpu;
    memset(b->ram->host, 0, 0x10000);
    box_gdt(b, SEL_CODE0, desc_make(0, 0xfffff, ACC_CODE, code_flags));
    box_gdt(b, SEL_DATA0, desc_make(0, 0xfffff, ACC_DATA, FLG_32));
    box_gdt(b, SEL_CODE3, desc_make(0, 0xfffff, ACC_CODE | ACC_DPL3, code_flags));
    box_gdt(b, SEL_DATA3, desc_make(0, 0xfffff, ACC_DATA | ACC_DPL3, FLG_32));
    box_gdt(b, SEL_TSS, desc_make(BOX_TSS, 0x67, ACC_TSS32 | 2, 0));
    cpu->gdtr = (TableReg) { BOX_GDT, 0xff };
    cpu->idtr = (TableReg) { BOX_IDT, 0x7ff };
    cpu->tr = (Segment) { .sel = SEL_TSS, .attr = 0x8b, .limit = 0x67, .base = BOX_TSS };
    cpu->ldtr = seg_null(0, 0);
    cpu->eflags = 0;
    cpu->cc = 0;
    cpu->rip = cpu->insn_rip = 0x8000;
    cpu->gpr[REG_RSP] = 0x7000;
}

/* 32-bit protected mode, no paging, CPL 0. The TSS has SS0:ESP0 = 10h:6000h. */
static inline void box_protect(Box *b)
{
    CpuState *cpu = b->cpu;
    cpu->cr0 = CR0_PE | CR0_ET | CR0_NE;
    cpu->cr4 = cpu->efer = 0;
    box_tables(b, FLG_32);
    box_put(b, BOX_TSS + 4, 0x6000, 4);
    box_put(b, BOX_TSS + 8, SEL_DATA0, 4);
    box_put(b, BOX_TSS + 0x66, 0x68, 2);
    box_ring(b, 0);
    tlb_flush(cpu);
}

/* 64-bit mode at CPL 0, the first 2 MiB mapped one to one. RSP0 = 6000h, IST1 = 5000h. */
static inline void box_long(Box *b)
{
    enum { PML4 = 0x100000, PDPT = 0x101000, PD = 0x102000 };
    CpuState *cpu = b->cpu;
    box_tables(b, FLG_64);
    box_put(b, PML4, PDPT | 7, 8);
    box_put(b, PDPT, PD | 7, 8);
    box_put(b, PD, 0x87, 8);
    cpu->cr3 = PML4;
    cpu->cr4 = CR4_PAE;
    cpu->efer = EFER_LME | EFER_LMA;
    cpu->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
    cpu->idtr.limit = 0xfff;
    box_put(b, BOX_TSS + 4, 0x6000, 8);
    box_put(b, BOX_TSS + 0x24, 0x5000, 8);
    box_ring(b, 0);
    tlb_flush(cpu);
}

static inline void box_real(Box *b)
{
    cpu_reset(b->cpu, true);
    b->cpu->cr0 = CR0_ET;
    memset(b->ram->host, 0, 0x10000);
    b->cpu->seg[SEG_CS] = (Segment) { .attr = 0x9b, .limit = 0xffff };
    b->cpu->rip = b->cpu->insn_rip = 0x8000;
    b->cpu->gpr[REG_RSP] = 0x7000;
    cpu_update_mode(b->cpu);
    tlb_flush(b->cpu);
}

static inline int box_setup(void **state)
{
    Box *b = calloc(1, sizeof(*b));
    Error *err = NULL;
    vm_lock();
    region_init_container(&b->m.memory_root, "memory", UINT64_MAX);
    region_init_container(&b->m.io_root, "io", 0x10000);
    address_space_init(&b->m.memory, "memory", &b->m.memory_root);
    address_space_init(&b->m.io, "io", &b->m.io_root);
    b->ram = ram_block_new("ram", BOX_RAM, &err);
    assert_non_null(b->ram);
    region_init_ram(&b->ram_region, "ram", b->ram, 0, BOX_RAM);
    region_add(&b->m.memory_root, 0, &b->ram_region, 0);
    vm_unlock();
    b->m.nr_cpus = 1;
    b->cpu = window_pages_new(sizeof(CpuState));
    cpu_init(b->cpu, &b->m, 0);
    mmu_new(b->cpu);
    cpu_reset(b->cpu, false);
    *state = b;
    return 0;
}

static inline int box_teardown(void **state)
{
    Box *b = *state;
    mmu_free(b->cpu);
    window_pages_free(b->cpu, sizeof(CpuState));
    vm_lock();
    address_space_fini(&b->m.memory);
    address_space_fini(&b->m.io);
    vm_unlock();
    ram_block_free(b->ram);
    free(b);
    return 0;
}

enum { NO_FAULT = -1 };
/* A fault as one number, and in writing. */
#define FAULT(vector, error) ((vector) << 16 | (error))

/* gcc fears for variables around setjmp; none changes between it and the longjmp. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wclobbered"
#endif

/* FAULT() of what statement raises on cpu, or NO_FAULT. */
#define RAISED(cpu, statement)                                      \
    __extension__({                                                 \
        jmp_buf here_;                                              \
        int got_;                                                   \
        (cpu)->unwind = &here_;                                     \
        if (setjmp(here_) == 0) {                                   \
            statement;                                              \
            got_ = NO_FAULT;                                        \
        } else {                                                    \
            got_ = FAULT((cpu)->exc_vector, (int)(cpu)->exc_error); \
        }                                                           \
        (cpu)->unwind = NULL;                                       \
        got_;                                                       \
    })

/* Compares with a name in front, for tables of cases. */
static inline void want_fault(const char *what, int got, int want)
{
    if (got != want) {
        fail_msg("%s: want %06x, got %06x (vector << 16 | error)", what, want, got);
    }
}

#endif
