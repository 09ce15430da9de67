/* SPDX-License-Identifier: GPL-2.0-or-later
 * 32-bit paging with PSE, and PAE paging outside long mode (SDM 3A 4.3, 4.4).
 *
 * TCG leaves bit P out of the error code of a reserved bit, and reads PDPTEs at each walk:
 * qemu: pse page with a reserved bit: error code
 * qemu: pae: nx with nxe off: error code
 * qemu: pae: address bit 62: error code
 * qemu: reserved bits in a pdpte stop mov cr3: vector
 * qemu: cr3 keeps its value
 * qemu: pdptes are read at mov cr3 only: vector
 * qemu: pae: no A in a pdpte
 */
#include "lib.inc"

/* Low 4 MiB are mapped by 4 KiB pages, 32-bit tables at pd32/pt32; TEST_VA is pd32[256]. */
#define TEST_PDE pd32 + 0x400
#define SET(entry, val) mov dword ptr [entry], val; invlpg [TEST_VA]

    .text
    .code32
    .global main32
main32:
    mov edi, offset pt32
    mov eax, P | W
    mov ecx, 1024
1:  stosd
    add eax, 4096
    loop 1b
    mov dword ptr [pd32], offset pt32 + (P | W | U)
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov eax, offset pd32
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG | CR0_WP
    mov cr0, eax
    jmp 1f
1:
    mov ebx, TEST_VA
    mov dword ptr [FRAME0], 0x11111111
    mov dword ptr [FRAME1], 0x22222222
    mov dword ptr [0x200000], 0xaaaaaaaa
    mov dword ptr [0x400000 - 4], 0xbbbbbbbb

    TRY32(mov eax, [ebx + 4])
    EXPECT32("pde not present", PF, 0)
    CHECK32("cr2", [trap_cr2], TEST_VA + 4)
    mov dword ptr [TEST_PDE], offset pt_test + (P | W | U)
    TRY32(mov [ebx], eax)
    EXPECT32("pte not present", PF, PF_W)
    TRY32(call ebx)
    EXPECT32("fetch: no I bit without nx and smep", PF, 0)
    SET(pt_test, FRAME0 + (P | W))
    mov eax, [ebx]
    CHECK32("read", eax, 0x11111111)
    CHECK32("A in the pte", [pt_test], FRAME0 + (P | W | A))
    mov eax, [TEST_PDE]
    and eax, 0xfff
    CHECK32("A in the pde", eax, P | W | U | A)
    mov dword ptr [ebx], 0x11111112
    CHECK32("D in the pte", [pt_test], FRAME0 + (P | W | A | D))
    SET(pt_test, FRAME0 + P)
    TRY32(mov [ebx], eax)
    EXPECT32("read-only page", PF, PF_P | PF_W)
    mov eax, cr0
    btr eax, 16
    mov cr0, eax
    TRY32(mov dword ptr [ebx], 0x11111111)
    EXPECT_OK32("wp off")
    bts eax, 16
    mov cr0, eax
    TRY32(mov dword ptr [ebx], 0x11111113)
    EXPECT32("wp on", PF, PF_P | PF_W)

    /* 4 MiB pages */
    SET(TEST_PDE, P | W | PS)
    mov eax, [ebx + 0x200000]
    CHECK32("4 MiB page", eax, 0xaaaaaaaa)
    mov eax, [ebx + 0x3ffffc]
    CHECK32("4 MiB page: end", eax, 0xbbbbbbbb)
    CHECK32("A in the pde of a page", [TEST_PDE], P | W | PS | A)
    mov [ebx + 0x200000], eax
    CHECK32("D in the pde of a page", [TEST_PDE], P | W | PS | A | D)
    SET(TEST_PDE, P | W | PS | 0x200000)
    TRY32(mov eax, [ebx])
    EXPECT32("pse page with a reserved bit", PF, PF_P | PF_R)
    mov dword ptr [TEST_PDE], offset pt_test + (P | W | PS)
    mov eax, cr4
    and eax, ~CR4_PSE
    mov cr4, eax
    mov dword ptr [pt_test], FRAME1 + (P | W)
    mov eax, [ebx]
    CHECK32("without cr4.pse bit 7 means nothing", eax, 0x22222222)

    /* LMSW cannot clear PE; CR0.PG can be cleared while code is mapped as itself */
    smsw ax
    mov ecx, eax
    and ax, 0xfff0
    lmsw ax
    smsw ax
    and eax, 1
    CHECK32("lmsw leaves pe set", eax, 1)
    mov eax, cr0
    btr eax, 31
    mov cr0, eax
    jmp 1f
1:  mov eax, [FRAME1]
    CHECK32("paging off", eax, 0x22222222)

    /* ---- PAE ---- */
    mov edi, offset pae_pd0
    mov eax, P | W | PS
    mov ecx, 16
