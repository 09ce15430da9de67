/* SPDX-License-Identifier: GPL-2.0-or-later
 * libFuzzer on networks: frames, streams and datagrams of whoever is at the other end of a back
 * end, packets of a guest with all kinds of offloads, through an e1000 or virtio-net. The first
 * byte chooses the back end: stream, dgram, both by their older words, a user network (which
 * reaches nothing outside), a hub of several, a peer of the test's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hw/net/e1000.h"
#include "hw/virtio/virtio_pci.h"
#include "net/user.h"
#include "tests/fuzz/box.h"
#include "tests/fuzz/frames.h"
#include "util/user_object.h"

enum { SLOT_E1000 = 3, SLOT_VIRTIO = 4, E1000_BAR = 0xe0000000, VIRTIO_BAR = 0xe1000000 };
enum {
    RINGS = 0x10000,
    RING_STEP = 0x2000,
    NUM = 64,
    CHAIN = 8,
    DATA = 0x20000,
    E1000_RINGS = 0x8000,
    E1000_NUM = 32,
    NR_QUEUES = 3,
    QUEUE_RX = 0,
    QUEUE_TX = 1,
    QUEUE_CTRL = 2
};
enum { STREAM, DGRAM, OLD_STREAM, OLD_DGRAM, USER, HUB, PEER, NR_KINDS };

static bool e1000;     /* which card is connected */
static int far[2];     /* other ends of sockets, -1: none */
static bool stream[2]; /* which kind they are */
static bool dumping;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    box_machine();
    box_device("e1000,id=e0,addr=3,romfile=");
    box_device("virtio-net-pci,id=v0,addr=4,romfile=");
    return 0;
}

/* ---- back ends ---- */

static void make_socket(unsigned n, const char *id, unsigned kind)
{
    static const char *const form[] = { [STREAM] = "stream,id=%s,addr.type=fd,addr.str=%d",
                                        [DGRAM] = "dgram,id=%s,local.type=fd,local.str=%d",
                                        [OLD_STREAM] = "socket,id=%s,fd=%d",
                                        [OLD_DGRAM] = "socket,id=%s,fd=%d" };
    int pair[2], small = 4608;
    char text[100];
    stream[n] = kind == STREAM || kind == OLD_STREAM;
    if (socketpair(AF_UNIX, stream[n] ? SOCK_STREAM : SOCK_DGRAM, 0, pair)) {
        abort();
    }
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    far[n] = pair[0];
    snprintf(text, sizeof(text), form[kind], id, pair[1]);
    box_netdev(text);
}

static NetClient *card(void)
{
    return net_nic_find(e1000 ? "e0" : "v0", 0);
}

static void make_backend(unsigned kind)
{
    switch (kind) {
    case USER:
#ifdef HAVE_SLIRP
        box_netdev("user,id=n0,restrict=on");
        break;
#endif
    case PEER: peer_new("n0"); break;
    case HUB:
        box_netdev("hubport,id=n0,hubid=0");
        make_socket(0, "s0", STREAM);
        box_netdev("hubport,id=h1,hubid=0,netdev=s0");
        make_socket(1, "s1", DGRAM);
        box_netdev("hubport,id=h2,hubid=0,netdev=s1");
        peer_new("p0");
        box_netdev("hubport,id=h3,hubid=0,netdev=p0");
        break;
    default: make_socket(0, "n0", kind); break;
    }
    net_connect(card(), net_client_find("n0", 0));
}

static void set_dump(bool on)
{
    Error *err = NULL;
    if (on && !dumping) {
        Dict *opts = dict_parse("qom-type=filter-dump,id=d0,netdev=n0,file=/dev/null,maxlen=100",
                                NULL, &err);
        box_must(opts && user_object_create(opts, &err), err);
        dict_free(opts);
    } else if (!on && dumping) {
        box_must(user_object_delete("d0", &err), err);
    }
    dumping = on;
}

static void close_far(unsigned n)
{
    if (far[n] >= 0) {
        close(far[n]);
    }
    far[n] = -1;
}

static void remove_backend(void)
{
    set_dump(false);
    peers_delete();
    net_close();
    close_far(0);
    close_far(1);
}

/* ---- the other end ---- */

