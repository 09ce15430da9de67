/* SPDX-License-Identifier: GPL-2.0-or-later
 * The translator's work for people. There is no intermediate code between the guest's instructions
 * and the host's, so -d op shows the decisions: for each instruction the flags that somebody wants
 * behind it, where those of before it are, how long its code is, and by which way it is done.
 */
#include "accel/jit/show.h"

#include <stdarg.h>
#include <stdio.h>

#include "util/log.h"

const char *show_flags(char text[8], uint32_t flags)
{
    static const struct {
        uint32_t flag;
        char name;
    } names[] = { { FLAG_OF, 'O' }, { FLAG_SF, 'S' }, { FLAG_ZF, 'Z' }, { FLAG_AF, 'A' },
                  { FLAG_PF, 'P' }, { FLAG_CF, 'C' } };
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        text[i] = flags & names[i].flag ? names[i].name : '-';
    }
    text[ARRAY_SIZE(names)] = 0;
    return text;
}

/* ---- in_asm, out_asm ---- */

static void show_guest_code(const Translator *t, uint64_t rip)
{
    char text[128];
    log_printf("IN: cpu %u, %u instructions, mode %x, translated\n", t->cpu->index,
               t->tb->nr_insns, t->mode);
    for (unsigned i = 0; i < t->tb->nr_insns; i++) {
        log_printf("0x%08lx:  %s\n", (unsigned long)(rip + t->off[i]),
                   insn_format(&t->insn[i], rip + t->off[i], text, sizeof(text)));
    }
}

void show_host_code(const Tb *tb)
{
    const uint8_t *at = tb->entry, *end = at + tb->code_len;
    char text[128];
    log_printf("OUT: %u bytes\n", tb->code_len);
    while (at < end) {
        Insn in;
        unsigned have = (unsigned)MIN(end - at, 15);
        if (insn_decode(at, have, MODE_CS64 | MODE_PE | MODE_LMA, NULL, &in) != DECODE_OK) {
            log_printf("%p:  .byte 0x%02x\n", (const void *)at, *at);
            at++;
            continue;
        }
        log_printf("%p:  %s\n", (const void *)at,
                   insn_format(&in, (uintptr_t)at, text, sizeof(text)));
        at += in.len;
    }
}

/* ---- op ---- */

typedef struct Text {
    char s[256];
    size_t n;
} Text;

