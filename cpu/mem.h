/* SPDX-License-Identifier: GPL-2.0-or-later
 * Memory as an instruction sees it: segment and linear accesses of software engines. All raise
 * the faults the SDM asks for through cpu_raise before anything is changed. Values are
 * zero-extended in 64 bits; size is 1, 2, 4 or 8; any alignment, also across pages.
 */
#ifndef CPU_MEM_H
#define CPU_MEM_H

#include "cpu/state.h"
#include "memory/ram.h"

/* Who asks. MEM_CPL: at the current privilege level. MEM_SYSTEM: implicit supervisor access
 * (descriptor tables, TSS, interrupt stack of a more privileged level). MEM_USER: as CPL 3. */
typedef enum MemAs { MEM_CPL, MEM_SYSTEM, MEM_USER } MemAs;

/* Segment:offset to linear with all checks for an access of size bytes (any size): limit, type,
 * null selector, canonical form; #GP(0), or #SS(0) for SEG_SS. offset is already cut to the
 * address size. */
uint64_t seg_lin(CpuState *cpu, int seg, uint64_t offset, unsigned size, bool write);

uint64_t lin_load(CpuState *cpu, uint64_t lin, unsigned size, MemAs as);
void lin_store(CpuState *cpu, uint64_t lin, uint64_t val, unsigned size, MemAs as);
/* All bytes [lin, lin+len) can be accessed, else the fault is raised now. */
void lin_probe(CpuState *cpu, uint64_t lin, unsigned len, bool write, MemAs as);
/* The same for one store that lin_store or lin_write follow: whatever it can raise. */
void lin_check_store(CpuState *cpu, uint64_t lin, unsigned size);
/* Bytes up to 4096; atomic as to faults: all pages are probed first. */
void lin_read(CpuState *cpu, uint64_t lin, void *buf, unsigned len, MemAs as);
void lin_write(CpuState *cpu, uint64_t lin, const void *buf, unsigned len, MemAs as);

static inline uint64_t seg_load(CpuState *cpu, int seg, uint64_t off, unsigned size)
{
    return lin_load(cpu, seg_lin(cpu, seg, off, size, false), size, MEM_CPL);
}
static inline void seg_store(CpuState *cpu, int seg, uint64_t off, uint64_t val, unsigned size)
{
    lin_store(cpu, seg_lin(cpu, seg, off, size, true), val, size, MEM_CPL);
}

/* Host address of [lin, lin+len) if that is RAM inside one page with that permission and needs no
 * tracking (after a store through it nothing more is to be done), else NULL. Faults are raised. */
void *lin_host(CpuState *cpu, uint64_t lin, unsigned len, bool write);
/* As lin_host, but ram_written is the caller's duty: *ram and *ram_offset say where. For LOCKed
 * instructions and bulk string operations on tracked pages; NULL for MMIO, ROM and crossing. */
void *lin_host_tracked(CpuState *cpu, uint64_t lin, unsigned len, bool write, RamBlock **ram,
                       uint64_t *ram_offset);

/* Do these bytes lie in two of the host's cache lines? A LOCKed instruction must not be executed on
 * them as it is: hosts that detect split locks slow the process down, end it, or get stuck. */
static inline bool lin_splits_line(uint64_t lin, unsigned size)
{
    enum { LINE = 64 };
    return (lin & (LINE - 1)) + size > LINE;
}

/* Guest physical, for page walks and descriptor-free accesses. */
uint64_t phys_load(CpuState *cpu, uint64_t gpa, unsigned size);
void phys_store(CpuState *cpu, uint64_t gpa, uint64_t val, unsigned size);
/* Compare-and-swap on a page-table entry of 4 or 8 bytes; true if it was old and is new now. */
bool phys_cas(CpuState *cpu, uint64_t gpa, uint64_t old, uint64_t val, unsigned size);

/* Ports: one bus access; permission was checked by the caller. */
uint64_t port_in(CpuState *cpu, uint16_t port, unsigned size);
void port_out(CpuState *cpu, uint16_t port, uint64_t val, unsigned size);
/* Up to n accesses to one port in one go, if the device offers that: how many were made. Host
 * addresses from before are stale afterwards. */
unsigned port_in_string(CpuState *cpu, uint16_t port, void *buf, unsigned size, unsigned n);
unsigned port_out_string(CpuState *cpu, uint16_t port, const void *buf, unsigned size, unsigned n);

/* Translation caches, of the own CPU. tlb_flush: everything, global pages too (CR0, CR4 and EFER
 * changes, INVPCID 2). tlb_switch: CR3 was written; keep: with bit 63, so that what its PCID has
 * cached stays. The others are INVLPG and INVPCID of types 0, 1 and 3. */
void tlb_flush(CpuState *cpu);
void tlb_switch(CpuState *cpu, bool keep);
void tlb_flush_page(CpuState *cpu, uint64_t lin);
void tlb_flush_page_of(CpuState *cpu, unsigned pcid, uint64_t lin);
void tlb_flush_pcid(CpuState *cpu, unsigned pcid);
void tlb_flush_local(CpuState *cpu);
/* CPL, EFLAGS.AC or CR4.SMAP changed: picks the translation cache (cpu_update_mode calls it). */
void tlb_select(CpuState *cpu);

#endif
