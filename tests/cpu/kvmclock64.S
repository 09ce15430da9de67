/* SPDX-License-Identifier: GPL-2.0-or-later
 * kvmclock over a second, against itself and the TSC: neither goes back. Moved between engines
 * (run.py --switch) it must not, either.
 *
 * cpu: max,kvm=on
 */
#include "lib.inc"

#define SYSTEM_TIME 0x4b564d01

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    mov ecx, SYSTEM_TIME
    mov eax, offset clock + 1
    xor edx, edx
    wrmsr
    xor r12d, r12d /* latest clock */
    xor r13d, r13d /* how often it went back */
    xor r14d, r14d /* latest TSC */
    xor r15d, r15d /* how often that did */
    call read_clock
    mov r12, rax
    lea r11, [rax + 1000000000]
again:
    call read_clock
    cmp rax, r12
    adc r13, 0
    mov r12, rax
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    cmp rax, r14
    adc r15, 0
    mov r14, rax
    cmp r12, r11
    jb again
    CHECK("kvmclock never goes back", r13, 0)
    CHECK("nor does the tsc", r15, 0)
    FINISH

#include "kvmclock.inc"
