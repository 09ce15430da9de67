/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=stdio: the terminal (or pipes) Vireo was started with, raw, so that every key reaches
 * the guest. signal=on leaves Ctrl-C, Ctrl-\ and Ctrl-Z to the terminal; Ctrl-Z gives the shell
 * its settings back and fg makes the terminal raw again.
 *
 * Standard output is opened anew where that is possible: O_NONBLOCK belongs to the open file, and
 * the shell's own descriptors share ours.
 */
#include "chardev/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/fd_stream.h"

typedef struct StdioChardev {
    Chardev chr;
    FdStream stream;
    int out;        /* reopened standard output, or 1 */
    bool nonblock;  /* O_NONBLOCK was set on descriptor 1 itself */
} StdioChardev;

/* There is one terminal a process, and signal handlers need it. */
static struct {
    bool taken, raw, signals;
    struct termios saved, wanted;
} term;

void char_stdio_restore(void)
{
    if (term.raw) {
        tcsetattr(STDIN_FILENO, TCSANOW, &term.saved);
        term.raw = false;
    }
}

static void set_raw(void)
{
    /* From the background this would stop the process: the shell's settings are not ours. A
     * terminal that does not control this session has no such rule. */
    pid_t foreground = tcgetpgrp(STDIN_FILENO);
    if (foreground <= 0 || foreground == getpgrp()) {
        tcsetattr(STDIN_FILENO, TCSANOW, &term.wanted);
        term.raw = true;
    }
}

/* Both handlers use only async-signal-safe calls. */
static void on_continue(int sig)
{
    int saved_errno = errno;
    (void)sig;
    if (term.taken) {
        set_raw();
    }
    errno = saved_errno;
}

static void on_stop(int sig)
{
    int saved_errno = errno;
    (void)sig;
    char_stdio_restore();
    raise(SIGSTOP); /* comes back here after SIGCONT, whose handler makes it raw again */
    errno = saved_errno;
}

static bool take_terminal(bool signals, Error **errp)
{
    static bool handlers;
    if (!isatty(STDIN_FILENO)) {
        return true;
    }
    if (tcgetattr(STDIN_FILENO, &term.saved) < 0) {
        return error_set_errno(errp, errno, "cannot read the terminal's settings");
    }
    term.wanted = term.saved;
    term.wanted.c_iflag &=
        ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    term.wanted.c_oflag |= OPOST;
    term.wanted.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) {
        term.wanted.c_lflag &= ~(tcflag_t)ISIG;
    }
    term.wanted.c_cflag = (term.wanted.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    term.wanted.c_cc[VMIN] = 1;
    term.wanted.c_cc[VTIME] = 0;
    if (!handlers) {
        struct sigaction cont = { .sa_handler = on_continue, .sa_flags = SA_RESTART };
        struct sigaction stop = { .sa_handler = on_stop, .sa_flags = SA_RESTART };
        sigaction(SIGCONT, &cont, NULL);
        sigaction(SIGTSTP, &stop, NULL);
        atexit(char_stdio_restore);
        handlers = true;
    }
    set_raw();
    return true;
}

/* Standard output without a way to block us. */
static int open_output(bool *nonblock)
{
    struct stat st;
    *nonblock = false;
    if (fstat(STDOUT_FILENO, &st) < 0) {
        return -1; /* started with standard output closed */
    }
    if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
        return STDOUT_FILENO; /* shares the file position; does not wait for anybody */
    }
    int fd = S_ISSOCK(st.st_mode)
                 ? -1
                 : open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        int flags = fcntl(STDOUT_FILENO, F_GETFL);
        *nonblock = flags >= 0 && !(flags & O_NONBLOCK) && fd_set_nonblock(STDOUT_FILENO);
        fd = STDOUT_FILENO;
    }
    return fd;
}

static void stdio_gone(Chardev *chr)
{
    StdioChardev *s = container_of(chr, StdioChardev, chr);
    /* End of input: output goes on (a script's monitor commands have replies). */
    int out = s->stream.out_failed ? -1 : s->out;
    fd_stream_stop(&s->stream);
    if (out >= 0) {
        fd_stream_start(&s->stream, chr, -1, out, stdio_gone);
    }
    chr_event(chr, CHAR_CLOSED);
}

static bool stdio_open(Chardev *chr, const Dict *opts, Error **errp)
{
    StdioChardev *s = container_of(chr, StdioChardev, chr);
    bool signals = true;
    s->out = -1;
    if (!dict_get_bool(opts, "signal", &signals, errp)) {
        return false;
    }
    if (term.taken) {
        return error_set(errp, "standard input and output are already in use; a chardev with "
                               "mux=on (or mon:stdio) can be shared");
    }
    if (!take_terminal(signals, errp)) {
        return false;
    }
    term.taken = true;
    s->out = open_output(&s->nonblock);
    fd_stream_start(&s->stream, chr, STDIN_FILENO, s->out, stdio_gone);
    return true;
}

static void stdio_close(Chardev *chr)
{
    StdioChardev *s = container_of(chr, StdioChardev, chr);
    if (!s->stream.chr) {
        return; /* it was somebody else's */
    }
    fd_stream_stop(&s->stream);
    if (s->nonblock) {
        fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) & ~O_NONBLOCK);
    }
    if (s->out > STDERR_FILENO) {
        close(s->out);
    }
    char_stdio_restore();
    term.taken = false;
}

static size_t stdio_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return fd_stream_write(&container_of(chr, StdioChardev, chr)->stream, buf, len);
}

static void stdio_accept_input(Chardev *chr)
{
    fd_stream_accept_input(&container_of(chr, StdioChardev, chr)->stream);
}

static const char *const stdio_options[] = { "signal", NULL };

CHAR_BACKEND(stdio) = {
    .name = "stdio",
    .desc = "the terminal Vireo was started from",
    .options = stdio_options,
    .size = sizeof(StdioChardev),
    .open = stdio_open,
    .close = stdio_close,
    .write = stdio_write,
    .accept_input = stdio_accept_input,
};
