/* SPDX-License-Identifier: GPL-2.0-or-later
 * Stacks, near branches and loops of 16-bit code and of 32-bit code in segments that are not flat (SDM 1
 * 6.2, 2A JMP, CALL, LOOP, 2B PUSH, POP, RET): sizes, what SP and IP wrap at, limits and bases. The same
 * programs run in virtual-8086 mode and in 16-bit segments with a 16- and a 32-bit stack, in rounds enough to
 * be translated; each fault comes after rounds in which the same instruction does not fault. Programs
 * lie at F000:xxxx or in a segment with base F0000h; their stack's base is 20000h.
 * qemu: skip (TCG lets stacks and branches go beyond limits)
 */
#include "lib.inc"

#define C16 0x63    /* GDT_SPARE: 16-bit code, base F0000h */
#define S16 0x6b    /* stack, 16 bits, base 20000h */
#define S32 0x73    /* stack, 32 bits, base 20000h, limit FFFFh */
#define SHORT16 0x7b /* as C16, up to short_end */
#define C32 0x83    /* 32-bit code, base F0000h */
#define SHORT32 0x8b /* as C32, up to short_end */
#define DOWN16 0x93 /* stack, 16 bits, expand-down: from 1000h on */
#define IOPL3 0x3000
#define ROUNDS 24

/* Runs fn in ring 3, or in V86 mode, until it traps. */
#define RUN(fn, cs, ss, esp)                                                                   \
    TRY32(push ss; push esp; push 2; push cs; push offset fn - 0xf0000; iretd)
#define V86(fn, cs, esp)                                                                       \
    TRY32(push 0; push 0; push 0; push 0; push 0x2000; push esp; push FL_VM + 2 + IOPL3;       \
          push cs; push fn; iretd)

#define DESC(n, low, high)                                                                     \
    mov dword ptr [gdt_spare + n * 8], low;                                                    \
    mov dword ptr [gdt_spare + n * 8 + 4], high

/* Ends the program with EBX = n unless they are equal. */
.macro want n, got, val
    cmp \got, \val
    je 771f
    mov ebx, \n
    jmp 779f
771:
.endm

/* An instruction at label bad_NAME that faults in the last round, when `last` has run. */
.macro rounds name, last, insn:vararg
fault_\name:
    xor ebx, ebx
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    mov ebp, 0x1000
    mov eax, offset back_\name - 0xf0000
    dec ecx
    jnz bad_\name
    \last
bad_\name:
    \insn
back_\name:
    inc ebx
    jmp 1b
.endm

#define FAULTS(name, vec)                                                                      \
    EXPECT32(#name, vec, 0);                                                                   \
    CHECK32("at its own instruction", [trap_ip], offset bad_##name - 0xf0000);                 \
    CHECK32("after the other rounds", ecx, 0)

    .text
    .code32
    .global main32
main32:
    mov dword ptr [tss32 + 4], offset ring0_stack_top
    mov dword ptr [tss32 + 8], DS32
    mov word ptr [tss32 + 0x66], 0x68
    mov eax, TSS32
    ltr ax
    mov byte ptr [idt32 + 8 * 0x20 + 5], 0xee
    DESC(0, 0x0000ffff, 0x0000fb0f)
    DESC(1, 0x0000ffff, 0x0000f302)
    DESC(2, 0x0000ffff, 0x0040f302)
    DESC(3, offset short_end - 0xf0000, 0x0000fb0f)
    DESC(4, 0x0000ffff, 0x0040fb0f)
    DESC(5, offset short_end - 0xf0000, 0x0040fb0f)
    DESC(6, 0x00000fff, 0x0000f702)

    /* ---- what works ---- */
    V86(offset body16 - 0xf0000, 0xf000, 0x1000)
    EXPECT32("virtual-8086 mode: ends", 0x20)
    CHECK32("no step failed", ebx, 0)
    RUN(body16, C16, S16, 0x1000)
    EXPECT32("16-bit code and stack: ends", 0x20)
    CHECK32("no step failed", ebx, 0)
    RUN(body16_32, C16, S32, 0x1000)
    EXPECT32("16-bit code on a 32-bit stack: ends", 0x20)
    CHECK32("no step failed", ebx, 0)
    RUN(body16, C16, DOWN16, 0x2000)
    EXPECT32("16-bit code on an expand-down stack: ends", 0x20)
    CHECK32("no step failed", ebx, 0)
    RUN(body32, C32, S32, 0x1000)
    EXPECT32("32-bit code in segments: ends", 0x20)
    CHECK32("no step failed", ebx, 0)
    RUN(body32, C32, S16, 0x1000)
    EXPECT32("32-bit code on a 16-bit stack: ends", 0x20)
    CHECK32("no step failed", ebx, 0)
    call real_mode
    CHECK32("real mode: no step failed", [real_step], 0)
    V86(offset wraps - 0xf0000, 0xf000, 0x1000)
    EXPECT32("sp wraps: ends", 0x20)
    CHECK32("no step failed", ebx, 0)
    RUN(wraps, C16, S16, 0x1000)
    EXPECT32("sp wraps in protected mode: ends", 0x20)
    CHECK32("no step failed", ebx, 0)

    /* ---- what IP wraps at: the same bytes at two bases ---- */
    mov dword ptr [0x30810], 0x9066deeb /* 30810: jmp -20h */
    mov dword ptr [0x307f0], 0x20cd01b3 /* mov bl, 1; int 20h */
    mov dword ptr [0x407f0], 0x20cd02b3
    mov dword ptr [0x30890], 0xe8       /* 30890: call -1000h */
    mov word ptr [0x30891], -0x1003
    mov dword ptr [0x2f890], 0x20cd03b3
    mov dword ptr [0x3f890], 0x20cd04b3
    mov dword ptr [saved_count], ROUNDS
    mov dword ptr [saved_bad], 0
1:  V86(0x10, 0x3080, 0x1000)
    cmp bl, 2
    setne al
    movzx eax, al
    add [saved_bad], eax
    V86(0x810, 0x3000, 0x1000)
    cmp bl, 1
    setne al
    movzx eax, al
    add [saved_bad], eax
    V86(0x890, 0x3000, 0x1000)
    cmp bl, 4
    setne al
    movzx eax, al
    add [saved_bad], eax
    V86(0x1890, 0x2f00, 0x1000)
    cmp bl, 3
    setne al
    movzx eax, al
    add [saved_bad], eax
    dec dword ptr [saved_count]
    jnz 1b
    CHECK32("ip wraps at 64 KiB, wherever that is", [saved_bad], 0)

    /* ---- stacks' limits ---- */
    V86(offset fault_push - 0xf0000, 0xf000, 0x1000)
    FAULTS(push, SS_)
    CHECK32("sp is as it was", [trap_sp], 1)
    RUN(fault_push, C16, S16, 0x1000)
    FAULTS(push, SS_)
    RUN(fault_push4, C16, S16, 0x1000)
    FAULTS(push4, SS_)
    CHECK32("sp is as it was", [trap_sp], 2)
    RUN(fault_pop, C16, S16, 0x1000)
    FAULTS(pop, SS_)
    CHECK32("sp is as it was", [trap_sp], 0xffff)
    RUN(fault_pop, C16, S32, 0x1000)
    FAULTS(pop, SS_)
    V86(offset fault_call - 0xf0000, 0xf000, 0x1000)
    FAULTS(call, SS_)
    CHECK32("sp is as it was", [trap_sp], 1)
    RUN(fault_ret, C16, S16, 0x1000)
    FAULTS(ret, SS_)
    CHECK32("sp is as it was", [trap_sp], 0xffff)
    RUN(fault_leave, C16, S16, 0x1000)
    FAULTS(leave, SS_)
    CHECK32("bp is as it was", ebp, 0xffff)
    RUN(fault_down, C16, DOWN16, 0x2000)
    FAULTS(down, SS_)
    CHECK32("sp is as it was", [trap_sp], 0x1001)
    RUN(fault32_push, C32, S32, 0x1000)
    FAULTS(push32, SS_)
    CHECK32("esp is as it was", [trap_sp], 0x20000)
    RUN(fault32_call, C32, S32, 0x1000)
    FAULTS(call32, SS_)

    /* ---- code's limits ---- */
    RUN(fault_jmp_far, SHORT16, S16, 0x1000)
    FAULTS(jmp_far, GP)
    CHECK32("a branch not taken is none", ebx, ROUNDS - 1)
    RUN(fault_jmp_reg, SHORT16, S16, 0x1000)
    FAULTS(jmp_reg, GP)
    RUN(fault_call_reg, SHORT16, S16, 0x1000)
    FAULTS(call_reg, GP)
    CHECK32("nothing is pushed", [trap_sp], 0x1000)
    RUN(fault_ret_far, SHORT16, S16, 0x1000)
    FAULTS(ret_far, GP)
    CHECK32("nothing is popped", [trap_sp], 0x0ffe)
    V86(offset fault_jmp_wide - 0xf0000, 0xf000, 0x1000)
    FAULTS(jmp_wide, GP)
    RUN(fault_ret_wide, C16, S16, 0x1000)
    FAULTS(ret_wide, GP)
    CHECK32("nothing is popped", [trap_sp], 0x0ffc)
    RUN(fault_call_far, SHORT16, S16, 0x1000)
    FAULTS(call_far, GP)
    CHECK32("nothing is pushed", [trap_sp], 0x1000)
    RUN(fault_loop_far, SHORT16, S16, 0x1000)
    EXPECT32("loop to beyond the limit", GP, 0)
    CHECK32("at its own instruction", [trap_ip], offset bad_loop_far - 0xf0000)
    RUN(fault32_jmp, SHORT32, S32, 0x1000)
    FAULTS(jmp32, GP)
    RUN(fault32_ret, SHORT32, S32, 0x1000)
    FAULTS(ret32, GP)
    CHECK32("nothing is popped", [trap_sp], 0x0ffc)
    FINISH32

/* body16 in real mode; the step that failed to real_step. */
real_mode:
    mov [saved_esp], esp
    lidt [idt_ptr16]
    mov word ptr [0x20 * 4], offset real_end - 0xf0000
    mov word ptr [0x20 * 4 + 2], 0xf000
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
    .byte 0xea
    .word 1f - 0xf0000, 0xf000
1:  mov ax, 0x2000
    mov ss, ax
    mov esp, 0x1000
    xor ax, ax
    mov ds, ax
    mov es, ax
    jmp body16
real_end:
    xor ax, ax
    mov ds, ax
    mov [real_step], ebx
    lgdt [gdt_ptr32]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea
    .long 1f
    .word CS32
    .code32
1:  mov ax, DS32
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, [saved_esp]
    lidt [idt_ptr32]
    ret

/* ---- programs: 16 bits ---- */

    .code16
/* high: above SP, where a 16-bit stack pointer leaves them alone. */
.macro body high
    mov ax, ss
    mov ds, ax
    mov es, ax
    mov dword ptr [0x3000], ROUNDS
1:  mov esp, \high + 0x2000
    mov ebp, \high + 0x2000
    /* pushes and pops of both sizes */
    mov eax, 0x11223344
    mov dword ptr [0x1fe8], 0x77777777
    push eax
    push ax
    .byte 0x68 /* push imm16 */
    .word 0x1234
    push -2
    .byte 0x66, 0x6a, 0xfd /* push dword -3 */
    .byte 0x66, 0x68 /* push imm32 */
    .long 0x12345678
    push ss
    .byte 0x66, 0x16 /* push ss: two bytes of four */
    push word ptr [0x1ffc]
    push dword ptr [bp - 4]
    want 1, esp, (\high + 0x1fe2)
    want 2, "dword ptr [0x1ffc]", 0x11223344
    want 3, "dword ptr [0x1ff8]", 0x33441234
    want 3, "word ptr [0x1ffa]", 0x3344
    want 4, "dword ptr [0x1ff4]", 0xfffeffff
    want 5, "word ptr [0x1fea]", 0x7777
    mov esi, 0xaaaabbbb
    pop edi
    want 6, edi, 0x11223344
    pop si
    want 7, esi, 0xaaaa3344
    pop cx
    mov dx, ss
    want 8, cx, dx
    pop cx
    pop cx
    want 9, cx, dx
    pop edi
    want 10, edi, 0x12345678
    pop edi
    want 11, edi, -3
    pop si
    want 12, esi, 0xaaaafffe
    pop si
    want 13, si, 0x1234
    pop si
    pop edi
    want 14, edi, 0x11223344
    want 15, esp, (\high + 0x2000)
    /* the stack pointer itself */
    push sp
    pop ax
    want 16, ax, 0x2000
    push esp
    want 17, "word ptr [0x1ffc]", 0x2000
    pop esp
    want 18, esp, (\high + 0x2000)
    push 0x1f00
    pop sp
    want 19, esp, (\high + 0x1f00)
    mov esp, \high + 0x2000
    /* frames */
    mov ebp, \high + 0x8888
    push bp
    mov bp, sp
    sub sp, 0x20
    mov dword ptr [bp - 4], 5
    leave
    want 20, ebp, (\high + 0x8888)
    want 21, esp, (\high + 0x2000)
    push ebp
    mov ebp, esp
    sub esp, 0x40
    .byte 0x66, 0xc9 /* leave */
    want 22, ebp, (\high + 0x8888)
    want 23, esp, (\high + 0x2000)
    /* calls */
    mov edi, 0
    call 20f
10: want 24, di, "offset 10b - 0xf0000"
    want 25, esp, (\high + 0x2000)
    .byte 0x66, 0xe8 /* call, 32 bits */
    .long 21f - 11f
11: want 26, edi, "offset 11b - 0xf0000"
    want 27, esp, (\high + 0x2000)
    push 0
    push 0
    call 22f
12: want 28, esp, (\high + 0x2000)
    want 29, di, "offset 12b - 0xf0000"
    mov eax, offset 20f - 0xf0000
    or eax, 0xffff0000
    call ax
13: want 30, di, "offset 13b - 0xf0000"
    mov word ptr [0x3010], offset 20f - 0xf0000
    call word ptr [0x3010]
14: want 31, di, "offset 14b - 0xf0000"
    mov eax, offset 21f - 0xf0000
    call eax
15: want 32, edi, "offset 15b - 0xf0000"
    mov ax, offset 16f - 0xf0000
    jmp ax
    want 33, ax, 0
16: mov dword ptr [0x3014], offset 17f - 0xf0000
    .byte 0x66, 0xff, 0x26 /* jmp dword ptr [3014h], near */
    .word 0x3014
    want 34, ax, 0
17: jmp 18f
20: mov bp, sp
    mov di, [bp]
    ret
21: mov bp, sp
    mov edi, [bp]
    .byte 0x66, 0xc3 /* ret */
22: mov bp, sp
    mov di, [bp]
    ret 4
18: /* loops: what is above CX, and flags */
    mov ecx, 0xabcd0003
    xor eax, eax
    stc
24: inc eax
    loop 24b
    want 35, ecx, 0xabcd0000
    want 36, eax, 3
    mov ecx, 3
    stc
25: mov dx, cx
    addr32 loop 25b
    setc dl
    want 37, dl, 1
    want 38, ecx, 0
    mov ecx, 0xabcd0005
26: cmp cl, 3
    loopne 26b
    want 39, ecx, 0xabcd0002
    mov ecx, 0xabcd0005
27: cmp cl, cl
    loope 27b
    want 40, ecx, 0xabcd0000
    mov ecx, 0xabcd0005
28: cmp cl, ch
    loope 28b
    want 41, ecx, 0xabcd0004
    mov ecx, 0xabcd0000
    jcxz 29f
    want 42, ax, -1
29: addr32 jcxz 30f
    inc cx
    jcxz 30f
    jmp 31f
30: want 43, ax, -1
31: /* branches of 32 bits */
    .byte 0x66, 0xeb, 2 /* jmp */
    mov bl, 44
    or al, 1
    .byte 0x66, 0x0f, 0x85 /* jnz */
    .long 2
    mov bl, 45
    dec dword ptr [0x3000]
    jnz 1b
    xor ebx, ebx
779: int 0x20
.endm
body16:
    body 0x5a0000
body16_32:
    body 0

/* A stack whose pointer wraps. */
wraps:
    mov ax, ss
    mov ds, ax
    mov dword ptr [0x3000], ROUNDS
1:  mov esp, 0x770000
    mov eax, 0xccccdddd
    push ax
    want 1, esp, 0x77fffe
    want 2, "word ptr [0xfffe]", 0xdddd
    pop dx
    want 3, dx, 0xdddd
    want 4, esp, 0x770000
    push eax
    want 5, esp, 0x77fffc
    mov bp, 0xfffe
    mov word ptr [0xfffe], 0x1357
    leave
    want 6, esp, 0x770000
    want 7, bp, 0x1357
    call 2f
    want 8, esp, 0x770000
    push eax
    pop dx
    pop dx
    want 9, esp, 0x770000
    mov esp, 0x77fffc
    call 3f
4:  want 10, esp, 0x770002
    dec dword ptr [0x3000]
    jnz 1b
    xor ebx, ebx
779: int 0x20
2:  want 11, esp, 0x77fffe
    ret
3:  want 12, "word ptr [0xfffa]", "offset 4b - 0xf0000"
    ret 6

    rounds push, "mov sp, 1", push ax
    rounds push4, "mov sp, 2", push eax
    rounds pop, "mov sp, 0xffff", pop dx
    rounds call, "mov sp, 1", call back_call
    rounds leave, "mov ebp, 0xffff", leave
fault_ret:
    xor ebx, ebx
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    push offset 2f - 0xf0000
    dec ecx
    jnz bad_ret
    mov sp, 0xffff
bad_ret:
    ret
2:  jmp 1b
    /* grows down to 1000h; pushed at 1001h it would begin below */
fault_down:
    xor ebx, ebx
    mov ecx, ROUNDS
1:  mov esp, 0x1100
    dec ecx
    jnz bad_down
    mov esp, 0x1001
bad_down:
    push ax
    jmp 1b

/* What leads to behind the limit of SHORT16. */
    .balign 16
fault_jmp_far:
    xor ebx, ebx
    mov ecx, ROUNDS
1:  dec ecx
bad_jmp_far:
    jz beyond
    inc ebx
    jmp 1b
    rounds jmp_reg, "mov ax, offset beyond - 0xf0000", jmp ax
fault_call_reg:
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    mov eax, offset 2f - 0xf0000
    dec ecx
    jnz bad_call_reg
    mov ax, offset beyond - 0xf0000
bad_call_reg:
    call ax
2:  jmp 1b
fault_ret_far:
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    push offset 2f - 0xf0000
    dec ecx
    jnz bad_ret_far
    mov esp, 0x1000
    push offset beyond - 0xf0000
bad_ret_far:
    ret
2:  jmp 1b
fault_call_far:
    mov ecx, ROUNDS
    mov esp, 0x1000
1:  dec ecx
    jnz 1b
bad_call_far:
    call beyond
    rounds jmp_wide, "or eax, 0x10000", jmp eax
fault_ret_wide:
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    mov eax, offset 2f - 0xf0000
    dec ecx
    jnz 3f
    or eax, 0x10000
3:  push eax
bad_ret_wide:
    .byte 0x66, 0xc3
2:  jmp 1b

/* ---- programs: 32 bits ---- */

    .code32
fault32_jmp:
    mov ecx, ROUNDS
1:  mov eax, offset 1b - 0xf0000
    dec ecx
    jnz bad_jmp32
    mov eax, offset beyond - 0xf0000
bad_jmp32:
    jmp eax
fault32_ret:
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    mov eax, offset 1b - 0xf0000
    dec ecx
    jnz 2f
    mov eax, offset beyond - 0xf0000
2:  push eax
bad_ret32:
    ret
    .code16
fault_loop_far:
    mov cx, 2
bad_loop_far:
    .byte 0xe2, 0x70 /* loop: 112 bytes on */
    .code32
short_end:
    .fill 128, 1, 0xf4
beyond:
    hlt

fault32_push:
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    dec ecx
    jnz bad_push32
    mov esp, 0x20000
bad_push32:
    push eax
    jmp 1b
fault32_call:
    mov ecx, ROUNDS
1:  mov esp, 0x1000
    dec ecx
    jnz bad_call32
    mov esp, 0x10002
bad_call32:
    call 1b

body32:
    mov eax, ss
    mov ds, eax
    mov dword ptr [0x3000], ROUNDS
1:  mov esp, 0x2000
    mov ebp, 0x2000
    mov eax, 0x11223344
    push eax
    push ax
    push 0x12345678
    push ss
    push dword ptr [ebp - 4]
    want 1, esp, (0x2000 - 18)
    pop esi
    want 2, esi, 0x11223344
    pop dx
    mov ebx, ss
    want 3, dx, bx
    pop dx
    pop edi
    want 4, edi, 0x12345678
    pop di
    want 5, edi, 0x12343344
    pop edx
    want 6, edx, 0x11223344
    want 7, esp, 0x2000
    push ebp
    mov ebp, esp
    sub esp, 0x20
    leave
    want 8, ebp, 0x2000
    want 9, esp, 0x2000
    call 20f
10: want 10, edi, "offset 10b - 0xf0000"
    push 0
    call 22f
11: want 11, edi, "offset 11b - 0xf0000"
    want 12, esp, 0x2000
    mov eax, offset 20f - 0xf0000
    call eax
12: want 13, edi, "offset 12b - 0xf0000"
    mov dword ptr [0x3010], eax
    call dword ptr [0x3010]
13: want 14, edi, "offset 13b - 0xf0000"
    mov eax, offset 14f - 0xf0000
    jmp eax
20: mov edi, ss:[esp]
    ret
22: mov edi, ss:[esp]
    ret 4
14: mov ecx, 0xabcd0003
15: addr16 loop 15b
    want 15, ecx, 0xabcd0000
    mov ecx, 3
16: loop 16b
    want 16, ecx, 0
    dec dword ptr [0x3000]
    jnz 1b
    xor ebx, ebx
779: int 0x20

    .section .data
    .balign 4
saved_esp: .long 0
saved_count: .long 0
saved_bad: .long 0
real_step: .long -1
