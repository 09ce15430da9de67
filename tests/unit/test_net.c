/* SPDX-License-Identifier: GPL-2.0-or-later
 * Network clients: delivery, queues and back pressure, links, filters, names, and offloads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "net/hub.h"
#include "net/net.h"
#include "net/offload.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

/* ---- a client that remembers ---- */

typedef struct Box {
    NetClient nc;
    bool busy, once; /* once: busy after the next packet */
    unsigned resumed, links, peers, closed;
    size_t nr;
    struct {
        size_t len;
        struct virtio_net_hdr offload;
        uint8_t data[2048];
    } got[64];
} Box;

static unsigned closed;

static bool box_can_receive(NetClient *nc)
{
    return !container_of(nc, Box, nc)->busy;
}

static bool box_receive(NetClient *nc, const NetPacket *p)
{
    Box *b = container_of(nc, Box, nc);
    size_t i = b->nr++ % ARRAY_SIZE(b->got);
    b->busy |= b->once;
    b->got[i].len = p->len;
    b->got[i].offload = p->offload;
    net_iov_copy(b->got[i].data, sizeof(b->got[i].data), p->iov, p->nr_iov, 0);
    return true;
}

static void box_resume(NetClient *nc)
{
    container_of(nc, Box, nc)->resumed++;
}

static void box_link(NetClient *nc)
{
    container_of(nc, Box, nc)->links++;
}

static void box_peer(NetClient *nc)
{
    container_of(nc, Box, nc)->peers++;
}

static void box_close(NetClient *nc)
{
    (void)nc;
    closed++;
}

static const NetClientInfo box_info = {
    .type = "box", .size = sizeof(Box), .can_receive = box_can_receive, .receive = box_receive,
    .resume = box_resume, .link_changed = box_link, .peer_changed = box_peer, .close = box_close,
};
static const NetClientInfo nic_info = {
    .type = "nic", .is_nic = true, .can_receive = box_can_receive, .receive = box_receive,
    .resume = box_resume, .link_changed = box_link,
};

static Box *box(const char *id)
{
    return container_of(net_client_new(&box_info, id, 0), Box, nc);
}

static bool box_create(const char *id, const Dict *opts, Error **errp)
{
    if (dict_has(opts, "fail")) {
        return error_set(errp, "as told");
    }
    box(id);
    return true;
}

static const char *const box_keys[] = { "fail", "name", "list[]", NULL };
NET_BACKEND(box) = { .name = "box", .desc = "for tests", .keys = box_keys, .create = box_create };

static void setup_pair(Box **a, Box **b)
{
    *a = box("a");
    *b = box("b");
    net_connect(&(*a)->nc, &(*b)->nc);
}

/* ---- delivery ---- */

static void test_delivery(void **state)
{
    (void)state;
    Box *a, *b;
    setup_pair(&a, &b);
    assert_true(net_can_send(&a->nc));
    assert_true(net_send_buf(&a->nc, "hello", 5));
    assert_int_equal(b->nr, 1);
    assert_int_equal(b->got[0].len, 5);
    assert_memory_equal(b->got[0].data, "hello", 5);
    assert_int_equal(b->nc.rx_bytes, 5);
    net_client_delete(&b->nc);
    assert_int_equal(a->peers, 2);
    assert_true(net_send_buf(&a->nc, "gone", 4));
    net_client_delete(&a->nc);
}

static void test_back_pressure(void **state)
{
    (void)state;
    Box *a, *b;
    setup_pair(&a, &b);
    b->busy = true;
    assert_false(net_can_send(&a->nc));
    for (int i = 0; i < 10; i++) {
        uint8_t n = (uint8_t)i;
        assert_false(net_send_buf(&a->nc, &n, 1));
    }
    assert_int_equal(b->nr, 0);
    assert_int_equal(a->resumed, 0);
    b->busy = false;
    assert_false(net_send_buf(&a->nc, "\xa", 1)); /* order is kept */
    net_flush(&b->nc);
    assert_int_equal(b->nr, 11);
    for (unsigned i = 0; i < 11; i++) {
        assert_int_equal(b->got[i].data[0], i);
    }
    assert_int_equal(a->resumed, 1);
    b->busy = true;
    for (int i = 0; i < NET_QUEUE_PACKETS + 7; i++) {
        net_send_buf(&a->nc, "x", 1);
    }
    assert_int_equal(b->nc.nr_waiting, NET_QUEUE_PACKETS);
    assert_int_equal(b->nc.dropped, 7);
    net_purge(&b->nc);
    assert_int_equal(b->nc.nr_waiting, 0);
    assert_int_equal(a->resumed, 2);
    net_client_delete(&a->nc);
    net_client_delete(&b->nc);
}

