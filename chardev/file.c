/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=file (output to a file, input from another), backend=pipe (a pair of named pipes, or
 * one both ways) and backend=serial (a serial line of the host).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/fd_stream.h"

typedef struct FileChardev {
    Chardev chr;
    FdStream stream;
    int in, out;
} FileChardev;

static void file_gone(Chardev *chr)
{
    FileChardev *s = container_of(chr, FileChardev, chr);
    int failed = s->stream.out_failed;
    fd_stream_stop(&s->stream);
    if (failed) {
        warn_report("chardev '%s': writing to %s failed: %s; its output is lost from here on",
                    chr->id, chr->filename, strerror(failed));
        chr_event(chr, CHAR_CLOSED);
    } else { /* the end of the input: output goes on */
        fd_stream_start(&s->stream, chr, -1, s->out, file_gone);
    }
}

static void file_close(Chardev *chr)
{
    FileChardev *s = container_of(chr, FileChardev, chr);
    fd_stream_stop(&s->stream);
    if (s->in >= 0 && s->in != s->out) {
        close(s->in);
    }
    if (s->out >= 0) {
        close(s->out);
    }
}

static size_t file_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return fd_stream_write(&container_of(chr, FileChardev, chr)->stream, buf, len);
}

static void file_accept_input(Chardev *chr)
{
    fd_stream_accept_input(&container_of(chr, FileChardev, chr)->stream);
}

static const char *need_path(const Dict *opts, Error **errp)
{
    const char *path = dict_get(opts, "path");
    if (!path || !*path) {
        error_set(errp, "path= is missing");
        return NULL;
    }
    return path;
}

/* ---- file ---- */

