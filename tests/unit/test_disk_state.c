/* SPDX-License-Identifier: GPL-2.0-or-later
 * Requests that the host failed and that wait for 'cont' are in the disks' state tables: saved,
 * forgotten by a reset, loaded again, they are made once more and end as the guest expects. Virtio
 * with split and packed rings, AHCI with and without queues.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/block.h"
#include "hw/core/machine.h"
#include "hw/pci/i440fx.h"
#include "tests/unit/state_box.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

enum { RAM = 4 << 20, SIZE = 1 << 20, SLOT = 3, MAX_DEVICES = 2 };
enum { BAR = 0xe0000000, NOTIFY = BAR + 0x3000 };
enum { DESC = 0x10000, DRIVER = 0x11000, DEVICE = 0x12000, TABLES = 0x14000, NUM = 16 };
enum { HEADERS = 0x20000, STATUSES = 0x21000, BUFFERS = 0x30000 };
enum { FAILS = 40 }; /* sector whose first request fails */

typedef struct Box {
    Machine m;
    Region ram;
    PciBus *bus;
    Device *dev[MAX_DEVICES];
    unsigned nr_devs;
    Drive *drive;
    StateBox saved;
    unsigned nr_stops;
    bool packed, indirect;
    unsigned offered; /* descriptors (packed) or elements so far */
} Box;

static Box *box;
static char path[] = "/tmp/vireo-disk-state-XXXXXX";

/* ---- the machine ---- */

static void on_stop(Drive *d, BlkOp op, int error)
{
    (void)d, (void)op, (void)error;
    box->nr_stops++;
}

static void must(bool ok, Error *err)
{
    if (!ok) {
        fail_msg("%s", error_text(err));
    }
}

static void add_device(const char *text)
{
    Error *err = NULL;
    Dict *opts = dict_parse(text, "driver", &err);
    must(opts, err);
    Device *dev = device_create(&box->m, opts, &err);
    must(dev, err);
    dict_free(opts);
    box->dev[box->nr_devs++] = dev;
}

/* The event's first request at sector FAILS has no room. */
static void start_machine(const char *event)
{
    Error *err = NULL;
    box = xcalloc(1, sizeof(*box));
    int fd = open(path, O_RDWR | O_TRUNC);
    assert_true(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
    box->m.config.ram_size = RAM;
    machine_setup(&box->m);
    box->m.ram = ram_block_new("ram", RAM, &err);
    region_init_ram(&box->ram, "ram", box->m.ram, 0, RAM);
    region_add(&box->m.memory_root, 0, &box->ram, 0);
    Device *host = device_new(&box->m, &type_i440fx_host);
    must(device_realize(host, NULL, NULL, "host", &err), err);
    box->bus = i440fx_pci_bus(host);
    char *text =
        xasprintf("id=d,file=blkdebug::%s,format=raw,werror=stop,rerror=stop,discard=unmap,"
                  "file.inject-error.0.event=%s,file.inject-error.0.sector=%d,"
                  "file.inject-error.0.errno=28,file.inject-error.0.once=on",
                  path, event, FAILS);
    Dict *opts = dict_parse(text, NULL, &err);
    must(opts, err);
    box->drive = drive_create(opts, &err);
    must(box->drive, err);
    dict_free(opts);
    free(text);
    drives_stop_hook = on_stop;
}

static void stop_machine(void)
{
    guest_clock_stop();
    machine_reset_devices(&box->m);
    main_loop_step(0);
    machine_fini(&box->m);
    drives_close();
    state_box_free(&box->saved);
    drives_stop_hook = NULL;
    ram_block_free(box->m.ram);
    free(box);
}

static void store(uint64_t gpa, uint64_t val, unsigned size)
{
    address_space_store(&box->m.memory, gpa, val, size);
}

static uint64_t load(uint64_t gpa, unsigned size)
{
    return address_space_load(&box->m.memory, gpa, size);
}

static void config(unsigned reg, uint32_t val, unsigned size)
{
    pci_config_store(box->bus, SLOT << 11 | reg, val, size);
}

/* Paused, saved, as if newly made, loaded: nothing of it may reach the disk yet. */
static void save_and_load(void)
{
    guest_clock_stop();
    blk_drain(NULL);
    assert_int_equal(box->nr_stops, 1);
    for (unsigned i = 0; i < box->nr_devs; i++) {
        state_box_save(&box->saved, box->dev[i]);
    }
    machine_reset_devices(&box->m);
    drives_retry(); /* none is left */
    blk_drain(NULL);
    for (unsigned i = 0; i < box->nr_devs; i++) {
        state_box_load(&box->saved, box->dev[i]);
    }
    for (unsigned i = 0; i < box->nr_devs; i++) {
        device_refresh(box->dev[i]);
    }
    assert_null(box->saved.bad);
    assert_int_equal(box->saved.at, box->saved.len);
}

static void cont(void)
{
    guest_clock_start();
    drives_retry();
    for (unsigned i = 0; i < 5; i++) {
        main_loop_step(0);
        blk_drain(NULL);
    }
    assert_int_equal(box->nr_stops, 1);
}

static void fill(uint64_t gpa, size_t len, uint8_t first)
{
    for (size_t i = 0; i < len; i++) {
        box->m.ram->host[gpa + i] = (uint8_t)(first + i % 251);
    }
}

static void check_file(uint64_t sector, uint64_t gpa, size_t len)
{
    uint8_t *data = xcalloc(1, len);
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, data, len, (off_t)sector * 512), len);
    close(fd);
    assert_memory_equal(data, box->m.ram->host + gpa, len);
    free(data);
}

