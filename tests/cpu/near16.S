/* SPDX-License-Identifier: GPL-2.0-or-later
 * Near branches with an operand size of 16 in 32-bit code (SDM 2A JMP, CALL): the target is cut to
 * 16 bits, the instruction before it goes on behind 64 KiB.
 */
#include "lib.inc"

#define LOW 0x7000   /* where they lead to */
#define HIGH 0x20000 /* where they are */

    .text
    .code32
    .global main32
main32:
    mov word ptr [LOW], 0x25ff            /* jmp [LOW + 0x20] */
    mov dword ptr [LOW + 2], LOW + 0x20

    mov dword ptr [HIGH], 0xe9664390      /* nop; inc ebx; jmp LOW */
    mov word ptr [HIGH + 4], LOW - 6
    mov dword ptr [LOW + 0x20], offset jumped
    mov eax, HIGH
    mov ecx, 40
    xor ebx, ebx
1:  jmp eax
jumped:
    dec ecx
    jnz 1b
    CHECK32("jmp goes to low memory", ebx, 40)

    mov dword ptr [HIGH + 0x10], 0xe8664390 /* call LOW */
    mov word ptr [HIGH + 0x14], LOW - 0x16
    mov dword ptr [LOW + 0x20], offset called
    mov eax, HIGH + 0x10
    mov esi, esp
    mov ecx, 40
    xor ebx, ebx
1:  jmp eax
called:
    pop di
    dec ecx
    jnz 1b
    CHECK32("call", ebx, 40)
    sub esi, esp
    CHECK32("pushes two bytes", esi, 0)
    and edi, 0xffff
    CHECK32("of the next instruction", edi, 0x16)
    FINISH32
