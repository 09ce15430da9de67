/* SPDX-License-Identifier: GPL-2.0-or-later
 * Where the guest's screen can be shown: a registry, so that vm/ knows no window system.
 */
#ifndef UI_DISPLAY_H
#define UI_DISPLAY_H

#include "util/dict.h"

struct Machine;

typedef struct DisplayBackend {
    const char *name, *desc; /* "sdl" */
    /* Opens it. opts: what -display said behind the name. Main loop, vm_lock held. */
    bool (*init)(struct Machine *m, const Dict *opts, Error **errp);
    /* At exit, if init succeeded; may be NULL. */
    void (*fini)(void);
    bool automatic; /* tried when no -display is given */
    List node;
} DisplayBackend;

#define DISPLAY_BACKEND(sym)                                                                       \
    static DisplayBackend sym;                                                                     \
    static void __attribute__((constructor)) register_##sym(void)                                  \
    {                                                                                              \
        display_backend_register(&sym);                                                            \
    }                                                                                              \
    static DisplayBackend sym

void display_backend_register(DisplayBackend *b);
/* -display SPEC ("sdl,key=val", "none"); NULL: the first automatic one that opens, and if none
 * does one line on stderr says why there is no window. */
bool display_open(struct Machine *m, const char *spec, Error **errp) MUST_USE;
void display_close(void);
void display_list_backends(void (*print)(void *opaque, const char *line), void *opaque);

#endif
