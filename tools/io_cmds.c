/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-io: the commands, but for reading and writing.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <time.h>

#include "block/blkdebug.h"
#include "tools/io.h"
#include "util/alloc.h"

static unsigned nr_in_flight(Io *io)
{
    pthread_mutex_lock(&io->mutex);
    unsigned nr = io->in_flight;
    pthread_mutex_unlock(&io->mutex);
    return nr;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
    while (nanosleep(&t, &t) && errno == EINTR) {
    }
}

/* Waits for all requests, but not for one that waits for us. */
static bool drain(Io *io, const char *name)
{
    while (nr_in_flight(io)) {
        if (blkdebug_nr_suspended(io->n, NULL)) {
            printf("%s: a request is stopped at a breakpoint; resume it first\n", name);
            return false;
        }
        sleep_ms(1);
    }
    return true;
}

/* ---- what is open ---- */

static bool cmd_open(Io *io, const IoCommand *c, int argc, char **argv)
{
    IoOpen how = { .flags = { .discard = true } };
    const char *opts = NULL;
    bool ok = true;
    optind = 0;
    for (int o; ok && (o = getopt(argc, argv, "rsnCkUt:d:o:")) != -1;) {
        switch (o) {
        case 'r': how.flags.readonly = true; break;
        case 's': how.snapshot = true; break;
        case 'n': ok = io_parse_cache("none", &how); break;
        case 't': ok = io_parse_cache(optarg, &how); break;
        case 'U': how.flags.no_lock = true; break;
        case 'd': how.flags.discard = !strcmp(optarg, "unmap") || !strcmp(optarg, "on"); break;
        case 'o': opts = optarg; break;
        case 'C': how.copy_on_read = true; break;
        case 'k': printf("open -k: this tool has threads only\n"); return false;
        default: return io_usage(c);
        }
    }
    argc -= optind;
    if (!ok || argc > 1 || (!argc && !opts)) {
        return ok ? io_usage(c) : false;
    }
    if (io->n) {
        fprintf(stderr, "file open already, try 'help close'\n");
        return false;
    }
    how.image_opts = opts != NULL;
    how.file = !opts  ? xstrdup(argv[optind])
               : argc ? xasprintf("%s,file.driver=file,file.filename=%s", opts, argv[optind])
                      : xstrdup(opts);
    Error *err = NULL;
    if (!io_open(io, &how, &err)) {
        io_forget(&how);
        return io_fail(err);
    }
    return true;
}

static bool cmd_close(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    io_close(io);
    return true;
}

/* The same image once more, with other flags; if that fails, as it was. */
static bool cmd_reopen(Io *io, const IoCommand *c, int argc, char **argv)
{
    IoOpen how = io->how, old = io->how;
    bool ok = true;
    optind = 0;
    for (int o; ok && (o = getopt(argc, argv, "rwc:o:")) != -1;) {
        switch (o) {
        case 'r': how.flags.readonly = true; break;
        case 'w': how.flags.readonly = false; break;
        case 'c': ok = io_parse_cache(optarg, &how); break;
        case 'o': printf("reopen -o is not built yet: close and open\n"); return false;
        default: return io_usage(c);
        }
    }
    if (!ok || argc != optind) {
        return ok ? io_usage(c) : false;
    }
    how.file = xstrdup(how.file);
    how.format = xstrdup(how.format);
    old.file = xstrdup(old.file);
    old.format = xstrdup(old.format);
    io_close(io);
    Error *err = NULL, *again = NULL;
    if (io_open(io, &how, &err)) {
        io_forget(&old);
        return true;
    }
    io_forget(&how);
    if (!io_open(io, &old, &again)) {
        io_forget(&old);
        io_fail(again);
    }
    return io_fail(err);
}

static bool cmd_quit(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    io->quit = true;
    return true;
}

/* ---- the image as a whole ---- */

static bool cmd_flush(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    int error = block_flush(io->n);
    if (error) {
        printf("flush failed: %s\n", strerror(error));
    }
    return !error;
}

static bool cmd_truncate(Io *io, const IoCommand *c, int argc, char **argv)
{
    const char *prealloc = "off";
    uint64_t size;
    optind = 0;
    for (int o; (o = getopt(argc, argv, "m:")) != -1;) {
        if (o != 'm') {
            return io_usage(c);
        }
        prealloc = optarg;
    }
    if (argc - optind != 1) {
        return io_usage(c);
    }
    Error *err = NULL;
    if (!io_parse_size(argv[optind], &size)) {
        return false;
    }
    return drain(io, c->name) && (block_resize(io->n, size, prealloc, &err) || io_fail(err));
}

static bool cmd_length(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    printf("%s\n", io_size((double)io->n->size).text);
    return true;
}

