/* SPDX-License-Identifier: GPL-2.0-or-later
 * The guest's state as lockstep sees it: copying, comparing, and the report of a difference.
 */
#include <stdio.h>
#include <string.h>

#include "accel/jit/check.h"

#include "accel/jit/show.h"
#include "accel/jit/translate.h"
#include "util/log.h"

/* ---- what there is ---- */

typedef struct Field {
    const char *name;
    uint16_t offset, size, count, stride;
} Field;

#define ONE(f) { #f, offsetof(CpuState, f), sizeof(((CpuState *)0)->f), 1, 0 }
#define MANY(f, n) { #f, offsetof(CpuState, f), sizeof(((CpuState *)0)->f[0]), n,                  \
                     sizeof(((CpuState *)0)->f[0]) }
#define SEGS(part) { "seg." #part, offsetof(CpuState, seg[0].part),                                \
                     sizeof(((CpuState *)0)->seg[0].part), NR_SEGS, sizeof(Segment) }

static const char *const gpr_names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
static const char *const seg_names[] = { "es", "cs", "ss", "ds", "fs", "gs" };

/* Arithmetic flags are looked at by themselves; what is not listed follows from what is. Not the
 * shadow of STI: translated, it need not exist while the next instruction runs. */
static const Field fields[] = {
    MANY(gpr, 16), ONE(rip), ONE(eflags), ONE(mode),
    SEGS(sel), SEGS(attr), SEGS(limit), SEGS(base),
    ONE(ldtr.sel), ONE(ldtr.attr), ONE(ldtr.limit), ONE(ldtr.base),
    ONE(tr.sel), ONE(tr.attr), ONE(tr.limit), ONE(tr.base),
    ONE(gdtr.base), ONE(gdtr.limit), ONE(idtr.base), ONE(idtr.limit),
    ONE(cr0), ONE(cr2), ONE(cr3), ONE(cr4), ONE(efer), MANY(pdpte, 4), MANY(dr, 8), ONE(xcr0),
    MANY(ymm, 16), { "st", offsetof(CpuState, fpu.st), 10, 8, 16 },
    ONE(fpu.fcw), ONE(fpu.fsw), ONE(fpu.tag), ONE(fpu.fop), ONE(fpu.fcs), ONE(fpu.fds),
    ONE(fpu.fip), ONE(fpu.fdp), ONE(mxcsr),
    ONE(star), ONE(lstar), ONE(cstar), ONE(sfmask), ONE(kernel_gs_base), ONE(tsc_aux),
    ONE(sysenter_cs), ONE(sysenter_esp), ONE(sysenter_eip), ONE(delivering),
    ONE(activity), ONE(nmi_blocked), ONE(pending_db), ONE(ignne),
};

/* What belongs to the guest and may change lies in three stretches of CpuState, but for one. What
 * only WRMSR writes is not among it. */
enum { CORE = offsetof(CpuState, gpr), CORE_END = offsetof(CpuState, request),
       REST = offsetof(CpuState, seg), REST_END = offsetof(CpuState, pat),
       EVENT = offsetof(CpuState, activity), EVENT_END = offsetof(CpuState, unwind) };

void check_copy_core(CpuState *to, const CpuState *from)
{
    memcpy((char *)to + CORE, (const char *)from + CORE, CORE_END - CORE);
}

void check_copy_rest(CpuState *to, const CpuState *from)
{
    memcpy((char *)to + REST, (const char *)from + REST, REST_END - REST);
    memcpy((char *)to + EVENT, (const char *)from + EVENT, EVENT_END - EVENT);
    to->ignne = from->ignne;
}

static const uint8_t *at(const CpuState *cpu, const Field *f, unsigned i)
{
    return (const uint8_t *)cpu + f->offset + i * f->stride;
}

static bool same_flags(const CpuState *a, const CpuState *b, uint32_t flags)
{
    return !((cc_to_flags(a->cc) ^ cc_to_flags(b->cc)) & flags);
}

