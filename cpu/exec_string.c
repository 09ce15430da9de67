/* SPDX-License-Identifier: GPL-2.0-or-later
 * String instructions and their REP forms (SDM 1 7.3.9, 2B REP).
 *
 * A REP instruction commits rCX, rSI and rDI after each element, or after each run of elements
 * that lies in one page of plain RAM and goes at memcpy's speed. Between runs it looks at
 * cpu->request and, if something is asked of the CPU, ends with rip at itself: the engine takes
 * the event and comes back. So does every iteration under TF and every data breakpoint.
 */
#include "cpu/exec.h"

#include <string.h>

#include "cpu/debug.h"
#include "cpu/exception.h"
#include "cpu/task.h"
#include "cpu/tlb.h"
#include "memory/ram.h"

enum {
    POLL_EVERY = 64, /* elements of the slow way between two looks at request */
    RETRY_EVERY = 8, /* after a run turned out impossible (device memory, a page's end) */
};

/* One string instruction under way. */
typedef struct Str {
    CpuState *cpu;
    const Insn *in;
    unsigned size;  /* of an element */
    unsigned adsize;
    uint64_t mask;  /* of the address size */
    bool rep;
    uint64_t count; /* left; 1 without REP */
    int64_t step;   /* size or -size */
    uint16_t cc;    /* CMPS, SCAS: flags of the last pair */
} Str;

static Str str_begin(CpuState *cpu, const Insn *in)
{
    Str s = { .cpu = cpu, .in = in, .adsize = in->adsize, .mask = exec_mask(in->adsize) };
    for (unsigned i = 0; i < in->nr_opd; i++) {
        if (in->opd[i].kind == OPD_STR_SRC || in->opd[i].kind == OPD_STR_DST) {
            s.size = in->opd[i].size;
        }
    }
    s.rep = in->prefixes & (PFX_REP | PFX_REPNE);
    s.count = s.rep ? cpu_reg(cpu, REG_RCX, in->adsize) : 1;
    s.step = cpu->eflags & FLAG_DF ? -(int64_t)s.size : (int64_t)s.size;
    return s;
}

static uint64_t str_src(const Str *s)
{
    return s->cpu->gpr[REG_RSI] & s->mask;
}

static uint64_t str_dst(const Str *s)
{
    return s->cpu->gpr[REG_RDI] & s->mask;
}

static uint64_t src_lin(const Str *s)
{
    return seg_lin(s->cpu, s->in->seg, str_src(s), s->size, false);
}

static uint64_t dst_lin(const Str *s, bool write)
{
    return seg_lin(s->cpu, SEG_ES, str_dst(s), s->size, write);
}

/* n elements are done: moves the index registers and counts. */
static void str_commit(Str *s, bool src, bool dst, uint64_t n)
{
    CpuState *cpu = s->cpu;
    uint64_t by = (uint64_t)s->step * n;
    if (src) {
        cpu_set_reg(cpu, REG_RSI, s->adsize, cpu->gpr[REG_RSI] + by);
    }
    if (dst) {
        cpu_set_reg(cpu, REG_RDI, s->adsize, cpu->gpr[REG_RDI] + by);
    }
    s->count -= n;
    if (s->rep) {
        cpu_set_reg(cpu, REG_RCX, s->adsize, s->count);
    }
}

/* Must the instruction stop here for now? Called with elements left. */
static bool str_pause(const Str *s)
{
    CpuState *cpu = s->cpu;
    if (likely(!(cpu->mode & MODE_TF) && !cpu->pending_db &&
               !cpu_requests_now(cpu))) {
        return false;
    }
    cpu->rip = cpu->insn_rip;
    if (cpu->mode & MODE_DR) {
        cpu->eflags |= FLAG_RF; /* its own breakpoint was taken before the first iteration */
    }
    return true;
}

/* How many of the elements left lie, upward from offset, in one page, inside the segment and
 * below the address size's wrap. lin is offset's; its first element is known to be good. */
static uint64_t str_run(const Str *s, int seg, uint64_t offset, uint64_t lin)
{
    uint64_t bytes = PAGE_SIZE - (lin & (PAGE_SIZE - 1));
    if (!(s->cpu->mode & MODE_CS64)) {
        const Segment *sr = &s->cpu->seg[seg];
        bool down = (sr->attr & (SEG_CODE | SEG_EXPAND_DOWN)) == SEG_EXPAND_DOWN;
        uint64_t last = !down ? sr->limit : sr->attr & SEG_DB ? 0xffffffffu : 0xffffu;
        bytes = MIN(bytes, last - offset + 1);
    }
    if (s->adsize < 8) {
        bytes = MIN(bytes, s->mask - offset + 1);
    }
    return MIN(bytes / s->size, s->count);
}

