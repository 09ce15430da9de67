/* SPDX-License-Identifier: GPL-2.0-or-later
 * The host-CPU oracle: every user-mode instruction form of the decode table runs with
 * random operands on the host's processor and on an engine, from the same registers and
 * memory, and what comes out must be the same.
 *
 *   forms.c   which forms there are, from the rows of the table
 *   gen.c     one instruction of a form, and registers and memory for it
 *   native.c  runs it on the host
 *   guest.c   runs it on the interpreter or the translator
 *   main.c    compares, reports (TAP)
 *
 * Host and guest see the same linear addresses: a page of code and two of data with nothing
 * mapped around them.
 */
#ifndef TESTS_CPU_ORACLE_H
#define TESTS_CPU_ORACLE_H

#include "cpu/insn.h"

enum {
    CODE_LIN = 0x10000000,
    CODE_SIZE = 0x1000,
    CODE_AT = 0x800, /* where in it the instruction stands; INT3 everywhere else */
    DATA_LIN = 0x10010000,
    DATA_SIZE = 0x2000,
};

typedef struct Mode {
    const char *name;
    unsigned bits;      /* 16, 32, 64 */
    uint32_t mode;      /* MODE_ for the decoder */
    uint16_t cs, ss;    /* selectors on the host */
    uint64_t cs_base;   /* CODE_LIN - cs_base is the offset of the code page */
    uint64_t data_base; /* of DS, ES and SS */
} Mode;

/* One thing to test. */
typedef struct Form {
    uint16_t row;
    uint8_t opsize;   /* 2, 4, 8 */
    uint8_t vex_l, w; /* w: VEX.W or REX.W where the row asks for it */
    bool mem;         /* ModRM names memory */
    bool lock;
    uint8_t rep; /* 0, F2, F3 */
} Form;

typedef struct Regs {
    uint64_t gpr[16], rip;
    uint32_t flags; /* arithmetic ones and DF */
    uint32_t mxcsr;
    VecReg ymm[16];
    uint8_t st[8][10]; /* ST(0) first, as in FXSAVE */
    uint16_t fcw, fsw, fop;
    uint8_t tag; /* abridged, by physical register */
    uint64_t fip, fdp;
    /* what ended it */
    int vector; /* -1: it completed */
    uint32_t error;
    uint64_t cr2;
    unsigned steps; /* guest: iterations of a repeated instruction that were steps */
} Regs;

typedef struct Case {
    const Form *form;
    const InsnRow *info;
    uint8_t bytes[16];
    Insn in;
    Regs before;
} Case;

/* ---- gen.c ---- */
extern uint64_t rng_state;
uint64_t rnd(void);
static inline bool chance(unsigned percent)
{
    return rnd() % 100 < percent;
}
/* Fills c and the host's data pages. False if the form has no encoding in this mode. */
bool gen_case(const Mode *m, const Form *f, Case *c);

/* ---- forms.c ---- */
/* All forms in a mode, in the table's order; a new array. op: NULL or one instruction's
 * name. */
Form *forms_make(const Mode *m, const char *op, unsigned *nr);

/* ---- native.c ---- */
/* Maps the pages, installs handlers; false: this host cannot (the reason is printed). */
bool native_init(void);
bool native_set_mode(const Mode *m); /* false: not on this kernel */
/* Host's features, for rows it cannot run. */
bool native_has_feature(CpuFeature f);
/* Does XSAVE store x87's last instruction and operand while no exception is pending? */
bool native_keeps_x87_pointers(void);
/* Puts the code in place and runs it. */
void native_run(const Mode *m, const Case *c, Regs *out);
uint8_t *native_data(void);
uint64_t native_gs_base(void);

/* ---- guest.c ---- */
/* "interp" or "jit"; false: not in this build. Before guest_init. */
bool guest_choose(const char *engine);
void guest_init(void);
void guest_set_mode(const Mode *m);
void guest_run(const Mode *m, const Case *c, Regs *out);
uint8_t *guest_data(void);

#endif
