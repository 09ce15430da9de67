/* SPDX-License-Identifier: GPL-2.0-or-later
 * 4-level paging (SDM 3A 4.5 to 4.10): rights, error codes, accessed and dirty bits, page sizes,
 * reserved bits, and what INVLPG, CR3 and INVPCID drop.
 *
 * TCG leaves bit P out of the error code of a reserved bit:
 * qemu: NX is reserved with efer.nxe off: error code
 * qemu: address bit 51 in a pte: error code
 * qemu: and for a write: error code
 * qemu: 2 MiB page with bit 13 set: error code
 * qemu: 1 GiB page with bit 13 set: error code
 */
#include "lib.inc"

#define PTE0 test_pt
#define PTE1 test_pt + 8

/* Changes an entry and drops what was cached of it. */
#define SET(entry, val) mov qword ptr [entry], val; invlpg [TEST_VA]

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    mov rbx, TEST_VA
    mov dword ptr [FRAME0], 0x11111111
    mov dword ptr [FRAME1], 0x22222222
    mov dword ptr [FRAME2], 0x33333333

    /* ---- not present, at each level ---- */
    TRY(mov eax, [rbx + 8])
    EXPECT("read, page not present", PF, 0)
    CHECK("cr2", [trap_cr2], TEST_VA + 8)
    TRY(mov [rbx], eax)
    EXPECT("write, page not present", PF, PF_W)
    TRY(call rbx)
    EXPECT("fetch, page not present", PF, PF_I)
    CHECK("the fetch faults at its target", [trap_ip], TEST_VA)
    mov rcx, 0xffff800000000000
    TRY(mov eax, [rcx])
    EXPECT("pml4 entry not present", PF, 0)
    CHECK("cr2 is 64 bits wide", [trap_cr2], rcx)
    mov rcx, TEST_VA + 0x40000000
    TRY(mov eax, [rcx])
    EXPECT("pdpt entry not present", PF, 0)
    TRY(mov eax, [rbx + 0x200000])
    EXPECT("pd entry not present", PF, 0)

    /* a store across two pages: nothing is written if the second one faults */
    SET(PTE0, FRAME0 + (P | W))
    TRY(mov dword ptr [rbx + 0xffe], 0x55555555)
    EXPECT("store across into a page that is not there", PF, PF_W)
    CHECK("cr2 is the second page", [trap_cr2], TEST_VA + 0x1000)
    movzx eax, word ptr [rbx + 0xffe]
    CHECK("first page untouched", rax, 0)
    mov qword ptr [PTE1], FRAME1 + (P | W)
    mov dword ptr [rbx + 0xffe], 0x66667777
    movzx eax, word ptr [FRAME0 + 0xffe]
    CHECK("store across: first page", rax, 0x7777)
    movzx eax, word ptr [FRAME1]
    CHECK("store across: second page", rax, 0x6666)
    mov eax, [rbx + 0xffe]
    CHECK("load across", rax, 0x66667777)

    /* ---- accessed and dirty ---- */
    and qword ptr [pml4], ~A
    and qword ptr [pdpt + 8], ~A
    and qword ptr [test_pd], ~A
    SET(PTE0, FRAME0 + (P | W))
    mov rax, cr3
    mov cr3, rax
    mov eax, [rbx]
    CHECK("read gives the frame", rax, 0x11111111)
    CHECK("read sets A", [PTE0], FRAME0 + (P | W | A))
    mov rax, [test_pd]
    and eax, A
    CHECK("and A in the pd", rax, A)
    mov rax, [pdpt + 8]
    and eax, A
    CHECK("and A in the pdpt", rax, A)
    mov rax, [pml4]
    and eax, A
    CHECK("and A in the pml4", rax, A)
    mov dword ptr [rbx], 0x11111112
    CHECK("write after read sets D", [PTE0], FRAME0 + (P | W | A | D))
    SET(PTE0, FRAME0 + (P | W))
    mov dword ptr [rbx], 0x11111111
    CHECK("write sets A and D", [PTE0], FRAME0 + (P | W | A | D))
    SET(PTE0, FRAME0 + (P | W | A))
    add dword ptr [rbx], 0
    CHECK("read-modify-write sets D", [PTE0], FRAME0 + (P | W | A | D))
    SET(PTE0, FRAME0 + P)
    TRY(mov [rbx], eax)
    EXPECT("write to a read-only page", PF, PF_P | PF_W)
    CHECK("a refused write sets no D", [PTE0], FRAME0 + P)
    SET(PTE0, FRAME0 + (P | W))
    mov byte ptr [FRAME0], 0xc3
    call rbx
    CHECK("fetch sets A", [PTE0], FRAME0 + (P | W | A))
    SET(PTE0, FRAME0 + (P | W))
    xor eax, eax
    cmpxchg [rbx + 4], eax
    mov eax, 1
    mov ecx, 2
    SET(PTE0, FRAME0 + (P | W))
    cmpxchg [rbx + 4], ecx
    CHECK("a cmpxchg that does not match still writes", [PTE0], FRAME0 + (P | W | A | D))
    mov dword ptr [FRAME0], 0x11111111

    /* ---- write protection ---- */
    SET(PTE0, FRAME0 + P)
    mov rax, cr0
    btr eax, 16
    mov cr0, rax
    TRY(mov dword ptr [rbx], 0x44444444)
    EXPECT_OK("supervisor write with wp off")
    CHECK("it sets D", [PTE0], FRAME0 + (P | A | D))
    bts eax, 16
    mov cr0, rax
    TRY(mov dword ptr [rbx], 0x44444445)
    EXPECT("supervisor write with wp on", PF, PF_P | PF_W)
    mov rax, [test_pd]
    and qword ptr [test_pd], ~W
    SET(PTE0, FRAME0 + (P | W))
    TRY(mov dword ptr [rbx], 0x44444445)
    EXPECT("pd entry read-only", PF, PF_P | PF_W)
    mov [test_pd], rax
    mov eax, [FRAME0]
    CHECK("only one write went through", rax, 0x44444444)

    /* ---- user mode ---- */
    SET(PTE0, FRAME0 + (P | W))
    mov edi, offset user_read
    TRY(call run_user64)
    EXPECT("user read of a supervisor page", PF, PF_P | PF_U)
    mov edi, offset user_write
    TRY(call run_user64)
    EXPECT("user write to a supervisor page", PF, PF_P | PF_W | PF_U)
    mov edi, offset user_call
    TRY(call run_user64)
    EXPECT("user fetch from a supervisor page", PF, PF_P | PF_U | PF_I)
    SET(PTE0, FRAME0 + (P | U))
    mov edi, offset user_read
    TRY(call run_user64)
    EXPECT("user read of a user page", 0x80)
    mov edi, offset user_write
    TRY(call run_user64)
    EXPECT("user write to a read-only page", PF, PF_P | PF_W | PF_U)
    SET(PTE0, FRAME0 + (P | W | U))
    mov edi, offset user_write
    TRY(call run_user64)
    EXPECT("user write to a user page", 0x80)
    SET(PTE0, 0)
    mov edi, offset user_write
    TRY(call run_user64)
    EXPECT("user write, not present", PF, PF_W | PF_U)
    mov rax, [test_pd]
    and qword ptr [test_pd], ~U
    SET(PTE0, FRAME0 + (P | W | U))
    mov edi, offset user_read
    TRY(call run_user64)
    EXPECT("pd entry is supervisor's", PF, PF_P | PF_U)
    mov [test_pd], rax
    invlpg [rbx]

    /* ---- NX ---- */
    mov rax, 1 << 63 | FRAME0 | P | W
    mov byte ptr [FRAME0], 0xc3
    SET(PTE0, rax)
    TRY(call rbx)
    EXPECT("fetch from an NX page", PF, PF_P | PF_I)
    TRY(mov ecx, [rbx])
    EXPECT_OK("read of an NX page")
    mov rcx, [test_pd]
    bts rcx, 63
    mov [test_pd], rcx
    SET(PTE0, FRAME0 + (P | W))
    TRY(call rbx)
    EXPECT("NX in the pd", PF, PF_P | PF_I)
    btr rcx, 63
    mov [test_pd], rcx
    SET(PTE0, rax)
    mov ecx, MSR_EFER
    rdmsr
    btr eax, 11
    wrmsr
    TRY(mov ecx, [rbx])
    EXPECT("NX is reserved with efer.nxe off", PF, PF_P | PF_R)
    SET(PTE0, FRAME0 + (P | W))
    TRY(call rbx)
    EXPECT_OK("fetch with nxe off")
    SET(PTE0, 0)
    TRY(call rbx)
    EXPECT("no I bit without nxe and smep", PF, 0)
    mov ecx, MSR_EFER
    rdmsr
    bts eax, 11
    wrmsr

    /* ---- reserved bits ---- */
    mov eax, 0x80000008
    cpuid
    movzx ecx, al
    cmp cl, 52
    jae 1f
    mov eax, FRAME0 + (P | W)
    bts rax, 51
    SET(PTE0, rax)
    TRY(mov ecx, [TEST_VA])
    EXPECT("address bit 51 in a pte", PF, PF_P | PF_R)
    TRY(mov [TEST_VA], ecx)
    EXPECT("and for a write", PF, PF_P | PF_R | PF_W)
