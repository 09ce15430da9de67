/* SPDX-License-Identifier: GPL-2.0-or-later
 * A guest that runs random bytes, for ever, at privilege level 0 or, in virtual 8086 mode and those
 * called user, at level 3: wild.py builds it with a mode and a seed. Everything it needs to go on lies in the ROM, where the bytes cannot spoil it: GDT, IDT,
 * page tables, TSS, code. Every vector leads back here and to the next bytes; so does a reset. The
 * PIT sends NMIs, which end loops and HLTs with interrupts off.
 *
 * In RAM: the random bytes at 10000h, the state of the random numbers at 500h, registers at 400h.
 *
 * Each round says '.' on the debug port, each reset '!'.
 */
#include "../cpu/boot.inc"

#define REAL 0
#define PM16 1
#define V86 2
#define PM32 3
#define PAGED32 4
#define PAE32 5
#define USER32 6
#define COMPAT 7
#define LONG 8
#define USER64 9

#define CS16 0x20
#define DS16 0x28
#define TSS 0x30
#define UCS32 0x43
#define UDS 0x4b
#define UCS64 0x53
#define STATE 0x500
#define AREA 0x10000
#define AREA_BYTES 0x10000
#define BLOCK 512
#define ROM 0xf0000

/* All but ESP. */
.macro LOAD_REGISTERS
    mov eax, [0x400]
    mov ecx, [0x408]
    mov edx, [0x410]
    mov ebx, [0x418]
    mov ebp, [0x428]
    mov esi, [0x430]
    mov edi, [0x438]
.endm

    .section .text
/* ---- page tables: all present, writable, user, accessed, dirty; nothing to be written ---- */
    .org 0
pml4:
    .quad pdpt + 0x27
    .fill 511, 8, 0
pdpt:
    .quad pd + 0x27, pd + 0x27, pd + 0x27, pd_high + 0x27
    .fill 508, 8, 0
pd:
    .set at, 0
    .rept 512
    .quad at + 0xe7
    .set at, at + 0x200000
    .endr
pd_high:
    .set at, 0xc0000000
    .rept 512
    .quad at + 0xe7
    .set at, at + 0x200000
    .endr
pae_pdpt:
    .quad pd + 1, pd + 1, pd + 1, pd_high + 1
    .balign 4096
pd32:
    .set at, 0
    .rept 1024
    .long at + 0xe7
    .set at, at + 0x400000
    .endr

/* ---- descriptors, accessed ---- */
    .balign 16
gdt:
    FLAT_DESCRIPTORS
    .quad 0x00009b010000ffff /* CS16: base 10000 */
    .quad 0x000093010000ffff /* DS16 */
    .word 0x67, tss - ROM    /* TSS */
    .byte 0xf, 0x89, 0, 0
#if MODE >= COMPAT
    .quad 0 /* the TSS's upper half */
#else
    .quad 0x00009b0f0000ffff /* 38h: the 16-bit code of this ROM */
#endif
    .quad 0x00cffb000000ffff /* UCS32 */
    .quad 0x00cff3000000ffff /* UDS */
    .quad 0x00affb000000ffff /* UCS64 */
gdt_end:
gdt_ptr:
    .word gdt_end - gdt - 1
    .long gdt
    .long 0
    .balign 16
tss:
#if MODE < COMPAT /* ESP0, SS0 */
    .long 0, 0x8000, DS32
    .fill 0x58, 1, 0
    .word 0, 0x68
#else /* RSP0-2, IST1-7 */
    .long 0
    .quad 0x8000, 0x8000, 0x8000, 0
    .rept 7
    .quad 0x8000
    .endr
    .quad 0
    .word 0, 0x68
#endif

    .balign 16
idt:
    .rept 256
#if MODE == REAL
    .word back - ROM, 0xf000
#elif MODE >= COMPAT
    .word back - ROM, CS64
    .byte 1, 0x8e
    .word 0xf
    .quad 0
#else
    .word back - ROM, CS32
    .byte 0, 0x8e
    .word 0xf
#endif
    .endr
idt_end:
idt_ptr:
    .word idt_end - idt - 1
    .long idt
    .long 0

/* While the next bytes are made, in 32-bit code. */
    .balign 16
own_idt:
    .rept 256
    .word next - ROM, CS32
    .byte 0, 0x8e
    .word 0xf
    .endr
