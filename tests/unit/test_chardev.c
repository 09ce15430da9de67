/* SPDX-License-Identifier: GPL-2.0-or-later
 * Character devices against real files, pipes and pseudo terminals: data both ways, the mux's
 * escapes, and what users get wrong. Sockets have test_chardev_socket.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

#include "chardev/ringbuf.h"
#include "chardev/vc.h"
#include "tests/unit/chardev_box.h"

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
        cmocka_unit_test(test_mux),
        cmocka_unit_test(test_vc),
        cmocka_unit_test(test_stdio),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_change),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
