/* SPDX-License-Identifier: GPL-2.0-or-later
 * Character devices against real files, pipes, pseudo terminals and sockets: data both ways, back
 * pressure both ways, peers that come and go, the mux's escapes, and what users get wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/chardev.h"
#include "chardev/ringbuf.h"
#include "chardev/telnet.h"
#include "chardev/vc.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

static char dir[] = "/tmp/vireo-chardev-XXXXXX";

/* A front end that remembers. */
typedef struct Port {
    CharFrontend fe;
    size_t room, len;
    char buf[256 * 1024];
    unsigned opened, closed, breaks, focus_in, focus_out, writables;
} Port;

static size_t port_can_receive(void *opaque)
{
    Port *p = opaque;
    return p->room - p->len;
}

static void port_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Port *p = opaque;
    assert_true(len <= p->room - p->len);
    memcpy(p->buf + p->len, buf, len);
    p->len += len;
}

static void port_event(void *opaque, CharEvent event)
{
    Port *p = opaque;
    unsigned *const counters[] = { &p->opened, &p->closed, &p->breaks, &p->focus_in,
                                   &p->focus_out };
    (*counters[event])++;
}

static void port_writable(void *opaque)
{
    ((Port *)opaque)->writables++;
}

static Port *port_new(Chardev *chr)
{
    Port *p = calloc(1, sizeof(*p));
    Error *err = NULL;
    p->room = sizeof(p->buf);
    p->fe = (CharFrontend){ .can_receive = port_can_receive, .receive = port_receive,
                            .event = port_event, .opaque = p };
    assert_true(char_attach(&p->fe, chr, &err));
    return p;
}

static void port_free(Port *p)
{
    char_detach(&p->fe);
    free(p);
}

static void assert_got(Port *p, const char *want)
{
    assert_string_equal((p->buf[p->len] = 0, p->buf), want);
    p->len = 0;
}

/* Runs the loop until cond, at most two seconds. */
#define PUMP(cond)                                                                                 \
    for (uint64_t end_ = host_clock_ns() + 2000000000ull;                                          \
         !(cond) && host_clock_ns() < end_;) {                                                     \
        main_loop_step(20000000);                                                                  \
    }

static void pump_ms(unsigned ms)
{
    for (uint64_t end = host_clock_ns() + ms * 1000000ull; host_clock_ns() < end;) {
        main_loop_step(5000000);
    }
}

static Chardev *make(const char *text)
{
    Error *err = NULL;
    Dict *d = dict_parse(text, "backend", &err);
    Chardev *chr = d ? chardev_create(d, &err) : NULL;
    if (!chr) {
        print_message("'%s': %s\n", text, error_text(err));
    }
    assert_non_null(chr);
    dict_free(d);
    return chr;
}

static Chardev *makef(const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return make(text);
}

static const char *path_in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned n;
    char *p = paths[n++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
    return p;
}

static void find_filename(Chardev *chr, const char *id, const char *filename, void *opaque)
{
    void **want = opaque;
    (void)id;
    if (chr == want[0]) {
        want[1] = (void *)filename;
    }
}

static const char *filename_of(Chardev *chr)
{
    void *want[2] = { chr, "" };
    chardevs_each(find_filename, want);
    return want[1];
}

/* ---- simple ones ---- */

static void test_null(void **state)
{
    (void)state;
    Port *p = port_new(make("null,id=n"));
    assert_int_equal(p->opened, 1);
    assert_true(char_is_open(&p->fe));
    assert_int_equal(char_write(&p->fe, "abc", 3), 3);
    assert_string_equal(filename_of(chardev_find("n")), "null");
    port_free(p);
    chardev_delete(chardev_find("n"));
    assert_null(chardev_find("n"));
}

static void test_no_chardev(void **state)
{
    (void)state;
    CharFrontend fe = { 0 };
    assert_int_equal(char_write(&fe, "abc", 3), 3);
    assert_false(char_is_open(&fe));
    char_write_all(&fe, "abc", 3);
    char_accept_input(&fe);
    char_detach(&fe);
}

static void test_ringbuf(void **state)
{
    (void)state;
    Error *err = NULL;
    char buf[16];
    size_t got;
    Chardev *chr = make("ringbuf,id=r,size=8");
    Port *p = port_new(chr);
    char_write(&p->fe, "0123456789", 10);
    assert_true(char_ringbuf_read(chr, buf, 3, &got, &err));
    assert_int_equal(got, 3);
    assert_memory_equal(buf, "234", 3);
    assert_true(char_ringbuf_read(chr, buf, sizeof(buf), &got, &err));
    assert_int_equal(got, 5);
    assert_memory_equal(buf, "56789", 5);
    port_free(p);
    chardev_delete(chr);
}

