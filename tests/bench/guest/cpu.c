/* SPDX-License-Identifier: GPL-2.0-or-later
 * Workloads that stay in user mode: they measure the translated code itself. */
#define _GNU_SOURCE
#include "vbench.h"
#include <emmintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- integer ---- */

struct record {
    struct record *next;
    int kind, value;
    char text[32];
};

static NOINLINE int classify(struct record *r, int n)
{
    switch ((r->kind + n) & 3) {
    case 0: return r->value + n;
    case 1: return r->value - n;
    case 2: return r->value ^ n;
    default: return r->value * 3;
    }
}

static NOINLINE void copy_record(struct record *to, const struct record *from, int n)
{
    *to = *from;
    to->value = from->value + n;
    to->text[n & 15] = (char)('a' + (n & 7));
}

/* Struct copies, string compares and small calls, in the manner of Dhrystone. */
static uint64_t int_mix(void)
{
    static struct record pool[64];
    uint64_t sum = 0;

    for (int i = 0; i < 64; i++) {
        pool[i].next = &pool[(i + 1) & 63];
        pool[i].kind = i;
        strcpy(pool[i].text, "SOME STRING OF THIRTY CHARS");
    }
    for (unsigned long n = reps(20e6), i = 0; i < n; i++) {
        struct record *a = &pool[i & 63], *b = a->next->next;
        copy_record(b, a, (int)i);
        if (strcmp(a->text, b->text) > 0)
            b->kind++;
        sum += (uint64_t)classify(b, (int)(i >> 2)) + (uint64_t)(b->value / 7);
    }
    return sum;
}

static uint64_t sieve(void)
{
    enum { N = 1 << 20 };
    static uint8_t flags[N];
    uint64_t count = 0;

    for (unsigned long n = reps(200); n--;) {
        memset(flags, 1, N);
        for (size_t i = 2; i < N; i++) {
            if (!flags[i])
                continue;
            count++;
            for (size_t j = i * 2; j < N; j += i)
                flags[j] = 0;
        }
    }
    return count;
}

static NOINLINE void quicksort(uint32_t *a, long lo, long hi)
{
    while (lo < hi) {
        uint32_t pivot = a[(lo + hi) / 2];
        long i = lo, j = hi;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        quicksort(a, lo, j);
        lo = i;
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint64_t sort(void)
{
    enum { N = 200000 };
    static uint32_t a[N];
    uint32_t seed = 12345;
    uint64_t sum = 0;

    for (unsigned long n = reps(20), i = 0; i < n; i++) {
        for (int k = 0; k < N; k++)
            a[k] = rnd(&seed);
        if (i & 1)
            qsort(a, N, sizeof *a, by_value);
        else
            quicksort(a, 0, N - 1);
        sum += a[i] ^ a[N / 2];
    }
    return sum;
}

static uint64_t crc32(void)
{
    static uint32_t table[256];
    static uint8_t buf[1 << 16];
    uint32_t seed = 1, crc = ~0u;

    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320 ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = (uint8_t)rnd(&seed);
    for (unsigned long n = reps(3500); n--;)
        for (size_t i = 0; i < sizeof buf; i++)
            crc = table[(crc ^ buf[i]) & 255] ^ (crc >> 8);
    return crc;
}

static uint32_t ror(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static NOINLINE void sha256_block(uint32_t h[8], const uint32_t k[64], const uint32_t m[16])
{
    uint32_t w[64], s[8];

    memcpy(w, m, 64);
    memcpy(s, h, 32);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) +
               (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t t1 = s[7] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & s[5]) ^ (~e & s[6])) +
                      k[i] + w[i];
        uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) +
                      ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 28);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

