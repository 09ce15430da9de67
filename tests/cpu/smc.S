/* SPDX-License-Identifier: GPL-2.0-or-later
 * Self-modifying code (SDM 3A 9.1.3, 12.6): a store is seen by the very next instruction if it
 * goes through the same linear address, and after a jump or a serializing instruction otherwise.
 * The code is assembled here and run from RAM frames.
 */
#include "lib.inc"

#define CODE 0x50000

/* Copies the code between two labels to CODE + offset. */
#define PLACE(from, to, at)                                                                    \
    mov esi, offset from;                                                                      \
    mov edi, CODE + at;                                                                        \
    mov ecx, offset to;                                                                        \
    sub ecx, esi;                                                                              \
    rep movsb

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    mov ebx, CODE

    /* ---- a store to a later instruction of the same block ---- */
    PLACE(ahead, ahead_end, 0)
    mov ebp, 2
1:  call rbx
    CHECK("store to the next instruction", rax, 0x77)
    mov byte ptr [CODE + ahead_imm - ahead], 0x11 /* back to what it was */
    dec ebp
    jnz 1b

    /* many runs first, so that the block is hot, then a patch from outside */
    PLACE(hot, hot_end, 0)
    mov ebp, 1000
1:  call rbx
    dec ebp
    jnz 1b
    CHECK("hot function", rax, 1)
    mov dword ptr [CODE + 1], 2
    call rbx
    CHECK("patched between two calls", rax, 2)
    lock inc dword ptr [CODE + 1]
    call rbx
    CHECK("patched by a locked instruction", rax, 3)
    mov edi, CODE + 1
    mov eax, 4
    stosd
    call rbx
    CHECK("patched by stosd", rax, 4)
    mov edi, CODE + 1
    mov eax, 5
    mov ecx, 1
    rep stosd
    call rbx
    CHECK("patched by rep stosd", rax, 5)
    mov [scratch], dword ptr 6
    mov esi, offset scratch
    mov edi, CODE + 1
    mov ecx, 4
    rep movsb
    call rbx
    CHECK("patched by rep movsb", rax, 6)
    mov rax, rsp
    mov esp, CODE + 9
    push 7 /* writes CODE + 1 .. 8 */
    mov rsp, rax
    mov byte ptr [CODE + 5], 0xc3
    call rbx
    CHECK("patched by push", rax, 7)
    mov rdx, cr0
    mov rcx, rdx
    and ecx, ~(CR0_EM | CR0_TS)
    mov cr0, rcx
    mov rcx, cr4
    or ecx, CR4_OSFXSR
    mov cr4, rcx
    mov eax, 8
    movd xmm0, eax
    movss [CODE + 1], xmm0
    call rbx
    CHECK("patched by an sse store", rax, 8)
    fninit
    mov dword ptr [scratch], 9
    fild dword ptr [scratch]
    fistp dword ptr [CODE + 1]
    call rbx
    CHECK("patched by an x87 store", rax, 9)

    /* ---- a loop that patches itself each time round ---- */
    PLACE(counter, counter_end, 0)
    xor eax, eax
    call rbx
    CHECK("loop that counts in its own immediate", rax, 100)

    /* ---- a loop that overwrites its own end ---- */
    PLACE(overwrite, overwrite_end, 0)
    call rbx
    CHECK("string store over the code that follows it", rax, 0x1234)

    /* ---- an instruction across two pages ---- */
    mov edi, CODE
    mov ecx, 0x1000
    mov al, 0x90
    rep stosb
    PLACE(hot, hot_end, 0xffd) /* b8 imm32 c3: two bytes of the immediate on the next page */
    mov ebx, CODE + 0xff0
    call rbx
    CHECK("instruction across pages", rax, 1)
    mov byte ptr [CODE + 0x1001], 0x55
    call rbx
    CHECK("its second page patched", rax, 0x55000001)
    mov byte ptr [CODE + 0xffe], 2
    call rbx
    CHECK("its first page patched", rax, 0x55000002)
    mov word ptr [CODE + 0xfff], 0x4433
    call rbx
    CHECK("patched across the pages", rax, 0x55443302)

    /* ---- another page under the same address ---- */
    mov ebx, TEST_VA
    mov qword ptr [test_pt], FRAME0 + (P | W)
    mov qword ptr [test_pt + 8], FRAME1 + (P | W)
    mov esi, offset hot
    mov edi, FRAME0
    mov ecx, 6
    rep movsb
    mov esi, offset hot
    mov edi, FRAME1
    mov ecx, 6
    rep movsb
    mov byte ptr [FRAME1 + 1], 9
    mov ebp, 100
