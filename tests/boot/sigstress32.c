/* SPDX-License-Identifier: GPL-2.0-or-later
 * sigstress.c's registers for 32-bit code, without a C library: general registers, segments, x87
 * and SSE over timer signals with both kinds of frame that Linux on i386 has, the old one (no
 * SA_SIGINFO) and the new one. sigstress32 SECONDS
 *
 *     gcc -m32 -O2 -static -nostdlib -no-pie -fno-pie -ffreestanding -fno-stack-protector -msse2
 */
#include <stdbool.h>
#include <stdint.h>

enum { SYS_EXIT = 1, SYS_WRITE = 4, SYS_TIME = 13, SYS_SETITIMER = 104, SYS_RT_SIGACTION = 174 };
enum { SIGALRM = 14, SIGVTALRM = 26, SA_SIGINFO = 4, SA_NODEFER = 0x40000000 };

typedef struct KernelSigaction {
    void (*handler)(int sig);
    uint32_t flags;
    void *restorer;
    uint32_t mask[2];
} KernelSigaction;

typedef struct Registers {
    uint32_t gpr[7]; /* EAX ECX EDX EBX EBP ESI EDI */
    uint32_t sel;    /* DS and ES, 16 bits each */
    uint8_t st[6][16];
    uint8_t xmm[8][16] __attribute__((aligned(16)));
    uint32_t mxcsr, fcw;
} Registers;

/* For the code in assembler. */
Registers in, out;
uint32_t spins;
uint8_t scratch[16384] __attribute__((aligned(4096)));
void spin32(void);

static volatile uint32_t nr_signals;
static uint32_t seed = 12345;

_Static_assert(__builtin_offsetof(Registers, st) == 32 &&
                   __builtin_offsetof(Registers, xmm) == 128 &&
                   __builtin_offsetof(Registers, mxcsr) == 256,
               "");

__asm__("spin32:\n"
        "pushal\n"
        "fninit; fldcw in+260; ldmxcsr in+256\n"
        "fldt in+112; fldt in+96; fldt in+80; fldt in+64; fldt in+48; fldt in+32\n"
        ".irp n,0,1,2,3,4,5,6,7\n movaps in+128+16*\\n, %xmm\\n\n.endr\n"
        "mov in, %eax; mov in+4, %ecx; mov in+8, %edx; mov in+12, %ebx\n"
        "mov in+16, %ebp; mov in+20, %esi; mov in+24, %edi\n"
        "1:\n"
        "push %esi; push %edi; push %ecx; push %eax\n"
        "mov $scratch, %edi; lea 4090(%edi), %esi; mov $40, %ecx; cld; rep movsb\n"
        "mov $scratch+8190, %edi; mov $9, %ecx; rep stosl\n"
        "lock incl scratch+128; lock xaddl %eax, scratch+132\n"
        "mov %edx, scratch+4093; cmp %edx, scratch+4093; jne 9f\n"
        "pushf; stc; aaa; das; aad; popf; push %ds; pop %es; push %fs; pop %fs\n"
        "lock cmpxchg8b scratch+64\n"
        "mov in+8, %edx; pop %eax; pop %ecx; pop %edi; pop %esi\n"
        "pushal; xor %ebx, %ebx; popal; enter $16, $1; leave\n"
        "fxch %st(3); fxch %st(3); fld1; fstp %st(0); fchs; fchs\n"
        "pxor %xmm1, %xmm2; pxor %xmm1, %xmm2; pshufd $0x4e, %xmm5, %xmm5\n"
        "pshufd $0x4e, %xmm5, %xmm5; movups %xmm4, scratch+12281; movups scratch+12281, %xmm4\n"
        "call 2f; jmp 3f\n"
        "2: ret\n"
        "9: ud2\n"
        "3: xchg %ebx, %ebp; xchg %ebx, %ebp; bswap %esi; bswap %esi\n"
        "decl spins; jnz 1b\n"
        "mov %eax, out; mov %ecx, out+4; mov %edx, out+8; mov %ebx, out+12\n"
        "mov %ebp, out+16; mov %esi, out+20; mov %edi, out+24\n"
        "mov %ds, out+28; mov %es, out+30\n"
        ".irp n,0,1,2,3,4,5,6,7\n movaps %xmm\\n, out+128+16*\\n\n.endr\n"
        "fnstcw out+260; stmxcsr out+256\n"
        "fstpt out+32; fstpt out+48; fstpt out+64; fstpt out+80; fstpt out+96; fstpt out+112\n"
        "fninit; popal; ret");

static long call(long nr, long a, long b, long c, long d)
{
    long ret;
    __asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return ret;
}

