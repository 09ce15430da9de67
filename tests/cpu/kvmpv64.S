/* SPDX-License-Identifier: GPL-2.0-or-later
 * KVM's paravirtual interface as a guest finds it on the software engines, which a CPU that started
 * on KVM may have moved to (Linux Documentation/virt/kvm/x86/msr.rst, hypercalls.rst).
 *
 * cpu: max,kvm=on,kvm-poll-control=on
 */
#include "lib.inc"

#define WALL_CLOCK 0x4b564d00
#define SYSTEM_TIME 0x4b564d01
#define ASYNC_PF 0x4b564d02
#define STEAL_TIME 0x4b564d03
#define PV_EOI 0x4b564d04
#define POLL_CONTROL 0x4b564d05
#define WRMSR(msr, low) mov ecx, msr; mov eax, low; xor edx, edx; wrmsr
#define RDMSR(msr) mov ecx, msr; rdmsr; shl rdx, 32; or rax, rdx

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64

    /* ---- CPUID ---- */
    mov eax, 0x40000000
    cpuid
    CHECK("signature 1", rbx, 0x4b4d564b)
    CHECK("signature 2", rcx, 0x564b4d56)
    CHECK("signature 3", rdx, 0x4d)
    mov eax, 0x40000001
    cpuid
    and eax, 0x010000fb
    CHECK("features", rax, 0x010000fb)

    /* ---- the clock ---- */
    mov dword ptr [clock], 6
    TRY(WRMSR(SYSTEM_TIME, offset clock + 1))
    EXPECT_OK("system time")
    mov eax, [clock]
    and eax, 1
    CHECK("version is even", rax, 0)
    mov eax, [clock]
    sub eax, 7
    shr eax, 31
    CHECK("and has grown", rax, 0)
    movzx eax, byte ptr [clock + 29]
    CHECK("the tsc is stable", rax, 1)
    RDMSR(SYSTEM_TIME)
    mov ebx, offset clock + 1
    sub rax, rbx
    CHECK("reads back", rax, 0)
    /* twice the clock: it does not go back, and not by a second */
    call read_clock
    mov r12, rax
    call read_clock
    sub rax, r12
    mov rbx, rax
    shr rbx, 63
    CHECK("goes forward", rbx, 0)
    cmp rax, 1000000000
    setb al
    movzx eax, al
    CHECK("and not far", rax, 1)
    /* setting the TSC moves the pair along */
    call read_clock
    mov r12, rax
    mov ecx, 0x10
    rdmsr
    add edx, 0x100
    wrmsr
    call read_clock
    sub rax, r12
    cmp rax, 1000000000
    setb al
    movzx eax, al
    CHECK("also when the tsc is set", rax, 1)
    WRMSR(SYSTEM_TIME, 0)
    mov r12d, [clock]
    mov ecx, 0x10
    rdmsr
    wrmsr
    sub r12d, [clock]
    CHECK("switched off, it is left alone", r12, 0)

    /* no memory: registers, a hole, the end of the address space */
    TRY(WRMSR(SYSTEM_TIME, 0xfee00301))
    EXPECT_OK("system time in a device")
    TRY(WRMSR(SYSTEM_TIME, 0xd0000001))
    EXPECT_OK("system time in a hole")
    mov ecx, SYSTEM_TIME
    mov eax, -7
    mov edx, -1
    TRY(wrmsr)
    EXPECT_OK("system time nowhere")
    WRMSR(SYSTEM_TIME, 0)

    TRY(WRMSR(WALL_CLOCK, offset wall))
    EXPECT_OK("wall clock")
    mov eax, [wall]
    and eax, 1
    CHECK("wall clock: version is even", rax, 0)
    mov eax, [wall + 8]
    cmp eax, 1000000000
    setb al
    movzx eax, al
    CHECK("wall clock: nanoseconds", rax, 1)
    mov eax, [wall + 4]
    cmp eax, 1700000000 /* some day in 2023 */
    seta al
    movzx eax, al
    CHECK("wall clock: seconds", rax, 1)

    /* ---- structures that nothing happens to ---- */
    mov byte ptr [steal + 16], 1
    TRY(WRMSR(STEAL_TIME, offset steal + 1))
    EXPECT_OK("steal time")
    movzx eax, byte ptr [steal + 16]
    CHECK("never preempted", rax, 0)
    CHECK("nothing is stolen", qword ptr [steal], 0)
    TRY(WRMSR(STEAL_TIME, offset steal + 3))
    EXPECT("steal time: reserved bits", GP)
    TRY(WRMSR(ASYNC_PF, offset apf + 9))
    EXPECT_OK("asynchronous page faults")
    TRY(WRMSR(ASYNC_PF, offset apf + 0x11))
    EXPECT("asynchronous page faults: reserved bits", GP)
    TRY(WRMSR(PV_EOI, offset eoi + 1))
    EXPECT_OK("eoi")
    CHECK("no eoi is taken back", qword ptr [eoi], 0)
    RDMSR(POLL_CONTROL)
    CHECK("poll control", rax, 1)
    TRY(WRMSR(POLL_CONTROL, 2))
    EXPECT("poll control: reserved bits", GP)
    mov ecx, 0x4b564d1f
    TRY(rdmsr)
    EXPECT("no such msr", GP)

    /* ---- hypercalls ---- */
    mov eax, 1 /* VAPIC_POLL_IRQ */
    TRY(vmcall)
    EXPECT_OK("vmcall")
    CHECK("does nothing", rax, 0)
    mov eax, 0x1234
    TRY(vmmcall)
    EXPECT_OK("vmmcall")
    CHECK("no such call", rax, -1000)
    mov eax, 5 /* KICK_CPU */
    xor ebx, ebx
    mov ecx, 99
    TRY(vmcall)
    CHECK("kicks nobody", rax, 0)
    /* a kick that comes before the HLT ends it, interrupts or not */
    mov eax, 5
    xor ebx, ebx
    xor ecx, ecx
    TRY(vmcall)
    CHECK("kicks itself", rax, 0)
    cli
    hlt
    CHECK("and is awake", rax, 0)
    FINISH

#include "kvmclock.inc"
steal: .skip 64
apf: .skip 128
wall: .skip 16
eoi: .skip 16
