/* SPDX-License-Identifier: GPL-2.0-or-later
 * Every fault a 64-bit guest can get by itself, with its error code (SDM 3A chapter 6), and that
 * the saved RIP is the faulting instruction's, or the next one's for traps.
 *
 * TCG numbers IDT entries by 16 in error codes, and knows no alignment checks:
 * qemu: gate not present: error code
 * qemu: task gate in long mode: error code
 * qemu: vector beyond the idt: error code
 * qemu: #NP delivering #UD is no double fault: error code
 * qemu: int 21h through a gate of dpl 0: error code
 * qemu: unaligned load with AC: vector
 * qemu: unaligned push with AC: vector
 * qemu: which leaves rsp
 * qemu: unaligned fstp with AC: vector
 * qemu: which pops nothing
 */
#include "lib.inc"

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64

    xor ecx, ecx
    TRY(div ecx)
    EXPECT("division by zero", DE)
    TRY(1: div ecx)
    CHECK("#DE saves the instruction's own address", [trap_ip], offset 1b)
    mov eax, 0x80000000
    mov edx, -1
    mov ecx, -1
    TRY(idiv ecx)
    EXPECT("idiv overflow", DE)
    CHECK("a fault leaves registers alone", rax, 0x80000000)

    TRY(1: int3; 2: nop)
    EXPECT("int3", BP)
    CHECK("#BP saves the next address", [trap_ip], offset 2b)
    TRY(1: int 0x42; 2: nop)
    EXPECT("int 42h", 0x42)
    CHECK("INT n saves the next address", [trap_ip], offset 2b)

    TRY(ud2)
    EXPECT("ud2", UD)
    TRY(.byte 0x06)
    EXPECT("push es does not exist in 64-bit mode", UD)
    TRY(.byte 0xf0, 0x90)
    EXPECT("lock nop", UD)
    TRY(.byte 0xf0, 0x01, 0xc0)
    EXPECT("lock add with register destination", UD)
    TRY(.byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90)
    EXPECT("16-byte instruction", GP)
    TRY(mov cr1, rax)
    EXPECT("mov cr1", UD)

    /* ---- #GP ---- */
    mov rbx, 0x800000000000
    TRY(mov rax, [rbx])
    EXPECT("non-canonical load", GP)
    TRY(jmp rbx)
    EXPECT("jump to a non-canonical address", GP)
    mov eax, 0x68 + 4
    TRY(mov ds, eax)
    EXPECT("selector in an absent LDT", GP, 0x6c)
    mov eax, 0xf8
    TRY(mov ds, eax)
    EXPECT("selector beyond the GDT", GP, 0xf8)
    mov eax, TSS64
    TRY(mov es, eax)
    EXPECT("system descriptor into es", GP, TSS64)
    mov eax, CS64
    TRY(mov ss, eax)
    EXPECT("code segment into ss", GP, CS64)
    xor eax, eax
    TRY(mov ss, eax)
    EXPECT_OK("null ss at cpl 0 in 64-bit mode")
    mov eax, DS32
    mov ss, eax

    mov rax, 0x0000930000000000 /* data, not present */
    btr rax, 47
    mov [gdt_spare], rax
    mov eax, GDT_SPARE
    TRY(mov ds, eax)
    EXPECT("data segment not present", NP, GDT_SPARE)
    TRY(mov ss, eax)
    EXPECT("stack segment not present", SS_, GDT_SPARE)
    mov eax, DS32
    mov ds, eax

    /* ---- gates ---- */
    and word ptr [idt64 + 16 * 0x43 + 4], 0x7fff
    TRY(int 0x43)
    EXPECT("gate not present", NP, 0x43 * 8 + 2)
    TRY(1: int 0x43)
    CHECK("it saves the INT's own address", qword ptr [trap_ip], offset 1b)
    mov byte ptr [idt64 + 16 * 0x44 + 5], 0x85
    TRY(int 0x44)
    EXPECT("task gate in long mode", GP, 0x44 * 8 + 2)
    mov word ptr [idt64 + 16 * 0x45 + 2], 0
    TRY(int 0x45)
    EXPECT("null selector in a gate", GP)
    mov word ptr [idt64 + 16 * 0x45 + 2], DS32
    TRY(int 0x45)
    EXPECT("data selector in a gate", GP, DS32)
    mov word ptr [idt64 + 16 * 0x45 + 2], CS32
    TRY(int 0x45)
    EXPECT("32-bit code selector in a gate", GP, CS32)
    mov word ptr [idt64 + 16 * 0x45 + 2], CS64
    sub rsp, 16
    mov word ptr [rsp], 16 * 0x46 - 1
    mov qword ptr [rsp + 2], offset idt64
    lidt [rsp]
    TRY(int 0x46)
    EXPECT("vector beyond the idt", GP, 0x46 * 8 + 2)
    lidt [idt_ptr64]
    add rsp, 16

    /* IST: the handler runs on its own stack, aligned */
    mov dword ptr [tss64 + 0x24], offset ist_stack_top
    mov byte ptr [idt64 + 16 * UD + 4], 1
    TRY(ud2)
    CHECK("ist stack", [trap_frame], offset ist_stack_top - 40)
    mov byte ptr [idt64 + 16 * UD + 4], 0
    mov rbx, rsp
    sub rsp, 3
    TRY(ud2)
    add rsp, 3
    mov rax, rbx
    sub rax, 3
    CHECK("frame holds the old rsp", [trap_sp], rax)
    and rax, -16
    sub rax, 40
    CHECK("frame is aligned down to 16", [trap_frame], rax)
    CHECK("frame holds ss", [trap_ss], DS32)

    /* #DF: the #NP handler's gate is not present either */
    and word ptr [idt64 + 16 * GP + 4], 0x7fff
    mov rbx, 0x800000000000
    TRY(mov rax, [rbx])
    EXPECT("#NP delivering #GP is a double fault", DF)
    or word ptr [idt64 + 16 * GP + 4], 0x8000
    and word ptr [idt64 + 16 * UD + 4], 0x7fff
    TRY(ud2)
    EXPECT("#NP delivering #UD is no double fault", NP, UD * 8 + 3) /* EXT: SDM 3A 6.13 */
    or word ptr [idt64 + 16 * UD + 4], 0x8000
    and word ptr [idt64 + 16 * PF + 4], 0x7fff
    TRY(mov rax, [TEST_VA])
    EXPECT("#NP delivering #PF is a double fault", DF)
    or word ptr [idt64 + 16 * PF + 4], 0x8000

    /* ---- user mode ---- */
    mov edi, offset user_hlt
    TRY(call run_user64)
    EXPECT("hlt at cpl 3", GP)
    CHECK("fault came from the user's code segment", [trap_cs], UCS64)
    CHECK("on the stack of the TSS", [trap_frame], offset ring0_stack_top - 40)
    mov edi, offset user_int
    TRY(call run_user64)
    EXPECT("int 21h through a gate of dpl 0", GP, 0x21 * 8 + 2)
    mov edi, offset user_int80
    TRY(call run_user64)
    EXPECT("int 80h through a gate of dpl 3", 0x80)
    mov edi, offset user_cli
    TRY(call run_user64)
    EXPECT("cli at cpl 3", GP)
    mov edi, offset user_in
    TRY(call run_user64)
    EXPECT("in without i/o permission", GP)
    mov edi, offset user_rdmsr
    TRY(call run_user64)
    EXPECT("rdmsr at cpl 3", GP)
    mov edi, offset user_cr
    TRY(call run_user64)
    EXPECT("mov cr at cpl 3", GP)
    mov edi, offset user_lgdt
    TRY(call run_user64)
    EXPECT("lgdt at cpl 3", GP)
    mov edi, offset user_kernel
    TRY(call run_user64)
    EXPECT("reading a supervisor page", PF, PF_P | PF_U)
    mov edi, offset user_sel
    TRY(call run_user64)
    EXPECT("loading a kernel data segment", GP, DS32)
    mov edi, offset user_sgdt
    TRY(call run_user64)
    EXPECT("sgdt without umip", 0x80)
    mov rax, cr4
    or eax, CR4_UMIP
    TRY(mov cr4, rax)
    cmp qword ptr [trap_vec], -1
    jne 1f
    mov edi, offset user_sgdt
    TRY(call run_user64)
    EXPECT("sgdt with umip", GP)
    mov edi, offset user_smsw
    TRY(call run_user64)
    EXPECT("smsw with umip", GP)
1:
    mov rax, cr4
    or eax, CR4_TSD
    mov cr4, rax
    mov edi, offset user_rdtsc
    TRY(call run_user64)
    EXPECT("rdtsc with cr4.tsd", GP)
    mov rax, cr4
    and eax, ~CR4_TSD
    mov cr4, rax
    mov edi, offset user_rdtsc
    TRY(call run_user64)
    EXPECT("rdtsc without it", 0x80)

    /* #AC: at CPL 3, with CR0.AM and EFLAGS.AC */
    mov rax, cr0
    or eax, CR0_AM
    mov cr0, rax
    mov edi, offset user_unaligned
    TRY(call run_user64)
    EXPECT("unaligned load with AC", AC)
    mov edi, offset user_aligned
    TRY(call run_user64)
    EXPECT("aligned load with AC", 0x80)
    mov edi, offset user_push_unaligned
    TRY(call run_user64)
    EXPECT("unaligned push with AC", AC)
    mov rax, [trap_eax]
    CHECK("which leaves rsp", [trap_sp], rax)
    fninit
    mov edi, offset user_fstp_unaligned
    TRY(call run_user64)
    EXPECT("unaligned fstp with AC", AC)
    fnstsw ax
    movzx eax, ax
    CHECK("which pops nothing", rax, 7 << 11)
    pushfq
    or dword ptr [rsp], FL_AC
    popfq
    TRY(mov eax, [trap_eax + 1])
    EXPECT_OK("unaligned load with AC at cpl 0")
    FINISH

    .section .utext, "ax"
user_hlt: hlt
user_int: int 0x21
user_int80: int 0x80
user_cli: cli
user_in: in al, 0x80
user_rdmsr: mov ecx, MSR_EFER
    rdmsr
user_cr: mov rax, cr0
user_lgdt: lgdt [user_data]
user_kernel: mov eax, [trap_eax]
user_sel: mov eax, DS32
    mov ds, eax
user_sgdt: sgdt [rsp - 128]
    int 0x80
user_smsw: smsw eax
    int 0x80
user_rdtsc: rdtsc
    int 0x80
user_unaligned:
    pushfq
    or dword ptr [rsp], FL_AC
    popfq
    mov eax, [user_data + 1]
    int 0x80
user_aligned:
    pushfq
    or dword ptr [rsp], FL_AC
    popfq
    mov eax, [user_data]
    mov al, [user_data + 1]
    int 0x80
user_push_unaligned:
    pushfq
    or dword ptr [rsp], FL_AC
    popfq
    sub rsp, 3
    mov rax, rsp
    push rax
    int 0x80
user_fstp_unaligned:
    pushfq
    or dword ptr [rsp], FL_AC
    popfq
    fld1
    fstp qword ptr [rsp - 35]
    int 0x80
    .balign 16
user_data: .quad 0, 0
