/* SPDX-License-Identifier: GPL-2.0-or-later
 * vhost-net without a kernel that has it: a virtio-net card whose netdev's ioctls end in a stand-in
 * here, which moves frames between the rings it is told of and the test. Both ways of use (direct
 * and shadow), what takes the rings back, what is left in them then, and the memory table. The last
 * test does it with the real one, where there are /dev/vhost-net and the rights to use it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "hw/core/machine.h"
#include "hw/pci/i440fx.h"
#include "hw/virtio/virtio_net.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

enum { RAM = 4 << 20, NUM = 64, HEADER = 12, FRAME = 100 };
enum { RX_RING = 0x10000, TX_RING = 0x20000, RX_BUFFERS = 0x100000, TX_BUFFERS = 0x200000 };
enum { TABLE = 0x300000, MESSAGE = 0x8000 };
enum { AVAIL_AT = 0x1000, USED_AT = 0x2000, BUFFER = 2048 };

/* ---- the kernel ---- */

typedef struct Kernel {
    uint64_t features, agreed;
    struct vhost_memory_region region[70];
    unsigned nr_regions, tables;
    struct {
        unsigned num, next; /* taken from the available ring */
        struct vhost_vring_addr addr;
        int kick, call, err, backend;
        unsigned starts;
    } ring[VHOST_RINGS];
    unsigned long fails; /* this request */
    VhostUse use;
    unsigned uses;
} Kernel;

static Kernel kernel;

static int fail_with(int error)
{
    errno = error;
    return -1;
}

static int kernel_ioctl(int fd, unsigned long request, void *arg)
{
    Kernel *k = &kernel;
    const struct vhost_vring_file *f = arg;
    struct vhost_vring_state *st = arg;
    assert_int_equal(fd, 99);
    if (request == k->fails) {
        return fail_with(EINVAL);
    }
    switch (request) {
    case VHOST_SET_FEATURES: k->agreed = *(const uint64_t *)arg; break;
    case VHOST_SET_MEM_TABLE: {
        const struct vhost_memory *t = arg;
        assert_in_range(t->nregions, 1, 64);
        memcpy(k->region, t->regions, t->nregions * sizeof(t->regions[0]));
        k->nr_regions = t->nregions;
        k->tables++;
        break;
    }
    case VHOST_SET_VRING_NUM: k->ring[st->index].num = st->num; break;
    case VHOST_SET_VRING_BASE: k->ring[st->index].next = st->num; break;
    case VHOST_GET_VRING_BASE: st->num = k->ring[st->index].next & 0xffff; break;
    case VHOST_SET_VRING_ADDR: {
        const struct vhost_vring_addr *a = arg;
        k->ring[a->index].addr = *a;
        break;
    }
    case VHOST_SET_VRING_KICK: k->ring[f->index].kick = f->fd; break;
    case VHOST_SET_VRING_CALL: k->ring[f->index].call = f->fd; break;
    case VHOST_SET_VRING_ERR: k->ring[f->index].err = f->fd; break;
    case VHOST_NET_SET_BACKEND:
        k->ring[f->index].backend = f->fd;
        k->ring[f->index].starts += f->fd >= 0;
        break;
    default: return fail_with(ENOTTY);
    }
    return 0;
}

