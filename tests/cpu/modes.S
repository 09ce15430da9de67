/* SPDX-License-Identifier: GPL-2.0-or-later
 * From mode to mode and back (SDM 3A 10.8, 10.9): protected to real, "unreal" segments, 16-bit
 * protected, long and compatibility mode and out again; and what code does in each.
 * qemu: real mode: #GP beyond 64 KiB
 */
#include "lib.inc"

#define REAL(label) ((label) - 0xf0000)
#define FAR16(sel, off) .byte 0xea; .word off, sel
#define FAR32(sel, off) .byte 0x66, 0xea; .long off; .word sel

    .text
    .code32
    .global main32
main32:
    mov eax, cr0
    and eax, CR0_PE | CR0_PG
    CHECK32("lib's protected mode", eax, CR0_PE)

    /* ---- operands across 4 GiB: ROM there, RAM at 0. The SDM (3A 5.3) leaves it open whether they fault
     * in a segment of that size; here none does, so that all instructions see the same ---- */
    mov esi, -2
    mov dword ptr [0], 0x2b3c
    mov edi, [esi]
    mov eax, edi
    shr eax, 16
    CHECK32("across 4 GiB: mov", eax, 0x2b3c)
    fninit
    TRY32(fild dword ptr [esi]; fistp dword ptr [saved_esp])
    EXPECT_OK32("across 4 GiB: fild")
    CHECK32("loads the same", [saved_esp], edi)
    TRY32(push [esi]; pop ebx)
    EXPECT_OK32("across 4 GiB: push")
    CHECK32("pushes the same", ebx, edi)
    TRY32(imul ebx, [esi], 1)
    EXPECT_OK32("across 4 GiB: imul")
    CHECK32("multiplies the same", ebx, edi)
    TRY32(cmp ebx, [esi]; fnstcw [esi + 1])
    EXPECT_OK32("across 4 GiB: fnstcw")
    CHECK32("stores half", [0], 0x2b03)

    /* ---- to real mode ---- */
    mov [saved_esp], esp
    lidt [idt_ptr16]
    .byte 0xea /* jmp far CS16:1f */
    .long 1f - 0xf0000
    .word CS16
    .code16
1:  mov ax, DS16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    FAR16(0xf000, REAL(1f))
1:  xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7f00
    mov eax, cr0
    mov [r_cr0], eax
    mov [r_cs], cs

    /* segment arithmetic: selector times 16, wraps at 1 MiB only with A20 off */
    mov dword ptr [0x7f10], 0x12345678
    mov ax, 0x7f0
    mov es, ax
    mov eax, es:[0x10]
    mov [r_seg], eax

    /* interrupts through the IVT: 6 bytes pushed, IF and TF cleared */
    mov word ptr [0x42 * 4], offset real_int - 0xf0000
    mov word ptr [0x42 * 4 + 2], 0xf000
    mov sp, 0x7f00
    stc
    int 0x42
    mov [r_after_int], sp
    mov word ptr [DE * 4], offset real_fault - 0xf0000
    mov word ptr [DE * 4 + 2], 0xf000
    mov word ptr [r_fault_ip], 0
    mov word ptr [r_resume], offset 2f - 0xf0000
    xor cx, cx
1:  div cx
2:  mov word ptr [r_fault_want], offset 1b - 0xf0000
    mov word ptr [UD * 4], offset real_fault - 0xf0000
    mov word ptr [UD * 4 + 2], 0xf000
    mov ax, [r_fault_ip]
    mov [r_div_ip], ax
    mov word ptr [r_fault_ip], 0
    mov word ptr [r_resume], offset 2f - 0xf0000
    .byte 0x0f, 0x00, 0xc0 /* sldt ax: does not exist here */
2:  mov ax, [r_fault_ip]
    sub ax, offset 1b - 0xf0000
    mov [r_sldt], ax
    mov word ptr [GP * 4], offset real_fault - 0xf0000
    mov word ptr [GP * 4 + 2], 0xf000
    mov word ptr [r_fault_ip], 0
    mov eax, 0x12345
    mov word ptr [r_resume], offset 2f - 0xf0000
    mov ebx, [eax] /* 67h prefix, beyond 64 KiB */
