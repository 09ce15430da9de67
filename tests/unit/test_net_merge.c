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

enum { DATA = 54, MSS = 1000, MAX_GOT = 128 };

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
    card->accepts = NET_CSUM | NET_TSO4;
    return 0;
}

/* ---- segments ---- */

static void put16(uint8_t *p, unsigned val)
{
    p[0] = (uint8_t)(val >> 8);
    p[1] = (uint8_t)val;
}

static uint8_t frame[2048];

static size_t make(uint32_t seq, size_t payload, uint8_t flags)
{
    static const uint8_t head[] = {
        2,    0,  0, 0, 0, 1, 2, 0, 0,  0, 0, 2, 8,    0,                        /* Ethernet */
        0x45, 0,  0, 0, 0, 7, 0, 0, 64, 6, 0, 0, 10,   0, 2,    2, 10, 0, 2, 15, /* IP */
        0,    80, 4, 1, 0, 0, 0, 0, 0,  0, 0, 9, 0x50, 0, 0x10, 0, 0,  0, 0, 0,  /* TCP */
    };
    memcpy(frame, head, sizeof(head));
    put16(frame + 16, (unsigned)(40 + payload));
    put16(frame + 38, seq >> 16);
    put16(frame + 40, seq & 0xffff);
    frame[47] = flags;
    for (size_t i = 0; i < payload; i++) {
        frame[DATA + i] = (uint8_t)((seq + i) * 7 >> 3);
    }
    return DATA + payload;
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
    assert_int_equal(got[i].len, DATA + payload);
    for (size_t at = 0; at < payload; at++) {
        assert_int_equal(got[i].data[DATA + at], (uint8_t)((seq + at) * 7 >> 3));
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
    assert_int_equal(f[16] << 8 | f[17], 40 + 3 * MSS);
    assert_int_equal(net_sum_fold(net_sum(f + 14, 20, 0)), 0xffff);
    const struct virtio_net_hdr *o = &got[0].offload;
    assert_int_equal(o->gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(o->gso_size, MSS);
    assert_int_equal(o->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    /* The field has the pseudo header's sum: addresses, protocol, length. */
    uint8_t pseudo[12];
    memcpy(pseudo, f + 26, 8);
    put16(pseudo + 8, 6);
    put16(pseudo + 10, 20 + 3 * MSS);
    uint16_t begun;
    memcpy(&begun, f + 50, 2);
    assert_int_equal(begun, net_sum_fold(net_sum(pseudo, 12, 0)));
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
    assert_int_equal(got[0].data[47], 0x18);
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
    assert_int_equal(got[4].len, DATA);
    send_one(7, MSS, 0x11); /* FIN */
    assert_int_equal(nr_got, 6);
    size_t len = make(8, MSS, 0x10);
    frame[34] = 1;
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
    card->accepts = NET_CSUM;
    begin();
    send_one(0, MSS, 0x10);
    assert_int_equal(nr_got, 1);
    /* Cut short in the middle of a header. */
    card->accepts = NET_CSUM | NET_TSO4;
    for (size_t len = 1; len < DATA; len++) {
        make(0, MSS, 0x10);
        user_merge_send(u, frame, len);
    }
    assert_int_equal(nr_got, DATA);
    user_leave(u);
    assert_int_equal(nr_got, DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_limits),
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