static void test_file(void **state)
{
    (void)state;
    char buf[64] = "";
    FILE *f = fopen(path_in_dir("in"), "w");
    fputs("hello", f);
    fclose(f);
    Port *p = port_new(makef("file,id=f,path=%s,input-path=%s,logfile=%s", path_in_dir("out"),
                             path_in_dir("in"), path_in_dir("log")));
    PUMP(p->len == 5);
    assert_got(p, "hello");
    assert_int_equal(char_write(&p->fe, "abc", 3), 3);
    pump_ms(30); /* the end of the input is not the end of the output */
    assert_int_equal(char_write(&p->fe, "def", 3), 3);
    port_free(p);
    chardev_delete(chardev_find("f"));
    const char *const names[] = { "out", "log" };
    for (int i = 0; i < 2; i++) {
        f = fopen(path_in_dir(names[i]), "r");
        assert_non_null(fgets(buf, sizeof(buf), f));
        assert_string_equal(buf, "abcdef");
        fclose(f);
    }
    p = port_new(makef("file,id=f,path=%s,append=on", path_in_dir("out")));
    char_write(&p->fe, "ghi", 3);
    port_free(p);
    chardev_delete(chardev_find("f"));
    f = fopen(path_in_dir("out"), "r");
    assert_non_null(fgets(buf, sizeof(buf), f));
    assert_string_equal(buf, "abcdefghi");
    fclose(f);
}

static void test_full_device(void **state)
{
    (void)state;
    Port *p = port_new(make("file,id=f,path=/dev/full"));
    assert_int_equal(char_write(&p->fe, "abc", 3), 3); /* lost, with one warning */
    PUMP(p->closed);
    assert_int_equal(p->closed, 1);
    assert_int_equal(char_write(&p->fe, "abc", 3), 3);
    port_free(p);
    chardev_delete(chardev_find("f"));
}

static void test_pipe(void **state)
{
    (void)state;
    char buf[64] = "";
    mkfifo(path_in_dir("p.in"), 0600);
    mkfifo(path_in_dir("p.out"), 0600);
    Port *p = port_new(makef("pipe,id=p,path=%s", path_in_dir("p")));
    int in = open(path_in_dir("p.in"), O_WRONLY);
    int out = open(path_in_dir("p.out"), O_RDONLY);
    assert_int_equal(write(in, "hi", 2), 2);
    PUMP(p->len == 2);
    assert_got(p, "hi");
    close(in); /* the next one may come */
    pump_ms(20);
    in = open(path_in_dir("p.in"), O_WRONLY);
    assert_int_equal(write(in, "again", 5), 5);
    PUMP(p->len == 5);
    assert_got(p, "again");
    char_write(&p->fe, "yo", 2);
    assert_int_equal(read(out, buf, sizeof(buf)), 2);
    close(in);
    close(out);
    port_free(p);
    chardev_delete(chardev_find("p"));
}

/* ---- pty ---- */

static void test_pty(void **state)
{
    (void)state;
    char buf[64] = "";
    Chardev *chr = makef("pty,id=serial0,path=%s", path_in_dir("tty"));
    Port *p = port_new(chr);
    const char *name = filename_of(chr) + 4;
    assert_int_equal(strncmp(filename_of(chr), "pty:/dev/pts/", 13), 0);
    assert_false(char_is_open(&p->fe));
    assert_int_equal(char_write(&p->fe, "lost", 4), 4);
    pump_ms(20);
    for (int round = 1; round <= 3; round++) {
        int fd = open(round == 2 ? path_in_dir("tty") : name, O_RDWR | O_NOCTTY);
        assert_true(fd >= 0);
        PUMP(p->opened == (unsigned)round);
        assert_int_equal(p->opened, round);
        assert_int_equal(char_write(&p->fe, "login:\n", 7), 7);
        assert_int_equal(read(fd, buf, sizeof(buf)), 7); /* no CR added: raw */
        assert_int_equal(write(fd, "root\r", 5), 5);
        PUMP(p->len == 5);
        assert_got(p, "root\r");
        pump_ms(20);
        assert_int_equal(p->len, 0); /* no echo */
        assert_int_equal(write(fd, "bye", 3), 3);
        close(fd);
        PUMP(p->closed == (unsigned)round);
        assert_got(p, "bye"); /* what was typed before leaving arrives */
        assert_int_equal(p->closed, round);
        assert_int_equal(char_write(&p->fe, "lost", 4), 4);
    }
    port_free(p);
    chardev_delete(chr);
    assert_int_equal(access(path_in_dir("tty"), F_OK), -1);
}

