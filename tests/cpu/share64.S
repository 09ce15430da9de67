/* SPDX-License-Identifier: GPL-2.0-or-later
 * Several operands with the same base register: in one page or two, of which the second may not be
 * there, or not be writable, or be no RAM; each pattern often enough for an engine that guesses.
 */
#include "lib.inc"

#define ONE TEST_VA
#define TWO TEST_VA + 0x1000
#define PTE1 test_pt + 8
#define SET1(val) mov qword ptr [PTE1], val; invlpg [TWO]

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    mov qword ptr [test_pt], FRAME0 + (P | W)
    mov qword ptr [PTE1], FRAME1 + (P | W)
    /* A structure within one page. */
    mov rbx, ONE
    mov ecx, 600
    xor edx, edx
1:  mov [rbx], ecx
    mov eax, [rbx]
    add [rbx + 8], eax
    mov rsi, [rbx + 8]
    mov [rbx + 0x10], rsi
    add edx, [rbx + 0x10]
    sub edx, [rbx + 8]
    inc dword ptr [rbx + 0x18]
    dec ecx
    jnz 1b
    CHECK("in one page: sum", rsi, 180300)
    mov eax, [rbx + 0x18]
    CHECK("in one page: count", rax, 600)
    CHECK("reads see the writes", rdx, 0)

    /* The same across two pages, then again within one. */
    mov rbx, TWO - 12
    mov rdi, 2
2:  mov qword ptr [rbx + 8], 0
    mov dword ptr [rbx + 0x18], 0
    mov ecx, 600
1:  mov [rbx], ecx
    mov eax, [rbx]
    add [rbx + 8], rax
    mov rsi, [rbx + 8]
    mov [rbx + 0x10], rsi
    inc dword ptr [rbx + 0x18]
    dec ecx
    jnz 1b
    CHECK("sum", rsi, 180300)
    mov eax, [rbx + 0x18]
    CHECK("count", rax, 600)
    mov rbx, ONE + 0x800
    dec rdi
    jnz 2b

    /* Two ranges in turn, far from each other. */
    mov rbx, ONE
    mov ecx, 600
    xor edi, edi
1:  mov [rbx + 0x40], ecx
    mov [rbx + 0x1540], ecx
    mov [rbx + 0x48], ecx
    mov edx, [rbx + 0x1540]
    mov [rbx + 0x1500], edx
    mov [rbx + 0x10], edx
    mov [rbx + 0x1508], edx
    mov esi, [rbx + 0x10]
    sub esi, [rbx + 0x48]
    or edi, esi
    mov esi, [rbx + 0x1508]
    sub esi, [rbx + 0x1500]
    or edi, esi
    mov dword ptr [rbx + 0x10], 0
    mov dword ptr [rbx + 0x1508], 0
    dec ecx
    jnz 1b
    CHECK("two ranges", rdi, 0)

    /* The base changes in between: by an instruction that does not name it, too. */
    mov ecx, 40
1:  mov rbx, ONE
    mov dword ptr [rbx + 4], 1
    mov dword ptr [rbx + 0x1004], 2
    mov esi, [rbx + 4]
    lea rbx, [rbx + 0x1000]
    mov edi, [rbx + 4]
    xchg rbx, rax
    mov rax, ONE
    xchg rax, rbx
    mov r8d, [rbx + 4]
    mov rdx, ONE
    mov r9d, [rdx + 4]
    mov eax, 0x1000
    mov r10d, 1
    mul r10                   /* RDX = 0 */
    add rdx, TWO
    mov r10d, [rdx + 4]
    dec ecx
    jnz 1b
    CHECK("base", rsi, 1)
    CHECK("base + 4096", rdi, 2)
    CHECK("exchanged", r8, 1)
    CHECK("before MUL", r9, 1)
    CHECK("behind MUL", r10, 2)

    /* The second page goes away: the fault is the second operand's, all before it is done. */
    mov rbx, TWO - 8
    mov qword ptr [rbx], 0
    mov rdi, 300
1:  mov eax, 0
    cmp edi, 3
    ja 2f
    SET1(0)
2:  TRY(mov rcx, [rbx]; inc rcx; mov [rbx], rcx; stc; mov rdx, [rbx + 8]; mov eax, 1)
    dec edi
    jnz 1b
    EXPECT("second page not there", PF, 0)
    CHECK("its address", [trap_cr2], TWO)
    mov rcx, [rbx]
    CHECK("what came before is done", rcx, 300)
    SET1(FRAME1 + (P | W))
    mov rdi, 40
1:  TRY(mov rcx, [rbx]; inc rcx; mov [rbx], rcx; mov rdx, [rbx + 8])
    dec edi
    jnz 1b
    EXPECT_OK("there again")
    mov rcx, [rbx]
    CHECK("and goes on", rcx, 340)

    /* Reads first, then a write that is not allowed. */
    mov rbx, TWO
    SET1(FRAME1 + P)
    mov rdi, 40
1:  TRY(mov rcx, [rbx]; mov rdx, [rbx + 8]; mov [rbx + 0x10], rcx)
    dec edi
    jnz 1b
    EXPECT("read, read, write to a read-only page", PF, PF_P | PF_W)
    CHECK("its address", [trap_cr2], TWO + 0x10)
    mov rdi, 40
1:  TRY(mov rcx, [rbx]; mov rdx, [rbx + 8])
    dec edi
    jnz 1b
    EXPECT_OK("reads alone")
    SET1(FRAME1 + (P | W))

    /* Registers of a device: LAPIC ID, version, and the initial count that is written. */
    mov eax, 0xfee00000 + (P | W)
    SET1(rax)
    mov rbx, TWO
    mov ecx, 600
1:  mov dword ptr [rbx + 0x380], 0
    mov eax, [rbx + 0x30]
    mov edx, [rbx + 0x380]
    mov esi, [rbx + 0x30]
    xor esi, eax
    or esi, edx
    jnz 2f
    dec ecx
    jnz 1b
2:  CHECK("a device", rcx, 0)
    SET1(FRAME1 + (P | W))

    /* Below and above the stack pointer, with pushes in between. */
    mov ecx, 40
    xor esi, esi
1:  mov [rsp - 0x40], rcx
    push rcx
    mov rdx, [rsp]
    add rdx, [rsp - 0x38]
    pop rax
    sub rdx, [rsp - 0x40]
    sub rdx, rax
    or rsi, rdx
    dec ecx
    jnz 1b
    CHECK("the stack", rsi, 0)
    FINISH
