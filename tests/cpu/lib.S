/* SPDX-License-Identifier: GPL-2.0-or-later
 * Run-time of the CPU guests. Reset leads to flat 32-bit protected mode with interrupts off, data
 * copied to RAM, an IDT whose every gate records what happened and resumes behind the TRY, and
 * then to the guest's main32. enter_long64 goes on to 64-bit code (call it; it returns there).
 * Results go as TAP text to port E9h, the exit status to isa-debug-exit at port F4h.
 */
#include "lib.inc"

/* ---- reset ---- */
    .section .reset, "ax"
    .code16
    .global reset
reset:
    .byte 0xea /* jmp far F000:start16 */
    .word start16 - 0xf0000, 0xf000

    .section .text
start16:
    cli
    cld
    in al, 0x92
    or al, 2
    and al, 0xfe
    out 0x92, al /* A20 on */
    lgdt cs:[boot_gdt_ptr - 0xf0000]
    GO_TO_CS32 start32
    .align 4
boot_gdt_ptr:
    .word gdt_end - gdt - 1
    .long gdt_load

    .code32
start32:
    mov ax, DS32
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esi, offset data_load
    mov edi, offset data_start
    mov ecx, offset data_end
    sub ecx, edi
    rep movsb
    mov edi, offset bss_start
    mov ecx, offset bss_end
    sub ecx, edi
    xor eax, eax
    rep stosb
    mov esp, offset stack_top
    lgdt [gdt_ptr32]
    call build_idt32
    lidt [idt_ptr32]
    jmp main32

/* ---- 32-bit ---- */

build_idt32:
    mov edi, offset idt32
    mov eax, offset stubs32
    mov ecx, 256
1:  mov [edi], ax
    mov word ptr [edi + 2], CS32
    mov word ptr [edi + 4], 0x8e00
    mov edx, eax
    shr edx, 16
    mov [edi + 6], dx
    add edi, 8
    add eax, 16
    loop 1b
    ret

    .balign 16
    .global stubs32
stubs32:
    STUBS trap32

/* The frame goes to trap_*; the guest goes on behind its TRY, at CPL 0. trap_hook, if set, gets
 * control with the frame as the CPU pushed it (error code and vector taken off). */
trap32:
    mov ss:[trap_eax], eax
    mov eax, DS32
    mov ds, eax
    mov es, eax
    pop dword ptr [trap_vec]
    pop dword ptr [trap_err]
    mov [trap_frame], esp
    inc dword ptr [trap_count]
    cmp dword ptr [trap_hook], 0
    je 1f
    mov eax, [trap_eax]
    jmp [trap_hook]
1:  mov eax, [esp]
    mov [trap_ip], eax
    mov eax, [esp + 4]
    mov [trap_cs], eax
    mov eax, [esp + 8]
    mov [trap_flags], eax
    mov eax, [esp + 12] /* only there after a change of privilege */
    mov [trap_sp], eax
    mov eax, cr2
    mov [trap_cr2], eax
    mov eax, DS32
    mov ss, eax
    mov esp, [trap_resume_rsp]
    mov eax, [trap_eax]
    jmp [trap_resume]

put_char32: /* al */
    out 0xe9, al
    ret
put_string32: /* esi */
1:  lodsb
    test al, al
    jz 2f
    out 0xe9, al
    jmp 1b
2:  ret
put_hex32: /* edx, ecx digits left-aligned in edx */
1:  rol edx, 4
    mov al, dl
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe 2f
    add al, 'a' - '9' - 1
2:  out 0xe9, al
    loop 1b
    ret
put_dec32: /* eax */
    xor ecx, ecx
    mov ebx, 10
1:  xor edx, edx
    div ebx
    push edx
    inc ecx
    test eax, eax
    jnz 1b
2:  pop eax
    add al, '0'
    out 0xe9, al
    loop 2b
    ret

/* check32(name, want, got), all on the stack */
    .global check32
check32:
    pushad
    push ds
    mov eax, DS32
    mov ds, eax
    mov eax, [esp + 36 + 8]
    cmp eax, [esp + 36 + 12]
    sete al
    movzx ebp, al
    call begin_line32
    mov esi, [esp + 36 + 4]
    call put_string32
    mov al, 10
    out 0xe9, al
    test ebp, ebp
    jnz 1f
    mov esi, offset text_want
    call put_string32
    mov edx, [esp + 36 + 8]
    mov ecx, 8
    call put_hex32
    mov esi, offset text_got
    call put_string32
    mov edx, [esp + 36 + 12]
    mov ecx, 8
    call put_hex32
    mov al, 10
    out 0xe9, al
1:  pop ds
    popad
    ret 12

begin_line32: /* ebp: passed */
    inc dword ptr [nr_tests]
    mov esi, offset text_ok
    test ebp, ebp
    jnz 1f
    inc dword ptr [nr_failed]
    mov esi, offset text_not_ok