2:  mov ax, [r_fault_ip]
    mov [r_limit], ax

    /* pushes of both sizes, far calls */
    mov sp, 0x7f00
    push eax
    push ax
    mov [r_push], sp
    mov sp, 0x7f00
    .byte 0x9a
    .word REAL(real_far), 0xf000
    mov [r_far_sp], sp
    /* SP wraps */
    mov sp, 0
    pop ax
    mov [r_pop_wrap], sp
    mov sp, 0x7f00

    /* ---- unreal mode: a 4 GiB limit survives the way back ---- */
    mov eax, cr0
    or al, 1
    lgdt [gdt_ptr32]
    mov cr0, eax
    jmp 1f
1:  mov bx, DS32
    mov es, bx
    and al, 0xfe
    mov cr0, eax
    jmp 1f
1:  mov dword ptr ds:[r_unreal], 0
    mov edi, 0x200000
    mov dword ptr es:[edi], 0xabcdef01
    mov eax, es:[edi]
    mov [r_unreal], eax
    /* loading the register sets the base and keeps the limit */
    mov bx, 0x1000
    mov es, bx
    mov edi, 0x200000 - 0x10000
    mov eax, es:[edi]
    mov [r_unreal2], eax

    /* ---- 16-bit protected mode ---- */
    mov eax, cr0
    or al, 1
    mov cr0, eax
    FAR16(CS16, REAL(1f))
1:  mov ax, DS16
    mov ds, ax
    mov ss, ax
    mov sp, 0x7f00
    mov [r_pm16_cs], cs
    push 0x1234
    mov [r_pm16_sp], sp
    mov ax, DS32
    mov es, ax
    mov esi, 0x200000
    mov eax, es:[esi]
    mov [r_pm16], eax
    FAR32(CS32, 1f)
    .code32
1:  mov ax, DS32
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, [saved_esp]
    lidt [idt_ptr32]

    mov eax, [r_cr0]
    and eax, 1
    CHECK32("real mode: pe", eax, 0)
    movzx eax, word ptr [r_cs]
    CHECK32("real mode: cs", eax, 0xf000)
    CHECK32("real mode: segment base", [r_seg], 0x12345678)
    movzx eax, word ptr [r_int_sp]
    CHECK32("real mode: INT pushes six bytes", eax, 0x7f00 - 6)
    movzx eax, word ptr [r_int_flags]
    and eax, FL_CF
    CHECK32("real mode: INT saves flags", eax, FL_CF)
    movzx eax, word ptr [r_after_int]
    CHECK32("real mode: IRET pops them", eax, 0x7f00)
    mov ax, [r_fault_want]
    sub ax, [r_div_ip]
    movzx eax, ax
    CHECK32("real mode: #DE at its instruction", eax, 0)
    mov ax, [r_sldt]
    test ax, ax
    setnz al
    movzx eax, al
    CHECK32("real mode: sldt is #UD", eax, 1)
    movzx eax, word ptr [r_limit]
    test eax, eax
    setnz al
    movzx eax, al
    CHECK32("real mode: #GP beyond 64 KiB", eax, 1)
    movzx eax, word ptr [r_push]
    CHECK32("real mode: push eax; push ax", eax, 0x7f00 - 6)
    movzx eax, word ptr [r_far_sp]
    CHECK32("real mode: far call and return", eax, 0x7f00)
    movzx eax, word ptr [r_pop_wrap]
    CHECK32("real mode: pop at sp 0", eax, 2)
    CHECK32("unreal mode: beyond 64 KiB", [r_unreal], 0xabcdef01)
    CHECK32("unreal mode: a load keeps the limit", [r_unreal2], 0xabcdef01)
    movzx eax, word ptr [r_pm16_cs]
    CHECK32("16-bit protected mode: cs", eax, CS16)
    movzx eax, word ptr [r_pm16_sp]
    CHECK32("16-bit protected mode: push", eax, 0x7f00 - 2)
    CHECK32("16-bit protected mode: flat data", [r_pm16], 0xabcdef01)

    /* ---- long mode: there ---- */
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    rdmsr
    and eax, EFER_LMA
    CHECK32("lme alone is not lma", eax, 0)
    call enter_long64
    .code64
    mov ecx, MSR_EFER
    rdmsr
    and eax, EFER_LMA
    CHECK("lma", rax, EFER_LMA)
    mov rbx, 0x1122334455667788
    CHECK("64-bit registers", rbx, 0x1122334455667788)
    mov ebx, ebx
    CHECK("32-bit writes clear the upper half", rbx, 0x55667788)
    mov rbx, -1
    mov bx, 0
    mov rcx, 0xffffffffffff0000
    CHECK("16-bit writes do not", rbx, rcx)
    mov eax, GDT_SPARE
    mov rcx, 0x00cf93123456ffff /* base 123456h: ignored for ds */
    mov [gdt_spare], rcx
    mov ds, eax
    mov ecx, [r_unreal]
    CHECK("64-bit code ignores the base of ds", rcx, 0xabcdef01)
    mov fs, eax
    mov ecx, fs:[0x200000 - 0x123456]
    mov eax, DS32
    mov ds, eax
    xor eax, eax
    mov ecx, 0xc0000100
    rdmsr
    shl rdx, 32
    or rax, rdx
    CHECK("but loads fs base from the descriptor", rax, 0x00123456 * 1 + 0)
    mov eax, DS32
    mov fs, eax

    /* ---- compatibility mode ---- */
    push CS32
    push offset compat
    retfq
    .code32