/* The constants are not SHA-256's own; the operations are. */
static uint64_t sha256(void)
{
    uint32_t h[8], k[64], m[16], seed = 7;

    for (int i = 0; i < 64; i++)
        k[i] = rnd(&seed);
    for (int i = 0; i < 8; i++)
        h[i] = rnd(&seed);
    for (int i = 0; i < 16; i++)
        m[i] = rnd(&seed);
    for (unsigned long n = reps(0.7e6); n--;) {
        sha256_block(h, k, m);
        m[n & 15] ^= h[0];
    }
    return (uint64_t)h[0] << 32 | h[7];
}

/* Multi-precision multiply (mul/adc) and long division (div). */
static uint64_t bigint(void)
{
    enum { N = 64 };
    static uint32_t a[N], b[N], r[2 * N];
    uint32_t seed = 99;
    uint64_t sum = 0;

    for (int i = 0; i < N; i++) {
        a[i] = rnd(&seed);
        b[i] = rnd(&seed);
    }
    for (unsigned long n = reps(120000); n--;) {
        uint64_t rem = 0;
        memset(r, 0, sizeof r);
        for (int i = 0; i < N; i++) {
            uint64_t carry = 0;
            for (int j = 0; j < N; j++) {
                carry += (uint64_t)a[i] * b[j] + r[i + j];
                r[i + j] = (uint32_t)carry;
                carry >>= 32;
            }
            r[i + N] = (uint32_t)carry;
        }
        for (int i = 2 * N; i--;) {
            rem = rem << 32 | r[i];
            sum += rem / 1000003;
            rem %= 1000003;
        }
        a[n & (N - 1)] += (uint32_t)rem;
    }
    return sum;
}

/* ---- control flow ---- */

/* A bytecode interpreter with one indirect jump an instruction. */
static NOINLINE uint64_t interpret(const uint8_t *code, unsigned long limit)
{
    static const void *const op[] = {&&push, &&add, &&sub, &&mul, &&dup, &&swap, &&jnz, &&load,
                                     &&store, &&xor, &&shr, &&halt};
    uint32_t stack[32], var[8] = {0}, *sp = stack;
    const uint8_t *pc = code;

    var[0] = (uint32_t)limit;
    var[1] = 12345;
#define NEXT goto *op[*pc++]
    NEXT;
push: *sp++ = *pc++; NEXT;
add: sp--; sp[-1] += sp[0]; NEXT;
sub: sp--; sp[-1] -= sp[0]; NEXT;
mul: sp--; sp[-1] *= sp[0]; NEXT;
dup: sp[0] = sp[-1]; sp++; NEXT;
swap: { uint32_t t = sp[-1]; sp[-1] = sp[-2]; sp[-2] = t; } NEXT;
jnz: pc = *--sp ? code + *pc : pc + 1; NEXT;
load: *sp++ = var[*pc++]; NEXT;
store: var[*pc++] = *--sp; NEXT;
xor: sp--; sp[-1] ^= sp[0]; NEXT;
shr: sp--; sp[-1] >>= sp[0] & 31; NEXT;
halt:
#undef NEXT
    return (uint64_t)var[1] << 32 | var[2];
}

static uint64_t interp(void)
{
    enum { PUSH, ADD, SUB, MUL, DUP, SWAP, JNZ, LOAD, STORE, XOR, SHR, HALT };
    static const uint8_t program[] = {
        LOAD, 1, DUP, PUSH, 13, SHR, XOR, PUSH, 101, MUL, PUSH, 7, ADD, STORE, 1,
        LOAD, 1, PUSH, 1, SHR, LOAD, 2, SWAP, SUB, STORE, 2,
        LOAD, 0, PUSH, 1, SUB, DUP, STORE, 0, JNZ, 0, HALT,
    };
    return interpret(program, reps(12e6));
}

static NOINLINE int tak(int x, int y, int z)
{
    return y >= x ? z : tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y));
}

static uint64_t calls(void)
{
    uint64_t sum = 0;
    for (unsigned long n = reps(1500); n--;)
        sum += (uint64_t)tak(18, 12, 6 - (int)(n & 1));
    return sum;
}

