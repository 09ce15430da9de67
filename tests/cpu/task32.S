/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hardware task switches (SDM 3A chapter 8): CALL, JMP, IRET, interrupts through task gates, and
 * the faults on the way.
 * qemu: flags are back: carry, no nt
 * qemu: the fault points at its first instruction
 * qemu: at its first instruction
 * qemu: debug trap of the task: vector
 * qemu: dr6.bt
 * qemu: before its first instruction
 */
#include "lib.inc"

#define TSS_B (GDT_SPARE + 0)
#define GATE_B (GDT_SPARE + 8)
#define BAD_LDT (GDT_SPARE + 16)
#define B_BUSY byte ptr [gdt_spare + 5]

    .text
    .code32
    .global main32
main32:
    mov word ptr [tss32 + 0x66], 0x68
    mov dword ptr [tss32 + 4], offset ring0_stack_top
    mov dword ptr [tss32 + 8], DS32
    mov eax, TSS32
    ltr ax
    mov esi, offset gdt_spare
    mov eax, offset tss_b
    mov word ptr [esi], 0x67
    mov [esi + 2], ax
    shr eax, 16
    mov [esi + 4], al
    mov byte ptr [esi + 5], 0x89
    mov word ptr [esi + 10], TSS_B
    mov byte ptr [esi + 13], 0x85

    /* ---- CALL and IRET ---- */
    call init_b
    mov dword ptr [tss_b + 0x20], offset task_b
    mov eax, cr0
    and eax, ~CR0_TS
    mov cr0, eax
    mov eax, 0x00000701
    mov dr7, eax
    xor eax, eax
    mov dr7, eax
    mov ebx, 0x12345678
    stc
    TRY32(.byte 0x9a; .long 0; .word TSS_B)
    EXPECT_OK32("far call to a tss, iret back")
    CHECK32("ebx is this task's again", ebx, 0x12345678)
    CHECK32("the other saw its own eax", [seen], 0xaaaa)
    CHECK32("its esp", [seen + 4], offset ist_stack_top)
    CHECK32("nt set", [seen + 8], 0x4002)
    CHECK32("the link leads here", [seen + 12], TSS32)
    CHECK32("this task's tss was busy", [seen + 16], 0x8b)
    CHECK32("and the new one", [seen + 20], 0x8b)
    CHECK32("cr0.ts", [seen + 24], CR0_TS)
    CHECK32("tr", [seen + 28], TSS_B)
    movzx eax, B_BUSY
    CHECK32("iret made it available", eax, 0x89)
    CHECK32("and saved its state", dword ptr [tss_b + 0x20], offset task_b_resume)
    CHECK32("with nt clear", dword ptr [tss_b + 0x24], 2)
    CHECK32("ebx as the other left it", dword ptr [tss_b + 0x34], 0xbbbb)
    pushfd
    pop eax
    and eax, 0x4001
    CHECK32("flags are back: carry, no nt", eax, 1)
    CHECK32("this task's eip was saved", dword ptr [tss32 + 0x4c], CS32)

    /* ---- JMP there and back, by a task gate ---- */
    call init_b
    mov dword ptr [tss_b + 0x20], offset task_b_jmp
    TRY32(.byte 0xea; .long 0; .word GATE_B)
    EXPECT_OK32("jmp through a task gate")
    CHECK32("no nesting", [seen], 2)
    movzx eax, byte ptr [seen + 4]
    CHECK32("the old tss was made available", eax, 0x89)

    /* ---- an exception through a task gate ---- */
    call init_b
    mov dword ptr [tss_b + 0x20], offset task_b_gp
    mov word ptr [idt32 + 8 * GP + 2], TSS_B
    mov byte ptr [idt32 + 8 * GP + 5], 0x85
    mov eax, 0x100