/* Output right behind the opening, before the main loop has heard of it. */
static void test_pty_early_output(void **state)
{
    (void)state;
    char buf[64] = "";
    Chardev *chr = make("pty,id=pty0");
    Port *p = port_new(chr);
    for (int round = 1; round <= 2; round++) {
        int fd = open(filename_of(chr) + 4, O_RDWR | O_NOCTTY | O_NONBLOCK);
        assert_true(fd >= 0);
        assert_false(char_is_open(&p->fe));
        assert_int_equal(char_write(&p->fe, "hi", 2), 2);
        assert_int_equal(char_write(&p->fe, "!", 1), 1);
        PUMP(p->opened == (unsigned)round && !char_queued(&p->fe));
        assert_int_equal(p->opened, round);
        size_t len = 0;
        for (int tries = 0; tries < 5000 && len < 3; tries++) {
            ssize_t n = read(fd, buf + len, sizeof(buf) - len);
            len += n > 0 ? n : 0;
            main_loop_step(1000000);
        }
        assert_int_equal(len, 3);
        assert_memory_equal(buf, "hi!", 3);
        close(fd);
        PUMP(p->closed == (unsigned)round);
    }
    /* Gone again before anybody looked. */
    int fd = open(filename_of(chr) + 4, O_RDWR | O_NOCTTY);
    static char big[100000];
    p->writables = 0;
    while (char_write(&p->fe, big, sizeof(big))) {
    }
    close(fd);
    char_on_writable(&p->fe, port_writable, p);
    PUMP(p->writables);
    assert_int_equal(p->writables, 1);
    assert_int_equal(char_write(&p->fe, "lost", 4), 4);
    port_free(p);
    chardev_delete(chr);
}

static void test_pty_slow_reader(void **state)
{
    (void)state;
    static char big[100000];
    Chardev *chr = make("pty,id=pty0");
    Port *p = port_new(chr);
    int fd = open(filename_of(chr) + 4, O_RDWR | O_NOCTTY | O_NONBLOCK);
    PUMP(p->opened);
    size_t done = 0, seen = 0;
    do { /* the kernel moves bytes on to the reader's buffer when it finds the time */
        p->writables = 0;
        done += char_write(&p->fe, big + done, sizeof(big) - done);
        assert_true(done < sizeof(big));
        char_on_writable(&p->fe, port_writable, p);
        pump_ms(20);
    } while (p->writables);
    while (seen < sizeof(big)) {
        char buf[1024];
        ssize_t n = read(fd, buf, sizeof(buf));
        seen += n > 0 ? n : 0;
        main_loop_step(1000000);
        if (p->writables) {
            p->writables = 0;
            done += char_write(&p->fe, big + done, sizeof(big) - done);
            char_on_writable(&p->fe, port_writable, p);
        }
    }
    assert_int_equal(done, sizeof(big));
    /* A reader that leaves in the middle lets the writer go on. */
    while (char_write(&p->fe, big, sizeof(big)) == sizeof(big)) {
    }
    p->writables = 0;
    char_on_writable(&p->fe, port_writable, p);
    close(fd);
    PUMP(p->writables);
    assert_int_equal(p->writables, 1);
    assert_int_equal(char_write(&p->fe, big, sizeof(big)), sizeof(big));
    port_free(p);
    chardev_delete(chr);
}

/* ---- sockets ---- */