#define METHOD(n) static NOINLINE uint32_t method##n(uint32_t x) { return x * (2 * n + 1) + n; }
METHOD(0) METHOD(1) METHOD(2) METHOD(3) METHOD(4) METHOD(5) METHOD(6) METHOD(7)

/* Indirect calls with targets that a predictor cannot foresee from the site alone. */
static uint64_t icalls(void)
{
    static uint32_t (*const method[])(uint32_t) = {method0, method1, method2, method3,
                                                   method4, method5, method6, method7};
    uint32_t x = 1;
    for (unsigned long n = reps(60e6); n--;)
        x = method[(x >> 7 ^ n) & 7](x);
    return x;
}

/* ---- floating point and vectors ---- */

static uint64_t bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, 8);
    return u;
}

static uint64_t nbody(void)
{
    enum { N = 5 };
    double p[N][3], v[N][3], m[N];
    uint32_t seed = 3;

    for (int i = 0; i < N; i++) {
        m[i] = 1 + (rnd(&seed) & 1023) / 512.0;
        for (int k = 0; k < 3; k++) {
            p[i][k] = (rnd(&seed) & 4095) / 64.0;
            v[i][k] = (rnd(&seed) & 255) / 256.0;
        }
    }
    for (unsigned long n = reps(1.6e6); n--;) {
        for (int i = 0; i < N; i++)
            for (int j = i + 1; j < N; j++) {
                double d[3], r2 = 0.01;
                for (int k = 0; k < 3; k++) {
                    d[k] = p[i][k] - p[j][k];
                    r2 += d[k] * d[k];
                }
                double mag = 0.001 / (r2 * sqrt(r2));
                for (int k = 0; k < 3; k++) {
                    v[i][k] -= d[k] * m[j] * mag;
                    v[j][k] += d[k] * m[i] * mag;
                }
            }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < 3; k++)
                p[i][k] += 0.001 * v[i][k];
    }
    return bits(p[0][0]) ^ bits(v[4][2]);
}

static uint64_t mandelbrot(void)
{
    enum { SIZE = 200, LIMIT = 200 };
    uint64_t sum = 0;

    for (unsigned long n = reps(50); n--;)
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++) {
                double cr = 3.0 * x / SIZE - 2.2, ci = 3.0 * y / SIZE - 1.5, zr = 0, zi = 0;
                int i = 0;
                for (; i < LIMIT && zr * zr + zi * zi < 4; i++) {
                    double t = zr * zr - zi * zi + cr;
                    zi = 2 * zr * zi + ci;
                    zr = t;
                }
                sum += (uint64_t)i;
            }
    return sum;
}

/* The same kind of arithmetic in long double: x87 code. */
static uint64_t x87(void)
{
    long double a = 1.5L, b = 0.25L, c = 0;

    for (unsigned long n = reps(10e6); n--;) {
        a = a * 1.0000001L + b;
        b = 1 / (a + 3);
        c += sqrtl(a) - b;
        if (a > 1e6L)
            a -= 1e6L;
    }
    return bits((double)c);
}

/* Whole numbers in doubles, as scripting languages hold them: no operation rounds, so the
 * inexact flag stays clear, which some emulators' shortcuts depend on. */
static uint64_t fp_exact(void)
{
    double a = 0, b = 1;

    for (unsigned long n = reps(10e6); n--;) {
        a = a + 3 * b;
        b = b + 1 - (double)(n & 1);
        if (a > 1e9)
            a -= 1e9;
    }
    return bits(a) ^ bits(b);
}

