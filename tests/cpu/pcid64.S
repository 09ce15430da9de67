/* SPDX-License-Identifier: GPL-2.0-or-later
 * Process-context identifiers and global pages (SDM 3A 4.10): what MOV to CR3, INVLPG and INVPCID
 * must drop, and in which context. What bit 63 of CR3 keeps: pcid_kept64.S.
 */
#include "pcid.inc"

#define MAP(n, val) mov qword ptr [PTE(n)], val
#define READ(name, want) mov eax, [rbx]; CHECK(name, rax, want)
#define INVPCID(type, pcid, lin)                                                               \
    mov qword ptr [descriptor], pcid;                                                          \
    mov qword ptr [descriptor + 8], lin;                                                       \
    mov ecx, type;                                                                             \
    invpcid rcx, [descriptor]

    /* ---- MOV to CR3 ---- */
    LOAD(5)
    MAP(0, F0)
    READ("pcid 5", W0)
    MAP(0, F1)
    KEEP(6)
    READ("another pcid sees nothing of it", W1)
    LOAD(5)
    READ("mov cr3 without bit 63 drops it", W1)
    KEEP(6)
    MAP(0, F0)
    LOAD(5)
    READ("also when it comes from another pcid", W0)

    /* ---- INVLPG: the current PCID, and global pages ---- */
    MAP(0, F1)
    invlpg [rbx]
    READ("invlpg", W1)
    KEEP(6)
    invlpg [rbx]
    MAP(0, F0)
    invlpg [rbx]
    READ("invlpg in the other pcid", W0)
    KEEP(5)
    invlpg [rbx]
    READ("and in this one", W0)
    /* the page table's own page is cached too: INVLPG of any address drops that */
    mov qword ptr [other_pt], F1
    mov eax, offset other_pt + (P | W)
    mov [test_pd], rax
    invlpg [rbx]
    READ("invlpg drops the page directory's entry", W1)
    mov eax, offset test_pt + (P | W)
    mov [test_pd], rax
    LOAD(5)
    READ("so does mov cr3", W0)

    /* ---- INVPCID, from another context ---- */
    KEEP(6)
    MAP(0, F1)
    INVPCID(0, 5, rbx)
    KEEP(5)
    READ("invpcid 0 drops the page of another pcid", W1)
    KEEP(6)
    MAP(0, F0)
    INVPCID(1, 5, 0)
    KEEP(5)
    READ("invpcid 1 drops another pcid", W0)
    KEEP(6)
    mov eax, [rbx]
    MAP(0, F1)
    INVPCID(3, 0, 0)
    READ("invpcid 3 drops this pcid", W1)
    KEEP(5)
    READ("and that one", W1)
    MAP(0, F0)
    INVPCID(2, 0, 0)
    READ("invpcid 2 drops this pcid", W0)
    KEEP(6)
    READ("and that one too", W0)
    LOAD(5)
    mov eax, [rbx]
    MAP(0, F1)
    INVPCID(0, 5, rbx)
    READ("invpcid 0 of the current pcid", W1)
    MAP(0, F0)
    INVPCID(1, 5, 0)
    READ("invpcid 1 of the current pcid", W0)

    /* ---- global pages ---- */
    MAP(0, F0 + G)
    LOAD(5)
    READ("global page", W0)
    MAP(0, F1 + G)
    KEEP(6)
    invlpg [rbx]
    READ("invlpg drops a global page", W1)
    KEEP(5)
    READ("for every pcid", W1)
    MAP(0, F0 + G)
    INVPCID(2, 0, 0)
    READ("invpcid 2 drops global pages", W0)
    MAP(0, F1 + G)
    mov rax, cr4
    btr eax, 7
    mov cr4, rax
    READ("clearing cr4.pge does", W1)
    mov rax, cr4
    bts eax, 7
    mov cr4, rax

    /* the same seen through EFLAGS.AC, and over more switches than there are contexts */
    bt r12d, 20
    jnc no_smap
    mov rax, cr4
    bts eax, 21
    mov cr4, rax
    LOAD(5)
    MAP(0, F0 + G)
    invlpg [rbx]
    stac
    mov edx, [rbx]
    clac
    KEEP(6)
    MAP(0, F1 + G)
    invlpg [rbx]
    KEEP(5)
    stac
    mov edx, [rbx]
    clac
    CHECK("global page with AC, invlpg under another pcid", rdx, W1)
    KEEP(6)
    MAP(0, F0 + G)
    invlpg [rbx]
    mov ecx, 200
1:  invlpg [rbx + 0x3000]
    dec ecx
    jnz 1b
    KEEP(5)
    stac
    mov edx, [rbx]
    clac
    CHECK("many invlpgs later", rdx, W0)
    mov rax, cr4
    btr eax, 21
    mov cr4, rax