static void far_sends(Input *input, uint8_t op)
{
    static uint8_t data[4 + MAX_FRAME];
    unsigned n = op >> 7;
    size_t len = frame_make(data + 4, input), head = stream[n] ? 4 : 0;
    uint32_t says = htobe32((uint32_t)len);
    if (far[n] < 0) {
        return;
    }
    if (op & 0x10) { /* in two pieces, or without its end */
        size_t cut = byte(input);
        cut = MIN(cut, head + len);
        memcpy(data, &says, 4);
        if (send(far[n], data + 4 - head, cut, MSG_NOSIGNAL) >= 0) {
            main_loop_step(0);
            if (!(op & 0x20) &&
                send(far[n], data + 4 - head + cut, head + len - cut, MSG_NOSIGNAL) < 0) {
                return;
            }
        }
        return;
    }
    if (op & 0x20) { /* a length that is not so */
        says = dword(input);
    }
    memcpy(data, &says, 4);
    for (unsigned times = op & 0x40 ? 20 : 1; times; times--) {
        if (send(far[n], data + 4 - head, head + len, MSG_NOSIGNAL) < 0) {
            return;
        }
    }
}

static void far_reads(void)
{
    static uint8_t data[1 << 16];
    for (unsigned n = 0; n < 2; n++) {
        while (far[n] >= 0 && read(far[n], data, sizeof(data)) > 0) {
        }
    }
}

/* ---- the driver of virtio-net ---- */

static uint64_t ring(unsigned queue)
{
    return RINGS + queue * RING_STEP;
}