1:  mov rbx, TEST_VA
    SET(PTE0, FRAME0 + (P | W))
    mov r12, [test_pd]
    mov rax, 0x200000 + (P | W | PS) + 0x2000
    mov [test_pd], rax
    invlpg [rbx]
    TRY(mov eax, [rbx])
    EXPECT("2 MiB page with bit 13 set", PF, PF_P | PF_R)

    /* ---- large pages ---- */
    mov dword ptr [0x200000], 0xaaaaaaaa
    mov dword ptr [0x3ffffc], 0xbbbbbbbb
    mov dword ptr [0x400000], 0xcccccccc
    mov dword ptr [0x5ffffc], 0xdddddddd
    mov rax, 0x200000 + (P | W | PS)
    mov [test_pd], rax
    invlpg [rbx]
    mov eax, [rbx]
    CHECK("2 MiB page: first word", rax, 0xaaaaaaaa)
    mov eax, [rbx + 0x1ffffc]
    CHECK("2 MiB page: last word", rax, 0xbbbbbbbb)
    CHECK("A in the pd", [test_pd], 0x200000 + (P | W | PS | A))
    mov dword ptr [rbx + 0x100000], 1
    CHECK("A and D in the pd", [test_pd], 0x200000 + (P | W | PS | A | D))
    mov rax, 0x400000 + (P | W | PS)
    mov [test_pd], rax
    invlpg [rbx + 0x12345] /* any address of the page drops all of it */
    mov eax, [rbx]
    CHECK("invlpg of a 2 MiB page: first word", rax, 0xcccccccc)
    mov eax, [rbx + 0x1ffffc]
    CHECK("invlpg of a 2 MiB page: last word", rax, 0xdddddddd)
    mov [test_pd], r12
    invlpg [rbx]

    mov eax, 0x80000001
    cpuid
    bt edx, 26
    jnc no_1g
    mov r12, [pdpt + 8]
    mov qword ptr [pdpt + 8], P | W | PS
    mov rax, cr3
    mov cr3, rax
    mov eax, [TEST_VA + 0x200000]
    CHECK("1 GiB page", rax, 0xaaaaaaaa)
    CHECK("A in the pdpt", [pdpt + 8], P | W | PS | A)
    mov dword ptr [TEST_VA + FRAME3], 0x77777777
    mov eax, [FRAME3]
    CHECK("1 GiB page: write", rax, 0x77777777)
    CHECK("A and D in the pdpt", [pdpt + 8], P | W | PS | A | D)
    mov qword ptr [pdpt + 8], P | W | PS | 0x2000
    mov rax, cr3
    mov cr3, rax
    TRY(mov eax, [TEST_VA])
    EXPECT("1 GiB page with bit 13 set", PF, PF_P | PF_R)
    mov [pdpt + 8], r12
    mov rax, cr3
    mov cr3, rax
