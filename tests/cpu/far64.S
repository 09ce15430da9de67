/* SPDX-License-Identifier: GPL-2.0-or-later
 * Direct branches from page to page, each often enough for an engine that remembers where they led:
 * the target's page is mapped anew, the branch's own page has a second address, the target's code
 * is written over, the address space changes and comes back.
 */
#include "lib.inc"

#define PTE(n) test_pt + 8 * (n)
#define MAP(n, val) mov qword ptr [PTE(n)], val + (P | W)
#define REMAP(n, val) MAP(n, val); invlpg [TEST_VA + 0x1000 * (n)]
/* Calls it so often; the sum of what it returns goes to edx. */
#define SUM(times, page)                                                                       \
    mov ecx, times;                                                                            \
    xor edx, edx;                                                                              \
    77: call TEST_VA + 0x1000 * (page);                                                        \
    add edx, eax;                                                                              \
    dec ecx;                                                                                   \
    jnz 77b

/* Offsets in the target's page: two entries, and the value that it returns by the first */
#define FROM_CALL 1
#define VALUE 2
#define FROM_JCC 7

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    /* A page that branches into the next one in three ways, and two that may be next. */
    mov esi, offset source
    mov edi, FRAME0
    mov ecx, source_end - source
    rep movsb
    mov esi, offset target
    mov edi, FRAME1
    mov ecx, target_end - target
    rep movsb
    mov esi, offset target
    mov edi, FRAME2
    mov ecx, target_end - target
    rep movsb
    mov dword ptr [FRAME2 + VALUE], 2
    MAP(0, FRAME0)
    MAP(1, FRAME1)
    MAP(2, FRAME0)
    MAP(3, FRAME2)

    SUM(300, 0)
    CHECK("to the next page", rdx, 300 * 21)
    REMAP(1, FRAME2)
    SUM(300, 0)
    CHECK("which is another one now", rdx, 300 * 22)
    REMAP(1, FRAME1)
    mov ebx, 100
    xor esi, esi
1:  call TEST_VA
    add esi, eax
    call TEST_VA + 0x2000
    add esi, eax
    dec ebx
    jnz 1b
    CHECK("one page at two addresses", rsi, 100 * (21 + 22))

    mov ebx, 100
    xor esi, esi
1:  REMAP(1, FRAME2)
    call TEST_VA
    add esi, eax
    REMAP(1, FRAME1)
    call TEST_VA
    add esi, eax
    dec ebx
    jnz 1b
    CHECK("mapped anew each time", rsi, 100 * (21 + 22))

    mov dword ptr [FRAME1 + VALUE], 7
    SUM(300, 0)
    CHECK("code written over", rdx, 300 * 27)
    mov ebx, 100
    xor esi, esi
1:  mov [FRAME1 + VALUE], ebx
    call TEST_VA
    add esi, eax
    dec ebx
    jnz 1b
    CHECK("written over each time", rsi, 100 * 20 + 5050)
    mov dword ptr [FRAME1 + VALUE], 1

    /* Without global pages each load of CR3 may begin an address space. */
    mov rbp, cr3
    mov ebx, 100
    xor esi, esi
1:  call TEST_VA
    add esi, eax
    MAP(1, FRAME2)
    mov cr3, rbp
    call TEST_VA
    add esi, eax
    MAP(1, FRAME1)
    mov cr3, rbp
    dec ebx
    jnz 1b
    CHECK("a new address space", rsi, 100 * (21 + 22))

    /* The target goes away, and comes back when the fault was taken. */
    SUM(100, 0)
    mov qword ptr [PTE(1)], 0
    invlpg [TEST_VA + 0x1000]
    TRY(call TEST_VA)
    CHECK("not there: vector", qword ptr [trap_vec], 14)
    mov rax, cr2
    CHECK("not there: address", rax, TEST_VA + 0x1000 + FROM_CALL)
    REMAP(1, FRAME2)
    SUM(100, 0)
    CHECK("there again", rdx, 100 * 22)
    FINISH

    /* 20 more than the target's value, 0 by a way that was lost. */
source:
    mov eax, -1
    call source + 0x1000 + FROM_CALL
    add eax, 4
    cmp eax, 4
    ja source + 0x1000 + FROM_JCC
    xor eax, eax
    ret
source_end:

target:
    nop
    mov eax, 1 /* FROM_CALL */
    ret
    ja 1f /* FROM_JCC */
    xor eax, eax
    ret
1:  add eax, 16
    ret
target_end:
