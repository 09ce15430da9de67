/* SPDX-License-Identifier: GPL-2.0-or-later
 * Windows: guest memory mapped into this process at "address of the window + guest address", so that
 * generated code can make an access by the guest's own address. A window belongs to one vCPU:
 *
 *     window - WINDOW_ABOVE   the vCPU's CpuState, mapped a second time: the gs base points to the
 *                             window, so that one segment register leads to both
 *     window + 0              what lies at linear address 0
 *     window + 4 GiB          a page that is never mapped: the end of what begins below it
 *
 * A bare window holds what linear addresses reach with paging off: RAM, ROM read-only, and nothing
 * where there are registers or nothing. There is no check before an access. What makes that sound:
 *
 * - Who may not write a page without saying so, may not write it there either: a page that holds code
 *   or is watched (ram_write_is_tracked) is read-only. Whoever takes write permissions away
 *   (tlb_revoke_write) does so here by mprotect(), behind which no store is under way any more.
 * - The window is in line with the memory map whenever code that uses it is entered: the map's changes
 *   reach a vCPU between blocks (mmu_refresh_view).
 * - All else faults on the host, and the instruction is done in another way. So is what crosses from
 *   mapped memory into what is not, and what reaches beyond 4 GiB.
 * - Code that has to look at each access itself (data breakpoints, alignment checks of CPL 3) does not
 *   use it.
 */
#ifndef CPU_WINDOW_H
#define CPU_WINDOW_H

#include "cpu/tlb.h"

typedef struct Window Window;

#define WINDOW_ABOVE ((uint64_t)ROUND_UP(sizeof(CpuState), PAGE_SIZE))
#define WINDOW_SIZE (4 * GiB)

/* Zeroed whole pages that can be mapped a second time: what a CpuState with a window must begin. NULL:
 * no memory. */
void *window_pages_new(size_t size);
void window_pages_free(void *pages, size_t size);

/* Reserves address space for cpu's bare window, nothing mapped yet. cpu: from window_pages_new. NULL
 * with *errp: the host has no room. */
Window *window_new(CpuState *cpu, Error **errp);
void window_free(Window *w); /* NULL: nothing */
/* Where linear address 0 is. */
uint8_t *window_base(const Window *w);

/* Brings the bare window in line with the memory map. The vCPU's thread, before code that uses it. */
void window_refresh(CpuState *cpu);
/* The map has changed, or nothing must be mapped: from here on window_refresh has something to do. The
 * vCPU's thread. */
void window_outdate(Window *w);
/* Nothing is mapped any more, until window_refresh: keeping write permissions right costs time. The vCPU's
 * thread. */
void window_drop(Window *w);
/* No store reaches this host page (NULL: whatever is watched) through the window any more. Any thread. */
void window_revoke_write(Window *w, const uint8_t *page);
/* A store to lin faulted. True: it need not have, and will not again. The vCPU's thread. */
bool window_heal(Window *w, uint64_t lin);
/* Linear bytes that are mapped now, for info jit. */
uint64_t window_mapped(Window *w);

/* ---- for windows of either kind ---- */

/* Address space, nothing of it mapped but CpuState, and below that so many writable bytes (whole pages).
 * NULL with *errp. Returns where linear address 0 is. */
uint8_t *window_reserve(CpuState *cpu, uint64_t below, Error **errp);
void window_release(uint8_t *base, uint64_t below);
/* Whole pages of RAM; nothing. What is there is replaced. */
void window_map(uint8_t *at, uint64_t size, const RamBlock *ram, uint64_t ram_offset,
                bool writable);
void window_unmap(uint8_t *at, uint64_t size);
/* The linear address of a host address in the window; false: it is not in it, nor just behind. */
bool window_find(const uint8_t *base, const void *host, uint64_t *lin);

#endif
