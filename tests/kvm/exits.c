/* SPDX-License-Identifier: GPL-2.0-or-later
 * Exits to devices: ports and registers of each size in both directions, strings, accesses that
 * are unaligned or cross a page, and instructions on registers that KVM does not know how to
 * emulate (the interpreter executes those). The device is pc-testdev.
 *
 * bits: 64 32
 * options: -device pc-testdev
 */
#include "guest.h"

enum { ECHO = 0xe0, FW_CFG = 0x510, FW_DATA = 0x511 };
#define REGS 0xff000000u

static uint8_t buf[64];

static inline uint16_t in16(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint32_t in32(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void ports(void)
{
    outl(ECHO, 0x11223344);
    check("out 4, in 4", in32(ECHO), 0x11223344);
    check("in 2", in16(ECHO), 0x3344);
    check("in 2 at 2", in16(ECHO + 2), 0x1122);
    check("in 1 at 1", inb(ECHO + 1), 0x33);
    outb(ECHO + 3, 0xaa);
    outw(ECHO, 0xbbcc);
    check("out 1, out 2", in32(ECHO), 0xaa22bbcc);
    check("nobody's port", in32(0x5550), 0xffffffff);
    Word a = (Word)0x5a5a5a5a5a5a5a5a;
    __asm__ volatile("inb %w1, %b0" : "+a"(a) : "d"(ECHO));
    check("in 1 keeps the rest of rax", a, (Word)0x5a5a5a5a5a5a5acc);
}

static void strings(void)
{
    static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    const void *from = bytes;
    Word n = 8;
    void *to = buf;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(ECHO) : "memory");
    check("rep outsb: rsi", (Word)from - (Word)bytes, 8);
    check("rep outsb: rcx", n, 0);
    check("rep outsb: the last byte", inb(ECHO), 8);
    from = bytes, n = 2;
    __asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(ECHO) : "memory");
    check("rep outsl: the last word", in32(ECHO), 0x08070605);
    outw(FW_CFG, 0);
    n = 4;
    __asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(FW_DATA) : "memory");
    check("rep insb: rdi", (Word)to - (Word)buf, 4);
    check("rep insb: fw_cfg's signature", *(uint32_t *)buf, 0x554d4551);
    outw(FW_CFG, 0);
    to = buf + 11, n = 4;
    __asm__ volatile("std; rep insb; cld" : "+D"(to), "+c"(n) : "d"(FW_DATA) : "memory");
    check("backwards", buf[11] << 24 | buf[10] << 16 | buf[9] << 8 | buf[8], 0x51454d55);
    to = buf + 16, n = 3;
    __asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(ECHO) : "memory");
    check("rep insl", *(uint32_t *)(buf + 24), 0x08070605);
    n = 0;
    __asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(FW_DATA) : "memory");
    check("rep insb, no times", (Word)to - (Word)buf, 28);
}

#define MEM(type, at) (*(volatile type *)(Word)(REGS + (at)))

static void registers(void)
{
    MEM(uint32_t, 0) = 0x44332211;
    MEM(uint32_t, 4) = 0x88776655;
    check("read 1", MEM(uint8_t, 2), 0x33);
    check("read 2", MEM(uint16_t, 4), 0x6655);
    check("read 4", MEM(uint32_t, 4), 0x88776655);
    check("read 4, unaligned", MEM(uint32_t, 3), 0x77665544);
    MEM(uint8_t, 1) = 0xee;
    MEM(uint16_t, 6) = 0xdddd;
    check("write 1", MEM(uint32_t, 0), 0x4433ee11);
    check("write 2", MEM(uint32_t, 4), 0xdddd6655);
    MEM(uint32_t, 0xffe) = 0xa1b2c3d4;
    check("across pages", MEM(uint32_t, 0xffe), 0xa1b2c3d4);
    check("its second part", MEM(uint16_t, 0x1000), 0xa1b2);
#ifdef __x86_64__
    MEM(uint64_t, 0x10) = 0x0102030405060708;
    check("8 bytes", MEM(uint64_t, 0x10), 0x0102030405060708);
    check("8 bytes: upper half", MEM(uint32_t, 0x14), 0x01020304);
    check("8 bytes, unaligned", MEM(uint64_t, 0x11) & 0xffffffffffffff, 0x01020304050607);
#endif
    MEM(uint32_t, 0x20) = 5;
    __asm__ volatile("addl $7, %0" : "+m"(MEM(uint32_t, 0x20)));
    check("read-modify-write", MEM(uint32_t, 0x20), 12);
    uint32_t x = 100;
    __asm__ volatile("lock xaddl %0, %1" : "+r"(x), "+m"(MEM(uint32_t, 0x20)));
    check("lock xadd", MEM(uint32_t, 0x20), 112);
    check("lock xadd: old", x, 12);
    void *to = (void *)(Word)(REGS + 0x100);
    Word n = 16;
    __asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(0x77777777) : "memory");
    check("rep stos: the last", MEM(uint32_t, 0x13c), 0x77777777);
    check("rep stos: not behind", MEM(uint32_t, 0x140), 0);
    const void *from = (const void *)(Word)(REGS + 0x100);
    to = buf, n = 5;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    check("rep movs from registers", *(uint32_t *)buf, 0x77777777);
}

/* Few emulators of single instructions know these. */
static void rare(void)
{
    uint32_t out[4] = { 0 };
    MEM(uint32_t, 0x200) = 0x40490fdb; /* pi */
    __asm__ volatile("flds %1; fadd %%st(0), %%st(0); fstps %0"
                     : "=m"(out[0])
                     : "m"(MEM(uint32_t, 0x200)));
    check("x87 on a register", out[0], 0x40c90fdb);
    for (unsigned i = 0; i < 4; i++) {
        MEM(uint32_t, 0x210 + 4 * i) = 0x10001 * i;
    }
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0; paddd %1, %%xmm0; movdqu %%xmm0, %0"
                     : "=m"(out)
                     : "m"(*(volatile __attribute__((vector_size(16))) int *)(Word)(REGS + 0x210))
                     : "memory");
    check("paddd from registers", out[3], 0x30002);
}

void guest_main(void)
{
    if (BITS == 64) {
        /* lib.S maps no more than RAM. */
        Word root = new_space();
        pte_put(root, REGS, REGS | PTE_P | PTE_W | PTE_PCD);
        pte_put(root, REGS + PAGE, (REGS + PAGE) | PTE_P | PTE_W | PTE_PCD);
        use_space(root);
    }
    ports();
    strings();
    registers();
    rare();
}