/* One line, by one call: others write there, too. */
static void say(const char *first, uint32_t n, const char *second, uint32_t m)
{
    char text[120];
    unsigned len = 0;
    for (unsigned i = 0; i < 2; i++) {
        for (const char *p = i ? second : first; *p; p++) {
            text[len++] = *p;
        }
        char digits[10];
        unsigned nr = 0;
        uint32_t v = i ? m : n;
        do {
            digits[nr++] = (char)('0' + v % 10);
            v /= 10;
        } while (v);
        while (nr) {
            text[len++] = digits[--nr];
        }
    }
    text[len++] = '\n';
    while (call(SYS_WRITE, 1, (long)text, (long)len, 0) < 0) {
    }
}

static void bad(const char *what, uint32_t n)
{
    say("BAD 32-bit signals=", nr_signals, what, n);
    call(SYS_EXIT, 1, 0, 0, 0);
}

static void on_timer(int sig)
{
    volatile uint8_t big[6000];
    nr_signals++;
    for (unsigned i = 0; i < sizeof(big); i += 8) {
        big[i] = (uint8_t)sig;
    }
    uint32_t mxcsr = 0x1fbf;
    __asm__ volatile("fninit; fldpi; fldz; fdivrp; fninit; fldz; fld1; ldmxcsr %0\n\t"
                     ".irp n,0,1,2,3,4,5,6,7\n pcmpeqb %%xmm\\n, %%xmm\\n\n.endr"
                     :
                     : "m"(mxcsr)
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    for (unsigned i = 0; i < sizeof(big); i += 8) {
        if (big[i] != (uint8_t)sig) {
            bad(" the handler's stack ", i);
        }
    }
}

static uint32_t random32(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8 ^ seed << 16;
}

static void fill(Registers *r)
{
    for (unsigned i = 0; i < sizeof(*r); i++) {
        ((uint8_t *)r)[i] = (uint8_t)random32();
    }
    for (unsigned i = 0; i < 6; i++) { /* normal numbers, no bytes behind */
        r->st[i][7] |= 0x80;
        r->st[i][9] = 0x3f;
        for (unsigned k = 10; k < 16; k++) {
            r->st[i][k] = 0;
        }
    }
    r->mxcsr = 0x1f80 | (r->mxcsr & 0x603f);
    r->fcw = 0x7f | (r->fcw & 0xf00);
    uint32_t sel;
    __asm__("mov %%ds, %0" : "=r"(sel));
    r->sel = (sel & 0xffff) | sel << 16;
}

static void take_signals(uint32_t flags)
{
    KernelSigaction sa = { .handler = on_timer, .flags = SA_NODEFER | flags };
    call(SYS_RT_SIGACTION, SIGALRM, (long)&sa, 0, 8);
    call(SYS_RT_SIGACTION, SIGVTALRM, (long)&sa, 0, 8);
}

static void test(uint32_t seconds)
{
    const uint32_t timer[4] = { 0, 2000, 0, 2000 };
    uint32_t end = (uint32_t)call(SYS_TIME, 0, 0, 0, 0) + seconds;
    for (uint32_t round = 0; (uint32_t)call(SYS_TIME, 0, 0, 0, 0) < end; round++) {
        take_signals(round & 1 ? SA_SIGINFO : 0);
        if (!round) {
            call(SYS_SETITIMER, 0, (long)timer, 0, 0);
            call(SYS_SETITIMER, 1, (long)timer, 0, 0);
        }
        fill(&in);
        spins = 1 + random32() % 2000;
        spin32();
        const uint8_t *a = (const uint8_t *)&in, *b = (const uint8_t *)&out;
        for (unsigned i = 0; i < __builtin_offsetof(Registers, fcw) + 2; i++) {
            if (a[i] != b[i]) {
                bad(" byte of the registers ", i);
            }
        }
    }
}

/* The stack as the kernel leaves it: argc, argv. */
__attribute__((used)) static void start(const uint32_t *stack)
{
    uint32_t seconds = 0;
    for (const char *p = stack[0] > 1 ? (const char *)stack[2] : "1"; *p; p++) {
        seconds = seconds * 10 + (uint32_t)(*p - '0');
    }
    seed += (uint32_t)call(SYS_TIME, 0, 0, 0, 0);
    test(seconds);
    const uint32_t off[4] = { 0 };
    call(SYS_SETITIMER, 0, (long)off, 0, 0);
    call(SYS_SETITIMER, 1, (long)off, 0, 0);
    say("OK 32-bit signals=", nr_signals, " seconds=", seconds);
    call(SYS_EXIT, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %esp, %eax; and $-16, %esp; push %eax; push %eax; push %eax; "
        "push %eax\n"
        "call start");
