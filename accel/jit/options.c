/* SPDX-License-Identifier: GPL-2.0-or-later
 * The options of -accel jit (docs/translator.md): reading them, and refusing those that would have no
 * effect beside others.
 */
#include "accel/jit/options.h"

#include <string.h>

const char *const jit_options[] = {
    "threshold=<n>   - executions in the interpreter before a block is translated (default: 16)",
    "tb-size=<MiB>   - code cache, 1 to 1024 (default: 64)",
    "thread=multi|single - single: one vCPU runs guest code at a time (default: multi)",
    "one-insn-per-tb=<bool> - a block for each instruction (default: off)",
    "check=interp|off - compare each block with the interpreter (default: off)",
    "check-every=<n> - with check=interp: compare each nth execution only (default: 1)",
    "perfmap=<bool>  - names of the translated code for perf (default: off)",
    "window=off|on|all - 32-bit code accesses memory at the guest's addresses (default: on)",
    "table=<bool>    - memory operands without a call into C (default: on)",
    "share=<bool>    - operands with one base register share a check (default: on)",
    "roam=off|auto|all - operands that look into the translation cache in line (default: auto)",
    "span=<bool>     - kernel operands look into spans of pages before (default: on)",
    NULL,
};

/* One of the words, which are NULL-terminated, to its index; *out is left alone if key is not there. */
static bool get_word(const Dict *opts, const char *key, const char *const *words, unsigned *out,
                     Error **errp)
{
    const char *text = dict_get(opts, key);
    if (!text) {
        return true;
    }
    for (unsigned i = 0; words[i]; i++) {
        if (!strcmp(text, words[i])) {
            *out = i;
            return true;
        }
    }
    return error_set(errp, "%s=%s: want %s%s%s%s%s", key, text, words[0], words[2] ? ", " : " or ",
                     words[1], words[2] ? " or " : "", words[2] ? words[2] : "");
}

static bool read_cache(const Dict *opts, JitConfig *c, Error **errp)
{
    uint64_t threshold = c->threshold, size = c->code_size;
    bool one = false;
    if (!dict_get_u64(opts, "threshold", &threshold, errp) ||
        !dict_get_size(opts, "tb-size", MiB, &size, errp) ||
        !dict_get_bool(opts, "one-insn-per-tb", &one, errp) ||
        !dict_get_bool(opts, "perfmap", &c->perfmap, errp)) {
        return false;
    }
    if (size < MiB || size > GiB) {
        return error_set(errp, "tb-size: want 1 to 1024 MiB of code cache");
    }
    if (threshold > MAX_THRESHOLD) {
        return error_set(errp, "threshold: want 0 to %u executions", MAX_THRESHOLD);
    }
    c->threshold = (unsigned)threshold;
    c->code_size = size;
    c->max_insns = one ? 1 : c->max_insns;
    return true;
}

static bool read_check(const Dict *opts, JitConfig *c, Error **errp)
{
    static const char *const threads[] = { "multi", "single", NULL };
    static const char *const checks[] = { "off", "interp", NULL };
    unsigned thread = 0, check = 0;
    uint64_t every = 1;
    if (!get_word(opts, "thread", threads, &thread, errp) ||
        !get_word(opts, "check", checks, &check, errp) ||
        !dict_get_u64(opts, "check-every", &every, errp)) {
        return false;
    }
    if (every < 1 || every > 1u << 20) {
        return error_set(errp, "check-every: want 1 to %u executions", 1u << 20);
    }
    if (dict_has(opts, "check-every") && !check) {
        return error_set(errp, "check-every is for check=interp; add that, or leave it out");
    }
    if (dict_has(opts, "thread") && !thread && check) {
        return error_set(errp,
                         "thread=multi: with check=interp the vCPUs take turns; leave one of the "
                         "two out");
    }
    c->single = thread;
    c->check = check;
    c->check_every = (unsigned)every;
    return true;
}

static bool read_memory(const Dict *opts, JitConfig *c, Error **errp)
{
    static const char *const roams[] = { "off", "auto", "all", NULL };
    static const char *const windows[] = { "off", "on", "all", NULL };
    unsigned roam = c->roam, window = c->window;
    if (!get_word(opts, "window", windows, &window, errp) ||
        !dict_get_bool(opts, "table", &c->table, errp) ||
        !dict_get_bool(opts, "share", &c->share, errp) ||
        !dict_get_bool(opts, "span", &c->span, errp) ||
        !get_word(opts, "roam", roams, &roam, errp)) {
        return false;
    }
    c->roam = (JitRoam)roam;
    c->window = (JitWindow)window;
    if (!c->table) {
        const char *wants = dict_has(opts, "roam") && roam        ? "roam"
                            : dict_has(opts, "share") && c->share ? "share"
                            : dict_has(opts, "span") && c->span   ? "span"
                            : dict_has(opts, "window") && window  ? "window"
                                                                  : NULL;
        c->window = WINDOW_OFF;
        return !wants || error_set(errp,
                                   "%s=%s: with table=off C looks every operand up; leave one of "
                                   "the two out",
                                   wants, dict_get(opts, wants));
    }
    return true;
}

bool jit_read_options(const Dict *opts, JitConfig *c, Error **errp)
{
    return read_cache(opts, c, errp) && read_check(opts, c, errp) && read_memory(opts, c, errp);
}