1:  call put_string32
    mov eax, [nr_tests]
    call put_dec32
    mov esi, offset text_dash
    jmp put_string32

    .global finish32
finish32:
    mov esi, offset text_plan
    call put_string32
    mov eax, [nr_tests]
    call put_dec32
    mov al, 10
    out 0xe9, al
    mov eax, [nr_failed]
    test eax, eax
    jz 1f
    mov al, 1
1:  out 0xf4, al
    cli
2:  hlt
    jmp 2b

/* ---- 64-bit ---- */

/* Identity map: 4 KiB pages up to 2 MiB (low_pt), 2 MiB pages up to 16 MiB; supervisor, except
 * .utext. TEST_VA (1 GiB) is test_pd[0] -> test_pt, empty. */
build_tables:
    mov dword ptr [pml4], offset pdpt + (P | W | U)
    mov dword ptr [pdpt], offset low_pd + (P | W | U)
    mov dword ptr [pdpt + 8], offset test_pd + (P | W | U)
    mov dword ptr [low_pd], offset low_pt + (P | W | U)
    mov dword ptr [test_pd], offset test_pt + (P | W | U)
    mov eax, 0x200000 + (P | W | PS)
    mov edi, offset low_pd + 8
    mov ecx, 7
1:  mov [edi], eax
    add eax, 0x200000
    add edi, 8
    loop 1b
    mov eax, P | W
    mov edi, offset low_pt
    mov ecx, 512
2:  mov [edi], eax
    mov edx, eax
    and edx, 0xfffff000
    cmp edx, offset utext_start
    jb 3f
    cmp edx, offset utext_end
    jae 3f
    or dword ptr [edi], U
3:  add eax, 4096
    add edi, 8
    loop 2b
    mov eax, offset user_stack_top - 4096
    shr eax, 12
    or dword ptr [low_pt + eax * 8], U
    ret

    .global enter_long64
enter_long64:
    call build_tables
    call build_idt64
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME | EFER_NXE
    wrmsr
    mov eax, cr0
    or eax, CR0_PG | CR0_WP | CR0_NE | CR0_MP
    mov cr0, eax
    .byte 0xea /* jmp far CS64:1f */
    .long 1f
    .word CS64
    .code64
1:  mov eax, DS32
    mov ss, eax
    mov ds, eax
    mov es, eax
    mov eax, [rsp] /* the caller's 32-bit call pushed 4 bytes */
    lea esp, [rsp + 4]
    lidt [idt_ptr64]
    mov dword ptr [tss64 + 4], offset ring0_stack_top
    mov ecx, TSS64
    ltr cx
    jmp rax

    .code32
build_idt64:
    mov edi, offset idt64
    mov eax, offset stubs64
    mov ecx, 256
1:  mov [edi], ax
    mov word ptr [edi + 2], CS64
    mov word ptr [edi + 4], 0x8e00
    mov edx, eax
    shr edx, 16
    mov [edi + 6], dx
    mov dword ptr [edi + 8], 0
    mov dword ptr [edi + 12], 0
    add edi, 16
    add eax, 16
    loop 1b
    ret

    .code64
    .balign 16
    .global stubs64
stubs64:
    STUBS trap64

trap64:
    mov [trap_eax], rax
    pop qword ptr [trap_vec]
    pop qword ptr [trap_err]
    mov [trap_frame], rsp
    inc qword ptr [trap_count]
    cmp qword ptr [trap_hook], 0
    je 1f
    jmp [trap_hook]
1:  mov rax, [rsp]
    mov [trap_ip], rax
    mov rax, [rsp + 8]
    mov [trap_cs], rax
    mov rax, [rsp + 16]
    mov [trap_flags], rax
    mov rax, [rsp + 24]
    mov [trap_sp], rax
    mov rax, [rsp + 32]
    mov [trap_ss], rax
    mov rax, cr2
    mov [trap_cr2], rax
    mov eax, DS32
    mov ss, eax
    mov ds, eax
    mov es, eax
    mov rsp, [trap_resume_rsp]
    mov rax, [trap_eax]
    jmp [trap_resume]

put_string64: /* rsi */
1:  lodsb
    test al, al
    jz 2f
    out 0xe9, al
    jmp 1b
2:  ret
put_hex64: /* rdx */
    mov ecx, 16
1:  rol rdx, 4
    mov al, dl
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe 2f
    add al, 'a' - '9' - 1
2:  out 0xe9, al
    loop 1b
    ret
put_dec64: /* eax */
    xor ecx, ecx
    mov ebx, 10
1:  xor edx, edx
    div ebx
    push rdx
    inc ecx
    test eax, eax
    jnz 1b
2:  pop rax
    add al, '0'
    out 0xe9, al
    loop 2b
    ret

/* check64(name, want, got) on the stack */
    .global check64
