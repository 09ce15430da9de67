/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img: makes, converts, checks and changes disk images. The spelling, the texts that scripts
 * read and the exit statuses are qemu-img's (its manual page). This file finds the subcommand and
 * parses options by its table; docs/vireo-img.md says what is left out.
 */
#include "tools/img.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#include "block/file_lock.h"
#include "util/alloc.h"
#include "util/version.h"

static const ImgCommand *const commands[] = {
    &img_amend, &img_bench, &img_check, &img_commit,  &img_compare, &img_convert, &img_create,
    &img_dd,    &img_info,  &img_map,   &img_measure, &img_rebase,  &img_resize,  &img_snapshot,
};

static const ImgOption common_options[] = {
    { 'h', "help", NULL, "this help" },
    { 'q', "quiet", NULL, "print nothing but errors" },
    { OPT_OBJECT, "object", "DEF", NULL },
    IMG_OPTIONS_END,
};

/* ---- help ---- */

static void print_options(const ImgOption *options)
{
    for (const ImgOption *o = options; o->code; o++) {
        if (!o->help) {
            continue;
        }
        char words[64];
        int n = snprintf(words, sizeof(words), "  ");
        if (o->code < OPT_OUTPUT) {
            n += snprintf(words + n, sizeof(words) - (size_t)n, "-%c%s", o->code,
                          o->name ? ", " : "");
        }
        if (o->name) {
            n += snprintf(words + n, sizeof(words) - (size_t)n, "--%s", o->name);
        }
        if (o->arg) {
            snprintf(words + n, sizeof(words) - (size_t)n, "%s%s", o->name ? "=" : " ", o->arg);
        }
        printf("%-30s %s\n", words, o->help);
    }
}

static void command_help(const ImgCommand *c)
{
    printf("Usage: vireo-img %s %s\n\n%s\n\n", c->name, c->usage, c->help);
    print_options(c->options);
    print_options(common_options);
}

static void print_format(const BlockDriver *d, void *unused)
{
    (void)unused;
    if (d->kind == BLOCK_FORMAT) {
        printf(" %s", d->name);
    }
}

static void help(void)
{
    printf("vireo-img " VIREO_VERSION ": makes, converts, checks and changes disk images\n\n"
           "Usage: vireo-img COMMAND [OPTION...] ...\n"
           "       vireo-img COMMAND --help\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        printf("  %-9s %.*s\n", commands[i]->name, (int)strcspn(commands[i]->help, ".\n"),
               commands[i]->help);
    }
    printf("\nFormats:");
    block_drivers_each(print_format, NULL);
    printf("\nSizes are bytes, or have a suffix k, M, G, T, P or E (powers of 1024).\n");
}

/* ---- options ---- */

/* getopt_long's two tables, from the command's and the common one. */
typedef struct Tables {
    char letters[160];
    struct option longs[64];
    int codes[64];
} Tables;

static void add_tables(Tables *t, const ImgOption *options, size_t *nr)
{
    for (const ImgOption *o = options; o->code; o++) {
        size_t len = strlen(t->letters);
        if (o->code < OPT_OUTPUT) {
            snprintf(t->letters + len, sizeof(t->letters) - len, "%c%s", o->code,
                     o->arg ? ":" : "");
        }
        if (o->name) {
            assert(*nr + 1 < ARRAY_SIZE(t->longs));
            t->longs[(*nr)++] = (struct option){
                o->name,
                o->arg ? required_argument : no_argument,
                NULL,
                o->code,
            };
        }
    }
}

static void make_tables(Tables *t, const ImgCommand *c)
{
    size_t nr = 0;
    memset(t, 0, sizeof(*t));
    t->letters[0] = ':'; /* we say what is wrong */
    add_tables(t, c->options, &nr);
    add_tables(t, common_options, &nr);
}

