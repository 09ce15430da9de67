/* SPDX-License-Identifier: GPL-2.0-or-later
 * The oracle's main program: runs every form, compares, prints one TAP line a family of
 * instructions and mode. --help lists the options; what a failure prints reruns it.
 */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/x87.h"

static const Mode modes[] = {
    { "64-bit", 64, MODE_PE | MODE_LMA | MODE_CS64, 0x33, 0x2b, 0, 0 },
    { "32-bit", 32, MODE_PE | MODE_LMA | MODE_CS32, 0x23, 0x2b, 0, 0 },
    /* segments of the LDT: 64 KiB, code at CODE_AT, data at 6000 */
    { "16-bit", 16, MODE_PE | MODE_LMA, 0x07, 0x0f, CODE_LIN, DATA_LIN - 0x6000 },
};

static struct {
    uint64_t seed;
    unsigned runs, show;
    const char *op, *engine;
    unsigned bits;
    bool strict; /* undefined flags too */
} options = { .seed = 0, .runs = 1000, .show = 5, .engine = "interp" };

/* Families, as ops.inc has them. */
static const char *const families[NR_OPS] = {
#define OP(name, family) [OP_##name] = #family,
#include "cpu/ops.inc"
#undef OP
};

typedef struct Result {
    const char *family;
    unsigned forms, failed_forms, not_generated;
    uint64_t runs, faults;
} Result;

/* ---- comparing ---- */

static unsigned operand_count_value(const Case *c)
{
    const Insn *in = &c->in;
    const Operand *o = &in->opd[in->nr_opd - 1];
    if (o->kind == OPD_IMM) {
        return in->imm & 0xff;
    }
    return c->before.gpr[REG_RCX] & 0xff;
}

/* Flags the SDM leaves undefined for these very operands. */
static uint32_t undefined_flags(const Case *c)
{
    const Insn *in = &c->in;
    uint32_t undef = c->info->flags_undef;
    unsigned bits = in->opd[0].size * 8;
    unsigned count;
    switch (in->op) {
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHLD:
    case OP_SHRD:
        count = operand_count_value(c) & (bits == 64 ? 63 : 31);
        if (count == 0) {
            return 0;
        }
        if (count == 1) {
            undef &= ~FLAG_OF;
        }
        if (count >= bits && (in->op == OP_SHL || in->op == OP_SHR)) {
            undef |= FLAG_CF;
        }
        if (count > bits && (in->op == OP_SHLD || in->op == OP_SHRD)) {
            undef = FLAG_ARITH;
        }
        break;
    }
    return undef;
}

/* SHLD and SHRD by more than the operand's size leave the destination undefined. */
static bool result_undefined(const Case *c)
{
    const Insn *in = &c->in;
    return (in->op == OP_SHLD || in->op == OP_SHRD) && in->opsize == 2 &&
           (operand_count_value(c) & 31) > 16;
}

static const char *const reg_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                           "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                           "r12", "r13", "r14", "r15" };

typedef struct Report {
    bool print, differs;
} Report;

static void differ64(Report *r, const char *what, uint64_t before, uint64_t want,
                     uint64_t got)
{
    r->differs = true;
    if (r->print) {
        printf("#   %-8s before %016llx want %016llx got %016llx\n", what,
               (unsigned long long)before, (unsigned long long)want,
               (unsigned long long)got);
    }
}

static void differ_bytes(Report *r, const char *what, const uint8_t *before,
                         const uint8_t *want, const uint8_t *got, unsigned n)
{
    r->differs = true;
    if (!r->print) {
        return;
    }
    static const char *const label[3] = { "before", "want  ", "got   " };
    const uint8_t *p[3] = { before, want, got };
    for (int k = 0; k < 3; k++) {
        if (p[k]) {
            printf("#   %-8s %s ", what, label[k]);
            for (unsigned i = n; i-- > 0;) {
                printf("%02x%s", p[k][i], i % 8 || !i ? "" : "_");
            }
            printf("\n");
        }
    }
}

static void check64(Report *r, const char *what, uint64_t before, uint64_t want,
                    uint64_t got)
{
    if (want != got) {
        differ64(r, what, before, want, got);
    }
}

/* Instructions that access memory piece by piece: where in it they fault, and what they
 * have stored by then, is the processor's affair. */