bool check_same_state(const CpuState *a, const CpuState *b, uint32_t flags)
{
    size_t event = offsetof(CpuState, insn_rip) - EVENT;
    if (!same_flags(a, b, flags)) {
        return false;
    }
    if (likely(!memcmp(a->gpr, b->gpr, sizeof(a->gpr)) && a->rip == b->rip &&
               a->eflags == b->eflags && a->mode == b->mode &&
               !memcmp((const char *)a + REST, (const char *)b + REST, REST_END - REST) &&
               !memcmp((const char *)a + EVENT, (const char *)b + EVENT, event) &&
               a->ignne == b->ignne)) {
        return true;
    }
    for (const Field *f = fields; f < fields + ARRAY_SIZE(fields); f++) {
        for (unsigned i = 0; i < f->count; i++) {
            if (memcmp(at(a, f, i), at(b, f, i), f->size)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the report ---- */

static const char *hex(char *text, const uint8_t *p, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        sprintf(text + 2 * i, "%02x", p[size - 1 - i]);
    }
    return text;
}

static const char *field_name(const Field *f, unsigned i, char *text, size_t size)
{
    if (f == fields) {
        snprintf(text, size, "%s", gpr_names[i]);
    } else if (!strncmp(f->name, "seg.", 4)) {
        snprintf(text, size, "%s%s", seg_names[i], f->name + 3);
    } else if (f->count > 1) {
        snprintf(text, size, "%s%u", f->name, i);
    } else {
        snprintf(text, size, "%s", f->name);
    }
    return text;
}

static void print_field(const Field *f, unsigned i, const CpuState *before, const CpuState *interp,
                        const CpuState *jit)
{
    char name[32], b[65], x[65], y[65];
    const uint8_t *old = at(before, f, i), *want = at(interp, f, i), *got = at(jit, f, i);
    bool differ = memcmp(want, got, f->size), changed = memcmp(old, want, f->size);
    if (!differ && !changed && f != fields) { /* general registers are always of interest */
        return;
    }
    field_name(f, i, name, sizeof(name));
    hex(b, old, f->size);
    hex(x, want, f->size);
    hex(y, got, f->size);
    if (f->size > 8) {
        log_printf("%s %-10s before %s\n%12s interp %s\n%12s jit    %s\n", differ ? "*" : " ", name,
                   b, "", x, "", y);
    } else {
        log_printf("%s %-10s %-18s %-18s %s\n", differ ? "*" : " ", name, b, x, y);
    }
}

static void print_state(const CpuState *before, const CpuState *interp, const CpuState *jit,
                        uint32_t flags)
{
    char b[8], x[8], y[8], m[8];
    log_printf("  %-10s %-18s %-18s %s\n", "", "before", "interp", "jit");
    for (const Field *f = fields; f < fields + ARRAY_SIZE(fields); f++) {
        for (unsigned i = 0; i < f->count; i++) {
            print_field(f, i, before, interp, jit);
        }
    }
    log_printf("%s %-10s %-18s %-18s %-18s compared: %s\n",
               same_flags(interp, jit, flags) ? " " : "*", "flags",
               show_flags(b, cc_to_flags(before->cc)), show_flags(x, cc_to_flags(interp->cc)),
               show_flags(y, cc_to_flags(jit->cc)), show_flags(m, flags));
}

static void print_memory(const Journal *j)
{
    for (size_t i = 0; i < j->nr_stores; i++) {
        const JournalStore *s = &j->store[i];
        bool differ = s->found != s->want;
        if (differ || j->nr_stores <= 64) {
            log_printf("%s [%lx] %u bytes: before %lx, interp %lx, jit %lx\n", differ ? "*" : " ",
                       (unsigned long)s->lin, s->size, (unsigned long)s->before,
                       (unsigned long)s->want, (unsigned long)s->found);
        }
    }
}

static void print_guest_code(const JitCheck *c)
{
    const TbCheck *b = c->tb->check;
    uint64_t rip = c->state[0].rip;
    for (unsigned i = 0; i < b->nr_insns; i++) {
        Insn in;
        char text[128];
        uint64_t at_rip = rip + b->off[i];
        if (insn_decode(b->bytes + b->off[i], b->off[i + 1] - b->off[i], c->tb->mode, NULL, &in) !=
            DECODE_OK) {
            continue;
        }
        log_printf("%s 0x%08lx:  %s\n", i < c->nr ? " " : "-", (unsigned long)at_rip,
                   insn_format(&in, at_rip, text, sizeof(text)));
    }
}

void check_report(const CpuState *cpu, const JitCheck *c, const CpuState *interp, uint32_t flags,
                  const char *what)
{
    log_printf("\ncheck=interp: cpu %u: the translated block at 0x%lx, mode %x, is wrong: %s\n",
               cpu->index, (unsigned long)c->state[0].rip, c->tb->mode, what);
    log_printf("%lu blocks were right before it. Guest code (-: not executed):\n",
               (unsigned long)c->blocks - 1);
    print_guest_code(c);
    if (c->end == CHECK_RAISED) {
        log_printf("interp raised exception %d, error code %x, at 0x%lx\n", c->vector, c->error,
                   (unsigned long)c->last.rip);
    }
    log_printf("jit: rip 0x%lx, last exception raised %d, error code %x\n",
               (unsigned long)cpu->rip, cpu->exc_vector, cpu->exc_error);
    show_host_code(c->tb);
    print_state(&c->state[0], interp, cpu, flags);
    print_memory(&c->journal);
}