static bool cmd_info(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    const BlockDriver *d = io->image->driver;
    printf("format name: %s\n", d->name);
    if (io->image->cluster_size) {
        printf("cluster size: %s\n", io_size(io->image->cluster_size).text);
    }
    if (!d->info) {
        return true;
    }
    Dict *own = dict_new();
    d->info(io->image, own);
    if (dict_count(own)) {
        printf("Format specific information:\n");
    }
    for (size_t i = 0; i < dict_count(own); i++) {
        char *key = xstrdup(dict_key(own, i));
        for (char *p = key; *p; p++) {
            *p = *p == '-' ? ' ' : *p;
        }
        printf("    %s: %s\n", key, dict_value(own, i));
        free(key);
    }
    dict_free(own);
    return true;
}

/* The run of allocated (or not) bytes at offset; 0 at the end or after an error. */
static uint64_t next_run(BlockNode *n, uint64_t offset, uint64_t end, bool *allocated, int *error)
{
    uint64_t at = offset;
    while (at < end) {
        BlockExtent e;
        *error = block_status(n, at, end - at, &e);
        if (*error || (at > offset && e.allocated != *allocated)) {
            break;
        }
        *allocated = e.allocated;
        at += e.len;
    }
    return at - offset;
}

static bool cmd_alloc(Io *io, const IoCommand *c, int argc, char **argv)
{
    uint64_t offset, len = 512, sum = 0;
    if (!io_parse_size(argv[1], &offset) || (argc > 2 && !io_parse_size(argv[2], &len))) {
        return false;
    }
    if (argc > 3) {
        return io_usage(c);
    }
    if (offset > io->n->size || len > io->n->size - offset) {
        printf("the range reaches past the end of the image\n");
        return false;
    }
    for (uint64_t at = offset; at < offset + len;) {
        bool allocated = false;
        int error = 0;
        uint64_t run = next_run(io->n, at, offset + len, &allocated, &error);
        if (error) {
            printf("is_allocated failed: %s\n", strerror(error));
            return false;
        }
        sum += allocated ? run : 0;
        at += run;
    }
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, len,
           io_size((double)offset).text);
    return true;
}

static bool cmd_map(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    for (uint64_t at = 0; at < io->n->size;) {
        bool allocated = false;
        int error = 0;
        uint64_t run = next_run(io->n, at, io->n->size, &allocated, &error);
        if (error) {
            printf("Failed to get allocation status: %s\n", strerror(error));
            return false;
        }
        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n",
               io_size((double)run).text, run, allocated ? "   " : "not", io_size((double)at).text,
               at);
        at += run;
    }
    return true;
}

/* ---- the rest ---- */

static bool cmd_aio_flush(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return drain(io, c->name);
}

/* ---- breakpoints ---- */

static bool cmd_break(Io *io, const IoCommand *c, int argc, char **argv)
{
    Error *err = NULL;
    (void)c, (void)argc;
    return blkdebug_break(io->n, argv[1], argv[2], &err) || io_fail(err);
}

static bool cmd_remove_break(Io *io, const IoCommand *c, int argc, char **argv)
{
    Error *err = NULL;
    (void)c, (void)argc;
    return blkdebug_remove_break(io->n, argv[1], &err) || io_fail(err);
}

static bool cmd_resume(Io *io, const IoCommand *c, int argc, char **argv)
{
    Error *err = NULL;
    (void)c, (void)argc;
    return blkdebug_resume(io->n, argv[1], &err) || io_fail(err);
}

/* As long as something is on its way that may still come by. */
static bool cmd_wait_break(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)c, (void)argc;
    for (;;) {
        unsigned left = nr_in_flight(io);
        if (blkdebug_nr_suspended(io->n, argv[1])) {
            return true;
        }
        if (left <= blkdebug_nr_suspended(io->n, NULL)) {
            printf("wait_break: no request on its way can come to '%s' any more\n", argv[1]);
            return false;
        }
        sleep_ms(1);
    }
}

static bool cmd_sleep(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)io, (void)c, (void)argc;
    uint64_t ms;
    if (!parse_u64(argv[1], &ms)) {
        printf("%s is not a valid argument\n", argv[1]);
        return false;
    }
    sleep_ms(ms);
    return true;
}

static bool cmd_sigraise(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)io, (void)c, (void)argc;
    uint64_t sig;
    if (!io_parse_size(argv[1], &sig)) {
        return false;
    }
    if (sig > 64) {
        printf("%s is no signal\n", argv[1]);
        return false;
    }
    fflush(stdout); /* what it does to us, nobody knows */
    raise((int)sig);
    return true;
}

static bool cmd_abort(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)io, (void)c, (void)argc, (void)argv;
    fflush(stdout);
    abort();
}