static int connect_unix(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void test_unix_server(void **state)
{
    (void)state;
    char buf[64] = "";
    Error *err = NULL;
    char spec[256];
    snprintf(spec, sizeof(spec), "unix:%s,server,nowait", path_in_dir("s"));
    Chardev *chr = chardev_create_legacy("mon0", spec, &err);
    assert_non_null(chr);
    Port *p = port_new(chr);
    assert_int_equal(p->opened, 0);
    assert_int_equal(strncmp(filename_of(chr), "disconnected:unix:", 18), 0);

    int a = connect_unix(path_in_dir("s")), b = connect_unix(path_in_dir("s"));
    assert_true(a >= 0 && b >= 0);
    PUMP(p->opened);
    assert_int_equal(strncmp(filename_of(chr), "unix:", 5), 0);
    assert_int_equal(write(a, "one", 3), 3);
    assert_int_equal(write(b, "two", 3), 3);
    PUMP(p->len >= 3);
    pump_ms(20);
    assert_got(p, "one"); /* the second waits its turn */
    assert_int_equal(char_write(&p->fe, "hello", 5), 5);
    assert_int_equal(read(a, buf, sizeof(buf)), 5);
    close(a);
    PUMP(p->opened == 2);
    assert_int_equal(p->closed, 1);
    PUMP(p->len >= 3);
    assert_got(p, "two");
    close(b);
    PUMP(p->closed == 2);
    assert_int_equal(char_write(&p->fe, "lost", 4), 4);
    port_free(p);
    chardev_delete(chr);
    assert_int_equal(access(path_in_dir("s"), F_OK), -1);
}

/* wait=on in a child, which must come back when a client connects, and when it is told to end. */
static void test_wait(void **state)
{
    (void)state;
    for (int interrupt = 0; interrupt < 2; interrupt++) {
        int status, client = -1;
        const char *path = path_in_dir(interrupt ? "w1" : "w0");
        fflush(stdout);
        pid_t pid = fork();
        if (!pid) {
            sigset_t set;
            Error *err = NULL;
            char spec[256];
            sigemptyset(&set);
            sigaddset(&set, SIGTERM);
            sigprocmask(SIG_BLOCK, &set, NULL);
            snprintf(spec, sizeof(spec), "unix:%s,server", path);
            Chardev *chr = chardev_create_legacy("w", spec, &err);
            _exit(chr ? 10 : strstr(error_text(err), "interrupted while waiting") ? 11 : 12);
        }
        for (int i = 0; i < 200; i++) {
            client = interrupt ? access(path, F_OK) : connect_unix(path);
            if (client >= 0) {
                break;
            }
            usleep(10000);
        }
        if (interrupt) {
            usleep(50000);
            kill(pid, SIGTERM);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), interrupt ? 11 : 10);
        if (!interrupt) {
            close(client);
        }
    }
}

static void test_input_back_pressure(void **state)
{
    (void)state;
    static char big[200000];
    Chardev *chr = makef("socket,id=s,path=%s,server=on,wait=off", path_in_dir("bp"));
    Port *p = port_new(chr);
    p->room = 0;
    int fd = connect_unix(path_in_dir("bp"));
    PUMP(p->opened);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (char)(i * 7);
    }
    size_t sent = 0;
    ssize_t n;
    while (sent < sizeof(big) && (n = write(fd, big + sent, sizeof(big) - sent)) > 0) {
        sent += n;
    }
    close(fd); /* left, and nothing may be lost */
    pump_ms(20);
    assert_int_equal(p->len, 0);
    for (p->room = 16; p->len < sent; p->room += 16) { /* as a FIFO that empties */
        size_t before = p->len;
        char_accept_input(&p->fe);
        PUMP(p->len > before);
        assert_true(p->len > before && p->len <= p->room);
        if (p->room > 4096) {
            p->room = sizeof(p->buf) - 16;
        }
    }
    assert_memory_equal(p->buf, big, sent);
    p->room = sizeof(p->buf);
    char_accept_input(&p->fe);
    PUMP(p->closed);
    assert_int_equal(p->closed, 1);
    port_free(p);
    chardev_delete(chr);
}

static void test_output_back_pressure(void **state)
{
    (void)state;
    static char big[4 << 20];
    Chardev *chr = makef("socket,id=s,path=%s,server=on,wait=off", path_in_dir("obp"));
    Port *p = port_new(chr);
    int fd = connect_unix(path_in_dir("obp"));
    PUMP(p->opened);
    memset(big, 'x', sizeof(big));
    assert_true(char_write(&p->fe, big, sizeof(big)) < sizeof(big));
    assert_int_equal(char_write(&p->fe, "y", 1), 0);
    char_on_writable(&p->fe, port_writable, p);
    char_write_all(&p->fe, big, sizeof(big)); /* a monitor's: queued */
    assert_int_equal(char_queued(&p->fe), sizeof(big));
    pump_ms(20);
    assert_int_equal(p->writables, 0);
    close(fd); /* a peer that never reads and goes */
    PUMP(p->closed && p->writables);
    assert_int_equal(p->closed, 1);
    assert_int_equal(p->writables, 1);
    assert_int_equal(char_queued(&p->fe), 0);

    /* And one that reads everything, in order. */
    fd = connect_unix(path_in_dir("obp"));
    PUMP(p->opened == 2);
    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (char)(i * 13 >> 3);
    }
    char_write_all(&p->fe, big, sizeof(big));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (size_t seen = 0; seen < sizeof(big);) {
        static char buf[65536];
        main_loop_step(1000000);
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n > 0) {
            assert_memory_equal(buf, big + seen, n);
            seen += n;
        }
    }
    close(fd);
    port_free(p);
    chardev_delete(chr);
}

