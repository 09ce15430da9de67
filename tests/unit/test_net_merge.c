/* SPDX-License-Identifier: GPL-2.0-or-later
 * The user network's way to the guest: which TCP segments become one packet, and what it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

#ifdef HAVE_SLIRP
#include "net/user_internal.h"

enum { MSS = 1000, MAX_GOT = 128, TCP_LEN = 20 };
enum { IPV4_TCP = 34, IPV6_TCP = 54 };

/* ---- the guest's card ---- */

static struct {
    size_t len;
    struct virtio_net_hdr offload;
    uint8_t data[NET_MAX_PACKET];
} got[MAX_GOT];
static unsigned nr_got;

static bool card_receive(NetClient *nc, const NetPacket *p)
{
    (void)nc;
    assert_true(nr_got < MAX_GOT);
    got[nr_got].len = net_iov_copy(got[nr_got].data, NET_MAX_PACKET, p->iov, p->nr_iov, 0);
    got[nr_got++].offload = p->offload;
    return true;
}

static const NetClientInfo card_info = { .type = "card",
                                         .size = sizeof(NetClient),
                                         .receive = card_receive };
static const NetClientInfo net_info = { .type = "net", .size = sizeof(UserNet) };

static UserNet *u;
static NetClient *card;

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_true(main_loop_init(&err));
    vm_lock();
    u = container_of(net_client_new(&net_info, "n", 0), UserNet, nc);
    card = net_client_new(&card_info, "c", 0);
    net_connect(&u->nc, card);
    card->accepts = NET_CSUM | NET_TSO4 | NET_TSO6;
    return 0;
}

/* ---- segments ---- */

static void put16(uint8_t *p, unsigned val)
{
    p[0] = (uint8_t)(val >> 8);
    p[1] = (uint8_t)val;
}

static uint8_t frame[2048];
static bool v6;    /* what is made */
static size_t tcp; /* where its TCP begins */

static size_t data_at(void)
{
    return tcp + TCP_LEN;
}

static int use_ipv4(void **state)
{
    (void)state;
    v6 = false;
    tcp = IPV4_TCP;
    return 0;
}

static int use_ipv6(void **state)
{
    (void)state;
    v6 = true;
    tcp = IPV6_TCP;
    return 0;
}

static size_t make(uint32_t seq, size_t payload, uint8_t flags)
{
    static const uint8_t eth[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0 };
    static const uint8_t ipv4[] = { 0x45, 0, 0,  0, 0, 7, 0,  0, 64, 6,
                                    0,    0, 10, 0, 2, 2, 10, 0, 2,  15 };
    static const uint8_t ipv6[40] = { 0x60, 1,    2,    3,        0,    0,    6,
                                      64,   0xfe, 0xc0, [23] = 2, 0xfe, 0xc0, [39] = 15 };
    static const uint8_t head[] = { 0, 80, 4,    1, 0,    0, 0, 0, 0, 0,
                                    0, 9,  0x50, 0, 0x10, 0, 0, 0, 0, 0 };
    memcpy(frame, eth, sizeof(eth));
    if (v6) {
        put16(frame + 12, 0x86dd);
        memcpy(frame + 14, ipv6, sizeof(ipv6));
        put16(frame + 18, (unsigned)(TCP_LEN + payload));
    } else {
        memcpy(frame + 14, ipv4, sizeof(ipv4));
        put16(frame + 16, (unsigned)(40 + payload));
    }
    memcpy(frame + tcp, head, sizeof(head));
    put16(frame + tcp + 4, seq >> 16);
    put16(frame + tcp + 6, seq & 0xffff);
    frame[tcp + 13] = flags;
    for (size_t i = 0; i < payload; i++) {
        frame[data_at() + i] = (uint8_t)((seq + i) * 7 >> 3);
    }
    return data_at() + payload;
}

static void send_one(uint32_t seq, size_t payload, uint8_t flags)
{
    size_t len = make(seq, payload, flags);
    user_merge_send(u, frame, len);
}

static void begin(void)
{
    nr_got = 0;
    user_enter(u);
}