/* Adds a part; each only once. */
static void PRINTF_LIKE(2, 3) add(Text *w, const char *fmt, ...)
{
    char part[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(part, sizeof(part), fmt, ap);
    va_end(ap);
    if (!strstr(w->s, part) && w->n + strlen(part) + 3 < sizeof(w->s)) {
        w->n += (size_t)snprintf(w->s + w->n, sizeof(w->s) - w->n, "%s%s", w->n ? ", " : "", part);
    }
}

static void add_memory(Text *w, uint32_t desc)
{
    add(w, "memory slot %u: %s%s%s %u bytes", desc >> MEM_SLOT_SHIFT & (NR_SLOTS - 1),
        desc & MEM_LOCK ? "locked " : "", desc & MEM_READ ? "read" : "",
        desc & MEM_WRITE ? desc & MEM_READ ? " and write" : "write" : "",
        (desc >> MEM_SIZE_SHIFT & 31) + 1);
}

static void add_cold(Text *w, const Cold *c, uint64_t rip)
{
    switch (c->kind) {
    case COLD_MEM: case COLD_MEM_OPEN: add_memory(w, c->desc); break;
    case COLD_SHARE:
        add_memory(w, c->desc);
        add(w, "one check for %+d to %+d of the base", c->lo, c->hi - 1);
        break;
    case COLD_SPAN: add(w, "span %d", c->span); break;
    case COLD_WINDOW: add(w, "page looked up"); break;
    case COLD_SEGMENT: add(w, "segment checked"); break;
    case COLD_EXEC: add(w, "function in rare cases"); break;
    case COLD_EXEC_END: add(w, "function if something is requested"); break;
    case COLD_VECTORS: add(w, "loads the vector registers unless they are live"); break;
    case COLD_FPU: add(w, "loads the x87 registers unless they are live"); break;
    case COLD_RUN: add(w, "run of %u instructions with one check of the stack", c->count); break;
    case COLD_GP: add(w, "target checked"); break;
    case COLD_EXIT: case COLD_SAVE_EXIT:
        add(w, "chained to 0x%lx", (unsigned long)(rip + (uint64_t)(int64_t)c->delta));
        if (c->kind == COLD_SAVE_EXIT) {
            add(w, "saves the flags if wanted there");
        }
        if (c->poll) {
            add(w, "polls");
        }
        break;
    case COLD_FAR:
        add(w, "chained to 0x%lx in this address space",
            (unsigned long)(rip + (uint64_t)(int64_t)c->delta));
        break;
    case COLD_TAKEN: case COLD_LEAVE_INTERP: case COLD_LEAVE: case COLD_MISS:
    case COLD_CANONICAL: break;
    }
}

/* By which ways instruction i is done; *run: how many it stands for. */
static void add_ways(Text *w, const Translator *t, unsigned i, uint64_t rip, unsigned *run)
{
    *run = 1;
    if (t->way[i] & WAY_FUNCTION) {
        add(w, "function");
    }
    for (unsigned n = 0; n < t->nr_cold; n++) {
        const Cold *c = &t->cold[n];
        if (c->insn == i && *run == 1) {
            add_cold(w, c, rip);
            *run = c->kind == COLD_RUN ? c->count : 1; /* more follows from its one-by-one form */
        }
    }
    if (t->way[i] & WAY_WINDOW) {
        add(w, "through the window");
    }
    if (t->way[i] & WAY_ROAMS) {
        add(w, "looked up in the Tlb");
    }
    if (t->way[i] & WAY_SHARED) {
        add(w, "memory checked before");
    }
    if (t->way[i] & WAY_JUMP_CACHE) {
        add(w, "jump cache");
    }
}

static uint32_t host_at(const Translator *t, unsigned i)
{
    return i < t->tb->nr_insns ? t->tb->insns[i].host : t->cold_at;
}

static void show_end(const Translator *t, uint64_t rip)
{
    char text[128];
    unsigned n = t->tb->nr_insns, run;
    unsigned long next = (unsigned long)(rip + t->off[n]);
    Text w = { .n = 0 };
    add_ways(&w, t, n, rip, &run);
    if (!t->done) {
        log_printf("0x%08lx:  %-36s ; %s\n", next, "(goes on)", w.n ? w.s : "leaves");
    }
    if (n < t->nr_insns) {
        log_printf("0x%08lx:  %-36s ; left to the interpreter\n", next,
                   insn_format(&t->insn[n], next, text, sizeof(text)));
    }
}

static void show_ways(const Translator *t, uint64_t rip)
{
    static const char *const place[] = { [FLAGS_MEMORY] = "memory", [FLAGS_HOST] = "host",
                                         [FLAGS_BOTH] = "both" };
    const Tb *tb = t->tb;
    char text[128], names[8];
    log_printf("OP: %s 0x%lx, %u instructions, %u bytes and %u for rare cases; flags read: %s\n",
               tb_mode_name(t->mode), (unsigned long)t->lin, tb->nr_insns, t->cold_at,
               tb->code_len - t->cold_at, show_flags(names, t->live[0]));
    for (unsigned i = 0, run = 1, left = 0; i < tb->nr_insns; i++, left--) {
        Text w = { .n = 0 };
        if (!left) {
            add_ways(&w, t, i, rip, &run);
            left = run;
        } else {
            add(&w, t->way[i] & WAY_JUMP_CACHE ? "in the run, jump cache" : "in the run");
        }
        uint32_t bytes = left == run ? host_at(t, i + run) - host_at(t, i) : 0;
        log_printf("0x%08lx:  %-36s ; %s wanted, %s, %u bytes: %s\n",
                   (unsigned long)(rip + t->off[i]),
                   insn_format(&t->insn[i], rip + t->off[i], text, sizeof(text)),
                   show_flags(names, t->live[i + 1]), place[t->flags_at[i]], bytes,
                   w.n ? w.s : bytes ? "in line" : "nothing to do");
    }
    show_end(t, rip);
}

void show_block(const Translator *t, uint64_t rip)
{
    if (log_on(LOG_IN_ASM)) {
        show_guest_code(t, rip);
    }
    if (log_on(LOG_OP)) {
        show_ways(t, rip);
    }
    if (log_on(LOG_OUT_ASM)) {
        show_host_code(t->tb);
    }
}
