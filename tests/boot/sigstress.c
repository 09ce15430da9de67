/* SPDX-License-Identifier: GPL-2.0-or-later
 * A guest's program that lives under timer signals: registers, x87, SSE and AVX state over each of
 * them, signals' frames on stacks that are not there yet, faults that a handler mends, copies on
 * write behind fork, system calls that are interrupted. sigstress.py builds and runs it:
 *
 *     sigstress NAME SECONDS RATE
 *
 * A line BAD says what was wrong; exit status 1. Linux on x86-64 only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <immintrin.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE = 4096, MAGIC_R12 = 0x12120c0c, MAGIC_R13 = 0x13130d0d };

typedef struct Registers {
    uint64_t gpr[16]; /* RSP is not looked at */
    uint8_t ymm[16][32] __attribute__((aligned(32)));
    long double st[8];
    uint32_t mxcsr;
    uint16_t fcw;
} Registers;

static long rate = 500;
static volatile sig_atomic_t nr_signals, depth, deepest, nr_faults;
extern const char loop_begin[], loop_end[]; /* r12 and r13 hold there what on_timer expects */
static char *area;                          /* pages that on_fault makes accessible */
static bool avx;

/* A terminal's write is interrupted, too, and stdio then loses the line. */
static void be_quiet(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
}

static void bad(const char *what, long n)
{
    be_quiet();
    char text[120];
    int len = snprintf(text, sizeof(text), "BAD %s %ld pid %d after %d signals\n", what, n,
                       getpid(), (int)nr_signals);
    _exit(write(1, text, (size_t)len) == len ? 1 : 3);
}

/* ---- signals ---- */

static void scribble(void)
{
    uint64_t ones = ~0ull;
    uint32_t mxcsr = 0x1fbf; /* all flags */
    __asm__ volatile("fninit; fldpi; fldl2e; fldz; fdivp; fninit; fldz; fld1\n\t"
                     "ldmxcsr %1\n\t"
                     "movq %0, %%xmm0; pshufd $0, %%xmm0, %%xmm15; movaps %%xmm15, %%xmm7\n\t"
                     "pxor %%xmm3, %%xmm3; mulps %%xmm0, %%xmm8; std; cld"
                     :
                     : "m"(ones), "m"(mxcsr)
                     : "xmm0", "xmm3", "xmm7", "xmm8", "xmm15", "cc");
    if (avx) {
        __asm__ volatile(
            "vpcmpeqb %%xmm1, %%xmm1, %%xmm1; vinsertf128 $1, %%xmm1, %%ymm1, %%ymm9\n\t"
            "vmovaps %%ymm9, %%ymm14; vzeroall"
            :
            :
            : "memory");
    }
}

static void on_timer(int sig, siginfo_t *si, void *context)
{
    (void)si;
    int kept = errno;
    ucontext_t *uc = context;
    greg_t *r = uc->uc_mcontext.gregs;
    nr_signals++;
    depth++;
    deepest = depth > deepest ? depth : deepest;
    const char *rip = (const char *)r[REG_RIP];
    if (rip >= loop_begin && rip < loop_end &&
        (r[REG_R12] != MAGIC_R12 || r[REG_R13] != MAGIC_R13)) {
        bad("r12 or r13 in a frame", sig);
    }
    char big[3 * PAGE]; /* pages of the stack that may not be there yet */
    memset(big, sig, sizeof(big));
    scribble();
    if (depth < 4 && nr_signals % 5 == 0) {
        raise(sig == SIGALRM ? SIGVTALRM : SIGALRM);
    }
    for (size_t i = 0; i < sizeof(big); i++) {
        if (big[i] != (char)sig) {
            bad("the handler's stack", (long)i);
        }
    }
    depth--;
    errno = kept;
}

static void on_fault(int sig, siginfo_t *si, void *context)
{
    const greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    char *at = si->si_addr;
    if (sig != SIGSEGV || at < area || at >= area + 64 * PAGE) {
        be_quiet();
        printf("BAD fault at %p, rip %llx, rsp %llx\n", (void *)at, r[REG_RIP], r[REG_RSP]);
        fflush(stdout);
        _exit(1);
    }
    nr_faults++;
    mprotect((void *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1)), PAGE, PROT_READ | PROT_WRITE);
    scribble();
}