static void check_data(unsigned i, uint32_t seq, size_t payload)
{
    assert_int_equal(got[i].len, data_at() + payload);
    for (size_t at = 0; at < payload; at++) {
        assert_int_equal(got[i].data[data_at() + at], (uint8_t)((seq + at) * 7 >> 3));
    }
}

/* ---- tests ---- */

static void test_merged(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 3; i++) {
        send_one(5000 + i * MSS, MSS, 0x10);
    }
    assert_int_equal(nr_got, 0);
    user_leave(u);
    assert_int_equal(nr_got, 1);
    check_data(0, 5000, 3 * MSS);
    const uint8_t *f = got[0].data;
    if (v6) {
        assert_int_equal(f[18] << 8 | f[19], TCP_LEN + 3 * MSS);
    } else {
        assert_int_equal(f[16] << 8 | f[17], 40 + 3 * MSS);
        assert_int_equal(net_sum_fold(net_sum(f + 14, 20, 0)), 0xffff);
    }
    const struct virtio_net_hdr *o = &got[0].offload;
    assert_int_equal(o->gso_type, v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(o->gso_size, MSS);
    assert_int_equal(o->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    assert_int_equal(o->hdr_len, data_at());
    assert_int_equal(o->csum_start, tcp);
    assert_int_equal(o->csum_offset, 16);
    /* The field has the pseudo header's sum: addresses, protocol, length. */
    size_t addresses = v6 ? 32 : 8;
    uint8_t pseudo[36];
    memcpy(pseudo, f + tcp - addresses, addresses);
    put16(pseudo + addresses, 6);
    put16(pseudo + addresses + 2, TCP_LEN + 3 * MSS);
    uint16_t begun;
    memcpy(&begun, f + tcp + 16, 2);
    assert_int_equal(begun, net_sum_fold(net_sum(pseudo, addresses + 4, 0)));
}

/* Each of these makes a segment one that cannot be joined to the one before. */
static void test_unlike(void **state)
{
    (void)state;
    static const struct {
        uint8_t at, flip;
    } ipv4[] = { { 0, 1 }, { 11, 1 }, { 15, 4 }, { 20, 0x40 }, { 22, 1 }, { 26, 1 }, { 33, 1 } },
      ipv6[] = { { 0, 1 },  { 11, 1 }, { 14, 1 }, { 15, 0x10 },
                 { 17, 1 }, { 21, 1 }, { 22, 1 }, { 53, 1 } },
      both[] = { { 0, 1 }, { 3, 1 }, { 4, 1 }, { 8, 1 }, { 11, 1 }, { 14, 1 }, { 15, 1 } };
    size_t nr = v6 ? ARRAY_SIZE(ipv6) : ARRAY_SIZE(ipv4);
    for (size_t i = 0; i < nr + ARRAY_SIZE(both); i++) {
        begin();
        send_one(0, MSS, 0x10);
        size_t len = make(MSS, MSS, 0x10);
        if (i >= nr) {
            frame[tcp + both[i - nr].at] ^= both[i - nr].flip;
        } else if (v6) {
            frame[ipv6[i].at] ^= ipv6[i].flip;
        } else {
            frame[ipv4[i].at] ^= ipv4[i].flip;
        }
        user_merge_send(u, frame, len);
        user_leave(u);
        assert_int_equal(nr_got, 2);
        check_data(0, 0, MSS);
        assert_memory_equal(got[1].data, frame, len);
    }
}

/* Other than TCP's plain data, or with other lengths than the frame's. */
static void test_not_plain(void **state)
{
    (void)state;
    size_t length = v6 ? 19 : 17, protocol = v6 ? 20 : 23;
    const struct {
        size_t at;
        uint8_t val;
    } row[] = { { length, 1 }, { protocol, 17 },   { 14, 0x75 },
                { 12, 7 },     { tcp + 12, 0x60 }, { tcp + 13, 0x18 | 0x20 } };
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        begin();
        for (unsigned n = 0; n < 2; n++) {
            size_t len = make(n * MSS, MSS, 0x10);
            frame[row[i].at] = row[i].val;
            user_merge_send(u, frame, len);
            assert_int_equal(nr_got, n + 1);
            assert_int_equal(got[n].len, len);
        }
        user_leave(u);
        assert_int_equal(nr_got, 2);
    }
}