static void expect_error(const char *text, const char *want)
{
    Error *err = NULL;
    Dict *d = dict_parse(text, "backend", &err);
    Chardev *chr = d ? chardev_create(d, &err) : NULL;
    dict_free(d);
    if (chr || !strstr(error_text(err), want)) {
        print_message("'%s': want '%s', got '%s'\n", text, want, chr ? "success" : error_text(err));
    }
    assert_null(chr);
    assert_non_null(strstr(error_text(err), want));
    error_free(err);
}

static void test_socket_paths(void **state)
{
    (void)state;
    char text[512];
    /* left behind by a process that died */
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path_in_dir("stale"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    close(fd);
    Chardev *chr = makef("socket,id=a,path=%s,server=on,wait=off", un.sun_path);

    snprintf(text, sizeof(text), "socket,id=b,path=%s,server=on,wait=off", un.sun_path);
    expect_error(text, "another process listens on");
    assert_int_equal(access(un.sun_path, F_OK), 0);
    chardev_delete(chr);

    fclose(fopen(path_in_dir("plain"), "w"));
    snprintf(text, sizeof(text), "socket,id=b,path=%s,server=on,wait=off", path_in_dir("plain"));
    expect_error(text, "is not a socket");
    assert_int_equal(access(path_in_dir("plain"), F_OK), 0);

    snprintf(text, sizeof(text), "socket,id=b,path=%s", path_in_dir("nobody"));
    expect_error(text, "cannot connect to 'unix:");
    memset(text, 'a', 300);
    memcpy(text, "socket,id=b,path=", 17);
    text[300] = 0;
    expect_error(text, "bytes; 1 to 107 are possible");
}

static unsigned port_of(Chardev *chr)
{
    unsigned port = 0;
    const char *name = strstr(filename_of(chr), ":127.0.0.1:");
    assert_non_null(name);
    sscanf(name, ":127.0.0.1:%u", &port);
    return port;
}

static void test_tcp_reconnect(void **state)
{
    (void)state;
    Chardev *server = make("socket,id=srv,host=127.0.0.1,port=0,server=on,wait=off,nodelay");
    unsigned port = port_of(server);
    Port *sp = port_new(server);
    Port *cp = port_new(makef("socket,id=cli,host=127.0.0.1,port=%u,reconnect-ms=20", port));
    PUMP(sp->opened && cp->opened);
    assert_int_equal(sp->opened, 1);
    assert_int_equal(cp->opened, 1);
    char_write(&cp->fe, "ping", 4);
    PUMP(sp->len == 4);
    assert_got(sp, "ping");
    char_write(&sp->fe, "pong", 4);
    PUMP(cp->len == 4);
    assert_got(cp, "pong");
    /* The server goes and comes back. */
    port_free(sp);
    chardev_delete(server);
    PUMP(cp->closed);
    assert_int_equal(cp->closed, 1);
    pump_ms(60);
    server = makef("socket,id=srv,host=127.0.0.1,port=%u,server=on,wait=off", port);
    sp = port_new(server);
    PUMP(cp->opened == 2);
    assert_int_equal(cp->opened, 2);
    port_free(cp);
    port_free(sp);
    chardev_delete(chardev_find("cli"));
    chardev_delete(server);
}

static void test_telnet(void **state)
{
    (void)state;
    /* one byte at a time, so that every state is entered from a boundary */
    TelnetState t = { 0 };
    static const uint8_t in[] = { 'a', 255, 253, 1, 'b', 255, 255, 255, 250, 31, 255, 255, 0, 255,
                                  240, 'c', 255, 243, 255, 241, 'd' };
    uint8_t out[sizeof(in)];
    size_t n = 0;
    unsigned breaks = 0;
    for (size_t i = 0; i < sizeof(in); i++) {
        uint8_t c = in[i];
        if (telnet_filter(&t, &c, 1, &breaks)) {
            out[n++] = c;
        }
    }
    assert_int_equal(n, 5);
    assert_memory_equal(out, "ab\377cd", 5);
    assert_int_equal(breaks, 1);

    Error *err = NULL;
    Chardev *chr = chardev_create_legacy("t", "telnet:127.0.0.1:0,server=on,wait=off", &err);
    assert_non_null(chr);
    Port *p = port_new(chr);
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port_of(chr)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    PUMP(p->opened);
    assert_int_equal(char_write(&p->fe, "x\377y", 3), 3);
    uint8_t got[64];
    size_t len = 0;
    while (len < sizeof(telnet_greeting) + 4) {
        ssize_t r = read(fd, got + len, sizeof(got) - len);
        assert_true(r > 0);
        len += r;
    }
    assert_memory_equal(got, telnet_greeting, sizeof(telnet_greeting));
    assert_memory_equal(got + sizeof(telnet_greeting), "x\377\377y", 4);
    assert_int_equal(write(fd, "\377\363k", 3), 3);
    PUMP(p->len);
    assert_got(p, "k");
    assert_int_equal(p->breaks, 1);
    /* What was taken but not sent goes out without another write. */
    static char big[4 << 20];
    memset(big, 255, sizeof(big));
    size_t taken = char_write(&p->fe, big, sizeof(big));
    assert_true(taken < sizeof(big));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    size_t seen = 0;
    for (uint64_t end = host_clock_ns() + 2000000000ull;
         seen < 2 * taken && host_clock_ns() < end;) {
        static char buf[65536];
        main_loop_step(1000000);
        ssize_t r = read(fd, buf, sizeof(buf));
        seen += r > 0 ? r : 0;
    }
    assert_int_equal(seen, 2 * taken);
    close(fd);
    port_free(p);
    chardev_delete(chr);
}

static void test_udp(void **state)
{
    (void)state;
    Error *err = NULL;
    Port *a = port_new(chardev_create_legacy("a", "udp:127.0.0.1:47811@127.0.0.1:47812", &err));
    Port *b = port_new(chardev_create_legacy("b", "udp:127.0.0.1:47812@127.0.0.1:47811", &err));
    char_write(&a->fe, "datagram", 8);
    b->room = 3;
    char_accept_input(&b->fe);
    PUMP(b->len == 3);
    b->room = 64;
    char_accept_input(&b->fe);
    assert_got(b, "datagram");
    port_free(a);
    port_free(b);
    chardev_delete(chardev_find("a"));
    chardev_delete(chardev_find("b"));
}

/* ---- mux ---- */

static void test_mux(void **state)
{
    (void)state;
    char buf[1024];
    Chardev *chr = makef("socket,id=m,path=%s,server=on,wait=off,mux=on", path_in_dir("mux"));
    assert_true(chardev_is_mux(chr));
    Port *serial = port_new(chr), *mon = calloc(1, sizeof(*mon));
    Error *err = NULL;
    mon->room = 16;
    mon->fe = (CharFrontend){ .can_receive = port_can_receive, .receive = port_receive,
                              .event = port_event, .opaque = mon, .polite = true };
    assert_true(char_attach(&mon->fe, chr, &err));
    assert_int_equal(serial->focus_in, 1);
    assert_int_equal(mon->focus_in, 0);
    CharFrontend extra = { 0 };
    assert_false(char_attach(&extra, chardev_find("m-base"), &err));
    error_free(err);

    int fd = connect_unix(path_in_dir("mux"));
    PUMP(serial->opened && mon->opened);
    assert_int_equal(serial->opened, 1);
    assert_int_equal(mon->opened, 1);
    assert_int_equal(write(fd, "ab\001c\001\001x", 7), 7);
    PUMP(mon->len == 2);
    assert_got(serial, "ab");
    assert_got(mon, "\001x");
    assert_int_equal(serial->focus_out, 1);
    assert_int_equal(mon->focus_in, 1);
    char_write(&serial->fe, "S", 1); /* both are heard */
    char_write(&mon->fe, "M", 1);
    assert_int_equal(read(fd, buf, sizeof(buf)), 2);

    /* A front end without room does not stop the escape. */
    assert_int_equal(write(fd, "0123456789abcdefghij\001cZ\001b", 25), 25);
    PUMP(serial->breaks);
    assert_int_equal(serial->breaks, 1);
    assert_got(serial, "Z");
    assert_got(mon, "0123456789abcdef");
    char_accept_input(&mon->fe);
    assert_got(mon, "ghij");

    assert_int_equal(write(fd, "\001h", 2), 2);
    pump_ms(20);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    buf[n > 0 ? n : 0] = 0;
    assert_non_null(strstr(buf, "C-a c"));
    assert_int_equal(write(fd, "\001t", 2), 2);
    pump_ms(20);
    char_write(&serial->fe, "x\nline\nmore", 11);
    n = read(fd, buf, sizeof(buf) - 1);
    buf[n > 0 ? n : 0] = 0;
    assert_int_equal(strncmp(buf, "x\n[00:00:00.", 12), 0);

    port_free(serial); /* the focus goes to who is left */
    assert_int_equal(mon->focus_in, 2);
    assert_int_equal(write(fd, "q", 1), 1);
    PUMP(mon->len);
    assert_got(mon, "q");
    serial = port_new(chr);
    close(fd);
    int focus_in = mon->focus_in;
    chardev_delete(chr); /* leaving, it turns the focus to nobody */
    assert_int_equal(mon->focus_in, focus_in);
    port_free(serial);
    port_free(mon);
    assert_null(chardev_find("m"));
    assert_null(chardev_find("m-base"));
}

/* ---- vc ---- */

static char vc_text[128 * 1024];
static size_t vc_len;
static unsigned vc_cols, vc_opens;

static void *fake_vc_open(Chardev *chr, const char *label, unsigned cols, unsigned rows,
                          unsigned width, unsigned height)
{
    (void)label;
    (void)rows;
    (void)width;
    (void)height;
    vc_cols = cols;
    vc_opens++;
    return chr;
}

static void fake_vc_output(void *vc, const uint8_t *buf, size_t len)
{
    (void)vc;
    memcpy(vc_text + vc_len, buf, len);
    vc_len += len;
}

static void test_vc(void **state)
{
    (void)state;
    static const VcOps ops = { fake_vc_open, fake_vc_output, NULL };
    static char block[1024];
    Error *err = NULL;
    vc_register(NULL); /* as if no window was built */
    Chardev *chr = chardev_create_legacy("serial0", "vc:80Cx24C", &err);
    assert_non_null(chr);
    Port *p = port_new(chr);
    for (int i = 0; i < 100; i++) {
        memset(block, 'a' + i % 26, sizeof(block));
        assert_int_equal(char_write(&p->fe, block, sizeof(block)), sizeof(block));
    }
    vc_register(&ops);
    assert_int_equal(vc_opens, 1);
    assert_int_equal(vc_cols, 80);
    assert_int_equal(vc_len, 64 * 1024); /* the last of it */
    assert_int_equal(vc_text[vc_len - 1], 'a' + 99 % 26);
    char_write(&p->fe, "now", 3);
    assert_memory_equal(vc_text + vc_len - 3, "now", 3);
    p->room = 2;
    assert_int_equal(vc_input(chr, (const uint8_t *)"keys", 4), 4);
    assert_got(p, "ke");
    char_accept_input(&p->fe);
    assert_got(p, "ys");
    port_free(p);
    chardev_delete(chr);
    vc_register(NULL);
}

/* ---- stdio, in a child whose terminal is a pty ---- */

static int stdio_child(int slave)
{
    struct termios t;
    Error *err = NULL;
    setsid();
    ioctl(slave, TIOCSCTTY, 0);
    dup2(slave, 0);
    dup2(slave, 1);
    Chardev *chr = chardev_create_legacy("c", "mon:stdio", &err);
    if (!chr || chardev_create_legacy("d", "stdio", &err)) {
        return 2;
    }
    tcgetattr(0, &t);
    if (t.c_lflag & (ICANON | ECHO | ISIG)) {
        return 3;
    }
    if (fcntl(0, F_GETFL) & O_NONBLOCK) {
        return 4; /* the shell shares this open file */
    }
    Port *p = port_new(chr);
    char_write(&p->fe, "ready", 5);
    PUMP(p->len == 3);
    if (memcmp(p->buf, "\003ok", 3)) {
        return 5;
    }
    /* Back from a stop (the shell set its own modes meanwhile) it is raw again. */
    t.c_lflag |= ICANON | ECHO;
    tcsetattr(0, TCSANOW, &t);
    raise(SIGCONT);
    tcgetattr(0, &t);
    if (t.c_lflag & (ICANON | ECHO)) {
        return 6;
    }
    char_detach(&p->fe);
    chardevs_close();
    tcgetattr(0, &t);
    return (t.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG) ? 0 : 7;
}

static void test_stdio(void **state)
{
    (void)state;
    int master, slave, status;
    char buf[64];
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        _exit(stdio_child(slave));
    }
    close(slave);
    assert_int_equal(read(master, buf, sizeof(buf)), 5);
    assert_int_equal(write(master, "\003ok", 3), 3); /* Ctrl-C reaches the guest */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(master);
}