no_1g:
    mov rbx, TEST_VA

    /* ---- what stays cached, and what does not ---- */
    mov dword ptr [FRAME0], 0x11111111
    SET(PTE0, FRAME0 + (P | W))
    mov eax, [rbx]
    mov qword ptr [PTE0], FRAME1 + (P | W)
    invlpg [rbx]
    mov eax, [rbx]
    CHECK("invlpg", rax, 0x22226666)
    mov qword ptr [PTE0], FRAME0 + (P | W)
    mov rax, cr3
    mov cr3, rax
    mov eax, [rbx]
    CHECK("mov cr3", rax, 0x11111111)
    mov rcx, cr4
    or ecx, CR4_PGE
    mov cr4, rcx
    SET(PTE0, FRAME0 + (P | W | G))
    mov eax, [rbx]
    mov qword ptr [PTE0], FRAME1 + (P | W | G)
    invlpg [rbx]
    mov eax, [rbx]
    CHECK("invlpg drops global pages", rax, 0x22226666)
    mov qword ptr [PTE0], FRAME0 + (P | W | G)
    mov rcx, cr4
    btr ecx, 7
    mov cr4, rcx
    mov eax, [rbx]
    CHECK("toggling cr4.pge drops global pages", rax, 0x11111111)
    /* raising rights needs no invalidation */
    SET(PTE0, 0)
    TRY(mov eax, [rbx])
    EXPECT("not present again", PF, 0)
    mov qword ptr [PTE0], FRAME0 + P
    TRY(mov eax, [rbx])
    EXPECT_OK("present without invlpg")
    TRY(mov [rbx], eax)
    EXPECT("read-only", PF, PF_P | PF_W)
    mov qword ptr [PTE0], FRAME0 + (P | W)
    TRY(mov [rbx], eax)
    EXPECT_OK("writable without invlpg")

    /* ---- SMEP, SMAP ---- */
    mov eax, 7
    xor ecx, ecx
    cpuid
    mov r12d, ebx
    mov ebx, TEST_VA
    bt r12d, 7
    jnc no_smep
    mov byte ptr [FRAME0], 0xc3
    SET(PTE0, FRAME0 + (P | W | U))
    TRY(call rbx)
    EXPECT_OK("supervisor fetch from a user page, smep off")
    mov rax, cr4
    or eax, CR4_SMEP
    mov cr4, rax
    TRY(call rbx)
    EXPECT("supervisor fetch from a user page, smep on", PF, PF_P | PF_I)
    TRY(mov eax, [rbx])
    EXPECT_OK("smep does not stop reads")
    mov edi, offset user_read
    TRY(call run_user64)
    EXPECT("nor user mode", 0x80)
    mov rax, cr4
    btr eax, 20
    mov cr4, rax
