/* SPDX-License-Identifier: GPL-2.0-or-later
 * Integer arithmetic by the host's own instructions, with the flags they leave, in CpuState.cc's
 * form (LAHF; SETO). Undefined flags come out as this host makes them.
 *
 * Each macro works on lvalues d (destination, of the operand's size), s (source) and an unsigned
 * cc; those with _CC read the old flags from cc, which the caller sets from cpu->cc.
 */
#ifndef ACCEL_INTERP_HOST_X86_64_H
#define ACCEL_INTERP_HOST_X86_64_H

#define SAVE_FLAGS "\n\tlahf\n\tseto %%al"
#define LOAD_CF "bt $8, %%eax\n\t"
#define LOAD_FLAGS "addb $0x7f, %%al\n\tsahf\n\t"

#define HOST_ALU(insn, d, s, cc)                                                                   \
    __asm__(insn " %2, %0" SAVE_FLAGS : "+r"(d), "=&a"(cc) : "r"(s) : "cc")
#define HOST_ALU_CC(insn, d, s, cc)                                                                \
    __asm__(LOAD_CF insn " %2, %0" SAVE_FLAGS : "+r"(d), "+a"(cc) : "r"(s) : "cc")
#define HOST_UNARY(insn, d, cc) __asm__(insn " %0" SAVE_FLAGS : "+r"(d), "=&a"(cc) : : "cc")
#define HOST_UNARY_CC(insn, d, cc)                                                                 \
    __asm__(LOAD_CF insn " %0" SAVE_FLAGS : "+r"(d), "+a"(cc) : : "cc")
/* n: count in CL. Flags a count of 0 or a rotate keeps come from cc. */
#define HOST_SHIFT_CC(insn, d, n, cc)                                                              \
    __asm__(LOAD_FLAGS insn " %%cl, %0" SAVE_FLAGS : "+r"(d), "+a"(cc) : "c"(n) : "cc")

/* LOCKed, straight on guest memory. */
#define HOST_LOCK_ALU(insn, p, s, cc)                                                              \
    __asm__ volatile("lock " insn " %2, %0" SAVE_FLAGS                                             \
                     : "+m"(*(p)), "=&a"(cc) : "r"(s) : "cc", "memory")
#define HOST_LOCK_ALU_CC(insn, p, s, cc)                                                           \
    __asm__ volatile(LOAD_CF "lock " insn " %2, %0" SAVE_FLAGS                                     \
                     : "+m"(*(p)), "+a"(cc) : "r"(s) : "cc", "memory")
#define HOST_LOCK_UNARY_CC(insn, sfx, p, cc)                                                       \
    __asm__ volatile(LOAD_CF "lock " insn sfx " %0" SAVE_FLAGS                                     \
                     : "+m"(*(p)), "+a"(cc) : : "cc", "memory")

/* BTS, BTR and BTC: the bit's old value to cf. n is below the operand's size. */
#define HOST_LOCK_BIT(insn, p, n, cf)                                                              \
    __asm__ volatile("lock " insn " %2, %0"                                                        \
                     : "+m"(*(p)), "=@ccc"(cf) : "r"(n) : "memory")

#endif
