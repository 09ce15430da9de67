/* SPDX-License-Identifier: GPL-2.0-or-later
 * Stores one byte behind a multiple of their size into a page with code: by XCHG and LOCKed
 * instructions, which must change that code, and by MOVAPS, which must fault and leave nothing
 * behind that lets a later store pass unnoticed. An engine that compares addresses with their
 * low bits to find the misaligned ones must not take those bits for marks of its own.
 * smp: 1 2
 * bits: 64 32
 */
#include "guest.h"

enum { ROUNDS = 100, NR_FNS = 4, NR_STORES = 8, NR_FAULTS = 12, STRIDE = 32 };
typedef uint32_t CodeFn(void);

static uint8_t *code; /* NR_FNS functions in a page */
static volatile uint32_t *new_value;

static uint8_t *fn_at(unsigned n)
{
    return code + n * (PAGE / NR_FNS);
}

static volatile uint32_t *imm_of(uint8_t *fn)
{
    return (volatile uint32_t *)(fn + 1);
}

static uint32_t call(const uint8_t *fn)
{
    return ((CodeFn *)(Word)fn)();
}

/* Afterwards the page is known as one that has code and may be written beside it. */
static uint32_t call_and_touch(uint8_t *fn)
{
    uint32_t val = call(fn);
    *(volatile uint32_t *)(fn + PAGE / NR_FNS / 2) = val;
    return val;
}

static uint8_t *put(uint8_t *to, const void *bytes, unsigned n)
{
    memcpy(to, bytes, n);
    return to + n;
}

/* The operands have a base register: those are the ones that may look into the cache themselves. */
static void by_xchg(void)
{
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        uint32_t val = i;
        __asm__ volatile("xchgl %0, (%1)" : "+r"(val) : "r"(imm_of(code)) : "memory");
        wrong += call_and_touch(code) != i || val != i - 1;
    }
    check("xchg one byte behind a multiple of four changes code", wrong, 0);
}

static void by_lock(void)
{
    uint32_t wrong = 0;
    *imm_of(code) = 0;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        __asm__ volatile("lock incl (%0)" ::"r"(imm_of(code)) : "memory");
        wrong += call_and_touch(code) != i;
    }
    check("so does a LOCKed instruction", wrong, 0);
}

/* Stores at fixed addresses, of which some share a slot with some MOVAPS: which ones depends on
 * base register, address and place of the code. */
static void make_store(uint8_t *p, const uint8_t *fn)
{
    static const uint8_t end[] = { 0xcd, 0x80 };
    static const uint8_t load[] = { 0x8b, 0x04, 0x25 }, store[] = { 0x89, 0x04, 0x25 };
    static const uint8_t load32[] = { 0x8b, 0x05 }, store32[] = { 0x89, 0x05 };
    uint32_t at = (uint32_t)(Word)(fn + 1), from = (uint32_t)(Word)new_value;
    p = BITS == 64 ? put(p, load, 3) : put(p, load32, 2); /* mov eax, [from] */
    p = put(p, &from, 4);
    p = BITS == 64 ? put(p, store, 3) : put(p, store32, 2); /* mov [at], eax */
    p = put(p, &at, 4);
    put(p, end, sizeof(end));
}

static void make_fault(uint8_t *p, unsigned reg)
{
    const uint8_t movaps[] = { 0x0f, 0x29, (uint8_t)reg, 0xcd, 0x80 }; /* [reg], xmm0; int 80h */
    put(p, movaps, sizeof(movaps));
}

/* Little between the fault and the store: code in between might take the slot. */
static Word next_ip;
static uint32_t faults_seen;
static void on_gp(Frame *f)
{
    f->ip = next_ip;
    faults_seen++;
}

/* A MOVAPS that faults, then a store to the same place. */
static void after_fault(void)
{
    static const uint8_t regs[] = { 0, 1, 2, 3, 6, 7 };
    uint32_t wrong = 0, val = 1000, rounds = 4 * NR_STORES * NR_FAULTS;
    handlers[VEC_GP] = on_gp;
    uint8_t *stores = alloc(PAGE), *faults = alloc(PAGE);
    new_value = alloc(PAGE);
    for (unsigned n = 0; n < NR_STORES; n++) {
        make_store(stores + (n + n / NR_FNS) * STRIDE, fn_at(n % NR_FNS));
    }
    for (unsigned n = 0; n < NR_FAULTS; n++) {
        make_fault(faults + n * STRIDE, regs[n / 2]);
    }
    for (unsigned i = 0; i < rounds; i++) {
        unsigned s = i % NR_STORES, f = i / NR_STORES % NR_FAULTS;
        uint8_t *fn = fn_at(s % NR_FNS);
        Word at = (Word)fn + 1;
        call_and_touch(fn);
        *new_value = ++val;
        next_ip = (Word)(stores + (s + s / NR_FNS) * STRIDE);
        probe(&(Regs){ at, at, at, at, at, at }, (Word)(faults + f * STRIDE), 0);
        wrong += call(fn) != val;
    }
    check("movaps one byte off faults", faults_seen, rounds);
    check("a store behind it changes code", wrong, 0);
}

void guest_main(void)
{
    static const uint8_t mov_ret[] = { 0xb8, 0, 0, 0, 0, 0xc3 }; /* mov eax, 0; ret */
    use_space(new_space());
    start_cpus();
    code = alloc(PAGE);
    for (unsigned n = 0; n < NR_FNS; n++) {
        put(fn_at(n), mov_ret, sizeof(mov_ret));
    }
    by_xchg();
    by_lock();
    after_fault();
}