compat:
    mov eax, 0x11223344
    .byte 0x48 /* dec eax here, REX there */
    mov ebx, eax
    CHECK32("compatibility mode: 48h is dec eax", ebx, 0x11223343)
    mov eax, offset r_seg + 4
    mov ecx, [eax - 4]
    CHECK32("32-bit addresses wrap and work", ecx, 0x12345678)
    xor eax, eax
    mov ecx, [eax + r_seg]
    mov edx, 0xfffffff0
    mov ebx, [edx + r_seg + 0x10]
    CHECK32("addresses wrap at 4 GiB", ebx, 0x12345678)
    mov ax, GDT_SPARE
    mov es, ax
    mov eax, es:[0x200000 - 0x123456]
    CHECK32("segment bases count again", eax, 0xabcdef01)
    mov ax, DS32
    mov es, ax
    mov dword ptr [trap_resume], offset 1f
    mov [trap_resume_rsp], esp
    ud2
    .code64
1:  push CS32
    push offset 1f
    retfq
    .code32
1:  EXPECT32("a fault goes through the 64-bit idt", UD)
    mov eax, [trap_cs]
    CHECK32("and saves the compatibility cs", eax, CS32)
    mov ecx, cr0
    and ecx, ~CR0_PG
    mov cr0, ecx /* out of long mode */
    jmp 1f
1:  mov ecx, MSR_EFER
    rdmsr
    and eax, EFER_LMA
    CHECK32("lma is gone with paging", eax, 0)
    lidt [idt_ptr32]
    TRY32(ud2)
    EXPECT32("32-bit faults again", UD)
    FINISH32

    .code16
real_int:
    mov [r_int_sp], sp
    push bp
    mov bp, sp
    push ax
    mov ax, [bp + 6]
    mov [r_int_flags], ax
    pop ax
    pop bp
    iret
/* Notes IP and goes on at r_resume. */
real_fault:
    push bp
    mov bp, sp
    push ax
    mov ax, [bp + 2]
    mov [r_fault_ip], ax
    mov ax, [r_resume]
    mov [bp + 2], ax
    pop ax
    pop bp
    iret
real_far:
    retf

    .section .data
    .balign 8
saved_esp: .long 0
r_cr0: .long 0
r_seg: .long 0
r_unreal: .long 0
r_unreal2: .long 0
r_pm16: .long 0
r_cs: .word 0
r_int_sp: .word 0
r_int_flags: .word 0
r_after_int: .word 0
r_fault_ip: .word 0
r_resume: .word 0
r_fault_want: .word 0
r_div_ip: .word 0
r_sldt: .word 0
r_limit: .word 0
r_push: .word 0
r_far_sp: .word 0
r_pop_wrap: .word 0
r_pm16_cs: .word 0
r_pm16_sp: .word 0