/* What waited fills it to the brim: who was stopped goes on when there is room again. */
static void test_full_after_flush(void **state)
{
    (void)state;
    Box *a, *b;
    setup_pair(&a, &b);
    b->busy = true;
    assert_false(net_send_buf(&a->nc, "1", 1));
    b->busy = false;
    b->once = true;
    net_flush_later(&b->nc);
    main_loop_step(0);
    assert_int_equal(b->nr, 1);
    assert_int_equal(a->resumed, 0);
    b->busy = false;
    net_flush_later(&b->nc);
    main_loop_step(0);
    assert_int_equal(a->resumed, 1);
    net_client_delete(&a->nc);
    net_client_delete(&b->nc);
}

/* Who was told not to send, without having tried, hears when the other is gone. */
static void test_gone_after_refusal(void **state)
{
    (void)state;
    Box *a, *b;
    setup_pair(&a, &b);
    b->busy = true;
    assert_false(net_can_send(&a->nc));
    net_client_delete(&b->nc);
    assert_int_equal(a->resumed, 1);
    net_client_delete(&a->nc);
}

/* A hub's two ports are joined: a frame goes around for ever, and yet each round ends. */
static void test_ring_of_hubs(void **state)
{
    (void)state;
    Box *a = box("a");
    NetClient *port[3];
    for (int i = 0; i < 3; i++) {
        port[i] = net_hub_port_new(7, NULL);
    }
    net_connect(&a->nc, port[0]);
    net_connect(port[1], port[2]);
    net_send_buf(&a->nc, "x", 1);
    for (int i = 0; i < 3; i++) {
        size_t before = a->nr;
        main_loop_step(0);
        assert_true(a->nr > before && a->nr < before + 100);
    }
    for (int i = 0; i < 3; i++) {
        net_client_delete(port[i]);
    }
    net_client_delete(&a->nc);
}

static void test_links(void **state)
{
    (void)state;
    Error *err = NULL;
    Box *a, *b;
    setup_pair(&a, &b);
    assert_true(net_set_link("b", false, &err));
    assert_int_equal(b->links, 1);
    assert_true(net_send_buf(&a->nc, "x", 1));
    assert_true(net_send_buf(&b->nc, "x", 1));
    assert_int_equal(a->nr + b->nr, 0);
    assert_true(net_set_link("b", true, &err));
    assert_true(net_send_buf(&a->nc, "x", 1));
    assert_int_equal(b->nr, 1);
    assert_false(net_set_link("none", true, &err));
    assert_non_null(strstr(error_text(err), "no network device 'none'"));
    error_free(err);
    net_client_delete(&a->nc);
    net_client_delete(&b->nc);
}

typedef struct TestFilter {
    NetFilter f;
    unsigned sent, received;
    bool take;
} TestFilter;

static bool count_packet(NetFilter *f, NetDirection dir, const NetPacket *p)
{
    TestFilter *t = container_of(f, TestFilter, f);
    (void)p;
    t->sent += dir == NET_SENT;
    t->received += dir == NET_RECEIVED;
    return t->take;
}

static void test_filters(void **state)
{
    (void)state;
    Box *a, *b;
    TestFilter t = { .f.packet = count_packet };
    setup_pair(&a, &b);
    net_filter_add(&t.f, &b->nc);
    net_send_buf(&a->nc, "x", 1);
    net_send_buf(&b->nc, "x", 1);
    net_send_buf(&b->nc, "x", 1);
    assert_int_equal(t.received, 1);
    assert_int_equal(t.sent, 2);
    t.take = true;
    net_send_buf(&a->nc, "x", 1);
    assert_int_equal(b->nr, 1);
    net_client_delete(&b->nc);
    net_filter_del(&t.f);
    net_client_delete(&a->nc);
}

