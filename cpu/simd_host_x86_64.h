/* SPDX-License-Identifier: GPL-2.0-or-later
 * The host's MXCSR.
 */
#ifndef CPU_SIMD_HOST_X86_64_H
#define CPU_SIMD_HOST_X86_64_H

#include <stdint.h>

static inline uint32_t host_stmxcsr(void)
{
    uint32_t val;
    __asm__ volatile("stmxcsr %0" : "=m"(val));
    return val;
}

static inline void host_ldmxcsr(uint32_t val)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(val));
}

#endif
