/* SPDX-License-Identifier: GPL-2.0-or-later
 * Run-time of the guests written in C, 64- and 32-bit (BITS), on top of lib.S: per-CPU data at gs:0,
 * traps that call trap() in guest.h, probes, and the way of the other CPUs from SIPI to cpu_main().
 * guest.h has the C side; struct Cpu and struct Frame there go with the offsets here.
 */
#include "lib.inc"

#define CPUS 8
#define TSS_SEL(n) (0x38 + 16 * (n))
#define GS_SEL(n) (0xb8 + 8 * (n))
#define STACK 0x2000
#if BITS == 64
#define REG_AX rax
#define REG_BX rbx
#else
#define REG_AX eax
#define REG_BX ebx
#endif

/* struct Cpu */
#if BITS == 64
#define C_RESUME_IP 16
#define C_RESUME_SP 24
#define C_USER_SP 32
#define C_USER_FLAGS 40
#define CPU_BYTES 256
#else
#define C_RESUME_IP 8
#define C_RESUME_SP 12
#define C_USER_SP 16
#define C_USER_FLAGS 20
#define CPU_BYTES 128
#endif

    .text
    .code32
    .global main32
main32:
#if BITS == 64
    call enter_long64
    .code64
    lgdt [crt_gdt_ptr]
    lidt [crt_idt_ptr]
    xor edi, edi
    call set_up_cpu
    call enable_fpu
    call guest_main
    call guest_finish
#else
    lgdt [crt_gdt_ptr]
    lidt [crt_idt_ptr]
    push 0
    call set_up_cpu
    add esp, 4
    call enable_fpu
    call guest_main
    call guest_finish
#endif

/* ---- the other CPUs; their SIPI's vector is this page of the ROM ---- */
    .balign 4096
    .code16
    .global ap_start
ap_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    lgdt [crt_gdt_ptr]
    GO_TO_CS32 1f
    .code32
1:  mov eax, DS32
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, [boot_cr4]
    mov cr4, eax
    mov eax, [boot_cr3]
    mov cr3, eax
    mov eax, [boot_efer]
    test eax, eax
    jz 2f
    xor edx, edx
    mov ecx, MSR_EFER
    wrmsr
2:  mov eax, [boot_cr0]
    mov cr0, eax
    mov edi, 1
    lock xadd [nr_started], edi
    mov ecx, edi
    inc ecx
    imul ecx, ecx, STACK
    lea esp, [ecx + cpu_stacks]
#if BITS == 64
    .byte 0xea
    .long 1f
    .word CS64
    .code64
1:  lidt [crt_idt_ptr]
    push rdi
    push rdi
    call set_up_cpu
    call enable_fpu
    pop rdi
    call cpu_main
#else
    lidt [crt_idt_ptr]
    push edi
    call set_up_cpu
    call enable_fpu
    call cpu_main
#endif

#if BITS == 64
    .code64
set_up_cpu: /* rdi: index */
    mov eax, UDS
    mov gs, eax
    mov eax, edi
    imul eax, eax, CPU_BYTES
    add eax, offset cpus
    mov [rax], rax
    mov [rax + 8], edi
    mov ecx, edi
    inc ecx
    imul ecx, ecx, STACK
    lea edx, [rcx + user_stacks]
    mov [rax + C_USER_SP], rdx
    mov esi, edi
    imul esi, esi, 104
    add esi, offset crt_tss
    lea edx, [rcx + trap_stacks]
    mov [rsi + 4], rdx /* RSP0 */
    mov word ptr [rsi + 102], 104
    xor edx, edx
    mov ecx, 0xc0000101 /* IA32_GS_BASE */
    wrmsr
    call tss_descriptor
    ltr ax
    ret
#else
    .code32
set_up_cpu: /* [esp + 4]: index */
    push edi
    push esi
    mov edi, [esp + 12]
    mov eax, edi
    imul eax, eax, CPU_BYTES
    add eax, offset cpus
    mov [eax], eax
    mov [eax + 4], edi
    mov ecx, edi
    inc ecx
    imul ecx, ecx, STACK
    lea edx, [ecx + user_stacks]
    mov [eax + C_USER_SP], edx
    lea edx, [edi * 8 + crt_gdt + GS_SEL(0)]
    mov [edx + 2], ax
    shr eax, 16
    mov [edx + 4], al
    lea eax, [edi * 8 + GS_SEL(0) + 3]
    mov gs, eax
    mov esi, edi
    imul esi, esi, 104
    add esi, offset crt_tss
    lea edx, [ecx + trap_stacks]
    mov [esi + 4], edx /* ESP0, SS0 */
    mov dword ptr [esi + 8], DS32
    mov word ptr [esi + 102], 104
    call tss_descriptor
    ltr ax
    pop esi
    pop edi
    ret
#endif
/* edi: index, esi: TSS below 64 KiB * 16; gives ax, the selector. The same bytes in both modes. */
tss_descriptor:
    mov eax, edi
    shl eax, 4
    mov word ptr [eax + crt_gdt + TSS_SEL(0)], 103
    mov [eax + crt_gdt + TSS_SEL(0) + 2], si
    shr esi, 16
    mov edx, esi
    mov [eax + crt_gdt + TSS_SEL(0) + 4], dl
    mov byte ptr [eax + crt_gdt + TSS_SEL(0) + 5], 0x89
    add eax, TSS_SEL(0)
    ret

