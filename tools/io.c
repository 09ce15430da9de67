/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-io: single requests to an image, for tests. The commands' spelling, what they print and the
 * exit status are qemu-io's; docs/vireo-img.md says what is left out.
 */
#include "tools/io.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>

#include "block/blkdebug.h"
#include "block/file_lock.h"
#include "tools/img.h"
#include "util/alloc.h"
#include "util/version.h"

enum { MAX_WORDS = 1100 };

bool io_fail(Error *err)
{
    error_report(err);
    return false;
}

bool io_parse_size(const char *text, uint64_t *out)
{
    if (parse_size(text, 1, out) && *out <= INT64_MAX) {
        return true;
    }
    printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n", text);
    return false;
}

bool io_parse_cache(const char *mode, IoOpen *how)
{
    Error *err = NULL;
    return img_parse_cache(mode, &how->flags, &how->through, &err) || io_fail(err);
}

void io_forget(IoOpen *how)
{
    free(how->file);
    free(how->format);
    how->file = how->format = NULL;
}

/* A copy-on-read node above n, whose reference it takes, also on failure. */
static BlockNode *copy_on_read(BlockNode *n, Error **errp)
{
    Dict *opts = dict_new();
    BlockFlags flags = n->flags;
    bool readonly = n->readonly;
    dict_set(opts, "driver", "copy-on-read");
    dict_set(opts, "file", n->name);
    BlockNode *above = readonly ? NULL : block_open(opts, &flags, errp);
    if (readonly) {
        error_set(errp, "-C (copy-on-read) writes to the image: not with -r");
    }
    dict_free(opts);
    block_unref(n);
    return above;
}

/* Takes how's strings on success. */
bool io_open(Io *io, const IoOpen *how, Error **errp)
{
    BlockFlags flags = how->flags;
    flags.readonly |= how->snapshot;
    BlockNode *n = img_open(how->file, how->format, how->image_opts, &flags, errp);
    if (n && how->snapshot) {
        n = block_overlay_open(n, errp);
    }
    io->image = n;
    if (n && how->copy_on_read) {
        n = copy_on_read(n, errp);
    }
    if (!n) {
        return false;
    }
    if (io->image->probed && !n->readonly && !strcmp(io->image->driver->name, "raw")) {
        warn_report(
            "'%s' is taken for a raw image because it looks like nothing else; -f raw says so",
            how->file);
    }
    io->n = n;
    io->how = *how;
    return true;
}

void io_close(Io *io)
{
    blkdebug_resume_all(io->n); /* nobody else will */
    io_wait(io);
    block_unref(io->n);
    io->n = NULL;
    io_forget(&io->how);
}

/* ---- commands ---- */

static bool run_words(Io *io, int argc, char **argv)
{
    const IoCommand *c = io_find(argv[0]);
    if (!c) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return false;
    }
    if (c->needs_image && !io->n) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return false;
    }
    if (argc - 1 < c->min || (c->max >= 0 && argc - 1 > c->max)) {
        fprintf(stderr, "bad argument count %d to %s, expected ", argc - 1, c->name);
        if (c->max < 0) {
            fprintf(stderr, "at least %d arguments\n", c->min);
        } else if (c->min == c->max) {
            fprintf(stderr, "%d arguments\n", c->min);
        } else {
            fprintf(stderr, "between %d and %d arguments\n", c->min, c->max);
        }
        return false;
    }
    return c->run(io, c, argc, argv);
}

/* false: the command failed. */
static bool run_line(Io *io, const char *line)
{
    char *copy = xstrdup(line), *words[MAX_WORDS + 1], *rest = copy;
    int nr = 0;
    for (char *w; nr < MAX_WORDS && (w = strtok_r(rest, " \t\n", &rest)) != NULL;) {
        words[nr++] = w;
    }
    words[nr] = NULL;
    bool ok = !nr || run_words(io, nr, words);
    fflush(stdout);
    free(copy);
    return ok;
}

static bool read_lines(Io *io, const char *prompt)
{
    char *line = NULL;
    size_t size = 0;
    bool ok = true;
    while (!io->quit) {
        printf("%s> ", prompt);
        fflush(stdout);
        if (getline(&line, &size, stdin) < 0) {
            break;
        }
        ok &= run_line(io, line);
    }
    free(line);
    return ok;
}

/* ---- start ---- */

enum { LONG_IMAGE_OPTS = 256, LONG_OBJECT };

static const struct option longs[] = {
    { "cmd", required_argument, NULL, 'c' },
    { "format", required_argument, NULL, 'f' },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "nocache", no_argument, NULL, 'n' },
    { "cache", required_argument, NULL, 't' },
    { "discard", required_argument, NULL, 'd' },
    { "aio", required_argument, NULL, 'i' },
    { "native-aio", no_argument, NULL, 'k' },
    { "misalign", no_argument, NULL, 'm' },
    { "copy-on-read", no_argument, NULL, 'C' },
    { "force-share", no_argument, NULL, 'U' },
    { "trace", required_argument, NULL, 'T' },
    { "image-opts", no_argument, NULL, LONG_IMAGE_OPTS },
    { "object", required_argument, NULL, LONG_OBJECT },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
};