static bool is_piecemeal(const Case *c)
{
    static const uint16_t ops[] = { OP_FLDENV,     OP_FNSTENV,    OP_FRSTOR,
                                    OP_FNSAVE,     OP_FBSTP,      OP_FSTP,
                                    OP_CMPS,       OP_VMASKMOVPS, OP_VMASKMOVPD,
                                    OP_VPMASKMOVD, OP_VPMASKMOVQ, OP_MASKMOVQ,
                                    OP_MASKMOVDQU, OP_VMASKMOVDQU };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (c->in.op == ops[i]) {
            return true;
        }
    }
    return false;
}

/* Both outcomes are right: the manuals leave it open, or AMD's processors differ from the
 * SDM, by which the engines go. */
static bool outcome_is_free(const Mode *m, const Case *c, const Regs *want, const Regs *got)
{
    const Insn *in = &c->in;
    bool pf = want->vector == EXC_PF, ud = want->vector == EXC_UD;
    switch (in->op) {
    case OP_MASKMOVQ: /* may fault on bytes that its mask leaves out (SDM 2B) */
    case OP_MASKMOVDQU:
    case OP_VMASKMOVDQU: return pf;
    case OP_BOUND: /* AMD's read both bounds before they compare */ return pf;
    case OP_MOVSXD: /* to 16 bits: SDM 2B reads as many, AMD's read 32 */
        return pf && in->opsize == 2;
    case OP_PAUSE: /* F3 REX.B 90 is XCHG R8,RAX on AMD's, PAUSE on Intel's */
        return (c->bytes[in->len - 2] & 0xf1) == 0x41;
    case OP_NOP: /* 0F 0D is PREFETCH; with a register a NOP on Intel's */
        return ud && in->map == 1 && in->opcode == 0x0d;
    case OP_VPEXTRD: /* VEX.W outside 64-bit code: SDM 2B ignores it */
    case OP_VPINSRD: return ud && m->bits != 64;
    }
    if (c->info->flags & INSN_X87) {
        /* Nothing is stored when an exception is not masked; AMD's fault all the same. */
        return pf && got->vector < 0 && (got->fsw & FSW_ES);
    }
    /* SDM 2A wants operands aligned (exceptions of type 4), AMD's do not. */
    return c->info->feature == FEATURE_SHA && got->vector == EXC_GP &&
           want->vector != EXC_GP;
}

/* MXCSR flags that cpu/exec_simd.c says it may get wrong when an exception is unmasked. */
static uint32_t mxcsr_ignored(const Case *c, const Regs *want)
{
    if (want->vector != EXC_XM) {
        return 0;
    }
    bool dot = c->in.op == OP_DPPS || c->in.op == OP_DPPD || c->in.op == OP_VDPPS ||
               c->in.op == OP_VDPPD;
    return dot ? 0x3f : 0x20;
}

static void compare_x87(Report *r, const Case *c, const Regs *want, const Regs *got)
{
    const Regs *b = &c->before;
    /* Processors may have gone over to MMX state before they find that the instruction
     * faults. */
    if ((c->info->flags & INSN_MMX) && want->vector >= 0 && got->vector >= 0) {
        return;
    }
    check64(r, "fcw", b->fcw, want->fcw, got->fcw);
    check64(r, "fsw", b->fsw, want->fsw, got->fsw);
    check64(r, "tag", b->tag, want->tag, got->tag);
    for (int i = 0; i < 8; i++) {
        if (memcmp(want->st[i], got->st[i], 10)) {
            char name[8];
            snprintf(name, sizeof(name), "st%d", i);
            differ_bytes(r, name, b->st[i], want->st[i], got->st[i], 10);
        }
    }
}