no_smap:

    /* ---- large pages ---- */
    mov dword ptr [0x200000], W0
    mov dword ptr [0x400000], W1
    mov r12, [test_pd]
    mov qword ptr [test_pd], 0x200000 + (P | W | PS)
    LOAD(5)
    READ("2 MiB page", W0)
    KEEP(6)
    mov qword ptr [test_pd], 0x400000 + (P | W | PS)
    INVPCID(0, 5, TEST_VA + 0x12345)
    KEEP(5)
    READ("invpcid 0 drops all of a large page", W1)
    mov qword ptr [test_pd], 0x200000 + (P | W | PS | G)
    LOAD(5)
    READ("global 2 MiB page", W0)
    KEEP(6)
    mov qword ptr [test_pd], 0x400000 + (P | W | PS | G)
    invlpg [rbx + 0x1ff000]
    KEEP(5)
    READ("invlpg under another pcid drops all of it", W1)
    invlpg [rbx]
    mov [test_pd], r12
    LOAD(6)
    LOAD(5)

    /* ---- code ---- */
    mov dword ptr [FRAME2], 0x000001b8 /* mov eax, 1; ret */
    mov word ptr [FRAME2 + 4], 0xc300
    mov dword ptr [FRAME3], 0x000002b8 /* mov eax, 2; ret */
    mov word ptr [FRAME3 + 4], 0xc300
    MAP(0, FRAME2 + (P | W))
    LOAD(5)
    call rbx
    CHECK("code", rax, 1)
    MAP(0, FRAME3 + (P | W))
    KEEP(6)
    call rbx
    CHECK("other code under another pcid", rax, 2)
    KEEP(5)
    call rbx
    invlpg [rbx]
    call rbx
    CHECK("invlpg of a page with code", rax, 2)
    KEEP(6)
    MAP(0, FRAME2 + (P | W))
    INVPCID(0, 5, rbx)
    KEEP(5)
    call rbx
    CHECK("invpcid 0 of a page with code", rax, 1)
    KEEP(6)
    MAP(0, FRAME3 + (P | W | G))
    INVPCID(1, 5, 0)
    KEEP(5)
    call rbx
    CHECK("invpcid 1 and code", rax, 2)
    MAP(0, FRAME2 + (P | W | G))
    KEEP(6)
    invlpg [rbx]
    KEEP(5)
    call rbx
    CHECK("global code, invlpg under another pcid", rax, 1)
    MAP(0, F0)
    invlpg [rbx]

    /* ---- a supervisor with many pages of its own ---- */
    LOAD(5)
    mov edx, F0
    call fill_all
    call read_all
    KEEP(6)
    KEEP(5)
    call read_all
    CHECK("512 pages", rdx, W0)
    mov edx, F1
    call fill_all
    KEEP(6)
    invlpg [rbx] /* nothing of pcid 5's */
    call read_all
    CHECK("512 pages under another pcid", rdx, W1)
    KEEP(5)
    invlpg [rbx + 0x7000]
    mov edx, [rbx + 0x7000]
    CHECK("invlpg there", rdx, W1)
    LOAD(5)
    call read_all
    CHECK("mov cr3 there", rdx, W1)
    MAP(3, F0 + G)
    invlpg [rbx + 0x3000]
    mov edx, [rbx + 0x3000]
    CHECK("global page there", rdx, W0)
    KEEP(6)
    MAP(3, F1 + G)
    invlpg [rbx + 0x3000]
    KEEP(5)
    mov edx, [rbx + 0x3000]
    CHECK("dropped by invlpg under another pcid", rdx, W1)

    /* ---- more PCIDs than any cache has ---- */
    xor r14d, r14d
    mov edi, 0x40
1:  lea rax, [r13 + rdi]
    mov cr3, rax
    mov edx, edi
    and edx, 1
    shl edx, 12
    lea rcx, [rdx + F0]
    mov [PTE(0)], rcx
    mov eax, [rbx]
    sub eax, W0
    test edi, 1
    jz 2f
    sub eax, W1 - W0
2:  or r14d, eax
    dec edi
    jnz 1b
    CHECK("64 pcids in turn", r14, 0)
    MAP(0, F1)
    INVPCID(3, 0, 0)
    mov edi, 0x40
    xor r14d, r14d
1:  lea rax, [r13 + rdi]
    bts rax, 63
    mov cr3, rax
    mov eax, [rbx]
    sub eax, W1
    or r14d, eax
    dec edi
    jnz 1b
    CHECK("invpcid 3 drops all of them", r14, 0)
    FINISH

    .section .data
    .balign 16
descriptor: .quad 0, 0
    .section .bss
    .balign 4096
other_pt: .skip 4096