own_idt_ptr:
    .word own_idt_ptr - own_idt - 1
    .long own_idt

/* ---- from reset ---- */
    .code16
start:
    cli
    lgdt cs:[gdt_ptr - ROM]
    GO_TO_CS32 1f
    .code32
1:  mov eax, DS32
    mov ds, eax
    mov al, '!'
    out 0xe9, al
    /* The state that random bytes left goes on, mixed with the seed. */
    mov eax, [STATE]
    xor eax, SEED
    jnz 1f
    mov eax, SEED | 1
1:  mov [STATE], eax
    /* Watchdog: PIT channel 0 through LINT0, as NMI. */
    mov eax, DS32
    mov ss, eax
    mov esp, 0x7000
    lidt [own_idt_ptr]
    mov al, 0x34
    out 0x43, al
    mov al, 0xff
    out 0x40, al
    mov al, 0x0f /* 3 ms */
    out 0x40, al
    mov dword ptr [0xfee000f0], 0x1ff
    mov dword ptr [0xfee00350], 0x400
    jmp next

/* ---- every vector ---- */
#if MODE == REAL
    .code16
back:
    cli
    lgdt cs:[gdt_ptr - ROM]
    mov eax, 1
    mov cr0, eax
    .byte 0x66, 0xea
    .long next
    .word CS32
#elif MODE >= COMPAT
    .code64
back:
    mov eax, DS32
    mov ss, eax
    mov esp, 0x7000
    push CS32
    lea rax, [rip + 1f]
    push rax
    rex.w retf
    .code32
1:  mov eax, DS32
    mov ds, eax
    mov eax, 1
    mov cr0, eax /* paging off */
    mov ecx, 0xc0000080
    xor eax, eax
    xor edx, edx
    wrmsr
    jmp next
#else
    .code32
back:
    jmp next
#endif

    .code32
next:
    cli
    cld
    mov eax, DS32
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, 0x31 /* PE, ET, NE */
    mov cr0, eax
    xor eax, eax
    mov dr7, eax
    mov esp, 0x7000
    lgdt [gdt_ptr]
    lidt [own_idt_ptr]
    mov eax, 0x40610 /* PSE, OSFXSR, OSXMMEXCPT, OSXSAVE */
    mov cr4, eax
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    fninit
    push 2
    popfd
    pushfd /* NMIs are taken again after an IRET */
    push CS32
    push offset 1f
    iretd
1:  mov al, '.'
    out 0xe9, al

    /* A block of bytes; every other one of them from a list of what is more fun. */
    mov ebp, [STATE]
    call random
    and eax, (AREA_BYTES - BLOCK) & ~15
    mov esi, eax
    lea edi, [eax + AREA]
    mov ecx, BLOCK / 4
1:  call random
    mov edx, eax
    call random
    test al, 1
    jz 2f
    shr eax, 8
    and eax, 63
    mov dl, [nasty + eax]
    test ah, 1
    jz 2f
    call random
    and eax, 63
    mov dh, [nasty + eax]
2:  mov eax, edx
    stosd
    dec ecx
    jnz 1b

    /* Registers: half of them point into the area. */
    mov edi, 0x400
    mov ecx, 16
1:  call random
    test eax, 0x10000
    jz 2f
    and eax, AREA_BYTES - 1
#if MODE >= PM32
    add eax, AREA
#endif
2:  mov [edi], eax
    mov dword ptr [edi + 4], 0
    add edi, 8
    dec ecx
    jnz 1b
    mov [STATE], ebp

    /* An NMI from here to where these vectors are right, a few instructions, means a reset. */
    lidt [idt_ptr]
#if MODE == REAL
    mov [0x4f0], si
    mov word ptr [0x4f2], AREA >> 4
    .byte 0xea
    .long 1f - ROM
    .word 0x38 /* 16-bit code at ROM */
    .code16
1:  xor eax, eax
    mov cr0, eax
    .byte 0xea
    .word 2f - ROM, 0xf000
2:  mov ax, AREA >> 4
    mov ss, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    xor ax, ax
    mov ds, ax
    mov esp, [0x420]
    movzx esp, sp
    LOAD_REGISTERS
    ljmp [0x4f0]
