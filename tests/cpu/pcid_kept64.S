/* SPDX-License-Identifier: GPL-2.0-or-later
 * What bit 63 of CR3 keeps (SDM 3A 4.10.4.1). Keeping is a processor's right, not its duty; this is
 * wanted of Vireo because its speed hangs on it.
 * lockstep: no (it looks at translations that are out of date; see docs/translator.md)
 */
#include "pcid.inc"

    LOAD(5)
    mov edx, F0
    call fill_all
    call read_all
    KEEP(6)
    KEEP(5)
    call read_all
    CHECK("512 pages", rdx, W0)
    mov edx, F1
    call fill_all
    KEEP(6)
    invlpg [rbx] /* nothing of pcid 5's */
    call read_all
    CHECK("512 pages under another pcid", rdx, W1)
    KEEP(5)
    mov edx, [rbx + 0x7000]
    CHECK("kept by the pcid with pages of its own", rdx, W0)
    invlpg [rbx + 0x7000]
    mov edx, [rbx + 0x7000]
    CHECK("invlpg there", rdx, W1)
    FINISH