/* One of each kind by turns: never in one packet. */
static void test_kinds_do_not_mix(void **state)
{
    begin();
    use_ipv4(state);
    send_one(0, MSS, 0x10);
    use_ipv6(state);
    send_one(MSS, MSS, 0x10);
    send_one(2 * MSS, MSS, 0x10);
    use_ipv4(state);
    send_one(3 * MSS, MSS, 0x10);
    user_leave(u);
    assert_int_equal(nr_got, 3);
    check_data(2, 3 * MSS, MSS);
    use_ipv6(state);
    check_data(1, MSS, 2 * MSS);
}

/* A short segment or PSH ends a packet; what does not follow begins one. */
static void test_borders(void **state)
{
    (void)state;
    begin();
    send_one(0, MSS, 0x10);
    send_one(MSS, 10, 0x18);
    assert_int_equal(nr_got, 1);
    check_data(0, 0, MSS + 10);
    assert_int_equal(got[0].data[tcp + 13], 0x18);
    send_one(1, MSS, 0x10);
    send_one(1 + 2 * MSS, MSS, 0x10); /* a hole */
    assert_int_equal(nr_got, 2);
    check_data(1, 1, MSS);
    assert_int_equal(got[1].offload.gso_type, VIRTIO_NET_HDR_GSO_NONE);
    assert_int_equal(got[1].offload.flags, VIRTIO_NET_HDR_F_DATA_VALID);
    send_one(1 + 3 * MSS, MSS + 1, 0x10); /* longer than the first */
    assert_int_equal(nr_got, 3);
    send_one(0, 0, 0x10); /* an acknowledgement: order is kept */
    assert_int_equal(nr_got, 5);
    assert_int_equal(got[4].len, data_at());
    send_one(7, MSS, 0x11); /* FIN */
    assert_int_equal(nr_got, 6);
    size_t len = make(8, MSS, 0x10);
    frame[tcp] = 1;
    user_merge_send(u, frame, len);
    send_one(8 + MSS, MSS, 0x10); /* of another port */
    assert_int_equal(nr_got, 7);
    user_leave(u);
    assert_int_equal(nr_got, 8);
}

static void test_limits(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 70; i++) {
        send_one(i * MSS, MSS, 0x10);
    }
    user_leave(u);
    assert_int_equal(nr_got, 2);
    check_data(0, 0, 65 * MSS);
    check_data(1, 65 * MSS, 5 * MSS);
    /* A card that wants frames, and calls nobody ends. */
    nr_got = 0;
    send_one(0, MSS, 0x10);
    assert_int_equal(nr_got, 1);
    card->accepts = NET_CSUM | (v6 ? NET_TSO4 : NET_TSO6);
    begin();
    send_one(0, MSS, 0x10);
    assert_int_equal(nr_got, 1);
    /* Cut short in the middle of a header. */
    card->accepts = NET_CSUM | NET_TSO4 | NET_TSO6;
    for (size_t len = 1; len < data_at(); len++) {
        make(0, MSS, 0x10);
        user_merge_send(u, frame, len);
    }
    assert_int_equal(nr_got, data_at());
    user_leave(u);
    assert_int_equal(nr_got, data_at());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_merged, use_ipv4),
        cmocka_unit_test_setup(test_unlike, use_ipv4),
        cmocka_unit_test_setup(test_not_plain, use_ipv4),
        cmocka_unit_test_setup(test_borders, use_ipv4),
        cmocka_unit_test_setup(test_limits, use_ipv4),
        cmocka_unit_test_setup(test_merged, use_ipv6),
        cmocka_unit_test_setup(test_unlike, use_ipv6),
        cmocka_unit_test_setup(test_not_plain, use_ipv6),
        cmocka_unit_test_setup(test_borders, use_ipv6),
        cmocka_unit_test_setup(test_limits, use_ipv6),
        cmocka_unit_test(test_kinds_do_not_mix),
    };
    return cmocka_run_group_tests_name("net_merge", tests, setup, NULL);
}
#else
static void test_skipped(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_skipped) };
    return cmocka_run_group_tests_name("net_merge", tests, NULL, NULL);
}
#endif
