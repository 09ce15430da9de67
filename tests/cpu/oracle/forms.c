/* SPDX-License-Identifier: GPL-2.0-or-later
 * Which forms there are: a row of the table times operand sizes, register or memory, vector
 * lengths, LOCK and repeat prefixes.
 */
#include "oracle.h"

#include <stdlib.h>
#include <string.h>

typedef struct FormList {
    Form *form;
    unsigned nr, room;
} FormList;

static void add_form(FormList *l, Form f)
{
    if (l->nr == l->room) {
        l->room = l->room ? 2 * l->room : 1024;
        l->form = realloc(l->form, l->room * sizeof(*l->form));
        if (!l->form) {
            abort();
        }
    }
    l->form[l->nr++] = f;
}

/* Does an operand have that size letter (the first behind its own)? */
static bool has_size(const InsnRow *r, char size)
{
    for (const char *s = r->operands; s && *s;
         s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
        const char *p = *s == 's' ? s + 1 : s;
        if (p[0] && p[1] == size && strncmp(p, "env", 3)) {
            return true;
        }
    }
    return strstr(r->operands, "rAX") && size == 'v';
}

/* Bits 1, 2, 3: operand sizes 2, 4, 8. */
static unsigned operand_sizes(const Mode *m, const InsnRow *r)
{
    unsigned all = m->bits == 64 ? 2 | 4 | 8 : 2 | 4;
    if (r->enc & ENC_W1) {
        return 8 & all;
    }
    if (r->flags & INSN_F64) {
        return m->bits == 64 ? 8 : m->bits == 32 ? 4 : 2;
    }
    if (r->flags & INSN_D64) {
        return m->bits == 64 ? 2 | 8 : 2 | 4;
    }
    if (has_size(r, 'y')) {
        return (r->enc & ENC_W0 ? 4 : 4 | 8) & all;
    }
    bool sized = has_size(r, 'v') || has_size(r, 'z') || has_size(r, 'a');
    if (strstr(r->operands, "env") || strstr(r->operands, "sav")) {
        return 2 | 4;
    }
    switch (r->op) {
    case OP_CBW:
    case OP_CWD:
    case OP_PUSHA:
    case OP_POPA: sized = true;
    }
    if (!sized) {
        return m->bits == 16 ? 2 : 4;
    }
    unsigned pp = r->enc & ENC_PP;
    return pp == ENC_NP || pp == ENC_P66 ? all & ~2u : all;
}

static void add_row(FormList *l, const Mode *m, unsigned row)
{
    const InsnRow *r = &insn_rows[row];
    unsigned sizes = operand_sizes(m, r);
    bool rm = strpbrk(r->operands, "EWQR") && !strstr(r->operands, "XMM0,");
    bool m_only = strchr(r->operands, 'M') && !strchr(r->operands, '/');
    bool vm = strstr(r->operands, "vm");
    if (!strncmp(r->operands, "ST", 2) || !strcmp(r->operands, "DX")) {
        rm = false;
    }
    if (strchr(r->operands, '/')) {
        rm = true;
        m_only = false;
    }
    if (strstr(r->operands, "XMM0")) {
        m_only = false;
    }
    for (unsigned mem = 0; mem < 2; mem++) {
        if (mem ? !(rm || m_only || vm) || (r->enc & ENC_REG_ONLY)
                : m_only || vm || (r->enc & ENC_MEM_ONLY)) {
            continue;
        }
        for (unsigned size = 2; size <= 8; size *= 2) {
            if (!(sizes & size)) {
                continue;
            }
            for (unsigned vl = 0; vl < (r->enc & ENC_VEX ? 2 : 1); vl++) {
                if ((r->enc & ENC_L0 && vl) || (r->enc & ENC_L1 && !vl)) {
                    continue;
                }
                Form f = { .row = row, .opsize = size, .vex_l = vl, .mem = mem };
                f.w = r->enc & ENC_W1 || size == 8;
                add_form(l, f);
                if (mem && (r->flags & INSN_LOCK)) {
                    f.lock = true;
                    add_form(l, f);
                    f.lock = false;
                }
                if (r->flags & INSN_REP) {
                    f.rep = 0xf3;
                    add_form(l, f);
                    f.rep = 0xf2;
                    add_form(l, f);
                }
            }
        }
    }
}

Form *forms_make(const Mode *m, const char *op, unsigned *nr)
{
    FormList l = { 0 };
    uint32_t wrong = m->bits == 64 ? INSN_I64 : INSN_O64;
    for (unsigned row = 1; row < nr_insn_rows; row++) {
        const InsnRow *r = &insn_rows[row];
        if ((r->flags & INSN_USER) && !(r->flags & wrong) &&
            native_has_feature(r->feature) && (!op || !strcmp(op, insn_op_name(r->op)))) {
            add_row(&l, m, row);
        }
    }
    *nr = l.nr;
    return l.form;
}