/* ---- names ---- */

static Dict *parse(const char *text)
{
    Error *err = NULL;
    Dict *d = net_backend_parse(text, &err);
    assert_non_null(d);
    return d;
}

static void expect_error(const char *text, const char *want)
{
    Error *err = NULL;
    Dict *d = parse(text);
    assert_false(net_backend_create(d, &err));
    if (!strstr(error_text(err), want)) {
        fail_msg("%s: want '%s' in '%s'", text, want, error_text(err));
    }
    error_free(err);
    dict_free(d);
}

static void test_options(void **state)
{
    (void)state;
    Error *err = NULL;
    Dict *d = parse("box,id=n1,list=a,list=b,,c,name=x");
    assert_string_equal(dict_get(d, "list.0"), "a");
    assert_string_equal(dict_get(d, "list.1"), "b,c");
    assert_true(net_backend_create(d, &err));
    dict_free(d);
    expect_error("box,id=n1", "already");
    expect_error("box", "needs an id");
    expect_error("id=n2", "has a type");
    expect_error("bix,id=n2", "did you mean 'box'");
    expect_error("box,id=n2,nam=1", "did you mean 'name'");
    expect_error("box,id=n2,lsit=1", "did you mean 'list'");
    expect_error("box,id=n2,fail=1", "netdev 'n2': as told");
    expect_error("box,id=n/2", "is no id");
    unsigned before = closed;
    assert_true(net_backend_delete("n1", &err));
    assert_int_equal(closed, before + 1);
    assert_false(net_backend_delete("n1", &err));
    error_free(err);
}

static void test_nics(void **state)
{
    (void)state;
    Error *err = NULL;
    Box *n = box("n"), *q0 = xcalloc(1, sizeof(Box)), *q1 = xcalloc(1, sizeof(Box));
    NetNicConfig c = { .model = "e1000", .netdev = "n" };
    assert_true(net_nic_init(&q0->nc, 1, &nic_info, &c, &err));
    assert_string_equal(q0->nc.id, "e1000.0");
    assert_false(net_nic_init(&q1->nc, 1, &nic_info, &c, &err));
    assert_non_null(strstr(error_text(err), "taken by 'e1000.0'"));
    error_free(err);
    err = NULL;
    c.netdev = "m";
    assert_false(net_nic_init(&q1->nc, 1, &nic_info, &c, &err));
    error_free(err);
    err = NULL;
    c.netdev = NULL;
    assert_true(net_nic_init(&q1->nc, 1, &nic_info, &c, &err));
    assert_string_equal(q1->nc.id, "e1000.1");
    /* The NIC sees that the netdev's cable is out. */
    assert_true(net_set_link("n", false, &err));
    assert_true(q0->nc.link_down);
    assert_true(net_set_link("n", true, &err));
    assert_false(q0->nc.link_down);
    /* Nothing reaches a NIC while the machine stands still. */
    net_set_running(false);
    assert_false(net_send_buf(&n->nc, "x", 1));
    assert_int_equal(q0->nr, 0);
    net_set_running(true);
    assert_int_equal(q0->nr, 1);
    assert_int_equal(n->resumed, 1);
    assert_int_equal(q0->resumed, 1); /* it may have waited for that to send, too */
    net_nic_fini(&q0->nc, 1);
    net_nic_fini(&q1->nc, 1);
    net_nic_fini(&q1->nc, 1);
    net_client_delete(&n->nc);
    free(q0);
    free(q1);
}

static void test_macs(void **state)
{
    (void)state;
    Error *err = NULL;
    uint8_t multicast[6] = { 1 };
    assert_false(net_mac_assign(multicast, &err));
    error_free(err);
    err = NULL;
    uint8_t a[6] = { 0 }, b[6] = { 0 }, c[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x57 };
    assert_true(net_mac_assign(a, &err));
    assert_true(net_mac_assign(c, &err));
    assert_true(net_mac_assign(b, &err));
    assert_memory_equal(a, "\x52\x54\x00\x12\x34\x56", 6);
    assert_memory_equal(b, "\x52\x54\x00\x12\x34\x58", 6);
    net_mac_release(a);
    memset(b, 0, 6);
    assert_true(net_mac_assign(b, &err));
    assert_memory_equal(b, "\x52\x54\x00\x12\x34\x56", 6);
}