static bool str_may_run(const Str *s)
{
    return s->count > 1 && s->step > 0 && !(s->cpu->mode & (MODE_TF | MODE_DR));
}

/* Where a run of writes goes: host memory, and what to report afterwards. */
typedef struct Target {
    void *host;
    RamBlock *ram;
    uint64_t offset;
} Target;

static bool target_open(CpuState *cpu, uint64_t lin, unsigned len, Target *t)
{
    t->ram = NULL;
    t->host = lin_host(cpu, lin, len, true);
    if (!t->host) {
        t->host = lin_host_tracked(cpu, lin, len, true, &t->ram, &t->offset);
    }
    return t->host != NULL;
}

static void target_close(CpuState *cpu, const Target *t, unsigned len)
{
    if (t->ram) {
        mmu_written(cpu, t->ram, t->offset, len);
    }
}

/* Reads have no tracking to care for. */
static void *source_open(CpuState *cpu, uint64_t lin, unsigned len)
{
    RamBlock *ram;
    uint64_t offset;
    void *host = lin_host(cpu, lin, len, false);
    return host ? host : lin_host_tracked(cpu, lin, len, false, &ram, &offset);
}

/* ---- MOVS ---- */

/* What element-by-element copying upward leaves, overlap or not. */
static void copy_up(uint8_t *dst, const uint8_t *src, unsigned len, unsigned size)
{
    uint64_t distance = (uint64_t)(dst - src);
    if (distance >= len) { /* also where dst lies below src */
        memmove(dst, src, len);
        return;
    }
    /* dst begins inside src: the first distance bytes repeat. */
    unsigned chunk = distance >= size ? (unsigned)distance : size;
    for (unsigned done = 0; done < len; done += chunk) {
        memmove(dst + done, src + done, MIN(chunk, len - done));
    }
}

static bool movs_run(Str *s)
{
    CpuState *cpu = s->cpu;
    uint64_t from = src_lin(s), to = dst_lin(s, true);
    uint64_t n = str_run(s, s->in->seg, str_src(s), from);
    n = MIN(n, str_run(s, SEG_ES, str_dst(s), to));
    if (n < 2) {
        return false;
    }
    unsigned len = (unsigned)(n * s->size);
    const uint8_t *src = source_open(cpu, from, len);
    Target t;
    if (!src || !target_open(cpu, to, len, &t)) {
        return false;
    }
    copy_up(t.host, src, len, s->size);
    target_close(cpu, &t, len);
    str_commit(s, true, true, n);
    return true;
}

static void movs_one(Str *s)
{
    CpuState *cpu = s->cpu;
    uint64_t val = lin_load(cpu, src_lin(s), s->size, MEM_CPL);
    lin_store(cpu, dst_lin(s, true), val, s->size, MEM_CPL);
    str_commit(s, true, true, 1);
}

/* A run if one is possible, else one element, until count is 0 or something calls. */
static void str_loop(Str *s, bool (*run)(Str *s), void (*one)(Str *s))
{
    unsigned poll = POLL_EVERY, retry = 0;
    while (s->count) {
        bool ran = run && retry == 0 && str_may_run(s) && run(s);
        if (!ran) {
            one(s);
            retry = retry ? retry - 1 : RETRY_EVERY;
        }
        if (!s->count) {
            return;
        }
        if (ran || --poll == 0 || (s->cpu->mode & MODE_TF) || s->cpu->pending_db) {
            poll = POLL_EVERY;
            if (str_pause(s)) {
                return;
            }
        }
    }
}

void exec_MOVS(CpuState *cpu, const Insn *in)
{
    Str s = str_begin(cpu, in);
    str_loop(&s, movs_run, movs_one);
}

/* ---- STOS ---- */

static void fill(void *dst, uint64_t val, unsigned size, uint64_t n)
{
    switch (size) {
    case 1: memset(dst, (int)val, n); break;
    case 2:
        for (uint64_t i = 0; i < n; i++) {
            memcpy((uint8_t *)dst + i * 2, &(uint16_t){ (uint16_t)val }, 2);
        }
        break;
    case 4:
        for (uint64_t i = 0; i < n; i++) {
            memcpy((uint8_t *)dst + i * 4, &(uint32_t){ (uint32_t)val }, 4);
        }
        break;
    default:
        for (uint64_t i = 0; i < n; i++) {
            memcpy((uint8_t *)dst + i * 8, &val, 8);
        }
    }
}