#elif MODE == PM16
    mov [0x4f0], esi
    mov word ptr [0x4f4], CS16
    mov eax, DS16
    mov ss, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    movzx esp, word ptr [0x420]
    LOAD_REGISTERS
    ljmp [0x4f0]
#else
#if MODE >= COMPAT
    mov eax, 0x40630 /* and PAE */
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080
    mov eax, 0x901
    xor edx, edx
    wrmsr
    mov eax, 0x80000031
    mov cr0, eax
    mov eax, TSS
    ltr ax
#elif MODE == PAE32
    mov eax, 0x40630
    mov cr4, eax
    mov eax, offset pae_pdpt
    mov cr3, eax
    mov eax, 0x80000031
    mov cr0, eax
#elif MODE == PAGED32 || MODE == USER32
    mov eax, offset pd32
    mov cr3, eax
    mov eax, 0x80000031
    mov cr0, eax
#endif
#if MODE == USER32 || MODE == V86
    mov eax, TSS
    ltr ax
#endif
    lea eax, [esi + AREA]
    mov [0x4f0], eax
#if MODE == LONG || MODE == USER64
    .byte 0xea
    .long 1f
    .word CS64
    .code64
1:
#if MODE == LONG
    mov esp, [0x420]
#else
    mov eax, UDS
    mov ds, eax
    mov es, eax
    mov ecx, [0x440]
    and ecx, 0x3000 /* IOPL */
    push rax
    push [0x420]
    push rcx
    push UCS64
    push [0x4f0]
#endif
    mov rax, [0x400]
    mov rcx, [0x408]
    mov rdx, [0x410]
    mov rbx, [0x418]
    mov rbp, [0x428]
    mov rsi, [0x430]
    mov rdi, [0x438]
    mov r8, [0x440]
    mov r9, [0x448]
    mov r10, [0x450]
    mov r11, [0x458]
    mov r12, [0x460]
    mov r13, [0x468]
    mov r14, [0x470]
    mov r15, [0x478]
#if MODE == LONG
    jmp [0x4f0]
#else
    iretq
#endif
#elif MODE == V86
    mov ecx, [0x440]
    and ecx, 0x3000
    or ecx, 0x20000
    push AREA >> 4 /* GS, FS */
    push AREA >> 4
    push 0 /* DS, ES */
    push AREA >> 4
    push AREA >> 4 /* SS, ESP */
    push [0x420]
    push ecx
    push AREA >> 4
    push esi
    LOAD_REGISTERS
    iretd
#elif MODE == USER32
    mov eax, UDS
    mov ds, eax
    mov es, eax
    mov ecx, [0x440]
    and ecx, 0x3000
    push eax
    push [0x420]
    push ecx
    push UCS32
    push [0x4f0]
    LOAD_REGISTERS
    iretd
#else
    mov esp, [0x420]
    LOAD_REGISTERS
    jmp [0x4f0]
#endif
#endif

    .code32
random: /* xorshift32 of ebp; gives eax, mixed */
    mov eax, ebp
    shl eax, 13
    xor ebp, eax
    mov eax, ebp
    shr eax, 17
    xor ebp, eax
    mov eax, ebp
    shl eax, 5
    xor ebp, eax
    imul eax, ebp, 0x9e3779b1
    rol eax, 13
    ret

nasty: /* prefixes, two-byte opcodes, system instructions, strings, far and near transfers */
    .byte 0x0f, 0x0f, 0x0f, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64, 0x65, 0x48, 0x4c, 0x41, 0x4f
    .byte 0xc4, 0xc5, 0x62, 0x8f, 0xd8, 0xdb, 0xdd, 0xdf, 0x9b, 0xae, 0xa4, 0xa5, 0xab, 0x6c, 0x6f, 0xaf
    .byte 0xe8, 0xe9, 0xeb, 0xea, 0x9a, 0xff, 0xc3, 0xcb, 0xcf, 0xcd, 0xcc, 0xce, 0x70, 0x75, 0xe2, 0xe3
    .byte 0x00, 0x01, 0x20, 0x22, 0x8e, 0xc7, 0xc8, 0xc9, 0x9c, 0x9d, 0x60, 0x61, 0xfb, 0xf4, 0xe4, 0xe6

    .org 0xfff0
    .code16
    .byte 0xea
    .word start - ROM, 0xf000
    .org 0x10000