/* ---- virtio ---- */

static void start_virtio(bool packed, bool indirect)
{
    box->packed = packed;
    box->indirect = indirect;
    add_device("virtio-blk-pci,drive=d,addr=3,packed=on,num-queues=1");
    machine_reset_devices(&box->m);
    guest_clock_start();
    config(PCI_BAR0 + 16, BAR, 4);
    config(PCI_BAR0 + 20, 0, 4);
    config(PCI_COMMAND, 7, 2);
    store(BAR + VIRTIO_PCI_COMMON_STATUS, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        store(BAR + VIRTIO_PCI_COMMON_DFSELECT, half, 4);
        store(BAR + VIRTIO_PCI_COMMON_GFSELECT, half, 4);
        uint32_t wanted = (uint32_t)load(BAR + VIRTIO_PCI_COMMON_DF, 4);
        wanted &= half ? ~(packed ? 0 : 1u << (VIRTIO_F_RING_PACKED - 32))
                       : ~(1u << VIRTIO_RING_F_EVENT_IDX);
        store(BAR + VIRTIO_PCI_COMMON_GF, wanted, 4);
    }
    store(BAR + VIRTIO_PCI_COMMON_STATUS, 11, 1);
    store(BAR + VIRTIO_PCI_COMMON_Q_SIZE, NUM, 2);
    store(BAR + VIRTIO_PCI_COMMON_Q_DESCLO, DESC, 4);
    store(BAR + VIRTIO_PCI_COMMON_Q_AVAILLO, DRIVER, 4);
    store(BAR + VIRTIO_PCI_COMMON_Q_USEDLO, DEVICE, 4);
    store(BAR + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
    store(BAR + VIRTIO_PCI_COMMON_STATUS, 15, 1);
    assert_int_equal(load(BAR + VIRTIO_PCI_COMMON_STATUS, 1), 15);
}

static void put_desc(uint64_t at, uint64_t addr, uint32_t len, unsigned id, unsigned flags,
                     unsigned next)
{
    store(at, addr, 8);
    store(at + 8, len, 4);
    store(at + 12, box->packed ? id : flags, 2);
    store(at + 14, box->packed ? flags : next, 2);
}

/* Request n, not more than five: header, data, status. */
static void offer(unsigned n, unsigned type, uint64_t sector, uint32_t len)
{
    unsigned first = box->indirect ? n : 3 * n;
    uint64_t at = box->indirect ? TABLES + 0x100 * n : DESC + 16 * first;
    unsigned link = box->indirect ? 0 : first; /* of the descriptor with number 0 */
    /* Packed: the descriptors in the ring are the device's by bit 7, those in a table are not. */
    unsigned mine = box->packed && !box->indirect ? 1 << VRING_PACKED_DESC_F_AVAIL : 0;
    store(HEADERS + 16 * n, type, 4);
    store(HEADERS + 16 * n + 8, sector, 8);
    store(STATUSES + n, 0xff, 1);
    put_desc(at, HEADERS + 16 * n, 16, n, VRING_DESC_F_NEXT | mine, link + 1);
    put_desc(at + 16, BUFFERS + 0x1000 * n, len, n,
             VRING_DESC_F_NEXT | mine | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0),
             link + 2);
    put_desc(at + 32, STATUSES + n, 1, n, VRING_DESC_F_WRITE | mine, 0);
    if (box->indirect) {
        put_desc(DESC + 16 * n, at, 48, n,
                 VRING_DESC_F_INDIRECT | (box->packed ? 1 << VRING_PACKED_DESC_F_AVAIL : 0), 0);
    }
    if (!box->packed) {
        store(DRIVER + 4 + 2 * n, first, 2);
        store(DRIVER + 2, n + 1, 2);
    }
}