no_smep:
    bt r12d, 20
    jnc no_smap
    SET(PTE0, FRAME0 + (P | W | U))
    mov rax, cr4
    or eax, CR4_SMAP
    mov cr4, rax
    TRY(mov eax, [rbx])
    EXPECT("smap: supervisor read of a user page", PF, PF_P)
    TRY(mov [rbx], eax)
    EXPECT("smap: supervisor write to a user page", PF, PF_P | PF_W)
    stac
    TRY(mov eax, [rbx])
    EXPECT_OK("smap: allowed with AC")
    clac
    TRY(mov eax, [rbx])
    EXPECT("smap: clac ends it", PF, PF_P)
    /* The same instructions again and again, at an address below and one above. */
    mov rax, cr3
    mov rcx, [rax]
    mov [rax + 8 * 511], rcx
    mov r13d, 2
1:  mov r14d, 40
    xor r15d, r15d
2:  stac
    call peek
    call poke
    clac
    TRY(call peek)
    cmp qword ptr [trap_vec], PF
    sete al
    TRY(call poke)
    cmp qword ptr [trap_vec], PF
    sete cl
    and al, cl
    movzx eax, al
    add r15d, eax
    dec r14d
    jnz 2b
    CHECK("smap: each clac ends it", r15, 40)
    mov rbx, 0xffffff8000000000 + TEST_VA
    dec r13d
    jnz 1b
    mov ebx, TEST_VA
    mov rax, cr3
    mov qword ptr [rax + 8 * 511], 0
    mov cr3, rax
    mov edi, offset user_read
    TRY(call run_user64)
    EXPECT("smap: user mode reads", 0x80)
    mov rax, cr0
    btr eax, 16
    mov cr0, rax
    TRY(mov [rbx], ecx)
    EXPECT("smap: wp off changes nothing", PF, PF_P | PF_W)
    bts eax, 16
    mov cr0, rax
    mov edi, offset user_stac
    TRY(call run_user64)
    EXPECT("stac at cpl 3", UD)
    mov rax, cr4
    btr eax, 21
    mov cr4, rax
    TRY(mov eax, [rbx])
    EXPECT_OK("smap off again")