/* ---- what users get wrong ---- */

static void test_errors(void **state)
{
    (void)state;
    static const char *const specs[][2] = {
        { "stido", "did you mean 'stdio'?" },
        { "tpc:localhost:1", "did you mean 'tcp'?" },
        { "file", "what follows 'file:' is missing" },
        { "braille", "not built into Vireo yet" },
        { "vc:big", "is not a size" },
        { "tcp:4444", "is not HOST:PORT" },
        { "unix:/tmp/x,servr=on", "did you mean 'server'?" },
        { "chardev:nope", "there is no chardev 'nope'" },
        { "tcp:127.0.0.1:http", "is not a number from 1 to 65535" },
        { "file:/nowhere/x", "No such file" },
        { "mon:pipe:/nowhere/x", "mkfifo" },
        { "/dev/null", "is not a serial line" },
    };
    expect_error("socket,id=x", "a socket needs path=FILE");
    expect_error("sokcet,id=x", "did you mean 'socket'?");
    expect_error("null", "needs an id");
    expect_error("null,id=x,mux=perhaps", "mux");
    expect_error("ringbuf,id=x,size=3", "power of two");
    expect_error("socket,id=x,path=/tmp/y,websocket=on", "not built");
    expect_error("socket,id=x,path=/tmp/y,host=z,port=1", "exclude each other");
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        Error *err = NULL;
        Chardev *chr = chardev_create_legacy("x", specs[i][0], &err);
        if (chr || !strstr(error_text(err), specs[i][1])) {
            print_message("'%s': want '%s', got '%s'\n", specs[i][0], specs[i][1],
                          chr ? "success" : error_text(err));
        }
        assert_null(chr);
        assert_non_null(strstr(error_text(err), specs[i][1]));
        error_free(err);
    }
    Chardev *chr = make("null,id=x");
    expect_error("null,id=x", "already a chardev 'x'");
    Port *p = port_new(chr);
    CharFrontend fe = { 0 };
    Error *err = NULL;
    assert_false(char_attach(&fe, chr, &err));
    assert_non_null(strstr(error_text(err), "already in use"));
    error_free(err);
    port_free(p);
    chardev_delete(chr);
}

