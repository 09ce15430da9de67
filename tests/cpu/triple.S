/* SPDX-License-Identifier: GPL-2.0-or-later
 * A fault whose handler's gate is missing, and #DF's too: the processor shuts down, and the board
 * resets it, which -no-reboot turns into the end of the program (SDM 3A 6.15 "Interrupt 8").
 * ends: reset
 */
#include "lib.inc"

    .text
    .code32
    .global main32
main32:
    and byte ptr [idt32 + 8 * GP + 5], 0x7f
    mov eax, 0x200
    TRY32(1: mov ds, eax)
    EXPECT32("#NP delivering #GP", DF, 0)
    CHECK32("points at the instruction", [trap_ip], offset 1b)
    mov esi, offset plan
1:  lodsb
    test al, al
    jz 2f
    out 0xe9, al
    jmp 1b
2:  and byte ptr [idt32 + 8 * DF + 5], 0x7f
    mov eax, 0x200
    mov ds, eax
    TRY32(nop)
    CHECK32("the guest is not here any more", 1, 0)
    FINISH32

    .section .rodata
plan: .asciz "1..3\n"