/* SSE and, where it is, AVX. */
enable_fpu:
    push REG_BX
    mov REG_AX, cr0
    and eax, ~(CR0_EM | CR0_TS)
    or eax, CR0_MP | CR0_NE
    mov cr0, REG_AX
    fninit
    mov REG_AX, cr4
    or eax, CR4_OSFXSR | CR4_OSXMMEXCPT
    mov cr4, REG_AX
    mov eax, 1
    xor ecx, ecx
    cpuid
    and ecx, (1 << 26) | (1 << 28) /* XSAVE, AVX */
    cmp ecx, (1 << 26) | (1 << 28)
    jne 1f
    mov REG_AX, cr4
    or eax, CR4_OSXSAVE
    mov cr4, REG_AX
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
1:  pop REG_BX
    ret

/* ---- traps ---- */
    .balign 16
stubs:
    STUBS common

common:
#if BITS == 64
    .irp r, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    push \r
    .endr
    cld
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16
    call trap
    test eax, eax
    jnz resume
    mov rsp, rbp
    .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
    pop \r
    .endr
    add rsp, 16
    iretq
resume:
    mov rsp, gs:[C_RESUME_SP]
    jmp gs:[C_RESUME_IP]
#else
    pushad
    push ds
    push es
    cld
    mov eax, DS32
    mov ds, eax
    mov es, eax
    lea eax, [esp + 8]
    push eax
    call trap
    add esp, 4
    test eax, eax
    jnz resume
    pop es
    pop ds
    popad
    add esp, 8
    iretd
resume:
    mov eax, DS32
    mov ss, eax
    mov esp, gs:[C_RESUME_SP]
    jmp gs:[C_RESUME_IP]
#endif

/* struct Regs, which rdi points to */
.macro load_regs
#if BITS == 64
    mov rax, [rdi]
    mov rbx, [rdi + 8]
    mov rcx, [rdi + 16]
    mov rdx, [rdi + 24]
    mov rsi, [rdi + 32]
    mov rdi, [rdi + 40]
#else
    mov eax, [edi]
    mov ebx, [edi + 4]
    mov ecx, [edi + 8]
    mov edx, [edi + 12]
    mov esi, [edi + 16]
    mov edi, [edi + 20]
#endif
.endm

/* void probe(const Regs *r, uword code, uword user): runs code, at CPL 3 if user, until it traps;
 * INT 80h is its regular end. What came of it is in cpu_self(). */
    .global probe
probe:
#if BITS == 64
    .irp r, rbx, rbp, r12, r13, r14, r15
    push \r
    .endr
    mov gs:[C_RESUME_SP], rsp
    lea rax, [rip + 9f]
    mov gs:[C_RESUME_IP], rax
    test edx, edx
    jnz 1f
    push rsi
    load_regs
    ret
1:  push UDS
    push qword ptr gs:[C_USER_SP]
    pushfq
    pop rax
    or rax, gs:[C_USER_FLAGS]
    push rax
    push UCS64
    push rsi
    load_regs
    iretq
9:  .irp r, r15, r14, r13, r12, rbp, rbx
    pop \r
    .endr
    ret
#else
    push ebx
    push ebp
    push esi
    push edi
    mov edi, [esp + 20]
    mov esi, [esp + 24]
    mov edx, [esp + 28]
    mov gs:[C_RESUME_SP], esp
    mov dword ptr gs:[C_RESUME_IP], offset 9f
    test edx, edx
    jnz 1f
    push esi
    load_regs
    ret
1:  push UDS
    push dword ptr gs:[C_USER_SP]
    pushfd
    pop eax
    or eax, gs:[C_USER_FLAGS]
    push eax
    push UCS32
    push esi
    mov eax, UDS
    mov ds, eax
    mov es, eax
    load_regs
    iretd
9:  mov eax, DS32
    mov ds, eax
    mov es, eax
    pop edi
    pop esi
    pop ebp
    pop ebx
    ret
#endif

    .data
    .balign 8
crt_gdt:
    FLAT_DESCRIPTORS
    .quad 0x00cffb000000ffff /* UCS32 */
    .quad 0x00cff3000000ffff /* UDS */
    .quad 0x00affb000000ffff /* UCS64 */
    .fill 2 * CPUS, 8, 0     /* the TSS of each: set_up_cpu */
    .rept CPUS
    .quad 0x0040f300000000ff + CPU_BYTES - 256 /* GS of 32-bit code: set_up_cpu adds the base */
    .endr
crt_gdt_end:
    .balign 8
crt_gdt_ptr:
    .word crt_gdt_end - crt_gdt - 1
    .quad crt_gdt
crt_idt_ptr:
    .word 256 * (BITS / 4) - 1
    .quad crt_idt
    .balign 16
crt_tss:
    .fill CPUS * 26, 4, 0
    .balign 4
    .global nr_started, boot_cr0, boot_cr3, boot_cr4, boot_efer
nr_started: .long 1
boot_cr0: .long 0
boot_cr3: .long 0
boot_cr4: .long 0
boot_efer: .long 0

/* Gates: CS, present, 32- or 64-bit interrupt gate; 80h is for everyone. */
    .balign 16
crt_idt:
    .set vec, 0
    .rept 256
    .word stubs + 16 * vec - 0xf0000
#if BITS == 64
    .word CS64
#else
    .word CS32
#endif
    .byte 0
    .if vec == 0x80
    .byte 0xee
    .else
    .byte 0x8e
    .endif
    .word 0xf
#if BITS == 64
    .quad 0
#endif
    .set vec, vec + 1
    .endr

    .section .bss
    .balign 4096
    .global cpus, user_stacks, user_stacks_end
user_stacks: .skip CPUS * STACK
user_stacks_end:
trap_stacks: .skip CPUS * STACK
cpu_stacks: .skip CPUS * STACK /* CPU 0 stays on lib.S's */
    .balign 64
cpus: .skip CPUS * CPU_BYTES
