/* SPDX-License-Identifier: GPL-2.0-or-later
 * The same few instructions at pages that lie one after the other in memory, over and over, for an
 * engine that takes them for one piece: until one of them is elsewhere, may not be written, is not
 * there, or holds code.
 */
#include "lib.inc"

#define VA TEST_VA
#define NR 8              /* pages in a row, and one behind that is not there */
#define FRAMES 0x800000
#define ELSEWHERE 0x840000
#define MAP(n, val) mov qword ptr [test_pt + 8 * (n)], val; invlpg [VA + 0x1000 * (n)]
#define BACK(n) MAP(n, FRAMES + 0x1000 * (n) + (P | W))

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    mov ecx, NR - 1
1:  mov eax, ecx
    shl eax, 12
    add eax, FRAMES + (P | W)
    mov [test_pt + 8 * rcx], rax
    dec ecx
    jns 1b
    cld
    call work
    CHECK("written and read", rax, NR * (NR - 1) / 2 * 3)
    call work
    CHECK("once more", rax, NR * (NR - 1) / 2 * 3)

    /* Across two of them. */
    mov rbx, VA + 0x3ffc
    mov rax, 0x1122334455667788
    call write_at
    mov ecx, 4
    mov rbx, VA + 0x3ffc - 4
    call read
    CHECK("across two pages", rax, qword ptr [VA + 0x3ffc])
    mov eax, [VA + 0x4000]
    CHECK("its second half", rax, 0x11223344)

    /* Another page in the middle. */
    mov dword ptr [ELSEWHERE], 0x1234
    mov dword ptr [ELSEWHERE + 4], 0
    call work
    MAP(3, ELSEWHERE + (P | W))
    mov rbx, VA + 0x3000
    call read_at
    CHECK("page 3 is elsewhere", rax, 0x1234)
    xor ecx, ecx
    call read
    CHECK("with an index", rax, 0x1234)
    mov eax, 0x777
    call write_at
    mov rax, [ELSEWHERE]
    CHECK("written there", rax, 0x777)
    mov rax, [FRAMES + 0x3000]
    CHECK("and not here", rax, 3)
    call work
    CHECK("the pages around it", rax, NR * (NR - 1) / 2 * 3)
    mov dword ptr [FRAMES + 0x2ffc], 0x5555
    mov dword ptr [ELSEWHERE], 0x6666
    mov rbx, VA + 0x2ffc
    mov ecx, 40
1:  call read_at
    dec ecx
    jnz 1b
    mov rdx, rax
    shr rdx, 32
    mov eax, eax
    CHECK("across, first half", rax, 0x5555)
    CHECK("across, second half", rdx, 0x6666)
    BACK(3)
    call work
    CHECK("page 3 is back", rax, NR * (NR - 1) / 2 * 3)

    /* Read-only. */
    mov rax, cr0
    or eax, CR0_WP
    mov cr0, rax
    MAP(3, FRAMES + 0x3000 + P)
    mov rbx, VA + 0x3008
    TRY(call write_at)
    EXPECT("write to a read-only page", PF, PF_P | PF_W)
    CHECK("its address", [trap_cr2], VA + 0x3008)
    mov rbx, VA
    mov ecx, 0x3010
    TRY(call write)
    EXPECT("with an index", PF, PF_P | PF_W)
    mov rbx, VA + 0x2ffc
    TRY(call write_at)
    EXPECT("a write that reaches into it", PF, PF_P | PF_W)
    CHECK("its address", [trap_cr2], VA + 0x3000)
    mov rbx, VA + 0x3008
    TRY(call read_at)
    EXPECT_OK("a read")
    BACK(3)
    call work

    /* Not there. */
    MAP(5, 0)
    mov rbx, VA + 0x5000
    TRY(call read_at)
    EXPECT("a page that is not there", PF, 0)
    mov rbx, VA
    mov ecx, 0x5000
    TRY(call read)
    EXPECT("with an index", PF, 0)
    mov rbx, VA + 0x4fe0
    TRY(call read3)
    EXPECT("the second of three operands", PF, 0)
    CHECK("its address", [trap_cr2], VA + 0x5000)
    BACK(5)
    call work
    CHECK("there again", rax, NR * (NR - 1) / 2 * 3)
    mov rbx, VA + 0x1000 * NR - 4
    TRY(call read_at)
    EXPECT("past the last page", PF, 0)
    CHECK("its address", [trap_cr2], VA + 0x1000 * NR)
    mov rbx, VA + 0x1000 * NR - 8
    TRY(call read_at)
    EXPECT_OK("up to its end")

    /* No address at all. */
    mov rbx, 1 << 63
    TRY(call read_at)
    EXPECT("not canonical", GP, 0)
    xor ecx, ecx
    TRY(call read)
    EXPECT("with an index", GP, 0)
    TRY(call write_at)
    EXPECT("a write", GP, 0)
    TRY(call read3)
    EXPECT("three operands", GP, 0)

    /* A page becomes code that only the span still has: reading all memory, not by spans, has put others in
     * its place of any translation cache. */
    call work
    mov rbx, VA
    mov ecx, 0x7100
    mov eax, 0xb8
    call write
    mov rax, 0xc300000000
    mov rbx, VA + 0x7101
    call write_at
    xor esi, esi
1:  mov ecx, 1
    rep lodsb
    add rsi, 0xfff
    cmp rsi, 0x1000000
    jb 1b
    mov r8d, 200
    xor r12d, r12d
    mov r13d, VA + 0x7100
2:  call r13
    mov rbx, VA
    mov ecx, 0x7101
    mov r14d, eax
    mov rax, 0xc300000000
    or rax, r8
    call write
    call r13
    sub eax, r8d
    or r12d, eax
    dec r8d
    jnz 2b
    CHECK("code in a page of which only the span knew", r12, 0)

    /* Code in one of them: B8 imm32, C3. */
    mov byte ptr [VA + 0x6100], 0xb8
    mov byte ptr [VA + 0x6105], 0xc3
    mov edi, 200
    xor esi, esi
1:  mov rbx, VA + 0x6101
    mov rax, 0xc300000000
    or rax, rdi
    call write_at
    mov rdx, VA + 0x6100
    call rdx
    sub eax, edi
    or esi, eax
    mov rbx, VA + 0x4000 /* beside it */
    mov ecx, 0x2200
    call write
    dec edi
    jnz 1b
    CHECK("code that is written over", rsi, 0)
    FINISH

/* All pages: their number is written and read in three ways. RAX: the sum of what was read. */
work:
    mov edi, 60
2:  xor esi, esi
    xor edx, edx
1:  mov rbx, VA
    mov ecx, edx
    shl ecx, 12
    mov eax, edx
    call write
    call read
    add esi, eax
    lea rbx, [VA + rcx]
    mov eax, edx
    call write_at
    call read_at
    add esi, eax
    mov qword ptr [rbx + 0x20], 0
    mov qword ptr [rbx + 0x40], 0
    call read3
    add esi, eax
    inc edx
    cmp edx, NR
    jb 1b
    dec edi
    jnz 2b
    mov eax, esi
    ret
read:
    mov rax, [rbx + rcx]
    ret
write:
    mov [rbx + rcx], rax
    ret
read_at:
    mov rax, [rbx]
    ret
write_at:
    mov [rbx], rax
    ret
read3:
    mov rax, [rbx]
    add rax, [rbx + 0x20]
    add rax, [rbx + 0x40]
    ret