/* ---- offloads ---- */

/* Ethernet, IPv4 (10.0.0.1 to 10.0.0.2), TCP with n bytes of payload. */
static size_t tcp4_frame(uint8_t *f, size_t n)
{
    static const uint8_t head[54] = {
        0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x52, 0x55, 10, 0, 2, 2, 8, 0,
        0x45, 0, 0, 0, 0x12, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        0x10, 0, 0, 80, 0, 0, 0xff, 0, 0, 0, 0, 0, 0x50, 0x99, 0x20, 0, 0, 0, 0, 0,
    };
    memcpy(f, head, sizeof(head));
    for (size_t i = 0; i < n; i++) {
        f[54 + i] = (uint8_t)(i * 7);
    }
    f[16] = (uint8_t)((40 + n) >> 8);
    f[17] = (uint8_t)(40 + n);
    return 54 + n;
}

/* Both sums of a frame without options are right. */
static void check_sums(const uint8_t *f, size_t len)
{
    uint8_t pseudo[12];
    memcpy(pseudo, f + 26, 8);
    pseudo[8] = 0;
    pseudo[9] = 6;
    pseudo[10] = (uint8_t)((len - 34) >> 8);
    pseudo[11] = (uint8_t)(len - 34);
    assert_int_equal(net_sum_fold(net_sum(f + 14, 20, 0)), 0xffff);
    assert_int_equal(net_sum_fold(net_sum(f + 34, len - 34, net_sum(pseudo, 12, 0))), 0xffff);
}

static void send_gso(Box *a, uint8_t *f, size_t len, unsigned gso_size)
{
    struct iovec iov[2] = { { f, 31 }, { f + 31, len - 31 } };
    NetPacket p = { iov, 2, len, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .hdr_len = 54,
                                   .gso_size = (uint16_t)gso_size, .csum_start = 34,
                                   .csum_offset = 16 } };
    net_send(&a->nc, &p);
}

static void test_segments(void **state)
{
    (void)state;
    static uint8_t f[4096];
    Box *a, *b;
    setup_pair(&a, &b);
    size_t len = tcp4_frame(f, 2500);
    b->nc.accepts = NET_CSUM | NET_TSO4;
    send_gso(a, f, len, 1000);
    assert_int_equal(b->nr, 1);
    assert_int_equal(b->got[0].offload.gso_size, 1000);
    b->nc.accepts = 0;
    send_gso(a, f, len, 1000);
    assert_int_equal(b->nr, 4);
    size_t at = 0;
    for (int i = 1; i < 4; i++) {
        const uint8_t *g = b->got[i].data;
        size_t n = i < 3 ? 1000 : 500;
        assert_int_equal(b->got[i].len, 54 + n);
        assert_int_equal(b->got[i].offload.flags, 0);
        assert_memory_equal(g + 54, f + 54 + at, n);
        assert_int_equal(g[19], (0xff + i - 1) & 0xff);       /* identification counts */
        assert_int_equal(g[18], 0x12 + (i > 1));
        assert_int_equal((size_t)(g[40] << 8 | g[41]), (0xff00 + at) & 0xffff);
        assert_int_equal(g[47], i == 3 ? 0x19 : i == 1 ? 0x90 : 0x10); /* CWR first; FIN, PSH last */
        check_sums(g, b->got[i].len);
        at += n;
    }
    net_client_delete(&a->nc);
    net_client_delete(&b->nc);
}