no_smap:

    /* ---- PCID ---- */
    mov eax, 1
    cpuid
    mov r12d, ecx
    mov ebx, TEST_VA
    bt r12d, 17
    jnc done
    mov rax, cr3
    or eax, 1
    mov cr3, rax
    mov rcx, cr4
    or ecx, CR4_PCIDE
    TRY(mov cr4, rcx)
    EXPECT("cr4.pcide with a pcid in cr3", GP)
    and eax, ~1
    mov cr3, rax
    TRY(mov cr4, rcx)
    EXPECT_OK("cr4.pcide")
    mov rax, cr0
    mov r8, rax
    SET(PTE0, FRAME0 + (P | W))
    mov eax, [rbx]
    mov rax, cr3
    or eax, 5
    mov cr3, rax
    mov rcx, cr3
    CHECK("cr3 holds the pcid", rcx, rax)
    mov ecx, [rbx]
    mov qword ptr [PTE0], FRAME1 + (P | W)
    bts rax, 63
    TRY(mov cr3, rax)
    EXPECT_OK("cr3 bit 63 with pcids")
    mov rcx, cr3
    btr rax, 63
    CHECK("bit 63 is not kept", rcx, rax)
    mov cr3, rax
    mov eax, [rbx]
    CHECK("mov cr3 without bit 63 drops its own pcid", rax, 0x22226666)
    mov eax, 7
    xor ecx, ecx
    cpuid
    mov r12d, ebx
    mov ebx, TEST_VA
    bt r12d, 10
    jnc no_invpcid
    mov eax, [rbx]
    mov qword ptr [PTE0], FRAME0 + (P | W)
    mov qword ptr [descriptor], 5
    mov qword ptr [descriptor + 8], rbx
    xor ecx, ecx
    TRY(invpcid rcx, [descriptor])
    EXPECT_OK("invpcid 0")
    mov eax, [rbx]
    and eax, 0xffffff00
    CHECK("invpcid 0 drops the page", rax, 0x11111100)
    mov qword ptr [PTE0], FRAME1 + (P | W)
    mov ecx, 1
    invpcid rcx, [descriptor]
    mov eax, [rbx]
    CHECK("invpcid 1 drops the pcid", rax, 0x22226666)
    mov qword ptr [PTE0], FRAME0 + (P | W)
    mov ecx, 2
    invpcid rcx, [descriptor]
    mov eax, [rbx]
    and eax, 0xffffff00
    CHECK("invpcid 2 drops all", rax, 0x11111100)
    mov ecx, 4
    TRY(invpcid rcx, [descriptor])
    EXPECT("invpcid 4", GP)
    mov qword ptr [descriptor], 0x1005
    xor ecx, ecx
    TRY(invpcid rcx, [descriptor])
    EXPECT("invpcid with reserved bits", GP)
    mov qword ptr [descriptor], 5
    mov rax, 0x800000000000
    mov [descriptor + 8], rax
    TRY(invpcid rcx, [descriptor])
    EXPECT("invpcid 0 of a non-canonical address", GP)
no_invpcid:
    mov rax, cr3
    and ax, 0xf000
    mov cr3, rax
    mov rcx, cr4
    btr ecx, 17
    mov cr4, rcx
done:
    mov rcx, 0x800000000000
    TRY(invlpg [rcx])
    EXPECT_OK("invlpg of a non-canonical address")
    FINISH

peek:
    mov edx, [rbx]
    ret
poke:
    mov [rbx], edx
    ret

    .section .utext, "ax"
user_read:
    mov eax, [TEST_VA]
    int 0x80
user_write:
    mov [TEST_VA + 16], eax
    int 0x80
user_call:
    mov eax, TEST_VA
    jmp rax
user_stac:
    stac
    int 0x80

    .section .data
    .balign 16
descriptor: .quad 0, 0