static void help(void)
{
    printf("vireo-io " VIREO_VERSION ": single requests to an image, for tests\n\n"
           "Usage: vireo-io [OPTION...] [-c COMMAND]... [FILE]\n\n"
           "  -c, --cmd=COMMAND    run it; several in order; without, lines of the standard input\n"
           "  -f, --format=FMT     the image's format [what its first bytes look like]\n"
           "  -r, --read-only      the image is not written\n"
           "  -s, --snapshot       what is written is thrown away\n"
           "  -n, --nocache        same as -t none\n"
           "  -t, --cache=MODE     writeback, none, writethrough, directsync, unsafe [writeback]\n"
           "  -d, --discard=MODE   unmap or ignore [unmap]\n"
           "  -i, --aio=threads    there are no others\n"
           "  -C, --copy-on-read   what is read from behind the image is written into it\n"
           "  -m, --misalign       buffers at odd addresses\n"
           "  -U, --force-share    although another program may be writing to it\n"
           "      --image-opts     FILE is driver=...,file.filename=...\n"
           "  -h, --help           this help; the command 'help' lists the commands\n"
           "  -V, --version\n");
}

static int wrong(const char *text)
{
    info_report("%s (vireo-io --help lists what there is)", text);
    return 1;
}

typedef struct Line {
    char **commands;
    size_t nr;
    IoOpen how;
    bool misalign;
    int status; /* -1: go on */
} Line;

static void parse_option(Line *l, int c)
{
    switch (c) {
    case 'c':
        l->commands = xrealloc(l->commands, (l->nr + 1) * sizeof(char *));
        l->commands[l->nr++] = optarg;
        break;
    case 'f':
        free(l->how.format);
        l->how.format = xstrdup(optarg);
        break;
    case 'r': l->how.flags.readonly = true; break;
    case 's': l->how.snapshot = true; break;
    case 'n': l->status = io_parse_cache("none", &l->how) ? -1 : 1; break;
    case 't': l->status = io_parse_cache(optarg, &l->how) ? -1 : 1; break;
    case 'd':
        l->how.flags.discard = !strcmp(optarg, "unmap") || !strcmp(optarg, "on");
        if (!l->how.flags.discard && strcmp(optarg, "ignore") && strcmp(optarg, "off")) {
            l->status = wrong("-d is unmap or ignore");
        }
        break;
    case 'i':
        if (strcmp(optarg, "threads")) {
            l->status = wrong("-i: this tool has threads only");
        }
        break;
    case 'm': l->misalign = true; break;
    case 'U': l->how.flags.no_lock = true; break;
    case LONG_IMAGE_OPTS: l->how.image_opts = true; break;
    case 'k': l->status = wrong("-k: this tool has threads only"); break;
    case 'C': l->how.copy_on_read = true; break;
    case 'T': l->status = wrong("-T (tracing) is not built yet"); break;
    case LONG_OBJECT: l->status = wrong("--object is not built yet"); break;
    case 'h':
        help();
        l->status = 0;
        break;
    case 'V':
        printf("vireo-io version " VIREO_VERSION "\n");
        l->status = 0;
        break;
    default: l->status = wrong("there is no such option, or its value is missing"); break;
    }
}

int main(int argc, char **argv)
{
    error_set_program("vireo-io");
    file_lock_for_tools();
    signal(SIGPIPE, SIG_DFL);
    Line l = { .how.flags.discard = true, .status = -1 };
    static const char letters[] = ":c:f:rsnt:d:i:kmCUT:hV";
    for (int c; l.status < 0 && (c = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        parse_option(&l, c);
    }
    if (l.status >= 0) {
        return l.status;
    }
    Io io = { .mutex = PTHREAD_MUTEX_INITIALIZER,
              .idle = PTHREAD_COND_INITIALIZER,
              .misalign = l.misalign };
    if (argc - optind > 1) {
        return wrong("one image at a time");
    }
    if (optind < argc) {
        Error *err = NULL;
        l.how.file = xstrdup(argv[optind]);
        if (!io_open(&io, &l.how, &err)) {
            io_fail(err);
            io_forget(&l.how);
            free(l.commands);
            return 1;
        }
    }
    bool ok = true;
    for (size_t i = 0; i < l.nr && !io.quit; i++) {
        ok &= run_line(&io, l.commands[i]);
    }
    if (!l.nr) {
        ok &= read_lines(&io, program_invocation_short_name);
    }
    io_close(&io);
    free(l.commands);
    return ok && !ferror(stdout) && !fflush(stdout) ? 0 : 1;
}