static bool file_open(Chardev *chr, const Dict *opts, Error **errp)
{
    FileChardev *s = container_of(chr, FileChardev, chr);
    s->in = s->out = -1;
    bool append = false;
    const char *path = need_path(opts, errp);
    const char *input = dict_get(opts, "input-path");
    if (!path || !dict_get_bool(opts, "append", &append, errp)) {
        return false;
    }
    s->out = open(path,
                  O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
                      (append ? O_APPEND : O_TRUNC),
                  0666);
    if (s->out < 0 && errno == ENXIO) {
        return error_set(errp, "'%s' is a pipe nobody reads; backend=pipe waits for a reader",
                         path);
    }
    if (s->out < 0) {
        return error_set_errno(errp, errno, "cannot open '%s' for writing", path);
    }
    if (input) {
        s->in = open(input, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (s->in < 0) {
            return error_set_errno(errp, errno, "cannot open '%s' for reading", input);
        }
    }
    chr_set_filename(chr, "file");
    fd_stream_start(&s->stream, chr, s->in, s->out, file_gone);
    return true;
}

static const char *const file_options[] = { "path", "append", "input-path", NULL };

CHAR_BACKEND(file) = {
    .name = "file",
    .desc = "output to path=, input from input-path=",
    .options = file_options,
    .size = sizeof(FileChardev),
    .open = file_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
};

/* ---- pipe ---- */

/* Read and write both ends: so open() does not wait for a peer, and a peer that leaves does not
 * end the stream for the next one. */
static int open_fifo(const char *path, const char *suffix)
{
    char *name = xasprintf("%s%s", path, suffix);
    int fd = open(name, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    free(name);
    return fd;
}

static bool pipe_open(Chardev *chr, const Dict *opts, Error **errp)
{
    FileChardev *s = container_of(chr, FileChardev, chr);
    s->in = s->out = -1;
    const char *path = need_path(opts, errp);
    if (!path) {
        return false;
    }
    s->in = open_fifo(path, ".in");
    s->out = open_fifo(path, ".out");
    if (s->in < 0 || s->out < 0) {
        if (s->in >= 0) {
            close(s->in);
        }
        if (s->out >= 0) {
            close(s->out);
        }
        s->in = s->out = open_fifo(path, "");
    }
    if (s->in < 0) {
        return error_set_errno(errp, errno,
                               "cannot open the pipes '%s.in' and '%s.out' nor '%s' (make them "
                               "with mkfifo)",
                               path, path, path);
    }
    chr_set_filename(chr, "pipe");
    fd_stream_start(&s->stream, chr, s->in, s->out, file_gone);
    return true;
}

static const char *const pipe_options[] = { "path", NULL };

CHAR_BACKEND(pipe) = {
    .name = "pipe",
    .desc = "the named pipes path.in and path.out, or path both ways",
    .options = pipe_options,
    .size = sizeof(FileChardev),
    .open = pipe_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
};

/* ---- serial line ---- */

static bool tty_open(Chardev *chr, const Dict *opts, Error **errp)
{
    FileChardev *s = container_of(chr, FileChardev, chr);
    struct termios t;
    s->in = s->out = -1;
    const char *path = need_path(opts, errp);
    if (!path) {
        return false;
    }
    s->in = s->out = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (s->in < 0) {
        return error_set_errno(errp, errno, "cannot open '%s'", path);
    }
    if (tcgetattr(s->in, &t) < 0) {
        return error_set(errp, "'%s' is not a serial line", path);
    }
    cfmakeraw(&t);
    t.c_cflag |= CREAD | CLOCAL;
    tcsetattr(s->in, TCSANOW, &t);
    chr_set_filename(chr, "serial");
    fd_stream_start(&s->stream, chr, s->in, s->out, file_gone);
    return true;
}

static speed_t speed_of(unsigned baud)
{
    static const struct {
        unsigned baud;
        speed_t speed;
    } speeds[] = {
        { 50, B50 },         { 75, B75 },         { 110, B110 },       { 134, B134 },
        { 150, B150 },       { 200, B200 },       { 300, B300 },       { 600, B600 },
        { 1200, B1200 },     { 1800, B1800 },     { 2400, B2400 },     { 4800, B4800 },
        { 9600, B9600 },     { 19200, B19200 },   { 38400, B38400 },   { 57600, B57600 },
        { 115200, B115200 }, { 230400, B230400 }, { 460800, B460800 }, { 921600, B921600 },
    };
    /* Divisors round: the nearest rate within 10 % is what the guest means. */
    for (size_t i = 0; i < ARRAY_SIZE(speeds); i++) {
        if (baud * 10 >= speeds[i].baud * 9 && baud * 9 <= speeds[i].baud * 10) {
            return speeds[i].speed;
        }
    }
    return B9600;
}

static void tty_set_line(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                         unsigned stop_bits)
{
    static const tcflag_t sizes[] = { CS5, CS6, CS7, CS8 };
    FileChardev *s = container_of(chr, FileChardev, chr);
    struct termios t;
    if (tcgetattr(s->in, &t) < 0) {
        return;
    }
    cfsetspeed(&t, speed_of(baud));
    t.c_cflag &= ~(tcflag_t)(CSIZE | PARENB | PARODD | CSTOPB);
    t.c_cflag |= sizes[data_bits >= 5 && data_bits <= 8 ? data_bits - 5 : 3];
    t.c_cflag |= stop_bits > 1 ? CSTOPB : 0;
    t.c_cflag |= parity == 'N' ? 0 : parity == 'O' ? PARENB | PARODD : PARENB;
    tcsetattr(s->in, TCSANOW, &t);
}

static void tty_set_break(Chardev *chr, bool on)
{
    ioctl(container_of(chr, FileChardev, chr)->in, on ? TIOCSBRK : TIOCCBRK);
}

static const char *const tty_aliases[] = { "tty", NULL };

CHAR_BACKEND(serial) = {
    .name = "serial",
    .desc = "a serial line of the host, path=/dev/ttyS0",
    .aliases = tty_aliases,
    .options = pipe_options,
    .size = sizeof(FileChardev),
    .open = tty_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
    .set_line = tty_set_line,
    .set_break = tty_set_break,
};