check64:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    cld
    mov rax, [rsp + 56 + 16]
    cmp rax, [rsp + 56 + 24]
    sete al
    movzx ebp, al
    inc dword ptr [nr_tests]
    mov esi, offset text_ok
    test ebp, ebp
    jnz 1f
    inc dword ptr [nr_failed]
    mov esi, offset text_not_ok
1:  call put_string64
    mov eax, [nr_tests]
    call put_dec64
    mov esi, offset text_dash
    call put_string64
    mov rsi, [rsp + 56 + 8]
    call put_string64
    mov al, 10
    out 0xe9, al
    test ebp, ebp
    jnz 2f
    mov esi, offset text_want
    call put_string64
    mov rdx, [rsp + 56 + 16]
    call put_hex64
    mov esi, offset text_got
    call put_string64
    mov rdx, [rsp + 56 + 24]
    call put_hex64
    mov al, 10
    out 0xe9, al
2:  pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    ret 24

    .global finish64, skip_all64
finish64:
    mov esi, offset text_plan
    call put_string64
    mov eax, [nr_tests]
    call put_dec64
finish64_line:
    mov al, 10
    out 0xe9, al
    mov eax, [nr_failed]
    test eax, eax
    setnz al
    out 0xf4, al
    cli
2:  hlt
    jmp 2b
skip_all64: /* rax: why */
    mov rbx, rax
    mov esi, offset text_skip
    call put_string64
    mov rsi, rbx
    call put_string64
    jmp finish64_line

/* User code: runs 64-bit code at rdi at CPL 3 with a stack of its own until it faults or does
 * INT 80h; then goes on behind the TRY that called this. */
    .global run_user64
run_user64:
    push UDS
    push offset user_stack_top
    pushfq
    push UCS64
    push rdi
    mov word ptr [idt64 + 16 * 0x80 + 4], 0xee00
    iretq

    .section .rodata
text_ok: .asciz "ok "
text_not_ok: .asciz "not ok "
text_dash: .asciz " - "
text_want: .asciz "# want "
text_got: .asciz ", got "
text_plan: .asciz "1.."
text_skip: .asciz "1..0 # SKIP "

    .section .data
    .balign 16
    .global gdt
gdt:
    FLAT_DESCRIPTORS
    .quad 0x00cffb000000ffff /* UCS32 */
    .quad 0x00cff3000000ffff /* UDS */
    .quad 0x00affb000000ffff /* UCS64 */
    .global tss64_desc, tss32_desc
tss64_desc:
    .word 0x67, tss64
    .byte 0, 0x89, 0, 0
    .quad 0
tss32_desc:
    .word 0x67, tss32
    .byte 0, 0x89, 0, 0
    .quad 0x00009b0f0000ffff /* CS16: base F0000 */
    .quad 0x000093000000ffff /* DS16 */
    .global gdt_spare
gdt_spare: /* GDT_SPARE */
    .fill 8, 8, 0
gdt_end:
    .global gdt_ptr32, idt_ptr32, idt_ptr64, idt_ptr16, gdt_ptr64
gdt_ptr32:
    .word gdt_end - gdt - 1
    .long gdt
gdt_ptr64:
    .word gdt_end - gdt - 1
    .quad gdt
idt_ptr32:
    .word 256 * 8 - 1
    .long idt32
idt_ptr64:
    .word 256 * 16 - 1
    .quad idt64
idt_ptr16:
    .word 0x3ff
    .long 0

    .balign 8
    .global trap_vec, trap_err, trap_ip, trap_cs, trap_flags, trap_sp, trap_ss, trap_cr2
    .global trap_frame, trap_count, trap_hook, trap_resume, trap_resume_rsp, trap_eax
trap_vec: .quad -1
trap_err: .quad 0
trap_ip: .quad 0
trap_cs: .quad 0
trap_flags: .quad 0
trap_sp: .quad 0
trap_ss: .quad 0
trap_cr2: .quad 0
trap_frame: .quad 0
trap_count: .quad 0
trap_hook: .quad 0
trap_resume: .quad 0
trap_resume_rsp: .quad 0
trap_eax: .quad 0
nr_tests: .quad 0
nr_failed: .quad 0
    .balign 16
    .global tss32, tss64
tss32: .fill 26, 4, 0
    .balign 16
tss64: .fill 26, 4, 0

    .section .bss
    .balign 4096
    .global pml4, pdpt, low_pd, low_pt, test_pd, test_pt, idt32, idt64
pml4: .skip 4096
pdpt: .skip 4096
low_pd: .skip 4096
low_pt: .skip 4096
test_pd: .skip 4096
test_pt: .skip 4096
idt64: .skip 4096
idt32: .skip 4096
    .skip 4096
    .global stack_top, ring0_stack_top, ist_stack_top, user_stack_top
stack_top:
    .skip 4096
ring0_stack_top:
    .skip 4096
ist_stack_top:
    .skip 4096
user_stack_top:
