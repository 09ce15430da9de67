/* SPDX-License-Identifier: GPL-2.0-or-later
 * Character devices on real sockets: data both ways, back pressure both ways, peers that come and
 * go, telnet, and what users get wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "chardev/telnet.h"
#include "tests/unit/chardev_box.h"

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
    expect_error(text, "' is in use, held by process ");
    assert_int_equal(access(un.sun_path, F_OK), 0);
    chardev_delete(chr);

    fclose(fopen(path_in_dir("plain"), "w"));
    snprintf(text, sizeof(text), "socket,id=b,path=%s,server=on,wait=off", path_in_dir("plain"));
    expect_error(text, "is not a socket");
    assert_int_equal(access(path_in_dir("plain"), F_OK), 0);
    snprintf(text, sizeof(text), "socket,id=b,path=%s/x,server=on,wait=off", path_in_dir("missing"));
    expect_error(text, "its directory does not exist");

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unix_server),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_input_back_pressure),
        cmocka_unit_test(test_output_back_pressure),
        cmocka_unit_test(test_socket_paths),
        cmocka_unit_test(test_tcp_reconnect),
        cmocka_unit_test(test_telnet),
        cmocka_unit_test(test_udp),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