static void help_line(const IoCommand *c)
{
    printf("%s%s%s -- %s\n", c->name, *c->args ? " " : "", c->args, c->help);
}

static bool cmd_help(Io *io, const IoCommand *c, int argc, char **argv)
{
    (void)io;
    if (argc > 1) {
        c = io_find(argv[1]);
        if (!c) {
            printf("command %s not found\n", argv[1]);
            return false;
        }
        help_line(c);
        return true;
    }
    for (c = io_commands; c->name; c++) {
        help_line(c);
    }
    printf("\nSizes are bytes, or have a suffix k, M, G, T, P or E (powers of 1024).\n");
    return true;
}

bool io_usage(const IoCommand *c)
{
    help_line(c);
    return false;
}

const IoCommand *io_find(const char *name)
{
    for (const IoCommand *c = io_commands; c->name; c++) {
        if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name))) {
            return c;
        }
    }
    return NULL;
}

const IoCommand io_commands[] = {
    { "abort", NULL, 0, 0, false, "", "dies without closing the image, which stays as it then is",
      cmd_abort },
    { "aio_flush", NULL, 0, 0, true, "", "waits for all requests in the background",
      cmd_aio_flush },
    { "aio_read", NULL, 2, -1, true, "[-Ciqv] [-P PATTERN] OFF LEN [LEN...]",
      "reads in the background; says so when it is done", io_read },
    { "aio_write", NULL, 2, -1, true, "[-Cfiquz] [-P PATTERN] OFF LEN [LEN...]",
      "writes in the background; says so when it is done", io_write },
    { "alloc", NULL, 1, 2, true, "OFF [LEN]",
      "how much of the range this image holds, not those behind it", cmd_alloc },
    { "break", NULL, 2, 2, true, "EVENT TAG",
      "stops the next background request that passes an event of blkdebug", cmd_break },
    { "close", "c", 0, 0, true, "", "closes the image", cmd_close },
    { "discard", "d", 2, -1, true, "[-Cq] OFF LEN", "gives up a range's contents", io_discard },
    { "flush", "f", 0, 0, true, "", "puts what was written on stable storage", cmd_flush },
    { "help", "?", 0, 1, false, "[COMMAND]", "this list, or one line of it", cmd_help },
    { "info", "i", 0, 0, true, "", "what the image is", cmd_info },
    { "length", "l", 0, 0, true, "", "the image's virtual size", cmd_length },
    { "map", NULL, 0, 0, true, "", "which ranges this image holds", cmd_map },
    { "open", "o", 0, -1, false, "[-rsnCU] [-t CACHE] [-d DISCARD] [-o OPTIONS] [FILE]",
      "opens an image: -r read-only, -s all writes are thrown away, -n cache none, -C "
      "copy-on-read, "
      "-U shared",
      cmd_open },
    { "quit", "q", 0, 0, false, "", "ends", cmd_quit },
    { "read", "r", 2, -1, true, "[-bCqv] [-P PATTERN [-s OFF] [-l LEN]] OFF LEN",
      "reads a range; -P checks its bytes (from OFF on, LEN of them), -v shows them, -b: VM state",
      io_read },
    { "readv", "rv", 2, -1, true, "[-Cqv] [-P PATTERN] OFF LEN [LEN...]",
      "reads a range into several buffers", io_read },
    { "remove_break", NULL, 1, 1, true, "TAG", "removes a breakpoint; what stopped there goes on",
      cmd_remove_break },
    { "reopen", NULL, 0, -1, true, "[-r|-w] [-c CACHE]", "opens the image anew, with other flags",
      cmd_reopen },
    { "resume", NULL, 1, 1, true, "TAG", "lets a stopped request go on", cmd_resume },
    { "sigraise", NULL, 1, 1, false, "SIGNAL", "raises a signal, by number", cmd_sigraise },
    { "sleep", NULL, 1, 1, false, "MS", "does nothing for so many milliseconds", cmd_sleep },
    { "truncate", "t", 1, 3, true, "[-m off|metadata|falloc|full] SIZE", "another virtual size",
      cmd_truncate },
    { "wait_break", NULL, 1, 1, true, "TAG", "waits until a request has stopped there",
      cmd_wait_break },
    { "write", "w", 2, -1, true, "[-bcCfnquz] [-P PATTERN | -s FILE] OFF LEN",
      "fills a range with 0xcd, PATTERN or FILE's bytes; -z zeroes (-u unmap, -n only if fast), "
      "-c compressed, -f flushed, -b: VM state",
      io_write },
    { "writev", "wv", 2, -1, true, "[-Cfq] [-P PATTERN] OFF LEN [LEN...]",
      "writes a range from several buffers", io_write },
    { .name = NULL },
};