static bool stos_run(Str *s)
{
    CpuState *cpu = s->cpu;
    uint64_t to = dst_lin(s, true);
    uint64_t n = str_run(s, SEG_ES, str_dst(s), to);
    unsigned len = (unsigned)(n * s->size);
    Target t;
    if (n < 2 || !target_open(cpu, to, len, &t)) {
        return false;
    }
    fill(t.host, cpu->gpr[REG_RAX], s->size, n);
    target_close(cpu, &t, len);
    str_commit(s, false, true, n);
    return true;
}

static void stos_one(Str *s)
{
    CpuState *cpu = s->cpu;
    lin_store(cpu, dst_lin(s, true), cpu_reg(cpu, REG_RAX, s->size), s->size, MEM_CPL);
    str_commit(s, false, true, 1);
}

void exec_STOS(CpuState *cpu, const Insn *in)
{
    Str s = str_begin(cpu, in);
    str_loop(&s, stos_run, stos_one);
}

/* ---- LODS ---- */

static void lods_one(Str *s)
{
    CpuState *cpu = s->cpu;
    cpu_set_reg(cpu, REG_RAX, s->size, lin_load(cpu, src_lin(s), s->size, MEM_CPL));
    str_commit(s, true, false, 1);
}

void exec_LODS(CpuState *cpu, const Insn *in)
{
    Str s = str_begin(cpu, in);
    str_loop(&s, NULL, lods_one);
}

/* ---- CMPS, SCAS ---- */

/* Flags of a - b. */
static uint16_t cc_of_sub(uint64_t a, uint64_t b, unsigned size)
{
    uint64_t mask = exec_mask(size), sign = 1ull << (size * 8 - 1);
    a &= mask;
    b &= mask;
    uint64_t r = (a - b) & mask;
    return (uint16_t)((a < b ? CC_CF : 0) | (r == 0 ? CC_ZF : 0) | (r & sign ? CC_SF : 0) |
                      ((a ^ b) & (a ^ r) & sign ? CC_OF : 0) | ((a ^ b ^ r) & 0x10 ? CC_AF : 0) |
                      (__builtin_parityll(r & 0xff) ? 0 : CC_PF));
}

static uint64_t peek(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, p, size);
    return v;
}

/* REPE goes on while equal, REPNE while not. */
static bool goes_on(const Str *s, bool equal)
{
    return equal == !(s->in->prefixes & PFX_REPNE);
}

/* The number of elements of a run that are consumed: up to and with the one that ends it. *a and
 * *b are the last pair compared. b_host NULL: b is fixed (SCAS). */
static uint64_t compare_run(const Str *s, const uint8_t *a_host, const uint8_t *b_host, uint64_t n,
                            uint64_t *a, uint64_t *b)
{
    uint64_t i = 0;
    if (!b_host && s->size == 1 && (s->in->prefixes & PFX_REPNE)) {
        const uint8_t *hit = memchr(a_host, (int)(*b & 0xff), n);
        *a = hit ? *hit : a_host[n - 1];
        return hit ? (uint64_t)(hit - a_host) + 1 : n;
    }
    do {
        *a = peek(a_host + i * s->size, s->size);
        if (b_host) {
            *b = peek(b_host + i * s->size, s->size);
        }
        i++;
    } while (i < n && goes_on(s, *a == *b));
    return i;
}

/* Commits n compared elements, the last of them a and b; true: the instruction is over. */
static bool compare_commit(Str *s, bool src, uint64_t n, uint64_t a, uint64_t b)
{
    s->cc = cc_of_sub(a, b, s->size);
    str_commit(s, src, true, n);
    return s->count == 0 || (s->rep && !goes_on(s, a == b));
}

static bool cmps_run(Str *s, bool *over)
{
    CpuState *cpu = s->cpu;
    uint64_t from = src_lin(s), to = dst_lin(s, false);
    uint64_t n = str_run(s, s->in->seg, str_src(s), from);
    n = MIN(n, str_run(s, SEG_ES, str_dst(s), to));
    unsigned len = (unsigned)(n * s->size);
    const uint8_t *a_host = n < 2 ? NULL : source_open(cpu, from, len);
    const uint8_t *b_host = a_host ? source_open(cpu, to, len) : NULL;
    if (!b_host) {
        return false;
    }
    uint64_t a, b;
    n = compare_run(s, a_host, b_host, n, &a, &b);
    *over = compare_commit(s, true, n, a, b);
    return true;
}

static bool cmps_one(Str *s)
{
    uint64_t a = lin_load(s->cpu, src_lin(s), s->size, MEM_CPL);
    uint64_t b = lin_load(s->cpu, dst_lin(s, false), s->size, MEM_CPL);
    return compare_commit(s, true, 1, a, b);
}