static uint64_t matmul_sse2(void)
{
    enum { N = 128 };
    static double a[N][N] __attribute__((aligned(16))), b[N][N] __attribute__((aligned(16))),
        c[N][N] __attribute__((aligned(16)));
    uint32_t seed = 5;

    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (rnd(&seed) & 255) / 255.0;
            b[i][j] = (rnd(&seed) & 255) / 255.0;
        }
    for (unsigned long n = reps(180); n--;)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j += 4) {
                __m128d s0 = _mm_setzero_pd(), s1 = s0;
                for (int k = 0; k < N; k++) {
                    __m128d x = _mm_set1_pd(a[i][k]);
                    s0 = _mm_add_pd(s0, _mm_mul_pd(x, _mm_load_pd(&b[k][j])));
                    s1 = _mm_add_pd(s1, _mm_mul_pd(x, _mm_load_pd(&b[k][j + 2])));
                }
                _mm_store_pd(&c[i][j], _mm_add_pd(_mm_load_pd(&c[i][j]), s0));
                _mm_store_pd(&c[i][j + 2], _mm_add_pd(_mm_load_pd(&c[i][j + 2]), s1));
            }
    return bits(c[17][31]) ^ bits(c[127][1]);
}

/* Packed integer SSE2: sums of absolute differences, saturating adds, unpacks and shifts. */
static uint64_t simd_int(void)
{
    enum { N = 1 << 14 };
    static __m128i a[N / 16], b[N / 16];
    __m128i acc = _mm_setzero_si128();
    uint32_t seed = 6;
    uint64_t out[2];

    for (int i = 0; i < N; i++) {
        ((uint8_t *)a)[i] = (uint8_t)rnd(&seed);
        ((uint8_t *)b)[i] = (uint8_t)rnd(&seed);
    }
    for (unsigned long n = reps(120000); n--;)
        for (int i = 0; i < N / 16; i++) {
            __m128i x = _mm_adds_epu8(a[i], b[i]);
            __m128i y = _mm_unpacklo_epi8(x, b[i]);
            y = _mm_mullo_epi16(_mm_srli_epi16(y, 3), x);
            acc = _mm_add_epi64(acc, _mm_sad_epu8(_mm_packus_epi16(x, y), a[i]));
        }
    _mm_storeu_si128((__m128i *)out, acc);
    return out[0] + out[1];
}

/* ---- memory ---- */

static uint64_t mem_copy(void)
{
    size_t size = 16 << 20;
    uint8_t *a = map(size, PROT_READ | PROT_WRITE), *b = map(size, PROT_READ | PROT_WRITE);

    memset(a, 1, size);
    for (unsigned long n = reps(150); n--;) {
        memcpy(b, a, size);
        a[n] = b[n + 1] + 1;
    }
    return b[5];
}

static uint64_t mem_triad(void)
{
    enum { N = 1 << 20 };
    double *a = map(N * 8, PROT_READ | PROT_WRITE), *b = map(N * 8, PROT_READ | PROT_WRITE),
           *c = map(N * 8, PROT_READ | PROT_WRITE);

    for (int i = 0; i < N; i++) {
        b[i] = (i & 1023) / 3.0;
        c[i] = 1 / 3.0;
    }
    for (unsigned long n = reps(150); n--;) {
        double k = (double)(n & 3);
        for (int i = 0; i < N; i++)
            a[i] = b[i] + k * c[i];
        c[n & (N - 1)] = a[n & 1023];
    }
    return bits(a[1000]);
}

/* Dependent loads over 32 MiB: the cost of a TLB and cache miss. */
static uint64_t ptr_chase(void)
{
    uint32_t n = 8 << 20, seed = 8, at = 0;
    uint32_t *next = map(n * 4u, PROT_READ | PROT_WRITE);

    for (uint32_t i = 0; i < n; i++)
        next[i] = i;
    for (uint32_t i = n - 1; i; i--) { /* Sattolo: one cycle through everything */
        uint32_t j = rnd(&seed) % i, t = next[i];
        next[i] = next[j];
        next[j] = t;
    }
    for (unsigned long k = reps(5e6); k--;)
        at = next[at];
    return at;
}