static bool compare(const Mode *m, const Case *c, const Regs *want, const Regs *got,
                    const uint8_t *memory_before, bool print)
{
    Report r = { print, false };
    const Regs *b = &c->before;
    if (outcome_is_free(m, c, want, got)) {
        return true;
    }
    bool undef = result_undefined(c);
    uint64_t gmask = m->bits == 64 ? ~0ull : 0xffffffff;
    if (want->vector != got->vector) {
        differ64(&r, "vector", 0, (int64_t)want->vector, (int64_t)got->vector);
        if (print) {
            printf("#   host: rip %llx error %x cr2 %llx\n", (unsigned long long)want->rip,
                   want->error, (unsigned long long)want->cr2);
        }
    }
    if (want->vector >= 0 && want->vector == got->vector) {
        /* The host's kernel is mapped in the upper half; the guest has nothing there. */
        uint32_t present = want->vector == EXC_PF && want->cr2 >> 63 ? 1 : 0;
        check64(&r, "error", 0, want->error & ~present, got->error & ~present);
        if (want->vector == EXC_PF) {
            /* CMPS: which of two strings that both fault comes first is free. */
            uint64_t mask = c->in.op == OP_CMPS ? 0 : is_piecemeal(c) ? ~0xfffull : ~0ull;
            check64(&r, "cr2", 0, want->cr2 & mask, got->cr2 & mask);
        }
    }
    check64(&r, "rip", b->rip, want->rip, got->rip);
    for (int i = 0; i < (m->bits == 64 ? 16 : 8) && !undef; i++) {
        check64(&r, reg_names[i], b->gpr[i], want->gpr[i] & gmask, got->gpr[i] & gmask);
    }
    uint32_t ignore = options.strict || want->vector >= 0 ? 0 : undefined_flags(c);
    if (want->vector >= 0 &&
        got->steps > 1) { /* the steps before the faulting one are visible */
        ignore = FLAG_ARITH;
    }
    check64(&r, "flags", b->flags, want->flags & ~ignore, got->flags & ~ignore);
    uint32_t mx = ~mxcsr_ignored(c, want);
    check64(&r, "mxcsr", b->mxcsr, want->mxcsr & mx, got->mxcsr & mx);
    for (int i = 0; i < 16; i++) {
        if (memcmp(&want->ymm[i], &got->ymm[i], 32)) {
            char name[8];
            snprintf(name, sizeof(name), "ymm%d", i);
            differ_bytes(&r, name, b->ymm[i].u8, want->ymm[i].u8, got->ymm[i].u8, 32);
        }
    }
    compare_x87(&r, c, want, got);
    if ((c->info->flags & INSN_X87) &&
        (native_keeps_x87_pointers() || (want->fsw & FSW_ES))) {
        /* not FOP: when it is updated differs by model */
        check64(&r, "fip", b->fip, want->fip, got->fip);
        if (!native_has_feature(FEATURE_FDP_EXCPTN_ONLY)) {
            check64(&r, "fdp", b->fdp, want->fdp, got->fdp);
        }
    }
    const uint8_t *host = native_data(), *guest = guest_data();
    undef |= want->vector == EXC_PF && is_piecemeal(c);
    if (!undef && memcmp(host, guest, DATA_SIZE)) {
        unsigned at = 0;
        while (host[at] == guest[at]) {
            at++;
        }
        at = at & ~15u;
        char name[16];
        snprintf(name, sizeof(name), "[%x]", DATA_LIN + at);
        differ_bytes(&r, name, memory_before ? memory_before + at : NULL, host + at,
                     guest + at, 16);
    }
    return !r.differs;
}

/* ---- running ---- */

static void print_case(const Mode *m, const Case *c, uint64_t seed)
{
    char text[128];
    insn_format(&c->in, c->before.rip, text, sizeof(text));
    printf("# %s:", m->name);
    for (unsigned i = 0; i < c->in.len; i++) {
        printf(" %02x", c->bytes[i]);
    }
    printf(": %s (row \"%s\", --engine %s --seed %#llx --op %s --bits %u)\n", text,
           c->info->operands, options.engine, (unsigned long long)seed,
           insn_op_name(c->info->op), m->bits);
}

/* AddressSanitizer maps its shadow over linear addresses that the guest has nothing at. */
static bool touches_shadow(const Regs *got)
{
#ifdef __SANITIZE_ADDRESS__
    return got->vector == EXC_PF && got->cr2 >= 0x7fff7000 && got->cr2 < 0x10007fff8000;
#else
    return (void)got, false;
#endif
}

/* A form's numbers depend on the seed and the form only, so that --op repeats them. */
static void seed_form(const Mode *m, const Form *f)
{
    uint64_t h = options.seed * 0x9e3779b97f4a7c15ull + m->bits;
    uint64_t id = insn_rows[f->row].enc | (uint64_t)f->opsize << 32 |
                  (uint64_t)f->vex_l << 36 | (uint64_t)f->mem << 37 |
                  (uint64_t)f->lock << 38 | (uint64_t)f->rep << 40 | (uint64_t)f->w << 39;
    h = (h ^ id) * 0xbf58476d1ce4e5b9ull;
    rng_state = (h ^ h >> 29) | 1;
    for (int i = 0; i < 4; i++) {
        rnd();
    }
}

