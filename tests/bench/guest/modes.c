/* SPDX-License-Identifier: GPL-2.0-or-later
 * Small loops in 64-bit code, and in 32-bit code with and without paging: what memory operands cost
 * in each mode. Prints the least of several runs, in the TSC's ticks.
 * bits: 64 32
 */
#include "guest.h"

static uint64_t now(void)
{
    uint32_t lo, hi;
    __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
}

enum { N = 2048 };
typedef struct Node {
    struct Node *next;
    uint32_t a, b, c;
} Node;
static uint32_t *v;
static uint8_t *bytes;
static Node *nodes;
static uint32_t seed;

static uint32_t rnd32(void)
{
    return seed = seed * 1664525 + 1013904223;
}

static void sort(uint32_t *a, int n)
{
    while (n > 1) {
        uint32_t p = a[n / 2];
        int i = 0, j = n - 1;
        while (i <= j) {
            while (a[i] < p) {
                i++;
            }
            while (a[j] > p) {
                j--;
            }
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        sort(a, j + 1);
        a += i;
        n -= i;
    }
}

static uint32_t k_sort(void)
{
    seed = 1;
    for (int i = 0; i < N; i++) {
        v[i] = rnd32();
    }
    sort(v, N);
    return v[5];
}

static uint32_t k_list(void)
{
    uint32_t s = 0;
    Node *n = nodes;
    for (int i = 0; i < 20000; i++) {
        s += n->a;
        n->b += s;
        n->c ^= n->b;
        n = n->next;
    }
    return s;
}

static uint32_t k_sieve(void)
{
    uint32_t c = 0;
    memset(bytes, 1, 8192);
    for (int i = 2; i < 8192; i++) {
        if (bytes[i]) {
            c++;
            for (int j = 2 * i; j < 8192; j += i) {
                bytes[j] = 0;
            }
        }
    }
    return c;
}

static uint32_t k_mat(void)
{
    uint32_t s = 0;
    for (int i = 0; i < 24; i++) {
        for (int j = 0; j < 24; j++) {
            uint32_t t = 0;
            for (int k = 0; k < 24; k++) {
                t += v[i * 24 + k] * v[k * 24 + j];
            }
            s += t;
        }
    }
    return s;
}

static uint32_t k_str(void)
{
    uint32_t n = 0;
    for (int r = 0; r < 64; r++) {
        const uint8_t *a = bytes, *b = bytes + 4096;
        while (*a == *b && n < 100000) {
            a++;
            b++;
            n++;
        }
        n += *a;
    }
    return n;
}

static uint32_t k_crc(void)
{
    uint32_t c = ~0u;
    for (int i = 0; i < 8000; i++) {
        c = v[(c ^ bytes[i]) & 255] ^ c >> 8;
    }
    return c;
}

static const struct {
    const char *name;
    uint32_t (*fn)(void);
} kernel[] = { { "sort", k_sort },  { "list", k_list },   { "sieve", k_sieve },
               { "matrix", k_mat }, { "compare", k_str }, { "crc", k_crc } };

static void measure(const char *mode)
{
    for (unsigned k = 0; k < sizeof(kernel) / sizeof(*kernel); k++) {
        uint64_t best = ~0ull;
        uint32_t sum = 0;
        for (int i = 0; i < 300; i++) {
            if (k == 4) {
                for (int j = 0; j < 8192; j++) {
                    bytes[j] = 7;
                }
                bytes[4095] = 1;
                bytes[8191] = 2;
            }
            uint64_t t = now();
            sum += kernel[k].fn();
            t = now() - t;
            if (t < best) {
                best = t;
            }
        }
        put_text("# ");
        put_text(mode);
        put_text(" ");
        put_text(kernel[k].name);
        put_text(" ");
        put_dec((uint32_t)best);
        put_text(" ");
        put_dec(sum);
        put_text("\n");
    }
}

void guest_main(void)
{
    v = alloc(16384);
    bytes = alloc(16384);
    nodes = alloc(N * sizeof(Node));
    for (uint32_t i = 0; i < N; i++) {
        nodes[i] = (Node){ &nodes[(i * 769 + 1) % N], i, 0, 0 };
    }
    if (BITS == 64) {
        measure("64-bit");
    } else {
        measure("32-bit-unpaged");
        use_space(new_space());
        measure("32-bit-paged");
    }
    check("measured", 1, 1);
}