static void test_checksum(void **state)
{
    (void)state;
    static uint8_t f[2048];
    Box *a, *b;
    setup_pair(&a, &b);
    size_t len = tcp4_frame(f, 33);
    uint16_t ip = (uint16_t)~net_sum_fold(net_sum(f + 14, 20, 0));
    memcpy(f + 24, &ip, 2);
    uint8_t pseudo[12] = { 10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 53 };
    uint16_t begun = net_sum_fold(net_sum(pseudo, 12, 0));
    memcpy(f + 50, &begun, 2);
    struct iovec iov = { f, len };
    NetPacket p = { &iov, 1, len, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
                                    .csum_offset = 16 } };
    net_send(&a->nc, &p);
    assert_int_equal(b->nr, 1);
    check_sums(b->got[0].data, len);
    p.offload.csum_start = 2000;
    net_send(&a->nc, &p);
    p.offload.csum_start = 34;
    p.offload.csum_offset = 65535;
    net_send(&a->nc, &p);
    assert_int_equal(b->nr, 1);
    assert_int_equal(b->nc.dropped, 2);
    net_client_delete(&a->nc);
    net_client_delete(&b->nc);
}

/* Headers that lie: no crash (sanitizers watch), no endless work. */
static void test_malformed(void **state)
{
    (void)state;
    static uint8_t f[512];
    Box *a, *b;
    setup_pair(&a, &b);
    srand(7);
    for (int i = 0; i < 20000; i++) {
        size_t len = 1 + (size_t)rand() % sizeof(f);
        tcp4_frame(f, 200);
        for (int k = 0; k < 3; k++) {
            f[(size_t)rand() % 60] = (uint8_t)rand();
        }
        struct iovec iov = { f, len };
        NetPacket p = { &iov, 1, len, { .flags = (uint8_t)(rand() & 3),
                                        .gso_type = (uint8_t)(rand() % 6 | (rand() & 0x80)),
                                        .gso_size = (uint16_t)(rand() % 300),
                                        .csum_start = (uint16_t)(rand() % 80),
                                        .csum_offset = (uint16_t)(rand() % 80) } };
        net_send(&a->nc, &p);
    }
    net_client_delete(&a->nc);
    net_client_delete(&b->nc);
}

/* As many segments as a system may ask for, and not as many as a frame has bytes. */
static void test_many_segments(void **state)
{
    (void)state;
    static uint8_t f[54 + 60000];
    Box *a, *b;
    setup_pair(&a, &b);
    size_t len = tcp4_frame(f, 60000);
    struct iovec iov = { f, len };
    NetPacket p = { &iov, 1, len, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                    .gso_size = 48,
                                    .csum_start = 34,
                                    .csum_offset = 16 } };
    net_send(&a->nc, &p);
    assert_int_equal(b->nr, 60000 / 48);
    p.offload.gso_size = 1;
    net_send(&a->nc, &p);
    assert_int_equal(b->nr, 60000 / 48);
    assert_int_equal(b->nc.dropped, 1);
    net_client_delete(&a->nc);
    net_client_delete(&b->nc);
}

static void test_odd_pieces(void **state)
{
    (void)state;
    uint8_t f[300];
    for (size_t i = 0; i < sizeof(f); i++) {
        f[i] = (uint8_t)(i * 37 + 5);
    }
    uint16_t whole = net_sum_fold(net_sum(f + 7, sizeof(f) - 7, 0));
    struct iovec iov[4] = { { f, 3 }, { f + 3, 98 }, { f + 101, 1 }, { f + 102, sizeof(f) - 102 } };
    assert_int_equal(net_sum_fold(net_sum_iov(iov, 4, 7, sizeof(f) - 7)), whole);
}

static int setup(void **state)
{
    Error *err = NULL;
    (void)state;
    vm_lock();
    return main_loop_init(&err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivery), cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_full_after_flush), cmocka_unit_test(test_gone_after_refusal),
        cmocka_unit_test(test_ring_of_hubs), cmocka_unit_test(test_many_segments),
        cmocka_unit_test(test_links),    cmocka_unit_test(test_filters),
        cmocka_unit_test(test_options),  cmocka_unit_test(test_nics),
        cmocka_unit_test(test_macs),     cmocka_unit_test(test_segments),
        cmocka_unit_test(test_checksum), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_odd_pieces),
    };
    return cmocka_run_group_tests_name("net", tests, setup, NULL);
}