static bool scas_run(Str *s, bool *over)
{
    uint64_t to = dst_lin(s, false);
    uint64_t n = str_run(s, SEG_ES, str_dst(s), to);
    const uint8_t *host = n < 2 ? NULL : source_open(s->cpu, to, (unsigned)(n * s->size));
    if (!host) {
        return false;
    }
    uint64_t al = cpu_reg(s->cpu, REG_RAX, s->size), val;
    n = compare_run(s, host, NULL, n, &val, &al);
    *over = compare_commit(s, false, n, al, val);
    return true;
}

static bool scas_one(Str *s)
{
    uint64_t val = lin_load(s->cpu, dst_lin(s, false), s->size, MEM_CPL);
    return compare_commit(s, false, 1, cpu_reg(s->cpu, REG_RAX, s->size), val);
}

static void compare_loop(Str *s, bool (*run)(Str *s, bool *over), bool (*one)(Str *s))
{
    bool over = s->count == 0;
    s->cc = s->cpu->cc;
    while (!over) {
        if (!str_may_run(s) || !run(s, &over)) {
            over = one(s);
        }
        if (!over && str_pause(s)) {
            break;
        }
    }
    /* Only now: a fault in the middle leaves the flags of before (SDM 2B REP). */
    s->cpu->cc = s->cc;
}

void exec_CMPS(CpuState *cpu, const Insn *in)
{
    Str s = str_begin(cpu, in);
    compare_loop(&s, cmps_run, cmps_one);
}

void exec_SCAS(CpuState *cpu, const Insn *in)
{
    Str s = str_begin(cpu, in);
    compare_loop(&s, scas_run, scas_one);
}

/* ---- INS, OUTS: a bus access an element, many in one call where the device offers that ---- */

static uint16_t str_port(const Str *s)
{
    return (uint16_t)s->cpu->gpr[REG_RDX];
}

static void note_port(const Str *s)
{
    if (s->cpu->mode & MODE_DR) {
        debug_check_io(s->cpu, str_port(s), s->size);
    }
}

static void ins_one(Str *s)
{
    CpuState *cpu = s->cpu;
    /* What a port gave is gone: the store after it must not fault. */
    uint64_t to = dst_lin(s, true);
    lin_probe(cpu, to, s->size, true, MEM_CPL);
    lin_store(cpu, to, port_in(cpu, str_port(s), s->size), s->size, MEM_CPL);
    note_port(s);
    str_commit(s, false, true, 1);
}

static bool ins_run(Str *s)
{
    CpuState *cpu = s->cpu;
    uint8_t buf[PAGE_SIZE];
    uint64_t to = dst_lin(s, true);
    uint64_t n = str_run(s, SEG_ES, str_dst(s), to);
    Target t;
    if (n < 2 || !target_open(cpu, to, (unsigned)n * s->size, &t)) {
        return false; /* what the port gave must not be lost to a fault */
    }
    n = port_in_string(cpu, str_port(s), buf, s->size, (unsigned)n);
    if (!n) {
        return false;
    }
    unsigned len = (unsigned)n * s->size;
    if (target_open(cpu, to, len, &t)) { /* again: RAM may have moved meanwhile */
        memcpy(t.host, buf, len);
        target_close(cpu, &t, len);
    } else {
        for (unsigned i = 0; i < len; i += s->size) {
            lin_store(cpu, to + i, peek(buf + i, s->size), s->size, MEM_CPL);
        }
    }
    str_commit(s, false, true, n);
    return true;
}

void exec_INS(CpuState *cpu, const Insn *in)
{
    Str s = str_begin(cpu, in);
    task_check_io(cpu, str_port(&s), s.size);
    str_loop(&s, ins_run, ins_one);
}

static void outs_one(Str *s)
{
    CpuState *cpu = s->cpu;
    uint64_t val = lin_load(cpu, src_lin(s), s->size, MEM_CPL);
    port_out(cpu, str_port(s), val, s->size);
    note_port(s);
    str_commit(s, true, false, 1);
}

static bool outs_run(Str *s)
{
    CpuState *cpu = s->cpu;
    uint8_t buf[PAGE_SIZE];
    uint64_t from = src_lin(s);
    uint64_t n = str_run(s, s->in->seg, str_src(s), from);
    unsigned len = (unsigned)n * s->size;
    const uint8_t *src = n < 2 ? NULL : source_open(cpu, from, len);
    if (!src) {
        return false;
    }
    memcpy(buf, src, len);
    n = port_out_string(cpu, str_port(s), buf, s->size, (unsigned)n);
    str_commit(s, true, false, n);
    return n != 0;
}

void exec_OUTS(CpuState *cpu, const Insn *in)
{
    Str s = str_begin(cpu, in);
    task_check_io(cpu, str_port(&s), s.size);
    str_loop(&s, outs_run, outs_one);
}
