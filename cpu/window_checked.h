/* SPDX-License-Identifier: GPL-2.0-or-later
 * Checked windows: with paging on, the pages of the lower 4 GiB of the guest's linear address space that
 * are used most, mapped as in cpu/window.h, and a table with a byte for each: what accesses may begin
 * there. Generated code looks at the byte of an operand's page, then makes the access by the guest's own
 * address, which may reach into the next page unlooked at.
 *
 *     window - WINDOW_ABOVE - 1 MiB   the table
 *     window - WINDOW_ABOVE           CpuState
 *     window + 0                      what lies at linear address 0
 *
 * The table says no more than the translation cache said (cpu/tlb.h) when a byte was set, and forgets it
 * when slots are forgotten:
 *
 * W1 A page is allowed an access only if the cache allows it without further ado, and the window has the
 *    memory there that the cache says. So the guest's A and D are set, and neither ROM, registers, code nor
 *    watched pages are ever written.
 * W2 An access may begin in a page only if the page is allowed it, and the next one is allowed it too or
 *    not mapped in the window: what crosses is right, or faults on the host, and is done by a slot then.
 * W3 Nothing is allowed any more when the caches are flushed or a page of them is (CR3, INVLPG, CR0, CR4,
 *    EFER), when the CPU looks at each access (breakpoints, alignment checks), and when the memory map
 *    changes. The mappings stay: if the cache then says the same of the page again, only bits are set.
 * W4 Writes to a page are not allowed any more when somebody wants to hear of them (tlb_revoke_write), those
 *    to all pages at a CPU_REQ_RECHECK.
 * W5 Another page is mapped at an address only while nothing is allowed there.
 * W6 CPL 3 and CPL 0 to 2 have bits of their own; those of the latter are what is allowed without EFLAGS.AC.
 * W7 Only the vCPU's own thread allows and maps; others take writes away. The number of mappings is
 *    bounded, far below what a host allows a process (65530 by default).
 */
#ifndef CPU_WINDOW_CHECKED_H
#define CPU_WINDOW_CHECKED_H

#include "cpu/window.h"

enum { WINDOW_PAGES = 1 << 20 };
/* Bits of the table: what may begin in the page; above WINDOW_ALLOWED, what it is allowed. */
enum { WINDOW_READ = 1, WINDOW_WRITE = 2, WINDOW_USER_SHIFT = 2, WINDOW_ALLOWED = 4 };

typedef struct CheckedWindow CheckedWindow;

/* As window_new and its like. */
CheckedWindow *checked_window_new(CpuState *cpu, Error **errp);
void checked_window_free(CheckedWindow *w);
uint8_t *checked_window_base(const CheckedWindow *w);

/* lin's page was used, as one of many uses: it is mapped if that is worth it (at_once: in any case), and
 * allowed what the translation cache allows now. True: more accesses may begin there than before. The
 * vCPU's thread. */
bool checked_window_use(CpuState *cpu, uint64_t lin, bool at_once);
/* What the table says of lin's page. */
uint8_t checked_window_bits(const CheckedWindow *w, uint64_t lin);

/* Take away all, the writes, or the writes to this host page (NULL: any); the last from any thread, and
 * true if there was one. */
void checked_window_clear(CheckedWindow *w);
void checked_window_clear_writes(CheckedWindow *w);
bool checked_window_revoke_write(CheckedWindow *w, const uint8_t *page);
/* The memory map has changed: what is mapped may be gone. The vCPU's thread. */
void checked_window_outdate(CheckedWindow *w);
/* For info jit: pages mapped now; times that one was mapped. */
void checked_window_count(const CheckedWindow *w, uint64_t *mapped, uint64_t *maps);

#endif