/* The n-th used entry is of this request. */
static void check_used(unsigned n, unsigned request)
{
    if (box->packed) {
        unsigned at = DESC + 16 * n * (box->indirect ? 1 : 3);
        assert_int_equal(load(at + 14, 2) >> VRING_PACKED_DESC_F_USED & 1, 1);
        assert_int_equal(load(at + 12, 2), request);
    } else {
        assert_int_equal(load(DEVICE + 2, 2), n + 1);
        assert_int_equal(load(DEVICE + 4 + 8 * n, 4), box->indirect ? request : 3 * request);
    }
    assert_int_equal(load(STATUSES + request, 1), VIRTIO_BLK_S_OK);
}

/* The first of three requests fails and waits; its place in a packed ring is written over. */
static void virtio_case(bool packed, bool indirect, unsigned type, const char *event)
{
    start_machine(event);
    start_virtio(packed, indirect);
    uint32_t len = type == VIRTIO_BLK_T_DISCARD ? 16 : 0x600;
    fill(BUFFERS, 0x3000, 7);
    if (type == VIRTIO_BLK_T_DISCARD) {
        store(BUFFERS, FAILS, 8);
        store(BUFFERS + 8, 3, 8);
    }
    offer(0, type, FAILS, len);
    offer(1, VIRTIO_BLK_T_OUT, 80, 0x600);
    store(NOTIFY, 0, 2);
    blk_drain(NULL);
    check_used(0, 1);
    assert_int_equal(load(STATUSES, 1), 0xff);
    save_and_load();
    main_loop_step(0);
    blk_drain(NULL);
    assert_int_equal(load(STATUSES, 1), 0xff); /* not before 'cont' */
    device_before_save(box->dev[0]);           /* nor does a look at it change anything */
    cont();
    check_used(1, 0);
    if (type == VIRTIO_BLK_T_OUT) {
        check_file(FAILS, BUFFERS, 0x600);
    } else if (type == VIRTIO_BLK_T_IN) {
        assert_int_equal(load(BUFFERS, 4), 0);
        assert_int_equal(load(BUFFERS + 0x5fc, 4), 0);
    }
    check_file(80, BUFFERS + 0x1000, 0x600);
    offer(2, VIRTIO_BLK_T_OUT, 90, 0x600); /* and so it goes on */
    store(NOTIFY, 0, 2);
    cont();
    check_used(2, 2);
    check_file(90, BUFFERS + 0x2000, 0x600);
    stop_machine();
}

static void test_virtio(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        virtio_case(how & 1, how & 2, VIRTIO_BLK_T_OUT, "write_aio");
        virtio_case(how & 1, how & 2, VIRTIO_BLK_T_IN, "read_aio");
        virtio_case(how & 1, how & 2, VIRTIO_BLK_T_DISCARD, "discard");
    }
}

/* A look (info device) while a request waits is no state to load: it is made once. */
static void test_virtio_look(void **state)
{
    (void)state;
    start_machine("write_aio");
    start_virtio(true, false);
    fill(BUFFERS, 0x1000, 3);
    offer(0, VIRTIO_BLK_T_OUT, FAILS, 0x600);
    store(NOTIFY, 0, 2);
    blk_drain(NULL);
    device_before_save(box->dev[0]);
    cont();
    check_used(0, 0);
    fill(BUFFERS, 0x1000, 9);
    offer(1, VIRTIO_BLK_T_FLUSH, 0, 0);
    store(NOTIFY, 0, 2);
    cont();
    check_file(FAILS + 8, BUFFERS + 0x2000, 512); /* zeroes: nothing else was written */
    uint8_t now;
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &now, 1, FAILS * 512), 1);
    close(fd);
    assert_int_equal(now, 3);
    stop_machine();
}

