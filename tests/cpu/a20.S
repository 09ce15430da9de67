/* SPDX-License-Identifier: GPL-2.0-or-later
 * The A20 gate through port 92h: with it shut, address bit 20 reads as 0 for the CPU, in real mode
 * and with paging alike.
 */
#include "lib.inc"

#define LOW 0x60000
#define HIGH 0x160000
#define GATE(on) in al, 0x92; and al, 0xfc; or al, on * 2; out 0x92, al

    .text
    .code32
    .global main32
main32:
    mov dword ptr [LOW], 0x11111111
    mov dword ptr [HIGH], 0x22222222
    CHECK32("open: two addresses", [LOW], 0x11111111)
    GATE(0)
    mov eax, [HIGH]
    CHECK32("shut: high reads low", eax, 0x11111111)
    mov dword ptr [HIGH], 0x33333333
    CHECK32("shut: high writes low", [LOW], 0x33333333)
    mov byte ptr [LOW + 16], 0xc3
    mov byte ptr [HIGH + 16], 0xc3
    mov eax, [HIGH + 0x100000]
    GATE(1)
    CHECK32("open: the high word is as it was", [HIGH], 0x22222222)
    CHECK32("open: and the low word written", [LOW], 0x33333333)

    /* code is fetched through the gate too */
    mov dword ptr [LOW + 32], 0x000001b8 /* mov eax, 1; ret */
    mov word ptr [LOW + 36], 0xc300
    mov dword ptr [HIGH + 32], 0x000002b8
    mov word ptr [HIGH + 36], 0xc300
    mov ebx, HIGH + 32
    call ebx
    CHECK32("open: code", eax, 2)
    GATE(0)
    call ebx
    mov ecx, eax
    GATE(1)
    CHECK32("shut: code", ecx, 1)
    call ebx
    CHECK32("open again: code", eax, 2)

    /* with paging: physical addresses are what is masked */
    call enter_long64
    .code64
    mov qword ptr [test_pt], HIGH + (P | W)
    mov rbx, TEST_VA
    mov eax, [rbx]
    CHECK("paging, open", rax, 0x22222222)
    GATE(0)
    mov ecx, [rbx]
    GATE(1)
    CHECK("paging, shut", rcx, 0x33333333)
    mov eax, [rbx]
    CHECK("paging, open again", rax, 0x22222222)
    FINISH