1:  TRY32(2: mov ds, eax; 3: nop)
    EXPECT_OK32("#GP through a task gate")
    CHECK32("error code on the new stack", [seen], 0x100)
    CHECK32("old eip is the faulting one", [seen + 4], offset 2b)
    mov byte ptr [idt32 + 8 * GP + 5], 0x8e
    mov word ptr [idt32 + 8 * GP + 2], CS32

    /* ---- refusals before the switch ---- */
    call init_b
    mov B_BUSY, 0x8b
    TRY32(.byte 0x9a; .long 0; .word TSS_B)
    EXPECT32("call to a busy tss", GP, TSS_B)
    mov B_BUSY, 0x09
    TRY32(.byte 0x9a; .long 0; .word TSS_B)
    EXPECT32("call to an absent tss", NP, TSS_B)
    mov B_BUSY, 0x89
    mov byte ptr [gdt_spare], 0x66
    TRY32(.byte 0x9a; .long 0; .word TSS_B)
    EXPECT32("tss too short", TS, TSS_B)
    mov byte ptr [gdt_spare], 0x67
    str ax
    movzx eax, ax
    CHECK32("still in the first task", eax, TSS32)
    mov word ptr [tss32], TSS_B
    pushfd
    or dword ptr [esp], 0x4000
    popfd
    TRY32(iretd)
    EXPECT32("iret to a task that is not busy", TS, TSS_B)
    pushfd
    and dword ptr [esp], ~0x4000
    popfd
    mov word ptr [gdt_spare + 10], DS32
    TRY32(.byte 0x9a; .long 0; .word GATE_B)
    EXPECT32("task gate to data", GP, DS32)
    mov word ptr [gdt_spare + 10], TSS_B

    /* ---- and after it: in the new task, handled through a task gate to this one ---- */
    call init_b
    mov dword ptr [tss_b + 0x54], 0x200
    TRY32(.byte 0xea; .long 0; .word TSS_B)
    EXPECT32("ds of the new task beyond the gdt", TS, 0x200)
    call back_home
    CHECK32("the new task was in place", ebx, TSS_B)
    CHECK32("the fault points at its first instruction", [trap_ip], offset task_b)
    /* Without its stack the new task cannot serve a fault: a task gate leads back here, behind the
     * JMP, with the error code on this task's stack. */
    call init_b
    mov dword ptr [tss_b + 0x60], DS32
    mov word ptr [idt32 + 8 * TS + 2], TSS32
    mov byte ptr [idt32 + 8 * TS + 5], 0x85
    xor ecx, ecx
    TRY32(.byte 0xea; .long 0; .word TSS_B; pop ecx)
    EXPECT_OK32("ldt of the new task is data")
    CHECK32("#TS through a task gate", ecx, DS32)
    movzx eax, word ptr [tss32]
    CHECK32("from the new task", eax, TSS_B)
    CHECK32("at its first instruction", dword ptr [tss_b + 0x20], offset task_b)
    mov byte ptr [idt32 + 8 * TS + 5], 0x8e
    mov word ptr [idt32 + 8 * TS + 2], CS32
    mov B_BUSY, 0x89
    pushfd
    and dword ptr [esp], ~0x4000
    popfd

    /* ---- the T bit ---- */
    call init_b
    mov dword ptr [tss_b + 0x20], offset task_b_jmp
    mov byte ptr [tss_b + 0x64], 1
    xor eax, eax
    mov dr6, eax
    TRY32(.byte 0xea; .long 0; .word TSS_B)
    EXPECT32("debug trap of the task", DB)
    mov eax, dr6
    and eax, 0xf00f
    CHECK32("dr6.bt", eax, 0x8000)
    CHECK32("before its first instruction", [trap_ip], offset task_b_jmp)
    FINISH32

/* After a fault in task B that came to the common handler: makes TSS32 current again. ebx: the
 * task it was. */
back_home:
    xor ebx, ebx
    str bx
    mov byte ptr [tss32_desc + 5], 0x89
    mov B_BUSY, 0x89
    mov eax, TSS32
    ltr ax
    xor eax, eax
    lldt ax
    ret

init_b:
    mov edi, offset tss_b
    mov ecx, 26
    xor eax, eax
    rep stosd
    mov edi, offset tss_b
    mov dword ptr [edi + 4], offset ring0_stack_top
    mov dword ptr [edi + 8], DS32
    mov dword ptr [edi + 0x20], offset task_b
    mov dword ptr [edi + 0x24], 2
    mov dword ptr [edi + 0x28], 0xaaaa
    mov dword ptr [edi + 0x38], offset ist_stack_top
    mov dword ptr [edi + 0x48], DS32
    mov dword ptr [edi + 0x4c], CS32
    mov dword ptr [edi + 0x50], DS32
    mov dword ptr [edi + 0x54], DS32
    mov word ptr [edi + 0x66], 0x68
    ret

task_b:
    mov [seen], eax
    mov [seen + 4], esp
    pushfd
    pop eax
    mov [seen + 8], eax
    movzx eax, word ptr [tss_b]
    mov [seen + 12], eax
    mov al, [tss32_desc + 5]
    mov [seen + 16], al
    mov al, B_BUSY
    mov [seen + 20], al
    mov eax, cr0
    and eax, CR0_TS
    mov [seen + 24], eax
    str ax
    movzx eax, ax
    mov [seen + 28], eax
    mov ebx, 0xbbbb
    iretd
task_b_resume:
    ud2

task_b_jmp:
    pushfd
    pop dword ptr [seen]
    mov al, [tss32_desc + 5]
    mov [seen + 4], al
    .byte 0xea
    .long 0
    .word TSS32

task_b_gp:
    pop dword ptr [seen]
    mov eax, [tss32 + 0x20]
    mov [seen + 4], eax
    add dword ptr [tss32 + 0x20], 2 /* past the mov */
    iretd

    .section .data
    .balign 4
seen: .fill 8, 4, 0
    .balign 16
tss_b: .fill 26, 4, 0