static void test_change(void **state)
{
    (void)state;
    Error *err = NULL;
    Chardev *chr = make("null,id=x");
    Port *p = port_new(chr);
    Dict *d = dict_parse("ringbuf,size=64", "backend", &err);
    assert_true(chardev_change(chr, d, &err));
    dict_free(d);
    assert_int_equal(p->closed, 1);
    assert_int_equal(p->opened, 2);
    assert_string_equal(filename_of(chardev_find("x")), "ringbuf");
    char_write(&p->fe, "abc", 3);
    char buf[8];
    size_t got;
    assert_true(char_ringbuf_read(chardev_find("x"), buf, sizeof(buf), &got, &err));
    assert_int_equal(got, 3);
    port_free(p);
    chardevs_close();
    assert_null(chardev_find("x"));
}

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    vm_lock();
    return !mkdtemp(dir) || !main_loop_init(&err);
}

static int teardown(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_no_chardev),
        cmocka_unit_test(test_ringbuf),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_full_device),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_pty),
        cmocka_unit_test(test_pty_early_output),
        cmocka_unit_test(test_pty_slow_reader),
        cmocka_unit_test(test_unix_server),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_input_back_pressure),
        cmocka_unit_test(test_output_back_pressure),
        cmocka_unit_test(test_socket_paths),
        cmocka_unit_test(test_tcp_reconnect),
        cmocka_unit_test(test_telnet),
        cmocka_unit_test(test_udp),
        cmocka_unit_test(test_mux),
        cmocka_unit_test(test_vc),
        cmocka_unit_test(test_stdio),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_change),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
