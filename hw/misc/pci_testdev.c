/* SPDX-License-Identifier: GPL-2.0-or-later
 * pci-testdev: counts writes to its BARs, for tests of low-level I/O (docs/specs/pci-testdev as
 * QEMU publishes it). BAR 0 is memory, BAR 1 ports; both look the same:
 *
 *   0  test    write: selects a test; reads back
 *   1  width   1, 2 or 4: how to write; 0: no such test
 *   4  offset  where in this BAR to write
 *   8  data    what to write
 *   12 count   such writes since the test was selected
 *   16 name    zero-terminated
 *
 * The second and third test's writes ring an eventfd (any value; only that one) while the test is
 * selected, and are counted when somebody looks. The first one's come to the device.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/pci/pci.h"

enum { REG_TEST = 0, REG_WIDTH = 1, REG_OFFSET = 4, REG_DATA = 8, REG_COUNT = 12, REG_NAME = 16 };
enum { HEADER_SIZE = 64, TARGET = 64, TARGET_STEP = 16, MEMORY_SIZE = 4096, PORTS_SIZE = 128,
       WIDTH = 1, DATA = 0xfa, NR_TESTS = 3, NO_TEST = 0xff };

static const char *const test_name[2][NR_TESTS] = {
    { "mmio-no-eventfd", "mmio-wildcard-eventfd", "mmio-datamatch-eventfd" },
    { "portio-no-eventfd", "portio-wildcard-eventfd", "portio-datamatch-eventfd" },
};
enum { NO_EVENTFD_TEST = 0, WILDCARD_TEST = 1 };

typedef struct TestBar {
    uint8_t test; /* state */
    uint32_t count;
    uint8_t index; /* wiring: which of the two */
    uint8_t armed; /* whose eventfd the region has */
    int fd;
    Region region;
} TestBar;

typedef struct PciTestdev {
    PciDevice pci;
    TestBar bar[2];
} PciTestdev;

/* ---- the eventfd ---- */

static void collect(TestBar *b)
{
    uint64_t rings;
    if (read(b->fd, &rings, sizeof(rings)) == sizeof(rings)) {
        b->count += (uint32_t)rings;
    }
}

static void arm(TestBar *b, uint8_t test)
{
    void (*const change[2])(Region *, uint64_t, unsigned, bool, uint64_t,
                            int) = { region_del_ioeventfd, region_add_ioeventfd };
    uint8_t of[2] = { b->armed, test };
    for (unsigned i = 0; i < 2; i++) {
        if (of[i] < NR_TESTS && of[i] != NO_EVENTFD_TEST) {
            change[i](&b->region, TARGET + of[i] * TARGET_STEP, WIDTH, of[i] != WILDCARD_TEST, DATA,
                      b->fd);
        }
    }
    b->armed = test;
}

/* ---- registers ---- */

static void build_header(const TestBar *b, uint8_t header[HEADER_SIZE])
{
    memset(header, 0, HEADER_SIZE);
    header[REG_TEST] = b->test;
    if (b->test >= NR_TESTS) {
        return;
    }
    header[REG_WIDTH] = WIDTH;
    pci_put32(&header[REG_OFFSET], TARGET + b->test * TARGET_STEP);
    pci_put32(&header[REG_DATA], DATA);
    pci_put32(&header[REG_COUNT], b->count);
    memcpy(&header[REG_NAME], test_name[b->index][b->test], strlen(test_name[b->index][b->test]));
}

static uint64_t testdev_read(void *opaque, uint64_t offset, unsigned size)
{
    uint8_t header[HEADER_SIZE];
    uint64_t val = 0;
    if (offset + size <= HEADER_SIZE) {
        collect(opaque);
        build_header(opaque, header);
        memcpy(&val, &header[offset], size);
    }
    return val;
}

static void testdev_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    TestBar *b = opaque;
    if (offset == REG_TEST) {
        b->test = (uint8_t)val < NR_TESTS ? val : NO_TEST;
        arm(b, b->test);
        collect(b);
        b->count = 0;
        return;
    }
    if (b->test == NO_EVENTFD_TEST && offset == TARGET && size == WIDTH && val == DATA) {
        b->count++;
    }
}

static const RegionOps testdev_ops = { testdev_read, testdev_write, .sizes = 1 | 2 | 4 };

static bool pci_testdev_realize(Device *dev, Error **errp)
{
    PciTestdev *s = container_of(dev, PciTestdev, pci.dev);
    for (unsigned i = 0; i < 2; i++) {
        s->bar[i].index = i;
        s->bar[i].armed = NO_TEST;
        s->bar[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (s->bar[i].fd < 0) {
            int why = errno;
            close(s->bar[0].fd);
            return error_set_errno(errp, why, "cannot make an eventfd");
        }
        region_init_io(&s->bar[i].region, dev, &testdev_ops, &s->bar[i],
                       i ? PORTS_SIZE : MEMORY_SIZE);
        pci_register_bar(&s->pci, i, i ? PCI_BAR_IO : 0, &s->bar[i].region);
    }
    return true;
}

static void pci_testdev_unrealize(Device *dev)
{
    PciTestdev *s = container_of(dev, PciTestdev, pci.dev);
    for (unsigned i = 0; i < 2; i++) {
        arm(&s->bar[i], NO_TEST);
        close(s->bar[i].fd);
    }
}

static void pci_testdev_refresh(Device *dev)
{
    PciTestdev *s = container_of(dev, PciTestdev, pci.dev);
    for (unsigned i = 0; i < 2; i++) {
        arm(&s->bar[i], s->bar[i].test);
    }
}

static const PciInfo pci_testdev_info = {
    .vendor = 0x1b36,
    .device = 0x0005,
    .class_code = 0x00ff00,
};

static const StateField bar_state[] = {
    STATE_U8(TestBar, test, .reset = NO_TEST),
    STATE_U32(TestBar, count),
    STATE_END,
};

static const StateField pci_testdev_state[] = {
    STATE_STRUCT(PciTestdev, bar, TestBar, bar_state),
    STATE_END,
};

DEVICE_TYPE(pci_testdev) = {
    PCI_DEVICE_INFO("pci-testdev", PciTestdev, "PCI device that counts writes, for tests",
                    &pci_testdev_info),
    .state = pci_testdev_state,
    .state_version = 1,
    .realize = pci_testdev_realize,
    .unrealize = pci_testdev_unrealize,
    .refresh = pci_testdev_refresh,
};
