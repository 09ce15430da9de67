/* SPDX-License-Identifier: GPL-2.0-or-later
 * Call gates and far returns between privilege levels in 32-bit protected mode (SDM 3A 5.8).
 * qemu: gate to conforming code: vector
 * qemu: gate to conforming code: error code
 * qemu: keeps the level
 * qemu: inner ss not present: vector
 * qemu: inner ss too small: vector
 * qemu: inner ss too small: error code
 */
#include "lib.inc"

#define GATE (GDT_SPARE + 0)     /* DPL 3, to CS32, two parameters */
#define CONFORM (GDT_SPARE + 16) /* conforming code, DPL 0 */
#define CODE1 (GDT_SPARE + 24)   /* code of level 1 */
#define GATE1 (GDT_SPARE + 32)   /* to it */
#define DATA1 (GDT_SPARE + 40)

#define USER(fn)                                                                               \
    TRY32(push UDS; push offset user_stack_top; pushfd; push UCS32; push offset fn; iretd)

    .text
    .code32
    .global main32
main32:
    mov dword ptr [tss32 + 4], offset ring0_stack_top
    mov dword ptr [tss32 + 8], DS32
    mov word ptr [tss32 + 0x66], 0x68
    mov eax, TSS32
    ltr ax
    mov byte ptr [idt32 + 8 * 0x80 + 5], 0xee
    mov esi, offset gdt_spare
    mov eax, offset gate_entry
    mov [esi], ax
    mov word ptr [esi + 2], CS32
    mov word ptr [esi + 4], 0xec02
    shr eax, 16
    mov [esi + 6], ax
    mov dword ptr [esi + 16], 0x0000ffff
    mov dword ptr [esi + 20], 0x00cf9f00
    mov dword ptr [esi + 24], 0x0000ffff
    mov dword ptr [esi + 28], 0x00cfbb00
    mov eax, offset gate_entry
    mov [esi + 32], ax
    mov word ptr [esi + 34], CODE1
    mov word ptr [esi + 36], 0xec00
    shr eax, 16
    mov [esi + 38], ax
    mov dword ptr [esi + 40], 0x0000ffff
    mov dword ptr [esi + 44], 0x00cfb300

    /* ---- the good way in and out ---- */
    USER(user_gate)
    EXPECT32("call through a gate and back", 0x80)
    CHECK32("return address", [frame + 0], offset user_gate_ret)
    CHECK32("old cs", [frame + 4], UCS32)
    CHECK32("last parameter", [frame + 8], 0x22222222)
    CHECK32("first parameter", [frame + 12], 0x11111111)
    CHECK32("old esp", [frame + 16], offset user_stack_top - 8)
    CHECK32("old ss", [frame + 20], UDS)
    CHECK32("cs inside", [seen_cs], CS32)
    CHECK32("ss inside", [seen_ss], DS32)
    CHECK32("the stack is the TSS's", [seen_esp], offset ring0_stack_top - 24)
    CHECK32("retf 8 drops the parameters outside", ebx, offset user_stack_top)
    CHECK32("and nulls es, of level 0", ebp, 0)

    /* ---- what gates refuse ---- */
    USER(user_jmp_gate)
    EXPECT32("jmp through a gate to a more privileged level", GP, CS32)
    mov byte ptr [gdt_spare + 5], 0x8c
    USER(user_gate)
    EXPECT32("gate of dpl 0", GP, GATE)
    mov byte ptr [gdt_spare + 5], 0x6c
    USER(user_gate)
    EXPECT32("gate not present", NP, GATE)
    mov byte ptr [gdt_spare + 5], 0xec
    mov word ptr [gdt_spare + 2], 0
    USER(user_gate)
    EXPECT32("gate to the null selector", GP, 0)
    mov word ptr [gdt_spare + 2], DS32
    USER(user_gate)
    EXPECT32("gate to data", GP, DS32)
    mov word ptr [gdt_spare + 2], CONFORM
    USER(user_gate)
    EXPECT32("gate to conforming code", 0x80)
    CHECK32("keeps the level", [seen_cs], CONFORM + 3)
    CHECK32("and the stack", [seen_esp], offset user_stack_top - 16)
    mov word ptr [gdt_spare + 2], CS32

    /* ---- inner stacks: level 1's is bad, level 0's serves the fault ---- */
    mov dword ptr [tss32 + 12], offset ist_stack_top
    mov dword ptr [tss32 + 16], 0
    USER(user_gate1)
    EXPECT32("null inner ss", TS, 0)
    mov dword ptr [tss32 + 16], DS32 + 1
    USER(user_gate1)
    EXPECT32("inner ss of the wrong dpl", TS, DS32)
    mov dword ptr [tss32 + 16], DATA1
    USER(user_gate1)
    EXPECT32("inner ss of the wrong rpl", TS, DATA1)
    mov dword ptr [tss32 + 16], CODE1 + 1
    USER(user_gate1)
    EXPECT32("inner ss is code", TS, CODE1)
    mov dword ptr [tss32 + 16], 0x301
    USER(user_gate1)
    EXPECT32("inner ss beyond the gdt", TS, 0x300)
    mov dword ptr [tss32 + 16], DATA1 + 1
    and byte ptr [gdt_spare + 45], 0x7f
    USER(user_gate1)
    EXPECT32("inner ss not present", SS_, DATA1)
    or byte ptr [gdt_spare + 45], 0x80
    mov dword ptr [gdt_spare + 40], 0x00000010 /* limit 10h pages, and */
    mov dword ptr [gdt_spare + 44], 0x0040b300 /* bytes */
    USER(user_gate1)
    EXPECT32("inner ss too small", SS_, DATA1)

    /* ---- far transfers without a gate ---- */
    TRY32(.byte 0x9a; .long gate_entry; .word 0)
    EXPECT32("call to the null selector", GP, 0)
    TRY32(.byte 0x9a; .long gate_entry; .word UCS32)
    EXPECT32("call outward", GP, UCS32 - 3)
    TRY32(.byte 0xea; .long gate_entry; .word DS32)
    EXPECT32("jmp to data", GP, DS32)
    TRY32(.byte 0xea; .long gate_entry; .word CS32 + 3)
    EXPECT32("jmp with rpl above cpl", GP, CS32)
    TRY32(.byte 0xea; .long 0x12345; .word CS16)
    EXPECT32("jmp beyond the limit", GP, 0)
    USER(user_call_kernel)
    EXPECT32("direct call inward", GP, CS32)

    TRY32(push CS32 + 3; push offset gate_entry; retf)
    EXPECT32("retf: rpl and dpl differ", GP, CS32)
    TRY32(push DS32; push UCS32; push offset user_gate; push UCS32; push offset user_gate; retf)
    EXPECT32("retf outward: ss is code", GP, UCS32 - 3)
    TRY32(push 0; push 0; push UCS32; push offset user_gate; retf)
    EXPECT32("retf outward: null ss", GP, 0)
    USER(user_retf_in)
    EXPECT32("retf inward", GP, CS32)
    FINISH32

gate_entry:
    mov ss:[seen_esp], esp
    mov ss:[seen_cs], cs
    mov ss:[seen_ss], ss
    push eax
    push ecx
    xor ecx, ecx
1:  mov eax, [esp + 8 + ecx * 4]
    mov ss:[frame + ecx * 4], eax
    inc ecx
    cmp ecx, 6
    jb 1b
    pop ecx
    pop eax
    mov ax, cs
    test al, 3
    jnz 2f
    mov ax, DS32
    mov es, ax
2:  retf 8

user_gate:
    mov eax, UDS
    mov ds, eax
    push 0x11111111
    push 0x22222222
    .byte 0x9a
    .long 0
    .word GATE + 3
user_gate_ret:
    mov ebx, esp
    xor ebp, ebp
    mov bp, es
    int 0x80
user_jmp_gate:
    .byte 0xea
    .long 0
    .word GATE + 3
user_gate1:
    .byte 0x9a
    .long 0
    .word GATE1 + 3
user_call_kernel:
    .byte 0x9a
    .long gate_entry
    .word CS32
user_retf_in:
    push CS32
    push offset gate_entry
    retf

    .section .data
seen_cs: .long 0
seen_ss: .long 0
seen_esp: .long 0
frame: .fill 6, 4, 0