static void run_form(const Mode *m, const Form *f, Result *res)
{
    static uint8_t before[DATA_SIZE];
    static Case c;
    static Regs want, got;
    unsigned shown = 0, failures = 0, n = 0;
    seed_form(m, f);
    for (; n < options.runs; n++) {
        if (!gen_case(m, f, &c)) {
            break;
        }
        memcpy(before, native_data(), DATA_SIZE);
        memcpy(guest_data(), before, DATA_SIZE);
        native_run(m, &c, &want);
        guest_run(m, &c, &got);
        res->faults += want.vector >= 0;
        if (!touches_shadow(&got) && !compare(m, &c, &want, &got, before, false)) {
            failures++;
            if (shown++ < options.show) {
                print_case(m, &c, options.seed);
                compare(m, &c, &want, &got, before, true);
            }
        }
    }
    res->runs += n;
    res->forms++;
    res->not_generated += n == 0;
    if (failures || n == 0) {
        res->failed_forms++;
        printf("# %s %s %s \"%s\"%s%s opsize %u L%u: %u of %u runs differ\n", m->name,
               families[insn_rows[f->row].op], insn_op_name(insn_rows[f->row].op),
               insn_rows[f->row].operands, f->mem ? " memory" : "", f->lock ? " lock" : "",
               f->opsize, f->vex_l, failures, n);
    }
}

static unsigned run_mode(const Mode *m, unsigned test, unsigned *failed)
{
    unsigned nr, nr_results = 0;
    Form *forms = forms_make(m, options.op, &nr);
    static Result results[64];
    memset(results, 0, sizeof(results));
    guest_set_mode(m);
    for (unsigned i = 0; i < nr; i++) {
        const char *family = families[insn_rows[forms[i].row].op];
        unsigned k = 0;
        while (k < nr_results && strcmp(results[k].family, family)) {
            k++;
        }
        if (k == nr_results) {
            results[nr_results++].family = family;
        }
        run_form(m, &forms[i], &results[k]);
    }
    for (unsigned k = 0; k < nr_results; k++) {
        Result *r = &results[k];
        printf("%s %u - %s %s: %u forms, %llu runs, %llu faults",
               r->failed_forms ? "not ok" : "ok", ++test, m->name, r->family, r->forms,
               (unsigned long long)r->runs, (unsigned long long)r->faults);
        printf(r->failed_forms ? ", %u forms differ\n" : "\n", r->failed_forms);
        *failed += r->failed_forms;
    }
    free(forms);
    return test;
}

static int usage(void)
{
    printf(
        "oracle [--engine interp|jit] [--seed N] [--runs N] [--op NAME] [--bits 64|32|16]\n"
        "       [--show N] [--strict]\n"
        "Compares an engine with this host's processor. --runs: per form; --show: "
        "failing\n"
        "cases printed per form; --strict: undefined flags must agree too.\n");
    return 1;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    options.seed = 0x5eed;
    for (int i = 1; i < argc; i++) {
        const char *val = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--strict")) {
            options.strict = true;
            continue;
        }
        if (!val) {
            return usage();
        }
        if (!strcmp(argv[i], "--seed")) {
            options.seed = strtoull(val, NULL, 0);
        } else if (!strcmp(argv[i], "--runs")) {
            options.runs = strtoul(val, NULL, 0);
        } else if (!strcmp(argv[i], "--engine")) {
            options.engine = val;
        } else if (!strcmp(argv[i], "--op")) {
            options.op = val;
        } else if (!strcmp(argv[i], "--bits")) {
            options.bits = strtoul(val, NULL, 0);
        } else if (!strcmp(argv[i], "--show")) {
            options.show = strtoul(val, NULL, 0);
        } else {
            return usage();
        }
        i++;
    }
    printf("# --engine %s --seed %#llx --runs %u\n", options.engine,
           (unsigned long long)options.seed, options.runs);
    if (!guest_choose(options.engine)) {
        printf("1..0 # SKIP this build has no engine '%s'\n", options.engine);
        return 0;
    }
    guest_init();
    if (!native_init()) {
        printf("1..0 # skipped: the host does not allow it\n");
        return 0;
    }
    unsigned tests = 0, failed = 0;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (options.bits && options.bits != modes[i].bits) {
            continue;
        }
        if (!native_set_mode(&modes[i])) {
            printf("# %s skipped: this kernel runs no such code\n", modes[i].name);
            continue;
        }
        tests = run_mode(&modes[i], tests, &failed);
    }
    printf("1..%u\n", tests);
    return failed ? 1 : 0;
}