static uint64_t rep_string(void)
{
    static uint8_t a[4096], b[4096];
    uint64_t sum = 0;

    for (unsigned long n = reps(600000), i = 0; i < n; i++) {
        void *d = b;
        const void *s = a;
        size_t len = 64 + (i * 97 & 1023), left = sizeof a;
        __asm__ volatile("rep stosb" : "+D"(d), "+c"(len) : "a"((int)i) : "memory");
        d = a;
        s = b;
        len = 1024;
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(len) : : "memory");
        d = a;
        a[200 + (i & 255)] = 0xfe;
        __asm__ volatile("repne scasb" : "+D"(d), "+c"(left) : "a"(0xfe) : "memory", "cc");
        sum += left;
    }
    return sum;
}

/* ---- others ---- */

static uint64_t atomics(void)
{
    static uint64_t words[64];
    uint64_t sum = 0;

    for (unsigned long n = reps(60e6); n--;) {
        uint64_t *w = &words[n & 63], old = *w;
        sum += __atomic_fetch_add(w, n, __ATOMIC_SEQ_CST);
        __atomic_compare_exchange_n(w, &old, sum, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        __atomic_exchange_n(&words[0], sum, __ATOMIC_SEQ_CST);
    }
    return sum;
}

typedef uint32_t (*generated)(void);

/* mov eax,imm32; then count times add eax,imm32 / xor eax,imm32; ret: the same in 32 and 64 bit. */
static generated emit(uint8_t *at, int count, uint32_t *seed)
{
    uint8_t *p = at;
    uint32_t imm = rnd(seed);

    *p++ = 0xb8;
    memcpy(p, &imm, 4);
    p += 4;
    for (int i = 0; i < count; i++) {
        imm = rnd(seed);
        *p++ = i & 1 ? 0x35 : 0x05;
        memcpy(p, &imm, 4);
        p += 4;
    }
    *p = 0xc3;
    return (generated)(uintptr_t)at;
}

/* A code generator's life: fresh functions in a recycled buffer, each called some times. */
static uint64_t jit_gen(void)
{
    size_t size = 256 << 10, at = 0;
    uint8_t *code = map(size, PROT_READ | PROT_WRITE | PROT_EXEC);
    uint32_t seed = 11;
    uint64_t sum = 0;

    for (unsigned long n = reps(40000); n--;) {
        generated f = emit(code + at, 100, &seed);
        for (int i = 0; i < 50; i++)
            sum += f();
        at = (at + 512) % size;
    }
    return sum;
}

/* One function whose immediate is patched before every call, as inline caches are. */
static uint64_t smc_patch(void)
{
    uint8_t *code = map(4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    uint32_t seed = 12;
    generated f = emit(code, 10, &seed);
    uint64_t sum = 0;

    for (unsigned long n = reps(250000); n--;) {
        uint32_t imm = (uint32_t)n;
        memcpy(code + 1, &imm, 4);
        __asm__ volatile("" ::: "memory");
        sum += f();
    }
    return sum;
}

/* Data stores into a page that also holds running code. */
static uint64_t smc_data(void)
{
    uint8_t *code = map(4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    volatile uint32_t *counter = (volatile uint32_t *)(code + 2048);
    uint32_t seed = 13;
    generated f = emit(code, 10, &seed);
    uint64_t sum = 0;

    for (unsigned long n = reps(10e6); n--;) {
        *counter += 1;
        sum += f();
    }
    return sum + *counter;
}

const struct bench cpu_benches[] = {
    {"int_mix", int_mix}, {"sieve", sieve}, {"sort", sort}, {"crc32", crc32}, {"sha256", sha256},
    {"bigint", bigint}, {"interp", interp}, {"calls", calls}, {"icalls", icalls},
    {"nbody", nbody}, {"mandelbrot", mandelbrot}, {"fp_exact", fp_exact}, {"x87", x87}, {"matmul_sse2", matmul_sse2},
    {"simd_int", simd_int}, {"mem_copy", mem_copy}, {"mem_triad", mem_triad},
    {"ptr_chase", ptr_chase}, {"rep_string", rep_string}, {"atomics", atomics},
    {"jit_gen", jit_gen}, {"smc_patch", smc_patch}, {"smc_data", smc_data}, {NULL, NULL},
};
