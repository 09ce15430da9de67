/* SPDX-License-Identifier: GPL-2.0-or-later
 * Checks of 64-bit mode that processors make and emulators are known to forget.
 * qemu: skip (TCG makes few of them and then runs off the rails)
 */
#include "lib.inc"

    .text
    .code32
    .global main32
main32:
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, cr0
    or eax, CR0_PG
    TRY32(mov cr0, eax)
    EXPECT32("paging with lme needs pae", GP)
    call enter_long64
    .code64

    mov rbx, 0x800000000000
    mov rbp, rbx
    TRY(mov rax, [rbp])
    EXPECT("non-canonical load through rbp", SS_)
    mov dword ptr [tss64 + 0x24], offset ist_stack_top
    mov byte ptr [idt64 + 16 * SS_ + 4], 1
    mov byte ptr [idt64 + 16 * GP + 4], 1
    mov r15, rsp
    TRY(lea rsp, [rbx + 64]; push rax)
    mov rsp, r15
    EXPECT("non-canonical push", SS_)
    mov rax, cr3
    mov cr3, rax /* nothing is known of the stack */
    mov rdx, 0x8000000000000ff8
    TRY(mov rsp, rdx; pop rcx; pop rsi; mov rax, [rdi])
    mov rsp, r15
    EXPECT("non-canonical pops across two pages", SS_)
    mov byte ptr [idt64 + 16 * SS_ + 4], 0
    mov byte ptr [idt64 + 16 * GP + 4], 0
    mov eax, 3
    TRY(mov ss, eax)
    EXPECT("null ss with the wrong rpl", GP, 0)
    mov ecx, 0x12345
    TRY(rdmsr)
    EXPECT("rdmsr of nothing", GP)
    mov ecx, MSR_EFER
    rdmsr
    or eax, 2
    TRY(wrmsr)
    EXPECT("efer reserved bit", GP)
    rdmsr
    btr eax, 8
    TRY(wrmsr)
    EXPECT("efer.lme while paging", GP)
    mov ecx, 0xc0000101
    mov edx, 0x8000
    xor eax, eax
    TRY(wrmsr)
    EXPECT("non-canonical gs base", GP)
    mov rax, cr0
    btr eax, 0
    TRY(mov cr0, rax)
    EXPECT("cr0.pg without pe", GP)
    mov rax, cr0
    bts rax, 29
    TRY(mov cr0, rax)
    EXPECT("cr0.nw without cd", GP)
    mov rax, cr0
    bts rax, 40
    TRY(mov cr0, rax)
    EXPECT("cr0 bits 63:32", GP)
    mov rax, cr0
    btr rax, 31
    TRY(mov cr0, rax)
    EXPECT("leaving paging in 64-bit code", GP)
    mov rax, cr4
    btr rax, 5
    TRY(mov cr4, rax)
    EXPECT("clearing pae in long mode", GP)
    mov rax, cr4
    bts rax, 31
    TRY(mov cr4, rax)
    EXPECT("cr4 reserved bit", GP)
    mov rax, cr3
    bts rax, 60
    TRY(mov cr3, rax)
    EXPECT("cr3 reserved bit", GP)
    mov eax, 16
    TRY(mov cr8, rax)
    EXPECT("cr8 reserved bit", GP)

    FINISH