1:  call rbx
    dec ebp
    jnz 1b
    CHECK("mapped code", rax, 1)
    mov byte ptr [FRAME0 + 1], 3
    call rbx
    CHECK("patched through another mapping", rax, 3)
    mov qword ptr [test_pt], FRAME1 + (P | W)
    invlpg [rbx]
    call rbx
    CHECK("another page mapped there", rax, 9)
    lea rcx, [rbx + 0x1000]
    call rcx
    CHECK("the same page at a second address", rax, 9)
    mov byte ptr [FRAME1 + 1], 10
    call rbx
    CHECK("patched: first address", rax, 10)
    call rcx
    CHECK("patched: second address", rax, 10)

    /* ---- data beside code ---- */
    mov ebx, CODE
    mov edi, CODE
    mov ecx, 0x200
    mov al, 0x90
    rep stosb
    PLACE(beside, beside_end, 0)
    mov ecx, 10000
    call rbx
    CHECK("counter in the code's own cache line", [CODE + beside_data - beside], 10000)

    PLACE(flagged, flagged_end, 0)
    mov qword ptr [CODE + 0x400], 0
    mov qword ptr [CODE + 0x408], 1
    mov ebp, 100
1:  call rbx
    dec ebp
    jnz 1b
    CHECK("flags after stores beside code", rax, 0x894)
    CHECK("stored beside code", [CODE + 0x400], 0x80000000)
    CHECK("stored beside code by a locked instruction", [CODE + 0x408], 101)
    CHECK("pushed beside code", [CODE + 0x4f8], 0x1234)

    /* ---- stores that begin or end in code ---- */
    PLACE(hot, hot_end, 0x440)
    PLACE(hot, hot_end, 0x4ba)
    mov ebp, 100
1:  mov ecx, CODE + 0x440
    call rcx
    mov ecx, CODE + 0x4ba
    call rcx
    mov dword ptr [CODE + 0x43c], ebp
    mov dword ptr [CODE + 0x4c0], ebp
    dec ebp
    jnz 1b
    mov rax, 0x000022b800000000
    mov [CODE + 0x43c], rax
    mov ecx, CODE + 0x440
    call rcx
    CHECK("stored from data on into code", rax, 0x22)
    mov rax, 0x55555c300000033
    mov [CODE + 0x4bb], rax
    mov ecx, CODE + 0x4ba
    call rcx
    CHECK("stored from code on into data", rax, 0x33)
    mov ecx, CODE + 0x440
    call rcx
    CHECK("code in another granule stays", rax, 0x22)

    /* ---- a fault in patched code has the right address ---- */
    PLACE(hot, hot_end, 0)
    call rbx
    mov word ptr [CODE + 5], 0x0b0f /* ud2 for ret */
    TRY(call rbx)
    EXPECT("patched to ud2", UD)
    CHECK("at the right place", [trap_ip], CODE + 5)
    FINISH

/* Code to be copied. Position independent. */
ahead:
    mov byte ptr [rip + ahead_imm], 0x77
    .byte 0xb8 /* mov eax, imm32 */
ahead_imm:
    .long 0x11
    ret
ahead_end:

hot:
    .byte 0xb8
    .long 1
    ret
hot_end:

counter:
1:  inc dword ptr [rip + 2f]
    .byte 0xb8
2:  .long 0
    cmp eax, 100
    jb 1b
    ret
counter_end:

overwrite:
    lea rdi, [rip + 1f]
    mov rax, 0x90c300001234b890 /* nop; mov eax, 1234h; ret; nop */
    mov ecx, 2
    rep stosq
1:  .fill 16, 1, 0xcc
    ret
overwrite_end:

beside:
    mov dword ptr [rip + beside_data], 0
    mov dword ptr [rip + beside_data + 4], 0
1:  inc dword ptr [rip + beside_data]
    dec ecx
    jnz 1b
    ret
    .balign 8
beside_data:
    .quad 0
beside_end:

flagged:
    lea rdi, [rip + flagged + 0x400]
    mov rsi, rsp
    lea rsp, [rdi + 0x100]
    push 0x1234
    mov rsp, rsi
    lock inc dword ptr [rdi + 8]
    mov dword ptr [rdi], 0x7fffffff
    add dword ptr [rdi], 1
    mov byte ptr [rdi + 16], 5
    mov [rdi + 24], rsi
    pushfq
    pop rax
    and eax, 0x8d5 /* of sf zf af pf cf */
    ret
flagged_end:

    .section .bss
    .balign 16
scratch: .skip 16