1:  mov [edi], eax
    mov dword ptr [edi + 4], 0
    add eax, 0x200000
    add edi, 8
    loop 1b
    mov dword ptr [pae_pdpt], offset pae_pd0 + P
    mov dword ptr [pae_pdpt + 8], offset pae_pd1 + P
    mov dword ptr [pae_pd1], offset pt_test + (P | W | U)
    mov dword ptr [pae_pd1 + 4], 0
    mov edi, offset pt_test
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, offset pae_pdpt
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    jmp 1f
1:  TRY32(mov eax, [ebx])
    EXPECT32("pae: not present", PF, 0)
    mov eax, 0x80000000
    TRY32(mov eax, [eax])
    EXPECT32("pae: pdpte not present", PF, 0)
    mov dword ptr [FRAME0], 0x11111111
    SET(pt_test, FRAME0 + (P | W))
    mov eax, [ebx]
    CHECK32("pae: read", eax, 0x11111111)
    mov [ebx], eax
    CHECK32("pae: A and D", [pt_test], FRAME0 + (P | W | A | D))
    mov eax, [pae_pdpt + 8]
    and eax, 0xfff
    CHECK32("pae: no A in a pdpte", eax, P)
    mov eax, [ebx - TEST_VA + 0x200000]
    CHECK32("pae: 2 MiB page", eax, 0xbbbbbbbb)
    mov dword ptr [pt_test + 4], 1 << 31
    invlpg [ebx]
    TRY32(mov eax, [ebx])
    EXPECT32("pae: nx with nxe off", PF, PF_P | PF_R)
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_NXE
    wrmsr
    invlpg [ebx]
    TRY32(mov eax, [ebx])
    EXPECT_OK32("pae: nx page is readable")
    TRY32(call ebx)
    EXPECT32("pae: nx page", PF, PF_P | PF_I)
    mov dword ptr [pt_test + 4], 1 << 30
    invlpg [ebx]
    TRY32(mov eax, [ebx])
    EXPECT32("pae: address bit 62", PF, PF_P | PF_R)
    mov dword ptr [pt_test + 4], 0
    invlpg [ebx]

    /* PDPTEs are registers: loaded and checked by MOV CR3 */
    mov dword ptr [pae_pdpt + 16], offset pae_pd1 + P
    mov eax, 0x80000000
    TRY32(mov ecx, [eax])
    EXPECT32("pdptes are read at mov cr3 only", PF, 0)
    mov eax, cr3
    mov cr3, eax
    mov eax, 0x80000000
    TRY32(mov ecx, [eax])
    EXPECT_OK32("and then hold")
    mov dword ptr [pae_pdpt + 16], offset pae_pd1 + (P | W)
    mov eax, cr3
    mov edx, eax
    or eax, 0x18 /* PWT, PCD */
    TRY32(mov cr3, eax)
    EXPECT32("reserved bits in a pdpte stop mov cr3", GP)
    mov ecx, cr3
    CHECK32("cr3 keeps its value", ecx, edx)
    mov dword ptr [pae_pdpt + 16], 0
    mov cr3, edx

    /* user mode */
    mov dword ptr [tss32 + 4], offset ring0_stack_top
    mov word ptr [tss32 + 8], DS32
    mov eax, TSS32
    ltr ax
    SET(pt_test, FRAME0 + (P | W))
    mov dword ptr [FRAME0], 0xc3c3c3c3
    or dword ptr [pae_pd0], U
    mov eax, cr3
    mov cr3, eax
    mov byte ptr [idt32 + 8 * 0x80 + 5], 0xee
    mov edi, offset user_read
    TRY32(call run_user)
    EXPECT32("pae: user read of a supervisor page", PF, PF_P | PF_U)
    CHECK32("from the user's code segment", [trap_cs], UCS32)
    mov dword ptr [pt_test], FRAME0 + (P | U)
    mov edi, offset user_read
    TRY32(call run_user)
    EXPECT32("pae: user read of a user page", 0x80)
    mov edi, offset user_write
    TRY32(call run_user)
    EXPECT32("pae: user write to a read-only page", PF, PF_P | PF_W | PF_U)
    FINISH32

run_user:
    push UDS
    push offset user_stack_top
    pushfd
    push UCS32
    push edi
    iretd

user_read:
    mov eax, ss:[TEST_VA]
    int 0x80
user_write:
    mov ss:[TEST_VA], eax
    int 0x80

    .section .bss
    .balign 4096
pd32: .skip 4096
pt32: .skip 4096
pt_test: .skip 4096
pae_pd0: .skip 4096
pae_pd1: .skip 4096
pae_pdpt: .skip 32