/* What a stream may say of requests is checked as what a driver says. */
static void test_virtio_bad(void **state)
{
    (void)state;
    static const struct {
        unsigned offset;
        uint8_t byte;
    } changes[] = { { 7, 0xff }, { 11, 0xff }, { 12, 0 }, { 12, 7 }, { 16, 1 } };
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        start_machine("write_aio");
        start_virtio(true, false);
        offer(0, VIRTIO_BLK_T_OUT, FAILS, 0x600);
        store(NOTIFY, 0, 2);
        blk_drain(NULL);
        guest_clock_stop();
        state_box_save(&box->saved, box->dev[0]);
        /* Three rows of 18 bytes end the stream. */
        box->saved.data[box->saved.len - 3 * 18 + changes[i].offset] = changes[i].byte;
        machine_reset_devices(&box->m);
        state_box_load(&box->saved, box->dev[0]);
        device_refresh(box->dev[0]);
        cont();
        assert_int_equal(load(STATUSES, 1), 0xff);
        stop_machine();
    }
}

/* ---- AHCI ---- */

enum { LIST = 0x1000, FISES = 0x2000, TABLE = 0x4000 };

static uint32_t port_reg(unsigned reg)
{
    return BAR + 0x100 + reg;
}

static void start_ahci(void)
{
    add_device("ahci,id=ahci,addr=3");
    add_device("ide-hd,drive=d,bus=ahci.0");
    machine_reset_devices(&box->m);
    guest_clock_start();
    config(0x24, BAR, 4);
    config(PCI_COMMAND, 6, 2);
    store(BAR + 4, 2, 4);
    store(port_reg(0x00), LIST, 4);
    store(port_reg(0x08), FISES, 4);
    store(port_reg(0x30), 0xffffffff, 4);
    store(port_reg(0x18), 0x17, 4);
}

/* Command in a slot: four sectors in two regions of memory. */
static void issue(unsigned slot, uint8_t command, uint32_t sector)
{
    bool ncq = command == 0x60 || command == 0x61;
    uint64_t table = TABLE + slot * 0x200, data = BUFFERS + slot * 0x1000;
    const uint8_t fis[20] = { 0x27, 0x80, command, ncq ? 4 : 0, (uint8_t)sector,    0, 0, 0x40,
                              0,    0,    0,       0,           ncq ? slot << 3 : 4 };
    dma_write(&box->m.memory, table, fis, sizeof(fis));
    store(table + 0x80, data, 8);
    store(table + 0x8c, 0x200 - 1, 4);
    store(table + 0x90, data + 0x200, 8);
    store(table + 0x9c, 0x600 - 1, 4);
    store(LIST + slot * 32, 5 | 2 << 16, 4);
    store(LIST + slot * 32 + 8, table, 8);
    if (ncq) {
        store(port_reg(0x34), 1u << slot, 4);
    }
    store(port_reg(0x38), 1u << slot, 4);
}

static void ahci_case(uint8_t command, bool write)
{
    start_machine(write ? "write_aio" : "read_aio");
    start_ahci();
    fill(BUFFERS, 0x2000, 5);
    issue(0, command, FAILS);
    if (command == 0x60 || command == 0x61) {
        issue(1, 0x61, 80);
    }
    blk_drain(NULL);
    assert_int_equal((load(port_reg(0x34), 4) | load(port_reg(0x38), 4)) & 3, 1);
    save_and_load();
    cont();
    assert_int_equal(load(port_reg(0x34), 4) | load(port_reg(0x38), 4), 0);
    assert_int_equal(load(port_reg(0x20), 4) & 1, 0); /* PxTFD.STS.ERR */
    if (write) {
        check_file(FAILS, BUFFERS, 0x800);
    } else {
        assert_int_equal(load(BUFFERS, 4), 0);
        assert_int_equal(load(BUFFERS + 0x7fc, 4), 0);
    }
    stop_machine();
}

static void test_ahci(void **state)
{
    (void)state;
    ahci_case(0x61, true); /* WRITE FPDMA QUEUED */
    ahci_case(0x60, false);
    ahci_case(0x35, true); /* WRITE DMA EXT */
    ahci_case(0x25, false);
    ahci_case(0x34, true); /* WRITE SECTORS EXT */
}

/* ---- */

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_true(main_loop_init(&err));
    vm_lock();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vm_unlock();
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtio),
        cmocka_unit_test(test_virtio_look),
        cmocka_unit_test(test_virtio_bad),
        cmocka_unit_test(test_ahci),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("disk_state", tests, setup, teardown);
}