static void start_virtio(Input *input)
{
    uint64_t bar = VIRTIO_BAR, refuse = (uint64_t)byte(input) << 7 | (uint64_t)byte(input) << 15;
    refuse &= ~(1ull << VIRTIO_NET_F_CTRL_VQ);
    config(SLOT_VIRTIO, PCI_BAR0 + 16, VIRTIO_BAR, 4);
    config(SLOT_VIRTIO, PCI_BAR0 + 20, 0, 4);
    config(SLOT_VIRTIO, PCI_COMMAND, 7, 2);
    memset(machine.ram->host + RINGS, 0, NR_QUEUES * RING_STEP);
    store(bar + VIRTIO_PCI_COMMON_STATUS, 0, 1);
    store(bar + VIRTIO_PCI_COMMON_STATUS, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        store(bar + VIRTIO_PCI_COMMON_DFSELECT, half, 4);
        store(bar + VIRTIO_PCI_COMMON_GFSELECT, half, 4);
        uint32_t offered = load(bar + VIRTIO_PCI_COMMON_DF, 4);
        store(bar + VIRTIO_PCI_COMMON_GF, offered & ~(refuse >> 32 * half), 4);
    }
    store(bar + VIRTIO_PCI_COMMON_STATUS, 11, 1);
    for (unsigned n = 0; n < NR_QUEUES; n++) {
        store(bar + VIRTIO_PCI_COMMON_Q_SELECT, n, 2);
        store(bar + VIRTIO_PCI_COMMON_Q_SIZE, NUM, 2);
        store(bar + VIRTIO_PCI_COMMON_Q_DESCLO, ring(n), 4);
        store(bar + VIRTIO_PCI_COMMON_Q_AVAILLO, ring(n) + 0x800, 4);
        store(bar + VIRTIO_PCI_COMMON_Q_USEDLO, ring(n) + 0x1000, 4);
        store(bar + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
    }
    store(bar + VIRTIO_PCI_COMMON_STATUS, 15, 1);
}

/* A chain of nr buffers, one behind the other from where on; the last may be the device's. */
static void offer(unsigned queue, uint64_t where, const uint32_t *len, unsigned nr, bool write_last)
{
    uint64_t r = ring(queue);
    uint16_t index = (uint16_t)load(r + 0x802, 2), first = index * CHAIN % NUM;
    for (unsigned i = 0; i < nr; i++) {
        uint64_t d = r + 16 * (first + i);
        bool last = i + 1 == nr;
        store(d, where, 8);
        store(d + 8, len[i], 4);
        store(d + 12, (last ? 0 : 1) | (queue == QUEUE_RX || (last && write_last) ? 2 : 0), 2);
        store(d + 14, first + i + 1, 2);
        where += len[i];
    }
    store(r + 0x804 + 2 * (index % NUM), first, 2);
    store(r + 0x802, (uint16_t)(index + 1), 2);
    store(VIRTIO_BAR + 0x3000 + 4 * queue, queue, 2);
}

static void virtio_sends(Input *input)
{
    static uint8_t frame[MAX_FRAME];
    size_t len = frame_make(frame, input);
    struct virtio_net_hdr_mrg_rxbuf h = { .hdr = frame_offload(frame, input) };
    uint32_t pieces[CHAIN];
    unsigned nr = 1 + byte(input) % CHAIN;
    uint32_t left = sizeof(h) + len;
    for (unsigned i = 0; i < nr; i++) {
        uint32_t n = i ? byte(input) * 16u : byte(input) % 32u;
        n = i + 1 == nr ? left : MIN(left, n);
        pieces[i] = n;
        left -= n;
    }
    dma_write(&machine.memory, DATA, &h, sizeof(h));
    dma_write(&machine.memory, DATA + sizeof(h), frame, len);
    offer(QUEUE_TX, DATA, pieces, nr, false);
}

static void virtio_takes(Input *input)
{
    uint8_t how = byte(input);
    uint32_t len[CHAIN];
    unsigned nr = 1 + (how & 7);
    for (unsigned i = 0; i < nr; i++) {
        len[i] = how & 8 ? byte(input) : 1024u << (how >> 4 & 7);
    }
    offer(QUEUE_RX, DATA + 0x10000 + (how & 0xf0) * 0x100, len, nr, true);
}

static void virtio_controls(Input *input)
{
    uint8_t data[64] = { byte(input) % 6, byte(input) % 6 };
    uint32_t len[2] = { 2 + byte(input) % (sizeof(data) - 2), byte(input) % 2 };
    for (unsigned i = 2; i < len[0]; i++) {
        data[i] = byte(input);
    }
    dma_write(&machine.memory, DATA + 0x40000, data, sizeof(data));
    offer(QUEUE_CTRL, DATA + 0x40000, len, 2, true);
}

/* ---- the driver of the e1000 ---- */

static void start_e1000(Input *input)
{
    uint8_t how = byte(input);
    config(SLOT_E1000, PCI_BAR0, E1000_BAR, 4);
    config(SLOT_E1000, PCI_COMMAND, 7, 2);
    store(E1000_BAR + REG_CTRL, CTRL_FD | CTRL_SLU | (how & 1 ? CTRL_VME : 0), 4);
    store(E1000_BAR + REG_MDIC, 1u << 26 | 1u << 21 | 0x0140, 4);
    store(E1000_BAR + REG_TDBAL, E1000_RINGS, 4);
    store(E1000_BAR + REG_TDLEN, E1000_NUM * DESC_SIZE, 4);
    store(E1000_BAR + REG_RDBAL, E1000_RINGS + 0x1000, 4);
    store(E1000_BAR + REG_RDLEN, E1000_NUM * DESC_SIZE, 4);
    store(E1000_BAR + REG_RXCSUM, how & 2 ? 0x300 : how, 4);
    store(E1000_BAR + REG_TCTL, TCTL_EN, 4);
    store(E1000_BAR + REG_RCTL,
          RCTL_EN | RCTL_BAM | (how & 4 ? RCTL_UPE | RCTL_MPE | RCTL_LPE : 0) |
              (how & 8 ? RCTL_BSIZE : 0) | (how & 16 ? RCTL_VFE : 0),
          4);
    for (unsigned i = 0; i < E1000_NUM; i++) {
        store(E1000_RINGS + 0x1000 + i * DESC_SIZE, DATA + 0x10000 + i * 0x800, 8);
    }
}

/* A context, then the frame as one descriptor. */
static void e1000_sends(Input *input)
{
    static uint8_t frame[MAX_FRAME];
    size_t len = frame_make(frame, input);
    struct virtio_net_hdr h = frame_offload(frame, input);
    uint8_t how = byte(input), tucmd = 0x20 | (how & 2) | (h.gso_type ? 5 : 1);
    uint32_t tdt = (uint32_t)load(E1000_BAR + REG_TDT, 4) % E1000_NUM;
    uint64_t d = E1000_RINGS + tdt * DESC_SIZE;
    uint8_t l4 = (uint8_t)h.csum_start;
    store(d, 14 | 24 << 8 | (l4 - 1u) << 16, 4);
    store(d + 4, l4 | (uint32_t)(uint8_t)(l4 + h.csum_offset) << 8, 4);
    store(d + 8, (uint32_t)tucmd << 24, 4);
    store(d + 12, (uint32_t)(uint8_t)h.hdr_len << 8 | (uint32_t)h.gso_size << 16, 4);
    tdt = (tdt + 1) % E1000_NUM;
    d = E1000_RINGS + tdt * DESC_SIZE;
    dma_write(&machine.memory, DATA, frame, len);
    store(d, DATA, 8);
    store(d + 8, len | 1u << 20 | (0x29u | (h.gso_type ? 4 : 0) | (how & 0x40)) << 24, 4);
    store(d + 12, 3u << 8 | (uint32_t)how << 16, 4);
    store(E1000_BAR + REG_TDT, (tdt + 1) % E1000_NUM, 4);
}

static void e1000_takes(Input *input)
{
    store(E1000_BAR + REG_RDT, byte(input) % E1000_NUM, 4);
    store(E1000_BAR + REG_RA, dword(input), 4);
}

/* ---- options of the user network ---- */

/* Text of what addresses are made of. */
static void make_text(Input *input, char *text, size_t size)
{
    static const char letters[] = "0123456789./:-[]fecx";
    size_t len = byte(input) % size;
    for (size_t i = 0; i < len; i++) {
        text[i] = letters[byte(input) % (sizeof(letters) - 1)];
    }
    text[len] = 0;
}

static void user_options(Input *input)
{
    static const char *const key[] = { "net",       "host",          "dns",       "dhcpstart",
                                       "ipv6-net",  "ipv6-prefix",   "ipv6-host", "hostname",
                                       "dnssearch", "ipv6-prefixlen" };
    char text[40], option[100];
    Error *err = NULL;
    make_text(input, text, sizeof(text));
    snprintf(option, sizeof(option), "user,id=u1,restrict=on,%s=%s",
             key[byte(input) % ARRAY_SIZE(key)], text);
    Dict *opts = net_backend_parse(option, &err);
    if (opts && net_backend_create(opts, &err)) {
        box_must(net_backend_delete("u1", &err), err);
    }
    dict_free(opts);
    if (err) {
        error_free(err);
        err = NULL;
    }
    if (!net_user_hostfwd_remove(NULL, text, &err)) { /* adding would open ports of the host */
        error_free(err);
    }
}

/* ---- the run ---- */

static void set_link(bool up)
{
    Error *err = NULL;
    box_must(net_set_link(e1000 ? "e0" : "v0", up, &err), err);
}

static void other(Input *input, uint8_t op)
{
    switch (op >> 4) {
    case 0: set_link(false); break;
    case 1: set_link(true); break;
    case 2: set_dump(true); break;
    case 3: set_dump(false); break;
    case 4: net_set_running(false); break;
    case 5: net_set_running(true); break;
    case 6: close_far(op >> 7); break;
    case 7: user_options(input); break;
    case 8: net_disconnect(card()); break;
    case 9: machine_reset_devices(&machine); break;
    case 10:
        if (nr_peers()) {
            peer_set(peer_at(0), byte(input));
        }
        break;
    case 11:
        if (nr_peers()) {
            peer_send(peer_at(0), input);
        }
        break;
    default: guest_clock_advance_to(guest_clock_ns() + byte(input) * 10000000ull); break;
    }
}

static void step(Input *input)
{
    uint8_t op = byte(input);
    switch (op & 15) {
    case 0:
    case 1:
    case 2:
    case 3: far_sends(input, op); break;
    case 4: far_reads(); break;
    case 5:
    case 6:
    case 7: (e1000 ? e1000_sends : virtio_sends)(input); break;
    case 8:
    case 9: (e1000 ? e1000_takes : virtio_takes)(input); break;
    case 10: virtio_controls(input); break;
    case 11: (e1000 ? start_e1000 : start_virtio)(input); break;
    case 12:
    case 13: other(input, op); break;
    default: main_loop_step(0); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input = { data, size };
    uint8_t how = byte(&input);
    e1000 = how & 1;
    far[0] = far[1] = -1;
    make_backend((how >> 1) % NR_KINDS);
    set_dump(how & 0x80);
    start_e1000(&input);
    start_virtio(&input);
    for (unsigned steps = 0; input.left && steps < 200; steps++) {
        step(&input);
    }
    main_loop_step(0);
    net_set_running(true);
    set_link(true);
    remove_backend();
    machine_reset_devices(&machine);
    main_loop_step(0);
    return 0;
}