static void say_wrong_option(const ImgArgs *a, const Tables *t, int c)
{
    const char *word = a->argv[optind > 0 ? optind - 1 : 0];
    const char *names[ARRAY_SIZE(t->longs)] = { NULL };
    for (size_t i = 0; t->longs[i].name; i++) {
        names[i] = t->longs[i].name;
    }
    if (c == ':') {
        img_usage_error(a, "the option '%s' needs a value", word);
        return;
    }
    if (optopt && optopt < OPT_OUTPUT) {
        img_usage_error(a, "there is no option '-%c'", optopt);
        return;
    }
    char *bare = xstrndup(word + 2, strcspn(word + 2, "="));
    const char *near = suggest(bare, names);
    free(bare);
    img_usage_error(a, "there is no option '%s'%s%s%s", word, near ? "; did you mean '--" : "",
                    near ? near : "", near ? "'?" : "");
}

int img_next_option(ImgArgs *a)
{
    Tables t;
    make_tables(&t, a->cmd);
    int index = -1, c = getopt_long(a->argc, a->argv, t.letters, t.longs, &index);
    a->value = optarg;
    switch (c) {
    case -1:
        a->argc -= optind;
        a->argv += optind;
        return 0;
    case '?':
    case ':':
        say_wrong_option(a, &t, c);
        a->failed = true;
        return 0;
    case 'h': command_help(a->cmd); exit(0);
    case OPT_OBJECT:
        img_usage_error(a, "--object is not built yet: no secrets, throttling or TLS here");
        a->failed = true;
        return 0;
    case OPT_UNBUILT:
        img_usage_error(a, "--%s is not built yet", index >= 0 ? t.longs[index].name : "?");
        a->failed = true;
        return 0;
    case 'q': a->quiet = true; return img_next_option(a);
    case OPT_IMAGE_OPTS: a->image_opts = true; return img_next_option(a);
    default: return c;
    }
}

bool img_operands(ImgArgs *a, int min, int max, const char *what)
{
    if (a->failed) {
        return false;
    }
    if (a->argc < min) {
        img_usage_error(a, "expected: %s", what);
        return false;
    }
    if (max >= 0 && a->argc > max) {
        img_usage_error(a, "'%s' is too much, expected: %s", a->argv[max], what);
        return false;
    }
    return true;
}

int img_fail(Error *err)
{
    error_report(err);
    return 1;
}

int img_usage_error(const ImgArgs *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    info_report("%s: %s (vireo-img %s --help lists what there is)", a->cmd->name, text,
                a->cmd->name);
    free(text);
    return 1;
}

void img_say(const ImgArgs *a, const char *fmt, ...)
{
    if (a->quiet) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

/* ---- start ---- */

static const ImgCommand *find_command(const char *name)
{
    const char *names[ARRAY_SIZE(commands) + 1] = { NULL };
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        names[i] = commands[i]->name;
        if (!strcmp(commands[i]->name, name)) {
            return commands[i];
        }
    }
    if (!strcmp(name, "bitmap")) {
        info_report("the command 'bitmap' is not built yet: dirty bitmaps in images are left as "
                    "they are");
        return NULL;
    }
    const char *near = suggest(name, names);
    info_report("there is no command '%s'%s%s%s (vireo-img --help lists them)", name,
                near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

/* What was printed must have reached its file: a full disk is no success. */
static int end(int status)
{
    if (fflush(stdout) || ferror(stdout)) {
        info_report("what was to be printed could not be written");
        return status ? status : 1;
    }
    return status;
}

int main(int argc, char **argv)
{
    error_set_program("vireo-img");
    file_lock_for_tools();
    signal(SIGPIPE, SIG_DFL);
    if (argc < 2) {
        info_report("a command is missing (vireo-img --help lists them)");
        return 1;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        help();
        return end(0);
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("vireo-img version " VIREO_VERSION "\n");
        return end(0);
    }
    if (word[0] == '-') {
        info_report("'%s' stands before the command; give the command first (vireo-img --help)",
                    word);
        return 1;
    }
    const ImgCommand *c = find_command(word);
    if (!c) {
        return 1;
    }
    ImgArgs a = { .cmd = c, .argc = argc - 1, .argv = argv + 1 };
    return end(c->run(&a));
}