static void timers_start(void)
{
    char *stack = mmap(NULL, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t ss = { .ss_sp = stack, .ss_size = 32 * PAGE };
    sigaltstack(&ss, NULL);
    struct sigaction sa = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sa.sa_flags |= getpid() & 1 ? SA_ONSTACK : 0;
    sigaction(SIGALRM, &sa, NULL);
    sigaction(SIGVTALRM, &sa, NULL);
    sigaction(SIGPROF, &sa, NULL);
    sa.sa_sigaction = on_fault;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    struct itimerval it = { { 0, 1000000 / rate }, { 0, 1000000 / rate } };
    setitimer(ITIMER_REAL, &it, NULL);
    setitimer(ITIMER_VIRTUAL, &it, NULL);
    it.it_interval.tv_usec = it.it_value.tv_usec = 3000000 / rate;
    setitimer(ITIMER_PROF, &it, NULL);
}

static bool over(time_t end)
{
    return time(NULL) >= end;
}

/* ---- registers ---- */

/* Loads all registers, spins, stores all. The loop has string, LOCKed, stack, x87, SSE and
 * page-crossing instructions that leave the registers as they were. */
__attribute__((noinline)) static void spin(const Registers *in, Registers *out, uint64_t loops,
                                           char *scratch)
{
    __asm__ volatile(
        "push %%rbp; sub $256, %%rsp\n\t" /* beyond the red zone */
        "mov %[in], (%%rsp); mov %[out], 8(%%rsp); mov %[loops], 16(%%rsp)\n\t"
        "mov %[scratch], 24(%%rsp)\n\t"
        "mov %[in], %%rax\n\t"
        "fninit; fldcw %c[fcw](%%rax); ldmxcsr %c[mxcsr](%%rax)\n\t"
        "fldt 112+%c[st](%%rax); fldt 96+%c[st](%%rax); fldt 80+%c[st](%%rax)\n\t"
        "fldt 64+%c[st](%%rax); fldt 48+%c[st](%%rax); fldt 32+%c[st](%%rax)\n\t"
        "testb $1, %[avx]; jz 1f\n\t"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
        "vmovaps 32*\\n+%c[ymm](%%rax), %%ymm\\n\n\t"
        ".endr\n\t jmp 2f\n"
        "1:\n\t"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
        "movaps 32*\\n+%c[ymm](%%rax), %%xmm\\n\n\t"
        ".endr\n"
        "2:\n\t"
        "mov 8(%%rax), %%rcx; mov 16(%%rax), %%rdx; mov 24(%%rax), %%rbx; mov 40(%%rax), %%rbp\n\t"
        "mov 48(%%rax), %%rsi; mov 56(%%rax), %%rdi; mov 64(%%rax), %%r8; mov 72(%%rax), %%r9\n\t"
        "mov 80(%%rax), %%r10; mov 88(%%rax), %%r11; mov 96(%%rax), %%r12; mov 104(%%rax), "
        "%%r13\n\t"
        "mov 112(%%rax), %%r14; mov 120(%%rax), %%r15; mov (%%rax), %%rax\n\t"
        "loop_begin:\n"
        "3:\n\t"
        "push %%rsi; push %%rdi; push %%rcx; push %%rax\n\t"
        "mov 24+32(%%rsp), %%rdi; lea 4090(%%rdi), %%rsi; mov $40, %%ecx; cld; rep movsb\n\t"
        "mov 24+32(%%rsp), %%rdi; lea 8190(%%rdi), %%rdi; mov $5, %%ecx; rep stosq\n\t"
        "mov 24+32(%%rsp), %%rdi; lock incl 128(%%rdi); lock xaddl %%eax, 132(%%rdi)\n\t"
        "mov %%rdx, 4093(%%rdi); cmp %%rdx, 4093(%%rdi); jne 9f\n\t"
        "mov 4093(%%rdi), %%rcx; lock cmpxchg %%rcx, 64(%%rdi)\n\t"
        "pop %%rax; pop %%rcx; pop %%rdi; pop %%rsi\n\t"
        "fxch %%st(3); fxch %%st(3); fld1; fstp %%st(0); fchs; fchs\n\t"
        "pxor %%xmm1, %%xmm2; pxor %%xmm1, %%xmm2; pshufd $0x4e, %%xmm5, %%xmm5\n\t"
        "pshufd $0x4e, %%xmm5, %%xmm5\n\t"
        "stc; adc $0, %%r14; sub $1, %%r14; call 4f; jmp 5f\n"
        "4: ret\n"
        "9: ud2\n"
        "5:\n\t"
        "movups %%xmm4, 192(%%rsp); movups 192(%%rsp), %%xmm4; xchg %%r10, %%r11; xchg %%r10, "
        "%%r11\n\t"
        "decq 16(%%rsp); jnz 3b\n"
        "loop_end:\n\t"
        "xchg %%rax, 8(%%rsp)\n\t"
        "mov %%rcx, 8(%%rax); mov %%rdx, 16(%%rax); mov %%rbx, 24(%%rax); mov %%rbp, 40(%%rax)\n\t"
        "mov %%rsi, 48(%%rax); mov %%rdi, 56(%%rax); mov %%r8, 64(%%rax); mov %%r9, 72(%%rax)\n\t"
        "mov %%r10, 80(%%rax); mov %%r11, 88(%%rax); mov %%r12, 96(%%rax); mov %%r13, "
        "104(%%rax)\n\t"
        "mov %%r14, 112(%%rax); mov %%r15, 120(%%rax); mov 8(%%rsp), %%rcx; mov %%rcx, (%%rax)\n\t"
        "testb $1, %[avx]; jz 6f\n\t"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
        "vmovaps %%ymm\\n, 32*\\n+%c[ymm](%%rax)\n\t"
        ".endr\n\t vzeroupper; jmp 7f\n"
        "6:\n\t"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
        "movaps %%xmm\\n, 32*\\n+%c[ymm](%%rax)\n\t"
        ".endr\n"
        "7:\n\t"
        "fnstcw %c[fcw](%%rax); stmxcsr %c[mxcsr](%%rax)\n\t"
        "fstpt 32+%c[st](%%rax); fstpt 48+%c[st](%%rax); fstpt 64+%c[st](%%rax)\n\t"
        "fstpt 80+%c[st](%%rax); fstpt 96+%c[st](%%rax); fstpt 112+%c[st](%%rax); fninit\n\t"
        "add $256, %%rsp; pop %%rbp"
        :
        : [in] "D"(in), [out] "S"(out), [loops] "d"(loops), [scratch] "c"(scratch), [avx] "m"(avx),
          [fcw] "i"(__builtin_offsetof(Registers, fcw)),
          [mxcsr] "i"(__builtin_offsetof(Registers, mxcsr)),
          [st] "i"(__builtin_offsetof(Registers, st)), [ymm] "i"(__builtin_offsetof(Registers, ymm))
        : "rax", "rbx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",
          "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
          "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static void fill(Registers *r)
{
    memset(r, 0, sizeof(*r));
    for (unsigned i = 0; i < 16; i++) {
        r->gpr[i] = (uint64_t)rand() << 32 | (uint32_t)rand();
        for (unsigned k = 0; k < 32; k++) {
            r->ymm[i][k] = (uint8_t)rand();
        }
        if (!avx || rand() % 8 == 0) {
            memset(r->ymm[i] + 16, 0, 16);
        }
    }
    r->gpr[12] = MAGIC_R12;
    r->gpr[13] = MAGIC_R13;
    for (unsigned i = 2; i < 8; i++) {
        r->st[i] = (long double)rand() * 1.0001L / (rand() | 1);
    }
    r->mxcsr = 0x1f80 | (unsigned)(rand() % 4) << 13 | (rand() & 0x3f);
    r->fcw = (uint16_t)(0x37f & ~((unsigned)(rand() % 4) << 8)) | (uint16_t)(rand() % 4) << 10;
}

static void test_registers(time_t end)
{
    static Registers in, out;
    char *scratch =
        mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    while (!over(end)) {
        fill(&in);
        memset(&out, 0, sizeof(out));
        madvise(scratch, 4 * PAGE, MADV_DONTNEED);
        spin(&in, &out, 1 + rand() % 3000, scratch);
        for (unsigned i = 0; i < 16; i++) {
            if (i != 4 && in.gpr[i] != out.gpr[i]) {
                bad("general register", i);
            }
            if (memcmp(in.ymm[i], out.ymm[i], 32)) {
                bad("vector register", i);
            }
        }
        for (unsigned i = 2; i < 8; i++) {
            if (memcmp(&in.st[i], &out.st[i], 10)) {
                bad("x87 register", i);
            }
        }
        if (in.mxcsr != out.mxcsr || in.fcw != out.fcw) {
            bad("MXCSR or FCW", out.mxcsr);
        }
    }
}

/* ---- memory ---- */

/* Faults in the middle of string and page-crossing instructions, mended by the handler. */
static void test_faults(time_t end)
{
    area = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *want = malloc(64 * PAGE);
    for (unsigned round = 0; !over(end); round++) {
        for (int i = 0; i < 64 * PAGE; i++) {
            want[i] = (char)rand();
        }
        mprotect(area, 64 * PAGE, round & 1 ? PROT_NONE : PROT_READ);
        size_t n = 64 * PAGE - 9;
        char *to = area + 1, *from = want + 1;
        if (round & 2) {
            __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        } else {
            for (; n >= 7; n -= 7, to += 7, from += 7) {
                __asm__ volatile("movups (%1), %%xmm0; movq %%xmm0, (%0)"
                                 :
                                 : "r"(to), "r"(from)
                                 : "memory", "xmm0");
            }
            memcpy(to, from, n);
        }
        if (memcmp(area + 1, want + 1, 64 * PAGE - 9)) {
            bad("copy over faults", (long)round);
        }
        madvise(area, 64 * PAGE, MADV_DONTNEED);
        if (area[rand() % (64 * PAGE)]) {
            bad("a page that should be empty", (long)round);
        }
    }
}

/* Parent and child write to pages they share until then. */
static void test_fork(time_t end)
{
    unsigned words = 96 * PAGE / 4;
    uint32_t *mem =
        mmap(NULL, 96 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t round = 1; !over(end); round++) {
        for (unsigned i = 0; i < words; i += 3) {
            mem[i] = round * 2654435761u ^ i;
        }
        pid_t pid = fork();
        if (pid < 0) {
            continue;
        }
        timers_start(); /* a child has none */
        for (unsigned i = 0; i < words; i += 3) {
            if (mem[i] != (round * 2654435761u ^ i)) {
                bad(pid ? "the parent's memory" : "the child's memory", i);
            }
            mem[i] = pid ? i : ~i;
        }
        for (unsigned i = 0; i < words; i += 3) {
            if (mem[i] != (pid ? i : ~i)) {
                bad(pid ? "the parent's own memory" : "the child's own memory", i);
            }
        }
        if (!pid && round % 2) {
            execl("/proc/self/exe", "sigstress", "nothing", "0", "1000", NULL);
        }
        if (!pid) {
            _exit(0);
        }
        int status;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        bool timer = sig == SIGALRM || sig == SIGVTALRM || sig == SIGPROF;
        if (status && !(round % 2 && timer)) { /* timers go on over exec, handlers do not */
            bad("a child's status", status);
        }
    }
}

/* Bytes over a socket between two processes, both interrupted all the time. */
static void test_calls(time_t end)
{
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd)) {
        bad("socketpair", errno);
    }
    pid_t pid = fork();
    close(fd[pid ? 0 : 1]);
    timers_start();
    uint32_t next = 1;
    static uint8_t buf[5000];
    while (pid ? !over(end) : true) {
        size_t len = pid ? 1 + (size_t)rand() % sizeof(buf) : sizeof(buf);
        uint32_t x = next;
        for (size_t i = 0; pid && i < len; i++) {
            x = x * 1664525u + 1013904223u;
            buf[i] = (uint8_t)(x >> 24);
        }
        ssize_t n = pid ? write(fd[1], buf, len) : read(fd[0], buf, len);
        if (n < 0 && errno != EINTR) {
            bad("read or write", errno);
        }
        if (!n) {
            _exit(0);
        }
        for (ssize_t i = 0; i < n; i++) {
            next = next * 1664525u + 1013904223u;
            if (buf[i] != (uint8_t)(next >> 24)) {
                bad("a byte through a socket", i);
            }
        }
        struct timespec ts = { 0, 100000 }, left;
        if (rand() % 64 == 0 && nanosleep(&ts, &left) && errno != EINTR) {
            bad("nanosleep", errno);
        }
    }
    close(fd[1]);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (status) {
        bad("the reader's status", status);
    }
}

/* A handler that allocates, prints and exits while a call blocks. */
static void last_words(int sig)
{
    char *text = malloc(3000);
    snprintf(text, 3000, "%*s %d %.3f", 2000, "timed out", sig, (double)sig / 3);
    exit(strlen(text) > 2000 ? 7 : 1);
}

static void test_alarm(time_t end)
{
    for (int n = 0; !over(end); n++) {
        pid_t pid = fork();
        if (!pid) {
            struct sigaction sa = { .sa_handler = last_words, .sa_flags = SA_RESTART };
            sigaction(SIGALRM, &sa, NULL);
            struct itimerval it = { { 0, 0 }, { 0, 500 + rand() % 4000 } };
            setitimer(ITIMER_VIRTUAL, &(struct itimerval){ 0 }, NULL);
            setitimer(ITIMER_PROF, &(struct itimerval){ 0 }, NULL);
            setitimer(ITIMER_REAL, &it, NULL);
            int fd[2];
            char c;
            for (int ok = pipe(fd); !ok;) {
                if (n & 1 ? read(fd[0], &c, 1) > 0 : getppid() < 0) {
                    break;
                }
            }
            _exit(1);
        }
        int status = 7 << 8;
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        if (status != 7 << 8) {
            bad("the status of one that an alarm ends", status);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(time_t end);
    } tests[] = {
        { "registers", test_registers }, { "faults", test_faults }, { "fork", test_fork },
        { "calls", test_calls },         { "alarm", test_alarm },
    };
    if (argc == 4 && !strcmp(argv[1], "nothing")) {
        return 0;
    }
    if (argc != 4) {
        return 2;
    }
    avx = __builtin_cpu_supports("avx");
    rate = atol(argv[3]);
    srand((unsigned)getpid());
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (!strcmp(tests[i].name, argv[1])) {
            timers_start();
            tests[i].fn(time(NULL) + atol(argv[2]));
            be_quiet();
            printf("OK %s avx=%d signals=%d deepest=%d faults=%d\n", argv[1], avx, (int)nr_signals,
                   (int)deepest, (int)nr_faults);
            return 0;
        }
    }
    return 2;
}