static uint8_t *translate(uint64_t gpa)
{
    for (unsigned i = 0; i < kernel.nr_regions; i++) {
        const struct vhost_memory_region *r = &kernel.region[i];
        if (gpa >= r->guest_phys_addr && gpa - r->guest_phys_addr < r->memory_size) {
            return (uint8_t *)(uintptr_t)(r->userspace_addr + gpa - r->guest_phys_addr);
        }
    }
    return NULL;
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static bool was_signalled(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* Takes one chain of ring n: copies len bytes into it, or out of it. False: there is none. */
static bool serve(unsigned n, uint8_t *bytes, uint32_t len, bool to_guest)
{
    const struct vring_desc *desc = (void *)(uintptr_t)kernel.ring[n].addr.desc_user_addr;
    const struct vring_avail *avail = (void *)(uintptr_t)kernel.ring[n].addr.avail_user_addr;
    struct vring_used *used = (void *)(uintptr_t)kernel.ring[n].addr.used_user_addr;
    unsigned num = kernel.ring[n].num, at = 0;
    if (kernel.ring[n].backend < 0 || avail->idx == (kernel.ring[n].next & 0xffff)) {
        return false;
    }
    unsigned head = avail->ring[kernel.ring[n].next++ % num];
    for (unsigned d = head;; d = desc[d].next) {
        uint8_t *host = translate(desc[d].addr);
        uint32_t part = MIN(desc[d].len, len - at);
        assert_non_null(host);
        memcpy(to_guest ? host : bytes + at, to_guest ? bytes + at : host, part);
        at += part;
        if (!(desc[d].flags & VRING_DESC_F_NEXT)) {
            break;
        }
    }
    used->ring[used->idx % num] = (struct vring_used_elem){ head, to_guest ? at : 0 };
    used->idx++;
    signal_fd(kernel.ring[n].call);
    return true;
}

/* ---- the netdev ---- */

static bool take(NetClient *nc, const NetPacket *p)
{
    (void)nc;
    (void)p;
    return true;
}

static const NetClientInfo netdev_info = { .type = "box",
                                           .size = sizeof(NetClient),
                                           .receive = take };

static void use(NetClient *nc, const VhostUse *u)
{
    (void)nc;
    kernel.use = *u;
    kernel.uses++;
}

static NetVhost host;

/* ---- the guest ---- */

typedef struct Box {
    Machine m;
    PciBus *bus;
    VirtioNet *net;
    NetClient *netdev;
    Region ram, extra;
} Box;

static Box *box;

static uint16_t *avail_idx(unsigned ring)
{
    return (uint16_t *)(box->m.ram->host + ring + AVAIL_AT + 2);
}

static uint16_t used_idx(unsigned ring)
{
    return *(uint16_t *)(box->m.ram->host + ring + USED_AT + 2);
}

/* One buffer of one descriptor. */
static void offer(unsigned ring, unsigned n, uint64_t gpa, uint32_t len, uint16_t flags)
{
    uint16_t *idx = avail_idx(ring);
    struct vring_desc *d = (struct vring_desc *)(box->m.ram->host + ring) + n % NUM;
    *d = (struct vring_desc){ gpa, len, flags, 0 };
    idx[1 + *idx % NUM] = (uint16_t)(n % NUM);
    ++*idx;
}

static void post(unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        unsigned n = *avail_idx(RX_RING);
        offer(RX_RING, n, RX_BUFFERS + n % NUM * BUFFER, BUFFER, VRING_DESC_F_WRITE);
    }
    virtio_kick(&box->net->vdev, 0);
}

static void send_frame(uint8_t byte)
{
    unsigned n = *avail_idx(TX_RING);
    uint64_t gpa = TX_BUFFERS + n % NUM * BUFFER;
    memset(box->m.ram->host + gpa, 0, HEADER);
    memset(box->m.ram->host + gpa + HEADER, byte, FRAME);
    offer(TX_RING, n, gpa, HEADER + FRAME, 0);
    virtio_kick(&box->net->vdev, 1);
}

static void loop(void)
{
    for (unsigned i = 0; i < 4; i++) {
        main_loop_step(0);
    }
}

static void set_queue(unsigned n, unsigned ring)
{
    VirtQueue *vq = &box->net->vdev.queue[n];
    memset(box->m.ram->host + ring, 0, 0x3000);
    vq->num = NUM;
    vq->desc = ring;
    vq->driver = ring + AVAIL_AT;
    vq->device = ring + USED_AT;
    vq->vector = (uint16_t)n;
    virtio_enable_queue(&box->net->vdev, n);
}

static void start_driver(uint64_t features)
{
    VirtioDevice *v = &box->net->vdev;
    virtio_set_dma(v, true);
    v->driver_features = features | 1ull << VIRTIO_F_VERSION_1;
    virtio_set_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    virtio_set_status(v, v->status | VIRTIO_CONFIG_S_FEATURES_OK);
    assert_true(v->status & VIRTIO_CONFIG_S_FEATURES_OK);
    set_queue(0, RX_RING);
    set_queue(1, TX_RING);
    virtio_set_status(v, v->status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void set_running(bool on)
{
    (on ? guest_clock_start : guest_clock_stop)();
    net_set_running(on);
}

static void make_machine(void)
{
    Error *err = NULL;
    box = calloc(1, sizeof(*box));
    box->m.config.ram_size = RAM;
    machine_setup(&box->m);
    box->m.ram = ram_block_new("ram", RAM, &err);
    region_init_ram(&box->ram, "ram", box->m.ram, 0, RAM);
    region_add(&box->m.memory_root, 0, &box->ram, 0);
    Device *i440fx = device_new(&box->m, &type_i440fx_host);
    assert_true(device_realize(i440fx, NULL, NULL, "host", &err));
    box->bus = i440fx_pci_bus(i440fx);
}

static void make_card(void)
{
    Error *err = NULL;
    Device *dev = device_new(&box->m, device_type_find("virtio-net-pci"));
    device_setf(dev, "netdev", "n0");
    device_setf(dev, "rx_queue_size", "%d", NUM);
    device_setf(dev, "tx_queue_size", "%d", NUM);
    device_setf(dev, "packed", "on");
    if (!device_realize(dev, &box->bus->bus, NULL, "card[*]", &err)) {
        fail_msg("%s", error_text(err));
    }
    box->net = &container_of(dev, VirtioNetPci, proxy.pci.dev)->net;
    set_running(true);
    machine_reset_devices(&box->m);
}

static int setup(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    kernel.ring[0].backend = kernel.ring[1].backend = -1;
    make_machine();
    box->netdev = net_client_new(&netdev_info, "n0", 0);
    host = (NetVhost){ .fd = 99,
                       .backend = 77,
                       .ioctl = kernel_ioctl,
                       .use = use,
                       .features = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_NET_F_MRG_RXBUF |
                                   1ull << VIRTIO_RING_F_INDIRECT_DESC |
                                   1ull << VIRTIO_RING_F_EVENT_IDX };
    box->netdev->vhost = &host;
    make_card();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    machine_reset_devices(&box->m);
    loop();
    ram_set_code_kept(true);
    machine_fini(&box->m);
    net_close();
    set_running(false);
    ram_block_free(box->m.ram);
    free(box);
    return 0;
}

static bool runs(void)
{
    return kernel.ring[0].backend == 77 && kernel.ring[1].backend == 77;
}

static bool has_stopped(void)
{
    return kernel.ring[0].backend == -1 && kernel.ring[1].backend == -1 && !kernel.use.on;
}

/* ---- tests ---- */

static void test_features(void **state)
{
    (void)state;
    uint64_t offered = box->net->vdev.host_features;
    assert_true(offered >> VIRTIO_F_VERSION_1 & 1);
    assert_true(offered >> VIRTIO_RING_F_EVENT_IDX & 1);
    assert_true(offered >> VIRTIO_NET_F_CSUM & 1);
    assert_false(offered >> VIRTIO_F_RING_PACKED & 1); /* the kernel has none */
    assert_false(offered >> VIRTIO_F_RING_RESET & 1);
    ram_set_code_kept(false);
    start_driver(1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_NET_F_GUEST_CSUM);
    assert_int_equal(kernel.agreed, 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX);
    assert_int_equal(kernel.use.header, HEADER);
    assert_int_equal(kernel.use.accepts, NET_CSUM);
    assert_string_equal(kernel.use.mode, "direct");
}

/* The kernel has the guest's own rings, and our eventfds lead there and back. */
static void test_direct(void **state)
{
    uint8_t got[HEADER + FRAME], frame[HEADER + FRAME];
    (void)state;
    memset(frame, 0x5a, sizeof(frame));
    ram_set_code_kept(false);
    start_driver(0);
    assert_true(runs());
    assert_int_equal(kernel.ring[0].addr.desc_user_addr, (uintptr_t)box->m.ram->host + RX_RING);
    assert_int_equal(kernel.ring[1].addr.used_user_addr,
                     (uintptr_t)box->m.ram->host + TX_RING + USED_AT);
    assert_int_equal(kernel.ring[1].num, NUM);
    assert_true(was_signalled(kernel.ring[1].kick)); /* there may be something already */
    send_frame(0x11);
    assert_true(was_signalled(kernel.ring[1].kick));
    assert_true(serve(1, got, sizeof(got), false));
    assert_int_equal(got[HEADER], 0x11);
    post(3);
    assert_true(serve(0, frame, sizeof(frame), true));
    assert_int_equal(box->m.ram->host[RX_BUFFERS + HEADER], 0x5a);

    set_running(false);
    assert_true(has_stopped());
    assert_int_equal(box->net->vdev.queue[0].next, 1);
    assert_int_equal(box->net->vdev.queue[0].used, 1);
    assert_int_equal(box->net->vdev.queue[1].next, 1);
    set_running(true);
    assert_true(runs());
    assert_int_equal(kernel.ring[0].next, 1); /* it goes on there */
    assert_true(serve(0, frame, sizeof(frame), true));
    assert_int_equal(used_idx(RX_RING), 2);
}

/* Whoever decoded code hears of what the kernel wrote before the guest can see it. */
static void test_shadow(void **state)
{
    uint8_t got[HEADER + FRAME], frame[HEADER + FRAME];
    (void)state;
    memset(frame, 0x5a, sizeof(frame));
    start_driver(1ull << VIRTIO_RING_F_EVENT_IDX);
    assert_true(runs());
    assert_string_equal(kernel.use.mode, "shadow");
    assert_int_not_equal(kernel.ring[0].addr.desc_user_addr, (uintptr_t)box->m.ram->host + RX_RING);
    assert_int_equal(kernel.agreed, 1ull << VIRTIO_F_VERSION_1);
    post(4);
    assert_true(was_signalled(kernel.ring[0].kick));
    uint32_t stamp = ram_track_code(box->m.ram, RX_BUFFERS + 64, 16);
    assert_true(serve(0, frame, sizeof(frame), true));
    assert_int_equal(used_idx(RX_RING), 0);
    assert_int_equal(*ram_code_stamp(box->m.ram, RX_BUFFERS), stamp);
    loop();
    assert_int_equal(used_idx(RX_RING), 1);
    assert_int_not_equal(*ram_code_stamp(box->m.ram, RX_BUFFERS), stamp);
    send_frame(0x22);
    assert_true(serve(1, got, sizeof(got), false));
    assert_int_equal(got[HEADER + FRAME - 1], 0x22);
    loop();
    assert_int_equal(used_idx(TX_RING), 1);
    for (unsigned i = 0; i < 1000; i++) { /* descriptors come back */
        post(1);
        assert_true(serve(0, frame, sizeof(frame), true));
        loop();
    }
    assert_int_equal(used_idx(RX_RING), 1001);
}

/* The vCPUs change engines: what the kernel had not used moves along. */
static void test_switch(void **state)
{
    uint8_t frame[HEADER + FRAME] = { 0 };
    (void)state;
    start_driver(0);
    post(10);
    for (unsigned i = 0; i < 40; i++) {
        ram_set_code_kept(i & 1);
        assert_string_equal(kernel.use.mode, i & 1 ? "shadow" : "direct");
        frame[HEADER] = (uint8_t)i;
        assert_true(serve(0, frame, sizeof(frame), true));
        if (i % 3) {
            loop();
        }
        post(1);
    }
    ram_set_code_kept(false);
    loop();
    assert_int_equal(used_idx(RX_RING), 40);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(box->m.ram->host[RX_BUFFERS + i * BUFFER + HEADER], i);
    }
    ram_track(box->m.ram, DIRTY_MIGRATION, true); /* somebody wants to hear of writes */
    assert_string_equal(kernel.use.mode, "shadow");
    ram_track(box->m.ram, DIRTY_MIGRATION, false);
    assert_string_equal(kernel.use.mode, "direct");
}

static bool pass(NetFilter *f, NetDirection dir, const NetPacket *p)
{
    (void)f;
    (void)dir;
    (void)p;
    return false;
}

/* What takes the rings from the kernel, and gives them back. */
static void test_reasons(void **state)
{
    Error *err = NULL;
    NetFilter filter = { .packet = pass };
    (void)state;
    start_driver(0);
    assert_true(runs());
    assert_true(net_set_link("n0", false, &err));
    assert_true(has_stopped());
    assert_true(net_set_link("n0", true, &err));
    assert_true(runs());
    net_filter_add(&filter, box->netdev);
    assert_true(has_stopped());
    net_filter_del(&filter);
    assert_true(runs());
    virtio_set_dma(&box->net->vdev, false);
    assert_true(has_stopped());
    virtio_set_dma(&box->net->vdev, true);
    assert_true(runs());
    virtio_set_status(&box->net->vdev, 0);
    assert_true(has_stopped());
    start_driver(0);
    assert_true(runs());
    signal_fd(kernel.ring[1].err); /* it cannot read a buffer */
    loop();
    assert_true(has_stopped());
    virtio_set_status(&box->net->vdev, 0);
    start_driver(0);
    assert_true(runs());
    net_disconnect(box->netdev);
    assert_true(has_stopped());
}

/* Frames that the kernel has not taken go through user space, in order. */
static void test_back_to_us(void **state)
{
    for (unsigned direct = 0; direct < 2; direct++) {
        uint8_t got[HEADER + FRAME];
        ram_set_code_kept(!direct);
        start_driver(0);
        for (uint8_t i = 0; i < 5; i++) {
            send_frame(i);
        }
        assert_true(serve(1, got, sizeof(got), false));
        assert_true(serve(1, got, sizeof(got), false));
        kernel.fails = VHOST_SET_VRING_ADDR;
        set_running(false);
        set_running(true); /* it cannot start again: warns, once */
        assert_true(has_stopped());
        loop();
        assert_int_equal(used_idx(TX_RING), 5);
        kernel.fails = 0;
        virtio_set_status(&box->net->vdev, 0);
    }
    (void)state;
}

/* A ring where there is no main memory is the driver's mistake. */
static void test_bad_ring(void **state)
{
    VirtioDevice *v = &box->net->vdev;
    (void)state;
    for (unsigned direct = 0; direct < 2; direct++) {
        ram_set_code_kept(!direct);
        virtio_set_dma(v, true);
        v->driver_features = 1ull << VIRTIO_F_VERSION_1;
        virtio_set_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                                 VIRTIO_CONFIG_S_FEATURES_OK);
        set_queue(0, RX_RING);
        set_queue(1, TX_RING);
        v->queue[1].device = 0x40000000;
        virtio_set_status(v, v->status | VIRTIO_CONFIG_S_DRIVER_OK);
        virtio_kick(v, 1);
        loop();
        assert_true(has_stopped());
        assert_true(v->status & VIRTIO_CONFIG_S_NEEDS_RESET);
        virtio_set_status(v, 0);
        assert_false(v->broken);
    }
}

/* An event of the kernel is the queue's vector, masked or not. */
static void test_interrupts(void **state)
{
    PciMsix *msix = container_of(box->net, VirtioNetPci, net)->proxy.pci.msix;
    uint32_t *message = (uint32_t *)(box->m.ram->host + MESSAGE);
    uint8_t frame[HEADER + FRAME] = { 0 };
    (void)state;
    uint8_t *control = msix->pci->config + msix->cap + 3;
    *control |= 0x80; /* enabled */
    msix->pci->config[PCI_COMMAND] |= PCI_COMMAND_MASTER;
    msix->entry[0] = (PciMsixEntry){ MESSAGE, 0x1234, 0 };
    *message = 0;
    ram_set_code_kept(false);
    start_driver(0);
    post(8);
    assert_true(serve(0, frame, sizeof(frame), true));
    loop();
    assert_int_equal(*message, 0x1234);
    *message = 0;
    msix->entry[0].control = 1;
    pci_msix_refresh(msix);
    assert_true(serve(0, frame, sizeof(frame), true));
    loop();
    assert_int_equal(*message, 0);
    set_running(false); /* the event becomes the pending bit */
    assert_int_equal(*message, 0);
    assert_true(msix->pending[0] & 1);
    *control &= 0x7f;
}

static void test_memory_table(void **state)
{
    Region *hole = &box->extra;
    uint8_t frame[HEADER + FRAME] = { 0 };
    (void)state;
    ram_set_code_kept(false);
    start_driver(0);
    post(4);
    assert_int_equal(kernel.nr_regions, 1);
    assert_int_equal(kernel.region[0].memory_size, RAM);
    assert_int_equal(kernel.region[0].userspace_addr, (uintptr_t)box->m.ram->host);
    assert_true(serve(0, frame, sizeof(frame), true));

    /* A ROM appears in the middle; the same RAM shows up again higher. */
    Region *alias = calloc(1, sizeof(*alias));
    region_init_rom(hole, "rom", box->m.ram, 0x380000, 0x1000);
    region_init_alias(alias, "alias", &box->ram, 0, 0x10000);
    memory_begin();
    region_add(&box->m.memory_root, 0x380000, hole, 1);
    region_add(&box->m.memory_root, 0x1000000, alias, 1);
    memory_commit();
    assert_int_equal(kernel.ring[0].backend, -1); /* at once */
    loop();
    assert_true(runs());
    assert_int_equal(kernel.nr_regions, 3);
    assert_int_equal(kernel.region[1].guest_phys_addr, 0x381000);
    assert_int_equal(kernel.region[1].userspace_addr, (uintptr_t)box->m.ram->host + 0x381000);
    assert_int_equal(kernel.region[2].guest_phys_addr, 0x1000000);
    assert_int_equal(kernel.ring[0].next, 1);
    assert_true(serve(0, frame, sizeof(frame), true));
    unsigned tables = kernel.tables;
    region_set_enabled(alias, true); /* nothing changes */
    loop();
    assert_int_equal(kernel.tables, tables);
    region_del(hole);
    region_del(alias);
    loop();
    assert_int_equal(kernel.nr_regions, 1);
    free(alias);
}

static void test_too_many_pieces(void **state)
{
    Region *alias = calloc(70, sizeof(*alias));
    (void)state;
    ram_set_code_kept(false);
    memory_begin();
    for (unsigned i = 0; i < 70; i++) {
        region_init_alias(&alias[i], "alias", &box->ram, 0, 0x1000);
        region_add(&box->m.memory_root, 0x1000000 + i * 0x2000, &alias[i], 0);
    }
    memory_commit();
    start_driver(0); /* warns */
    assert_true(has_stopped());
    send_frame(1);
    loop();
    assert_int_equal(used_idx(TX_RING), 1);
    memory_begin();
    for (unsigned i = 0; i < 70; i++) {
        region_del(&alias[i]);
    }
    memory_commit();
    free(alias);
}

static void test_open(void **state)
{
    Error *err = NULL;
    NetVhost v = { .fd = dup(0) };
    (void)state;
    assert_false(net_vhost_open(&v, &err));
    assert_non_null(strstr(error_text(err), "is not one of /dev/vhost-net"));
    error_free(err);
    net_vhost_close(&v);
    assert_int_equal(v.fd, -1);
}

/* ---- the real one ---- */

enum { KIND = 0x88b5, KIND_AT = 12, NUMBER_AT = 14, SECONDS = 60, MANY = 300 };

/* A packet socket on the interface, which is up, with nothing of the host's own on it. */
static int interface(const char *name)
{
    struct ifreq req = { .ifr_ifindex = 0 };
    int s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(KIND));
    strncpy(req.ifr_name, name, sizeof(req.ifr_name) - 1);
    assert_int_equal(ioctl(s, SIOCGIFFLAGS, &req), 0);
    req.ifr_flags |= IFF_UP;
    assert_int_equal(ioctl(s, SIOCSIFFLAGS, &req), 0);
    assert_int_equal(ioctl(s, SIOCGIFINDEX, &req), 0);
    struct sockaddr_ll addr = { .sll_family = AF_PACKET,
                                .sll_protocol = htons(KIND),
                                .sll_ifindex = req.ifr_ifindex };
    assert_int_equal(bind(s, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return s;
}

static void make_frame(uint8_t frame[FRAME], uint16_t number)
{
    memset(frame, 0xff, KIND_AT);
    frame[6] = 2; /* the source is no group */
    frame[KIND_AT] = KIND >> 8;
    frame[KIND_AT + 1] = KIND & 0xff;
    memset(frame + NUMBER_AT, (uint8_t)number, FRAME - NUMBER_AT);
    memcpy(frame + NUMBER_AT, &number, 2);
}

/* The next used buffer of the guest's that holds a frame of ours; its number, -1: none within the
 * time. */
static int next_received(uint16_t *seen)
{
    uint64_t end = host_clock_ns() + SECONDS * 1000000000ull;
    while (host_clock_ns() < end) {
        main_loop_step(1000000);
        while (*seen != used_idx(RX_RING)) {
            const struct vring_used_elem *u =
                (void *)(box->m.ram->host + RX_RING + USED_AT + 4 + 8 * (*seen % NUM));
            const uint8_t *frame = box->m.ram->host + RX_BUFFERS + u->id * BUFFER + HEADER;
            uint16_t number;
            ++*seen;
            post(1);
            memcpy(&number, frame + NUMBER_AT, 2);
            if (frame[KIND_AT] == KIND >> 8 && frame[KIND_AT + 1] == (KIND & 0xff)) {
                assert_int_equal(u->len, HEADER + FRAME);
                return number;
            }
        }
    }
    return -1;
}

static int next_sent(int s)
{
    uint8_t frame[2048];
    uint64_t end = host_clock_ns() + SECONDS * 1000000000ull;
    while (host_clock_ns() < end) {
        main_loop_step(1000000);
        if (recv(s, frame, sizeof(frame), 0) == FRAME) {
            uint16_t number;
            memcpy(&number, frame + NUMBER_AT, 2);
            return number;
        }
    }
    return -1;
}

static void send_number(uint16_t number)
{
    unsigned n = *avail_idx(TX_RING) % NUM;
    uint8_t *at = box->m.ram->host + TX_BUFFERS + n * BUFFER;
    memset(at, 0, HEADER);
    make_frame(at + HEADER, number);
    offer(TX_RING, *avail_idx(TX_RING), TX_BUFFERS + n * BUFFER, HEADER + FRAME, 0);
    virtio_kick(&box->net->vdev, 1);
}

static const char *open_tap(void)
{
    Error *err = NULL;
    if (access("/dev/vhost-net", R_OK | W_OK) || unshare(CLONE_NEWNET)) {
        return "no /dev/vhost-net, or no rights to use it";
    }
    Dict *d = dict_new();
    dict_set(d, "type", "tap");
    dict_set(d, "id", "n0");
    dict_set(d, "ifname", "vt0");
    dict_set(d, "script", "no");
    dict_set(d, "downscript", "no");
    dict_set(d, "vhostforce", "on");
    if (!net_backend_create(d, &err)) {
        fail_msg("%s", error_text(err));
    }
    dict_free(d);
    return NULL;
}

/* Frames go both ways in their order, whatever changes meanwhile. */
static void test_kernel(void **state)
{
    const char *why = open_tap();
    (void)state;
    if (why) {
        print_message("# SKIP %s\n", why);
        skip();
    }
    make_machine();
    make_card();
    int s = interface("vt0");
    uint16_t seen = 0;
    start_driver(0);
    post(NUM);
    for (uint16_t i = 0; i < MANY; i++) {
        uint8_t frame[FRAME];
        make_frame(frame, i);
        assert_int_equal(send(s, frame, FRAME, 0), FRAME);
        send_number(i);
        switch (i % 12) {
        case 3: ram_set_code_kept(false); break;
        case 6: ram_set_code_kept(true); break;
        case 7:
        case 5:
            set_running(false);
            set_running(true);
            break;
        default: break;
        }
        const char *mode = i % 12 >= 3 && i % 12 < 6 ? "vhost-state=direct" : "vhost-state=shadow";
        assert_non_null(strstr(box->net->nc[0].peer->text, mode));
        assert_int_equal(next_received(&seen), i);
        assert_int_equal(next_sent(s), i);
    }
    close(s);
    teardown(NULL);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_features),        TEST(test_direct),           TEST(test_shadow),
        TEST(test_switch),          TEST(test_reasons),          TEST(test_back_to_us),
        TEST(test_bad_ring),        TEST(test_interrupts),       TEST(test_memory_table),
        TEST(test_too_many_pieces), cmocka_unit_test(test_open), cmocka_unit_test(test_kernel),
    };
    Error *err = NULL;
    vm_lock();
    assert_true(main_loop_init(&err));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
